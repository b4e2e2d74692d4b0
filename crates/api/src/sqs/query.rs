//! The query protocol's parameters as the JSON request that says the same.
//!
//! `Attribute.1.Name=DelaySeconds&Attribute.1.Value=5` is `{"Attributes": {"DelaySeconds": "5"}}`. Lists are flattened:
//! `AttributeName.1=All`. Source: the service model's `xmlFlattened` and `xmlName` traits.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Number of an element that stands without one: an only element may, and clients of the API's first years write it so (boto 2:
/// `AttributeName=All`, `Attribute.Name=VisibilityTimeout`).
const ALONE: u32 = 0;
/// Lists of texts: the name of an element, and of the list.
const LISTS: &[(&str, &str)] = &[
    ("AttributeName", "AttributeNames"),
    ("MessageAttributeName", "MessageAttributeNames"),
    ("MessageSystemAttributeName", "MessageSystemAttributeNames"),
    ("TagKey", "TagKeys"),
    ("AWSAccountId", "AWSAccountIds"),
    ("ActionName", "Actions"),
];
/// Lists of structures.
const ENTRIES: &[&str] = &[
    "SendMessageBatchRequestEntry",
    "DeleteMessageBatchRequestEntry",
    "ChangeMessageVisibilityBatchRequestEntry",
];
/// Maps: the name of an entry, of its key, and of the map. CreateQueue writes `tags`, TagQueue `Tags`.
const MAPS: &[(&str, &str, &[&str])] = &[
    ("Attribute", "Name", &["Attributes"]),
    ("Tag", "Key", &["Tags", "tags"]),
    ("MessageAttribute", "Name", &["MessageAttributes"]),
    ("MessageSystemAttribute", "Name", &["MessageSystemAttributes"]),
];
/// Numbers; every other value is a text.
const NUMBERS: &[&str] = &[
    "DelaySeconds",
    "MaxNumberOfMessages",
    "MaxNumberOfMessagesPerSecond",
    "MaxResults",
    "VisibilityTimeout",
    "WaitTimeSeconds",
];

/// Makes the request.
pub fn request(parameters: &[(String, String)]) -> Value {
    let parameters = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    Value::Object(structure(parameters))
}

/// The numbered parts of a list, each a set of parameters, in order.
type Parts<'a> = BTreeMap<u32, Vec<(&'a str, &'a str)>>;

fn structure(parameters: Vec<(&str, &str)>) -> Map<String, Value> {
    let mut members = Map::new();
    let mut numbered: BTreeMap<&str, Parts<'_>> = BTreeMap::new();
    for (name, value) in parameters {
        match name.split_once('.') {
            None if LISTS.iter().any(|(element, _)| *element == name) => {
                numbered.entry(name).or_default().entry(ALONE).or_default().push(("", value));
            }
            None => {
                members.insert(name.to_owned(), scalar(name, value));
            }
            Some(("Value", rest)) => {
                // The value of a message attribute is a structure.
                let inner = members.entry("Value").or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(inner) = inner {
                    inner.insert(rest.to_owned(), value.into());
                }
            }
            Some((name, part)) if is_alone(name, part) => {
                numbered.entry(name).or_default().entry(ALONE).or_default().push((part, value));
            }
            Some((name, rest)) => {
                let (number, rest) = rest.split_once('.').unwrap_or((rest, ""));
                if let Ok(number) = number.parse() {
                    numbered.entry(name).or_default().entry(number).or_default().push((rest, value));
                }
            }
        }
    }
    for (name, parts) in numbered {
        if let Some((_, list)) = LISTS.iter().find(|(element, _)| *element == name) {
            let values =
                parts.into_values().filter_map(|part| part.first().map(|(_, value)| Value::from(*value)));
            members.insert((*list).to_owned(), values.collect());
        } else if ENTRIES.contains(&name) {
            let entries = parts.into_values().map(|part| Value::Object(structure(part)));
            members.insert("Entries".to_owned(), entries.collect());
        } else if let Some((_, key, maps)) = MAPS.iter().find(|(entry, _, _)| *entry == name) {
            let mut map = Map::new();
            for part in parts.into_values() {
                let mut part = structure(part);
                if let Some(Value::String(key)) = part.remove(*key) {
                    map.insert(key, part.remove("Value").unwrap_or_else(|| "".into()));
                }
            }
            for name in *maps {
                members.insert((*name).to_owned(), Value::Object(map.clone()));
            }
        }
    }
    members
}

/// Whether a parameter is a part of an only entry of a map: `Attribute.Name`.
fn is_alone(name: &str, part: &str) -> bool {
    MAPS.iter().any(|(entry, key, _)| {
        *entry == name && (part == *key || part == "Value" || part.starts_with("Value."))
    })
}

fn scalar(name: &str, value: &str) -> Value {
    match value.parse::<i64>() {
        Ok(number) if NUMBERS.contains(&name) => number.into(),
        _ => value.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(form: &str, expected: Value) {
        let parameters: Vec<_> = form_urlencoded::parse(form.as_bytes()).into_owned().collect();
        assert_eq!(request(&parameters), expected, "{form}");
    }

    #[test]
    fn forms_become_requests() {
        check("QueueUrl=u&MaxNumberOfMessages=10", json!({"QueueUrl": "u", "MaxNumberOfMessages": 10}));
        check("AttributeName.2=B&AttributeName.1=A", json!({"AttributeNames": ["A", "B"]}));
        check(
            "Attribute.1.Name=DelaySeconds&Attribute.1.Value=5&Tag.1.Key=k&Tag.1.Value=v",
            json!({"Attributes": {"DelaySeconds": "5"}, "Tags": {"k": "v"}, "tags": {"k": "v"}}),
        );
        check(
            "SendMessageBatchRequestEntry.1.Id=a&SendMessageBatchRequestEntry.1.DelaySeconds=3\
             &SendMessageBatchRequestEntry.1.MessageAttribute.1.Name=n\
             &SendMessageBatchRequestEntry.1.MessageAttribute.1.Value.DataType=String\
             &SendMessageBatchRequestEntry.1.MessageAttribute.1.Value.StringValue=x%20y\
             &SendMessageBatchRequestEntry.2.Id=b",
            json!({"Entries": [
                {"Id": "a", "DelaySeconds": 3,
                 "MessageAttributes": {"n": {"DataType": "String", "StringValue": "x y"}}},
                {"Id": "b"},
            ]}),
        );
        check(
            "AttributeName=All&Attribute.Name=DelaySeconds&Attribute.Value=5&ActionName=SendMessage",
            json!({"AttributeNames": ["All"], "Attributes": {"DelaySeconds": "5"}, "Actions": ["SendMessage"]}),
        );
        check("Nonsense.1.Name=a&Attribute.x.Name=b&..=c", json!({}));
    }
}
