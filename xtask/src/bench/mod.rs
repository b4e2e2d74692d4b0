//! `cargo xtask bench`: the platform against small programs that do the same work with nothing added.
//!
//! Ratios within one run, never times: pairs are interleaved (see [`pairing`]), and an A/A check of the harness that does
//! not read 0.97 to 1.03 voids a row. Needs root. How each figure is taken is told in docs/performance.md.

mod backlog;
mod budgets;
mod cpu;
mod http;
pub mod limits;
mod load;
mod output;
mod overview;
mod package;
mod pairing;
mod profile;
mod publish;
mod rows;
mod server;
mod statistics;
mod svg;

use crate::{command, paths};
use rows::{Bench, Effort, Row};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// Arguments of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
pub struct BenchArguments {
    /// Only these kinds of rows (may be given several times).
    #[arg(long, value_name = "KIND", value_parser = KINDS.map(|kind| kind.0))]
    only: Vec<String>,
    /// A few pairs of each, to see that everything works.
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// Compare with other ways to run the same handler, where they are installed.
    #[arg(long)]
    peers: bool,
    /// The table's own numbers of functions, instances and starts.
    #[arg(long)]
    full: bool,
    /// Measurements of one row until its A/A check is neutral.
    #[arg(long, default_value_t = 5)]
    attempts: u32,
    /// Write what is measured into docs/performance.md and the README, with plots. With --only, the other rows stay as the
    /// last runs left them.
    #[arg(long, conflicts_with_all = ["quick", "budgets"])]
    publish: bool,
    /// Compare the processor time of a short run with the stored budgets, and fail beyond one; no time is compared.
    #[arg(long, conflicts_with_all = ["only", "full", "quick"])]
    budgets: bool,
    /// Draw a flame graph of the server under the load of each row that the last measurement missed; nothing is compared.
    #[arg(long, conflicts_with_all = ["full", "quick", "peers", "publish", "budgets"])]
    profile: bool,
    /// Measure this binary instead of building a release.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// A kind of rows and what measures it.
type Kind = (&'static str, fn(&Bench) -> anyhow::Result<Vec<Row>>);

const KINDS: [Kind; 12] = [
    ("cold", rows::cold::run),
    ("imports", rows::imports::run),
    ("burst", rows::burst::run),
    ("sustained", rows::sustained::run),
    ("warm", rows::warm::run),
    ("throughput", rows::many::throughput),
    ("tail", rows::many::tail),
    ("url", rows::url::run),
    ("memory", rows::memory::run),
    ("first-request", rows::memory::first_request),
    ("events", rows::events::run),
    ("fairness", rows::fairness::run),
];

/// A kind of rows and what records the server under their loads.
type Profiled = (&'static str, fn(&Bench, &profile::Recorder) -> anyhow::Result<()>);

const PROFILED: [Profiled; 4] = [
    ("cold", rows::cold::profile),
    ("burst", rows::burst::profile),
    ("warm", rows::warm::profile),
    ("throughput", rows::many::profile),
];

/// Runs what is asked for and prints the table; results as JSON go to `.cache/bench.json`.
pub fn run(arguments: &BenchArguments) -> anyhow::Result<ExitCode> {
    if cfg!(debug_assertions) {
        return run_in_release();
    }
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None if arguments.profile => build("lamplight", "profiling")?,
        None => build("lamplight", "release")?,
    };
    let effort = Effort {
        cold_groups: if arguments.quick { 4 } else { 60 },
        warm_groups: if arguments.quick { 8 } else { 150 },
        tail_groups: if arguments.quick { 2 } else { 40 },
        repetitions: if arguments.quick { 2 } else { 11 },
        waiting_events: if arguments.quick { 20_000 } else { 1_000_000 },
        attempts: if arguments.quick { 1 } else { arguments.attempts },
        full: arguments.full,
    };
    let runtimes = server::Server::start(&binary, &[])?.runtimes()?;
    if arguments.budgets {
        return budgets::compare(&binary, &runtimes);
    }
    let bench = Bench { binary, runtimes, effort };
    let is_wanted = |kind: &str| arguments.only.is_empty() || arguments.only.iter().any(|only| only == kind);
    if arguments.profile {
        let recorder = profile::Recorder::new()?;
        for (_, record) in PROFILED.into_iter().filter(|(kind, _)| is_wanted(kind)) {
            record(&bench, &recorder)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut measured = Vec::new();
    output::print_head();
    let peers: Kind = ("peers", rows::peers::run);
    for (kind, measure) in KINDS.into_iter().chain(arguments.peers.then_some(peers)) {
        if kind != "peers" && !is_wanted(kind) {
            continue;
        }
        // One kind that cannot be measured must not cost the others.
        let found =
            measure(&bench).unwrap_or_else(|error| vec![Row::not_measured(kind, &format!("{error:#}"))]);
        found.iter().for_each(output::print);
        measured.extend(found);
    }
    let interpreters: Vec<String> =
        bench.runtimes.iter().map(|runtime| runtime.interpreter.clone()).collect();
    let machine = output::machine(&interpreters);
    let commit = machine["commit"].as_str().unwrap_or_default();
    measured.iter_mut().for_each(|row| row.commit = commit.to_owned());
    // A quick run is for its reader only.
    if !arguments.quick {
        let rows = if arguments.only.is_empty() { measured.clone() } else { output::merge(measured.clone()) };
        output::save(&rows, &machine)?;
        if arguments.publish {
            publish::write(&rows, &machine)?;
        }
    }
    println!("\n{}\n{}; isolation: {}", machine, output::summary(&measured), output::ISOLATION);
    Ok(ExitCode::SUCCESS)
}

/// The client and the limits must not be slower than the compiler can make them: builds this program as a release and
/// lets that one measure.
fn run_in_release() -> anyhow::Result<ExitCode> {
    let program = build("xtask", "release")?;
    let status = Command::new(program).args(std::env::args_os().skip(1)).status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Builds one package by this profile of Cargo.toml and gives its program.
fn build(package: &str, profile: &str) -> anyhow::Result<PathBuf> {
    command::run(
        Command::new("cargo")
            .args(["build", "--locked", "--package", package, "--profile", profile])
            .current_dir(paths::root()),
    )?;
    Ok(paths::target()?.join(profile).join(package))
}

/// Looks again and again, for at most a minute. A benchmark may wait so; a test would not.
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
