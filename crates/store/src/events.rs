//! Where an asynchronous event is and what happened to it: what is written down when a claim ends, and what is read again.
//!
//! An event that succeeds at once leaves no step: its record is the ledger's. Every attempt that does not is a step, written in
//! the transaction that changes the event, so that state and story never disagree.

use crate::contract::{QueuedEvent, Release};
use bytes::Bytes;
use lamplight_model::{FunctionName, Qualifier, RequestId, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

/// How a claim ends, with what is to be remembered of the attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Settlement {
    /// What becomes of the event.
    pub release: Release,
    /// The attempt, when there was one that did not succeed.
    pub attempt: Option<AttemptNote>,
    /// Appended in the same transaction: the event that tells a destination.
    pub follow_up: Option<QueuedEvent>,
}

impl From<Release> for Settlement {
    fn from(release: Release) -> Self {
        Self { release, attempt: None, follow_up: None }
    }
}

/// An attempt that did not succeed.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptNote {
    /// When it began.
    pub began_at: Timestamp,
    /// The error document; of a `DeadLetter` that of the release counts.
    pub error: String,
    /// Who was told that the event was given up.
    pub told: Vec<Told>,
}

/// A queue or function that was told how an event ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Told {
    /// Its ARN.
    pub arn: String,
    /// `Destination` or `DeadLetterQueue`.
    pub role: String,
    /// Why it was not told; absent when it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// What one step of a story is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    /// The function ran and failed: a retry is used up.
    Failed,
    /// It did not run: throttled, no instance, a failure of the platform.
    NotRun,
    /// It was given up.
    DeadLettered,
    /// Somebody sent it again.
    Redriven,
}

impl StepKind {
    /// All of them, by their numbers on disk.
    pub(crate) const ALL: [Self; 4] = [Self::Failed, Self::NotRun, Self::DeadLettered, Self::Redriven];
}

/// One step of an event's story.
#[derive(Debug, Clone, PartialEq)]
pub struct EventStep {
    /// What happened.
    pub kind: StepKind,
    /// When the attempt began, or the first of several; `None` where there was none.
    pub began_at: Option<Timestamp>,
    /// When it happened; of several equal ones the last.
    pub at: Timestamp,
    /// How many equal ones in a row this is.
    pub times: u32,
    /// `RetriesExhausted` and the like, of a dead letter.
    pub condition: Option<String>,
    /// The error document; empty when there is none.
    pub error: String,
    /// Who was told.
    pub told: Vec<Told>,
}

/// Where an event is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventState {
    /// For its first attempt, or the next.
    Waiting {
        /// Not tried before this moment.
        until: Timestamp,
    },
    /// Claimed by a worker.
    Running {
        /// Node and start of the worker: `<node>/<uuid>`.
        owner: String,
        /// When it was claimed; `None` of an event that an earlier release claimed.
        since: Option<Timestamp>,
        /// When another worker may take it, unless its own extends the claim.
        lease_until: Timestamp,
    },
    /// Given up, and kept here.
    DeadLettered {
        /// `RetriesExhausted`, `EventAgeExceeded`, ...
        condition: String,
        /// The last error document.
        error: String,
        /// When.
        at: Timestamp,
    },
    /// It succeeded.
    Done {
        /// When.
        at: Timestamp,
    },
}

/// An event as lists show it.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRecord {
    /// Kept over all attempts, also when it is sent again.
    pub request_id: RequestId,
    /// The function.
    pub function: FunctionName,
    /// As invoked; not known any more when it is done.
    pub qualifier: Option<Qualifier>,
    /// Whose event it is.
    pub tenant_id: Option<TenantId>,
    /// When it was accepted, or sent again.
    pub accepted_at: Timestamp,
    /// Attempts that counted as tries.
    pub attempts: u32,
    /// Where it is.
    pub state: EventState,
    /// The newest step of its story.
    pub last_step: Option<EventStep>,
    /// Where the next page of a list begins; 0 when it is done.
    pub place: i64,
}

/// Everything the store knows of one event.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EventStory {
    /// The event. `None` when it never was, or was done or forgotten long ago.
    pub record: Option<EventRecord>,
    /// The event's content, until it is done.
    pub payload: Option<Bytes>,
    /// What happened, oldest first, the newest `STEPS_TOLD` of it; kept as long as dead letters are, also of events that are done.
    pub steps: Vec<EventStep>,
}

/// Which state a list is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WantedState {
    /// `EventState::Waiting`.
    Waiting,
    /// `EventState::Running`.
    Running,
    /// `EventState::DeadLettered`.
    DeadLettered,
}

/// Which events a list is about: all that fit everything given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Only this function.
    pub function: Option<FunctionName>,
    /// Only in this state.
    pub state: Option<WantedState>,
    /// Only dead letters of this condition.
    pub condition: Option<String>,
    /// Accepted at this moment or later.
    pub from: Option<Timestamp>,
    /// Accepted before this moment.
    pub until: Option<Timestamp>,
}

/// What one call took away because it was old: at most a bounded number of each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Dead letters, with their payloads.
    pub letters: u64,
    /// Steps of stories.
    pub steps: u64,
    /// Notes of events that were done.
    pub done: u64,
    /// Queues of deleted functions, with their counts.
    pub queues: u64,
}

/// What came of sending one dead letter again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redrive {
    /// It waits in the queue of this function.
    Sent(FunctionName),
    /// It is waiting or running: there is nothing to send again.
    Pending,
    /// There is no dead letter of this id.
    Unknown,
    /// So many events wait for this function that it takes no more.
    Full(FunctionName),
}
