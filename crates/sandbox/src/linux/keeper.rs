//! The keeper: the first process, root, single-threaded. Starts the spawners and the daemon, starts a dead
//! spawner again, passes signals on, and leaves nothing behind.
//!
//! ```text
//! keeper (root) ─┬─ spawner 0 (root) ── shells ─► sandboxes (own uid each, no capabilities)
//!                ├─ spawner 1 (root) ── ...
//!                └─ daemon (own uid, no capabilities)
//! ```

use super::message::{KeeperNotice, id_prefix};
use super::mounts::Failure;
use super::root::{Making, Root, Template};
use super::spawner::{self, Directories, SpawnerContext, Templates};
use super::sys::{self, Forked};
use super::{channel, shell};
use crate::cgroup;
use crate::network::{Egress, EgressConfig};
use crate::spec::RootEntry;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::mount::MountPropagationFlags;
use rustix::process::{Pid, Signal};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Beneath the data directory: an empty directory to build roots on.
const STAGING: &str = "host/staging";
/// Another one, that stays empty.
const EMPTY: &str = "host/empty";

/// What the privileged side needs to know. Read by root from root's configuration.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// The data directory; see `ARCHITECTURE.md` for its layout.
    pub data_directory: PathBuf,
    /// First host uid of this server's range: the daemon's. The ones after it go to sandboxes.
    pub first_uid: u32,
    /// Length of the range, at least 1,024.
    pub uid_count: u32,
    /// Number of spawners, at least 1.
    pub spawners: usize,
    /// Name of the parent cgroup, unique on the host per data directory.
    pub cgroup_name: String,
    /// Memory all sandboxes together may use, bytes; `None` for no limit but the host's.
    pub memory_bytes: Option<u64>,
    /// Whether what the file trees of a root have in common is made once; otherwise each sandbox's is built from the beginning.
    pub templates: bool,
    /// Lets sandboxes that ask for it out to the public internet; `None` refuses them.
    pub egress: Option<EgressConfig>,
}

/// What the daemon holds of the privileged side: sockets to it, nothing more.
#[derive(Debug)]
pub struct DaemonSockets {
    /// One per spawner.
    pub spawners: Vec<OwnedFd>,
    /// From the keeper: sockets of spawners that were started again.
    pub keeper: OwnedFd,
}

struct Keeper {
    config: HostConfig,
    parent: cgroup::Parent,
    egress: Option<Rc<Egress>>,
    templates: Rc<Templates>,
    daemon: Option<Pid>,
    spawners: Vec<Option<Pid>>,
    notices: OwnedFd,
}

/// Runs the whole tree until the daemon ends, and gives the daemon's exit status.
///
/// Must be called as root by a process that has started no thread. `daemon` runs in a process of its own as
/// `first_uid`, without capabilities; descriptors that were opened before (a listening socket) stay open in it.
///
/// # Errors
/// When the host lacks something the wall is made of; the text names it. Nothing was started then.
pub fn run(config: HostConfig, daemon: impl FnOnce(DaemonSockets) -> i32) -> io::Result<i32> {
    if !rustix::process::geteuid().is_root() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the sandbox host must be started as root",
        ));
    }
    let context =
        |doing: &str, error: io::Error| io::Error::new(error.kind(), format!("failed to {doing}: {error}"));
    prepare_directories(&config).map_err(|error| context("prepare the data directory", error))?;
    let parent = cgroup::Parent::prepare(&config.cgroup_name)
        .map_err(|error| context("prepare the cgroups", error))?;
    if let Some(bytes) = config.memory_bytes {
        parent.set_memory(bytes).map_err(|error| context("set the memory budget", error))?;
    }
    let egress = match &config.egress {
        Some(egress) => {
            Some(Rc::new(Egress::prepare(egress).map_err(|error| context("prepare egress", error))?))
        }
        None => None,
    };
    sys::unshare(libc::CLONE_NEWNS).map_err(|error| context("make a mount namespace", error))?;
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|error| context("make mounts private", error.into()))?;
    // Orphans of a dead spawner come to us to be reaped.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|error| context("become the reaper", error.into()))?;
    let signals = sys::signal_descriptor(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP])
        .map_err(|error| context("prepare signals", error))?;
    let (notices, daemon_notices) = channel::pair()?;
    let spawner_count = config.spawners.max(1);
    let pairs = (0..spawner_count).map(|_| channel::pair()).collect::<io::Result<Vec<_>>>()?;
    let (sockets, spawner_ends): (Vec<OwnedFd>, Vec<OwnedFd>) = pairs.into_iter().unzip();
    let spawners = vec![None; spawner_count];
    let mut keeper =
        Keeper { config, parent, egress, templates: Rc::default(), daemon: None, spawners, notices };
    let our_pid = rustix::process::getpid();
    // First the daemon, which has the longest way to its first answer.
    match sys::fork_into(0)? {
        Forked::Child => {
            drop((signals, spawner_ends));
            let uid = keeper.config.first_uid;
            drop(keeper);
            let sockets = DaemonSockets { spawners: sockets, keeper: daemon_notices };
            let status = match become_daemon(uid, our_pid) {
                Ok(()) => daemon(sockets),
                Err(error) => {
                    say(format_args!("failed to drop privileges: {error}"));
                    1
                }
            };
            std::process::exit(status)
        }
        Forked::Parent(pid, _pidfd) => {
            keeper.daemon = Some(pid);
            drop((sockets, daemon_notices));
        }
    }
    keeper.templates = Rc::new(finish_templates(begin_templates(&keeper.config)));
    let started = spawner_ends
        .into_iter()
        .enumerate()
        .try_for_each(|(index, socket)| keeper.fork_spawner(index, socket));
    if let Err(error) = started {
        keeper.daemon.into_iter().for_each(spawner::kill);
        keeper.end();
        return Err(context("start a spawner", error));
    }
    sys::set_process_name(c"lamplight-keep");
    let status = keeper.watch(signals.as_fd());
    keeper.end();
    Ok(status)
}

/// Drops to the daemon's uid for good.
fn become_daemon(uid: u32, keeper: Pid) -> io::Result<()> {
    sys::reset_signals();
    sys::ignore_signal(libc::SIGPIPE);
    // The bounding set can only be emptied while privileged.
    sys::drop_bounding_set()?;
    sys::become_user(uid, uid, true)?;
    sys::drop_all_capabilities()?;
    rustix::thread::set_no_new_privs(true)?;
    sys::set_resource_limit(libc::RLIMIT_CORE, 1)?; // Memory holds environment values.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if rustix::process::getppid() != Some(keeper) {
        return Err(io::Error::other("the keeper ended meanwhile"));
    }
    Ok(())
}

/// The directories the privileged side resolves names beneath. The daemon owns what it writes to.
fn prepare_directories(config: &HostConfig) -> io::Result<()> {
    let data = &config.data_directory;
    for (name, mode) in [("code", 0o755), ("code/unpacked", 0o755)] {
        make_directory(&data.join(name), mode, Some(config.first_uid))?;
    }
    for (name, mode) in
        [("file-systems", 0o711), ("temporary", 0o700), ("host", 0o711), (STAGING, 0o711), (EMPTY, 0o755)]
    {
        make_directory(&data.join(name), mode, None)?;
    }
    Ok(())
}

fn make_directory(path: &Path, mode: u32, owner: Option<u32>) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    std::os::unix::fs::chown(path, Some(owner.unwrap_or(0)), Some(owner.unwrap_or(0)))
}

/// Names of roots, and whether with egress, whose trees are being made.
type Begun = Vec<((String, bool), Result<Making, Failure>)>;

/// Begins the trees of all roots that are registered now.
fn begin_templates(config: &HostConfig) -> Begun {
    let roots = config.templates.then(|| shell::read_roots(&config.data_directory.join("roots.json")));
    // A file that cannot be read is reported by the spawners, who need it.
    let Some(Ok(roots)) = roots else { return Vec::new() };
    let (staging, empty) = (config.data_directory.join(STAGING), config.data_directory.join(EMPTY));
    let resolver = resolver(config);
    let ways = if config.egress.is_some() { &[false, true][..] } else { &[false][..] };
    let begin = |name: &String, entries: &Vec<RootEntry>, egress: bool| {
        let resolver = if egress { &resolver } else { "" };
        let begun = Making::begin(&Root { staging: &staging, empty: &empty, entries, resolver });
        ((name.clone(), egress), begun)
    };
    roots
        .iter()
        .flat_map(|(name, entries)| ways.iter().map(move |egress| (name, entries, *egress)))
        .map(|(name, entries, egress)| begin(name, entries, egress))
        .collect()
}

/// One that cannot be made is left out: whoever wants it fails in the same way, and says so.
fn finish_templates(begun: Begun) -> Templates {
    let finished = begun.into_iter().map(|(key, making)| (key, making.and_then(Making::finish)));
    finished
        .filter_map(|(key, made)| match made {
            Ok(template) => Some((key, template)),
            Err(failure) => {
                say(format_args!("root {} is not made ahead: {failure}", key.0));
                None
            }
        })
        .collect()
}

/// `/etc/resolv.conf` of a sandbox with egress.
fn resolver(config: &HostConfig) -> String {
    config.egress.as_ref().map(|egress| egress.resolver.content()).unwrap_or_default()
}

/// The namespace of this kind this process is in.
fn own_namespace(kind: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(format!("/proc/self/ns/{kind}"), flags, Mode::empty())?)
}

fn open(directory: &Path) -> io::Result<OwnedFd> {
    rustix::fs::open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(
        |error| {
            let error = io::Error::from(error);
            io::Error::new(error.kind(), format!("failed to open {}: {error}", directory.display()))
        },
    )
}

impl Keeper {
    /// Forks spawner `index`, whose end of the socket to the daemon is `socket`.
    fn fork_spawner(&mut self, index: usize, socket: OwnedFd) -> io::Result<()> {
        match sys::fork_into(0)? {
            Forked::Child => {
                let status = match self.spawner_context(index, socket) {
                    Ok(context) => spawner::run(&context),
                    Err(error) => {
                        say(format_args!("failed to prepare a spawner: {error}"));
                        1
                    }
                };
                sys::exit_now(status)
            }
            Forked::Parent(pid, _pidfd) => {
                self.spawners[index] = Some(pid);
                Ok(())
            }
        }
    }

    /// Forks spawner `index` again. Gives the daemon's end of its socket.
    fn start_spawner(&mut self, index: usize) -> io::Result<OwnedFd> {
        let (daemon_end, spawner_end) = channel::pair()?;
        self.fork_spawner(index, spawner_end)?;
        Ok(daemon_end)
    }

    fn spawner_context(&self, index: usize, socket: OwnedFd) -> io::Result<SpawnerContext> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        let mut kept = vec![0, 1, 2, socket.as_raw_fd()];
        kept.extend(self.egress.as_ref().map(|egress| egress.host_namespace()));
        kept.extend(self.templates.values().map(Template::descriptor));
        sys::close_all_except(&kept)?;
        // What a predecessor of this spawner left: its processes died with it.
        self.parent.remove_matching(&id_prefix(index))?;
        let data = &self.config.data_directory;
        let roots_file = data.join("roots.json");
        let share = (self.config.uid_count - 1) / u32::try_from(self.spawners.len()).unwrap_or(1);
        Ok(SpawnerContext {
            parent: self.parent.clone(),
            directories: Directories {
                code: open(&data.join("code/unpacked"))?,
                file_systems: open(&data.join("file-systems"))?,
                temporary: data.join("temporary"),
                staging: data.join(STAGING),
                empty: open(&data.join(EMPTY))?,
                empty_path: data.join(EMPTY),
                home: own_namespace("mnt")?,
            },
            templates: Rc::clone(&self.templates),
            roots: shell::read_roots(&roots_file).map_err(|error| {
                io::Error::other(format!("failed to read {}: {error}", roots_file.display()))
            })?,
            roots_file,
            egress: self.egress.clone(),
            resolver: resolver(&self.config),
            seccomp: crate::seccomp::compile(),
            zygote_seccomp: crate::seccomp::compile_for_zygote(),
            init_seccomp: crate::seccomp::compile_for_init(),
            range_first_uid: self.config.first_uid,
            first_uid: self.config.first_uid + 1 + share * u32::try_from(index).unwrap_or(0),
            uid_count: share,
            process_ids: own_namespace("pid")?,
            daemon: socket,
        })
    }

    /// Until the daemon ends; gives its exit status.
    fn watch(&mut self, signals: rustix::fd::BorrowedFd<'_>) -> i32 {
        let filter = self.egress.as_ref().map(|egress| egress.watch());
        if let Some(Err(error)) = &filter {
            say(format_args!("failed to watch the packet filter: {error}"));
        }
        let filter = filter.and_then(Result::ok);
        loop {
            let mut watched = vec![PollFd::new(&signals, PollFlags::IN)];
            watched.extend(filter.as_ref().map(|filter| PollFd::new(filter, PollFlags::IN)));
            if poll(&mut watched, None).is_err() {
                continue;
            }
            let filter_changed = watched.get(1).is_some_and(|filter| !filter.revents().is_empty());
            if filter_changed && let (Some(egress), Some(filter)) = (&self.egress, &filter) {
                match egress.mend(filter.as_fd()) {
                    Ok(false) => {}
                    Ok(true) => {
                        say(format_args!("our packet filter rules were removed and are loaded again"))
                    }
                    Err(error) => say(format_args!("failed to load the packet filter rules again: {error}")),
                }
            }
            while let Some(signal) = sys::read_signal(signals) {
                if matches!(signal, libc::SIGTERM | libc::SIGINT | libc::SIGHUP)
                    && let Some(daemon) = self.daemon
                    && let Some(signal) = Signal::from_named_raw(signal)
                {
                    let _ = rustix::process::kill_process(daemon, signal);
                }
            }
            while let Some((pid, status)) = sys::reap_one() {
                if Some(pid) == self.daemon {
                    return status.exit_status().unwrap_or(1);
                }
                if let Some(index) = self.spawners.iter().position(|spawner| *spawner == Some(pid)) {
                    self.restart_spawner(index);
                }
            }
        }
    }

    fn restart_spawner(&mut self, index: usize) {
        self.spawners[index] = None;
        match self.start_spawner(index) {
            Ok(socket) => {
                let notice = KeeperNotice::SpawnerStarted { index };
                // A failure means the daemon is ending; its end is seen next.
                let _ = channel::send(self.notices.as_fd(), &notice, &[socket.as_fd()]);
            }
            Err(error) => say(format_args!("failed to start a spawner again: {error}")),
        }
    }

    /// Kills the spawners, waits for everything below, and removes the cgroups.
    fn end(&mut self) {
        for spawner in self.spawners.iter().flatten() {
            spawner::kill(*spawner);
        }
        // As the reaper of everything below we see the last process go.
        while rustix::process::wait(rustix::process::WaitOptions::empty()).is_ok_and(|found| found.is_some())
        {
        }
        let _ = self.parent.remove_all();
        if let Some(egress) = &self.egress
            && let Err(error) = egress.remove()
        {
            say(format_args!("failed to remove the packet filter rules: {error}"));
        }
    }
}

/// Writes a line to standard error. One that cannot be written (disk full, pipe closed) is nobody's to read, and no reason to end:
/// everything else ends with the keeper, and `eprintln!` would panic.
fn say(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "lamplight: {text}");
}
