//! The data directory as root prepares it: who owns it, who may not have it twice.
//!
//! It belongs to root and is writable for the daemon's group with the sticky bit: the daemon makes its files in
//! it, and cannot replace those of root that the privileged side reads (`roots.json`).

use crate::failure::Failure;
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Host users of one server: its daemon's, and one for each sandbox that lives.
pub const UID_COUNT: u32 = 65_536;
/// Where the ranges begin. Far above what distributions and directory services hand out.
const UID_BASE: u32 = 0x7000_0000;
/// Number of ranges.
const UID_RANGES: u32 = 4_096;
/// How long a predecessor that was killed may take to be gone.
const PREDECESSOR_TIME: Duration = Duration::from_secs(5);
const PREDECESSOR_POLL: Duration = Duration::from_millis(20);
/// Held by root as long as the server lives; the daemon has a lock of its own beside it.
const LOCK: &str = "keeper.lock";
/// By these a directory is known as a server's.
const OURS: &[&str] = &[LOCK, "metadata.sqlite", "runtimes.json"];
/// Where a backup is unpacked; while it is there, what is in the directory is not whole.
pub const RESTORING: &str = "restore.partial";

/// A prepared data directory, locked as long as this lives.
#[derive(Debug)]
pub struct DataDirectory {
    /// First host uid of this server: the daemon's.
    pub first_uid: u32,
    /// Name of the parent cgroup, unique on the host.
    pub cgroup_name: String,
    /// Whether a server was killed here: its last processes may still be on their way out.
    pub predecessor_was_killed: bool,
    lock: File,
    path: PathBuf,
}

impl DataDirectory {
    /// Creates or checks `path`, takes its lock and makes it the daemon's. `configured_uid` 0 derives the range.
    ///
    /// Fails where a restore was interrupted: what is there is not whole.
    pub fn prepare(path: &Path, configured_uid: u32) -> Result<Self, Failure> {
        if path.join(RESTORING).exists() {
            let shown = path.display();
            return Err(Failure::usage(format!(
                "a restore into the data directory {shown} was not finished"
            ))
            .then(format!("restore again: lamplight restore FILE --data-dir {shown}")));
        }
        Self::prepare_for_restore(path, configured_uid)
    }

    /// As `prepare`, for a backup to be unpacked in; the caller has seen that nothing is there but what a restore left.
    pub fn prepare_for_restore(path: &Path, configured_uid: u32) -> Result<Self, Failure> {
        let shown = path.display();
        let context = |error: std::io::Error| {
            Failure::usage(format!("failed to prepare the data directory {shown}"))
                .because(error)
                .then("lamplight serve --data-dir /var/lib/lamplight")
        };
        if path.exists() && !path.is_dir() {
            return Err(Failure::usage(format!("the data directory {shown} is not a directory"))
                .then("lamplight serve --data-dir /var/lib/lamplight"));
        }
        if !path.join(RESTORING).exists() {
            refuse_foreign(path)?;
        }
        std::fs::create_dir_all(path).map_err(context)?;
        let path = std::fs::canonicalize(path).map_err(context)?;
        check_reachable(&path)?;
        let (lock, predecessor_was_killed) = take_lock(&path)?;
        let number = number_of(&path);
        let group = std::fs::metadata(&path).map_err(context)?.gid();
        let first_uid = choose_first_uid(configured_uid, group, number);
        if (UID_BASE..u32::MAX).contains(&group) && group != first_uid {
            return Err(Failure::usage(format!("the data directory {shown} belongs to user {group}"))
                .because(format!("the configuration says first_uid = {first_uid}"))
                .then(format!("set first_uid = {group}, or 0 to keep what is there")));
        }
        std::os::unix::fs::chown(&path, Some(0), Some(first_uid)).map_err(context)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o1770)).map_err(context)?;
        let cgroup_name = format!("lamplight-{number:08x}");
        Ok(Self { first_uid, cgroup_name, predecessor_was_killed, lock, path })
    }

    /// Gives the directory up without a trace of this lock, for one that stays as empty as it was.
    pub fn abandon(self) {
        // Best effort: an empty lock alone is no obstacle to a server, and told to whoever restores.
        let _ = std::fs::remove_file(self.path.join(LOCK));
    }
}

impl Drop for DataDirectory {
    fn drop(&mut self) {
        // An empty file says that this server ended by itself. Best effort: a full one costs the next a moment.
        let _ = self.lock.set_len(0);
    }
}

/// The first user of the server that will have this directory, as `DataDirectory::prepare` chooses it.
pub fn planned_first_uid(path: &Path, configured: u32) -> u32 {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let group = std::fs::metadata(&path).map_or(0, |metadata| metadata.gid());
    choose_first_uid(configured, group, number_of(&path))
}

/// A number that a directory keeps.
fn number_of(path: &Path) -> u32 {
    let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}

/// The configured user, else the one the directory already belongs to, else one derived from its name.
fn choose_first_uid(configured: u32, group: u32, number: u32) -> u32 {
    if configured > 0 {
        configured
    } else if (UID_BASE..u32::MAX).contains(&group) {
        group
    } else {
        UID_BASE + number % UID_RANGES * UID_COUNT
    }
}

/// Whether a server has kept something here.
pub fn is_data_directory(path: &Path) -> bool {
    OURS.iter().any(|name| path.join(name).exists())
}

/// A directory with files of somebody else is never taken over: its owner and mode would be changed.
fn refuse_foreign(path: &Path) -> Result<(), Failure> {
    let Ok(entries) = std::fs::read_dir(path) else { return Ok(()) };
    let mut names = entries.flatten().map(|entry| entry.file_name()).peekable();
    if names.peek().is_none() || names.any(|name| OURS.iter().any(|known| name == *known)) {
        return Ok(());
    }
    Err(Failure::usage(format!("the directory {} holds files that are not Lamplight's", path.display()))
        .then(format!("lamplight serve --data-dir {}", path.join("lamplight").display())))
}

/// The daemon has no privileges: every directory above must let it through.
fn check_reachable(path: &Path) -> Result<(), Failure> {
    for above in path.ancestors().skip(1) {
        let closed =
            std::fs::metadata(above).is_ok_and(|metadata| metadata.permissions().mode() & 0o001 == 0);
        if closed {
            return Err(Failure::usage(format!(
                "the data directory {} cannot be reached by the server",
                path.display()
            ))
            .because(format!("it runs without privileges, and {} is closed to others", above.display()))
            .then(format!("chmod o+x {}", above.display()))
            .then("or choose another place: --data-dir /var/lib/lamplight"));
        }
    }
    Ok(())
}

/// One server per directory. A predecessor that was killed is waited for; one that lives is named.
/// Also says whether the last one did not end by itself.
fn take_lock(path: &Path) -> Result<(File, bool), Failure> {
    let file = path.join(LOCK);
    let context =
        |error: std::io::Error| Failure::usage(format!("failed to lock {}", file.display())).because(error);
    let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(no_follow)
        .open(&file)
        .map_err(context)?;
    let started = Instant::now();
    loop {
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                if let Ok(mut again) = File::open(&file) {
                    let _ = again.read_to_string(&mut holder);
                }
                let holder = holder.trim().to_owned();
                if is_alive(&holder) || started.elapsed() > PREDECESSOR_TIME {
                    return Err(Failure::usage(format!(
                        "another server uses the data directory {}",
                        path.display()
                    ))
                    .because(format!("it is process {}", if holder.is_empty() { "unknown" } else { &holder }))
                    .then(format!(
                        "stop it:              kill {}",
                        if holder.is_empty() { "PID" } else { &holder }
                    ))
                    .then("or use another place: --data-dir DIRECTORY --listen 127.0.0.1:0"));
                }
                std::thread::sleep(PREDECESSOR_POLL);
            }
            Err(error) => return Err(context(error.into())),
        }
    }
    let was_killed = lock.metadata().map_err(context)?.len() > 0;
    lock.set_len(0).map_err(context)?;
    writeln!(lock, "{}", std::process::id()).map_err(context)?;
    Ok((lock, was_killed))
}

/// The process that has a data directory now.
pub fn holder(path: &Path) -> Option<String> {
    let file = File::open(path.join(LOCK)).ok()?;
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(rustix::io::Errno::WOULDBLOCK) => std::fs::read_to_string(path.join(LOCK)).ok(),
        _ => None,
    }
    .map(|process| process.trim().to_owned())
}

/// Whether the process is there and not only waiting to be reaped.
fn is_alive(process: &str) -> bool {
    let Ok(number) = process.parse::<u32>() else { return false };
    let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !matches!(rest.trim_start().chars().next(), Some('Z' | 'X') | None))
}

/// Writes a file of root's whole or not at all. A name of our own choosing is opened exclusively, so that a link
/// the daemon left in the directory is never followed.
pub fn write_whole(file: &Path, content: &[u8]) -> std::io::Result<()> {
    let directory = file.parent().unwrap_or(Path::new("/"));
    let temporary = directory.join(format!(".new-{}", uuid::Uuid::new_v4().simple()));
    let mut writer = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&temporary)?;
    let written = writer
        .write_all(content)
        .and_then(|()| writer.set_permissions(std::fs::Permissions::from_mode(0o644)))
        .and_then(|()| writer.sync_all())
        .and_then(|()| std::fs::rename(&temporary, file));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_stays_what_it_was() {
        assert_eq!(choose_first_uid(0, 0, 5), UID_BASE + 5 * 65_536);
        assert_eq!(choose_first_uid(0, UID_BASE + 65_536, 5), UID_BASE + 65_536);
        assert_eq!(choose_first_uid(900_000, 0, 5), 900_000);
        assert!(choose_first_uid(0, 0, u32::MAX).checked_add(UID_COUNT).is_some());
    }

    #[test]
    fn somebody_elses_directory_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        assert!(refuse_foreign(directory.path()).is_ok());
        std::fs::write(directory.path().join("thesis.tex"), "").unwrap();
        assert!(refuse_foreign(directory.path()).unwrap_err().text().contains("not Lamplight's"));
        std::fs::write(directory.path().join(LOCK), "").unwrap();
        assert!(refuse_foreign(directory.path()).is_ok());
    }

    #[test]
    fn the_second_server_is_refused_and_a_link_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (first, was_killed) = take_lock(directory.path()).unwrap();
        assert!(!was_killed);
        let refused = take_lock(directory.path()).unwrap_err();
        assert!(refused.text().contains(&format!("process {}", std::process::id())), "{}", refused.text());
        drop(first);
        assert!(take_lock(directory.path()).unwrap().1);
        std::fs::remove_file(directory.path().join(LOCK)).unwrap();
        std::os::unix::fs::symlink("/tmp/elsewhere", directory.path().join(LOCK)).unwrap();
        assert!(take_lock(directory.path()).unwrap_err().text().contains("failed to lock"));
    }
}
