//! Keeps as many provisioned instances ready as are wanted: starts what is missing, stops what is too much.
//!
//! One task for each pool, woken when the targets change, an instance ends or a start is over.

use super::set::{KeptId, ProvisionedSet};
use super::{ProvisionedFailure, ProvisionedState, ProvisionedTarget};
use crate::initialization::InitializationType;
use crate::instance::{Instance, Room};
use crate::maintenance::LOOK_EVERY;
use crate::pool::Pool;
use crate::prewarm::PrewarmFailure;
use crate::registry::Phase;
use lamplight_model::limits::PROVISIONED_INIT_SECONDS;
use lamplight_model::{FunctionName, FunctionVersion, Scope, VersionNumber};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

/// Instances frozen while the state is locked.
const FREEZES_AT_ONCE: usize = 16;
/// The longest sleep. Nothing is missed meanwhile: it only bounds how long the task outlives its pool.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// The pool's provisioned instances and the bell of their task.
#[derive(Default)]
pub struct Provisioned {
    set: Mutex<ProvisionedSet<Instance>>,
    changed: Arc<Notify>,
}

impl Provisioned {
    /// The state. Never held across an await, and no instance or membership is dropped while it is held.
    pub fn set(&self) -> MutexGuard<'_, ProvisionedSet<Instance>> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the task look.
    pub fn wake(&self) {
        self.changed.notify_one();
    }
}

/// One place among the counted instances of a version, from the decision to start it until it is gone.
#[derive(Debug)]
pub struct Membership {
    pool: Weak<Pool>,
    id: KeptId,
    ready: bool,
}

impl Drop for Membership {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.provisioned.set().left(self.id, self.ready);
            pool.provisioned.wake();
        }
    }
}

/// Runs until the pool is dropped.
pub async fn run(pool: Weak<Pool>) {
    let Some(changed) = pool.upgrade().map(|pool| pool.provisioned.changed.clone()) else { return };
    loop {
        let nap = {
            let Some(pool) = pool.upgrade() else { return };
            let (now, mut set) = (Instant::now(), pool.provisioned.set());
            let due = set.take_due_starts(now);
            let retry = set.next_retry();
            drop(set);
            for (id, version) in due {
                pool.start_provisioned(id, version);
            }
            retry.map_or(LONGEST_SLEEP, |at| at.saturating_duration_since(now).min(LONGEST_SLEEP))
        };
        let _ = timeout(nap, changed.notified()).await;
    }
}

impl Pool {
    /// Makes `targets` all the provisioned concurrency that is wanted. Instances that are not wanted any more are
    /// stopped, running ones after their run; those that are missing are started in the background, and again
    /// when they end.
    pub fn provision(&self, targets: &[ProvisionedTarget]) {
        let surplus = self.provisioned.set().set_targets(targets);
        self.stop_provisioned(surplus);
        self.provisioned.wake();
    }

    /// How it stands with the provisioned instances of a version.
    pub fn provisioned(
        &self,
        scope: &Scope,
        name: &FunctionName,
        version: VersionNumber,
    ) -> ProvisionedState {
        self.provisioned.set().state(scope, name, version)
    }

    /// A provisioned instance for a call of `version`, awake and in phase `Running`.
    pub(crate) fn take_provisioned(&self, version: &FunctionVersion) -> Option<Instance> {
        loop {
            let mut instance = self.provisioned.set().take(version)?;
            if instance.wake(self.now()) {
                instance.room.change(Phase::Running);
                return Some(instance);
            }
            // It died or grew too old while it was idle: dropping it makes room for another.
            self.stop_provisioned(vec![instance]);
        }
    }

    /// A provisioned instance that waits for its next call from now on, or is stopped when it is not wanted.
    pub(crate) fn keep_provisioned(&self, mut instance: Instance) {
        let Some(id) = instance.provisioned.as_ref().map(|membership| membership.id) else { return };
        // A call that found no room waits for any instance of its version.
        let entry = instance.room.entry;
        instance.room.change(Phase::Running);
        let handed_over = self.registry().hand_over(entry, instance);
        let Some(mut instance) = handed_over else { return };
        instance.room.change(Phase::Idle);
        let back = self.provisioned.set().give_back(id, instance, Instant::now());
        match back {
            Some(instance) => self.stop_provisioned(vec![instance]),
            None => self.wake_maintenance(),
        }
    }

    /// Freezes provisioned instances that are idle for long enough and, with `look`, stops those that are dead or too old. Gives when
    /// the next is to be frozen; with idle ones that all stand still, when to look for dead ones again.
    pub(crate) async fn maintain_provisioned(&self, now: Instant, look: bool) -> Option<Instant> {
        let delay = self.config.freeze_after;
        while self.provisioned.set().freeze_due(delay, now, FREEZES_AT_ONCE, Instance::freeze) {
            tokio::task::yield_now().await;
        }
        if look {
            let time = self.now();
            let useless = |instance: &Instance| instance.body.has_ended() || instance.is_worn_out(time);
            let dead = self.provisioned.set().take_dead(useless);
            self.stop_provisioned(dead);
        }
        let set = self.provisioned.set();
        set.next_freeze(delay).or_else(|| set.has_idle().then(|| now + LOOK_EVERY))
    }

    /// Wants no provisioned instances any more, ever.
    pub(crate) fn close_provisioned(&self) {
        let idle = self.provisioned.set().close();
        self.stop_provisioned(idle);
    }

    fn stop_provisioned(&self, instances: Vec<Instance>) {
        for mut instance in instances {
            instance.room.change(Phase::Stopping);
            self.stop(instance);
        }
    }

    /// Room for an instance of `version`. When there is none, idle instances whose end makes it are stopped, so
    /// that it is there when it is asked for again.
    fn reserve_evicting(self: &Arc<Self>, version: &Arc<FunctionVersion>) -> Option<Room> {
        let room = self.reserve(version);
        if room.is_none() {
            let evicted = self.registry().make_room(version, Instant::now());
            for instance in evicted {
                self.stop(instance);
            }
        }
        room
    }

    fn start_provisioned(self: &Arc<Self>, id: KeptId, version: Arc<FunctionVersion>) {
        let mut membership = Membership { pool: Arc::downgrade(self), id, ready: false };
        let pool = self.clone();
        self.spawn(async move {
            let limit = Duration::from_secs(PROVISIONED_INIT_SECONDS).max(version.timeout());
            let initialization = InitializationType::ProvisionedConcurrency;
            let started = match pool.reserve_evicting(&version) {
                Some(room) => pool.start_ahead(&version, room, initialization, limit).await,
                None => Err(PrewarmFailure::NoRoom),
            };
            let failure = match started {
                Ok(mut instance) => {
                    debug!(function = %version.name, version = %version.version, instance_id = %instance.id, "a provisioned instance is ready");
                    pool.provisioned.set().started(id);
                    membership.ready = true;
                    instance.provisioned = Some(membership);
                    return pool.keep_provisioned(instance);
                }
                Err(PrewarmFailure::NoRoom) => ProvisionedFailure::NoRoom,
                Err(PrewarmFailure::Init(_)) => ProvisionedFailure::Init,
                Err(PrewarmFailure::Platform(error)) => ProvisionedFailure::Platform(error.message),
            };
            warn!(function = %version.name, version = %version.version, ?failure, "failed to start a provisioned instance");
            pool.provisioned.set().failed(id, failure, Instant::now());
            drop(membership);
        });
    }
}
