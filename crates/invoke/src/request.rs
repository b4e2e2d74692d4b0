//! What a front door hands to the funnel, and what it gets back.

use bytes::Bytes;
use lamplight_model::name::function_arn;
use lamplight_model::{FunctionName, Qualifier, RequestId, Scope, TenantId, Timestamp, VersionNumber};
use lamplight_pool::Answer;

/// One request to run a function. Parsed and authorised by the front door; not yet resolved.
#[derive(Debug, Clone)]
pub struct InvokeRequest {
    /// Where the function lives.
    pub scope: Scope,
    /// Its plain name.
    pub name: FunctionName,
    /// As the caller gave it; `None` runs `$LATEST` and keeps the invoked ARN unqualified.
    pub qualifier: Option<Qualifier>,
    /// The event. Empty means `{}`, as a request without a payload does on AWS.
    pub payload: Bytes,
    /// Decoded client context JSON.
    pub client_context: Option<String>,
    /// `X-Amzn-Trace-Id` to hand on.
    pub trace_header: Option<String>,
    /// `X-Amz-Tenant-Id`.
    pub tenant_id: Option<TenantId>,
    /// The id that is in the response header, the context object, the log lines and the ledger.
    pub request_id: RequestId,
    /// Whether the caller wants the last 4 KiB of log in `Finished::log_tail`.
    pub log_tail: bool,
    /// When the event was accepted that is being tried; `None` where somebody waits for the answer.
    pub event_accepted_at: Option<Timestamp>,
}

impl InvokeRequest {
    /// A request with nothing but a target and an event.
    pub fn new(
        scope: Scope,
        name: FunctionName,
        qualifier: Option<Qualifier>,
        request_id: RequestId,
        payload: Bytes,
    ) -> Self {
        Self {
            scope,
            name,
            qualifier,
            payload,
            client_context: None,
            trace_header: None,
            tenant_id: None,
            request_id,
            log_tail: false,
            event_accepted_at: None,
        }
    }

    /// The ARN as the caller invoked it: qualified only when the caller qualified it.
    pub fn invoked_arn(&self) -> String {
        function_arn(&self.scope, &self.name, self.qualifier.as_ref())
    }

    /// The event, `{}` when there is none.
    pub(crate) fn event(&self) -> Bytes {
        if self.payload.is_empty() { Bytes::from_static(b"{}") } else { self.payload.clone() }
    }
}

/// An invocation that was admitted and started.
#[derive(Debug)]
pub struct Running {
    /// The version that runs, for `X-Amz-Executed-Version`.
    pub executed_version: VersionNumber,
    /// The answer. Dropping it drops the answer, never the run.
    pub answer: Answer,
}
