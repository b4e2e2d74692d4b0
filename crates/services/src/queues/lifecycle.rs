//! Queues are made, found, listed, described, changed, emptied and deleted.

use crate::queues::error::Trouble;
use crate::queues::stored::{StoredQueue, find, json, lookup, lookup_arn, unsigned};
use crate::queues::tidy::CHUNK;
use crate::queues::{QueueAddress, QueueError, Queues, Settings};
use lamplight_model::{Scope, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, params};
use std::collections::BTreeMap;

/// How long a deleted queue's name cannot be used, milliseconds. Source: DeleteQueue.
pub(crate) const NAME_REST: i64 = 60_000;
/// Between two purges of a queue, milliseconds. Source: PurgeQueue.
const PURGE_REST: i64 = 60_000;
/// Tags of a queue. Source: quotas of queues.
const TAGS: usize = 50;

/// What is to be known about a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Where it is.
    pub address: QueueAddress,
    /// When it was created.
    pub created: Timestamp,
    /// When its attributes were changed last.
    pub modified: Timestamp,
    /// Its attributes.
    pub settings: Settings,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// Messages of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// That can be received now.
    pub visible: u64,
    /// Received and not yet deleted or visible again.
    pub in_flight: u64,
    /// Whose delay has not ended.
    pub delayed: u64,
}

impl Queues {
    /// Creates a queue, or finds one with the same attributes, as far as they are given.
    ///
    /// Fails with `InvalidParameterValue` (name, redrive policy), `InvalidAttributeName`, `InvalidAttributeValue`,
    /// `QueueNameExists`, `QueueDeletedRecently`, `OverLimit`.
    pub async fn create(
        &self,
        address: &QueueAddress,
        attributes: BTreeMap<String, String>,
        tags: BTreeMap<String, String>,
    ) -> Result<(), QueueError> {
        let settings = Settings::of_new_queue(&attributes)?;
        address.check(settings.fifo)?;
        check_tags(&tags)?;
        let (address, now, most) = (address.clone(), self.now(), self.bounds.queues);
        self.write("failed to create a queue", move |connection| {
            if let Some(present) = lookup(connection, &address)? {
                return match present.settings.difference(&settings, &attributes) {
                    Some(name) => Err(QueueError::QueueNameExists(name.to_owned()).into()),
                    None => Ok(()),
                };
            }
            let place = params![address.scope.key(), address.name];
            let deleted: Option<i64> = connection
                .prepare_cached("SELECT deleted FROM deleted_queues WHERE scope = ?1 AND name = ?2")?
                .query_row(place, |row| row.get(0))
                .optional()?;
            if deleted.is_some_and(|deleted| now < deleted + NAME_REST) {
                return Err(QueueError::QueueDeletedRecently.into());
            }
            check_redrive(connection, &address, &settings)?;
            let queues = connection
                .prepare_cached("SELECT COUNT(*) FROM queues")?
                .query_row([], |row| unsigned(row, 0))?;
            if queues >= most {
                return Err(
                    QueueError::OverLimit(format!("There are {most} queues, which is the bound.")).into()
                );
            }
            connection
                .prepare_cached("DELETE FROM deleted_queues WHERE scope = ?1 AND name = ?2")?
                .execute(place)?;
            connection
                .prepare_cached(
                    "INSERT INTO queues (scope, name, created, modified, settings, tags, dead_letters) \
                     VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6)",
                )?
                .execute(params![
                    address.scope.key(),
                    address.name,
                    now,
                    json(&settings)?,
                    json(&tags)?,
                    dead_letters(&settings)
                ])?;
            Ok(())
        })
        .await
    }

    /// What is to be known about a queue. Fails with `QueueDoesNotExist`.
    pub async fn describe(&self, address: &QueueAddress) -> Result<Description, QueueError> {
        let address = address.clone();
        self.read("failed to read a queue", move |connection| {
            let queue = find(connection, &address)?;
            Ok(Description {
                address: queue.address,
                created: Timestamp(queue.created),
                modified: Timestamp(queue.modified),
                settings: queue.settings,
                tags: queue.tags,
            })
        })
        .await
    }

    /// How many messages a queue holds. Fails with `QueueDoesNotExist`.
    pub async fn count(&self, address: &QueueAddress) -> Result<Counts, QueueError> {
        let (address, now) = (address.clone(), self.now());
        self.read("failed to count messages", move |connection| {
            let id = find(connection, &address)?.id;
            let count = |query: &str| {
                connection.prepare_cached(query)?.query_row(params![id, now], |row| unsigned(row, 0))
            };
            let hidden = count("SELECT COUNT(*) FROM messages WHERE queue = ?1 AND visible_at > ?2")?;
            let in_flight =
                count("SELECT COUNT(*) FROM messages WHERE queue = ?1 AND visible_at > ?2 AND receives > 0")?;
            Ok(Counts {
                visible: count("SELECT COUNT(*) FROM messages WHERE queue = ?1 AND visible_at <= ?2")?,
                in_flight,
                delayed: hidden.saturating_sub(in_flight),
            })
        })
        .await
    }

    /// Names of the queues of a scope in order: those that begin with `prefix`, after `after`, at most `limit`.
    pub async fn list(
        &self,
        scope: &Scope,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<String>, QueueError> {
        let (scope, prefix, after) = (scope.key(), prefix.to_owned(), after.to_owned());
        self.read("failed to list queues", move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT name FROM queues WHERE scope = ?1 AND name > ?2 AND substr(name, 1, length(?3)) = ?3 \
                 ORDER BY name LIMIT ?4",
            )?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let rows = statement.query_map(params![scope, after, prefix, limit], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Names of the queues whose dead letters go to this one, in order: after `after`, at most `limit`.
    ///
    /// Fails with `QueueDoesNotExist`.
    pub async fn dead_letter_sources(
        &self,
        address: &QueueAddress,
        after: &str,
        limit: usize,
    ) -> Result<Vec<String>, QueueError> {
        let (address, after) = (address.clone(), after.to_owned());
        self.read("failed to list the sources of a dead letter queue", move |connection| {
            find(connection, &address)?;
            let mut statement = connection.prepare_cached(
                "SELECT name FROM queues WHERE dead_letters = ?1 AND name > ?2 ORDER BY name LIMIT ?3",
            )?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let rows = statement.query_map(params![address.arn(), after, limit], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Sets attributes of a queue. Fails as `create`, and with `QueueDoesNotExist`.
    pub async fn set_attributes(
        &self,
        address: &QueueAddress,
        attributes: BTreeMap<String, String>,
    ) -> Result<(), QueueError> {
        let (wanted, now) = (address.clone(), self.now());
        self.write("failed to set attributes", move |connection| {
            let mut queue = find(connection, &wanted)?;
            queue.settings = queue.settings.changed(&attributes)?;
            if attributes.contains_key("RedrivePolicy") {
                check_redrive(connection, &queue.address, &queue.settings)?;
            }
            store(connection, &queue, now)
        })
        .await?;
        // A shorter retention or another wait may concern who waits.
        self.waiting.wake(address);
        Ok(())
    }

    /// Adds tags and takes tags away. Fails with `QueueDoesNotExist`, `InvalidParameterValue`.
    pub async fn tag(
        &self,
        address: &QueueAddress,
        add: BTreeMap<String, String>,
        remove: Vec<String>,
    ) -> Result<(), QueueError> {
        let address = address.clone();
        self.write("failed to tag a queue", move |connection| {
            let mut queue = find(connection, &address)?;
            queue.tags.extend(add);
            queue.tags.retain(|key, _| !remove.contains(key));
            check_tags(&queue.tags)?;
            let modified = queue.modified;
            store(connection, &queue, modified)
        })
        .await
    }

    /// Deletes a queue with its messages. Fails with `QueueDoesNotExist`.
    pub async fn delete_queue(&self, address: &QueueAddress) -> Result<(), QueueError> {
        let (wanted, now) = (address.clone(), self.now());
        // Its rows of other tables belong to nothing from then on; `tidy` removes them.
        self.write("failed to delete a queue", move |connection| {
            let queue = find(connection, &wanted)?;
            connection.prepare_cached("DELETE FROM queues WHERE id = ?1")?.execute([queue.id])?;
            connection
                .prepare_cached(
                    "INSERT OR REPLACE INTO deleted_queues (scope, name, deleted) VALUES (?1, ?2, ?3)",
                )?
                .execute(params![wanted.scope.key(), wanted.name, now])?;
            Ok(())
        })
        .await?;
        self.waiting.wake(address);
        Ok(())
    }

    /// Deletes all messages that are in a queue now. Fails with `QueueDoesNotExist`, `PurgeQueueInProgress`.
    pub async fn purge(&self, address: &QueueAddress) -> Result<(), QueueError> {
        let (wanted, now) = (address.clone(), self.now());
        let (id, last) = self
            .write("failed to purge a queue", move |connection| {
                let queue = find(connection, &wanted)?;
                if queue.purged.is_some_and(|purged| now < purged + PURGE_REST) {
                    return Err(QueueError::PurgeQueueInProgress(wanted.name).into());
                }
                connection
                    .prepare_cached("UPDATE queues SET purged = ?2 WHERE id = ?1")?
                    .execute(params![queue.id, now])?;
                let last: i64 = connection
                    .prepare_cached("SELECT COALESCE(MAX(sequence), 0) FROM messages")?
                    .query_row([], |row| row.get(0))?;
                Ok((queue.id, last))
            })
            .await?;
        // Some at a time, so that other queues' operations come in between.
        loop {
            let removed = self
                .write("failed to purge a queue", move |connection| remove_up_to(connection, id, last, CHUNK))
                .await?;
            if removed < CHUNK {
                self.waiting.wake(address);
                return Ok(());
            }
        }
    }
}

/// Removes messages of a queue, in order, up to a sequence number; gives back how many, at most `limit`.
pub(crate) fn remove_up_to(
    connection: &Connection,
    queue: i64,
    last: i64,
    limit: usize,
) -> Result<usize, Trouble> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let removed: Vec<(i64, Option<String>)> = connection
        .prepare_cached(
            "DELETE FROM messages WHERE sequence IN \
             (SELECT sequence FROM messages WHERE queue = ?1 AND sequence <= ?2 LIMIT ?3) RETURNING content, group_id",
        )?
        .query_map(params![queue, last, limit], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    crate::queues::fifo::forget(connection, queue, &removed)?;
    Ok(removed.len())
}

/// Writes back what can change of a queue.
pub(crate) fn store(connection: &Connection, queue: &StoredQueue, modified: i64) -> Result<(), Trouble> {
    connection
        .prepare_cached(
            "UPDATE queues SET modified = ?2, settings = ?3, tags = ?4, dead_letters = ?5 WHERE id = ?1",
        )?
        .execute(params![
            queue.id,
            modified,
            json(&queue.settings)?,
            json(&queue.tags)?,
            dead_letters(&queue.settings)
        ])?;
    Ok(())
}

fn dead_letters(settings: &Settings) -> Option<&str> {
    settings.redrive_policy.as_ref().map(|policy| policy.dead_letter_target_arn.as_str())
}

/// Whether the dead letter queue exists, is of the same kind, and takes messages of this one.
fn check_redrive(
    connection: &Connection,
    address: &QueueAddress,
    settings: &Settings,
) -> Result<(), Trouble> {
    let Some(policy) = &settings.redrive_policy else { return Ok(()) };
    let refuse = |reason: &str| Err(QueueError::invalid(policy.print(), "RedrivePolicy", reason).into());
    let near = QueueAddress::from_arn(&policy.dead_letter_target_arn)
        .is_some_and(|target| target.scope == address.scope);
    let Some(target) = lookup_arn(connection, &policy.dead_letter_target_arn)?.filter(|_| near) else {
        return refuse("Dead letter target does not exist.");
    };
    if target.settings.fifo != settings.fifo {
        return refuse("Dead-letter queue must be same type of queue as the source.");
    }
    if target.settings.redrive_allow_policy.is_some_and(|allow| !allow.allows(&address.arn())) {
        return refuse("Dead letter target does not allow this queue as its source.");
    }
    Ok(())
}

fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), QueueError> {
    if tags.len() > TAGS {
        return Err(QueueError::InvalidParameterValue(format!(
            "Too many tags added for queue. The most is {TAGS}."
        )));
    }
    for (key, value) in tags {
        if key.is_empty() || key.chars().count() > 128 || key.starts_with("aws:") {
            return Err(QueueError::InvalidParameterValue(format!("Tag key '{key}' is invalid.")));
        }
        if value.chars().count() > 256 {
            return Err(QueueError::InvalidParameterValue(format!(
                "The value of tag '{key}' is longer than 256."
            )));
        }
    }
    Ok(())
}
