//! The requests of the Runtime API, one function each.

use super::exchange::{Exchange, Refusal};
use super::{extensions, telemetry};
use crate::conversation::{InitFailure, Reply};
use crate::stream::StreamLimits;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::Incoming;
use lamplight_model::TenantId;
use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

const PREFIX: &str = "/2018-06-01/runtime/";
/// Largest error document, bytes.
const DOCUMENT_BYTES: usize = lamplight_model::limits::SYNC_PAYLOAD_BYTES;

/// The body of every answer.
pub type Body = Either<Full<Bytes>, EventBody>;

/// Answers one request. Never fails: what is wrong becomes an answer.
///
/// `line` is the connection it came over.
pub async fn answer(
    exchange: Arc<Exchange>,
    line: Arc<OwnedFd>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let method = request.method().clone();
    if path.trim_end_matches('/').ends_with("/ping") {
        return Ok(plain(StatusCode::OK, "pong"));
    }
    if let Some(route) = path.strip_prefix(extensions::PREFIX) {
        return Ok(extensions::answer(&exchange, &line, route, request).await);
    }
    if let Some(api) = telemetry::api_of(&path) {
        return Ok(telemetry::subscribe(&exchange, api, request).await);
    }
    let Some(route) = path.strip_prefix(PREFIX) else {
        return Ok(refuse(StatusCode::NOT_FOUND, "NotFound", "404 page not found"));
    };
    if exchange.speaks_frames() {
        let message = "The events of this runtime come another way";
        return Ok(refuse(StatusCode::FORBIDDEN, "InvalidStateTransition", message));
    }
    let response = match (method, route.split('/').collect::<Vec<_>>().as_slice()) {
        (Method::GET, ["invocation", "next"]) => next(&exchange, &line).await,
        (Method::POST, ["invocation", id, "response"]) => response(&exchange, id, request).await,
        (Method::POST, ["invocation", id, "error"]) => error(&exchange, id, request).await,
        (Method::POST, ["init", "error"]) => init_error(&exchange, request).await,
        (Method::GET, ["restore", "next"]) => match exchange.restore() {
            Ok(()) => plain(StatusCode::OK, ""),
            Err(refusal) => refused(refusal),
        },
        (Method::POST, ["restore", "error"]) => restore_error(&exchange, request).await,
        (_, ["invocation", ..] | ["init", ..] | ["restore", ..]) => {
            refuse(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "Method not allowed")
        }
        _ => refuse(StatusCode::NOT_FOUND, "NotFound", "404 page not found"),
    };
    Ok(response)
}

/// Whether the client has hung up, as far as the kernel knows.
pub fn hung_up(line: &OwnedFd) -> bool {
    let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
    match rustix::net::recv(line, &mut [0_u8; 1], flags) {
        Ok((_, bytes)) => bytes == 0,
        Err(error) => error != rustix::io::Errno::AGAIN && error != rustix::io::Errno::INTR,
    }
}

async fn next(exchange: &Arc<Exchange>, line: &OwnedFd) -> Response<Body> {
    let (event, serial) = exchange.take().await;
    if hung_up(line) {
        // An event handed to a client that is gone would be lost until the deadline.
        exchange.put_back(serial);
        return refuse(StatusCode::GONE, "ClientGone", "the client has hung up");
    }
    let mut builder = Response::builder()
        .header("Content-Type", "application/json")
        .header("Lambda-Runtime-Aws-Request-Id", event.request_id.to_string())
        .header("Lambda-Runtime-Deadline-Ms", event.deadline_ms)
        .header("Lambda-Runtime-Invoked-Function-Arn", &event.invoked_arn);
    for (name, value) in [
        ("Lambda-Runtime-Trace-Id", event.trace_header.as_deref()),
        ("Lambda-Runtime-Client-Context", event.client_context.as_deref()),
        ("Lambda-Runtime-Aws-Tenant-Id", event.tenant_id.as_ref().map(TenantId::as_str)),
    ] {
        // A value that no header can hold (a line break) is left out rather than failing the event.
        if let Some(value) = value
            && let Ok(value) = http::HeaderValue::from_bytes(value.as_bytes())
        {
            builder = builder.header(name, value);
        }
    }
    // An empty body is never asked for its data, so it counts as delivered.
    let data = Some(event.payload.clone()).filter(|payload| !payload.is_empty());
    let body = EventBody { exchange: Arc::clone(exchange), serial, data };
    builder.body(Either::Right(body)).unwrap_or_else(|_| {
        exchange.put_back(serial);
        refuse(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", "the event could not be written")
    })
}

/// The event on its way to the runtime: put back when the connection ends before it was written.
pub struct EventBody {
    exchange: Arc<Exchange>,
    serial: u64,
    data: Option<Bytes>,
}

impl http_body::Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.data.take().map(|data| Ok(Frame::data(data))))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}

impl Drop for EventBody {
    fn drop(&mut self) {
        if self.data.is_some() {
            self.exchange.put_back(self.serial);
        }
    }
}

async fn response(exchange: &Arc<Exchange>, id: &str, request: Request<Incoming>) -> Response<Body> {
    let mut claim = match exchange.claim(id) {
        Ok(claim) => claim,
        Err(refusal) => return refused(refusal),
    };
    let content_type = text_header(request.headers(), "Content-Type");
    match text_header(request.headers(), "Lambda-Runtime-Function-Response-Mode").as_deref() {
        None | Some("") => {}
        Some("streaming") => {
            let limits = claim.limits.stream;
            let Some(body) = claim.open(content_type) else { return refused(Refusal::Answered) };
            return stream(body, request.into_body(), limits).await;
        }
        Some(_) => {
            let Some(body) = claim.open(None) else { return refused(Refusal::Answered) };
            let message = "Invalid function response mode";
            body.finish(Reply::platform_error("Runtime.InvalidResponseModeHeader", message));
            read_away(request.into_body()).await;
            return refuse(StatusCode::BAD_REQUEST, "InvalidFunctionResponseMode", message);
        }
    }
    let limit = claim.limits.buffered_bytes;
    match collect(request.into_body(), limit).await {
        Ok(bytes) => {
            let Some(body) = claim.open(content_type) else { return refused(Refusal::Answered) };
            body.whole(bytes).await;
            body.finish(Reply::Response { streamed: false });
            accepted()
        }
        Err(Uncollected::TooLarge) => {
            let Some(body) = claim.open(None) else { return refused(Refusal::Answered) };
            body.finish(Reply::too_large(limit));
            too_large(limit)
        }
        // The claim goes back: the runtime may post again.
        Err(Uncollected::Broken) => {
            refuse(StatusCode::BAD_REQUEST, "Runtime.TruncatedResponse", "Response was truncated")
        }
    }
}

/// Forwards pieces as they come. The trailers say whether the function failed in the middle.
async fn stream(body: super::exchange::Body, mut incoming: Incoming, limits: StreamLimits) -> Response<Body> {
    let mut pieces = body.streamed(limits);
    let mut failed = None;
    while let Some(frame) = incoming.frame().await {
        let Ok(frame) = frame else {
            // Dropping the body tells the caller that it was cut off.
            return refuse(StatusCode::BAD_REQUEST, "Runtime.TruncatedResponse", "Response was truncated");
        };
        match frame.into_data() {
            Ok(bytes) => {
                if !pieces.piece(bytes).await {
                    drop(pieces);
                    body.finish(Reply::too_large(limits.bytes));
                    read_away(incoming).await;
                    return too_large(limits.bytes);
                }
            }
            Err(frame) => failed = frame.trailers_ref().and_then(reported),
        }
    }
    // Before the answer is over: whoever reads the pieces waits for their end.
    drop(pieces);
    body.finish(failed.unwrap_or(Reply::Response { streamed: true }));
    accepted()
}

/// The error in the trailers of a streamed answer: its type, and its document in base64.
/// Source: AWS Lambda developer guide, "Building a custom runtime", response streaming.
fn reported(trailers: &HeaderMap) -> Option<Reply> {
    let error_type = text_header(trailers, "Lambda-Runtime-Function-Error-Type")?;
    let error_type = sanitise(&error_type, "Function.Unknown");
    let encoded = text_header(trailers, "Lambda-Runtime-Function-Error-Body").unwrap_or_default();
    match STANDARD.decode(encoded) {
        Ok(document) if !document.is_empty() => Some(Reply::Error { error_type, document: document.into() }),
        _ => Some(Reply::platform_error(&error_type, "")),
    }
}

async fn error(exchange: &Arc<Exchange>, id: &str, request: Request<Incoming>) -> Response<Body> {
    let mut claim = match exchange.claim(id) {
        Ok(claim) => claim,
        Err(refusal) => return refused(refusal),
    };
    let named = text_header(request.headers(), "Lambda-Runtime-Function-Error-Type");
    let document = match collect(request.into_body(), DOCUMENT_BYTES).await {
        Ok(document) => document,
        Err(uncollected) => return unreadable(&uncollected),
    };
    let error_type = error_type_of(&document, named.as_deref(), "Function.Unknown");
    let Some(body) = claim.open(None) else { return refused(Refusal::Answered) };
    body.finish(Reply::Error { error_type, document });
    accepted()
}

async fn init_error(exchange: &Arc<Exchange>, request: Request<Incoming>) -> Response<Body> {
    let named = text_header(request.headers(), "Lambda-Runtime-Function-Error-Type");
    let document = match collect(request.into_body(), DOCUMENT_BYTES).await {
        Ok(document) => document,
        Err(uncollected) => return unreadable(&uncollected),
    };
    let error_type = error_type_of(&document, named.as_deref(), "Runtime.Unknown");
    match exchange.fail_init(InitFailure { error_type, document }) {
        Ok(()) => accepted(),
        Err(refusal) => refused(refusal),
    }
}

async fn restore_error(exchange: &Arc<Exchange>, request: Request<Incoming>) -> Response<Body> {
    let document = match collect(request.into_body(), DOCUMENT_BYTES).await {
        Ok(document) => document,
        Err(uncollected) => return unreadable(&uncollected),
    };
    // Whatever the hook's own error was: it is what ended this phase.
    let error_type = "Runtime.AfterRestoreError".to_owned();
    match exchange.fail_restore(InitFailure { error_type, document }) {
        Ok(()) => accepted(),
        Err(refusal) => refused(refusal),
    }
}

/// The document's own `errorType`, else the header's in the only form AWS lets through.
fn error_type_of(document: &[u8], named: Option<&str>, unknown: &str) -> String {
    #[derive(serde::Deserialize)]
    struct Document {
        #[serde(rename = "errorType")]
        error_type: Option<String>,
    }
    let own = serde_json::from_slice::<Document>(document).ok().and_then(|document| document.error_type);
    match (own, named) {
        (Some(own), _) if !own.is_empty() => own.chars().take(255).collect(),
        (_, Some(named)) => sanitise(named, unknown),
        _ => unknown.to_owned(),
    }
}

/// `Runtime.Xyz` and `Function.Xyz` pass; anything else is unknown.
fn sanitise(error_type: &str, unknown: &str) -> String {
    let rest = error_type.strip_prefix("Runtime.").or_else(|| error_type.strip_prefix("Function."));
    let fine = rest.is_some_and(|rest| {
        rest.len() >= 2
            && rest.starts_with(|first: char| first.is_ascii_uppercase())
            && rest.bytes().all(|byte| byte.is_ascii_alphabetic())
    });
    if fine { error_type.to_owned() } else { unknown.to_owned() }
}

/// Why there is no body.
pub enum Uncollected {
    /// It is longer than it may be; it was read to its end.
    TooLarge,
    /// The connection broke.
    Broken,
}

/// The whole body if it fits; a larger one is read to its end (so that the client can read our answer) and dropped.
pub async fn collect(mut body: Incoming, limit: usize) -> Result<Bytes, Uncollected> {
    let mut collected = BytesMut::new();
    let mut too_large = false;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Err(Uncollected::Broken) };
        if let Ok(bytes) = frame.into_data() {
            too_large = too_large || collected.len() + bytes.len() > limit;
            if too_large {
                collected = BytesMut::new();
            } else {
                collected.extend_from_slice(&bytes);
            }
        }
    }
    if too_large { Err(Uncollected::TooLarge) } else { Ok(collected.freeze()) }
}

/// A header's value as text.
pub fn text_header(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn unreadable(uncollected: &Uncollected) -> Response<Body> {
    match uncollected {
        Uncollected::TooLarge => too_large(DOCUMENT_BYTES),
        Uncollected::Broken => {
            refuse(StatusCode::BAD_REQUEST, "Runtime.TruncatedResponse", "Request was truncated")
        }
    }
}

/// Reads a refused body to its end: a client that is still sending would see a broken pipe instead of our answer.
async fn read_away(mut body: Incoming) {
    while let Some(Ok(_)) = body.frame().await {}
}

fn too_large(limit_bytes: usize) -> Response<Body> {
    let message = format!("Exceeded maximum allowed payload size ({limit_bytes} bytes).");
    refuse(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", &message)
}

fn refused(refusal: Refusal) -> Response<Body> {
    match refusal {
        Refusal::WrongRequest => refuse(StatusCode::BAD_REQUEST, "InvalidRequestID", "Invalid request ID"),
        Refusal::Answered => refuse(
            StatusCode::FORBIDDEN,
            "InvalidStateTransition",
            "Transition from InvocationResponse to InvocationResponse is not allowed",
        ),
        Refusal::Abandoned => refuse(
            StatusCode::GONE,
            "InvalidRequestID",
            "Nobody waits for the answer of this request any more",
        ),
        Refusal::NotInRestore => refuse(
            StatusCode::FORBIDDEN,
            "InvalidStateTransition",
            "Transition from the current state to Restore is not allowed",
        ),
        Refusal::NotInInit => refuse(
            StatusCode::FORBIDDEN,
            "InvalidStateTransition",
            "Transition from the current state to InitError is not allowed",
        ),
    }
}

/// What a post that was taken gets.
pub fn accepted() -> Response<Body> {
    json(StatusCode::ACCEPTED, r#"{"status":"OK"}"#.to_owned())
}

/// A refusal.
pub fn refuse(status: StatusCode, error_type: &str, message: &str) -> Response<Body> {
    json(status, serde_json::json!({ "errorMessage": message, "errorType": error_type }).to_string())
}

/// An answer in JSON.
pub fn json(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::new(Bytes::from(text))));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::new(Bytes::from_static(text.as_bytes()))));
    *response.status_mut() = status;
    response
}
