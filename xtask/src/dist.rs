//! `cargo xtask dist`: what is given to others: a static program in a tarball, a Debian package, and their checksums.
//!
//! Built against musl, so that it runs on every Linux of its architecture; packed by tar and dpkg-deb with fixed names, owners and
//! times, so that the same commit gives the same files.

use crate::command;
use crate::paths;
use anyhow::{Context as _, bail};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Arguments of `cargo xtask dist`.
#[derive(Debug, clap::Args)]
pub struct DistArguments {
    /// Cargo profile; another than release is for looking at the packages only.
    #[arg(long, default_value = "release")]
    profile: String,
}

/// What the tarball holds beside the program.
const DOCUMENTS: &[&str] = &["README.md", "CHANGELOG.md", "LICENSE", "SECURITY.md"];

/// Architecture names of Rust's target and of Debian.
fn architecture() -> anyhow::Result<(&'static str, &'static str)> {
    match std::env::consts::ARCH {
        "x86_64" => Ok(("x86_64-unknown-linux-musl", "amd64")),
        "aarch64" => Ok(("aarch64-unknown-linux-musl", "arm64")),
        other => bail!("Lamplight is made for x86-64 and ARM64, and this machine is {other}"),
    }
}

/// Builds and packs everything into `dist/` of the target directory.
pub fn run(arguments: &DistArguments) -> anyhow::Result<ExitCode> {
    let (target, debian) = architecture()?;
    let program = build(target, &arguments.profile)?;
    let version = version()?;
    let directory = paths::target()?.join("dist");
    if directory.exists() {
        std::fs::remove_dir_all(&directory)?;
    }
    std::fs::create_dir_all(&directory)?;
    let archive = tarball(&directory, &program, &version, target)?;
    let package = debian_package(&directory, &program, &version, debian)?;
    let sums = command::output(Command::new("sha256sum").args([&archive, &package]).current_dir(&directory))
        .context("failed to run sha256sum")?;
    std::fs::write(directory.join("SHA256SUMS"), format!("{sums}\n"))?;
    println!("{}:\n{sums}", directory.display());
    Ok(ExitCode::SUCCESS)
}

/// The static program.
fn build(target: &str, profile: &str) -> anyhow::Result<PathBuf> {
    let installed = command::output(Command::new("rustup").args(["target", "list", "--installed"]));
    if !installed.is_some_and(|list| list.lines().any(|line| line == target)) {
        bail!("Rust's libraries for {target} are absent; get them with: rustup target add {target}");
    }
    if !command::exists("musl-gcc") {
        bail!(
            "no musl-gcc, which compiles SQLite and the TLS library; get it with: apt-get install musl-tools"
        );
    }
    command::run(
        Command::new("cargo")
            .args(["build", "--locked", "--package", "lamplight", "--target", target, "--profile", profile])
            .env(format!("CC_{}", target.replace('-', "_")), "musl-gcc")
            .current_dir(paths::root()),
    )?;
    // Cargo's development profile has a directory of another name.
    let folder = if profile == "dev" { "debug" } else { profile };
    Ok(paths::target()?.join(target).join(folder).join("lamplight"))
}

/// The version all crates share.
fn version() -> anyhow::Result<String> {
    let manifest: toml::Table = toml::from_str(&std::fs::read_to_string(paths::root().join("Cargo.toml"))?)?;
    let version = manifest["workspace"]["package"]["version"].as_str();
    Ok(version.context("Cargo.toml names no version")?.to_owned())
}

/// Seconds since the epoch of the commit: the time of every packed file.
fn commit_time() -> String {
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%ct"]).current_dir(paths::root());
    // Without git, as in a tarball of the sources, the beginning of time does.
    command::output(&mut git).unwrap_or_else(|| "0".to_owned())
}

fn put(from: &Path, to: &Path, mode: u32) -> anyhow::Result<()> {
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::copy(from, to).with_context(|| format!("failed to copy {}", from.display()))?;
    std::fs::set_permissions(to, Permissions::from_mode(mode))?;
    Ok(())
}

fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))?;
    std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    Ok(())
}

/// Gives the name of the tarball.
fn tarball(directory: &Path, program: &Path, version: &str, target: &str) -> anyhow::Result<String> {
    let name = format!("lamplight-{version}-{target}");
    let folder = directory.join(&name);
    put(program, &folder.join("lamplight"), 0o755)?;
    for document in DOCUMENTS {
        put(&paths::root().join(document), &folder.join(document), 0o644)?;
    }
    let archive = format!("{name}.tar.gz");
    command::run(
        Command::new("tar")
            .args([
                "--create",
                "--sort=name",
                "--owner=0",
                "--group=0",
                "--numeric-owner",
                "--use-compress-program=gzip -9n",
            ])
            .arg(format!("--mtime=@{}", commit_time()))
            .args(["--file", &archive, &name])
            .current_dir(directory),
    )?;
    std::fs::remove_dir_all(&folder)?;
    Ok(archive)
}

/// Gives the name of the package. It brings the program; `lamplight install` makes the service of it.
fn debian_package(
    directory: &Path,
    program: &Path,
    version: &str,
    architecture: &str,
) -> anyhow::Result<String> {
    if !command::exists("dpkg-deb") {
        bail!("no dpkg-deb, which packs for Debian; get it with: apt-get install dpkg");
    }
    let folder = directory.join("debian");
    put(program, &folder.join("usr/bin/lamplight"), 0o755)?;
    let documents = folder.join("usr/share/doc/lamplight");
    for document in ["README.md", "CHANGELOG.md"] {
        put(&paths::root().join(document), &documents.join(document), 0o644)?;
    }
    put(&paths::root().join("LICENSE"), &documents.join("copyright"), 0o644)?;
    let script = command::output(Command::new(program).args(["completion", "bash"]))
        .context("the program that was built does not run here")?;
    write(&folder.join("usr/share/bash-completion/completions/lamplight"), &format!("{script}\n"), 0o644)?;
    let kib = std::fs::metadata(program)?.len().div_ceil(1024);
    write(
        &folder.join("DEBIAN/control"),
        &format!(
            "Package: lamplight\nVersion: {version}\nArchitecture: {architecture}\nSection: admin\nPriority: optional\n\
             Maintainer: The Lamplight developers <lamplight@localhost>\nInstalled-Size: {kib}\n\
             Recommends: systemd, e2fsprogs, nftables, ca-certificates\n\
             Suggests: python3, nodejs\n\
             Description: run AWS Lambda functions on this machine\n \
             One program with embedded storage and a real wall around every instance, without Docker.\n \
             After installing: sudo lamplight install\n"
        ),
        0o644,
    )?;
    write(&folder.join("DEBIAN/postinst"), POST_INSTALL, 0o755)?;
    write(&folder.join("DEBIAN/prerm"), BEFORE_REMOVAL, 0o755)?;
    let package = format!("lamplight_{version}_{architecture}.deb");
    command::run(
        Command::new("dpkg-deb")
            .args(["--root-owner-group", "--build", "debian", &package])
            .env("SOURCE_DATE_EPOCH", commit_time())
            .current_dir(directory),
    )?;
    std::fs::remove_dir_all(&folder)?;
    Ok(package)
}

const POST_INSTALL: &str = "\
#!/bin/sh
set -e
if [ \"$1\" = configure ]; then
    if [ -f /etc/systemd/system/lamplight.service ] && [ -d /run/systemd/system ]; then
        # An upgrade: the unit may be another, and what was installed is what runs then.
        lamplight install
    else
        echo 'Lamplight is installed. Make it a service: sudo lamplight install   Or try it: sudo lamplight quickstart'
    fi
fi
";
const BEFORE_REMOVAL: &str = "\
#!/bin/sh
set -e
# The data stays. To remove it as well: lamplight uninstall --data, before the package.
if [ \"$1\" = remove ]; then
    lamplight uninstall
fi
";
