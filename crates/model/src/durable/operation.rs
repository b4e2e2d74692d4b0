//! One operation of an execution: a step, a wait, a callback, a chained invoke, a context, or the execution itself.

use super::ErrorObject;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// `OperationType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)]
pub enum OperationKind {
    Execution,
    Context,
    Step,
    Wait,
    Callback,
    ChainedInvoke,
}

impl OperationKind {
    /// The name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Execution => "EXECUTION",
            Self::Context => "CONTEXT",
            Self::Step => "STEP",
            Self::Wait => "WAIT",
            Self::Callback => "CALLBACK",
            Self::ChainedInvoke => "CHAINED_INVOKE",
        }
    }
}

/// `OperationAction`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)]
pub enum Action {
    Start,
    Succeed,
    Fail,
    Retry,
    Cancel,
}

/// `OperationStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)]
pub enum OperationStatus {
    Started,
    Pending,
    Ready,
    Succeeded,
    Failed,
    Cancelled,
    TimedOut,
    Stopped,
}

impl OperationStatus {
    /// The name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Started => "STARTED",
            Self::Pending => "PENDING",
            Self::Ready => "READY",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
            Self::TimedOut => "TIMED_OUT",
            Self::Stopped => "STOPPED",
        }
    }

    /// Whether nothing changes it any more.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Started | Self::Pending | Self::Ready)
    }
}

/// What only operations of one kind have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Detail {
    /// The execution; its input is kept apart.
    Execution,
    /// A child context.
    Context {
        /// `ReplayChildren`: whether its children are replayed although it has ended.
        replay_children: bool,
    },
    /// A step.
    Step {
        /// Finished attempts.
        attempt: u32,
        /// When a step that is `PENDING` may be tried again.
        next_attempt_at: Option<Timestamp>,
    },
    /// A wait.
    Wait {
        /// How long, seconds.
        seconds: u32,
        /// When it is over.
        ends_at: Timestamp,
    },
    /// A callback.
    Callback {
        /// The random number in its id.
        nonce: Uuid,
        /// When it times out; never when `None`.
        deadline: Option<Timestamp>,
        /// Seconds within which a heartbeat must come; none are needed when 0.
        heartbeat_seconds: u32,
        /// When the next heartbeat must have come.
        heartbeat_deadline: Option<Timestamp>,
    },
    /// A chained invoke.
    ChainedInvoke {
        /// The execution that runs it; `None` when its target could not be invoked.
        child: Option<Uuid>,
    },
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// `Id`, chosen by the SDK; of the execution itself its own id.
    pub id: String,
    /// `ParentId`: the context it runs in.
    pub parent_id: Option<String>,
    /// `Name`.
    pub name: Option<String>,
    /// `SubType`.
    pub sub_type: Option<String>,
    /// `Type`.
    pub kind: OperationKind,
    /// `Status`.
    pub status: OperationStatus,
    /// `StartTimestamp`.
    pub started_at: Timestamp,
    /// `EndTimestamp`.
    pub ended_at: Option<Timestamp>,
    /// Its number in the order of starts, from 1.
    pub order: u64,
    /// The execution's count of changes when it was changed last.
    pub touched: u64,
    /// `Result` of what has succeeded, or of a step that is tried again.
    pub result: Option<String>,
    /// `Error` of what has failed, or of a step that is tried again.
    pub error: Option<ErrorObject>,
    /// The rest.
    pub detail: Detail,
}

impl Operation {
    /// When time alone changes it next.
    pub fn due(&self) -> Option<Timestamp> {
        match (&self.detail, self.status) {
            (Detail::Wait { ends_at, .. }, OperationStatus::Started) => Some(*ends_at),
            (Detail::Step { next_attempt_at, .. }, OperationStatus::Pending) => *next_attempt_at,
            (Detail::Callback { deadline, heartbeat_deadline, .. }, OperationStatus::Started) => {
                [*deadline, *heartbeat_deadline].into_iter().flatten().min()
            }
            _ => None,
        }
    }

    /// Whether the execution may suspend because of it: somebody else than the function will change it.
    pub fn is_open(&self) -> bool {
        match self.kind {
            OperationKind::Step => self.status == OperationStatus::Pending,
            OperationKind::Wait | OperationKind::Callback | OperationKind::ChainedInvoke => {
                self.status == OperationStatus::Started
            }
            OperationKind::Execution | OperationKind::Context => false,
        }
    }

    /// Bytes of its result and error.
    pub fn bytes(&self) -> u64 {
        (self.result.as_ref().map_or(0, String::len) + self.error.as_ref().map_or(0, ErrorObject::bytes))
            as u64
    }

    /// Whether its children need not be replayed: it is a context that has ended and does not ask for them.
    pub fn hides_children(&self) -> bool {
        self.status.is_final() && matches!(self.detail, Detail::Context { replay_children: false })
    }

    pub(super) fn end(
        &mut self,
        status: OperationStatus,
        result: Option<String>,
        error: Option<ErrorObject>,
        now: Timestamp,
    ) {
        self.status = status;
        self.result = result;
        self.error = error;
        self.ended_at = Some(now);
    }
}
