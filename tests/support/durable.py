"""Durable functions for tests: packed with AWS's own SDKs, unmodified; executions, watched from outside."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest

from support import functions, host

CACHE = Path(__file__).parents[2] / ".cache"
CONFIG = {"ExecutionTimeout": 600, "RetentionPeriodInDays": 1}
CLOSED = ("SUCCEEDED", "FAILED", "TIMED_OUT", "STOPPED")
# Of the services that botocore knows, a durable function needs one; the rest would only make packages large.
SERVICES = {"lambda"}


def _tree(directory: Path, keep=lambda path: True) -> dict[str, bytes]:
    files = {}
    for path in sorted(directory.rglob("*")):
        relative = path.relative_to(directory)
        if path.is_file() and "__pycache__" not in relative.parts and keep(relative):
            files[str(relative)] = path.read_bytes()
    return files


@functools.cache
def python_files() -> dict[str, bytes]:
    """The Python SDK with what it needs."""
    site = next((CACHE / "durable-python/lib").glob("python3.*/site-packages"), None)
    if site is None or not (site / "aws_durable_execution_sdk_python").exists():
        pytest.skip("the durable execution SDK for Python is not installed in .cache/ (cargo xtask tools installs it)")

    def keep(path: Path) -> bool:
        parts = path.parts
        if parts[0] in ("pip", "setuptools", "pkg_resources", "_distutils_hack", "s3transfer-tests") or parts[0].startswith(("pip-", "setuptools-")):
            return False
        if parts[:2] == ("botocore", "data") and len(parts) > 3:
            return parts[2] in SERVICES
        return path.suffix != ".pth"

    return _tree(site, keep)


@functools.cache
def node_files() -> dict[str, bytes]:
    """The JavaScript SDK with what it needs."""
    modules = CACHE / "durable-node/node_modules"
    if not (modules / "@aws/durable-execution-sdk-js").exists():
        pytest.skip("the durable execution SDK for JavaScript is not installed in .cache/ (cargo xtask tools installs it)")
    keep = lambda path: path.suffix in (".js", ".mjs", ".cjs", ".json")
    return {f"node_modules/{name}": content for name, content in _tree(modules, keep).items()}


def python(deploy, source: str, **configuration) -> functions.Function:
    """A durable function in Python."""
    configuration.setdefault("DurableConfig", CONFIG)
    configuration.setdefault("Timeout", 30)
    configuration.setdefault("MemorySize", 512)
    return deploy({**python_files(), "app.py": source}, **configuration)


def node(deploy, runtime: str, source: str, **configuration) -> functions.Function:
    """A durable function in JavaScript."""
    configuration.setdefault("DurableConfig", CONFIG)
    configuration.setdefault("Timeout", 30)
    configuration.setdefault("MemorySize", 512)
    return deploy({**node_files(), "app.mjs": source}, runtime=runtime, **configuration)


class Execution:
    """One execution."""

    def __init__(self, client, arn: str):
        self.client, self.arn = client, arn

    def get(self, **more) -> dict:
        return self.client.get_durable_execution(DurableExecutionArn=self.arn, **more)

    @property
    def status(self) -> str:
        return self.get()["Status"]

    def until(self, *statuses: str, seconds: float = 60) -> dict:
        """Waits until it has one of these statuses."""

        def reached():
            found = self.get()
            return found if found["Status"] in statuses else None

        return host.eventually(reached, f"{self.arn} is one of {statuses}; it is {self.get()}", seconds)

    def ended(self, seconds: float = 60) -> dict:
        return self.until(*CLOSED, seconds=seconds)

    def events(self, **more) -> list[dict]:
        """All of its history."""
        found, marker = [], {}
        while True:
            page = self.client.get_durable_execution_history(DurableExecutionArn=self.arn, **marker, **more)
            found += page["Events"]
            if "NextMarker" not in page:
                return found
            marker = {"Marker": page["NextMarker"]}

    def event(self, kind: str, seconds: float = 60) -> dict:
        """The first event of this kind, waited for."""
        return host.eventually(lambda: next((event for event in self.events() if event["EventType"] == kind), None), f"{kind} of {self.arn}", seconds)

    def kinds(self) -> list[str]:
        return [event["EventType"] for event in self.events()]


def start(function, event=None, name: str | None = None, qualifier: str = "$LATEST") -> Execution:
    """Starts an execution and does not wait for it."""
    client = function.server.client()
    named = {"DurableExecutionName": name} if name else {}
    answer = client.invoke(FunctionName=function.name, Qualifier=qualifier, InvocationType="Event", Payload=json.dumps(event or {}).encode(), **named)
    assert answer["StatusCode"] == 202 and answer["Payload"].read() == b""
    return Execution(client, answer["DurableExecutionArn"])
