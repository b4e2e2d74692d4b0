//! Durable standard and FIFO queues: SQS's rules, without its wire protocol.
//!
//! ```text
//!  send ──► messages (visible_at) ──► receive: visible_at += timeout, receives += 1 ──► delete
//!              ▲        │ received too often                │ not deleted in time
//!   move task ─┘        └──► dead letter queue              └──► visible again
//! ```
//! Everything is rows of `queues.sqlite`; an operation is one transaction, durable before it is answered. Who waits for
//! messages is woken by the change or by the moment the next message becomes visible.

mod address;
mod error;
mod fifo;
mod lifecycle;
mod message;
mod permissions;
mod receive;
mod redrive;
mod send;
mod settings;
mod settle;
mod stored;
mod tasks;
mod tidy;
mod waiting;

pub use address::QueueAddress;
pub use error::QueueError;
pub use lifecycle::{Counts, Description};
pub use message::{
    AttributeValue, MessageAttribute, MessageAttributes, NewMessage, ReceivedMessage, Sent, TRACE_BYTES,
    attributes_digest, check_value, digest,
};
pub use receive::Receive;
pub use redrive::{RedriveAllowPolicy, RedrivePolicy};
pub use settings::{MESSAGE_BYTES, Settings};
pub use tasks::{MoveTask, TaskStatus};

use error::Trouble;
use lamplight_store::{Clock, DataDirectory, Database, StoreError};
use rusqlite::Connection;
use std::sync::Arc;
use waiting::Waiting;

/// Formats of `queues.sqlite`. Never change one that was released: add the next.
const MIGRATIONS: &[&str] = &[include_str!("queues_1.sql")];

/// Bounds of all queues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Messages of one queue that are received and neither deleted nor visible again. SQS's is 120,000.
    pub in_flight: u64,
    /// Bytes of all messages of all queues together, as the database needs them.
    pub bytes_in_all: u64,
    /// Queues of all scopes together.
    pub queues: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { in_flight: 120_000, bytes_in_all: 64 << 30, queues: 100_000 }
    }
}

/// The queues of a node. Cheap to clone.
#[derive(Clone)]
pub struct Queues {
    database: Arc<Database>,
    waiting: Arc<Waiting>,
    bounds: Bounds,
    clock: Clock,
}

impl Queues {
    /// Opens `queues.sqlite` in the data directory. Blocks (file system calls).
    ///
    /// Fails with `NewerFormat` when a newer release wrote it, `Unwritable` when the disk is full or read-only.
    pub fn open(directory: &DataDirectory, bounds: Bounds, clock: Clock) -> Result<Self, StoreError> {
        let database = Database::open(directory, "queues.sqlite", MIGRATIONS, |_| Ok(()))?;
        Ok(Self { database: Arc::new(database), waiting: Arc::default(), bounds, clock })
    }

    /// Runs a change in a transaction. A refusal must come before the first write: what was written stays.
    async fn write<T: Send + 'static>(
        &self,
        doing: &'static str,
        change: impl FnOnce(&Connection) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, QueueError> {
        self.database.write(move |connection| settle(doing, change(connection))).await?
    }

    /// Runs a query that sees every change acknowledged before this call.
    async fn read<T: Send + 'static>(
        &self,
        doing: &'static str,
        query: impl FnOnce(&Connection) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, QueueError> {
        self.database.read(move |connection| settle(doing, query(connection))).await?
    }

    fn now(&self) -> i64 {
        (self.clock)().as_millis()
    }
}

fn settle<T>(doing: &'static str, result: Result<T, Trouble>) -> Result<Result<T, QueueError>, StoreError> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Trouble::Refused(refused)) => Ok(Err(refused)),
        Err(Trouble::Sqlite(error)) => Err(StoreError::sqlite(doing, error)),
    }
}
