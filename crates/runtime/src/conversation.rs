//! One instance's conversation, whichever protocol it speaks.

use crate::extensions::{ExtensionReport, Failure, ShutdownReason};
use crate::frames::FrameConversation;
use crate::http::{Calls, HttpConversation, Surroundings};
use crate::stream::{Pace, Passage, StreamLimits};
use bytes::Bytes;
use lamplight_model::{RequestId, TenantId};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

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
    /// `Lambda-Runtime-Aws-Tenant-Id`.
    pub tenant_id: Option<TenantId>,
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

/// How large an answer may be, and how fast it may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerLimits {
    /// A buffered answer, bytes.
    pub buffered_bytes: usize,
    /// A streamed answer.
    pub stream: StreamLimits,
}

/// How the runtime answered one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The response is complete in the sink. `streamed` says whether streaming mode was used.
    Response {
        /// `Lambda-Runtime-Function-Response-Mode: streaming`.
        streamed: bool,
    },
    /// The function failed, or its answer is none (too large, cut off). What it had streamed before is in the sink.
    Error {
        /// `errorType` of the document, or of a trailer.
        error_type: String,
        /// The error document: as the runtime wrote it, or AWS's for what the platform found wrong.
        document: Bytes,
    },
}

impl Reply {
    /// An answer beyond `limit_bytes`. Source of the text: recorded responses of AWS Lambda.
    pub(crate) fn too_large(limit_bytes: usize) -> Self {
        Self::platform_error(
            "Function.ResponseSizeTooLarge",
            &format!("Response payload size exceeded maximum allowed payload size ({limit_bytes} bytes)."),
        )
    }

    /// An error that has no document of the runtime's.
    pub(crate) fn platform_error(error_type: &str, message: &str) -> Self {
        // `errorType` stands first, as AWS writes it.
        let document = serde_json::json!({ "errorType": error_type, "errorMessage": message });
        Self::Error { error_type: error_type.to_owned(), document: document.to_string().into() }
    }
}

/// A streamed answer under way to its sink.
#[derive(Debug)]
pub(crate) struct StreamedBody {
    body: mpsc::Sender<Bytes>,
    pace: Pace,
}

impl StreamedBody {
    pub(crate) fn new(body: mpsc::Sender<Bytes>, limits: StreamLimits) -> Self {
        Self { body, pace: Pace::new(limits) }
    }

    /// Forwards a piece, waiting for its time and for room. False when the answer is too large: this piece and all
    /// that follow are dropped.
    pub(crate) async fn piece(&mut self, bytes: Bytes) -> bool {
        match self.pace.pass(bytes.len(), Instant::now()) {
            Passage::TooLarge => return false,
            // A caller that went away hinders nobody: the function goes on, its bytes are dropped.
            Passage::At(at) => {
                tokio::select! {
                    () = sleep_until(at) => {}
                    () = self.body.closed() => {}
                }
            }
            Passage::Now => {}
        }
        let _ = self.body.send(bytes).await;
        true
    }
}

/// The runtime reported that it cannot start (`/runtime/init/error`, or the bootstrap's frame).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitFailure {
    /// `errorType` of the document.
    pub error_type: String,
    /// The document, verbatim.
    pub document: Bytes,
}

/// What one of our bootstraps is told before it imports the handler. `Debug` names variables, never values.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
pub struct Init {
    /// Added to the environment the process was started with.
    pub environment: BTreeMap<String, String>,
}

impl std::fmt::Debug for Init {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Init").field("environment", &self.environment.keys()).finish()
    }
}

/// One log event of a bootstrap: a line, or a record of several lines that belong together.
#[derive(Debug)]
pub struct LogRecord {
    /// When it was written inside, epoch milliseconds. Told by the function's process, so not to be trusted.
    pub timestamp_ms: i64,
    /// The text as written.
    pub text: String,
    /// Its share of the queue's bytes, free again when the record is taken apart or dropped.
    pub(crate) _room: Option<OwnedSemaphorePermit>,
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
    /// An extension reported that it cannot go on.
    #[error("extension {} reported {}", .0.extension, .0.reported)]
    Extension(Failure),
    /// It broke the protocol.
    #[error("the runtime broke the protocol: {0}")]
    Protocol(String),
}

/// One instance's conversation. Cancel-safe: dropping a call leaves the instance to be discarded.
#[derive(Debug)]
pub struct Conversation {
    kind: Kind,
    logs: Option<mpsc::Receiver<LogRecord>>,
    /// The HTTP API, which is the conversation itself or stands beside it; a blank has none.
    http: Option<HttpConversation>,
    /// Whether the runtime's own init is over.
    runtime_is_ready: bool,
}

#[derive(Debug)]
enum Kind {
    Frames(FrameConversation),
    Http,
}

impl Conversation {
    /// Speaks frames with one of our bootstraps.
    ///
    /// Must be called within a tokio runtime. Fails when the descriptor cannot be watched.
    pub fn frames(stream: UnixStream) -> std::io::Result<Self> {
        let (frames, logs) = FrameConversation::new(stream, Some(&Init::default()))?;
        Ok(Self { kind: Kind::Frames(frames), logs: Some(logs), http: None, runtime_is_ready: false })
    }

    /// As [`frames`](Self::frames), for an interpreter that belongs to no function yet: it says its first word and
    /// waits for [`tell`](Self::tell) and [`begin`](Self::begin).
    pub fn blank(stream: UnixStream) -> std::io::Result<Self> {
        let (frames, logs) = FrameConversation::new(stream, None)?;
        Ok(Self { kind: Kind::Frames(frames), logs: Some(logs), http: None, runtime_is_ready: false })
    }

    /// Tells a blank bootstrap what it is to become. To be called once; it goes on with its init after
    /// [`begin`](Self::begin), so that this may be done while its code is still being bound.
    ///
    /// # Errors
    /// `Closed` when it is gone, `Protocol` for a conversation over HTTP, which has no such step.
    pub async fn tell(&mut self, init: &Init) -> Result<(), ConversationError> {
        match &mut self.kind {
            Kind::Frames(frames) => frames.tell(init).await,
            Kind::Http => Err(ConversationError::Protocol("the Runtime API has no init step".to_owned())),
        }
    }

    /// Lets a blank that was told what it is import its handler: the code is there.
    ///
    /// # Errors
    /// As [`tell`](Self::tell).
    pub async fn begin(&mut self) -> Result<(), ConversationError> {
        match &mut self.kind {
            Kind::Frames(frames) => frames.begin().await,
            Kind::Http => Err(ConversationError::Protocol("the Runtime API has no init step".to_owned())),
        }
    }

    /// Serves the HTTP Runtime API and what extensions ask on a listener inside the sandbox's network namespace.
    ///
    /// Dropping the conversation closes the listener and every accepted connection (both pin the namespace).
    /// Must be called within a tokio runtime. Fails when the listener cannot be watched.
    pub fn http(listener: TcpListener, surroundings: Surroundings) -> std::io::Result<Self> {
        let http = Some(HttpConversation::serve(listener, surroundings)?);
        Ok(Self { kind: Kind::Http, logs: None, http, runtime_is_ready: false })
    }

    /// Serves what extensions ask beside a conversation of frames: as [`http`](Self::http), without the events of the runtime
    /// once that has spoken frames. A runtime that asks for its first event over HTTP instead gets all of them there: what a
    /// wrapper script starts may be another program than our bootstrap.
    pub fn serve_extensions(
        &mut self,
        listener: TcpListener,
        surroundings: Surroundings,
    ) -> std::io::Result<()> {
        let http = HttpConversation::serve(listener, surroundings)?;
        if let Kind::Frames(frames) = &self.kind
            && frames.has_spoken()
        {
            http.exchange.runtime_speaks_frames();
        }
        self.http = Some(http);
        Ok(())
    }

    /// The bootstrap's log events, in order with the answer: when `invoke` resolves, every event written before
    /// the answer is in the channel. `None` for HTTP (those runtimes write to their standard output), or when
    /// taken before. To be read while a call of this conversation is awaited: the channel is bounded (1 MiB), a
    /// fast function waits for room, and events of which nobody takes any are dropped and counted in a record.
    pub fn take_logs(&mut self) -> Option<mpsc::Receiver<LogRecord>> {
        self.logs.take()
    }

    /// Whether the body of an answer is put into its sink by other tasks than the one that awaits `invoke`.
    pub fn has_own_tasks(&self) -> bool {
        matches!(self.kind, Kind::Http)
    }

    /// Resolves when every external extension has registered: the runtime may be started.
    pub async fn registered(&mut self) -> Result<(), ConversationError> {
        match &self.http {
            Some(http) => http.exchange.registered().await,
            None => Ok(()),
        }
    }

    /// When the interpreter said its first word (frames: `hello`; HTTP: the first connection, or the first request for an
    /// event where frames were possible, too).
    pub async fn first_word(&mut self) -> Result<(), ConversationError> {
        match (&mut self.kind, &self.http) {
            (Kind::Frames(frames), None) => frames.first_word().await,
            (Kind::Frames(frames), Some(http)) => {
                tokio::select! {
                    biased;
                    word = frames.first_word() => {
                        word?;
                        http.exchange.runtime_speaks_frames();
                    }
                    asks = http.exchange.waiting() => {
                        asks?;
                        self.kind = Kind::Http;
                    }
                }
                Ok(())
            }
            (Kind::Http, Some(http)) => {
                http.exchange.connected().await;
                Ok(())
            }
            (Kind::Http, None) => Err(ConversationError::Closed),
        }
    }

    /// Resolves when the runtime's init is over: the handler is imported and it waits for an event. Extensions may still
    /// be at theirs.
    pub async fn runtime_ready(&mut self) -> Result<(), ConversationError> {
        if matches!(self.kind, Kind::Frames(_)) {
            // Which may show that it does not speak frames.
            self.first_word().await?;
        }
        match (&mut self.kind, &self.http) {
            (Kind::Frames(frames), None) => frames.ready().await?,
            (Kind::Frames(frames), Some(http)) => {
                tokio::select! {
                    biased;
                    ready = frames.ready() => ready?,
                    failure = http.exchange.failed() => return Err(failure),
                }
                http.exchange.close_registration();
            }
            (Kind::Http, Some(http)) => http.exchange.waiting().await?,
            (Kind::Http, None) => return Err(ConversationError::Closed),
        }
        self.runtime_is_ready = true;
        Ok(())
    }

    /// Resolves when init is over: the runtime and every extension wait for an event. Nobody can subscribe to telemetry
    /// any more then.
    pub async fn ready(&mut self) -> Result<(), ConversationError> {
        if !self.runtime_is_ready {
            self.runtime_ready().await?;
        }
        self.settled().await?;
        let Some(http) = &self.http else { return Ok(()) };
        if let Some(telemetry) = &http.exchange.surroundings.telemetry {
            telemetry.close_subscription();
        }
        Ok(())
    }

    /// Hands one event over and forwards the answer. Resolves when the answer is complete.
    pub async fn invoke(
        &mut self,
        event: Event,
        sink: AnswerSink,
        limits: AnswerLimits,
    ) -> Result<Reply, ConversationError> {
        match (&mut self.kind, &mut self.http) {
            (Kind::Frames(frames), Some(http)) if http.exchange.has_extensions() => {
                // They are not told the payload.
                http.exchange.offer_to_extensions(Event { payload: Bytes::new(), ..event.clone() });
                tokio::select! {
                    biased;
                    reply = frames.invoke(event, sink, limits) => reply,
                    failure = http.exchange.failed() => Err(failure),
                }
            }
            (Kind::Frames(frames), _) => frames.invoke(event, sink, limits).await,
            (Kind::Http, Some(http)) => http.invoke(event, sink, limits).await,
            (Kind::Http, None) => Err(ConversationError::Closed),
        }
    }

    /// For a function that takes several events at once. `None` for one of our bootstraps, which take one after the other.
    pub fn calls(&self) -> Option<Calls> {
        match &self.kind {
            Kind::Frames(_) => None,
            Kind::Http => self.http.as_ref().map(HttpConversation::calls),
        }
    }

    /// Resolves when the runtime has asked for the next event (with frames: at once after the answer).
    pub async fn runtime_idle(&mut self) -> Result<(), ConversationError> {
        match (&self.kind, &self.http) {
            (Kind::Frames(_), _) => Ok(()),
            (Kind::Http, Some(http)) => http.exchange.waiting().await,
            (Kind::Http, None) => Err(ConversationError::Closed),
        }
    }

    /// Resolves when the runtime and every extension have asked for the next event.
    pub async fn idle(&mut self) -> Result<(), ConversationError> {
        self.runtime_idle().await?;
        self.settled().await
    }

    /// Resolves when every extension has asked for the next event. What a thread of the runtime logs until then is taken.
    async fn settled(&mut self) -> Result<(), ConversationError> {
        match (&mut self.kind, &self.http) {
            (_, None) => Ok(()),
            (Kind::Frames(frames), Some(http)) if http.exchange.has_internal_extensions() => {
                tokio::select! {
                    settled = http.exchange.settled() => settled?,
                    error = frames.listen() => return Err(error),
                }
                frames.take_logs_now().await
            }
            (_, Some(http)) => http.exchange.settled().await,
        }
    }

    /// Whether there is any extension.
    pub fn has_extensions(&self) -> bool {
        self.http.as_ref().is_some_and(|http| http.exchange.has_extensions())
    }

    /// Whether one is a thread of the runtime.
    pub fn has_internal_extensions(&self) -> bool {
        self.http.as_ref().is_some_and(|http| http.exchange.has_internal_extensions())
    }

    /// How far each extension has come.
    pub fn extension_reports(&self) -> Vec<ExtensionReport> {
        self.http.as_ref().map(|http| http.exchange.extension_reports()).unwrap_or_default()
    }

    /// Tells the external extensions that want to know that the instance ends, and when at the latest (milliseconds since the
    /// epoch). Gives their names: they end by themselves when they are done.
    pub fn shut_down_extensions(&self, deadline_ms: i64, reason: ShutdownReason) -> Vec<String> {
        let http = self.http.as_ref();
        http.map(|http| http.exchange.shut_down(deadline_ms, reason)).unwrap_or_default()
    }
}
