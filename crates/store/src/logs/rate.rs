//! How much of a group's output is taken: a bucket of lines and one of bytes, refilled with time.

use lamplight_model::Timestamp;
use std::time::Duration;

/// What a group may still write, and what it was refused.
#[derive(Debug)]
pub(crate) struct Bucket {
    lines: f64,
    bytes: f64,
    filled_at: Timestamp,
    /// Lines refused since the last notice, and the stream of the newest of them.
    dropped: Option<(u64, String)>,
    noticed_at: Option<Timestamp>,
}

/// Per second; as much may come at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) lines: f64,
    pub(crate) bytes: f64,
}

impl Bucket {
    pub(crate) fn full(rate: Rate, now: Timestamp) -> Self {
        Self { lines: rate.lines, bytes: rate.bytes, filled_at: now, dropped: None, noticed_at: None }
    }

    /// Adds what the time since the last call is worth. A clock that goes back is worth nothing.
    pub(crate) fn refill(&mut self, rate: Rate, now: Timestamp) {
        let seconds = now.0.saturating_sub(self.filled_at.0).max(0) as f64 / 1000.0;
        self.lines = (self.lines + seconds * rate.lines).min(rate.lines);
        self.bytes = (self.bytes + seconds * rate.bytes).min(rate.bytes);
        self.filled_at = now;
    }

    /// Whether a line may be written; then it is paid for. A line larger than what is left of the bytes is paid
    /// with debt, so that one long line never waits for ever.
    pub(crate) fn take(&mut self, line_bytes: usize) -> bool {
        if self.lines < 1.0 || self.bytes <= 0.0 {
            return false;
        }
        self.lines -= 1.0;
        self.bytes -= line_bytes as f64;
        true
    }

    /// As `take`, for lines that come together: all of them or none.
    pub(crate) fn take_batch(&mut self, lines: usize, bytes: usize) -> bool {
        if self.lines < 1.0 || self.bytes <= 0.0 {
            return false;
        }
        self.lines -= lines as f64;
        self.bytes -= bytes as f64;
        true
    }

    /// Counts a line that was not taken.
    pub(crate) fn refuse(&mut self, stream: &str) {
        match &mut self.dropped {
            Some((count, last)) => {
                *count += 1;
                if last != stream {
                    stream.clone_into(last);
                }
            }
            None => self.dropped = Some((1, stream.to_owned())),
        }
    }

    /// How many were refused since the last notice, and in which stream to say so. At most once in `between`
    /// unless `now_or_never`.
    pub(crate) fn take_dropped(
        &mut self,
        now: Timestamp,
        between: Duration,
        now_or_never: bool,
    ) -> Option<(u64, String)> {
        let early = self.noticed_at.is_some_and(|at| (at..at.plus(between)).contains(&now));
        if early && !now_or_never {
            return None;
        }
        let dropped = self.dropped.take()?;
        self.noticed_at = Some(now);
        Some(dropped)
    }

    /// Whether a notice is due some time.
    pub(crate) fn owes_notice(&self) -> bool {
        self.dropped.is_some()
    }

    /// Whether forgetting this bucket changes nothing.
    pub(crate) fn is_idle(&self, rate: Rate) -> bool {
        self.dropped.is_none() && self.lines >= rate.lines && self.bytes >= rate.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_second_at_once_then_as_time_passes() {
        let rate = Rate { lines: 10.0, bytes: 100.0 };
        let mut bucket = Bucket::full(rate, Timestamp(0));
        assert_eq!((0..50).filter(|_| bucket.take(1)).count(), 10);
        bucket.refill(rate, Timestamp(500));
        assert_eq!((0..50).filter(|_| bucket.take(1)).count(), 5);
        bucket.refill(rate, Timestamp(100));
        assert!(!bucket.take(1), "a clock that goes back fills nothing");
        bucket.refill(rate, Timestamp(60_000));
        assert!(bucket.take(1_000), "a line longer than the bucket");
        assert!(!bucket.take(1), "is paid for afterwards");
    }
}
