//! Between the types of s3s and those of the object store.

use crate::s3::error::{self, invalid_argument, invalid_request, not_implemented, refusal};
use crate::s3::payload::Payload;
use http::StatusCode;
use lamplight_model::Timestamp;
use lamplight_services::objects::{
    Algorithm, Checksum, Integrity, Kind, ObjectError, ReadConditions, Tag, WriteConditions, checksum,
};
use s3s::dto::{self, ETag, ETagCondition};
use s3s::{S3Error, S3Result};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::sync::PoisonError;

/// Bytes of all user metadata of an object, names and values. Source: S3 user guide, "Working with object metadata".
const METADATA_BYTES: usize = 2 * 1024;
/// Tags of an object. Source: S3 user guide, "Categorizing your objects using tags".
const TAGS: usize = 10;
const TAG_KEY_CHARACTERS: usize = 128;
const TAG_VALUE_CHARACTERS: usize = 256;

/// Whole seconds, as S3's times are.
pub fn time_of(at: Timestamp) -> dto::Timestamp {
    let seconds = at.as_millis().div_euclid(1_000);
    time::OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(time::OffsetDateTime::UNIX_EPOCH).into()
}

/// Milliseconds.
pub fn timestamp_of(at: dto::Timestamp) -> Timestamp {
    let at: time::OffsetDateTime = at.into();
    Timestamp(i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX))
}

/// A strong entity tag.
pub fn etag(value: &str) -> ETag {
    ETag::Strong(value.to_owned())
}

/// Sizes are far below 2^63.
pub fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The canonical user id of an account: 64 digits that do not tell the account.
pub fn owner_id(account: &str) -> String {
    checksum::hexadecimal(&Sha256::digest(account))
}

fn tag_of(condition: ETagCondition) -> Tag {
    match condition {
        ETagCondition::Any => Tag::Any,
        ETagCondition::ETag(etag) => Tag::Is(etag.into_value()),
    }
}

/// Conditions of a read.
pub fn read_conditions(
    if_match: Option<ETagCondition>,
    if_none_match: Option<ETagCondition>,
    if_modified_since: Option<dto::Timestamp>,
    if_unmodified_since: Option<dto::Timestamp>,
) -> ReadConditions {
    ReadConditions {
        if_match: if_match.map(tag_of),
        if_none_match: if_none_match.map(tag_of),
        if_modified_since: if_modified_since.map(timestamp_of),
        if_unmodified_since: if_unmodified_since.map(timestamp_of),
    }
}

/// Conditions of a write. S3 takes no entity tag in `If-None-Match`.
pub fn write_conditions(
    if_match: Option<ETagCondition>,
    if_none_match: Option<ETagCondition>,
) -> S3Result<WriteConditions> {
    let if_absent = match if_none_match {
        None => false,
        Some(ETagCondition::Any) => true,
        Some(ETagCondition::ETag(_)) => {
            return Err(not_implemented(
                "A header you provided implies functionality that is not implemented (If-None-Match with an entity tag)",
            ));
        }
    };
    Ok(WriteConditions { if_match: if_match.map(tag_of), if_absent })
}

/// The five checksum members that many shapes of S3 have.
#[derive(Debug, Clone, Default)]
pub struct Checksums {
    pub crc32: Option<String>,
    pub crc32c: Option<String>,
    pub crc64nvme: Option<String>,
    pub sha1: Option<String>,
    pub sha256: Option<String>,
    pub kind: Option<dto::ChecksumType>,
}

/// Takes the checksum members out of a shape.
macro_rules! checksums_of {
    ($shape:expr) => {
        $crate::s3::convert::Checksums {
            crc32: $shape.checksum_crc32.take(),
            crc32c: $shape.checksum_crc32c.take(),
            crc64nvme: $shape.checksum_crc64nvme.take(),
            sha1: $shape.checksum_sha1.take(),
            sha256: $shape.checksum_sha256.take(),
            kind: None,
        }
    };
}
/// Puts a checksum into the members of a shape.
macro_rules! put_checksum {
    ($shape:expr, $checksum:expr) => {{
        let checksums = $crate::s3::convert::Checksums::from($checksum);
        $shape.checksum_crc32 = checksums.crc32;
        $shape.checksum_crc32c = checksums.crc32c;
        $shape.checksum_crc64nvme = checksums.crc64nvme;
        $shape.checksum_sha1 = checksums.sha1;
        $shape.checksum_sha256 = checksums.sha256;
    }};
}
pub(crate) use {checksums_of, put_checksum};

impl From<Option<&Checksum>> for Checksums {
    fn from(checksum: Option<&Checksum>) -> Self {
        let mut members = Self::default();
        if let Some(checksum) = checksum {
            let value = Some(checksum.value.clone());
            match checksum.algorithm {
                Algorithm::Crc32 => members.crc32 = value,
                Algorithm::Crc32c => members.crc32c = value,
                Algorithm::Crc64Nvme => members.crc64nvme = value,
                Algorithm::Sha1 => members.sha1 = value,
                Algorithm::Sha256 => members.sha256 = value,
            }
            members.kind = Some(kind_name(checksum.kind));
        }
        members
    }
}

impl Checksums {
    /// The one that was given. Fails with `InvalidRequest` when there are several.
    pub fn single(self) -> S3Result<Option<(Algorithm, String)>> {
        let mut given = [
            (Algorithm::Crc32, self.crc32),
            (Algorithm::Crc32c, self.crc32c),
            (Algorithm::Crc64Nvme, self.crc64nvme),
            (Algorithm::Sha1, self.sha1),
            (Algorithm::Sha256, self.sha256),
        ]
        .into_iter()
        .filter_map(|(algorithm, value)| Some((algorithm, value?)));
        match (given.next(), given.next()) {
            (one, None) => Ok(one),
            _ => Err(invalid_request(
                "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
            )),
        }
    }
}

/// `FULL_OBJECT` or `COMPOSITE`.
pub fn kind_name(kind: Kind) -> dto::ChecksumType {
    dto::ChecksumType::from_static(match kind {
        Kind::FullObject => dto::ChecksumType::FULL_OBJECT,
        Kind::Composite => dto::ChecksumType::COMPOSITE,
    })
}

/// As S3 names it.
pub fn algorithm_name(algorithm: Algorithm) -> dto::ChecksumAlgorithm {
    dto::ChecksumAlgorithm::from_static(algorithm.name())
}

/// By S3's name. Fails with `InvalidRequest` for one S3 does not have.
pub fn algorithm_of(name: Option<&dto::ChecksumAlgorithm>) -> S3Result<Option<Algorithm>> {
    let parse = |name: &dto::ChecksumAlgorithm| {
        Algorithm::parse(name.as_str()).ok_or_else(|| {
            invalid_request(
                "Checksum algorithm provided is unsupported. Please try again with any of the valid types: \
                 [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
            )
        })
    };
    name.map(parse).transpose()
}

/// What a body must turn out to be: its head's digests, and the checksum of a header or of the trailer.
pub fn integrity(
    payload: Option<&Payload>,
    content_md5: Option<&str>,
    named: Option<&dto::ChecksumAlgorithm>,
    given: Checksums,
) -> S3Result<Integrity> {
    let payload = payload.cloned().unwrap_or_default();
    let named = algorithm_of(named)?;
    let md5 = content_md5
        .map(|text| checksum::decode(text, 16).and_then(|bytes| bytes.try_into().ok()))
        .map(|md5| {
            md5.ok_or_else(|| {
                refusal(
                    StatusCode::BAD_REQUEST,
                    "InvalidDigest",
                    "The Content-MD5 you specified was invalid.",
                )
            })
        })
        .transpose()?;
    let mut integrity =
        Integrity { md5, signed_sha256: payload.signed_sha256, bytes: payload.bytes, ..Integrity::default() };
    if let Some((algorithm, value)) = given.single()? {
        let value = decode(algorithm, &value)?;
        integrity.algorithm = Some(algorithm);
        integrity.expected = Some(Box::new(move || Ok(Some(value))));
    } else if let Some(algorithm) = payload.trailer {
        integrity.algorithm = Some(algorithm);
        let trailers = payload.trailers;
        integrity.expected = Some(Box::new(move || {
            let trailers = trailers.lock().unwrap_or_else(PoisonError::into_inner);
            let value = trailers.iter().find(|(name, _)| name == algorithm.header()).map(|(_, value)| value);
            let value = value.and_then(|value| checksum::decode(value, algorithm.bytes()));
            value.map(Some).ok_or_else(|| {
                ObjectError::MalformedBody(
                    "The request contained trailing data that was not well-formed or did not conform to our published \
                     schema."
                        .to_owned(),
                )
            })
        }));
    } else if named.is_some() {
        return Err(invalid_request(
            "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers \
             were found.",
        ));
    }
    if named.is_some() && named != integrity.algorithm {
        return Err(invalid_request("Value for x-amz-sdk-checksum-algorithm header is invalid."));
    }
    Ok(integrity)
}

fn decode(algorithm: Algorithm, value: &str) -> S3Result<Vec<u8>> {
    checksum::decode(value, algorithm.bytes())
        .ok_or_else(|| invalid_request(format!("Value for {} header is invalid.", algorithm.header())))
}

/// User metadata. Fails with `MetadataTooLarge`.
pub fn metadata(given: Option<dto::Metadata>) -> S3Result<BTreeMap<String, String>> {
    let metadata: BTreeMap<String, String> = given.unwrap_or_default().into_iter().collect();
    let bytes: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > METADATA_BYTES {
        let error = refusal(
            StatusCode::BAD_REQUEST,
            "MetadataTooLarge",
            "Your metadata headers exceed the maximum allowed metadata size",
        );
        return Err(error::with_detail(error, "MaxSizeAllowed", &METADATA_BYTES.to_string()));
    }
    Ok(metadata)
}

/// Tags of the `x-amz-tagging` header: a query string.
pub fn header_tags(header: Option<&str>) -> S3Result<BTreeMap<String, String>> {
    tags(form_urlencoded::parse(header.unwrap_or_default().as_bytes()).into_owned())
}

/// Checks tags: ten at most, each key once, keys and values of bounded length.
pub fn tags(given: impl Iterator<Item = (String, String)>) -> S3Result<BTreeMap<String, String>> {
    let bad = |message: &'static str| refusal(StatusCode::BAD_REQUEST, "InvalidTag", message);
    let mut tags = BTreeMap::new();
    for (key, value) in given {
        if key.is_empty() || key.chars().count() > TAG_KEY_CHARACTERS {
            return Err(bad("The TagKey you have provided is invalid"));
        }
        if value.chars().count() > TAG_VALUE_CHARACTERS {
            return Err(bad("The TagValue you have provided is invalid"));
        }
        if tags.insert(key, value).is_some() {
            return Err(bad("Cannot provide multiple Tags with the same key"));
        }
    }
    if tags.len() > TAGS {
        return Err(refusal(StatusCode::BAD_REQUEST, "BadRequest", "Object tags cannot be greater than 10"));
    }
    Ok(tags)
}

/// Only the null version is there: buckets are not versioned.
pub fn check_version(version: Option<&str>) -> S3Result<()> {
    match version {
        None | Some("null") => Ok(()),
        Some(_) => Err(invalid_argument("Invalid version id specified")),
    }
}

/// A count from the query string, at most `most`. Fails with `InvalidArgument` below 0.
pub fn limit(given: Option<i32>, name: &str, most: i32) -> S3Result<(i32, usize)> {
    let given = given.unwrap_or(most);
    let limit = usize::try_from(given).map_err(|_| negative(name))?;
    Ok((given.min(most), limit.min(usize::try_from(most).unwrap_or(usize::MAX))))
}

fn negative(name: &str) -> S3Error {
    invalid_argument(format!("Argument {name} must be an integer between 0 and 2147483647"))
}
