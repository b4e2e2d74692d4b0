//! One durable execution: what is stored of it besides its operations, its events and its payloads.

use super::ErrorObject;
use crate::function::VersionNumber;
use crate::name::{FunctionName, function_arn};
use crate::scope::Scope;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use uuid::Uuid;

/// `ExecutionStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)]
pub enum ExecutionStatus {
    Running,
    Succeeded,
    Failed,
    TimedOut,
    Stopped,
    Deleting,
    Pausing,
    Paused,
}

impl ExecutionStatus {
    /// All names in the API, in the model's order.
    pub const NAMES: &[&str] =
        &["RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "STOPPED", "DELETING", "PAUSING", "PAUSED"];

    /// The name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::TimedOut => "TIMED_OUT",
            Self::Stopped => "STOPPED",
            Self::Deleting => "DELETING",
            Self::Pausing => "PAUSING",
            Self::Paused => "PAUSED",
        }
    }

    /// Whether it has ended.
    pub fn is_closed(self) -> bool {
        !matches!(self, Self::Running | Self::Pausing | Self::Paused)
    }
}

/// The operation of another execution that waits for this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// The other execution, of the same scope.
    pub execution: Uuid,
    /// Its operation.
    pub operation: String,
}

/// An invocation of the function that was begun and has not been settled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlight {
    /// What its checkpoint tokens hold; new for each.
    pub id: Uuid,
    /// Request id of the run.
    pub request_id: Uuid,
    /// When it was begun.
    pub started_at: Timestamp,
    /// Who runs it.
    pub owner: String,
    /// Lost when this has passed without being extended.
    pub lease_until: Timestamp,
    /// The count of changes that the invocation before had seen.
    pub seen_before: u64,
    /// Whether a checkpoint of it was answered without a token, because of a pause.
    pub interrupted: bool,
}

/// A pause that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// `PauseRequestTimestamp`.
    pub requested_at: Timestamp,
    /// `Reason`.
    pub reason: Option<String>,
    /// `ExecutionTimeoutPaused`.
    pub timeout_paused: bool,
    /// The deadline before the pause; set while the timeout is paused.
    pub deadline_before: Timestamp,
}

/// The last request that changed the pause, to answer its repetition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastPauseRequest {
    /// `ClientToken`.
    pub client_token: String,
    /// Whether it paused; it resumed otherwise.
    pub pauses: bool,
    /// When it came.
    pub at: Timestamp,
}

/// The last checkpoint, to answer its repetition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastCheckpoint {
    /// `ClientToken`.
    pub client_token: String,
    /// Number of the token it consumed.
    pub number: u64,
    /// The count of changes its answer began after.
    pub since: u64,
}

/// One execution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    /// Where it lives.
    pub scope: Scope,
    /// The last part of its ARN, and the id of its `EXECUTION` operation.
    pub id: Uuid,
    /// Its function.
    pub function: FunctionName,
    /// The version all its invocations run.
    pub version: VersionNumber,
    /// `DurableExecutionName`.
    pub name: String,
    /// `Status`.
    pub status: ExecutionStatus,
    /// `StartTimestamp`.
    pub started_at: Timestamp,
    /// `EndTimestamp`.
    pub ended_at: Option<Timestamp>,
    /// `ExecutionTimeout` of its function when it started, seconds.
    pub timeout_seconds: u32,
    /// `RetentionPeriodInDays` of its function when it started.
    pub retention_days: u32,
    /// `KMSKeyArn` of its function when it started.
    pub kms_key_arn: Option<String>,
    /// When it times out.
    pub deadline: Timestamp,
    /// Whether somebody asked for the answer at once: the result may be larger then.
    pub synchronous: bool,
    /// `X-Amzn-Trace-Id` handed to every invocation.
    pub trace_header: Option<String>,
    /// Who waits for it.
    pub parent: Option<Parent>,
    /// One invocation of a function that is not durable, for a chained invoke. No API shows it.
    pub plain: bool,
    /// The parent has not been told how it ended.
    pub owes_report: bool,
    /// Count of changes of its operations.
    pub touched: u64,
    /// The count that the function has been told of.
    pub seen: u64,
    /// Number of the last event.
    pub events: u64,
    /// Operations ever started.
    pub operations: u64,
    /// Bytes that its operations hold.
    pub state_bytes: u64,
    /// Checkpoints so far: the number in the current token.
    pub checkpoints: u64,
    /// The last of them.
    pub last_checkpoint: Option<LastCheckpoint>,
    /// Failed invocations since the last that did not.
    pub failures: u32,
    /// Answers `PENDING` with nothing to wait for, one after the other.
    pub vain_suspensions: u32,
    /// Invocations since the last answer that could not be made, for want of room.
    pub postponed: u32,
    /// When to invoke again after one of those.
    pub retry_at: Option<Timestamp>,
    /// The invocation that runs.
    pub invocation: Option<InFlight>,
    /// The pause in force.
    pub pause: Option<Pause>,
    /// The last request about a pause.
    pub last_pause_request: Option<LastPauseRequest>,
}

impl Execution {
    /// `DurableExecutionArn`.
    pub fn arn(&self) -> String {
        format!("{}/durable-execution/{}/{}", self.function_arn(), self.name, self.id)
    }

    /// `FunctionArn`: qualified with the version that runs.
    pub fn function_arn(&self) -> String {
        function_arn(&self.scope, &self.function, Some(&self.version.into()))
    }

    /// When it may be forgotten; `None` while it has not ended.
    pub fn forgotten_at(&self) -> Option<Timestamp> {
        const DAY: Duration = Duration::from_secs(24 * 3_600);
        self.ended_at.map(|ended_at| ended_at.plus(DAY * self.retention_days))
    }

    /// Whether the function is to be invoked, as soon as `retry_at` allows.
    fn wants_invocation(&self) -> bool {
        self.status == ExecutionStatus::Running
            && self.invocation.is_none()
            && (self.touched > self.seen || self.retry_at.is_some())
    }

    /// When something has to be done about it, given when its operations are due. `None`: nothing ever.
    pub fn due(&self, operations: Option<Timestamp>) -> Option<Timestamp> {
        let at_once = Some(Timestamp(0));
        if self.status == ExecutionStatus::Deleting || self.owes_report {
            return at_once;
        }
        if self.status.is_closed() {
            return if self.plain { at_once } else { self.forgotten_at() };
        }
        let invocation = match &self.invocation {
            Some(invocation) => Some(invocation.lease_until),
            None if self.wants_invocation() => self.retry_at.or(at_once),
            None => None,
        };
        [Some(self.deadline), operations, invocation].into_iter().flatten().min()
    }

    pub(super) fn may_begin(&self, now: Timestamp) -> bool {
        self.wants_invocation() && self.retry_at.is_none_or(|at| at <= now)
    }
}

/// How an execution ended: kept apart from its record, because it may be large.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Closing {
    /// `Result`.
    pub result: Option<String>,
    /// `Error`.
    pub error: Option<ErrorObject>,
}

/// What is needed to start one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewExecution {
    /// The record.
    pub execution: Execution,
    /// `InputPayload`: JSON.
    pub input: String,
}

impl NewExecution {
    /// An execution that starts `now`. Its first event and its `EXECUTION` operation are made by `Progress::open`.
    #[allow(clippy::too_many_arguments)] // Each is a field, and there are two callers.
    pub fn new(
        scope: Scope,
        id: Uuid,
        function: FunctionName,
        version: VersionNumber,
        name: String,
        config: &super::DurableConfig,
        input: String,
        now: Timestamp,
    ) -> Self {
        let timeout = Duration::from_secs(u64::from(config.execution_timeout_seconds));
        let execution = Execution {
            scope,
            id,
            function,
            version,
            name,
            status: ExecutionStatus::Running,
            started_at: now,
            ended_at: None,
            timeout_seconds: config.execution_timeout_seconds,
            retention_days: config.retention_days,
            kms_key_arn: config.kms_key_arn.clone(),
            deadline: now.plus(timeout),
            synchronous: false,
            trace_header: None,
            parent: None,
            plain: false,
            owes_report: false,
            touched: 0,
            seen: 0,
            events: 0,
            operations: 0,
            state_bytes: 0,
            checkpoints: 0,
            last_checkpoint: None,
            failures: 0,
            vain_suspensions: 0,
            postponed: 0,
            retry_at: None,
            invocation: None,
            pause: None,
            last_pause_request: None,
        };
        Self { execution, input }
    }
}
