//! CloudWatch Logs, reading side: what `aws logs tail`, `sam logs` and boto3 need. JSON 1.1.
//!
//! Group names may come as ARNs (`logGroupIdentifier`). Page tokens hold a sequence number of the group, which
//! only grows, so pages neither repeat nor skip while functions go on writing.

mod events;
mod groups;
mod pattern;

pub use pattern::FilterPattern;

use crate::http::{ApiError, Context, Members, Response, reply};
use crate::state::ApiState;
use ::http::StatusCode;
use bytes::Bytes;
use lamplight_store::StoreError;

/// First part of `X-Amz-Target`.
pub const TARGET: &str = "Logs_20140328";

/// Answers one operation.
pub async fn handle(
    state: &ApiState,
    context: &Context,
    operation: &str,
    body: &Bytes,
) -> Result<Response, ApiError> {
    context.authorize("logs", operation, "*")?;
    let members = Members::parse(body)?;
    let value = match operation {
        "FilterLogEvents" => events::filter(state, context, &members).await?,
        "GetLogEvents" => events::get(state, context, &members).await?,
        "DescribeLogStreams" => groups::streams(state, context, &members).await?,
        "DescribeLogGroups" => groups::groups(state, context, &members).await?,
        _ => return Err(ApiError::not_supported("logs", operation)),
    };
    Ok(reply::json_1_1(&value))
}

/// `logGroupName`, or the name in `logGroupIdentifier` (a name or an ARN with or without `:*` at the end).
fn group(members: &Members<'_>) -> Result<String, ApiError> {
    let name = members.string("logGroupName")?;
    let identifier = members.string("logGroupIdentifier")?;
    match (name, identifier) {
        (Some(name), None) => Ok(name),
        (None, Some(identifier)) => Ok(match identifier.split_once(":log-group:") {
            Some((_, name)) => name.strip_suffix(":*").unwrap_or(name).to_owned(),
            None => identifier,
        }),
        (Some(_), Some(_)) => Err(invalid("Specify either logGroupName or logGroupIdentifier, not both.")),
        (None, None) => Err(invalid("Either logGroupName or logGroupIdentifier is required.")),
    }
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "InvalidParameterException", message)
}

fn failed(error: StoreError) -> ApiError {
    match error {
        StoreError::NotFound(_) => ApiError::new(
            StatusCode::BAD_REQUEST,
            "ResourceNotFoundException",
            "The specified log group does not exist.",
        ),
        other => other.into(),
    }
}

/// `limit` within 1 and `most`.
fn limit(members: &Members<'_>, default: usize, most: usize) -> Result<usize, ApiError> {
    match members.integer("limit")? {
        None => Ok(default),
        Some(limit) => usize::try_from(limit)
            .ok()
            .filter(|limit| (1..=most).contains(limit))
            .ok_or_else(|| {
                invalid(format!(
                    "1 validation error detected: Value '{limit}' at 'limit' failed to satisfy constraint: Member \
                     must have value between 1 and {most}"
                ))
            }),
    }
}
