"""Export to an OpenTelemetry collector: a small receiver takes what a stock one would, and fails as one may."""

from __future__ import annotations

import json
import subprocess
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from support.functions import PYTHON, ROLE, zip_of
from support.server import BINARY, PLAIN_ENVIRONMENT

CODE = zip_of({
    "app.py": """
        import os
        def handler(event, context):
            print("said", event.get("say"))
            if event.get("fail"):
                raise ValueError("as asked")
            return os.environ["_X_AMZN_TRACE_ID"]
    """
})


class Collector:
    """Takes OTLP over HTTP in JSON; refuses the first `busy` requests of each kind as a busy one does."""

    def __init__(self, busy=0):
        self.received, self.headers, self.refused = [], [], {}
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                count = collector.refused.setdefault(self.path, 0)
                if count < busy:
                    collector.refused[self.path] += 1
                    self.send_response(503)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                collector.headers.append({name.lower(): value for name, value in self.headers.items()})
                collector.received.append((self.path, json.loads(body)))
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def rows(self, path, *members):
        """All that came to a path, the lists along `members` laid out flat."""
        rows = [body for to, body in self.received if to == path]
        for member in members:
            rows = [inner for row in rows for inner in row[member]]
        return rows

    def spans(self):
        return self.rows("/v1/traces", "resourceSpans", "scopeSpans", "spans")

    def logs(self):
        return self.rows("/v1/logs", "resourceLogs", "scopeLogs", "logRecords")

    def metrics(self):
        return self.rows("/v1/metrics", "resourceMetrics", "scopeMetrics", "metrics")

    def wait_for(self, found, seconds=20):
        deadline = time.monotonic() + seconds
        while not (result := found()):
            assert time.monotonic() < deadline, [path for path, _ in self.received]
            time.sleep(0.05)
        return result

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def collector(request):
    made = Collector(**getattr(request, "param", {}))
    yield made
    made.close()


def attributes(row):
    return {pair["key"]: next(iter(pair["value"].values())) for pair in row["attributes"]}


def start(new_server, collector, **more):
    server = new_server(environment={"LAMPLIGHT_OTEL_ENDPOINT": collector.endpoint, "LAMPLIGHT_OTEL_INTERVAL_SECONDS": "1", **more}).start()
    client = server.client()
    client.create_function(FunctionName="traced", Runtime=PYTHON, Role=ROLE, Handler="app.handler", Code={"ZipFile": CODE})
    client.get_waiter("function_active_v2").wait(FunctionName="traced", WaiterConfig={"Delay": 1})
    return server, client


@pytest.mark.covers("meter:OpenTelemetry", client="OTLP receiver")
def test_spans_counters_and_lines_of_a_function(new_server, collector):
    server, client = start(new_server, collector, LAMPLIGHT_OTEL_HEADERS="x-api-key=secret", LAMPLIGHT_OTEL_SERVICE="of the test")
    header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
    request = urllib.request.Request(f"{server.endpoint}/2015-03-31/functions/traced/invocations", b'{"say": "hello"}', {"X-Amzn-Trace-Id": header})
    with urllib.request.urlopen(request) as answer:
        seen = json.load(answer)
        assert seen.startswith(f"{header};Lineage="), "the function gets the caller's trace header, and the chain it is in"
        request_id = answer.headers["x-amzn-RequestId"]
    answer = client.invoke(FunctionName="traced", Payload=b'{"fail": true}')
    assert answer["FunctionError"]
    roots = collector.wait_for(lambda: len(found := [span for span in collector.spans() if span["kind"] == 2]) == 2 and found)
    cold, failed = sorted(roots, key=lambda span: int(span["startTimeUnixNano"]))
    assert (cold["name"], cold["traceId"], cold["parentSpanId"]) == ("traced", "5759e988bd862e3fe1be46a994272793", "53995c3f42cd8ad8")
    of_cold = attributes(cold)
    assert of_cold["faas.invocation_id"] == request_id and of_cold["faas.coldstart"] is True and of_cold["faas.version"] == "$LATEST"
    assert of_cold["cloud.resource_id"] == "arn:aws:lambda:us-east-1:000000000000:function:traced:$LATEST" and "status" not in cold
    children = {span["name"]: span for span in collector.spans() if span.get("parentSpanId") == cold["spanId"]}
    assert {"handler", "init"} <= set(children) <= {"queue", "sandbox", "code", "interpreter", "init", "handler"}
    assert children["init"]["endTimeUnixNano"] == children["handler"]["startTimeUnixNano"] and children["handler"]["endTimeUnixNano"] == cold["endTimeUnixNano"]
    assert abs(int(cold["startTimeUnixNano"]) / 1e9 - time.time()) < 600
    assert failed["status"] == {"code": 2, "message": "ValueError"} and "parentSpanId" not in failed
    assert attributes(failed)["faas.coldstart"] is False and attributes(failed)["error.type"] == "ValueError"

    lines = collector.wait_for(lambda: [row for row in collector.logs() if row["body"]["stringValue"] == "said hello"])
    of_line = attributes(lines[0])
    assert of_line["aws.log.group.name"] == "/aws/lambda/traced" and of_line["faas.name"] == "traced" and "[$LATEST]" in of_line["aws.log.stream.name"]

    def counted(name):
        rows = [row for row in collector.metrics() if row["name"] == name]
        points = [point for row in rows[-1:] for point in (row.get("sum") or row["histogram"])["dataPoints"] if attributes(point)["faas.name"] == "traced"]
        return points[0] if points else None

    collector.wait_for(lambda: (point := counted("faas.errors")) and point["asInt"] == "1")
    assert counted("faas.invocations")["asInt"] == "1" and counted("faas.coldstarts")["asInt"] == "1"
    durations = counted("faas.invoke_duration")
    assert durations["count"] == "2" and len(durations["bucketCounts"]) == len(durations["explicitBounds"]) + 1 and durations["sum"] > 0
    _, body = collector.received[-1]
    resource = next(iter(body.values()))[0]["resource"]
    assert attributes(resource)["service.name"] == "of the test"
    assert all(headers.get("x-api-key") == "secret" and headers["content-type"] == "application/json" for headers in collector.headers)


@pytest.mark.covers("meter:OpenTelemetry", client="OTLP receiver")
@pytest.mark.parametrize("collector", [{"busy": 2}], indirect=True)
def test_a_busy_collector_gets_everything_later_and_the_end_is_sent(new_server, collector):
    server, client = start(new_server, collector, LAMPLIGHT_OTEL_METRICS="false")
    for number in range(3):
        client.invoke(FunctionName="traced", Payload=json.dumps({"say": number}).encode())
    collector.wait_for(lambda: sum(span["kind"] == 2 for span in collector.spans()) == 3)
    assert collector.refused == {"/v1/traces": 2, "/v1/logs": 2} and collector.metrics() == []
    client.invoke(FunctionName="traced", Payload=b'{"say": "last"}')
    assert server.stop() == 0
    assert sum(span["kind"] == 2 for span in collector.spans()) == 4
    assert len({span["spanId"] for span in collector.spans()}) == len(collector.spans())


@pytest.mark.covers("meter:OpenTelemetry", client="OTLP receiver")
def test_without_a_collector_calls_go_on(new_server):
    gone = Collector()
    gone.close()
    server, client = start(new_server, gone)
    began = time.monotonic()
    for _ in range(20):
        assert "FunctionError" not in client.invoke(FunctionName="traced", Payload=b"{}")
    assert time.monotonic() - began < 20
    assert server.stop() == 0


@pytest.mark.parametrize("endpoint", ["https://127.0.0.1:4318", "nonsense", "http://"])
def test_an_endpoint_that_cannot_be_used_is_said_at_the_start(endpoint, tmp_path):
    program = [BINARY, "serve", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / "data")]
    ended = subprocess.run(program, env=PLAIN_ENVIRONMENT | {"LAMPLIGHT_OTEL_ENDPOINT": endpoint}, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2 and "otel.endpoint" in ended.stderr and "LAMPLIGHT_OTEL_ENDPOINT=http://127.0.0.1:4318" in ended.stderr, ended.stderr
