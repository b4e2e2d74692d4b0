//! The way to an instance: an idle one, room for a new one, or a place in the queue; and back when the run is over.

use super::idle::Idle;
use super::phase::Phase;
use super::{EntryId, Registry};
use crate::policy::{Shortage, fits, victims};
use lamplight_model::{FunctionVersion, TenantId};
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// What a waiting call is given in the end.
#[derive(Debug)]
pub enum Grant<I> {
    /// An instance of its version, already in phase `Running`.
    Instance(I),
    /// Room to start one, already counted in phase `Starting`; bytes claimed.
    Room(u64),
}

/// The answer to a call for an instance.
#[derive(Debug)]
pub enum Acquired<I> {
    /// Now.
    Granted(Grant<I>),
    /// When the channel says so. A dropped sender means the pool is closing.
    Waiting(oneshot::Receiver<Grant<I>>),
    /// Too many wait already.
    Refused,
    /// Its function has started so many lately that it must not start another.
    TooFast,
}

/// What `acquire` decided: besides the answer, instances to be stopped now.
#[derive(Debug)]
pub struct Acquisition<I> {
    /// The version's entry.
    pub entry: EntryId,
    /// The answer.
    pub acquired: Acquired<I>,
    /// In phase `Stopping` already: evicted, or of an older revision.
    pub to_stop: Vec<I>,
}

#[derive(Debug)]
pub(super) struct Waiting<I> {
    pub(super) entry: EntryId,
    pub(super) claim_bytes: u64,
    pub(super) grant: oneshot::Sender<Grant<I>>,
}

impl<I> Registry<I> {
    /// An instance for `version`, and for `tenant` alone if there is one: the most recently used idle one, else room for
    /// a new one, else a place in the queue.
    pub fn acquire(
        &mut self,
        version: &Arc<FunctionVersion>,
        tenant: Option<&TenantId>,
        now: Instant,
    ) -> Acquisition<I> {
        let (entry_id, mut to_stop) = self.find_or_create(version, tenant, now);
        let acquired = self.acquire_in(entry_id, now, &mut to_stop);
        Acquisition { entry: entry_id, acquired, to_stop }
    }

    /// Room for an instance nobody waits for: its entry and its claim in bytes, counted as starting. Only room that is
    /// free and that no call waits for; `None` for a version that was replaced or deleted. Besides, the idle
    /// instances of an older revision, to be stopped now.
    pub fn reserve(
        &mut self,
        version: &Arc<FunctionVersion>,
        now: Instant,
    ) -> (Option<(EntryId, u64)>, Vec<I>) {
        if self.closed || !self.waiting.is_empty() {
            return (None, Vec::new());
        }
        let (entry_id, to_stop) = self.find_or_create(version, None, now);
        (self.reserve_in(entry_id), to_stop)
    }

    fn reserve_in(&mut self, entry_id: EntryId) -> Option<(EntryId, u64)> {
        let entry = self.entries.get(&entry_id).filter(|entry| !entry.retired)?;
        let claim = entry.claim_bytes();
        if !fits(self.bounds.budget, self.used, claim) {
            return None;
        }
        self.take_room(entry_id, claim);
        Some((entry_id, claim))
    }

    fn acquire_in(&mut self, entry_id: EntryId, now: Instant, to_stop: &mut Vec<I>) -> Acquired<I> {
        let Some(entry) = self.entries.get_mut(&entry_id) else { return Acquired::Refused };
        entry.last_used = now;
        entry.history.called(entry.counts.running + entry.counts.starting == 0, now);
        if let Some(idle) = entry.idle.pop() {
            entry.counts.idle -= 1;
            entry.counts.running += 1;
            self.counters.reuses += 1;
            return Acquired::Granted(Grant::Instance(idle.instance));
        }
        let claim = entry.claim_bytes();
        let has_room = self.waiting.is_empty() && fits(self.bounds.budget, self.used, claim);
        if !has_room && (self.closed || self.waiting.len() >= self.bounds.waiting_calls) {
            self.counters.refusals += 1;
            return Acquired::Refused;
        }
        if !self.scaling.take(&entry.version, now) {
            self.counters.refusals += 1;
            return Acquired::TooFast;
        }
        if has_room {
            self.take_room(entry_id, claim);
            return Acquired::Granted(Grant::Room(claim));
        }
        let (grant, receiver) = oneshot::channel();
        self.waiting.push_back(Waiting { entry: entry_id, claim_bytes: claim, grant });
        self.counters.waits += 1;
        let evicted = self.evict(Shortage::default(), now);
        self.counters.evictions += evicted.len() as u64;
        to_stop.extend(evicted);
        Acquired::Waiting(receiver)
    }

    /// Idle instances whose end makes room for one of `version`, to be stopped. None while calls wait: those make
    /// their own room.
    pub fn make_room(&mut self, version: &Arc<FunctionVersion>, now: Instant) -> Vec<I> {
        if self.closed || !self.waiting.is_empty() {
            return Vec::new();
        }
        let (entry_id, mut to_stop) = self.find_or_create(version, None, now);
        let claim = self.entries.get(&entry_id).map_or(0, super::versions::Entry::claim_bytes);
        let evicted = self.evict(Shortage { memory_bytes: claim, instances: 1 }, now);
        self.counters.evictions += evicted.len() as u64;
        to_stop.extend(evicted);
        to_stop
    }

    /// Gives an instance that is counted as running to a call that waits for one of its version. Gives it back when
    /// none does.
    pub fn hand_over(&mut self, entry_id: EntryId, mut instance: I) -> Option<I> {
        while let Some(at) = self.waiting.iter().position(|waiting| waiting.entry == entry_id) {
            let Some(waiting) = self.waiting.remove(at) else { break };
            match waiting.grant.send(Grant::Instance(instance)) {
                Ok(()) => {
                    self.counters.reuses += 1;
                    return None;
                }
                Err(Grant::Instance(back)) => instance = back,
                // Cannot be: the value is the one just sent.
                Err(Grant::Room(_)) => return None,
            }
        }
        Some(instance)
    }

    /// The run of an instance is over and it waits for the next. Gives it back when it is to be stopped
    /// instead (phase `Stopping`); otherwise it went to the idle ones or to a waiting call.
    ///
    /// `claim_bytes` is what it counts for.
    pub fn finished(&mut self, entry_id: EntryId, instance: I, claim_bytes: u64, now: Instant) -> Option<I> {
        if let Some(entry) = self.entries.get_mut(&entry_id) {
            entry.history.ended(now);
        }
        self.settle(entry_id, instance, claim_bytes, now)
    }

    /// An instance that was started without a call waits for its first. As `finished`, but it is no sign of use.
    pub fn settle(&mut self, entry_id: EntryId, instance: I, claim_bytes: u64, now: Instant) -> Option<I> {
        // An entry with a running instance is never forgotten; should it be, the instance is of no use.
        let Some(entry) = self.entries.get_mut(&entry_id) else { return Some(instance) };
        entry.last_used = now;
        if entry.retired || self.closed {
            self.counters.retirements += 1;
            self.change(entry_id, claim_bytes, Phase::Running, Phase::Stopping);
            return Some(instance);
        }
        let instance = self.hand_over(entry_id, instance)?;
        self.waiting.retain(|waiting| !waiting.grant.is_closed());
        if !self.waiting.is_empty() {
            // Others wait for room: this instance is the next to be evicted, so it goes at once.
            self.counters.evictions += 1;
            self.change(entry_id, claim_bytes, Phase::Running, Phase::Stopping);
            return Some(instance);
        }
        self.next_id += 1;
        let (id, clock) = (self.next_id, self.clock);
        let Some(entry) = self.entries.get_mut(&entry_id) else { return Some(instance) };
        entry.counts.running -= 1;
        entry.counts.idle += 1;
        entry.idle.push(Idle {
            id,
            instance,
            since: now,
            claim_bytes,
            clock,
            frozen: false,
            reclaimed: false,
        });
        None
    }

    /// Idle instances whose end makes room for the calls that wait and for `more`.
    fn evict(&mut self, more: Shortage, now: Instant) -> Vec<I> {
        let waiting: u64 = self.waiting.iter().map(|waiting| waiting.claim_bytes).sum();
        let needed = waiting + more.memory_bytes;
        let budget = self.bounds.budget;
        let staying = self.used.memory_bytes.saturating_sub(self.stopping.memory_bytes);
        let staying_count = self.used.instances.saturating_sub(self.stopping.instances);
        let shortage = Shortage {
            memory_bytes: (staying + needed).saturating_sub(budget.memory_bytes),
            instances: (staying_count + self.waiting.len() + more.instances).saturating_sub(budget.instances),
        };
        let victims = victims(&self.idle_instances(now), shortage);
        self.clock = self.clock.max(victims.clock);
        self.take_idle(&victims.ids)
    }

    fn take_room(&mut self, entry_id: EntryId, claim_bytes: u64) {
        self.used.memory_bytes = self.used.memory_bytes.saturating_add(claim_bytes);
        self.used.instances += 1;
        self.counters.starts += 1;
        if let Some(entry) = self.entries.get_mut(&entry_id) {
            entry.counts.starting += 1;
        }
    }

    /// Strictly in order of arrival: a large function must not starve behind small ones.
    pub(super) fn grant_room(&mut self) {
        while let Some(first) = self.waiting.front() {
            if !first.grant.is_closed() && !fits(self.bounds.budget, self.used, first.claim_bytes) {
                return;
            }
            let Some(waiting) = self.waiting.pop_front() else { return };
            let (entry, claim) = (waiting.entry, waiting.claim_bytes);
            if waiting.grant.send(Grant::Room(claim)).is_ok() {
                self.take_room(entry, claim);
            }
        }
    }
}
