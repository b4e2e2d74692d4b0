//! `cargo xtask test`: install, build, run every suite, add up.
//!
//! Order: cheap before dear. Rust's tests, then the end-to-end suites of `tests/` against the real program.

use crate::command;
use crate::coverage;
use crate::guest;
use crate::paths;
use crate::report::{self, Counts, Result, TestResult};
use crate::tools;
use std::process::{Command, ExitCode};

/// Arguments of `cargo xtask test`.
#[derive(Debug, clap::Args)]
pub struct TestArguments {
    /// Add the slow suites: 5,000 start/stop cycles, fuzzing, the guest with Debian's own kernel.
    #[arg(long)]
    pub long: bool,
    /// Only tests whose name contains this.
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,
}

/// Runs everything asked for; success only if something ran and nothing failed (and, with CI=true, nothing was skipped).
pub fn run(arguments: &TestArguments) -> anyhow::Result<ExitCode> {
    let reports = paths::reports();
    if reports.exists() {
        std::fs::remove_dir_all(&reports)?;
    }
    std::fs::create_dir_all(&reports)?;

    let mut results = Vec::new();
    for missing in tools::install_all() {
        results.push(skipped("tools", &missing));
    }
    results.extend(rust(arguments)?);
    results.extend(end_to_end(arguments)?);
    if arguments.long {
        results.extend(guest::results(arguments.filter.as_deref())?);
    }
    report::save(&results)?;

    if arguments.filter.is_none() {
        for row in coverage::check_and_write(arguments.long)? {
            results.push(TestResult {
                name: format!("docs/coverage.md {row}"),
                result: Result::Failed,
                reason: String::new(),
                covers: Vec::new(),
            });
        }
    }
    Ok(conclude(&results))
}

fn skipped(name: &str, reason: &str) -> TestResult {
    TestResult { name: name.into(), result: Result::Skipped, reason: reason.into(), covers: Vec::new() }
}

fn failed(name: &str) -> TestResult {
    TestResult { name: name.into(), result: Result::Failed, reason: String::new(), covers: Vec::new() }
}

/// Unit and integration tests of the crates.
fn rust(arguments: &TestArguments) -> anyhow::Result<Vec<TestResult>> {
    let mut nextest = Command::new("cargo");
    nextest.args(["nextest", "run", "--workspace", "--locked", "--no-tests=pass"]).current_dir(paths::root());
    if arguments.long {
        // Fuzzing of the ZIP reader, the frames, the Runtime API and the front door: many more cases of each.
        nextest.env("LAMPLIGHT_LONG", "1").env("PROPTEST_CASES", "10000");
    }
    if let Some(filter) = &arguments.filter {
        nextest.arg(filter);
    }
    // Nextest keeps its store below the workspace, wherever the target directory is. An old file is not this run's.
    let junit = paths::root().join("target/nextest/default/junit.xml");
    let _ = std::fs::remove_file(&junit);
    let succeeded = command::succeeds(&mut nextest)?;
    let mut results = if junit.exists() { report::read_junit(&junit)? } else { Vec::new() };
    if !succeeded && Counts::of(&results).failed == 0 {
        results.push(failed("cargo nextest (did not build, or ended early)"));
    }
    Ok(results)
}

/// The suites of `tests/`, with real clients against the real program.
fn end_to_end(arguments: &TestArguments) -> anyhow::Result<Vec<TestResult>> {
    let mut build = Command::new("cargo");
    build.args(["build", "--locked", "--package", "lamplight"]).current_dir(paths::root());
    if !command::succeeds(&mut build)? {
        return Ok(vec![failed("cargo build --package lamplight")]);
    }
    let lines = paths::reports().join("pytest.jsonl");
    let mut pytest = Command::new(tools::python());
    pytest
        .args(["-m", "pytest", "-p", "no:cacheprovider", "--color=yes", "-q"])
        .arg(paths::root().join("tests"))
        .env("LAMPLIGHT_BINARY", paths::target()?.join("debug/lamplight"))
        .env("LAMPLIGHT_REPORT", &lines)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(paths::root());
    if arguments.long {
        pytest.arg("--long");
    }
    if let Some(filter) = &arguments.filter {
        pytest.args(["-k", filter]);
    }
    let succeeded = command::succeeds(&mut pytest)?;
    let mut results = report::read_lines(&lines)?;
    // Status 5, "no test selected", is not a failure when a filter picked Rust tests only.
    if !succeeded && Counts::of(&results).failed == 0 && !(arguments.filter.is_some() && results.is_empty()) {
        results.push(failed("pytest (did not start, or ended early)"));
    }
    Ok(results)
}

/// Prints what was skipped and failed and the closing line.
fn conclude(results: &[TestResult]) -> ExitCode {
    let mut counts = Counts::of(results);
    let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    for test in results.iter().filter(|test| test.result == Result::Skipped) {
        println!("skipped: {}: {}", test.name, test.reason);
    }
    if in_ci && counts.skipped > 0 {
        println!("with CI=true a skip is a failure");
        counts.failed += counts.skipped;
        counts.skipped = 0;
    }
    for test in results.iter().filter(|test| test.result == Result::Failed) {
        println!("failed: {}", test.name);
    }
    println!("{counts}");
    if counts.failed == 0 && counts.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
