//! Streams that clients made or deleted: a journal beside the segments of a group.
//!
//! One JSON object a line, appended and synced. It is read when the group is opened, and written anew then when part of it
//! no longer matters. Streams that came to be by a function's line are in the segments only.

use crate::contract::StoreError;
use lamplight_model::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Streams a group remembers as made by clients, and as many as deleted (until their events have gone).
pub(crate) const REMEMBERED_STREAMS: usize = 100_000;

const JOURNAL: &str = "streams.jsonl";

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Entry {
    Created {
        name: String,
        at: Timestamp,
    },
    /// Events up to this number are read no more.
    Deleted {
        name: String,
        through: u64,
    },
}

/// Last event of each deleted stream that is not to be read, by the stream's name.
pub(crate) type Deleted = HashMap<String, u64>;

/// What the journal says. Readers take the `Arc`s and go on without the group's lock.
#[derive(Debug)]
pub(crate) struct Streams {
    path: PathBuf,
    pub(crate) created: Arc<BTreeMap<String, Timestamp>>,
    pub(crate) deleted: Arc<Deleted>,
    journal: Option<File>,
}

impl Streams {
    /// Reads the journal of a group whose oldest event that may still be there is `first_sequence`.
    pub(crate) fn open(directory: &Path, first_sequence: u64) -> Result<Self, StoreError> {
        let path = directory.join(JOURNAL);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(StoreError::io(format!("failed to read {}", path.display()), error)),
        };
        let (mut created, mut deleted) = (BTreeMap::new(), Deleted::new());
        let mut entries = 0;
        // A torn last line was never answered; nothing comes after it.
        for entry in text.split_inclusive('\n').map_while(|line| serde_json::from_str(line).ok()) {
            entries += 1;
            match entry {
                Entry::Created { name, at } => {
                    created.insert(name, at);
                }
                Entry::Deleted { name, through } => {
                    created.remove(&name);
                    deleted.insert(name, through);
                }
            }
        }
        deleted.retain(|_, through| *through >= first_sequence);
        let torn = text.lines().count() != entries || !(text.is_empty() || text.ends_with('\n'));
        let streams = Self { path, created: Arc::new(created), deleted: Arc::new(deleted), journal: None };
        if torn || entries > streams.created.len() + streams.deleted.len() {
            streams.rewrite()?;
        }
        Ok(streams)
    }

    fn rewrite(&self) -> Result<(), StoreError> {
        let mut lines = Vec::new();
        // Deletions first: a stream may have been made again since.
        for (name, through) in self.deleted.iter() {
            lines.extend(line(&Entry::Deleted { name: name.clone(), through: *through })?);
        }
        for (name, at) in self.created.iter() {
            lines.extend(line(&Entry::Created { name: name.clone(), at: *at })?);
        }
        let temporary = self.path.with_extension("new");
        let write = || -> std::io::Result<()> {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(&lines)?;
            file.sync_all()?;
            std::fs::rename(&temporary, &self.path)
        };
        match write() {
            // What is there is read all the same.
            Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => Ok(()),
            other => other
                .map_err(|error| StoreError::io(format!("failed to write {}", self.path.display()), error)),
        }
    }

    /// Notes a stream that a client made.
    pub(crate) fn create(&mut self, name: &str, at: Timestamp) -> Result<(), StoreError> {
        if self.created.len() >= REMEMBERED_STREAMS {
            return Err(StoreError::Unwritable(format!(
                "the log group has {REMEMBERED_STREAMS} streams made by clients; delete some"
            )));
        }
        self.append(&Entry::Created { name: name.to_owned(), at })?;
        Arc::make_mut(&mut self.created).insert(name.to_owned(), at);
        Ok(())
    }

    /// Notes that a stream was deleted when the group's newest event was `through`.
    pub(crate) fn delete(&mut self, name: &str, through: u64) -> Result<(), StoreError> {
        if self.deleted.len() >= REMEMBERED_STREAMS {
            return Err(StoreError::Unwritable(format!(
                "{REMEMBERED_STREAMS} deleted streams of the log group still have events on disk; delete the group, or wait \
                 until its retention took them"
            )));
        }
        self.append(&Entry::Deleted { name: name.to_owned(), through })?;
        Arc::make_mut(&mut self.created).remove(name);
        Arc::make_mut(&mut self.deleted).insert(name.to_owned(), through);
        Ok(())
    }

    fn append(&mut self, entry: &Entry) -> Result<(), StoreError> {
        let doing = format!("failed to write {}", self.path.display());
        let bytes = line(entry)?;
        let mut write = || -> std::io::Result<()> {
            let file = match &mut self.journal {
                Some(file) => file,
                none => {
                    let options =
                        OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
                    none.insert(options)
                }
            };
            let before = file.metadata()?.len();
            let written = file.write_all(&bytes).and_then(|()| file.sync_data());
            if written.is_err() {
                // A part of a line would hide the lines after it.
                let _ = file.set_len(before);
            }
            written
        };
        write().map_err(|error| StoreError::io(doing, error))
    }
}

fn line(entry: &Entry) -> Result<Vec<u8>, StoreError> {
    let mut bytes = serde_json::to_vec(entry)
        .map_err(|error| StoreError::failed("failed to write the journal of streams", error))?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_costs_itself_and_what_no_longer_matters_goes() {
        let directory = tempfile::tempdir().unwrap();
        let mut streams = Streams::open(directory.path(), 1).unwrap();
        streams.create("a", Timestamp(1)).unwrap();
        streams.delete("a", 5).unwrap();
        streams.create("a", Timestamp(2)).unwrap();
        streams.delete("gone", 3).unwrap();
        let path = directory.path().join(JOURNAL);
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str("{\"created\":{\"name\":\"tor");
        std::fs::write(&path, text).unwrap();
        for _ in 0..2 {
            let streams = Streams::open(directory.path(), 4).unwrap();
            assert_eq!(*streams.created, BTreeMap::from([("a".to_owned(), Timestamp(2))]));
            assert_eq!(*streams.deleted, Deleted::from([("a".to_owned(), 5)]));
        }
        let mut streams = Streams::open(directory.path(), 4).unwrap();
        streams.create("b", Timestamp(3)).unwrap();
        assert_eq!(Streams::open(directory.path(), 6).unwrap().created.len(), 2);
    }
}
