"""Event source mappings with boto3: validated as AWS does; a right one is refused by the name of its source, as none is served yet."""

from __future__ import annotations

import json

import pytest

from support.errors import ABSENT, INVALID, NOT_FOUND, VALIDATION, arn, refused

SOURCE = {"app.py": "def handler(event, context): return event"}
QUEUE = "arn:aws:sqs:us-east-1:000000000000:q"
STREAM = "arn:aws:kinesis:us-east-1:000000000000:stream/s"
UUID = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def name(deploy):
    return deploy(SOURCE).name


@pytest.fixture
def create(client, name):
    """What a CreateEventSourceMapping is refused with."""

    def call(**given):
        arguments = {"FunctionName": name, "EventSourceArn": QUEUE} | given
        return refused(client.create_event_source_mapping, **{key: value for key, value in arguments.items() if value is not None})

    return call


@pytest.mark.covers("operation:CreateEventSourceMapping")
@pytest.mark.parametrize(
    "given, source",
    [
        ({}, "Amazon SQS queues"),
        ({"BatchSize": 100, "MaximumBatchingWindowInSeconds": 1, "FunctionResponseTypes": ["ReportBatchItemFailures"]}, "Amazon SQS queues"),
        ({"EventSourceArn": STREAM, "StartingPosition": "LATEST"}, "Amazon Kinesis streams"),
        ({"EventSourceArn": "arn:aws:dynamodb:us-east-1:000000000000:table/t/stream/2026-01-01T00:00:00.000", "StartingPosition": "TRIM_HORIZON"}, "Amazon DynamoDB streams"),
        ({"EventSourceArn": "arn:aws:kafka:us-east-1:000000000000:cluster/c/1", "StartingPosition": "LATEST", "Topics": ["topic"]}, "Amazon MSK clusters"),
        ({"EventSourceArn": None, "SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["broker:9092"]}}, "StartingPosition": "LATEST", "Topics": ["topic"]}, "self-managed Apache Kafka clusters"),
        ({"EventSourceArn": "arn:aws:mq:us-east-1:000000000000:broker:b:1", "Queues": ["q"]}, "Amazon MQ brokers"),
        ({"EventSourceArn": "arn:aws:rds:us-east-1:000000000000:cluster:d", "StartingPosition": "LATEST"}, "Amazon DocumentDB clusters"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_right_mapping_is_refused_by_the_name_of_its_source(client, create, given, source):
    assert create(**given) == (*INVALID, f"Lamplight does not support {source} as event sources yet.")
    assert client.list_event_source_mappings()["EventSourceMappings"] == []


@pytest.mark.covers("operation:CreateEventSourceMapping")
def test_what_aws_refuses(create):
    assert create(EventSourceArn=None) == (*INVALID, "Unrecognized event source.")
    assert create(EventSourceArn="arn:aws:sns:us-east-1:000000000000:t") == (*INVALID, "Unrecognized event source.")
    assert create(FunctionName="absent") == (*INVALID, "Function does not exist")
    assert create(EventSourceArn=STREAM) == (
        *INVALID, "1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: Member must not be null."
    )
    assert create(BatchSize=11) == (*INVALID, "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10")
    assert create(FilterCriteria={"Filters": [{"Pattern": "x"}]}) == (*INVALID, "Invalid filter pattern definition.")
    assert create(FilterCriteria={"Filters": [{"Pattern": json.dumps({"body": "text"})}]}) == (*INVALID, "Invalid filter pattern definition.")
    # The texts of these are not published.
    assert create(StartingPosition="LATEST")[:2] == INVALID
    assert create(ParallelizationFactor=2)[:2] == INVALID
    assert create(EventSourceArn=QUEUE + ".fifo", BatchSize=11, MaximumBatchingWindowInSeconds=1)[:2] == INVALID
    assert create(FilterCriteria={"Filters": [{"Pattern": json.dumps({"body": ["a"]})}] * 6})[:2] == INVALID


@pytest.mark.covers("operation:CreateEventSourceMapping")
@pytest.mark.parametrize(
    "given, part",
    [
        ({"BatchSize": 10_001}, "Value '10001' at 'batchSize' failed to satisfy constraint: Member must have value less than or equal to 10000"),
        ({"MaximumBatchingWindowInSeconds": 301}, "at 'maximumBatchingWindowInSeconds'"),
        ({"MaximumRetryAttempts": 10_001}, "at 'maximumRetryAttempts'"),
        ({"MaximumRecordAgeInSeconds": 604_801}, "at 'maximumRecordAgeInSeconds'"),
        ({"StartingPosition": "MIDDLE"}, "Value 'MIDDLE' at 'startingPosition' failed to satisfy constraint: Member must satisfy enum value set: [TRIM_HORIZON, LATEST, AT_TIMESTAMP]"),
        ({"ScalingConfig": {"MaximumConcurrency": 1_001}}, "at 'scalingConfig.maximumConcurrency'"),
        ({"EventSourceArn": "q"}, "Value 'q' at 'eventSourceArn' failed to satisfy constraint: Member must satisfy regular expression pattern: arn:(aws"),
        ({"Topics": ["a*"]}, "at 'topics'"),
        ({"FunctionResponseTypes": ["All"]}, "at 'functionResponseTypes'"),
        ({"DestinationConfig": {"OnFailure": {"Destination": "x"}}}, "at 'destinationConfig.onFailure.destination'"),
        ({"Tags": {"a*": "b"}}, "at 'tags.key'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_shapes(create, given, part):
    code, status, text = create(**given)
    assert (code, status) == VALIDATION and part in text


@pytest.mark.covers("operation:GetEventSourceMapping")
@pytest.mark.covers("operation:UpdateEventSourceMapping")
@pytest.mark.covers("operation:DeleteEventSourceMapping")
def test_none_is_ever_found(client):
    for call in (client.get_event_source_mapping, client.update_event_source_mapping, client.delete_event_source_mapping):
        assert refused(call, UUID=UUID) == ABSENT
        code, status, text = refused(call, UUID="x" * 37)
        assert (code, status) == VALIDATION and "Member must have length less than or equal to 36" in text
    assert refused(client.update_event_source_mapping, UUID=UUID, BatchSize=10_001)[:2] == VALIDATION


@pytest.mark.covers("operation:ListEventSourceMappings")
def test_list(client, name):
    listed = client.list_event_source_mappings(FunctionName=name, EventSourceArn=QUEUE)
    assert listed["EventSourceMappings"] == [] and "NextMarker" not in listed
    assert refused(client.list_event_source_mappings, FunctionName="absent") == (*NOT_FOUND, f"Function not found: {arn('absent')}")
    assert refused(client.list_event_source_mappings, MaxItems=10_001)[:2] == VALIDATION
