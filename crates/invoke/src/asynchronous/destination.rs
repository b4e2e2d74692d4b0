//! The record that a destination gets when an event has ended. Pure.
//!
//! Source: Lambda developer guide, "Capturing records of asynchronous invocations", and records of the service: members
//! that have nothing to say are absent, `responseContext` and `responsePayload` when the function did not run.

use crate::asynchronous::options::{EventInvokeOptions, FunctionDestination};
use bytes::Bytes;
use lamplight_model::limits::ASYNC_PAYLOAD_BYTES;
use lamplight_model::name::function_arn;
use lamplight_model::{Qualifier, RequestId, Timestamp, VersionNumber, lineage};
use lamplight_store::{QueuedEvent, Release};
use serde::Serialize;
use serde_json::value::RawValue;

/// `condition` of an event whose function returned.
pub(crate) const SUCCESS: &str = "Success";

/// What the function answered at the last attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The version that ran.
    pub executed_version: VersionNumber,
    /// Whether it failed.
    pub is_error: bool,
    /// The answer or the error document. `None` when it is larger than any record can be.
    pub payload: Option<Bytes>,
}

/// Where the record of an event that ends so goes; `None` when it does not end, or nobody wants to know.
pub fn wanted<'a>(options: &'a EventInvokeOptions, release: &Release) -> Option<&'a str> {
    match release {
        Release::Done => options.on_success.as_deref(),
        Release::DeadLetter { .. } => options.on_failure.as_deref(),
        Release::Retry { .. } => None,
    }
}

/// The asynchronous invocation that delivers the record of `event`, which ended at `now` with `release` after
/// `response`.
pub fn delivery(
    to: FunctionDestination,
    event: &QueuedEvent,
    release: &Release,
    response: Option<&Response>,
    request_id: RequestId,
    now: Timestamp,
) -> QueuedEvent {
    QueuedEvent {
        request_id,
        scope: to.scope,
        function: to.function,
        qualifier: to.qualifier,
        payload: bounded_record(event, release, response, now).into(),
        client_context: None,
        trace_header: handed_on(event),
        tenant_id: None,
        accepted_at: now,
        attempts: 0,
        not_before: now,
    }
}

/// The trace header of whoever is told of an event: the chain of requests has passed its function.
pub fn handed_on(event: &QueuedEvent) -> Option<String> {
    let header = event.trace_header.as_deref()?;
    Some(lineage::continued(header, &event.scope, &event.function).header)
}

/// The record; one that no function could be invoked with goes without the payloads.
pub fn bounded_record(
    event: &QueuedEvent,
    release: &Release,
    response: Option<&Response>,
    now: Timestamp,
) -> Vec<u8> {
    let whole = record(event, release, response, true, now);
    if whole.len() <= ASYNC_PAYLOAD_BYTES { whole } else { record(event, release, response, false, now) }
}

fn record(
    event: &QueuedEvent,
    release: &Release,
    response: Option<&Response>,
    with_payloads: bool,
    now: Timestamp,
) -> Vec<u8> {
    let qualifier = event.qualifier.clone().unwrap_or(Qualifier::Latest);
    let record = Record {
        version: "1.0",
        timestamp: now.iso_format(),
        request_context: RequestContext {
            request_id: event.request_id,
            function_arn: function_arn(&event.scope, &event.function, Some(&qualifier)),
            condition: match release {
                Release::DeadLetter { condition, .. } => condition,
                Release::Done | Release::Retry { .. } => SUCCESS,
            },
            // Attempts that counted before, and the last one if there was one.
            approximate_invoke_count: event.attempts + u32::from(response.is_some()),
        },
        request_payload: with_payloads.then(|| Payload::of(&event.payload)),
        response_context: response.map(|response| ResponseContext {
            status_code: 200,
            executed_version: response.executed_version.to_string(),
            function_error: response.is_error.then_some("Unhandled"),
        }),
        response_payload: response
            .and_then(|response| response.payload.as_ref())
            .filter(|_| with_payloads)
            .map(|payload| Payload::of(payload)),
    };
    serde_json::to_vec(&record).unwrap_or_default()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    version: &'static str,
    timestamp: String,
    request_context: RequestContext<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_payload: Option<Payload>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_context: Option<ResponseContext>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_payload: Option<Payload>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext<'a> {
    request_id: RequestId,
    function_arn: String,
    condition: &'a str,
    approximate_invoke_count: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResponseContext {
    status_code: u16,
    executed_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_error: Option<&'static str>,
}

/// JSON as it came, to the last digit of its numbers; anything else as text.
#[derive(Serialize)]
#[serde(untagged)]
enum Payload {
    Json(Box<RawValue>),
    Text(String),
}

impl Payload {
    fn of(bytes: &[u8]) -> Self {
        match serde_json::from_slice(bytes) {
            Ok(json) => Self::Json(json),
            Err(_) => Self::Text(String::from_utf8_lossy(bytes).into_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplight_model::{FunctionName, Scope};
    use serde_json::{Value, json};

    const NOW: Timestamp = Timestamp(1_700_000_000_123);

    fn event(payload: &'static [u8], attempts: u32) -> QueuedEvent {
        QueuedEvent {
            request_id: RequestId(uuid::Uuid::nil()),
            scope: Scope::default(),
            function: FunctionName::parse("hello").unwrap(),
            qualifier: None,
            payload: Bytes::from_static(payload),
            client_context: None,
            trace_header: Some("Root=1-2-3".to_owned()),
            tenant_id: None,
            accepted_at: Timestamp(0),
            attempts,
            not_before: Timestamp(0),
        }
    }

    fn check(event: &QueuedEvent, release: &Release, response: Option<Response>, expected: &Value) {
        let to =
            FunctionDestination::parse("arn:aws:lambda:us-east-1:000000000000:function:sink:live").unwrap();
        let delivery = delivery(to, event, release, response.as_ref(), RequestId(uuid::Uuid::max()), NOW);
        assert_eq!(
            (delivery.function.as_str(), delivery.qualifier),
            ("sink", Some(Qualifier::Alias("live".into())))
        );
        let header = delivery.trace_header.unwrap();
        assert_eq!((delivery.not_before, lineage::without(&header).as_str()), (NOW, "Root=1-2-3"));
        assert_ne!(header, "Root=1-2-3", "the chain goes on");
        let mut got: Value = serde_json::from_slice(&delivery.payload).unwrap();
        for (name, value) in [("version", "1.0"), ("timestamp", "2023-11-14T22:13:20.123Z")] {
            assert_eq!(got.as_object_mut().unwrap().remove(name), Some(value.into()));
        }
        assert_eq!(got["requestContext"]["requestId"], "00000000-0000-0000-0000-000000000000");
        got["requestContext"].as_object_mut().unwrap().remove("requestId");
        assert_eq!(&got, expected);
    }

    fn response(payload: &'static [u8], is_error: bool) -> Option<Response> {
        let payload = Some(Bytes::from_static(payload));
        Some(Response { executed_version: VersionNumber::Latest, is_error, payload })
    }

    fn dead(condition: &str) -> Release {
        Release::DeadLetter { condition: condition.to_owned(), error: "{}".to_owned() }
    }

    const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:hello:$LATEST";

    #[test]
    fn records_of_success_failure_and_age() {
        check(
            &event(br#"{"n":1}"#, 0),
            &Release::Done,
            response(b"[2]", false),
            &json!({
                "requestContext": {"functionArn": ARN, "condition": "Success", "approximateInvokeCount": 1},
                "requestPayload": {"n": 1},
                "responseContext": {"statusCode": 200, "executedVersion": "$LATEST"},
                "responsePayload": [2],
            }),
        );
        check(
            &event(b"{}", 2),
            &dead("RetriesExhausted"),
            response(b"not JSON", true),
            &json!({
                "requestContext": {"functionArn": ARN, "condition": "RetriesExhausted", "approximateInvokeCount": 3},
                "requestPayload": {},
                "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
                "responsePayload": "not JSON",
            }),
        );
        check(
            &event(b"{}", 1),
            &dead("EventAgeExceeded"),
            None,
            &json!({
                "requestContext": {"functionArn": ARN, "condition": "EventAgeExceeded", "approximateInvokeCount": 1},
                "requestPayload": {},
            }),
        );
    }

    #[test]
    fn a_record_too_large_to_invoke_with_has_no_payloads() {
        let mut event = event(b"", 0);
        event.payload = Bytes::from(format!("\"{}\"", "x".repeat(ASYNC_PAYLOAD_BYTES - 2)));
        check(
            &event,
            &Release::Done,
            response(b"[2]", false),
            &json!({
                "requestContext": {"functionArn": ARN, "condition": "Success", "approximateInvokeCount": 1},
                "responseContext": {"statusCode": 200, "executedVersion": "$LATEST"},
            }),
        );
    }

    #[test]
    fn who_is_told_of_what() {
        let options = EventInvokeOptions {
            on_success: Some("s".to_owned()),
            on_failure: Some("f".to_owned()),
            ..EventInvokeOptions::default()
        };
        let again = Release::Retry { not_before: NOW, counted: true };
        assert_eq!(wanted(&options, &Release::Done), Some("s"));
        assert_eq!(wanted(&options, &dead("RetriesExhausted")), Some("f"));
        assert_eq!(wanted(&options, &again), None);
        assert_eq!(wanted(&EventInvokeOptions::default(), &Release::Done), None);
    }
}
