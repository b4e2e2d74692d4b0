//! Asynchronous events: where each is, lists, counts, and redrive. Moments are epoch milliseconds.

use crate::http::{ApiError, Context, Members, Response, page};
use crate::state::ApiState;
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lamplight_invoke::asynchronous::redrive::{MESSAGES_AT_ONCE, RedriveError, Redriven};
use lamplight_invoke::asynchronous::retry::{CONDITIONS, RETRIES_EXHAUSTED};
use lamplight_invoke::running::RunningCall;
use lamplight_invoke::whereabouts::{Place, Progress, Whereabouts};
use lamplight_model::{FunctionName, RequestId, Timestamp};
use lamplight_services::queues::QueueAddress;
use lamplight_store::{EventCounts, EventQuery, EventRecord, EventState, EventStep, StepKind, WantedState};
use serde_json::{Map, Value, json};

/// Bound of a request's body, bytes: a thousand request ids fit twice.
const REQUEST_BYTES: usize = 128 * 1_024;
/// Most request ids of one redrive, and events one looks at.
const GREATEST_REDRIVE: usize = 1_000;
/// Name of the list in its tokens.
const LIST: &str = "events";

/// `GET /lamplight/v1/events`.
pub async fn list(state: &ApiState, context: &Context) -> Result<Response, ApiError> {
    let wanted = match context.parameter("State") {
        None => None,
        Some("waiting") => Some(WantedState::Waiting),
        Some("running") => Some(WantedState::Running),
        Some("dead-lettered") => Some(WantedState::DeadLettered),
        Some(other) => {
            return Err(ApiError::invalid_parameter(format!(
                "State must be waiting, running or dead-lettered, and not '{other}'. Runs that have ended are listed by \
                 functions/{{name}}/invocations."
            )));
        }
    };
    let query = EventQuery {
        function: context.parameter("Function").map(super::function_name).transpose()?,
        state: wanted,
        condition: context.parameter("Condition").map(condition).transpose()?,
        from: super::moment(context, "From")?,
        until: super::moment(context, "Until")?,
    };
    let before = marker(context.parameter("Marker"))?;
    let limit = super::rows(context)?;
    let found = state.store.events(&context.scope, query, before, limit).await?;
    let rows = found.iter().map(|record| {
        let mut row = row(record);
        let call = state.invoker.running_call(&context.scope, record.request_id);
        // Whether one that is claimed and does not run has run already, only its whole story tells.
        let progress = state.invoker.progress(record, call.as_ref(), &[]);
        if let Some(progress) = progress.filter(|progress| *progress != Progress::Claimed) {
            print_progress(&mut row, &progress);
        }
        row
    });
    let mut answer = json!({"Events": rows.collect::<Vec<_>>()});
    if found.len() == limit
        && let Some(last) = found.last()
    {
        answer["NextMarker"] = page::token(LIST, &last.place).into();
    }
    Ok(super::ok(&answer))
}

/// One that does not exist would choose nothing, which looks as if nothing had been given up.
fn condition(text: &str) -> Result<String, ApiError> {
    if CONDITIONS.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(ApiError::invalid_parameter(format!(
        "Condition must be one of {}, and not '{text}'.",
        CONDITIONS.join(", ")
    )))
}

fn marker(text: Option<&str>) -> Result<Option<i64>, ApiError> {
    let refused = || ApiError::invalid_parameter("Marker is none that this list gave.");
    text.map(|text| page::key(LIST, text).ok_or_else(refused)).transpose()
}

/// `GET /lamplight/v1/events/counts`.
pub async fn counts(state: &ApiState, context: &Context) -> Result<Response, ApiError> {
    let mut all = state.store.all_event_counts(&context.scope).await?;
    if let Some(name) = context.parameter("Function") {
        let name = super::function_name(name)?;
        all.retain(|(function, _)| *function == name);
    }
    let mut sum = EventCounts::default();
    let mut rows = Vec::with_capacity(all.len());
    for (function, counts) in &all {
        sum.accepted += counts.accepted;
        sum.done += counts.done;
        sum.dead_lettered += counts.dead_lettered;
        sum.pending += counts.pending;
        let mut row = print_counts(counts);
        row.insert("Function".to_owned(), function.as_str().into());
        rows.push(Value::from(row));
    }
    let mut answer = print_counts(&sum);
    answer.insert("Functions".to_owned(), rows.into());
    Ok(super::ok(&answer.into()))
}

/// The four counts.
pub fn print_counts(counts: &EventCounts) -> Map<String, Value> {
    [
        ("Accepted", counts.accepted),
        ("Done", counts.done),
        ("DeadLettered", counts.dead_lettered),
        ("Pending", counts.pending),
    ]
    .into_iter()
    .map(|(name, count)| (name.to_owned(), count.into()))
    .collect()
}

/// `GET /lamplight/v1/events/{request id}`.
pub async fn show(state: &ApiState, context: &Context, request_id: &str) -> Result<Response, ApiError> {
    let (request_id, found) = find(state, context, request_id).await?;
    Ok(super::ok(&print(state, request_id, &found)?))
}

/// Where the request is that a path names. 404 when nobody knows it.
pub async fn find(
    state: &ApiState,
    context: &Context,
    request_id: &str,
) -> Result<(RequestId, Whereabouts), ApiError> {
    let request_id = id(request_id)?;
    let found = state.invoker.whereabouts(&context.scope, request_id).await?;
    found.map(|found| (request_id, found)).ok_or_else(|| {
        ApiError::not_found(format!(
            "There is no record of request {request_id} in {}.",
            context.scope.region.as_str()
        ))
    })
}

fn id(text: &str) -> Result<RequestId, ApiError> {
    let parsed = uuid::Uuid::try_parse(text);
    parsed.map(RequestId).map_err(|_| ApiError::invalid_parameter(format!("'{text}' is not a request id.")))
}

/// A request with its whole story.
pub fn print(state: &ApiState, request_id: RequestId, found: &Whereabouts) -> Result<Value, ApiError> {
    let mut value = match (&found.story.record, &found.running, found.runs.last()) {
        (Some(record), _, _) => row(record),
        (None, Some(call), _) => json!({"Function": call.function.as_str()}),
        (None, None, Some(run)) => json!({"Function": &*run.function}),
        (None, None, None) => json!({}),
    };
    value["RequestId"] = request_id.to_string().into();
    value["State"] = found.place().word().into();
    value["Type"] = type_of(found.is_event()).into();
    if found.place() == Place::Running {
        if let Some(call) = &found.running {
            print_call(&mut value, state, call);
        }
        let here = found.running.as_ref().map(|call| Progress::Here(call.stage.clone()));
        let claimed = found.story.record.as_ref();
        let claimed =
            claimed.and_then(|record| state.invoker.progress(record, found.running.as_ref(), &found.runs));
        if let Some(progress) = claimed.or(here) {
            print_progress(&mut value, &progress);
        }
    }
    if found.place() == Place::Done
        && let Some(run) = found.runs.last()
    {
        value["Outcome"] = serde_json::to_value(&run.outcome).unwrap_or_default();
    }
    if let Some(payload) = &found.story.payload {
        match std::str::from_utf8(payload) {
            Ok(text) => value["Payload"] = text.into(),
            Err(_) => value["PayloadBase64"] = STANDARD.encode(payload).into(),
        }
    }
    value["Steps"] = found.story.steps.iter().map(print_step).collect();
    value["Runs"] = found.runs.iter().map(|run| super::report(state, run)).collect::<Result<_, _>>()?;
    Ok(value)
}

/// `GET /lamplight/v1/running`: events and synchronous calls of this node.
pub fn running(state: &ApiState, context: &Context) -> Result<Response, ApiError> {
    let function = context.parameter("Function").map(super::function_name).transpose()?;
    let limit = super::rows(context)?;
    let found = state.invoker.running_calls(&context.scope, function.as_ref());
    let rows = found.iter().take(limit).map(|(request_id, call)| {
        let mut row = json!({
            "RequestId": request_id.to_string(),
            "Function": call.function.as_str(),
            "State": Place::Running.word(),
            "Type": type_of(call.event_accepted_at.is_some()),
        });
        print_call(&mut row, state, call);
        print_progress(&mut row, &Progress::Here(call.stage.clone()));
        row
    });
    Ok(super::ok(&json!({"Running": rows.collect::<Vec<_>>(), "Count": found.len()})))
}

/// As `Invoke` has it.
fn type_of(is_event: bool) -> &'static str {
    if is_event { "Event" } else { "RequestResponse" }
}

fn print_call(value: &mut Value, state: &ApiState, call: &RunningCall) {
    value["Node"] = state.invoker.node().into();
    value["Since"] = call.since.as_millis().into();
    value["Version"] = call.version.to_string().into();
}

/// On which instance a run is, and since when.
fn print_progress(value: &mut Value, progress: &Progress) {
    value["Stage"] = progress.word().into();
    if let Progress::Here(stage) = progress
        && let Some(instance) = stage.instance()
    {
        value["Instance"] = (*instance.id).into();
        value["LogStream"] = (*instance.log_stream).into();
        value["StageSince"] = instance.since.as_millis().into();
    }
}

/// Attempts that counted, the last one of an event that was given up for it included.
pub fn attempts(counted: u32, condition: Option<&str>) -> u32 {
    counted + u32::from(condition == Some(RETRIES_EXHAUSTED))
}

/// An event as lists show it.
fn row(record: &EventRecord) -> Value {
    let condition = match &record.state {
        EventState::DeadLettered { condition, .. } => Some(condition.as_str()),
        _ => None,
    };
    let mut row = json!({
        "RequestId": record.request_id.to_string(),
        "Function": record.function.as_str(),
        "State": Place::from(&record.state).word(),
        "Attempts": attempts(record.attempts, condition),
        "AcceptedAt": record.accepted_at.as_millis(),
    });
    if let Some(qualifier) = &record.qualifier {
        row["Qualifier"] = qualifier.to_string().into();
    }
    if let Some(tenant_id) = &record.tenant_id {
        row["TenantId"] = tenant_id.as_str().into();
    }
    let last = record.last_step.as_ref();
    match &record.state {
        EventState::Waiting { until } => {
            row["WaitsUntil"] = until.as_millis().into();
            row["Reason"] = reason(last).into();
            if let Some(step) = last.filter(|step| !step.error.is_empty()) {
                row["Error"] = step.error.as_str().into();
            }
        }
        EventState::Running { owner, since, lease_until } => {
            row["Node"] = owner.split('/').next().unwrap_or_default().into();
            row["LeaseUntil"] = lease_until.as_millis().into();
            if let Some(since) = since {
                row["Since"] = since.as_millis().into();
            }
        }
        EventState::DeadLettered { condition, error, at } => {
            row["Condition"] = condition.as_str().into();
            row["Error"] = error.as_str().into();
            row["DeadAt"] = at.as_millis().into();
            let told = last.map(|step| step.told.as_slice()).unwrap_or_default();
            row["Told"] = serde_json::to_value(told).unwrap_or_default();
        }
        EventState::Done { at } => row["DoneAt"] = at.as_millis().into(),
    }
    row
}

/// Why an event waits, in a word or two.
fn reason(last: Option<&EventStep>) -> &'static str {
    match last.map(|step| step.kind) {
        // A letter whose queue was left by an earlier release has no step of being sent again.
        None | Some(StepKind::DeadLettered) => "new",
        Some(StepKind::Redriven) => "sent again",
        Some(StepKind::Failed) => "retry after an error",
        Some(StepKind::NotRun) => {
            let throttled = last.is_some_and(|step| error_type(&step.error) == "TooManyRequestsException");
            if throttled { "throttled" } else { "could not be run" }
        }
    }
}

fn error_type(document: &str) -> String {
    let document: Value = serde_json::from_str(document).unwrap_or_default();
    document["errorType"].as_str().unwrap_or_default().to_owned()
}

fn print_step(step: &EventStep) -> Value {
    let what = match step.kind {
        StepKind::Failed => "failed",
        StepKind::NotRun => "not run",
        StepKind::DeadLettered => "dead-lettered",
        StepKind::Redriven => "sent again",
    };
    let mut value = json!({"What": what, "At": step.at.as_millis()});
    if let Some(began_at) = step.began_at {
        value["BeganAt"] = began_at.as_millis().into();
    }
    if step.times > 1 {
        value["Times"] = step.times.into();
    }
    if let Some(condition) = &step.condition {
        value["Condition"] = condition.as_str().into();
    }
    if !step.error.is_empty() {
        value["Error"] = step.error.as_str().into();
    }
    if !step.told.is_empty() {
        value["Told"] = serde_json::to_value(&step.told).unwrap_or_default();
    }
    value
}

/// `POST /lamplight/v1/events/redrive`: by ids, by function and what its dead letters have in common, or from a queue.
pub async fn redrive(state: &ApiState, context: &Context, body: Body) -> Result<Response, ApiError> {
    let body = crate::http::body::read(body, REQUEST_BYTES)
        .await
        .map_err(|error| crate::lambda::unreadable_body(&error))?;
    let members = Members::parse(&body)?;
    let function = members.string("Function")?.as_deref().map(super::function_name).transpose()?;
    let dry_run = members.boolean("DryRun")?.unwrap_or(false);
    let limit = match members.integer("Limit")?.map(usize::try_from) {
        None => GREATEST_REDRIVE,
        Some(Ok(limit @ 1..=GREATEST_REDRIVE)) => limit,
        Some(_) => {
            return Err(ApiError::invalid_parameter(format!(
                "Limit must be between 1 and {GREATEST_REDRIVE}."
            )));
        }
    };
    let (ids, queue) = (members.strings("RequestIds")?, members.string("Queue")?);
    // To pass over one of them would send more than was asked for.
    let chooses = ["Condition", "From", "Until", "Marker"].into_iter().find(|name| members.has(name));
    if let Some(name) = chooses.filter(|_| ids.is_some() || queue.is_some()) {
        return Err(ApiError::invalid_parameter(format!(
            "{name} chooses among the dead letters of a Function, not among RequestIds or the messages of a Queue."
        )));
    }
    let mut answer = match (ids, queue) {
        (Some(_), Some(_)) => {
            return Err(ApiError::invalid_parameter("Give RequestIds or Queue, not both."));
        }
        (Some(_), None) if function.is_some() => {
            return Err(ApiError::invalid_parameter("Give RequestIds or Function, not both."));
        }
        (Some(ids), None) => {
            if ids.len() > limit {
                return Err(ApiError::invalid_parameter(format!("Give at most {limit} RequestIds.")));
            }
            let mut wanted = Vec::with_capacity(ids.len());
            for text in &ids {
                let id = id(text)?;
                // Named twice it is meant once, and not refused because the first has sent it.
                if !wanted.contains(&id) {
                    wanted.push(id);
                }
            }
            answer(&state.invoker.redrive(&context.scope, wanted, dry_run).await?)
        }
        (None, Some(queue)) => {
            let address = match QueueAddress::from_arn(&queue) {
                Some(address) => address,
                None => QueueAddress::new(&context.scope, queue),
            };
            let limit = limit.min(MESSAGES_AT_ONCE);
            let found = state.invoker.redrive_queue(&address, function.as_ref(), limit, dry_run).await;
            let found = found.map_err(|error| match error {
                RedriveError::Queue(error) => ApiError::from(error),
                RedriveError::Service(error) => ApiError::from(error),
            })?;
            let mut answer = answer(&found.rows);
            answer["More"] = found.more.into();
            answer
        }
        (None, None) => {
            let Some(function) = function else {
                return Err(ApiError::invalid_parameter("Give RequestIds, Function or Queue."));
            };
            let query = EventQuery {
                function: Some(function),
                state: Some(WantedState::DeadLettered),
                condition: members.string("Condition")?.as_deref().map(condition).transpose()?,
                from: members.integer("From")?.map(Timestamp),
                until: members.integer("Until")?.map(Timestamp),
            };
            let before = marker(members.string("Marker")?.as_deref())?;
            let found = state.store.events(&context.scope, query, before, limit).await?;
            let ids = found.iter().map(|record| record.request_id).collect();
            let mut answer = answer(&state.invoker.redrive(&context.scope, ids, dry_run).await?);
            if found.len() == limit
                && let Some(last) = found.last()
            {
                answer["NextMarker"] = page::token(LIST, &last.place).into();
            }
            answer
        }
    };
    answer["DryRun"] = dry_run.into();
    Ok(super::ok(&answer))
}

/// What was sent, and what was not and why.
fn answer(rows: &[Redriven]) -> Value {
    let (mut redriven, mut refused) = (Vec::new(), Vec::new());
    for row in rows {
        let mut value = json!({});
        if let Some(request_id) = row.request_id {
            value["RequestId"] = request_id.to_string().into();
        }
        if let Some(message_id) = &row.message_id {
            value["MessageId"] = message_id.as_str().into();
        }
        match &row.result {
            Ok(function) => {
                value["Function"] = FunctionName::as_str(function).into();
                redriven.push(value);
            }
            Err(why) => {
                value["Why"] = why.as_str().into();
                refused.push(value);
            }
        }
    }
    json!({"Redriven": redriven, "Refused": refused})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_an_event_waits() {
        let step = |kind, error: &str| EventStep {
            kind,
            began_at: None,
            at: Timestamp(1),
            times: 1,
            condition: None,
            error: error.to_owned(),
            told: Vec::new(),
        };
        let throttled = r#"{"errorType":"TooManyRequestsException","errorMessage":"Rate Exceeded."}"#;
        for (last, expected) in [
            (None, "new"),
            (Some(step(StepKind::Failed, "{}")), "retry after an error"),
            (Some(step(StepKind::NotRun, throttled)), "throttled"),
            (Some(step(StepKind::NotRun, "not JSON")), "could not be run"),
            (Some(step(StepKind::Redriven, "")), "sent again"),
        ] {
            assert_eq!(reason(last.as_ref()), expected);
        }
    }
}
