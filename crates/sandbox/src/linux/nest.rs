//! A nest: finished namespaces and file tree without a program, made for one child of a zygote.
//!
//! The child enters them by itself, without a capability in the host's user namespace. So all of them belong to a user
//! namespace that the zygote's user owns, and only their content is made by root:
//!
//! ```text
//! maker (root) ─► attach to cgroups ─┬─► enters the user namespace, makes the others ─► init (pid 1): waits
//!                                    └─► builder (root, in init's namespaces): listeners, file tree; ends
//!              ─► tells spawner and daemon; ends                  init: drops everything, reaps
//! ```
//!
//! The zygote's pid namespace is the parent of the nest's: a process can only enter those below its own. Source:
//! kernel/pid_namespace.c, pidns_install.

use super::message::{Build, NestInit, ShellNotice};
use super::mounts::{Doing, Failure, invalid};
use super::spawner::SpawnerContext;
use super::sys::{self, Forked};
use super::{channel, identity, init, shell};
use crate::cgroup;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, WaitOptions};
use serde::{Deserialize, Serialize};
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
    /// Owned by the zygote's user, maps the inside user to this nest's own host uid.
    pub user_namespace: OwnedFd,
    /// The cgroups to live in.
    pub cgroups: cgroup::Set,
    /// Whether the process was born in the birthplace of these.
    pub born_inside: bool,
    /// The host uid, unique among the live ones of the server.
    pub uid: u32,
    /// Pidfd of the zygote's init.
    pub zygote: OwnedFd,
}

/// The builder's word to the maker.
#[derive(Serialize, Deserialize)]
enum BuilderNotice {
    /// Descriptors: Runtime API listener, platform API listener.
    Done,
    Failed {
        step: String,
        message: String,
        invalid: bool,
    },
}

/// What init waits for: the tree stands.
#[derive(Serialize, Deserialize)]
struct Go {}

/// What the process that made the namespaces says. Descriptor: pidfd of the init.
#[derive(Serialize, Deserialize)]
struct InitMade {}

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
    sys::enter_namespace(birth.zygote.as_fd(), libc::CLONE_NEWPID)
        .doing(|| "enter the zygote's process ids".to_owned())?;
    let (ours, inits) = channel::pair().doing(|| "make a socket pair".to_owned())?;
    if let Forked::Child = sys::fork_sibling().doing(|| "start the nest's init".to_owned())? {
        drop(ours);
        make_namespaces(context, birth, inits, started);
    }
    drop(inits);
    let (init, pid) = receive_init(ours.as_fd())?;
    let listeners = match build_inside(context, birth, &build, descriptors, init.as_fd()) {
        Ok(listeners) => listeners,
        Err(failure) => {
            let _ = rustix::process::pidfd_send_signal(&init, Signal::KILL);
            return Err(failure);
        }
    };
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
    // First the spawner: it must know the init before the daemon can ask for anything to be done to the sandbox.
    let report = NestInit { pid: pid.as_raw_nonzero().get() };
    channel::send(birth.report.as_fd(), &report, &[init.as_fd()]).doing(|| "report the init".to_owned())?;
    let mut descriptors: Vec<BorrowedFd<'_>> = listeners.iter().map(AsFd::as_fd).collect();
    descriptors.push(init.as_fd());
    descriptors.extend(namespaces.iter().chain(&members).map(AsFd::as_fd));
    channel::send(birth.control.as_fd(), &ShellNotice::Nested, &descriptors)
        .doing(|| "announce the nest".to_owned())?;
    channel::send(ours.as_fd(), &Go {}, &[]).doing(|| "let the init go on".to_owned())
}

/// The init's pidfd and its process id on the host.
fn receive_init(ours: BorrowedFd<'_>) -> Result<(OwnedFd, Pid), Failure> {
    let received = channel::receive::<InitMade>(ours).doing(|| "make the namespaces".to_owned())?;
    let missing = || Failure {
        step: "make the namespaces of a nest".to_owned(),
        message: "its process ended early".to_owned(),
        invalid: false,
    };
    let init =
        received.and_then(|(InitMade {}, descriptors)| descriptors.into_iter().next()).ok_or_else(missing)?;
    let information = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", init.as_raw_fd()))
        .doing(|| "look at the nest's init".to_owned())?;
    let pid = information
        .lines()
        .find_map(|line| line.strip_prefix("Pid:"))
        .and_then(|pid| pid.trim().parse().ok())
        .and_then(Pid::from_raw);
    Ok((init, pid.ok_or_else(missing)?))
}

/// In a process of the zygote's pid namespace: makes the others and the init in them. Never returns.
fn make_namespaces(context: &SpawnerContext, birth: &NestBirth, inits: OwnedFd, started: Instant) -> ! {
    let made = || -> Result<Forked, Failure> {
        rustix::thread::set_thread_groups(&[]).doing(|| "clear the groups".to_owned())?;
        let shares = shares()?;
        sys::enter_namespace(birth.user_namespace.as_fd(), libc::CLONE_NEWUSER)
            .doing(|| "enter the user namespace".to_owned())?;
        // From here on these files speak of the namespace just entered.
        for (file, share) in &shares {
            std::fs::write(file, share).doing(|| format!("write {file}"))?;
        }
        sys::unshare(
            libc::CLONE_NEWNS
                | libc::CLONE_NEWNET
                | libc::CLONE_NEWIPC
                | libc::CLONE_NEWUTS
                | libc::CLONE_NEWCGROUP
                | libc::CLONE_NEWPID,
        )
        .doing(|| "make the namespaces".to_owned())?;
        sys::fork_sibling().doing(|| "start the init".to_owned())
    };
    match made() {
        Ok(Forked::Child) => be_init(context, birth, inits, started),
        Ok(Forked::Parent(_, pidfd)) => {
            let _ = channel::send(inits.as_fd(), &InitMade {}, &[pidfd.as_fd()]);
            sys::exit_now(0)
        }
        Err(failure) => {
            tell(birth.control.as_fd(), failure);
            sys::exit_now(1)
        }
    }
}

/// Files of counts shared with the other children of the zygote, and this nest's share. To be read outside the namespace.
fn shares() -> Result<Vec<(String, String)>, Failure> {
    SHARED_COUNTS
        .iter()
        .map(|name| {
            let file = format!("/proc/sys/user/{name}");
            let whole = std::fs::read_to_string(&file).doing(|| format!("read {file}"))?;
            let whole: u64 = whole.trim().parse().map_err(|_| Failure {
                step: format!("read {file}"),
                message: format!("{whole:?} is no number"),
                invalid: false,
            })?;
            Ok((file, (whole / u64::from(CHILDREN_OF_A_ZYGOTE)).max(1).to_string()))
        })
        .collect()
}

/// Pid 1 of the nest. Never returns.
fn be_init(context: &SpawnerContext, birth: &NestBirth, inits: OwnedFd, started: Instant) -> ! {
    let settle = || -> Result<Option<OwnedFd>, Failure> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .doing(|| "tie the nest to its spawner".to_owned())?;
        match channel::receive::<Go>(inits.as_fd()) {
            Ok(Some(_)) => {}
            // The maker failed and has said so.
            Ok(None) | Err(_) => return Ok(None),
        }
        rustix::process::chdir("/").doing(|| "enter the new root".to_owned())?;
        identity::settle()?;
        sys::set_process_name(c"lamplight-init");
        // No Landlock here: the child has a domain of its own, and one may not signal across domains.
        crate::seccomp::install(&context.seccomp).doing(|| "install the system call filter".to_owned())?;
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
        Ok(Some(signals)) => init::reap_until_the_end(birth.control.as_fd(), signals.as_fd(), None),
        Ok(None) => 1,
        Err(failure) => {
            tell(birth.control.as_fd(), failure);
            1
        }
    };
    sys::exit_now(status)
}

/// Lets root make the content of the namespaces of `init`. Gives the two listeners.
fn build_inside(
    context: &SpawnerContext,
    birth: &NestBirth,
    build: &Build,
    descriptors: Vec<OwnedFd>,
    init: BorrowedFd<'_>,
) -> Result<Vec<OwnedFd>, Failure> {
    let device = descriptors
        .into_iter()
        .next()
        .ok_or_else(|| invalid("read the request", "the volume for /tmp is missing"))?;
    let (ours, builders) = channel::pair().doing(|| "make a socket pair".to_owned())?;
    // Only a child is in the pid namespace, whose processes the mounted /proc will show.
    sys::enter_namespace(init, libc::CLONE_NEWPID).doing(|| "enter the nest's process ids".to_owned())?;
    match sys::fork_into(0).doing(|| "start a builder".to_owned())? {
        Forked::Child => {
            drop(ours);
            sys::exit_now(builder(context, birth, build, device.as_fd(), init, builders.as_fd()))
        }
        Forked::Parent(pid, _) => {
            drop(builders);
            let notice = channel::receive::<BuilderNotice>(ours.as_fd());
            let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
            match notice.doing(|| "hear from the builder".to_owned())? {
                Some((BuilderNotice::Done, listeners)) => Ok(listeners),
                Some((BuilderNotice::Failed { step, message, invalid }, _)) => {
                    Err(Failure { step, message, invalid })
                }
                None => Err(Failure {
                    step: "build a nest".to_owned(),
                    message: "the builder ended early".to_owned(),
                    invalid: false,
                }),
            }
        }
    }
}

/// In the builder: everything inside. Gives its exit status.
fn builder(
    context: &SpawnerContext,
    birth: &NestBirth,
    build: &Build,
    device: BorrowedFd<'_>,
    init: BorrowedFd<'_>,
    maker: BorrowedFd<'_>,
) -> i32 {
    let built = || -> Result<_, Failure> {
        sys::enter_namespace(
            init,
            libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS,
        )
        .doing(|| "enter the nest's namespaces".to_owned())?;
        let listeners = shell::prepare_network()?;
        let user_namespace = birth.user_namespace.as_fd();
        let temporary = crate::temporary::mount(device, user_namespace)
            .doing(|| "mount the volume for /tmp".to_owned())?;
        shell::build_tree(context, build, temporary.as_fd(), user_namespace, birth.uid)?;
        Ok(listeners)
    };
    let sent = match built() {
        Ok((runtime_api, platform_api)) => {
            channel::send(maker, &BuilderNotice::Done, &[runtime_api.as_fd(), platform_api.as_fd()])
        }
        Err(Failure { step, message, invalid }) => {
            channel::send(maker, &BuilderNotice::Failed { step, message, invalid }, &[])
        }
    };
    i32::from(sent.is_err())
}
