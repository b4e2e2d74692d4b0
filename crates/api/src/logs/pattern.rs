//! Filter patterns for unstructured events: terms, phrases, any-of, none-of.
//!
//! `ERROR` `"two words"` all must occur; `?A ?B` one of them must; `-DEBUG` must not. Terms are compared with case.
//! Source: CloudWatch Logs guide, "Filter pattern syntax for unstructured log events". Patterns over JSON members
//! and columns are refused by name.

/// A parsed pattern.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilterPattern {
    all: Vec<String>,
    any: Vec<String>,
    none: Vec<String>,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Longer than AWS allows.
    #[error(
        "1 validation error detected: Value at 'filterPattern' failed to satisfy constraint: Member must have length less than or equal to 1024"
    )]
    TooLong,
    /// `{ $.member = value }` or `[column, ...]`.
    #[error(
        "Filter patterns over JSON members or columns are not supported by Lamplight yet. Use terms, \"phrases\", ?any and -none."
    )]
    Structured,
    /// A quote that does not end.
    #[error("Invalid filter pattern: a quoted phrase does not end.")]
    OpenQuote,
}

impl FilterPattern {
    /// Parses a pattern; an empty one matches everything.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.chars().count() > 1_024 {
            return Err(PatternError::TooLong);
        }
        let mut rest = text.trim();
        if rest.starts_with(['{', '[']) || rest.starts_with('%') {
            return Err(PatternError::Structured);
        }
        let mut pattern = Self::default();
        while !rest.is_empty() {
            let (list, body) = match (rest.strip_prefix('?'), rest.strip_prefix('-')) {
                (Some(body), _) => (&mut pattern.any, body),
                (_, Some(body)) => (&mut pattern.none, body),
                _ => (&mut pattern.all, rest),
            };
            let (term, after) = term(body)?;
            if !term.is_empty() {
                list.push(term);
            }
            rest = after.trim_start();
        }
        Ok(pattern)
    }

    /// Whether a message fits. Any-of terms count only when nothing else is asked for, as on AWS.
    pub fn matches(&self, message: &str) -> bool {
        let has = |term: &String| message.contains(term.as_str());
        self.all.iter().all(has)
            && !self.none.iter().any(has)
            && (self.any.is_empty() || !self.all.is_empty() || self.any.iter().any(has))
    }
}

/// A word or a quoted phrase at the beginning of `text`, and what follows.
fn term(text: &str) -> Result<(String, &str), PatternError> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        return Ok((text[..end].to_owned(), &text[end..]));
    };
    let mut term = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((term, &quoted[at + 1..])),
            '\\' => term.extend(characters.next().map(|(_, escaped)| escaped)),
            other => term.push(other),
        }
    }
    Err(PatternError::OpenQuote)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, message: &str, expected: bool) {
        assert_eq!(
            FilterPattern::parse(pattern).unwrap().matches(message),
            expected,
            "{pattern} on {message}"
        );
    }

    #[test]
    fn terms_phrases_any_and_none() {
        check("", "anything", true);
        check("ERROR", "[ERROR] boom", true);
        check("ERROR", "[error] boom", false);
        check("ERROR boom", "boom ERROR", true);
        check("ERROR boom", "ERROR", false);
        check("\"two words\"", "has two words here", true);
        check("\"two words\"", "two  words", false);
        check("?ERROR ?WARN", "a WARN", true);
        check("?ERROR ?WARN", "a INFO", false);
        check("ERROR -boom", "ERROR boom", false);
        check("ERROR -boom", "ERROR bang", true);
        check("-\"a b\"", "x a b", false);
        check("\"say \\\"hi\\\"\"", "they say \"hi\"", true);
    }

    #[test]
    fn what_is_no_pattern() {
        assert_eq!(FilterPattern::parse("{ $.level = \"ERROR\" }"), Err(PatternError::Structured));
        assert_eq!(FilterPattern::parse("[a, b]"), Err(PatternError::Structured));
        assert_eq!(FilterPattern::parse("\"open"), Err(PatternError::OpenQuote));
        assert_eq!(FilterPattern::parse(&"x".repeat(1_025)), Err(PatternError::TooLong));
    }
}
