//! Code packages on the wire: uploads, and the expiring link of `Code.Location`.

use crate::http::{ApiError, Context, Members, Response};
use crate::lambda::validation::Violations;
use crate::state::ApiState;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::Mac as _;
use http::{HeaderValue, StatusCode, header};
use lamplight_model::{CodeDigest, limits};

/// How long a link works, milliseconds: ten minutes, as AWS's presigned ones.
const LINK_MILLIS: i64 = 10 * 60 * 1_000;
/// Path of the links.
pub const LINK_PATH: &str = "/lamplight/v1/code/";

/// The ZIP of a request, decoded.
///
/// `members` is `Code` of CreateFunction, or the whole of UpdateFunctionCode; `prefix` is where it stands, for
/// the text of a violation. Fails with `InvalidParameterValueException` without a source or with one that is not
/// served yet, `RequestEntityTooLargeException` above 50 MB.
pub fn zip_file(members: &Members<'_>, prefix: &str) -> Result<Bytes, ApiError> {
    for (name, what) in
        [("S3Bucket", "S3Bucket and S3Key"), ("S3Key", "S3Bucket and S3Key"), ("ImageUri", "ImageUri")]
    {
        if members.has(name) {
            return Err(ApiError::invalid_parameter(format!(
                "{what} is not supported by Lamplight yet. Send the package as ZipFile."
            )));
        }
    }
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
