"""Queues with stock clients: boto3, the aws command line, and query requests as older clients send them."""

from __future__ import annotations

import hashlib
import http.client
import itertools
import json
import os
import subprocess
import threading
import time
import urllib.parse
import xml.etree.ElementTree as ElementTree

import pytest

from support.errors import members, refused

ACCOUNT = "000000000000"
numbers = itertools.count(1)
ABSENT = ("AWS.SimpleQueueService.NonExistentQueue", 400, "The specified queue does not exist.")


@pytest.fixture
def sqs(server):
    return server.client("sqs")


@pytest.fixture
def queue(sqs):
    """`queue(fifo=True, VisibilityTimeout="5")` gives the URL of a new queue that is deleted after the test."""
    made = []

    def make(name=None, *, fifo=False, tags=None, **attributes):
        name = name or f"queue-{next(numbers)}" + (".fifo" if fifo else "")
        if fifo:
            attributes = {"FifoQueue": "true", "ContentBasedDeduplication": "true", **attributes}
        made.append(sqs.create_queue(QueueName=name, Attributes=attributes, tags=tags or {})["QueueUrl"])
        return made[-1]

    yield make
    for url in made:
        try:
            sqs.delete_queue(QueueUrl=url)
        except sqs.exceptions.QueueDoesNotExist:
            pass


def arn(url: str) -> str:
    return f"arn:aws:sqs:us-east-1:{ACCOUNT}:{url.rsplit('/', 1)[1]}"


def bodies(sqs, url, most=10, **arguments):
    return [row["Body"] for row in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=most, **arguments).get("Messages", [])]


# Queues


@pytest.mark.covers("operation:SQS queues")
def test_queues_are_created_found_listed_and_deleted(server, sqs, queue):
    prefix = f"listed-{next(numbers)}-"
    urls = [queue(prefix + letter) for letter in "abc"]
    assert urls[0] == f"{server.endpoint}/{ACCOUNT}/{prefix}a"
    assert sqs.get_queue_url(QueueName=f"{prefix}a")["QueueUrl"] == urls[0]
    assert sqs.get_queue_url(QueueName=f"{prefix}a", QueueOwnerAWSAccountId=ACCOUNT)["QueueUrl"] == urls[0]
    assert members(sqs.list_queues(QueueNamePrefix=prefix)) == {"QueueUrls": urls}
    pages = list(sqs.get_paginator("list_queues").paginate(QueueNamePrefix=prefix, PaginationConfig={"PageSize": 2}))
    assert [page["QueueUrls"] for page in pages] == [urls[:2], urls[2:]]
    assert members(sqs.list_queues(QueueNamePrefix="none-of-this")) == {}
    assert refused(sqs.list_queues, MaxResults=1001)[:2] == ("InvalidParameterValue", 400)
    assert refused(sqs.list_queues, MaxResults=1, NextToken="x")[:2] == ("InvalidParameterValue", 400)
    # Regions do not see each other.
    assert refused(server.client("sqs", "eu-west-1").get_queue_url, QueueName=f"{prefix}a") == ABSENT
    assert refused(sqs.get_queue_url, QueueName=f"{prefix}a", QueueOwnerAWSAccountId="111111111111") == ABSENT
    sqs.delete_queue(QueueUrl=urls[0])
    assert refused(sqs.delete_queue, QueueUrl=urls[0]) == ABSENT
    assert refused(sqs.create_queue, QueueName=f"{prefix}a") == (
        "AWS.SimpleQueueService.QueueDeletedRecently", 400,
        "You must wait 60 seconds after deleting a queue before you can create another with the same name.",
    )
    assert refused(sqs.get_queue_attributes, QueueUrl="nonsense")[:2] == ("InvalidAddress", 404)


@pytest.mark.covers("operation:SQS queues")
def test_creating_a_queue_again_needs_the_same_attributes(sqs, queue):
    name = f"again-{next(numbers)}"
    url = queue(name, DelaySeconds="1")
    assert sqs.create_queue(QueueName=name)["QueueUrl"] == url
    assert sqs.create_queue(QueueName=name, Attributes={"DelaySeconds": "1"})["QueueUrl"] == url
    assert refused(sqs.create_queue, QueueName=name, Attributes={"DelaySeconds": "2"}) == (
        "QueueAlreadyExists", 400, "A queue already exists with the same name and a different value for attribute DelaySeconds",
    )
    with pytest.raises(sqs.exceptions.QueueNameExists):
        sqs.create_queue(QueueName=name, Attributes={"DelaySeconds": "2"})


@pytest.mark.covers("operation:SQS queues")
@pytest.mark.parametrize("name, attributes", [
    ("with space", {}), ("a" * 81, {}), ("dot.fifo", {}), ("no-suffix", {"FifoQueue": "true"}), (".fifo", {"FifoQueue": "true"}),
])
def test_queue_names_are_checked(sqs, name, attributes):
    code, status, message = refused(sqs.create_queue, QueueName=name, Attributes=attributes)
    assert (code, status) == ("InvalidParameterValue", 400)
    assert "alphanumeric characters, hyphens, or underscores" in message


@pytest.mark.covers("operation:SQS attributes")
def test_attributes_have_defaults_and_bounds(sqs, queue):
    url = queue()
    got = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    created, modified = int(got.pop("CreatedTimestamp")), int(got.pop("LastModifiedTimestamp"))
    assert abs(created - time.time()) < 60 and modified == created
    assert got == {
        "QueueArn": arn(url), "ApproximateNumberOfMessages": "0", "ApproximateNumberOfMessagesNotVisible": "0",
        "ApproximateNumberOfMessagesDelayed": "0", "VisibilityTimeout": "30", "MaximumMessageSize": "1048576", "MessageRetentionPeriod": "345600",
        "DelaySeconds": "0", "ReceiveMessageWaitTimeSeconds": "0", "SqsManagedSseEnabled": "false",
    }
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "69", "MaximumMessageSize": "2048"})
    names = ["VisibilityTimeout", "MaximumMessageSize", "Policy"]
    assert members(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)) == {"Attributes": {"VisibilityTimeout": "69", "MaximumMessageSize": "2048"}}
    assert members(sqs.get_queue_attributes(QueueUrl=url)) == {}
    for name, value in [("DelaySeconds", "901"), ("VisibilityTimeout", "-1"), ("MaximumMessageSize", "1023"), ("MessageRetentionPeriod", "59"),
                        ("ReceiveMessageWaitTimeSeconds", "21"), ("Policy", "{"), ("RedriveAllowPolicy", "{}")]:
        assert refused(sqs.set_queue_attributes, QueueUrl=url, Attributes={name: value}) == (
            "InvalidAttributeValue", 400, f"Invalid value for the parameter {name}.")
    assert refused(sqs.set_queue_attributes, QueueUrl=url, Attributes={"FifoQueue": "true"}) == ("InvalidAttributeName", 400, "Unknown Attribute FifoQueue.")
    assert refused(sqs.get_queue_attributes, QueueUrl=url, AttributeNames=["Nonsense"]) == ("InvalidAttributeName", 400, "Unknown Attribute Nonsense.")
    assert refused(sqs.set_queue_attributes, QueueUrl=url, Attributes={"KmsMasterKeyId": "key"})[:2] == ("AWS.SimpleQueueService.UnsupportedOperation", 400)
    fifo = sqs.get_queue_attributes(QueueUrl=queue(fifo=True), AttributeNames=["All"])["Attributes"]
    assert {name: fifo[name] for name in ("FifoQueue", "ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit")} == {
        "FifoQueue": "true", "ContentBasedDeduplication": "true", "DeduplicationScope": "queue", "FifoThroughputLimit": "perQueue"}


@pytest.mark.covers("operation:SQS tags and permissions")
def test_tags(sqs, queue):
    url = queue(tags={"team": "one"})
    sqs.tag_queue(QueueUrl=url, Tags={"tag2": "", "team": "two"})
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"team": "two", "tag2": ""}
    sqs.untag_queue(QueueUrl=url, TagKeys=["team", "absent", "tag2"])
    assert members(sqs.list_queue_tags(QueueUrl=url)) == {}
    assert refused(sqs.tag_queue, QueueUrl=url, Tags={f"k{n}": "" for n in range(51)})[:2] == ("InvalidParameterValue", 400)
    assert refused(sqs.tag_queue, QueueUrl=f"{url}-absent", Tags={"a": "b"}) == ABSENT


@pytest.mark.covers("operation:SQS tags and permissions")
def test_permissions_are_statements_of_the_policy(sqs, queue):
    url = queue()

    def policy():
        text = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])["Attributes"].get("Policy")
        return text and json.loads(text)

    sqs.add_permission(QueueUrl=url, Label="one", AWSAccountIds=["111111111111"], Actions=["ReceiveMessage"])
    statement = {"Sid": "one", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111111111111:root"}, "Action": "SQS:ReceiveMessage", "Resource": arn(url)}
    assert policy() == {"Version": "2008-10-17", "Id": f"{arn(url)}/SQSDefaultPolicy", "Statement": [statement]}
    label = ("InvalidParameterValue", 400, "Value one for parameter Label is invalid. Reason: Already exists.")
    assert refused(sqs.add_permission, QueueUrl=url, Label="one", AWSAccountIds=["111111111111"], Actions=["*"]) == label
    sqs.add_permission(QueueUrl=url, Label="two", AWSAccountIds=["111111111111", "222222222222"], Actions=["SendMessage", "*"])
    assert policy()["Statement"][1]["Action"] == ["SQS:SendMessage", "SQS:*"]
    for label in ("one", "two"):
        sqs.remove_permission(QueueUrl=url, Label=label)
    assert policy() is None
    assert refused(sqs.remove_permission, QueueUrl=url, Label="two") == (
        "InvalidParameterValue", 400, "Value two for parameter Label is invalid. Reason: can't find label.")


# Messages


@pytest.mark.covers("operation:SQS messages")
def test_a_message_comes_back_with_everything_said_about_it(sqs, queue):
    url = queue()
    attributes = {
        "Hello": {"DataType": "String", "StringValue": "There"}, "Help.Me": {"DataType": "Number.int", "StringValue": "42"},
        "General": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
    }
    trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
    body = "Grüße <&> \U0001f600\r\n\t"
    # boto3 checks both digests of what it sent.
    sent = sqs.send_message(QueueUrl=url, MessageBody=body, MessageAttributes=attributes, MessageSystemAttributes={"AWSTraceHeader": {"DataType": "String", "StringValue": trace}})
    assert sent["MD5OfMessageBody"] == hashlib.md5(body.encode()).hexdigest()
    assert len(sent["MD5OfMessageAttributes"]) == len(sent["MD5OfMessageSystemAttributes"]) == 32
    assert "SequenceNumber" not in sent
    message, = sqs.receive_message(QueueUrl=url, MessageSystemAttributeNames=["All"], MessageAttributeNames=["All"], VisibilityTimeout=0)["Messages"]
    assert (message["MessageId"], message["Body"], message["MessageAttributes"]) == (sent["MessageId"], body, attributes)
    system = message["Attributes"]
    assert abs(int(system.pop("SentTimestamp")) / 1000 - time.time()) < 60
    assert abs(int(system.pop("ApproximateFirstReceiveTimestamp")) / 1000 - time.time()) < 60
    assert system == {"SenderId": ACCOUNT, "ApproximateReceiveCount": "1", "AWSTraceHeader": trace}

    def traced(length):
        return {"AWSTraceHeader": {"DataType": "String", "StringValue": "x" * length}}

    assert "MessageId" in sqs.send_message(QueueUrl=queue(), MessageBody="b", MessageSystemAttributes=traced(1_024))
    with pytest.raises(sqs.exceptions.ClientError) as long:  # AWS names no bound.
        sqs.send_message(QueueUrl=url, MessageBody="b", MessageSystemAttributes=traced(1_025))
    assert long.value.response["Error"]["Code"] == "InvalidParameterValue"

    def given(*names):
        row, = sqs.receive_message(QueueUrl=url, MessageAttributeNames=list(names), VisibilityTimeout=0)["Messages"]
        assert "Attributes" not in row
        return sorted(row.get("MessageAttributes", {}))

    assert given() == given("Absent") == given("AWS.*") == []
    assert given(".*") == ["General", "Hello", "Help.Me"]
    assert given("Hel.*") == ["Hello", "Help.Me"]
    assert given("Hello", "Absent") == ["Hello"]
    row, = sqs.receive_message(QueueUrl=url, AttributeNames=["SenderId"], VisibilityTimeout=0)["Messages"]
    assert row["Attributes"] == {"SenderId": ACCOUNT}


@pytest.mark.covers("operation:SQS messages")
def test_messages_that_are_refused(sqs, queue):
    url = queue(MaximumMessageSize="1024")
    text = {"DataType": "String", "StringValue": "x"}

    def send(body="x", **arguments):
        return refused(sqs.send_message, QueueUrl=arguments.pop("url", url), MessageBody=body, **arguments)

    too_long = ("InvalidParameterValue", 400, "One or more parameters are invalid. Reason: Message must be shorter than 1024 bytes.")
    assert send("x" * 1025) == too_long
    assert send("x" * 1020, MessageAttributes={"a": text}) == too_long
    sqs.send_message(QueueUrl=url, MessageBody="x" * 1016, MessageAttributes={"a": text})
    big = queue()
    sqs.send_message(QueueUrl=big, MessageBody="x" * 1048576)
    assert sqs.receive_message(QueueUrl=big)["Messages"][0]["MD5OfBody"] == hashlib.md5(b"x" * 1048576).hexdigest()
    assert send("x" * 1048577, url=big)[2].endswith("Message must be shorter than 1048576 bytes.")
    assert send("") == ("MissingParameter", 400, "The request must contain the parameter MessageBody.")
    # The text is guessed.
    assert send("\x00")[:2] == ("InvalidMessageContents", 400)
    assert send(DelaySeconds=901)[:2] == ("InvalidParameterValue", 400)
    assert send(MessageAttributes={"ErrorDetails": {"DataType": "String", "StringValue": ""}}) == (
        "InvalidParameterValue", 400, "Message (user) attribute 'ErrorDetails' must contain a non-empty value of type 'String'.")
    assert send(MessageAttributes={f"a{n}": text for n in range(11)})[2] == "Number of message attributes [11] exceeds the allowed maximum [10]."
    assert send(MessageAttributes={"a": {"DataType": "Text", "StringValue": "x"}})[:2] == ("InvalidParameterValue", 400)
    assert send(MessageDeduplicationId="x")[2] == (
        "Value x for parameter MessageDeduplicationId is invalid. Reason: The request include parameter that is not valid for this queue type.")
    assert send(url=f"{url}-absent") == ABSENT
    assert refused(sqs.receive_message, QueueUrl=url, MaxNumberOfMessages=11) == (
        "InvalidParameterValue", 400, "Value 11 for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10, if provided.")
    assert refused(sqs.receive_message, QueueUrl=url, WaitTimeSeconds=21)[:2] == ("InvalidParameterValue", 400)
    assert refused(sqs.receive_message, QueueUrl=url, VisibilityTimeout=43201)[:2] == ("InvalidParameterValue", 400)
    assert refused(sqs.receive_message, QueueUrl=f"{url}-absent") == ABSENT
    assert refused(sqs.delete_message, QueueUrl=url, ReceiptHandle="garbage") == (
        "ReceiptHandleIsInvalid", 404, 'The input receipt handle "garbage" is not a valid receipt handle.')


@pytest.mark.covers("operation:SQS messages")
def test_visibility_delay_and_counts(sqs, queue):
    url = queue()
    sqs.send_message(QueueUrl=url, MessageBody="later", DelaySeconds=900)
    for body in ("a", "b"):
        sqs.send_message(QueueUrl=url, MessageBody=body)
    message, = sqs.receive_message(QueueUrl=url)["Messages"]

    def counts():
        got = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return tuple(int(got[f"ApproximateNumberOfMessages{kind}"]) for kind in ("", "NotVisible", "Delayed"))

    assert (message["Body"], counts()) == ("a", (1, 1, 1))
    assert bodies(sqs, url) == ["b"]
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
    assert refused(sqs.change_message_visibility, QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=43201)[:2] == ("InvalidParameterValue", 400)
    # It is visible: the receive is over, and says nothing any more of when it is.
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=600)
    again, = sqs.receive_message(QueueUrl=url)["Messages"]
    assert again["Body"] == "a" and again["ReceiptHandle"] != message["ReceiptHandle"]
    handle = message["ReceiptHandle"]
    assert refused(sqs.change_message_visibility, QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=1)[2] == (
        f"Value {handle} for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available for visibility timeout change.")
    for receipt in (handle, again["ReceiptHandle"], again["ReceiptHandle"]):
        sqs.delete_message(QueueUrl=url, ReceiptHandle=receipt)
    assert counts() == (0, 1, 1)
    sqs.purge_queue(QueueUrl=url)
    assert counts() == (0, 0, 0)
    assert refused(sqs.purge_queue, QueueUrl=url) == (
        "AWS.SimpleQueueService.PurgeQueueInProgress", 403, f"Only one PurgeQueue operation on {url.rsplit('/', 1)[1]} is allowed every 60 seconds.")
    assert refused(sqs.purge_queue, QueueUrl=f"{url}-absent") == ABSENT


@pytest.mark.covers("operation:SQS long polling")
def test_a_receive_waits_for_a_message(sqs, queue):
    url = queue()
    started = time.monotonic()
    assert "Messages" not in sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1)
    assert 1 <= time.monotonic() - started < 5
    threading.Timer(0.5, lambda: sqs.send_message(QueueUrl=url, MessageBody="woken")).start()
    started = time.monotonic()
    assert bodies(sqs, url, WaitTimeSeconds=20, VisibilityTimeout=1) == ["woken"]
    assert 0.4 < time.monotonic() - started < 5
    # What becomes visible by itself ends the wait, too.
    assert bodies(sqs, url, WaitTimeSeconds=20) == ["woken"]
    assert time.monotonic() - started < 10
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"ReceiveMessageWaitTimeSeconds": "1"})
    started = time.monotonic()
    assert bodies(sqs, url) == []
    assert time.monotonic() - started >= 1
    assert bodies(sqs, url, WaitTimeSeconds=0) == []


@pytest.mark.covers("operation:SQS batches")
def test_batches(sqs, queue):
    url = queue()
    entries = [{"Id": f"id-{n}", "MessageBody": str(n), "MessageAttributes": {"n": {"DataType": "Number", "StringValue": str(n)}}} for n in range(9)]
    sent = sqs.send_message_batch(QueueUrl=url, Entries=[*entries, {"Id": "bad", "MessageBody": "x", "DelaySeconds": 901}])
    assert [row["Id"] for row in sent["Successful"]] == [entry["Id"] for entry in entries]
    failure, = sent["Failed"]
    assert (failure["Id"], failure["SenderFault"], failure["Code"]) == ("bad", True, "InvalidParameterValue")
    messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    assert sorted(row["MessageId"] for row in messages) == sorted(row["MessageId"] for row in sent["Successful"])
    rows = [{"Id": str(n), "ReceiptHandle": row["ReceiptHandle"]} for n, row in enumerate(messages)]
    changed = sqs.change_message_visibility_batch(QueueUrl=url, Entries=[{**row, "VisibilityTimeout": 100} for row in rows[:2]] + [{"Id": "x", "ReceiptHandle": "garbage", "VisibilityTimeout": 1}])
    assert [row["Id"] for row in changed["Successful"]] == ["0", "1"]
    assert changed["Failed"][0]["Code"] == "ReceiptHandleIsInvalid"
    deleted = sqs.delete_message_batch(QueueUrl=url, Entries=[*rows, {"Id": "x", "ReceiptHandle": "garbage"}])
    assert len(deleted["Successful"]) == 9
    assert deleted["Failed"] == [{"Id": "x", "SenderFault": True, "Code": "ReceiptHandleIsInvalid", "Message": 'The input receipt handle "garbage" is not a valid receipt handle.'}]

    def send(*entries):
        return refused(sqs.send_message_batch, QueueUrl=url, Entries=[{"MessageBody": "x", **entry} for entry in entries])

    prefix = "AWS.SimpleQueueService."
    assert send() == (f"{prefix}EmptyBatchRequest", 400, "There should be at least one SendMessageBatchRequestEntry in the request.")
    assert send(*[{"Id": str(n)} for n in range(20)]) == (f"{prefix}TooManyEntriesInBatchRequest", 400, "Maximum number of entries per request are 10. You have sent 20.")
    assert send({"Id": "a"}, {"Id": "a"}) == (f"{prefix}BatchEntryIdsNotDistinct", 400, "Id a repeated.")
    for bad in ("", "a:b", "a" * 81):
        assert send({"Id": bad})[:2] == (f"{prefix}InvalidBatchEntryId", 400)
    assert send({"Id": "a", "MessageBody": "x" * 1048576}, {"Id": "b"}) == (
        f"{prefix}BatchRequestTooLong", 400, "Batch requests cannot be longer than 1048576 bytes. You have sent 1048577 bytes.")
    assert refused(sqs.delete_message_batch, QueueUrl=f"{url}-absent", Entries=[{"Id": "a", "ReceiptHandle": "x"}]) == ABSENT


# FIFO


@pytest.mark.covers("operation:SQS FIFO queues")
def test_groups_keep_their_order(sqs, queue):
    url = queue(fifo=True)
    sequence = []
    for group, body in [("a", "a1"), ("b", "b1"), ("a", "a2")]:
        sequence.append(sqs.send_message(QueueUrl=url, MessageBody=body, MessageGroupId=group)["SequenceNumber"])
    assert sequence == sorted(sequence) and len(set(sequence)) == 3
    message, = sqs.receive_message(QueueUrl=url, AttributeNames=["All"])["Messages"]
    system = message["Attributes"]
    assert (message["Body"], system["MessageGroupId"], system["SequenceNumber"]) == ("a1", "a", sequence[0])
    assert system["MessageDeduplicationId"] == hashlib.sha256(b"a1").hexdigest()
    assert bodies(sqs, url) == ["b1"]
    assert bodies(sqs, url) == []
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    assert bodies(sqs, url, VisibilityTimeout=1) == ["a2"]
    # A message that becomes visible frees its group and ends a wait.
    assert bodies(sqs, url, WaitTimeSeconds=20) == ["a2"]


@pytest.mark.covers("operation:SQS FIFO queues")
def test_what_is_sent_twice_is_delivered_once(sqs, queue):
    url = queue(fifo=True)
    first = sqs.send_message(QueueUrl=url, MessageBody="x", MessageGroupId="a")
    assert sqs.send_message(QueueUrl=url, MessageBody="x", MessageGroupId="b")["MessageId"] == first["MessageId"]
    sqs.send_message(QueueUrl=url, MessageBody="x", MessageGroupId="a", MessageDeduplicationId="other")
    message = sqs.receive_message(QueueUrl=url)["Messages"][0]
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    # Deleted or not, it is known for five minutes.
    sqs.send_message(QueueUrl=url, MessageBody="x", MessageGroupId="a")
    assert bodies(sqs, url) == ["x"]
    assert bodies(sqs, url) == []
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"ContentBasedDeduplication": "false"})
    assert refused(sqs.send_message, QueueUrl=url, MessageBody="x", MessageGroupId="a") == (
        "InvalidParameterValue", 400, "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly")
    assert refused(sqs.send_message, QueueUrl=url, MessageBody="x", MessageDeduplicationId="y") == (
        "MissingParameter", 400, "The request must contain the parameter MessageGroupId.")
    assert refused(sqs.send_message_batch, QueueUrl=url, Entries=[{"Id": "1", "MessageBody": "x", "MessageDeduplicationId": "y"}]) == (
        "InvalidParameterValue", 400, "The request must contain the parameter MessageGroupId.")
    assert refused(sqs.send_message, QueueUrl=url, MessageBody="x", MessageGroupId="a", MessageDeduplicationId="y", DelaySeconds=2) == (
        "InvalidParameterValue", 400, "Value 2 for parameter DelaySeconds is invalid. Reason: The request include parameter that is not valid for this queue type.")


@pytest.mark.covers("operation:SQS FIFO queues")
def test_an_ended_receipt_and_a_repeated_attempt(sqs, queue):
    url = queue(fifo=True)
    for body in "12":
        sqs.send_message(QueueUrl=url, MessageBody=body, MessageGroupId="a")
    attempt = {"QueueUrl": url, "ReceiveRequestAttemptId": "try", "VisibilityTimeout": 1}
    first = sqs.receive_message(**attempt)["Messages"]
    assert sqs.receive_message(**attempt)["Messages"] == first
    assert bodies(sqs, url, WaitTimeSeconds=10) == ["1", "2"]
    handle = first[0]["ReceiptHandle"]
    assert refused(sqs.delete_message, QueueUrl=url, ReceiptHandle=handle) == (
        "InvalidParameterValue", 400, f"Value {handle} for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.")


# Dead letters


@pytest.mark.covers("operation:SQS dead letters")
@pytest.mark.parametrize("fifo", [False, True])
def test_dead_letters_and_their_way_back(sqs, queue, fifo):
    dead = queue(fifo=fifo)
    url = queue(fifo=fifo, RedrivePolicy=json.dumps({"deadLetterTargetArn": arn(dead), "maxReceiveCount": "1"}), VisibilityTimeout="0")
    got = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])["Attributes"]["RedrivePolicy"]
    assert got == f'{{"deadLetterTargetArn":"{arn(dead)}","maxReceiveCount":1}}'
    assert sqs.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"] == [url]
    assert sqs.list_dead_letter_source_queues(QueueUrl=url)["queueUrls"] == []
    sent = sqs.send_message(QueueUrl=url, MessageBody="poison", **({"MessageGroupId": "a"} if fifo else {}))
    assert bodies(sqs, url) == ["poison"]
    assert bodies(sqs, url) == []
    letter, = sqs.receive_message(QueueUrl=dead, AttributeNames=["All"], VisibilityTimeout=0)["Messages"]
    assert (letter["MessageId"], letter["Attributes"]["DeadLetterQueueSourceArn"]) == (sent["MessageId"], arn(url))
    task = sqs.start_message_move_task(SourceArn=arn(dead))["TaskHandle"]
    assert task
    assert bodies(sqs, url, WaitTimeSeconds=10, VisibilityTimeout=30) == ["poison"]
    row, = sqs.list_message_move_tasks(SourceArn=arn(dead))["Results"]
    assert abs(row.pop("StartedTimestamp") / 1000 - time.time()) < 60
    assert row == {"Status": "COMPLETED", "SourceArn": arn(dead), "ApproximateNumberOfMessagesMoved": 1, "ApproximateNumberOfMessagesToMove": 1}


@pytest.mark.covers("operation:SQS dead letters")
def test_redrive_is_checked(sqs, queue):
    dead, fifo = queue(), queue(fifo=True)
    url = queue()

    def redrive(**policy):
        return refused(sqs.set_queue_attributes, QueueUrl=url, Attributes={"RedrivePolicy": json.dumps(policy)})

    text = '{"deadLetterTargetArn": "dummy", "maxReceiveCount": 42}'
    assert redrive(deadLetterTargetArn="dummy", maxReceiveCount=42) == (
        "InvalidParameterValue", 400, f"Value {text} for parameter RedrivePolicy is invalid. Reason: Invalid value for deadLetterTargetArn.")
    for target, count in [(f"{arn(dead)}-absent", 1), (arn(fifo), 1), (arn(dead), 0), (arn(dead), 1001)]:
        assert redrive(deadLetterTargetArn=target, maxReceiveCount=count)[:2] == ("InvalidParameterValue", 400)
    assert redrive(deadLetterTargetArn=arn(dead))[2].endswith("mandatory attribute: maxReceiveCount.")
    sqs.set_queue_attributes(QueueUrl=dead, Attributes={"RedriveAllowPolicy": json.dumps({"redrivePermission": "byQueue", "sourceQueueArns": ["arn:x"]})})
    assert redrive(deadLetterTargetArn=arn(dead), maxReceiveCount=1)[:2] == ("InvalidParameterValue", 400)
    sqs.set_queue_attributes(QueueUrl=dead, Attributes={"RedriveAllowPolicy": json.dumps({"redrivePermission": "byQueue", "sourceQueueArns": [arn(url)]})})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": json.dumps({"deadLetterTargetArn": arn(dead), "maxReceiveCount": 1})})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": ""})
    assert members(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])) == {"Attributes": {}}
    assert refused(sqs.start_message_move_task, SourceArn=arn(url)) == (
        "InvalidParameterValue", 400, "Source queue must be configured as a Dead Letter Queue.")
    gone = "The resource that you specified for the SourceArn parameter doesn't exist."
    assert refused(sqs.start_message_move_task, SourceArn=f"{arn(url)}-absent") == ("ResourceNotFoundException", 404, gone)
    assert refused(sqs.list_message_move_tasks, SourceArn=f"{arn(url)}-absent") == ("ResourceNotFoundException", 404, gone)
    assert refused(sqs.cancel_message_move_task, TaskHandle="foobared") == ("InvalidParameterValue", 400, "Value for parameter TaskHandle is invalid.")


@pytest.mark.covers("operation:SQS dead letters")
def test_a_move_is_cancelled(sqs, queue):
    dead, target = queue(), queue()
    queue(RedrivePolicy=json.dumps({"deadLetterTargetArn": arn(dead), "maxReceiveCount": 1}))
    for number in range(20):
        sqs.send_message(QueueUrl=dead, MessageBody=str(number))
    handle = sqs.start_message_move_task(SourceArn=arn(dead), DestinationArn=arn(target), MaxNumberOfMessagesPerSecond=1)["TaskHandle"]
    assert refused(sqs.start_message_move_task, SourceArn=arn(dead))[2].startswith("There is already a task running.")
    row, = sqs.list_message_move_tasks(SourceArn=arn(dead))["Results"]
    assert (row["Status"], row["TaskHandle"], row["DestinationArn"], row["MaxNumberOfMessagesPerSecond"]) == ("RUNNING", handle, arn(target), 1)
    assert bodies(sqs, target, WaitTimeSeconds=10) == ["0"]
    moved = sqs.cancel_message_move_task(TaskHandle=handle)["ApproximateNumberOfMessagesMoved"]
    assert 1 <= moved < 20
    row, = sqs.list_message_move_tasks(SourceArn=arn(dead))["Results"]
    assert (row["Status"], row["ApproximateNumberOfMessagesMoved"]) == ("CANCELLED", moved) and "TaskHandle" not in row


# Protocols


def query(server, path="/", **parameters):
    """A request as clients sent it before 2023: status, and the answer without its namespace."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        form = urllib.parse.urlencode({"Version": "2012-11-05", **{name.replace("__", "."): value for name, value in parameters.items()}})
        connection.request("POST", path, body=form, headers={"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"})
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    return answer.status, ElementTree.fromstring(text.replace(' xmlns="http://queue.amazonaws.com/doc/2012-11-05/"', ""))


@pytest.mark.covers("operation:SQS query protocol", client="query requests")
def test_the_query_protocol_says_the_same(server, sqs, queue):
    name = f"query-{next(numbers)}"
    status, created = query(server, Action="CreateQueue", QueueName=name, Attribute__1__Name="DelaySeconds", Attribute__1__Value="0", Tag__1__Key="k", Tag__1__Value="v")
    url = created.findtext("CreateQueueResult/QueueUrl")
    assert (status, url) == (200, queue(name)) and created.findtext("ResponseMetadata/RequestId")
    path = urllib.parse.urlparse(url).path
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"k": "v"}
    sent = query(server, path, Action="SendMessage", MessageBody="a <&> ü", MessageAttribute__1__Name="n", MessageAttribute__1__Value__DataType="String", MessageAttribute__1__Value__StringValue="x")[1]
    assert sent.findtext("SendMessageResult/MD5OfMessageBody") == hashlib.md5("a <&> ü".encode()).hexdigest()
    message = query(server, path, Action="ReceiveMessage", MaxNumberOfMessages="10", AttributeName__1="All", MessageAttributeName__1="All")[1].find("ReceiveMessageResult/Message")
    assert (message.findtext("Body"), message.findtext("MessageId")) == ("a <&> ü", sent.findtext("SendMessageResult/MessageId"))
    assert {row.findtext("Name"): row.findtext("Value") for row in message.findall("Attribute")}["ApproximateReceiveCount"] == "1"
    assert (message.findtext("MessageAttribute/Name"), message.findtext("MessageAttribute/Value/StringValue")) == ("n", "x")
    assert message.findtext("MD5OfMessageAttributes") == sent.findtext("SendMessageResult/MD5OfMessageAttributes")
    handle = message.findtext("ReceiptHandle")
    batch = query(server, "/", Action="DeleteMessageBatch", QueueUrl=url, DeleteMessageBatchRequestEntry__1__Id="one", DeleteMessageBatchRequestEntry__1__ReceiptHandle=handle,
                  DeleteMessageBatchRequestEntry__2__Id="two", DeleteMessageBatchRequestEntry__2__ReceiptHandle="garbage")[1]
    assert batch.findtext("DeleteMessageBatchResult/DeleteMessageBatchResultEntry/Id") == "one"
    assert batch.findtext("DeleteMessageBatchResult/BatchResultErrorEntry/Code") == "ReceiptHandleIsInvalid"
    assert query(server, path, Action="ReceiveMessage")[1].find("ReceiveMessageResult/Message") is None
    attributes = query(server, path, Action="GetQueueAttributes", AttributeName__1="QueueArn")[1]
    assert attributes.findtext("GetQueueAttributesResult/Attribute/Value") == arn(url)
    assert query(server, Action="ListQueues", QueueNamePrefix=name)[1].findtext("ListQueuesResult/QueueUrl") == url
    # As boto 2 writes an only element.
    assert query(server, path, Action="SetQueueAttributes", Attribute__Name="VisibilityTimeout", Attribute__Value="7")[0] == 200
    assert query(server, path, Action="GetQueueAttributes", AttributeName="VisibilityTimeout")[1].findtext("GetQueueAttributesResult/Attribute/Value") == "7"
    status, answer = query(server, path, Action="DeleteQueue")
    assert (status, answer.find("DeleteQueueResult")) == (200, None)
    status, error = query(server, path, Action="SendMessage", MessageBody="x")
    assert (status, error.findtext("Error/Type"), error.findtext("Error/Code"), error.findtext("Error/Message")) == (
        400, "Sender", "AWS.SimpleQueueService.NonExistentQueue", "The specified queue does not exist for this wsdl version.")
    assert query(server, Action="Nonsense")[1].findtext("Error/Code") == "InvalidAction"


@pytest.mark.covers("operation:SQS messages")
def test_errors_of_the_json_protocol(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    headers = {"X-Amz-Target": "AmazonSQS.GetQueueUrl", "Content-Type": "application/x-amz-json-1.0"}
    connection.request("POST", "/", body='{"QueueName": "absent"}', headers=headers)
    answer = connection.getresponse()
    body = json.loads(answer.read())
    for wrong in ("{", "[]", '{"QueueName": 5}', "\xff"):
        connection.request("POST", "/", body=wrong.encode("latin-1"), headers=headers)
        assert json.loads(connection.getresponse().read())["__type"] == "com.amazon.coral.service#SerializationException", wrong
    connection.close()
    assert (answer.status, answer.getheader("Content-Type")) == (400, "application/x-amz-json-1.0")
    assert answer.getheader("x-amzn-query-error") == "AWS.SimpleQueueService.NonExistentQueue;Sender"
    assert body == {"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "The specified queue does not exist."}


@pytest.mark.covers("operation:SQS messages", client="aws-cli")
def test_the_command_line(server, sqs, queue, tmp_path):
    name = f"cli-{next(numbers)}"
    queue(name)
    program = os.environ.get("LAMPLIGHT_AWS_CLI") or "aws"

    def aws(*arguments):
        done = subprocess.run([program, "--endpoint-url", server.endpoint, "sqs", *arguments], env=server.environment_for_clients(), cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    try:
        url = aws("get-queue-url", "--queue-name", name)["QueueUrl"]
    except FileNotFoundError:
        pytest.skip("no aws client on this machine (get it with: apt-get install awscli)")
    aws("send-message", "--queue-url", url, "--message-body", "from the shell")
    message = aws("receive-message", "--queue-url", url)["Messages"][0]
    assert message["Body"] == "from the shell"
    aws("delete-message", "--queue-url", url, "--receipt-handle", message["ReceiptHandle"])
    assert aws("receive-message", "--queue-url", url) is None


# Durability


@pytest.mark.covers("operation:SQS survives kill -9")
def test_messages_survive_a_kill(new_server):
    server = new_server().start()
    sqs = server.client("sqs")
    url = sqs.create_queue(QueueName="durable", Attributes={"VisibilityTimeout": "2"})["QueueUrl"]
    for number in range(20):
        sqs.send_message(QueueUrl=url, MessageBody=str(number))
    gone = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=5)["Messages"]
    for message in gone:
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    # In flight when the server dies: they come back.
    held = bodies(sqs, url, most=5)
    server.kill()
    server.start()
    sqs = server.client("sqs")
    url = sqs.get_queue_url(QueueName="durable")["QueueUrl"]
    left = []
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=5, VisibilityTimeout=60).get("Messages"):
        left += [message["Body"] for message in messages]
    assert sorted(left, key=int) == sorted({str(number) for number in range(20)} - {message["Body"] for message in gone}, key=int)
    assert set(held) <= set(left)
    assert server.stop() == 0


@pytest.mark.covers("operation:SQS long polling")
def test_a_server_that_stops_does_not_wait_for_its_receivers(new_server):
    server = new_server().start()
    sqs = server.client("sqs")
    url = sqs.create_queue(QueueName="waiting")["QueueUrl"]
    answers = []
    thread = threading.Thread(target=lambda: answers.append(members(sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20))))
    thread.start()
    # Nobody can see from outside that the receive waits; were it not there yet, this would prove less.
    time.sleep(1)
    started = time.monotonic()
    assert server.stop() == 0
    thread.join(30)
    assert answers == [{}] and time.monotonic() - started < 15
