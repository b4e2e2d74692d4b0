//! The attributes of a queue that can be set: their bounds, their defaults, how they are printed.
//!
//! Source: CreateQueue and SetQueueAttributes of the SQS API reference; texts as AWS's recorded answers have them.

use crate::queues::QueueError;
use crate::queues::redrive::{RedriveAllowPolicy, RedrivePolicy};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Bytes of a message at most: 1 MiB.
pub const MESSAGE_BYTES: u64 = 1 << 20;
/// Longest visibility timeout, seconds: 12 hours.
pub const VISIBILITY_SECONDS: u64 = 43_200;
/// Longest delay, seconds.
pub const DELAY_SECONDS: u64 = 900;
/// Longest wait of a receive, seconds.
pub const WAIT_SECONDS: u64 = 20;
/// Bytes of a policy document.
const POLICY_BYTES: usize = 20_480;

/// What can be set, in the order in which differences are looked for.
const NAMES: &[&str] = &[
    "DelaySeconds",
    "MaximumMessageSize",
    "MessageRetentionPeriod",
    "Policy",
    "ReceiveMessageWaitTimeSeconds",
    "VisibilityTimeout",
    "RedrivePolicy",
    "RedriveAllowPolicy",
    "KmsMasterKeyId",
    "KmsDataKeyReusePeriodSeconds",
    "SqsManagedSseEnabled",
    "FifoQueue",
    "ContentBasedDeduplication",
    "DeduplicationScope",
    "FifoThroughputLimit",
];

/// What is kept of a queue's attributes. Numbers of time are seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Whether it is a FIFO queue. Never changes.
    pub fifo: bool,
    /// Delay of messages that name none.
    pub delay_seconds: u64,
    /// Bytes of a message, its attributes included.
    pub maximum_message_size: u64,
    /// How long a message is kept.
    pub message_retention_period: u64,
    /// How long a receive waits that says nothing.
    pub receive_message_wait_time_seconds: u64,
    /// How long a received message is invisible when the receive says nothing.
    pub visibility_timeout: u64,
    /// The policy document. Kept and printed; `authorize` decides who may do what.
    pub policy: Option<String>,
    /// Where messages go that are received too often.
    pub redrive_policy: Option<RedrivePolicy>,
    /// Whose dead letters are taken.
    pub redrive_allow_policy: Option<RedriveAllowPolicy>,
    /// Printed as it was set. Messages are not encrypted on the disk: the host protects it.
    pub sqs_managed_sse_enabled: bool,
    /// Whether the hash of a body stands in for a deduplication id (FIFO).
    pub content_based_deduplication: bool,
    /// Whether deduplication looks at the message's group only (FIFO).
    pub deduplication_by_group: bool,
    /// Whether the throughput limit is of groups (FIFO). There is none here.
    pub throughput_by_group: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            fifo: false,
            delay_seconds: 0,
            maximum_message_size: MESSAGE_BYTES,
            message_retention_period: 345_600,
            receive_message_wait_time_seconds: 0,
            visibility_timeout: 30,
            policy: None,
            redrive_policy: None,
            redrive_allow_policy: None,
            // AWS encrypts by default. Messages are not encrypted here, and no queue says so unasked.
            sqs_managed_sse_enabled: false,
            content_based_deduplication: false,
            deduplication_by_group: false,
            throughput_by_group: false,
        }
    }
}

impl Settings {
    /// The settings of a new queue. Fails with `InvalidAttributeName` or `InvalidAttributeValue`.
    pub fn of_new_queue(given: &BTreeMap<String, String>) -> Result<Self, QueueError> {
        let mut settings = Self::default();
        if let Some(fifo) = given.get("FifoQueue") {
            // AWS takes `true` only; a standard queue does not have the attribute.
            match fifo.as_str() {
                "true" => settings.fifo = true,
                "false" => return Err(unknown("FifoQueue")),
                _ => return Err(invalid("FifoQueue")),
            }
        }
        settings.apply(given.iter().filter(|(name, _)| *name != "FifoQueue"))?;
        Ok(settings)
    }

    /// The settings after a change. Fails as `of_new_queue`.
    pub fn changed(&self, given: &BTreeMap<String, String>) -> Result<Self, QueueError> {
        let mut settings = self.clone();
        settings.apply(given.iter())?;
        Ok(settings)
    }

    fn apply<'a>(&mut self, given: impl Iterator<Item = (&'a String, &'a String)>) -> Result<(), QueueError> {
        for (name, value) in given {
            self.set(name, value)?;
        }
        if self.throughput_by_group && !self.deduplication_by_group {
            return Err(invalid("FifoThroughputLimit"));
        }
        Ok(())
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), QueueError> {
        match name {
            "DelaySeconds" => self.delay_seconds = number(name, value, 0..=DELAY_SECONDS)?,
            "MaximumMessageSize" => self.maximum_message_size = number(name, value, 1_024..=MESSAGE_BYTES)?,
            "MessageRetentionPeriod" => self.message_retention_period = number(name, value, 60..=1_209_600)?,
            "ReceiveMessageWaitTimeSeconds" => {
                self.receive_message_wait_time_seconds = number(name, value, 0..=WAIT_SECONDS)?;
            }
            "VisibilityTimeout" => self.visibility_timeout = number(name, value, 0..=VISIBILITY_SECONDS)?,
            "Policy" => self.policy = document(name, value)?,
            "RedrivePolicy" => {
                self.redrive_policy = given(value).map(RedrivePolicy::parse).transpose()?;
            }
            "RedriveAllowPolicy" => {
                self.redrive_allow_policy = given(value).map(RedriveAllowPolicy::parse).transpose()?;
            }
            "SqsManagedSseEnabled" => self.sqs_managed_sse_enabled = boolean(name, value)?,
            "KmsMasterKeyId" if value.is_empty() => {}
            "KmsMasterKeyId" => {
                return Err(QueueError::UnsupportedOperation(
                    "Lamplight has no key management service, so KmsMasterKeyId cannot be set.".to_owned(),
                ));
            }
            // It says how long a key of KMS is used, and there is none.
            "KmsDataKeyReusePeriodSeconds" => {
                number(name, value, 60..=86_400)?;
            }
            "FifoQueue" if self.fifo && value == "true" => {}
            "FifoQueue" if self.fifo => {
                return Err(QueueError::InvalidAttributeValue(
                    "Invalid value for the parameter FifoQueue. Reason: Modifying queue type is not supported."
                        .to_owned(),
                ));
            }
            "ContentBasedDeduplication" if self.fifo => {
                self.content_based_deduplication = boolean(name, value)?;
            }
            "DeduplicationScope" if self.fifo => {
                self.deduplication_by_group = choice(name, value, "queue", "messageGroup")?;
            }
            "FifoThroughputLimit" if self.fifo => {
                self.throughput_by_group = choice(name, value, "perQueue", "perMessageGroupId")?;
            }
            _ => return Err(unknown(name)),
        }
        Ok(())
    }

    /// The first attribute of `given` that has another value here.
    pub fn difference(&self, given: &Settings, names: &BTreeMap<String, String>) -> Option<&'static str> {
        let (mine, theirs) = (self.print(), given.print());
        NAMES.iter().copied().find(|name| names.contains_key(*name) && mine.get(name) != theirs.get(name))
    }

    /// Every attribute that has a value, as GetQueueAttributes prints them.
    pub fn print(&self) -> BTreeMap<&'static str, String> {
        let mut printed = BTreeMap::from([
            ("DelaySeconds", self.delay_seconds.to_string()),
            ("MaximumMessageSize", self.maximum_message_size.to_string()),
            ("MessageRetentionPeriod", self.message_retention_period.to_string()),
            ("ReceiveMessageWaitTimeSeconds", self.receive_message_wait_time_seconds.to_string()),
            ("VisibilityTimeout", self.visibility_timeout.to_string()),
            ("SqsManagedSseEnabled", self.sqs_managed_sse_enabled.to_string()),
        ]);
        if let Some(policy) = &self.policy {
            printed.insert("Policy", policy.clone());
        }
        if let Some(policy) = &self.redrive_policy {
            printed.insert("RedrivePolicy", policy.print());
        }
        if let Some(policy) = &self.redrive_allow_policy {
            printed.insert("RedriveAllowPolicy", policy.print());
        }
        if self.fifo {
            let by_group =
                |by_group, no: &str, yes: &str| if by_group { yes.to_owned() } else { no.to_owned() };
            printed.insert("FifoQueue", "true".to_owned());
            printed.insert("ContentBasedDeduplication", self.content_based_deduplication.to_string());
            printed
                .insert("DeduplicationScope", by_group(self.deduplication_by_group, "queue", "messageGroup"));
            printed.insert(
                "FifoThroughputLimit",
                by_group(self.throughput_by_group, "perQueue", "perMessageGroupId"),
            );
        }
        printed
    }
}

/// An empty text takes a policy away.
fn given(value: &str) -> Option<&str> {
    (!value.is_empty()).then_some(value)
}

fn number(name: &str, value: &str, range: RangeInclusive<u64>) -> Result<u64, QueueError> {
    value.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| invalid(name))
}

fn boolean(name: &str, value: &str) -> Result<bool, QueueError> {
    choice(name, &value.to_ascii_lowercase(), "false", "true")
}

/// Whether `value` is `yes`; anything but `yes` and `no` is refused.
fn choice(name: &str, value: &str, no: &str, yes: &str) -> Result<bool, QueueError> {
    if value != no && value != yes {
        return Err(invalid(name));
    }
    Ok(value == yes)
}

fn document(name: &str, value: &str) -> Result<Option<String>, QueueError> {
    if value.is_empty() {
        return Ok(None);
    }
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(value) {
        Ok(_) if value.len() <= POLICY_BYTES => Ok(Some(value.to_owned())),
        _ => Err(invalid(name)),
    }
}

fn invalid(name: &str) -> QueueError {
    QueueError::InvalidAttributeValue(format!("Invalid value for the parameter {name}."))
}

fn unknown(name: &str) -> QueueError {
    QueueError::InvalidAttributeName(format!("Unknown Attribute {name}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn bounds_of_every_number() {
        let bounds = [
            ("DelaySeconds", 0, 900),
            ("MaximumMessageSize", 1_024, 1_048_576),
            ("MessageRetentionPeriod", 60, 1_209_600),
            ("ReceiveMessageWaitTimeSeconds", 0, 20),
            ("VisibilityTimeout", 0, 43_200),
        ];
        for (name, least, most) in bounds {
            for good in [least, most] {
                let settings = Settings::of_new_queue(&given(&[(name, &good.to_string())])).unwrap();
                assert_eq!(settings.print()[name], good.to_string());
            }
            for bad in [(least - 1).to_string(), (most + 1).to_string(), String::new(), "1.5".to_owned()] {
                let refused = Settings::of_new_queue(&given(&[(name, &bad)])).unwrap_err();
                assert_eq!(refused.to_string(), format!("Invalid value for the parameter {name}."), "{bad}");
            }
        }
    }

    #[test]
    fn attributes_of_fifo_queues_only() {
        for name in ["ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit"] {
            let refused = Settings::of_new_queue(&given(&[(name, "true")])).unwrap_err();
            assert_eq!(refused.to_string(), format!("Unknown Attribute {name}."));
        }
        let fifo = Settings::of_new_queue(&given(&[("FifoQueue", "true")])).unwrap();
        assert_eq!(fifo.print()["DeduplicationScope"], "queue");
        let high =
            given(&[("FifoThroughputLimit", "perMessageGroupId"), ("DeduplicationScope", "messageGroup")]);
        assert!(fifo.changed(&high).unwrap().throughput_by_group);
        assert!(fifo.changed(&given(&[("FifoThroughputLimit", "perMessageGroupId")])).is_err());
        assert!(fifo.changed(&given(&[("FifoQueue", "false")])).is_err());
    }

    #[test]
    fn a_difference_is_found_among_what_is_given() {
        let stored = Settings::of_new_queue(&given(&[("DelaySeconds", "5")])).unwrap();
        let asked = given(&[("DelaySeconds", "6"), ("VisibilityTimeout", "30")]);
        let other = Settings::of_new_queue(&asked).unwrap();
        assert_eq!(stored.difference(&other, &asked), Some("DelaySeconds"));
        assert_eq!(stored.difference(&Settings::default(), &BTreeMap::new()), None);
    }
}
