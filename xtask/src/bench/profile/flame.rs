//! A flame graph as one static picture, for light and dark pages: no script, tooltips by `<title>`.
//!
//! Written by hand like the plots: the crate that draws such graphs has a licence outside of deny.toml's list.

use super::stacks::{Frame, Owner};
use crate::bench::svg::escape;
use std::fmt::Write as _;

const WIDTH: f64 = 1200.0;
const LINE: f64 = 16.0;
/// Title and explanation above the graph.
const HEAD: f64 = 66.0;
/// Width of a letter of the monospaced font, and of a frame that has room for any.
const LETTER: f64 = 6.0;
const LEAST_FOR_TEXT: f64 = 22.0;
/// Share of all samples below which frames are put together, and what it is multiplied by while the picture is too large.
const LEAST_SHARE: f64 = 0.003;
const COARSER: f64 = 1.3;
/// Largest picture, bytes.
pub const LARGEST: usize = 150 * 1024;

const STYLE: &str = "text{font:10px ui-monospace,monospace;fill:#24292f}.title{font:600 14px system-ui,sans-serif}\
.quiet{font:12px system-ui,sans-serif;fill:#57606a}rect{stroke:#fff;stroke-width:.6}\
.p{fill:#d0d7de}.k{fill:#ffb77c}.l{fill:#80ccff}.o{fill:#aceebb}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.quiet{fill:#9198a1}rect{stroke:#0d1117}\
.p{fill:#3d444d}.k{fill:#8a4600}.l{fill:#0c4a8a}.o{fill:#1a5a2c}}";

/// The whole file, with as many frames as fit. `subtitle` says what was recorded.
pub fn draw(title: &str, subtitle: &str, mut root: Frame) -> String {
    let mut share = LEAST_SHARE;
    loop {
        root.fold((root.samples as f64 * share).ceil() as u64);
        let svg = picture(title, subtitle, &root, share);
        if svg.len() <= LARGEST || root.children.is_empty() {
            return svg;
        }
        share *= COARSER;
    }
}

fn picture(title: &str, subtitle: &str, root: &Frame, share: f64) -> String {
    let height = HEAD + root.depth() as f64 * LINE + 4.0;
    let title = escape(title);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">\n\
         <style>{STYLE}</style>\n<text class=\"title\" x=\"4\" y=\"18\">{title}</text>\n\
         <text class=\"quiet\" x=\"4\" y=\"36\">{}</text>\n<text class=\"quiet\" x=\"4\" y=\"52\">Frames below {:.2} % are \
         put together. Grey: process, thread; blue: Lamplight; green: interpreter, library; orange: kernel.</text>\n",
        escape(subtitle),
        share * 100.0,
    );
    let scale = WIDTH / root.samples.max(1) as f64;
    let drawing = Drawing { scale, all: root.samples.max(1) as f64, bottom: height - LINE - 2.0 };
    drawing.add(&mut svg, "all", root, (0.0, 0));
    svg.push_str("</svg>\n");
    svg
}

/// What fits of a name: its begin, or the end of a path, where the function's own name is.
fn label(name: &str, letters: usize) -> String {
    let name = name.trim_end_matches("::{{closure}}");
    let beyond = name.chars().count().saturating_sub(letters);
    name.chars().skip(if name.contains("::") { beyond } else { 0 }).take(letters).collect()
}

struct Drawing {
    /// Pixels of one sample.
    scale: f64,
    /// Samples of the whole picture.
    all: f64,
    /// Top of the lowest line.
    bottom: f64,
}

impl Drawing {
    /// A frame at its place, and what it called above it, the widest first.
    fn add(&self, svg: &mut String, name: &str, frame: &Frame, (x, level): (f64, usize)) {
        let (width, y) = (frame.samples as f64 * self.scale, self.bottom - level as f64 * LINE);
        let class = match frame.owner {
            Owner::Process => 'p',
            Owner::Kernel => 'k',
            Owner::Lamplight => 'l',
            Owner::Other => 'o',
        };
        let percent = 100.0 * frame.samples as f64 / self.all;
        // Writing to a string does not fail.
        let _ = write!(
            svg,
            "<g><title>{}: {percent:.1} %</title><rect class=\"{class}\" x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" \
             height=\"{LINE}\"/>",
            escape(name),
        );
        if width >= LEAST_FOR_TEXT {
            let letters = ((width - 4.0) / LETTER) as usize;
            let text = escape(&label(name, letters));
            let _ = write!(svg, "<text x=\"{:.1}\" y=\"{}\">{text}</text>", x + 2.0, y + 11.5);
        }
        svg.push_str("</g>\n");
        let mut children: Vec<_> = frame.children.iter().collect();
        children.sort_by_key(|(_, child)| std::cmp::Reverse(child.samples));
        let mut at = x;
        for (name, child) in children {
            self.add(svg, name, child, (at, level + 1));
            at += child.samples as f64 * self.scale;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::profile::stacks;
    use std::collections::HashMap;

    /// `count` processes with one frame each.
    fn graph(count: usize) -> Frame {
        let script: String = (1..=count)
            .map(|id| format!("process<{id}>  {id}/{id}\n\t0 {}{id} (/lib/libc.so.6)\n\n", "f".repeat(80)))
            .collect();
        stacks::read(script.as_bytes(), &HashMap::new()).unwrap()
    }

    #[test]
    fn frames_are_as_wide_as_their_share() {
        let svg = draw("a < b", "", graph(2));
        assert_eq!(svg.matches("<rect class=\"p\"").count(), 3);
        assert_eq!(svg.matches("width=\"600.0\"").count(), 4);
        assert!(svg.contains("<title>process&lt;1>: 50.0 %</title>"));
        assert_eq!(svg.matches("<g>").count(), svg.matches("</g>").count());
    }

    #[test]
    fn of_a_path_the_end_is_shown() {
        assert_eq!(label("lamplight_pool::run::Run::finish", 11), "Run::finish");
        assert_eq!(label("do_syscall_64", 6), "do_sys");
        assert_eq!(label("main", 10), "main");
    }

    #[test]
    fn a_picture_is_never_too_large() {
        // Each frame is beyond the least share, all together are not small enough.
        let mut large = Frame { samples: 300, ..Frame::default() };
        for number in 0..300 {
            let mut chain = Frame { samples: 1, ..Frame::default() };
            for level in 0..20 {
                let below =
                    Frame { samples: 1, children: [(format!("f{level}"), chain)].into(), ..Frame::default() };
                chain = below;
            }
            large.children.insert(format!("p{number}"), chain);
        }
        let svg = draw("large", "", large);
        assert!(svg.len() <= LARGEST, "{}", svg.len());
        assert!(svg.contains("all: 100.0 %"));
    }
}
