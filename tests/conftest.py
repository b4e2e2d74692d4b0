"""Fixtures of all suites, and the record that `cargo xtask test` makes docs/coverage.md from."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from support import functions, host
from support.server import BINARY, Server


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="add the slow tests")


def pytest_configure(config):
    os.environ.pop("AWS_PROFILE", None)


def pytest_collection_modifyitems(config, items):
    """Without --long the slow tests are not part of the run: deselected, not skipped."""
    if not config.getoption("--long"):
        slow = [item for item in items if item.get_closest_marker("long")]
        if slow:
            config.hook.pytest_deselected(items=slow)
            items[:] = [item for item in items if item not in slow]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    path = os.environ.get("LAMPLIGHT_REPORT")
    # One line a test: its call, or the setup that kept it from being called; a failed teardown is a line of its own.
    decided = report.when == "call" or (report.when == "setup" and not report.passed) or (report.when == "teardown" and report.failed)
    if path and decided:
        reason = str(report.longrepr[2]) if report.skipped and isinstance(report.longrepr, tuple) else ""
        covers = [{"row": mark.args[0], "client": mark.kwargs.get("client", "boto3")} for mark in item.iter_markers("covers")]
        line = {"name": item.nodeid, "result": report.outcome, "reason": reason, "covers": covers}
        with open(path, "a") as file:
            file.write(json.dumps(line) + "\n")
    return report


@pytest.fixture(scope="session", autouse=True)
def clean_host():
    """Nothing of an earlier run may be there, or every count below would be wrong."""
    if os.geteuid() != 0:
        pytest.skip("needs root: the wall is made of namespaces and control groups (run: sudo -E cargo xtask test)")
    assert not host.processes_of(BINARY), "a server of an earlier run is still there"


@pytest.fixture(scope="session")
def work_directory():
    """A directory on disk whose parents every uid may pass, as /var/lib is."""
    directory = Path(tempfile.mkdtemp(prefix="lamplight-test-", dir="/var/tmp"))
    directory.chmod(0o755)
    yield directory
    if not os.environ.get("LAMPLIGHT_KEEP"):
        shutil.rmtree(directory, ignore_errors=True)


numbers = itertools.count(1)


@pytest.fixture
def new_server(work_directory):
    """Makes servers of the test's own; each is stopped at the end and must leave nothing."""
    made: list[Server] = []

    def make(**options) -> Server:
        directory = options.pop("data_directory", None) or work_directory / f"server-{next(numbers)}"
        server = Server(directory, **options)
        made.append(server)
        return server

    yield make
    for server in made:
        if server.process is not None and server.process.poll() is None:
            server.stop()
    for server in made:
        server.assert_nothing_left()


class SharedServer:
    """One server for most tests. A test file that must count processes alone gets it stopped first."""

    def __init__(self, directory: Path):
        self._directory = directory
        self._server: Server | None = None

    def get(self) -> Server:
        if self._server is None:
            self._server = Server(self._directory / "shared").start()
        elif self._server.process.poll() is not None:
            status, log = self._server.process.returncode, self._server.log()[-3000:]
            self._server = None
            raise AssertionError(f"the shared server has ended with status {status}:\n{log}")
        return self._server

    def stop(self) -> None:
        if self._server is not None:
            server, self._server = self._server, None
            server.stop()
            server.assert_nothing_left()


@pytest.fixture(scope="session")
def shared_server(work_directory):
    shared = SharedServer(work_directory)
    yield shared
    shared.stop()


@pytest.fixture
def server(shared_server) -> Server:
    """The server that tests share. They may create anything under names of their own."""
    return shared_server.get()


@pytest.fixture
def alone(shared_server):
    """For tests that count things of the whole host: no other server runs."""
    shared_server.stop()


@pytest.fixture
def client(server):
    return server.client()


@pytest.fixture
def deploy(server):
    """`deploy(files, **configuration)` gives an active function that is deleted after the test."""
    made: list[functions.Function] = []

    def make(files, **configuration):
        function = functions.create(server, files, **configuration)
        made.append(function)
        return function

    yield make
    for function in made:
        try:
            function.delete()
        except Exception as error:  # The test may have deleted it, or killed the server.
            if "ResourceNotFoundException" not in str(error) and server.process.poll() is None:
                raise


@pytest.fixture
def node() -> str:
    """The managed runtime of the host's Node."""
    runtime = functions.node_runtime()
    if runtime is None:
        pytest.skip("no node on this machine (get it with: apt-get install nodejs)")
    return runtime
