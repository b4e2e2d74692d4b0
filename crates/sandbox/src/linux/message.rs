//! Everything the unprivileged daemon may ask of the privileged processes, and their answers: closed enums.

use crate::spec::{Code, Companions, FileSystemMount, Limits, Protocol, SandboxSpec, Temporary};
use serde::{Deserialize, Serialize};

/// How the ids of a spawner's sandboxes begin.
pub fn id_prefix(spawner: usize) -> String {
    format!("{:02x}", spawner & 0xff)
}

/// Daemon to spawner.
#[derive(Debug, Serialize, Deserialize)]
pub enum SpawnerRequest {
    /// Make a shell. Answered by `ShellMade`.
    MakeShell {
        /// Chosen by the daemon, 32 hexadecimal digits, beginning with the spawner's prefix.
        id: String,
    },
    /// Make a volume for `/tmp`. Answered by `VolumeMade` or `VolumeFailed`.
    MakeVolume {
        /// Correlates the answer.
        request: u64,
        /// Size, MiB.
        size_mib: u32,
    },
    /// Make a nest for a child of a zygote. Answered by `ShellMade`, whose pidfd is then of no use.
    MakeNest {
        /// Chosen by the daemon, 32 hexadecimal digits, beginning with the spawner's prefix.
        id: String,
        /// The sandbox of the zygote, of the same spawner.
        zygote: String,
    },
    /// Bind code in a sandbox built without any. Answered by `Bound` or `BindFailed`.
    Bind {
        /// The sandbox.
        id: String,
        /// What is bound.
        code: Code,
    },
}

/// Spawner to daemon.
#[derive(Debug, Serialize, Deserialize)]
pub enum SpawnerReply {
    /// Descriptors: the daemon's end of the shell's control socket, pidfd, then the cgroup control files.
    ShellMade {
        /// As requested.
        id: String,
    },
    /// No shell of this id will come.
    ShellFailed {
        /// As requested.
        id: String,
        /// What failed and why.
        message: String,
    },
    /// Every process of this sandbox is gone and its cgroups are removed.
    Gone {
        /// The sandbox.
        id: String,
    },
    /// Descriptor: the loop device that holds the volume.
    VolumeMade {
        /// As requested.
        request: u64,
    },
    /// The code is there.
    Bound {
        /// The sandbox.
        id: String,
    },
    /// It is not.
    BindFailed {
        /// The sandbox.
        id: String,
        /// What was being done, to what.
        step: String,
        /// The operating system's text.
        message: String,
        /// Whether the request itself was at fault.
        invalid: bool,
    },
    /// No volume.
    VolumeFailed {
        /// As requested.
        request: u64,
        /// What failed and why.
        message: String,
    },
}

/// Keeper to daemon.
#[derive(Debug, Serialize, Deserialize)]
pub enum KeeperNotice {
    /// A spawner was started again. Descriptor: the daemon's end of its socket.
    SpawnerStarted {
        /// Which of the spawners.
        index: usize,
    },
}

/// Maker of a nest to its spawner. Descriptor: pidfd of the nest's init.
#[derive(Debug, Serialize, Deserialize)]
pub struct NestInit {
    /// Its process id.
    pub pid: i32,
}

/// Daemon to an init.
#[derive(Debug, Serialize, Deserialize)]
pub enum InitRequest {
    /// To that of a nest. The process whose end is the end of the command: the zygote's child that just came in.
    Adopt {
        /// Its process id as seen inside.
        pid: i32,
    },
    /// Start the command, which waited for its companions. Answered by `Begun` or `NotBegun`.
    Begin,
    /// Ask the command to end.
    Terminate,
    /// Make a stream socket. Answered by `Socket` or `NoSocket`, in the order of the requests.
    Socket,
}

/// What a process is to be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// The init of a command of its own.
    Command,
    /// The init of a program that forks into nests. Descriptor 3 is its control socket, whatever the protocol says.
    Zygote,
    /// A nest. Only descriptor: the `/tmp` device.
    Nest,
}

/// Daemon to shell.
#[derive(Debug, Serialize, Deserialize)]
pub enum ShellRequest {
    /// Mount the volume for `/tmp` already. Descriptor: its device. What fails is told once something is to be built.
    Mount,
    /// Become a sandbox. Descriptors, in order: output pipe, output pipe of the companions if there are any, `/tmp` device
    /// unless `mounted`, frame socket (with `Protocol::Frames`).
    Build {
        /// Whether the volume that came with `Mount` is to be used.
        mounted: bool,
        /// The sandbox.
        build: Box<Build>,
    },
}

/// Also the daemon's word to the maker of a nest, then with one descriptor, the `/tmp` device.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Build {
    /// What it is to be.
    pub role: Role,
    /// Name in `roots.json`.
    pub root: String,
    /// What is bound; `None` leaves `/var/task` empty for a later `Bind`.
    pub code: Option<Code>,
    /// Durable directories.
    pub file_systems: Vec<FileSystemMount>,
    /// Open-file limit is applied here; the others are cgroup files of the daemon.
    pub limits: Limits,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Environment.
    pub environment: Vec<(String, String)>,
    /// Whether descriptor 3 is a frame socket.
    pub protocol: Protocol,
    /// Whether the public internet can be reached.
    pub egress: bool,
    /// What runs beside the command, and before it.
    pub companions: Companions,
}

impl Build {
    /// What a specification says, but for `/tmp`, which goes along as a descriptor. A nest has no use for command,
    /// environment and protocol.
    pub fn of(role: Role, spec: SandboxSpec) -> (Self, Temporary) {
        let SandboxSpec {
            root,
            code,
            file_systems,
            temporary,
            limits,
            egress,
            command,
            environment,
            protocol,
            companions,
        } = spec;
        let build = Self {
            role,
            root,
            code,
            file_systems,
            limits,
            command,
            environment,
            protocol,
            egress,
            companions,
        };
        (build, temporary)
    }
}

/// Shell (later init) to daemon.
#[derive(Debug, Serialize, Deserialize)]
pub enum ShellNotice {
    /// Namespaces, cgroups and listeners are there. Descriptors: Runtime API listener, platform API listener.
    Ready,
    /// A nest's namespaces and tree are there. Descriptors: Runtime API listener, platform API listener, pidfd of its
    /// init, the namespaces in the order of `nest::NAMESPACES`, then the member files of its cgroups.
    Nested,
    /// The wall stands and the command runs; in a nest, waits for its process; with companions, waits for `Begin`.
    Built {
        /// Microseconds since `Build` arrived.
        build_us: u64,
    },
    /// The wall could not be built; the process ends.
    Failed {
        /// What was being done, to what.
        step: String,
        /// The operating system's text.
        message: String,
        /// Whether the request itself was at fault.
        invalid: bool,
    },
    /// The command ended.
    Exited {
        /// Exit status when it exited by itself.
        status: Option<i32>,
        /// Signal when it was killed.
        signal: Option<i32>,
    },
    /// The command runs, after `Begin`.
    Begun,
    /// It could not be started.
    NotBegun {
        /// What was being done, to what.
        step: String,
        /// The operating system's text.
        message: String,
        /// Whether the request itself was at fault.
        invalid: bool,
    },
    /// A companion ended.
    CompanionExited {
        /// Which, counted from 0.
        index: usize,
        /// Exit status when it exited by itself.
        status: Option<i32>,
        /// Signal when it was killed.
        signal: Option<i32>,
    },
    /// A companion could not be started.
    CompanionNotStarted {
        /// Which, counted from 0.
        index: usize,
        /// The operating system's text.
        message: String,
    },
    /// Descriptor: the socket.
    Socket,
    /// There is none.
    NoSocket {
        /// The operating system's text.
        message: String,
    },
}
