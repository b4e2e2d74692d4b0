//! Replays a trace of calls against ways to keep instances, and against the best anybody could have done.
//!
//! `cargo xtask simulate TRACE` runs it; docs/keep-alive.md explains the table. The decisions are the pool's own
//! (`lamplight_pool::policy`); what is simulated is the node around them.

mod bound;
mod node;
mod synthetic;
mod table;
mod trace;

use clap::Parser;
use node::{Policy, Replayed, replay};
use std::io::Write as _;
use std::path::PathBuf;
use trace::Trace;

/// Shares of the memory that would be in use if nothing were ever evicted, in percent: the default bounds.
const DEFAULT_SHARES: [u64; 4] = [10, 25, 50, 100];

/// Replay calls against keep-alive policies: cold starts, cold seconds, MiB-seconds, and a lower bound.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask simulate")]
struct Arguments {
    /// A CSV file: arrival_ms,function,duration_ms,memory_mib,cold_start_ms with a head line.
    #[arg(required_unless_present = "synthetic")]
    trace: Option<PathBuf>,
    /// Make a day of calls from this number instead: timers, a daily rhythm, bursts, a few busy functions and many quiet ones.
    #[arg(long, value_name = "SEED", conflicts_with = "trace")]
    synthetic: Option<u64>,
    /// Memory of the node in MiB; may be given several times. Default: shares of what the trace would fill.
    #[arg(long, value_name = "MIB")]
    memory_mib: Vec<u64>,
    /// Write the trace as CSV to this file as well.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let trace = match (&arguments.trace, arguments.synthetic) {
        (Some(path), _) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("failed to read the trace {}: {error}", path.display()))?;
            Trace::parse(&text)?
        }
        (None, seed) => synthetic::day(seed.unwrap_or(0)),
    };
    if let Some(path) = &arguments.write {
        std::fs::write(path, trace.to_csv())
            .map_err(|error| format!("failed to write the trace to {}: {error}", path.display()))?;
    }
    let caps = if arguments.memory_mib.is_empty() { default_caps(&trace) } else { arguments.memory_mib };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", table::head(&trace))?;
    for cap_mib in caps {
        let results: Vec<(Policy, Replayed)> =
            Policy::ALL.into_iter().map(|policy| (policy, replay(&trace, policy, cap_mib))).collect();
        let bound_s = bound::least_started_seconds(&trace, cap_mib);
        writeln!(out, "\n{}", table::of(&trace, cap_mib, &results, bound_s))?;
    }
    Ok(())
}

fn default_caps(trace: &Trace) -> Vec<u64> {
    let peak = replay(trace, Policy::LeastRecentlyUsed, u64::MAX / 2).peak_mib;
    DEFAULT_SHARES.iter().map(|share| (peak * share / 100).max(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The morning of 42 functions of the synthetic day 3.
    const COMMITTED: &str = include_str!("morning.csv");

    fn started_s(trace: &Trace, policy: Policy, cap_mib: u64) -> f64 {
        replay(trace, policy, cap_mib).started_s()
    }

    #[test]
    fn worth_beats_age_under_pressure_and_nobody_beats_the_bound() {
        let trace = Trace::parse(COMMITTED).unwrap();
        for cap_mib in default_caps(&trace) {
            let bound_s = bound::least_started_seconds(&trace, cap_mib);
            assert!(bound_s > 0.0);
            for policy in Policy::ALL {
                let started_s = started_s(&trace, policy, cap_mib);
                assert!(
                    started_s >= bound_s * 0.999_999,
                    "{policy:?} at {cap_mib} MiB: {started_s} < {bound_s}"
                );
            }
            let least_recent = replay(&trace, Policy::LeastRecentlyUsed, cap_mib).cold_s;
            let greedy = replay(&trace, Policy::GreedyDual, cap_mib).cold_s;
            assert!(greedy <= least_recent, "at {cap_mib} MiB: {greedy} > {least_recent}");
        }
    }

    #[test]
    fn the_same_seed_is_the_same_day() {
        let (one, other) = (synthetic::day(7), synthetic::day(7));
        assert_eq!(one.to_csv(), other.to_csv());
        assert_ne!(one.to_csv(), synthetic::day(8).to_csv());
        assert_eq!(Trace::parse(&one.to_csv()).unwrap().to_csv(), one.to_csv());
    }
}
