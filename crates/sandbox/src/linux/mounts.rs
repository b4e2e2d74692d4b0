//! What a sandbox has for itself in its file tree: `/proc`, `/tmp`, code, durable directories.
//!
//! Each is a detached mount, made by host root where the host's files are seen, and moved to its place in the copy of a root
//! (`root.rs`). Code is bound in a running sandbox in the same way.

use super::identity::{INSIDE_GROUP, INSIDE_USER};
use super::sys;
use crate::spec::{Code, FileSystemMount};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};
use std::fmt;
use std::io;
use std::path::Path;

/// A failed step: what was being done, and why it did not work.
#[derive(Debug)]
pub struct Failure {
    /// What was being done, to what.
    pub step: String,
    /// The operating system's text.
    pub message: String,
    /// Whether the request itself was at fault.
    pub invalid: bool,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "failed to {}: {}", self.step, self.message)
    }
}

/// A file or directory, whatever its name is.
#[derive(Debug, PartialEq, Eq)]
pub struct Inode {
    device: u64,
    number: u64,
}

impl Inode {
    /// What the path names now; `None` when nothing.
    pub fn at(path: &Path) -> Option<Self> {
        let status = rustix::fs::stat(path).ok()?;
        Some(Self { device: status.st_dev, number: status.st_ino })
    }
}

/// Names the step in front of an operating-system error.
pub trait Doing<Value> {
    /// `step` is only evaluated on failure.
    fn doing(self, step: impl FnOnce() -> String) -> Result<Value, Failure>;
}

impl<Value, Error: Into<io::Error>> Doing<Value> for Result<Value, Error> {
    fn doing(self, step: impl FnOnce() -> String) -> Result<Value, Failure> {
        self.map_err(|error| Failure { step: step(), message: error.into().to_string(), invalid: false })
    }
}

/// A request that names what it may not.
pub fn invalid(step: impl Into<String>, message: impl Into<String>) -> Failure {
    Failure { step: step.into(), message: message.into(), invalid: true }
}

/// What is not for the sandbox to write.
pub const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
const READ_WRITE: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;

/// Where a function's code is inside.
const CODE: &str = "/var/task";
/// Where what was compiled of it is.
const COMPILED: &str = "/var/compiled";
/// Where its layers are.
const LAYERS: &str = "/opt";
/// Most layers of one sandbox. Source: Lambda quotas, "Function layers".
const MOST_LAYERS: usize = 5;
/// Where durable directories are.
const DURABLE: &str = "/mnt";

/// Everything a sandbox has for itself.
pub struct Own<'a> {
    /// An empty directory, the second layer of hiding overlays.
    pub empty: BorrowedFd<'a>,
    /// Directory that holds unpacked code.
    pub code_directory: BorrowedFd<'a>,
    /// Names beneath it.
    pub code: Option<&'a Code>,
    /// Directory that holds durable directories.
    pub file_system_directory: BorrowedFd<'a>,
    /// Which of them.
    pub file_systems: &'a [FileSystemMount],
    /// `/proc` of the sandbox's process ids, begun by one of them.
    pub processes: OwnedFd,
    /// A detached mount for `/tmp`.
    pub temporary: OwnedFd,
    /// Owner inside of what is durable: user namespace for id mapping.
    pub user_namespace: BorrowedFd<'a>,
}

/// Detached mounts and where they go, in this order.
pub struct Detached(Vec<(OwnedFd, String)>);

impl Own<'_> {
    /// Makes the mounts, in the mount namespace the directories were opened in: the kernel lets a process clone or overlay only what
    /// is in its own.
    pub fn prepare(self) -> Result<Detached, Failure> {
        let mut mounts = Vec::new();
        if let Some(code) = self.code {
            let made = code_mounts(self.code_directory, code, self.empty)?;
            mounts.extend(made.into_iter().map(|(mount, target)| (mount, target.to_owned())));
        }
        self.durable(&mut mounts)?;
        mounts.push((make_processes(self.processes)?, "/proc".to_owned()));
        mounts.push((self.temporary, "/tmp".to_owned()));
        Ok(Detached(mounts))
    }

    /// The durable directories, on a tmpfs of their own: the tree they are to appear in is every sandbox's.
    fn durable(&self, mounts: &mut Vec<(OwnedFd, String)>) -> Result<(), Failure> {
        if self.file_systems.is_empty() {
            return Ok(());
        }
        let names = self.file_systems.iter().map(durable_name).collect::<Result<Vec<_>, _>>()?;
        let points = mount_points(&names)?;
        mounts.push((points, DURABLE.to_owned()));
        for (wanted, name) in self.file_systems.iter().zip(names) {
            mounts.push((self.file_system(wanted)?, format!("{DURABLE}/{name}")));
        }
        Ok(())
    }

    /// A durable directory, read-write, whose files belong to the inside user in every sandbox (idmapped mount).
    fn file_system(&self, wanted: &FileSystemMount) -> Result<OwnedFd, Failure> {
        match rustix::fs::mkdirat(self.file_system_directory, wanted.directory.as_str(), Mode::from(0o755)) {
            Ok(()) => {
                let made = open_beneath(self.file_system_directory, &wanted.directory)?;
                rustix::fs::chownat(
                    made.as_fd(),
                    c"",
                    Some(rustix::fs::Uid::from_raw(INSIDE_USER)),
                    Some(rustix::fs::Gid::from_raw(INSIDE_GROUP)),
                    rustix::fs::AtFlags::EMPTY_PATH,
                )
                .doing(|| format!("give away file system {}", wanted.directory))?;
            }
            Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error).doing(|| format!("create file system {}", wanted.directory)),
        }
        let source = open_beneath(self.file_system_directory, &wanted.directory)?;
        let mount =
            clone_mount(source.as_fd()).doing(|| format!("clone file system {}", wanted.directory))?;
        sys::mount_setattr(mount.as_fd(), READ_WRITE, Some(self.user_namespace)).doing(|| {
            format!("map the owner of file system {} (the data directory's file system must support idmapped mounts, e.g. ext4, xfs, btrfs)", wanted.directory)
        })?;
        Ok(mount)
    }
}

impl Detached {
    /// Puts them in their places in the tree this process stands in.
    pub fn attach(self) -> Result<(), Failure> {
        self.0.iter().try_for_each(|(mount, target)| move_onto(mount.as_fd(), Path::new(target)))
    }
}

/// Begins a `/proc` of the process ids of this process. Whoever may mount where it is can make it.
pub fn begin_processes() -> Result<OwnedFd, Failure> {
    rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC).doing(|| "begin /proc".to_owned())
}

/// Makes it, detached. In a namespace that belongs to the host's user namespace: elsewhere the kernel wants to see a `/proc` that
/// hides nothing before it makes another. Source: fs/namespace.c, mount_too_revealing.
fn make_processes(begun: OwnedFd) -> Result<OwnedFd, Failure> {
    let made = || -> rustix::io::Result<OwnedFd> {
        rustix::mount::fsconfig_set_string(&begun, "source", "proc")?;
        rustix::mount::fsconfig_create(&begun)?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        rustix::mount::fsmount(&begun, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    };
    made().doing(|| "make /proc".to_owned())
}

/// The name beneath `/mnt` that is asked for.
fn durable_name(wanted: &FileSystemMount) -> Result<&str, Failure> {
    wanted
        .mount_path
        .strip_prefix("/mnt/")
        .filter(|name| is_plain(name))
        .ok_or_else(|| invalid("mount a file system", format!("{:?} is not /mnt/<name>", wanted.mount_path)))
}

/// A small detached tmpfs with an empty directory of each name, read-only.
fn mount_points(names: &[&str]) -> Result<OwnedFd, Failure> {
    let made = || -> io::Result<OwnedFd> {
        let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (key, value) in [("source", "lamplight"), ("size", "4k"), ("nr_inodes", "64"), ("mode", "0755")] {
            rustix::mount::fsconfig_set_string(&context, key, value)?;
        }
        rustix::mount::fsconfig_create(&context)?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        let mount = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
        for name in names {
            match rustix::fs::mkdirat(&mount, *name, Mode::from(0o755)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        sys::mount_setattr(mount.as_fd(), READ_ONLY, None)?;
        Ok(mount)
    };
    made().doing(|| format!("make {DURABLE}"))
}

fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name != "."
        && name != ".."
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// Opens a directory by one plain name beneath another, following no link.
fn open_beneath(directory: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Failure> {
    if !is_plain(name) {
        return Err(invalid("open a directory of the platform", format!("{name:?} is not a plain name")));
    }
    rustix::fs::openat2(
        directory,
        name,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
    .doing(|| format!("open directory {name}"))
}

/// A detached copy of one mount, or of a directory in it.
pub fn clone_mount(source: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    rustix::mount::open_tree(
        source,
        c"",
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH,
    )
}

/// Attaches a detached mount.
pub fn move_onto(mount: BorrowedFd<'_>, target: &Path) -> Result<(), Failure> {
    rustix::mount::move_mount(mount, c"", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .doing(|| format!("mount {}", target.display()))
}

/// Binds code in the running sandbox whose processes `process` leads, then comes back.
///
/// The mount is made in this process's own mount namespace and only moved in the other one (measured: 8 microseconds).
/// `home` is this process's own mount namespace. The caller must end when this fails with `stranded`.
pub fn bind_code(binding: &Binding<'_>) -> Result<(), BindFailure> {
    let mounts =
        code_mounts(binding.code_directory, binding.code, binding.empty).map_err(BindFailure::Failed)?;
    let outside = Inode::at(Path::new("/"));
    sys::enter_namespace(binding.process, libc::CLONE_NEWNS)
        .doing(|| "enter the sandbox's mount namespace".to_owned())
        .map_err(BindFailure::Failed)?;
    // A shell that has not been built yet still stands where we do.
    let moved = if Inode::at(Path::new("/")) == outside {
        Err(invalid("bind code", "the sandbox is not built"))
    } else {
        mounts.iter().try_for_each(|(mount, target)| move_onto(mount.as_fd(), Path::new(target)))
    };
    sys::enter_namespace(binding.home, libc::CLONE_NEWNS).map_err(|_| BindFailure::Stranded)?;
    moved.map_err(BindFailure::Failed)
}

/// Detached mounts of everything that code is made of, each with the place it is to be moved to.
fn code_mounts(
    directory: BorrowedFd<'_>,
    code: &Code,
    empty: BorrowedFd<'_>,
) -> Result<Vec<(OwnedFd, &'static str)>, Failure> {
    let mut mounts = vec![(hidden(&[open_beneath(directory, &code.package)?], empty, "the code")?, CODE)];
    for (names, most, what, target) in [
        (&code.layers, MOST_LAYERS, "the layers", LAYERS),
        (&code.compiled, MOST_LAYERS + 1, "the compiled code", COMPILED),
    ] {
        if names.len() > most {
            return Err(invalid(format!("mount {what}"), format!("there are {} of them", names.len())));
        }
        if !names.is_empty() {
            // The uppermost first.
            let uppermost_first = names.iter().rev().map(|name| open_beneath(directory, name));
            let directories = uppermost_first.collect::<Result<Vec<_>, _>>()?;
            mounts.push((hidden(&directories, empty, what)?, target));
        }
    }
    Ok(mounts)
}

/// What `bind_code` needs.
pub struct Binding<'a> {
    /// Pidfd of a process in the sandbox's mount namespace.
    pub process: BorrowedFd<'a>,
    /// This process's own mount namespace.
    pub home: BorrowedFd<'a>,
    /// Directory that holds unpacked code, opened in `home`.
    pub code_directory: BorrowedFd<'a>,
    /// Names beneath it.
    pub code: &'a Code,
    /// An empty directory, opened in `home`.
    pub empty: BorrowedFd<'a>,
}

/// Why code was not bound.
pub enum BindFailure {
    /// Nothing was changed.
    Failed(Failure),
    /// This process is still in the sandbox's mount namespace and must do nothing any more.
    Stranded,
}

/// A detached, read-only view of directories, the first one uppermost, whose host paths `/proc/self/mountinfo` does not tell.
///
/// A bind shows the path of its root within the file system; an overlay shows only its options, and those
/// name descriptors. Two lower layers (the last one empty) make it read-only without an upper one.
pub fn hidden(sources: &[OwnedFd], empty: BorrowedFd<'_>, what: &str) -> Result<OwnedFd, Failure> {
    // With the mount API the option text is what we pass here, never the path behind the descriptors.
    let layers = sources.iter().map(OwnedFd::as_fd).chain([empty]);
    let layers = layers.map(|layer| format!("/proc/self/fd/{}", layer.as_raw_fd()));
    let layers = layers.collect::<Vec<_>>().join(":");
    let context = rustix::mount::fsopen("overlay", rustix::mount::FsOpenFlags::FSOPEN_CLOEXEC)
        .doing(|| "open an overlay (is the overlay module loaded?)".to_owned())?;
    rustix::mount::fsconfig_set_string(&context, "source", "lamplight")
        .and_then(|()| rustix::mount::fsconfig_set_string(&context, "lowerdir", layers))
        .and_then(|()| rustix::mount::fsconfig_create(&context))
        .doing(|| format!("make the overlay for {what}"))?;
    rustix::mount::fsmount(
        &context,
        rustix::mount::FsMountFlags::FSMOUNT_CLOEXEC,
        rustix::mount::MountAttrFlags::MOUNT_ATTR_RDONLY
            | rustix::mount::MountAttrFlags::MOUNT_ATTR_NOSUID
            | rustix::mount::MountAttrFlags::MOUNT_ATTR_NODEV,
    )
    .doing(|| format!("make the overlay for {what}"))
}
