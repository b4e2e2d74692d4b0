//! The child of a crash test: this program again, which says what it does line by line until it is cut off.
#![allow(clippy::unwrap_used)] // A helper that fails is a failed test.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

/// One write, so that lines of several tasks do not mix.
pub fn say(line: &str) {
    std::io::stdout().write_all(format!("\n@{line}\n").as_bytes()).unwrap();
}

/// What was said; `None` for what is no such line, or one that was cut off, which has no end.
pub fn said(line: &str) -> Option<&str> {
    line.strip_prefix('@')?.strip_suffix('\n')
}

/// Runs the test `child` of this program with `directory` in the variable.
pub fn start_child(variable: &str, directory: &Path) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture"])
        .env(variable, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

/// Lets `hear` have lines until so many acknowledged something.
pub fn hear_lines(output: &mut impl BufRead, count: usize, mut hear: impl FnMut(&str) -> bool) {
    let mut heard = 0;
    while heard < count {
        let mut line = String::new();
        assert!(output.read_line(&mut line).unwrap() > 0, "the child ended by itself");
        heard += usize::from(hear(&line));
    }
}

/// Lets `hear` have what is left.
pub fn hear_rest(output: &mut impl BufRead, mut hear: impl FnMut(&str) -> bool) {
    let mut line = String::new();
    while output.read_line(&mut line).unwrap() > 0 {
        hear(&line);
        line.clear();
    }
}
