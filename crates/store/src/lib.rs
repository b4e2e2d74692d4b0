//! Durable state of a node: metadata and queue, ledger, logs, and code packages.
//!
//! Called by every floor above. Three parts that may be lost in different ways never share a file:
//! metadata and queue are SQLite (WAL, `synchronous=FULL`, group commit) and are durable before a call
//! returns; the ledger is batched; logs are append-only segments, rate-bounded per function.
//! This crate speaks no HTTP and starts no process.

pub mod code;
pub mod contract;
pub mod credentials;
mod database;
pub mod events;
pub mod executions;
mod failure;
pub mod function_documents;
pub mod function_sessions;
pub mod ledger;
mod lock;
pub mod logs;
mod open;
pub mod sealed_documents;
mod secret;
mod snapshot;
mod sqlite;
mod turnstile;

pub use code::CodeStore;
pub use contract::{
    ClaimBounds, ClaimedEvent, CodeUsage, DeadLetter, Document, EventCounts, Expect, QueuedEvent, Release,
    Store, StoreError,
};
pub use database::{DataDirectory, Database};
pub use events::{
    AttemptNote, EventQuery, EventRecord, EventState, EventStep, EventStory, Forgotten, Redrive, Settlement,
    StepKind, Told, WantedState,
};
pub use executions::{ExecutionKey, Executions};
pub use ledger::{Ledger, Run, RunQuery, UsageQuery, UsageRow};
pub use logs::{LogEvent, LogGroupInfo, LogGroupSettings, LogQuery, LogStreamInfo, Logs};
pub use open::{Clock, LedgerBounds, LogBounds, Opened, Options, open, open_shared, system_clock};
pub use snapshot::snapshot;
