//! The pool: finds or starts an instance for an invocation, takes it back, keeps the node within its bounds.

use crate::answer::{Answer, AnswerParts, FedBy};
use crate::blanks::{self, Blanks};
use crate::carried::CarriedVolumes;
use crate::compile::Compilations;
use crate::config::PoolConfig;
use crate::credentials::CredentialSource;
use crate::initialization::InitializationType;
use crate::instance::{Instance, Room};
use crate::log::{Journal, JournalTarget};
use crate::plan::RuntimeSource;
use crate::provisioned::keeper::{self, Provisioned};
use crate::registry::{Acquired, Bounds, EntryId, Grant, Phase, Registry};
use crate::rest::Rest;
use crate::run::{AnswerSender, Run, VolumePromise};
use crate::slots::{Joined, Slot, Slots, Starting};
use crate::snapshot::Snapshot;
use crate::version_zygotes::VersionZygotes;
use crate::zygotes::Zygotes;
use crate::{Clock, maintenance};
use lamplight_model::rate::Rate;
use lamplight_model::{
    Caller, FunctionName, FunctionVersion, Invocation, Live, Scope, ServiceError, Timestamp, VersionNumber,
};
use lamplight_runtime::ShutdownReason;
use lamplight_sandbox::SandboxBackend;
use lamplight_store::{CodeStore, Logs};
use std::future::poll_fn;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, ready};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Serves the platform's API on the (non-blocking) listener inside an instance, as that function. The task is
/// aborted at teardown and must take every accepted connection with it: both pin the network namespace.
pub type PlatformEndpoint = Arc<dyn Fn(TcpListener, Caller) -> JoinHandle<()> + Send + Sync>;

/// Pieces of an answer that wait for a slow caller; then the function waits.
const BODY_PIECES: usize = 16;

/// The instances of this node.
pub struct Pool {
    pub(crate) config: PoolConfig,
    pub(crate) backend: Arc<dyn SandboxBackend>,
    pub(crate) code: Arc<dyn CodeStore>,
    pub(crate) platform: PlatformEndpoint,
    pub(crate) credentials: CredentialSource,
    pub(crate) target: JournalTarget,
    pub(crate) carried: CarriedVolumes,
    pub(crate) blanks: Arc<Blanks>,
    pub(crate) zygotes: Zygotes,
    pub(crate) version_zygotes: VersionZygotes,
    pub(crate) provisioned: Provisioned,
    pub(crate) slots: Slots,
    pub(crate) builds: Semaphore,
    pub(crate) compilations: Compilations,
    /// Cancelled when runs in flight are to end at once.
    pub(crate) abort: CancellationToken,
    pub(crate) runtimes: RuntimeSource,
    registry: Mutex<Registry<Instance>>,
    /// Runs, teardowns, and blanks being made.
    pub(crate) tasks: TaskTracker,
    pub(crate) maintenance: maintenance::Wake,
    busy_changed: Notify,
    /// See `PoolConfig::keep_alive`, which is its first value.
    pub(crate) keep_alive: Live<Duration>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Pool").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Pool {
    /// A pool without instances. Must be called within a tokio runtime; its maintenance ends with it.
    #[allow(clippy::too_many_arguments)] // Each is a part, and they are named at the one place that calls this.
    pub fn new(
        config: PoolConfig,
        backend: Arc<dyn SandboxBackend>,
        code: Arc<dyn CodeStore>,
        logs: Arc<dyn Logs>,
        runtimes: RuntimeSource,
        platform: PlatformEndpoint,
        credentials: CredentialSource,
        clock: Clock,
    ) -> Arc<Self> {
        let bounds = Bounds {
            budget: config.budget,
            waiting_calls: config.waiting_calls,
            histogram_bin: config.histogram_bin,
            starts_of_a_function: config.starts_of_a_function,
        };
        let pool = Arc::new(Self {
            builds: Semaphore::new(config.concurrent_builds.max(1)),
            compilations: Compilations::default(),
            backend,
            code,
            platform,
            credentials,
            target: JournalTarget { logs, clock },
            carried: CarriedVolumes::default(),
            blanks: Arc::new(Blanks::new(config.blanks)),
            zygotes: Zygotes::default(),
            version_zygotes: VersionZygotes::new(config.version_zygotes),
            provisioned: Provisioned::default(),
            slots: Slots::default(),
            abort: CancellationToken::new(),
            runtimes,
            registry: Mutex::new(Registry::new(bounds)),
            tasks: TaskTracker::new(),
            maintenance: maintenance::Wake::default(),
            busy_changed: Notify::new(),
            keep_alive: config.keep_alive.into(),
            config,
        });
        tokio::spawn(maintenance::run(Arc::downgrade(&pool)));
        tokio::spawn(blanks::run(Arc::downgrade(&pool)));
        tokio::spawn(keeper::run(Arc::downgrade(&pool)));
        pool
    }

    /// Changes how long an instance stays idle at most, and how fast calls of one function may start new ones. Looked at
    /// within the pool's next round.
    pub fn set_bounds(&self, keep_alive: Duration, starts_of_a_function: Rate) {
        self.keep_alive.set(keep_alive);
        self.registry().set_starts_of_a_function(starts_of_a_function);
        self.maintenance.wake();
    }

    /// Starts one invocation; the run is worked on by who waits for the answer and goes on when the answer is dropped.
    ///
    /// Fails with `TooManyRequestsException` when the node is full beyond its bounded wait or the function has started
    /// too many instances lately, with `InvalidRuntimeException` when the version's runtime is not on this host, and with
    /// `ServiceException` while the server stops. What goes wrong later is in `AnswerParts::ended`.
    pub async fn run(self: &Arc<Self>, invocation: Invocation) -> Result<Answer, ServiceError> {
        let called_at = Instant::now();
        let mut starting = None;
        if invocation.version.concurrency() > 1 {
            match self.join(&invocation) {
                Joined::Slot(slot) => return Ok(self.in_slot(invocation, called_at, slot)),
                Joined::Soon(slot) => match slot.await {
                    Ok(slot) => return Ok(self.in_slot(invocation, called_at, slot)),
                    Err(_) => starting = Some(self.begin(&invocation)),
                },
                Joined::Nothing(begun) => starting = Some(begun),
            }
        }
        // What is provisioned belongs to no tenant.
        if invocation.tenant_id.is_none()
            && let Some(instance) = self.take_provisioned(&invocation.version)
        {
            return Ok(self.warm(invocation, called_at, instance, starting));
        }
        loop {
            let (entry, grant) = self.acquire(&invocation, called_at).await?;
            match grant {
                Grant::Instance(mut instance) => {
                    instance.room.phase = Phase::Running;
                    if !instance.wake(self.now()) {
                        instance.room.change(Phase::Stopping);
                        self.stop(instance);
                        continue;
                    }
                    return Ok(self.warm(invocation, called_at, instance, starting));
                }
                Grant::Room(claim_bytes) => {
                    let room = Room::granted(self, entry, claim_bytes);
                    let plan = (self.runtimes)(&invocation.version.runtime)?;
                    let (sender, parts) = channels();
                    let run = Run { pool: self.clone(), invocation, queued: called_at.elapsed(), starting };
                    let rest = Rest::new(self.tracked(run.cold(room, plan, sender)));
                    return Ok(Answer::attached(parts, rest, FedBy::Others));
                }
            }
        }
    }

    fn in_slot(self: &Arc<Self>, invocation: Invocation, called_at: Instant, slot: Slot) -> Answer {
        let begun = Instant::now();
        let queued = begun.saturating_duration_since(called_at);
        let run = Run { pool: self.clone(), invocation, queued, starting: None };
        let (sender, parts) = channels();
        let rest = Rest::new(self.tracked(run.in_slot(slot, None, begun, true, sender)));
        Answer::attached(parts, rest, FedBy::Others)
    }

    fn warm(
        self: &Arc<Self>,
        invocation: Invocation,
        called_at: Instant,
        instance: Instance,
        starting: Option<Starting>,
    ) -> Answer {
        let begun = Instant::now();
        let queued = begun.saturating_duration_since(called_at);
        let run = Run { pool: self.clone(), invocation, queued, starting };
        let fed_by = if instance.body.conversation.has_own_tasks() { FedBy::Others } else { FedBy::Run };
        let (sender, parts) = channels();
        Answer::attached(parts, Rest::new(self.tracked(run.warm(instance, begun, sender))), fed_by)
    }

    async fn acquire(
        self: &Arc<Self>,
        invocation: &Invocation,
        now: Instant,
    ) -> Result<(EntryId, Grant<Instance>), ServiceError> {
        let acquisition = {
            let mut registry = self.registry();
            if registry.is_closed() {
                return Err(stopping());
            }
            registry.acquire(&invocation.version, invocation.tenant_id.as_ref(), now)
        };
        for instance in acquisition.to_stop {
            self.stop(instance);
        }
        let entry = acquisition.entry;
        let receiver = match acquisition.acquired {
            Acquired::Granted(grant) => return Ok((entry, grant)),
            Acquired::Refused => return Err(full()),
            Acquired::TooFast => return Err(too_fast()),
            Acquired::Waiting(receiver) => receiver,
        };
        let mut place = Place { pool: self, entry, receiver };
        match timeout(self.config.waiting_time, &mut place.receiver).await {
            Ok(Ok(grant)) => Ok((entry, grant)),
            Ok(Err(_)) => Err(stopping()),
            // Dropping the place gives a grant back that came at the last moment.
            Err(_) => Err(full()),
        }
    }

    /// Stops every instance of a version: idle ones now, running ones after their run. For a deleted version.
    pub fn discard_version(self: &Arc<Self>, scope: &Scope, name: &FunctionName, version: VersionNumber) {
        self.version_zygotes.discard(scope, name, version);
        let retired = self.registry().retire_version(scope, name, version);
        for instance in retired {
            self.stop(instance);
        }
    }

    /// Versions that have an instance or may get one ahead of a call.
    pub fn versions_in_use(&self) -> Vec<Arc<FunctionVersion>> {
        self.registry().in_use(Instant::now())
    }

    /// Tells what is stored of a version now: idle instances of older revisions stop, and none is started ahead.
    pub fn renew(&self, version: &Arc<FunctionVersion>) {
        self.version_zygotes.renew(version);
        let retired = self.registry().renew(version, Instant::now());
        for instance in retired {
            self.stop(instance);
        }
    }

    /// Takes no more invocations, lets those in flight end until `deadline`, then ends them with
    /// `ServiceException`, and returns when nothing is left.
    pub async fn drain(self: &Arc<Self>, deadline: Instant) {
        let idle = self.registry().close();
        for instance in idle {
            self.stop(instance);
        }
        self.close_provisioned();
        for blank in self.blanks.close() {
            self.stop_blank(blank);
        }
        self.zygotes.clear();
        self.version_zygotes.clear();
        let quiet = async {
            loop {
                let changed = self.busy_changed.notified();
                if self.registry().busy() == 0 {
                    return;
                }
                changed.await;
            }
        };
        let _ = tokio::time::timeout_at(deadline, quiet).await;
        self.abort.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.carried.sweep(0, Duration::ZERO, Instant::now());
    }

    /// The time of the wall clock.
    pub(crate) fn now(&self) -> Timestamp {
        (self.target.clock)()
    }

    /// What there is now, for `doctor` and metrics.
    pub fn snapshot(&self) -> Snapshot {
        let (provisioned, frozen) = self.provisioned.set().counts();
        let (compiled_packages, uncompiled_packages) = self.compilations.counts();
        let snapshot = Snapshot::of(&self.registry());
        Snapshot {
            blanks: self.blanks.ready(),
            version_zygotes: self.version_zygotes.ready(),
            unfit_versions: self.version_zygotes.unfit(),
            provisioned,
            frozen: snapshot.frozen + frozen,
            compiled_packages,
            uncompiled_packages,
            ..snapshot
        }
    }

    /// The state. Never held across an await, and nothing that owns a `Room` is dropped while it is held.
    pub(crate) fn registry(&self) -> MutexGuard<'_, Registry<Instance>> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends an instance, which the registry has counted as stopping already, in a task of its own.
    pub(crate) fn stop(&self, mut instance: Instance) {
        instance.room.phase = Phase::Stopping;
        let (now, abort) = (self.now(), self.abort.clone());
        self.tasks.spawn(async move {
            let Instance { mut body, room, .. } = instance;
            let reason = if body.has_ended() { ShutdownReason::Failure } else { ShutdownReason::Spindown };
            tokio::select! {
                () = body.shut_down(reason, now) => {}
                () = abort.cancelled() => {}
            }
            drop(body.stop().await);
            drop(room);
        });
    }

    /// The same for one whose `/tmp` goes to the next instance of its version.
    pub(crate) fn stop_and_carry(&self, mut instance: Instance) {
        instance.room.change(Phase::Stopping);
        drop(instance.provisioned.take());
        let carried = self.promise_volume(instance.room.entry);
        let (now, abort) = (self.now(), self.abort.clone());
        self.tasks.spawn(async move {
            let Instance { mut body, room, .. } = instance;
            tokio::select! {
                () = body.shut_down(ShutdownReason::Failure, now) => {}
                () = abort.cancelled() => {}
            }
            let volume = body.stop().await;
            drop(room);
            if let Some(volume) = volume {
                let _ = carried.send(volume);
            }
        });
    }

    /// An instance whose run is over and whose runtime asked for the next event.
    pub(crate) fn give_back(&self, mut instance: Instance, now: Instant) {
        if instance.provisioned.is_some() {
            return self.keep_provisioned(instance);
        }
        let (entry, claim_bytes) = (instance.room.entry, instance.room.claim_bytes);
        instance.room.phase = Phase::Idle;
        let back = self.registry().finished(entry, instance, claim_bytes, now);
        self.stop_or_watch(back);
    }

    /// An instance that was started ahead and has not been called.
    pub(crate) fn settle(&self, mut instance: Instance) {
        let (entry, claim_bytes) = (instance.room.entry, instance.room.claim_bytes);
        instance.room.phase = Phase::Idle;
        let back = self.registry().settle(entry, instance, claim_bytes, Instant::now());
        self.stop_or_watch(back);
    }

    fn stop_or_watch(&self, back: Option<Instance>) {
        match back {
            Some(instance) => self.stop(instance),
            None => self.maintenance.wake_if_parked(),
        }
    }

    /// Learns from a measurement what instances of this version count for.
    pub(crate) fn measured(&self, room: &mut Room, memory_peak_bytes: u64) {
        room.claim_bytes = self.registry().learn(room.entry, room.claim_bytes, memory_peak_bytes);
    }

    /// Takes a place for the `/tmp` of an instance that is about to be stopped.
    pub(crate) fn promise_volume(&self, entry: EntryId) -> VolumePromise {
        let promise = self.carried.promise(entry, Instant::now());
        self.wake_maintenance();
        promise
    }

    pub(crate) fn wake_maintenance(&self) {
        self.maintenance.wake_if_parked();
    }

    /// Identity and log stream of a new instance.
    pub(crate) fn new_journal(
        &self,
        version: &Arc<FunctionVersion>,
        initialization: InitializationType,
    ) -> (Arc<str>, Arc<Journal>) {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let date = self.now().log_stream_date();
        let stream: Arc<str> = format!("{date}/[{}]{id}", version.version).into();
        (id.into(), Journal::new(self.target.clone(), version.clone(), stream, initialization))
    }

    /// Work the drain waits for, in a task.
    pub(crate) fn spawn(self: &Arc<Self>, run: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(self.tracked(run));
    }

    /// Work the drain waits for.
    fn tracked(
        self: &Arc<Self>,
        run: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let pool = self.clone();
        // In a box, because an async block that awaits what it captured has room for it twice.
        let mut run = Box::pin(run);
        self.tasks.track_future(poll_fn(move |context| {
            ready!(run.as_mut().poll(context));
            if pool.abort_or_closed() {
                pool.busy_changed.notify_waiters();
            }
            Poll::Ready(())
        }))
    }

    fn abort_or_closed(&self) -> bool {
        self.abort.is_cancelled() || self.registry().is_closed()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.maintenance.wake();
        self.provisioned.wake();
    }
}

/// A place in the queue. Dropped with a grant in it, it gives the grant back.
struct Place<'a> {
    pool: &'a Arc<Pool>,
    entry: EntryId,
    receiver: oneshot::Receiver<Grant<Instance>>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.receiver.close();
        match self.receiver.try_recv() {
            Ok(Grant::Instance(instance)) => {
                self.pool.give_back(instance, Instant::now());
            }
            Ok(Grant::Room(claim_bytes)) => drop(Room::granted(self.pool, self.entry, claim_bytes)),
            Err(_) => {}
        }
    }
}

fn channels() -> (AnswerSender, AnswerParts) {
    let (body_sender, body) = mpsc::channel(BODY_PIECES);
    let (content_type_sender, content_type) = oneshot::channel();
    let (ended_sender, ended) = oneshot::channel();
    let (finished_sender, finished) = oneshot::channel();
    (
        AnswerSender {
            body: body_sender,
            content_type: content_type_sender,
            ended: ended_sender,
            finished: finished_sender,
        },
        AnswerParts { body, content_type, ended, finished },
    )
}

/// AWS does not say which of its reasons it gives then; this one is that of a function's rate.
fn too_fast() -> ServiceError {
    ServiceError::throttled("FunctionInvocationRateLimitExceeded")
}

fn full() -> ServiceError {
    ServiceError::throttled("ConcurrentInvocationLimitExceeded")
}

fn stopping() -> ServiceError {
    ServiceError::internal("The server is stopping")
}
