//! What people ask about executions, and how they stop, pause, resume and delete them.

use super::{Named, read};
use crate::http::{ApiError, Context, Members, Response, page, reply};
use crate::lambda::reference::Target;
use crate::lambda::validation::Violations;
use crate::state::ApiState;
use bytes::Bytes;
use http::StatusCode;
use lamplight_invoke::durable::not_found;
use lamplight_model::durable::shape::seconds;
use lamplight_model::durable::{ERROR_BYTES, Execution, ExecutionStatus, LONGEST_SECONDS};
use lamplight_model::{Qualifier, Timestamp, VersionNumber};
use lamplight_store::executions::{ExecutionQuery, StoredExecution};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// GetDurableExecution.
pub async fn get(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    let with_data = read::flag(context, "IncludeExecutionData")?.unwrap_or(true);
    let named = Named::from_path(context, label, Violations::default())?;
    let StoredExecution { execution, input, closing } = find(state, &named).await?;
    let mut shown = summary(&execution);
    let mut set = |name: &str, value: Value| shown.insert(name.to_owned(), value);
    set("Version", execution.version.to_string().into());
    set("ExecutionDataIncluded", with_data.into());
    if with_data {
        set("InputPayload", input.into());
        if let Some(result) = closing.result {
            set("Result", result.into());
        }
        if let Some(error) = closing.error {
            set("Error", json!(error));
        }
    }
    if let Some(header) = &execution.trace_header {
        set("TraceHeader", json!({ "XAmznTraceId": header }));
    }
    let mut config = json!({
        "RetentionPeriodInDays": execution.retention_days,
        "ExecutionTimeout": execution.timeout_seconds,
    });
    if let Some(arn) = &execution.kms_key_arn {
        config["KMSKeyArn"] = arn.as_str().into();
    }
    set("DurableConfig", config);
    if let Some(pause) = &execution.pause {
        let mut details = json!({
            "PauseRequestTimestamp": seconds(pause.requested_at),
            "ExecutionTimeoutPaused": pause.timeout_paused,
        });
        if let Some(reason) = pause.reason.as_deref().filter(|_| with_data) {
            details["Reason"] = reason.into();
        }
        set("PauseDetails", details);
    }
    if execution.ended_at.is_none() {
        set("ExpectedExecutionTimeoutTimestamp", seconds(execution.deadline));
    }
    Ok(reply::json(StatusCode::OK, &Value::Object(shown)))
}

/// `Execution`, which is also the beginning of what GetDurableExecution shows.
fn summary(execution: &Execution) -> Map<String, Value> {
    let mut shown = Map::new();
    let mut set = |name: &str, value: Value| shown.insert(name.to_owned(), value);
    set("DurableExecutionArn", execution.arn().into());
    set("DurableExecutionName", execution.name.as_str().into());
    set("FunctionArn", execution.function_arn().into());
    set("Status", execution.status.name().into());
    set("StartTimestamp", seconds(execution.started_at));
    if let Some(ended_at) = execution.ended_at {
        set("EndTimestamp", seconds(ended_at));
    }
    shown
}

async fn find(state: &ApiState, named: &Named) -> Result<StoredExecution, ApiError> {
    let stored = state.durable.get(&named.key).await?;
    // The id alone finds it; an ARN that is wrong elsewhere is not its ARN.
    if named.is(&stored.execution) { Ok(stored) } else { Err(not_found().into()) }
}

/// GetDurableExecutionHistory.
pub async fn history(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    let with_data = read::flag(context, "IncludeExecutionData")?.unwrap_or(true);
    let newest_first = read::flag(context, "ReverseOrder")?.unwrap_or(false);
    let mut violations = Violations::default();
    let limit = read::items(context, &mut violations)?;
    let named = Named::from_path(context, label, violations)?;
    find(state, &named).await?;
    let list = if newest_first { "durable-history-reversed" } else { "durable-history" };
    let after: Option<u64> = marker(context, list)?;
    // One more than asked for says whether there is a next page.
    let mut events = state.durable.history(&named.key, after, newest_first, limit + 1).await?;
    let more = events.len() > limit;
    events.truncate(limit);
    let shown: Vec<Value> = events.iter().map(|event| event.shape(with_data)).collect();
    let mut shown = json!({ "Events": shown });
    if let Some(last) = events.last().filter(|_| more) {
        shown["NextMarker"] = page::token(list, &last.number).into();
    }
    Ok(reply::json(StatusCode::OK, &shown))
}

/// ListDurableExecutionsByFunction.
pub async fn list(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    let mut violations = Violations::default();
    let limit = read::items(context, &mut violations)?;
    let statuses: Vec<&str> = context
        .query
        .iter()
        .filter(|(name, _)| name == "Statuses")
        .map(|(_, value)| value.as_str())
        .collect();
    if statuses.iter().any(|status| !ExecutionStatus::NAMES.contains(status)) {
        violations.add(
            format!("[{}]", statuses.join(", ")),
            "statuses",
            format!(
                "Member must satisfy constraint: [Member must satisfy enum value set: [{}]]",
                ExecutionStatus::NAMES.join(", ")
            ),
        );
    }
    let name = context.parameter("DurableExecutionName");
    if let Some(name) = name {
        super::invoke::note_name(name, &mut violations);
    }
    violations.finish()?;
    if statuses.len() > 1 {
        return Err(ApiError::invalid_parameter("Cannot filter by more than one status"));
    }
    let oldest_first = read::flag(context, "ReverseOrder")?.unwrap_or(false);
    let (started_after, started_before) = (time(context, "StartedAfter")?, time(context, "StartedBefore")?);
    let target = Target::from_path(context, label)?;
    let list = if oldest_first { "durable-executions-reversed" } else { "durable-executions" };
    let after: Option<(Timestamp, i64)> = marker(context, list)?;
    let function = Target { qualifier: None, ..target.clone() };
    function.load(state).await?;
    let version = match &target.qualifier {
        None => None,
        Some(Qualifier::Latest) => Some(VersionNumber::Latest),
        Some(Qualifier::Version(number)) => Some(VersionNumber::Published(*number)),
        Some(Qualifier::Alias(_)) => Some(target.load(state).await?.version),
    };
    let status = statuses.first().and_then(|name| serde_json::from_value(json!(name)).ok());
    let mut rows = state
        .durable
        .list(ExecutionQuery {
            scope: target.scope,
            function: target.name,
            version,
            name: name.map(str::to_owned),
            status,
            started_after,
            started_before,
            oldest_first,
            after,
            limit: limit + 1,
        })
        .await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let shown: Vec<Value> = rows
        .iter()
        .map(|(_, execution)| {
            let mut shown = summary(execution);
            if let Some(arn) = &execution.kms_key_arn {
                shown.insert("KMSKeyArn".to_owned(), arn.as_str().into());
            }
            Value::Object(shown)
        })
        .collect();
    let mut answer = json!({ "DurableExecutions": shown });
    if let Some((place, last)) = rows.last().filter(|_| more) {
        answer["NextMarker"] = page::token(list, &(last.started_at, place)).into();
    }
    Ok(reply::json(StatusCode::OK, &answer))
}

/// StopDurableExecution.
pub async fn stop(
    state: &ApiState,
    context: &Context,
    label: &str,
    body: &Bytes,
) -> Result<Response, ApiError> {
    let error = if body.is_empty() { None } else { Some(read::error(&Members::parse(body)?)?) };
    let named = Named::from_path(context, label, Violations::default())?;
    if error.as_ref().is_some_and(|error| error.bytes() > ERROR_BYTES) {
        return Err(ApiError::invalid_parameter(format!(
            "Error object size must be less than or equal to {ERROR_BYTES} bytes."
        )));
    }
    find(state, &named).await?;
    let stopped_at = state.durable.stop(&named.key, error).await?;
    Ok(reply::json(StatusCode::OK, &json!({ "StopTimestamp": seconds(stopped_at) })))
}

/// PauseDurableExecution.
pub async fn pause(
    state: &ApiState,
    context: &Context,
    label: &str,
    body: &Bytes,
) -> Result<Response, ApiError> {
    let members = Members::parse(body)?;
    let (client_token, reason, named) = change(&members, context, label)?;
    let timeout_paused = members.boolean("ExecutionTimeoutPaused")?.unwrap_or(true);
    find(state, &named).await?;
    state.durable.pause(&named.key, client_token, reason, timeout_paused).await?;
    Ok(reply::json(StatusCode::ACCEPTED, &json!({})))
}

/// ResumeDurableExecution.
pub async fn resume(
    state: &ApiState,
    context: &Context,
    label: &str,
    body: &Bytes,
) -> Result<Response, ApiError> {
    let (client_token, reason, named) = change(&Members::parse(body)?, context, label)?;
    find(state, &named).await?;
    state.durable.resume(&named.key, client_token, reason).await?;
    Ok(reply::json(StatusCode::ACCEPTED, &json!({})))
}

/// What pausing and resuming have in common.
fn change(
    members: &Members<'_>,
    context: &Context,
    label: &str,
) -> Result<(Option<String>, Option<String>, Named), ApiError> {
    let mut violations = Violations::default();
    let client_token = read::client_token(members, &mut violations)?;
    let reason = members.string("Reason")?;
    if let Some(reason) = &reason {
        violations.length(reason, "reason", 1_024);
    }
    Ok((client_token, reason, Named::from_path(context, label, violations)?))
}

/// DeleteDurableExecution.
pub async fn delete(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    let named = Named::from_path(context, label, Violations::default())?;
    find(state, &named).await?;
    let asked_at = state.durable.delete(&named.key).await?;
    Ok(reply::json(StatusCode::ACCEPTED, &json!({ "DeletionRequestTimestamp": seconds(asked_at) })))
}

fn marker<K: serde::de::DeserializeOwned>(context: &Context, list: &str) -> Result<Option<K>, ApiError> {
    match context.parameter("Marker") {
        None => Ok(None),
        Some(marker) => page::key(list, marker).map(Some).ok_or_else(read::invalid_marker),
    }
}

/// A time of the query string: ISO 8601, or seconds.
fn time(context: &Context, name: &str) -> Result<Option<Timestamp>, ApiError> {
    let Some(text) = context.parameter(name) else { return Ok(None) };
    if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339)
        && let Ok(millis) = i64::try_from(at.unix_timestamp_nanos() / 1_000_000)
    {
        return Ok(Some(Timestamp(millis)));
    }
    match text.parse::<f64>() {
        Ok(at) if at.abs() < f64::from(LONGEST_SECONDS) * 1e6 => Ok(Some(Timestamp((at * 1_000.0) as i64))),
        _ => Err(ApiError::serialization(format!("'{text}' can not be converted to Date"))),
    }
}
