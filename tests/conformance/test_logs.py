"""CloudWatch Logs with boto3: what functions wrote, read back page by page."""

from __future__ import annotations

import itertools
import time

import pytest
from botocore.exceptions import ClientError

from support.functions import PYTHON, ROLE, zip_of

_numbers = itertools.count(1)
CODE = zip_of({"app.py": "def handler(event, context):\n    for line in event['print']:\n        print(line)\n"})


@pytest.fixture
def logs(server):
    return server.client("logs")


@pytest.fixture
def group(client):
    """The group of a function of its own; `group.print(...)` logs lines."""
    name = f"logs-{next(_numbers)}-{time.monotonic_ns() % 10**9}"
    client.create_function(FunctionName=name, Runtime=PYTHON, Role=ROLE, Handler="app.handler", Code={"ZipFile": CODE})
    client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
    yield Group(client, name)
    client.delete_function(FunctionName=name)


class Group:
    def __init__(self, client, function):
        self.client, self.function, self.name = client, function, f"/aws/lambda/{function}"

    def print(self, *lines):
        import json

        answer = self.client.invoke(FunctionName=self.function, Payload=json.dumps({"print": lines}))
        assert "FunctionError" not in answer, answer["Payload"].read()


def wait_for(read, until, seconds=10):
    """Logs, and the group with the first of them, are readable within a second; reads until they are."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if until(found := read()):
                return found
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
            found = error
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def code_of(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return caught.value.response["Error"]["Code"]


def messages(answer):
    return [event["message"] for event in answer["events"]]


@pytest.mark.covers("operation:FilterLogEvents")
def test_filter(logs, group):
    group.print("one ERROR here", "two words", "three ünïcode")
    group.print("four ERROR there")
    everything = wait_for(lambda: logs.filter_log_events(logGroupName=group.name), lambda found: sum(m.startswith("END") for m in messages(found)) == 2)
    texts = messages(everything)
    start = next(text for text in texts if not text.startswith("INIT_START "))
    assert start.startswith("START RequestId: ") and start.endswith("Version: $LATEST")
    assert [t for t in texts if t.split()[0] in ("one", "two", "three", "four")] == ["one ERROR here", "two words", "three ünïcode", "four ERROR there"]
    ids = [event["eventId"] for event in everything["events"]]
    assert len(set(ids)) == len(ids) and all(len(i) == 56 and i.isdigit() for i in ids)
    for event in everything["events"]:
        assert event["logStreamName"].count("/") == 3 and "[$LATEST]" in event["logStreamName"]
        assert abs(event["timestamp"] / 1000 - time.time()) < 300 and event["ingestionTime"] >= event["timestamp"] - 1000
    for pattern, expected in (("ERROR", ["one ERROR here", "four ERROR there"]), ("ERROR -there", ["one ERROR here"]), ('"two words"', ["two words"]), ("?three ?four", ["three ünïcode", "four ERROR there"]), ("absent-term", [])):
        assert messages(logs.filter_log_events(logGroupName=group.name, filterPattern=pattern)) == expected, pattern
    arn = f"arn:aws:logs:us-east-1:000000000000:log-group:{group.name}:*"
    assert len(logs.filter_log_events(logGroupIdentifier=arn)["events"]) == len(texts)
    stamps = [event["timestamp"] for event in everything["events"]]
    assert logs.filter_log_events(logGroupName=group.name, startTime=max(stamps) + 1)["events"] == []
    assert len(logs.filter_log_events(logGroupName=group.name, startTime=min(stamps), endTime=max(stamps))["events"]) == len(texts)
    assert code_of(logs.filter_log_events, logGroupName=group.name, filterPattern="{ $.a = }") == "InvalidParameterException"


@pytest.mark.covers("operation:FilterLogEvents")
def test_filter_pages_while_the_function_writes_on(logs, group):
    group.print(*[f"line {number}" for number in range(10)])
    wait_for(lambda: logs.filter_log_events(logGroupName=group.name), lambda found: messages(found)[-1:] and any(m.startswith("END") for m in messages(found)))
    first = logs.filter_log_events(logGroupName=group.name, limit=4)
    assert len(first["events"]) == 4
    group.print("later")
    wait_for(lambda: logs.filter_log_events(logGroupName=group.name, filterPattern="later"), lambda found: found["events"])
    texts, token = messages(first), first["nextToken"]
    while token:
        page = logs.filter_log_events(logGroupName=group.name, limit=4, nextToken=token)
        texts += messages(page)
        token = page.get("nextToken")
    assert [t for t in texts if t.startswith("line ") or t == "later"] == [f"line {n}" for n in range(10)] + ["later"]
    assert code_of(logs.filter_log_events, logGroupName=group.name, nextToken="nonsense") == "InvalidParameterException"


@pytest.mark.covers("operation:GetLogEvents")
@pytest.mark.covers("operation:DescribeLogStreams")
def test_one_stream_in_both_directions(logs, group):
    group.print(*[f"line {number}" for number in range(6)])
    wait_for(lambda: logs.filter_log_events(logGroupName=group.name), lambda found: any(m.startswith("END") for m in messages(found)))
    streams = logs.describe_log_streams(logGroupName=group.name, orderBy="LastEventTime", descending=True)["logStreams"]
    assert len(streams) == 1
    assert streams[0]["arn"].endswith(f":log-group:{group.name}:log-stream:{streams[0]['logStreamName']}")
    assert streams[0]["firstEventTimestamp"] <= streams[0]["lastEventTimestamp"]
    read = lambda **more: logs.get_log_events(logGroupName=group.name, logStreamName=streams[0]["logStreamName"], **more)  # noqa: E731
    whole = wait_for(lambda: messages(read(startFromHead=True)), lambda found: found)
    head = read(startFromHead=True, limit=3)
    assert messages(head) == whole[:3]
    forward = read(limit=3, nextToken=head["nextForwardToken"])
    assert messages(forward) == whole[3:6]
    assert messages(read(limit=3, nextToken=forward["nextBackwardToken"])) == whole[:3]
    tail = read(limit=2)
    assert messages(tail) == whole[-2:]
    assert messages(read(limit=2, nextToken=tail["nextBackwardToken"])) == whole[-4:-2]
    end = read(nextToken=tail["nextForwardToken"])
    assert end["events"] == [] and end["nextForwardToken"] == tail["nextForwardToken"]
    assert messages(read(limit=2, nextToken=end["nextBackwardToken"])) == whole[-2:]
    start = read(nextToken=head["nextBackwardToken"])
    assert start["events"] == [] and start["nextBackwardToken"] == head["nextBackwardToken"]


@pytest.mark.covers("operation:DescribeLogStreams")
def test_groups_and_what_is_absent(logs, group):
    group.print("x")
    found = wait_for(lambda: logs.describe_log_groups(logGroupNamePrefix=group.name)["logGroups"], lambda rows: rows)
    assert [row["logGroupName"] for row in found] == [group.name]
    assert found[0]["arn"] == f"arn:aws:logs:us-east-1:000000000000:log-group:{group.name}:*"
    assert group.name in [row["logGroupName"] for page in logs.get_paginator("describe_log_groups").paginate(PaginationConfig={"PageSize": 1}) for row in page["logGroups"]]
    for call, more in ((logs.filter_log_events, {}), (logs.describe_log_streams, {}), (logs.get_log_events, {"logStreamName": "s"})):
        assert code_of(call, logGroupName="/absent", **more) == "ResourceNotFoundException"
    assert code_of(logs.get_log_events, logGroupName=group.name, logStreamName="absent") == "ResourceNotFoundException"
