//! Durable state of a node: metadata and queue, ledger, logs, and code packages.
//!
//! Called by every floor above. Three parts that may be lost in different ways never share a file:
//! metadata and queue are SQLite (WAL, `synchronous=FULL`, group commit) and are durable before a call
//! returns; the ledger is batched; logs are append-only segments, rate-bounded per function.
//! This crate speaks no HTTP and starts no process.

pub mod code;
pub mod contract;
pub mod ledger;
pub mod logs;

pub use code::CodeStore;
pub use contract::{ClaimedEvent, Document, EventCounts, Expect, QueuedEvent, Release, Store, StoreError};
pub use ledger::{Ledger, UsageQuery, UsageRow};
pub use logs::{LogEvent, LogStreamInfo, Logs};
