//! `/ready`: whether a call could be served now. For load balancers and supervisors; `/health` says only that the server
//! is alive.

use crate::http::{Response, reply};
use crate::state::ApiState;
use ::http::StatusCode;
use lamplight_model::Scope;
use serde_json::json;
use std::time::Duration;

/// A storage that takes longer to answer cannot serve calls.
const PATIENCE: Duration = Duration::from_secs(2);

/// 200 when storage answers and instances can be started, else 503 with the reason.
pub async fn answer(state: &ApiState) -> Response {
    match trouble(state).await {
        None => reply::json(StatusCode::OK, &json!({"Status": "ready"})),
        Some(reason) => {
            tracing::warn!(reason, "the server is not ready");
            let body = json!({"Status": "not ready", "Reason": reason});
            reply::json(StatusCode::SERVICE_UNAVAILABLE, &body)
        }
    }
}

async fn trouble(state: &ApiState) -> Option<String> {
    if let Some(trouble) = (state.config.trouble)() {
        return Some(trouble);
    }
    // Any read does; a list goes to the file, where a function might come from a cache.
    let scope = Scope::default();
    match tokio::time::timeout(PATIENCE, state.store.list_functions(&scope, None, 1)).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => {
            tracing::error!(%error, "storage does not answer");
            Some("storage does not answer".to_owned())
        }
        Err(_) => Some("storage takes too long to answer".to_owned()),
    }
}
