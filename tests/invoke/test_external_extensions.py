"""External extensions: files of /opt/extensions, started beside the runtime, told of events and of the end.

Fields are those of the guide's "Using the Lambda Extensions API"; what fails is told as public issues show it of AWS.
"""

import contextlib
import threading

import pytest

from support.extensions import FUNCTION, NOTES, layer, log_until
from support.functions import custom_runtime

EXTERNAL = "runtime:external extensions"


@pytest.fixture
def with_extensions(deploy, client):
    """`with_extensions({name: source}, **configuration)`: a function whose layer has these extensions."""
    with contextlib.ExitStack() as stack:

        def make(extensions, files=None, **configuration):
            arn = stack.enter_context(layer(client, {f"extensions/{name}": source for name, source in extensions.items()}))
            return deploy(files or {"app.py": FUNCTION}, Layers=[arn], **configuration)

        yield make


def of_kind(events, key, value=None):
    return [event for event in events if key in event and (value is None or event[key] == value)]


@pytest.mark.covers(EXTERNAL, client="boto3")
def test_an_extension_is_started_before_the_runtime_and_told_of_invocations(with_extensions):
    function = with_extensions({"notes": NOTES}, variables={"TABLE": "mine"})
    first = function.invoke({"until": "INVOKE"})
    assert first.error is None, first.log
    started, registered = first.json[:2]
    assert not started["runtime"] and started["directory"] == "/"
    environment = started["environment"]
    assert environment["TABLE"] == "mine" and environment["AWS_LAMBDA_FUNCTION_NAME"] == function.name
    assert environment["AWS_ACCESS_KEY_ID"] and environment["PATH"] and environment["AWS_LAMBDA_RUNTIME_API"]
    for absent in ("_HANDLER", "AWS_EXECUTION_ENV", "AWS_LAMBDA_LOG_STREAM_NAME", "LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR", "PYTHONPATH"):
        assert absent not in environment
    assert registered == {"registered": {"functionName": function.name, "functionVersion": "$LATEST", "handler": "app.handler", "accountId": "000000000000"}}
    second = function.invoke()
    invokes = of_kind(second.json, "eventType", "INVOKE")
    assert invokes[0]["requestId"] == first.request_id
    arn = f"arn:aws:lambda:us-east-1:000000000000:function:{function.name}"
    assert invokes[0]["invokedFunctionArn"] == arn and invokes[0]["deadlineMs"] > 1_700_000_000_000
    assert set(invokes[0]) == {"eventType", "deadlineMs", "requestId", "invokedFunctionArn", "tracing"}
    assert invokes[0]["tracing"]["type"] == "X-Amzn-Trace-Id"
    lines = log_until(function, f"done {second.request_id}")
    assert "EXTENSION\tName: notes\tState: Ready\tEvents: [INVOKE,SHUTDOWN]" in lines
    order = [next(at for at, line in enumerate(lines) if text in line) for text in ("INIT_START", "notes registered", "EXTENSION", "START RequestId")]
    assert order == sorted(order), lines
    assert "Start: from nothing" in first.log


@pytest.mark.covers(EXTERNAL, client="boto3")
def test_the_answer_does_not_wait_and_the_instance_does(with_extensions):
    function = with_extensions({"notes": NOTES}, variables={"DO": "work"})
    for _ in range(2):
        answer = function.invoke()
        assert answer.error is None and f"done {answer.request_id}" in answer.log
        assert float(answer.report["Duration"].split()[0]) >= 400
    events = function.ok({"until": "INVOKE"})
    assert len(of_kind(events, "started")) == 1, "the same instance"


@pytest.mark.covers(EXTERNAL, client="boto3")
def test_a_custom_runtime_has_extensions(with_extensions):
    function = with_extensions({"notes": NOTES, "second": NOTES}, custom_runtime(FUNCTION), runtime="provided.al2023", handler="my.handler")
    events = function.ok({"until": "INVOKE"})
    assert sorted(event["started"] for event in of_kind(events, "started")) == ["notes", "second"]
    assert {event["registered"]["handler"] for event in of_kind(events, "registered")} == {"my.handler"}


@pytest.mark.covers(EXTERNAL, client="boto3")
def test_node_has_extensions(with_extensions, node):
    source = """\
    import {readFileSync} from "node:fs";
    export const handler = async () => readFileSync("/tmp/events", "utf8").trim().split("\\n").map(JSON.parse);
    """
    function = with_extensions({"notes": NOTES}, {"index.mjs": source}, runtime=node, handler="index.handler")
    function.ok()
    assert of_kind(function.ok(), "eventType", "INVOKE")


@pytest.mark.covers("runtime:shutdown phases", client="boto3")
def test_an_instance_that_is_not_needed_ends_in_order(with_extensions):
    function = with_extensions({"notes": NOTES})
    function.ok()
    function.update(Description="another revision")
    lines = log_until(function, "notes ends")
    assert "notes ends: spindown, True" in lines


@pytest.mark.covers("runtime:shutdown phases", client="boto3")
def test_a_timeout_is_told_and_the_files_are_there(with_extensions):
    function = with_extensions({"notes": NOTES}, Timeout=1)
    function.ok()
    late = function.invoke({"sleep": 30})
    assert late.error_type == "Sandbox.Timedout"
    events = function.ok({"until": "INVOKE"})
    shutdown = of_kind(events, "eventType", "SHUTDOWN")
    assert [event["shutdownReason"] for event in shutdown] == ["timeout"]
    assert set(shutdown[0]) == {"eventType", "deadlineMs", "shutdownReason"}
    # The runtime was asked to end before the extension was told.
    at = events.index(shutdown[0])
    assert {"runtime": "SIGTERM"} in events[:at]
    assert len(of_kind(events, "started")) == 2


@pytest.mark.covers("runtime:shutdown phases", client="boto3")
def test_a_runtime_that_exits_is_a_failure_and_nobody_lingers(with_extensions):
    function = with_extensions({"notes": NOTES}, variables={"DO": "linger"})
    function.ok()
    failed = function.invoke({"do": "exit"})
    assert failed.error_type == "Runtime.ExitError"
    # The extension would sleep for a minute: it is killed.
    events = function.ok({"until": "INVOKE"})
    assert [event["shutdownReason"] for event in of_kind(events, "eventType", "SHUTDOWN")] == ["failure"]


@pytest.mark.covers(EXTERNAL, client="boto3")
@pytest.mark.parametrize(
    ("do", "error_type", "text"),
    [("crash at once", "Extension.Crash", "exit code 3"), ("init error", "Extension.InitError", "exit code 2"), ("exit", "Extension.Crash", "exit code 4")],
)
def test_an_extension_that_ends_fails_the_invocation(with_extensions, do, error_type, text):
    function = with_extensions({"notes": NOTES}, variables={"DO": do})
    answer = function.invoke({"sleep": 5})
    assert answer.error == "Unhandled"
    assert answer.json == {"errorType": error_type, "errorMessage": f"RequestId: {answer.request_id} Error: {text}"}
    assert f"RequestId: {answer.request_id} Error: {text}\n{error_type}\n" in answer.log
    assert answer.report["Error Type"] == error_type
    if do == "init error":
        lines = log_until(function, "INIT_REPORT")
        assert "EXTENSION\tName: notes\tState: InitError\tEvents: [INVOKE,SHUTDOWN]\tError Type: Extension.NoConfiguration" in lines
        assert any("Status: error\tError Type: Extension.InitError" in line for line in lines)
    function.update(Environment={"Variables": {}})
    assert function.ok({"until": "INVOKE"})


@pytest.mark.covers(EXTERNAL, client="boto3")
def test_an_extension_that_gives_up_fails_the_invocation(with_extensions):
    function = with_extensions({"notes": NOTES}, variables={"DO": "exit error"})
    answer = function.invoke({"sleep": 5})
    # Ours where the process lives on: what AWS says then is not recorded anywhere we know of.
    text = "Extension notes reported Extension.Mine"
    assert answer.json == {"errorType": "Extension.ExitError", "errorMessage": f"RequestId: {answer.request_id} Error: {text}"}


@pytest.mark.covers(EXTERNAL, client="boto3")
def test_what_is_no_program_and_what_is_too_many(with_extensions, deploy, client):
    function = with_extensions({"empty": "#!/nothing/here\n"})
    answer = function.invoke()
    assert answer.error_type == "Extension.LaunchError" and "No such file" in answer.json["errorMessage"]
    many = with_extensions({f"notes-{number}": NOTES for number in range(11)})
    assert many.invoke().error_type == "Extension.TooManyExtensions"
    ten = with_extensions({f"notes-{number}": NOTES for number in range(10)}, MemorySize=512)
    assert len(of_kind(ten.ok(), "registered")) == 10


@pytest.mark.covers("runtime:internal extensions", client="boto3")
def test_a_thread_of_a_managed_runtime_is_an_extension(deploy):
    source = """\
    import json, os, threading, time, urllib.error, urllib.request
    base = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2020-01-01/extension/"
    def ask(path, headers={}, body=None):
        try:
            with urllib.request.urlopen(urllib.request.Request(base + path, body, headers), timeout=None) as answer:
                return json.load(answer), answer.headers
        except urllib.error.HTTPError as error:
            return json.load(error), error.headers
    refused, _ = ask("register", {"Lambda-Extension-Name": "other"}, b'{"events":["SHUTDOWN"]}')
    told, headers = ask("register", {"Lambda-Extension-Name": "inside"}, b'{"events":["INVOKE"]}')
    me = {"Lambda-Extension-Identifier": headers["Lambda-Extension-Identifier"]}
    seen = []
    def work():
        while True:
            event, _ = ask("event/next", me)
            seen.append(event["requestId"])
            time.sleep(0.2)
            print("thread done", event["requestId"], flush=True)
    threading.Thread(target=work, daemon=True).start()
    def handler(event, context):
        late, _ = ask("register", {"Lambda-Extension-Name": "late"}, b'{"events":[]}')
        try:
            urllib.request.urlopen(f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation/next")
        except urllib.error.HTTPError as error:
            stolen = error.code
        return {"refused": refused["errorType"], "told": told, "late": late["errorType"], "seen": seen, "stolen": stolen}
    """
    function = deploy({"app.py": source})
    first, second = function.invoke(), function.invoke()
    assert first.error is None, first.log
    assert first.json["told"] == {"functionName": function.name, "functionVersion": "$LATEST", "handler": "app.handler"}
    assert first.json["refused"] == "Extension.InvalidEventType" and first.json["late"] == "Extension.RegistrationClosed"
    assert first.json["stolen"] == 403, "the events of this runtime are no one else's"
    assert second.json["seen"][:1] == [first.request_id]
    for answer in (first, second):
        assert f"thread done {answer.request_id}" in answer.log
        assert float(answer.report["Duration"].split()[0]) >= 200
    assert any("EXTENSION\tName: inside\tState: Ready\tEvents: [INVOKE]" in line for line in log_until(function, "EXTENSION"))


@pytest.mark.covers(EXTERNAL, client="boto3")
def test_many_instances_at_once(with_extensions):
    function = with_extensions({"notes": NOTES})
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(function.ok({"sleep": 0.5, "until": "INVOKE"}))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4 and all(len(of_kind(events, "started")) == 1 for events in answers)
