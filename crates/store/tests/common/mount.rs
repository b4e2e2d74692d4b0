//! File systems of a test's own: they need root, `mount` and (for ext4) loop devices.
#![allow(dead_code)] // Each test program uses its part.
#![allow(clippy::unwrap_used)] // A helper that fails is a failed test.

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// Whether the test can run here. With CI=true a skip is a failure.
pub fn can_mount() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "needs root to mount a file system");
        eprintln!("skipped: needs root to mount a file system");
    }
    root
}

pub fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}: {status}");
}

/// A mounted file system, gone when dropped.
pub struct Mount {
    pub path: PathBuf,
    _directory: tempfile::TempDir,
}

impl Mount {
    fn new(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        run("mount", &[arguments, &[path.to_str().unwrap()]].concat());
        Self { path, _directory: directory }
    }

    pub fn tmpfs(size: &str) -> Self {
        Self::new(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
    }

    pub fn image(image: &Path) -> Self {
        Self::new(&["-t", "ext4", "-o", "loop", image.to_str().unwrap()])
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a failed test may still hold files; the image goes with its last user.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

/// A new ext4 image of 192 MiB.
pub fn make_image(path: &Path) {
    std::fs::File::create(path).unwrap().set_len(192 << 20).unwrap();
    run("mkfs.ext4", &["-q", "-F", path.to_str().unwrap()]);
}

/// Stops `child` for good and takes the image it writes to as the device holds it.
pub fn stop_and_copy(child: &Child, image: &Path, copy: &Path) {
    let pid = rustix::process::Pid::from_child(child);
    let handle = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
    rustix::process::pidfd_send_signal(&handle, rustix::process::Signal::STOP).unwrap();
    let stopped = rustix::process::WaitIdOptions::STOPPED;
    rustix::process::waitid(rustix::process::WaitId::PidFd(handle.as_fd()), stopped).unwrap();
    copy_settled(image, copy);
}

/// The image as the device holds it: copied until two copies agree, so that no block changed meanwhile.
fn copy_settled(image: &Path, copy: &Path) {
    let mut last = Vec::new();
    for _ in 0..100 {
        let now = std::fs::read(image).unwrap();
        if now == last {
            return std::fs::write(copy, now).unwrap();
        }
        last = now;
    }
    panic!("the image never came to rest");
}
