//! The overview: one line for each row that has a ratio, with its interval and its aim, on one logarithmic axis.

use super::rows::{Aim, Row, Verdict};
use super::statistics::Ratio;
use super::svg::{STYLE, escape, short};
use std::fmt::Write as _;

const WIDTH: f64 = 860.0;
/// Where names end and where the axis lies.
const NAMES: f64 = 330.0;
const LEFT: f64 = 346.0;
const RIGHT: f64 = 770.0;
const FIRST_LINE: f64 = 76.0;
const LINE: f64 = 24.0;
const TICKS: [f64; 9] = [0.1, 0.2, 0.35, 0.6, 1.0, 2.0, 4.0, 8.0, 16.0];

/// Name, ratio and aim of a row that has both; the lower ratio is the better one in all of them.
fn line(row: &Row) -> Option<(String, &Ratio, f64)> {
    match row.aim {
        Aim::RatioAtMost(aim) => row.ratio.as_ref().map(|ratio| (row.name.clone(), ratio, aim)),
        Aim::CpuRatioAtMost(aim) => {
            let name = row.name.split(':').next().unwrap_or_default();
            row.cpu_ratio.as_ref().map(|ratio| (format!("{name}: processor time"), ratio, aim))
        }
        Aim::RatioAtLeast(_) | Aim::OursAtMost(_) | Aim::None => None,
    }
}

fn place(value: f64) -> f64 {
    let (low, high) = (TICKS[0] / 1.6, TICKS[TICKS.len() - 1] * 1.1);
    LEFT + ((value / low).ln() / (high / low).ln()).clamp(0.0, 1.0) * (RIGHT - LEFT)
}

/// The whole file. Rows without a ratio to a limit are left out; void ones have an empty dot.
pub fn draw(rows: &[Row]) -> String {
    let lines: Vec<_> = rows.iter().filter_map(|row| Some((row, line(row)?))).collect();
    let bottom = FIRST_LINE + lines.len() as f64 * LINE;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {}\" role=\"img\" \
         aria-label=\"Every measured ratio to its limit, with its aim\">\n<style>{STYLE}.void{{fill:none;stroke:#bc4c00}}\
         .point{{fill:#0969da}}@media(prefers-color-scheme:dark){{.point{{fill:#58a6ff}}}}</style>\n",
        bottom + 34.0
    );
    let mut add = |text: std::fmt::Arguments<'_>| {
        let _ = writeln!(svg, "{text}");
    };
    add(format_args!("<text class=\"title\" x=\"12\" y=\"24\">Ours / limit: less is better</text>"));
    add(format_args!(
        "<text class=\"quiet\" x=\"12\" y=\"42\">The limit does the same work with nothing added, and without any wall. \
         Dot: median, band: 95 %, dashed: aim, empty dot: void.</text>"
    ));
    for tick in TICKS {
        let x = place(tick);
        let (class, opacity) = if tick == 1.0 { ("limit", 1.0) } else { ("axis", 0.25) };
        let top = FIRST_LINE - 12.0;
        add(format_args!(
            "<line class=\"{class}\" x1=\"{x:.1}\" y1=\"{top}\" x2=\"{x:.1}\" y2=\"{bottom}\" \
             stroke-opacity=\"{opacity}\"/>"
        ));
        let y = bottom + 18.0;
        let text = if tick == 1.0 { "limit".to_owned() } else { short(tick) };
        add(format_args!(
            "<text class=\"quiet\" x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{text}</text>"
        ));
    }
    for (number, (row, (name, ratio, aim))) in lines.iter().enumerate() {
        let y = FIRST_LINE + number as f64 * LINE;
        let (low, high) = (place(ratio.low), place(ratio.high));
        add(format_args!(
            "<text x=\"{NAMES}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            y + 4.0,
            escape(name)
        ));
        add(format_args!(
            "<rect class=\"interval\" x=\"{low:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"12\"/>",
            y - 6.0,
            (high - low).max(1.0)
        ));
        let x = place(*aim);
        let (top, end) = (y - 9.0, y + 9.0);
        add(format_args!(
            "<line class=\"aim\" x1=\"{x:.1}\" y1=\"{top:.1}\" x2=\"{x:.1}\" y2=\"{end:.1}\"/>"
        ));
        let class = if row.verdict() == Verdict::Void { "void" } else { "point" };
        add(format_args!(
            "<circle class=\"{class}\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"4\"/>",
            place(ratio.median)
        ));
        add(format_args!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - 12.0,
            y + 4.0,
            short(ratio.median)
        ));
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rows_with_a_ratio_are_in_it() {
        let mut with = Row::figure("cold <b>", 1.0, "ms", Aim::RatioAtMost(0.15));
        with.ratio = Some(Ratio::of(&[(1.0, 4.0), (1.0, 4.0)]));
        let without = Row::figure("memory", 1.0, "MiB", Aim::OursAtMost(25.0));
        let svg = draw(&[with, without]);
        assert!(svg.contains("cold &lt;b>") && svg.contains(">0.25</text>") && !svg.contains("memory"));
        assert_eq!(svg.matches("class=\"point\"").count(), 1);
    }
}
