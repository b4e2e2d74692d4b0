//! Account settings, and the configurations a function can have none of yet: what AWS answers for a function that
//! never had one. Terraform reads all of these after every create.

use crate::http::{ApiError, Context, Response, reply};
use crate::lambda::reference::Target;
use crate::state::ApiState;
use http::StatusCode;
use lamplight_model::limits;
use serde_json::json;

/// Functions read at once while code sizes are added up.
const READ_ROWS: usize = 1_000;
/// `TotalCodeSize`: the quota AWS starts with, bytes.
const TOTAL_CODE_BYTES: u64 = 80_530_636_800;

/// GetAccountSettings.
pub async fn settings(state: &ApiState, context: &Context) -> Result<Response, ApiError> {
    let (mut functions, mut code_bytes) = (0_u64, 0_u64);
    let mut after = None;
    loop {
        let rows = state.store.list_functions(&context.scope, after.as_ref(), READ_ROWS).await?;
        functions += rows.len() as u64;
        code_bytes += rows.iter().map(|row| row.code_size_bytes).sum::<u64>();
        match rows.last() {
            Some(last) if rows.len() == READ_ROWS => after = Some(last.name.clone()),
            _ => break,
        }
    }
    Ok(reply::json(
        StatusCode::OK,
        &json!({
            "AccountLimit": {
                "TotalCodeSize": TOTAL_CODE_BYTES,
                "CodeSizeUnzipped": limits::UNZIPPED_BYTES,
                "CodeSizeZipped": limits::ZIP_BYTES,
                "ConcurrentExecutions": state.config.account_concurrency,
                "UnreservedConcurrentExecutions": state.invoker.provisioning().unreserved(&context.scope).await?,
            },
            "AccountUsage": {"TotalCodeSize": code_bytes, "FunctionCount": functions},
        }),
    ))
}

/// GetFunctionConcurrency: nothing is reserved.
pub async fn function_concurrency(
    state: &ApiState,
    context: &Context,
    label: &str,
) -> Result<Response, ApiError> {
    Target::from_path(context, label)?.load_latest(state).await?;
    Ok(reply::json(StatusCode::OK, &json!({})))
}

/// GetFunctionCodeSigningConfig: there is none.
pub async fn code_signing_config(
    state: &ApiState,
    context: &Context,
    label: &str,
) -> Result<Response, ApiError> {
    Target::from_path(context, label)?.load_latest(state).await?;
    Ok(reply::json(StatusCode::OK, &json!({})))
}

/// GetFunctionEventInvokeConfig: there is none, the defaults hold.
pub async fn event_invoke_config(
    state: &ApiState,
    context: &Context,
    label: &str,
) -> Result<Response, ApiError> {
    let target = Target::from_path(context, label)?;
    target.load(state).await?;
    let qualifier = target.qualifier.as_ref().map_or_else(|| "$LATEST".to_owned(), ToString::to_string);
    Err(ApiError::not_found(format!(
        "The function {}:{qualifier} doesn't have an EventInvokeConfig",
        target.unqualified_arn()
    )))
}

/// GetPolicy: there is none.
pub async fn policy(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    Target::from_path(context, label)?.load(state).await?;
    Err(ApiError::not_found("No policy is associated with the given resource."))
}

/// GetRuntimeManagementConfig: interpreters are updated with the host.
pub async fn runtime_management(
    state: &ApiState,
    context: &Context,
    label: &str,
) -> Result<Response, ApiError> {
    let target = Target::from_path(context, label)?;
    let version = target.load(state).await?;
    Ok(reply::json(
        StatusCode::OK,
        &json!({"UpdateRuntimeOn": "Auto", "FunctionArn": version.qualified_arn()}),
    ))
}
