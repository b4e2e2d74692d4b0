"""The host as /proc and /sys show it: processes with their roles and capabilities, and what a server may leave behind."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

# How much more patience an emulated machine needs (tests/guest/run.py sets it).
SLOWNESS = float(os.environ.get("LAMPLIGHT_SLOWNESS", "1"))
# First of the host uids that servers give to their daemon and sandboxes (ARCHITECTURE.md, "Processes").
FIRST_UID = 0x7000_0000
UIDS_OF_A_SERVER = 65_536
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
CAPABILITY_SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


@dataclass(frozen=True)
class Process:
    """One process at the moment it was looked at."""

    pid: int
    parent: int
    name: str
    uid: int
    inner_pids: tuple[int, ...]
    started: int
    """Clock ticks since boot: tells a process from a later one with its number."""
    capabilities: dict[str, int] = field(hash=False, compare=False)
    status: dict[str, str] = field(hash=False, compare=False)

    @property
    def is_first_of_namespace(self) -> bool:
        return len(self.inner_pids) > 1 and self.inner_pids[-1] == 1

    def alive(self) -> bool:
        seen = read_process(self.pid)
        return seen is not None and seen.started == self.started and not seen.status["State"].startswith("Z")

    def __str__(self) -> str:
        return f"{self.pid} {self.name} (parent {self.parent}, user {self.uid:#x}, {self.status['State']})"


def read_process(pid: int) -> Process | None:
    """The process, or None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(errors="replace")
        started = int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(") ")[2].split()[19])
    except OSError:
        return None
    status = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    return Process(
        pid=pid,
        parent=int(status["PPid"]),
        name=status["Name"],
        uid=int(status["Uid"].split()[1]),
        inner_pids=tuple(int(number) for number in status.get("NSpid", str(pid)).split()),
        started=started,
        capabilities={name: int(status[name], 16) for name in CAPABILITY_SETS},
        status=status,
    )


def processes() -> list[Process]:
    found = (read_process(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return [process for process in found if process is not None]


def descendants(root: int) -> list[Process]:
    """`root` and everything below it, parents before children."""
    children: dict[int, list[Process]] = {}
    for process in processes():
        children.setdefault(process.parent, []).append(process)
    first = read_process(root)
    found = [first] if first else []
    for process in found:
        found.extend(children.get(process.pid, []))
    return found


def has_code(process: Process) -> bool:
    """Whether a function's code is mounted in the process's sandbox."""
    try:
        return " /var/task " in Path(f"/proc/{process.pid}/mountinfo").read_text()
    except OSError:
        return False


def command_line(process: Process) -> bytes:
    try:
        return Path(f"/proc/{process.pid}/cmdline").read_bytes()
    except OSError:
        return b""


def pid_namespace(process: Process) -> str | None:
    try:
        return os.readlink(f"/proc/{process.pid}/ns/pid")
    except OSError:
        return None


def is_version_zygote(process: Process) -> bool:
    """Whether it has imported a function's handler to be forked. What it forked is in a nest, one process namespace deeper."""
    return len(process.inner_pids) == 2 and command_line(process).endswith(b"\0version-zygote\0")


@dataclass
class Tree:
    """The processes of one server by role. Roles follow from the shape of the tree, not from what a process calls itself."""

    keeper: Process
    daemon: Process | None
    spawners: list[Process]
    shells: list[Process]
    """Waiting: prepared for a sandbox that is not there yet."""
    makers: list[Process]
    """Of the spawners, for a moment: whoever makes a sandbox for a forked interpreter."""
    inits: list[Process]
    """Pid 1 of a live instance's sandbox."""
    functions: list[Process]
    """Everything inside the sandboxes of instances but pid 1."""
    spare_inits: list[Process]
    """Pid 1 of a sandbox that is no instance: of a waiting interpreter, of one that is forked (with a function's code or without), of one that compiles."""
    spare: list[Process]
    """Everything else in those."""

    @classmethod
    def of(cls, keeper: int) -> "Tree":
        everything = descendants(keeper)
        below_keeper = [process for process in everything if process.parent == keeper]
        daemon = next((process for process in below_keeper if process.uid >= FIRST_UID and not process.is_first_of_namespace), None)
        spawners = [process for process in below_keeper if process.uid == 0 and not process.is_first_of_namespace]
        firsts = [process for process in everything if process.is_first_of_namespace]
        sandboxes = [process for process in firsts if process.uid >= FIRST_UID]
        jobs = {
            pid_namespace(process) for process in everything if b"/compile_package." in command_line(process) or is_version_zygote(process)
        }
        instances = [process for process in sandboxes if has_code(process) and pid_namespace(process) not in jobs]
        spawner_pids = {spawner.pid for spawner in spawners}
        makers = [process for process in everything if process.uid == 0 and process.parent in spawner_pids and process not in firsts]
        outside = {process.pid for process in [*spawners, *firsts, *makers]} | {keeper} | ({daemon.pid} if daemon else set())
        inside = [process for process in everything if process.pid not in outside]
        namespaces = {pid_namespace(process) for process in instances} - {None}
        functions = [process for process in inside if pid_namespace(process) in namespaces]
        return cls(
            keeper=everything[0],
            daemon=daemon,
            spawners=spawners,
            shells=[process for process in firsts if process.uid < FIRST_UID and process.parent in spawner_pids],
            makers=makers,
            inits=instances,
            functions=functions,
            spare_inits=[process for process in sandboxes if process not in instances],
            spare=[process for process in inside if process not in functions and process.uid >= FIRST_UID],
        )


def processes_of(binary: str) -> set[int]:
    """Processes that run this program."""
    real = os.path.realpath(binary)
    found = set()
    for process in processes():
        if process.status["State"].startswith("Z"):
            continue
        try:
            executable = os.readlink(f"/proc/{process.pid}/exe")
        except OSError:
            executable = ""
        if executable == real:
            found.add(process.pid)
    return found


def cgroups_named(names: set[str]) -> set[str]:
    """Control group directories of all hierarchies whose path has one of these names in it."""
    found = {directory for directory, _, _ in os.walk("/sys/fs/cgroup")}
    return {directory for directory in found if names & set(directory.split("/"))}


def server_cgroups(tree: "Tree") -> set[str]:
    """Names of the control groups that only this server's sandboxes are in: `lamplight...` in /proc/PID/cgroup."""
    found = set()
    for process in [*tree.shells, *tree.inits, *tree.spare_inits]:
        try:
            text = Path(f"/proc/{process.pid}/cgroup").read_text()
        except OSError:
            continue
        found |= {part for part in re.split(r"[/\n]", text) if part.startswith("lamplight")}
    return found


def mounts() -> list[str]:
    return Path("/proc/self/mountinfo").read_text().splitlines()


def loop_files() -> dict[str, str]:
    """Backing file by loop device."""
    found = {}
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            found[path.parts[3]] = path.read_text().strip()
        except OSError:
            pass
    return found


def links() -> set[str]:
    """Network interfaces of this network namespace."""
    return set(os.listdir("/sys/class/net"))


def namespaces() -> dict[str, int]:
    """Number of namespaces that have a process or one of our own descriptors in them, by kind."""
    seen: dict[str, set[str]] = {}
    for process in os.listdir("/proc"):
        if not process.isdigit():
            continue
        for kind in NAMESPACES:
            try:
                seen.setdefault(kind, set()).add(os.readlink(f"/proc/{process}/ns/{kind}"))
            except OSError:
                pass
        try:
            for descriptor in os.listdir(f"/proc/{process}/fd"):
                target = os.readlink(f"/proc/{process}/fd/{descriptor}")
                kind, _, number = target.partition(":[")
                if number and kind in seen:
                    seen[kind].add(target)
        except OSError:
            pass
    return {kind: len(numbers) for kind, numbers in seen.items()}


def kernel_network_namespaces() -> int | None:
    """Live network namespaces as the kernel's allocator counts them, also those that only a socket keeps; None where it does not say."""
    try:
        # What the allocator holds back for each processor counts as used until it is shrunk.
        Path("/sys/kernel/slab/net_namespace/shrink").write_text("1")
        text = Path("/proc/slabinfo").read_text()
    except OSError:
        return None
    match = re.search(r"^net_namespace\s+(\d+)", text, re.MULTILINE)
    return int(match.group(1)) if match else None


def descriptors(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def eventually(condition: Callable[[], object], what: str, seconds: float = 15.0, pause: float = 0.02) -> object:
    """Waits until `condition` holds and gives its value. For state of the kernel that sends no event."""
    deadline = time.monotonic() + seconds * SLOWNESS
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(pause)
