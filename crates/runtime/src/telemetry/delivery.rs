//! Sends the batches of one subscription into the sandbox: HTTP requests, or lines over TCP.
//!
//! What listens there may be absent, slow or frozen. A batch is tried until it is taken; meanwhile the queue fills and drops.

use super::queue::{Dropped, Due, Queue};
use super::subscription::{Category, Destination, Subscription};
use super::{Clock, Connector, event::Record, event::TelemetryEvent};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

/// Pause after an attempt that failed, doubled up to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// One subscription with what waits for it.
pub struct Subscriber {
    /// Name of the extension.
    pub extension: String,
    /// What it asked for.
    pub subscription: Subscription,
    queue: Mutex<Queue>,
    changed: Notify,
}

impl Subscriber {
    /// Nothing waits.
    pub fn new(extension: String, subscription: Subscription) -> Self {
        let queue = Mutex::new(Queue::new(subscription.buffering));
        Self { extension, subscription, queue, changed: Notify::new() }
    }

    /// Adds an event if it is one it asked for.
    pub fn offer(&self, event: &TelemetryEvent, now: Instant) {
        if !self.subscription.categories.contains(&event.category()) {
            return;
        }
        if let Some(bytes) = event.render(self.subscription.schema) {
            self.lock().push(bytes, now);
            self.changed.notify_one();
        }
    }

    /// Counts events that were dropped before it subscribed.
    pub fn note_dropped(&self, dropped: Dropped) {
        self.lock().note_dropped(dropped);
    }

    /// Sends what waits without waiting for more.
    pub fn flush(&self) {
        self.lock().flush();
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn next_batch(&self) -> (Vec<Bytes>, Dropped) {
        loop {
            let due = self.lock().due();
            match due {
                Due::Now => return self.lock().take(Instant::now()),
                Due::Never => self.changed.notified().await,
                Due::At(at) => {
                    tokio::select! {
                        () = sleep_until(at) => return self.lock().take(Instant::now()),
                        () = self.changed.notified() => {}
                    }
                }
            }
        }
    }

    /// Sends batches for ever.
    pub async fn deliver(&self, connector: Connector, clock: Clock) {
        let mut line = Line { connector, open: None };
        loop {
            let (mut batch, dropped) = self.next_batch().await;
            if dropped.records > 0 && self.subscription.categories.contains(&Category::Platform) {
                batch.extend(logs_dropped(dropped, &clock).render(self.subscription.schema));
            }
            let body = match &self.subscription.destination {
                Destination::Http { .. } => framed(&batch, b"[", b",", b"]"),
                Destination::Tcp { .. } => framed(&batch, b"", b"\n", b"\n"),
            };
            let mut pause = PAUSES.0;
            while line.send(&self.subscription.destination, &body).await.is_err() {
                line.open = None;
                sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }
}

/// Source of the text: the guide's example.
fn logs_dropped(dropped: Dropped, clock: &Clock) -> TelemetryEvent {
    let record = serde_json::json!({
        "droppedBytes": dropped.bytes,
        "droppedRecords": dropped.records,
        "reason": "Consumer seems to have fallen behind as it has not acknowledged receipt of logs.",
    });
    TelemetryEvent { time: clock(), kind: "platform.logsDropped", record: Record::Value(record) }
}

fn framed(events: &[Bytes], before: &[u8], between: &[u8], after: &[u8]) -> Bytes {
    let mut body = before.to_vec();
    for (at, event) in events.iter().enumerate() {
        if at > 0 {
            body.extend_from_slice(between);
        }
        body.extend_from_slice(event);
    }
    body.extend_from_slice(after);
    body.into()
}

/// The connection to what listens, kept between batches.
struct Line {
    connector: Connector,
    open: Option<Open>,
}

enum Open {
    Http { sender: SendRequest<Full<Bytes>>, _connection: Task },
    Tcp(TcpStream),
}

/// Ends with its owner.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// It did not arrive; the next attempt may.
struct NotDelivered;

impl Line {
    async fn send(&mut self, destination: &Destination, body: &Bytes) -> Result<(), NotDelivered> {
        // A kept connection may have been closed meanwhile.
        if self.open.is_some() && self.send_once(destination, body).await.is_ok() {
            return Ok(());
        }
        self.open = None;
        self.open(destination).await?;
        self.send_once(destination, body).await
    }

    async fn open(&mut self, destination: &Destination) -> Result<(), NotDelivered> {
        let (Destination::Http { port, .. } | Destination::Tcp { port }) = destination;
        let stream = (self.connector)(*port).await.map_err(|_| NotDelivered)?;
        self.open = Some(match destination {
            Destination::Tcp { .. } => Open::Tcp(stream),
            Destination::Http { .. } => {
                let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|_| NotDelivered)?;
                let task = tokio::spawn(async move {
                    // How it ends is told by the request that is under way.
                    let _ = connection.await;
                });
                Open::Http { sender, _connection: Task(task) }
            }
        });
        Ok(())
    }

    async fn send_once(&mut self, destination: &Destination, body: &Bytes) -> Result<(), NotDelivered> {
        match (&mut self.open, destination) {
            (Some(Open::Tcp(stream)), _) => stream.write_all(body).await.map_err(|_| NotDelivered),
            (Some(Open::Http { sender, .. }), Destination::Http { port, path, put }) => {
                let request = http::Request::builder()
                    .method(if *put { http::Method::PUT } else { http::Method::POST })
                    .uri(path.as_str())
                    .header("Host", format!("sandbox.localdomain:{port}"))
                    .header("Content-Type", "application/json")
                    .body(Full::new(body.clone()))
                    .map_err(|_| NotDelivered)?;
                sender.ready().await.map_err(|_| NotDelivered)?;
                let mut response = sender.send_request(request).await.map_err(|_| NotDelivered)?;
                // To its end, so that the connection can be used again.
                while let Some(frame) = response.frame().await {
                    frame.map_err(|_| NotDelivered)?;
                }
                let taken = response.status().is_success() || response.status().is_redirection();
                if taken { Ok(()) } else { Err(NotDelivered) }
            }
            _ => Err(NotDelivered),
        }
    }
}
