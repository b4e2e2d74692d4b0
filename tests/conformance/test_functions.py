"""The Lambda API with boto3: functions and versions as AWS answers them."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import urllib.error
import urllib.request

import pytest
from botocore.exceptions import ClientError

from support.functions import PYTHON, ROLE, zip_of

_numbers = itertools.count(1)
CODE = zip_of({"app.py": "def handler(event, context):\n    return event\n"})
OTHER_CODE = zip_of({"app.py": "def handler(event, context):\n    return [event]\n"})


@pytest.fixture
def name():
    return f"conformance-{next(_numbers)}-{base64.b32encode(hashlib.sha256(str(id(object())).encode()).digest())[:6].decode().lower()}"


@pytest.fixture
def created(client, name):
    """A function that is Active."""
    answer = create(client, name)
    client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
    yield answer
    try:
        client.delete_function(FunctionName=name)
    except client.exceptions.ResourceNotFoundException:
        pass


def create(client, name, **more):
    arguments = {"FunctionName": name, "Runtime": PYTHON, "Role": ROLE, "Handler": "app.handler", "Code": {"ZipFile": CODE}} | more
    return client.create_function(**arguments)


def updated(client, name):
    client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})


def error_of(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    response = caught.value.response
    assert response["ResponseMetadata"]["RetryAttempts"] == 0
    assert re.fullmatch(r"[0-9a-f-]{36}", response["ResponseMetadata"]["RequestId"])
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Message"]


def arn(name, qualifier=None, region="us-east-1"):
    return f"arn:aws:lambda:{region}:000000000000:function:{name}" + (f":{qualifier}" if qualifier else "")


@pytest.mark.covers("operation:CreateFunction")
def test_create_answers_every_field_and_no_other(client, name):
    answer = create(client, name)
    try:
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 201
        assert set(answer) - {"ResponseMetadata"} == {
            "FunctionName", "FunctionArn", "Runtime", "Role", "Handler", "CodeSize", "Description", "Timeout", "MemorySize",
            "LastModified", "CodeSha256", "Version", "TracingConfig", "RevisionId", "State", "StateReason", "StateReasonCode",
            "PackageType", "Architectures", "EphemeralStorage", "SnapStart", "RuntimeVersionConfig", "LoggingConfig",
        }
        assert answer["FunctionArn"] == arn(name)
        assert answer["State"] == "Pending"
        assert answer["StateReason"] == "The function is being created."
        assert answer["StateReasonCode"] == "Creating"
        assert answer["CodeSha256"] == base64.b64encode(hashlib.sha256(CODE).digest()).decode()
        assert answer["CodeSize"] == len(CODE)
        assert (answer["Timeout"], answer["MemorySize"], answer["EphemeralStorage"]) == (3, 128, {"Size": 512})
        assert answer["Version"] == "$LATEST" and answer["Description"] == ""
        assert answer["LoggingConfig"] == {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{name}"}
        assert answer["SnapStart"] == {"ApplyOn": "None", "OptimizationStatus": "Off"}
        assert answer["TracingConfig"] == {"Mode": "PassThrough"}
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000", answer["LastModified"])
        client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
        active = client.get_function_configuration(FunctionName=name)
        assert (active["State"], active["LastUpdateStatus"]) == ("Active", "Successful")
        assert active["RevisionId"] == answer["RevisionId"]
    finally:
        client.delete_function(FunctionName=name)


@pytest.mark.covers("operation:CreateFunction")
def test_create_echoes_what_was_given(client, name):
    settings = {
        "Description": "a ü function", "Timeout": 900, "MemorySize": 10240, "EphemeralStorage": {"Size": 1024},
        "Environment": {"Variables": {"PLACE": "Zürich", "AB": ""}},
        "TracingConfig": {"Mode": "Active"},
        "DeadLetterConfig": {"TargetArn": "arn:aws:sqs:us-east-1:000000000000:dead"},
        "KMSKeyArn": "arn:aws:kms:us-east-1:000000000000:key/1",
        "VpcConfig": {"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]},
        "FileSystemConfigs": [{"Arn": "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/fsap-0123456789abcdef0", "LocalMountPath": "/mnt/notes"}],
    }
    try:
        answer = create(client, name, Tags={"team": "blue", "empty": ""}, LoggingConfig={"LogFormat": "JSON", "LogGroup": "/my/group"}, **settings)
        for member, value in settings.items():
            if member == "VpcConfig":
                value = value | {"VpcId": "", "Ipv6AllowedForDualStack": False}
            assert answer[member] == value, member
        assert answer["LoggingConfig"] == {"LogFormat": "JSON", "ApplicationLogLevel": "INFO", "SystemLogLevel": "INFO", "LogGroup": "/my/group"}
        got = client.get_function(FunctionName=name)
        assert got["Tags"] == {"team": "blue", "empty": ""}
        assert got["Configuration"]["Environment"] == settings["Environment"]
        assert client.list_tags(Resource=arn(name))["Tags"] == {"team": "blue", "empty": ""}
    finally:
        client.delete_function(FunctionName=name)


@pytest.mark.covers("operation:CreateFunction")
@pytest.mark.parametrize(
    "change, code, status, text",
    [
        ({"MemorySize": 32769}, "ValidationException", 400, "1 validation error detected: Value '32769' at 'memorySize' failed to satisfy constraint: Member must have value less than or equal to 32768"),
        ({"MemorySize": 10241}, "InvalidParameterValueException", 400, "'MemorySize' value failed to satisfy constraint: Member must have value less than or equal to 10240"),
        ({"Timeout": 901}, "InvalidParameterValueException", 400, "'Timeout' value failed to satisfy constraint: Member must have value less than or equal to 900"),
        ({"Role": "nobody"}, "ValidationException", 400, "at 'role' failed to satisfy constraint: Member must satisfy regular expression pattern: arn:(aws"),
        ({"Runtime": "cobol85"}, "InvalidParameterValueException", 400, "Value cobol85 at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: ["),
        ({"Role": "nobody", "Timeout": 5401}, "ValidationException", 400, "2 validation errors detected: "),
        ({"Environment": {"Variables": {"AWS_REGION": "x"}}}, "InvalidParameterValueException", 400, "Reserved keys used in this request: AWS_REGION"),
        ({"Environment": {"Variables": {"AB": "x" * 4096}}}, "InvalidParameterValueException", 400, "exceeded the 4KB limit. String measured: {\"AB\":\"xxx"),
        ({"Environment": {"Variables": {"1A": "x"}}}, "ValidationException", 400, "Map keys must satisfy constraint"),
        ({"Layers": ["arn:aws:lambda:us-east-1:000000000000:layer:l:1"]}, "InvalidParameterValueException", 400, "Layer version arn:aws:lambda:us-east-1:000000000000:layer:l:1 does not exist."),
        ({"Layers": ["arn:aws:lambda:us-east-1:000000000000:layer:l:1"] * 6}, "InvalidParameterValueException", 400, "Cannot reference more than 5 layers."),
        ({"Code": {"ZipFile": b"not a zip"}}, "InvalidParameterValueException", 400, "Could not unzip uploaded file. Please check your file, then try to upload again."),
        ({"Code": {"S3Bucket": "no-such-bucket", "S3Key": "key"}}, "InvalidParameterValueException", 400, "Error occurred while GetObject. S3 Error Code: NoSuchBucket. S3 Error Message: The specified bucket does not exist"),
        ({"Code": {"S3Bucket": "bucket", "S3Key": "key", "S3ObjectVersion": "7"}}, "InvalidParameterValueException", 400, "S3 Error Code: InvalidArgument. S3 Error Message: Invalid version id specified"),
        ({"Code": {"S3Bucket": "bucket"}}, "ValidationException", 400, "Value null at 'code.s3Key' failed to satisfy constraint: Member must not be null"),
        ({"Code": {"ImageUri": "image"}, "PackageType": "Image"}, "InvalidParameterValueException", 400, "PackageType Image is not supported"),
        ({"Tags": {"lamplight:egress": "maybe"}}, "InvalidParameterValueException", 400, "takes 'on' or 'off'"),
        ({"FunctionName": "a" * 65}, "InvalidParameterValueException", 400, "at 'functionName' failed to satisfy constraint: Member must have length less than or equal to 64"),
        ({"FunctionName": "a*b"}, "ValidationException", 400, "Value 'a*b' at 'functionName' failed to satisfy constraint: Member must satisfy regular expression pattern: (arn:"),
    ],
    ids=lambda value: None,
)
def test_create_refuses_and_changes_nothing(client, name, change, code, status, text):
    got = error_of(create, client=client, name=name, **change)
    assert got[:2] == (code, status)
    assert text in got[2]
    if "FunctionName" not in change:
        assert error_of(client.get_function, FunctionName=name)[0] == "ResourceNotFoundException"


@pytest.mark.covers("operation:CreateFunction")
def test_create_of_the_architecture_of_another_host(client, name):
    own = client.get_account_settings  # the server answers at all
    own()
    refused = 0
    for architecture in ("x86_64", "arm64"):
        try:
            create(client, f"{name}-{architecture[:3]}", Architectures=[architecture])
            client.delete_function(FunctionName=f"{name}-{architecture[:3]}")
        except ClientError as error:
            assert error.response["Error"]["Code"] == "InvalidParameterValueException"
            assert architecture in error.response["Error"]["Message"]
            refused += 1
    assert refused == 1


@pytest.mark.covers("operation:CreateFunction")
def test_create_of_what_exists(client, created, name):
    assert error_of(create, client=client, name=name) == ("ResourceConflictException", 409, f"Function already exist: {name}")


@pytest.mark.covers("operation:CreateFunction")
def test_too_large_a_package(client, name):
    code, status, text = error_of(create, client=client, name=name, Code={"ZipFile": b"x" * (52_428_800 + 1)})
    assert (code, status) == ("RequestEntityTooLargeException", 413)
    assert text == "Zipped size must be smaller than 52428800 bytes"
    code, status, text = error_of(create, client=client, name=name, Code={"ZipFile": b"x" * 53_000_000})
    assert (code, status) == ("RequestEntityTooLargeException", 413)
    assert text == "Request must be smaller than 70167211 bytes for the CreateFunction operation"


@pytest.mark.covers("operation:GetFunction")
def test_code_location_can_be_downloaded_and_not_forged(client, created, name):
    got = client.get_function(FunctionName=name)
    assert got["Code"]["RepositoryType"] == "S3"
    assert "Concurrency" not in got and "Tags" not in got
    location = got["Code"]["Location"]
    assert urllib.request.urlopen(location).read() == CODE
    for forged in (location[:-1] + ("0" if location[-1] != "0" else "1"), location.replace("Expires=", "Expires=9"), location.split("?")[0]):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(forged)
        assert caught.value.code == 403


@pytest.mark.covers("operation:GetFunction")
@pytest.mark.covers("operation:Invoke qualifiers")
def test_every_form_of_a_name(client, created, name):
    for form in (name, f"000000000000:function:{name}", f"000000000000:{name}", arn(name)):
        answer = client.get_function_configuration(FunctionName=form)
        assert answer["FunctionArn"] == arn(name), form
    for form, qualifier in ((f"{name}:$LATEST", None), (arn(name, "$LATEST"), None), (name, "$LATEST"), (f"{name}:$LATEST", "$LATEST")):
        extra = {"Qualifier": qualifier} if qualifier else {}
        assert client.get_function_configuration(FunctionName=form, **extra)["FunctionArn"] == arn(name, "$LATEST"), form
    code, status, text = error_of(client.get_function, FunctionName=f"{name}:1", Qualifier="2")
    assert (code, status) == ("InvalidParameterValueException", 400)
    assert text == "The derived qualifier from the function name does not match the specified qualifier."
    code, status, text = error_of(client.get_function, FunctionName=arn(name, region="eu-west-1"))
    assert (code, status) == ("ResourceNotFoundException", 404)
    assert text == "Functions from 'eu-west-1' are not reachable in this region ('us-east-1')"


@pytest.mark.covers("operation:GetFunction")
@pytest.mark.covers("operation:GetFunctionConfiguration")
def test_what_is_not_found_is_named_in_full(client, created, name):
    absent = name + "-absent"
    for call in (client.get_function, client.get_function_configuration, client.delete_function, client.publish_version, client.list_versions_by_function, client.invoke):
        code, status, text = error_of(call, FunctionName=absent)
        assert (code, status) == ("ResourceNotFoundException", 404), call
        assert text.startswith(f"Function not found: {arn(absent)}"), text
    assert error_of(client.get_function, FunctionName=name, Qualifier="7")[2] == f"Function not found: {arn(name, '7')}"
    assert error_of(client.get_function, FunctionName=name, Qualifier="live")[2] == f"Function not found: {arn(name, 'live')}"
    with pytest.raises(client.exceptions.ResourceNotFoundException) as caught:
        client.get_function(FunctionName=absent)
    assert caught.value.response["Type"] == "User"


@pytest.mark.covers("operation:GetFunction")
def test_regions_are_apart(server, created, name):
    elsewhere = server.client("lambda", "eu-central-1")
    assert error_of(elsewhere.get_function, FunctionName=name)[2] == f"Function not found: {arn(name, region='eu-central-1')}"
    assert name not in [row["FunctionName"] for row in elsewhere.list_functions()["Functions"]]


@pytest.mark.covers("operation:ListFunctions")
def test_lists_page_by_opaque_tokens(server):
    client = server.client("lambda", "eu-north-1")
    names = [f"page-{number:02}" for number in range(7)]
    try:
        for name in names:
            create(client, name)
        pages = list(client.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 3}))
        assert [len(page["Functions"]) for page in pages] == [3, 3, 1]
        rows = [row for page in pages for row in page["Functions"]]
        assert [row["FunctionName"] for row in rows] == names
        assert all("State" not in row and "LastUpdateStatus" not in row and row["FunctionArn"] == arn(row["FunctionName"], region="eu-north-1") for row in rows)
        token = pages[0]["NextMarker"]
        assert "page-02" not in token
        # A page stays right although the function its token stands on goes away.
        client.delete_function(FunctionName="page-02")
        assert [row["FunctionName"] for row in client.list_functions(Marker=token, MaxItems=2)["Functions"]] == ["page-03", "page-04"]
        assert error_of(client.list_functions, Marker="nonsense")[0] == "InvalidParameterValueException"
        everything = client.get_paginator("list_functions").paginate(FunctionVersion="ALL", PaginationConfig={"PageSize": 4})
        assert [row["FunctionArn"] for page in everything for row in page["Functions"]] == [arn(name, "$LATEST", "eu-north-1") for name in names if name != "page-02"]
    finally:
        for name in names:
            try:
                client.delete_function(FunctionName=name)
            except client.exceptions.ResourceNotFoundException:
                pass


@pytest.mark.covers("operation:UpdateFunctionCode")
def test_update_of_the_code(client, created, name):
    answer = client.update_function_code(FunctionName=name, ZipFile=OTHER_CODE)
    assert (answer["State"], answer["LastUpdateStatus"], answer["LastUpdateStatusReasonCode"]) == ("Active", "InProgress", "Creating")
    assert answer["CodeSha256"] == base64.b64encode(hashlib.sha256(OTHER_CODE).digest()).decode()
    assert answer["RevisionId"] != created["RevisionId"]
    updated(client, name)
    code, status, text = error_of(client.update_function_code, FunctionName=name, ZipFile=CODE, RevisionId=created["RevisionId"])
    assert (code, status) == ("PreconditionFailedException", 412)
    assert text == "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest Revision Id"
    dry = client.update_function_code(FunctionName=name, ZipFile=CODE, DryRun=True)
    assert dry["CodeSha256"] == created["CodeSha256"]
    assert client.get_function_configuration(FunctionName=name)["CodeSha256"] == answer["CodeSha256"]
    assert error_of(client.update_function_code, FunctionName=name)[2] == "Please provide a source for function code."
    published = client.update_function_code(FunctionName=name, ZipFile=CODE, Publish=True, RevisionId=answer["RevisionId"])
    assert (published["Version"], published["FunctionArn"]) == ("1", arn(name, "1"))
    updated(client, name)


@pytest.mark.covers("operation:UpdateFunctionConfiguration")
def test_update_of_the_configuration(client, created, name):
    answer = client.update_function_configuration(FunctionName=name, MemorySize=256, Environment={"Variables": {"AB": "1"}}, Description="new")
    assert (answer["MemorySize"], answer["Description"], answer["LastUpdateStatus"]) == (256, "new", "InProgress")
    assert answer["Environment"] == {"Variables": {"AB": "1"}}
    assert (answer["Timeout"], answer["Handler"], answer["CodeSha256"]) == (3, "app.handler", created["CodeSha256"])
    updated(client, name)
    cleared = client.update_function_configuration(FunctionName=name, Environment={"Variables": {}}, RevisionId=answer["RevisionId"])
    assert "Environment" not in cleared and cleared["Description"] == "new"
    updated(client, name)
    assert error_of(client.update_function_configuration, FunctionName=name, RevisionId=answer["RevisionId"])[0] == "PreconditionFailedException"
    assert error_of(client.update_function_configuration, FunctionName=name, Timeout=901)[0] == "InvalidParameterValueException"
    assert client.get_function_configuration(FunctionName=name)["RevisionId"] == cleared["RevisionId"]


@pytest.mark.covers("operation:UpdateFunctionConfiguration")
def test_update_of_the_logging_keeps_what_is_not_given(client, created, name):
    def update(**logging):
        answer = client.update_function_configuration(FunctionName=name, LoggingConfig=logging)["LoggingConfig"]
        updated(client, name)
        return answer

    group = f"/aws/lambda/{name}"
    assert error_of(client.update_function_configuration, FunctionName=name, LoggingConfig={"SystemLogLevel": "WARN"})[0] == "InvalidParameterValueException"
    assert update(LogFormat="JSON", SystemLogLevel="WARN") == {"LogFormat": "JSON", "ApplicationLogLevel": "INFO", "SystemLogLevel": "WARN", "LogGroup": group}
    assert update(ApplicationLogLevel="DEBUG") == {"LogFormat": "JSON", "ApplicationLogLevel": "DEBUG", "SystemLogLevel": "WARN", "LogGroup": group}
    assert update(LogGroup="/mine") == {"LogFormat": "JSON", "ApplicationLogLevel": "DEBUG", "SystemLogLevel": "WARN", "LogGroup": "/mine"}
    assert update(LogFormat="Text") == {"LogFormat": "Text", "LogGroup": "/mine"}


@pytest.mark.covers("operation:DeleteFunction")
def test_delete(client, created, name):
    client.publish_version(FunctionName=name)
    assert error_of(client.delete_function, FunctionName=name, Qualifier="$LATEST")[2] == "$LATEST version cannot be deleted without deleting the function."
    assert client.delete_function(FunctionName=name, Qualifier="1")["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert error_of(client.delete_function, FunctionName=name, Qualifier="1")[2] == f"Function not found: {arn(name, '1')}"
    assert client.delete_function(FunctionName=name)["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert error_of(client.delete_function, FunctionName=name)[1] == 404


@pytest.mark.covers("operation:PublishVersion")
@pytest.mark.covers("operation:ListVersionsByFunction")
def test_versions(client, created, name):
    first = client.publish_version(FunctionName=name, Description="one")
    assert (first["Version"], first["FunctionArn"], first["Description"]) == ("1", arn(name, "1"), "one")
    assert (first["State"], first["LastUpdateStatus"]) == ("Active", "Successful")
    again = client.publish_version(FunctionName=name, Description="not taken")
    assert (again["Version"], again["Description"], again["RevisionId"]) == ("1", "one", first["RevisionId"])
    client.update_function_configuration(FunctionName=name, Timeout=5)
    updated(client, name)
    code, status, text = error_of(client.publish_version, FunctionName=name, CodeSha256="AAAA")
    assert (code, status) == ("InvalidParameterValueException", 400)
    assert text == f"CodeSHA256 (AAAA) is different from current CodeSHA256 in $LATEST ({created['CodeSha256']}). Please try again with the CodeSHA256 in $LATEST."
    assert error_of(client.publish_version, FunctionName=name, RevisionId=created["RevisionId"])[0] == "PreconditionFailedException"
    second = client.publish_version(FunctionName=name, CodeSha256=created["CodeSha256"])
    assert (second["Version"], second["Timeout"]) == ("2", 5)
    old = client.get_function_configuration(FunctionName=name, Qualifier="1")
    assert (old["Timeout"], old["Description"], old["FunctionArn"]) == (3, "one", arn(name, "1"))
    pages = client.get_paginator("list_versions_by_function").paginate(FunctionName=name, PaginationConfig={"PageSize": 2})
    rows = [row for page in pages for row in page["Versions"]]
    assert [(row["Version"], row["FunctionArn"]) for row in rows] == [(v, arn(name, v)) for v in ("$LATEST", "1", "2")]
    assert error_of(client.update_function_configuration, FunctionName=f"{name}:1", Timeout=9)[0] == "InvalidParameterValueException"
    client.delete_function(FunctionName=name, Qualifier="2")
    client.update_function_configuration(FunctionName=name, Timeout=6)
    updated(client, name)
    assert client.publish_version(FunctionName=name)["Version"] == "3"


@pytest.mark.covers("operation:CreateFunction")
def test_create_and_publish_at_once(client, name):
    answer = create(client, name, Publish=True)
    try:
        assert (answer["Version"], answer["State"]) == ("1", "Pending")
        client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
        client.get_waiter("published_version_active").wait(FunctionName=name, Qualifier="1", WaiterConfig={"Delay": 1})
        assert client.publish_version(FunctionName=name)["Version"] == "1"
    finally:
        client.delete_function(FunctionName=name)


@pytest.mark.covers("operation:GetFunctionConfiguration")
def test_what_a_function_has_none_of(client, created, name):
    assert "ReservedConcurrentExecutions" not in client.get_function_concurrency(FunctionName=name)
    assert "CodeSigningConfigArn" not in {k for k, v in client.get_function_code_signing_config(FunctionName=name).items() if v}
    assert error_of(client.get_policy, FunctionName=name)[1:] == (404, "The resource you requested does not exist.")
    assert error_of(client.get_function_event_invoke_config, FunctionName=name)[1:] == (404, f"The function {arn(name)}:$LATEST doesn't have an EventInvokeConfig")
    assert client.get_account_settings()["AccountUsage"]["FunctionCount"] >= 1


@pytest.mark.covers("operation:GetFunction")
def test_tags(client, created, name):
    client.tag_resource(Resource=arn(name), Tags={"a": "1", "b": "2"})
    client.untag_resource(Resource=arn(name), TagKeys=["a", "absent"])
    assert client.list_tags(Resource=arn(name))["Tags"] == {"b": "2"}
    assert client.get_function(FunctionName=name)["Tags"] == {"b": "2"}
    assert client.get_function_configuration(FunctionName=name)["RevisionId"] == created["RevisionId"]


@pytest.mark.covers("operation:Invoke RequestResponse")
def test_bad_requests_to_invoke(client, created, name):
    code, status, text = error_of(client.invoke, FunctionName=name, Payload=b"{not json")
    assert (code, status) == ("InvalidRequestContentException", 400)
    assert text.startswith("Could not parse request body into json: Could not parse payload into json: ")
    code, status, text = error_of(client.invoke, FunctionName=name, Payload=b'"' + b"x" * 6_291_556 + b'"')
    assert (code, status) == ("RequestEntityTooLargeException", 413)
    assert text == "6291558 byte payload is too large for the RequestResponse invocation type (limit 6291556 bytes)"
    code, status, text = error_of(client.invoke, FunctionName=name, InvocationType="Event", Payload=b'"' + b"x" * 1_048_576 + b'"')
    assert (code, status) == ("RequestEntityTooLargeException", 413)
    assert text == "1048578 byte payload is too large for the Event invocation type (limit 1048576 bytes)"
    assert error_of(client.invoke, FunctionName=name, ClientContext="nonsense")[2] == "Client context must be a valid Base64-encoded JSON object."
    assert error_of(client.invoke, FunctionName=name, InvocationType="Sometimes")[0] == "ValidationException"
    assert error_of(client.invoke, FunctionName=name, TenantId="blue")[0] == "InvalidParameterValueException"


@pytest.mark.covers("operation:Invoke RequestResponse")
@pytest.mark.covers("operation:Invoke DryRun")
@pytest.mark.covers("operation:Invoke Event")
def test_the_kinds_of_invoke(client, created, name):
    answer = client.invoke(FunctionName=name, Payload=json.dumps({"a": "ü"}))
    assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, "$LATEST")
    assert "FunctionError" not in answer and "LogResult" not in answer
    assert json.loads(answer["Payload"].read()) == {"a": "ü"}
    assert answer["ResponseMetadata"]["HTTPHeaders"]["content-type"] == "application/json"
    dry = client.invoke(FunctionName=name, InvocationType="DryRun")
    assert (dry["StatusCode"], dry["Payload"].read()) == (204, b"")
    event = client.invoke(FunctionName=name, InvocationType="Event", Payload=b"{}")
    assert (event["StatusCode"], event["Payload"].read()) == (202, b"")
    assert "ExecutedVersion" not in event
    client.publish_version(FunctionName=name)
    assert client.invoke(FunctionName=arn(name, "1"), Payload=b"1")["ExecutedVersion"] == "1"
