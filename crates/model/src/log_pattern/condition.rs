//! Conditions on one value, and how they are joined: `&&` before `||`, parentheses.

use super::terms::quoted;
use super::{PatternError, invalid};
use regex::{Regex, RegexBuilder};

/// Bytes a compiled expression may take.
const EXPRESSION_BYTES: usize = 256 * 1024;

/// What a value is compared with.
#[derive(Debug, Clone)]
pub(super) enum Test {
    /// `=` and `!=`: a text with `*` for anything, or a number.
    Equals { negated: bool, parts: Vec<String>, number: Option<f64> },
    /// `=` and `!=` with `%expression%`.
    Matches { negated: bool, expression: Regex },
    /// `<`, `<=`, `>`, `>=`.
    Compares { order: Order, number: f64 },
    /// `IS TRUE`, `IS FALSE`.
    IsBoolean(bool),
    /// `IS NULL`.
    IsNull,
    /// `NOT EXISTS`.
    NotExists,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Test {
    /// On a value that is there, as text and, when it is one, as a number.
    pub(super) fn of_scalar(&self, text: &str, value: Option<f64>) -> bool {
        match self {
            Self::Equals { negated, parts, number } => {
                let equal = match (number, value) {
                    (Some(number), Some(value)) => *number == value,
                    _ => is_like(parts, text),
                };
                equal != *negated
            }
            Self::Matches { negated, expression } => expression.is_match(text) != *negated,
            Self::Compares { order, number } => value.is_some_and(|value| match order {
                Order::Less => value < *number,
                Order::LessOrEqual => value <= *number,
                Order::Greater => value > *number,
                Order::GreaterOrEqual => value >= *number,
            }),
            Self::IsBoolean(_) | Self::IsNull | Self::NotExists => false,
        }
    }
}

/// Whether `text` is the parts in order, with anything between them.
fn is_like(parts: &[String], text: &str) -> bool {
    let [first, middle @ .., last] = parts else {
        return parts.first().is_some_and(|only| only == text);
    };
    let Some(mut rest) = text.strip_prefix(first.as_str()) else { return false };
    for part in middle {
        match rest.find(part.as_str()) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last.as_str())
}

/// Conditions joined. `Subject` says which value a condition is about.
#[derive(Debug, Clone)]
pub(super) enum Expression<Subject> {
    All(Vec<Self>),
    Any(Vec<Self>),
    Is(Subject, Test),
}

impl<Subject> Expression<Subject> {
    pub(super) fn holds(&self, is: &impl Fn(&Subject, &Test) -> bool) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(is)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(is)),
            Self::Is(subject, test) => is(subject, test),
        }
    }
}

/// Reads an expression from the beginning of a text.
pub(super) struct Reader<'a> {
    pub(super) rest: &'a str,
}

impl<'a> Reader<'a> {
    pub(super) fn skip(&mut self, token: &str) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    pub(super) fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|character| !wanted(character)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn word(&mut self) -> &'a str {
        self.rest = self.rest.trim_start();
        self.take_while(char::is_alphanumeric)
    }

    pub(super) fn any<Subject>(
        &mut self,
        subject: &impl Fn(&mut Self) -> Result<Subject, PatternError>,
    ) -> Result<Expression<Subject>, PatternError> {
        let mut parts = vec![self.all(subject)?];
        while self.skip("||") {
            parts.push(self.all(subject)?);
        }
        Ok(Expression::Any(parts))
    }

    fn all<Subject>(
        &mut self,
        subject: &impl Fn(&mut Self) -> Result<Subject, PatternError>,
    ) -> Result<Expression<Subject>, PatternError> {
        let mut parts = vec![self.one(subject)?];
        while self.skip("&&") {
            parts.push(self.one(subject)?);
        }
        Ok(Expression::All(parts))
    }

    fn one<Subject>(
        &mut self,
        subject: &impl Fn(&mut Self) -> Result<Subject, PatternError>,
    ) -> Result<Expression<Subject>, PatternError> {
        if self.skip("(") {
            let inner = self.any(subject)?;
            return if self.skip(")") { Ok(inner) } else { Err(invalid("a parenthesis does not end")) };
        }
        let subject = subject(self)?;
        Ok(Expression::Is(subject, self.test()?))
    }

    fn test(&mut self) -> Result<Test, PatternError> {
        for (sign, order) in [
            ("<=", Order::LessOrEqual),
            (">=", Order::GreaterOrEqual),
            ("<", Order::Less),
            (">", Order::Greater),
        ] {
            if self.skip(sign) {
                return match self.value()? {
                    Value::Bare(text) => text
                        .parse()
                        .map(|number| Test::Compares { order, number })
                        .map_err(|_| invalid(format!("{text} is compared as a number and is none"))),
                    _ => Err(invalid(format!("{sign} wants a number"))),
                };
            }
        }
        let negated = self.skip("!=");
        if negated || self.skip("=") {
            let parts = |text: &str| text.split('*').map(str::to_owned).collect();
            return Ok(match self.value()? {
                Value::Bare(text) => Test::Equals { negated, parts: parts(text), number: text.parse().ok() },
                Value::Quoted(text) => Test::Equals { negated, parts: parts(&text), number: None },
                Value::Expression(expression) => Test::Matches { negated, expression },
            });
        }
        let first = self.word().to_uppercase();
        let second = self.word().to_uppercase();
        match (first.as_str(), second.as_str()) {
            ("IS", "TRUE") => Ok(Test::IsBoolean(true)),
            ("IS", "FALSE") => Ok(Test::IsBoolean(false)),
            ("IS", "NULL") => Ok(Test::IsNull),
            ("NOT", "EXISTS") => Ok(Test::NotExists),
            _ => Err(invalid(
                "a condition is one of = != < <= > >= with a value, IS TRUE, IS FALSE, IS NULL, NOT EXISTS",
            )),
        }
    }

    fn value(&mut self) -> Result<Value<'a>, PatternError> {
        self.rest = self.rest.trim_start();
        if let Some(body) = self.rest.strip_prefix('"') {
            let (text, rest) = quoted(body)?;
            self.rest = rest;
            return Ok(Value::Quoted(text));
        }
        if let Some(body) = self.rest.strip_prefix('%') {
            let (expression, rest) = regular_expression(body)?;
            self.rest = rest;
            return Ok(Value::Expression(expression));
        }
        match self.take_while(|character| !character.is_whitespace() && !"&|(){}[]\",".contains(character)) {
            "" => Err(invalid("a value is missing")),
            text => Ok(Value::Bare(text)),
        }
    }
}

enum Value<'a> {
    Bare(&'a str),
    Quoted(String),
    Expression(Regex),
}

/// The rest of `%expression%` that `body` begins in, and what follows.
pub(super) fn regular_expression(body: &str) -> Result<(Regex, &str), PatternError> {
    let mut escaped = false;
    let end = body.find(|character| {
        let ends = character == '%' && !escaped;
        escaped = character == '\\' && !escaped;
        ends
    });
    let end = end.ok_or_else(|| invalid("an expression does not end with %"))?;
    let expression = RegexBuilder::new(&body[..end].replace("\\%", "%"))
        .size_limit(EXPRESSION_BYTES)
        .build()
        .map_err(|_| invalid(format!("%{}% is no expression", &body[..end])))?;
    Ok((expression, &body[end + 1..]))
}
