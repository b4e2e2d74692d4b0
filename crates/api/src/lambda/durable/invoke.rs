//! Invoke of a durable function: it starts an execution, or finds the one of that name, and waits for its end when asked to.
//!
//! Source: Lambda developer guide, "Invoking durable functions" and "Idempotency". How an execution that has failed is
//! answered is not told there; it is as a function's error is.

use crate::http::{ApiError, Context, Response, reply};
use crate::lambda::invoke::{InvocationType, set_executed_version, set_trace_header};
use crate::lambda::patterns as pattern;
use crate::lambda::validation::Violations;
use crate::state::ApiState;
use http::{HeaderName, HeaderValue, StatusCode};
use lamplight_invoke::InvokeRequest;
use lamplight_invoke::durable::{Started, check_invocable, has_succeeded};
use lamplight_invoke::resolve::check_call;
use lamplight_model::FunctionVersion;
use lamplight_model::durable::ErrorObject;
use serde_json::{Map, Value};

/// `DurableExecutionName` of Invoke.
pub const NAME: HeaderName = HeaderName::from_static("x-amz-durable-execution-name");
const ARN: HeaderName = HeaderName::from_static("x-amz-durable-execution-arn");

/// Notes what is wrong with a name.
pub fn note_name(name: &str, violations: &mut Violations) {
    violations.length(name, "durableExecutionName", 64);
    violations.fits(name, "durableExecutionName", &pattern::OPERATION_ID);
}

/// Serves Invoke of `version`, which the request means, when the function is durable. `None` when it is not.
///
/// Fails with `InvalidParameterValueException` for a name given to a function that is not durable.
pub async fn invoke(
    state: &ApiState,
    context: &Context,
    invocation_type: InvocationType,
    request: &InvokeRequest,
    version: &FunctionVersion,
) -> Result<Option<Response>, ApiError> {
    let name = context.header(NAME);
    if version.durable.is_none() {
        return match name {
            Some(_) => Err(ApiError::invalid_parameter(
                "DurableExecutionName is only supported for durable functions.",
            )),
            None => Ok(None),
        };
    }
    Box::pin(start(state, invocation_type, request, version, name.map(str::to_owned))).await.map(Some)
}

/// Refuses an operation that durable functions do not have. AWS's texts for this are not known.
///
/// Fails with `InvalidParameterValueException`.
pub fn refuse(version: &FunctionVersion, operation: &str) -> Result<(), ApiError> {
    if version.durable.is_none() {
        return Ok(());
    }
    Err(ApiError::invalid_parameter(format!("{operation} is not supported for durable functions.")))
}

async fn start(
    state: &ApiState,
    invocation_type: InvocationType,
    request: &InvokeRequest,
    version: &FunctionVersion,
    name: Option<String>,
) -> Result<Response, ApiError> {
    let synchronous = invocation_type == InvocationType::RequestResponse;
    check_invocable(request, version, synchronous)?;
    check_call(version, request)?;
    let mut response = match invocation_type {
        InvocationType::DryRun => return Ok(reply::empty(StatusCode::NO_CONTENT)),
        InvocationType::Event => {
            let started = state.durable.start(request, version, name, false).await?;
            with_arn(reply::empty(StatusCode::ACCEPTED), &started)
        }
        InvocationType::RequestResponse => {
            let started = state.durable.start(request, version, name, true).await?;
            with_arn(answer(state, &started).await?, &started)
        }
    };
    set_trace_header(&mut response, request.trace_header.as_deref());
    Ok(response)
}

/// The answer of an execution somebody waits for: its result, or its error as a function's.
async fn answer(state: &ApiState, started: &Started) -> Result<Response, ApiError> {
    let ended = state.durable.ended(&started.key).await?;
    let mut response = if has_succeeded(&ended) {
        reply::with_body(StatusCode::OK, "application/json", ended.closing.result.unwrap_or_default())
    } else {
        let mut response =
            reply::json(StatusCode::OK, &error_document(ended.closing.error.unwrap_or_default()));
        response
            .headers_mut()
            .insert(HeaderName::from_static("x-amz-function-error"), HeaderValue::from_static("Unhandled"));
        response
    };
    set_executed_version(&mut response, started.version);
    Ok(response)
}

/// An error in the form of the error documents of functions.
fn error_document(error: ErrorObject) -> Value {
    let mut document = Map::new();
    let members = [
        ("errorMessage", error.error_message.map(Value::from)),
        ("errorType", error.error_type.map(Value::from)),
        ("errorData", error.error_data.map(Value::from)),
        ("stackTrace", error.stack_trace.map(Value::from)),
    ];
    for (name, value) in members {
        if let Some(value) = value {
            document.insert(name.to_owned(), value);
        }
    }
    Value::Object(document)
}

fn with_arn(mut response: Response, started: &Started) -> Response {
    if let Ok(arn) = HeaderValue::from_str(&started.arn) {
        response.headers_mut().insert(ARN, arn);
    }
    response
}
