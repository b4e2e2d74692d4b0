//! Many clients: requests per second, processor time per request, and the shape of the tail, against hyper in front of
//! the same runtime loops.

use super::{Aim, Bench, EVENT, Meter, Row};
use crate::bench::http::Connection;
use crate::bench::limits::Serving;
use crate::bench::load;
use crate::bench::pairing::{Sample, interleave};
use crate::bench::profile::Recorder;
use crate::bench::server::{Function, Runtime, Server, function_folder, invocations};
use crate::bench::statistics::{median, percentile};

/// Clients of the closed loop, and loops of the limit.
pub const CLIENTS: usize = 16;
/// Requests of one client in one block.
const REQUESTS: usize = 60;
/// Most requests under way at once in the open loop.
const CONNECTIONS: usize = 64;
/// Requests of one block of the open loop: its p99 is that of the 25 slowest.
const ARRIVALS: usize = 2_500;
/// Shares of the capacity, and how many times as many groups: the tail of a longer queue varies more from block to block.
const LOADS: [(f64, usize); 2] = [(0.5, 1), (0.8, 2)];
/// A median above this at a steady rate means that a queue builds up.
const NO_QUEUE_SECONDS: f64 = 2e-3;
/// Times a rate is tried that a queue builds up at.
const TRIES: usize = 3;
/// Connections get an instance each, so that the open loop measures queues and not starts.
const WARMING: usize = 10;

/// Both sides, warm.
struct Sides {
    ours: Vec<Connection>,
    path: String,
    limit: Serving,
    theirs: Vec<Connection>,
}

impl Sides {
    fn start(server: &Server, runtime: &Runtime, clients: usize, kind: &str) -> anyhow::Result<Self> {
        let folder = function_folder("echo", &runtime.language)?;
        let name = format!("{kind}-{}", runtime.language);
        server.create(&name, &Function::of(&folder, runtime)?)?;
        let limit = Serving::proxy(runtime, &folder, CLIENTS)?;
        let mut sides = Self {
            ours: (0..clients).map(|_| server.connect()).collect::<anyhow::Result<_>>()?,
            theirs: (0..clients).map(|_| limit.connect()).collect::<anyhow::Result<_>>()?,
            path: invocations(&name),
            limit,
        };
        // As many instances on our side as the limit has loops.
        load::closed(&mut sides.ours[..CLIENTS], &sides.path, EVENT.as_bytes(), WARMING * REQUESTS)?;
        load::closed(&mut sides.theirs[..CLIENTS], "/", EVENT.as_bytes(), WARMING * REQUESTS)?;
        Ok(sides)
    }
}

/// Requests per second and processor time per request.
pub fn throughput(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let server = bench.server()?;
    let mut rows = Vec::new();
    for runtime in &bench.runtimes {
        let mut sides = Sides::start(&server, runtime, CLIENTS, "many")?;
        let total = (CLIENTS * REQUESTS) as f64;
        let mut our_meter = Meter::new(|| server.cpu_seconds())?;
        let mut their_meter = Meter::new(|| sides.limit.cpu_seconds())?;
        let measured = interleave(
            bench.effort.warm_groups.div_ceil(6),
            bench.effort.attempts,
            &mut || {
                let seconds = load::closed(&mut sides.ours, &sides.path, EVENT.as_bytes(), REQUESTS)?
                    .as_secs_f64()
                    / total;
                Ok(Sample { seconds, cpu_seconds: our_meter.since()? / total })
            },
            &mut || {
                let seconds =
                    load::closed(&mut sides.theirs, "/", EVENT.as_bytes(), REQUESTS)?.as_secs_f64() / total;
                Ok(Sample { seconds, cpu_seconds: their_meter.since()? / total })
            },
        )?;
        let title = title(runtime);
        let mut row = Row::of(
            &title,
            "hyper in front of the same loops",
            Aim::CpuRatioAtMost(1.4),
            &measured,
            (1e6, "us"),
        );
        row.start = "warm".to_owned();
        // The aim is on processor time, so that is what the check must hold for.
        row.check = Some(measured.cpu_check.clone());
        row.void = !measured.cpu_check.is_neutral();
        rows.push(row.clone().noting(&format!(
            "{:.0} requests/s (limit {:.0})",
            1e6 / row.ours,
            1e6 / row.limit.unwrap_or(f64::NAN),
        )));
    }
    Ok(rows)
}

fn title(runtime: &Runtime) -> String {
    format!("{CLIENTS} clients, {}: time and processor time per request", runtime.name())
}

/// Records the server under the closed loop of many clients.
pub fn profile(bench: &Bench, recorder: &Recorder) -> anyhow::Result<()> {
    for runtime in bench.runtimes.iter().filter(|runtime| recorder.wants(&title(runtime))) {
        let server = bench.server()?;
        let mut sides = Sides::start(&server, runtime, CLIENTS, "profile")?;
        let recorded = recorder.record(&title(runtime), &server, || {
            load::closed(&mut sides.ours, &sides.path, EVENT.as_bytes(), REQUESTS).map(|_| true)
        })?;
        drop((sides, server));
        recorded.draw()?;
    }
    Ok(())
}

/// p99/p50 at half and at 80 % of each side's own capacity.
pub fn tail(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let server = bench.server()?;
    let mut rows = Vec::new();
    for runtime in bench.runtimes.iter().take(if bench.effort.full { 2 } else { 1 }) {
        let mut sides = Sides::start(&server, runtime, CONNECTIONS, "tail")?;
        let ours = capacity(&mut sides.ours, &sides.path)?;
        let theirs = capacity(&mut sides.theirs, "/")?;
        for (share, times_as_many) in LOADS {
            let measured = interleave(
                bench.effort.tail_groups * times_as_many,
                bench.effort.attempts.min(2),
                &mut shape(&mut sides.ours, &sides.path, ours * share),
                &mut shape(&mut sides.theirs, "/", theirs * share),
            )?;
            let title =
                format!("tail, {}, open loop at {:.0} % of capacity: p99/p50", runtime.name(), share * 100.0);
            let mut row = Row::of(
                &title,
                "hyper in front of the same loops, at the same share of its capacity",
                Aim::RatioAtMost(1.5),
                &measured,
                (1.0, ""),
            );
            row.cpu_ratio = None;
            row.note = String::new();
            row.start = "warm".to_owned();
            let blocks = measured.pairs.len();
            let run = if measured.attempts > 1 { "run 2; " } else { "" };
            rows.push(row.noting(&format!(
                "{run}{ours:.0}/s (limit {theirs:.0}/s) are all of it; {blocks} blocks of {ARRIVALS} requests each"
            )));
        }
    }
    Ok(rows)
}

/// One block of an open loop, of which the shape is compared: it stands where the time does elsewhere. All four blocks of
/// a group see the same arrivals, each group others.
fn shape<'a>(
    connections: &'a mut [Connection],
    path: &'a str,
    rate: f64,
) -> impl FnMut() -> anyhow::Result<Sample> + 'a {
    let mut blocks = 0;
    move || {
        let arrivals = load::arrivals(ARRIVALS, blocks / 2);
        blocks += 1;
        let times = load::open(connections, path, EVENT.as_bytes(), &arrivals, rate)?;
        let seconds = percentile(times.clone(), 0.99) / median(times);
        Ok(Sample { seconds, cpu_seconds: 1.0 })
    }
}

/// The highest rate that is answered as it comes, the load's generator included, which shares the processors: tenths of
/// what a closed loop reaches are tried from above, three times each, until no queue builds up: what else the machine does can
/// only take away from a try.
fn capacity(connections: &mut [Connection], path: &str) -> anyhow::Result<f64> {
    let mut seconds = f64::INFINITY;
    for _ in 0..5 {
        let block = load::closed(&mut connections[..CLIENTS], path, EVENT.as_bytes(), 2 * REQUESTS)?;
        seconds = seconds.min(block.as_secs_f64());
    }
    let closed = (CLIENTS * 2 * REQUESTS) as f64 / seconds;
    for tenths in (2..=10).rev() {
        let rate = closed * f64::from(tenths) / 10.0;
        let arrivals = load::arrivals(rate as usize, 0);
        for _ in 0..TRIES {
            let times = load::open(connections, path, EVENT.as_bytes(), &arrivals, rate)?;
            if median(times) < NO_QUEUE_SECONDS {
                return Ok(rate);
            }
        }
    }
    Ok(closed / 10.0)
}
