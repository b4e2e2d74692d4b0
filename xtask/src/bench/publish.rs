//! Writes the measured section of docs/performance.md, the plots of the README, and a plot for each row that has single
//! measurements.

use super::output::{self, number};
use super::overview;
use super::rows::{Aim, Row};
use super::statistics::Ratio;
use super::svg::{self, Plot};
use crate::paths;
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::fmt::Write as _;

const BEGIN: &str = "<!-- measured: begin, written by cargo xtask bench --publish -->";
const END: &str = "<!-- measured: end -->";
const PLOTS_BEGIN: &str = "<!-- plots: begin, written by cargo xtask bench --publish -->";
const PLOTS_END: &str = "<!-- plots: end -->";
/// Where plots are, and flame graphs, which are not written here (see `profile`).
const PLOTS: &str = "docs/performance";
pub const PROFILES: &str = "docs/performance/profiles";
/// The plots that the README shows besides the overview; the others are in docs/performance.md.
const SHOWN: [&str; 4] = [
    "cold call, Python, blank available",
    "cold call, Node, blank available",
    "cold call, Python, imports of 100 ms",
    "warm call, Python, one client",
];

/// Writes them all. Fails, with nothing written, when a page has lost its markers.
pub fn write(rows: &[Row], machine: &serde_json::Value) -> anyhow::Result<()> {
    let pages = [
        ("docs/performance.md", BEGIN, END, section(rows, machine)?),
        ("README.md", PLOTS_BEGIN, PLOTS_END, readme(rows)),
    ];
    let mut written = Vec::new();
    for (name, begin, end, section) in &pages {
        let page = paths::root().join(name);
        let text =
            std::fs::read_to_string(&page).with_context(|| format!("failed to read {}", page.display()))?;
        let text = replace(&text, (begin, end), section);
        written.push((page, text.with_context(|| format!("{name} has lost its markers"))?));
    }
    for (page, text) in written {
        std::fs::write(page, text)?;
    }
    let plots = paths::root().join(PLOTS);
    std::fs::create_dir_all(&plots)?;
    // Plots of rows that there are no more; the folder of profiles stays.
    for entry in std::fs::read_dir(&plots)?.flatten().filter(|entry| entry.path().is_file()) {
        std::fs::remove_file(entry.path())?;
    }
    std::fs::write(plots.join("overview.svg"), overview::draw(rows))?;
    for row in rows.iter().filter(|row| has_plot(row)) {
        std::fs::write(plots.join(format!("{}.svg", slug(&row.name))), plot(row))?;
    }
    Ok(())
}

/// The text with what is between the markers replaced.
fn replace(text: &str, (begin, end): (&str, &str), section: &str) -> Option<String> {
    let (before, rest) = text.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}\n\n{section}\n{end}{after}"))
}

/// The overview, and those of `SHOWN` that were measured.
fn readme(rows: &[Row]) -> String {
    let mut text = "![ratios to their limits](docs/performance/overview.svg)\n\n<details><summary>Single plots</summary>\n\n".to_owned();
    for name in SHOWN {
        if rows.iter().any(|row| row.name == name && has_plot(row)) {
            text.push_str(&format!("![{name}](docs/performance/{}.svg)\n", slug(name)));
        }
    }
    text.push_str("\n</details>\n");
    text
}

fn section(rows: &[Row], machine: &serde_json::Value) -> anyhow::Result<String> {
    let word = |key: &str| machine[key].as_str().unwrap_or_default().to_owned();
    let interpreters: Vec<&str> =
        machine["interpreters"].as_array().into_iter().flatten().filter_map(|text| text.as_str()).collect();
    let mut text = format!(
        "{}, {} cores, {} MiB; Linux {}, cgroup {}; interpreters {}; commit {}; load average {}. Every row with {}.\n\n\
         **{}.**\n\n\
         | metric | limit | aim | ratio (95 %) | CPU ratio (95 %) | ours | limit | A/A | started | isolation | |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
        word("processor"),
        machine["cores"],
        machine["memory_mib"],
        word("kernel"),
        word("cgroup"),
        interpreters.join(", "),
        word("commit"),
        word("load_average"),
        output::ISOLATION,
        output::summary(rows),
    );
    let ratio = |ratio: &Option<Ratio>| ratio.as_ref().map_or(String::new(), ToString::to_string);
    for row in rows {
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | full | {} |",
            row.name,
            row.limit_name,
            row.aim_text(),
            ratio(&row.ratio),
            ratio(&row.cpu_ratio),
            number(row.ours, &row.unit),
            row.limit.map_or(String::new(), |limit| number(limit, &row.unit)),
            row.check.as_ref().map_or(String::new(), |check| format!("{:.3}", check.median)),
            row.start,
            row.verdict().word(),
        )?;
    }
    text.push_str("\nRemarks:\n\n");
    for (commit, names) in of_other_commits(rows, &word("commit")) {
        writeln!(text, "- Measured at commit {commit}: {}.", names.join("; "))?;
    }
    for row in rows.iter().filter(|row| !row.note.is_empty()) {
        writeln!(text, "- {}: {}.", row.name, row.note)?;
    }
    text.push('\n');
    for row in rows.iter().filter(|row| has_plot(row)) {
        writeln!(text, "![{}](performance/{}.svg)", row.name, slug(&row.name))?;
    }
    Ok(text)
}

/// Rows that stand from an earlier run (`--only` leaves them), by what was measured then.
fn of_other_commits<'a>(rows: &'a [Row], commit: &str) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut others = BTreeMap::<_, Vec<_>>::new();
    for row in rows.iter().filter(|row| !row.commit.is_empty() && row.commit != commit) {
        others.entry(row.commit.as_str()).or_default().push(row.name.as_str());
    }
    others
}

fn has_plot(row: &Row) -> bool {
    row.pairs.len() >= 2 && row.pairs.iter().all(|pair| pair.0 > 0.0 && pair.1 > 0.0)
}

/// What is plotted is what the aim is on: our own figure, or the ratio in the aim's direction.
fn plot(row: &Row) -> String {
    let own = matches!(row.aim, Aim::OursAtMost(_));
    let inverse = matches!(row.aim, Aim::RatioAtLeast(_));
    let values: Vec<f64> = row
        .pairs
        .iter()
        .map(|&(ours, limit)| {
            if own {
                ours
            } else if inverse {
                limit / ours
            } else {
                ours / limit
            }
        })
        .collect();
    let of_values = || {
        let ones: Vec<_> = values.iter().map(|value| (*value, 1.0)).collect();
        Ratio::of(&ones)
    };
    let middle = if own { of_values() } else { row.ratio.clone().unwrap_or_else(of_values) };
    let figures = row.limit.map_or_else(
        || number(row.ours, &row.unit),
        |limit| format!("ours {}, limit {}", number(row.ours, &row.unit), number(limit, &row.unit)),
    );
    let start = if row.start.is_empty() { String::new() } else { format!("; started: {}", row.start) };
    let axis = if own {
        format!("ours, {}", &row.unit)
    } else if inverse {
        format!("limit / ours, one dot a pair; the limit: {}", row.limit_name)
    } else {
        format!("ours / limit, one dot a pair; the limit: {}", row.limit_name)
    };
    svg::draw(&Plot {
        title: &row.name,
        subtitle: &format!("{figures}{start}"),
        axis: &axis,
        values: &values,
        median: (middle.median, middle.low, middle.high),
        limit: if own { row.limit } else { Some(1.0) },
        aim: match row.aim {
            Aim::RatioAtMost(aim) | Aim::RatioAtLeast(aim) | Aim::OursAtMost(aim) => Some(aim),
            // The plot is of wall time.
            Aim::CpuRatioAtMost(_) | Aim::None => None,
        },
    })
}

/// A row's name as a file's.
pub fn slug(name: &str) -> String {
    let mut slug = String::new();
    for character in name.to_lowercase().chars() {
        if character.is_ascii_alphanumeric() {
            slug.push(character);
        } else if !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_is_written() {
        let page = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let written = replace(&page, (BEGIN, END), "new").unwrap();
        assert_eq!(written, format!("before\n{BEGIN}\n\nnew\n{END}\nafter\n"));
        assert!(replace("no markers", (BEGIN, END), "new").is_none());
    }

    #[test]
    fn rows_of_an_earlier_run_say_so() {
        let row = |name: &str, commit: &str| {
            let mut row = Row::figure(name, 1.0, "ms", Aim::None);
            row.commit = commit.to_owned();
            row
        };
        let rows = [row("new", "b"), row("old", "a"), row("unknown", "")];
        assert_eq!(of_other_commits(&rows, "b"), BTreeMap::from([("a", vec!["old"])]));
    }

    #[test]
    fn names_of_files_are_plain() {
        assert_eq!(
            slug("tail, Python, at 50 % of capacity: p99/p50"),
            "tail-python-at-50-of-capacity-p99-p50"
        );
    }
}
