//! What somebody calls whom a durable execution waits for: success, failure, and that it is still at work.

use super::read;
use crate::http::request::decode_segment;
use crate::http::{ApiError, Context, Members, Response, reply};
use crate::lambda::patterns as pattern;
use crate::lambda::validation::Violations;
use crate::state::ApiState;
use bytes::Bytes;
use http::StatusCode;
use lamplight_invoke::durable::CallbackKey;
use lamplight_model::durable::{CallbackResult, CallbackToken, ERROR_BYTES, OPERATION_PAYLOAD_BYTES};
use serde_json::json;

/// SendDurableExecutionCallbackSuccess.
pub async fn succeed(
    state: &ApiState,
    context: &Context,
    label: &str,
    body: &Bytes,
) -> Result<Response, ApiError> {
    let mut violations = Violations::default();
    if body.len() > OPERATION_PAYLOAD_BYTES {
        violations.add(
            format_args!("[{} bytes]", body.len()),
            "result",
            format_args!("Member must have length less than or equal to {OPERATION_PAYLOAD_BYTES}"),
        );
    }
    let key = key(context, label, violations)?;
    let result = match std::str::from_utf8(body) {
        Ok("") => None,
        Ok(text) => Some(text.to_owned()),
        // Operations hold text; the SDKs send JSON.
        Err(_) => return Err(ApiError::invalid_parameter("The result of a callback must be UTF-8.")),
    };
    complete(state, key, CallbackResult::Succeeded(result)).await
}

/// SendDurableExecutionCallbackFailure.
pub async fn fail(
    state: &ApiState,
    context: &Context,
    label: &str,
    body: &Bytes,
) -> Result<Response, ApiError> {
    let error = read::error(&Members::parse(body)?)?;
    let key = key(context, label, Violations::default())?;
    if error.bytes() > ERROR_BYTES {
        return Err(ApiError::invalid_parameter(format!(
            "Error object size must be less than or equal to {ERROR_BYTES} bytes."
        )));
    }
    complete(state, key, CallbackResult::Failed(error)).await
}

/// SendDurableExecutionCallbackHeartbeat.
pub async fn heartbeat(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    let key = key(context, label, Violations::default())?;
    complete(state, key, CallbackResult::Heartbeat).await
}

async fn complete(state: &ApiState, key: CallbackKey, result: CallbackResult) -> Result<Response, ApiError> {
    state.durable.callback(key, result).await?;
    Ok(reply::json(StatusCode::OK, &json!({})))
}

/// `CallbackId` of the path. Fails with `ValidationException` for what has not its form, and with
/// `InvalidParameterValueException` for what none was made like.
fn key(context: &Context, label: &str, mut violations: Violations) -> Result<CallbackKey, ApiError> {
    let id = decode_segment(label).unwrap_or_else(|| label.to_owned());
    violations.length(&id, "callbackId", 1_024);
    violations.fits(&id, "callbackId", &pattern::BASE64);
    violations.finish()?;
    let token =
        CallbackToken::parse(&id).ok_or_else(|| ApiError::invalid_parameter("Invalid callback id"))?;
    Ok(CallbackKey { scope: context.scope.clone(), token })
}
