//! A data directory into an archive, while its server runs.
//!
//! Everything at the top is taken but what is known to be made again or to be no business of the daemon's user: a part of
//! the product that keeps a file of its own is backed up from its first day.

use super::Summary;
use super::archive::{CHECKSUMS, Checksum, FORMAT, HEAD, Head, Summed};
use crate::failure::{Failure, chain};
use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::fs::{FlockOperation, OFlags, flock};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Copies of the databases and links to the files they name, while the archive is written. On the data directory's own
/// disk, where a link to a file takes no room.
const STAGE: &str = "backup.partial";
/// Databases whose rows name files, and where these are.
const NAMED_FILES: &[(&str, &str)] =
    &[("metadata.sqlite", "code/zip"), ("objects.sqlite", "objects/content")];
/// Locks, what root makes at every start, what the host's own mounts are in, and files that functions wrote.
const LEFT_OUT: &[&str] = &[
    "lock",
    "keeper.lock",
    "roots.json",
    "runtimes.json",
    "bootstraps",
    "temporary",
    "host",
    "file-systems",
    STAGE,
];
/// Beneath the top: unpacked and compiled packages are made again, uploads that had not arrived were never acknowledged.
const MADE_AGAIN: &[&str] = &["code/unpacked", "code/temporary", "objects/incoming"];
/// Bytes held while a file is copied.
const BUFFER_BYTES: usize = 1 << 20;

type Tar = tar::Builder<GzEncoder<BufWriter<File>>>;

/// Writes everything to `archive`.
pub fn write(data_directory: &Path, archive: File) -> Result<Summary, Failure> {
    let failed = |error: std::io::Error| {
        let failure = Failure::usage("failed to write the backup").because(&error);
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                failure.then("make room, for the copies of the databases too")
            }
            _ => failure,
        }
    };
    let stage = Stage::begin(data_directory)?;
    let databases = databases(data_directory).map_err(failed)?;
    for database in &databases {
        let files = NAMED_FILES.iter().find(|(name, _)| name == database).map(|(_, files)| *files);
        stage.take(data_directory, database, files)?;
    }
    // Packing packages that are ZIPs already costs time and gains nothing; what gains is databases and logs, at any level.
    let encoder = GzEncoder::new(BufWriter::with_capacity(BUFFER_BYTES, archive), Compression::fast());
    let mut writing =
        Writing { tar: tar::Builder::new(encoder), checksums: Vec::new(), summary: Summary::default() };
    writing.summary.made_at = now();
    writing.all(data_directory, &stage.path, &databases).map_err(failed)?;
    writing.end().map_err(failed)
}

fn now() -> String {
    let now = time::OffsetDateTime::now_utc();
    now.replace_nanosecond(0)
        .unwrap_or(now)
        .format(&time::format_description::well_known::Rfc3339)
        .unwrap_or_default()
}

/// Names of the databases at the top.
fn databases(data_directory: &Path) -> std::io::Result<Vec<String>> {
    let mut names = names_in(data_directory)?;
    names.retain(|name| name.ends_with(".sqlite"));
    Ok(names)
}

/// What a directory holds now, in order. Segments of logs come after everything else: an index that is there already belongs
/// to a segment that is complete.
fn names_in(directory: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        // Ours are all text; a stranger's name that is none is told as far as it is one.
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort_by_cached_key(|name| (name.ends_with(".log"), name.clone()));
    Ok(names)
}

/// The directory for copies, which goes with this.
struct Stage {
    path: PathBuf,
    _lock: File,
}

impl Stage {
    fn begin(data_directory: &Path) -> Result<Self, Failure> {
        let path = data_directory.join(STAGE);
        let doing = |error: std::io::Error| {
            Failure::usage(format!("failed to prepare {}", path.display())).because(error)
        };
        DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(doing)?;
        let lock = File::open(&path).map_err(doing)?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(Failure::usage("another backup of this data directory is being written")
                .then("wait for it to end"));
        }
        // Of a backup that was killed.
        for entry in std::fs::read_dir(&path).map_err(doing)? {
            let entry = entry.map_err(doing)?;
            let is_directory = entry.file_type().map_err(doing)?.is_dir();
            let remove = if is_directory { std::fs::remove_dir_all } else { std::fs::remove_file };
            remove(entry.path()).map_err(doing)?;
        }
        Ok(Self { path, _lock: lock })
    }

    /// Copies `database`, and links the files its rows name into the directory `files`.
    fn take(&self, data_directory: &Path, database: &str, files: Option<&str>) -> Result<(), Failure> {
        let link = || match files {
            Some(files) => link_tree(&data_directory.join(files), &self.path.join(files)),
            None => Ok(()),
        };
        // Most of the work, while changes go on; below, only what is new waits to be linked.
        link().map_err(|error| {
            Failure::usage(format!("failed to link the files of {database}")).because(error)
        })?;
        lamplight_store::snapshot(&data_directory.join(database), &self.path.join(database), link)
            .map_err(|error| Failure::usage(format!("failed to copy {database}")).because(chain(&error)))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Best effort: the next backup removes what stays.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Links every file beneath `from` to the same place beneath `to`, where it is not yet.
fn link_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(from) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    let mode = from.metadata()?.permissions().mode() & 0o777;
    DirBuilder::new().recursive(true).mode(mode).create(to)?;
    for entry in entries {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            link_tree(&entry.path(), &target)?;
            continue;
        }
        match std::fs::hard_link(entry.path(), &target) {
            // A disk of its own, where only a copy does. What was copied the first time is not copied again.
            Err(error) if error.kind() == ErrorKind::CrossesDevices => {
                if !target.exists() {
                    copied(std::fs::copy(entry.path(), &target))?;
                }
            }
            // It is there already, or it went meanwhile, and with it the row that named it.
            Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => {}
            linked => linked?,
        }
    }
    Ok(())
}

/// What went meanwhile need not be copied.
fn copied(result: std::io::Result<u64>) -> std::io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other.map(|_| ()),
    }
}

/// An archive being written.
struct Writing {
    tar: Tar,
    checksums: Vec<Checksum>,
    summary: Summary,
}

impl Writing {
    fn all(&mut self, data_directory: &Path, stage: &Path, databases: &[String]) -> std::io::Result<()> {
        let head = Head {
            format: FORMAT,
            lamplight: env!("CARGO_PKG_VERSION").to_owned(),
            made_at: self.summary.made_at.clone(),
        };
        self.document(HEAD, &head)?;
        for (_, files) in NAMED_FILES {
            self.tree(&stage.join(files), files)?;
        }
        for database in databases {
            self.file(&stage.join(database), database, 0o600)?;
        }
        for name in names_in(data_directory)? {
            if !LEFT_OUT.contains(&name.as_str()) && !name.contains(".sqlite") {
                self.tree(&data_directory.join(&name), &name)?;
            }
        }
        Ok(())
    }

    /// A file, or a directory with everything in it. What goes meanwhile is not there any more; what this user may not read
    /// is told.
    fn tree(&mut self, from: &Path, path: &str) -> std::io::Result<()> {
        if MADE_AGAIN.contains(&path) || self.is_staged(from, path) {
            return Ok(());
        }
        let metadata = match from.symlink_metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            metadata => metadata?,
        };
        if metadata.is_file() {
            return self.file(from, path, metadata.permissions().mode());
        }
        if !metadata.is_dir() {
            self.summary.left_out.push(format!("{path} (neither file nor directory)"));
            return Ok(());
        }
        let names = match names_in(from) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                self.summary.left_out.push(format!("{path}/ (not the server's own)"));
                return Ok(());
            }
            names => names?,
        };
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(metadata.permissions().mode() & 0o777);
        header.set_size(0);
        self.tar.append_data(&mut header, path, std::io::empty())?;
        for name in names {
            self.tree(&from.join(&name), &format!("{path}/{name}"))?;
        }
        Ok(())
    }

    /// Whether the files at `path` were taken from the stage, as they were when their database was copied.
    fn is_staged(&self, from: &Path, path: &str) -> bool {
        NAMED_FILES.iter().any(|(_, files)| *files == path)
            && !from.components().any(|part| part.as_os_str() == STAGE)
    }

    /// A file as long as it is now: logs grow.
    fn file(&mut self, from: &Path, path: &str, mode: u32) -> std::io::Result<()> {
        let no_follow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
        let file = match OpenOptions::new().read(true).custom_flags(no_follow).open(from) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                self.summary.left_out.push(format!("{path} (not the server's own)"));
                return Ok(());
            }
            file => file?,
        };
        let length = file.metadata()?.len();
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode & 0o777);
        header.set_size(length);
        let mut summed = Summed::new(file.take(length));
        self.tar.append_data(&mut header, path, &mut summed)?;
        let checksum = summed.checksum(path);
        if checksum.bytes != length {
            return Err(std::io::Error::other(format!("{path} became shorter while it was read")));
        }
        self.summary.files += 1;
        self.summary.bytes += length;
        self.checksums.push(checksum);
        Ok(())
    }

    fn document(&mut self, path: &str, document: &impl serde::Serialize) -> std::io::Result<()> {
        let text = serde_json::to_vec(document)?;
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o600);
        header.set_size(text.len() as u64);
        self.tar.append_data(&mut header, path, text.as_slice())
    }

    fn end(mut self) -> Result<Summary, std::io::Error> {
        let checksums = std::mem::take(&mut self.checksums);
        self.document(CHECKSUMS, &checksums)?;
        self.tar.into_inner()?.finish()?.flush()?;
        Ok(self.summary)
    }
}
