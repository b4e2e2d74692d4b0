//! Asynchronous events: how fast they are accepted and run, and what a million that wait cost.

use super::memory::daemon;
use super::{Aim, Bench, EVENT, Row, warm};
use crate::bench::backlog::{Accepting, Hold, counts, fill};
use crate::bench::limits::group_commit::GroupCommit;
use crate::bench::load;
use crate::bench::pairing::{Measured, Sample, interleave};
use crate::bench::server::{Function, Runtime, Server, function_folder, invocations};
use crate::bench::statistics::{Ratio, median};
use crate::bench::wait_for;
use anyhow::Context as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Clients that send events.
const CLIENTS: usize = 16;
/// Events of each client in one block.
const BLOCK: usize = 100;
/// The aim is 0.7 of the limit's rate; of times it is the inverse.
const ACCEPTED: f64 = 1.43;
/// Those that wait are to be tried again in so long.
const LATER: Duration = Duration::from_secs(3_000);
/// A start is timed so often, with and without events that wait.
const STARTS: usize = 5;

/// All rows of events.
pub fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let python = bench.runtimes.iter().find(|runtime| runtime.language == "python").context("no Python")?;
    let bare = bench.server()?;
    create(&bare, python)?;
    let mut rows = vec![
        accepted(bench, &bare, "accepted event, durable, 16 clients: time of one")?,
        stored(bench, &bare, "the same at the store alone, 16 callers: time of one")?,
    ];
    rows.extend(drained(&bare)?);
    rows.extend(waiting(bench, &bare, python)?);
    Ok(rows)
}

fn create(server: &Server, python: &Runtime) -> anyhow::Result<()> {
    let of = |folder: &str| Function::of(&function_folder(folder, "python")?, python);
    server.create("held", &of("busy")?)?;
    server.create("echo", &of("echo")?)
}

/// Events of a function that cannot run meanwhile, against rows in a bare file of the same settings.
fn accepted(bench: &Bench, server: &Server, name: &str) -> anyhow::Result<Row> {
    let hold = Hold::start(server, "held")?;
    let limit = Limit::create(server)?;
    let mut connections = (0..CLIENTS).map(|_| server.connect()).collect::<anyhow::Result<Vec<_>>>()?;
    let path = invocations("held");
    let mut last = server.cpu_seconds()?;
    let mut ours = || {
        let send =
            |connection: &mut crate::bench::http::Connection| connection.enqueue(&path, EVENT.as_bytes());
        let seconds = load::closed_by(&mut connections, BLOCK, send)?.as_secs_f64();
        let now = server.cpu_seconds()?;
        let each = (CLIENTS * BLOCK) as f64;
        let sample = Sample { seconds: seconds / each, cpu_seconds: (now - last) / each };
        last = now;
        Ok(sample)
    };
    let groups = bench.effort.repetitions;
    let measured =
        interleave(groups, bench.effort.attempts, &mut ours, &mut || limit.commits.block(CLIENTS, BLOCK))?;
    drop(hold);
    let mut row = against_limit(name, &measured);
    row.note += &format!(", processor time {:.1} us", measured.cpu_seconds().0 * 1e6);
    Ok(row)
}

/// What of it is the store's part: the same events handed to `Store::enqueue` in this process, no request around them.
fn stored(bench: &Bench, server: &Server, name: &str) -> anyhow::Result<Row> {
    let limit = Limit::create(server)?;
    let data = server.data().with_extension("store");
    let events = Accepting::start(&data)?;
    let measured = interleave(
        bench.effort.repetitions,
        bench.effort.attempts,
        &mut || events.block(CLIENTS, BLOCK),
        &mut || limit.commits.block(CLIENTS, BLOCK),
    )?;
    drop(events);
    std::fs::remove_dir_all(&data).with_context(|| format!("failed to remove {}", data.display()))?;
    Ok(against_limit(name, &measured))
}

fn against_limit(name: &str, measured: &Measured) -> Row {
    let limit = "rows in a bare SQLite file, group commit";
    let mut row = Row::of(name, limit, Aim::RatioAtMost(ACCEPTED), measured, (1e6, "us"));
    row.cpu_ratio = None;
    row.note = format!("{:.0}/s (limit {:.0}/s)", 1e6 / row.ours, 1e6 / row.limit.unwrap_or(f64::NAN));
    row
}

/// The limit's file, beside the server's data; gone when dropped.
struct Limit {
    commits: GroupCommit,
    file: PathBuf,
}

impl Limit {
    fn create(server: &Server) -> anyhow::Result<Self> {
        let file = server.data().with_extension("limit");
        Ok(Self { commits: GroupCommit::create(&file)?, file })
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm"] {
            let mut name = self.file.as_os_str().to_owned();
            name.push(suffix);
            let _ = std::fs::remove_file(name);
        }
    }
}

/// What was accepted runs: how fast, and what one costs against a synchronous call of the same function.
fn drained(server: &Server) -> anyhow::Result<Vec<Row>> {
    let mut connection = server.connect()?;
    let (done, pending) = counts(&mut connection, "held")?;
    let cpu = server.cpu_seconds()?;
    let begun = Instant::now();
    let answer = connection.request("DELETE", "/2017-10-31/functions/held/concurrency", b"")?;
    anyhow::ensure!(answer.status == 204, "freeing answered {}: {}", answer.status, answer.text());
    // Those that were refused wait for their own time, and are not what is measured.
    let wanted = done + pending * 9 / 10;
    let mut progress = done;
    let deadline = Instant::now() + Duration::from_secs(120);
    while progress < wanted {
        anyhow::ensure!(Instant::now() < deadline, "{progress} of {wanted} events are done");
        std::thread::sleep(Duration::from_millis(5));
        progress = counts(&mut connection, "held")?.0;
    }
    let (seconds, events) = (begun.elapsed().as_secs_f64(), (progress - done) as f64);
    let cpu_us = (server.cpu_seconds()? - cpu) / events * 1e6;
    let row = Row::figure("events run from a backlog", events / seconds, "/s", Aim::None);
    Ok(vec![row.noting(&format!(
        "{events} events, each run, settled and durable; processor time of one {cpu_us:.0} us"
    ))])
}

/// What events that wait for their time cost: disk, memory, the start, and calls beside them.
fn waiting(bench: &Bench, bare: &Server, python: &Runtime) -> anyhow::Result<Vec<Row>> {
    let count = bench.effort.waiting_events;
    let server = bench.server()?;
    create(&server, python)?;
    let data = server.stop();
    let before = disk_bytes(&data)?;
    fill(&data, "echo", count, LATER)?;
    let each = (disk_bytes(&data)? - before) / count as f64;
    let title = |what: &str| format!("{what}, {count} events wait");
    let payload = EVENT.len();
    let mut rows = vec![
        Row::figure(&title("disk space of one waiting event"), each, "bytes", Aim::None)
            .noting(&format!("payload of {payload} bytes")),
    ];
    rows.push(start(bench, &data, &title("start"))?);
    let server = Server::start_in(&bench.binary, &data, &[])?;
    let mut row = latency(bench, &server, bare, &title("warm call, Python, one client"))?;
    row.start = "warm".to_owned();
    rows.push(row);
    let (ours, limit) = (daemon(&server)?.private_mib()?, daemon(bare)?.private_mib()?);
    let mut row = Row::figure(&title("memory of the daemon"), ours, "MiB", Aim::OursAtMost(limit + 16.0));
    (row.limit, row.limit_name) = (Some(limit), "none waits".to_owned());
    rows.push(row.noting("private memory, after the calls and events of the rows above"));
    let mut row = accepted(bench, &server, &title("accepted event, durable, 16 clients: time of one"))?;
    row.aim = Aim::None;
    rows.push(row);
    Ok(rows)
}

fn disk_bytes(data: &Path) -> anyhow::Result<f64> {
    Ok(std::fs::metadata(data.join("metadata.sqlite"))?.len() as f64)
}

/// From the process's start to the first answer, with a backlog and without.
fn start(bench: &Bench, data: &Path, title: &str) -> anyhow::Result<Row> {
    let mut pairs = Vec::new();
    for _ in 0..STARTS {
        let server = Server::start_in(&bench.binary, data, &[])?;
        let ours = server.ready.as_secs_f64() * 1e3;
        server.stop();
        let limit = bench.server()?.ready.as_secs_f64() * 1e3;
        pairs.push((ours, limit));
    }
    let mut row =
        Row::figure(title, median(pairs.iter().map(|pair| pair.0).collect()), "ms", Aim::OursAtMost(100.0));
    row.limit = Some(median(pairs.iter().map(|pair| pair.1).collect()));
    row.limit_name = "a new data directory".to_owned();
    row.ratio = Some(Ratio::of(&pairs));
    row.pairs = pairs;
    Ok(row)
}

/// Blocks of synchronous calls to a server with a backlog, and to one without.
fn latency(bench: &Bench, server: &Server, bare: &Server, title: &str) -> anyhow::Result<Row> {
    let path = invocations("echo");
    let (mut ours, mut theirs) = (server.connect()?, bare.connect()?);
    // What is left of the rows before would run beside the calls.
    wait_for("an empty queue", || Ok((counts(&mut theirs, "held")?.1 == 0).then_some(())))?;
    for _ in 0..warm::FIRST {
        ours.call(&path, EVENT.as_bytes())?;
        theirs.call(&path, EVENT.as_bytes())?;
    }
    let mut our_meter = super::Meter::new(|| server.cpu_seconds())?;
    let mut their_meter = super::Meter::new(|| bare.cpu_seconds())?;
    let measured = interleave(
        bench.effort.warm_groups,
        bench.effort.attempts,
        &mut || warm::sample(&mut ours, &path, EVENT, || our_meter.since()),
        &mut || warm::sample(&mut theirs, &path, EVENT, || their_meter.since()),
    )?;
    Ok(Row::of(title, "a server where none waits", Aim::RatioAtMost(1.03), &measured, (1e6, "us")))
}
