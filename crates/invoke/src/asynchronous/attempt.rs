//! One attempt at one claimed event: run it, decide, tell a destination, settle the claim.

use crate::asynchronous::destination::{self, Response};
use crate::asynchronous::letters;
use crate::asynchronous::options::{self, EventInvokeOptions, FunctionDestination};
use crate::asynchronous::pace::{AT_ONCE, Ending};
use crate::asynchronous::retry::{self, Attempt, Standing};
use crate::invoker::{ErrorChain, Invoker, Origin, service_error};
use crate::request::{InvokeRequest, Running};
use lamplight_model::limits::ASYNC_PAYLOAD_BYTES;
use lamplight_model::{ErrorCode, RequestId, ServiceError, Timestamp, error_document};
use lamplight_store::{AttemptNote, ClaimedEvent, QueuedEvent, Release, Settlement, Told};
use serde_json::json;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tracing::{debug, warn};

/// Most bytes of an error document kept with a dead letter.
pub const ERROR_DOCUMENT_BYTES: usize = 64 * 1_024;

/// Delays between tries to settle a claim while storage refuses.
pub(crate) const SETTLE_DELAYS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// Runs the event and settles its claim. Ends early only by being dropped: the lease then runs out and the
/// event is due again without having used up a retry. Gives back what it means for the function's other events.
pub async fn make(invoker: Arc<Invoker>, claimed: ClaimedEvent) -> Ending {
    let ClaimedEvent { event, claim } = claimed;
    let default = invoker.config.asynchronous.retry;
    let began_at = (invoker.clock)();
    let standing = Standing { accepted_at: event.accepted_at, attempts: event.attempts };
    let (options, unread) = match options::of_event(&*invoker.store, &event).await {
        Ok(options) => (options, None),
        Err(error) => (
            EventInvokeOptions::default(),
            Some(refused(&service_error("read the options of an event", &error))),
        ),
    };
    let policy = options.policy(default);
    let mut ending = Ending::Went;
    let (release, note, response) = if let Some(attempt) = unread {
        ending = Ending::Refused;
        let note = note(began_at, &attempt);
        (retry::decide(&policy, standing, attempt, (invoker.clock)()), note, None)
    } else if retry::too_old(&policy, standing, (invoker.clock)()) {
        let error = document("EventAgeExceeded", "The event was too old before it could be run.");
        (Release::DeadLetter { condition: retry::EVENT_AGE_EXCEEDED.to_owned(), error }, None, None)
    } else {
        let keeps_answer = options.on_success.is_some() || options.on_failure.is_some();
        let started = Instant::now();
        let (mut attempt, response, began) = run(&invoker, &event, keeps_answer).await;
        if matches!(attempt, Attempt::FunctionError(_)) && started.elapsed() < AT_ONCE {
            ending = Ending::Failed;
        }
        if let Attempt::NotRun(error) = &attempt {
            if !began && invoker.admission.is_stopped(&event.scope, &event.function) {
                attempt = Attempt::Stopped(error.clone());
            } else {
                ending = if began { Ending::Broke } else { Ending::Refused };
            }
        }
        let note = note(began_at, &attempt);
        (retry::decide(&policy, standing, attempt, (invoker.clock)()), note, response)
    };
    let mut told = Vec::new();
    let follow_up = match destination::wanted(&options, &release) {
        Some(arn) if letters::is_queue(arn) => {
            told.push(letters::tell(&invoker, arn, &event, &release, response.as_ref()).await);
            None
        }
        Some(arn) => {
            let delivery = delivery(&invoker, arn, &event, &release, response.as_ref()).await;
            let failure = delivery.as_ref().err().cloned();
            told.push(Told { arn: arn.to_owned(), role: letters::DESTINATION.to_owned(), failure });
            delivery.ok()
        }
        None => None,
    };
    if let Release::DeadLetter { error, .. } = &release {
        told.extend(letters::bury(&invoker, &event, error).await);
    }
    let attempt = match note {
        // One that was too old was not tried.
        None if told.is_empty() => None,
        None => Some(AttemptNote { began_at, error: String::new(), told }),
        Some(note) => Some(AttemptNote { told, ..note }),
    };
    settle(&invoker, &event, claim, Settlement { release, attempt, follow_up }).await;
    ending
}

/// What the store is to remember of an attempt; nothing of one that succeeded.
fn note(began_at: Timestamp, attempt: &Attempt) -> Option<AttemptNote> {
    let error = match attempt {
        Attempt::Success => return None,
        Attempt::FunctionError(error)
        | Attempt::NotRun(error)
        | Attempt::Stopped(error)
        | Attempt::FunctionGone(error)
        | Attempt::Recursive(error) => error.clone(),
    };
    Some(AttemptNote { began_at, error, told: Vec::new() })
}

/// Runs the event once and waits until the instance is free again. The response is there when the function ran; last comes
/// whether the run was admitted and began.
async fn run(
    invoker: &Arc<Invoker>,
    event: &QueuedEvent,
    keeps_answer: bool,
) -> (Attempt, Option<Response>, bool) {
    let request = InvokeRequest {
        scope: event.scope.clone(),
        name: event.function.clone(),
        qualifier: event.qualifier.clone(),
        payload: event.payload.clone(),
        client_context: event.client_context.clone(),
        trace_header: event.trace_header.clone(),
        tenant_id: event.tenant_id.clone(),
        request_id: event.request_id,
        log_tail: false,
        event_accepted_at: Some(event.accepted_at),
    };
    match start_durable(invoker, &request).await {
        Ok(false) => {}
        Ok(true) => return (Attempt::Success, None, true),
        Err(error) => return (refused(&error), None, false),
    }
    let (executed_version, mut answer) = match invoker.run(request, Origin::Queue).await {
        Ok(Running { executed_version, answer }) => (executed_version, answer.detach()),
        Err(error) => return (refused(&error), None, false),
    };
    // One byte more than any record holds says that it is too large.
    let kept = if keeps_answer { ASYNC_PAYLOAD_BYTES + 1 } else { 0 };
    let mut body = Vec::new();
    while let Some(piece) = answer.body.recv().await {
        // The whole answer is taken, or the function could not finish; only its beginning is kept.
        let room = kept - body.len();
        body.extend_from_slice(&piece[..piece.len().min(room)]);
    }
    let ended = answer.ended.await;
    let _ = answer.finished.await;
    let ended = match ended {
        Ok(Ok(ended)) => ended,
        Ok(Err(error)) => return (refused(&error), None, true),
        Err(_) => return (refused(&ServiceError::internal("The invocation was lost.")), None, true),
    };
    let is_error = ended.outcome.is_function_error();
    let (attempt, payload) = if is_error {
        let document = ended.document.unwrap_or_default();
        let kept =
            error_document::shortened(&String::from_utf8_lossy(&document), ERROR_DOCUMENT_BYTES).into_owned();
        (Attempt::FunctionError(kept), document)
    } else {
        (Attempt::Success, body.into())
    };
    let payload = Some(payload).filter(|payload| keeps_answer && payload.len() <= ASYNC_PAYLOAD_BYTES);
    (attempt, Some(Response { executed_version, is_error, payload }), true)
}

/// Starts an execution when the event is for a durable function: its result is not the event's. The event's own id names
/// the execution, so that a second attempt finds the first's.
async fn start_durable(invoker: &Arc<Invoker>, request: &InvokeRequest) -> Result<bool, ServiceError> {
    let version = invoker.resolve(&request.scope, &request.name, request.qualifier.as_ref()).await?;
    let durable = invoker.durable.get().and_then(Weak::upgrade);
    let Some(durable) = durable.filter(|_| version.durable.is_some()) else { return Ok(false) };
    durable.start(request, &version, Some(request.request_id.to_string()), false).await?;
    Ok(true)
}

/// The event that tells a destination. Why not, when the destination is gone: the record is dropped, as on AWS.
async fn delivery(
    invoker: &Invoker,
    arn: &str,
    event: &QueuedEvent,
    release: &Release,
    response: Option<&Response>,
) -> Result<QueuedEvent, String> {
    let lost = |why: &str| {
        invoker.metrics.delivery_failed(&event.scope, &event.function);
        warn!(
            request_id = %event.request_id, function = %event.function, destination = arn, why,
            "failed to tell a destination"
        );
        Err(why.to_owned())
    };
    let Some(to) = FunctionDestination::parse(arn) else {
        return lost("it is not a function");
    };
    match invoker.resolve(&to.scope, &to.function, to.qualifier.as_ref()).await {
        // A failure to read is none of the destination's: its queue takes the event all the same.
        Err(error) if error.code == ErrorCode::ResourceNotFoundException => lost(&error.message),
        _ => {
            let request_id = RequestId::generate();
            Ok(destination::delivery(to, event, release, response, request_id, (invoker.clock)()))
        }
    }
}

/// What an error of the platform means for the event.
fn refused(error: &ServiceError) -> Attempt {
    let text = document(&format!("{:?}", error.code), &error.message);
    match error.code {
        ErrorCode::ResourceNotFoundException => Attempt::FunctionGone(text),
        ErrorCode::RecursiveInvocationException => Attempt::Recursive(text),
        _ => Attempt::NotRun(text),
    }
}

/// An error document in Lambda's shape, for errors that are not the function's.
fn document(error_type: &str, error_message: &str) -> String {
    json!({ "errorType": error_type, "errorMessage": error_message }).to_string()
}

/// Writes down how the claim ends, in one transaction with the event that tells a destination, however long storage
/// refuses: until then the event stays leased and is not run a second time.
async fn settle(invoker: &Invoker, event: &QueuedEvent, claim: u64, settlement: Settlement) {
    let (mut delay, longest) = SETTLE_DELAYS;
    loop {
        let settled = invoker.store.settle(event.request_id, claim, settlement.clone()).await;
        match settled {
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
    if let Release::DeadLetter { condition, error } = &settlement.release {
        invoker.metrics.dead_letter(&event.scope, &event.function);
        warn!(
            request_id = %event.request_id, function = %event.function, %condition, error,
            "gave an event up"
        );
    } else {
        debug!(request_id = %event.request_id, function = %event.function, release = ?settlement.release, "settled an event");
    }
}
