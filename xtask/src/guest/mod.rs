//! `cargo xtask test-guest`: the sandbox suites on Debian 12's own kernel with cgroup version 2.
//!
//! Boots the distribution's unmodified cloud kernel under QEMU's software emulation (no KVM, no root needed by
//! QEMU) with an initramfs made of this host's programs. The guest writes its verdict to a debug port, and only
//! that value counts: a guest whose init dies makes QEMU exit with 0.

mod cpio;
mod tree;

use crate::{command, paths};
use anyhow::{Context as _, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// The guest's verdict is `value * 2 + 1` as QEMU's exit status; the guest writes 0x10 for success.
const PASSED: i32 = 33;
/// Seconds until the guest is ended. It needs about 60 here, and emulation is slow on a busy machine.
const TIMEOUT_SECONDS: &str = "900";
const GUEST_MEMORY_MIB: &str = "2048";

/// Kernel modules, each after what it needs.
const MODULES: &[&str] = &["crc16", "crc32c_generic", "libcrc32c", "mbcache", "jbd2", "ext4", "loop", "overlay"];

/// Builds the guest and runs it. `Err` is a machine that cannot run it, with the reason.
pub fn run() -> anyhow::Result<ExitCode> {
    let directory = paths::cache().join("guest");
    std::fs::create_dir_all(&directory)?;
    let kernel = kernel(&directory)?;
    let busybox = busybox(&directory)?;
    let contract = test_binary("lamplight-sandbox", "contract")?;

    let root = directory.join("root");
    if root.exists() {
        std::fs::remove_dir_all(&root)?;
    }
    let mut tree = tree::Tree::new(&root)?;
    tree.program(&contract, "/tests/contract")?;
    tree.copy(&busybox, "/bin-busybox")?;
    tree.copy(&paths::root().join("xtask/src/guest/init.sh"), "/init")?;
    for program in [
        "bash", "cat", "chmod", "cut", "echo", "env", "grep", "head", "hostname", "id", "ls", "mkdir", "mount", "printf",
        "sed", "seq", "setsid", "sleep", "sort", "tail", "tr", "true", "umount", "uniq", "unshare", "wc",
    ] {
        tree.program_by_name(program)?;
    }
    for program in ["/usr/sbin/mkfs.ext4", "/usr/sbin/debugfs"] {
        tree.program(Path::new(program), program)?;
    }
    let modules = kernel.modules()?;
    for name in MODULES {
        tree.copy(&modules.find(name)?, &format!("/modules/{name}.ko"))?;
    }
    std::fs::write(root.join("modules/order"), MODULES.join("\n"))?;
    let archive = directory.join("initrd.cpio");
    cpio::write(&root, &archive).context("failed to write the initramfs")?;

    let mut qemu = Command::new("timeout");
    qemu.args(["-s", "KILL", TIMEOUT_SECONDS, "qemu-system-x86_64", "-accel", "tcg", "-machine", "q35", "-cpu", "max"])
        .args(["-smp", "1", "-m", GUEST_MEMORY_MIB, "-nodefaults", "-no-user-config", "-no-reboot"])
        .args(["-display", "none", "-monitor", "none", "-serial", "stdio"])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"])
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(&archive)
        .args(["-append", "console=ttyS0 quiet panic=-1 rdinit=/init"])
        .stdin(Stdio::null());
    command::announce(&qemu);
    let status = qemu.status().context("failed to start qemu-system-x86_64 (apt-get install qemu-system-x86)")?;
    match status.code() {
        Some(PASSED) => {
            println!("guest: passed on {}", kernel.version);
            Ok(ExitCode::SUCCESS)
        }
        other => {
            println!("guest: failed on {} (status {other:?}; only {PASSED} is a pass)", kernel.version);
            Ok(ExitCode::FAILURE)
        }
    }
}

/// An unpacked kernel package.
struct Kernel {
    image: PathBuf,
    directory: PathBuf,
    version: String,
}

struct Modules(Vec<PathBuf>);

impl Kernel {
    fn modules(&self) -> anyhow::Result<Modules> {
        let mut found = Vec::new();
        let mut open = vec![self.directory.join("lib/modules")];
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(directory)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    open.push(entry.path());
                } else {
                    found.push(entry.path());
                }
            }
        }
        Ok(Modules(found))
    }
}

impl Modules {
    fn find(&self, name: &str) -> anyhow::Result<PathBuf> {
        let file = format!("{name}.ko");
        let found = self.0.iter().find(|path| path.file_name().is_some_and(|found| found == file.as_str()));
        found.cloned().with_context(|| format!("the kernel package has no module {file}"))
    }
}

/// Debian's current cloud kernel, fetched by name and unpacked; nothing is installed.
fn kernel(directory: &Path) -> anyhow::Result<Kernel> {
    let depends = command::output(Command::new("apt-cache").args(["depends", "linux-image-cloud-amd64"]))
        .context("apt-cache knows no linux-image-cloud-amd64 (apt-get update; Debian 12 only)")?;
    let package = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: ").filter(|name| name.starts_with("linux-image")))
        .context("linux-image-cloud-amd64 names no kernel")?
        .to_owned();
    let unpacked = fetch(directory, &package)?;
    let version = package.trim_start_matches("linux-image-").to_owned();
    Ok(Kernel { image: unpacked.join(format!("boot/vmlinuz-{version}")), directory: unpacked, version })
}

fn busybox(directory: &Path) -> anyhow::Result<PathBuf> {
    let unpacked = fetch(directory, "busybox-static")?;
    let found = ["bin/busybox", "usr/bin/busybox"].map(|path| unpacked.join(path)).into_iter().find(|path| path.exists());
    found.context("busybox-static holds no busybox")
}

/// Downloads a package by name and unpacks it beside the others; done once.
fn fetch(directory: &Path, package: &str) -> anyhow::Result<PathBuf> {
    let unpacked = directory.join(package);
    if unpacked.exists() {
        return Ok(unpacked);
    }
    let downloads = directory.join("downloads");
    std::fs::create_dir_all(&downloads)?;
    // apt drops to a user of its own for downloads where it can; as root in this folder it warns and goes on.
    command::run(Command::new("apt-get").args(["download", "-q", package]).current_dir(&downloads))?;
    let archive = std::fs::read_dir(&downloads)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().contains(&format!("/{package}_")))
        .with_context(|| format!("apt-get download left no {package}"))?;
    let partial = directory.join(format!("{package}.partial"));
    command::run(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&partial))?;
    std::fs::rename(partial, &unpacked)?;
    Ok(unpacked)
}

/// Builds one integration test and gives the path of its executable.
fn test_binary(package: &str, test: &str) -> anyhow::Result<PathBuf> {
    let mut build = Command::new("cargo");
    build
        .args(["test", "--locked", "--no-run", "--message-format=json", "--package", package, "--test", test])
        .current_dir(paths::root())
        .stderr(Stdio::inherit());
    command::announce(&build);
    let output = build.output().context("failed to run cargo test --no-run")?;
    if !output.status.success() {
        bail!("the test {test} of {package} did not build");
    }
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        if message["target"]["name"] == test
            && let Some(executable) = message["executable"].as_str()
        {
            return Ok(PathBuf::from(executable));
        }
    }
    bail!("cargo named no executable for the test {test} of {package}")
}
