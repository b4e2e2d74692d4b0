//! Tags of functions, code-signing configurations and event source mappings, and the two that Lamplight itself reads:
//! `lamplight:egress` and `lamplight:max-concurrency`.

use crate::http::request::decode_segment;
use crate::http::{ApiError, Context, Members, Response, reply};
use crate::lambda::patterns as pattern;
use crate::lambda::reference::Target;
use crate::lambda::validation::{TAG_PATTERN, Violations, is_tag_text};
use crate::lambda::{code_signing, event_sources, owned};
use crate::state::ApiState;
use bytes::Bytes;
use http::StatusCode;
use lamplight_model::managed_runtime::{RuntimeFamily, family};
use serde_json::json;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Most tags of one resource.
const TAGS: usize = 50;
/// `on` or `off`: whether instances reach the public internet.
pub const EGRESS_TAG: &str = "lamplight:egress";
/// A number: how many events an instance is given at once. AWS has that on capacity providers only, which are machines of
/// one's own; here all are.
pub const MAX_CONCURRENCY_TAG: &str = "lamplight:max-concurrency";
/// Its values. Each event costs connections of the Runtime API, which are bounded for each instance.
const MAX_CONCURRENCY: RangeInclusive<u16> = 1..=64;

/// What the tags say that Lamplight itself reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnTags {
    /// Whether instances reach the public internet; absent: as the server has it.
    pub egress: Option<bool>,
    /// Events an instance is given at once; absent: one after the other.
    pub max_concurrency: Option<u16>,
}

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

/// Fails with `InvalidParameterValueException` for too many tags and for names that are AWS's own.
pub fn check_keys(tags: &BTreeMap<String, String>) -> Result<(), ApiError> {
    if tags.len() > TAGS {
        return Err(ApiError::invalid_parameter("Number of tags exceeds resource tag limit."));
    }
    if tags.keys().any(|key| key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:"))) {
        return Err(ApiError::invalid_parameter(
            "aws: prefixed tag key names are not allowed for external use.",
        ));
    }
    Ok(())
}

/// Our own settings among the tags of a function. Fails with `InvalidParameterValueException` for values they do not take,
/// and as `check_keys`.
pub fn check(tags: &BTreeMap<String, String>) -> Result<OwnTags, ApiError> {
    check_keys(tags)?;
    let egress = match tags.get(EGRESS_TAG).map(String::as_str) {
        None => None,
        Some("on") => Some(true),
        Some("off") => Some(false),
        Some(other) => {
            return Err(ApiError::invalid_parameter(format!(
                "The tag {EGRESS_TAG} takes 'on' or 'off', not '{other}'."
            )));
        }
    };
    let max_concurrency = match tags.get(MAX_CONCURRENCY_TAG) {
        None => None,
        Some(text) => {
            let number = text.parse().ok().filter(|number| MAX_CONCURRENCY.contains(number));
            Some(number.ok_or_else(|| {
                let (least, most) = MAX_CONCURRENCY.into_inner();
                ApiError::invalid_parameter(format!(
                    "The tag {MAX_CONCURRENCY_TAG} takes a number from {least} to {most}, not '{text}'."
                ))
            })?)
        }
    };
    Ok(OwnTags { egress, max_concurrency })
}

/// Fails with `InvalidParameterValueException` for a runtime that takes one event after the other where several are asked for.
pub fn check_runtime(max_concurrency: Option<u16>, runtime: &str) -> Result<(), ApiError> {
    if max_concurrency.is_some_and(|most| most > 1) && family(runtime) != RuntimeFamily::Provided {
        return Err(ApiError::invalid_parameter(format!(
            "The tag {MAX_CONCURRENCY_TAG} needs a runtime that asks for several events at once: provided, \
             provided.al2 or provided.al2023, not {runtime}."
        )));
    }
    Ok(())
}

/// What can have tags.
enum Resource {
    Function(Target),
    CodeSigningConfig(String),
    /// By its id.
    EventSourceMapping(String),
}

/// ListTags.
pub async fn list(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    let tags = match resource(context, label, Violations::default())? {
        Resource::Function(function) => function.load(state).await?.tags.clone(),
        Resource::CodeSigningConfig(arn) => code_signing::load(state, context, &arn).await?.tags,
        Resource::EventSourceMapping(id) => event_sources::tags(state, &context.scope, &id).await?,
    };
    Ok(reply::json(StatusCode::OK, &json!({"Tags": tags})))
}

/// TagResource.
pub async fn tag(
    state: &ApiState,
    context: &Context,
    label: &str,
    body: &Bytes,
) -> Result<Response, ApiError> {
    let members = Members::parse(body)?;
    let tags = members.string_map("Tags")?;
    let mut violations = Violations::default();
    match &tags {
        Some(tags) => note_violations(tags, &mut violations),
        None => violations.missing("tags"),
    }
    let resource = resource(context, label, violations)?;
    let tags = tags.unwrap_or_default();
    check_keys(&tags)?;
    change(state, context, &resource, |stored| stored.extend(tags.clone())).await
}

/// UntagResource.
pub async fn untag(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    let keys: Vec<&str> =
        context.query.iter().filter(|(name, _)| name == "tagKeys").map(|(_, key)| key.as_str()).collect();
    let mut violations = Violations::default();
    if keys.is_empty() {
        violations.missing("tagKeys");
    }
    let resource = resource(context, label, violations)?;
    change(state, context, &resource, |stored| stored.retain(|key, _| !keys.contains(&key.as_str()))).await
}

/// Whose tags a request means. Fails with `ValidationException` for what is no such ARN, `InvalidParameterValueException` for
/// versions and aliases, `ResourceNotFoundException` for kinds of which there is none here.
fn resource(context: &Context, label: &str, mut violations: Violations) -> Result<Resource, ApiError> {
    let arn = decode_segment(label).unwrap_or_else(|| label.to_owned());
    violations.fits(&arn, "resource", &pattern::TAGGABLE_ARN);
    violations.finish()?;
    if arn.contains(":code-signing-config:") {
        return Ok(Resource::CodeSigningConfig(arn));
    }
    if let Some((start, id)) = arn.split_once(":event-source-mapping:") {
        if format!("{start}:") != context.scope.arn("lambda", "") {
            return Err(owned::absent());
        }
        return Ok(Resource::EventSourceMapping(id.to_owned()));
    }
    if !arn.contains(":function:") {
        return Err(owned::absent());
    }
    let target = Target::parse(context, &arn, None)?;
    if target.qualifier.is_some() {
        return Err(ApiError::invalid_parameter(
            "Tags on function aliases and versions are not supported. Please specify a function ARN.",
        ));
    }
    Ok(Resource::Function(target))
}

async fn change(
    state: &ApiState,
    context: &Context,
    resource: &Resource,
    change: impl Fn(&mut BTreeMap<String, String>),
) -> Result<Response, ApiError> {
    match resource {
        Resource::Function(target) => {
            let runtime = target.load(state).await?.runtime.clone();
            owned::change_marks(state, target, |marks| {
                change(&mut marks.tags);
                let own = check(&marks.tags)?;
                check_runtime(own.max_concurrency, &runtime)?;
                (marks.egress, marks.max_concurrency) = (own.egress, own.max_concurrency);
                Ok(())
            })
            .await?;
        }
        Resource::CodeSigningConfig(arn) => {
            let _write = state.configuration_writes.lock().await;
            let mut config = code_signing::load(state, context, arn).await?;
            change(&mut config.tags);
            check_keys(&config.tags)?;
            code_signing::store(state, context, &config).await?;
        }
        Resource::EventSourceMapping(id) => {
            event_sources::change_tags(state, &context.scope, id, |tags| {
                change(tags);
                check_keys(tags)
            })
            .await?;
        }
    }
    Ok(reply::empty(StatusCode::NO_CONTENT))
}
