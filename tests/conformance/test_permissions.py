"""Resource-based policies with boto3: statement by statement, and as whole documents."""

from __future__ import annotations

import json
import re

import pytest

from support.errors import ABSENT, CONFLICT, INVALID, NOT_FOUND, VALIDATION, arn, members, refused

SOURCE = {"app.py": "def handler(event, context): return event"}
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


@pytest.fixture
def name(deploy):
    return deploy(SOURCE).name


@pytest.fixture
def version(deploy, client):
    """Name of a function with the version 1."""
    function = deploy(SOURCE)
    client.publish_version(FunctionName=function.name)
    return function.name


def add(client, name, sid="s3", **more):
    return client.add_permission(**({"FunctionName": name, "StatementId": sid, "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com"} | more))


def statements(client, name, **more):
    return json.loads(client.get_policy(FunctionName=name, **more)["Policy"])["Statement"]


@pytest.mark.covers("operation:AddPermission")
@pytest.mark.covers("operation:GetPolicy")
@pytest.mark.covers("operation:RemovePermission")
def test_statements_come_and_go(client, name):
    assert refused(client.get_policy, FunctionName=name) == ABSENT
    answer = add(client, name, SourceArn="arn:aws:s3:::bucket", SourceAccount="000000000000")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 201 and set(members(answer)) == {"Statement"}
    statement = {
        "Sid": "s3", "Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"}, "Action": "lambda:InvokeFunction", "Resource": arn(name),
        "Condition": {"StringEquals": {"AWS:SourceAccount": "000000000000"}, "ArnLike": {"AWS:SourceArn": "arn:aws:s3:::bucket"}},
    }
    assert json.loads(answer["Statement"]) == statement
    got = client.get_policy(FunctionName=arn(name))
    assert set(members(got)) == {"Policy", "RevisionId"} and re.fullmatch(UUID, got["RevisionId"])
    assert json.loads(got["Policy"]) == {"Version": "2012-10-17", "Id": "default", "Statement": [statement]}
    add(client, name, "other", Principal="123456789012", Action="lambda:GetFunction")
    assert [one["Sid"] for one in statements(client, name)] == ["s3", "other"]
    assert statements(client, name)[1]["Principal"] == {"AWS": "arn:aws:iam::123456789012:root"} and "Condition" not in statements(client, name)[1]
    removed = client.remove_permission(FunctionName=name, StatementId="s3")
    assert removed["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert [one["Sid"] for one in statements(client, name)] == ["other"]
    client.remove_permission(FunctionName=name, StatementId="other")
    assert refused(client.get_policy, FunctionName=name) == ABSENT


@pytest.mark.covers("operation:AddPermission")
@pytest.mark.parametrize(
    "given, condition",
    [
        ({"Principal": "*", "Action": "lambda:InvokeFunctionUrl", "FunctionUrlAuthType": "NONE"}, {"StringEquals": {"lambda:FunctionUrlAuthType": "NONE"}}),
        ({"Principal": "*", "InvokedViaFunctionUrl": True}, {"Bool": {"lambda:InvokedViaFunctionUrl": "true"}}),
        ({"Principal": "*", "PrincipalOrgID": "o-abcdefghij"}, {"StringEquals": {"aws:PrincipalOrgID": "o-abcdefghij"}}),
        ({"Principal": "alexa-appkit.amazon.com", "EventSourceToken": "amzn1.ask.skill.1"}, {"StringEquals": {"lambda:EventSourceToken": "amzn1.ask.skill.1"}}),
    ],
    ids=["url", "via url", "organization", "token"],
)
def test_conditions(client, name, given, condition):
    statement = json.loads(add(client, name, **given)["Statement"])
    assert statement["Condition"] == condition
    assert statement["Principal"] == ("*" if given["Principal"] == "*" else {"Service": given["Principal"]})


@pytest.mark.covers("operation:AddPermission")
@pytest.mark.covers("operation:GetPolicy")
def test_a_version_has_a_policy_of_its_own(client, version):
    add(client, version, Qualifier="1")
    assert statements(client, version, Qualifier="1")[0]["Resource"] == arn(version, "1")
    assert refused(client.get_policy, FunctionName=version) == ABSENT
    add(client, f"{version}:1", "second")
    assert len(statements(client, f"{version}:1")) == 2
    # The version's policy goes with it, and a function's with the function.
    client.delete_function(FunctionName=version, Qualifier="1")
    assert refused(client.get_policy, FunctionName=version, Qualifier="1")[:2] == NOT_FOUND


@pytest.mark.covers("operation:AddPermission")
@pytest.mark.covers("operation:RemovePermission")
def test_what_is_refused(client, version):
    add(client, version)
    assert refused(add, client=client, name=version) == (
        *CONFLICT, "The statement id (s3) provided already exists. Please provide a new statement id, or remove the existing statement."
    )
    assert refused(add, client=client, name=version, Qualifier="$LATEST") == (*INVALID, "We currently do not support adding policies for $LATEST.")
    assert refused(add, client=client, name=version, Qualifier="9") == (*NOT_FOUND, f"Function not found: {arn(version, '9')}")
    assert refused(add, client=client, name=version, Qualifier="live") == (*NOT_FOUND, f"Cannot find alias arn: {arn(version, 'live')}")
    assert refused(add, client=client, name="absent") == (*NOT_FOUND, f"Function not found: {arn('absent')}")
    assert refused(add, client=client, name=version, sid="x", Principal="nobody") == (
        *INVALID, "The provided principal was invalid. Please check the principal and try again."
    )
    assert refused(add, client=client, name=version, sid="x", FunctionUrlAuthType="NONE") == (
        *INVALID, "FunctionUrlAuthType is only supported for lambda:InvokeFunctionUrl action"
    )
    # The wording of its sibling above; not seen from AWS.
    assert refused(add, client=client, name=version, sid="x", Action="lambda:GetFunction", InvokedViaFunctionUrl=True)[:2] == INVALID
    code, status, text = refused(add, client=client, name=version, sid="a.b", Action="s3:GetObject", SourceAccount="1")
    assert (code, status) == VALIDATION and text.startswith("3 validation errors detected: Value 'a.b' at 'statementId' failed to satisfy constraint: ")
    assert "Value 's3:GetObject' at 'action' failed to satisfy constraint: Member must satisfy regular expression pattern: (lambda:[*]|lambda:[a-zA-Z]+|[*])" in text
    assert refused(client.remove_permission, FunctionName=version, StatementId="x") == (*NOT_FOUND, "Statement x is not found in resource policy.")
    assert refused(client.remove_permission, FunctionName=version, StatementId="x", Qualifier="1") == (
        *NOT_FOUND, "No policy is associated with the given resource."
    )
    assert refused(client.remove_permission, FunctionName="absent", StatementId="x") == (*NOT_FOUND, f"No policy found for: {arn('absent')}")
    assert len(statements(client, version)) == 1


@pytest.mark.covers("operation:AddPermission")
@pytest.mark.covers("operation:RemovePermission")
def test_revisions(client, name):
    """AWS hands out the function's revision; the policy's own is taken as well, and the function's stays when it changes."""
    revision = client.get_function_configuration(FunctionName=name)["RevisionId"]
    stale = (
        "PreconditionFailedException", 412,
        "The Revision Id provided does not match the latest Revision Id. Call the GetPolicy API to retrieve the latest Revision Id",
    )
    assert refused(add, client=client, name=name, RevisionId="wrong") == stale
    add(client, name, RevisionId=revision)
    first = client.get_policy(FunctionName=name)["RevisionId"]
    add(client, name, "second", RevisionId=first)
    assert refused(add, client=client, name=name, sid="third", RevisionId=first) == stale
    assert refused(client.remove_permission, FunctionName=name, StatementId="second", RevisionId=first) == stale
    client.remove_permission(FunctionName=name, StatementId="second", RevisionId=client.get_policy(FunctionName=name)["RevisionId"])
    assert client.get_function_configuration(FunctionName=name)["RevisionId"] == revision


@pytest.mark.covers("operation:AddPermission")
def test_a_policy_has_a_bound(client, name):
    for number in range(5):
        add(client, name, f"s{number}", SourceArn="arn:aws:s3:::" + "b" * 3_500)
    code, status, text = refused(add, client=client, name=name, sid="last", SourceArn="arn:aws:s3:::" + "b" * 3_500)
    assert (code, status) == ("PolicyLengthExceededException", 400)
    assert re.fullmatch(r"The final policy size \(\d{5}\) is bigger than the limit \(20480\)\.", text)
    assert len(statements(client, name)) == 5


def document(name, **more):
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Sid": "all", "Effect": "Allow", "Principal": "*", "Action": "lambda:InvokeFunction", "Resource": arn(name)} | more]})


@pytest.mark.covers("operation:PutResourcePolicy")
@pytest.mark.covers("operation:GetResourcePolicy")
@pytest.mark.covers("operation:DeleteResourcePolicy")
def test_whole_documents(client, name):
    resource = {"ResourceArn": arn(name)}
    assert refused(client.get_resource_policy, **resource) == ABSENT
    assert refused(client.delete_resource_policy, **resource) == ABSENT
    add(client, name)
    put = client.put_resource_policy(**resource, Policy=document(name))
    assert put["ResponseMetadata"]["HTTPStatusCode"] == 200 and set(members(put)) == {"Policy", "RevisionId"}
    assert put["Policy"] == document(name)
    assert members(client.get_resource_policy(**resource)) == members(put)
    # It is the same policy, and what AddPermission had written is gone.
    assert [one["Sid"] for one in statements(client, name)] == ["all"]
    add(client, name)
    assert [one["Sid"] for one in statements(client, name)] == ["all", "s3"]
    # AWS's text for these is not published; it is that of GetPolicy.
    code, status, _ = refused(client.put_resource_policy, **resource, Policy=document(name), RevisionId=put["RevisionId"])
    assert (code, status) == ("PreconditionFailedException", 412)
    assert refused(client.delete_resource_policy, **resource, RevisionId=put["RevisionId"])[:2] == (code, status)
    now = client.get_resource_policy(**resource)["RevisionId"]
    again = client.put_resource_policy(**resource, Policy=document(name), RevisionId=now)
    assert client.delete_resource_policy(**resource, RevisionId=again["RevisionId"])["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert refused(client.get_policy, FunctionName=name) == ABSENT


@pytest.mark.covers("operation:PutResourcePolicy")
@pytest.mark.covers("operation:GetResourcePolicy")
def test_documents_that_are_refused(client, name):
    def put(policy, resource=None):
        return refused(client.put_resource_policy, ResourceArn=resource or arn(name), Policy=policy)

    assert put("x")[:2] == INVALID
    assert put(document(name, Resource=arn("other")))[:2] == INVALID
    assert put(document(name, Action="s3:GetObject"))[:2] == INVALID
    assert put("x" * 20_481)[:2] == VALIDATION
    assert put(document(name), arn(name, "$LATEST")) == (*INVALID, "We currently do not support adding policies for $LATEST.")
    assert put(document("absent"), arn("absent")) == (*NOT_FOUND, f"Function not found: {arn('absent')}")
    assert put(document(name), name)[:2] == VALIDATION
    assert refused(client.get_resource_policy, ResourceArn="arn:aws:lambda:us-east-1:000000000000:runtime/mine/1")[:2] == NOT_FOUND
    assert refused(client.get_policy, FunctionName=name) == ABSENT
