//! Plots, written by hand: one dot for each measurement on a logarithmic axis, lines for limit, aim and median.
//!
//! Transparent, with colours for light and dark pages; what a dot is stands in the text, so that no colour has to be told
//! from another.

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 238.0;
const LEFT: f64 = 24.0;
const RIGHT: f64 = 736.0;
/// Middle of the swarm and the axis beneath it.
const MIDDLE: f64 = 118.0;
const AXIS: f64 = 176.0;
const RADIUS: f64 = 2.6;
/// Dots in one column share a place and are stacked.
const COLUMN: f64 = 5.6;
/// Most dots above or below the middle; more overlap at the edge.
const STACK: usize = 9;

/// Classes that all pictures share, for light and dark pages.
pub const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#24292f}.title{font-size:14px;font-weight:600}\
.quiet{fill:#57606a}.dot{fill:#0969da;fill-opacity:.5}.axis{stroke:#8c959f}.limit{stroke:#57606a;stroke-width:1.5}\
.aim{stroke:#1a7f37;stroke-width:1.5;stroke-dasharray:5 4}.median{stroke:#bc4c00;stroke-width:2}\
.interval{fill:#bc4c00;fill-opacity:.16}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.quiet{fill:#9198a1}.dot{fill:#58a6ff;fill-opacity:.6}\
.axis{stroke:#6e7681}.limit{stroke:#9198a1}.aim{stroke:#3fb950}.median{stroke:#f0883e}.interval{fill:#f0883e}}";

/// What a plot shows.
pub struct Plot<'a> {
    /// What is measured.
    pub title: &'a str,
    /// One more line: figures, way of start.
    pub subtitle: &'a str,
    /// What the axis is, e.g. `ratio to the limit`.
    pub axis: &'a str,
    /// One value for each dot, all above zero.
    pub values: &'a [f64],
    /// The median and its interval.
    pub median: (f64, f64, f64),
    /// Where the limit is.
    pub limit: Option<f64>,
    /// Where the aim is.
    pub aim: Option<f64>,
}

/// Values to places.
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    /// Room for all lines and for all but the most extreme dots.
    fn of(plot: &Plot<'_>) -> Self {
        let mut values = plot.values.to_vec();
        values.sort_by(f64::total_cmp);
        let at = |share: f64| values.get(((values.len() - 1) as f64 * share) as usize).copied();
        let lines = [Some(plot.median.0), plot.limit, plot.aim, at(0.01), at(0.99)];
        let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
        for value in lines.into_iter().flatten().filter(|value| value.is_finite() && *value > 0.0) {
            (low, high) = (low.min(value), high.max(value));
        }
        Self { low: low / 1.25, high: high * 1.25 }
    }

    fn place(&self, value: f64) -> f64 {
        let share = (value / self.low).ln() / (self.high / self.low).ln();
        LEFT + share.clamp(0.0, 1.0) * (RIGHT - LEFT)
    }

    /// 1, 2 and 5 times the powers of ten that are in view; with few of them, tenths too.
    fn ticks(&self) -> Vec<f64> {
        let within = |steps: &[f64]| -> Vec<f64> {
            (-6..7)
                .flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)))
                .filter(|tick| (self.low..=self.high).contains(tick))
                .collect()
        };
        let coarse = within(&[1.0, 2.0, 5.0]);
        if coarse.len() >= 3 {
            return coarse;
        }
        within(&[1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0])
    }
}

/// The whole file.
pub fn draw(plot: &Plot<'_>) -> String {
    let scale = Scale::of(plot);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n<style>{STYLE}</style>\n",
        escape(plot.title)
    );
    let mut add = |text: String| {
        svg.push_str(&text);
        svg.push('\n');
    };
    add(format!("<text class=\"title\" x=\"{LEFT}\" y=\"22\">{}</text>", escape(plot.title)));
    add(format!("<text class=\"quiet\" x=\"{LEFT}\" y=\"40\">{}</text>", escape(plot.subtitle)));
    let (low, high) = (scale.place(plot.median.1), scale.place(plot.median.2));
    add(format!(
        "<rect class=\"interval\" x=\"{low:.1}\" y=\"66\" width=\"{:.1}\" height=\"{:.1}\"/>",
        (high - low).max(1.0),
        AXIS - 66.0
    ));
    add(format!("<line class=\"axis\" x1=\"{LEFT}\" y1=\"{AXIS}\" x2=\"{RIGHT}\" y2=\"{AXIS}\"/>"));
    for tick in scale.ticks() {
        let x = scale.place(tick);
        add(format!(
            "<line class=\"axis\" x1=\"{x:.1}\" y1=\"{AXIS}\" x2=\"{x:.1}\" y2=\"{}\"/>",
            AXIS + 5.0
        ));
        add(format!(
            "<text class=\"quiet\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            AXIS + 19.0,
            short(tick)
        ));
    }
    add(format!(
        "<text class=\"quiet\" x=\"{RIGHT}\" y=\"{}\" text-anchor=\"end\">{}</text>",
        AXIS + 55.0,
        escape(plot.axis)
    ));
    for (x, y) in swarm(plot.values, &scale) {
        add(format!("<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{RADIUS}\"/>"));
    }
    let lines = [("limit", plot.limit, 55.0), ("aim", plot.aim, 64.0), ("median", Some(plot.median.0), 64.0)];
    for (class, value, label_y) in lines {
        let Some(value) = value else { continue };
        let x = scale.place(value);
        add(format!("<line class=\"{class}\" x1=\"{x:.1}\" y1=\"68\" x2=\"{x:.1}\" y2=\"{AXIS}\"/>"));
        let label_y = if class == "median" { AXIS + 37.0 } else { label_y };
        add(format!(
            "<text x=\"{x:.1}\" y=\"{label_y}\" text-anchor=\"middle\">{class} {}</text>",
            short(value)
        ));
    }
    svg.push_str("</svg>\n");
    svg
}

/// Places of the dots: those that would lie on each other are stacked from the middle, above and below in turn.
fn swarm(values: &[f64], scale: &Scale) -> Vec<(f64, f64)> {
    let mut columns = std::collections::BTreeMap::<i64, usize>::new();
    values
        .iter()
        .map(|&value| {
            let x = scale.place(value);
            let stacked = columns.entry((x / COLUMN) as i64).or_default();
            let step = stacked.div_ceil(2).min(STACK) as f64 * 2.0 * RADIUS;
            let y = if stacked.is_multiple_of(2) { MIDDLE + step } else { MIDDLE - step };
            *stacked += 1;
            (x, y)
        })
        .collect()
}

/// Three significant digits at most, no trailing zeroes.
pub fn short(value: f64) -> String {
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A text as the content of an element or attribute.
pub fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '"' => escaped.push_str("&quot;"),
            other => {
                let _ = write!(escaped, "{other}");
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_and_line_is_in_the_picture() {
        let values = [0.4, 0.5, 0.5, 0.6, 30.0];
        let plot = Plot {
            title: "a < b & c",
            subtitle: "",
            axis: "ratio",
            values: &values,
            median: (0.5, 0.45, 0.55),
            limit: Some(1.0),
            aim: Some(0.15),
        };
        let svg = draw(&plot);
        assert_eq!(svg.matches("<circle").count(), values.len());
        assert!(svg.contains("a &lt; b &amp; c") && svg.contains("aim 0.15") && svg.contains("limit 1<"));
        for part in svg.split("cx=\"").skip(1) {
            let x: f64 = part.split('"').next().unwrap().parse().unwrap();
            assert!((LEFT..=RIGHT).contains(&x), "{x}");
        }
    }

    #[test]
    fn figures_are_short() {
        assert_eq!([0.15, 1.0, 12.34, 123.4].map(short), ["0.15", "1", "12.3", "123"]);
    }
}
