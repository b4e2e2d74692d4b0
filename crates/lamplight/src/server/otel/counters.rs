//! Counters of functions as OTLP metrics: cumulative since the server began.
//!
//! Source: semantic conventions for FaaS metrics; what they have no name for begins with `lamplight.`.

use super::{nanoseconds, text};
use lamplight_invoke::metrics::DURATION_BOUNDS_MS;
use lamplight_invoke::workers::InstanceCounts;
use lamplight_invoke::{FunctionMetrics, MetricsSnapshot};
use lamplight_model::Timestamp;
use lamplight_services::metrics::Totals;
use serde_json::{Value, json};

const CUMULATIVE: u32 = 2;

type Counter = (&'static str, &'static str, fn(&FunctionMetrics) -> u64);
const COUNTERS: [Counter; 8] = [
    ("faas.invocations", "{invocation}", |row| row.invocations.saturating_sub(row.errors)),
    ("faas.errors", "{error}", |row| row.errors),
    ("faas.timeouts", "{timeout}", |row| row.timeouts),
    ("faas.coldstarts", "{coldstart}", |row| row.invocations.saturating_sub(row.starts_warm)),
    ("lamplight.throttles", "{call}", |row| row.throttles),
    ("lamplight.events.accepted", "{event}", |row| row.events_accepted),
    ("lamplight.events.dropped", "{event}", |row| row.dead_letters),
    ("lamplight.billed_duration", "ms", |row| row.billed_ms),
];

/// One metric for each counter, with a point for each function.
pub(super) fn rows(
    metrics: &MetricsSnapshot,
    instances: &InstanceCounts,
    totals: &Totals,
    began: Timestamp,
    now: Timestamp,
) -> Vec<Value> {
    let (start, time) = (nanoseconds(began, 0), nanoseconds(now, 0));
    let points = |point: &dyn Fn(&FunctionMetrics) -> Value| -> Vec<Value> {
        metrics
            .functions
            .iter()
            .map(|row| {
                let mut point = point(&row.metrics);
                point["startTimeUnixNano"] = start.as_str().into();
                point["timeUnixNano"] = time.as_str().into();
                point["attributes"] = json!([
                    text("faas.name", &row.function),
                    text("cloud.account.id", row.scope.account.as_str()),
                    text("cloud.region", row.scope.region.as_str()),
                ]);
                point
            })
            .collect()
    };
    let mut found: Vec<Value> = COUNTERS
        .iter()
        .map(|(name, unit, count)| {
            let points = points(&|row| json!({"asInt": count(row).to_string()}));
            let sum =
                json!({"aggregationTemporality": CUMULATIVE, "isMonotonic": true, "dataPoints": points});
            json!({"name": name, "unit": unit, "sum": sum})
        })
        .collect();
    let bounds: Vec<f64> = DURATION_BOUNDS_MS.iter().map(|bound| *bound as f64 / 1_000.0).collect();
    let durations = points(&|row| {
        let counts: Vec<String> = row.duration_counts.iter().map(u64::to_string).collect();
        json!({
            "count": row.invocations.to_string(),
            "sum": row.duration_us as f64 / 1e6,
            "bucketCounts": counts,
            "explicitBounds": bounds,
        })
    });
    let histogram = json!({"aggregationTemporality": CUMULATIVE, "dataPoints": durations});
    found.push(json!({"name": "faas.invoke_duration", "unit": "s", "histogram": histogram}));
    // Of function URLs and APIs, under the names that CloudWatch has for them.
    for ((namespace, name), total) in totals {
        let point = json!({
            "startTimeUnixNano": start,
            "timeUnixNano": time,
            "asDouble": total.sum,
            "attributes": [text("aws.cloudwatch.namespace", namespace)],
        });
        let sum = json!({"aggregationTemporality": CUMULATIVE, "isMonotonic": true, "dataPoints": [point]});
        found.push(json!({"name": format!("lamplight.gateway.{name}"), "sum": sum}));
    }
    for (name, unit, value) in [
        ("lamplight.concurrency", "{invocation}", metrics.concurrent),
        ("lamplight.instances.running", "{instance}", instances.phases.running),
        ("lamplight.instances.idle", "{instance}", instances.phases.idle),
    ] {
        let points = json!([{"timeUnixNano": time, "asInt": value.to_string()}]);
        found.push(json!({"name": name, "unit": unit, "gauge": {"dataPoints": points}}));
    }
    found
}
