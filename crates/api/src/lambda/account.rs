//! GetAccountSettings: what an account may use in a region, and what it uses.

use crate::http::{ApiError, Context, Response, reply};
use crate::state::ApiState;
use http::StatusCode;
use lamplight_model::limits;
use serde_json::json;

/// `TotalCodeSize`: the quota AWS starts with, bytes.
const TOTAL_CODE_BYTES: u64 = 80_530_636_800;

/// GetAccountSettings.
pub async fn settings(state: &ApiState, context: &Context) -> Result<Response, ApiError> {
    let usage = state.store.code_usage(&context.scope).await?;
    Ok(reply::json(
        StatusCode::OK,
        &json!({
            "AccountLimit": {
                "TotalCodeSize": TOTAL_CODE_BYTES,
                "CodeSizeUnzipped": limits::UNZIPPED_BYTES,
                "CodeSizeZipped": limits::ZIP_BYTES,
                "ConcurrentExecutions": *state.config.account_concurrency.get(),
                "UnreservedConcurrentExecutions": state.invoker.provisioning().unreserved(&context.scope).await?,
            },
            "AccountUsage": {"TotalCodeSize": usage.code_bytes, "FunctionCount": usage.functions},
        }),
    ))
}
