//! Objects on the wire: put, get, head, copy, delete, tags.

use crate::s3::access::{arn, authorize};
use crate::s3::buckets::{bucket, context};
use crate::s3::convert::{
    Checksums, algorithm_of, check_version, checksums_of, etag, integrity, put_checksum, read_conditions,
    signed, tags, time_of, write_conditions,
};
use crate::s3::error::{
    invalid_argument, invalid_range, invalid_request, not_implemented, not_modified, of, precondition_failed,
    refusal,
};
use crate::s3::payload::{self, Payload};
use futures_util::TryStreamExt as _;
use http::StatusCode;
use http_body::Frame;
use http_body_util::StreamBody;
use lamplight_services::objects::{
    Algorithm, Description, Object, ObjectError, ObjectStore, OpenObject, ReadConditions, Tag, Verdict,
    WriteConditions,
};
use s3s::dto::*;
use s3s::{S3Error, S3Request, S3Result};
use std::ops::Range as Bytes;

/// Keys of one DeleteObjects. Source: DeleteObjects.
const DELETED_KEYS: usize = 1_000;
/// Longest key, bytes. Source: S3 user guide, "Object key naming guidelines".
const KEY_BYTES: usize = 1_024;
/// What S3 says of an object whose type nobody told.
const NO_TYPE: &str = "binary/octet-stream";

/// Refuses, by name, what a shape asks for that is not served. Each is a member that must be absent.
macro_rules! refuse_unserved {
    ($input:expr) => {{
        let input = &$input;
        // Deploy tools ask for AES256 by habit, as S3 does it to every object unasked. It is taken, and no answer says that it
        // was done.
        let keys = input.server_side_encryption.as_ref().map(s3s::dto::ServerSideEncryption::as_str);
        let encryption = keys.is_some_and(|keys| keys != s3s::dto::ServerSideEncryption::AES256)
            || input.ssekms_key_id.is_some()
            || input.sse_customer_algorithm.is_some()
            || input.sse_customer_key.is_some();
        let lock = input.object_lock_mode.is_some()
            || input.object_lock_retain_until_date.is_some()
            || input.object_lock_legal_hold_status.is_some();
        let grants = input.grant_full_control.is_some()
            || input.grant_read.is_some()
            || input.grant_read_acp.is_some()
            || input.grant_write_acp.is_some();
        let acl = input.acl.as_ref().map(s3s::dto::ObjectCannedACL::as_str);
        let class = input.storage_class.as_ref().map(s3s::dto::StorageClass::as_str);
        let website = input.website_redirect_location.is_some();
        $crate::s3::objects::check_served(encryption, lock, grants, acl, class, website)
    }};
}
pub(super) use refuse_unserved;

/// See `refuse_unserved`. ACLs are answered as by a bucket of S3 with its default ownership.
pub(super) fn check_served(
    encryption: bool,
    lock: bool,
    grants: bool,
    acl: Option<&str>,
    class: Option<&str>,
    website: bool,
) -> S3Result<()> {
    if encryption {
        return Err(not_implemented(
            "Lamplight does not support server-side encryption with keys of KMS or the client yet.",
        ));
    }
    if lock {
        return Err(invalid_request("Bucket is missing Object Lock Configuration"));
    }
    let harmless = [ObjectCannedACL::PRIVATE, ObjectCannedACL::BUCKET_OWNER_FULL_CONTROL];
    if grants || acl.is_some_and(|acl| !harmless.contains(&acl)) {
        return Err(refusal(
            StatusCode::BAD_REQUEST,
            "AccessControlListNotSupported",
            "The bucket does not allow ACLs",
        ));
    }
    if class.is_some_and(|class| class != StorageClass::STANDARD) {
        return Err(not_implemented("Lamplight supports no storage class but STANDARD."));
    }
    if website {
        return Err(not_implemented("Lamplight does not support website redirects yet."));
    }
    Ok(())
}

/// What the client says about an object, out of the members that several shapes have.
macro_rules! description_of {
    ($input:expr) => {
        lamplight_services::objects::Description {
            content_type: $input.content_type.take(),
            content_encoding: $input.content_encoding.take(),
            content_disposition: $input.content_disposition.take(),
            content_language: $input.content_language.take(),
            cache_control: $input.cache_control.take(),
            expires: $input.expires.take().map(|at| $crate::s3::convert::timestamp_of(at).as_millis()),
            metadata: $crate::s3::convert::metadata($input.metadata.take())?,
            tags: $crate::s3::convert::header_tags($input.tagging.as_deref())?,
        }
    };
}
pub(super) use description_of;

pub async fn put_object(
    store: &ObjectStore,
    request: S3Request<PutObjectInput>,
) -> S3Result<PutObjectOutput> {
    let context = context(&request)?;
    let payload = request.extensions.get::<Payload>().cloned();
    let mut input = request.input;
    refuse_unserved!(input)?;
    if input.write_offset_bytes.is_some() {
        return Err(not_implemented("Lamplight does not support appending to objects."));
    }
    let description = description_of!(input);
    let conditions = write_conditions(input.if_match.take(), input.if_none_match.take())?;
    let given = checksums_of!(input);
    let integrity =
        integrity(payload.as_ref(), input.content_md5.as_deref(), input.checksum_algorithm.as_ref(), given)?;
    let bucket = bucket(store, &context, &input.bucket).await?;
    let body = payload::stream(input.body);
    let put = store.put(&bucket, &input.key, description, conditions, integrity, body);
    let object = put.await.map_err(of)?;
    let mut output = PutObjectOutput { e_tag: Some(etag(&object.etag)), ..PutObjectOutput::default() };
    output.checksum_type = Checksums::from(object.checksum.as_ref()).kind;
    put_checksum!(output, object.checksum.as_ref());
    Ok(output)
}

/// Which bytes of an object are asked for, and how the answer says so.
struct Part {
    range: Bytes<u64>,
    content_range: Option<String>,
    parts_count: Option<i32>,
}

fn part_of(open: &OpenObject, range: Option<Range>, part_number: Option<i32>) -> S3Result<Part> {
    let size = open.object.size;
    let shown = |range: &Bytes<u64>| format!("bytes {}-{}/{size}", range.start, range.end - 1);
    match (range, part_number) {
        (Some(_), Some(_)) => Err(refusal(
            StatusCode::BAD_REQUEST,
            "InvalidRequest",
            "Cannot specify both Range header and partNumber query parameter",
        )),
        (Some(range), None) => {
            let range = range.check(size).ok().filter(|range| !range.is_empty());
            let range = range.ok_or_else(|| invalid_range(size))?;
            Ok(Part { content_range: Some(shown(&range)), range, parts_count: None })
        }
        (None, Some(number)) => {
            let number = u32::try_from(number).ok().filter(|number| (1..=10_000).contains(number));
            let number = number.ok_or_else(|| {
                invalid_argument("Part number must be an integer between 1 and 10000, inclusive")
            })?;
            let (range, count) = open.part(number).ok_or_else(|| {
                refusal(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    "InvalidPartNumber",
                    "The requested partnumber is not satisfiable",
                )
            })?;
            let content_range = (!range.is_empty()).then(|| shown(&range));
            let parts_count = (open.object.parts > 0).then(|| i32::try_from(count).unwrap_or(i32::MAX));
            Ok(Part { range, content_range, parts_count })
        }
        (None, None) => Ok(Part { range: 0..size, content_range: None, parts_count: None }),
    }
}

fn check_conditions(conditions: &ReadConditions, object: &Object) -> S3Result<()> {
    match conditions.check(&object.etag, object.modified) {
        Verdict::Proceed => Ok(()),
        Verdict::NotModified(_) => Err(not_modified(&object.etag)),
        Verdict::Failed(condition) => Err(precondition_failed(condition)),
    }
}

/// Members that GetObject and HeadObject answer alike.
macro_rules! describe {
    ($output:expr, $object:expr, $part:expr, $checksum_mode:expr) => {{
        let (object, part) = (&$object, &$part);
        let described = object.description.clone();
        $output.accept_ranges = Some("bytes".to_owned());
        $output.content_length = Some(signed(part.range.end - part.range.start));
        $output.content_range = part.content_range.clone();
        $output.parts_count = part.parts_count;
        $output.e_tag = Some(etag(&object.etag));
        $output.last_modified = Some(time_of(object.modified));
        $output.content_type = Some(described.content_type.unwrap_or_else(|| NO_TYPE.to_owned()));
        $output.content_encoding = described.content_encoding;
        $output.content_disposition = described.content_disposition;
        $output.content_language = described.content_language;
        $output.cache_control = described.cache_control;
        $output.expires = described.expires.map(|at| time_of(lamplight_model::Timestamp(at)));
        $output.metadata = Some(described.metadata.into_iter().collect());
        // The checksum of the whole does not fit a part of it.
        let wanted = $checksum_mode.as_ref().is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED);
        if wanted && part.content_range.is_none() {
            $output.checksum_type = Checksums::from(object.checksum.as_ref()).kind;
            put_checksum!($output, object.checksum.as_ref());
        }
    }};
}

pub async fn get_object(
    store: &ObjectStore,
    request: S3Request<GetObjectInput>,
) -> S3Result<GetObjectOutput> {
    let context = context(&request)?;
    let input = request.input;
    check_version(input.version_id.as_deref())?;
    let bucket = bucket(store, &context, &input.bucket).await?;
    let open = store.open_object(&bucket, &input.key).await.map_err(of)?;
    let conditions = read_conditions(
        input.if_match,
        input.if_none_match,
        input.if_modified_since,
        input.if_unmodified_since,
    );
    check_conditions(&conditions, &open.object)?;
    let part = part_of(&open, input.range, input.part_number)?;
    let mut output = GetObjectOutput::default();
    describe!(output, open.object, part, input.checksum_mode);
    let tags = open.object.description.tags.len();
    output.tag_count = i32::try_from(tags).ok().filter(|tags| *tags > 0);
    let body = StreamBody::new(open.read(part.range).map_ok(Frame::data));
    output.body = Some(StreamingBlob::from(s3s::Body::http_body_unsync(body)));
    Ok(output)
}

pub async fn head_object(
    store: &ObjectStore,
    request: S3Request<HeadObjectInput>,
) -> S3Result<HeadObjectOutput> {
    let context = context(&request)?;
    let input = request.input;
    check_version(input.version_id.as_deref())?;
    let bucket = bucket(store, &context, &input.bucket).await?;
    let open = store.open_object(&bucket, &input.key).await.map_err(of)?;
    let conditions = read_conditions(
        input.if_match,
        input.if_none_match,
        input.if_modified_since,
        input.if_unmodified_since,
    );
    check_conditions(&conditions, &open.object)?;
    let part = part_of(&open, input.range, input.part_number)?;
    let mut output = HeadObjectOutput::default();
    describe!(output, open.object, part, input.checksum_mode);
    Ok(output)
}

/// The object a copy is of, under the conditions on it.
pub(super) async fn source(
    store: &ObjectStore,
    context: &crate::http::Context,
    source: &CopySource,
    conditions: &ReadConditions,
) -> S3Result<(String, OpenObject)> {
    let CopySource::Bucket { bucket: name, key, version_id } = source else {
        return Err(not_implemented("Lamplight does not support access points."));
    };
    check_version(version_id.as_deref())?;
    authorize(context, "GetObject", &arn(name, key))?;
    let from = bucket(store, context, name).await?;
    let open = store.open_object(&from, key).await.map_err(of)?;
    match conditions.check(&open.object.etag, open.object.modified) {
        Verdict::Proceed => Ok((from.name, open)),
        // Of a copy, also what a read would answer 304 is a failed condition.
        Verdict::NotModified(condition) | Verdict::Failed(condition) => {
            Err(precondition_failed(&format!("x-amz-copy-source-{condition}")))
        }
    }
}

pub async fn copy_object(
    store: &ObjectStore,
    request: S3Request<CopyObjectInput>,
) -> S3Result<CopyObjectOutput> {
    let context = context(&request)?;
    let mut input = request.input;
    refuse_unserved!(input)?;
    if input.copy_source_sse_customer_algorithm.is_some() {
        return Err(not_implemented(
            "Lamplight does not support server-side encryption with keys of KMS or the client yet.",
        ));
    }
    let conditions = read_conditions(
        input.copy_source_if_match.take(),
        input.copy_source_if_none_match.take(),
        input.copy_source_if_modified_since.take(),
        input.copy_source_if_unmodified_since.take(),
    );
    let directive = |given: Option<&str>, name: &str| match given {
        None | Some("COPY") => Ok(false),
        Some("REPLACE") => Ok(true),
        Some(_) => Err(invalid_argument(format!("Unknown {name} directive."))),
    };
    let replace = directive(input.metadata_directive.as_ref().map(MetadataDirective::as_str), "metadata")?;
    let replace_tags = directive(input.tagging_directive.as_ref().map(TaggingDirective::as_str), "tagging")?;
    let algorithm = algorithm_of(input.checksum_algorithm.as_ref())?;
    let target = bucket(store, &context, &input.bucket).await?;
    let (from, open) = source(store, &context, &input.copy_source, &conditions).await?;
    if from == target.name && open.object.key == input.key && !replace {
        return Err(invalid_request(
            "This copy request is illegal because it is trying to copy an object to itself without changing the \
             object's metadata, storage class, website redirect location or encryption attributes.",
        ));
    }
    let given: Description = description_of!(input);
    let known = open.object.description.clone();
    let (tags_of_source, given_tags) = (known.tags.clone(), given.tags.clone());
    let mut description = if replace { given } else { known };
    description.tags = if replace_tags { given_tags } else { tags_of_source };
    let algorithm = algorithm
        .or(open.object.checksum.as_ref().map(|checksum| checksum.algorithm))
        .unwrap_or(Algorithm::Crc64Nvme);
    let object = store.copy(open, &target, &input.key, description, algorithm).await.map_err(too_large)?;
    let mut result = CopyObjectResult {
        e_tag: Some(etag(&object.etag)),
        last_modified: Some(time_of(object.modified)),
        ..CopyObjectResult::default()
    };
    result.checksum_type = Checksums::from(object.checksum.as_ref()).kind;
    put_checksum!(result, object.checksum.as_ref());
    Ok(CopyObjectOutput { copy_object_result: Some(result), ..CopyObjectOutput::default() })
}

/// Of a copy, S3 says it in other words.
pub(super) fn too_large(error: ObjectError) -> S3Error {
    match error {
        ObjectError::EntityTooLarge(bound) => invalid_request(format!(
            "The specified copy source is larger than the maximum allowable size for a copy source: {bound}"
        )),
        other => of(other),
    }
}

pub async fn delete_object(
    store: &ObjectStore,
    request: S3Request<DeleteObjectInput>,
) -> S3Result<DeleteObjectOutput> {
    let context = context(&request)?;
    let input = request.input;
    check_version(input.version_id.as_deref())?;
    if input.if_match_last_modified_time.is_some() || input.if_match_size.is_some() {
        return Err(not_implemented("A header you provided implies functionality that is not implemented"));
    }
    let conditions = write_conditions(input.if_match, None)?;
    let bucket = bucket(store, &context, &input.bucket).await?;
    let results = store.delete(&bucket, vec![(input.key, conditions)]).await.map_err(of)?;
    results.into_iter().collect::<Result<(), ObjectError>>().map_err(of)?;
    Ok(DeleteObjectOutput::default())
}

pub async fn delete_objects(
    store: &ObjectStore,
    request: S3Request<DeleteObjectsInput>,
) -> S3Result<DeleteObjectsOutput> {
    let context = context(&request)?;
    let Delete { objects, quiet } = request.input.delete;
    if objects.is_empty() || objects.len() > DELETED_KEYS {
        return Err(S3Error::new(s3s::S3ErrorCode::MalformedXML));
    }
    let bucket = bucket(store, &context, &request.input.bucket).await?;
    let mut errors = Vec::new();
    let mut refuse = |key: String, error: &S3Error| {
        errors.push(s3s::dto::Error {
            key: Some(key),
            code: Some(error.code().as_str().to_owned()),
            message: error.message().map(ToOwned::to_owned),
            version_id: None,
        });
    };
    let mut keys = Vec::new();
    for object in objects {
        let checked = check_version(object.version_id.as_deref()).and_then(|()| {
            if object.key.len() > KEY_BYTES || object.key.is_empty() {
                return Err(refusal(StatusCode::BAD_REQUEST, "KeyTooLongError", "Your key is too long"));
            }
            Ok(())
        });
        match checked {
            Ok(()) => {
                let if_match = object.e_tag.map(|etag| Tag::Is(etag.into_value()));
                keys.push((object.key, WriteConditions { if_match, if_absent: false }));
            }
            Err(error) => refuse(object.key, &error),
        }
    }
    let names: Vec<String> = keys.iter().map(|(key, _)| key.clone()).collect();
    let results = store.delete(&bucket, keys).await.map_err(of)?;
    let mut deleted = Vec::new();
    for (key, result) in names.into_iter().zip(results) {
        match result {
            Ok(()) => deleted.push(DeletedObject { key: Some(key), ..DeletedObject::default() }),
            Err(error) => refuse(key, &of(error)),
        }
    }
    Ok(DeleteObjectsOutput {
        deleted: Some(deleted).filter(|_| quiet != Some(true)),
        errors: Some(errors).filter(|errors| !errors.is_empty()),
        request_charged: None,
    })
}

pub async fn put_object_tagging(
    store: &ObjectStore,
    request: S3Request<PutObjectTaggingInput>,
) -> S3Result<PutObjectTaggingOutput> {
    let context = context(&request)?;
    let input = request.input;
    check_version(input.version_id.as_deref())?;
    let given = input.tagging.tag_set.into_iter();
    let tags = tags(given.map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default())))?;
    let bucket = bucket(store, &context, &input.bucket).await?;
    store.put_tags(&bucket, &input.key, tags).await.map_err(of)?;
    Ok(PutObjectTaggingOutput::default())
}

pub async fn get_object_tagging(
    store: &ObjectStore,
    request: S3Request<GetObjectTaggingInput>,
) -> S3Result<GetObjectTaggingOutput> {
    let context = context(&request)?;
    let input = request.input;
    check_version(input.version_id.as_deref())?;
    let bucket = bucket(store, &context, &input.bucket).await?;
    let object = store.head(&bucket, &input.key).await.map_err(of)?;
    let tags = object.description.tags.into_iter();
    let tag_set = tags.map(|(key, value)| s3s::dto::Tag { key: Some(key), value: Some(value) }).collect();
    Ok(GetObjectTaggingOutput { tag_set, version_id: None })
}

pub async fn delete_object_tagging(
    store: &ObjectStore,
    request: S3Request<DeleteObjectTaggingInput>,
) -> S3Result<DeleteObjectTaggingOutput> {
    let context = context(&request)?;
    let input = request.input;
    check_version(input.version_id.as_deref())?;
    let bucket = bucket(store, &context, &input.bucket).await?;
    store.put_tags(&bucket, &input.key, Default::default()).await.map_err(of)?;
    Ok(DeleteObjectTaggingOutput::default())
}
