//! The conversation with our own bootstraps over a Unix stream socket (descriptor 3 in the runtime).
//!
//! ```text
//! start ── hello ──► up ── ready ──► idle ── invoke ──► running ── response | error | stream end ──► idle
//!                     └── init error ──► over          (log frames may come at any time)
//! ```

mod codec;

pub use codec::{Decoder, FRAME_BYTES, Frame, LOG_BYTES, PROTOCOL_VERSION};

use crate::conversation::{AnswerSink, ConversationError, Event, InitFailure, LogRecord, Reply};
use bytes::Bytes;
use codec::{InvokeHeader, encode_invoke};
use std::os::unix::net::UnixStream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

/// Log events that wait for the owner; beyond it they are dropped and counted.
const LOG_QUEUE: usize = 4_096;

/// One bootstrap's conversation.
#[derive(Debug)]
pub struct FrameConversation {
    stream: tokio::net::UnixStream,
    decoder: Decoder,
    logs: mpsc::Sender<LogRecord>,
    dropped_logs: u64,
    said_hello: bool,
}

impl FrameConversation {
    /// Takes the platform's end. The receiver gets the runtime's log events in order.
    pub fn new(stream: UnixStream) -> std::io::Result<(Self, mpsc::Receiver<LogRecord>)> {
        stream.set_nonblocking(true)?;
        let (logs, receiver) = mpsc::channel(LOG_QUEUE);
        let conversation = Self {
            stream: tokio::net::UnixStream::from_std(stream)?,
            decoder: Decoder::new(lamplight_model::limits::SYNC_PAYLOAD_BYTES),
            logs,
            dropped_logs: 0,
            said_hello: false,
        };
        Ok((conversation, receiver))
    }

    /// The next frame that is not a log event.
    async fn next_frame(&mut self) -> Result<Frame, ConversationError> {
        loop {
            while let Some(frame) = self.decoder.next_frame().map_err(ConversationError::Protocol)? {
                match frame {
                    Frame::Log { timestamp_ms, text } => self.log(LogRecord { timestamp_ms, text }),
                    frame => return Ok(frame),
                }
            }
            match self.stream.read_buf(self.decoder.buffer()).await {
                Ok(0) | Err(_) => return Err(ConversationError::Closed),
                Ok(_) => {}
            }
        }
    }

    /// Hands a log event on, never waiting: a slow owner must not stall the function, nor the other way round.
    fn log(&mut self, record: LogRecord) {
        if self.dropped_logs > 0 {
            let timestamp_ms = record.timestamp_ms;
            let text = format!("lamplight: dropped {} log events\n", self.dropped_logs);
            if self.logs.try_send(LogRecord { timestamp_ms, text }).is_ok() {
                self.dropped_logs = 0;
            }
        }
        if self.logs.try_send(record).is_err() {
            self.dropped_logs += 1;
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
        response_limit: usize,
    ) -> Result<Reply, ConversationError> {
        self.decoder.response_limit = response_limit;
        let header = InvokeHeader {
            request_id: event.request_id.to_string(),
            deadline_ms: event.deadline_ms,
            invoked_arn: &event.invoked_arn,
            trace_id: event.trace_header.as_deref(),
            client_context: event.client_context.as_deref(),
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
            Frame::Error { error_type, document } => {
                let _ = content_type.send(None);
                let _ = body.send(document).await;
                Ok(Reply::Error { error_type })
            }
            Frame::ResponseTooLarge => {
                let _ = content_type.send(None);
                let _ = body.send(crate::conversation::too_large_document(response_limit)).await;
                Ok(Reply::TooLarge)
            }
            Frame::StreamBegin { content_type: named } => {
                let _ = content_type.send(named);
                self.stream_answer(&body).await
            }
            other => Err(unexpected("an answer", &other)),
        }
    }

    /// Writes an event while log frames may come in: a runtime that prints before it reads must not deadlock us.
    async fn write(&mut self, head: Vec<u8>, payload: Bytes) -> Result<(), ConversationError> {
        let (mut reader, mut writer) = self.stream.split();
        let write = async {
            writer.write_all(&head).await?;
            writer.write_all(&payload).await
        };
        tokio::pin!(write);
        loop {
            let room = self.decoder.buffer().len() < FRAME_BYTES;
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

    async fn stream_answer(&mut self, body: &mpsc::Sender<Bytes>) -> Result<Reply, ConversationError> {
        loop {
            match self.next_frame().await? {
                // A closed receiver means the caller went away: the function goes on, its bytes are dropped.
                Frame::Chunk(bytes) => {
                    let _ = body.send(bytes).await;
                }
                Frame::StreamEnd => return Ok(Reply::Response { streamed: true }),
                Frame::StreamError { error_type, .. } => return Ok(Reply::StreamBroken { error_type }),
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
