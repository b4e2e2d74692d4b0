//! Subscriptions with listeners on this host's loopback in the place of those inside a sandbox.

use super::*;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

fn telemetry() -> Telemetry {
    let telemetry = Telemetry::new(Arc::new(|| Timestamp(0)));
    telemetry.begin(Arc::new(|port| Box::pin(TcpStream::connect(("127.0.0.1", port)))));
    telemetry
}

fn line(text: &str) -> TelemetryEvent {
    let record = Record::Line { text: text.to_owned(), json: false };
    TelemetryEvent { time: Timestamp(0), kind: "function", record }
}

fn subscription(protocol: &str, port: u16, types: &[&str]) -> Subscription {
    let uri = format!("http://sandbox.localdomain:{port}/events");
    let destination = serde_json::json!({ "protocol": protocol, "URI": uri, "port": port });
    let request = serde_json::json!({
        "schemaVersion": "2022-12-13", "types": types, "buffering": { "timeoutMs": 25 }, "destination": destination,
    });
    parse(Api::Telemetry, request.to_string().as_bytes()).unwrap()
}

/// Reads one request, answers it with this status, and gives its first line and body.
async fn answer(stream: &mut BufReader<TcpStream>, status: u16) -> (String, serde_json::Value) {
    let (mut first, mut length) = (String::new(), 0);
    stream.read_line(&mut first).await.unwrap();
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await.unwrap();
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
        if header == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\nok");
    stream.get_mut().write_all(answer.as_bytes()).await.unwrap();
    (first.trim_end().to_owned(), serde_json::from_slice(&body).unwrap())
}

fn records(batch: &serde_json::Value) -> Vec<String> {
    batch.as_array().unwrap().iter().map(|event| event["record"].to_string()).collect()
}

#[tokio::test]
async fn who_subscribes_hears_everything_since_the_beginning() {
    let telemetry = telemetry();
    telemetry.emit(line("before\n"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    telemetry.subscribe("mine", subscription("HTTP", port, &["platform", "function"])).unwrap();
    telemetry.subscribe("mine", subscription("HTTP", port, &["function"])).unwrap();
    telemetry.close_subscription();
    let mut stream = BufReader::new(listener.accept().await.unwrap().0);
    let (first, batch) = answer(&mut stream, 500).await;
    assert_eq!(first, "POST /events HTTP/1.1");
    let subscribed = r#"{"name":"mine","state":"Subscribed","types":["platform","function"]}"#;
    assert_eq!(records(&batch), [r#""before\n""#, subscribed]);
    assert_eq!(batch[0]["time"], "1970-01-01T00:00:00.000Z");
    telemetry.emit(line("meanwhile"));
    // What was refused is sent again, on a connection of its own, and then what came meanwhile, on the same one.
    let mut stream = BufReader::new(listener.accept().await.unwrap().0);
    assert_eq!(answer(&mut stream, 200).await.1, batch);
    assert_eq!(records(&answer(&mut stream, 200).await.1), [r#""meanwhile""#]);
    telemetry.end();
    assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0, "the connection goes with the sandbox");
}

#[tokio::test]
async fn lines_over_tcp() {
    let telemetry = telemetry();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    telemetry.subscribe("mine", subscription("TCP", port, &["function"])).unwrap();
    telemetry.emit(line("one"));
    telemetry.emit(line("two"));
    let mut lines = BufReader::new(listener.accept().await.unwrap().0).lines();
    for text in ["one", "two"] {
        let event: serde_json::Value =
            serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
        assert_eq!((&event["type"], &event["record"]), (&"function".into(), &text.into()));
    }
}

#[tokio::test]
async fn what_nobody_takes_is_dropped_and_counted() {
    let telemetry = telemetry();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    telemetry.subscribe("slow", subscription("HTTP", port, &["platform", "function"])).unwrap();
    telemetry.close_subscription();
    let text = "x".repeat(1024);
    let mut stream = BufReader::new(listener.accept().await.unwrap().0);
    // While the first request is not answered.
    for _ in 0..2_000 {
        telemetry.emit(line(&text));
    }
    let mut told = 0;
    let mut lines = 0;
    while told == 0 {
        let (_, batch) = answer(&mut stream, 200).await;
        for event in batch.as_array().unwrap() {
            lines += u64::from(event["type"] == "function");
            if event["type"] == "platform.logsDropped" {
                told += event["record"]["droppedRecords"].as_u64().unwrap();
            }
        }
    }
    while lines + told < 2_000 {
        lines += answer(&mut stream, 200).await.1.as_array().unwrap().len() as u64;
    }
    assert_eq!(lines + told, 2_000);
    assert!(told > 1_000, "half a mebibyte waits at most: {told}");
}

#[tokio::test]
async fn init_is_when_one_subscribes() {
    let telemetry = telemetry();
    assert!(telemetry.is_wanted());
    telemetry.subscribe("mine", subscription("TCP", 1, &["function"])).unwrap();
    let logs = r#"{"types":["function"],"destination":{"protocol":"TCP","port":1}}"#;
    let logs = parse(Api::Logs, logs.as_bytes()).unwrap();
    assert_eq!(telemetry.subscribe("mine", logs), Err(SubscribeRefusal::OtherApi));
    telemetry.close_subscription();
    assert!(telemetry.is_wanted(), "somebody listens");
    let late = telemetry.subscribe("late", subscription("TCP", 1, &["function"]));
    assert_eq!(late, Err(SubscribeRefusal::Closed));
    telemetry.end();
    assert!(!telemetry.is_wanted());
}
