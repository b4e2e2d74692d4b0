//! Multipart uploads: begin, put parts, complete, abort. Source: S3 user guide, "Multipart upload overview" and "Multipart
//! upload limits".

use crate::objects::checksum::{self, Algorithm, Checksum, Kind, combine, decode, encode};
use crate::objects::condition::WriteConditions;
use crate::objects::content::Body;
use crate::objects::object::{
    Bucket, Description, Object, Part, Removed, Upload, failed, json, none, put_segment, segments, upload_of,
};
use crate::objects::operations::{Integrity, replace};
use crate::objects::{ObjectError, ObjectStore, buckets};
use lamplight_store::StoreError;
use md5::{Digest as _, Md5};
use rusqlite::{Connection, OptionalExtension as _, params};
use std::collections::{HashMap, HashSet};

/// Parts of an upload, and the largest number of one.
pub const PARTS: u32 = 10_000;
/// Bytes of every part but the last, at least.
pub const PART_BYTES: u64 = 5 << 20;

/// A part as the client names it when it completes an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedPart {
    /// Its number.
    pub number: u32,
    /// The entity tag it was given, without quotes.
    pub etag: String,
    /// The checksum it should have.
    pub checksum: Option<(Algorithm, String)>,
}

impl ObjectStore {
    /// Begins an upload. Fails with `NoSuchBucket`.
    pub async fn create_upload(
        &self,
        bucket: &Bucket,
        key: &str,
        description: Description,
        checksum: Option<(Algorithm, Kind)>,
    ) -> Result<Upload, ObjectError> {
        let started = (self.clock)();
        let upload = Upload {
            // The time comes first: the uploads of a key are listed in the order of their beginning.
            id: format!("{:016x}{}", started.as_millis(), uuid::Uuid::new_v4().simple()),
            key: key.to_owned(),
            started,
            checksum,
            description,
        };
        let bucket = bucket.clone();
        self.database
            .write(move |connection| {
                if !buckets::exists(connection, &bucket)? {
                    return Ok(Err(ObjectError::NoSuchBucket));
                }
                let put = || {
                    connection
                        .prepare_cached(
                            "INSERT INTO uploads (scope, bucket, key, id, started, checksum, description) \
                             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                        )?
                        .execute(params![
                            bucket.scope.key(),
                            bucket.name,
                            upload.key.as_bytes(),
                            upload.id,
                            upload.started.as_millis(),
                            json(upload.checksum.as_ref())?,
                            json(Some(&upload.description))?
                        ])
                };
                put().map_err(failed("failed to begin an upload"))?;
                Ok(Ok(upload))
            })
            .await?
    }

    /// The upload. Fails with `NoSuchUpload`.
    pub async fn upload(&self, bucket: &Bucket, key: &str, id: &str) -> Result<Upload, ObjectError> {
        let (bucket, key, id) = (bucket.clone(), key.to_owned(), id.to_owned());
        self.database
            .read(move |connection| find(connection, &bucket, &key, &id))
            .await?
            .ok_or(ObjectError::NoSuchUpload)
    }

    /// Stores a part over whatever has its number; durable when this returns.
    ///
    /// Fails with `NoSuchUpload`, `ChecksumType`, or what the body fails with or is judged to be.
    pub async fn put_part(
        &self,
        bucket: &Bucket,
        key: &str,
        id: &str,
        number: u32,
        integrity: Integrity,
        body: Body,
    ) -> Result<Part, ObjectError> {
        let upload = self.upload(bucket, key, id).await?;
        let algorithm = match (upload.checksum, integrity.algorithm) {
            (Some((expected, _)), Some(actual)) if expected != actual => {
                return Err(ObjectError::ChecksumType { expected: expected.name(), actual: actual.name() });
            }
            (Some((expected, _)), _) => expected,
            (None, _) => Algorithm::Crc64Nvme,
        };
        self.check_size(&integrity)?;
        let algorithms = integrity.algorithms(algorithm);
        let arrived = self
            .contents
            .receive(body, self.bounds.body_bytes, &algorithms, |size, digests| {
                integrity.judge(size, digests)
            })
            .await?;
        let value = arrived.digests.get(algorithm).map(encode);
        let part = Part {
            number,
            size: arrived.size,
            etag: checksum::hexadecimal(&arrived.digests.md5),
            modified: (self.clock)(),
            checksum: value.map(|value| Checksum { algorithm, kind: Kind::FullObject, value }),
            file: arrived.file.clone(),
        };
        let (store, bucket) = (self.clone(), bucket.clone());
        // In a task of its own, as `store` does.
        let storing = tokio::spawn(async move {
            let stored = part.clone();
            let change = store.database.write(move |connection| {
                if find(connection, &bucket, &upload.key, &upload.id)?.is_none() {
                    return Ok(Err(ObjectError::NoSuchUpload));
                }
                let doing = failed("failed to store a part");
                let mut removed = Removed::default();
                removed.take_one(connection, &upload.id, number).map_err(&doing)?;
                put_segment(connection, &upload.id, &stored).map_err(&doing)?;
                Ok(Ok(removed))
            });
            store.settle(arrived, change.await, part).await
        });
        storing.await.map_err(|error| StoreError::failed("failed to store a part", error))?
    }

    /// Parts of an upload with numbers above `after`, at most `limit`.
    pub async fn list_parts(
        &self,
        upload: &Upload,
        after: u32,
        limit: usize,
    ) -> Result<Vec<Part>, ObjectError> {
        let id = upload.id.clone();
        let found = self.database.read(move |connection| {
            segments(connection, &id, after, limit).map_err(failed("failed to list the parts of an upload"))
        });
        Ok(found.await?)
    }

    /// Makes an object of the named parts and forgets the others. The bytes are not touched.
    ///
    /// `whole` is the checksum the client says the object has. Fails with `NoSuchUpload`, `InvalidPart`,
    /// `InvalidPartOrder`, `EntityTooSmall`, `BadChecksum`, `PreconditionFailed`.
    pub async fn complete_upload(
        &self,
        bucket: &Bucket,
        key: &str,
        id: &str,
        parts: Vec<CompletedPart>,
        whole: Option<(Algorithm, String)>,
        conditions: WriteConditions,
    ) -> Result<Object, ObjectError> {
        let (bucket, key, id) = (bucket.clone(), key.to_owned(), id.to_owned());
        let modified = (self.clock)();
        let change = self.change(move |connection| {
            let doing = failed("failed to complete an upload");
            let Some(upload) = find(connection, &bucket, &key, &id)? else {
                return Ok(Err(ObjectError::NoSuchUpload));
            };
            let present = segments(connection, &id, 0, PARTS as usize).map_err(&doing)?;
            let chosen = match choose(&present, &parts) {
                Ok(chosen) => chosen,
                Err(refused) => return Ok(Err(refused)),
            };
            let (algorithm, kind) = upload.checksum.unwrap_or((Algorithm::Crc64Nvme, Kind::FullObject));
            let checksum = combine(algorithm, kind, &values(algorithm, &chosen));
            if let Some((algorithm, expected)) = whole
                && let Some(checksum) = &checksum
                && (checksum.algorithm != algorithm
                    || checksum.value.split('-').next() != expected.split('-').next())
            {
                return Ok(Err(ObjectError::BadChecksum(algorithm.name())));
            }
            let object = Object {
                key,
                size: chosen.iter().map(|part| part.size).sum(),
                etag: etag(&chosen),
                modified,
                parts: u32::try_from(chosen.len()).unwrap_or(PARTS),
                checksum,
                description: upload.description,
                content: upload.id,
            };
            let mut removed = match replace(connection, &bucket, &object, &conditions, |_| Ok(()))? {
                Ok(removed) => removed,
                Err(refused) => return Ok(Err(refused)),
            };
            connection
                .prepare_cached(
                    "DELETE FROM uploads WHERE scope = ?1 AND bucket = ?2 AND key = ?3 AND id = ?4",
                )
                .and_then(|mut statement| {
                    statement.execute(params![bucket.scope.key(), bucket.name, object.key.as_bytes(), id])
                })
                .map_err(&doing)?;
            let kept: HashSet<u32> = chosen.iter().map(|part| part.number).collect();
            removed.take(connection, &id, |number| kept.contains(&number)).map_err(&doing)?;
            Ok(Ok((object, removed)))
        });
        change.await
    }

    /// Forgets an upload and its parts. Fails with `NoSuchUpload`.
    pub async fn abort_upload(&self, bucket: &Bucket, key: &str, id: &str) -> Result<(), ObjectError> {
        let (bucket, key, id) = (bucket.clone(), key.to_owned(), id.to_owned());
        let change = self.change(move |connection| {
            let doing = failed("failed to abort an upload");
            let deleted = connection
                .prepare_cached(
                    "DELETE FROM uploads WHERE scope = ?1 AND bucket = ?2 AND key = ?3 AND id = ?4",
                )
                .and_then(|mut statement| {
                    statement.execute(params![bucket.scope.key(), bucket.name, key.as_bytes(), id])
                })
                .map_err(&doing)?;
            if deleted == 0 {
                return Ok(Err(ObjectError::NoSuchUpload));
            }
            let mut removed = Removed::default();
            removed.take(connection, &id, none).map_err(&doing)?;
            Ok(Ok(((), removed)))
        });
        change.await
    }
}

fn find(connection: &Connection, bucket: &Bucket, key: &str, id: &str) -> Result<Option<Upload>, StoreError> {
    connection
        .prepare_cached(
            "SELECT key, id, started, checksum, description FROM uploads \
             WHERE scope = ?1 AND bucket = ?2 AND key = ?3 AND id = ?4",
        )
        .and_then(|mut statement| {
            statement
                .query_row(params![bucket.scope.key(), bucket.name, key.as_bytes(), id], upload_of)
                .optional()
        })
        .map_err(failed("failed to read an upload"))
}

/// The parts that were named, as they were uploaded.
fn choose(present: &[Part], named: &[CompletedPart]) -> Result<Vec<Part>, ObjectError> {
    if named.windows(2).any(|pair| matches!(pair, [first, second] if first.number >= second.number)) {
        return Err(ObjectError::InvalidPartOrder);
    }
    let by_number: HashMap<u32, &Part> = present.iter().map(|part| (part.number, part)).collect();
    let mut chosen = Vec::with_capacity(named.len());
    for (at, part) in named.iter().enumerate() {
        let differs = |found: &&Part| {
            let checksum =
                found.checksum.as_ref().map(|checksum| (checksum.algorithm, checksum.value.as_str()));
            // A checksum of another algorithm than the upload's cannot be compared; it was checked when the part came.
            part.checksum.as_ref().is_some_and(|(algorithm, value)| {
                checksum.is_some_and(|(known, stored)| known == *algorithm && stored != value)
            })
        };
        let found = by_number
            .get(&part.number)
            .copied()
            .filter(|found| found.etag == part.etag && !differs(found))
            .ok_or(ObjectError::InvalidPart(part.number))?;
        if found.size < PART_BYTES && at + 1 < named.len() {
            return Err(ObjectError::EntityTooSmall { number: part.number, size: found.size });
        }
        chosen.push(found.clone());
    }
    Ok(chosen)
}

fn values(algorithm: Algorithm, parts: &[Part]) -> Vec<(Vec<u8>, u64)> {
    let value = |part: &Part| {
        let checksum = part.checksum.as_ref().filter(|checksum| checksum.algorithm == algorithm);
        checksum.and_then(|checksum| decode(&checksum.value, algorithm.bytes())).unwrap_or_default()
    };
    parts.iter().map(|part| (value(part), part.size)).collect()
}

/// MD5 of the parts' MD5s, and how many there are.
fn etag(parts: &[Part]) -> String {
    let mut md5 = Md5::new();
    for part in parts {
        let bytes: Vec<u8> = (0..part.etag.len() / 2)
            .filter_map(|at| u8::from_str_radix(part.etag.get(at * 2..at * 2 + 2)?, 16).ok())
            .collect();
        md5.update(&bytes);
    }
    format!("{}-{}", checksum::hexadecimal(&md5.finalize()), parts.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplight_model::Timestamp;

    fn part(number: u32, size: u64) -> Part {
        let etag = format!("{number:032x}");
        Part { number, size, etag, modified: Timestamp(0), checksum: None, file: None }
    }

    #[test]
    fn parts_are_chosen_as_named() {
        let present = [part(1, PART_BYTES), part(2, 3), part(5, PART_BYTES), part(6, 1)];
        let check = |numbers: &[u32], expected: &str| {
            let named = |number: &u32| CompletedPart {
                number: *number,
                etag: format!("{number:032x}"),
                checksum: None,
            };
            let named: Vec<_> = numbers.iter().map(named).collect();
            let got = match choose(&present, &named) {
                Ok(chosen) => format!("{:?}", chosen.iter().map(|part| part.number).collect::<Vec<_>>()),
                Err(error) => error.to_string(),
            };
            assert_eq!(got, expected, "{numbers:?}");
        };
        check(&[1, 5, 6], "[1, 5, 6]");
        check(&[2], "[2]");
        check(&[1, 2, 5], "part 2 of 3 bytes is too small");
        check(&[5, 1], "the parts are not in ascending order");
        check(&[1, 1], "the parts are not in ascending order");
        check(&[1, 3], "part 3 is not there or differs");
        let wrong = CompletedPart { number: 1, etag: "0".repeat(32), checksum: None };
        assert!(matches!(choose(&present, &[wrong]), Err(ObjectError::InvalidPart(1))));
    }

    /// Two parts of known content: `md5sum` of the two binary digests.
    #[test]
    fn the_entity_tag_is_that_of_the_parts() {
        let digest = |bytes: &[u8]| checksum::hexadecimal(&Md5::digest(bytes));
        let parts =
            [Part { etag: digest(b"first"), ..part(1, 5) }, Part { etag: digest(b"second"), ..part(2, 6) }];
        let both = [Md5::digest(b"first").to_vec(), Md5::digest(b"second").to_vec()].concat();
        assert_eq!(etag(&parts), format!("{}-2", digest(&both)));
    }
}
