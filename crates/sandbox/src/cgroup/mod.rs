//! Limits, measurement, freezing and killing of process trees by control groups, version 1 (hybrid) and 2.
//!
//! The privileged side makes one [`Set`] of directories per sandbox beneath a [`Parent`]; the unprivileged
//! daemon gets open files of it ([`ControlFiles`]) and never a path. Plain blocking calls, single-threaded.
//!
//! Version 1 keeps a hierarchy per controller; life-cycle (freeze, kill) always comes from the unified
//! hierarchy, which a hybrid host mounts beside them: a task frozen there still dies on SIGKILL.
//! Source: Documentation/admin-guide/cgroup-v1, cgroup-v2.rst.

mod files;
mod hierarchy;

pub use files::ControlFiles;
pub use hierarchy::{Hierarchy, Version};

use rustix::fd::OwnedFd;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long `prepare` and `remove_all` wait for killed predecessors to leave.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between two looks at a cgroup whose members are dying.
const LEAVE_POLL: Duration = Duration::from_millis(2);

/// The directories beneath which all sandboxes of one server live.
#[derive(Debug, Clone)]
pub struct Parent {
    hierarchy: Hierarchy,
    name: String,
}

/// The directories of one sandbox, one per hierarchy.
#[derive(Debug)]
pub struct Set {
    version: Version,
    directories: Vec<PathBuf>,
}

impl Parent {
    /// Makes (or takes over) the parent `name`, a plain name that is unique per data directory on this host.
    ///
    /// What a predecessor left in it is killed and removed.
    ///
    /// # Errors
    /// When no supported hierarchy is mounted, a controller is missing, or the predecessor's members stay.
    pub fn prepare(name: &str) -> io::Result<Self> {
        let parent = Self { hierarchy: Hierarchy::detect()?, name: name.to_owned() };
        parent.remove_all()?;
        for directory in parent.directories() {
            fs::create_dir_all(&directory).map_err(|error| at(&directory, error))?;
        }
        parent.hierarchy.enable_controllers(&parent.directories())?;
        Ok(parent)
    }

    fn directories(&self) -> Vec<PathBuf> {
        self.hierarchy.bases.iter().map(|base| base.join(&self.name)).collect()
    }

    /// Bounds the memory of all sandboxes together, bytes.
    pub fn set_memory(&self, bytes: u64) -> io::Result<()> {
        let directory = &self.directories()[0];
        let file = match self.hierarchy.version {
            Version::One => "memory.limit_in_bytes",
            Version::Two => "memory.max",
        };
        write(directory, file, &bytes.to_string())
    }

    /// Bounds the processes and threads of all sandboxes together.
    pub fn set_processes(&self, most: u32) -> io::Result<()> {
        let directories = self.directories();
        let directory = match self.hierarchy.version {
            Version::One => &directories[2],
            Version::Two => &directories[0],
        };
        write(directory, "pids.max", &most.to_string())
    }

    /// Makes the directories of one sandbox; `id` is a plain name. Nothing is left on failure.
    pub fn create(&self, id: &str) -> io::Result<Set> {
        let mut set = Set { version: self.hierarchy.version, directories: Vec::new() };
        for directory in self.directories() {
            let directory = directory.join(id);
            if let Err(error) = fs::create_dir(&directory) {
                let _ = set.remove();
                return Err(at(&directory, error));
            }
            set.directories.push(directory);
        }
        if let Err(error) = set.configure() {
            let _ = set.remove();
            return Err(error);
        }
        Ok(set)
    }

    /// Kills and removes every sandbox's directories whose name begins with `prefix`.
    pub fn remove_matching(&self, prefix: &str) -> io::Result<()> {
        let deadline = Instant::now() + LEAVE_TIMEOUT;
        for directory in self.directories().iter().rev() {
            let Ok(children) = fs::read_dir(directory) else { continue };
            for child in children.flatten() {
                let is_ours = child.file_name().to_string_lossy().starts_with(prefix);
                if is_ours && child.file_type().is_ok_and(|kind| kind.is_dir()) {
                    remove_with_members(&child.path(), deadline)?;
                }
            }
        }
        Ok(())
    }

    /// Kills and removes everything, the parent's own directories included.
    pub fn remove_all(&self) -> io::Result<()> {
        self.remove_matching("")?;
        let deadline = Instant::now() + LEAVE_TIMEOUT;
        for directory in self.directories() {
            if directory.exists() {
                remove_with_members(&directory, deadline)?;
            }
        }
        Ok(())
    }
}

/// Kills the members of a leaf and removes it, waiting until `deadline` for them to leave.
fn remove_with_members(directory: &Path, deadline: Instant) -> io::Result<()> {
    loop {
        let _ = fs::write(directory.join("cgroup.kill"), "1");
        if let Ok(members) = fs::read_to_string(directory.join("cgroup.procs")) {
            for pid in members.lines().filter_map(|line| line.parse().ok()).filter_map(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        match fs::remove_dir(directory) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if Instant::now() >= deadline => return Err(at(directory, error)),
            Err(_) => std::thread::sleep(LEAVE_POLL),
        }
    }
}

impl Set {
    /// What never changes over a sandbox's life.
    fn configure(&self) -> io::Result<()> {
        match self.version {
            Version::One => {
                // Memory that is swapped out would be memory beyond the limit.
                write(self.memory(), "memory.swappiness", "0")?;
                write(self.cpu(), "cpu.cfs_period_us", &files::CPU_PERIOD_US.to_string())
            }
            Version::Two => {
                for (file, value) in [("memory.swap.max", "0"), ("memory.oom.group", "1")] {
                    match write(self.memory(), file, value) {
                        // No swap accounting in this kernel: then there is nothing to forbid.
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        other => other?,
                    }
                }
                Ok(())
            }
        }
    }

    fn memory(&self) -> &Path {
        &self.directories[0]
    }

    fn cpu(&self) -> &Path {
        &self.directories[if self.version == Version::One { 1 } else { 0 }]
    }

    fn pids(&self) -> &Path {
        &self.directories[if self.version == Version::One { 2 } else { 0 }]
    }

    /// One directory per hierarchy.
    pub fn directories(&self) -> &[PathBuf] {
        &self.directories
    }

    fn life_cycle(&self) -> &Path {
        &self.directories[self.directories.len() - 1]
    }

    /// The directory that a process can be born in, so that it need not be moved there. Source: clone3(2), `CLONE_INTO_CGROUP`.
    pub fn open_birthplace(&self) -> io::Result<OwnedFd> {
        let directory = self.life_cycle();
        fs::File::open(directory).map(OwnedFd::from).map_err(|error| at(directory, error))
    }

    /// Moves the calling process, which must have one thread, into the set; `born` says that it was born in the birthplace. Takes
    /// milliseconds when it was not and no attach happened lately.
    pub fn attach_self(&self, born: bool) -> io::Result<()> {
        self.member_files()
            .filter(|(directory, _)| !(born && *directory == self.life_cycle()))
            .try_for_each(|(directory, file)| write(directory, file, "0"))
    }

    /// Opens the files through which a process that holds them becomes a member: whoever writes `0` to all of them and has one
    /// thread.
    pub fn open_member_files(&self) -> io::Result<Vec<OwnedFd>> {
        let open = |(directory, file): (&Path, &str)| {
            let path = directory.join(file);
            let file = fs::File::options().write(true).open(&path).map_err(|error| at(&path, error))?;
            Ok(OwnedFd::from(file))
        };
        self.member_files().map(open).collect()
    }

    /// The file to write to in each hierarchy.
    ///
    /// A thread that moves itself needs no grace period (40 microseconds instead of 7 milliseconds), a process that moves does; a
    /// process with one thread is both. Only version 1 lets a thread move between any cgroups. Source: kernel/cgroup/cgroup.c,
    /// `cgroup_procs_write_start`.
    fn member_files(&self) -> impl Iterator<Item = (&Path, &'static str)> {
        self.directories.iter().map(|directory| {
            let threads = self.version == Version::One && directory != self.life_cycle();
            (directory.as_path(), if threads { "tasks" } else { "cgroup.procs" })
        })
    }

    /// Opens what the daemon needs to limit, measure, freeze and kill.
    pub fn open_files(&self) -> io::Result<ControlFiles> {
        let open = |directory: &Path, name: &str, writable: bool| {
            fs::File::options()
                .read(true)
                .write(writable)
                .open(directory.join(name))
                .map_err(|error| at(&directory.join(name), error))
        };
        // cgroup.kill cannot be read, so it is opened for writing only.
        let kill_path = self.life_cycle().join("cgroup.kill");
        let kill = fs::File::options().write(true).open(&kill_path).map_err(|error| at(&kill_path, error))?;
        let (limit, peak, current, oom, cpu, weight, reclaim) = match self.version {
            Version::One => (
                "memory.limit_in_bytes",
                "memory.max_usage_in_bytes",
                "memory.usage_in_bytes",
                "memory.oom_control",
                "cpu.cfs_quota_us",
                "cpu.shares",
                "memory.force_empty",
            ),
            Version::Two => (
                "memory.max",
                "memory.peak",
                "memory.current",
                "memory.events",
                "cpu.max",
                "cpu.weight",
                "memory.reclaim",
            ),
        };
        let memory_peak = match open(self.memory(), peak, false) {
            // Linux before 5.19 has no peak on version 2; the use at the moment of asking is the next best.
            Err(error) if error.kind() == io::ErrorKind::NotFound => open(self.memory(), current, false)?,
            found => found?,
        };
        // Cannot be read either, and is not everywhere.
        let reclaim = fs::File::options().write(true).open(self.memory().join(reclaim)).ok();
        Ok(ControlFiles {
            memory_limit: open(self.memory(), limit, true)?,
            memory_peak,
            memory_current: open(self.memory(), current, false)?,
            out_of_memory: open(self.memory(), oom, false)?,
            cpu_limit: open(self.cpu(), cpu, true)?,
            cpu_weight: open(self.cpu(), weight, true)?,
            process_limit: open(self.pids(), "pids.max", true)?,
            freeze: open(self.life_cycle(), "cgroup.freeze", true)?,
            kill,
            reclaim,
        })
    }

    /// Removes the directories. Fails while members are still leaving; call again then.
    pub fn remove(&self) -> io::Result<()> {
        for directory in &self.directories {
            match fs::remove_dir(directory) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(at(directory, error)),
            }
        }
        Ok(())
    }
}

fn write(directory: &Path, file: &str, value: &str) -> io::Result<()> {
    let path = directory.join(file);
    fs::write(&path, value).map_err(|error| at(&path, error))
}

/// Names the file in the error.
fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_limited_measured_frozen_and_killed() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return;
        }
        let parent = Parent::prepare(&format!("lamplight-unit-{}", std::process::id())).unwrap();
        parent.set_memory(256 * 1024 * 1024).unwrap();
        parent.set_processes(100).unwrap();
        let set = parent.create("one").unwrap();
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        for directory in &set.directories {
            write(directory, "cgroup.procs", &child.id().to_string()).unwrap();
        }
        let files = ControlFiles::from_fds(set.open_files().unwrap().into_fds()).unwrap();
        files.set_memory(64 * 1024 * 1024).unwrap();
        files.set_processes(5).unwrap();
        files.set_cpu(72).unwrap();
        let content = |file: &str| fs::read_to_string(set.cpu().join(file)).unwrap_or_default();
        match set.version {
            Version::One => {
                assert_eq!(
                    (content("cpu.shares"), content("cpu.cfs_quota_us")),
                    ("73\n".into(), "1440\n".into())
                );
                assert_eq!(content("cpu.cfs_period_us"), "20000\n");
            }
            Version::Two => {
                assert_eq!(
                    (content("cpu.weight"), content("cpu.max")),
                    ("7\n".into(), "1440 20000\n".into())
                );
            }
        }
        assert_eq!(fs::read_to_string(set.pids().join("pids.max")).unwrap(), "5\n");
        assert_eq!(files.oom_kills().unwrap(), 0);
        assert!(files.memory_peak().unwrap() <= 64 * 1024 * 1024);
        assert!(files.reclaim().unwrap() <= 64 * 1024 * 1024);
        assert!(set.remove().is_err(), "a set with a member must stay");
        files.freeze().unwrap();
        files.kill().unwrap();
        let status = child.wait().unwrap();
        assert!(!status.success());
        let deadline = Instant::now() + LEAVE_TIMEOUT;
        while set.remove().is_err() {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        parent.remove_all().unwrap();
        assert!(parent.directories().iter().all(|directory| !directory.exists()));
    }

    #[test]
    fn a_predecessors_members_are_removed() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return;
        }
        let name = format!("lamplight-unit-stale-{}", std::process::id());
        let parent = Parent::prepare(&name).unwrap();
        let set = parent.create("stale").unwrap();
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        for directory in &set.directories {
            write(directory, "cgroup.procs", &child.id().to_string()).unwrap();
        }
        let successor = Parent::prepare(&name).unwrap();
        assert!(!child.wait().unwrap().success());
        assert!(!set.directories[0].exists());
        successor.remove_all().unwrap();
    }
}
