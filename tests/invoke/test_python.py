"""Python functions as Lambda runs them: context, layout, environment, and the shapes of what goes wrong."""

import json
import re

import pytest

from support.functions import PYTHON, node_runtime

CONTEXT = """
    import os, sys, json
    def handler(event, context):
        return {
            "event": event,
            "request_id": context.aws_request_id,
            "name": context.function_name,
            "version": context.function_version,
            "arn": context.invoked_function_arn,
            "memory": context.memory_limit_in_mb,
            "group": context.log_group_name,
            "stream": context.log_stream_name,
            "remaining": context.get_remaining_time_in_millis(),
            "client_context": getattr(context.client_context, "custom", None),
            "cwd": os.getcwd(),
            "path": sys.path[0],
            "environment": dict(os.environ),
            "uid": os.getuid(),
            "gid": os.getgid(),
        }
"""


@pytest.mark.covers("runtime:python")
@pytest.mark.covers("operation:Invoke RequestResponse")
def test_context_layout_and_environment(deploy):
    function = deploy({"app.py": CONTEXT}, variables={"GREETING": "hello"}, Timeout=7, MemorySize=192)
    answer = function.invoke({"n": [1, "ü"]})
    seen = answer.json
    assert answer.status == 200 and answer.error is None
    assert answer.version == "$LATEST"
    assert seen["event"] == {"n": [1, "ü"]}
    assert seen["request_id"] == answer.request_id
    assert seen["name"] == function.name
    assert seen["version"] == "$LATEST"
    assert seen["arn"] == f"arn:aws:lambda:us-east-1:000000000000:function:{function.name}"
    assert int(seen["memory"]) == 192
    assert seen["group"] == f"/aws/lambda/{function.name}"
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", seen["stream"])
    assert 5000 < seen["remaining"] <= 7000
    assert seen["cwd"] == "/var/task" and seen["path"] == "/var/task"
    assert (seen["uid"], seen["gid"]) == (993, 990)
    environment = seen["environment"]
    for name, value in {
        "GREETING": "hello",
        "_HANDLER": "app.handler",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{PYTHON}",
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "192",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "LAMBDA_TASK_ROOT": "/var/task",
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
    }.items():
        assert environment.get(name) == value, name
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_LAMBDA_RUNTIME_API", "PATH", "LD_LIBRARY_PATH", "AWS_ENDPOINT_URL"):
        assert environment.get(name), name
    assert environment["AWS_LAMBDA_LOG_STREAM_NAME"] == seen["stream"]


@pytest.mark.covers("runtime:python")
@pytest.mark.covers("instance:reuse")
def test_an_idle_instance_is_used_again(deploy):
    function = deploy({"app.py": """
        import uuid
        me, calls = uuid.uuid4().hex, 0
        def handler(event, context):
            global calls
            calls += 1
            return [me, calls]
    """})
    first, second, third = (function.ok() for _ in range(3))
    assert first[0] == second[0] == third[0]
    assert [first[1], second[1], third[1]] == [1, 2, 3]


@pytest.mark.covers("runtime:python")
@pytest.mark.parametrize("value", [None, 0, "", "text ü \U0001f600", [], {}, {"a": None}, 1.5, True])
def test_answers_are_json(deploy, value):
    function = deploy({"app.py": "def handler(event, context): return event['value']"})
    assert function.ok({"value": value}) == value


ERRORS = """
    import sys, os, time, signal
    class Refused(Exception):
        pass
    def deeper():
        raise Refused("no, ü")
    def handler(event, context):
        match event["do"]:
            case "raise": deeper()
            case "unserialisable": return {1, 2}
            case "exit 0": sys.exit(0)
            case "exit 3": os._exit(3)
            case "kill": os.kill(os.getpid(), signal.SIGKILL)
            case "segv": os.kill(os.getpid(), signal.SIGSEGV)
            case "sleep": time.sleep(60)
        return "fine"
"""


@pytest.mark.covers("runtime:python errors")
def test_a_raised_exception_has_type_message_and_stack(deploy):
    function = deploy({"app.py": ERRORS})
    answer = function.invoke({"do": "raise"})
    assert answer.status == 200 and answer.error == "Unhandled"
    document = answer.json
    assert document["errorType"] == "Refused"
    assert document["errorMessage"] == "no, ü"
    assert document["requestId"] == answer.request_id
    assert len(document["stackTrace"]) == 2
    assert document["stackTrace"][0].startswith('  File "/var/task/app.py", line ')
    assert "in deeper" in document["stackTrace"][1]
    assert "[ERROR] Refused: no, ü" in answer.log
    assert "Status:" not in answer.log, "a handler's error is not an error of the instance"
    assert function.ok({"do": "nothing"}) == "fine"


@pytest.mark.covers("runtime:python errors")
def test_an_answer_that_is_not_json_is_a_marshal_error(deploy):
    answer = deploy({"app.py": ERRORS}).invoke({"do": "unserialisable"})
    assert answer.error == "Unhandled"
    assert answer.error_type == "Runtime.MarshalError"
    assert "Object of type set is not JSON serializable" in answer.json["errorMessage"]


@pytest.mark.covers("runtime:python errors")
@pytest.mark.covers("instance:crash")
@pytest.mark.parametrize(
    "do, message",
    [
        ("exit 0", "Runtime exited without providing a reason"),
        ("exit 3", "Runtime exited with error: exit status 3"),
        ("kill", "Runtime exited with error: signal: killed"),
        ("segv", "Runtime exited with error: signal: segmentation fault"),
    ],
)
def test_a_runtime_that_ends_is_an_exit_error_and_the_next_call_gets_a_new_one(deploy, do, message):
    function = deploy({"app.py": ERRORS})
    answer = function.invoke({"do": do})
    assert answer.error == "Unhandled"
    assert answer.json["errorType"] == "Runtime.ExitError"
    assert answer.json["errorMessage"].startswith(f"RequestId: {answer.request_id} Error: {message}")
    assert answer.report["Status"] == "error"
    assert function.ok({"do": "nothing"}) == "fine"


@pytest.mark.covers("instance:timeout")
@pytest.mark.covers("runtime:python errors")
def test_a_timeout_kills_the_instance_and_its_tmp_lives_on(deploy):
    function = deploy({"app.py": """
        import os, time, uuid
        me = uuid.uuid4().hex
        def handler(event, context):
            if event.get("write"):
                open("/tmp/kept", "w").write(event["write"])
                time.sleep(60)
            return [me, open("/tmp/kept").read() if os.path.exists("/tmp/kept") else None]
    """}, Timeout=2)
    before = function.ok({})
    answer = function.invoke({"write": "still here"})
    assert answer.error == "Unhandled"
    assert answer.json == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: {answer.request_id} Error: Task timed out after 2.00 seconds",
    }
    assert answer.report["Status"] == "timeout"
    assert 2000 <= int(answer.report["Billed Duration"].removesuffix(" ms")) < 3000
    after = function.ok({})
    assert after[0] != before[0], "globals must be gone"
    assert after[1] == "still here", "/tmp is carried to the next instance"


@pytest.mark.covers("input:missing handler, module, bootstrap")
@pytest.mark.parametrize(
    "files, handler, error_type, message",
    [
        ({"app.py": "x = 1"}, "app.handler", "Runtime.HandlerNotFound", "Handler 'handler' missing on module 'app'"),
        ({"other.py": "x = 1"}, "app.handler", "Runtime.ImportModuleError", "Unable to import module 'app': No module named 'app'"),
        ({"app.py": "import nothing_like_it"}, "app.handler", "Runtime.ImportModuleError", "Unable to import module 'app': No module named 'nothing_like_it'"),
        ({"app.py": "def handler(:"}, "app.handler", "Runtime.UserCodeSyntaxError", "Syntax error in module 'app'"),
        ({"app.py": "x = 1"}, "handler", "Runtime.MalformedHandlerName", "Bad handler 'handler'"),
    ],
)
def test_what_is_missing_is_said_on_invoke(deploy, files, handler, error_type, message):
    function = deploy(files, handler=handler)
    for _ in range(2):
        answer = function.invoke({})
        assert answer.error == "Unhandled"
        assert answer.json["errorType"] == error_type
        assert answer.json["errorMessage"].startswith(message)


@pytest.mark.covers("runtime:python errors")
@pytest.mark.parametrize(
    "top_level, error_type",
    [("raise ValueError('at import')", "ValueError"), ("import sys; sys.exit(0)", "Runtime.ExitError"), ("import os; os._exit(5)", "Runtime.ExitError")],
)
def test_an_import_that_fails(deploy, top_level, error_type):
    answer = deploy({"app.py": f"{top_level}\ndef handler(e, c): return 1"}).invoke({})
    assert answer.error == "Unhandled"
    assert answer.json["errorType"] == error_type


@pytest.mark.covers("instance:slow init")
@pytest.mark.timeout(60)
def test_a_slow_init_goes_on_inside_the_first_call(deploy, server):
    """The first try is cut off after ten seconds; the second one runs within the call's own timeout."""
    client = server.client("logs")
    function = deploy({"app.py": """
        import os, time
        tries = len(os.listdir("/tmp")) if os.path.isdir("/tmp") else 0
        open(f"/tmp/try-{time.time_ns()}", "w").close()
        time.sleep(11)
        def handler(event, context):
            return "up"
    """}, Timeout=30)
    answer = function.invoke({})
    assert answer.error is None, answer.body
    assert answer.json == "up"
    lines = [event["message"] for event in client.filter_log_events(logGroupName=f"/aws/lambda/{function.name}")["events"]]
    first_try = next(line for line in lines if line.startswith("INIT_REPORT"))
    assert re.match(r"INIT_REPORT Init Duration: (9[89]\d\d|10\d\d\d)\.\d\d ms\tPhase: init\tStatus: timeout", first_try)


@pytest.mark.covers("operation:Invoke client context")
def test_client_context_arrives_decoded(deploy):
    import base64

    function = deploy({"app.py": CONTEXT})
    encoded = base64.b64encode(json.dumps({"custom": {"who": "tester"}, "env": {}, "client": {}}).encode()).decode()
    assert function.ok({}, ClientContext=encoded)["client_context"] == {"who": "tester"}


@pytest.mark.covers("operation:Invoke log tail")
@pytest.mark.covers("meter:REPORT")
def test_the_log_tail_has_start_lines_end_and_report(deploy):
    function = deploy({"app.py": """
        import logging
        def handler(event, context):
            print("printed", event["n"])
            logging.getLogger().warning("warned %s", event["n"])
            print("several\\nlines")
    """})
    cold = function.invoke({"n": 1})
    warm = function.invoke({"n": 2})
    for n, answer in ((1, cold), (2, warm)):
        lines = answer.log.splitlines()
        start, end = f"START RequestId: {answer.request_id} Version: $LATEST", f"END RequestId: {answer.request_id}"
        assert lines.count(start) == 1 and lines.count(end) == 1
        body = lines[lines.index(start) + 1 : lines.index(end)]
        assert f"printed {n}" in body
        assert any(re.fullmatch(rf"\[WARNING\]\t\S+Z\t{answer.request_id}\twarned {n}", line) for line in body), body
        assert re.search(
            rf"REPORT RequestId: {answer.request_id}\tDuration: \d+\.\d\d ms\tBilled Duration: \d+ ms\tMemory Size: 128 MB\tMax Memory Used: \d+ MB\t",
            answer.log,
        ), answer.log
    assert "Init Duration" in cold.report and "Init Duration" not in warm.report
    duration, init = float(cold.report["Duration"].split()[0]), float(cold.report["Init Duration"].split()[0])
    billed = int(cold.report["Billed Duration"].split()[0])
    assert abs(billed - (duration + init)) <= 1.02, "billed is init and handler, rounded up"
    assert int(warm.report["Billed Duration"].split()[0]) == -(-float(warm.report["Duration"].split()[0]) // 1)


@pytest.mark.covers("operation:Invoke log tail")
def test_the_log_tail_is_the_last_four_kibibytes(deploy):
    answer = deploy({"app.py": "def handler(e, c):\n    for n in range(2000): print('line', n)"}).invoke({})
    assert 3000 < len(answer.log.encode()) <= 4096
    assert "line 1999" in answer.log and "REPORT" in answer.log


@pytest.mark.covers("input:oversize payload")
def test_an_answer_over_six_megabytes_is_refused(deploy):
    function = deploy({"app.py": "def handler(e, c): return 'x' * e['bytes']"}, MemorySize=512)
    assert len(function.ok({"bytes": 6_000_000})) == 6_000_000
    answer = function.invoke({"bytes": 6_300_000})
    assert answer.error == "Unhandled"
    assert answer.json == {
        "errorType": "Function.ResponseSizeTooLarge",
        "errorMessage": "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
    }
    assert len(function.ok({"bytes": 10})) == 10


@pytest.mark.covers("input:oversize payload")
def test_a_request_over_six_megabytes_is_refused(deploy, client):
    function = deploy({"app.py": "def handler(e, c): return len(e)"}, MemorySize=512)
    assert function.ok("x" * 6_000_000) == 6_000_000
    with pytest.raises(client.exceptions.ClientError) as refused:
        function.invoke("x" * 6_300_000)
    assert refused.value.response["Error"]["Code"] == "RequestEntityTooLargeException"
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413


@pytest.mark.covers("input:invalid JSON")
def test_a_body_that_is_not_json_is_refused_before_anything_runs(deploy, client):
    function = deploy({"app.py": "def handler(e, c): return 1"})
    with pytest.raises(client.exceptions.InvalidRequestContentException) as refused:
        function.invoke(body=b"{not json")
    assert "Could not parse request body into json" in str(refused.value)


@pytest.mark.covers("runtime:absent interpreter")
def test_an_interpreter_that_is_not_there_is_named(deploy, client):
    function = deploy({"app.py": "def handler(e, c): return 1"}, runtime="java21", handler="example.Handler::handle")
    assert "java21" in client.get_function_configuration(FunctionName=function.name).get("StateReason", "")
    with pytest.raises(client.exceptions.InvalidRuntimeException) as refused:
        function.invoke({})
    assert "java21" in str(refused.value)


def test_node_is_where_this_suite_expects_it():
    """Guards the marker below against a silent change of the naming rule."""
    runtime = node_runtime()
    assert runtime is None or re.fullmatch(r"nodejs\d+\.x", runtime)
