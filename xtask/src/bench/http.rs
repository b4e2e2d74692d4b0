//! The leanest HTTP client that serves both sides alike: one kept connection, blocking.

use anyhow::Context as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// A kept connection to a loopback port.
pub struct Connection {
    stream: TcpStream,
    port: u16,
    buffer: Vec<u8>,
}

/// What was answered.
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Body.
    pub body: Vec<u8>,
    /// `X-Amz-Log-Result`.
    log_tail: Option<String>,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Which way the call's instance came to be, from the REPORT line in the log's tail: `warm` when it does not say.
    pub fn start(&self) -> String {
        let tail = self.log_tail.as_deref().and_then(super::package::from_base64);
        let tail = String::from_utf8_lossy(&tail.unwrap_or_default()).into_owned();
        let found = tail.rsplit_once("Start: ").and_then(|(_, rest)| rest.split_once(" ("));
        found.map_or("warm", |(kind, _)| kind).to_owned()
    }
}

impl Connection {
    /// Connects.
    pub fn open(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))
            .with_context(|| format!("failed to connect to {port}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Self { stream, port, buffer: Vec::new() })
    }

    /// One POST.
    pub fn post(&mut self, path: &str, body: &[u8]) -> anyhow::Result<Answer> {
        self.request("POST", path, body)
    }

    /// One POST that must succeed.
    pub fn call(&mut self, path: &str, body: &[u8]) -> anyhow::Result<()> {
        let answer = self.post(path, body)?;
        anyhow::ensure!(answer.status == 200, "{path} answered {}: {}", answer.status, answer.text());
        Ok(())
    }

    /// One Invoke that is answered when the event is durable.
    pub fn enqueue(&mut self, path: &str, body: &[u8]) -> anyhow::Result<()> {
        let answer = self.send("POST", path, "x-amz-invocation-type: Event\r\n", body)?;
        anyhow::ensure!(answer.status == 202, "{path} answered {}: {}", answer.status, answer.text());
        Ok(())
    }

    /// One Invoke that asks for the tail of the log, in which the REPORT line tells how the instance started.
    pub fn invoke_with_tail(&mut self, path: &str, body: &[u8]) -> anyhow::Result<Answer> {
        self.send("POST", path, "x-amz-log-type: Tail\r\n", body)
    }

    /// One request and its answer. Answers must carry a length, as both sides' do.
    pub fn request(&mut self, method: &str, path: &str, body: &[u8]) -> anyhow::Result<Answer> {
        self.send(method, path, "", body)
    }

    fn send(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> anyhow::Result<Answer> {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n",
            self.port,
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.stream.write_all(&request)?;
        self.buffer.clear();
        let head = loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            self.fill()?;
        };
        let text = String::from_utf8_lossy(&self.buffer[..head]).into_owned();
        let header = |name: &str| {
            text.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim())
            })
        };
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status")?;
        let length = header("content-length").and_then(|length| length.parse::<usize>().ok()).unwrap_or(0);
        let log_tail = header("x-amz-log-result").map(str::to_owned);
        while self.buffer.len() < head + length {
            self.fill()?;
        }
        Ok(Answer { status, body: self.buffer[head..head + length].to_vec(), log_tail })
    }

    fn fill(&mut self) -> anyhow::Result<()> {
        let mut chunk = [0_u8; 65536];
        let length = self.stream.read(&mut chunk)?;
        anyhow::ensure!(length > 0, "the connection was closed");
        self.buffer.extend_from_slice(&chunk[..length]);
        Ok(())
    }
}
