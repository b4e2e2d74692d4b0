//! One instance: its sandbox, its conversation, its log, and its room in the node's budget.

use crate::external::{External, shutdown_budget};
use crate::log::{Journal, Output, Records};
use crate::pool::Pool;
use crate::provisioned::keeper::Membership;
use crate::registry::{EntryId, Phase};
use lamplight_model::Timestamp;
use lamplight_runtime::{Conversation, ShutdownReason, Telemetry};
use lamplight_sandbox::{Exit, Limits, Sandbox, TemporaryVolume};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, warn};

/// A share of the node's budget, held from the decision to start an instance until nothing of it is left.
#[derive(Debug)]
pub struct Room {
    pool: Weak<Pool>,
    /// Whose it is.
    pub entry: EntryId,
    /// What it counts for, bytes.
    pub claim_bytes: u64,
    /// Kept in step with the registry's counts.
    pub phase: Phase,
}

impl Room {
    /// For room the registry has granted in phase `Starting`.
    pub fn granted(pool: &Arc<Pool>, entry: EntryId, claim_bytes: u64) -> Self {
        Self { pool: Arc::downgrade(pool), entry, claim_bytes, phase: Phase::Starting }
    }

    /// Moves to another phase, in the registry too.
    pub fn change(&mut self, to: Phase) {
        if let Some(pool) = self.pool.upgrade()
            && self.phase != to
        {
            pool.registry().change(self.entry, self.claim_bytes, self.phase, to);
        }
        self.phase = to;
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.registry().release(self.entry, self.claim_bytes, self.phase);
        }
    }
}

/// A task that ends with its owner.
#[derive(Debug)]
pub struct OwnedTask(JoinHandle<()>);

impl From<JoinHandle<()>> for OwnedTask {
    fn from(task: JoinHandle<()>) -> Self {
        Self(task)
    }
}

impl Drop for OwnedTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A started sandbox with everything attached to it, not yet (or no longer) part of the pool's count.
pub struct Body {
    /// The wall around the processes. Dropping it kills them.
    pub sandbox: Box<dyn Sandbox>,
    /// The talk with the runtime.
    pub conversation: Conversation,
    /// Its log events, when they come by that way.
    pub records: Records,
    /// Reads stdout and stderr.
    pub output: Arc<Output>,
    /// The task that pumps `output`.
    pub pump: OwnedTask,
    /// The platform's API inside; ends with its connections.
    pub platform: OwnedTask,
    /// Processes beside the runtime.
    pub external: External,
    /// What extensions subscribed to.
    pub telemetry: Arc<Telemetry>,
    /// Takes no event from then on: its credentials end.
    pub serves_until: Timestamp,
}

impl Body {
    /// Whether there are extensions that may end in their own way.
    pub fn ends_in_order(&self) -> bool {
        self.shutdown_budget().is_some()
    }

    fn shutdown_budget(&self) -> Option<(Duration, Duration)> {
        shutdown_budget(!self.external.is_empty(), self.conversation.has_internal_extensions())
    }

    /// Lets extensions end in their own way, if there are any: first the runtime, then they, each within its time. To be
    /// stopped afterwards, whatever came of it.
    pub async fn shut_down(&mut self, reason: ShutdownReason, now: Timestamp) {
        let Some((in_all, of_runtime)) = self.shutdown_budget() else { return };
        let deadline = Instant::now() + in_all;
        if let Err(error) = self.sandbox.thaw().and_then(|()| self.sandbox.terminate()) {
            debug!(sandbox_id = self.sandbox.id(), %error, "a runtime could not be asked to end");
        }
        self.telemetry.flush();
        let _ = timeout(of_runtime, self.sandbox.exited()).await;
        let deadline_ms = now.plus(in_all).as_millis();
        let told = self.conversation.shut_down_extensions(deadline_ms, reason);
        let _ = timeout_at(deadline, self.external.ended(&told)).await;
    }

    /// Kills everything, keeps what was printed, and gives back `/tmp`.
    pub async fn stop(self) -> Option<TemporaryVolume> {
        let Self { sandbox, conversation, mut records, output, pump, platform, external, telemetry, .. } =
            self;
        telemetry.end();
        // Listeners and accepted connections pin the network namespace: they go first.
        drop(conversation);
        drop(platform);
        let volume = sandbox.stop().await;
        records.drain();
        output.drain();
        external.drain_log();
        drop((pump, external));
        volume
    }

    /// Writes everything printed so far to the journal.
    pub fn drain_log(&mut self) {
        self.records.drain();
        self.output.drain();
        self.external.drain_log();
    }

    /// Whether it can take no event any more: its command or an extension has ended.
    pub fn has_ended(&self) -> bool {
        self.external.has_ended() || self.exit_now().is_some()
    }

    /// How the command ended, if it has.
    pub fn exit_now(&self) -> Option<Exit> {
        let mut exited = self.sandbox.exited();
        match exited.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(exit) => Some(exit),
            Poll::Pending => None,
        }
    }
}

/// Highest memory use of an instance, as far as it was looked at.
#[derive(Debug, Clone, Copy, Default)]
pub struct MeasuredMemory {
    /// Bytes.
    pub peak_bytes: u64,
    /// When.
    pub at: Option<Instant>,
}

/// A run that was shorter can have taken a few MiB at most: the kernel hands out a page in a quarter of a microsecond.
const SHORT_RUN: Duration = Duration::from_millis(1);
/// Short runs are reported with memory that was measured so lately.
const MEASURED_LATELY: Duration = Duration::from_millis(20);

impl MeasuredMemory {
    /// Whether it is to be measured anew for the report of a run that took `duration` and ended `now`.
    pub fn is_due(&self, duration: Duration, now: Instant) -> bool {
        duration >= SHORT_RUN || self.at.is_none_or(|at| now.saturating_duration_since(at) >= MEASURED_LATELY)
    }
}

/// An instance that finished its init.
pub struct Instance {
    /// 32 hexadecimal digits: the end of its log stream's name.
    pub id: Arc<str>,
    /// The sandbox and what belongs to it.
    pub body: Body,
    /// Its log stream.
    pub journal: Arc<Journal>,
    /// Its share of the budget.
    pub room: Room,
    /// Whether its processes stand still.
    pub frozen: bool,
    /// What its memory was when it was measured last.
    pub memory: MeasuredMemory,
    /// Its place among the provisioned instances of its version, when it is one.
    pub provisioned: Option<Membership>,
}

impl Instance {
    /// Limits of an instance of so many MiB: processor time in proportion, as in Lambda.
    pub fn limits(memory_mib: u32, processes: u32, open_files: u32) -> Limits {
        let cpu_millis =
            u64::from(memory_mib) * 1_000 / u64::from(lamplight_model::limits::MEMORY_MIB_PER_CPU);
        Limits {
            memory_bytes: u64::from(memory_mib) * 1024 * 1024,
            cpu_millis: u32::try_from(cpu_millis).unwrap_or(u32::MAX),
            processes,
            open_files,
        }
    }

    /// Stops its processes where they are. A failure is logged: the instance is merely less quiet.
    pub fn freeze(&mut self) {
        match self.body.sandbox.freeze() {
            Ok(()) => self.frozen = true,
            Err(error) => warn!(instance_id = %self.id, %error, "failed to freeze an idle instance"),
        }
    }

    /// Whether it is too old to take an event.
    pub fn is_worn_out(&self, now: Timestamp) -> bool {
        self.body.serves_until <= now
    }

    /// Makes it ready to take an event. Fails when it is dead, too old or cannot be thawed: another one is to be used.
    pub fn wake(&mut self, now: Timestamp) -> bool {
        if self.body.has_ended() || self.is_worn_out(now) {
            return false;
        }
        if self.frozen {
            if let Err(error) = self.body.sandbox.thaw() {
                warn!(instance_id = %self.id, %error, "failed to thaw an instance");
                return false;
            }
            self.frozen = false;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(run_us: u64, measured_ms_ago: Option<u64>, due: bool) {
        let now = Instant::now() + Duration::from_secs(60);
        let at = measured_ms_ago.map(|ago| now - Duration::from_millis(ago));
        let memory = MeasuredMemory { peak_bytes: 0, at };
        assert_eq!(
            memory.is_due(Duration::from_micros(run_us), now),
            due,
            "{run_us} us, measured {measured_ms_ago:?} ms ago"
        );
    }

    #[tokio::test]
    async fn memory_is_measured_when_it_can_have_changed() {
        check(10, None, true);
        check(10, Some(0), false);
        check(999, Some(19), false);
        check(1_000, Some(0), true);
        check(10, Some(20), true);
    }
}
