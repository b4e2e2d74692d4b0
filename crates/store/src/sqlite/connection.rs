//! Opens one connection the way every file of ours is opened.

use crate::contract::StoreError;
use rusqlite::{Connection, OpenFlags};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

/// Statements kept prepared per connection: more than there are texts.
const STATEMENTS: usize = 64;

/// How much a commit promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Synced before the commit returns (`synchronous=FULL`).
    Full,
    /// Whole after a power loss, but without the last commits (`synchronous=NORMAL`).
    Normal,
}

/// The writing connection; creates the file (mode 0600: it holds payloads).
pub(crate) fn open_writer(path: &Path, durability: Durability) -> Result<Connection, StoreError> {
    let doing = || format!("failed to open {}", path.display());
    std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| StoreError::io(doing(), error))?;
    let synchronous = match durability {
        Durability::Full => "FULL",
        Durability::Normal => "NORMAL",
    };
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(|error| StoreError::sqlite(doing(), error))?;
    let prepared = (|| {
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", synchronous)?;
        // The log is cut back to this after a checkpoint: a burst must not keep its disk space for ever.
        connection.pragma_update_and_check(None, "journal_size_limit", 16 << 20, |_| Ok(()))?;
        connection.pragma_update(None, "cache_size", -4096)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(())
    })();
    prepared.map_err(|error| StoreError::sqlite(doing(), error))?;
    // The names of the files must survive a power loss as well as their content.
    if let Some(parent) = path.parent() {
        std::fs::File::open(parent)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| StoreError::io(doing(), error))?;
    }
    Ok(connection)
}

/// A connection that cannot write.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let doing = || format!("failed to open {}", path.display());
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .map_err(|error| StoreError::sqlite(doing(), error))?;
    let prepared = (|| {
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.pragma_update(None, "cache_size", -1024)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(())
    })();
    prepared.map_err(|error| StoreError::sqlite(doing(), error))?;
    Ok(connection)
}
