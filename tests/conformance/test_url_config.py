"""Configuration of function URLs with boto3. That they are served is in test_function_urls.py."""

from __future__ import annotations

import datetime
import re

import pytest

from support.errors import ABSENT, CONFLICT, NOT_FOUND, VALIDATION, arn, members, refused

SOURCE = {"app.py": "def handler(event, context): return event"}
NO_FUNCTION = (*NOT_FOUND, "Function does not exist")
QUALIFIER = r"Member must satisfy regular expression pattern: ((?!^\d+$)^[0-9a-zA-Z-_]+$)"


@pytest.fixture
def name(deploy):
    return deploy(SOURCE).name


@pytest.mark.covers("operation:CreateFunctionUrlConfig")
@pytest.mark.covers("operation:GetFunctionUrlConfig")
@pytest.mark.covers("operation:UpdateFunctionUrlConfig")
@pytest.mark.covers("operation:DeleteFunctionUrlConfig")
def test_create_get_update_and_delete(server, client, name):
    assert refused(client.get_function_url_config, FunctionName=name) == ABSENT
    created = client.create_function_url_config(FunctionName=name, AuthType="NONE")
    assert created["ResponseMetadata"]["HTTPStatusCode"] == 201
    # InvokeMode and Cors are absent while they were never given, as AWS was seen to answer.
    assert set(members(created)) == {"FunctionUrl", "FunctionArn", "AuthType", "CreationTime"}
    assert (created["FunctionArn"], created["AuthType"]) == (arn(name), "NONE")
    assert re.fullmatch(rf"http://[0-9a-z]{{32}}\.lambda-url\.us-east-1\.localhost:{server.port}/", created["FunctionUrl"])
    datetime.datetime.strptime(created["CreationTime"], "%Y-%m-%dT%H:%M:%S.%fZ")
    assert created["CreationTime"].endswith("000Z") and len(created["CreationTime"]) == 27
    got = client.get_function_url_config(FunctionName=arn(name))
    assert members(got) == members(created) | {"LastModifiedTime": created["CreationTime"]}
    cors = {"AllowOrigins": ["https://example.com"], "AllowMethods": ["GET", "*"], "AllowCredentials": True, "MaxAge": 86400, "AllowHeaders": ["x-a"], "ExposeHeaders": []}
    updated = client.update_function_url_config(FunctionName=name, Cors=cors, InvokeMode="RESPONSE_STREAM")
    assert (updated["Cors"], updated["InvokeMode"], updated["AuthType"]) == (cors, "RESPONSE_STREAM", "NONE")
    assert updated["FunctionUrl"] == created["FunctionUrl"] and updated["CreationTime"] == created["CreationTime"]
    assert updated["LastModifiedTime"] > created["CreationTime"]
    assert client.update_function_url_config(FunctionName=name, AuthType="AWS_IAM")["Cors"] == cors
    assert client.delete_function_url_config(FunctionName=name)["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert refused(client.delete_function_url_config, FunctionName=name) == ABSENT
    assert client.create_function_url_config(FunctionName=name, AuthType="NONE")["FunctionUrl"] != created["FunctionUrl"]


@pytest.mark.covers("operation:ListFunctionUrlConfigs")
def test_list(client, name):
    assert client.list_function_url_configs(FunctionName=name)["FunctionUrlConfigs"] == []
    created = client.create_function_url_config(FunctionName=name, AuthType="AWS_IAM", InvokeMode="BUFFERED")
    listed = client.list_function_url_configs(FunctionName=name, MaxItems=1)
    assert "NextMarker" not in listed and len(listed["FunctionUrlConfigs"]) == 1
    assert listed["FunctionUrlConfigs"][0] == members(created) | {"LastModifiedTime": created["CreationTime"]}
    assert refused(client.list_function_url_configs, FunctionName="absent") == NO_FUNCTION
    code, status, text = refused(client.list_function_url_configs, FunctionName=name, MaxItems=51)
    assert (code, status) == VALIDATION and "Value '51' at 'maxItems'" in text


@pytest.mark.covers("operation:CreateFunctionUrlConfig")
@pytest.mark.covers("operation:UpdateFunctionUrlConfig")
def test_what_is_refused(client, name):
    def create(**given):
        return refused(client.create_function_url_config, **({"FunctionName": name, "AuthType": "NONE"} | given))

    client.publish_version(FunctionName=name)
    assert create(FunctionName="absent") == NO_FUNCTION
    assert create(Qualifier="live") == NO_FUNCTION
    for qualifier in ("$LATEST", "1"):
        code, status, text = create(Qualifier=qualifier)
        assert (code, status) == VALIDATION and f"Value '{qualifier}' at 'qualifier' failed to satisfy constraint: {QUALIFIER}" in text
    assert "Value 'SOME' at 'authType' failed to satisfy constraint: Member must satisfy enum value set: [NONE, AWS_IAM]" in create(AuthType="SOME")[2]
    assert "at 'invokeMode' failed to satisfy constraint: Member must satisfy enum value set: [RESPONSE_STREAM, BUFFERED]" in create(InvokeMode="SOME")[2]
    assert (
        "Value '[OPTIONS]' at 'cors.allowMethods' failed to satisfy constraint: Member must satisfy constraint: [Member must have length less than or "
        "equal to 6, Member must have length greater than or equal to 0, Member must satisfy regular expression pattern: .*, Member must not be null]"
    ) in create(Cors={"AllowMethods": ["OPTIONS"]})[2]
    assert create(Cors={"MaxAge": 86401})[:2] == VALIDATION
    assert create(Cors={"AllowOrigins": ["o"] * 101})[:2] == VALIDATION
    assert refused(client.update_function_url_config, FunctionName=name, AuthType="NONE") == ABSENT
    assert refused(client.update_function_url_config, FunctionName="absent", AuthType="NONE") == NO_FUNCTION
    assert client.list_function_url_configs(FunctionName=name)["FunctionUrlConfigs"] == []
    client.create_function_url_config(FunctionName=name, AuthType="NONE")
    assert create() == (
        *CONFLICT, f"Failed to create function url config for [functionArn = {arn(name)}]. Error message:  FunctionUrlConfig exists for this Lambda function"
    )


@pytest.mark.covers("operation:DeleteFunctionUrlConfig")
def test_a_url_goes_with_its_function(client, deploy):
    function = deploy(SOURCE, name="with-a-url")
    first = client.create_function_url_config(FunctionName=function.name, AuthType="NONE")["FunctionUrl"]
    function.delete()
    deploy(SOURCE, name="with-a-url")
    assert refused(client.get_function_url_config, FunctionName="with-a-url") == ABSENT
    assert client.create_function_url_config(FunctionName="with-a-url", AuthType="NONE")["FunctionUrl"] != first
