//! The frames our own bootstraps speak, version 1.
//!
//! ```text
//! u32 big-endian length of what follows | u8 kind | payload
//!
//! from the runtime                          to the runtime
//!   0x01 hello         u8 version             0x81 init     JSON: environment to add
//!   0x02 ready                                0x82 invoke   u32 header length, header JSON, event bytes
//!                                             0x83 begin    the code is there: import the handler
//!   0x03 init error    typed document
//!   0x04 response      whole buffered body
//!   0x05 error         typed document
//!   0x06 log           i64 epoch milliseconds, text
//!   0x07 stream begin  content type, may be empty
//!   0x08 chunk         bytes
//!   0x09 stream end
//!   0x0a stream error  typed document
//!
//! typed document = u16 length, error type, error document as JSON
//! ```
//!
//! The other side is the function's own process: it may send anything. A frame that breaks a rule ends the
//! conversation; a body beyond the limit is read away piece by piece and never held.

use crate::conversation::Init;
use bytes::{Buf as _, Bytes, BytesMut};
use serde::Serialize;

/// The version `hello` must carry.
pub const PROTOCOL_VERSION: u8 = 1;
/// Largest frame other than a response, bytes: an error document or a chunk.
pub const FRAME_BYTES: usize = 1024 * 1024;
/// Longest log event kept, bytes. Source: CloudWatch Logs, event size.
pub const LOG_BYTES: usize = 256 * 1024;

/// What the runtime sends.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // Named as in the table above.
pub enum Frame {
    Hello {
        version: u8,
    },
    Ready,
    InitError {
        error_type: String,
        document: Bytes,
    },
    Response(Bytes),
    /// A response that was longer than the limit; it has been read away.
    ResponseTooLarge,
    Error {
        error_type: String,
        document: Bytes,
    },
    Log {
        timestamp_ms: i64,
        text: String,
    },
    StreamBegin {
        content_type: Option<String>,
    },
    Chunk(Bytes),
    StreamEnd,
    StreamError {
        error_type: String,
        document: Bytes,
    },
}

/// Takes bytes as they come, gives frames. Holds at most one frame.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    /// Bytes of an oversized response still to be read away.
    skipping: usize,
    /// Largest response, bytes.
    pub response_limit: usize,
}

const KIND_RESPONSE: u8 = 0x04;
/// Payloads up to here are copied out of the buffer, bytes.
const COPIED_BYTES: usize = 1024;

impl Decoder {
    /// For responses of up to `response_limit` bytes.
    pub fn new(response_limit: usize) -> Self {
        Self { buffer: BytesMut::new(), skipping: 0, response_limit }
    }

    /// The buffer to read into.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next whole frame; `None` when more bytes are needed.
    ///
    /// # Errors
    /// What rule the frame breaks. The conversation cannot go on then.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, String> {
        if self.skipping > 0 {
            let skipped = self.skipping.min(self.buffer.len());
            self.buffer.advance(skipped);
            self.skipping -= skipped;
            return Ok((self.skipping == 0).then_some(Frame::ResponseTooLarge));
        }
        let Some((head, _)) = self.buffer.split_first_chunk::<5>() else { return Ok(None) };
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let kind = head[4];
        if length == 0 {
            return Err("a frame without a kind".to_owned());
        }
        let payload_length = length - 1;
        let limit = if kind == KIND_RESPONSE { self.response_limit } else { FRAME_BYTES };
        if payload_length > limit {
            if kind != KIND_RESPONSE {
                return Err(format!("a frame of kind {kind:#04x} and {payload_length} bytes"));
            }
            self.buffer.advance(5);
            self.skipping = payload_length;
            return self.next_frame();
        }
        if self.buffer.len() < 4 + length {
            self.buffer.reserve(4 + length - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(5);
        // A small payload is copied: sharing the buffer would cost the next read a buffer of its own.
        let payload = if payload_length <= COPIED_BYTES {
            let copy = Bytes::copy_from_slice(&self.buffer[..payload_length]);
            self.buffer.advance(payload_length);
            copy
        } else {
            self.buffer.split_to(payload_length).freeze()
        };
        parse(kind, payload).map(Some)
    }
}

fn parse(kind: u8, mut payload: Bytes) -> Result<Frame, String> {
    Ok(match kind {
        0x01 => Frame::Hello { version: payload.first().copied().unwrap_or(0) },
        0x02 => Frame::Ready,
        0x03 => {
            let (error_type, document) = typed(payload)?;
            Frame::InitError { error_type, document }
        }
        KIND_RESPONSE => Frame::Response(payload),
        0x05 => {
            let (error_type, document) = typed(payload)?;
            Frame::Error { error_type, document }
        }
        0x06 => {
            if payload.len() < 8 {
                return Err("a log frame without a timestamp".to_owned());
            }
            let timestamp_ms = payload.get_i64();
            payload.truncate(LOG_BYTES);
            Frame::Log { timestamp_ms, text: String::from_utf8_lossy(&payload).into_owned() }
        }
        0x07 => Frame::StreamBegin {
            content_type: (!payload.is_empty()).then(|| String::from_utf8_lossy(&payload).into_owned()),
        },
        0x08 => Frame::Chunk(payload),
        0x09 => Frame::StreamEnd,
        0x0a => {
            let (error_type, document) = typed(payload)?;
            Frame::StreamError { error_type, document }
        }
        other => return Err(format!("a frame of unknown kind {other:#04x}")),
    })
}

fn typed(mut payload: Bytes) -> Result<(String, Bytes), String> {
    if payload.len() < 2 {
        return Err("an error frame without a type".to_owned());
    }
    let length = usize::from(payload.get_u16());
    if payload.len() < length {
        return Err("an error frame whose type is cut".to_owned());
    }
    let error_type = payload.split_to(length);
    Ok((String::from_utf8_lossy(&error_type).into_owned(), payload))
}

/// The bytes of an `init` frame.
pub fn encode_init(init: &Init) -> std::io::Result<Vec<u8>> {
    let json = serde_json::to_vec(init)?;
    let length =
        u32::try_from(1 + json.len()).map_err(|_| std::io::Error::other("init does not fit a frame"))?;
    let mut bytes = Vec::with_capacity(5 + json.len());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.push(0x81);
    bytes.extend_from_slice(&json);
    Ok(bytes)
}

/// The frame that says the code is there.
pub const BEGIN: [u8; 5] = [0, 0, 0, 1, 0x83];

/// The header of an `invoke` frame.
#[derive(Debug, Serialize)]
pub struct InvokeHeader<'a> {
    /// UUID.
    pub request_id: String,
    /// Epoch milliseconds.
    pub deadline_ms: i64,
    /// As invoked.
    pub invoked_arn: &'a str,
    /// `X-Amzn-Trace-Id`.
    pub trace_id: Option<&'a str>,
    /// Decoded JSON text.
    pub client_context: Option<&'a str>,
    /// Whose event it is; absent on functions that do not keep tenants apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<&'a str>,
}

/// The bytes of an `invoke` frame up to the event, which follows verbatim (so that it is not copied).
pub fn encode_invoke(header: &InvokeHeader<'_>, event_bytes: usize) -> std::io::Result<Vec<u8>> {
    let json = serde_json::to_vec(header)?;
    let too_long = |_| std::io::Error::other("an event does not fit a frame");
    let header_length = u32::try_from(json.len()).map_err(too_long)?;
    let length = u32::try_from(1 + 4 + json.len() + event_bytes).map_err(too_long)?;
    let mut bytes = Vec::with_capacity(9 + json.len());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.push(0x82);
    bytes.extend_from_slice(&header_length.to_be_bytes());
    bytes.extend_from_slice(&json);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = (payload.len() as u32 + 1).to_be_bytes().to_vec();
        bytes.push(kind);
        bytes.extend_from_slice(payload);
        bytes
    }

    fn decode_all(bytes: &[u8], step: usize, limit: usize) -> Result<Vec<Frame>, String> {
        let mut decoder = Decoder::new(limit);
        let mut frames = Vec::new();
        for piece in bytes.chunks(step.max(1)) {
            decoder.buffer().extend_from_slice(piece);
            while let Some(frame) = decoder.next_frame()? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    #[test]
    fn frames_come_whole_however_they_arrive() {
        let mut bytes = frame(0x01, &[1]);
        bytes.extend(frame(0x06, b"\0\0\0\0\0\0\0\x05line\n"));
        bytes.extend(frame(0x05, b"\0\x0aValueError{}"));
        bytes.extend(frame(0x04, b"\"ok\""));
        let expected = vec![
            Frame::Hello { version: 1 },
            Frame::Log { timestamp_ms: 5, text: "line\n".to_owned() },
            Frame::Error { error_type: "ValueError".to_owned(), document: Bytes::from_static(b"{}") },
            Frame::Response(Bytes::from_static(b"\"ok\"")),
        ];
        for step in [1, 2, 7, 1000] {
            assert_eq!(decode_all(&bytes, step, 100).unwrap(), expected);
        }
    }

    #[test]
    fn a_response_beyond_the_limit_is_read_away() {
        let mut bytes = frame(0x04, &[b'x'; 5000]);
        bytes.extend(frame(0x02, b""));
        assert_eq!(decode_all(&bytes, 64, 4999).unwrap(), [Frame::ResponseTooLarge, Frame::Ready]);
        let mut decoder = Decoder::new(10);
        decoder.buffer().extend_from_slice(&u32::MAX.to_be_bytes());
        decoder.buffer().extend_from_slice(&[0x04]);
        assert_eq!(decoder.next_frame().unwrap(), None);
        assert!(decoder.buffer().capacity() < 1024);
    }

    #[test]
    fn what_breaks_a_rule_is_named() {
        for (bytes, text) in [
            (vec![0, 0, 0, 0, 1], "without a kind"),
            (frame(0x77, b""), "unknown kind 0x77"),
            (frame(0x05, b"\0"), "without a type"),
            (frame(0x05, b"\0\x09abc"), "type is cut"),
            (frame(0x06, b"abc"), "without a timestamp"),
            (vec![0xff, 0xff, 0xff, 0xff, 0x08], "kind 0x08"),
        ] {
            let error = decode_all(&bytes, 100, 100).unwrap_err();
            assert!(error.contains(text), "{error}");
        }
    }

    proptest! {
        #[test]
        fn anything_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..4000), step in 1..500_usize) {
            let _ = decode_all(&bytes, step, 256);
        }
    }
}
