"""Command lines that people have: the AWS one (version 2, as Debian packages it)."""

import json
import shutil
import subprocess

import pytest

from support.functions import ROLE, PYTHON, zip_of


@pytest.fixture
def aws(server):
    """Runs `aws ...` against the server and gives its standard output."""
    program = shutil.which("aws", path="/usr/bin:/usr/local/bin")
    version = subprocess.run([program, "--version"], capture_output=True, text=True).stdout if program else ""
    if not version.startswith("aws-cli/2"):
        pytest.skip("no AWS command line of version 2 (get it with: apt-get install awscli)")

    # Debian 12's 2.9 does not know AWS_ENDPOINT_URL yet (2.13 does).
    command = [program, "--endpoint-url", server.endpoint]

    def run(*arguments, seconds=60):
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=seconds, env=server.environment_for_clients(), stdin=subprocess.DEVNULL)
        assert done.returncode == 0, f"aws {' '.join(arguments)}\n{done.stdout}{done.stderr}"
        return done.stdout

    run.command, run.environment = command, server.environment_for_clients()
    return run


@pytest.mark.covers("operation:CreateFunction", client="aws-cli 2")
@pytest.mark.covers("operation:Invoke RequestResponse", client="aws-cli 2")
@pytest.mark.covers("operation:UpdateFunctionCode", client="aws-cli 2")
@pytest.mark.covers("operation:DeleteFunction", client="aws-cli 2")
def test_the_life_of_a_function(aws, tmp_path):
    package = tmp_path / "function.zip"
    package.write_bytes(zip_of({"app.py": "def handler(event, context): return {'hello': event['name']}"}))
    created = json.loads(aws("lambda", "create-function", "--function-name", "by-aws-cli", "--runtime", PYTHON, "--handler", "app.handler", "--role", ROLE, "--zip-file", f"fileb://{package}"))
    assert created["State"] == "Pending" and created["FunctionName"] == "by-aws-cli"
    aws("lambda", "wait", "function-active-v2", "--function-name", "by-aws-cli")
    output = tmp_path / "answer.json"
    said = json.loads(aws("lambda", "invoke", "--function-name", "by-aws-cli", "--cli-binary-format", "raw-in-base64-out", "--payload", '{"name": "you"}', str(output)))
    assert said["StatusCode"] == 200 and json.loads(output.read_text()) == {"hello": "you"}
    package.write_bytes(zip_of({"app.py": "def handler(event, context): return 'second'"}))
    aws("lambda", "update-function-code", "--function-name", "by-aws-cli", "--zip-file", f"fileb://{package}")
    aws("lambda", "wait", "function-updated-v2", "--function-name", "by-aws-cli")
    aws("lambda", "invoke", "--function-name", "by-aws-cli", str(output))
    assert json.loads(output.read_text()) == "second"
    assert "by-aws-cli" in aws("lambda", "list-functions", "--query", "Functions[].FunctionName", "--output", "text")
    aws("lambda", "delete-function", "--function-name", "by-aws-cli")


@pytest.mark.covers("operation:GetCallerIdentity", client="aws-cli 2")
def test_who_am_i(aws):
    assert json.loads(aws("sts", "get-caller-identity"))["Account"] == "000000000000"


@pytest.mark.covers("meter:logs tail", client="aws-cli 2")
def test_logs_tail(aws, deploy):
    function = deploy({"app.py": "def handler(event, context): print('said', event['n'])"})
    function.ok({"n": 1})
    text = aws("logs", "tail", f"/aws/lambda/{function.name}", "--since", "5m")
    assert "said 1" in text and "REPORT RequestId" in text


@pytest.mark.covers("meter:logs tail", client="aws-cli 2")
def test_logs_tail_follow(aws, deploy):
    function = deploy({"app.py": "def handler(event, context): print('said', event['n'])"})
    function.ok({"n": 1})
    follower = subprocess.Popen([*aws.command, "logs", "tail", f"/aws/lambda/{function.name}", "--follow"], stdout=subprocess.PIPE, text=True, env={**aws.environment, "PYTHONUNBUFFERED": "1"})
    try:
        function.ok({"n": 2})
        # The test's own time limit ends a follower that says nothing more.
        assert any("said 2" in line for line in follower.stdout)
    finally:
        follower.kill()
        follower.wait()
