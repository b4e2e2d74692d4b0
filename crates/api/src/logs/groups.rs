//! DescribeLogGroups and DescribeLogStreams.

use super::{failed, group, invalid, limit};
use crate::http::{ApiError, Context, Members, page};
use crate::state::ApiState;
use lamplight_model::Timestamp;
use lamplight_store::LogStreamInfo;
use serde_json::{Map, Value, json};

/// Rows of a page.
const PAGE_ROWS: usize = 50;

/// DescribeLogGroups, in name order.
pub async fn groups(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    const LIST: &str = "log-groups";
    let limit = limit(members, PAGE_ROWS, PAGE_ROWS)?;
    let prefix = members.string("logGroupNamePrefix")?;
    let part = members.string("logGroupNamePattern")?;
    if prefix.is_some() && part.is_some() {
        return Err(invalid(
            "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.",
        ));
    }
    let mut after: Option<String> = token(members, LIST)?;
    let (mut rows, mut next) = (Vec::new(), None);
    'pages: loop {
        let found = state
            .logs
            .groups(&context.scope, prefix.as_deref(), after.as_deref(), limit + 1)
            .await
            .map_err(failed)?;
        let whole = found.len() > limit;
        for (name, created_at, stored_bytes) in found {
            // Patterns are parts of names, compared without case. Source: API reference, logGroupNamePattern.
            let wanted = part.as_ref().is_none_or(|part| name.to_lowercase().contains(&part.to_lowercase()));
            if wanted {
                if rows.len() == limit {
                    next = after.take();
                    break 'pages;
                }
                rows.push(group_row(context, &name, created_at, stored_bytes));
            }
            after = Some(name);
        }
        if !whole {
            break;
        }
    }
    Ok(answer("logGroups", rows, next.map(|key| page::token(LIST, &key))))
}

fn group_row(context: &Context, name: &str, created_at: Timestamp, stored_bytes: u64) -> Value {
    let arn = context.scope.arn("logs", &format!("log-group:{name}"));
    json!({
        "logGroupName": name,
        "creationTime": created_at.as_millis(),
        "metricFilterCount": 0,
        "arn": format!("{arn}:*"),
        "storedBytes": stored_bytes,
        "logGroupClass": "STANDARD",
        "logGroupArn": arn,
    })
}

/// DescribeLogStreams, by name or by time of the last event.
pub async fn streams(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
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
    let rows = rows.iter().map(|row| stream_row(context, &group, row)).collect();
    Ok(answer("logStreams", rows, next))
}

fn stream_row(context: &Context, group: &str, row: &LogStreamInfo) -> Value {
    let mut map = Map::new();
    let mut set = |name: &str, value: Value| map.insert(name.to_owned(), value);
    set("logStreamName", row.name.as_str().into());
    set("creationTime", row.created_at.as_millis().into());
    if let Some(first) = row.first_event_at {
        set("firstEventTimestamp", first.as_millis().into());
    }
    if let Some(last) = row.last_event_at {
        set("lastEventTimestamp", last.as_millis().into());
        set("lastIngestionTime", last.as_millis().into());
    }
    set("arn", context.scope.arn("logs", &format!("log-group:{group}:log-stream:{}", row.name)).into());
    set("storedBytes", row.stored_bytes.into());
    Value::Object(map)
}

fn token<K: serde::de::DeserializeOwned>(members: &Members<'_>, list: &str) -> Result<Option<K>, ApiError> {
    match members.string("nextToken")? {
        None => Ok(None),
        Some(token) => {
            page::key(list, &token).map(Some).ok_or_else(|| invalid("The specified nextToken is invalid."))
        }
    }
}

fn answer(member: &str, rows: Vec<Value>, next: Option<String>) -> Value {
    let mut map = Map::new();
    map.insert(member.to_owned(), rows.into());
    if let Some(next) = next {
        map.insert("nextToken".to_owned(), next.into());
    }
    Value::Object(map)
}
