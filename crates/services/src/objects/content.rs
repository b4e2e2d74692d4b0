//! The files that hold content: they arrive beneath a temporary name, become durable, are read, and go.
//!
//! ```text
//!  bytes ─► incoming/<id> ─ fsync ─ rename ─► content/<xx>/<id> ─ fsync of the directory ─► row committed: it is there
//!                                                     └ no row: swept at the next start
//! ```
//! A file is written once and never changed. Who reads an object holds its content: when it is replaced or deleted
//! meanwhile, its files go when the last reader has.

use crate::objects::ObjectError;
use crate::objects::checksum::{Algorithm, Digests, Hasher};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use lamplight_store::StoreError;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Write as _;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{RwLock, Semaphore};

/// Bytes hashed and written, or read, at a time: what one upload or download holds in memory.
const PIECE_BYTES: usize = 256 * 1024;
/// How long no byte of a body may come.
const IDLE_TIME: Duration = Duration::from_secs(60);

/// A body on its way in. Its errors are told to the client.
pub type Body = std::pin::Pin<Box<dyn Stream<Item = Result<Bytes, ObjectError>> + Send>>;

/// The directories and what is going on in them.
#[derive(Debug)]
pub(crate) struct Contents {
    content: PathBuf,
    incoming: PathBuf,
    holds: Mutex<Holds>,
    /// Read while a row is looked up and its content held, written while files of vanished rows are removed: so that
    /// whoever found a row also finds its files.
    pub(crate) gate: RwLock<()>,
    arrivals: Semaphore,
    stored_bytes: AtomicU64,
    bound_bytes: u64,
}

#[derive(Debug, Default)]
struct Holds {
    readers: HashMap<String, usize>,
    /// Files of content that is still read, to be removed afterwards.
    doomed: HashMap<String, Vec<String>>,
}

/// A piece of content, durable, but without a row yet. Removed again when it never gets one.
#[derive(Debug)]
pub(crate) struct Arrived {
    contents: Arc<Contents>,
    /// Its name; `None` when it is empty.
    pub file: Option<String>,
    /// Its bytes.
    pub size: u64,
    /// What was computed over them.
    pub digests: Digests,
    keep: bool,
}

impl Arrived {
    /// A row may refer to it now: it is not removed any more.
    pub fn keep(mut self) {
        self.keep = true;
    }
}

impl Drop for Arrived {
    fn drop(&mut self) {
        if !self.keep {
            self.contents.unlink(self.file.as_slice());
            self.contents.stored_bytes.fetch_sub(self.size, Ordering::Relaxed);
        }
    }
}

/// A file beneath its temporary name; removed when it does not become content.
struct Incoming {
    path: PathBuf,
    file: Arc<File>,
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // After the rename there is nothing of this name.
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "failed to remove an incomplete upload");
        }
    }
}

impl Contents {
    /// Makes the directories and removes what never became content.
    pub fn open(directory: &Path, concurrent_uploads: usize, bound_bytes: u64) -> Result<Self, StoreError> {
        let (content, incoming) = (directory.join("content"), directory.join("incoming"));
        let make = |path: &Path| std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        let doing = || format!("failed to prepare {}", directory.display());
        (|| {
            make(&incoming)?;
            for entry in std::fs::read_dir(&incoming)? {
                std::fs::remove_file(entry?.path())?;
            }
            for shard in shards() {
                make(&content.join(shard))?;
            }
            File::open(&content)?.sync_all()?;
            File::open(directory)?.sync_all()?;
            directory.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
        })()
        .map_err(|error| StoreError::io(doing(), error))?;
        Ok(Self {
            content,
            incoming,
            holds: Mutex::default(),
            gate: RwLock::default(),
            arrivals: Semaphore::new(concurrent_uploads),
            stored_bytes: AtomicU64::new(0),
            bound_bytes,
        })
    }

    /// Removes the files of one shard that are not in `known`. Gives back how many. Only before anything arrives.
    pub fn sweep(&self, shard: &str, known: &HashSet<String>) -> Result<usize, StoreError> {
        let directory = self.content.join(shard);
        let mut present = HashSet::new();
        let mut removed = 0;
        (|| {
            for entry in std::fs::read_dir(&directory)? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                if known.contains(&name) {
                    present.insert(name);
                } else {
                    std::fs::remove_file(entry.path())?;
                    removed += 1;
                }
            }
            Ok(())
        })()
        .map_err(|error| StoreError::io(format!("failed to sweep {}", directory.display()), error))?;
        for missing in known.difference(&present) {
            tracing::error!(file = missing, "a piece of an object is missing on the disk");
        }
        Ok(removed)
    }

    /// Adds what is stored already to the count that is bounded.
    pub fn count(&self, bytes: u64) {
        self.stored_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Writes a body to a durable file and computes over it; `judge` decides on the result before it becomes content.
    ///
    /// At most `bound` bytes are taken. Fails with what the body fails with, `RequestTimeout`, `EntityTooLarge`,
    /// `StorageFull`, or what `judge` says; nothing stays behind then.
    pub async fn receive(
        self: &Arc<Self>,
        mut body: Body,
        bound: u64,
        algorithms: &[Algorithm],
        judge: impl FnOnce(u64, &Digests) -> Result<(), ObjectError>,
    ) -> Result<Arrived, ObjectError> {
        let stopped = |error| StoreError::failed("failed to receive an object", error);
        let _turn =
            self.arrivals.acquire().await.map_err(|error| StoreError::failed("failed to receive", error))?;
        let id = uuid::Uuid::new_v4().simple().to_string();
        let mut hasher = Hasher::new(algorithms);
        let mut incoming: Option<Incoming> = None;
        let mut size = 0_u64;
        let mut piece = BytesMut::new();
        loop {
            let next = match tokio::time::timeout(IDLE_TIME, body.next()).await {
                Ok(next) => next.transpose()?,
                Err(_) => return Err(ObjectError::RequestTimeout),
            };
            let ended = next.is_none();
            if let Some(bytes) = next {
                size = size.saturating_add(bytes.len() as u64);
                if size > bound {
                    return Err(ObjectError::EntityTooLarge(bound));
                }
                piece.extend_from_slice(&bytes);
            }
            if piece.len() >= PIECE_BYTES || (ended && !piece.is_empty()) {
                if self.stored_bytes.load(Ordering::Relaxed).saturating_add(size) > self.bound_bytes {
                    return Err(ObjectError::StorageFull(self.bound_bytes));
                }
                let bytes = std::mem::take(&mut piece);
                let file = match &incoming {
                    Some(incoming) => Arc::clone(&incoming.file),
                    None => Arc::clone(&incoming.insert(self.create(&id).await?).file),
                };
                hasher = tokio::task::spawn_blocking(move || {
                    hasher.update(&bytes);
                    (&*file)
                        .write_all(&bytes)
                        .map_err(|error| StoreError::io("failed to write an object", error))?;
                    Ok::<_, StoreError>(hasher)
                })
                .await
                .map_err(stopped)??;
            }
            if ended {
                break;
            }
        }
        let digests = hasher.finish();
        judge(size, &digests)?;
        // From here on it counts, until the content or this value goes.
        self.count(size);
        let mut arrived = Arrived { contents: Arc::clone(self), file: None, size, digests, keep: false };
        if let Some(incoming) = incoming {
            let target = self.path(&id);
            // Should the caller go away during this, the file is complete and without a row: the next start sweeps it.
            tokio::task::spawn_blocking(move || settle(incoming, &target)).await.map_err(stopped)??;
            arrived.file = Some(id);
        }
        Ok(arrived)
    }

    async fn create(&self, id: &str) -> Result<Incoming, StoreError> {
        let path = self.incoming.join(id);
        tokio::task::spawn_blocking(move || {
            let file = File::options()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
                .map_err(|error| StoreError::io(format!("failed to create {}", path.display()), error))?;
            Ok(Incoming { path, file: Arc::new(file) })
        })
        .await
        .map_err(|error| StoreError::failed("failed to create a file", error))?
    }

    /// Whoever found this content in a row, with the gate held, may read it as long as this lives.
    pub fn hold(self: &Arc<Self>, owner: &str) -> Hold {
        *self.holds().readers.entry(owner.to_owned()).or_default() += 1;
        Hold { contents: Arc::clone(self), owner: owner.to_owned() }
    }

    /// Removes the files of vanished rows of `owner`, `bytes` together, now or when its last reader has gone.
    pub async fn remove(self: &Arc<Self>, owner: &str, files: Vec<String>, bytes: u64) {
        self.stored_bytes.fetch_sub(bytes, Ordering::Relaxed);
        if files.is_empty() {
            return;
        }
        let closed = self.gate.write().await;
        {
            let mut holds = self.holds();
            if holds.readers.contains_key(owner) {
                holds.doomed.entry(owner.to_owned()).or_default().extend(files);
                return;
            }
        }
        drop(closed);
        let contents = Arc::clone(self);
        let removing = tokio::task::spawn_blocking(move || contents.unlink(&files)).await;
        if let Err(error) = removing {
            tracing::warn!(%error, "failed to remove the files of an object");
        }
    }

    /// The bytes of `range` of the object made of `segments`. Ends with an error when a file is gone or too short.
    pub fn read(
        self: &Arc<Self>,
        segments: &[(Option<String>, u64)],
        range: Range<u64>,
        hold: Hold,
    ) -> impl Stream<Item = std::io::Result<Bytes>> + Send + use<> {
        let mut at = 0_u64;
        let mut pieces = Vec::new();
        for (file, size) in segments {
            let (begin, end) = (range.start.max(at), range.end.min(at + size));
            if let Some(file) = file
                && begin < end
            {
                pieces.push((self.path(file), begin - at..end - at));
            }
            at += size;
        }
        pieces.reverse();
        stream::try_unfold((pieces, None::<Arc<File>>, hold), |(mut pieces, mut open, hold)| async move {
            let Some((path, rest)) = pieces.pop() else { return Ok(None) };
            let (bytes, file, left) = tokio::task::spawn_blocking({
                let (path, open) = (path.clone(), open.take());
                move || {
                    let file = match open {
                        Some(file) => file,
                        None => Arc::new(File::open(&path)?),
                    };
                    let length =
                        usize::try_from(rest.end - rest.start).unwrap_or(usize::MAX).min(PIECE_BYTES);
                    let mut bytes = vec![0; length];
                    file.read_exact_at(&mut bytes, rest.start)?;
                    Ok::<_, std::io::Error>((Bytes::from(bytes), file, rest.start + length as u64..rest.end))
                }
            })
            .await
            .map_err(std::io::Error::other)??;
            let mut open = None;
            if !left.is_empty() {
                pieces.push((path, left));
                open = Some(file);
            }
            Ok(Some((bytes, (pieces, open, hold))))
        })
    }

    fn path(&self, file: &str) -> PathBuf {
        self.content.join(file.get(..2).unwrap_or_default()).join(file)
    }

    fn unlink(&self, files: &[String]) {
        for file in files {
            if let Err(error) = std::fs::remove_file(self.path(file)) {
                tracing::warn!(%error, file, "failed to remove a piece of an object");
            }
        }
    }

    fn holds(&self) -> MutexGuard<'_, Holds> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names of the directories content is spread over: the first two digits of a file's name.
pub(crate) fn shards() -> impl Iterator<Item = String> {
    (0..=255_u8).map(|number| format!("{number:02x}"))
}

/// Makes a complete file durable beneath its final name.
fn settle(incoming: Incoming, target: &Path) -> Result<(), StoreError> {
    let result = (|| {
        incoming.file.sync_all()?;
        std::fs::rename(&incoming.path, target)?;
        target.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
    })();
    result.map_err(|error| StoreError::io(format!("failed to keep {}", target.display()), error))
}

/// Keeps the files of one content readable.
#[derive(Debug)]
pub(crate) struct Hold {
    contents: Arc<Contents>,
    owner: String,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let doomed = {
            let mut holds = self.contents.holds();
            match holds.readers.get_mut(&self.owner) {
                Some(readers) if *readers > 1 => {
                    *readers -= 1;
                    Vec::new()
                }
                _ => {
                    holds.readers.remove(&self.owner);
                    holds.doomed.remove(&self.owner).unwrap_or_default()
                }
            }
        };
        self.contents.unlink(&doomed);
    }
}
