//! The cold limit's launcher: a small process that starts a bare program and times it until its answer.

use anyhow::Context as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::Instant;

/// What to start.
#[derive(Debug, clap::Args)]
pub struct LauncherArguments {
    /// Written to the program's standard input, a newline after it.
    #[arg(long)]
    event: String,
    /// The program and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Starts the program once for each line on standard input and prints the nanoseconds from before its start until its
/// whole answer is read.
pub fn run(arguments: &LauncherArguments) -> anyhow::Result<()> {
    let (program, rest) = arguments.command.split_first().context("no program")?;
    let event = format!("{}\n", arguments.event);
    for line in std::io::stdin().lock().lines() {
        line?;
        let begun = Instant::now();
        let mut child = Command::new(program)
            .args(rest)
            .env_clear()
            .envs([("PATH", "/usr/local/bin:/usr/bin:/bin"), ("LANG", "en_US.UTF-8")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("failed to start {program}"))?;
        child.stdin.take().context("no input")?.write_all(event.as_bytes())?;
        let mut output = BufReader::new(child.stdout.take().context("no output")?);
        let mut answer = String::new();
        output.read_line(&mut answer)?;
        let elapsed = begun.elapsed();
        output.read_to_string(&mut String::new())?;
        anyhow::ensure!(child.wait()?.success(), "{program} failed");
        anyhow::ensure!(answer == event, "{program} answered {answer:?}");
        println!("{}", elapsed.as_nanos());
    }
    Ok(())
}
