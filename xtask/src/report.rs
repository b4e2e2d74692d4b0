//! Results of one run: read from the files the runners leave, added up for the last line, kept for the coverage page.

use crate::paths;
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// How one test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Result {
    Passed,
    Failed,
    Skipped,
}

/// One test's result, and which rows of the coverage page it stands for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TestResult {
    /// `crate::binary test::name` or the pytest node id.
    pub name: String,
    /// How it ended.
    pub result: Result,
    /// Why it was skipped.
    #[serde(default)]
    pub reason: String,
    /// Rows it proves, each with the client that proved it.
    #[serde(default)]
    pub covers: Vec<Covered>,
}

/// One row proved by one client.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Covered {
    /// Row identifier such as `operation:Invoke`.
    pub row: String,
    /// What drove the test: `boto3`, `aws-cli`, `raw HTTP`, ...
    pub client: String,
}

/// Added-up results.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

impl Counts {
    /// Counts `results`.
    pub fn of(results: &[TestResult]) -> Self {
        let number = |wanted| results.iter().filter(|test| test.result == wanted).count();
        Self {
            passed: number(Result::Passed),
            failed: number(Result::Failed),
            skipped: number(Result::Skipped),
        }
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Reads nextest's JUnit file. Only its own writer's shape is understood: one `<testcase` a test, `<failure` or
/// `<error` inside a failed one.
pub fn read_junit(path: &Path) -> anyhow::Result<Vec<TestResult>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
    Ok(parse_junit(&text))
}

fn parse_junit(text: &str) -> Vec<TestResult> {
    text.split("<testcase ")
        .skip(1)
        .map(|case| {
            let name = attribute(case, "name");
            let class = attribute(case, "classname");
            let body = case.split("</testcase>").next().unwrap_or(case);
            let failed = body.contains("<failure") || body.contains("<error");
            TestResult {
                name: format!("{class} {name}"),
                result: if failed { Result::Failed } else { Result::Passed },
                reason: String::new(),
                covers: Vec::new(),
            }
        })
        .collect()
}

fn attribute(element: &str, name: &str) -> String {
    let marker = format!("{name}=\"");
    // ` name=` must not be found inside `classname=`.
    let start = if element.starts_with(&marker) {
        Some(marker.len())
    } else {
        element.find(&format!(" {marker}")).map(|at| at + marker.len() + 1)
    };
    start.and_then(|start| element[start..].split('"').next()).unwrap_or_default().to_owned()
}

/// Reads the one-object-a-line file that `tests/conftest.py` and the guest write. An absent file has no results.
pub fn read_lines(path: &Path) -> anyhow::Result<Vec<TestResult>> {
    let Ok(text) = std::fs::read_to_string(path) else { return Ok(Vec::new()) };
    text.lines()
        .map(|line| {
            serde_json::from_str(line).with_context(|| format!("failed to read a line of {}", path.display()))
        })
        .collect()
}

/// Adds `results` to a file of lines.
pub fn append(path: &Path, results: &[TestResult]) -> anyhow::Result<()> {
    let mut text = std::fs::read_to_string(path).unwrap_or_default();
    for result in results {
        text.push_str(&serde_json::to_string(result)?);
        text.push('\n');
    }
    std::fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
}

/// Keeps everything for `cargo xtask coverage`.
pub fn save(results: &[TestResult]) -> anyhow::Result<()> {
    let path = paths::reports().join("results.json");
    std::fs::write(&path, serde_json::to_vec_pretty(results)?)
        .with_context(|| format!("failed to write {}", path.display()))
}

/// What `save` kept.
pub fn load() -> anyhow::Result<Vec<TestResult>> {
    let path = paths::reports().join("results.json");
    let text = std::fs::read(&path)
        .with_context(|| format!("failed to read {}; run `cargo xtask test` first", path.display()))?;
    Ok(serde_json::from_slice(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_junit_file_is_counted() {
        let text = r#"<testsuites><testsuite name="a">
            <testcase name="one" classname="crate" time="0.1"></testcase>
            <testcase name="two" classname="crate"><failure message="x">boom</failure></testcase>
            <testcase classname="crate" name="three"/></testsuite></testsuites>"#;
        let results = parse_junit(text);
        assert_eq!(Counts::of(&results).to_string(), "2 passed, 1 failed, 0 skipped");
        assert_eq!(results[1].name, "crate two");
        assert_eq!(results[2].name, "crate three");
    }
}
