"""Durable executions: what is refused, and how. Needs no function that runs."""

import json

import pytest

from support.errors import INVALID, NOT_FOUND, VALIDATION, arn, members, refused
from support.functions import PYTHON, ROLE, zip_of

FILES = {"app.py": "def handler(event, context): return event"}
ABSENT = arn("nobody", "1") + "/durable-execution/missing/00000000-0000-0000-0000-000000000000"
GONE = (*NOT_FOUND, "Durable Execution does not exist")


@pytest.fixture
def durable(deploy):
    return deploy(FILES, DurableConfig={"ExecutionTimeout": 901})


@pytest.mark.covers("durable:DurableConfig")
def test_durable_config_is_kept_and_published(deploy, client):
    function = deploy(FILES, DurableConfig={"ExecutionTimeout": 3600})
    config = client.get_function_configuration(FunctionName=function.name)
    assert config["DurableConfig"] == {"ExecutionTimeout": 3600, "RetentionPeriodInDays": 14}
    assert config["LoggingConfig"]["LogFormat"] == "JSON"
    assert client.publish_version(FunctionName=function.name)["DurableConfig"] == config["DurableConfig"]
    function.update(DurableConfig={"RetentionPeriodInDays": 3})
    assert client.get_function_configuration(FunctionName=function.name)["DurableConfig"] == {"ExecutionTimeout": 3600, "RetentionPeriodInDays": 3}
    assert client.get_function_configuration(FunctionName=function.name, Qualifier="1")["DurableConfig"]["RetentionPeriodInDays"] == 14


@pytest.mark.covers("durable:DurableConfig")
def test_durable_config_is_checked(deploy, client):
    def created(config, **more):
        return refused(client.create_function, FunctionName="wrong", Runtime=PYTHON, Handler="app.handler", Role=ROLE, Code={"ZipFile": zip_of(FILES)}, DurableConfig=config, **more)

    text = "You cannot create a function with a durable configuration without an executionTimeout"
    assert created({"RetentionPeriodInDays": 7}) == (*INVALID, text)
    found = created({"ExecutionTimeout": 60, "RetentionPeriodInDays": 91, "KMSKeyArn": "no"})
    assert found[:2] == VALIDATION and "2 validation errors detected: Value '91' at 'durableConfig.retentionPeriodInDays'" in found[2]
    plain = deploy(FILES)
    text = "You cannot add a durable configuration to a function that was originally created with no durable configuration"
    assert refused(client.update_function_configuration, FunctionName=plain.name, DurableConfig={"ExecutionTimeout": 60}) == (*INVALID, text)
    assert "DurableConfig" not in client.get_function_configuration(FunctionName=plain.name)


@pytest.mark.covers("durable:Invoke RequestResponse")
def test_what_invoke_refuses(durable, deploy, client):
    unqualified = (*INVALID, "You cannot invoke a durable function using an unqualified ARN.")
    for kind in ("RequestResponse", "Event", "DryRun"):
        assert refused(client.invoke, FunctionName=durable.name, InvocationType=kind) == unqualified
    text = "You cannot synchronously invoke a durable function with an executionTimeout greater than 15 minutes."
    assert refused(client.invoke, FunctionName=durable.name, Qualifier="$LATEST") == (*INVALID, text)
    assert client.invoke(FunctionName=durable.name, Qualifier="$LATEST", InvocationType="DryRun")["StatusCode"] == 204
    found = refused(client.invoke, FunctionName=durable.name, Qualifier="$LATEST", InvocationType="Event", DurableExecutionName="has space")
    assert found[:2] == VALIDATION and "durableExecutionName" in found[2]
    # AWS's texts for these are not known.
    found = refused(client.invoke_with_response_stream, FunctionName=durable.name, Qualifier="$LATEST")
    assert found == (*INVALID, "InvokeWithResponseStream is not supported for durable functions.")
    found = refused(client.invoke_async, FunctionName=f"{durable.name}:$LATEST", InvokeArgs=b"{}")
    assert found == (*INVALID, "InvokeAsync is not supported for durable functions.")
    plain = deploy(FILES)
    assert refused(client.invoke, FunctionName=plain.name, DurableExecutionName="name")[:2] == INVALID


@pytest.mark.covers("operation:GetDurableExecution")
@pytest.mark.covers("operation:GetDurableExecutionHistory")
@pytest.mark.covers("operation:StopDurableExecution")
@pytest.mark.covers("operation:PauseDurableExecution")
@pytest.mark.covers("operation:ResumeDurableExecution")
@pytest.mark.covers("operation:DeleteDurableExecution")
def test_executions_that_are_not_there(client):
    for call in (client.get_durable_execution, client.get_durable_execution_history, client.stop_durable_execution, client.pause_durable_execution, client.resume_durable_execution, client.delete_durable_execution):
        assert refused(call, DurableExecutionArn=ABSENT) == GONE
        found = refused(call, DurableExecutionArn=arn("nobody"))
        assert found[:2] == VALIDATION and "durableExecutionArn" in found[2]


@pytest.mark.covers("operation:CheckpointDurableExecution")
@pytest.mark.covers("operation:GetDurableExecutionState")
def test_checkpoints_without_a_token_that_counts(client):
    invalid = (*INVALID, "Invalid checkpoint token")
    for token in ("QUJD", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="):
        assert refused(client.checkpoint_durable_execution, DurableExecutionArn=ABSENT, CheckpointToken=token) == invalid
        assert refused(client.get_durable_execution_state, DurableExecutionArn=ABSENT, CheckpointToken=token) == invalid
    update = {"Id": "a b", "Type": "STEP", "Action": "START", "StepOptions": {"NextAttemptDelaySeconds": 31_622_401}}
    found = refused(client.checkpoint_durable_execution, DurableExecutionArn=ABSENT, CheckpointToken="QUJD", Updates=[update])
    assert found[:2] == VALIDATION and "Value 'a b' at 'updates.1.member.id'" in found[2]
    assert "Value '31622401' at 'updates.1.member.stepOptions.nextAttemptDelaySeconds'" in found[2]


@pytest.mark.covers("operation:SendDurableExecutionCallbackSuccess")
@pytest.mark.covers("operation:SendDurableExecutionCallbackFailure")
@pytest.mark.covers("operation:SendDurableExecutionCallbackHeartbeat")
def test_callbacks_that_are_not_there(client):
    closed = ("CallbackTimeoutException", 400, "The callback is either timed out or already completed")
    for call in (client.send_durable_execution_callback_success, client.send_durable_execution_callback_failure, client.send_durable_execution_callback_heartbeat):
        assert refused(call, CallbackId="QUJD") == (*INVALID, "Invalid callback id")
        assert refused(call, CallbackId="A" * 43 + "=") == closed
        assert refused(call, CallbackId="not base64!")[:2] == VALIDATION


@pytest.mark.covers("operation:ListDurableExecutionsByFunction")
def test_lists_are_checked(durable, client):
    call = client.list_durable_executions_by_function
    assert members(call(FunctionName=durable.name)) == {"DurableExecutions": []}
    assert refused(call, FunctionName=durable.name, Statuses=["RUNNING", "FAILED"]) == (*INVALID, "Cannot filter by more than one status")
    assert refused(call, FunctionName=durable.name, Statuses=["BOGUS"])[:2] == VALIDATION
    assert refused(call, FunctionName=durable.name, Marker="bogus") == (*INVALID, "Invalid Marker")
    assert refused(call, FunctionName="nobody")[:2] == NOT_FOUND
    found = refused(call, FunctionName=durable.name, MaxItems=1001)
    assert found[:2] == VALIDATION and "less than or equal to 1000" in found[2]
