//! The project's chores, in Rust so that they run wherever the project builds: `cargo xtask <chore>`.
//!
//! `test` is what a person runs before a push and what `.ci/run` runs; the others are its parts, callable alone.

mod bench;
mod command;
mod coverage;
mod dist;
mod guest;
mod paths;
mod report;
mod simulate;
mod suite;
mod tools;

use clap::{Parser, Subcommand};

/// Chores of the Lamplight repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Install what the tests need, build, and run every suite; the last line is "N passed, N failed, N skipped".
    Test(suite::TestArguments),
    /// Boot Debian's own kernel with cgroup v2 under emulation and run the sandbox contract and hostile suites there.
    TestGuest(guest::GuestArguments),
    /// Measure the platform against bare programs that do the same work; needs root.
    Bench(bench::BenchArguments),
    /// Replay a trace of calls against ways to keep instances: cold starts, cold seconds, memory, and a lower bound.
    Simulate(simulate::SimulateArguments),
    /// One of the benchmark's limit programs.
    #[command(hide = true)]
    BenchLimit(bench::limits::LimitArguments),
    /// Make what is given to others: a static program in a tarball, a Debian package, checksums; in dist/ of the target directory.
    Dist(dist::DistArguments),
    /// Write docs/coverage.md from the results of the last `cargo xtask test`.
    Coverage,
    /// Install what the tests need into .cache/ and ~/.cargo/bin, and do nothing else.
    Tools,
}

fn main() -> anyhow::Result<std::process::ExitCode> {
    match Arguments::parse().chore {
        Chore::Test(arguments) => suite::run(&arguments),
        Chore::TestGuest(arguments) => guest::run(&arguments),
        Chore::Bench(arguments) => bench::run(&arguments),
        Chore::Simulate(arguments) => simulate::run(&arguments),
        Chore::BenchLimit(arguments) => {
            bench::limits::run(&arguments)?;
            Ok(std::process::ExitCode::SUCCESS)
        }
        Chore::Dist(arguments) => dist::run(&arguments),
        Chore::Coverage => {
            coverage::write()?;
            Ok(std::process::ExitCode::SUCCESS)
        }
        Chore::Tools => {
            tools::install_all().iter().for_each(|missing| println!("skipped: {missing}"));
            Ok(std::process::ExitCode::SUCCESS)
        }
    }
}
