"""Recursive loops of real functions with an unmodified botocore: stopped at the seventeenth invocation, unless they are allowed."""

from __future__ import annotations

import json
import time

import pytest

from support.inside import libraries
from support.functions import create
from support.host import eventually

# `how` says by which way the function calls itself; it stops by itself after `most` invocations.
HANDLER = """
    import os
    import botocore.exceptions, botocore.session
    client = botocore.session.get_session().create_client("lambda")
    def handler(event, context):
        import json
        number = event.get("number", 0) + 1
        print("invocation", number, os.environ["_X_AMZN_TRACE_ID"])
        if number >= event["most"]:
            return {"stopped": number}
        again = json.dumps({**event, "number": number}).encode()
        try:
            if event["how"] == "InvokeAsync":
                client.invoke_async(FunctionName=context.function_name, InvokeArgs=again)
                return None
            answer = client.invoke(FunctionName=context.function_name, InvocationType=event["how"], Payload=again)
        except botocore.exceptions.ClientError as error:
            return {"refused": number, "code": error.response["Error"]["Code"], "status": error.response["ResponseMetadata"]["HTTPStatusCode"], "message": error.response["Error"]["Message"]}
        return json.loads(answer["Payload"].read() or b"null")
"""
# Sends each message, and one more, to the queue that it came from.
SENDER = """
    import json, os
    import botocore.session
    client = botocore.session.get_session().create_client("sqs")
    def handler(event, context):
        for record in event["Records"]:
            number = int(record["body"]) + 1
            print("invocation", number, os.environ["_X_AMZN_TRACE_ID"])
            client.send_message(QueueUrl=os.environ["QUEUE"], MessageBody=str(number))
"""
MESSAGE = "Lambda has detected your function being invoked in a recursive loop with other Amazon Web Services resources and stopped your function's invocation."
RECURSION = pytest.mark.covers("operation:Recursive loops", client="botocore inside functions")


@pytest.fixture(scope="module")
def layer(shared_server):
    client = shared_server.get().client()
    published = client.publish_layer_version(LayerName="botocore-lambda", Content={"ZipFile": libraries(("lambda", "sqs"))})
    yield published["LayerVersionArn"]
    client.delete_layer_version(LayerName="botocore-lambda", VersionNumber=published["Version"])


@pytest.fixture
def looping(server, layer):
    """A function that calls itself, and the queue of its dead letters."""
    sqs = server.client("sqs")
    name = f"loops-{time.monotonic_ns()}"
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = f"arn:aws:sqs:us-east-1:000000000000:{name}"
    function = create(server, {"app.py": HANDLER}, Layers=[layer], Timeout=120, MemorySize=256, DeadLetterConfig={"TargetArn": arn})
    yield function, url
    function.delete()
    sqs.delete_queue(QueueUrl=url)


def invocations(server, name):
    logs = server.client("logs")
    try:
        events = [event for page in logs.get_paginator("filter_log_events").paginate(logGroupName=f"/aws/lambda/{name}") for event in page["events"]]
    except logs.exceptions.ResourceNotFoundException:
        return []  # Nothing has run yet.
    return [event["message"].split() for event in events if event["message"].startswith("invocation ")]


@RECURSION
@pytest.mark.timeout(300)
def test_a_synchronous_loop_is_refused_to_the_caller(looping):
    function, _ = looping
    answer = function.ok({"how": "RequestResponse", "most": 30})
    assert answer == {"refused": 16, "code": "RecursiveInvocationException", "status": 400, "message": MESSAGE}


@RECURSION
@pytest.mark.parametrize("how", ["Event", "InvokeAsync"])
@pytest.mark.timeout(300)
def test_an_event_in_a_loop_ends_among_the_dead_letters(server, client, looping, how):
    function, url = looping
    client.invoke(FunctionName=function.name, InvocationType="Event", Payload=json.dumps({"how": how, "most": 30}))
    (message,) = eventually(lambda: server.client("sqs").receive_message(QueueUrl=url, WaitTimeSeconds=5, MessageAttributeNames=["All"], MessageSystemAttributeNames=["All"]).get("Messages"), "the dead letter", seconds=120)
    assert json.loads(message["Body"])["number"] == 16
    assert message["MessageAttributes"]["ErrorMessage"]["StringValue"] == MESSAGE
    assert ";Lineage=" in message["Attributes"]["AWSTraceHeader"]
    seen = invocations(server, function.name)
    assert [int(row[1]) for row in seen] == list(range(1, 17))
    # One chain from the first to the last: SDKs inside functions hand the header on.
    assert len({row[2].split(";")[0] for row in seen}) == 1 and seen[-1][2].endswith(":16"), seen


@RECURSION
@pytest.mark.covers("operation:PutFunctionRecursionConfig")
@pytest.mark.timeout(300)
def test_a_loop_that_is_allowed_goes_on(server, client, looping):
    function, url = looping
    client.put_function_recursion_config(FunctionName=function.name, RecursiveLoop="Allow")
    client.invoke(FunctionName=function.name, InvocationType="Event", Payload=json.dumps({"how": "Event", "most": 20}))
    eventually(lambda: len(invocations(server, function.name)) == 20, "twenty invocations", seconds=120)
    assert "Messages" not in server.client("sqs").receive_message(QueueUrl=url)


@pytest.fixture
def looping_queue(server, layer):
    """A queue, the function that it feeds and that feeds it, and the queue of its dead letters."""
    sqs, iam, client = (server.client(service) for service in ("sqs", "iam", "lambda"))
    name = f"circle-{time.monotonic_ns()}"
    dead = sqs.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
    policy = {"deadLetterTargetArn": f"arn:aws:sqs:us-east-1:000000000000:{name}-dead", "maxReceiveCount": 1}
    url = sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "10", "RedrivePolicy": json.dumps(policy)})["QueueUrl"]
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    statement = {"Effect": "Allow", "Action": "sqs:*", "Resource": f"arn:aws:sqs:us-east-1:000000000000:{name}"}
    iam.put_role_policy(RoleName=name, PolicyName="send", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    function = create(server, {"app.py": SENDER}, Layers=[layer], MemorySize=256, variables={"QUEUE": url})
    function.update(Role=role)
    mapping = client.create_event_source_mapping(FunctionName=function.name, EventSourceArn=f"arn:aws:sqs:us-east-1:000000000000:{name}", BatchSize=1)["UUID"]
    yield function, url, dead
    client.delete_event_source_mapping(UUID=mapping)
    function.delete()
    for queue in (url, dead):
        sqs.delete_queue(QueueUrl=queue)
    iam.delete_role_policy(RoleName=name, PolicyName="send")
    iam.delete_role(RoleName=name)


@RECURSION
@pytest.mark.timeout(300)
def test_a_loop_through_a_queue_ends_in_its_dead_letter_queue(server, looping_queue):
    function, url, dead = looping_queue
    sqs = server.client("sqs")
    sqs.send_message(QueueUrl=url, MessageBody="0")
    (message,) = eventually(lambda: sqs.receive_message(QueueUrl=dead, WaitTimeSeconds=5).get("Messages"), "the message that was refused", seconds=150)
    seen = [int(row[1]) for row in invocations(server, function.name)]
    assert seen == list(range(1, len(seen) + 1)) and int(message["Body"]) == len(seen) and len(seen) == 16, (seen, message["Body"])
