//! A backend without a wall: the command runs as a plain child process of this one. For tests only.
//!
//! Sibling of `linux`. What it keeps of the contract: descriptor 3, listeners, the output pipe, freezing (by
//! signal), exits, `/tmp` that can be carried (a directory, in `TMPDIR`), killing by process group. What it does
//! not: paths inside are host paths, chosen by `FakeHost::paths`; the listeners have other ports than 9001 and
//! 19001, and the environment says which; limits are not applied.

mod process;

use crate::backend::{Sandbox, SandboxBackend, SandboxError, Started, Timings};
use crate::spec::{Protocol, SandboxSpec, Temporary, TemporaryVolume};
use async_trait::async_trait;
use process::FakeSandbox;
use rustix::pipe::PipeFlags;
use std::collections::HashMap;
use std::fs::File;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::watch;

/// Where a fake host finds what a sandbox names.
#[derive(Debug, Clone)]
pub struct FakeHost {
    /// Directory of the code directories.
    pub code: PathBuf,
    /// Where `/tmp` directories are made.
    pub temporary: PathBuf,
    /// Paths inside and what they are on this host, besides `/var/task`, e.g. `/var/runtime`.
    pub paths: Vec<(String, PathBuf)>,
}

/// Starts plain processes.
#[derive(Debug)]
pub struct FakeBackend {
    host: FakeHost,
    next: AtomicU64,
    lives: Arc<Mutex<HashMap<String, watch::Sender<process::End>>>>,
}

impl FakeBackend {
    /// A host without sandboxes.
    pub fn new(host: FakeHost) -> Self {
        Self { host, next: AtomicU64::new(0), lives: Arc::default() }
    }

    /// Ids of the sandboxes that are not stopped yet, oldest first.
    pub fn live(&self) -> Vec<String> {
        let mut ids: Vec<String> =
            self.lives.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        ids.sort();
        ids
    }

    /// Makes a sandbox end as if its spawner or init had been killed. `false` when there is none of this id.
    pub fn interrupt(&self, id: &str) -> bool {
        let lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        lives.get(id).is_some_and(|end| end.send(process::End::Interrupted).is_ok())
    }

    fn resolve(&self, text: &str, task: &Path) -> String {
        let mut resolved = text.replace("/var/task", &task.to_string_lossy());
        for (inside, host) in &self.host.paths {
            resolved = resolved.replace(inside.as_str(), &host.to_string_lossy());
        }
        resolved
    }

    fn temporary(&self, temporary: Temporary, id: &str) -> std::io::Result<TemporaryVolume> {
        match temporary {
            Temporary::Carried(volume) => Ok(volume),
            Temporary::New { size_mib } => {
                let directory = self.host.temporary.join(id);
                std::fs::create_dir(&directory)?;
                Ok(TemporaryVolume { device: File::open(directory)?.into(), size_mib })
            }
        }
    }
}

#[async_trait]
impl SandboxBackend for FakeBackend {
    async fn start(&self, spec: SandboxSpec) -> Result<Started, SandboxError> {
        let begun = Instant::now();
        let id = format!("{:032x}", self.next.fetch_add(1, Ordering::Relaxed));
        let step = |step: &str| {
            let step = step.to_owned();
            move |error: std::io::Error| SandboxError::Step { step, message: error.to_string() }
        };
        let Some(code) = &spec.code else {
            return Err(SandboxError::Invalid("this backend binds no code late".to_owned()));
        };
        if !spec.companions.programs.is_empty() {
            return Err(SandboxError::Invalid("this backend starts nothing beside a command".to_owned()));
        }
        let task = self.host.code.join(&code.package);
        let inside = spec.command.first().cloned().unwrap_or_default();
        let command: Vec<String> = spec.command.iter().map(|part| self.resolve(part, &task)).collect();
        if !is_executable(Path::new(command.first().map_or("", String::as_str))) {
            return Err(SandboxError::Invalid(format!(
                "failed to start {inside}: No such file or directory"
            )));
        }
        let volume = self.temporary(spec.temporary, &id).map_err(step("make /tmp"))?;
        let listen = || {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let runtime_api = listen().map_err(step("listen"))?;
        let platform_api = listen().map_err(step("listen"))?;
        let (output, writer) =
            rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|error| step("make a pipe")(error.into()))?;
        rustix::io::ioctl_fionbio(&output, true).map_err(|error| step("make a pipe")(error.into()))?;

        let mut shell = Command::new("/bin/sh");
        // The frame socket comes as stdin and becomes descriptor 3.
        shell.args(["-c", r#"[ "$0" = frames ] && exec 3<&0; exec "$@" </dev/null"#]);
        let frames = match spec.protocol {
            Protocol::Frames => {
                let (ours, theirs) = UnixStream::pair().map_err(step("make a socket pair"))?;
                shell.arg("frames").stdin(Stdio::from(OwnedFd::from(theirs)));
                Some(ours)
            }
            Protocol::HttpRuntimeApi => {
                shell.arg("http").stdin(Stdio::null());
                None
            }
        };
        let address = |listener: &TcpListener| listener.local_addr().map(|address| address.to_string());
        let runtime_address = address(&runtime_api).map_err(step("listen"))?;
        let platform_address = address(&platform_api).map_err(step("listen"))?;
        shell.args(&command).env_clear().current_dir(&task).process_group(0);
        for (name, value) in &spec.environment {
            let value = self
                .resolve(value, &task)
                .replace("127.0.0.1:9001", &runtime_address)
                .replace("127.0.0.1:19001", &platform_address);
            shell.env(name, value);
        }
        shell.env("TMPDIR", directory_of(&volume).map_err(step("find /tmp"))?);
        let second = writer.try_clone().map_err(step("copy a descriptor"))?;
        shell.stdout(Stdio::from(writer)).stderr(Stdio::from(second));
        let child = shell.spawn().map_err(step("start a process"))?;
        drop(shell);

        let (ended, end) = watch::channel(process::End::NotYet);
        self.lives.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), ended.clone());
        let sandbox: Box<dyn Sandbox> =
            Box::new(FakeSandbox::new(id, child, ended, end, volume, self.lives.clone()));
        let build_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let timings = Timings { shell_us: 0, build_us };
        let companion_output = None;
        Ok(Started { sandbox, frames, runtime_api, platform_api, output, companion_output, timings })
    }
}

fn is_executable(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() && path.is_file()
}

/// The host directory behind a volume of this backend.
fn directory_of(volume: &TemporaryVolume) -> std::io::Result<PathBuf> {
    use std::os::fd::AsRawFd as _;
    std::fs::read_link(format!("/proc/self/fd/{}", volume.device.as_fd().as_raw_fd()))
}
