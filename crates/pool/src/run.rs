//! One invocation on one instance: hand over, wait until the deadline, report.
//!
//! ```text
//! instance ready --- START --- event ---> reply ---> asked for next --- END, REPORT ---> idle again
//!                                |   deadline, exit: frozen, answered, END, REPORT, killed, /tmp carried
//! nothing ready --- init (10 s) -+   failed: START, init again within the timeout ("suppressed init")
//! ```

mod in_slot;

use crate::answer::{Ended, Finished};
use crate::documents::{self, Ending};
use crate::external::shutdown_reason;
use crate::initialization::InitializationType;
use crate::instance::{Body, Instance, MeasuredMemory, Room};
use crate::log::{AfterRuntime, Journal, Subject};
use crate::plan::RuntimePlan;
use crate::pool::Pool;
use crate::registry::Phase;
use crate::slots::Starting;
use crate::start::{InitEnding, LAST_WORDS, StartFailure, StartRequest, exit_behind, micros};
use bytes::Bytes;
use lamplight_model::billing::billed;
use lamplight_model::limits::SYNC_PAYLOAD_BYTES;
use lamplight_model::{
    ColdStart, ErrorCode, FunctionVersion, Invocation, InvocationReport, Outcome, OutcomeStatus, RunInstance,
    RunStage, ServiceError, StartKind, TenantId,
};
use lamplight_runtime::{AnswerLimits, AnswerSink, ConversationError, Event, Reply};
use lamplight_sandbox::{Exit, TemporaryVolume};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, warn};

/// The sending side of an `Answer`.
pub struct AnswerSender {
    /// The body.
    pub body: mpsc::Sender<Bytes>,
    /// Its content type.
    pub content_type: oneshot::Sender<Option<String>>,
    /// How it ended.
    pub ended: oneshot::Sender<Result<Ended, ServiceError>>,
    /// The record.
    pub finished: oneshot::Sender<Finished>,
}

/// An invocation with everything a run needs besides an instance.
pub struct Run {
    /// The pool.
    pub pool: Arc<Pool>,
    /// What to run.
    pub invocation: Invocation,
    /// Waiting for room or an instance.
    pub queued: Duration,
    /// For a function that takes several events at once: who else waits for this instance.
    pub starting: Option<Starting>,
}

/// What the report says besides what the invocation itself tells.
struct Measured {
    outcome: Outcome,
    duration: Duration,
    init: Option<Duration>,
    cold_start: Option<ColdStart>,
    memory_peak_bytes: u64,
    start: StartKind,
    billable: bool,
}

/// How an instance came out of a run that was answered.
enum Afterwards {
    /// It can be used again.
    Idle(Option<AfterRuntime>),
    /// It cannot: its time is over, or something ended.
    Over {
        /// Which of the two.
        timed_out: bool,
    },
}

/// How the instance of an invocation came to be, when it was started for it.
#[derive(Clone, Copy)]
pub struct Cold {
    /// Init duration to bill, if any.
    init: Option<Duration>,
    kind: StartKind,
    breakdown: ColdStart,
}

/// Who is to ask for the next event.
#[derive(Clone, Copy)]
enum Waited {
    Runtime,
    Extensions,
}

/// How the conversation about one event ended.
enum Conversed {
    /// The runtime answered.
    Replied(Reply),
    /// The platform answers.
    Ended(Ending),
    /// Nobody answers: the instance was lost.
    Lost(ServiceError),
}

impl Run {
    /// Runs on an instance that was idle; its time began at `begun`.
    pub fn warm(
        self,
        instance: Instance,
        begun: Instant,
        sender: AnswerSender,
    ) -> impl Future<Output = ()> + Send {
        self.on_instance(instance, None, begun, true, sender)
    }

    /// Starts an instance and runs on it.
    pub async fn cold(mut self, mut room: Room, plan: RuntimePlan, sender: AnswerSender) {
        let initialization = InitializationType::of_call(&self.invocation.version);
        let (id, journal) = self.pool.new_journal(&self.invocation.version, initialization);
        self.invocation.place.tell(RunStage::Starting(run_instance(&id, &journal)));
        journal.init_start(&plan.version_label, &plan.version_arn(&self.invocation.version.scope.region));
        let volume = self.pool.carried.take(room.entry).await;
        let (pool, version) = (self.pool.clone(), self.invocation.version.clone());
        let request = StartRequest { pool: &pool, version: &version, plan: &plan, journal: &journal };
        let failure = match request.start(volume, pool.init_limit_of(&version), None).await {
            Ok(mut ready) => {
                self.queued += ready.waited;
                let cold = Cold { init: Some(ready.init()), kind: ready.kind, breakdown: ready.cold_start };
                ready.body.drain_log();
                journal.init_done(ready.init(), ready.kind, &ready.cold_start, false);
                let instance = ready.into_instance(&pool, &version, id, &journal, room);
                self.on_instance(instance, Some(cold), Instant::now(), true, sender).await;
                return;
            }
            Err(failure) => failure,
        };
        let (ending, duration, volume) = match failure {
            StartFailure::Platform(error) => return self.no_instance(&id, error, None, sender),
            StartFailure::Entrypoint(reason) => {
                let ending = documents::invalid_entrypoint(self.invocation.request_id, &reason);
                journal.start(self.subject(), self.invocation.log_tail);
                return self.end_without_instance(&id, &journal, ending, Duration::ZERO, sender).await;
            }
            StartFailure::Init { ending, duration, volume } => (ending, duration, volume),
        };
        let (status, error_type) = init_status(&ending);
        journal.init_report(duration, false, status, error_type.as_deref());

        // The environment is reset and init runs again as part of this invocation, within its timeout.
        let begun = Instant::now();
        let limit = version.timeout();
        journal.start(self.subject(), self.invocation.log_tail);
        let ended = request.start(volume, limit, Some(begun + limit)).await;
        match ended {
            Ok(ready) => {
                let cold = Cold { init: None, kind: ready.kind, breakdown: ready.cold_start };
                let instance = ready.into_instance(&pool, &version, id, &journal, room);
                self.on_instance(instance, Some(cold), begun, false, sender).await;
            }
            Err(StartFailure::Platform(error)) => self.no_instance(&id, error, Some(&journal), sender),
            Err(StartFailure::Entrypoint(reason)) => {
                let ending = documents::invalid_entrypoint(self.invocation.request_id, &reason);
                self.end_without_instance(&id, &journal, ending, begun.elapsed(), sender).await;
            }
            Err(StartFailure::Init { ending, duration, volume }) => {
                let (status, error_type) = init_status(&ending);
                journal.init_report(duration, true, status, error_type.as_deref());
                room.change(Phase::Stopping);
                if let Some(volume) = volume {
                    let _ = pool.carried.promise(room.entry, Instant::now()).send(volume);
                    pool.wake_maintenance();
                }
                if is_of_restore(&version, &ending) {
                    let error = ServiceError::new(ErrorCode::SnapStartException, RESTORE_FAILED);
                    return self.no_instance(&id, error, Some(&journal), sender);
                }
                let ending = self.init_ending(ending);
                self.end_without_instance(&id, &journal, ending, begun.elapsed().min(limit), sender).await;
            }
        }
    }

    /// `begun` is when the invocation's time began, `announce` whether START is still to be written.
    async fn on_instance(
        mut self,
        instance: Instance,
        cold: Option<Cold>,
        begun: Instant,
        announce: bool,
        sender: AnswerSender,
    ) {
        match self.starting.take() {
            None => self.alone_on_instance(instance, cold, begun, announce, sender).await,
            // In a box: most functions take one event after the other.
            Some(starting) => {
                let slot = starting.open(instance);
                Box::pin(self.in_slot(slot, cold, begun, announce, sender)).await;
            }
        }
    }

    async fn alone_on_instance(
        self,
        mut instance: Instance,
        cold: Option<Cold>,
        begun: Instant,
        announce: bool,
        sender: AnswerSender,
    ) {
        let limit = self.invocation.version.timeout();
        let deadline = begun + limit;
        self.invocation.place.tell(RunStage::Running(run_instance(&instance.id, &instance.journal)));
        if announce {
            if cold.is_some() {
                // What was printed during init stands before START.
                instance.body.drain_log();
            }
            instance.journal.start(self.subject(), self.invocation.log_tail);
        }
        let AnswerSender { body, content_type, ended: ended_sender, finished } = sender;
        let sink = AnswerSink { body, content_type };
        let conversed = self.converse(&mut instance.body, sink, deadline).await;
        let (outcome, afterwards, billable, carried) = match conversed {
            Conversed::Replied(reply) => {
                let end = end_of(reply);
                let outcome = end.outcome.clone();
                let _ = ended_sender.send(Ok(end));
                let afterwards = self.until_next(&mut instance, &outcome, begun, deadline).await;
                let over = matches!(afterwards, Afterwards::Over { .. });
                let carried = over.then(|| self.pool.promise_volume(instance.room.entry));
                (outcome, afterwards, true, carried)
            }
            Conversed::Ended(ending) => {
                // Before the answer: nothing may work on after it, or count as ready.
                instance.freeze();
                drop(instance.provisioned.take());
                instance.body.drain_log();
                self.note(&instance.journal, &ending);
                self.runtime_done(&instance.journal, &ending.outcome, begun.elapsed().min(limit));
                let carried = self.pool.promise_volume(instance.room.entry);
                let outcome = ending.outcome.clone();
                let _ = ended_sender.send(Ok(ending.into()));
                let timed_out = outcome.status == OutcomeStatus::Timeout;
                (outcome, Afterwards::Over { timed_out }, true, Some(carried))
            }
            Conversed::Lost(error) => {
                instance.freeze();
                let _ = ended_sender.send(Err(error));
                (lost_outcome(), Afterwards::Over { timed_out: false }, false, None)
            }
        };
        let (healthy, after_runtime) = match afterwards {
            Afterwards::Idle(after_runtime) => (true, after_runtime),
            Afterwards::Over { .. } => (false, None),
        };
        let ended = Instant::now();
        let duration = ended.saturating_duration_since(begun).min(limit);
        instance.body.drain_log();
        if !healthy || instance.memory.is_due(duration, ended) {
            let peak_bytes = instance.body.sandbox.memory_peak_bytes().unwrap_or_else(|error| {
                debug!(instance_id = %instance.id, %error, "failed to measure an instance");
                instance.memory.peak_bytes
            });
            instance.memory = MeasuredMemory { peak_bytes, at: Some(ended) };
            self.pool.measured(&mut instance.room, peak_bytes);
        }
        let memory_peak_bytes = instance.memory.peak_bytes;
        let report = self.report(
            &instance.id,
            Measured {
                outcome,
                duration,
                init: cold.and_then(|cold| cold.init),
                cold_start: cold.map(|cold| cold.breakdown),
                memory_peak_bytes,
                start: cold.map_or(StartKind::Warm, |cold| cold.kind),
                billable,
            },
        );
        let log_tail = instance.journal.report(&report, self.tenant(), after_runtime);
        let finish = || {
            let _ = finished.send(Finished { report, log_tail });
        };
        let Afterwards::Over { timed_out } = afterwards else {
            self.pool.give_back(instance, ended);
            return finish();
        };
        instance.room.change(Phase::Stopping);
        drop(instance.provisioned.take());
        let mut finish = Some(finish);
        if instance.body.ends_in_order() {
            // Nobody waits for what extensions do at the end.
            finish.take().into_iter().for_each(|finish| finish());
            tokio::select! {
                () = instance.body.shut_down(shutdown_reason(timed_out), (self.pool.target.clock)()) => {}
                () = self.pool.abort.cancelled() => {}
            }
        }
        let volume = instance.body.stop().await;
        drop(instance.room);
        if let (Some(carried), Some(volume)) = (carried, volume) {
            let _ = carried.send(volume);
        }
        finish.into_iter().for_each(|finish| finish());
    }

    fn event(&self, deadline: Instant) -> Event {
        let remaining = deadline.saturating_duration_since(Instant::now());
        Event {
            request_id: self.invocation.request_id,
            deadline_ms: (self.pool.target.clock)().plus(remaining).as_millis(),
            invoked_arn: self.invocation.invoked_arn.clone(),
            trace_header: self.invocation.trace_header.clone(),
            client_context: self.invocation.client_context.clone(),
            tenant_id: self.invocation.tenant_id.clone(),
            payload: self.invocation.payload.clone(),
        }
    }

    async fn converse(&self, body: &mut Body, sink: AnswerSink, deadline: Instant) -> Conversed {
        let request_id = self.invocation.request_id;
        let event = self.event(deadline);
        let limits = AnswerLimits { buffered_bytes: SYNC_PAYLOAD_BYTES, stream: self.pool.config.stream };
        let invoke = body.conversation.invoke(event, sink, limits);
        tokio::pin!(invoke);
        let reply = loop {
            tokio::select! {
                biased;
                // First, so that a function that logs without end cannot fill the channel.
                () = body.records.write_next() => {}
                reply = &mut invoke => break reply,
                exit = body.sandbox.exited() => {
                    // An answer written just before the end counts.
                    match timeout(LAST_WORDS, &mut invoke).await {
                        Ok(Ok(reply)) => break Ok(reply),
                        _ => return self.exited(exit),
                    }
                }
                end = body.external.first_end() => {
                    return Conversed::Ended(documents::extension_ended(request_id, &end));
                }
                () = sleep_until(deadline) => {
                    let timeout = self.invocation.version.timeout();
                    return Conversed::Ended(documents::timed_out(request_id, timeout));
                }
                () = self.pool.abort.cancelled() => {
                    return Conversed::Lost(ServiceError::internal("The server is stopping"));
                }
            }
        };
        match reply {
            Ok(reply) => Conversed::Replied(reply),
            Err(ConversationError::Extension(failure)) => {
                let end = body.external.end_behind(&failure).await;
                Conversed::Ended(documents::extension_ended(request_id, &end))
            }
            Err(error) => match exit_behind(&error, &*body.sandbox).await {
                Some(exit) => self.exited(exit),
                None => {
                    warn!(function = %self.invocation.version.name, %error, "a runtime broke off");
                    Conversed::Ended(documents::protocol_broken(request_id))
                }
            },
        }
    }

    fn subject(&self) -> Subject<'_> {
        Subject {
            request_id: self.invocation.request_id,
            trace_header: self.invocation.trace_header.as_deref(),
            tenant: self.tenant(),
        }
    }

    fn tenant(&self) -> Option<&TenantId> {
        self.invocation.tenant_id.as_ref()
    }

    fn exited(&self, exit: Exit) -> Conversed {
        if exit.interrupted {
            return Conversed::Lost(ServiceError::internal("The instance was lost with its host process"));
        }
        Conversed::Ended(documents::exited(self.invocation.request_id, exit))
    }

    /// Waits until the runtime asks for the next event, and then until every extension has.
    async fn until_next(
        &self,
        instance: &mut Instance,
        outcome: &Outcome,
        begun: Instant,
        deadline: Instant,
    ) -> Afterwards {
        let Instance { body, journal, .. } = instance;
        let asked = match self.before_anything_ends(body, Waited::Runtime, deadline).await {
            Ok(()) => Instant::now(),
            Err(over) => return over,
        };
        if journal.tells_steps() {
            body.drain_log();
            self.runtime_done(journal, outcome, asked.saturating_duration_since(begun));
        }
        if !body.conversation.has_extensions() {
            return Afterwards::Idle(None);
        }
        let since = journal.now();
        match self.before_anything_ends(body, Waited::Extensions, deadline).await {
            Ok(()) => Afterwards::Idle(Some(AfterRuntime { since, duration: asked.elapsed() })),
            Err(over) => over,
        }
    }

    async fn before_anything_ends(
        &self,
        body: &mut Body,
        waited: Waited,
        deadline: Instant,
    ) -> Result<(), Afterwards> {
        let Body { conversation, sandbox, external, records, .. } = body;
        let idle = async {
            match waited {
                Waited::Runtime => conversation.runtime_idle().await,
                Waited::Extensions => conversation.idle().await,
            }
        };
        tokio::pin!(idle);
        let (why, timed_out) = loop {
            tokio::select! {
                biased;
                idle = &mut idle => match idle {
                    Ok(()) => return Ok(()),
                    Err(error) => break (error.to_string(), false),
                },
                () = records.write_next() => {}
                _ = sandbox.exited() => break ("it ended".to_owned(), false),
                end = external.first_end() => break (end.text, false),
                () = sleep_until(deadline) => break ("its time is over".to_owned(), true),
                () = self.pool.abort.cancelled() => break ("the server is stopping".to_owned(), false),
            }
        };
        debug!(function = %self.invocation.version.name, why, "an instance answered and did not come to rest");
        Err(Afterwards::Over { timed_out })
    }

    fn runtime_done(&self, journal: &Journal, outcome: &Outcome, duration: Duration) {
        journal.runtime_done(self.subject(), outcome, duration);
    }

    fn init_ending(&self, ending: InitEnding) -> Ending {
        let request_id = self.invocation.request_id;
        match ending {
            InitEnding::Reported(failure) => documents::init_failed(&failure.error_type, failure.document),
            InitEnding::Extension(end) => documents::extension_ended(request_id, &end),
            InitEnding::Exited(exit) => documents::exited(request_id, exit),
            InitEnding::TimedOut => documents::timed_out(request_id, self.invocation.version.timeout()),
            InitEnding::Protocol => documents::protocol_broken(request_id),
        }
    }

    fn note(&self, journal: &Journal, ending: &Ending) {
        let request_id = self.invocation.request_id;
        match &ending.log_line {
            Some(text) if ending.outcome.status == OutcomeStatus::Timeout => {
                journal.timed_out(request_id, text)
            }
            Some(text) => journal.note(request_id, text),
            None => {}
        }
    }

    async fn end_without_instance(
        &self,
        id: &Arc<str>,
        journal: &Journal,
        ending: Ending,
        duration: Duration,
        sender: AnswerSender,
    ) {
        self.note(journal, &ending);
        self.runtime_done(journal, &ending.outcome, duration);
        let AnswerSender { ended, finished, .. } = sender;
        let outcome = ending.outcome.clone();
        let _ = ended.send(Ok(ending.into()));
        let report = self.report(
            id,
            Measured {
                outcome,
                duration,
                init: None,
                cold_start: None,
                memory_peak_bytes: 0,
                start: StartKind::FromNothing,
                billable: true,
            },
        );
        let log_tail = journal.report(&report, self.tenant(), None);
        let _ = finished.send(Finished { report, log_tail });
    }

    /// `journal` when START was written.
    fn no_instance(
        &self,
        id: &Arc<str>,
        error: ServiceError,
        journal: Option<&Journal>,
        sender: AnswerSender,
    ) {
        let report = self.report(
            id,
            Measured {
                outcome: lost_outcome(),
                duration: Duration::ZERO,
                init: None,
                cold_start: None,
                memory_peak_bytes: 0,
                start: StartKind::FromNothing,
                billable: false,
            },
        );
        let log_tail = journal.and_then(|journal| journal.report(&report, self.tenant(), None));
        drop(sender.body);
        let _ = sender.ended.send(Err(error));
        let _ = sender.finished.send(Finished { report, log_tail });
    }

    fn report(&self, instance_id: &Arc<str>, measured: Measured) -> InvocationReport {
        let version = &self.invocation.version;
        let granularity = self.pool.config.billing_granularity_ms;
        let billed = if measured.billable {
            billed(measured.duration, measured.init.unwrap_or_default(), granularity)
        } else {
            Duration::ZERO
        };
        let used_mib = u32::try_from(measured.memory_peak_bytes.div_ceil(1024 * 1024)).unwrap_or(u32::MAX);
        InvocationReport {
            request_id: self.invocation.request_id,
            scope: version.scope.clone(),
            function: version.name.shared(),
            version: version.version,
            instance_id: instance_id.clone(),
            outcome: measured.outcome,
            arrived_at: self.invocation.arrived_at,
            queue_us: micros(self.queued),
            duration_us: micros(measured.duration),
            billed_ms: u64::try_from(billed.as_millis()).unwrap_or(u64::MAX),
            memory_mib: version.memory_mib,
            max_memory_used_mib: used_mib.min(version.memory_mib),
            init_us: measured.init.map(micros),
            start: measured.start,
            cold_start: measured.cold_start,
            event_accepted_at: None,
        }
    }
}

/// The instance as whoever asks for the run is told of it, from this moment on.
fn run_instance(id: &Arc<str>, journal: &Journal) -> RunInstance {
    RunInstance { id: id.clone(), log_stream: journal.stream().clone(), since: journal.now() }
}

fn end_of(reply: Reply) -> Ended {
    match reply {
        Reply::Response { .. } => Ended { outcome: Outcome::success(), document: None },
        Reply::Error { error_type, document } => Ended {
            outcome: Outcome { status: OutcomeStatus::Error, error_type: Some(error_type) },
            document: Some(document),
        },
    }
}

impl From<Ending> for Ended {
    fn from(ending: Ending) -> Self {
        Self { outcome: ending.outcome, document: Some(ending.document) }
    }
}

fn lost_outcome() -> Outcome {
    Outcome { status: OutcomeStatus::Failure, error_type: Some("ServiceException".to_owned()) }
}

/// How INIT_REPORT names the end of an init that did not succeed: status and error type.
pub fn init_status(ending: &InitEnding) -> (OutcomeStatus, Option<String>) {
    match ending {
        InitEnding::Reported(failure) => (OutcomeStatus::Failure, Some(failure.error_type.clone())),
        InitEnding::Extension(end) => (OutcomeStatus::Failure, Some(end.error_type.clone())),
        InitEnding::Exited(exit) if exit.out_of_memory => {
            (OutcomeStatus::Failure, Some("Runtime.OutOfMemory".to_owned()))
        }
        InitEnding::Exited(_) => (OutcomeStatus::Failure, Some("Runtime.ExitError".to_owned())),
        InitEnding::TimedOut => (OutcomeStatus::Timeout, None),
        InitEnding::Protocol => (OutcomeStatus::Failure, Some("Runtime.Unknown".to_owned())),
    }
}

/// Text of the service model for `SnapStartException`.
const RESTORE_FAILED: &str = "The afterRestore() runtime hook encountered an error. For more information, check the Amazon \
                              CloudWatch logs.";

/// Whether what went wrong is a hook that SnapStart runs after a snapshot was restored.
fn is_of_restore(version: &FunctionVersion, ending: &InitEnding) -> bool {
    let restores =
        matches!(ending, InitEnding::Reported(failure) if failure.error_type == "Runtime.AfterRestoreError");
    restores && version.has_snap_start()
}

/// A volume's way to the next instance of its version.
pub type VolumePromise = oneshot::Sender<TemporaryVolume>;
