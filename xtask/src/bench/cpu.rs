//! Processor time by cgroup, exact to the nanosecond, and what else the machine was doing meanwhile.
//!
//! Version 1 is read from the cpuacct hierarchy, which the platform does not use itself, so that everything the server
//! starts stays in the group it was started in; version 2 from `cpu.stat`, to which the platform's own groups are added.

use anyhow::Context as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A cgroup that only counts; removed when dropped.
pub struct Group {
    directory: PathBuf,
    /// Groups of the platform's sandboxes, where they are not beneath.
    others: Vec<PathBuf>,
}

/// Makes the names of groups unique.
static NEXT: AtomicU32 = AtomicU32::new(0);

impl Drop for Group {
    fn drop(&mut self) {
        // Members that are dying leave a moment later.
        for _ in 0..200 {
            if std::fs::remove_dir(&self.directory).is_ok() || !self.directory.exists() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

/// Where processor time is counted, and whether that is version 2.
fn hierarchy() -> anyhow::Result<(PathBuf, bool)> {
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let find = |accept: &dyn Fn(&str, &str) -> bool| {
        mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (point, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
            accept(kind, options).then(|| PathBuf::from(point))
        })
    };
    if let Some(point) =
        find(&|kind, options| kind == "cgroup" && options.split(',').any(|option| option == "cpuacct"))
    {
        return Ok((point, false));
    }
    let point = find(&|kind, _| kind == "cgroup2").context("no cgroup hierarchy counts processor time")?;
    Ok((point, true))
}

/// The cgroup version in use, for the machine's description.
pub fn cgroup_version() -> &'static str {
    match hierarchy() {
        Ok((_, true)) => "v2",
        Ok((_, false)) => "v1 (hybrid)",
        Err(_) => "none",
    }
}

impl Group {
    /// A new empty group.
    pub fn create(role: &str) -> anyhow::Result<Self> {
        let (point, _) = hierarchy()?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = point.join(format!("lamplight-bench-{}-{role}-{number}", std::process::id()));
        std::fs::create_dir(&directory)
            .with_context(|| format!("failed to make the cgroup {} (run as root)", directory.display()))?;
        Ok(Self { directory, others: Vec::new() })
    }

    /// A command that runs `program` in the group: a shell enters it and becomes the program.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "echo $$ >\"$0\" && exec \"$@\""])
            .arg(self.directory.join("cgroup.procs"))
            .arg(program);
        command
    }

    /// Groups of running servers beside ours: those that appear while one starts are its own.
    pub fn of_servers() -> Vec<PathBuf> {
        let Ok((point, _)) = hierarchy() else { return Vec::new() };
        let entries = std::fs::read_dir(point).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.path())
            .filter(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                name.strip_prefix("lamplight-")
                    .is_some_and(|rest| rest.len() == 8 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
            })
            .collect()
    }

    /// Adds groups that count too.
    pub fn add(&mut self, others: Vec<PathBuf>) {
        self.others.extend(others);
    }

    /// Processor time of all members, past ones included, seconds.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let own = read_seconds(&self.directory)?;
        Ok(own + self.others.iter().filter_map(|other| read_seconds(other).ok()).sum::<f64>())
    }

    /// Ids of its members.
    pub fn members(&self) -> Vec<u32> {
        let text = std::fs::read_to_string(self.directory.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Kills what is left in the group, by process id.
    pub fn end_members(&self) {
        for id in self.members() {
            let _ = Command::new("kill")
                .args(["-9", &id.to_string()])
                .stderr(std::process::Stdio::null())
                .status();
        }
    }
}

fn read_seconds(directory: &Path) -> anyhow::Result<f64> {
    if let Ok(text) = std::fs::read_to_string(directory.join("cpuacct.usage")) {
        return Ok(text.trim().parse::<u64>()? as f64 / 1e9);
    }
    let text = std::fs::read_to_string(directory.join("cpu.stat"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
    Ok(line.context("cpu.stat has no usage")?.trim().parse::<u64>()? as f64 / 1e6)
}

/// What the machine did beside us between two looks.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Noise {
    /// Share of processor time taken by the hypervisor's other guests, percent.
    pub steal_percent: f64,
    /// Share of time in which something waited for a processor, percent. Our own load is part of it.
    pub pressure_percent: f64,
}

/// One look at the machine.
pub struct Look {
    at: std::time::Instant,
    ticks: f64,
    stolen: f64,
    waiting_us: f64,
}

impl Look {
    /// Looks now.
    pub fn now() -> Self {
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let fields: Vec<f64> = stat
            .lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .skip(1)
            .filter_map(|f| f.parse().ok())
            .collect();
        let pressure = std::fs::read_to_string("/proc/pressure/cpu").unwrap_or_default();
        let waiting_us = pressure
            .lines()
            .find_map(|line| line.strip_prefix("some ")?.rsplit_once("total=")?.1.parse().ok())
            .unwrap_or(0.0);
        Self {
            at: std::time::Instant::now(),
            ticks: fields.iter().take(8).sum(),
            stolen: fields.get(7).copied().unwrap_or(0.0),
            waiting_us,
        }
    }

    /// What happened since.
    pub fn since(&self) -> Noise {
        let now = Self::now();
        Noise {
            steal_percent: 100.0 * (now.stolen - self.stolen) / (now.ticks - self.ticks).max(1.0),
            pressure_percent: (now.waiting_us - self.waiting_us)
                / 1e4
                / (now.at - self.at).as_secs_f64().max(1e-3),
        }
    }
}
