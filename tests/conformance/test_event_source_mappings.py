"""Event source mappings with boto3: validated and shown as AWS does. Queues are served; other kinds of sources are refused by their names."""

from __future__ import annotations

import datetime
import itertools
import json

import pytest

from support.errors import ABSENT, CONFLICT, INVALID, NOT_FOUND, VALIDATION, arn, members, refused
from support.host import eventually

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
    assert client.list_event_source_mappings(EventSourceArn=QUEUE)["EventSourceMappings"] == []


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
    assert create(StartingPosition="LATEST") == (*INVALID, "StartingPosition is not valid for SQS event sources.")
    # The texts of these are not published; that of the first is AWS's for another member.
    assert create(ParallelizationFactor=2) == (*INVALID, "Unsupported ParallelizationFactor parameter for given event source mapping type.")
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


# Queues


numbers = itertools.count(1)
IN_USE = ("ResourceInUseException", 400)


@pytest.fixture
def queue(server):
    """`queue(VisibilityTimeout="5")` gives the ARN of a new queue."""
    sqs, made = server.client("sqs"), []

    def make(suffix="", **attributes):
        made.append(sqs.create_queue(QueueName=f"mapped-{next(numbers)}{suffix}", Attributes=attributes)["QueueUrl"])
        return f"arn:aws:sqs:us-east-1:000000000000:{made[-1].rsplit('/', 1)[1]}"

    yield make
    for url in made:
        sqs.delete_queue(QueueUrl=url)


@pytest.fixture
def mapped(client):
    """`mapped(FunctionName=..., ...)` creates a mapping that is deleted after the test."""
    made = []

    def make(**given):
        created = client.create_event_source_mapping(**given)
        made.append(created["UUID"])
        return created

    yield make
    for uuid in made:
        try:
            rested(client, uuid)
            client.delete_event_source_mapping(UUID=uuid)
        except client.exceptions.ResourceNotFoundException:
            pass


def rested(client, uuid):
    """The mapping as it is when its transition is over."""
    return eventually(lambda: (found := client.get_event_source_mapping(UUID=uuid))["State"] in ("Enabled", "Disabled") and found, "the end of a transition")


def gone(client, uuid):
    eventually(lambda: uuid not in [row["UUID"] for row in client.list_event_source_mappings()["EventSourceMappings"]], "the end of a mapping")


@pytest.mark.covers("operation:CreateEventSourceMapping")
@pytest.mark.covers("operation:GetEventSourceMapping")
@pytest.mark.covers("operation:UpdateEventSourceMapping")
@pytest.mark.covers("operation:DeleteEventSourceMapping")
def test_the_life_of_a_mapping(client, name, queue, mapped):
    source = queue()
    response = mapped(FunctionName=name, EventSourceArn=source)
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 202
    created = members(response)
    uuid = created["UUID"]
    assert abs((created.pop("LastModified") - datetime.datetime.now(datetime.timezone.utc)).total_seconds()) < 60
    # The members, and their absence, of an answer recorded from AWS.
    plain = {
        "UUID": uuid,
        "BatchSize": 10,
        "MaximumBatchingWindowInSeconds": 0,
        "EventSourceArn": source,
        "FunctionArn": arn(name),
        "StateTransitionReason": "USER_INITIATED",
        "FunctionResponseTypes": [],
        "EventSourceMappingArn": f"arn:aws:lambda:us-east-1:000000000000:event-source-mapping:{uuid}",
    }
    assert created == plain | {"State": "Creating"}
    found = members(rested(client, uuid))
    del found["LastModified"]
    assert found == plain | {"State": "Enabled"}

    pattern = {"Pattern": json.dumps({"body": {"kind": ["order"]}})}
    changed = client.update_event_source_mapping(
        UUID=uuid, BatchSize=100, MaximumBatchingWindowInSeconds=2, FilterCriteria={"Filters": [pattern]}, ScalingConfig={"MaximumConcurrency": 7},
        FunctionResponseTypes=["ReportBatchItemFailures"], MetricsConfig={"Metrics": ["EventCount"]},
    )
    assert changed["ResponseMetadata"]["HTTPStatusCode"] == 202 and changed["State"] == "Updating"
    found = rested(client, uuid)
    assert (found["State"], found["BatchSize"], found["MaximumBatchingWindowInSeconds"]) == ("Enabled", 100, 2)
    assert (found["FilterCriteria"], found["ScalingConfig"]) == ({"Filters": [pattern]}, {"MaximumConcurrency": 7})
    assert (found["FunctionResponseTypes"], found["MetricsConfig"]) == (["ReportBatchItemFailures"], {"Metrics": ["EventCount"]})

    assert client.update_event_source_mapping(UUID=uuid, Enabled=False, FilterCriteria={}, ScalingConfig={})["State"] == "Disabling"
    found = rested(client, uuid)
    assert found["State"] == "Disabled" and "FilterCriteria" not in found and "ScalingConfig" not in found and found["BatchSize"] == 100
    assert client.update_event_source_mapping(UUID=uuid, Enabled=True)["State"] == "Enabling"
    assert rested(client, uuid)["State"] == "Enabled"

    assert client.delete_event_source_mapping(UUID=uuid)["State"] == "Deleting"
    gone(client, uuid)
    assert refused(client.get_event_source_mapping, UUID=uuid) == ABSENT


@pytest.mark.covers("operation:UpdateEventSourceMapping")
@pytest.mark.covers("operation:DeleteEventSourceMapping")
def test_nothing_is_changed_in_transition(client, name, queue, mapped):
    uuid = mapped(FunctionName=name, EventSourceArn=queue(), Enabled=False)["UUID"]
    assert rested(client, uuid)["State"] == "Disabled"
    # A transition takes less time than a request, mostly: some of these come within one.
    words = {"update": "Cannot update the event source mapping because it is in use.", "delete": "Cannot delete the event source mapping because it is in use."}
    seen = set()
    for number in range(200):
        try:
            client.update_event_source_mapping(UUID=uuid, BatchSize=number % 10 + 1)
        except client.exceptions.ResourceInUseException as error:
            assert (error.response["Error"]["Message"], error.response["ResponseMetadata"]["HTTPStatusCode"]) == (words["update"], 400)
            seen.add("update")
            try:
                client.delete_event_source_mapping(UUID=uuid)
            except client.exceptions.ResourceInUseException as refusal:
                assert refusal.response["Error"]["Message"] == words["delete"]
                seen.add("delete")
            else:
                break
        if seen == set(words):
            break
    assert "update" in seen


@pytest.mark.covers("operation:CreateEventSourceMapping")
def test_what_aws_refuses_of_queues(client, name, queue, mapped, deploy):
    source = queue()
    create = client.create_event_source_mapping
    uuid = mapped(FunctionName=name, EventSourceArn=source)["UUID"]
    assert refused(create, FunctionName=name, EventSourceArn=source) == (
        *CONFLICT, f'An event source mapping with SQS arn (" {source} ") and function (" {name} ") already exists. Please update or delete the existing mapping with UUID {uuid}'
    )
    assert refused(create, FunctionName=name, EventSourceArn=QUEUE) == (
        *INVALID, "Error occurred while ReceiveMessage. SQS Error Code: AWS.SimpleQueueService.NonExistentQueue. SQS Error Message: The specified queue does not exist."
    )
    assert refused(create, FunctionName=name, EventSourceArn=queue(VisibilityTimeout="9")) == (
        *INVALID, "Queue visibility timeout: 9 seconds is less than Function timeout: 10 seconds"
    )
    slow = deploy(SOURCE, Timeout=31)
    rested(client, uuid)
    assert refused(client.update_event_source_mapping, UUID=uuid, FunctionName=slow.name) == (
        *INVALID, "Queue visibility timeout: 30 seconds is less than Function timeout: 31 seconds"
    )
    assert refused(client.update_event_source_mapping, UUID=uuid, FunctionName="absent") == (*INVALID, "Function does not exist")
    assert refused(client.update_event_source_mapping, UUID=uuid, BatchSize=11) == (
        *INVALID, "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10"
    )
    # The texts of these are not published.
    assert refused(client.update_event_source_mapping, UUID=uuid, ScalingConfig={"MaximumConcurrency": 2}, ProvisionedPollerConfig={"MinimumPollers": 2})[:2] == INVALID
    assert refused(client.update_event_source_mapping, UUID=uuid, MaximumRetryAttempts=1) == (*INVALID, "Unsupported MaximumRetryAttempts parameter for given event source mapping type.")


@pytest.mark.covers("operation:CreateEventSourceMapping")
def test_the_role_of_the_function_is_asked(client, server, queue, mapped, deploy):
    iam, source = server.client("iam"), queue()
    role = iam.create_role(RoleName="poller", AssumeRolePolicyDocument="{}")["Role"]
    try:
        name = deploy(SOURCE).update(Role=role["Arn"]).name
        for action, text in [
            ("sqs:Nothing", "The provided execution role does not have permissions to call ReceiveMessage on SQS"),
            ("sqs:ReceiveMessage", "The provided execution role does not have permissions to call DeleteMessage on SQS"),
        ]:
            document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": source}]}
            iam.put_role_policy(RoleName="poller", PolicyName="p", PolicyDocument=json.dumps(document))
            assert refused(client.create_event_source_mapping, FunctionName=name, EventSourceArn=source) == (*INVALID, text)
        iam.attach_role_policy(RoleName="poller", PolicyArn="arn:aws:iam::aws:policy/service-role/AWSLambdaSQSQueueExecutionRole")
        mapped(FunctionName=name, EventSourceArn=source)
    finally:
        iam.detach_role_policy(RoleName="poller", PolicyArn="arn:aws:iam::aws:policy/service-role/AWSLambdaSQSQueueExecutionRole")
        iam.delete_role_policy(RoleName="poller", PolicyName="p")
        iam.delete_role(RoleName="poller")


@pytest.mark.covers("operation:TagResource")
@pytest.mark.covers("operation:UntagResource")
@pytest.mark.covers("operation:ListTags")
def test_tags(client, name, queue, mapped):
    mapping = mapped(FunctionName=name, EventSourceArn=queue(), Tags={"a": "1"})["EventSourceMappingArn"]
    assert client.list_tags(Resource=mapping)["Tags"] == {"a": "1"}
    client.tag_resource(Resource=mapping, Tags={"b": "2"})
    client.untag_resource(Resource=mapping, TagKeys=["a"])
    assert client.list_tags(Resource=mapping)["Tags"] == {"b": "2"}
    assert refused(client.list_tags, Resource=f"arn:aws:lambda:us-east-1:000000000000:event-source-mapping:{UUID}") == ABSENT


@pytest.mark.covers("operation:ListEventSourceMappings")
def test_lists_by_function_by_source_and_by_pages(client, name, queue, mapped, deploy):
    other, sources = deploy(SOURCE).name, [queue() for _ in range(3)]
    version = client.publish_version(FunctionName=name)["Version"]
    client.create_alias(FunctionName=name, Name="live", FunctionVersion=version)
    made = {mapped(FunctionName=name, EventSourceArn=source, Enabled=False)["UUID"] for source in sources}
    of_other = mapped(FunctionName=other, EventSourceArn=sources[0], Enabled=False)["UUID"]
    qualified = mapped(FunctionName=arn(name, "live"), EventSourceArn=sources[0], Enabled=False)
    assert qualified["FunctionArn"] == arn(name, "live")

    def listed(**given):
        return {row["UUID"] for row in client.list_event_source_mappings(**given)["EventSourceMappings"]}

    assert listed(FunctionName=name) == made
    assert listed(FunctionName=arn(name, "live")) == {qualified["UUID"]}
    assert listed(EventSourceArn=sources[0]) >= {of_other, qualified["UUID"]} and len(listed(EventSourceArn=sources[0])) == 3
    assert listed(FunctionName=other, EventSourceArn=sources[0]) == {of_other}
    pages = list(client.get_paginator("list_event_source_mappings").paginate(FunctionName=name, PaginationConfig={"PageSize": 2}))
    assert [len(page["EventSourceMappings"]) for page in pages] == [2, 1]
    assert {row["UUID"] for page in pages for row in page["EventSourceMappings"]} == made


@pytest.mark.covers("operation:DeleteEventSourceMapping")
def test_a_deleted_function_leaves_its_mappings(client, queue, mapped, deploy):
    function = deploy(SOURCE)
    uuid = mapped(FunctionName=function.name, EventSourceArn=queue())["UUID"]
    rested(client, uuid)
    function.delete()
    found = eventually(lambda: (found := client.get_event_source_mapping(UUID=uuid)).get("LastProcessingResult") and found, "the problem is told")
    assert found["State"] == "Enabled" and found["LastProcessingResult"] == f"PROBLEM: Function not found: {arn(function.name)}"
    assert client.update_event_source_mapping(UUID=uuid, Enabled=False)["State"] == "Disabling"
    assert "LastProcessingResult" not in rested(client, uuid)


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
