//! Tags of functions, and the one that Lamplight itself reads: `lamplight:egress`.

use crate::http::request::decode_segment;
use crate::http::{ApiError, Context, Members, Response, reply};
use crate::lambda::reference::Target;
use crate::lambda::validation::{TAG_PATTERN, Violations, is_tag_text};
use crate::state::ApiState;
use bytes::Bytes;
use http::StatusCode;
use lamplight_model::FunctionVersion;
use lamplight_store::{Expect, StoreError};
use serde_json::json;
use std::collections::BTreeMap;

/// Most tags of one function.
const TAGS: usize = 50;
/// `on` or `off`: whether instances reach the public internet.
pub const EGRESS_TAG: &str = "lamplight:egress";
/// How often a change of tags is tried again when something else changed the function meanwhile.
const ATTEMPTS: usize = 8;

/// Notes tags that break the shapes of the service model.
pub fn note_violations(tags: &BTreeMap<String, String>, violations: &mut Violations) {
    for (key, value) in tags {
        if key.is_empty() {
            violations.add(key, "tags.key", "Member must have length greater than or equal to 1");
        }
        violations.length(key, "tags.key", 128);
        violations.length(value, "tags.value", 256);
        violations.pattern(key, "tags.key", is_tag_text(key), TAG_PATTERN);
        violations.pattern(value, "tags.value", is_tag_text(value), TAG_PATTERN);
    }
}

/// The egress setting among the tags. Fails with `InvalidParameterValueException` for another value than `on` or
/// `off`, and for too many tags.
pub fn check(tags: &BTreeMap<String, String>) -> Result<Option<bool>, ApiError> {
    if tags.len() > TAGS {
        return Err(ApiError::invalid_parameter("Number of tags exceeds resource tag limit."));
    }
    match tags.get(EGRESS_TAG).map(String::as_str) {
        None => Ok(None),
        Some("on") => Ok(Some(true)),
        Some("off") => Ok(Some(false)),
        Some(other) => Err(ApiError::invalid_parameter(format!(
            "The tag {EGRESS_TAG} takes 'on' or 'off', not '{other}'."
        ))),
    }
}

/// ListTags.
pub async fn list(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    let latest = target(context, label)?.load(state).await?;
    Ok(reply::json(StatusCode::OK, &json!({"Tags": latest.tags})))
}

/// TagResource.
pub async fn tag(
    state: &ApiState,
    context: &Context,
    label: &str,
    body: &Bytes,
) -> Result<Response, ApiError> {
    let target = target(context, label)?;
    let members = Members::parse(body)?;
    let tags = members.string_map("Tags")?;
    let mut violations = Violations::default();
    match &tags {
        Some(tags) => note_violations(tags, &mut violations),
        None => violations.missing("tags"),
    }
    violations.finish()?;
    let tags = tags.unwrap_or_default();
    change(state, &target, |stored| stored.extend(tags.clone())).await
}

/// UntagResource.
pub async fn untag(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    let target = target(context, label)?;
    let keys: Vec<&str> =
        context.query.iter().filter(|(name, _)| name == "tagKeys").map(|(_, key)| key.as_str()).collect();
    if keys.is_empty() {
        let mut violations = Violations::default();
        violations.missing("tagKeys");
        violations.finish()?;
    }
    change(state, &target, |stored| stored.retain(|key, _| !keys.contains(&key.as_str()))).await
}

/// Only functions have tags so far, and only as a whole.
fn target(context: &Context, label: &str) -> Result<Target, ApiError> {
    let text = decode_segment(label).unwrap_or_else(|| label.to_owned());
    let target = Target::parse(context, &text, None)?;
    if !text.starts_with("arn:") || target.qualifier.is_some() {
        return Err(ApiError::invalid_parameter(
            "Tags on function aliases and versions are not supported. Please specify a function ARN.",
        ));
    }
    Ok(target)
}

/// Writes changed tags back. The revision stays: tags are not part of the configuration.
async fn change(
    state: &ApiState,
    target: &Target,
    change: impl Fn(&mut BTreeMap<String, String>),
) -> Result<Response, ApiError> {
    for _ in 0..ATTEMPTS {
        let latest = target.load(state).await?;
        let mut changed = FunctionVersion::clone(&latest);
        change(&mut changed.tags);
        changed.egress = check(&changed.tags)?;
        let expected = Expect::Revision(latest.revision_id.clone());
        match state.store.put_version(changed, expected).await {
            Ok(()) => return Ok(reply::empty(StatusCode::NO_CONTENT)),
            Err(StoreError::RevisionMismatch(_)) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Err(ApiError::conflict("The function is being changed by other requests. Try again."))
}
