//! Messages are sent: checked against their queue, told from what was sent before, and stored.

use crate::objects::checksum::hexadecimal;
use crate::queues::error::Trouble;
use crate::queues::stored::{StoredQueue, find, json, milliseconds, unsigned};
use crate::queues::{NewMessage, QueueAddress, QueueError, Queues, Sent, fifo};
use rusqlite::{Connection, OptionalExtension as _, params};
use sha2::{Digest as _, Sha256};

/// For how long a message sent again is known, milliseconds. Source: "Exactly-once processing", developer guide.
const DEDUPLICATION: i64 = 5 * 60_000;

impl Queues {
    /// Sends messages to one queue in one transaction, each for itself: one that is refused does not keep the others.
    /// Durable when this is `Ok`. In a FIFO queue they are in the order given.
    ///
    /// Fails as a whole with `QueueDoesNotExist`, `OverLimit` (the bound of all queues together); each with
    /// `MissingParameter`, `InvalidParameterValue`, `InvalidMessageContents`.
    pub async fn send(
        &self,
        address: &QueueAddress,
        messages: Vec<NewMessage>,
    ) -> Result<Vec<Result<Sent, QueueError>>, QueueError> {
        let (wanted, now, most) = (address.clone(), self.now(), self.bounds.bytes_in_all);
        let sent = self
            .write("failed to send messages", move |connection| {
                let queue = find(connection, &wanted)?;
                if used_bytes(connection)? > most {
                    return Err(QueueError::OverLimit(format!(
                        "The messages of all queues together need more than {} MiB, which is the bound.",
                        most >> 20
                    ))
                    .into());
                }
                let mut sent = Vec::with_capacity(messages.len());
                for message in &messages {
                    match send_one(connection, &queue, message, now) {
                        Ok(one) => sent.push(Ok(one)),
                        Err(Trouble::Refused(refused)) => sent.push(Err(refused)),
                        Err(error) => return Err(error),
                    }
                }
                Ok(sent)
            })
            .await?;
        self.waiting.wake(address);
        Ok(sent)
    }

    /// Sends one message to the queue with this ARN.
    ///
    /// Fails as `send` does; with `QueueDoesNotExist` for what is no ARN of a queue.
    pub async fn send_to(&self, arn: &str, message: NewMessage) -> Result<Sent, QueueError> {
        let address = QueueAddress::from_arn(arn).ok_or(QueueError::QueueDoesNotExist)?;
        let sent = self.send(&address, vec![message]).await?;
        sent.into_iter().next().unwrap_or(Err(QueueError::QueueDoesNotExist))
    }
}

/// What the database holds, without the pages that are free: bytes.
fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let read = |pragma: &str| connection.prepare_cached(pragma)?.query_row([], |row| unsigned(row, 0));
    let pages = read("PRAGMA page_count")?.saturating_sub(read("PRAGMA freelist_count")?);
    Ok(pages.saturating_mul(read("PRAGMA page_size")?))
}

fn send_one(
    connection: &Connection,
    queue: &StoredQueue,
    message: &NewMessage,
    now: i64,
) -> Result<Sent, Trouble> {
    message.check()?;
    let deduplication = check_for_queue(queue, message)?;
    if let Some(id) = &deduplication
        && let Some(sent) = sent_before(connection, queue, message, id, now)?
    {
        return Ok(sent);
    }
    let message_id = uuid::Uuid::new_v4().to_string();
    let delay = match message.delay_seconds {
        Some(seconds) => u64::try_from(seconds).unwrap_or(0),
        None => queue.settings.delay_seconds,
    };
    let attributes = if message.attributes.is_empty() { None } else { Some(json(&message.attributes)?) };
    connection
        .prepare_cached(
            "INSERT INTO contents (message, body, attributes, trace, sender, sent, deduplication) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            message_id,
            message.body,
            attributes,
            message.trace,
            message.sender,
            now,
            deduplication
        ])?;
    let content = connection.last_insert_rowid();
    let sequence =
        place(connection, queue, content, message.group_id.as_deref(), now + milliseconds(delay), now)?;
    if let Some(id) = &deduplication {
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO deduplications (queue, group_id, id, until, message, sequence) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                queue.id,
                scope_of(queue, message),
                id,
                now + DEDUPLICATION,
                message_id,
                sequence
            ])?;
    }
    Ok(Sent { message_id, sequence_number: queue.settings.fifo.then(|| sequence_number(sequence)) })
}

/// Puts a content at the end of a queue; gives back its sequence number.
pub(crate) fn place(
    connection: &Connection,
    queue: &StoredQueue,
    content: i64,
    group: Option<&str>,
    visible_at: i64,
    retained_from: i64,
) -> Result<i64, Trouble> {
    connection
        .prepare_cached(
            "INSERT INTO messages (queue, content, group_id, visible_at, retained_from) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![queue.id, content, group, visible_at, retained_from])?;
    let sequence = connection.last_insert_rowid();
    if queue.settings.fifo
        && let Some(group) = group
    {
        fifo::refresh(connection, queue.id, group)?;
    }
    Ok(sequence)
}

/// Twenty digits, as SQS's are.
pub(crate) fn sequence_number(sequence: i64) -> String {
    format!("{sequence:020}")
}

/// Checks what depends on the queue; gives back the deduplication id of a FIFO queue's message.
fn check_for_queue(queue: &StoredQueue, message: &NewMessage) -> Result<Option<String>, QueueError> {
    let settings = &queue.settings;
    if message.size() > settings.maximum_message_size {
        return Err(QueueError::InvalidParameterValue(format!(
            "One or more parameters are invalid. Reason: Message must be shorter than {} bytes.",
            settings.maximum_message_size
        )));
    }
    const NOT_FOR_THIS_KIND: &str = "The request include parameter that is not valid for this queue type.";
    if !settings.fifo {
        return match &message.deduplication_id {
            Some(id) => Err(QueueError::invalid(id, "MessageDeduplicationId", NOT_FOR_THIS_KIND)),
            None => Ok(None),
        };
    }
    if let Some(delay) = message.delay_seconds.filter(|delay| *delay > 0) {
        return Err(QueueError::invalid(delay, "DelaySeconds", NOT_FOR_THIS_KIND));
    }
    if message.group_id.is_none() {
        return Err(QueueError::MissingParameter("MessageGroupId"));
    }
    match &message.deduplication_id {
        Some(id) => Ok(Some(id.clone())),
        None if settings.content_based_deduplication => {
            Ok(Some(hexadecimal(&Sha256::digest(message.body.as_bytes()))))
        }
        None => Err(QueueError::InvalidParameterValue(
            "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided \
             explicitly"
                .to_owned(),
        )),
    }
}

/// Within what a deduplication id is unique: the queue, or the group.
fn scope_of<'a>(queue: &StoredQueue, message: &'a NewMessage) -> &'a str {
    if queue.settings.deduplication_by_group { message.group_id.as_deref().unwrap_or_default() } else { "" }
}

fn sent_before(
    connection: &Connection,
    queue: &StoredQueue,
    message: &NewMessage,
    id: &str,
    now: i64,
) -> rusqlite::Result<Option<Sent>> {
    connection
        .prepare_cached(
            "SELECT message, sequence FROM deduplications WHERE queue = ?1 AND group_id = ?2 AND id = ?3 AND until > ?4",
        )?
        .query_row(params![queue.id, scope_of(queue, message), id, now], |row| {
            Ok(Sent { message_id: row.get(0)?, sequence_number: Some(sequence_number(row.get(1)?)) })
        })
        .optional()
}
