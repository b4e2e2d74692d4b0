//! Values that come too often for a write each: gathered in memory, stored by the next round.
//!
//! `MetricStore::gather` adds, `MetricStore::store_gathered` writes down. A kill -9 costs what was gathered since.

use super::{MetricName, NewDatum};
use lamplight_model::{Distribution, Scope, Timestamp};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Groups gathered at once; values of more are counted in the totals only, until the next round.
const GROUPS: usize = 10_000;
/// Minutes of a group that wait while nothing can be stored.
const MINUTES: usize = 120;
/// Values of a distribution between two looks whether some are equal.
const COMPACTED_EVERY: usize = 4_096;

/// Whose values they are: one place that is asked, with the series that it is seen in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Group {
    /// Account and region.
    pub scope: Scope,
    /// `AWS/Lambda`, ...
    pub namespace: &'static str,
    /// Names and values, ordered by name.
    pub dimensions: Vec<(&'static str, String)>,
    /// How many of the dimensions each series has: `[1, 2]` is one by the first alone, and one by both.
    pub series: &'static [usize],
}

/// One measured value: the metric's name, its unit, and how much.
pub type Measured = (&'static str, &'static str, f64);

/// Sum and number of all values of a metric since the start, over all groups.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Total {
    /// Their sum.
    pub sum: f64,
    /// How many.
    pub count: u64,
}

/// Totals by namespace and name.
pub type Totals = BTreeMap<(&'static str, &'static str), Total>;

/// By the minute's first second, name and unit.
type Values = BTreeMap<(i64, &'static str, &'static str), Distribution>;

/// What is gathered and not stored.
#[derive(Debug, Default)]
pub(super) struct Gathered(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    groups: HashMap<Group, Values>,
    totals: Totals,
}

impl Gathered {
    pub(super) fn add(&self, group: Group, at: Timestamp, values: &[Measured]) {
        let minute = at.as_millis().div_euclid(60_000) * 60;
        let mut inner = self.inner();
        for (name, _, value) in values {
            let total = inner.totals.entry((group.namespace, name)).or_default();
            total.sum += value;
            total.count += 1;
        }
        let is_full = inner.groups.len() >= GROUPS;
        let gathered = match inner.groups.entry(group) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(_) if is_full => return,
            Entry::Vacant(entry) => entry.insert(Values::new()),
        };
        for (name, unit, value) in values {
            let distribution = gathered.entry((minute, name, unit)).or_insert_with(Distribution::empty);
            distribution.add(*value, 1.0);
            if distribution.values.as_ref().is_some_and(|values| values.len() >= COMPACTED_EVERY) {
                distribution.compact();
            }
        }
    }

    pub(super) fn totals(&self) -> Totals {
        self.inner().totals.clone()
    }

    pub(super) fn take(&self) -> Vec<(Group, Batch)> {
        let groups = std::mem::take(&mut self.inner().groups);
        groups.into_iter().map(|(group, values)| (group, Batch(values))).collect()
    }

    /// Takes back what could not be stored, as far as there is room: storage may fail for long. Says how many minutes of the group are
    /// lost, the oldest.
    #[must_use]
    pub(super) fn put_back(&self, group: Group, batch: Batch) -> usize {
        let mut inner = self.inner();
        let is_full = inner.groups.len() >= GROUPS;
        let gathered = match inner.groups.entry(group) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(_) if is_full => return batch.minutes().len(),
            Entry::Vacant(entry) => entry.insert(Values::new()),
        };
        for (key, distribution) in batch.0 {
            let kept = gathered.entry(key).or_insert_with(Distribution::empty);
            kept.merge(&distribution);
            kept.compact();
        }
        let minutes = minutes(gathered);
        let lost = minutes.len().saturating_sub(MINUTES);
        if let Some(oldest_kept) = minutes.into_iter().nth(lost) {
            gathered.retain(|(minute, ..), _| *minute >= oldest_kept);
        }
        lost
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing that holds it can panic between two changes.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The values of one group.
#[derive(Debug)]
pub(super) struct Batch(Values);

/// The minutes there are values of.
fn minutes(values: &Values) -> BTreeSet<i64> {
    values.keys().map(|(minute, ..)| *minute).collect()
}

impl Batch {
    fn minutes(&self) -> BTreeSet<i64> {
        minutes(&self.0)
    }

    /// What is to be stored: every value in each of the group's series.
    pub(super) fn data(&self, group: &Group) -> Vec<NewDatum> {
        let mut data = Vec::new();
        for dimensions in group.series.iter().filter_map(|count| group.dimensions.get(..*count)) {
            let dimensions: Vec<(String, String)> =
                dimensions.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            data.extend(self.0.iter().map(|((at, name, unit), values)| NewDatum {
                metric: MetricName {
                    namespace: group.namespace.to_owned(),
                    name: (*name).to_owned(),
                    dimensions: dimensions.clone(),
                },
                at: *at,
                unit: (*unit).to_owned(),
                values: values.clone(),
            }));
        }
        data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str) -> Group {
        Group {
            scope: Scope::default(),
            namespace: "AWS/Lambda",
            dimensions: vec![("FunctionName", name.to_owned()), ("Resource", format!("{name}:live"))],
            series: &[1, 2],
        }
    }

    const ONE: [Measured; 2] = [("Count", "Count", 1.0), ("Latency", "Milliseconds", 7.0)];

    #[test]
    fn values_of_a_minute_are_one_datum_in_each_series() {
        let gathered = Gathered::default();
        for second in [60, 119, 120] {
            gathered.add(group("f"), Timestamp(second * 1_000), &ONE);
        }
        let mut taken = gathered.take();
        let (of, batch) = taken.pop().unwrap();
        assert!(taken.is_empty() && gathered.take().is_empty());
        let told = |data: &[NewDatum]| {
            let row = |datum: &NewDatum| {
                (datum.metric.name.clone(), datum.metric.dimensions.len(), datum.at, datum.values.sum)
            };
            data.iter().map(row).collect::<Vec<_>>()
        };
        let row = |name: &str, dimensions, at, sum| (name.to_owned(), dimensions, at, sum);
        let expected = [
            row("Count", 1, 60, 2.0),
            row("Latency", 1, 60, 14.0),
            row("Count", 1, 120, 1.0),
            row("Latency", 1, 120, 7.0),
            row("Count", 2, 60, 2.0),
            row("Latency", 2, 60, 14.0),
            row("Count", 2, 120, 1.0),
            row("Latency", 2, 120, 7.0),
        ];
        assert_eq!(told(&batch.data(&of)), expected);
        // What could not be stored is not lost.
        gathered.add(group("f"), Timestamp(60_000), &ONE);
        assert_eq!(gathered.put_back(of, batch), 0);
        let (of, batch) = gathered.take().pop().unwrap();
        assert_eq!(told(&batch.data(&of))[0], row("Count", 1, 60, 3.0));
        assert_eq!(gathered.totals()[&("AWS/Lambda", "Latency")], Total { sum: 28.0, count: 4 });
    }

    #[test]
    fn what_is_gathered_is_bounded() {
        let gathered = Gathered::default();
        for number in 0..GROUPS + 5 {
            gathered.add(group(&number.to_string()), Timestamp(0), &ONE);
        }
        for number in 0..2 * COMPACTED_EVERY {
            gathered.add(group("0"), Timestamp(0), &[("Latency", "Milliseconds", number as f64)]);
        }
        let taken = gathered.take();
        assert_eq!(taken.len(), GROUPS);
        let kept = taken.iter().flat_map(|(_, batch)| batch.0.values());
        assert!(kept.map(|values| values.values.as_ref().map_or(0, Vec::len)).max() <= Some(COMPACTED_EVERY));
        assert_eq!(gathered.totals()[&("AWS/Lambda", "Count")].count, GROUPS as u64 + 5);
    }

    #[test]
    fn what_waits_for_storage_is_bounded() {
        let gathered = Gathered::default();
        let mut lost = 0;
        // Storage fails for three hours, every half minute.
        for half_minute in 0..360 {
            gathered.add(group("f"), Timestamp(half_minute * 30_000), &ONE);
            for (group, batch) in gathered.take() {
                lost += gathered.put_back(group, batch);
            }
        }
        assert_eq!(lost, 60);
        let taken = gathered.take();
        let [(_, batch)] = taken.as_slice() else { panic!("{} groups", taken.len()) };
        assert_eq!(batch.minutes(), (60..180).map(|minute| minute * 60).collect());
        // Equal values are one, however often they were put back.
        assert!(batch.0.values().all(|values| values.values.as_ref().is_some_and(|all| all.len() == 1)));
        // Nor do groups become more than there may be.
        for number in 0..GROUPS {
            gathered.add(group(&number.to_string()), Timestamp(0), &ONE);
        }
        let lost: usize = taken.into_iter().map(|(group, batch)| gathered.put_back(group, batch)).sum();
        assert_eq!((lost, gathered.take().len()), (120, GROUPS));
    }
}
