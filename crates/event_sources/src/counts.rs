//! Counts of a mapping's records, for the metrics that `MetricsConfig` asks for.
//!
//! Source: Lambda developer guide, "Event source mapping metrics", `EventCount`.

use lamplight_model::{Distribution, Timestamp};
use lamplight_services::metrics::{MetricName, NewDatum};
use std::sync::atomic::{AtomicU64, Ordering};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// Received.
    Polled,
    /// No filter wanted it.
    FilteredOut,
    /// Given to the function.
    Invoked,
    /// Given to it, and not done.
    FailedInvoke,
    /// Taken away because it is done.
    Deleted,
}

/// Each with the name of its metric.
const COUNTS: [(Count, &str); 5] = [
    (Count::Polled, "PolledEventCount"),
    (Count::FilteredOut, "FilteredOutEventCount"),
    (Count::Invoked, "InvokedEventCount"),
    (Count::FailedInvoke, "FailedInvokeEventCount"),
    (Count::Deleted, "DeletedEventCount"),
];

/// Counts since they were last taken.
#[derive(Debug, Default)]
pub struct Counts([AtomicU64; COUNTS.len()]);

impl Counts {
    /// Adds.
    pub fn add(&self, count: Count, records: usize) {
        self.0[count as usize].fetch_add(records as u64, Ordering::Relaxed);
    }

    /// What was counted since the last time, as values of a metric in the minute of `now`.
    pub fn take(&self, uuid: &str, now: Timestamp) -> Vec<NewDatum> {
        let minute = now.as_millis().div_euclid(60_000) * 60;
        let mut data = Vec::new();
        for (count, name) in COUNTS {
            let records = self.0[count as usize].swap(0, Ordering::Relaxed);
            if records > 0 {
                let metric = MetricName {
                    namespace: "AWS/Lambda".to_owned(),
                    name: name.to_owned(),
                    dimensions: vec![("EventSourceMappingUUID".to_owned(), uuid.to_owned())],
                };
                let mut values = Distribution::empty();
                // CloudWatch's `Sum` is what people look at.
                values.add(records as f64, 1.0);
                data.push(NewDatum { metric, at: minute, unit: "Count".to_owned(), values });
            }
        }
        data
    }

    /// Puts back what could not be stored.
    pub fn put_back(&self, data: &[NewDatum]) {
        for datum in data {
            let known = COUNTS.iter().find(|(_, name)| *name == datum.metric.name);
            if let Some((count, _)) = known {
                self.0[*count as usize].fetch_add(datum.values.sum as u64, Ordering::Relaxed);
            }
        }
    }
}
