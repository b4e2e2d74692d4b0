//! How large a streamed answer may be, and how fast it may pass: the decision only, the waiting is the protocols'.

use std::time::Duration;
use tokio::time::Instant;

/// Bounds of a streamed answer. The default is AWS Lambda's. Source: AWS Lambda developer guide, "Response streaming for
/// Lambda functions", bandwidth limits, and quotas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamLimits {
    /// The whole answer, bytes.
    pub bytes: usize,
    /// What passes as fast as the caller takes it, bytes.
    pub unhindered_bytes: usize,
    /// How fast the rest passes; 0 is as fast as the caller takes it.
    pub bytes_per_second: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            bytes: lamplight_model::limits::STREAM_BYTES,
            unhindered_bytes: lamplight_model::limits::STREAM_UNHINDERED_BYTES,
            bytes_per_second: lamplight_model::limits::STREAM_BYTES_PER_SECOND,
        }
    }
}

/// The pace of one answer.
#[derive(Debug)]
pub(crate) struct Pace {
    limits: StreamLimits,
    passed_bytes: usize,
    /// When what has passed beyond the unhindered bytes is paid for.
    free_at: Option<Instant>,
}

/// What becomes of a piece.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    /// It passes at once.
    Now,
    /// It passes then.
    At(Instant),
    /// The answer is too large; no piece passes any more.
    TooLarge,
}

impl Pace {
    pub(crate) fn new(limits: StreamLimits) -> Self {
        Self { limits, passed_bytes: 0, free_at: None }
    }

    /// Counts a piece that is there `now`.
    ///
    /// Time in which the function wrote nothing is not made up for: no later second carries more than its share.
    pub(crate) fn pass(&mut self, bytes: usize, now: Instant) -> Passage {
        let end = self.passed_bytes.saturating_add(bytes);
        if end > self.limits.bytes {
            self.passed_bytes = usize::MAX;
            return Passage::TooLarge;
        }
        let hindered = end.saturating_sub(self.limits.unhindered_bytes.max(self.passed_bytes));
        self.passed_bytes = end;
        if hindered == 0 || self.limits.bytes_per_second == 0 {
            return Passage::Now;
        }
        let begin = self.free_at.map_or(now, |free_at| free_at.max(now));
        let takes = Duration::from_secs_f64(hindered as f64 / self.limits.bytes_per_second as f64);
        self.free_at = Some(begin + takes);
        if begin == now { Passage::Now } else { Passage::At(begin) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: StreamLimits = StreamLimits { bytes: 100, unhindered_bytes: 20, bytes_per_second: 10 };

    /// Pieces as (milliseconds after the first, bytes), and when each passes, milliseconds; `None` is too large.
    fn check(limits: StreamLimits, pieces: &[(u64, usize)], expected: &[Option<u64>]) {
        let begin = Instant::now();
        let mut pace = Pace::new(limits);
        let passed: Vec<_> = pieces
            .iter()
            .map(|(at_ms, bytes)| match pace.pass(*bytes, begin + Duration::from_millis(*at_ms)) {
                Passage::Now => Some(*at_ms),
                Passage::At(at) => Some(u64::try_from((at - begin).as_millis()).unwrap()),
                Passage::TooLarge => None,
            })
            .collect();
        assert_eq!(passed, expected);
    }

    #[test]
    fn the_first_bytes_pass_and_the_rest_is_paid_for() {
        check(
            LIMITS,
            &[(0, 10), (0, 10), (0, 10), (0, 5), (0, 1)],
            &[Some(0), Some(0), Some(0), Some(1_000), Some(1_500)],
        );
        // The part of a piece that was free costs nothing.
        check(LIMITS, &[(0, 25), (0, 1)], &[Some(0), Some(500)]);
    }

    #[test]
    fn silence_is_not_made_up_for() {
        check(
            LIMITS,
            &[(0, 20), (9_000, 10), (9_000, 10), (9_000, 10)],
            &[Some(0), Some(9_000), Some(10_000), Some(11_000)],
        );
    }

    #[test]
    fn what_is_too_large_stays_too_large() {
        check(LIMITS, &[(0, 100), (0, 1), (0, 0)], &[Some(0), None, None]);
        let endless = StreamLimits { bytes_per_second: 0, ..LIMITS };
        check(endless, &[(0, 60), (0, 40), (0, usize::MAX)], &[Some(0), Some(0), None]);
    }
}
