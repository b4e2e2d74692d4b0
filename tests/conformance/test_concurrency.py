"""Reserved concurrency, the account's limit, and rates, with boto3: stored, shown and enforced."""

from __future__ import annotations

import concurrent.futures
import json
import re
import time
import urllib.request

import pytest
from botocore.exceptions import ClientError

from support import functions, host

# Answers once the file of that name is gone, so that the test decides how long it runs.
SOURCE = {
    "app.py": """\
    import os, time
    def handler(event, context):
        path = f"/mnt/gate/{event['wait']}" if "wait" in event else None
        if path:
            open(path, "w").close()
            while os.path.exists(path):
                time.sleep(0.01)
        return event
    """
}
GATE = {"Arn": "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/gate", "LocalMountPath": "/mnt/gate"}
RESERVED = "ReservedFunctionConcurrentInvocationLimitExceeded"


def refused(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Message"]


def throttle(client, name, **more):
    """What a refused call is told: reason and seconds."""
    with pytest.raises(ClientError) as caught:
        client.invoke(FunctionName=name, **more)
    answer = caught.value.response
    assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == ("TooManyRequestsException", 429)
    assert answer["message"] == "Rate Exceeded." and answer["Type"] == "User"
    assert int(answer["ResponseMetadata"]["HTTPHeaders"]["retry-after"]) >= 1
    return answer["Reason"]


class Gate:
    """Calls that run until they are let go."""

    def __init__(self, server, name):
        self.client, self.name = server.client(), name
        self.directory = server.data_directory / "file-systems" / "gate"
        self.pool = concurrent.futures.ThreadPoolExecutor(32)
        self.running = {}

    def start(self, **more):
        wait = f"{self.name}-{len(self.running)}-{time.monotonic_ns()}"
        call = self.pool.submit(self.client.invoke, FunctionName=self.name, Payload=json.dumps({"wait": wait}), **more)
        self.running[wait] = call
        deadline = time.monotonic() + 20 * host.SLOWNESS
        while not (self.directory / wait).exists():
            assert not call.done(), call.result()
            assert time.monotonic() < deadline, "the call never began"
            time.sleep(0.01)
        return wait

    def let_go(self):
        for wait, call in self.running.items():
            (self.directory / wait).unlink(missing_ok=True)
            assert "FunctionError" not in call.result()
        self.running.clear()


@pytest.fixture
def gate(server):
    gates = []

    def make(name):
        gates.append(Gate(server, name))
        return gates[-1]

    yield make
    for made in gates:
        made.let_go()
        made.pool.shutdown()


@pytest.mark.covers("operation:PutFunctionConcurrency")
@pytest.mark.covers("operation:GetFunctionConcurrency")
@pytest.mark.covers("operation:DeleteFunctionConcurrency")
@pytest.mark.covers("operation:GetAccountSettings")
def test_the_three_operations(client, deploy):
    name = deploy(SOURCE).name

    def unreserved():
        return client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"]

    before = unreserved()
    assert "ReservedConcurrentExecutions" not in client.get_function_concurrency(FunctionName=name)
    assert "Concurrency" not in client.get_function(FunctionName=name)
    put = client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=7)
    assert set(put) - {"ResponseMetadata"} == {"ReservedConcurrentExecutions"} and put["ReservedConcurrentExecutions"] == 7
    assert client.get_function_concurrency(FunctionName=name)["ReservedConcurrentExecutions"] == 7
    assert client.get_function(FunctionName=name)["Concurrency"] == {"ReservedConcurrentExecutions": 7}
    assert unreserved() == before - 7
    for _ in range(2):
        assert client.delete_function_concurrency(FunctionName=name)["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert "ReservedConcurrentExecutions" not in client.get_function_concurrency(FunctionName=name) and unreserved() == before


@pytest.mark.covers("operation:PutFunctionConcurrency")
@pytest.mark.covers("operation:PutProvisionedConcurrencyConfig")
def test_what_is_refused(client, deploy):
    name = deploy(SOURCE).name
    limits = client.get_account_settings()["AccountLimit"]
    assert limits["ConcurrentExecutions"] == 1000
    too_many = limits["UnreservedConcurrentExecutions"] - 99
    invalid = ("InvalidParameterValueException", 400)
    assert refused(client.put_function_concurrency, FunctionName=name, ReservedConcurrentExecutions=too_many) == (
        *invalid, "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [100]."
    )
    assert refused(client.put_function_concurrency, FunctionName=f"{name}:1", ReservedConcurrentExecutions=1) == (
        *invalid,
        "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. "
        "Please specify either a function name or an unqualified function ARN.",
    )
    absent = "Function not found: arn:aws:lambda:us-east-1:000000000000:function:absent"
    assert refused(client.put_function_concurrency, FunctionName="absent", ReservedConcurrentExecutions=1) == ("ResourceNotFoundException", 404, f"{absent}:$LATEST")
    assert refused(client.delete_function_concurrency, FunctionName="absent") == ("ResourceNotFoundException", 404, f"{absent}:$LATEST")
    assert refused(client.get_function_concurrency, FunctionName="absent") == ("ResourceNotFoundException", 404, absent)

    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=2)
    client.publish_version(FunctionName=name)
    client.get_waiter("function_active_v2").wait(FunctionName=name, Qualifier="1")
    provisioned = {"FunctionName": name, "Qualifier": "1"}
    assert refused(client.put_provisioned_concurrency_config, ProvisionedConcurrentExecutions=3, **provisioned) == (
        *invalid, "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function"
    )
    client.put_provisioned_concurrency_config(ProvisionedConcurrentExecutions=2, **provisioned)
    assert refused(client.put_function_concurrency, FunctionName=name, ReservedConcurrentExecutions=1) == (
        *invalid, " ReservedConcurrentExecutions  1 should not be lower than function's total provisioned concurrency [2]."
    )


@pytest.mark.covers("operation:Reserved concurrency")
def test_a_function_gets_what_it_reserved_and_no_more(client, deploy, gate):
    function = deploy(SOURCE, FileSystemConfigs=[GATE], Timeout=120)
    client.put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=2)
    calls = gate(function.name)
    calls.start()
    calls.start()
    assert throttle(client, function.name) == RESERVED
    client.put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=3)
    assert function.ok({"n": 1}) == {"n": 1}
    # Less than what runs: nothing is stopped, nothing more begins.
    client.put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=1)
    assert throttle(client, function.name) == RESERVED
    calls.let_go()
    assert function.ok({"n": 2}) == {"n": 2}


@pytest.mark.covers("operation:Invocation limits")
def test_a_full_account(new_server):
    server = new_server(environment={"LAMPLIGHT_INSTANCES_CONCURRENCY": "1"}).start()
    client = server.client()
    function = functions.create(server, SOURCE, FileSystemConfigs=[GATE], Timeout=120)
    assert client.get_account_settings()["AccountLimit"]["ConcurrentExecutions"] == 1
    calls = Gate(server, function.name)
    try:
        calls.start()
        assert throttle(client, function.name) == "ConcurrentInvocationLimitExceeded"
    finally:
        calls.let_go()
        calls.pool.shutdown()
    assert function.ok({"n": 1}) == {"n": 1}
    # Nothing can be reserved of so little, and a function can be stopped all the same.
    code, status, message = refused(client.put_function_concurrency, FunctionName=function.name, ReservedConcurrentExecutions=1)
    assert (code, status) == ("InvalidParameterValueException", 400) and message.endswith("below its minimum value of [100].")
    client.put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=0)
    assert throttle(client, function.name) == RESERVED


def events_of(server, function):
    with urllib.request.urlopen(f"{server.endpoint}/lamplight/v1/functions/{function.name}/events") as answer:
        return json.loads(answer.read())


def until(holds, tell):
    deadline = time.monotonic() + 30 * host.SLOWNESS
    while not holds():
        assert time.monotonic() < deadline, tell()
        time.sleep(0.05)


def send(client, function, number):
    answer = client.invoke(FunctionName=function.name, InvocationType="Event", Payload=json.dumps({"n": number}))
    assert answer["StatusCode"] == 202


@pytest.mark.covers("operation:Reserved concurrency")
def test_zero_stops_calls_and_gives_events_up(client, deploy, server):
    told = deploy({"app.py": "import json\ndef handler(event, context): print('told', json.dumps(event))"})
    function = deploy({"app.py": "def handler(event, context): print('ran', event['n'])"})
    destination = {"OnFailure": {"Destination": client.get_function(FunctionName=told.name)["Configuration"]["FunctionArn"]}}
    client.put_function_event_invoke_config(FunctionName=function.name, DestinationConfig=destination)
    client.put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=0)
    assert throttle(client, function.name) == RESERVED
    send(client, function, 1)
    until(lambda: events_of(server, function)["DeadLettered"] == 1, lambda: events_of(server, function))
    until(lambda: events_of(server, told)["Done"] == 1, lambda: events_of(server, told))
    logs = server.client("logs").filter_log_events(logGroupName=f"/aws/lambda/{told.name}", filterPattern="told")["events"]
    record = json.loads(logs[0]["message"].removeprefix("told "))
    assert record["requestContext"]["condition"] == "ZeroReservedConcurrency"
    assert record["requestContext"]["approximateInvokeCount"] == 0
    assert record["requestPayload"] == {"n": 1}
    assert "responseContext" not in record
    client.delete_function_concurrency(FunctionName=function.name)
    send(client, function, 2)
    until(lambda: events_of(server, function)["Done"] == 1, lambda: events_of(server, function))
    assert events_of(server, function) == {"Accepted": 2, "Done": 1, "DeadLettered": 1, "Pending": 0}


@pytest.mark.covers("operation:Reserved concurrency")
def test_events_without_a_place_wait_and_use_up_no_retry(client, server, deploy, gate):
    function = deploy(SOURCE, FileSystemConfigs=[GATE], Timeout=120)
    client.put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=1)

    def throttles():
        with urllib.request.urlopen(server.endpoint + "/lamplight/v1/metrics") as answer:
            return int(re.search(r"^lamplight_throttles_total (\d+)$", answer.read().decode(), re.MULTILINE).group(1))

    calls = gate(function.name)
    calls.start()
    before = throttles()
    for number in (1, 2):
        send(client, function, number)
    # More refusals than both have retries: function errors would have given them up by then.
    until(lambda: throttles() >= before + 5, lambda: (throttles(), events_of(server, function)))
    assert events_of(server, function) == {"Accepted": 2, "Done": 0, "DeadLettered": 0, "Pending": 2}
    calls.let_go()
    until(lambda: events_of(server, function)["Done"] == 2, lambda: events_of(server, function))
    assert events_of(server, function) == {"Accepted": 2, "Done": 2, "DeadLettered": 0, "Pending": 0}


@pytest.mark.covers("operation:Reserved concurrency")
def test_what_is_reserved_survives_kill_9(new_server):
    server = new_server().start()
    function = functions.create(server, SOURCE)
    server.client().put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=0)
    server.kill()
    server.start()
    # The first call of the new server, before anything else was looked at.
    assert throttle(server.client(), function.name) == RESERVED


@pytest.mark.covers("operation:Invocation rates")
def test_ten_calls_a_second_for_each_reserved_place(client, deploy):
    function = deploy({"app.py": "def handler(event, context): return 1"})
    function.ok()
    client.put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=1)
    begin, answered, reasons = time.monotonic(), 0, set()
    # So many at once, and then one each tenth of a second: this many calls cannot all be answered however slow the host is.
    while not reasons:
        try:
            client.invoke(FunctionName=function.name)
            answered += 1
        except ClientError as error:
            reasons.add(error.response["Reason"])
        assert time.monotonic() - begin < 60 * host.SLOWNESS, "calls are slower than ten a second"
    assert reasons == {"ReservedFunctionInvocationRateLimitExceeded"}
    assert 10 <= answered <= 10 + (time.monotonic() - begin) * 10 + 1


@pytest.mark.covers("operation:Invocation rates")
def test_rates_are_configured(new_server):
    environment = {"LAMPLIGHT_INSTANCES_STARTS_PER_TEN_SECONDS": "1", "LAMPLIGHT_INSTANCES_CALLS_PER_SECOND_EACH": "0"}
    server = new_server(environment=environment).start()
    function = functions.create(server, SOURCE, FileSystemConfigs=[GATE], Timeout=120)
    client = server.client()
    client.put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=5)
    for number in range(30):
        assert function.ok({"n": number}) == {"n": number}, "no rate bounds calls, and one instance serves them"
    calls = Gate(server, function.name)
    try:
        calls.start()
        # A second instance within ten seconds is one too many; afterwards it is not.
        begin = time.monotonic()
        while True:
            try:
                assert function.ok({"n": 0}) == {"n": 0}
                break
            except ClientError as error:
                assert error.response["Reason"] == "FunctionInvocationRateLimitExceeded"
                assert time.monotonic() - begin < 30 * host.SLOWNESS
                time.sleep(0.1)
    finally:
        calls.let_go()
        calls.pool.shutdown()
