"""kill -9 while durable executions are in the middle of steps, waits and callbacks: nothing that was checkpointed happens again."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support import durable, functions, host

FILE_SYSTEM = [{"Arn": "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/fsap-0123456789abcdef0", "LocalMountPath": "/mnt/out"}]
EXECUTIONS = 8
STEPS = 6
SOURCE = """
    import os, time
    from aws_durable_execution_sdk_python import DurableContext, durable_execution
    from aws_durable_execution_sdk_python.config import Duration

    def effect(event, name):
        descriptor = os.open(f"/mnt/out/{event['id']}.{name}", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
        os.write(descriptor, b"x")
        os.close(descriptor)
        time.sleep(0.05)
        return name

    @durable_execution
    def handler(event: dict, context: DurableContext):
        done = []
        for number in range(event["steps"]):
            done.append(context.step(lambda step: effect(event, f"step-{number}"), name=f"step-{number}"))
            context.wait(Duration.from_seconds(1), name=f"wait-{number}")
        approval = context.create_callback(name="approval")
        done.append(context.step(lambda step: effect(event, "asked"), name="asked"))
        done.append(approval.result())
        done.append(context.invoke(event["chained"], {"id": event["id"]}, name="chained"))
        done.append(context.step(lambda step: effect(event, "last"), name="last"))
        return done
"""
CHAINED = "def handler(event, context): return 'chained ' + event['id']"


def effects(output: Path) -> Counter[str]:
    return Counter({path.name: len(path.read_bytes()) for path in output.iterdir()})


def checkpointed(executions) -> set[str]:
    """Names of the effects whose steps have been checkpointed, as history tells it."""
    found = set()
    for identity, execution in executions.items():
        found |= {f"{identity}.{event['Name']}" for event in execution.events() if event["EventType"] == "StepSucceeded"}
    return found


@pytest.mark.timeout(400)
@pytest.mark.covers("durable:kill -9", client="Python SDK 3.0.0")
@pytest.mark.parametrize("who", ["keeper", "daemon"])
def test_what_was_checkpointed_happens_once(new_server, who):
    server = new_server().start()
    server.listen = f"127.0.0.1:{server.port}"
    deploy = lambda files, **configuration: functions.create(server, files, **configuration)
    chained = deploy({"app.py": CHAINED}, name="chained")
    function = durable.python(deploy, SOURCE, name="flow", FileSystemConfigs=FILE_SYSTEM)
    identities = [f"e{number}" for number in range(EXECUTIONS)]
    executions = {identity: durable.start(function, {"id": identity, "steps": STEPS, "chained": chained.name}, name=identity) for identity in identities}
    output = host.eventually(lambda: next(((found.parent) for found in (server.data_directory / "file-systems").rglob("*.step-0")), None), "the first effect", 60)

    # In the middle of steps and waits: after each of these many effects.
    for generation in range(3):
        before = sum(effects(output).values())
        host.eventually(lambda: sum(effects(output).values()) >= before + EXECUTIONS, "executions go on", 90)
        victim = {"keeper": server.pid, "daemon": server.tree().daemon.pid}[who]
        server._remember()
        os.kill(victim, signal.SIGKILL)
        server.process.wait(30)
        # Functions went with it: what is counted here was done before.
        seen = effects(output)
        server.start()
        for execution in executions.values():
            execution.client = server.client()
        kept = checkpointed(executions)
        for name in kept:
            assert seen[name] >= 1, f"{name} was checkpointed without having happened"
        # Nothing of that happens again, however long it goes on.
        settled = {name: seen[name] for name in kept}
        host.eventually(lambda: sum(effects(output).values()) > sum(seen.values()), "executions go on after the kill", 60)
        again = {name: count for name, count in settled.items() if effects(output)[name] != count}
        assert not again, f"checkpointed steps were done again: {again}"

    # While all wait for their callbacks.
    callbacks = {identity: execution.event("CallbackStarted", 90)["CallbackStartedDetails"]["CallbackId"] for identity, execution in executions.items()}
    server.kill()
    server.start()
    client = server.client()
    for execution in executions.values():
        execution.client = client
    with ThreadPoolExecutor(EXECUTIONS) as pool:
        list(pool.map(lambda identity: client.send_durable_execution_callback_success(CallbackId=callbacks[identity], Result=identity.encode()), identities))
    # And with the answers there, which were durable when they were acknowledged.
    server.kill()
    server.start()
    for execution in executions.values():
        execution.client = server.client()
    for identity, execution in executions.items():
        ended = execution.ended(90)
        expected = [f"step-{number}" for number in range(STEPS)] + ["asked", identity, f"chained {identity}", "last"]
        assert (ended["Status"], json.loads(ended.get("Result", "null"))) == ("SUCCEEDED", expected), ended
        events = execution.events()
        assert [event["EventId"] for event in events] == list(range(1, len(events) + 1))
        succeeded = Counter(event["Name"] for event in events if event["EventType"] == "StepSucceeded")
        assert set(succeeded.values()) == {1} and len(succeeded) == STEPS + 2
    assert server.stop() == 0
    server.assert_nothing_left()
