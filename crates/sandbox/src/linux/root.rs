//! What the file trees of all sandboxes of one root have in common, made once and copied.
//!
//! ```text
//! keeper, for each root ─► a process: own mount namespace ─► tmpfs, binds, /etc, /dev ─► pivot_root ─► sealed ─► ends
//!                          its mount namespace stays, held by a descriptor: the template
//! shell, maker of a nest ─► setns into the template ─► unshare: a copy of it, to which `mounts` adds the sandbox's own
//! ```
//!
//! Copying a mount namespace takes a quarter of the processor time of building the tree (docs/performance.md, "File tree"), and
//! every kernel does it; cloning a detached tree takes more and needs Linux 6.15. What a nest copies is locked besides: its user
//! namespace is not the template's, so nobody in it could undo a part (mount_namespaces(7)).
//!
//! All mounts are made by host root in a mount namespace the host's user namespace owns: nothing inside can undo them (measured: a
//! uid 0 inside a namespace that owns its mounts could clear read-only).

use super::channel;
use super::identity::{INSIDE_GROUP, INSIDE_USER};
use super::mounts::{Doing, Failure, Inode, READ_ONLY, clone_mount, hidden, invalid, move_onto};
use super::sys::{self, Forked};
use crate::spec::RootEntry;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::process::{Pid, Signal, WaitOptions};
use std::io;
use std::path::{Path, PathBuf};

/// Directories of libraries that code bound late may bring. The dynamic linker looks for those of `LD_LIBRARY_PATH` once, when
/// an interpreter starts, and never again for one that was not there (glibc, elf/dl-load.c, `open_path`).
const LIBRARIES: [&str; 2] = ["opt/lib", "var/task/lib"];

/// Top-level names that are links into `/usr` on a merged-usr host, and are made the same inside.
const TOP_LEVEL_LINKS: [&str; 5] = ["bin", "sbin", "lib", "lib64", "lib32"];

/// What a root is made of.
pub struct Root<'a> {
    /// An empty directory of the host to mount on (invisible to others: the namespace is private).
    pub staging: &'a Path,
    /// An empty directory, the second layer of hiding overlays.
    pub empty: &'a Path,
    /// The root's entries.
    pub entries: &'a [RootEntry],
    /// `/etc/resolv.conf`.
    pub resolver: &'a str,
}

/// The finished tree of one root.
pub struct Template {
    namespace: OwnedFd,
    /// What each entry was when the tree was made.
    sources: Vec<(PathBuf, Option<Inode>)>,
}

/// This process stands in a tree that others are copied from, or in one it made for itself: nothing may be mounted before it has a
/// copy.
#[must_use]
pub struct Standing(());

impl Standing {
    /// Gives this process a mount namespace of its own with the tree in it.
    pub fn copy(self) -> Result<(), Failure> {
        sys::unshare(libc::CLONE_NEWNS).doing(|| "copy the root".to_owned())
    }

    /// Forks a sibling of this process that has one, and other new namespaces (`CLONE_NEW*` bits) with it. This process stays where
    /// it is.
    pub fn fork_copy(self, others: i32) -> Result<Forked, Failure> {
        sys::fork_sibling_into(libc::CLONE_NEWNS | others).doing(|| "make the namespaces".to_owned())
    }
}

/// A template that is being made.
pub struct Making {
    process: Pid,
    /// Where the process says that the tree stands, and waits for its namespace to be held.
    control: OwnedFd,
    sources: Vec<(PathBuf, Option<Inode>)>,
}

impl Making {
    /// Starts a process that makes the tree, from a single-threaded one. Several may be under way: most of the time passes in waits
    /// of the kernel.
    pub fn begin(root: &Root<'_>) -> Result<Self, Failure> {
        let sources = root.entries.iter().map(|entry| (entry.host.clone(), Inode::at(&entry.host))).collect();
        let (control, theirs) = channel::pair().doing(|| "make a socket pair".to_owned())?;
        match sys::fork_into(0).doing(|| "start a process".to_owned())? {
            Forked::Child => {
                let alone = rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
                    .map_err(io::Error::from)
                    .and_then(|()| sys::close_all_except(&[2, theirs.as_raw_fd()]))
                    .doing(|| "begin a root".to_owned());
                let outcome = alone.and_then(|()| build_here(root)).map(|Standing(())| ());
                let told = channel::send(&theirs, &outcome.map_err(|failure| failure.to_string()), &[]);
                let _ = told.and_then(|()| channel::receive::<()>(&theirs));
                sys::exit_now(0)
            }
            Forked::Parent(process, _) => Ok(Self { process, control, sources }),
        }
    }

    /// Waits for the tree.
    pub fn finish(self) -> Result<Template, Failure> {
        let failed = |message| Failure { step: "make a root".to_owned(), message, invalid: false };
        let outcome = channel::receive::<Result<(), String>>(&self.control);
        let namespace = match outcome.doing(|| "make a root".to_owned())? {
            Some((Ok(()), _)) => rustix::fs::open(
                format!("/proc/{}/ns/mnt", self.process.as_raw_nonzero()),
                OFlags::RDONLY | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .doing(|| "open the root's namespace".to_owned()),
            Some((Err(message), _)) => Err(failed(message)),
            None => Err(failed("its process ended early".to_owned())),
        };
        drop(self.control);
        let _ = rustix::process::waitpid(Some(self.process), WaitOptions::empty());
        Ok(Template { namespace: namespace?, sources: self.sources })
    }
}

impl Template {
    /// Whether the entries' paths still name what the tree was made of. To be asked in the host's view of its files: a runtime that
    /// was installed anew under its name, or a directory that was not there, must be found by the next sandbox.
    pub fn is_current(&self) -> bool {
        self.sources.iter().all(|(path, source)| Inode::at(path) == *source)
    }

    /// Enters the tree. The way back is cut for a process that holds no other mount namespace.
    pub fn enter(&self) -> Result<Standing, Failure> {
        sys::enter_namespace(&self.namespace, libc::CLONE_NEWNS).doing(|| "enter the root".to_owned())?;
        Ok(Standing(()))
    }

    /// The descriptor that must stay open in every process that calls [`enter`](Self::enter).
    pub fn descriptor(&self) -> i32 {
        self.namespace.as_raw_fd()
    }
}

/// Builds the tree in a new mount namespace and makes it the root of this process, which sees no more of the host then.
pub fn build_here(root: &Root<'_>) -> Result<Standing, Failure> {
    sys::unshare(libc::CLONE_NEWNS).doing(|| "make a mount namespace".to_owned())?;
    let empty =
        rustix::fs::open(root.empty, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .doing(|| format!("open {}", root.empty.display()))?;
    let staging = root.staging;
    rustix::mount::mount(
        "lamplight",
        staging,
        "tmpfs",
        MountFlags::NOSUID | MountFlags::NODEV,
        Some(c"size=1m,nr_inodes=1024,mode=0755"),
    )
    .doing(|| "mount the root".to_owned())?;
    for directory in [
        "proc",
        "dev",
        "etc",
        "tmp",
        "opt",
        "var",
        "var/task",
        "var/compiled",
        "var/runtime",
        "var/lang",
        "mnt",
        "usr",
        "run",
    ] {
        make_directory(&staging.join(directory))?;
    }
    for name in TOP_LEVEL_LINKS {
        if let Ok(target) = std::fs::read_link(Path::new("/").join(name)) {
            std::os::unix::fs::symlink(&target, staging.join(name)).doing(|| format!("link /{name}"))?;
        }
    }
    synthetic_etc(&staging.join("etc"), root.resolver)?;
    for entry in root.entries {
        mount_entry(staging, entry, empty.as_fd())?;
    }
    for directory in LIBRARIES {
        make_directory(&staging.join(directory))?;
    }
    devices(&staging.join("dev"))?;
    rustix::process::chdir(staging).doing(|| "enter the new root".to_owned())?;
    rustix::process::pivot_root(".", ".").doing(|| "pivot into the new root".to_owned())?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).doing(|| "leave the old root".to_owned())?;
    rustix::process::chdir("/").doing(|| "enter the new root".to_owned())?;
    seal(Path::new("/"), READ_ONLY)?;
    Ok(Standing(()))
}

fn make_directory(path: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(path).doing(|| format!("create {}", path.display()))
}

/// Sets attributes on the mount at `path`.
fn seal(path: &Path, attributes: u64) -> Result<(), Failure> {
    let mount = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .doing(|| format!("open {}", path.display()))?;
    sys::mount_setattr(mount.as_fd(), attributes, None).doing(|| format!("seal {}", path.display()))
}

/// A read-only bind of an entry of the root list.
fn mount_entry(root: &Path, entry: &RootEntry, empty: BorrowedFd<'_>) -> Result<(), Failure> {
    let inside = entry.inside.strip_prefix("/").unwrap_or(&entry.inside);
    if inside.components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
        return Err(invalid(
            "mount the root list",
            format!("{} is not a plain path", entry.inside.display()),
        ));
    }
    let target: PathBuf = root.join(inside);
    let source = match rustix::fs::open(&entry.host, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Ok(source) => source,
        // An entry of the shared list that this host does not have (for example /usr/lib64) is no wall less.
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error).doing(|| format!("open {}", entry.host.display())),
    };
    let is_directory = rustix::fs::fstat(&source)
        .map(|status| rustix::fs::FileType::from_raw_mode(status.st_mode).is_dir())
        .doing(|| format!("look at {}", entry.host.display()))?;
    if is_directory {
        make_directory(&target)?;
    } else {
        if let Some(parent) = target.parent() {
            make_directory(parent)?;
        }
        std::fs::File::create(&target).doing(|| format!("create {}", target.display()))?;
    }
    if entry.hide && is_directory {
        let mount = hidden(&[source], empty, &entry.inside.to_string_lossy())?;
        return move_onto(mount.as_fd(), &target);
    }
    let mount = clone_mount(source.as_fd()).doing(|| format!("clone {}", entry.host.display()))?;
    sys::mount_setattr(mount.as_fd(), READ_ONLY, None)
        .doing(|| format!("make {} read-only", entry.host.display()))?;
    move_onto(mount.as_fd(), &target)
}

/// The device nodes a program may expect, on a tmpfs of their own.
fn devices(target: &Path) -> Result<(), Failure> {
    rustix::mount::mount(
        "lamplight",
        target,
        "tmpfs",
        MountFlags::NOSUID | MountFlags::NOEXEC,
        Some(c"size=4k,nr_inodes=32,mode=0755"),
    )
    .doing(|| "mount /dev".to_owned())?;
    for (name, major, minor) in
        [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9)]
    {
        let path = target.join(name);
        rustix::fs::mknodat(
            CWD,
            &path,
            rustix::fs::FileType::CharacterDevice,
            Mode::from(0o666),
            rustix::fs::makedev(major, minor),
        )
        .doing(|| format!("create /dev/{name}"))?;
        // mknod applies the umask; everybody may use these.
        rustix::fs::chmodat(CWD, &path, Mode::from(0o666), rustix::fs::AtFlags::empty())
            .doing(|| format!("open up /dev/{name}"))?;
    }
    for (name, to) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        std::os::unix::fs::symlink(to, target.join(name)).doing(|| format!("link /dev/{name}"))?;
    }
    seal(target, libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC)
}

/// Accounts, hosts and resolver that tell nothing about this host.
fn synthetic_etc(etc: &Path, resolver: &str) -> Result<(), Failure> {
    let user = format!(
        "root:x:0:0:root:/root:/sbin/nologin\n\
         sbx_user1051:x:{INSIDE_USER}:{INSIDE_GROUP}::/home/sbx_user1051:/sbin/nologin\n"
    );
    let group = format!("root:x:0:\nsbx_user1051:x:{INSIDE_GROUP}:\n");
    let files: [(&str, &str); 6] = [
        ("passwd", &user),
        ("group", &group),
        ("hosts", "127.0.0.1 localhost sandbox.localdomain sandbox\n::1 localhost\n"),
        ("resolv.conf", resolver),
        ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
        ("hostname", "sandbox\n"),
    ];
    for (name, content) in files {
        std::fs::write(etc.join(name), content).doing(|| format!("write /etc/{name}"))?;
    }
    Ok(())
}
