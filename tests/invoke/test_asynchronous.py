"""Event invocations: accepted durably, run once when all is well, tried again when the function fails."""

import json

import pytest

from support.host import eventually

WRITES = """
    def handler(event, context):
        import os
        with open("/mnt/out/" + event["id"] + "-" + context.aws_request_id, "a") as file:
            file.write("x")
        if event.get("fail"):
            raise ValueError("asked to fail")
"""
FILE_SYSTEM = [{"Arn": "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/fsap-0123456789abcdef0", "LocalMountPath": "/mnt/out"}]


def messages(function, pattern=None):
    logs = function.server.client("logs")
    more = {"filterPattern": pattern} if pattern else {}
    try:
        return [event["message"] for event in logs.filter_log_events(logGroupName=f"/aws/lambda/{function.name}", **more)["events"]]
    except logs.exceptions.ResourceNotFoundException:
        return []


@pytest.mark.covers("operation:Invoke Event")
@pytest.mark.covers("operation:FilterLogEvents")
def test_an_event_is_accepted_and_runs_once(deploy, client):
    function = deploy({"app.py": "import json\ndef handler(event, context): print('ran', json.dumps(event), context.aws_request_id)"})
    answer = client.invoke(FunctionName=function.name, InvocationType="Event", Payload=json.dumps({"n": 1}))
    assert answer["StatusCode"] == 202 and answer["Payload"].read() == b""
    assert "ExecutedVersion" not in answer or not answer["ExecutedVersion"]
    request_id = answer["ResponseMetadata"]["RequestId"]
    eventually(lambda: any(f"REPORT RequestId: {request_id}" in message for message in messages(function)), "the event's REPORT line")
    assert [message.strip() for message in messages(function) if message.startswith("ran")] == [f'ran {{"n": 1}} {request_id}']


@pytest.mark.covers("operation:Invoke Event")
def test_an_event_without_a_body_is_an_empty_object(deploy, client):
    function = deploy({"app.py": "import json\ndef handler(event, context): print('ran', json.dumps(event))"})
    client.invoke(FunctionName=function.name, InvocationType="Event")
    eventually(lambda: any(message.startswith("ran {}") for message in messages(function)), "the event runs with {}")


@pytest.mark.covers("input:oversize payload")
def test_an_event_over_one_megabyte_is_refused(deploy, client):
    function = deploy({"app.py": "def handler(event, context): return 1"})
    with pytest.raises(client.exceptions.ClientError) as refused:
        client.invoke(FunctionName=function.name, InvocationType="Event", Payload=json.dumps("x" * 1_100_000))
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413


def test_events_of_an_unknown_function_are_refused(client):
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.invoke(FunctionName="nobody", InvocationType="Event", Payload=b"{}")


@pytest.mark.covers("operation:Invoke Event")
@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_failing_event_is_tried_again_after_a_minute_with_the_same_request_id(deploy, client):
    function = deploy({"app.py": "def handler(event, context):\n    print('try', context.aws_request_id)\n    raise ValueError('again')"})
    request_id = client.invoke(FunctionName=function.name, InvocationType="Event", Payload=b"{}")["ResponseMetadata"]["RequestId"]
    eventually(lambda: len([m for m in messages(function) if m.startswith("try")]) >= 2, "the second try", seconds=120)
    assert {m.split()[1] for m in messages(function) if m.startswith("try")} == {request_id}


@pytest.mark.covers("runtime:file system")
def test_instances_share_a_file_system(deploy, client):
    function = deploy({"app.py": WRITES}, FileSystemConfigs=FILE_SYSTEM)
    other = deploy({"app.py": "import os\ndef handler(event, context): return sorted(os.listdir('/mnt/in'))"}, FileSystemConfigs=[{**FILE_SYSTEM[0], "LocalMountPath": "/mnt/in"}])
    answer = function.invoke({"id": f"shared-{function.name}"})
    assert answer.error is None, answer.body
    assert f"shared-{function.name}-{answer.request_id}" in other.ok()
