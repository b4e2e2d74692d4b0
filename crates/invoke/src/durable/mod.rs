//! Durable executions: functions that are invoked again and again until they have an answer.
//!
//! `model::durable` decides, the store keeps; here is what acts. The front door calls `DurableExecutions`; `worker` looks
//! after what is due: timers, timeouts, invocations to be made, parents to be told, executions to be forgotten; `invocation`
//! makes one invocation; `chained` finds what a chained invoke runs.
//!
//! ```text
//!  Invoke -> start (durable) -> worker -> Invoker::run -> function -> checkpoint ... -> answer PENDING -> settled
//!                                 ^                                                                          |
//!                                 `---- wait over . callback . chained invoke ended . step to be tried again <'
//! ```

mod chained;
mod invocation;
mod operations;
mod worker;

use crate::asynchronous::worker::Wakeup;
use crate::invoker::{Clock, ErrorChain, Invoker, service_error};
use crate::request::InvokeRequest;
use crate::resolve::check_call;
use lamplight_model::durable::{DurableConfig, ExecutionStatus, NewExecution};
use lamplight_model::{ErrorCode, FunctionVersion, ServiceError, VersionNumber};
use lamplight_store::StoreError;
use lamplight_store::executions::{ExecutionKey, Executions, StartedExecution, StoredExecution};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

pub use invocation::{state_marker, state_page_after};
pub use operations::{CallbackKey, CheckpointReply, CheckpointRequest, StatePage};

/// Longest execution somebody may wait for, seconds. Source: Lambda developer guide, "Invoking durable functions".
pub const SYNCHRONOUS_SECONDS: u32 = 900;
/// Invocations made at once; each needs its place in the account's concurrency besides. While there are so many, timers wait,
/// too.
const PARALLELISM: usize = 1_000;

/// How the worker of durable executions behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurableConfiguration {
    /// Name of this node: the beginning of the owner of its invocations.
    pub node: String,
    /// How long an invocation counts as running without a word of its node: the longest wait after a crash of another node.
    pub lease: Duration,
}

impl Default for DurableConfiguration {
    fn default() -> Self {
        Self { node: "local".to_owned(), lease: Duration::from_secs(20) }
    }
}

/// An execution as its caller learns of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// To wait for it.
    pub key: ExecutionKey,
    /// `DurableExecutionArn`.
    pub arn: String,
    /// The version it runs.
    pub version: VersionNumber,
}

/// The durable executions of a node.
pub struct DurableExecutions {
    configuration: DurableConfiguration,
    executions: Arc<Executions>,
    invoker: Arc<Invoker>,
    clock: Clock,
    /// Those somebody waits for, and whether they have ended.
    waiters: Mutex<HashMap<ExecutionKey, watch::Sender<bool>>>,
    wakeup: Wakeup,
    draining: AtomicBool,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl DurableExecutions {
    /// The executions of a store. `run` makes them go on.
    pub fn new(
        configuration: DurableConfiguration,
        executions: Arc<Executions>,
        invoker: Arc<Invoker>,
        clock: Clock,
    ) -> Arc<Self> {
        let durable = Arc::new(Self {
            configuration,
            executions,
            invoker,
            clock,
            waiters: Mutex::default(),
            wakeup: Wakeup::default(),
            draining: AtomicBool::new(false),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        if durable.invoker.durable.set(Arc::downgrade(&durable)).is_err() {
            error!("a node has durable executions once; events for durable functions go to the first");
        }
        durable
    }

    /// Begins to work on what is due, in a task on the current tokio runtime. Call once.
    pub fn run(self: &Arc<Self>) {
        let worker = worker::Worker::new(Arc::clone(self));
        self.tasks.spawn(worker.run());
    }

    /// Makes the worker look at the clock and the store again: after a manual clock was moved.
    pub fn wake(&self) {
        self.wakeup.wake();
    }

    /// Starts an execution of a durable function, or finds the one of that name. Durable when it returns `Ok`.
    ///
    /// `version` is what the request's qualifier means. Fails with `InvalidParameterValueException` without a qualifier, or
    /// when somebody waits and the function may run longer than they can; with
    /// `DurableExecutionAlreadyStartedException` when the execution of that name has another input; with
    /// `TooManyRequestsException` when somebody waits and there is no room; with
    /// `ServiceException` when storage refuses.
    pub async fn start(
        &self,
        request: &InvokeRequest,
        version: &FunctionVersion,
        name: Option<String>,
        synchronous: bool,
    ) -> Result<Started, ServiceError> {
        if self.draining.load(Ordering::Acquire) {
            return Err(ServiceError::internal("The server is shutting down; try again when it is back."));
        }
        let Some(config) = check_invocable(request, version, synchronous)? else {
            return Err(ServiceError::new(
                ErrorCode::InvalidParameterValueException,
                "The function is not a durable function.",
            ));
        };
        if synchronous {
            // Somebody who waits is told at once that there is no room; what nobody waits for is patient.
            self.invoker.check_room(version).await?;
        }
        let input = String::from_utf8(request.event().to_vec())
            .map_err(|_| ServiceError::internal("The payload is not UTF-8."))?;
        let new_name = || uuid::Uuid::new_v4().to_string();
        let mut new = NewExecution::new(
            version.scope.clone(),
            uuid::Uuid::new_v4(),
            version.name.clone(),
            version.version,
            name.unwrap_or_else(new_name),
            config,
            input,
            (self.clock)(),
        );
        new.execution.synchronous = synchronous;
        new.execution.trace_header = request.trace_header.clone();
        let (execution, input) = (new.execution.clone(), new.input.clone());
        let started = self.executions.start(new).await;
        match started.map_err(|error| service_error("start the durable execution", &error))? {
            StartedExecution::New => {
                self.wake();
                Ok(Started {
                    key: ExecutionKey::of(&execution),
                    arn: execution.arn(),
                    version: version.version,
                })
            }
            StartedExecution::Existing(existing) if existing.input == input => {
                let execution = existing.execution;
                Ok(Started {
                    key: ExecutionKey::of(&execution),
                    arn: execution.arn(),
                    version: execution.version,
                })
            }
            StartedExecution::Existing(existing) => Err(ServiceError::new(
                ErrorCode::DurableExecutionAlreadyStartedException,
                format!("Execution already started: {}", existing.execution.arn()),
            )),
        }
    }

    /// Waits until an execution has ended. A caller that goes away changes nothing.
    ///
    /// Fails with `ResourceNotFoundException` when it is forgotten meanwhile, with `ServiceException` when the server stops:
    /// the execution goes on after its next start.
    pub async fn ended(&self, key: &ExecutionKey) -> Result<StoredExecution, ServiceError> {
        let mut ended = {
            let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
            // Nobody is told twice: those whose callers have gone away are dropped here.
            waiters.retain(|_, waiter| waiter.receiver_count() > 0);
            waiters.entry(key.clone()).or_default().subscribe()
        };
        // Only now, or an end between the two would be missed.
        let stored = self.get(key).await?;
        if stored.execution.status.is_closed() {
            return Ok(stored);
        }
        let stopped = || {
            ServiceError::internal(
                "The server is shutting down; the durable execution goes on after its next start.",
            )
        };
        tokio::select! {
            told = ended.wait_for(|ended| *ended) => {
                told.map_err(|_| stopped())?;
            }
            () = self.stop.cancelled() => return Err(stopped()),
        }
        self.get(key).await
    }

    /// One execution. Fails with `ResourceNotFoundException`.
    pub async fn get(&self, key: &ExecutionKey) -> Result<StoredExecution, ServiceError> {
        let stored = self.executions.get(key).await;
        stored
            .map_err(|error| service_error("read the durable execution", &error))?
            .filter(|stored| !stored.execution.plain)
            .ok_or_else(not_found)
    }

    /// Tells whoever waits that an execution has ended, and the worker that there may be a parent to tell.
    fn announce(&self, key: &ExecutionKey) {
        let waiter = self.waiters.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        if let Some(waiter) = waiter {
            waiter.send_replace(true);
        }
        self.wake();
    }

    /// Begins no invocation any more, and waits up to `patience` for those that run. What still runs then is made again
    /// after the next start. Gives back whether everything had finished.
    pub async fn drain(&self, patience: Duration) -> bool {
        self.draining.store(true, Ordering::Release);
        self.wakeup.stop_claiming();
        let finished = tokio::time::timeout(patience, self.wakeup.wait_until_idle()).await.is_ok();
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        finished
    }

    fn log(&self, doing: &str, key: &ExecutionKey, failure: &StoreError) {
        error!(execution = %key.id, error = %ErrorChain(failure), "failed to {doing}");
    }
}

impl Invoker {
    /// Runs a durable function for who waits for all of it: a new execution, under no name, and its end. `None` when the version
    /// is not durable.
    ///
    /// Fails as `DurableExecutions::start` and `DurableExecutions::ended` do. An execution that nobody waits for any more goes on.
    pub async fn execute(
        &self,
        request: &InvokeRequest,
        version: &FunctionVersion,
    ) -> Result<Option<StoredExecution>, ServiceError> {
        if version.durable.is_none() {
            return Ok(None);
        }
        check_call(version, request)?;
        let durable = self.durable.get().and_then(Weak::upgrade);
        let durable =
            durable.ok_or_else(|| ServiceError::internal("This node has no durable executions."))?;
        let started = durable.start(request, version, None, true).await?;
        durable.ended(&started.key).await.map(Some)
    }
}

/// 404 in AWS's words.
pub fn not_found() -> ServiceError {
    ServiceError::new(ErrorCode::ResourceNotFoundException, "Durable Execution does not exist")
}

/// Whether a request to a version is one that its being durable allows. `None` when it is not durable.
///
/// Fails with `InvalidParameterValueException` in AWS's words.
pub fn check_invocable<'a>(
    request: &InvokeRequest,
    version: &'a FunctionVersion,
    synchronous: bool,
) -> Result<Option<&'a DurableConfig>, ServiceError> {
    let Some(config) = &version.durable else { return Ok(None) };
    let refused = |text| Err(ServiceError::new(ErrorCode::InvalidParameterValueException, text));
    if request.qualifier.is_none() {
        return refused("You cannot invoke a durable function using an unqualified ARN.");
    }
    if synchronous && config.execution_timeout_seconds > SYNCHRONOUS_SECONDS {
        return refused(
            "You cannot synchronously invoke a durable function with an executionTimeout greater than 15 minutes.",
        );
    }
    Ok(Some(config))
}

/// Whether an execution's end was a success.
pub fn has_succeeded(stored: &StoredExecution) -> bool {
    stored.execution.status == ExecutionStatus::Succeeded
}
