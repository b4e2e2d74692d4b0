//! A nest: finished namespaces and file tree without a program, made for one child of a zygote.
//!
//! The child enters them by itself, without a capability in the host's user namespace. So all of them belong to a user
//! namespace that the zygote's user owns, and only their content is made by root:
//!
//! ```text
//! spawner ─► maker (root, in the zygote's pid namespace) ─► attach to cgroups ─► enters the template of its root
//!    ─► as the zygote's user, one clone with all new namespaces ─► init (pid 1): begins /proc, waits, drops everything, reaps
//!    ─► as root, in init's namespaces: maps its user, listeners, the rest of the file tree ─► tells spawner and daemon; ends
//! ```
//!
//! The zygote's pid namespace is the parent of the nest's: a process can only enter those below its own. Source:
//! kernel/pid_namespace.c, pidns_install.

use super::message::{Build, NestInit, ShellNotice};
use super::mounts::{self, Doing, Failure, invalid};
use super::spawner::SpawnerContext;
use super::sys::{self, Forked};
use super::{channel, identity, init, shell};
use crate::cgroup;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::process::{DumpableBehavior, Pid, Signal};
use serde::{Deserialize, Serialize};
use std::net::TcpListener;
use std::time::Instant;

/// The namespaces a child of a zygote enters, by their names in `/proc/PID/ns`, in the order it does so.
pub const NAMESPACES: [&str; 7] = ["user", "mnt", "net", "ipc", "uts", "cgroup", "pid"];

/// Most children of one zygote. The kernel counts what they use per user for the zygote's user too, who owns all their user
/// namespaces: each may use this part of what a user may, so that one cannot use up the others' share.
pub const CHILDREN_OF_A_ZYGOTE: u32 = 16;

/// What is counted so and has a bound for each user namespace. Source: user_namespaces(7), `/proc/sys/user`.
const SHARED_COUNTS: [&str; 2] = ["max_inotify_instances", "max_inotify_watches"];

/// What one nest is given at birth.
pub struct NestBirth {
    /// Our end of the control socket, later the init's.
    pub control: OwnedFd,
    /// To the spawner: who the init is.
    pub report: OwnedFd,
    /// The zygote's user, who will own the user namespace.
    pub owner: u32,
    /// The cgroups to live in.
    pub cgroups: cgroup::Set,
    /// Whether the process was born in the birthplace of these.
    pub born_inside: bool,
    /// The host uid, unique among the live ones of the server.
    pub uid: u32,
}

/// What init waits for: the tree stands.
#[derive(Serialize, Deserialize)]
struct Go {}

/// What init says. Descriptor: `/proc` of its process ids, not made yet.
#[derive(Serialize, Deserialize)]
struct Begun {}

/// The life of a nest's maker, in the forked process. Never returns.
pub fn run(context: &SpawnerContext, birth: &NestBirth) -> ! {
    sys::set_process_name(c"lamplight-nest");
    let status = match make(context, birth) {
        Ok(()) => 0,
        Err(failure) => {
            tell(birth.control.as_fd(), failure);
            1
        }
    };
    sys::exit_now(status)
}

fn tell(control: BorrowedFd<'_>, failure: Failure) {
    let Failure { step, message, invalid } = failure;
    let _ = channel::send(control, &ShellNotice::Failed { step, message, invalid }, &[]);
}

fn make(context: &SpawnerContext, birth: &NestBirth) -> Result<(), Failure> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .doing(|| "tie the nest to its spawner".to_owned())?;
    sys::erase_arguments().doing(|| "erase the command line".to_owned())?;
    let received = channel::receive::<Build>(birth.control.as_fd()).doing(|| "wait for work".to_owned())?;
    let Some((build, descriptors)) = received else { return Ok(()) };
    let started = Instant::now();
    birth.cgroups.attach_self(birth.born_inside).doing(|| "enter the cgroups".to_owned())?;
    rustix::thread::set_thread_groups(&[]).doing(|| "clear the groups".to_owned())?;
    let shares = Shares::of_each_child()?;
    let (ours, inits) = channel::pair().doing(|| "make a socket pair".to_owned())?;
    let init = match fork_init(context, birth, &build)? {
        Forked::Child => {
            drop(ours);
            be_init(context, birth, inits.as_fd(), &shares, started);
        }
        Forked::Parent(_, init) => init,
    };
    drop(inits);
    let finished = finish(context, birth, &build, descriptors, init.as_fd(), ours.as_fd());
    if finished.is_err() {
        let _ = rustix::process::pidfd_send_signal(&init, Signal::KILL);
    }
    finished
}

/// Makes the init, a sibling of this process, with all namespaces of the nest.
fn fork_init(context: &SpawnerContext, birth: &NestBirth, build: &Build) -> Result<Forked, Failure> {
    // What is in the copy is locked for the user namespace, because it is not the one of the template. Memory and descriptors of
    // both processes are out of the zygote's reach, although it owns that, because they are not dumpable (ptrace(2)).
    let root = shell::enter_root(context, build)?;
    identity::act_as(birth.owner)?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .doing(|| "keep the zygote out".to_owned())?;
    let forked = root.fork_copy(
        libc::CLONE_NEWUSER
            | libc::CLONE_NEWNET
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWUTS
            | libc::CLONE_NEWCGROUP
            | libc::CLONE_NEWPID,
    )?;
    if let Forked::Parent(..) = forked {
        identity::act_as(0)?;
        // The change of user has cleared it.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .doing(|| "tie the nest to its spawner".to_owned())?;
        sys::enter_namespace(&context.directories.home, libc::CLONE_NEWNS)
            .doing(|| "come back to the host's files".to_owned())?;
    }
    Ok(forked)
}

/// Makes the content of the namespaces of `init`, and tells spawner and daemon. Must be in the spawner's mount namespace.
fn finish(
    context: &SpawnerContext,
    birth: &NestBirth,
    build: &Build,
    descriptors: Vec<OwnedFd>,
    init: BorrowedFd<'_>,
    inits: BorrowedFd<'_>,
) -> Result<(), Failure> {
    let device = descriptors
        .into_iter()
        .next()
        .ok_or_else(|| invalid("read the request", "the volume for /tmp is missing"))?;
    let pid = process_id(init)?;
    identity::map_user(pid, birth.uid).doing(|| format!("map the inside user to user {}", birth.uid))?;
    let open = |name: &str| {
        rustix::fs::open(
            format!("/proc/{}/ns/{name}", pid.as_raw_nonzero()),
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
    };
    let namespaces = NAMESPACES
        .iter()
        .map(|name| open(name))
        .collect::<Result<Vec<_>, _>>()
        .doing(|| "open the namespaces".to_owned())?;
    let members = birth.cgroups.open_member_files().doing(|| "open the cgroups".to_owned())?;
    let begun = channel::receive::<Begun>(inits).doing(|| "hear from the init".to_owned())?;
    let processes = begun.and_then(|(Begun {}, descriptors)| descriptors.into_iter().next());
    let processes = processes.ok_or_else(|| ended_early("hear from the init"))?;
    let (runtime_api, platform_api) =
        build_inside(context, birth, build, (device.as_fd(), processes), init, namespaces[0].as_fd())?;
    // First the spawner: it must know the init before the daemon can ask for anything to be done to the sandbox.
    let report = NestInit { pid: pid.as_raw_nonzero().get() };
    channel::send(birth.report.as_fd(), &report, &[init]).doing(|| "report the init".to_owned())?;
    let mut descriptors = vec![runtime_api.as_fd(), platform_api.as_fd(), init];
    descriptors.extend(namespaces.iter().chain(&members).map(AsFd::as_fd));
    channel::send(birth.control.as_fd(), &ShellNotice::Nested, &descriptors)
        .doing(|| "announce the nest".to_owned())?;
    channel::send(inits, &Go {}, &[]).doing(|| "let the init go on".to_owned())
}

fn ended_early(step: &str) -> Failure {
    Failure { step: step.to_owned(), message: "its process ended early".to_owned(), invalid: false }
}

/// Its process id on the host.
fn process_id(process: BorrowedFd<'_>) -> Result<Pid, Failure> {
    let information = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", process.as_raw_fd()))
        .doing(|| "look at the nest's init".to_owned())?;
    information
        .lines()
        .find_map(|line| line.strip_prefix("Pid:"))
        .and_then(|pid| pid.trim().parse().ok())
        .and_then(Pid::from_raw)
        .ok_or_else(|| ended_early("look at the nest's init"))
}

/// Makes what root must make of the namespaces of `init`, of which the first is `user_namespace`. This process ends up in them. Gives
/// the two listeners.
fn build_inside(
    context: &SpawnerContext,
    birth: &NestBirth,
    build: &Build,
    (device, processes): (BorrowedFd<'_>, OwnedFd),
    init: BorrowedFd<'_>,
    user_namespace: BorrowedFd<'_>,
) -> Result<(TcpListener, TcpListener), Failure> {
    let enter = |kinds| sys::enter_namespace(init, kinds).doing(|| "enter the nest's namespaces".to_owned());
    enter(libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS)?;
    let listeners = shell::prepare_network()?;
    if build.egress {
        shell::let_out(context, birth.uid)?;
    }
    let temporary =
        crate::temporary::mount(device, user_namespace).doing(|| "mount the volume for /tmp".to_owned())?;
    let own = shell::prepare_own(context, build, processes, temporary, user_namespace)?;
    enter(libc::CLONE_NEWNS)?;
    own.attach()?;
    Ok(listeners)
}

/// What each child of a zygote may use of counts that are shared among them.
struct Shares {
    /// `/proc`, which the nest has not got yet.
    proc: OwnedFd,
    /// Files beneath it and their content.
    files: Vec<(String, String)>,
}

impl Shares {
    /// Reads what a user may have. To be called outside the user namespace.
    fn of_each_child() -> Result<Self, Failure> {
        let proc = rustix::fs::open("/proc", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .doing(|| "open /proc".to_owned())?;
        let files = SHARED_COUNTS
            .iter()
            .map(|name| {
                let file = format!("sys/user/{name}");
                let whole = std::fs::read_to_string(format!("/proc/{file}"))
                    .doing(|| format!("read /proc/{file}"))?;
                let whole: u64 = whole.trim().parse().map_err(|_| Failure {
                    step: format!("read /proc/{file}"),
                    message: format!("{whole:?} is no number"),
                    invalid: false,
                })?;
                Ok((file, (whole / u64::from(CHILDREN_OF_A_ZYGOTE)).max(1).to_string()))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { proc, files })
    }

    /// In the user namespace, of which these files speak to those who open them there.
    fn write(&self) -> Result<(), Failure> {
        for (file, share) in &self.files {
            rustix::fs::openat(&self.proc, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
                .and_then(|file| rustix::io::write(&file, share.as_bytes()))
                .doing(|| format!("write /proc/{file}"))?;
        }
        Ok(())
    }
}

/// Pid 1 of the nest. Never returns.
fn be_init(
    context: &SpawnerContext,
    birth: &NestBirth,
    maker: BorrowedFd<'_>,
    shares: &Shares,
    started: Instant,
) -> ! {
    let settle = || -> Result<Option<OwnedFd>, Failure> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .doing(|| "tie the nest to its spawner".to_owned())?;
        shares.write()?;
        let processes = mounts::begin_processes()?;
        channel::send(maker, &Begun {}, &[processes.as_fd()]).doing(|| "tell the maker".to_owned())?;
        drop(processes);
        match channel::receive::<Go>(maker) {
            Ok(Some(_)) => {}
            // The maker failed and has said so.
            Ok(None) | Err(_) => return Ok(None),
        }
        identity::settle()?;
        sys::set_process_name(c"lamplight-init");
        // No Landlock here: the child has a domain of its own, and one may not signal across domains.
        crate::seccomp::install(&context.init_seccomp)
            .doing(|| "install the system call filter".to_owned())?;
        let signals =
            sys::signal_descriptor(&[libc::SIGCHLD, libc::SIGTERM]).doing(|| "prepare to reap".to_owned())?;
        sys::close_all_except(&[birth.control.as_raw_fd(), signals.as_raw_fd()])
            .doing(|| "close what is not ours".to_owned())?;
        let build_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        channel::send(birth.control.as_fd(), &ShellNotice::Built { build_us }, &[])
            .doing(|| "report the start".to_owned())?;
        Ok(Some(signals))
    };
    let status = match settle() {
        Ok(Some(signals)) => {
            init::reap_until_the_end(birth.control.as_fd(), signals.as_fd(), init::Children::default())
        }
        Ok(None) => 1,
        Err(failure) => {
            tell(birth.control.as_fd(), failure);
            1
        }
    };
    sys::exit_now(status)
}
