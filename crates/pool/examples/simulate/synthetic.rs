//! A day of calls as the published traces have them: a few busy functions and many quiet ones, timers, a daily rhythm,
//! bursts.
//!
//! Shapes from Shahrad et al., ATC 2020: most functions are called less than once a minute while a few percent get almost
//! all calls; about a third are driven by timers; duration and memory are heavy-tailed. The same seed is the same day.

use crate::trace::{Call, Function, Trace};
use std::time::Duration;

const FUNCTIONS: usize = 400;
const DAY_MS: f64 = 86_400_000.0;
/// Calls a day of the busiest function; the others fall off with a power of their rank.
const BUSIEST: f64 = 60_000.0;
const TAIL: f64 = 1.3;
/// Periods of timers, minutes.
const PERIODS: [f64; 8] = [1.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 180.0];
/// Memory that is really used, MiB.
const MEMORY_MIB: [u64; 8] = [24, 32, 48, 64, 96, 128, 256, 512];

/// SplitMix64: small, and the same everywhere and in every version.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// In [0, 1).
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[(self.fraction() * choices.len() as f64) as usize]
    }

    /// Time until the next of events that come `mean` apart.
    fn exponential(&mut self, mean: f64) -> f64 {
        -(1.0 - self.fraction()).ln() * mean
    }

    /// Heavy-tailed around `median`.
    fn log_normal(&mut self, median: f64, spread: f64) -> f64 {
        // The sum of twelve uniform numbers is as good as normal here.
        let normal: f64 = (0..12).map(|_| self.fraction()).sum::<f64>() - 6.0;
        median * (normal * spread).exp()
    }
}

/// The day that `seed` stands for.
pub fn day(seed: u64) -> Trace {
    let mut random = Random(seed);
    let mut trace = Trace::default();
    for rank in 0..FUNCTIONS {
        let cold_start_ms = random.log_normal(300.0, 1.0).clamp(20.0, 10_000.0);
        trace.functions.push(Function {
            name: format!("function-{rank}"),
            memory_mib: random.one_of(&MEMORY_MIB),
            cold_start: Duration::from_millis(cold_start_ms as u64),
        });
        let median_ms = random.log_normal(150.0, 1.2).clamp(2.0, 20_000.0);
        let calls = BUSIEST / ((rank + 1) as f64).powf(TAIL);
        let arrivals = match random.fraction() {
            // The busiest are called by people, not by clocks.
            kind if rank >= 10 && kind < 0.33 => timer(&mut random),
            kind if rank >= 10 && kind < 0.55 => bursts(&mut random, calls.max(40.0)),
            _ => daily_rhythm(&mut random, calls.max(8.0)),
        };
        for arrival_ms in arrivals.into_iter().filter(|arrival| *arrival < DAY_MS) {
            let duration_ms = random.log_normal(median_ms, 0.5).clamp(1.0, 60_000.0) as u64;
            trace.calls.push(Call { arrival_ms: arrival_ms as u64, function: rank, duration_ms });
        }
    }
    trace.calls.sort();
    trace
}

/// Every so many minutes, a second early or late.
fn timer(random: &mut Random) -> Vec<f64> {
    let period_ms = random.one_of(&PERIODS) * 60_000.0;
    let first = random.fraction() * period_ms;
    let count = ((DAY_MS - first) / period_ms) as u64;
    (0..=count).map(|at| first + at as f64 * period_ms + random.fraction() * 1_000.0).collect()
}

/// Now and then many at once, within ten seconds.
fn bursts(random: &mut Random, calls: f64) -> Vec<f64> {
    let size = 5.0 + random.fraction() * 35.0;
    let mean_ms = DAY_MS / (calls / size).max(2.0);
    let (mut at, mut arrivals) = (random.exponential(mean_ms), Vec::new());
    while at < DAY_MS {
        for _ in 0..size as usize {
            arrivals.push(at + random.fraction() * 10_000.0);
        }
        at += random.exponential(mean_ms);
    }
    arrivals
}

/// By chance, four times as often at noon as at midnight.
fn daily_rhythm(random: &mut Random, calls: f64) -> Vec<f64> {
    let mean_ms = DAY_MS / (calls * 1.6);
    let (mut at, mut arrivals) = (random.exponential(mean_ms), Vec::new());
    while at < DAY_MS {
        let activity = 0.625 - 0.375 * (at / DAY_MS * std::f64::consts::TAU).cos();
        if random.fraction() < activity {
            arrivals.push(at);
        }
        at += random.exponential(mean_ms);
    }
    arrivals
}
