"""Bad input: a clear AWS-style error, and nothing changed."""

import io
import stat
import zipfile

import pytest
from botocore.exceptions import ClientError

from support.functions import PYTHON, ROLE, zip_of

GOOD = {"app.py": "def handler(event, context): return 'unchanged'"}


def refused(call, **arguments) -> tuple[int, str, str]:
    with pytest.raises(ClientError) as error:
        call(**arguments)
    answer = error.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"], answer["Error"]["Message"]


def check_nothing_changed(function, client, before) -> None:
    after = client.get_function_configuration(FunctionName=function.name)
    assert (after["CodeSha256"], after["RevisionId"]) == (before["CodeSha256"], before["RevisionId"])
    assert function.ok() == "unchanged"


def archive(entry: str, content: bytes = b"x", mode: int = 0o100644) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("app.py", "def handler(event, context): return 'changed'")
        information = zipfile.ZipInfo(entry)
        information.external_attr = mode << 16
        file.writestr(information, content)
    return buffer.getvalue()


def bomb() -> bytes:
    """Half a gigabyte of zeroes in half a megabyte."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file, file.open("zeroes", "w", force_zip64=True) as entry:
        for _ in range(512):
            entry.write(bytes(1 << 20))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "package, message",
    [
        pytest.param(lambda: b"not a zip at all", "Could not unzip uploaded file", marks=pytest.mark.covers("input:not a ZIP"), id="not a ZIP"),
        pytest.param(lambda: zip_of(GOOD)[:-30], "Could not unzip uploaded file", marks=pytest.mark.covers("input:not a ZIP"), id="cut off"),
        pytest.param(lambda: archive("../../escaped"), "", marks=pytest.mark.covers("input:paths that escape"), id="dot dot"),
        pytest.param(lambda: archive("/etc/escaped"), "", marks=pytest.mark.covers("input:paths that escape"), id="absolute"),
        pytest.param(lambda: archive("link", b"/etc/shadow", stat.S_IFLNK | 0o777), "", marks=pytest.mark.covers("input:paths that escape"), id="link out"),
        pytest.param(bomb, "Unzipped size must be smaller than 262144000 bytes", marks=pytest.mark.covers("input:zip bomb"), id="bomb"),
    ],
)
def test_a_bad_package_is_refused_and_the_good_one_stays(deploy, client, server, package, message):
    function = deploy(GOOD)
    before = client.get_function_configuration(FunctionName=function.name)
    code = package()
    for call, arguments in (
        (client.update_function_code, {"FunctionName": function.name, "ZipFile": code}),
        (client.create_function, {"FunctionName": f"{function.name}-new", "Runtime": PYTHON, "Handler": "app.handler", "Role": ROLE, "Code": {"ZipFile": code}}),
    ):
        status, error, text = refused(call, **arguments)
        assert (status, error) == (400, "InvalidParameterValueException"), text
        assert message in text
    assert refused(client.get_function, FunctionName=f"{function.name}-new")[0] == 404
    check_nothing_changed(function, client, before)
    assert not list(server.data_directory.rglob("escaped"))


@pytest.mark.covers("input:out of range")
@pytest.mark.parametrize(
    "change, code",
    [
        ({"MemorySize": 127}, "ValidationException"),
        ({"MemorySize": 10_241}, "ValidationException"),
        ({"Timeout": 0}, "ValidationException"),
        ({"Timeout": 901}, "ValidationException"),
        ({"EphemeralStorage": {"Size": 511}}, "ValidationException"),
        ({"EphemeralStorage": {"Size": 10_241}}, "ValidationException"),
        ({"Role": "not an arn"}, "ValidationException"),
        ({"Runtime": "cobol85"}, "InvalidParameterValueException"),
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(deploy, server, change, code):
    import boto3
    from botocore.config import Config

    # Without the client's own checks, which would hide the server's.
    unchecked = boto3.client("lambda", endpoint_url=server.endpoint, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x", config=Config(parameter_validation=False, retries={"total_max_attempts": 1}))
    function = deploy(GOOD)
    before = unchecked.get_function_configuration(FunctionName=function.name)
    status, error, text = refused(unchecked.update_function_configuration, FunctionName=function.name, **change)
    assert status == 400 and error in (code, "InvalidParameterValueException"), (error, text)
    check_nothing_changed(function, unchecked, before)


@pytest.mark.covers("input:duplicate and stale")
def test_duplicates_and_stale_revisions_are_refused(deploy, client):
    function = deploy(GOOD)
    before = client.get_function_configuration(FunctionName=function.name)
    status, error, text = refused(client.create_function, FunctionName=function.name, Runtime=PYTHON, Handler="app.handler", Role=ROLE, Code={"ZipFile": zip_of(GOOD)})
    assert (status, error) == (409, "ResourceConflictException") and function.name in text
    stale = "00000000-0000-0000-0000-000000000000"
    for call, arguments in (
        (client.update_function_code, {"ZipFile": zip_of({"app.py": "x = 1"})}),
        (client.update_function_configuration, {"Description": "new"}),
        (client.publish_version, {}),
    ):
        status, error, _ = refused(call, FunctionName=function.name, RevisionId=stale, **arguments)
        assert (status, error) == (412, "PreconditionFailedException"), call
    check_nothing_changed(function, client, before)
