//! One invocation beside others on the same instance: its own deadline, its own report, and nobody else's end.
//!
//! Source: AWS Lambda developer guide, "Lambda Managed Instances": several events at once in one environment, which lives on
//! when one of them times out.

use super::{AnswerSender, Cold, Conversed, Measured, Run, end_of, lost_outcome, run_instance};
use crate::answer::Finished;
use crate::documents;
use crate::instance::Instance;
use crate::slots::{Slot, SlotEnd};
use crate::start::{LAST_WORDS, exit_behind};
use lamplight_model::limits::SYNC_PAYLOAD_BYTES;
use lamplight_model::{RunStage, ServiceError, StartKind};
use lamplight_runtime::{AnswerLimits, AnswerSink, Calls, ConversationError};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, warn};

impl Run {
    /// Runs in a slot of an instance; otherwise as `on_instance`.
    pub async fn in_slot(
        self,
        slot: Slot,
        cold: Option<Cold>,
        begun: Instant,
        announce: bool,
        sender: AnswerSender,
    ) {
        let Some((instance, calls)) = slot.instance().and_then(|instance| {
            let calls = instance.body.conversation.calls()?;
            Some((instance, calls))
        }) else {
            // The front door lets no function have slots whose runtime takes one event after the other.
            let _ = sender.ended.send(Err(ServiceError::internal("The runtime takes one event at a time")));
            return;
        };
        let limit = self.invocation.version.timeout();
        let deadline = begun + limit;
        self.invocation.place.tell(RunStage::Running(run_instance(&instance.id, &instance.journal)));
        if announce {
            instance.body.output.drain();
            instance.journal.start(self.subject(), self.invocation.log_tail);
        }
        let AnswerSender { body, content_type, ended: ended_sender, finished } = sender;
        let sink = AnswerSink { body, content_type };
        let (outcome, end, billable) = match self.converse_beside(instance, &calls, sink, deadline).await {
            Conversed::Replied(reply) => {
                let end = end_of(reply);
                let outcome = end.outcome.clone();
                let _ = ended_sender.send(Ok(end));
                if instance.journal.tells_steps() {
                    self.runtime_done(&instance.journal, &outcome, begun.elapsed().min(limit));
                }
                (outcome, self.until_free(instance, &calls, deadline).await, true)
            }
            Conversed::Ended(ending) => {
                instance.body.output.drain();
                self.note(&instance.journal, &ending);
                self.runtime_done(&instance.journal, &ending.outcome, begun.elapsed().min(limit));
                let outcome = ending.outcome.clone();
                let _ = ended_sender.send(Ok(ending.into()));
                let broken = instance.body.has_ended();
                (outcome, if broken { SlotEnd::Broken } else { SlotEnd::Lost }, true)
            }
            Conversed::Lost(error) => {
                let _ = ended_sender.send(Err(error));
                (lost_outcome(), SlotEnd::Broken, false)
            }
        };
        let duration = begun.elapsed().min(limit);
        instance.body.output.drain();
        let memory_peak_bytes = instance.body.sandbox.memory_peak_bytes().unwrap_or_else(|error| {
            debug!(instance_id = %instance.id, %error, "failed to measure an instance");
            0
        });
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
        let log_tail = instance.journal.report(&report, self.tenant(), None);
        slot.finish(end);
        let _ = finished.send(Finished { report, log_tail });
    }

    async fn converse_beside(
        &self,
        instance: &Instance,
        calls: &Calls,
        sink: AnswerSink,
        deadline: Instant,
    ) -> Conversed {
        let limits = AnswerLimits { buffered_bytes: SYNC_PAYLOAD_BYTES, stream: self.pool.config.stream };
        let invoke = calls.invoke(self.event(deadline), sink, limits);
        tokio::pin!(invoke);
        let sandbox = &*instance.body.sandbox;
        let reply = tokio::select! {
            biased;
            reply = &mut invoke => reply,
            exit = sandbox.exited() => {
                // An answer written just before the end counts.
                match timeout(LAST_WORDS, &mut invoke).await {
                    Ok(Ok(reply)) => Ok(reply),
                    _ => return self.exited(exit),
                }
            }
            end = instance.body.external.first_end() => {
                return Conversed::Ended(documents::extension_ended(self.invocation.request_id, &end));
            }
            () = sleep_until(deadline) => {
                let limit = self.invocation.version.timeout();
                return Conversed::Ended(documents::timed_out(self.invocation.request_id, limit));
            }
            () = self.pool.abort.cancelled() => {
                return Conversed::Lost(ServiceError::internal("The server is stopping"));
            }
        };
        match reply {
            Ok(reply) => Conversed::Replied(reply),
            Err(ConversationError::Extension(failure)) => {
                let end = instance.body.external.end_behind(&failure).await;
                Conversed::Ended(documents::extension_ended(self.invocation.request_id, &end))
            }
            Err(error) => match exit_behind(&error, sandbox).await {
                Some(exit) => self.exited(exit),
                None => {
                    warn!(function = %self.invocation.version.name, %error, "a runtime broke off");
                    Conversed::Ended(documents::protocol_broken(self.invocation.request_id))
                }
            },
        }
    }

    /// Waits until the runtime has asked for another event in the place of this one.
    async fn until_free(&self, instance: &Instance, calls: &Calls, deadline: Instant) -> SlotEnd {
        tokio::select! {
            biased;
            free = calls.free() => if free.is_ok() { SlotEnd::Free } else { SlotEnd::Broken },
            _ = instance.body.sandbox.exited() => SlotEnd::Broken,
            () = sleep_until(deadline) => SlotEnd::Lost,
            () = self.pool.abort.cancelled() => SlotEnd::Broken,
        }
    }
}
