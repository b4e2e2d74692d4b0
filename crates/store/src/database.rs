//! One SQLite file of a service above: opened, migrated, written and read as the store does it with its own.
//!
//! Used by `services`, whose state is its own file beside the metadata: WAL, `synchronous=FULL`, one writer with group
//! commit, a few readers.

use crate::contract::StoreError;
use crate::lock::DataDirectoryLock;
use crate::open::make_directory;
use crate::sqlite::connection::{Durability, open_writer};
use crate::sqlite::readers::Readers;
use crate::sqlite::schema::migrate;
use crate::sqlite::writer::{Changes, Writer};
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The data directory, locked for this process as long as a clone of this lives.
#[derive(Debug, Clone)]
pub struct DataDirectory {
    path: PathBuf,
    lock: Arc<DataDirectoryLock>,
}

impl DataDirectory {
    /// Creates it (mode 0700) where absent and locks it. Fails with `Locked` when another process has it.
    pub fn take(path: &Path) -> Result<Self, StoreError> {
        make_directory(path)?;
        Ok(Self { path: path.to_owned(), lock: Arc::new(DataDirectoryLock::take(path)?) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn lock(&self) -> Arc<DataDirectoryLock> {
        Arc::clone(&self.lock)
    }
}

/// An open file. Holds the lock of its data directory until its writer has ended.
pub struct Database {
    readers: Readers,
    writer: Writer,
}

impl Database {
    /// Opens or creates `file` in the data directory and brings it to the newest format: the n-th of `migrations`
    /// (SQL) brings format n-1 to n. `prepare` sees it before anybody else does. Blocks.
    ///
    /// Fails with `NewerFormat` when a newer release wrote it, and with whatever `prepare` fails with.
    pub fn open(
        directory: &DataDirectory,
        file: &str,
        migrations: &[&str],
        prepare: impl FnOnce(&Connection) -> Result<(), StoreError>,
    ) -> Result<Self, StoreError> {
        let path = directory.path.join(file);
        let mut connection = open_writer(&path, Durability::Full)?;
        migrate(&mut connection, &path.display().to_string(), migrations)?;
        prepare(&connection)?;
        Ok(Self {
            readers: Readers::new(&path),
            writer: Writer::start(connection, directory.lock(), Changes::new())?,
        })
    }

    /// Runs `change` inside a transaction; durable when this is `Ok`. A caller that goes away does not stop it.
    ///
    /// When `change` fails, what it wrote is rolled back.
    pub async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writer.write(change, |_| {}).await
    }

    /// Runs `query` on a connection that sees every change acknowledged before this call.
    pub async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.readers.read(query).await
    }
}
