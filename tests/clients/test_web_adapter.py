"""examples/web: FastAPI and Express as they are, behind the AWS Lambda Web Adapter, called through their function URLs."""

from __future__ import annotations

import io
import json
import re
import shutil
import socket
import subprocess
import time
import zipfile
from pathlib import Path

import pytest

from support import urls
from support.server import BINARY

EXAMPLE = Path(__file__).parents[2] / "examples/web"
ADAPTER = Path(__file__).parents[2] / ".cache/web-adapter/bin/lambda-adapter"
# As the README writes it, and as AWS's layers have it.
BOOTSTRAP = '#!/bin/bash\nexec -- "${LAMBDA_TASK_ROOT}/${_HANDLER}"\n'


@pytest.fixture
def layer(server):
    if not ADAPTER.exists():
        pytest.skip("the web adapter is not installed in .cache/ (cargo xtask tools installs it)")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (("extensions/lambda-adapter", ADAPTER.read_bytes()), ("bootstrap", BOOTSTRAP.encode())):
            information = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
            information.external_attr = 0o100755 << 16
            archive.writestr(information, content)
    client = server.client()
    published = client.publish_layer_version(LayerName="web-adapter", Content={"ZipFile": buffer.getvalue()})
    yield "web-adapter"
    client.delete_layer_version(LayerName="web-adapter", VersionNumber=published["Version"])


@pytest.fixture
def application(server):
    """Deploys a folder with the program and gives its URL."""
    names = []

    def deploy(folder, runtime, *flags):
        name = f"web-{folder.name}"
        command = [BINARY, "deploy", str(folder), "--name", name, "--runtime", runtime, "--handler", "run.sh", "--memory", "512", "--timeout", "30"]
        command += ["--url=stream", "--env", "AWS_LWA_INVOKE_MODE=response_stream", *flags]
        environment = server.environment_for_clients() | {"LAMPLIGHT_ENDPOINT": server.endpoint}
        done = subprocess.run(command, capture_output=True, text=True, timeout=110, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        names.append(name)
        return urls.Url(server, done.stdout.splitlines()[-1])

    yield deploy
    for name in names:
        server.client().delete_function(FunctionName=name)


def check(url):
    def fetched(*arguments, target):
        done = url.curl("--fail-with-body", *arguments, target=target)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done.stdout

    assert b"guest book" in fetched(target="/")
    entry = {"name": "Ada", "text": "was here"}
    assert json.loads(fetched("--json", json.dumps(entry), target="/entries")) == entry
    assert json.loads(fetched(target="/entries")) == [entry]
    assert url.curl("-o", "/dev/null", "-w", "%{http_code}", "--json", '{"name": ""}', target="/entries").stdout == b"422"
    everything = bytes(range(256))
    assert url.request("POST", "/echo", headers={"content-type": "application/octet-stream"}, body=everything).body == everything
    # The lines come while the application writes them: collected, they would come together.
    with socket.create_connection(("127.0.0.1", url.server.port), timeout=60) as connection:
        connection.sendall(f"GET /count/4?pause=0.3 HTTP/1.1\r\nHost: {url.host}\r\nConnection: close\r\n\r\n".encode())
        numbers, times, received = [], [], b""
        while chunk := connection.recv(65_536):
            received += chunk
            found = [int(number) for number in re.findall(rb'"number": ?(\d)', received)]
            times += [time.monotonic()] * (len(found) - len(numbers))
            numbers = found
    assert numbers == [1, 2, 3, 4], received
    assert times[-1] - times[0] >= 0.7, times


@pytest.mark.covers("client:web adapter", client="fastapi")
def test_fastapi_behind_the_layer(layer, application):
    check(application(EXAMPLE / "fastapi", "python3.11", "--layer", layer, "--env", "AWS_LAMBDA_EXEC_WRAPPER=/opt/bootstrap"))


@pytest.mark.covers("client:web adapter", client="express")
def test_express_behind_the_layer(layer, application, node):
    check(application(EXAMPLE / "express", node, "--layer", layer, "--env", "AWS_LAMBDA_EXEC_WRAPPER=/opt/bootstrap"))


@pytest.mark.covers("client:web adapter", client="fastapi")
def test_the_adapter_inside_the_package(application, tmp_path):
    if not ADAPTER.exists():
        pytest.skip("the web adapter is not installed in .cache/ (cargo xtask tools installs it)")
    folder = tmp_path / "packaged"
    shutil.copytree(EXAMPLE / "fastapi", folder)
    shutil.copy(ADAPTER, folder)
    start = folder / "start.sh"
    start.write_text("#!/bin/sh\n./run.sh &\nexec /var/task/lambda-adapter\n")
    start.chmod(0o755)
    check(application(folder, "python3.11", "--env", "AWS_LAMBDA_EXEC_WRAPPER=/var/task/start.sh"))
