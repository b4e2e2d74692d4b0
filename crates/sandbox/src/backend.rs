//! The seam: a backend starts sandboxes. `tests/contract.rs` proves it for each backend, the fake included.

use crate::spec::{Code, Limits, SandboxSpec, TemporaryVolume};
use async_trait::async_trait;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::watch;

/// Why a sandbox could not be started or asked.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// No more sandboxes fit the host's bounds.
    #[error("the host has no room for another sandbox: {0}")]
    Exhausted(String),
    /// A spawner or init died under us; trying again is safe.
    #[error("the sandbox host was interrupted: {0}")]
    Interrupted(String),
    /// The specification names something that does not exist or is not allowed.
    #[error("{0}")]
    Invalid(String),
    /// A step of building the wall failed.
    #[error("failed to {step}: {message}")]
    Step {
        /// What was being done, to what.
        step: String,
        /// The operating system's text.
        message: String,
    },
}

/// Where the time of a start went; microseconds of wall time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// Waiting for a shell (0 when one was ready).
    pub shell_us: u64,
    /// Mounts, identity, seccomp, until the command was started.
    pub build_us: u64,
}

/// A started sandbox: the handle, and the ends of its channels.
pub struct Started {
    /// The handle.
    pub sandbox: Box<dyn Sandbox>,
    /// Our end of the frame socket; `None` for `Protocol::HttpRuntimeApi`. Blocking mode; set as needed.
    pub frames: Option<UnixStream>,
    /// Listening inside on 127.0.0.1:9001, non-blocking.
    pub runtime_api: TcpListener,
    /// Listening inside on 127.0.0.1:19001 for calls to the platform's API, non-blocking.
    pub platform_api: TcpListener,
    /// Read end of the pipe that is the command's stdout and stderr, non-blocking.
    pub output: OwnedFd,
    /// The same of all companions together; `None` without any.
    pub companion_output: Option<OwnedFd>,
    /// Where the time went.
    pub timings: Timings,
}

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Exit status when it exited by itself.
    pub status: Option<i32>,
    /// Signal number when it was killed.
    pub signal: Option<i32>,
    /// Whether the kernel killed something in the sandbox for lack of memory.
    pub out_of_memory: bool,
    /// Whether the sandbox was lost with its spawner or init rather than by its own doing.
    pub interrupted: bool,
}

/// How a companion ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CompanionEnd {
    /// It ended.
    Exited {
        /// Exit status when it exited by itself.
        status: Option<i32>,
        /// Signal number when it was killed.
        signal: Option<i32>,
    },
    /// It could not be started; the operating system's reason.
    NotStarted(String),
}

/// Makes stream sockets (IPv4, not connected yet) in the network of one sandbox: what is inside listens where nobody outside can
/// connect to. Waits while the sandbox is frozen. Does not keep the sandbox alive, and fails with `Interrupted` once it is gone.
pub type Sockets =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<OwnedFd, SandboxError>> + Send>> + Send + Sync>;

/// Use of resources so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Highest memory use, bytes.
    pub memory_peak_bytes: u64,
    /// Memory use now, bytes.
    pub memory_bytes: u64,
    /// Kills for lack of memory.
    pub out_of_memory_kills: u64,
}

/// What `Sandbox::reclaim` gives: bytes that were freed, once awaited.
pub type Reclaim = Pin<Box<dyn Future<Output = Result<u64, SandboxError>> + Send>>;

/// One live sandbox. Dropping the handle kills everything in it.
#[async_trait]
pub trait Sandbox: Send + Sync {
    /// Host-wide unique, 32 hexadecimal digits.
    fn id(&self) -> &str;
    /// Binds the code of a sandbox that was started without any, with what was compiled of it and its layers, and bounds its
    /// memory. What runs inside sees them at once, but for a process that stands in `/var/task`: it must enter it anew.
    ///
    /// # Errors
    /// `Invalid` when there is no such code, `Interrupted` when the sandbox or its spawner is gone. The sandbox is of no
    /// use after an error.
    async fn bind_code(&self, code: Code, memory_bytes: u64) -> Result<(), SandboxError>;
    /// Applies `limits` fully: called when the start is over (the start runs with a whole processor).
    fn apply_limits(&self, limits: Limits) -> Result<(), SandboxError>;
    /// Stops all processes where they are. Takes microseconds; a frozen sandbox can be killed.
    fn freeze(&self) -> Result<(), SandboxError>;
    /// Lets them go on.
    fn thaw(&self) -> Result<(), SandboxError>;
    /// Highest memory use so far, bytes. Asked after each invocation, so it costs one system call.
    fn memory_peak_bytes(&self) -> Result<u64, SandboxError>;
    /// Gives memory back that the kernel can get again elsewhere, as far as it can be asked; bytes that were freed. Takes
    /// milliseconds, and outlives the handle it was asked through. Meant for a frozen sandbox.
    fn reclaim(&self) -> Reclaim;
    /// Measures.
    fn usage(&self) -> Result<Usage, SandboxError>;
    /// Resolves when the command has ended, however. May be awaited many times.
    async fn exited(&self) -> Exit;
    /// Starts the command of a sandbox that has companions; resolves when it runs. To be called once.
    ///
    /// # Errors
    /// As starting a sandbox without companions fails when there is no such command.
    async fn begin(&self) -> Result<(), SandboxError>;
    /// Asks the command to end (SIGTERM). Nothing happens when it does not run.
    ///
    /// # Errors
    /// `Interrupted` when the sandbox is gone.
    fn terminate(&self) -> Result<(), SandboxError>;
    /// How each companion ended, in the order of the specification, as far as they have.
    fn companions(&self) -> watch::Receiver<Vec<Option<CompanionEnd>>>;
    /// A maker of sockets in its network.
    fn sockets(&self) -> Sockets;
    /// Kills everything and waits until nothing of it is left. Gives back `/tmp`.
    async fn stop(self: Box<Self>) -> Option<TemporaryVolume>;
}

/// A program that has done what many start with, and forks.
#[async_trait]
pub trait Zygote: Send + Sync {
    /// Starts a sandbox whose command is a fork of this program: root, `/tmp`, egress, limits and code are the
    /// specification's, command, environment and protocol (frames) the zygote's.
    ///
    /// # Errors
    /// `Interrupted` when the zygote ended, or has forked as many as one may: what it forked before lives on.
    async fn fork(&self, spec: SandboxSpec) -> Result<Started, SandboxError>;
}

/// Starts sandboxes.
#[async_trait]
pub trait SandboxBackend: Send + Sync + 'static {
    /// Starts one. Either everything in `Started` exists, or nothing is left.
    async fn start(&self, spec: SandboxSpec) -> Result<Started, SandboxError>;
    /// Starts a program that speaks the zygote's protocol on descriptor 3 (`linux/zygote.rs`), and waits until it is ready to
    /// fork. Dropping the handle ends the program, and nothing it has forked.
    ///
    /// A specification with code makes one that runs code of its own: its word counts for its own children only, and it
    /// stands still while it is not asked to fork.
    ///
    /// # Errors
    /// `Invalid` when this backend has no zygotes.
    async fn start_zygote(&self, _spec: SandboxSpec) -> Result<Box<dyn Zygote>, SandboxError> {
        Err(SandboxError::Invalid("this backend has no zygotes".to_owned()))
    }
}
