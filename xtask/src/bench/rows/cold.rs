//! Cold calls: the first call of a function that has been there for a while, against the bare interpreter.

use super::{Aim, Bench, EVENT, Meter, Row, Ways};
use crate::bench::http::Connection;
use crate::bench::limits::Launcher;
use crate::bench::pairing::{Measured, Sample, interleave};
use crate::bench::profile::Recorder;
use crate::bench::server::{Function, Runtime, Server, function_folder, invocations};
use crate::bench::statistics::median;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Pause after each cold call, outside of what is timed, in which what waits is refilled.
const REFILL: Duration = Duration::from_millis(300);
/// Calls of each side before any is timed.
const FIRST: usize = 3;
/// Most calls of one function until what is made for its later starts is there.
const FIRST_OF_ONE: usize = 60;
/// Bare starts of one sample, of which the median counts: they cost little, and the A/A check needs a steady limit.
const LAUNCHES: usize = 3;
/// Makes names of functions unique.
static NEXT: AtomicUsize = AtomicUsize::new(0);
/// Variables that an interpreter reads when it starts: functions that set one always start from nothing.
const START_TIME_VARIABLES: [(&str, &str, &str); 2] =
    [("python", "PYTHONDONTWRITEBYTECODE", "1"), ("node", "NODE_OPTIONS", "--no-warnings")];

/// A way to start, how it is forced, and what is aimed at.
struct Way {
    title: &'static str,
    expected: &'static str,
    settings: &'static [(&'static str, &'static str)],
    from_nothing: bool,
    /// Whether another function takes what waits, right before each timed call.
    emptied: bool,
    python: Option<f64>,
    node: Option<f64>,
}

const WAYS: [Way; 3] = [
    Way {
        title: "blank available",
        expected: "blank",
        settings: &[],
        from_nothing: false,
        emptied: false,
        python: Some(0.15),
        node: Some(0.15),
    },
    Way {
        title: "pool empty",
        expected: "zygote",
        settings: &[("LAMPLIGHT_INSTANCES_BLANKS", "1")],
        from_nothing: false,
        emptied: true,
        python: Some(0.6),
        node: None,
    },
    Way {
        title: "from nothing",
        expected: "from nothing",
        settings: &[],
        from_nothing: true,
        emptied: false,
        python: Some(1.25),
        node: Some(1.1),
    },
];

impl Way {
    fn aim(&self, runtime: &Runtime) -> Option<f64> {
        if runtime.language == "python" { self.python } else { self.node }
    }

    fn title(&self, runtime: &Runtime) -> String {
        format!("cold call, {}, {}", runtime.name(), self.title)
    }

    /// The function in `folder`, so that it starts this way.
    fn function(&self, folder: &Path, runtime: &Runtime) -> anyhow::Result<Function> {
        let function = Function::of(folder, runtime)?;
        let (_, name, value) = START_TIME_VARIABLES[usize::from(runtime.language != "python")];
        Ok(if self.from_nothing { function.with(name, value) } else { function })
    }

    fn calls(&self) -> Calls {
        if self.emptied { Calls::Emptied } else { Calls::First }
    }
}

/// All rows of cold calls of a function without imports.
pub fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for runtime in &bench.runtimes {
        let folder = function_folder("echo", &runtime.language)?;
        for way in &WAYS {
            let Some(aim) = way.aim(runtime) else { continue };
            let server = Server::start(&bench.binary, way.settings)?;
            let function = way.function(&folder, runtime)?;
            let mut ways = Ways::default();
            let mut launcher = Launcher::cold(runtime, &folder, EVENT)?;
            let ours = Ours { server: &server, runtime, function: &function, calls: way.calls() };
            let measured = against(bench, &ours, &mut launcher, &mut ways)?;
            let limit = format!("bare {}", bare(runtime));
            let title = way.title(runtime);
            let mut row = Row::of(&title, &limit, Aim::RatioAtMost(aim), &measured, (1e3, "ms"));
            row.start = ways.describe();
            if ways.most() != way.expected {
                row = row.noting(&format!("this build does not start by {}", way.expected));
            }
            rows.push(row);
        }
    }
    Ok(rows)
}

/// Records the server under cold calls, and while it refills what waits after each.
pub fn profile(bench: &Bench, recorder: &Recorder) -> anyhow::Result<()> {
    for runtime in &bench.runtimes {
        let folder = function_folder("echo", &runtime.language)?;
        for way in WAYS.iter().filter(|way| way.aim(runtime).is_some()) {
            let title = way.title(runtime);
            if !recorder.wants(&title) {
                continue;
            }
            let server = Server::start(&bench.binary, way.settings)?;
            let function = way.function(&folder, runtime)?;
            let ours = Ours { server: &server, runtime, function: &function, calls: way.calls() };
            let mut calls = ColdCalls::new(bench, &ours)?;
            calls.make_names()?;
            for _ in 0..FIRST {
                calls.call()?;
            }
            let recorded = recorder.record(&title, &server, || {
                calls.call()?;
                // Making more is not the row's load.
                Ok(!calls.names.is_empty())
            })?;
            drop(calls);
            drop(server);
            recorded.draw()?;
        }
    }
    Ok(())
}

/// The bare interpreter's command, for people.
pub fn bare(runtime: &Runtime) -> String {
    let program =
        Path::new(&runtime.interpreter).file_name().unwrap_or_default().to_string_lossy().into_owned();
    if runtime.language == "python" { format!("{program} -I -S") } else { program }
}

/// Measures cold calls of functions of one kind against bare starts.
pub fn compare(
    bench: &Bench,
    server: &Server,
    runtime: &Runtime,
    folder: &Path,
    function: &Function,
    calls: Calls,
) -> anyhow::Result<(Measured, Ways)> {
    let mut ways = Ways::default();
    let mut launcher = Launcher::cold(runtime, folder, EVENT)?;
    let ours = Ours { server, runtime, function, calls };
    let measured = against(bench, &ours, &mut launcher, &mut ways)?;
    Ok((measured, ways))
}

/// Which cold calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    /// The first calls of new functions.
    First,
    /// The same, right after another function took what waits.
    Emptied,
    /// Later calls of one function, whose instances the server does not keep.
    Later,
}

/// Our side of cold calls.
pub struct Ours<'a> {
    /// Where the functions are made.
    pub server: &'a Server,
    /// Their runtime.
    pub runtime: &'a Runtime,
    /// What they are made of.
    pub function: &'a Function,
    /// Which calls are timed.
    pub calls: Calls,
}

/// Cold calls one after another, of functions that are made in batches.
struct ColdCalls<'a> {
    ours: &'a Ours<'a>,
    connection: Connection,
    /// Made, and not called yet.
    names: Vec<String>,
    per_batch: usize,
}

impl<'a> ColdCalls<'a> {
    fn new(bench: &Bench, ours: &'a Ours<'a>) -> anyhow::Result<Self> {
        let per_batch = match ours.calls {
            Calls::Later => 1,
            Calls::First => 2 * bench.effort.cold_groups + FIRST,
            Calls::Emptied => 2 * (2 * bench.effort.cold_groups + FIRST),
        };
        Ok(Self { ours, connection: ours.server.connect()?, names: Vec::new(), per_batch })
    }

    /// Makes functions when there are none left, well before they are called. Whether it did.
    fn make_names(&mut self) -> anyhow::Result<bool> {
        if !self.names.is_empty() {
            return Ok(false);
        }
        let Ours { server, runtime, function, .. } = self.ours;
        let number = || NEXT.fetch_add(1, Ordering::Relaxed);
        self.names = (0..self.per_batch).map(|_| format!("cold-{}-{}", runtime.language, number())).collect();
        server.create_all(&self.names, function)?;
        std::thread::sleep(REFILL);
        Ok(true)
    }

    /// The next call, the deletion of what was called, and the pause: the call's seconds, and its way.
    fn call(&mut self) -> anyhow::Result<(f64, String)> {
        let (emptied, later) = (self.ours.calls == Calls::Emptied, self.ours.calls == Calls::Later);
        let before = if emptied { self.names.pop() } else { None };
        let name = if later { self.names.last().cloned() } else { self.names.pop() }.unwrap_or_default();
        if let Some(before) = &before {
            self.connection.call(&invocations(before), EVENT.as_bytes())?;
        }
        let path = invocations(&name);
        let begun = Instant::now();
        let answer = self.connection.invoke_with_tail(&path, EVENT.as_bytes())?;
        let seconds = begun.elapsed().as_secs_f64();
        anyhow::ensure!(answer.status == 200, "a cold call answered {}: {}", answer.status, answer.text());
        for name in before.iter().chain([&name]).filter(|_| !later) {
            self.ours.server.delete(&mut self.connection, name)?;
        }
        std::thread::sleep(REFILL);
        Ok((seconds, answer.start()))
    }
}

/// The same against any launcher.
pub fn against(
    bench: &Bench,
    ours: &Ours<'_>,
    launcher: &mut Launcher,
    ways: &mut Ways,
) -> anyhow::Result<Measured> {
    let later = ours.calls == Calls::Later;
    // The call before is as dear as the timed one.
    let calls_each = if ours.calls == Calls::Emptied { 2.0 } else { 1.0 };
    let server = ours.server;
    let mut calls = ColdCalls::new(bench, ours)?;
    let mut our_meter = Meter::new(|| server.cpu_seconds())?;
    let mut ours = |ways: &mut Ways| -> anyhow::Result<Sample> {
        if calls.make_names()? {
            // Not on the account of the call.
            our_meter.since()?;
        }
        let (seconds, way) = calls.call()?;
        ways.add(way);
        Ok(Sample { seconds, cpu_seconds: our_meter.since()? / calls_each })
    };
    let mut last = launcher.cpu_seconds()?;
    let mut limit = || -> anyhow::Result<Sample> {
        let times = (0..LAUNCHES).map(|_| launcher.launch()).collect::<anyhow::Result<Vec<_>>>()?;
        let now = launcher.cpu_seconds()?;
        let cpu_seconds = (now - last) / LAUNCHES as f64;
        last = now;
        Ok(Sample { seconds: median(times), cpu_seconds })
    };
    for _ in 0..FIRST {
        ours(&mut Ways::default())?;
        limit()?;
    }
    for _ in 0..if later { FIRST_OF_ONE } else { 0 } {
        let mut way = Ways::default();
        ours(&mut way)?;
        if way.most() == "version zygote" {
            break;
        }
    }
    interleave(bench.effort.cold_groups, bench.effort.attempts, &mut || ours(ways), &mut limit)
}
