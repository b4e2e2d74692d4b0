//! How many batches of one mapping are under way at once: a pure rule that is told what happens, and when.
//!
//! Source: Lambda developer guide, "Configuring scaling behavior for SQS event source mappings": five at first, 300 a minute
//! more while there is work, 1,250 at most; provisioned pollers take ten each.

use lamplight_model::EventSourceMapping;
use std::time::Duration;
use tokio::time::Instant;

/// Batches at once in the beginning.
const FIRST: usize = 5;
/// Batches at once of a mapping that sets no bound.
const MOST: usize = 1_250;
/// More batches after each second in which there was no room: 300 a minute.
const MORE_A_SECOND: u64 = 5;
/// Batches of one provisioned poller.
const OF_A_POLLER: usize = 10;
/// Pollers when the mapping does not say.
const POLLERS: (u32, u32) = (2, 200);
/// Throttles of batches that were sent together count once.
const TOGETHER: Duration = Duration::from_secs(1);
/// How long after a throttle there is no growth: longer than a throttled call waits for its next try.
const CALM: Duration = Duration::from_secs(15);

/// How many there may be, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scaling {
    least: usize,
    most: usize,
    limit: usize,
    /// Since when there has been no room.
    full_since: Option<Instant>,
    throttled: Option<Instant>,
}

impl Scaling {
    /// Of a mapping that begins.
    pub fn of(mapping: &EventSourceMapping) -> Self {
        let (least, most) = match (&mapping.provisioned_pollers, mapping.maximum_concurrency) {
            (Some(pollers), _) => {
                let of = |count: Option<u32>, default| count.unwrap_or(default) as usize * OF_A_POLLER;
                (of(pollers.minimum_pollers, POLLERS.0), of(pollers.maximum_pollers, POLLERS.1))
            }
            (None, Some(most)) => (FIRST, most as usize),
            (None, None) => (FIRST, MOST),
        };
        let least = least.min(most);
        Self { least, most, limit: least, full_since: None, throttled: None }
    }

    /// Batches that may be under way now.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// There is work, and no room for it.
    pub fn full(&mut self, now: Instant) {
        if self.throttled.is_some_and(|at| now.saturating_duration_since(at) < CALM) {
            self.full_since = None;
            return;
        }
        let Some(since) = self.full_since else {
            self.full_since = Some(now);
            return;
        };
        let seconds = now.saturating_duration_since(since).as_secs();
        if seconds > 0 {
            let more = usize::try_from(seconds.saturating_mul(MORE_A_SECOND)).unwrap_or(usize::MAX);
            self.limit = self.limit.saturating_add(more).min(self.most);
            self.full_since = Some(since + Duration::from_secs(seconds));
        }
    }

    /// When `full` would find more room, or is to be told again; `None` at the bound.
    pub fn next_growth(&self) -> Option<Instant> {
        if self.full_since.is_none() {
            return self.throttled.map(|at| at + CALM);
        }
        self.full_since.filter(|_| self.limit < self.most).map(|since| since + Duration::from_secs(1))
    }

    /// Nothing came.
    pub fn empty(&mut self) {
        self.full_since = None;
        self.limit = (self.limit / 2).max(self.least);
    }

    /// The function took no more calls: half as many, and no more for a while.
    pub fn throttled(&mut self, now: Instant) {
        if self.throttled.is_some_and(|before| now.saturating_duration_since(before) < TOGETHER) {
            return;
        }
        self.throttled = Some(now);
        self.full_since = None;
        self.limit = (self.limit / 2).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::mapping;
    use lamplight_model::event_source_mapping::ProvisionedPollers;

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn bounds_of_mappings() {
        let check = |mapping: &EventSourceMapping, least, most| {
            let scaling = Scaling::of(mapping);
            assert_eq!((scaling.least, scaling.most, scaling.limit), (least, most, least));
        };
        let mut mapping = mapping();
        check(&mapping, 5, 1_250);
        mapping.maximum_concurrency = Some(2);
        check(&mapping, 2, 2);
        mapping.maximum_concurrency = Some(100);
        check(&mapping, 5, 100);
        mapping.provisioned_pollers =
            Some(ProvisionedPollers { minimum_pollers: Some(3), maximum_pollers: None });
        check(&mapping, 30, 2_000);
    }

    #[test]
    fn three_hundred_a_minute_while_there_is_no_room() {
        let start = Instant::now();
        let mut scaling = Scaling::of(&mapping());
        scaling.full(start);
        assert_eq!((scaling.limit(), scaling.next_growth()), (5, Some(at(start, 1))));
        for second in 1..=60 {
            scaling.full(at(start, second));
        }
        assert_eq!(scaling.limit(), 305);
        scaling.full(at(start, 10_000));
        assert_eq!((scaling.limit(), scaling.next_growth()), (1_250, None));
        for expected in [625, 312, 156, 78, 39, 19, 9, 5, 5] {
            scaling.empty();
            assert_eq!(scaling.limit(), expected);
        }
    }

    #[test]
    fn throttles_halve_once_and_growth_begins_anew() {
        let start = Instant::now();
        let mut scaling = Scaling::of(&mapping());
        scaling.full(start);
        scaling.full(at(start, 3));
        assert_eq!(scaling.limit(), 20);
        scaling.throttled(at(start, 4));
        scaling.throttled(at(start, 4));
        assert_eq!(scaling.limit(), 10);
        for second in 5..12 {
            scaling.throttled(at(start, second));
        }
        assert_eq!(scaling.limit(), 1);
        scaling.full(at(start, 20));
        scaling.full(at(start, 25));
        assert_eq!(scaling.limit(), 1, "it was throttled a moment ago");
        scaling.full(at(start, 26));
        scaling.full(at(start, 27));
        assert_eq!(scaling.limit(), 6);
    }
}
