//! The conversation with our own bootstraps over a Unix stream socket (descriptor 3 in the runtime).
//!
//! ```text
//! start ── hello, init, begin ──► up ── ready ──► idle ── invoke ──► running ── response | error | stream end ──► idle
//!                           └── init error ──► over          (log frames may come at any time)
//! ```
//!
//! A conversation is driven by whoever calls it: between calls nothing is read, and what the function's process
//! writes meanwhile waits in the socket's buffer of the kernel.

mod codec;

pub use codec::{Decoder, FRAME_BYTES, Frame, LOG_BYTES, PROTOCOL_VERSION};

use crate::conversation::{
    AnswerLimits, AnswerSink, ConversationError, Event, Init, InitFailure, LogRecord, Reply, StreamedBody,
};
use crate::stream::StreamLimits;
use bytes::Bytes;
use codec::{BEGIN, InvokeHeader, encode_init, encode_invoke};
use lamplight_model::TenantId;
use std::io::{IoSlice, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep_until, timeout};

/// Bytes of log events that wait for the owner; beyond it the function waits.
const LOG_QUEUE_BYTES: usize = 1024 * 1024;
/// What a log event counts at least, so that the number of waiting events is bounded too (4,096).
const LOG_LEAST_BYTES: usize = 256;
/// How long the function waits for the owner before its events are dropped and counted.
const LOG_PATIENCE: Duration = Duration::from_millis(50);
/// Bytes of log events taken in one second; a function that writes more is slowed down, not its neighbours.
const LOG_BYTES_PER_SECOND: usize = 16 * 1024 * 1024;
/// Room made in the buffer before each read.
const READ_BYTES: usize = 8 * 1024;

/// One bootstrap's conversation.
#[derive(Debug)]
pub struct FrameConversation {
    stream: tokio::net::UnixStream,
    decoder: Decoder,
    logs: mpsc::Sender<LogRecord>,
    log_room: Arc<Semaphore>,
    log_rate: LogRate,
    dropped_logs: u64,
    said_hello: bool,
}

/// Log bytes of the present second, which begins with the first one.
#[derive(Debug, Default)]
struct LogRate {
    since: Option<Instant>,
    bytes: usize,
}

impl FrameConversation {
    /// Takes the platform's end. The receiver gets the runtime's log events in order.
    ///
    /// `init` is sent at once, so that it lies ready when the bootstrap comes up; `None` leaves it to
    /// [`tell`](Self::tell).
    pub fn new(
        mut stream: UnixStream,
        init: Option<&Init>,
    ) -> std::io::Result<(Self, mpsc::Receiver<LogRecord>)> {
        stream.set_nonblocking(true)?;
        if let Some(init) = init {
            match stream.write_all(&[&encode_init(init)?[..], &BEGIN].concat()) {
                // A process that is gone already is told by the first read.
                Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(error),
                _ => {}
            }
        }
        let (logs, receiver) = mpsc::channel(LOG_QUEUE_BYTES / LOG_LEAST_BYTES + 1);
        let conversation = Self {
            stream: tokio::net::UnixStream::from_std(stream)?,
            decoder: Decoder::new(lamplight_model::limits::SYNC_PAYLOAD_BYTES),
            logs,
            log_room: Arc::new(Semaphore::new(LOG_QUEUE_BYTES)),
            log_rate: LogRate::default(),
            dropped_logs: 0,
            said_hello: false,
        };
        Ok((conversation, receiver))
    }

    /// See [`Conversation::begin`](crate::Conversation::begin).
    pub async fn begin(&mut self) -> Result<(), ConversationError> {
        self.write(BEGIN.to_vec(), Bytes::new()).await
    }

    /// See [`Conversation::tell`](crate::Conversation::tell).
    pub async fn tell(&mut self, init: &Init) -> Result<(), ConversationError> {
        let frame = encode_init(init).map_err(|error| ConversationError::Protocol(error.to_string()))?;
        self.write(frame, Bytes::new()).await
    }

    /// The next frame that is not a log event.
    async fn next_frame(&mut self) -> Result<Frame, ConversationError> {
        loop {
            while let Some(frame) = self.decoder.next_frame().map_err(ConversationError::Protocol)? {
                match frame {
                    Frame::Log { timestamp_ms, text } => self.log(timestamp_ms, text).await,
                    frame => return Ok(frame),
                }
            }
            self.decoder.buffer().reserve(READ_BYTES);
            match self.stream.read_buf(self.decoder.buffer()).await {
                Ok(0) | Err(_) => return Err(ConversationError::Closed),
                Ok(_) => {}
            }
        }
    }

    /// Hands a log event on. A fast function waits for its owner; one whose owner reads nothing loses events
    /// rather than its time.
    async fn log(&mut self, timestamp_ms: i64, text: String) {
        self.keep_log_rate(text.len()).await;
        let bytes = u32::try_from(text.len().clamp(LOG_LEAST_BYTES, LOG_QUEUE_BYTES)).unwrap_or(u32::MAX);
        let room = self.log_room.clone();
        let room = match room.clone().try_acquire_many_owned(bytes) {
            Ok(room) => Some(room),
            // Out of patience before, and still no room.
            Err(_) if self.dropped_logs > 0 => None,
            Err(_) => timeout(LOG_PATIENCE, room.acquire_many_owned(bytes)).await.ok().and_then(Result::ok),
        };
        let Some(room) = room else {
            self.dropped_logs += 1;
            return;
        };
        if self.dropped_logs > 0 {
            let text = format!("lamplight: dropped {} log events\n", self.dropped_logs);
            if self.logs.try_send(LogRecord { timestamp_ms, text, _room: None }).is_ok() {
                self.dropped_logs = 0;
            }
        }
        // Only a receiver that is gone, and nobody misses the event then.
        let _ = self.logs.try_send(LogRecord { timestamp_ms, text, _room: Some(room) });
    }

    async fn keep_log_rate(&mut self, bytes: usize) {
        let second = Duration::from_secs(1);
        let since = *self.log_rate.since.get_or_insert_with(Instant::now);
        self.log_rate.bytes += bytes;
        if self.log_rate.bytes <= LOG_BYTES_PER_SECOND {
            return;
        }
        sleep_until(since + second).await;
        self.log_rate = LogRate { since: Some(Instant::now()), bytes };
    }

    /// Takes log events while nothing else may be said; resolves when something is, or the runtime has ended. Cancel-safe but
    /// for an event that waits for room.
    pub async fn listen(&mut self) -> ConversationError {
        match self.next_frame().await {
            Ok(other) => unexpected("nothing", &other),
            Err(error) => error,
        }
    }

    /// Takes the log events that have come, as many as the queue holds at most.
    pub async fn take_logs_now(&mut self) -> Result<(), ConversationError> {
        let mut taken = 0;
        while taken < LOG_QUEUE_BYTES {
            match self.receive_now()? {
                0 => break,
                length => taken += length,
            }
            while let Some(frame) = self.decoder.next_frame().map_err(ConversationError::Protocol)? {
                match frame {
                    Frame::Log { timestamp_ms, text } => self.log(timestamp_ms, text).await,
                    other => return Err(unexpected("nothing", &other)),
                }
            }
        }
        Ok(())
    }

    /// Bytes that were received; 0 when none have come. Asks the kernel, not the reactor, which may not have heard of them yet.
    fn receive_now(&mut self) -> Result<usize, ConversationError> {
        let mut buffer = [0; READ_BYTES];
        match rustix::net::recv(&self.stream, &mut buffer, rustix::net::RecvFlags::DONTWAIT) {
            Ok((_, length @ 1..)) => {
                self.decoder.buffer().extend_from_slice(&buffer[..length]);
                Ok(length)
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(0),
            Ok((_, 0)) | Err(_) => Err(ConversationError::Closed),
        }
    }

    /// See [`Conversation::first_word`](crate::Conversation::first_word).
    pub async fn first_word(&mut self) -> Result<(), ConversationError> {
        if self.said_hello {
            return Ok(());
        }
        match self.next_frame().await? {
            Frame::Hello { version: PROTOCOL_VERSION } => {
                self.said_hello = true;
                Ok(())
            }
            other => Err(unexpected("hello", &other)),
        }
    }

    /// Whether the first word was heard.
    pub fn has_spoken(&self) -> bool {
        self.said_hello
    }

    /// See [`Conversation::ready`](crate::Conversation::ready).
    pub async fn ready(&mut self) -> Result<(), ConversationError> {
        self.first_word().await?;
        match self.next_frame().await? {
            Frame::Ready => Ok(()),
            Frame::InitError { error_type, document } => {
                Err(ConversationError::Init(InitFailure { error_type, document }))
            }
            other => Err(unexpected("ready", &other)),
        }
    }

    /// See [`Conversation::invoke`](crate::Conversation::invoke).
    pub async fn invoke(
        &mut self,
        event: Event,
        sink: AnswerSink,
        limits: AnswerLimits,
    ) -> Result<Reply, ConversationError> {
        self.decoder.response_limit = limits.buffered_bytes;
        // What was logged between invocations counts for this one's first second.
        self.log_rate = LogRate::default();
        let header = InvokeHeader {
            request_id: event.request_id.to_string(),
            deadline_ms: event.deadline_ms,
            invoked_arn: &event.invoked_arn,
            trace_id: event.trace_header.as_deref(),
            client_context: event.client_context.as_deref(),
            tenant_id: event.tenant_id.as_ref().map(TenantId::as_str),
        };
        let head = encode_invoke(&header, event.payload.len())
            .map_err(|error| ConversationError::Protocol(error.to_string()))?;
        self.write(head, event.payload).await?;
        let (body, content_type) = (sink.body, sink.content_type);
        match self.next_frame().await? {
            Frame::Response(bytes) => {
                let _ = content_type.send(None);
                let _ = body.send(bytes).await;
                Ok(Reply::Response { streamed: false })
            }
            Frame::Error { error_type, document } => Ok(Reply::Error { error_type, document }),
            Frame::ResponseTooLarge => Ok(Reply::too_large(limits.buffered_bytes)),
            Frame::StreamBegin { content_type: named } => {
                let _ = content_type.send(named);
                // In a box: buffered answers, which are most, need no room for it.
                Box::pin(self.stream_answer(body, limits.stream)).await
            }
            other => Err(unexpected("an answer", &other)),
        }
    }

    /// Writes an event while log frames may come in: a runtime that prints before it reads must not deadlock us.
    async fn write(&mut self, head: Vec<u8>, payload: Bytes) -> Result<(), ConversationError> {
        // Nearly always all of it, in one system call.
        let slices = [IoSlice::new(&head), IoSlice::new(&payload)];
        let written = match self.stream.try_write_vectored(&slices) {
            Ok(written) => written,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => 0,
            Err(_) => return Err(ConversationError::Closed),
        };
        if written == head.len() + payload.len() {
            return Ok(());
        }
        let (head_written, payload_written) = (written.min(head.len()), written.saturating_sub(head.len()));
        let (mut reader, mut writer) = self.stream.split();
        let write = async {
            writer.write_all(&head[head_written..]).await?;
            writer.write_all(&payload[payload_written..]).await
        };
        tokio::pin!(write);
        loop {
            let room = self.decoder.buffer().len() < FRAME_BYTES;
            if room {
                self.decoder.buffer().reserve(READ_BYTES);
            }
            tokio::select! {
                biased;
                written = &mut write => return written.map_err(|_| ConversationError::Closed),
                read = reader.read_buf(self.decoder.buffer()), if room => match read {
                    Ok(0) | Err(_) => return Err(ConversationError::Closed),
                    Ok(_) => {}
                },
            }
        }
    }

    async fn stream_answer(
        &mut self,
        body: mpsc::Sender<Bytes>,
        limits: StreamLimits,
    ) -> Result<Reply, ConversationError> {
        let mut body = StreamedBody::new(body, limits);
        let mut too_large = false;
        loop {
            match self.next_frame().await? {
                // What is too large is read away, so that the instance can go on.
                Frame::Chunk(bytes) => too_large |= !body.piece(bytes).await,
                Frame::StreamEnd | Frame::StreamError { .. } if too_large => {
                    return Ok(Reply::too_large(limits.bytes));
                }
                Frame::StreamEnd => return Ok(Reply::Response { streamed: true }),
                Frame::StreamError { error_type, document } => {
                    return Ok(Reply::Error { error_type, document });
                }
                other => return Err(unexpected("a piece of the stream", &other)),
            }
        }
    }
}

fn unexpected(wanted: &str, got: &Frame) -> ConversationError {
    let got = format!("{got:?}");
    let got: String = got.chars().take(80).collect();
    ConversationError::Protocol(format!("waited for {wanted}, got {got}"))
}
