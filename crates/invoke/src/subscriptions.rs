//! Log subscriptions: what is written to a group and fits a filter's pattern becomes events of a function.
//!
//! ```text
//! Logs::watch -> each filter whose group went on: read after its place -> match -> one event per stream -> Invoker::enqueue
//!                                                                                         `-> then its place is stored
//! ```
//!
//! The log itself is the buffer, so nothing is lost across kill -9: events are enqueued durably before the place moves, and
//! some may come twice, as on AWS. What a filter has not been given when the group's retention takes it is gone.
//! Source: CloudWatch Logs guide, "Log group-level subscription filters".

use crate::invoker::{ErrorChain, Invoker, service_error};
use crate::request::InvokeRequest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use lamplight_model::{ErrorCode, FilterPattern, FunctionReference, RequestId, Scope, ServiceError};
use lamplight_store::{Document, Expect, LogEvent, LogQuery, Logs, Store, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Kind of the documents that hold filters; their keys are `<group>:<filter>`, neither of which contains a colon.
pub const KIND: &str = "logs/subscription-filter";
/// Kind of the documents that hold how far each filter has come, under the same keys.
const PLACE_KIND: &str = "logs/subscription-place";
/// How long lines gather before they are sent on.
const GATHER: Duration = Duration::from_millis(200);
/// After a failure.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Events of a group looked at at once.
const READ_EVENTS: usize = 2_000;
/// Bytes of the messages of one delivery: compressed badly and in base64 it is still below the 1 MiB of an event.
const BATCH_BYTES: usize = 512 * 1024;
/// Filters of all groups looked at in one list.
const LISTED_FILTERS: usize = 1_000;
/// Events without a match after which a place is stored all the same, so that little is read again after a crash.
const UNSTORED_EVENTS: u64 = 50_000;

/// A filter as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SubscriptionFilter {
    /// Its group.
    pub log_group_name: String,
    /// Its name, unique in the group.
    pub filter_name: String,
    /// Which events it wants.
    pub filter_pattern: String,
    /// ARN of the function, perhaps qualified.
    pub destination_arn: String,
    /// Kept for those who read it; the function needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// `ByLogStream` or `Random`; deliveries are by stream always.
    pub distribution: String,
    /// Milliseconds since the epoch; stays when the filter is replaced.
    pub creation_time: i64,
    /// The group's newest event when the filter was made: it gets what comes after.
    pub after_sequence: u64,
}

impl SubscriptionFilter {
    fn key(group: &str, name: &str) -> String {
        format!("{group}:{name}")
    }

    /// As it is stored. Fails when it cannot be written as JSON, which no such filter does.
    pub fn document(&self) -> Result<Document, ServiceError> {
        let key = Self::key(&self.log_group_name, &self.filter_name);
        let value = serde_json::to_value(self).map_err(|error| {
            ServiceError::internal(format!("failed to write a subscription filter: {error}"))
        })?;
        Ok(Document { key, value })
    }
}

/// How far a filter has come. Of a filter deleted and made again, an older place says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Place {
    creation_time: i64,
    sequence: u64,
}

/// The filters of one group in name order.
pub async fn of_group(
    store: &dyn Store,
    scope: &Scope,
    group: &str,
) -> Result<Vec<SubscriptionFilter>, StoreError> {
    let prefix = SubscriptionFilter::key(group, "");
    let found = store.list_documents(scope, KIND, Some(&prefix), LISTED_FILTERS).await?;
    let of_group = found.into_iter().take_while(|document| document.key.starts_with(&prefix));
    of_group
        .map(|document| {
            serde_json::from_value(document.value)
                .map_err(|error| StoreError::failed(format!("failed to read filter {}", document.key), error))
        })
        .collect()
}

/// Deletes a filter and its place. `false` when there is none.
pub async fn delete(store: &dyn Store, scope: &Scope, group: &str, name: &str) -> Result<bool, StoreError> {
    let key = SubscriptionFilter::key(group, name);
    let deleted = store.delete_document(scope, KIND, &key).await?;
    store.delete_document(scope, PLACE_KIND, &key).await?;
    Ok(deleted)
}

/// Delivers until `stop`.
pub async fn deliver(
    store: Arc<dyn Store>,
    logs: Arc<dyn Logs>,
    invoker: Arc<Invoker>,
    stop: CancellationToken,
) {
    let mut written = logs.watch();
    let mut delivery = Delivery { store, logs, invoker, places: HashMap::new() };
    loop {
        written.mark_unchanged();
        let next = delivery.round().await;
        let pause = async {
            match next {
                Next::AtOnce => {}
                Next::Later => tokio::time::sleep(RETRY_DELAY).await,
                Next::WhenWritten => {
                    if written.changed().await.is_err() {
                        // The logs are closed: only the stop is left.
                        std::future::pending::<()>().await;
                    }
                    tokio::time::sleep(GATHER).await;
                }
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = pause => {}
        }
    }
}

/// When to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    WhenWritten,
    AtOnce,
    /// A failure slows all down, so that it is not told many times a second.
    Later,
}

/// A filter that was made at this moment.
type PlaceKey = (Scope, String, i64);

struct Delivery {
    store: Arc<dyn Store>,
    logs: Arc<dyn Logs>,
    invoker: Arc<Invoker>,
    /// How far each filter has come, and what of that is stored.
    places: HashMap<PlaceKey, Told>,
}

#[derive(Debug, Clone, Copy)]
struct Told {
    sequence: u64,
    stored: u64,
}

impl Delivery {
    async fn round(&mut self) -> Next {
        let filters = match self.store.documents_in_all_scopes(KIND).await {
            Ok(filters) => filters,
            Err(error) => {
                tracing::warn!(error = %ErrorChain(&error), "failed to read the subscription filters");
                return Next::Later;
            }
        };
        let mut next = Next::WhenWritten;
        let mut known = Vec::with_capacity(filters.len());
        for (scope, document) in filters {
            let filter: SubscriptionFilter = match serde_json::from_value(document.value) {
                Ok(filter) => filter,
                Err(error) => {
                    tracing::warn!(%error, filter = document.key, "failed to read a subscription filter");
                    continue;
                }
            };
            let key = (scope, document.key, filter.creation_time);
            match self.advance(&key, &filter).await {
                Ok(more) => next = next.max(if more { Next::AtOnce } else { Next::WhenWritten }),
                Err(error) => {
                    tracing::warn!(%error, filter = key.1, "failed to deliver log events; will try again");
                    next = next.max(Next::Later);
                }
            }
            known.push(key);
        }
        self.places.retain(|key, _| known.contains(key));
        next
    }

    /// Delivers the next events of one filter. `true` when there are more.
    async fn advance(&mut self, key: &PlaceKey, filter: &SubscriptionFilter) -> Result<bool, ServiceError> {
        let failed = |error: StoreError| service_error("deliver log events", &error);
        let (scope, group) = (&key.0, filter.log_group_name.as_str());
        let newest = match self.logs.last_sequence(scope, group).await {
            Ok(newest) => newest,
            Err(StoreError::NotFound(_)) => return Ok(false),
            Err(error) => return Err(failed(error)),
        };
        let mut told = match self.places.get(key) {
            Some(told) => *told,
            None => {
                let sequence = self.stored_place(key).await.map_err(failed)?.unwrap_or(filter.after_sequence);
                Told { sequence, stored: sequence }
            }
        };
        // A power loss took the end of the log: its numbers are given again.
        told.sequence = told.sequence.min(newest);
        if told.sequence == newest {
            self.places.insert(key.clone(), told);
            return Ok(false);
        }
        let query =
            LogQuery { after_sequence: Some(told.sequence), limit: READ_EVENTS, ..LogQuery::default() };
        let events = self.logs.events(scope, group, query).await.map_err(failed)?;
        let more = events.len() == READ_EVENTS;
        let last = match events.last() {
            Some(last) if more => last.sequence,
            // Numbers up to the newest that are not there have expired.
            last => last.map_or(newest, |last| last.sequence.max(newest)),
        };
        let pattern = FilterPattern::parse(&filter.filter_pattern)
            .map_err(|error| ServiceError::internal(error.to_string()))?;
        let wanted = events.into_iter().filter(|event| pattern.matches(shown(event))).collect();
        let batches = by_stream(wanted);
        let delivered = !batches.is_empty();
        for batch in batches {
            self.send(scope, filter, &pattern, &batch).await?;
        }
        told.sequence = last;
        if delivered || told.sequence.abs_diff(told.stored) >= UNSTORED_EVENTS {
            let place = json!(Place { creation_time: key.2, sequence: last });
            let document = Document { key: key.1.clone(), value: place };
            self.store.put_document(scope, PLACE_KIND, document, Expect::Anything).await.map_err(failed)?;
            told.stored = last;
        }
        self.places.insert(key.clone(), told);
        Ok(more)
    }

    async fn stored_place(&self, key: &PlaceKey) -> Result<Option<u64>, StoreError> {
        let document = self.store.get_document(&key.0, PLACE_KIND, &key.1).await?;
        let place = document.and_then(|document| serde_json::from_value::<Place>(document.value).ok());
        Ok(place.filter(|place| place.creation_time == key.2).map(|place| place.sequence))
    }

    /// One event of the function. A function that is gone gets nothing, and keeps nobody waiting.
    async fn send(
        &self,
        scope: &Scope,
        filter: &SubscriptionFilter,
        pattern: &FilterPattern,
        events: &[LogEvent],
    ) -> Result<(), ServiceError> {
        let Some(function) = FunctionReference::parse(&filter.destination_arn) else {
            return Err(ServiceError::internal(format!("{} is no function", filter.destination_arn)));
        };
        let payload = payload(scope, filter, pattern, events)
            .map_err(|error| ServiceError::internal(format!("failed to compress log events: {error}")))?;
        let request = InvokeRequest::new(
            scope.clone(),
            function.name,
            function.qualifier,
            RequestId::generate(),
            payload.to_string().into(),
        );
        match self.invoker.enqueue(request).await {
            Err(error) if error.code == ErrorCode::ResourceNotFoundException => {
                tracing::warn!(
                    filter = filter.filter_name,
                    group = filter.log_group_name,
                    events = events.len(),
                    "dropped log events: the function of a subscription filter does not exist"
                );
                Ok(())
            }
            other => other,
        }
    }
}

/// A message as readers get it.
fn shown(event: &LogEvent) -> &str {
    event.message.strip_suffix('\n').unwrap_or(&event.message)
}

/// Events apart by stream, streams in order of their first events, and no more than `BATCH_BYTES` together.
fn by_stream(events: Vec<LogEvent>) -> Vec<Vec<LogEvent>> {
    let mut batches: Vec<(Vec<LogEvent>, usize)> = Vec::new();
    let mut open: HashMap<String, usize> = HashMap::new();
    for event in events {
        let bytes = event.message.len();
        let fitting = open.get(&event.stream).copied().filter(|at| batches[*at].1 + bytes <= BATCH_BYTES);
        let at = fitting.unwrap_or_else(|| {
            batches.push((Vec::new(), 0));
            open.insert(event.stream.clone(), batches.len() - 1);
            batches.len() - 1
        });
        batches[at].1 += bytes;
        batches[at].0.push(event);
    }
    batches.into_iter().map(|(events, _)| events).collect()
}

/// `{"awslogs": {"data": base64 of gzip of JSON}}`.
fn payload(
    scope: &Scope,
    filter: &SubscriptionFilter,
    pattern: &FilterPattern,
    events: &[LogEvent],
) -> std::io::Result<Value> {
    let rows: Vec<Value> = events
        .iter()
        .map(|event| {
            let mut row = Map::new();
            row.insert("id".to_owned(), event.id().into());
            row.insert("timestamp".to_owned(), event.timestamp.as_millis().into());
            row.insert("message".to_owned(), shown(event).into());
            if let Some(fields) = pattern.extracted_fields(shown(event)) {
                let fields = fields.into_iter().map(|(name, value)| (name, value.into())).collect();
                row.insert("extractedFields".to_owned(), Value::Object(fields));
            }
            Value::Object(row)
        })
        .collect();
    let document = json!({
        "messageType": "DATA_MESSAGE",
        "owner": scope.account.as_str(),
        "logGroup": filter.log_group_name,
        "logStream": events.first().map_or("", |event| event.stream.as_str()),
        "subscriptionFilters": [filter.filter_name],
        "logEvents": rows,
    });
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(document.to_string().as_bytes())?;
    Ok(json!({"awslogs": {"data": STANDARD.encode(encoder.finish()?)}}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use lamplight_model::Timestamp;
    use std::io::Read as _;

    fn event(stream: &str, sequence: u64, message: String) -> LogEvent {
        let now = Timestamp(1_769_817_600_000);
        LogEvent { stream: stream.to_owned(), timestamp: now, ingested_at: now, message, sequence }
    }

    #[test]
    fn events_are_sent_by_stream_in_order_and_bounded() {
        let long = "x".repeat(BATCH_BYTES - 1);
        let events = [("a", "1"), ("b", "2"), ("a", &long), ("a", "4"), ("b", "5")];
        let events = (1u64..).zip(events).map(|(at, (stream, text))| event(stream, at, text.to_owned()));
        let batches: Vec<Vec<u64>> = by_stream(events.collect())
            .iter()
            .map(|batch| batch.iter().map(|event| event.sequence).collect())
            .collect();
        assert_eq!(batches, [vec![1, 3], vec![2, 5], vec![4]]);
    }

    #[test]
    fn the_payload_is_what_functions_unpack() {
        let filter = SubscriptionFilter {
            log_group_name: "/g".to_owned(),
            filter_name: "f".to_owned(),
            filter_pattern: "[level, ...]".to_owned(),
            destination_arn: String::new(),
            role_arn: None,
            distribution: "ByLogStream".to_owned(),
            creation_time: 0,
            after_sequence: 0,
        };
        let pattern = FilterPattern::parse(&filter.filter_pattern).unwrap();
        let events = [event("s", 7, "ERROR it broke\n".to_owned())];
        let payload = payload(&Scope::default(), &filter, &pattern, &events).unwrap();
        let data = STANDARD.decode(payload["awslogs"]["data"].as_str().unwrap()).unwrap();
        let mut text = String::new();
        GzDecoder::new(data.as_slice()).read_to_string(&mut text).unwrap();
        let expected = json!({
            "messageType": "DATA_MESSAGE", "owner": "000000000000", "logGroup": "/g", "logStream": "s",
            "subscriptionFilters": ["f"],
            "logEvents": [{"id": events[0].id(), "timestamp": 1_769_817_600_000i64, "message": "ERROR it broke",
                           "extractedFields": {"level": "ERROR"}}],
        });
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
    }
}
