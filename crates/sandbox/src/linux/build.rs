//! Making a shell the sandbox of a command: volume, limits, output pipe, the word to the shell, its answer.

use super::backend::{LinuxBackend, START_TIMEOUT, receive_notice};
use super::message::{Build, Role, ShellNotice, ShellRequest};
use super::sandbox::LinuxSandbox;
use super::zygote::LinuxZygote;
use super::{channel, sys};
use crate::backend::{SandboxBackend, SandboxError, Started, Timings, Zygote};
use crate::cgroup::ControlFiles;
use crate::spec::{Limits, Protocol, SandboxSpec};
use async_trait::async_trait;
use rustix::fd::{AsFd, OwnedFd};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::unix::AsyncFd;

/// Processor time while a wall is built and its command starts: a quota of less multiplies the start's time.
const PROCESSOR_DURING_START_MILLIS: u32 = 1_000;

/// A step of building that the operating system refused.
pub(super) fn failed(step: &str, error: impl std::fmt::Display) -> SandboxError {
    SandboxError::Step { step: step.to_owned(), message: error.to_string() }
}

/// Applies the limits of a sandbox that is being started: it has at least a whole processor until it is up.
pub(super) fn limit(files: &ControlFiles, limits: Limits) -> Result<(), SandboxError> {
    files
        .set_memory(limits.memory_bytes)
        .and_then(|()| files.set_processes(limits.processes))
        .and_then(|()| files.set_cpu(PROCESSOR_DURING_START_MILLIS.max(limits.cpu_millis)))
        .map_err(|error| failed("set the limits", error))
}

/// The pipe of a command's output: our end does not block.
pub(super) fn output_pipe() -> Result<(OwnedFd, OwnedFd), SandboxError> {
    let made = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK)
        .and_then(|(output, writer)| {
            // The function's end must block like any program's standard output; only ours does not.
            rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::empty())?;
            Ok((output, writer))
        });
    made.map_err(|error| failed("make the output pipe", error))
}

/// The next notice of a process that builds a sandbox.
pub(super) async fn building(
    control: &AsyncFd<OwnedFd>,
    files: &ControlFiles,
) -> Result<(ShellNotice, Vec<OwnedFd>), SandboxError> {
    match tokio::time::timeout(START_TIMEOUT, receive_notice(control)).await {
        Ok(Ok((ShellNotice::Failed { step, message, invalid }, _))) => Err(if invalid {
            SandboxError::Invalid(format!("failed to {step}: {message}"))
        } else {
            SandboxError::Step { step, message }
        }),
        Ok(Ok(notice)) => Ok(notice),
        Ok(Err(_)) if files.oom_kills().is_ok_and(|kills| kills > 0) => {
            Err(failed("build the sandbox", "it ran out of memory"))
        }
        Ok(Err(error)) => Err(SandboxError::Interrupted(format!("the shell ended: {error}"))),
        Err(_) => Err(SandboxError::Interrupted("the shell took too long".to_owned())),
    }
}

/// What a shell became.
struct BuiltShell {
    sandbox: LinuxSandbox,
    runtime_api: TcpListener,
    platform_api: TcpListener,
    output: OwnedFd,
    companion_output: Option<OwnedFd>,
    timings: Timings,
    spawner: usize,
}

impl LinuxBackend {
    /// Makes a shell the sandbox of a command whose descriptor 3 is `third`.
    async fn build(
        &self,
        spec: SandboxSpec,
        role: Role,
        third: Option<OwnedFd>,
    ) -> Result<BuiltShell, SandboxError> {
        let asked_at = Instant::now();
        let (build, temporary) = Build::of(role, spec);
        let shell = self.shared.take_shell(&temporary).await?;
        self.shared.refill();
        let killer = KillOnDrop(Some(shell.files));
        let mounts = shell.volume.as_ref().is_some_and(|volume| temporary.is_new_of(volume.size_mib));
        let volume = match shell.volume {
            Some(volume) if mounts => volume,
            unused => {
                unused.into_iter().for_each(|volume| self.shared.give_back(volume));
                self.shared.take_device(temporary).await?
            }
        };
        let shell_us = u64::try_from(asked_at.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.shared.refill();

        limit(killer.files(), build.limits)?;
        let (output, output_writer) = output_pipe()?;
        let companions = build.companions.programs.len();
        let companion_pipe = if companions > 0 { Some(output_pipe()?) } else { None };
        let (companion_output, companion_writer) = companion_pipe.unzip();
        let mut descriptors = vec![output_writer.as_fd()];
        descriptors.extend(companion_writer.as_ref().map(AsFd::as_fd));
        descriptors.extend((!mounts).then(|| volume.device.as_fd()));
        descriptors.extend(third.as_ref().map(AsFd::as_fd));
        channel::send(
            shell.control.as_fd(),
            &ShellRequest::Build { mounted: mounts, build: Box::new(build) },
            &descriptors,
        )
        .map_err(|error| SandboxError::Interrupted(format!("the shell ended: {error}")))?;
        drop((output_writer, companion_writer, third));
        let control = sys::watch(shell.control).map_err(|error| failed("watch the sandbox", error))?;
        let (ShellNotice::Built { build_us }, _) = building(&control, killer.files()).await? else {
            return Err(SandboxError::Interrupted("the shell spoke out of turn".to_owned()));
        };
        let files = killer.keep();
        Ok(BuiltShell {
            sandbox: LinuxSandbox::new(
                Arc::clone(&self.shared),
                shell.id,
                files,
                shell.pidfd,
                control,
                volume,
                companions,
            ),
            runtime_api: shell.runtime_api,
            platform_api: shell.platform_api,
            output,
            companion_output,
            timings: Timings { shell_us, build_us },
            spawner: shell.spawner,
        })
    }
}

#[async_trait]
impl SandboxBackend for LinuxBackend {
    async fn start(&self, spec: SandboxSpec) -> Result<Started, SandboxError> {
        let (frames, third) = match spec.protocol {
            Protocol::Frames => {
                let (ours, theirs) =
                    UnixStream::pair().map_err(|error| failed("make the frame socket", error))?;
                (Some(ours), Some(OwnedFd::from(theirs)))
            }
            Protocol::HttpRuntimeApi => (None, None),
        };
        let built = self.build(spec, Role::Command, third).await?;
        let BuiltShell { sandbox, runtime_api, platform_api, output, companion_output, timings, .. } = built;
        let sandbox = Box::new(sandbox);
        Ok(Started { sandbox, frames, runtime_api, platform_api, output, companion_output, timings })
    }

    async fn start_zygote(&self, spec: SandboxSpec) -> Result<Box<dyn Zygote>, SandboxError> {
        let (ours, theirs) = channel::pair().map_err(|error| failed("make the zygote's socket", error))?;
        let runs_code = spec.code.is_some();
        let BuiltShell { sandbox, runtime_api, platform_api, output, spawner, .. } =
            self.build(spec, Role::Zygote, Some(theirs)).await?;
        // Nobody will answer there: what asks is refused at once.
        drop((runtime_api, platform_api));
        let control = sys::watch(ours).map_err(|error| failed("watch the zygote", error))?;
        let shared = Arc::clone(&self.shared);
        let zygote = LinuxZygote::ready(shared, spawner, sandbox, output, control, runs_code).await?;
        Ok(Box::new(zygote))
    }
}

/// Kills a half-built sandbox on every early return, also when the start is cancelled.
pub(super) struct KillOnDrop(pub(super) Option<ControlFiles>);

impl KillOnDrop {
    pub(super) fn files(&self) -> &ControlFiles {
        // Present until `keep`, which consumes self.
        match &self.0 {
            Some(files) => files,
            None => unreachable!("the control files are taken only by keep"),
        }
    }

    pub(super) fn keep(mut self) -> ControlFiles {
        match self.0.take() {
            Some(files) => files,
            None => unreachable!("the control files are taken only by keep"),
        }
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if let Some(files) = &self.0 {
            let _ = files.kill();
        }
    }
}
