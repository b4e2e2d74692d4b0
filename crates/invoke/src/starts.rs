//! How instances came to be for the invocations that waited for them: counts, and histograms of where the time went.
//!
//! By way of start and runtime, never by function: the number of rows is bounded by two closed sets.

use lamplight_model::{ColdStart, InvocationReport, StartKind, managed_runtime};
use serde::Serialize;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Upper bounds of the histograms, microseconds; a last bucket takes everything longer.
pub const START_BOUNDS_US: [u64; 16] = [
    200, 500, 1_000, 2_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000,
];

/// The row of runtimes that no managed runtime is named like.
const OTHER_RUNTIMES: &str = "other";

/// Counts of durations, not cumulative.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Histogram {
    /// One count per `START_BOUNDS_US`, and one for longer ones.
    pub counts: [u64; START_BOUNDS_US.len() + 1],
    /// Sum, microseconds.
    pub sum_us: u64,
}

impl Histogram {
    fn add(&mut self, duration_us: u64) {
        self.counts[START_BOUNDS_US.partition_point(|bound_us| *bound_us < duration_us)] += 1;
        self.sum_us = self.sum_us.saturating_add(duration_us);
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// Runs that began in one way on one runtime.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StartRow {
    /// Which way.
    pub start: StartKind,
    /// Identifier of the managed runtime; `other` for what is none.
    pub runtime: String,
    /// Runs, warm ones and those whose start failed included.
    pub runs: u64,
    /// The whole of the cold starts, from the arrival of the call to the ready instance.
    pub whole: Histogram,
    /// Their parts: name and histogram. Empty for warm runs.
    pub phases: Vec<(&'static str, Histogram)>,
}

impl StartRow {
    fn new(start: StartKind, runtime: &str) -> Self {
        Self { start, runtime: runtime.to_owned(), runs: 0, whole: Histogram::default(), phases: Vec::new() }
    }

    fn add(&mut self, report: &InvocationReport) {
        self.runs += 1;
        let Some(cold_start) = &report.cold_start else { return };
        let parts = phases(report.queue_us, cold_start);
        self.whole.add(parts.iter().map(|(_, duration_us)| duration_us).sum());
        if self.phases.is_empty() {
            self.phases = parts.iter().map(|(name, _)| (*name, Histogram::default())).collect();
        }
        for ((_, histogram), (_, duration_us)) in self.phases.iter_mut().zip(parts) {
            histogram.add(duration_us);
        }
    }
}

fn phases(queue_us: u64, cold_start: &ColdStart) -> [(&'static str, u64); 5] {
    [
        ("queue", queue_us),
        ("sandbox", cold_start.sandbox_us),
        ("code", cold_start.code_us),
        ("interpreter", cold_start.interpreter_us),
        ("init", cold_start.init_us),
    ]
}

/// The counts since the server started.
#[derive(Debug, Default)]
pub struct Starts {
    rows: Mutex<HashMap<StartKind, HashMap<String, StartRow>>>,
}

impl Starts {
    /// Counts a finished run of a function on `runtime`.
    pub fn finished(&self, runtime: &str, report: &InvocationReport) {
        let runtime = if managed_runtime::is_known(runtime) { runtime } else { OTHER_RUNTIMES };
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = rows.entry(report.start).or_default();
        match rows.get_mut(runtime) {
            Some(row) => row.add(report),
            None => rows
                .entry(runtime.to_owned())
                .or_insert_with(|| StartRow::new(report.start, runtime))
                .add(report),
        }
    }

    /// All rows, by runtime and way of start.
    pub fn rows(&self) -> Vec<StartRow> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rows: Vec<StartRow> = rows.values().flat_map(HashMap::values).cloned().collect();
        rows.sort_by(|one, other| {
            (&one.runtime, one.start.label()).cmp(&(&other.runtime, other.start.label()))
        });
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_own_bucket() {
        let mut histogram = Histogram::default();
        for duration_us in [0, 200, 201, 30_000_000, 30_000_001] {
            histogram.add(duration_us);
        }
        assert_eq!(
            (histogram.counts[0], histogram.counts[1], histogram.counts[15], histogram.counts[16]),
            (2, 1, 1, 1)
        );
        assert_eq!((histogram.count(), histogram.sum_us), (5, 60_000_402));
    }
}
