//! Invoke: RequestResponse, Event and DryRun. InvokeAsync. What a call whose answer is streamed shares with them.
//!
//! Source: Lambda API reference, "Invoke" and "InvokeAsync"; header names and texts as recorded.

use crate::http::body::{self, BodyError};
use crate::http::{ApiError, Context, Response, reply};
use crate::lambda::durable;
use crate::lambda::reference::Target;
use crate::lambda::unreadable_body;
use crate::lambda::validation::Violations;
use crate::state::ApiState;
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use lamplight_invoke::resolve::check_call;
use lamplight_invoke::{InvokeRequest, Running, trace};
use lamplight_model::{ErrorCode, FunctionVersion, ServiceError, TenantId, VersionNumber, limits};
use serde::de::IgnoredAny;

// Made once: a name given as text is parsed again at each use.
const TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");
const EXECUTED_VERSION: HeaderName = HeaderName::from_static("x-amz-executed-version");
const INVOCATION_TYPE: HeaderName = HeaderName::from_static("x-amz-invocation-type");
const LOG_TYPE: HeaderName = HeaderName::from_static("x-amz-log-type");
const CLIENT_CONTEXT: HeaderName = HeaderName::from_static("x-amz-client-context");
const TENANT_ID: HeaderName = HeaderName::from_static("x-amz-tenant-id");

/// How a function is to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvocationType {
    /// The caller waits for the answer.
    RequestResponse,
    /// The event is queued.
    Event,
    /// Nothing is run.
    DryRun,
}

impl InvocationType {
    fn name(self) -> &'static str {
        match self {
            Self::RequestResponse => "RequestResponse",
            Self::Event => "Event",
            Self::DryRun => "DryRun",
        }
    }

    fn payload_limit(self) -> usize {
        match self {
            Self::Event => limits::ASYNC_PAYLOAD_BYTES,
            Self::RequestResponse | Self::DryRun => limits::SYNC_PAYLOAD_BYTES,
        }
    }
}

/// Invoke.
pub async fn invoke(
    state: &ApiState,
    context: &Context,
    label: &str,
    body: Body,
) -> Result<Response, ApiError> {
    let types = ["Event", "RequestResponse", "DryRun"];
    let (invocation_type, request) = request(state, context, label, body, &types).await?;
    let version = state.invoker.resolve(&request.scope, &request.name, request.qualifier.as_ref()).await?;
    if let Some(response) =
        durable::invoke::invoke(state, context, invocation_type, &request, &version).await?
    {
        return Ok(response);
    }
    match invocation_type {
        InvocationType::RequestResponse => {
            let (log_tail, trace_header) = (request.log_tail, request.trace_header.clone());
            let running = state.invoker.invoke_version(request, version).await?;
            let mut response = answer(running, log_tail).await?;
            set_trace_header(&mut response, trace_header.as_deref());
            Ok(response)
        }
        InvocationType::Event => {
            state.invoker.enqueue_version(request, &version).await?;
            Ok(reply::empty(StatusCode::ACCEPTED))
        }
        InvocationType::DryRun => dry_run(&request, &version),
    }
}

/// Whether a request may call the version it means: 204 without a body.
pub fn dry_run(request: &InvokeRequest, version: &FunctionVersion) -> Result<Response, ApiError> {
    check_call(version, request)?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// InvokeAsync, the operation before `Event`: no client context.
pub async fn invoke_async(
    state: &ApiState,
    context: &Context,
    label: &str,
    body: Body,
) -> Result<Response, ApiError> {
    let target = match Target::from_path(context, label) {
        Ok(target) => target,
        Err(error) => {
            body::discard(body).await;
            return Err(error);
        }
    };
    let payload = read_payload(body, InvocationType::Event, limits::INVOKE_ASYNC_PAYLOAD_BYTES).await?;
    check_json(&payload)?;
    let mut request =
        InvokeRequest::new(target.scope, target.name, target.qualifier, context.request_id, payload);
    // A loop that goes this way is counted, too.
    request.trace_header = context.header(TRACE_ID).map(str::to_owned);
    let version = state.invoker.resolve(&request.scope, &request.name, request.qualifier.as_ref()).await?;
    durable::invoke::refuse(&version, "InvokeAsync")?;
    state.invoker.enqueue_version(request, &version).await?;
    Ok(reply::json(StatusCode::ACCEPTED, &serde_json::json!({ "Status": StatusCode::ACCEPTED.as_u16() })))
}

/// Reads and checks a whole request; `types` are the invocation types of its operation, as AWS lists them.
pub async fn request(
    state: &ApiState,
    context: &Context,
    label: &str,
    body: Body,
    types: &[&str],
) -> Result<(InvocationType, InvokeRequest), ApiError> {
    let Head { target, invocation_type, client_context, tenant_id, log_tail } =
        match head(context, label, types) {
            Ok(head) => head,
            Err(error) => {
                body::discard(body).await;
                return Err(error);
            }
        };
    let payload = read_payload(body, invocation_type, invocation_type.payload_limit()).await?;
    check_json(&payload)?;
    let trace_header = context.header(TRACE_ID).map_or_else(|| trace::new_header(state.now()), str::to_owned);
    let mut request =
        InvokeRequest::new(target.scope, target.name, target.qualifier, context.request_id, payload);
    request.client_context = client_context;
    request.trace_header = Some(trace_header);
    request.tenant_id = tenant_id;
    request.log_tail = log_tail;
    Ok((invocation_type, request))
}

/// What of a request can be known before its payload is read.
struct Head {
    target: Target,
    invocation_type: InvocationType,
    client_context: Option<String>,
    tenant_id: Option<TenantId>,
    log_tail: bool,
}

/// Everything that can be checked before the payload is read.
fn head(context: &Context, label: &str, types: &[&str]) -> Result<Head, ApiError> {
    let target = Target::from_path(context, label)?;
    let mut violations = Violations::default();
    let named = context.header(INVOCATION_TYPE).unwrap_or("RequestResponse");
    violations.one_of(named, "invocationType", types);
    let invocation_type = match named {
        "Event" => InvocationType::Event,
        "DryRun" => InvocationType::DryRun,
        _ => InvocationType::RequestResponse,
    };
    let log_type = context.header(LOG_TYPE).unwrap_or("None");
    violations.one_of(log_type, "logType", &["None", "Tail"]);
    let tenant_id = tenant_id(context, &mut violations);
    if let Some(name) = context.header(durable::invoke::NAME) {
        durable::invoke::note_name(name, &mut violations);
    }
    violations.finish()?;
    let client_context = context.headers.get(CLIENT_CONTEXT).map(|value| decode(value.as_bytes()));
    let client_context = client_context.transpose()?;
    Ok(Head { target, invocation_type, client_context, tenant_id, log_tail: log_type == "Tail" })
}

/// `X-Amz-Tenant-Id`.
fn tenant_id(context: &Context, violations: &mut Violations) -> Option<TenantId> {
    let given = context.headers.get(TENANT_ID)?;
    let text = String::from_utf8_lossy(given.as_bytes());
    violations.length(&text, "tenantId", TenantId::MOST_CHARACTERS);
    violations.pattern(&text, "tenantId", TenantId::fits_pattern(&text), TenantId::PATTERN);
    TenantId::parse(&text)
}

/// The client context: at most 3,583 bytes of base64 of a JSON object.
fn decode(header: &[u8]) -> Result<String, ApiError> {
    let invalid = || {
        ApiError::from(ServiceError::new(
            ErrorCode::InvalidRequestContentException,
            "Client context must be a valid Base64-encoded JSON object.",
        ))
    };
    if header.len() > limits::CLIENT_CONTEXT_BYTES {
        return Err(ApiError::from(ServiceError::new(
            ErrorCode::InvalidRequestContentException,
            format!("Client context must be at most {} bytes of Base64.", limits::CLIENT_CONTEXT_BYTES),
        )));
    }
    let text = STANDARD.decode(header).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let text = text.ok_or_else(invalid)?;
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text).map_err(|_| invalid())?;
    Ok(text)
}

async fn read_payload(body: Body, invocation_type: InvocationType, limit: usize) -> Result<Bytes, ApiError> {
    body::read(body, limit).await.map_err(|error| match error {
        // The service answers this code, although the model names RequestTooLargeException for it.
        BodyError::TooLarge { bytes } => ApiError::entity_too_large(format!(
            "{bytes} byte payload is too large for the {} invocation type (limit {limit} bytes)",
            invocation_type.name()
        )),
        unreadable => unreadable_body(&unreadable),
    })
}

/// Fails with `InvalidRequestContentException` for what is not JSON. Nothing at all is legal.
fn check_json(payload: &[u8]) -> Result<(), ApiError> {
    if payload.is_empty() {
        return Ok(());
    }
    let detail = match std::str::from_utf8(payload) {
        Ok(text) => match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => return Ok(()),
            Err(error) => error.to_string(),
        },
        Err(error) => format!("Invalid UTF-8 at byte {}", error.valid_up_to()),
    };
    Err(ServiceError::new(
        ErrorCode::InvalidRequestContentException,
        format!("Could not parse request body into json: Could not parse payload into json: {detail}"),
    )
    .into())
}

/// The answer of a run: 200 whatever the function did, with what it did in the headers.
async fn answer(running: Running, log_tail: bool) -> Result<Response, ApiError> {
    let lost = || ServiceError::internal("The invocation was lost with its instance.");
    let Running { executed_version, answer } = running;
    let mut collected = answer.collect(limits::SYNC_PAYLOAD_BYTES).await?;
    let body = std::mem::take(&mut collected.body);
    let mut response = reply::with_body(StatusCode::OK, "application/json", body);
    set_executed_version(&mut response, executed_version);
    if collected.outcome.is_function_error() {
        set(&mut response, HeaderName::from_static("x-amz-function-error"), "Unhandled");
    }
    if log_tail {
        // The REPORT line belongs to the tail, so this waits until the instance is free again.
        let finished = collected.finished().await.ok_or_else(lost)?;
        set(
            &mut response,
            HeaderName::from_static("x-amz-log-result"),
            &STANDARD.encode(finished.log_tail.unwrap_or_default()),
        );
    }
    Ok(response)
}

/// `X-Amz-Executed-Version`.
pub fn set_executed_version(response: &mut Response, version: VersionNumber) {
    let value = match version {
        VersionNumber::Latest => HeaderValue::from_static("$LATEST"),
        VersionNumber::Published(number) => HeaderValue::from(number),
    };
    response.headers_mut().insert(EXECUTED_VERSION, value);
}

/// `X-Amzn-Trace-Id`.
pub fn set_trace_header(response: &mut Response, trace_header: Option<&str>) {
    if let Some(trace_header) = trace_header {
        set(response, TRACE_ID, trace_header);
    }
}

fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads() {
        for legal in ["", "{}", "null", " [1, \"ü\"] ", "1e5", &("[".repeat(10_000) + &"]".repeat(10_000))] {
            assert!(check_json(legal.as_bytes()).is_ok(), "{legal}");
        }
        for illegal in [b"{".as_slice(), b"abc", b"{} {}", b"\"\xff\"", b"'a'"] {
            let error = check_json(illegal).unwrap_err();
            assert_eq!(error.code, "InvalidRequestContentException");
            assert!(
                error.message.starts_with(
                    "Could not parse request body into json: Could not parse payload into json: "
                ),
                "{error}"
            );
        }
    }

    #[test]
    fn client_contexts() {
        assert_eq!(decode(STANDARD.encode("{\"a\":1}").as_bytes()).unwrap(), "{\"a\":1}");
        for wrong in ["nonsense!", &STANDARD.encode("[1]"), &STANDARD.encode("{"), &"A".repeat(3_584)] {
            assert_eq!(decode(wrong.as_bytes()).unwrap_err().code, "InvalidRequestContentException");
        }
    }
}
