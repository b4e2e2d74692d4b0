//! Reserved concurrency: PutFunctionConcurrency, GetFunctionConcurrency, DeleteFunctionConcurrency.

use crate::http::{ApiError, Context, Members, Response, reply};
use crate::lambda::reference::Target;
use crate::lambda::validation::Violations;
use crate::state::ApiState;
use bytes::Bytes;
use http::StatusCode;
use lamplight_model::name::function_arn;
use lamplight_model::{Qualifier, ServiceError, VersionNumber};
use serde_json::json;

/// PutFunctionConcurrency.
pub async fn put(
    state: &ApiState,
    context: &Context,
    label: &str,
    body: &Bytes,
) -> Result<Response, ApiError> {
    let target = Target::from_path(context, label)?;
    let members = Members::parse(body)?;
    let executions = members.integer("ReservedConcurrentExecutions")?;
    let mut violations = Violations::default();
    match executions {
        Some(executions) => {
            violations.range(executions, "reservedConcurrentExecutions", 0, i64::from(i32::MAX));
        }
        None => violations.missing("reservedConcurrentExecutions"),
    }
    violations.finish()?;
    check_function(state, &target).await?;
    let executions = executions.and_then(|executions| usize::try_from(executions).ok()).unwrap_or(usize::MAX);
    state.invoker.provisioning().reserve(&target.scope, &target.name, executions).await?;
    Ok(reply::json(StatusCode::OK, &json!({"ReservedConcurrentExecutions": executions})))
}

/// GetFunctionConcurrency. Nothing is in the answer when nothing is reserved.
pub async fn get(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    let target = Target::from_path(context, label)?;
    check_unqualified(&target)?;
    if state.store.get_version(&target.scope, &target.name, VersionNumber::Latest).await?.is_none() {
        return Err(target.not_found());
    }
    let reserved = state.invoker.provisioning().reserved(&target.scope, &target.name).await?;
    Ok(reply::json(
        StatusCode::OK,
        &reserved.map_or_else(|| json!({}), |executions| json!({"ReservedConcurrentExecutions": executions})),
    ))
}

/// DeleteFunctionConcurrency. What is not reserved is taken back, too.
pub async fn delete(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    let target = Target::from_path(context, label)?;
    check_function(state, &target).await?;
    state.invoker.provisioning().unreserve(&target.scope, &target.name).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

fn check_unqualified(target: &Target) -> Result<(), ApiError> {
    if target.qualifier.is_some() {
        return Err(ApiError::invalid_parameter(
            "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. \
             Please specify either a function name or an unqualified function ARN.",
        ));
    }
    Ok(())
}

/// Whether there is such a function. The text of its absence names `$LATEST`, as AWS's does here.
async fn check_function(state: &ApiState, target: &Target) -> Result<(), ApiError> {
    check_unqualified(target)?;
    if state.store.get_version(&target.scope, &target.name, VersionNumber::Latest).await?.is_none() {
        let arn = function_arn(&target.scope, &target.name, Some(&Qualifier::Latest));
        return Err(ServiceError::function_not_found(&arn).into());
    }
    Ok(())
}
