//! The HTTP Runtime API, version 2018-06-01, for custom runtimes and stock clients.
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
mod service;

use crate::conversation::{AnswerSink, ConversationError, Event, Reply};
use exchange::Exchange;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinHandle, JoinSet};

/// Connections one instance may have open. A client uses one, and one more after each broken one.
const CONNECTIONS: usize = 64;
/// Largest head of a request, bytes: the X-Ray cause header alone may be 1 MiB.
const HEAD_BYTES: usize = 2 * 1024 * 1024;
/// A head that takes longer to arrive ends its connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// One custom runtime's conversation.
#[derive(Debug)]
pub struct HttpConversation {
    exchange: Arc<Exchange>,
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
    pub fn serve(listener: TcpListener) -> std::io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let exchange = Arc::new(Exchange::default());
        let server = tokio::spawn(accept(listener, Arc::clone(&exchange)));
        Ok(Self { exchange, server })
    }

    /// See [`Conversation::first_word`](crate::Conversation::first_word).
    pub async fn first_word(&mut self) -> Result<(), ConversationError> {
        self.exchange.connected().await;
        Ok(())
    }

    /// See [`Conversation::ready`](crate::Conversation::ready).
    pub async fn ready(&mut self) -> Result<(), ConversationError> {
        self.exchange.waiting().await.map_err(ConversationError::Init)
    }

    /// See [`Conversation::invoke`](crate::Conversation::invoke).
    pub async fn invoke(
        &mut self,
        event: Event,
        sink: AnswerSink,
        response_limit: usize,
    ) -> Result<Reply, ConversationError> {
        let reply = self.exchange.offer(event, sink, response_limit);
        reply.await.map_err(|_| ConversationError::Closed)
    }

    /// See [`Conversation::idle`](crate::Conversation::idle).
    pub async fn idle(&mut self) -> Result<(), ConversationError> {
        self.exchange.waiting().await.map_err(ConversationError::Init)
    }
}

async fn accept(listener: tokio::net::TcpListener, exchange: Arc<Exchange>) {
    let mut connections = JoinSet::new();
    loop {
        // Full: wait until one ends. The kernel queues a few more and refuses the rest.
        if connections.len() >= CONNECTIONS {
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
                Err(_) => tokio::task::yield_now().await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(stream: tokio::net::TcpStream, exchange: Arc<Exchange>) {
    let service = hyper::service::service_fn(move |request| service::answer(Arc::clone(&exchange), request));
    // An error ends this connection only; the runtime may make another.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .pipeline_flush(true)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
