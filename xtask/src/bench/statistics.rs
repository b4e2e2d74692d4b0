//! Medians of paired ratios and their bootstrap intervals, and percentiles.

/// Resamples of the bootstrap.
const RESAMPLES: usize = 2_000;

/// A ratio with a 95 % interval.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Ratio {
    /// The middle.
    pub median: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Ratio {
    /// The median of the ratios of pairs (ours, limit).
    pub fn of(pairs: &[(f64, f64)]) -> Self {
        Self::resampled(pairs, |pairs| median(pairs.iter().map(|(ours, limit)| ours / limit).collect()))
    }

    /// The ratio of the sums: for processor time, of which a part comes after the answer and so in another pair.
    pub fn of_sums(pairs: &[(f64, f64)]) -> Self {
        Self::resampled(pairs, |pairs| {
            let (ours, limit) =
                pairs.iter().fold((0.0, 0.0), |sums: (f64, f64), pair| (sums.0 + pair.0, sums.1 + pair.1));
            ours / limit
        })
    }

    fn resampled(pairs: &[(f64, f64)], figure: impl Fn(&[(f64, f64)]) -> f64) -> Self {
        let mut random = Random::new();
        let mut figures: Vec<f64> = (0..RESAMPLES)
            .map(|_| {
                let drawn: Vec<_> = (0..pairs.len()).map(|_| pairs[random.below(pairs.len())]).collect();
                figure(&drawn)
            })
            .collect();
        figures.sort_by(f64::total_cmp);
        Self {
            median: figure(pairs),
            low: figures[RESAMPLES / 40],
            high: figures[RESAMPLES - RESAMPLES / 40 - 1],
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

/// A fixed xorshift: the interval of the same figures, and the arrivals of the same load, are the same every time.
pub struct Random(u64);

/// The golden ratio's bits: far from any short sequence's neighbours.
const SEED: u64 = 0x9E37_79B9_7F4A_7C15;

impl Random {
    /// Always the same sequence.
    pub fn new() -> Self {
        Self::numbered(0)
    }

    /// One of many sequences, each always the same.
    pub fn numbered(number: u64) -> Self {
        // A product with an odd number loses nothing, and an xorshift that begins with zero stays there.
        Self((number.wrapping_add(1)).wrapping_mul(SEED) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// The time to the next of events that come `rate` times a second on their own, seconds.
    pub fn until_next(&mut self, rate: f64) -> f64 {
        let uniform = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        -(1.0 - uniform).ln() / rate
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

/// The value that `share` (0 to 1) of the values do not exceed, by nearest rank; of none, not a number.
pub fn percentile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (share * values.len() as f64).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_ratios_and_its_interval() {
        let pairs: Vec<(f64, f64)> =
            (1..=31).map(|number| (2.0 * f64::from(number), f64::from(number))).collect();
        assert_eq!(Ratio::of(&pairs), Ratio { median: 2.0, low: 2.0, high: 2.0 });
        assert_eq!(Ratio::of_sums(&pairs).median, 2.0);
        assert!(!Ratio::of(&pairs).is_neutral());
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn sums_weigh_what_pairs_do_not() {
        let pairs = [(1.0, 1.0), (1.0, 1.0), (10.0, 1.0)];
        assert_eq!(Ratio::of(&pairs).median, 1.0);
        assert_eq!(Ratio::of_sums(&pairs).median, 4.0);
    }

    #[test]
    fn percentiles_by_nearest_rank() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(values.clone(), 0.99), 99.0);
        assert_eq!(percentile(values, 0.5), 50.0);
        assert!(percentile(Vec::new(), 0.5).is_nan());
    }

    #[test]
    fn arrivals_have_the_asked_rate() {
        let mut random = Random::new();
        let mean = (0..20_000).map(|_| random.until_next(50.0)).sum::<f64>() / 20_000.0;
        assert!((mean - 0.02).abs() < 0.001, "{mean}");
    }
}
