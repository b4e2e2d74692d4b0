"""examples/durable: its function does what its README says. (AWS command lines of distributions do not know durable functions yet.)"""

import json
from pathlib import Path

import pytest

from support import durable

EXAMPLE = Path(__file__).parents[2] / "examples" / "durable"


@pytest.mark.covers("durable:example", client="Python SDK 3.0.0")
@pytest.mark.parametrize("answer, result", [("yes", "shipped lamp, oil for order 7"), ("no stock", "order 7 was turned down: no stock")])
def test_an_order_is_approved_or_turned_down(deploy, client, answer, result):
    config = {"ExecutionTimeout": 604800, "RetentionPeriodInDays": 7}
    function = durable.python(deploy, (EXAMPLE / "app.py").read_text(), DurableConfig=config)
    execution = durable.start(function, {"id": 7, "items": ["lamp", "oil"]}, name="order-7")
    started = execution.event("CallbackStarted")
    assert started["Name"] == "approval" and started["CallbackStartedDetails"]["Timeout"] == 3 * 24 * 3600
    client.send_durable_execution_callback_success(CallbackId=started["CallbackStartedDetails"]["CallbackId"], Result=answer.encode())
    ended = execution.ended()
    assert (ended["Status"], json.loads(ended["Result"])) == ("SUCCEEDED", result)
    # The same call again finds it.
    assert durable.start(function, {"id": 7, "items": ["lamp", "oil"]}, name="order-7").arn == execution.arn
