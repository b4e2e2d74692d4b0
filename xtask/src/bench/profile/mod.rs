//! `cargo xtask bench --profile`: a flame graph of the server for each row that the last measurement missed.
//!
//! The row's own load runs on our side only, while `perf` records every process below the server, those that start meanwhile
//! included, with the kernel's part. The server is built with its symbols. Pictures go to docs/performance/profiles.

mod flame;
mod stacks;

use super::rows::{Row, Verdict};
use super::server::Server;
use super::{output, publish};
use crate::{command, paths};
use anyhow::Context as _;
use std::collections::HashMap;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Samples a second of each processor: a prime, so that nothing periodic is always or never hit.
const HERTZ: u32 = 1999;
/// Bytes of stack that perf copies for each sample; interpreters have no frame pointers to follow.
const STACK_BYTES: u32 = 8192;
/// How long the load runs.
const DURATION: Duration = Duration::from_secs(12);
/// How long perf may take to attach to all processes before the load begins.
const ATTACH: Duration = Duration::from_secs(1);
/// Tries to attach: a process that ends meanwhile makes perf give up.
const ATTEMPTS: u32 = 3;
/// Most recorded data, MiB; perf ends by itself then.
const MOST_MIB: u32 = 1024;

/// Records rows whose aim was missed.
pub struct Recorder {
    /// The rows of the last measurements.
    rows: Vec<Row>,
    folder: PathBuf,
}

impl Recorder {
    /// Looks for what the last measurements missed. Fails when there is no `perf`.
    pub fn new() -> anyhow::Result<Self> {
        anyhow::ensure!(
            command::exists("perf"),
            "there is no perf on this host (Debian: apt-get install linux-perf)"
        );
        let folder = paths::root().join(publish::PROFILES);
        std::fs::create_dir_all(&folder)?;
        Ok(Self { rows: output::saved(), folder })
    }

    /// Whether a row of this name was missed, or never measured.
    pub fn wants(&self, name: &str) -> bool {
        wants(&self.rows, name)
    }

    /// Records `server` while `step` is done again and again, until it says that there is no more to do. What is recorded is
    /// to be drawn when the server is gone: perf looks for a living process's files where that process would find them, and
    /// the daemon does not find its own program.
    pub fn record(
        &self,
        name: &str,
        server: &Server,
        mut step: impl FnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<Recorded> {
        let data = Path::new("/var/tmp").join(format!("lamplight-profile-{}.data", std::process::id()));
        let names =
            |server: &Server| server.processes().into_iter().map(|process| (process.id, process.name));
        let before: Vec<_> = names(server).collect();
        let mut recording = Recording::start(server, &data)?;
        let begun = Instant::now();
        let mut steps = 0_usize;
        while begun.elapsed() < DURATION && step()? {
            steps += 1;
        }
        let seconds = begun.elapsed().as_secs_f64();
        recording.end()?;
        // What they are called at the end counts: a process may be named late.
        let processes =
            before.into_iter().chain(names(server)).filter(|(_, name)| !name.is_empty()).collect();
        let file = self.folder.join(format!("{}.svg", publish::slug(name)));
        Ok(Recorded { recording, name: name.to_owned(), file, processes, steps, seconds })
    }
}

/// What was recorded of one row.
pub struct Recorded {
    recording: Recording,
    name: String,
    file: PathBuf,
    /// Names of those processes that could be asked.
    processes: HashMap<u32, String>,
    steps: usize,
    seconds: f64,
}

impl Recorded {
    /// Writes the picture. Call it when the server is gone.
    pub fn draw(self) -> anyhow::Result<()> {
        let stacks = read(&self.recording.data, &self.processes)?;
        anyhow::ensure!(stacks.samples > 0, "perf recorded nothing of {}", self.name);
        let (samples, shares) = (stacks.samples, stacks.shares());
        println!("{}: {} steps, {samples} samples, {shares}", self.name, self.steps);
        let subtitle = format!(
            "Processor time of the server's processes: {shares}. {samples} samples of {:.1} ms in {:.0} s of the row's load.",
            1e3 / f64::from(HERTZ),
            self.seconds,
        );
        std::fs::write(&self.file, flame::draw(&self.name, &subtitle, stacks))?;
        Ok(())
    }
}

fn wants(rows: &[Row], name: &str) -> bool {
    rows.iter().find(|row| row.name == name).is_none_or(|row| row.verdict() == Verdict::Missed)
}

/// A running perf and its data; ended and removed when dropped.
struct Recording {
    perf: Child,
    data: PathBuf,
}

impl Recording {
    fn start(server: &Server, data: &Path) -> anyhow::Result<Self> {
        for _ in 0..ATTEMPTS {
            let ids: Vec<_> = server.processes().iter().map(|process| process.id.to_string()).collect();
            let perf = Command::new("perf")
                .args([
                    "record",
                    "--quiet",
                    "--no-buildid-cache",
                    "--event",
                    "cpu-clock",
                    "--freq",
                    &HERTZ.to_string(),
                ])
                .args([
                    "--call-graph",
                    &format!("dwarf,{STACK_BYTES}"),
                    "--max-size",
                    &format!("{MOST_MIB}M"),
                ])
                .args(["--pid", &ids.join(","), "--output"])
                .arg(data)
                .stdin(Stdio::null())
                .spawn()
                .context("failed to start perf")?;
            let mut recording = Self { perf, data: data.to_owned() };
            std::thread::sleep(ATTACH);
            if recording.perf.try_wait()?.is_none() {
                return Ok(recording);
            }
        }
        anyhow::bail!("perf ended at once {ATTEMPTS} times")
    }

    /// Lets perf write what it has, and waits for that.
    fn end(&mut self) -> anyhow::Result<()> {
        // It has ended already when there was too much data; what it has then counts.
        if self.perf.try_wait()?.is_none() {
            Command::new("kill").args(["-INT", &self.perf.id().to_string()]).status()?;
            self.perf.wait()?;
        }
        anyhow::ensure!(self.data.exists(), "perf wrote nothing");
        Ok(())
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if matches!(self.perf.try_wait(), Ok(None)) {
            let _ = self.perf.kill();
            let _ = self.perf.wait();
        }
        let _ = std::fs::remove_file(&self.data);
    }
}

/// The recorded stacks.
fn read(data: &Path, processes: &HashMap<u32, String>) -> anyhow::Result<stacks::Frame> {
    let mut script = Command::new("perf")
        .args(["script", "--no-inline", "--fields", "comm,pid,tid,ip,sym,dso", "--input"])
        .arg(data)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // It complains about each process that is gone.
        .stderr(Stdio::null())
        .spawn()
        .context("failed to start perf script")?;
    let output = script.stdout.take().context("perf script has no output")?;
    let stacks = stacks::read(BufReader::new(output), processes);
    let status = script.wait()?;
    anyhow::ensure!(status.success(), "perf script failed");
    Ok(stacks?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::rows::Aim;

    #[test]
    fn only_what_was_not_met_is_recorded() {
        let rows = [
            Row::figure("met", 1.0, "ms", Aim::OursAtMost(2.0)),
            Row::figure("missed", 3.0, "ms", Aim::OursAtMost(2.0)),
        ];
        assert!(!wants(&rows, "met") && wants(&rows, "missed") && wants(&rows, "never measured"));
    }
}
