//! What a version's past says about its future: how often it is called, what its starts cost, when it was not called.
//!
//! The next revision of a version inherits it: the callers are the same.

use crate::policy::{
    Expectation, IdleTimes, Uses, Windows, expectation, expected_uses, learned_cost, prewarm_after, priority,
};
use std::time::Duration;
use tokio::time::Instant;

/// A time without calls that is too short to matter alone, and how many of them do.
const SHORT: Duration = Duration::from_millis(10);
const SHORT_ONES: u32 = 16;

/// The past of one version.
#[derive(Debug, Clone)]
pub(super) struct History {
    uses: Uses,
    cold_start: Option<Duration>,
    idle_times: IdleTimes,
    /// Of `idle_times`: asked for far more often than they change.
    windows: Option<Windows>,
    /// When the last call came or ended.
    last_called: Option<Instant>,
    /// Whether an instance was started ahead of the next call already.
    prewarmed: bool,
}

impl History {
    /// Nothing yet; `histogram_bin` is the step in which times without calls are counted.
    pub(super) fn new(histogram_bin: Duration) -> Self {
        Self {
            uses: Uses::default(),
            cold_start: None,
            idle_times: IdleTimes::new(histogram_bin),
            windows: None,
            last_called: None,
            prewarmed: false,
        }
    }

    /// A call came; `alone` when no other is running.
    pub(super) fn called(&mut self, alone: bool, now: Instant) {
        self.uses.note(now);
        if let Some(last) = self.last_called.filter(|_| alone) {
            let idle = now.saturating_duration_since(last);
            self.idle_times.note(idle);
            // Calls that follow each other closely change nothing worth a look at every bin each time.
            if idle >= SHORT || self.idle_times.samples().is_multiple_of(SHORT_ONES) {
                self.windows = self.idle_times.windows();
            }
        }
        self.ended(now);
    }

    /// A call ended.
    pub(super) fn ended(&mut self, now: Instant) {
        self.last_called = Some(now);
        self.prewarmed = false;
    }

    /// A start took so long.
    pub(super) fn started(&mut self, cold_start: Duration) {
        self.cold_start = Some(learned_cost(self.cold_start, cold_start));
    }

    /// What an idle instance is worth that claims so much and was last used when the clock stood there.
    pub(super) fn priority(&self, clock: f64, claim_bytes: u64, now: Instant) -> f64 {
        let uses = expected_uses(self.uses.count(now), self.expectation(now));
        priority(clock, uses, self.cold_start.unwrap_or_default(), claim_bytes)
    }

    /// What to expect of it now.
    pub(super) fn expectation(&self, now: Instant) -> Expectation {
        let since = self.last_called.map(|last| now.saturating_duration_since(last));
        since.map_or(Expectation::Unknown, |since| expectation(self.windows, since))
    }

    /// When an instance is to be started ahead of the next call, if it has none then.
    pub(super) fn prewarm_at(&self) -> Option<Instant> {
        let last = self.last_called.filter(|_| !self.prewarmed)?;
        Some(last + prewarm_after(self.windows)?)
    }

    /// Once for each time without calls.
    pub(super) fn mark_prewarmed(&mut self) {
        self.prewarmed = true;
    }

    /// Whether a call is predicted that has not come.
    pub(super) fn predicts(&self, now: Instant) -> bool {
        matches!(self.expectation(now), Expectation::Later | Expectation::Soon)
    }
}
