//! Bounds of one listener. Whoever wires it chooses them and may change them while it runs.

use std::time::Duration;

/// What a client may take of a listener. A change holds for the next connection or request; those that are there keep what they
/// began with, times excepted, which are looked up again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Open connections; more wait in the kernel's queue until one closes.
    pub connections: usize,
    /// Open connections of one sender (an IPv4 address, a /64 of IPv6); more are closed at once. `None` is no bound.
    pub connections_of_an_address: Option<usize>,
    /// Request line and header fields together, bytes. Below 8,192 has no effect: hyper's buffer is that large.
    pub head_bytes: usize,
    /// Header fields. More than 100 cost time at every request of HTTP/1.
    pub headers: usize,
    /// From the first byte of a head to its last; also for a TLS handshake.
    pub head_time: Duration,
    /// How long a connection may be open without a request.
    pub idle_time: Duration,
    /// Request body, bytes.
    pub body_bytes: Option<u64>,
    /// Rate that a request body must keep after `head_time` of waiting for its sender, bytes a second.
    pub body_bytes_per_second: Option<u64>,
    /// From the end of a head to the last byte of the answer.
    pub request_time: Option<Duration>,
    /// Requests at once on one HTTP/2 connection. `None`: HTTP/1 only.
    pub streams: Option<u32>,
}

impl Limits {
    /// For the API on a loopback address: its callers upload objects of any size and poll for as long as they like.
    pub fn api() -> Self {
        Self {
            connections: 4_096,
            connections_of_an_address: None,
            // X-Amz-Client-Context is 3,583 bytes, signatures and trace headers a few hundred.
            head_bytes: 64 * 1024,
            headers: 100,
            head_time: Duration::from_secs(75),
            idle_time: Duration::from_secs(75),
            body_bytes: None,
            body_bytes_per_second: None,
            request_time: None,
            streams: Some(256),
        }
    }

    /// For the listener inside an instance, whose connections stay open while it is frozen.
    pub fn instance() -> Self {
        let time = Duration::from_secs(900);
        Self { connections: 64, head_time: time, idle_time: time, streams: None, ..Self::api() }
    }
}
