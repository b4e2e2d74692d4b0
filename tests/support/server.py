"""The real program as a child process: started on a free port, stopped or killed, and looked after for what it leaves."""

from __future__ import annotations

import atexit
import functools
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import boto3
from botocore.config import Config

from support import host

BINARY = os.environ.get("LAMPLIGHT_BINARY", "target/debug/lamplight")
# Nothing of the caller's: every LAMPLIGHT_ variable is configuration.
PLAIN_ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": "/root", "NO_COLOR": "1"}
# A debug build on a busy two-core machine that makes its first /tmp template.
READY_SECONDS = 60 * host.SLOWNESS
STOP_SECONDS = 40 * host.SLOWNESS
READY = re.compile(rb"listening on (http://\S+)")


@functools.cache
def binary_for_everybody() -> str:
    """The program where other users may run it, too: the build's own directories may be closed to them."""
    directory = tempfile.mkdtemp(prefix="lamplight-")
    atexit.register(shutil.rmtree, directory)
    os.chmod(directory, 0o755)
    return shutil.copy(BINARY, directory)


class Server:
    """One `lamplight serve` on a data directory."""

    def __init__(self, data_directory: Path, *, listen: str = "127.0.0.1:0", arguments: tuple[str, ...] = (), prefix: tuple[str, ...] = (), environment: dict[str, str] | None = None):
        self.data_directory = data_directory
        self.listen = listen
        self.arguments = arguments
        self.prefix = prefix
        self.environment = environment or {}
        self.log_path = data_directory.parent / f"{data_directory.name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.endpoint = ""
        self._clients: dict[tuple[str, str], object] = {}
        self._cgroup_names: set[str] = set()
        self._uids = range(0)
        self._processes: set[host.Process] = set()
        self._links_before = host.links()

    def start(self) -> "Server":
        """Returns once the server has said that it listens."""
        offset = self.log_path.stat().st_size if self.log_path.exists() else 0
        self._clients.clear()
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, BINARY, "serve", "--listen", self.listen, "--data-dir", str(self.data_directory), *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**PLAIN_ENVIRONMENT, "LAMPLIGHT_LOG": "info", **self.environment},
            )
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            said = self.log_path.read_bytes()[offset:]
            if match := READY.search(said):
                self.endpoint = match.group(1).decode().rstrip("/")
                self._remember()
                return self
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with status {self.process.returncode}:\n{said.decode(errors='replace')}")
            time.sleep(0.01)
        self.kill()
        raise AssertionError(f"the server did not listen within {READY_SECONDS} s:\n{self.log()}")

    @property
    def port(self) -> int:
        return int(self.endpoint.rsplit(":", 1)[1])

    @property
    def pid(self) -> int:
        # `ip netns exec` and the like become the program itself, so a prefix changes nothing.
        assert self.process is not None
        return self.process.pid

    def _remember(self) -> None:
        """Notes by which its leftovers are known later: other servers may run on this host."""
        if self.process is None or self.process.poll() is not None:
            return
        tree = self.tree()
        if tree.daemon:
            self._uids = range(tree.daemon.uid, tree.daemon.uid + host.UIDS_OF_A_SERVER)
        self._cgroup_names |= host.server_cgroups(tree)
        self._processes = set(host.descendants(self.pid))

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def tree(self) -> host.Tree:
        return host.Tree.of(self.pid)

    def stop(self, seconds: float = STOP_SECONDS) -> int:
        """SIGTERM, and waits for the end. Gives the exit status."""
        assert self.process is not None
        self._remember()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the server did not end within {seconds} s of SIGTERM:\n{self.log()[-4000:]}") from None

    def kill(self) -> None:
        """SIGKILL to the first process only, as a machine's out-of-memory killer would."""
        assert self.process is not None
        self._remember()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def leftovers(self) -> list[str]:
        """What is still there of a server that has ended: processes, control groups, mounts, loop devices, links."""
        directory = str(self.data_directory)
        found = [f"process {process}" for process in self._processes if process.alive()]
        found += [f"process {process}" for process in host.processes() if process.uid in self._uids and process.alive()]
        found += [f"cgroup {path}" for path in sorted(host.cgroups_named(self._cgroup_names))]
        found += [f"mount {line}" for line in host.mounts() if directory in line]
        found += [f"loop device {name} on {path}" for name, path in host.loop_files().items() if directory in path]
        found += [f"network link {name}" for name in host.links() - self._links_before]
        return found

    def assert_nothing_left(self, seconds: float = 15.0) -> None:
        """The kernel takes namespaces and loop devices down a moment after the last process; later is a leak."""
        deadline = time.monotonic() + seconds * host.SLOWNESS
        while found := self.leftovers():
            if time.monotonic() > deadline:
                raise AssertionError("left behind:\n  " + "\n  ".join(found))
            time.sleep(0.05)

    def client(self, service: str = "lambda", region: str = "us-east-1"):
        """A stock boto3 client. It never retries: the first answer is what is tested."""
        key = (service, region)
        if key not in self._clients:
            self._clients[key] = boto3.client(
                service,
                endpoint_url=self.endpoint,
                region_name=region,
                aws_access_key_id="test",
                aws_secret_access_key="test",
                config=Config(retries={"total_max_attempts": 1}, read_timeout=150, connect_timeout=10, max_pool_connections=256),
            )
        return self._clients[key]

    def environment_for_clients(self) -> dict[str, str]:
        """For command lines: the endpoint, dummy credentials, nothing of the caller's own configuration."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.data_directory.parent),
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
