//! Warm calls of one client: ours against the same runtime loop behind the simplest responder.

use super::{Aim, Bench, EVENT, Meter, Row};
use crate::bench::http::Connection;
use crate::bench::limits::{self, Serving};
use crate::bench::pairing::{Measured, Sample, interleave};
use crate::bench::profile::Recorder;
use crate::bench::server::{Function, Runtime, Server, function_folder, invocations};
use std::path::Path;
use std::time::Instant;

/// Calls of one block that are timed, and those before them that are not.
const CALLS: usize = 50;
const WARMING: usize = 5;
/// Calls before anything is timed: V8 compiles its hot code meanwhile.
pub const FIRST: usize = 2_000;

/// The interpreters' functions, and what of it the row's name says.
const FUNCTIONS: [(&str, &str); 2] = [("echo", ""), ("echo_log", ", one log line")];

/// All rows of warm calls.
pub fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let server = bench.server()?;
    let mut rows = Vec::new();
    for runtime in &bench.runtimes {
        for (function, what) in FUNCTIONS {
            let folder = function_folder(function, &runtime.language)?;
            let name = format!("warm-{}-{}", runtime.language, function.replace('_', "-"));
            let measured =
                compare(&server, &name, runtime, &folder, bench.effort.warm_groups, bench.effort.attempts)?;
            rows.push(row(&title(runtime, what), Aim::RatioAtMost(1.25), &measured));
        }
    }
    let (runtime, folder) = custom()?;
    let measured =
        compare(&server, "warm-custom", &runtime, &folder, bench.effort.warm_groups, bench.effort.attempts)?;
    rows.push(row(&title(&runtime, ""), Aim::RatioAtMost(1.5), &measured));
    Ok(rows)
}

/// Records the server under one client's warm calls.
pub fn profile(bench: &Bench, recorder: &Recorder) -> anyhow::Result<()> {
    let mut kinds = Vec::new();
    for runtime in &bench.runtimes {
        for (function, what) in FUNCTIONS {
            kinds.push((runtime.clone(), function_folder(function, &runtime.language)?, what));
        }
    }
    let (runtime, folder) = custom()?;
    kinds.push((runtime, folder, ""));
    for (runtime, folder, what) in &kinds {
        let title = title(runtime, what);
        if !recorder.wants(&title) {
            continue;
        }
        let server = bench.server()?;
        server.create("warm", &Function::of(folder, runtime)?)?;
        let (mut connection, path) = (server.connect()?, invocations("warm"));
        let mut block = |calls: usize| (0..calls).try_for_each(|_| connection.call(&path, EVENT.as_bytes()));
        block(FIRST)?;
        let recorded = recorder.record(&title, &server, || block(CALLS).map(|()| true))?;
        drop(server);
        recorded.draw()?;
    }
    Ok(())
}

fn title(runtime: &Runtime, what: &str) -> String {
    format!("warm call, {}{what}, one client", runtime.name())
}

fn row(title: &str, aim: Aim, measured: &Measured) -> Row {
    let mut row = Row::of(title, "the same loop behind a blocking responder", aim, measured, (1e6, "us"));
    row.start = "warm".to_owned();
    row
}

/// The custom runtime, compiled, and its folder.
pub fn custom() -> anyhow::Result<(Runtime, std::path::PathBuf)> {
    let folder = limits::compile_custom_runtime()?;
    let runtime = Runtime {
        language: "rust".to_owned(),
        identifier: "provided.al2023".to_owned(),
        interpreter: folder.join("bootstrap").display().to_string(),
    };
    Ok((runtime, folder))
}

/// Measures one function on both sides.
pub fn compare(
    server: &Server,
    name: &str,
    runtime: &Runtime,
    folder: &Path,
    groups: usize,
    attempts: u32,
) -> anyhow::Result<Measured> {
    server.create(name, &Function::of(folder, runtime)?)?;
    let path = invocations(name);
    let limit = Serving::responder(runtime, folder)?;
    let (mut ours, mut theirs) = (server.connect()?, limit.connect()?);
    for _ in 0..FIRST {
        ours.call(&path, EVENT.as_bytes())?;
        theirs.call("/", EVENT.as_bytes())?;
    }
    let mut our_meter = Meter::new(|| server.cpu_seconds())?;
    let mut their_meter = Meter::new(|| limit.cpu_seconds())?;
    interleave(groups, attempts, &mut || sample(&mut ours, &path, EVENT, || our_meter.since()), &mut || {
        sample(&mut theirs, "/", EVENT, || their_meter.since())
    })
}

/// One block over a warm connection. Its processor time is all since the block before, so that what is done later is not lost.
pub fn sample(
    connection: &mut Connection,
    path: &str,
    body: &str,
    mut cpu: impl FnMut() -> anyhow::Result<f64>,
) -> anyhow::Result<Sample> {
    for _ in 0..WARMING {
        connection.call(path, body.as_bytes())?;
    }
    let begun = Instant::now();
    for _ in 0..CALLS {
        connection.call(path, body.as_bytes())?;
    }
    let seconds = begun.elapsed().as_secs_f64() / CALLS as f64;
    Ok(Sample { seconds, cpu_seconds: cpu()? / (CALLS + WARMING) as f64 })
}
