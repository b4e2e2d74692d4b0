//! The Extensions API, version 2020-01-01, over the same listener as the Runtime API.
//!
//! | request | what for |
//! |---|---|
//! | `POST register` | an identifier, for the events named in the body |
//! | `GET event/next` | waits for the next event; asking says that the last one is done |
//! | `POST init/error`, `POST exit/error` | the extension cannot go on, and with it the instance |
//!
//! Source: AWS Lambda developer guide, "Lambda Extensions API"; statuses, error types and texts as AWS's emulator.

use super::exchange::Exchange;
use super::service::{Body, Uncollected, accepted, collect, hung_up, json, refuse, text_header};
use crate::extensions::{ExtensionEvent, FailurePhase, Refusal};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use uuid::Uuid;

/// What the path of every request begins with.
pub const PREFIX: &str = "/2020-01-01/extension/";
const IDENTIFIER: HeaderName = HeaderName::from_static("lambda-extension-identifier");
const EVENT_IDENTIFIER: HeaderName = HeaderName::from_static("lambda-extension-event-identifier");
const ERROR_TYPE: &str = "Lambda-Extension-Function-Error-Type";
/// Largest body of a request, bytes: a list of events, or an error document.
const REQUEST_BYTES: usize = 256 * 1024;

/// What an extension is told of the function it belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AboutFunction {
    /// Plain name.
    pub name: String,
    /// `$LATEST` or a number.
    pub version: String,
    /// As configured.
    pub handler: String,
    /// Told to who accepts the feature `accountId`.
    pub account_id: String,
    /// Whether it has SnapStart, so that its runtime may wait to be restored.
    pub snap_start: bool,
    /// Events its instance may be given at once; 0 means one, too.
    pub concurrency: usize,
}

#[derive(Deserialize)]
struct Registration {
    #[serde(default)]
    events: Vec<String>,
    #[serde(default, rename = "configurationKeys")]
    configuration_keys: Vec<serde_json::Value>,
}

/// Answers a request whose path is [`PREFIX`] and `route`.
pub async fn answer(
    exchange: &Arc<Exchange>,
    line: &OwnedFd,
    route: &str,
    request: Request<Incoming>,
) -> Response<Body> {
    match (request.method().clone(), route) {
        (Method::POST, "register") => register(exchange, request).await,
        (Method::GET, "event/next") => next(exchange, line, request.headers()).await,
        (Method::POST, "init/error") => failed(exchange, FailurePhase::Init, request).await,
        (Method::POST, "exit/error") => failed(exchange, FailurePhase::Exit, request).await,
        (_, "register" | "event/next" | "init/error" | "exit/error") => {
            refuse(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "Method not allowed")
        }
        _ => refuse(StatusCode::NOT_FOUND, "NotFound", "404 page not found"),
    }
}

async fn register(exchange: &Arc<Exchange>, request: Request<Incoming>) -> Response<Body> {
    let name = text_header(request.headers(), "Lambda-Extension-Name").unwrap_or_default();
    let features = text_header(request.headers(), "Lambda-Extension-Accept-Feature").unwrap_or_default();
    let malformed = |message: &str| refuse(StatusCode::FORBIDDEN, "InvalidRequestFormat", message);
    let body = match collect(request.into_body(), REQUEST_BYTES).await {
        Ok(body) => body,
        Err(Uncollected::TooLarge) => return malformed("the request is too large"),
        Err(Uncollected::Broken) => return malformed("the request was truncated"),
    };
    if name.is_empty() {
        return forbidden(&Refusal::EmptyName);
    }
    let registration = match serde_json::from_slice::<Registration>(&body) {
        Ok(registration) if registration.configuration_keys.is_empty() => registration,
        Ok(_) => return malformed("configurationKeys are not supported"),
        Err(error) => return malformed(&error.to_string()),
    };
    let id = Uuid::new_v4();
    if let Err(refusal) = exchange.register_extension(id, &name, &registration.events) {
        return forbidden(&refusal);
    }
    let about = &exchange.surroundings.about;
    let mut told = serde_json::json!({
        "functionName": about.name, "functionVersion": about.version, "handler": about.handler,
    });
    if features.split(',').any(|feature| feature.trim() == "accountId") {
        told["accountId"] = about.account_id.as_str().into();
    }
    with_id(json(StatusCode::OK, told.to_string()), IDENTIFIER, id)
}

async fn next(exchange: &Arc<Exchange>, line: &OwnedFd, headers: &HeaderMap) -> Response<Body> {
    let id = match identifier(headers) {
        Ok(id) => id,
        Err(refusal) => return forbidden(&refusal),
    };
    let event = match exchange.take_for_extension(id).await {
        Ok(event) => event,
        Err(refusal) => return forbidden(&refusal),
    };
    if hung_up(line) {
        exchange.put_back_for_extension(id, event);
        return refuse(StatusCode::GONE, "ClientGone", "the client has hung up");
    }
    let told = match event {
        ExtensionEvent::Invoke(event) => serde_json::json!({
            "eventType": "INVOKE",
            "deadlineMs": event.deadline_ms,
            "requestId": event.request_id.to_string(),
            "invokedFunctionArn": event.invoked_arn,
            "tracing": { "type": "X-Amzn-Trace-Id", "value": event.trace_header.as_deref().unwrap_or_default() },
        }),
        ExtensionEvent::Shutdown { deadline_ms, reason } => serde_json::json!({
            "eventType": "SHUTDOWN",
            "deadlineMs": deadline_ms,
            "shutdownReason": reason.as_str(),
        }),
    };
    with_id(json(StatusCode::OK, told.to_string()), EVENT_IDENTIFIER, Uuid::new_v4())
}

async fn failed(exchange: &Arc<Exchange>, phase: FailurePhase, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    // What it says beyond the type is for its own log; reading it lets the client read our answer.
    let _ = collect(body, REQUEST_BYTES).await;
    let id = match identifier(&parts.headers) {
        Ok(id) => id,
        Err(refusal) => return forbidden(&refusal),
    };
    let Some(error_type) = text_header(&parts.headers, ERROR_TYPE).filter(|text| !text.is_empty()) else {
        let message = format!("{ERROR_TYPE} not found");
        return refuse(StatusCode::FORBIDDEN, "Extension.MissingHeader", &message);
    };
    match exchange.fail_extension(id, phase, &error_type) {
        Ok(()) => accepted(),
        Err(refusal) => forbidden(&refusal),
    }
}

/// Who asks.
pub fn identifier(headers: &HeaderMap) -> Result<Uuid, Refusal> {
    let text = text_header(headers, IDENTIFIER.as_str()).filter(|text| !text.is_empty());
    Uuid::try_parse(&text.ok_or(Refusal::MissingIdentifier)?).map_err(|_| Refusal::InvalidIdentifier)
}

/// A refusal, as all of this API.
pub fn forbidden(refusal: &Refusal) -> Response<Body> {
    refuse(StatusCode::FORBIDDEN, refusal.error_type(), &refusal.to_string())
}

fn with_id(mut response: Response<Body>, name: HeaderName, id: Uuid) -> Response<Body> {
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(name, value);
    }
    response
}
