//! CreateSecret, PutSecretValue, UpdateSecret, UpdateSecretVersionStage, TagResource and UntagResource.

use super::secret::{self, CURRENT, Content, Secret, Version, id, load};
use super::{error, invalid_parameter, invalid_request, not_found, value};
use crate::access;
use crate::http::{ApiError, Context, Members};
use crate::lambda::validation::Violations;
use crate::state::ApiState;
use lamplight_model::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Labels of one secret.
const STAGES: usize = 20;
/// Requests for what is not there.
const NOT_SERVED: &[&str] = &["AddReplicaRegions", "CrossAccountPrimaryARN", "RotationToken", "Type"];

/// Fails by name when a request asks for what is not served.
fn check_served(members: &Members<'_>, operation: &str) -> Result<(), ApiError> {
    match NOT_SERVED.iter().find(|member| members.has(member)) {
        Some(member) => Err(ApiError::not_supported("secretsmanager", &format!("{operation} with {member}"))),
        None => Ok(()),
    }
}

/// CreateSecret.
pub async fn create(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    let name = name(members)?;
    let resource = context.scope.arn("secretsmanager", &format!("secret:{name}-??????"));
    access::authorize(state, context, "secretsmanager", "CreateSecret", &resource).await?;
    check_served(members, "CreateSecret")?;
    let description = value::description(members)?.filter(|text| !text.is_empty());
    let (key_id, tags) = (value::key_id(members)?, value::tags(members)?);
    value::check_tag_count(&tags)?;
    let first = match value::content(members)? {
        Some(content) => Some((value::token(members)?, content)),
        None => None,
    };
    let now = state.now();
    let _turn = state.secret_writes.lock().await;
    if let Some(existing) = secret::find_named(state, context, &name).await? {
        if existing.deleted_at.is_some() {
            return Err(invalid_request(
                "You can't create this secret because a secret with this name is already scheduled for deletion.",
            ));
        }
        // The same request once more is answered as the first.
        let repeated = first.as_ref().is_some_and(|(token, content)| {
            existing.versions.iter().any(|version| version.id == *token && version.content == *content)
        });
        return match repeated {
            true => Ok(answer(context, &existing, first.as_ref().map(|(token, _)| token.as_str()))),
            false => Err(error(
                "ResourceExistsException",
                format!("The operation failed because the secret {name} already exists."),
            )),
        };
    }
    let mut secret = Secret {
        name,
        suffix: secret::suffix(),
        description,
        key_id,
        tags,
        created_at: now,
        changed_at: now,
        accessed_on: None,
        deleted_at: None,
        policy: None,
        versions: Vec::new(),
    };
    let token = first.as_ref().map(|(token, _)| token.clone());
    if let Some((token, content)) = first {
        add_version(context, &mut secret, token, content, &[CURRENT.to_owned()], now)?;
    }
    secret::save(state, context, &secret).await?;
    Ok(answer(context, &secret, token.as_deref()))
}

fn answer(context: &Context, secret: &Secret, version: Option<&str>) -> Value {
    let mut map = secret.head(context);
    if let Some(version) = version {
        map.insert("VersionId".to_owned(), version.into());
    }
    Value::Object(map)
}

fn name(members: &Members<'_>) -> Result<String, ApiError> {
    let mut violations = Violations::default();
    let name = members.string("Name")?;
    match &name {
        None => violations.missing("name"),
        Some(name) => violations.length(name, "name", 512),
    }
    violations.finish()?;
    let name = name.unwrap_or_default();
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-/_+=.@!".contains(&byte));
    if name.is_empty() || !plain {
        return Err(error(
            "ValidationException",
            "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!",
        ));
    }
    Ok(name)
}

/// Adds a version and gives it labels; the very first is current whatever it is labelled. One that is there already with
/// the same content stays as it is.
///
/// Fails with `ResourceExistsException` when the token was used for another content.
fn add_version(
    context: &Context,
    secret: &mut Secret,
    token: String,
    content: Content,
    stages: &[String],
    now: Timestamp,
) -> Result<(), ApiError> {
    if let Some(existing) = secret.versions.iter().find(|version| version.id == token) {
        return match existing.content == content {
            true => Ok(()),
            false => Err(error(
                "ResourceExistsException",
                format!(
                    "You can't use ClientRequestToken {token} because that value is already in use for a version of \
                     secret {}.",
                    secret.arn(context)
                ),
            )),
        };
    }
    let is_first = secret.versions.is_empty();
    let version =
        Version { id: token.clone(), content, stages: BTreeSet::new(), created_at: now, accessed_on: None };
    secret.versions.push(version);
    for stage in stages {
        secret.move_stage(stage, &token);
    }
    if is_first {
        secret.move_stage(CURRENT, &token);
    }
    if secret.stage_count() > STAGES {
        return Err(error(
            "LimitExceededException",
            format!("The number of staging labels attached to the secret exceeds the limit of {STAGES}."),
        ));
    }
    secret.forget_old_versions();
    secret.changed_at = now;
    Ok(())
}

/// PutSecretValue.
pub async fn put_value(
    state: &ApiState,
    context: &Context,
    members: &Members<'_>,
) -> Result<Value, ApiError> {
    let _turn = state.secret_writes.lock().await;
    let mut secret = load(state, context, &id(members)?, "PutSecretValue").await?;
    check_served(members, "PutSecretValue")?;
    let content = value::content(members)?
        .ok_or_else(|| invalid_request("You must provide either SecretString or SecretBinary."))?;
    let token = value::token(members)?;
    let stages = match members.strings("VersionStages")? {
        None => vec![CURRENT.to_owned()],
        Some(stages) => {
            let mut violations = Violations::default();
            violations.list_length(&stages, "versionStages", 1, 20);
            for stage in &stages {
                violations.length(stage, "versionStages", 256);
            }
            violations.finish()?;
            stages
        }
    };
    secret.check_not_deleted()?;
    add_version(context, &mut secret, token.clone(), content, &stages, state.now())?;
    secret::save(state, context, &secret).await?;
    let mut answer = answer(context, &secret, Some(&token));
    let version = secret.versions.iter().find(|version| version.id == token);
    answer["VersionStages"] = version.map_or_else(|| json!([]), Version::stages_json);
    Ok(answer)
}

/// UpdateSecret: description, key, and a new current version when a value is given.
pub async fn update(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    let _turn = state.secret_writes.lock().await;
    let mut secret = load(state, context, &id(members)?, "UpdateSecret").await?;
    check_served(members, "UpdateSecret")?;
    let new = match value::content(members)? {
        Some(content) => Some((value::token(members)?, content)),
        None => None,
    };
    secret.check_not_deleted()?;
    if let Some(description) = value::description(members)? {
        secret.description = Some(description).filter(|text| !text.is_empty());
    }
    if let Some(key_id) = value::key_id(members)? {
        secret.key_id = Some(key_id);
    }
    secret.changed_at = state.now();
    let token = new.as_ref().map(|(token, _)| token.clone());
    if let Some((token, content)) = new {
        add_version(context, &mut secret, token, content, &[CURRENT.to_owned()], state.now())?;
    }
    secret::save(state, context, &secret).await?;
    Ok(answer(context, &secret, token.as_deref()))
}

/// UpdateSecretVersionStage: gives a label to a version, takes it from one, or both.
pub async fn update_stage(
    state: &ApiState,
    context: &Context,
    members: &Members<'_>,
) -> Result<Value, ApiError> {
    let _turn = state.secret_writes.lock().await;
    let mut secret = load(state, context, &id(members)?, "UpdateSecretVersionStage").await?;
    let mut violations = Violations::default();
    let stage = members.string("VersionStage")?;
    match &stage {
        None => violations.missing("versionStage"),
        Some(stage) => violations.length(stage, "versionStage", 256),
    }
    violations.finish()?;
    let stage = stage.unwrap_or_default();
    secret.check_not_deleted()?;
    let (from, to) = (members.string("RemoveFromVersionId")?, members.string("MoveToVersionId")?);
    for version in [&from, &to].into_iter().flatten() {
        if !secret.versions.iter().any(|stored| stored.id == *version) {
            return Err(not_found(format!(
                "Secrets Manager can't find the specified secret value for VersionId: {version}"
            )));
        }
    }
    let holder = secret.labelled(&stage).map(|version| version.id.clone());
    // Who moves a label away from a version has to know which: two who do so at once would not notice each other.
    if holder.is_some() && from != holder && (from.is_some() || to != holder) {
        return Err(invalid_parameter(format!(
            "The parameter RemoveFromVersionId can't be empty. Staging label {stage} is currently attached to version \
             {}, so you must explicitly reference that version in RemoveFromVersionId.",
            holder.unwrap_or_default()
        )));
    }
    match to {
        Some(to) => secret.move_stage(&stage, &to),
        None if stage == CURRENT => {
            return Err(invalid_parameter(format!(
                "You can only move staging label {CURRENT} to a different secret version. It can't be completely removed."
            )));
        }
        None => secret.versions.iter_mut().for_each(|version| {
            version.stages.remove(&stage);
        }),
    }
    if secret.stage_count() > STAGES {
        return Err(error(
            "LimitExceededException",
            format!("The number of staging labels attached to the secret exceeds the limit of {STAGES}."),
        ));
    }
    secret.forget_old_versions();
    secret.changed_at = state.now();
    secret::save(state, context, &secret).await?;
    Ok(answer(context, &secret, None))
}

/// TagResource. The answer is empty.
pub async fn tag(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    let _turn = state.secret_writes.lock().await;
    let mut secret = load(state, context, &id(members)?, "TagResource").await?;
    secret.check_not_deleted()?;
    secret.tags.extend(value::tags(members)?);
    value::check_tag_count(&secret.tags)?;
    secret.changed_at = state.now();
    secret::save(state, context, &secret).await?;
    Ok(json!({}))
}

/// UntagResource. The answer is empty.
pub async fn untag(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    let _turn = state.secret_writes.lock().await;
    let mut secret = load(state, context, &id(members)?, "UntagResource").await?;
    secret.check_not_deleted()?;
    for key in members.strings("TagKeys")?.unwrap_or_default() {
        secret.tags.remove(&key);
    }
    secret.changed_at = state.now();
    secret::save(state, context, &secret).await?;
    Ok(json!({}))
}
