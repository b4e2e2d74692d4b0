//! Counters of the funnel, by function, for the metrics page and `doctor`.
//!
//! The words follow Lambda's CloudWatch metrics: `Invocations` are runs of the function (a throttled call is
//! none), `Errors` are runs that ended in anything but success.

use crate::starts::StartRow;
use lamplight_model::{FunctionName, InvocationReport, OutcomeStatus, Scope, StartKind};
use serde::Serialize;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Upper bounds of the duration histogram, milliseconds; a last bucket takes everything longer.
pub const DURATION_BOUNDS_MS: [u64; 16] =
    [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 15_000, 60_000, 300_000, 900_000];

/// Most functions counted by name; later ones share the row named by `OTHER_FUNCTIONS`.
pub const COUNTED_FUNCTIONS: usize = 10_000;

/// The row of functions beyond `COUNTED_FUNCTIONS`.
pub const OTHER_FUNCTIONS: &str = "(other)";

/// Everything counted about one function since the server started.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct FunctionMetrics {
    /// Finished runs.
    pub invocations: u64,
    /// Finished runs that ended in anything but success.
    pub errors: u64,
    /// Of the errors: runs that ended at their deadline.
    pub timeouts: u64,
    /// Calls refused with `TooManyRequestsException`.
    pub throttles: u64,
    /// Calls that got a platform error instead of a run.
    pub platform_errors: u64,
    /// Events accepted.
    pub events_accepted: u64,
    /// Events given up.
    pub dead_letters: u64,
    /// Records of ended events whose destination is gone.
    pub destination_delivery_failures: u64,
    /// Invocations stopped because their function was invoked too often in one chain of requests.
    pub recursive_invocations_dropped: u64,
    /// Runs on an idle instance.
    pub starts_warm: u64,
    /// Runs for which everything was started.
    pub starts_from_nothing: u64,
    /// Runs on a specialised blank instance.
    pub starts_blank: u64,
    /// Runs on a fork of a prepared interpreter.
    pub starts_zygote: u64,
    /// Runs on an instance that was forked from one that had imported its handler.
    pub starts_version_zygote: u64,
    /// Runs by duration: one count per `DURATION_BOUNDS_MS`, and one for longer runs.
    pub duration_counts: [u64; DURATION_BOUNDS_MS.len() + 1],
    /// Sum of durations, microseconds.
    pub duration_us: u64,
    /// Sum of billed durations, milliseconds.
    pub billed_ms: u64,
}

/// One moment's counters.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct MetricsSnapshot {
    /// Invocations that hold a permit now, over all functions.
    pub concurrent: usize,
    /// Asynchronous events being worked on now.
    pub asynchronous_in_flight: usize,
    /// One row per function, by scope and name.
    pub functions: Vec<FunctionRow>,
    /// One row per way of start and runtime.
    pub starts: Vec<StartRow>,
}

/// One function's counters.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FunctionRow {
    /// Where it lives; default for `OTHER_FUNCTIONS`.
    pub scope: Scope,
    /// Plain name.
    pub function: String,
    /// The counters.
    pub metrics: FunctionMetrics,
}

/// The counters. Cheap enough to be touched a few times per invocation.
#[derive(Debug, Default)]
pub struct Metrics {
    functions: Mutex<HashMap<(Scope, Arc<str>), FunctionMetrics>>,
}

impl Metrics {
    /// Counts a finished run.
    pub fn finished(&self, report: &InvocationReport) {
        self.change(&report.scope, report.function.clone(), |metrics| {
            metrics.invocations += 1;
            match report.outcome.status {
                OutcomeStatus::Success => {}
                OutcomeStatus::Error | OutcomeStatus::Failure => metrics.errors += 1,
                OutcomeStatus::Timeout => {
                    metrics.errors += 1;
                    metrics.timeouts += 1;
                }
            }
            match report.start {
                StartKind::Warm => metrics.starts_warm += 1,
                StartKind::FromNothing => metrics.starts_from_nothing += 1,
                StartKind::Blank => metrics.starts_blank += 1,
                StartKind::Zygote => metrics.starts_zygote += 1,
                StartKind::VersionZygote => metrics.starts_version_zygote += 1,
            }
            metrics.duration_counts[bucket(report.duration_us)] += 1;
            metrics.duration_us = metrics.duration_us.saturating_add(report.duration_us);
            metrics.billed_ms = metrics.billed_ms.saturating_add(report.billed_ms);
        });
    }

    /// Counts a refused call.
    pub fn throttled(&self, scope: &Scope, function: &FunctionName) {
        self.change(scope, function.shared(), |metrics| metrics.throttles += 1);
    }

    /// Counts a call that ended in a platform error.
    pub fn platform_error(&self, scope: &Scope, function: &FunctionName) {
        self.change(scope, function.shared(), |metrics| metrics.platform_errors += 1);
    }

    /// Counts an event that was accepted.
    pub fn event_accepted(&self, scope: &Scope, function: &FunctionName) {
        self.change(scope, function.shared(), |metrics| metrics.events_accepted += 1);
    }

    /// Counts an event that was given up.
    pub fn dead_letter(&self, scope: &Scope, function: &FunctionName) {
        self.change(scope, function.shared(), |metrics| metrics.dead_letters += 1);
    }

    /// Counts a record of an ended event whose destination is gone.
    pub fn delivery_failed(&self, scope: &Scope, function: &FunctionName) {
        self.change(scope, function.shared(), |metrics| metrics.destination_delivery_failures += 1);
    }

    /// Counts an invocation that was stopped as part of a recursive loop.
    pub fn recursion_dropped(&self, scope: &Scope, function: &FunctionName) {
        self.change(scope, function.shared(), |metrics| metrics.recursive_invocations_dropped += 1);
    }

    /// All rows, ordered by scope and name.
    pub fn rows(&self) -> Vec<FunctionRow> {
        let mut rows: Vec<FunctionRow> = self
            .lock()
            .iter()
            .map(|((scope, function), metrics)| FunctionRow {
                scope: scope.clone(),
                function: function.to_string(),
                metrics: metrics.clone(),
            })
            .collect();
        rows.sort_by(|one, other| (&one.scope, &one.function).cmp(&(&other.scope, &other.function)));
        rows
    }

    fn change(&self, scope: &Scope, function: Arc<str>, change: impl FnOnce(&mut FunctionMetrics)) {
        let mut functions = self.lock();
        let key = (scope.clone(), function);
        let full = functions.len() >= COUNTED_FUNCTIONS;
        if full && !functions.contains_key(&key) {
            change(functions.entry((Scope::default(), OTHER_FUNCTIONS.into())).or_default());
        } else {
            change(functions.entry(key).or_default());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Scope, Arc<str>), FunctionMetrics>> {
        self.functions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which count of the histogram a duration belongs to.
fn bucket(duration_us: u64) -> usize {
    DURATION_BOUNDS_MS.partition_point(|bound_ms| bound_ms * 1_000 < duration_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_own_bucket() {
        for (duration_us, expected) in
            [(0, 0), (1_000, 0), (1_001, 1), (2_000, 1), (900_000_000, 15), (900_000_001, 16), (u64::MAX, 16)]
        {
            assert_eq!(bucket(duration_us), expected, "{duration_us} us");
        }
    }

    #[test]
    fn functions_beyond_the_bound_share_a_row() {
        let metrics = Metrics::default();
        for number in 0..COUNTED_FUNCTIONS + 5 {
            let name = FunctionName::parse(&format!("f{number}")).unwrap();
            metrics.throttled(&Scope::default(), &name);
        }
        let rows = metrics.rows();
        assert_eq!(rows.len(), COUNTED_FUNCTIONS + 1);
        let other = rows.iter().find(|row| row.function == OTHER_FUNCTIONS).unwrap();
        assert_eq!(other.metrics.throttles, 5);
    }
}
