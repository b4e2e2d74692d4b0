//! The table on standard output and the results as JSON.

use super::cpu;
use super::rows::{Row, Verdict};
use super::statistics::Ratio;
use crate::{command, paths};
use std::process::Command;

/// What all numbers were taken under.
pub const ISOLATION: &str = "the whole default wall";

/// The head of the table.
pub fn print_head() {
    println!(
        "\n| what | ours | limit | ratio (95 % interval) | CPU ratio | aim | | A/A | started | remarks |\n|---|---|---|---|---|---|---|---|---|---|"
    );
}

/// One row.
pub fn print(row: &Row) {
    let limit = row.limit.map_or(String::new(), |limit| number(limit, &row.unit));
    let text = |ratio: &Option<Ratio>| ratio.as_ref().map_or(String::new(), ToString::to_string);
    let check = row.check.as_ref().map_or(String::new(), |check| format!("{:.3}", check.median));
    println!(
        "| {} | {} | {limit} | {} | {} | {} | {} | {check} | {} | {} |",
        row.name,
        number(row.ours, &row.unit),
        text(&row.ratio),
        text(&row.cpu_ratio),
        row.aim_text(),
        row.verdict().word(),
        row.start,
        row.note,
    );
}

/// A figure with as many digits as it deserves.
pub fn number(value: f64, unit: &str) -> String {
    let digits = match value.abs() {
        value if value < 0.1 => 3,
        value if value < 10.0 => 2,
        value if value < 1000.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}").trim_end().to_owned()
}

/// What this machine is.
pub fn machine(interpreters: &[String]) -> serde_json::Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let information = read("/proc/cpuinfo");
    let model = information
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("", |rest| rest.trim_start_matches([':', ' ', '\t']));
    let memory_kib: u64 = read("/proc/meminfo")
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0);
    let version = |program: &String| {
        let text = command::output(Command::new(program).arg("--version")).unwrap_or_default();
        text.trim_start_matches("Python ").to_owned()
    };
    let commit = command::output(
        Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).current_dir(paths::root()),
    );
    serde_json::json!({
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "processor": model,
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory_mib": memory_kib / 1024,
        "cgroup": cpu::cgroup_version(),
        "interpreters": interpreters.iter().map(version).collect::<Vec<_>>(),
        "commit": commit.unwrap_or_default(),
        "load_average": read("/proc/loadavg").trim(),
        "isolation": ISOLATION,
    })
}

/// Writes `.cache/bench.json`: the machine, and all rows with their single measurements.
pub fn save(rows: &[Row], machine: &serde_json::Value) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(&serde_json::json!({ "machine": machine, "rows": rows }))?;
    std::fs::create_dir_all(paths::cache())?;
    std::fs::write(paths::cache().join("bench.json"), text)?;
    Ok(())
}

/// The rows of the last runs; none when there was none.
pub fn saved() -> Vec<Row> {
    let saved = std::fs::read(paths::cache().join("bench.json")).unwrap_or_default();
    let saved: serde_json::Value = serde_json::from_slice(&saved).unwrap_or_default();
    serde_json::from_value(saved["rows"].clone()).unwrap_or_default()
}

/// The rows of the last runs, in which those that were measured now take the place of older ones of the same name.
pub fn merge(measured: Vec<Row>) -> Vec<Row> {
    let mut rows = saved();
    // What could not be measured then may be there now, under the names of its rows.
    rows.retain(|row| !row.note.starts_with("not measured"));
    for row in measured {
        match rows.iter_mut().find(|older| older.name == row.name) {
            Some(older) => *older = row,
            None => rows.push(row),
        }
    }
    rows
}

/// `n met, n missed, n void`.
pub fn summary(rows: &[Row]) -> String {
    let count = |verdict| rows.iter().filter(|row| row.verdict() == verdict).count();
    format!("{} met, {} missed, {} void", count(Verdict::Met), count(Verdict::Missed), count(Verdict::Void))
}
