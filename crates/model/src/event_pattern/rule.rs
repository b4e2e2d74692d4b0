//! One rule of a leaf: a value it equals, or an operator.

use super::PatternError;
use serde_json::{Number, Value};
use std::net::IpAddr;

/// What a value is compared with.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// The same value: texts by their characters, numbers as they are written.
    Equal(Value),
    /// `exists`.
    Exists(bool),
    /// `numeric`: all of them hold.
    Numeric(Vec<(Comparison, f64)>),
    /// `cidr`: network and length of its prefix.
    Network(IpAddr, u8),
    /// `prefix`, `suffix`, `equals-ignore-case`, `wildcard`.
    Text(TextRule),
    /// `anything-but` values.
    NoneOf(Vec<Value>),
    /// `anything-but` texts that fit one of these.
    NoText(Vec<TextRule>),
}

/// How numbers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A rule for texts. What ignores case is kept in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextRule {
    Prefix(String),
    PrefixIgnoringCase(String),
    Suffix(String),
    SuffixIgnoringCase(String),
    EqualIgnoringCase(String),
    Wildcard(Vec<Piece>),
}

/// A part of a wildcard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// `*`: any characters, none too.
    Any,
    /// This one.
    Character(char),
}

impl Rule {
    /// Reads an element of a list of rules.
    pub fn parse(value: &Value) -> Result<Self, PatternError> {
        let object = match value {
            Value::Array(_) => return Err(PatternError::new("a list of rules holds no lists")),
            Value::Object(object) => object,
            scalar => return Ok(Self::Equal(scalar.clone())),
        };
        let mut members = object.iter();
        let (Some((operator, operand)), None) = (members.next(), members.next()) else {
            return Err(PatternError::new("an object among rules has one operator"));
        };
        match (operator.as_str(), operand) {
            ("exists", Value::Bool(expected)) => Ok(Self::Exists(*expected)),
            ("numeric", Value::Array(parts)) => numeric(parts),
            ("cidr", Value::String(text)) => network(text),
            ("anything-but", operand) => anything_but(operand),
            (operator, operand) => TextRule::parse(operator, operand).map(Self::Text),
        }
    }

    /// Whether one of the values of a leaf fits; there is none where the leaf is not there.
    pub fn fits(&self, values: &[&Value]) -> bool {
        match self {
            Self::Exists(expected) => *expected != values.is_empty(),
            rule => values.iter().any(|value| rule.fits_one(value)),
        }
    }

    fn fits_one(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Equal(expected), value) => expected == value,
            (Self::NoneOf(refused), value) => !refused.contains(value),
            (Self::NoText(rules), Value::String(text)) => !rules.iter().any(|rule| rule.fits(text)),
            // What is no text does not begin or end with one.
            (Self::NoText(_), _) => true,
            (Self::Text(rule), Value::String(text)) => rule.fits(text),
            (Self::Numeric(comparisons), Value::Number(number)) => number
                .as_f64()
                .is_some_and(|number| comparisons.iter().all(|(how, with)| how.holds(number, *with))),
            (Self::Network(network, length), Value::String(text)) => {
                text.parse().is_ok_and(|address| is_within(address, *network, *length))
            }
            _ => false,
        }
    }
}

impl Comparison {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "=" => Some(Self::Equal),
            "<" => Some(Self::Less),
            "<=" => Some(Self::LessOrEqual),
            ">" => Some(Self::Greater),
            ">=" => Some(Self::GreaterOrEqual),
            _ => None,
        }
    }

    fn holds(self, number: f64, with: f64) -> bool {
        match self {
            Self::Equal => number == with,
            Self::Less => number < with,
            Self::LessOrEqual => number <= with,
            Self::Greater => number > with,
            Self::GreaterOrEqual => number >= with,
        }
    }
}

/// One comparison, or two that make a range.
fn numeric(parts: &[Value]) -> Result<Rule, PatternError> {
    let wrong = || PatternError::new("numeric takes one or two comparisons, such as [\">\", 0, \"<=\", 5]");
    if parts.len() != 2 && parts.len() != 4 {
        return Err(wrong());
    }
    let comparisons = parts.chunks(2).map(|pair| {
        let how = pair.first().and_then(Value::as_str).and_then(Comparison::parse);
        let with = pair.get(1).and_then(Value::as_number).and_then(Number::as_f64);
        how.zip(with).ok_or_else(wrong)
    });
    comparisons.collect::<Result<_, _>>().map(Rule::Numeric)
}

fn network(text: &str) -> Result<Rule, PatternError> {
    let wrong = || PatternError::new("cidr takes a network, such as 10.0.0.0/24");
    let (address, length) = text.split_once('/').ok_or_else(wrong)?;
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let length: u8 = length.parse().map_err(|_| wrong())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    if length > most {
        return Err(wrong());
    }
    Ok(Rule::Network(address, length))
}

fn is_within(address: IpAddr, network: IpAddr, length: u8) -> bool {
    let length = u32::from(length);
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let differing = u32::from(address) ^ u32::from(network);
            differing.checked_shr(32 - length).unwrap_or(0) == 0
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let differing = u128::from(address) ^ u128::from(network);
            differing.checked_shr(128 - length).unwrap_or(0) == 0
        }
        _ => false,
    }
}

fn anything_but(operand: &Value) -> Result<Rule, PatternError> {
    let wrong = || PatternError::new("anything-but takes texts, numbers, or one operator for texts");
    let is_plain = |value: &Value| value.is_string() || value.is_number() || value.is_boolean();
    match operand {
        Value::Array(values) if !values.is_empty() && values.iter().all(is_plain) => {
            Ok(Rule::NoneOf(values.clone()))
        }
        value if is_plain(value) => Ok(Rule::NoneOf(vec![value.clone()])),
        Value::Object(object) if object.len() == 1 => {
            let (operator, operand) = object.iter().next().ok_or_else(wrong)?;
            let rules = match operand {
                Value::Array(operands) if !operands.is_empty() => operands
                    .iter()
                    .map(|operand| TextRule::parse(operator, operand))
                    .collect::<Result<_, _>>()?,
                operand => vec![TextRule::parse(operator, operand)?],
            };
            Ok(Rule::NoText(rules))
        }
        _ => Err(wrong()),
    }
}

impl TextRule {
    fn parse(operator: &str, operand: &Value) -> Result<Self, PatternError> {
        let ignoring_case = |operand: &Value| {
            let object = operand.as_object().filter(|object| object.len() == 1)?;
            object.get("equals-ignore-case").and_then(Value::as_str).map(str::to_lowercase)
        };
        let rule = match (operator, operand) {
            ("prefix", Value::String(text)) => Some(Self::Prefix(text.clone())),
            ("prefix", operand) => ignoring_case(operand).map(Self::PrefixIgnoringCase),
            ("suffix", Value::String(text)) => Some(Self::Suffix(text.clone())),
            ("suffix", operand) => ignoring_case(operand).map(Self::SuffixIgnoringCase),
            ("equals-ignore-case", Value::String(text)) => Some(Self::EqualIgnoringCase(text.to_lowercase())),
            ("wildcard", Value::String(text)) => Some(Self::Wildcard(pieces(text)?)),
            _ => None,
        };
        rule.ok_or_else(|| PatternError::new(format!("'{operator}' is no operator, or takes another value")))
    }

    fn fits(&self, text: &str) -> bool {
        match self {
            Self::Prefix(start) => text.starts_with(start),
            Self::PrefixIgnoringCase(start) => text.to_lowercase().starts_with(start),
            Self::Suffix(end) => text.ends_with(end),
            Self::SuffixIgnoringCase(end) => text.to_lowercase().ends_with(end),
            Self::EqualIgnoringCase(other) => text.to_lowercase() == *other,
            Self::Wildcard(pieces) => fits_wildcard(pieces, text),
        }
    }
}

/// `\*` and `\\` stand for themselves; two stars in a row are refused.
fn pieces(text: &str) -> Result<Vec<Piece>, PatternError> {
    let mut pieces = Vec::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let piece = match character {
            '*' if pieces.last() == Some(&Piece::Any) => {
                return Err(PatternError::new("a wildcard holds no two stars in a row"));
            }
            '*' => Piece::Any,
            '\\' => match characters.next() {
                Some(escaped @ ('*' | '\\')) => Piece::Character(escaped),
                _ => return Err(PatternError::new("a backslash in a wildcard stands before * or \\")),
            },
            other => Piece::Character(other),
        };
        pieces.push(piece);
    }
    Ok(pieces)
}

/// Takes time in proportion to the product of both lengths at worst.
fn fits_wildcard(pieces: &[Piece], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut read) = (0, 0);
    // Where to go on when what follows the last star does not fit.
    let mut star: Option<(usize, usize)> = None;
    while read < text.len() {
        match pieces.get(at) {
            Some(Piece::Any) => {
                star = Some((at, read));
                at += 1;
            }
            Some(Piece::Character(character)) if *character == text[read] => {
                at += 1;
                read += 1;
            }
            _ => match star {
                Some((star_at, taken)) => {
                    star = Some((star_at, taken + 1));
                    (at, read) = (star_at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pieces[at..].iter().all(|piece| *piece == Piece::Any)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(rule: Value, fitting: &[Value], others: &[Value]) {
        let parsed = Rule::parse(&rule).unwrap();
        for value in fitting {
            assert!(parsed.fits(&[value]), "{rule} {value}");
        }
        for value in others {
            assert!(!parsed.fits(&[value]), "{rule} {value}");
        }
    }

    /// Source: EventBridge user guide, "Comparison operators for use in event patterns".
    #[test]
    fn operators() {
        check(json!("a"), &[json!("a")], &[json!("A"), json!(1), json!(null)]);
        check(json!(300), &[json!(300)], &[json!("300"), json!(300.0), json!(301)]);
        check(json!({"prefix": "us-"}), &[json!("us-east-1"), json!("us-")], &[json!("eu-us-"), json!(1)]);
        check(json!({"prefix": {"equals-ignore-case": "US"}}), &[json!("us-east-1")], &[json!("u")]);
        check(json!({"suffix": ".png"}), &[json!("a.png")], &[json!("a.PNG")]);
        check(json!({"suffix": {"equals-ignore-case": ".Png"}}), &[json!("a.PNG")], &[json!("a.jpg")]);
        check(json!({"equals-ignore-case": "Ärger"}), &[json!("äRGER")], &[json!("arger")]);
        check(
            json!({"numeric": [">", 0, "<=", 5]}),
            &[json!(5), json!(0.1)],
            &[json!(0), json!(5.1), json!("3")],
        );
        check(json!({"numeric": ["=", 300]}), &[json!(300), json!(300.0), json!(3e2)], &[json!(3)]);
        check(
            json!({"anything-but": ["a", 3]}),
            &[json!("b"), json!(null), json!(4)],
            &[json!("a"), json!(3)],
        );
        check(json!({"anything-but": "a"}), &[json!("b")], &[json!("a")]);
        check(json!({"anything-but": {"prefix": "in"}}), &[json!("out"), json!(1)], &[json!("init")]);
        check(json!({"anything-but": {"suffix": ["a", "b"]}}), &[json!("c")], &[json!("xa"), json!("xb")]);
        check(json!({"anything-but": {"equals-ignore-case": ["a"]}}), &[json!("c")], &[json!("A")]);
        check(
            json!({"cidr": "10.0.0.0/24"}),
            &[json!("10.0.0.255")],
            &[json!("10.0.1.0"), json!("::1"), json!("x")],
        );
        check(json!({"cidr": "0.0.0.0/0"}), &[json!("255.1.2.3")], &[json!("::1")]);
        check(json!({"cidr": "2001:db8::/32"}), &[json!("2001:db8::1")], &[json!("2001:db9::1")]);
        check(json!({"wildcard": "a*b\\*"}), &[json!("ab*"), json!("a--b*")], &[json!("ab"), json!("a*b")]);
        check(json!({"wildcard": "*"}), &[json!(""), json!("x")], &[json!(1)]);
    }

    #[test]
    fn operators_used_in_a_wrong_way() {
        for rule in [
            json!({"exists": "true"}),
            json!({"numeric": [">"]}),
            json!({"numeric": ["~", 1]}),
            json!({"numeric": [">", "1"]}),
            json!({"numeric": [">", 1, "<", 2, "=", 3]}),
            json!({"prefix": 1}),
            json!({"suffix": {"prefix": "a"}}),
            json!({"anything-but": []}),
            json!({"anything-but": {}}),
            json!({"anything-but": {"exists": true}}),
            json!({"cidr": "10.0.0.0"}),
            json!({"cidr": "10.0.0.0/33"}),
            json!({"wildcard": "a**"}),
            json!({"wildcard": "a\\b"}),
            json!({"unknown": "x"}),
        ] {
            assert!(Rule::parse(&rule).is_err(), "{rule}");
        }
    }

    #[test]
    fn no_time_is_lost_on_wildcards() {
        let rule = Rule::parse(&json!({"wildcard": format!("{}b", "*a".repeat(500))})).unwrap();
        assert!(!rule.fits(&[&json!("a".repeat(20_000))]));
    }
}
