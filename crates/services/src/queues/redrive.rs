//! Where messages go that are received too often, and which queues may send them there.
//!
//! Source: "Using dead-letter queues in Amazon SQS", developer guide.

use crate::queues::QueueError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Sources that a policy names at most.
const SOURCES: usize = 10;

/// `RedrivePolicy` of a source queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedrivePolicy {
    /// ARN of the dead letter queue.
    pub dead_letter_target_arn: String,
    /// A message received so often is moved instead of being received again. 1 to 1,000.
    pub max_receive_count: u64,
}

impl RedrivePolicy {
    /// Reads the JSON text of the attribute. Whether there is such a queue is not asked.
    ///
    /// Fails with `InvalidParameterValue`.
    pub fn parse(text: &str) -> Result<Self, QueueError> {
        let refuse = |reason: &str| Err(QueueError::invalid(text, "RedrivePolicy", reason));
        let Ok(map) = serde_json::from_str::<Map<String, Value>>(text) else {
            return refuse("Redrive policy is not a valid JSON map.");
        };
        for name in ["maxReceiveCount", "deadLetterTargetArn"] {
            if !map.contains_key(name) {
                return refuse(&format!("Redrive policy does not contain mandatory attribute: {name}."));
            }
        }
        // Templates write the number as a text.
        let count = match &map["maxReceiveCount"] {
            Value::String(text) => text.parse().ok(),
            other => other.as_u64(),
        };
        let Some(max_receive_count) = count.filter(|count| (1..=1_000).contains(count)) else {
            let given = &map["maxReceiveCount"];
            return refuse(&format!(
                "Invalid value for maxReceiveCount: {}, valid values are from 1 to 1000 both inclusive.",
                given.as_str().map_or_else(|| given.to_string(), str::to_owned)
            ));
        };
        match map["deadLetterTargetArn"]
            .as_str()
            .filter(|arn| arn.starts_with("arn:") && arn.split(':').count() == 6)
        {
            Some(arn) => Ok(Self { dead_letter_target_arn: arn.to_owned(), max_receive_count }),
            None => refuse("Invalid value for deadLetterTargetArn."),
        }
    }

    /// As GetQueueAttributes prints it.
    pub fn print(&self) -> String {
        json!({"deadLetterTargetArn": self.dead_letter_target_arn, "maxReceiveCount": self.max_receive_count})
            .to_string()
    }
}

/// `RedriveAllowPolicy` of a dead letter queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RedriveAllowPolicy {
    /// Every queue of the account and region.
    AllowAll,
    /// None.
    DenyAll,
    /// Those with one of these ARNs.
    ByQueue(Vec<String>),
}

impl RedriveAllowPolicy {
    /// Reads the JSON text of the attribute. Fails with `InvalidAttributeValue`.
    pub fn parse(text: &str) -> Result<Self, QueueError> {
        let refuse = || {
            QueueError::InvalidAttributeValue(
                "Invalid value for the parameter RedriveAllowPolicy.".to_owned(),
            )
        };
        let map: Map<String, Value> = serde_json::from_str(text).map_err(|_| refuse())?;
        let sources = match map.get("sourceQueueArns") {
            None => None,
            Some(Value::Array(list)) => {
                let arns = list.iter().map(|arn| arn.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
                Some(arns.ok_or_else(refuse)?)
            }
            Some(_) => return Err(refuse()),
        };
        match (map.get("redrivePermission").and_then(Value::as_str), sources) {
            (Some("allowAll"), None) => Ok(Self::AllowAll),
            (Some("denyAll"), None) => Ok(Self::DenyAll),
            (Some("byQueue"), Some(arns)) if (1..=SOURCES).contains(&arns.len()) => Ok(Self::ByQueue(arns)),
            _ => Err(refuse()),
        }
    }

    /// As GetQueueAttributes prints it.
    pub fn print(&self) -> String {
        match self {
            Self::AllowAll => json!({"redrivePermission": "allowAll"}),
            Self::DenyAll => json!({"redrivePermission": "denyAll"}),
            Self::ByQueue(arns) => json!({"redrivePermission": "byQueue", "sourceQueueArns": arns}),
        }
        .to_string()
    }

    /// Whether the queue with this ARN may name the one that has the policy.
    pub fn allows(&self, source_arn: &str) -> bool {
        match self {
            Self::AllowAll => true,
            Self::DenyAll => false,
            Self::ByQueue(arns) => arns.iter().any(|arn| arn == source_arn),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redrive_policies() {
        let arn = "arn:aws:sqs:us-east-1:000000000000:dead";
        let good = format!(r#"{{"deadLetterTargetArn": "{arn}", "maxReceiveCount": "3"}}"#);
        let policy = RedrivePolicy::parse(&good).unwrap();
        assert_eq!(policy.print(), format!(r#"{{"deadLetterTargetArn":"{arn}","maxReceiveCount":3}}"#));
        let refused = |text: &str| RedrivePolicy::parse(text).unwrap_err().to_string();
        assert!(refused("[]").ends_with("Redrive policy is not a valid JSON map."));
        assert!(refused("{}").ends_with("mandatory attribute: maxReceiveCount."));
        assert!(refused(r#"{"maxReceiveCount":1}"#).ends_with("mandatory attribute: deadLetterTargetArn."));
        assert!(refused(&good.replace('3', "0")).contains("valid values are from 1 to 1000"));
        assert_eq!(
            refused(r#"{"deadLetterTargetArn": "dummy", "maxReceiveCount": 42}"#),
            "Value {\"deadLetterTargetArn\": \"dummy\", \"maxReceiveCount\": 42} for parameter RedrivePolicy is \
             invalid. Reason: Invalid value for deadLetterTargetArn."
        );
    }

    #[test]
    fn redrive_allow_policies() {
        assert!(RedriveAllowPolicy::parse(r#"{"redrivePermission":"allowAll"}"#).unwrap().allows("x"));
        assert!(!RedriveAllowPolicy::parse(r#"{"redrivePermission":"denyAll"}"#).unwrap().allows("x"));
        let by_queue = r#"{"redrivePermission":"byQueue","sourceQueueArns":["x"]}"#;
        let policy = RedriveAllowPolicy::parse(by_queue).unwrap();
        assert!(policy.allows("x") && !policy.allows("y"));
        assert_eq!(policy.print(), by_queue);
        for bad in [
            "",
            "{}",
            r#"{"redrivePermission":"byQueue"}"#,
            r#"{"redrivePermission":"denyAll","sourceQueueArns":["x"]}"#,
        ] {
            assert!(RedriveAllowPolicy::parse(bad).is_err(), "{bad}");
        }
    }
}
