"""The operations of provisioned concurrency with boto3, as AWS answers them."""

import datetime

import pytest
from botocore.exceptions import ClientError

SOURCE = {"app.py": "def handler(event, context): return event"}


@pytest.fixture
def version(deploy, client):
    """Name of a function with the active versions 1 and 2."""
    function = deploy(SOURCE)
    client.publish_version(FunctionName=function.name)
    function.update(Timeout=11)
    client.publish_version(FunctionName=function.name)
    for number in ("1", "2"):
        client.get_waiter("function_active_v2").wait(FunctionName=function.name, Qualifier=number)
    return function.name


def refused(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return caught.value.response["Error"]["Code"], caught.value.response["ResponseMetadata"]["HTTPStatusCode"], caught.value.response["Error"]["Message"]


@pytest.mark.covers("operation:PutProvisionedConcurrencyConfig")
@pytest.mark.covers("operation:GetProvisionedConcurrencyConfig")
@pytest.mark.covers("operation:ListProvisionedConcurrencyConfigs")
@pytest.mark.covers("operation:DeleteProvisionedConcurrencyConfig")
def test_the_four_operations(client, version):
    members = {
        "RequestedProvisionedConcurrentExecutions", "AvailableProvisionedConcurrentExecutions", "AllocatedProvisionedConcurrentExecutions",
        "Status", "LastModified",
    }
    for number in ("1", "2"):
        put = client.put_provisioned_concurrency_config(FunctionName=version, Qualifier=number, ProvisionedConcurrentExecutions=1)
        assert put["ResponseMetadata"]["HTTPStatusCode"] == 202
        assert set(put) - {"ResponseMetadata"} == members
        assert (put["Status"], put["AllocatedProvisionedConcurrentExecutions"]) == ("IN_PROGRESS", 0)
        datetime.datetime.strptime(put["LastModified"], "%Y-%m-%dT%H:%M:%S+0000")
        got = client.get_provisioned_concurrency_config(FunctionName=f"{version}:{number}", Qualifier=number)
        assert set(got) - {"ResponseMetadata"} == members and got["LastModified"] == put["LastModified"]
    pages = list(client.get_paginator("list_provisioned_concurrency_configs").paginate(FunctionName=version, PaginationConfig={"PageSize": 1}))
    rows = [row for page in pages for row in page["ProvisionedConcurrencyConfigs"]]
    assert [row["FunctionArn"].split(":")[-2:] for row in rows] == [[version, "1"], [version, "2"]]
    assert set(rows[0]) == members | {"FunctionArn"}
    for _ in range(2):
        deleted = client.delete_provisioned_concurrency_config(FunctionName=version, Qualifier="1")
        assert deleted["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert refused(client.get_provisioned_concurrency_config, FunctionName=version, Qualifier="1") == (
        "ProvisionedConcurrencyConfigNotFoundException", 404, "No Provisioned Concurrency Config found for this function"
    )
    assert len(client.list_provisioned_concurrency_configs(FunctionName=version)["ProvisionedConcurrencyConfigs"]) == 1


@pytest.mark.covers("operation:PutProvisionedConcurrencyConfig")
def test_what_is_refused(client, version):
    def put(**arguments):
        return refused(client.put_provisioned_concurrency_config, **({"FunctionName": version, "Qualifier": "1", "ProvisionedConcurrentExecutions": 1} | arguments))

    arn = f"arn:aws:lambda:us-east-1:000000000000:function:{version}"
    assert put(Qualifier="$LATEST") == (
        "InvalidParameterValueException", 400, "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
    )
    assert put(Qualifier="3") == ("ResourceNotFoundException", 404, f"Function not found: {arn}:3")
    assert put(Qualifier="live") == ("ResourceNotFoundException", 404, f"Cannot find alias arn: {arn}:live")
    assert put(FunctionName="absent")[:2] == ("ResourceNotFoundException", 404)
    limit = client.get_account_settings()["AccountLimit"]["ConcurrentExecutions"]
    assert put(ProvisionedConcurrentExecutions=limit - 99)[2] == (
        "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [100]."
    )
    assert "greater than account's unreserved concurrency" in put(ProvisionedConcurrentExecutions=limit + 1)[2]
    for call in (client.get_provisioned_concurrency_config, client.delete_provisioned_concurrency_config):
        assert refused(call, FunctionName=version, Qualifier="$LATEST")[2] == (
            "The function resource provided must be an alias or a published version."
        )
