//! Calling a function for a request, within a time.

use super::Call;
use crate::state::Gateway;
use bytes::Bytes;
use lamplight_invoke::InvokeRequest;
use lamplight_model::http_api::FunctionTarget;
use lamplight_model::limits::SYNC_PAYLOAD_BYTES;
use lamplight_model::{ErrorCode, RequestId, ServiceError};
use std::time::Duration;

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// The event is larger than a call may be.
    TooLarge,
    /// It took too long; the run goes on.
    TimedOut,
    /// There is no room now, or the server is about to end.
    Busy,
    /// The function failed, or cannot be called.
    Failed,
}

/// What a function answers to `event`, in the run of an id.
pub async fn call(
    gateway: &Gateway,
    target: &FunctionTarget,
    event: Bytes,
    run: RequestId,
    call: &Call<'_>,
    timeout: Duration,
) -> Result<Bytes, Failure> {
    if event.len() > SYNC_PAYLOAD_BYTES {
        return Err(Failure::TooLarge);
    }
    let (scope, name, qualifier) = (target.scope.clone(), target.name.clone(), target.qualifier.clone());
    let mut request = InvokeRequest::new(scope, name, qualifier, run, event);
    request.trace_header = Some(call.trace_header.to_owned());
    let invoker = &gateway.parts.invoker;
    let whole = async {
        let refused = |error: ServiceError| failure(&error, invoker.is_draining());
        let version = invoker.resolve(&request.scope, &request.name, request.qualifier.as_ref());
        let version = version.await.map_err(refused)?;
        if version.durable.is_some() {
            // An execution has a name and an end of its own, which no request here could give it.
            tracing::info!(function = %request.name, "a durable function cannot be called through an API");
            return Err(Failure::Failed);
        }
        let running = invoker.invoke_version(request, version).await.map_err(refused)?;
        let collected =
            running.answer.collect(SYNC_PAYLOAD_BYTES).await.map_err(|error| failure(&error, false))?;
        match collected.outcome.is_function_error() {
            // The client is told no more; the function's log has its error.
            true => Err(Failure::Failed),
            false => Ok(collected.body),
        }
    };
    tokio::time::timeout(timeout, whole).await.unwrap_or(Err(Failure::TimedOut))
}

fn failure(error: &ServiceError, is_draining: bool) -> Failure {
    tracing::info!(%error, "an API's function could not be called");
    match error.code {
        ErrorCode::TooManyRequestsException => Failure::Busy,
        _ if is_draining => Failure::Busy,
        _ => Failure::Failed,
    }
}
