//! Batches: up to ten entries, each of which succeeds or fails for itself.

use super::messages::{Hashes, new_message, traced};
use super::{Request, error};
use crate::http::{ApiError, Members};
use lamplight_services::queues::{MESSAGE_BYTES, NewMessage, QueueError};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Entries of a batch.
const ENTRIES: usize = 10;

/// The entries with their ids.
///
/// Fails with `EmptyBatchRequest`, `TooManyEntriesInBatchRequest`, `InvalidBatchEntryId`, `BatchEntryIdsNotDistinct`.
fn entries<'a>(request: &Request<'a>) -> Result<Vec<(String, Members<'a>)>, ApiError> {
    let entries = request.members.objects("Entries")?.unwrap_or_default();
    if entries.is_empty() {
        return Err(error::new(
            "EmptyBatchRequest",
            format!("There should be at least one {}RequestEntry in the request.", request.operation),
        ));
    }
    if entries.len() > ENTRIES {
        return Err(error::new(
            "TooManyEntriesInBatchRequest",
            format!("Maximum number of entries per request are {ENTRIES}. You have sent {}.", entries.len()),
        ));
    }
    let mut ids = BTreeSet::new();
    let mut named = Vec::with_capacity(entries.len());
    for entry in entries {
        let id = entry.string("Id")?.unwrap_or_default();
        let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        if id.is_empty() || id.len() > 80 || !plain {
            return Err(error::new(
                "InvalidBatchEntryId",
                "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most \
                 80 letters long.",
            ));
        }
        if !ids.insert(id.clone()) {
            return Err(error::new("BatchEntryIdsNotDistinct", format!("Id {id} repeated.")));
        }
        named.push((id, entry));
    }
    Ok(named)
}

/// What became of the entries.
#[derive(Default)]
struct Outcome {
    successful: Vec<Value>,
    failed: Vec<Value>,
}

impl Outcome {
    fn succeed(&mut self, id: &str, mut members: Map<String, Value>) {
        members.insert("Id".to_owned(), id.into());
        self.successful.push(members.into());
    }

    fn fail(&mut self, id: &str, failure: &ApiError) {
        let (code, message) = error::of_entry(failure);
        let sender = !failure.status.is_server_error();
        self.failed.push(json!({"Id": id, "SenderFault": sender, "Code": code, "Message": message}));
    }

    fn settle(&mut self, ids: &[String], results: Vec<Result<(), QueueError>>) {
        for (id, result) in ids.iter().zip(results) {
            match result {
                Ok(()) => self.succeed(id, Map::new()),
                Err(refused) => self.fail(id, &refused.into()),
            }
        }
    }

    fn print(self) -> Value {
        json!({"Successful": self.successful, "Failed": self.failed})
    }
}

/// SendMessageBatch.
pub async fn send(request: &Request<'_>) -> Result<Value, ApiError> {
    let address = request.queue().await?;
    let entries = entries(request)?;
    let mut outcome = Outcome::default();
    let (mut ids, mut messages) = (Vec::new(), Vec::new());
    for (id, members) in &entries {
        match new_message(request, members) {
            Ok(message) => {
                ids.push(id);
                messages.push(message);
            }
            Err(refused) => outcome.fail(id, &refused),
        }
    }
    let bytes: u64 = messages.iter().map(NewMessage::size).sum();
    if bytes > MESSAGE_BYTES {
        return Err(error::new(
            "BatchRequestTooLong",
            format!(
                "Batch requests cannot be longer than {MESSAGE_BYTES} bytes. You have sent {bytes} bytes."
            ),
        ));
    }
    // What a FIFO queue needs of every message refuses the batch as a whole, with another code than SendMessage has.
    let settings = request.state.queues.describe(&address).await?.settings;
    if settings.fifo && messages.iter().any(|message| message.group_id.is_none()) {
        return Err(error::invalid("The request must contain the parameter MessageGroupId."));
    }
    if settings.fifo
        && !settings.content_based_deduplication
        && messages.iter().any(|message| message.deduplication_id.is_none())
    {
        return Err(error::invalid(
            "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided \
             explicitly",
        ));
    }
    let hashes: Vec<Hashes> = messages.iter().map(Hashes::of).collect();
    let messages = messages.into_iter().map(|message| traced(request, message)).collect();
    let results = request.state.queues.send(&address, messages).await?;
    for ((id, hashes), result) in ids.into_iter().zip(hashes).zip(results) {
        match result {
            Ok(sent) => outcome.succeed(id, hashes.with(&sent)),
            Err(refused) => outcome.fail(id, &refused.into()),
        }
    }
    Ok(outcome.print())
}

/// DeleteMessageBatch.
pub async fn delete(request: &Request<'_>) -> Result<Value, ApiError> {
    let address = request.queue().await?;
    let entries = entries(request)?;
    let mut outcome = Outcome::default();
    let (mut ids, mut handles) = (Vec::new(), Vec::new());
    for (id, members) in entries {
        match members.string("ReceiptHandle")? {
            Some(handle) => {
                ids.push(id);
                handles.push(handle);
            }
            None => outcome.fail(&id, &error::missing("ReceiptHandle")),
        }
    }
    let results = request.state.queues.delete(&address, handles).await?;
    outcome.settle(&ids, results);
    Ok(outcome.print())
}

/// ChangeMessageVisibilityBatch.
pub async fn change_visibility(request: &Request<'_>) -> Result<Value, ApiError> {
    let address = request.queue().await?;
    let entries = entries(request)?;
    let mut outcome = Outcome::default();
    let (mut ids, mut changes) = (Vec::new(), Vec::new());
    for (id, members) in entries {
        match (members.string("ReceiptHandle")?, members.integer("VisibilityTimeout")?) {
            (Some(handle), Some(timeout)) => {
                ids.push(id);
                changes.push((handle, timeout));
            }
            (None, _) => outcome.fail(&id, &error::missing("ReceiptHandle")),
            (_, None) => outcome.fail(&id, &error::missing("VisibilityTimeout")),
        }
    }
    let results = request.state.queues.change_visibility(&address, changes).await?;
    outcome.settle(&ids, results);
    Ok(outcome.print())
}
