//! One run of a function: what goes in, what came out, and the record that stays.

use crate::function::{FunctionVersion, VersionNumber};
use crate::run_place::RunPlace;
use crate::scope::Scope;
use crate::tenant::TenantId;
use crate::timestamp::Timestamp;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// UUID of an invocation: in the response header, the context object and every log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub uuid::Uuid);

impl RequestId {
    /// A new one.
    ///
    /// Of version 7: those made within a millisecond are neighbours, so the indexes by request id of the queue and of the ledger
    /// grow at their end. With random ones every row changes a page of its own. Source: RFC 9562, 5.7 and 6.13.
    pub fn generate() -> Self {
        // Without a counter: it would go on from the latest time that was ever seen, and a clock that was set back would stand still
        // in the first half, by which ids are looked up.
        Self(uuid::Uuid::new_v7(uuid::Timestamp::now(uuid::NoContext)))
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Everything an instance needs to run one invocation. Resolved: the version is fixed.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// Identifies this run; retries of one asynchronous event keep it.
    pub request_id: RequestId,
    /// The version that runs.
    pub version: Arc<FunctionVersion>,
    /// The ARN as the caller invoked it (qualified only when the caller qualified it).
    pub invoked_arn: String,
    /// The event, JSON for every caller of this release.
    pub payload: Bytes,
    /// Decoded client context JSON.
    pub client_context: Option<String>,
    /// `X-Amzn-Trace-Id` to hand on.
    pub trace_header: Option<String>,
    /// Whose event it is; there when the version isolates tenants, and only then.
    pub tenant_id: Option<TenantId>,
    /// When the caller's request arrived.
    pub arrived_at: Timestamp,
    /// Whether the caller wants the last 4 KiB of log.
    pub log_tail: bool,
    /// Where whoever runs it tells how far it has come.
    pub place: RunPlace,
}

/// How an invocation ended, from the function's point of view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutcomeStatus {
    /// The handler returned.
    Success,
    /// The handler or the runtime reported an error; the instance lives.
    Error,
    /// The instance crashed, exited, ran out of memory, or its init failed.
    Failure,
    /// The deadline passed; the instance was killed.
    Timeout,
}

/// What the function did. A failing function is an `Outcome`, never a Rust error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// How it ended.
    pub status: OutcomeStatus,
    /// `errorType` of the error document, e.g. `Sandbox.Timedout`, `Runtime.ExitError`, `ValueError`.
    pub error_type: Option<String>,
}

impl Outcome {
    /// The handler returned.
    pub fn success() -> Self {
        Self { status: OutcomeStatus::Success, error_type: None }
    }

    /// Whether `X-Amz-Function-Error` is to be set.
    pub fn is_function_error(&self) -> bool {
        self.status != OutcomeStatus::Success
    }
}

/// Which way the instance came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartKind {
    /// An idle instance was reused.
    Warm,
    /// Everything was started for this invocation.
    FromNothing,
    /// A waiting interpreter was specialised.
    Blank,
    /// Forked from a prepared interpreter.
    Zygote,
    /// Forked from an interpreter that has imported this version's handler.
    VersionZygote,
}

/// Where the time of a cold start went. All durations are wall time, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ColdStart {
    /// Building the wall: namespaces, mounts, cgroups, the first process.
    pub sandbox_us: u64,
    /// Making the code package present (unpacking on first use; binding it into the sandbox).
    pub code_us: u64,
    /// From the start of the interpreter to its first word.
    pub interpreter_us: u64,
    /// Importing the handler and running its top level.
    pub init_us: u64,
}

/// The record of one invocation: the REPORT line and the meter are made from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvocationReport {
    /// Identifies the run.
    pub request_id: RequestId,
    /// Where the function lives.
    pub scope: Scope,
    /// Plain function name.
    pub function: Arc<str>,
    /// The version that ran.
    pub version: VersionNumber,
    /// The instance that ran it, empty when none could be started.
    pub instance_id: Arc<str>,
    /// How it ended.
    pub outcome: Outcome,
    /// Arrival at the front door.
    pub arrived_at: Timestamp,
    /// Waiting for admission and for an instance, microseconds.
    pub queue_us: u64,
    /// From handing over the event until the runtime asked for the next, microseconds.
    pub duration_us: u64,
    /// Billed duration, milliseconds.
    pub billed_ms: u64,
    /// Configured memory, MiB.
    pub memory_mib: u32,
    /// Largest memory use seen, MiB.
    pub max_memory_used_mib: u32,
    /// `Init Duration`, microseconds; set on the instance's first invocation only.
    pub init_us: Option<u64>,
    /// Which way the instance came to be.
    pub start: StartKind,
    /// The cold-start breakdown; set on the instance's first invocation only.
    pub cold_start: Option<ColdStart>,
    /// When the event was accepted that this was an attempt at; absent where somebody waited for the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_accepted_at: Option<Timestamp>,
}

impl InvocationReport {
    /// The classic REPORT line with our breakdown after Lambda's fields, tab separated, newline last.
    ///
    /// Source: CloudWatch "REPORT" line as recorded in AWS's own responses; a trailing tab precedes the newline.
    pub fn report_line(&self) -> String {
        use std::fmt::Write as _;
        let mut line = format!(
            "REPORT RequestId: {}\tDuration: {:.2} ms\tBilled Duration: {} ms\tMemory Size: {} MB\tMax Memory Used: {} MB\t",
            self.request_id,
            self.duration_us as f64 / 1000.0,
            self.billed_ms,
            self.memory_mib,
            self.max_memory_used_mib,
        );
        if let Some(init_us) = self.init_us {
            let _ = write!(line, "Init Duration: {:.2} ms\t", init_us as f64 / 1000.0);
        }
        match self.outcome.status {
            OutcomeStatus::Success | OutcomeStatus::Error => {}
            OutcomeStatus::Timeout => line.push_str("Status: timeout\t"),
            OutcomeStatus::Failure => {
                let _ = write!(
                    line,
                    "Status: error\tError Type: {}\t",
                    self.outcome.error_type.as_deref().unwrap_or("Runtime.Unknown")
                );
            }
        }
        if let Some(cold) = &self.cold_start {
            let millis = |us: u64| us as f64 / 1000.0;
            let _ = write!(
                line,
                "Start: {} (queue {:.2} ms, sandbox {:.2} ms, code {:.2} ms, interpreter {:.2} ms, init {:.2} ms)\t",
                self.start.label(),
                millis(self.queue_us),
                millis(cold.sandbox_us),
                millis(cold.code_us),
                millis(cold.interpreter_us),
                millis(cold.init_us),
            );
        }
        line.push('\n');
        line
    }

    /// Billed duration.
    pub fn billed(&self) -> Duration {
        Duration::from_millis(self.billed_ms)
    }
}

impl StartKind {
    /// The word in the REPORT line.
    pub fn label(self) -> &'static str {
        match self {
            Self::Warm => "warm",
            Self::FromNothing => "from nothing",
            Self::Blank => "blank",
            Self::Zygote => "zygote",
            Self::VersionZygote => "version zygote",
        }
    }
}
