//! AddPermission and RemovePermission.

use super::Request;
use crate::http::ApiError;
use serde_json::Value;

/// AddPermission.
pub async fn add(request: &Request<'_>) -> Result<Value, ApiError> {
    let address = request.queue().await?;
    let label = request.required("Label")?;
    let accounts = request.members.strings("AWSAccountIds")?.unwrap_or_default();
    let actions = request.members.strings("Actions")?.unwrap_or_default();
    request.state.queues.add_permission(&address, label, accounts, actions).await?;
    Ok(Value::Null)
}

/// RemovePermission.
pub async fn remove(request: &Request<'_>) -> Result<Value, ApiError> {
    let address = request.queue().await?;
    request.state.queues.remove_permission(&address, request.required("Label")?).await?;
    Ok(Value::Null)
}
