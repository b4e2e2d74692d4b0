//! Streams: CreateLogStream, DeleteLogStream, DescribeLogStreams.

use super::validation::{finish, group_name, plain_name};
use super::{answer, failed, group, invalid, limit, limit_exceeded, token};
use crate::http::{ApiError, Context, Members, page};
use crate::lambda::validation::Violations;
use crate::state::ApiState;
use lamplight_model::Timestamp;
use lamplight_store::{LogStreamInfo, StoreError};
use serde_json::{Map, Value};

/// Rows of a page.
const PAGE_ROWS: usize = 50;

/// Both names of a request.
fn names(members: &Members<'_>) -> Result<(String, String), ApiError> {
    let mut violations = Violations::default();
    let group = group_name(members, &mut violations)?;
    let stream = plain_name(members, "logStreamName", &mut violations)?;
    finish(violations)?;
    Ok((group, stream))
}

/// CreateLogStream.
pub async fn create(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    let (group, stream) = names(members)?;
    match state.logs.create_stream(&context.scope, &group, &stream).await {
        Ok(()) => Ok(Value::Null),
        Err(StoreError::Unwritable(why)) => Err(limit_exceeded(why)),
        Err(error) => Err(failed(error)),
    }
}

/// DeleteLogStream, with its events.
pub async fn delete(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    let (group, stream) = names(members)?;
    state.logs.delete_stream(&context.scope, &group, &stream).await.map_err(failed)?;
    Ok(Value::Null)
}

/// DescribeLogStreams, by name or by time of the last event.
pub async fn describe(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    let group = group(members)?;
    let limit = limit(members, PAGE_ROWS, PAGE_ROWS)?;
    let prefix = members.string("logStreamNamePrefix")?;
    let descending = members.boolean("descending")?.unwrap_or(false);
    let by_time = match members.string("orderBy")?.as_deref() {
        None | Some("LogStreamName") => false,
        Some("LastEventTime") if prefix.is_some() => {
            return Err(invalid("Cannot order by LastEventTime with a logStreamNamePrefix."));
        }
        Some("LastEventTime") => true,
        Some(other) => {
            return Err(invalid(format!(
                "1 validation error detected: Value '{other}' at 'orderBy' failed to satisfy constraint: Member \
                 must satisfy enum value set: [LogStreamName, LastEventTime]"
            )));
        }
    };
    // A token goes on in the order it was made in.
    let list = format!("log-streams/{by_time}/{descending}");
    let after: Option<(i64, String)> = token(members, &list)?;
    let mut rows = state.logs.streams(&context.scope, &group).await.map_err(failed)?;
    rows.retain(|row| prefix.as_ref().is_none_or(|prefix| row.name.starts_with(prefix.as_str())));
    let key = |row: &LogStreamInfo| {
        let time = if by_time { row.last_event_at.map_or(0, Timestamp::as_millis) } else { 0 };
        (time, row.name.clone())
    };
    rows.sort_by_cached_key(key);
    if descending {
        rows.reverse();
    }
    if let Some(after) = after {
        rows.retain(|row| if descending { key(row) < after } else { key(row) > after });
    }
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|last| page::token(&list, &key(last)));
    let rows = rows.iter().map(|stream| row(context, &group, stream)).collect();
    Ok(answer("logStreams", rows, next))
}

fn row(context: &Context, group: &str, stream: &LogStreamInfo) -> Value {
    let mut map = Map::new();
    let mut set = |name: &str, value: Value| map.insert(name.to_owned(), value);
    set("logStreamName", stream.name.as_str().into());
    set("creationTime", stream.created_at.as_millis().into());
    for (name, time) in [
        ("firstEventTimestamp", stream.first_event_at),
        ("lastEventTimestamp", stream.last_event_at),
        ("lastIngestionTime", stream.last_ingested_at),
    ] {
        if let Some(time) = time {
            set(name, time.as_millis().into());
        }
    }
    set("arn", context.scope.arn("logs", &format!("log-group:{group}:log-stream:{}", stream.name)).into());
    set("storedBytes", stream.stored_bytes.into());
    Value::Object(map)
}
