//! The limits for many clients: hyper in front of several runtime loops, and hyper in front of nothing.

use super::responder::{FrameLoop, invoke_frame, is_answer, parse_frame};
use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::Semaphore;

/// What to serve.
#[derive(Debug, clap::Args)]
pub struct ProxyArguments {
    /// Loops behind it.
    #[arg(long)]
    loops: usize,
    /// The handler's folder.
    #[arg(long)]
    task_root: PathBuf,
    /// A loop's program and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Loops that wait for an event, last used first, as the platform takes its instances.
struct Idle {
    loops: std::sync::Mutex<Vec<UnixStream>>,
    count: Semaphore,
}

/// Serves until it is killed; prints its port first.
pub fn run(arguments: &ProxyArguments) -> anyhow::Result<()> {
    // Kept until the end: dropping one would close its descriptors.
    let started: Vec<FrameLoop> = (0..arguments.loops)
        .map(|_| FrameLoop::start(&arguments.command, &arguments.task_root))
        .collect::<anyhow::Result<_>>()?;
    tokio::runtime::Builder::new_multi_thread().enable_io().build()?.block_on(async {
        let loops = started
            .iter()
            .map(|frames| {
                let socket = frames.socket.try_clone()?;
                socket.set_nonblocking(true)?;
                Ok(UnixStream::from_std(socket)?)
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let idle = Arc::new(Idle { count: Semaphore::new(loops.len()), loops: std::sync::Mutex::new(loops) });
        serve(move |event| {
            let idle = Arc::clone(&idle);
            async move { call(&idle, &event).await }
        })
        .await
    })
}

/// Serves what it is sent, until it is killed; prints its port first.
pub fn run_bare() -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_io()
        .build()?
        .block_on(serve(|event| std::future::ready(Ok(event))))
}

async fn serve<Answer>(answer: impl Fn(Bytes) -> Answer + Clone + Send + 'static) -> anyhow::Result<()>
where
    Answer: Future<Output = anyhow::Result<Bytes>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let answer = answer.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = answer.clone();
                async move {
                    let event = request.into_body().collect().await?.to_bytes();
                    let response = match answer(event).await {
                        Ok(body) => Response::new(Full::new(body)),
                        Err(error) => {
                            let mut response = Response::new(Full::new(Bytes::from(error.to_string())));
                            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                            response
                        }
                    };
                    Ok::<_, hyper::Error>(response)
                }
            });
            // A client that goes away ends its connection with an error nobody needs to hear of.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn call(idle: &Idle, event: &[u8]) -> anyhow::Result<Bytes> {
    let _permit = idle.count.acquire().await?;
    let taken = idle.loops.lock().ok().and_then(|mut loops| loops.pop());
    let mut socket = taken.context("no loop is idle")?;
    let answer = talk(&mut socket, event).await;
    if let Ok(mut loops) = idle.loops.lock() {
        loops.push(socket);
    }
    answer
}

async fn talk(socket: &mut UnixStream, event: &[u8]) -> anyhow::Result<Bytes> {
    socket.write_all(&invoke_frame(event)?).await?;
    let mut buffer = Vec::with_capacity(4096);
    loop {
        anyhow::ensure!(socket.read_buf(&mut buffer).await? > 0, "the loop is gone");
        while let Some((kind, payload, length)) = parse_frame(&buffer) {
            match is_answer(kind) {
                Some(true) => return Ok(Bytes::copy_from_slice(payload)),
                Some(false) => {
                    buffer.drain(..length);
                }
                None => anyhow::bail!("the loop answered with frame {kind:#04x}"),
            }
        }
    }
}
