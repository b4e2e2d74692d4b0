//! Multipart uploads on the wire.

use crate::s3::buckets::{bucket, context};
use crate::s3::convert::{
    Checksums, algorithm_name, algorithm_of, checksums_of, etag, integrity, kind_name, limit, owner_id,
    put_checksum, read_conditions, signed, time_of, write_conditions,
};
use crate::s3::error::{invalid_argument, invalid_range, invalid_request, not_implemented, of};
use crate::s3::objects::{description_of, refuse_unserved, source, too_large};
use crate::s3::payload::{self, Payload};
use lamplight_services::objects::{self, Algorithm, Kind, ObjectStore, PARTS};
use s3s::dto::*;
use s3s::{S3Error, S3Request, S3Result};

/// Rows of one page. Source: ListParts, "MaxParts".
const ROWS: i32 = 1_000;

fn part_number(given: i32) -> S3Result<u32> {
    u32::try_from(given)
        .ok()
        .filter(|number| (1..=PARTS).contains(number))
        .ok_or_else(|| invalid_argument("Part number must be an integer between 1 and 10000, inclusive"))
}

/// What the parts of an upload carry, when the client says so. Fails with `InvalidRequest` for a kind the algorithm does
/// not have.
fn checksum_of(
    algorithm: Option<&ChecksumAlgorithm>,
    kind: Option<&ChecksumType>,
) -> S3Result<Option<(Algorithm, Kind)>> {
    let kind = match kind.map(ChecksumType::as_str) {
        None => None,
        Some(ChecksumType::FULL_OBJECT) => Some(Kind::FullObject),
        Some(ChecksumType::COMPOSITE) => Some(Kind::Composite),
        Some(_) => return Err(invalid_request("Value for x-amz-checksum-type header is invalid.")),
    };
    match (algorithm_of(algorithm)?, kind) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(invalid_request(
            "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
        )),
        (Some(algorithm), kind) => {
            let kind = kind.unwrap_or_else(|| algorithm.default_kind());
            if !algorithm.allows(kind) {
                return Err(invalid_request(format!(
                    "The {} checksum type cannot be used with the {} checksum algorithm.",
                    kind_name(kind).as_str(),
                    algorithm.name().to_ascii_lowercase()
                )));
            }
            Ok(Some((algorithm, kind)))
        }
    }
}

pub async fn create_multipart_upload(
    store: &ObjectStore,
    request: S3Request<CreateMultipartUploadInput>,
) -> S3Result<CreateMultipartUploadOutput> {
    let context = context(&request)?;
    let mut input = request.input;
    refuse_unserved!(input)?;
    let description = description_of!(input);
    let checksum = checksum_of(input.checksum_algorithm.as_ref(), input.checksum_type.as_ref())?;
    let bucket = bucket(store, &context, &input.bucket).await?;
    let upload = store.create_upload(&bucket, &input.key, description, checksum).await.map_err(of)?;
    Ok(CreateMultipartUploadOutput {
        bucket: Some(bucket.name),
        key: Some(upload.key),
        upload_id: Some(upload.id),
        checksum_algorithm: checksum.map(|(algorithm, _)| algorithm_name(algorithm)),
        checksum_type: checksum.map(|(_, kind)| kind_name(kind)),
        ..CreateMultipartUploadOutput::default()
    })
}

pub async fn upload_part(
    store: &ObjectStore,
    request: S3Request<UploadPartInput>,
) -> S3Result<UploadPartOutput> {
    let context = context(&request)?;
    let payload = request.extensions.get::<Payload>().cloned();
    let mut input = request.input;
    if input.sse_customer_algorithm.is_some() {
        return Err(not_implemented(
            "Lamplight does not support server-side encryption with keys of KMS or the client yet.",
        ));
    }
    let number = part_number(input.part_number)?;
    let given = checksums_of!(input);
    let integrity =
        integrity(payload.as_ref(), input.content_md5.as_deref(), input.checksum_algorithm.as_ref(), given)?;
    let bucket = bucket(store, &context, &input.bucket).await?;
    let body = payload::stream(input.body);
    let put = store.put_part(&bucket, &input.key, &input.upload_id, number, integrity, body);
    let part = put.await.map_err(of)?;
    let mut output = UploadPartOutput { e_tag: Some(etag(&part.etag)), ..UploadPartOutput::default() };
    put_checksum!(output, part.checksum.as_ref());
    Ok(output)
}

pub async fn upload_part_copy(
    store: &ObjectStore,
    request: S3Request<UploadPartCopyInput>,
) -> S3Result<UploadPartCopyOutput> {
    let context = context(&request)?;
    let input = request.input;
    let number = part_number(input.part_number)?;
    if input.copy_source_sse_customer_algorithm.is_some() || input.sse_customer_algorithm.is_some() {
        return Err(not_implemented(
            "Lamplight does not support server-side encryption with keys of KMS or the client yet.",
        ));
    }
    let conditions = read_conditions(
        input.copy_source_if_match,
        input.copy_source_if_none_match,
        input.copy_source_if_modified_since,
        input.copy_source_if_unmodified_since,
    );
    let bucket = bucket(store, &context, &input.bucket).await?;
    let (_, open) = source(store, &context, &input.copy_source, &conditions).await?;
    let size = open.object.size;
    let range = match &input.copy_source_range {
        None => 0..size,
        Some(text) => {
            // Only `bytes=first-last`, and within the source.
            let Ok(Range::Int { first, last: Some(last) }) = Range::parse(text) else {
                return Err(invalid_argument(
                    "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are \
                     the zero-based offsets of the first and last bytes to copy",
                ));
            };
            if first > last || last >= size {
                return Err(invalid_range(size));
            }
            first..last + 1
        }
    };
    let copied = store.copy_part(open, range, &bucket, &input.key, &input.upload_id, number);
    let part = copied.await.map_err(too_large)?;
    let mut result = CopyPartResult {
        e_tag: Some(etag(&part.etag)),
        last_modified: Some(time_of(part.modified)),
        ..CopyPartResult::default()
    };
    put_checksum!(result, part.checksum.as_ref());
    Ok(UploadPartCopyOutput { copy_part_result: Some(result), ..UploadPartCopyOutput::default() })
}

pub async fn list_parts(
    store: &ObjectStore,
    request: S3Request<ListPartsInput>,
) -> S3Result<ListPartsOutput> {
    let context = context(&request)?;
    let input = request.input;
    let (shown, limit) = limit(input.max_parts, "max-parts", ROWS)?;
    let marker = input.part_number_marker.unwrap_or(0);
    let after = u32::try_from(marker).map_err(|_| {
        invalid_argument("Argument part-number-marker must be an integer between 0 and 2147483647")
    })?;
    let bucket = bucket(store, &context, &input.bucket).await?;
    let upload = store.upload(&bucket, &input.key, &input.upload_id).await.map_err(of)?;
    let mut parts = store.list_parts(&upload, after, limit + 1).await.map_err(of)?;
    let more = parts.len() > limit;
    parts.truncate(limit);
    let next = parts.last().and_then(|part| i32::try_from(part.number).ok());
    let owner = owner_id(bucket.scope.account.as_str());
    let rows = parts.into_iter().map(|part| {
        let mut row = Part {
            part_number: i32::try_from(part.number).ok(),
            e_tag: Some(etag(&part.etag)),
            last_modified: Some(time_of(part.modified)),
            size: Some(signed(part.size)),
            ..Part::default()
        };
        // S3 shows what the client chose, not what it computes besides.
        put_checksum!(row, part.checksum.as_ref().filter(|_| upload.checksum.is_some()));
        row
    });
    Ok(ListPartsOutput {
        bucket: Some(bucket.name),
        parts: Some(rows.collect()),
        key: Some(upload.key),
        upload_id: Some(upload.id),
        part_number_marker: Some(marker),
        next_part_number_marker: next.filter(|_| more),
        max_parts: Some(shown),
        is_truncated: Some(more),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        owner: Some(Owner { id: Some(owner.clone()), display_name: None }),
        initiator: Some(Initiator { id: Some(owner), display_name: None }),
        checksum_algorithm: upload.checksum.map(|(algorithm, _)| algorithm_name(algorithm)),
        checksum_type: upload.checksum.map(|(_, kind)| kind_name(kind)),
        ..ListPartsOutput::default()
    })
}

pub async fn complete_multipart_upload(
    store: &ObjectStore,
    request: S3Request<CompleteMultipartUploadInput>,
) -> S3Result<CompleteMultipartUploadOutput> {
    let context = context(&request)?;
    let mut input = request.input;
    let conditions = write_conditions(input.if_match.take(), input.if_none_match.take())?;
    let whole = checksums_of!(input).single()?;
    let named = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
    if named.is_empty() || named.len() > PARTS as usize {
        return Err(S3Error::new(s3s::S3ErrorCode::MalformedXML));
    }
    let mut parts = Vec::with_capacity(named.len());
    for mut part in named {
        let (Some(number), Some(tag)) = (part.part_number, part.e_tag.take()) else {
            return Err(S3Error::new(s3s::S3ErrorCode::MalformedXML));
        };
        parts.push(objects::CompletedPart {
            number: part_number(number)?,
            etag: tag.into_value(),
            checksum: checksums_of!(part).single()?,
        });
    }
    let bucket = bucket(store, &context, &input.bucket).await?;
    let completed = store.complete_upload(&bucket, &input.key, &input.upload_id, parts, whole, conditions);
    let object = completed.await.map_err(of)?;
    let path = percent_encoding::utf8_percent_encode(&object.key, percent_encoding::NON_ALPHANUMERIC);
    let mut output = CompleteMultipartUploadOutput {
        location: Some(format!("http://{}/{}/{path}", context.authority, bucket.name)),
        bucket: Some(bucket.name),
        key: Some(object.key.clone()),
        e_tag: Some(etag(&object.etag)),
        ..CompleteMultipartUploadOutput::default()
    };
    output.checksum_type = Checksums::from(object.checksum.as_ref()).kind;
    put_checksum!(output, object.checksum.as_ref());
    Ok(output)
}

pub async fn abort_multipart_upload(
    store: &ObjectStore,
    request: S3Request<AbortMultipartUploadInput>,
) -> S3Result<AbortMultipartUploadOutput> {
    let context = context(&request)?;
    let input = request.input;
    if input.if_match_initiated_time.is_some() {
        return Err(not_implemented("A header you provided implies functionality that is not implemented"));
    }
    let bucket = bucket(store, &context, &input.bucket).await?;
    store.abort_upload(&bucket, &input.key, &input.upload_id).await.map_err(of)?;
    Ok(AbortMultipartUploadOutput::default())
}
