"""Command lines from pip that people deploy with, unmodified: the AWS one of version 1, Chalice, cargo-lambda."""

import json
import os
import re
import subprocess
import textwrap
from pathlib import Path

import pytest

from support.functions import PYTHON, ROLE, zip_of
from support.urls import Url

CACHE = Path(__file__).parents[2] / ".cache"
PROGRAMS = CACHE / "command-lines/bin"


def need(path: Path, what: str) -> Path:
    if not path.exists():
        pytest.skip(f"{what} is not installed in .cache/ (cargo xtask tools installs it)")
    return path


@pytest.fixture
def run(server, tmp_path):
    """`run(program, arguments...)` gives standard output; another exit status than `expected` fails the test."""

    def run(program, *arguments, expected=0, input="", **options):
        command = [str(need(PROGRAMS / program, program)), *map(str, arguments)]
        # Rust's own tools look below the home directory, which is the test's here.
        rust = {name: os.environ.get(name, str(Path.home() / f".{name.split('_')[0].lower()}")) for name in ("CARGO_HOME", "RUSTUP_HOME")}
        environment = {**server.environment_for_clients(), **rust, "HOME": str(tmp_path), "AWS_PAGER": ""}
        options = {"cwd": tmp_path, **options}
        done = subprocess.run(command, capture_output=True, text=True, input=input, timeout=100, env=environment, **options)
        assert done.returncode == expected, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
        return done.stdout if expected == 0 else done.stderr

    return run


@pytest.mark.covers("client:aws-cli 1", client="aws-cli 1")
def test_the_life_of_a_function_with_the_aws_command_line_of_version_1(run, tmp_path):
    def aws(*arguments, **options):
        text = run("aws", *arguments, **options)
        return json.loads(text) if text.startswith(("{", "[")) else text

    package, output = tmp_path / "function.zip", tmp_path / "answer.json"
    package.write_bytes(zip_of({"app.py": "def handler(event, context): return {'hello': event['name'], 'by': context.function_version}"}))
    created = aws("lambda", "create-function", "--function-name", "by-aws-1", "--runtime", PYTHON, "--handler", "app.handler", "--role", ROLE, "--zip-file", f"fileb://{package}", "--environment", "Variables={STAGE=dev}", "--tags", "team=blue")
    assert created["State"] == "Pending" and created["Environment"] == {"Variables": {"STAGE": "dev"}}
    aws("lambda", "wait", "function-active-v2", "--function-name", "by-aws-1")
    # Version 1 takes the payload as it is; version 2 wants base64.
    said = aws("lambda", "invoke", "--function-name", "by-aws-1", "--payload", '{"name": "you"}', "--log-type", "Tail", output)
    assert said["StatusCode"] == 200 and json.loads(output.read_text()) == {"hello": "you", "by": "$LATEST"} and said["LogResult"]
    aws("lambda", "update-function-configuration", "--function-name", "by-aws-1", "--memory-size", "256")
    aws("lambda", "wait", "function-updated-v2", "--function-name", "by-aws-1")
    assert aws("lambda", "publish-version", "--function-name", "by-aws-1")["Version"] == "1"
    aws("lambda", "create-alias", "--function-name", "by-aws-1", "--name", "live", "--function-version", "1")
    aws("lambda", "invoke", "--function-name", "by-aws-1:live", "--payload", '{"name": "alias"}', output)
    assert json.loads(output.read_text()) == {"hello": "alias", "by": "1"}
    aws("lambda", "invoke", "--function-name", "by-aws-1", "--payload", "{}", output)
    assert json.loads(output.read_text())["errorType"] == "KeyError"
    assert aws("lambda", "list-tags", "--resource", created["FunctionArn"])["Tags"] == {"team": "blue"}
    assert aws("lambda", "list-versions-by-function", "--function-name", "by-aws-1", "--query", "Versions[].Version", "--max-items", "10") == ["$LATEST", "1"]
    # Its own pages, of one function each.
    listed = aws("lambda", "list-functions", "--page-size", "1", "--query", "Functions[].FunctionName")
    assert "by-aws-1" in listed
    logs = aws("logs", "filter-log-events", "--log-group-name", "/aws/lambda/by-aws-1", "--filter-pattern", "REPORT")
    assert logs["events"]
    conflict = aws("lambda", "create-alias", "--function-name", "by-aws-1", "--name", "live", "--function-version", "1", expected=255)
    assert "(ResourceConflictException) when calling the CreateAlias operation" in conflict
    invalid = aws("lambda", "update-function-configuration", "--function-name", "by-aws-1", "--memory-size", "100000", expected=255)
    assert "ValidationException" in invalid or "InvalidParameterValueException" in invalid
    aws("lambda", "delete-function", "--function-name", "by-aws-1")
    assert "(ResourceNotFoundException) when calling the GetFunction operation" in aws("lambda", "get-function", "--function-name", "by-aws-1", expected=255)


@pytest.mark.covers("client:aws-cli 1", client="aws-cli 1")
def test_a_package_through_the_object_store_with_version_1(run, tmp_path):
    (tmp_path / "package.zip").write_bytes(zip_of({"app.py": "def handler(event, context): return 'from a bucket'"}))
    run("aws", "s3", "mb", "s3://deploy-tools-1")
    run("aws", "s3", "cp", "package.zip", "s3://deploy-tools-1/in/package.zip")
    assert "in/package.zip" in run("aws", "s3", "ls", "--recursive", "s3://deploy-tools-1")
    run("aws", "lambda", "create-function", "--function-name", "from-bucket-1", "--runtime", PYTHON, "--handler", "app.handler", "--role", ROLE, "--code", "S3Bucket=deploy-tools-1,S3Key=in/package.zip")
    run("aws", "lambda", "wait", "function-active-v2", "--function-name", "from-bucket-1")
    run("aws", "lambda", "invoke", "--function-name", "from-bucket-1", "answer.json")
    assert json.loads((tmp_path / "answer.json").read_text()) == "from a bucket"
    run("aws", "lambda", "delete-function", "--function-name", "from-bucket-1")
    run("aws", "s3", "rb", "--force", "s3://deploy-tools-1")


@pytest.mark.covers("client:chalice", client="Chalice 1.34.0")
def test_chalice(run, server, tmp_path):
    project = tmp_path / "project"
    (project / ".chalice").mkdir(parents=True)
    (project / "requirements.txt").write_text("")
    (project / ".chalice/config.json").write_text(json.dumps({"version": "2.0", "app_name": "plain", "stages": {"dev": {"lambda_memory_size": 256, "environment_variables": {"STAGE": "dev"}}}}))
    source = """
        import os
        from chalice import Chalice
        app = Chalice(app_name="plain")

        @app.lambda_function(name="greet")
        def greet(event, context):
            print("greeting", event["name"])
            return {"hello": event["name"], "stage": os.environ["STAGE"]}

        @app.lambda_function(name="fail")
        def fail(event, context):
            raise ValueError("asked to fail")
    """
    (project / "app.py").write_text(textwrap.dedent(source))

    def chalice(*arguments, **options):
        return run("chalice", *arguments, cwd=project, **options)

    said = chalice("deploy")
    assert "Lambda ARN: arn:aws:lambda:us-east-1:000000000000:function:plain-dev-greet" in said
    assert server.client().get_function_configuration(FunctionName="plain-dev-greet")["MemorySize"] == 256
    assert json.loads(chalice("invoke", "-n", "greet", input='{"name": "you"}')) == {"hello": "you", "stage": "dev"}
    assert "asked to fail" in chalice("invoke", "-n", "fail", input="{}", expected=1)
    assert "greeting you" in chalice("logs", "-n", "greet")
    (project / "app.py").write_text(textwrap.dedent(source).replace('"hello"', '"good day"'))
    assert "Updating lambda function: plain-dev-greet" in chalice("deploy")
    assert json.loads(chalice("invoke", "-n", "greet", input='{"name": "you"}')) == {"good day": "you", "stage": "dev"}
    said = chalice("delete")
    assert "Deleting function" in said and "Deleting IAM role: plain-dev" in said
    names = [function["FunctionName"] for function in server.client().list_functions()["Functions"]]
    assert not any(name.startswith("plain-dev-") for name in names)


@pytest.mark.covers("client:chalice", client="Chalice 1.34.0")
def test_a_rest_api_of_chalice(run, server, tmp_path):
    project = tmp_path / "project"
    (project / ".chalice").mkdir(parents=True)
    (project / "requirements.txt").write_text("")
    (project / ".chalice/config.json").write_text(json.dumps({"version": "2.0", "app_name": "notes", "stages": {"dev": {"api_gateway_stage": "v1"}}}))
    source = """
        from chalice import AuthResponse, BadRequestError, Chalice, Response
        app = Chalice(app_name="notes")
        app.api.binary_types.append("application/x-note")

        @app.authorizer(ttl_seconds=60)
        def guard(request):
            return AuthResponse(routes=["/secret"] if request.token == "let-me" else [], principal_id="me", context={"color": "blue"})

        @app.route("/")
        def index():
            return {"hello": "you"}

        @app.route("/notes/{note}", methods=["GET", "PUT"], cors=True)
        def note(note):
            request = app.current_request
            if note == "bad":
                raise BadRequestError("no such note")
            return {"note": note, "method": request.method, "query": request.query_params, "body": request.json_body if request.method == "PUT" else None}

        @app.route("/secret", authorizer=guard)
        def secret():
            authorizer = app.current_request.context["authorizer"]
            return {"who": authorizer["principalId"], "color": authorizer["color"]}

        @app.route("/raw", methods=["POST"], content_types=["application/x-note"])
        def raw():
            return Response(app.current_request.raw_body[::-1], headers={"Content-Type": "application/x-note"})
    """
    (project / "app.py").write_text(textwrap.dedent(source))

    def chalice(*arguments, **options):
        return run("chalice", *arguments, cwd=project, **options)

    said = chalice("deploy")
    [id] = re.findall(r"Rest API URL: https://([0-9a-z]{10})\.execute-api\.us-east-1\.amazonaws\.com/v1/", said)
    url = Url(server, f"http://{id}.execute-api.us-east-1.localhost:{server.port}/")
    assert url.request("GET", "/v1/").json == {"hello": "you"}
    reply = url.request("PUT", "/v1/notes/a%20b?x=1", headers={"Content-Type": "application/json"}, body=b'{"text": "milk"}')
    assert reply.json == {"note": "a b", "method": "PUT", "query": {"x": "1"}, "body": {"text": "milk"}} and reply.header("Access-Control-Allow-Origin") == "*"
    preflight = url.request("OPTIONS", "/v1/notes/x", headers={"Origin": "https://example.com", "Access-Control-Request-Method": "PUT"})
    assert preflight.status == 200 and set(preflight.header("Access-Control-Allow-Methods").split(",")) == {"GET", "PUT", "OPTIONS"}
    bad = url.request("GET", "/v1/notes/bad")
    assert (bad.status, bad.json["Code"]) == (400, "BadRequestError")
    assert url.request("GET", "/v1/nothing").json == {"message": "Missing Authentication Token"}
    assert url.request("GET", "/v1/secret").json == {"message": "Unauthorized"}
    assert url.request("GET", "/v1/secret", headers={"Authorization": "wrong"}).status == 403
    assert url.request("GET", "/v1/secret", headers={"Authorization": "let-me"}).json == {"who": "me", "color": "blue"}
    every = bytes(range(256))
    assert url.request("POST", "/v1/raw", headers={"Content-Type": "application/x-note", "Accept": "application/x-note"}, body=every).body == every[::-1]
    # Deployed again: what is new is there, what was taken out is not, and the URL is the same.
    (project / "app.py").write_text(textwrap.dedent(source).replace('"/raw"', '"/bytes"').replace('"hello"', '"good day"'))
    assert f"https://{id}.execute-api" in chalice("deploy")
    assert url.request("GET", "/v1/").json == {"good day": "you"}
    assert url.request("GET", "/v1/secret", headers={"Authorization": "let-me"}).status == 200
    assert (url.request("POST", "/v1/raw", body=b"x").status, url.request("POST", "/v1/bytes", headers={"Content-Type": "application/x-note", "Accept": "application/x-note"}, body=b"ab").body) == (403, b"ba")
    assert "Deleting Rest API: " in chalice("delete")
    assert id not in [api["id"] for api in server.client("apigateway").get_rest_apis(limit=500)["items"]]
    assert url.request("GET", "/v1/").status == 404


@pytest.mark.covers("client:cargo-lambda", client="cargo-lambda 1.9.2")
def test_cargo_lambda(run, server):
    binary = need(CACHE / "rust-runtime/release/bootstrap", "the function built with lambda_runtime")
    project = Path(__file__).parent / "rust-runtime"

    def cargo(*arguments, **options):
        said = run("cargo-lambda", "lambda", *arguments, cwd=project, **options)
        # Without a terminal its progress is on standard output, too.
        return said[said.find("{") :] if "{" in said else said

    deploy = ("deploy", "--endpoint-url", server.endpoint, "--binary-path", binary, "--role", ROLE, "--output-format", "json")
    said = json.loads(cargo(*deploy, "--memory", "256", "--timeout", "7", "--env-var", "STAGE=dev", "--tag", "team=blue", "rusty"))
    assert said["version"] == "1" and said["function_arn"].endswith(":function:rusty")
    configuration = server.client().get_function(FunctionName="rusty")
    assert configuration["Configuration"]["MemorySize"] == 256 and configuration["Configuration"]["Timeout"] == 7
    assert configuration["Configuration"]["Runtime"] == "provided.al2023" and configuration["Tags"] == {"team": "blue"}
    invoke = ("invoke", "--remote", "--endpoint-url", server.endpoint)
    answer = json.loads(cargo(*invoke, "--data-ascii", '{"n": 1}', "rusty"))
    assert answer["event"] == {"n": 1} and answer["client"] == "lambda_runtime" and answer["memory_mib"] == 256
    assert "asked to fail" in re.sub(r"\s+", " ", cargo(*invoke, "--data-ascii", '{"do": "fail"}', "rusty", expected=1))
    again = json.loads(cargo(*deploy, "--enable-function-url", "--memory", "512", "rusty"))
    assert again["function_url"] and server.client().get_function_configuration(FunctionName="rusty")["MemorySize"] == 512
    server.client("s3").create_bucket(Bucket="rusty-packages")
    cargo(*deploy, "--s3-bucket", "rusty-packages", "rusty")
    assert json.loads(cargo(*invoke, "--data-ascii", "{}", "rusty"))["function"] == "rusty"
    # Without a role it makes one, attaches AWS's policy, and tries to assume it.
    cargo(*(argument for argument in deploy if argument not in ("--role", ROLE)), "rusty-own-role")
    role = server.client().get_function_configuration(FunctionName="rusty-own-role")["Role"].rsplit("/", 1)[1]
    attached = server.client("iam").list_attached_role_policies(RoleName=role)["AttachedPolicies"]
    assert [policy["PolicyName"] for policy in attached] == ["AWSLambdaBasicExecutionRole"]
    server.client().delete_function(FunctionName="rusty-own-role")
    server.client().delete_function(FunctionName="rusty")
