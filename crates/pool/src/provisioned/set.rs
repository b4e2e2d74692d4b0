//! Which provisioned instances there are and which are missing: state and decisions, without I/O.
//!
//! Owned by the pool behind one mutex that is never held across an await. Generic over the instance so that its
//! rules are proven without processes. Instances count from the moment their start is decided until their
//! `Membership` is dropped, whatever ends them.

use super::{ProvisionedCounts, ProvisionedFailure, ProvisionedState, ProvisionedTarget};
use lamplight_model::{FunctionName, FunctionVersion, Scope, VersionNumber};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// One version at one revision with a target; a later target of another revision has another.
pub type KeptId = u64;

/// Starts of one version at the same time.
const STARTS_AT_ONCE: usize = 16;
/// Pauses between starts of a version whose starts fail: doubled from the first to the last.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

#[derive(Debug)]
struct Idle<I> {
    instance: I,
    since: Instant,
    frozen: bool,
}

/// The last start that failed; forgotten when one succeeds.
#[derive(Debug)]
struct Failure {
    what: ProvisionedFailure,
    attempts: u32,
    retry_at: Instant,
}

#[derive(Debug)]
struct Kept<I> {
    version: Arc<FunctionVersion>,
    /// 0 when the target was taken away and instances still run.
    wanted: usize,
    /// Most recently used last.
    idle: Vec<Idle<I>>,
    starting: usize,
    /// Idle or running.
    ready: usize,
    /// Given up and not gone yet.
    stopping: usize,
    failure: Option<Failure>,
}

/// The provisioned instances of a node.
#[derive(Debug)]
pub struct ProvisionedSet<I> {
    kept: BTreeMap<KeptId, Kept<I>>,
    next_id: KeptId,
    /// Starts that succeeded and that failed since the process began.
    started: u64,
    failed: u64,
    closed: bool,
}

impl<I> Default for ProvisionedSet<I> {
    fn default() -> Self {
        Self { kept: BTreeMap::new(), next_id: 0, started: 0, failed: 0, closed: false }
    }
}

impl<I> ProvisionedSet<I> {
    /// Makes `targets` all that is wanted. Gives back idle instances that are not wanted any more; running ones
    /// are refused by `give_back` later.
    pub fn set_targets(&mut self, targets: &[ProvisionedTarget]) -> Vec<I> {
        let targets = if self.closed { &[] } else { targets };
        for kept in self.kept.values_mut() {
            let target = targets.iter().find(|target| same(&kept.version, &target.version));
            let wanted = target.map_or(0, |target| target.instances);
            if wanted != kept.wanted {
                // Whoever asks for another number wants to know anew.
                kept.failure = None;
            }
            kept.wanted = wanted;
        }
        for target in targets {
            if self.kept.values().any(|kept| same(&kept.version, &target.version)) {
                continue;
            }
            self.next_id += 1;
            let kept = Kept {
                version: target.version.clone(),
                wanted: target.instances,
                idle: Vec::new(),
                starting: 0,
                ready: 0,
                stopping: 0,
                failure: None,
            };
            self.kept.insert(self.next_id, kept);
        }
        let surplus = self.take_surplus();
        self.forget_empty();
        surplus
    }

    /// Wants nothing any more, ever. Gives back the idle instances.
    pub fn close(&mut self) -> Vec<I> {
        self.closed = true;
        self.set_targets(&[])
    }

    /// The most recently used idle instance of a version. It stays counted.
    pub fn take(&mut self, version: &FunctionVersion) -> Option<I> {
        let kept = self.kept.values_mut().find(|kept| same(&kept.version, version))?;
        kept.idle.pop().map(|idle| idle.instance)
    }

    /// An instance that was started or has ended its run, to wait for the next. Gives it back when it is one too
    /// many: it is to be stopped then.
    pub fn give_back(&mut self, id: KeptId, instance: I, now: Instant) -> Option<I> {
        let Some(kept) = self.kept.get_mut(&id) else { return Some(instance) };
        if kept.ready > kept.wanted {
            kept.give_up(1);
            return Some(instance);
        }
        kept.idle.push(Idle { instance, since: now, frozen: false });
        None
    }

    /// The starts that are due, already counted: each is to get a `Membership`.
    pub fn take_due_starts(&mut self, now: Instant) -> Vec<(KeptId, Arc<FunctionVersion>)> {
        let mut due = Vec::new();
        for (id, kept) in &mut self.kept {
            let retry_at = kept.failure.as_ref().map(|failure| failure.retry_at);
            let starts = starts_due(kept.wanted, kept.ready, kept.starting, retry_at, now);
            kept.starting += starts;
            due.extend(std::iter::repeat_n((*id, kept.version.clone()), starts));
        }
        due
    }

    /// A start has succeeded.
    pub fn started(&mut self, id: KeptId) {
        self.started += 1;
        if let Some(kept) = self.kept.get_mut(&id) {
            kept.starting = kept.starting.saturating_sub(1);
            kept.ready += 1;
            kept.failure = None;
        }
    }

    /// A start has failed. Its count goes with its membership.
    pub fn failed(&mut self, id: KeptId, what: ProvisionedFailure, now: Instant) {
        self.failed += 1;
        if let Some(kept) = self.kept.get_mut(&id) {
            let attempts = kept.failure.as_ref().map_or(0, |failure| failure.attempts) + 1;
            kept.failure = Some(Failure { what, attempts, retry_at: now + pause(attempts) });
        }
    }

    /// An instance, or the start of one, is gone.
    pub fn left(&mut self, id: KeptId, was_ready: bool) {
        if let Some(kept) = self.kept.get_mut(&id) {
            let count = match was_ready {
                false => &mut kept.starting,
                true if kept.stopping > 0 => &mut kept.stopping,
                true => &mut kept.ready,
            };
            *count = count.saturating_sub(1);
        }
        self.forget_empty();
    }

    /// Idle instances that `dead` tells to be dead, to be stopped.
    pub fn take_dead(&mut self, dead: impl Fn(&I) -> bool) -> Vec<I> {
        let mut taken = Vec::new();
        for kept in self.kept.values_mut() {
            let before = taken.len();
            taken.extend(kept.idle.extract_if(.., |idle| dead(&idle.instance)).map(|idle| idle.instance));
            kept.give_up(taken.len() - before);
        }
        taken
    }

    /// Freezes at most `most` instances that were idle for `delay`. Whether there may be more.
    pub fn freeze_due(
        &mut self,
        delay: Duration,
        now: Instant,
        most: usize,
        mut freeze: impl FnMut(&mut I),
    ) -> bool {
        let mut frozen = 0;
        for idle in self.kept.values_mut().flat_map(|kept| &mut kept.idle).filter(|idle| !idle.frozen) {
            if now.saturating_duration_since(idle.since) >= delay {
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

    /// Whether any instance waits for a call.
    pub fn has_idle(&self) -> bool {
        self.kept.values().any(|kept| !kept.idle.is_empty())
    }

    /// When the next idle instance is to be frozen.
    pub fn next_freeze(&self, freeze_after: Duration) -> Option<Instant> {
        let idle = self.kept.values().flat_map(|kept| &kept.idle).filter(|idle| !idle.frozen);
        idle.map(|idle| idle.since + freeze_after).min()
    }

    /// When a start that failed is to be tried again.
    pub fn next_retry(&self) -> Option<Instant> {
        let lacking = self.kept.values().filter(|kept| kept.wanted > kept.ready + kept.starting);
        lacking.filter_map(|kept| Some(kept.failure.as_ref()?.retry_at)).min()
    }

    /// How it stands with a version.
    pub fn state(&self, scope: &Scope, name: &FunctionName, version: VersionNumber) -> ProvisionedState {
        let of_version = |kept: &&Kept<I>| {
            kept.wanted > 0 && kept.version.version == version && is_of(&kept.version, scope, name)
        };
        self.kept.values().find(of_version).map_or_else(ProvisionedState::default, |kept| ProvisionedState {
            ready: kept.ready,
            failure: kept.failure.as_ref().map(|failure| failure.what.clone()),
        })
    }

    /// Over all versions, and how many idle ones stand still.
    pub fn counts(&self) -> (ProvisionedCounts, usize) {
        let (started, failed) = (self.started, self.failed);
        let mut counts = ProvisionedCounts { started, failed, ..ProvisionedCounts::default() };
        let mut frozen = 0;
        for kept in self.kept.values() {
            counts.wanted += kept.wanted;
            counts.ready += kept.ready;
            counts.starting += kept.starting;
            frozen += kept.idle.iter().filter(|idle| idle.frozen).count();
        }
        (counts, frozen)
    }

    fn take_surplus(&mut self) -> Vec<I> {
        let mut surplus = Vec::new();
        for kept in self.kept.values_mut() {
            let beyond = kept.ready.saturating_sub(kept.wanted).min(kept.idle.len());
            surplus.extend(kept.idle.drain(..beyond).map(|idle| idle.instance));
            kept.give_up(beyond);
        }
        surplus
    }

    fn forget_empty(&mut self) {
        self.kept.retain(|_, kept| kept.wanted + kept.ready + kept.starting + kept.stopping > 0);
    }
}

impl<I> Kept<I> {
    fn give_up(&mut self, instances: usize) {
        self.ready = self.ready.saturating_sub(instances);
        self.stopping += instances;
    }
}

/// How many more instances to start now.
///
/// After a failure one start at a time tries whether it is over, not before `retry_at`.
fn starts_due(
    wanted: usize,
    ready: usize,
    starting: usize,
    retry_at: Option<Instant>,
    now: Instant,
) -> usize {
    let missing = wanted.saturating_sub(ready + starting);
    match retry_at {
        None => missing.min(STARTS_AT_ONCE.saturating_sub(starting)),
        Some(retry_at) if now >= retry_at && starting == 0 => missing.min(1),
        Some(_) => 0,
    }
}

/// The pause after so many failures in a row.
fn pause(attempts: u32) -> Duration {
    let doubled = PAUSES.0.saturating_mul(1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX));
    doubled.min(PAUSES.1)
}

/// Whether an instance of one may run calls of the other.
fn same(one: &FunctionVersion, other: &FunctionVersion) -> bool {
    one.runs_as(other)
}

fn is_of(version: &FunctionVersion, scope: &Scope, name: &FunctionName) -> bool {
    version.name == *name && version.scope == *scope
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::version;

    struct Node {
        set: ProvisionedSet<&'static str>,
        hello: Arc<FunctionVersion>,
        now: Instant,
    }

    impl Node {
        fn wanting(instances: usize) -> Self {
            let hello = Arc::new(version("hello", "p"));
            let mut node = Self { set: ProvisionedSet::default(), hello, now: Instant::now() };
            node.want(instances);
            node
        }

        fn want(&mut self, instances: usize) -> Vec<&'static str> {
            self.set.set_targets(&[ProvisionedTarget { version: self.hello.clone(), instances }])
        }

        fn due(&mut self) -> usize {
            self.set.take_due_starts(self.now).len()
        }

        /// A start that was due has succeeded.
        fn started(&mut self, instance: &'static str) -> Option<&'static str> {
            self.set.started(1);
            self.set.give_back(1, instance, self.now)
        }

        fn failed(&mut self) {
            self.set.failed(1, ProvisionedFailure::Init, self.now);
            self.set.left(1, false);
        }

        fn state(&self) -> ProvisionedState {
            self.set.state(&self.hello.scope, &self.hello.name, self.hello.version)
        }
    }

    #[test]
    fn what_is_missing_is_started_and_what_died_is_replaced() {
        let mut node = Node::wanting(2);
        assert_eq!((node.due(), node.due()), (2, 0));
        assert_eq!(node.started("one"), None);
        assert_eq!(node.state().ready, 1);
        assert_eq!(node.started("two"), None);
        assert_eq!((node.state().ready, node.due()), (2, 0));
        // Both run; one of them dies.
        assert_eq!(node.set.take(&node.hello), Some("two"));
        assert_eq!(node.set.take(&node.hello), Some("one"));
        assert_eq!(node.set.take(&node.hello), None);
        assert_eq!(node.state().ready, 2, "running instances are provisioned, too");
        node.set.left(1, true);
        assert_eq!((node.state().ready, node.due()), (1, 1));
        assert_eq!(node.set.give_back(1, "one", node.now), None);
        // One is killed while it is idle.
        assert_eq!(node.set.take_dead(|instance| *instance == "one"), ["one"]);
        node.set.left(1, true);
        assert_eq!(node.due(), 1);
    }

    #[test]
    fn what_is_not_wanted_goes() {
        let mut node = Node::wanting(3);
        assert_eq!(node.due(), 3);
        for instance in ["one", "two", "three"] {
            assert_eq!(node.started(instance), None);
        }
        assert_eq!(node.want(2), ["one"]);
        assert!(node.want(2).is_empty(), "the one that is being stopped does not count any more");
        node.set.left(1, true);
        assert_eq!(node.set.take(&node.hello), Some("three"));
        // Without a target the idle one goes at once, the running one after its run.
        assert_eq!(node.set.set_targets(&[]), ["two"]);
        node.set.left(1, true);
        assert_eq!(node.set.give_back(1, "three", node.now), Some("three"));
        node.set.left(1, true);
        assert_eq!(
            node.set.counts().0,
            ProvisionedCounts { started: 3, ..ProvisionedCounts::default() },
            "nothing is left"
        );
        assert!(node.set.kept.is_empty());
    }

    #[test]
    fn another_revision_is_another_instance() {
        let mut node = Node::wanting(1);
        assert_eq!(node.due(), 1);
        node.started("old");
        node.hello = Arc::new(FunctionVersion { revision_id: "new".to_owned(), ..(*node.hello).clone() });
        assert_eq!(node.want(1), ["old"]);
        node.set.left(1, true);
        assert_eq!(node.set.take_due_starts(node.now)[0].0, 2);
    }

    #[test]
    fn failures_are_tried_again_one_at_a_time_and_later_and_later() {
        let mut node = Node::wanting(5);
        assert_eq!(node.due(), 5);
        for _ in 0..5 {
            node.failed();
        }
        assert_eq!(node.state().failure, Some(ProvisionedFailure::Init));
        assert_eq!(node.due(), 0);
        let retry_at = node.set.next_retry().unwrap();
        assert_eq!(retry_at - node.now, Duration::from_secs(16));
        node.now = retry_at;
        assert_eq!((node.due(), node.due()), (1, 0));
        node.failed();
        assert_eq!(node.due(), 0);
        // Another number is asked for: that is a new beginning.
        node.want(6);
        assert_eq!((node.state().failure, node.due()), (None, 6));
        for _ in 0..6 {
            node.failed();
        }
        node.want(5);
        node.failed();
        node.now = node.set.next_retry().unwrap();
        assert_eq!(node.due(), 1);
        // It is over: the rest follows.
        node.started("one");
        assert_eq!((node.state().failure, node.due()), (None, 4));
        assert_eq!(pause(1), Duration::from_secs(1));
        assert_eq!(pause(50), Duration::from_secs(60));
    }

    #[test]
    fn starts_at_the_same_time_are_bounded() {
        let mut node = Node::wanting(100);
        assert_eq!(node.due(), STARTS_AT_ONCE);
        node.started("one");
        assert_eq!(node.due(), 1);
    }

    #[test]
    fn idle_ones_are_frozen_and_nothing_is_kept_after_the_end() {
        let mut node = Node::wanting(1);
        node.due();
        node.started("one");
        let delay = Duration::from_secs(1);
        assert_eq!(node.set.next_freeze(delay), Some(node.now + delay));
        let mut frozen = Vec::new();
        assert!(!node.set.freeze_due(delay, node.now + delay, 8, |instance| frozen.push(*instance)));
        assert_eq!((frozen, node.set.counts().1), (vec!["one"], 1));
        assert_eq!(node.set.next_freeze(delay), None);
        assert_eq!(node.set.close(), ["one"]);
        node.set.left(1, true);
        assert!(node.want(3).is_empty());
        assert_eq!(node.due(), 0);
    }
}
