//! Debian's own kernel package, fetched with apt and unpacked beside the sources; nothing is installed.

use crate::command;
use anyhow::Context as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The unpacked package.
#[derive(Debug)]
pub struct Kernel {
    /// The bootable image.
    pub image: PathBuf,
    /// Modules in the order in which they must be loaded.
    pub modules: Vec<PathBuf>,
}

/// What the platform uses and this kernel has as modules; what they need is added.
const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_blk",
    "virtio_rng",
    "loop",
    "overlay",
    "veth",
    "nf_tables",
    "nft_chain_nat",
    "nft_masq",
    "nft_ct",
    "nft_fib_inet",
    "nft_reject_inet",
    "nft_limit",
];

/// The kernel of Debian's `linux-image-cloud-amd64`, from `work` when it is already there.
pub fn fetch(work: &Path) -> anyhow::Result<Kernel> {
    let directory = work.join("kernel");
    if !directory.join("boot").exists() {
        let package = command::output(Command::new("sh").args([
            "-c",
            "apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/{print $2; exit}'",
        ]))
        .filter(|name| !name.is_empty())
        .context("apt knows no linux-image-cloud-amd64; run apt-get update")?;
        let download = work.join("download");
        std::fs::create_dir_all(&download)?;
        command::run(Command::new("apt-get").args(["download", "-qq", &package]).current_dir(&download))?;
        let file = std::fs::read_dir(&download)?
            .filter_map(std::result::Result::ok)
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .context("apt-get download left no package")?;
        command::run(Command::new("dpkg-deb").arg("-x").arg(file).arg(&directory))?;
    }
    let image = std::fs::read_dir(directory.join("boot"))?
        .filter_map(std::result::Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz")))
        .context("the kernel package has no image")?;
    let mut files = Vec::new();
    collect(&directory.join("lib/modules"), &mut files)?;
    let mut modules = Vec::new();
    for name in MODULES {
        with_dependencies(name, &files, &mut modules)?;
    }
    Ok(Kernel { image, modules })
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "ko") {
            files.push(path);
        }
    }
    Ok(())
}

/// Adds what `name` needs, then `name`. A name without a file is built into the kernel.
fn with_dependencies(name: &str, files: &[PathBuf], order: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let same = |path: &&PathBuf| {
        path.file_stem()
            .is_some_and(|stem| stem.to_string_lossy().replace('-', "_") == name.replace('-', "_"))
    };
    let Some(file) = files.iter().find(same) else { return Ok(()) };
    if order.contains(file) {
        return Ok(());
    }
    // The package has no modules.dep (its installation makes it); each file names what it needs.
    let bytes = std::fs::read(file)?;
    let marker = b"\0depends=";
    let needed = bytes.windows(marker.len()).position(|window| window == marker).map(|at| {
        let rest = &bytes[at + marker.len()..];
        let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
        String::from_utf8_lossy(&rest[..end]).into_owned()
    });
    for dependency in needed.unwrap_or_default().split(',').filter(|part| !part.is_empty()) {
        with_dependencies(dependency, files, order)?;
    }
    order.push(file.clone());
    Ok(())
}
