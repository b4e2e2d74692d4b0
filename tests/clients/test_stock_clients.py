"""The stock runtime clients, unmodified, as custom runtimes: what other people's packages bring with them."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support import streams
from support.extensions import layer, log_until

CACHE = Path(__file__).parents[2] / ".cache"
SEVERAL = {"lamplight:max-concurrency": "3"}


def tree(directory: Path, *names: str) -> dict[str, bytes]:
    """Files below `directory/name` for each name, by their path in the package."""
    files = {}
    for name in names:
        top = directory / name
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts and "deps" not in path.parts:
                files[str(path.relative_to(directory))] = path.read_bytes()
    return files


def need(path: Path, what: str) -> Path:
    if not path.exists():
        pytest.skip(f"{what} is not installed in .cache/ (cargo xtask tools installs it)")
    return path


def check_client(function):
    answer = function.invoke({"n": 1})
    assert answer.error is None, f"{answer.body}\n{answer.log}"
    seen = answer.json
    assert seen["event"] == {"n": 1}
    assert seen["request_id"] == answer.request_id
    assert seen["arn"].endswith(f":function:{function.name}")
    failed = function.invoke({"do": "fail"})
    assert failed.error == "Unhandled"
    assert "asked to fail" in failed.json["errorMessage"]
    ended = function.invoke({"do": "exit"})
    assert ended.json["errorType"] == "Runtime.ExitError"
    assert "exit status 7" in ended.json["errorMessage"]
    assert function.ok({"n": 2})["event"] == {"n": 2}


def aws_lambda_ric_of_python(source: str) -> dict[str, bytes | str]:
    """A package with the stock Python client and `app.py`."""
    site = need(next((CACHE / "python/lib").glob("python3.*/site-packages"), CACHE / "python"), "awslambdaric")
    native = [path.name for path in site.glob("runtime_client*.so")]
    files = tree(site, "awslambdaric", "snapshot_restore_py.py", "simplejson", *native)
    assert any(name.startswith("awslambdaric/") for name in files)
    files["bootstrap"] = '#!/bin/sh\ncd /var/task\nexport PYTHONPATH=/var/task\nexec /usr/bin/python3 -m awslambdaric "$_HANDLER"\n'
    files["app.py"] = source
    return files


@pytest.mark.covers("runtime:awslambdaric", client="awslambdaric 4.2.2")
def test_awslambdaric(deploy):
    files = aws_lambda_ric_of_python("""
import os
def handler(event, context):
    if event.get("do") == "fail": raise RuntimeError("asked to fail")
    if event.get("do") == "exit": os._exit(7)
    return {"event": event, "request_id": context.aws_request_id, "arn": context.invoked_function_arn}
""")
    check_client(deploy(files, runtime="provided.al2023", handler="app.handler"))


def aws_lambda_ric(source: str) -> dict[str, bytes | str]:
    """A package with the stock Node client and `app.js`."""
    modules = need(CACHE / "node/node_modules/aws-lambda-ric", "aws-lambda-ric")
    if not (modules / "dist/rapid-client.node").exists():
        pytest.skip("the native addon of aws-lambda-ric was not built (needs cmake autoconf automake libtool)")
    files = tree(CACHE / "node", "node_modules/aws-lambda-ric/dist", "node_modules/aws-lambda-ric/bin", "node_modules/aws-lambda-ric/package.json")
    binary = os.path.realpath("/usr/bin/node")
    files["bootstrap"] = f'#!/bin/sh\ncd /var/task\nexec {binary} node_modules/aws-lambda-ric/bin/index.mjs "$_HANDLER"\n'
    files["app.js"] = source
    return files


@pytest.mark.covers("runtime:aws-lambda-ric", client="aws-lambda-ric 3.3.0")
def test_aws_lambda_ric(deploy, node):
    files = aws_lambda_ric("""
exports.handler = async (event, context) => {
    if (event.do === "fail") throw new Error("asked to fail");
    if (event.do === "exit") process.exit(7);
    return { event, request_id: context.awsRequestId, arn: context.invokedFunctionArn };
};
""")
    check_client(deploy(files, runtime="provided.al2023", handler="app.handler", MemorySize=256))


@pytest.mark.covers("runtime:aws-lambda-ric streaming", client="aws-lambda-ric 3.3.0")
def test_aws_lambda_ric_streams(deploy, node):
    files = aws_lambda_ric("""
const { existsSync } = require("node:fs");
exports.handler = awslambda.streamifyResponse(async (event, stream) => {
    stream.write("one ");
    while (!existsSync(event.gate)) await new Promise((resolve) => setTimeout(resolve, 5));
    if (event.do === "fail") throw new RangeError("asked to fail");
    stream.write("two");
    stream.end();
});
""")
    function = deploy(files, runtime="provided.al2023", handler="app.handler", MemorySize=256, FileSystemConfigs=[streams.ACCESS_POINT])
    gate = streams.Gate(deploy)
    check_stream(function, gate)
    failed = streams.invoke(function, {"gate": "/mnt/gate", "do": "fail"})
    assert failed.rest() == b"one "
    assert failed.error["errorType"] == "RangeError" and failed.error["errorMessage"] == "asked to fail"


def check_stream(function, gate, prelude: bytes = b""):
    """The first piece is there before the function may write the second."""
    name = gate.new()
    stream = streams.invoke(function, {"do": "stream", "gate": f"/mnt/gate/{name}"})
    seen = b""
    while len(seen) < len(prelude) + len(b"one "):
        seen += next(stream)
    gate.open(name)
    assert seen + stream.rest() == prelude + b"one two"
    assert stream.complete == {}


@pytest.mark.covers("runtime:lambda_runtime", client="lambda_runtime 1.5")
def test_lambda_runtime(deploy):
    program = need(CACHE / "rust-runtime/release/bootstrap", "the function built with lambda_runtime")
    check_client(deploy({"bootstrap": program.read_bytes()}, runtime="provided.al2023", handler="unused"))


@pytest.mark.covers("runtime:lambda_runtime streaming", client="lambda_runtime 1.5")
def test_lambda_runtime_streams(deploy):
    program = need(CACHE / "rust-runtime/release/bootstrap", "the function built with lambda_runtime")
    function = deploy({"bootstrap": program.read_bytes()}, runtime="provided.al2023", handler="unused", FileSystemConfigs=[streams.ACCESS_POINT])
    # This client writes the prelude of an HTTP answer before every stream.
    prelude = b'{"statusCode":200,"headers":{"content-type":"application/octet-stream"},"cookies":[]}' + b"\0" * 8
    check_stream(function, streams.Gate(deploy), prelude)


def check_several_at_once(function):
    """Each of three events waits until all are there, which is so in one instance only."""
    with ThreadPoolExecutor(3) as threads:
        answers = [call.result() for call in [threads.submit(function.invoke, {"do": "meet", "meet": 3, "n": n}) for n in range(3)]]
    assert [answer.error for answer in answers] == [None] * 3, [answer.log for answer in answers]
    assert [answer.json["event"]["n"] for answer in answers] == [0, 1, 2]
    assert [answer.json["request_id"] for answer in answers] == [answer.request_id for answer in answers]
    assert len({answer.json["log_stream"] for answer in answers}) == 1
    return {answer.json["process"] for answer in answers}


@pytest.mark.covers("operation:Several events at once", client="lambda_runtime 1.5")
def test_lambda_runtime_takes_several_at_once(deploy):
    program = need(CACHE / "rust-runtime/release/bootstrap", "the function built with lambda_runtime").read_bytes()
    if b"AWS_LAMBDA_MAX_CONCURRENCY" not in program:
        pytest.skip("the function of an earlier release takes one event after the other (cargo xtask tools builds it anew)")
    processes = check_several_at_once(deploy({"bootstrap": program}, runtime="provided.al2023", handler="unused", Tags=SEVERAL))
    assert len(processes) == 1, "its workers are tasks"


@pytest.mark.covers("operation:Several events at once", client="awslambdaric 4.2.2")
def test_awslambdaric_takes_several_at_once(deploy):
    files = aws_lambda_ric_of_python("""
import os, time
def handler(event, context):
    os.makedirs("/tmp/meet", exist_ok=True)
    open("/tmp/meet/" + context.aws_request_id, "w").close()
    while len(os.listdir("/tmp/meet")) < event["meet"]:
        time.sleep(0.005)
    return {"event": event, "request_id": context.aws_request_id, "process": os.getpid(), "log_stream": context.log_stream_name}
""")
    processes = check_several_at_once(deploy(files, runtime="provided.al2023", handler="app.handler", Tags=SEVERAL))
    assert len(processes) == 3, "its workers are processes"


@pytest.mark.covers("runtime:lambda-extension", client="lambda-extension 1.1")
@pytest.mark.parametrize("api", ["telemetry", "logs"])
def test_lambda_extension(deploy, client, api):
    program = need(CACHE / "rust-runtime/release/extension", "the extension built with lambda-extension")
    with layer(client, {"extensions/stock": program.read_bytes()}) as arn:
        function = deploy(
            {"app.py": "def handler(event, context):\n    print('hello from', event['name'])\n"},
            Layers=[arn],
            variables={"LOGS": "1"} if api == "logs" else {},
        )
        first, second = function.invoke({"name": "one"}), function.invoke({"name": "two"})
        assert first.error is None and second.error is None, first.log
        function.update(Description="another revision")
        lines = log_until(function, "told of the end")
    assert "told of the end: spindown" in lines
    for answer in (first, second):
        assert f"told of {answer.request_id} of arn:aws:lambda:us-east-1:000000000000:function:{function.name}" in lines
    said = [line for line in lines if line.startswith(("telemetry ", "log "))]
    expected = ['Function("hello from one', f'PlatformStart {{ request_id: "{first.request_id}"', f'PlatformReport {{ request_id: "{first.request_id}"']
    if api == "telemetry":
        expected += ["PlatformInitStart { initialization_type: OnDemand, phase: Init", f'PlatformRuntimeDone {{ request_id: "{first.request_id}"', "PlatformTelemetrySubscription"]
    for text in expected:
        assert any(text in line for line in said), f"{text}\n{''.join(lines)}"
