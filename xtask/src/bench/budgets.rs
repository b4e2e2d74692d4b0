//! The regression check: processor time against stored budgets, never wall time.
//!
//! A budget is a ratio to the limit measured in the same run, with half as much again as headroom, so a busy machine does
//! not fail it and a change that makes calls or starts dearer does. What is beyond its budget is measured again before it
//! counts. Called by CI: takes less than a minute.

use super::rows::{self, Bench, Effort, Row};
use super::server::Runtime;
use crate::paths;
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

/// Measurements of which one must be within the budget.
const ATTEMPTS: u32 = 3;
/// Few: processor time is steady.
const EFFORT: Effort = Effort {
    cold_groups: 4,
    warm_groups: 12,
    tail_groups: 1,
    repetitions: 1,
    waiting_events: 0,
    attempts: 1,
    full: false,
};

/// What is compared: kinds whose rows have a ratio of processor times.
const KINDS: [super::Kind; 3] =
    [("warm", rows::warm::run), ("cold", rows::cold::run), ("sustained", rows::sustained::run)];

/// Measures and compares. Fails with the rows that are beyond their budget in every measurement.
pub fn compare(binary: &Path, runtimes: &[Runtime]) -> anyhow::Result<ExitCode> {
    let file = paths::root().join("xtask/src/bench/budgets.json");
    let text = std::fs::read(&file).with_context(|| format!("failed to read {}", file.display()))?;
    let budgets: BTreeMap<String, f64> =
        serde_json::from_slice(&text).context("failed to read the budgets")?;
    let bench = Bench { binary: binary.to_owned(), runtimes: runtimes.to_vec(), effort: EFFORT };
    let mut best: BTreeMap<String, f64> = BTreeMap::new();
    for (_, measure) in KINDS {
        for _ in 0..ATTEMPTS {
            let found = measure(&bench)?;
            keep_least(&mut best, &found);
            if found.iter().all(|row| is_within(&budgets, &best, &row.name)) {
                break;
            }
        }
    }
    println!("\n| processor time, ratio to the limit | measured | budget | |\n|---|---|---|---|");
    let mut exceeded = 0;
    for (name, budget) in &budgets {
        // A runtime that this host lacks has no row.
        let Some(measured) = best.get(name) else {
            println!("| {name} | not measured | {budget} | |");
            continue;
        };
        let within = is_within(&budgets, &best, name);
        exceeded += usize::from(!within);
        println!("| {name} | {measured:.2} | {budget} | {} |", if within { "within" } else { "BEYOND" });
    }
    println!("\n{exceeded} of {} budgets exceeded", budgets.len());
    Ok(if exceeded == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Keeps the least ratio of each row: other load only adds.
fn keep_least(best: &mut BTreeMap<String, f64>, rows: &[Row]) {
    for row in rows {
        if let Some(ratio) = &row.cpu_ratio {
            let least = best.entry(row.name.clone()).or_insert(f64::INFINITY);
            *least = least.min(ratio.median);
        }
    }
}

/// Whether a row has no budget or is within it.
fn is_within(budgets: &BTreeMap<String, f64>, best: &BTreeMap<String, f64>, name: &str) -> bool {
    match (budgets.get(name), best.get(name)) {
        (Some(budget), Some(measured)) => measured <= budget,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::rows::Aim;
    use crate::bench::statistics::Ratio;

    #[test]
    fn the_least_of_all_measurements_counts() {
        let row = |median: f64| {
            let mut row = Row::figure("warm call", 1.0, "us", Aim::None);
            row.cpu_ratio = Some(Ratio { median, low: median, high: median });
            row
        };
        let budgets = BTreeMap::from([("warm call".to_owned(), 2.0)]);
        let mut best = BTreeMap::new();
        keep_least(&mut best, &[row(2.5)]);
        assert!(!is_within(&budgets, &best, "warm call"));
        keep_least(&mut best, &[row(1.9), row(3.0)]);
        assert!(is_within(&budgets, &best, "warm call"));
        assert!(is_within(&budgets, &best, "another"));
    }
}
