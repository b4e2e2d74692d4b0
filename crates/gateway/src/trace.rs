//! `X-Amzn-Trace-Id`: handed on to the function, and told to the client.

use crate::event::v2::TRACE_ID;
use http::{HeaderMap, HeaderValue};
use lamplight_model::{Timestamp, lineage};

/// What a request brought, but for the lineage: who comes from outside begins a chain of invocations; or a trace of its own; not sampled, there is nobody to send it to.
///
/// Source: X-Ray developer guide, "Tracing header".
pub fn of(headers: &HeaderMap, now: Timestamp) -> String {
    if let Some(brought) = headers.get(TRACE_ID).and_then(|value| value.to_str().ok()) {
        return lineage::without(brought);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_handed_on_without_its_lineage() {
        let now = Timestamp(1_700_000_000_000);
        let of_header = |header: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(TRACE_ID, HeaderValue::from_static(header));
            of(&headers, now)
        };
        assert_eq!(of_header("Root=1-2-3;Parent=4;Sampled=1"), "Root=1-2-3;Parent=4;Sampled=1");
        assert_eq!(of_header("Root=1-2-3;Lineage=68fd508a:16;Sampled=1"), "Root=1-2-3;Sampled=1");
        assert!(of(&HeaderMap::new(), now).starts_with("Root=1-6553f100-"));
    }
}
