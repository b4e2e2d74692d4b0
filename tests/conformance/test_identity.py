"""STS and IAM with boto3: who am I, temporary credentials, roles and managed policies as stored records. Texts of managed
policies and of AssumeRole are those recorded from the services."""

from __future__ import annotations

import itertools
import json
import time

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from support.errors import members, refused

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


@pytest.mark.covers("operation:IAM roles")
@pytest.mark.covers("operation:IAM managed policies")
@pytest.mark.covers("operation:AssumeRole")
def test_what_is_no_policy(server, role, policy):
    iam, sts = server.client("iam"), server.client("sts")
    arn, role_arn = policy()["Arn"], iam.get_role(RoleName=role)["Role"]["Arn"]
    allow = {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::bucket"}

    def of(*statements, **more):
        return json.dumps({"Version": "2012-10-17", "Statement": list(statements)} | more)

    # As recorded from the service.
    for document, text in [
        ("{", "This policy contains invalid Json"),
        ("[]", "Syntax errors in policy."),
        ("{}", "Syntax errors in policy."),
        (of(allow, Version="2013-10-17"), "Syntax errors in policy."),
        (of(allow | {"Condition": {"StringEquals": "b"}}), "Syntax errors in policy."),
        (of(allow | {"condition": {}}), "Syntax errors in policy."),
        (of(allow | {"Principal": "*"}), "Policy document should not specify a principal."),
        (of(allow | {"Effect": "allow"}), "The policy failed legacy parsing"),
        (of(allow | {"Resource": []}), "Policy statement must contain resources."),
        (of({"Effect": "Deny"}, allow), "Policy statement must contain actions."),
        (of(allow | {"Action": "ListBucket"}), "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."),
        (of(allow | {"Resource": "bucket"}), 'Resource bucket must be in ARN format or "*".'),
        (of(allow | {"Sid": "a"}, allow | {"Sid": "a"}), "Statement IDs (SID) in a single policy must be unique."),
    ]:
        expected = ("MalformedPolicyDocument", 400, text)
        assert refused(iam.put_role_policy, RoleName=role, PolicyName="p", PolicyDocument=document) == expected
        assert refused(iam.create_policy, PolicyName="none", PolicyDocument=document) == expected
        assert refused(iam.create_policy_version, PolicyArn=arn, PolicyDocument=document) == expected
        assert refused(sts.assume_role, RoleArn=role_arn, RoleSessionName="me", Policy=document) == expected
    # The trust policy of a role has a principal and no resource.
    for document, text in [
        ("[]", "This policy contains invalid Json"),
        (of(allow), "Has prohibited field Resource"),
        (of({"Effect": "Allow", "Action": "sts:AssumeRole"}), "Missing required field Principal"),
        (of(TRUST["Statement"][0] | {"Action": "s3:*"}), "AssumeRole policy may only specify STS AssumeRole actions."),
        (of(TRUST["Statement"][0] | {"effect": "Allow"}), "Syntax errors in policy."),
    ]:
        expected = ("MalformedPolicyDocument", 400, text)
        assert refused(iam.create_role, RoleName="none", AssumeRolePolicyDocument=document) == expected
        assert refused(iam.update_assume_role_policy, RoleName=role, PolicyDocument=document) == expected
    assert iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"] == TRUST
    assert iam.list_role_policies(RoleName=role)["PolicyNames"] == []
    assert len(iam.list_policy_versions(PolicyArn=arn)["Versions"]) == 1
    iam.put_role_policy(RoleName=role, PolicyName="p", PolicyDocument=of(allow))
    iam.delete_role_policy(RoleName=role, PolicyName="p")


@pytest.mark.covers("operation:AssumeRole")
@pytest.mark.covers("operation:GetCallerIdentity")
def test_assume_a_role(server, role):
    sts, iam = server.client("sts"), server.client("iam")
    arn, role_id = (iam.get_role(RoleName=role)["Role"][member] for member in ("Arn", "RoleId"))
    answer = members(sts.assume_role(RoleArn=arn, RoleSessionName="me@work"))
    assumed = {"Arn": f"arn:aws:sts::000000000000:assumed-role/{role}/me@work", "AssumedRoleId": f"{role_id}:me@work"}
    assert set(answer) == {"Credentials", "AssumedRoleUser"} and answer["AssumedRoleUser"] == assumed
    credentials = answer["Credentials"]
    assert credentials["AccessKeyId"].startswith("ASIA") and len(credentials["AccessKeyId"]) == 20 and len(credentials["SecretAccessKey"]) == 40
    assert abs(credentials["Expiration"].timestamp() - time.time() - 3600) < 60
    as_role = boto3.client(
        "sts", endpoint_url=server.endpoint, region_name="us-east-1", aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"], aws_session_token=credentials["SessionToken"], config=Config(retries={"total_max_attempts": 1}),
    )
    assert members(as_role.get_caller_identity()) == {"Account": "000000000000", "Arn": assumed["Arn"], "UserId": assumed["AssumedRoleId"]}
    policy = json.dumps({"Version": "2012-10-17", "Statement": []})
    more = sts.assume_role(RoleArn=arn, RoleSessionName="more", Policy=policy, SourceIdentity="ada", DurationSeconds=900)
    assert more["SourceIdentity"] == "ada" and 0 < more["PackedPolicySize"] <= 100
    assert refused(sts.assume_role, RoleArn=arn, RoleSessionName="x1", Policy="{")[0] == "MalformedPolicyDocument"


@pytest.mark.covers("operation:AssumeRole")
def test_what_cannot_be_assumed(server, role):
    sts, arn = server.client("sts"), f"arn:aws:iam::000000000000:role/service/{role}"

    def assume(RoleArn=arn, RoleSessionName="session", **more):
        return refused(sts.assume_role, RoleArn=RoleArn, RoleSessionName=RoleSessionName, **more)

    assert assume(RoleArn="nothing-valid-in-here") == ("ValidationError", 400, "nothing-valid-in-here is invalid")
    # The same name without its path is another role.
    for absent in ("arn:aws:iam::000000000000:role/absent", f"arn:aws:iam::000000000000:role/{role}", f"arn:aws:iam::111111111111:role/service/{role}"):
        assert assume(RoleArn=absent) == ("AccessDenied", 403, f"User: arn:aws:iam::000000000000:root is not authorized to perform: sts:AssumeRole on resource: {absent}")
    constraint = "1 validation error detected: Value {} at '{}' failed to satisfy constraint: Member must {}"
    assert assume(RoleSessionName="Session1:2") == ("ValidationError", 400, constraint.format("'Session1:2'", "roleSessionName", r"satisfy regular expression pattern: [\w+=,.@-]*"))
    assert assume(RoleSessionName="s" * 65) == ("ValidationError", 400, constraint.format(f"'{'s' * 65}'", "roleSessionName", "have length less than or equal to 64"))
    assert assume(DurationSeconds=7200) == ("ValidationError", 400, "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
    assert assume(DurationSeconds=43_201)[0] == "ValidationError"
    code, status, text = refused(sts.assume_role_with_web_identity, RoleArn=arn, RoleSessionName="session", WebIdentityToken="token")
    assert (code, status) == ("NotImplemented", 400) and "sts:AssumeRoleWithWebIdentity" in text
    assert refused(sts.get_session_token)[0] == "NotImplemented"


@pytest.fixture
def policy(server):
    """Makes managed policies; each is deleted with its versions."""
    iam, made = server.client("iam"), []

    def make(statement=None, **more):
        document = {"Version": "2012-10-17", "Statement": statement or []}
        answer = iam.create_policy(PolicyName=f"policy-{next(_numbers)}", PolicyDocument=json.dumps(document), **more)["Policy"]
        made.append(answer["Arn"])
        return answer

    yield make
    for arn in made:
        try:
            for version in iam.list_policy_versions(PolicyArn=arn)["Versions"]:
                if not version["IsDefaultVersion"]:
                    iam.delete_policy_version(PolicyArn=arn, VersionId=version["VersionId"])
            iam.delete_policy(PolicyArn=arn)
        except iam.exceptions.NoSuchEntityException:
            pass


@pytest.mark.covers("operation:IAM managed policies")
def test_a_managed_policy_comes_back(server, policy, role):
    iam = server.client("iam", "eu-west-1")
    made = policy(Path="/team/", Description="for tests", Tags=[{"Key": "k", "Value": "v"}])
    name, arn = made["PolicyName"], made["Arn"]
    assert arn == f"arn:aws:iam::000000000000:policy/team/{name}" and made["PolicyId"].startswith("ANPA") and len(made["PolicyId"]) == 21
    got = iam.get_policy(PolicyArn=arn)["Policy"]
    assert got == {**made, "Description": "for tests", "Tags": [{"Key": "k", "Value": "v"}]}
    assert (got["DefaultVersionId"], got["AttachmentCount"], got["PermissionsBoundaryUsageCount"], got["IsAttachable"]) == ("v1", 0, 0, True)
    assert iam.get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]["Document"] == {"Version": "2012-10-17", "Statement": []}
    listed = [row for page in iam.get_paginator("list_policies").paginate(Scope="Local", PathPrefix="/team/", PaginationConfig={"PageSize": 1}) for row in page["Policies"]]
    assert name in [row["PolicyName"] for row in listed]
    iam.attach_role_policy(RoleName=role, PolicyArn=arn)
    assert iam.get_policy(PolicyArn=arn)["Policy"]["AttachmentCount"] == 1
    assert [row["RoleName"] for row in iam.list_entities_for_policy(PolicyArn=arn)["PolicyRoles"]] == [role]
    assert arn in [row["Arn"] for row in iam.list_policies(OnlyAttached=True)["Policies"]]
    assert refused(iam.delete_policy, PolicyArn=arn) == ("DeleteConflict", 409, "Cannot delete a policy attached to entities.")
    iam.detach_role_policy(RoleName=role, PolicyArn=arn)
    iam.tag_policy(PolicyArn=arn, Tags=[{"Key": "a", "Value": "b"}])
    iam.untag_policy(PolicyArn=arn, TagKeys=["k"])
    assert iam.list_policy_tags(PolicyArn=arn)["Tags"] == [{"Key": "a", "Value": "b"}]
    iam.delete_policy(PolicyArn=arn)
    assert refused(iam.get_policy, PolicyArn=arn) == ("NoSuchEntity", 404, f"Policy {arn} was not found.")
    assert refused(iam.attach_role_policy, RoleName=role, PolicyArn=arn) == ("NoSuchEntity", 404, f"Policy {arn} does not exist or is not attachable.")


@pytest.mark.covers("operation:IAM managed policies")
def test_versions_of_a_policy(server, policy):
    iam, made = server.client("iam"), policy()
    name, arn, document = made["PolicyName"], made["Arn"], json.dumps({"Version": "2012-10-17", "Statement": []})
    assert refused(iam.create_policy, PolicyName=name, PolicyDocument=document) == ("EntityAlreadyExists", 409, f"A policy called {name} already exists. Duplicate names are not allowed.")
    assert iam.create_policy_version(PolicyArn=arn, PolicyDocument=document, SetAsDefault=True)["PolicyVersion"]["VersionId"] == "v2"
    for _ in range(3):
        assert not iam.create_policy_version(PolicyArn=arn, PolicyDocument=document)["PolicyVersion"]["IsDefaultVersion"]
    assert refused(iam.create_policy_version, PolicyArn=arn, PolicyDocument=document) == (
        "LimitExceeded",
        409,
        "A managed policy can have up to 5 versions. Before you create a new version, you must delete an existing version.",
    )
    iam.set_default_policy_version(PolicyArn=arn, VersionId="v3")
    versions = {row["VersionId"]: row["IsDefaultVersion"] for row in iam.list_policy_versions(PolicyArn=arn)["Versions"]}
    assert versions == {"v5": False, "v4": False, "v3": True, "v2": False, "v1": False} and list(versions) == ["v5", "v4", "v3", "v2", "v1"]
    assert refused(iam.delete_policy_version, PolicyArn=arn, VersionId="v3") == ("DeleteConflict", 409, "Cannot delete the default version of a policy.")
    iam.delete_policy_version(PolicyArn=arn, VersionId="v5")
    assert iam.create_policy_version(PolicyArn=arn, PolicyDocument=document)["PolicyVersion"]["VersionId"] == "v6", "no number twice"
    for call in (iam.get_policy_version, iam.delete_policy_version, iam.set_default_policy_version):
        assert refused(call, PolicyArn=arn, VersionId="v9") == ("NoSuchEntity", 404, f"Policy {arn} version v9 does not exist or is not attachable.")
        absent = "arn:aws:iam::000000000000:policy/NotAPolicy"
        assert refused(call, PolicyArn=absent, VersionId="v1") == ("NoSuchEntity", 404, f"Policy {absent} version v1 does not exist or is not attachable.")
    assert refused(iam.get_policy_version, PolicyArn=arn, VersionId="1") == (
        "ValidationError",
        400,
        r"1 validation error detected: Value at 'versionId' failed to satisfy constraint: Member must satisfy regular expression pattern: v[1-9][0-9]*(\.[A-Za-z0-9-]*)?",
    )
    assert refused(iam.delete_policy, PolicyArn=arn)[0] == "DeleteConflict", "it has more versions"
    assert refused(iam.create_policy, PolicyName="bad", PolicyDocument="{")[0] == "MalformedPolicyDocument"
    assert refused(iam.create_policy, PolicyName="b d", PolicyDocument="{}")[0] == "ValidationError"
    assert refused(iam.create_policy, PolicyName="big", PolicyDocument=json.dumps({"Statement": "x" * 6200})) == ("LimitExceeded", 409, "Cannot exceed quota for PolicySize: 6144")


@pytest.mark.covers("operation:IAM managed policies")
def test_policies_of_aws(server, role):
    iam = server.client("iam")
    arn = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
    got = iam.get_policy(PolicyArn=arn)["Policy"]
    assert (got["PolicyName"], got["Path"], got["DefaultVersionId"]) == ("AWSLambdaBasicExecutionRole", "/service-role/", "v1")
    # As recorded from the service.
    assert iam.get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]["Document"] == {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"], "Resource": "*"}],
    }
    assert arn in [row["Arn"] for page in iam.get_paginator("list_policies").paginate(Scope="AWS", PaginationConfig={"PageSize": 3}) for row in page["Policies"]]
    assert iam.list_policy_versions(PolicyArn=arn)["Versions"][0]["IsDefaultVersion"]
    iam.attach_role_policy(RoleName=role, PolicyArn=arn)
    assert iam.get_policy(PolicyArn=arn)["Policy"]["AttachmentCount"] >= 1
    iam.detach_role_policy(RoleName=role, PolicyArn=arn)
    assert refused(iam.delete_policy, PolicyArn=arn)[:2] == ("AccessDenied", 403)
    assert refused(iam.get_policy, PolicyArn="arn:aws:iam::aws:policy/NoSuch")[0] == "NoSuchEntity"
    assert iam.update_role_description(RoleName=role, Description="other")["Role"]["Description"] == "other"
