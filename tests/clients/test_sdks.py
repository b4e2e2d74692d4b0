"""The SDKs for JavaScript and Rust, unmodified: one life of a function each, seen in the same words."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from support.functions import zip_of

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".cache"
FIRST = "def handler(event, context):\n    if event.get('do') == 'fail': raise ValueError('asked to fail')\n    return 'first'\n"
STREAM = """
    exports.handler = awslambda.streamifyResponse(async (event, stream) => {
        for (const word of ["one ", "two ", "three"]) stream.write(word);
        stream.end();
    });
"""


def check(command, name, server, deploy, node, directory, made_by):
    streaming = deploy({"index.js": STREAM}, runtime=node, handler="index.handler", MemorySize=256)
    packages = {"first.zip": FIRST, "second.zip": "def handler(event, context): return 'second'"}
    for file, source in packages.items():
        (directory / file).write_bytes(zip_of({"app.py": source}))
    arguments = [server.endpoint, name, *[str(directory / file) for file in packages], streaming.name]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=100, env=server.environment_for_clients())
    assert done.returncode == 0, done.stdout + done.stderr
    seen = json.loads(done.stdout)
    assert seen["state"] == "Pending" and seen["arn"] == f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
    assert seen["first"] == {"status": 200, "error": None, "version": "$LATEST", "payload": "first"}
    assert seen["failed"]["error"] == "Unhandled" and seen["failed"]["payload"]["errorMessage"] == "asked to fail"
    assert seen["second"]["payload"] == "second"
    assert seen["aliased"] == {"status": 200, "error": None, "version": "1", "payload": "second"}
    assert seen["tags"] == {"made-by": made_by} and seen["listed"] is True
    assert seen["streamed"] == {"text": "one two three", "complete": True}
    assert seen["errors"] == {"missing": "ResourceNotFoundException", "missing_is_typed": True, "conflict_is_typed": True, "invalid": "ValidationException"}
    with pytest.raises(server.client().exceptions.ResourceNotFoundException):
        server.client().get_function(FunctionName=name)


@pytest.mark.covers("client:@aws-sdk/client-lambda", client="@aws-sdk/client-lambda 3")
def test_the_sdk_for_javascript(server, deploy, node, tmp_path):
    modules = CACHE / "node-sdk/node_modules"
    if not modules.exists():
        pytest.skip("@aws-sdk/client-lambda is not installed in .cache/ (cargo xtask tools installs it)")
    # Node looks for packages beside the program.
    (tmp_path / "node_modules").symlink_to(modules)
    shutil.copy(HERE / "sdk.mjs", tmp_path)
    check(["node", str(tmp_path / "sdk.mjs")], "by-javascript", server, deploy, node, tmp_path, "javascript")


@pytest.mark.covers("client:aws-sdk-lambda", client="aws-sdk-lambda 1")
def test_the_sdk_for_rust(server, deploy, node, tmp_path):
    program = CACHE / "rust-sdk/release/rust-sdk"
    if not program.exists():
        pytest.skip("the program with aws-sdk-lambda is not built in .cache/ (cargo xtask tools builds it)")
    check([str(program)], "by-rust", server, deploy, node, tmp_path, "rust")
