//! An archive into a data directory: everything is there and right, or nothing is.

use super::Summary;
use super::archive::{CHECKSUMS, Checksum, FORMAT, HEAD, Head, Summed, is_plain};
use crate::failure::Failure;
use crate::server::RESTORING;
use flate2::read::GzDecoder;
use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{BufReader, Read};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Longest first entry, bytes.
const HEAD_BYTES: u64 = 64 * 1024;
/// Longest list of checksums, bytes: some ten million files.
const CHECKSUMS_BYTES: u64 = 2 << 30;

/// Unpacks `archive` beside, compares it with its checksums, and moves it into place. Leaves nothing when it fails.
pub fn read(data_directory: &Path, archive: File) -> Result<Summary, Failure> {
    let restoring = data_directory.join(RESTORING);
    if restoring.exists() {
        // A restore into an empty directory was interrupted, so whatever is here is a part of it.
        remove_all(data_directory).map_err(|error| {
            Failure::usage("failed to remove what an interrupted restore left").because(error)
        })?;
    }
    let done = unpack(&restoring, archive).and_then(|summary| {
        settle(data_directory, &restoring)
            .map_err(|error| Failure::usage("failed to move what was restored into place").because(error))?;
        Ok(summary)
    });
    if done.is_err() {
        // Best effort: a server refuses to start beside it, and the next restore writes over it.
        let _ = std::fs::remove_dir_all(&restoring);
    }
    done
}

/// Removes what belongs to this user, `RESTORING` last: until then a server refuses to start here.
fn remove_all(directory: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name() == RESTORING || entry.metadata()?.uid() != rustix::process::getuid().as_raw() {
            continue;
        }
        let remove = if entry.file_type()?.is_dir() { std::fs::remove_dir_all } else { std::fs::remove_file };
        remove(entry.path())?;
    }
    std::fs::remove_dir_all(directory.join(RESTORING))
}

fn damaged(why: impl std::fmt::Display) -> Failure {
    Failure::usage("the backup is damaged, nothing was restored")
        .because(why)
        .then("take another copy of the file, or an older one")
}

fn unpack(restoring: &Path, archive: File) -> Result<Summary, Failure> {
    let doing = |error: std::io::Error| {
        Failure::usage(format!("failed to unpack the backup into {}", restoring.display())).because(error)
    };
    DirBuilder::new().mode(0o700).create(restoring).map_err(doing)?;
    let mut archive = tar::Archive::new(GzDecoder::new(BufReader::with_capacity(1 << 20, archive)));
    let mut summary = Summary::default();
    let mut found = BTreeMap::new();
    let mut expected: Option<Vec<Checksum>> = None;
    for (index, entry) in archive.entries().map_err(damaged)?.enumerate() {
        let mut entry = entry.map_err(|error| if index == 0 { stranger(&error) } else { damaged(&error) })?;
        let path = entry.path().map_err(damaged)?.into_owned();
        let name = path.to_string_lossy().into_owned();
        if index == 0 {
            let mut text = Vec::new();
            (&mut entry).take(HEAD_BYTES).read_to_end(&mut text).map_err(damaged)?;
            summary.made_at = head(&name, &text)?.made_at;
            continue;
        }
        if name == CHECKSUMS {
            let mut text = Vec::new();
            (&mut entry).take(CHECKSUMS_BYTES).read_to_end(&mut text).map_err(damaged)?;
            expected = Some(serde_json::from_slice(&text).map_err(damaged)?);
            continue;
        }
        if !is_plain(&path) || path.starts_with(RESTORING) {
            return Err(damaged(format!("it has the path {name}")));
        }
        let mode = entry.header().mode().map_err(damaged)? & 0o777;
        let target = restoring.join(&path);
        match entry.header().entry_type() {
            tar::EntryType::Directory => {
                DirBuilder::new().recursive(true).mode(0o700).create(&target).map_err(doing)?;
                std::fs::set_permissions(&target, Permissions::from_mode(mode | 0o700)).map_err(doing)?;
            }
            tar::EntryType::Regular => {
                if let Some(parent) = target.parent() {
                    DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(doing)?;
                }
                let mut file = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(mode | 0o600)
                    .open(&target)
                    .map_err(doing)?;
                let checksum = copy(entry, &mut file, &name)?;
                summary.files += 1;
                summary.bytes += checksum.bytes;
                found.insert(name, checksum);
            }
            other => return Err(damaged(format!("{name} is of the kind {other:?}"))),
        }
    }
    compare(expected, found)?;
    Ok(summary)
}

/// What is read wrongly is the archive's fault, what is written wrongly the disk's.
fn copy(entry: impl Read, file: &mut File, name: &str) -> Result<Checksum, Failure> {
    use std::io::Write as _;
    let mut summed = Summed::new(entry);
    let mut buffer = vec![0; 1 << 18];
    loop {
        let count = summed.read(&mut buffer).map_err(damaged)?;
        if count == 0 {
            return Ok(summed.checksum(name));
        }
        file.write_all(&buffer[..count])
            .map_err(|error| Failure::usage(format!("failed to restore {name}")).because(error))?;
    }
}

fn stranger(why: impl std::fmt::Display) -> Failure {
    Failure::usage("the file is no backup of Lamplight").because(why)
}

/// The first entry, if it is of a form this release reads.
fn head(name: &str, text: &[u8]) -> Result<Head, Failure> {
    if name != HEAD {
        return Err(stranger(format!("it begins with {name}")));
    }
    let head: Head = serde_json::from_slice(text).map_err(stranger)?;
    if head.format > FORMAT {
        return Err(Failure::usage(format!(
            "the backup was made by Lamplight {}, in a form this release does not know",
            head.lamplight
        ))
        .then(format!("restore it with Lamplight {} or a newer one", head.lamplight)));
    }
    Ok(head)
}

/// Every file of the list is there as it was, and no other.
fn compare(expected: Option<Vec<Checksum>>, mut found: BTreeMap<String, Checksum>) -> Result<(), Failure> {
    let expected = expected.ok_or_else(|| damaged("it ends before its checksums"))?;
    for checksum in expected {
        match found.remove(&checksum.path) {
            None => return Err(damaged(format!("{} is absent", checksum.path))),
            Some(there) if there != checksum => {
                return Err(damaged(format!("{} is not what was backed up", checksum.path)));
            }
            Some(_) => {}
        }
    }
    match found.into_keys().next() {
        Some(name) => Err(damaged(format!("{name} has no checksum"))),
        None => Ok(()),
    }
}

/// Makes everything durable and gives it its place. Until the last step a server refuses to start here.
fn settle(data_directory: &Path, restoring: &Path) -> std::io::Result<()> {
    let directory = File::open(data_directory)?;
    rustix::fs::syncfs(&directory)?;
    for entry in std::fs::read_dir(restoring)? {
        let entry = entry?;
        std::fs::rename(entry.path(), data_directory.join(entry.file_name()))?;
    }
    directory.sync_all()?;
    std::fs::remove_dir(restoring)?;
    directory.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checksum(path: &str, sha256: &str) -> Checksum {
        Checksum { path: path.to_owned(), bytes: 1, sha256: sha256.to_owned() }
    }

    fn check(expected: Option<&[(&str, &str)]>, found: &[(&str, &str)], refusal: Option<&str>) {
        let list =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(path, sum)| checksum(path, sum)).collect::<Vec<_>>();
        let found = list(found).into_iter().map(|checksum| (checksum.path.clone(), checksum)).collect();
        let answer = compare(expected.map(list), found).err().and_then(|failure| failure.why);
        assert_eq!(answer.as_deref(), refusal);
    }

    #[test]
    fn every_file_must_be_what_was_backed_up() {
        check(Some(&[("a", "1"), ("b", "2")]), &[("b", "2"), ("a", "1")], None);
        check(Some(&[("a", "1")]), &[("a", "2")], Some("a is not what was backed up"));
        check(Some(&[("a", "1"), ("b", "2")]), &[("a", "1")], Some("b is absent"));
        check(Some(&[]), &[("a", "1")], Some("a has no checksum"));
        check(None, &[("a", "1")], Some("it ends before its checksums"));
    }

    #[test]
    fn a_later_form_is_refused_by_the_release_that_made_it() {
        let refused = head(HEAD, br#"{"format": 2, "lamplight": "9.0", "made_at": ""}"#).unwrap_err();
        assert!(refused.text().contains("Lamplight 9.0"), "{}", refused.text());
        assert!(head("something", b"{}").unwrap_err().text().contains("no backup of Lamplight"));
    }

    #[test]
    fn what_is_no_archive_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "hello").unwrap();
        let refused = read(directory.path(), File::open(&file).unwrap()).unwrap_err();
        assert!(refused.text().contains("no backup of Lamplight"), "{}", refused.text());
        assert!(!directory.path().join(RESTORING).exists());
    }
}
