//! Changes of `$LATEST`: UpdateFunctionCode and UpdateFunctionConfiguration.
//!
//! Optimistic: read, change a copy, write it if nobody else did meanwhile. The lifecycle becomes `InProgress`;
//! `invoke::lifecycle` finishes it.

use crate::http::{ApiError, Context, Members, Response, reply};
use crate::lambda::configuration::{Form, configuration as shown};
use crate::lambda::functions::{check_architecture, new_revision, read_architecture};
use crate::lambda::layers::attach;
use crate::lambda::reference::Target;
use crate::lambda::settings::Settings;
use crate::lambda::validation::Violations;
use crate::lambda::{code, code_signing, tags};
use crate::state::ApiState;
use bytes::Bytes;
use http::StatusCode;
use lamplight_model::function::{FunctionState, UpdateStatus};
use lamplight_model::{ErrorCode, FunctionVersion, ServiceError};
use lamplight_store::{Expect, StoreError};
use serde_json::Value;

/// UpdateFunctionCode.
pub async fn code(
    state: &ApiState,
    context: &Context,
    label: &str,
    body: &Bytes,
) -> Result<Response, ApiError> {
    let target = Target::from_path(context, label)?;
    let members = Members::parse(body)?;
    let mut violations = Violations::default();
    let architecture = read_architecture(&members, &mut violations)?;
    violations.finish()?;
    if members.has("PublishTo") {
        return Err(ApiError::invalid_parameter("PublishTo is not supported by Lamplight yet."));
    }
    let (dry_run, publish) =
        (members.boolean("DryRun")?.unwrap_or(false), members.boolean("Publish")?.unwrap_or(false));
    let latest = target.load_latest(state).await?;
    check_revision(members.string("RevisionId")?.as_deref(), &latest)?;
    check_changeable(&latest)?;
    if let Some(arn) = &latest.code_signing_config_arn
        && let Some(config) = code_signing::find(state, &target.scope, arn).await?
    {
        code_signing::check_deployment(&config, &latest.unqualified_arn())?;
    }
    let zip = code::package(state, context, &members, "").await?;
    let mut changed = FunctionVersion::clone(&latest);
    if architecture.is_some() {
        changed.architecture = check_architecture(state, architecture)?.to_owned();
    }
    changed.code_size_bytes = zip.len() as u64;
    // A dry run checks the package by storing it; nothing refers to it, so it is collected again.
    changed.code = state.code.put(zip).await?;
    attach::check_size(state, &changed).await?;
    if dry_run {
        return Ok(answer(&changed, false));
    }
    let mut changed = write(state, &latest, changed).await?;
    if publish {
        let latest_revision = changed.revision_id.clone();
        changed.revision_id = new_revision();
        let published = state.store.publish_version(changed, &latest_revision).await?;
        changed = FunctionVersion::clone(&published);
    }
    Ok(answer(&changed, publish))
}

/// UpdateFunctionConfiguration.
pub async fn configuration(
    state: &ApiState,
    context: &Context,
    label: &str,
    body: &Bytes,
) -> Result<Response, ApiError> {
    let target = Target::from_path(context, label)?;
    let members = Members::parse(body)?;
    let mut violations = Violations::default();
    let settings = Settings::read(&members, &mut violations)?;
    violations.finish()?;
    let latest = target.load_latest(state).await?;
    settings.check(&members, latest.logging.json)?;
    if members.has("TenancyConfig") {
        // No member of this request on AWS, which would ignore it: whoever sends it means an isolation there is not.
        return Err(ApiError::invalid_parameter(
            "TenancyConfig cannot be changed after a function was created.",
        ));
    }
    settings.check_snap_start(Some(&latest), latest.per_tenant)?;
    settings.check_durable(Some(&latest), latest.per_tenant)?;
    tags::check_runtime(latest.max_concurrency, settings.runtime.as_deref().unwrap_or(&latest.runtime))?;
    check_revision(members.string("RevisionId")?.as_deref(), &latest)?;
    check_changeable(&latest)?;
    let mut changed = FunctionVersion::clone(&latest);
    if let Some(arns) = &settings.layers {
        changed.layers = attach::resolve(state, context, arns).await?;
        attach::check_size(state, &changed).await?;
    }
    settings.apply(&mut changed);
    Ok(answer(&write(state, &latest, changed).await?, false))
}

/// Writes a changed `$LATEST` under a new revision with its update in progress. Gives back what was stored.
async fn write(
    state: &ApiState,
    latest: &FunctionVersion,
    mut changed: FunctionVersion,
) -> Result<FunctionVersion, ApiError> {
    changed.revision_id = new_revision();
    changed.last_modified = state.now();
    // A function that failed to be created gets another chance with new code.
    changed.lifecycle.state = FunctionState::Active;
    changed.lifecycle.state_reason = None;
    changed.lifecycle.state_reason_code = None;
    changed.lifecycle.last_update_status = Some(UpdateStatus::InProgress);
    changed.lifecycle.last_update_status_reason = Some("The function is being created.".to_owned());
    changed.lifecycle.last_update_status_reason_code = Some("Creating".to_owned());
    let expected = Expect::Revision(latest.revision_id.clone());
    state.store.put_version(changed.clone(), expected).await.map_err(|error| match error {
        StoreError::RevisionMismatch(_) => update_in_progress(latest),
        other => other.into(),
    })?;
    Ok(changed)
}

fn answer(version: &FunctionVersion, qualified: bool) -> Response {
    reply::json(StatusCode::OK, &Value::Object(shown(version, Form { qualified, status: true })))
}

/// Fails with 412 `PreconditionFailedException` when a revision is given and is not the stored one.
pub fn check_revision(given: Option<&str>, latest: &FunctionVersion) -> Result<(), ApiError> {
    match given {
        Some(given) if given != latest.revision_id => Err(stale_revision()),
        _ => Ok(()),
    }
}

/// 412 `PreconditionFailedException`: the revision given is not the stored one.
pub fn stale_revision() -> ApiError {
    ServiceError::new(
        ErrorCode::PreconditionFailedException,
        "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to \
         retrieve the latest Revision Id",
    )
    .into()
}

/// Fails with 409 `ResourceConflictException` while the function is being created or updated.
pub fn check_changeable(latest: &FunctionVersion) -> Result<(), ApiError> {
    if latest.lifecycle.state == FunctionState::Pending {
        return Err(ApiError::conflict(
            "The operation cannot be performed at this time. The function is currently in the following state: \
             Pending",
        ));
    }
    if latest.lifecycle.last_update_status == Some(UpdateStatus::InProgress) {
        return Err(update_in_progress(latest));
    }
    Ok(())
}

fn update_in_progress(latest: &FunctionVersion) -> ApiError {
    ApiError::conflict(format!(
        "The operation cannot be performed at this time. An update is in progress for resource: {}",
        latest.unqualified_arn()
    ))
}
