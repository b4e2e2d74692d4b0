"""The server as a process: who holds capabilities, who may start, how it ends."""

import os
import signal
import subprocess
import threading
import time

import pytest

from support import host
from support.functions import create
from support.server import BINARY, PLAIN_ENVIRONMENT


@pytest.mark.covers("wall:capabilities")
def test_only_keeper_spawners_and_waiting_shells_hold_capabilities(server, deploy):
    function = deploy({"app.py": "import subprocess\nchild = subprocess.Popen(['/bin/sleep', '100'])\ndef handler(e, c): return 1"})
    function.ok()
    tree = host.eventually(lambda: (lambda seen: seen if seen.inits and seen.functions and seen.shells else None)(server.tree()), "a sandbox with processes, and waiting shells")
    assert tree.daemon and len(tree.spawners) >= 1
    for process in [tree.daemon, *tree.inits, *tree.functions, *tree.spare_inits, *tree.spare]:
        held = {name: hex(value) for name, value in process.capabilities.items() if value}
        assert not held, f"{process.name} ({process.pid}) holds {held}"
        assert process.status["NoNewPrivs"] == "1", process
        assert process.uid >= host.FIRST_UID
        assert process.status["Groups"].strip() == "", process
    for process in [*tree.inits, *tree.functions, *tree.spare_inits, *tree.spare]:
        assert process.status["Seccomp"] == "2", process
    assert len({tree.daemon.uid, *[process.uid for process in tree.inits]}) == 1 + len({process.uid for process in tree.inits})
    for process in [tree.keeper, *tree.spawners]:
        assert process.uid == 0
        assert process.status["Threads"] == "1", "the privileged ones are single-threaded"
    with open(f"/proc/{tree.daemon.pid}/limits") as limits:
        core = next(line for line in limits if line.startswith("Max core file size"))
    assert core.split()[4] in ("0", "1"), core


@pytest.mark.covers("instance:second server")
def test_a_second_server_on_the_same_directory_is_refused(server):
    second = subprocess.run(
        [BINARY, "serve", "--listen", "127.0.0.1:0", "--data-dir", str(server.data_directory)], capture_output=True, text=True, timeout=30, env=PLAIN_ENVIRONMENT
    )
    assert second.returncode == 2, second
    assert str(server.data_directory) in second.stderr + second.stdout
    assert server.client().list_functions()["ResponseMetadata"]["HTTPStatusCode"] == 200, "the first one goes on"


def test_a_port_in_use_is_said(server, work_directory):
    second = subprocess.run(
        [BINARY, "serve", "--listen", f"127.0.0.1:{server.port}", "--data-dir", str(work_directory / "other")], capture_output=True, text=True, timeout=30, env=PLAIN_ENVIRONMENT
    )
    assert second.returncode == 2, second
    assert str(server.port) in second.stderr


@pytest.mark.covers("instance:drain")
def test_sigterm_finishes_calls_in_flight(new_server):
    server = new_server().start()
    function = create(server, {"app.py": "import time\ndef handler(e, c):\n    time.sleep(e['s'])\n    return 'finished'"})
    function.ok({"s": 0})
    answers = []
    thread = threading.Thread(target=lambda: answers.append(function.ok({"s": 3})))
    thread.start()
    uid = server.tree().inits[0].uid
    # The call is in flight when the instance is thawed: its process runs again.
    host.eventually(lambda: any(p.uid == uid and p.status["State"][0] in "SR" for p in server.tree().functions), "the call has begun")
    time.sleep(0.5)
    assert server.stop() == 0
    thread.join()
    assert answers == ["finished"]
    server.assert_nothing_left()


@pytest.mark.covers("instance:drain")
def test_ctrl_c_ends_it_too(new_server):
    server = new_server().start()
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(40) == 0


@pytest.mark.covers("instance:log not writable")
@pytest.mark.parametrize("standard_error", ["/dev/full", "a pipe that nobody reads"])
def test_a_log_that_cannot_be_written_stops_nothing(new_server, standard_error):
    redirected = "2>/dev/full" if standard_error == "/dev/full" else "2> >(exec true)"
    server = new_server(prefix=("bash", "-c", f'exec "$0" "$@" {redirected}')).start()
    client, sqs = server.client(), server.client("sqs")
    # Each of these is worth a line in the log, by the request, by the daemon and by the keeper.
    function = create(server, {"app.py": "def handler(e, c): return e['a']"})
    assert function.ok({"a": 1}) == 1
    sqs.create_queue(QueueName="log")
    os.kill(server.tree().spawners[0].pid, signal.SIGKILL)

    def is_served():
        try:
            return function.ok({"a": 2}) == 2
        except client.exceptions.ServiceException:
            return False  # The spawner is not there yet.

    host.eventually(is_served, "the spawner was started again")
    client.delete_function(FunctionName=function.name)
    assert server.stop() == 0
    server.assert_nothing_left()


def test_a_server_that_never_ran_anything_leaves_nothing(new_server):
    server = new_server().start()
    assert server.stop() == 0
    server.assert_nothing_left()
