//! Answers of SQS in JSON 1.0, and the same in XML for the query protocol, where lists and maps are flattened.

use crate::http::xml::element;
use crate::http::{Response, reply};
use ::http::StatusCode;
use lamplight_model::RequestId;
use serde_json::{Map, Value};

/// XML namespace of answers.
pub const NAMESPACE: &str = "http://queue.amazonaws.com/doc/2012-11-05/";

/// JSON 1.0.
pub fn json(value: &Value) -> Response {
    reply::with_body(StatusCode::OK, "application/x-amz-json-1.0", value.to_string())
}

/// Query. Operations without a result answer `null`.
pub fn xml(action: &str, value: &Value, request_id: RequestId) -> Response {
    let result = value.as_object().map(|members| structure(action, members));
    reply::query_xml(NAMESPACE, action, result.as_deref(), request_id)
}

fn structure(action: &str, members: &Map<String, Value>) -> String {
    members.iter().map(|(name, value)| member(action, name, value)).collect()
}

fn member(action: &str, name: &str, value: &Value) -> String {
    match value {
        Value::Array(list) => {
            let element_name = match name {
                "QueueUrls" | "queueUrls" => "QueueUrl".to_owned(),
                "Messages" => "Message".to_owned(),
                "Successful" => format!("{action}ResultEntry"),
                "Failed" => "BatchResultErrorEntry".to_owned(),
                "Results" => "ListMessageMoveTasksResultEntry".to_owned(),
                other => other.to_owned(),
            };
            list.iter().map(|one| member(action, &element_name, one)).collect()
        }
        Value::Object(map) => match name {
            "Attributes" => entries(map, "Attribute", "Name"),
            "Tags" => entries(map, "Tag", "Key"),
            "MessageAttributes" => entries(map, "MessageAttribute", "Name"),
            _ => format!("<{name}>{}</{name}>", structure(action, map)),
        },
        Value::String(text) => element(name, text),
        Value::Null => String::new(),
        other => element(name, &other.to_string()),
    }
}

fn entries(map: &Map<String, Value>, entry: &str, key: &str) -> String {
    let one = |(name, value): (&String, &Value)| {
        format!("<{entry}>{}{}</{entry}>", element(key, name), member("", "Value", value))
    };
    map.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn answers_become_xml() {
        let check = |value: Value, expected: &str| {
            let members = value.as_object().unwrap();
            assert_eq!(structure("SendMessageBatch", members), expected);
        };
        check(json!({"QueueUrls": ["a", "b"]}), "<QueueUrl>a</QueueUrl><QueueUrl>b</QueueUrl>");
        check(
            json!({"Attributes": {"DelaySeconds": "5"}}),
            "<Attribute><Name>DelaySeconds</Name><Value>5</Value></Attribute>",
        );
        check(
            json!({"Successful": [{"Id": "a"}], "Failed": []}),
            "<SendMessageBatchResultEntry><Id>a</Id></SendMessageBatchResultEntry>",
        );
        check(
            json!({"Messages": [{"Body": "<&>", "MessageAttributes": {"n": {"DataType": "String", "StringValue": "x"}}}]}),
            "<Message><Body>&lt;&amp;&gt;</Body><MessageAttribute><Name>n</Name><Value><DataType>String</DataType>\
             <StringValue>x</StringValue></Value></MessageAttribute></Message>",
        );
    }
}
