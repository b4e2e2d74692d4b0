//! Running other programs: what is run is always printed, a failure names the command.

use anyhow::{Context as _, bail};
use std::path::Path;
use std::process::Command;

/// Prints `command` as a person would type it.
pub fn announce(command: &Command) {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    println!("$ {line}");
}

/// Runs `command` to its end with our own output; whether it succeeded.
pub fn succeeds(command: &mut Command) -> anyhow::Result<bool> {
    announce(command);
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("failed to start {program}"))?;
    Ok(status.success())
}

/// Runs `command` to its end; an unsuccessful end is an error.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    if !succeeds(command)? {
        bail!("{} did not succeed", command.get_program().to_string_lossy());
    }
    Ok(())
}

/// Whether `program` is found on the path (or is a file, when it has a slash).
pub fn exists(program: &str) -> bool {
    if program.contains('/') {
        return Path::new(program).exists();
    }
    let Some(path) = std::env::var_os("PATH") else { return false };
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// Standard output of `command` without the last newline, or `None` when it fails.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}
