"""kill -9 while queues are worked off: nothing is lost, and groups keep their order."""

from __future__ import annotations

import os
import signal
import time

import pytest

from support.host import eventually
from support.queues import Sources


def killed(server) -> None:
    os.kill(server.tree().daemon.pid, signal.SIGKILL)
    server.process.wait(30)
    server.start()


@pytest.fixture
def sources(new_server):
    server = new_server().start()
    server.listen = f"127.0.0.1:{server.port}"
    made = Sources(server)
    yield made
    made.refresh()
    made.clean()
    assert server.stop() == 0


@pytest.mark.timeout(300)
@pytest.mark.covers("invocation:SQS kill -9")
def test_every_phase_of_a_batch(sources):
    server = sources.server
    # While a batch gathers.
    url, name = sources.queue(VisibilityTimeout="2"), sources.recorder(Timeout=2).name
    sources.map(name, url, MaximumBatchingWindowInSeconds=3)
    sources.send(url, "gathered")
    eventually(lambda: sources.count(url) == (0, 1), "it is received")
    killed(server)
    sources.refresh()
    sources.until_empty(url, 60)
    assert set(sources.bodies(name)) == {"gathered"}
    # While the function runs.
    sources.send(url, "sleep 1.5")
    sources.until(name, len(sources.events(name)) + 1)
    killed(server)
    sources.refresh()
    sources.until_empty(url, 60)
    assert sources.bodies(name).count("sleep 1.5") >= 2, "it was not done when the server was killed"


@pytest.mark.timeout(300)
@pytest.mark.covers("invocation:SQS kill -9")
def test_any_moment(sources):
    server = sources.server
    plain, fifo = sources.queue(VisibilityTimeout="3"), sources.queue(fifo=True, VisibilityTimeout="3")
    function, ordered = sources.recorder(Timeout=3).name, sources.recorder(Timeout=3).name
    sources.map(function, plain)
    sources.map(ordered, fifo, BatchSize=1)
    sent, groups = [], {"a": 0, "b": 0}
    for generation in range(3):
        for number in range(20):
            sent += sources.send_one(plain, f"{generation}-{number}")
            for group in groups:
                sources.send_one(fifo, f"{group} {groups[group]}", MessageGroupId=group)
                groups[group] += 1
        # A different place in the work each time.
        done = len(sources.events(function)) + 2 + generation
        eventually(lambda: len(sources.events(function)) >= done or sources.count(plain) == (0, 0), "work is under way")
        killed(server)
        sources.refresh()
    sources.until_empty(plain, 90)
    sources.until_empty(fifo, 90)
    assert set(sources.bodies(function)) == set(sent), "every message came, at least once"
    bodies = [body.split() for body in sources.bodies(ordered)]
    for group, count in groups.items():
        numbers = [int(number) for name, number in bodies if name == group]
        assert numbers == sorted(numbers) and set(numbers) == set(range(count)), numbers


@pytest.mark.covers("invocation:SQS pauses")
def test_a_server_that_stops_lets_its_batches_end(sources):
    url, name = sources.queue(VisibilityTimeout="30"), sources.recorder(Timeout=10).name
    sources.map(name, url)
    sources.send(url, "sleep 2")
    sources.until(name, 1)
    began = time.monotonic()
    assert sources.server.stop() == 0
    assert time.monotonic() - began > 1
    assert len(sources.notes(name, "end")) == 1
    sources.server.start()
    sources.refresh()
    assert sources.count(url) == (0, 0), "what was done was deleted before the server ended"
