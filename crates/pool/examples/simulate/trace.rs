//! A trace: which function was called when and for how long, and what each function takes to keep and to start.
//!
//! The format is CSV with a head line, times in milliseconds from any beginning:
//! `arrival_ms,function,duration_ms,memory_mib,cold_start_ms`. Memory and cold start belong to the function: its first
//! line decides.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

const HEAD: &str = "arrival_ms,function,duration_ms,memory_mib,cold_start_ms";

/// What is called.
#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    /// Its name in the file.
    pub name: String,
    /// What an instance of it takes.
    pub memory_mib: u64,
    /// What a start of it takes.
    pub cold_start: Duration,
}

/// One call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// When it came.
    pub arrival_ms: u64,
    /// Which function, by its place in `Trace::functions`.
    pub function: usize,
    /// How long its instance was busy.
    pub duration_ms: u64,
}

/// Calls in the order they came.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Trace {
    /// All functions.
    pub functions: Vec<Function>,
    /// All calls, by arrival.
    pub calls: Vec<Call>,
}

impl Trace {
    /// Reads the CSV. Fails with the number of the line that is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().enumerate();
        if lines.next().map(|(_, head)| head.trim()) != Some(HEAD) {
            return Err(format!("the trace does not begin with the line {HEAD}"));
        }
        let (mut trace, mut known) = (Self::default(), HashMap::new());
        for (at, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
            let wrong = || format!("line {} of the trace is not {HEAD}: {line}", at + 1);
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            let [arrival, name, duration, memory, cold_start] = fields[..] else { return Err(wrong()) };
            let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
            let (memory_mib, cold_start) = (number(memory)?, Duration::from_millis(number(cold_start)?));
            let function = *known.entry(name.to_owned()).or_insert_with(|| {
                trace.functions.push(Function { name: name.to_owned(), memory_mib, cold_start });
                trace.functions.len() - 1
            });
            // A call that takes no time would end before it began.
            let duration_ms = number(duration)?.max(1);
            trace.calls.push(Call { arrival_ms: number(arrival)?, function, duration_ms });
        }
        if trace.calls.is_empty() {
            return Err("the trace has no calls".to_owned());
        }
        trace.calls.sort_by_key(|call| call.arrival_ms);
        Ok(trace)
    }

    /// The CSV that `parse` reads.
    pub fn to_csv(&self) -> String {
        let mut text = format!("{HEAD}\n");
        for call in &self.calls {
            let Function { name, memory_mib, cold_start } = &self.functions[call.function];
            let (arrival, duration) = (call.arrival_ms, call.duration_ms);
            let _ = writeln!(text, "{arrival},{name},{duration},{memory_mib},{}", cold_start.as_millis());
        }
        text
    }

    /// From the first arrival to the last end, milliseconds.
    pub fn span_ms(&self) -> (u64, u64) {
        let first = self.calls.first().map_or(0, |call| call.arrival_ms);
        let last = self.calls.iter().map(|call| call.arrival_ms + call.duration_ms).max();
        (first, last.unwrap_or(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        let check = |text: &str, expected: &str| {
            let error = Trace::parse(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check("", "does not begin");
        check(HEAD, "no calls");
        check(&format!("{HEAD}\n1,a,1,1,1\n1,a,1,1\n"), "line 3");
        check(&format!("{HEAD}\n1,a,soon,1,1\n"), "line 2");
    }

    #[test]
    fn calls_are_put_in_order() {
        let trace = Trace::parse(&format!("{HEAD}\n5,b,1,64,100\n2,a,3,32,200\n9,b,2,64,100\n")).unwrap();
        assert_eq!(trace.functions.len(), 2);
        assert_eq!(trace.calls.iter().map(|call| call.arrival_ms).collect::<Vec<_>>(), [2, 5, 9]);
        assert_eq!(trace.span_ms(), (2, 11));
    }
}
