//! The worker: looks after executions in which something is due, and keeps the leases of the invocations it makes.
//!
//! One task per node. It sleeps until the next execution is due, a lease wants extending, or someone wakes it.

use super::{DurableExecutions, PARALLELISM, invocation};
use crate::invoker::ErrorChain;
use lamplight_model::durable::{InFlight, Progress, Turn};
use lamplight_model::{RequestId, Timestamp};
use lamplight_store::StoreError;
use lamplight_store::executions::{ExecutionKey, Wanted};
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{Id, JoinError, JoinSet};
use tracing::{debug, error, warn};
use uuid::Uuid;

/// Executions looked at between two looks at the clock.
const BATCH: usize = 64;
/// Longest sleep: a wall clock that was set back delays nothing for longer.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// Pause after storage refused.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// An invocation that this worker makes.
struct Held {
    key: ExecutionKey,
    invocation: Uuid,
    extend_at: Timestamp,
}

pub(super) struct Worker {
    durable: Arc<DurableExecutions>,
    owner: String,
    invocations: JoinSet<()>,
    /// By task, because a task that panics cannot say which execution it had.
    held: HashMap<Id, Held>,
}

impl Worker {
    pub(super) fn new(durable: Arc<DurableExecutions>) -> Self {
        let owner = format!("{}/{}", durable.configuration.node, Uuid::new_v4());
        Self { durable, owner, invocations: JoinSet::new(), held: HashMap::new() }
    }

    /// Works until told to stop; then gives back what still runs.
    pub(super) async fn run(mut self) {
        self.take_over().await;
        loop {
            let sleep = self.turn().await;
            tokio::select! {
                () = self.durable.stop.cancelled() => break,
                () = self.durable.wakeup.wanted() => {}
                Some(ended) = self.invocations.join_next_with_id() => self.ended(ended),
                () = tokio::time::sleep(sleep) => {}
            }
        }
        self.give_back().await;
    }

    /// What an earlier start of this node began and did not settle is lost: it is made again at once.
    async fn take_over(&self) {
        let owner = format!("{}/", self.durable.configuration.node);
        let lost = match self.durable.executions.in_flight_of(&owner).await {
            Ok(lost) => lost,
            Err(error) => {
                // Their leases run out by themselves.
                warn!(error = %ErrorChain(&error), "failed to look for durable executions in flight");
                return;
            }
        };
        for key in lost {
            self.lose(&key).await;
        }
    }

    async fn lose(&self, key: &ExecutionKey) {
        let now = (self.durable.clock)();
        let changed = self
            .durable
            .executions
            .change(key, Wanted::default(), move |progress: &mut Progress| {
                progress.lose_invocation(now);
                Ok::<_, Infallible>(((), None))
            })
            .await;
        if let Err(error) = changed {
            self.durable.log("give an invocation of a durable execution back", key, &error);
        }
    }

    /// Extends leases, looks after what is due, and says how long there is nothing to do.
    async fn turn(&mut self) -> Duration {
        while let Some(ended) = self.invocations.try_join_next_with_id() {
            self.ended(ended);
        }
        self.extend_leases().await;
        let next_due = match self.look_after_due().await {
            Ok(next_due) => next_due,
            Err(error) => {
                warn!(error = %ErrorChain(&error), "failed to look after durable executions, trying again");
                Some((self.durable.clock)().plus(PAUSE_AFTER_FAILURE))
            }
        };
        let next_lease = self.held.values().map(|held| held.extend_at).min();
        let now = (self.durable.clock)();
        let next = [next_due, next_lease].into_iter().flatten().min();
        next.map_or(LONGEST_SLEEP, |next| {
            let millis = next.as_millis().saturating_sub(now.as_millis());
            Duration::from_millis(u64::try_from(millis).unwrap_or(0)).min(LONGEST_SLEEP)
        })
    }

    /// Gives back when the next execution is due; `None` when none ever is, or none more can be looked after.
    async fn look_after_due(&mut self) -> Result<Option<Timestamp>, StoreError> {
        loop {
            let room = PARALLELISM.saturating_sub(self.held.len()).min(BATCH);
            if room == 0 || self.durable.wakeup.has_stopped_claiming() {
                return Ok(None);
            }
            let now = (self.durable.clock)();
            self.durable.wakeup.claiming(true);
            let looked = self.look_after(now, room).await;
            self.durable.wakeup.claiming(false);
            if looked? < room {
                let next = self.durable.executions.next_due().await?;
                if next.is_none_or(|next| next > (self.durable.clock)()) {
                    return Ok(next);
                }
            }
        }
    }

    async fn look_after(&mut self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let due = self.durable.executions.due(now, limit).await?;
        let (count, mut failure) = (due.len(), None);
        for key in due {
            // One that cannot be read or written holds up no other.
            if let Err(error) = self.advance(key.clone(), now).await {
                self.durable.log("look after a durable execution", &key, &error);
                failure = Some(error);
            }
        }
        failure.map_or(Ok(count), Err)
    }

    async fn advance(&mut self, key: ExecutionKey, now: Timestamp) -> Result<(), StoreError> {
        let begun = InFlight {
            id: Uuid::new_v4(),
            request_id: RequestId::generate().0,
            started_at: now,
            owner: self.owner.clone(),
            lease_until: now.plus(self.durable.configuration.lease),
            seen_before: 0,
            interrupted: false,
        };
        let wanted = Wanted { due: Some(now), ..Wanted::default() };
        let changed = self
            .durable
            .executions
            .change(&key, wanted, move |progress: &mut Progress| {
                Ok::<_, Infallible>((progress.advance(now, begun), None))
            })
            .await?;
        let Some(Ok(changed)) = changed else { return Ok(()) };
        match (changed.value, changed.execution.invocation) {
            (Turn::Invoke, Some(invocation)) => self.begin(key, invocation, now),
            (Turn::Invoke | Turn::Nothing, _) => {}
            (Turn::Closed, _) => self.durable.announce(&key),
            (Turn::Report, _) => self.report(&key, now).await?,
            (Turn::Remove, _) => {
                self.durable.executions.remove(&key).await?;
                debug!(execution = %key.id, "forgot a durable execution");
            }
        }
        Ok(())
    }

    fn begin(&mut self, key: ExecutionKey, invocation: InFlight, now: Timestamp) {
        let extend_at = now.plus(self.durable.configuration.lease / 2);
        let held = Held { key: key.clone(), invocation: invocation.id, extend_at };
        let task = self.invocations.spawn(invocation::make(Arc::clone(&self.durable), key, invocation));
        self.held.insert(task.id(), held);
        self.durable.wakeup.holds(self.held.len());
    }

    /// Tells the parent of an execution how it ended. Twice does no harm, so the order of the two writes makes it sure.
    async fn report(&self, key: &ExecutionKey, now: Timestamp) -> Result<(), StoreError> {
        let Some(child) = self.durable.executions.get(key).await? else { return Ok(()) };
        if let Some(parent) = child.execution.parent.clone() {
            let parent_key = ExecutionKey { scope: key.scope.clone(), id: parent.execution };
            let wanted = Wanted { ids: vec![parent.operation.clone()], ..Wanted::default() };
            self.durable
                .executions
                .change(&parent_key, wanted, move |progress: &mut Progress| {
                    progress.chained_ended(&parent.operation, &child.execution, child.closing, now);
                    Ok::<_, Infallible>(((), None))
                })
                .await?;
        }
        self.durable
            .executions
            .change(key, Wanted::default(), |progress: &mut Progress| {
                progress.execution.owes_report = false;
                Ok::<_, Infallible>(((), None))
            })
            .await?;
        Ok(())
    }

    fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let task = match &ended {
            Ok((task, ())) => *task,
            Err(error) => error.id(),
        };
        let held = self.held.remove(&task);
        if let (Err(panic), Some(held)) = (ended, held) {
            // Its lease runs out, and it is made again.
            error!(execution = %held.key.id, error = %panic, "an invocation of a durable execution broke off");
        }
        self.durable.wakeup.holds(self.held.len());
    }

    async fn extend_leases(&mut self) {
        let now = (self.durable.clock)();
        let lease = self.durable.configuration.lease;
        for held in self.held.values_mut().filter(|held| held.extend_at <= now) {
            let (invocation, until) = (held.invocation, now.plus(lease));
            let extended = self
                .durable
                .executions
                .change(&held.key, Wanted::default(), move |progress: &mut Progress| {
                    if let Some(current) = &mut progress.execution.invocation
                        && current.id == invocation
                    {
                        current.lease_until = until;
                    }
                    Ok::<_, Infallible>(((), None))
                })
                .await;
            held.extend_at = match extended {
                Ok(_) => now.plus(lease / 2),
                Err(error) => {
                    self.durable.log("extend the lease of an invocation", &held.key, &error);
                    now.plus(PAUSE_AFTER_FAILURE)
                }
            };
        }
    }

    async fn give_back(mut self) {
        self.invocations.shutdown().await;
        for held in self.held.values() {
            self.lose(&held.key).await;
        }
        self.held.clear();
        self.durable.wakeup.holds(0);
    }
}
