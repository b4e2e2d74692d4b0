//! Function logs: groups, a stream per instance, append-only segments with an index.

mod group;
mod rate;
mod record;
mod segment;
pub(crate) mod segments;

use crate::contract::StoreError;
use async_trait::async_trait;
use lamplight_model::{Scope, Timestamp};

/// One line (or one multi-line event) of a log stream.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LogEvent {
    /// Stream it belongs to; filled in by reads over a whole group.
    pub stream: String,
    /// When it was written.
    pub timestamp: Timestamp,
    /// When the store took it.
    pub ingested_at: Timestamp,
    /// The text, including a trailing newline if it had one.
    pub message: String,
    /// Ascending within a group; makes a unique event id and an opaque page token.
    pub sequence: u64,
}

/// A stream's description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogStreamInfo {
    /// Name, e.g. `2026/01/31/[$LATEST]0123...`.
    pub name: String,
    /// Time of its creation.
    pub created_at: Timestamp,
    /// First event's time.
    pub first_event_at: Option<Timestamp>,
    /// Last event's time.
    pub last_event_at: Option<Timestamp>,
    /// Bytes stored.
    pub stored_bytes: u64,
}

/// Which events to read.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    /// Only these streams (all when empty).
    pub streams: Vec<String>,
    /// Only streams whose name begins so.
    pub stream_prefix: Option<String>,
    /// From this moment on (inclusive).
    pub from: Option<Timestamp>,
    /// Until this moment (exclusive).
    pub until: Option<Timestamp>,
    /// Only events after this sequence number (before it when `backward`).
    pub after_sequence: Option<u64>,
    /// Newest first.
    pub backward: bool,
    /// At most so many.
    pub limit: usize,
}

/// Where logs go.
#[async_trait]
pub trait Logs: Send + Sync + 'static {
    /// Takes lines of one stream, creating group and stream. Never blocks: beyond the group's rate or the
    /// bounded buffer lines are dropped and counted, and one visible "dropped n lines" event stands for them.
    fn append(&self, scope: &Scope, group: &str, stream: &str, lines: Vec<(Timestamp, String)>);
    /// Waits until everything appended before is readable.
    async fn flush(&self) -> Result<(), StoreError>;
    /// Group names in order, beginning after `after`.
    async fn groups(
        &self,
        scope: &Scope,
        prefix: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Timestamp, u64)>, StoreError>;
    /// Streams of a group in name order; `NotFound` when there is no such group.
    async fn streams(&self, scope: &Scope, group: &str) -> Result<Vec<LogStreamInfo>, StoreError>;
    /// Events of a group; `NotFound` when there is no such group.
    async fn events(&self, scope: &Scope, group: &str, query: LogQuery) -> Result<Vec<LogEvent>, StoreError>;
    /// Deletes events older than the retention and empty streams. Gives back how many bytes were freed.
    async fn retain(&self, now: Timestamp) -> Result<u64, StoreError>;
    /// Woken after every append that became readable.
    fn watch(&self) -> tokio::sync::watch::Receiver<u64>;
}
