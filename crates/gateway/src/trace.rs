//! `X-Amzn-Trace-Id`: handed on to the function, and told to the client.

use crate::event::v2::TRACE_ID;
use http::{HeaderMap, HeaderValue};
use lamplight_model::Timestamp;

/// What a request brought, or a trace of its own; not sampled, there is nobody to send it to.
///
/// Source: X-Ray developer guide, "Tracing header".
pub fn of(headers: &HeaderMap, now: Timestamp) -> String {
    if let Some(brought) = headers.get(TRACE_ID).and_then(|value| value.to_str().ok()) {
        return brought.to_owned();
    }
    let random = uuid::Uuid::new_v4().simple().to_string();
    let parent = uuid::Uuid::new_v4().simple().to_string();
    format!("Root=1-{:08x}-{};Parent={};Sampled=0", now.as_millis() / 1_000, &random[..24], &parent[..16])
}

/// Tells the client.
pub fn tell(headers: &mut HeaderMap, trace_header: &str) {
    if let Ok(value) = HeaderValue::from_str(trace_header) {
        headers.insert(TRACE_ID, value);
    }
}
