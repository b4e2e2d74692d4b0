//! Tells a process of a shared store that another has changed something.
//!
//! SQLite tells nobody; `PRAGMA data_version` of a connection differs when another connection has committed since it was asked
//! last, and costs a look into shared memory. Source: SQLite, "PRAGMA data_version".

use crate::contract::StoreError;
use crate::sqlite::connection::open_reader;
use crate::sqlite::writer::Changes;
use rusqlite::Connection;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Between two looks: the longest that another process's event waits unseen.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The thread that looks; ends when this is dropped.
pub(crate) struct Watcher {
    end: Option<Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watcher {
    /// Raises `changes` when somebody has committed to the file at `path`.
    pub(crate) fn start(path: &Path, changes: Changes) -> Result<Self, StoreError> {
        let connection = open_reader(path)?;
        let mut seen = version(&connection)?;
        let (end, ended) = channel::<()>();
        let thread = std::thread::Builder::new()
            .name("store-watcher".to_owned())
            .spawn(move || {
                while ended.recv_timeout(LOOK_AGAIN) == Err(RecvTimeoutError::Timeout) {
                    match version(&connection) {
                        Ok(now) if now == seen => {}
                        Ok(now) => {
                            seen = now;
                            changes.raise();
                        }
                        Err(error) => tracing::warn!(%error, "cannot see whether another process wrote"),
                    }
                }
            })
            .map_err(|error| StoreError::io("failed to start the store's watcher", error))?;
        Ok(Self { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.end.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn version(connection: &Connection) -> Result<i64, StoreError> {
    connection
        .pragma_query_value(None, "data_version", |row| row.get(0))
        .map_err(|error| StoreError::sqlite("failed to look for changes of other processes", error))
}
