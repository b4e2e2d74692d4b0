"""Queues as event sources: what functions get, what becomes of messages, and that nothing is lost."""

from __future__ import annotations

import base64
import collections
import hashlib
import json
import time

import pytest

from support import durable
from support.errors import INVALID, refused
from support.functions import create
from support.host import eventually
from support.inside import libraries
from support.queues import Sources, arn

@pytest.fixture
def sources(server, deploy):
    made = Sources(server, deploy)
    yield made
    made.clean()


@pytest.mark.covers("invocation:SQS event")
def test_the_event_of_a_message(sources):
    url, name = sources.queue(), sources.recorder().name
    sources.map(name, url)
    attributes = {
        "kind": {"DataType": "String", "StringValue": "order"},
        "price": {"DataType": "Number", "StringValue": "7.5"},
        "picture": {"DataType": "Binary.png", "BinaryValue": b"\x00\xff"},
    }
    trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
    sent = sources.sqs.send_message(
        QueueUrl=url, MessageBody="Grüße, Œuvre", MessageAttributes=attributes,
        MessageSystemAttributes={"AWSTraceHeader": {"DataType": "String", "StringValue": trace}},
    )
    note = eventually(lambda: sources.notes(name), "an event")[0]
    [record] = note["event"]["Records"]
    # Members and their order are those of the developer guide's example.
    assert list(record) == ["messageId", "receiptHandle", "body", "attributes", "messageAttributes", "md5OfMessageAttributes", "md5OfBody", "eventSource", "eventSourceARN", "awsRegion"]
    assert record["messageId"] == sent["MessageId"] and record["body"] == "Grüße, Œuvre"
    assert record["md5OfBody"] == sent["MD5OfMessageBody"] == hashlib.md5("Grüße, Œuvre".encode()).hexdigest()
    assert record["md5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    assert (record["eventSource"], record["eventSourceARN"], record["awsRegion"]) == ("aws:sqs", arn(url), "us-east-1")
    empty = {"stringListValues": [], "binaryListValues": []}
    assert record["messageAttributes"] == {
        "kind": {"stringValue": "order", "dataType": "String"} | empty,
        "price": {"stringValue": "7.5", "dataType": "Number"} | empty,
        "picture": {"binaryValue": base64.b64encode(b"\x00\xff").decode(), "dataType": "Binary.png"} | empty,
    }
    system = record["attributes"]
    assert set(system) == {"ApproximateReceiveCount", "AWSTraceHeader", "SentTimestamp", "SenderId", "ApproximateFirstReceiveTimestamp"}
    assert system["ApproximateReceiveCount"] == "1" and system["AWSTraceHeader"] == trace
    assert abs(int(system["SentTimestamp"]) / 1000 - time.time()) < 60
    assert note["trace"].startswith("Root=1-5759e988-bd862e3fe1be46a994272793;")
    sources.until_empty(url)


@pytest.mark.covers("invocation:SQS event")
def test_the_event_of_a_fifo_message(sources):
    url, name = sources.queue(fifo=True), sources.recorder().name
    sources.map(name, url)
    sent = sources.sqs.send_message(QueueUrl=url, MessageBody="first", MessageGroupId="g", MessageDeduplicationId="d")
    [record] = sources.until(name, 1)[0]["Records"]
    system = record["attributes"]
    assert (system["MessageGroupId"], system["MessageDeduplicationId"], system["SequenceNumber"]) == ("g", "d", sent["SequenceNumber"])
    assert "md5OfMessageAttributes" not in record and record["messageAttributes"] == {}
    sources.until_empty(url)


@pytest.mark.covers("invocation:SQS batches")
def test_batches_by_size_and_window(sources):
    url, name = sources.queue(), sources.recorder().name
    for number in range(0, 40, 10):
        sources.sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": str(n), "MessageBody": str(n)} for n in range(number, number + 10)])
    uuid = sources.map(name, url, BatchSize=25, MaximumBatchingWindowInSeconds=3)
    began = time.monotonic()
    sources.until_empty(url)
    assert [len(event["Records"]) for event in sources.events(name)] == [25, 15]
    assert time.monotonic() - began > 2, "the second batch was not full: it waited for its window"
    assert sorted(map(int, sources.bodies(name))) == list(range(40))
    sources.change(uuid, BatchSize=4, MaximumBatchingWindowInSeconds=0)
    sources.sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": str(n), "MessageBody": str(n)} for n in range(40, 50)])
    sources.until_empty(url)
    later = [event for event in sources.events(name) if int(event["Records"][0]["body"]) >= 40]
    assert all(len(event["Records"]) <= 4 for event in later) and sum(len(event["Records"]) for event in later) == 10


@pytest.mark.covers("invocation:SQS batches")
def test_an_event_has_six_megabytes_at_most(sources):
    url, name = sources.queue(VisibilityTimeout="60"), sources.recorder(MemorySize=512, Timeout=30).name
    bodies = {f"{number}" + "x" * 1_000_000 for number in range(8)}
    sources.send(url, *bodies)
    sources.map(name, url)
    sources.until_empty(url, 60)
    events = sources.events(name)
    assert set(sources.bodies(name)) == bodies and len(sources.bodies(name)) == 8
    assert max(len(json.dumps(event, separators=(",", ":"))) for event in events) <= 6_291_556 and len(events) > 1


@pytest.mark.covers("invocation:SQS filters")
def test_filters_drop_what_does_not_fit(sources):
    url, name = sources.queue(), sources.recorder().name
    patterns = [{"body": {"kind": ["order"], "price": [{"numeric": [">", 100]}]}}, {"body": [{"prefix": "plain"}]}]
    sources.map(name, url, FilterCriteria={"Filters": [{"Pattern": json.dumps(pattern)} for pattern in patterns]})
    wanted = [json.dumps({"kind": "order", "price": 101}), "plain text"]
    sources.send(url, json.dumps({"kind": "order", "price": 100}), "text", wanted[0], json.dumps({"kind": "offer"}), wanted[1], '"plain"')
    sources.until_empty(url)
    assert sorted(sources.bodies(name)) == sorted(wanted)


@pytest.mark.covers("invocation:SQS failures")
def test_a_failed_batch_comes_again_when_its_visibility_ends(sources):
    url, name = sources.queue(VisibilityTimeout="2"), sources.recorder(Timeout=2).name
    sources.map(name, url)
    began = time.monotonic()
    sources.send(url, "raise once")
    first, second = (event["Records"][0] for event in sources.until(name, 2))
    assert time.monotonic() - began >= 2
    assert first["messageId"] == second["messageId"] and first["receiptHandle"] != second["receiptHandle"]
    assert second["attributes"]["ApproximateReceiveCount"] == "2"
    sources.until_empty(url)


@pytest.mark.covers("invocation:SQS failures")
def test_a_poison_message_ends_in_the_dead_letter_queue(sources):
    dead = sources.queue()
    url = sources.queue(VisibilityTimeout="1", RedrivePolicy=json.dumps({"deadLetterTargetArn": arn(dead), "maxReceiveCount": 2}))
    name = sources.recorder(Timeout=1).name
    sources.map(name, url, BatchSize=1)
    [poison] = sources.send(url, "raise")
    sources.send(url, "good")
    eventually(lambda: sources.count(dead) == (1, 0), "a dead letter")
    letter = sources.sqs.receive_message(QueueUrl=dead, MessageSystemAttributeNames=["All"])["Messages"][0]
    assert (letter["MessageId"], letter["Body"]) == (poison, "raise")
    assert sorted(sources.bodies(name)) == ["good", "raise", "raise"]
    sources.until_empty(url)


@pytest.mark.covers("invocation:SQS partial failures")
def test_what_a_function_reports_comes_again(sources):
    url, name = sources.queue(VisibilityTimeout="2"), sources.recorder(Timeout=2).name
    sources.sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": str(n), "MessageBody": body} for n, body in enumerate(["a", "fail once", "b"])])
    sources.map(name, url, FunctionResponseTypes=["ReportBatchItemFailures"])
    sources.until_empty(url)
    assert collections.Counter(sources.bodies(name)) == {"a": 1, "b": 1, "fail once": 2}


@pytest.mark.covers("invocation:SQS partial failures")
def test_the_order_of_a_group_outlives_failures(sources):
    url, name = sources.queue(fifo=True, VisibilityTimeout="2"), sources.recorder(Timeout=2).name
    for group, body in [("a", "a1"), ("a", "fail once a2"), ("a", "a3"), ("b", "b1"), ("a", "a4"), ("b", "b2")]:
        sources.send(url, body, MessageGroupId=group)
    sources.map(name, url, FunctionResponseTypes=["ReportBatchItemFailures"])
    sources.until_empty(url)
    bodies = sources.bodies(name)
    assert [body for body in bodies if body.startswith("b")] == ["b1", "b2"]
    of_a = [body for body in bodies if not body.startswith("b")]
    assert of_a[:2] == ["a1", "fail once a2"] and of_a[-3:] == ["fail once a2", "a3", "a4"], bodies


@pytest.mark.covers("invocation:SQS order")
def test_a_group_has_one_batch_in_flight(sources):
    url, name = sources.queue(fifo=True), sources.recorder().name
    sources.map(name, url, BatchSize=1)
    expected = {group: [f"sleep 0.05 {group}{number}" for number in range(6)] for group in "abc"}
    for bodies in zip(*expected.values()):
        for group, body in zip(expected, bodies):
            sources.send(url, body, MessageGroupId=group)
    sources.until_empty(url, 60)
    bodies = sources.bodies(name)
    for group, sent in expected.items():
        assert [body for body in bodies if body.split()[2].startswith(group)] == sent


@pytest.mark.covers("invocation:SQS scaling")
def test_no_more_batches_at_once_than_asked_for(sources):
    url, function = sources.queue(VisibilityTimeout="30"), sources.recorder()
    sources.map(function.name, url, BatchSize=1, ScalingConfig={"MaximumConcurrency": 2})
    sources.send(url, *(f"sleep 0.3 {number}" for number in range(8)))
    most, seen = 0, 0
    while seen < 8:
        begun, seen = len(sources.notes(function.name)), len(sources.notes(function.name, "end"))
        most = max(most, begun - seen)
    assert 1 <= most <= 2
    sources.until_empty(url)


@pytest.mark.covers("invocation:SQS scaling")
def test_throttled_batches_wait_and_are_not_lost(sources):
    url, function = sources.queue(VisibilityTimeout="10"), sources.recorder()
    sources.client.put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=1)
    sources.map(function.name, url, BatchSize=1)
    sources.send(url, *(f"sleep 0.2 {number}" for number in range(8)))
    sources.until_empty(url, 60)
    assert set(sources.bodies(function.name)) == {f"sleep 0.2 {number}" for number in range(8)}


@pytest.mark.covers("invocation:SQS pauses")
def test_a_disabled_mapping_receives_nothing_and_lets_its_batch_end(sources):
    url, name = sources.queue(), sources.recorder().name
    uuid = sources.map(name, url)
    sources.send(url, "sleep 1")
    sources.until(name, 1)
    sources.change(uuid, Enabled=False)
    sources.send(url, "later")
    eventually(lambda: sources.count(url) == (1, 0), "the batch under way has ended")
    assert sources.bodies(name) == ["sleep 1"]
    sources.change(uuid, Enabled=True)
    sources.until_empty(url)
    assert sources.bodies(name) == ["sleep 1", "later"]


@pytest.mark.covers("invocation:SQS pauses")
def test_a_queue_that_goes_and_comes_back(sources):
    url, name = sources.queue(), sources.recorder().name
    uuid = sources.map(name, url)
    sources.sqs.delete_queue(QueueUrl=url)
    found = eventually(lambda: (found := sources.client.get_event_source_mapping(UUID=uuid)).get("LastProcessingResult") and found, "the problem is told")
    # AWS's text for queues is not published.
    assert (found["State"], found["LastProcessingResult"]) == ("Enabled", "PROBLEM: the event source does not exist")


@pytest.mark.covers("invocation:SQS event")
def test_versions_and_aliases_are_targets(sources):
    url, function = sources.queue(), sources.recorder()
    version = sources.client.publish_version(FunctionName=function.name)["Version"]
    sources.client.create_alias(FunctionName=function.name, Name="live", FunctionVersion=version)
    sources.map(f"{function.name}:live", url)
    sources.send(url, "x")
    note = eventually(lambda: sources.notes(function.name), "an event")[0]
    assert note["arn"].endswith(f":function:{function.name}:live")


@pytest.mark.covers("invocation:SQS event")
def test_two_mappings_share_a_queue(sources):
    url, names = sources.queue(), [sources.recorder().name for _ in range(2)]
    for name in names:
        sources.map(name, url, BatchSize=1)
    bodies = [f"sleep 0.02 {number}" for number in range(60)]
    for start in range(0, 60, 10):
        sources.sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies[start : start + 10])])
    sources.until_empty(url, 60)
    got = [sources.bodies(name) for name in names]
    assert all(got) and sorted(got[0] + got[1]) == sorted(bodies)


@pytest.mark.covers("invocation:SQS metrics")
def test_records_are_counted_when_asked_for(sources):
    url, name = sources.queue(), sources.recorder().name
    filters = {"Filters": [{"Pattern": json.dumps({"body": ["yes"]})}]}
    uuid = sources.map(name, url, MetricsConfig={"Metrics": ["EventCount"]}, FilterCriteria=filters)
    sources.send(url, "yes", "no", "yes")
    sources.until_empty(url)
    sources.change(uuid, Enabled=False)
    metrics = sources.server.client("cloudwatch")

    def total(metric):
        now = time.time()
        found = metrics.get_metric_statistics(
            Namespace="AWS/Lambda", MetricName=metric, Dimensions=[{"Name": "EventSourceMappingUUID", "Value": uuid}],
            StartTime=now - 3600, EndTime=now + 60, Period=60, Statistics=["Sum"],
        )
        return sum(point["Sum"] for point in found["Datapoints"])

    eventually(lambda: total("DeletedEventCount") == 2, "counts are stored")
    assert (total("PolledEventCount"), total("FilteredOutEventCount"), total("InvokedEventCount"), total("FailedInvokeEventCount")) == (3, 1, 2, 0)


# Queues from inside


SENDER = """
    import botocore.exceptions, botocore.session
    session = botocore.session.get_session()
    def handler(event, context):
        try:
            answer = getattr(session.create_client("sqs"), event["call"])(**event["arguments"])
        except botocore.exceptions.ClientError as error:
            return [error.response["Error"]["Code"], error.response["Error"]["Message"]]
        answer.pop("ResponseMetadata")
        return [None, answer]
"""


@pytest.mark.covers("invocation:SQS from inside", client="botocore inside")
def test_a_function_sends_to_the_queue_of_another(server, sources):
    url, name = sources.queue(), sources.recorder().name
    other = sources.queue()
    sources.map(name, url)
    iam, client = server.client("iam"), server.client()
    role = iam.create_role(RoleName="queue-sender", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    layer = client.publish_layer_version(LayerName="botocore-sqs", Content={"ZipFile": libraries(("sqs",))})
    sender = create(server, {"app.py": SENDER}, Layers=[layer["LayerVersionArn"]], MemorySize=256, Timeout=30)
    try:
        def call(call, **arguments):
            return sender.ok({"call": call, "arguments": arguments})

        code, text = call("send_message", QueueUrl=url, MessageBody="x")
        identity = f"arn:aws:sts::000000000000:assumed-role/test/{sender.name}"
        assert (code, text) == (
            "AccessDenied", f"User: {identity} is not authorized to perform: sqs:SendMessage on resource: {arn(url)} because no identity-based policy allows the sqs:SendMessage action"
        )
        statement = {"Effect": "Allow", "Action": ["sqs:SendMessage", "sqs:GetQueueUrl"], "Resource": arn(url)}
        iam.put_role_policy(RoleName="queue-sender", PolicyName="p", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
        sender.update(Role=role)
        code, found = call("get_queue_url", QueueName=url.rsplit("/", 1)[1])
        assert code is None
        code, sent = call("send_message", QueueUrl=found["QueueUrl"], MessageBody="from inside")
        assert code is None
        code, batch = call("send_message_batch", QueueUrl=url, Entries=[{"Id": "1", "MessageBody": "in a batch"}])
        assert code is None and batch["Successful"][0]["Id"] == "1"
        sources.until_empty(url)
        records = [record for event in sources.events(name) for record in event["Records"]]
        assert sorted(record["body"] for record in records) == ["from inside", "in a batch"]
        assert records[0]["attributes"]["SenderId"].endswith(f":{sender.name}")
        assert records[0]["attributes"]["AWSTraceHeader"].startswith("Root=1-"), "the trace of the sender's call goes on"
        for operation, arguments in [
            ("send_message", {"QueueUrl": other, "MessageBody": "x"}),
            ("receive_message", {"QueueUrl": url}),
            ("purge_queue", {"QueueUrl": url}),
            ("delete_queue", {"QueueUrl": url}),
            ("set_queue_attributes", {"QueueUrl": url, "Attributes": {"VisibilityTimeout": "0"}}),
            ("create_queue", {"QueueName": "mine"}),
            ("list_queues", {}),
        ]:
            assert call(operation, **arguments)[0] == "AccessDenied", operation
    finally:
        sender.delete()
        iam.delete_role_policy(RoleName="queue-sender", PolicyName="p")
        iam.delete_role(RoleName="queue-sender")
        client.delete_layer_version(LayerName="botocore-sqs", VersionNumber=layer["Version"])


DURABLE = """
    import os, time
    from aws_durable_execution_sdk_python import DurableContext, durable_execution
    from aws_durable_execution_sdk_python.config import Duration

    @durable_execution
    def handler(event: dict, context: DurableContext):
        bodies = [record["body"] for record in event["Records"]]
        counts = [record["attributes"]["ApproximateReceiveCount"] for record in event["Records"]]
        context.step(lambda step: bodies, name="received")
        for body in bodies:
            if body.startswith("wait "):
                context.wait(Duration.from_seconds(int(body.split()[1])), name="nap")
        if "raise" in bodies and counts[0] == "1":
            raise ValueError("raise")
        failed = [record["messageId"] for record in event["Records"] if record["body"] == "fail once" and record["attributes"]["ApproximateReceiveCount"] == "1"]
        return {"batchItemFailures": [{"itemIdentifier": identifier} for identifier in failed]}
"""


def executions(sources, name: str) -> list[tuple]:
    """Status of each, oldest first, what its first step kept, and the kinds of its events."""
    found = []
    for page in sources.client.get_paginator("list_durable_executions_by_function").paginate(FunctionName=name):
        found += page["DurableExecutions"]
    rows = []
    for execution in sorted(found, key=lambda row: row["StartTimestamp"]):
        history = sources.client.get_durable_execution_history(DurableExecutionArn=execution["DurableExecutionArn"], IncludeExecutionData=True)["Events"]
        steps = [json.loads(event["StepSucceededDetails"]["Result"]["Payload"]) for event in history if event["EventType"] == "StepSucceeded"]
        rows.append((execution["Status"], steps[0] if steps else None, [event["EventType"] for event in history]))
    return rows


@pytest.mark.covers("invocation:SQS durable functions", client="Python SDK 3.0.0")
def test_a_durable_function_works_a_queue_off(sources):
    name = durable.python(sources.deploy, DURABLE).name
    # The wait is longer than a message is invisible: it is held for the whole execution, not for one invocation of it.
    url = sources.queue(VisibilityTimeout="30")
    sources.map(f"{name}:$LATEST", url, FunctionResponseTypes=["ReportBatchItemFailures"], BatchSize=1)
    sources.sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "3"})
    sources.send(url, "wait 8")
    eventually(lambda: any("WaitStarted" in kinds for _, _, kinds in executions(sources, name)), "it waits")
    assert sources.count(url) == (0, 1), "its message is held"
    sources.until_empty(url, 60)
    [(status, bodies, kinds)] = executions(sources, name)
    assert (status, bodies) == ("SUCCEEDED", ["wait 8"]) and "WaitSucceeded" in kinds
    # A failed execution, and one that names its failures: the messages come again, each time to a new execution.
    sources.send(url, "raise")
    sources.until_empty(url, 60)
    sources.send(url, "fail once")
    sources.until_empty(url, 60)
    assert [row[:2] for row in executions(sources, name)[1:]] == [
        ("FAILED", ["raise"]), ("SUCCEEDED", ["raise"]), ("SUCCEEDED", ["fail once"]), ("SUCCEEDED", ["fail once"]),
    ]


@pytest.mark.covers("invocation:SQS durable functions")
def test_a_durable_function_that_nobody_can_wait_for_is_no_target(sources):
    function = durable.python(sources.deploy, DURABLE, DurableConfig={"ExecutionTimeout": 901})
    url = sources.queue(VisibilityTimeout="30")
    # AWS's texts for this are not known; these are those of Invoke.
    for name, text in (
        (function.name, "You cannot invoke a durable function using an unqualified ARN."),
        (f"{function.name}:$LATEST", "You cannot synchronously invoke a durable function with an executionTimeout greater than 15 minutes."),
    ):
        assert refused(sources.client.create_event_source_mapping, FunctionName=name, EventSourceArn=arn(url)) == (*INVALID, text)
    # One that becomes such a function later is not called, and the mapping says why.
    function = durable.python(sources.deploy, DURABLE)
    uuid = sources.map(f"{function.name}:$LATEST", url)
    function.update(DurableConfig={"ExecutionTimeout": 901})
    sources.send(url, "kept")
    problem = eventually(lambda: sources.client.get_event_source_mapping(UUID=uuid).get("LastProcessingResult"), "the mapping says what is wrong")
    assert problem == f"PROBLEM: {text}" and executions(sources, function.name) == []
    function.update(DurableConfig={"ExecutionTimeout": 60})
    sources.until_empty(url, 60)
    assert [row[:2] for row in executions(sources, function.name)] == [("SUCCEEDED", ["kept"])]
