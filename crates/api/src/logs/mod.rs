//! CloudWatch Logs: groups, streams, events, subscriptions and live tails. JSON 1.1.
//!
//! Group names may come as ARNs (`logGroupIdentifier`). Page tokens hold a sequence number of the group, which
//! only grows, so pages neither repeat nor skip while functions go on writing.

mod events;
mod groups;
mod live_tail;
mod put;
mod streams;
mod subscriptions;
mod tags;
mod validation;

pub use live_tail::SESSIONS as LIVE_TAIL_SESSIONS;

use crate::http::{ApiError, Context, Members, Response, reply};
use crate::state::ApiState;
use ::http::StatusCode;
use bytes::Bytes;
use lamplight_model::FilterPattern;
use lamplight_store::StoreError;
use serde_json::{Map, Value};

/// First part of `X-Amz-Target`.
pub const TARGET: &str = "Logs_20140328";
/// Bound of a request's body, bytes: events of 1 MiB, which JSON may make six times as long, and what is around them.
pub const REQUEST_BYTES: usize = 8 * 1024 * 1024;

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
        "PutLogEvents" => put::events(state, context, &members).await?,
        "DescribeLogStreams" => streams::describe(state, context, &members).await?,
        "CreateLogStream" => streams::create(state, context, &members).await?,
        "DeleteLogStream" => streams::delete(state, context, &members).await?,
        "DescribeLogGroups" => groups::describe(state, context, &members).await?,
        "CreateLogGroup" => groups::create(state, context, &members).await?,
        "DeleteLogGroup" => groups::delete(state, context, &members).await?,
        "PutRetentionPolicy" => groups::put_retention(state, context, &members).await?,
        "DeleteRetentionPolicy" => groups::delete_retention(state, context, &members).await?,
        "TagLogGroup" => tags::tag_group(state, context, &members).await?,
        "UntagLogGroup" => tags::untag_group(state, context, &members).await?,
        "ListTagsLogGroup" => tags::list_of_group(state, context, &members).await?,
        "TagResource" => tags::tag(state, context, &members).await?,
        "UntagResource" => tags::untag(state, context, &members).await?,
        "ListTagsForResource" => tags::list(state, context, &members).await?,
        "PutSubscriptionFilter" => subscriptions::put(state, context, &members).await?,
        "DescribeSubscriptionFilters" => subscriptions::describe(state, context, &members).await?,
        "DeleteSubscriptionFilter" => subscriptions::delete(state, context, &members).await?,
        "StartLiveTail" => return live_tail::start(state, context, &members).await,
        _ => return Err(ApiError::not_supported("logs", operation)),
    };
    Ok(match value {
        Value::Null => empty(),
        value => reply::json_1_1(&value),
    })
}

/// The answer of operations without output.
fn empty() -> Response {
    reply::with_body(StatusCode::OK, "application/x-amz-json-1.1", "")
}

/// `logGroupName`, or the name in `logGroupIdentifier` (a name or an ARN with or without `:*` at the end).
fn group(members: &Members<'_>) -> Result<String, ApiError> {
    let name = members.string("logGroupName")?;
    let identifier = members.string("logGroupIdentifier")?;
    match (name, identifier) {
        (Some(name), None) => Ok(name),
        (None, Some(identifier)) => Ok(name_of_group(&identifier).to_owned()),
        (Some(_), Some(_)) => Err(invalid("Specify either logGroupName or logGroupIdentifier, not both.")),
        (None, None) => Err(invalid("Either logGroupName or logGroupIdentifier is required.")),
    }
}

/// The name of a group in its ARN; what is no ARN is a name.
fn name_of_group(identifier: &str) -> &str {
    match identifier.split_once(":log-group:") {
        Some((_, name)) => name.strip_suffix(":*").unwrap_or(name),
        None => identifier,
    }
}

fn pattern(text: &str) -> Result<FilterPattern, ApiError> {
    FilterPattern::parse(text).map_err(|error| invalid(error.to_string()))
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "InvalidParameterException", message)
}

fn already_exists(what: &str) -> ApiError {
    let message = format!("The specified {what} already exists");
    ApiError::new(StatusCode::BAD_REQUEST, "ResourceAlreadyExistsException", message)
}

fn does_not_exist(what: &str) -> ApiError {
    let message = format!("The specified {what} does not exist.");
    ApiError::new(StatusCode::BAD_REQUEST, "ResourceNotFoundException", message)
}

fn limit_exceeded(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "LimitExceededException", message)
}

fn failed(error: StoreError) -> ApiError {
    let what = |text: &String| if text.starts_with("log stream ") { "log stream" } else { "log group" };
    match error {
        StoreError::NotFound(text) => does_not_exist(what(&text)),
        StoreError::AlreadyExists(text) => already_exists(what(&text)),
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

/// The key in `nextToken`, of a token made for `list`.
fn token<K: serde::de::DeserializeOwned>(members: &Members<'_>, list: &str) -> Result<Option<K>, ApiError> {
    match members.string("nextToken")? {
        None => Ok(None),
        Some(token) => crate::http::page::key(list, &token)
            .map(Some)
            .ok_or_else(|| invalid("The specified nextToken is invalid.")),
    }
}

/// A page of a list.
fn answer(member: &str, rows: Vec<Value>, next: Option<String>) -> Value {
    let mut map = Map::new();
    map.insert(member.to_owned(), rows.into());
    if let Some(next) = next {
        map.insert("nextToken".to_owned(), next.into());
    }
    Value::Object(map)
}

/// Makes readable what was written before: whoever invokes and then reads the log finds the lines of that call.
async fn settle(state: &ApiState) {
    if let Err(error) = state.logs.flush().await {
        // What could not be written stays in memory; what is on disk is still read.
        tracing::warn!(%error, "failed to write buffered logs before a read");
    }
}

/// A message as readers get it: AWS takes the line end off, too.
fn shown(message: &str) -> &str {
    message.strip_suffix('\n').unwrap_or(message)
}
