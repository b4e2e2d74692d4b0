//! Which instances there are, in which phase, and who waits for room: the state of the pool, without I/O.
//!
//! Owned by `pool` behind one mutex that is never held across an await. Generic over the instance so that its
//! rules are proven without processes.
//!
//! ```text
//!            room            started            asked for next
//! (nothing) ------> Starting -------> Running <---------------> Idle
//!                      |                 |     most recent       |
//!                      |                 | poisoned, retired     | expired, evicted, retired
//!                      +-----------------+---------> Stopping <--+ ----> (nothing: room is free)
//! ```

mod acquire;
mod history;
mod idle;
mod phase;
mod scaling;
#[cfg(test)]
mod tests;
mod versions;

pub use acquire::{Acquired, Acquisition, Grant};
pub use phase::{Counters, Phase, PhaseCounts};

use crate::policy::{Budget, Use, claim_bytes};
use acquire::Waiting;
use lamplight_model::rate::Rate;
use scaling::Scaling;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;
use versions::Entry;

/// A function version at one revision (with one network setting, and of one tenant if it keeps them apart): instances are
/// reused within it only.
pub type EntryId = u64;

const MIB: u64 = 1024 * 1024;

/// Bounds the registry keeps.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// What all instances may take together.
    pub budget: Budget,
    /// Calls that may wait.
    pub waiting_calls: usize,
    /// Step in which times without calls are counted.
    pub histogram_bin: Duration,
    /// New instances that calls of one function may start.
    pub starts_of_a_function: Rate,
}

/// The state of the pool.
#[derive(Debug)]
pub struct Registry<I> {
    bounds: Bounds,
    entries: BTreeMap<EntryId, Entry<I>>,
    by_revision: HashMap<String, Vec<EntryId>>,
    waiting: VecDeque<Waiting<I>>,
    scaling: Scaling,
    used: Use,
    stopping: Use,
    next_id: u64,
    counters: Counters,
    /// Greedy-Dual's: see `policy::priority`.
    clock: f64,
    closed: bool,
}

impl<I> Registry<I> {
    /// An empty one.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            entries: BTreeMap::new(),
            by_revision: HashMap::new(),
            waiting: VecDeque::new(),
            scaling: Scaling::new(bounds.starts_of_a_function),
            used: Use::default(),
            stopping: Use::default(),
            next_id: 0,
            counters: Counters::default(),
            clock: 0.0,
            closed: false,
        }
    }

    /// Changes how many instances calls of one function may start in so much time.
    pub fn set_starts_of_a_function(&mut self, rate: Rate) {
        self.scaling.set_rate(rate);
    }

    /// Learns the highest memory use of an instance and gives what such an instance counts for from now on,
    /// having changed the claim of this one.
    pub fn learn(&mut self, entry_id: EntryId, claim: u64, seen_bytes: u64) -> u64 {
        let Some(entry) = self.entries.get_mut(&entry_id) else { return claim };
        entry.highest_seen_bytes = entry.highest_seen_bytes.max(seen_bytes);
        let configured = u64::from(entry.version.memory_mib) * MIB;
        let new = claim_bytes(configured, seen_bytes, crate::config::UNSEEN_CLAIM_BYTES);
        self.used.memory_bytes = self.used.memory_bytes.saturating_sub(claim).saturating_add(new);
        if new < claim {
            self.grant_room();
        }
        new
    }

    /// Learns what a cold start of this version costs.
    pub fn started(&mut self, entry_id: EntryId, cold_start: Duration) {
        if let Some(entry) = self.entries.get_mut(&entry_id) {
            entry.history.started(cold_start);
        }
    }

    /// Moves one instance (or the room for it) to another phase.
    pub fn change(&mut self, entry_id: EntryId, claim_bytes: u64, from: Phase, to: Phase) {
        if let Some(entry) = self.entries.get_mut(&entry_id) {
            let count = entry.counts.of(from);
            *count = count.saturating_sub(1);
            *entry.counts.of(to) += 1;
        }
        if from != Phase::Stopping && to == Phase::Stopping {
            self.stopping.memory_bytes += claim_bytes;
            self.stopping.instances += 1;
        }
    }

    /// An instance (or the room for it) is gone.
    pub fn release(&mut self, entry_id: EntryId, claim_bytes: u64, phase: Phase) {
        if let Some(entry) = self.entries.get_mut(&entry_id) {
            let count = entry.counts.of(phase);
            *count = count.saturating_sub(1);
        }
        self.used.memory_bytes = self.used.memory_bytes.saturating_sub(claim_bytes);
        self.used.instances = self.used.instances.saturating_sub(1);
        if phase == Phase::Stopping {
            self.stopping.memory_bytes = self.stopping.memory_bytes.saturating_sub(claim_bytes);
            self.stopping.instances = self.stopping.instances.saturating_sub(1);
        }
        self.grant_room();
    }

    /// Refuses every further call, lets those that wait go, and gives all idle instances back to be stopped.
    pub fn close(&mut self) -> Vec<I> {
        self.closed = true;
        self.waiting.clear();
        self.retire(|_| true)
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Memory that no instance claims, bytes.
    pub fn room_bytes(&self) -> u64 {
        self.bounds.budget.memory_bytes.saturating_sub(self.used.memory_bytes)
    }

    /// Instances starting or running.
    pub fn busy(&self) -> usize {
        self.entries.values().map(|entry| entry.counts.starting + entry.counts.running).sum()
    }

    /// Counts since the start, what is used now, how many calls wait.
    pub fn totals(&self) -> (Counters, Use, usize) {
        (self.counters, self.used, self.waiting.len())
    }
}
