//! Who a sandbox's processes are: one host uid of their own, seen inside as 993, without any capability.

use super::mounts::{Doing, Failure};
use super::sys::{self, Forked};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::process::{Pid, Signal, WaitOptions};

/// The user every program runs as inside (`sbx_user1051` in AWS Lambda).
pub const INSIDE_USER: u32 = 993;
/// Its group.
pub const INSIDE_GROUP: u32 = 990;

/// Makes a user namespace that maps only the inside user and group to `host_id`, and keeps just its descriptor.
///
/// The namespace belongs to `host_id` itself: what the kernel counts per user (inotify instances, processes, pending
/// signals, locked memory) is counted for the owner of each enclosing namespace too, and an owner shared by all
/// sandboxes, root, would let one of them use up everybody's share. Source: kernel/ucount.c, user_namespaces(7).
///
/// A short-lived child holds it while its maps are written by this process, which is root outside.
pub fn make_user_namespace(host_id: u32) -> Result<OwnedFd, Failure> {
    let (made_reader, made_writer) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).doing(|| "make a pipe".to_owned())?;
    match sys::fork_into(0).doing(|| "start a process".to_owned())? {
        Forked::Child => {
            drop(made_reader);
            let failure = own_user_namespace(host_id)
                .err()
                .map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO));
            if rustix::io::write(&made_writer, &failure.to_ne_bytes()).is_err() {
                sys::exit_now(1); // The parent ended before its death could signal us.
            }
            loop {
                // The parent kills this process as soon as it holds the namespace.
                let _ = rustix::event::poll(&mut [], None);
            }
        }
        Forked::Parent(pid, _pidfd) => {
            drop(made_writer);
            let mut failure = [0_u8; 4];
            let made = match rustix::io::read(&made_reader, &mut failure) {
                Ok(4) if failure == [0; 4] => Ok(()),
                Ok(4) => Err(std::io::Error::from_raw_os_error(i32::from_ne_bytes(failure))),
                _ => Err(std::io::Error::other("its process ended early")),
            }
            .and_then(|()| map_user(pid, host_id))
            .and_then(|()| std::fs::File::open(format!("/proc/{}/ns/user", pid.as_raw_nonzero())));
            let _ = rustix::process::kill_process(pid, Signal::KILL);
            let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
            made.map(OwnedFd::from).doing(|| format!("make a user namespace for user {host_id}"))
        }
    }
}

/// Maps the inside user and group of the user namespace `process` is in to `host_id`.
pub fn map_user(process: Pid, host_id: u32) -> std::io::Result<()> {
    let process = process.as_raw_nonzero();
    std::fs::write(format!("/proc/{process}/uid_map"), format!("{INSIDE_USER} {host_id} 1\n"))?;
    std::fs::write(format!("/proc/{process}/gid_map"), format!("{INSIDE_GROUP} {host_id} 1\n"))
}

/// Makes `user` the owner of user namespaces that this process, root, makes from now on; 0 is itself again. It keeps all its
/// capabilities and stays out of `user`'s reach, because its real user is root. Whoever is the owner of a user namespace, outside it,
/// may enter it. Source: user_namespaces(7).
pub fn act_as(user: u32) -> Result<(), Failure> {
    sys::keep_capabilities_over_user_changes()
        .and_then(|()| sys::take_effective_user(user, user))
        .doing(|| format!("act as user {user}"))
}

/// In the child: becomes `owner`, then makes the namespace that so belongs to it. The capabilities stay, because hosts
/// may allow new user namespaces to the privileged only.
fn own_user_namespace(owner: u32) -> std::io::Result<()> {
    sys::keep_capabilities_over_user_changes()?;
    sys::become_user(owner, owner, true)?;
    sys::unshare(libc::CLONE_NEWUSER)?;
    // Last, because a change of user clears it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

/// Becomes the inside user for good: enters the user namespace, drops to its one user, gives up everything.
pub fn take(user_namespace: BorrowedFd<'_>) -> Result<(), Failure> {
    // While still root outside: a process may clear its groups only where it is privileged.
    rustix::thread::set_thread_groups(&[]).doing(|| "clear the groups".to_owned())?;
    sys::enter_namespace(user_namespace.as_fd(), libc::CLONE_NEWUSER)
        .doing(|| "enter the user namespace".to_owned())?;
    settle()
}

/// The same in a process that is in its user namespace already, with all capabilities there.
pub fn settle() -> Result<(), Failure> {
    sys::become_user(INSIDE_USER, INSIDE_GROUP, false).doing(|| "become the inside user".to_owned())?;
    // The inside user is not derived from a mapped uid 0, so the kernel keeps the capabilities that entering
    // the namespace gave; they must be dropped by hand.
    give_up()
}

/// Becomes `host_id` in the host's user namespace, for a zygote: it owns the user namespaces of its children by being this
/// user outside them. It holds no capability.
pub fn take_outside(host_id: u32) -> Result<(), Failure> {
    // Emptying the bounding set needs a capability still.
    sys::keep_capabilities_over_user_changes().doing(|| "become the zygote's user".to_owned())?;
    sys::become_user(host_id, host_id, true).doing(|| "become the zygote's user".to_owned())?;
    give_up()
}

fn give_up() -> Result<(), Failure> {
    sys::drop_bounding_set().doing(|| "empty the bounding set".to_owned())?;
    sys::drop_all_capabilities().doing(|| "drop the capabilities".to_owned())?;
    rustix::thread::set_no_new_privs(true).doing(|| "forbid new privileges".to_owned())?;
    // After the change of user, which clears it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .doing(|| "tie the sandbox to its spawner".to_owned())
}
