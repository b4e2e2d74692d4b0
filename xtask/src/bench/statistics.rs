//! Medians of paired ratios and their bootstrap intervals.

/// Resamples of the bootstrap.
const RESAMPLES: usize = 2_000;

/// The median of the pairs' ratios with a 95 % interval.
#[derive(Debug, Clone, PartialEq)]
pub struct Ratio {
    /// The median.
    pub median: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Ratio {
    /// Of pairs (ours, limit).
    pub fn of(pairs: &[(f64, f64)]) -> Self {
        let ratios: Vec<f64> = pairs.iter().map(|(ours, limit)| ours / limit).collect();
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut random = |bound: usize| {
            // A fixed xorshift: the interval of the same figures is the same every time.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % bound.max(1) as u64) as usize
        };
        let mut medians: Vec<f64> = (0..RESAMPLES)
            .map(|_| median((0..ratios.len()).map(|_| ratios[random(ratios.len())]).collect()))
            .collect();
        medians.sort_by(f64::total_cmp);
        Self {
            median: median(ratios),
            low: medians[RESAMPLES / 40],
            high: medians[RESAMPLES - RESAMPLES / 40 - 1],
        }
    }

    /// Whether an A/A check shows a harness that favours neither side.
    pub fn is_neutral(&self) -> bool {
        (0.97..=1.03).contains(&self.median)
    }
}

impl std::fmt::Display for Ratio {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:.2} ({:.2} to {:.2})", self.median, self.low, self.high)
    }
}

/// The middle value; of none, not a number.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_ratios_and_its_interval() {
        let pairs: Vec<(f64, f64)> =
            (1..=31).map(|number| (2.0 * f64::from(number), f64::from(number))).collect();
        assert_eq!(Ratio::of(&pairs), Ratio { median: 2.0, low: 2.0, high: 2.0 });
        assert!(!Ratio::of(&pairs).is_neutral());
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
