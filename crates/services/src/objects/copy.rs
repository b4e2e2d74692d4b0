//! Copies: an object, or a range of one as a part of an upload. The bytes are read and written again, as their MD5 and
//! checksum are those of what was copied.

use crate::objects::checksum::Algorithm;
use crate::objects::condition::WriteConditions;
use crate::objects::content::Body;
use crate::objects::object::{Bucket, Description, Object, Part};
use crate::objects::operations::{Integrity, OpenObject};
use crate::objects::{ObjectError, ObjectStore};
use futures_util::StreamExt as _;
use lamplight_store::StoreError;
use std::ops::Range;

impl ObjectStore {
    /// Stores a copy of `source`, which may be the same key. `algorithm` is the checksum it gets.
    ///
    /// Fails with `NoSuchBucket`, `EntityTooLarge`.
    pub async fn copy(
        &self,
        source: OpenObject,
        bucket: &Bucket,
        key: &str,
        description: Description,
        algorithm: Algorithm,
    ) -> Result<Object, ObjectError> {
        let size = source.object.size;
        let integrity = Integrity { bytes: Some(size), algorithm: Some(algorithm), ..Integrity::default() };
        self.put(bucket, key, description, WriteConditions::default(), integrity, body(source, 0..size)).await
    }

    /// Stores a range of `source` as a part.
    ///
    /// Fails with `NoSuchUpload`, `EntityTooLarge`.
    pub async fn copy_part(
        &self,
        source: OpenObject,
        range: Range<u64>,
        bucket: &Bucket,
        key: &str,
        upload: &str,
        number: u32,
    ) -> Result<Part, ObjectError> {
        let integrity = Integrity { bytes: Some(range.end - range.start), ..Integrity::default() };
        self.put_part(bucket, key, upload, number, integrity, body(source, range)).await
    }
}

fn body(source: OpenObject, range: Range<u64>) -> Body {
    let read = source.read(range);
    Box::pin(
        read.map(|piece| piece.map_err(|error| StoreError::io("failed to read the source", error).into())),
    )
}
