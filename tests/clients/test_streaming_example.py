"""examples/streaming as its README says, read with boto3 and with the SDK for JavaScript."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.server import BINARY

EXAMPLE = Path(__file__).parents[2] / "examples/streaming"
SDK = Path(__file__).parents[2] / ".cache/node-sdk/node_modules"


@pytest.fixture
def environment(server, node):
    environment = server.environment_for_clients()
    deploy = [BINARY, "deploy", str(EXAMPLE / "function"), "--name", "streaming"]
    done = subprocess.run(deploy, capture_output=True, text=True, timeout=60, env={**environment, "LAMPLIGHT_ENDPOINT": server.endpoint})
    assert done.returncode == 0, done.stdout + done.stderr
    yield environment
    server.client().delete_function(FunctionName="streaming")


def check(command, environment):
    done = subprocess.run([*command, '{"steps": 5, "milliseconds": 200}'], capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, done.stderr
    lines = [line.split(" s  ") for line in done.stdout.splitlines()]
    assert [json.loads(line) for _, line in lines] == [{"step": step, "of": 5} for step in range(1, 6)]
    # Four steps of 200 ms lie between the first line and the last; collected, they would come together.
    assert float(lines[-1][0]) - float(lines[0][0]) >= 0.7
    failed = subprocess.run([*command, '{"steps": 5, "milliseconds": 1, "failAt": 2}'], capture_output=True, text=True, timeout=60, env=environment)
    assert failed.returncode == 1 and failed.stderr.splitlines()[-1] == "Error: step 2 failed"
    assert [json.loads(line.split(" s  ")[1]) for line in failed.stdout.splitlines()] == [{"step": 1, "of": 5}]


@pytest.mark.covers("operation:InvokeWithResponseStream")
def test_with_boto3(environment):
    check([sys.executable, str(EXAMPLE / "read.py")], environment)


@pytest.mark.covers("operation:InvokeWithResponseStream", client="@aws-sdk/client-lambda 3")
@pytest.mark.covers("operation:InvokeWithResponseStream errors", client="@aws-sdk/client-lambda 3")
def test_with_the_sdk_for_javascript(environment, tmp_path):
    if not SDK.exists():
        pytest.skip("@aws-sdk/client-lambda is not installed in .cache/ (cargo xtask tools installs it)")
    # Node looks for packages beside the program.
    (tmp_path / "node_modules").symlink_to(SDK)
    shutil.copy(EXAMPLE / "read.mjs", tmp_path)
    check(["node", str(tmp_path / "read.mjs")], environment)
