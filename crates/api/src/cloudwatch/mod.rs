//! CloudWatch metrics: the platform's own (`AWS/Lambda`) and those that clients put.
//!
//! Three protocols say the same: Smithy RPC v2 CBOR (`/service/.../operation/...`: boto3), JSON 1.0 (`X-Amz-Target`) and query
//! (`Action=`: older clients). `wire` reads each into one kind of value and prints answers; the operations know none of them.

mod data;
mod list;
mod platform;
mod put;
mod series;
mod statistics;
mod wire;

pub use platform::{Recorder, record};
pub use wire::{Protocol, TARGET, VERSION, operation_of_path, unpack};

use crate::http::{ApiError, Context, Response};
use crate::state::ApiState;
use ::http::StatusCode;
use bytes::Bytes;
use wire::Output;

/// Bound of a request's body, bytes, also when it is unpacked. Source: API reference, PutMetricData.
pub const REQUEST_BYTES: usize = 1024 * 1024;

/// Answers one operation.
pub async fn handle(
    state: &ApiState,
    context: &Context,
    protocol: Protocol,
    operation: &str,
    body: &Bytes,
) -> Response {
    let answer = match context.authorize("cloudwatch", operation, "*") {
        Ok(()) => answer(state, context, protocol, operation, body).await,
        Err(denied) => Err(denied),
    };
    match answer {
        Ok(output) => wire::answer(protocol, operation, output.as_ref(), context.request_id),
        Err(error) => wire::error(protocol, &error, context.request_id),
    }
}

async fn answer(
    state: &ApiState,
    context: &Context,
    protocol: Protocol,
    operation: &str,
    body: &Bytes,
) -> Result<Option<Output>, ApiError> {
    let input = wire::read(protocol, context, body)?;
    match operation {
        "GetMetricStatistics" => statistics::get(state, context, &input).await.map(Some),
        "GetMetricData" => data::get(state, context, &input).await.map(Some),
        "ListMetrics" => list::list(state, context, &input).await.map(Some),
        "PutMetricData" => put::put(state, context, &input).await.map(|()| None),
        _ => Err(ApiError::not_supported("cloudwatch", operation)),
    }
}

fn error(code: &'static str, message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, code, message)
}

/// A parameter has a wrong value.
fn invalid_value(message: impl Into<String>) -> ApiError {
    error("InvalidParameterValueException", message)
}

/// A value that a parameter must not have, in AWS's words.
fn invalid(parameter: &str, value: impl std::fmt::Display) -> ApiError {
    invalid_value(format!("The value {value} for parameter {parameter} is invalid."))
}

/// Parameters that do not go together.
fn invalid_combination(message: impl Into<String>) -> ApiError {
    error("InvalidParameterCombinationException", message)
}

/// A parameter is absent.
fn missing(parameter: &str) -> ApiError {
    error("MissingRequiredParameterException", format!("The parameter {parameter} is required."))
}
