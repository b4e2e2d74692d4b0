//! The file tree of a sandbox: built on a fresh tmpfs, entered with pivot_root, then sealed read-only.
//!
//! All mounts are made by host root in a mount namespace the host's user namespace owns, before the process
//! enters its own user namespace: nothing inside can undo them (measured: a uid 0 inside a namespace that
//! owns its mounts could clear read-only).

use super::sys;
use crate::spec::{Code, FileSystemMount, RootEntry};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};
use std::io;
use std::path::{Path, PathBuf};

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

const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
const READ_WRITE: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;

/// Where a function's code is inside.
const CODE: &str = "/var/task";
/// Where what was compiled of it is.
const COMPILED: &str = "/var/compiled";
/// Where its layers are.
const LAYERS: &str = "/opt";
/// Most layers of one sandbox. Source: Lambda quotas, "Function layers".
const MOST_LAYERS: usize = 5;
/// Directories of libraries that code bound late may bring. The dynamic linker looks for those of `LD_LIBRARY_PATH` once, when
/// an interpreter starts, and never again for one that was not there (glibc, elf/dl-load.c, `open_path`).
const LIBRARIES: [&str; 2] = ["opt/lib", "var/task/lib"];

/// Top-level names that are links into `/usr` on a merged-usr host, and are made the same inside.
const TOP_LEVEL_LINKS: [&str; 5] = ["bin", "sbin", "lib", "lib64", "lib32"];

/// Everything the tree is made of.
pub struct Tree<'a> {
    /// An empty directory of the host to mount on (invisible to others: the namespace is private).
    pub staging: &'a Path,
    /// An empty directory, the second layer of hiding overlays.
    pub empty: BorrowedFd<'a>,
    /// The root's entries.
    pub entries: &'a [RootEntry],
    /// Directory that holds unpacked code.
    pub code_directory: BorrowedFd<'a>,
    /// Names beneath it.
    pub code: Option<&'a Code>,
    /// Directory that holds durable directories.
    pub file_system_directory: BorrowedFd<'a>,
    /// Which of them.
    pub file_systems: &'a [FileSystemMount],
    /// A detached mount for `/tmp`.
    pub temporary: BorrowedFd<'a>,
    /// Owner inside of what is durable: user namespace for id mapping.
    pub user_namespace: BorrowedFd<'a>,
    /// `/etc/resolv.conf`.
    pub resolver: &'a str,
    /// User and group inside.
    pub user: u32,
    /// See `user`.
    pub group: u32,
}

/// Builds the tree and makes it the root of this process. The old root is gone afterwards.
pub fn enter(tree: &Tree<'_>) -> Result<(), Failure> {
    let root = tree.staging;
    rustix::mount::mount(
        "lamplight",
        root,
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
        make_directory(&root.join(directory))?;
    }
    for name in TOP_LEVEL_LINKS {
        if let Ok(target) = std::fs::read_link(Path::new("/").join(name)) {
            std::os::unix::fs::symlink(&target, root.join(name)).doing(|| format!("link /{name}"))?;
        }
    }
    synthetic_etc(&root.join("etc"), tree)?;
    for entry in tree.entries {
        mount_entry(root, entry, tree.empty)?;
    }
    for directory in LIBRARIES {
        make_directory(&root.join(directory))?;
    }
    if let Some(code) = tree.code {
        for (mount, target) in code_mounts(tree.code_directory, code, tree.empty)? {
            move_onto(mount.as_fd(), &root.join(target.trim_start_matches('/')))?;
        }
    }
    move_onto(tree.temporary, &root.join("tmp"))?;
    for file_system in tree.file_systems {
        mount_file_system(root, tree, file_system)?;
    }
    devices(&root.join("dev"))?;
    rustix::mount::mount(
        "proc",
        root.join("proc"),
        "proc",
        MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
        None,
    )
    .doing(|| "mount /proc".to_owned())?;
    seal(&root.join("dev"), libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC)?;

    rustix::process::chdir(root).doing(|| "enter the new root".to_owned())?;
    rustix::process::pivot_root(".", ".").doing(|| "pivot into the new root".to_owned())?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).doing(|| "leave the old root".to_owned())?;
    rustix::process::chdir("/").doing(|| "enter the new root".to_owned())?;
    seal(Path::new("/"), READ_ONLY)
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

/// Opens a directory by one plain name beneath another, following no link.
fn open_beneath(directory: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Failure> {
    let plain = !name.is_empty()
        && name != "."
        && name != ".."
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if !plain {
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

fn clone_mount(source: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    rustix::mount::open_tree(
        source,
        c"",
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH,
    )
}

fn move_onto(mount: BorrowedFd<'_>, target: &Path) -> Result<(), Failure> {
    rustix::mount::move_mount(mount, c"", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .doing(|| format!("mount {}", target.display()))
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

/// Binds code in the running sandbox whose processes `process` leads, then comes back.
///
/// The mount is made in this process's own mount namespace and only moved in the other one (measured: 8 microseconds).
/// `home` is this process's own mount namespace. The caller must end when this fails with `stranded`.
pub fn bind_code(binding: &Binding<'_>) -> Result<(), BindFailure> {
    let mounts =
        code_mounts(binding.code_directory, binding.code, binding.empty).map_err(BindFailure::Failed)?;
    sys::enter_namespace(binding.process, libc::CLONE_NEWNS)
        .doing(|| "enter the sandbox's mount namespace".to_owned())
        .map_err(BindFailure::Failed)?;
    let moved = mounts.iter().try_for_each(|(mount, target)| move_onto(mount.as_fd(), Path::new(target)));
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
fn hidden(sources: &[OwnedFd], empty: BorrowedFd<'_>, what: &str) -> Result<OwnedFd, Failure> {
    use rustix::fd::AsRawFd;
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

/// A durable directory, read-write, whose files belong to the inside user in every sandbox (idmapped mount).
fn mount_file_system(root: &Path, tree: &Tree<'_>, wanted: &FileSystemMount) -> Result<(), Failure> {
    let name = wanted.mount_path.strip_prefix("/mnt/").filter(|name| {
        !name.is_empty()
            && *name != "."
            && *name != ".."
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    });
    let Some(name) = name else {
        return Err(invalid("mount a file system", format!("{:?} is not /mnt/<name>", wanted.mount_path)));
    };
    match rustix::fs::mkdirat(tree.file_system_directory, wanted.directory.as_str(), Mode::from(0o755)) {
        Ok(()) => {
            let made = open_beneath(tree.file_system_directory, &wanted.directory)?;
            rustix::fs::chownat(
                made.as_fd(),
                c"",
                Some(rustix::fs::Uid::from_raw(tree.user)),
                Some(rustix::fs::Gid::from_raw(tree.group)),
                rustix::fs::AtFlags::EMPTY_PATH,
            )
            .doing(|| format!("give away file system {}", wanted.directory))?;
        }
        Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(error).doing(|| format!("create file system {}", wanted.directory)),
    }
    let source = open_beneath(tree.file_system_directory, &wanted.directory)?;
    let mount = clone_mount(source.as_fd()).doing(|| format!("clone file system {}", wanted.directory))?;
    sys::mount_setattr(mount.as_fd(), READ_WRITE, Some(tree.user_namespace)).doing(|| {
        format!("map the owner of file system {} (the data directory's file system must support idmapped mounts, e.g. ext4, xfs, btrfs)", wanted.directory)
    })?;
    let target = root.join("mnt").join(name);
    make_directory(&target)?;
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
    Ok(())
}

/// Accounts, hosts and resolver that tell nothing about this host.
fn synthetic_etc(etc: &Path, tree: &Tree<'_>) -> Result<(), Failure> {
    let user = format!(
        "root:x:0:0:root:/root:/sbin/nologin\nsbx_user1051:x:{}:{}::/home/sbx_user1051:/sbin/nologin\n",
        tree.user, tree.group
    );
    let group = format!("root:x:0:\nsbx_user1051:x:{}:\n", tree.group);
    let files: [(&str, &str); 6] = [
        ("passwd", &user),
        ("group", &group),
        ("hosts", "127.0.0.1 localhost sandbox.localdomain sandbox\n::1 localhost\n"),
        ("resolv.conf", tree.resolver),
        ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
        ("hostname", "sandbox\n"),
    ];
    for (name, content) in files {
        std::fs::write(etc.join(name), content).doing(|| format!("write /etc/{name}"))?;
    }
    Ok(())
}
