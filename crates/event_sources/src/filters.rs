//! Which records a mapping wants. Each is looked at by itself; one that fits a pattern is wanted.
//!
//! Source: Lambda developer guide, "Event filtering", with the tables on plain texts and JSON: a pattern that asks for
//! members of the data drops data that is no JSON, and one that asks for a text drops data that is.

use crate::source::Record;
use lamplight_model::EventPattern;
use lamplight_model::event_pattern::PatternError;
use serde::de::IgnoredAny;
use serde_json::Value;

/// The filters of a mapping.
#[derive(Debug)]
pub struct Filters {
    patterns: Vec<EventPattern>,
    data_member: &'static str,
}

impl Filters {
    /// Reads the patterns. Fails for what is none, which the front door has refused.
    pub fn new(texts: &[String], data_member: &'static str) -> Result<Self, PatternError> {
        let patterns = texts.iter().map(|text| EventPattern::parse(text)).collect::<Result<_, _>>()?;
        Ok(Self { patterns, data_member })
    }

    /// Whether a function gets this record.
    pub fn want(&self, record: &Record) -> bool {
        if self.patterns.is_empty() {
            return true;
        }
        let data = record.event.get(self.data_member).and_then(Value::as_str).map_or(Data::Text, read);
        let (is_json, is_unreadable) = (matches!(data, Data::Json(_)), matches!(data, Data::Unreadable));
        let mut seen = record.event.clone();
        if let Data::Json(members) = data {
            seen[self.data_member] = members;
        }
        self.patterns.iter().any(|pattern| match pattern.wants_object(self.data_member) {
            // It cannot be said that it does not fit, and what does not fit is deleted.
            true if is_unreadable => pattern.may_match(&seen, self.data_member),
            true => is_json && pattern.matches(&seen),
            false => pattern.matches(&seen),
        })
    }
}

/// What the data of a record is.
enum Data {
    /// JSON with members; numbers and quoted texts are taken as the plain texts they are written as.
    Json(Value),
    /// JSON that cannot be held: nested deeper than 127 times, with numbers beyond a double, or with halves of surrogate pairs.
    Unreadable,
    /// Anything else.
    Text,
}

fn read(text: &str) -> Data {
    match serde_json::from_str::<Value>(text) {
        Ok(value) if value.is_object() || value.is_array() => Data::Json(value),
        // It follows the grammar alone, at any depth.
        Err(_)
            if text.trim_start().starts_with(['{', '['])
                && serde_json::from_str::<IgnoredAny>(text).is_ok() =>
        {
            Data::Unreadable
        }
        _ => Data::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(pattern: Value, body: &str, expected: bool) {
        let filters =
            Filters::new(&[json!({"x": ["never"]}).to_string(), pattern.to_string()], "body").unwrap();
        let event = json!({"body": body, "messageAttributes": {"kind": {"stringValue": "order"}}});
        let record = Record { id: "1".to_owned(), receipt: "r".to_owned(), group: None, trace: None, event };
        assert_eq!(filters.want(&record), expected, "{pattern} {body}");
    }

    #[test]
    fn data_is_json_or_text() {
        check(json!({"body": {"a": ["b"]}}), r#"{"a": "b"}"#, true);
        check(json!({"body": {"a": ["b"]}}), r#"{"a": "c"}"#, false);
        check(json!({"body": {"a": ["b"]}}), r#"[{"a": "b"}]"#, true);
        check(json!({"body": {"a": [{"numeric": [">", 100]}]}}), "this is a test string", false);
        check(json!({"body": {"a": [{"exists": false}]}}), "text", false);
        check(json!({"body": ["text"]}), "text", true);
        check(json!({"body": [{"prefix": "te"}]}), "text", true);
        check(json!({"body": ["7"]}), "7", true);
        check(json!({"body": ["text"]}), r#"{"a": "text"}"#, false);
    }

    #[test]
    fn what_cannot_be_looked_at_is_not_dropped() {
        let deep = format!("{{\"a\": \"c\", \"x\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        for body in [deep.as_str(), r#"{"a": "c", "x": 1e400}"#, r#"{"a": "c", "x": "\ud800"}"#] {
            check(json!({"body": {"a": ["b"]}}), body, true);
            check(json!({"body": ["text"]}), body, false);
            check(json!({"messageAttributes": {"kind": {"stringValue": ["offer"]}}}), body, false);
        }
        check(json!({"body": {"a": ["b"]}}), r#"{"a": "b""#, false);
        for scalar in ["1e400", r#""\ud800""#] {
            check(json!({"body": {"a": ["b"]}}), scalar, false);
            check(json!({"body": [scalar]}), scalar, true);
        }
        let other = json!({"body": {"a": ["b"]}, "messageAttributes": {"kind": {"stringValue": ["offer"]}}});
        check(other, &deep, false);
    }

    #[test]
    fn other_members_are_seen_with_any_data() {
        for body in ["text", "{}"] {
            check(json!({"messageAttributes": {"kind": {"stringValue": ["order"]}}}), body, true);
            check(json!({"messageAttributes": {"kind": {"stringValue": ["offer"]}}}), body, false);
        }
    }
}
