//! The HTTP Runtime API against clients that write bytes by hand: right ones, careless ones, hostile ones.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests, too.

#[path = "common/client.rs"]
mod client;

use bytes::Bytes;
use client::Client;
use lamplight_model::RequestId;
use lamplight_runtime::{
    AboutFunction, AnswerLimits, AnswerSink, Calls, Conversation, ConversationError, Event, Reply,
    StreamLimits, Surroundings,
};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

const ID: &str = "00000000-0000-0000-0000-000000000001";
const LIMIT: usize = 1000;

fn limits() -> AnswerLimits {
    AnswerLimits { buffered_bytes: LIMIT, stream: StreamLimits::default() }
}
const NEXT: &str = "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: x\r\n\r\n";

fn start() -> (Conversation, SocketAddr) {
    start_for(AboutFunction::default())
}

fn start_for(about: AboutFunction) -> (Conversation, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let surroundings = Surroundings { about, ..Surroundings::default() };
    (Conversation::http(listener, surroundings).unwrap(), address)
}

fn post(path: &str, headers: &str, body: &str) -> String {
    format!(
        "POST /2018-06-01/runtime/{path} HTTP/1.1\r\nhost: x\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn answer(body: &str) -> String {
    post(&format!("invocation/{ID}/response"), "", body)
}

fn event(payload: &'static str) -> Event {
    Event {
        request_id: RequestId(uuid::Uuid::from_u128(1)),
        deadline_ms: 1_700_000_000_123,
        invoked_arn: "arn:aws:lambda:us-east-1:000000000000:function:hello".to_owned(),
        trace_header: Some("Root=1-2-3".to_owned()),
        client_context: Some(r#"{"custom":{}}"#.to_owned()),
        tenant_id: None,
        payload: Bytes::from_static(payload.as_bytes()),
    }
}

type Invoked = (Result<Reply, ConversationError>, String, Option<String>, Conversation);

/// Offers an event; gives reply, body, content type, and the conversation back.
fn invoke_with(mut conversation: Conversation, payload: &'static str) -> JoinHandle<Invoked> {
    tokio::spawn(async move {
        let (body, mut pieces) = mpsc::channel::<Bytes>(4);
        let (content_type, named) = oneshot::channel();
        let event = event(payload);
        let collect = async {
            let mut all = Vec::new();
            while let Some(piece) = pieces.recv().await {
                all.extend_from_slice(&piece);
            }
            String::from_utf8(all).unwrap()
        };
        let sink = AnswerSink { body, content_type };
        let (reply, body) = tokio::join!(conversation.invoke(event, sink, limits()), collect);
        (reply, body, named.await.ok().flatten(), conversation)
    })
}

fn invoke(conversation: Conversation) -> JoinHandle<Invoked> {
    invoke_with(conversation, r#"{"a":1}"#)
}

/// A client that has taken an event, and the invocation that waits for its answer.
async fn running() -> (Client, JoinHandle<Invoked>, SocketAddr) {
    let (mut conversation, address) = start();
    let mut client = Client::connect(address).await;
    client.send(NEXT).await;
    conversation.ready().await.unwrap();
    let invoked = invoke(conversation);
    assert_eq!(client.read().await.status, 200);
    (client, invoked, address)
}

#[tokio::test]
async fn one_event_after_the_other_on_one_connection() {
    let (mut conversation, address) = start();
    let mut client = Client::connect(address).await;
    conversation.first_word().await.unwrap();
    client.send(NEXT).await;
    conversation.ready().await.unwrap();
    let invoked = invoke(conversation);
    let next = client.read().await;
    assert_eq!((next.status, next.body.as_str()), (200, r#"{"a":1}"#));
    for header in [
        "content-type: application/json",
        "lambda-runtime-aws-request-id: 00000000-0000-0000-0000-000000000001",
        "lambda-runtime-deadline-ms: 1700000000123",
        "lambda-runtime-invoked-function-arn: arn:aws:lambda:us-east-1:000000000000:function:hello",
        "lambda-runtime-trace-id: root=1-2-3",
        r#"lambda-runtime-client-context: {"custom":{}}"#,
    ] {
        assert!(next.head.contains(header), "{}", next.head);
    }
    // Answer and next request in one write, header names in capitals.
    let path = format!("invocation/{ID}/response");
    let both = post(&path, "CONTENT-TYPE: text/plain\r\n", "done") + NEXT;
    let accepted = client.ask(both).await;
    assert_eq!((accepted.status, accepted.body.as_str()), (202, r#"{"status":"OK"}"#));
    let (reply, body, content_type, mut conversation) = invoked.await.unwrap();
    assert_eq!(reply.unwrap(), Reply::Response { streamed: false });
    assert_eq!((body.as_str(), content_type.as_deref()), ("done", Some("text/plain")));
    conversation.idle().await.unwrap();
    // An event without a byte is delivered once.
    let invoked = invoke_with(conversation, "");
    assert_eq!(client.read().await.body, "");
    client.send(NEXT).await;
    let mut other = Client::connect(address).await;
    assert_eq!(other.ask(answer("2")).await.status, 202);
    assert_eq!(invoked.await.unwrap().1, "2");
}

#[tokio::test]
async fn posts_that_fit_nothing_are_refused_and_harm_nothing() {
    let (mut client, invoked, _) = running().await;
    let other = ID.replace('1', "2");
    for (request, status, error_type) in [
        (post(&format!("invocation/{other}/response"), "", "1"), 400, "InvalidRequestID"),
        (post(&format!("invocation/{other}/error"), "", "{}"), 400, "InvalidRequestID"),
        (post("invocation/nonsense/response", "", "1"), 400, "InvalidRequestID"),
        (post("init/error", "", "{}"), 403, "InvalidStateTransition"),
        (post("restore/error", "", "{}"), 403, "InvalidStateTransition"),
        ("GET /2018-06-01/runtime/restore/next HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), 403, "Invalid"),
        ("PUT /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), 405, "MethodNot"),
        ("GET /2018-06-01/other HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), 404, "NotFound"),
        (
            "POST /2020-01-01/extension/register HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n".to_owned(),
            403,
            "Extension.InvalidExtensionName",
        ),
        (
            "PUT /2022-07-01/telemetry HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n".to_owned(),
            403,
            "Extension.MissingExtensionIdentifier",
        ),
    ] {
        let got = client.ask(&request).await;
        assert_eq!(got.status, status, "{request} {got:?}");
        let document: serde_json::Value = serde_json::from_str(&got.body).unwrap();
        assert!(document["errorType"].as_str().unwrap().starts_with(error_type), "{got:?}");
        assert!(document["errorMessage"].is_string());
    }
    assert_eq!(client.ask("GET /ping HTTP/1.1\r\nhost: x\r\n\r\n").await.body, "pong");
    assert_eq!(client.ask(answer("1")).await.status, 202);
    assert_eq!(client.ask(answer("2")).await.status, 400, "the event is answered");
    let (reply, body, ..) = invoked.await.unwrap();
    assert_eq!((reply.unwrap(), body.as_str()), (Reply::Response { streamed: false }, "1"));
}

fn error(error_type: &str, document: &'static str) -> Reply {
    Reply::Error { error_type: error_type.to_owned(), document: Bytes::from_static(document.as_bytes()) }
}

/// Also `buffered`, which is told by the absence of the header. Source: AWS's emulator.
#[tokio::test]
async fn an_unknown_response_mode_fails_the_event() {
    for mode in ["odd", "buffered", "Streaming"] {
        let (mut client, invoked, _) = running().await;
        let header = format!("Lambda-Runtime-Function-Response-Mode: {mode}\r\n");
        let got = client.ask(post(&format!("invocation/{ID}/response"), &header, "1")).await;
        assert_eq!(got.status, 400);
        assert_eq!(
            got.body,
            r#"{"errorMessage":"Invalid function response mode","errorType":"InvalidFunctionResponseMode"}"#
        );
        let (reply, body, ..) = invoked.await.unwrap();
        let Ok(Reply::Error { error_type, .. }) = reply else { panic!("{reply:?}") };
        assert_eq!((error_type.as_str(), body.as_str()), ("Runtime.InvalidResponseModeHeader", ""));
    }
}

#[tokio::test]
async fn errors_keep_their_document_and_get_a_type() {
    for (headers, document, expected) in [
        ("", r#"{"errorType":"MyError","errorMessage":"no"}"#, "MyError"),
        ("Lambda-Runtime-Function-Error-Type: Runtime.Custom\r\n", "not json", "Runtime.Custom"),
        ("Lambda-Runtime-Function-Error-Type: <script>\r\n", "{}", "Function.Unknown"),
        ("", "", "Function.Unknown"),
    ] {
        let (mut client, invoked, _) = running().await;
        // The X-Ray cause may be as long as 1 MiB.
        let cause = format!("Lambda-Runtime-Function-XRay-Error-Cause: {}\r\n", "c".repeat(1024 * 1024));
        let path = format!("invocation/{ID}/error");
        assert_eq!(client.ask(post(&path, &(headers.to_owned() + &cause), document)).await.status, 202);
        let (reply, body, ..) = invoked.await.unwrap();
        let document = Bytes::copy_from_slice(document.as_bytes());
        assert_eq!(reply.unwrap(), Reply::Error { error_type: expected.to_owned(), document });
        assert_eq!(body, "");
    }
}

#[tokio::test]
async fn a_failed_init_is_told() {
    let (mut conversation, address) = start();
    let mut client = Client::connect(address).await;
    let document = r#"{"errorType":"Runtime.NoSuchHandler","errorMessage":"m"}"#;
    assert_eq!(client.ask(post("init/error", "", document)).await.status, 202);
    assert_eq!(client.ask(post("init/error", "", document)).await.status, 403);
    match conversation.ready().await {
        Err(ConversationError::Init(failure)) => {
            assert_eq!(failure.error_type, "Runtime.NoSuchHandler");
            assert_eq!(failure.document, document);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_answer_beyond_the_limit() {
    for chunked in [false, true] {
        let (mut client, invoked, _) = running().await;
        let text = "x".repeat(LIMIT + 1);
        let request = if chunked {
            format!(
                "POST /2018-06-01/runtime/invocation/{ID}/response HTTP/1.1\r\nhost: x\r\n\
                 transfer-encoding: chunked\r\n\r\n{:x}\r\n{text}\r\n0\r\n\r\n",
                text.len()
            )
        } else {
            answer(&text)
        };
        let got = client.ask(request).await;
        assert_eq!(got.status, 413);
        assert_eq!(
            got.body,
            r#"{"errorMessage":"Exceeded maximum allowed payload size (1000 bytes).","errorType":"RequestEntityTooLarge"}"#
        );
        let (reply, body, _, _conversation) = invoked.await.unwrap();
        assert_eq!(
            reply.unwrap(),
            error(
                "Function.ResponseSizeTooLarge",
                r#"{"errorType":"Function.ResponseSizeTooLarge","errorMessage":"Response payload size exceeded maximum allowed payload size (1000 bytes)."}"#
            )
        );
        assert_eq!(body, "");
        // The connection goes on.
        assert_eq!(client.ask("GET /ping HTTP/1.1\r\nhost: x\r\n\r\n").await.status, 200);
    }
}

#[tokio::test]
async fn a_next_that_went_away_takes_no_event_with_it() {
    let (mut conversation, address) = start();
    let mut first = Client::connect(address).await;
    first.send(NEXT).await;
    conversation.ready().await.unwrap();
    drop(first);
    // Only when the platform has noticed does it make a difference who asks.
    let invoked = invoke(conversation);
    let mut second = Client::connect(address).await;
    assert_eq!(second.ask(NEXT).await.body, r#"{"a":1}"#);
    assert_eq!(second.ask(answer("1")).await.status, 202);
    assert_eq!(invoked.await.unwrap().1, "1");
}

#[tokio::test]
async fn an_answer_cut_off_may_be_given_again() {
    let (mut client, invoked, address) = running().await;
    client
        .send(format!(
            "POST /2018-06-01/runtime/invocation/{ID}/response HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf"
        ))
        .await;
    drop(client);
    let mut client = Client::connect(address).await;
    let mut got = client.ask(answer("whole")).await;
    while got.status == 403 {
        // The first connection's end has not been seen yet.
        got = client.ask(answer("whole")).await;
    }
    assert_eq!(got.status, 202);
    assert_eq!(invoked.await.unwrap().1, "whole");
}

fn streamed(trailers: &str) -> String {
    format!(
        "POST /2018-06-01/runtime/invocation/{ID}/response HTTP/1.1\r\nhost: x\r\ncontent-type: text/event-stream\r\n\
         lambda-runtime-function-response-mode: streaming\r\ntransfer-encoding: chunked\r\n\
         trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n\r\n\
         4\r\none \r\n3\r\ntwo\r\n{trailers}"
    )
}

#[tokio::test]
async fn streams_end_well_or_with_the_type_in_the_trailer_or_cut_off() {
    let failed = "0\r\nLambda-Runtime-Function-Error-Type: Runtime.StreamError\r\n\
                  Lambda-Runtime-Function-Error-Body: e30=\r\n\r\n";
    let cut = r#"{"errorType":"Runtime.TruncatedResponse","errorMessage":"Response was truncated"}"#;
    for (end, expected) in [
        ("0\r\n\r\n", Reply::Response { streamed: true }),
        (failed, error("Runtime.StreamError", "{}")),
        ("", error("Runtime.TruncatedResponse", cut)),
    ] {
        let (mut client, invoked, _) = running().await;
        client.send(streamed(end)).await;
        if end.is_empty() {
            drop(client);
        } else {
            assert_eq!(client.read().await.status, 202);
        }
        let (reply, body, content_type, _) = invoked.await.unwrap();
        assert_eq!(reply.unwrap(), expected);
        assert_eq!((body.as_str(), content_type.as_deref()), ("one two", Some("text/event-stream")));
    }
}

/// The caller hears of it at once; the runtime may send its stream to the end, gets its refusal and goes on.
#[tokio::test]
async fn a_stream_beyond_the_limit() {
    let (mut conversation, address) = start();
    let mut client = Client::connect(address).await;
    client.send(NEXT).await;
    conversation.ready().await.unwrap();
    let (body, mut pieces) = mpsc::channel::<Bytes>(16);
    let (content_type, _named) = oneshot::channel();
    let stream = StreamLimits { bytes: 6, ..StreamLimits::default() };
    let limits = AnswerLimits { buffered_bytes: LIMIT, stream };
    let invoked = tokio::spawn(async move {
        let reply = conversation.invoke(event("{}"), AnswerSink { body, content_type }, limits).await;
        (reply, conversation)
    });
    assert_eq!(client.read().await.status, 200);
    client.send(streamed("")).await;
    assert_eq!(pieces.recv().await.unwrap(), "one ");
    assert_eq!(pieces.recv().await, None, "the second piece goes beyond");
    let (reply, _conversation) = invoked.await.unwrap();
    let document = r#"{"errorType":"Function.ResponseSizeTooLarge","errorMessage":"Response payload size exceeded maximum allowed payload size (6 bytes)."}"#;
    assert_eq!(reply.unwrap(), error("Function.ResponseSizeTooLarge", document));
    let refused = client.ask("5\r\nthree\r\n0\r\n\r\n").await;
    assert_eq!(refused.status, 413);
    assert_eq!(client.ask("GET /ping HTTP/1.1\r\nhost: x\r\n\r\n").await.status, 200);
}

/// More than the caller takes and the sockets hold: the runtime's write waits until the caller reads on.
#[tokio::test]
async fn a_caller_that_reads_nothing_holds_the_runtime_up() {
    let (mut conversation, address) = start();
    let mut client = Client::connect(address).await;
    client.send(NEXT).await;
    conversation.ready().await.unwrap();
    let (body, mut pieces) = mpsc::channel::<Bytes>(1);
    let (content_type, _named) = oneshot::channel();
    let invoked = tokio::spawn(async move {
        conversation.invoke(event("{}"), AnswerSink { body, content_type }, limits()).await
    });
    assert_eq!(client.read().await.status, 200);
    let head = streamed("");
    client.send(&head).await;
    let piece = format!("10000\r\n{}\r\n", "p".repeat(0x1_0000));
    let mut sent = 0;
    // Small steps of a paused clock would pass no bytes through the kernel: real time, and far more than it needs.
    while tokio::time::timeout(Duration::from_millis(300), client.send(&piece)).await.is_ok() {
        sent += 0x1_0000;
        assert!(sent < 64 << 20, "the runtime was never held up");
    }
    let mut read = 0;
    while read < sent {
        read += pieces.recv().await.unwrap().len();
    }
    assert!(!invoked.is_finished());
    invoked.abort();
}

#[tokio::test]
async fn garbage_ends_its_connection_only() {
    let (mut good, invoked, address) = running().await;
    let oversized = format!("GET /ping HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(2 * 1024 * 1024));
    for bytes in [
        b"\x16\x03\x01\x02\x00\x01\x00".to_vec(),
        b"GET\r\n\r\n".to_vec(),
        b"POST /2018-06-01/runtime/init/error HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n"
            .to_vec(),
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzzz\r\n".to_vec(),
        b"POST / HTTP/1.1\r\ncontent-length: 99999999999999999999999\r\n\r\n".to_vec(),
        vec![0; 4096],
        oversized.into_bytes(),
    ] {
        let mut client = Client::connect(address).await;
        // It may hang up before everything is written.
        let _ = client.0.write_all(&bytes).await;
        let _ = client.0.shutdown().await;
        let rest = client.rest().await;
        assert!(!rest.starts_with("HTTP/1.1 200") && !rest.starts_with("HTTP/1.1 202"), "{rest}");
    }
    assert_eq!(good.ask(answer("1")).await.status, 202);
    assert_eq!(invoked.await.unwrap().1, "1");
}

/// Connections pin the network namespace of the sandbox, so none may outlive the conversation.
#[tokio::test]
async fn dropping_the_conversation_closes_everything() {
    let (mut conversation, address) = start();
    let mut clients = Vec::new();
    for _ in 0..40 {
        clients.push(Client::connect(address).await);
    }
    clients[0].send(NEXT).await;
    clients[1].send("POST /2018-06-01/runtime/invocation/").await;
    conversation.ready().await.unwrap();
    drop(conversation);
    for client in &mut clients {
        assert_eq!(client.rest().await, "");
    }
    assert!(TcpStream::connect(address).await.is_err());
}

/// Sixteen at a time; the others wait until one of them ends.
#[tokio::test]
async fn more_connections_than_allowed_wait() {
    let (mut conversation, address) = start();
    let mut idle = Vec::new();
    for _ in 0..16 {
        let mut client = Client::connect(address).await;
        assert_eq!(client.ask("GET /ping HTTP/1.1\r\nhost: x\r\n\r\n").await.body, "pong");
        idle.push(client);
    }
    let mut late = Client::connect(address).await;
    late.send(NEXT).await;
    {
        let ready = conversation.ready();
        tokio::pin!(ready);
        let nothing = tokio::time::timeout(std::time::Duration::from_millis(50), &mut ready).await;
        assert!(nothing.is_err());
        idle.pop();
        ready.await.unwrap();
    }
}

const RESTORE: &str = "GET /2018-06-01/runtime/restore/next HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn a_runtime_with_snap_start_is_restored_at_once_and_once() {
    let (mut conversation, address) = start_for(AboutFunction { snap_start: true, ..Default::default() });
    let mut client = Client::connect(address).await;
    let early = client.ask(post("restore/error", "", "{}")).await;
    assert_eq!(early.status, 403, "nothing was restored yet");
    let restored = client.ask(RESTORE).await;
    assert_eq!((restored.status, restored.body.as_str()), (200, ""));
    assert_eq!(client.ask(RESTORE).await.status, 403);
    client.send(NEXT).await;
    conversation.ready().await.unwrap();
    let mut other = Client::connect(address).await;
    assert_eq!(other.ask(post("restore/error", "", "{}")).await.status, 403, "it is long over");
}

#[tokio::test]
async fn a_failed_restore_is_a_failed_init() {
    let (mut conversation, address) = start_for(AboutFunction { snap_start: true, ..Default::default() });
    let mut client = Client::connect(address).await;
    assert_eq!(client.ask(RESTORE).await.status, 200);
    let document = r#"{"errorType":"ValueError","errorMessage":"m"}"#;
    assert_eq!(client.ask(post("restore/error", "", document)).await.status, 202);
    match conversation.ready().await {
        Err(ConversationError::Init(failure)) => {
            assert_eq!(failure.error_type, "Runtime.AfterRestoreError");
            assert_eq!(failure.document, document);
        }
        other => panic!("{other:?}"),
    }
}

/// What one of several events came to: reply and body.
fn call(calls: &Calls, number: u128) -> JoinHandle<(Result<Reply, ConversationError>, String)> {
    let calls = calls.clone();
    tokio::spawn(async move {
        let (body, mut pieces) = mpsc::channel::<Bytes>(4);
        let (content_type, _named) = oneshot::channel();
        let event = Event { request_id: RequestId(uuid::Uuid::from_u128(number)), ..event("{}") };
        let collect = async {
            let mut all = Vec::new();
            while let Some(piece) = pieces.recv().await {
                all.extend_from_slice(&piece);
            }
            String::from_utf8(all).unwrap()
        };
        tokio::join!(calls.invoke(event, AnswerSink { body, content_type }, limits()), collect)
    })
}

fn answer_to(id: &str, body: &str) -> String {
    post(&format!("invocation/{id}/response"), "", body)
}

#[tokio::test]
async fn several_events_at_once_are_answered_in_any_order() {
    let (mut conversation, address) = start_for(AboutFunction { concurrency: 2, ..Default::default() });
    let (mut one, mut two) = (Client::connect(address).await, Client::connect(address).await);
    one.send(NEXT).await;
    conversation.ready().await.unwrap();
    let calls = conversation.calls().unwrap();
    let first = call(&calls, 1);
    let taken_first = one.read().await.header("lambda-runtime-aws-request-id");
    let second = call(&calls, 2);
    let taken_second = two.ask(NEXT).await.header("lambda-runtime-aws-request-id");
    assert_ne!(taken_first, taken_second);
    // Nothing is free: both are at work.
    let free = tokio::time::timeout(Duration::from_millis(50), calls.free());
    assert!(free.await.is_err());
    assert_eq!(two.ask(answer_to(&taken_second, "2")).await.status, 202);
    assert_eq!(second.await.unwrap().1, "2");
    two.send(NEXT).await;
    calls.free().await.unwrap();
    assert_eq!(one.ask(answer_to(&taken_first, "1")).await.status, 202);
    let (reply, body) = first.await.unwrap();
    assert_eq!((reply.unwrap(), body.as_str()), (Reply::Response { streamed: false }, "1"));
    assert_eq!(one.ask(answer_to(&taken_first, "1")).await.status, 400, "it is over");
}

#[tokio::test]
async fn an_event_given_up_is_gone_and_the_others_go_on() {
    let (mut conversation, address) = start_for(AboutFunction { concurrency: 2, ..Default::default() });
    let (mut one, mut two) = (Client::connect(address).await, Client::connect(address).await);
    one.send(NEXT).await;
    conversation.ready().await.unwrap();
    let calls = conversation.calls().unwrap();
    let hanging = call(&calls, 1);
    let late = one.read().await.header("lambda-runtime-aws-request-id");
    let other = call(&calls, 2);
    let taken = two.ask(NEXT).await.header("lambda-runtime-aws-request-id");
    hanging.abort();
    assert!(hanging.await.unwrap_err().is_cancelled());
    assert_eq!(one.ask(answer_to(&late, "1")).await.status, 410);
    assert_eq!(two.ask(answer_to(&taken, "2")).await.status, 202);
    assert_eq!(other.await.unwrap().1, "2");
    // One that nobody has taken is as if it had never been.
    let untaken = call(&calls, 3);
    tokio::task::yield_now().await;
    untaken.abort();
    assert!(untaken.await.unwrap_err().is_cancelled());
    one.send(NEXT).await;
    let last = call(&calls, 4);
    assert!(one.read().await.header("lambda-runtime-aws-request-id").ends_with('4'));
    drop((conversation, last));
}
