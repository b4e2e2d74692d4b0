//! A durable object store: buckets, objects, multipart uploads. S3's rules, without its wire protocol.
//!
//! ```text
//!  objects.sqlite        buckets, objects, uploads, segments (which file holds which bytes)     what is not here is not there
//!  objects/content/xx/   one file per segment, never changed
//!  objects/incoming/     bytes on their way in
//! ```
//! An acknowledged write survives kill -9 and power loss: its file is durable before its row is. An object put at once is
//! one segment; one that was uploaded in parts is its parts, which completing does not copy.

mod buckets;
pub mod checksum;
mod condition;
mod content;
mod copy;
mod error;
mod listing;
mod multipart;
mod object;
mod operations;

pub use checksum::{Algorithm, Checksum, Kind};
pub use condition::{ReadConditions, Tag, Verdict, WriteConditions};
pub use content::Body;
pub use error::ObjectError;
pub use listing::{Entry, ListedUpload, Page, Position, Query, UploadPage, UploadQuery, position_of_marker};
pub use multipart::{CompletedPart, PART_BYTES, PARTS};
pub use object::{Bucket, Description, Object, Part, Upload};
pub use operations::{Integrity, OpenObject};

use content::{Arrived, Contents, shards};
use lamplight_store::{Clock, DataDirectory, Database, StoreError};
use object::{Removed, failed, unsigned};
use rusqlite::Connection;
use std::collections::HashSet;
use std::sync::Arc;

/// Formats of `objects.sqlite`. Never change one that was released: add the next.
const MIGRATIONS: &[&str] = &[include_str!("objects_1.sql")];

/// Bounds of the object store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of one body: an object put at once, or a part. S3's is 5 GiB.
    pub body_bytes: u64,
    /// Bytes of all objects and parts together.
    pub bytes_in_all: u64,
    /// Bodies received at once; more wait. Each holds a quarter of a mebibyte.
    pub concurrent_uploads: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { body_bytes: 5 << 30, bytes_in_all: 1 << 40, concurrent_uploads: 128 }
    }
}

/// The object store of a node. Cheap to clone.
#[derive(Clone)]
pub struct ObjectStore {
    database: Arc<Database>,
    contents: Arc<Contents>,
    bounds: Bounds,
    clock: Clock,
}

impl ObjectStore {
    /// Opens `objects.sqlite` and `objects/` in the data directory and removes files that belong to nothing. Blocks
    /// (file system calls).
    ///
    /// Fails with `NewerFormat` when a newer release wrote it, `Unwritable` when the disk is full or read-only.
    pub fn open(directory: &DataDirectory, bounds: Bounds, clock: Clock) -> Result<Self, StoreError> {
        let contents = Contents::open(
            &directory.path().join("objects"),
            bounds.concurrent_uploads,
            bounds.bytes_in_all,
        )?;
        let database = Database::open(directory, "objects.sqlite", MIGRATIONS, |connection| {
            sweep(connection, &contents)
        })?;
        Ok(Self { database: Arc::new(database), contents: Arc::new(contents), bounds, clock })
    }

    /// Runs a change in a transaction and then removes the files it leaves behind, also when the caller goes away meanwhile:
    /// otherwise they would stay, and count, until the next start.
    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Connection) -> Result<Result<(T, Removed), ObjectError>, StoreError> + Send + 'static,
    ) -> Result<T, ObjectError> {
        let store = self.clone();
        let changing = tokio::spawn(async move {
            let (value, removed) = store.database.write(change).await??;
            store.remove(removed).await;
            Ok(value)
        });
        changing.await.map_err(|error| StoreError::failed("failed to change the object store", error))?
    }

    /// Ends a write whose file has arrived, as the change of its row did: `Ok` gives `value`.
    async fn settle<T>(
        &self,
        arrived: Arrived,
        change: Result<Result<Removed, ObjectError>, StoreError>,
        value: T,
    ) -> Result<T, ObjectError> {
        match change {
            Ok(Ok(removed)) => {
                arrived.keep();
                self.remove(removed).await;
                Ok(value)
            }
            Ok(Err(refused)) => Err(refused),
            Err(error) => {
                // Whether the row is there is only known after the next start, which sweeps the file if not.
                arrived.keep();
                Err(error.into())
            }
        }
    }

    async fn remove(&self, removed: Removed) {
        for (owner, files, bytes) in removed.0 {
            self.contents.remove(&owner, files, bytes).await;
        }
    }
}

/// Removes files without a row: of writes that were cut off between their file and their row, and of deletions that were
/// cut off between their row and their file. Shard by shard, which bounds what is held in memory.
fn sweep(connection: &Connection, contents: &Contents) -> Result<(), StoreError> {
    let doing = failed("failed to read the segments");
    let mut removed = 0;
    for shard in shards() {
        let mut known = HashSet::new();
        // Names are hexadecimal, so all of a shard sort before its number and a `g`.
        let mut statement = connection
            .prepare_cached("SELECT file, size FROM segments WHERE file >= ?1 AND file < ?1 || 'g'")
            .map_err(&doing)?;
        let mut rows = statement.query([&shard]).map_err(&doing)?;
        while let Some(row) = rows.next().map_err(&doing)? {
            known.insert(row.get::<_, String>(0).map_err(&doing)?);
            contents.count(unsigned(row, 1).map_err(&doing)?);
        }
        removed += contents.sweep(&shard, &known)?;
    }
    if removed > 0 {
        tracing::info!(removed, "removed pieces of objects that belong to nothing");
    }
    Ok(())
}
