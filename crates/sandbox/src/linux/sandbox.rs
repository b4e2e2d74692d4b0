//! One live sandbox in the daemon's hands.

use super::backend::{Shared, receive_notice};
use super::message::{InitRequest, ShellNotice};
use super::{channel, sys};
use crate::backend::{CompanionEnd, Exit, Reclaim, Sandbox, SandboxError, Sockets, Usage};
use crate::cgroup::ControlFiles;
use crate::spec::{Code, Limits, TemporaryVolume};
use async_trait::async_trait;
use rustix::fd::OwnedFd;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::sync::{oneshot, watch};

/// How long `stop` waits for the last process and the cgroups of a killed sandbox.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct LinuxSandbox {
    shared: Arc<Shared>,
    id: String,
    files: Arc<ControlFiles>,
    pidfd: OwnedFd,
    exit: watch::Receiver<Option<Exit>>,
    companions: watch::Receiver<Vec<Option<CompanionEnd>>>,
    line: Arc<Line>,
    watcher: tokio::task::JoinHandle<()>,
    volume: Option<TemporaryVolume>,
    /// The zygote's, which must outlive this one: its pid namespace is the parent of this one's.
    parent: Option<Arc<LinuxSandbox>>,
}

/// The socket to the init, and who waits for its answers. The init takes its closing as the end of the sandbox.
struct Line {
    control: AsyncFd<OwnedFd>,
    waiting: Mutex<WaitingForInit>,
}

/// Answers come in the order of the requests.
#[derive(Default)]
struct WaitingForInit {
    begin: Option<oneshot::Sender<Result<(), SandboxError>>>,
    sockets: VecDeque<oneshot::Sender<Result<OwnedFd, SandboxError>>>,
    over: bool,
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, WaitingForInit> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, request: &InitRequest) -> Result<(), SandboxError> {
        channel::send(self.control.get_ref(), request, &[]).map_err(|_| gone())
    }

    /// Asks for a socket.
    fn ask_for_socket(&self) -> Result<oneshot::Receiver<Result<OwnedFd, SandboxError>>, SandboxError> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.lock();
        if waiting.over {
            return Err(gone());
        }
        // Within the lock: answers are told apart by their order.
        self.send(&InitRequest::Socket)?;
        waiting.sockets.push_back(sender);
        Ok(receiver)
    }
}

fn gone() -> SandboxError {
    SandboxError::Interrupted("the sandbox has ended".to_owned())
}

impl LinuxSandbox {
    pub(super) fn new(
        shared: Arc<Shared>,
        id: String,
        files: ControlFiles,
        pidfd: OwnedFd,
        control: AsyncFd<OwnedFd>,
        volume: TemporaryVolume,
        companions: usize,
    ) -> Self {
        let files = Arc::new(files);
        let (sender, exit) = watch::channel(None);
        let (companion_ends, companions) = watch::channel(vec![None; companions]);
        let line = Arc::new(Line { control, waiting: Mutex::default() });
        let watcher = tokio::spawn(watch_init(Arc::clone(&line), Arc::clone(&files), sender, companion_ends));
        Self { shared, id, files, pidfd, exit, companions, line, watcher, volume: Some(volume), parent: None }
    }

    pub(super) fn forked_from(mut self, parent: Arc<LinuxSandbox>) -> Self {
        self.parent = Some(parent);
        self
    }

    fn failed(doing: &str, error: std::io::Error) -> SandboxError {
        SandboxError::Step { step: doing.to_owned(), message: error.to_string() }
    }
}

/// Reads the init's notices until it ends.
async fn watch_init(
    line: Arc<Line>,
    files: Arc<ControlFiles>,
    exit: watch::Sender<Option<Exit>>,
    companions: watch::Sender<Vec<Option<CompanionEnd>>>,
) {
    let end = |new: Exit| {
        exit.send_if_modified(|exit| {
            let first = exit.is_none();
            exit.get_or_insert(new);
            first
        });
    };
    let companion_end = |index: usize, new: CompanionEnd| {
        companions.send_if_modified(|ends| match ends.get_mut(index) {
            Some(end @ None) => {
                *end = Some(new);
                true
            }
            _ => false,
        });
    };
    loop {
        let notice = receive_notice(&line.control).await;
        match notice {
            Ok((ShellNotice::Exited { status, signal }, _)) => {
                let out_of_memory = files.oom_kills().is_ok_and(|kills| kills > 0);
                end(Exit { status, signal, out_of_memory, interrupted: false });
            }
            Ok((ShellNotice::CompanionExited { index, status, signal }, _)) => {
                companion_end(index, CompanionEnd::Exited { status, signal });
            }
            Ok((ShellNotice::CompanionNotStarted { index, message }, _)) => {
                companion_end(index, CompanionEnd::NotStarted(message));
            }
            Ok((ShellNotice::Begun, _)) => line.begun(Ok(())),
            Ok((ShellNotice::NotBegun { step, message, invalid: true }, _)) => {
                line.begun(Err(SandboxError::Invalid(format!("failed to {step}: {message}"))));
            }
            Ok((ShellNotice::NotBegun { step, message, invalid: false }, _)) => {
                line.begun(Err(SandboxError::Step { step, message }));
            }
            Ok((ShellNotice::Socket, descriptors)) => {
                line.made_socket(descriptors.into_iter().next().ok_or_else(gone))
            }
            Ok((ShellNotice::NoSocket { message }, _)) => {
                let step = "make a socket inside".to_owned();
                line.made_socket(Err(SandboxError::Step { step, message }));
            }
            Ok(_) => {}
            Err(_) => {
                let out_of_memory = files.oom_kills().is_ok_and(|kills| kills > 0);
                let signal = Some(libc::SIGKILL);
                end(Exit { status: None, signal, out_of_memory, interrupted: !out_of_memory });
                // Whoever waits for an answer is told that none comes.
                *line.lock() = WaitingForInit { over: true, ..WaitingForInit::default() };
                return;
            }
        }
    }
}

impl Line {
    fn begun(&self, result: Result<(), SandboxError>) {
        if let Some(waiting) = self.lock().begin.take() {
            let _ = waiting.send(result);
        }
    }

    fn made_socket(&self, result: Result<OwnedFd, SandboxError>) {
        // One that nobody asked for is closed.
        if let Some(waiting) = self.lock().sockets.pop_front() {
            let _ = waiting.send(result);
        }
    }
}

#[async_trait]
impl Sandbox for LinuxSandbox {
    fn id(&self) -> &str {
        &self.id
    }

    async fn bind_code(&self, code: Code, memory_bytes: u64) -> Result<(), SandboxError> {
        self.files.set_memory(memory_bytes).map_err(|error| Self::failed("apply the limits", error))?;
        self.shared.bind(&self.id, code).await
    }

    fn apply_limits(&self, limits: Limits) -> Result<(), SandboxError> {
        // Memory, processes and open files have been limited since before the command started.
        self.files.set_cpu(limits.cpu_millis).map_err(|error| Self::failed("apply the limits", error))
    }

    fn freeze(&self) -> Result<(), SandboxError> {
        self.files.freeze().map_err(|error| Self::failed("freeze a sandbox", error))
    }

    fn thaw(&self) -> Result<(), SandboxError> {
        self.files.thaw().map_err(|error| Self::failed("thaw a sandbox", error))
    }

    fn memory_peak_bytes(&self) -> Result<u64, SandboxError> {
        self.files.memory_peak().map_err(|error| Self::failed("measure a sandbox", error))
    }

    fn reclaim(&self) -> Reclaim {
        let files = Arc::clone(&self.files);
        Box::pin(async move {
            let reclaimed = tokio::task::spawn_blocking(move || files.reclaim()).await;
            reclaimed
                .unwrap_or_else(|ended| Err(std::io::Error::other(ended)))
                .map_err(|error| Self::failed("reclaim the memory of a sandbox", error))
        })
    }

    fn usage(&self) -> Result<Usage, SandboxError> {
        let measure = || -> std::io::Result<Usage> {
            Ok(Usage {
                memory_peak_bytes: self.files.memory_peak()?,
                memory_bytes: self.files.memory_current()?,
                out_of_memory_kills: self.files.oom_kills()?,
            })
        };
        measure().map_err(|error| Self::failed("measure a sandbox", error))
    }

    async fn exited(&self) -> Exit {
        let mut exit = self.exit.clone();
        match exit.wait_for(Option::is_some).await.map(|exit| *exit) {
            Ok(Some(exit)) => exit,
            // The watcher ends only after it has sent an exit, or with this handle.
            _ => Exit { status: None, signal: None, out_of_memory: false, interrupted: true },
        }
    }

    async fn begin(&self) -> Result<(), SandboxError> {
        let (sender, begun) = oneshot::channel();
        {
            let mut waiting = self.line.lock();
            if waiting.over {
                return Err(gone());
            }
            waiting.begin = Some(sender);
        }
        self.line.send(&InitRequest::Begin)?;
        begun.await.map_err(|_| gone())?
    }

    fn terminate(&self) -> Result<(), SandboxError> {
        self.line.send(&InitRequest::Terminate)
    }

    fn companions(&self) -> watch::Receiver<Vec<Option<CompanionEnd>>> {
        self.companions.clone()
    }

    fn sockets(&self) -> Sockets {
        let line = Arc::downgrade(&self.line);
        Arc::new(move || {
            let asked = line.upgrade().ok_or_else(gone).and_then(|line| line.ask_for_socket());
            Box::pin(async move { asked?.await.map_err(|_| gone())? })
        })
    }

    async fn stop(mut self: Box<Self>) -> Option<TemporaryVolume> {
        let gone = self.shared.await_gone(&self.id);
        let _ = self.files.kill();
        let left = tokio::time::timeout(STOP_TIMEOUT, async {
            if let Ok(pidfd) = self.pidfd.try_clone().and_then(sys::watch) {
                // Readable once the init has ended, and it ends last of all in its pid namespace.
                let _ = pidfd.readable().await;
            }
            if let Some(gone) = gone {
                let _ = gone.await;
            }
        })
        .await;
        if left.is_err() {
            tracing::error!(id = self.id, "a sandbox was killed and did not end in time");
            return None;
        }
        self.volume.take()
    }
}

impl Drop for LinuxSandbox {
    fn drop(&mut self) {
        let _ = self.files.kill();
        // Closes the control socket, which an init that could not be killed takes as its end.
        self.watcher.abort();
    }
}
