//! The HTTP Runtime API, version 2018-06-01, for custom runtimes and stock clients; and beside it, for every runtime, what
//! extensions ask: the Extensions API, the Telemetry API and the Logs API.
//!
//! ```text
//!            GET next                 invoke                POST response | error            GET next
//!  starting ─────────► waiting ─────────────────► running ───────────────────────► answered ─────────► waiting
//!      └─ POST init/error ─► failed
//! ```
//!
//! Source: AWS Lambda developer guide, "Using the Lambda runtime API"; texts as AWS's own emulator answers them.
//! The other side is the function's process. Connections, headers and bodies are bounded, and nothing it sends
//! reaches beyond its own instance.

mod exchange;
mod extensions;
mod service;
mod telemetry;

use crate::conversation::{AnswerLimits, AnswerSink, ConversationError, Event, Reply};
use crate::stream::StreamLimits;
use crate::telemetry::Telemetry;
use exchange::Exchange;
pub use extensions::AboutFunction;
use hyper_util::rt::{TokioIo, TokioTimer};
use lamplight_model::RequestId;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::{JoinHandle, JoinSet};

/// Connections one instance may have open. Stock clients use one or two; with [`HEAD_BYTES`] this bounds what a
/// hostile one can make us hold (20 MiB, and 2.5 MiB for each event more that it may be given at once).
const CONNECTIONS: usize = 16;
/// Largest head of a request, bytes: the X-Ray cause header alone may be 1 MiB.
const HEAD_BYTES: usize = 1024 * 1024 + 256 * 1024;
/// Connections besides for each event that may be given at once: its `next`, and its answer.
const CONNECTIONS_OF_AN_EVENT: usize = 2;
/// Pause when the platform has no descriptor left for a new connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the APIs inside say of the instance they belong to.
#[derive(Debug, Default)]
pub struct Surroundings {
    /// Told to extensions.
    pub about: AboutFunction,
    /// Names of the files of `/opt/extensions`, whose processes are started before the runtime.
    pub external_extensions: Vec<String>,
    /// What extensions may subscribe to; they are told that there is no such thing without.
    pub telemetry: Option<Arc<Telemetry>>,
}

/// One custom runtime's conversation, or that of extensions beside another runtime.
#[derive(Debug)]
pub struct HttpConversation {
    /// What is shared with the requests.
    pub exchange: Arc<Exchange>,
    server: JoinHandle<()>,
}

impl Drop for HttpConversation {
    fn drop(&mut self) {
        // Dropping the task drops the listener and, with the set of connection tasks, every connection.
        self.server.abort();
    }
}

impl HttpConversation {
    /// Serves the API on `listener` until the conversation is dropped.
    pub fn serve(listener: TcpListener, surroundings: Surroundings) -> std::io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let exchange = Arc::new(Exchange::new(surroundings));
        let server = tokio::spawn(accept(listener, Arc::clone(&exchange)));
        Ok(Self { exchange, server })
    }

    /// See [`Conversation::calls`](crate::Conversation::calls).
    pub fn calls(&self) -> Calls {
        Calls(Arc::clone(&self.exchange))
    }

    /// See [`Conversation::invoke`](crate::Conversation::invoke).
    pub async fn invoke(
        &mut self,
        event: Event,
        sink: AnswerSink,
        limits: AnswerLimits,
    ) -> Result<Reply, ConversationError> {
        let reply = self.exchange.offer(event, sink, limits);
        match reply.await {
            Ok(reply) => Ok(reply),
            Err(_) => Err(self.exchange.failed().await),
        }
    }
}

/// A conversation as the calls see it that talk at the same time. Does not keep it alive.
#[derive(Debug, Clone)]
pub struct Calls(Arc<Exchange>);

impl Calls {
    /// Hands one event over and forwards the answer, beside others. Dropped before it resolves, the event is given up: an
    /// answer that comes later is refused with 410.
    ///
    /// # Errors
    /// `Extension` when one cannot go on.
    pub async fn invoke(
        &self,
        event: Event,
        sink: AnswerSink,
        limits: AnswerLimits,
    ) -> Result<Reply, ConversationError> {
        let mut offered = Offered { exchange: &self.0, request_id: Some(event.request_id) };
        let reply = self.0.offer(event, sink, limits).await;
        offered.request_id = None;
        match reply {
            Ok(reply) => Ok(reply),
            Err(_) => Err(self.0.failed().await),
        }
    }

    /// Resolves when the runtime has asked for one event more than it has been given.
    ///
    /// # Errors
    /// `Extension` when one cannot go on.
    pub async fn free(&self) -> Result<(), ConversationError> {
        self.0.waiting().await?;
        self.0.settled().await
    }
}

/// An event whose answer is waited for.
struct Offered<'a> {
    exchange: &'a Exchange,
    request_id: Option<RequestId>,
}

impl Drop for Offered<'_> {
    fn drop(&mut self) {
        if let Some(request_id) = self.request_id {
            self.exchange.abandon(request_id);
        }
    }
}

async fn accept(listener: tokio::net::TcpListener, exchange: Arc<Exchange>) {
    let mut connections = JoinSet::new();
    let most = CONNECTIONS + CONNECTIONS_OF_AN_EVENT * exchange.surroundings.about.concurrency;
    loop {
        // Full: wait until one ends. The kernel queues a few more and refuses the rest.
        if connections.len() >= most {
            connections.join_next().await;
            continue;
        }
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    exchange.note_connection();
                    let _ = stream.set_nodelay(true);
                    connections.spawn(serve_connection(stream, Arc::clone(&exchange)));
                }
                // Out of descriptors, or the peer was gone already: let others end first.
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(stream: tokio::net::TcpStream, exchange: Arc<Exchange>) {
    // A second descriptor of the connection, to look whether the client is still there. Ends with this task.
    let Ok(line) = stream.as_fd().try_clone_to_owned() else { return };
    serve_bytes(stream, Arc::new(line), exchange).await;
}

async fn serve_bytes<Stream>(stream: Stream, line: Arc<OwnedFd>, exchange: Arc<Exchange>)
where
    Stream: AsyncRead + AsyncWrite + Unpin,
{
    let service = hyper::service::service_fn(move |request| {
        service::answer(Arc::clone(&exchange), Arc::clone(&line), request)
    });
    // An error ends this connection only; the runtime may make another.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        // None: it would also end connections that idle between two requests, which a frozen client finds out only
        // when it posts. A client that sends its head slowly holds up nobody but itself.
        .header_read_timeout(None)
        .max_buf_size(HEAD_BYTES)
        .pipeline_flush(true)
        // As AWS writes them: a bootstrap in a few lines of shell may look for exactly these names.
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// Serves one connection on which a client sends `data` and hangs up, while an event waits. For fuzzing.
pub(crate) async fn serve_once(data: &[u8]) -> std::io::Result<()> {
    use tokio::io::AsyncWriteExt as _;
    let exchange = Arc::new(Exchange::default());
    let (body, mut pieces) = tokio::sync::mpsc::channel(4);
    let (content_type, _named) = tokio::sync::oneshot::channel();
    let event = Event {
        request_id: lamplight_model::RequestId(uuid::Uuid::nil()),
        deadline_ms: 0,
        invoked_arn: "arn".to_owned(),
        trace_header: None,
        client_context: None,
        tenant_id: None,
        payload: bytes::Bytes::from_static(b"{}"),
    };
    let limits = AnswerLimits { buffered_bytes: 1000, stream: StreamLimits::default() };
    let _reply = exchange.offer(event, AnswerSink { body, content_type }, limits);
    let (line, _other_end) = std::os::unix::net::UnixStream::pair()?;
    let (mut client, server) = tokio::io::duplex(1024 * 1024);
    let serve = serve_bytes(server, Arc::new(line.into()), exchange);
    let talk = async {
        client.write_all(data).await?;
        client.shutdown().await?;
        // Turns enough for all requests; one that waits for another event would wait for ever.
        for _ in 0..100 {
            tokio::task::yield_now().await;
            while pieces.try_recv().is_ok() {}
        }
        Ok(())
    };
    tokio::pin!(talk);
    tokio::select! {
        () = serve => talk.await,
        told = &mut talk => told,
    }
}
