//! A mapping as clients see it.
//!
//! Source: answers recorded from the service for queues: they hold no member of streams, and no `LastProcessingResult` while
//! all goes well.

use lamplight_model::{EventSourceMapping, Scope};
use serde_json::{Map, Value, json};

/// The members of an answer.
pub fn mapping(scope: &Scope, mapping: &EventSourceMapping, last_result: Option<String>) -> Value {
    let mut shown = Map::new();
    let mut set =
        |name: &str, value: Option<Value>| shown.extend(value.map(|value| (name.to_owned(), value)));
    let arn = scope.arn("lambda", &format!("event-source-mapping:{}", mapping.uuid));
    let filters: Vec<Value> = mapping.filters.iter().map(|pattern| json!({ "Pattern": pattern })).collect();
    set("UUID", Some(mapping.uuid.clone().into()));
    set("BatchSize", Some(mapping.batch_size.into()));
    set("MaximumBatchingWindowInSeconds", Some(mapping.maximum_batching_window_in_seconds.into()));
    set("EventSourceArn", Some(mapping.event_source_arn.clone().into()));
    set("FilterCriteria", (!filters.is_empty()).then(|| json!({ "Filters": filters })));
    set("KMSKeyArn", mapping.kms_key_arn.clone().map(Value::from));
    set("MetricsConfig", mapping.metrics.as_ref().map(|metrics| json!({ "Metrics": metrics })));
    let concurrency = mapping.maximum_concurrency;
    set("ScalingConfig", concurrency.map(|concurrency| json!({ "MaximumConcurrency": concurrency })));
    set("ProvisionedPollerConfig", mapping.provisioned_pollers.as_ref().map(|pollers| json!(pollers)));
    set("FunctionArn", Some(mapping.function_arn.clone().into()));
    set("LastModified", Some((mapping.last_modified.as_millis() as f64 / 1_000.0).into()));
    set("LastProcessingResult", last_result.map(Value::from));
    set("State", Some(mapping.state.name().into()));
    set("StateTransitionReason", Some("USER_INITIATED".into()));
    set("FunctionResponseTypes", Some(json!(mapping.function_response_types)));
    set("EventSourceMappingArn", Some(arn.into()));
    shown.into()
}
