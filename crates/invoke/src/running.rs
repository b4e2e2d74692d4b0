//! The calls that run on this node now, by request id: for whoever asks where one is.

use lamplight_model::{
    FunctionName, Invocation, RequestId, RunPlace, RunStage, Scope, Timestamp, VersionNumber,
};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A call that was admitted and whose instance is not free again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningCall {
    /// Where the function lives.
    pub scope: Scope,
    /// The function.
    pub function: FunctionName,
    /// The version that runs.
    pub version: VersionNumber,
    /// When it was admitted.
    pub since: Timestamp,
    /// When the event was accepted; `None` where somebody waits for the answer.
    pub event_accepted_at: Option<Timestamp>,
    /// How far it has come, and on which instance.
    pub stage: RunStage,
}

struct Entered {
    call: RunningCall,
    place: RunPlace,
}

impl Entered {
    /// The call as it stands now.
    fn now(&self) -> RunningCall {
        RunningCall { stage: self.place.stage(), ..self.call.clone() }
    }
}

type Calls = Arc<Mutex<HashMap<RequestId, Entered>>>;

/// All of them. There are as many as places in the concurrency.
#[derive(Default)]
pub(crate) struct RunningCalls(Calls);

impl RunningCalls {
    /// Notes a call until the entry is dropped.
    pub fn enter(&self, invocation: &Invocation, event_accepted_at: Option<Timestamp>) -> RunningEntry {
        let call = RunningCall {
            scope: invocation.version.scope.clone(),
            function: invocation.version.name.clone(),
            version: invocation.version.version,
            since: invocation.arrived_at,
            event_accepted_at,
            stage: RunStage::Queued,
        };
        let place = invocation.place.clone();
        lock(&self.0).insert(invocation.request_id, Entered { call, place: place.clone() });
        RunningEntry {
            calls: Arc::clone(&self.0),
            request_id: invocation.request_id,
            event_accepted_at,
            place,
        }
    }

    /// The call with this id, if it runs here.
    pub fn find(&self, scope: &Scope, request_id: RequestId) -> Option<RunningCall> {
        let calls = lock(&self.0);
        let entered = calls.get(&request_id).filter(|entered| entered.call.scope == *scope)?;
        Some(entered.now())
    }

    /// Those of a scope, and of one function if it is named; whatever began first comes first.
    pub fn all(&self, scope: &Scope, function: Option<&FunctionName>) -> Vec<(RequestId, RunningCall)> {
        let calls = lock(&self.0);
        let wanted = |call: &RunningCall| {
            call.scope == *scope && function.is_none_or(|function| call.function == *function)
        };
        let found = calls.iter().filter(|(_, entered)| wanted(&entered.call));
        let mut found: Vec<_> = found.map(|(request_id, entered)| (*request_id, entered.now())).collect();
        drop(calls);
        found.sort_by_key(|(request_id, call)| (call.since, *request_id));
        found
    }
}

/// A call is running as long as this is there.
pub(crate) struct RunningEntry {
    calls: Calls,
    request_id: RequestId,
    event_accepted_at: Option<Timestamp>,
    place: RunPlace,
}

impl RunningEntry {
    /// When the event was accepted; `None` where somebody waits for the answer.
    pub fn event_accepted_at(&self) -> Option<Timestamp> {
        self.event_accepted_at
    }
}

impl Drop for RunningEntry {
    fn drop(&mut self) {
        let mut calls = lock(&self.calls);
        // An event whose lease was lost may run a second time: the end of the first run does not end that one.
        if calls.get(&self.request_id).is_some_and(|entered| entered.place.is(&self.place)) {
            calls.remove(&self.request_id);
        }
    }
}

fn lock(calls: &Mutex<HashMap<RequestId, Entered>>) -> MutexGuard<'_, HashMap<RequestId, Entered>> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}
