//! `Operation` and the event an invocation is given, as functions and clients see them.
//!
//! Times are seconds in answers of the API, as in all of Lambda's REST-JSON, and milliseconds in the event that is handed
//! to the function: that is what the SDKs parse there.

use super::operation::{Detail, Operation};
use super::token::CallbackToken;
use super::{Execution, OperationKind};
use crate::timestamp::Timestamp;
use serde_json::{Map, Value, json};

/// A time on the wire of the API: seconds with their thousandths.
pub fn seconds(at: Timestamp) -> Value {
    // Exact for any date: a double holds far more than 2^41 thousandths.
    json!(at.0 as f64 / 1_000.0)
}

/// A time in the event of an invocation: milliseconds.
pub fn milliseconds(at: Timestamp) -> Value {
    json!(at.0)
}

/// `Operation`. `input` is the execution's, for the operation that is the execution.
pub fn operation(
    execution: &Execution,
    operation: &Operation,
    input: &str,
    time: fn(Timestamp) -> Value,
) -> Value {
    let mut shape = Map::new();
    let mut set = |name: &str, value: Value| shape.insert(name.to_owned(), value);
    set("Id", operation.id.as_str().into());
    for (name, text) in
        [("ParentId", &operation.parent_id), ("Name", &operation.name), ("SubType", &operation.sub_type)]
    {
        if let Some(text) = text {
            set(name, text.as_str().into());
        }
    }
    set("Type", operation.kind.name().into());
    set("StartTimestamp", time(operation.started_at));
    if let Some(ended_at) = operation.ended_at {
        set("EndTimestamp", time(ended_at));
    }
    set("Status", operation.status.name().into());
    let mut details = json!({});
    if operation.kind != OperationKind::Execution {
        if let Some(result) = &operation.result {
            details["Result"] = result.as_str().into();
        }
        if let Some(error) = &operation.error {
            details["Error"] = json!(error);
        }
    }
    let member = match &operation.detail {
        Detail::Execution => {
            details["InputPayload"] = input.into();
            "ExecutionDetails"
        }
        Detail::Context { replay_children } => {
            if operation.status.is_final() {
                details["ReplayChildren"] = (*replay_children).into();
            }
            "ContextDetails"
        }
        Detail::Step { attempt, next_attempt_at } => {
            details["Attempt"] = (*attempt).into();
            if let Some(at) = next_attempt_at {
                details["NextAttemptTimestamp"] = time(*at);
            }
            "StepDetails"
        }
        Detail::Wait { ends_at, .. } => {
            details["ScheduledEndTimestamp"] = time(*ends_at);
            "WaitDetails"
        }
        Detail::Callback { nonce, .. } => {
            let id = CallbackToken { execution: execution.id, nonce: *nonce };
            details["CallbackId"] = id.text().into();
            "CallbackDetails"
        }
        Detail::ChainedInvoke { .. } => "ChainedInvokeDetails",
    };
    set(member, details);
    Value::Object(shape)
}
