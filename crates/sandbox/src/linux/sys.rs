//! The few system calls that no safe wrapper covers. Every `unsafe` block of the process side lives here.
//!
//! Callers are single-threaded processes (keeper, spawner, shell, init); that is what makes plain `fork`
//! and namespace changes sound.

#![allow(unsafe_code)]

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::Pid;
use std::ffi::{CStr, CString};
use std::io;

/// What `fork_into` returns to whom.
pub enum Forked {
    /// In the new process.
    Child,
    /// In the caller: the child's id and a descriptor that stays valid for it.
    Parent(Pid, OwnedFd),
}

/// `clone3` without a new stack, i.e. `fork` into the given namespaces (`CLONE_NEW*` bits).
///
/// The child gets SIGKILL-independent life; the caller sets a parent-death signal itself where wanted.
/// Source: clone3(2).
pub fn fork_into(namespaces: u64) -> io::Result<Forked> {
    clone_with(namespaces, libc::SIGCHLD, None)
}

/// As [`fork_into`], but the child is born a member of the version 2 control group that `cgroup` is the directory of. Source:
/// clone3(2), `CLONE_INTO_CGROUP`, Linux 5.7.
pub fn fork_into_cgroup(namespaces: u64, cgroup: BorrowedFd<'_>) -> io::Result<Forked> {
    clone_with(namespaces, libc::SIGCHLD, Some(cgroup))
}

/// As [`fork_into`], but the child is this process's sibling: its parent is this one's. Source: clone3(2), CLONE_PARENT, with which
/// the exit signal must be 0 and is the caller's own.
pub fn fork_sibling_into(namespaces: i32) -> io::Result<Forked> {
    clone_with((libc::CLONE_PARENT | namespaces) as u64, 0, None)
}

/// Beyond the 32 bits of the others. Source: linux/sched.h.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

fn clone_with(flags: u64, exit_signal: i32, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Forked> {
    let mut pidfd: i32 = -1;
    // SAFETY: clone_args is plain data; zero means "not used" for every field.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = flags | libc::CLONE_PIDFD as u64;
    arguments.pidfd = (&raw mut pidfd) as u64;
    arguments.exit_signal = exit_signal.unsigned_abs().into();
    if let Some(cgroup) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: the arguments live across the call; no stack is given, so this is fork. The calling process is
    // single-threaded, so the child may go on running Rust code.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            let pid = pid.ok_or_else(|| io::Error::other("clone3 gave an impossible process id"))?;
            // SAFETY: CLONE_PIDFD stored a new descriptor that nobody else owns.
            Ok(Forked::Parent(pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))
        }
    }
}

/// Plain `fork`: `None` in the child. For a process whose system call filter refuses `clone3`.
pub fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: the calling process is single-threaded, so the child may go on running Rust code.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        child => Ok(Pid::from_raw(child)),
    }
}

/// Marks every descriptor from `first` on close-on-exec.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: changes flags only.
    if unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Ends the process at once, without running destructors or handlers of the parent's memory image.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(status) }
}

/// `mount_setattr` on one mount: sets `set`, clears nothing; `user_namespace` idmaps it.
///
/// Source: mount_setattr(2). Needs Linux 5.12.
pub fn mount_setattr(
    mount: BorrowedFd<'_>,
    set: u64,
    user_namespace: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    // SAFETY: mount_attr is plain data; zero is a valid "nothing to do".
    let mut attributes: libc::mount_attr = unsafe { std::mem::zeroed() };
    attributes.attr_set = set;
    if let Some(user_namespace) = user_namespace {
        attributes.attr_set |= libc::MOUNT_ATTR_IDMAP;
        attributes.userns_fd = user_namespace.as_raw_fd() as u64;
    }
    // SAFETY: the path is an empty C string, the structure lives across the call and its size is given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Closes every descriptor of the process except `keep`. Nothing may use an owned descriptor afterwards
/// that is not in `keep`; the callers are about to become another program or a process that owns only these.
pub fn close_all_except(keep: &[i32]) -> io::Result<()> {
    let mut keep: Vec<u32> = keep.iter().filter_map(|fd| u32::try_from(*fd).ok()).collect();
    keep.sort_unstable();
    keep.dedup();
    let mut first = 0_u32;
    for fd in keep.iter().copied().chain([u32::MAX]) {
        let last = if fd == u32::MAX { u32::MAX } else { fd.wrapping_sub(1) };
        if fd > first {
            // SAFETY: close_range has no memory effects; see above for ownership.
            if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        first = fd.saturating_add(1);
    }
    Ok(())
}

/// `dup2`, clearing close-on-exec on the copy.
pub fn duplicate_onto(fd: BorrowedFd<'_>, target: i32) -> io::Result<()> {
    // SAFETY: duplicating descriptors has no memory effects; callers are about to exec.
    let result = unsafe { libc::dup2(fd.as_raw_fd(), target) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    if fd.as_raw_fd() == target {
        // SAFETY: fcntl with an integer argument has no memory effects.
        if unsafe { libc::fcntl(target, libc::F_SETFD, 0) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Blocks `signals` for this process and gives a descriptor that reads them.
pub fn signal_descriptor(signals: &[i32]) -> io::Result<OwnedFd> {
    // SAFETY: sigset_t is initialised by sigemptyset before any other use; all calls get valid pointers.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Reads one pending signal number from a descriptor made by [`signal_descriptor`].
pub fn read_signal(descriptor: BorrowedFd<'_>) -> Option<i32> {
    let mut buffer = [0_u8; size_of::<libc::signalfd_siginfo>()];
    match rustix::io::read(descriptor, &mut buffer) {
        Ok(length) if length == buffer.len() => {
            Some(i32::from_ne_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]))
        }
        _ => None,
    }
}

/// Sets every signal to its default action and blocks none: the state a program expects at its start.
pub fn reset_signals() {
    // SAFETY: sigprocmask and signal get valid arguments; failures on SIGKILL/SIGSTOP are expected.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
        for signal in 1..32 {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

/// Ignores a signal in this process.
pub fn ignore_signal(signal: i32) {
    // SAFETY: SIG_IGN is a valid disposition.
    unsafe {
        libc::signal(signal, libc::SIG_IGN);
    }
}

/// `execve`; returns only on failure.
pub fn exec(program: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| {
        strings.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: both arrays end with a null pointer and point to C strings that outlive the call.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// The type of `RLIMIT_...`, which differs between C libraries.
#[cfg(target_env = "gnu")]
pub type ResourceNumber = libc::__rlimit_resource_t;
/// The type of `RLIMIT_...`, which differs between C libraries.
#[cfg(not(target_env = "gnu"))]
pub type ResourceNumber = libc::c_int;

/// Raises or lowers a resource limit, soft and hard alike.
pub fn set_resource_limit(resource: ResourceNumber, value: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: the structure lives across the call.
    if unsafe { libc::setrlimit(resource, &raw const limit) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Empties the bounding set, so that no program executed later can gain a capability.
pub fn drop_bounding_set() -> io::Result<()> {
    for capability in 0..64 {
        // SAFETY: prctl with integer arguments.
        let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        if result != 0 {
            let error = io::Error::last_os_error();
            if error.raw_os_error() == Some(libc::EINVAL) {
                break; // Past the last capability this kernel knows.
            }
            return Err(error);
        }
    }
    Ok(())
}

/// Gives up every capability the thread holds, now and for what it executes.
pub fn drop_all_capabilities() -> io::Result<()> {
    rustix::thread::clear_ambient_capability_set()?;
    rustix::thread::set_capabilities(
        None,
        rustix::thread::CapabilitySets {
            effective: rustix::thread::CapabilitySet::empty(),
            permitted: rustix::thread::CapabilitySet::empty(),
            inheritable: rustix::thread::CapabilitySet::empty(),
        },
    )?;
    Ok(())
}

/// Clears the supplementary groups and takes group and user id, real, effective and saved.
pub fn become_user(user: u32, group: u32, clear_groups: bool) -> io::Result<()> {
    // SAFETY: these calls take integers; the process is single-threaded, so the raw per-thread calls of the
    // C library's wrappers affect all of it.
    unsafe {
        if clear_groups && libc::setgroups(0, std::ptr::null()) != 0 {
            return Err(io::Error::last_os_error());
        }
        if libc::setresgid(group, group, group) != 0 || libc::setresuid(user, user, user) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Takes effective group and user id for a while; the real and the saved ones stay.
pub fn take_effective_user(user: u32, group: u32) -> io::Result<()> {
    const KEEP: u32 = u32::MAX;
    // SAFETY: these calls take integers; the process is single-threaded, see above.
    if unsafe { libc::setresgid(KEEP, group, KEEP) != 0 || libc::setresuid(KEEP, user, KEEP) != 0 } {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Lets changes of the user id leave the capabilities alone, from now on in this process. Source: capabilities(7).
pub fn keep_capabilities_over_user_changes() -> io::Result<()> {
    const SECBIT_NO_SETUID_FIXUP: libc::c_ulong = 1 << 2;
    // SAFETY: prctl with integer arguments.
    if unsafe { libc::prctl(libc::PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Overwrites this process's command line with zeroes, as `/proc/PID/cmdline` shows it to everybody in its pid
/// namespace. Nothing here reads the arguments again.
pub fn erase_arguments() -> io::Result<()> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The second field, the name, may hold anything but ends with the last parenthesis; the third comes after it.
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let mut fields = after_name.split_ascii_whitespace().skip(45).map(str::parse::<usize>);
    let (Some(Ok(start)), Some(Ok(end))) = (fields.next(), fields.next()) else {
        return Err(io::Error::other("/proc/self/stat names no arguments"));
    };
    if start != 0 && end > start {
        // SAFETY: arg_start..arg_end (proc_pid_stat(5), fields 48 and 49) is the part of this process's own stack that
        // holds the argument strings: mapped writable for its whole life, used by nothing else in this process.
        unsafe { std::ptr::write_bytes(std::ptr::with_exposed_provenance_mut::<u8>(start), 0, end - start) };
    }
    Ok(())
}

/// `unshare` of this single-threaded process.
pub fn unshare(flags: i32) -> io::Result<()> {
    // SAFETY: takes an integer; descriptor-table unsharing is not requested by any caller.
    if unsafe { libc::unshare(flags) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `setns` of this single-threaded process.
pub fn enter_namespace(namespace: impl AsFd, kind: i32) -> io::Result<()> {
    // SAFETY: takes integers.
    if unsafe { libc::setns(namespace.as_fd().as_raw_fd(), kind) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Brings the loopback interface of the current network namespace up. Source: netdevice(7).
pub fn bring_loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: ifreq is plain data.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: SIOCSIFFLAGS reads an ifreq that lives across the call.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as libc::Ioctl, &raw const request) } == 0
    {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sets what the kernel shows as the process's name (15 bytes).
pub fn set_process_name(name: &CStr) {
    let _ = rustix::thread::set_name(name);
}

/// Whether the process behind a pidfd has ended, reaped or not. Source: pidfd_open(2), polling.
pub fn has_ended(process: BorrowedFd<'_>) -> bool {
    let mut watched = [rustix::event::PollFd::new(&process, rustix::event::PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut watched, Some(&now)).is_ok_and(|ready| ready > 0)
}

/// Waits for one child without blocking. `None` when no child has ended.
pub fn reap_one() -> Option<(Pid, rustix::process::WaitStatus)> {
    loop {
        match rustix::process::wait(rustix::process::WaitOptions::NOHANG) {
            Ok(found) => return found,
            Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

/// Lets tokio watch a descriptor. Must be called within a tokio runtime.
pub fn watch(descriptor: OwnedFd) -> io::Result<tokio::io::unix::AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is valid until it is dropped and always names the same descriptor.
    Ok(unsafe { tokio::io::unix::AsyncFd::register(descriptor)? })
}
