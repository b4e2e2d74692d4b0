"""Streamed answers with boto3: bytes while the function works, bounds, pace, and every way it can go wrong."""

import json
import time

import pytest

from support import functions, streams
from support.host import SLOWNESS, eventually

# Waits at the gate between two pieces: the second can only come when the first has reached the test.
TWO_PIECES = """
    import { existsSync, writeFileSync } from "node:fs";
    const opened = async (name) => {
        while (!existsSync("/mnt/gate/" + name)) await new Promise((resolve) => setTimeout(resolve, 5));
    };
    export const handler = awslambda.streamifyResponse(async (event, stream, context) => {
        stream.setContentType("text/plain");
        stream.write("one ");
        await opened(event.gate);
        if (event.fail) throw new RangeError("in the middle");
        if (event.exit) process.exit(3);
        stream.write("two");
        stream.end();
        if (event.after) writeFileSync("/mnt/gate/" + event.after, "");
    });
"""
# Writes `pieces` of `bytes`, waiting for room as a well-behaved handler does, and notes how far it has come.
MANY_PIECES = """
    import { appendFileSync } from "node:fs";
    import { once } from "node:events";
    export const handler = awslambda.streamifyResponse(async (event, stream) => {
        const piece = "x".repeat(event.bytes);
        for (let n = 0; n < event.pieces; n++) {
            if (!stream.write(piece)) await once(stream, "drain");
            if (event.notes) appendFileSync("/mnt/gate/" + event.notes, "x");
        }
        stream.end();
    });
"""


@pytest.fixture
def gate(deploy):
    return streams.Gate(deploy)


@pytest.fixture
def two_pieces(deploy, node):
    return deploy({"app.mjs": TWO_PIECES}, runtime=node, FileSystemConfigs=[streams.ACCESS_POINT])


@pytest.mark.covers("operation:InvokeWithResponseStream")
@pytest.mark.covers("runtime:nodejs streaming")
def test_the_first_bytes_arrive_while_the_function_works(two_pieces, gate):
    for call in ("cold", "warm"):
        name = gate.new()
        stream = streams.invoke(two_pieces, {"gate": name}, LogType="Tail")
        assert stream.answer["StatusCode"] == 200
        assert stream.answer["ExecutedVersion"] == "$LATEST"
        # The model binds this member to the header of the whole answer, so AWS's SDKs see the frames' type there.
        assert stream.answer["ResponseStreamContentType"] == "application/vnd.amazon.eventstream"
        assert next(stream) == b"one ", call
        gate.open(name)
        assert stream.rest() == b"two"
        assert set(stream.complete) == {"LogResult"}
        request_id = stream.answer["ResponseMetadata"]["RequestId"]
        assert f"START RequestId: {request_id}" in stream.log and f"REPORT RequestId: {request_id}" in stream.log


@pytest.mark.covers("operation:InvokeWithResponseStream")
def test_without_a_tail_nothing_but_the_end_is_said(two_pieces, gate):
    name = gate.new()
    gate.open(name)
    stream = streams.invoke(two_pieces, {"gate": name})
    assert stream.rest() == b"one two"
    assert stream.complete == {}


@pytest.mark.covers("operation:InvokeWithResponseStream")
def test_versions_dry_runs_and_refusals(two_pieces, gate, client):
    name = gate.new()
    gate.open(name)
    version = client.publish_version(FunctionName=two_pieces.name)["Version"]
    client.get_waiter("function_active_v2").wait(FunctionName=two_pieces.name, Qualifier=version)
    stream = streams.invoke(two_pieces, {"gate": name}, Qualifier=version)
    assert stream.answer["ExecutedVersion"] == version and stream.rest() == b"one two"
    dry = client.invoke_with_response_stream(FunctionName=two_pieces.name, InvocationType="DryRun", Payload=b"{}")
    assert dry["StatusCode"] == 204 and list(dry["EventStream"]) == []
    with pytest.raises(client.exceptions.ResourceNotFoundException, match="Function not found: arn:aws:lambda:us-east-1:000000000000:function:absent"):
        client.invoke_with_response_stream(FunctionName="absent", Payload=b"{}")
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        streams.invoke(two_pieces, Qualifier="99")
    with pytest.raises(client.exceptions.InvalidRequestContentException, match="Could not parse request body into json"):
        client.invoke_with_response_stream(FunctionName=two_pieces.name, Payload=b"{nonsense")
    with pytest.raises(client.exceptions.ClientError, match=r"'invocationType' failed to satisfy constraint: Member must satisfy enum value set: \[RequestResponse, DryRun\]"):
        client.invoke_with_response_stream(FunctionName=two_pieces.name, InvocationType="Event", Payload=b"{}")


@pytest.mark.covers("runtime:nodejs streaming")
def test_an_http_answer_begins_with_its_prelude(deploy, node):
    function = deploy({"app.mjs": """
        import { Readable } from "node:stream";
        import { pipeline } from "node:stream/promises";
        export const handler = awslambda.streamifyResponse(async (event, stream) => {
            stream = awslambda.HttpResponseStream.from(stream, { statusCode: 201, headers: { "x-mine": "1" }, cookies: ["a=b"] });
            await pipeline(Readable.from(["the ", "body"]), stream);
        });
    """}, runtime=node)
    prelude, nothing, body = streams.invoke(function).rest().partition(b"\0" * 8)
    assert json.loads(prelude) == {"statusCode": 201, "headers": {"x-mine": "1"}, "cookies": ["a=b"]}
    assert nothing and body == b"the body"


@pytest.mark.covers("operation:InvokeWithResponseStream")
def test_a_buffered_function_answers_in_chunks(deploy):
    function = deploy({"app.py": "def handler(event, context):\n    if event.get('fail'): raise ValueError('no')\n    return 'x' * event['length']"})
    stream = streams.invoke(function, {"length": 3}, LogType="Tail")
    assert list(stream) == [b'"xxx"'] and "REPORT" in stream.log
    chunks = list(streams.invoke(function, {"length": 1_000_000}))
    assert len(chunks) > 1 and b"".join(chunks) == b'"' + b"x" * 1_000_000 + b'"'
    failed = streams.invoke(function, {"fail": True})
    assert list(failed) == []
    assert failed.error["errorType"] == "ValueError" and failed.error["errorMessage"] == "no"
    large = streams.invoke(function, {"length": 6_291_556})
    assert list(large) == []
    assert large.error["errorType"] == "Function.ResponseSizeTooLarge"


@pytest.mark.covers("runtime:nodejs streaming")
def test_a_streaming_function_answers_a_buffered_call(two_pieces, gate, deploy, node):
    name = gate.new()
    gate.open(name)
    answer = two_pieces.invoke({"gate": name})
    assert answer.error is None and answer.body == b"one two"
    # What was streamed before the failure is dropped. AWS's answer in this case is not recorded: a guess.
    failed = two_pieces.invoke({"gate": name, "fail": True})
    assert failed.error == "Unhandled" and failed.json["errorType"] == "RangeError"
    many = deploy({"app.mjs": MANY_PIECES}, runtime=node)
    assert len(many.invoke({"pieces": 6, "bytes": 1 << 20}).body) == 6 << 20
    large = many.invoke({"pieces": 7, "bytes": 1 << 20})
    assert large.json == {
        "errorType": "Function.ResponseSizeTooLarge",
        "errorMessage": "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
    }


@pytest.mark.covers("operation:InvokeWithResponseStream errors")
def test_a_failure_in_the_middle_is_told_at_the_end(two_pieces, gate):
    for what, error_type, message in [
        ("fail", "RangeError", "in the middle"),
        ("exit", "Runtime.ExitError", "RequestId: {} Error: Runtime exited with error: exit status 3"),
    ]:
        name = gate.new()
        stream = streams.invoke(two_pieces, {"gate": name, what: True}, LogType="Tail")
        assert next(stream) == b"one "
        gate.open(name)
        assert stream.rest() == b""
        assert stream.error["errorType"] == error_type
        assert stream.error["errorMessage"] == message.format(stream.answer["ResponseMetadata"]["RequestId"])
        assert "REPORT" in stream.log
    assert streams.invoke(two_pieces, {"gate": name}).rest() == b"one two"


@pytest.mark.covers("operation:InvokeWithResponseStream errors")
def test_a_timeout_in_the_middle(deploy, node, gate):
    function = deploy({"app.mjs": TWO_PIECES}, runtime=node, FileSystemConfigs=[streams.ACCESS_POINT], Timeout=1)
    stream = streams.invoke(function, {"gate": "never opened"}, LogType="Tail")
    assert list(stream) == [b"one "]
    request_id = stream.answer["ResponseMetadata"]["RequestId"]
    assert stream.error == {"errorType": "Sandbox.Timedout", "errorMessage": f"RequestId: {request_id} Error: Task timed out after 1.00 seconds"}
    assert "Status: timeout" in stream.log
    name = gate.new()
    gate.open(name)
    assert streams.invoke(function, {"gate": name}).rest() == b"one two"


@pytest.mark.covers("operation:InvokeWithResponseStream errors")
def test_an_init_that_fails_is_told_in_the_last_frame(deploy, node):
    function = deploy({"app.mjs": "throw new Error('at the top');"}, runtime=node)
    stream = streams.invoke(function)
    assert list(stream) == [] and stream.error["errorMessage"] == "at the top"


@pytest.mark.covers("operation:InvokeWithResponseStream limits")
def test_a_client_that_goes_away_does_not_stop_the_function(two_pieces, gate):
    name, after = gate.new(), gate.new()
    stream = streams.invoke(two_pieces, {"gate": name, "after": after})
    assert next(stream) == b"one "
    stream.answer["EventStream"].close()
    gate.open(name)
    eventually(lambda: gate.size(after) is not None, "the function went on")
    request_id = stream.answer["ResponseMetadata"]["RequestId"]
    logs = two_pieces.server.client("logs")

    def report():
        events = logs.filter_log_events(logGroupName=f"/aws/lambda/{two_pieces.name}", filterPattern="REPORT")["events"]
        return next((event["message"] for event in events if request_id in event["message"]), None)

    line = eventually(report, "its REPORT line")
    assert "Billed Duration" in line and "Status" not in line
    again = streams.invoke(two_pieces, {"gate": name})
    assert again.rest() == b"one two", "the instance is as good as before"


@pytest.fixture
def on(new_server, node):
    """A server with its own bounds, and a function of many pieces on it."""

    def make(**bounds):
        server = new_server(environment={f"LAMPLIGHT_STREAMING_{key.upper()}": str(value) for key, value in bounds.items()}).start()
        deploy = lambda files, **more: functions.create(server, files, **more)
        many = deploy({"app.mjs": MANY_PIECES}, runtime=node, FileSystemConfigs=[streams.ACCESS_POINT], Timeout=60)
        return many, streams.Gate(deploy)

    return make


@pytest.mark.covers("operation:InvokeWithResponseStream limits")
def test_the_largest_answer_and_the_pace_of_the_rest(on):
    many, _ = on(most_kib=512, unhindered_kib=128, kib_per_second=128)
    # What goes beyond the bound is no part of the answer, and the instance lives.
    stream = streams.invoke(many, {"pieces": 9, "bytes": 64 << 10}, LogType="Tail")
    assert stream.rest() == b"x" * (512 << 10)
    assert stream.error == {
        "errorType": "Function.ResponseSizeTooLarge",
        "errorMessage": "Response payload size exceeded maximum allowed payload size (524288 bytes).",
    }
    assert streams.invoke(many, {"pieces": 1, "bytes": 10}).rest() == b"x" * 10
    # 384 KiB beyond the first 128 take three seconds, of which the last piece's half second is not waited for; the
    # function is held up as long, and billed for it.
    begin = time.monotonic()
    stream = streams.invoke(many, {"pieces": 8, "bytes": 64 << 10}, LogType="Tail")
    assert stream.rest() == b"x" * (512 << 10)
    took = time.monotonic() - begin
    assert 2.4 <= took < 10 * SLOWNESS
    report = dict(part.split(": ", 1) for part in stream.log.splitlines()[-1].split("\t") if ": " in part)
    assert float(report["Duration"].split()[0]) >= 2400


@pytest.mark.covers("operation:InvokeWithResponseStream limits")
def test_a_caller_that_reads_slowly_holds_the_function_up(on):
    many, gate = on(kib_per_second=0)
    notes, pieces = gate.new(), 128
    stream = streams.invoke(many, {"pieces": pieces, "bytes": 1 << 20, "notes": notes})
    first = next(stream)
    # It stops somewhere: what is on the way is bounded by the sockets and sixteen pieces.
    seen, since = None, time.monotonic()
    while time.monotonic() - since < 1.5:
        size = gate.size(notes)
        if size != seen:
            seen, since = size, time.monotonic()
    assert 1 <= seen < pieces / 2
    assert len(first) + len(stream.rest()) == pieces << 20
    assert stream.complete == {}
    assert gate.size(notes) == pieces


# A custom runtime that streams with raw sockets, as the Runtime API's page describes it.
RAW_RUNTIME = """\
#!/usr/bin/python3
import base64, http.client, json, os, time
host = os.environ["AWS_LAMBDA_RUNTIME_API"]
base = "/2018-06-01/runtime/invocation/"
connection = http.client.HTTPConnection(host)
def chunk(data):
    connection.send(b"%x\\r\\n%s\\r\\n" % (len(data), data))
while True:
    connection.request("GET", base + "next")
    answer = connection.getresponse()
    event, request_id = json.load(answer), answer.headers["Lambda-Runtime-Aws-Request-Id"]
    connection.putrequest("POST", base + request_id + "/response")
    connection.putheader("Lambda-Runtime-Function-Response-Mode", event.get("mode", "streaming"))
    connection.putheader("Content-Type", "text/plain")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.putheader("Trailer", "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body")
    connection.endheaders()
    chunk(b"one ")
    while "gate" in event and not os.path.exists("/mnt/gate/" + event["gate"]):
        time.sleep(0.005)
    if event.get("cut"):
        connection.close()
        continue
    if not event.get("fail"):
        chunk(b"two")
    connection.send(b"0\\r\\n")
    if event.get("fail"):
        document = json.dumps({"errorType": "Runtime.Mine", "errorMessage": "in the middle"}).encode()
        connection.send(b"Lambda-Runtime-Function-Error-Type: Runtime.Mine\\r\\nLambda-Runtime-Function-Error-Body: " + base64.b64encode(document) + b"\\r\\n")
    connection.send(b"\\r\\n")
    answer = connection.getresponse()
    print("status", answer.status, answer.read().decode(), flush=True)
"""


@pytest.mark.covers("runtime:provided streaming", client="raw HTTP")
def test_a_custom_runtime_streams_with_trailers(deploy, gate):
    function = deploy({"bootstrap": RAW_RUNTIME}, runtime="provided.al2023", handler="x", FileSystemConfigs=[streams.ACCESS_POINT])
    name = gate.new()
    stream = streams.invoke(function, {"gate": name})
    assert next(stream) == b"one "
    gate.open(name)
    assert stream.rest() == b"two" and stream.complete == {}
    failed = streams.invoke(function, {"fail": True}, LogType="Tail")
    assert list(failed) == [b"one "]
    assert failed.error == {"errorType": "Runtime.Mine", "errorMessage": "in the middle"}
    cut = streams.invoke(function, {"cut": True})
    assert list(cut) == [b"one "]
    assert cut.error == {"errorType": "Runtime.TruncatedResponse", "errorMessage": "Response was truncated"}
    odd = streams.invoke(function, {"mode": "odd"}, LogType="Tail")
    assert list(odd) == [] and odd.error["errorType"] == "Runtime.InvalidResponseModeHeader"
    # A buffered call of it is collected.
    assert function.invoke({}).body == b"one two"
    assert function.invoke({"fail": True}).json == {"errorType": "Runtime.Mine", "errorMessage": "in the middle"}


@pytest.mark.covers("operation:InvokeAsync")
def test_invoke_async_queues_an_event(deploy, client):
    function = deploy({"app.py": "def handler(event, context): print('ran', event, context.client_context)"})
    answer = client.invoke_async(FunctionName=function.name, InvokeArgs=b'{"n": 1}')
    assert answer["Status"] == 202
    request_id = answer["ResponseMetadata"]["RequestId"]
    logs = function.server.client("logs")

    def ran():
        try:
            events = logs.filter_log_events(logGroupName=f"/aws/lambda/{function.name}")["events"]
        except logs.exceptions.ResourceNotFoundException:
            return None
        messages = [event["message"].strip() for event in events]
        return messages if any(f"REPORT RequestId: {request_id}" in message for message in messages) else None

    assert "ran {'n': 1} None" in eventually(ran, "the event's REPORT line")
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.invoke_async(FunctionName="absent", InvokeArgs=b"{}")
    with pytest.raises(client.exceptions.InvalidRequestContentException):
        client.invoke_async(FunctionName=function.name, InvokeArgs=b"{nonsense")
    with pytest.raises(client.exceptions.ClientError) as large:
        client.invoke_async(FunctionName=function.name, InvokeArgs=b'"' + b"x" * 262_143 + b'"')
    assert large.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413
