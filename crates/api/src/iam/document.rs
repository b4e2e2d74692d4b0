//! Policy documents: checked to be such, printed percent-encoded as IAM prints them.

use crate::http::ApiError;
use ::http::StatusCode;
use lamplight_model::policy::{Malformed, check_identity_policy, check_trust_policy};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// RFC 3986, as IAM encodes documents.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// Largest document, characters without white space. Source: IAM quotas, role inline policies in sum.
const DOCUMENT_LENGTH: usize = 10_240;
/// Longest text of a document, characters. Source: IAM API reference, `PolicyDocument` of PutRolePolicy.
const TEXT_LENGTH: usize = 131_072;
/// Largest managed policy, characters without white space. Source: IAM quotas.
const MANAGED_LENGTH: usize = 6_144;

/// As `check`, for managed policies.
pub fn check_managed(text: &str) -> Result<(), ApiError> {
    check_text(text)?;
    if counted(text) > MANAGED_LENGTH {
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

/// Fails with `ValidationError` where the text itself is too long, before anything is read of it.
fn check_text(text: &str) -> Result<(), ApiError> {
    if text.chars().count() > TEXT_LENGTH {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "ValidationError",
            format!(
                "1 validation error detected: Value at 'policyDocument' failed to satisfy constraint: Member must have length less \
                 than or equal to {TEXT_LENGTH}"
            ),
        ));
    }
    Ok(())
}

/// Characters of a document as IAM counts them: without white space.
fn counted(text: &str) -> usize {
    text.chars().filter(|character| !character.is_whitespace()).count()
}

fn check_length(text: &str) -> Result<(), ApiError> {
    check_text(text)?;
    if counted(text) > DOCUMENT_LENGTH {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_does_not_count() {
        let of = |resource: usize, spaces: usize| {
            let resource = "a:".to_owned() + &"x".repeat(resource);
            let statement = format!(r#"{{"Effect":"Allow","Action":"s3:*","Resource":"{resource}"}}"#);
            format!(r#"{{"Version":"2012-10-17","Statement":{statement}{}}}"#, " ".repeat(spaces))
        };
        let empty = of(0, 0).len();
        let said =
            |result: Result<(), ApiError>| result.map_err(|error| (error.code.to_string(), error.message));
        let too_long = |text: &str| Err(("LimitExceeded".to_owned(), text.to_owned()));
        for (check, most, refused) in [
            (
                check_identity as fn(&str) -> _,
                DOCUMENT_LENGTH,
                "Maximum policy size of 10240 bytes exceeded.",
            ),
            (check_managed, MANAGED_LENGTH, "Cannot exceed quota for PolicySize: 6144"),
        ] {
            let spaces = TEXT_LENGTH - most;
            assert_eq!(said(check(&of(most - empty, spaces))), Ok(()));
            assert_eq!(said(check(&of(most - empty + 1, 0))), too_long(refused));
            // The text is IAM's for other members; the service is not recorded with this one.
            let (code, message) = said(check(&of(most - empty, spaces + 1))).unwrap_err();
            assert_eq!(code, "ValidationError");
            assert!(message.ends_with("less than or equal to 131072"), "{message}");
        }
    }
}
