//! What a request gives to keep secret, under which version.

use super::secret::Content;
use super::{error, invalid_parameter, invalid_request};
use crate::http::{ApiError, Members};
use crate::lambda::validation::{Violations, is_tag_text};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeMap;

/// Largest value, bytes.
const VALUE_BYTES: usize = 65_536;
/// Most tags of one secret.
const TAGS: usize = 50;

/// `SecretString` or `SecretBinary`; an empty one is none, as AWS takes it.
///
/// Fails with `InvalidParameterException` for both, `ValidationException` for one that is too long.
pub fn content(members: &Members<'_>) -> Result<Option<Content>, ApiError> {
    let text = members.string("SecretString")?.filter(|text| !text.is_empty());
    let binary = members.string("SecretBinary")?.filter(|text| !text.is_empty());
    let (member, bytes, content) = match (text, binary) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(invalid_parameter(
                "You can't specify both a binary secret value and a string secret value in the same secret.",
            ));
        }
        (Some(text), None) => ("secretString", text.len(), Content::String(text)),
        (None, Some(base64)) => {
            let decoded = STANDARD.decode(&base64).map_err(|_| {
                ApiError::serialization("SecretBinary was expected to be base64, and is not.")
            })?;
            ("secretBinary", decoded.len(), Content::Binary(base64))
        }
    };
    if bytes > VALUE_BYTES {
        // The value is not shown: it is secret.
        return Err(error(
            "ValidationException",
            format!(
                "1 validation error detected: Value at '{member}' failed to satisfy constraint: Member must have length \
                 less than or equal to {VALUE_BYTES}"
            ),
        ));
    }
    Ok(Some(content))
}

/// `ClientRequestToken`, which becomes the id of the version. Every SDK makes one.
pub fn token(members: &Members<'_>) -> Result<String, ApiError> {
    let Some(token) = members.string("ClientRequestToken")?.filter(|token| !token.is_empty()) else {
        return Err(invalid_request(
            "You must provide a ClientRequestToken value. We recommend a UUID-type value.",
        ));
    };
    if !(32..=64).contains(&token.chars().count()) {
        return Err(invalid_parameter("ClientRequestToken must be 32-64 characters long."));
    }
    Ok(token)
}

/// `Description`, when it is given.
pub fn description(members: &Members<'_>) -> Result<Option<String>, ApiError> {
    let mut violations = Violations::default();
    let description = members.string("Description")?;
    violations.length(description.as_deref().unwrap_or_default(), "description", 2_048);
    violations.finish()?;
    Ok(description)
}

/// `KmsKeyId`, when it is given. There is no KMS: it is kept and shown.
pub fn key_id(members: &Members<'_>) -> Result<Option<String>, ApiError> {
    let mut violations = Violations::default();
    let key_id = members.string("KmsKeyId")?;
    violations.length(key_id.as_deref().unwrap_or_default(), "kmsKeyId", 2_048);
    violations.finish()?;
    Ok(key_id.filter(|key_id| !key_id.is_empty()))
}

/// `Tags`.
pub fn tags(members: &Members<'_>) -> Result<BTreeMap<String, String>, ApiError> {
    let mut violations = Violations::default();
    let mut tags = BTreeMap::new();
    for (index, tag) in members.objects("Tags")?.unwrap_or_default().iter().enumerate() {
        let at = |member: &str| format!("tags.{}.member.{member}", index + 1);
        let key = tag.string("Key")?.unwrap_or_default();
        let value = tag.string("Value")?.unwrap_or_default();
        if key.is_empty() {
            violations.add("", &at("key"), "Member must have length greater than or equal to 1");
        }
        violations.length(&key, &at("key"), 128);
        violations.length(&value, &at("value"), 256);
        if !is_tag_text(&key) || key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:")) {
            return Err(invalid_parameter(
                "The tag key is not valid: it holds other characters, or begins with aws:.",
            ));
        }
        tags.insert(key, value);
    }
    violations.finish()?;
    Ok(tags)
}

/// Fails with `InvalidParameterException` for too many tags.
pub fn check_tag_count(tags: &BTreeMap<String, String>) -> Result<(), ApiError> {
    match tags.len() > TAGS {
        true => Err(invalid_parameter(format!("A secret can have at most {TAGS} tags."))),
        false => Ok(()),
    }
}
