//! Event source mappings: what is polled, for which function, and how what comes becomes its events.
//!
//! The front door writes a mapping down in a state that asks for a transition; who polls carries it out and writes the state
//! that rests (`settled`).
//!
//! ```text
//!  Creating ──► Enabled | Disabled ◄── Enabling, Disabling, Updating          Deleting ──► gone
//! ```

use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Kind of the documents that hold mappings; the key is the UUID.
pub const KIND: &str = "event-source-mapping";
/// Kind of the documents that hold `LastResult`, under the same keys. A mapping that has always worked has none.
pub const RESULT_KIND: &str = "event-source-mapping-result";

/// `State` of a mapping. The names are AWS's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum MappingState {
    Creating,
    Enabling,
    Enabled,
    Disabling,
    Disabled,
    Updating,
    Deleting,
}

impl MappingState {
    /// As the API prints it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Creating => "Creating",
            Self::Enabling => "Enabling",
            Self::Enabled => "Enabled",
            Self::Disabling => "Disabling",
            Self::Disabled => "Disabled",
            Self::Updating => "Updating",
            Self::Deleting => "Deleting",
        }
    }

    /// Whether it stays as it is until somebody asks for something else.
    pub fn is_at_rest(self) -> bool {
        matches!(self, Self::Enabled | Self::Disabled)
    }
}

/// `ProvisionedPollerConfig`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProvisionedPollers {
    /// How many there are always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_pollers: Option<u32>,
    /// How many there are at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum_pollers: Option<u32>,
}

/// A mapping as it is stored. Members that AWS prints have the API's names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct EventSourceMapping {
    /// Its id.
    #[serde(rename = "UUID")]
    pub uuid: String,
    /// What is polled.
    pub event_source_arn: String,
    /// What is invoked; qualified only when the request was.
    pub function_arn: String,
    /// Records of one event at most.
    pub batch_size: u32,
    /// For how long records are gathered, seconds.
    pub maximum_batching_window_in_seconds: u32,
    /// `ReportBatchItemFailures` when the function says which records failed.
    pub function_response_types: Vec<String>,
    /// Patterns of which a record must fit one. Empty: all records are wanted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<String>,
    /// Events under way at once, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum_concurrency: Option<u32>,
    /// Pollers that are there without load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioned_pollers: Option<ProvisionedPollers>,
    /// Groups of metrics that are counted: `EventCount`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Vec<String>>,
    /// Kept for those who read it; filters are not encrypted apart from the rest.
    #[serde(rename = "KMSKeyArn", default, skip_serializing_if = "Option::is_none")]
    pub kms_key_arn: Option<String>,
    /// Its tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Whether it is to be polled.
    pub enabled: bool,
    /// Where it stands.
    pub state: MappingState,
    /// When it was changed, or its state did.
    pub last_modified: Timestamp,
    /// Another one at every write.
    pub revision_id: String,
}

impl EventSourceMapping {
    /// The state that carries out what is asked for, if one does: where a transition ends. `None` for a mapping that rests,
    /// and for one that is to be deleted.
    pub fn settled(&self) -> Option<MappingState> {
        match self.state {
            MappingState::Enabled | MappingState::Disabled | MappingState::Deleting => None,
            _ if self.enabled => Some(MappingState::Enabled),
            _ => Some(MappingState::Disabled),
        }
    }

    /// Whether records are to be received.
    pub fn is_polled(&self) -> bool {
        self.enabled && self.state != MappingState::Deleting
    }

    /// Whether both would be polled in the same way: tags and states aside.
    pub fn polls_like(&self, other: &Self) -> bool {
        let plain = |mapping: &Self| Self {
            tags: BTreeMap::new(),
            state: MappingState::Enabled,
            last_modified: Timestamp::default(),
            revision_id: String::new(),
            ..mapping.clone()
        };
        plain(self) == plain(other)
    }

    /// Whether the function says which records failed.
    pub fn reports_item_failures(&self) -> bool {
        self.function_response_types.iter().any(|kind| kind == "ReportBatchItemFailures")
    }

    /// Whether a group of metrics is counted.
    pub fn counts(&self, group: &str) -> bool {
        self.metrics.as_ref().is_some_and(|groups| groups.iter().any(|one| one == group))
    }
}

/// How polling went last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LastResult {
    /// `LastProcessingResult`.
    pub result: String,
    /// When it became so.
    pub since: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(state: MappingState, enabled: bool) -> EventSourceMapping {
        EventSourceMapping {
            uuid: "u".to_owned(),
            event_source_arn: "arn:aws:sqs:us-east-1:000000000000:q".to_owned(),
            function_arn: "arn:aws:lambda:us-east-1:000000000000:function:f".to_owned(),
            batch_size: 10,
            maximum_batching_window_in_seconds: 0,
            function_response_types: Vec::new(),
            filters: Vec::new(),
            maximum_concurrency: None,
            provisioned_pollers: None,
            metrics: None,
            kms_key_arn: None,
            tags: BTreeMap::new(),
            enabled,
            state,
            last_modified: Timestamp(1),
            revision_id: "r".to_owned(),
        }
    }

    #[test]
    fn where_transitions_end() {
        use MappingState::*;
        for state in [Creating, Enabling, Disabling, Updating] {
            assert_eq!(mapping(state, true).settled(), Some(Enabled));
            assert_eq!(mapping(state, false).settled(), Some(Disabled));
        }
        for state in [Enabled, Disabled, Deleting] {
            assert_eq!(mapping(state, true).settled(), None);
        }
        assert!(!mapping(Deleting, true).is_polled());
    }

    #[test]
    fn tags_and_states_change_no_polling() {
        let one = mapping(MappingState::Enabled, true);
        let mut other = mapping(MappingState::Updating, true);
        other.tags.insert("a".to_owned(), "b".to_owned());
        assert!(one.polls_like(&other));
        other.batch_size = 1;
        assert!(!one.polls_like(&other));
    }

    #[test]
    fn a_stored_mapping_comes_back() {
        let mut stored = mapping(MappingState::Enabled, true);
        stored.filters = vec!["{}".to_owned()];
        stored.metrics = Some(Vec::new());
        let text = serde_json::to_string(&stored).unwrap();
        assert_eq!(serde_json::from_str::<EventSourceMapping>(&text).unwrap(), stored);
    }
}
