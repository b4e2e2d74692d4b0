"""Where the time of a cold start went: in the record, in the metrics, and as a span for whoever asks for it."""

import json
import re
import time
import urllib.request

import pytest

from support import functions

SOURCE = "def handler(event, context): return 1"
PHASES = ("queue", "sandbox", "code", "interpreter", "init")
SPAN = re.compile(r"cold_start\{.*\}: .*close")


def get(server, path):
    with urllib.request.urlopen(f"{server.endpoint}/lamplight/v1/{path}", timeout=20) as answer:
        return answer.read().decode()


def samples(server):
    """Every line of the metrics page: name with labels, and value."""
    lines = [line for line in get(server, "metrics").splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


@pytest.mark.covers("meter:cold starts")
def test_a_cold_start_is_explained_everywhere(new_server):
    server = new_server(environment={"LAMPLIGHT_LOG": "lamplight_pool::trace=debug,info"}).start()
    function = functions.create(server, {"app.py": SOURCE})
    begun = time.monotonic()
    cold, warm = function.invoke(), function.invoke()
    waited = time.monotonic() - begun
    record, later = [json.loads(get(server, f"invocations/{answer.request_id}")) for answer in (cold, warm)]
    assert later["start"] == "warm" and later["cold_start"] is None
    start = record["start"]
    assert start in ("blank", "zygote", "from-nothing")
    parts = {"queue": record["queue_us"]} | {phase: record["cold_start"][f"{phase}_us"] for phase in PHASES[1:]}
    assert all(part >= 0 for part in parts.values()) and 0 < sum(parts.values()) < waited * 1e6
    assert f"init {parts['init'] / 1000:.2f} ms" in cold.report["Start"]

    found = samples(server)
    labels = f'start="{start}",runtime="{functions.PYTHON}"'
    assert found[f"lamplight_starts_total{{{labels}}}"] == 1
    assert found[f'lamplight_starts_total{{start="warm",runtime="{functions.PYTHON}"}}'] == 1
    assert found[f"lamplight_cold_start_seconds_count{{{labels}}}"] == 1
    assert found[f"lamplight_cold_start_seconds_sum{{{labels}}}"] == pytest.approx(sum(parts.values()) / 1e6)
    for phase, part in parts.items():
        assert found[f'lamplight_cold_start_phase_seconds_sum{{{labels},phase="{phase}"}}'] == pytest.approx(part / 1e6)
        assert found[f'lamplight_cold_start_phase_seconds_bucket{{{labels},phase="{phase}",le="+Inf"}}'] == 1
    assert not any(function.name in name for name in found), "no series for each function"

    spans = [line for line in server.log().splitlines() if SPAN.search(line)]
    assert len(spans) == 1, server.log()
    for field in (f"function={function.name}", "version=$LATEST", *(f"{phase}_us={parts[phase]}" for phase in PHASES[1:])):
        assert field in spans[0], spans[0]


@pytest.mark.covers("meter:cold starts")
def test_nobody_is_told_who_does_not_ask(deploy, server):
    before = len([line for line in server.log().splitlines() if "cold_start" in line])
    deploy({"app.py": SOURCE}).ok()
    assert len([line for line in server.log().splitlines() if "cold_start" in line]) == before == 0
