//! The smallest custom runtime: takes events from the HTTP Runtime API and gives them back, standard library only.
//!
//! Both sides of the benchmark run this same program. Compiled by the harness with `rustc -O`, statically linked.
//! `BENCH_ONCE=1` makes it end after its first answer, so that every call is a start and an end of an instance.

use std::io::{Read, Write};
use std::net::TcpStream;

/// Reads one answer: its head as text and its body.
fn receive(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> (String, Vec<u8>) {
    let mut chunk = [0_u8; 65536];
    let mut fill = |buffer: &mut Vec<u8>| match stream.read(&mut chunk) {
        Ok(length) if length > 0 => buffer.extend_from_slice(&chunk[..length]),
        _ => std::process::exit(0), // The platform is gone.
    };
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        fill(buffer);
    };
    let head = String::from_utf8_lossy(&buffer[..head_end]).to_ascii_lowercase();
    let length = header(&head, "content-length:").and_then(|length| length.parse().ok()).unwrap_or(0);
    while buffer.len() < head_end + length {
        fill(buffer);
    }
    let body = buffer[head_end..head_end + length].to_vec();
    buffer.drain(..head_end + length);
    (head, body)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

fn main() {
    let address = std::env::var("AWS_LAMBDA_RUNTIME_API").expect("AWS_LAMBDA_RUNTIME_API is not set");
    let once = std::env::var_os("BENCH_ONCE").is_some();
    let mut stream = TcpStream::connect(&address).expect("failed to connect to the Runtime API");
    stream.set_nodelay(true).expect("failed to switch delaying off");
    let mut buffer = Vec::new();
    let next = format!("GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: {address}\r\n\r\n");
    loop {
        stream.write_all(next.as_bytes()).expect("failed to ask for an event");
        let (head, event) = receive(&mut stream, &mut buffer);
        let id = header(&head, "lambda-runtime-aws-request-id:").expect("an event has an id").to_owned();
        let mut answer = format!(
            "POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n\r\n",
            event.len()
        )
        .into_bytes();
        answer.extend_from_slice(&event);
        stream.write_all(&answer).expect("failed to answer");
        receive(&mut stream, &mut buffer);
        if once {
            return;
        }
    }
}
