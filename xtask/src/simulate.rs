//! `cargo xtask simulate`: replays a trace against ways to keep instances. The simulator stands beside the policies it
//! uses, in crates/pool/examples/simulate; this builds it (optimised: a day is hundreds of thousands of calls) and runs it.

use crate::command;
use std::process::{Command, ExitCode};

/// What the simulator is told.
#[derive(Debug, clap::Args)]
pub struct SimulateArguments {
    /// A trace file, or `--synthetic SEED`; `-- --help` tells the rest.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    arguments: Vec<String>,
}

/// Runs it. Fails when it does not build or refuses its arguments.
pub fn run(arguments: &SimulateArguments) -> anyhow::Result<ExitCode> {
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--quiet", "--release", "--package", "lamplight-pool", "--example", "simulate", "--"]);
    let passed = command::succeeds(cargo.args(&arguments.arguments))?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
