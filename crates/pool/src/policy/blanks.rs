//! How many blank instances of one kind wait: as many as came in the busiest second of the last minute.
//!
//! A blank is made in milliseconds and taken in microseconds, so a burst is served by what waits when it begins. The
//! busiest recent second is the burst to expect next.

use std::time::Duration;

/// Seconds that are remembered.
const SECONDS: usize = 60;

/// Bounds of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlankBounds {
    /// Ready of every kind that is in use.
    pub least: usize,
    /// Ready of one kind.
    pub most: usize,
    /// A kind nobody asked for during this time is not in use.
    pub unused_after: Duration,
}

/// Starts of one kind in each of the last seconds.
#[derive(Debug, Clone)]
pub struct Arrivals {
    counts: [u32; SECONDS],
    /// The second of the newest count, since whatever the caller counts from.
    newest: u64,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self { counts: [0; SECONDS], newest: 0 }
    }
}

impl Arrivals {
    /// Counts one start in this second.
    pub fn note(&mut self, second: u64) {
        self.forget_before(second);
        let count = &mut self.counts[self.newest as usize % SECONDS];
        *count = count.saturating_add(1);
    }

    /// Starts in the busiest second of the last minute.
    pub fn peak(&mut self, second: u64) -> usize {
        self.forget_before(second);
        self.counts.iter().copied().max().unwrap_or(0) as usize
    }

    fn forget_before(&mut self, second: u64) {
        let passed = second.saturating_sub(self.newest).min(SECONDS as u64);
        for step in 1..=passed {
            self.counts[(self.newest + step) as usize % SECONDS] = 0;
        }
        if passed == SECONDS as u64 {
            self.counts = [0; SECONDS];
        }
        self.newest = self.newest.max(second);
    }
}

/// How many are to be ready, given the busiest second and the time since anybody asked for this kind.
pub fn wanted(bounds: BlankBounds, peak: usize, unused: Duration) -> usize {
    if unused >= bounds.unused_after { 0 } else { peak.max(bounds.least).min(bounds.most) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_second_counts_for_a_minute() {
        let mut arrivals = Arrivals::default();
        assert_eq!(arrivals.peak(1_000_000), 0);
        for _ in 0..5 {
            arrivals.note(1_000_000);
        }
        arrivals.note(1_000_001);
        let check = |arrivals: &mut Arrivals, second, expected| assert_eq!(arrivals.peak(second), expected);
        check(&mut arrivals, 1_000_001, 5);
        check(&mut arrivals, 1_000_059, 5);
        check(&mut arrivals, 1_000_060, 1);
        check(&mut arrivals, 1_000_061, 0);
        // A clock that stands still or is asked out of order loses nothing.
        arrivals.note(1_000_061);
        arrivals.note(1_000_050);
        check(&mut arrivals, 1_000_055, 2);
    }

    #[test]
    fn between_the_bounds_and_none_when_unused() {
        let bounds = BlankBounds { least: 2, most: 16, unused_after: Duration::from_secs(3_600) };
        let check = |peak, unused_s, expected| {
            assert_eq!(wanted(bounds, peak, Duration::from_secs(unused_s)), expected)
        };
        check(0, 0, 2);
        check(7, 10, 7);
        check(400, 10, 16);
        check(400, 3_600, 0);
        let off = BlankBounds { least: 0, most: 0, ..bounds };
        assert_eq!(wanted(off, 9, Duration::ZERO), 0);
    }
}
