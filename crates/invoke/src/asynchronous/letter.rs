//! Reads messages of a queue as letters: events that were given up. Pure.
//!
//! Two kinds of messages are such letters: what a dead letter queue gets (the event is the body, `RequestID` an attribute), and
//! the record that an OnFailure destination gets (`requestPayload`, `requestContext`).

use crate::asynchronous::destination::SUCCESS;
use crate::asynchronous::letters::REQUEST_ID;
use crate::asynchronous::options::FunctionDestination;
use bytes::Bytes;
use lamplight_model::RequestId;
use lamplight_services::queues::{AttributeValue, ReceivedMessage};
use serde::Deserialize;
use serde_json::value::RawValue;

/// An event that was given up, as far as its message tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Its request id.
    pub request_id: RequestId,
    /// The function it was for; a dead letter queue's message does not say.
    pub target: Option<FunctionDestination>,
    /// The event; `None` when it was too large for the record.
    pub payload: Option<Bytes>,
}

/// Reads a message. The error says why it is no letter.
pub fn read(message: &ReceivedMessage) -> Result<Letter, String> {
    if let Some(attribute) = message.attributes.get(REQUEST_ID) {
        let AttributeValue::Text(text) = &attribute.value else {
            return Err("its attribute RequestID is no text".to_owned());
        };
        let request_id = id(text).ok_or_else(|| format!("its RequestID '{text}' is no request id"))?;
        let payload = Some(Bytes::from(message.body.clone().into_bytes()));
        return Ok(Letter { request_id, target: None, payload });
    }
    let Ok(record) = serde_json::from_str::<Record>(&message.body) else {
        return Err("it is neither a dead letter nor the record of a failure".to_owned());
    };
    if record.request_context.condition == SUCCESS {
        return Err("it is the record of a success".to_owned());
    }
    let context = record.request_context;
    let request_id =
        id(&context.request_id).ok_or_else(|| format!("its requestId '{}' is none", context.request_id))?;
    let target = FunctionDestination::parse(&context.function_arn)
        .ok_or_else(|| format!("its functionArn '{}' names no function", context.function_arn))?;
    let payload = record.request_payload.map(|payload| Bytes::from(payload.get().to_owned().into_bytes()));
    Ok(Letter { request_id, target: Some(target), payload })
}

fn id(text: &str) -> Option<RequestId> {
    uuid::Uuid::try_parse(text).ok().map(RequestId)
}

/// What is read of a record; the rest is of no use here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    request_context: Context,
    request_payload: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Context {
    request_id: String,
    function_arn: String,
    condition: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplight_model::Timestamp;
    use lamplight_services::queues::{MessageAttribute, MessageAttributes};
    use serde_json::json;

    const ID: &str = "7f0b3a53-0000-4000-8000-000000000001";
    const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:import:live";

    fn message(body: &str, request_id: Option<&str>) -> ReceivedMessage {
        let attributes = request_id.map(|id| {
            let value = AttributeValue::Text(id.to_owned());
            (REQUEST_ID.to_owned(), MessageAttribute { data_type: "String".to_owned(), value })
        });
        ReceivedMessage {
            message_id: "m".to_owned(),
            receipt_handle: "h".to_owned(),
            body: body.to_owned(),
            attributes: attributes.into_iter().collect::<MessageAttributes>(),
            trace: None,
            sender: "s".to_owned(),
            sent: Timestamp(0),
            receive_count: 1,
            first_received: Timestamp(0),
            sequence_number: None,
            group_id: None,
            deduplication_id: None,
            dead_letter_source: None,
        }
    }

    #[test]
    fn a_dead_letter_is_the_event_itself() {
        let letter = read(&message("{\"n\": 1.0}", Some(ID))).unwrap();
        assert_eq!(letter.request_id.to_string(), ID);
        assert_eq!((letter.target, letter.payload.as_deref()), (None, Some(b"{\"n\": 1.0}".as_slice())));
    }

    #[test]
    fn a_record_of_a_failure_tells_function_and_payload_to_the_last_digit() {
        let context = json!({"requestId": ID, "functionArn": ARN, "condition": "RetriesExhausted"});
        let body =
            format!("{{\"version\":\"1.0\",\"requestContext\":{context},\"requestPayload\":{{\"n\": 1.0}}}}");
        let letter = read(&message(&body, None)).unwrap();
        assert_eq!(letter.target, FunctionDestination::parse(ARN));
        assert_eq!(letter.payload.as_deref(), Some(b"{\"n\": 1.0}".as_slice()));
        let without = format!("{{\"requestContext\":{context}}}");
        assert_eq!(read(&message(&without, None)).unwrap().payload, None);
    }

    #[test]
    fn what_is_no_letter_is_said() {
        let success =
            json!({"requestContext": {"requestId": ID, "functionArn": ARN, "condition": "Success"}});
        let wrong =
            json!({"requestContext": {"requestId": ID, "functionArn": "arn:aws:sqs:x", "condition": "c"}});
        for (body, id, expected) in [
            ("hello", None, "neither a dead letter nor the record of a failure"),
            ("{}", None, "neither a dead letter nor the record of a failure"),
            ("{}", Some("1"), "its RequestID '1' is no request id"),
            (&success.to_string(), None, "the record of a success"),
            (&wrong.to_string(), None, "its functionArn 'arn:aws:sqs:x' names no function"),
        ] {
            let why = read(&message(body, id)).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
    }
}
