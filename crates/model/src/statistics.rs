//! Distributions of measured values and the statistics CloudWatch shows of them.

use serde::{Deserialize, Serialize};

/// Different values kept of one distribution; beyond it values are rounded to three digits, and there are percentiles no more
/// when that does not help.
const KEPT_VALUES: usize = 1_000;

/// Measured values: totals always, and the values themselves while there are few enough to know percentiles.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// How many values (weights may be fractions, as clients may send them).
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// The least of them.
    pub minimum: f64,
    /// The greatest of them.
    pub maximum: f64,
    /// Each value with its weight, in no order; `None` when they are not known.
    pub values: Option<Vec<(f64, f64)>>,
}

impl Distribution {
    /// Of no values.
    pub fn empty() -> Self {
        Self { values: Some(Vec::new()), ..Self::default() }
    }

    /// Of totals only. Percentiles are known when all values are the same.
    pub fn of_totals(count: f64, sum: f64, minimum: f64, maximum: f64) -> Self {
        let values = (minimum == maximum || count == 1.0).then(|| vec![(maximum, count)]);
        Self { count, sum, minimum, maximum, values }
    }

    /// Adds `value`, seen `weight` times.
    pub fn add(&mut self, value: f64, weight: f64) {
        self.merge(&Self {
            count: weight,
            sum: value * weight,
            minimum: value,
            maximum: value,
            values: Some(vec![(value, weight)]),
        });
    }

    /// Adds all values of another one.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0.0 {
            return;
        }
        if self.count == 0.0 {
            (self.minimum, self.maximum) = (other.minimum, other.maximum);
        }
        self.minimum = self.minimum.min(other.minimum);
        self.maximum = self.maximum.max(other.maximum);
        self.count += other.count;
        self.sum += other.sum;
        match (&mut self.values, &other.values) {
            (Some(values), Some(more)) => values.extend(more),
            (values, _) => *values = None,
        }
    }

    /// Sums equal values up, and bounds how many are kept. Call it before a distribution is stored.
    pub fn compact(&mut self) {
        let Some(values) = &mut self.values else { return };
        combine(values);
        if values.len() > KEPT_VALUES {
            values.iter_mut().for_each(|(value, _)| *value = rounded(*value));
            combine(values);
            if values.len() > KEPT_VALUES {
                self.values = None;
            }
        }
    }

    /// A statistic; `None` without values, or when percentiles are not known.
    pub fn statistic(&self, statistic: Statistic) -> Option<f64> {
        if self.count <= 0.0 {
            return None;
        }
        Some(match statistic {
            Statistic::SampleCount => self.count,
            Statistic::Average => self.sum / self.count,
            Statistic::Sum => self.sum,
            Statistic::Minimum => self.minimum,
            Statistic::Maximum => self.maximum,
            Statistic::Percentile(percent) => {
                let mut values = self.values.clone()?;
                values.sort_by(|one, other| one.0.total_cmp(&other.0));
                // The least value that so many percent are not above.
                let wanted = self.count * percent / 100.0;
                let mut below = 0.0;
                let found = values.iter().find(|(_, weight)| {
                    below += weight;
                    below >= wanted - 1e-9
                });
                found.or(values.last())?.0
            }
        })
    }
}

fn combine(values: &mut Vec<(f64, f64)>) {
    values.sort_by(|one, other| one.0.total_cmp(&other.0));
    values.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 += next.1;
        }
        same
    });
}

/// Three digits.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10f64.powf(2.0 - value.abs().log10().floor());
    let rounded = (value * scale).round() / scale;
    if rounded.is_finite() { rounded } else { value }
}

/// What is asked of a distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Statistic {
    /// How many.
    SampleCount,
    /// Mean.
    Average,
    /// Sum.
    Sum,
    /// Least.
    Minimum,
    /// Greatest.
    Maximum,
    /// `p99.9`: the value that so many percent are not above.
    Percentile(f64),
}

impl Statistic {
    /// The five plain statistics by their names.
    pub fn plain(text: &str) -> Option<Self> {
        Some(match text {
            "SampleCount" => Self::SampleCount,
            "Average" => Self::Average,
            "Sum" => Self::Sum,
            "Minimum" => Self::Minimum,
            "Maximum" => Self::Maximum,
            _ => return None,
        })
    }

    /// `p0` to `p100` with at most ten decimals. Source: CloudWatch guide, "Percentiles".
    pub fn percentile(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(['p', 'P'])?;
        let plain = digits.len() <= 14 && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let percent: f64 = digits.parse().ok().filter(|_| plain)?;
        (0.0..=100.0).contains(&percent).then_some(Self::Percentile(percent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> Distribution {
        let mut found = Distribution::empty();
        values.iter().for_each(|value| found.add(*value, 1.0));
        found
    }

    #[test]
    fn statistics_of_few_values() {
        let four = of(&[4.0, 1.0, 3.0, 2.0]);
        for (statistic, expected) in [
            (Statistic::SampleCount, 4.0),
            (Statistic::Average, 2.5),
            (Statistic::Sum, 10.0),
            (Statistic::Minimum, 1.0),
            (Statistic::Maximum, 4.0),
            (Statistic::Percentile(0.0), 1.0),
            (Statistic::Percentile(50.0), 2.0),
            (Statistic::Percentile(75.1), 4.0),
            (Statistic::Percentile(100.0), 4.0),
        ] {
            assert_eq!(four.statistic(statistic), Some(expected), "{statistic:?}");
        }
        assert_eq!(of(&[]).statistic(Statistic::Sum), None);
        let mut negative = of(&[-3.0]);
        negative.merge(&of(&[-1.0]));
        assert_eq!((negative.minimum, negative.maximum), (-3.0, -1.0));
    }

    #[test]
    fn totals_alone_have_no_percentiles_unless_all_values_are_the_same() {
        let totals = Distribution::of_totals(10.0, 20.0, 1.0, 5.0);
        assert_eq!(totals.statistic(Statistic::Average), Some(2.0));
        assert_eq!(totals.statistic(Statistic::Percentile(50.0)), None);
        let same = Distribution::of_totals(3.0, 6.0, 2.0, 2.0);
        assert_eq!(same.statistic(Statistic::Percentile(50.0)), Some(2.0));
        let mut both = of(&[1.0]);
        both.merge(&totals);
        assert_eq!(both.statistic(Statistic::Percentile(50.0)), None);
        assert_eq!(both.statistic(Statistic::SampleCount), Some(11.0));
    }

    #[test]
    fn many_values_are_bounded_and_percentiles_stay_near() {
        let mut many = Distribution::empty();
        (0..20_000).for_each(|value| many.add(f64::from(value), 1.0));
        many.compact();
        assert!(many.values.as_ref().is_none_or(|values| values.len() <= KEPT_VALUES));
        let mut durations = Distribution::empty();
        (0..20_000).for_each(|value| durations.add(100.0 + f64::from(value) / 100.0, 1.0));
        durations.compact();
        let median = durations.statistic(Statistic::Percentile(50.0)).unwrap();
        assert!((median - 200.0).abs() <= 1.0, "{median}");
        assert_eq!(durations.count, 20_000.0);
    }

    #[test]
    fn names_of_statistics() {
        assert_eq!(Statistic::plain("Sum"), Some(Statistic::Sum));
        assert_eq!(Statistic::plain("p50"), None);
        assert_eq!(Statistic::percentile("p99.9"), Some(Statistic::Percentile(99.9)));
        for text in ["p101", "p", "p-1", "pe1", "tm99", "99", "p1.00000000000001"] {
            assert_eq!(Statistic::percentile(text), None, "{text}");
        }
    }
}
