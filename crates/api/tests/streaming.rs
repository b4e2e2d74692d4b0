//! InvokeWithResponseStream and InvokeAsync on the wire, with scripted workers.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use aws_smithy_eventstream::frame::{DecodedFrame, MessageFrameDecoder};
use bytes::{Bytes, BytesMut};
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use lamplight_invoke::workers::fake::FakeRun;
use lamplight_model::{Caller, ErrorCode, Invocation, ServiceError};
use serde_json::{Value, json};
use std::sync::Arc;
use support::FrontDoor;
use tokio::sync::Semaphore;

const PATH: &str = "/2021-11-15/functions/hello/response-streaming-invocations";
const ASYNC_PATH: &str = "/2014-11-13/functions/hello/invoke-async";

/// The frames of an answer, one at a time, as they arrive.
struct Events {
    response: Response<Incoming>,
    received: BytesMut,
    decoder: MessageFrameDecoder,
}

impl Events {
    async fn open(door: &FrontDoor, headers: &[(&str, &str)], payload: &str) -> Self {
        let response = door.open(Method::POST, PATH, headers, payload.to_owned()).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "application/vnd.amazon.eventstream");
        Self { response, received: BytesMut::new(), decoder: MessageFrameDecoder::new() }
    }

    /// `(event type, content type, payload)` of the next frame.
    async fn next(&mut self) -> Option<(String, String, Bytes)> {
        loop {
            if let DecodedFrame::Complete(message) = self.decoder.decode_frame(&mut self.received).unwrap() {
                let header = |name: &str| {
                    let found = message.headers().iter().find(|header| header.name().as_str() == name);
                    found.unwrap().value().as_string().unwrap().as_str().to_owned()
                };
                assert_eq!(header(":message-type"), "event");
                return Some((header(":event-type"), header(":content-type"), message.payload().clone()));
            }
            match self.response.body_mut().frame().await {
                Some(frame) => self.received.extend_from_slice(&frame.unwrap().into_data().unwrap()),
                None => {
                    assert!(self.received.is_empty(), "the answer ends within a frame");
                    return None;
                }
            }
        }
    }

    async fn chunk(&mut self) -> Bytes {
        let (event, content_type, payload) = self.next().await.unwrap();
        assert_eq!((event.as_str(), content_type.as_str()), ("PayloadChunk", "application/octet-stream"));
        payload
    }

    /// The last frame, after which nothing comes.
    async fn complete(&mut self) -> Value {
        let (event, content_type, payload) = self.next().await.unwrap();
        assert_eq!((event.as_str(), content_type.as_str()), ("InvokeComplete", "application/json"));
        assert!(self.next().await.is_none());
        serde_json::from_slice(&payload).unwrap()
    }
}

fn piece(text: &'static str, then: FakeRun) -> FakeRun {
    FakeRun::Piece(Bytes::from_static(text.as_bytes()), Box::new(then))
}

async fn door(script: impl Fn(&Invocation) -> FakeRun + Send + Sync + 'static) -> FrontDoor {
    let door = FrontDoor::start(script, Caller::Loopback).await;
    door.create("hello").await;
    door
}

#[tokio::test]
async fn pieces_arrive_while_the_function_still_works() {
    let gate = Arc::new(Semaphore::new(0));
    let inner = Arc::clone(&gate);
    let door = door(move |_| {
        let rest = FakeRun::Return(Bytes::from_static(b"two"));
        piece("one", FakeRun::After(Arc::clone(&inner), Box::new(rest)))
    })
    .await;
    let mut events =
        Events::open(&door, &[("x-amz-log-type", "Tail"), ("x-amzn-trace-id", "Root=1-0-0")], "1").await;
    assert_eq!(events.response.headers()["x-amz-executed-version"], "$LATEST");
    assert_eq!(events.response.headers()["x-amzn-trace-id"], "Root=1-0-0");
    assert_eq!(events.chunk().await, "one");
    gate.add_permits(1);
    assert_eq!(events.chunk().await, "two");
    let tail = events.complete().await;
    assert_eq!(tail.as_object().unwrap().keys().collect::<Vec<_>>(), ["LogResult"]);
    assert!(tail["LogResult"].as_str().unwrap().len() > 10);
}

#[tokio::test]
async fn large_answers_come_in_several_frames_and_empty_ones_in_none() {
    let door =
        door(|invocation| FakeRun::Return(Bytes::from(vec![b'x'; invocation.payload.len() * 100_000]))).await;
    let mut events = Events::open(&door, &[], "123456").await;
    let mut lengths = Vec::new();
    while lengths.iter().sum::<usize>() < 600_000 {
        lengths.push(events.chunk().await.len());
    }
    assert_eq!(lengths, [262_144, 262_144, 75_712]);
    assert_eq!(events.complete().await, json!({}));
    let empty = FrontDoor::start(|_| piece("", FakeRun::Return(Bytes::new())), Caller::Loopback).await;
    empty.create("hello").await;
    assert_eq!(Events::open(&empty, &[], "").await.complete().await, json!({}));
}

/// What AWS writes into the last frame is not recorded anywhere we know of; `Unhandled` is what clients look for.
#[tokio::test]
async fn what_goes_wrong_after_the_beginning_is_told_at_the_end() {
    let door = door(|invocation| match &invocation.payload[..] {
        b"1" => piece("half", FakeRun::handler_error("middle")),
        b"2" => FakeRun::handler_error("before"),
        b"3" => piece("half", FakeRun::Break(ServiceError::internal("gone"))),
        _ => piece("half", FakeRun::Vanish),
    })
    .await;
    for (payload, chunks, code, details) in [
        ("1", 1, "Unhandled", r#"{"errorMessage":"middle","errorType":"ValueError","stackTrace":[]}"#),
        ("2", 0, "Unhandled", r#"{"errorMessage":"before","errorType":"ValueError","stackTrace":[]}"#),
        ("3", 1, "ServiceException", "gone"),
        ("4", 1, "ServiceException", "The invocation was lost with its instance."),
    ] {
        let mut events = Events::open(&door, &[], payload).await;
        for _ in 0..chunks {
            assert_eq!(events.chunk().await, "half");
        }
        assert_eq!(events.complete().await, json!({"ErrorCode": code, "ErrorDetails": details}), "{payload}");
    }
}

#[tokio::test]
async fn what_goes_wrong_before_the_beginning_is_an_ordinary_error() {
    let door = door(|invocation| match &invocation.payload[..] {
        b"1" => FakeRun::Refuse(ServiceError::throttled("ConcurrentInvocationLimitExceeded")),
        b"2" => FakeRun::Break(ServiceError::new(ErrorCode::ServiceException, "gone")),
        _ => FakeRun::Vanish,
    })
    .await;
    let path = |name: &str| format!("/2021-11-15/functions/{name}/response-streaming-invocations");
    for (name, headers, payload, status, code) in [
        ("hello", [].as_slice(), "1", 429, "TooManyRequestsException"),
        ("hello", &[], "2", 500, "ServiceException"),
        ("hello", &[], "3", 500, "ServiceException"),
        ("hello", &[], "{nonsense", 400, "InvalidRequestContentException"),
        ("absent", &[], "1", 404, "ResourceNotFoundException"),
        ("a%20b", &[], "1", 400, "ValidationException"),
        ("hello", &[("x-amz-invocation-type", "Event")], "1", 400, "ValidationException"),
        ("hello", &[("x-amz-log-type", "Head")], "1", 400, "ValidationException"),
        ("hello", &[("x-amz-client-context", "?")], "1", 400, "InvalidRequestContentException"),
    ] {
        let answer = door.send(Method::POST, &path(name), headers, payload).await;
        assert_eq!(answer.error(), (status, code), "{name} {headers:?} {payload}");
    }
    let answer = door.send(Method::POST, &path("hello"), &[("x-amz-invocation-type", "Event")], "1").await;
    assert_eq!(
        answer.json()["message"],
        "1 validation error detected: Value 'Event' at 'invocationType' failed to satisfy constraint: Member must \
         satisfy enum value set: [RequestResponse, DryRun]"
    );
    let begun = door.workers.begun().len();
    let dry = door.send(Method::POST, PATH, &[("x-amz-invocation-type", "DryRun")], "1").await;
    assert_eq!((dry.status.as_u16(), dry.body.len()), (204, 0));
    let absent = door.send(Method::POST, &path("absent"), &[("x-amz-invocation-type", "DryRun")], "1").await;
    assert_eq!(absent.error(), (404, "ResourceNotFoundException"));
    assert_eq!(door.workers.begun().len(), begun);
    let large = door.send(Method::POST, PATH, &[], vec![b' '; 6_291_557]).await;
    assert_eq!(large.error().0, 413);
}

#[tokio::test]
async fn a_client_that_goes_away_ends_nothing() {
    let gate = Arc::new(Semaphore::new(0));
    let inner = Arc::clone(&gate);
    let door = door(move |_| {
        let rest = FakeRun::Return(Bytes::from_static(b"two"));
        piece("one", FakeRun::After(Arc::clone(&inner), Box::new(rest)))
    })
    .await;
    let mut events = Events::open(&door, &[], "1").await;
    assert_eq!(events.chunk().await, "one");
    drop(events);
    gate.add_permits(1);
    // The run is recorded when it has ended, like any other.
    loop {
        door.opened.ledger.flush().await.unwrap();
        let records = door.get("/lamplight/v1/functions/hello/invocations").await.json();
        if let Some(record) = records["Invocations"].as_array().and_then(|records| records.first()) {
            assert_eq!(record["outcome"]["status"], "success");
            break;
        }
        tokio::task::yield_now().await;
    }
}

/// The deprecated operation: durable as `Event` is, with its own bound. Source: API model, "InvokeAsync"; the text
/// for what is too large is guessed from the one of `Event`.
#[tokio::test]
async fn invoke_async_queues_the_event() {
    let door = door(|invocation| FakeRun::Return(invocation.payload.clone())).await;
    let answer = door.send(Method::POST, ASYNC_PATH, &[], r#"{"n":1}"#).await;
    assert_eq!((answer.status.as_u16(), answer.json()), (202, json!({"Status": 202})));
    // As old clients write it.
    let answer = door.send(Method::POST, &format!("{ASYNC_PATH}/"), &[], "2").await;
    assert_eq!(answer.status, 202);
    let counts = door.get("/lamplight/v1/functions/hello/events").await.json();
    assert_eq!(counts, json!({"Accepted": 2, "Done": 0, "DeadLettered": 0, "Pending": 2}));
    let large = format!("\"{}\"", "x".repeat(262_143));
    let answer = door.send(Method::POST, ASYNC_PATH, &[], large).await;
    assert_eq!(answer.error().0, 413);
    assert_eq!(
        answer.json()["Message"].as_str().or(answer.json()["message"].as_str()).unwrap(),
        "262145 byte payload is too large for the Event invocation type (limit 262144 bytes)"
    );
    let answer = door.send(Method::POST, ASYNC_PATH, &[], "{nonsense").await;
    assert_eq!(answer.error(), (400, "InvalidRequestContentException"));
    let absent = "/2014-11-13/functions/absent/invoke-async";
    assert_eq!(door.send(Method::POST, absent, &[], "1").await.error(), (404, "ResourceNotFoundException"));
}
