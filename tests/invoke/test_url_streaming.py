"""Function URLs with InvokeMode RESPONSE_STREAM: bytes while the function works, preludes, failures, clients that go away."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request

import pytest

from support import functions, streams, urls

# Waits at the gate between two pieces: the second can only come when the first has reached the test.
STREAMED = """
    import { existsSync, writeFileSync } from "node:fs";

    const opened = async (name) => {
        while (!existsSync("/mnt/gate/" + name)) await new Promise((resolve) => setTimeout(resolve, 5));
    };

    export const handler = awslambda.streamifyResponse(async (event, stream, context) => {
        const query = event.queryStringParameters ?? {};
        if (query.fail === "first") throw new Error("before the first byte");
        if (query.prelude) {
            stream = awslambda.HttpResponseStream.from(stream, JSON.parse(query.prelude));
        }
        stream.write("one ");
        if (query.gate) await opened(query.gate);
        if (query.fail === "middle") throw new Error("in the middle");
        stream.write("two");
        stream.end();
        await stream.finished?.();
        if (query.after) writeFileSync("/mnt/gate/" + query.after, "");
    });
"""


@pytest.fixture
def gate(deploy):
    return streams.Gate(deploy)


@pytest.fixture
def url(deploy):
    runtime = functions.node_runtime()
    if runtime is None:
        pytest.skip("no Node.js on this machine (get it with: apt-get install nodejs)")
    function = deploy({"index.mjs": STREAMED}, runtime=runtime, handler="index.handler", FileSystemConfigs=[streams.ACCESS_POINT])
    made = urls.create(function.server, function.name, InvokeMode="RESPONSE_STREAM")
    made.function = function
    return made


def open_response(url, query: str):
    """A response whose body nobody has read yet."""
    connection = http.client.HTTPConnection("127.0.0.1", url.server.port, timeout=30)
    connection.request("GET", "/?" + query, headers={"Host": url.host})
    return connection, connection.getresponse()


def ledger_record(server, request_id: str) -> dict | None:
    """What the ledger has of a request; None until its run is over."""
    try:
        with urllib.request.urlopen(f"{server.endpoint}/lamplight/v1/invocations/{request_id}") as answer:
            record = json.load(answer)
            return record if "outcome" in record else None
    except urllib.error.HTTPError as error:
        assert error.code == 404
        return None


@pytest.mark.covers("operation:Function URLs", client="HTTP, streaming")
def test_bytes_arrive_while_the_function_works(url, gate):
    name = gate.new()
    connection, response = open_response(url, f"gate={name}")
    assert (response.status, response.headers["content-type"], response.headers["transfer-encoding"]) == (200, "application/octet-stream", "chunked")
    assert response.read1(100) == b"one "
    gate.open(name)
    assert response.read() == b"two"
    connection.close()


@pytest.mark.covers("operation:Function URLs", client="HTTP, streaming")
def test_a_prelude_says_status_headers_and_cookies(url):
    prelude = {"statusCode": 201, "headers": {"Content-Type": "text/plain", "X-One": "1"}, "cookies": ["a=1", "b=2"]}
    reply = url.request("GET", "/?prelude=" + urllib.request.quote(json.dumps(prelude)))
    assert (reply.status, reply.body, reply.header("content-type"), reply.header("x-one")) == (201, b"one two", "text/plain", "1")
    assert reply.headers.get_all("set-cookie") == ["a=1", "b=2"]
    for wrong in ({"statusCode": 1000}, {"statusCode": 200, "headers": {"a": "b\r\nc: d"}}, {"cookies": "a=b"}):
        reply = url.request("GET", "/?prelude=" + urllib.request.quote(json.dumps(wrong)))
        assert (reply.status, reply.body) == (502, b"Internal Server Error"), wrong


@pytest.mark.covers("operation:Function URLs", client="HTTP, streaming")
def test_failures_before_and_after_the_first_byte(url):
    reply = url.request("GET", "/?fail=first")
    assert (reply.status, reply.body) == (502, b"Internal Server Error")
    connection, response = open_response(url, "fail=middle")
    assert response.status == 200
    # The end of the body never comes, so that no client takes it for whole.
    with pytest.raises(http.client.IncompleteRead) as cut:
        response.read()
    assert cut.value.partial == b"one "
    connection.close()
    assert url.request("GET", "/").body == b"one two"


@pytest.mark.covers("operation:Function URLs", client="HTTP, streaming")
def test_a_client_that_goes_away_is_accounted_and_leaves_nothing(url, gate):
    waits, done = gate.new(), gate.new()
    connection, response = open_response(url, f"gate={waits}&after={done}")
    request_id = response.headers["x-amzn-requestid"]
    assert response.read1(100) == b"one "
    response.close()
    connection.close()
    gate.open(waits)
    deadline = time.monotonic() + 30
    while not (record := ledger_record(url.server, request_id)):
        assert time.monotonic() < deadline, "the run of a client that went away is in no record"
        time.sleep(0.05)
    assert record["outcome"]["status"] == "success" and record["billed_ms"] > 0
    assert gate.size(done) == 0, "the function ran to its end"
    # Its instance is free again: the next call is warm.
    assert url.request("GET", "/").body == b"one two"


@pytest.mark.covers("operation:Function URLs", client="HTTP, streaming")
def test_a_handler_that_does_not_stream_is_passed_on_as_it_is(deploy):
    function = deploy({"app.py": "def handler(event, context): return {'statusCode': 201, 'body': 'x'}"})
    reply = urls.create(function.server, function.name, InvokeMode="RESPONSE_STREAM").request()
    assert (reply.status, reply.header("content-type"), reply.json) == (200, "application/octet-stream", {"statusCode": 201, "body": "x"})
