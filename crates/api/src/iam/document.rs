//! Policy documents: checked to be such, printed percent-encoded as IAM prints them.

use crate::http::ApiError;
use ::http::StatusCode;
use lamplight_model::policy::{Malformed, check_identity_policy, check_trust_policy};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// RFC 3986, as IAM encodes documents.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// Largest document, characters. Source: IAM quotas, role inline policies in sum.
const DOCUMENT_LENGTH: usize = 10_240;
/// Largest managed policy, characters without white space. Source: IAM quotas.
const MANAGED_LENGTH: usize = 6_144;

/// As `check`, for managed policies.
pub fn check_managed(text: &str) -> Result<(), ApiError> {
    if text.chars().filter(|character| !character.is_whitespace()).count() > MANAGED_LENGTH {
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            "LimitExceeded",
            format!("Cannot exceed quota for PolicySize: {MANAGED_LENGTH}"),
        ));
    }
    check_identity(text)
}

/// Checks an identity-based policy. Fails with `MalformedPolicyDocument` for what is none, in IAM's words, `LimitExceeded` for what
/// is too long.
pub fn check_identity(text: &str) -> Result<(), ApiError> {
    check_length(text)?;
    check_identity_policy(text).map_err(malformed)
}

/// Checks a trust policy. Fails as `check_identity`.
pub fn check_trust(text: &str) -> Result<(), ApiError> {
    check_length(text)?;
    check_trust_policy(text).map_err(malformed)
}

fn malformed(why: Malformed) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "MalformedPolicyDocument", why.to_string())
}

fn check_length(text: &str) -> Result<(), ApiError> {
    if text.chars().count() > DOCUMENT_LENGTH {
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            "LimitExceeded",
            format!("Maximum policy size of {DOCUMENT_LENGTH} bytes exceeded."),
        ));
    }
    Ok(())
}

/// The document as it stands in an answer.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}
