//! A spawner: small, single-threaded, root. Makes shells and volumes on request and cleans up after both.
//!
//! It obeys a closed enum of messages from the unprivileged daemon and resolves every name beneath
//! directories it opened itself. When it dies, everything it made dies with it (parent-death signals).

use super::message::{NestInit, SpawnerReply, SpawnerRequest};
use super::mounts::{self, BindFailure, Binding, Failure, invalid};
use super::nest::{self, NestBirth};
use super::root::Template;
use super::shell::{self, ShellBirth};
use super::sys::{self, Forked};
use super::{channel, identity};
use crate::cgroup;
use crate::network::Egress;
use crate::spec::{Code, RootEntry};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::process::{Pid, Signal};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::rc::Rc;

/// How long a removal that found its cgroup still busy waits before it is tried again.
const REMOVAL_RETRY: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };

/// The finished trees of roots, by name and whether with egress.
pub type Templates = BTreeMap<(String, bool), Template>;

/// What a spawner and its shells share, opened before the first request.
pub struct SpawnerContext {
    /// Where the cgroups of this platform live.
    pub parent: cgroup::Parent,
    /// Where everything below is found.
    pub directories: Directories,
    /// Finished trees of the roots that were registered when the server started, by name and whether with egress.
    pub templates: Rc<Templates>,
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
    /// That of zygotes.
    pub zygote_seccomp: crate::seccomp::Filter,
    /// That of the inits of nests.
    pub init_seccomp: crate::seccomp::Filter,
    /// First host uid of the server's range.
    pub range_first_uid: u32,
    /// First host uid this spawner may hand out.
    pub first_uid: u32,
    /// How many it may hand out.
    pub uid_count: u32,
    /// The spawner's own pid namespace.
    pub process_ids: OwnedFd,
    /// Our end of the socket to the daemon.
    pub daemon: OwnedFd,
}

/// Directories of the privileged side, opened in the mount namespace of spawner and shells: the kernel lets a process clone or
/// overlay only mounts of the namespace it is in.
pub struct Directories {
    /// Unpacked code.
    pub code: OwnedFd,
    /// Durable directories.
    pub file_systems: OwnedFd,
    /// Volume templates.
    pub temporary: PathBuf,
    /// An empty directory to build roots on.
    pub staging: PathBuf,
    /// Another empty directory.
    pub empty: OwnedFd,
    /// Its path, for whoever is in another mount namespace.
    pub empty_path: PathBuf,
    /// That mount namespace.
    pub home: OwnedFd,
}

struct Shell {
    id: String,
    uid: u32,
    cgroups: cgroup::Set,
    /// Of its init. That of a nest is known a while after its maker was started.
    pidfd: Option<OwnedFd>,
    /// Where the maker of a nest says who the init is.
    nest: Option<OwnedFd>,
    /// The init of a nest whose maker is still there.
    init: Option<Pid>,
}

/// What every sandbox has before its first process.
struct Prepared {
    cgroups: cgroup::Set,
    files: Vec<OwnedFd>,
    daemon_end: OwnedFd,
    control: OwnedFd,
}

impl Shell {
    /// Learns who the init of a nest is, once its maker has said so.
    fn learn_init(&mut self) {
        let Some(report) = &self.nest else { return };
        if let Ok(Some((NestInit { pid }, descriptors))) = channel::receive_now(report.as_fd()) {
            self.pidfd = descriptors.into_iter().next();
            self.init = Pid::from_raw(pid);
            self.nest = None;
        }
    }
}

/// The life of a spawner. Gives its exit status.
pub fn run(context: &SpawnerContext) -> i32 {
    sys::set_process_name(c"lamplight-spawn");
    let signals = match sys::signal_descriptor(&[libc::SIGCHLD]) {
        Ok(signals) => signals,
        Err(_) => return 1,
    };
    let mut spawner = Spawner {
        context,
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
            SpawnerRequest::MakeNest { id, zygote } => {
                if let Err(message) = self.make_nest(&id, &zygote) {
                    self.reply(&SpawnerReply::ShellFailed { id, message }, &[]);
                }
            }
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

    fn bind(&mut self, id: &str, code: &Code) -> Result<(), BindFailure> {
        let unknown = || BindFailure::Failed(invalid("bind code", "this spawner has no sandbox of that id"));
        let shell = self.shells.values_mut().find(|shell| shell.id == id).ok_or_else(unknown)?;
        shell.learn_init();
        let directories = &self.context.directories;
        mounts::bind_code(&Binding {
            process: shell.pidfd.as_ref().ok_or_else(unknown)?.as_fd(),
            home: directories.home.as_fd(),
            code_directory: directories.code.as_fd(),
            code,
            empty: directories.empty.as_fd(),
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
        let uid = self.begin(id)?;
        let made = self.fork_shell(id, uid);
        if made.is_err() {
            self.used_uids.remove(&uid);
        }
        made
    }

    fn make_nest(&mut self, id: &str, zygote: &str) -> Result<(), String> {
        let parent = self.find(zygote).ok_or("this spawner has no zygote of that id")?;
        let (owner, pidfd) = (parent.uid, parent.pidfd.as_ref().and_then(|pidfd| pidfd.try_clone().ok()));
        let zygote = pidfd.ok_or("the zygote's descriptor could not be copied")?;
        let uid = self.begin(id)?;
        let made = self.fork_nest(id, uid, owner, zygote);
        if made.is_err() {
            self.used_uids.remove(&uid);
        }
        made
    }

    fn find(&self, id: &str) -> Option<&Shell> {
        self.shells.values().find(|shell| shell.id == id)
    }

    /// A uid for a new sandbox of this id.
    fn begin(&mut self, id: &str) -> Result<u32, String> {
        if id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("the sandbox id is not 32 hexadecimal digits".to_owned());
        }
        Ok(self.take_uid().ok_or("all user ids of the configured range are in use")?)
    }

    fn prepare(&self, id: &str) -> Result<Prepared, String> {
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
        match made() {
            Ok((files, daemon_end, control)) => {
                Ok(Prepared { cgroups, files: files.into_fds(), daemon_end, control })
            }
            Err(error) => {
                let _ = cgroups.remove();
                Err(format!("failed to prepare a sandbox: {error}"))
            }
        }
    }

    fn fork_shell(&mut self, id: &str, uid: u32) -> Result<(), String> {
        let user_namespace = identity::make_user_namespace(uid).map_err(|failure| failure.to_string())?;
        let Prepared { cgroups, files, daemon_end, control } = self.prepare(id)?;
        let mut birth = ShellBirth { control, user_namespace, cgroups, born_inside: false, uid };
        let namespaces = libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWNET;
        match fork_member(namespaces as u64, &birth.cgroups, &mut birth.born_inside) {
            Ok(Forked::Child) => {
                drop(daemon_end);
                shell::run(self.context, &birth)
            }
            Ok(Forked::Parent(pid, pidfd)) => {
                self.announce(id, &daemon_end, &pidfd, &files);
                let (cgroups, pidfd) = (birth.cgroups, Some(pidfd));
                let shell = Shell { id: id.to_owned(), uid, cgroups, pidfd, nest: None, init: None };
                self.shells.insert(pid, shell);
                Ok(())
            }
            Err(error) => {
                let _ = birth.cgroups.remove();
                Err(format!("failed to fork a shell: {error}"))
            }
        }
    }

    fn fork_nest(&mut self, id: &str, uid: u32, owner: u32, zygote: OwnedFd) -> Result<(), String> {
        let (ours, report) =
            channel::pair().map_err(|error| format!("failed to make a socket pair: {error}"))?;
        let Prepared { cgroups, files, daemon_end, control } = self.prepare(id)?;
        let mut birth = NestBirth { control, report, owner, cgroups, born_inside: false, uid };
        let forked = sys::enter_namespace(&zygote, libc::CLONE_NEWPID)
            .and_then(|()| fork_member(0, &birth.cgroups, &mut birth.born_inside));
        // What it forks next is not for there. The keeper starts another spawner when this one cannot come back.
        if !matches!(forked, Ok(Forked::Child))
            && sys::enter_namespace(&self.context.process_ids, libc::CLONE_NEWPID).is_err()
        {
            sys::exit_now(1);
        }
        match forked {
            Ok(Forked::Child) => {
                drop((daemon_end, ours));
                nest::run(self.context, &birth)
            }
            Ok(Forked::Parent(pid, maker)) => {
                self.announce(id, &daemon_end, &maker, &files);
                let (cgroups, nest) = (birth.cgroups, Some(ours));
                let shell = Shell { id: id.to_owned(), uid, cgroups, pidfd: None, nest, init: None };
                self.shells.insert(pid, shell);
                Ok(())
            }
            Err(error) => {
                let _ = birth.cgroups.remove();
                Err(format!("failed to fork a nest: {error}"))
            }
        }
    }

    fn announce(&self, id: &str, daemon_end: &OwnedFd, pidfd: &OwnedFd, files: &[OwnedFd]) {
        let mut descriptors = vec![daemon_end.as_fd(), pidfd.as_fd()];
        descriptors.extend(files.iter().map(AsFd::as_fd));
        self.reply(&SpawnerReply::ShellMade { id: id.to_owned() }, &descriptors);
    }

    fn reap(&mut self) {
        while let Some((pid, _)) = sys::reap_one() {
            let Some(mut shell) = self.shells.remove(&pid) else { continue };
            shell.learn_init();
            match (shell.init.take(), &shell.pidfd) {
                // The maker of a nest has done its work: from here on its init is what ends. Unless that ended before.
                (Some(init), Some(pidfd)) if init != pid && !sys::has_ended(pidfd.as_fd()) => {
                    self.shells.insert(init, shell);
                }
                _ => self.ended.push(shell),
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

/// Forks; where the kernel can, the child is born in the set's birthplace, which `born_inside` then says.
fn fork_member(namespaces: u64, cgroups: &cgroup::Set, born_inside: &mut bool) -> io::Result<Forked> {
    *born_inside = true;
    let forked = cgroups.open_birthplace().and_then(|place| sys::fork_into_cgroup(namespaces, place.as_fd()));
    if forked.is_ok() {
        return forked;
    }
    *born_inside = false;
    sys::fork_into(namespaces)
}

/// Kills a child of the keeper or a spawner that is known to live.
pub fn kill(pid: Pid) {
    let _ = rustix::process::kill_process(pid, Signal::KILL);
}
