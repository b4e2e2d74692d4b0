//! Versions: PublishVersion and ListVersionsByFunction.

use crate::http::{ApiError, Context, Members, Response, page, reply};
use crate::lambda::configuration::{Form, configuration};
use crate::lambda::functions::{list_answer, marker, new_revision, page_rows};
use crate::lambda::reference::Target;
use crate::lambda::update::{check_changeable, check_revision};
use crate::lambda::validation::Violations;
use crate::state::ApiState;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::StatusCode;
use lamplight_model::{FunctionVersion, VersionNumber};
use lamplight_store::StoreError;
use serde_json::Value;
use std::sync::Arc;

/// Versions read at once while the newest is looked for.
const READ_ROWS: usize = 1_000;

/// PublishVersion. Without a change since the newest version, that one is the answer.
pub async fn publish(
    state: &ApiState,
    context: &Context,
    label: &str,
    body: &Bytes,
) -> Result<Response, ApiError> {
    let target = Target::from_path(context, label)?;
    let members = Members::parse(body)?;
    let description = members.string("Description")?;
    let mut violations = Violations::default();
    if let Some(description) = &description {
        violations.length(description, "description", 256);
    }
    violations.finish()?;
    if members.has("PublishTo") {
        return Err(ApiError::invalid_parameter("PublishTo is not supported by Lamplight yet."));
    }
    let latest = target.load_latest(state).await?;
    check_revision(members.string("RevisionId")?.as_deref(), &latest)?;
    let code_sha256 = STANDARD.encode(latest.code.to_bytes());
    if let Some(given) = members.string("CodeSha256")?.filter(|given| *given != code_sha256) {
        return Err(ApiError::invalid_parameter(format!(
            "CodeSHA256 ({given}) is different from current CodeSHA256 in $LATEST ({code_sha256}). Please try \
             again with the CodeSHA256 in $LATEST."
        )));
    }
    check_changeable(&latest)?;
    let newest = newest(state, &target).await?;
    let version = match newest.filter(|newest| is_same(newest, &latest)) {
        Some(newest) => newest,
        None => {
            let mut snapshot = FunctionVersion::clone(&latest);
            snapshot.revision_id = new_revision();
            snapshot.last_modified = state.now();
            if let Some(description) = description {
                snapshot.description = description;
            }
            let published = state.store.publish_version(snapshot, &latest.revision_id).await;
            published.map_err(|error| match error {
                StoreError::RevisionMismatch(_) => ApiError::conflict(format!(
                    "The operation cannot be performed at this time. An update is in progress for resource: {}",
                    latest.unqualified_arn()
                )),
                other => other.into(),
            })?
        }
    };
    let shown = configuration(&version, Form { qualified: true, status: true });
    Ok(reply::json(StatusCode::CREATED, &Value::Object(shown)))
}

/// The published version with the greatest number.
async fn newest(state: &ApiState, target: &Target) -> Result<Option<Arc<FunctionVersion>>, ApiError> {
    let mut newest = None;
    let mut after = VersionNumber::Latest;
    loop {
        let rows = state.store.list_versions(&target.scope, &target.name, Some(after), READ_ROWS).await?;
        let whole = rows.len() == READ_ROWS;
        let Some(last) = rows.into_iter().next_back() else { return Ok(newest) };
        after = last.version;
        newest = Some(last);
        if !whole {
            return Ok(newest);
        }
    }
}

/// Whether publishing `latest` again would give nothing new: same code and configuration. The description may
/// differ, because publishing can set it; tags and code signing are not part of a version.
fn is_same(published: &FunctionVersion, latest: &FunctionVersion) -> bool {
    let comparable = |version: &FunctionVersion| FunctionVersion {
        version: VersionNumber::Latest,
        description: String::new(),
        last_modified: latest.last_modified,
        revision_id: String::new(),
        lifecycle: latest.lifecycle.clone(),
        code_signing_config_arn: latest.code_signing_config_arn.clone(),
        tags: latest.tags.clone(),
        egress: latest.egress,
        max_concurrency: latest.max_concurrency,
        ..version.clone()
    };
    comparable(published) == comparable(latest)
}

/// ListVersionsByFunction: `$LATEST` first, then ascending.
pub async fn list(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    const LIST: &str = "versions";
    let target = Target::from_path(context, label)?;
    let mut violations = Violations::default();
    let limit = page_rows(context, &mut violations);
    violations.finish()?;
    let after: Option<VersionNumber> = marker(context, LIST)?;
    let mut rows = state.store.list_versions(&target.scope, &target.name, after, limit + 1).await?;
    if rows.is_empty() && after.is_none() {
        return Err(target.not_found());
    }
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|last| page::token(LIST, &last.version));
    Ok(list_answer("Versions", &rows, true, next))
}
