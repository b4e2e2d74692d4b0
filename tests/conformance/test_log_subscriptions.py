"""Subscription filters and live tails with boto3: what is written reaches functions, and whoever watches."""

from __future__ import annotations

import json
import os
import signal
import time

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from support.functions import PYTHON, ROLE, zip_of

# Writes what it got into a durable directory: its own log would be read back only to be guessed from.
RECEIVER = zip_of({
    "app.py": """
        import base64, gzip, json, os
        def handler(event, context):
            document = gzip.decompress(base64.b64decode(event["awslogs"]["data"])).decode()
            path = f"/mnt/received/{context.aws_request_id}"
            with open(path + ".new", "w") as file:
                file.write(document)
            os.rename(path + ".new", path + ".json")
    """,
    "read.py": """
        import glob, json
        def handler(event, context):
            return [json.load(open(path)) for path in glob.glob("/mnt/received/*.json")]
    """,
})


def now() -> int:
    return int(time.time() * 1000)


def error_of(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


class Receiver:
    """A function that keeps what subscriptions bring, and one that gives it back."""

    def __init__(self, server):
        self.server, self.name = server, f"receiver-{time.monotonic_ns() % 10**9}"
        client = server.client()
        mount = [{"Arn": f"arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/{self.name}", "LocalMountPath": "/mnt/received"}]
        for name, handler in ((self.name, "app.handler"), (f"{self.name}-read", "read.handler")):
            client.create_function(FunctionName=name, Runtime=PYTHON, Role=ROLE, Handler=handler, Code={"ZipFile": RECEIVER}, FileSystemConfigs=mount)
            client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
        self.arn = f"arn:aws:lambda:us-east-1:000000000000:function:{self.name}"

    def documents(self):
        answer = self.server.client().invoke(FunctionName=f"{self.name}-read")
        assert "FunctionError" not in answer, answer["Payload"].read()
        return json.loads(answer["Payload"].read())

    def messages(self):
        return [event["message"] for document in self.documents() for event in document["logEvents"]]

    def wait_for(self, count, seconds=30):
        deadline = time.monotonic() + seconds
        while len(set(self.messages())) < count:
            assert time.monotonic() < deadline, (count, self.messages())
            time.sleep(0.1)
        return self.documents()


@pytest.fixture
def logs(server):
    return server.client("logs")


@pytest.fixture
def receiver(server):
    return Receiver(server)


@pytest.fixture
def group(logs):
    name = f"/app/{time.monotonic_ns()}"
    logs.create_log_group(logGroupName=name)
    logs.create_log_stream(logGroupName=name, logStreamName="s")
    logs.create_log_stream(logGroupName=name, logStreamName="t")
    yield name
    logs.delete_log_group(logGroupName=name)


def put(logs, group, *texts, stream="s"):
    logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=[{"timestamp": now(), "message": text} for text in texts])


@pytest.mark.covers("operation:PutSubscriptionFilter")
@pytest.mark.covers("operation:DescribeSubscriptionFilters")
@pytest.mark.covers("operation:DeleteSubscriptionFilter")
def test_a_function_gets_what_fits(logs, group, receiver):
    put(logs, group, "ERROR before the filter")
    logs.put_subscription_filter(logGroupName=group, filterName="errors", filterPattern="ERROR", destinationArn=receiver.arn)
    put(logs, group, "ERROR one", "INFO two")
    put(logs, group, "ERROR three", stream="t")
    documents = receiver.wait_for(2)
    for document in documents:
        assert document["messageType"] == "DATA_MESSAGE" and document["owner"] == "000000000000" and document["logGroup"] == group
        assert document["subscriptionFilters"] == ["errors"]
    assert {(d["logStream"], e["message"]) for d in documents for e in d["logEvents"]} == {("s", "ERROR one"), ("t", "ERROR three")}
    ids = {event["eventId"]: event for event in logs.filter_log_events(logGroupName=group)["events"]}
    for document in documents:
        for event in document["logEvents"]:
            assert ids[event["id"]]["timestamp"] == event["timestamp"] and set(event) == {"id", "timestamp", "message"}

    (row,) = logs.describe_subscription_filters(logGroupName=group)["subscriptionFilters"]
    assert {key: row[key] for key in ("filterName", "logGroupName", "filterPattern", "destinationArn", "distribution")} == {
        "filterName": "errors", "logGroupName": group, "filterPattern": "ERROR", "destinationArn": receiver.arn, "distribution": "ByLogStream"}
    assert abs(row["creationTime"] - now()) < 600_000 and "roleArn" not in row
    # Replaced: it goes on where it was.
    logs.put_subscription_filter(logGroupName=group, filterName="errors", filterPattern="[level = WARN, ...]", destinationArn=receiver.arn)
    put(logs, group, "ERROR four", "WARN five")
    documents = receiver.wait_for(3)
    assert "ERROR four" not in receiver.messages()
    (event,) = [event for document in documents for event in document["logEvents"] if event["message"] == "WARN five"]
    assert event["extractedFields"] == {"level": "WARN"}
    logs.put_subscription_filter(logGroupName=group, filterName="second", filterPattern="", destinationArn=receiver.arn)
    assert error_of(logs.put_subscription_filter, logGroupName=group, filterName="third", filterPattern="", destinationArn=receiver.arn) == ("LimitExceededException", "Resource limit exceeded.")
    pages = logs.get_paginator("describe_subscription_filters").paginate(logGroupName=group, PaginationConfig={"PageSize": 1})
    assert [row["filterName"] for page in pages for row in page["subscriptionFilters"]] == ["errors", "second"]
    assert [row["filterName"] for row in logs.describe_subscription_filters(logGroupName=group, filterNamePrefix="s")["subscriptionFilters"]] == ["second"]
    for name in ("errors", "second"):
        logs.delete_subscription_filter(logGroupName=group, filterName=name)
    assert error_of(logs.delete_subscription_filter, logGroupName=group, filterName="errors") == ("ResourceNotFoundException", "The specified subscription filter does not exist.")
    assert logs.describe_subscription_filters(logGroupName=group)["subscriptionFilters"] == []


@pytest.mark.covers("operation:PutSubscriptionFilter")
def test_what_is_no_subscription(logs, group, receiver):
    make = lambda **more: error_of(logs.put_subscription_filter, **{"logGroupName": group, "filterName": "f", "filterPattern": "", "destinationArn": receiver.arn} | more)  # noqa: E731
    gone = ("ResourceNotFoundException", "The specified log group does not exist.")
    assert make(logGroupName="/absent") == gone
    assert make(destinationArn=receiver.arn + "-absent") == ("InvalidParameterException", "Could not execute the lambda function. Make sure you have given CloudWatch Logs permission to execute your function.")
    assert make(filterPattern="{ $.a = }")[0] == "InvalidParameterException"
    assert make(filterName="a:b")[0] == "InvalidParameterException"
    assert make(distribution="Sometimes")[0] == "InvalidParameterException"
    # Refused by name: Lamplight's own words.
    code, message = make(destinationArn="arn:aws:kinesis:us-east-1:000000000000:stream/x")
    assert code == "InvalidParameterException" and "Lambda functions only" in message
    for call in (logs.describe_subscription_filters, logs.delete_subscription_filter):
        more = {"filterName": "f"} if call == logs.delete_subscription_filter else {}
        assert error_of(call, logGroupName="/absent", **more) == gone


@pytest.mark.covers("operation:PutSubscriptionFilter")
def test_nothing_is_lost_across_kill_9(new_server):
    server = new_server().start()
    logs, receiver = server.client("logs"), Receiver(server)
    logs.create_log_group(logGroupName="g")
    logs.create_log_stream(logGroupName="g", logStreamName="s")
    logs.put_subscription_filter(logGroupName="g", filterName="all", filterPattern="", destinationArn=receiver.arn)
    written = 0
    for _ in range(3):
        for _ in range(15):
            put(logs, "g", f"event {written}")
            written += 1
        os.kill(server.tree().daemon.pid, signal.SIGKILL)
        server.process.wait()
        server.start()
        logs = server.client("logs")
    receiver.wait_for(written, seconds=60)
    # At least once: what came twice came whole.
    assert set(receiver.messages()) == {f"event {number}" for number in range(written)}


def live_tail(server, **arguments):
    """A session. The host name gets no prefix: nobody resolves `stream-127.0.0.1`."""
    client = boto3.client("logs", endpoint_url=server.client().meta.endpoint_url, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x",
                          config=Config(inject_host_prefix=False, retries={"total_max_attempts": 1}, read_timeout=30))
    return client.start_live_tail(**arguments)["responseStream"]


@pytest.mark.covers("operation:StartLiveTail")
def test_live_tail(server, logs, group):
    arn = f"arn:aws:logs:us-east-1:000000000000:log-group:{group}"
    put(logs, group, "ERROR before")
    stream = live_tail(server, logGroupIdentifiers=[arn], logStreamNames=["s"], logEventFilterPattern="ERROR")
    frames = iter(stream)
    start = next(frames)["sessionStart"]
    assert start["logGroupIdentifiers"] == [arn] and start["logStreamNames"] == ["s"] and start["logEventFilterPattern"] == "ERROR"
    assert start["sessionId"] and start["requestId"]
    put(logs, group, "ERROR one", "INFO two")
    put(logs, group, "ERROR other", stream="t")
    found, empty = [], 0
    while len(found) < 1 or empty < 1:
        update = next(frames)["sessionUpdate"]
        assert update["sessionMetadata"] == {"sampled": False}
        found += update["sessionResults"]
        empty += not update["sessionResults"]
    assert [event["message"] for event in found] == ["ERROR one"]
    assert found[0]["logStreamName"] == "s" and found[0]["logGroupIdentifier"] == f"000000000000:{group}"
    assert found[0]["ingestionTime"] >= found[0]["timestamp"] - 1000
    put(logs, group, *[f"ERROR {number}" for number in range(600)])
    update = {"sessionResults": []}
    while not update["sessionResults"]:
        update = next(frames)["sessionUpdate"]
    assert len(update["sessionResults"]) == 500 and update["sessionMetadata"] == {"sampled": True}
    stream.close()
    missing = "arn:aws:logs:us-east-1:000000000000:log-group:/absent"
    for code, arguments in (
        ("ResourceNotFoundException", {"logGroupIdentifiers": [missing]}),
        ("InvalidParameterException", {"logGroupIdentifiers": ["no-arn"]}),
        ("InvalidParameterException", {"logGroupIdentifiers": [arn], "logEventFilterPattern": "{ $.a = }"}),
        ("InvalidParameterException", {"logGroupIdentifiers": [arn], "logStreamNames": ["s"], "logStreamNamePrefixes": ["t"]}),
        ("InvalidParameterException", {"logGroupIdentifiers": [arn, missing], "logStreamNames": ["s"]}),
    ):
        with pytest.raises(ClientError) as caught:
            live_tail(server, **arguments)
        assert caught.value.response["Error"]["Code"] == code, arguments


@pytest.mark.covers("operation:StartLiveTail")
def test_sessions_are_bounded_and_end_with_the_server(new_server):
    server = new_server().start()
    server.client("logs").create_log_group(logGroupName="g")
    arn = "arn:aws:logs:us-east-1:000000000000:log-group:g"
    streams = [live_tail(server, logGroupIdentifiers=[arn]) for _ in range(15)]
    with pytest.raises(ClientError) as caught:
        live_tail(server, logGroupIdentifiers=[arn])
    assert caught.value.response["Error"]["Code"] == "LimitExceededException"
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 20, "the sessions held the server up"
    for stream in streams:
        stream.close()
