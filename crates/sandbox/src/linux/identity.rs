//! Who a sandbox's processes are: one host uid of their own, seen inside as 993, without any capability.

use super::mounts::{Doing, Failure};
use super::sys::{self, Forked};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::process::{Signal, WaitOptions};

/// The user every program runs as inside (`sbx_user1051` in AWS Lambda).
pub const INSIDE_USER: u32 = 993;
/// Its group.
pub const INSIDE_GROUP: u32 = 990;

/// Makes a user namespace that maps only the inside user and group to `host_id`, and keeps just its descriptor.
///
/// A short-lived child holds it while its maps are written by this process, which is root outside.
pub fn make_user_namespace(host_id: u32) -> Result<OwnedFd, Failure> {
    match sys::fork_into(libc::CLONE_NEWUSER as u64).doing(|| "create a user namespace".to_owned())? {
        Forked::Child => loop {
            // The parent kills this process as soon as it holds the namespace.
            let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
            let _ = rustix::event::poll(&mut [], None);
        },
        Forked::Parent(pid, _pidfd) => {
            let process = pid.as_raw_nonzero();
            let made =
                std::fs::write(format!("/proc/{process}/uid_map"), format!("{INSIDE_USER} {host_id} 1\n"))
                    .and_then(|()| {
                        std::fs::write(
                            format!("/proc/{process}/gid_map"),
                            format!("{INSIDE_GROUP} {host_id} 1\n"),
                        )
                    })
                    .and_then(|()| std::fs::File::open(format!("/proc/{process}/ns/user")));
            let _ = rustix::process::kill_process(pid, Signal::KILL);
            let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
            made.map(OwnedFd::from).doing(|| format!("map user {host_id} into a user namespace"))
        }
    }
}

/// Becomes the inside user for good: enters the user namespace, drops to its one user, gives up everything.
pub fn take(user_namespace: BorrowedFd<'_>) -> Result<(), Failure> {
    // While still root outside: a process may clear its groups only where it is privileged.
    rustix::thread::set_thread_groups(&[]).doing(|| "clear the groups".to_owned())?;
    sys::enter_namespace(user_namespace.as_fd(), libc::CLONE_NEWUSER)
        .doing(|| "enter the user namespace".to_owned())?;
    sys::become_user(INSIDE_USER, INSIDE_GROUP, false).doing(|| "become the inside user".to_owned())?;
    // The inside user is not derived from a mapped uid 0, so the kernel keeps the capabilities that entering
    // the namespace gave; they must be dropped by hand.
    sys::drop_bounding_set().doing(|| "empty the bounding set".to_owned())?;
    sys::drop_all_capabilities().doing(|| "drop the capabilities".to_owned())?;
    rustix::thread::set_no_new_privs(true).doing(|| "forbid new privileges".to_owned())?;
    // After the change of user, which clears it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .doing(|| "tie the sandbox to its spawner".to_owned())
}
