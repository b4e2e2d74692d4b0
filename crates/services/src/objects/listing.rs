//! Lists of objects and of uploads: prefix, delimiter, pages. Source: S3 API reference, ListObjectsV2.

use crate::objects::object::{Bucket, OBJECT_COLUMNS, Object, Upload, failed, object_of, upload_of};
use crate::objects::{ObjectError, ObjectStore};
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params};
use serde::{Deserialize, Serialize};

/// Where a page ends and the next begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Position {
    /// After this key.
    Key(String),
    /// After everything that begins with this.
    Prefix(String),
}

/// What to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Only keys that begin with this.
    pub prefix: String,
    /// Keys that share what comes up to its first occurrence after the prefix are one entry.
    pub delimiter: Option<String>,
    /// Where to begin.
    pub after: Option<Position>,
    /// Entries of a page.
    pub limit: usize,
}

/// One row of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry<T> {
    /// A key's.
    Row(T),
    /// What several keys begin with.
    Prefix(String),
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// In byte order of keys and prefixes.
    pub entries: Vec<Entry<T>>,
    /// Where the next page begins; `None` when this is the last.
    pub next: Option<Position>,
}

/// What uploads to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadQuery {
    /// As for objects; `after` is the key marker without an upload marker.
    pub keys: Query,
    /// The last upload of the page before: begin after it, within its key.
    pub after_upload: Option<(String, String)>,
}

/// An upload in a list.
pub type ListedUpload = Upload;
/// A page of uploads.
pub type UploadPage = Page<Upload>;

/// Where a list of version 1 begins: a marker that is a common prefix stands for all keys beneath it.
pub fn position_of_marker(marker: &str, prefix: &str, delimiter: Option<&str>) -> Position {
    let rolled = delimiter.and_then(|delimiter| roll(marker, prefix, delimiter));
    match rolled {
        Some(rolled) if rolled == marker => Position::Prefix(rolled),
        _ => Position::Key(marker.to_owned()),
    }
}

/// The common prefix a key belongs to.
fn roll(key: &str, prefix: &str, delimiter: &str) -> Option<String> {
    let rest = key.strip_prefix(prefix)?;
    let end = rest.find(delimiter)? + delimiter.len();
    Some(format!("{prefix}{}", rest.get(..end)?))
}

/// The first byte string after all that begin with `prefix`; `None` when there is none.
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut next = prefix.to_vec();
    while let Some(last) = next.pop() {
        if last < u8::MAX {
            next.push(last + 1);
            return Some(next);
        }
    }
    None
}

/// The bounds of a scan: from `from`, itself included or not, up to but without `until`.
struct Bounds {
    from: Vec<u8>,
    included: bool,
    until: Option<Vec<u8>>,
}

impl Bounds {
    /// `None` when nothing can be within.
    fn new(prefix: &str, after: Option<&Position>) -> Option<Self> {
        let mut bounds =
            Self { from: prefix.as_bytes().to_vec(), included: true, until: after_prefix(prefix.as_bytes()) };
        match after {
            Some(Position::Key(key)) if key.as_bytes() >= bounds.from.as_slice() => {
                bounds.from = key.as_bytes().to_vec();
                bounds.included = false;
            }
            Some(Position::Prefix(passed)) => {
                let next = after_prefix(passed.as_bytes())?;
                bounds.from = bounds.from.max(next);
            }
            _ => {}
        }
        Some(bounds)
    }

    /// Goes on behind everything that begins with `prefix`.
    fn skip(&mut self, prefix: &str) -> bool {
        match after_prefix(prefix.as_bytes()) {
            Some(next) => {
                self.from = next;
                self.included = true;
                true
            }
            None => false,
        }
    }
}

/// What is listed: rows of a table with scope, bucket and key.
struct Table<T> {
    name: &'static str,
    columns: &'static str,
    order: &'static str,
    read: fn(&Row<'_>) -> rusqlite::Result<T>,
    key_of: fn(&T) -> &str,
}

const OBJECTS: Table<Object> = Table {
    name: "objects",
    columns: OBJECT_COLUMNS,
    order: "key",
    read: object_of,
    key_of: |object| &object.key,
};
const UPLOADS: Table<Upload> = Table {
    name: "uploads",
    columns: "key, id, started, checksum, description",
    order: "key, id",
    read: upload_of,
    key_of: |upload| &upload.key,
};

/// One page of a table.
fn page<T>(
    connection: &Connection,
    table: &Table<T>,
    bucket: &Bucket,
    query: &Query,
    after_upload: Option<&(String, String)>,
) -> rusqlite::Result<Page<T>> {
    let mut page = Page { entries: Vec::new(), next: None };
    let mut last: Option<Position> = None;
    let Some(mut bounds) = Bounds::new(&query.prefix, query.after.as_ref()) else { return Ok(page) };
    let mut begin_at_upload = after_upload.filter(|(key, _)| key.starts_with(&query.prefix));
    'scan: loop {
        // The rest of one key's uploads comes before the keys behind it.
        let (lower, from, id) = match begin_at_upload.take() {
            Some((key, id)) => ("(key, id) > (?3, ?5)", key.as_bytes().to_vec(), id.clone()),
            None if bounds.included => ("key >= ?3 AND ?5 = ''", bounds.from.clone(), String::new()),
            None => ("key > ?3 AND ?5 = ''", bounds.from.clone(), String::new()),
        };
        let mut statement = connection.prepare_cached(&format!(
            "SELECT {} FROM {} WHERE scope = ?1 AND bucket = ?2 AND {lower} AND (?4 IS NULL OR key < ?4) ORDER BY {}",
            table.columns, table.name, table.order
        ))?;
        let until = bounds.until.clone().map_or(Value::Null, Value::Blob);
        let mut rows = statement.query(params![bucket.scope.key(), bucket.name, from, until, id])?;
        while let Some(row) = rows.next()? {
            let item = (table.read)(row)?;
            let rolled = query
                .delimiter
                .as_deref()
                .and_then(|delimiter| roll((table.key_of)(&item), &query.prefix, delimiter));
            if page.entries.len() == query.limit {
                page.next = last;
                return Ok(page);
            }
            match rolled {
                Some(prefix) => {
                    let more = bounds.skip(&prefix);
                    last = Some(Position::Prefix(prefix.clone()));
                    page.entries.push(Entry::Prefix(prefix));
                    if more {
                        continue 'scan;
                    }
                    break 'scan;
                }
                None => {
                    last = Some(Position::Key((table.key_of)(&item).to_owned()));
                    page.entries.push(Entry::Row(item));
                }
            }
        }
        return Ok(page);
    }
    Ok(page)
}

impl ObjectStore {
    /// A page of a bucket's objects. A limit of 0 gives an empty last page, as S3 does.
    pub async fn list(&self, bucket: &Bucket, query: Query) -> Result<Page<Object>, ObjectError> {
        if query.limit == 0 {
            return Ok(Page { entries: Vec::new(), next: None });
        }
        let bucket = bucket.clone();
        let listed = self.database.read(move |connection| {
            page(connection, &OBJECTS, &bucket, &query, None).map_err(failed("failed to list objects"))
        });
        Ok(listed.await?)
    }

    /// A page of a bucket's uploads, by key and then in order of their beginning.
    pub async fn list_uploads(&self, bucket: &Bucket, query: UploadQuery) -> Result<UploadPage, ObjectError> {
        if query.keys.limit == 0 {
            return Ok(Page { entries: Vec::new(), next: None });
        }
        let bucket = bucket.clone();
        let listed = self.database.read(move |connection| {
            page(connection, &UPLOADS, &bucket, &query.keys, query.after_upload.as_ref())
                .map_err(failed("failed to list uploads"))
        });
        Ok(listed.await?)
    }
}
