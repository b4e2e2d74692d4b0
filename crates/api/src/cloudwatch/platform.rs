//! The platform's own metrics, namespace `AWS/Lambda`.
//!
//! What single calls tell (Invocations, Errors, Duration, ConcurrentExecutions) is computed from the ledger when it is asked for, and
//! known as long as its records are kept. What no record tells (Throttles and what becomes of events) is counted by the funnel
//! and put into the store of metrics every few seconds, as what the gateway gathers of URLs and APIs; a kill -9 costs what was
//! counted since.
//! Source: Lambda guide, "Types of metrics for Lambda functions". Dimensions: none, FunctionName, and Resource
//! (`name` or `name:version`) beside it; calls by alias are counted for their version.

use super::series::Span;
use crate::http::{ApiError, Context};
use crate::state::ApiState;
use lamplight_invoke::{FunctionMetrics, Invoker};
use lamplight_model::{Distribution, Scope, Timestamp, VersionNumber};
use lamplight_services::metrics::{Datum, MetricName, MetricStore, NewDatum};
use lamplight_store::{Run, RunQuery, UsageQuery};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// Namespace of functions.
pub(super) const NAMESPACE: &str = "AWS/Lambda";
/// Between two rounds of the recorder.
const ROUND: Duration = Duration::from_secs(10);
/// Records of calls looked at for one series.
const RUNS: usize = 2_000_000;
/// No call runs longer; one that began before a span may run in it. Seconds. Source: Lambda quotas, "Function timeout".
const LONGEST_RUN_SECONDS: i64 = 900;

/// A metric that is made of records of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OfRuns {
    Invocations,
    Errors,
    Duration,
    Concurrency,
}

const OF_RUNS: [(&str, OfRuns); 4] = [
    ("Invocations", OfRuns::Invocations),
    ("Errors", OfRuns::Errors),
    ("Duration", OfRuns::Duration),
    ("ConcurrentExecutions", OfRuns::Concurrency),
];

/// What the funnel counts beside the records.
type Counted = (&'static str, fn(&FunctionMetrics) -> u64);
const COUNTED: [Counted; 5] = [
    ("Throttles", |row| row.throttles),
    ("AsyncEventsReceived", |row| row.events_accepted),
    ("AsyncEventsDropped", |row| row.dead_letters),
    ("RecursiveInvocationsDropped", |row| row.recursive_invocations_dropped),
    ("DestinationDeliveryFailures", |row| row.destination_delivery_failures),
];

/// The function and version that dimensions mean: none is all, `None` is nobody.
fn target(dimensions: &[(String, String)]) -> Option<(Option<&str>, Option<VersionNumber>)> {
    match dimensions {
        [] => Some((None, None)),
        [(name, function)] if name == "FunctionName" => Some((Some(function), None)),
        [(first, function), (second, resource)] if first == "FunctionName" && second == "Resource" => {
            let version = match resource.strip_prefix(function.as_str())? {
                "" => VersionNumber::Latest,
                qualified => match qualified.strip_prefix(':')? {
                    "$LATEST" => VersionNumber::Latest,
                    number => VersionNumber::Published(number.parse().ok()?),
                },
            };
            Some((Some(function), Some(version)))
        }
        _ => None,
    }
}

/// Values of a series that is made of records; `None` when it is another one.
pub(super) async fn read(
    state: &ApiState,
    context: &Context,
    metric: &MetricName,
    span: &Span,
) -> Result<Option<(Vec<Datum>, bool)>, ApiError> {
    let known = OF_RUNS.iter().find(|(name, _)| metric.namespace == NAMESPACE && *name == metric.name);
    let Some((_, kind)) = known else { return Ok(None) };
    let Some((function, version)) = target(&metric.dimensions) else { return Ok(Some((Vec::new(), true))) };
    let before = if *kind == OfRuns::Concurrency { LONGEST_RUN_SECONDS } else { 0 };
    let milliseconds = |seconds: i64| Timestamp(seconds.saturating_mul(1_000));
    let query = RunQuery {
        function: function.map(str::to_owned),
        from: milliseconds(span.from.saturating_sub(before)),
        until: milliseconds(span.until),
        limit: RUNS,
    };
    let mut runs = state.ledger.runs(&context.scope, query).await?;
    let whole = runs.len() < RUNS;
    runs.retain(|run| version.is_none_or(|version| run.version == version));
    Ok(Some((values(&runs, *kind, span.period.min(60)), whole)))
}

/// Values of each `step` (seconds).
fn values(runs: &[Run], kind: OfRuns, step: i64) -> Vec<Datum> {
    if kind == OfRuns::Concurrency {
        return concurrency(runs, step);
    }
    let mut found: BTreeMap<i64, Distribution> = BTreeMap::new();
    for run in runs {
        let value = match kind {
            OfRuns::Errors => f64::from(u8::from(run.failed)),
            OfRuns::Duration => run.duration_us as f64 / 1_000.0,
            OfRuns::Invocations | OfRuns::Concurrency => 1.0,
        };
        found.entry(step_of(run.arrived_at.0, step)).or_insert_with(Distribution::empty).add(value, 1.0);
    }
    let unit = if kind == OfRuns::Duration { "Milliseconds" } else { "Count" };
    found.into_iter().map(|(at, values)| Datum { at, unit: unit.to_owned(), values }).collect()
}

fn step_of(milliseconds: i64, step: i64) -> i64 {
    milliseconds.div_euclid(1_000 * step) * step
}

/// The most runs at once in each step in which one began or ran.
fn concurrency(runs: &[Run], step: i64) -> Vec<Datum> {
    // Beginnings and ends in order; at one moment ends come first. Microseconds.
    let mut changes: Vec<(i64, i32)> = Vec::with_capacity(runs.len() * 2);
    for run in runs {
        let microseconds = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let began = run.arrived_at.0.saturating_mul(1_000).saturating_add(microseconds(run.queue_us));
        // One that took no time was there all the same.
        let ended = began.saturating_add(microseconds(run.duration_us.max(1)));
        changes.extend([(began, 1), (ended, -1)]);
    }
    changes.sort_unstable();
    let mut found: BTreeMap<i64, i32> = BTreeMap::new();
    let (mut running, mut last) = (0, None);
    for (at, change) in changes {
        let now = step_of(at.div_euclid(1_000), step);
        // Steps in between in which the same ones ran on.
        if let Some(last) = last.filter(|_| running > 0) {
            let mut between: i64 = last;
            while between <= now {
                let most = found.entry(between).or_default();
                *most = running.max(*most);
                between += step;
            }
        }
        running += change;
        let most = found.entry(now).or_default();
        *most = running.max(*most);
        last = Some(now);
    }
    let datum = |(at, most): (i64, i32)| {
        let mut values = Distribution::empty();
        values.add(f64::from(most), 1.0);
        Datum { at, unit: "Count".to_owned(), values }
    };
    found.into_iter().filter(|(_, most)| *most > 0).map(datum).collect()
}

/// Series that are made of records of calls since a moment, in order of their names.
pub(super) async fn list(
    state: &ApiState,
    context: &Context,
    since: Timestamp,
) -> Result<BTreeSet<MetricName>, ApiError> {
    let query = UsageQuery { from: Some(since), ..UsageQuery::default() };
    let rows = state.ledger.usage(&context.scope, query).await?;
    let mut all = BTreeSet::new();
    let mut dimensions: BTreeSet<Vec<(String, String)>> = BTreeSet::new();
    for row in rows {
        let function = ("FunctionName".to_owned(), row.function.clone());
        let resource = match row.version {
            VersionNumber::Latest => row.function,
            VersionNumber::Published(number) => format!("{}:{number}", row.function),
        };
        dimensions.insert(Vec::new());
        dimensions.insert(vec![function.clone()]);
        dimensions.insert(vec![function, ("Resource".to_owned(), resource)]);
    }
    for dimensions in dimensions {
        for (name, _) in OF_RUNS {
            let (namespace, name) = (NAMESPACE.to_owned(), name.to_owned());
            all.insert(MetricName { namespace, name, dimensions: dimensions.clone() });
        }
    }
    Ok(all)
}

/// What was counted at the last round, by function. A clone is the same one.
#[derive(Debug, Default, Clone)]
pub struct Recorder(Arc<Mutex<HashMap<(Scope, String), FunctionMetrics>>>);

/// Puts what the funnel has counted into the store of metrics, every few seconds until `stop` and once more then.
pub async fn record(state: Arc<ApiState>, stop: CancellationToken) {
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => {}
            _ = rounds.tick() => {}
        }
        settle(&state).await;
    }
}

/// One round, also before a read: what was refused a moment ago is counted in the answer. It goes on to its end when nobody waits for
/// it any more: a reader who leaves takes nothing of what is on its way with him.
pub(super) async fn settle(state: &ApiState) {
    let (recorder, metrics, invoker) =
        (state.recorder.clone(), state.metrics.clone(), Arc::clone(&state.invoker));
    let round = tokio::spawn(round(recorder, metrics, invoker, state.now()));
    if let Err(error) = round.await {
        tracing::error!(%error, "failed to store metrics");
    }
}

async fn round(recorder: Recorder, metrics: MetricStore, invoker: Arc<Invoker>, now: Timestamp) {
    // One at a time: whoever reads afterwards finds what another round has taken to be stored.
    let mut told = recorder.0.lock().await;
    // Of function URLs and APIs.
    if let Err(error) = metrics.store_gathered().await {
        tracing::warn!(%error, "failed to store what was measured");
    }
    let minute = step_of(now.0, 60);
    for row in invoker.metrics().functions {
        // Functions beyond the bound share a row that belongs to no account.
        if row.function == lamplight_invoke::metrics::OTHER_FUNCTIONS {
            continue;
        }
        let key = (row.scope, row.function);
        let before = told.get(&key).cloned().unwrap_or_default();
        let data = new_data(&key.1, &before, &row.metrics, minute);
        if data.is_empty() {
            continue;
        }
        match metrics.put(&key.0, data).await {
            Ok(true) => {
                told.insert(key, row.metrics);
            }
            Ok(false) => {
                tracing::debug!(function = key.1, "too many metrics: counts of a function are not kept")
            }
            // They are counted still, and come with the next round.
            Err(error) => {
                tracing::warn!(%error, "failed to store counts of functions");
                return;
            }
        }
    }
}

/// What was counted since `before`, for the function and for all functions.
fn new_data(function: &str, before: &FunctionMetrics, now: &FunctionMetrics, minute: i64) -> Vec<NewDatum> {
    let mut data = Vec::new();
    for (name, count) in COUNTED {
        let new = count(now).saturating_sub(count(before));
        if new == 0 {
            continue;
        }
        for dimensions in [Vec::new(), vec![("FunctionName".to_owned(), function.to_owned())]] {
            let metric = MetricName { namespace: NAMESPACE.to_owned(), name: name.to_owned(), dimensions };
            let mut values = Distribution::empty();
            values.add(1.0, new as f64);
            data.push(NewDatum { metric, at: minute, unit: "Count".to_owned(), values });
        }
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(arrived_at: i64, duration_ms: u64) -> Run {
        let (queue_us, duration_us) = (0, duration_ms * 1_000);
        Run {
            version: VersionNumber::Latest,
            arrived_at: Timestamp(arrived_at),
            queue_us,
            duration_us,
            failed: false,
        }
    }

    #[test]
    fn concurrency_is_the_most_at_once_in_each_minute() {
        let check = |runs: &[Run], expected: &[(i64, f64)]| {
            let found: Vec<(i64, f64)> =
                concurrency(runs, 60).iter().map(|datum| (datum.at, datum.values.maximum)).collect();
            assert_eq!(found, expected);
        };
        check(&[], &[]);
        check(&[run(0, 10), run(5, 10), run(20, 10)], &[(0, 2.0)]);
        // One after the other, without a gap: never two.
        check(&[run(0, 10), run(10, 10)], &[(0, 1.0)]);
        check(&[run(30_000, 150_000), run(70_000, 10)], &[(0, 1.0), (60, 2.0), (120, 1.0), (180, 1.0)]);
        check(&[run(0, 0)], &[(0, 1.0)]);
    }

    #[test]
    fn dimensions_name_functions_and_versions() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(target(&[]), Some((None, None)));
        assert_eq!(target(&[pair("FunctionName", "f")]), Some((Some("f"), None)));
        let of = |resource: &str| {
            target(&[pair("FunctionName", "f"), pair("Resource", resource)]).map(|found| found.1)
        };
        assert_eq!(of("f"), Some(Some(VersionNumber::Latest)));
        assert_eq!(of("f:3"), Some(Some(VersionNumber::Published(3))));
        assert_eq!(of("g"), None);
        assert_eq!(of("f:alias"), None);
        assert_eq!(target(&[pair("Other", "f")]), None);
    }

    #[test]
    fn only_what_is_new_is_put() {
        let before = FunctionMetrics { throttles: 2, ..FunctionMetrics::default() };
        let now = FunctionMetrics { throttles: 5, ..FunctionMetrics::default() };
        let data = new_data("f", &before, &now, 60);
        assert_eq!(data.iter().map(|datum| datum.values.sum).collect::<Vec<_>>(), [3.0, 3.0]);
        assert!(new_data("f", &now, &now, 60).is_empty());
    }
}
