//! What waits costs: memory of idle instances, of the idle server, of registered functions; processor time of idleness.

use super::{Aim, Bench, EVENT, Row};
use crate::bench::load;
use crate::bench::server::{Function, Process, Runtime, Server, function_folder, invocations};
use crate::bench::statistics::{Ratio, median};
use crate::bench::wait_for;
use crate::paths;
use anyhow::Context as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Idle instances whose memory is looked at, and bare processes.
const INSTANCES: usize = 20;
/// The handler sleeps so long, seconds: until all instances have one event each.
const SLEEP_SECONDS: f64 = 4.0;
const MEMORY_MIB: u32 = 128;
/// What the pool counts an instance for at least (`UNSEEN_CLAIM_BYTES`), however little it uses, MiB.
const LEAST_CLAIM_MIB: usize = 24;
/// Room for instances that wait, beside those that are asked for.
const WAITING: usize = 40;
/// After what was started; housekeeping has come to rest.
const REST: Duration = Duration::from_secs(3);

const SERVER: &str = "memory of the idle server, all its processes";
const FUNCTION: &str = "memory of a registered function";
const IDLE_CPU: &str = "processor time of an idle server with idle instances";

/// All rows of this kind. One that cannot be measured does not cost the others.
pub fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let measured = |name: &str, row: anyhow::Result<Row>| {
        row.unwrap_or_else(|error| Row::not_measured(name, &format!("{error:#}")))
    };
    let mut rows = vec![measured(SERVER, server_memory(bench)), measured(FUNCTION, functions_memory(bench))];
    for runtime in &bench.runtimes {
        rows.push(measured(&instance_title(runtime), instances(bench, runtime)));
    }
    rows.push(measured(IDLE_CPU, idle_cpu(bench)));
    Ok(rows)
}

fn instance_title(runtime: &Runtime) -> String {
    format!("memory of an idle instance, {}, private", runtime.name())
}

/// Proportional memory of keeper, spawners, daemon and waiting shells, without a function.
fn server_memory(bench: &Bench) -> anyhow::Result<Row> {
    let server = bench.server()?;
    std::thread::sleep(REST);
    let mib: f64 = server.processes().iter().filter_map(|process| process.figures_mib(&["Pss"]).ok()).sum();
    Ok(Row::figure(SERVER, mib, "MiB", Aim::OursAtMost(25.0)))
}

/// What one registered function adds to the daemon.
fn functions_memory(bench: &Bench) -> anyhow::Result<Row> {
    let count = if bench.effort.full { 10_000 } else { 1_000 };
    let server = Server::start(&bench.binary, &[("LAMPLIGHT_INSTANCES_BLANKS", "0")])?;
    let runtime = bench.runtimes.first().context("no runtime is found")?;
    let function = Function::of(&function_folder("echo", &runtime.language)?, runtime)?;
    // The first few fill caches that do not grow any more.
    let names = |from: usize, to: usize| (from..to).map(|number| format!("f-{number}")).collect::<Vec<_>>();
    server.create_all(&names(0, 50), &function)?;
    std::thread::sleep(REST);
    let before = daemon(&server)?.private_mib()?;
    server.create_all(&names(50, 50 + count), &function)?;
    std::thread::sleep(REST);
    let kib = (daemon(&server)?.private_mib()? - before) * 1024.0 / count as f64;
    let row = Row::figure(FUNCTION, kib, "KiB", Aim::OursAtMost(10.0));
    Ok(row.noting(&format!("{count} functions")))
}

/// The process that serves.
pub fn daemon(server: &Server) -> anyhow::Result<Process> {
    // The keeper is the first; the daemon is the only other process of the program's own name.
    server
        .processes()
        .into_iter()
        .skip(1)
        .find(|process| process.name == "lamplight" || process.name.starts_with("lamplight-daem"))
        .context("no daemon is found")
}

/// Private memory of idle instances (interpreter and init) against bare interpreters that wait for an event.
fn instances(bench: &Bench, runtime: &Runtime) -> anyhow::Result<Row> {
    let folder = function_folder("sleep", &runtime.language)?;
    let server = bench.server()?;
    fill(&server, &Function::of(&folder, runtime)?, INSTANCES, SLEEP_SECONDS / 4.0)?;
    std::thread::sleep(REST);
    let processes = server.processes();
    let figures = |wanted: &dyn Fn(&str) -> bool| -> Vec<f64> {
        let chosen = processes.iter().filter(|process| wanted(&process.name));
        chosen.filter_map(|process| process.private_mib().ok()).collect()
    };
    let program = interpreter_name(runtime);
    let interpreters = figures(&|name| name.starts_with(&program[..program.len().min(6)]));
    let inits = figures(&|name| name == "lamplight-init");
    anyhow::ensure!(!interpreters.is_empty(), "no idle instance of {} is found", runtime.identifier);
    let init = if inits.is_empty() { 0.0 } else { median(inits) };

    let bare: Vec<Bare> =
        (0..INSTANCES / 4).map(|_| Bare::start(runtime, &folder)).collect::<anyhow::Result<_>>()?;
    std::thread::sleep(REST);
    let limits =
        bare.iter().map(|bare| Process::of(bare.0.id()).private_mib()).collect::<anyhow::Result<Vec<_>>>()?;
    let limit = median(limits);
    let pairs: Vec<_> = interpreters.iter().map(|mib| (mib + init, limit)).collect();
    let aim = if runtime.language == "python" { 0.35 } else { 1.05 };
    let mut row = Row::figure(
        &instance_title(runtime),
        median(pairs.iter().map(|pair| pair.0).collect()),
        "MiB",
        Aim::RatioAtMost(aim),
    );
    row.limit_name = "the bare process that has imported the handler".to_owned();
    row.limit = Some(limit);
    row.ratio = Some(Ratio::of(&pairs));
    row.pairs = pairs;
    Ok(row.noting(&format!(
        "{} instances and waiting ones; {init:.2} MiB of it the sandbox's init",
        interpreters.len()
    )))
}

fn interpreter_name(runtime: &Runtime) -> String {
    let name = std::path::Path::new(&runtime.interpreter).file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Makes `count` instances idle: calls that all sleep until the last one has begun.
fn fill(server: &Server, function: &Function, count: usize, seconds: f64) -> anyhow::Result<()> {
    server.create("idle", function)?;
    let mut connections = (0..count).map(|_| server.connect()).collect::<anyhow::Result<Vec<_>>>()?;
    let event = format!("{{\"seconds\": {seconds}}}");
    let burst = load::burst(&mut connections, &vec![invocations("idle"); count], event.as_bytes())?;
    anyhow::ensure!(
        burst.failures.is_empty(),
        "{} calls failed: {}",
        burst.failures.len(),
        burst.failures[0]
    );
    Ok(())
}

/// A bare interpreter that has imported the handler and waits for an event; ended when dropped.
struct Bare(Child);

impl Bare {
    fn start(runtime: &Runtime, folder: &std::path::Path) -> anyhow::Result<Self> {
        let limits = paths::root().join("xtask/src/bench/limits");
        let mut command = Command::new(&runtime.interpreter);
        if runtime.language == "python" {
            command.args(["-I", "-S"]).arg(limits.join("cold.py"));
        } else {
            command.arg(limits.join("cold.mjs"));
        }
        Ok(Self(command.arg(folder).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?))
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Processor time of a server with many idle instances.
fn idle_cpu(bench: &Bench) -> anyhow::Result<Row> {
    let runtime = bench.runtimes.first().context("no runtime is found")?;
    let (count, duration) =
        if bench.effort.full { (1_000, Duration::from_secs(60)) } else { (200, Duration::from_secs(10)) };
    let room = count + WAITING;
    // Twice what they count for: beyond three quarters the pool begins to reclaim memory, once for each instance.
    let (most, memory_mib) = (room.to_string(), (2 * room * LEAST_CLAIM_MIB).to_string());
    let settings = [
        ("LAMPLIGHT_INSTANCES_MOST", most.as_str()),
        ("LAMPLIGHT_INSTANCES_MEMORY_MIB", memory_mib.as_str()),
    ];
    let server = Server::start(&bench.binary, &settings)?;
    let mut function = Function::of(&function_folder("sleep", &runtime.language)?, runtime)?;
    function.memory_mib = MEMORY_MIB;
    fill(&server, &function, count, SLEEP_SECONDS * count as f64 / 200.0)?;
    std::thread::sleep(REST);
    let alive = server.processes().iter().filter(|process| process.name == "lamplight-init").count();
    anyhow::ensure!(alive >= count, "only {alive} of {count} instances are there");
    let (before, begun) = (server.cpu_seconds()?, Instant::now());
    std::thread::sleep(duration);
    let percent = 100.0 * (server.cpu_seconds()? - before) / begun.elapsed().as_secs_f64();
    let row = Row::figure(IDLE_CPU, percent, "%", Aim::OursAtMost(0.1));
    Ok(row.noting(&format!("{alive} instances and waiting ones, {} s", duration.as_secs())))
}

/// From a server's start to its first answer, with many functions stored, against a bare hyper server.
pub fn first_request(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let count = if bench.effort.full { 10_000 } else { 1_000 };
    let runtime = bench.runtimes.first().context("no runtime is found")?;
    let function = Function::of(&function_folder("echo", &runtime.language)?, runtime)?;
    let server = bench.server()?;
    let names: Vec<String> = (0..count).map(|number| format!("f-{number}")).collect();
    server.create_all(&names, &function)?;
    let data = server.stop();
    let mut pairs = Vec::new();
    for _ in 0..bench.effort.repetitions {
        let server = Server::start_in(&bench.binary, &data, &[])?;
        let ours = server.ready.as_secs_f64();
        server.stop();
        let begun = Instant::now();
        let bare = crate::bench::limits::Serving::bare_server()?;
        bare.connect()?.call("/", EVENT.as_bytes())?;
        pairs.push((ours * 1e3, begun.elapsed().as_secs_f64() * 1e3));
    }
    wait_for("the data directory to be free", || {
        Ok((std::fs::remove_dir_all(&data).is_ok() || !data.exists()).then_some(()))
    })?;
    let side = |pick: fn(&(f64, f64)) -> f64| median(pairs.iter().map(pick).collect());
    let mut row = Row::figure(
        "first request after the process's start",
        side(|pair| pair.0),
        "ms",
        Aim::OursAtMost(100.0),
    );
    row.limit_name = "a bare hyper server".to_owned();
    row.limit = Some(side(|pair| pair.1));
    row.ratio = Some(Ratio::of(&pairs));
    row.pairs = pairs;
    Ok(vec![row.noting(&format!("{count} functions stored"))])
}
