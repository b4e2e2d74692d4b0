//! The wall around one process tree: built, frozen, thawed, measured and killed here.
//!
//! Called by `pool` through [`SandboxBackend`]; `lamplight` starts the privileged side. Knows nothing of
//! functions: a sandbox is a root tree, some binds, limits and one command.
//!
//! Processes: the *keeper* (first process, root) forks the *spawners* (root, single-threaded) and the
//! *daemon* (own uid, no capabilities). A spawner keeps *shells* ready: processes already in their own
//! namespaces and cgroups, waiting to be told what to become. A shell turns into the sandbox's *init*
//! (pid 1, no capabilities), which starts the command and what runs beside it, reaps, and reports each exit.

pub mod backend;
pub mod cgroup;
#[cfg(feature = "fake")]
pub mod fake;
pub mod landlock;
pub mod linux;
pub mod network;
pub mod seccomp;
pub mod spec;
pub mod temporary;

pub use backend::{
    CompanionEnd, Exit, Reclaim, Sandbox, SandboxBackend, SandboxError, Sockets, Started, Timings, Usage,
    Zygote,
};
pub use spec::{
    Code, Companions, FileSystemMount, Limits, Protocol, RootEntry, SandboxSpec, Temporary, TemporaryVolume,
};
