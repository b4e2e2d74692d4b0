//! Tasks that move messages out of a dead letter queue.

use super::{Request, error};
use crate::http::ApiError;
use lamplight_services::queues::{MoveTask, TaskStatus};
use serde_json::{Map, Value, json};

/// Tasks listed at most.
const LISTED: u64 = 10;

/// StartMessageMoveTask.
pub async fn start(request: &Request<'_>) -> Result<Value, ApiError> {
    let source = source(request).await?;
    let destination = request.members.string("DestinationArn")?;
    let rate = request.members.integer("MaxNumberOfMessagesPerSecond")?;
    let handle = request.state.queues.start_move(&source, destination, rate).await?;
    Ok(json!({"TaskHandle": handle}))
}

/// ListMessageMoveTasks.
pub async fn list(request: &Request<'_>) -> Result<Value, ApiError> {
    let source = source(request).await?;
    let limit = match request.members.integer("MaxResults")? {
        None => 1,
        Some(given) => {
            u64::try_from(given).ok().filter(|limit| (1..=LISTED).contains(limit)).ok_or_else(|| {
                error::invalid(format!(
                    "Value {given} for parameter MaxResults is invalid. Reason: Must be between 1 and {LISTED}, if \
                     provided."
                ))
            })?
        }
    };
    let tasks = request.state.queues.list_moves(&source, limit).await?;
    let results: Vec<Value> = tasks.iter().map(print).collect();
    Ok(if results.is_empty() { json!({}) } else { json!({"Results": results}) })
}

fn print(task: &MoveTask) -> Value {
    let mut printed = Map::new();
    let mut set = |name: &str, value: Value| printed.insert(name.to_owned(), value);
    // Only a task that can be cancelled has a handle.
    if task.status == TaskStatus::Running {
        set("TaskHandle", task.handle.as_str().into());
    }
    set("Status", task.status.as_str().into());
    set("SourceArn", task.source.as_str().into());
    if let Some(destination) = &task.destination {
        set("DestinationArn", destination.as_str().into());
    }
    if let Some(rate) = task.rate {
        set("MaxNumberOfMessagesPerSecond", rate.into());
    }
    set("ApproximateNumberOfMessagesMoved", task.moved.into());
    set("ApproximateNumberOfMessagesToMove", task.to_move.into());
    if let Some(failure) = &task.failure {
        set("FailureReason", failure.as_str().into());
    }
    set("StartedTimestamp", task.started.as_millis().into());
    printed.into()
}

/// CancelMessageMoveTask.
pub async fn cancel(request: &Request<'_>) -> Result<Value, ApiError> {
    let handle = request.members.string("TaskHandle")?;
    request.authorize("CancelMessageMoveTask", "*").await?;
    let handle = handle.ok_or_else(|| error::missing("TaskHandle"))?;
    let moved = request.state.queues.cancel_move(&handle).await?;
    Ok(json!({"ApproximateNumberOfMessagesMoved": moved}))
}

/// The queue that is emptied; the caller may do this to it.
async fn source(request: &Request<'_>) -> Result<String, ApiError> {
    let source = request.members.string("SourceArn")?;
    request.authorize(request.operation, source.as_deref().unwrap_or("*")).await?;
    source.ok_or_else(|| error::missing("SourceArn"))
}
