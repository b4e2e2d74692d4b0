//! Events of an execution's history, as GetDurableExecutionHistory shows them.
//!
//! Source: API model, `Event` and the shapes of its details.

use super::operation::{Detail, Operation, OperationKind, OperationStatus};
use super::shape::seconds;
use super::token::CallbackToken;
use super::{ErrorObject, Execution};
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// One event. Times inside of `details` are seconds, as on the wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// `EventId`, from 1.
    pub number: u64,
    /// `EventType`, e.g. `StepStarted`.
    pub kind: String,
    /// `EventTimestamp`.
    pub at: Timestamp,
    /// `Id`, `Name`, `SubType` and `ParentId` of its operation, those it has.
    pub operation: Map<String, Value>,
    /// The member `<EventType>Details`.
    pub details: Value,
}

impl Event {
    /// The event as the API shows it. Without data, payloads are left out and `Truncated` says so.
    pub fn shape(&self, with_data: bool) -> Value {
        let mut shape = self.operation.clone();
        shape.insert("EventType".to_owned(), self.kind.as_str().into());
        shape.insert("EventId".to_owned(), self.number.into());
        shape.insert("EventTimestamp".to_owned(), seconds(self.at));
        let mut details = self.details.clone();
        if !with_data {
            withhold(&mut details);
        }
        shape.insert(format!("{}Details", self.kind), details);
        Value::Object(shape)
    }
}

/// Members whose `Payload` is data.
const DATA: [&str; 4] = ["Input", "Result", "Error", "Reason"];

fn withhold(details: &mut Value) {
    for name in DATA {
        if let Some(member) = details.get_mut(name) {
            *member = json!({ "Truncated": true });
        }
    }
}

/// `EventInput`, `EventResult` or `EventPauseReason`.
pub fn payload(text: Option<&str>) -> Value {
    let mut value = json!({ "Truncated": false });
    if let Some(text) = text {
        value["Payload"] = text.into();
    }
    value
}

/// `EventError`.
pub fn error(error: Option<&ErrorObject>) -> Value {
    let mut value = json!({ "Truncated": false });
    if let Some(error) = error {
        value["Payload"] = json!(error);
    }
    value
}

/// Type and details of the event that says what `operation` has just become. `delay_seconds` is that of a step to be tried
/// again. `None` for changes that are no event: a step that is ready for its next attempt.
pub(super) fn of_operation(
    execution: &Execution,
    operation: &Operation,
    delay_seconds: Option<u32>,
) -> Option<(&'static str, Value)> {
    use OperationStatus as Status;
    let result = || json!({ "Result": payload(operation.result.as_deref()) });
    let failure = || json!({ "Error": error(operation.error.as_ref()) });
    let with_attempts = |mut details: Value| {
        if let Detail::Step { attempt, .. } = operation.detail {
            let mut retry = json!({ "CurrentAttempt": attempt });
            if let Some(delay_seconds) = delay_seconds {
                retry["NextAttemptDelaySeconds"] = delay_seconds.into();
            }
            details["RetryDetails"] = retry;
        }
        details
    };
    Some(match (operation.kind, operation.status) {
        (OperationKind::Context, Status::Started) => ("ContextStarted", json!({})),
        (OperationKind::Context, Status::Succeeded) => ("ContextSucceeded", result()),
        (OperationKind::Context, Status::Failed) => ("ContextFailed", failure()),
        (OperationKind::Step, Status::Started) => ("StepStarted", json!({})),
        (OperationKind::Step, Status::Succeeded) => ("StepSucceeded", with_attempts(result())),
        (OperationKind::Step, Status::Failed) => ("StepFailed", with_attempts(failure())),
        // An attempt without an error was a poll that wants another.
        (OperationKind::Step, Status::Pending) if operation.error.is_none() => {
            ("StepSucceeded", with_attempts(result()))
        }
        (OperationKind::Step, Status::Pending) => ("StepFailed", with_attempts(failure())),
        (OperationKind::Wait, status) => {
            let Detail::Wait { seconds: duration, ends_at } = operation.detail else { return None };
            match status {
                Status::Started => (
                    "WaitStarted",
                    json!({ "Duration": duration, "ScheduledEndTimestamp": seconds(ends_at) }),
                ),
                Status::Succeeded => ("WaitSucceeded", json!({ "Duration": duration })),
                Status::Cancelled => ("WaitCancelled", failure()),
                _ => return None,
            }
        }
        (OperationKind::Callback, Status::Started) => {
            let Detail::Callback { nonce, deadline, heartbeat_seconds, .. } = operation.detail else {
                return None;
            };
            let id = CallbackToken { execution: execution.id, nonce };
            let mut details = json!({ "CallbackId": id.text() });
            if heartbeat_seconds > 0 {
                details["HeartbeatTimeout"] = heartbeat_seconds.into();
            }
            if let Some(deadline) = deadline {
                details["Timeout"] = ((deadline.0 - operation.started_at.0) / 1_000).into();
            }
            ("CallbackStarted", details)
        }
        (OperationKind::Callback, Status::Succeeded) => ("CallbackSucceeded", result()),
        (OperationKind::Callback, Status::Failed) => ("CallbackFailed", failure()),
        (OperationKind::Callback, Status::TimedOut) => ("CallbackTimedOut", failure()),
        (OperationKind::ChainedInvoke, Status::Succeeded) => ("ChainedInvokeSucceeded", result()),
        (OperationKind::ChainedInvoke, Status::Failed) => ("ChainedInvokeFailed", failure()),
        (OperationKind::ChainedInvoke, Status::TimedOut) => ("ChainedInvokeTimedOut", failure()),
        (OperationKind::ChainedInvoke, Status::Stopped) => ("ChainedInvokeStopped", failure()),
        _ => return None,
    })
}

/// What an event says about its operation.
pub(super) fn reference(operation: &Operation) -> Map<String, Value> {
    let mut reference = Map::new();
    reference.insert("Id".to_owned(), operation.id.as_str().into());
    let optional =
        [("Name", &operation.name), ("SubType", &operation.sub_type), ("ParentId", &operation.parent_id)];
    for (member, text) in optional {
        if let Some(text) = text {
            reference.insert(member.to_owned(), text.as_str().into());
        }
    }
    reference
}
