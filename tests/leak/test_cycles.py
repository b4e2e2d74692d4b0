"""Start and stop instances many times: every count ends where it began."""

import concurrent.futures

import pytest

from support import host
from support.functions import create


def counts(server) -> dict[str, int]:
    """Everything that a cycle could leave behind, as numbers."""
    tree = server.tree()
    found = {
        "processes of the server": len(host.descendants(server.pid)),
        "control groups": len(host.cgroups_named(server._cgroup_names)),
        "mounts": sum(str(server.data_directory) in line for line in host.mounts()),
        "loop devices": sum(str(server.data_directory) in path for path in host.loop_files().values()),
        "network links": len(host.links()),
        "descriptors of the keeper": host.descriptors(server.pid),
        "descriptors of the daemon": host.descriptors(tree.daemon.pid),
        "threads of the daemon": int(tree.daemon.status["Threads"]),
        "mounts of the keeper": len(open(f"/proc/{server.pid}/mountinfo").readlines()),
    }
    # Which spawner has how many of the sandboxes that wait is chance.
    found["descriptors of spawners"] = sum(host.descriptors(spawner.pid) for spawner in tree.spawners)
    for number, spawner in enumerate(tree.spawners):
        found[f"mounts of spawner {number}"] = len(open(f"/proc/{spawner.pid}/mountinfo").readlines())
    found |= {f"{kind} namespaces": number for kind, number in host.namespaces().items()}
    if (kernel := host.kernel_network_namespaces()) is not None:
        found["network namespaces in the kernel"] = kernel
    return found


# What may differ without being a leak: the daemon's worker threads and idle connections come and go, a spawner makes its
# template of /tmp when it first needs one, up to 32 volumes of crashed instances wait ten minutes for their next ones
# (`carried_volumes` in crates/pool/src/config.rs), other programs of the host have namespaces, and a slab frees late.
# Interpreters that wait, nests that are ready, and the inits of zygotes whose children still wait are a few more or less at any
# moment: two blanks, two nests, and a zygote on its way in or out.
FEW_BLANKS = {"LAMPLIGHT_INSTANCES_BLANKS": "2"}
SANDBOXES = 5
TOLERANCE = {"processes of the server": 2 * SANDBOXES, "control groups": 4 * SANDBOXES, "loop devices": 32, "descriptors of the daemon": 28 * SANDBOXES, "threads of the daemon": 16, "network namespaces in the kernel": 8 + SANDBOXES, "descriptors of spawners": 2 + 2 * SANDBOXES} | {f"{kind} namespaces": SANDBOXES for kind in host.NAMESPACES}
SOURCES = {
    "ends": "import os\ndef handler(e, c): os._exit(0)",
    "crashes": "import os, signal\ndef handler(e, c): os.kill(os.getpid(), signal.SIGSEGV)",
    "forks": "import os, time\ndef handler(e, c):\n    if os.fork() == 0:\n        time.sleep(100)\n    os._exit(1)",
}


def run_cycles(server, cycles: int, at_once: int) -> None:
    """Each cycle is one instance that comes, answers (or dies), and goes. The functions go in the end."""
    functions = [create(server, {"app.py": source}) for source in SOURCES.values()]

    def cycle(number: int) -> None:
        answer = functions[number % len(functions)].invoke()
        assert answer.error == "Unhandled" and answer.error_type == "Runtime.ExitError", answer.body

    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        list(pool.map(cycle, range(cycles)))
    for function in functions:
        function.delete()
    host.eventually(lambda: not server.tree().inits, "the instances are gone")


def check_cycles(server, cycles: int, at_once: int) -> None:
    # The first ones make what stays: templates of /tmp, worker threads, connections.
    run_cycles(server, 4 * at_once, at_once)
    before = waiting_counts(server)
    run_cycles(server, cycles, at_once)

    def grown():
        after = counts(server)
        return {what: (before[what], after[what]) for what in before if after.get(what, 0) > before[what] + TOLERANCE.get(what, 0)}

    try:
        host.eventually(lambda: not grown(), "every count is where it began", seconds=45)
    except AssertionError:
        raise AssertionError(f"after {cycles} cycles, (before, after): {grown()}") from None


def waiting_counts(server) -> dict[str, int]:
    """Counts once the spawners have filled up their shells: the same number three times in a row."""
    last: list[int] = []

    def steady():
        last.append(len(server.tree().shells))
        return len(last) >= 10 and len(set(last[-10:])) == 1

    host.eventually(steady, "the number of waiting shells is steady", seconds=30)
    return counts(server)


@pytest.mark.covers("instance:leak")
@pytest.mark.timeout(300)
def test_two_hundred_cycles_leave_nothing(alone, new_server):
    server = new_server(environment=FEW_BLANKS).start()
    check_cycles(server, cycles=200, at_once=6)
    assert server.stop() == 0
    server.assert_nothing_left()


@pytest.mark.covers("instance:leak")
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_five_thousand_cycles_leave_nothing(alone, new_server):
    server = new_server(environment=FEW_BLANKS).start()
    check_cycles(server, cycles=5000, at_once=8)
    assert server.stop() == 0
    server.assert_nothing_left()


@pytest.mark.covers("instance:leak")
@pytest.mark.timeout(200)
def test_starting_and_stopping_the_server_leaves_nothing(alone, new_server):
    server = new_server()
    before = (len(host.mounts()), host.loop_files(), host.links())
    for number in range(5):
        server.start()
        function = create(server, {"app.py": "def handler(e, c): return e"}, name=f"cycle-{number}")
        assert function.ok(number) == number
        assert server.stop() == 0
        server.assert_nothing_left()
    assert (len(host.mounts()), host.loop_files(), host.links()) == before
