//! So many in so much time: a bucket that is refilled continuously and never holds more than its size.
//!
//! Pure: who counts says how much time has passed. Used for the rate of calls (`invoke`) and of new instances (`pool`).

use std::time::Duration;

/// A bound on how often something may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// So many, at once or spread. 0: as many as are asked for.
    pub count: u64,
    /// In so much time.
    pub per: Duration,
}

impl Rate {
    /// What one costs: the time in which it is refilled.
    fn interval(self) -> Duration {
        let nanoseconds = self.per.as_nanos() / u128::from(self.count.max(1));
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

/// How much of a rate is used up. Begins unused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used(Duration);

impl Used {
    /// Takes one after `elapsed` since the last call, if the rate has one left. `false` takes nothing.
    pub fn take(&mut self, rate: Rate, elapsed: Duration) -> bool {
        // A rate that was lowered must not keep what the higher one had taken for longer than its own time.
        self.0 = self.0.saturating_sub(elapsed).min(rate.per);
        if rate.count == 0 {
            return true;
        }
        let with_one = self.0 + rate.interval();
        let taken = with_one <= rate.per;
        if taken {
            self.0 = with_one;
        }
        taken
    }

    /// Whether after `elapsed` nothing is used up: it may be forgotten.
    pub fn is_none_after(&self, elapsed: Duration) -> bool {
        self.0 <= elapsed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// How many are given of `asked` at once.
    fn burst(used: &mut Used, rate: Rate, asked: usize) -> usize {
        (0..asked).filter(|_| used.take(rate, Duration::ZERO)).count()
    }

    #[test]
    fn what_was_not_used_does_not_add_up() {
        let rate = Rate { count: 1_000, per: 10 * SECOND };
        let mut used = Used::default();
        assert_eq!(burst(&mut used, rate, 5_000), 1_000);
        assert!(used.take(rate, Duration::from_millis(10)), "one every ten milliseconds");
        assert!(!used.take(rate, Duration::from_millis(9)));
        assert!(used.take(rate, Duration::from_millis(1)));
        assert!(used.take(rate, SECOND));
        assert_eq!(burst(&mut used, rate, 5_000), 99);
        assert!(!used.is_none_after(9 * SECOND) && used.is_none_after(10 * SECOND));
        assert!(used.take(rate, 3_600 * SECOND));
        assert_eq!(burst(&mut used, rate, 5_000), 999);
    }

    #[test]
    fn any_count_is_given_whole_and_none_more() {
        for count in [1, 3, 7, 10, 999, 10_000, 1_000_000] {
            let mut used = Used::default();
            let given = burst(&mut used, Rate { count, per: SECOND }, 1_000_010);
            assert!((count as usize..=count as usize + 1).contains(&given), "{count}: {given}");
        }
    }

    #[test]
    fn no_rate_and_a_lowered_one() {
        let mut used = Used::default();
        assert_eq!(burst(&mut used, Rate { count: 0, per: SECOND }, 100_000), 100_000);
        assert_eq!(burst(&mut used, Rate { count: 5, per: 10 * SECOND }, 10), 5);
        let lowered = Rate { count: 1, per: SECOND };
        assert!(!used.take(lowered, Duration::ZERO));
        assert!(used.take(lowered, SECOND));
    }
}
