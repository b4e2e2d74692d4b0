"""Runs inside the guest of `cargo xtask test-guest`, as root on Debian's kernel: prepares it, runs the plan, prints RESULT lines.

Plain standard library. The plan: the sandbox's contract, its unit tests that need this kernel, and the end-to-end suites
with the real clients.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

BIN = Path("/guest/bin")
FILTER = os.environ.get("GUEST_FILTER", "")
# Emulation is some twenty times slower; the suites multiply their patience by it.
SLOWNESS = "15"
# What proves the wall on this kernel and cgroup v2. The whole suite runs on the host.
SUITES = [
    "hostile/test_files.py",
    "hostile/test_processes.py",
    "hostile/test_network.py",
    "hostile/test_resources.py::test_memory_stops_at_the_limit",
    "hostile/test_resources.py::test_open_files_stop_at_the_limit",
    "hostile/test_resources.py::test_a_fork_bomb_stops_at_the_limit",
    "hostile/test_resources.py::test_a_small_function_fills_its_tmp_and_gets_enospc",
    "hostile/test_resources.py::test_unused_tmp_gives_no_memory",
    "invoke/test_python.py::test_context_layout_and_environment",
    "invoke/test_python.py::test_a_timeout_kills_the_instance_and_its_tmp_lives_on",
    "instances/test_server.py::test_only_keeper_spawners_and_waiting_shells_hold_capabilities",
]


def say(text: str) -> None:
    print(text, flush=True)


def result(name: str, outcome: str, reason: str = "") -> None:
    say("RESULT " + json.dumps({"name": name, "result": outcome, "reason": reason}))


def load_modules() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    for path in sorted(Path("/guest/modules").iterdir()):
        descriptor = os.open(path, os.O_RDONLY)
        if libc.syscall(313, descriptor, b"", 0) != 0:  # finit_module
            say(f"note: module {path.name} was not loaded: {os.strerror(ctypes.get_errno())}")
        os.close(descriptor)


def mount_disk() -> None:
    subprocess.run(["mount", "-t", "ext4", "/dev/vda", "/var"], check=True)
    for name in ("lib", "tmp", "task"):
        os.makedirs(f"/var/{name}", exist_ok=True)
    os.chmod("/var/tmp", 0o1777)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def contract() -> None:
    """The sandbox's own contract prints a line a case."""
    run = subprocess.run([BIN / "contract"], capture_output=True, text=True, timeout=900, env={**os.environ, "TMPDIR": "/var/tmp"})
    say(run.stdout + run.stderr)
    cases = re.findall(r"^(ok|FAILED|TIMEOUT)\s+(\S+)", run.stdout, re.MULTILINE)
    for outcome, name in cases:
        result(f"contract {name.rstrip(':')}", "passed" if outcome == "ok" else "failed")
    if not cases or (run.returncode != 0 and all(outcome == "ok" for outcome, _ in cases)):
        result(f"contract (status {run.returncode})", "failed")


def harness(name: str, *filters: str) -> None:
    """A binary with Rust's usual test harness."""
    run = subprocess.run([BIN / name, "--test-threads=1", *filters], capture_output=True, text=True, timeout=900, env={**os.environ, "TMPDIR": "/var/tmp"})
    cases = re.findall(r"^test (\S+) \.\.\. (?:.*\n)*?.*?(ok|FAILED|ignored)$", run.stdout, re.MULTILINE)
    for case, outcome in cases:
        if outcome != "ignored":
            result(f"contract {name} {case}", "passed" if outcome == "ok" else "failed")
    if run.returncode != 0:
        say(run.stdout + run.stderr)
        if all(outcome == "ok" for _, outcome in cases):
            result(f"contract {name} (status {run.returncode})", "failed")


def end_to_end() -> None:
    report = Path("/tmp/report.jsonl")
    chosen = [suite for suite in SUITES if FILTER in suite or FILTER == "pytest"]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-o", "timeout=900", *(f"/guest/tests/{suite}" for suite in chosen)]
    environment = {
        **os.environ,
        "PYTHONPATH": "/guest/site",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LAMPLIGHT_BINARY": str(BIN / "lamplight"),
        "LAMPLIGHT_REPORT": str(report),
        "LAMPLIGHT_SLOWNESS": SLOWNESS,
        "LAMPLIGHT_KEEP": "1",
    }
    run = subprocess.run(command, env=environment, stdout=sys.stdout, stderr=sys.stdout, timeout=2000, cwd="/guest/tests")
    lines = report.read_text().splitlines() if report.exists() else []
    for line in lines:
        seen = json.loads(line)
        result(seen["name"], seen["result"], seen["reason"])
    if run.returncode != 0:
        for log in sorted(Path("/var/tmp").glob("lamplight-test-*/*.log")):
            say(f"{log}:\n" + "\n".join(log.read_text(errors="replace").splitlines()[-40:]))
    if not lines:
        result(f"pytest (status {run.returncode})", "failed")


def main() -> int:
    begun = time.monotonic()
    say(f"guest: Linux {os.uname().release}, {Path('/sys/fs/cgroup/cgroup.controllers').read_text().strip()}")
    load_modules()
    mount_disk()
    plan = [("contract", contract), ("sandbox-unit", lambda: harness("sandbox-unit")), ("pytest", end_to_end)]
    for name, run in plan:
        if FILTER and FILTER not in name and not (name == "pytest" and any(FILTER in suite for suite in SUITES)):
            continue
        try:
            run()
        except Exception as error:  # The next part of the plan is still worth running.
            result(name, "failed", f"{type(error).__name__}: {error}"[:500])
        say(f"guest: {name} done after {time.monotonic() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
