"""Code-signing configurations with boto3. No signature is known here, so Enforce refuses every package."""

from __future__ import annotations

import re

import pytest

from support.errors import CONFLICT, INVALID, NOT_FOUND, VALIDATION, arn, members, refused
from support.functions import PYTHON, ROLE, zip_of

SOURCE = {"app.py": "def handler(event, context): return event"}
OTHER = {"app.py": "def handler(event, context): return [event]"}
PROFILE = "arn:aws:signer:us-east-1:000000000000:/signing-profiles/mine/abcdefghij"
UNKNOWN = "arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-00000000000000000"


@pytest.fixture
def config(client):
    """ARNs of configurations by policy; they are deleted after the functions."""
    made = []

    def make(policy=None, **more):
        if policy:
            more["CodeSigningPolicies"] = {"UntrustedArtifactOnDeployment": policy}
        answer = client.create_code_signing_config(AllowedPublishers={"SigningProfileVersionArns": [PROFILE]}, **more)
        made.append(answer["CodeSigningConfig"]["CodeSigningConfigArn"])
        return answer

    yield make
    for one in made:
        for function in client.list_functions_by_code_signing_config(CodeSigningConfigArn=one)["FunctionArns"]:
            client.delete_function_code_signing_config(FunctionName=function)
        client.delete_code_signing_config(CodeSigningConfigArn=one)


def absent(one):
    return (*NOT_FOUND, f"The Lambda code signing configuration {one} can not be found.")


@pytest.mark.covers("operation:CreateCodeSigningConfig")
@pytest.mark.covers("operation:GetCodeSigningConfig")
@pytest.mark.covers("operation:UpdateCodeSigningConfig")
@pytest.mark.covers("operation:DeleteCodeSigningConfig")
def test_create_get_update_and_delete(client):
    created = client.create_code_signing_config(AllowedPublishers={"SigningProfileVersionArns": [PROFILE]})
    assert created["ResponseMetadata"]["HTTPStatusCode"] == 201
    one = created["CodeSigningConfig"]
    assert re.fullmatch(r"csc-[a-z0-9]{17}", one["CodeSigningConfigId"])
    assert one == {
        "CodeSigningConfigId": one["CodeSigningConfigId"],
        "CodeSigningConfigArn": f"arn:aws:lambda:us-east-1:000000000000:code-signing-config:{one['CodeSigningConfigId']}",
        "AllowedPublishers": {"SigningProfileVersionArns": [PROFILE]},
        "CodeSigningPolicies": {"UntrustedArtifactOnDeployment": "Warn"},
        "LastModified": one["LastModified"],
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000", one["LastModified"])
    key = {"CodeSigningConfigArn": one["CodeSigningConfigArn"]}
    assert client.get_code_signing_config(**key)["CodeSigningConfig"] == one
    changed = client.update_code_signing_config(**key, Description="mine", CodeSigningPolicies={"UntrustedArtifactOnDeployment": "Enforce"})["CodeSigningConfig"]
    assert changed == one | {"Description": "mine", "CodeSigningPolicies": {"UntrustedArtifactOnDeployment": "Enforce"}, "LastModified": changed["LastModified"]}
    assert client.delete_code_signing_config(**key)["ResponseMetadata"]["HTTPStatusCode"] == 204
    for call in (client.get_code_signing_config, client.delete_code_signing_config, client.update_code_signing_config, client.list_functions_by_code_signing_config):
        assert refused(call, **key) == absent(one["CodeSigningConfigArn"])


@pytest.mark.covers("operation:ListCodeSigningConfigs")
@pytest.mark.covers("operation:ListFunctionsByCodeSigningConfig")
@pytest.mark.covers("operation:PutFunctionCodeSigningConfig")
@pytest.mark.covers("operation:GetFunctionCodeSigningConfig")
@pytest.mark.covers("operation:DeleteFunctionCodeSigningConfig")
def test_functions_of_a_configuration(client, deploy, config):
    made = [config()["CodeSigningConfig"]["CodeSigningConfigArn"] for _ in range(3)]
    listed = [one["CodeSigningConfigArn"] for page in client.get_paginator("list_code_signing_configs").paginate(PaginationConfig={"PageSize": 1}) for one in page["CodeSigningConfigs"]]
    assert set(made) <= set(listed) and len(listed) == len(set(listed))
    names = sorted(deploy(SOURCE).name for _ in range(2))
    assert "CodeSigningConfigArn" not in client.get_function_code_signing_config(FunctionName=names[0])
    for name in names:
        put = client.put_function_code_signing_config(FunctionName=name, CodeSigningConfigArn=made[0])
        assert members(put) == {"CodeSigningConfigArn": made[0], "FunctionName": name}
        assert members(client.get_function_code_signing_config(FunctionName=arn(name))) == members(put)
    pages = list(client.get_paginator("list_functions_by_code_signing_config").paginate(CodeSigningConfigArn=made[0], PaginationConfig={"PageSize": 1}))
    assert [page["FunctionArns"] for page in pages] == [[arn(name)] for name in names]
    # AWS's text is not published.
    assert refused(client.delete_code_signing_config, CodeSigningConfigArn=made[0])[:2] == CONFLICT
    revision = client.get_function_configuration(FunctionName=names[0])["RevisionId"]
    assert client.delete_function_code_signing_config(FunctionName=names[0])["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert client.list_functions_by_code_signing_config(CodeSigningConfigArn=made[0])["FunctionArns"] == [arn(names[1])]
    assert client.get_function_configuration(FunctionName=names[0])["RevisionId"] == revision


@pytest.mark.covers("operation:PutFunctionCodeSigningConfig")
@pytest.mark.covers("field:CodeSigningConfigArn")
def test_enforce_refuses_packages_and_warn_lets_them_pass(client, deploy, config):
    enforce, warn = (config(policy)["CodeSigningConfig"]["CodeSigningConfigArn"] for policy in ("Enforce", "Warn"))
    function = deploy(SOURCE)
    client.put_function_code_signing_config(FunctionName=function.name, CodeSigningConfigArn=enforce)
    unsigned = (
        "CodeVerificationFailedException", 400,
        "Lambda cannot deploy the function. The function or layer might be signed using a signature that the client is not configured to accept. "
        "Check the provided signature for {}.",
    )
    code, status, text = refused(client.update_function_code, FunctionName=function.name, ZipFile=zip_of(OTHER))
    assert (code, status, text) == (*unsigned[:2], unsigned[2].format(arn(function.name)))
    assert function.ok(1) == 1
    create = {"Runtime": PYTHON, "Role": ROLE, "Handler": "app.handler", "Code": {"ZipFile": zip_of(SOURCE)}}
    assert refused(client.create_function, FunctionName="unsigned", CodeSigningConfigArn=enforce, **create)[:2] == unsigned[:2]
    assert refused(client.get_function, FunctionName="unsigned")[:2] == NOT_FOUND
    client.put_function_code_signing_config(FunctionName=function.name, CodeSigningConfigArn=warn)
    function.update(OTHER)
    assert function.ok(1) == [1]
    warned = deploy(SOURCE, CodeSigningConfigArn=warn)
    assert client.get_function_code_signing_config(FunctionName=warned.name)["CodeSigningConfigArn"] == warn


@pytest.mark.covers("operation:CreateCodeSigningConfig")
@pytest.mark.covers("operation:PutFunctionCodeSigningConfig")
def test_what_is_refused(client, deploy, config):
    def create(**given):
        return refused(client.create_code_signing_config, **({"AllowedPublishers": {"SigningProfileVersionArns": [PROFILE]}} | given))

    assert create(AllowedPublishers={"SigningProfileVersionArns": ["mine"]})[:2] == VALIDATION
    assert create(AllowedPublishers={"SigningProfileVersionArns": [PROFILE] * 21})[:2] == VALIDATION
    assert "[Warn, Enforce]" in create(CodeSigningPolicies={"UntrustedArtifactOnDeployment": "Maybe"})[2]
    assert create(Description="d" * 257)[:2] == VALIDATION
    name = deploy(SOURCE).name
    missing = (
        "CodeSigningConfigNotFoundException", 404,
        f"The code signing configuration cannot be found. Check that the provided configuration is not deleted: {UNKNOWN}.",
    )
    assert refused(client.put_function_code_signing_config, FunctionName=name, CodeSigningConfigArn=UNKNOWN) == missing
    assert refused(client.put_function_code_signing_config, FunctionName=name, CodeSigningConfigArn="csc")[:2] == VALIDATION
    create_function = {"FunctionName": "unsigned", "Runtime": PYTHON, "Role": ROLE, "Handler": "app.handler", "Code": {"ZipFile": zip_of(SOURCE)}}
    assert refused(client.create_function, CodeSigningConfigArn=UNKNOWN, **create_function) == missing
    one = config()["CodeSigningConfig"]["CodeSigningConfigArn"]
    for call, more in ((client.get_function_code_signing_config, {}), (client.delete_function_code_signing_config, {}), (client.put_function_code_signing_config, {"CodeSigningConfigArn": one})):
        assert refused(call, FunctionName="absent", **more) == (*NOT_FOUND, f"Function not found: {arn('absent')}")


@pytest.mark.covers("operation:TagResource")
@pytest.mark.covers("operation:UntagResource")
@pytest.mark.covers("operation:ListTags")
def test_tags_of_a_configuration(client, config):
    one = config(Tags={"team": "blue"})["CodeSigningConfig"]["CodeSigningConfigArn"]
    assert client.list_tags(Resource=one)["Tags"] == {"team": "blue"}
    client.tag_resource(Resource=one, Tags={"a": "1"})
    client.untag_resource(Resource=one, TagKeys=["team"])
    assert client.list_tags(Resource=one)["Tags"] == {"a": "1"}
    assert refused(client.tag_resource, Resource=one, Tags={f"k{number}": "" for number in range(50)}) == (*INVALID, "Number of tags exceeds resource tag limit.")
    assert refused(client.list_tags, Resource=UNKNOWN) == absent(UNKNOWN)
