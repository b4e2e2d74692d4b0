//! From the request as it came to the one s3s sees: without signature, with the bytes of its body only.
//!
//! SDKs send bodies `aws-chunked`: in pieces, each with its length, and with a checksum behind the last.
//!
//! ```text
//!  400;chunk-signature=..\r\n <1024 bytes> \r\n  0;chunk-signature=..\r\n  x-amz-checksum-crc32:..\r\n  \r\n
//! ```
//! Source: S3 API reference, "Signature calculations: transferring payload in multiple chunks" and "Including trailing
//! headers".

use crate::http::{Context, body};
use crate::s3::error::{self, refusal};
use crate::s3::presigned;
use axum::body::Body;
use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri, header};
use http_body::{Body as _, Frame};
use http_body_util::StreamBody;
use lamplight_services::objects::{Algorithm, ObjectError};
use s3s::S3Error;
use s3s::dto::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as Poller, Poll};

/// Longest line between chunks, and longest trailer, bytes.
const LINE_BYTES: usize = 8 * 1024;
/// Most trailers.
const TRAILERS: usize = 16;

/// What the head says about the body, for the operations that store it.
#[derive(Debug, Clone, Default)]
pub struct Payload {
    /// The SHA-256 the signature covers.
    pub signed_sha256: Option<[u8; 32]>,
    /// Bytes announced, decoded.
    pub bytes: Option<u64>,
    /// The checksum that follows the body.
    pub trailer: Option<Algorithm>,
    /// What followed the body, once it has been read.
    pub trailers: Trailers,
}

/// Names in lower case.
pub type Trailers = Arc<Mutex<Vec<(String, String)>>>;

/// What became of a body.
#[derive(Debug, Default)]
pub struct Left {
    /// What was not read.
    body: Option<Body>,
    /// Whether any of it was asked for.
    polled: bool,
    /// Whether it broke off or was not framed as it said.
    broken: bool,
}

/// Shared with the body, which s3s owns meanwhile.
pub type Rest = Arc<Mutex<Left>>;

/// Bytes as they come. Leaves the rest behind when it is dropped before its end.
pub struct Watched {
    body: Option<Body>,
    rest: Rest,
    polled: bool,
}

/// Lets `discard` read what nobody wanted.
pub fn watch(body: Body) -> (Watched, Rest) {
    let rest = Rest::default();
    (Watched { body: Some(body), rest: Arc::clone(&rest), polled: false }, rest)
}

/// Whether the body broke off. s3s calls that an internal error when it reads a document.
pub fn is_broken(rest: &Rest) -> bool {
    rest.lock().unwrap_or_else(PoisonError::into_inner).broken
}

/// Reads on, so that a client that is still sending gets to read its refusal. One that waits to be asked for its body is
/// not asked; gives back whether it is so, as the connection cannot be used again then.
pub async fn discard(context: &Context, rest: &Rest) -> bool {
    let Left { body, polled, .. } = std::mem::take(&mut *rest.lock().unwrap_or_else(PoisonError::into_inner));
    let waits = !polled && context.headers.contains_key(header::EXPECT);
    match body {
        Some(_) if waits => true,
        Some(body) => {
            body::discard(body).await;
            false
        }
        None => false,
    }
}

impl Stream for Watched {
    type Item = Result<Bytes, ObjectError>;

    fn poll_next(mut self: Pin<&mut Self>, poller: &mut Poller<'_>) -> Poll<Option<Self::Item>> {
        self.polled = true;
        loop {
            let Some(body) = self.body.as_mut() else { return Poll::Ready(None) };
            let frame = std::task::ready!(Pin::new(body).poll_frame(poller));
            match frame {
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                }
                // The client went away or broke the framing: there is nothing to read on.
                Some(Err(_)) => {
                    self.body = None;
                    return Poll::Ready(Some(Err(ObjectError::IncompleteBody)));
                }
                None => self.body = None,
            }
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let body = self.body.take();
        let mut left = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        (left.body, left.polled) = (body, self.polled);
    }
}

/// The request for s3s, with its `Payload` among the extensions.
pub fn prepare(context: &Context, body: Watched) -> Result<Request<s3s::Body>, S3Error> {
    let rest = Arc::clone(&body.rest);
    let (query, hoisted) = presigned::split(context);
    let mut headers = context.headers.clone();
    for (name, value) in hoisted {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value))
            && !headers.contains_key(&name)
        {
            headers.insert(name, value);
        }
    }
    let (mut payload, chunked) = read_head(&mut headers)?;
    let stream: Pin<Box<dyn Stream<Item = Result<Bytes, ObjectError>> + Send>> = if chunked {
        payload.trailers = Trailers::default();
        Box::pin(decode(body, Arc::clone(&payload.trailers)))
    } else {
        Box::pin(body)
    };
    tidy(&mut headers);
    let separator = if query.is_empty() { "" } else { "?" };
    let uri: Uri = format!("{}{separator}{query}", context.path)
        .parse()
        .map_err(|_| refusal(StatusCode::BAD_REQUEST, "InvalidURI", "Couldn't parse the specified URI."))?;
    let stream =
        stream.inspect_err(move |_| rest.lock().unwrap_or_else(PoisonError::into_inner).broken = true);
    let body = s3s::Body::http_body_unsync(StreamBody::new(stream.map_ok(Frame::data)));
    let mut request = Request::new(body);
    *request.method_mut() = context.method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    request.extensions_mut().insert(payload);
    Ok(request)
}

/// Reads what the head says about the body and takes it out, so that s3s sees a plain one.
fn read_head(headers: &mut HeaderMap) -> Result<(Payload, bool), S3Error> {
    headers.remove(header::AUTHORIZATION);
    let sha256 = headers.remove("x-amz-content-sha256");
    let sha256 = sha256.as_ref().and_then(|value| value.to_str().ok()).unwrap_or_default();
    let encodings =
        headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let others: Vec<&str> = encodings
        .split(',')
        .map(str::trim)
        .filter(|encoding| !encoding.is_empty() && !encoding.eq_ignore_ascii_case("aws-chunked"))
        .collect();
    let chunked = sha256.starts_with("STREAMING-") || encodings.to_ascii_lowercase().contains("aws-chunked");
    let others = others.join(",");
    if chunked {
        match HeaderValue::from_str(&others) {
            Ok(value) if !others.is_empty() => headers.insert(header::CONTENT_ENCODING, value),
            _ => headers.remove(header::CONTENT_ENCODING),
        };
    }
    let number = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let bytes = if chunked {
        let decoded = number("x-amz-decoded-content-length").ok_or_else(error::missing_content_length)?;
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(decoded));
        headers.remove("x-amz-decoded-content-length");
        Some(decoded)
    } else {
        number(header::CONTENT_LENGTH.as_str())
    };
    let trailer = headers.get("x-amz-trailer").and_then(|value| value.to_str().ok()).and_then(|names| {
        let named = |algorithm: &Algorithm| {
            names.split(',').any(|name| name.trim().eq_ignore_ascii_case(algorithm.header()))
        };
        Algorithm::ALL.into_iter().find(named)
    });
    let signed_sha256 = match sha256 {
        "" | "UNSIGNED-PAYLOAD" => None,
        streaming if streaming.starts_with("STREAMING-") => None,
        text => Some(hexadecimal(text).ok_or_else(|| {
            error::invalid_argument(
                "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, \
                 STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
            )
        })?),
    };
    Ok((Payload { signed_sha256, bytes, trailer, trailers: Trailers::default() }, chunked))
}

fn hexadecimal(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// S3 ignores a `Range` it cannot read, and several ranges; s3s refuses them.
fn tidy(headers: &mut HeaderMap) {
    let readable = |value: &HeaderValue| value.to_str().is_ok_and(|text| Range::parse(text).is_ok());
    if headers.get(header::RANGE).is_some_and(|value| !readable(value)) {
        headers.remove(header::RANGE);
    }
}

enum State {
    /// Before the length of a chunk.
    Size,
    /// Within a chunk: bytes to come.
    Data(u64),
    /// Behind a chunk.
    End,
    /// Behind the last chunk.
    Trailer,
}

/// The bytes within the chunks. Fails with `IncompleteBody` for what is not framed so.
fn decode<S>(body: S, trailers: Trailers) -> impl Stream<Item = Result<Bytes, ObjectError>> + Send
where
    S: Stream<Item = Result<Bytes, ObjectError>> + Send + Unpin,
{
    let begin = (body, BytesMut::new(), State::Size, trailers);
    stream::try_unfold(begin, |(mut body, mut buffer, mut state, trailers)| async move {
        loop {
            state = match state {
                State::Size => {
                    let line = line(&mut body, &mut buffer).await?;
                    let size = line.split(';').next().unwrap_or_default().trim();
                    let size = u64::from_str_radix(size, 16).map_err(|_| ObjectError::IncompleteBody)?;
                    if size == 0 { State::Trailer } else { State::Data(size) }
                }
                State::Data(0) => State::End,
                State::Data(left) => {
                    if buffer.is_empty() {
                        more(&mut body, &mut buffer).await?;
                    }
                    let length = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                    let bytes = buffer.split_to(length).freeze();
                    return Ok(Some((bytes, (body, buffer, State::Data(left - length as u64), trailers))));
                }
                State::End => {
                    if !line(&mut body, &mut buffer).await?.is_empty() {
                        return Err(ObjectError::IncompleteBody);
                    }
                    State::Size
                }
                State::Trailer => {
                    for _ in 0..TRAILERS {
                        let line = line(&mut body, &mut buffer).await?;
                        let Some((name, value)) = line.split_once(':') else { break };
                        let trailer = (name.trim().to_ascii_lowercase(), value.trim().to_owned());
                        trailers.lock().unwrap_or_else(PoisonError::into_inner).push(trailer);
                    }
                    // Read to the end, so that the connection can be used again.
                    let mut rest = Ok(buffer.split().freeze());
                    loop {
                        if !rest?.iter().all(u8::is_ascii_whitespace) {
                            return Err(ObjectError::IncompleteBody);
                        }
                        match body.next().await {
                            Some(next) => rest = next,
                            None => return Ok(None),
                        }
                    }
                }
            };
        }
    })
}

async fn more<S>(body: &mut S, buffer: &mut BytesMut) -> Result<(), ObjectError>
where
    S: Stream<Item = Result<Bytes, ObjectError>> + Unpin,
{
    let bytes = body.next().await.ok_or(ObjectError::IncompleteBody)??;
    buffer.extend_from_slice(&bytes);
    Ok(())
}

/// The next line, without its end. The end of the body ends the last.
async fn line<S>(body: &mut S, buffer: &mut BytesMut) -> Result<String, ObjectError>
where
    S: Stream<Item = Result<Bytes, ObjectError>> + Unpin,
{
    loop {
        if let Some(at) = buffer.iter().position(|byte| *byte == b'\n') {
            let line = buffer.split_to(at);
            buffer.advance(1);
            let text = std::str::from_utf8(&line).map_err(|_| ObjectError::IncompleteBody)?;
            return Ok(text.trim_end_matches('\r').to_owned());
        }
        if buffer.len() > LINE_BYTES {
            return Err(ObjectError::IncompleteBody);
        }
        more(body, buffer).await?;
    }
}

/// The body of an operation, with errors as the store knows them.
pub fn stream(body: Option<s3s::dto::StreamingBlob>) -> lamplight_services::objects::Body {
    let Some(body) = body else { return Box::pin(stream::empty()) };
    Box::pin(body.map_err(|error| match error.downcast::<ObjectError>() {
        Ok(error) => *error,
        Err(_) => ObjectError::IncompleteBody,
    }))
}

/// Only so that a test can read a stream whole.
#[cfg(test)]
async fn whole(stream: impl Stream<Item = Result<Bytes, ObjectError>>) -> Result<Vec<u8>, ObjectError> {
    let pieces: Vec<Bytes> = Box::pin(stream).try_collect().await?;
    Ok(pieces.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(encoded: &str, expected: Option<&str>, expected_trailers: &[(&str, &str)]) {
        // However the bytes are cut.
        for length in [1, 2, 3, 7, 1_000] {
            let pieces: Vec<_> =
                encoded.as_bytes().chunks(length).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
            let trailers = Trailers::default();
            let got = whole(decode(stream::iter(pieces), Arc::clone(&trailers))).await;
            let got = got.ok().map(|bytes| String::from_utf8(bytes).unwrap());
            assert_eq!(got.as_deref(), expected, "{encoded:?} by {length}");
            if expected.is_some() {
                let trailers = trailers.lock().unwrap();
                let trailers: Vec<_> =
                    trailers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                assert_eq!(trailers, expected_trailers, "{encoded:?}");
            }
        }
    }

    #[tokio::test]
    async fn chunks_are_taken_apart() {
        check("0\r\n\r\n", Some(""), &[]).await;
        check(
            "5\r\nhello\r\n0\r\nX-Amz-Checksum-CRC32: abc=\r\n\r\n",
            Some("hello"),
            &[("x-amz-checksum-crc32", "abc=")],
        )
        .await;
        check(
            "3;chunk-signature=aa\r\nab\n\r\n2;chunk-signature=bb\r\n\r\n\r\n0;chunk-signature=cc\r\n\r\n",
            Some("ab\n\r\n"),
            &[],
        )
        .await;
        for broken in [
            "",
            "5\r\nhel",
            "5\r\nhello0\r\n\r\n",
            "x\r\n\r\n",
            "-1\r\n\r\n",
            "5\r\nhello\r\n",
            "0\r\n\r\nmore",
        ] {
            check(broken, None, &[]).await;
        }
    }
}
