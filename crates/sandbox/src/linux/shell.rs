//! A shell: a process that already lives in its own namespaces and cgroups and waits to become a sandbox.
//!
//! ```text
//! forked by the spawner ─► attach to cgroups ─► listeners ─► Ready ─► (waits, mounts its /tmp, detached) ─► Build
//!      ─► file tree ─► identity ─► Landlock, seccomp ─► start the command ─► Built ─► init loop
//! ```
//!
//! Until `Build` it shares the spawner's mount namespace, in which it attaches nothing: its own is a copy of its root's template.
//!
//! Everything that is slow when it happens alone (a cgroup attach waits for a kernel grace period, a network
//! namespace costs a quarter of a millisecond, a file system is read in several steps that each wait for another thread)
//! happens before `Build`, off the request path.

use super::message::{Build, Role, ShellNotice, ShellRequest};
use super::mounts::{self, Detached, Doing, Failure, Own, invalid};
use super::root::{self, Root, Standing};
use super::spawner::SpawnerContext;
use super::{channel, identity, init, sys};
use crate::cgroup;
use crate::spec::{Protocol, RootEntry};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::net::TcpListener;
use std::path::Path;
use std::time::Instant;

/// Port of the HTTP Runtime API inside.
pub const RUNTIME_API_PORT: u16 = 9001;
/// Port of the platform's API inside. Not 9002 and the like, on which extensions listen by default for what they subscribed to.
pub const PLATFORM_API_PORT: u16 = 19001;

/// What one shell is given at birth.
pub struct ShellBirth {
    /// Our end of the control socket.
    pub control: OwnedFd,
    /// Namespace that maps the inside user to this sandbox's own host uid.
    pub user_namespace: OwnedFd,
    /// The cgroups to live in.
    pub cgroups: cgroup::Set,
    /// Whether the process was born in the birthplace of these.
    pub born_inside: bool,
    /// The host uid this sandbox has, unique among the live ones of the server.
    pub uid: u32,
}

/// The life of a shell, in the forked process. Never returns.
pub fn run(context: &SpawnerContext, birth: &ShellBirth) -> ! {
    sys::set_process_name(c"lamplight-shell");
    let status = match live(context, birth) {
        Ok(status) => status,
        Err(failure) => {
            let notice = ShellNotice::Failed {
                step: failure.step,
                message: failure.message,
                invalid: failure.invalid,
            };
            let _ = channel::send(birth.control.as_fd(), &notice, &[]);
            1
        }
    };
    sys::exit_now(status)
}

fn live(context: &SpawnerContext, birth: &ShellBirth) -> Result<i32, Failure> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .doing(|| "tie the shell to its spawner".to_owned())?;
    // Inherited from the server's start: they name directories of the host.
    sys::erase_arguments().doing(|| "erase the command line".to_owned())?;
    birth.cgroups.attach_self(birth.born_inside).doing(|| "enter the cgroups".to_owned())?;
    sys::unshare(libc::CLONE_NEWCGROUP).doing(|| "make a cgroup namespace".to_owned())?;
    let (runtime_api, platform_api) = prepare_network()?;
    channel::send(birth.control.as_fd(), &ShellNotice::Ready, &[runtime_api.as_fd(), platform_api.as_fd()])
        .doing(|| "announce the shell".to_owned())?;
    drop((runtime_api, platform_api));

    let mut volume = None;
    loop {
        let received =
            channel::receive::<ShellRequest>(birth.control.as_fd()).doing(|| "wait for work".to_owned())?;
        match received {
            None => return Ok(0), // The daemon is gone or has no use for this shell.
            Some((ShellRequest::Mount, descriptors)) => volume = Some(mount_volume(birth, descriptors)),
            Some((ShellRequest::Build { mounted, build }, descriptors)) => {
                let (volume, unused) = if mounted { (volume, None) } else { (None, volume) };
                // Unmounting waits for the kernel; it is closed with everything else, when the command has started.
                std::mem::forget(unused);
                return become_sandbox(context, birth, &build, descriptors, volume);
            }
        }
    }
}

/// A detached mount of the volume whose device is the first of these.
fn mount_volume(birth: &ShellBirth, descriptors: Vec<OwnedFd>) -> Result<OwnedFd, Failure> {
    let device = descriptors.into_iter().next();
    let device = device.ok_or_else(|| invalid("read the request", "the volume for /tmp is missing"))?;
    crate::temporary::mount(device.as_fd(), birth.user_namespace.as_fd())
        .doing(|| "mount the volume for /tmp".to_owned())
}

/// Names the host, brings the loopback interface up, and listens: Runtime API, platform API.
pub(super) fn prepare_network() -> Result<(TcpListener, TcpListener), Failure> {
    rustix::system::sethostname(b"sandbox").doing(|| "set the host name".to_owned())?;
    sys::bring_loopback_up().doing(|| "bring the loopback interface up".to_owned())?;
    let listen = |port: u16| -> Result<TcpListener, Failure> {
        let listener =
            TcpListener::bind(("127.0.0.1", port)).doing(|| format!("listen on port {port} inside"))?;
        listener.set_nonblocking(true).doing(|| format!("listen on port {port} inside"))?;
        Ok(listener)
    };
    Ok((listen(RUNTIME_API_PORT)?, listen(PLATFORM_API_PORT)?))
}

fn become_sandbox(
    context: &SpawnerContext,
    birth: &ShellBirth,
    build: &Build,
    descriptors: Vec<OwnedFd>,
    volume: Option<Result<OwnedFd, Failure>>,
) -> Result<i32, Failure> {
    let started = Instant::now();
    let mut descriptors = descriptors.into_iter();
    let mut next = |what: &str| {
        descriptors.next().ok_or_else(|| invalid("read the request", format!("{what} is missing")))
    };
    let output = next("the output pipe")?;
    let companion_output = match build.companions.programs.is_empty() {
        true => None,
        false => Some(next("the output pipe of the companions")?),
    };
    let volume = match volume {
        Some(mounted) => mounted?,
        None => mount_volume(birth, vec![next("the volume for /tmp")?])?,
    };
    let third = match (build.role, build.protocol) {
        (Role::Nest, _) => return Err(invalid("read the request", "a shell cannot become a nest")),
        (Role::Zygote, _) => Some(next("the zygote's socket")?),
        (Role::Command, Protocol::Frames) => Some(next("the frame socket")?),
        (Role::Command, Protocol::HttpRuntimeApi) => None,
    };
    let command = Command::new(&build.command, &build.environment, "/var/task")?;
    // Out-of-memory kills of the host should take sandboxes before the platform.
    let _ = std::fs::write("/proc/self/oom_score_adj", "100");
    if build.egress {
        let_out(context, birth.uid)?;
    }
    let processes = mounts::begin_processes()?;
    let own = prepare_own(context, build, processes, volume, birth.user_namespace.as_fd())?;
    enter_root(context, build)?.copy()?;
    own.attach()?;
    sys::set_process_name(c"lamplight-init");
    if build.role == Role::Zygote {
        // No Landlock: its children inherit it, and it would hold for this tree, not for theirs.
        identity::take_outside(birth.uid)?;
        // With code it runs a function's imports, and their processes have every capability in its nests.
        match build.code {
            Some(_) => crate::seccomp::install(&crate::seccomp::without_use_of_capabilities()),
            None => Ok(()),
        }
        .and_then(|()| crate::seccomp::install(&context.zygote_seccomp))
    } else {
        identity::take(birth.user_namespace.as_fd())?;
        crate::landlock::restrict().doing(|| "apply Landlock".to_owned())?;
        crate::seccomp::install(&context.seccomp)
    }
    .doing(|| "install the system call filter".to_owned())?;
    let signals =
        sys::signal_descriptor(&[libc::SIGCHLD, libc::SIGTERM]).doing(|| "prepare to reap".to_owned())?;
    let waiting = init::Waiting { command, limits: build.limits, output, third };
    let children = match companion_output {
        None => init::Children::of(waiting.start()?),
        Some(output) => init::Children::behind(waiting, &companions(build)?, &output)?,
    };
    // Nothing of the spawner's may be within reach of what runs here.
    let mut kept = vec![birth.control.as_raw_fd(), signals.as_raw_fd()];
    kept.extend(children.descriptors());
    sys::close_all_except(&kept).doing(|| "close what is not ours".to_owned())?;
    let build_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    channel::send(birth.control.as_fd(), &ShellNotice::Built { build_us }, &[])
        .doing(|| "report the start".to_owned())?;
    Ok(init::reap_until_the_end(birth.control.as_fd(), signals.as_fd(), children))
}

/// What runs beside the command.
fn companions(build: &Build) -> Result<Vec<Command>, Failure> {
    let environment = &build.companions.environment;
    let programs = build.companions.programs.iter();
    programs.map(|program| Command::new(std::slice::from_ref(program), environment, "/")).collect()
}

/// Everything this sandbox has for itself in its file tree. `processes` is its `/proc`, begun; `temporary` the mounted volume.
pub(super) fn prepare_own(
    context: &SpawnerContext,
    build: &Build,
    processes: OwnedFd,
    temporary: OwnedFd,
    user_namespace: BorrowedFd<'_>,
) -> Result<Detached, Failure> {
    let directories = &context.directories;
    Own {
        empty: directories.empty.as_fd(),
        code_directory: directories.code.as_fd(),
        code: build.code.as_ref(),
        file_system_directory: directories.file_systems.as_fd(),
        file_systems: &build.file_systems,
        processes,
        temporary,
        user_namespace,
    }
    .prepare()
}

/// Puts this process, which is in the spawner's mount namespace, into the tree of its root: the template, or, when there is none or
/// the host's files are others by now, one made for it alone.
pub(super) fn enter_root(context: &SpawnerContext, build: &Build) -> Result<Standing, Failure> {
    let template = context.templates.get(&(build.root.clone(), build.egress));
    if let Some(template) = template.filter(|template| template.is_current()) {
        return template.enter();
    }
    let directories = &context.directories;
    root::build_here(&Root {
        staging: &directories.staging,
        empty: &directories.empty_path,
        entries: &root_entries(context, &build.root)?,
        resolver: if build.egress { &context.resolver } else { "" },
    })
}

/// Links this network namespace to the public internet.
pub(super) fn let_out(context: &SpawnerContext, uid: u32) -> Result<(), Failure> {
    let egress = context.egress.as_ref().ok_or_else(|| {
        invalid(
            "let a sandbox out",
            "this server is configured without egress (network.egress = true allows it)",
        )
    })?;
    // Uids are unique among the live sandboxes, and so is their distance from the range's beginning.
    let number = u16::try_from(uid - context.range_first_uid)
        .map_err(|_| invalid("let a sandbox out", "the range of user ids is larger than 65,536"))?;
    egress.connect(number).doing(|| "link a sandbox to the public internet".to_owned())
}

/// The command as C strings, made before anything is changed.
pub struct Command {
    /// Absolute path inside.
    pub program: CString,
    /// Arguments, the program's name first.
    pub arguments: Vec<CString>,
    /// `KEY=value`.
    pub environment: Vec<CString>,
    /// Where it starts.
    pub directory: &'static str,
}

impl Command {
    fn new(
        command: &[String],
        environment: &[(String, String)],
        directory: &'static str,
    ) -> Result<Self, Failure> {
        let text = |text: String| {
            CString::new(text).map_err(|_| invalid("read the command", "it holds a zero byte"))
        };
        let arguments = command.iter().cloned().map(text).collect::<Result<Vec<_>, _>>()?;
        let program = arguments.first().cloned().ok_or_else(|| invalid("read the command", "it is empty"))?;
        let environment = environment
            .iter()
            .map(|(key, value)| text(format!("{key}={value}")))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { program, arguments, environment, directory })
    }
}

/// The root's entries: as known when the spawner started, or from the file when it was registered since.
fn root_entries(context: &SpawnerContext, name: &str) -> Result<Vec<RootEntry>, Failure> {
    if let Some(entries) = context.roots.get(name) {
        return Ok(entries.clone());
    }
    read_roots(&context.roots_file)
        .doing(|| format!("read {}", context.roots_file.display()))?
        .remove(name)
        .ok_or_else(|| invalid("choose the root", format!("no root is named {name:?}")))
}

/// Reads `roots.json`, which only root can write: which host directories a sandbox's root is made of.
pub fn read_roots(file: &Path) -> std::io::Result<BTreeMap<String, Vec<RootEntry>>> {
    Ok(serde_json::from_slice(&std::fs::read(file)?)?)
}
