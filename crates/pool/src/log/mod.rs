//! An instance's log: what the function prints, between the platform's own lines.
//!
//! `output` reads the pipe, `records` takes the events of our own bootstraps, `journal` orders lines and writes them to the store, `line` formats the
//! platform's lines in both formats, `tail` keeps the end of one invocation's lines for its caller.

mod journal;
mod line;
mod output;
mod records;
mod split;
mod tail;

pub use journal::{Journal, JournalTarget, Source};
pub use line::{AfterRuntime, Subject};
pub use output::Output;
pub use records::Records;
