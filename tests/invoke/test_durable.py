"""Durable functions, written with AWS's own SDKs: checkpoint and replay, waits, retries, callbacks, chained invokes."""

import json
import time

import pytest

from support import durable, host
from support.errors import refused

PYTHON = """
    import itertools, os
    from aws_durable_execution_sdk_python import DurableContext, durable_execution
    from aws_durable_execution_sdk_python.config import CallbackConfig, Duration, StepConfig
    from aws_durable_execution_sdk_python.retries import RetryStrategyConfig, create_retry_strategy

    attempts = itertools.count(1)

    def steps(event, context):
        one = context.step(lambda step: {"doubled": event["n"] * 2}, name="one")
        return context.step(lambda step: one["doubled"] + 1, name="two")

    def waits(event, context):
        before = context.step(lambda step: event["n"], name="before")
        context.wait(Duration.from_seconds(event["seconds"]), name="nap")
        return context.step(lambda step: before + 1, name="after")

    def retries(event, context):
        def flaky(step):
            number = next(attempts)
            if number < 3:
                raise ValueError(f"attempt {number}")
            return number
        once_a_second = RetryStrategyConfig(max_attempts=3, initial_delay=Duration.from_seconds(1), max_delay=Duration.from_seconds(1), backoff_rate=1)
        return context.step(flaky, name="flaky", config=StepConfig(retry_strategy=create_retry_strategy(once_a_second)))

    def fails(event, context):
        raise RuntimeError("asked to fail")

    def crashes(event, context):
        context.step(lambda step: 1, name="before")
        os._exit(3)

    def callback(event, context):
        timeouts = {name: Duration.from_seconds(event[name]) for name in ("timeout", "heartbeat_timeout") if name in event}
        pending = context.create_callback(name="approval", config=CallbackConfig(**timeouts))
        context.step(lambda step: pending.callback_id, name="hand out")
        try:
            return {"result": pending.result()}
        except Exception as error:
            return {"error": type(error).__name__, "text": str(error)}

    def chained(event, context):
        try:
            return {"result": context.invoke(event["function"], event["payload"], name="other")}
        except Exception as error:
            return {"error": type(error).__name__, "text": str(error)}

    def children(event, context):
        def child(nested):
            return nested.step(lambda step: "inner", name="inner")
        first = context.run_in_child_context(child, name="child")
        context.wait(Duration.from_seconds(1))
        results = context.map([1, 2, 3], lambda nested, item, index, items: nested.step(lambda step: item * 10, name="ten"), name="all")
        return [first, results.get_results()]

    def many(event, context):
        for number in range(event["steps"]):
            context.step(lambda step: "x" * event["bytes"], name=f"step-{number}")
        context.wait(Duration.from_seconds(1))
        return sum(len(context.step(lambda step: "y" * event["bytes"], name=f"after-{number}")) for number in range(3))

    def large(event, context):
        return "z" * event["bytes"]

    @durable_execution
    def handler(event: dict, context: DurableContext):
        return globals()[event["do"]](event, context)
"""

NODE = """
import { withDurableExecution } from "@aws/durable-execution-sdk-js";

const does = {
    steps: async (event, context) => {
        const one = await context.step("one", async () => ({ doubled: event.n * 2 }));
        return await context.step("two", async () => one.doubled + 1);
    },
    waits: async (event, context) => {
        const before = await context.step("before", async () => event.n);
        await context.wait("nap", { seconds: event.seconds });
        return await context.step("after", async () => before + 1);
    },
    fails: async () => { throw new Error("asked to fail"); },
    callback: async (event, context) => {
        const result = await context.waitForCallback("approval", async () => {}, { timeout: { seconds: event.timeout } });
        return { result };
    },
    chained: async (event, context) => ({ result: await context.invoke("other", event.function, event.payload) }),
    retries: async (event, context) => {
        let attempts = 0;
        return await context.step("flaky", async () => {
            globalThis.attempts = (globalThis.attempts ?? 0) + 1;
            if (globalThis.attempts < 3) throw new Error(`attempt ${globalThis.attempts}`);
            return globalThis.attempts;
        }, { retryStrategy: (error, made) => ({ shouldRetry: made < 3, delay: { seconds: 1 } }) });
    },
};
export const handler = withDurableExecution(async (event, context) => does[event.do](event, context));
"""
LATEST = {"Qualifier": "$LATEST"}


@pytest.fixture(scope="module")
def made(shared_server):
    """The functions of this file, deployed once."""
    from support import functions

    kept: dict[str, functions.Function] = {}

    def get(language: str, runtime: str | None = None) -> functions.Function:
        server = shared_server.get()
        if language not in kept:
            deploy = lambda files, **configuration: functions.create(server, files, name=f"durable-{language}", **configuration)
            kept[language] = durable.python(deploy, PYTHON) if language == "python" else durable.node(deploy, runtime, NODE)
        return kept[language]

    yield get
    for function in kept.values():
        function.delete()


@pytest.fixture
def python(made):
    return made("python")


@pytest.fixture
def node_durable(made, node):
    return made("node", node)


def check_steps(function):
    answer = function.invoke({"do": "steps", "n": 20}, **LATEST)
    assert (answer.error, answer.json, answer.version) == (None, 41, "$LATEST"), answer.body


def check_waits(function):
    execution = durable.start(function, {"do": "waits", "n": 6, "seconds": 2})
    ended = execution.ended()
    assert (ended["Status"], json.loads(ended["Result"])) == ("SUCCEEDED", 7), ended
    events = execution.events()
    kinds = [event["EventType"] for event in events]
    assert [event["EventId"] for event in events] == list(range(1, len(events) + 1))
    assert kinds[0] == "ExecutionStarted" and kinds[-1] == "ExecutionSucceeded"
    assert kinds.index("WaitStarted") < kinds.index("InvocationCompleted") < kinds.index("WaitSucceeded")
    assert kinds.count("InvocationCompleted") == 2 and kinds.count("StepSucceeded") == 2
    started = next(event for event in events if event["EventType"] == "WaitStarted")
    assert started["WaitStartedDetails"]["Duration"] == 2 and started["Name"] == "nap"
    slept = next(event for event in events if event["EventType"] == "WaitSucceeded")["EventTimestamp"] - started["EventTimestamp"]
    assert 2 <= slept.total_seconds() < 8


@pytest.mark.covers("durable:steps", client="Python SDK 3.0.0")
@pytest.mark.covers("durable:Invoke RequestResponse")
def test_steps_of_python(python):
    check_steps(python)


@pytest.mark.covers("durable:waits", client="Python SDK 3.0.0")
@pytest.mark.covers("durable:Invoke Event")
@pytest.mark.covers("operation:GetDurableExecutionHistory")
@pytest.mark.covers("operation:CheckpointDurableExecution", client="Python SDK 3.0.0")
def test_waits_of_python(python):
    check_waits(python)


@pytest.mark.covers("durable:steps", client="JavaScript SDK 2.4.0")
def test_steps_of_javascript(node_durable):
    check_steps(node_durable)


@pytest.mark.covers("durable:waits", client="JavaScript SDK 2.4.0")
@pytest.mark.covers("operation:CheckpointDurableExecution", client="JavaScript SDK 2.4.0")
def test_waits_of_javascript(node_durable):
    check_waits(node_durable)


def check_retries(function):
    execution = durable.start(function, {"do": "retries"})
    ended = execution.ended()
    assert (ended["Status"], json.loads(ended["Result"])) == ("SUCCEEDED", 3), ended
    attempts = [event for event in execution.events() if event["EventType"] in ("StepFailed", "StepSucceeded")]
    failed, succeeded = attempts[:-1], attempts[-1]
    assert [event["StepFailedDetails"]["RetryDetails"]["CurrentAttempt"] for event in failed] == [1, 2]
    assert all(event["StepFailedDetails"]["RetryDetails"]["NextAttemptDelaySeconds"] == 1 for event in failed)
    assert "attempt 1" in failed[0]["StepFailedDetails"]["Error"]["Payload"]["ErrorMessage"]
    assert succeeded["StepSucceededDetails"]["RetryDetails"]["CurrentAttempt"] == 3


@pytest.mark.covers("durable:step retries", client="Python SDK 3.0.0")
def test_steps_are_tried_again_by_python(python):
    check_retries(python)


@pytest.mark.covers("durable:step retries", client="JavaScript SDK 2.4.0")
def test_steps_are_tried_again_by_javascript(node_durable):
    check_retries(node_durable)


@pytest.mark.covers("durable:failures", client="Python SDK 3.0.0")
def test_a_handler_that_fails_fails_its_execution(python):
    answer = python.invoke({"do": "fails"}, **LATEST)
    assert answer.error == "Unhandled" and answer.status == 200
    assert answer.json["errorMessage"] == "asked to fail" and answer.json["errorType"] == "RuntimeError", answer.body
    execution = durable.start(python, {"do": "fails"})
    ended = execution.ended()
    assert ended["Status"] == "FAILED" and ended["Error"]["ErrorMessage"] == "asked to fail" and "Result" not in ended
    assert execution.kinds()[-1] == "ExecutionFailed"


@pytest.mark.covers("durable:failures", client="JavaScript SDK 2.4.0")
def test_a_handler_that_fails_fails_its_execution_in_javascript(node_durable):
    answer = node_durable.invoke({"do": "fails"}, **LATEST)
    assert (answer.error, answer.json["errorMessage"]) == ("Unhandled", "asked to fail")


@pytest.mark.covers("durable:crashes", client="Python SDK 3.0.0")
def test_a_function_that_crashes_is_invoked_again_and_replays(python):
    execution = durable.start(python, {"do": "crashes"})

    def crashed_twice():
        return [event for event in execution.events() if event["EventType"] == "InvocationCompleted" and "Error" in event["InvocationCompletedDetails"]][1:2]

    host.eventually(crashed_twice, "a second crash", 60)
    assert execution.status == "RUNNING"
    # What was checkpointed before the crash has happened once.
    assert execution.kinds().count("StepSucceeded") == 1
    error = crashed_twice()[0]["InvocationCompletedDetails"]["Error"]["Payload"]
    assert error["ErrorType"] == "Runtime.ExitError" and "exit status 3" in error["ErrorMessage"]
    execution.client.stop_durable_execution(DurableExecutionArn=execution.arn)


def approval(execution) -> str:
    return execution.event("CallbackStarted")["CallbackStartedDetails"]["CallbackId"]


def outcome(execution) -> dict:
    ended = execution.ended()
    assert ended["Status"] == "SUCCEEDED", ended
    return json.loads(ended["Result"])


@pytest.mark.covers("durable:callbacks", client="Python SDK 3.0.0")
@pytest.mark.covers("operation:SendDurableExecutionCallbackSuccess")
@pytest.mark.covers("operation:SendDurableExecutionCallbackFailure")
def test_callbacks_succeed_and_fail(python, client):
    execution = durable.start(python, {"do": "callback"})
    callback = approval(execution)
    client.send_durable_execution_callback_success(CallbackId=callback, Result=b'"approved"')
    assert outcome(execution) == {"result": '"approved"'}
    again = refused(client.send_durable_execution_callback_success, CallbackId=callback, Result=b"1")
    assert again == ("CallbackTimeoutException", 400, "The callback is either timed out or already completed")

    execution = durable.start(python, {"do": "callback"})
    error = {"ErrorType": "Denied", "ErrorMessage": "no", "ErrorData": "{}", "StackTrace": ["here"]}
    client.send_durable_execution_callback_failure(CallbackId=approval(execution), Error=error)
    found = outcome(execution)
    assert found == {"error": "CallbackExternalError", "text": "no"}
    assert execution.event("CallbackFailed")["CallbackFailedDetails"]["Error"]["Payload"] == error


@pytest.mark.covers("durable:callbacks", client="JavaScript SDK 2.4.0")
def test_callbacks_of_javascript(node_durable, client):
    execution = durable.start(node_durable, {"do": "callback", "timeout": 60})
    client.send_durable_execution_callback_success(CallbackId=approval(execution), Result=b"approved")
    assert outcome(execution) == {"result": "approved"}
    assert execution.event("CallbackStarted")["CallbackStartedDetails"]["Timeout"] == 60


@pytest.mark.covers("durable:callback timeouts", client="Python SDK 3.0.0")
@pytest.mark.covers("operation:SendDurableExecutionCallbackHeartbeat")
def test_callbacks_time_out_and_heartbeats_put_it_off(python, client):
    by_time = durable.start(python, {"do": "callback", "timeout": 2})
    silent = durable.start(python, {"do": "callback", "heartbeat_timeout": 2})
    alive = durable.start(python, {"do": "callback", "heartbeat_timeout": 2})
    callback, until = approval(alive), time.monotonic() + 4
    while time.monotonic() < until:
        client.send_durable_execution_callback_heartbeat(CallbackId=callback)
        # The interval of a heart, not a wait for something.
        time.sleep(0.5)
    client.send_durable_execution_callback_success(CallbackId=callback, Result=b"7")
    assert outcome(alive) == {"result": "7"}
    for execution, error in [(by_time, "Callback.Timeout"), (silent, "Callback.Heartbeat")]:
        assert outcome(execution)["error"] == "CallbackTimeoutError"
        details = execution.event("CallbackTimedOut")["CallbackTimedOutDetails"]
        assert details["Error"]["Payload"]["ErrorType"] == error
    late = refused(client.send_durable_execution_callback_heartbeat, CallbackId=approval(silent))
    assert late[:2] == ("CallbackTimeoutException", 400)


@pytest.mark.covers("durable:chained invokes", client="Python SDK 3.0.0")
def test_chained_invokes(python, deploy):
    plain = deploy({"app.py": "def handler(event, context):\n    if 'fail' in event: raise ValueError('no')\n    return {'got': event, 'arn': context.invoked_function_arn}"})
    execution = durable.start(python, {"do": "chained", "function": f"{plain.name}:$LATEST", "payload": {"a": 1}})
    assert outcome(execution)["result"]["got"] == {"a": 1}
    started = execution.event("ChainedInvokeStarted")["ChainedInvokeStartedDetails"]
    assert started["ExecutedVersion"] == "$LATEST" and "DurableExecutionArn" not in started

    execution = durable.start(python, {"do": "chained", "function": plain.name, "payload": {"fail": 1}})
    assert "no" in outcome(execution)["text"]
    failed = execution.event("ChainedInvokeFailed")["ChainedInvokeFailedDetails"]["Error"]["Payload"]
    assert (failed["ErrorType"], failed["ErrorMessage"]) == ("ValueError", "no")

    # A durable function, which suspends itself meanwhile.
    waits = {"do": "waits", "n": 1, "seconds": 1}
    execution = durable.start(python, {"do": "chained", "function": f"{python.name}:$LATEST", "payload": waits})
    assert outcome(execution) == {"result": 2}
    child = durable.Execution(execution.client, execution.event("ChainedInvokeStarted")["ChainedInvokeStartedDetails"]["DurableExecutionArn"])
    assert json.loads(child.get()["InputPayload"]) == waits and child.status == "SUCCEEDED"
    for name, text in [("nobody", "Function not found: "), (python.name, "You cannot invoke a durable function using an unqualified ARN.")]:
        execution = durable.start(python, {"do": "chained", "function": name, "payload": {}})
        assert text in outcome(execution)["text"]


@pytest.mark.covers("durable:chained invokes", client="JavaScript SDK 2.4.0")
def test_chained_invokes_of_javascript(node_durable, deploy):
    plain = deploy({"app.py": "def handler(event, context): return {'got': event}"})
    execution = durable.start(node_durable, {"do": "chained", "function": plain.name, "payload": [1, 2]})
    assert outcome(execution) == {"result": {"got": [1, 2]}}


@pytest.mark.covers("durable:child contexts", client="Python SDK 3.0.0")
def test_child_contexts_and_maps(python):
    execution = durable.start(python, {"do": "children"})
    assert outcome(execution) == ["inner", [10, 20, 30]]
    assert execution.kinds().count("ContextSucceeded") >= 5


@pytest.mark.covers("operation:GetDurableExecutionState", client="Python SDK 3.0.0")
def test_state_that_does_not_fit_into_an_event_is_read_in_pages(python):
    """Eight megabytes of results: more than an invocation's event holds."""
    execution = durable.start(python, {"do": "many", "steps": 40, "bytes": 200_000})
    assert outcome(execution) == 3 * 200_000
    assert execution.kinds().count("StepSucceeded") == 43


@pytest.mark.covers("durable:Invoke RequestResponse")
def test_results_have_their_bounds(python):
    answer = python.invoke({"do": "large", "bytes": 2_000_000}, **LATEST)
    assert answer.error is None and len(answer.json) == 2_000_000
    # Of what nobody waits for, one mebibyte at most.
    ended = durable.start(python, {"do": "large", "bytes": 2_000_000}).ended()
    assert ended["Status"] == "FAILED"
    assert ended["Error"]["ErrorMessage"] == "Execution output payload size must be less than or equal to 1048576 bytes."


@pytest.mark.covers("durable:execution names")
def test_names_are_idempotent(python, client):
    first = durable.start(python, {"do": "steps", "n": 1}, name="order-1")
    again = durable.start(python, {"do": "steps", "n": 1}, name="order-1")
    assert first.arn == again.arn and "/durable-execution/order-1/" in first.arn
    assert first.ended()["Status"] == "SUCCEEDED"
    other = refused(client.invoke, FunctionName=python.name, Qualifier="$LATEST", Payload=b'{"do": "steps", "n": 2}', DurableExecutionName="order-1")
    assert other == ("DurableExecutionAlreadyStartedException", 409, f"Execution already started: {first.arn}")
    # One that has ended is answered again, without running.
    answer = client.invoke(FunctionName=python.name, Qualifier="$LATEST", Payload=b'{"do": "steps", "n": 1}', DurableExecutionName="order-1")
    assert (json.load(answer["Payload"]), answer["DurableExecutionArn"]) == (3, first.arn)
    assert first.kinds().count("ExecutionStarted") == 1


@pytest.mark.covers("operation:StopDurableExecution")
@pytest.mark.covers("operation:DeleteDurableExecution")
@pytest.mark.covers("operation:GetDurableExecution")
def test_stop_and_delete(python, client):
    execution = durable.start(python, {"do": "waits", "n": 1, "seconds": 31_622_400})
    execution.event("WaitStarted")
    conflict = refused(client.delete_durable_execution, DurableExecutionArn=execution.arn)
    assert conflict[:2] == ("ResourceConflictException", 409)
    error = {"ErrorType": "Operator", "ErrorMessage": "enough"}
    stopped = client.stop_durable_execution(DurableExecutionArn=execution.arn, Error=error)["StopTimestamp"]
    found = execution.get()
    assert (found["Status"], found["Error"], found["EndTimestamp"]) == ("STOPPED", error, stopped)
    assert client.stop_durable_execution(DurableExecutionArn=execution.arn)["StopTimestamp"] == stopped
    assert execution.kinds()[-1] == "ExecutionStopped"
    client.delete_durable_execution(DurableExecutionArn=execution.arn)

    def gone():
        try:
            return execution.status not in ("DELETING", None) and None
        except client.exceptions.ResourceNotFoundException as error:
            return error

    assert host.eventually(gone, "the execution is deleted").response["Error"]["Message"] == "Durable Execution does not exist"


@pytest.mark.covers("operation:PauseDurableExecution")
@pytest.mark.covers("operation:ResumeDurableExecution")
def test_pause_and_resume(python, client):
    execution = durable.start(python, {"do": "waits", "n": 4, "seconds": 2})
    execution.event("WaitStarted")
    execution.event("InvocationCompleted")
    client.pause_durable_execution(DurableExecutionArn=execution.arn, Reason="maintenance", ClientToken="t1")
    found = execution.until("PAUSED")
    assert found["PauseDetails"]["ExecutionTimeoutPaused"] is True
    client.pause_durable_execution(DurableExecutionArn=execution.arn, Reason="maintenance", ClientToken="t1")
    assert refused(client.pause_durable_execution, DurableExecutionArn=execution.arn)[:2] == ("ResourceConflictException", 409)
    # The wait ends all the same; the function is not invoked.
    execution.event("WaitSucceeded")
    assert execution.kinds().count("InvocationCompleted") == 1 and execution.status == "PAUSED"
    client.resume_durable_execution(DurableExecutionArn=execution.arn)
    assert outcome(execution) == 5
    kinds = execution.kinds()
    assert kinds.index("ExecutionPaused") < kinds.index("WaitSucceeded") < kinds.index("ExecutionResumed")
    assert execution.event("ExecutionPaused")["ExecutionPausedDetails"]["Reason"]["Payload"] == "maintenance"
    assert refused(client.resume_durable_execution, DurableExecutionArn=execution.arn)[:2] == ("ResourceConflictException", 409)


@pytest.mark.covers("durable:execution timeout")
def test_executions_time_out(deploy):
    function = durable.python(deploy, PYTHON, DurableConfig={"ExecutionTimeout": 3})
    execution = durable.start(function, {"do": "waits", "n": 1, "seconds": 100})
    ended = execution.ended()
    assert (ended["Status"], ended["Error"]["ErrorMessage"]) == ("TIMED_OUT", "Execution timed out after 3 seconds.")
    assert execution.kinds()[-1] == "ExecutionTimedOut"


@pytest.mark.covers("operation:ListDurableExecutionsByFunction")
def test_lists_filter_and_page(deploy, client):
    function = durable.python(deploy, PYTHON)
    client.publish_version(FunctionName=function.name)
    started = [durable.start(function, {"do": "steps", "n": number}, qualifier=("1" if number % 2 else "$LATEST")) for number in range(5)]
    for execution in started:
        execution.ended()
    waiting = durable.start(function, {"do": "waits", "n": 1, "seconds": 1000}, name="waiting")

    def listed(**more) -> list[str]:
        found, marker = [], {}
        while True:
            page = client.list_durable_executions_by_function(FunctionName=function.name, **more, **marker)
            found += page["DurableExecutions"]
            if "NextMarker" not in page:
                return [row["DurableExecutionArn"] for row in found]
            assert len(page["DurableExecutions"]) == more["MaxItems"]
            marker = {"Marker": page["NextMarker"]}

    arns = [execution.arn for execution in started] + [waiting.arn]
    assert listed() == arns[::-1] and listed(ReverseOrder=True) == arns
    assert listed(MaxItems=2) == arns[::-1] and listed(MaxItems=4, ReverseOrder=True) == arns
    assert listed(Statuses=["RUNNING"]) == [waiting.arn] == listed(DurableExecutionName="waiting")
    assert listed(Qualifier="1") == [arns[3], arns[1]]
    assert len(listed(Qualifier="$LATEST")) == 4
    moment = waiting.get()["StartTimestamp"]
    assert listed(StartedBefore=moment) == arns[:-1][::-1] and listed(StartedAfter=moment) == []
    client.stop_durable_execution(DurableExecutionArn=waiting.arn)


@pytest.mark.covers("operation:GetDurableExecutionHistory")
@pytest.mark.covers("operation:GetDurableExecution")
def test_data_can_be_left_out_and_history_pages(python, client):
    execution = durable.start(python, {"do": "steps", "n": 5})
    execution.ended()
    found = execution.get(IncludeExecutionData=False)
    assert found["ExecutionDataIncluded"] is False and not {"InputPayload", "Result"} & found.keys()
    assert execution.get()["InputPayload"] == '{"do": "steps", "n": 5}' and found["Version"] == "$LATEST"
    assert found["FunctionArn"].endswith(f":{python.name}:$LATEST") and found["DurableConfig"] == durable.CONFIG
    events = execution.events(MaxItems=1)
    assert events == execution.events() and events == execution.events(ReverseOrder=True, MaxItems=2)[::-1]
    assert events[0]["ExecutionStartedDetails"] == {"Input": {"Payload": '{"do": "steps", "n": 5}', "Truncated": False}, "ExecutionTimeout": 600}
    bare = execution.events(IncludeExecutionData=False)
    assert bare[0]["ExecutionStartedDetails"]["Input"] == {"Truncated": True}
    assert bare[-1]["ExecutionSucceededDetails"]["Result"] == {"Truncated": True}


@pytest.mark.covers("durable:own executions only", client="raw HTTP")
def test_a_function_reaches_its_own_executions_only(python, deploy, client):
    execution = durable.start(python, {"do": "waits", "n": 1, "seconds": 1000})
    stranger = deploy({"app.py": """
        import os, json, urllib.error, urllib.parse, urllib.request
        def handler(event, context):
            url = os.environ["AWS_ENDPOINT_URL"] + "/2025-12-01/durable-executions/" + urllib.parse.quote(event["arn"], safe="") + event["rest"]
            try:
                urllib.request.urlopen(urllib.request.Request(url, (event.get("body") or "").encode() or None, method=event["method"]), timeout=5)
                return 200
            except urllib.error.HTTPError as error:
                return [error.code, error.headers["x-amzn-ErrorType"]]
    """})
    body = json.dumps({"CheckpointToken": "QUJD"})
    for method, rest, data in [("POST", "/checkpoint", body), ("GET", "/state?CheckpointToken=QUJD", ""), ("GET", "", ""), ("GET", "/history", ""), ("POST", "/stop", ""), ("DELETE", "", "")]:
        assert stranger.ok({"arn": execution.arn, "rest": rest, "method": method, "body": data}) == [403, "AccessDeniedException"], (method, rest)
    assert execution.status == "RUNNING"
    client.stop_durable_execution(DurableExecutionArn=execution.arn)


@pytest.mark.covers("durable:Invoke RequestResponse")
def test_somebody_who_waits_learns_at_once_that_there_is_no_room(deploy, client):
    function = durable.python(deploy, PYTHON)
    client.put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=0)
    found = refused(client.invoke, FunctionName=function.name, Qualifier="$LATEST", Payload=b'{"do": "steps", "n": 1}')
    assert found[:2] == ("TooManyRequestsException", 429)
    # An event waits for room.
    execution = durable.start(function, {"do": "steps", "n": 1})
    client.delete_function_concurrency(FunctionName=function.name)
    assert outcome(execution) == 3


@pytest.mark.covers("durable:Invoke Event")
def test_an_event_for_a_destination_starts_an_execution(python, deploy, client):
    source = deploy({"app.py": "def handler(event, context): return {'do': 'steps'}"})
    destination = {"OnSuccess": {"Destination": f"arn:aws:lambda:us-east-1:000000000000:function:{python.name}:$LATEST"}}
    client.put_function_event_invoke_config(FunctionName=source.name, DestinationConfig=destination)
    before = len(client.list_durable_executions_by_function(FunctionName=python.name)["DurableExecutions"])
    client.invoke(FunctionName=source.name, InvocationType="Event", Payload=b"{}")

    def arrived():
        found = client.list_durable_executions_by_function(FunctionName=python.name)["DurableExecutions"]
        return found[0] if len(found) > before else None

    started = durable.Execution(client, host.eventually(arrived, "the execution has started")["DurableExecutionArn"])
    assert json.loads(started.get()["InputPayload"])["responsePayload"] == {"do": "steps"}
    # The record is no order this function knows: it fails, and is not delivered again.
    assert started.ended()["Status"] == "FAILED"
