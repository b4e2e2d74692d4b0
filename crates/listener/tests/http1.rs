//! What clients of HTTP/1.1 may send, how long they may take, and how they are told goodbye.

#![allow(clippy::unwrap_used)]

mod support;

use lamplight_listener::Limits;
use std::time::{Duration, Instant};
use support::{limits, read_answer, read_to_end, start};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const CLOSE: &str = "host: a\r\nconnection: close\r\n";

#[tokio::test]
async fn heads_are_bounded_in_bytes_and_number() {
    let server = start(Limits { head_bytes: 16 * 1024, headers: 20, ..limits() }, None).await;
    let good = server.exchange(format!("GET /a?b HTTP/1.1\r\n{CLOSE}\r\n").as_bytes()).await;
    assert!(good.starts_with("HTTP/1.1 200") && good.ends_with("GET /a?b a plain "), "{good}");
    let long = "x".repeat(17 * 1024);
    let answer =
        server.exchange(format!("GET / HTTP/1.1\r\nhost: a\r\nx-long: {long}\r\n\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let with = |fields: usize| -> String {
        let many: String = (0..fields).map(|number| format!("x-{number}: 1\r\n")).collect();
        format!("GET / HTTP/1.1\r\n{CLOSE}{many}\r\n")
    };
    for fields in [19, 30, 150] {
        let answer = server.exchange(with(fields).as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{fields}: {answer}");
    }
    // More than hyper takes by itself.
    let server = start(Limits { headers: 150, ..limits() }, None).await;
    for (fields, status) in [(148, "200"), (149, "431"), (200, "431")] {
        let answer = server.exchange(with(fields).as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{fields}: {answer}");
    }
}

#[tokio::test]
async fn what_two_servers_could_read_differently_is_refused() {
    let server = start(limits(), None).await;
    for smuggled in [
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\na",
        "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx: 1\r\n folded: 2\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n",
        "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n",
    ] {
        let answer = server.exchange(smuggled.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{smuggled:?} got {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "the connection ends: {answer}");
    }
    let absolute = server.exchange(b"GET http://b/x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(absolute.ends_with("GET /x b plain "), "the target counts: {absolute}");
    // Both lengths: chunked counts, and the next request on the connection is not read from what is left (RFC 9112, 6.1).
    let both = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    let answer = server.exchange(both.as_bytes()).await;
    assert!(!answer.contains("/smuggled"), "{answer}");
}

#[tokio::test]
async fn a_slow_head_is_cut_however_it_drips() {
    let server = start(limits(), None).await;
    let began = Instant::now();
    let mut stream = server.connect().await;
    let mut sent = 0;
    for byte in
        b"GET / HTTP/1.1\r\nhost: a\r\nx-slow: 1111111111111111111111111111111111111111111".iter().cycle()
    {
        // Each byte comes well within the time a head has.
        tokio::time::sleep(Duration::from_millis(50)).await;
        if stream.write_all(&[*byte]).await.is_err() || began.elapsed() > Duration::from_secs(10) {
            break;
        }
        sent += 1;
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(5), "{took:?} for {sent} bytes");
}

#[tokio::test]
async fn silence_is_closed_and_work_is_not() {
    let server = start(limits(), None).await;
    let began = Instant::now();
    let mut silent = server.connect().await;
    assert_eq!(read_to_end(&mut silent).await, "");
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(590) && took < Duration::from_secs(5), "{took:?}");
    // A request that takes longer than any of the times of a head.
    let mut busy = server.connect().await;
    busy.write_all(b"GET /held HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    server.wait_until_begun(1).await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    server.gate.add_permits(1);
    assert!(read_answer(&mut busy).await.starts_with("HTTP/1.1 200"));
    assert_eq!(read_to_end(&mut busy).await, "", "and is then closed as any");
}

#[tokio::test]
async fn bodies_are_bounded_announced_or_not() {
    let server = start(Limits { body_bytes: Some(1_000), ..limits() }, None).await;
    let body = "b".repeat(5_000);
    let announced = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5000\r\n\r\n{body}");
    let chunked = format!(
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1388\r\n{body}\r\n0\r\n\r\n"
    );
    for request in [announced, chunked] {
        let answer = server.exchange(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
        assert!(answer.ends_with("{\"message\":\"Payload Too Large\"}"), "{answer}");
    }
    // Who asks first has not sent it yet, and is told at once.
    let began = Instant::now();
    let asked = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5000\r\nexpect: 100-continue\r\n\r\n";
    let answer = server.exchange(asked.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413") && began.elapsed() < Duration::from_secs(5), "{answer}");
    let exact = format!("POST / HTTP/1.1\r\n{CLOSE}content-length: 1000\r\n\r\n{}", &body[..1_000]);
    assert!(server.exchange(exact.as_bytes()).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_slow_body_gets_408() {
    let server = start(Limits { body_bytes_per_second: Some(1_000), ..limits() }, None).await;
    let mut stream = server.connect().await;
    stream.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nab").await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn a_request_has_its_time() {
    let server = start(Limits { request_time: Some(Duration::from_millis(400)), ..limits() }, None).await;
    let answer = server.exchange(b"GET /held HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
}

#[tokio::test]
async fn an_answer_that_nobody_reads_has_its_time_too() {
    let limits = Limits { connections: 1, request_time: Some(Duration::from_millis(400)), ..limits() };
    let server = start(limits, None).await;
    let mut stalled = server.connect().await;
    stalled.write_all(b"GET /endless HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    server.wait_until_begun(1).await;
    // There is room for another connection only when the first is gone; what it does not read is still in its socket.
    let answer = server.exchange(format!("GET / HTTP/1.1\r\n{CLOSE}\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn connections_of_one_address_are_bounded_and_the_bound_can_change() {
    let server = start(Limits { connections_of_an_address: Some(2), ..limits() }, None).await;
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    for stream in [&mut first, &mut second] {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        assert!(read_answer(stream).await.starts_with("HTTP/1.1 200"));
    }
    assert_eq!(server.exchange(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await, "", "closed without a word");
    server.limits.set(Limits { connections_of_an_address: None, ..limits() });
    let answer = server.exchange(format!("GET / HTTP/1.1\r\n{CLOSE}\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn one_connection_too_many_waits_for_room() {
    let server = start(Limits { connections: 1, ..limits() }, None).await;
    let mut first = server.connect().await;
    first.write_all(b"GET /held HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    server.wait_until_begun(1).await;
    let mut second = server.connect().await;
    second.write_all(format!("GET /second HTTP/1.1\r\n{CLOSE}\r\n").as_bytes()).await.unwrap();
    let mut byte = [0];
    let early = tokio::time::timeout(Duration::from_millis(300), second.read(&mut byte)).await;
    assert!(early.is_err(), "it was answered beside the first");
    server.gate.add_permits(1);
    assert!(read_to_end(&mut first).await.contains("/held"));
    assert!(read_to_end(&mut second).await.contains("/second"));
}

#[tokio::test]
async fn the_drain_answers_what_is_in_flight_and_says_close() {
    let server = start(limits(), None).await;
    let mut idle = server.connect().await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /held HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    server.wait_until_begun(1).await;
    server.stop.cancel();
    assert_eq!(read_to_end(&mut idle).await, "");
    server.gate.add_permits(1);
    let answer = read_to_end(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
    server.serving.await.unwrap();
    assert!(tokio::net::TcpStream::connect(server.address).await.is_err());
}
