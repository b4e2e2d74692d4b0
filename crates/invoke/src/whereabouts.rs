//! Where a request is now, whichever way it came: put together of the queue's rows, the ledger's records and the calls that run
//! on this node.

use crate::invoker::{Invoker, service_error};
use crate::running::RunningCall;
use lamplight_model::{FunctionName, InvocationReport, RequestId, RunStage, Scope, ServiceError, Timestamp};
use lamplight_store::{EventRecord, EventState, EventStory, StepKind};

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

/// How far a running request has come, as far as this node knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It runs on this node.
    Here(RunStage),
    /// A worker of this node has it, and no run of it is under way: it is about to begin.
    Claimed,
    /// A worker of this node has it, and its run is over: destinations are told, and how it ended is written down.
    Settling,
    /// A worker of another process has it.
    Elsewhere,
    /// The claim of whoever had it has ended without a word: the next worker that looks takes it.
    Abandoned,
}

impl Progress {
    /// As the interfaces write it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Here(RunStage::Queued) => "queued",
            Self::Here(RunStage::Starting(_)) => "starting",
            Self::Here(RunStage::Running(_)) => "running",
            Self::Claimed => "claimed",
            Self::Settling => "settling",
            Self::Elsewhere => "elsewhere",
            Self::Abandoned => "abandoned",
        }
    }
}

/// How far an event has come that is claimed. Pure: `call` is what runs of it here, `own` whether the claim is this node's, and
/// `has_run` whether a run that began under this claim is on record.
pub fn progress(
    call: Option<&RunningCall>,
    own: bool,
    has_run: bool,
    lease_until: Timestamp,
    now: Timestamp,
) -> Progress {
    match call {
        Some(call) => Progress::Here(call.stage.clone()),
        None if lease_until <= now => Progress::Abandoned,
        None if !own => Progress::Elsewhere,
        None if has_run => Progress::Settling,
        None => Progress::Claimed,
    }
}

impl Whereabouts {
    /// Where it is. The queue's word counts first: the record of an attempt does not end an event.
    pub fn place(&self) -> Place {
        if let Some(record) = &self.story.record {
            return match (&record.state, &self.running) {
                // It was claimed after the queue was asked.
                (EventState::Waiting { .. }, Some(_)) => Place::Running,
                (state, _) => Place::from(state),
            };
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

    /// The call of this request, while it runs on this node.
    pub fn running_call(&self, scope: &Scope, request_id: RequestId) -> Option<RunningCall> {
        self.running.find(scope, request_id)
    }

    /// What runs on this node, events and calls that somebody waits for; whatever began first comes first.
    pub fn running_calls(
        &self,
        scope: &Scope,
        function: Option<&FunctionName>,
    ) -> Vec<(RequestId, RunningCall)> {
        self.running.all(scope, function)
    }

    /// The name of this node.
    pub fn node(&self) -> &str {
        &self.config.asynchronous.node
    }

    /// How far an event has come that is claimed; `None` for any other. `call` is what runs of it here, `runs` are those of its
    /// runs that are over.
    pub fn progress(
        &self,
        record: &EventRecord,
        call: Option<&RunningCall>,
        runs: &[InvocationReport],
    ) -> Option<Progress> {
        let EventState::Running { owner, since, lease_until } = &record.state else { return None };
        let has_run = since.is_some_and(|since| runs.iter().any(|run| run.arrived_at >= since));
        Some(progress(call, *owner == self.owner, has_run, *lease_until, (self.clock)()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplight_model::{RunInstance, VersionNumber};

    #[test]
    fn how_far_a_claimed_event_has_come() {
        let instance = RunInstance { id: "i".into(), log_stream: "s".into(), since: Timestamp(5) };
        let call = |stage| RunningCall {
            scope: Scope::default(),
            function: FunctionName::parse("import").unwrap(),
            version: VersionNumber::Latest,
            since: Timestamp(1),
            event_accepted_at: Some(Timestamp(0)),
            stage,
        };
        let (lease_until, before, after) = (Timestamp(20), Timestamp(10), Timestamp(20));
        let starting = call(RunStage::Starting(instance));
        for (call, own, has_run, now, expected) in [
            (Some(&starting), true, false, before, "starting"),
            (Some(&call(RunStage::Queued)), true, false, before, "queued"),
            // Storage stood still for longer than a lease: it runs all the same.
            (Some(&starting), true, false, after, "starting"),
            (None, true, false, before, "claimed"),
            (None, true, true, before, "settling"),
            (None, false, false, before, "elsewhere"),
            (None, false, true, after, "abandoned"),
        ] {
            assert_eq!(progress(call, own, has_run, lease_until, now).word(), expected);
        }
    }
}
