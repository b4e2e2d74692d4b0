"""kill -9 under load: nothing acknowledged is lost, nobody is left behind, and it starts again at once."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

from support import host
from support.functions import ROLE, PYTHON, create, zip_of

FILE_SYSTEM = [{"Arn": "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/fsap-0123456789abcdef0", "LocalMountPath": "/mnt/out"}]
RECORDER = """
    import os
    def handler(event, context):
        descriptor = os.open("/mnt/out/" + event["id"], os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
        os.write(descriptor, b"x")
        os.close(descriptor)
"""


class Load:
    """Threads that create, update, publish, delete and send events, each noting what was acknowledged and what was only tried."""

    def __init__(self, server, recorder: str, generation: int):
        self.server, self.recorder, self.generation = server, recorder, generation
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.acknowledged = 0
        # Function name -> descriptions that may be current: one after an acknowledgement, two while one is under way.
        self.descriptions: dict[str, set[str]] = {}
        self.versions: dict[str, set[int]] = {}
        self.possible_versions: dict[str, int] = {}
        self.deleted: set[str] = set()
        self.maybe: set[str] = set()
        self.events: set[str] = set()
        self.unexpected: list[str] = []
        self.threads = [threading.Thread(target=self._changes, args=(number,)) for number in range(2)]
        self.threads += [threading.Thread(target=self._events, args=(number,)) for number in range(2)]
        self.threads += [threading.Thread(target=self._calls)]

    def __enter__(self) -> "Load":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(60)

    def _noted(self) -> None:
        with self.lock:
            self.acknowledged += 1

    def _until_killed(self, step) -> None:
        number = 0
        while not self.stop.is_set():
            number += 1
            try:
                step(number)
            except (ConnectionError, HTTPClientError, OSError):
                return  # Killed: from here on nothing is acknowledged.
            except ClientError as error:
                self.unexpected.append(str(error))
                return

    def _changes(self, thread: int) -> None:
        client = self.server.client()
        code = zip_of({"app.py": "def handler(e, c): return e"})

        def step(number: int) -> None:
            name = f"g{self.generation}-t{thread}-{number}"
            self.maybe.add(name)
            self.descriptions[name] = {"created"}
            client.create_function(FunctionName=name, Runtime=PYTHON, Handler="app.handler", Role=ROLE, Code={"ZipFile": code}, Description="created")
            self.maybe.discard(name)
            self._noted()
            client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 0, "MaxAttempts": 2000})
            self.descriptions[name].add("updated")
            client.update_function_configuration(FunctionName=name, Description="updated")
            self.descriptions[name] = {"updated"}
            self._noted()
            client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 0, "MaxAttempts": 2000})
            self.possible_versions[name] = 1
            version = client.publish_version(FunctionName=name)["Version"]
            self.versions[name] = {int(version)}
            self._noted()
            if number % 3 == 0:
                self.maybe.add(name)
                client.delete_function(FunctionName=name)
                self.maybe.discard(name)
                self.deleted.add(name)
                self._noted()

        self._until_killed(step)

    def _events(self, thread: int) -> None:
        client = self.server.client()

        def step(number: int) -> None:
            identifier = f"g{self.generation}-e{thread}-{number}"
            client.invoke(FunctionName=self.recorder, InvocationType="Event", Payload=json.dumps({"id": identifier}))
            self.events.add(identifier)
            self._noted()
            time.sleep(0.005)  # A load, not a flood: the queue's worker has to follow on two cores.

        self._until_killed(step)

    def _calls(self) -> None:
        client = self.server.client()

        def step(number: int) -> None:
            client.invoke(FunctionName=self.recorder, Payload=json.dumps({"id": f"call-{self.generation}-{number}"}))["Payload"].read()

        self._until_killed(step)


def account(server, load: Load, output: Path) -> None:
    """Every acknowledged change is there, every acknowledged deletion too, and every event runs."""
    client = server.client()
    present = {function["FunctionName"]: function for page in client.get_paginator("list_functions").paginate() for function in page["Functions"]}
    for name, descriptions in load.descriptions.items():
        if name in load.maybe:
            continue
        if name in load.deleted:
            assert name not in present, f"{name} was deleted and is back"
            continue
        assert name in present, f"{name} was created and is gone"
        assert present[name]["Description"] in descriptions, name
        versions = {version["Version"] for version in client.list_versions_by_function(FunctionName=name)["Versions"]} - {"$LATEST"}
        assert {str(version) for version in load.versions.get(name, set())} <= versions, name
    # Code of what is there can be fetched and run.
    survivors = [name for name in load.descriptions if name in present][-3:]
    for name in survivors:
        client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
        answer = client.invoke(FunctionName=name, Payload=b'{"alive": true}')
        assert json.loads(answer["Payload"].read()) == {"alive": True}

    def missing():
        return load.events - set(os.listdir(output))

    try:
        host.eventually(lambda: not missing(), "every acknowledged event has run", seconds=90)
    except AssertionError:
        raise AssertionError(f"{len(missing())} of {len(load.events)} acknowledged events never ran: {sorted(missing())[:5]}") from None


def recorder_with_output(server):
    function = create(server, {"app.py": RECORDER}, name="recorder", FileSystemConfigs=FILE_SYSTEM, Timeout=30)
    function.ok({"id": "probe"})
    (found,) = (server.data_directory / "file-systems").rglob("probe")
    return function, found.parent


def victim_of(server, who: str) -> int:
    tree = server.tree()
    return {"keeper": server.pid, "daemon": tree.daemon.pid}[who]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "who",
    [pytest.param("keeper", marks=pytest.mark.covers("instance:kill keeper")), pytest.param("daemon", marks=pytest.mark.covers("instance:kill daemon"))],
)
def test_a_killed_platform_loses_nothing_acknowledged(new_server, who):
    server = new_server(listen="127.0.0.1:0").start()
    server.listen = f"127.0.0.1:{server.port}"  # The same port from now on: it must be free at once.
    _, output = recorder_with_output(server)
    loads = []
    for generation in range(3):
        with Load(server, "recorder", generation) as load:
            # Not a fixed time but a fixed amount of acknowledged work.
            host.eventually(lambda: load.acknowledged >= 60 or load.unexpected, "the load is under way", seconds=60)
            os.kill(victim_of(server, who), signal.SIGKILL)
            server.process.wait(30)
        assert not load.unexpected, load.unexpected[:3]
        loads.append(load)
        begun = time.monotonic()
        server.start()
        assert time.monotonic() - begun < 20, "it starts again at once"
        account(server, load, output)
    for load in loads:
        account(server, load, output)
    assert server.stop() == 0
    server.assert_nothing_left()


@pytest.mark.covers("instance:kill keeper")
@pytest.mark.parametrize("who", ["keeper", "daemon"])
def test_a_killed_platform_leaves_no_orphan(new_server, who):
    server = new_server().start()
    function = create(server, {"app.py": "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(1000)\ndef handler(e, c): time.sleep(e['s'])"}, Timeout=60)
    function.ok({"s": 0})
    thread = threading.Thread(target=lambda: pytest.raises(Exception, function.invoke, {"s": 50}))
    thread.start()
    host.eventually(lambda: len(server.tree().functions) >= 2, "function processes are there")
    server._remember()
    os.kill(victim_of(server, who), signal.SIGKILL)
    server.process.wait(30)
    thread.join(30)
    # Processes go with their parents; control groups of a killed keeper are the successor's to remove.
    host.eventually(lambda: not [line for line in server.leftovers() if line.startswith("process")], "no process is left", seconds=10)
    server.start()
    assert server.stop() == 0
    server.assert_nothing_left()


@pytest.mark.covers("instance:kill spawner")
@pytest.mark.timeout(180)
def test_a_killed_spawner_fails_its_calls_only_and_comes_back(new_server):
    server = new_server().start()
    function = create(server, {"app.py": "import time\ndef handler(e, c):\n    time.sleep(e['s'])\n    return 'done'"}, Timeout=60)
    for _ in range(3):
        spawners = server.tree().spawners
        outcomes: list[str] = []

        def call():
            try:
                outcomes.append(function.ok({"s": 4}))
            except ClientError as error:
                outcomes.append(error.response["Error"]["Code"])

        threads = [threading.Thread(target=call) for _ in range(6)]
        for thread in threads:
            thread.start()
        host.eventually(lambda: len(server.tree().inits) >= 6, "six instances run")
        os.kill(spawners[0].pid, signal.SIGKILL)
        for thread in threads:
            thread.join(60)
        assert set(outcomes) <= {"done", "ServiceException"} and len(outcomes) == 6, outcomes
        assert "ServiceException" in outcomes, "the killed spawner held calls"
        host.eventually(lambda: len(server.tree().spawners) == len(spawners), "the spawner is back")
        assert [function.ok({"s": 0}) for _ in range(4)] == ["done"] * 4
    assert server.stop() == 0
    server.assert_nothing_left()


@pytest.mark.covers("instance:kill init")
def test_a_killed_init_fails_its_call_and_leaves_nothing(new_server):
    server = new_server().start()
    function = create(server, {"app.py": "import subprocess, time\ndef handler(e, c):\n    if e['s']: subprocess.Popen(['/bin/sleep', '1000'])\n    time.sleep(e['s'])\n    return 'done'"}, Timeout=60)
    outcomes: list[str] = []

    def call():
        try:
            outcomes.append(function.ok({"s": 20}))
        except ClientError as error:
            outcomes.append(error.response["Error"]["Code"])

    thread = threading.Thread(target=call)
    thread.start()
    tree = host.eventually(lambda: (lambda seen: seen if seen.inits and len(seen.functions) >= 2 else None)(server.tree()), "the call runs")
    # That of a compiler which has just ended looks like an instance's for a moment, but nothing runs beside it.
    running = {host.pid_namespace(process) for process in tree.functions}
    init = next(process for process in tree.inits if host.pid_namespace(process) in running)
    uid = init.uid
    os.kill(init.pid, signal.SIGKILL)
    thread.join(60)
    assert outcomes == ["ServiceException"]
    host.eventually(lambda: not [process for process in host.processes() if process.uid == uid and "Z" not in process.status["State"]], "its processes are gone")
    assert function.ok({"s": 0}) == "done"


@pytest.mark.covers("runtime:file system")
def test_a_file_survives_a_kill_and_a_new_instance(new_server):
    server = new_server().start()
    function = create(
        server,
        {"app.py": """
            import os, sqlite3
            def handler(event, context):
                database = sqlite3.connect("/mnt/notes/notes.sqlite")
                database.execute("create table if not exists notes (text)")
                if "text" in event:
                    with database:
                        database.execute("insert into notes values (?)", [event["text"]])
                return [row[0] for row in database.execute("select text from notes")]
        """},
        FileSystemConfigs=[{**FILE_SYSTEM[0], "LocalMountPath": "/mnt/notes"}],
    )
    assert function.ok({"text": "kept"}) == ["kept"]
    server.kill()
    server.start()
    assert function.ok() == ["kept"]


def kill_until(stop: threading.Event, killed: list[int], find, pause_seconds: float) -> None:
    """Kills what `find` gives, again and again, and notes the process ids."""
    while not stop.is_set():
        for process in find():
            try:
                os.kill(process.pid, signal.SIGKILL)
                killed.append(process.pid)
            except ProcessLookupError:
                pass
        stop.wait(pause_seconds)


def zygotes_of(server) -> list[host.Process]:
    """The interpreters that are forked: not in a nest themselves, which is one more process namespace deep."""
    return [process for process in server.tree().spare if len(process.inner_pids) == 2 and host.command_line(process).endswith(b"\0zygote\0")]


def version_zygotes_of(server) -> list[host.Process]:
    """Those that have imported a function's handler."""
    return [process for process in server.tree().spare if host.is_version_zygote(process)]


@pytest.mark.covers("instance:kill zygote")
@pytest.mark.timeout(240)
def test_killed_version_zygotes_lose_nothing(new_server):
    """Cold calls of functions with heavy imports, while one version zygote after the other is killed."""
    server = new_server(environment={"LAMPLIGHT_INSTANCES_KEEP_ALIVE_SECONDS": "0"}).start()
    source = "import time\ntime.sleep(0.03)\ndef handler(e, c):\n    time.sleep(0.02)\n    return e['id']"
    names = [f"heavy-{number}" for number in range(6)]
    handlers = [create(server, {"app.py": source}, name=name) for name in names]
    stop, killed, problems, ways = threading.Event(), [], [], []

    def kill():
        kill_until(stop, killed, lambda: version_zygotes_of(server)[:1], pause_seconds=0.2)

    def call(function):
        for number in range(60):
            try:
                answer = function.invoke({"id": number})
                assert answer.error is None and answer.json == number, answer
                ways.append(answer.report.get("Start", "").partition(" (")[0])
            except Exception as error:
                problems.append(repr(error))

    for function in handlers:
        function.ok({"id": 0})
    host.eventually(lambda: len(version_zygotes_of(server)) == len(names), "a zygote for each version")
    killer = threading.Thread(target=kill)
    threads = [threading.Thread(target=call, args=(function,)) for function in handlers]
    for thread in threads:
        thread.start()
    host.eventually(lambda: ways.count("version zygote") >= len(names), "instances are forked after their imports")
    killer.start()
    for thread in threads:
        thread.join(120)
    stop.set()
    killer.join(10)
    assert not problems, problems[:3]
    assert len(killed) >= len(names) and len(ways) == 60 * len(names)
    assert "version zygote" in ways and set(ways) - {"version zygote"}, ways
    assert server.stop() == 0
    server.assert_nothing_left()


@pytest.mark.covers("instance:kill zygote")
@pytest.mark.timeout(240)
def test_killed_zygotes_lose_nothing(new_server):
    """First calls of new functions, synchronous and not, while every zygote that appears is killed."""
    server = new_server().start()
    first = create(server, {"app.py": "def handler(e, c): return 'up'"})
    first.ok()
    host.eventually(lambda: zygotes_of(server), "a zygote waits")
    stop, killed, problems, answers, events = threading.Event(), [], [], [], []

    def kill():
        kill_until(stop, killed, lambda: zygotes_of(server), pause_seconds=0.05)

    def call(thread: int):
        for number in range(15):
            name = f"zygote-{thread}-{number}"
            try:
                function = create(server, {"app.py": "def handler(e, c):\n    print('seen', e['id'])\n    return e['id']"}, name=name)
                server.client().invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps({"id": "event-" + name}))
                events.append(name)
                answers.append(function.ok({"id": name}) == name)
            except Exception as error:
                problems.append(repr(error))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(3)]
    killer = threading.Thread(target=kill)
    for thread in [*threads, killer]:
        thread.start()
    for thread in threads:
        thread.join(120)
    stop.set()
    killer.join(10)
    assert not problems, problems[:3]
    assert len(killed) >= 5 and len(events) == 45 and answers == [True] * 45
    logs = server.client("logs")

    def seen(name: str) -> bool:
        found = logs.filter_log_events(logGroupName=f"/aws/lambda/{name}", filterPattern=f'"seen event-{name}"')["events"]
        return len(found) >= 1

    host.eventually(lambda: all(seen(name) for name in events), "every event has run", seconds=60)

    def back():
        # What waits may all have been started without one meanwhile; a first call takes one of those, and others are made.
        create(server, {"app.py": "def handler(e, c): return 'up'"}).ok()
        return zygotes_of(server)

    host.eventually(back, "a zygote is back", seconds=90)
    assert server.stop() == 0
    server.assert_nothing_left()
