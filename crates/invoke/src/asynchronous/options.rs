//! What a function's owner may set about its asynchronous events: retries, age, and where their results go.
//!
//! One document per function and qualifier, written by the front door (PutFunctionEventInvokeConfig), read at every
//! attempt, so that a change counts for events that are already waiting.

use crate::asynchronous::RetryPolicy;
use lamplight_model::{FunctionName, FunctionReference, Qualifier, Scope, Timestamp};
use lamplight_store::function_documents::{self, Owner};
use lamplight_store::{QueuedEvent, Store, StoreError};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Kind of the stored documents.
pub const KIND: &str = "function/event-invoke";

/// `FunctionEventInvokeConfig`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EventInvokeOptions {
    /// `MaximumRetryAttempts`, 0 to 2; the server's default when absent.
    pub maximum_retry_attempts: Option<u32>,
    /// `MaximumEventAgeInSeconds`, 60 to 21600; the server's default when absent.
    pub maximum_event_age_seconds: Option<u32>,
    /// `DestinationConfig.OnSuccess.Destination`: ARN of a function or a queue.
    pub on_success: Option<String>,
    /// `DestinationConfig.OnFailure.Destination`: ARN of a function or a queue.
    pub on_failure: Option<String>,
    /// `LastModified`.
    pub last_modified: Timestamp,
}

impl EventInvokeOptions {
    /// `default` with what is set here in its place.
    pub fn policy(&self, default: RetryPolicy) -> RetryPolicy {
        RetryPolicy {
            maximum_retries: self.maximum_retry_attempts.unwrap_or(default.maximum_retries),
            maximum_age: self
                .maximum_event_age_seconds
                .map_or(default.maximum_age, |seconds| Duration::from_secs(u64::from(seconds))),
        }
    }
}

/// The options that count for an event: those of the qualifier it was invoked with; none set when there are none.
pub async fn of_event(store: &dyn Store, event: &QueuedEvent) -> Result<EventInvokeOptions, StoreError> {
    let owner = Owner { scope: &event.scope, function: &event.function, qualifier: event.qualifier.as_ref() };
    Ok(function_documents::get(store, KIND, owner).await?.unwrap_or_default())
}

/// A function that a destination's ARN names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionDestination {
    /// Where it lives.
    pub scope: Scope,
    /// Plain name.
    pub function: FunctionName,
    /// Version or alias.
    pub qualifier: Option<Qualifier>,
}

impl FunctionDestination {
    /// From the full ARN of a function, a version or an alias; `None` for anything else.
    pub fn parse(arn: &str) -> Option<Self> {
        let reference = FunctionReference::parse(arn)?;
        let scope = Scope { account: reference.account?, region: reference.region? };
        Some(Self { scope, function: reference.name, qualifier: reference.qualifier })
    }
}
