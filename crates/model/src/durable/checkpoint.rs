//! What a running function reports: CheckpointDurableExecution, applied to its execution.
//!
//! All updates of a request are applied or none. Source: API reference, "CheckpointDurableExecution"; rules and texts that it
//! leaves out as the official SDK's local runner has them.

use super::operation::{Action, Detail, Operation, OperationKind, OperationStatus};
use super::token::CheckpointToken;
use super::{
    Closing, DurableConfig, ERROR_BYTES, ErrorObject, ExecutionStatus, INVALID_TOKEN, NewExecution,
    OPERATION_PAYLOAD_BYTES, OPERATIONS_PER_EXECUTION, Parent, Progress, Refusal, STATE_BYTES,
    SYNCHRONOUS_RESULT_BYTES,
};
use crate::durable::execution::LastCheckpoint;
use crate::function::VersionNumber;
use crate::lineage;
use crate::name::FunctionName;
use crate::timestamp::Timestamp;
use serde_json::json;
use std::collections::HashMap;
use std::time::Duration;
use uuid::Uuid;

/// `OperationUpdate`, its shapes checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// `Id`.
    pub id: String,
    /// `ParentId`.
    pub parent_id: Option<String>,
    /// `Name`.
    pub name: Option<String>,
    /// `SubType`.
    pub sub_type: Option<String>,
    /// `Type`.
    pub kind: OperationKind,
    /// `Action`.
    pub action: Action,
    /// `Payload`.
    pub payload: Option<String>,
    /// `Error`.
    pub error: Option<ErrorObject>,
    /// `ContextOptions.ReplayChildren`.
    pub replay_children: Option<bool>,
    /// `StepOptions.NextAttemptDelaySeconds`.
    pub next_attempt_delay_seconds: Option<u32>,
    /// `WaitOptions.WaitSeconds`.
    pub wait_seconds: Option<u32>,
    /// `CallbackOptions.TimeoutSeconds`; 0 when not given.
    pub callback_timeout_seconds: u32,
    /// `CallbackOptions.HeartbeatTimeoutSeconds`; 0 when not given.
    pub heartbeat_seconds: u32,
    /// `ChainedInvokeOptions.FunctionName`.
    pub function_name: Option<String>,
}

/// What a chained invoke runs, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The function, of the same scope.
    pub function: FunctionName,
    /// The version.
    pub version: VersionNumber,
    /// Set when it is a durable function itself.
    pub durable: Option<DurableConfig>,
}

/// A request, with what had to be looked up for it.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// `CheckpointToken`.
    pub token: CheckpointToken,
    /// `ClientToken`.
    pub client_token: Option<String>,
    /// `Updates`.
    pub updates: Vec<Update>,
    /// Targets of its chained invokes by operation, or why they cannot be invoked.
    pub targets: HashMap<String, Result<Target, ErrorObject>>,
}

/// The answer but for the operations: those that changed after `since`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointAnswer {
    /// The next token; `None` when the invocation may checkpoint no further: its execution has ended or pauses.
    pub token: Option<CheckpointToken>,
    /// The count of changes after which operations are told; `None` tells none.
    pub since: Option<u64>,
    /// Whether the execution has ended with this.
    pub closed: bool,
}

impl Progress {
    /// Whether `token` is the current one of the running invocation.
    ///
    /// Fails with AWS's text otherwise.
    pub fn check_token(&self, token: &CheckpointToken) -> Result<(), Refusal> {
        let execution = &self.execution;
        let runs = execution
            .invocation
            .as_ref()
            .is_some_and(|invocation| invocation.id == token.invocation && !invocation.interrupted);
        if token.execution != execution.id
            || execution.status.is_closed()
            || !runs
            || token.number != execution.checkpoints
        {
            return Refusal::invalid(INVALID_TOKEN);
        }
        Ok(())
    }

    /// Applies a request. The operations it names, their parents, and those that are due must be loaded.
    ///
    /// `random` gives the numbers of new callbacks and executions.
    pub fn checkpoint(
        &mut self,
        request: Checkpoint,
        now: Timestamp,
        mut random: impl FnMut() -> Uuid,
    ) -> Result<CheckpointAnswer, Refusal> {
        if let Some(answer) = self.repeated(&request) {
            return Ok(answer);
        }
        self.check_token(&request.token)?;
        check_batch(&request.updates)?;
        for update in request.updates {
            let target = request.targets.get(&update.id);
            self.apply(update, target, now, &mut random)?;
        }
        if self.execution.operations > OPERATIONS_PER_EXECUTION + 1 {
            return Refusal::invalid(format!(
                "An execution may have at most {OPERATIONS_PER_EXECUTION} operations."
            ));
        }
        if self.execution.state_bytes > STATE_BYTES {
            return Refusal::invalid(format!(
                "The state of an execution may have at most {STATE_BYTES} bytes."
            ));
        }
        if self.execution.status.is_closed() {
            return Ok(CheckpointAnswer { token: None, since: Some(self.execution.seen), closed: true });
        }
        self.fire_due(now);
        self.execution.checkpoints += 1;
        if self.execution.status == ExecutionStatus::Pausing {
            // The invocation learns by the missing token that it is to suspend; what it was not told it is told when the
            // execution goes on.
            if let Some(invocation) = &mut self.execution.invocation {
                invocation.interrupted = true;
            }
            self.execution.last_checkpoint = None;
            self.paused(now);
            return Ok(CheckpointAnswer { token: None, since: None, closed: false });
        }
        let since = self.execution.seen;
        self.execution.last_checkpoint = request.client_token.map(|client_token| LastCheckpoint {
            client_token,
            number: request.token.number,
            since,
        });
        self.execution.seen = self.execution.touched;
        let token = CheckpointToken { number: self.execution.checkpoints, ..request.token };
        Ok(CheckpointAnswer { token: Some(token), since: Some(since), closed: false })
    }

    /// The answer of the last checkpoint again, when this is the same request once more.
    fn repeated(&self, request: &Checkpoint) -> Option<CheckpointAnswer> {
        let last = self.execution.last_checkpoint.as_ref()?;
        let token = CheckpointToken { number: self.execution.checkpoints, ..request.token };
        let same = request.client_token.as_deref() == Some(last.client_token.as_str())
            && request.token.number == last.number
            && self.check_token(&token).is_ok();
        same.then_some(CheckpointAnswer { token: Some(token), since: Some(last.since), closed: false })
    }

    fn apply(
        &mut self,
        update: Update,
        target: Option<&Result<Target, ErrorObject>>,
        now: Timestamp,
        random: &mut impl FnMut() -> Uuid,
    ) -> Result<(), Refusal> {
        check_sizes(&update, self.most_result_bytes())?;
        check_outcome(&update)?;
        if update.kind == OperationKind::Execution {
            return self.close_by_update(update, now);
        }
        let existing = self.operations.get(&update.id).cloned();
        if let Some(existing) = &existing {
            check_consistent(existing, &update)?;
        }
        if let Some(parent) = &update.parent_id
            && self.operations.get(parent).is_none_or(|parent| parent.kind != OperationKind::Context)
        {
            return Refusal::invalid("Invalid parent operation id.");
        }
        match update.kind {
            OperationKind::Context => self.apply_context(update, existing, now),
            OperationKind::Step => self.apply_step(update, existing, now),
            OperationKind::Wait => self.apply_wait(update, existing, now),
            OperationKind::Callback => self.apply_callback(update, existing, now, random()),
            OperationKind::ChainedInvoke => self.apply_chained(update, existing, target, now, random),
            OperationKind::Execution => Ok(()),
        }
    }

    fn close_by_update(&mut self, update: Update, now: Timestamp) -> Result<(), Refusal> {
        let status = match update.action {
            Action::Succeed => ExecutionStatus::Succeeded,
            Action::Fail => ExecutionStatus::Failed,
            _ => return invalid_action(),
        };
        self.close(status, Closing { result: update.payload, error: update.error }, now);
        Ok(())
    }

    fn apply_context(
        &mut self,
        update: Update,
        existing: Option<Operation>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let replay_children = update.replay_children.unwrap_or(false);
        let status = match update.action {
            Action::Start if existing.is_some() => {
                return Refusal::invalid("Cannot start a CONTEXT that already exist.");
            }
            Action::Start => {
                let operation = self.begin_operation(&update, Detail::Context { replay_children }, now);
                self.changed(operation, None, now);
                return Ok(());
            }
            Action::Succeed => OperationStatus::Succeeded,
            Action::Fail => OperationStatus::Failed,
            _ => return invalid_action(),
        };
        if existing.as_ref().is_some_and(|context| context.status != OperationStatus::Started) {
            return Refusal::invalid("Invalid current CONTEXT state to close.");
        }
        let detail = Detail::Context { replay_children };
        let mut operation = existing.unwrap_or_else(|| self.begin_operation(&update, detail.clone(), now));
        operation.detail = detail;
        operation.end(status, update.payload, update.error, now);
        self.changed(operation, None, now);
        Ok(())
    }

    fn apply_step(
        &mut self,
        update: Update,
        existing: Option<Operation>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let status = existing.as_ref().map(|step| step.status);
        let runs = matches!(status, None | Some(OperationStatus::Started | OperationStatus::Ready));
        let attempt = match existing.as_ref().map(|step| &step.detail) {
            Some(Detail::Step { attempt, .. }) => *attempt,
            _ => 0,
        };
        let ended = Detail::Step { attempt: attempt + 1, next_attempt_at: None };
        let mut operation = match existing {
            Some(operation) => operation,
            None => self.begin_operation(&update, Detail::Step { attempt: 0, next_attempt_at: None }, now),
        };
        let mut delay_seconds = None;
        match update.action {
            Action::Start if matches!(status, None | Some(OperationStatus::Ready)) => {
                operation.status = OperationStatus::Started;
            }
            Action::Start => return Refusal::invalid("Invalid current STEP state to start."),
            Action::Succeed | Action::Fail => {
                if !runs {
                    return Refusal::invalid("Invalid current STEP state to close.");
                }
                let status = match update.action {
                    Action::Succeed => OperationStatus::Succeeded,
                    _ => OperationStatus::Failed,
                };
                operation.detail = ended;
                operation.end(status, update.payload, update.error, now);
            }
            Action::Retry => {
                if !runs {
                    return Refusal::invalid("Invalid current STEP state to re-attempt.");
                }
                let Some(seconds) = update.next_attempt_delay_seconds else {
                    return Refusal::invalid("Invalid StepOptions for the given action.");
                };
                if update.error.is_some() && update.payload.is_some() {
                    return Refusal::invalid("Cannot provide both error and payload to RETRY a STEP.");
                }
                delay_seconds = Some(seconds);
                operation.status = OperationStatus::Pending;
                operation.detail = Detail::Step {
                    attempt: attempt + 1,
                    next_attempt_at: Some(now.plus(Duration::from_secs(u64::from(seconds)))),
                };
                operation.result = update.payload;
                operation.error = update.error;
            }
            Action::Cancel => return invalid_action(),
        }
        self.changed(operation, delay_seconds, now);
        Ok(())
    }

    fn apply_wait(
        &mut self,
        update: Update,
        existing: Option<Operation>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let operation = match (update.action, existing) {
            (Action::Start, Some(_)) => return Refusal::invalid("Cannot start a WAIT that already exist."),
            (Action::Start, None) => {
                let Some(seconds) = update.wait_seconds else {
                    return Refusal::invalid("Invalid WaitOptions for the given action.");
                };
                let ends_at = now.plus(Duration::from_secs(u64::from(seconds)));
                self.begin_operation(&update, Detail::Wait { seconds, ends_at }, now)
            }
            (Action::Cancel, Some(mut operation)) if operation.status == OperationStatus::Started => {
                operation.end(OperationStatus::Cancelled, None, update.error, now);
                operation
            }
            (Action::Cancel, _) => {
                return Refusal::invalid(
                    "Cannot cancel a WAIT that does not exist or has already completed.",
                );
            }
            _ => return invalid_action(),
        };
        self.changed(operation, None, now);
        Ok(())
    }

    fn apply_callback(
        &mut self,
        update: Update,
        existing: Option<Operation>,
        now: Timestamp,
        nonce: Uuid,
    ) -> Result<(), Refusal> {
        if update.action != Action::Start {
            return invalid_action();
        }
        if existing.is_some() {
            return Refusal::invalid("Cannot start a CALLBACK that already exist.");
        }
        let after = |seconds: u32| (seconds > 0).then(|| now.plus(Duration::from_secs(u64::from(seconds))));
        let detail = Detail::Callback {
            nonce,
            deadline: after(update.callback_timeout_seconds),
            heartbeat_seconds: update.heartbeat_seconds,
            heartbeat_deadline: after(update.heartbeat_seconds),
        };
        let operation = self.begin_operation(&update, detail, now);
        self.changed(operation, None, now);
        Ok(())
    }

    fn apply_chained(
        &mut self,
        update: Update,
        existing: Option<Operation>,
        target: Option<&Result<Target, ErrorObject>>,
        now: Timestamp,
        random: &mut impl FnMut() -> Uuid,
    ) -> Result<(), Refusal> {
        if update.action != Action::Start {
            return invalid_action();
        }
        if existing.is_some() {
            return Refusal::invalid("Cannot start a CHAINED_INVOKE operation that already exists.");
        }
        let (Some(function_name), Some(target)) = (&update.function_name, target) else {
            return Refusal::invalid("Update for CHAINED_INVOKE operation requires ChainedInvokeOptions.");
        };
        let mut started = json!({ "FunctionName": function_name });
        let mut operation = self.begin_operation(&update, Detail::ChainedInvoke { child: None }, now);
        let failure = match target {
            Ok(target) => {
                let child = self.child(target, &update, now, random);
                operation.detail = Detail::ChainedInvoke { child: Some(child.execution.id) };
                started["Input"] = super::history::payload(update.payload.as_deref());
                started["ExecutedVersion"] = target.version.to_string().into();
                if !child.execution.plain {
                    started["DurableExecutionArn"] = child.execution.arn().into();
                }
                self.children.push(child);
                None
            }
            Err(error) => Some(error.clone()),
        };
        self.record_of(&operation, "ChainedInvokeStarted", started, now);
        match failure {
            Some(error) => {
                operation.end(OperationStatus::Failed, None, Some(error), now);
                self.changed(operation, None, now);
            }
            None => self.store(operation),
        }
        Ok(())
    }

    /// The execution behind a chained invoke. A function that is not durable gets one invocation.
    fn child(
        &self,
        target: &Target,
        update: &Update,
        now: Timestamp,
        random: &mut impl FnMut() -> Uuid,
    ) -> NewExecution {
        let plain = target.durable.is_none();
        let config = target.durable.clone().unwrap_or(DurableConfig {
            execution_timeout_seconds: self.execution.timeout_seconds,
            retention_days: 0,
            kms_key_arn: None,
        });
        let input = update.payload.clone().unwrap_or_else(|| "{}".to_owned());
        let (scope, name) = (self.execution.scope.clone(), random().to_string());
        let (function, version) = (target.function.clone(), target.version);
        let mut child = NewExecution::new(scope, random(), function, version, name, &config, input, now);
        child.execution.plain = plain;
        let header = self.execution.trace_header.as_deref();
        child.execution.trace_header = header
            .map(|header| lineage::continued(header, &self.execution.scope, &self.execution.function).header);
        child.execution.parent = Some(Parent { execution: self.execution.id, operation: update.id.clone() });
        child
    }

    /// Most bytes of this execution's result.
    pub(super) fn most_result_bytes(&self) -> usize {
        match (self.execution.synchronous, &self.execution.parent) {
            (true, None) => SYNCHRONOUS_RESULT_BYTES,
            _ => OPERATION_PAYLOAD_BYTES,
        }
    }
}

fn invalid_action() -> Result<(), Refusal> {
    Refusal::invalid("Invalid action for the given operation type.")
}

/// What can be said about a batch without looking at the execution.
fn check_batch(updates: &[Update]) -> Result<(), Refusal> {
    let of_execution = updates.iter().filter(|update| update.kind == OperationKind::Execution).count();
    if of_execution > 1 {
        return Refusal::invalid("Cannot checkpoint multiple EXECUTION updates.");
    }
    if of_execution == 1 && updates.last().is_some_and(|last| last.kind != OperationKind::Execution) {
        return Refusal::invalid("EXECUTION checkpoint must be the last update.");
    }
    let mut last: HashMap<&str, &Update> = HashMap::new();
    for update in updates.iter().filter(|update| update.kind != OperationKind::Execution) {
        let Some(before) = last.insert(&update.id, update) else { continue };
        // A step or a context may be started and ended at once.
        let ends_what_it_starts = matches!(before.kind, OperationKind::Step | OperationKind::Context)
            && before.action == Action::Start
            && update.action != Action::Start;
        if !ends_what_it_starts {
            return Refusal::invalid("Cannot checkpoint multiple operations with the same ID.");
        }
    }
    Ok(())
}

fn check_sizes(update: &Update, most_result_bytes: usize) -> Result<(), Refusal> {
    if update.error.as_ref().is_some_and(|error| error.bytes() > ERROR_BYTES) {
        return Refusal::invalid(format!(
            "Error object size must be less than or equal to {ERROR_BYTES} bytes."
        ));
    }
    let bytes = update.payload.as_ref().map_or(0, String::len);
    let (what, most) = match update.kind {
        OperationKind::Execution => ("Execution output", most_result_bytes),
        OperationKind::ChainedInvoke => ("CHAINED_INVOKE input", OPERATION_PAYLOAD_BYTES),
        other => (other.name(), OPERATION_PAYLOAD_BYTES),
    };
    if bytes > most {
        return Refusal::invalid(format!("{what} payload size must be less than or equal to {most} bytes."));
    }
    Ok(())
}

fn check_outcome(update: &Update) -> Result<(), Refusal> {
    match update.action {
        Action::Fail if update.payload.is_some() => {
            Refusal::invalid("Cannot provide a Payload for FAIL action.")
        }
        Action::Succeed if update.error.is_some() => {
            Refusal::invalid("Cannot provide an Error for SUCCEED action.")
        }
        _ => Ok(()),
    }
}

fn check_consistent(existing: &Operation, update: &Update) -> Result<(), Refusal> {
    let differs = |given: &Option<String>, stored: &Option<String>| given.is_some() && given != stored;
    if existing.kind != update.kind {
        Refusal::invalid("Inconsistent operation type.")
    } else if differs(&update.sub_type, &existing.sub_type) {
        Refusal::invalid("Inconsistent operation subtype.")
    } else if differs(&update.name, &existing.name) {
        Refusal::invalid("Inconsistent operation name.")
    } else if differs(&update.parent_id, &existing.parent_id) {
        Refusal::invalid("Inconsistent parent operation id.")
    } else {
        Ok(())
    }
}
