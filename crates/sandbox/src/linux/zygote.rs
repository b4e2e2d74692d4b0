//! A zygote in the daemon's hands: asks it to fork into nests, one at a time.
//!
//! The protocol on the program's descriptor 3 is JSON in packets, like that between our own processes:
//! `"Ready"` once; then for each `{"Fork": …}` with its descriptors one `{"Forked": {"pid": n}}` or `{"Failed": {"message": …}}`.
//! Descriptors of a fork: frame socket, output pipe, the namespaces in the order of `nest::NAMESPACES`, member files of the
//! cgroups. The child becomes a member, enters the namespaces, drops what it is allowed there, restricts itself
//! (Landlock, seccomp), and goes on with the frame socket as descriptor 3.

use super::backend::{NewNest, START_TIMEOUT, Shared};
use super::build::{KillOnDrop, building, failed, limit, output_pipe};
use super::message::{Build, InitRequest, Role, ShellNotice};
use super::nest::{CHILDREN_OF_A_ZYGOTE, NAMESPACES};
use super::sandbox::LinuxSandbox;
use super::{channel, identity, sys};
use crate::backend::{Sandbox, SandboxError, Started, Timings, Zygote};
use crate::landlock;
use crate::seccomp;
use crate::spec::SandboxSpec;
use async_trait::async_trait;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use serde::{Deserialize, Serialize};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;
use tokio::io::unix::AsyncFd;
use tokio::sync::Mutex;

#[derive(Serialize)]
enum Request<'a> {
    Fork {
        /// User and group to become.
        user: u32,
        group: u32,
        /// seccomp instructions to install, hexadecimal.
        filter: &'a str,
        landlock: Option<&'a landlock::Plan>,
        /// How many of the descriptors at the end are member files of cgroups.
        members: usize,
    },
}

#[derive(Deserialize)]
enum Reply {
    Ready,
    Forked { pid: i32 },
    Failed { message: String },
}

/// One zygote.
pub(super) struct LinuxZygote {
    shared: Arc<Shared>,
    spawner: usize,
    sandbox: Arc<LinuxSandbox>,
    control: Mutex<AsyncFd<OwnedFd>>,
    /// What it prints is for nobody; the pipe must only not be closed.
    _output: OwnedFd,
    filter: String,
    landlock: Option<landlock::Plan>,
    children: AtomicU32,
}

async fn receive(control: &AsyncFd<OwnedFd>) -> Result<Reply, SandboxError> {
    let received = tokio::time::timeout(START_TIMEOUT, async {
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

impl LinuxZygote {
    /// Waits for the program's first word.
    pub(super) async fn ready(
        shared: Arc<Shared>,
        spawner: usize,
        sandbox: LinuxSandbox,
        output: OwnedFd,
        control: AsyncFd<OwnedFd>,
    ) -> Result<Self, SandboxError> {
        match receive(&control).await? {
            Reply::Ready => {}
            Reply::Failed { message } => return Err(failed("start the zygote", message)),
            Reply::Forked { .. } => return Err(failed("start the zygote", "it spoke out of turn")),
        }
        Ok(Self {
            shared,
            spawner,
            sandbox: Arc::new(sandbox),
            control: Mutex::new(control),
            _output: output,
            filter: seccomp::closing().iter().map(|byte| format!("{byte:02x}")).collect(),
            landlock: landlock::plan(),
            children: AtomicU32::new(0),
        })
    }

    /// Lets the program fork into the nest. Gives the child's process id there.
    async fn fork_into(
        &self,
        frames: UnixStream,
        output: OwnedFd,
        namespaces: &[OwnedFd],
        members: &[OwnedFd],
    ) -> Result<i32, SandboxError> {
        let request = Request::Fork {
            user: identity::INSIDE_USER,
            group: identity::INSIDE_GROUP,
            filter: &self.filter,
            landlock: self.landlock.as_ref(),
            members: members.len(),
        };
        let mut descriptors: Vec<BorrowedFd<'_>> = vec![frames.as_fd(), output.as_fd()];
        descriptors.extend(namespaces.iter().chain(members).map(AsFd::as_fd));
        let control = self.control.lock().await;
        channel::send(control.get_ref(), &request, &descriptors)
            .map_err(|error| SandboxError::Interrupted(format!("the zygote ended: {error}")))?;
        match receive(&control).await? {
            Reply::Forked { pid } => Ok(pid),
            Reply::Failed { message } => Err(failed("fork a zygote", message)),
            Reply::Ready => Err(failed("fork a zygote", "it spoke out of turn")),
        }
    }
}

#[async_trait]
impl Zygote for LinuxZygote {
    async fn fork(&self, spec: SandboxSpec) -> Result<Started, SandboxError> {
        if self.children.fetch_add(1, Ordering::Relaxed) >= CHILDREN_OF_A_ZYGOTE {
            return Err(SandboxError::Interrupted("the zygote has forked as many as it may".to_owned()));
        }
        let asked_at = Instant::now();
        let (build, temporary) = Build::of(Role::Nest, spec);
        let volume = self.shared.take_device(temporary).await?;
        self.shared.refill();
        let (id, NewNest { control, files }) = self.shared.make_nest(self.spawner, self.sandbox.id()).await?;
        let killer = KillOnDrop(Some(files));
        let shell_us = u64::try_from(asked_at.elapsed().as_micros()).unwrap_or(u64::MAX);
        limit(killer.files(), build.limits)?;
        let ended = |error: std::io::Error| SandboxError::Interrupted(format!("the nest ended: {error}"));
        channel::send(control.as_fd(), &build, &[volume.device.as_fd()]).map_err(ended)?;
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
        let namespaces: Vec<OwnedFd> = descriptors.by_ref().take(NAMESPACES.len()).collect();
        let members: Vec<OwnedFd> = descriptors.collect();
        let (ShellNotice::Built { build_us }, _) = building(&control, killer.files()).await? else {
            return Err(out_of_turn());
        };
        let (output, output_writer) = output_pipe()?;
        let (frames, inside) = UnixStream::pair().map_err(|error| failed("make the frame socket", error))?;
        let pid = self.fork_into(inside, output_writer, &namespaces, &members).await?;
        channel::send(control.get_ref(), &InitRequest::Adopt { pid }, &[]).map_err(ended)?;
        let sandbox = LinuxSandbox::new(Arc::clone(&self.shared), id, killer.keep(), pidfd, control, volume)
            .forked_from(Arc::clone(&self.sandbox));
        Ok(Started {
            sandbox: Box::new(sandbox),
            frames: Some(frames),
            runtime_api: TcpListener::from(runtime_api),
            platform_api: TcpListener::from(platform_api),
            output,
            timings: Timings { shell_us, build_us },
        })
    }
}
