//! Tags of groups, by name (TagLogGroup and its kin, deprecated and still used) and by ARN (TagResource and its kin).

use super::groups::change;
use super::validation::{finish, group_name};
use super::{failed, invalid, name_of_group};
use crate::http::{ApiError, Context, Members};
use crate::lambda::tags::note_violations;
use crate::lambda::validation::Violations;
use crate::state::ApiState;
use ::http::StatusCode;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Most tags of one group.
const TAGS: usize = 50;

/// Fails with `TooManyTagsException`, and with `InvalidParameterException` for names that are AWS's own.
pub(super) fn check(tags: &BTreeMap<String, String>) -> Result<(), ApiError> {
    if tags.len() > TAGS {
        let message = format!("A resource can have no more than {TAGS} tags.");
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "TooManyTagsException", message));
    }
    if tags.keys().any(|key| key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:"))) {
        return Err(invalid("aws: prefixed tag key names are not allowed for external use."));
    }
    Ok(())
}

/// The group in `resourceArn`.
fn resource(members: &Members<'_>, violations: &mut Violations) -> Result<String, ApiError> {
    let Some(arn) = members.string("resourceArn")? else {
        violations.missing("resourceArn");
        return Ok(String::new());
    };
    let name = name_of_group(&arn);
    if name == arn {
        return Err(invalid(format!("Invalid resource ARN: {arn}")));
    }
    Ok(name.to_owned())
}

fn new_tags(
    members: &Members<'_>,
    violations: &mut Violations,
) -> Result<BTreeMap<String, String>, ApiError> {
    let tags = members.string_map("tags")?;
    if tags.is_none() {
        violations.missing("tags");
    }
    let tags = tags.unwrap_or_default();
    note_violations(&tags, violations);
    Ok(tags)
}

fn keys(members: &Members<'_>, member: &str, violations: &mut Violations) -> Result<Vec<String>, ApiError> {
    let keys = members.strings(member)?;
    if keys.is_none() {
        violations.missing(member);
    }
    Ok(keys.unwrap_or_default())
}

/// TagLogGroup.
pub async fn tag_group(
    state: &ApiState,
    context: &Context,
    members: &Members<'_>,
) -> Result<Value, ApiError> {
    let mut violations = Violations::default();
    let group = group_name(members, &mut violations)?;
    let tags = new_tags(members, &mut violations)?;
    finish(violations)?;
    change(state, context, &group, |settings| settings.tags.extend(tags)).await
}

/// UntagLogGroup.
pub async fn untag_group(
    state: &ApiState,
    context: &Context,
    members: &Members<'_>,
) -> Result<Value, ApiError> {
    let mut violations = Violations::default();
    let group = group_name(members, &mut violations)?;
    let keys = keys(members, "tags", &mut violations)?;
    finish(violations)?;
    change(state, context, &group, |settings| settings.tags.retain(|key, _| !keys.contains(key))).await
}

/// ListTagsLogGroup.
pub async fn list_of_group(
    state: &ApiState,
    context: &Context,
    members: &Members<'_>,
) -> Result<Value, ApiError> {
    let mut violations = Violations::default();
    let group = group_name(members, &mut violations)?;
    finish(violations)?;
    tags_of(state, context, &group).await
}

/// TagResource.
pub async fn tag(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    let mut violations = Violations::default();
    let group = resource(members, &mut violations)?;
    let tags = new_tags(members, &mut violations)?;
    finish(violations)?;
    change(state, context, &group, |settings| settings.tags.extend(tags)).await
}

/// UntagResource.
pub async fn untag(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    let mut violations = Violations::default();
    let group = resource(members, &mut violations)?;
    let keys = keys(members, "tagKeys", &mut violations)?;
    finish(violations)?;
    change(state, context, &group, |settings| settings.tags.retain(|key, _| !keys.contains(key))).await
}

/// ListTagsForResource.
pub async fn list(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    let mut violations = Violations::default();
    let group = resource(members, &mut violations)?;
    finish(violations)?;
    tags_of(state, context, &group).await
}

async fn tags_of(state: &ApiState, context: &Context, group: &str) -> Result<Value, ApiError> {
    Ok(json!({"tags": state.logs.group(&context.scope, group).await.map_err(failed)?.settings.tags}))
}
