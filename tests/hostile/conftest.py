"""Hostile functions, and the neighbour who must not notice them."""

from __future__ import annotations

import threading
import time

import pytest

from support import host
from support.functions import Function

# A debug build on two busy cores; a neighbour that waits longer is starved, not slow.
NEIGHBOUR_SECONDS = 8.0 * host.SLOWNESS


class Neighbour:
    """Calls an honest function again and again while the test goes on."""

    def __init__(self, function: Function):
        self._function = function
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.answers = 0
        self.errors: list[str] = []
        self.longest_seconds = 0.0

    def _run(self) -> None:
        while not self._stop.is_set():
            begun = time.monotonic()
            try:
                if self._function.ok({"n": self.answers}) != {"n": self.answers}:
                    self.errors.append("a wrong answer")
                self.answers += 1
            except Exception as error:
                self.errors.append(str(error))
            self.longest_seconds = max(self.longest_seconds, time.monotonic() - begun)
            self._stop.wait(0.05)

    def __enter__(self) -> "Neighbour":
        self._function.ok({"n": 0})
        self._thread.start()
        return self

    def __exit__(self, kind, value, trace) -> None:
        # Its last call begins after the attack is over: the neighbour also lives on.
        self._stop.set()
        self._thread.join(60)
        if kind is None:
            self._function.ok({"n": "after"})
            assert not self.errors, self.errors[:3]
            assert self.answers >= 1
            assert self.longest_seconds < NEIGHBOUR_SECONDS, f"the neighbour waited {self.longest_seconds:.1f} s"


@pytest.fixture
def neighbour(deploy):
    """An honest function that is called throughout the test; its failure is the test's."""
    with Neighbour(deploy({"app.py": "def handler(event, context): return event"})) as neighbour:
        yield neighbour


@pytest.fixture
def attack(deploy, neighbour):
    """`attack(source, event)` deploys a hostile function beside the neighbour and gives its answer."""

    def run(source, event=None, **configuration):
        return deploy({"app.py": source}, **configuration).invoke(event)

    return run
