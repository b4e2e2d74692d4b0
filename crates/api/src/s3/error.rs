//! S3's error codes, statuses and texts. Source: S3 API reference, "Error responses".

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use lamplight_services::objects::ObjectError;
use lamplight_store::StoreError;
use s3s::{S3Error, S3ErrorCode};
use std::borrow::Cow;

/// Headers by which a refusal carries further elements to `answer`, which takes them out: the prefix of their names.
pub const DETAIL: &str = "x-lamplight-detail-";

/// An error by its parts.
pub fn refusal(status: StatusCode, code: &str, message: impl Into<Cow<'static, str>>) -> S3Error {
    let mut error = S3Error::with_message(named(code), message);
    error.set_status_code(status);
    error
}

fn named(code: &str) -> S3ErrorCode {
    S3ErrorCode::from_bytes(code.as_bytes()).unwrap_or(S3ErrorCode::InternalError)
}

/// Adds an element to the error's document, such as `ActualObjectSize`.
pub fn with_detail(mut error: S3Error, name: &str, value: &str) -> S3Error {
    let mut headers = error.headers().cloned().unwrap_or_default();
    if let (Ok(name), Ok(value)) =
        (HeaderName::try_from(format!("{DETAIL}{name}")), HeaderValue::from_str(value))
    {
        headers.insert(name, value);
    }
    error.set_headers(headers);
    error
}

/// 501: something real that this release does not serve.
pub fn not_implemented(message: impl Into<Cow<'static, str>>) -> S3Error {
    refusal(StatusCode::NOT_IMPLEMENTED, "NotImplemented", message)
}

/// 400 `InvalidArgument`.
pub fn invalid_argument(message: impl Into<Cow<'static, str>>) -> S3Error {
    refusal(StatusCode::BAD_REQUEST, "InvalidArgument", message)
}

/// 400 `InvalidRequest`.
pub fn invalid_request(message: impl Into<Cow<'static, str>>) -> S3Error {
    refusal(StatusCode::BAD_REQUEST, "InvalidRequest", message)
}

/// 403 `AccessDenied`.
pub fn access_denied(message: impl Into<Cow<'static, str>>) -> S3Error {
    refusal(StatusCode::FORBIDDEN, "AccessDenied", message)
}

/// 411 `MissingContentLength`.
pub fn missing_content_length() -> S3Error {
    refusal(
        StatusCode::LENGTH_REQUIRED,
        "MissingContentLength",
        "You must provide the Content-Length HTTP header.",
    )
}

/// 304, with the headers S3 sends along.
pub fn not_modified(etag: &str) -> S3Error {
    let mut error = S3Error::new(S3ErrorCode::NotModified);
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&format!("\"{etag}\"")) {
        headers.insert(http::header::ETAG, value);
    }
    error.set_headers(headers);
    error
}

/// 416 for an object of so many bytes.
pub fn invalid_range(bytes: u64) -> S3Error {
    let error =
        refusal(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", "The requested range is not satisfiable");
    with_detail(error, "ActualObjectSize", &bytes.to_string())
}

/// 412 for this header.
pub fn precondition_failed(condition: &str) -> S3Error {
    let error = refusal(
        StatusCode::PRECONDITION_FAILED,
        "PreconditionFailed",
        "At least one of the pre-conditions you specified did not hold",
    );
    with_detail(error, "Condition", condition)
}

/// What the store answered, as S3 says it. What went wrong below is logged here, once.
pub fn of(error: ObjectError) -> S3Error {
    let plain = |status: StatusCode, code: &str| refusal(status, code, text(code).unwrap_or_default());
    match error {
        ObjectError::NoSuchBucket => plain(StatusCode::NOT_FOUND, "NoSuchBucket"),
        ObjectError::NoSuchKey => plain(StatusCode::NOT_FOUND, "NoSuchKey"),
        ObjectError::NoSuchUpload => plain(StatusCode::NOT_FOUND, "NoSuchUpload"),
        ObjectError::BucketAlreadyOwnedByYou => plain(StatusCode::CONFLICT, "BucketAlreadyOwnedByYou"),
        ObjectError::BucketAlreadyExists => plain(StatusCode::CONFLICT, "BucketAlreadyExists"),
        ObjectError::BucketNotEmpty => plain(StatusCode::CONFLICT, "BucketNotEmpty"),
        ObjectError::BadDigest => plain(StatusCode::BAD_REQUEST, "BadDigest"),
        ObjectError::BadChecksum(algorithm) => refusal(
            StatusCode::BAD_REQUEST,
            "BadDigest",
            format!("The {algorithm} you specified did not match the calculated checksum."),
        ),
        ObjectError::ContentSha256Mismatch => plain(StatusCode::BAD_REQUEST, "XAmzContentSHA256Mismatch"),
        ObjectError::IncompleteBody => plain(StatusCode::BAD_REQUEST, "IncompleteBody"),
        ObjectError::RequestTimeout => plain(StatusCode::BAD_REQUEST, "RequestTimeout"),
        ObjectError::MalformedBody(why) => refusal(StatusCode::BAD_REQUEST, "MalformedTrailerError", why),
        ObjectError::EntityTooLarge(bound) => with_detail(
            plain(StatusCode::BAD_REQUEST, "EntityTooLarge"),
            "MaxSizeAllowed",
            &bound.to_string(),
        ),
        // S3 has no bound; 503 tells a client that it is not its fault.
        ObjectError::StorageFull(bound) => refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceUnavailable",
            format!(
                "All objects together may have {bound} bytes (objects.mib in the server's configuration). Nothing was \
                 stored."
            ),
        ),
        ObjectError::EntityTooSmall { number, size } => {
            let error = plain(StatusCode::BAD_REQUEST, "EntityTooSmall");
            let error = with_detail(error, "ProposedSize", &size.to_string());
            let smallest = lamplight_services::objects::PART_BYTES.to_string();
            let error = with_detail(error, "MinSizeAllowed", &smallest);
            with_detail(error, "PartNumber", &number.to_string())
        }
        ObjectError::InvalidPart(number) => {
            with_detail(plain(StatusCode::BAD_REQUEST, "InvalidPart"), "PartNumber", &number.to_string())
        }
        ObjectError::InvalidPartOrder => plain(StatusCode::BAD_REQUEST, "InvalidPartOrder"),
        ObjectError::ChecksumType { expected, actual } => invalid_request(format!(
            "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
            expected.to_ascii_lowercase(),
            actual.to_ascii_lowercase()
        )),
        ObjectError::PreconditionFailed(condition) => precondition_failed(condition),
        ObjectError::Store(error) => {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(%error, source, "the object store failed");
            match error {
                StoreError::Unwritable(_) => refusal(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "ServiceUnavailable",
                    "The server cannot write to its data directory (disk full or read-only). Nothing was changed.",
                ),
                _ => plain(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
            }
        }
    }
}

/// The text of a code that always has the same.
pub fn text(code: &str) -> Option<&'static str> {
    Some(match code {
        "NoSuchBucket" => "The specified bucket does not exist",
        "NoSuchKey" => "The specified key does not exist.",
        "NoSuchUpload" => {
            "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or \
             completed."
        }
        "BucketAlreadyOwnedByYou" => {
            "Your previous request to create the named bucket succeeded and you already own it."
        }
        "BucketAlreadyExists" => {
            "The requested bucket name is not available. The bucket namespace is shared by all users of the system. \
             Please select a different name and try again."
        }
        "BucketNotEmpty" => "The bucket you tried to delete is not empty",
        "BadDigest" => "The Content-MD5 you specified did not match what we received.",
        "XAmzContentSHA256Mismatch" => {
            "The provided 'x-amz-content-sha256' header does not match what was computed."
        }
        "IncompleteBody" => {
            "You did not provide the number of bytes specified by the Content-Length HTTP header"
        }
        "RequestTimeout" => {
            "Your socket connection to the server was not read from or written to within the timeout period. Idle \
             connections will be closed."
        }
        "EntityTooLarge" => "Your proposed upload exceeds the maximum allowed size",
        "EntityTooSmall" => "Your proposed upload is smaller than the minimum allowed size",
        "InvalidPart" => {
            "One or more of the specified parts could not be found.  The part may not have been uploaded, or the \
             specified entity tag may not match the part's entity tag."
        }
        "InvalidPartOrder" => {
            "The list of parts was not in ascending order. Parts must be ordered by part number."
        }
        "InternalError" => "We encountered an internal error. Please try again.",
        "InvalidBucketName" => "The specified bucket is not valid.",
        "KeyTooLongError" => "Your key is too long",
        "MalformedXML" => {
            "The XML you provided was not well-formed or did not validate against our published schema"
        }
        "MissingRequestBodyError" => "Request Body is empty",
        "InvalidURI" => "Couldn't parse the specified URI.",
        "MethodNotAllowed" => "The specified method is not allowed against this resource.",
        "InvalidDigest" => "The Content-MD5 you specified was invalid.",
        "MaxMessageLengthExceeded" => "Your request was too big.",
        "MissingContentLength" => "You must provide the Content-Length HTTP header.",
        _ => return None,
    })
}
