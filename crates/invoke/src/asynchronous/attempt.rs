//! One attempt at one claimed event: run it, decide, settle the claim.

use crate::asynchronous::retry::{self, Attempt, Standing};
use crate::invoker::{ErrorChain, Invoker};
use crate::request::{InvokeRequest, Running};
use lamplight_model::{ErrorCode, ServiceError};
use lamplight_store::{ClaimedEvent, QueuedEvent, Release};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tracing::{debug, warn};

/// Most bytes of an error document kept with a dead letter.
pub const ERROR_DOCUMENT_BYTES: usize = 64 * 1_024;

/// Delays between tries to settle a claim while storage refuses.
const SETTLE_DELAYS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// Runs the event and settles its claim. Ends early only by being dropped: the lease then runs out and the
/// event is due again without having used up a retry.
pub async fn make(invoker: Arc<Invoker>, claimed: ClaimedEvent) {
    let ClaimedEvent { event, claim } = claimed;
    let policy = invoker.config.asynchronous.retry;
    let standing = Standing { accepted_at: event.accepted_at, attempts: event.attempts };
    let release = if retry::too_old(&policy, standing, (invoker.clock)()) {
        Release::DeadLetter {
            condition: retry::EVENT_AGE_EXCEEDED.to_owned(),
            error: document("EventAgeExceeded", "The event was too old before it could be run."),
        }
    } else {
        let attempt = run(&invoker, &event).await;
        retry::decide(&policy, standing, attempt, (invoker.clock)())
    };
    settle(&invoker, &event, claim, release).await;
}

/// Runs the event once and waits until the instance is free again.
async fn run(invoker: &Arc<Invoker>, event: &QueuedEvent) -> Attempt {
    let request = InvokeRequest {
        scope: event.scope.clone(),
        name: event.function.clone(),
        qualifier: event.qualifier.clone(),
        payload: event.payload.clone(),
        client_context: event.client_context.clone(),
        trace_header: event.trace_header.clone(),
        request_id: event.request_id,
        log_tail: false,
    };
    let mut answer = match invoker.run(request).await {
        Ok(Running { answer, .. }) => answer.detach(),
        Err(error) => return refused(&error),
    };
    let mut body = Vec::new();
    while let Some(piece) = answer.body.recv().await {
        // The whole answer is taken, or the function could not finish; only its beginning is kept.
        let room = ERROR_DOCUMENT_BYTES - body.len();
        body.extend_from_slice(&piece[..piece.len().min(room)]);
    }
    let outcome = answer.outcome.await;
    let _ = answer.finished.await;
    match outcome {
        Ok(Ok(outcome)) if outcome.is_function_error() => {
            Attempt::FunctionError(String::from_utf8_lossy(&body).into_owned())
        }
        Ok(Ok(_)) => Attempt::Success,
        Ok(Err(error)) => refused(&error),
        Err(_) => refused(&ServiceError::internal("The invocation was lost.")),
    }
}

/// What an error of the platform means for the event.
fn refused(error: &ServiceError) -> Attempt {
    let text = document(&format!("{:?}", error.code), &error.message);
    match error.code {
        ErrorCode::ResourceNotFoundException => Attempt::FunctionGone(text),
        _ => Attempt::NotRun(text),
    }
}

/// An error document in Lambda's shape, for errors that are not the function's.
fn document(error_type: &str, error_message: &str) -> String {
    json!({ "errorType": error_type, "errorMessage": error_message }).to_string()
}

/// Writes down how the claim ends, however long storage refuses: until then the event stays leased and is not
/// run a second time.
async fn settle(invoker: &Invoker, event: &QueuedEvent, claim: u64, release: Release) {
    let (mut delay, longest) = SETTLE_DELAYS;
    loop {
        match invoker.store.release(event.request_id, claim, release.clone()).await {
            Ok(true) => break,
            Ok(false) => {
                // Someone else owns it now: it runs there, and this run was the extra one of "at least once".
                warn!(request_id = %event.request_id, function = %event.function, "lost the claim of an event");
                return;
            }
            Err(error) => {
                warn!(
                    request_id = %event.request_id, function = %event.function, error = %ErrorChain(&error),
                    "failed to settle an event, trying again"
                );
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(longest);
            }
        }
    }
    if let Release::DeadLetter { condition, error } = &release {
        invoker.metrics.dead_letter(&event.scope, &event.function);
        warn!(
            request_id = %event.request_id, function = %event.function, %condition, error,
            "gave an event up"
        );
    } else {
        debug!(request_id = %event.request_id, function = %event.function, ?release, "settled an event");
    }
}
