"""What a function can read and write: its root's list, and nothing of the host or of other functions."""

import json
import os
import stat
from pathlib import Path

import pytest

READ = """
    import os
    def attempt(path):
        try:
            with open(path, "rb") as file:
                return file.read(200).decode(errors="replace")
        except OSError as error:
            return error.errno
    def handler(event, context):
        return {path: attempt(path) for path in event["paths"]}
"""
LIST = """
    import os
    def handler(event, context):
        seen = {}
        for top in event["tops"]:
            for directory, names, files in os.walk(top, onerror=lambda error: None):
                seen[directory] = sorted(names + files)[:200]
                if directory.count("/") >= 3:
                    names.clear()
        return seen
"""
MOUNTS = "def handler(event, context): return open('/proc/self/mountinfo').read()"


@pytest.mark.covers("wall:host files")
def test_files_of_the_host_are_not_there(attack, server, work_directory):
    marker = work_directory / "host-secret"
    marker.write_text("a secret of the host")
    marker.chmod(0o644)
    paths = [
        str(marker), "/etc/shadow", "/etc/machine-id", "/etc/debian_version", "/etc/ssh/sshd_config", "/root/.bashrc", "/root/.profile",
        str(server.data_directory / "key"), str(server.data_directory / "metadata.sqlite"), str(server.log_path),
        "/var/log/dpkg.log", "/home", "/boot/config-" + os.uname().release, "/sys/fs/cgroup/cgroup.procs", "/sys/kernel/security",
        "/proc/kcore", "/proc/1/root/etc/shadow", "/proc/self/root/../../etc/shadow", "/proc/1/environ", "/proc/kallsyms",
    ]
    answer = attack(READ, {"paths": paths})
    assert answer.error is None, answer.body
    for path, content in answer.json.items():
        if path == "/proc/1/environ":
            assert isinstance(content, int) or "HOME=/root" not in content
        elif path == "/proc/kallsyms":
            assert isinstance(content, int) or set(content.split()[0]) == {"0"}, "kernel addresses"
        else:
            assert isinstance(content, int), f"{path} could be read: {content!r}"


@pytest.mark.covers("wall:host files")
def test_the_root_is_an_explicit_list(attack):
    answer = attack(LIST, {"tops": ["/"]})
    assert answer.error is None, answer.body
    seen = answer.json
    allowed = {"bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "mnt", "opt", "proc", "run", "sbin", "tmp", "usr", "var"}
    assert set(seen["/"]) <= allowed, seen["/"]
    assert set(seen["/var"]) <= {"task", "runtime", "compiled", "lang", "tmp"}, seen["/var"]
    assert seen.get("/run", []) == [], "a place for sockets of the host, and so empty"
    etc = set(seen["/etc"])
    assert etc <= {"passwd", "group", "hosts", "resolv.conf", "ssl", "ca-certificates", "nsswitch.conf", "pki", "alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "timezone", "mime.types", "services", "protocols", "host.conf", "hostname"}, etc


@pytest.mark.covers("wall:host paths")
def test_mountinfo_names_no_path_of_the_host(attack, server):
    answer = attack(MOUNTS)
    assert answer.error is None, answer.body
    text = answer.json
    for part in (str(server.data_directory), str(server.data_directory.parent), "/var/lib/lamplight", "/root", "/home", ".pyenv", "lamplight-test"):
        assert part not in text, f"{part} is in mountinfo:\n{text}"
    for line in text.splitlines():
        fields, options = line.split(" - ")
        mount_point, flags = fields.split()[4], fields.split()[5].split(",")
        if mount_point not in ("/tmp", "/proc", "/dev/shm") and not mount_point.startswith("/mnt/"):
            assert "ro" in flags or mount_point.startswith("/dev"), line
        assert "nosuid" in flags, line


@pytest.mark.covers("wall:code is read-only")
@pytest.mark.covers("wall:other functions")
def test_nothing_but_tmp_can_be_written(attack):
    answer = attack("""
        import os, stat
        def attempt(path):
            try:
                with open(path, "w") as file:
                    file.write("x")
                return "written"
            except OSError as error:
                return error.errno
        def handler(event, context):
            places = {path: attempt(path) for path in ["/x", "/var/task/app.py", "/var/task/x", "/var/runtime/x", "/var/runtime/bootstrap.py", "/usr/x", "/etc/passwd", "/opt/x", "/dev/x", "/dev/shm/x", "/var/x", "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/tmp/x"]}
            def change(what, *arguments):
                try:
                    what(*arguments)
                    return "done"
                except OSError as error:
                    return error.errno
            places["chmod"] = change(os.chmod, "/var/task/app.py", 0o777)
            places["unlink"] = change(os.unlink, "/var/task/app.py")
            places["mknod"] = change(os.mknod, "/tmp/null", 0o666 | stat.S_IFCHR, os.makedev(1, 1))
            places["setuid file"] = change(os.chmod, "/tmp/x", 0o4755)
            return places
    """)
    assert answer.error is None, answer.body
    seen = answer.json
    assert seen.pop("/tmp/x") == "written"
    seen.pop("setuid file"), seen.pop("/dev/shm/x")
    assert {path: what for path, what in seen.items() if not isinstance(what, int)} == {}


@pytest.mark.covers("wall:other functions")
def test_another_functions_code_environment_and_tmp_are_not_to_be_found(deploy, neighbour, server):
    victim = deploy({"app.py": "def handler(e, c):\n    open('/tmp/of-the-victim', 'w').write('needle-in-tmp')\n    return 'needle-in-code'"}, variables={"SECRET": "needle-in-environment"})
    victim.ok()
    thief = deploy({"app.py": """
        import os
        def handler(event, context):
            found = []
            for directory, names, files in os.walk("/"):
                if directory.startswith(("/usr", "/lib", "/var/lang", "/proc/sys")):
                    names.clear()
                    continue
                for name in files:
                    path = os.path.join(directory, name)
                    try:
                        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
                            text = file.read(65536)
                    except OSError:
                        continue
                    if b"needle" + b"-in" in text and not path.startswith(("/var/task/app.py", "/var/compiled/task/__pycache__/app.")) and "self" not in path and "thread-self" not in path:
                        found.append([path, text[:80].decode(errors="replace")])
            return found
    """}, Timeout=60)
    found = [entry for entry in thief.ok() if str(os.getpid()) not in entry[0]]
    assert found == []


@pytest.mark.covers("wall:devices")
def test_devices(attack):
    answer = attack("""
        import os, stat
        def handler(event, context):
            found = {}
            for directory, names, files in os.walk("/dev"):
                for name in files:
                    path = os.path.join(directory, name)
                    information = os.lstat(path)
                    if stat.S_ISCHR(information.st_mode) or stat.S_ISBLK(information.st_mode):
                        found[path] = [os.major(information.st_rdev), os.minor(information.st_rdev)]
            open("/dev/null", "w").write("x")
            return [found, len(open("/dev/urandom", "rb").read(16)), open("/dev/zero", "rb").read(2).hex()]
    """)
    assert answer.error is None, answer.body
    found, random, zero = answer.json
    assert (random, zero) == (16, "0000")
    assert set(found) == {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}
    assert found["/dev/null"] == [1, 3]


def test_what_the_daemon_writes_belongs_to_nobody_else(server):
    """The key and the stores on the host: not readable by other users."""
    key = server.data_directory / "key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    for name in ("metadata.sqlite", "ledger.sqlite"):
        assert stat.S_IMODE((server.data_directory / name).stat().st_mode) & 0o007 == 0, name
