//! Errors for people: what happened, why, and the command to type next.
//!
//! Every command returns these; `main` prints them and turns them into the exit status.

use lamplight_model::ErrorChain;
use std::fmt::Write as _;

/// What the exit status says. 0 is "done" and needs no failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The function was run and failed.
    Function,
    /// The command line, a file, the host, or a request the server refused.
    Usage,
    /// No server answered.
    Unreachable,
}

impl Status {
    /// 1, 2 or 3.
    pub fn code(self) -> u8 {
        match self {
            Self::Function => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
        }
    }
}

/// One failure with everything a reader needs to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Decides the exit status.
    pub status: Status,
    /// What did not work, lower case, no full stop.
    pub what: String,
    /// Why, when it adds something.
    pub why: Option<String>,
    /// Commands or changes that help, one a line.
    pub next: Vec<String>,
}

impl Failure {
    /// A mistake in the command line, a file, or the host: exit status 2.
    pub fn usage(what: impl Into<String>) -> Self {
        Self { status: Status::Usage, what: what.into(), why: None, next: Vec::new() }
    }

    /// The function failed: exit status 1.
    pub fn function(what: impl Into<String>) -> Self {
        Self { status: Status::Function, ..Self::usage(what) }
    }

    /// Nobody answers at `endpoint`: exit status 3.
    pub fn unreachable(endpoint: &str, why: impl std::fmt::Display) -> Self {
        Self {
            status: Status::Unreachable,
            ..Self::usage(format!("no Lamplight server answers at {endpoint}"))
        }
        .because(why)
        .then("start one:            sudo lamplight serve")
        .then("or try it out:        sudo lamplight quickstart")
        .then("or name another one:  --endpoint URL, LAMPLIGHT_ENDPOINT or AWS_ENDPOINT_URL")
    }

    /// Adds the reason.
    #[must_use]
    pub fn because(mut self, why: impl std::fmt::Display) -> Self {
        self.why = Some(why.to_string());
        self
    }

    /// Adds one thing to do next.
    #[must_use]
    pub fn then(mut self, next: impl Into<String>) -> Self {
        self.next.push(next.into());
        self
    }

    /// Adds "did you mean" when some candidate is close to `given`.
    #[must_use]
    pub fn suggesting<'a>(self, given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Self {
        match closest(given, candidates) {
            Some(candidate) => self.then(format!("did you mean {candidate}?")),
            None => self,
        }
    }

    /// The text for standard error, newline last.
    pub fn text(&self) -> String {
        let mut text = format!("error: {}\n", self.what);
        if let Some(why) = &self.why {
            let _ = writeln!(text, "  why: {}", indented(why));
        }
        for next in &self.next {
            let _ = writeln!(text, "  try: {}", indented(next));
        }
        text
    }

    /// The same for programs.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "error": { "what": self.what, "why": self.why, "next": self.next, "status": self.status.code() }
        })
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.what)
    }
}

impl std::error::Error for Failure {}

fn indented(text: &str) -> String {
    text.trim_end().replace('\n', "\n       ")
}

/// The candidate most like `given`, when it is like it at all.
pub fn closest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Jaro-Winkler similarity below which a suggestion would only confuse.
    const LEAST_SIMILARITY: f64 = 0.82;
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(given, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= LEAST_SIMILARITY)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, candidate)| candidate)
}

/// An error with all its causes, outermost first.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    ErrorChain(error).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_slip_is_found_and_a_stranger_is_not() {
        let names = ["notes", "orders", "thumbnails"];
        assert_eq!(closest("nots", names), Some("notes"));
        assert_eq!(closest("thumbnail", names), Some("thumbnails"));
        assert_eq!(closest("billing", names), None);
    }

    #[test]
    fn the_text_says_what_why_and_what_next() {
        let failure = Failure::usage("failed to read a").because("no\nsuch file").then("make one");
        assert_eq!(failure.text(), "error: failed to read a\n  why: no\n       such file\n  try: make one\n");
    }
}
