//! Policy documents: checked to be JSON objects, printed percent-encoded as IAM prints them.

use crate::http::ApiError;
use ::http::StatusCode;
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
    check(text)
}

/// Fails with `MalformedPolicyDocument` for what is not a JSON object, `LimitExceeded` for what is too long.
pub fn check(text: &str) -> Result<(), ApiError> {
    if text.chars().count() > DOCUMENT_LENGTH {
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            "LimitExceeded",
            format!("Maximum policy size of {DOCUMENT_LENGTH} bytes exceeded."),
        ));
    }
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text) {
        Ok(_) => Ok(()),
        Err(_) => Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "MalformedPolicyDocument",
            "This policy contains invalid Json",
        )),
    }
}

/// The document as it stands in an answer.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}
