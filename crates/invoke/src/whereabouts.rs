//! Where a request is now, whichever way it came: put together of the queue's rows, the ledger's records and the calls that run
//! on this node.

use crate::invoker::{Invoker, service_error};
use crate::running::RunningCall;
use lamplight_model::{InvocationReport, RequestId, Scope, ServiceError};
use lamplight_store::{EventState, EventStory, StepKind};

/// Everything known of one request. At least one part of it is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Whereabouts {
    /// What the queue knows: state, payload, steps.
    pub story: EventStory,
    /// The finished runs, oldest first.
    pub runs: Vec<InvocationReport>,
    /// The call, when it runs on this node.
    pub running: Option<RunningCall>,
}

/// The one word for where a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Accepted, and waiting for its first attempt or the next.
    Waiting,
    /// An instance works on it, or is being found for it.
    Running,
    /// It has ended; the runs and the report say how.
    Done,
    /// Given up.
    DeadLettered,
}

impl Place {
    /// As the interfaces write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::DeadLettered => "dead-lettered",
        }
    }
}

impl From<&EventState> for Place {
    fn from(state: &EventState) -> Self {
        match state {
            EventState::Waiting { .. } => Self::Waiting,
            EventState::Running { .. } => Self::Running,
            EventState::DeadLettered { .. } => Self::DeadLettered,
            EventState::Done { .. } => Self::Done,
        }
    }
}

impl Whereabouts {
    /// Where it is. The queue's word counts first: the record of an attempt does not end an event.
    pub fn place(&self) -> Place {
        if let Some(record) = &self.story.record {
            return Place::from(&record.state);
        }
        if self.running.is_some() {
            return Place::Running;
        }
        // The letter itself may be forgotten while its last step is not.
        match self.story.steps.last().map(|step| step.kind) {
            Some(StepKind::DeadLettered) => Place::DeadLettered,
            _ => Place::Done,
        }
    }

    /// Whether it was accepted as an event, as far as that is known: a run of which nothing else is left tells it, too.
    pub fn is_event(&self) -> bool {
        self.story.record.is_some()
            || !self.story.steps.is_empty()
            || self.runs.iter().any(|run| run.event_accepted_at.is_some())
            || self.running.as_ref().is_some_and(|call| call.event_accepted_at.is_some())
    }
}

impl Invoker {
    /// Where a request is; `None` when nobody knows its id, or not any more.
    ///
    /// Fails with `ServiceException` when storage cannot be read.
    pub async fn whereabouts(
        &self,
        scope: &Scope,
        request_id: RequestId,
    ) -> Result<Option<Whereabouts>, ServiceError> {
        let unread = |error| service_error("read where a request is", &error);
        // In the order in which a request moves: what ends while this looks is seen in the next place.
        let story = self.store.event_story(scope, request_id).await.map_err(unread)?;
        let running = self.running.find(scope, request_id);
        let runs = self.ledger.attempts(scope, request_id).await.map_err(unread)?;
        let found = Whereabouts { story, runs, running };
        let known = found.is_event() || found.running.is_some() || !found.runs.is_empty();
        Ok(known.then_some(found))
    }
}
