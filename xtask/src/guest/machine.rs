//! One run of QEMU without KVM. The guest says how it went by writing to a port: only that word counts.

use super::kernel::Kernel;
use crate::command;
use anyhow::Context as _;
use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const QEMU: &str = "qemu-system-x86_64";
/// QEMU's status is twice the written word plus one: 16 for "the plan was run to its end".
const STATUS_OF_A_FULL_RUN: i32 = 33;
/// Seconds until a guest that says nothing more is ended.
const LONGEST_RUN_SECONDS: &str = "2400";
const MEMORY_MIB: &str = "3072";
/// For /var of the guest, so that stores and /tmp volumes lie on a real file system.
const DISK_BYTES: u64 = 4 << 30;

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// JSON of each test.
    pub results: Vec<String>,
    /// Whether the guest ran its plan to the end. A kernel panic makes QEMU exit 0: that is not it.
    pub by_its_own_word: bool,
    /// Everything the guest printed.
    pub console: PathBuf,
}

/// What is absent on this machine, or `None` when it can run guests.
pub fn missing() -> Option<String> {
    if std::env::consts::ARCH != "x86_64" {
        return Some("the guest's kernel is for x86_64".into());
    }
    [
        (QEMU, "qemu-system-x86"),
        ("cc", "build-essential"),
        ("dpkg-deb", "dpkg"),
        ("/usr/bin/python3.11", "python3"),
        ("/usr/sbin/mkfs.ext4", "e2fsprogs"),
    ]
    .into_iter()
    .find(|(program, _)| !command::exists(program))
    .map(|(program, package)| format!("no {program}; get it with: apt-get install {package}"))
}

/// Boots and waits for the end, printing what the guest prints.
pub fn boot(kernel: &Kernel, image: &Path, work: &Path, filter: Option<&str>) -> anyhow::Result<Ended> {
    let disk = work.join("disk.img");
    let _ = std::fs::remove_file(&disk);
    std::fs::File::create(&disk)?.set_len(DISK_BYTES)?;
    command::run(Command::new("/usr/sbin/mkfs.ext4").args(["-q", "-F"]).arg(&disk))?;
    // Words of the command line that the kernel does not know become the init's environment.
    let filter = filter.map(|text| format!(" GUEST_FILTER={text}")).unwrap_or_default();
    let mut qemu = Command::new("timeout");
    qemu.args(["-s", "KILL", LONGEST_RUN_SECONDS, QEMU])
        .args(["-accel", "tcg", "-machine", "q35", "-cpu", "max", "-smp", "1", "-m", MEMORY_MIB])
        .args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-monitor", "none"])
        .args([
            "-serial",
            "stdio",
            "-device",
            "isa-debug-exit,iobase=0xf4,iosize=0x04",
            "-device",
            "virtio-rng-pci",
        ])
        .arg("-drive")
        .arg(format!("file={},format=raw,if=virtio,cache=unsafe", disk.display()))
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(image)
        .arg("-append")
        .arg(format!("console=ttyS0 quiet panic=-1 rdinit=/init{filter}"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command::announce(&qemu);
    let mut child = qemu.spawn().context("failed to start qemu")?;
    let console = work.join("console.log");
    let mut log = std::fs::File::create(&console)?;
    let mut results = Vec::new();
    if let Some(output) = child.stdout.take() {
        for line in std::io::BufReader::new(output).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            writeln!(log, "{line}")?;
            match line.strip_prefix("RESULT ") {
                Some(result) => results.push(result.to_owned()),
                None => println!("guest | {line}"),
            }
        }
    }
    let status = child.wait()?;
    let _ = std::fs::remove_file(&disk);
    Ok(Ended { results, by_its_own_word: status.code() == Some(STATUS_OF_A_FULL_RUN), console })
}
