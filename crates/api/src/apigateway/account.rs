//! GetAccount and UpdateAccount: the role for logs, which tools set before they switch logging on.

use super::{Request, patch, stored};
use crate::http::{ApiError, Response, reply};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Kind of the one document of a region.
const KIND: &str = "rest-api/account";
const KEY: &str = "account";

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Account {
    #[serde(skip_serializing_if = "Option::is_none")]
    cloudwatch_role_arn: Option<String>,
}

fn shown(account: &Account) -> Result<Value, ApiError> {
    let mut shown = stored::value(account)?;
    // What AWS has for a new account. Nothing is throttled here beyond the functions' own limits.
    shown["throttleSettings"] = json!({"burstLimit": 5_000, "rateLimit": 10_000.0});
    shown["features"] = json!(["UsagePlans"]);
    shown["apiKeyVersion"] = json!("4");
    Ok(shown)
}

/// GetAccount.
pub async fn get(request: &Request<'_>) -> Result<Response, ApiError> {
    let account: Option<Account> = stored::read(request.state, request.context, KIND, KEY).await?;
    Ok(reply::json(StatusCode::OK, &shown(&account.unwrap_or_default())?))
}

/// UpdateAccount.
pub async fn update(request: &Request<'_>) -> Result<Response, ApiError> {
    let patches = patch::read(request.body, "updateAccountInput")?;
    let _write = request.state.rest_api_writes.lock().await;
    let account: Option<Account> = stored::read(request.state, request.context, KIND, KEY).await?;
    let mut account = account.unwrap_or_default();
    for patch in &patches {
        match patch.path.as_str() {
            "/cloudwatchRoleArn" => {
                account.cloudwatch_role_arn = patch.some().filter(|_| patch.op != "remove");
            }
            _ => return Err(patch.invalid_path()),
        }
    }
    stored::write(request.state, request.context, KIND, KEY, &account).await?;
    Ok(reply::json(StatusCode::OK, &shown(&account)?))
}
