"""STS and IAM with boto3: who am I, and roles as stored records."""

from __future__ import annotations

import itertools
import json

import pytest
from botocore.exceptions import ClientError

_numbers = itertools.count(1)
TRUST = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]}


def code_of(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return caught.value.response["Error"]["Code"], caught.value.response["ResponseMetadata"]["HTTPStatusCode"]


@pytest.mark.covers("operation:GetCallerIdentity")
def test_caller_identity(server):
    answer = server.client("sts").get_caller_identity()
    assert (answer["Account"], answer["Arn"]) == ("000000000000", "arn:aws:iam::000000000000:root")
    assert answer["UserId"]


@pytest.fixture
def role(server):
    iam, name = server.client("iam"), f"role-{next(_numbers)}"
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST), Description="a <role> & more", Path="/service/", Tags=[{"Key": "k", "Value": "v"}])
    yield name
    try:
        iam.delete_role(RoleName=name)
    except iam.exceptions.NoSuchEntityException:
        pass


@pytest.mark.covers("operation:IAM roles")
def test_a_role_comes_back(server, role):
    iam = server.client("iam", "eu-west-1")
    got = iam.get_role(RoleName=role)["Role"]
    assert got["Arn"] == f"arn:aws:iam::000000000000:role/service/{role}"
    assert got["AssumeRolePolicyDocument"] == TRUST
    assert got["Description"] == "a <role> & more"
    assert got["Tags"] == [{"Key": "k", "Value": "v"}]
    assert got["MaxSessionDuration"] == 3600 and got["RoleId"].startswith("AROA") and len(got["RoleId"]) == 21
    assert role in [row["RoleName"] for page in iam.get_paginator("list_roles").paginate(PathPrefix="/service/", PaginationConfig={"PageSize": 1}) for row in page["Roles"]]
    assert role not in [row["RoleName"] for row in iam.list_roles(PathPrefix="/other/")["Roles"]]
    assert code_of(iam.create_role, RoleName=role, AssumeRolePolicyDocument=json.dumps(TRUST)) == ("EntityAlreadyExists", 409)
    assert code_of(iam.get_role, RoleName="absent") == ("NoSuchEntity", 404)
    assert code_of(iam.create_role, RoleName="bad", AssumeRolePolicyDocument="{") == ("MalformedPolicyDocument", 400)
    assert code_of(iam.create_role, RoleName="b d", AssumeRolePolicyDocument="{}") == ("ValidationError", 400)


@pytest.mark.covers("operation:IAM roles")
def test_policies_of_a_role(server, role):
    iam = server.client("iam")
    policy = {"Version": "2012-10-17", "Statement": []}
    iam.put_role_policy(RoleName=role, PolicyName="inline", PolicyDocument=json.dumps(policy))
    assert iam.list_role_policies(RoleName=role)["PolicyNames"] == ["inline"]
    assert iam.get_role_policy(RoleName=role, PolicyName="inline")["PolicyDocument"] == policy
    managed = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
    iam.attach_role_policy(RoleName=role, PolicyArn=managed)
    iam.attach_role_policy(RoleName=role, PolicyArn=managed)
    assert iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"] == [{"PolicyName": "AWSLambdaBasicExecutionRole", "PolicyArn": managed}]
    assert code_of(iam.delete_role, RoleName=role) == ("DeleteConflict", 409)
    iam.detach_role_policy(RoleName=role, PolicyArn=managed)
    assert code_of(iam.detach_role_policy, RoleName=role, PolicyArn=managed) == ("NoSuchEntity", 404)
    assert code_of(iam.delete_role, RoleName=role) == ("DeleteConflict", 409)
    iam.delete_role_policy(RoleName=role, PolicyName="inline")
    assert code_of(iam.get_role_policy, RoleName=role, PolicyName="inline") == ("NoSuchEntity", 404)
    iam.update_assume_role_policy(RoleName=role, PolicyDocument=json.dumps(TRUST | {"Statement": []}))
    assert iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]["Statement"] == []
    assert iam.list_instance_profiles_for_role(RoleName=role)["InstanceProfiles"] == []
    iam.delete_role(RoleName=role)
    assert code_of(iam.delete_role, RoleName=role) == ("NoSuchEntity", 404)
