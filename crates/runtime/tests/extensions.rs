//! The Extensions API beside the Runtime API, against clients that write bytes by hand.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests, too.

#[path = "common/client.rs"]
mod client;

use bytes::Bytes;
use client::{Client, Got};
use lamplight_model::RequestId;
use lamplight_runtime::{
    AboutFunction, AnswerLimits, AnswerSink, Conversation, ConversationError, Event, Reply, ShutdownReason,
    StreamLimits, Surroundings,
};
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

const RUNTIME_NEXT: &str = "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: x\r\n\r\n";
const ID: &str = "00000000-0000-0000-0000-000000000001";

fn start() -> (Conversation, SocketAddr) {
    start_with(&[])
}

fn start_with(external: &[&str]) -> (Conversation, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let about = AboutFunction {
        name: "hello".to_owned(),
        version: "$LATEST".to_owned(),
        handler: "app.handler".to_owned(),
        account_id: "000000000000".to_owned(),
        ..AboutFunction::default()
    };
    let external_extensions = external.iter().map(|name| (*name).to_owned()).collect();
    let surroundings = Surroundings { about, external_extensions, ..Surroundings::default() };
    (Conversation::http(listener, surroundings).unwrap(), address)
}

fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} /2020-01-01/extension/{path} HTTP/1.1\r\nhost: x\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
}

fn register(name: &str, events: &str) -> String {
    request(
        "POST",
        "register",
        &format!("Lambda-Extension-Name: {name}\r\n"),
        &format!("{{\"events\":{events}}}"),
    )
}

fn next(identifier: &str) -> String {
    request("GET", "event/next", &format!("Lambda-Extension-Identifier: {identifier}\r\n"), "")
}

fn header<'a>(got: &'a Got, name: &str) -> Option<&'a str> {
    got.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

async fn registered(address: SocketAddr, name: &str, events: &str) -> (Client, String) {
    let mut client = Client::connect(address).await;
    let got = client.ask(register(name, events)).await;
    assert_eq!(got.status, 200, "{got:?}");
    assert_eq!(got.body, r#"{"functionName":"hello","functionVersion":"$LATEST","handler":"app.handler"}"#);
    (client, header(&got, "lambda-extension-identifier").unwrap().to_owned())
}

type Invoked = (Result<Reply, ConversationError>, Result<(), ConversationError>, Conversation);

/// Resolves with the reply, the conversation and whether it could be used again.
fn invoke(mut conversation: Conversation) -> JoinHandle<Invoked> {
    tokio::spawn(async move {
        let (body, mut pieces) = mpsc::channel::<Bytes>(4);
        let (content_type, _named) = oneshot::channel();
        let event = Event {
            request_id: RequestId(uuid::Uuid::from_u128(1)),
            deadline_ms: 1_700_000_000_123,
            invoked_arn: "arn:aws:lambda:us-east-1:000000000000:function:hello".to_owned(),
            trace_header: Some("Root=1-2-3".to_owned()),
            client_context: None,
            tenant_id: None,
            payload: Bytes::from_static(b"{}"),
        };
        let limits = AnswerLimits { buffered_bytes: 1000, stream: StreamLimits::default() };
        let reply = conversation.invoke(event, AnswerSink { body, content_type }, limits).await;
        while pieces.recv().await.is_some() {}
        let idle = conversation.idle().await;
        (reply, idle, conversation)
    })
}

fn answer() -> String {
    format!(
        "POST /2018-06-01/runtime/invocation/{ID}/response HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n1"
    )
}

#[tokio::test]
async fn an_instance_is_free_when_runtime_and_extensions_have_asked() {
    let (mut conversation, address) = start();
    let (mut extension, identifier) = registered(address, "mine", r#"["INVOKE"]"#).await;
    let mut runtime = Client::connect(address).await;
    runtime.send(RUNTIME_NEXT).await;
    // The runtime waits; the extension has not asked yet, so init is not over.
    let early = tokio::time::timeout(std::time::Duration::from_millis(50), conversation.ready()).await;
    assert!(early.is_err());
    extension.send(next(&identifier)).await;
    conversation.ready().await.unwrap();
    for _ in 0..2 {
        let mut invoked = invoke(conversation);
        let got = extension.read().await;
        assert_eq!(
            got.body,
            r#"{"eventType":"INVOKE","deadlineMs":1700000000123,"requestId":"00000000-0000-0000-0000-000000000001","invokedFunctionArn":"arn:aws:lambda:us-east-1:000000000000:function:hello","tracing":{"type":"X-Amzn-Trace-Id","value":"Root=1-2-3"}}"#
        );
        assert!(header(&got, "lambda-extension-event-identifier").is_some());
        assert_eq!(runtime.read().await.status, 200);
        assert_eq!(runtime.ask(answer()).await.status, 202);
        runtime.send(RUNTIME_NEXT).await;
        let early = tokio::time::timeout(std::time::Duration::from_millis(50), &mut invoked).await;
        assert!(early.is_err(), "the extension still works");
        extension.send(next(&identifier)).await;
        let (reply, idle, back) = invoked.await.unwrap();
        assert_eq!(reply.unwrap(), Reply::Response { streamed: false });
        idle.unwrap();
        conversation = back;
    }
}

#[tokio::test]
async fn what_fits_nothing_is_refused_with_its_type() {
    let (conversation, address) = start();
    let (mut client, identifier) = registered(address, "mine", "[]").await;
    let known = format!("Lambda-Extension-Identifier: {identifier}\r\n");
    let unknown = format!("Lambda-Extension-Identifier: {ID}\r\n");
    for (request, error_type, message) in [
        (request("POST", "register", "", "{}"), "Extension.InvalidExtensionName", "Empty extension name"),
        (
            register("mine", "[]"),
            "Extension.InvalidExtensionState",
            "Extension with this name already registered",
        ),
        (
            register("other", r#"["SHUTDOWN"]"#),
            "Extension.InvalidEventType",
            "SHUTDOWN: ShutdownEventNotSupportedForInternalExtension",
        ),
        (register("other", "7"), "InvalidRequestFormat", "invalid type"),
        (
            request("POST", "register", "Lambda-Extension-Name: other\r\n", r#"{"configurationKeys":["a"]}"#),
            "InvalidRequestFormat",
            "configurationKeys are not supported",
        ),
        (
            request("GET", "event/next", "", ""),
            "Extension.MissingExtensionIdentifier",
            "Missing Lambda-Extension-Identifier header",
        ),
        (next("mine"), "Extension.InvalidExtensionIdentifier", "Invalid Lambda-Extension-Identifier"),
        (
            request("GET", "event/next", &unknown, ""),
            "Extension.UnknownExtensionIdentifier",
            "Unknown extension 0",
        ),
        (
            request("POST", "exit/error", &known, "{}"),
            "Extension.MissingHeader",
            "Lambda-Extension-Function-Error-Type not found",
        ),
    ] {
        let got = client.ask(&request).await;
        assert_eq!(got.status, 403, "{request}");
        let document: serde_json::Value = serde_json::from_str(&got.body).unwrap();
        assert_eq!(document["errorType"], error_type, "{request}");
        assert!(document["errorMessage"].as_str().unwrap().starts_with(message), "{got:?}");
    }
    assert_eq!(client.ask(request("PUT", "register", "", "")).await.status, 405);
    assert_eq!(client.ask(request("GET", "nothing", "", "")).await.status, 404);
    let with_account = "Lambda-Extension-Name: third\r\nLambda-Extension-Accept-Feature: accountId\r\n";
    let got = client.ask(request("POST", "register", with_account, r#"{"events":[]}"#)).await;
    assert!(got.body.ends_with(r#","accountId":"000000000000"}"#), "{got:?}");
    // Asking for the first event ends the registration.
    let mut runtime = Client::connect(address).await;
    runtime.send(RUNTIME_NEXT).await;
    loop {
        let got = client.ask(register("late", "[]")).await;
        if got.status == 403 {
            assert!(got.body.contains("Extension.RegistrationClosed"), "{got:?}");
            break;
        }
        assert!(got.body.contains("functionName"), "{got:?}");
        tokio::task::yield_now().await;
        client.ask(register("late", "[]")).await;
    }
    drop(conversation);
}

#[tokio::test]
async fn an_extension_that_cannot_begin_fails_the_init() {
    let (mut conversation, address) = start();
    let (mut client, identifier) = registered(address, "mine", r#"["INVOKE"]"#).await;
    let headers = format!(
        "Lambda-Extension-Identifier: {identifier}\r\nLambda-Extension-Function-Error-Type: Extension.NoConfiguration\r\n"
    );
    let got = client.ask(request("POST", "init/error", &headers, r#"{"errorMessage":"m"}"#)).await;
    assert_eq!((got.status, got.body.as_str()), (202, r#"{"status":"OK"}"#));
    match conversation.ready().await {
        Err(ConversationError::Extension(failure)) => {
            assert_eq!(failure.phase.error_type(), "Extension.InitError");
            assert_eq!(failure.reported, "Extension.NoConfiguration");
        }
        other => panic!("{other:?}"),
    }
    assert!(client.ask(next(&identifier)).await.body.contains("Extension.InvalidExtensionState"));
}

#[tokio::test]
async fn an_extension_that_cannot_go_on_fails_the_event_and_the_instance() {
    let (mut conversation, address) = start();
    let (mut extension, identifier) = registered(address, "mine", r#"["INVOKE"]"#).await;
    let mut runtime = Client::connect(address).await;
    runtime.send(RUNTIME_NEXT).await;
    extension.send(next(&identifier)).await;
    conversation.ready().await.unwrap();
    let invoked = invoke(conversation);
    assert_eq!(extension.read().await.status, 200);
    assert_eq!(runtime.read().await.status, 200);
    let headers = format!(
        "Lambda-Extension-Identifier: {identifier}\r\nLambda-Extension-Function-Error-Type: Extension.Gone\r\n"
    );
    assert_eq!(extension.ask(request("POST", "exit/error", &headers, "")).await.status, 202);
    let (reply, idle, _conversation) = invoked.await.unwrap();
    assert!(
        matches!(&reply, Err(ConversationError::Extension(failure)) if failure.reported == "Extension.Gone"),
        "{reply:?}"
    );
    assert!(idle.is_err(), "no event comes to this instance any more");
    assert_eq!(runtime.ask(answer()).await.status, 400, "nobody waits for this answer");
}

#[tokio::test]
async fn an_external_extension_registers_first_and_is_told_the_end() {
    let (mut conversation, address) = start_with(&["outside"]);
    let early = tokio::time::timeout(std::time::Duration::from_millis(20), conversation.registered()).await;
    assert!(early.is_err(), "its process runs and has not registered");
    let (mut extension, identifier) = registered(address, "outside", r#"["INVOKE","SHUTDOWN"]"#).await;
    conversation.registered().await.unwrap();
    let mut runtime = Client::connect(address).await;
    runtime.send(RUNTIME_NEXT).await;
    conversation.runtime_ready().await.unwrap();
    let early = tokio::time::timeout(std::time::Duration::from_millis(20), conversation.ready()).await;
    assert!(early.is_err());
    extension.send(next(&identifier)).await;
    conversation.ready().await.unwrap();
    assert_eq!(conversation.shut_down_extensions(1_700_000_000_000, ShutdownReason::Spindown), ["outside"]);
    let got = extension.read().await;
    assert_eq!(
        got.body,
        r#"{"eventType":"SHUTDOWN","deadlineMs":1700000000000,"shutdownReason":"spindown"}"#
    );
}

/// A conversation of frames with the APIs beside it, and the other end of the frames.
fn start_with_frames() -> (Conversation, SocketAddr, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut conversation = Conversation::frames(ours).unwrap();
    conversation.serve_extensions(listener, Surroundings::default()).unwrap();
    (conversation, address, theirs)
}

#[tokio::test]
async fn another_program_than_our_bootstrap_gets_its_events_over_http() {
    // As a wrapper script may start it: it has the descriptor of the frames and does not know of them.
    let (mut conversation, address, _frames) = start_with_frames();
    let early = tokio::time::timeout(std::time::Duration::from_millis(20), conversation.first_word()).await;
    assert!(early.is_err(), "nothing was said yet");
    let mut runtime = Client::connect(address).await;
    runtime.send(RUNTIME_NEXT).await;
    conversation.ready().await.unwrap();
    for _ in 0..2 {
        let invoked = invoke(conversation);
        assert_eq!(runtime.read().await.status, 200);
        assert_eq!(runtime.ask(answer()).await.status, 202);
        runtime.send(RUNTIME_NEXT).await;
        let (reply, idle, back) = invoked.await.unwrap();
        assert_eq!(reply.unwrap(), Reply::Response { streamed: false });
        idle.unwrap();
        conversation = back;
    }
}

#[tokio::test]
async fn events_of_frames_cannot_be_had_over_http() {
    let (mut conversation, address, mut frames) = start_with_frames();
    frames.write_all(&[0, 0, 0, 2, 0x01, 1]).unwrap();
    conversation.first_word().await.unwrap();
    let got = Client::connect(address).await.ask(RUNTIME_NEXT.to_owned()).await;
    assert_eq!(got.status, 403, "{got:?}");
    frames.write_all(&[0, 0, 0, 1, 0x02]).unwrap();
    conversation.ready().await.unwrap();
}

#[tokio::test]
async fn who_may_subscribe_to_telemetry() {
    let (_conversation, address) = start();
    let (mut client, identifier) = registered(address, "mine", "[]").await;
    let ask = |path: &str, identifier: &str, body: &str| {
        let length = body.len();
        format!(
            "PUT {path} HTTP/1.1\r\nhost: x\r\nLambda-Extension-Identifier: {identifier}\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    };
    let got = client.ask(ask("/2022-07-01/telemetry", ID, "{}")).await;
    assert!(got.status == 403 && got.body.contains("Extension.UnknownExtensionIdentifier"), "{got:?}");
    for (path, error_type) in [("/2022-07-01/telemetry", "Telemetry"), ("/2020-08-15/logs", "Logs")] {
        let got = client.ask(ask(path, &identifier, "{}")).await;
        assert_eq!(got.status, 202);
        let expected = format!(
            r#"{{"errorMessage":"{error_type} API is not supported","errorType":"{error_type}.NotSupported"}}"#
        );
        assert_eq!(got.body, expected);
    }
    let got = client.ask(request("GET", "../../2022-07-01/telemetry", "", "")).await;
    assert_eq!(got.status, 404);
}
