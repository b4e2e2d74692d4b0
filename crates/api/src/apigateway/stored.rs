//! APIs, deployments and stages in the store, and their ids.

use super::error::{bad_request, not_found};
use crate::http::{ApiError, Context, page};
use crate::state::ApiState;
use lamplight_model::rest_api::{DEPLOYMENT_KIND, Deployment, KIND, RestApi, STAGE_KIND, Stage};
use lamplight_model::{ServiceError, Timestamp};
use lamplight_store::{Document, Expect};
use rand::RngExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// Characters of ids.
const ID_CHARACTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
/// Length of an API's id.
pub const API_ID_LENGTH: usize = 10;
/// Length of all other ids.
pub const ID_LENGTH: usize = 6;
/// `limit` when none is given, and the greatest. Source: API reference, "GetRestApis".
const DEFAULT_LIMIT: usize = 25;
const GREATEST_LIMIT: usize = 500;
/// Documents read at once.
const READ_ROWS: usize = 1_000;

/// A new id.
pub fn new_id(length: usize) -> String {
    let mut random = rand::rng();
    (0..length).map(|_| char::from(ID_CHARACTERS[random.random_range(0..ID_CHARACTERS.len())])).collect()
}

/// `Invalid API identifier specified <account>:<id>`.
pub fn no_api(context: &Context, id: &str) -> ApiError {
    not_found(format!("Invalid API identifier specified {}:{id}", context.scope.account.as_str()))
}

/// The API. Fails with `NotFoundException`.
pub async fn api(state: &ApiState, context: &Context, id: &str) -> Result<RestApi, ApiError> {
    read(state, context, KIND, id).await?.ok_or_else(|| no_api(context, id))
}

/// Changes an API; nothing is written when `change` fails.
pub async fn change_api<T>(
    state: &ApiState,
    context: &Context,
    id: &str,
    change: impl FnOnce(&mut RestApi) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    let _write = state.rest_api_writes.lock().await;
    let mut found = api(state, context, id).await?;
    let result = change(&mut found)?;
    put_api(state, context, &found).await?;
    Ok(result)
}

/// Stores an API. Call with `rest_api_writes` held, or for a new one.
pub async fn put_api(state: &ApiState, context: &Context, api: &RestApi) -> Result<(), ApiError> {
    write(state, context, KIND, &api.id, api).await
}

/// The deployment. Fails with `NotFoundException`.
pub async fn deployment(
    state: &ApiState,
    context: &Context,
    api_id: &str,
    id: &str,
) -> Result<Deployment, ApiError> {
    read(state, context, DEPLOYMENT_KIND, &format!("{api_id}/{id}"))
        .await?
        .ok_or_else(|| not_found("Invalid Deployment identifier specified"))
}

/// Stores a deployment.
pub async fn put_deployment(
    state: &ApiState,
    context: &Context,
    api_id: &str,
    deployment: &Deployment,
) -> Result<(), ApiError> {
    write(state, context, DEPLOYMENT_KIND, &format!("{api_id}/{}", deployment.id), deployment).await
}

/// The stage; `None` when there is none.
pub async fn find_stage(
    state: &ApiState,
    context: &Context,
    api_id: &str,
    name: &str,
) -> Result<Option<Stage>, ApiError> {
    read(state, context, STAGE_KIND, &format!("{api_id}/{name}")).await
}

/// The stage. Fails with `NotFoundException`.
pub async fn stage(state: &ApiState, context: &Context, api_id: &str, name: &str) -> Result<Stage, ApiError> {
    find_stage(state, context, api_id, name)
        .await?
        .ok_or_else(|| not_found("Invalid stage identifier specified"))
}

/// Stores a stage.
pub async fn put_stage(
    state: &ApiState,
    context: &Context,
    api_id: &str,
    stage: &Stage,
) -> Result<(), ApiError> {
    write(state, context, STAGE_KIND, &format!("{api_id}/{}", stage.stage_name), stage).await
}

/// All of a kind that belong to an API, by name.
pub async fn of_api<T: DeserializeOwned>(
    state: &ApiState,
    context: &Context,
    kind: &str,
    api_id: &str,
) -> Result<Vec<T>, ApiError> {
    beginning_with(state, context, kind, &format!("{api_id}/")).await
}

/// All APIs, by id.
pub async fn apis(state: &ApiState, context: &Context) -> Result<Vec<RestApi>, ApiError> {
    beginning_with(state, context, KIND, "").await
}

/// All of a kind whose keys begin so, by key.
pub async fn beginning_with<T: DeserializeOwned>(
    state: &ApiState,
    context: &Context,
    kind: &str,
    prefix: &str,
) -> Result<Vec<T>, ApiError> {
    let mut after = prefix.to_owned();
    let mut found = Vec::new();
    loop {
        let documents = state.store.list_documents(&context.scope, kind, Some(&after), READ_ROWS).await?;
        let full = documents.len() == READ_ROWS;
        for document in documents {
            if !document.key.starts_with(prefix) {
                return Ok(found);
            }
            after.clone_from(&document.key);
            found.push(decode(kind, document)?);
        }
        if !full {
            return Ok(found);
        }
    }
}

/// Takes a document away. `false` when there was none.
pub async fn delete(state: &ApiState, context: &Context, kind: &str, key: &str) -> Result<bool, ApiError> {
    Ok(state.store.delete_document(&context.scope, kind, key).await?)
}

/// One document.
pub async fn read<T: DeserializeOwned>(
    state: &ApiState,
    context: &Context,
    kind: &str,
    key: &str,
) -> Result<Option<T>, ApiError> {
    let document = state.store.get_document(&context.scope, kind, key).await?;
    document.map(|document| decode(kind, document)).transpose()
}

/// Stores one document in the place of what is there.
pub async fn write<T: Serialize>(
    state: &ApiState,
    context: &Context,
    kind: &str,
    key: &str,
    content: &T,
) -> Result<(), ApiError> {
    let document = Document { key: key.to_owned(), value: value(content)? };
    Ok(state.store.put_document(&context.scope, kind, document, Expect::Anything).await?)
}

fn decode<T: DeserializeOwned>(kind: &str, document: Document) -> Result<T, ApiError> {
    serde_json::from_value(document.value).map_err(|error| {
        tracing::error!(kind, key = document.key, %error, "failed to read a document");
        ServiceError::internal("The stored document cannot be read; see the server's log.").into()
    })
}

/// What is stored as a client reads it.
pub fn value<T: Serialize>(content: &T) -> Result<Value, ApiError> {
    serde_json::to_value(content).map_err(|error| {
        tracing::error!(%error, "failed to write an answer down");
        ServiceError::internal("The answer cannot be written.").into()
    })
}

/// As `value`, an object.
pub fn object<T: Serialize>(content: &T) -> Result<Map<String, Value>, ApiError> {
    match value(content)? {
        Value::Object(object) => Ok(object),
        _ => Err(ServiceError::internal("The answer cannot be written.").into()),
    }
}

/// A date on the wire: seconds of the epoch.
pub fn seconds(time: Timestamp) -> Value {
    json!(time.as_millis() / 1_000)
}

/// One page of a list: `{"item": [...], "position"}`. `key` names each row, rows are in the order of their keys.
///
/// Fails with `BadRequestException` for a limit or position that is none.
pub fn page_of<T>(
    context: &Context,
    list: &str,
    rows: &[T],
    key: impl Fn(&T) -> &str,
    shown: impl Fn(&T) -> Result<Value, ApiError>,
) -> Result<Value, ApiError> {
    let limit = match context.parameter("limit") {
        None => DEFAULT_LIMIT,
        Some(text) => match text.parse::<i64>() {
            // AWS takes anything up to the greatest and treats 0 as none. This is a guess beyond what is documented.
            Ok(0) => DEFAULT_LIMIT,
            Ok(limit) if limit > 0 => usize::try_from(limit).unwrap_or(GREATEST_LIMIT).min(GREATEST_LIMIT),
            _ => return Err(bad_request("Invalid limit specified")),
        },
    };
    let after: Option<String> = match context.parameter("position") {
        None => None,
        Some(token) => {
            Some(page::key(list, token).ok_or_else(|| bad_request("Invalid position parameter specified"))?)
        }
    };
    let mut left = rows.iter().filter(|row| after.as_deref().is_none_or(|after| key(row) > after));
    let mut items = Vec::new();
    let mut last = None;
    for row in left.by_ref().take(limit) {
        items.push(shown(row)?);
        last = Some(key(row));
    }
    let mut answer = json!({ "item": items });
    if left.next().is_some()
        && let Some(last) = last
    {
        answer["position"] = page::token(list, &last).into();
    }
    Ok(answer)
}
