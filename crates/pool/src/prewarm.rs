//! Instances started ahead of their call: room, start, init, and then idle as if a call had just ended.
//!
//! Called by `maintenance` before a predictable arrival, and by `provisioned` for what is to be ready always. The init belongs to no invocation: an INIT_REPORT line says how
//! it went, and the first call on such an instance is a warm one.

use crate::initialization::InitializationType;
use crate::instance::{Instance, Room};
use crate::pool::Pool;
use crate::run::init_status;
use crate::start::{StartFailure, StartRequest};
use lamplight_model::limits::PROVISIONED_INIT_SECONDS;
use lamplight_model::{FunctionVersion, OutcomeStatus, ServiceError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::debug;

/// Why there is no instance ahead of its call.
#[derive(Debug, thiserror::Error)]
pub enum PrewarmFailure {
    /// The node is full, or calls wait for its room, or the version is gone; nothing was evicted for it.
    #[error("there is no room for an instance ahead of its call")]
    NoRoom,
    /// The platform could not start it.
    #[error("the platform failed to start an instance ahead of its call: {0}")]
    Platform(ServiceError),
    /// The function's own init did not succeed; its log says how.
    #[error("the init of an instance ahead of its call ended with {}", .0.as_deref().unwrap_or("a timeout"))]
    Init(Option<String>),
}

impl Pool {
    /// Starts one instance of `version` without an invocation and leaves it idle.
    ///
    /// Takes only room that is free, evicts nobody, waits for no other call. The start goes on when the future is
    /// dropped. Fails as `PrewarmFailure` says; a failed init is not tried again.
    pub async fn prewarm(self: &Arc<Self>, version: &Arc<FunctionVersion>) -> Result<(), PrewarmFailure> {
        let (sender, receiver) = oneshot::channel();
        let (pool, version) = (Arc::clone(self), Arc::clone(version));
        self.spawn(async move {
            let _ = sender.send(pool.start_and_leave_idle(&version).await);
        });
        receiver.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// The same without waiting for it.
    pub(crate) fn prewarm_in_background(self: &Arc<Self>, version: Arc<FunctionVersion>) {
        let pool = Arc::clone(self);
        self.spawn(async move {
            let function = &version.name;
            match pool.start_and_leave_idle(&version).await {
                Ok(()) => debug!(%function, "an instance was started ahead of a predicted call"),
                Err(failure) => debug!(%function, %failure, "no instance ahead of a predicted call"),
            }
        });
    }

    async fn start_and_leave_idle(
        self: &Arc<Self>,
        version: &Arc<FunctionVersion>,
    ) -> Result<(), PrewarmFailure> {
        let room = self.reserve(version).ok_or(PrewarmFailure::NoRoom)?;
        let (initialization, limit) = (InitializationType::of_call(version), self.init_limit_of(version));
        let instance = self.start_ahead(version, room, initialization, limit).await?;
        self.settle(instance);
        Ok(())
    }

    /// How long the init of an instance may take that a call needs. Longer with SnapStart, which AWS does it ahead for.
    /// Source: Lambda developer guide, "Lambda execution environment lifecycle", init phase.
    pub(crate) fn init_limit_of(&self, version: &FunctionVersion) -> Duration {
        let limit = self.config.init_limit;
        if version.has_snap_start() {
            return limit.max(Duration::from_secs(PROVISIONED_INIT_SECONDS)).max(version.timeout());
        }
        limit
    }

    /// Free room for an instance of `version`, counted as starting. `None` when there is none.
    pub(crate) fn reserve(self: &Arc<Self>, version: &Arc<FunctionVersion>) -> Option<Room> {
        let (room, to_stop) = self.registry().reserve(version, Instant::now());
        for instance in to_stop {
            self.stop(instance);
        }
        room.map(|(entry, claim_bytes)| Room::granted(self, entry, claim_bytes))
    }

    /// Starts an instance in `room` and waits at most `limit` for its init. It comes back counted as running:
    /// `settle` makes it idle. Its init is in its log only.
    pub(crate) async fn start_ahead(
        self: &Arc<Self>,
        version: &Arc<FunctionVersion>,
        room: Room,
        initialization: InitializationType,
        limit: Duration,
    ) -> Result<Instance, PrewarmFailure> {
        let plan = (self.runtimes)(&version.runtime).map_err(PrewarmFailure::Platform)?;
        let (id, journal) = self.new_journal(version, initialization);
        journal.init_start(&plan.version_label, &plan.version_arn(&version.scope.region));
        let request = StartRequest { pool: self, version, plan: &plan, journal: &journal };
        match request.start(None, limit, None).await {
            Ok(ready) => {
                let (init, kind, cold_start) = (ready.init(), ready.kind, ready.cold_start);
                let mut instance = ready.into_instance(self, version, id, &journal, room);
                instance.body.drain_log();
                journal.init_done(init, kind, &cold_start, true);
                if let Ok(memory_peak_bytes) = instance.body.sandbox.memory_peak_bytes() {
                    self.measured(&mut instance.room, memory_peak_bytes);
                }
                Ok(instance)
            }
            Err(StartFailure::Platform(error)) => Err(PrewarmFailure::Platform(error)),
            Err(StartFailure::Entrypoint(_)) => {
                let error_type = "Runtime.InvalidEntrypoint";
                journal.init_report(Duration::ZERO, false, OutcomeStatus::Failure, Some(error_type));
                Err(PrewarmFailure::Init(Some(error_type.to_owned())))
            }
            Err(StartFailure::Init { ending, duration, .. }) => {
                let (status, error_type) = init_status(&ending);
                journal.init_report(duration, false, status, error_type.as_deref());
                Err(PrewarmFailure::Init(error_type))
            }
        }
    }
}

fn stopping() -> PrewarmFailure {
    PrewarmFailure::Platform(ServiceError::internal("The server is stopping"))
}
