//! FilterLogEvents and GetLogEvents.

use super::{does_not_exist, failed, group, invalid, limit, pattern, settle, shown};
use crate::http::{ApiError, Context, Members, page};
use crate::state::ApiState;
use lamplight_model::Timestamp;
use lamplight_store::LogEvent;
use lamplight_store::logs::LogQuery;
use serde_json::{Map, Value, json};

/// Most events of one answer. Source: API reference, `limit`.
const EVENTS: usize = 10_000;
/// Most bytes of messages in one answer. Source: API reference, "up to 1 MB".
const ANSWER_BYTES: usize = 1024 * 1024;
/// Events read at once while a pattern looks for matches.
const READ_EVENTS: usize = 1_000;
/// Events looked at for one answer; a pattern that matches nothing gets an empty page and a token then.
const SCANNED_EVENTS: usize = 50_000;
/// What AWS counts for an event beside its message, bytes.
const EVENT_OVERHEAD_BYTES: usize = 26;
/// Most stream names in one request.
const STREAMS: usize = 100;

fn milliseconds(members: &Members<'_>, name: &str) -> Result<Option<Timestamp>, ApiError> {
    match members.integer(name)? {
        Some(negative) if negative < 0 => Err(invalid(format!(
            "1 validation error detected: Value '{negative}' at '{name}' failed to satisfy constraint: Member must \
             have value greater than or equal to 0"
        ))),
        given => Ok(given.map(Timestamp)),
    }
}

/// FilterLogEvents: events of a group over all (or some) of its streams, oldest first, interleaved.
pub async fn filter(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    const LIST: &str = "filter-log-events";
    let group = group(members)?;
    let limit = limit(members, EVENTS, EVENTS)?;
    let pattern = pattern(&members.string("filterPattern")?.unwrap_or_default())?;
    let streams = members.strings("logStreamNames")?.unwrap_or_default();
    let stream_prefix = members.string("logStreamNamePrefix")?;
    if !streams.is_empty() && stream_prefix.is_some() {
        return Err(invalid("logStreamNames and logStreamNamePrefix are mutually exclusive."));
    }
    if streams.len() > STREAMS {
        return Err(invalid(format!("At most {STREAMS} logStreamNames are possible.")));
    }
    let mut after: Option<u64> = match members.string("nextToken")? {
        None => None,
        Some(token) => {
            Some(page::key(LIST, &token).ok_or_else(|| invalid("The specified nextToken is invalid."))?)
        }
    };
    // endTime itself belongs to the answer here, unlike in GetLogEvents.
    let until = milliseconds(members, "endTime")?.map(|end| Timestamp(end.0.saturating_add(1)));
    let from = milliseconds(members, "startTime")?;
    settle(state).await;
    let mut found: Vec<LogEvent> = Vec::new();
    let (mut scanned, mut bytes, mut more) = (0, 0, true);
    'reading: while more {
        let query = LogQuery {
            streams: streams.clone(),
            stream_prefix: stream_prefix.clone(),
            from,
            until,
            after_sequence: after,
            backward: false,
            limit: READ_EVENTS,
        };
        let events = state.logs.events(&context.scope, &group, query).await.map_err(failed)?;
        more = events.len() == READ_EVENTS;
        for event in events {
            let size = event.message.len() + EVENT_OVERHEAD_BYTES;
            if pattern.matches(shown(&event.message)) {
                let full = found.len() == limit || (!found.is_empty() && bytes + size > ANSWER_BYTES);
                if full {
                    more = true;
                    break 'reading;
                }
                bytes += size;
                after = Some(event.sequence);
                found.push(event);
            } else {
                after = Some(event.sequence);
            }
            scanned += 1;
        }
        if scanned >= SCANNED_EVENTS {
            break;
        }
    }
    // Streams are written side by side; within a page they are shown by time.
    found.sort_by_key(|event| (event.timestamp, event.sequence));
    let events: Vec<Value> = found.iter().map(|event| row(event, true)).collect();
    let mut answer = Map::new();
    answer.insert("events".to_owned(), events.into());
    answer.insert("searchedLogStreams".to_owned(), json!([]));
    if let Some(after) = after.filter(|_| more) {
        answer.insert("nextToken".to_owned(), page::token(LIST, &after).into());
    }
    Ok(Value::Object(answer))
}

/// GetLogEvents: one stream, a page forward or backward, always shown oldest first.
///
/// The forward token of a page that reached the end is the one it was asked with: clients stop there, as on AWS.
pub async fn get(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    let group = group(members)?;
    let stream = members
        .string("logStreamName")?
        .ok_or_else(|| invalid("1 validation error detected: Value null at 'logStreamName' failed to satisfy constraint: Member must not be null"))?;
    let limit = limit(members, EVENTS, EVENTS)?;
    let from_head = members.boolean("startFromHead")?.unwrap_or(false);
    let (backward, after_sequence) = match members.string("nextToken")? {
        None => (!from_head, None),
        Some(token) => {
            let (backward, key) = match (token.strip_prefix("f/"), token.strip_prefix("b/")) {
                (Some(rest), _) => (false, rest.parse()),
                (_, Some(rest)) => (true, rest.parse()),
                _ => return Err(invalid("The specified nextToken is invalid.")),
            };
            let key: u64 = key.map_err(|_| invalid("The specified nextToken is invalid."))?;
            (backward, Some(key))
        }
    };
    settle(state).await;
    let known = state.logs.streams(&context.scope, &group).await.map_err(failed)?;
    if !known.iter().any(|row| row.name == stream) {
        return Err(does_not_exist("log stream"));
    }
    let query = LogQuery {
        streams: vec![stream],
        stream_prefix: None,
        from: milliseconds(members, "startTime")?,
        until: milliseconds(members, "endTime")?,
        after_sequence,
        backward,
        limit,
    };
    let mut events = state.logs.events(&context.scope, &group, query).await.map_err(failed)?;
    let mut bytes = 0;
    let fitting = events.iter().take_while(|event| {
        bytes += event.message.len() + EVENT_OVERHEAD_BYTES;
        bytes <= ANSWER_BYTES
    });
    let fitting = fitting.count().max(1);
    events.truncate(fitting);
    if backward {
        events.reverse();
    }
    // Without events the place stays where it was: forward after it, backward up to and with it.
    let place = after_sequence.unwrap_or(0);
    let (first, last) = match (events.first(), events.last()) {
        (Some(first), Some(last)) => (first.sequence, last.sequence),
        _ if backward => (place, place.saturating_sub(1)),
        _ => (place.saturating_add(1), place),
    };
    let rows: Vec<Value> = events.iter().map(|event| row(event, false)).collect();
    Ok(json!({
        "events": rows,
        "nextForwardToken": format!("f/{last:056}"),
        "nextBackwardToken": format!("b/{first:056}"),
    }))
}

fn row(event: &LogEvent, of_group: bool) -> Value {
    let mut map = Map::new();
    let mut set = |name: &str, value: Value| map.insert(name.to_owned(), value);
    if of_group {
        set("logStreamName", event.stream.as_str().into());
    }
    set("timestamp", event.timestamp.as_millis().into());
    set("message", shown(&event.message).into());
    set("ingestionTime", event.ingested_at.as_millis().into());
    if of_group {
        set("eventId", event.id().into());
    }
    Value::Object(map)
}
