//! What becomes of a received message: it is deleted, or its visibility timeout is changed. Both by receipt handle.

use crate::queues::error::Trouble;
use crate::queues::settings::VISIBILITY_SECONDS;
use crate::queues::stored::{StoredQueue, find, milliseconds, unsigned};
use crate::queues::{QueueAddress, QueueError, Queues, fifo};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rusqlite::{Connection, OptionalExtension as _, params};

/// Characters of a handle that may be ours.
const HANDLE_LENGTH: usize = 1_024;

/// One receipt of one message: after the next receive it is an old one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Handle {
    pub queue: i64,
    pub sequence: i64,
    pub receives: u64,
    pub message_id: String,
}

impl Handle {
    pub fn print(&self) -> String {
        STANDARD.encode(format!("{} {} {} {}", self.queue, self.sequence, self.receives, self.message_id))
    }

    /// `None` for what was never a handle.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > HANDLE_LENGTH {
            return None;
        }
        let bytes = STANDARD.decode(text).ok()?;
        let parts: Vec<&str> = std::str::from_utf8(&bytes).ok()?.split(' ').collect();
        match parts.as_slice() {
            [queue, sequence, receives, message_id] => Some(Self {
                queue: queue.parse().ok()?,
                sequence: sequence.parse().ok()?,
                receives: receives.parse().ok()?,
                message_id: (*message_id).to_owned(),
            }),
            _ => None,
        }
    }
}

/// The message of a handle as it is now.
struct Found {
    handle: Handle,
    content: i64,
    group: Option<String>,
    receives: u64,
    visible_at: i64,
    received: i64,
}

impl Queues {
    /// Deletes received messages by their handles, in one transaction, each for itself. Durable when this is `Ok`.
    ///
    /// Deleting what is gone succeeds. In a standard queue an old handle succeeds too and deletes nothing (DeleteMessage:
    /// "you must provide the most recently received receipt handle"); in a FIFO queue one that is old, or whose
    /// visibility timeout has ended, fails with `InvalidParameterValue`. Each fails with `ReceiptHandleIsInvalid`; all
    /// with `QueueDoesNotExist`.
    pub async fn delete(
        &self,
        address: &QueueAddress,
        handles: Vec<String>,
    ) -> Result<Vec<Result<(), QueueError>>, QueueError> {
        self.settle(address, "failed to delete messages", handles, |connection, queue, handle, now| {
            let Some(found) = look_up(connection, queue, &handle)? else { return Ok(()) };
            let latest = found.receives == found.handle.receives;
            if queue.settings.fifo && (!latest || found.visible_at <= now) {
                return Err(expired(&handle).into());
            }
            if latest {
                connection
                    .prepare_cached("DELETE FROM messages WHERE sequence = ?1")?
                    .execute([found.handle.sequence])?;
                fifo::forget(connection, queue.id, &[(found.content, found.group)])?;
            }
            Ok(())
        })
        .await
    }

    /// Makes received messages visible after so many seconds from now, in one transaction, each for itself. Those of a standard queue
    /// that are visible again stay so.
    ///
    /// Each fails with `ReceiptHandleIsInvalid`, or `InvalidParameterValue`: the message is gone or was received again, the
    /// timeout is not within 0 and 43,200 or ends more than 12 hours after the receive. All with `QueueDoesNotExist`.
    pub async fn change_visibility(
        &self,
        address: &QueueAddress,
        changes: Vec<(String, i64)>,
    ) -> Result<Vec<Result<(), QueueError>>, QueueError> {
        self.settle(
            address,
            "failed to change visibility",
            changes,
            |connection, queue, (handle, seconds), now| {
                const NAME: &str = "VisibilityTimeout";
                let timeout =
                    u64::try_from(seconds).ok().filter(|timeout| *timeout <= VISIBILITY_SECONDS).ok_or_else(
                        || QueueError::invalid(seconds, NAME, "Must be between 0 and 43200, if provided."),
                    )?;
                let found = look_up(connection, queue, &handle)?
                    .filter(|found| found.receives == found.handle.receives);
                let Some(found) = found else {
                    let reason = "Message does not exist or is not available for visibility timeout change.";
                    return Err(QueueError::invalid(&handle, "ReceiptHandle", reason).into());
                };
                if found.visible_at <= now {
                    // The receive is over: a standard queue says yes and leaves the message to whoever is next, as AWS was seen to do.
                    return if queue.settings.fifo { Err(expired(&handle).into()) } else { Ok(()) };
                }
                let visible_at = now + milliseconds(timeout);
                if visible_at > found.received + milliseconds(VISIBILITY_SECONDS) {
                    let reason =
                        "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]";
                    return Err(QueueError::invalid(seconds, NAME, reason).into());
                }
                connection
                    .prepare_cached("UPDATE messages SET visible_at = ?2 WHERE sequence = ?1")?
                    .execute(params![found.handle.sequence, visible_at])?;
                if let Some(group) = found.group.filter(|_| queue.settings.fifo) {
                    fifo::refresh(connection, queue.id, &group)?;
                }
                Ok(())
            },
        )
        .await
    }

    async fn settle<E: Send + 'static>(
        &self,
        address: &QueueAddress,
        doing: &'static str,
        entries: Vec<E>,
        one: impl Fn(&Connection, &StoredQueue, E, i64) -> Result<(), Trouble> + Send + 'static,
    ) -> Result<Vec<Result<(), QueueError>>, QueueError> {
        let (wanted, now) = (address.clone(), self.now());
        let settled = self
            .write(doing, move |connection| {
                let queue = find(connection, &wanted)?;
                let mut settled = Vec::with_capacity(entries.len());
                for entry in entries {
                    match one(connection, &queue, entry, now) {
                        Ok(()) => settled.push(Ok(())),
                        Err(Trouble::Refused(refused)) => settled.push(Err(refused)),
                        Err(error) => return Err(error),
                    }
                }
                Ok(settled)
            })
            .await?;
        // Something may be visible now, or a group free.
        self.waiting.wake(address);
        Ok(settled)
    }
}

fn expired(handle: &str) -> QueueError {
    QueueError::invalid(handle, "ReceiptHandle", "The receipt handle has expired.")
}

/// `None` when the message is gone. Fails with `ReceiptHandleIsInvalid`.
fn look_up(connection: &Connection, queue: &StoredQueue, text: &str) -> Result<Option<Found>, Trouble> {
    let handle = Handle::parse(text)
        .filter(|handle| handle.queue == queue.id)
        .ok_or_else(|| QueueError::ReceiptHandleIsInvalid(text.to_owned()))?;
    let found = connection
        .prepare_cached(
            "SELECT m.content, m.group_id, m.receives, m.visible_at, COALESCE(m.received, 0) \
             FROM messages m JOIN contents c ON c.id = m.content \
             WHERE m.sequence = ?1 AND m.queue = ?2 AND c.message = ?3",
        )?
        .query_row(params![handle.sequence, queue.id, handle.message_id], |row| {
            Ok(Found {
                content: row.get(0)?,
                group: row.get(1)?,
                receives: unsigned(row, 2)?,
                visible_at: row.get(3)?,
                received: row.get(4)?,
                handle: handle.clone(),
            })
        })
        .optional()?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_come_back() {
        let handle = Handle { queue: 7, sequence: 42, receives: 3, message_id: "id".to_owned() };
        assert_eq!(Handle::parse(&handle.print()), Some(handle));
        for bad in ["", "garbage", "MSAyIDM=", &STANDARD.encode("1 2 x id"), &"A".repeat(2_000)] {
            assert_eq!(Handle::parse(bad), None, "{bad}");
        }
    }
}
