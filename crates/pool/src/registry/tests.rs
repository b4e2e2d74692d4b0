//! The registry without processes: an instance is a name.

use super::*;
use crate::policy::HISTOGRAM_BIN;
use crate::testing::version;
use lamplight_model::rate::Rate;
use lamplight_model::{FunctionVersion, TenantId};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

const CLAIM: u64 = crate::config::UNSEEN_CLAIM_BYTES;

struct Node {
    registry: Registry<&'static str>,
    now: Instant,
}

impl Node {
    /// Room for so many instances.
    fn with_room_for(instances: usize) -> Self {
        Self::with_rate(instances, 0)
    }

    /// Besides, so many new instances of a function in ten seconds; 0: as many as are asked for.
    fn with_rate(instances: usize, count: u64) -> Self {
        let bounds = Bounds {
            budget: Budget { memory_bytes: 1_000_000 * MIB, instances },
            waiting_calls: 2,
            histogram_bin: HISTOGRAM_BIN,
            starts_of_a_function: Rate { count, per: Duration::from_secs(10) },
        };
        Self { registry: Registry::new(bounds), now: Instant::now() }
    }

    fn later(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    fn acquire(&mut self, version: &Arc<FunctionVersion>) -> Acquisition<&'static str> {
        self.registry.acquire(version, None, self.now)
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
fn a_function_gets_so_many_new_instances_in_ten_seconds_and_others_theirs() {
    let mut node = Node::with_rate(10, 2);
    let (hello, other) = (Arc::new(version("hello", "python3.13")), Arc::new(version("other", "python3.13")));
    let entry = node.start(&hello);
    node.start(&hello);
    assert!(matches!(node.acquire(&hello).acquired, Acquired::TooFast));
    assert_eq!(node.registry.totals().0.refusals, 1);
    // What is there already may be used, and other functions start theirs.
    assert_eq!(node.finish(entry, "first"), None);
    assert_eq!(instance_of(node.acquire(&hello).acquired), Some("first"));
    node.start(&other);
    node.later(4);
    assert!(matches!(node.acquire(&hello).acquired, Acquired::TooFast));
    node.later(1);
    node.start(&hello);
    assert!(matches!(node.acquire(&hello).acquired, Acquired::TooFast));
    // Nothing adds up, also when it was forgotten.
    node.later(10_000);
    node.registry.forget_unused(Duration::from_secs(600), node.now);
    node.start(&hello);
    node.start(&hello);
    assert!(matches!(node.acquire(&hello).acquired, Acquired::TooFast));
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
fn a_deleted_version_keeps_no_instance_and_others_keep_theirs() {
    let mut node = Node::with_room_for(10);
    let hello = Arc::new(version("hello", "p"));
    let entry = node.start(&hello);
    node.start(&hello);
    node.finish(entry, "idle");
    let mut published = version("hello", "p");
    published.version = lamplight_model::VersionNumber::Published(1);
    let published = Arc::new(published);
    let other = node.start(&published);
    assert_eq!(node.registry.retire_version(&hello.scope, &hello.name, hello.version), ["idle"]);
    assert_eq!(node.finish(other, "of another version"), None);
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
    assert_eq!(node.registry.next_due(freeze_after, keep_alive, node.now), Some(node.now + freeze_after));
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

#[test]
fn room_ahead_of_a_call_is_only_what_nobody_needs() {
    let mut node = Node::with_room_for(2);
    let (hello, other) = (Arc::new(version("hello", "p")), Arc::new(version("other", "p")));
    let (room, to_stop) = node.registry.reserve(&hello, node.now);
    let (entry, claim) = room.unwrap();
    assert_eq!((claim, to_stop.len()), (CLAIM, 0));
    node.registry.change(entry, CLAIM, Phase::Starting, Phase::Running);
    assert_eq!(node.finish(entry, "ahead"), None);
    node.start(&other);
    // Full: the idle instance stays.
    assert_eq!(node.registry.reserve(&other, node.now), (None, Vec::new()));
    assert_eq!(instance_of(node.acquire(&hello).acquired), Some("ahead"));
    // A call that waits goes first when room comes.
    let _place = waiting(node.acquire(&other).acquired);
    node.registry.release(entry, CLAIM, Phase::Running);
    assert_eq!(node.registry.reserve(&hello, node.now), (None, Vec::new()));
}

#[test]
fn an_instance_ahead_of_a_new_revision_retires_the_old_one() {
    let mut node = Node::with_room_for(10);
    let old = Arc::new(version("hello", "p"));
    let mut new = version("hello", "p");
    new.revision_id = "new".to_owned();
    new.last_modified = lamplight_model::Timestamp(2);
    let entry = node.start(&old);
    node.finish(entry, "old");
    let (room, to_stop) = node.registry.reserve(&Arc::new(new), node.now);
    assert!(room.is_some());
    assert_eq!(to_stop, ["old"]);
    // What is retired gets no instance.
    assert_eq!(node.registry.reserve(&old, node.now), (None, Vec::new()));
}

#[test]
fn a_full_node_evicts_what_is_worth_least_not_what_is_oldest() {
    let mut node = Node::with_room_for(2);
    let (slow, quick) = (Arc::new(version("slow", "p")), Arc::new(version("quick", "p")));
    let third = Arc::new(version("third", "p"));
    let slow_entry = node.start(&slow);
    node.registry.started(slow_entry, Duration::from_secs(5));
    node.finish(slow_entry, "slow");
    node.later(60);
    let quick_entry = node.start(&quick);
    node.registry.started(quick_entry, Duration::from_millis(5));
    node.finish(quick_entry, "quick");
    // The younger one starts a thousand times as fast.
    assert_eq!(node.acquire(&third).to_stop, ["quick"]);
    assert_eq!(instance_of(node.acquire(&slow).acquired), Some("slow"));
}

#[test]
fn who_is_not_called_any_more_is_overtaken() {
    let mut node = Node::with_room_for(2);
    let slow = Arc::new(version("slow", "p"));
    let entry = node.start(&slow);
    node.registry.started(entry, Duration::from_secs(5));
    node.finish(entry, "slow");
    let mut evicted_after = 0;
    for round in 1..100 {
        let other = Arc::new(version(&format!("other-{round}"), "p"));
        let acquisition = node.acquire(&other);
        if acquisition.to_stop == ["slow"] {
            evicted_after = round;
            break;
        }
        for _ in &acquisition.to_stop {
            node.registry.release(acquisition.entry, CLAIM, Phase::Stopping);
        }
        node.registry.change(acquisition.entry, CLAIM, Phase::Starting, Phase::Running);
        node.registry.started(acquisition.entry, Duration::from_secs(1));
        node.finish(acquisition.entry, "other");
    }
    // A fifth of the cost: the clock passes it after five of them.
    assert!((5..=7).contains(&evicted_after), "{evicted_after}");
}

/// Calls it every `minutes`, so often that it is predictable; it runs for a second and is idle then.
fn call_regularly(node: &mut Node, version: &Arc<FunctionVersion>, minutes: u64) -> EntryId {
    let entry = node.start(version);
    node.finish(entry, "regular");
    for _ in 0..6 {
        node.later(minutes * 60);
        assert_eq!(instance_of(node.acquire(version).acquired), Some("regular"));
        node.finish(entry, "regular");
    }
    entry
}

#[test]
fn an_instance_is_started_ahead_of_a_predicted_call_once() {
    let mut node = Node::with_room_for(10);
    let hourly = Arc::new(version("hourly", "p"));
    let entry = call_regularly(&mut node, &hourly, 60);
    let keep_alive = Duration::from_secs(600);
    // It has an instance: nothing to start.
    node.later(55 * 60);
    assert!(node.registry.take_prewarms(node.now, 8).is_empty());
    assert_eq!(node.registry.take_expired(keep_alive, node.now), ["regular"]);
    node.registry.release(entry, CLAIM, Phase::Stopping);
    let prewarms = node.registry.take_prewarms(node.now, 8);
    assert!(matches!(prewarms.as_slice(), [due] if *due == hourly));
    assert!(node.registry.take_prewarms(node.now, 8).is_empty());
    let (entry, claim) = node.registry.reserve(&hourly, node.now).0.unwrap();
    node.registry.change(entry, claim, Phase::Starting, Phase::Running);
    assert_eq!(node.registry.settle(entry, "ahead", claim, node.now), None);
    node.later(5 * 60);
    assert_eq!(instance_of(node.acquire(&hourly).acquired), Some("ahead"));
    node.finish(entry, "ahead");
    // The start ahead was no call: the hour is still an hour.
    assert_eq!(node.registry.take_expired(Duration::ZERO, node.now), ["ahead"]);
    node.registry.release(entry, CLAIM, Phase::Stopping);
    let due = node.registry.next_due(Duration::from_secs(1), keep_alive, node.now);
    assert_eq!(due, Some(node.now + Duration::from_secs(54 * 60)));
    // Nobody called for too long: it is given up, and forgotten.
    node.later(70 * 60);
    assert!(node.registry.take_prewarms(node.now, 8).is_empty());
    node.registry.forget_unused(Duration::from_secs(600), node.now);
    assert!(node.registry.versions().is_empty());
}

#[test]
fn a_new_revision_inherits_what_is_known() {
    let mut node = Node::with_room_for(10);
    let old = Arc::new(version("hello", "p"));
    let entry = call_regularly(&mut node, &old, 30);
    let mut new = version("hello", "p");
    new.revision_id = "new".to_owned();
    new.last_modified = lamplight_model::Timestamp(2);
    let new = Arc::new(new);
    let (reserved, to_stop) = node.registry.reserve(&new, node.now);
    assert_eq!(to_stop, ["regular"]);
    node.registry.release(entry, CLAIM, Phase::Stopping);
    let (entry, claim) = reserved.unwrap();
    node.registry.release(entry, claim, Phase::Starting);
    node.later(28 * 60);
    assert_eq!(node.registry.take_prewarms(node.now, 8), [new]);
}

#[test]
fn whose_call_is_due_stays_and_whose_call_did_not_come_goes() {
    let check = |minutes_later: u64, expected: &str| {
        let mut node = Node::with_room_for(2);
        let (hourly, other) = (Arc::new(version("hourly", "p")), Arc::new(version("other", "p")));
        let hourly_entry = call_regularly(&mut node, &hourly, 60);
        node.registry.started(hourly_entry, Duration::from_secs(1));
        node.later(minutes_later * 60);
        let other_entry = node.start(&other);
        node.registry.started(other_entry, Duration::from_secs(1));
        node.finish(other_entry, "other");
        assert_eq!(node.acquire(&Arc::new(version("third", "p"))).to_stop, [expected]);
    };
    check(60, "other");
    check(70, "regular");
}

#[test]
fn memory_is_reclaimed_only_while_it_is_wanted_and_once() {
    let mut node = Node::with_room_for(100);
    node.registry.bounds.budget.memory_bytes = 4 * CLAIM;
    let hello = Arc::new(version("hello", "p"));
    let entry = node.start(&hello);
    node.start(&hello);
    node.start(&hello);
    node.finish(entry, "old");
    node.later(1);
    node.finish(entry, "young");
    let delay = Duration::from_secs(30);
    node.later(40);
    node.registry.freeze_due(Duration::ZERO, node.now, 8, |_| {});
    let reclaim = |node: &mut Node, most| node.registry.reclaim_due(delay, node.now, most, |name| *name);
    assert!(reclaim(&mut node, 8).is_empty(), "three of four are three quarters");
    node.start(&Arc::new(version("other", "p")));
    assert_eq!(reclaim(&mut node, 1), ["old"]);
    assert_eq!(reclaim(&mut node, 8), ["young"]);
    assert!(reclaim(&mut node, 8).is_empty());
    // Once more after its next call.
    assert_eq!(instance_of(node.acquire(&hello).acquired), Some("young"));
    node.finish(entry, "young");
    node.later(31);
    assert!(reclaim(&mut node, 8).is_empty(), "not frozen");
    node.registry.freeze_due(Duration::ZERO, node.now, 8, |_| {});
    assert_eq!(reclaim(&mut node, 8), ["young"]);
}

#[test]
fn nothing_is_started_ahead_of_what_was_replaced_or_deleted() {
    let mut node = Node::with_room_for(10);
    let old = Arc::new(version("hello", "p"));
    let entry = call_regularly(&mut node, &old, 30);
    let mut new = version("hello", "p");
    (new.revision_id, new.last_modified) = ("new".to_owned(), lamplight_model::Timestamp(2));
    let new = Arc::new(new);
    assert!(node.registry.renew(&old, node.now).is_empty());
    assert_eq!(node.registry.renew(&new, node.now), ["regular"]);
    assert!(node.registry.renew(&new, node.now).is_empty());
    node.registry.release(entry, CLAIM, Phase::Stopping);
    assert_eq!(node.registry.in_use(node.now), std::slice::from_ref(&new));
    node.later(28 * 60);
    assert_eq!(node.registry.take_prewarms(node.now, 8), std::slice::from_ref(&new));
    node.registry.retire_version(&new.scope, &new.name, new.version);
    assert!(node.registry.take_prewarms(node.now, 8).is_empty());
    assert!(node.registry.in_use(node.now).is_empty());
    // What nobody called is not known, and stays so.
    assert!(node.registry.renew(&Arc::new(version("other", "p")), node.now).is_empty());
    assert!(node.registry.in_use(node.now).is_empty());
}

#[test]
fn room_is_made_for_what_is_to_be_ready_unless_calls_wait() {
    let mut node = Node::with_room_for(1);
    let (one, two) = (Arc::new(version("one", "p")), Arc::new(version("two", "p")));
    let entry = node.start(&one);
    node.finish(entry, "one");
    assert_eq!(node.registry.reserve(&two, node.now).0, None);
    assert_eq!(node.registry.make_room(&two, node.now), ["one"]);
    let mut place = waiting(node.acquire(&one).acquired);
    assert!(node.registry.make_room(&two, node.now).is_empty());
    node.registry.release(entry, CLAIM, Phase::Stopping);
    assert!(matches!(place.try_recv(), Ok(Grant::Room(CLAIM))));
    node.registry.release(entry, CLAIM, Phase::Starting);
    assert!(node.registry.reserve(&two, node.now).0.is_some());
}

#[test]
fn tenants_have_instances_of_their_own() {
    let mut node = Node::with_room_for(4);
    let hello = FunctionVersion { per_tenant: true, ..version("hello", "provided") };
    let hello = Arc::new(hello);
    let tenant = |id| TenantId::parse(id);
    let acquire = |node: &mut Node, version: &Arc<FunctionVersion>, id| {
        let acquisition = node.registry.acquire(version, tenant(id).as_ref(), node.now);
        if matches!(acquisition.acquired, Acquired::Granted(Grant::Room(_))) {
            node.registry.change(acquisition.entry, CLAIM, Phase::Starting, Phase::Running);
        }
        acquisition
    };
    let blue = acquire(&mut node, &hello, "blue").entry;
    assert_eq!(node.finish(blue, "of blue"), None);
    let green = acquire(&mut node, &hello, "green");
    assert_eq!(
        (green.to_stop.len(), instance_of(green.acquired)),
        (0, None),
        "green starts its own, blue's stays"
    );
    assert_ne!(green.entry, blue);
    assert_eq!(node.finish(green.entry, "of green"), None);
    assert_eq!(instance_of(acquire(&mut node, &hello, "blue").acquired), Some("of blue"));
    assert_eq!(node.finish(blue, "of blue"), None);

    // Nobody knows the tenant of a predicted call.
    node.later(3_600);
    assert!(node.registry.take_prewarms(node.now, 8).is_empty());

    // A new revision ends those of every tenant, with the first call or with the news of it.
    let mut new = FunctionVersion::clone(&hello);
    (new.revision_id, new.last_modified) =
        ("new".to_owned(), hello.last_modified.plus(Duration::from_secs(1)));
    let new = Arc::new(new);
    let mut retired = node.registry.renew(&new, node.now);
    retired.sort_unstable();
    assert_eq!(retired, ["of blue", "of green"]);
    let again = acquire(&mut node, &new, "green");
    assert_eq!((again.to_stop.len(), instance_of(again.acquired)), (0, None));
    assert_eq!(node.finish(again.entry, "new of green"), None);
    assert!(node.registry.renew(&new, node.now).is_empty(), "it is what is stored");
    assert_eq!(instance_of(acquire(&mut node, &new, "green").acquired), Some("new of green"));
}
