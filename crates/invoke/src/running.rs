//! The calls that run on this node now, by request id: for whoever asks where one is.

use lamplight_model::{FunctionName, Invocation, RequestId, Scope, Timestamp, VersionNumber};
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
}

type Calls = Arc<Mutex<HashMap<RequestId, RunningCall>>>;

/// All of them. There are as many as places in the concurrency.
#[derive(Debug, Default)]
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
        };
        lock(&self.0).insert(invocation.request_id, call);
        RunningEntry { calls: Arc::clone(&self.0), request_id: invocation.request_id, event_accepted_at }
    }

    /// The call with this id, if it runs here.
    pub fn find(&self, scope: &Scope, request_id: RequestId) -> Option<RunningCall> {
        lock(&self.0).get(&request_id).filter(|call| call.scope == *scope).cloned()
    }
}

/// A call is running as long as this is there.
#[derive(Debug)]
pub(crate) struct RunningEntry {
    calls: Calls,
    request_id: RequestId,
    event_accepted_at: Option<Timestamp>,
}

impl RunningEntry {
    /// When the event was accepted; `None` where somebody waits for the answer.
    pub fn event_accepted_at(&self) -> Option<Timestamp> {
        self.event_accepted_at
    }
}

impl Drop for RunningEntry {
    fn drop(&mut self) {
        lock(&self.calls).remove(&self.request_id);
    }
}

fn lock(calls: &Mutex<HashMap<RequestId, RunningCall>>) -> MutexGuard<'_, HashMap<RequestId, RunningCall>> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}
