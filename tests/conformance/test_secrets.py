"""Secrets Manager with boto3. Shapes and most texts are those recorded from the service; where a text was not known a test
looks at the code only."""

from __future__ import annotations

import base64
import itertools
import json
import re
import string
import time
import urllib.request
import uuid

import pytest

from support.errors import members, refused

_numbers = itertools.count(1)
ABSENT = ("ResourceNotFoundException", 400, "Secrets Manager can't find the specified secret.")
MARKED = ("InvalidRequestException", 400, "You can't perform this operation on the secret because it was marked for deletion.")


@pytest.fixture
def secrets(server):
    return server.client("secretsmanager")


@pytest.fixture
def name(secrets):
    made = f"test/secret-{next(_numbers)}"
    yield made
    secrets.delete_secret(SecretId=made, ForceDeleteWithoutRecovery=True)


def stages(secrets, name):
    """Labels by the content of their version."""
    versions = secrets.list_secret_version_ids(SecretId=name)["Versions"]
    return {secrets.get_secret_value(SecretId=name, VersionId=row["VersionId"])["SecretString"]: row["VersionStages"] for row in versions}


@pytest.mark.covers("operation:CreateSecret")
@pytest.mark.covers("operation:GetSecretValue")
@pytest.mark.covers("operation:DescribeSecret")
def test_a_secret_comes_back(secrets, name):
    made = members(secrets.create_secret(Name=name, SecretString="xyzzy", Description="of the database"))
    assert set(made) == {"ARN", "Name", "VersionId"} and made["Name"] == name
    assert re.fullmatch(rf"arn:aws:secretsmanager:us-east-1:000000000000:secret:{name}-[A-Za-z0-9]{{6}}", made["ARN"])
    for secret_id in (name, made["ARN"], made["ARN"][:-7]):
        got = members(secrets.get_secret_value(SecretId=secret_id))
        assert abs(got.pop("CreatedDate").timestamp() - time.time()) < 60
        assert got == {**made, "SecretString": "xyzzy", "VersionStages": ["AWSCURRENT"]}
    described = members(secrets.describe_secret(SecretId=name))
    for date in ("CreatedDate", "LastChangedDate", "LastAccessedDate"):
        described.pop(date)
    assert described == {"ARN": made["ARN"], "Name": name, "Description": "of the database", "VersionIdsToStages": {made["VersionId"]: ["AWSCURRENT"]}}
    assert refused(secrets.create_secret, Name=name, SecretString="other") == ("ResourceExistsException", 400, f"The operation failed because the secret {name} already exists.")
    # The very same request is answered as the first: a client that did not get the answer asks again.
    assert secrets.create_secret(Name=name, SecretString="xyzzy", ClientRequestToken=made["VersionId"])["ARN"] == made["ARN"]
    assert refused(secrets.get_secret_value, SecretId="absent") == ABSENT
    assert refused(secrets.get_secret_value, SecretId=made["ARN"][:-1] + "_") == ABSENT
    assert refused(secrets.get_secret_value, SecretId=name, VersionStage="AWSPENDING") == (
        "ResourceNotFoundException",
        400,
        "Secrets Manager can't find the specified secret value for staging label: AWSPENDING",
    )
    assert refused(secrets.get_secret_value, SecretId=name, VersionId=made["VersionId"], VersionStage="AWSPREVIOUS") == (
        "InvalidRequestException",
        400,
        "You provided a VersionStage that is not associated to the provided VersionId.",
    )


@pytest.mark.covers("operation:CreateSecret")
@pytest.mark.covers("operation:PutSecretValue")
def test_without_a_value_and_binary(secrets, name):
    made = members(secrets.create_secret(Name=name))
    assert set(made) == {"ARN", "Name"}
    assert set(members(secrets.describe_secret(SecretId=name))) == {"ARN", "Name", "CreatedDate", "LastChangedDate"}
    assert refused(secrets.get_secret_value, SecretId=name)[2] == "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT"
    assert refused(secrets.put_secret_value, SecretId=name) == ("InvalidRequestException", 400, "You must provide either SecretString or SecretBinary.")
    put = members(secrets.put_secret_value(SecretId=name, SecretBinary=b"\x00\xff", VersionStages=["AWSPENDING"]))
    assert put["VersionStages"] == ["AWSCURRENT", "AWSPENDING"], "the first is current whatever it is labelled"
    got = secrets.get_secret_value(SecretId=name)
    assert got["SecretBinary"] == b"\x00\xff" and "SecretString" not in got


@pytest.mark.covers("operation:CreateSecret")
def test_what_a_secret_may_not_be(server, secrets, name):
    wrong = ("ValidationException", 400, "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!")
    assert refused(secrets.create_secret, Name="a b") == wrong
    assert refused(secrets.create_secret, Name="x" * 513)[0] == "ValidationException"
    code, status, text = refused(secrets.create_secret, Name=name, SecretString="s" * 65_537)
    assert (code, status) == ("ValidationException", 400) and "sss" not in text
    assert refused(secrets.create_secret, Name=name, SecretString="a", SecretBinary=b"b") == (
        "InvalidParameterException",
        400,
        "You can't specify both a binary secret value and a string secret value in the same secret.",
    )
    assert refused(secrets.create_secret, Name=name, SecretString="a", AddReplicaRegions=[{"Region": "eu-west-1"}])[0] == "NotImplementedException"
    assert refused(secrets.rotate_secret, SecretId=name)[0] == "NotImplementedException"
    # The largest value in the longest form it can be sent in.
    secrets.create_secret(Name=name, SecretString="\x01" * 65_536)
    assert secrets.get_secret_value(SecretId=name)["SecretString"] == "\x01" * 65_536
    request = urllib.request.Request(
        server.endpoint,
        json.dumps({"SecretId": name, "SecretString": "v"}).encode(),
        {"X-Amz-Target": "secretsmanager.PutSecretValue", "Content-Type": "application/x-amz-json-1.1"},
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    assert json.load(caught.value) == {"__type": "InvalidRequestException", "Message": "You must provide a ClientRequestToken value. We recommend a UUID-type value."}


@pytest.mark.covers("operation:PutSecretValue")
@pytest.mark.covers("operation:UpdateSecret")
@pytest.mark.covers("operation:UpdateSecretVersionStage")
@pytest.mark.covers("operation:ListSecretVersionIds")
def test_versions_and_their_labels(secrets, name):
    first = secrets.create_secret(Name=name, SecretString="1")["VersionId"]
    token = str(uuid.uuid4())
    put = members(secrets.put_secret_value(SecretId=name, SecretString="2", ClientRequestToken=token, VersionStages=["AWSPENDING", "MINE"]))
    assert (put["VersionId"], put["VersionStages"]) == (token, ["AWSPENDING", "MINE"])
    assert secrets.get_secret_value(SecretId=name)["SecretString"] == "1"
    secrets.put_secret_value(SecretId=name, SecretString="2", ClientRequestToken=token)
    assert refused(secrets.put_secret_value, SecretId=name, SecretString="3", ClientRequestToken=token)[0] == "ResourceExistsException"
    # As a rotation ends.
    assert refused(secrets.update_secret_version_stage, SecretId=name, VersionStage="AWSCURRENT", MoveToVersionId=token)[0] == "InvalidParameterException"
    secrets.update_secret_version_stage(SecretId=name, VersionStage="AWSCURRENT", MoveToVersionId=token, RemoveFromVersionId=first)
    assert stages(secrets, name) == {"1": ["AWSPREVIOUS"], "2": ["AWSCURRENT", "AWSPENDING", "MINE"]}
    secrets.update_secret_version_stage(SecretId=name, VersionStage="MINE", RemoveFromVersionId=token)
    updated = members(secrets.update_secret(SecretId=name, SecretString="3", Description="new"))
    assert set(updated) == {"ARN", "Name", "VersionId"}
    assert stages(secrets, name) == {"2": ["AWSPENDING", "AWSPREVIOUS"], "3": ["AWSCURRENT"]}
    assert secrets.get_secret_value(SecretId=name, VersionStage="AWSPREVIOUS")["SecretString"] == "2"
    unlabelled = secrets.list_secret_version_ids(SecretId=name, IncludeDeprecated=True)["Versions"]
    assert [row.get("VersionStages") for row in unlabelled] == [None, ["AWSPENDING", "AWSPREVIOUS"], ["AWSCURRENT"]]
    assert unlabelled[0]["KmsKeyIds"] == ["DefaultEncryptionKey"]
    assert "VersionId" not in members(secrets.update_secret(SecretId=name, Description=""))
    assert "Description" not in secrets.describe_secret(SecretId=name)
    assert refused(secrets.update_secret, SecretId="absent", Description="x") == ABSENT
    assert refused(secrets.put_secret_value, SecretId="absent", SecretString="x") == ABSENT


@pytest.mark.covers("operation:DeleteSecret")
@pytest.mark.covers("operation:RestoreSecret")
def test_delete_and_restore(secrets, name):
    made = secrets.create_secret(Name=name, SecretString="kept")
    deleted = members(secrets.delete_secret(SecretId=name, RecoveryWindowInDays=7))
    assert set(deleted) == {"ARN", "Name", "DeletionDate"}
    assert abs(deleted["DeletionDate"].timestamp() - time.time() - 7 * 86_400) < 60
    assert refused(secrets.get_secret_value, SecretId=name) == MARKED
    assert refused(secrets.put_secret_value, SecretId=name, SecretString="x") == MARKED
    assert refused(secrets.update_secret, SecretId=name, SecretString="x") == MARKED
    assert refused(secrets.delete_secret, SecretId=name)[0] == "InvalidRequestException"
    assert refused(secrets.create_secret, Name=name, SecretString="x") == (
        "InvalidRequestException",
        400,
        "You can't create this secret because a secret with this name is already scheduled for deletion.",
    )
    assert secrets.describe_secret(SecretId=name)["DeletedDate"] == deleted["DeletionDate"]
    assert name not in [row["Name"] for row in secrets.list_secrets()["SecretList"]]
    assert name in [row["Name"] for row in secrets.list_secrets(IncludePlannedDeletion=True)["SecretList"]]
    assert members(secrets.restore_secret(SecretId=name)) == {"ARN": made["ARN"], "Name": name}
    assert secrets.get_secret_value(SecretId=name)["SecretString"] == "kept"
    assert "DeletedDate" not in secrets.describe_secret(SecretId=name)
    assert refused(secrets.delete_secret, SecretId=name, RecoveryWindowInDays=6) == (
        "InvalidParameterException",
        400,
        "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).",
    )
    assert refused(secrets.delete_secret, SecretId=name, RecoveryWindowInDays=7, ForceDeleteWithoutRecovery=True)[0] == "InvalidParameterException"
    secrets.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
    assert refused(secrets.restore_secret, SecretId=name) == ABSENT
    assert refused(secrets.delete_secret, SecretId=name) == ABSENT
    again = secrets.create_secret(Name=name, SecretString="anew")
    assert again["ARN"] != made["ARN"], "another secret"


@pytest.mark.covers("operation:ListSecrets")
@pytest.mark.covers("operation:BatchGetSecretValue")
def test_list_and_batch(secrets):
    prefix = f"list-{next(_numbers)}"
    names = [f"{prefix}/{letter}" for letter in "abcde"]
    for name in names:
        secrets.create_secret(Name=name, SecretString=name, Description=f"Letter {name[-1]} of the list", Tags=[{"Key": "letter", "Value": name}])
    try:
        mine = {"Key": "name", "Values": [prefix]}

        def listed(*filters, **more):
            pages = secrets.get_paginator("list_secrets").paginate(Filters=list(filters), **more)
            return [row["Name"] for page in pages for row in page["SecretList"]]

        assert listed(mine) == names[::-1], "the newest first"
        assert listed(mine, SortBy="name", SortOrder="asc", PaginationConfig={"PageSize": 2}) == names
        assert listed(mine, {"Key": "description", "Values": ["letter B"]}) == [names[1]]
        assert listed(mine, {"Key": "tag-value", "Values": [f"!{names[0]}"]}, SortOrder="asc") == names[1:]
        assert listed({"Key": "all", "Values": [f"LETTER {names[3]}"]}) == [names[3]]
        row = secrets.list_secrets(Filters=[{"Key": "tag-value", "Values": [names[0]]}])["SecretList"][0]
        assert list(row["SecretVersionsToStages"].values()) == [["AWSCURRENT"]] and row["Tags"] == [{"Key": "letter", "Value": names[0]}]
        assert refused(secrets.list_secrets, NextToken="nonsense")[0] == "InvalidNextTokenException"
        assert refused(secrets.list_secrets, MaxResults=101)[0] == "ValidationException"
        batch = secrets.batch_get_secret_value(SecretIdList=[names[0], "absent", names[1]])
        assert [row["SecretString"] for row in batch["SecretValues"]] == names[:2]
        assert batch["Errors"] == [{"SecretId": "absent", "ErrorCode": ABSENT[0], "Message": ABSENT[2]}]
        assert len(secrets.batch_get_secret_value(Filters=[mine])["SecretValues"]) == 5
        assert refused(secrets.batch_get_secret_value, SecretIdList=[names[0]], Filters=[mine])[0] == "InvalidParameterException"
    finally:
        for name in names:
            secrets.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)


@pytest.mark.covers("operation:secret tags and resource policies")
def test_tags_and_policies(secrets, name):
    secrets.create_secret(Name=name, SecretString="v", Tags=[{"Key": "a", "Value": "1"}])
    secrets.tag_resource(SecretId=name, Tags=[{"Key": "b", "Value": "2"}])
    secrets.untag_resource(SecretId=name, TagKeys=["a"])
    assert secrets.describe_secret(SecretId=name)["Tags"] == [{"Key": "b", "Value": "2"}]
    assert refused(secrets.tag_resource, SecretId=name, Tags=[{"Key": f"k{number}", "Value": ""} for number in range(50)])[0] == "InvalidParameterException"
    assert "ResourcePolicy" not in secrets.get_resource_policy(SecretId=name)
    policy = json.dumps({"Version": "2012-10-17", "Statement": []})
    secrets.put_resource_policy(SecretId=name, ResourcePolicy=policy)
    assert secrets.get_resource_policy(SecretId=name)["ResourcePolicy"] == policy
    assert refused(secrets.put_resource_policy, SecretId=name, ResourcePolicy="{")[0] == "MalformedPolicyDocumentException"
    secrets.delete_resource_policy(SecretId=name)
    assert "ResourcePolicy" not in secrets.get_resource_policy(SecretId=name)


@pytest.mark.covers("operation:GetRandomPassword")
def test_random_passwords(secrets):
    password = secrets.get_random_password()["RandomPassword"]
    assert len(password) == 32 and password != secrets.get_random_password()["RandomPassword"]
    for kind in (string.ascii_lowercase, string.ascii_uppercase, string.digits, string.punctuation):
        assert set(password) & set(kind), password
    plain = secrets.get_random_password(PasswordLength=100, ExcludePunctuation=True, ExcludeUppercase=True, ExcludeCharacters="abc")["RandomPassword"]
    assert set(plain) <= set(string.ascii_lowercase + string.digits) - set("abc") and len(plain) == 100
    assert refused(secrets.get_random_password, PasswordLength=3) == ("InvalidParameterException", 400, "Password length is too short based on the required types.")
    assert refused(secrets.get_random_password, PasswordLength=5000)[0] == "ValidationException"


@pytest.mark.covers("operation:parameters and secrets are encrypted at rest")
def test_nothing_of_it_is_on_the_disk(server, secrets, name):
    value = "xyzzy-secret-plugh"
    secrets.create_secret(Name=name, SecretString=value, Description=value)
    for file in server.data_directory.rglob("*"):
        if file.is_file() and file.suffix in (".sqlite", ".sqlite-wal", ".log"):
            content = file.read_bytes()
            assert value.encode() not in content and base64.b64encode(value.encode()) not in content, file
    assert value not in server.log()
