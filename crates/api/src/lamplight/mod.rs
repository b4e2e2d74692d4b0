//! Our own small interface, for the command line and for probes. JSON; names are those of the Lambda API.
//!
//! | request | answer |
//! |---|---|
//! | `GET /health` | `{"Status": "ok", "Version"}`: the server is alive and answers |
//! | `GET /ready` | `{"Status": "ready"}`, or 503 `{"Status": "not ready", "Reason"}`: it can serve calls (`ready`) |
//! | `GET /metrics` | the same as `/lamplight/v1/metrics` |
//! | `GET /lamplight/v1/usage?Function=&From=&Until=&ByDay=true` | `{"Rows": [{"Function", "Version", "Day"?, "Requests", "Errors", "BilledMs", "GbSeconds", "Price"}], "Currency"}`; `From` and `Until` are epoch milliseconds |
//! | `GET /lamplight/v1/functions/{name}/invocations?Limit=` | `{"Invocations": [InvocationReport + "Price"]}`, newest first |
//! | `GET /lamplight/v1/invocations/{request id}` | where the request is, as `events/{request id}`, with the members of its newest InvocationReport beside; 404 when unknown |
//! | `GET /lamplight/v1/events?Function=&State=&Condition=&From=&Until=&Limit=&Marker=` | `{"Events": [{"RequestId", "Function", "Qualifier"?, "State", "Attempts", "AcceptedAt", ...}], "NextMarker"?}`: waiting, running and dead-lettered ones, newest first |
//! | `GET /lamplight/v1/events/counts?Function=` | the four counts of all functions together, and `"Functions"` |
//! | `GET /lamplight/v1/events/{request id}` | the same members, `"Type"`, `"Payload"`, `"Steps": [{"What", "At", "BeganAt"?, "Times"?, "Condition"?, "Error"?, "Told"?}]`, `"Runs": [InvocationReport]`; while it runs `"Node"`, `"Since"`, `"Version"`, `"LeaseUntil"?`, `"Stage"` (docs/events.md) and, once there is an instance, `"Instance"`, `"LogStream"`, `"StageSince"` |
//! | `GET /lamplight/v1/running?Function=&Limit=` | `{"Running": [the same members of what runs on this node, events and calls]}`, the longest first, and `"Count"` of all |
//! | `POST /lamplight/v1/events/redrive` | of `{"RequestIds"}`, `{"Function", "Condition"?, "From"?, "Until"?, "Marker"?}` or `{"Queue", "Function"?}`, each with `"Limit"?` and `"DryRun"?`: `{"Redriven": [{"RequestId", "MessageId"?, "Function"}], "Refused": [{"RequestId"?, "MessageId"?, "Why"}], "NextMarker"?, "More"?}` |
//! | `GET /lamplight/v1/functions/{name}/events` | `{"Accepted", "Done", "DeadLettered", "Pending"}` |
//! | `GET /lamplight/v1/functions/{name}/dead-letters?Limit=` | `{"DeadLetters": [{"RequestId", "Condition", "Error", "Attempts", "AcceptedAt", "DeadAt", "Payload"}]}`, newest first |
//! | `GET /lamplight/v1/metrics` | counters and histograms in Prometheus's text format, over all regions |
//! | `GET /lamplight/v1/runtimes` | `{"Runtimes": [{"Identifier", "Version", "Interpreter", "AliasOf"?}]}` |
//! | `GET`, `POST /lamplight/v1/keys`, `PUT`, `DELETE /lamplight/v1/keys/{id}` | access keys (`keys`) |
//! | `GET /lamplight/v1/code/{digest}?Expires=&Signature=` | the ZIP; links are made by GetFunction |
//!
//! The region is that of the signature, as everywhere. Functions get none of this.

mod events;
mod keys;
mod metrics;
mod ready;

use crate::http::request::decode_segment;
use crate::http::{ApiError, Context, Response, body, reply};
use crate::lambda::code;
use crate::state::ApiState;
use ::http::{Method, StatusCode};
use axum::body::Body;
use lamplight_model::{FunctionName, InvocationReport, Timestamp};
use lamplight_store::UsageQuery;
use serde_json::{Value, json};

const PREFIX: &str = "/lamplight/v1/";
/// The one request that changes something.
const REDRIVE: &str = "/lamplight/v1/events/redrive";
/// Rows of a list without `Limit`.
const ROWS: usize = 20;
/// Most rows of a list.
const GREATEST_ROWS: usize = 1_000;

/// Whether a path belongs here.
pub fn is_ours(path: &str) -> bool {
    matches!(path, "/health" | "/ready" | "/metrics") || path.starts_with("/lamplight/")
}

/// Answers one request.
pub async fn handle(state: &ApiState, context: &Context, request: Body) -> Response {
    if context.method == Method::POST && context.path == REDRIVE {
        let answer = match context.authorize("lamplight", "Write", &context.path) {
            Ok(()) => events::redrive(state, context, request).await,
            Err(denied) => {
                body::discard(request).await;
                Err(denied)
            }
        };
        return answer.unwrap_or_else(|error| reply::rest_json_error(&error));
    }
    let rest = context.path.strip_prefix(PREFIX).and_then(|path| path.strip_prefix("keys"));
    if let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with('/')) {
        return keys::handle(state, context, rest.trim_start_matches('/'), request).await;
    }
    body::discard(request).await;
    answer(state, context).await.unwrap_or_else(|error| reply::rest_json_error(&error))
}

async fn answer(state: &ApiState, context: &Context) -> Result<Response, ApiError> {
    if context.path == "/health" {
        return Ok(ok(&json!({"Status": "ok", "Version": env!("CARGO_PKG_VERSION")})));
    }
    context.authorize("lamplight", "Read", &context.path)?;
    if context.method != Method::GET && context.method != Method::HEAD {
        return Err(unknown(context));
    }
    let path = match context.path.as_str() {
        "/ready" => return Ok(ready::answer(state).await),
        "/metrics" => "metrics",
        path => path.strip_prefix(PREFIX).ok_or_else(|| unknown(context))?,
    };
    match path.split('/').collect::<Vec<_>>().as_slice() {
        ["usage"] => usage(state, context).await,
        ["metrics"] => {
            let (counts, instances) = (state.invoker.metrics(), state.invoker.instances());
            let page = metrics::text(&counts, &instances, &state.metrics.totals());
            Ok(reply::with_body(StatusCode::OK, metrics::CONTENT_TYPE, page))
        }
        ["runtimes"] => Ok(ok(&json!({"Runtimes": (state.config.runtimes)()}))),
        ["code", _] => code::download(state, context).await,
        ["invocations", request_id] => invocation(state, context, request_id).await,
        ["functions", name, "invocations"] => invocations(state, context, name).await,
        ["running"] => events::running(state, context),
        ["events"] => events::list(state, context).await,
        ["events", "counts"] => events::counts(state, context).await,
        ["events", request_id] => events::show(state, context, request_id).await,
        ["functions", name, "events"] => event_counts(state, context, name).await,
        ["functions", name, "dead-letters"] => dead_letters(state, context, name).await,
        _ => Err(unknown(context)),
    }
}

fn ok(value: &Value) -> Response {
    reply::json(StatusCode::OK, value)
}

fn unknown(context: &Context) -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "UnknownOperationException",
        format!("Lamplight knows no operation '{} {}'.", context.method, context.path),
    )
}

fn function_name(segment: &str) -> Result<FunctionName, ApiError> {
    decode_segment(segment)
        .as_deref()
        .and_then(FunctionName::parse)
        .ok_or_else(|| ApiError::invalid_parameter(format!("'{segment}' is not a plain function name.")))
}

fn rows(context: &Context) -> Result<usize, ApiError> {
    match context.parameter("Limit").map(str::parse) {
        None => Ok(ROWS),
        Some(Ok(rows @ 1..=GREATEST_ROWS)) => Ok(rows),
        Some(_) => Err(ApiError::invalid_parameter(format!("Limit must be between 1 and {GREATEST_ROWS}."))),
    }
}

fn moment(context: &Context, name: &str) -> Result<Option<Timestamp>, ApiError> {
    match context.parameter(name).map(str::parse) {
        None => Ok(None),
        Some(Ok(milliseconds)) => Ok(Some(Timestamp(milliseconds))),
        Some(Err(_)) => Err(ApiError::invalid_parameter(format!("{name} must be epoch milliseconds."))),
    }
}

async fn usage(state: &ApiState, context: &Context) -> Result<Response, ApiError> {
    let query = UsageQuery {
        function: context.parameter("Function").map(str::to_owned),
        from: moment(context, "From")?,
        until: moment(context, "Until")?,
        by_day: context.parameter("ByDay") == Some("true"),
    };
    // What was answered a moment ago is to be on the bill.
    state.ledger.flush().await?;
    let book = state.config.price_book.get();
    let rows: Vec<Value> = state
        .ledger
        .usage(&context.scope, query)
        .await?
        .iter()
        .map(|row| {
            let mut value = json!({"Function": row.function, "Version": row.version.to_string()});
            if let Some(day) = &row.day {
                value["Day"] = day.as_str().into();
            }
            value["Requests"] = row.requests.into();
            value["Errors"] = row.errors.into();
            value["BilledMs"] = row.billed_ms.into();
            value["GbSeconds"] = row.gb_seconds.into();
            value["Price"] =
                (row.gb_seconds * book.per_gb_second + row.requests as f64 * book.per_request).into();
            value
        })
        .collect();
    Ok(ok(&json!({"Rows": rows, "Currency": book.currency})))
}

fn report(state: &ApiState, report: &InvocationReport) -> Result<Value, ApiError> {
    let mut value = serde_json::to_value(report).map_err(|error| {
        ApiError::from(lamplight_model::ServiceError::internal(format!("failed to print a report: {error}")))
    })?;
    // As everywhere in the API: `$LATEST` or the number.
    value["version"] = report.version.to_string().into();
    value["Price"] = state.config.price_book.get().price(report.billed(), report.memory_mib).into();
    Ok(value)
}

async fn invocation(state: &ApiState, context: &Context, request_id: &str) -> Result<Response, ApiError> {
    let (request_id, found) = events::find(state, context, request_id).await?;
    let mut value = events::print(state, request_id, &found)?;
    if let Some(newest) = value["Runs"].as_array().and_then(|runs| runs.last()).cloned()
        && let (Some(value), Value::Object(newest)) = (value.as_object_mut(), newest)
    {
        value.extend(newest);
    }
    Ok(ok(&value))
}

async fn invocations(state: &ApiState, context: &Context, name: &str) -> Result<Response, ApiError> {
    let name = function_name(name)?;
    state.ledger.flush().await?;
    let found = state.ledger.recent(&context.scope, name.as_str(), rows(context)?).await?;
    let found = found.iter().map(|found| report(state, found)).collect::<Result<Vec<_>, _>>()?;
    Ok(ok(&json!({"Invocations": found})))
}

async fn event_counts(state: &ApiState, context: &Context, name: &str) -> Result<Response, ApiError> {
    let counts = state.store.event_counts(&context.scope, &function_name(name)?).await?;
    Ok(ok(&events::print_counts(&counts).into()))
}

async fn dead_letters(state: &ApiState, context: &Context, name: &str) -> Result<Response, ApiError> {
    let found = state.store.dead_letters(&context.scope, &function_name(name)?, rows(context)?).await?;
    let found: Vec<Value> = found
        .iter()
        .map(|letter| {
            json!({
                "RequestId": letter.event.request_id.to_string(),
                "Condition": letter.condition,
                "Error": letter.error,
                "Attempts": events::attempts(letter.event.attempts, Some(&letter.condition)),
                "AcceptedAt": letter.event.accepted_at.as_millis(),
                "DeadAt": letter.dead_at.as_millis(),
                "Payload": String::from_utf8_lossy(&letter.event.payload),
            })
        })
        .collect();
    Ok(ok(&json!({"DeadLetters": found})))
}
