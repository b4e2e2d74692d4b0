//! Accepts connections and hands their requests to a service.
//!
//! Own loop instead of `axum::serve`: connections are counted and bounded, a client that sends half a head is
//! given up, and when a listener goes away its connections go with it (an accepted connection pins the network
//! namespace of the instance it came from).

use crate::Peer;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Bounds of one listener.
#[derive(Debug, Clone)]
pub struct ServeLimits {
    /// Open connections; more wait in the kernel's queue until one closes.
    pub connections: usize,
    /// Time for the head of a request, also the longest idle time of a kept connection.
    pub head_timeout: Duration,
    /// After shutdown: time for requests in flight. Zero drops them at once.
    pub grace: Duration,
}

impl ServeLimits {
    /// For the public listener.
    pub fn public() -> Self {
        Self { connections: 4_096, head_timeout: Duration::from_secs(75), grace: Duration::from_secs(30) }
    }

    /// For the listener inside an instance.
    pub fn instance() -> Self {
        Self { connections: 64, head_timeout: Duration::from_secs(900), grace: Duration::ZERO }
    }
}

/// Largest request head, bytes: X-Amz-Client-Context is 3,583 bytes, signatures and trace headers a few hundred.
const HEAD_BYTES: usize = 64 * 1024;
/// Pause after the kernel refused a connection for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `shutdown` resolves, then lets requests in flight finish within the grace. `answer` is called for each
/// request and cloned for each connection.
///
/// Dropping the future closes the listener and every connection at once.
pub async fn serve<Answer, Answered, Sent>(
    listener: TcpListener,
    answer: Answer,
    limits: ServeLimits,
    shutdown: impl Future<Output = ()> + Send,
) where
    Answer: Fn(Request<Incoming>, Peer) -> Answered + Clone + Send + 'static,
    Answered: Future<Output = Response<Sent>> + Send + 'static,
    Sent: Body<Data = Bytes> + Send + 'static,
    Sent::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let permits = Arc::new(Semaphore::new(limits.connections));
    let stop = CancellationToken::new();
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let permit = tokio::select! {
            permit = permits.clone().acquire_owned() => permit,
            () = &mut shutdown => break,
        };
        let Ok(permit) = permit else { break };
        let (stream, remote) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, remote)) => (stream, remote),
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = &mut shutdown => break,
        };
        // Answers are small and awaited: never wait for more bytes to fill a segment.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "failed to set TCP_NODELAY");
        }
        let local = match stream.local_addr() {
            Ok(local) => local,
            Err(error) => {
                tracing::debug!(%error, "a connection was gone before it was served");
                continue;
            }
        };
        let peer = Peer { remote, local, tls_version: None };
        let answer = answer.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let answered = answer(request, peer);
            async move { Ok::<_, Infallible>(answered.await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_timeout)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        let stopping = stop.clone();
        connections.spawn(async move {
            let _permit = permit;
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stopping.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended early");
            }
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    stop.cancel();
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.grace, drained).await.is_err() {
        tracing::debug!("connections were dropped at the end of the grace");
    }
}
