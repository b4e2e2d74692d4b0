//! A streamed answer: bytes reach the client as the function produces them.
//!
//! ```text
//! application/vnd.awslambda.http-integration-response    {"statusCode","headers","cookies"} NUL*8 bytes…
//! anything else                                          bytes…        (200, application/octet-stream)
//! ```
//!
//! What goes wrong before the first byte of the body is a response of its own; after that the connection ends without the
//! end of the body, which is all that HTTP/1.1 lets a client be told. Source: Lambda developer guide, "Response streaming".

use super::v2::{self, Wrong};
use crate::{Body, Response};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderValue, StatusCode, header};
use lamplight_invoke::{AnswerParts, Ended};
use lamplight_model::ServiceError;
use serde_json::{Map, Value};
use std::io;

/// Content type by which a runtime says that a prelude comes first.
const WITH_PRELUDE: &str = "application/vnd.awslambda.http-integration-response";
/// What stands between prelude and body.
const SEPARATOR: [u8; 8] = [0; 8];
/// Longest prelude, bytes: as much as the head of a response may reasonably have.
const PRELUDE_BYTES: usize = 128 * 1024;
/// Content type of a body that says nothing about itself.
const OCTETS: &str = "application/octet-stream";

/// Why there is no response.
#[derive(Debug)]
pub enum NoResponse {
    /// The function failed before its first byte.
    Failed(Ended),
    /// The run was lost before its first byte.
    Lost(ServiceError),
    /// What came first is no prelude.
    Wrong(Wrong),
}

/// Waits for the beginning of an answer, and gives the response whose body is the rest of it.
pub async fn response(mut answer: AnswerParts) -> Result<Response, NoResponse> {
    let first = next(&mut answer).await?;
    if first.is_none() {
        return Ok(octets(Body::empty()));
    }
    // Named before the first byte is sent.
    let content_type = (&mut answer.content_type).await.ok().flatten();
    let mut received = BytesMut::from(first.unwrap_or_default());
    if content_type.as_deref() != Some(WITH_PRELUDE) {
        return Ok(octets(rest(received.freeze(), answer)));
    }
    let mut searched = 0;
    let end = loop {
        if let Some(at) = find_separator(&received[searched..]) {
            break searched + at;
        }
        if received.len() > PRELUDE_BYTES {
            return Err(NoResponse::Wrong(Wrong("the prelude has no end")));
        }
        searched = received.len().saturating_sub(SEPARATOR.len() - 1);
        match next(&mut answer).await? {
            Some(piece) => received.extend_from_slice(&piece),
            None => return Err(NoResponse::Wrong(Wrong("the answer ends within its prelude"))),
        }
    };
    let prelude = received.split_to(end);
    let _ = received.split_to(SEPARATOR.len());
    let mut object: Map<String, Value> =
        serde_json::from_slice(&prelude).map_err(|_| NoResponse::Wrong(Wrong("the prelude is no object")))?;
    let head = v2::head(&mut object, OCTETS).map_err(NoResponse::Wrong)?;
    Ok(head.map(|()| rest(received.freeze(), answer)))
}

/// The next piece that has bytes; `None` at the end of an answer that went well.
async fn next(answer: &mut AnswerParts) -> Result<Option<Bytes>, NoResponse> {
    while let Some(piece) = answer.body.recv().await {
        if !piece.is_empty() {
            return Ok(Some(piece));
        }
    }
    let lost = |_| Err(ServiceError::internal("The invocation was lost with its instance."));
    match (&mut answer.ended).await.unwrap_or_else(lost) {
        Ok(ended) if ended.outcome.is_function_error() => Err(NoResponse::Failed(ended)),
        Ok(_) => Ok(None),
        Err(error) => Err(NoResponse::Lost(error)),
    }
}

/// What is there already, then what comes. A failure ends it with an error, so that no client takes it for whole.
fn rest(received: Bytes, answer: AnswerParts) -> Body {
    let begun = (!received.is_empty()).then_some(received);
    let pieces = stream::unfold(Some((begun, answer)), |state| async {
        let (begun, mut answer) = state?;
        let piece = match begun {
            Some(piece) => Ok(Some(piece)),
            None => next(&mut answer).await,
        };
        match piece {
            Ok(Some(piece)) => Some((Ok(piece), Some((None, answer)))),
            Ok(None) => None,
            Err(_) => {
                // hyper drops what it has not flushed when a body fails, and flushes when a body has nothing for it.
                tokio::task::yield_now().await;
                Some((Err(io::Error::other("the function failed within its answer")), None))
            }
        }
    });
    Body::from_stream(pieces)
}

fn octets(body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(OCTETS));
    response
}

fn find_separator(bytes: &[u8]) -> Option<usize> {
    bytes.windows(SEPARATOR.len()).position(|window| window == SEPARATOR)
}
