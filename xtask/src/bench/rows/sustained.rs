//! Cold starts one after another, create to destroy, against a C program that makes the same system calls; and whether
//! anything is left behind afterwards.

use super::warm::custom;
use super::{Aim, Bench, EVENT, Row};
use crate::bench::cpu::Group;
use crate::bench::http::Connection;
use crate::bench::load;
use crate::bench::pairing::{Measured, Sample, interleave};
use crate::bench::server::{Function, Process, Server, invocations};
use crate::bench::statistics::Ratio;
use crate::bench::wait_for;
use crate::{command, paths};
use anyhow::Context as _;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Calls under way at once.
const CLIENTS: usize = 16;
/// How long what ended may take to be gone.
const REST: Duration = Duration::from_millis(500);
/// Calls at once that leave more `/tmp` volumes than the pool lets wait for the next instance (`carried_volumes`, 32): so
/// many wait afterwards, neither more nor fewer.
const SATURATING: usize = 64;
/// Looks at a server that find the same until it is at rest: longer than the pool's maintenance sleeps (5 s), which gives up
/// what waits beyond the bound.
const SAME_LOOKS: usize = 12;

/// The rate, and the leak check after it.
pub fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let program = compile()?;
    let (runtime, folder) = custom()?;
    let empty = true_function()?;
    let mut function = Function::of(&folder, &runtime)?.with("BENCH_ONCE", "1");
    function.memory_mib = 128;
    let server = bench.server()?;
    server.create("once", &function)?;
    let path = invocations("once");
    let mut connections = (0..CLIENTS).map(|_| server.connect()).collect::<anyhow::Result<Vec<_>>>()?;
    // Per client and block; blocks of the full run are long enough for a hundred cgroup grace periods.
    let (calls, groups) = if bench.effort.full { (16, 20) } else { (4, 8) };
    let block = CLIENTS * calls;
    load::closed(&mut connections, &path, EVENT.as_bytes(), calls)?;
    // The same load right before both counts, over as many new connections: what waits on purpose is equal in both.
    let saturated = || -> anyhow::Result<Left> {
        let mut many = (0..SATURATING).map(|_| server.connect()).collect::<anyhow::Result<Vec<_>>>()?;
        load::closed(&mut many, &path, EVENT.as_bytes(), 2)?;
        Left::rest(&server)
    };
    let before = saturated()?;
    let mut starts = 0;
    let measured = measure(bench, &server, &mut connections, (calls, groups), &mut starts, &mut || {
        limit(&program, &empty, block, &[])
    })?;
    let row =
        rate_row("sustained cold starts, create to destroy: time of one", Aim::RatioAtLeast(0.6), &measured);
    let after = saturated()?;
    starts += 2 * SATURATING;
    let grown = before.grown_to(&after);
    let text = grown.iter().map(|(what, more)| format!("{more} more {what}")).collect::<Vec<_>>().join(", ");
    let leak = Row::figure(
        "left behind by sustained cold starts",
        grown.values().sum::<i64>() as f64,
        "",
        Aim::OursAtMost(0.0),
    );
    let there = after.0.iter().map(|(what, count)| format!("{count} {what}")).collect::<Vec<_>>().join(", ");
    let remark = format!("after {starts} starts there are, of the server at rest, {there}");
    drop(server);
    let each = built_each(bench, &function, (&program, &empty), (calls, groups))?;
    Ok(vec![row, leak.noting(&remark).noting(&text), each])
}

/// The rate without templates: every file tree is built from the beginning, by the C program too.
fn built_each(
    bench: &Bench,
    function: &Function,
    (program, empty): (&Path, &Path),
    (calls, groups): (usize, usize),
) -> anyhow::Result<Row> {
    let server = Server::start(&bench.binary, &[("LAMPLIGHT_INSTANCES_TEMPLATES", "false")])?;
    server.create("once", function)?;
    let mut connections = (0..CLIENTS).map(|_| server.connect()).collect::<anyhow::Result<Vec<_>>>()?;
    load::closed(&mut connections, &invocations("once"), EVENT.as_bytes(), calls)?;
    let measured = measure(bench, &server, &mut connections, (calls, groups), &mut 0, &mut || {
        limit(program, empty, CLIENTS * calls, &["each"])
    })?;
    Ok(rate_row("sustained cold starts, create to destroy, classic binds: time of one", Aim::None, &measured))
}

/// Blocks of calls of each of these connections, alternately with `limit`; `starts` is raised by what was started.
fn measure(
    bench: &Bench,
    server: &Server,
    connections: &mut [Connection],
    (calls, groups): (usize, usize),
    starts: &mut usize,
    limit: &mut dyn FnMut() -> anyhow::Result<Sample>,
) -> anyhow::Result<Measured> {
    let (path, block) = (invocations("once"), connections.len() * calls);
    let mut last = server.cpu_seconds()?;
    interleave(
        groups,
        bench.effort.attempts,
        &mut || {
            let seconds = load::closed(connections, &path, EVENT.as_bytes(), calls)?.as_secs_f64();
            *starts += block;
            std::thread::sleep(REST);
            let now = server.cpu_seconds()?;
            let cpu_seconds = (now - last) / block as f64;
            last = now;
            Ok(Sample { seconds: seconds / block as f64, cpu_seconds })
        },
        limit,
    )
}

fn rate_row(title: &str, aim: Aim, measured: &Measured) -> Row {
    let mut row = Row::of(title, "a C program making the same system calls", aim, measured, (1e3, "ms"));
    // The aim is on the rate, which is the inverse.
    row.ratio = Some(Ratio::of(
        &measured.seconds().into_iter().map(|(ours, limit)| (limit, ours)).collect::<Vec<_>>(),
    ));
    row.start = "from nothing".to_owned();
    let rate = |milliseconds: f64| 1e3 / milliseconds;
    let note = format!(
        "{:.0}/s (limit {:.0}/s); the ratio is that of the rates",
        rate(row.ours),
        rate(row.limit.unwrap_or(f64::NAN))
    );
    row.noting(&note)
}

fn compile() -> anyhow::Result<PathBuf> {
    let program = paths::cache().join("bench/sandbox");
    std::fs::create_dir_all(paths::cache().join("bench"))?;
    let source = paths::root().join("xtask/src/bench/limits/sandbox.c");
    command::run(Command::new("cc").args(["-O2", "-o"]).arg(&program).arg(source))?;
    Ok(program)
}

/// A folder whose `bootstrap` ends at once.
fn true_function() -> anyhow::Result<PathBuf> {
    let folder = paths::cache().join("bench/true");
    std::fs::create_dir_all(&folder)?;
    let source = folder.join("true.c");
    std::fs::write(&source, "int main(void) { return 0; }\n")?;
    let program = folder.join("bootstrap");
    command::run(Command::new("cc").args(["-O2", "-static", "-o"]).arg(&program).arg(&source))?;
    Ok(folder)
}

fn limit(program: &Path, code: &Path, count: usize, how: &[&str]) -> anyhow::Result<Sample> {
    let group = Group::create("sandboxes")?;
    let mut command = group.command(program);
    command.arg(count.to_string()).arg(code).args(how).stderr(Stdio::inherit());
    let output = command.output()?;
    anyhow::ensure!(output.status.success(), "the C program failed");
    let seconds: f64 = String::from_utf8_lossy(&output.stdout).trim().parse()?;
    Ok(Sample { seconds: seconds / count as f64, cpu_seconds: group.cpu_seconds()? / count as f64 })
}

/// What a sandbox could leave behind.
#[derive(Debug, Clone, PartialEq)]
struct Left(BTreeMap<&'static str, i64>);

impl Left {
    fn now(server: &Server) -> anyhow::Result<Self> {
        let processes = server.processes();
        // Without waiting shells: they hold what their spawner held when it forked them, which is chance.
        let waits = |process: &Process| {
            std::fs::read_to_string(format!("/proc/{}/comm", process.id))
                .is_ok_and(|name| name.trim_end() == "lamplight-shell")
        };
        let descriptors: usize = processes
            .iter()
            .filter(|process| !waits(process))
            .filter_map(|process| Some(std::fs::read_dir(format!("/proc/{}/fd", process.id)).ok()?.count()))
            .sum();
        let namespaces: BTreeSet<PathBuf> = processes
            .iter()
            .filter_map(|process| std::fs::read_link(format!("/proc/{}/ns/net", process.id)).ok())
            .collect();
        // Only this server's: others may run on the same machine.
        let data = server.data().to_string_lossy().into_owned();
        let backing = |entry: &std::fs::DirEntry| {
            std::fs::read_to_string(entry.path().join("loop/backing_file")).unwrap_or_default()
        };
        let loops = std::fs::read_dir("/sys/block")?
            .flatten()
            .filter(|entry| backing(entry).starts_with(&data))
            .count();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
        let count = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        Ok(Self(BTreeMap::from([
            ("processes", count(processes.len())),
            ("descriptors", count(descriptors)),
            ("network namespaces", count(namespaces.len())),
            ("loop devices", count(loops)),
            ("mounts", count(mounts.lines().filter(|line| line.contains(&data)).count())),
            ("cgroups", count(cgroups(&processes))),
        ])))
    }

    /// What is there when nothing changes any more.
    fn rest(server: &Server) -> anyhow::Result<Self> {
        let (mut last, mut same) = (Self::now(server)?, 0);
        wait_for("the server to come to rest", || {
            std::thread::sleep(REST);
            let now = Self::now(server).context("failed to count what is there")?;
            same = if now == last { same + 1 } else { 0 };
            last = now;
            Ok((same == SAME_LOOKS).then(|| last.clone()))
        })
    }

    /// What grew. One kind that shrank does not make up for another.
    fn grown_to(&self, after: &Self) -> BTreeMap<&'static str, i64> {
        let grown = self.0.iter().map(|(what, before)| (*what, after.0.get(what).unwrap_or(&0) - before));
        grown.filter(|(_, more)| *more > 0).collect()
    }
}

/// Cgroups of the server's sandboxes, in all hierarchies: those beside the one that a sandbox of its is in.
fn cgroups(processes: &[Process]) -> usize {
    let own = processes.iter().find_map(|process| {
        let memberships = std::fs::read_to_string(format!("/proc/{}/cgroup", process.id)).ok()?;
        let inside = memberships
            .lines()
            .find_map(|line| line.rsplit_once("/lamplight-").filter(|(_, rest)| rest.contains('/')))?
            .1;
        Some(format!("lamplight-{}", inside.split('/').next()?))
    });
    let Some(own) = own else { return 0 };
    let below = |parent: PathBuf| {
        std::fs::read_dir(parent)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.path().is_dir())
            .count()
    };
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    below(Path::new("/sys/fs/cgroup").join(&own))
        + hierarchies.map(|entry| below(entry.path().join(&own))).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_grew_counts() {
        let left = |loops, mounts| Left(BTreeMap::from([("loop devices", loops), ("mounts", mounts)]));
        assert_eq!(left(32, 4).grown_to(&left(32, 3)), BTreeMap::new());
        // One for each thousand of 10,240 starts.
        assert_eq!(left(32, 4).grown_to(&left(42, 3)), BTreeMap::from([("loop devices", 10)]));
    }
}
