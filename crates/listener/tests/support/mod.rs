//! A listener in this process on a loopback port, and raw clients of it.

// Each test program uses a part of it.
#![allow(dead_code)]

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use lamplight_listener::tls::Tls;
use lamplight_listener::{Limits, Listener, Peer, Received, serve};
use lamplight_model::Live;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A running listener.
pub struct Server {
    pub address: SocketAddr,
    pub limits: Arc<Live<Limits>>,
    pub stop: CancellationToken,
    pub serving: JoinHandle<()>,
    /// Requests of `/held` wait for a permit.
    pub gate: Arc<Semaphore>,
    /// Has a permit for each request of `/held` that has begun.
    pub begun: Arc<Semaphore>,
}

/// Short times, so that a test waits for tenths of a second.
pub fn limits() -> Limits {
    Limits { head_time: Duration::from_millis(300), idle_time: Duration::from_millis(600), ..Limits::api() }
}

/// Answers with what it has read, at `/204` with a status that has no content; `/held` waits for the gate first. `/endless` answers
/// without end, as fast as it is taken.
pub async fn start(limits: Limits, tls: Option<Tls>) -> Server {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let limits = Arc::new(Live::new(limits));
    let (gate, begun) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let stop = CancellationToken::new();
    let answer = {
        let (gate, begun) = (Arc::clone(&gate), Arc::clone(&begun));
        move |request: Request<Received>, peer: Peer| {
            let (gate, begun) = (Arc::clone(&gate), Arc::clone(&begun));
            async move {
                if request.uri().path() == "/held" {
                    begun.add_permits(1);
                    gate.acquire().await.unwrap().forget();
                }
                if request.uri().path() == "/endless" {
                    begun.add_permits(1);
                    return Response::new(endless());
                }
                let (parts, body) = request.into_parts();
                let said = match body.collect().await {
                    Ok(body) => format!(
                        "{} {} {} {} {}",
                        parts.method,
                        parts.uri,
                        parts.headers.get("host").map_or("-", |host| host.to_str().unwrap()),
                        peer.tls_version.unwrap_or("plain"),
                        String::from_utf8_lossy(&body.to_bytes()),
                    ),
                    Err(error) => error.to_string(),
                };
                let mut response = Response::new(Full::new(Bytes::from(said)).boxed_unsync());
                if parts.uri.path() == "/204" {
                    *response.status_mut() = StatusCode::NO_CONTENT;
                }
                response
            }
        }
    };
    let listener = Listener { socket, limits: Arc::clone(&limits), tls, grace: Duration::from_secs(10) };
    let serving = tokio::spawn(serve(listener, answer, stop.clone().cancelled_owned()));
    Server { address, limits, stop, serving, gate, begun }
}

fn endless() -> UnsyncBoxBody<Bytes, Infallible> {
    let piece = || Ok(Frame::data(Bytes::from_static(&[b'.'; 65_536])));
    StreamBody::new(futures_util::stream::repeat_with(piece)).boxed_unsync()
}

impl Server {
    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes on a connection of their own and reads until it is closed.
    pub async fn exchange(&self, sent: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(sent).await.unwrap();
        read_to_end(&mut stream).await
    }

    pub async fn wait_until_begun(&self, requests: u32) {
        self.begun.acquire_many(requests).await.unwrap().forget();
    }
}

/// What comes until the other side closes; a reset is an end, too.
pub async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut text)).await;
    let _ = read.expect("the connection was left open");
    String::from_utf8_lossy(&text).into_owned()
}

/// One answer of a connection that stays open: to the end of a body with Content-Length.
pub async fn read_answer(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    loop {
        let mut buffer = [0; 4_096];
        let read =
            tokio::time::timeout(Duration::from_secs(20), stream.read(&mut buffer)).await.unwrap().unwrap();
        text.extend_from_slice(&buffer[..read]);
        let shown = String::from_utf8_lossy(&text).into_owned();
        let whole = shown.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let length = head.to_lowercase();
            let length =
                length.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
            length.is_some_and(|length: usize| body.len() >= length)
        });
        if whole || read == 0 {
            return shown;
        }
    }
}
