//! The results as a table that reads in a terminal and in Markdown.

use crate::node::{Policy, Replayed};
use crate::trace::Trace;
use std::fmt::Write as _;

/// What the trace is.
pub fn head(trace: &Trace) -> String {
    let (first, last) = trace.span_ms();
    let hours = (last - first) as f64 / 3_600_000.0;
    format!("{} calls of {} functions in {hours:.1} hours", trace.calls.len(), trace.functions.len())
}

/// One row for each policy, and one for the bound: no policy can start for fewer seconds, cold and ahead together.
pub fn of(trace: &Trace, cap_mib: u64, results: &[(Policy, Replayed)], bound_s: f64) -> String {
    let mut text = format!(
        "Memory: {cap_mib} MiB\n\n\
         | policy             | cold starts |     % | cold s | started ahead | all starts s | idle MiB-s (millions) |\n\
         |--------------------|------------:|------:|-------:|--------------:|-------------:|----------------------:|\n"
    );
    for (policy, result) in results {
        let _ = writeln!(
            text,
            "| {:18} | {:11} | {:5.2} | {:6.0} | {:13} | {:12.0} | {:21.1} |",
            policy.name(),
            result.cold_starts,
            result.cold_starts as f64 * 100.0 / trace.calls.len() as f64,
            result.cold_s,
            result.prewarms,
            result.started_s(),
            result.idle_mib_s / 1e6,
        );
    }
    let _ = write!(
        text,
        "| {:18} | {:>11} | {:>5} | {:>6} | {:>13} | {:12.0} | {:>21} |",
        "offline bound", "", "", "", "", bound_s, ""
    );
    text
}
