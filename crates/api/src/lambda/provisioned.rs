//! Provisioned concurrency: Put-, Get-, List- and DeleteProvisionedConcurrencyConfig.
//!
//! What is asked for is stored; what is answered about it is what the workers have ready at that moment. The qualifier
//! is a version's number or an alias.

use crate::http::{ApiError, Context, Members, Response, page, reply};
use crate::lambda::functions::marker;
use crate::lambda::owned;
use crate::lambda::reference::Target;
use crate::lambda::validation::Violations;
use crate::state::ApiState;
use bytes::Bytes;
use http::StatusCode;
use lamplight_invoke::provisioned::unpublished;
use lamplight_invoke::{Provisioned, ProvisionedQualifier, ProvisionedStatus};
use lamplight_model::{FunctionVersion, Qualifier};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Rows of a page, and the greatest `MaxItems`.
const PAGE_ROWS: usize = 50;
/// The refusal of `$LATEST` by all but Put, which has its own text.
const NOT_A_VERSION: &str = "The function resource provided must be an alias or a published version.";

/// PutProvisionedConcurrencyConfig. 202: the instances come later.
pub async fn put(
    state: &ApiState,
    context: &Context,
    label: &str,
    body: &Bytes,
) -> Result<Response, ApiError> {
    let members = Members::parse(body)?;
    let executions = members.integer("ProvisionedConcurrentExecutions")?;
    let mut violations = Violations::default();
    match executions {
        Some(executions) => {
            violations.range(executions, "provisionedConcurrentExecutions", 1, i64::from(i32::MAX));
        }
        None => violations.missing("provisionedConcurrentExecutions"),
    }
    let target = target(context, label, violations)?;
    let Some(qualifier) = provisionable(&target) else { return Err(unpublished().into()) };
    if check_exists(state, &target).await?.per_tenant {
        return Err(owned::not_for_tenants("Provisioned Concurrency"));
    }
    let executions = executions.and_then(|executions| usize::try_from(executions).ok()).unwrap_or(usize::MAX);
    let provisioning = state.invoker.provisioning();
    let provisioned = provisioning.put(&target.scope, &target.name, qualifier, executions).await?;
    Ok(reply::json(StatusCode::ACCEPTED, &Value::Object(shown(&provisioned))))
}

/// GetProvisionedConcurrencyConfig.
pub async fn get(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    let target = target(context, label, Violations::default())?;
    let qualifier = existing(state, &target).await?;
    match state.invoker.provisioning().get(&target.scope, &target.name, &qualifier).await? {
        Some(provisioned) => Ok(reply::json(StatusCode::OK, &Value::Object(shown(&provisioned)))),
        None => Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "ProvisionedConcurrencyConfigNotFoundException",
            "No Provisioned Concurrency Config found for this function",
        )),
    }
}

/// DeleteProvisionedConcurrencyConfig. One that is not there is deleted, too.
pub async fn delete(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    let target = target(context, label, Violations::default())?;
    let qualifier = existing(state, &target).await?;
    state.invoker.provisioning().delete(&target.scope, &target.name, &qualifier).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// ListProvisionedConcurrencyConfigs: those of one function, versions by number and then aliases by name.
pub async fn list(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    const LIST: &str = "provisioned-concurrency";
    let target = Target::from_path(context, label)?;
    let mut violations = Violations::default();
    let limit = page_rows(context, &mut violations);
    violations.finish()?;
    let after: Option<ProvisionedQualifier> = marker(context, LIST)?;
    target.load_latest(state).await?;
    let provisioning = state.invoker.provisioning();
    let mut rows = provisioning.list(&target.scope, &target.name, after.as_ref(), limit + 1).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|last| page::token(LIST, &last.config.qualifier));
    let mut configs = Vec::new();
    for row in rows {
        let qualifier = row.config.qualifier.clone().into();
        let target = Target { qualifier: Some(qualifier), ..target.clone() };
        // One of a version or alias that was just deleted is on its way out.
        match target.load(state).await {
            Ok(_) => {
                let mut config = shown(&row);
                config.insert("FunctionArn".to_owned(), target.arn().into());
                configs.push(Value::Object(config));
            }
            Err(error) if error.status == StatusCode::NOT_FOUND => {}
            Err(error) => return Err(error),
        }
    }
    let mut answer = json!({ "ProvisionedConcurrencyConfigs": configs });
    if let Some(next) = next {
        answer["NextMarker"] = next.into();
    }
    Ok(reply::json(StatusCode::OK, &answer))
}

/// The function with the qualifier, which every operation but List needs.
fn target(context: &Context, label: &str, mut violations: Violations) -> Result<Target, ApiError> {
    let target = Target::from_path(context, label)?;
    if target.qualifier.is_none() {
        violations.missing("qualifier");
    }
    violations.finish()?;
    Ok(target)
}

/// The version or alias that is meant; `None` for `$LATEST`.
fn provisionable(target: &Target) -> Option<ProvisionedQualifier> {
    target.qualifier.as_ref().and_then(ProvisionedQualifier::of)
}

/// The version or alias that is meant. Fails when it does not exist, and for `$LATEST`.
async fn existing(state: &ApiState, target: &Target) -> Result<ProvisionedQualifier, ApiError> {
    let qualifier = provisionable(target).ok_or_else(|| ApiError::invalid_parameter(NOT_A_VERSION))?;
    check_exists(state, target).await?;
    Ok(qualifier)
}

/// Fails with AWS's texts: another one for an alias than for a version.
async fn check_exists(state: &ApiState, target: &Target) -> Result<Arc<FunctionVersion>, ApiError> {
    target.load(state).await.map_err(|error| match target.qualifier {
        Some(Qualifier::Alias(_)) if error.status == StatusCode::NOT_FOUND => {
            ApiError::not_found(format!("Cannot find alias arn: {}", target.arn()))
        }
        _ => error,
    })
}

fn shown(provisioned: &Provisioned) -> Map<String, Value> {
    let mut shown = Map::new();
    let mut set = |name: &str, value: Value| {
        shown.insert(name.to_owned(), value);
    };
    set("RequestedProvisionedConcurrentExecutions", provisioned.config.executions.into());
    set("AvailableProvisionedConcurrentExecutions", provisioned.ready.into());
    set("AllocatedProvisionedConcurrentExecutions", provisioned.ready.into());
    set("Status", provisioned.status.as_str().into());
    if let ProvisionedStatus::Failed(reason) = &provisioned.status {
        set("StatusReason", reason.as_str().into());
    }
    set("LastModified", provisioned.config.last_modified.seconds_format().into());
    shown
}

/// `MaxItems`.
fn page_rows(context: &Context, violations: &mut Violations) -> usize {
    let Some(text) = context.parameter("MaxItems") else { return PAGE_ROWS };
    match text.parse::<i64>() {
        Ok(rows) => {
            violations.range(rows, "maxItems", 1, PAGE_ROWS as i64);
            usize::try_from(rows).unwrap_or(PAGE_ROWS).clamp(1, PAGE_ROWS)
        }
        Err(_) => {
            violations.add(text, "maxItems", "Member must be a number");
            PAGE_ROWS
        }
    }
}
