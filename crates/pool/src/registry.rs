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

use crate::policy::{Budget, IdleInstance, Shortage, Use, claim_bytes, expired, fits, victims};
use lamplight_model::{FunctionName, FunctionVersion, Scope};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// A function version at one revision (and with one network setting): instances are reused within it only.
pub type EntryId = u64;

const MIB: u64 = 1024 * 1024;

/// Where an instance is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Being built or in its init phase.
    Starting,
    /// Running an invocation.
    Running,
    /// Waiting for one.
    Idle,
    /// Being killed; its room is not free yet.
    Stopping,
}

/// Instances by phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PhaseCounts {
    /// Being built or in init.
    pub starting: usize,
    /// Running an invocation.
    pub running: usize,
    /// Waiting for one.
    pub idle: usize,
    /// Being killed.
    pub stopping: usize,
}

impl PhaseCounts {
    fn of(&mut self, phase: Phase) -> &mut usize {
        match phase {
            Phase::Starting => &mut self.starting,
            Phase::Running => &mut self.running,
            Phase::Idle => &mut self.idle,
            Phase::Stopping => &mut self.stopping,
        }
    }

    /// All of them.
    pub fn total(&self) -> usize {
        self.starting + self.running + self.idle + self.stopping
    }
}

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

/// Counts since the start of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Rooms granted for a start.
    pub starts: u64,
    /// Calls served by an idle instance.
    pub reuses: u64,
    /// Idle instances stopped to make room.
    pub evictions: u64,
    /// Idle instances stopped after the keep-alive.
    pub expirations: u64,
    /// Instances stopped because their version was changed or deleted.
    pub retirements: u64,
    /// Idle instances found dead.
    pub deaths_while_idle: u64,
    /// Calls that had to wait for room.
    pub waits: u64,
    /// Calls refused for lack of room.
    pub refusals: u64,
}

#[derive(Debug)]
struct Idle<I> {
    id: u64,
    instance: I,
    since: Instant,
    claim_bytes: u64,
    frozen: bool,
}

#[derive(Debug)]
struct Entry<I> {
    version: Arc<FunctionVersion>,
    /// Most recently used last.
    idle: Vec<Idle<I>>,
    counts: PhaseCounts,
    highest_seen_bytes: u64,
    retired: bool,
    last_used: Instant,
}

#[derive(Debug)]
struct Waiting<I> {
    entry: EntryId,
    claim_bytes: u64,
    grant: oneshot::Sender<Grant<I>>,
}

/// Bounds the registry keeps.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// What all instances may take together.
    pub budget: Budget,
    /// Calls that may wait.
    pub waiting_calls: usize,
}

/// The state of the pool.
#[derive(Debug)]
pub struct Registry<I> {
    bounds: Bounds,
    entries: BTreeMap<EntryId, Entry<I>>,
    by_revision: HashMap<String, Vec<EntryId>>,
    waiting: VecDeque<Waiting<I>>,
    used: Use,
    stopping: Use,
    next_id: u64,
    counters: Counters,
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
            used: Use::default(),
            stopping: Use::default(),
            next_id: 0,
            counters: Counters::default(),
            closed: false,
        }
    }

    /// An instance for `version`: the most recently used idle one, else room for a new one, else a place in
    /// the queue.
    pub fn acquire(&mut self, version: &Arc<FunctionVersion>, now: Instant) -> Acquisition<I> {
        let mut to_stop = Vec::new();
        let entry_id = match self.find(version) {
            Some(entry_id) => entry_id,
            None => {
                to_stop.extend(self.retire_older(version));
                self.create(version, now)
            }
        };
        let acquired = self.acquire_in(entry_id, now, &mut to_stop);
        Acquisition { entry: entry_id, acquired, to_stop }
    }

    fn acquire_in(&mut self, entry_id: EntryId, now: Instant, to_stop: &mut Vec<I>) -> Acquired<I> {
        let Some(entry) = self.entries.get_mut(&entry_id) else { return Acquired::Refused };
        entry.last_used = now;
        if let Some(idle) = entry.idle.pop() {
            entry.counts.idle -= 1;
            entry.counts.running += 1;
            self.counters.reuses += 1;
            return Acquired::Granted(Grant::Instance(idle.instance));
        }
        let configured = u64::from(entry.version.memory_mib) * MIB;
        let claim = claim_bytes(configured, entry.highest_seen_bytes, crate::config::UNSEEN_CLAIM_BYTES);
        if self.waiting.is_empty() && fits(self.bounds.budget, self.used, claim) {
            self.take_room(entry_id, claim);
            return Acquired::Granted(Grant::Room(claim));
        }
        if self.closed || self.waiting.len() >= self.bounds.waiting_calls {
            self.counters.refusals += 1;
            return Acquired::Refused;
        }
        let (grant, receiver) = oneshot::channel();
        self.waiting.push_back(Waiting { entry: entry_id, claim_bytes: claim, grant });
        self.counters.waits += 1;
        let evicted = self.evict();
        self.counters.evictions += evicted.len() as u64;
        to_stop.extend(evicted);
        Acquired::Waiting(receiver)
    }

    /// The run of an instance is over and it waits for the next. Gives it back when it is to be stopped
    /// instead (phase `Stopping`); otherwise it went to the idle ones or to a waiting call.
    ///
    /// `claim_bytes` is what it counts for.
    pub fn finished(
        &mut self,
        entry_id: EntryId,
        mut instance: I,
        claim_bytes: u64,
        now: Instant,
    ) -> Option<I> {
        // An entry with a running instance is never forgotten; should it be, the instance is of no use.
        let Some(entry) = self.entries.get_mut(&entry_id) else { return Some(instance) };
        entry.last_used = now;
        if entry.retired || self.closed {
            self.counters.retirements += 1;
            self.change(entry_id, claim_bytes, Phase::Running, Phase::Stopping);
            return Some(instance);
        }
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
        self.waiting.retain(|waiting| !waiting.grant.is_closed());
        if !self.waiting.is_empty() {
            // Others wait for room: this instance is the next to be evicted, so it goes at once.
            self.counters.evictions += 1;
            self.change(entry_id, claim_bytes, Phase::Running, Phase::Stopping);
            return Some(instance);
        }
        self.next_id += 1;
        let id = self.next_id;
        let Some(entry) = self.entries.get_mut(&entry_id) else { return Some(instance) };
        entry.counts.running -= 1;
        entry.counts.idle += 1;
        entry.idle.push(Idle { id, instance, since: now, claim_bytes, frozen: false });
        None
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

    /// Retires every version of a function: idle instances are given back to be stopped, running ones stop
    /// after their run.
    pub fn retire_function(&mut self, scope: &Scope, name: &FunctionName) -> Vec<I> {
        let retired = self.retire(|version| version.scope == *scope && version.name == *name);
        self.counters.retirements += retired.len() as u64;
        retired
    }

    /// Idle instances that have outlived `keep_alive`, to be stopped.
    pub fn take_expired(&mut self, keep_alive: Duration, now: Instant) -> Vec<I> {
        let ids = expired(&self.idle_instances(), keep_alive, now);
        self.counters.expirations += ids.len() as u64;
        self.take_idle(&ids)
    }

    /// Idle instances that `dead` tells to be dead, to be stopped.
    pub fn take_dead(&mut self, dead: impl Fn(&I) -> bool) -> Vec<I> {
        let ids: Vec<u64> = self
            .entries
            .values()
            .flat_map(|entry| &entry.idle)
            .filter(|idle| dead(&idle.instance))
            .map(|idle| idle.id)
            .collect();
        self.counters.deaths_while_idle += ids.len() as u64;
        self.take_idle(&ids)
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

    /// When the next idle instance is to be frozen or stopped. `None` when there is none.
    pub fn next_due(&self, freeze_after: Duration, keep_alive: Duration) -> Option<Instant> {
        self.entries
            .values()
            .flat_map(|entry| &entry.idle)
            .map(|idle| idle.since + if idle.frozen { keep_alive } else { freeze_after.min(keep_alive) })
            .min()
    }

    /// Forgets versions that have no instance and were not called for `unused_for`.
    pub fn forget_unused(&mut self, unused_for: Duration, now: Instant) {
        let waited_for: Vec<EntryId> = self.waiting.iter().map(|waiting| waiting.entry).collect();
        self.entries.retain(|id, entry| {
            entry.counts.total() > 0
                || waited_for.contains(id)
                || (!entry.retired && now.saturating_duration_since(entry.last_used) < unused_for)
        });
        let entries = &self.entries;
        self.by_revision.retain(|_, ids| {
            ids.retain(|id| entries.contains_key(id));
            !ids.is_empty()
        });
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

    /// Every version known, its phases, and how many of its idle instances are frozen.
    pub fn versions(&self) -> Vec<(Arc<FunctionVersion>, PhaseCounts, usize)> {
        self.entries
            .values()
            .map(|entry| {
                let frozen = entry.idle.iter().filter(|idle| idle.frozen).count();
                (entry.version.clone(), entry.counts, frozen)
            })
            .collect()
    }

    /// Counts since the start, what is used now, how many calls wait.
    pub fn totals(&self) -> (Counters, Use, usize) {
        (self.counters, self.used, self.waiting.len())
    }

    fn find(&self, version: &FunctionVersion) -> Option<EntryId> {
        let ids = self.by_revision.get(version.revision_id.as_str())?;
        ids.iter().copied().find(|id| {
            self.entries.get(id).is_some_and(|entry| {
                let known = &entry.version;
                known.version == version.version
                    && known.name == version.name
                    && known.egress == version.egress
                    && known.code == version.code
                    && known.scope == version.scope
            })
        })
    }

    fn create(&mut self, version: &Arc<FunctionVersion>, now: Instant) -> EntryId {
        self.next_id += 1;
        let id = self.next_id;
        // A call that was resolved before an update and arrives after the first call of the new revision
        // still runs its own revision, on an instance for itself.
        let retired = self.entries.values().any(|entry| {
            same_version(&entry.version, version) && entry.version.last_modified > version.last_modified
        });
        self.entries.insert(
            id,
            Entry {
                version: version.clone(),
                idle: Vec::new(),
                counts: PhaseCounts::default(),
                highest_seen_bytes: 0,
                retired,
                last_used: now,
            },
        );
        self.by_revision.entry(version.revision_id.clone()).or_default().push(id);
        id
    }

    fn retire_older(&mut self, version: &FunctionVersion) -> Vec<I> {
        let retired =
            self.retire(|known| same_version(known, version) && known.last_modified <= version.last_modified);
        self.counters.retirements += retired.len() as u64;
        retired
    }

    fn retire(&mut self, which: impl Fn(&FunctionVersion) -> bool) -> Vec<I> {
        let mut ids = Vec::new();
        for entry in self.entries.values_mut().filter(|entry| which(&entry.version)) {
            entry.retired = true;
            ids.extend(entry.idle.iter().map(|idle| idle.id));
        }
        // A retired entry is not found again: the same revision may come back after a delete only by a new
        // create, which has a revision of its own.
        self.take_idle(&ids)
    }

    fn take_idle(&mut self, ids: &[u64]) -> Vec<I> {
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

    fn idle_instances(&self) -> Vec<IdleInstance> {
        self.entries
            .values()
            .flat_map(|entry| &entry.idle)
            .map(|idle| IdleInstance { id: idle.id, since: idle.since, claim_bytes: idle.claim_bytes })
            .collect()
    }

    fn evict(&mut self) -> Vec<I> {
        let needed: u64 = self.waiting.iter().map(|waiting| waiting.claim_bytes).sum();
        let budget = self.bounds.budget;
        let staying = self.used.memory_bytes.saturating_sub(self.stopping.memory_bytes);
        let staying_count = self.used.instances.saturating_sub(self.stopping.instances);
        let shortage = Shortage {
            memory_bytes: (staying + needed).saturating_sub(budget.memory_bytes),
            instances: (staying_count + self.waiting.len()).saturating_sub(budget.instances),
        };
        let ids = victims(&self.idle_instances(), shortage);
        self.take_idle(&ids)
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
    fn grant_room(&mut self) {
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

fn same_version(one: &FunctionVersion, other: &FunctionVersion) -> bool {
    one.version == other.version && one.name == other.name && one.scope == other.scope
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::version;

    const CLAIM: u64 = crate::config::UNSEEN_CLAIM_BYTES;

    struct Node {
        registry: Registry<&'static str>,
        now: Instant,
    }

    impl Node {
        /// Room for so many instances.
        fn with_room_for(instances: usize) -> Self {
            let budget = Budget { memory_bytes: 1_000_000 * MIB, instances };
            Self { registry: Registry::new(Bounds { budget, waiting_calls: 2 }), now: Instant::now() }
        }

        fn later(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
        }

        fn acquire(&mut self, version: &Arc<FunctionVersion>) -> Acquisition<&'static str> {
            self.registry.acquire(version, self.now)
        }

        /// Expects room, and makes it a running instance.
        fn start(&mut self, version: &Arc<FunctionVersion>) -> EntryId {
            let acquisition = self.acquire(version);
            assert!(matches!(acquisition.acquired, Acquired::Granted(Grant::Room(CLAIM))));
            self.registry.change(acquisition.entry, CLAIM, Phase::Starting, Phase::Running);
            acquisition.entry
        }

        fn finish(&mut self, entry: EntryId, instance: &'static str) -> Option<&'static str> {
            self.registry.finished(entry, instance, CLAIM, self.now)
        }

        fn counts(&self) -> (usize, usize, usize, usize) {
            let mut sum = (0, 0, 0, 0);
            for (_, counts, _) in self.registry.versions() {
                sum.0 += counts.starting;
                sum.1 += counts.running;
                sum.2 += counts.idle;
                sum.3 += counts.stopping;
            }
            sum
        }
    }

    fn instance_of(acquired: Acquired<&'static str>) -> Option<&'static str> {
        match acquired {
            Acquired::Granted(Grant::Instance(instance)) => Some(instance),
            _ => None,
        }
    }

    fn waiting(acquired: Acquired<&'static str>) -> oneshot::Receiver<Grant<&'static str>> {
        match acquired {
            Acquired::Waiting(receiver) => receiver,
            other => panic!("expected to wait, got {other:?}"),
        }
    }

    #[test]
    fn the_most_recently_used_instance_is_reused() {
        let mut node = Node::with_room_for(10);
        let hello = Arc::new(version("hello", "python3.13"));
        let entry = node.start(&hello);
        node.start(&hello);
        assert_eq!(node.finish(entry, "first"), None);
        assert_eq!(node.finish(entry, "second"), None);
        assert_eq!(node.counts(), (0, 0, 2, 0));
        assert_eq!(instance_of(node.acquire(&hello).acquired), Some("second"));
        assert_eq!(instance_of(node.acquire(&hello).acquired), Some("first"));
        assert_eq!(node.counts(), (0, 2, 0, 0));
    }

    #[test]
    fn functions_do_not_share_instances() {
        let mut node = Node::with_room_for(10);
        let (hello, other) = (Arc::new(version("hello", "p")), Arc::new(version("other", "p")));
        let entry = node.start(&hello);
        node.finish(entry, "hello's");
        node.start(&other);
        let mut published = version("hello", "p");
        published.version = lamplight_model::VersionNumber::Published(1);
        node.start(&Arc::new(published));
        let mut elsewhere = version("hello", "p");
        elsewhere.scope.region = lamplight_model::Region::parse("eu-west-1").unwrap();
        node.start(&Arc::new(elsewhere));
    }

    #[test]
    fn an_update_retires_the_old_revision() {
        let mut node = Node::with_room_for(10);
        let old = Arc::new(version("hello", "p"));
        let mut new = version("hello", "p");
        new.revision_id = "new".to_owned();
        new.last_modified = lamplight_model::Timestamp(2);
        let new = Arc::new(new);

        let entry = node.start(&old);
        node.start(&old);
        node.finish(entry, "idle and old");
        let acquisition = node.acquire(&new);
        assert_eq!(acquisition.to_stop, ["idle and old"]);
        assert!(matches!(acquisition.acquired, Acquired::Granted(Grant::Room(_))));
        assert_eq!(node.finish(entry, "was running"), Some("was running"));
        assert_eq!(node.counts(), (1, 0, 0, 2));
    }

    #[test]
    fn a_late_call_of_the_old_revision_leaves_the_new_one_alone() {
        let mut node = Node::with_room_for(10);
        let old = Arc::new(version("hello", "p"));
        let mut new = version("hello", "p");
        new.revision_id = "new".to_owned();
        new.last_modified = lamplight_model::Timestamp(2);
        let new = Arc::new(new);
        let entry = node.start(&new);
        node.finish(entry, "new");
        let late = node.start(&old);
        assert_eq!(node.finish(late, "old"), Some("old"));
        assert_eq!(instance_of(node.acquire(&new).acquired), Some("new"));
    }

    #[test]
    fn a_deleted_function_keeps_no_instance() {
        let mut node = Node::with_room_for(10);
        let hello = Arc::new(version("hello", "p"));
        let entry = node.start(&hello);
        node.start(&hello);
        node.finish(entry, "idle");
        assert_eq!(node.registry.retire_function(&hello.scope, &hello.name), ["idle"]);
        assert_eq!(node.finish(entry, "running"), Some("running"));
    }

    #[test]
    fn a_full_node_evicts_the_oldest_idle_instance() {
        let mut node = Node::with_room_for(2);
        let (one, two) = (Arc::new(version("one", "p")), Arc::new(version("two", "p")));
        let three = Arc::new(version("three", "p"));
        let (first, second) = (node.start(&one), node.start(&two));
        node.finish(first, "one");
        node.later(1);
        node.finish(second, "two");
        let acquisition = node.acquire(&three);
        assert_eq!(acquisition.to_stop, ["one"]);
        let mut place = waiting(acquisition.acquired);
        assert!(place.try_recv().is_err());
        // A second call does not evict for the first one again.
        let acquisition = node.acquire(&three);
        assert_eq!(acquisition.to_stop, ["two"]);
        node.registry.release(first, CLAIM, Phase::Stopping);
        assert!(matches!(place.try_recv(), Ok(Grant::Room(CLAIM))));
        assert_eq!(node.registry.totals().0.evictions, 2);
    }

    #[test]
    fn a_waiting_call_takes_the_instance_of_its_version() {
        let mut node = Node::with_room_for(1);
        let hello = Arc::new(version("hello", "p"));
        let entry = node.start(&hello);
        let mut place = waiting(node.acquire(&hello).acquired);
        assert_eq!(node.finish(entry, "it"), None);
        assert!(matches!(place.try_recv(), Ok(Grant::Instance("it"))));
        assert_eq!(node.counts(), (0, 1, 0, 0));
    }

    #[test]
    fn an_instance_makes_room_for_who_waits_for_another_version() {
        let mut node = Node::with_room_for(1);
        let (one, two) = (Arc::new(version("one", "p")), Arc::new(version("two", "p")));
        let entry = node.start(&one);
        let mut place = waiting(node.acquire(&two).acquired);
        assert_eq!(node.finish(entry, "one"), Some("one"));
        node.registry.release(entry, CLAIM, Phase::Stopping);
        assert!(matches!(place.try_recv(), Ok(Grant::Room(CLAIM))));
    }

    #[test]
    fn the_queue_is_bounded_and_forgets_who_went_away() {
        let mut node = Node::with_room_for(1);
        let hello = Arc::new(version("hello", "p"));
        let entry = node.start(&hello);
        let gone = waiting(node.acquire(&hello).acquired);
        let mut stays = waiting(node.acquire(&hello).acquired);
        assert!(matches!(node.acquire(&hello).acquired, Acquired::Refused));
        drop(gone);
        assert_eq!(node.finish(entry, "it"), None);
        assert!(matches!(stays.try_recv(), Ok(Grant::Instance("it"))));
        assert_eq!(node.registry.totals().0.refusals, 1);
    }

    #[test]
    fn who_came_first_gets_the_room() {
        let mut node = Node::with_room_for(1);
        let (one, two) = (Arc::new(version("one", "p")), Arc::new(version("two", "p")));
        let entry = node.start(&one);
        let mut first = waiting(node.acquire(&two).acquired);
        let mut second = waiting(node.acquire(&two).acquired);
        node.registry.release(entry, CLAIM, Phase::Running);
        assert!(matches!(first.try_recv(), Ok(Grant::Room(_))));
        assert!(second.try_recv().is_err());
    }

    #[test]
    fn idle_instances_freeze_then_expire() {
        let mut node = Node::with_room_for(10);
        let hello = Arc::new(version("hello", "p"));
        let entry = node.start(&hello);
        node.start(&hello);
        node.finish(entry, "old");
        node.later(1);
        node.finish(entry, "young");
        let (freeze_after, keep_alive) = (Duration::from_secs(1), Duration::from_secs(10));
        let mut frozen = Vec::new();
        let more = node.registry.freeze_due(freeze_after, node.now, 8, |instance| frozen.push(*instance));
        assert_eq!((frozen, more), (vec!["old"], false));
        assert_eq!(node.registry.next_due(freeze_after, keep_alive), Some(node.now + freeze_after));
        node.later(9);
        assert_eq!(node.registry.take_expired(keep_alive, node.now), ["old"]);
        node.later(1);
        assert_eq!(node.registry.take_expired(keep_alive, node.now), ["young"]);
        assert_eq!(node.counts(), (0, 0, 0, 2));
        for _ in 0..2 {
            node.registry.release(entry, CLAIM, Phase::Stopping);
        }
        assert_eq!(node.registry.totals().1, Use::default());
        node.later(100);
        node.registry.forget_unused(Duration::from_secs(50), node.now);
        assert!(node.registry.versions().is_empty());
    }

    #[test]
    fn what_was_measured_counts() {
        let mut node = Node::with_room_for(10);
        let hello = Arc::new(version("hello", "p"));
        let entry = node.start(&hello);
        assert_eq!(node.registry.learn(entry, CLAIM, 60 * MIB), 60 * MIB);
        assert_eq!(node.registry.totals().1.memory_bytes, 60 * MIB);
        assert!(
            matches!(node.acquire(&hello).acquired, Acquired::Granted(Grant::Room(claim)) if claim == 60 * MIB)
        );
    }

    #[test]
    fn a_closed_pool_lets_everybody_go() {
        let mut node = Node::with_room_for(1);
        let hello = Arc::new(version("hello", "p"));
        let entry = node.start(&hello);
        let mut place = waiting(node.acquire(&hello).acquired);
        assert!(node.registry.close().is_empty());
        assert!(matches!(place.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
        assert_eq!(node.finish(entry, "it"), Some("it"));
        assert_eq!(node.registry.busy(), 0);
    }
}
