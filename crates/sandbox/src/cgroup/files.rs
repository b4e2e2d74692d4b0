//! Open control files of one sandbox: all that the unprivileged daemon holds of its cgroups.

use rustix::fd::OwnedFd;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Period of the processor limit, microseconds. 20 ms keeps the pauses of small functions short and is still
/// long enough for the 1 ms the kernel grants at least.
pub const CPU_PERIOD_US: u64 = 20_000;
/// Smallest quota the kernel accepts, microseconds.
const CPU_QUOTA_LEAST_US: u64 = 1_000;
/// Control files are a line or a few; this is far more.
const CONTENT_BYTES: usize = 1024;

/// Files of one sandbox, opened by root, used by anyone who holds them.
#[derive(Debug)]
pub struct ControlFiles {
    pub(super) memory_limit: File,
    pub(super) memory_peak: File,
    pub(super) memory_current: File,
    pub(super) out_of_memory: File,
    pub(super) cpu_limit: File,
    pub(super) cpu_weight: File,
    pub(super) process_limit: File,
    pub(super) freeze: File,
    pub(super) kill: File,
    /// Absent where the kernel cannot be asked (version 2 before Linux 5.19).
    pub(super) reclaim: Option<File>,
}

impl ControlFiles {
    /// The files in the fixed order of [`from_fds`](Self::from_fds).
    pub fn into_fds(self) -> Vec<OwnedFd> {
        let mut descriptors: Vec<OwnedFd> = [
            self.memory_limit,
            self.memory_peak,
            self.memory_current,
            self.out_of_memory,
            self.cpu_limit,
            self.cpu_weight,
            self.process_limit,
            self.freeze,
            self.kill,
        ]
        .map(OwnedFd::from)
        .into();
        // Last, because it may be missing.
        descriptors.extend(self.reclaim.map(OwnedFd::from));
        descriptors
    }

    /// Takes the descriptors another process sent.
    pub fn from_fds(descriptors: Vec<OwnedFd>) -> io::Result<Self> {
        let mut files = descriptors.into_iter().map(File::from);
        let mut next = || files.next().ok_or_else(|| io::Error::other("a control file is missing"));
        Ok(Self {
            memory_limit: next()?,
            memory_peak: next()?,
            memory_current: next()?,
            out_of_memory: next()?,
            cpu_limit: next()?,
            cpu_weight: next()?,
            process_limit: next()?,
            freeze: next()?,
            kill: next()?,
            reclaim: files.next(),
        })
    }

    /// Bounds memory, bytes.
    pub fn set_memory(&self, bytes: u64) -> io::Result<()> {
        write(&self.memory_limit, &bytes.to_string())
    }

    /// Bounds processor time, thousandths of one processor, and makes the share in what is left under load
    /// proportional to it.
    pub fn set_cpu(&self, millis: u32) -> io::Result<()> {
        let quota = (u64::from(millis) * CPU_PERIOD_US / 1000).max(CPU_QUOTA_LEAST_US);
        // Version 2 has quota and period in one file, which shows as two words.
        let version_two = read(&self.cpu_limit)?.trim_end().contains(' ');
        if version_two {
            write(&self.cpu_weight, &(millis / 10).clamp(1, 10_000).to_string())?;
            write(&self.cpu_limit, &format!("{quota} {CPU_PERIOD_US}"))
        } else {
            write(&self.cpu_weight, &(u64::from(millis) * 1024 / 1000).clamp(2, 262_144).to_string())?;
            write(&self.cpu_limit, &quota.to_string())
        }
    }

    /// Bounds processes and threads together.
    pub fn set_processes(&self, most: u32) -> io::Result<()> {
        write(&self.process_limit, &most.to_string())
    }

    /// Stops every member where it is.
    pub fn freeze(&self) -> io::Result<()> {
        write(&self.freeze, "1")
    }

    /// Lets the members go on.
    pub fn thaw(&self) -> io::Result<()> {
        write(&self.freeze, "0")
    }

    /// Kills every member, frozen or not, whatever it does meanwhile.
    pub fn kill(&self) -> io::Result<()> {
        write(&self.kill, "1")
    }

    /// Asks the kernel to take back what it can get again elsewhere: file pages, first those unused for longest. Gives the
    /// bytes that were freed; 0 where the kernel cannot be asked. Takes milliseconds, so never on the way of a call.
    ///
    /// Source: cgroup-v2.rst, `memory.reclaim`; cgroup-v1/memory.rst, `memory.force_empty`.
    pub fn reclaim(&self) -> io::Result<u64> {
        let Some(file) = &self.reclaim else { return Ok(0) };
        let before = self.memory_current()?;
        // Version 1 takes any content for "all". Version 2 fails with EAGAIN when it got less than it was asked for,
        // which is the rule: what is not of files stays.
        match write(file, &before.to_string()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => other?,
        }
        Ok(before.saturating_sub(self.memory_current()?))
    }

    /// Highest memory use so far, bytes.
    pub fn memory_peak(&self) -> io::Result<u64> {
        number(&read(&self.memory_peak)?)
    }

    /// Memory use now, bytes.
    pub fn memory_current(&self) -> io::Result<u64> {
        number(&read(&self.memory_current)?)
    }

    /// How often the kernel killed a member for lack of memory.
    pub fn oom_kills(&self) -> io::Result<u64> {
        let content = read(&self.out_of_memory)?;
        let line = content.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.map_or(Ok(0), number)
    }
}

fn write(file: &File, value: &str) -> io::Result<()> {
    file.write_at(value.as_bytes(), 0).map(|_| ())
}

fn read(file: &File) -> io::Result<String> {
    let mut content = [0_u8; CONTENT_BYTES];
    let length = file.read_at(&mut content, 0)?;
    Ok(String::from_utf8_lossy(&content[..length]).into_owned())
}

fn number(text: &str) -> io::Result<u64> {
    text.trim()
        .parse()
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("{text:?} is no number")))
}
