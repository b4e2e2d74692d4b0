//! Why the object store refuses or fails. The names are S3's; how they are printed is the front door's affair.

use lamplight_store::StoreError;

/// What an operation answers instead of its result.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// There is no such bucket.
    #[error("the bucket does not exist")]
    NoSuchBucket,
    /// There is no such object.
    #[error("the object does not exist")]
    NoSuchKey,
    /// There is no such upload: never begun, completed or aborted.
    #[error("the upload does not exist")]
    NoSuchUpload,
    /// The caller's account has a bucket of this name.
    #[error("the bucket exists already")]
    BucketAlreadyOwnedByYou,
    /// Another account has a bucket of this name.
    #[error("the bucket name is taken")]
    BucketAlreadyExists,
    /// A bucket with objects is not deleted.
    #[error("the bucket is not empty")]
    BucketNotEmpty,
    /// The body has another MD5 than `Content-MD5` says.
    #[error("the body differs from its MD5")]
    BadDigest,
    /// The body has another checksum than was announced; the algorithm's S3 name.
    #[error("the body differs from its {0} checksum")]
    BadChecksum(&'static str),
    /// The body has another SHA-256 than the signature covers.
    #[error("the body differs from its signed SHA-256")]
    ContentSha256Mismatch,
    /// Fewer or more bytes came than were announced.
    #[error("the body has another length than announced")]
    IncompleteBody,
    /// No byte of the body came for too long.
    #[error("the body stopped coming")]
    RequestTimeout,
    /// The client broke the body's framing.
    #[error("the body is malformed: {0}")]
    MalformedBody(String),
    /// A single body above the bound, bytes.
    #[error("the body is larger than {0} bytes")]
    EntityTooLarge(u64),
    /// All objects together would exceed the bound, bytes.
    #[error("all objects together would exceed {0} bytes")]
    StorageFull(u64),
    /// A part that is not the last is smaller than S3 allows.
    #[error("part {number} of {size} bytes is too small")]
    EntityTooSmall {
        /// Its number.
        number: u32,
        /// Its size, bytes.
        size: u64,
    },
    /// A part of the list was not uploaded, or has another entity tag or checksum.
    #[error("part {0} is not there or differs")]
    InvalidPart(u32),
    /// The list of parts is not in ascending order.
    #[error("the parts are not in ascending order")]
    InvalidPartOrder,
    /// A part's checksum is of another kind than the upload was begun with: what was expected, what came.
    #[error("the upload uses checksum {expected}, the part {actual}")]
    ChecksumType {
        /// The upload's.
        expected: &'static str,
        /// The part's.
        actual: &'static str,
    },
    /// A condition of the request does not hold; the header's name.
    #[error("condition {0} does not hold")]
    PreconditionFailed(&'static str),
    /// The file system or the database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
