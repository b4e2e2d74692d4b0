//! The conversation with what runs inside a sandbox.
//!
//! Called by `pool`, which owns the instance. Two protocols, one face ([`Conversation`]): frames over a Unix
//! socket for our own bootstraps, and the HTTP Runtime API for custom runtimes and stock clients. Also the
//! table of managed runtimes. This crate starts no process and does not touch the store.

pub mod conversation;
pub mod extensions;
pub mod frames;
pub mod fuzz;
mod http;
pub mod managed;
pub mod stream;
pub mod telemetry;

pub use conversation::{
    AnswerLimits, AnswerSink, Conversation, ConversationError, Event, Init, InitFailure, LogRecord, Reply,
};
pub use extensions::{ExtensionReport, ShutdownReason};
pub use http::{AboutFunction, Calls, Surroundings};
pub use managed::{InstalledRuntime, ManagedRuntimes};
pub use stream::StreamLimits;
pub use telemetry::Telemetry;
