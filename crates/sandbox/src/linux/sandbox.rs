//! One live sandbox in the daemon's hands.

use super::backend::{Shared, receive_notice};
use super::message::ShellNotice;
use super::sys;
use crate::backend::{Exit, Reclaim, Sandbox, SandboxError, Usage};
use crate::cgroup::ControlFiles;
use crate::spec::{Code, Limits, TemporaryVolume};
use async_trait::async_trait;
use rustix::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

/// How long `stop` waits for the last process and the cgroups of a killed sandbox.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct LinuxSandbox {
    shared: Arc<Shared>,
    id: String,
    files: Arc<ControlFiles>,
    pidfd: OwnedFd,
    exit: watch::Receiver<Option<Exit>>,
    watcher: tokio::task::JoinHandle<()>,
    volume: Option<TemporaryVolume>,
    /// The zygote's, which must outlive this one: its pid namespace is the parent of this one's.
    parent: Option<Arc<LinuxSandbox>>,
}

impl LinuxSandbox {
    pub(super) fn new(
        shared: Arc<Shared>,
        id: String,
        files: ControlFiles,
        pidfd: OwnedFd,
        control: AsyncFd<OwnedFd>,
        volume: TemporaryVolume,
    ) -> Self {
        let files = Arc::new(files);
        let (sender, exit) = watch::channel(None);
        let watcher = tokio::spawn(watch_init(control, Arc::clone(&files), sender));
        Self { shared, id, files, pidfd, exit, watcher, volume: Some(volume), parent: None }
    }

    pub(super) fn forked_from(mut self, parent: Arc<LinuxSandbox>) -> Self {
        self.parent = Some(parent);
        self
    }

    fn failed(doing: &str, error: std::io::Error) -> SandboxError {
        SandboxError::Step { step: doing.to_owned(), message: error.to_string() }
    }
}

/// Reads the init's notices until it ends. Holds the control socket: closing it ends the sandbox.
async fn watch_init(control: AsyncFd<OwnedFd>, files: Arc<ControlFiles>, exit: watch::Sender<Option<Exit>>) {
    loop {
        let notice = receive_notice(&control).await;
        let out_of_memory = files.oom_kills().is_ok_and(|kills| kills > 0);
        match notice {
            Ok((ShellNotice::Exited { status, signal }, _)) => {
                exit.send_if_modified(|exit| {
                    let first = exit.is_none();
                    exit.get_or_insert(Exit { status, signal, out_of_memory, interrupted: false });
                    first
                });
            }
            Ok(_) => {}
            Err(_) => {
                exit.send_if_modified(|exit| {
                    let first = exit.is_none();
                    exit.get_or_insert(Exit {
                        status: None,
                        signal: Some(libc::SIGKILL),
                        out_of_memory,
                        interrupted: !out_of_memory,
                    });
                    first
                });
                return;
            }
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
