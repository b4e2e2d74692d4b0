//! What must be done from time to time: old messages go, and rows of deleted queues.

use crate::queues::error::Trouble;
use crate::queues::lifecycle::NAME_REST;
use crate::queues::stored::StoredQueue;
use crate::queues::{QueueError, Queues, fifo};
use rusqlite::{Connection, params};

/// Rows removed in one transaction, which other operations wait for.
pub(crate) const CHUNK: usize = 1_000;

impl Queues {
    /// Removes what is no longer needed: messages beyond their retention, all of deleted queues, known deduplication and
    /// attempt ids that have ended. Gives back how many messages went. To be called about once a minute.
    pub async fn tidy(&self) -> Result<usize, QueueError> {
        let now = self.now();
        self.write("failed to remove old rows", move |connection| {
            for statement in
                ["DELETE FROM deduplications WHERE until <= ?1", "DELETE FROM attempts WHERE until <= ?1"]
            {
                connection.prepare_cached(statement)?.execute([now])?;
            }
            connection
                .prepare_cached("DELETE FROM deleted_queues WHERE deleted <= ?1")?
                .execute([now - NAME_REST])?;
            Ok(())
        })
        .await?;
        let mut removed = self.remove_orphans().await?;
        let queues = self
            .read("failed to list queues", |connection| {
                let mut statement = connection.prepare_cached("SELECT scope, name FROM queues")?;
                let rows = statement
                    .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
                Ok(rows.collect::<Result<Vec<_>, _>>()?)
            })
            .await?;
        for (scope, name) in queues {
            let Some(scope) = lamplight_model::Scope::from_key(&scope) else { continue };
            let address = crate::queues::QueueAddress { scope, name };
            loop {
                let wanted = address.clone();
                let expired = self
                    .write("failed to remove old messages", move |connection| {
                        match crate::queues::stored::lookup(connection, &wanted)? {
                            Some(queue) => expire(connection, &queue, now, CHUNK),
                            None => Ok(0),
                        }
                    })
                    .await?;
                removed += expired;
                if expired > 0 {
                    // The first message of a FIFO group may have gone.
                    self.waiting.wake(&address);
                }
                if expired < CHUNK {
                    break;
                }
            }
        }
        Ok(removed)
    }

    /// Removes the messages of deleted queues. Their groups go with the last message, what else they have ends by itself.
    async fn remove_orphans(&self) -> Result<usize, QueueError> {
        let mut removed = 0;
        loop {
            let chunk = self
                .write("failed to remove messages of deleted queues", |connection| {
                    let owners: Vec<i64> = connection
                        .prepare_cached(
                            // Skips from queue to queue along the index instead of reading every message.
                            "WITH RECURSIVE owners (queue) AS (SELECT MIN(queue) FROM messages UNION ALL \
                             SELECT (SELECT MIN(queue) FROM messages WHERE queue > owners.queue) FROM owners \
                             WHERE owners.queue IS NOT NULL) \
                             SELECT queue FROM owners WHERE queue IS NOT NULL \
                             AND queue NOT IN (SELECT id FROM queues)",
                        )?
                        .query_map([], |row| row.get(0))?
                        .collect::<Result<_, _>>()?;
                    match owners.first() {
                        Some(owner) => {
                            crate::queues::lifecycle::remove_up_to(connection, *owner, i64::MAX, CHUNK)
                        }
                        None => Ok(0),
                    }
                })
                .await?;
            removed += chunk;
            if chunk == 0 {
                return Ok(removed);
            }
        }
    }
}

/// Removes messages that were kept as long as the queue says, oldest first; gives back how many, at most `limit`.
pub(crate) fn expire(
    connection: &Connection,
    queue: &StoredQueue,
    now: i64,
    limit: usize,
) -> Result<usize, Trouble> {
    let removed: Vec<(i64, Option<String>)> = connection
        .prepare_cached(
            "DELETE FROM messages WHERE sequence IN (SELECT sequence FROM messages \
             WHERE queue = ?1 AND retained_from <= ?2 ORDER BY retained_from LIMIT ?3) RETURNING content, group_id",
        )?
        .query_map(params![queue.id, queue.retained_after(now), i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<Result<_, _>>()?;
    if !removed.is_empty() {
        fifo::forget(connection, queue.id, &removed)?;
    }
    Ok(removed.len())
}
