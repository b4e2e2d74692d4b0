//! Lists of objects, both versions, and of uploads.

use crate::http::page;
use crate::s3::buckets::{bucket, context};
use crate::s3::convert::{algorithm_name, etag, kind_name, limit, owner_id, signed, time_of};
use crate::s3::error::{invalid_argument, of};
use lamplight_services::objects::{
    self, Entry, ObjectStore, Position, Query, UploadQuery, position_of_marker,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::*;
use s3s::{S3Request, S3Result};

/// Rows of one page. Source: ListObjectsV2, "MaxKeys"; ListMultipartUploads, "MaxUploads".
const ROWS: i32 = 1_000;
/// What S3 leaves as it is with `encoding-type=url`.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'*');
const LIST: &str = "objects";

/// Writes keys as the client asked for them.
struct Writer {
    url: bool,
}

impl Writer {
    fn new(encoding: Option<&EncodingType>) -> S3Result<Self> {
        match encoding.map(EncodingType::as_str) {
            None => Ok(Self { url: false }),
            Some(EncodingType::URL) => Ok(Self { url: true }),
            Some(_) => Err(invalid_argument("Invalid Encoding Method specified in Request")),
        }
    }

    fn write(&self, text: &str) -> String {
        if self.url { utf8_percent_encode(text, PLAIN).to_string() } else { text.to_owned() }
    }

    fn write_given(&self, text: Option<&String>) -> Option<String> {
        text.map(|text| self.write(text))
    }
}

/// Rows and common prefixes apart.
fn split<T>(entries: Vec<Entry<T>>) -> (Vec<T>, Vec<String>) {
    let (mut rows, mut prefixes) = (Vec::new(), Vec::new());
    for entry in entries {
        match entry {
            Entry::Row(row) => rows.push(row),
            Entry::Prefix(prefix) => prefixes.push(prefix),
        }
    }
    (rows, prefixes)
}

fn common(prefixes: &[String], writer: &Writer) -> Option<Vec<CommonPrefix>> {
    let rows = prefixes.iter().map(|prefix| CommonPrefix { prefix: Some(writer.write(prefix)) });
    Some(rows.collect()).filter(|rows: &Vec<_>| !rows.is_empty())
}

fn row(object: objects::Object, writer: &Writer, owner: Option<&str>) -> Object {
    let checksum = object.checksum.as_ref();
    Object {
        key: Some(writer.write(&object.key)),
        last_modified: Some(time_of(object.modified)),
        e_tag: Some(etag(&object.etag)),
        size: Some(signed(object.size)),
        storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
        checksum_algorithm: checksum.map(|checksum| vec![algorithm_name(checksum.algorithm)]),
        checksum_type: checksum.map(|checksum| kind_name(checksum.kind)),
        owner: owner.map(|owner| Owner { id: Some(owner.to_owned()), display_name: None }),
        ..Object::default()
    }
}

/// An empty delimiter is none.
fn delimiter(given: Option<&String>) -> Option<String> {
    given.filter(|delimiter| !delimiter.is_empty()).cloned()
}

pub async fn list_objects(
    store: &ObjectStore,
    request: S3Request<ListObjectsInput>,
) -> S3Result<ListObjectsOutput> {
    let context = context(&request)?;
    let input = request.input;
    let writer = Writer::new(input.encoding_type.as_ref())?;
    let (shown, limit) = limit(input.max_keys, "max-keys", ROWS)?;
    let bucket = bucket(store, &context, &input.bucket).await?;
    let prefix = input.prefix.clone().unwrap_or_default();
    let delimiter = delimiter(input.delimiter.as_ref());
    let marker = input.marker.as_deref().filter(|marker| !marker.is_empty());
    let after = marker.map(|marker| position_of_marker(marker, &prefix, delimiter.as_deref()));
    let page =
        store.list(&bucket, Query { prefix: prefix.clone(), delimiter: delimiter.clone(), after, limit });
    let page = page.await.map_err(of)?;
    let (rows, prefixes) = split(page.entries);
    let owner = owner_id(bucket.scope.account.as_str());
    // Without a delimiter the last key is the next marker, and S3 does not say it.
    let next = page.next.as_ref().filter(|_| delimiter.is_some()).map(|next| match next {
        Position::Key(text) | Position::Prefix(text) => writer.write(text),
    });
    Ok(ListObjectsOutput {
        name: Some(bucket.name),
        prefix: Some(writer.write(&prefix)),
        marker: Some(writer.write(input.marker.as_deref().unwrap_or_default())),
        max_keys: Some(shown),
        is_truncated: Some(page.next.is_some()),
        contents: Some(rows.into_iter().map(|object| row(object, &writer, Some(&owner))).collect()),
        common_prefixes: common(&prefixes, &writer),
        delimiter: delimiter.map(|delimiter| writer.write(&delimiter)),
        next_marker: next,
        encoding_type: input.encoding_type,
        request_charged: None,
    })
}

pub async fn list_objects_v2(
    store: &ObjectStore,
    request: S3Request<ListObjectsV2Input>,
) -> S3Result<ListObjectsV2Output> {
    let context = context(&request)?;
    let input = request.input;
    let writer = Writer::new(input.encoding_type.as_ref())?;
    let (shown, limit) = limit(input.max_keys, "max-keys", ROWS)?;
    let after = match (&input.continuation_token, &input.start_after) {
        (Some(token), _) => Some(
            page::key(LIST, token)
                .ok_or_else(|| invalid_argument("The continuation token provided is incorrect"))?,
        ),
        (None, Some(key)) if !key.is_empty() => Some(Position::Key(key.clone())),
        _ => None,
    };
    let bucket = bucket(store, &context, &input.bucket).await?;
    let prefix = input.prefix.clone().unwrap_or_default();
    let delimiter = delimiter(input.delimiter.as_ref());
    let page =
        store.list(&bucket, Query { prefix: prefix.clone(), delimiter: delimiter.clone(), after, limit });
    let page = page.await.map_err(of)?;
    let (rows, prefixes) = split(page.entries);
    let count = rows.len() + prefixes.len();
    let owner = input.fetch_owner.unwrap_or(false).then(|| owner_id(bucket.scope.account.as_str()));
    Ok(ListObjectsV2Output {
        name: Some(bucket.name),
        prefix: Some(writer.write(&prefix)),
        max_keys: Some(shown),
        key_count: i32::try_from(count).ok(),
        is_truncated: Some(page.next.is_some()),
        continuation_token: input.continuation_token,
        next_continuation_token: page.next.map(|next| page::token(LIST, &next)),
        contents: Some(rows.into_iter().map(|object| row(object, &writer, owner.as_deref())).collect()),
        common_prefixes: common(&prefixes, &writer),
        delimiter: delimiter.map(|delimiter| writer.write(&delimiter)),
        start_after: writer.write_given(input.start_after.as_ref()),
        encoding_type: input.encoding_type,
        request_charged: None,
    })
}

pub async fn list_multipart_uploads(
    store: &ObjectStore,
    request: S3Request<ListMultipartUploadsInput>,
) -> S3Result<ListMultipartUploadsOutput> {
    let context = context(&request)?;
    let input = request.input;
    let writer = Writer::new(input.encoding_type.as_ref())?;
    let (shown, limit) = limit(input.max_uploads, "max-uploads", ROWS)?;
    let bucket = bucket(store, &context, &input.bucket).await?;
    let prefix = input.prefix.clone().unwrap_or_default();
    let delimiter = delimiter(input.delimiter.as_ref());
    let key_marker = input.key_marker.clone().filter(|marker| !marker.is_empty());
    // Without a key marker S3 ignores the other.
    let after_upload = key_marker.clone().zip(input.upload_id_marker.clone().filter(|id| !id.is_empty()));
    let after = match (&key_marker, &after_upload) {
        (Some(marker), None) => Some(position_of_marker(marker, &prefix, delimiter.as_deref())),
        _ => None,
    };
    let keys = Query { prefix, delimiter: delimiter.clone(), after, limit };
    let page = store.list_uploads(&bucket, UploadQuery { keys, after_upload }).await.map_err(of)?;
    // The markers of the next page are the last entry of this one.
    let (next_key, next_upload) = match page.entries.last().filter(|_| page.next.is_some()) {
        Some(Entry::Row(upload)) => (Some(writer.write(&upload.key)), Some(upload.id.clone())),
        Some(Entry::Prefix(prefix)) => (Some(writer.write(prefix)), None),
        None => (None, None),
    };
    let truncated = page.next.is_some();
    let (rows, prefixes) = split(page.entries);
    let owner = owner_id(bucket.scope.account.as_str());
    let rows = rows.into_iter().map(|upload| MultipartUpload {
        key: Some(writer.write(&upload.key)),
        upload_id: Some(upload.id),
        initiated: Some(time_of(upload.started)),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        owner: Some(Owner { id: Some(owner.clone()), display_name: None }),
        initiator: Some(Initiator { id: Some(owner.clone()), display_name: None }),
        checksum_algorithm: upload.checksum.map(|(algorithm, _)| algorithm_name(algorithm)),
        checksum_type: upload.checksum.map(|(_, kind)| kind_name(kind)),
    });
    Ok(ListMultipartUploadsOutput {
        bucket: Some(bucket.name),
        key_marker: Some(writer.write(input.key_marker.as_deref().unwrap_or_default())),
        upload_id_marker: Some(input.upload_id_marker.unwrap_or_default()),
        next_key_marker: next_key,
        next_upload_id_marker: next_upload,
        max_uploads: Some(shown),
        is_truncated: Some(truncated),
        uploads: Some(rows.collect()),
        common_prefixes: common(&prefixes, &writer),
        prefix: writer.write_given(input.prefix.as_ref()),
        delimiter: delimiter.map(|delimiter| writer.write(&delimiter)),
        encoding_type: input.encoding_type,
        request_charged: None,
    })
}
