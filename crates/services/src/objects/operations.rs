//! Objects: put, head, get, delete, tags.

use crate::objects::buckets;
use crate::objects::checksum::{self, Algorithm, Checksum, Digests, Kind};
use crate::objects::condition::WriteConditions;
use crate::objects::content::{Arrived, Body, Contents, Hold};
use crate::objects::object::{
    Bucket, Description, OBJECT_COLUMNS, Object, Part, Removed, failed, json, none, object_of, put_segment,
    segments, signed,
};
use crate::objects::{ObjectError, ObjectStore, PARTS};
use bytes::Bytes;
use futures_util::Stream;
use lamplight_store::StoreError;
use rusqlite::{Connection, OptionalExtension as _, params};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// What a body must turn out to be.
#[derive(Default)]
pub struct Integrity {
    /// `Content-MD5`.
    pub md5: Option<[u8; 16]>,
    /// The SHA-256 that the signature covers.
    pub signed_sha256: Option<[u8; 32]>,
    /// Bytes announced.
    pub bytes: Option<u64>,
    /// The checksum to store.
    pub algorithm: Option<Algorithm>,
    /// Its value, asked for when the whole body was read: it may come after the body. `Err` refuses the body.
    #[allow(clippy::type_complexity)]
    pub expected: Option<Box<dyn FnOnce() -> Result<Option<Vec<u8>>, ObjectError> + Send>>,
}

impl Integrity {
    /// What to compute: the algorithm to store, `also`, and what the signature needs.
    pub(crate) fn algorithms(&self, also: Algorithm) -> Vec<Algorithm> {
        let signed = self.signed_sha256.map(|_| Algorithm::Sha256);
        [Some(also), self.algorithm, signed].into_iter().flatten().collect()
    }

    /// Whether the body is what it must be.
    pub(crate) fn judge(self, size: u64, digests: &Digests) -> Result<(), ObjectError> {
        if self.bytes.is_some_and(|bytes| bytes != size) {
            return Err(ObjectError::IncompleteBody);
        }
        if self.md5.is_some_and(|md5| md5 != digests.md5) {
            return Err(ObjectError::BadDigest);
        }
        if let Some(signed) = self.signed_sha256
            && digests.get(Algorithm::Sha256) != Some(signed.as_slice())
        {
            return Err(ObjectError::ContentSha256Mismatch);
        }
        if let (Some(algorithm), Some(expected)) = (self.algorithm, self.expected)
            && let Some(expected) = expected()?
            && digests.get(algorithm) != Some(expected.as_slice())
        {
            return Err(ObjectError::BadChecksum(algorithm.name()));
        }
        Ok(())
    }
}

/// An object found, whose content stays readable as long as this lives.
pub struct OpenObject {
    /// The object.
    pub object: Object,
    segments: Vec<Part>,
    hold: Hold,
    contents: Arc<Contents>,
}

impl OpenObject {
    /// The bytes of `range`, piece by piece.
    pub fn read(self, range: Range<u64>) -> impl Stream<Item = std::io::Result<Bytes>> + Send + use<> {
        let pieces: Vec<_> = self.segments.into_iter().map(|part| (part.file, part.size)).collect();
        self.contents.read(&pieces, range, self.hold)
    }

    /// Which bytes a part is, and how many parts there are; `None` when there is no such part. An object put at once is
    /// its own part 1.
    pub fn part(&self, number: u32) -> Option<(Range<u64>, u32)> {
        if self.object.parts == 0 {
            return (number == 1).then_some((0..self.object.size, 1));
        }
        let mut at = 0;
        for part in &self.segments {
            if part.number == number {
                return Some((at..at + part.size, self.object.parts));
            }
            at += part.size;
        }
        None
    }
}

impl ObjectStore {
    /// Stores an object over whatever has its key; durable when this returns.
    ///
    /// Fails with what the body fails with or is judged to be, `NoSuchBucket`, `PreconditionFailed`, `NoSuchKey`
    /// (`If-Match` without an object); nothing is changed then.
    pub async fn put(
        &self,
        bucket: &Bucket,
        key: &str,
        description: Description,
        conditions: WriteConditions,
        integrity: Integrity,
        body: Body,
    ) -> Result<Object, ObjectError> {
        // A body that cannot be stored is not waited for.
        self.check_size(&integrity)?;
        self.check_write(bucket, key, &conditions).await?;
        let algorithm = integrity.algorithm.unwrap_or(Algorithm::Crc64Nvme);
        let algorithms = integrity.algorithms(algorithm);
        let arrived = self
            .contents
            .receive(body, self.bounds.body_bytes, &algorithms, |size, digests| {
                integrity.judge(size, digests)
            })
            .await?;
        self.store(bucket, key, description, conditions, algorithm, arrived).await
    }

    /// Refuses a body that says it is too large.
    pub(crate) fn check_size(&self, integrity: &Integrity) -> Result<(), ObjectError> {
        match integrity.bytes {
            Some(bytes) if bytes > self.bounds.body_bytes => {
                Err(ObjectError::EntityTooLarge(self.bounds.body_bytes))
            }
            _ => Ok(()),
        }
    }

    pub(crate) async fn check_write(
        &self,
        bucket: &Bucket,
        key: &str,
        conditions: &WriteConditions,
    ) -> Result<(), ObjectError> {
        let (bucket, key, conditions) = (bucket.clone(), key.to_owned(), conditions.clone());
        self.database
            .read(move |connection| {
                if !buckets::exists(connection, &bucket)? {
                    return Ok(Err(ObjectError::NoSuchBucket));
                }
                let present = find(connection, &bucket, &key)?;
                Ok(conditions.check(present.as_ref().map(|object| object.etag.as_str())))
            })
            .await?
    }

    /// Gives arrived content its row.
    pub(crate) async fn store(
        &self,
        bucket: &Bucket,
        key: &str,
        description: Description,
        conditions: WriteConditions,
        algorithm: Algorithm,
        arrived: Arrived,
    ) -> Result<Object, ObjectError> {
        let value = arrived.digests.get(algorithm).map(checksum::encode);
        let object = Object {
            key: key.to_owned(),
            size: arrived.size,
            etag: checksum::hexadecimal(&arrived.digests.md5),
            modified: (self.clock)(),
            parts: 0,
            checksum: value.map(|value| Checksum { algorithm, kind: Kind::FullObject, value }),
            description,
            content: uuid::Uuid::new_v4().simple().to_string(),
        };
        let segment = Part {
            number: 1,
            size: object.size,
            etag: object.etag.clone(),
            modified: object.modified,
            checksum: None,
            file: arrived.file.clone(),
        };
        let (store, bucket) = (self.clone(), bucket.clone());
        // In a task of its own: a caller that goes away must not take the file from under a row that is committed.
        let storing = tokio::spawn(async move {
            let stored = object.clone();
            let change = store.database.write(move |connection| {
                replace(connection, &bucket, &stored, &conditions, |connection| {
                    put_segment(connection, &stored.content, &segment)
                })
            });
            store.settle(arrived, change.await, object).await
        });
        storing.await.map_err(|error| StoreError::failed("failed to store an object", error))?
    }

    /// The object without its bytes. Fails with `NoSuchKey`.
    pub async fn head(&self, bucket: &Bucket, key: &str) -> Result<Object, ObjectError> {
        let (bucket, key) = (bucket.clone(), key.to_owned());
        self.database
            .read(move |connection| find(connection, &bucket, &key))
            .await?
            .ok_or(ObjectError::NoSuchKey)
    }

    /// The object with its bytes, as it is now, whatever happens to its key meanwhile. Fails with `NoSuchKey`.
    pub async fn open_object(&self, bucket: &Bucket, key: &str) -> Result<OpenObject, ObjectError> {
        let _gate = self.contents.gate.read().await;
        let (bucket, key) = (bucket.clone(), key.to_owned());
        let found = self.database.read(move |connection| {
            let Some(object) = find(connection, &bucket, &key)? else { return Ok(None) };
            let segments = segments(connection, &object.content, 0, PARTS as usize)
                .map_err(failed("failed to read the segments of an object"))?;
            Ok(Some((object, segments)))
        });
        let (object, segments) = found.await?.ok_or(ObjectError::NoSuchKey)?;
        let hold = self.contents.hold(&object.content);
        Ok(OpenObject { object, segments, hold, contents: Arc::clone(&self.contents) })
    }

    /// Deletes objects in one transaction, each under its conditions; durable when this returns. What is not there counts
    /// as deleted, unless it must match.
    ///
    /// Gives one result per key. Fails with `NoSuchBucket`.
    pub async fn delete(
        &self,
        bucket: &Bucket,
        keys: Vec<(String, WriteConditions)>,
    ) -> Result<Vec<Result<(), ObjectError>>, ObjectError> {
        let bucket = bucket.clone();
        let change = self.change(move |connection| {
            if !buckets::exists(connection, &bucket)? {
                return Ok(Err(ObjectError::NoSuchBucket));
            }
            let doing = failed("failed to delete an object");
            let mut removed = Removed::default();
            let mut results = Vec::with_capacity(keys.len());
            for (key, conditions) in keys {
                let present = find(connection, &bucket, &key)?;
                let checked = conditions.check(present.as_ref().map(|object| object.etag.as_str()));
                if let (Ok(()), Some(object)) = (&checked, present) {
                    connection
                        .prepare_cached("DELETE FROM objects WHERE scope = ?1 AND bucket = ?2 AND key = ?3")
                        .and_then(|mut statement| {
                            statement.execute(params![bucket.scope.key(), bucket.name, key.as_bytes()])
                        })
                        .map_err(&doing)?;
                    removed.take(connection, &object.content, none).map_err(&doing)?;
                }
                results.push(checked);
            }
            Ok(Ok((results, removed)))
        });
        change.await
    }

    /// Replaces an object's tags. Fails with `NoSuchKey`.
    pub async fn put_tags(
        &self,
        bucket: &Bucket,
        key: &str,
        tags: BTreeMap<String, String>,
    ) -> Result<(), ObjectError> {
        let (bucket, key) = (bucket.clone(), key.to_owned());
        self.database
            .write(move |connection| {
                let Some(mut object) = find(connection, &bucket, &key)? else {
                    return Ok(Err(ObjectError::NoSuchKey));
                };
                object.description.tags = tags;
                put_row(connection, &bucket, &object).map_err(failed("failed to tag an object"))?;
                Ok(Ok(()))
            })
            .await?
    }
}

pub(crate) fn find(
    connection: &Connection,
    bucket: &Bucket,
    key: &str,
) -> Result<Option<Object>, StoreError> {
    connection
        .prepare_cached(&format!(
            "SELECT {OBJECT_COLUMNS} FROM objects WHERE scope = ?1 AND bucket = ?2 AND key = ?3"
        ))
        .and_then(|mut statement| {
            statement
                .query_row(params![bucket.scope.key(), bucket.name, key.as_bytes()], object_of)
                .optional()
        })
        .map_err(failed("failed to read an object"))
}

/// Puts an object's row in the place of whatever has its key, after `prepare` has written its segments. Gives back the
/// files that are to go, or why nothing was changed.
pub(crate) fn replace(
    connection: &Connection,
    bucket: &Bucket,
    object: &Object,
    conditions: &WriteConditions,
    prepare: impl FnOnce(&Connection) -> rusqlite::Result<()>,
) -> Result<Result<Removed, ObjectError>, StoreError> {
    let doing = failed("failed to store an object");
    if !buckets::exists(connection, bucket)? {
        return Ok(Err(ObjectError::NoSuchBucket));
    }
    let present = find(connection, bucket, &object.key)?;
    if let Err(refused) = conditions.check(present.as_ref().map(|object| object.etag.as_str())) {
        return Ok(Err(refused));
    }
    let mut removed = Removed::default();
    if let Some(present) = present {
        removed.take(connection, &present.content, none).map_err(&doing)?;
    }
    prepare(connection).and_then(|()| put_row(connection, bucket, object)).map_err(&doing)?;
    Ok(Ok(removed))
}

fn put_row(connection: &Connection, bucket: &Bucket, object: &Object) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO objects \
             (scope, bucket, key, content, size, etag, modified, parts, checksum, description) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            bucket.scope.key(),
            bucket.name,
            object.key.as_bytes(),
            object.content,
            signed(object.size),
            object.etag,
            object.modified.as_millis(),
            object.parts,
            json(object.checksum.as_ref())?,
            json(Some(&object.description))?
        ])
        .map(|_| ())
}
