"""Version 2 of the aws command line: what people type. Debian 12's package `awscli` is such a client."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import time

import pytest

from support.errors import arn
from support.functions import PYTHON, ROLE, zip_of
from support.host import eventually

CODE = zip_of({"app.py": "def handler(event, context):\n    print('said', event['say'])\n    return event\n"})


@functools.cache
def aws2() -> str | None:
    """The first `aws` of version 2 on the path, or the one LAMPLIGHT_AWS_CLI names."""
    for candidate in (os.environ.get("LAMPLIGHT_AWS_CLI"), "/usr/bin/aws", "/usr/local/bin/aws", shutil.which("aws")):
        if candidate and os.path.exists(candidate):
            version = subprocess.run([candidate, "--version"], capture_output=True, text=True).stdout
            if version.startswith("aws-cli/2."):
                return candidate
    return None


@pytest.fixture
def aws(server, tmp_path):
    program = aws2()
    if program is None:
        pytest.skip("no version 2 of the aws client on this machine (get it with: apt-get install awscli)")
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_PAGER": "", "AWS_MAX_ATTEMPTS": "1",
    }
    command = [program, "--endpoint-url", server.client().meta.endpoint_url]

    def run(*arguments, check=True):
        return subprocess.run([*command, *arguments], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=check)

    run.start = lambda *arguments: subprocess.Popen([*command, *arguments], env=environment | {"PYTHONUNBUFFERED": "1"}, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    return run


@pytest.mark.covers("operation:FilterLogEvents", client="aws-cli 2")
@pytest.mark.covers("operation:Invoke RequestResponse", client="aws-cli 2")
def test_create_invoke_and_tail(aws, tmp_path):
    (tmp_path / "app.zip").write_bytes(CODE)
    name = f"cli-{time.monotonic_ns() % 10**9}"
    created = json.loads(aws("lambda", "create-function", "--function-name", name, "--runtime", PYTHON, "--role", ROLE, "--handler", "app.handler", "--zip-file", "fileb://app.zip").stdout)
    assert created["State"] == "Pending"
    try:
        aws("lambda", "wait", "function-active-v2", "--function-name", name)

        def invoke(text):
            payload = json.dumps({"say": text})
            aws("lambda", "invoke", "--function-name", name, "--cli-binary-format", "raw-in-base64-out", "--payload", payload, "out.json")
            assert json.loads((tmp_path / "out.json").read_text()) == {"say": text}

        invoke("first")
        deadline = time.monotonic() + 10
        while "said first" not in (shown := aws("logs", "tail", f"/aws/lambda/{name}", "--format", "short", check=False).stdout):
            assert time.monotonic() < deadline, shown
        assert "said first" in aws("logs", "tail", f"/aws/lambda/{name}", "--filter-pattern", "said").stdout
        follower = aws.start("logs", "tail", f"/aws/lambda/{name}", "--follow", "--format", "short", "--filter-pattern", "said")
        try:
            assert "said first" in follower.stdout.readline()
            invoke("second")
            assert "said second" in follower.stdout.readline()
        finally:
            follower.kill()
            follower.communicate()
    finally:
        aws("lambda", "delete-function", "--function-name", name)


@pytest.mark.covers("operation:AddPermission", client="aws-cli 2")
@pytest.mark.covers("operation:PutFunctionEventInvokeConfig", client="aws-cli 2")
@pytest.mark.covers("operation:CreateFunctionUrlConfig", client="aws-cli 2")
@pytest.mark.covers("operation:TagResource", client="aws-cli 2")
def test_what_is_configured_beside_a_function(aws, deploy):
    name = deploy({"app.py": "def handler(event, context): return event"}).name

    def call(operation, *arguments):
        output = aws("lambda", operation, "--function-name", name, *arguments).stdout
        return json.loads(output) if output else None

    call("add-permission", "--statement-id", "s3", "--action", "lambda:InvokeFunction", "--principal", "s3.amazonaws.com", "--source-arn", "arn:aws:s3:::bucket")
    assert json.loads(call("get-policy")["Policy"])["Statement"][0]["Principal"] == {"Service": "s3.amazonaws.com"}
    call("remove-permission", "--statement-id", "s3")
    assert call("put-function-event-invoke-config", "--maximum-retry-attempts", "1")["MaximumRetryAttempts"] == 1
    url = call("create-function-url-config", "--auth-type", "NONE", "--cors", json.dumps({"AllowOrigins": ["*"]}))
    assert url["Cors"] == {"AllowOrigins": ["*"]} and call("get-function-url-config")["FunctionUrl"] == url["FunctionUrl"]
    resource = f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
    aws("lambda", "tag-resource", "--resource", resource, "--tags", "team=blue")
    assert json.loads(aws("lambda", "list-tags", "--resource", resource).stdout) == {"Tags": {"team": "blue"}}


@pytest.mark.covers("operation:CreateAlias", client="aws-cli 2")
@pytest.mark.covers("operation:GetAlias", client="aws-cli 2")
@pytest.mark.covers("operation:UpdateAlias", client="aws-cli 2")
@pytest.mark.covers("operation:PutFunctionConcurrency", client="aws-cli 2")
@pytest.mark.covers("operation:GetFunctionConcurrency", client="aws-cli 2")
def test_aliases_and_reserved_concurrency(aws, deploy):
    function = deploy({"app.py": "def handler(event, context): return event"})
    name = function.name
    aws("lambda", "publish-version", "--function-name", name)
    function.update(Timeout=11)
    aws("lambda", "publish-version", "--function-name", name)
    created = json.loads(aws("lambda", "create-alias", "--function-name", name, "--name", "live", "--function-version", "1").stdout)
    assert created == json.loads(aws("lambda", "get-alias", "--function-name", name, "--name", "live").stdout)
    refused = aws("lambda", "create-alias", "--function-name", name, "--name", "live", "--function-version", "1", check=False)
    assert refused.returncode == 254
    assert "An error occurred (ResourceConflictException) when calling the CreateAlias operation" in refused.stderr
    assert refused.stderr.rstrip().endswith(f": Alias already exists: {created['AliasArn']}")
    update = ("lambda", "update-alias", "--function-name", name, "--name", "live", "--routing-config")
    assert json.loads(aws(*update, "AdditionalVersionWeights={2=0.1}").stdout)["RoutingConfig"] == {"AdditionalVersionWeights": {"2": 0.1}}
    assert "RoutingConfig" not in json.loads(aws(*update, "{}", "--function-version", "2").stdout)
    put = json.loads(aws("lambda", "put-function-concurrency", "--function-name", name, "--reserved-concurrent-executions", "4").stdout)
    assert put == json.loads(aws("lambda", "get-function-concurrency", "--function-name", name).stdout) == {"ReservedConcurrentExecutions": 4}


@pytest.mark.covers("operation:PutParameter", client="aws-cli 2")
@pytest.mark.covers("operation:GetParameter", client="aws-cli 2")
@pytest.mark.covers("operation:GetParametersByPath", client="aws-cli 2")
def test_parameters(aws):
    path = f"/cli-{time.monotonic_ns() % 10**9}"
    assert json.loads(aws("ssm", "put-parameter", "--name", f"{path}/key", "--value", "from the command line", "--type", "SecureString").stdout)["Version"] == 1
    assert aws("ssm", "get-parameter", "--name", f"{path}/key", "--with-decryption", "--query", "Parameter.Value", "--output", "text").stdout == "from the command line\n"
    assert len(json.loads(aws("ssm", "get-parameters-by-path", "--path", path).stdout)["Parameters"]) == 1
    refused = aws("ssm", "get-parameter", "--name", f"{path}/absent", check=False)
    assert refused.returncode == 254 and "An error occurred (ParameterNotFound) when calling the GetParameter operation" in refused.stderr


@pytest.mark.covers("operation:CreateSecret", client="aws-cli 2")
@pytest.mark.covers("operation:GetSecretValue", client="aws-cli 2")
@pytest.mark.covers("operation:DeleteSecret", client="aws-cli 2")
def test_secrets(aws):
    name = f"cli/{time.monotonic_ns() % 10**9}"
    made = json.loads(aws("secretsmanager", "create-secret", "--name", name, "--secret-string", '{"user": "ada"}').stdout)
    assert json.loads(aws("secretsmanager", "get-secret-value", "--secret-id", made["ARN"]).stdout)["SecretString"] == '{"user": "ada"}'
    assert name in [row["Name"] for row in json.loads(aws("secretsmanager", "list-secrets").stdout)["SecretList"]]
    aws("secretsmanager", "delete-secret", "--secret-id", name, "--force-delete-without-recovery")
    refused = aws("secretsmanager", "get-secret-value", "--secret-id", name, check=False)
    assert refused.returncode == 254 and "Secrets Manager can't find the specified secret." in refused.stderr


@pytest.mark.covers("operation:PutLogEvents", client="aws-cli 2")
@pytest.mark.covers("operation:CreateLogGroup", client="aws-cli 2")
@pytest.mark.covers("operation:PutRetentionPolicy", client="aws-cli 2")
@pytest.mark.covers("operation:GetMetricStatistics", client="aws-cli 2")
@pytest.mark.covers("operation:PutMetricData", client="aws-cli 2")
def test_logs_and_metrics(aws):
    group = f"/cli/{time.monotonic_ns()}"
    aws("logs", "create-log-group", "--log-group-name", group)
    aws("logs", "put-retention-policy", "--log-group-name", group, "--retention-in-days", "7")
    aws("logs", "create-log-stream", "--log-group-name", group, "--log-stream-name", "s")
    follower = aws.start("logs", "tail", group, "--follow", "--format", "short", "--since", "1h", "--filter-pattern", '{ $.level = "ERROR" }')
    try:
        for text in ('{"level": "INFO", "n": 1}', '{"level": "ERROR", "n": 2}'):
            aws("logs", "put-log-events", "--log-group-name", group, "--log-stream-name", "s", "--log-events", json.dumps([{"timestamp": int(time.time() * 1000), "message": text}]))
        shown = follower.stdout.readline()
        while '"n": 2' not in shown and '"n":2' not in shown:
            assert '"n": 1' not in shown and shown, shown
            shown = follower.stdout.readline()
    finally:
        follower.kill()
        follower.communicate()
    aws("logs", "delete-log-group", "--log-group-name", group)
    aws("cloudwatch", "put-metric-data", "--namespace", group, "--metric-name", "m", "--value", "2.5", "--dimensions", "Host=a")
    span = ["--start-time", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 3600)), "--end-time", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))]
    found = json.loads(aws("cloudwatch", "get-metric-statistics", "--namespace", group, "--metric-name", "m", "--dimensions", "Name=Host,Value=a", "--period", "86400", "--statistics", "Sum", *span).stdout)
    assert found["Label"] == "m" and [point["Sum"] for point in found["Datapoints"]] == [2.5]
    assert [row["MetricName"] for row in json.loads(aws("cloudwatch", "list-metrics", "--namespace", group).stdout)["Metrics"]] == ["m"]


@pytest.mark.covers("operation:CreateEventSourceMapping", client="aws-cli 2")
@pytest.mark.covers("operation:GetEventSourceMapping", client="aws-cli 2")
@pytest.mark.covers("operation:UpdateEventSourceMapping", client="aws-cli 2")
@pytest.mark.covers("operation:ListEventSourceMappings", client="aws-cli 2")
@pytest.mark.covers("operation:DeleteEventSourceMapping", client="aws-cli 2")
def test_event_source_mappings(aws, deploy):
    name = deploy({"app.py": "def handler(event, context): return event"}).name

    def call(*arguments):
        return json.loads(aws("lambda", *arguments).stdout)

    def rested(uuid):
        found = call("get-event-source-mapping", "--uuid", uuid)
        return found["State"] in ("Enabled", "Disabled") and found

    url = json.loads(aws("sqs", "create-queue", "--queue-name", "mapped-by-cli").stdout)["QueueUrl"]
    source = "arn:aws:sqs:us-east-1:000000000000:mapped-by-cli"
    created = call("create-event-source-mapping", "--function-name", name, "--event-source-arn", source, "--batch-size", "5", "--function-response-types", "ReportBatchItemFailures")
    uuid = created["UUID"]
    assert (created["State"], created["BatchSize"], created["FunctionResponseTypes"]) == ("Creating", 5, ["ReportBatchItemFailures"])
    assert eventually(lambda: rested(uuid), "a transition's end")["State"] == "Enabled"
    aws("sqs", "send-message", "--queue-url", url, "--message-body", "from the command line")
    eventually(lambda: "START RequestId" in aws("logs", "tail", f"/aws/lambda/{name}", check=False).stdout, "the function was called")
    assert call("update-event-source-mapping", "--uuid", uuid, "--no-enabled")["State"] == "Disabling"
    assert eventually(lambda: rested(uuid), "a transition's end")["State"] == "Disabled"
    assert [row["UUID"] for row in call("list-event-source-mappings", "--function-name", name)["EventSourceMappings"]] == [uuid]
    assert call("delete-event-source-mapping", "--uuid", uuid)["State"] == "Deleting"
    aws("sqs", "delete-queue", "--queue-url", url)


@pytest.mark.covers("http-api:Quick create", client="aws-cli 2")
@pytest.mark.covers("http-api:Requests: quick create", client="aws-cli 2")
@pytest.mark.covers("http-api:ImportApi, ReimportApi", client="aws-cli 2")
def test_http_apis(server, aws, deploy, tmp_path):
    function = deploy({"app.py": "def handler(event, context): return event['rawPath']"})
    made = json.loads(aws("apigatewayv2", "create-api", "--name", "cli", "--protocol-type", "HTTP", "--target", arn(function.name)).stdout)
    api = made["ApiId"]
    aws("lambda", "add-permission", "--function-name", function.name, "--statement-id", "api", "--action", "lambda:InvokeFunction", "--principal", "apigateway.amazonaws.com",
        "--source-arn", f"arn:aws:execute-api:us-east-1:000000000000:{api}/*")
    name, port = made["ApiEndpoint"].removeprefix("http://").rsplit(":", 1)
    curl = ["curl", "--silent", "--max-time", "60", "--resolve", f"{name}:{port}:127.0.0.1"]
    assert subprocess.run([*curl, f"{made['ApiEndpoint']}/a/b"], capture_output=True, text=True, check=True).stdout == "/a/b"
    integration = {"type": "aws_proxy", "uri": arn(function.name), "httpMethod": "POST", "payloadFormatVersion": "2.0"}
    (tmp_path / "api.json").write_text(json.dumps({
        "openapi": "3.0.1", "info": {"title": "cli", "version": "1"}, "paths": {"/pets": {"get": {"x-amazon-apigateway-integration": integration}}},
    }))
    aws("apigatewayv2", "reimport-api", "--api-id", api, "--body", "file://api.json")
    assert [subprocess.run([*curl, f"{made['ApiEndpoint']}/{path}"], capture_output=True, text=True, check=True).stdout for path in ("pets", "cats")] == ["/pets", '{"message":"Not Found"}']
    assert json.loads(aws("apigatewayv2", "get-routes", "--api-id", api).stdout)["Items"][0]["RouteKey"] == "GET /pets"
    aws("apigatewayv2", "delete-api", "--api-id", api)
    gone = aws("apigatewayv2", "get-api", "--api-id", api, check=False)
    assert gone.returncode == 254 and "An error occurred (NotFoundException) when calling the GetApi operation" in gone.stderr
    assert gone.stderr.rstrip().endswith(f": Invalid API identifier specified 000000000000:{api}")
