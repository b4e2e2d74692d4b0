//! InvokeWithResponseStream: the answer in event-stream frames, as its bytes are produced.
//!
//! ```text
//! PayloadChunk (application/octet-stream)*   InvokeComplete (application/json: ErrorCode, ErrorDetails, LogResult)
//! ```
//!
//! Source: Lambda API reference, "InvokeWithResponseStream"; the AWS event stream encoding. What goes wrong before the
//! function has begun is an ordinary error; what it does after that is told in the last frame, and the status stays 200.

use crate::http::{ApiError, Context, Response, reply};
use crate::lambda::durable;
use crate::lambda::invoke::{self, InvocationType};
use crate::state::ApiState;
use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use aws_smithy_types::str_bytes::StrBytes;
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::StatusCode;
use lamplight_invoke::{AnswerParts, Ended};
use lamplight_model::ServiceError;
use std::io;

/// Largest payload of one frame, bytes; larger pieces are cut. Every SDK takes frames of this size.
const CHUNK_BYTES: usize = 256 * 1024;
/// Most of an error document that is told, bytes: as JSON in JSON it may be six times as long, and SDKs take 16 MiB.
const DETAILS_BYTES: usize = 1024 * 1024;
/// Length of a frame besides its payload, bytes: prelude, three headers, checksum, and some room.
const FRAME_HEAD_BYTES: usize = 128;

/// InvokeWithResponseStream.
pub async fn invoke(
    state: &ApiState,
    context: &Context,
    label: &str,
    body: Body,
) -> Result<Response, ApiError> {
    let types = ["RequestResponse", "DryRun"];
    let (invocation_type, request) = invoke::request(state, context, label, body, &types).await?;
    let version = state.invoker.resolve(&request.scope, &request.name, request.qualifier.as_ref()).await?;
    if invocation_type == InvocationType::DryRun {
        return invoke::dry_run(&request, &version);
    }
    durable::invoke::refuse(&version, "InvokeWithResponseStream")?;
    let (log_tail, trace_header) = (request.log_tail, request.trace_header.clone());
    let running = state.invoker.invoke_version(request, version).await?;
    // From here on the run needs nobody: a client that goes away drops the answer only.
    let mut answer = running.answer.detach();
    let stage = match answer.body.recv().await {
        Some(piece) => Stage::Pieces(piece),
        None => Stage::Complete(Ok(ended(&mut answer).await?)),
    };
    let frames = stream::unfold((answer, stage, log_tail), next_frame);
    let mut response =
        reply::with_body(StatusCode::OK, "application/vnd.amazon.eventstream", Body::from_stream(frames));
    invoke::set_executed_version(&mut response, running.executed_version);
    invoke::set_trace_header(&mut response, trace_header.as_deref());
    Ok(response)
}

/// What the next frame is made of.
enum Stage {
    /// This piece, then more of them.
    Pieces(Bytes),
    /// The end, also of a run that was lost in the middle.
    Complete(Result<Ended, ServiceError>),
    /// Nothing.
    Over,
}

type Streamed = (AnswerParts, Stage, bool);

/// One frame, taken when the client has room for it: until then the pieces wait, and with them the function.
async fn next_frame((mut answer, stage, log_tail): Streamed) -> Option<(io::Result<Bytes>, Streamed)> {
    let mut stage = stage;
    while let Stage::Pieces(piece) = &stage
        && piece.is_empty()
    {
        stage = match answer.body.recv().await {
            Some(piece) => Stage::Pieces(piece),
            None => Stage::Complete(ended(&mut answer).await),
        };
    }
    let (frame, stage) = match stage {
        Stage::Pieces(mut piece) => {
            let chunk = piece.split_to(piece.len().min(CHUNK_BYTES));
            (frame("event", "PayloadChunk", "application/octet-stream", chunk), Stage::Pieces(piece))
        }
        Stage::Complete(ended) => {
            // The REPORT line belongs to the tail, so this waits until the instance is free again.
            let tail = match log_tail {
                true => (&mut answer.finished).await.map_or(None, |finished| finished.log_tail),
                false => None,
            };
            let complete = complete(&ended, log_tail.then(|| tail.as_deref().unwrap_or_default()));
            (frame("event", "InvokeComplete", "application/json", complete.into()), Stage::Over)
        }
        Stage::Over => return None,
    };
    Some((frame, (answer, stage, log_tail)))
}

async fn ended(answer: &mut AnswerParts) -> Result<Ended, ServiceError> {
    let lost = |_| Err(ServiceError::internal("The invocation was lost with its instance."));
    (&mut answer.ended).await.unwrap_or_else(lost)
}

/// The last frame's JSON. What is not so is absent.
///
/// `ErrorCode` is `Unhandled` for whatever the function did, as the header of Invoke says; the document is in the details.
fn complete(ended: &Result<Ended, ServiceError>, log_tail: Option<&[u8]>) -> String {
    let mut members = serde_json::Map::new();
    match ended {
        Ok(ended) if ended.outcome.is_function_error() => {
            let document = ended.document.as_deref().unwrap_or_default();
            let document = &document[..document.len().min(DETAILS_BYTES)];
            members.insert("ErrorCode".to_owned(), "Unhandled".into());
            members.insert("ErrorDetails".to_owned(), String::from_utf8_lossy(document).into());
        }
        Ok(_) => {}
        Err(error) => {
            members.insert("ErrorCode".to_owned(), ApiError::from(error.clone()).code.into());
            members.insert("ErrorDetails".to_owned(), error.message.as_str().into());
        }
    }
    if let Some(log_tail) = log_tail {
        members.insert("LogResult".to_owned(), STANDARD.encode(log_tail).into());
    }
    serde_json::Value::Object(members).to_string()
}

/// A frame that carries an `event` or an `exception` (`message_type`) of this name.
pub(crate) fn frame(
    message_type: &'static str,
    name: &'static str,
    content_type: &'static str,
    payload: Bytes,
) -> io::Result<Bytes> {
    let name_header = if message_type == "exception" { ":exception-type" } else { ":event-type" };
    let header = |name, value| Header::new(name, HeaderValue::String(StrBytes::from(value)));
    let mut bytes = BytesMut::with_capacity(payload.len() + FRAME_HEAD_BYTES);
    let message = Message::new(payload)
        .add_header(header(name_header, name))
        .add_header(header(":content-type", content_type))
        .add_header(header(":message-type", message_type));
    write_message_to(&message, &mut bytes).map_err(io::Error::other)?;
    Ok(bytes.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplight_model::{ErrorCode, Outcome, OutcomeStatus};
    use serde_json::{Value, json};

    fn check(ended: Result<Ended, ServiceError>, log_tail: Option<&[u8]>, expected: Value) {
        assert_eq!(serde_json::from_str::<Value>(&complete(&ended, log_tail)).unwrap(), expected);
    }

    #[test]
    fn the_last_frame_says_what_was_wrong_and_nothing_else() {
        let well = || Ok(Ended { outcome: Outcome::success(), document: None });
        check(well(), None, json!({}));
        check(well(), Some(b"END"), json!({"LogResult": "RU5E"}));
        check(well(), Some(b""), json!({"LogResult": ""}));
        let outcome =
            Outcome { status: OutcomeStatus::Timeout, error_type: Some("Sandbox.Timedout".to_owned()) };
        let document = Some(Bytes::from_static(b"{\"errorType\":\"Sandbox.Timedout\"}"));
        let timed_out =
            json!({"ErrorCode": "Unhandled", "ErrorDetails": "{\"errorType\":\"Sandbox.Timedout\"}"});
        check(Ok(Ended { outcome, document }), None, timed_out);
        let lost = ServiceError::new(ErrorCode::ServiceException, "lost");
        check(Err(lost), None, json!({"ErrorCode": "ServiceException", "ErrorDetails": "lost"}));
    }

    #[test]
    fn a_frame_is_what_the_encoding_says() {
        let bytes =
            frame("event", "PayloadChunk", "application/octet-stream", Bytes::from_static(b"hi")).unwrap();
        let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        assert_eq!(number(0), bytes.len());
        assert!(bytes.len() - 2 <= FRAME_HEAD_BYTES, "{}", bytes.len());
        let payload = 12 + number(4);
        assert_eq!(&bytes[payload..payload + 2], b"hi");
        assert_eq!(bytes.len(), payload + 2 + 4);
        assert_eq!(&bytes[12..26], b"\x0b:event-type\x07\x00");
    }
}
