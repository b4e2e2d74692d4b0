//! What the object store keeps about buckets, objects and uploads, and how rows hold it.

use crate::objects::PARTS;
use crate::objects::checksum::{Algorithm, Checksum, Kind};
use lamplight_model::{Scope, Timestamp};
use lamplight_store::StoreError;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Account and region it was created in.
    pub scope: Scope,
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created: Timestamp,
}

/// What the client says about an object beside its content. Texts are kept as they came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Description {
    /// `Content-Type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// `Content-Encoding`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    /// `Content-Disposition`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_disposition: Option<String>,
    /// `Content-Language`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_language: Option<String>,
    /// `Cache-Control`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
    /// `Expires`, milliseconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
    /// `x-amz-meta-*`, names in lower case and without the prefix.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Tags.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// An object without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its key.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// MD5, or MD5 of the parts' MD5s with `-<parts>`, without quotes.
    pub etag: String,
    /// When it was written.
    pub modified: Timestamp,
    /// Parts of a multipart upload; 0 for an object put at once.
    pub parts: u32,
    /// Its checksum.
    pub checksum: Option<Checksum>,
    /// What the client said about it.
    pub description: Description,
    /// Owner of its segments.
    pub(crate) content: String,
}

/// An upload that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Names it among the uploads of its key; in order of their beginning.
    pub id: String,
    /// The key the object will have.
    pub key: String,
    /// When it was begun.
    pub started: Timestamp,
    /// The checksum its parts carry, when the client chose one.
    pub checksum: Option<(Algorithm, Kind)>,
    /// What the object will say.
    pub description: Description,
}

/// One part of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// 1 to 10,000.
    pub number: u32,
    /// Bytes.
    pub size: u64,
    /// MD5, without quotes.
    pub etag: String,
    /// When it was uploaded.
    pub modified: Timestamp,
    /// Its checksum.
    pub checksum: Option<Checksum>,
    pub(crate) file: Option<String>,
}

/// Columns an object is read from, in this order.
pub(crate) const OBJECT_COLUMNS: &str = "key, size, etag, modified, parts, checksum, description, content";

/// Reads the columns of `OBJECT_COLUMNS`.
pub(crate) fn object_of(row: &Row<'_>) -> rusqlite::Result<Object> {
    Ok(Object {
        key: text_of(row, 0)?,
        size: unsigned(row, 1)?,
        etag: row.get(2)?,
        modified: Timestamp(row.get(3)?),
        parts: row.get(4)?,
        checksum: json_of(row, 5)?,
        description: json_of(row, 6)?.unwrap_or_default(),
        content: row.get(7)?,
    })
}

/// Reads `key, id, started, checksum, description`.
pub(crate) fn upload_of(row: &Row<'_>) -> rusqlite::Result<Upload> {
    Ok(Upload {
        key: text_of(row, 0)?,
        id: row.get(1)?,
        started: Timestamp(row.get(2)?),
        checksum: json_of(row, 3)?,
        description: json_of(row, 4)?.unwrap_or_default(),
    })
}

/// Reads `number, size, etag, modified, checksum, file`.
fn part_of(row: &Row<'_>) -> rusqlite::Result<Part> {
    Ok(Part {
        number: row.get(0)?,
        size: unsigned(row, 1)?,
        etag: row.get(2)?,
        modified: Timestamp(row.get(3)?),
        checksum: json_of(row, 4)?,
        file: row.get(5)?,
    })
}

/// The segments of an owner with a number above `after`, at most `limit`, in order.
pub(crate) fn segments(
    connection: &Connection,
    owner: &str,
    after: u32,
    limit: usize,
) -> rusqlite::Result<Vec<Part>> {
    connection
        .prepare_cached(
            "SELECT number, size, etag, modified, checksum, file FROM segments \
             WHERE owner = ?1 AND number > ?2 ORDER BY number LIMIT ?3",
        )?
        .query_map(params![owner, after, signed(limit as u64)], part_of)?
        .collect()
}

/// Writes one segment over whatever has its number.
pub(crate) fn put_segment(connection: &Connection, owner: &str, part: &Part) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO segments (owner, number, file, size, etag, modified, checksum) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            owner,
            part.number,
            part.file,
            signed(part.size),
            part.etag,
            part.modified.as_millis(),
            json(part.checksum.as_ref())?
        ])
        .map(|_| ())
}

/// What is to be removed once a transaction has committed: files and their bytes, by owner.
#[derive(Debug, Default)]
pub(crate) struct Removed(pub Vec<(String, Vec<String>, u64)>);

impl Removed {
    /// Deletes the segments of an owner that are not to be kept, by their numbers.
    pub fn take(
        &mut self,
        connection: &Connection,
        owner: &str,
        keep: impl Fn(u32) -> bool,
    ) -> rusqlite::Result<()> {
        for segment in segments(connection, owner, 0, PARTS as usize)? {
            if !keep(segment.number) {
                self.take_one(connection, owner, segment.number)?;
            }
        }
        Ok(())
    }

    /// Deletes one segment, if it is there.
    pub fn take_one(&mut self, connection: &Connection, owner: &str, number: u32) -> rusqlite::Result<()> {
        let deleted: Option<(Option<String>, u64)> = connection
            .prepare_cached("DELETE FROM segments WHERE owner = ?1 AND number = ?2 RETURNING file, size")?
            .query_row(params![owner, number], |row| Ok((row.get(0)?, unsigned(row, 1)?)))
            .optional()?;
        if let Some((file, bytes)) = deleted {
            match self.0.last_mut().filter(|(last, ..)| last == owner) {
                Some((_, files, sum)) => {
                    files.extend(file);
                    *sum += bytes;
                }
                None => self.0.push((owner.to_owned(), file.into_iter().collect(), bytes)),
            }
        }
        Ok(())
    }
}

/// Keeps none.
pub(crate) fn none(_number: u32) -> bool {
    false
}

/// Sizes are far below 2^63.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(|number| u64::try_from(number).unwrap_or(0))
}

/// Keys are bytes in rows and text everywhere else.
pub(crate) fn text_of(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    let bytes: Vec<u8> = row.get(column)?;
    String::from_utf8(bytes).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Blob, Box::new(error))
    })
}

pub(crate) fn json<T: Serialize>(value: Option<&T>) -> rusqlite::Result<Option<String>> {
    value
        .map(serde_json::to_string)
        .transpose()
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

fn json_of<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<T>> {
    row.get::<_, Option<String>>(column)?.map(|text| serde_json::from_str(&text)).transpose().map_err(
        |error| {
            rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
        },
    )
}

/// Says what was being done when SQLite failed.
pub(crate) fn failed(doing: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |error| StoreError::sqlite(doing, error)
}
