//! What a sandbox is to be. Everything here may come from an unprivileged daemon, so it names things
//! (a root, a code directory) that the privileged side resolves beneath directories it opened itself.

use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// One read-only entry of a root tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootEntry {
    /// Directory or file on the host.
    pub host: PathBuf,
    /// Absolute path inside.
    pub inside: PathBuf,
    /// Whether the host path must not be readable from `/proc/self/mountinfo` (mounted through overlay).
    pub hide: bool,
}

/// A durable directory shared between sandboxes, mounted read-write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSystemMount {
    /// Name of the directory beneath the host's file-system directory: `[a-zA-Z0-9-_]+`. Created if absent.
    pub directory: String,
    /// Absolute path inside.
    pub mount_path: String,
}

/// A disk-backed `/tmp` that outlives its sandbox; dropping it frees the disk space.
#[derive(Debug)]
pub struct TemporaryVolume {
    /// Loop device that holds an ext4 file system, open read-only: that keeps it alive. Opaque to the daemon.
    pub device: OwnedFd,
    /// Size, MiB.
    pub size_mib: u32,
}

/// Where `/tmp` comes from.
#[derive(Debug)]
pub enum Temporary {
    /// A new empty volume of so many MiB.
    New {
        /// Size, MiB.
        size_mib: u32,
    },
    /// The volume of an earlier sandbox, with its files.
    Carried(TemporaryVolume),
}

impl Temporary {
    /// Whether any empty volume of this size will do.
    pub(crate) fn is_new_of(&self, mib: u32) -> bool {
        matches!(self, Self::New { size_mib } if *size_mib == mib)
    }
}

/// How the command talks to the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// Frames over a Unix stream socket that the command finds as descriptor 3.
    Frames,
    /// The HTTP Runtime API on 127.0.0.1:9001 inside.
    HttpRuntimeApi,
}

/// Limits of the whole process tree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory including shared memory, page tables and page cache that cannot be reclaimed; bytes.
    pub memory_bytes: u64,
    /// Processor time per wall time once the start is over, in thousandths of one processor.
    pub cpu_millis: u32,
    /// Processes and threads.
    pub processes: u32,
    /// Open files per process.
    pub open_files: u32,
}

/// What a sandbox runs: names of directories beneath the host's code directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// Bound at `/var/task`.
    pub package: String,
    /// Seen as one tree at `/opt`, later ones over earlier ones; five at most, as Lambda allows.
    pub layers: Vec<String>,
    /// What was made of each of these, as far as it was. Seen as one tree at `/var/compiled`, later ones over earlier ones.
    pub compiled: Vec<String>,
}

impl Code {
    /// A package and nothing beside it.
    pub fn of(package: impl Into<String>) -> Self {
        Self { package: package.into(), ..Self::default() }
    }
}

/// Programs that run beside the command. They are started first; the command waits for [`begin`](crate::Sandbox::begin).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Companions {
    /// Absolute paths inside, started in this order in the directory `/`.
    pub programs: Vec<String>,
    /// The whole environment of each.
    pub environment: Vec<(String, String)>,
}

/// One sandbox.
#[derive(Debug)]
pub struct SandboxSpec {
    /// Name of a root registered with the privileged side (`roots.json`).
    pub root: String,
    /// What it runs; with `None` there is nothing until [`bind_code`](crate::Sandbox::bind_code).
    pub code: Option<Code>,
    /// Durable directories.
    pub file_systems: Vec<FileSystemMount>,
    /// `/tmp`.
    pub temporary: Temporary,
    /// Limits.
    pub limits: Limits,
    /// Whether the public internet can be reached.
    pub egress: bool,
    /// Program and arguments; the program is an absolute path inside.
    pub command: Vec<String>,
    /// The whole environment of the command.
    pub environment: Vec<(String, String)>,
    /// How the command talks to us.
    pub protocol: Protocol,
    /// What runs beside it.
    pub companions: Companions,
}
