"""Memory, processor, processes, files, temporary space: never more than configured, and only the greedy one fails."""

import threading
import time

import pytest

from support import host

EXHAUST = """
    import ctypes, mmap, os
    libc = ctypes.CDLL(None, use_errno=True)
    def handler(event, context):
        kept, step = [], 8 << 20
        kind = event["kind"]
        if kind == "memfd":
            descriptor = os.memfd_create("x")
            for _ in range(64):
                os.write(descriptor, b"x" * step)
        elif kind == "shm":
            # System V shared memory, and /dev/shm where it is there.
            for _ in range(64):
                identifier = libc.shmget(0, step, 0o1600)
                if identifier < 0:
                    return "refused"
                libc.shmat.restype = ctypes.c_void_p
                address = libc.shmat(identifier, None, 0)
                ctypes.memset(address, 120, step)
        elif kind == "shared mapping":
            for _ in range(64):
                area = mmap.mmap(-1, step, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)
                area.write(b"x" * step)
                kept.append(area)
        elif kind == "page tables":
            # One touched byte for each 2 MiB costs a page and a page-table page; a file keeps the pages shared.
            libc.mmap.restype = ctypes.c_void_p
            libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
            size = 1 << 40
            address = libc.mmap(None, size, 1, 0x4022, -1, 0)
            if address in (None, (1 << 64) - 1):
                return "refused"
            for offset in range(0, size, 2 << 20):
                ctypes.string_at(address + offset, 1)
        elif kind == "pipes":
            while True:
                pair = os.pipe2(os.O_NONBLOCK)
                kept.append(pair)
                try:
                    os.write(pair[1], b"x" * 65536)
                except OSError:
                    pass
        else:
            while True:
                kept.append(bytearray(step))
        return "had it all"
"""


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("heap", marks=pytest.mark.covers("wall:memory")),
        pytest.param("shared mapping", marks=pytest.mark.covers("wall:memory")),
        pytest.param("memfd", marks=pytest.mark.covers("wall:memory by memfd")),
        pytest.param("shm", marks=pytest.mark.covers("wall:memory by shared memory")),
        pytest.param("page tables", marks=pytest.mark.covers("wall:memory by page tables")),
    ],
)
def test_memory_stops_at_the_limit(deploy, neighbour, kind):
    function = deploy({"app.py": EXHAUST}, MemorySize=128, Timeout=30)
    answer = function.invoke({"kind": kind})
    if kind == "shm" and answer.error is None:
        assert answer.json == "refused"
        return
    assert answer.error == "Unhandled", answer.body
    assert answer.json == {
        "errorType": "Runtime.OutOfMemory",
        "errorMessage": f"RequestId: {answer.request_id} Error: Runtime exited with error: signal: killed",
    }
    assert int(answer.report["Max Memory Used"].removesuffix(" MB")) in range(100, 129), answer.report
    assert function.invoke({"kind": kind}).error == "Unhandled", "the next instance has the same limit"


@pytest.mark.covers("wall:open files")
def test_open_files_stop_at_the_limit(attack):
    answer = attack("""
        import os
        def handler(event, context):
            kept = []
            try:
                while True:
                    kept.append(os.open("/dev/null", os.O_RDONLY))
            except OSError as error:
                return [len(kept), error.errno]
    """)
    count, errno = answer.json
    assert 900 < count <= 1024 and errno == 24


@pytest.mark.covers("wall:processes")
def test_a_fork_bomb_stops_at_the_limit(deploy, neighbour, server):
    function = deploy({"app.py": """
        import os, time
        def handler(event, context):
            made = 0
            try:
                while made < 20000:
                    if os.fork() == 0:
                        while True:
                            time.sleep(10)
                    made += 1
            except OSError as error:
                return [made, error.errno]
            return [made, 0]
    """}, MemorySize=2048, Timeout=60)  # A forked interpreter takes up to 1 MiB where page tables and the like count (version 2).
    made, errno = function.ok()
    assert 100 < made <= 1024 and errno == 11
    assert function.invoke().error is None, "it may go on, within its limit"


@pytest.mark.covers("wall:processes")
@pytest.mark.covers("wall:outliving")
def test_a_bomb_that_never_ends_is_stopped_at_its_deadline(deploy, neighbour, server):
    before = {process.uid for process in server.tree().inits}
    function = deploy({"app.py": """
        import os
        def handler(event, context):
            while True:
                try:
                    os.fork()
                except OSError:
                    pass
    """}, MemorySize=256, Timeout=3)
    answer = function.invoke()
    assert answer.error_type in ("Sandbox.Timedout", "Runtime.OutOfMemory"), answer.body
    after = {process.uid for process in server.tree().inits}

    def few():
        return len([process for process in host.processes() if process.uid in after - before and "Z" not in process.status["State"]]) <= 50

    # Where the platform ran out of patience they are gone by now; where the memory ran out, they are being stopped.
    host.eventually(few, "the processes of the instance are gone")


@pytest.mark.covers("wall:temporary space")
@pytest.mark.timeout(180)
def test_a_small_function_fills_its_tmp_and_gets_enospc(deploy, neighbour):
    function = deploy({"app.py": """
        import os
        def handler(event, context):
            written, block = 0, os.urandom(1 << 20)
            with open("/tmp/full", "wb", buffering=0) as file:
                try:
                    while True:
                        written += file.write(block)
                except OSError as error:
                    return [written, error.errno]
    """}, MemorySize=128, Timeout=120)
    answer = function.invoke()
    assert answer.error is None, f"{answer.body}\n{answer.log}"
    written, errno = answer.json
    assert errno == 28
    assert 512 << 20 <= written < 513 << 20, f"{written / (1 << 20):.1f} MiB fitted"


@pytest.mark.covers("wall:temporary space is not heap")
@pytest.mark.timeout(180)
def test_unused_tmp_gives_no_memory(deploy, neighbour):
    """A file of /tmp mapped and dirtied all over lives on disk: it neither kills a small function nor helps its heap."""
    function = deploy({"app.py": """
        import mmap
        def handler(event, context):
            if event["do"] == "map":
                with open("/tmp/area", "w+b") as file:
                    file.truncate(300 << 20)
                    area = mmap.mmap(file.fileno(), 300 << 20)
                    for offset in range(0, 300 << 20, 4096):
                        area[offset] = 1
                return "mapped"
            kept = []
            while True:
                kept.append(bytearray(4 << 20))
    """}, MemorySize=128, Timeout=120)
    assert function.ok({"do": "map"}) == "mapped"
    assert function.invoke({"do": "heap"}).error_type == "Runtime.OutOfMemory"


BURN = """
    import os, time
    def handler(event, context):
        for _ in range(event.get("processes", 1) - 1):
            if os.fork() == 0:
                end = time.monotonic() + event["seconds"]
                while time.monotonic() < end:
                    pass
                os._exit(0)
        end = time.monotonic() + event["seconds"]
        while time.monotonic() < end:
            pass
        while True:
            try:
                os.wait()
            except ChildProcessError:
                break
        times = os.times()
        return times.user + times.system + times.children_user + times.children_system
"""


@pytest.mark.covers("wall:CPU")
@pytest.mark.parametrize("memory, share", [(128, 0.072), (885, 0.5)])
def test_processor_time_is_proportional_to_memory(deploy, neighbour, memory, share):
    function = deploy({"app.py": BURN}, MemorySize=memory, Timeout=60)
    function.ok({"seconds": 0.1})
    before = function.ok({"seconds": 0.1})
    begun = time.monotonic()
    used = function.ok({"seconds": 3, "processes": 4}) - before
    wall = time.monotonic() - begun
    assert used / wall < share * 1.5 + 0.05, f"{used:.2f} s of processor in {wall:.2f} s"


@pytest.mark.covers("wall:CPU during init")
def test_a_greedy_init_does_not_starve_the_neighbour(deploy, neighbour):
    function = deploy({"app.py": """
        import os, time
        for _ in range(8):
            if os.fork() == 0:
                end = time.monotonic() + 5
                while time.monotonic() < end:
                    pass
                os._exit(0)
        end = time.monotonic() + 5
        while time.monotonic() < end:
            pass
        def handler(event, context):
            return "up"
    """}, Timeout=30)
    before, answered = time.monotonic(), neighbour.answers
    assert function.ok() == "up"
    seconds = time.monotonic() - before
    rate = (neighbour.answers - answered) / seconds
    assert rate > 1, f"the neighbour had {rate:.2f} answers a second"


@pytest.mark.covers("wall:per-uid limits")
def test_one_function_cannot_use_up_anothers_user_limits(deploy, neighbour):
    """inotify instances, pending signals and locked memory are counted per host user."""
    function = deploy({"app.py": """
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)
        def handler(event, context):
            kept = 0
            while libc.inotify_init1(0) >= 0:
                kept += 1
                if kept > event.get("most", 100000):
                    break
            return kept
    """})
    greedy = function.invoke()
    assert greedy.error is None, greedy.body
    other = deploy({"app.py": """
        import ctypes
        def handler(event, context):
            return ctypes.CDLL(None, use_errno=True).inotify_init1(0) >= 0
    """})
    assert other.ok() is True or greedy.json == 0, "the other function can still make one"


@pytest.mark.covers("wall:log flood")
def test_a_flood_of_output_neither_grows_the_daemon_nor_hurts_others(deploy, neighbour, server):
    daemon = server.tree().daemon
    assert daemon

    def resident_mib() -> float:
        seen = host.read_process(daemon.pid)
        return int(seen.status["VmRSS"].split()[0]) / 1024

    before, peak, stop = resident_mib(), [0.0], threading.Event()

    def watch():
        while not stop.wait(0.05):
            peak[0] = max(peak[0], resident_mib())

    watcher = threading.Thread(target=watch)
    watcher.start()
    function = deploy({"app.py": """
        import os
        def handler(event, context):
            block = (b"x" * 120 + b"\\n") * 500 if event["lines"] else b"y" * 65536
            for _ in range(1500):
                os.write(1, block)
            return "written"
    """}, Timeout=60, MemorySize=1769)
    try:
        for lines in (True, False):
            answer = function.invoke({"lines": lines})
            assert answer.error is None and answer.json == "written", answer.body[:500]
            assert "REPORT" in answer.log
    finally:
        stop.set()
        watcher.join()
    assert peak[0] - before < 64, f"the daemon grew from {before:.0f} to {peak[0]:.0f} MiB"


@pytest.mark.covers("wall:log flood")
def test_output_after_the_answer_neither_blocks_nor_grows(deploy, neighbour, server):
    function = deploy({"app.py": """
        import threading, os
        def flood():
            while True:
                os.write(1, b"x" * 1000 + b"\\n")
        started = False
        def handler(event, context):
            global started
            if not started:
                started = True
                threading.Thread(target=flood, daemon=True).start()
            return "answered"
    """})
    for _ in range(5):
        assert function.ok() == "answered"
