//! What is measured: one module per kind of figure, each giving rows of the table.

pub mod burst;
pub mod cold;
pub mod events;
pub mod fairness;
pub mod imports;
pub mod many;
pub mod memory;
pub mod peers;
pub mod sustained;
pub mod url;
pub mod warm;

use super::cpu::Noise;
use super::pairing::Measured;
use super::server::{Runtime, Server};
use super::statistics::{Ratio, median};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What every event is.
pub const EVENT: &str = r#"{"key": "value", "number": 42}"#;

/// What all measurements share.
pub struct Bench {
    /// The server's program.
    pub binary: PathBuf,
    /// Python and Node of this host.
    pub runtimes: Vec<Runtime>,
    /// How much is measured.
    pub effort: Effort,
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Groups of four cold calls.
    pub cold_groups: usize,
    /// Groups of four blocks of warm calls.
    pub warm_groups: usize,
    /// Groups of four blocks of an open loop.
    pub tail_groups: usize,
    /// Repetitions of what is measured as a whole (a burst).
    pub repetitions: usize,
    /// Events that wait while something is measured.
    pub waiting_events: usize,
    /// Runs until one is not void.
    pub attempts: u32,
    /// Whether the numbers of functions and of starts are the table's; else a tenth or less.
    pub full: bool,
}

impl Bench {
    /// A server with the default configuration.
    pub fn server(&self) -> anyhow::Result<Server> {
        Server::start(&self.binary, &[])
    }
}

/// What an aim bounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Aim {
    /// Ratio to the limit, at most.
    RatioAtMost(f64),
    /// Ratio to the limit, at least.
    RatioAtLeast(f64),
    /// Ratio of processor times, at most.
    CpuRatioAtMost(f64),
    /// Our own figure, at most.
    OursAtMost(f64),
    None,
}

/// What became of an aim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The aim is reached.
    Met,
    /// It is not.
    Missed,
    /// The A/A check never was neutral.
    Void,
    /// There is no aim.
    NoAim,
}

impl Verdict {
    /// The word in the table.
    pub fn word(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "missed",
            Self::Void => "void",
            Self::NoAim => "",
        }
    }
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What is measured.
    pub name: String,
    /// The limit, in words.
    pub limit_name: String,
    /// The aim.
    pub aim: Aim,
    /// Unit of `ours`, `limit` and `pairs`.
    pub unit: String,
    /// Our figure.
    pub ours: f64,
    /// The limit's.
    pub limit: Option<f64>,
    /// Ours to the limit.
    pub ratio: Option<Ratio>,
    /// Processor times, ours to the limit.
    pub cpu_ratio: Option<Ratio>,
    /// Which ways our instances started, and how many each.
    pub start: String,
    /// The A/A check, and whether it voids the row.
    pub check: Option<Ratio>,
    /// Whether the row says nothing.
    pub void: bool,
    /// What the machine did meanwhile.
    pub noise: Option<Noise>,
    /// What else is to be known.
    pub note: String,
    /// What was measured; empty in results that did not say.
    #[serde(default)]
    pub commit: String,
    /// Single measurements, ours and the limit's, for the plot.
    pub pairs: Vec<(f64, f64)>,
}

impl Row {
    /// A row with a figure of our own only.
    pub fn figure(name: &str, ours: f64, unit: &'static str, aim: Aim) -> Self {
        Self {
            name: name.to_owned(),
            limit_name: String::new(),
            aim,
            unit: unit.to_owned(),
            ours,
            limit: None,
            ratio: None,
            cpu_ratio: None,
            start: String::new(),
            check: None,
            void: false,
            noise: None,
            note: String::new(),
            commit: String::new(),
            pairs: Vec::new(),
        }
    }

    /// A row that says why there is no figure. It is void: neither met nor missed.
    pub fn not_measured(name: &str, why: &str) -> Self {
        Self { void: true, note: format!("not measured: {why}"), ..Self::figure(name, 0.0, "", Aim::None) }
    }

    /// A row of pairs; `scale` turns seconds into `unit`.
    pub fn of(
        name: &str,
        limit_name: &str,
        aim: Aim,
        measured: &Measured,
        (scale, unit): (f64, &'static str),
    ) -> Self {
        let pairs: Vec<_> =
            measured.seconds().into_iter().map(|(ours, limit)| (ours * scale, limit * scale)).collect();
        Self {
            limit_name: limit_name.to_owned(),
            limit: Some(median(pairs.iter().map(|pair| pair.1).collect())),
            ratio: Some(measured.ratio()),
            cpu_ratio: Some(measured.cpu_ratio()),
            check: Some(measured.check.clone()),
            void: measured.is_void(),
            noise: Some(measured.noise),
            note: {
                let (ours, limit) = measured.cpu_seconds();
                let run = if measured.attempts > 1 {
                    format!("run {}; ", measured.attempts)
                } else {
                    String::new()
                };
                format!("{run}processor time {:.2} {unit} (limit {:.2})", ours * scale, limit * scale)
            },
            ..Self::figure(name, median(pairs.iter().map(|pair| pair.0).collect()), unit, aim)
        }
        .with_pairs(pairs)
    }

    fn with_pairs(mut self, pairs: Vec<(f64, f64)>) -> Self {
        self.pairs = pairs;
        self
    }

    /// The row with one more remark.
    pub fn noting(mut self, remark: &str) -> Self {
        if !self.note.is_empty() && !remark.is_empty() {
            self.note.push_str("; ");
        }
        self.note.push_str(remark);
        self
    }

    /// Whether the aim is reached.
    pub fn verdict(&self) -> Verdict {
        let ratio = || self.ratio.as_ref().map(|ratio| ratio.median);
        if self.void {
            return Verdict::Void;
        }
        let met = match self.aim {
            Aim::None => return Verdict::NoAim,
            Aim::RatioAtMost(most) => ratio().map(|ratio| ratio <= most),
            Aim::RatioAtLeast(least) => ratio().map(|ratio| ratio >= least),
            Aim::CpuRatioAtMost(most) => self.cpu_ratio.as_ref().map(|ratio| ratio.median <= most),
            Aim::OursAtMost(most) => Some(self.ours <= most),
        };
        match met {
            Some(true) => Verdict::Met,
            _ => Verdict::Missed,
        }
    }

    /// The aim in words.
    pub fn aim_text(&self) -> String {
        match self.aim {
            Aim::RatioAtMost(most) => format!("<= {most}"),
            Aim::RatioAtLeast(least) => format!(">= {least}"),
            Aim::CpuRatioAtMost(most) => format!("CPU <= {most}"),
            Aim::OursAtMost(most) => format!("<= {most} {}", self.unit),
            Aim::None => String::new(),
        }
    }
}

/// Counts the ways instances started.
#[derive(Debug, Default)]
pub struct Ways(BTreeMap<String, usize>);

impl Ways {
    /// One more.
    pub fn add(&mut self, way: String) {
        *self.0.entry(way).or_default() += 1;
    }

    /// `blank 118, from nothing 2`: the most frequent first.
    pub fn describe(&self) -> String {
        let mut ways: Vec<_> = self.0.iter().collect();
        ways.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        ways.iter().map(|(way, count)| format!("{way} {count}")).collect::<Vec<_>>().join(", ")
    }

    /// The most frequent one.
    pub fn most(&self) -> &str {
        self.0.iter().max_by_key(|(_, count)| **count).map_or("", |(way, _)| way)
    }
}

/// Gives what a counter grew by since the last look.
pub struct Meter<Read> {
    read: Read,
    last: f64,
}

impl<Read: FnMut() -> anyhow::Result<f64>> Meter<Read> {
    /// Looks for the first time.
    pub fn new(mut read: Read) -> anyhow::Result<Self> {
        let last = read()?;
        Ok(Self { read, last })
    }

    /// What was added since the last look.
    pub fn since(&mut self) -> anyhow::Result<f64> {
        let now = (self.read)()?;
        let grown = now - self.last;
        self.last = now;
        Ok(grown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_void_row_is_never_met() {
        let mut row = Row::figure("memory", 20.0, "MiB", Aim::OursAtMost(25.0));
        assert_eq!(row.verdict(), Verdict::Met);
        row.void = true;
        assert_eq!(row.verdict(), Verdict::Void);
        row = Row::figure("memory", 30.0, "MiB", Aim::OursAtMost(25.0));
        assert_eq!(row.verdict(), Verdict::Missed);
        // What was not measured is not met.
        assert_eq!(Row::figure("call", 1.0, "ms", Aim::RatioAtMost(1.0)).verdict(), Verdict::Missed);
    }

    #[test]
    fn ways_are_told_most_frequent_first() {
        let mut ways = Ways::default();
        for way in ["blank", "from nothing", "blank"] {
            ways.add(way.to_owned());
        }
        assert_eq!(ways.describe(), "blank 2, from nothing 1");
        assert_eq!(ways.most(), "blank");
    }
}
