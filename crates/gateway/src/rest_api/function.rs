//! Calling the function behind a method or an authorizer: may it be called, and what did it answer.

use super::known::Found;
use crate::state::Gateway;
use bytes::Bytes;
use lamplight_invoke::InvokeRequest;
use lamplight_model::http_api::FunctionTarget;
use lamplight_model::limits::SYNC_PAYLOAD_BYTES;
use lamplight_model::rest_api::IntegrationTarget;
use lamplight_model::{ErrorCode, RequestId, Scope, ServiceError};
use std::collections::BTreeMap;
use std::time::Duration;

/// One call.
#[derive(Debug)]
pub struct Call<'a> {
    /// The function, in the form of integrations.
    pub uri: &'a str,
    /// Role that calls it; without one, the function's policy counts.
    pub credentials: Option<&'a str>,
    /// Variables of the stage.
    pub stage_variables: &'a BTreeMap<String, String>,
    /// The ARN of the method or authorizer that calls.
    pub source: &'a str,
    /// The event.
    pub payload: Bytes,
    /// Its id.
    pub request_id: RequestId,
    /// `X-Amzn-Trace-Id`.
    pub trace_header: &'a str,
    /// How long the answer may take.
    pub timeout: Duration,
}

/// What came of a call.
#[derive(Debug)]
pub enum Called {
    /// The function answered.
    Answer(Bytes),
    /// The function failed; its error document.
    Failed(Bytes),
    /// It took too long. It runs on.
    TimedOut,
    /// Too many calls at once.
    Throttled,
    /// The event is too long.
    TooLarge,
    /// It cannot be called: no function, no permission, or it was lost. Why is in the log.
    Unavailable,
}

/// Calls a function, and waits for its whole answer.
pub async fn call(gateway: &Gateway, api: &Found, call: Call<'_>) -> Called {
    let request_id = call.request_id;
    let unavailable = |why: &str| {
        tracing::warn!(%request_id, api = api.id, source = call.source, why, "a REST API cannot call its function");
        Called::Unavailable
    };
    let target = IntegrationTarget::parse(call.uri).and_then(|target| target.resolve(call.stage_variables));
    let Some(function) = target else { return unavailable("the integration names no function") };
    let scope = Scope {
        account: function.account.unwrap_or_else(|| api.scope.account.clone()),
        region: function.region.unwrap_or_else(|| api.scope.region.clone()),
    };
    let function = FunctionTarget { scope, name: function.name, qualifier: function.qualifier };
    let may = match call.credentials {
        // Roles are trusted as they are for functions: what runs as one may invoke.
        Some(role) => Ok(role.starts_with(&format!("arn:aws:iam::{}:role/", api.scope.account.as_str()))),
        None => gateway.permissions.may_call(&*gateway.parts.store, &function, call.source).await,
    };
    match may {
        Ok(true) => {}
        Ok(false) => return unavailable("the function's policy does not let API Gateway call it"),
        Err(error) => {
            tracing::error!(%request_id, error = &error as &dyn std::error::Error, "failed to read a policy");
            return Called::Unavailable;
        }
    }
    if call.payload.len() > SYNC_PAYLOAD_BYTES {
        return Called::TooLarge;
    }
    let mut request =
        InvokeRequest::new(function.scope, function.name, function.qualifier, request_id, call.payload);
    request.trace_header = Some(call.trace_header.to_owned());
    let invoker = &gateway.parts.invoker;
    let calling = async {
        let version = invoker.resolve(&request.scope, &request.name, request.qualifier.as_ref()).await?;
        // Its execution needs a name and an end that outlives the request.
        if version.durable.is_some() {
            return Err(ServiceError::internal("A durable function cannot be called through a REST API."));
        }
        let running = invoker.invoke_version(request, version).await?;
        running.answer.collect(SYNC_PAYLOAD_BYTES).await
    };
    // The run is another's when this gives up: it goes on, as on AWS.
    match tokio::time::timeout(call.timeout, calling).await {
        Err(_) => Called::TimedOut,
        Ok(Ok(collected)) if collected.outcome.is_function_error() => Called::Failed(collected.body),
        Ok(Ok(collected)) => Called::Answer(collected.body),
        Ok(Err(error)) if error.code == ErrorCode::TooManyRequestsException => Called::Throttled,
        Ok(Err(error)) => {
            tracing::warn!(%request_id, api = api.id, %error, "a REST API cannot call its function");
            Called::Unavailable
        }
    }
}
