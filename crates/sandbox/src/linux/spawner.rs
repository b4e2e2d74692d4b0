//! A spawner: small, single-threaded, root. Makes shells and volumes on request and cleans up after both.
//!
//! It obeys a closed enum of messages from the unprivileged daemon and resolves every name beneath
//! directories it opened itself. When it dies, everything it made dies with it (parent-death signals).

use super::message::{SpawnerReply, SpawnerRequest};
use super::mounts::{self, BindFailure, Binding, Doing as _, Failure, invalid};
use super::shell::{self, ShellBirth};
use super::sys::{self, Forked};
use super::{channel, identity};
use crate::cgroup;
use crate::network::Egress;
use crate::spec::RootEntry;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::rc::Rc;

/// How long a removal that found its cgroup still busy waits before it is tried again.
const REMOVAL_RETRY: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };

/// What a spawner and its shells share, opened before the first request.
pub struct SpawnerContext {
    /// Where the cgroups of this platform live.
    pub parent: cgroup::Parent,
    /// Where everything below is found.
    pub directories: Directories,
    /// Roots as registered when the spawner started.
    pub roots: BTreeMap<String, Vec<RootEntry>>,
    /// Where roots registered later are found.
    pub roots_file: PathBuf,
    /// The way out for sandboxes with egress; `None` when the server is configured without.
    pub egress: Option<Rc<Egress>>,
    /// Content of `/etc/resolv.conf` in a sandbox with egress.
    pub resolver: String,
    /// The compiled system call filter.
    pub seccomp: crate::seccomp::Filter,
    /// First host uid of the server's range.
    pub range_first_uid: u32,
    /// First host uid this spawner may hand out.
    pub first_uid: u32,
    /// How many it may hand out.
    pub uid_count: u32,
    /// Our end of the socket to the daemon.
    pub daemon: OwnedFd,
}

/// Directories of the privileged side, opened by each shell in its own mount namespace: the kernel lets a
/// process clone or overlay only mounts of the namespace it is in.
pub struct Directories {
    /// Unpacked code.
    pub code: PathBuf,
    /// Durable directories.
    pub file_systems: PathBuf,
    /// Volume templates.
    pub temporary: PathBuf,
    /// An empty directory to build roots on.
    pub staging: PathBuf,
    /// Another empty directory.
    pub empty: PathBuf,
}

struct Shell {
    id: String,
    uid: u32,
    cgroups: cgroup::Set,
    pidfd: OwnedFd,
}

/// What binding code late needs, opened in the spawner's own mount namespace.
struct BindSources {
    home: OwnedFd,
    code: OwnedFd,
    empty: OwnedFd,
}

impl BindSources {
    fn open(directories: &Directories) -> Result<Self, Failure> {
        let home = rustix::fs::open("/proc/self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .doing(|| "open the mount namespace".to_owned())?;
        Ok(Self { home, code: shell::open(&directories.code)?, empty: shell::open(&directories.empty)? })
    }
}

/// The life of a spawner. Gives its exit status.
pub fn run(context: &SpawnerContext) -> i32 {
    sys::set_process_name(c"lamplight-spawn");
    let signals = match sys::signal_descriptor(&[libc::SIGCHLD]) {
        Ok(signals) => signals,
        Err(_) => return 1,
    };
    let sources = match BindSources::open(&context.directories) {
        Ok(sources) => sources,
        Err(_) => return 1,
    };
    let mut spawner = Spawner {
        context,
        sources,
        shells: HashMap::new(),
        ended: Vec::new(),
        next_uid: 0,
        used_uids: std::collections::HashSet::new(),
        templates: HashMap::new(),
    };
    loop {
        let timeout = (!spawner.ended.is_empty()).then_some(REMOVAL_RETRY);
        let mut watched = [PollFd::new(&context.daemon, PollFlags::IN), PollFd::new(&signals, PollFlags::IN)];
        if poll(&mut watched, timeout.as_ref()).is_err() {
            continue;
        }
        let asked = !watched[0].revents().is_empty();
        while sys::read_signal(signals.as_fd()).is_some() {}
        spawner.reap();
        spawner.remove_ended();
        if asked {
            match channel::receive::<SpawnerRequest>(context.daemon.as_fd()) {
                Ok(Some((request, _))) => {
                    if spawner.serve(request).is_break() {
                        return 1;
                    }
                }
                Ok(None) | Err(_) => return 0, // The daemon is gone; parent-death signals do the rest.
            }
        }
    }
}

struct Spawner<'a> {
    context: &'a SpawnerContext,
    sources: BindSources,
    shells: HashMap<Pid, Shell>,
    /// Ended, but their cgroups could not be removed yet.
    ended: Vec<Shell>,
    next_uid: u32,
    used_uids: std::collections::HashSet<u32>,
    templates: HashMap<u32, crate::temporary::Template>,
}

impl Spawner<'_> {
    /// Breaks when the process must end: the keeper starts another.
    fn serve(&mut self, request: SpawnerRequest) -> ControlFlow<()> {
        match request {
            SpawnerRequest::MakeShell { id } => {
                if let Err(message) = self.make_shell(&id) {
                    self.reply(&SpawnerReply::ShellFailed { id, message }, &[]);
                }
            }
            SpawnerRequest::MakeVolume { request, size_mib } => match self.make_volume(size_mib) {
                Ok(device) => self.reply(&SpawnerReply::VolumeMade { request }, &[device.as_fd()]),
                Err(error) => self.reply(
                    &SpawnerReply::VolumeFailed {
                        request,
                        message: format!("failed to make a volume of {size_mib} MiB: {error}"),
                    },
                    &[],
                ),
            },
            SpawnerRequest::Bind { id, code } => match self.bind(&id, &code) {
                Ok(()) => self.reply(&SpawnerReply::Bound { id }, &[]),
                Err(BindFailure::Failed(Failure { step, message, invalid })) => {
                    self.reply(&SpawnerReply::BindFailed { id, step, message, invalid }, &[]);
                }
                Err(BindFailure::Stranded) => return ControlFlow::Break(()),
            },
        }
        ControlFlow::Continue(())
    }

    fn bind(&self, id: &str, code: &str) -> Result<(), BindFailure> {
        let shell = self.shells.values().find(|shell| shell.id == id);
        let shell = shell.ok_or_else(|| {
            BindFailure::Failed(invalid("bind code", "this spawner has no sandbox of that id"))
        })?;
        mounts::bind_code(&Binding {
            process: shell.pidfd.as_fd(),
            home: self.sources.home.as_fd(),
            code_directory: self.sources.code.as_fd(),
            code,
            empty: self.sources.empty.as_fd(),
        })
    }

    fn reply(&self, reply: &SpawnerReply, descriptors: &[BorrowedFd<'_>]) {
        // A failure means the daemon is gone, which the next receive notices.
        let _ = channel::send(self.context.daemon.as_fd(), reply, descriptors);
    }

    fn make_volume(&mut self, size_mib: u32) -> io::Result<OwnedFd> {
        let template = match self.templates.entry(size_mib) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => entry
                .insert(crate::temporary::Template::prepare(&self.context.directories.temporary, size_mib)?),
        };
        template.instantiate()
    }

    /// A uid that no live sandbox of this spawner has, taken round robin so that reuse is late.
    fn take_uid(&mut self) -> Option<u32> {
        for _ in 0..self.context.uid_count {
            let uid = self.context.first_uid + self.next_uid;
            self.next_uid = (self.next_uid + 1) % self.context.uid_count;
            if self.used_uids.insert(uid) {
                return Some(uid);
            }
        }
        None
    }

    fn make_shell(&mut self, id: &str) -> Result<(), String> {
        if id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("the sandbox id is not 32 hexadecimal digits".to_owned());
        }
        let uid = self.take_uid().ok_or("all user ids of the configured range are in use")?;
        let made = self.fork_shell(id, uid);
        if made.is_err() {
            self.used_uids.remove(&uid);
        }
        made
    }

    fn fork_shell(&mut self, id: &str, uid: u32) -> Result<(), String> {
        let user_namespace = identity::make_user_namespace(uid)
            .map_err(|failure| format!("failed to {}: {}", failure.step, failure.message))?;
        let cgroups = self
            .context
            .parent
            .create(id)
            .map_err(|error| format!("failed to create the cgroups of a sandbox: {error}"))?;
        let made = || -> io::Result<_> {
            let files = cgroups.open_files()?;
            let (daemon_end, shell_end) = channel::pair()?;
            Ok((files, daemon_end, shell_end))
        };
        let (files, daemon_end, shell_end) = match made() {
            Ok(made) => made,
            Err(error) => {
                let _ = cgroups.remove();
                return Err(format!("failed to prepare a sandbox: {error}"));
            }
        };
        let birth = ShellBirth { control: shell_end, user_namespace, cgroups, uid };
        let namespaces = libc::CLONE_NEWPID
            | libc::CLONE_NEWNS
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWUTS
            | libc::CLONE_NEWNET;
        match sys::fork_into(namespaces as u64) {
            Ok(Forked::Child) => {
                drop(daemon_end);
                shell::run(self.context, &birth)
            }
            Ok(Forked::Parent(pid, pidfd)) => {
                let files = files.into_fds();
                let mut descriptors = vec![daemon_end.as_fd(), pidfd.as_fd()];
                descriptors.extend(files.iter().map(AsFd::as_fd));
                self.reply(&SpawnerReply::ShellMade { id: id.to_owned() }, &descriptors);
                self.shells.insert(pid, Shell { id: id.to_owned(), uid, cgroups: birth.cgroups, pidfd });
                Ok(())
            }
            Err(error) => {
                let _ = birth.cgroups.remove();
                Err(format!("failed to fork a shell: {error}"))
            }
        }
    }

    fn reap(&mut self) {
        while let Some((pid, _)) = sys::reap_one() {
            if let Some(shell) = self.shells.remove(&pid) {
                self.ended.push(shell);
            }
        }
    }

    fn remove_ended(&mut self) {
        for shell in std::mem::take(&mut self.ended) {
            if shell.cgroups.remove().is_err() {
                // Members that died with the pid namespace leave the cgroup a moment later.
                self.ended.push(shell);
                continue;
            }
            self.used_uids.remove(&shell.uid);
            self.reply(&SpawnerReply::Gone { id: shell.id }, &[]);
        }
    }
}

/// Kills a child of the keeper or a spawner that is known to live.
pub fn kill(pid: Pid) {
    let _ = rustix::process::kill_process(pid, Signal::KILL);
}
