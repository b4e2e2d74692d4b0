//! PutLogEvents. Source of the bounds: API reference, PutLogEvents (events of 1 MB since 2025).

use super::validation::{finish, group_name, plain_name};
use super::{failed, invalid};
use crate::http::{ApiError, Context, Members};
use crate::lambda::validation::Violations;
use crate::state::ApiState;
use ::http::StatusCode;
use lamplight_model::Timestamp;
use serde_json::{Map, Value, json};

/// Events of one request.
const EVENTS: usize = 10_000;
/// Bytes of one request: of messages, and `EVENT_OVERHEAD_BYTES` for each.
const BATCH_BYTES: usize = 1_048_576;
/// What AWS counts for an event beside its message, bytes.
const EVENT_OVERHEAD_BYTES: usize = 26;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Events may be so far ahead.
const AHEAD_MS: i64 = 2 * HOUR_MS;
/// Events may be so old.
const AGE_MS: i64 = 14 * DAY_MS;
/// What AWS answers is opaque, and ignored when it comes back.
const SEQUENCE_TOKEN_DIGITS: usize = 56;

/// PutLogEvents: written, though after a power loss perhaps not whole, when it answers.
pub async fn events(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    let mut violations = Violations::default();
    let group = group_name(members, &mut violations)?;
    let stream = plain_name(members, "logStreamName", &mut violations)?;
    let rows = members.objects("logEvents")?;
    match &rows {
        None => violations.missing("logEvents"),
        Some(rows) => violations.list_length(rows, "logEvents", 1, EVENTS),
    }
    let mut events = Vec::new();
    for (at, row) in rows.iter().flatten().enumerate().take(EVENTS) {
        let path = |member: &str| format!("logEvents.{}.member.{member}", at + 1);
        let (timestamp, message) = (row.integer("timestamp")?, row.string("message")?);
        match timestamp {
            None => violations.missing(&path("timestamp")),
            Some(negative) if negative < 0 => {
                violations.add(
                    negative,
                    &path("timestamp"),
                    "Member must have value greater than or equal to 0",
                );
            }
            Some(_) => {}
        }
        match &message {
            None => violations.missing(&path("message")),
            Some(text) if text.is_empty() => {
                violations.add("", &path("message"), "Member must have length greater than or equal to 1");
            }
            Some(_) => {}
        }
        events.push((Timestamp(timestamp.unwrap_or_default()), message.unwrap_or_default()));
    }
    finish(violations)?;
    let bytes: usize = events.iter().map(|(_, message)| message.len() + EVENT_OVERHEAD_BYTES).sum();
    if bytes > BATCH_BYTES {
        return Err(invalid(format!("Upload too large: {bytes} bytes exceeds limit of {BATCH_BYTES}")));
    }
    if !events.is_sorted_by_key(|(timestamp, _)| *timestamp) {
        return Err(invalid("Log events in a single PutLogEvents request must be in chronological order."));
    }
    let retention_days =
        state.logs.group(&context.scope, &group).await.map_err(failed)?.settings.retention_days;
    let sorted = sort_out(&events, state.now(), retention_days);
    let accepted = events.drain(sorted.accepted.clone()).collect::<Vec<_>>();
    if let (Some((first, _)), Some((last, _))) = (accepted.first(), accepted.last())
        && last.0 - first.0 > DAY_MS
    {
        return Err(invalid(
            "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.",
        ));
    }
    if !state.logs.put(&context.scope, &group, &stream, accepted).await.map_err(failed)? {
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "ThrottlingException", "Rate exceeded"));
    }
    let mut answer = Map::new();
    let sequence = state.logs.last_sequence(&context.scope, &group).await.map_err(failed)?;
    answer.insert(
        "nextSequenceToken".to_owned(),
        format!("{sequence:0width$}", width = SEQUENCE_TOKEN_DIGITS).into(),
    );
    if !sorted.rejected.is_empty() {
        answer.insert("rejectedLogEventsInfo".to_owned(), Value::Object(sorted.rejected));
    }
    Ok(Value::Object(answer))
}

/// Which events of a batch are taken, and what is said of the others.
struct Sorted {
    accepted: std::ops::Range<usize>,
    rejected: Map<String, Value>,
}

/// Events are in order of time. Ends are exclusive, the start is inclusive. Source: API reference, RejectedLogEventsInfo.
fn sort_out(events: &[(Timestamp, String)], now: Timestamp, retention_days: Option<u32>) -> Sorted {
    let before = |moment: i64| events.partition_point(|(timestamp, _)| timestamp.0 < moment);
    let too_old = before(now.0.saturating_sub(AGE_MS));
    let expired = retention_days.map_or(0, |days| before(now.0.saturating_sub(i64::from(days) * DAY_MS)));
    let too_new = before(now.0.saturating_add(AHEAD_MS).saturating_add(1));
    let mut rejected = Map::new();
    if too_new < events.len() {
        rejected.insert("tooNewLogEventStartIndex".to_owned(), json!(too_new));
    }
    if too_old > 0 {
        rejected.insert("tooOldLogEventEndIndex".to_owned(), json!(too_old));
    }
    if expired > too_old {
        rejected.insert("expiredLogEventEndIndex".to_owned(), json!(expired));
    }
    Sorted { accepted: too_old.max(expired).min(too_new)..too_new, rejected }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        ages_hours: &[i64],
        retention_days: Option<u32>,
        accepted: std::ops::Range<usize>,
        rejected: Value,
    ) {
        let now = 1_769_817_600_000;
        let events: Vec<_> =
            ages_hours.iter().map(|age| (Timestamp(now - age * HOUR_MS), String::new())).collect();
        let sorted = sort_out(&events, Timestamp(now), retention_days);
        assert_eq!((sorted.accepted, Value::Object(sorted.rejected)), (accepted, rejected), "{ages_hours:?}");
    }

    #[test]
    fn too_old_expired_and_too_new_events_are_told_apart() {
        check(&[3, 2, 1, 0, -1, -2], None, 0..6, json!({}));
        check(&[1, -3, -4], None, 0..1, json!({"tooNewLogEventStartIndex": 1}));
        check(&[15 * 24, 13 * 24, 0], None, 1..3, json!({"tooOldLogEventEndIndex": 1}));
        check(
            &[15 * 24, 13 * 24, 0],
            Some(1),
            2..3,
            json!({"tooOldLogEventEndIndex": 1, "expiredLogEventEndIndex": 2}),
        );
        check(&[13 * 24, 0], Some(30), 0..2, json!({}));
        check(&[-3], None, 0..0, json!({"tooNewLogEventStartIndex": 0}));
        check(&[400], Some(30), 1..1, json!({"tooOldLogEventEndIndex": 1}));
    }
}
