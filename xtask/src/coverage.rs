//! docs/coverage.md: what is promised, and which test with which client proved it in the last run.
//!
//! The promises are docs/coverage-rows.toml. End-to-end tests name their rows with the marker
//! `@pytest.mark.covers("operation:Invoke", client="boto3")`; a row may also name Rust tests by a part of their name.
//! A row that nothing proved says missing.

use crate::paths;
use crate::report::{self, Result, TestResult};
use anyhow::Context as _;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

#[derive(Debug, Deserialize)]
struct Rows {
    section: Vec<Section>,
}

#[derive(Debug, Deserialize)]
struct Section {
    title: String,
    /// First part of the identifiers of its rows.
    kind: String,
    rows: Vec<Row>,
}

#[derive(Debug, Deserialize)]
struct Row {
    /// Second part of the identifier.
    id: String,
    /// What is promised, in words; empty when the identifier says it.
    #[serde(default)]
    promise: String,
    /// Parts of the names of Rust tests that prove it.
    #[serde(default)]
    rust_tests: Vec<String>,
}

/// Writes the page from the results of the last run.
pub fn write() -> anyhow::Result<()> {
    std::fs::write(page_path(), render(&rows()?, &report::load()?))
        .context("failed to write docs/coverage.md")
}

/// Writes the page; answers the identifiers of the rows that the committed page calls proved and this run did not prove,
/// and of markers that name no row. Only a `long` run can prove every row: a short one checks the markers and leaves the
/// page alone. In CI the page is compared only.
pub fn check_and_write(long: bool) -> anyhow::Result<Vec<String>> {
    let rows = rows()?;
    let results = report::load()?;
    let unknown = unknown_rows(&rows, &results).into_iter().map(|row| format!("has no row {row}"));
    if !long {
        return Ok(unknown.collect());
    }
    let page = render(&rows, &results);
    let before = std::fs::read_to_string(page_path()).unwrap_or_default();
    let now = proved_rows(&page);
    let mut wrong: Vec<String> = proved_rows(&before)
        .into_iter()
        .filter(|row| !now.contains(row))
        .map(|row| format!("says {row} is proved, and no passing test proved it"))
        .collect();
    wrong.extend(unknown);
    if before != page {
        if std::env::var("CI").is_ok_and(|value| value == "true") {
            println!(
                "note: docs/coverage.md differs from this run's; run `cargo xtask test --long` and commit it"
            );
        } else {
            std::fs::write(page_path(), page).context("failed to write docs/coverage.md")?;
            println!("docs/coverage.md was written anew");
        }
    }
    Ok(wrong)
}

fn page_path() -> std::path::PathBuf {
    paths::root().join("docs/coverage.md")
}

fn rows() -> anyhow::Result<Rows> {
    let path = paths::root().join("docs/coverage-rows.toml");
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("failed to parse {}", path.display()))
}

/// Clients by row identifier, from the passed tests. A row with a failed test is not proved.
fn clients(rows: &Rows, results: &[TestResult]) -> BTreeMap<String, BTreeSet<String>> {
    let mut proved: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for test in results.iter().filter(|test| test.result == Result::Passed) {
        for covered in &test.covers {
            proved.entry(covered.row.clone()).or_default().insert(covered.client.clone());
        }
    }
    for section in &rows.section {
        for row in &section.rows {
            let proves = |test: &&TestResult| row.rust_tests.iter().any(|part| test.name.contains(part));
            let mut matching = results.iter().filter(proves).peekable();
            if matching.peek().is_some() && matching.all(|test| test.result == Result::Passed) {
                proved.entry(identifier(section, row)).or_default().insert("Rust test".to_owned());
            }
        }
    }
    for test in results.iter().filter(|test| test.result == Result::Failed) {
        for covered in &test.covers {
            proved.remove(&covered.row);
        }
    }
    proved
}

fn identifier(section: &Section, row: &Row) -> String {
    format!("{}:{}", section.kind, row.id)
}

fn unknown_rows(rows: &Rows, results: &[TestResult]) -> BTreeSet<String> {
    let known: BTreeSet<String> = rows
        .section
        .iter()
        .flat_map(|section| section.rows.iter().map(|row| identifier(section, row)))
        .collect();
    results
        .iter()
        .flat_map(|test| &test.covers)
        .map(|covered| covered.row.clone())
        .filter(|row| !known.contains(row))
        .collect()
}

fn render(rows: &Rows, results: &[TestResult]) -> String {
    let clients = clients(rows, results);
    let mut page = String::from(
        "# What is proved, and by which client\n\n\
         Written by `cargo xtask test` from its results; do not edit. A row whose last column says **missing** is not\n\
         proved by any test, whether or not it works.\n",
    );
    for section in &rows.section {
        let _ = write!(
            page,
            "\n## {}\n\n| {} | promise | proved by |\n|---|---|---|\n",
            section.title, section.kind
        );
        for row in &section.rows {
            let proved = clients.get(&identifier(section, row)).map_or_else(
                || "**missing**".to_owned(),
                |clients| clients.iter().cloned().collect::<Vec<_>>().join(", "),
            );
            let _ = writeln!(page, "| {} | {} | {proved} |", row.id, row.promise);
        }
    }
    page
}

/// Identifiers (`kind:id`) of the rows a page calls proved.
fn proved_rows(page: &str) -> BTreeSet<String> {
    let mut kind = "";
    let mut rows = BTreeSet::new();
    for line in page.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        match cells.as_slice() {
            [first, "promise", "proved by"] => kind = first,
            [id, _, proved] if !id.starts_with("--") && *proved != "**missing**" => {
                rows.insert(format!("{kind}:{id}"));
            }
            _ => {}
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(name: &str, result: Result, row: &str) -> TestResult {
        let covers = vec![report::Covered { row: row.into(), client: "boto3".into() }];
        TestResult { name: name.into(), result, reason: String::new(), covers }
    }

    fn two_rows() -> Rows {
        toml::from_str(
            "[[section]]\ntitle = 'Operations'\nkind = 'operation'\nrows = [{ id = 'Invoke' }, { id = 'Create', rust_tests = ['creates'] }]",
        )
        .expect("the text is right")
    }

    #[test]
    fn only_a_passing_test_proves_a_row() {
        let passed = [result("a", Result::Passed, "operation:Invoke")];
        assert_eq!(proved_rows(&render(&two_rows(), &passed)), ["operation:Invoke".to_owned()].into());
        let mixed = [passed[0].clone(), result("b", Result::Failed, "operation:Invoke")];
        assert_eq!(proved_rows(&render(&two_rows(), &mixed)), BTreeSet::new());
    }

    #[test]
    fn a_rust_test_proves_the_row_that_names_it() {
        let mut test = result("store creates_it", Result::Passed, "operation:Invoke");
        test.covers.clear();
        assert_eq!(proved_rows(&render(&two_rows(), &[test])), ["operation:Create".to_owned()].into());
    }

    #[test]
    fn a_marker_without_a_row_is_found() {
        let results = [result("a", Result::Passed, "operation:Invok")];
        assert_eq!(unknown_rows(&two_rows(), &results), ["operation:Invok".to_owned()].into());
    }
}
