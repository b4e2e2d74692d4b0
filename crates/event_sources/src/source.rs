//! The seam: what is polled. Each kind of source has a folder of its own; the fake passes the same contract tests.

use async_trait::async_trait;
use serde_json::Value;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// One thing that came: it is held for its receiver until it is done, given back, or the hold ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// By which a function says that it failed.
    pub id: String,
    /// By which it is settled.
    pub receipt: String,
    /// Within which order counts; `None` where there is none.
    pub group: Option<String>,
    /// `X-Amzn-Trace-Id` of who sent it.
    pub trace: Option<String>,
    /// An element of the event's `Records`.
    pub event: Value,
}

/// What one receive gave.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Received {
    /// At most as many as were asked for; none when nothing came in time.
    pub records: Vec<Record>,
    /// For how long they are held from now.
    pub hold: Duration,
}

/// How to receive.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// At most so many records.
    pub most: usize,
    /// How long to wait for the first.
    pub wait: Duration,
    /// How much longer than usual they are to be held.
    pub longer: Duration,
}

/// Why a source did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// It does not exist.
    #[error("the event source does not exist")]
    Gone,
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

/// Something that is polled. What is received and neither done nor given back comes again when its hold ends, also after a
/// crash: at least once.
#[async_trait]
pub trait EventSource: Send + Sync + 'static {
    /// Receives records, and waits for the first. Ends early, with nothing, when `stop` is cancelled; dropping the future
    /// instead may hold records that nobody has seen.
    async fn receive(&self, wanted: Wanted, stop: &CancellationToken) -> Result<Received, SourceError>;
    /// Takes records away for good. What is gone already is no error.
    async fn done(&self, receipts: &[String]) -> Result<(), SourceError>;
    /// Holds records longer, and says for how long from now.
    async fn hold(&self, receipts: &[String]) -> Result<Duration, SourceError>;
    /// Lets records come again at once.
    async fn give_back(&self, receipts: &[String]) -> Result<(), SourceError>;
    /// The member of a record that holds what the sender wrote; filters read JSON in it.
    fn data_member(&self) -> &'static str;
    /// Whether records of one group come in order.
    fn is_ordered(&self) -> bool;
}
