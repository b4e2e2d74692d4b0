//! A message as a function gets it.
//!
//! Source: Lambda developer guide, "Using Lambda with Amazon SQS", example events of standard and FIFO queues.

use crate::source::Record;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lamplight_services::queues::{
    AttributeValue, MessageAttribute, QueueAddress, ReceivedMessage, attributes_digest, digest,
};
use serde_json::{Map, Value, json};

/// Makes the record of a received message.
pub fn record(address: &QueueAddress, message: ReceivedMessage) -> Record {
    let mut attributes = Map::new();
    let mut set = |name: &str, value: Option<String>| {
        attributes.extend(value.map(|value| (name.to_owned(), Value::from(value))));
    };
    set("ApproximateReceiveCount", Some(message.receive_count.to_string()));
    set("AWSTraceHeader", message.trace.clone());
    set("SentTimestamp", Some(message.sent.as_millis().to_string()));
    set("SequenceNumber", message.sequence_number);
    set("MessageGroupId", message.group_id.clone());
    set("SenderId", Some(message.sender));
    set("MessageDeduplicationId", message.deduplication_id);
    set("ApproximateFirstReceiveTimestamp", Some(message.first_received.as_millis().to_string()));
    set("DeadLetterQueueSourceArn", message.dead_letter_source);
    let given: Map<String, Value> =
        message.attributes.iter().map(|(name, attribute)| (name.clone(), shown(attribute))).collect();
    let mut event = Map::new();
    event.insert("messageId".to_owned(), message.message_id.clone().into());
    event.insert("receiptHandle".to_owned(), message.receipt_handle.clone().into());
    let md5 = digest(message.body.as_bytes());
    event.insert("body".to_owned(), message.body.into());
    event.insert("attributes".to_owned(), attributes.into());
    event.insert("messageAttributes".to_owned(), given.into());
    if let Some(digest) = attributes_digest(&message.attributes) {
        event.insert("md5OfMessageAttributes".to_owned(), digest.into());
    }
    event.insert("md5OfBody".to_owned(), md5.into());
    event.insert("eventSource".to_owned(), "aws:sqs".into());
    event.insert("eventSourceARN".to_owned(), address.arn().into());
    event.insert("awsRegion".to_owned(), address.scope.region.as_str().into());
    // Of a standard queue a group says who is treated fairly, and nothing of order.
    let group = message.group_id.filter(|_| address.name.ends_with(".fifo"));
    Record {
        id: message.message_id,
        receipt: message.receipt_handle,
        group,
        trace: message.trace,
        event: event.into(),
    }
}

fn shown(attribute: &MessageAttribute) -> Value {
    let (name, value) = match &attribute.value {
        AttributeValue::Text(text) => ("stringValue", text.clone()),
        AttributeValue::Binary(bytes) => ("binaryValue", STANDARD.encode(bytes)),
    };
    json!({
        name: value,
        "stringListValues": [],
        "binaryListValues": [],
        "dataType": attribute.data_type,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplight_model::{Scope, Timestamp};
    use std::collections::BTreeMap;

    fn message() -> ReceivedMessage {
        ReceivedMessage {
            message_id: "059f36b4-87a3-44ab-83d2-661975830a7d".to_owned(),
            receipt_handle: "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a...".to_owned(),
            body: "Test message.".to_owned(),
            attributes: BTreeMap::new(),
            trace: None,
            sender: "AIDAIENQZJOLO23YVJ4VO".to_owned(),
            sent: Timestamp(1_545_082_649_183),
            receive_count: 1,
            first_received: Timestamp(1_545_082_649_185),
            sequence_number: None,
            group_id: None,
            deduplication_id: None,
            dead_letter_source: None,
        }
    }

    /// The example of the developer guide, word for word but for the region and account of the queue.
    #[test]
    fn a_message_of_a_standard_queue() {
        let mut message = message();
        let attribute = |data_type: &str, value| MessageAttribute { data_type: data_type.to_owned(), value };
        message.attributes.insert(
            "myAttribute".to_owned(),
            attribute("String", AttributeValue::Text("myValue".to_owned())),
        );
        message
            .attributes
            .insert("bytes".to_owned(), attribute("Binary", AttributeValue::Binary(vec![0, 255])));
        message.trace = Some("Root=1-5759e988-bd862e3fe1be46a994272793".to_owned());
        let record = record(&QueueAddress::new(&Scope::default(), "my-queue"), message);
        assert_eq!(record.group, None);
        assert_eq!(
            record.event,
            json!({
                "messageId": "059f36b4-87a3-44ab-83d2-661975830a7d",
                "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a...",
                "body": "Test message.",
                "attributes": {
                    "ApproximateReceiveCount": "1",
                    "AWSTraceHeader": "Root=1-5759e988-bd862e3fe1be46a994272793",
                    "SentTimestamp": "1545082649183",
                    "SenderId": "AIDAIENQZJOLO23YVJ4VO",
                    "ApproximateFirstReceiveTimestamp": "1545082649185"
                },
                "messageAttributes": {
                    "bytes": {
                        "binaryValue": "AP8=",
                        "stringListValues": [],
                        "binaryListValues": [],
                        "dataType": "Binary"
                    },
                    "myAttribute": {
                        "stringValue": "myValue",
                        "stringListValues": [],
                        "binaryListValues": [],
                        "dataType": "String"
                    }
                },
                "md5OfMessageAttributes": attributes_digest(&BTreeMap::from([
                    ("bytes".to_owned(), attribute("Binary", AttributeValue::Binary(vec![0, 255]))),
                    ("myAttribute".to_owned(), attribute("String", AttributeValue::Text("myValue".to_owned()))),
                ])),
                // md5sum of the body, as the guide prints it for another one.
                "md5OfBody": digest(b"Test message."),
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:my-queue",
                "awsRegion": "us-east-1"
            })
        );
    }

    #[test]
    fn a_message_of_a_fifo_queue() {
        let message = ReceivedMessage {
            sequence_number: Some("18849496460467696128".to_owned()),
            group_id: Some("1".to_owned()),
            deduplication_id: Some("1".to_owned()),
            ..message()
        };
        let record = record(&QueueAddress::new(&Scope::default(), "q.fifo"), message);
        assert_eq!(record.group.as_deref(), Some("1"));
        assert_eq!(
            record.event["attributes"],
            json!({
                "ApproximateReceiveCount": "1",
                "SentTimestamp": "1545082649183",
                "SequenceNumber": "18849496460467696128",
                "MessageGroupId": "1",
                "SenderId": "AIDAIENQZJOLO23YVJ4VO",
                "MessageDeduplicationId": "1",
                "ApproximateFirstReceiveTimestamp": "1545082649185"
            })
        );
        assert_eq!(record.event["messageAttributes"], json!({}));
        assert!(record.event.get("md5OfMessageAttributes").is_none());
    }
}
