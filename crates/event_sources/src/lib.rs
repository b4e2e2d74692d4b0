//! Event source mappings at work: what is polled becomes events of functions.
//!
//! `api` writes mappings down; `mappings`, woken by the store, starts a poller for each and settles its state. Opens no port
//! and knows no HTTP; every call goes through `invoke`.
//!
//! ```text
//!  EventSource::receive ─► filters ─► batch (size, window, 6 MB) ─► Function::call ─► done | returned by the source
//!      ▲  queue: long polling      `─► not wanted: done                  │ throttled: waits, fewer at once
//!      └──────────── scaling: so many batches at once ◄─────────────────┘
//! ```

mod batch;
mod claims;
pub mod counts;
#[cfg(test)]
mod fake;
mod filters;
mod function;
mod health;
mod mappings;
mod poller;
mod response;
mod scaling;
pub mod source;
mod sqs;

pub use mappings::{EventSources, Parts};

#[cfg(test)]
mod tests;
