//! AddTagsToResource, RemoveTagsFromResource and ListTagsForResource, of parameters.

use super::error;
use super::parameter::{self, Parameter, arn};
use crate::access;
use crate::http::{ApiError, Context, Members};
use crate::lambda::validation::{TAG_PATTERN, Violations, is_tag_text};
use crate::state::ApiState;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Most tags of one parameter.
const TAGS: usize = 50;

/// `Tags`: a list of `Key` and `Value`. Fails with `ValidationException` or `TooManyTagsError`.
pub fn parse(members: &Members<'_>) -> Result<Option<BTreeMap<String, String>>, ApiError> {
    let Some(list) = members.objects("Tags")? else { return Ok(None) };
    let mut violations = Violations::default();
    let mut tags = BTreeMap::new();
    for (index, tag) in list.iter().enumerate() {
        let at = |member: &str| format!("tags.{}.member.{member}", index + 1);
        let (key, value) = (tag.string("Key")?, tag.string("Value")?);
        if key.as_ref().is_none_or(String::is_empty) {
            violations.missing(&at("key"));
        }
        if value.is_none() {
            violations.missing(&at("value"));
        }
        let (key, value) = (key.unwrap_or_default(), value.unwrap_or_default());
        violations.length(&key, &at("key"), 128);
        violations.length(&value, &at("value"), 256);
        violations.pattern(&key, &at("key"), is_tag_text(&key), TAG_PATTERN);
        violations.pattern(&value, &at("value"), is_tag_text(&value), TAG_PATTERN);
        tags.insert(key, value);
    }
    violations.finish()?;
    check_count(&tags)?;
    Ok(Some(tags))
}

fn check_count(tags: &BTreeMap<String, String>) -> Result<(), ApiError> {
    if tags.len() > TAGS {
        return Err(error("TooManyTagsError", format!("The number of tags exceeds the limit of {TAGS}.")));
    }
    Ok(())
}

/// The parameter of `ResourceType` and `ResourceId`, which the caller may `operation`.
async fn resource(
    state: &ApiState,
    context: &Context,
    members: &Members<'_>,
    operation: &str,
) -> Result<Parameter, ApiError> {
    let id = members.string("ResourceId")?.unwrap_or_default();
    access::authorize(state, context, "ssm", operation, &arn(context, &id)).await?;
    match members.string("ResourceType")?.as_deref() {
        Some("Parameter") => {}
        None => {
            let mut violations = Violations::default();
            violations.missing("resourceType");
            violations.finish()?;
        }
        Some(other) => {
            let text = format!("{other} is not a type of resource that Lamplight serves.");
            return Err(error("InvalidResourceType", text));
        }
    }
    let found = parameter::find(state, context, &id).await?;
    found.ok_or_else(|| {
        error(
            "InvalidResourceId",
            format!("The resource ID \"{id}\" is not valid. Verify the ID and try again."),
        )
    })
}

/// AddTagsToResource.
pub async fn add(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    let _turn = state.parameter_writes.lock().await;
    let mut parameter = resource(state, context, members, "AddTagsToResource").await?;
    parameter.tags.extend(parse(members)?.unwrap_or_default());
    check_count(&parameter.tags)?;
    parameter::save(state, context, &parameter, None).await?;
    Ok(json!({}))
}

/// RemoveTagsFromResource.
pub async fn remove(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    let _turn = state.parameter_writes.lock().await;
    let mut parameter = resource(state, context, members, "RemoveTagsFromResource").await?;
    for key in members.strings("TagKeys")?.unwrap_or_default() {
        parameter.tags.remove(&key);
    }
    parameter::save(state, context, &parameter, None).await?;
    Ok(json!({}))
}

/// ListTagsForResource.
pub async fn list(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    let parameter = resource(state, context, members, "ListTagsForResource").await?;
    let tags: Vec<Value> =
        parameter.tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect();
    Ok(json!({"TagList": tags}))
}
