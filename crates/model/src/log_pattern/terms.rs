//! Terms, phrases and expressions that occur anywhere in a message.

use super::condition::regular_expression;
use super::{PatternError, invalid};
use regex::Regex;

#[derive(Debug, Clone)]
enum Term {
    Text(String),
    Expression(Regex),
}

impl Term {
    fn is_in(&self, message: &str) -> bool {
        match self {
            Self::Text(text) => message.contains(text.as_str()),
            Self::Expression(expression) => expression.is_match(message),
        }
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Terms {
    all: Vec<Term>,
    any: Vec<Term>,
    none: Vec<Term>,
}

impl Terms {
    pub(super) fn parse(text: &str) -> Result<Self, PatternError> {
        let mut terms = Self::default();
        let mut rest = text;
        while !rest.is_empty() {
            let (list, body) = match (rest.strip_prefix('?'), rest.strip_prefix('-')) {
                (Some(body), _) => (&mut terms.any, body),
                (_, Some(body)) => (&mut terms.none, body),
                _ => (&mut terms.all, rest),
            };
            let (term, after) = term(body)?;
            list.extend(term);
            rest = after.trim_start();
        }
        Ok(terms)
    }

    /// Any-of terms count only when nothing else is asked for, as on AWS.
    pub(super) fn matches(&self, message: &str) -> bool {
        self.all.iter().all(|term| term.is_in(message))
            && !self.none.iter().any(|term| term.is_in(message))
            && (self.any.is_empty()
                || !self.all.is_empty()
                || self.any.iter().any(|term| term.is_in(message)))
    }
}

/// A word, a quoted phrase or an expression at the beginning of `text`, and what follows.
fn term(text: &str) -> Result<(Option<Term>, &str), PatternError> {
    if let Some(body) = text.strip_prefix('%') {
        let (expression, rest) = regular_expression(body)?;
        return Ok((Some(Term::Expression(expression)), rest));
    }
    let Some(body) = text.strip_prefix('"') else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        let word = (end > 0).then(|| Term::Text(text[..end].to_owned()));
        return Ok((word, &text[end..]));
    };
    let (phrase, rest) = quoted(body)?;
    Ok(((!phrase.is_empty()).then_some(Term::Text(phrase)), rest))
}

/// The rest of a text in quotes that `body` begins in, and what follows.
pub(super) fn quoted(body: &str) -> Result<(String, &str), PatternError> {
    let mut text = String::new();
    let mut characters = body.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((text, &body[at + 1..])),
            '\\' => text.extend(characters.next().map(|(_, escaped)| escaped)),
            other => text.push(other),
        }
    }
    Err(invalid("a quoted text does not end"))
}
