//! What `perf script` prints, as a tree of frames with their samples: processes by name, their threads, their calls.
//!
//! A plain reader: what it does not understand it leaves out, as perf's output is for people.

use std::collections::{BTreeMap, HashMap};
use std::io::BufRead;

/// Longest name of a frame, characters: generic arguments of Rust can fill pages.
const LONGEST_NAME: usize = 90;
/// What perf prints where it knows no symbol, or no file.
const UNKNOWN: &str = "[unknown]";
/// The C library's way to `main` and to a thread's function: the same everywhere, and sometimes beyond the copied stack.
const BEGINNINGS: [&str; 5] =
    ["_start", "__libc_start_main", "__libc_start_call_main", "clone3", "start_thread"];
/// Where the kernel begins to handle a page fault.
const PAGE_FAULT: &str = "asm_exc_page_fault";

/// Whose code a frame is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Owner {
    /// A process or one of its threads: no code.
    #[default]
    Process,
    /// The kernel's.
    Kernel,
    /// Lamplight's, with the libraries that are linked into it.
    Lamplight,
    /// An interpreter's or a shared library's.
    Other,
}

impl Owner {
    fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Kernel => "kernel",
            Self::Lamplight => "Lamplight",
            Self::Other => "interpreters and libraries",
        }
    }
}

/// One frame and all that was called from it.
#[derive(Debug, Default)]
pub struct Frame {
    /// Samples in it and in what it called.
    pub samples: u64,
    /// Whose code it is.
    pub owner: Owner,
    /// What it called, by name.
    pub children: BTreeMap<String, Frame>,
}

impl Frame {
    /// Adds one sample: the outermost frame first.
    fn add(&mut self, stack: &[(String, Owner)]) {
        self.samples += 1;
        let mut frame = self;
        for (name, owner) in stack {
            frame = frame.children.entry(name.clone()).or_default();
            frame.owner = *owner;
            frame.samples += 1;
        }
    }

    /// Puts together what has fewer samples than `least` and comes from the same frame; leaves it out when it is too little
    /// even so.
    pub fn fold(&mut self, least: u64) {
        let mut small = [(Owner::Kernel, 0), (Owner::Lamplight, 0), (Owner::Other, 0)];
        for (_, child) in self.children.extract_if(.., |_, child| child.samples < least) {
            for (_, samples) in small.iter_mut().filter(|(owner, _)| *owner == child.owner) {
                *samples += child.samples;
            }
        }
        for (owner, samples) in small.into_iter().filter(|(_, samples)| *samples >= least) {
            let name = format!("{} in small parts", owner.name());
            let together = self.children.entry(name).or_default();
            together.owner = owner;
            together.samples += samples;
        }
        self.children.values_mut().for_each(|child| child.fold(least));
    }

    /// Samples whose innermost frame `accept`s it.
    fn innermost(&self, accept: &dyn Fn(Owner) -> bool) -> u64 {
        let below: u64 = self.children.values().map(|child| child.samples).sum();
        let own = if accept(self.owner) { self.samples.saturating_sub(below) } else { 0 };
        own + self.children.values().map(|child| child.innermost(accept)).sum::<u64>()
    }

    /// Samples in page faults.
    fn page_faults(&self) -> u64 {
        let own = self
            .children
            .iter()
            .map(|(name, child)| if name == PAGE_FAULT { child.samples } else { child.page_faults() });
        own.sum()
    }

    /// Whose code was running, e.g. `kernel 40 % (page faults 21 %), Lamplight 25 %, interpreters and libraries 35 %`.
    pub fn shares(&self) -> String {
        let percent = |samples: u64| format!("{:.0} %", 100.0 * samples as f64 / self.samples.max(1) as f64);
        let of = |owner: Owner| percent(self.innermost(&|of| of == owner));
        format!(
            "{} {} (page faults {}), {} {}, {} {}",
            Owner::Kernel.name(),
            of(Owner::Kernel),
            percent(self.page_faults()),
            Owner::Lamplight.name(),
            of(Owner::Lamplight),
            Owner::Other.name(),
            of(Owner::Other),
        )
    }

    /// Frames on the longest way down, this one included.
    pub fn depth(&self) -> usize {
        1 + self.children.values().map(Frame::depth).max().unwrap_or(0)
    }
}

/// Reads the output of `perf script -F comm,pid,tid,ip,sym,dso`. `processes` names those that are known; others are called
/// what their first thread is called. Fails when the output cannot be read.
pub fn read(input: impl BufRead, processes: &HashMap<u32, String>) -> std::io::Result<Frame> {
    let mut root = Frame::default();
    let mut names = processes.clone();
    let mut sample: Option<Sample> = None;
    for line in input.lines() {
        let line = line?;
        if line.trim().is_empty() {
            if let Some(sample) = sample.take() {
                root.add(&sample.stack(&mut names));
            }
        } else if line.starts_with(char::is_whitespace)
            && let Some(sample) = &mut sample
        {
            sample.frames.extend(frame(&line));
        } else {
            sample = Sample::begin(&line);
        }
    }
    if let Some(sample) = sample {
        root.add(&sample.stack(&mut names));
    }
    Ok(root)
}

/// One sample: whose, and its frames, the innermost first.
struct Sample {
    thread: String,
    process_id: u32,
    frames: Vec<(String, Owner)>,
}

impl Sample {
    /// `python3.11  1234/1234`, or with spaces in the name.
    fn begin(line: &str) -> Option<Self> {
        let (thread, ids) = line.trim().trim_end_matches(':').rsplit_once(char::is_whitespace)?;
        let process_id = ids.split('/').next()?.parse().ok()?;
        Some(Self { thread: without_number(thread), process_id, frames: Vec::new() })
    }

    fn stack(self, names: &mut HashMap<u32, String>) -> Vec<(String, Owner)> {
        let process = names.entry(self.process_id).or_insert_with(|| self.thread.clone());
        let process = without_number(process);
        let thread = (self.thread != process).then(|| format!("thread {}", self.thread));
        let above = std::iter::once(process).chain(thread).map(|name| (name, Owner::Process));
        let mut stack: Vec<_> = above.chain(self.frames.into_iter().rev()).collect();
        // A function that calls itself is one frame, and so is all that an interpreter has no symbols for.
        stack.dedup();
        stack
    }
}

/// A name without what numbers it: all workers are one.
fn without_number(name: &str) -> String {
    let name = name.trim();
    let stem = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    // `python3.11` is a name, `worker-3` is numbered.
    stem.strip_suffix(['-', '_', '/']).unwrap_or(name).to_owned()
}

/// `    ffffffff81000000 do_syscall_64 ([kernel.kallsyms])`
fn frame(line: &str) -> Option<(String, Owner)> {
    let (_, rest) = line.trim().split_once(' ')?;
    let (symbol, file) = rest.rsplit_once(" (")?;
    let file = file.trim_end_matches(')');
    let is_beginning = BEGINNINGS.contains(&symbol.split("@@").next().unwrap_or(symbol));
    if is_beginning || (symbol == UNKNOWN && file == UNKNOWN) {
        return None;
    }
    let base = file.rsplit('/').next().unwrap_or(file).trim_end_matches(" (deleted");
    let owner = match base {
        _ if file.starts_with("[kernel") || file.starts_with("[guest.kernel") || file == "[vdso]" => {
            Owner::Kernel
        }
        _ if base.contains("lamplight") => Owner::Lamplight,
        _ => Owner::Other,
    };
    let name = if symbol == UNKNOWN { format!("[{}]", base.trim_matches(['[', ']'])) } else { short(symbol) };
    Some((name, owner))
}

/// A symbol without its hash and without generic arguments that nobody can read.
fn short(symbol: &str) -> String {
    let hash = |part: &str| {
        part.len() == 17 && part.starts_with('h') && part[1..].bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let symbol = match symbol.rsplit_once("::") {
        Some((before, last)) if hash(last) => before,
        _ => symbol,
    };
    if symbol.chars().count() <= LONGEST_NAME {
        return symbol.to_owned();
    }
    symbol.chars().take(LONGEST_NAME - 3).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "\
tokio-rt-worker    71/75   
\tffffffff81a0 do_syscall_64 ([kernel.kallsyms])
\t    55d0a1 <lamplight_pool::run::Run>::finish::h0123456789abcdef (/usr/bin/lamplight)
\t    7f0001 __libc_start_main@@GLIBC_2.34 (/usr/lib/libc.so.6)
\t    7f0002 [unknown] ([unknown])

python3.11    90/90   
\t    7f00c1 [unknown] (/usr/lib/libc.so.6)
\t    7f00c2 [unknown] (/usr/lib/libc.so.6)

tokio-rt-worker    71/76   
\t    55d0a1 <lamplight_pool::run::Run>::finish::h0123456789abcdef (/usr/bin/lamplight)
";

    #[test]
    fn stacks_are_grouped_by_process_and_thread() {
        let known = HashMap::from([(71, "lamplight".to_owned())]);
        let mut root = read(SCRIPT.as_bytes(), &known).unwrap();
        assert_eq!((root.samples, root.depth()), (3, 5));
        let thread = &root.children["lamplight"].children["thread tokio-rt-worker"];
        let finish = &thread.children["<lamplight_pool::run::Run>::finish"];
        assert_eq!((finish.samples, finish.owner), (2, Owner::Lamplight));
        assert_eq!(finish.children["do_syscall_64"].owner, Owner::Kernel);
        let recursion = &root.children["python3.11"].children["[libc.so.6]"];
        assert_eq!((recursion.samples, recursion.children.len()), (1, 0));
        assert_eq!(
            root.shares(),
            "kernel 33 % (page faults 0 %), Lamplight 33 %, interpreters and libraries 33 %"
        );
        root.fold(2);
        assert_eq!(root.depth(), 4);
        assert!(!root.children.contains_key("python3.11"));
    }

    #[test]
    fn small_frames_of_one_owner_are_put_together() {
        let script: String = (0..6)
            .map(|at| format!("p  1/1\n\t1 f{at} ([kernel.kallsyms])\n\t2 main (/bin/p)\n\n"))
            .collect();
        let mut root = read(script.as_bytes(), &HashMap::new()).unwrap();
        root.fold(2);
        let main = &root.children["p"].children["main"];
        assert_eq!(main.children["kernel in small parts"].samples, 6);
        root.fold(7);
        assert!(root.children.is_empty());
    }

    #[test]
    fn numbers_of_threads_are_left_out_and_names_bounded() {
        assert_eq!(without_number("worker-12"), "worker");
        assert_eq!(without_number("python3.11"), "python3.11");
        assert_eq!(short(&"x".repeat(500)).len(), LONGEST_NAME);
    }
}
