//! Pausing and resuming: the function is not invoked meanwhile; what it waits for goes on.
//!
//! ```text
//!  RUNNING -(pause)-> PAUSING -(checkpoint, end of the invocation, none in flight)-> PAUSED -(resume)-> RUNNING
//!     ^--------------(resume)----'
//! ```
//!
//! Source: Lambda developer guide, "Pausing and resuming durable executions"; API reference, PauseDurableExecution.

use super::execution::LastPauseRequest;
use super::progress::execution_reference;
use super::{ExecutionStatus, LONGEST_SECONDS, Pause, Progress, Refusal, history, shape};
use crate::timestamp::Timestamp;
use serde_json::json;
use std::time::Duration;

/// How long the repetition of a request is one. Source: API reference, "PauseDurableExecution".
const REPETITION: Duration = Duration::from_secs(15 * 60);

impl Progress {
    /// PauseDurableExecution.
    pub fn pause(
        &mut self,
        client_token: Option<String>,
        reason: Option<String>,
        timeout_paused: bool,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        if self.is_repetition(client_token.as_deref(), true, now) {
            return Ok(());
        }
        if self.execution.status != ExecutionStatus::Running {
            return Err(Refusal::Conflict(format!(
                "The durable execution cannot be paused in status {}.",
                self.execution.status.name()
            )));
        }
        self.remember_pause_request(client_token, true, now);
        self.execution.pause = Some(Pause {
            requested_at: now,
            reason,
            timeout_paused,
            deadline_before: self.execution.deadline,
        });
        if timeout_paused {
            self.execution.deadline = self.last_moment();
        }
        self.execution.status = ExecutionStatus::Pausing;
        self.paused_without_invocation(now);
        Ok(())
    }

    /// ResumeDurableExecution.
    pub fn resume(
        &mut self,
        client_token: Option<String>,
        reason: Option<String>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        if self.is_repetition(client_token.as_deref(), false, now) {
            return Ok(());
        }
        let was = self.execution.status;
        let (true, Some(pause)) =
            (matches!(was, ExecutionStatus::Paused | ExecutionStatus::Pausing), self.execution.pause.take())
        else {
            return Err(Refusal::Conflict(format!(
                "The durable execution cannot be resumed in status {}.",
                was.name()
            )));
        };
        self.remember_pause_request(client_token, false, now);
        if pause.timeout_paused {
            let paused = Duration::from_millis(u64::try_from(now.0 - pause.requested_at.0).unwrap_or(0));
            self.execution.deadline = pause.deadline_before.plus(paused).min(self.last_moment());
        }
        self.execution.status = ExecutionStatus::Running;
        if was == ExecutionStatus::Paused {
            let mut details = json!({ "ResumeRequestTimestamp": shape::seconds(now) });
            if reason.is_some() {
                details["Reason"] = history::payload(reason.as_deref());
            }
            self.record("ExecutionResumed", execution_reference(&self.execution), details, now);
        }
        Ok(())
    }

    /// The latest moment an execution with a paused timeout may reach.
    fn last_moment(&self) -> Timestamp {
        self.execution.started_at.plus(Duration::from_secs(u64::from(LONGEST_SECONDS)))
    }

    fn is_repetition(&self, client_token: Option<&str>, pauses: bool, now: Timestamp) -> bool {
        self.execution.last_pause_request.as_ref().is_some_and(|last| {
            Some(last.client_token.as_str()) == client_token
                && last.pauses == pauses
                && now <= last.at.plus(REPETITION)
        })
    }

    fn remember_pause_request(&mut self, client_token: Option<String>, pauses: bool, now: Timestamp) {
        self.execution.last_pause_request =
            client_token.map(|client_token| LastPauseRequest { client_token, pauses, at: now });
    }

    /// A pause that waits for the invocation is there when nothing runs.
    pub(super) fn paused_without_invocation(&mut self, now: Timestamp) {
        if self.execution.invocation.is_none() && self.execution.status == ExecutionStatus::Pausing {
            self.paused(now);
        }
    }

    /// The pause is there.
    pub(super) fn paused(&mut self, now: Timestamp) {
        self.execution.status = ExecutionStatus::Paused;
        let Some(pause) = &self.execution.pause else { return };
        let mut details = json!({
            "PauseRequestTimestamp": shape::seconds(pause.requested_at),
            "ExecutionTimeoutPaused": pause.timeout_paused,
        });
        if pause.reason.is_some() {
            details["Reason"] = history::payload(pause.reason.as_deref());
        }
        self.record("ExecutionPaused", execution_reference(&self.execution), details, now);
    }
}
