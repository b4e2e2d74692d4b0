//! The backend over Linux namespaces, cgroups (v1, hybrid or v2), seccomp and Landlock. Needs root at its start.

mod backend;
mod build;
mod channel;
pub mod egg;
mod identity;
mod init;
pub mod keeper;
mod message;
mod mounts;
mod nest;
mod root;
mod sandbox;
mod shell;
mod spawner;
mod sys;
mod zygote;

pub use backend::{LinuxBackend, Readiness};
pub use keeper::{DaemonSockets, HostConfig};
pub use nest::CHILDREN_OF_A_ZYGOTE;
pub use shell::{PLATFORM_API_PORT, RUNTIME_API_PORT};

/// Maps the owner of a detached mount through a user namespace: files of the inside user on disk belong to
/// the sandbox's own host uid in it. Needs a file system that supports idmapped mounts.
pub(crate) fn map_mount_owner(
    mount: rustix::fd::BorrowedFd<'_>,
    user_namespace: rustix::fd::BorrowedFd<'_>,
) -> std::io::Result<()> {
    sys::mount_setattr(mount, 0, Some(user_namespace))
}
