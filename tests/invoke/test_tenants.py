"""Functions that keep tenants apart: whose event it is, what is refused, and that nobody sees another's instance."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ParamValidationError

from support import functions
from support.errors import INVALID, VALIDATION, refused
from support.functions import PYTHON, ROLE, node_runtime, zip_of
from support.host import eventually

PER_TENANT = {"TenancyConfig": {"TenantIsolationMode": "PER_TENANT"}}
MISSING = "The invoked function is enabled with tenancy configuration. Add a valid tenant ID in your request and try again."
# Whatever an instance keeps between two calls: a global, a file in /tmp, and that it is the same process.
KEEPER = {
    "app.py": """
    import os, time
    START = time.monotonic_ns()
    seen = []
    def handler(event, context):
        path = "/tmp/seen"
        kept = open(path).read().split("\\n") if os.path.exists(path) else []
        before = [list(seen), kept, sorted(os.listdir("/tmp"))]
        seen.append(context.tenant_id)
        open(path, "a").write(context.tenant_id + "\\n")
        open("/tmp/" + context.tenant_id, "w").close()
        if event.get("hang"):
            time.sleep(60)
        time.sleep(event.get("seconds", 0))
        return {"tenant": context.tenant_id, "before": before, "instance": context.log_stream_name}
    """
}


def others_in(answer) -> set[str]:
    """What of other tenants an instance knew."""
    seen, kept, files = answer["before"]
    return (set(seen) | set(kept) | set(files)) - {"", "seen", answer["tenant"], "lost+found"}


@pytest.mark.covers("operation:Invoke tenants")
def test_instances_are_never_shared_between_tenants(deploy):
    function = deploy(KEEPER, **PER_TENANT)
    tenants = ["blue", "green", "Acme Inc./eu:1=x+y-z@w_.".replace("/", ":")]
    # One after the other: each tenant comes back to an instance of its own.
    instances = {}
    for _ in range(3):
        for tenant in tenants:
            answer = function.ok(TenantId=tenant)
            assert (answer["tenant"], others_in(answer)) == (tenant, set())
            assert instances.setdefault(tenant, answer["instance"]) == answer["instance"]
    assert len(set(instances.values())) == len(tenants)
    assert function.ok(TenantId="blue")["before"][0] == ["blue"] * 3
    # At once, so that instances end, start and wait in every order.
    with ThreadPoolExecutor(8) as threads:
        calls = [threads.submit(function.ok, {"seconds": 0.02}, TenantId=tenants[number % 3]) for number in range(60)]
        for number, call in enumerate(calls):
            answer = call.result()
            assert (answer["tenant"], others_in(answer)) == (tenants[number % 3], set())


@pytest.mark.covers("operation:Invoke tenants")
def test_tmp_that_outlives_a_timeout_stays_with_its_tenant(deploy):
    function = deploy(KEEPER, Timeout=1, **PER_TENANT)
    assert function.invoke({"hang": True}, TenantId="blue").error_type == "Sandbox.Timedout"
    green = function.ok(TenantId="green")
    assert others_in(green) == set() and green["before"][1] == []
    blue = function.ok(TenantId="blue")
    assert others_in(blue) == set() and blue["before"][1] == ["blue", ""], "as without tenants, /tmp is carried to the next instance"


@pytest.mark.covers("operation:Invoke tenants")
def test_slow_imports_are_not_shared_between_tenants(new_server):
    """A version whose import is slow would get a zygote: its children would share what they draw at their start."""
    server = new_server().start()
    source = {"app.py": "import time; time.sleep(0.2)\ndef handler(event, context): return hash('some text')"}
    function = functions.create(server, source, **PER_TENANT)
    answers = [function.invoke(TenantId=f"tenant-{number}") for number in range(4)]
    assert not [answer.log for answer in answers if "Start: version zygote" in answer.log]


@pytest.mark.covers("operation:Invoke tenants")
def test_new_code_ends_the_instances_of_all_tenants(deploy):
    function = deploy(KEEPER, **PER_TENANT)
    for tenant in ("blue", "green"):
        function.ok(TenantId=tenant)
    function.update({"app.py": KEEPER["app.py"] + "    # new\n"})
    for tenant in ("blue", "green"):
        assert function.ok(TenantId=tenant)["before"][0] == []


@pytest.mark.covers("operation:Invoke tenants")
def test_which_calls_need_a_tenant(deploy, client):
    isolated, plain = deploy(KEEPER, **PER_TENANT), deploy({"app.py": "def handler(event, context): return context.tenant_id"})
    for more in ({}, {"InvocationType": "Event"}, {"InvocationType": "DryRun"}):
        assert refused(client.invoke, FunctionName=isolated.name, **more) == (*INVALID, MISSING)
        # AWS's text of this one is not published.
        assert refused(client.invoke, FunctionName=plain.name, TenantId="blue", **more)[:2] == INVALID
    assert refused(client.invoke_with_response_stream, FunctionName=isolated.name) == (*INVALID, MISSING)
    assert refused(client.invoke_async, FunctionName=isolated.name, InvokeArgs=b"{}") == (*INVALID, MISSING)
    assert client.invoke(FunctionName=isolated.name, InvocationType="DryRun", TenantId="blue")["StatusCode"] == 204
    stream = client.invoke_with_response_stream(FunctionName=isolated.name, TenantId="blue")["EventStream"]
    assert json.loads(b"".join(event["PayloadChunk"]["Payload"] for event in stream if "PayloadChunk" in event))["tenant"] == "blue"
    assert plain.ok() is None
    code, status, text = refused(client.invoke, FunctionName=isolated.name, TenantId="a,b")
    assert (code, status) == VALIDATION
    assert "Value 'a,b' at 'tenantId' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9\\._:\\/=+\\-@ ]+" in text
    code, status, text = refused(client.invoke, FunctionName=isolated.name, TenantId="x" * 257)
    assert (code, status) == VALIDATION and "Member must have length less than or equal to 256" in text
    with pytest.raises(ParamValidationError):
        client.invoke(FunctionName=isolated.name, TenantId="")


@pytest.mark.covers("operation:Invoke tenants")
@pytest.mark.covers("operation:Invoke Event")
def test_events_keep_their_tenant_while_they_wait(new_server):
    server = new_server(environment={"LAMPLIGHT_DRAIN_SECONDS": "0"}).start()
    source = {"app.py": "import time\ndef handler(event, context):\n    time.sleep(100 if event.get('hold') else 0)\n    print('ran for', context.tenant_id)"}
    function = functions.create(server, source, Timeout=120, **PER_TENANT)
    client = server.client()
    functions.hold_its_place(server, function.name, TenantId="red")
    for tenant in ("blue", "green"):
        client.invoke(FunctionName=function.name, InvocationType="Event", TenantId=tenant)
    server.stop()
    server.start()
    server.client().delete_function_concurrency(FunctionName=function.name)
    logs = server.client("logs")

    def has_run(tenant):
        try:
            events = logs.filter_log_events(logGroupName=f"/aws/lambda/{function.name}")["events"]
        except logs.exceptions.ResourceNotFoundException:
            return False
        return f"ran for {tenant}" in [event["message"].strip() for event in events]

    for tenant in ("blue", "green"):
        eventually(lambda tenant=tenant: has_run(tenant), f"the event of {tenant} runs", 60)


@pytest.mark.covers("operation:Invoke tenants")
def test_json_logs_name_the_tenant(deploy):
    source = {"app.py": "import logging\ndef handler(event, context):\n    logging.getLogger().warning('hello')\n    if event.get('fail'): raise ValueError('no')"}
    function = deploy(source, LoggingConfig={"LogFormat": "JSON", "SystemLogLevel": "DEBUG"}, **PER_TENANT)
    records = [json.loads(line) for line in function.invoke(TenantId="blue").log.splitlines()]
    platform = {record["type"]: record["record"].get("tenantId") for record in records if "type" in record}
    assert {platform[kind] for kind in ("platform.start", "platform.runtimeDone", "platform.report")} == {"blue"}
    assert [record["tenantId"] for record in records if record.get("message") == "hello"] == ["blue"]
    failed = [json.loads(line) for line in function.invoke({"fail": True}, TenantId="blue").log.splitlines()]
    assert [record["tenantId"] for record in failed if record.get("errorType") == "ValueError" and "type" not in record] == ["blue"]


@pytest.mark.covers("operation:Invoke tenants")
def test_node_and_custom_runtimes_are_told(deploy):
    custom = deploy(functions.custom_runtime("def handler(event, headers): return headers.get('lambda-runtime-aws-tenant-id')"), runtime="provided.al2023", **PER_TENANT)
    assert custom.ok(TenantId="blue one") == "blue one"
    if node_runtime():
        source = {"app.js": "exports.handler = async (event, context) => { console.log('hello'); return [context.tenantId]; };"}
        node = deploy(source, runtime=node_runtime(), LoggingConfig={"LogFormat": "JSON"}, **PER_TENANT)
        answer = node.invoke(TenantId="green")
        assert answer.json == ["green"]
        assert [record["tenantId"] for record in map(json.loads, answer.log.splitlines()) if record.get("message") == "hello"] == ["green"]


@pytest.mark.covers("field:TenancyConfig")
def test_the_configuration(client, deploy):
    function = deploy(KEEPER, **PER_TENANT)
    client.publish_version(FunctionName=function.name)
    for answer in (
        client.get_function(FunctionName=function.name)["Configuration"],
        client.get_function_configuration(FunctionName=function.name, Qualifier="1"),
        client.update_function_configuration(FunctionName=function.name, Description="changed"),
        next(row for row in client.list_functions()["Functions"] if row["FunctionName"] == function.name),
    ):
        assert answer["TenancyConfig"] == {"TenantIsolationMode": "PER_TENANT"}
    function.wait("function_updated_v2")
    assert "TenancyConfig" not in client.get_function_configuration(FunctionName=deploy(KEEPER).name)
    assert function.ok(TenantId="blue", Qualifier="1")["tenant"] == "blue"
    assert refused(client.invoke, FunctionName=function.name, Qualifier="1") == (*INVALID, MISSING)


@pytest.mark.covers("field:TenancyConfig")
def test_what_a_function_with_tenants_cannot_have(client, deploy):
    function = deploy(KEEPER, **PER_TENANT)
    client.publish_version(FunctionName=function.name)
    # AWS's texts of these are not published.
    provisioned = {"FunctionName": function.name, "Qualifier": "1", "ProvisionedConcurrentExecutions": 1}
    assert refused(client.put_provisioned_concurrency_config, **provisioned)[:2] == INVALID
    assert refused(client.create_function_url_config, FunctionName=function.name, AuthType="NONE")[:2] == INVALID
    new = {"FunctionName": "tenants", "Runtime": PYTHON, "Role": ROLE, "Handler": "app.handler", "Code": {"ZipFile": zip_of(KEEPER)}}
    snap = {"Runtime": "python3.13", "SnapStart": {"ApplyOn": "PublishedVersions"}}
    assert refused(client.create_function, **(new | PER_TENANT | snap))[:2] == INVALID
    # Ours: an execution does not know whose it is.
    durable = {"Runtime": "python3.13", "DurableConfig": {"ExecutionTimeout": 60}}
    assert refused(client.create_function, **(new | PER_TENANT | durable))[:2] == INVALID
    code, status, text = refused(client.create_function, **new, TenancyConfig={"TenantIsolationMode": "SHARED"})
    assert (code, status) == VALIDATION
    assert "Value 'SHARED' at 'tenancyConfig.tenantIsolationMode' failed to satisfy constraint: Member must satisfy enum value set: [PER_TENANT]" in text
