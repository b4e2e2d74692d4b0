//! How rows hold queues, and how a queue is found.

use crate::queues::error::Trouble;
use crate::queues::{QueueAddress, QueueError, Settings};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use std::collections::BTreeMap;

/// A queue as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct StoredQueue {
    pub id: i64,
    pub address: QueueAddress,
    pub created: i64,
    pub modified: i64,
    pub settings: Settings,
    pub tags: BTreeMap<String, String>,
    pub purged: Option<i64>,
}

impl StoredQueue {
    /// Messages from before this are gone.
    pub fn retained_after(&self, now: i64) -> i64 {
        now - milliseconds(self.settings.message_retention_period)
    }
}

/// The queue of this address. Fails with `QueueDoesNotExist`.
pub(crate) fn find(connection: &Connection, address: &QueueAddress) -> Result<StoredQueue, Trouble> {
    lookup(connection, address)?.ok_or_else(|| QueueError::QueueDoesNotExist.into())
}

pub(crate) fn lookup(
    connection: &Connection,
    address: &QueueAddress,
) -> rusqlite::Result<Option<StoredQueue>> {
    connection
        .prepare_cached(
            "SELECT id, created, modified, settings, tags, purged FROM queues WHERE scope = ?1 AND name = ?2",
        )?
        .query_row(params![address.scope.key(), address.name], |row| {
            Ok(StoredQueue {
                id: row.get(0)?,
                address: address.clone(),
                created: row.get(1)?,
                modified: row.get(2)?,
                settings: json_of(row, 3)?,
                tags: json_of(row, 4)?,
                purged: row.get(5)?,
            })
        })
        .optional()
}

/// A queue by its ARN.
pub(crate) fn lookup_arn(connection: &Connection, arn: &str) -> rusqlite::Result<Option<StoredQueue>> {
    match QueueAddress::from_arn(arn) {
        Some(address) => lookup(connection, &address),
        None => Ok(None),
    }
}

/// Seconds as milliseconds; all bounds are far below 2^63.
pub(crate) fn milliseconds(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX / 1_000).saturating_mul(1_000)
}

pub(crate) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(|number| u64::try_from(number).unwrap_or(0))
}

pub(crate) fn json<T: serde::Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

pub(crate) fn json_of<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    serde_json::from_str(text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}
