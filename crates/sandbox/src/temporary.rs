//! `/tmp` volumes: an ext4 file system of a given size in a loop device over a file that has no name.
//!
//! Files in them are disk, not memory: their page cache can be reclaimed, so a small sandbox can fill a large
//! `/tmp`, and what it leaves unused cannot become heap. The image is unlinked at birth and the device clears
//! itself, so a volume ends with its last descriptor, also when every process of ours was killed.
//!
//! Used by the spawner and its shells: plain blocking calls, single-threaded.

#![allow(unsafe_code)]

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, SeekFrom};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use std::io;
use std::path::{Path, PathBuf};

/// Attempts to win a free loop device against other processes.
const LOOP_ATTEMPTS: u32 = 64;
/// What ext4 needs beside the data for a volume without a journal; the template is measured and grown from here.
const FIRST_OVERHEAD_KIB: u64 = 1_024;
/// Bytes per inode: a 512 MiB volume holds 32,768 files.
const BYTES_PER_INODE: u32 = 16_384;

/// An empty file system of one size, made once and copied for every volume.
#[derive(Debug)]
pub struct Template {
    image: std::fs::File,
    directory: PathBuf,
    size_bytes: u64,
}

impl Template {
    /// Makes the template for volumes with at least `size_mib` MiB free (and less than one more).
    ///
    /// # Errors
    /// When `mkfs.ext4` (Debian: e2fsprogs) is missing or fails, when loop devices or ext4 are not available,
    /// or the disk is full.
    pub fn prepare(directory: &Path, size_mib: u32) -> io::Result<Self> {
        let wanted = u64::from(size_mib) * 1024 * 1024;
        let mut overhead = FIRST_OVERHEAD_KIB * 1024;
        // The overhead (inode tables, bitmaps, descriptors) depends on the size; two rounds settle it.
        for _ in 0..6 {
            let template = Self::format(directory, wanted + overhead)?;
            let free = template.free_bytes()?;
            if free >= wanted && free < wanted + 1024 * 1024 {
                return Ok(template);
            }
            overhead = (overhead + wanted + 64 * 1024).saturating_sub(free).next_multiple_of(4096);
        }
        Err(io::Error::other(format!("no ext4 image of {size_mib} MiB could be laid out")))
    }

    fn format(directory: &Path, size_bytes: u64) -> io::Result<Self> {
        let path = directory.join(format!("template-{}-{size_bytes}", std::process::id()));
        let image =
            std::fs::File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
        image.set_len(size_bytes)?;
        let mut format = std::process::Command::new("mkfs.ext4");
        format
            .args(["-q", "-F", "-m", "0", "-b", "4096", "-i"])
            .arg(BYTES_PER_INODE.to_string())
            .args(["-O", "^has_journal,^resize_inode,^metadata_csum", "-E"])
            .arg("lazy_itable_init=1,nodiscard,root_owner=993:990")
            .arg(&path);
        let mut open_up = std::process::Command::new("debugfs");
        open_up.args(["-w", "-R", "set_inode_field <2> mode 041777"]).arg(&path);
        let made = run_tool(format).and_then(|()| run_tool(open_up));
        let removed = std::fs::remove_file(&path);
        made?;
        removed?;
        Ok(Self { image, directory: directory.to_owned(), size_bytes })
    }

    /// What an unprivileged user can write to a volume made from this.
    fn free_bytes(&self) -> io::Result<u64> {
        let mount = mount_as_it_is(self.instantiate()?.as_fd())?;
        let status = rustix::fs::fstatvfs(&mount)?;
        Ok(status.f_bavail * status.f_frsize)
    }

    /// A new volume: its loop device, open read-only. It lives as long as the descriptor or a mount of it.
    pub fn instantiate(&self) -> io::Result<OwnedFd> {
        let file = rustix::fs::openat(
            CWD,
            &self.directory,
            OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC,
            Mode::from(0o600),
        )?;
        rustix::fs::ftruncate(&file, self.size_bytes)?;
        self.copy_data(file.as_fd())?;
        attach(file.as_fd())
    }

    /// Copies only what mkfs wrote: a few hundred KiB of a sparse file.
    fn copy_data(&self, target: BorrowedFd<'_>) -> io::Result<()> {
        let mut at = 0_u64;
        loop {
            let start = match rustix::fs::seek(&self.image, SeekFrom::Data(at)) {
                Ok(start) => start,
                Err(Errno::NXIO) => return Ok(()), // No data behind.
                Err(error) => return Err(error.into()),
            };
            let end = rustix::fs::seek(&self.image, SeekFrom::Hole(start))?;
            let (mut from, mut to) = (start, start);
            while from < end {
                let length = usize::try_from(end - from).unwrap_or(usize::MAX);
                let copied =
                    rustix::fs::copy_file_range(&self.image, Some(&mut from), target, Some(&mut to), length)?;
                if copied == 0 {
                    return Err(io::Error::other("the template was cut short"));
                }
            }
            at = end;
        }
    }
}

/// Runs a tool of e2fsprogs to its end.
fn run_tool(mut command: std::process::Command) -> io::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").output().map_err(|error| {
        io::Error::new(error.kind(), format!("failed to run {name} (apt-get install e2fsprogs): {error}"))
    })?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{name} failed: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

/// Binds `file` to a free loop device that clears itself when its last user goes. Source: loop(4).
fn attach(file: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let control = rustix::fs::open("/dev/loop-control", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| {
            io::Error::other(format!("failed to open /dev/loop-control (modprobe loop): {error}"))
        })?;
    // SAFETY: loop_config is plain data; zero means default.
    let mut config: LoopConfig = unsafe { std::mem::zeroed() };
    config.fd = file.as_raw_fd().unsigned_abs();
    config.block_size = 4096;
    config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
    for _ in 0..LOOP_ATTEMPTS {
        // SAFETY: LOOP_CTL_GET_FREE takes no argument.
        let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
        if number < 0 {
            return Err(io::Error::last_os_error());
        }
        let path = format!("/dev/loop{number}");
        let device = match rustix::fs::open(&path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
            Ok(device) => device,
            Err(Errno::NOENT | Errno::NXIO) => {
                // devtmpfs makes the node; without it (a static /dev) we do.
                let _ = rustix::fs::mknodat(
                    CWD,
                    &path,
                    rustix::fs::FileType::BlockDevice,
                    Mode::from(0o600),
                    rustix::fs::makedev(LOOP_MAJOR, number.unsigned_abs()),
                );
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        // SAFETY: LOOP_CONFIGURE reads a loop_config that lives across the call.
        if unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) } == 0 {
            // Whoever holds the descriptor only keeps the volume alive; writing is for the file system.
            return Ok(rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?);
        }
        let error = io::Error::last_os_error();
        // Another process was faster.
        if error.raw_os_error() != Some(libc::EBUSY) {
            return Err(error);
        }
    }
    Err(io::Error::other("no loop device became free"))
}

/// A new detached mount of the volume on `device`, nosuid and nodev, with the owners that are on disk.
///
/// # Errors
/// When `device` is not a loop device: it may come from the unprivileged daemon.
pub fn mount_as_it_is(device: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let status = rustix::fs::fstat(device)?;
    let is_block = rustix::fs::FileType::from_raw_mode(status.st_mode).is_block_device();
    if !is_block || rustix::fs::major(status.st_rdev) != LOOP_MAJOR {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the descriptor is not a loop device"));
    }
    let source = format!("/dev/loop{}", rustix::fs::minor(status.st_rdev));
    let context = rustix::mount::fsopen("ext4", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&context, "source", source)?;
    // Space that the program gives back goes back to the host's disk.
    rustix::mount::fsconfig_set_flag(&context, "discard")?;
    // No kernel thread that writes out the inode tables: they are holes, which read as zeroes.
    rustix::mount::fsconfig_set_flag(&context, "noinit_itable")?;
    // A volume ends with the machine, so nothing in it needs to reach the disk; a mount that did wait for the
    // host's disk took up to 150 ms beside other work.
    rustix::mount::fsconfig_set_flag(&context, "nobarrier")?;
    rustix::mount::fsconfig_create(&context)?;
    Ok(rustix::mount::fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV,
    )?)
}

/// Mounts the volume on `device`, detached, its owner mapped through `user_namespace`.
pub fn mount(device: BorrowedFd<'_>, user_namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mount = mount_as_it_is(device)?;
    crate::linux::map_mount_owner(mount.as_fd(), user_namespace)?;
    Ok(mount)
}

/// `struct loop_info64` of `linux/loop.h`.
#[repr(C)]
struct LoopInfo {
    lo_device: u64,
    lo_inode: u64,
    lo_rdevice: u64,
    lo_offset: u64,
    lo_sizelimit: u64,
    lo_number: u32,
    lo_encrypt_type: u32,
    lo_encrypt_key_size: u32,
    lo_flags: u32,
    lo_file_name: [u8; 64],
    lo_crypt_name: [u8; 64],
    lo_encrypt_key: [u8; 32],
    lo_init: [u64; 2],
}

/// `struct loop_config` of `linux/loop.h`.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// Source: Documentation/admin-guide/devices.txt.
const LOOP_MAJOR: u32 = 7;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LOOP_CONFIGURE: libc::Ioctl = 0x4C0A;
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4C82;
