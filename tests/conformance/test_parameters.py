"""Systems Manager's parameter store with boto3. Texts not in the service's documentation are those it was
seen to write; where that was not known a test looks at the code only."""

from __future__ import annotations

import itertools
import time

import pytest

from support.errors import members, refused

_numbers = itertools.count(1)


@pytest.fixture
def ssm(server):
    return server.client("ssm")


@pytest.fixture
def root(ssm):
    """A path of the test's own; what lies beneath is deleted."""
    path = f"/t{next(_numbers)}"
    yield path
    for page in ssm.get_paginator("get_parameters_by_path").paginate(Path=path, Recursive=True):
        if names := [row["Name"] for row in page["Parameters"]]:
            ssm.delete_parameters(Names=names)


@pytest.mark.covers("operation:PutParameter")
@pytest.mark.covers("operation:GetParameter")
def test_a_parameter_comes_back(ssm, root):
    name = f"{root}/database/host"
    assert members(ssm.put_parameter(Name=name, Value="db.example", Type="String")) == {"Version": 1, "Tier": "Standard"}
    got = ssm.get_parameter(Name=name)["Parameter"]
    assert abs(got.pop("LastModifiedDate").timestamp() - time.time()) < 60
    arn = f"arn:aws:ssm:us-east-1:000000000000:parameter{name}"
    assert got == {"Name": name, "Type": "String", "Value": "db.example", "Version": 1, "ARN": arn, "DataType": "text"}
    assert ssm.get_parameter(Name=arn)["Parameter"]["Value"] == "db.example"
    assert refused(ssm.put_parameter, Name=name, Value="x", Type="String") == (
        "ParameterAlreadyExists",
        400,
        "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.",
    )
    assert ssm.put_parameter(Name=name, Value="second", Overwrite=True)["Version"] == 2
    first = ssm.get_parameter(Name=f"{name}:1")["Parameter"]
    assert (first["Value"], first["Selector"], first["Name"]) == ("db.example", ":1", name)
    assert ssm.get_parameter(Name=f"{arn}:2")["Parameter"]["Value"] == "second"
    # The service names no parameter here: clients print an empty message.
    assert refused(ssm.get_parameter, Name=f"{root}/absent")[:2] == ("ParameterNotFound", 400)
    assert refused(ssm.get_parameter, Name=f"{name}:9") == (
        "ParameterVersionNotFound",
        400,
        f"Systems Manager could not find version 9 of {name}. Verify the version and try again.",
    )


@pytest.mark.covers("operation:PutParameter")
def test_what_a_parameter_may_not_be(ssm, root):
    def put(name="x", value="v", **more):
        return refused(ssm.put_parameter, Name=f"{root}/{name}", Value=value, **({"Type": "String"} | more))

    assert put(Type="Number") == (
        "ValidationException",
        400,
        "1 validation error detected: Value 'Number' at 'type' failed to satisfy constraint: Member must satisfy enum value set: [String, StringList, SecureString]",
    )
    assert refused(ssm.put_parameter, Name=f"{root}/x", Value="v") == ("ValidationException", 400, "A parameter type is required when you create a parameter.")
    code, status, text = put(value="v" * 4097)
    assert (code, status) == ("ValidationException", 400) and text.startswith("Standard tier parameters support a maximum parameter value of 4096 characters.")
    assert put(name="a b")[2].startswith("Parameter name: can't be prefixed with \"ssm\" (case-insensitive).")
    assert refused(ssm.put_parameter, Name="/aws/x", Value="v", Type="String") == ("AccessDeniedException", 400, "No access to reserved parameter name: /aws/x.")
    assert refused(ssm.put_parameter, Name="a/b", Value="v", Type="String")[2] == "Parameter name must be a fully qualified name."
    assert put(AllowedPattern=r"^\d+$") == ("ParameterPatternMismatchException", 400, r"Parameter value, cannot be validated against allowedPattern: ^\d+$")
    assert put(AllowedPattern="(")[0] == "InvalidAllowedPatternException"
    assert put(DataType="integer")[2] == "The following data type is not supported: integer (Data type names are all lowercase.)"
    assert put(name="/".join("abcdefghijklmnop"))[0] == "HierarchyLevelLimitExceededException"
    assert put(Overwrite=True, Tags=[{"Key": "k", "Value": "v"}])[2].startswith("Invalid request: tags and overwrite can't be used together.")
    code, status, text = put(Tier="Advanced", Policies='[{"Type":"Expiration"}]')
    assert (code, status) == ("NotImplementedException", 400) and "Policies" in text
    assert refused(ssm.label_parameter_version, Name=f"{root}/x", Labels=["a"])[0] == "NotImplementedException"
    assert ssm.get_parameters_by_path(Path=root, Recursive=True)["Parameters"] == []


@pytest.mark.covers("operation:PutParameter")
def test_tiers(ssm, root):
    assert ssm.put_parameter(Name=f"{root}/i", Value="v" * 5000, Type="String", Tier="Intelligent-Tiering")["Tier"] == "Advanced"
    assert ssm.put_parameter(Name=f"{root}/i", Value="short", Overwrite=True)["Tier"] == "Advanced"
    assert refused(ssm.put_parameter, Name=f"{root}/i", Value="v", Overwrite=True, Tier="Standard")[2].startswith("This parameter uses the advanced-parameter tier.")


@pytest.mark.covers("operation:GetParameter")
@pytest.mark.covers("operation:parameters and secrets are encrypted at rest")
def test_secure_strings(server, ssm, root):
    name, value = f"{root}/password", "xyzzy-parameter-plugh"
    ssm.put_parameter(Name=name, Value=value, Type="SecureString", Description="of the database")
    hidden = ssm.get_parameter(Name=name)["Parameter"]
    assert hidden["Type"] == "SecureString" and hidden["Value"] and value not in hidden["Value"]
    assert ssm.get_parameter(Name=name)["Parameter"]["Value"] == hidden["Value"], "stays the same"
    assert ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"] == value
    assert ssm.get_parameters(Names=[name], WithDecryption=True)["Parameters"][0]["Value"] == value
    assert ssm.get_parameters_by_path(Path=root, WithDecryption=True)["Parameters"][0]["Value"] == value
    row = ssm.describe_parameters(ParameterFilters=[{"Key": "Name", "Values": [name]}])["Parameters"][0]
    assert row["KeyId"] == "alias/aws/ssm" and value not in str(row)
    for file in server.data_directory.rglob("*"):
        if file.is_file() and file.suffix in (".sqlite", ".sqlite-wal", ".log"):
            assert value.encode() not in file.read_bytes(), file
    assert value not in server.log()


@pytest.mark.covers("operation:GetParameters")
def test_several_at_once(ssm, root):
    for name in "ab":
        ssm.put_parameter(Name=f"{root}/{name}", Value=name, Type="String")
    got = ssm.get_parameters(Names=[f"{root}/b", f"{root}/absent", f"{root}/a:1", f"{root}/b:7"])
    assert [row["Value"] for row in got["Parameters"]] == ["b", "a"]
    assert got["InvalidParameters"] == [f"{root}/absent", f"{root}/b:7"]
    names = [f"{root}/{number}" for number in range(11)]
    assert refused(ssm.get_parameters, Names=names) == (
        "ValidationException",
        400,
        f"1 validation error detected: Value '[{', '.join(names)}]' at 'names' failed to satisfy constraint: Member must have length less than or equal to 10",
    )


@pytest.mark.covers("operation:GetParametersByPath")
def test_by_path(ssm, root):
    for name in ["a", "b/c", "b/d/e", "z"] + [f"many/{number:02}" for number in range(23)]:
        ssm.put_parameter(Name=f"{root}/{name}", Value=name, Type="StringList" if name == "z" else "String")

    def names(path, **more):
        pages = ssm.get_paginator("get_parameters_by_path").paginate(Path=path, **more)
        return [row["Name"].removeprefix(root + "/") for page in pages for row in page["Parameters"]]

    assert names(root) == ["a", "z"]
    assert names(f"{root}/b") == names(f"{root}/b/") == ["b/c"]
    assert names(f"{root}/b", Recursive=True) == ["b/c", "b/d/e"]
    assert names(root, ParameterFilters=[{"Key": "Type", "Values": ["StringList"]}]) == ["z"]
    assert names(f"{root}/many") == [f"many/{number:02}" for number in range(23)]
    assert names(f"{root}/many", PaginationConfig={"PageSize": 1}) == [f"many/{number:02}" for number in range(23)]
    assert len(ssm.get_parameters_by_path(Path=f"{root}/many")["Parameters"]) == 10
    token = ssm.get_parameters_by_path(Path=f"{root}/many")["NextToken"]
    assert refused(ssm.get_parameters_by_path, Path=root, NextToken=token) == ("InvalidNextToken", 400, "The specified token is not valid.")
    assert refused(ssm.get_parameters_by_path, Path="no-slash")[2].startswith("The parameter doesn't meet the parameter name requirements.")
    assert refused(ssm.get_parameters_by_path, Path=root, ParameterFilters=[{"Key": "Name", "Values": ["x"]}])[0] == "InvalidFilterKey"
    assert refused(ssm.get_parameters_by_path, Path=root, MaxResults=11)[0] == "ValidationException"


@pytest.mark.covers("operation:DescribeParameters")
def test_describe(ssm, root):
    ssm.put_parameter(Name=f"{root}/one", Value="1", Type="String", Description="the first", AllowedPattern="^1$", Tags=[{"Key": "stage", "Value": root}])
    ssm.put_parameter(Name=f"{root}/two", Value="2", Type="SecureString")

    def names(*filters, **more):
        pages = ssm.get_paginator("describe_parameters").paginate(ParameterFilters=list(filters), **more)
        return [row["Name"].removeprefix(root + "/") for page in pages for row in page["Parameters"]]

    beneath = {"Key": "Path", "Option": "Recursive", "Values": [root]}
    row = ssm.describe_parameters(ParameterFilters=[beneath])["Parameters"][0]
    row.pop("LastModifiedDate")
    assert row == {
        "Name": f"{root}/one",
        "ARN": f"arn:aws:ssm:us-east-1:000000000000:parameter{root}/one",
        "Type": "String",
        "LastModifiedUser": "arn:aws:iam::000000000000:root",
        "Description": "the first",
        "AllowedPattern": "^1$",
        "Version": 1,
        "Tier": "Standard",
        "Policies": [],
        "DataType": "text",
    }
    assert names(beneath) == names(beneath, PaginationConfig={"PageSize": 1}) == ["one", "two"]
    assert names(beneath, {"Key": "Type", "Values": ["SecureString"]}) == ["two"]
    assert names({"Key": "Name", "Option": "BeginsWith", "Values": [f"{root}/t"]}) == ["two"]
    assert names({"Key": "Name", "Option": "Contains", "Values": [f"{root}/o"]}) == ["one"]
    assert names({"Key": "tag:stage", "Values": [root]}) == ["one"]
    old = ssm.describe_parameters(Filters=[{"Key": "Name", "Values": [root + "/"]}])["Parameters"]
    assert [row["Name"] for row in old] == [f"{root}/one", f"{root}/two"]
    assert refused(ssm.describe_parameters, ParameterFilters=[{"Key": "Label", "Values": ["x"]}])[0] == "InvalidFilterKey"
    assert refused(ssm.describe_parameters, ParameterFilters=[{"Key": "Name", "Option": "Nearly", "Values": ["x"]}])[0] == "InvalidFilterOption"


@pytest.mark.covers("operation:GetParameterHistory")
def test_history(ssm, root):
    name = f"{root}/counter"
    ssm.put_parameter(Name=name, Value="1", Type="String")
    for number in range(2, 104):
        assert ssm.put_parameter(Name=name, Value=str(number), Overwrite=True)["Version"] == number
    versions = [row["Version"] for page in ssm.get_paginator("get_parameter_history").paginate(Name=name) for row in page["Parameters"]]
    assert versions == list(range(4, 104)), "the newest hundred"
    assert ssm.get_parameter(Name=f"{name}:4")["Parameter"]["Value"] == "4"
    assert refused(ssm.get_parameter, Name=f"{name}:3")[0] == "ParameterVersionNotFound"
    # A parameter made anew begins anew.
    ssm.delete_parameter(Name=name)
    assert ssm.put_parameter(Name=name, Value="new", Type="String")["Version"] == 1
    assert [row["Value"] for row in ssm.get_parameter_history(Name=name)["Parameters"]] == ["new"]
    assert refused(ssm.get_parameter_history, Name=f"{root}/absent")[0] == "ParameterNotFound"


@pytest.mark.covers("operation:DeleteParameter")
@pytest.mark.covers("operation:DeleteParameters")
def test_delete(ssm, root):
    for name in "abc":
        ssm.put_parameter(Name=f"{root}/{name}", Value=name, Type="String")
    assert members(ssm.delete_parameter(Name=f"{root}/a")) == {}
    assert refused(ssm.delete_parameter, Name=f"{root}/a")[:2] == ("ParameterNotFound", 400)
    got = ssm.delete_parameters(Names=[f"{root}/b", f"{root}/a", f"{root}/c"])
    assert (got["DeletedParameters"], got["InvalidParameters"]) == ([f"{root}/b", f"{root}/c"], [f"{root}/a"])


@pytest.mark.covers("operation:parameter tags")
def test_tags(ssm, root):
    name = f"{root}/tagged"
    ssm.put_parameter(Name=name, Value="v", Type="String", Tags=[{"Key": "a", "Value": "1"}])
    ssm.add_tags_to_resource(ResourceType="Parameter", ResourceId=name, Tags=[{"Key": "b", "Value": "2"}])
    ssm.remove_tags_from_resource(ResourceType="Parameter", ResourceId=name, TagKeys=["a"])
    assert ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=name)["TagList"] == [{"Key": "b", "Value": "2"}]
    assert ssm.get_parameter(Name=name)["Parameter"]["Version"] == 1
    assert refused(ssm.list_tags_for_resource, ResourceType="Parameter", ResourceId=f"{root}/absent")[0] == "InvalidResourceId"
    many = [{"Key": f"k{number}", "Value": "v"} for number in range(51)]
    assert refused(ssm.add_tags_to_resource, ResourceType="Parameter", ResourceId=name, Tags=many)[0] == "TooManyTagsError"


@pytest.mark.covers("operation:PutParameter")
def test_regions_are_apart(server, root):
    server.client("ssm").put_parameter(Name=f"{root}/here", Value="1", Type="String")
    elsewhere = server.client("ssm", "eu-central-1")
    assert refused(elsewhere.get_parameter, Name=f"{root}/here")[0] == "ParameterNotFound"


@pytest.mark.covers("operation:parameters and secrets survive kill -9")
def test_parameters_and_secrets_survive_kill(new_server):
    server = new_server().start()
    server.client("ssm").put_parameter(Name="/kept", Value="still here", Type="SecureString")
    server.client("secretsmanager").create_secret(Name="kept", SecretString="here, too")
    server.kill()
    server.start()
    assert server.client("ssm").get_parameter(Name="/kept", WithDecryption=True)["Parameter"]["Value"] == "still here"
    assert server.client("secretsmanager").get_secret_value(SecretId="kept")["SecretString"] == "here, too"
