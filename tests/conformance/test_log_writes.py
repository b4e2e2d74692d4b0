"""CloudWatch Logs with boto3: groups and streams that clients make, write and delete."""

from __future__ import annotations

import time

import pytest
from botocore.exceptions import ClientError

HOUR = 3_600_000


@pytest.fixture
def logs(server):
    return server.client("logs")


@pytest.fixture
def group(logs):
    name = f"/app/{time.monotonic_ns()}"
    logs.create_log_group(logGroupName=name)
    yield name
    try:
        logs.delete_log_group(logGroupName=name)
    except logs.exceptions.ResourceNotFoundException:
        pass


def now() -> int:
    return int(time.time() * 1000)


def error_of(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def refused(call, part, **arguments):
    code, message = error_of(call, **arguments)
    assert code == "InvalidParameterException" and part in message, (code, message)


def arn_of(group):
    return f"arn:aws:logs:us-east-1:000000000000:log-group:{group}"


NO_GROUP = ("ResourceNotFoundException", "The specified log group does not exist.")
NO_STREAM = ("ResourceNotFoundException", "The specified log stream does not exist.")


@pytest.mark.covers("operation:CreateLogGroup")
@pytest.mark.covers("operation:DeleteLogGroup")
@pytest.mark.covers("operation:DescribeLogGroups")
def test_groups(logs, group):
    assert error_of(logs.create_log_group, logGroupName=group) == ("ResourceAlreadyExistsException", "The specified log group already exists")
    refused(logs.create_log_group, "Member must satisfy regular expression pattern", logGroupName="with space")
    refused(logs.create_log_group, "length less than or equal to 512", logGroupName="x" * 513)
    # The guide says that such names are refused; the words are ours.
    refused(logs.create_log_group, "reserved", logGroupName="aws/mine")
    refused(logs.create_log_group, "Member must satisfy enum value set", logGroupName="c", logGroupClass="NONE")
    (row,) = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    assert row["arn"] == arn_of(group) + ":*" and row["logGroupArn"] == arn_of(group)
    assert abs(row["creationTime"] - now()) < 600_000 and row["metricFilterCount"] == 0 and row["logGroupClass"] == "STANDARD"
    assert "retentionInDays" not in row and "kmsKeyId" not in row
    assert [r["logGroupName"] for r in logs.describe_log_groups(logGroupNamePattern=group[6:].upper())["logGroups"]] == [group]
    assert [r["logGroupName"] for r in logs.describe_log_groups(logGroupIdentifiers=[arn_of(group)])["logGroups"]] == [group]
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    logs.put_log_events(logGroupName=group, logStreamName="s", logEvents=[{"timestamp": now(), "message": "gone"}])
    logs.delete_log_group(logGroupName=group)
    assert logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"] == []
    assert error_of(logs.delete_log_group, logGroupName=group) == NO_GROUP
    assert error_of(logs.describe_log_streams, logGroupName=group) == NO_GROUP
    logs.create_log_group(logGroupName=group, tags={"team": "a"})
    assert logs.filter_log_events(logGroupName=group)["events"] == []
    assert logs.describe_log_streams(logGroupName=group)["logStreams"] == []


@pytest.mark.covers("operation:CreateLogStream")
@pytest.mark.covers("operation:DeleteLogStream")
@pytest.mark.covers("operation:DescribeLogStreams")
def test_streams(logs, group):
    for name in ("b", "a/1", "a/2"):
        logs.create_log_stream(logGroupName=group, logStreamName=name)
    assert error_of(logs.create_log_stream, logGroupName=group, logStreamName="b") == ("ResourceAlreadyExistsException", "The specified log stream already exists")
    assert error_of(logs.create_log_stream, logGroupName="/absent", logStreamName="b") == NO_GROUP
    refused(logs.create_log_stream, "Member must satisfy regular expression pattern: [^:*]*", logGroupName=group, logStreamName="a:b")
    rows = logs.describe_log_streams(logGroupName=group)["logStreams"]
    assert [row["logStreamName"] for row in rows] == ["a/1", "a/2", "b"]
    assert "firstEventTimestamp" not in rows[0] and "lastIngestionTime" not in rows[0] and rows[0]["storedBytes"] == 0
    moment = now()
    for offset, name in enumerate(["a/2", "b", "a/1"]):
        logs.put_log_events(logGroupName=group, logStreamName=name, logEvents=[{"timestamp": moment - 5000 + offset, "message": f"in {name}"}])
    order = lambda **more: [row["logStreamName"] for row in logs.describe_log_streams(logGroupName=group, **more)["logStreams"]]  # noqa: E731
    assert order(orderBy="LastEventTime", descending=True) == ["a/1", "b", "a/2"]
    assert order(orderBy="LastEventTime") == ["a/2", "b", "a/1"]
    assert order(descending=True) == ["b", "a/2", "a/1"]
    assert order(logStreamNamePrefix="a/") == ["a/1", "a/2"]
    refused(logs.describe_log_streams, "Cannot order by LastEventTime with a logStreamNamePrefix.", logGroupName=group, orderBy="LastEventTime", logStreamNamePrefix="a")
    for more in ({}, {"orderBy": "LastEventTime", "descending": True}):
        pages = logs.get_paginator("describe_log_streams").paginate(logGroupName=group, PaginationConfig={"PageSize": 1}, **more)
        assert [row["logStreamName"] for page in pages for row in page["logStreams"]] == order(**more)
    row = next(row for row in logs.describe_log_streams(logGroupName=group)["logStreams"] if row["logStreamName"] == "b")
    assert row["firstEventTimestamp"] == row["lastEventTimestamp"] == moment - 4999 and row["lastIngestionTime"] >= moment
    assert row["arn"] == arn_of(group) + ":log-stream:b"
    logs.delete_log_stream(logGroupName=group, logStreamName="b")
    assert error_of(logs.delete_log_stream, logGroupName=group, logStreamName="b") == NO_STREAM
    assert error_of(logs.get_log_events, logGroupName=group, logStreamName="b") == NO_STREAM
    assert error_of(logs.put_log_events, logGroupName=group, logStreamName="b", logEvents=[{"timestamp": moment, "message": "x"}]) == NO_STREAM
    assert [event["message"] for event in logs.filter_log_events(logGroupName=group)["events"]] == ["in a/2", "in a/1"]
    logs.create_log_stream(logGroupName=group, logStreamName="b")
    assert logs.get_log_events(logGroupName=group, logStreamName="b", startFromHead=True)["events"] == []


@pytest.mark.covers("operation:PutLogEvents")
@pytest.mark.covers("operation:GetLogEvents")
def test_events_of_clients(logs, group):
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    put = lambda *events, **more: logs.put_log_events(logGroupName=group, logStreamName="s", logEvents=[{"timestamp": at, "message": text} for at, text in events], **more)  # noqa: E731
    moment = now()
    answer = put((moment - 2000, "one"), (moment - 1000, "two\nlines"), (moment, "drei ü"), sequenceToken="ignored since 2023")
    assert answer["nextSequenceToken"] and "rejectedLogEventsInfo" not in answer
    read = lambda **more: logs.get_log_events(logGroupName=group, logStreamName="s", **more)  # noqa: E731
    assert [(e["timestamp"], e["message"]) for e in read(startFromHead=True)["events"]] == [(moment - 2000, "one"), (moment - 1000, "two\nlines"), (moment, "drei ü")]
    first = read(startFromHead=True, limit=2)
    second = read(nextToken=first["nextForwardToken"])
    assert [e["message"] for e in second["events"]] == ["drei ü"]
    last = read(nextToken=second["nextForwardToken"])
    assert last["events"] == [] and last["nextForwardToken"] == second["nextForwardToken"], "the end is told by the same token"
    assert [e["message"] for e in read(nextToken=second["nextBackwardToken"], limit=1)["events"]] == ["two\nlines"]
    put((moment + 10, "later"))
    assert [e["message"] for e in read(nextToken=last["nextForwardToken"])["events"]] == ["later"]
    assert [e["message"] for e in read(startTime=moment - 1000, endTime=moment)["events"]] == ["two\nlines"], "the end is exclusive"

    # Too old, too new: the others are taken.
    answer = put((moment - 15 * 24 * HOUR, "old"), (moment, "fits"), (moment + 3 * HOUR, "new"))
    assert answer["rejectedLogEventsInfo"] == {"tooOldLogEventEndIndex": 1, "tooNewLogEventStartIndex": 2}
    assert [e["message"] for e in read(limit=1)["events"]] == ["fits"]
    refused(logs.put_log_events, "must be in chronological order", logGroupName=group, logStreamName="s", logEvents=[{"timestamp": moment, "message": "b"}, {"timestamp": moment - 1, "message": "a"}])
    refused(logs.put_log_events, "cannot span more than 24 hours", logGroupName=group, logStreamName="s", logEvents=[{"timestamp": moment - 25 * HOUR, "message": "a"}, {"timestamp": moment, "message": "b"}])
    refused(logs.put_log_events, "Member must have length less than or equal to 10000", logGroupName=group, logStreamName="s", logEvents=[{"timestamp": moment, "message": "x"}] * 10_001)
    half = {"timestamp": moment, "message": "y" * (1_048_576 // 2 - 26)}
    refused(logs.put_log_events, "Upload too large: 1048603 bytes exceeds limit of 1048576", logGroupName=group, logStreamName="s", logEvents=[half, half, {"timestamp": moment, "message": "z"}])
    whole = {"timestamp": moment, "message": "w" * (1_048_576 - 26)}
    logs.put_log_events(logGroupName=group, logStreamName="s", logEvents=[whole])
    assert [len(e["message"]) for e in read(limit=1)["events"]] == [1_048_576 - 26]
    assert error_of(logs.put_log_events, logGroupName=group, logStreamName="absent", logEvents=[half]) == NO_STREAM
    assert error_of(logs.put_log_events, logGroupName="/absent", logStreamName="s", logEvents=[half]) == NO_GROUP


@pytest.mark.covers("operation:PutRetentionPolicy")
@pytest.mark.covers("operation:DeleteRetentionPolicy")
def test_retention(logs, group):
    logs.put_retention_policy(logGroupName=group, retentionInDays=1)
    assert logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"][0]["retentionInDays"] == 1
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    moment = now()
    answer = logs.put_log_events(logGroupName=group, logStreamName="s", logEvents=[{"timestamp": moment - 30 * HOUR, "message": "expired"}, {"timestamp": moment, "message": "kept"}])
    assert answer["rejectedLogEventsInfo"] == {"expiredLogEventEndIndex": 1}
    assert [event["message"] for event in logs.filter_log_events(logGroupName=group)["events"]] == ["kept"]
    logs.delete_retention_policy(logGroupName=group)
    assert "retentionInDays" not in logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"][0]
    refused(logs.put_retention_policy, "Member must satisfy enum value set: [1, 3, 5, 7, 14,", logGroupName=group, retentionInDays=2)
    assert error_of(logs.put_retention_policy, logGroupName="/absent", retentionInDays=1) == NO_GROUP
    assert error_of(logs.delete_retention_policy, logGroupName="/absent") == NO_GROUP


@pytest.mark.covers("operation:Tags of log groups")
def test_tags(logs, group):
    logs.tag_log_group(logGroupName=group, tags={"a": "1", "b": "2"})
    logs.tag_resource(resourceArn=arn_of(group), tags={"b": "3", "c": ""})
    assert logs.list_tags_log_group(logGroupName=group)["tags"] == {"a": "1", "b": "3", "c": ""}
    logs.untag_log_group(logGroupName=group, tags=["a", "absent"])
    logs.untag_resource(resourceArn=arn_of(group), tagKeys=["c"])
    assert logs.list_tags_for_resource(resourceArn=arn_of(group))["tags"] == {"b": "3"}
    code, _ = error_of(logs.tag_resource, resourceArn=arn_of(group), tags={str(n): "" for n in range(50)})
    assert code == "TooManyTagsException"
    refused(logs.tag_resource, "aws:", resourceArn=arn_of(group), tags={"aws:x": "1"})
    refused(logs.list_tags_for_resource, "Invalid resource ARN", resourceArn="nonsense")
    assert error_of(logs.list_tags_for_resource, resourceArn=arn_of("/absent")) == NO_GROUP
    assert error_of(logs.tag_log_group, logGroupName="/absent", tags={"a": "1"}) == NO_GROUP


@pytest.mark.covers("operation:FilterLogEvents")
def test_patterns_over_json_and_columns(logs, group):
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    lines = [
        '{"level": "ERROR", "latency": 120, "user": {"name": "ann"}, "tags": ["x", "y"]}',
        '{"level": "INFO", "latency": 7.5, "user": null}',
        '127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534',
        "plain text 500",
    ]
    moment = now()
    logs.put_log_events(logGroupName=group, logStreamName="s", logEvents=[{"timestamp": moment + at, "message": line} for at, line in enumerate(lines)])
    for pattern, expected in (
        ('{ $.level = "ERROR" }', [0]),
        ('{ $.level = "ERROR" || $.latency < 10 }', [0, 1]),
        ('{ $.user.name = "a*" && $.tags[1] = "y" }', [0]),
        ("{ $.user IS NULL }", [1]),
        ("{ $.tags NOT EXISTS }", [1]),
        ("[ip, id, user, time, request = *.html*, status = 4*, bytes > 1000]", [2]),
        ("[..., status = 4*, bytes]", [2]),
        ("%[45]0[04]%", [2, 3]),
    ):
        found = logs.filter_log_events(logGroupName=group, filterPattern=pattern)["events"]
        assert [event["message"] for event in found] == [lines[at] for at in expected], pattern
    for pattern in ("{ $.a = }", "[a, b", "%(%"):
        refused(logs.filter_log_events, "Invalid filter pattern", logGroupName=group, filterPattern=pattern)
    refused(logs.filter_log_events, "less than or equal to 1024", logGroupName=group, filterPattern="x" * 1025)


@pytest.mark.covers("operation:PutLogEvents")
def test_everything_survives_kill_9(new_server):
    server = new_server().start()
    logs = server.client("logs")
    logs.create_log_group(logGroupName="kept", tags={"a": "1"})
    logs.put_retention_policy(logGroupName="kept", retentionInDays=3)
    for stream in ("s", "gone", "empty"):
        logs.create_log_stream(logGroupName="kept", logStreamName=stream)
    for number in range(20):
        logs.put_log_events(logGroupName="kept", logStreamName="s" if number % 2 else "gone", logEvents=[{"timestamp": now(), "message": str(number)}])
    logs.delete_log_stream(logGroupName="kept", logStreamName="gone")
    server.kill()
    server.start()
    logs = server.client("logs")
    assert [event["message"] for event in logs.filter_log_events(logGroupName="kept")["events"]] == [str(n) for n in range(1, 20, 2)]
    assert [row["logStreamName"] for row in logs.describe_log_streams(logGroupName="kept")["logStreams"]] == ["empty", "s"]
    assert logs.describe_log_groups()["logGroups"][0]["retentionInDays"] == 3
    assert logs.list_tags_log_group(logGroupName="kept")["tags"] == {"a": "1"}
