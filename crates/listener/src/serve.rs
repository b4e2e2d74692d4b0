//! Accepts connections and hands their requests to a service.
//!
//! Own loop instead of `axum::serve`: connections are counted and bounded, a client that sends half a head is
//! given up, and when a listener goes away its connections go with it (an accepted connection pins the network
//! namespace of the instance it came from).

use crate::Peer;
use crate::bounded::{BoxError, Received};
use crate::connection::{self, Shared};
use crate::connections::Connections;
use crate::limits::Limits;
use crate::tls::Tls;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use lamplight_model::Live;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Pause after the kernel refused a connection for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where connections come in, and on what terms.
pub struct Listener {
    /// The socket.
    pub socket: TcpListener,
    /// Bounds; what changes holds from then on.
    pub limits: Arc<Live<Limits>>,
    /// Without it everything is in clear text.
    pub tls: Option<Tls>,
    /// After shutdown: time for requests in flight. Zero drops them at once.
    pub grace: Duration,
}

impl Listener {
    /// In clear text, with bounds that stay.
    pub fn plain(socket: TcpListener, limits: Limits, grace: Duration) -> Self {
        Self { socket, limits: Arc::new(limits.into()), tls: None, grace }
    }
}

/// Serves until `shutdown` resolves, then lets requests in flight finish within the grace: HTTP/1 answers say that the connection
/// closes, HTTP/2 connections get GOAWAY. `answer` is called for each request; when its client goes away or the request's time is
/// over, the future it gave is dropped.
///
/// Dropping the future closes the listener and every connection at once.
pub async fn serve<Answer, Answering, Sent>(
    listener: Listener,
    answer: Answer,
    shutdown: impl Future<Output = ()> + Send,
) where
    Answer: Fn(Request<Received>, Peer) -> Answering + Send + Sync + 'static,
    Answering: Future<Output = Response<Sent>> + Send + 'static,
    Sent: Body<Data = Bytes> + Send + Unpin + 'static,
    Sent::Error: Into<BoxError>,
{
    let Listener { socket, limits, tls, grace } = listener;
    let stop = CancellationToken::new();
    let shared = Arc::new(Shared { answer, limits: Arc::clone(&limits), tls, stop: stop.clone() });
    let open = Arc::new(Connections::default());
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = async {
                open.room(|| limits.get().connections).await;
                socket.accept().await
            } => accepted,
            () = &mut shutdown => break,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(counted) = open.open(remote.ip(), &limits.get()) else {
            tracing::debug!(%remote, "refused a connection: its sender has as many as it may");
            continue;
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
        let peer = Peer { remote, local, tls_version: None, sender: remote.ip() };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let _counted = counted;
            connection::run(shared, stream, peer).await;
        });
        while connections.try_join_next().is_some() {}
    }
    drop(socket);
    stop.cancel();
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(grace, drained).await.is_err() {
        tracing::debug!("connections were dropped at the end of the grace");
    }
}
