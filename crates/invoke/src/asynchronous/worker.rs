//! The worker of the queue: claims due events, runs a bounded number at once, keeps their leases.
//!
//! One task per node. It sleeps until the next event is due, a lease wants extending, or someone wakes it: the
//! store's watch after a change, `Wakeup::wake`, or a finished attempt that made room.

use crate::asynchronous::AsynchronousConfig;
use crate::asynchronous::attempt;
use crate::asynchronous::pace::{Ending, FunctionKey, Paces};
use crate::invoker::{ErrorChain, Invoker};
use lamplight_model::{RequestId, Timestamp};
use lamplight_store::{ClaimBounds, ClaimedEvent, Release, StoreError};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// Longest sleep: a wall clock that was set back delays nothing for longer.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// Pause after storage refused to be read or claimed from.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// What the worker has in its hands.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    /// Events claimed and not yet settled.
    held: usize,
    /// A claim is under way: the store may have given events that are not counted in `held` yet.
    claiming: bool,
}

/// What the rest of the funnel shares with the worker.
#[derive(Debug, Default)]
pub struct Wakeup {
    wanted: Notify,
    load: watch::Sender<Load>,
    stop_claiming: AtomicBool,
}

impl Wakeup {
    /// Makes the worker look at the clock and the queue again.
    pub fn wake(&self) {
        self.wanted.notify_one();
    }

    /// Events claimed and not yet settled.
    pub fn in_flight(&self) -> usize {
        self.load.borrow().held
    }

    /// No event is claimed any more; running ones go on.
    pub fn stop_claiming(&self) {
        self.stop_claiming.store(true, Ordering::Release);
        self.wake();
    }

    /// Waits until no event is in flight or being claimed.
    pub async fn wait_until_idle(&self) {
        // The sender lives in `self`, so the channel cannot close under this wait.
        let _ = self.load.subscribe().wait_for(|load| load.held == 0 && !load.claiming).await;
    }

    /// Waits until the worker is wanted.
    pub(crate) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Whether nothing is to be claimed any more.
    pub(crate) fn has_stopped_claiming(&self) -> bool {
        self.stop_claiming.load(Ordering::Acquire)
    }

    /// Says whether a claim is under way.
    pub(crate) fn claiming(&self, claiming: bool) {
        self.load.send_modify(|load| load.claiming = claiming);
    }

    /// Says how many are claimed and not settled.
    pub(crate) fn holds(&self, held: usize) {
        self.load.send_modify(|load| load.held = held);
    }
}

struct Held {
    request_id: RequestId,
    function: FunctionKey,
    claim: u64,
    extend_at: Timestamp,
    /// The end of the lease as far as this node knows; `None` when the claim is not its own any more.
    lease_until: Option<Timestamp>,
}

impl Held {
    fn new(claimed: &ClaimedEvent, now: Timestamp, lease: Duration) -> Self {
        let function = (claimed.event.scope.clone(), claimed.event.function.clone());
        let request_id = claimed.event.request_id;
        let (claim, extend_at, lease_until) = (claimed.claim, now.plus(lease / 2), Some(now.plus(lease)));
        Self { request_id, function, claim, extend_at, lease_until }
    }

    /// Whether a claim made at `now` could take this event while it runs here.
    fn has_lapsed(&self, now: Timestamp) -> bool {
        self.lease_until.is_some_and(|until| until <= now)
    }
}

/// The worker; `run` is its life.
pub struct QueueWorker {
    invoker: Arc<Invoker>,
    stop: CancellationToken,
    attempts: JoinSet<Ending>,
    /// By task, because a task that panics cannot say which event it had.
    held: HashMap<Id, Held>,
    paces: Paces,
    /// Until then nobody's wake-up makes it look: the last look found nothing.
    next_look: Instant,
}

impl QueueWorker {
    /// A worker whose claims are owned by this start of the node.
    pub fn new(invoker: Arc<Invoker>, stop: CancellationToken) -> Self {
        let paces = Paces::new(
            invoker.config.asynchronous.parallelism,
            invoker.config.account_concurrency,
            std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        );
        let (attempts, held) = (JoinSet::new(), HashMap::new());
        Self { invoker, stop, attempts, held, paces, next_look: Instant::now() }
    }

    /// Works until `stop`; then gives unfinished events back at no cost to them.
    pub async fn run(mut self) {
        self.take_back().await;
        let mut changes = self.invoker.store.watch_events();
        let mut store_is_open = true;
        loop {
            changes.borrow_and_update();
            let sleep = self.turn().await;
            let has_room = self.room() > 0;
            let woken = tokio::select! {
                () = self.stop.cancelled() => break,
                () = self.invoker.queue.wanted() => true,
                changed = changes.changed(), if has_room && store_is_open => {
                    store_is_open = changed.is_ok();
                    true
                }
                Some(ended) = self.attempts.join_next_with_id() => {
                    self.ended(ended).await;
                    false
                }
                () = tokio::time::sleep(sleep) => false,
            };
            if woken && Instant::now() < self.next_look {
                tokio::select! {
                    () = self.stop.cancelled() => break,
                    Some(ended) = self.attempts.join_next_with_id() => self.ended(ended).await,
                    () = tokio::time::sleep_until(self.next_look) => {}
                }
            }
        }
        self.give_back().await;
    }

    /// Extends leases, claims what is due, and says how long there is nothing to do.
    async fn turn(&mut self) -> Duration {
        while let Some(ended) = self.attempts.try_join_next_with_id() {
            self.ended(ended).await;
        }
        self.extend_leases().await;
        let next_due = match self.claim_due().await {
            Ok(next_due) => next_due,
            Err(error) => {
                warn!(error = %ErrorChain(&error), "failed to claim events, trying again");
                Some((self.invoker.clock)().plus(PAUSE_AFTER_FAILURE))
            }
        };
        let next_lease = self.held.values().map(|held| held.extend_at).min();
        let now = (self.invoker.clock)();
        let next = [next_due, next_lease].into_iter().flatten().min();
        next.map_or(LONGEST_SLEEP, |next| until(now, next).min(LONGEST_SLEEP))
    }

    /// Whatever this node had claimed in an earlier life does not run any more: it need not wait for its lease to end.
    async fn take_back(&self) {
        let AsynchronousConfig { node, lease, .. } = &self.invoker.config.asynchronous;
        match self.invoker.store.give_back_claims(node, (self.invoker.clock)(), *lease).await {
            Ok(0) => {}
            Ok(events) => info!(events, "events that ran when this node ended are due again"),
            // Their leases run out by themselves.
            Err(error) => {
                warn!(error = %ErrorChain(&error), "failed to look for events that ran when this node ended");
            }
        }
    }

    fn room(&self) -> usize {
        if self.invoker.queue.has_stopped_claiming() { 0 } else { self.paces.room() }
    }

    /// Claims and starts due events while there is room. Gives back when the next one is due, `None` when the
    /// queue is empty or there is no room for more.
    async fn claim_due(&mut self) -> Result<Option<Timestamp>, StoreError> {
        loop {
            // It may be changed while the server runs.
            self.paces.set_concurrency(self.invoker.admission.limits().concurrency);
            if self.room() == 0 {
                return Ok(None);
            }
            let bounds = self.paces.bounds((self.invoker.clock)());
            // A read first: most wake-ups are for changes that leave nothing to claim.
            let next_due = self.invoker.store.next_due_within(&bounds).await?;
            let now = (self.invoker.clock)();
            match next_due {
                Some(due) if due <= now => {}
                later => {
                    self.next_look = Instant::now() + self.invoker.config.asynchronous.pause_between_looks;
                    return Ok(later.into_iter().chain(self.paces.next_unblocked(now)).min());
                }
            }
            let Some(now) = self.with_leases(now).await else {
                return Ok(Some(now.plus(PAUSE_AFTER_FAILURE)));
            };
            self.invoker.queue.claiming(true);
            let claimed = self.claim_and_begin(now, &bounds).await;
            self.invoker.queue.claiming(false);
            if claimed? == 0 {
                // Due by `next_due_within`, yet not for us: another node was faster. Look again soon, not at once.
                self.next_look = Instant::now() + self.invoker.config.asynchronous.pause_between_looks;
                return Ok(Some(now.plus(PAUSE_AFTER_FAILURE)));
            }
        }
    }

    /// The moment to claim at: one at which no event in hand has lapsed, as this node would take it from itself and run it a
    /// second time. `None` when the leases cannot be extended.
    async fn with_leases(&mut self, now: Timestamp) -> Option<Timestamp> {
        if !self.held.values().any(|held| held.has_lapsed(now)) {
            return Some(now);
        }
        // Storage or the whole machine stood still for longer than a lease.
        self.extend_leases().await;
        let now = (self.invoker.clock)();
        (!self.held.values().any(|held| held.has_lapsed(now))).then_some(now)
    }

    /// Gives back how many events were claimed.
    async fn claim_and_begin(&mut self, now: Timestamp, bounds: &ClaimBounds) -> Result<usize, StoreError> {
        let lease = self.invoker.config.asynchronous.lease;
        let claimed = self.invoker.store.claim_within(&self.invoker.owner, now, lease, bounds).await?;
        let count = claimed.len();
        for event in claimed {
            if self.room() > 0 {
                self.begin(event, now);
            } else {
                // A drain began while the store answered.
                let held = Held::new(&event, now, lease);
                give_back_one(&self.invoker, &held, Duration::ZERO).await;
            }
        }
        Ok(count)
    }

    fn begin(&mut self, claimed: ClaimedEvent, now: Timestamp) {
        let held = Held::new(&claimed, now, self.invoker.config.asynchronous.lease);
        self.paces.began(held.function.clone());
        let task = self.attempts.spawn(attempt::make(Arc::clone(&self.invoker), claimed));
        self.held.insert(task.id(), held);
        self.publish_in_flight();
    }

    async fn ended(&mut self, ended: Result<(Id, Ending), JoinError>) {
        let task = match &ended {
            Ok((task, _)) => *task,
            Err(error) => error.id(),
        };
        let Some(held) = self.held.remove(&task) else { return };
        let ending = match ended {
            Ok((_, ending)) => ending,
            Err(panic) => {
                error!(request_id = %held.request_id, error = %panic, "an attempt at an event broke off");
                give_back_one(&self.invoker, &held, PAUSE_AFTER_FAILURE).await;
                Ending::Refused
            }
        };
        self.paces.ended(&held.function, ending, (self.invoker.clock)());
        self.publish_in_flight();
    }

    fn publish_in_flight(&self) {
        let held = self.held.len();
        self.invoker.queue.holds(held);
    }

    /// Extends the leases that are half over, or over, all at the same time so that they share a commit.
    async fn extend_leases(&mut self) {
        let now = (self.invoker.clock)();
        let lease = self.invoker.config.asynchronous.lease;
        let mut extensions = JoinSet::new();
        let due = |held: &Held| held.extend_at <= now || held.has_lapsed(now);
        for (task, held) in self.held.iter().filter(|(_, held)| due(held)) {
            let (store, task) = (Arc::clone(&self.invoker.store), *task);
            let (request_id, claim) = (held.request_id, held.claim);
            extensions.spawn(async move {
                (task, request_id, store.extend(request_id, claim, now.plus(lease)).await)
            });
        }
        while let Some(extension) = extensions.join_next().await {
            let Ok((task, request_id, result)) = extension else { continue };
            let Some(held) = self.held.get_mut(&task) else { continue };
            held.extend_at = match result {
                Ok(true) => {
                    held.lease_until = Some(now.plus(lease));
                    now.plus(lease / 2)
                }
                Ok(false) => {
                    held.lease_until = None;
                    // Settled a moment ago, or lost; the attempt itself finds out which when it settles.
                    now.plus(lease)
                }
                Err(error) => {
                    warn!(%request_id, error = %ErrorChain(&error), "failed to extend the lease of an event");
                    now.plus(PAUSE_AFTER_FAILURE)
                }
            };
        }
    }

    async fn give_back(mut self) {
        let held: Vec<Held> = self.held.drain().map(|(_, held)| held).collect();
        // All at the same time, so that they share a commit.
        let mut releases = JoinSet::new();
        for held in held {
            let invoker = Arc::clone(&self.invoker);
            releases.spawn(async move { give_back_one(&invoker, &held, Duration::ZERO).await });
        }
        releases.join_all().await;
        // Only now: an attempt that settled in between keeps its own decision, the claim number sees to that.
        self.attempts.shutdown().await;
        self.publish_in_flight();
    }
}

async fn give_back_one(invoker: &Invoker, held: &Held, delay: Duration) {
    let not_before = (invoker.clock)().plus(delay);
    let release = Release::Retry { not_before, counted: false };
    if let Err(error) = invoker.store.release(held.request_id, held.claim, release).await {
        // Its lease runs out by itself.
        warn!(request_id = %held.request_id, error = %ErrorChain(&error), "failed to give an event back");
    }
}

fn until(now: Timestamp, then: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(then.as_millis().saturating_sub(now.as_millis())).unwrap_or(0))
}
