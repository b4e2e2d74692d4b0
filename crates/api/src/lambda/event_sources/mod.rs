//! Event source mappings: Create-, Get-, List-, Update- and DeleteEventSourceMapping.
//!
//! What is written here `lamplight_event_sources` carries out: every answer of a change shows the transition, not its end.
//! Queues are served; every other kind of source is refused by its name.

mod checks;
mod queue;
mod shown;

use crate::http::request::decode_segment;
use crate::http::{ApiError, Context, Members, Response, page, reply};
use crate::lambda::functions::{marker, page_rows};
use crate::lambda::owned;
use crate::lambda::patterns as pattern;
use crate::lambda::reference::Target;
use crate::lambda::tags;
use crate::lambda::validation::Violations;
use crate::state::ApiState;
use bytes::Bytes;
use checks::Source;
use http::StatusCode;
use lamplight_model::event_source_mapping::{
    KIND, LastResult, MappingState, ProvisionedPollers, RESULT_KIND,
};
use lamplight_model::{EventSourceMapping, Scope};
use lamplight_store::{Document, Expect, StoreError};
use serde_json::json;
use std::collections::BTreeMap;

/// Records of a batch when the request does not say.
const BATCH: u32 = 10;
/// Mappings read at once while some are looked for.
const READ: usize = 200;

/// CreateEventSourceMapping.
pub async fn create(state: &ApiState, context: &Context, body: &Bytes) -> Result<Response, ApiError> {
    let members = Members::parse(body)?;
    let mut violations = Violations::default();
    let (function, arn) = (members.string("FunctionName")?, members.string("EventSourceArn")?);
    if function.is_none() {
        violations.missing("functionName");
    }
    if let Some(arn) = &arn {
        violations.fits(arn, "eventSourceArn", &pattern::SOURCE_ARN);
    }
    checks::note_violations(&members, &mut violations)?;
    let tags = members.string_map("Tags")?.unwrap_or_default();
    tags::note_violations(&tags, &mut violations);
    violations.finish()?;
    let Some(source) = Source::of(arn.as_deref(), members.has("SelfManagedEventSource")) else {
        return Err(ApiError::invalid_parameter("Unrecognized event source."));
    };
    checks::check_source(source, &members)?;
    checks::check_filters(&members)?;
    tags::check_keys(&tags)?;
    let target = Target::parse(context, &function.unwrap_or_default(), None)?;
    let Some(version) = owned::find(state, &target).await? else {
        return Err(ApiError::invalid_parameter("Function does not exist"));
    };
    let (Source::Queue { .. }, Some(arn)) = (source, arn) else {
        return Err(ApiError::invalid_parameter(format!(
            "Lamplight does not support {} as event sources yet.",
            source.name()
        )));
    };
    queue::check(state, context, &arn, &target, &version).await?;
    let new = EventSourceMapping {
        uuid: uuid::Uuid::new_v4().to_string(),
        event_source_arn: arn,
        function_arn: target.arn(),
        batch_size: BATCH,
        maximum_batching_window_in_seconds: 0,
        function_response_types: Vec::new(),
        filters: Vec::new(),
        maximum_concurrency: None,
        provisioned_pollers: None,
        metrics: None,
        kms_key_arn: None,
        tags,
        enabled: true,
        state: MappingState::Creating,
        last_modified: state.now(),
        revision_id: uuid::Uuid::new_v4().to_string(),
    };
    let new = with(new, &members)?;
    let _write = state.configuration_writes.lock().await;
    refuse_second(state, &context.scope, &new).await?;
    store(state, &context.scope, &new, Expect::Absent).await?;
    Ok(reply::json(StatusCode::ACCEPTED, &shown::mapping(&context.scope, &new, None)))
}

/// GetEventSourceMapping.
pub async fn get(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    let mapping = load(state, &context.scope, &id(label, Violations::default())?).await?;
    let result = last_result(state, &context.scope, &mapping.uuid).await?;
    Ok(reply::json(StatusCode::OK, &shown::mapping(&context.scope, &mapping, result)))
}

/// UpdateEventSourceMapping: what is not given stays.
pub async fn update(
    state: &ApiState,
    context: &Context,
    label: &str,
    body: &Bytes,
) -> Result<Response, ApiError> {
    let members = Members::parse(body)?;
    let mut violations = Violations::default();
    checks::note_violations(&members, &mut violations)?;
    let id = id(label, violations)?;
    checks::check_filters(&members)?;
    let _write = state.configuration_writes.lock().await;
    let stored = load(state, &context.scope, &id).await?;
    if !stored.state.is_at_rest() {
        return Err(in_use("update"));
    }
    let Some(source) = Source::of(Some(&stored.event_source_arn), false) else {
        return Err(owned::absent());
    };
    let mut changed = with(stored.clone(), &members)?;
    checks::check_change(source, &members, &changed)?;
    if let Some(function) = members.string("FunctionName")? {
        changed.function_arn = Target::parse(context, &function, None)?.arn();
    }
    // A mapping is switched off whatever has become of its queue and its function.
    if members.has("FunctionName") || changed.enabled && !stored.enabled {
        let target = Target::parse(context, &changed.function_arn, None)?;
        let Some(version) = owned::find(state, &target).await? else {
            return Err(ApiError::invalid_parameter("Function does not exist"));
        };
        queue::check(state, context, &changed.event_source_arn, &target, &version).await?;
        refuse_second(state, &context.scope, &changed).await?;
    }
    changed.state = match (stored.enabled, changed.enabled) {
        (false, true) => MappingState::Enabling,
        (true, false) => MappingState::Disabling,
        _ => MappingState::Updating,
    };
    replace(state, context, &stored, changed).await
}

/// DeleteEventSourceMapping.
pub async fn delete(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    let id = id(label, Violations::default())?;
    let _write = state.configuration_writes.lock().await;
    let stored = load(state, &context.scope, &id).await?;
    if !stored.state.is_at_rest() {
        return Err(in_use("delete"));
    }
    let deleting = EventSourceMapping { state: MappingState::Deleting, ..stored.clone() };
    replace(state, context, &stored, deleting).await
}

/// ListEventSourceMappings: all, or those of a function (as it was named: qualified or not), of a source, or of both.
pub async fn list(state: &ApiState, context: &Context) -> Result<Response, ApiError> {
    let mut violations = Violations::default();
    let limit = page_rows(context, &mut violations);
    let source = context.parameter("EventSourceArn");
    if let Some(arn) = source {
        violations.fits(arn, "eventSourceArn", &pattern::SOURCE_ARN);
    }
    violations.finish()?;
    let function = match context.parameter("FunctionName") {
        Some(function) => {
            let target = Target::parse(context, function, None)?;
            owned::existing(state, &target).await?;
            Some(target.arn())
        }
        None => None,
    };
    let wanted = |mapping: &EventSourceMapping| {
        function.as_ref().is_none_or(|function| *function == mapping.function_arn)
            && source.is_none_or(|source| source == mapping.event_source_arn)
    };
    let after: Option<String> = marker(context, KIND)?;
    // One more than asked for says whether there is a next page.
    let mut found = find(state, &context.scope, after, limit + 1, wanted).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|mapping| page::token(KIND, &mapping.uuid));
    let mut rows = Vec::with_capacity(found.len());
    for mapping in found {
        let result = last_result(state, &context.scope, &mapping.uuid).await?;
        rows.push(shown::mapping(&context.scope, &mapping, result));
    }
    let mut answer = json!({ "EventSourceMappings": rows });
    if let Some(next) = next {
        answer["NextMarker"] = next.into();
    }
    Ok(reply::json(StatusCode::OK, &answer))
}

/// The tags of a mapping. Fails with `ResourceNotFoundException`.
pub async fn tags(state: &ApiState, scope: &Scope, id: &str) -> Result<BTreeMap<String, String>, ApiError> {
    Ok(load(state, scope, id).await?.tags)
}

/// Changes the tags of a mapping; its state stays. Fails as `tags` and `change` do.
pub async fn change_tags(
    state: &ApiState,
    scope: &Scope,
    id: &str,
    change: impl Fn(&mut BTreeMap<String, String>) -> Result<(), ApiError>,
) -> Result<(), ApiError> {
    let _write = state.configuration_writes.lock().await;
    let stored = load(state, scope, id).await?;
    let mut changed = stored.clone();
    change(&mut changed.tags)?;
    changed.revision_id = uuid::Uuid::new_v4().to_string();
    store(state, scope, &changed, Expect::Revision(stored.revision_id)).await
}

/// The mapping with what a request gives.
fn with(mapping: EventSourceMapping, members: &Members<'_>) -> Result<EventSourceMapping, ApiError> {
    // Within the bounds of the shapes, which were checked.
    let number = |value: i64| u32::try_from(value).unwrap_or(0);
    let mut mapping = mapping;
    if let Some(size) = members.integer("BatchSize")? {
        mapping.batch_size = number(size);
    }
    if let Some(window) = members.integer("MaximumBatchingWindowInSeconds")? {
        mapping.maximum_batching_window_in_seconds = number(window);
    }
    if let Some(kinds) = members.strings("FunctionResponseTypes")? {
        mapping.function_response_types = kinds;
    }
    if members.has("FilterCriteria") {
        let filters = checks::filters(members)?;
        mapping.filters = filters
            .iter()
            .map(|filter| Ok(filter.string("Pattern")?.unwrap_or_default()))
            .collect::<Result<_, ApiError>>()?;
    }
    if let Some(scaling) = members.object("ScalingConfig")? {
        mapping.maximum_concurrency = scaling.integer("MaximumConcurrency")?.map(number);
    }
    if let Some(pollers) = members.object("ProvisionedPollerConfig")? {
        let (minimum, maximum) = (pollers.integer("MinimumPollers")?, pollers.integer("MaximumPollers")?);
        // An empty one takes them away.
        mapping.provisioned_pollers = (minimum.is_some() || maximum.is_some()).then(|| ProvisionedPollers {
            minimum_pollers: minimum.map(number),
            maximum_pollers: maximum.map(number),
        });
    }
    if let Some(metrics) = members.object("MetricsConfig")? {
        mapping.metrics = Some(metrics.strings("Metrics")?.unwrap_or_default());
    }
    if let Some(key) = members.string("KMSKeyArn")? {
        mapping.kms_key_arn = Some(key).filter(|key| !key.is_empty());
    }
    if let Some(enabled) = members.boolean("Enabled")? {
        mapping.enabled = enabled;
    }
    Ok(mapping)
}

fn in_use(doing: &str) -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        "ResourceInUseException",
        format!("Cannot {doing} the event source mapping because it is in use."),
    )
}

/// Stores a change and shows it. One that came between means that the mapping is in transition.
async fn replace(
    state: &ApiState,
    context: &Context,
    stored: &EventSourceMapping,
    changed: EventSourceMapping,
) -> Result<Response, ApiError> {
    let changed = EventSourceMapping {
        last_modified: state.now(),
        revision_id: uuid::Uuid::new_v4().to_string(),
        ..changed
    };
    store(state, &context.scope, &changed, Expect::Revision(stored.revision_id.clone())).await?;
    Ok(reply::json(StatusCode::ACCEPTED, &shown::mapping(&context.scope, &changed, None)))
}

/// Refuses a second mapping of one queue for one function.
async fn refuse_second(
    state: &ApiState,
    scope: &Scope,
    mapping: &EventSourceMapping,
) -> Result<(), ApiError> {
    let same = |other: &EventSourceMapping| {
        other.uuid != mapping.uuid
            && other.event_source_arn == mapping.event_source_arn
            && other.function_arn == mapping.function_arn
    };
    let Some(first) = find(state, scope, None, 1, same).await?.pop() else { return Ok(()) };
    let function = mapping.function_arn.split_once(":function:").map_or("", |(_, function)| function);
    Err(ApiError::conflict(format!(
        "An event source mapping with SQS arn (\" {} \") and function (\" {function} \") already exists. Please update or \
         delete the existing mapping with UUID {}",
        mapping.event_source_arn, first.uuid
    )))
}

/// Mappings of a scope that are wanted, by their ids, beginning after `after`, at most `limit`.
async fn find(
    state: &ApiState,
    scope: &Scope,
    mut after: Option<String>,
    limit: usize,
    wanted: impl Fn(&EventSourceMapping) -> bool,
) -> Result<Vec<EventSourceMapping>, ApiError> {
    let mut found = Vec::new();
    loop {
        let documents = state.store.list_documents(scope, KIND, after.as_deref(), READ).await?;
        let last = documents.last().map(|document| document.key.clone());
        let is_end = documents.len() < READ;
        for document in documents {
            let mapping: EventSourceMapping = decode(document)?;
            if wanted(&mapping) {
                found.push(mapping);
                if found.len() == limit {
                    return Ok(found);
                }
            }
        }
        if is_end {
            return Ok(found);
        }
        after = last;
    }
}

async fn load(state: &ApiState, scope: &Scope, id: &str) -> Result<EventSourceMapping, ApiError> {
    match state.store.get_document(scope, KIND, id).await? {
        Some(document) => decode(document),
        None => Err(owned::absent()),
    }
}

async fn last_result(state: &ApiState, scope: &Scope, id: &str) -> Result<Option<String>, ApiError> {
    match state.store.get_document(scope, RESULT_KIND, id).await? {
        Some(document) => Ok(Some(decode::<LastResult>(document)?.result)),
        None => Ok(None),
    }
}

async fn store(
    state: &ApiState,
    scope: &Scope,
    mapping: &EventSourceMapping,
    expect: Expect,
) -> Result<(), ApiError> {
    let value = serde_json::to_value(mapping).map_err(|error| StoreError::Failed {
        doing: format!("failed to write mapping {}", mapping.uuid),
        source: Box::new(error),
    })?;
    let document = Document { key: mapping.uuid.clone(), value };
    match state.store.put_document(scope, KIND, document, expect).await {
        // Its transition ended, or it was deleted, meanwhile.
        Err(StoreError::RevisionMismatch(_)) => Err(in_use("update")),
        other => Ok(other?),
    }
}

fn decode<T: serde::de::DeserializeOwned>(document: Document) -> Result<T, ApiError> {
    let Document { key, value } = document;
    serde_json::from_value(value).map_err(|error| {
        StoreError::Failed { doing: format!("failed to read mapping {key}"), source: Box::new(error) }.into()
    })
}

/// The id in the path.
fn id(label: &str, mut violations: Violations) -> Result<String, ApiError> {
    let id = decode_segment(label).unwrap_or_else(|| label.to_owned());
    violations.length(&id, "uUID", 36);
    if id.chars().count() < 36 {
        violations.add(&id, "uUID", "Member must have length greater than or equal to 36");
    }
    violations.finish()?;
    Ok(id)
}
