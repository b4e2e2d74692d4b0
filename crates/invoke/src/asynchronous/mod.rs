//! Asynchronous invocation: events that were answered 202 and run later, at least once.
//!
//! `retry` decides what an attempt means for its event (pure); `attempt` makes one attempt; `worker` claims
//! events from the store and keeps their leases while they run; `pace` says of which functions and how many. `options`
//! is what the function's owner set; `destination` writes the record of an event that has ended, `letters` sends it to
//! queues. `redrive` sends what was given up again, also from the messages of a queue, which `letter` reads (pure).
//!
//! ```text
//!            claim                     success
//! waiting ----------> leased, running ---------> done
//!    ^                  |   |   `--------------> dead-lettered   (retries, age, function deleted)
//!    |   error: counted |   | lease ran out: nothing counted
//!    `--- throttle: not ----'
//! ```

pub mod attempt;
pub mod destination;
pub mod letter;
pub mod letters;
pub mod options;
pub mod pace;
pub mod redrive;
pub mod retry;
pub mod worker;

pub use options::{EventInvokeOptions, FunctionDestination};
pub use retry::RetryPolicy;

use std::time::Duration;

/// What an operator may set about the queue's worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AsynchronousConfig {
    /// Name of this node: the beginning of the owner of its claims. No two nodes on one store may have the same: one that
    /// starts takes back what its name had claimed.
    pub node: String,
    /// Events worked on at once, of all functions; no function gets all of these places, and one of each function finds one
    /// beyond them (`pace`). Each also needs its place in the account's concurrency.
    pub parallelism: usize,
    /// How long a claim holds without being extended: the longest wait of an event whose node crashed.
    pub lease: Duration,
    /// Pause after a look at the queue that found nothing to claim: thousands of changes a second that leave nothing to do must
    /// not be as many looks.
    pub pause_between_looks: Duration,
    /// Retries and age of events of functions that set neither.
    pub retry: RetryPolicy,
}

impl Default for AsynchronousConfig {
    fn default() -> Self {
        Self {
            node: "local".to_owned(),
            parallelism: 64,
            lease: Duration::from_secs(20),
            pause_between_looks: Duration::from_millis(2),
            retry: RetryPolicy::default(),
        }
    }
}
