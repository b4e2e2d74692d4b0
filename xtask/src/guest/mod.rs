//! `cargo xtask test-guest`: Debian's stock 6.1 cloud kernel with cgroup v2, emulated, running the sandbox contract and
//! the end-to-end suites. The host may have cgroup v1 and any kernel; neither KVM nor root is needed.
//!
//! ```text
//! apt-get download kernel ─► .cache/guest/kernel
//! programs + libraries + test binaries + clients ─► image.cpio ─► qemu (TCG) ─► tests/guest/run.py ─► RESULT lines
//! ```

mod archive;
mod image;
mod kernel;
mod machine;

use crate::command;
use crate::paths;
use crate::report::{self, Counts, Covered, Result, TestResult};
use crate::tools;
use anyhow::Context as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Arguments of `cargo xtask test-guest`.
#[derive(Debug, clap::Args)]
pub struct GuestArguments {
    /// Only plan entries and end-to-end tests whose name contains this.
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,
}

/// Runs the guest alone and prints the closing line.
pub fn run(arguments: &GuestArguments) -> anyhow::Result<ExitCode> {
    std::fs::create_dir_all(paths::reports())?;
    if let Err(error) = tools::python_packages() {
        println!("skipped: Python clients: {error:#}");
    }
    let results = results(arguments.filter.as_deref())?;
    for test in results.iter().filter(|test| test.result != Result::Passed) {
        println!("{:?}: {} {}", test.result, test.name, test.reason);
    }
    let counts = Counts::of(&results);
    println!("{counts}");
    Ok(if counts.failed == 0 && counts.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Builds the image, boots it, and gives what the guest reported. A guest that does not end by its own word has failed.
pub fn results(filter: Option<&str>) -> anyhow::Result<Vec<TestResult>> {
    if let Some(reason) = machine::missing() {
        return Ok(vec![skipped(&reason)]);
    }
    let work = paths::cache().join("guest");
    std::fs::create_dir_all(&work)?;
    let kernel = kernel::fetch(&work)?;
    let image = work.join("image.cpio");
    image::build(&kernel, &programs(&work)?, &image).context("failed to build the guest's image")?;
    let ended = machine::boot(&kernel, &image, &work, filter)?;
    let mut results = Vec::new();
    for line in &ended.results {
        let mut test: TestResult =
            serde_json::from_str(line).with_context(|| format!("failed to read {line}"))?;
        // What is proved in here is proved for this kernel, in rows of its own.
        let row = if test.name.starts_with("contract") {
            "sandbox contract"
        } else if test.name.contains("hostile/") {
            "hostile functions"
        } else {
            "python function"
        };
        test.covers = vec![Covered { row: format!("guest:{row}"), client: "QEMU, Linux 6.1".into() }];
        test.name = format!("guest {}", test.name);
        results.push(test);
    }
    if !ended.by_its_own_word {
        results.push(TestResult {
            name: format!("guest (ended early; its console is in {})", ended.console.display()),
            result: Result::Failed,
            reason: String::new(),
            covers: Vec::new(),
        });
    }
    report::append(&paths::reports().join("guest.jsonl"), &results)?;
    Ok(results)
}

fn skipped(reason: &str) -> TestResult {
    TestResult {
        name: "test-guest".into(),
        result: Result::Skipped,
        reason: reason.into(),
        covers: Vec::new(),
    }
}

/// Our own programs for the guest, stripped: the product, and the test binaries named here by their new names.
fn programs(work: &Path) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let mut build = Command::new("cargo");
    build.args(["build", "--locked", "--package", "lamplight"]).current_dir(paths::root());
    command::run(&mut build)?;
    let mut programs = vec![(paths::target()?.join("debug/lamplight"), "lamplight".to_owned())];
    let mut tests = Command::new("cargo");
    tests
        .args(["test", "--locked", "--package", "lamplight-sandbox", "--no-run", "--message-format", "json"])
        .current_dir(paths::root());
    let messages = command::output(&mut tests).context("failed to build the sandbox's tests")?;
    for line in messages.lines() {
        let message: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        if let (Some(executable), Some(name)) =
            (message["executable"].as_str(), message["target"]["name"].as_str())
        {
            let name = if message["target"]["kind"][0] == "lib" { "sandbox-unit" } else { name };
            programs.push((PathBuf::from(executable), name.to_owned()));
        }
    }
    let stripped = work.join("programs");
    std::fs::create_dir_all(&stripped)?;
    programs
        .into_iter()
        .map(|(program, name)| {
            let to = stripped.join(&name);
            // Debug information would only fill the guest's memory.
            command::run(Command::new("strip").arg("-o").arg(&to).arg(&program))?;
            Ok((to, name))
        })
        .collect()
}
