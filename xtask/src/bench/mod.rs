//! `cargo xtask bench`: the platform against bare programs that do the same work, as ratios within one run.
//!
//! Pairs are interleaved (ours, limit, limit, ours) so that both see the same machine; the result is the median
//! of the pairs' ratios. An A/A check runs the limit against itself: outside 0.97 to 1.03 the run is void, which
//! is printed and never taken for a pass. Nothing here is an assertion. Needs root.

mod http;
mod server;
mod statistics;

use crate::{command, paths};
use anyhow::Context as _;
use server::{Limit, Server};
use statistics::{Ratio, median};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// Arguments of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
pub struct BenchArguments {
    /// Pairs of blocks for each warm figure.
    #[arg(long, default_value_t = 61)]
    pub blocks: usize,
    /// Pairs for each cold figure.
    #[arg(long, default_value_t = 31)]
    pub pairs: usize,
    /// Measure this binary instead of building a release.
    #[arg(long, value_name = "FILE")]
    pub binary: Option<std::path::PathBuf>,
}

/// Calls in one block of a warm figure.
const CALLS: usize = 200;
const EVENT: &str = r#"{"key":"value","number":42}"#;

struct Row {
    name: String,
    ours: f64,
    limit: Option<f64>,
    ratio: Option<Ratio>,
    unit: &'static str,
    note: String,
}

/// Runs everything and prints the table; results as JSON go to `.cache/bench.json`.
pub fn run(arguments: &BenchArguments) -> anyhow::Result<ExitCode> {
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => {
            command::run(
                Command::new("cargo")
                    .args(["build", "--release", "--locked", "--package", "lamplight"])
                    .current_dir(paths::root()),
            )?;
            paths::target()?.join("release/lamplight")
        }
    };
    let (server, ready) = Server::start(&binary)?;
    let mut rows = vec![Row {
        name: "server start to its first answer".to_owned(),
        ours: ready.as_secs_f64() * 1e3,
        limit: None,
        ratio: None,
        unit: "ms",
        note: String::new(),
    }];
    let idle_mib = server.daemon_memory_mib()?;
    rows.push(figure("memory of the idle server's daemon (private and shared, resident)", idle_mib, "MiB"));

    for runtime in server.runtimes()? {
        let limit = Limit::of(&runtime)?;
        let name = format!("bench-{}", runtime.language);
        server.create(&name, &runtime)?;
        rows.extend(warm(&server, &limit, &name, &runtime.language, arguments.blocks)?);
        rows.push(cold(&server, &limit, &runtime, arguments.pairs)?);
        rows.push(figure(
            &format!("memory of an idle {} instance (proportional)", runtime.language),
            server.instance_memory_mib(&runtime)?,
            "MiB",
        ));
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    print(&rows, load.trim());
    save(&rows, load.trim())?;
    Ok(ExitCode::SUCCESS)
}

fn figure(name: &str, ours: f64, unit: &'static str) -> Row {
    Row { name: name.to_owned(), ours, limit: None, ratio: None, unit, note: String::new() }
}

/// Time of one block of calls over one kept connection, seconds per call.
fn block(connection: &mut http::Connection, path: &str) -> anyhow::Result<f64> {
    let begun = Instant::now();
    for _ in 0..CALLS {
        let answer = connection.post(path, EVENT.as_bytes())?;
        anyhow::ensure!(answer.status == 200, "{path} answered {}: {}", answer.status, answer.text());
    }
    Ok(begun.elapsed().as_secs_f64() / CALLS as f64)
}

fn warm(
    server: &Server,
    limit: &Limit,
    name: &str,
    language: &str,
    blocks: usize,
) -> anyhow::Result<Vec<Row>> {
    let path = server::invocations(name);
    let bare = limit.serve()?;
    let mut ours = server.connect()?;
    let mut theirs = http::Connection::open(bare.port)?;
    block(&mut ours, &path)?;
    block(&mut theirs, "/")?;
    let (mut pairs, mut checks) = (Vec::new(), Vec::new());
    for _ in 0..blocks.div_ceil(2) {
        let first = block(&mut ours, &path)?;
        let (second, third) = (block(&mut theirs, "/")?, block(&mut theirs, "/")?);
        let fourth = block(&mut ours, &path)?;
        pairs.extend([(first, second), (fourth, third)]);
        checks.push((second, third));
    }
    let mut row = compare(format!("warm call, {language}, one client"), &pairs, 1e6, "us");
    let check = Ratio::of(&checks);
    row.note = if check.is_neutral() {
        format!("A/A {:.3}", check.median)
    } else {
        format!("VOID: A/A {:.3}, the machine was not quiet", check.median)
    };
    let rate = figure(&format!("warm calls per second, {language}, one client"), 1e6 / row.ours, "1/s");
    Ok(vec![row, rate])
}

fn cold(server: &Server, limit: &Limit, runtime: &server::Runtime, pairs: usize) -> anyhow::Result<Row> {
    let mut measured = Vec::new();
    let mut connection = server.connect()?;
    for number in 0..pairs {
        // A function of its own each time: nothing of it is warm.
        let name = format!("cold-{}-{number}", runtime.language);
        server.create(&name, runtime)?;
        let begun = Instant::now();
        let answer = connection.post(&server::invocations(&name), EVENT.as_bytes())?;
        let ours = begun.elapsed().as_secs_f64();
        anyhow::ensure!(answer.status == 200, "a cold call answered {}", answer.status);
        measured.push((ours, limit.cold(EVENT)?.as_secs_f64()));
        server.delete(&name)?;
    }
    let mut row =
        compare(format!("cold call, {}, from nothing, whole wall", runtime.language), &measured, 1e3, "ms");
    row.note = format!("against {} and the import of the handler, no wall", limit.describe());
    Ok(row)
}

fn compare(name: String, pairs: &[(f64, f64)], scale: f64, unit: &'static str) -> Row {
    let side = |pick: fn(&(f64, f64)) -> f64| median(pairs.iter().map(pick).collect()) * scale;
    Row {
        name,
        ours: side(|pair| pair.0),
        limit: Some(side(|pair| pair.1)),
        ratio: Some(Ratio::of(pairs)),
        unit,
        note: String::new(),
    }
}

fn print(rows: &[Row], load: &str) {
    println!("\n| what | ours (median) | limit (median) | ratio (95 % interval) | |\n|---|---|---|---|---|");
    for row in rows {
        let limit = row.limit.map_or(String::new(), |limit| format!("{limit:.1} {}", row.unit));
        let ratio = row.ratio.as_ref().map_or(String::new(), ToString::to_string);
        println!("| {} | {:.1} {} | {limit} | {ratio} | {} |", row.name, row.ours, row.unit, row.note);
    }
    println!("\nload average at the end: {load}; isolation: the whole default wall");
}

fn save(rows: &[Row], load: &str) -> anyhow::Result<()> {
    let rows: Vec<serde_json::Value> = rows
        .iter()
        .map(|row| {
            serde_json::json!({
                "name": row.name, "unit": row.unit, "ours": row.ours, "limit": row.limit,
                "ratio": row.ratio.as_ref().map(|ratio| ratio.median), "note": row.note,
            })
        })
        .collect();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let document = serde_json::json!({ "rows": rows, "load": load, "kernel": kernel.trim(), "cores": cores });
    let file = paths::cache().join("bench.json");
    std::fs::create_dir_all(paths::cache())?;
    std::fs::write(&file, serde_json::to_vec_pretty(&document)?).context("failed to write the results")
}

/// Waits for something that happens soon, without a fixed pause.
fn wait_for<Value>(
    what: &str,
    mut look: impl FnMut() -> anyhow::Result<Option<Value>>,
) -> anyhow::Result<Value> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(value) = look()? {
            return Ok(value);
        }
        anyhow::ensure!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
