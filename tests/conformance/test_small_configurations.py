"""Runtime management, recursion, SnapStart, tags, account settings, capacity providers: one answer or two each."""

from __future__ import annotations

import os
import subprocess

import pytest
from botocore.exceptions import ClientError

from support import functions
from support.errors import ABSENT, INVALID, NOT_FOUND, VALIDATION, arn, members, refused
from support.functions import PYTHON, ROLE, zip_of
from support.server import BINARY

SOURCE = {"app.py": "def handler(event, context): return event"}


@pytest.fixture
def name(deploy):
    return deploy(SOURCE).name


@pytest.mark.covers("operation:PutRuntimeManagementConfig")
@pytest.mark.covers("operation:GetRuntimeManagementConfig")
def test_runtime_management(client, name):
    assert members(client.get_runtime_management_config(FunctionName=name)) == {"UpdateRuntimeOn": "Auto", "FunctionArn": arn(name, "$LATEST")}
    put = client.put_runtime_management_config(FunctionName=name, UpdateRuntimeOn="FunctionUpdate")
    assert members(put) == {"UpdateRuntimeOn": "FunctionUpdate", "FunctionArn": arn(name, "$LATEST")}
    assert members(client.get_runtime_management_config(FunctionName=name)) == members(put)
    present = client.get_function_configuration(FunctionName=name)["RuntimeVersionConfig"]["RuntimeVersionArn"]
    manual = client.put_runtime_management_config(FunctionName=name, UpdateRuntimeOn="Manual", RuntimeVersionArn=present)
    assert manual["RuntimeVersionArn"] == present
    client.publish_version(FunctionName=name)
    assert members(client.get_runtime_management_config(FunctionName=name, Qualifier="1")) == {"UpdateRuntimeOn": "Auto", "FunctionArn": arn(name, "1")}

    def put_refused(**given):
        return refused(client.put_runtime_management_config, **({"FunctionName": name, "UpdateRuntimeOn": "Manual"} | given))

    # AWS's texts of these three are not published.
    assert put_refused()[:2] == INVALID
    assert put_refused(RuntimeVersionArn="arn:aws:lambda:us-east-1::runtime:" + "0" * 64)[:2] == INVALID
    assert put_refused(UpdateRuntimeOn="Auto", RuntimeVersionArn=present)[:2] == INVALID
    assert "Value 'Never' at 'updateRuntimeOn' failed to satisfy constraint: Member must satisfy enum value set: [Auto, Manual, FunctionUpdate]" in put_refused(UpdateRuntimeOn="Never")[2]
    assert put_refused(FunctionName="absent", UpdateRuntimeOn="Auto") == (*NOT_FOUND, f"Function not found: {arn('absent')}")
    assert refused(client.get_runtime_management_config, FunctionName=name, Qualifier="9") == (*NOT_FOUND, f"Function not found: {arn(name, '9')}")


@pytest.mark.covers("operation:PutFunctionRecursionConfig")
@pytest.mark.covers("operation:GetFunctionRecursionConfig")
def test_recursion(client, name):
    assert members(client.get_function_recursion_config(FunctionName=name)) == {"RecursiveLoop": "Terminate"}
    assert members(client.put_function_recursion_config(FunctionName=name, RecursiveLoop="Allow")) == {"RecursiveLoop": "Allow"}
    assert client.get_function_recursion_config(FunctionName=arn(name))["RecursiveLoop"] == "Allow"
    assert refused(client.put_function_recursion_config, FunctionName=name, RecursiveLoop="Maybe")[:2] == VALIDATION
    assert refused(client.get_function_recursion_config, FunctionName=f"{name}:1")[:2] == VALIDATION
    for call, more in ((client.get_function_recursion_config, {}), (client.put_function_recursion_config, {"RecursiveLoop": "Allow"})):
        assert refused(call, FunctionName="absent", **more) == (*NOT_FOUND, f"Function not found: {arn('absent')}")


def created(client, name, **more):
    """The answer of CreateFunction; the function is deleted again."""
    code = {"Runtime": PYTHON, "Role": ROLE, "Handler": "app.handler", "Code": {"ZipFile": zip_of(SOURCE)}}
    answer = client.create_function(**({"FunctionName": name} | code | more))
    client.delete_function(FunctionName=name)
    return answer


@pytest.mark.covers("field:SnapStart")
def test_snap_start_is_accepted_where_aws_has_it(client, name):
    answer = created(client, "snap", Runtime="python3.13", SnapStart={"ApplyOn": "PublishedVersions"})
    assert answer["SnapStart"] == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "Off"}
    snap = {"SnapStart": {"ApplyOn": "PublishedVersions"}}
    assert refused(created, client=client, name="snap", Runtime="python3.11", **snap) == (*INVALID, "python3.11 is not supported for SnapStart enabled functions.")
    assert refused(client.update_function_configuration, FunctionName=name, **snap) == (*INVALID, f"{PYTHON} is not supported for SnapStart enabled functions.")
    # AWS's text is not published.
    assert refused(created, client=client, name="snap", Runtime="python3.13", EphemeralStorage={"Size": 1024}, **snap)[:2] == INVALID
    text = refused(created, client=client, name="snap", SnapStart={"ApplyOn": "Always"})[2]
    assert "Value 'Always' at 'snapStart.applyOn' failed to satisfy constraint: Member must satisfy enum value set: [PublishedVersions, None]" in text


@pytest.mark.covers("field:VpcConfig")
def test_subnets_and_security_groups_come_together(client, name):
    alone = {"VpcConfig": {"SubnetIds": ["subnet-1"], "SecurityGroupIds": []}}
    expected = (*INVALID, "SubnetIds and SecurityIds must coexist or be both empty list.")
    assert refused(created, client=client, name="vpc", **alone) == expected
    assert refused(client.update_function_configuration, FunctionName=name, **alone) == expected
    assert "VpcConfig" not in client.update_function_configuration(FunctionName=name, VpcConfig={"SubnetIds": [], "SecurityGroupIds": []})


@pytest.mark.covers("field:what is not served")
@pytest.mark.parametrize(
    "given",
    [
        {"ImageConfig": {"Command": ["x"]}},
        {"AcceleratorConfig": {"AcceleratorMemorySize": 16}},
        {"CapacityProviderConfig": {"LambdaManagedInstancesCapacityProviderConfig": {"CapacityProviderArn": "arn:aws:lambda:us-east-1:000000000000:capacity-provider:c"}}},
        {"RuntimeConfig": {"RuntimeArn": "arn:aws:lambda:us-east-1:000000000000:runtime/mine-is-long-enough", "RuntimeAlias": "a"}},
        {"PublishTo": "LATEST_PUBLISHED"},
        {"PackageType": "Image", "Code": {"ImageUri": "000000000000.dkr.ecr.us-east-1.amazonaws.com/i:1"}},
    ],
    ids=lambda given: next(iter(given)),
)
def test_what_is_not_served_is_refused_by_name(client, given):
    code, status, text = refused(created, client=client, name="unserved", **given)
    assert (code, status) == INVALID and next(iter(given)) in text and "not supported by Lamplight" in text
    assert refused(client.get_function, FunctionName="unserved")[:2] == NOT_FOUND


@pytest.mark.covers("operation:TagResource")
@pytest.mark.covers("operation:UntagResource")
@pytest.mark.covers("operation:ListTags")
def test_tags_of_functions(client, name):
    resource = {"Resource": arn(name)}
    client.tag_resource(**resource, Tags={f"k{number}": "ü v" for number in range(50)})
    assert refused(client.tag_resource, **resource, Tags={"one-more": ""}) == (*INVALID, "Number of tags exceeds resource tag limit.")
    client.untag_resource(**resource, TagKeys=[f"k{number}" for number in range(49)])
    assert client.list_tags(**resource)["Tags"] == {"k49": "ü v"}
    # The text of AWS's tagging services; Lambda's own was not seen.
    assert refused(client.tag_resource, **resource, Tags={"aws:mine": "x"}) == (*INVALID, "aws: prefixed tag key names are not allowed for external use.")
    assert refused(client.tag_resource, **resource, Tags={"a*": "b"})[:2] == VALIDATION
    assert refused(client.tag_resource, **resource, Tags={"k" * 129: "b"})[:2] == VALIDATION
    assert refused(client.tag_resource, **resource, Tags={"k": "b" * 257})[:2] == VALIDATION
    assert refused(created, client=client, name="tagged", Tags={"aws:mine": "x"})[:2] == INVALID
    assert refused(client.list_tags, Resource=arn(name, "$LATEST")) == (
        *INVALID, "Tags on function aliases and versions are not supported. Please specify a function ARN."
    )
    assert refused(client.list_tags, Resource=name)[:2] == VALIDATION
    assert refused(client.list_tags, Resource=arn("absent")) == (*NOT_FOUND, f"Function not found: {arn('absent')}")
    # AWS's text for a mapping that is not there was not seen.
    mapping = "arn:aws:lambda:us-east-1:000000000000:event-source-mapping:00000000-0000-0000-0000-000000000000"
    for call, more in ((client.list_tags, {}), (client.tag_resource, {"Tags": {"a": "b"}}), (client.untag_resource, {"TagKeys": ["a"]})):
        assert refused(call, Resource=mapping, **more) == ABSENT


@pytest.mark.covers("operation:GetAccountSettings")
def test_account_settings_count_every_version(client, deploy):
    before = client.get_account_settings()
    assert set(members(before)) == {"AccountLimit", "AccountUsage"}
    assert set(before["AccountLimit"]) == {"TotalCodeSize", "CodeSizeUnzipped", "CodeSizeZipped", "ConcurrentExecutions", "UnreservedConcurrentExecutions"}
    function = deploy(SOURCE)
    client.publish_version(FunctionName=function.name)
    after = client.get_account_settings()["AccountUsage"]
    assert after["FunctionCount"] == before["AccountUsage"]["FunctionCount"] + 1
    assert after["TotalCodeSize"] == before["AccountUsage"]["TotalCodeSize"] + 2 * len(zip_of(SOURCE))


@pytest.mark.covers("operation:capacity providers")
def test_there_are_no_capacity_providers(client, name):
    assert members(client.list_capacity_providers()) == {"CapacityProviders": []}
    assert refused(client.list_capacity_providers, State="Sleeping")[:2] == VALIDATION
    for call in (client.get_capacity_provider, client.update_capacity_provider, client.delete_capacity_provider, client.list_function_versions_by_capacity_provider):
        # AWS's text is not published.
        assert refused(call, CapacityProviderName="mine")[:2] == NOT_FOUND
    assert refused(client.get_capacity_provider, CapacityProviderName="a b")[:2] == VALIDATION
    client.publish_version(FunctionName=name)
    for call in (client.get_function_scaling_config, client.put_function_scaling_config):
        assert refused(call, FunctionName=name, Qualifier="1")[:2] == INVALID
        assert refused(call, FunctionName=name, Qualifier="9")[:2] == NOT_FOUND
        assert refused(call, FunctionName=name, Qualifier="live")[:2] == VALIDATION
    with pytest.raises(ClientError, match="Lamplight does not support lambda:CreateCapacityProvider yet"):
        client.create_capacity_provider(
            CapacityProviderName="mine", VpcConfig={"SubnetIds": ["s"], "SecurityGroupIds": ["g"]},
            PermissionsConfig={"CapacityProviderOperatorRoleArn": ROLE},
        )


@pytest.mark.covers("field:Terraform reads")
def test_what_terraform_reads_after_a_create_answers_for_a_plain_function(client, name):
    assert client.get_function(FunctionName=name)["Configuration"]["State"] == "Active"
    assert not members(client.get_function_code_signing_config(FunctionName=name)).get("CodeSigningConfigArn")
    assert len(client.list_versions_by_function(FunctionName=name)["Versions"]) == 1
    assert refused(client.get_policy, FunctionName=name) == ABSENT
    assert "ReservedConcurrentExecutions" not in client.get_function_concurrency(FunctionName=name)
    assert refused(client.get_function_event_invoke_config, FunctionName=name)[:2] == NOT_FOUND
    assert client.get_runtime_management_config(FunctionName=name)["UpdateRuntimeOn"] == "Auto"
    assert client.get_function_recursion_config(FunctionName=name)["RecursiveLoop"] == "Terminate"
    assert refused(client.get_function_url_config, FunctionName=name) == ABSENT
    assert client.list_tags(Resource=arn(name))["Tags"] == {}


@pytest.mark.covers("operation:CreateFunctionUrlConfig")
@pytest.mark.covers("operation:PutFunctionEventInvokeConfig")
@pytest.mark.covers("operation:AddPermission")
def test_configurations_survive_kill_9_and_go_with_their_function(new_server):
    server = new_server().start()
    functions.create(server, SOURCE, name="kept")
    client = server.client()
    client.add_permission(FunctionName="kept", StatementId="s", Action="lambda:InvokeFunction", Principal="s3.amazonaws.com")
    client.put_function_event_invoke_config(FunctionName="kept", MaximumRetryAttempts=0)
    client.create_function_url_config(FunctionName="kept", AuthType="NONE")
    client.put_function_recursion_config(FunctionName="kept", RecursiveLoop="Allow")
    reads = ("get_policy", "get_function_event_invoke_config", "get_function_url_config", "get_function_recursion_config")

    def read():
        answers = [members(getattr(server.client(), call)(FunctionName="kept")) for call in reads]
        # The port is another one after the restart.
        return [{name: value.partition(".lambda-url.")[0] if name == "FunctionUrl" else value for name, value in answer.items()} for answer in answers]

    before = read()
    server.kill()
    server.start()
    assert read() == before
    server.client().delete_function(FunctionName="kept")
    functions.create(server, SOURCE, name="kept")
    for call in reads[:3]:
        assert refused(getattr(server.client(), call), FunctionName="kept")[:2] == NOT_FOUND
    assert server.client().get_function_recursion_config(FunctionName="kept")["RecursiveLoop"] == "Terminate"


@pytest.fixture
def alias(deploy, client):
    """Name of a function whose alias `live` points to its version 1."""
    function = deploy(SOURCE)
    client.publish_version(FunctionName=function.name)
    client.create_alias(FunctionName=function.name, Name="live", FunctionVersion="1")
    return function.name


@pytest.mark.covers("operation:AddPermission")
@pytest.mark.covers("operation:CreateFunctionUrlConfig")
@pytest.mark.covers("operation:PutFunctionEventInvokeConfig")
@pytest.mark.covers("operation:DeleteAlias")
def test_what_is_configured_for_an_alias_is_its_own_and_goes_with_it(client, alias):
    live = {"FunctionName": alias, "Qualifier": "live"}
    revision = client.get_alias(FunctionName=alias, Name="live")["RevisionId"]
    client.add_permission(**live, StatementId="s", Action="lambda:InvokeFunction", Principal="s3.amazonaws.com", RevisionId=revision)
    assert f'"Resource":"{arn(alias, "live")}"' in client.get_policy(**live)["Policy"]
    url = client.create_function_url_config(**live, AuthType="NONE")
    assert url["FunctionArn"] == arn(alias, "live")
    own = client.create_function_url_config(FunctionName=alias, AuthType="NONE")
    listed = client.list_function_url_configs(FunctionName=alias)["FunctionUrlConfigs"]
    assert {row["FunctionArn"]: row["FunctionUrl"] for row in listed} == {arn(alias, "live"): url["FunctionUrl"], arn(alias): own["FunctionUrl"]}
    assert client.put_function_event_invoke_config(**live, MaximumRetryAttempts=0)["FunctionArn"] == arn(alias, "live")
    assert refused(client.get_policy, FunctionName=alias) == ABSENT
    # AWS's text is not published: a runtime is the version's.
    assert refused(client.put_runtime_management_config, **live, UpdateRuntimeOn="Auto")[:2] == INVALID
    client.delete_alias(FunctionName=alias, Name="live")
    client.create_alias(FunctionName=alias, Name="live", FunctionVersion="1")
    for call in (client.get_policy, client.get_function_url_config, client.get_function_event_invoke_config):
        assert refused(call, **live)[:2] == NOT_FOUND
    assert client.get_function_url_config(FunctionName=alias)["FunctionUrl"] == own["FunctionUrl"]


HOOKS = {
    "app.py": """
    import os
    from snapshot_restore_py import register_before_snapshot, register_after_restore
    seen = []
    @register_before_snapshot
    def before(): seen.append("before")
    @register_after_restore
    def after():
        seen.append("after")
        if os.environ.get("FAIL"): raise ValueError("the hook was asked to fail")
    def handler(event, context): return [seen, os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]]
    """
}


@pytest.mark.covers("field:SnapStart")
def test_snap_start_of_published_versions(new_server):
    server = new_server().start()
    # Python 3.13 on the interpreter that every host has.
    command = [BINARY, "--data-dir", str(server.data_directory), "runtime", "alias", f"python3.13={PYTHON}"]
    subprocess.run(command, check=True, env={"PATH": os.environ["PATH"]})
    client = server.client()
    snap = {"Runtime": "python3.13", "SnapStart": {"ApplyOn": "PublishedVersions"}}
    function = functions.create(server, HOOKS, runtime="python3.13", SnapStart=snap["SnapStart"])
    published = client.publish_version(FunctionName=function.name)
    on = {"ApplyOn": "PublishedVersions", "OptimizationStatus": "On"}
    assert published["SnapStart"] == on
    assert client.get_function_configuration(FunctionName=function.name, Qualifier="1")["SnapStart"] == on
    assert client.get_function_configuration(FunctionName=function.name)["SnapStart"] == on | {"OptimizationStatus": "Off"}
    assert function.ok() == [[], "on-demand"]
    client.get_waiter("published_version_active").wait(FunctionName=function.name, Qualifier="1", WaiterConfig={"Delay": 1})
    for _ in range(2):
        assert function.ok(Qualifier="1") == [["before", "after"], "snap-start"]
    function.update(Environment={"Variables": {"FAIL": "1"}})
    version = client.publish_version(FunctionName=function.name)["Version"]
    assert refused(client.invoke, FunctionName=function.name, Qualifier=version) == (
        "SnapStartException", 400, "The afterRestore() runtime hook encountered an error. For more information, check the Amazon CloudWatch logs."
    )
    assert function.ok() == [[], "on-demand"]
