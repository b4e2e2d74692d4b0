"""Aliases with boto3: the five operations, and calls by an alias, weighted or not."""

from __future__ import annotations

import json
import math
import os
import subprocess

import pytest
from botocore.exceptions import ClientError

from support.server import BINARY

SOURCE = {
    "app.py": """\
    import os
    def handler(event, context):
        return [os.environ["AWS_LAMBDA_FUNCTION_VERSION"], context.function_version, context.invoked_function_arn]
    """
}
ALIAS = {"AliasArn", "Name", "FunctionVersion", "Description", "RevisionId"}
ARN = "arn:aws:lambda:us-east-1:000000000000:function:"


@pytest.fixture
def function(deploy, client):
    """A function with the active versions 1 and 2."""
    function = deploy(SOURCE)
    client.publish_version(FunctionName=function.name)
    function.update(Timeout=11)
    client.publish_version(FunctionName=function.name)
    for number in ("1", "2"):
        client.get_waiter("function_active_v2").wait(FunctionName=function.name, Qualifier=number)
    return function


def refused(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Message"]


def members(answer):
    return set(answer) - {"ResponseMetadata"}


def least_and_most(calls: int, share: float, error: float = 1e-9) -> tuple[int, int]:
    """Counts outside of which a right implementation gets with a probability below `error`, by the binomial distribution itself."""
    chance = [math.comb(calls, hits) * share**hits * (1 - share) ** (calls - hits) for hits in range(calls + 1)]
    least = next(hits for hits in range(calls + 1) if math.fsum(chance[: hits + 1]) > error / 2)
    most = next(hits for hits in range(calls, -1, -1) if math.fsum(chance[hits:]) > error / 2)
    return least, most


@pytest.mark.covers("operation:CreateAlias")
@pytest.mark.covers("operation:GetAlias")
@pytest.mark.covers("operation:ListAliases")
@pytest.mark.covers("operation:UpdateAlias")
@pytest.mark.covers("operation:DeleteAlias")
def test_the_five_operations(client, function):
    name, arn = function.name, ARN + function.name
    weights = {"AdditionalVersionWeights": {"2": 0.2}}
    created = client.create_alias(FunctionName=name, Name="b", FunctionVersion="1", Description="first", RoutingConfig=weights)
    assert created["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert members(created) == ALIAS | {"RoutingConfig"}
    assert (created["AliasArn"], created["FunctionVersion"], created["RoutingConfig"]) == (f"{arn}:b", "1", weights)
    plain = client.create_alias(FunctionName=arn, Name="a", FunctionVersion="$LATEST")
    assert members(plain) == ALIAS and plain["Description"] == ""
    client.create_alias(FunctionName=name, Name="c", FunctionVersion="2")
    got = client.get_alias(FunctionName=name, Name="b")
    assert {key: got[key] for key in members(got)} == {key: created[key] for key in members(created)}

    pages = list(client.get_paginator("list_aliases").paginate(FunctionName=name, PaginationConfig={"PageSize": 2}))
    assert [[row["Name"] for row in page["Aliases"]] for page in pages] == [["a", "b"], ["c"]]
    of_one = client.list_aliases(FunctionName=name, FunctionVersion="1")
    assert [row["Name"] for row in of_one["Aliases"]] == ["b"] and "NextMarker" not in of_one

    updated = client.update_alias(FunctionName=name, Name="b", FunctionVersion="2", RoutingConfig={}, RevisionId=created["RevisionId"])
    assert members(updated) == ALIAS
    assert (updated["FunctionVersion"], updated["Description"]) == ("2", "first")
    assert updated["RevisionId"] != created["RevisionId"]
    for _ in range(2):
        assert client.delete_alias(FunctionName=name, Name="b")["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert refused(client.get_alias, FunctionName=name, Name="b") == ("ResourceNotFoundException", 404, f"Cannot find alias arn: {arn}:b")


@pytest.mark.covers("operation:CreateAlias")
@pytest.mark.covers("operation:UpdateAlias")
@pytest.mark.covers("operation:DeleteFunction")
def test_what_is_refused(client, function):
    name, arn = function.name, ARN + function.name

    def create(**arguments):
        return refused(client.create_alias, **({"FunctionName": name, "Name": "live", "FunctionVersion": "1"} | arguments))

    def routing(weights):
        return {"RoutingConfig": {"AdditionalVersionWeights": weights}}

    invalid = ("InvalidParameterValueException", 400)
    code, status, message = create(Name="12")
    assert (code, status) == ("ValidationException", 400) and message.endswith("pattern: (?!^[0-9]+$)([a-zA-Z0-9-_]+)")
    assert create(FunctionVersion="7") == ("ResourceNotFoundException", 404, f"Function not found: {arn}:7")
    assert create(**routing({"7": 0.1})) == ("ResourceNotFoundException", 404, f"Function not found: {arn}:7")
    assert create(FunctionName="absent")[2] == f"Function not found: {ARN}absent:1"
    assert create(**routing({"1": 0.1, "2": 0.1})) == (*invalid, "Number of items in AdditionalVersionWeights cannot be greater than 1")
    assert create(**routing({"1": 0.1})) == (
        *invalid, "Invalid function version 1. Function version 1 is already included in routing configuration."
    )
    assert create(FunctionVersion="$LATEST", **routing({"1": 0.1})) == (
        *invalid, "$LATEST is not supported for an alias pointing to more than 1 version"
    )
    # A negative one is refused by the client itself.
    code, status, message = create(**routing({"2": 1.5}))
    assert (code, status) == ("ValidationException", 400) and "Value '{2=1.5}' at 'routingConfig.additionalVersionWeights'" in message
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1", **routing({"2": 0.5}))
    assert create() == ("ResourceConflictException", 409, f"Alias already exists: {arn}:live")
    assert refused(client.update_alias, FunctionName=name, Name="live", RevisionId="stale") == (
        "PreconditionFailedException", 412,
        "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest Revision Id",
    )
    assert refused(client.update_alias, FunctionName=name, Name="absent") == ("ResourceNotFoundException", 404, f"Alias not found: {arn}:absent")
    for version in ("1", "2"):
        assert refused(client.delete_function, FunctionName=name, Qualifier=version) == (
            "ResourceConflictException", 409, "Unable to delete version because the following aliases reference it: [live]"
        )
    client.update_alias(FunctionName=name, Name="live", RoutingConfig={})
    client.delete_function(FunctionName=name, Qualifier="2")


@pytest.mark.covers("operation:Invoke qualifiers")
@pytest.mark.covers("operation:GetFunctionConfiguration")
def test_an_alias_is_called_and_followed(client, function):
    name, arn = function.name, ARN + function.name
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    for called in ({"FunctionName": name, "Qualifier": "live"}, {"FunctionName": f"{name}:live"}, {"FunctionName": f"{arn}:live"}):
        answer = client.invoke(**called)
        assert answer["ExecutedVersion"] == "1"
        assert json.load(answer["Payload"]) == ["1", "1", f"{arn}:live"]
    shown = client.get_function_configuration(FunctionName=name, Qualifier="live")
    assert (shown["FunctionArn"], shown["Version"], shown["Timeout"]) == (f"{arn}:live", "1", 10)
    assert client.get_function(FunctionName=f"{name}:live")["Configuration"]["FunctionArn"] == f"{arn}:live"
    client.update_alias(FunctionName=name, Name="live", FunctionVersion="2")
    assert client.invoke(FunctionName=name, Qualifier="live")["ExecutedVersion"] == "2"
    assert refused(client.invoke, FunctionName=name, Qualifier="other") == ("ResourceNotFoundException", 404, f"Function not found: {arn}:other")


@pytest.mark.covers("operation:Weighted aliases")
def test_weights_share_the_calls(client, function):
    calls, share = 400, 0.25
    client.create_alias(FunctionName=function.name, Name="live", FunctionVersion="1", RoutingConfig={"AdditionalVersionWeights": {"2": share}})
    answers = [client.invoke(FunctionName=function.name, Qualifier="live") for _ in range(calls)]
    versions = [json.load(answer["Payload"])[0] for answer in answers]
    assert versions == [answer["ExecutedVersion"] for answer in answers]
    least, most = least_and_most(calls, share)
    assert least <= versions.count("2") <= most and set(versions) == {"1", "2"}
    # The ends of the range are certain.
    for weight, version in ((0.0, "1"), (1.0, "2")):
        client.update_alias(FunctionName=function.name, Name="live", RoutingConfig={"AdditionalVersionWeights": {"2": weight}})
        assert {client.invoke(FunctionName=function.name, Qualifier="live")["ExecutedVersion"] for _ in range(20)} == {version}


def test_our_command_line_shows_aliases_and_what_is_reserved(client, server, function):
    client.create_alias(FunctionName=function.name, Name="live", FunctionVersion="1", RoutingConfig={"AdditionalVersionWeights": {"2": 0.25}})
    client.put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=3)
    environment = {"PATH": os.environ["PATH"], "HOME": str(server.data_directory.parent), "LAMPLIGHT_ENDPOINT": server.endpoint}
    shown = subprocess.run([os.path.abspath(BINARY), "get", function.name], env=environment, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "alias        live: version 1, 25 % of calls version 2" in shown
    assert "concurrency  3 reserved" in shown
