"""The Lambda API with boto3: layers, their policies, and functions that have them, as AWS answers.

Fields, codes and texts are those that public test suites recorded from AWS; what nobody recorded says so.
"""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
import re
import urllib.request
import uuid
import zipfile

import pytest
from botocore.exceptions import ClientError

from support.functions import PYTHON, ROLE, zip_of

_numbers = itertools.count(1)
CODE = zip_of({"app.py": "def handler(event, context):\n    return event\n"})
CONTENT = zip_of({"python/shared.py": "WHO = 'one'\n"})
OTHER_CONTENT = zip_of({"python/shared.py": "WHO = 'other'\n"})
SCOPE = "arn:aws:lambda:us-east-1:000000000000"
MISSING = "The resource you requested does not exist."


def new_name(kind="layer"):
    return f"{kind}-{next(_numbers)}-{uuid.uuid4().hex[:6]}"


@pytest.fixture
def name(client):
    """A layer's name; its versions are deleted after the test."""
    name = new_name()
    yield name
    for page in client.get_paginator("list_layer_versions").paginate(LayerName=name):
        for version in page["LayerVersions"]:
            client.delete_layer_version(LayerName=name, VersionNumber=version["Version"])


def publish(client, name, content=CONTENT, **more):
    return client.publish_layer_version(LayerName=name, Content={"ZipFile": content}, **more)


def function(client, layers, code=CODE):
    """A function with these layers that is Active; gives its name."""
    name = new_name("function")
    client.create_function(FunctionName=name, Runtime=PYTHON, Role=ROLE, Handler="app.handler", Code={"ZipFile": code}, Layers=layers)
    client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
    return name


def error_of(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    response = caught.value.response
    assert response["ResponseMetadata"]["RetryAttempts"] == 0
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Message"]


def without_metadata(answer):
    return {member: value for member, value in answer.items() if member != "ResponseMetadata"}


@pytest.mark.covers("operation:PublishLayerVersion")
@pytest.mark.covers("operation:GetLayerVersion")
@pytest.mark.covers("operation:GetLayerVersionByArn")
def test_publish_answers_every_field_and_no_other(client, name):
    used = client.get_account_settings()["AccountUsage"]["TotalCodeSize"]
    plain = publish(client, name)
    assert client.get_account_settings()["AccountUsage"]["TotalCodeSize"] == used + len(CONTENT)
    assert plain["ResponseMetadata"]["HTTPStatusCode"] == 201
    location = plain["Content"].pop("Location")
    created = plain["CreatedDate"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000", created)
    assert without_metadata(plain) == {
        "Content": {"CodeSha256": base64.b64encode(hashlib.sha256(CONTENT).digest()).decode(), "CodeSize": len(CONTENT)},
        "LayerArn": f"{SCOPE}:layer:{name}",
        "LayerVersionArn": f"{SCOPE}:layer:{name}:1",
        "Description": "",
        "CreatedDate": created,
        "Version": 1,
    }
    with urllib.request.urlopen(location) as answer:
        assert answer.read() == CONTENT
    settings = {"Description": "a ü layer", "CompatibleRuntimes": ["python3.11", "nodejs20.x"], "CompatibleArchitectures": ["x86_64", "arm64"], "LicenseInfo": "MIT"}
    full = publish(client, f"{SCOPE}:layer:{name}", OTHER_CONTENT, **settings)
    assert full["Version"] == 2 and full["LayerVersionArn"] == f"{SCOPE}:layer:{name}:2"
    assert {member: full[member] for member in settings} == settings
    # As recorded: a list that was given is answered, even when it is empty.
    empty = publish(client, name, CompatibleRuntimes=[], CompatibleArchitectures=[])
    assert (empty["CompatibleRuntimes"], empty["CompatibleArchitectures"], empty["Version"]) == ([], [], 3)

    got = client.get_layer_version(LayerName=name, VersionNumber=2)
    by_arn = client.get_layer_version_by_arn(Arn=full["LayerVersionArn"])
    by_layer_arn = client.get_layer_version(LayerName=full["LayerArn"], VersionNumber=2)
    for answer in (got, by_arn, by_layer_arn):
        with urllib.request.urlopen(answer["Content"].pop("Location")) as downloaded:
            assert downloaded.read() == OTHER_CONTENT
        assert without_metadata(answer) == without_metadata(full) | {"Content": {key: value for key, value in full["Content"].items() if key != "Location"}}


RUNTIMES = ["python3.11"] * 16


@pytest.mark.covers("operation:PublishLayerVersion")
@pytest.mark.parametrize(
    "change, code, status, text",
    [
        ({"CompatibleRuntimes": ["cobol85", "python3.11"], "CompatibleArchitectures": ["sparc"]}, "ValidationException", 400,
         "2 validation errors detected: Value '[cobol85, python3.11]' at 'compatibleRuntimes' failed to satisfy constraint: Member must satisfy enum value set: ["),
        ({"CompatibleArchitectures": ["sparc", "x86_64"]}, "ValidationException", 400,
         "1 validation error detected: Value '[sparc, x86_64]' at 'compatibleArchitectures' failed to satisfy constraint: Member must satisfy constraint: [Member must satisfy enum value set: [x86_64, arm64]]"),
        ({"CompatibleRuntimes": RUNTIMES}, "ValidationException", 400, "at 'compatibleRuntimes' failed to satisfy constraint: Member must have length less than or equal to 15"),
        ({"Description": "x" * 257}, "ValidationException", 400, "at 'description' failed to satisfy constraint: Member must have length less than or equal to 256"),
        ({"LicenseInfo": "x" * 513}, "ValidationException", 400, "at 'licenseInfo' failed to satisfy constraint: Member must have length less than or equal to 512"),
        ({"LayerName": "no.dots"}, "ValidationException", 400, "Value 'no.dots' at 'layerName' failed to satisfy constraint: Member must satisfy regular expression pattern: (arn:"),
        ({"LayerName": "arn:aws:lambda:us-east-1:123456789012:layer:x"}, "AccessDeniedException", 403, "is not authorized to perform: lambda:PublishLayerVersion"),
        ({"Content": {"ZipFile": b"no zip"}}, "InvalidParameterValueException", 400, "Could not unzip uploaded file. Please check your file, then try to upload again."),
        ({"Content": {"ZipFile": b""}}, "InvalidParameterValueException", 400, "Uploaded file must be a non-empty zip"),
        ({"Content": {"S3Bucket": "bucket", "S3Key": "key"}}, "InvalidParameterValueException", 400, "Error occurred while GetObject. S3 Error Code: NoSuchBucket. S3 Error Message: The specified bucket does not exist"),
        # A guess: nobody recorded what AWS says to content without a source.
        ({"Content": {}}, "InvalidParameterValueException", 400, "Please provide a source"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
def test_publish_refuses(client, change, code, status, text):
    name = new_name()
    arguments = {"LayerName": name, "Content": {"ZipFile": CONTENT}} | change
    got_code, got_status, message = error_of(client.publish_layer_version, **arguments)
    assert (got_code, got_status) == (code, status), message
    assert text in message
    assert client.list_layer_versions(LayerName=name)["LayerVersions"] == []
    # A refused publication took no number.
    assert publish(client, name)["Version"] == 1
    client.delete_layer_version(LayerName=name, VersionNumber=1)


def entry(name: str, content: bytes = b"x", mode: int = 0o100644) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        information = zipfile.ZipInfo(name)
        information.external_attr = mode << 16
        archive.writestr(information, content)
    return buffer.getvalue()


@pytest.mark.covers("input:hostile layers")
@pytest.mark.parametrize(
    "content",
    [entry("../x"), entry("/etc/x"), entry("python/../../x"), entry("x", b"/etc/passwd", 0o120777), entry("x", b"../../../etc", 0o120777), entry("null", b"", 0o020666), entry("pipe", b"", 0o010666)],
    ids=["parent", "absolute", "parent inside", "absolute link", "link that leaves", "device", "pipe"],
)
def test_hostile_archives_are_refused(client, content):
    code, status, message = error_of(client.publish_layer_version, LayerName=new_name(), Content={"ZipFile": content})
    assert (code, status) == ("InvalidParameterValueException", 400)
    assert message.startswith("Could not unzip uploaded file.")


@pytest.mark.covers("operation:GetLayerVersion")
@pytest.mark.covers("operation:GetLayerVersionByArn")
def test_what_cannot_be_got(client, name):
    publish(client, name)
    get, by_arn = client.get_layer_version, client.get_layer_version_by_arn
    assert error_of(get, LayerName=new_name(), VersionNumber=1) == ("ResourceNotFoundException", 404, MISSING)
    assert error_of(get, LayerName=name, VersionNumber=2) == ("ResourceNotFoundException", 404, MISSING)
    for number in (0, -1):
        assert error_of(get, LayerName=name, VersionNumber=number) == ("InvalidParameterValueException", 400, "Layer Version Cannot be less than 1")
    assert error_of(by_arn, Arn=f"{SCOPE}:layer:{name}:7") == ("ResourceNotFoundException", 404, MISSING)
    code, status, message = error_of(by_arn, Arn=f"{SCOPE}:layer:{name}")
    assert (code, status) == ("ValidationException", 400)
    assert message.startswith(f"1 validation error detected: Value '{SCOPE}:layer:{name}' at 'arn' failed to satisfy constraint: Member must satisfy regular expression pattern: ")
    for foreign in (f"arn:aws:lambda:us-east-1:123456789012:layer:{name}:1", f"arn:aws:lambda:eu-west-1:000000000000:layer:{name}:1"):
        code, status, message = error_of(by_arn, Arn=foreign)
        assert (code, status) == ("AccessDeniedException", 403)
        assert message.endswith(f"is not authorized to perform: lambda:GetLayerVersion on resource: {foreign} because no resource-based policy allows the lambda:GetLayerVersion action")


@pytest.mark.covers("operation:ListLayerVersions")
@pytest.mark.covers("operation:DeleteLayerVersion")
def test_versions_are_listed_newest_first_and_their_numbers_never_come_back(client, name):
    assert client.list_layer_versions(LayerName=name)["LayerVersions"] == []
    publish(client, name, Description="first", CompatibleRuntimes=["python3.11"], CompatibleArchitectures=["arm64"], LicenseInfo="MIT")
    for _ in range(4):
        publish(client, name, CompatibleRuntimes=["nodejs20.x", "python3.11"], CompatibleArchitectures=["x86_64"])
    publish(client, name)
    # A layer whose name begins the same is another one.
    publish(client, f"{name}-x")

    def numbers(**more):
        answer = client.list_layer_versions(LayerName=name, **more)
        return [row["Version"] for row in answer["LayerVersions"]]

    assert numbers() == [6, 5, 4, 3, 2, 1]
    row = client.list_layer_versions(LayerName=name)["LayerVersions"][-1]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000", row.pop("CreatedDate"))
    assert row == {
        "LayerVersionArn": f"{SCOPE}:layer:{name}:1", "Version": 1, "Description": "first", "CompatibleRuntimes": ["python3.11"],
        "CompatibleArchitectures": ["arm64"], "LicenseInfo": "MIT",
    }
    assert numbers(CompatibleRuntime="python3.11") == [5, 4, 3, 2, 1]
    assert numbers(CompatibleRuntime="python3.11", CompatibleArchitecture="arm64") == [1]
    assert numbers(CompatibleRuntime="java21") == []
    assert "NextMarker" not in client.list_layer_versions(LayerName=name, MaxItems=6)
    pages = list(client.get_paginator("list_layer_versions").paginate(LayerName=name, CompatibleRuntime="nodejs20.x", PaginationConfig={"PageSize": 3}))
    assert [[row["Version"] for row in page["LayerVersions"]] for page in pages] == [[5, 4, 3], [2]]

    assert client.delete_layer_version(LayerName=name, VersionNumber=6)["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert client.delete_layer_version(LayerName=name, VersionNumber=6)["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert client.delete_layer_version(LayerName=new_name(), VersionNumber=1)["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert numbers() == [5, 4, 3, 2, 1]
    assert error_of(client.get_layer_version, LayerName=name, VersionNumber=6) == ("ResourceNotFoundException", 404, MISSING)
    for number in numbers():
        client.delete_layer_version(LayerName=name, VersionNumber=number)
    assert numbers() == []
    assert publish(client, name)["Version"] == 7
    assert error_of(client.delete_layer_version, LayerName=name, VersionNumber=0) == ("InvalidParameterValueException", 400, "Layer Version Cannot be less than 1")
    client.delete_layer_version(LayerName=f"{name}-x", VersionNumber=1)


@pytest.mark.covers("operation:ListLayers")
@pytest.mark.covers("operation:ListLayerVersions")
def test_layers_are_listed_with_their_newest_version_that_fits(client):
    names = sorted(new_name("listed") for _ in range(3))
    for name in names:
        publish(client, name, CompatibleRuntimes=["python3.11"])
        publish(client, name, CompatibleRuntimes=["nodejs20.x"], CompatibleArchitectures=["arm64"])
    client.delete_layer_version(LayerName=names[2], VersionNumber=1)

    def found(**more):
        pages = client.get_paginator("list_layers").paginate(PaginationConfig={"PageSize": 1}, **more)
        rows = [row for page in pages for row in page["Layers"] if row["LayerName"] in names]
        return [(row["LayerName"], row["LatestMatchingVersion"]["Version"]) for row in rows]

    try:
        assert found() == [(name, 2) for name in names]
        assert found(CompatibleRuntime="python3.11") == [(names[0], 1), (names[1], 1)]
        assert found(CompatibleRuntime="nodejs20.x", CompatibleArchitecture="arm64") == [(name, 2) for name in names]
        row = next(row for row in client.list_layers()["Layers"] if row["LayerName"] == names[0])
        latest = row.pop("LatestMatchingVersion")
        assert row == {"LayerName": names[0], "LayerArn": f"{SCOPE}:layer:{names[0]}"}
        assert set(latest) == {"LayerVersionArn", "Version", "Description", "CreatedDate", "CompatibleRuntimes", "CompatibleArchitectures"}
    finally:
        for name in names:
            for number in (1, 2):
                client.delete_layer_version(LayerName=name, VersionNumber=number)
    assert found() == []
    for call, more in ((client.list_layers, {}), (client.list_layer_versions, {"LayerName": "any"})):
        code, status, message = error_of(call, CompatibleRuntime="runtimedoesnotexist", **more)
        assert (code, status) == ("ValidationException", 400)
        assert "Value 'runtimedoesnotexist' at 'compatibleRuntime' failed to satisfy constraint: Member must satisfy enum value set: [" in message
        assert error_of(call, CompatibleArchitecture="sparc", **more) == (
            "ValidationException", 400,
            "1 validation error detected: Value 'sparc' at 'compatibleArchitecture' failed to satisfy constraint: Member must satisfy enum value set: [x86_64, arm64]",
        )
        assert error_of(call, MaxItems=51, **more)[0] == "ValidationException"
        assert error_of(call, Marker="nonsense", **more)[0] == "InvalidParameterValueException"


@pytest.mark.covers("operation:AddLayerVersionPermission")
@pytest.mark.covers("operation:GetLayerVersionPolicy")
@pytest.mark.covers("operation:RemoveLayerVersionPermission")
def test_the_life_of_a_policy(client, name):
    publish(client, name)
    layer = {"LayerName": name, "VersionNumber": 1}
    no_policy = ("ResourceNotFoundException", 404, "No policy is associated with the given resource.")
    assert error_of(client.get_layer_version_policy, **layer) == no_policy

    def add(sid, principal="*", **more):
        return client.add_layer_version_permission(**layer, StatementId=sid, Action="lambda:GetLayerVersion", Principal=principal, **more)

    def statement(sid, principal="*", **more):
        return {"Sid": sid, "Effect": "Allow", "Principal": principal, "Action": "lambda:GetLayerVersion", "Resource": f"{SCOPE}:layer:{name}:1", **more}

    added = add("s1")
    assert added["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert json.loads(added["Statement"]) == statement("s1")
    got = client.get_layer_version_policy(**layer)
    assert json.loads(got["Policy"]) == {"Version": "2012-10-17", "Id": "default", "Statement": [statement("s1")]}
    assert got["RevisionId"] == added["RevisionId"]
    account = add("s2", "123456789012", RevisionId=added["RevisionId"])
    assert json.loads(account["Statement"]) == statement("s2", {"AWS": "arn:aws:iam::123456789012:root"})
    assert account["RevisionId"] != added["RevisionId"]
    organization = add("s3", OrganizationId="o-a1b2c3d4e5")
    assert json.loads(organization["Statement"]) == statement("s3", Condition={"StringEquals": {"aws:PrincipalOrgID": "o-a1b2c3d4e5"}})

    stale = "The Revision Id provided does not match the latest Revision Id. Call the GetLayerPolicy API to retrieve the latest Revision Id"
    duplicate = "The statement id (s1) provided already exists. Please provide a new statement id, or remove the existing statement."
    arguments = {"Action": "lambda:GetLayerVersion", "Principal": "*"}
    assert error_of(client.add_layer_version_permission, **layer, StatementId="s1", **arguments) == ("ResourceConflictException", 409, duplicate)
    assert error_of(client.add_layer_version_permission, **layer, StatementId="s9", RevisionId=added["RevisionId"], **arguments) == ("PreconditionFailedException", 412, stale)
    assert error_of(client.remove_layer_version_permission, **layer, StatementId="s1", RevisionId=added["RevisionId"]) == ("PreconditionFailedException", 412, stale)
    assert error_of(client.remove_layer_version_permission, **layer, StatementId="s9") == ("ResourceNotFoundException", 404, "Statement s9 is not found in resource policy.")
    removed = client.remove_layer_version_permission(**layer, StatementId="s1", RevisionId=organization["RevisionId"])
    assert removed["ResponseMetadata"]["HTTPStatusCode"] == 204
    left = json.loads(client.get_layer_version_policy(**layer)["Policy"])["Statement"]
    assert [row["Sid"] for row in left] == ["s2", "s3"]
    client.remove_layer_version_permission(**layer, StatementId="s2")
    client.remove_layer_version_permission(**layer, StatementId="s3")
    # A guess by what GetPolicy of functions does: nobody recorded the policy of a layer after its last statement.
    assert error_of(client.get_layer_version_policy, **layer) == no_policy


@pytest.mark.covers("operation:AddLayerVersionPermission")
@pytest.mark.covers("operation:GetLayerVersionPolicy")
@pytest.mark.covers("operation:RemoveLayerVersionPermission")
def test_policies_that_are_refused(client, name):
    publish(client, name)
    arguments = {"LayerName": name, "VersionNumber": 1, "StatementId": "s1", "Action": "lambda:GetLayerVersion", "Principal": "*"}
    for change, text in (
        ({"Action": "*"}, "1 validation error detected: Value '*' at 'action' failed to satisfy constraint: Member must satisfy regular expression pattern: lambda:GetLayerVersion"),
        ({"Principal": "me"}, "Value 'me' at 'principal' failed to satisfy constraint: Member must satisfy regular expression pattern: "),
        ({"StatementId": "a b"}, "Value 'a b' at 'statementId' failed to satisfy constraint: "),
        ({"OrganizationId": "o-1"}, "Value 'o-1' at 'organizationId' failed to satisfy constraint: "),
    ):
        code, status, message = error_of(client.add_layer_version_permission, **(arguments | change))
        assert (code, status) == ("ValidationException", 400) and text in message, message
    for layer in ({"LayerName": name, "VersionNumber": 2}, {"LayerName": f"{name}-doesnotexist", "VersionNumber": 1}):
        missing = ("ResourceNotFoundException", 404, f"Layer version {SCOPE}:layer:{layer['LayerName']}:{layer['VersionNumber']} does not exist.")
        assert error_of(client.add_layer_version_permission, **(arguments | layer)) == missing
        assert error_of(client.get_layer_version_policy, **layer) == missing
        assert error_of(client.remove_layer_version_permission, StatementId="s1", **layer) == missing
    for number in range(200):
        try:
            client.add_layer_version_permission(**(arguments | {"StatementId": f"{number:03}-{'x' * 90}"}))
        except client.exceptions.PolicyLengthExceededException as error:
            assert re.search(r"The final policy size \(\d+\) is bigger than the limit \(20480\)\.", str(error))
            break
    else:
        raise AssertionError("a policy grows without bound")
    assert 50 < number < 100


@pytest.mark.covers("operation:CreateFunction")
@pytest.mark.covers("operation:UpdateFunctionConfiguration")
@pytest.mark.covers("layer:configuration")
def test_layers_of_a_function_are_echoed_everywhere(client, name):
    one, other = f"{name}-a", f"{name}-b"
    first = publish(client, one)["LayerVersionArn"]
    second = publish(client, other, OTHER_CONTENT)["LayerVersionArn"]
    shown = [{"Arn": first, "CodeSize": len(CONTENT)}, {"Arn": second, "CodeSize": len(OTHER_CONTENT)}]
    created = function(client, [first, second])
    update = client.update_function_configuration

    def updated():
        client.get_waiter("function_updated_v2").wait(FunctionName=created, WaiterConfig={"Delay": 1})

    try:
        assert client.get_function_configuration(FunctionName=created)["Layers"] == shown
        assert client.get_function(FunctionName=created)["Configuration"]["Layers"] == shown
        assert next(row for row in client.list_functions()["Functions"] if row["FunctionName"] == created)["Layers"] == shown
        assert client.publish_version(FunctionName=created)["Layers"] == shown
        # Given nothing, they stay.
        assert update(FunctionName=created, Description="x")["Layers"] == shown
        updated()
        assert update(FunctionName=created, Layers=[second, first])["Layers"] == shown[::-1]
        updated()
        assert "Layers" not in update(FunctionName=created, Layers=[])
        updated()
        assert "Layers" not in client.get_function_configuration(FunctionName=created)
        assert client.publish_version(FunctionName=created)["Version"] == "2"
        versions = {row["Version"]: row.get("Layers") for row in client.list_versions_by_function(FunctionName=created)["Versions"]}
        assert versions == {"$LATEST": None, "1": shown, "2": None}
        # A deleted version cannot be added, and stays where it is.
        for layer in (one, other):
            client.delete_layer_version(LayerName=layer, VersionNumber=1)
        assert client.get_function_configuration(FunctionName=created, Qualifier="1")["Layers"] == shown
        assert error_of(update, FunctionName=created, Layers=[first]) == ("InvalidParameterValueException", 400, f"Layer version {first} does not exist.")
    finally:
        client.delete_function(FunctionName=created)


@pytest.mark.covers("operation:CreateFunction")
@pytest.mark.covers("operation:UpdateFunctionConfiguration")
@pytest.mark.covers("layer:configuration")
def test_layers_a_function_cannot_have(client, name):
    layers = [publish(client, f"{name}-{number}")["LayerVersionArn"] for number in range(6)]
    newer = publish(client, f"{name}-0")["LayerVersionArn"]
    missing, foreign = f"{SCOPE}:layer:{name}-0:7", "arn:aws:lambda:us-east-1:123456789012:layer:theirs:1"
    refusals = [
        (layers, "InvalidParameterValueException", 400, "Cannot reference more than 5 layers."),
        ([missing], "InvalidParameterValueException", 400, f"Layer version {missing} does not exist."),
        ([layers[0], newer], "InvalidParameterValueException", 400,
         "Two different versions of the same layer are not allowed to be referenced in the same function. "
         f"{layers[0]} and {newer} are versions of the same layer."),
        ([foreign], "AccessDeniedException", 403,
         "User: arn:aws:iam::000000000000:root is not authorized to perform: lambda:GetLayerVersion on resource: "
         f"{foreign} because no resource-based policy allows the lambda:GetLayerVersion action"),
    ]
    created = function(client, layers[:5])
    try:
        for given, *expected in refusals:
            assert error_of(client.update_function_configuration, FunctionName=created, Layers=given) == tuple(expected)
            other = {"FunctionName": new_name("function"), "Runtime": PYTHON, "Role": ROLE, "Handler": "app.handler", "Code": {"ZipFile": CODE}}
            assert error_of(client.create_function, Layers=given, **other) == tuple(expected)
        code, status, message = error_of(client.update_function_configuration, FunctionName=created, Layers=[layers[0], f"{SCOPE}:layer:{name}"])
        assert (code, status) == ("ValidationException", 400)
        assert message.startswith(
            f"1 validation error detected: Value '[{layers[0]}, {SCOPE}:layer:{name}]' at 'layers' failed to satisfy constraint: Member must satisfy "
            "constraint: [Member must have length less than or equal to 2048, Member must have length greater than or equal to 1, Member must "
            "satisfy regular expression pattern: "
        )
        assert [row["Arn"] for row in client.get_function_configuration(FunctionName=created)["Layers"]] == layers[:5]
    finally:
        client.delete_function(FunctionName=created)
        for number in range(6):
            for version in (1, 2):
                client.delete_layer_version(LayerName=f"{name}-{number}", VersionNumber=version)


@pytest.mark.covers("layer:size")
@pytest.mark.timeout(180)
def test_the_sizes_of_code_and_layers_are_counted_together(client, name):
    def zeros(megabytes, file="python/zeros"):
        return zip_of({"app.py": "def handler(event, context): return 1", file: bytes(megabytes * 1_000_000)})

    layer = publish(client, name, zeros(200))["LayerVersionArn"]
    limit = "Function code combined with layers exceeds the maximum allowed size of 262144000 bytes. The actual size is "
    created = function(client, [], zeros(70))
    try:
        code, status, message = error_of(client.update_function_configuration, FunctionName=created, Layers=[layer])
        assert (code, status) == ("InvalidParameterValueException", 400)
        assert message.startswith(limit) and 270_000_000 <= int(message.removeprefix(limit).removesuffix(" bytes.")) < 270_001_000
        client.update_function_code(FunctionName=created, ZipFile=CODE)
        client.get_waiter("function_updated_v2").wait(FunctionName=created, WaiterConfig={"Delay": 1})
        client.update_function_configuration(FunctionName=created, Layers=[layer])
        client.get_waiter("function_updated_v2").wait(FunctionName=created, WaiterConfig={"Delay": 1})
        code, _, message = error_of(client.update_function_code, FunctionName=created, ZipFile=zeros(70))
        assert code == "InvalidParameterValueException" and message.startswith(limit)
        other = {"FunctionName": new_name("function"), "Runtime": PYTHON, "Role": ROLE, "Handler": "app.handler", "Layers": [layer]}
        assert error_of(client.create_function, Code={"ZipFile": zeros(70)}, **other)[2].startswith(limit)
    finally:
        client.delete_function(FunctionName=created)
