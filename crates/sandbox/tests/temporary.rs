//! Volumes for `/tmp` on real loop devices: size, ownership, what is left, and the memory they must not take.
//! Needs root, loop devices and ext4.

#![allow(clippy::unwrap_used)] // The helpers of tests are outside the functions the lint exempts.

use lamplight_sandbox::cgroup::{Parent, Set};
use lamplight_sandbox::temporary::{self, Template};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const MIB: u64 = 1024 * 1024;

/// Whether this may run; continuous integration must run it.
fn privileged() -> bool {
    let root = rustix::process::geteuid().is_root();
    assert!(root || std::env::var_os("CI").is_none(), "the tests of volumes need root");
    if !root {
        println!("skipped: needs root");
    }
    root
}

/// A volume and its mount; scripts see it as `$V`.
struct Volume {
    _device: OwnedFd,
    mount: OwnedFd,
}

impl Volume {
    fn new(template: &Template) -> Self {
        let device = template.instantiate().unwrap();
        let mount = temporary::mount_as_it_is(device.as_fd()).unwrap();
        Self { _device: device, mount }
    }

    /// Runs a script in the volume, inside `set` when there is one.
    fn run(&self, script: &str, set: Option<&Set>) -> Output {
        // A detached mount has no path of its own; the descriptor's link leads into it.
        let directory = format!("/proc/{}/fd/{}", std::process::id(), self.mount.as_raw_fd());
        let mut command = Command::new("bash");
        let enter: String = set
            .into_iter()
            .flat_map(Set::directories)
            .map(|directory| format!("echo $$ >{}/cgroup.procs && ", directory.display()))
            .collect();
        command.args(["-c", &format!("{enter} cd {directory} && {script}")]).output().unwrap()
    }
}

#[track_caller]
fn check(output: &Output, expected: &str) {
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(text.trim_end(), expected, "{}: {errors}", output.status);
}

#[test]
fn the_free_space_is_the_size_and_less_than_one_mib_more() {
    if !privileged() {
        return;
    }
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    // The least, the default and the most of Lambda's range, and one odd size between.
    for size_mib in [64, 512, 777, 10_240] {
        let volume = Volume::new(&Template::prepare(directory.path(), size_mib).unwrap());
        let status = rustix::fs::fstatvfs(&volume.mount).unwrap();
        let free = status.f_bavail * status.f_frsize;
        let size = u64::from(size_mib) * MIB;
        assert!((size..size + MIB).contains(&free), "{size_mib} MiB: {free} bytes are free");
        check(&volume.run("stat -c '%u %g %a' .; ls -A", None), "993 990 1777\nlost+found");
    }
}

#[test]
fn a_small_sandbox_fills_a_large_volume() {
    if !privileged() {
        return;
    }
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let volume = Volume::new(&Template::prepare(directory.path(), 512).unwrap());
    let parent = Parent::prepare(&format!("lamplight-volumes-{}", std::process::id())).unwrap();
    let set = parent.create("small").unwrap();
    let files = set.open_files().unwrap();
    files.set_memory(128 * MIB).unwrap();
    let output = volume.run(
        "head -c 512M /dev/zero >a && stat -c %s a; head -c 1M /dev/zero >b || echo full; \
         cat a | wc -c; rm a b; for i in 1 2 3 4; do head -c 100M /dev/urandom >$i & done; wait; sync -f .; cat ? | wc -c",
        Some(&set),
    );
    check(&output, "536870912\nfull\n536870912\n419430400");
    assert_eq!(files.oom_kills().unwrap(), 0, "page cache must be reclaimed, not killed for");
    assert!(files.memory_peak().unwrap() <= 128 * MIB);
    parent.remove_all().unwrap();
}

/// Loop devices over files that were in `directory`.
fn loop_devices(directory: &std::path::Path) -> usize {
    let list = Command::new("losetup").arg("-a").output().unwrap();
    String::from_utf8_lossy(&list.stdout).matches(directory.to_str().unwrap()).count()
}

#[test]
fn nothing_is_left_of_a_dropped_volume() {
    if !privileged() {
        return;
    }
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let template = Template::prepare(directory.path(), 64).unwrap();
    let volumes: Vec<_> = (0..20).map(|_| Volume::new(&template)).collect();
    check(&volumes[0].run("echo secret >a; cat a", None), "secret");
    check(&volumes[1].run("cat a 2>/dev/null | wc -c", None), "0");
    assert_eq!(loop_devices(directory.path()), 20);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "an image has a name");
    drop(volumes);
    // The kernel takes a mount apart in the background.
    let deadline = Instant::now() + Duration::from_secs(10);
    while loop_devices(directory.path()) > 0 {
        assert!(Instant::now() < deadline, "loop devices stay");
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(template);
}

#[test]
fn only_a_loop_device_is_mounted() {
    if !privileged() {
        return;
    }
    for path in ["/dev/null", "/dev/zero", "/etc/passwd", "/"] {
        let other = std::fs::File::open(path).unwrap();
        let error = temporary::mount_as_it_is(other.as_fd()).unwrap_err();
        assert!(error.to_string().contains("is not a loop device"), "{path}: {error}");
    }
}
