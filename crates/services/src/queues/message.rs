//! What a message holds: body, attributes, and the hashes by which clients verify them.
//!
//! Source: "Amazon SQS message metadata", developer guide, with the calculation of the digest of attributes.

use crate::objects::checksum::hexadecimal;
use crate::queues::QueueError;
use crate::queues::settings::DELAY_SECONDS;
use lamplight_model::Timestamp;
use md5::{Digest as _, Md5};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Attributes of a message at most.
const ATTRIBUTES: usize = 10;
/// Characters of an attribute's name, and of its type.
const ATTRIBUTE_NAME: usize = 256;
/// Bytes of a trace header at most. AWS names no bound; a header of 32 functions in one chain has less than 600.
pub const TRACE_BYTES: usize = 1_024;
/// Characters of a group's or deduplication id.
const ID_LENGTH: usize = 128;

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttributeValue {
    /// Of type String or Number.
    Text(String),
    /// Of type Binary.
    Binary(#[serde(with = "base64_text")] Vec<u8>),
}

/// One attribute that a sender gives a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageAttribute {
    /// `String`, `Number` or `Binary`, perhaps with a label after a dot.
    pub data_type: String,
    /// Its value.
    pub value: AttributeValue,
}

/// The attributes of a message by their names.
pub type MessageAttributes = BTreeMap<String, MessageAttribute>;

/// A message to be sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewMessage {
    /// Its text.
    pub body: String,
    /// Its attributes.
    pub attributes: MessageAttributes,
    /// `AWSTraceHeader`.
    pub trace: Option<String>,
    /// Seconds until it is visible; the queue's when absent.
    pub delay_seconds: Option<i64>,
    /// Its group: required in FIFO queues.
    pub group_id: Option<String>,
    /// What makes it the same message as one sent in the last five minutes (FIFO).
    pub deduplication_id: Option<String>,
    /// `SenderId`.
    pub sender: String,
}

/// What is answered to a send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The message's id.
    pub message_id: String,
    /// In FIFO queues.
    pub sequence_number: Option<String>,
}

/// A message that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedMessage {
    /// Its id.
    pub message_id: String,
    /// Deletes it, or changes for how long it is invisible.
    pub receipt_handle: String,
    /// Its text.
    pub body: String,
    /// Its attributes.
    pub attributes: MessageAttributes,
    /// `AWSTraceHeader`.
    pub trace: Option<String>,
    /// `SenderId`.
    pub sender: String,
    /// When it was sent.
    pub sent: Timestamp,
    /// How often it was received and not deleted, in all queues it was in.
    pub receive_count: u64,
    /// When it was received first.
    pub first_received: Timestamp,
    /// In FIFO queues.
    pub sequence_number: Option<String>,
    /// Its group.
    pub group_id: Option<String>,
    /// In FIFO queues.
    pub deduplication_id: Option<String>,
    /// ARN of the queue whose dead letter it is.
    pub dead_letter_source: Option<String>,
}

/// MD5 in hexadecimal digits.
pub fn digest(bytes: &[u8]) -> String {
    hexadecimal(&Md5::digest(bytes))
}

/// `MD5OfMessageAttributes`; `None` for none.
pub fn attributes_digest<'a>(
    attributes: impl IntoIterator<Item = (&'a String, &'a MessageAttribute)>,
) -> Option<String> {
    let mut hash = Md5::new();
    let mut none = true;
    let add = |hash: &mut Md5, bytes: &[u8]| {
        hash.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        hash.update(bytes);
    };
    for (name, attribute) in attributes {
        none = false;
        add(&mut hash, name.as_bytes());
        add(&mut hash, attribute.data_type.as_bytes());
        let (kind, value) = match &attribute.value {
            AttributeValue::Text(text) => (1, text.as_bytes()),
            AttributeValue::Binary(bytes) => (2, bytes.as_slice()),
        };
        hash.update([kind]);
        add(&mut hash, value);
    }
    (!none).then(|| hexadecimal(&hash.finalize()))
}

impl NewMessage {
    /// Bytes of body and attributes: names, types and values. "The size of a message system attribute doesn't count towards the
    /// total size of a message" (API reference, "SendMessage").
    pub fn size(&self) -> u64 {
        let attributes: usize = self
            .attributes
            .iter()
            .map(|(name, attribute)| {
                let value = match &attribute.value {
                    AttributeValue::Text(text) => text.len(),
                    AttributeValue::Binary(bytes) => bytes.len(),
                };
                name.len() + attribute.data_type.len() + value
            })
            .sum();
        (self.body.len() + attributes) as u64
    }

    /// Checks what can be said without knowing the queue.
    ///
    /// Fails with `MissingParameter`, `InvalidMessageContents` or `InvalidParameterValue`.
    pub fn check(&self) -> Result<(), QueueError> {
        if self.body.is_empty() {
            return Err(QueueError::MissingParameter("MessageBody"));
        }
        if !self.body.chars().all(is_allowed) {
            return Err(QueueError::InvalidMessageContents(
                "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 \
                 to #xFFFD | #x10000 to #x10FFFF"
                    .to_owned(),
            ));
        }
        if self.attributes.len() > ATTRIBUTES {
            return Err(QueueError::InvalidParameterValue(format!(
                "Number of message attributes [{}] exceeds the allowed maximum [{ATTRIBUTES}].",
                self.attributes.len()
            )));
        }
        for (name, attribute) in &self.attributes {
            check_attribute(name, attribute)?;
        }
        if let Some(trace) = self.trace.as_ref().filter(|trace| trace.len() > TRACE_BYTES) {
            return Err(QueueError::InvalidParameterValue(format!(
                "Message system attribute 'AWSTraceHeader' of {} bytes is longer than {TRACE_BYTES} bytes.",
                trace.len()
            )));
        }
        if let Some(delay) = self.delay_seconds
            && !(0..=DELAY_SECONDS.cast_signed()).contains(&delay)
        {
            return Err(QueueError::invalid(delay, "DelaySeconds", "DelaySeconds must be >= 0 and <= 900."));
        }
        check_id("MessageGroupId", self.group_id.as_deref())?;
        check_id("MessageDeduplicationId", self.deduplication_id.as_deref())
    }
}

/// Source: SendMessage, "The following Unicode characters are allowed".
fn is_allowed(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..='\u{10FFFF}')
}

fn check_attribute(name: &str, attribute: &MessageAttribute) -> Result<(), QueueError> {
    let refuse = |text: String| Err(QueueError::InvalidParameterValue(text));
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    let dots = name.starts_with('.') || name.ends_with('.') || name.contains("..");
    if name.is_empty() || name.len() > ATTRIBUTE_NAME || !plain || dots {
        return refuse(format!(
            "Message (user) attribute name '{name}' is invalid: it can contain A-Z, a-z, 0-9, underscore (_), hyphen \
             (-), and period (.) characters, up to {ATTRIBUTE_NAME}, and no period at its ends or next to another."
        ));
    }
    let lower = name.to_ascii_lowercase();
    if lower.starts_with("aws.") || lower.starts_with("amazon.") {
        return refuse(
            "You can't use message attribute names beginning with 'AWS.' or 'Amazon.'. These strings are reserved for \
             internal use."
                .to_owned(),
        );
    }
    check_value("Message (user) attribute", name, attribute)
}

/// Checks type and value of an attribute; `kind` begins the text of the refusal.
///
/// Fails with `InvalidParameterValue`.
pub fn check_value(kind: &str, name: &str, attribute: &MessageAttribute) -> Result<(), QueueError> {
    let refuse = |text: String| Err(QueueError::InvalidParameterValue(text));
    let base = attribute.data_type.split('.').next().unwrap_or_default();
    let supported = matches!(base, "String" | "Number" | "Binary");
    if !supported || attribute.data_type.len() > ATTRIBUTE_NAME {
        return refuse(format!(
            "{kind} '{name}' has an invalid message attribute type, the set of supported type prefixes is Binary, \
             Number, and String."
        ));
    }
    match &attribute.value {
        AttributeValue::Text(text) if base != "Binary" && !text.is_empty() => {
            if !text.chars().all(is_allowed) {
                return refuse(format!("{kind} '{name}' contains characters that a message cannot hold."));
            }
            if base == "Number" && !text.trim().parse::<f64>().is_ok_and(f64::is_finite) {
                return refuse(format!(
                    "Can't cast the value of {} '{name}' to a number.",
                    kind.to_lowercase()
                ));
            }
            Ok(())
        }
        AttributeValue::Binary(bytes) if base == "Binary" && !bytes.is_empty() => Ok(()),
        _ => refuse(format!("{kind} '{name}' must contain a non-empty value of type '{base}'.")),
    }
}

/// Letters, digits and punctuation, 1 to 128.
pub(crate) fn check_id(parameter: &'static str, id: Option<&str>) -> Result<(), QueueError> {
    match id {
        Some(id)
            if id.is_empty() || id.len() > ID_LENGTH || !id.bytes().all(|byte| byte.is_ascii_graphic()) =>
        {
            Err(QueueError::invalid(
                id,
                parameter,
                &format!(
                    "{parameter} can only include alphanumeric and punctuation characters. 1 to {ID_LENGTH} in length."
                ),
            ))
        }
        _ => Ok(()),
    }
}

/// Bytes as text in stored attributes.
mod base64_text {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(data_type: &str, value: &str) -> MessageAttribute {
        MessageAttribute { data_type: data_type.to_owned(), value: AttributeValue::Text(value.to_owned()) }
    }

    fn with(name: &str, attribute: MessageAttribute) -> NewMessage {
        let attributes = BTreeMap::from([(name.to_owned(), attribute)]);
        NewMessage { body: "b".to_owned(), attributes, ..NewMessage::default() }
    }

    /// The digests are those that AWS answered to these attributes (recorded by public conformance tests).
    #[test]
    fn digests_of_attributes() {
        let hello = ("Hello".to_owned(), text("String", "There"));
        let general = ("General".to_owned(), text("String", "Kenobi"));
        let help = ("Help.Me".to_owned(), text("String", "Me"));
        let check = |attributes: &[&(String, MessageAttribute)], expected: &str| {
            let map: MessageAttributes = attributes.iter().map(|pair| (*pair).clone()).collect();
            assert_eq!(attributes_digest(&map).as_deref(), Some(expected));
        };
        check(&[&hello], "a311262e065454b75da111d535b8dacd");
        check(&[&hello, &general], "fca026605781cb4126a1e9044df24232");
        check(&[&hello, &general, &help], "4c360f3fdafd970e05fae2f149d997f5");
        let bytes = b"traceparent\x1e00-774062d6c37081a5a0b9b5b88e30627c-2d2482211f6489da-01".to_vec();
        let binary =
            MessageAttribute { data_type: "Binary".to_owned(), value: AttributeValue::Binary(bytes) };
        check(&[&("attr1".to_owned(), binary)], "8cbe4db156db8a94db8b801b7addb984");
        assert_eq!(attributes_digest(&MessageAttributes::new()), None);
    }

    #[test]
    fn attributes_that_are_refused() {
        assert!(with("a.b-c_1", text("String.label", "x")).check().is_ok());
        assert!(with("a", text("Number", "-1.5e3")).check().is_ok());
        for name in ["", ".a", "a.", "a..b", "a b", "AWS.x", "amazon.x", "ü", &"a".repeat(257)] {
            assert!(with(name, text("String", "x")).check().is_err(), "{name}");
        }
        for attribute in [
            text("Text", "x"),
            text("", "x"),
            text("Binary", "x"),
            text("Number", "x"),
            text("String", "\u{1}"),
        ] {
            assert!(with("a", attribute.clone()).check().is_err(), "{attribute:?}");
        }
        assert_eq!(
            with("ErrorDetails", text("String", "")).check().unwrap_err().to_string(),
            "Message (user) attribute 'ErrorDetails' must contain a non-empty value of type 'String'."
        );
    }

    #[test]
    fn traces_are_bounded() {
        let check = |bytes: usize| {
            let trace = Some("x".repeat(bytes));
            NewMessage { body: "b".to_owned(), trace, ..NewMessage::default() }.check()
        };
        assert!(check(TRACE_BYTES).is_ok());
        assert!(matches!(check(TRACE_BYTES + 1), Err(QueueError::InvalidParameterValue(_))));
    }

    #[test]
    fn bodies() {
        let check =
            |body: &str| NewMessage { body: body.to_owned(), ..NewMessage::default() }.check().is_ok();
        assert!(check("\t\r\n \u{e000}\u{10ffff}ü"));
        assert!(!check("") && !check("a\u{0}") && !check("a\u{b}") && !check("\u{ffff}"));
    }
}
