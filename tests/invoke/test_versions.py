"""Published versions, qualifiers, and updates as a caller sees them."""

import pytest

SAYS = "def handler(event, context): return ['{}', context.function_version, context.invoked_function_arn.split(':')[7:]]"


@pytest.mark.covers("operation:PublishVersion")
@pytest.mark.covers("operation:Invoke qualifiers")
@pytest.mark.covers("operation:ListVersionsByFunction")
def test_a_published_version_does_not_change(deploy, client):
    function = deploy({"app.py": SAYS.format("one")})
    first = client.publish_version(FunctionName=function.name, Description="the first")
    assert first["Version"] == "1" and first["FunctionArn"].endswith(f"{function.name}:1")
    assert client.publish_version(FunctionName=function.name)["Version"] == "1", "nothing has changed"
    function.update({"app.py": SAYS.format("two")})
    assert client.publish_version(FunctionName=function.name)["Version"] == "2"
    client.get_waiter("function_active_v2").wait(FunctionName=function.name, Qualifier="2")
    function.update({"app.py": SAYS.format("three")})

    assert function.ok() == ["three", "$LATEST", []]
    assert function.ok(Qualifier="$LATEST") == ["three", "$LATEST", ["$LATEST"]]
    assert function.ok(Qualifier="1") == ["one", "1", ["1"]]
    answer = function.invoke(Qualifier="2")
    assert answer.json == ["two", "2", ["2"]] and answer.version == "2"
    versions = client.list_versions_by_function(FunctionName=function.name)["Versions"]
    assert [version["Version"] for version in versions] == ["$LATEST", "1", "2"]
    with pytest.raises(client.exceptions.ResourceNotFoundException) as missing:
        function.invoke(Qualifier="9")
    assert "Function not found: arn:aws:lambda:us-east-1:000000000000:function:" in str(missing.value)
    assert str(missing.value).endswith(f"{function.name}:9")


@pytest.mark.covers("operation:Invoke qualifiers")
def test_every_form_of_the_name(deploy, client):
    function = deploy({"app.py": SAYS.format("x")})
    client.publish_version(FunctionName=function.name)
    client.get_waiter("function_active_v2").wait(FunctionName=function.name, Qualifier="1")
    name = function.name
    for form, version in {
        name: "$LATEST",
        f"{name}:1": "1",
        f"000000000000:function:{name}": "$LATEST",
        f"000000000000:function:{name}:1": "1",
        f"arn:aws:lambda:us-east-1:000000000000:function:{name}": "$LATEST",
        f"arn:aws:lambda:us-east-1:000000000000:function:{name}:$LATEST": "$LATEST",
        f"arn:aws:lambda:us-east-1:000000000000:function:{name}:1": "1",
    }.items():
        answer = client.invoke(FunctionName=form)
        assert answer["ExecutedVersion"] == version, form
    with pytest.raises(client.exceptions.ClientError, match="derived qualifier from the function name does not match"):
        client.invoke(FunctionName=f"{name}:1", Qualifier="2")
    with pytest.raises(client.exceptions.ResourceNotFoundException, match="Functions from 'eu-west-1' are not reachable in this region"):
        client.invoke(FunctionName=f"arn:aws:lambda:eu-west-1:000000000000:function:{name}")


@pytest.mark.covers("operation:UpdateFunctionCode")
@pytest.mark.covers("operation:UpdateFunctionConfiguration")
def test_an_update_is_seen_by_the_next_call(deploy):
    function = deploy({"app.py": SAYS.format("before")}, variables={"SOME": "1"})
    for n in range(5):
        function.update({"app.py": SAYS.format(n)})
        assert function.ok()[0] == str(n)
    function.update({"app.py": "import os\ndef handler(e, c): return [os.environ['SOME'], c.memory_limit_in_mb]"})
    assert [str(value) for value in function.ok()] == ["1", "128"]
    function.update(Environment={"Variables": {"SOME": "2"}}, MemorySize=256)
    assert [str(value) for value in function.ok()] == ["2", "256"]


@pytest.mark.covers("operation:Invoke DryRun")
def test_a_dry_run_runs_nothing(deploy, client):
    function = deploy({"app.py": "def handler(e, c): raise SystemExit(1)"})
    answer = client.invoke(FunctionName=function.name, InvocationType="DryRun")
    assert answer["StatusCode"] == 204 and answer["Payload"].read() == b""
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.invoke(FunctionName="no-such-function", InvocationType="DryRun")


def test_an_invocation_in_flight_finishes_on_the_old_code(deploy):
    import threading

    from support.host import eventually

    function = deploy({"app.py": "import time\ndef handler(e, c):\n    print('begun', flush=True)\n    time.sleep(e.get('s', 0))\n    return 'old'"})
    function.ok({})
    answers = []
    thread = threading.Thread(target=lambda: answers.append(function.ok({"s": 3})))
    thread.start()
    logs = function.server.client("logs")
    eventually(
        lambda: sum("begun" in event["message"] for event in logs.filter_log_events(logGroupName=f"/aws/lambda/{function.name}")["events"]) >= 2,
        "the second call has begun",
    )
    function.update({"app.py": "def handler(e, c): return 'new'"})
    assert function.ok({}) == "new"
    thread.join()
    assert answers == ["old"]
