//! Patterns over members of JSON events: `{ $.a.b[0] = "x" && $.c > 3 }`.

use super::condition::{Expression, Reader, Test};
use super::{PatternError, invalid};
use serde_json::Value;

/// Characters that end a member's name.
const NAME_ENDS: &str = "=!<>&|(){}[].,\"";

#[derive(Debug, Clone)]
enum Step {
    Member(String),
    Index(usize),
    Every,
}

type Path = Vec<Step>;

#[derive(Debug, Clone)]
pub(super) struct JsonPattern(Expression<Path>);

impl JsonPattern {
    pub(super) fn parse(text: &str) -> Result<Self, PatternError> {
        let inner = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let inner = inner.ok_or_else(|| invalid("a JSON pattern ends with }"))?;
        let mut reader = Reader { rest: inner };
        let expression = reader.any(&path)?;
        match reader.rest.trim() {
            "" => Ok(Self(expression)),
            rest => Err(invalid(format!("nothing is expected at: {rest}"))),
        }
    }

    pub(super) fn matches(&self, message: &str) -> bool {
        let message = message.trim();
        // Most lines are no JSON: nothing is parsed for them.
        if !message.starts_with(['{', '[']) {
            return false;
        }
        match serde_json::from_str::<Value>(message) {
            Ok(event) => self.0.holds(&|path, test| test_of(&event, path, test)),
            Err(_) => false,
        }
    }
}

fn path(reader: &mut Reader<'_>) -> Result<Path, PatternError> {
    if !reader.skip("$") {
        return Err(invalid("a member is named $.member"));
    }
    let mut path = Path::new();
    loop {
        let dot = reader.rest.strip_prefix('.');
        let bracket = dot.unwrap_or(reader.rest).strip_prefix('[');
        if let Some(rest) = bracket {
            let end = rest.find(']').ok_or_else(|| invalid("a bracket does not end"))?;
            let inner = rest[..end].trim();
            let quoted = ['\'', '"']
                .into_iter()
                .find_map(|quote| inner.strip_prefix(quote).and_then(|name| name.strip_suffix(quote)));
            path.push(match (inner, quoted) {
                (_, Some(name)) => Step::Member(name.to_owned()),
                ("*", None) => Step::Every,
                (number, None) => Step::Index(
                    number.parse().map_err(|_| invalid(format!("[{number}] is no place in an array")))?,
                ),
            });
            reader.rest = &rest[end + 1..];
        } else if let Some(rest) = dot {
            reader.rest = rest;
            match reader.take_while(|character| !character.is_whitespace() && !NAME_ENDS.contains(character))
            {
                "" => return Err(invalid("a member's name is missing")),
                name => path.push(Step::Member(name.to_owned())),
            }
        } else if path.is_empty() {
            return Err(invalid("a member is named $.member"));
        } else {
            return Ok(path);
        }
    }
}

/// Whether any value at `path` is as `test` says. A member that is absent is so only for NOT EXISTS, and an array or an
/// object is neither equal nor unequal to anything.
fn test_of(event: &Value, path: &[Step], test: &Test) -> bool {
    let mut found = Vec::new();
    collect(event, path, &mut found);
    match test {
        Test::NotExists => found.is_empty(),
        Test::IsNull => found.iter().any(|value| value.is_null()),
        Test::IsBoolean(wanted) => found.iter().any(|value| value.as_bool() == Some(*wanted)),
        _ => found.into_iter().any(|value| match value {
            Value::String(text) => test.of_scalar(text, None),
            Value::Number(number) => test.of_scalar(&number.to_string(), number.as_f64()),
            Value::Bool(truth) => test.of_scalar(if *truth { "true" } else { "false" }, None),
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        }),
    }
}

fn collect<'a>(value: &'a Value, path: &[Step], found: &mut Vec<&'a Value>) {
    let Some((step, rest)) = path.split_first() else {
        found.push(value);
        return;
    };
    match step {
        Step::Member(name) => value.get(name).into_iter().for_each(|inner| collect(inner, rest, found)),
        Step::Index(at) => value.get(at).into_iter().for_each(|inner| collect(inner, rest, found)),
        Step::Every => value.as_array().into_iter().flatten().for_each(|inner| collect(inner, rest, found)),
    }
}
