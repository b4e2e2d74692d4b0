//! Idle instances: which of them are frozen, expired, dead, and how they are taken out to be stopped.

use super::Registry;
use super::phase::Phase;
use crate::policy::{IdleInstance, expired, memory_wanted_above};
use lamplight_model::FunctionVersion;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Idle<I> {
    pub(super) id: u64,
    pub(super) instance: I,
    pub(super) since: Instant,
    pub(super) claim_bytes: u64,
    /// Greedy-Dual's, at its last use.
    pub(super) clock: f64,
    pub(super) frozen: bool,
    /// Whether its memory was reclaimed since its last call.
    pub(super) reclaimed: bool,
}

impl<I> Registry<I> {
    /// Idle instances that have outlived `keep_alive`, to be stopped.
    pub fn take_expired(&mut self, keep_alive: Duration, now: Instant) -> Vec<I> {
        let ids = expired(&self.idle_instances(now), keep_alive, now);
        self.counters.expirations += ids.len() as u64;
        self.take_idle(&ids)
    }

    /// At most `most` versions of which a call is predicted and that have no instance: each is to get one now, and is
    /// not named again until it was called.
    pub fn take_prewarms(&mut self, now: Instant, most: usize) -> Vec<Arc<FunctionVersion>> {
        let due: Vec<_> = self
            .entries
            .values_mut()
            .filter(|entry| entry.may_prewarm(now) && entry.history.prewarm_at().is_some_and(|at| at <= now))
            .take(most)
            .map(|entry| {
                entry.history.mark_prewarmed();
                entry.version.clone()
            })
            .collect();
        self.counters.prewarms += due.len() as u64;
        due
    }

    /// Idle instances that `dead` tells to be dead, to be stopped.
    pub fn take_dead(&mut self, dead: impl Fn(&I) -> bool) -> Vec<I> {
        let ids = self.idle_that(dead);
        self.counters.deaths_while_idle += ids.len() as u64;
        self.take_idle(&ids)
    }

    /// Idle instances that `worn_out` tells to be too old to take an event, to be stopped.
    pub fn take_worn_out(&mut self, worn_out: impl Fn(&I) -> bool) -> Vec<I> {
        let ids = self.idle_that(worn_out);
        self.take_idle(&ids)
    }

    fn idle_that(&self, is_meant: impl Fn(&I) -> bool) -> Vec<u64> {
        let idle = self.entries.values().flat_map(|entry| &entry.idle);
        idle.filter(|idle| is_meant(&idle.instance)).map(|idle| idle.id).collect()
    }

    /// Freezes with `freeze` at most `most` idle instances that were idle for `delay`. Whether there may be more.
    pub fn freeze_due(
        &mut self,
        delay: Duration,
        now: Instant,
        most: usize,
        mut freeze: impl FnMut(&mut I),
    ) -> bool {
        let mut frozen = 0;
        for idle in self.entries.values_mut().flat_map(|entry| &mut entry.idle) {
            if !idle.frozen && now.saturating_duration_since(idle.since) >= delay {
                if frozen == most {
                    return true;
                }
                freeze(&mut idle.instance);
                idle.frozen = true;
                frozen += 1;
            }
        }
        false
    }

    /// While memory is wanted: what `reclaim` makes of at most `most` instances that were idle for `delay`, those idle for
    /// longest first and each once between two calls.
    pub fn reclaim_due<T>(
        &mut self,
        delay: Duration,
        now: Instant,
        most: usize,
        mut reclaim: impl FnMut(&I) -> T,
    ) -> Vec<T> {
        if self.used.memory_bytes <= memory_wanted_above(self.bounds.budget.memory_bytes) {
            return Vec::new();
        }
        let idle = self.entries.values_mut().flat_map(|entry| &mut entry.idle);
        let mut due: Vec<_> = idle
            .filter(|idle| idle.frozen && !idle.reclaimed)
            .filter(|idle| now.saturating_duration_since(idle.since) >= delay)
            .collect();
        due.sort_by_key(|idle| (idle.since, idle.id));
        due.truncate(most);
        self.counters.reclaims += due.len() as u64;
        due.into_iter()
            .map(|idle| {
                idle.reclaimed = true;
                reclaim(&idle.instance)
            })
            .collect()
    }

    /// When the next idle instance is to be frozen or stopped, or an instance started ahead of a call. `None` when
    /// nothing of the kind is foreseen.
    pub fn next_due(&self, freeze_after: Duration, keep_alive: Duration, now: Instant) -> Option<Instant> {
        self.entries
            .values()
            .flat_map(|entry| &entry.idle)
            .map(|idle| idle.since + if idle.frozen { keep_alive } else { freeze_after.min(keep_alive) })
            .chain(
                self.entries
                    .values()
                    .filter(|entry| entry.may_prewarm(now))
                    .filter_map(|entry| entry.history.prewarm_at()),
            )
            .min()
    }

    pub(super) fn take_idle(&mut self, ids: &[u64]) -> Vec<I> {
        if ids.is_empty() {
            return Vec::new();
        }
        let mut taken = Vec::new();
        let mut changes = Vec::new();
        for (entry_id, entry) in &mut self.entries {
            for idle in entry.idle.extract_if(.., |idle| ids.contains(&idle.id)) {
                changes.push((*entry_id, idle.claim_bytes));
                taken.push(idle.instance);
            }
        }
        for (entry_id, claim_bytes) in changes {
            self.change(entry_id, claim_bytes, Phase::Idle, Phase::Stopping);
        }
        taken
    }

    pub(super) fn idle_instances(&self, now: Instant) -> Vec<IdleInstance> {
        let entries = self.entries.values();
        entries
            .flat_map(|entry| {
                entry.idle.iter().map(|idle| IdleInstance {
                    id: idle.id,
                    since: idle.since,
                    claim_bytes: idle.claim_bytes,
                    priority: entry.history.priority(idle.clock, idle.claim_bytes, now),
                })
            })
            .collect()
    }
}
