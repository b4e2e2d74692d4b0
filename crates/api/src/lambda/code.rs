//! Code packages on the wire: uploads, and the expiring link of `Code.Location`.

use crate::http::{ApiError, Context, Members, Response};
use crate::lambda::validation::Violations;
use crate::s3;
use crate::state::ApiState;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use hmac::Mac as _;
use http::{HeaderValue, StatusCode, header};
use lamplight_model::{CodeDigest, ServiceError, limits};
use lamplight_services::objects::ObjectError;

/// How long a link works, milliseconds: ten minutes, as AWS's presigned ones.
const LINK_MILLIS: i64 = 10 * 60 * 1_000;
/// Path of the links.
pub const LINK_PATH: &str = "/lamplight/v1/code/";

/// The ZIP that a request brings or names.
///
/// `members` is `Code` of CreateFunction, or the whole of UpdateFunctionCode; `prefix` is where it stands, for
/// the text of a violation. Fails with `InvalidParameterValueException` without a source, with one that is not
/// served yet, or with what S3 says of the object; `RequestEntityTooLargeException` above 50 MB in the request.
pub async fn package(
    state: &ApiState,
    context: &Context,
    members: &Members<'_>,
    prefix: &str,
) -> Result<Bytes, ApiError> {
    if members.has("ImageUri") {
        return Err(ApiError::invalid_parameter(
            "ImageUri is not supported by Lamplight yet. Send the package as ZipFile, or by S3Bucket and S3Key.",
        ));
    }
    let source = ObjectSource {
        bucket: members.string("S3Bucket")?,
        key: members.string("S3Key")?,
        version: members.string("S3ObjectVersion")?,
    };
    if source == ObjectSource::default() {
        return zip_file(members, prefix);
    }
    if members.has("ZipFile") {
        return Err(ApiError::invalid_parameter(
            "Please do not provide other FunctionCode parameters when providing a ZipFile.",
        ));
    }
    from_objects(state, context, source, prefix).await
}

/// Where a package lies in the object store, as `FunctionCode` and `LayerVersionContentInput` say it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectSource {
    /// `S3Bucket`.
    pub bucket: Option<String>,
    /// `S3Key`.
    pub key: Option<String>,
    /// `S3ObjectVersion`.
    pub version: Option<String>,
}

/// Reads a package from the object store. `prefix` is where the members stand, for the text of a violation.
///
/// Fails with `ValidationException` for a name that cannot be, and `InvalidParameterValueException`, with S3's code and
/// text, when the bucket or the object is not there or may not be read.
pub async fn from_objects(
    state: &ApiState,
    context: &Context,
    source: ObjectSource,
    prefix: &str,
) -> Result<Bytes, ApiError> {
    let mut violations = Violations::default();
    for (value, name, longest) in [(&source.bucket, "s3Bucket", 63), (&source.key, "s3Key", 1_024)] {
        match value {
            Some(value) if value.is_empty() => violations.add(
                value,
                &format!("{prefix}{name}"),
                "Member must have length greater than or equal to 1",
            ),
            Some(value) => violations.length(value, &format!("{prefix}{name}"), longest),
            None => violations.missing(&format!("{prefix}{name}")),
        }
    }
    violations.finish()?;
    let (bucket, key) = (source.bucket.unwrap_or_default(), source.key.unwrap_or_default());
    let refused = |code: &str, message: &str| {
        ApiError::invalid_parameter(format!(
            "Error occurred while GetObject. S3 Error Code: {code}. S3 Error Message: {message}"
        ))
    };
    if source.version.is_some_and(|version| version != "null") {
        return Err(refused("InvalidArgument", "Invalid version id specified"));
    }
    context.authorize("s3", "GetObject", &format!("arn:aws:s3:::{bucket}/{key}"))?;
    let failed = |error: ObjectError| {
        let error = s3::error::of(error);
        refused(error.code().as_str(), error.message().unwrap_or_default())
    };
    let found = state.objects.bucket(&bucket).await.map_err(failed)?;
    if found.scope.account != context.scope.account {
        return Err(refused("AccessDenied", "Access Denied"));
    }
    let open = state.objects.open_object(&found, &key).await.map_err(failed)?;
    let size = open.object.size;
    // What is larger packed than it may be unpacked need not be read.
    if size > limits::UNZIPPED_BYTES {
        return Err(ApiError::invalid_parameter(format!(
            "Unzipped size must be smaller than {} bytes",
            limits::UNZIPPED_BYTES
        )));
    }
    let mut zip = BytesMut::with_capacity(usize::try_from(size).unwrap_or(0));
    let mut read = Box::pin(open.read(0..size));
    while let Some(piece) = read.next().await {
        let piece = piece.map_err(|error| {
            tracing::error!(%error, bucket, key, "failed to read a package from the object store");
            ServiceError::internal("The server failed to read the package from its object store.")
        })?;
        zip.extend_from_slice(&piece);
    }
    if zip.is_empty() {
        return Err(ApiError::invalid_parameter("Uploaded file must be a non-empty zip"));
    }
    Ok(zip.freeze())
}

/// The ZIP in a request, decoded.
fn zip_file(members: &Members<'_>, prefix: &str) -> Result<Bytes, ApiError> {
    let Some(text) = members.text("ZipFile")? else {
        return Err(ApiError::invalid_parameter("Please provide a source for function code."));
    };
    if text.len() / 4 * 3 > limits::ZIP_BYTES + 2 {
        return Err(too_large());
    }
    let zip = STANDARD.decode(text.as_bytes()).map_err(|_| {
        let mut violations = Violations::default();
        violations.add("***", &format!("{prefix}zipFile"), "Member must be valid base64");
        match violations.finish() {
            Err(error) => error,
            Ok(()) => ApiError::serialization("ZipFile is not base64."),
        }
    })?;
    if zip.len() > limits::ZIP_BYTES {
        return Err(too_large());
    }
    if zip.is_empty() {
        return Err(ApiError::invalid_parameter("Uploaded file must be a non-empty zip"));
    }
    Ok(zip.into())
}

fn too_large() -> ApiError {
    ApiError::entity_too_large(format!("Zipped size must be smaller than {} bytes", limits::ZIP_BYTES))
}

/// A link to a package of a function or layer on this server: `http://<authority>/lamplight/v1/code/<digest>?Expires=..&Signature=..`.
pub fn location(state: &ApiState, context: &Context, digest: &CodeDigest) -> String {
    let expires = state.now().as_millis().saturating_add(LINK_MILLIS);
    format!(
        "http://{}{LINK_PATH}{}?Expires={expires}&Signature={}",
        context.authority,
        digest.as_str(),
        signature(state, digest, expires)
    )
}

fn signature(state: &ApiState, digest: &CodeDigest, expires: i64) -> String {
    let Some(mut mac) = state.link_mac() else { return String::new() };
    mac.update(signed_text(digest, expires).as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn signed_text(digest: &CodeDigest, expires: i64) -> String {
    format!("code\n{}\n{expires}", digest.as_str())
}

/// Answers a link. Fails with 403 for a link that was changed or is too old, 404 when the package is gone.
pub async fn download(state: &ApiState, context: &Context) -> Result<Response, ApiError> {
    let denied = |message: &str| ApiError::new(StatusCode::FORBIDDEN, "AccessDeniedException", message);
    let digest = context.path.strip_prefix(LINK_PATH).and_then(CodeDigest::parse);
    let expires = context.parameter("Expires").and_then(|expires| expires.parse::<i64>().ok());
    let (Some(digest), Some(expires), Some(given)) = (digest, expires, context.parameter("Signature")) else {
        return Err(denied("This is not a link that this server gave out."));
    };
    let given: Vec<u8> = (0..given.len())
        .step_by(2)
        .filter_map(|at| u8::from_str_radix(given.get(at..at + 2)?, 16).ok())
        .collect();
    let genuine = state.link_mac().is_some_and(|mut mac| {
        mac.update(signed_text(&digest, expires).as_bytes());
        // Compares in constant time.
        mac.verify_slice(&given).is_ok()
    });
    if !genuine {
        return Err(denied("This is not a link that this server gave out."));
    }
    if expires < state.now().as_millis() {
        return Err(denied("The link has expired. Call GetFunction or GetLayerVersion again."));
    }
    let zip = state.code.get(&digest).await?.ok_or_else(|| ApiError::not_found("The package is gone."))?;
    let mut response = Response::new(zip.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/zip"));
    Ok(response)
}
