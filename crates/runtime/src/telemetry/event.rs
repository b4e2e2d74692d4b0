//! One event of the telemetry stream, and how it looks in each version of the schema. Pure.
//!
//! Source: AWS Lambda developer guide, "Telemetry API Event schema reference" and "Lambda Logs API", "Log messages".

use super::subscription::{Category, Schema};
use bytes::Bytes;
use lamplight_model::Timestamp;
use serde_json::{Value, json};

/// What an event says.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// An object, or a text of the platform's.
    Value(Value),
    /// A line of a program. `json` when its function logs in JSON.
    Line {
        /// As written.
        text: String,
        /// Whether it may be an object.
        json: bool,
    },
}

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct TelemetryEvent {
    /// When.
    pub time: Timestamp,
    /// `type`.
    pub kind: &'static str,
    /// `record`.
    pub record: Record,
}

impl TelemetryEvent {
    /// What it tells of.
    pub fn category(&self) -> Category {
        match self.kind {
            "function" => Category::Function,
            "extension" => Category::Extension,
            _ => Category::Platform,
        }
    }

    /// About how many bytes it takes to keep it.
    pub fn size_bytes(&self) -> usize {
        match &self.record {
            Record::Line { text, .. } => text.len() + 64,
            Record::Value(_) => 512,
        }
    }

    /// As bytes; `None` when this version does not have such an event.
    pub fn render(&self, schema: Schema) -> Option<Bytes> {
        if !has(schema, self.kind) {
            return None;
        }
        let record = match &self.record {
            Record::Value(value) => value.clone(),
            Record::Line { text, json } => object(text, *json && schema >= Schema::TelemetryWithObjects)
                .unwrap_or_else(|| Value::from(text.as_str())),
        };
        let event = json!({ "time": self.time.iso_format(), "type": self.kind, "record": record });
        Some(event.to_string().into())
    }
}

fn object(text: &str, may_be: bool) -> Option<Value> {
    if !may_be || !text.trim_start().starts_with('{') {
        return None;
    }
    serde_json::from_str(text).ok().filter(Value::is_object)
}

/// Whether a version has events of this type.
fn has(schema: Schema, kind: &str) -> bool {
    match kind {
        "platform.end" | "platform.fault" | "platform.logsSubscription" => schema < Schema::Telemetry,
        "platform.runtimeDone" => schema != Schema::Logs,
        "platform.initStart"
        | "platform.initRuntimeDone"
        | "platform.initReport"
        | "platform.telemetrySubscription" => schema >= Schema::Telemetry,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: &'static str, record: Record, schema: Schema, expected: Option<&str>) {
        let rendered = TelemetryEvent { time: Timestamp(0), kind, record }.render(schema);
        let text = rendered.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
        let record = text.map(|text| serde_json::from_str::<Value>(&text).unwrap()["record"].to_string());
        assert_eq!(record.as_deref(), expected, "{kind} {schema:?}");
    }

    #[test]
    fn lines_are_objects_where_the_version_has_them() {
        let line = |text: &str, json| Record::Line { text: text.to_owned(), json };
        check("function", line("{\"a\":1}\n", true), Schema::TelemetryWithObjects, Some("{\"a\":1}"));
        check("function", line("{\"a\":1}\n", true), Schema::Telemetry, Some(r#""{\"a\":1}\n""#));
        check("function", line("{\"a\":1}\n", false), Schema::TelemetryWithObjects, Some(r#""{\"a\":1}\n""#));
        check("function", line("{no\n", true), Schema::TelemetryWithObjects, Some(r#""{no\n""#));
    }

    #[test]
    fn versions_have_events_of_their_own() {
        let record = || Record::Value(json!({}));
        for (kind, schema, there) in [
            ("platform.end", Schema::Logs, true),
            ("platform.end", Schema::Telemetry, false),
            ("platform.runtimeDone", Schema::Logs, false),
            ("platform.runtimeDone", Schema::LogsWithRuntimeDone, true),
            ("platform.initStart", Schema::LogsWithRuntimeDone, false),
            ("platform.initStart", Schema::Telemetry, true),
            ("platform.report", Schema::Logs, true),
        ] {
            check(kind, record(), schema, there.then_some("{}"));
        }
    }
}
