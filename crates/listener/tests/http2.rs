//! HTTP/2 in clear text, with frames that only an attacker sends.

#![allow(clippy::unwrap_used)]

mod support;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Method, Request, StatusCode};
use lamplight_listener::Limits;
use std::time::{Duration, Instant};
use support::{Server, limits, start};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:method GET`, `:scheme http`, `:path /held`, `:authority a` (RFC 7541: indexed, and literal without indexing).
const HEAD: &[u8] = b"\x82\x86\x04\x05/held\x01\x01a";

async fn client(server: &Server) -> (SendRequest<Bytes>, tokio::task::JoinHandle<Result<(), h2::Error>>) {
    let (client, connection) = h2::client::handshake(server.connect().await).await.unwrap();
    (client, tokio::spawn(connection))
}

async fn get(
    client: &mut SendRequest<Bytes>,
    uri: &str,
    body: Option<&'static [u8]>,
) -> (StatusCode, String) {
    let request = Request::post(uri).body(()).unwrap();
    let mut ready = client.clone().ready().await.unwrap();
    let (answer, mut sender) = ready.send_request(request, body.is_none()).unwrap();
    if let Some(body) = body {
        sender.send_data(Bytes::from_static(body), true).unwrap();
    }
    let answer = answer.await.unwrap();
    let status = answer.status();
    let mut received = answer.into_body();
    let mut text = Vec::new();
    while let Some(data) = received.data().await {
        let data = data.unwrap();
        received.flow_control().release_capacity(data.len()).unwrap();
        text.extend_from_slice(&data);
    }
    (status, String::from_utf8(text).unwrap())
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A connection whose settings are done, as bytes.
async fn raw(server: &Server) -> TcpStream {
    let mut stream = server.connect().await;
    stream.write_all(PREFACE).await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    stream
}

/// Kinds and payloads of the frames until the connection ends.
async fn frames_until_end(stream: &mut TcpStream) -> Vec<(u8, Vec<u8>)> {
    let mut bytes = Vec::new();
    // A reset after the last frame is an end, too.
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes)).await;
    let _ = read.expect("the connection was left open");
    let mut frames = Vec::new();
    let mut rest = bytes.as_slice();
    while let Some((head, after)) = rest.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Some((payload, after)) = after.split_at_checked(length) else { break };
        frames.push((head[3], payload.to_vec()));
        rest = after;
    }
    frames
}

/// The same, of a client that answers pings.
async fn frames_with_pings_answered(stream: TcpStream) -> Vec<(u8, Vec<u8>)> {
    let (mut reader, mut writer) = stream.into_split();
    let mut frames = Vec::new();
    let reading = async {
        let mut head = [0; 9];
        while reader.read_exact(&mut head).await.is_ok() {
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            if reader.read_exact(&mut payload).await.is_err() {
                break;
            }
            if head[3] == PING && head[4] == 0 {
                // It may be gone meanwhile.
                let _ = writer.write_all(&frame(PING, 1, 0, &payload)).await;
            }
            frames.push((head[3], payload));
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.expect("the connection was left open");
    frames
}

fn says_goodbye(frames: &[(u8, Vec<u8>)]) -> Option<u32> {
    let (_, payload) = frames.iter().find(|(kind, _)| *kind == GOAWAY)?;
    Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()))
}

#[tokio::test]
async fn many_requests_on_one_connection() {
    let server = start(limits(), None).await;
    let (mut one, _connection) = client(&server).await;
    let mut two = one.clone();
    let uri = "http://a.example/x?y";
    let (first, second) = tokio::join!(get(&mut one, uri, None), get(&mut two, uri, Some(b"body")));
    assert_eq!(first, (StatusCode::OK, "POST /x?y a.example plain ".to_owned()));
    assert_eq!(second, (StatusCode::OK, "POST /x?y a.example plain body".to_owned()));
}

#[tokio::test]
async fn bounds_hold_as_in_http1() {
    let limits = Limits { body_bytes: Some(3), headers: 5, head_bytes: 8_192, ..limits() };
    let server = start(limits, None).await;
    let (mut client, _connection) = client(&server).await;
    assert_eq!(get(&mut client, "http://a/", Some(b"four")).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    let mut request = Request::get("http://a/");
    for number in 0..6 {
        request = request.header(format!("x-{number}"), "1");
    }
    let (answer, _) = client.send_request(request.body(()).unwrap(), true).unwrap();
    assert_eq!(answer.await.unwrap().status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let long = Request::get("http://a/").header("x-long", "x".repeat(9_000)).body(()).unwrap();
    let refused = match client.send_request(long, true) {
        Ok((answer, _)) => answer.await.is_ok_and(|answer| answer.status() != StatusCode::OK),
        Err(_) => true,
    };
    assert!(refused, "a long head was taken");
    let contradiction = Request::get("http://a/").header("host", "b").body(()).unwrap();
    let (answer, _) = client.send_request(contradiction, true).unwrap();
    assert_eq!(answer.await.unwrap().status(), StatusCode::BAD_REQUEST);
    // The connection has survived all of it.
    assert_eq!(get(&mut client, "http://a/", None).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_rapid_reset_ends_the_connection() {
    let server = start(limits(), None).await;
    let mut stream = raw(&server).await;
    let mut sent = Vec::new();
    for number in 0..2_000_u32 {
        sent.extend(frame(HEADERS, END_STREAM | END_HEADERS, number * 2 + 1, HEAD));
        sent.extend(frame(RESET, 0, number * 2 + 1, &8_u32.to_be_bytes()));
    }
    // It may be cut while the flood is written.
    let _ = stream.write_all(&sent).await;
    let frames = frames_until_end(&mut stream).await;
    // ENHANCE_YOUR_CALM, when the client gets to read it.
    assert!(matches!(says_goodbye(&frames), Some(11) | None), "{frames:?}");
    let (mut other, _connection) = client(&server).await;
    assert_eq!(get(&mut other, "http://a/", None).await.0, StatusCode::OK, "others are served");
}

#[tokio::test]
async fn an_endless_head_ends_the_connection() {
    let server =
        start(Limits { head_bytes: 16 * 1024, idle_time: Duration::from_secs(60), ..limits() }, None).await;
    let mut stream = raw(&server).await;
    stream.write_all(&frame(HEADERS, END_STREAM, 1, HEAD)).await.unwrap();
    // A literal field without indexing: x-a with a kilobyte, in each CONTINUATION.
    let field = [b"\x00\x03x-a\x7f\x81\x07".as_slice(), [b'v'; 1_024].as_slice()].concat();
    let began = Instant::now();
    let mut sent = 0_usize;
    while sent < 256 << 20 {
        let frame = frame(CONTINUATION, 0, 1, &field[..]);
        sent += frame.len();
        if stream.write_all(&frame).await.is_err() {
            break;
        }
    }
    assert!(sent < 64 << 20, "{sent} bytes of one head were taken");
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn pings_do_not_keep_a_connection_open() {
    let server = start(limits(), None).await;
    let mut stream = raw(&server).await;
    let frames = frames_until_end(&mut stream).await;
    assert_eq!(says_goodbye(&frames), Some(0), "it is told: {frames:?}");
}

#[tokio::test]
async fn an_answer_without_a_window_has_its_time_too() {
    let server = start(Limits { request_time: Some(Duration::from_millis(400)), ..limits() }, None).await;
    let mut stream = server.connect().await;
    stream.write_all(PREFACE).await.unwrap();
    // SETTINGS_INITIAL_WINDOW_SIZE (4) is 0: no byte of an answer's body may be sent.
    stream.write_all(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])).await.unwrap();
    stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 1, HEAD)).await.unwrap();
    server.gate.add_permits(1);
    let frames = frames_with_pings_answered(stream).await;
    assert!(frames.iter().any(|(kind, _)| *kind == HEADERS), "it is answered: {frames:?}");
    assert!(frames.iter().all(|(kind, _)| *kind != DATA), "{frames:?}");
}

#[tokio::test]
async fn the_streams_of_a_connection_are_bounded() {
    let server = start(Limits { streams: Some(2), ..limits() }, None).await;
    let mut stream = raw(&server).await;
    let mut bytes = vec![0; 1_024];
    let read = stream.read(&mut bytes).await.unwrap();
    // SETTINGS_MAX_CONCURRENT_STREAMS (3) is 2.
    assert!(bytes[..read].windows(6).any(|setting| setting == [0, 3, 0, 0, 0, 2]), "{:?}", &bytes[..read]);
    for number in [1, 3, 5] {
        stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, number, HEAD)).await.unwrap();
    }
    server.wait_until_begun(2).await;
    server.gate.add_permits(2);
    let frames = frames_until_end(&mut stream).await;
    // REFUSED_STREAM: it may be sent again.
    let refused: Vec<_> = frames.iter().filter(|(kind, _)| *kind == RESET).collect();
    assert_eq!(refused, [&(RESET, 7_u32.to_be_bytes().to_vec())]);
    assert_eq!(frames.iter().filter(|(kind, _)| *kind == HEADERS).count(), 2);
    assert!(frames.iter().any(|(kind, _)| *kind == DATA));
}

#[tokio::test]
async fn the_drain_answers_what_is_in_flight_and_says_goodbye() {
    let server = start(limits(), None).await;
    let mut stream = raw(&server).await;
    stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 1, HEAD)).await.unwrap();
    server.wait_until_begun(1).await;
    server.stop.cancel();
    server.gate.add_permits(1);
    // The graceful goodbye waits for a ping.
    let frames = frames_with_pings_answered(stream).await;
    assert_eq!(says_goodbye(&frames), Some(0), "{frames:?}");
    assert!(
        frames.iter().any(|(kind, payload)| *kind == DATA && payload.starts_with(b"GET /held")),
        "{frames:?}"
    );
    server.serving.await.unwrap();
}

#[tokio::test]
async fn answers_without_content_end_with_their_heads() {
    let server = start(limits(), None).await;
    let (client, _connection) = client(&server).await;
    for (method, path, status, length) in [
        (Method::HEAD, "/", 200, Some("15")),
        (Method::HEAD, "/204", 204, None),
        (Method::GET, "/204", 204, None),
    ] {
        let request = Request::builder().method(&method).uri(format!("http://a{path}")).body(()).unwrap();
        let (answer, _) = client.clone().ready().await.unwrap().send_request(request, true).unwrap();
        let answer = answer.await.unwrap();
        let told = answer.headers().get("content-length").map(|length| length.to_str().unwrap().to_owned());
        assert_eq!((answer.status().as_u16(), told.as_deref()), (status, length), "{method} {path}");
        assert!(answer.body().is_end_stream(), "{method} {path}: something comes after the head");
    }
}
