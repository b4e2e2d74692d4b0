//! `backup` and `restore`: everything a server keeps as one file, made while it runs.
//!
//! ```text
//!  root      opens FILE (0600), starts ─► this program again, as the daemon's user, FILE as its standard input
//!  daemon's  `write`: databases at one moment each, with the files their rows name ─► tar + gzip, checksums last
//!  user      `read`:  unpack beside, compare every checksum, move into place, or leave nothing
//! ```
//! Nothing in the data directory is read or written as root: the daemon could have put a link there.

mod archive;
mod read;
mod write;

use crate::failure::Failure;
use crate::output;
use crate::server::{self, DataDirectory, RESTORING};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is not in a backup, for people.
const NOT_INCLUDED: &[&str] = &[
    "file-systems/ (what functions wrote to /mnt; copy it while they rest)",
    "runtimes.json (what `lamplight runtime add` and `alias` named on this host)",
    "/etc/lamplight (the configuration)",
];

/// Which way; the hidden argument of the part that runs as the daemon's user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Direction {
    /// Data directory to archive.
    Write,
    /// Archive to data directory.
    Read,
}

/// What was put into an archive or taken out of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the archive was begun, as RFC 3339.
    pub made_at: String,
    /// What could not be read, or is of no known kind.
    pub left_out: Vec<String>,
}

/// How the part that runs as the daemon's user ends: one line on its standard output.
#[derive(Debug, Serialize, Deserialize)]
enum End {
    Done(Summary),
    Failed { what: String, why: Option<String>, next: Vec<String> },
}

/// `backup FILE`: writes everything in `data_directory` to the new file `file`.
pub fn backup(json: bool, data_directory: &Path, file: &Path) -> Result<u8, Failure> {
    server::require_root("backup")?;
    let context = |error: std::io::Error| {
        Failure::usage(format!("failed to write the backup {}", file.display())).because(error)
    };
    let shown = data_directory.display();
    if !data_directory.join("metadata.sqlite").exists() {
        return Err(Failure::usage(format!("there is nothing to back up in {shown}"))
            .because("no server has kept anything there")
            .then("lamplight backup FILE --data-dir DIRECTORY"));
    }
    let file = std::path::absolute(file).map_err(context)?;
    if file.starts_with(data_directory) {
        return Err(Failure::usage(format!("the backup {} would lie in what it copies", file.display()))
            .then("lamplight backup /var/backups/lamplight.tar.gz"));
    }
    if file.symlink_metadata().is_ok() {
        return Err(Failure::usage(format!("{} is there already", file.display()))
            .then("name another file, or remove it first"));
    }
    let partial = Partial(file.with_added_extension("partial"));
    let archive =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial.0).map_err(context)?;
    let kept = archive.try_clone().map_err(context)?;
    let summary = as_daemon(Direction::Write, data_directory, archive)?;
    kept.sync_all().map_err(context)?;
    std::fs::rename(&partial.0, &file).map_err(context)?;
    if let Some(parent) = file.parent() {
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(context)?;
    }
    let size = kept.metadata().map_err(context)?.len();
    if json {
        output::json(&serde_json::json!({
            "file": file, "bytes": size, "files": summary.files, "content_bytes": summary.bytes, "made_at": summary.made_at,
            "left_out": summary.left_out, "not_included": NOT_INCLUDED, "contains_key": true,
        }));
        return Ok(0);
    }
    output::line(format!(
        "backed up {shown} to {}: {} files, {}, as {}",
        file.display(),
        summary.files,
        output::bytes(summary.bytes),
        output::bytes(size)
    ));
    output::remark(
        "WARNING: this file holds the key of the environment values. Whoever can read it reads every secret in them.\n\
         Its mode is 0600; keep it as you keep the server itself.",
    );
    tell_left_out(&summary);
    Ok(0)
}

/// `restore FILE`: makes the absent or empty `data_directory` what it was when `file` was made.
pub fn restore(json: bool, data_directory: &Path, first_uid: u32, file: &Path) -> Result<u8, Failure> {
    server::require_root("restore")?;
    let shown = data_directory.display();
    let archive = File::open(file).map_err(|error| {
        Failure::usage(format!("failed to open the backup {}", file.display())).because(error)
    })?;
    let was_there = data_directory.exists();
    refuse_used(data_directory)?;
    let prepared = DataDirectory::prepare_for_restore(data_directory, first_uid)?;
    match as_daemon(Direction::Read, data_directory, archive) {
        Ok(summary) => {
            drop(prepared);
            if json {
                output::json(&serde_json::json!({
                    "data_directory": data_directory, "files": summary.files, "content_bytes": summary.bytes,
                    "made_at": summary.made_at, "not_included": NOT_INCLUDED,
                }));
                return Ok(0);
            }
            output::line(format!(
                "restored {shown} as it was at {}: {} files, {}, every checksum right",
                summary.made_at,
                summary.files,
                output::bytes(summary.bytes)
            ));
            tell_left_out(&summary);
            output::remark(format!("now: lamplight serve --data-dir {shown}"));
            Ok(0)
        }
        Err(failure) => {
            // What was unpacked is gone already; the directory becomes what it was. Best effort: the failure counts.
            prepared.abandon();
            if !was_there {
                let _ = std::fs::remove_dir(data_directory);
            }
            Err(failure)
        }
    }
}

fn tell_left_out(summary: &Summary) {
    output::remark("not in it:");
    for line in NOT_INCLUDED.iter().copied().chain(summary.left_out.iter().map(String::as_str)) {
        output::remark(format!("  {line}"));
    }
}

/// Only what a restore that was interrupted left is written over.
fn refuse_used(directory: &Path) -> Result<(), Failure> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Ok(()) };
    let names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    if names.is_empty() || names.iter().any(|name| name == RESTORING) {
        return Ok(());
    }
    Err(Failure::usage(format!("{} is not empty", directory.display()))
        .because(format!("it holds {}; a backup is restored into an empty directory only", names.join(", ")))
        .then("lamplight restore FILE --data-dir NEW-DIRECTORY")
        .then(format!("or move the old one away: mv {0} {0}.old", directory.display())))
}

/// Runs the unprivileged part with `archive` as its standard input.
fn as_daemon(direction: Direction, data_directory: &Path, archive: File) -> Result<Summary, Failure> {
    let doing = || Failure::usage("failed to start the part that runs as the server's user");
    // The daemon's user and group have one number, and the directory belongs to the group.
    let user = std::fs::metadata(data_directory).map_err(|error| doing().because(error))?.gid();
    if user == 0 {
        return Err(doing().because(format!(
            "{} belongs to root alone, so no server has used it",
            data_directory.display()
        )));
    }
    let direction = match direction {
        Direction::Write => "write",
        Direction::Read => "read",
    };
    // The program itself, even where its folder is closed to others: the kernel follows this link for the process it names.
    let output = Command::new("/proc/self/exe")
        .args(["as-daemon", direction, "--data-dir"])
        .arg(data_directory)
        .env_clear()
        .current_dir("/")
        .stdin(archive)
        .stdout(Stdio::piped())
        .uid(user)
        .gid(user)
        .output()
        .map_err(|error| doing().because(error))?;
    match serde_json::from_slice(&output.stdout) {
        Ok(End::Done(summary)) => Ok(summary),
        Ok(End::Failed { what, why, next }) => Err(Failure { why, next, ..Failure::usage(what) }),
        Err(_) => Err(Failure::usage("the part that runs as the server's user ended early")
            .because(String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// The unprivileged part: `archive` is its standard input. Says how it ended on standard output.
pub fn run_as_daemon(direction: Direction, data_directory: &Path) -> Result<u8, Failure> {
    use std::os::fd::AsFd as _;
    if crate::config::is_root() {
        return Err(Failure::usage("this part of backup and restore never runs as root"));
    }
    let archive = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map(File::from)
        .map_err(|error| Failure::usage("failed to open the backup").because(error))?;
    let done = match direction {
        Direction::Write => write::write(data_directory, archive),
        Direction::Read => read::read(data_directory, archive),
    };
    let (end, status) = match done {
        Ok(summary) => (End::Done(summary), 0),
        Err(Failure { what, why, next, .. }) => (End::Failed { what, why, next }, 2),
    };
    output::line(serde_json::to_string(&end).unwrap_or_default());
    Ok(status)
}

/// A file that goes unless it was renamed.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        // After the rename there is nothing of this name.
        let _ = std::fs::remove_file(&self.0);
    }
}
