"""`cargo xtask dist`: what is in the tarball and the package, and that the static program is the whole platform."""

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from support.server import PLAIN_ENVIRONMENT

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def dist():
    """Made by the chore itself, unoptimised: what is in it is what is looked at."""
    for program, package in {"musl-gcc": "musl-tools", "dpkg-deb": "dpkg"}.items():
        if not shutil.which(program):
            pytest.skip(f"no {program} on this machine (get it with: apt-get install {package})")
    installed = subprocess.run(["rustup", "target", "list", "--installed"], capture_output=True, text=True)
    if f"{os.uname().machine}-unknown-linux-musl" not in installed.stdout:
        pytest.skip("no Rust libraries for musl (get them with: rustup target add $(uname -m)-unknown-linux-musl)")
    done = subprocess.run(["cargo", "run", "--quiet", "--locked", "--package", "xtask", "--", "dist", "--profile", "dev"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    metadata = subprocess.run(["cargo", "metadata", "--no-deps", "--format-version", "1"], cwd=ROOT, capture_output=True, text=True, check=True)
    return Path(json.loads(metadata.stdout)["target_directory"]) / "dist"


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.covers("living:dist", client="tar, dpkg-deb")
def test_what_is_given_to_others(dist, tmp_path):
    names = sorted(path.name for path in dist.iterdir())
    archive = next(name for name in names if name.endswith(".tar.gz"))
    package = next(name for name in names if name.endswith(".deb"))
    assert names == sorted(["SHA256SUMS", archive, package])
    for line in (dist / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split()
        assert hashlib.sha256((dist / name).read_bytes()).hexdigest() == digest
    with tarfile.open(dist / archive) as tar:
        folder = archive.removesuffix(".tar.gz")
        assert {member.name for member in tar} == {folder, *[f"{folder}/{name}" for name in ("lamplight", "README.md", "CHANGELOG.md", "LICENSE", "SECURITY.md")]}
        assert all(member.uid == 0 and member.gid == 0 and member.mtime == tar.getmembers()[0].mtime for member in tar)
        tar.extractall(tmp_path)
    program = tmp_path / folder / "lamplight"
    headers = subprocess.run(["readelf", "--program-headers", program], capture_output=True, text=True, check=True).stdout
    assert "INTERP" not in headers, "it needs no library of the host"
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    assert version.split()[1] in archive
    contents = subprocess.run(["dpkg-deb", "--contents", dist / package], capture_output=True, text=True, check=True).stdout
    assert "-rwxr-xr-x root/root" in contents and "./usr/bin/lamplight" in contents
    assert "./usr/share/bash-completion/completions/lamplight" in contents and "./usr/share/doc/lamplight/copyright" in contents
    fields = subprocess.run(["dpkg-deb", "--field", dist / package], capture_output=True, text=True, check=True).stdout
    assert f"Version: {version.split()[1]}\n" in fields and "Package: lamplight\n" in fields
    subprocess.run(["dpkg-deb", "--raw-extract", dist / package, tmp_path / "raw"], check=True)
    for script in ("postinst", "prerm"):
        subprocess.run(["sh", "-n", tmp_path / "raw/DEBIAN" / script], check=True)
    assert (tmp_path / "raw/usr/bin/lamplight").read_bytes() == program.read_bytes()


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.covers("living:dist", client="lamplight")
def test_the_static_program_is_the_whole_platform(dist, tmp_path, alone):
    archive = next(dist.glob("*.tar.gz"))
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path)
    program = tmp_path / archive.name.removesuffix(".tar.gz") / "lamplight"
    done = subprocess.run([program, "quickstart", "--once"], capture_output=True, text=True, timeout=200, env=PLAIN_ENVIRONMENT)
    assert done.returncode == 0, done.stdout + done.stderr
