//! One instance's conversation, whichever protocol it speaks.

use bytes::Bytes;
use lamplight_model::RequestId;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

/// What the runtime is handed for one invocation (the headers of `next`).
#[derive(Debug, Clone)]
pub struct Event {
    /// `Lambda-Runtime-Aws-Request-Id`.
    pub request_id: RequestId,
    /// `Lambda-Runtime-Deadline-Ms`.
    pub deadline_ms: i64,
    /// `Lambda-Runtime-Invoked-Function-Arn`.
    pub invoked_arn: String,
    /// `Lambda-Runtime-Trace-Id`.
    pub trace_header: Option<String>,
    /// `Lambda-Runtime-Client-Context`, decoded.
    pub client_context: Option<String>,
    /// The event.
    pub payload: Bytes,
}

/// Where the answer's bytes go while they are produced. Bounded: a slow reader slows the function down.
#[derive(Debug)]
pub struct AnswerSink {
    /// The body in pieces. A closed receiver means the caller went away: go on, drop the bytes.
    pub body: mpsc::Sender<Bytes>,
    /// Sent once, before the first piece.
    pub content_type: oneshot::Sender<Option<String>>,
}

/// How the runtime answered one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The response is complete in the sink. `streamed` says whether streaming mode was used.
    Response {
        /// `Lambda-Runtime-Function-Response-Mode: streaming`.
        streamed: bool,
    },
    /// The function reported an error; the error document (verbatim, as the runtime wrote it) is in the sink.
    Error {
        /// `errorType` of the document.
        error_type: String,
    },
    /// The response exceeded the limit for buffered answers; AWS's error document is in the sink.
    TooLarge,
    /// Streaming broke in the middle; what came before is in the sink.
    StreamBroken {
        /// Error type from the trailer or frame.
        error_type: String,
    },
}

/// The runtime reported that it cannot start (`/runtime/init/error`, or the bootstrap's frame).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitFailure {
    /// `errorType` of the document.
    pub error_type: String,
    /// The document, verbatim.
    pub document: Bytes,
}

/// Why a conversation cannot go on. The instance is to be discarded.
#[derive(Debug, thiserror::Error)]
pub enum ConversationError {
    /// The runtime closed its end (usually: the process ended; the sandbox's exit says how).
    #[error("the runtime closed its connection")]
    Closed,
    /// It reported a failed init.
    #[error("init failed: {}", .0.error_type)]
    Init(InitFailure),
    /// It broke the protocol.
    #[error("the runtime broke the protocol: {0}")]
    Protocol(String),
}

/// One instance's conversation. Cancel-safe: dropping a call leaves the instance to be discarded.
#[derive(Debug)]
pub struct Conversation {
    _private: (),
}

impl Conversation {
    /// Speaks frames with one of our bootstraps. `init` is sent at once.
    ///
    /// Must be called within a tokio runtime.
    pub fn frames(_stream: UnixStream) -> std::io::Result<Self> {
        Ok(Self { _private: () })
    }

    /// Serves the HTTP Runtime API on a listener inside the sandbox's network namespace.
    ///
    /// Dropping the conversation closes the listener and every accepted connection (both pin the namespace).
    pub fn http(_listener: TcpListener) -> std::io::Result<Self> {
        Ok(Self { _private: () })
    }

    /// When the interpreter said its first word (frames: `hello`; HTTP: the first connection).
    pub async fn first_word(&mut self) -> Result<(), ConversationError> {
        Err(ConversationError::Closed)
    }

    /// Resolves when init is over: the handler is imported and the runtime waits for an event.
    pub async fn ready(&mut self) -> Result<(), ConversationError> {
        Err(ConversationError::Closed)
    }

    /// Hands one event over and forwards the answer. Resolves when the answer is complete.
    ///
    /// `response_limit` bounds a buffered answer, bytes.
    pub async fn invoke(
        &mut self,
        _event: Event,
        _sink: AnswerSink,
        _response_limit: usize,
    ) -> Result<Reply, ConversationError> {
        Err(ConversationError::Closed)
    }

    /// Resolves when the runtime has asked for the next event (with frames: at once after the answer).
    pub async fn idle(&mut self) -> Result<(), ConversationError> {
        Err(ConversationError::Closed)
    }
}
