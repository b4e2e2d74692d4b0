//! Presigned URLs of both signature versions: when they end, and what of their query string is an operation's.
//!
//! Source: S3 API reference, "Authenticating requests: using query parameters" (version 4) and S3 user guide, "REST
//! authentication" (version 2).

use crate::http::Context;
use crate::s3::error::{self, refusal};
use http::StatusCode;
use lamplight_model::Timestamp;
use s3s::S3Error;
use time::PrimitiveDateTime;
use time::macros::format_description;

/// Parameters that are part of the signature, in lower case.
const SIGNATURE: &[&str] = &[
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-signedheaders",
    "x-amz-signature",
    "x-amz-security-token",
    "x-amz-content-sha256",
    "awsaccesskeyid",
    "signature",
    "expires",
];
/// Longest life of a URL of version 4, seconds: a week.
const LONGEST_SECONDS: i64 = 604_800;
/// How far a client's clock may be ahead, milliseconds.
const SKEW_MILLIS: i64 = 900_000;

/// Which version of signature is in the query string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Two,
    Four,
}

fn version(context: &Context) -> Option<Version> {
    if context.parameter("X-Amz-Signature").is_some() {
        return Some(Version::Four);
    }
    (context.parameter("AWSAccessKeyId").is_some() && context.parameter("Signature").is_some())
        .then_some(Version::Two)
}

/// Refuses a URL that has expired or cannot be read: `AccessDenied`, `AuthorizationQueryParametersError`.
pub fn check(context: &Context, now: Timestamp) -> Result<(), S3Error> {
    let now = now.as_millis();
    let malformed = |message: &str| {
        refusal(StatusCode::BAD_REQUEST, "AuthorizationQueryParametersError", message.to_owned())
    };
    let until = match version(context) {
        None => return Ok(()),
        Some(Version::Two) => match context.parameter("Expires").map(str::parse::<i64>) {
            Some(Ok(seconds)) => seconds.saturating_mul(1_000),
            Some(Err(_)) => {
                return Err(error::access_denied("Invalid date (should be seconds since epoch)"));
            }
            None => {
                return Err(error::access_denied(
                    "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters",
                ));
            }
        },
        Some(Version::Four) => {
            let (Some(date), Some(expires)) =
                (context.parameter("X-Amz-Date"), context.parameter("X-Amz-Expires"))
            else {
                return Err(malformed(
                    "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, \
                     X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
                ));
            };
            let form = format_description!("[year][month][day]T[hour][minute][second]Z");
            let begin = PrimitiveDateTime::parse(date, form).map_err(|_| {
                malformed("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
            })?;
            let seconds: i64 = expires.parse().map_err(|_| malformed("X-Amz-Expires should be a number"))?;
            if seconds < 0 {
                return Err(malformed("X-Amz-Expires must be non-negative"));
            }
            if seconds > LONGEST_SECONDS {
                return Err(malformed(
                    "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be \
                     less than 604800 seconds",
                ));
            }
            let begin = begin.assume_utc().unix_timestamp().saturating_mul(1_000);
            if begin - SKEW_MILLIS > now {
                return Err(error::access_denied("Request is not valid yet"));
            }
            begin + seconds * 1_000
        }
    };
    if until < now {
        return Err(error::access_denied("Request has expired"));
    }
    Ok(())
}

/// The query string without the signature, and what clients put there that is a header otherwise (`x-amz-*`).
pub fn split(context: &Context) -> (String, Vec<(&str, &str)>) {
    let presigned = version(context).is_some();
    let mut query = form_urlencoded::Serializer::new(String::new());
    let mut headers = Vec::new();
    for (name, value) in &context.query {
        let lower = name.to_ascii_lowercase();
        // `Signature` and `Expires` mean nothing to any operation.
        if SIGNATURE.contains(&lower.as_str()) {
            continue;
        }
        if presigned && lower.starts_with("x-amz-") {
            headers.push((name.as_str(), value.as_str()));
        } else {
            query.append_pair(name, value);
        }
    }
    (query.finish(), headers)
}
