//! How fast functions get new instances: each by a rate of its own, whatever its versions.
//!
//! Source: Lambda developer guide, "Concurrency scaling rate": 1,000 in ten seconds for each function, refilled all the
//! time, and what was not used does not add up.

use lamplight_model::rate::{Rate, Used};
use lamplight_model::{FunctionName, FunctionVersion, Scope};
use std::collections::HashMap;
use tokio::time::Instant;

/// What each function has used up of the rate.
#[derive(Debug)]
pub(super) struct Scaling {
    rate: Rate,
    functions: HashMap<(Scope, FunctionName), (Used, Instant)>,
}

impl Scaling {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, functions: HashMap::new() }
    }

    /// Changes the rate; what is used up stays used up.
    pub(super) fn set_rate(&mut self, rate: Rate) {
        self.rate = rate;
    }

    /// Whether a call of this version may begin to start an instance now; counts it if so.
    pub(super) fn take(&mut self, version: &FunctionVersion, now: Instant) -> bool {
        let key = (version.scope.clone(), version.name.clone());
        let (used, at) = self.functions.entry(key).or_insert((Used::default(), now));
        let elapsed = now.saturating_duration_since(*at);
        *at = now;
        used.take(self.rate, elapsed)
    }

    /// Forgets the functions that have used nothing up.
    pub(super) fn forget_unused(&mut self, now: Instant) {
        self.functions.retain(|_, (used, at)| !used.is_none_after(now.saturating_duration_since(*at)));
    }
}
