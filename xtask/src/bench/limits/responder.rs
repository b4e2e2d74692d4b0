//! The warm limit: one runtime loop behind the simplest possible responder. One thread, blocking, no wall, no meter.
//!
//! It speaks to the unmodified bootstraps in the frames of `crates/runtime/src/frames/codec.rs` over a socket pair on
//! descriptor 3, and to a custom runtime in the three requests of the HTTP Runtime API.

use super::loop_environment;
use anyhow::Context as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

/// What to serve.
#[derive(Debug, clap::Args)]
pub struct ResponderArguments {
    /// How the loop is spoken to.
    #[arg(long)]
    protocol: Protocol,
    /// The handler's folder.
    #[arg(long)]
    task_root: PathBuf,
    /// The loop's program and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Protocol {
    Frames,
    Http,
}

/// Kinds of frames that matter here; see the table in the codec.
const READY: u8 = 0x02;
const RESPONSE: u8 = 0x04;
const LOG: u8 = 0x06;
const HELLO: u8 = 0x01;
/// As the platform gives it; nobody looks at it on this side.
const REQUEST_ID: &str = "8a1b6ca6-8f4e-4b7e-9d3f-2f6f0c6d5b11";
const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:limit";
const TRACE: &str = "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=0";
/// What the deadline lies ahead, milliseconds.
const TIMEOUT_MS: u128 = 60_000;

/// Serves until it is killed; prints its port first.
pub fn run(arguments: &ResponderArguments) -> anyhow::Result<()> {
    let clients = TcpListener::bind("127.0.0.1:0")?;
    match arguments.protocol {
        Protocol::Frames => {
            let mut frames = FrameLoop::start(&arguments.command, &arguments.task_root)?;
            println!("{}", clients.local_addr()?.port());
            serve(&clients, |event, answer| frames.call(event, answer))
        }
        Protocol::Http => {
            let mut runtime = RuntimeApi::start(&arguments.command)?;
            println!("{}", clients.local_addr()?.port());
            serve(&clients, |event, answer| runtime.call(event, answer))
        }
    }
}

/// Serves one client after another over kept connections.
fn serve(
    clients: &TcpListener,
    mut call: impl FnMut(&[u8], &mut Vec<u8>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    loop {
        let (mut client, _) = clients.accept()?;
        client.set_nodelay(true)?;
        let (mut buffer, mut answer) = (Vec::new(), Vec::new());
        while let Some(message) = Message::receive(&mut client, &mut buffer)? {
            answer.clear();
            call(message.body(&buffer), &mut answer)?;
            message.take(&mut buffer);
            let mut response = head_of_answer(answer.len());
            response.extend_from_slice(&answer);
            client.write_all(&response)?;
        }
    }
}

fn head_of_answer(length: usize) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n")
        .into_bytes()
}

/// Where one HTTP message lies in a buffer.
struct Message {
    head_bytes: usize,
    body_bytes: usize,
}

impl Message {
    /// Reads until a whole message is in the buffer; `None` when the other side closed the connection.
    fn receive(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<Option<Self>> {
        loop {
            if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let body_bytes = content_length(&buffer[..at]);
                if buffer.len() >= at + 4 + body_bytes {
                    return Ok(Some(Self { head_bytes: at + 4, body_bytes }));
                }
            }
            let mut chunk = [0_u8; 65536];
            match stream.read(&mut chunk)? {
                0 => return Ok(None),
                length => buffer.extend_from_slice(&chunk[..length]),
            }
        }
    }

    fn body<'a>(&self, buffer: &'a [u8]) -> &'a [u8] {
        &buffer[self.head_bytes..self.head_bytes + self.body_bytes]
    }

    fn take(&self, buffer: &mut Vec<u8>) {
        buffer.drain(..self.head_bytes + self.body_bytes);
    }
}

fn content_length(head: &[u8]) -> usize {
    let name = b"content-length:";
    head.split(|&byte| byte == b'\n')
        .find(|line| line.len() > name.len() && line[..name.len()].eq_ignore_ascii_case(name))
        .and_then(|line| std::str::from_utf8(&line[name.len()..]).ok()?.trim().parse().ok())
        .unwrap_or(0)
}

/// Starts `command` with `socket` as descriptor 3 and nothing on standard input. A shell moves the descriptor, because
/// the standard library only places the first three.
fn start_on_descriptor_three(
    command: &[String],
    task_root: &Path,
    socket: UnixStream,
) -> anyhow::Result<Child> {
    Command::new("/bin/sh")
        .args(["-c", "exec 3<&0 </dev/null; exec \"$@\"", "sh"])
        .args(command)
        .current_dir(task_root)
        .env_clear()
        .envs(loop_environment(task_root))
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(socket)))
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("failed to start {command:?}"))
}

/// A loop that speaks frames.
pub struct FrameLoop {
    /// Our end.
    pub socket: UnixStream,
    buffer: Vec<u8>,
    _child: Child,
}

impl FrameLoop {
    /// Starts the bootstrap and waits until it is ready.
    pub fn start(command: &[String], task_root: &Path) -> anyhow::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let child = start_on_descriptor_three(command, task_root, theirs)?;
        let mut frames = Self { socket: ours, buffer: Vec::new(), _child: child };
        let (kind, _) = frames.receive()?;
        anyhow::ensure!(kind == HELLO, "the bootstrap began with frame {kind:#04x}");
        let environment: serde_json::Map<_, _> =
            loop_environment(task_root).into_iter().map(|(name, value)| (name, value.into())).collect();
        let init = serde_json::to_vec(&serde_json::json!({ "environment": environment }))?;
        frames.socket.write_all(
            &[&u32::try_from(init.len() + 1)?.to_be_bytes()[..], &[0x81], &init, &[0, 0, 0, 1, 0x83]]
                .concat(),
        )?;
        loop {
            match frames.receive()? {
                (READY, _) => return Ok(frames),
                (LOG, _) => {}
                (kind, payload) => {
                    anyhow::bail!("the bootstrap sent {kind:#04x}: {}", String::from_utf8_lossy(&payload))
                }
            }
        }
    }

    fn receive(&mut self) -> anyhow::Result<(u8, Vec<u8>)> {
        loop {
            if let Some((kind, payload, length)) = parse_frame(&self.buffer) {
                let payload = payload.to_vec();
                self.buffer.drain(..length);
                return Ok((kind, payload));
            }
            let mut chunk = [0_u8; 65536];
            let length = self.socket.read(&mut chunk)?;
            anyhow::ensure!(length > 0, "the bootstrap is gone");
            self.buffer.extend_from_slice(&chunk[..length]);
        }
    }

    /// One event and its answer.
    fn call(&mut self, event: &[u8], answer: &mut Vec<u8>) -> anyhow::Result<()> {
        self.socket.write_all(&invoke_frame(event)?)?;
        loop {
            match self.receive()? {
                (RESPONSE, payload) => {
                    answer.extend_from_slice(&payload);
                    return Ok(());
                }
                (LOG, _) => {}
                (kind, _) => anyhow::bail!("the bootstrap answered with frame {kind:#04x}"),
            }
        }
    }
}

/// The first whole frame of a buffer: kind, payload, and the bytes it takes.
pub fn parse_frame(buffer: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (head, rest) = buffer.split_first_chunk::<5>()?;
    let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
    Some((head[4], rest.get(..length.checked_sub(1)?)?, 4 + length))
}

/// Whether a frame of this kind is the answer (`Some(true)`), something to read past, or the end of the talk (`None`).
pub fn is_answer(kind: u8) -> Option<bool> {
    match kind {
        RESPONSE => Some(true),
        LOG => Some(false),
        _ => None,
    }
}

/// The bytes of an `invoke` frame.
pub fn invoke_frame(event: &[u8]) -> anyhow::Result<Vec<u8>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let header = format!(
        r#"{{"request_id":"{REQUEST_ID}","deadline_ms":{},"invoked_arn":"{ARN}","trace_id":"{TRACE}","client_context":null}}"#,
        now + TIMEOUT_MS
    );
    let length = u32::try_from(1 + 4 + header.len() + event.len())?;
    let mut frame = Vec::with_capacity(9 + header.len() + event.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.push(0x82);
    frame.extend_from_slice(&u32::try_from(header.len())?.to_be_bytes());
    frame.extend_from_slice(header.as_bytes());
    frame.extend_from_slice(event);
    Ok(frame)
}

/// A custom runtime and the connection it made.
struct RuntimeApi {
    stream: TcpStream,
    buffer: Vec<u8>,
    _child: Child,
}

impl RuntimeApi {
    /// Starts the runtime and waits until it has connected.
    fn start(command: &[String]) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (program, rest) = command.split_first().context("no program")?;
        let child = Command::new(program)
            .args(rest)
            .env("AWS_LAMBDA_RUNTIME_API", listener.local_addr()?.to_string())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("failed to start {program}"))?;
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new(), _child: child })
    }

    /// Takes one request that begins so; its body stays the caller's to copy.
    fn wait_for(&mut self, method: &str) -> anyhow::Result<Vec<u8>> {
        let message = Message::receive(&mut self.stream, &mut self.buffer)?.context("the runtime is gone")?;
        anyhow::ensure!(self.buffer.starts_with(method.as_bytes()), "the runtime did not send {method}");
        let body = message.body(&self.buffer).to_vec();
        message.take(&mut self.buffer);
        Ok(body)
    }

    /// Takes the runtime's `next`, answers it, takes the response. The following `next` comes while the caller is answered.
    fn call(&mut self, event: &[u8], answer: &mut Vec<u8>) -> anyhow::Result<()> {
        self.wait_for("GET ")?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let mut next = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nlambda-runtime-aws-request-id: {REQUEST_ID}\r\nlambda-runtime-deadline-ms: {}\r\nlambda-runtime-invoked-function-arn: {ARN}\r\nlambda-runtime-trace-id: {TRACE}\r\ncontent-length: {}\r\n\r\n",
            now + TIMEOUT_MS,
            event.len()
        )
        .into_bytes();
        next.extend_from_slice(event);
        self.stream.write_all(&next)?;
        answer.extend_from_slice(&self.wait_for("POST ")?);
        self.stream.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_where_they_end() {
        let bytes = [0, 0, 0, 3, RESPONSE, b'o', b'k', 0, 0];
        assert_eq!(parse_frame(&bytes), Some((RESPONSE, &b"ok"[..], 7)));
        assert_eq!(parse_frame(&bytes[..6]), None);
        assert_eq!(parse_frame(&[0, 0, 0, 0, 1]), None);
    }

    #[test]
    fn the_length_of_a_body_is_found_in_any_case() {
        assert_eq!(content_length(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n"), 12);
        assert_eq!(content_length(b"GET / HTTP/1.1\r\n"), 0);
    }
}
