//! One plain process standing in for a sandbox.

use crate::backend::{CompanionEnd, Exit, Reclaim, Sandbox, SandboxError, Sockets, Usage};
use crate::spec::{Code, Limits, TemporaryVolume};
use async_trait::async_trait;
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::HashMap;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Whether and how the process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It runs.
    NotYet,
    /// As the test asked for.
    Interrupted,
    /// By itself, or killed.
    Exited {
        /// Exit status.
        status: Option<i32>,
        /// Signal number.
        signal: Option<i32>,
    },
}

type Lives = Arc<Mutex<HashMap<String, watch::Sender<End>>>>;

pub(super) struct FakeSandbox {
    id: String,
    group: Pid,
    end: watch::Receiver<End>,
    volume: Option<TemporaryVolume>,
    lives: Lives,
}

impl FakeSandbox {
    pub(super) fn new(
        id: String,
        mut child: Child,
        ended: watch::Sender<End>,
        end: watch::Receiver<End>,
        volume: TemporaryVolume,
        lives: Lives,
    ) -> Self {
        let group = Pid::from_child(&child);
        // A thread for each: this backend is for tests, and waiting needs no reactor.
        std::thread::spawn(move || {
            let status = child.wait().ok();
            ended.send_if_modified(|end| {
                let first = *end == End::NotYet;
                if first {
                    *end = End::Exited {
                        status: status.and_then(|status| status.code()),
                        signal: status.and_then(|status| status.signal()),
                    };
                }
                first
            });
        });
        Self { id, group, end, volume: Some(volume), lives }
    }

    fn signal(&self, signal: Signal) -> Result<(), SandboxError> {
        kill_process_group(self.group, signal).map_err(|error| SandboxError::Step {
            step: "signal a process".to_owned(),
            message: error.to_string(),
        })
    }
}

#[async_trait]
impl Sandbox for FakeSandbox {
    fn id(&self) -> &str {
        &self.id
    }

    async fn bind_code(&self, _code: Code, _memory_bytes: u64) -> Result<(), SandboxError> {
        Err(SandboxError::Invalid("this backend binds no code late".to_owned()))
    }

    fn apply_limits(&self, _limits: Limits) -> Result<(), SandboxError> {
        Ok(())
    }

    fn freeze(&self) -> Result<(), SandboxError> {
        self.signal(Signal::STOP)
    }

    fn thaw(&self) -> Result<(), SandboxError> {
        self.signal(Signal::CONT)
    }

    fn memory_peak_bytes(&self) -> Result<u64, SandboxError> {
        self.usage().map(|usage| usage.memory_peak_bytes)
    }

    fn reclaim(&self) -> Reclaim {
        // Plain processes share everything with the host: there is nobody to ask.
        Box::pin(std::future::ready(Ok(0)))
    }

    fn usage(&self) -> Result<Usage, SandboxError> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.group.as_raw_nonzero()))
            .map_err(|error| SandboxError::Step { step: "measure".to_owned(), message: error.to_string() })?;
        let kib = |field: &str| -> u64 {
            let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_default();
            line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        Ok(Usage {
            memory_peak_bytes: kib("VmHWM:") * 1024,
            memory_bytes: kib("VmRSS:") * 1024,
            out_of_memory_kills: 0,
        })
    }

    async fn exited(&self) -> Exit {
        let mut end = self.end.clone();
        let end = end.wait_for(|end| *end != End::NotYet).await.map(|end| *end);
        let (status, signal, interrupted) = match end {
            Ok(End::Exited { status, signal }) => (status, signal, false),
            Ok(End::NotYet | End::Interrupted) | Err(_) => (None, Some(9), true),
        };
        Exit { status, signal, out_of_memory: false, interrupted }
    }

    async fn begin(&self) -> Result<(), SandboxError> {
        Err(SandboxError::Invalid("this backend starts nothing beside a command".to_owned()))
    }

    fn terminate(&self) -> Result<(), SandboxError> {
        self.signal(Signal::TERM)
    }

    fn companions(&self) -> watch::Receiver<Vec<Option<CompanionEnd>>> {
        // Whoever waits for a change waits for ever: the sender is gone, and there is nothing to see.
        watch::channel(Vec::new()).1
    }

    fn sockets(&self) -> Sockets {
        // Its processes are in the host's own network.
        Arc::new(|| {
            let made = rustix::net::socket_with(
                rustix::net::AddressFamily::INET,
                rustix::net::SocketType::STREAM,
                rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK,
                None,
            );
            let failed = |error: rustix::io::Errno| SandboxError::Step {
                step: "make a socket".to_owned(),
                message: error.to_string(),
            };
            Box::pin(std::future::ready(made.map_err(failed)))
        })
    }

    async fn stop(mut self: Box<Self>) -> Option<TemporaryVolume> {
        let _ = self.signal(Signal::KILL);
        self.exited().await;
        self.volume.take()
    }
}

impl Drop for FakeSandbox {
    fn drop(&mut self) {
        // Also after `stop`: children of the command may be left in its group.
        let _ = self.signal(Signal::KILL);
        self.lives.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}
