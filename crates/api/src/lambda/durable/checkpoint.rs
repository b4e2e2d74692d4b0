//! What a running durable function calls: CheckpointDurableExecution and GetDurableExecutionState.

use super::{Named, read};
use crate::http::{ApiError, Context, Members, Response, reply};
use crate::lambda::patterns as pattern;
use crate::lambda::validation::Violations;
use crate::state::ApiState;
use bytes::Bytes;
use http::StatusCode;
use lamplight_invoke::durable::{CheckpointRequest, state_marker, state_page_after};
use lamplight_model::durable::{CheckpointToken, Execution, Operation, shape};
use serde_json::{Value, json};

/// CheckpointDurableExecution.
pub async fn checkpoint(
    state: &ApiState,
    context: &Context,
    label: &str,
    body: &Bytes,
) -> Result<Response, ApiError> {
    let members = Members::parse(body)?;
    let mut violations = Violations::default();
    let token = members.string("CheckpointToken")?;
    note_token(token.as_deref(), &mut violations);
    let client_token = read::client_token(&members, &mut violations)?;
    let updates = read::updates(&members, &mut violations)?;
    let named = Named::from_path(context, label, violations)?;
    named.check_owner(context, "CheckpointDurableExecution")?;
    let token = token.as_deref().and_then(CheckpointToken::parse);
    let request = CheckpointRequest { key: named.key, arn: named.arn, token, client_token, updates };
    let answer = state.durable.checkpoint(request).await?;
    let operations = operations(&answer.execution, &answer.operations, &answer.input);
    let mut shown = json!({ "NewExecutionState": { "Operations": operations } });
    if let Some(token) = answer.token {
        shown["CheckpointToken"] = token.text().into();
    }
    Ok(reply::json(StatusCode::OK, &shown))
}

/// GetDurableExecutionState.
pub async fn state(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    let mut violations = Violations::default();
    let limit = read::items(context, &mut violations)?;
    let token = context.parameter("CheckpointToken");
    note_token(token, &mut violations);
    let named = Named::from_path(context, label, violations)?;
    named.check_owner(context, "GetDurableExecutionState")?;
    let after: u64 = match context.parameter("Marker") {
        Some(marker) => state_page_after(marker).ok_or_else(read::invalid_marker)?,
        None => 0,
    };
    let token = token.and_then(CheckpointToken::parse);
    let found = state.durable.state(&named.key, &named.arn, token, after, limit).await?;
    let mut shown = json!({ "Operations": operations(&found.execution, &found.operations, &found.input) });
    if let Some(next) = found.next {
        shown["NextMarker"] = state_marker(next).into();
    }
    Ok(reply::json(StatusCode::OK, &shown))
}

fn note_token(token: Option<&str>, violations: &mut Violations) {
    match token {
        Some(token) => {
            violations.length(token, "checkpointToken", 2_048);
            violations.fits(token, "checkpointToken", &pattern::BASE64);
        }
        None => violations.missing("checkpointToken"),
    }
}

fn operations(execution: &Execution, operations: &[Operation], input: &str) -> Vec<Value> {
    operations.iter().map(|operation| shape::operation(execution, operation, input, shape::seconds)).collect()
}
