//! Pollers and batches as their users see them: on the fake source with paused time, and on a real queue.

mod contract;
mod pollers;

use lamplight_model::event_source_mapping::MappingState;
use lamplight_model::{EventSourceMapping, Timestamp};
use std::collections::BTreeMap;

/// A mapping of queue `q` for function `f` as CreateEventSourceMapping makes it.
pub fn mapping() -> EventSourceMapping {
    EventSourceMapping {
        uuid: "00000000-0000-0000-0000-000000000001".to_owned(),
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
        enabled: true,
        state: MappingState::Enabled,
        last_modified: Timestamp(1),
        revision_id: "r".to_owned(),
    }
}
