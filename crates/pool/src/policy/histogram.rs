//! When a function's next call is to be expected: a histogram of the times it was not called.
//!
//! Source: Shahrad et al., "Serverless in the Wild", USENIX ATC 2020, section 4: bins of one minute up to four hours; the
//! 5th percentile says when to warm up, the 99th how long to keep alive, each with a margin of 10 %; a histogram whose
//! bins differ little (coefficient of variation below 2) or that mostly lies beyond the range predicts nothing.

use std::time::Duration;

/// Width of a bin in the paper, and the default.
pub const BIN: Duration = Duration::from_secs(60);
/// Bins: four hours, when they are a minute wide.
const BINS: usize = 240;
/// Fewer idle times than this are no pattern.
const LEAST_SAMPLES: u32 = 5;
/// When there are so many, all count for half: a function that changed its ways is believed in time.
const MOST_SAMPLES: u32 = 512;
/// The least coefficient of variation of the bins.
const LEAST_VARIATION: f64 = 2.0;
/// Percentiles that begin and end the time a call is expected in.
const PERCENTILES: (u32, u32) = (5, 99);
/// Earlier than the one, later than the other: share of the time, in percent.
const MARGIN_PERCENT: u32 = 10;

/// How long a function was not called, each time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdleTimes {
    bin: Duration,
    /// Only as long as the longest time seen, so that the many functions called often take few bytes.
    bins: Vec<u16>,
    within: u32,
    beyond: u32,
}

/// When a call is expected, counted from the end of the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// No call before then; zero when one may come at any time.
    pub prewarm_after: Duration,
    /// A call before then.
    pub keep_until: Duration,
}

impl IdleTimes {
    /// None yet; `bin` is the width of a bin.
    pub fn new(bin: Duration) -> Self {
        Self { bin: bin.max(Duration::from_millis(1)), bins: Vec::new(), within: 0, beyond: 0 }
    }

    /// Counts one time without calls.
    pub fn note(&mut self, idle: Duration) {
        let bin = usize::try_from(idle.as_millis() / self.bin.as_millis()).unwrap_or(usize::MAX);
        if bin < BINS {
            if self.bins.len() <= bin {
                self.bins.resize(bin + 1, 0);
            }
            self.bins[bin] = self.bins[bin].saturating_add(1);
            self.within += 1;
        } else {
            self.beyond += 1;
        }
        if self.samples() >= MOST_SAMPLES {
            self.bins.iter_mut().for_each(|count| *count /= 2);
            self.within = self.bins.iter().map(|count| u32::from(*count)).sum();
            self.beyond /= 2;
        }
    }

    /// Times counted of late, up to where all begin to count for half.
    pub fn samples(&self) -> u32 {
        self.within + self.beyond
    }

    /// The windows, when the histogram represents the function.
    pub fn windows(&self) -> Option<Windows> {
        let enough = self.samples() >= LEAST_SAMPLES && self.beyond <= self.within;
        if !enough || self.variation() < LEAST_VARIATION {
            return None;
        }
        // Rounded away from the calls: down to the bin's beginning, up to its end.
        let earliest = self.bin * u32::try_from(self.percentile(PERCENTILES.0)).ok()?;
        let latest = self.bin * u32::try_from(self.percentile(PERCENTILES.1) + 1).ok()?;
        Some(Windows {
            prewarm_after: earliest * (100 - MARGIN_PERCENT) / 100,
            keep_until: latest * (100 + MARGIN_PERCENT) / 100,
        })
    }

    /// The bin in which so many percent of all times have been counted.
    fn percentile(&self, percent: u32) -> usize {
        let wanted = (self.within * percent).div_ceil(100).max(1);
        let mut seen = 0;
        self.bins
            .iter()
            .position(|count| {
                seen += u32::from(*count);
                seen >= wanted
            })
            .unwrap_or(BINS - 1)
    }

    /// Standard deviation of the bins over their mean.
    fn variation(&self) -> f64 {
        let bins = BINS as f64;
        let mean = f64::from(self.within) / bins;
        if mean == 0.0 {
            return 0.0;
        }
        let squares: f64 = self.bins.iter().map(|count| f64::from(*count).powi(2)).sum();
        (squares / bins - mean * mean).max(0.0).sqrt() / mean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(minutes: impl IntoIterator<Item = u64>) -> IdleTimes {
        let mut times = IdleTimes::new(BIN);
        for minutes in minutes {
            times.note(Duration::from_secs(minutes * 60 + 1));
        }
        times
    }

    #[test]
    fn a_timer_is_predicted() {
        let check = |times: &IdleTimes, expected_s: Option<(u64, u64)>| {
            let windows = times.windows();
            let found = windows.map(|found| (found.prewarm_after.as_secs(), found.keep_until.as_secs()));
            assert_eq!(found, expected_s);
        };
        check(&of([]), None);
        check(&of([10; 4]), None);
        // From 90 % of the tenth minute's beginning to 110 % of its end.
        check(&of([10; 5]), Some((540, 726)));
        check(&of([239; 9]), Some((12_906, 15_840)));
        // Called all the time: kept for a little more than a minute.
        check(&of([0; 50]), Some((0, 66)));
        // One early call in a hundred does not move the 5th percentile; ten in a hundred do.
        check(&of([60; 99].into_iter().chain([2])), Some((3_240, 4_026)));
        check(&of([60; 90].into_iter().chain([2; 10])), Some((108, 4_026)));
    }

    #[test]
    fn what_is_not_representative_predicts_nothing() {
        // Any minute of four hours is as likely as any other.
        assert_eq!(of(0..240).windows(), None);
        // Most calls come after more than four hours.
        assert_eq!(of([10; 5].into_iter().chain([300; 6])).windows(), None);
        assert!(of([10; 5].into_iter().chain([300; 5])).windows().is_some());
        assert_eq!(of([300; 20]).windows(), None);
    }

    #[test]
    fn a_changed_pattern_is_believed_in_time() {
        let mut times = of([10; 400]);
        for _ in 0..3_000 {
            times.note(Duration::from_secs(30 * 60));
        }
        assert_eq!(times.windows().map(|windows| windows.prewarm_after), Some(Duration::from_secs(27 * 60)));
        assert!(times.within < MOST_SAMPLES);
        // Far beyond the range is counted, not stored.
        times.note(Duration::MAX);
        assert_eq!(times.bins.len(), 31);
    }
}
