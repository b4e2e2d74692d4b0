//! What the front door asks of executions: the operations of the API but for starting and waiting.

use super::{DurableExecutions, not_found};
use crate::invoker::service_error;
use lamplight_model::durable::{
    CallbackResult, CallbackToken, Checkpoint, CheckpointToken, ErrorObject, Event, Execution, INVALID_TOKEN,
    Operation, OperationKind, Progress, Refusal, Update,
};
use lamplight_model::{ErrorCode, Scope, ServiceError, Timestamp};
use lamplight_store::StoreError;
use lamplight_store::executions::{Changed, ExecutionKey, ExecutionQuery, Wanted};
use std::collections::BTreeSet;

/// Most bytes of results and of the input in one page of an execution's state: what Lambda hands over at once is 6 MB.
pub(super) const PAGE_BYTES: u64 = 5 << 20;

/// CheckpointDurableExecution.
#[derive(Debug, Clone)]
pub struct CheckpointRequest {
    /// The execution.
    pub key: ExecutionKey,
    /// Its whole ARN: who may speak for its function was decided by that.
    pub arn: String,
    /// `CheckpointToken`; `None` for what is none.
    pub token: Option<CheckpointToken>,
    /// `ClientToken`.
    pub client_token: Option<String>,
    /// `Updates`.
    pub updates: Vec<Update>,
}

/// Its answer.
#[derive(Debug, Clone)]
pub struct CheckpointReply {
    /// The next token; `None` when the invocation may checkpoint no further.
    pub token: Option<CheckpointToken>,
    /// The execution.
    pub execution: Execution,
    /// Its input.
    pub input: String,
    /// What has changed that the function has not seen.
    pub operations: Vec<Operation>,
}

/// One page of GetDurableExecutionState.
#[derive(Debug, Clone)]
pub struct StatePage {
    /// The execution.
    pub execution: Execution,
    /// Its input.
    pub input: String,
    /// Operations in the order of their starts.
    pub operations: Vec<Operation>,
    /// The number of the last of them, when there are more.
    pub next: Option<u64>,
}

/// Which callback: its scope is the caller's.
#[derive(Debug, Clone)]
pub struct CallbackKey {
    /// Where the execution lives.
    pub scope: Scope,
    /// `CallbackId`.
    pub token: CallbackToken,
}

impl DurableExecutions {
    /// CheckpointDurableExecution. Fails with `InvalidParameterValueException` in AWS's words, also for an execution that
    /// does not exist.
    pub async fn checkpoint(&self, request: CheckpointRequest) -> Result<CheckpointReply, ServiceError> {
        let token = request.token.ok_or_else(invalid_token)?;
        let targets = self.targets(&request.key.scope, &request.updates).await?;
        let ids: BTreeSet<String> = request
            .updates
            .iter()
            .filter(|update| update.kind != OperationKind::Execution)
            .flat_map(|update| [Some(update.id.clone()), update.parent_id.clone()])
            .flatten()
            .collect();
        let now = (self.clock)();
        let wanted = Wanted { ids: ids.into_iter().collect(), due: Some(now), open: false };
        let (arn, client_token, updates) = (request.arn, request.client_token, request.updates);
        let checkpoint = Checkpoint { token, client_token, updates, targets };
        let changed = self
            .executions
            .change(&request.key, wanted, move |progress: &mut Progress| {
                if progress.execution.arn() != arn {
                    return Err(Refusal::Invalid(INVALID_TOKEN.to_owned()));
                }
                let started = progress.children.len();
                let answer = progress.checkpoint(checkpoint, now, uuid::Uuid::new_v4)?;
                let since = answer.since;
                Ok(((answer, progress.children.len() > started), since))
            })
            .await;
        let Changed { value: (answer, has_children), execution, input, operations } =
            settled(changed, "write a checkpoint", invalid_token)?;
        if answer.closed {
            self.announce(&request.key);
        } else if has_children || answer.token.is_none() || operations.iter().any(|one| one.due().is_some()) {
            self.wake();
        }
        Ok(CheckpointReply { token: answer.token, execution, input, operations })
    }

    /// GetDurableExecutionState, for the running invocation that holds `token`. Fails as `checkpoint` does.
    pub async fn state(
        &self,
        key: &ExecutionKey,
        arn: &str,
        token: Option<CheckpointToken>,
        after: u64,
        limit: usize,
    ) -> Result<StatePage, ServiceError> {
        let token = token.ok_or_else(invalid_token)?;
        let page = self.executions.replay(key, after, limit, PAGE_BYTES).await;
        let (stored, operations, next) = page
            .map_err(|error| service_error("read a durable execution", &error))?
            .filter(|(stored, ..)| stored.execution.arn() == arn)
            .ok_or_else(invalid_token)?;
        Progress::new(stored.execution.clone(), []).check_token(&token).map_err(refused)?;
        Ok(StatePage { execution: stored.execution, input: stored.input, operations, next })
    }

    /// GetDurableExecutionHistory. Fails with `ResourceNotFoundException`.
    pub async fn history(
        &self,
        key: &ExecutionKey,
        after: Option<u64>,
        newest_first: bool,
        limit: usize,
    ) -> Result<Vec<Event>, ServiceError> {
        let events = self.executions.history(key, after, newest_first, limit).await;
        events
            .map_err(|error| service_error("read the history of a durable execution", &error))?
            .ok_or_else(not_found)
    }

    /// ListDurableExecutionsByFunction: each with its place in the list.
    pub async fn list(&self, query: ExecutionQuery) -> Result<Vec<(i64, Execution)>, ServiceError> {
        let executions = self.executions.list(query).await;
        executions.map_err(|error| service_error("list durable executions", &error))
    }

    /// StopDurableExecution. Gives back when it ended. Fails with `ResourceNotFoundException`.
    pub async fn stop(
        &self,
        key: &ExecutionKey,
        error: Option<ErrorObject>,
    ) -> Result<Timestamp, ServiceError> {
        let now = (self.clock)();
        let stopped = self.change(key, move |progress| Ok(progress.stop(error, now))).await?;
        self.announce(key);
        Ok(stopped)
    }

    /// DeleteDurableExecution. Gives back when it was asked for. Fails with `ResourceNotFoundException`, and with
    /// `ResourceConflictException` while it runs.
    pub async fn delete(&self, key: &ExecutionKey) -> Result<Timestamp, ServiceError> {
        self.change(key, Progress::delete).await?;
        self.wake();
        Ok((self.clock)())
    }

    /// PauseDurableExecution. Fails with `ResourceNotFoundException`, and with `ResourceConflictException` unless it runs.
    pub async fn pause(
        &self,
        key: &ExecutionKey,
        client_token: Option<String>,
        reason: Option<String>,
        timeout_paused: bool,
    ) -> Result<(), ServiceError> {
        let now = (self.clock)();
        self.change(key, move |progress| progress.pause(client_token, reason, timeout_paused, now)).await?;
        self.wake();
        Ok(())
    }

    /// ResumeDurableExecution. Fails with `ResourceNotFoundException`, and with `ResourceConflictException` unless it is
    /// paused.
    pub async fn resume(
        &self,
        key: &ExecutionKey,
        client_token: Option<String>,
        reason: Option<String>,
    ) -> Result<(), ServiceError> {
        let now = (self.clock)();
        self.change(key, move |progress| progress.resume(client_token, reason, now)).await?;
        self.wake();
        Ok(())
    }

    /// The three operations on callbacks. Fails with `CallbackTimeoutException` for a callback that is over, or never was.
    pub async fn callback(&self, key: CallbackKey, result: CallbackResult) -> Result<(), ServiceError> {
        let now = (self.clock)();
        let (execution, nonce) =
            (ExecutionKey { scope: key.scope, id: key.token.execution }, key.token.nonce);
        let wanted = Wanted { open: true, ..Wanted::default() };
        let changed = self
            .executions
            .change(&execution, wanted, move |progress: &mut Progress| {
                progress.callback(nonce, result, now).map(|()| ((), None))
            })
            .await;
        settled(changed, "complete a callback", || refused(Refusal::CallbackClosed))?;
        self.wake();
        Ok(())
    }

    async fn change<T: Send + 'static>(
        &self,
        key: &ExecutionKey,
        change: impl FnOnce(&mut Progress) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, ServiceError> {
        // What no API shows cannot be changed by one.
        self.get(key).await?;
        let changed = self
            .executions
            .change(key, Wanted::default(), move |progress: &mut Progress| {
                change(progress).map(|value| (value, None))
            })
            .await;
        Ok(settled(changed, "change a durable execution", not_found)?.value)
    }
}

fn settled<T>(
    changed: Result<Option<Result<Changed<T>, Refusal>>, StoreError>,
    doing: &str,
    absent: impl FnOnce() -> ServiceError,
) -> Result<Changed<T>, ServiceError> {
    changed.map_err(|error| service_error(doing, &error))?.ok_or_else(absent)?.map_err(refused)
}

fn invalid_token() -> ServiceError {
    ServiceError::new(ErrorCode::InvalidParameterValueException, INVALID_TOKEN)
}

fn refused(refusal: Refusal) -> ServiceError {
    let code = match refusal {
        Refusal::Invalid(_) => ErrorCode::InvalidParameterValueException,
        Refusal::Conflict(_) => ErrorCode::ResourceConflictException,
        Refusal::CallbackClosed => ErrorCode::CallbackTimeoutException,
    };
    ServiceError::new(code, refusal.to_string())
}
