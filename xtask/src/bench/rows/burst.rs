//! A hundred cold calls at once: of one function, and of a hundred functions.

use super::{Aim, Bench, EVENT, Row, Ways};
use crate::bench::cpu::Look;
use crate::bench::limits::Launcher;
use crate::bench::load;
use crate::bench::profile::Recorder;
use crate::bench::server::{Function, Runtime, function_folder, invocations};
use crate::bench::statistics::{Ratio, median, percentile};
use std::path::PathBuf;
use std::time::Duration;

/// Calls at once.
const CALLS: usize = 100;
/// Small enough that a hundred fit the memory of a small machine.
const MEMORY_MIB: u32 = 128;
/// Pause before each burst, in which what waits is refilled and what ended is removed.
const SETTLE: Duration = Duration::from_millis(1_500);
/// Bare starts from which the limit's processor time is known.
const STARTS: usize = 30;

/// What is called at once, and of how many functions.
const BURSTS: [(&str, usize); 2] = [("one function", 1), ("100 functions", CALLS)];
/// Bursts that are recorded: so many fit the time, with their pauses.
const RECORDED: usize = 6;

/// The rows of both bursts.
pub fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let Some(runtime) = bench.runtimes.iter().find(|runtime| runtime.language == "python") else {
        return Ok(Vec::new());
    };
    let (folder, function) = function(runtime)?;
    let mut launcher = Launcher::cold(runtime, &folder, EVENT)?;
    launcher.launch()?;
    let server = bench.server()?;
    let cores = std::thread::available_parallelism()?.get() as f64;
    let mut connections = (0..CALLS).map(|_| server.connect()).collect::<anyhow::Result<Vec<_>>>()?;
    let mut control = server.connect()?;
    let mut rows = Vec::new();
    for (title, functions) in BURSTS {
        let (mut pairs, mut shapes, mut ways, mut failures) =
            (Vec::new(), Vec::new(), Ways::default(), Vec::new());
        let mut cpu_pairs = Vec::new();
        let look = Look::now();
        for repetition in 0..bench.effort.repetitions {
            let names = names(functions, repetition);
            server.create_all(&names, &function)?;
            std::thread::sleep(SETTLE);
            // Beside each burst, so that both see the same machine.
            let before = launcher.cpu_seconds()?;
            for _ in 0..STARTS {
                launcher.launch()?;
            }
            let limit_cpu = (launcher.cpu_seconds()? - before) / STARTS as f64;
            let paths = paths(&names);
            let before = server.cpu_seconds()?;
            let burst = load::burst(&mut connections, &paths, EVENT.as_bytes())?;
            pairs.push((CALLS as f64 * limit_cpu / cores, burst.makespan));
            shapes.push(percentile(burst.times.clone(), 0.99) / median(burst.times));
            burst.ways.into_iter().for_each(|way| ways.add(way));
            failures.extend(burst.failures);
            for name in &names {
                server.delete(&mut control, name)?;
            }
            std::thread::sleep(SETTLE);
            cpu_pairs.push((server.cpu_seconds()? - before, CALLS as f64 * limit_cpu));
        }
        let side = |pick: fn(&(f64, f64)) -> f64| median(pairs.iter().map(pick).collect()) * 1e3;
        let mut row = Row::figure(&efficiency(title), side(|pair| pair.1), "ms", Aim::RatioAtLeast(0.7));
        row.limit_name = format!("{CALLS} x processor time of the bare start / {cores} cores");
        row.limit = Some(side(|pair| pair.0));
        row.ratio = Some(Ratio::of(&pairs));
        row.cpu_ratio = Some(Ratio::of_sums(&cpu_pairs));
        row.start = ways.describe();
        row.noise = Some(look.since());
        row.pairs = pairs.iter().map(|(limit, ours)| (ours * 1e3, limit * 1e3)).collect();
        rows.push(row);
        let shape = median(shapes);
        rows.push(Row::figure(
            &format!("burst of {CALLS} cold calls, {title}: p99/p50"),
            shape,
            "",
            Aim::OursAtMost(3.0),
        ));
        let first = failures.first().cloned().unwrap_or_default();
        rows.push(
            Row::figure(
                &format!("burst of {CALLS} cold calls, {title}: failures"),
                failures.len() as f64,
                "",
                Aim::OursAtMost(0.0),
            )
            .noting(&first),
        );
    }
    Ok(rows)
}

/// Records the server under bursts, and while it refills and removes after each.
pub fn profile(bench: &Bench, recorder: &Recorder) -> anyhow::Result<()> {
    let Some(runtime) = bench.runtimes.iter().find(|runtime| runtime.language == "python") else {
        return Ok(());
    };
    let (_, function) = function(runtime)?;
    for (title, functions) in BURSTS {
        if !recorder.wants(&efficiency(title)) {
            continue;
        }
        let server = bench.server()?;
        let mut connections = (0..CALLS).map(|_| server.connect()).collect::<anyhow::Result<Vec<_>>>()?;
        let mut control = server.connect()?;
        // Made before: creating functions is not the row's load.
        let mut prepared: Vec<_> = (0..RECORDED).map(|repetition| names(functions, repetition)).collect();
        for names in &prepared {
            server.create_all(names, &function)?;
        }
        std::thread::sleep(SETTLE);
        let recorded = recorder.record(&efficiency(title), &server, || {
            let Some(names) = prepared.pop() else { return Ok(false) };
            let burst = load::burst(&mut connections, &paths(&names), EVENT.as_bytes())?;
            anyhow::ensure!(burst.failures.is_empty(), "a call failed: {}", burst.failures[0]);
            names.iter().try_for_each(|name| server.delete(&mut control, name))?;
            std::thread::sleep(SETTLE);
            Ok(true)
        })?;
        drop(server);
        recorded.draw()?;
    }
    Ok(())
}

fn efficiency(title: &str) -> String {
    format!("burst of {CALLS} cold calls, {title}: efficiency")
}

fn function(runtime: &Runtime) -> anyhow::Result<(PathBuf, Function)> {
    let folder = function_folder("echo", "python")?;
    let mut function = Function::of(&folder, runtime)?;
    function.memory_mib = MEMORY_MIB;
    Ok((folder, function))
}

fn names(functions: usize, repetition: usize) -> Vec<String> {
    (0..functions).map(|number| format!("burst-{functions}-{repetition}-{number}")).collect()
}

/// One call each, of the functions in turn.
fn paths(names: &[String]) -> Vec<String> {
    names.iter().cycle().take(CALLS).map(|name| invocations(name)).collect()
}
