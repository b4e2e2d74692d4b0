//! One connection from its first byte to its last: TLS, HTTP/1.1 or HTTP/2, bounds, goodbye.

use crate::Peer;
use crate::activity::{Activity, Verdict};
use crate::bounded::{Answered, BodyLimits, BoxError, Received, Refusal, Refused};
use crate::head;
use crate::limits::Limits;
use crate::socket::Socket;
use crate::tls::Tls;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use lamplight_model::Live;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// HTTP/2: streams that were opened and reset before they were served ("rapid reset", CVE-2023-44487); one more ends the
/// connection. The default of h2, said here so that it is known.
const RESET_STREAMS: usize = 20;
/// HTTP/2: streams reset by us for errors of the client (CVE-2025-8671, "MadeYouReset"); one more ends the connection.
const ERROR_STREAMS: usize = 256;
/// HTTP/2: bytes of an answer that wait for a client to read, each stream.
const SEND_BYTES: usize = 256 * 1024;

/// What connections of one listener share.
pub(crate) struct Shared<Answer> {
    pub answer: Answer,
    pub limits: Arc<Live<Limits>>,
    pub tls: Option<Tls>,
    /// Says that no further request is wanted.
    pub stop: CancellationToken,
}

/// Serves one connection to its end.
pub(crate) async fn run<Answer, Answering, Sent>(
    shared: Arc<Shared<Answer>>,
    stream: TcpStream,
    mut peer: Peer,
) where
    Answer: Fn(Request<Received>, Peer) -> Answering + Send + Sync + 'static,
    Answering: Future<Output = Response<Sent>> + Send + 'static,
    Sent: Body<Data = Bytes> + Send + Unpin + 'static,
    Sent::Error: Into<BoxError>,
{
    let Some(tls) = &shared.tls else { return serve(shared, stream, peer).await };
    let time = shared.limits.get().head_time;
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(time, tls.accept(stream)) => shaken,
        () = shared.stop.cancelled() => return,
    };
    match shaken {
        Ok(Ok(Some(stream))) => {
            peer.tls_version = stream.version;
            serve(shared, stream.stream, peer).await;
        }
        // A certificate authority's challenge: the handshake was all.
        Ok(Ok(None)) => {}
        Ok(Err(error)) => tracing::debug!(%error, peer = %peer.remote, "a TLS handshake failed"),
        Err(_) => tracing::debug!(peer = %peer.remote, "a TLS handshake took too long"),
    }
}

async fn serve<Io, Answer, Answering, Sent>(shared: Arc<Shared<Answer>>, io: Io, peer: Peer)
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    Answer: Fn(Request<Received>, Peer) -> Answering + Send + Sync + 'static,
    Answering: Future<Output = Response<Sent>> + Send + 'static,
    Sent: Body<Data = Bytes> + Send + Unpin + 'static,
    Sent::Error: Into<BoxError>,
{
    let activity = Arc::new(Activity::new());
    let builder = builder(&shared.limits.get());
    let service = {
        let (shared, activity) = (Arc::clone(&shared), Arc::clone(&activity));
        service_fn(move |request| {
            let (shared, activity) = (Arc::clone(&shared), Arc::clone(&activity));
            async move { Ok::<_, Infallible>(answer(&shared, &activity, request, peer).await) }
        })
    };
    let socket = TokioIo::new(Socket::new(io, Arc::clone(&activity)));
    let mut connection = std::pin::pin!(builder.serve_connection(socket, service));
    let mut timer = std::pin::pin!(tokio::time::sleep(shared.limits.get().head_time));
    let mut closing = false;
    let ended = loop {
        tokio::select! {
            ended = connection.as_mut() => break ended,
            () = shared.stop.cancelled(), if !closing => {
                connection.as_mut().graceful_shutdown();
                closing = true;
            }
            () = timer.as_mut() => {
                let limits = shared.limits.get();
                match activity.verdict(&limits) {
                    Verdict::Wait(time) => timer.as_mut().reset(Instant::now() + time),
                    Verdict::Close if !closing => {
                        // It may still have bytes to send; a client that does not take them is cut the next time.
                        connection.as_mut().graceful_shutdown();
                        closing = true;
                        timer.as_mut().reset(Instant::now() + limits.head_time);
                    }
                    Verdict::Close | Verdict::Cut => {
                        tracing::debug!(peer = %peer.remote, "a connection was cut: its client was too slow");
                        return;
                    }
                }
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, peer = %peer.remote, "a connection ended early");
    }
}

/// Header fields that hyper takes in HTTP/1 unless told otherwise. Source: `http1::Builder::max_headers`.
const HYPER_HEADERS: usize = 100;

fn builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // Ours tells idle connections and slow heads apart, and knows HTTP/2.
        .header_read_timeout(None)
        .max_buf_size(limits.head_bytes.max(8_192));
    // Fewer are counted by `head::check`. Told of any number, hyper allocates and clears room for so many at every request, 20 KB
    // of 256; up to its own there is room on the stack.
    if limits.headers > HYPER_HEADERS {
        builder.http1().max_headers(limits.headers);
    }
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams.unwrap_or(0))
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(RESET_STREAMS)
        .max_local_error_reset_streams(ERROR_STREAMS)
        .max_send_buf_size(SEND_BYTES)
        // A peer that is gone without a word is noticed; an answered ping is no request, so the idle time goes on.
        .keep_alive_interval(limits.idle_time / 2)
        .keep_alive_timeout(limits.head_time);
    if limits.streams.is_some() { builder } else { builder.http1_only() }
}

type Sending<Sent> = Answered<Either<Sent, Full<Bytes>>>;

async fn answer<Answer, Answering, Sent>(
    shared: &Shared<Answer>,
    activity: &Arc<Activity>,
    request: Request<Incoming>,
    peer: Peer,
) -> Response<Sending<Sent>>
where
    Answer: Fn(Request<Received>, Peer) -> Answering,
    Answering: Future<Output = Response<Sent>>,
    Sent: Body<Data = Bytes> + Unpin,
    Sent::Error: Into<BoxError>,
{
    let counted = activity.begin();
    let limits = shared.limits.get();
    let deadline = limits.request_time.and_then(|time| Instant::now().checked_add(time));
    let is_http2 = request.version() == http::Version::HTTP_2;
    let to_head = request.method() == Method::HEAD;
    let send = move |response: Response<Either<Sent, Full<Bytes>>>, deadline, counted| {
        // In HTTP/1 hyper leaves such bodies out by itself.
        let response = if is_http2 { without_forbidden_body(response, to_head) } else { response };
        response.map(|body| Answered::new(body, deadline, counted))
    };
    let refuse = |status: StatusCode, counted| {
        let mut response = refusal(status);
        if !is_http2 {
            // What is left of the request is not worth reading.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        // In time whatever the deadline says: it is there already.
        send(response.map(Either::Right), None, counted)
    };
    let (parts, body) = request.into_parts();
    let asks_first = parts.headers.contains_key(header::EXPECT);
    let parts = match head::check(parts, &limits, body.size_hint().lower()) {
        Ok(parts) => parts,
        Err(status) => {
            // A client that is still sending gets to read the answer; one that has asked first has not begun.
            if status == StatusCode::PAYLOAD_TOO_LARGE && !asks_first {
                crate::body::discard(body).await;
            }
            return refuse(status, counted);
        }
    };
    let refusal = Refusal::default();
    let body_limits = BodyLimits {
        bytes: limits.body_bytes,
        bytes_per_second: limits.body_bytes_per_second,
        grace: limits.head_time,
    };
    let received = Received::new(body, body_limits, refusal.clone());
    let answering = (shared.answer)(Request::from_parts(parts, received), peer);
    let answered = match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline, answering).await.ok(),
        None => Some(answering.await),
    };
    match (refusal.get(), answered) {
        (Some(Refused::TooLarge), _) => refuse(StatusCode::PAYLOAD_TOO_LARGE, counted),
        (Some(Refused::TooSlow), _) => refuse(StatusCode::REQUEST_TIMEOUT, counted),
        (None, None) => refuse(StatusCode::GATEWAY_TIMEOUT, counted),
        (None, Some(response)) => send(response.map(Either::Left), deadline, counted),
    }
}

/// An answer to `HEAD`, or of a status that has no content, ends with its head, whatever is given as its body: in HTTP/2 a client takes
/// the first byte of one for a broken stream. An answer to `HEAD` says how long the body would be.
///
/// Source: RFC 9110, 9.3.2, 15.3.5 and 15.4.5; RFC 9113, 8.1.1.
fn without_forbidden_body<Sent>(
    mut response: Response<Either<Sent, Full<Bytes>>>,
    to_head: bool,
) -> Response<Either<Sent, Full<Bytes>>>
where
    Sent: Body<Data = Bytes>,
    Sent::Error: Into<BoxError>,
{
    let without_content = matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if !to_head && !without_content {
        return response;
    }
    // A length of 0 may be that of a body which was left out before.
    let length = response.body().size_hint().exact().filter(|length| *length > 0 && !without_content);
    if let Some(length) = length {
        response.headers_mut().entry(header::CONTENT_LENGTH).or_insert_with(|| length.into());
    }
    response.map(|_| Either::Right(Full::default()))
}

/// The form of API Gateway's own refusals.
fn refusal(status: StatusCode) -> Response<Full<Bytes>> {
    let reason = status.canonical_reason().unwrap_or_default();
    let mut response = Response::new(Full::new(format!("{{\"message\":\"{reason}\"}}").into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
