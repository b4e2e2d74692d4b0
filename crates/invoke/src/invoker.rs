//! The funnel itself. Front doors call `invoke`, `enqueue` and `dry_run`; the queue's worker takes the same path.

use crate::admission::{Admission, AdmissionLimits, Permit};
use crate::asynchronous::AsynchronousConfig;
use crate::asynchronous::worker::{QueueWorker, Wakeup};
use crate::durable::DurableExecutions;
use crate::metrics::{Metrics, MetricsSnapshot};
use crate::provisioned::Provisioning;
use crate::recursion;
use crate::request::{InvokeRequest, Running};
use crate::resolve::{check_call, resolve};
use crate::running::{RunningCalls, RunningEntry};
use crate::starts::Starts;
use crate::trace;
use crate::workers::{InstanceCounts, Workers};
pub(crate) use lamplight_model::ErrorChain;
use lamplight_model::limits::{ACCOUNT_CONCURRENCY, ASYNC_PAYLOAD_BYTES, CALLS_PER_SECOND_AND_CONCURRENCY};
use lamplight_model::{
    ErrorCode, FunctionName, FunctionVersion, Invocation, InvocationReport, Outcome, OutcomeStatus,
    Qualifier, RunPlace, Scope, ServiceError, StartKind, Timestamp, lineage,
};
use lamplight_pool::{Answer, AnswerParts, FedBy, Finished, Rest};
use lamplight_services::queues::Queues;
use lamplight_store::{Ledger, QueuedEvent, Store, StoreError};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

/// Reads wall-clock time. Injected, so that nothing in this crate depends on the machine's clock.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What an operator may set about the funnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvokerConfig {
    /// Concurrent invocations per account and region, synchronous and asynchronous together.
    pub account_concurrency: usize,
    /// Synchronous invocations a second for each of them, and for each that a function has reserved. 0: no bound.
    pub calls_per_second_each: u64,
    /// The queue's worker.
    pub asynchronous: AsynchronousConfig,
}

impl Default for InvokerConfig {
    fn default() -> Self {
        Self {
            account_concurrency: ACCOUNT_CONCURRENCY,
            calls_per_second_each: CALLS_PER_SECOND_AND_CONCURRENCY,
            asynchronous: AsynchronousConfig::default(),
        }
    }
}

/// A finished run as whoever exports telemetry sees it.
#[derive(Debug, Clone)]
pub struct ObservedRun {
    /// What the ledger gets.
    pub report: InvocationReport,
    /// The trace header that was handed on to the function.
    pub trace_header: Option<String>,
}

/// Is told of every finished run; must not block.
pub type Observer = Box<dyn Fn(ObservedRun) + Send + Sync>;

/// Where an invocation comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Somebody waits for the answer.
    Caller,
    /// The queue of events: as many in a second as there are places. Source: Lambda quotas page, "Invocation requests per
    /// function per Region (asynchronous)".
    Queue,
}

/// Resolves, admits, dispatches, retries and reports. One per node.
pub struct Invoker {
    pub(crate) config: InvokerConfig,
    /// Whose the claims of events are: this node and this start of it.
    pub(crate) owner: String,
    pub(crate) store: Arc<dyn Store>,
    workers: Arc<dyn Workers>,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) running: RunningCalls,
    pub(crate) clock: Clock,
    pub(crate) admission: Arc<Admission>,
    provisioning: Arc<Provisioning>,
    pub(crate) metrics: Metrics,
    starts: Starts,
    runs: TaskTracker,
    draining: AtomicBool,
    /// Where events for durable functions go.
    pub(crate) durable: OnceLock<Weak<DurableExecutions>>,
    pub(crate) queue: Wakeup,
    stop_queue: CancellationToken,
    queue_tasks: TaskTracker,
    observer: OnceLock<Observer>,
    /// Where records and dead letters of events go, once `send_letters_to` was called.
    pub(crate) queues: OnceLock<Queues>,
}

impl Invoker {
    /// A funnel that answers synchronous calls and accepts events at once; `start` makes it work the queue off.
    pub fn new(
        config: InvokerConfig,
        store: Arc<dyn Store>,
        workers: Arc<dyn Workers>,
        ledger: Arc<dyn Ledger>,
        clock: Clock,
    ) -> Arc<Self> {
        let admission = Admission::new(AdmissionLimits {
            concurrency: config.account_concurrency,
            calls_per_second_each: config.calls_per_second_each,
        });
        let provisioning = Arc::new(Provisioning::new(
            Arc::clone(&store),
            Arc::clone(&workers),
            Arc::clone(&admission),
            Arc::clone(&clock),
        ));
        Arc::new(Self {
            admission,
            provisioning,
            owner: format!("{}/{}", config.asynchronous.node, uuid::Uuid::new_v4()),
            config,
            store,
            workers,
            ledger,
            clock,
            running: RunningCalls::default(),
            metrics: Metrics::default(),
            starts: Starts::default(),
            runs: TaskTracker::new(),
            draining: AtomicBool::new(false),
            durable: OnceLock::new(),
            queue: Wakeup::default(),
            stop_queue: CancellationToken::new(),
            queue_tasks: TaskTracker::new(),
            observer: OnceLock::new(),
            queues: OnceLock::new(),
        })
    }

    /// Begins to work the queue of asynchronous events off and to keep provisioned instances ready, in tasks on the
    /// current tokio runtime. Call once.
    pub fn start(self: &Arc<Self>) {
        let worker = QueueWorker::new(Arc::clone(self), self.stop_queue.clone());
        self.queue_tasks.spawn(worker.run());
        let (provisioning, stop) = (Arc::clone(&self.provisioning), self.stop_queue.clone());
        self.queue_tasks.spawn(async move { provisioning.converge(stop).await });
    }

    /// Whether the server is shutting down.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Changes how many invocations may run at once, and how fast they may come.
    pub fn set_limits(&self, limits: AdmissionLimits) {
        self.admission.set_limits(limits);
    }

    /// Tells `observer` of every run that finishes from now on. There is one; a second is ignored.
    pub fn observe(&self, observer: Observer) {
        let _ = self.observer.set(observer);
    }

    /// Lets queues be destinations and dead letter queues of functions. To be called before `start`; the first call counts.
    pub fn send_letters_to(&self, queues: Queues) {
        let _ = self.queues.set(queues);
    }

    /// What the workers have now.
    pub fn instances(&self) -> InstanceCounts {
        self.workers.instances()
    }

    /// Provisioned and reserved concurrency: what is wanted, and how it stands.
    pub fn provisioning(&self) -> &Arc<Provisioning> {
        &self.provisioning
    }

    /// Runs a function now. The run is worked on by who awaits this future and then the answer; a caller that goes
    /// away, even while this future is still waiting for an instance, never ends it: see `lamplight_pool::Rest`.
    ///
    /// Fails with `ResourceNotFoundException`; `ResourceConflictException` for a function that is `Pending` or
    /// `Failed`; `TooManyRequestsException` with its reason; and what `Workers::run` fails with. A failing
    /// function is no error: it is in `answer.ended`.
    pub async fn invoke(self: &Arc<Self>, request: InvokeRequest) -> Result<Running, ServiceError> {
        let version = self.resolve(&request.scope, &request.name, request.qualifier.as_ref()).await?;
        self.invoke_version(request, version).await
    }

    /// Does what `invoke` does with the version that its caller has resolved for this request.
    pub async fn invoke_version(
        self: &Arc<Self>,
        request: InvokeRequest,
        version: Arc<FunctionVersion>,
    ) -> Result<Running, ServiceError> {
        if self.draining.load(Ordering::Acquire) {
            return Err(ServiceError::internal("The server is shutting down; try again when it is back."));
        }
        self.run_version(request, version, Origin::Caller).await
    }

    /// Accepts an event: durable when it returns `Ok`, run later, at least once.
    ///
    /// Fails with `RequestTooLargeException` above 1 MiB, and like `invoke` when there is no such function or it
    /// cannot be invoked; with `ServiceException` when storage refuses the write (nothing was accepted then).
    pub async fn enqueue(self: &Arc<Self>, request: InvokeRequest) -> Result<(), ServiceError> {
        check_event_size(request.payload.len())?;
        let version = self.resolve(&request.scope, &request.name, request.qualifier.as_ref()).await?;
        self.enqueue_version(request, &version).await
    }

    /// Does what `enqueue` does for the version that its caller has resolved for this request.
    pub async fn enqueue_version(
        self: &Arc<Self>,
        request: InvokeRequest,
        version: &FunctionVersion,
    ) -> Result<(), ServiceError> {
        check_event_size(request.payload.len())?;
        check_call(version, &request)?;
        self.accept(request, version).await.map_err(|error| service_error("store the event", &error))
    }

    /// Writes down an event that was checked, and wakes the worker.
    pub(crate) async fn accept(
        &self,
        request: InvokeRequest,
        version: &FunctionVersion,
    ) -> Result<(), StoreError> {
        self.store.enqueue(self.event(request)).await?;
        self.accepted(version);
        Ok(())
    }

    /// As `accept`, for an event that was given up and is not kept: its story says that it was sent again.
    pub(crate) async fn accept_again(
        &self,
        request: InvokeRequest,
        version: &FunctionVersion,
    ) -> Result<(), StoreError> {
        self.store.enqueue_again(self.event(request)).await?;
        self.accepted(version);
        Ok(())
    }

    fn accepted(&self, version: &FunctionVersion) {
        self.metrics.event_accepted(&version.scope, &version.name);
        self.queue.wake();
    }

    fn event(&self, request: InvokeRequest) -> QueuedEvent {
        let now = (self.clock)();
        QueuedEvent {
            request_id: request.request_id,
            payload: request.event(),
            scope: request.scope,
            function: request.name,
            qualifier: request.qualifier,
            client_context: request.client_context,
            trace_header: Some(request.trace_header.unwrap_or_else(|| trace::new_header(now))),
            tenant_id: request.tenant_id,
            accepted_at: now,
            attempts: 0,
            not_before: now,
        }
    }

    /// Whether `invoke` would find something to run; runs nothing. Fails as `invoke` does before it admits.
    pub async fn dry_run(&self, request: &InvokeRequest) -> Result<(), ServiceError> {
        let version = self.resolve(&request.scope, &request.name, request.qualifier.as_ref()).await?;
        check_call(&version, request)
    }

    /// Whether there is room for a call of a version now. Fails as `invoke` does when there is none.
    pub(crate) async fn check_room(&self, version: &FunctionVersion) -> Result<(), ServiceError> {
        if !self.provisioning.is_told() {
            Box::pin(self.provisioning.tell()).await?;
        }
        let now = (self.clock)();
        let permit = self.admission.admit(&version.scope, &version.name, version.version, Some(now));
        permit.map(drop).inspect_err(|_| self.metrics.throttled(&version.scope, &version.name))
    }

    /// The version a qualifier means now, whatever its state; see `resolve::resolve`.
    pub async fn resolve(
        &self,
        scope: &Scope,
        name: &FunctionName,
        qualifier: Option<&Qualifier>,
    ) -> Result<Arc<FunctionVersion>, ServiceError> {
        resolve(&*self.store, scope, name, qualifier, rand::random).await
    }

    /// Makes the queue's worker look again at the clock and the queue: after a manual clock was moved.
    pub fn wake_queue(&self) {
        self.queue.wake();
    }

    /// The counters of this moment.
    pub fn metrics(&self) -> MetricsSnapshot {
        MetricsSnapshot {
            concurrent: self.admission.running_in_all(),
            asynchronous_in_flight: self.queue.in_flight(),
            functions: self.metrics.rows(),
            starts: self.starts.rows(),
        }
    }

    /// Refuses new calls, claims no more events, and waits up to `patience` for what runs. Events still running
    /// then go back to the queue without using up a retry. Gives back whether everything had finished.
    pub async fn drain(&self, patience: Duration) -> bool {
        self.draining.store(true, Ordering::Release);
        self.runs.close();
        self.queue.stop_claiming();
        let finished = tokio::time::timeout(patience, async {
            self.queue.wait_until_idle().await;
            self.runs.wait().await;
        })
        .await
        .is_ok();
        self.stop_queue.cancel();
        self.queue_tasks.close();
        self.queue_tasks.wait().await;
        if let Err(error) = self.ledger.flush().await {
            error!(%error, "failed to flush the ledger while draining");
        }
        finished
    }

    /// The path every invocation takes.
    pub(crate) async fn run(
        self: &Arc<Self>,
        request: InvokeRequest,
        origin: Origin,
    ) -> Result<Running, ServiceError> {
        let version = self.resolve(&request.scope, &request.name, request.qualifier.as_ref()).await?;
        self.run_version(request, version, origin).await
    }

    async fn run_version(
        self: &Arc<Self>,
        mut request: InvokeRequest,
        version: Arc<FunctionVersion>,
        origin: Origin,
    ) -> Result<Running, ServiceError> {
        let arrived_at = (self.clock)();
        check_call(&version, &request)?;
        let header = request.trace_header.take().unwrap_or_else(|| trace::new_header(arrived_at));
        let chain = lineage::continued(&header, &request.scope, &request.name);
        if chain.invocations > lineage::INVOCATIONS_IN_A_CHAIN {
            recursion::check(&*self.store, &request.scope, &request.name)
                .await
                .inspect_err(|_| self.metrics.recursion_dropped(&request.scope, &request.name))?;
        }
        request.trace_header = Some(chain.header);
        if !self.provisioning.is_told() {
            // In a box: it happens once.
            Box::pin(self.provisioning.tell()).await?;
        }
        let called_at = (origin == Origin::Caller).then_some(arrived_at);
        let permit = self
            .admission
            .admit(&request.scope, &request.name, version.version, called_at)
            .inspect_err(|_| self.metrics.throttled(&request.scope, &request.name))?;
        let event_accepted_at = request.event_accepted_at;
        let invocation = invocation(request, version, arrived_at);
        let entry = self.running.enter(&invocation, event_accepted_at);
        self.dispatch(invocation, permit, entry).await
    }

    async fn dispatch(
        self: &Arc<Self>,
        invocation: Invocation,
        permit: Permit,
        entry: RunningEntry,
    ) -> Result<Running, ServiceError> {
        let executed_version = invocation.version.version;
        let (started, answer) = oneshot::channel();
        let run = Arc::clone(self).carry_through(invocation, permit, entry, started);
        let mut rest = Rest::new(self.runs.track_future(run));
        let answer = rest.drive_alone(answer).await;
        let (parts, fed_by) = answer.map_err(|_| ServiceError::internal("The invocation was lost."))??;
        Ok(Running { executed_version, answer: Answer::attached(parts, rest, fed_by) })
    }

    /// One run from hand-over to report; the permit ends with it.
    async fn carry_through(
        self: Arc<Self>,
        invocation: Invocation,
        permit: Permit,
        entry: RunningEntry,
        started: oneshot::Sender<Result<(AnswerParts, FedBy), ServiceError>>,
    ) {
        let lost = lost_report(&invocation);
        let version = Arc::clone(&invocation.version);
        let trace_header = self.observer.get().and_then(|_| invocation.trace_header.clone());
        let answer = match self.workers.run(invocation).await {
            Ok(answer) => answer,
            Err(error) => {
                if error.code == ErrorCode::TooManyRequestsException {
                    self.metrics.throttled(&version.scope, &version.name);
                } else {
                    self.metrics.platform_error(&version.scope, &version.name);
                    warn!(
                        function = %version.name, version = %version.version, request_id = %lost.request_id,
                        %error, "failed to start an invocation"
                    );
                }
                drop((permit, entry));
                let _ = started.send(Err(error));
                return;
            }
        };
        let (report_to_caller, finished) = oneshot::channel();
        let (parts, mut rest, fed_by) = answer.take_apart();
        let worker_finished = parts.finished;
        let _ = started.send(Ok((AnswerParts { finished, ..parts }, fed_by)));
        let mut ended = rest.drive_alone(worker_finished).await.unwrap_or_else(|_| {
            error!(request_id = %lost.request_id, "an invocation ended without a report");
            Finished { report: lost, log_tail: None }
        });
        ended.report.event_accepted_at = entry.event_accepted_at();
        self.metrics.finished(&ended.report);
        self.starts.finished(&version.runtime, &ended.report);
        if let Some(observer) = self.observer.get() {
            observer(ObservedRun { report: ended.report.clone(), trace_header });
        }
        if !self.ledger.append(ended.report.clone()) {
            // More runs end than the ledger's disk takes. The caller has its answer; what waits here is the
            // place in the account's concurrency, so that no more begin than can be written down.
            let _ = report_to_caller.send(ended);
            if let Err(error) = self.ledger.flush().await {
                error!(error = %ErrorChain(&error), "failed to flush the ledger");
            }
            return;
        }
        // The place is free before the caller hears of the end, so that its next call is not refused.
        drop((permit, entry));
        let _ = report_to_caller.send(ended);
    }
}

fn invocation(request: InvokeRequest, version: Arc<FunctionVersion>, arrived_at: Timestamp) -> Invocation {
    Invocation {
        request_id: request.request_id,
        invoked_arn: request.invoked_arn(),
        payload: request.event(),
        version,
        client_context: request.client_context,
        trace_header: request.trace_header,
        tenant_id: request.tenant_id,
        arrived_at,
        log_tail: request.log_tail,
        place: RunPlace::default(),
    }
}

/// What the ledger says of a run whose worker went away without a word: a platform failure, billed nothing.
fn lost_report(invocation: &Invocation) -> InvocationReport {
    let version = &invocation.version;
    InvocationReport {
        request_id: invocation.request_id,
        scope: version.scope.clone(),
        function: version.name.shared(),
        version: version.version,
        instance_id: Arc::from(""),
        outcome: Outcome { status: OutcomeStatus::Failure, error_type: Some("ServiceException".to_owned()) },
        arrived_at: invocation.arrived_at,
        queue_us: 0,
        duration_us: 0,
        billed_ms: 0,
        memory_mib: version.memory_mib,
        max_memory_used_mib: 0,
        init_us: None,
        start: StartKind::FromNothing,
        cold_start: None,
        event_accepted_at: None,
    }
}

/// AWS's text for an event above the limit of asynchronous invocation.
fn check_event_size(bytes: usize) -> Result<(), ServiceError> {
    if bytes <= ASYNC_PAYLOAD_BYTES {
        return Ok(());
    }
    Err(ServiceError::new(
        ErrorCode::RequestTooLargeException,
        format!(
            "{bytes} byte payload is too large for the Event invocation type (limit {ASYNC_PAYLOAD_BYTES} bytes)"
        ),
    ))
}

/// A storage failure as the caller sees it; the log gets the source.
pub(crate) fn service_error(doing: &str, error: &StoreError) -> ServiceError {
    error!(error = %ErrorChain(error), "failed to {doing}");
    match error {
        // What an operator can mend is said to whoever asks.
        StoreError::Unwritable(why) => {
            ServiceError::internal(format!("failed to {doing}: storage refuses writes: {why}"))
        }
        _ => ServiceError::internal(format!("failed to {doing}")),
    }
}
