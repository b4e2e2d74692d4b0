//! Operations on one message, and ReceiveMessage.

use super::{Request, error};
use crate::http::{ApiError, Members};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lamplight_services::queues::{
    AttributeValue, MessageAttribute, MessageAttributes, NewMessage, QueueError, Receive, ReceivedMessage,
    Sent, TRACE_BYTES, attributes_digest, check_value, digest,
};
use serde_json::{Map, Value, json};

/// The system attribute that a sender may set.
const TRACE: &str = "AWSTraceHeader";
/// The header of a request by which its trace goes on.
const TRACE_HEADER: &str = "x-amzn-trace-id";

/// SendMessage.
pub async fn send(request: &Request<'_>) -> Result<Value, ApiError> {
    let address = request.queue().await?;
    let message = new_message(request, request.members)?;
    let hashes = Hashes::of(&message);
    let message = traced(request, message);
    let sent = request.state.queues.send(&address, vec![message]).await?;
    match sent.into_iter().next() {
        Some(sent) => Ok(hashes.with(&sent?).into()),
        None => Err(QueueError::QueueDoesNotExist.into()),
    }
}

/// The message in the members of SendMessage, or of an entry of SendMessageBatch.
pub fn new_message(request: &Request<'_>, members: &Members<'_>) -> Result<NewMessage, ApiError> {
    let mut trace = None;
    for (name, attribute) in attributes(members, "MessageSystemAttributes")? {
        if name != TRACE {
            return Err(error::invalid(format!("Message system attribute name '{name}' is invalid.")));
        }
        check_value("Message system attribute", &name, &attribute)?;
        match attribute.value {
            AttributeValue::Text(text) if attribute.data_type == "String" => trace = Some(text),
            _ => {
                return Err(error::invalid(format!(
                    "Message system attribute '{name}' must be of type 'String'."
                )));
            }
        }
    }
    Ok(NewMessage {
        body: members.string("MessageBody")?.unwrap_or_default(),
        attributes: attributes(members, "MessageAttributes")?,
        trace,
        delay_seconds: members.integer("DelaySeconds")?,
        group_id: members.string("MessageGroupId")?,
        deduplication_id: members.string("MessageDeduplicationId")?,
        sender: request.sender(),
    })
}

/// The message with the trace of the request that sends it, where the message says none: SQS keeps that as `AWSTraceHeader`,
/// and so a function that is invoked for it goes on with the trace.
///
/// Source: X-Ray developer guide, "Amazon SQS and AWS X-Ray".
pub fn traced(request: &Request<'_>, message: NewMessage) -> NewMessage {
    let of_request = || request.context.header(TRACE_HEADER).filter(|trace| trace.len() <= TRACE_BYTES);
    let trace = message.trace.or_else(|| of_request().map(str::to_owned));
    NewMessage { trace, ..message }
}

fn attributes(members: &Members<'_>, name: &str) -> Result<MessageAttributes, ApiError> {
    let mut attributes = MessageAttributes::new();
    for (name, value) in members.object_map(name)?.unwrap_or_default() {
        let data_type = value.string("DataType")?.unwrap_or_default();
        let value = match (value.string("StringValue")?, value.text("BinaryValue")?) {
            (Some(text), None) => AttributeValue::Text(text),
            (None, Some(encoded)) => {
                AttributeValue::Binary(STANDARD.decode(encoded.as_bytes()).map_err(|_| {
                    ApiError::serialization(format!("The value of message attribute '{name}' is not base64."))
                })?)
            }
            (None, None) => AttributeValue::Text(String::new()),
            (Some(_), Some(_)) => {
                return Err(error::invalid(format!(
                    "Message (user) attribute '{name}' has more than one value."
                )));
            }
        };
        attributes.insert(name, MessageAttribute { data_type, value });
    }
    Ok(attributes)
}

/// By which the client verifies what arrived.
pub struct Hashes {
    body: String,
    attributes: Option<String>,
    system_attributes: Option<String>,
}

impl Hashes {
    /// Of a message before it is sent.
    pub fn of(message: &NewMessage) -> Self {
        let trace = message.trace.as_ref().map(|trace| {
            let value = AttributeValue::Text(trace.clone());
            MessageAttributes::from([(
                TRACE.to_owned(),
                MessageAttribute { data_type: "String".to_owned(), value },
            )])
        });
        Self {
            body: digest(message.body.as_bytes()),
            attributes: attributes_digest(&message.attributes),
            system_attributes: trace.and_then(|trace| attributes_digest(&trace)),
        }
    }

    /// The members of the answer.
    pub fn with(self, sent: &Sent) -> Map<String, Value> {
        let mut answer = Map::new();
        let mut set = |name: &str, value: Option<String>| {
            answer.extend(value.map(|value| (name.to_owned(), value.into())));
        };
        set("MessageId", Some(sent.message_id.clone()));
        set("MD5OfMessageBody", Some(self.body));
        set("MD5OfMessageAttributes", self.attributes);
        set("MD5OfMessageSystemAttributes", self.system_attributes);
        set("SequenceNumber", sent.sequence_number.clone());
        answer
    }
}

/// ReceiveMessage.
pub async fn receive(request: &Request<'_>) -> Result<Value, ApiError> {
    let address = request.queue().await?;
    let members = request.members;
    let mut system = members.strings("AttributeNames")?.unwrap_or_default();
    system.extend(members.strings("MessageSystemAttributeNames")?.unwrap_or_default());
    if let Some(unknown) = system.iter().find(|name| !SYSTEM_ATTRIBUTES.contains(&name.as_str())) {
        return Err(error::new("InvalidAttributeName", format!("Unknown Attribute {unknown}.")));
    }
    let user = members.strings("MessageAttributeNames")?.unwrap_or_default();
    let asked = Receive {
        messages: members.integer("MaxNumberOfMessages")?,
        visibility_timeout: members.integer("VisibilityTimeout")?,
        wait: members.integer("WaitTimeSeconds")?,
        attempt_id: members.string("ReceiveRequestAttemptId")?,
    };
    let received = request.state.queues.receive(&address, asked).await?;
    if received.is_empty() {
        return Ok(json!({}));
    }
    let messages: Vec<Value> = received.iter().map(|message| print(message, &system, &user)).collect();
    Ok(json!({"Messages": messages}))
}

/// `MessageSystemAttributeName` of the service model.
const SYSTEM_ATTRIBUTES: &[&str] = &[
    "All",
    "SenderId",
    "SentTimestamp",
    "ApproximateReceiveCount",
    "ApproximateFirstReceiveTimestamp",
    "SequenceNumber",
    "MessageDeduplicationId",
    "MessageGroupId",
    TRACE,
    "DeadLetterQueueSourceArn",
];

fn print(message: &ReceivedMessage, system: &[String], user: &[String]) -> Value {
    let mut printed = Map::new();
    let mut set = |name: &str, value: Value| printed.insert(name.to_owned(), value);
    set("MessageId", message.message_id.as_str().into());
    set("ReceiptHandle", message.receipt_handle.as_str().into());
    set("MD5OfBody", digest(message.body.as_bytes()).into());
    set("Body", message.body.as_str().into());
    let system = system_attributes(message, system);
    if !system.is_empty() {
        set("Attributes", system.into());
    }
    // The hash is of what is given, not of what was sent.
    let chosen: Vec<_> = message.attributes.iter().filter(|(name, _)| is_wanted(name, user)).collect();
    if let Some(hash) = attributes_digest(chosen.iter().copied()) {
        set("MD5OfMessageAttributes", hash.into());
        let attributes: Map<String, Value> = chosen
            .into_iter()
            .map(|(name, attribute)| {
                let (member, value) = match &attribute.value {
                    AttributeValue::Text(text) => ("StringValue", text.clone()),
                    AttributeValue::Binary(bytes) => ("BinaryValue", STANDARD.encode(bytes)),
                };
                (name.clone(), json!({member: value, "DataType": attribute.data_type}))
            })
            .collect();
        set("MessageAttributes", attributes.into());
    }
    printed.into()
}

fn system_attributes(message: &ReceivedMessage, wanted: &[String]) -> Map<String, Value> {
    let all = [
        ("SenderId", Some(message.sender.clone())),
        ("SentTimestamp", Some(message.sent.as_millis().to_string())),
        ("ApproximateReceiveCount", Some(message.receive_count.to_string())),
        ("ApproximateFirstReceiveTimestamp", Some(message.first_received.as_millis().to_string())),
        ("SequenceNumber", message.sequence_number.clone()),
        ("MessageDeduplicationId", message.deduplication_id.clone()),
        ("MessageGroupId", message.group_id.clone()),
        (TRACE, message.trace.clone()),
        ("DeadLetterQueueSourceArn", message.dead_letter_source.clone()),
    ];
    let everything = wanted.iter().any(|name| name == "All");
    all.into_iter()
        .filter(|(name, _)| everything || wanted.iter().any(|wanted| wanted == name))
        .filter_map(|(name, value)| Some((name.to_owned(), value?.into())))
        .collect()
}

/// `All`, `.*`, a name, or the beginning of names before `.*`.
fn is_wanted(name: &str, wanted: &[String]) -> bool {
    wanted.iter().any(|wanted| {
        matches!(wanted.as_str(), "All" | "*")
            || wanted == name
            || wanted.strip_suffix(".*").is_some_and(|prefix| name.starts_with(prefix))
    })
}

/// DeleteMessage.
pub async fn delete(request: &Request<'_>) -> Result<Value, ApiError> {
    let address = request.queue().await?;
    let handle = request.required("ReceiptHandle")?;
    for result in request.state.queues.delete(&address, vec![handle]).await? {
        result?;
    }
    Ok(Value::Null)
}

/// ChangeMessageVisibility.
pub async fn change_visibility(request: &Request<'_>) -> Result<Value, ApiError> {
    let address = request.queue().await?;
    let handle = request.required("ReceiptHandle")?;
    let timeout =
        request.members.integer("VisibilityTimeout")?.ok_or_else(|| error::missing("VisibilityTimeout"))?;
    for result in request.state.queues.change_visibility(&address, vec![(handle, timeout)]).await? {
        result?;
    }
    Ok(Value::Null)
}
