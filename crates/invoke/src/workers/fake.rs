//! Workers that answer from a script, for tests of the funnel and of the front doors.

use crate::workers::{InstanceCounts, Workers};
use async_trait::async_trait;
use bytes::Bytes;
use lamplight_model::{
    FunctionName, FunctionVersion, Invocation, InvocationReport, Outcome, OutcomeStatus, RunInstance,
    RunStage, Scope, ServiceError, StartKind, VersionNumber,
};
use lamplight_pool::{
    Answer, AnswerParts, Ended, Finished, ProvisionedCounts, ProvisionedFailure, ProvisionedState,
    ProvisionedTarget,
};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

/// The one instance there is.
const INSTANCE: &str = "fake";

/// What one run does.
#[derive(Debug, Clone)]
pub enum FakeRun {
    /// The handler returns this.
    Return(Bytes),
    /// The function fails with this status, `errorType` and error document.
    Fail(OutcomeStatus, String, Bytes),
    /// `Workers::run` itself fails: throttled, no instance.
    Refuse(ServiceError),
    /// The run begins and is not carried through.
    Break(ServiceError),
    /// The worker's task goes away without a word.
    Vanish,
    /// Waits for a permit of the gate, then does the other.
    After(Arc<Semaphore>, Box<FakeRun>),
    /// Streams this, then does the other.
    Piece(Bytes, Box<FakeRun>),
}

impl FakeRun {
    /// A handler error with a document as the Python runtime writes it.
    pub fn handler_error(message: &str) -> Self {
        let document =
            serde_json::json!({ "errorMessage": message, "errorType": "ValueError", "stackTrace": [] });
        Self::Fail(OutcomeStatus::Error, "ValueError".to_owned(), Bytes::from(document.to_string()))
    }
}

type Script = Box<dyn Fn(&Invocation) -> FakeRun + Send + Sync>;

/// How starting a provisioned instance ends; asked for each version that gets a target.
type Starts = Box<dyn Fn(&FunctionVersion) -> Result<(), ProvisionedFailure> + Send + Sync>;

/// The fake. Every run is recorded when it begins. Provisioned instances are counted only, and ready at once.
pub struct FakeWorkers {
    script: Script,
    begun: Mutex<Vec<Invocation>>,
    count: watch::Sender<usize>,
    starts: Mutex<Starts>,
    targets: watch::Sender<Vec<ProvisionedTarget>>,
}

impl FakeWorkers {
    /// Does what `script` says for each invocation.
    pub fn new(script: impl Fn(&Invocation) -> FakeRun + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            script: Box::new(script),
            begun: Mutex::default(),
            count: watch::Sender::new(0),
            starts: Mutex::new(Box::new(|_| Ok(()))),
            targets: watch::Sender::default(),
        })
    }

    /// Lets the starts of provisioned instances end as `starts` says from now on.
    pub fn start_provisioned(
        &self,
        starts: impl Fn(&FunctionVersion) -> Result<(), ProvisionedFailure> + Send + Sync + 'static,
    ) {
        *self.starts.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(starts);
    }

    /// What is to be provisioned, as it was told last and whenever it is told anew.
    pub fn targets(&self) -> watch::Receiver<Vec<ProvisionedTarget>> {
        self.targets.subscribe()
    }

    /// Gives every event back as the answer.
    pub fn echo() -> Arc<Self> {
        Self::new(|invocation| FakeRun::Return(invocation.payload.clone()))
    }

    /// The invocations that began, oldest first.
    pub fn begun(&self) -> Vec<Invocation> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until so many have begun.
    pub async fn wait_until_begun(&self, count: usize) {
        let _ = self.count.subscribe().wait_for(|begun| *begun >= count).await;
    }
}

#[async_trait]
impl Workers for FakeWorkers {
    async fn run(&self, invocation: Invocation) -> Result<Answer, ServiceError> {
        let what = (self.script)(&invocation);
        invocation.place.tell(RunStage::Running(RunInstance {
            id: INSTANCE.into(),
            log_stream: format!("2026/01/01/[{}]{INSTANCE}", invocation.version.version).into(),
            since: invocation.arrived_at,
        }));
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).push(invocation.clone());
        self.count.send_modify(|count| *count += 1);
        if let FakeRun::Refuse(error) = what {
            return Err(error);
        }
        let (body_sender, body) = mpsc::channel(1);
        let (content_type_sender, content_type) = oneshot::channel();
        let (ended_sender, ended) = oneshot::channel();
        let (finished_sender, finished) = oneshot::channel();
        tokio::spawn(async move {
            let _ = content_type_sender.send(None);
            let mut what = what;
            let result = loop {
                match what {
                    FakeRun::After(gate, then) => {
                        if let Ok(permit) = gate.acquire().await {
                            permit.forget();
                        }
                        what = *then;
                    }
                    FakeRun::Piece(piece, then) => {
                        // A caller that went away is no reason to stop.
                        let _ = body_sender.send(piece).await;
                        what = *then;
                    }
                    FakeRun::Return(body) => {
                        let _ = body_sender.send(body).await;
                        break Ok(Ended { outcome: Outcome::success(), document: None });
                    }
                    FakeRun::Fail(status, error_type, document) => {
                        let outcome = Outcome { status, error_type: Some(error_type) };
                        break Ok(Ended { outcome, document: Some(document) });
                    }
                    FakeRun::Break(error) | FakeRun::Refuse(error) => break Err(error),
                    FakeRun::Vanish => return,
                }
            };
            let outcome = match &result {
                Ok(ended) => ended.outcome.clone(),
                Err(_) => Outcome {
                    status: OutcomeStatus::Failure,
                    error_type: Some("ServiceException".to_owned()),
                },
            };
            drop(body_sender);
            let _ = ended_sender.send(result);
            let log_tail = invocation.log_tail.then(|| Bytes::from_static(b"START\nEND\nREPORT\n"));
            let _ = finished_sender.send(Finished { report: report(&invocation, outcome), log_tail });
        });
        Ok(AnswerParts { body, content_type, ended, finished }.into())
    }

    fn provision(&self, targets: &[ProvisionedTarget]) {
        self.targets.send_replace(targets.to_vec());
    }

    fn provisioned(&self, scope: &Scope, name: &FunctionName, version: VersionNumber) -> ProvisionedState {
        let targets = self.targets.borrow();
        let target = targets.iter().find(|target| {
            let of = &target.version;
            of.version == version && of.name == *name && of.scope == *scope
        });
        let starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        match target.map(|target| (target.instances, starts(&target.version))) {
            None => ProvisionedState::default(),
            Some((instances, Ok(()))) => ProvisionedState { ready: instances, failure: None },
            Some((_, Err(failure))) => ProvisionedState { ready: 0, failure: Some(failure) },
        }
    }

    fn instances(&self) -> InstanceCounts {
        let wanted = self.targets.borrow().iter().map(|target| target.instances).sum();
        let provisioned = ProvisionedCounts { wanted, ready: wanted, ..ProvisionedCounts::default() };
        InstanceCounts { provisioned, ..InstanceCounts::default() }
    }
}

fn report(invocation: &Invocation, outcome: Outcome) -> InvocationReport {
    let version = &invocation.version;
    InvocationReport {
        request_id: invocation.request_id,
        scope: version.scope.clone(),
        function: version.name.shared(),
        version: version.version,
        instance_id: INSTANCE.into(),
        outcome,
        arrived_at: invocation.arrived_at,
        queue_us: 10,
        duration_us: 1_500,
        billed_ms: 2,
        memory_mib: version.memory_mib,
        max_memory_used_mib: 20,
        init_us: None,
        start: StartKind::Warm,
        cold_start: None,
        event_accepted_at: None,
    }
}
