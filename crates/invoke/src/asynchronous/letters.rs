//! What queues are told of events that have ended: the record, when a queue is the destination, and the event itself, when
//! the function has a dead letter queue (`DeadLetterConfig`).
//!
//! A message is sent before the event is settled: a crash between the two runs the event again and may send a second
//! message, as "at least once" allows; none is lost.

use crate::asynchronous::attempt::SETTLE_DELAYS;
use crate::asynchronous::destination::{self, Response};
use crate::invoker::{ErrorChain, Invoker};
use lamplight_model::ErrorCode;
use lamplight_services::queues::{
    AttributeValue, MessageAttribute, MessageAttributes, NewMessage, QueueError, TRACE_BYTES,
};
use lamplight_store::{QueuedEvent, Release, Told};
use serde_json::Value;
use tracing::warn;

/// `SenderId` of messages that the platform sends.
const SENDER: &str = "lambda.amazonaws.com";
/// Bytes of `ErrorMessage`. Source: Lambda developer guide, "Adding a dead-letter queue".
const ERROR_MESSAGE_BYTES: usize = 1_024;

/// `Told::role` of a destination.
pub const DESTINATION: &str = "Destination";
/// `Told::role` of a dead letter queue.
pub const DEAD_LETTER_QUEUE: &str = "DeadLetterQueue";
/// Name of the attribute that says which event a dead letter is.
pub const REQUEST_ID: &str = "RequestID";

/// Whether an ARN names a queue.
pub fn is_queue(arn: &str) -> bool {
    arn.starts_with("arn:aws:sqs:")
}

/// Sends the record of an event that ends with `release` to the queue that is its destination, and says whether it is there.
pub async fn tell(
    invoker: &Invoker,
    arn: &str,
    event: &QueuedEvent,
    release: &Release,
    response: Option<&Response>,
) -> Told {
    let record = destination::bounded_record(event, release, response, (invoker.clock)());
    let body = String::from_utf8_lossy(&record).into_owned();
    let failure = post(invoker, arn, event, body, MessageAttributes::new()).await.err();
    Told { arn: arn.to_owned(), role: DESTINATION.to_owned(), failure }
}

/// Sends an event that is given up with `error` to the dead letter queue of its function, if it has one, and says whether it
/// is there.
pub async fn bury(invoker: &Invoker, event: &QueuedEvent, error: &str) -> Option<Told> {
    let (mut delay, longest) = SETTLE_DELAYS;
    let target = loop {
        match invoker.resolve(&event.scope, &event.function, event.qualifier.as_ref()).await {
            Ok(version) => break version.dead_letter_target_arn.clone(),
            Err(gone) if gone.code == ErrorCode::ResourceNotFoundException => break None,
            Err(error) => {
                warn!(request_id = %event.request_id, %error, "failed to look for a dead letter queue, trying again");
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(longest);
            }
        }
    };
    let arn = target.filter(|arn| is_queue(arn))?;
    let body = String::from_utf8_lossy(&event.payload).into_owned();
    let failure = post(invoker, &arn, event, body, attributes(event, error)).await.err();
    Some(Told { arn, role: DEAD_LETTER_QUEUE.to_owned(), failure })
}

/// `RequestID`, `ErrorCode` and `ErrorMessage`, as Lambda sets them.
fn attributes(event: &QueuedEvent, error: &str) -> MessageAttributes {
    let document: Value = serde_json::from_str(error).unwrap_or_default();
    let said = document["errorMessage"].as_str().unwrap_or(error);
    let mut message = String::new();
    for character in said.chars() {
        // A message cannot hold control characters.
        let character = if character.is_control() && !"\t\n\r".contains(character) { ' ' } else { character };
        if message.len() + character.len_utf8() > ERROR_MESSAGE_BYTES {
            break;
        }
        message.push(character);
    }
    [
        (REQUEST_ID, "String", event.request_id.to_string()),
        ("ErrorCode", "Number", "200".to_owned()),
        ("ErrorMessage", "String", message),
    ]
    .into_iter()
    .filter(|(_, _, value)| !value.is_empty())
    .map(|(name, data_type, value)| {
        let value = AttributeValue::Text(value);
        (name.to_owned(), MessageAttribute { data_type: data_type.to_owned(), value })
    })
    .collect()
}

/// Sends one message, however long storage refuses. A queue that is gone, or does not take it, costs the message, as on
/// AWS; that is counted and logged, and why is given back.
async fn post(
    invoker: &Invoker,
    arn: &str,
    event: &QueuedEvent,
    body: String,
    attributes: MessageAttributes,
) -> Result<(), String> {
    let Some(queues) = invoker.queues.get() else {
        return lost(invoker, arn, event, "this server has no queues");
    };
    let message = NewMessage {
        body,
        attributes,
        // A message with a longer one would be refused, and the letter lost.
        trace: destination::handed_on(event).filter(|trace| !trace.is_empty() && trace.len() <= TRACE_BYTES),
        sender: SENDER.to_owned(),
        ..NewMessage::default()
    };
    let (mut delay, longest) = SETTLE_DELAYS;
    loop {
        match queues.send_to(arn, message.clone()).await {
            Ok(_) => return Ok(()),
            Err(QueueError::Store(error)) => {
                warn!(
                    request_id = %event.request_id, function = %event.function, queue = arn, error = %ErrorChain(&error),
                    "failed to send to a queue, trying again"
                );
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(longest);
            }
            Err(refused) => return lost(invoker, arn, event, &refused.to_string()),
        }
    }
}

fn lost(invoker: &Invoker, arn: &str, event: &QueuedEvent, why: &str) -> Result<(), String> {
    invoker.metrics.delivery_failed(&event.scope, &event.function);
    warn!(
        request_id = %event.request_id, function = %event.function, queue = arn, why,
        "failed to tell a queue"
    );
    Err(why.to_owned())
}
