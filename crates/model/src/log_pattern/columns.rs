//! Patterns over fields between spaces: `[ip, user, status = 4*, ...]`.

use super::condition::{Expression, Reader};
use super::{PatternError, invalid};

#[derive(Debug, Clone)]
struct Column {
    name: String,
    condition: Option<Expression<()>>,
}

#[derive(Debug, Clone)]
pub(super) struct Columns {
    /// Those before `...`, or all of them.
    first: Vec<Column>,
    /// Those after `...`, when there is one.
    last: Option<Vec<Column>>,
}

impl Columns {
    pub(super) fn parse(text: &str) -> Result<Self, PatternError> {
        let mut reader = Reader { rest: text.strip_prefix('[').unwrap_or(text) };
        let mut columns = Self { first: Vec::new(), last: None };
        loop {
            if reader.skip("...") {
                if columns.last.replace(Vec::new()).is_some() {
                    return Err(invalid("... can be there once"));
                }
            } else {
                let column = column(&mut reader)?;
                columns.last.as_mut().unwrap_or(&mut columns.first).push(column);
            }
            if !reader.skip(",") {
                break;
            }
        }
        if !reader.skip("]") {
            return Err(invalid("a pattern of columns ends with ]"));
        }
        match reader.rest.trim() {
            "" => Ok(columns),
            rest => Err(invalid(format!("nothing is expected at: {rest}"))),
        }
    }

    /// Each column with the field it is for; `None` when there are too few or too many fields.
    fn pairs<'a>(&'a self, fields: &'a [&'a str]) -> Option<impl Iterator<Item = (&'a Column, &'a str)>> {
        let last: &[Column] = self.last.as_deref().unwrap_or_default();
        let wanted = self.first.len() + last.len();
        let fits = if self.last.is_some() { fields.len() >= wanted } else { fields.len() == wanted };
        if !fits {
            return None;
        }
        let of_last = &fields[fields.len() - last.len()..];
        Some(self.first.iter().zip(fields.iter().copied()).chain(last.iter().zip(of_last.iter().copied())))
    }

    pub(super) fn matches(&self, message: &str) -> bool {
        let fields = fields(message);
        self.pairs(&fields).is_some_and(|mut pairs| {
            pairs.all(|(column, field)| {
                let number = field.parse().ok();
                let holds =
                    |expression: &Expression<()>| expression.holds(&|(), test| test.of_scalar(field, number));
                column.condition.as_ref().is_none_or(holds)
            })
        })
    }

    pub(super) fn extract(&self, message: &str) -> Option<Vec<(String, String)>> {
        let fields = fields(message);
        Some(self.pairs(&fields)?.map(|(column, field)| (column.name.clone(), field.to_owned())).collect())
    }
}

fn name<'a>(reader: &mut Reader<'a>) -> Result<&'a str, PatternError> {
    reader.rest = reader.rest.trim_start();
    match reader.take_while(|character| character.is_alphanumeric() || "_-$.".contains(character)) {
        "" => Err(invalid("a column's name is missing")),
        name => Ok(name),
    }
}

fn column(reader: &mut Reader<'_>) -> Result<Column, PatternError> {
    let before = reader.rest;
    reader.skip("(");
    let found = name(reader)?.to_owned();
    reader.rest = reader.rest.trim_start();
    if reader.rest.starts_with([',', ']']) {
        return Ok(Column { name: found, condition: None });
    }
    reader.rest = before;
    // Every part of a column's condition is about that column, by whatever name.
    let condition = reader.any(&|reader| name(reader).map(|_| ()))?;
    Ok(Column { name: found, condition: Some(condition) })
}

/// What is between spaces; what is in brackets or quotes is one field, without them.
fn fields(message: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = message.trim();
    while !rest.is_empty() {
        let enclosed = [('[', ']'), ('"', '"')]
            .into_iter()
            .find_map(|(open, close)| rest.strip_prefix(open).and_then(|inner| inner.split_once(close)));
        let (field, after) = match enclosed {
            Some(found) => found,
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        found.push(field);
        rest = after.trim_start();
    }
    found
}
