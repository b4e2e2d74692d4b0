//! One invocation of an execution's function: the event is made, the function runs, how it ended is written down.

use super::DurableExecutions;
use super::operations::PAGE_BYTES;
use crate::invoker::Origin;
use crate::request::{InvokeRequest, Running};
use bytes::Bytes;
use lamplight_model::durable::{
    CheckpointToken, ErrorObject, Execution, Finished, InFlight, Operation, Progress, Ran, shape,
};
use lamplight_model::{ErrorCode, Qualifier, RequestId, ServiceError, VersionNumber, limits};
use lamplight_store::executions::{ExecutionKey, StoredExecution, Wanted};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// Most operations in the event of an invocation; the function asks for the others.
const EVENT_OPERATIONS: usize = 1_000;
/// Delays between tries to write down how an invocation ended while storage refuses.
const SETTLE_DELAYS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// Makes the invocation that was begun, and settles it, however long storage refuses.
pub(super) async fn make(durable: Arc<DurableExecutions>, key: ExecutionKey, invocation: InFlight) {
    let ran = run(&durable, &key, &invocation).await;
    let (mut delay, longest) = SETTLE_DELAYS;
    loop {
        let (id, ran, now) = (invocation.id, ran.clone(), (durable.clock)());
        let wanted = Wanted { open: true, ..Wanted::default() };
        let settled = durable
            .executions
            .change(&key, wanted, move |progress: &mut Progress| {
                Ok::<_, Infallible>((progress.finish(id, ran, now), None))
            })
            .await;
        match settled {
            Ok(Some(Ok(changed))) => {
                match changed.value {
                    Finished::Closed => durable.announce(&key),
                    Finished::GoesOn | Finished::Superseded => durable.wake(),
                }
                return;
            }
            // It is forgotten.
            Ok(_) => return,
            Err(error) => durable.log("settle an invocation of a durable execution", &key, &error),
        }
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(longest);
    }
}

async fn run(durable: &DurableExecutions, key: &ExecutionKey, invocation: &InFlight) -> Ran {
    let read = durable.executions.replay(key, 0, EVENT_OPERATIONS, PAGE_BYTES).await;
    let (stored, operations, next) = match read {
        Ok(Some(read)) => read,
        Ok(None) => return Ran::NotRun,
        Err(error) => {
            durable.log("read a durable execution", key, &error);
            return Ran::NotRun;
        }
    };
    let payload = if stored.execution.plain {
        Bytes::from(stored.input)
    } else {
        // What has changed since the invocation before was told.
        match durable.executions.touched_after(key, invocation.seen_before).await {
            Ok(touched) => event(&stored, invocation, &operations, next, &touched),
            Err(error) => {
                durable.log("read a durable execution", key, &error);
                return Ran::NotRun;
            }
        }
    };
    call(durable, request(&stored.execution, invocation, payload)).await
}

/// `DurableExecutionInvocationInput` of the SDKs.
fn event(
    stored: &StoredExecution,
    invocation: &InFlight,
    operations: &[Operation],
    next: Option<u64>,
    touched: &[String],
) -> Bytes {
    let execution = &stored.execution;
    let token =
        CheckpointToken { execution: execution.id, invocation: invocation.id, number: execution.checkpoints };
    let operations: Vec<Value> = operations
        .iter()
        .map(|operation| shape::operation(execution, operation, &stored.input, shape::milliseconds))
        .collect();
    let event = json!({
        "DurableExecutionArn": execution.arn(),
        "CheckpointToken": token.text(),
        "InitialExecutionState": {
            "Operations": operations,
            "NextMarker": next.map(state_marker).unwrap_or_default(),
        },
        "UpdatedOperationIds": touched,
    });
    Bytes::from(event.to_string())
}

/// `Marker` of GetDurableExecutionState: the page after the operation of this number.
pub fn state_marker(after: u64) -> String {
    after.to_string()
}

/// The number in such a marker; `None` for anything else.
pub fn state_page_after(marker: &str) -> Option<u64> {
    marker.parse().ok().filter(|after| *after > 0)
}

fn request(execution: &Execution, invocation: &InFlight, payload: Bytes) -> InvokeRequest {
    let qualifier = match execution.version {
        VersionNumber::Latest => Qualifier::Latest,
        VersionNumber::Published(number) => Qualifier::Version(number),
    };
    let mut request = InvokeRequest::new(
        execution.scope.clone(),
        execution.function.clone(),
        Some(qualifier),
        RequestId(invocation.request_id),
        payload,
    );
    request.trace_header = execution.trace_header.clone();
    request
}

/// Runs the function once, and waits until its instance is free again.
async fn call(durable: &DurableExecutions, request: InvokeRequest) -> Ran {
    let mut answer = match durable.invoker.run(request, Origin::Queue).await {
        Ok(Running { answer, .. }) => answer.detach(),
        Err(error) => return not_run(&error),
    };
    // One byte more than any answer has says that it is too large; the rest is taken, or the function could not finish.
    let most = limits::SYNC_PAYLOAD_BYTES + 1;
    let mut body = Vec::new();
    while let Some(piece) = answer.body.recv().await {
        let room = most - body.len();
        body.extend_from_slice(&piece[..piece.len().min(room)]);
    }
    let ended = answer.ended.await;
    let _ = answer.finished.await;
    match ended {
        Ok(Ok(ended)) if ended.outcome.is_function_error() => {
            let document = ended.document.unwrap_or_default();
            Ran::Failed(ErrorObject::from_document(&document, ended.outcome.error_type.as_deref()))
        }
        Ok(Ok(_)) => match String::from_utf8(body) {
            Ok(body) if body.len() < most => Ran::Answered(body),
            Ok(_) => Ran::Failed(ErrorObject::new("The answer of the function is too large.", None)),
            Err(_) => Ran::Failed(ErrorObject::new("The answer of the function is not UTF-8.", None)),
        },
        Ok(Err(error)) => not_run(&error),
        Err(_) => Ran::NotRun,
    }
}

fn not_run(error: &ServiceError) -> Ran {
    match error.code {
        // What another try would not change.
        ErrorCode::ResourceNotFoundException
        | ErrorCode::InvalidParameterValueException
        | ErrorCode::RecursiveInvocationException => {
            Ran::Gone(ErrorObject::new(error.message.clone(), Some(&format!("{:?}", error.code))))
        }
        _ => Ran::NotRun,
    }
}
