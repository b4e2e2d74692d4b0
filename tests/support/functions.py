"""Functions for tests: packed in memory, created with boto3, invoked, and read back as a person would see them."""

from __future__ import annotations

import base64
import functools
import io
import itertools
import json
import shutil
import subprocess
import textwrap
import threading
import zipfile
from dataclasses import dataclass

from support.host import eventually
from support.server import Server

ROLE = "arn:aws:iam::000000000000:role/test"
# The distribution's interpreter: on every Debian 12.
PYTHON = "python3.11"
_numbers = itertools.count(1)


@functools.cache
def node_runtime() -> str | None:
    """The managed runtime of the host's Node, such as nodejs20.x; None where there is no Node."""
    if not shutil.which("node"):
        return None
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    return f"nodejs{version.removeprefix('v').split('.')[0]}.x"


def zip_of(files: dict[str, str | bytes]) -> bytes:
    """A ZIP with these files; text is dedented. `bootstrap` and everything in `bin/` and `extensions/` is executable."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            information = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
            executable = name == "bootstrap" or name.startswith(("bin/", "extensions/"))
            information.external_attr = (0o100755 if executable else 0o100644) << 16
            information.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(information, textwrap.dedent(content) if isinstance(content, str) else content)
    return buffer.getvalue()


# A small custom runtime with the standard library of the host's Python: calls app.handler(event, headers).
BOOTSTRAP = """\
#!/usr/bin/python3
import json, os, sys, urllib.request
sys.path.insert(0, "/var/task")
import app
base = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation"
while True:
    with urllib.request.urlopen(base + "/next", timeout=None) as answer:
        event, headers = json.load(answer), {name.lower(): value for name, value in answer.headers.items()}
    result = json.dumps(app.handler(event, headers)).encode()
    urllib.request.urlopen(f"{base}/{headers['lambda-runtime-aws-request-id']}/response", result).read()
"""


def custom_runtime(source: str) -> dict[str, str | bytes]:
    """Files of a `provided` function whose `app.py` is `source`; it shares its process with the Runtime API's client."""
    return {"bootstrap": BOOTSTRAP, "app.py": source}


@dataclass
class Answer:
    """What one invocation gave back."""

    status: int
    body: bytes
    error: str | None
    log: str
    version: str | None
    request_id: str

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error_type(self) -> str:
        return self.json.get("errorType", "") if self.error else ""

    @property
    def report(self) -> dict[str, str]:
        """Fields of the REPORT line."""
        line = next(line for line in self.log.splitlines() if line.startswith("REPORT "))
        return dict(part.split(": ", 1) for part in line.removeprefix("REPORT ").split("\t") if ": " in part)


@dataclass
class Function:
    """One deployed function."""

    server: Server
    name: str

    def invoke(self, event=None, *, body: bytes | None = None, **more) -> Answer:
        payload = body if body is not None else json.dumps(event if event is not None else {}).encode()
        answer = self.server.client().invoke(FunctionName=self.name, Payload=payload, LogType="Tail", **more)
        metadata = answer["ResponseMetadata"]
        return Answer(
            status=answer["StatusCode"],
            body=answer["Payload"].read(),
            error=answer.get("FunctionError"),
            log=base64.b64decode(answer.get("LogResult", "")).decode(errors="replace"),
            version=answer.get("ExecutedVersion"),
            request_id=metadata["RequestId"],
        )

    def ok(self, event=None, **more):
        """Invokes and gives the decoded answer; a function error fails the test and shows the log."""
        answer = self.invoke(event, **more)
        assert answer.error is None, f"{answer.body.decode(errors='replace')}\n{answer.log}"
        return answer.json

    def wait(self, waiter: str = "function_active_v2") -> "Function":
        self.server.client().get_waiter(waiter).wait(FunctionName=self.name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
        return self

    def update(self, files: dict[str, str | bytes] | None = None, **configuration) -> "Function":
        client = self.server.client()
        if files is not None:
            client.update_function_code(FunctionName=self.name, ZipFile=zip_of(files))
            self.wait("function_updated_v2")
        if configuration:
            client.update_function_configuration(FunctionName=self.name, **configuration)
            self.wait("function_updated_v2")
        return self

    def delete(self) -> None:
        self.server.client().delete_function(FunctionName=self.name)


def create(server: Server, files: dict[str, str | bytes], *, runtime: str = PYTHON, handler: str = "app.handler", name: str | None = None, variables: dict[str, str] | None = None, **configuration) -> Function:
    """Creates a function and waits until it is active. `Timeout` is 10 s and `MemorySize` 128 MB unless given."""
    name = name or f"f{next(_numbers)}"
    if variables is not None:
        configuration["Environment"] = {"Variables": variables}
    configuration.setdefault("Timeout", 10)
    configuration.setdefault("MemorySize", 128)
    server.client().create_function(
        FunctionName=name, Runtime=runtime, Handler=handler, Role=ROLE, Code={"ZipFile": zip_of(files)}, **configuration
    )
    return Function(server, name).wait()


def hold_its_place(server: Server, name: str, **more) -> None:
    """Gives the function one place, and takes it with a call {"hold": true} until the server ends: its events wait. The
    function is to sleep for that; `more` goes with the calls."""
    client = server.client()
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)

    def hold():
        while True:
            try:
                return client.invoke(FunctionName=name, Payload=b'{"hold": true}', **more)
            except client.exceptions.TooManyRequestsException:
                continue
            except Exception:  # noqa: BLE001 - the server ends under it
                return None

    def is_held():
        try:
            client.invoke(FunctionName=name, Payload=b"{}", **more)
        except client.exceptions.TooManyRequestsException:
            return True
        return False

    threading.Thread(target=hold, daemon=True).start()
    eventually(is_held, "the one place is taken")
