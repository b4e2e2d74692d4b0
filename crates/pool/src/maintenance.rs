//! What happens while nobody calls: idle instances are frozen, stopped when they are old, noticed when dead,
//! give memory back when it is wanted; and an instance is started when a call is predicted.
//!
//! One task for each pool. It sleeps until the next instance is due; a run that leaves an instance idle wakes it
//! only when it sleeps for longer than the freeze delay, so the warm path does not pay for a wake-up.

use crate::instance::Instance;
use crate::pool::Pool;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tracing::debug;

/// Instances frozen while the state is locked: a freeze takes 3 to 30 microseconds.
const FREEZES_AT_ONCE: usize = 16;
/// Instances started ahead of predicted calls in one round: more wait for the next, a moment later.
const PREWARMS_AT_ONCE: usize = 4;
/// Instances that give memory back in one look, one after the other: the kernel takes milliseconds for each.
const RECLAIMS_AT_ONCE: usize = 32;
/// How often idle instances are looked at for having died, and the longest sleep while there are any.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The longest sleep of all: versions nobody calls any more are forgotten then.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Wakes the maintenance task.
#[derive(Debug, Clone, Default)]
pub struct Wake {
    shared: Arc<(Notify, AtomicBool)>,
}

impl Wake {
    /// Wakes it when it sleeps for long.
    pub fn wake_if_parked(&self) {
        if self.shared.1.load(Ordering::SeqCst) && self.shared.1.swap(false, Ordering::SeqCst) {
            self.shared.0.notify_one();
        }
    }

    /// The pool is gone, or what is due may have changed.
    pub fn wake(&self) {
        self.shared.0.notify_one();
    }
}

/// Runs until the pool is dropped.
pub async fn run(pool: Weak<Pool>) {
    let Some(wake) = pool.upgrade().map(|pool| pool.maintenance.clone()) else { return };
    let mut last_look = Instant::now();
    loop {
        // Before looking: an instance that becomes idle after the look wakes us again.
        wake.shared.1.store(true, Ordering::SeqCst);
        let nap = {
            let Some(pool) = pool.upgrade() else { return };
            let nap = pool.maintain(&mut last_look).await;
            if nap <= pool.config.freeze_after {
                wake.shared.1.store(false, Ordering::SeqCst);
            }
            nap
        };
        let _ = timeout(nap, wake.shared.0.notified()).await;
    }
}

impl Pool {
    /// While memory is wanted, asks the kernel for what frozen instances can do without.
    fn reclaim_memory(&self, now: Instant) {
        let reclaims =
            self.registry().reclaim_due(self.config.reclaim_after, now, RECLAIMS_AT_ONCE, |instance| {
                (instance.id.clone(), instance.body.sandbox.reclaim())
            });
        if reclaims.is_empty() {
            return;
        }
        self.tasks.spawn(async move {
            for (instance_id, reclaim) in reclaims {
                match reclaim.await {
                    Ok(freed_bytes) => {
                        debug!(%instance_id, freed_bytes, "reclaimed an idle instance's memory")
                    }
                    Err(error) => debug!(%instance_id, %error, "failed to reclaim an idle instance's memory"),
                }
            }
        });
    }

    /// Does what is due. Gives the time until more is.
    async fn maintain(self: &Arc<Self>, last_look: &mut Instant) -> Duration {
        let now = Instant::now();
        let keep_alive = *self.keep_alive.get();
        let delay = self.config.freeze_after;
        while self.registry().freeze_due(delay, now, FREEZES_AT_ONCE, Instance::freeze) {
            tokio::task::yield_now().await;
        }
        let mut old = self.registry().take_expired(keep_alive, now);
        let look = now.duration_since(*last_look) >= LOOK_EVERY;
        let next_provisioned = self.maintain_provisioned(now, look).await;
        if look {
            *last_look = now;
            let time = self.now();
            let mut registry = self.registry();
            old.extend(registry.take_dead(|instance| instance.body.has_ended()));
            old.extend(registry.take_worn_out(|instance| instance.is_worn_out(time)));
            drop(registry);
            self.reclaim_memory(now);
        }
        for instance in old {
            self.stop(instance);
        }
        let memory_is_wanted = self.registry().room_bytes() == 0;
        self.version_zygotes.sweep(memory_is_wanted, now);
        let predicted = self.registry().take_prewarms(now, PREWARMS_AT_ONCE);
        for version in predicted {
            self.prewarm_in_background(version);
        }
        let volumes_left = self.carried.sweep(self.config.carried_volumes, self.config.carried_for, now);
        let next = {
            let mut registry = self.registry();
            registry.forget_unused(keep_alive.max(self.config.carried_for), now);
            let next = registry.next_due(delay, keep_alive, now);
            next.into_iter().chain(next_provisioned).min()
        };
        let longest = if next.is_some() || volumes_left { LOOK_EVERY } else { SWEEP_EVERY };
        next.map_or(longest, |due| due.saturating_duration_since(now).min(longest))
            .max(Duration::from_millis(1))
    }
}
