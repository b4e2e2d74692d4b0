//! StartLiveTail: what is written to groups from now on, once a second, in event-stream frames.
//!
//! ```text
//! initial-response   sessionStart   sessionUpdate (every second, perhaps without events)*   SessionTimeoutException
//! ```
//!
//! Source: API reference, "StartLiveTail"; the AWS event stream encoding. Nothing is buffered for a client that reads slowly:
//! its next update begins where its last one ended, and what does not fit into one is left out and said to be (`sampled`).

use super::{failed, invalid, limit_exceeded, name_of_group, pattern, shown};
use crate::http::{ApiError, Context, Members, Response, reply};
use crate::lambda::stream::frame;
use crate::lambda::validation::Violations;
use crate::state::ApiState;
use ::http::StatusCode;
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use lamplight_invoke::Invoker;
use lamplight_model::{FilterPattern, Scope};
use lamplight_store::{LogQuery, Logs, StoreError};
use serde_json::{Value, json};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Interval, MissedTickBehavior};

/// Sessions at once. Source: CloudWatch Logs quotas, "Live Tail sessions".
pub const SESSIONS: usize = 15;
/// Groups of one session.
const GROUPS: usize = 10;
/// Stream names, or prefixes, of one session.
const STREAMS: usize = 100;
/// Events of one update.
const EVENTS: usize = 500;
/// Events of one group looked at for one update.
const SCANNED_EVENTS: usize = 10_000;
const BETWEEN_UPDATES: Duration = Duration::from_secs(1);
const SESSION: Duration = Duration::from_secs(3 * 3_600);

/// A group and how far it was told.
struct Place {
    group: String,
    told: u64,
}

struct Session {
    logs: Arc<dyn Logs>,
    invoker: Arc<Invoker>,
    scope: Scope,
    places: Vec<Place>,
    streams: Vec<String>,
    prefixes: Vec<String>,
    pattern: FilterPattern,
    updates: Interval,
    ends_at: Instant,
    _permit: OwnedSemaphorePermit,
}

enum Stage {
    /// These frames are next.
    Begin(Bytes),
    Updates,
    Over,
}

/// StartLiveTail.
pub async fn start(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Response, ApiError> {
    let identifiers = members.strings("logGroupIdentifiers")?;
    let streams = members.strings("logStreamNames")?;
    let prefixes = members.strings("logStreamNamePrefixes")?;
    let text = members.string("logEventFilterPattern")?;
    let mut violations = Violations::default();
    match &identifiers {
        None => violations.missing("logGroupIdentifiers"),
        Some(list) => violations.list_length(list, "logGroupIdentifiers", 1, GROUPS),
    }
    for (member, list) in [("logStreamNames", &streams), ("logStreamNamePrefixes", &prefixes)] {
        if let Some(list) = list {
            violations.list_length(list, member, 1, STREAMS);
        }
    }
    super::validation::finish(violations)?;
    let identifiers = identifiers.unwrap_or_default();
    // Source: API reference, "logStreamNames". AWS's words are not known.
    if streams.is_some() && prefixes.is_some() {
        return Err(invalid("logStreamNames and logStreamNamePrefixes are mutually exclusive."));
    }
    if identifiers.len() > 1 && (streams.is_some() || prefixes.is_some()) {
        return Err(invalid("Log streams can be named for a single log group only."));
    }
    if let Some(name) = identifiers.iter().find(|one| !one.starts_with("arn:")) {
        return Err(invalid(format!("logGroupIdentifiers takes ARNs of log groups, and '{name}' is none.")));
    }
    let pattern = pattern(text.as_deref().unwrap_or_default())?;
    super::settle(state).await;
    let mut places = Vec::new();
    for identifier in &identifiers {
        let group = name_of_group(identifier).to_owned();
        let told = state.logs.last_sequence(&context.scope, &group).await.map_err(failed)?;
        places.push(Place { group, told });
    }
    let permit = Arc::clone(&state.live_tails).try_acquire_owned().map_err(|_| {
        limit_exceeded(format!("No more than {SESSIONS} live tail sessions are possible at once."))
    })?;
    let begin = json!({
        "requestId": context.request_id.to_string(),
        "sessionId": uuid::Uuid::new_v4().to_string(),
        "logGroupIdentifiers": identifiers,
        "logStreamNames": streams.clone().unwrap_or_default(),
        "logStreamNamePrefixes": prefixes.clone().unwrap_or_default(),
        "logEventFilterPattern": text.unwrap_or_default(),
    });
    let mut frames = event("initial-response", &json!({}))?.to_vec();
    frames.extend_from_slice(&event("sessionStart", &begin)?);
    let mut updates = tokio::time::interval_at(Instant::now() + BETWEEN_UPDATES, BETWEEN_UPDATES);
    updates.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let session = Session {
        logs: Arc::clone(&state.logs),
        invoker: Arc::clone(&state.invoker),
        scope: context.scope.clone(),
        places,
        streams: streams.unwrap_or_default(),
        prefixes: prefixes.unwrap_or_default(),
        pattern,
        updates,
        ends_at: Instant::now() + SESSION,
        _permit: permit,
    };
    let frames = stream::unfold((session, Stage::Begin(frames.into())), next_frame);
    Ok(reply::with_body(StatusCode::OK, "application/vnd.amazon.eventstream", Body::from_stream(frames)))
}

fn event(name: &'static str, body: &Value) -> Result<Bytes, ApiError> {
    frame("event", name, "application/json", body.to_string().into())
        .map_err(|error| ApiError::from(StoreError::io("failed to write a frame", error)))
}

/// One frame, made when the client has room for it.
async fn next_frame((mut session, stage): (Session, Stage)) -> Option<(io::Result<Bytes>, (Session, Stage))> {
    match stage {
        Stage::Begin(frames) => return Some((Ok(frames), (session, Stage::Updates))),
        Stage::Updates => {}
        Stage::Over => return None,
    }
    session.updates.tick().await;
    if session.invoker.is_draining() {
        return None;
    }
    let exception = |name, message: &str| {
        frame("exception", name, "application/json", json!({"message": message}).to_string().into())
    };
    if Instant::now() >= session.ends_at {
        let last =
            exception("SessionTimeoutException", "The session has reached its longest time, three hours.");
        return Some((last, (session, Stage::Over)));
    }
    let told = session.update().await;
    Some(match told {
        Ok(update) => {
            let frame = frame("event", "sessionUpdate", "application/json", update.to_string().into());
            (frame, (session, Stage::Updates))
        }
        Err(error) => {
            tracing::warn!(%error, "failed to read the logs of a live tail");
            (exception("SessionStreamingException", "The logs could not be read."), (session, Stage::Over))
        }
    })
}

impl Session {
    async fn update(&mut self) -> Result<Value, StoreError> {
        let (mut found, mut sampled) = (Vec::new(), false);
        for place in &mut self.places {
            let newest = match self.logs.last_sequence(&self.scope, &place.group).await {
                Ok(newest) => newest,
                // It was deleted, and may come back: its numbers begin again then.
                Err(StoreError::NotFound(_)) => {
                    place.told = 0;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if newest == place.told {
                continue;
            }
            let after = if newest < place.told { 0 } else { place.told };
            let query = LogQuery {
                streams: self.streams.clone(),
                after_sequence: Some(after),
                limit: SCANNED_EVENTS,
                ..LogQuery::default()
            };
            let events = self.logs.events(&self.scope, &place.group, query).await?;
            // What comes after the events that were looked at waits for nobody.
            sampled |= events.len() == SCANNED_EVENTS;
            place.told = newest.max(events.last().map_or(0, |event| event.sequence));
            let identifier = format!("{}:{}", self.scope.account.as_str(), place.group);
            for event in events {
                let of_stream = self.prefixes.is_empty()
                    || self.prefixes.iter().any(|prefix| event.stream.starts_with(prefix.as_str()));
                if !of_stream || !self.pattern.matches(shown(&event.message)) {
                    continue;
                }
                if found.len() == EVENTS {
                    sampled = true;
                    break;
                }
                found.push(json!({
                    "logStreamName": event.stream,
                    "logGroupIdentifier": identifier,
                    "message": shown(&event.message),
                    "timestamp": event.timestamp.as_millis(),
                    "ingestionTime": event.ingested_at.as_millis(),
                }));
            }
        }
        Ok(json!({"sessionMetadata": {"sampled": sampled}, "sessionResults": found}))
    }
}
