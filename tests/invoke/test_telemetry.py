"""The Telemetry and Logs APIs: what extensions are told of platform, function and themselves, over HTTP and TCP.

Fields are those of the guide's "Telemetry API Event schema reference" and "Lambda Logs API".
"""

import json

import pytest

from support.extensions import FUNCTION, LISTENS, layer, log_until

TELEMETRY = "/2022-07-01/telemetry"
LOGS = "/2020-08-15/logs"
ALL = ["platform", "function", "extension"]


def request(schema, destination, types=ALL, **buffering):
    return {"schemaVersion": schema, "types": types, "buffering": {"timeoutMs": 25, **buffering}, "destination": destination}


HTTP = {"protocol": "HTTP", "URI": "http://sandbox.localdomain:8080/in"}
TCP = {"protocol": "TCP", "port": 8081}


@pytest.fixture
def subscribed(deploy, client):
    """`subscribed([(path, request), ...])`: a function whose extension subscribes so."""
    with layer(client, {"extensions/listens": LISTENS}) as arn:
        yield lambda subscriptions, **configuration: deploy(
            {"app.py": FUNCTION},
            Layers=[arn],
            variables={"SUBSCRIBE": json.dumps(subscriptions), **configuration.pop("variables", {})},
            **configuration,
        )


def types(events):
    return [event["type"] for event in events]


def record(events, kind):
    return next(event["record"] for event in events if event["type"] == kind)


@pytest.mark.covers("runtime:telemetry", client="boto3")
def test_all_events_over_http(subscribed):
    function = subscribed([(TELEMETRY, request("2022-07-01", HTTP))])
    first = function.invoke({"print": "one"})
    assert first.error is None, first.log
    # What was said after the end of the first is told while the second runs.
    events = function.ok({"print": "two", "files": ["/tmp/telemetry"], "until": '"platform.report"'})
    assert function.ok({"files": ["/tmp/answers"]}) == [[200, "OK"]]
    kinds = types(events)
    firsts = [kinds.index(kind) for kind in ("platform.initStart", "platform.telemetrySubscription", "platform.initRuntimeDone", "platform.extension", "platform.initReport", "platform.start", "platform.runtimeDone", "platform.report")]
    assert firsts == sorted(firsts), kinds
    assert kinds.count("platform.report") == 1 and kinds.count("platform.start") == 2
    start = record(events, "platform.initStart")
    assert start["initializationType"] == "on-demand" and start["phase"] == "init" and start["functionName"] == function.name
    assert start["runtimeVersion"].startswith("python:3.11") and start["runtimeVersionArn"].startswith("arn:aws:lambda:us-east-1::runtime:")
    assert record(events, "platform.telemetrySubscription") == {"name": "listens", "state": "Subscribed", "types": ALL}
    assert record(events, "platform.extension") == {"name": "listens", "state": "Ready", "events": ["INVOKE", "SHUTDOWN"]}
    assert record(events, "platform.initRuntimeDone") == {"initializationType": "on-demand", "phase": "init", "status": "success"}
    assert record(events, "platform.initReport")["metrics"]["durationMs"] > 0
    begun = record(events, "platform.start")
    assert begun["requestId"] == first.request_id and begun["version"] == "$LATEST"
    done = record(events, "platform.runtimeDone")
    assert done["requestId"] == first.request_id and done["status"] == "success" and done["metrics"]["durationMs"] > 0
    report = record(events, "platform.report")
    assert report["requestId"] == first.request_id and report["status"] == "success"
    metrics = report["metrics"]
    assert metrics["memorySizeMB"] == 128 and metrics["initDurationMs"] > 0
    assert f"{metrics['durationMs']:.2f} ms" == first.report["Duration"] and f"{metrics['billedDurationMs']} ms" == first.report["Billed Duration"]
    assert [span["name"] for span in report["spans"]] == ["extensionOverhead"]
    lines = [event["record"] for event in events if event["type"] == "function"]
    assert lines[:1] == ["the function prints one\n"]
    assert "the extension prints\n" in [event["record"] for event in events if event["type"] == "extension"]
    assert all(event["time"].endswith("Z") and set(event) == {"time", "type", "record"} for event in events)
    assert "TELEMETRY\tName: listens\tState: Subscribed\tTypes: [platform,function,extension]" in log_until(function, "TELEMETRY")


@pytest.mark.covers("runtime:telemetry", client="boto3")
def test_lines_in_json_are_objects_in_the_later_version(subscribed):
    function = subscribed([(TELEMETRY, request("2022-12-13", HTTP, ["function"]))], LoggingConfig={"LogFormat": "JSON"})
    function.update({"app.py": FUNCTION.replace('print("the function', 'print(json.dumps({"a": 1}), flush=True); print("the function')})
    function.ok()
    events = function.ok({"files": ["/tmp/telemetry"], "until": "prints"})
    assert set(types(events)) == {"function"}
    assert {"a": 1} in [event["record"] for event in events]


@pytest.mark.covers("runtime:telemetry", client="boto3")
def test_how_invocations_end_is_told(subscribed):
    function = subscribed([(TELEMETRY, request("2022-07-01", HTTP, ["platform"]))], Timeout=2)
    failed = function.invoke({"files": 7})
    assert failed.error == "Unhandled"
    events = function.ok({"files": ["/tmp/telemetry"], "until": '"platform.report"'})
    done = record(events, "platform.runtimeDone")
    assert (done["status"], done["errorType"]) == ("error", "TypeError")
    late = function.invoke({"sleep": 30})
    assert late.error_type == "Sandbox.Timedout"
    # Sent before the end; /tmp goes on with the next instance.
    events = function.ok({"files": ["/tmp/telemetry"]})
    ends = [event["record"] for event in events if event["type"] == "platform.runtimeDone"]
    assert {"status": "timeout", "requestId": late.request_id}.items() <= ends[-1].items(), ends


@pytest.mark.covers("runtime:logs api", client="boto3")
def test_the_logs_api_over_tcp(subscribed):
    function = subscribed([(LOGS, request("2021-03-18", TCP)), (TELEMETRY, request("2022-07-01", HTTP))])
    first = function.invoke({"print": "one"})
    assert first.error is None, first.log
    events = function.ok({"files": ["/tmp/lines"], "until": '"platform.report"'})
    kinds = types(events)
    assert set(kinds) == {"platform.logsSubscription", "platform.extension", "platform.start", "function", "extension", "platform.runtimeDone", "platform.end", "platform.report"}
    assert record(events, "platform.logsSubscription") == {"name": "listens", "state": "Subscribed", "types": ALL}
    assert record(events, "platform.end") == {"requestId": first.request_id}
    answers = function.ok({"files": ["/tmp/answers"]})
    assert answers[0] == [200, "OK"]
    # That the other API is refused is the guide's; how, is a guess.
    assert answers[1][0] == 400 and answers[1][1]["errorType"] == "ValidationError"
    assert "LOGS\tName: listens\tState: Subscribed\tTypes: [platform,function,extension]" in log_until(function, "LOGS\t")


@pytest.mark.covers("runtime:logs api", client="boto3")
def test_the_first_version_over_http(subscribed):
    function = subscribed([(LOGS, {"types": ["platform"], "buffering": {"timeoutMs": 25}, "destination": HTTP})])
    function.ok()
    events = function.ok({"files": ["/tmp/telemetry"], "until": '"platform.report"'})
    assert set(types(events)) == {"platform.logsSubscription", "platform.extension", "platform.start", "platform.end", "platform.report"}


@pytest.mark.covers("runtime:telemetry", client="boto3")
def test_what_is_wrong_is_refused(subscribed):
    wrong = request("2022-07-01", {"protocol": "HTTP", "URI": "http://sandbox.localdomain"}, [])
    function = subscribed([(TELEMETRY, wrong), (LOGS, wrong), (TELEMETRY, request("2022-07-01", HTTP, maxItems=999))])
    first, second, third = function.ok({"files": ["/tmp/answers"], "until": "maxItems"})
    # The guide's own example.
    assert first == [400, {"errorType": "ValidationError", "errorMessage": "URI port is not provided; types should not be empty"}]
    assert second[0] == 400 and second[1]["errorType"] == "Logs.ValidationError"
    assert third == [400, {"errorType": "ValidationError", "errorMessage": "maxItems should be between 1000 and 10000"}]


@pytest.mark.covers("runtime:telemetry", client="boto3")
def test_nobody_subscribes_after_the_init(subscribed):
    function = subscribed([(TELEMETRY, request("2022-07-01", HTTP, ["function"]))], variables={"LATE": "1"})
    answers = function.ok({"files": ["/tmp/answers"], "until": "Closed"})
    assert answers == [[200, "OK"], [403, {"errorType": "Telemetry.SubscriptionClosed", "errorMessage": "Telemetry API subscription is closed"}]]
