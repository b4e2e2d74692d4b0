//! An execution under change: what happens to it besides checkpoints.
//!
//! The store loads a `Progress` with the operations that a change concerns, one of these functions changes it, and the store
//! writes back what is marked as changed, all in one transaction. Nothing here waits, reads a clock or draws numbers.

use super::checkpoint::Update;
use super::execution::InFlight;
use super::history::{self, Event};
use super::operation::{Detail, Operation, OperationKind, OperationStatus};
use super::{
    Closing, ErrorObject, Execution, ExecutionStatus, NewExecution, OPERATION_PAYLOAD_BYTES, Refusal,
};
use crate::timestamp::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

/// Waits before the invocations that follow failed ones: when the last of these has failed, too, the execution fails. AWS
/// retries a crashing invocation with growing delays before it gives up; its numbers are not published.
const RETRY_SECONDS: [u64; 5] = [1, 2, 4, 8, 16];
/// Invocations that may answer `PENDING` with nothing to wait for, one after the other. Source: the SDK's local runner.
const VAIN_SUSPENSIONS: u32 = 3;
/// Longest wait for room.
const LONGEST_POSTPONEMENT: Duration = Duration::from_secs(30);

/// An execution with those of its operations that a change concerns.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// The record.
    pub execution: Execution,
    /// The operations that were loaded, by id.
    pub operations: BTreeMap<String, Operation>,
    /// Events to be added.
    pub events: Vec<Event>,
    /// Set when the execution has ended with this change.
    pub closing: Option<Closing>,
    /// Executions to be started with this change.
    pub children: Vec<NewExecution>,
}

/// What the worker is to do about an execution that was due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Nothing: its timers were all there was.
    Nothing,
    /// Run the invocation that was begun.
    Invoke,
    /// It has ended: tell whoever waits.
    Closed,
    /// Tell its parent how it ended.
    Report,
    /// Forget it.
    Remove,
}

/// How an invocation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ran {
    /// The function answered this.
    Answered(String),
    /// The function failed.
    Failed(ErrorObject),
    /// There was no room for it, or the platform failed: it has not run.
    NotRun,
    /// It cannot run any more: its function or version is gone.
    Gone(ErrorObject),
}

/// What became of an execution when its invocation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    /// It has ended.
    Closed,
    /// It goes on.
    GoesOn,
    /// The invocation was no longer the current one: nothing has changed but the history.
    Superseded,
}

/// What somebody says about a callback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallbackResult {
    /// SendDurableExecutionCallbackSuccess.
    Succeeded(Option<String>),
    /// SendDurableExecutionCallbackFailure.
    Failed(ErrorObject),
    /// SendDurableExecutionCallbackHeartbeat.
    Heartbeat,
}

/// What a durable function's handler answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    status: String,
    result: Option<String>,
    error: Option<ErrorObject>,
}

impl Progress {
    /// A loaded execution.
    pub fn new(execution: Execution, operations: impl IntoIterator<Item = Operation>) -> Self {
        let operations = operations.into_iter().map(|operation| (operation.id.clone(), operation)).collect();
        Self { execution, operations, events: Vec::new(), closing: None, children: Vec::new() }
    }

    /// A new execution, with its first operation and event.
    pub fn open(new: &NewExecution) -> Self {
        let mut progress = Self::new(new.execution.clone(), []);
        let (id, now) = (new.execution.id.to_string(), new.execution.started_at);
        progress.execution.operations = 1;
        progress.store(Operation {
            id: id.clone(),
            parent_id: None,
            name: Some(new.execution.name.clone()),
            sub_type: None,
            kind: OperationKind::Execution,
            status: OperationStatus::Started,
            started_at: now,
            ended_at: None,
            order: 1,
            touched: 0,
            result: None,
            error: None,
            detail: Detail::Execution,
        });
        let details = json!({
            "Input": history::payload(Some(&new.input)),
            "ExecutionTimeout": new.execution.timeout_seconds,
        });
        progress.record("ExecutionStarted", execution_reference(&progress.execution), details, now);
        progress
    }

    /// Brings an execution that is due up to date, and begins an invocation when it wants one. The operations that are due
    /// must be loaded. `invocation` is used when there is none in flight.
    pub fn advance(&mut self, now: Timestamp, invocation: InFlight) -> Turn {
        if self.execution.status == ExecutionStatus::Deleting {
            return Turn::Remove;
        }
        if self.execution.status.is_closed() {
            let over = self.execution.plain
                || self.execution.forgotten_at().is_some_and(|forgotten_at| forgotten_at <= now);
            return match (self.execution.owes_report, over) {
                (true, _) => Turn::Report,
                (false, true) => Turn::Remove,
                (false, false) => Turn::Nothing,
            };
        }
        if self.execution.deadline <= now {
            let error = ErrorObject::new(
                format!("Execution timed out after {} seconds.", self.execution.timeout_seconds),
                None,
            );
            self.close(ExecutionStatus::TimedOut, Closing { result: None, error: Some(error) }, now);
            return Turn::Closed;
        }
        self.fire_due(now);
        if self.execution.invocation.as_ref().is_some_and(|lost| lost.lease_until <= now) {
            self.lose_invocation(now);
        }
        if !self.execution.may_begin(now) {
            return Turn::Nothing;
        }
        self.execution.invocation =
            Some(InFlight { seen_before: self.execution.seen, interrupted: false, ..invocation });
        self.execution.seen = self.execution.touched;
        self.execution.retry_at = None;
        self.execution.last_checkpoint = None;
        Turn::Invoke
    }

    /// Ends waits, makes steps ready for their next attempts, times callbacks out: those loaded whose time has come.
    pub fn fire_due(&mut self, now: Timestamp) {
        let due: Vec<Operation> = self
            .operations
            .values()
            .filter(|operation| operation.due().is_some_and(|due| due <= now))
            .cloned()
            .collect();
        for mut operation in due {
            match &mut operation.detail {
                Detail::Wait { .. } => operation.end(OperationStatus::Succeeded, None, None, now),
                Detail::Step { next_attempt_at, .. } => {
                    *next_attempt_at = None;
                    operation.status = OperationStatus::Ready;
                }
                Detail::Callback { deadline, heartbeat_deadline, .. } => {
                    let by_heartbeat = match (*deadline, *heartbeat_deadline) {
                        (Some(deadline), Some(heartbeat)) => heartbeat < deadline,
                        (deadline, _) => deadline.is_none(),
                    };
                    let error = if by_heartbeat {
                        ErrorObject::new("Callback timed out on heartbeat", Some("Callback.Heartbeat"))
                    } else {
                        ErrorObject::new("Callback timed out", Some("Callback.Timeout"))
                    };
                    operation.end(OperationStatus::TimedOut, None, Some(error), now);
                }
                Detail::Execution | Detail::Context { .. } | Detail::ChainedInvoke { .. } => continue,
            }
            self.changed(operation, None, now);
        }
    }

    /// Forgets an invocation that nobody runs any more. It is made again at once, and costs nothing.
    pub fn lose_invocation(&mut self, now: Timestamp) {
        if self.execution.invocation.take().is_some() {
            self.paused_without_invocation(now);
            self.execution.retry_at = Some(now);
        }
    }

    /// Settles an invocation. The operations that are open must be loaded.
    pub fn finish(&mut self, invocation: Uuid, ran: Ran, now: Timestamp) -> Finished {
        let Some(ended) = self.execution.invocation.take_if(|current| current.id == invocation) else {
            return Finished::Superseded;
        };
        if ran != Ran::NotRun && !self.execution.plain {
            let failure = match &ran {
                Ran::Failed(error) | Ran::Gone(error) => Some(error),
                _ => None,
            };
            self.invocation_completed(&ended, failure, now);
        }
        if self.execution.status.is_closed() {
            return Finished::Superseded;
        }
        match ran {
            Ran::NotRun => {
                self.execution.postponed += 1;
                let seconds = 1_u64 << self.execution.postponed.min(6).saturating_sub(1);
                self.execution.retry_at =
                    Some(now.plus(Duration::from_secs(seconds).min(LONGEST_POSTPONEMENT)));
            }
            Ran::Gone(error) => self.fail(error, now),
            Ran::Failed(error) => self.failed_invocation(error, now),
            Ran::Answered(answer) if self.execution.plain => self.plain_answer(answer, now),
            Ran::Answered(answer) => self.answered(&ended, &answer, now),
        }
        if self.execution.status.is_closed() {
            return Finished::Closed;
        }
        self.paused_without_invocation(now);
        Finished::GoesOn
    }

    fn failed_invocation(&mut self, error: ErrorObject, now: Timestamp) {
        // What a function that is not durable does is told as it is.
        let delay = RETRY_SECONDS.get(self.execution.failures as usize).filter(|_| !self.execution.plain);
        match delay {
            Some(seconds) => {
                self.execution.failures += 1;
                self.execution.retry_at = Some(now.plus(Duration::from_secs(*seconds)));
            }
            None => self.fail(error, now),
        }
    }

    fn plain_answer(&mut self, answer: String, now: Timestamp) {
        if answer.len() > OPERATION_PAYLOAD_BYTES {
            let text = format!(
                "CHAINED_INVOKE output payload size must be less than or equal to {OPERATION_PAYLOAD_BYTES} bytes."
            );
            return self.fail(ErrorObject::new(text, None), now);
        }
        self.close(ExecutionStatus::Succeeded, Closing { result: Some(answer), error: None }, now);
    }

    fn answered(&mut self, ended: &InFlight, answer: &str, now: Timestamp) {
        let vain = self.execution.vain_suspensions + 1;
        self.execution.failures = 0;
        self.execution.postponed = 0;
        self.execution.vain_suspensions = 0;
        let protocol = |text: &str| ErrorObject::new(text, Some("InvalidParameterValueException"));
        let Ok(answer) = serde_json::from_str::<Answer>(answer) else {
            return self.fail(protocol("Invalid Status in invocation output."), now);
        };
        match (answer.status.as_str(), answer.result, answer.error) {
            ("SUCCEEDED", _, Some(_)) => {
                self.fail(protocol("Cannot provide an Error for SUCCEEDED status."), now);
            }
            ("SUCCEEDED", result, None) => {
                let most = self.most_result_bytes();
                if result.as_ref().map_or(0, String::len) > most {
                    let text =
                        format!("Execution output payload size must be less than or equal to {most} bytes.");
                    return self.fail(protocol(&text), now);
                }
                self.close(ExecutionStatus::Succeeded, Closing { result, error: None }, now);
            }
            ("FAILED", Some(_), _) => {
                self.fail(protocol("Cannot provide a Result for FAILED status."), now);
            }
            ("FAILED", None, error) => {
                self.close(ExecutionStatus::Failed, Closing { result: None, error }, now);
            }
            ("PENDING", _, _) if ended.interrupted => self.execution.retry_at = Some(now),
            ("PENDING", _, _) => {
                let waits = self.operations.values().any(Operation::is_open)
                    || self.execution.touched > self.execution.seen;
                if waits {
                    return;
                }
                // A race in the function may resolve when it is replayed.
                if vain >= VAIN_SUSPENSIONS {
                    return self
                        .fail(protocol("Cannot return PENDING status with no pending operations."), now);
                }
                self.execution.vain_suspensions = vain;
                self.execution.retry_at = Some(now.plus(Duration::from_secs(1)));
            }
            _ => self.fail(protocol("Invalid Status in invocation output."), now),
        }
    }

    fn fail(&mut self, error: ErrorObject, now: Timestamp) {
        self.close(ExecutionStatus::Failed, Closing { result: None, error: Some(error) }, now);
    }

    /// StopDurableExecution. Gives back when the execution ended: now, or before.
    pub fn stop(&mut self, error: Option<ErrorObject>, now: Timestamp) -> Timestamp {
        if let Some(ended_at) = self.execution.ended_at {
            return ended_at;
        }
        let closing = Closing { result: None, error: Some(error.unwrap_or_default()) };
        self.close(ExecutionStatus::Stopped, closing, now);
        now
    }

    /// DeleteDurableExecution: it is forgotten as soon as the worker gets to it.
    pub fn delete(&mut self) -> Result<(), Refusal> {
        if !self.execution.status.is_closed() {
            return Err(Refusal::Conflict(format!(
                "The durable execution cannot be deleted in status {}.",
                self.execution.status.name()
            )));
        }
        self.execution.status = ExecutionStatus::Deleting;
        Ok(())
    }

    /// Completes a callback, or puts its heartbeat timeout off. The operation must be loaded.
    pub fn callback(&mut self, nonce: Uuid, result: CallbackResult, now: Timestamp) -> Result<(), Refusal> {
        let of = |operation: &&Operation| matches!(operation.detail, Detail::Callback { nonce: stored, .. } if stored == nonce);
        let operation = self.operations.values().find(of).cloned();
        let open = operation.filter(|operation| {
            // What is past its deadline is over, also before the worker has written that down.
            operation.is_open() && operation.due().is_none_or(|due| due > now)
        });
        let (false, Some(mut operation)) = (self.execution.status.is_closed(), open) else {
            return Err(Refusal::CallbackClosed);
        };
        match result {
            CallbackResult::Succeeded(result) => {
                operation.end(OperationStatus::Succeeded, result, None, now);
            }
            CallbackResult::Failed(error) => {
                operation.end(OperationStatus::Failed, None, Some(error), now);
            }
            CallbackResult::Heartbeat => {
                if let Detail::Callback { heartbeat_seconds, heartbeat_deadline: Some(deadline), .. } =
                    &mut operation.detail
                {
                    *deadline = now.plus(Duration::from_secs(u64::from(*heartbeat_seconds)));
                }
                // Nothing the function sees: no change is counted.
                self.operations.insert(operation.id.clone(), operation);
                return Ok(());
            }
        }
        self.changed(operation, None, now);
        Ok(())
    }

    /// Completes a chained invoke by how its execution ended. Does nothing when it is over already.
    pub fn chained_ended(&mut self, operation: &str, child: &Execution, closing: Closing, now: Timestamp) {
        let Some(mut operation) = self.operations.get(operation).filter(|chained| chained.is_open()).cloned()
        else {
            return;
        };
        if self.execution.status.is_closed() {
            return;
        }
        match child.status {
            ExecutionStatus::Succeeded => {
                operation.end(OperationStatus::Succeeded, closing.result, None, now);
            }
            ExecutionStatus::TimedOut => {
                let text = format!("CHAINED_INVOKE timed out after {} seconds.", child.timeout_seconds);
                let error = ErrorObject::new(text, Some("ChainedInvoke.Timeout"));
                operation.end(OperationStatus::TimedOut, None, Some(error), now);
            }
            ExecutionStatus::Stopped => operation.end(OperationStatus::Stopped, None, closing.error, now),
            _ => operation.end(OperationStatus::Failed, None, closing.error, now),
        }
        self.changed(operation, None, now);
    }

    /// Ends the execution.
    pub(super) fn close(&mut self, status: ExecutionStatus, closing: Closing, now: Timestamp) {
        let execution = &mut self.execution;
        execution.status = status;
        execution.ended_at = Some(now);
        execution.retry_at = None;
        execution.pause = None;
        execution.owes_report = execution.parent.is_some();
        let error = || json!({ "Error": history::error(closing.error.as_ref()) });
        let (kind, details) = match status {
            ExecutionStatus::Succeeded => {
                ("ExecutionSucceeded", json!({ "Result": history::payload(closing.result.as_deref()) }))
            }
            ExecutionStatus::TimedOut => ("ExecutionTimedOut", error()),
            ExecutionStatus::Stopped => ("ExecutionStopped", error()),
            _ => ("ExecutionFailed", error()),
        };
        self.record(kind, execution_reference(&self.execution), details, now);
        self.closing = Some(closing);
    }

    fn invocation_completed(&mut self, ended: &InFlight, failure: Option<&ErrorObject>, now: Timestamp) {
        let mut details = json!({
            "StartTimestamp": super::shape::seconds(ended.started_at),
            "EndTimestamp": super::shape::seconds(now),
            "RequestId": ended.request_id.to_string(),
        });
        if failure.is_some() {
            details["Error"] = history::error(failure);
        }
        self.record("InvocationCompleted", Map::new(), details, now);
    }

    /// A new operation as its first update describes it; not stored yet.
    pub(super) fn begin_operation(&mut self, update: &Update, detail: Detail, now: Timestamp) -> Operation {
        self.execution.operations += 1;
        Operation {
            id: update.id.clone(),
            parent_id: update.parent_id.clone(),
            name: update.name.clone(),
            sub_type: update.sub_type.clone(),
            kind: update.kind,
            status: OperationStatus::Started,
            started_at: now,
            ended_at: None,
            order: self.execution.operations,
            touched: 0,
            result: None,
            error: None,
            detail,
        }
    }

    /// Stores an operation that has changed, and the event that says so.
    pub(super) fn changed(&mut self, operation: Operation, delay_seconds: Option<u32>, now: Timestamp) {
        if let Some((kind, details)) = history::of_operation(&self.execution, &operation, delay_seconds) {
            self.record_of(&operation, kind, details, now);
        }
        self.store(operation);
    }

    /// Stores an operation, and counts the change.
    pub(super) fn store(&mut self, mut operation: Operation) {
        self.execution.touched += 1;
        operation.touched = self.execution.touched;
        let before = self.operations.get(&operation.id).map_or(0, Operation::bytes);
        self.execution.state_bytes = (self.execution.state_bytes + operation.bytes()).saturating_sub(before);
        self.operations.insert(operation.id.clone(), operation);
    }

    pub(super) fn record_of(&mut self, operation: &Operation, kind: &str, details: Value, now: Timestamp) {
        self.record(kind, history::reference(operation), details, now);
    }

    pub(super) fn record(
        &mut self,
        kind: &str,
        operation: Map<String, Value>,
        details: Value,
        at: Timestamp,
    ) {
        self.execution.events += 1;
        let (number, kind) = (self.execution.events, kind.to_owned());
        self.events.push(Event { number, kind, at, operation, details });
    }
}

/// What an event says that is about the execution itself.
pub(super) fn execution_reference(execution: &Execution) -> Map<String, Value> {
    let mut reference = Map::new();
    reference.insert("Id".to_owned(), execution.id.to_string().into());
    reference.insert("Name".to_owned(), execution.name.as_str().into());
    reference
}
