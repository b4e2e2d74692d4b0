"""Options of asynchronous invocation with boto3: their five operations, and that events follow them."""

from __future__ import annotations

import datetime
import json
import time

import pytest

from support.errors import INVALID, NOT_FOUND, VALIDATION, arn, members, refused
from support.host import eventually

SOURCE = {"app.py": "def handler(event, context): return event"}
FAILS = {"app.py": "def handler(event, context): raise ValueError('asked to fail')"}
PRINTS = {"app.py": "import json\ndef handler(event, context): print('record', json.dumps(event))"}
NOTHING = {"OnSuccess": {}, "OnFailure": {}}


@pytest.fixture
def name(deploy):
    return deploy(SOURCE).name


def no_config(name, qualifier="$LATEST"):
    return (*NOT_FOUND, f"The function {arn(name, qualifier)} doesn't have an EventInvokeConfig")


@pytest.mark.covers("operation:PutFunctionEventInvokeConfig")
@pytest.mark.covers("operation:UpdateFunctionEventInvokeConfig")
@pytest.mark.covers("operation:GetFunctionEventInvokeConfig")
@pytest.mark.covers("operation:DeleteFunctionEventInvokeConfig")
def test_put_update_get_and_delete(client, deploy, name):
    sink = deploy(SOURCE).name
    assert refused(client.get_function_event_invoke_config, FunctionName=name) == no_config(name)
    put = client.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=0)
    assert members(put) == {
        "FunctionArn": arn(name, "$LATEST"), "MaximumRetryAttempts": 0, "DestinationConfig": NOTHING, "LastModified": put["LastModified"]
    }
    assert abs((put["LastModified"] - datetime.datetime.now(datetime.UTC)).total_seconds()) < 60
    destination = {"OnSuccess": {"Destination": arn(sink)}, "OnFailure": {}}
    updated = client.update_function_event_invoke_config(FunctionName=name, MaximumEventAgeInSeconds=60, DestinationConfig={"OnSuccess": {"Destination": arn(sink)}})
    assert (updated["MaximumRetryAttempts"], updated["MaximumEventAgeInSeconds"], updated["DestinationConfig"]) == (0, 60, destination)
    assert members(client.get_function_event_invoke_config(FunctionName=name, Qualifier="$LATEST")) == members(updated)
    # Put takes away what it is not given; an empty ARN is no destination.
    put = client.put_function_event_invoke_config(FunctionName=name, DestinationConfig={"OnFailure": {"Destination": ""}})
    assert "MaximumRetryAttempts" not in put and "MaximumEventAgeInSeconds" not in put and put["DestinationConfig"] == NOTHING
    assert client.delete_function_event_invoke_config(FunctionName=name)["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert refused(client.delete_function_event_invoke_config, FunctionName=name) == no_config(name)


@pytest.mark.covers("operation:ListFunctionEventInvokeConfigs")
def test_lists_by_qualifier_in_pages(client, name):
    client.publish_version(FunctionName=name)
    assert client.list_function_event_invoke_configs(FunctionName=name)["FunctionEventInvokeConfigs"] == []
    for qualifier in ("1", "$LATEST"):
        client.put_function_event_invoke_config(FunctionName=name, Qualifier=qualifier, MaximumRetryAttempts=1)
    pages = list(client.get_paginator("list_function_event_invoke_configs").paginate(FunctionName=name, PaginationConfig={"PageSize": 1}))
    rows = [row for page in pages for row in page["FunctionEventInvokeConfigs"]]
    assert [row["FunctionArn"] for row in rows] == [arn(name, "$LATEST"), arn(name, "1")] and len(pages) == 2
    assert refused(client.list_function_event_invoke_configs, FunctionName="absent") == (*NOT_FOUND, "The function doesn't exist.")
    assert refused(client.list_function_event_invoke_configs, FunctionName=name, Marker="nonsense")[:2] == INVALID
    client.delete_function(FunctionName=name, Qualifier="1")
    assert len(client.list_function_event_invoke_configs(FunctionName=name)["FunctionEventInvokeConfigs"]) == 1


@pytest.mark.covers("operation:PutFunctionEventInvokeConfig")
@pytest.mark.covers("operation:UpdateFunctionEventInvokeConfig")
def test_what_is_refused(client, name):
    def put(**given):
        return refused(client.put_function_event_invoke_config, **({"FunctionName": name} | given))

    def to(destination, when="OnFailure"):
        return put(DestinationConfig={when: {"Destination": destination}})

    assert put() == (*INVALID, "You must specify at least one of error handling or destination setting.")
    assert put(FunctionName="absent", MaximumRetryAttempts=1) == (*NOT_FOUND, "The function doesn't exist.")
    assert put(Qualifier="7", MaximumRetryAttempts=1) == (*NOT_FOUND, "The function doesn't exist.")
    assert refused(client.update_function_event_invoke_config, FunctionName=name, MaximumRetryAttempts=1) == no_config(name)
    assert to(arn(name)) == (*INVALID, "You can't specify the function as a destination for itself.")
    assert to(arn("absent")) == (*INVALID, f"The destination ARN {arn('absent')} is invalid.")
    assert to("arn:aws:dynamodb:us-east-1:000000000000:table/t") == (
        *INVALID, "The provided destination config DestinationConfig(onSuccess=null, onFailure=OnFailure(destination=arn:aws:dynamodb:us-east-1:000000000000:table/t)) is invalid."
    )
    assert to("arn:aws:s3:::bucket", "OnSuccess")[2].startswith("The provided destination config DestinationConfig(onSuccess=OnSuccess(destination=arn:aws:s3:::bucket), onFailure=null)")
    # Served on AWS, not here yet: refused by name rather than kept and forgotten.
    queue = "arn:aws:sqs:us-east-1:000000000000:absent"
    assert to(queue) == (*INVALID, f"The destination ARN {queue} is invalid.")
    for queue in ("arn:aws:sns:us-east-1:000000000000:t", "arn:aws:events:us-east-1:000000000000:event-bus/b", "arn:aws:s3:::bucket"):
        code, status, text = to(queue)
        assert (code, status) == INVALID and queue in text and "Lamplight does not support" in text
    code, status, text = to("nowhere")
    assert (code, status) == VALIDATION and "Value 'nowhere' at 'destinationConfig.onFailure.destination' failed to satisfy constraint: Member must satisfy regular expression pattern: $|kafka://" in text
    assert refused(client.get_function_event_invoke_config, FunctionName=name) == no_config(name)


@pytest.mark.covers("operation:PutFunctionEventInvokeConfig")
@pytest.mark.parametrize(
    "given, part",
    [
        ({"MaximumRetryAttempts": 3}, "Value '3' at 'maximumRetryAttempts' failed to satisfy constraint: Member must have value less than or equal to 2"),
        ({"MaximumEventAgeInSeconds": 21601}, "Value '21601' at 'maximumEventAgeInSeconds' failed to satisfy constraint: Member must have value less than or equal to 21600"),
    ],
)
def test_bounds(client, name, given, part):
    code, status, text = refused(client.put_function_event_invoke_config, FunctionName=name, **given)
    assert (code, status) == VALIDATION and part in text


def records(server, sink):
    logs = server.client("logs")
    try:
        events = logs.filter_log_events(logGroupName=f"/aws/lambda/{sink}")["events"]
    except logs.exceptions.ResourceNotFoundException:
        return []
    return [json.loads(event["message"].removeprefix("record ")) for event in events if event["message"].startswith("record ")]


@pytest.mark.covers("operation:PutFunctionEventInvokeConfig")
@pytest.mark.covers("operation:Invoke Event destinations")
def test_the_record_of_a_success_reaches_a_function(server, client, deploy, name):
    sink = deploy(PRINTS).name
    client.put_function_event_invoke_config(FunctionName=name, DestinationConfig={"OnSuccess": {"Destination": arn(sink)}})
    sent = client.invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps({"n": 1}))
    eventually(lambda: len(records(server, sink)) == 1, "the record of the event")
    record = records(server, sink)[0]
    datetime.datetime.strptime(record.pop("timestamp"), "%Y-%m-%dT%H:%M:%S.%fZ")
    assert record == {
        "version": "1.0",
        "requestContext": {
            "requestId": sent["ResponseMetadata"]["RequestId"], "functionArn": arn(name, "$LATEST"), "condition": "Success", "approximateInvokeCount": 1
        },
        "requestPayload": {"n": 1},
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST"},
        "responsePayload": {"n": 1},
    }


@pytest.mark.covers("operation:PutFunctionEventInvokeConfig")
@pytest.mark.covers("operation:Invoke Event destinations")
def test_a_failure_without_retries_is_told_at_once(server, client, deploy):
    name, sink = deploy(FAILS).name, deploy(PRINTS).name
    client.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=0, DestinationConfig={"OnFailure": {"Destination": arn(sink)}})
    # The default would be a retry after a minute: the record coming within this test shows that there was none.
    client.invoke(FunctionName=name, InvocationType="Event", Payload=b"{}")
    eventually(lambda: len(records(server, sink)) == 1, "the record of the failed event")
    record = records(server, sink)[0]
    assert record["requestContext"]["condition"] == "RetriesExhausted" and record["requestContext"]["approximateInvokeCount"] == 1
    assert record["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"}
    assert (record["responsePayload"]["errorType"], record["responsePayload"]["errorMessage"]) == ("ValueError", "asked to fail")


@pytest.fixture
def queue(server):
    sqs = server.client("sqs")
    name = f"letters-{time.monotonic_ns()}"
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    yield url, f"arn:aws:sqs:us-east-1:000000000000:{name}"
    sqs.delete_queue(QueueUrl=url)


def letter(server, url):
    """The one message that comes to a queue."""
    message, = server.client("sqs").receive_message(QueueUrl=url, WaitTimeSeconds=20, MessageAttributeNames=["All"], AttributeNames=["All"])["Messages"]
    return message


@pytest.mark.covers("operation:PutFunctionEventInvokeConfig")
@pytest.mark.covers("operation:Invoke Event destinations")
def test_the_record_of_a_success_reaches_a_queue(server, client, name, queue):
    url, queue_arn = queue
    client.put_function_event_invoke_config(FunctionName=name, DestinationConfig={"OnSuccess": {"Destination": queue_arn}})
    sent = client.invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps({"n": 1}))
    record = json.loads(letter(server, url)["Body"])
    assert (record["requestContext"]["condition"], record["requestContext"]["requestId"]) == ("Success", sent["ResponseMetadata"]["RequestId"])
    assert (record["requestPayload"], record["responsePayload"]) == ({"n": 1}, {"n": 1})


@pytest.mark.covers("operation:Invoke Event dead letters")
def test_a_failed_event_reaches_the_dead_letter_queue(server, client, deploy, queue):
    url, queue_arn = queue
    name = deploy(FAILS, DeadLetterConfig={"TargetArn": queue_arn}).name
    client.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=0)
    sent = client.invoke(FunctionName=name, InvocationType="Event", Payload=b'{"n": 1}')
    message = letter(server, url)
    assert message["Body"] == '{"n": 1}'
    assert message["MessageAttributes"] == {
        "RequestID": {"DataType": "String", "StringValue": sent["ResponseMetadata"]["RequestId"]},
        "ErrorCode": {"DataType": "Number", "StringValue": "200"},
        "ErrorMessage": {"DataType": "String", "StringValue": "asked to fail"},
    }
