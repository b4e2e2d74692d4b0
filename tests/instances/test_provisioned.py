"""Provisioned concurrency: instances that are ready before anybody calls, told from others by what they see themselves."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

# Says how and when its instance was started; waits until so many run at the same time; ends its instance when told to.
SOURCE = """\
    import os, time
    STARTED = time.time()
    def handler(event, context):
        if event.get("die"):
            os._exit(1)
        time.sleep(event.get("seconds", 0))
        return [os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"], context.log_stream_name, STARTED]
    """
PROVISIONED, ON_DEMAND = "provisioned-concurrency", "on-demand"


@pytest.fixture
def provision(client):
    """`provision(function, n)` publishes version 1 and waits until n instances of it are READY."""

    def make(function, executions):
        client.publish_version(FunctionName=function.name)
        client.get_waiter("function_active_v2").wait(FunctionName=function.name, Qualifier="1")
        put = client.put_provisioned_concurrency_config(FunctionName=function.name, Qualifier="1", ProvisionedConcurrentExecutions=executions)
        assert put["ResponseMetadata"]["HTTPStatusCode"] == 202 and put["Status"] == "IN_PROGRESS"
        return ready(client, function)

    return make


def status(client, function):
    return client.get_provisioned_concurrency_config(FunctionName=function.name, Qualifier="1")


def ready(client, function):
    return until(lambda: status(client, function), lambda config: config["Status"] == "READY")


def until(look, holds, seconds=60):
    deadline = time.monotonic() + seconds
    while not holds(seen := look()):
        assert time.monotonic() < deadline, seen
        time.sleep(0.02)
    return seen


def together(function, calls, seconds=1.5):
    """So many calls at the same time: their answers."""
    with ThreadPoolExecutor(calls) as threads:
        return list(threads.map(lambda _: function.invoke({"seconds": seconds}, Qualifier="1"), range(calls)))


@pytest.mark.covers("operation:PutProvisionedConcurrencyConfig")
def test_calls_find_instances_ready_and_the_rest_runs_on_demand(deploy, client, provision):
    function = deploy({"app.py": SOURCE})
    config = provision(function, 3)
    assert config["RequestedProvisionedConcurrentExecutions"] == 3
    assert config["AllocatedProvisionedConcurrentExecutions"] == config["AvailableProvisionedConcurrentExecutions"] == 3
    before = time.time()
    answers = together(function, 3)
    assert [answer.json[0] for answer in answers] == [PROVISIONED] * 3
    assert len({answer.json[1] for answer in answers}) == 3, "three instances"
    assert all(answer.json[2] < before for answer in answers), "started before the calls"
    for answer in answers:
        assert "Init Duration" not in answer.report and "Start" not in answer.report, answer.log

    answers = together(function, 4)
    assert sorted(answer.json[0] for answer in answers) == [ON_DEMAND] + [PROVISIONED] * 3
    spilled = next(answer for answer in answers if answer.json[0] == ON_DEMAND)
    assert "Init Duration" in spilled.report, spilled.log


@pytest.mark.covers("operation:PutProvisionedConcurrencyConfig")
def test_an_instance_that_ends_is_replaced(deploy, client, provision):
    function = deploy({"app.py": SOURCE})
    provision(function, 3)
    first = {answer.json[1] for answer in together(function, 3)}
    assert function.invoke({"die": True}, Qualifier="1").error_type == "Runtime.ExitError"
    ready(client, function)
    answers = together(function, 3)
    assert [answer.json[0] for answer in answers] == [PROVISIONED] * 3
    assert len({answer.json[1] for answer in answers} & first) == 2, "two stayed, one is new"


@pytest.mark.covers("operation:GetProvisionedConcurrencyConfig")
def test_a_failing_init_is_told(deploy, client):
    function = deploy({"app.py": "raise ValueError('no')"})
    client.publish_version(FunctionName=function.name)
    client.put_provisioned_concurrency_config(FunctionName=function.name, Qualifier="1", ProvisionedConcurrentExecutions=2)
    config = until(lambda: status(client, function), lambda config: config["Status"] == "FAILED")
    assert config["StatusReason"] == "FUNCTION_ERROR_INIT_FAILURE"
    assert config["AllocatedProvisionedConcurrentExecutions"] == 0


@pytest.mark.covers("operation:DeleteProvisionedConcurrencyConfig")
def test_without_the_configuration_calls_are_on_demand_again(deploy, client, provision):
    function = deploy({"app.py": SOURCE})
    provision(function, 2)
    assert function.ok({}, Qualifier="1")[0] == PROVISIONED
    assert function.ok({})[0] == ON_DEMAND, "$LATEST is another version"
    client.delete_provisioned_concurrency_config(FunctionName=function.name, Qualifier="1")
    until(lambda: function.ok({}, Qualifier="1")[0], lambda kind: kind == ON_DEMAND)


@pytest.mark.covers("operation:PutProvisionedConcurrencyConfig")
def test_a_restart_brings_them_back(new_server):
    from support import functions

    server = new_server().start()
    function = functions.create(server, {"app.py": SOURCE})
    server.client().publish_version(FunctionName=function.name)
    server.client().put_provisioned_concurrency_config(FunctionName=function.name, Qualifier="1", ProvisionedConcurrentExecutions=2)
    ready(server.client(), function)
    server.kill()
    server.start()
    assert ready(server.client(), function)["AllocatedProvisionedConcurrentExecutions"] == 2
    before = time.time()
    answers = together(function, 2)
    assert [answer.json[0] for answer in answers] == [PROVISIONED] * 2
    assert all(answer.json[2] < before for answer in answers)
    # Deletion and drain take them along.
    function.delete()
    server.stop()
    server.assert_nothing_left()
