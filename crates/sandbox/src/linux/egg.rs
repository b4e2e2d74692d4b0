//! A nest with an egg in it, in the daemon's hands: everything of a zygote's child but the child.
//!
//! An egg is a copy of the zygote that is already a member of the nest's cgroups, stands in its namespaces and has settled there. It
//! forks once, when a call wants a child, and ends. The way to it may wait for kernel grace periods; the fork does not.

use super::backend::{NewNest, Shared};
use super::build::{KillOnDrop, building, failed, limit, output_pipe};
use super::message::{Build, InitRequest, ShellNotice};
use super::nest::NAMESPACES;
use super::sandbox::LinuxSandbox;
use super::{channel, sys};
use crate::backend::{SandboxError, Started, Timings};
use crate::spec::{Limits, TemporaryVolume};
use rustix::fd::{AsFd, OwnedFd};
use serde::{Deserialize, Serialize};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;

/// How long an egg may take to be ready, and to fork.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// To an egg. Descriptors: frame socket, output pipe.
#[derive(Serialize)]
enum Request {
    Fork,
}

/// Said by a zygote or an egg.
#[derive(Deserialize)]
pub(super) enum Reply {
    Ready,
    /// The child's process id in the nest.
    Forked {
        pid: i32,
    },
    Failed {
        message: String,
    },
}

/// The next word of a zygote or an egg.
pub(super) async fn receive(control: &AsyncFd<OwnedFd>, limit: Duration) -> Result<Reply, SandboxError> {
    let received = tokio::time::timeout(limit, async {
        loop {
            let mut guard = control.readable().await?;
            match guard.try_io(|inner| channel::receive_now::<Reply>(inner.get_ref())) {
                Ok(Ok(received)) => return Ok(received),
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        }
    });
    match received.await {
        Ok(Ok(Some((reply, _)))) => Ok(reply),
        Ok(Ok(None)) => Err(SandboxError::Interrupted("the zygote ended".to_owned())),
        Ok(Err(error)) => Err(failed("hear from the zygote", error)),
        Err(_) => Err(SandboxError::Interrupted("the zygote took too long".to_owned())),
    }
}

/// Waits for the first word of a zygote or an egg.
pub(super) async fn ready(control: &AsyncFd<OwnedFd>, limit: Duration) -> Result<(), SandboxError> {
    match receive(control, limit).await? {
        Reply::Ready => Ok(()),
        Reply::Failed { message } => Err(failed("start a zygote", message)),
        Reply::Forked { .. } => Err(failed("start a zygote", "it spoke out of turn")),
    }
}

/// A finished nest without an egg.
pub(super) struct Nest {
    id: String,
    killer: KillOnDrop,
    pidfd: OwnedFd,
    control: AsyncFd<OwnedFd>,
    volume: TemporaryVolume,
    runtime_api: TcpListener,
    platform_api: TcpListener,
    /// What an egg needs to get in: the namespaces in the order of `NAMESPACES`, then the member files of the cgroups.
    pub(super) doors: Vec<OwnedFd>,
    build_us: u64,
}

/// A nest whose egg is ready to fork.
pub(super) struct Laid {
    nest: Nest,
    egg: AsyncFd<OwnedFd>,
    frozen: bool,
}

impl Nest {
    /// Lets a spawner make one for children of `zygote`.
    pub(super) async fn make(
        shared: &Arc<Shared>,
        spawner: usize,
        zygote: &str,
        build: &Build,
        volume: TemporaryVolume,
    ) -> Result<Self, SandboxError> {
        let (id, NewNest { control, files }) = shared.make_nest(spawner, zygote).await?;
        let killer = KillOnDrop(Some(files));
        limit(killer.files(), build.limits)?;
        channel::send(control.as_fd(), build, &[volume.device.as_fd()]).map_err(ended)?;
        let control = sys::watch(control).map_err(|error| failed("watch the sandbox", error))?;
        let out_of_turn = || SandboxError::Interrupted("the nest spoke out of turn".to_owned());
        let (ShellNotice::Nested, descriptors) = building(&control, killer.files()).await? else {
            return Err(out_of_turn());
        };
        let mut descriptors = descriptors.into_iter();
        let (Some(runtime_api), Some(platform_api), Some(pidfd)) =
            (descriptors.next(), descriptors.next(), descriptors.next())
        else {
            return Err(out_of_turn());
        };
        let doors: Vec<OwnedFd> = descriptors.collect();
        if doors.len() <= NAMESPACES.len() {
            return Err(out_of_turn());
        }
        let (ShellNotice::Built { build_us }, _) = building(&control, killer.files()).await? else {
            return Err(out_of_turn());
        };
        let (runtime_api, platform_api) = (TcpListener::from(runtime_api), TcpListener::from(platform_api));
        Ok(Self { id, killer, pidfd, control, volume, runtime_api, platform_api, doors, build_us })
    }

    /// With the egg at the other end of `egg` in it, once that is ready.
    pub(super) async fn with(mut self, egg: OwnedFd) -> Result<Laid, SandboxError> {
        let egg = sys::watch(egg).map_err(|error| failed("watch a zygote", error))?;
        ready(&egg, ANSWER_TIMEOUT).await?;
        self.doors.clear();
        Ok(Laid { nest: self, egg, frozen: false })
    }
}

impl Laid {
    /// The same, standing still until it hatches: code of a function waits in it.
    pub(super) fn frozen(mut self) -> Result<Self, SandboxError> {
        self.nest.killer.files().freeze().map_err(|error| failed("freeze a nest", error))?;
        self.frozen = true;
        Ok(self)
    }

    /// Lets the egg fork: the child is the command of a sandbox with these limits. `asked_at` is when somebody wanted it, `parent`
    /// the zygote's sandbox. Also gives the egg's end of life to wait for.
    pub(super) async fn hatch(
        self,
        shared: &Arc<Shared>,
        parent: Arc<LinuxSandbox>,
        limits: Limits,
        asked_at: Instant,
    ) -> Result<(Started, EndOfEgg), SandboxError> {
        let Self { nest, egg, frozen } = self;
        if frozen {
            nest.killer.files().thaw().map_err(|error| failed("thaw a nest", error))?;
        }
        limit(nest.killer.files(), limits)?;
        let (output, output_writer) = output_pipe()?;
        let (frames, inside) = UnixStream::pair().map_err(|error| failed("make the frame socket", error))?;
        channel::send(egg.get_ref(), &Request::Fork, &[inside.as_fd(), output_writer.as_fd()])
            .map_err(ended)?;
        drop((inside, output_writer));
        let pid = match receive(&egg, ANSWER_TIMEOUT).await? {
            Reply::Forked { pid } => pid,
            Reply::Failed { message } => return Err(failed("fork a zygote", message)),
            Reply::Ready => return Err(failed("fork a zygote", "it spoke out of turn")),
        };
        channel::send(nest.control.get_ref(), &InitRequest::Adopt { pid }, &[]).map_err(ended)?;
        let Nest { id, killer, pidfd, control, volume, runtime_api, platform_api, build_us, .. } = nest;
        let sandbox = LinuxSandbox::new(Arc::clone(shared), id, killer.keep(), pidfd, control, volume, 0)
            .forked_from(parent);
        let shell_us = u64::try_from(asked_at.elapsed().as_micros()).unwrap_or(u64::MAX);
        let started = Started {
            sandbox: Box::new(sandbox),
            frames: Some(frames),
            runtime_api,
            platform_api,
            output,
            companion_output: None,
            timings: Timings { shell_us, build_us },
        };
        Ok((started, EndOfEgg(egg)))
    }
}

/// The socket of an egg that has forked. Closed when the egg has ended and its child has its own descriptors.
pub(super) struct EndOfEgg(AsyncFd<OwnedFd>);

impl EndOfEgg {
    /// Waits for it, but no longer than an egg may take for anything.
    pub(super) async fn wait(self) {
        // Whatever comes instead of the end tells of a program that is no egg of ours: nobody waits for that.
        let _ = receive(&self.0, ANSWER_TIMEOUT).await;
    }
}

fn ended(error: std::io::Error) -> SandboxError {
    SandboxError::Interrupted(format!("the nest ended: {error}"))
}
