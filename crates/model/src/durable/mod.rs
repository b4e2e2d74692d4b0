//! Durable executions: the words, and the pure state machine behind checkpoint and replay.
//!
//! `checkpoint` applies what a running function reports, `progress` everything else that happens to an execution, `history`
//! writes events, `shape` prints operations. The store reads and writes what these change; `invoke::durable` acts.
//!
//! ```text
//!            begin                     answer SUCCEEDED | FAILED, checkpoint of EXECUTION
//!  RUNNING ---------> invocation in flight ------------------------------------> closed
//!     ^                    |                                                      ^
//!     |  timer, callback,  | answer PENDING                                       |
//!     `-- chained invoke --'             timeout, stop ---------------------------'
//! ```
//!
//! Source: the Lambda API model (2025-12-01 operations), the Lambda developer guide's pages on durable functions, and the
//! behaviour of the official SDKs' local runner.

pub mod checkpoint;
pub mod execution;
pub mod history;
pub mod operation;
mod pause;
pub mod progress;
pub mod shape;
pub mod token;

pub use checkpoint::{Checkpoint, CheckpointAnswer, Target, Update};
pub use execution::{Closing, Execution, ExecutionStatus, InFlight, NewExecution, Parent, Pause};
pub use history::Event;
pub use operation::{Action, Detail, Operation, OperationKind, OperationStatus};
pub use progress::{CallbackResult, Finished, Progress, Ran, Turn};
pub use token::{CallbackToken, CheckpointToken};

use serde::{Deserialize, Serialize};

/// Largest payload of an operation, of a chained invoke and of an asynchronous execution's result, bytes. Source: API
/// model, `OperationUpdate.Payload`.
pub const OPERATION_PAYLOAD_BYTES: usize = 1_048_576;
/// Largest result of an execution somebody waits for, bytes. Source: as above.
pub const SYNCHRONOUS_RESULT_BYTES: usize = 6_291_456;
/// Largest error object, bytes of all its fields. Source: API model, `OperationUpdate.Error`.
pub const ERROR_BYTES: usize = 1_048_576;
/// Most operations of one execution. Source: Lambda quotas page, "Durable functions".
pub const OPERATIONS_PER_EXECUTION: u64 = 3_000;
/// Most bytes of payloads and errors that the operations of one execution hold. Source: as above.
pub const STATE_BYTES: u64 = 100 << 20;
/// Longest an execution may last, pauses included, seconds: 366 days. Source: API model, `ExecutionTimeout`.
pub const LONGEST_SECONDS: u32 = 31_622_400;
/// Days an execution stays readable after its end unless its function says otherwise. Source: CloudFormation reference,
/// `AWS::Lambda::Function DurableConfig`.
pub const DEFAULT_RETENTION_DAYS: u32 = 14;

/// `DurableConfig` of a function. It is there from the function's creation or never.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DurableConfig {
    /// `ExecutionTimeout`, seconds: 1 to 31,622,400.
    pub execution_timeout_seconds: u32,
    /// `RetentionPeriodInDays`: 1 to 90.
    pub retention_days: u32,
    /// `KMSKeyArn`, stored and echoed.
    pub kms_key_arn: Option<String>,
}

/// `ErrorObject`: what went wrong with an operation or an execution. The function's own words.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ErrorObject {
    /// `ErrorMessage`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// `ErrorType`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_type: Option<String>,
    /// `ErrorData`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_data: Option<String>,
    /// `StackTrace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack_trace: Option<Vec<String>>,
}

impl ErrorObject {
    /// A message, and a type where there is one.
    pub fn new(message: impl Into<String>, error_type: Option<&str>) -> Self {
        Self {
            error_message: Some(message.into()),
            error_type: error_type.map(str::to_owned),
            ..Self::default()
        }
    }

    /// Bytes of all fields together.
    pub fn bytes(&self) -> usize {
        let texts = [&self.error_message, &self.error_type, &self.error_data];
        texts.into_iter().flatten().map(String::len).sum::<usize>()
            + self.stack_trace.iter().flatten().map(String::len).sum::<usize>()
    }

    /// From the error document of a function (`errorMessage`, `errorType`, `stackTrace`); what is no such document becomes
    /// the message.
    pub fn from_document(document: &[u8], error_type: Option<&str>) -> Self {
        let parsed: Option<serde_json::Map<String, serde_json::Value>> =
            serde_json::from_slice(document).ok();
        let Some(parsed) = parsed else {
            return Self::new(String::from_utf8_lossy(document), error_type);
        };
        let text = |name: &str| parsed.get(name).and_then(|value| value.as_str()).map(str::to_owned);
        let lines = |value: &serde_json::Value| -> Option<Vec<String>> {
            let line =
                |line: &serde_json::Value| line.as_str().map_or_else(|| line.to_string(), str::to_owned);
            Some(value.as_array()?.iter().map(line).collect())
        };
        Self {
            error_message: text("errorMessage"),
            error_type: text("errorType").or_else(|| error_type.map(str::to_owned)),
            error_data: None,
            stack_trace: parsed.get("stackTrace").or_else(|| parsed.get("trace")).and_then(lines),
        }
    }
}

/// Why a request about an execution was not done. Nothing is changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `InvalidParameterValueException` with this text.
    #[error("{0}")]
    Invalid(String),
    /// `ResourceConflictException` with this text.
    #[error("{0}")]
    Conflict(String),
    /// `CallbackTimeoutException`: the callback is over.
    #[error("The callback is either timed out or already completed")]
    CallbackClosed,
}

impl Refusal {
    pub(crate) fn invalid<T>(text: impl Into<String>) -> Result<T, Self> {
        Err(Self::Invalid(text.into()))
    }
}

/// The text for a checkpoint token that is not the current one of a running invocation.
pub const INVALID_TOKEN: &str = "Invalid checkpoint token";

#[cfg(test)]
mod tests;
