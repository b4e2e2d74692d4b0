"""Other processes: not seen, not signalled; and nothing of a function's outlives its instance or works after its answer."""

import os
import time

import pytest

from support import host


@pytest.mark.covers("wall:other processes")
def test_only_its_own_processes_are_seen(attack):
    answer = attack("""
        import os
        def handler(event, context):
            return [[int(name), open(f"/proc/{name}/cmdline").read()] for name in os.listdir("/proc") if name.isdigit()]
    """)
    assert answer.error is None, answer.body
    assert len(answer.json) <= 3, answer.json
    assert all("serve" not in line and "--data-dir" not in line for _, line in answer.json), "pid 1 tells how the server was started"


@pytest.mark.covers("wall:other processes")
def test_nobody_else_is_signalled(attack, server):
    before = server.tree()
    assert before.daemon and before.spawners
    answer = attack("""
        import os, signal
        def handler(event, context):
            me, results = os.getpid(), {}
            for pid in [0x7fffffff, *range(1, 5000)]:
                if pid in (me,):
                    continue
                try:
                    os.kill(pid, signal.SIGKILL)
                    results[pid] = "sent"
                except OSError as error:
                    results.setdefault(error.errno, pid)
            try:
                os.kill(1, signal.SIGTERM)
            except OSError:
                pass
            return results
    """)
    # Killing its own init takes only its own instance down.
    after = server.tree()
    assert after.daemon == before.daemon and after.keeper == before.keeper
    assert [process.pid for process in after.spawners] == [process.pid for process in before.spawners]
    assert answer.status == 200


@pytest.mark.covers("wall:user id")
def test_no_way_to_another_user(attack, server):
    answer = attack("""
        import ctypes, os
        def attempt(what, *arguments):
            try:
                what(*arguments)
                return "done"
            except OSError as error:
                return error.errno
        def handler(event, context):
            status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
            return {
                "setuid": attempt(os.setuid, 0), "setgid": attempt(os.setgid, 0), "setgroups": attempt(os.setgroups, [0]),
                "setresuid": attempt(os.setresuid, 1000, 1000, 1000),
                "capabilities": [status[name].strip("0\\n") for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")],
                "no_new_privs": status["NoNewPrivs"], "seccomp": status["Seccomp"], "uids": status["Uid"],
                "map": open("/proc/self/uid_map").read().split()[0],
            }
    """)
    assert answer.error is None, answer.body
    seen = answer.json
    for name in ("setuid", "setgid", "setgroups", "setresuid"):
        assert isinstance(seen[name], int), (name, seen[name])
    assert seen["capabilities"] == ["", "", "", "", ""]
    assert (seen["no_new_privs"], seen["seccomp"]) == ("1", "2")
    assert seen["uids"].split() == ["993"] * 4
    uids = [process.uid for process in server.tree().inits]
    assert len(uids) == len(set(uids)) >= 2, "every live instance has a host user of its own"


@pytest.mark.covers("wall:system calls")
def test_dangerous_system_calls_are_refused(attack):
    answer = attack("""
        import ctypes, os, platform
        libc = ctypes.CDLL(None, use_errno=True)
        x86 = platform.machine() == "x86_64"
        CALLS = {
            "mount": (165 if x86 else 40, (b"none", b"/tmp", b"tmpfs", 0, 0)),
            "umount2": (166 if x86 else 39, (b"/var/task", 2)),
            "pivot_root": (155 if x86 else 41, (b"/", b"/tmp")),
            "chroot": (161 if x86 else 51, (b"/tmp",)),
            "unshare user": (272 if x86 else 97, (0x10000000,)),
            "unshare mount": (272 if x86 else 97, (0x00020000,)),
            "setns": (308 if x86 else 268, (0, 0)),
            "ptrace": (101 if x86 else 117, (0, 0, 0, 0)),
            "process_vm_readv": (310 if x86 else 270, (1, 0, 0, 0, 0, 0)),
            "bpf": (321 if x86 else 280, (0, 0, 0)),
            "userfaultfd": (323 if x86 else 282, (0,)),
            "io_uring_setup": (425, (1, 0)),
            "keyctl": (250 if x86 else 219, (0, 0)),
            "add_key": (248 if x86 else 217, (b"user", b"x", b"x", 1, -2)),
            "perf_event_open": (298 if x86 else 241, (0, 0, 0, 0, 0)),
            "open_by_handle_at": (304 if x86 else 265, (0, 0, 0)),
            "init_module": (175 if x86 else 105, (0, 0, 0)),
            "kexec_load": (246 if x86 else 104, (0, 0, 0, 0)),
            "reboot": (169 if x86 else 142, (0xfee1dead, 672274793, 0, 0)),
            "swapon": (167 if x86 else 224, (b"/tmp/x", 0)),
            "fsopen": (430, (b"tmpfs", 0)),
            "open_tree": (428, (-100, b"/", 1)),
            "move_mount": (429, (-1, b"", -100, b"/tmp", 4)),
            "mount_setattr": (442, (-100, b"/var/task", 0, 0, 0)),
            "sethostname": (170 if x86 else 161, (b"x", 1)),
            "settimeofday": (164 if x86 else 170, (0, 0)),
            "iopl": (172 if x86 else 244, (3,)),
            "clone newuser": (56 if x86 else 220, (0x10000000 | 17, 0, 0, 0, 0)),
        }
        def handler(event, context):
            results = {}
            for name, (number, arguments) in CALLS.items():
                ctypes.set_errno(0)
                value = libc.syscall(number, *arguments)
                if name == "clone newuser" and value == 0:
                    os._exit(0)
                results[name] = ctypes.get_errno() if value == -1 else f"returned {value}"
            return results
    """)
    assert answer.error is None, answer.body
    # 1 EPERM, 38 ENOSYS: refused as such; any other number means that the kernel looked at the arguments first.
    assert {name: what for name, what in answer.json.items() if what not in (1, 38)} == {}


@pytest.mark.covers("wall:outliving")
@pytest.mark.parametrize("how", ["timeout", "crash", "delete"])
def test_daemonised_children_end_with_the_instance(deploy, neighbour, server, how):
    function = deploy({"app.py": """
        import os, time, signal
        def handler(event, context):
            if event.get("spawn"):
                for _ in range(5):
                    if os.fork() == 0:
                        os.setsid()
                        if os.fork() == 0:
                            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                                signal.signal(number, signal.SIG_IGN)
                            while True:
                                time.sleep(0.01)
                        os._exit(0)
                return os.readlink("/proc/self/ns/pid")
            if event["how"] == "timeout":
                time.sleep(60)
            os._exit(1)
    """}, Timeout=3)
    namespace = function.ok({"spawn": True})
    (uid,) = {process.uid for process in server.tree().functions if host.pid_namespace(process) == namespace}

    def mine():
        return [process for process in host.processes() if process.uid == uid and not process.status["State"].startswith("Z")]

    host.eventually(lambda: len(mine()) >= 7, "init, the runtime, and five daemons")
    if how == "delete":
        function.delete()
    else:
        assert function.invoke({"how": how}).error == "Unhandled"
    host.eventually(lambda: not mine(), f"every process of the instance is gone after {how}")


@pytest.mark.covers("wall:work after the answer")
def test_work_after_the_answer_is_frozen(deploy, neighbour):
    function = deploy({"app.py": """
        import threading, time
        counter = 0
        def work():
            global counter
            while True:
                counter += 1
                time.sleep(0.001)
        threading.Thread(target=work, daemon=True).start()
        def handler(event, context):
            return [counter, time.monotonic()]
    """})
    function.ok()
    time.sleep(1)  # Time for the freeze; its delay after an answer is an implementation's matter.
    first, first_time = function.ok()
    time.sleep(4)
    second, second_time = function.ok()
    assert second_time - first_time >= 3.9
    assert second - first < 1500, f"the thread made {second - first} steps in four seconds of idleness"
