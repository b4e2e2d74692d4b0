"""Clients that go away while their function works: the call is finished and accounted as any other, and nothing of it stays."""

from __future__ import annotations

import datetime
import json
import socket
import urllib.error
import urllib.request

import pytest

from support import functions, host, streams, urls
from support.errors import arn

# Answers when the gate is open, which is after its client has gone.
SLOW = """
    import json, os, time

    def handler(event, context):
        gate = (event.get("queryStringParameters") or {}).get("gate") or event.get("gate")
        if gate:
            print("begun " + gate)
            while not os.path.exists("/mnt/gate/" + gate):
                time.sleep(0.005)
        return {"statusCode": 200, "body": context.aws_request_id}
"""
CLIENTS = 20


@pytest.fixture
def gate(deploy):
    return streams.Gate(deploy)


@pytest.fixture
def function(deploy):
    made = deploy({"app.py": SLOW}, Timeout=60, FileSystemConfigs=[streams.ACCESS_POINT])
    made.server.client().add_permission(FunctionName=made.name, StatementId="api", Action="lambda:InvokeFunction", Principal="apigateway.amazonaws.com")
    return made


def lines(function, word: str) -> list[str]:
    logs = function.server.client("logs")
    group = f"/aws/lambda/{function.name}"
    if not logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]:
        return []
    return [event["message"] for page in logs.get_paginator("filter_log_events").paginate(logGroupName=group) for event in page["events"] if event["message"].startswith(word)]


def records(function) -> list[dict]:
    with urllib.request.urlopen(f"{function.server.endpoint}/lamplight/v1/functions/{function.name}/invocations") as answer:
        found = json.load(answer)
    return next(value for value in found.values() if isinstance(value, list))


def gauge(server, name: str) -> float:
    with urllib.request.urlopen(f"{server.endpoint}/lamplight/v1/metrics") as answer:
        page = answer.read().decode()
    return next(float(line.split()[-1]) for line in page.splitlines() if line.startswith(f"lamplight_{name} "))


def total(function, namespace: str, name: str, **dimensions: str) -> float:
    now = datetime.datetime.now(datetime.UTC)
    dimensions = [{"Name": name, "Value": value} for name, value in dimensions.items()]
    points = function.server.client("cloudwatch").get_metric_statistics(
        Namespace=namespace, MetricName=name, Dimensions=dimensions, Period=86400, Statistics=["Sum"], StartTime=now - datetime.timedelta(days=1), EndTime=now + datetime.timedelta(days=1)
    )["Datapoints"]
    return sum(point["Sum"] for point in points)


def leave(server, name_of_host: str, target: str, body: str, begun) -> None:
    """Sends a request, and closes the connection when its function has begun."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(f"POST {target} HTTP/1.1\r\nHost: {name_of_host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        host.eventually(begun, "the function has begun")


def doors(function) -> dict[str, tuple[str, str]]:
    """Host and target of each way in; the function is asked to wait by the query."""
    server = function.server
    url = urls.create(server, function.name).host
    created = server.client("apigatewayv2").create_api(Name="left", ProtocolType="HTTP", Target=arn(function.name))
    http = created["ApiEndpoint"].removeprefix("http://")
    rest = server.client("apigateway")
    api = rest.create_rest_api(name=f"left {function.name}")
    place = {"restApiId": api["id"], "resourceId": api["rootResourceId"], "httpMethod": "POST"}
    rest.put_method(**place, authorizationType="NONE")
    rest.put_integration(**place, type="AWS_PROXY", integrationHttpMethod="POST", uri=f"arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{arn(function.name)}/invocations")
    rest.create_deployment(restApiId=api["id"], stageName="dev")
    return {
        "url": (url, "/?gate="),
        "http": (http, "/?gate="),
        "rest": (f"{api['id']}.execute-api.us-east-1.localhost:{server.port}", "/dev?gate="),
        "invoke": (f"127.0.0.1:{server.port}", f"/2015-03-31/functions/{function.name}/invocations"),
    }


@pytest.mark.covers("operation:Function URLs", client="raw sockets")
@pytest.mark.covers("operation:Invoke RequestResponse", client="raw sockets")
def test_a_call_whose_client_is_gone_is_finished_and_accounted(function, gate):
    server = function.server
    names = []
    for door, (name_of_host, target) in doors(function).items():
        name = gate.new()
        names.append(name)
        body = json.dumps({"gate": name}) if door == "invoke" else "{}"
        leave(server, name_of_host, target if door == "invoke" else target + name, body, lambda: f"begun {name}" in "".join(lines(function, f"begun {name}")))
        # It works on: nobody else can have its place.
        assert gauge(server, "concurrent_invocations") >= 1
        gate.open(name)
        host.eventually(lambda: len(records(function)) == len(names), f"the record of the call by {door}")
    for record in records(function):
        assert record["outcome"]["status"].lower() == "success" and record["billed_ms"] >= 1, record
    assert len(host.eventually(lambda: [found for found in [lines(function, "REPORT")] if len(found) == len(names)], "REPORT lines")[0]) == len(names)
    assert total(function, "AWS/Lambda", "Invocations", FunctionName=function.name) == len(names)
    assert total(function, "AWS/Lambda", "Errors", FunctionName=function.name) == 0
    # The request is counted too, although there was nobody to answer.
    assert total(function, "AWS/Lambda", "UrlRequestCount", FunctionName=function.name) == 1
    assert total(function, "AWS/ApiGateway", "Count", ApiName=f"left {function.name}") == 1


@pytest.mark.covers("operation:Function URLs", client="raw sockets")
def test_nothing_stays_of_clients_that_are_gone(function, gate):
    server = function.server
    url = urls.create(server, function.name)
    daemon = server.tree().daemon.pid
    server.client().put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=2)
    assert url.request().status == 200

    def one():
        name = gate.new()
        leave(server, url.host, f"/?gate={name}", "{}", lambda: lines(function, f"begun {name}"))
        gate.open(name)
        # Its place is free again: two at once are all that the function may have.
        host.eventually(lambda: gauge(server, "concurrent_invocations") == 0, "the call has ended")

    one()
    before = host.descriptors(daemon)
    for _ in range(CLIENTS):
        one()
    assert [url.request().status for _ in range(3)] == [200] * 3
    # Connections would be one descriptor each; idle ones of this test's own clients come and go.
    host.eventually(lambda: host.descriptors(daemon) < before + CLIENTS // 2, "no descriptors are left")
    assert total(function, "AWS/Lambda", "Invocations", FunctionName=function.name) == CLIENTS + 5
