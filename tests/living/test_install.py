"""`install` and `uninstall`: what they write, and that the platform works with no more than the unit leaves it."""

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from support import host
from support.functions import create, node_runtime
from support.server import BINARY, PLAIN_ENVIRONMENT, binary_for_everybody

UNIT = "etc/systemd/system/lamplight.service"


def lamplight(*arguments, expected=0, **options):
    program = binary_for_everybody() if "user" in options else BINARY
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=60, env=PLAIN_ENVIRONMENT, **options)
    assert done.returncode == expected, f"lamplight {arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            pytest.skip(f"no {program} on this machine (get it with: apt-get install systemd util-linux passwd)")


def tree(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() or path.is_symlink()}


def contents(root: Path) -> dict[str, bytes]:
    return {name: (root / name).read_bytes() for name in tree(root) if not (root / name).is_symlink()}


@pytest.fixture
def image(tmp_path):
    """The file system of a machine that is not running."""
    need("systemctl", "systemd-sysusers", "userdel")
    for name, content in {"etc/passwd": "root:x:0:0:root:/root:/bin/sh\n", "etc/group": "root:x:0:\n", "etc/shadow": "root:*:19000::::::\n", "etc/gshadow": "root:*::\n"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


@pytest.mark.covers("living:install", client="lamplight")
def test_install_and_uninstall_of_an_image(image):
    before = tree(image)
    said = lamplight("install", "--root", image)
    assert f"write {image}/{UNIT}" in said and "systemctl" in said
    program = image / "usr/local/bin/lamplight"
    assert stat.S_IMODE(program.stat().st_mode) == 0o755 and program.read_bytes() == Path(BINARY).read_bytes()
    assert 'data_dir = "/var/lib/lamplight"' in (image / "etc/lamplight/config.toml").read_text()
    assert (image / "var/lib/lamplight").is_dir()
    assert (image / "etc/systemd/system/multi-user.target.wants/lamplight.service").is_symlink()
    user = next(line.split(":") for line in (image / "etc/passwd").read_text().splitlines() if line.startswith("lamplight:"))
    assert host.FIRST_UID <= int(user[2]) < 0x8000_0000 and user[2] == user[3] and user[5] == "/var/lib/lamplight" and user[6].endswith("nologin")
    first = contents(image)
    # A second time: the operator's configuration is kept, everything else is as it was.
    (image / "etc/lamplight/config.toml").write_text('listen = "127.0.0.1:9001"\n')
    said = lamplight("install", "--root", image)
    assert f"already  write {image}/{UNIT}" in said and "already  put the program" in said
    assert (image / "etc/lamplight/config.toml").read_text() == 'listen = "127.0.0.1:9001"\n'
    assert contents(image) == {**first, "etc/lamplight/config.toml": b'listen = "127.0.0.1:9001"\n'}
    # Without --data the data and the changed configuration stay.
    (image / "var/lib/lamplight/metadata.sqlite").write_text("")
    assert "kept:" in lamplight("uninstall", "--root", image)
    assert tree(image) - {"etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/.pwd.lock"} == before | {"etc/lamplight/config.toml", "var/lib/lamplight/metadata.sqlite"}
    assert "lamplight" not in (image / "etc/passwd").read_text() + (image / "etc/group").read_text()
    assert f"already  remove {image}/{UNIT}" in lamplight("uninstall", "--root", image)
    lamplight("uninstall", "--root", image, "--data")
    assert not (image / "var/lib/lamplight").exists() and not (image / "etc/lamplight").exists()


@pytest.mark.covers("living:install", client="lamplight")
def test_systemd_reads_the_unit(tmp_path):
    need("systemd-analyze")
    text = lamplight("install", "--print", "--data-dir", "/var/lib/lamplight")
    unit = tmp_path / "lamplight.service"
    # The program of the unit must be there.
    unit.write_text(text.replace("/usr/local/bin/lamplight", str(Path(BINARY).resolve())))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", "--generators=no", str(unit)], capture_output=True, text=True, timeout=60)
    complaints = [line for line in (done.stdout + done.stderr).splitlines() if "lamplight.service" in line]
    assert done.returncode == 0 and not complaints, done.stdout + done.stderr
    assert "Delegate=yes" in text and "Type=notify" in text


@pytest.mark.covers("living:install", client="lamplight")
def test_dry_runs_and_refusals(image):
    before = tree(image)
    assert "would    write" in lamplight("install", "--root", image, "--dry-run", user=65534)
    assert "would    remove" in lamplight("uninstall", "--root", image, "--dry-run", user=65534)
    assert tree(image) == before
    for command in ("install", "uninstall"):
        assert f"{command} must be started as root" in lamplight(command, "--root", image, expected=2, user=65534)
    (image / "var/lib/lamplight").mkdir(parents=True)
    (image / "var/lib/lamplight/mine").write_text("kept")
    assert "is no data directory of Lamplight" in lamplight("uninstall", "--root", image, "--data", expected=2)
    assert (image / "var/lib/lamplight/mine").read_text() == "kept"
    if not Path("/run/systemd/system").exists():
        said = lamplight("install", expected=2)
        assert "systemd does not run this machine" in said and "sudo" in said and "install --root" in said
        assert not Path("/etc/systemd/system/lamplight.service").exists()


def prefix_of(unit: str) -> tuple[str, ...]:
    """A command that leaves what follows it no more than the unit does: capabilities, privileges, a read-only file system (also /tmp,
    which is the unit's own there)."""
    capabilities = re.search(r"^CapabilityBoundingSet=(.*)$", unit, re.MULTILINE).group(1).split()
    bounding = ",".join(["-all", *[f"+{name.removeprefix('CAP_').lower()}" for name in capabilities]])
    assert re.search(r"^NoNewPrivileges=yes$", unit, re.MULTILINE) and re.search(r"^ProtectSystem=strict$", unit, re.MULTILINE)
    writable = re.search(r"^ReadWritePaths=(.*)$", unit, re.MULTILINE).group(1)
    script = f"""
        set -e
        mount --make-rslave /
        mount --bind {writable} {writable}
        mount -o remount,bind,ro /
        # What has a mount of its own is not the root's, as with ProtectSystem=strict: only /dev, /proc, /sys stay as they are.
        for point in $(findmnt -rno TARGET -t notmpfs,nodevtmpfs,noproc,nosysfs,nocgroup,nocgroup2 | grep -v -e '^/dev' -e '^/proc' -e '^/sys' -e '^{writable}'); do
            mount -o remount,bind,ro "$point" 2>/dev/null || true
        done
        ! touch /usr/written 2>/dev/null
        exec setpriv --bounding-set {bounding} --no-new-privs "$@"
    """
    return ("unshare", "--mount", "sh", "-c", script, "hardened")


@pytest.mark.covers("living:install hardening", client="boto3")
def test_the_platform_works_within_what_the_unit_leaves_it(alone, new_server, work_directory):
    need("setpriv", "unshare", "findmnt")
    directory = work_directory / "hardened"
    directory.mkdir(mode=0o755)
    data = directory / "data"
    data.mkdir()
    unit = lamplight("install", "--print", "--data-dir", data)
    server = new_server(data_directory=data, prefix=prefix_of(unit)).start()
    bounding = int(host.read_process(server.tree().keeper.pid).status["CapBnd"], 16)
    listed = re.search(r"^CapabilityBoundingSet=(.*)$", unit, re.MULTILINE).group(1).split()
    # This machine itself may hold fewer, as a container does.
    assert 0 < bounding.bit_count() <= len(listed)
    access = [{"Arn": "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/kept", "LocalMountPath": "/mnt/kept"}]
    source = """
        import os, subprocess
        def handler(event, context):
            with open("/tmp/a", "w") as file: file.write("x" * 1000)
            with open("/mnt/kept/b", "a") as file: file.write("x")
            if event.get("grow"): bytearray(500_000_000)
            return [os.getuid(), subprocess.run(["/bin/ls", "/tmp/a"], capture_output=True, text=True).stdout]
    """
    function = create(server, {"app.py": source}, name="hard", FileSystemConfigs=access)
    assert function.ok() == [993, "/tmp/a\n"] and function.ok() == [993, "/tmp/a\n"]
    assert "OutOfMemory" in function.invoke({"grow": True}).error_type
    assert function.ok() == [993, "/tmp/a\n"]
    quick = create(server, {"app.py": "def handler(event, context): return open('/proc/self/status').read().count('CapEff:\\t0000000000000000')"}, name="quick")
    assert quick.ok() == 1
    if node := node_runtime():
        script = create(server, {"index.mjs": "export const handler = async () => process.getuid();"}, runtime=node, handler="index.handler", name="script", MemorySize=256)
        assert script.ok() == 993
    assert server.stop() == 0
    server.assert_nothing_left()
    assert os.path.exists(data / "metadata.sqlite")
