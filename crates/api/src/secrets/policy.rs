//! GetResourcePolicy, PutResourcePolicy and DeleteResourcePolicy: stored and shown, not evaluated.

use super::error;
use super::secret::{self, id, load};
use crate::http::{ApiError, Context, Members};
use crate::lambda::validation::Violations;
use crate::state::ApiState;
use serde_json::Value;

/// GetResourcePolicy.
pub async fn get(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    let secret = load(state, context, &id(members)?, "GetResourcePolicy").await?;
    secret.check_not_deleted()?;
    let mut answer = secret.head(context);
    if let Some(policy) = secret.policy {
        answer.insert("ResourcePolicy".to_owned(), policy.into());
    }
    Ok(Value::Object(answer))
}

/// PutResourcePolicy. Fails with `MalformedPolicyDocumentException` for what is no JSON object with statements.
pub async fn put(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    let _turn = state.secret_writes.lock().await;
    let mut secret = load(state, context, &id(members)?, "PutResourcePolicy").await?;
    let mut violations = Violations::default();
    let policy = members.string("ResourcePolicy")?;
    match &policy {
        None => violations.missing("resourcePolicy"),
        Some(policy) => violations.length(policy, "resourcePolicy", 20_480),
    }
    violations.finish()?;
    let policy = policy.unwrap_or_default();
    let document: Option<Value> = serde_json::from_str(&policy).ok();
    if document.is_none_or(|document| document.get("Statement").is_none()) {
        return Err(error("MalformedPolicyDocumentException", "This resource policy contains invalid Json."));
    }
    secret.check_not_deleted()?;
    secret.policy = Some(policy);
    secret::save(state, context, &secret).await?;
    Ok(Value::Object(secret.head(context)))
}

/// DeleteResourcePolicy. There need be none.
pub async fn delete(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    let _turn = state.secret_writes.lock().await;
    let mut secret = load(state, context, &id(members)?, "DeleteResourcePolicy").await?;
    secret.check_not_deleted()?;
    if secret.policy.take().is_some() {
        secret::save(state, context, &secret).await?;
    }
    Ok(Value::Object(secret.head(context)))
}
