//! Logs: groups with their settings, streams (one per instance, or made by clients), append-only segments with an index.

mod group;
mod rate;
mod record;
mod segment;
pub(crate) mod segments;
mod streams;

use crate::contract::StoreError;
use async_trait::async_trait;
use lamplight_model::{Scope, Timestamp};
use std::collections::BTreeMap;

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

impl LogEvent {
    /// What clients see as the event's id: unique, and ascending with time.
    pub fn id(&self) -> String {
        let time = u128::try_from(self.timestamp.as_millis()).unwrap_or_default();
        format!("{:056}", (time << 64) | u128::from(self.sequence))
    }
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
    /// When the store took the newest event.
    pub last_ingested_at: Option<Timestamp>,
    /// Bytes stored.
    pub stored_bytes: u64,
}

/// What an operator or client may set about a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LogGroupSettings {
    /// Days after which events go; `None` is the server's own bound (`LogBounds::retention`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<u32>,
    /// Tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// A group's description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogGroupInfo {
    /// Name, e.g. `/aws/lambda/hello`.
    pub name: String,
    /// Time of its creation.
    pub created_at: Timestamp,
    /// Bytes of its segments on disk.
    pub stored_bytes: u64,
    /// What was set.
    pub settings: LogGroupSettings,
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
    /// Writes events of a client to a stream that exists, in the order given, before it returns: nothing is dropped.
    ///
    /// Fails with `NotFound` (`log group ...` or `log stream ...`) when there is none. `false`: the group takes no more at
    /// the moment (its rate), and nothing was written.
    async fn put(
        &self,
        scope: &Scope,
        group: &str,
        stream: &str,
        events: Vec<(Timestamp, String)>,
    ) -> Result<bool, StoreError>;
    /// Makes an empty group. `AlreadyExists` when there is one.
    async fn create_group(
        &self,
        scope: &Scope,
        group: &str,
        settings: LogGroupSettings,
    ) -> Result<(), StoreError>;
    /// Replaces a group's settings; durable when it returns. `NotFound` when there is no such group.
    async fn configure_group(
        &self,
        scope: &Scope,
        group: &str,
        settings: LogGroupSettings,
    ) -> Result<(), StoreError>;
    /// Deletes a group with all that is in it; numbers of events begin again should it be made again. `NotFound` when
    /// there is none.
    async fn delete_group(&self, scope: &Scope, group: &str) -> Result<(), StoreError>;
    /// One group; `NotFound` when there is none.
    async fn group(&self, scope: &Scope, group: &str) -> Result<LogGroupInfo, StoreError>;
    /// Groups in order of their names, beginning after `after`.
    async fn groups(
        &self,
        scope: &Scope,
        prefix: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<LogGroupInfo>, StoreError>;
    /// Makes an empty stream, which stays until it is deleted. `NotFound` without the group, `AlreadyExists`;
    /// `Unwritable` when the group has as many streams of clients as it may.
    async fn create_stream(&self, scope: &Scope, group: &str, stream: &str) -> Result<(), StoreError>;
    /// Deletes a stream: its events are read no more, and go with their segments. `NotFound` with what is absent.
    async fn delete_stream(&self, scope: &Scope, group: &str, stream: &str) -> Result<(), StoreError>;
    /// The number of a group's newest event, 0 when it never had one; `NotFound` when there is no such group.
    async fn last_sequence(&self, scope: &Scope, group: &str) -> Result<u64, StoreError>;
    /// Streams of a group in name order; `NotFound` when there is no such group.
    async fn streams(&self, scope: &Scope, group: &str) -> Result<Vec<LogStreamInfo>, StoreError>;
    /// Events of a group; `NotFound` when there is no such group.
    async fn events(&self, scope: &Scope, group: &str, query: LogQuery) -> Result<Vec<LogEvent>, StoreError>;
    /// Deletes events older than the retention and empty streams. Gives back how many bytes were freed.
    async fn retain(&self, now: Timestamp) -> Result<u64, StoreError>;
    /// Woken after every append that became readable.
    fn watch(&self) -> tokio::sync::watch::Receiver<u64>;
}
