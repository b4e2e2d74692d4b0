//! Create-, Get-, Update- and DeleteApiKey, GetApiKeys.

use super::error::{bad_request, conflict, not_found};
use super::patch::{self, Patch};
use super::stored::{self, new_id, object, page_of, seconds};
use super::{Request, accepted};
use crate::http::{ApiError, Response, reply};
use http::StatusCode;
use lamplight_model::rest_api::{ApiKey, KEY_KIND, KEY_VALUE_KIND, KeyOfValue, key_of_value};
use rand::RngExt as _;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Length of a key's id.
const ID_LENGTH: usize = 10;
/// Length of a value that is made here.
const VALUE_LENGTH: usize = 40;
/// Shortest and longest value that can be given, characters.
const VALUE_CHARACTERS: std::ops::RangeInclusive<usize> = 20..=128;
const CHARACTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// `Invalid API Key identifier specified`.
pub fn no_key() -> ApiError {
    not_found("Invalid API Key identifier specified")
}

/// The key. Fails with `NotFoundException`.
pub async fn find(request: &Request<'_>, id: &str) -> Result<ApiKey, ApiError> {
    stored::read(request.state, request.context, KEY_KIND, id).await?.ok_or_else(no_key)
}

/// Stores a key. Call with `rest_api_writes` held.
pub async fn put(request: &Request<'_>, key: &ApiKey) -> Result<(), ApiError> {
    stored::write(request.state, request.context, KEY_KIND, &key.id, key).await
}

/// All keys, by id.
pub async fn all(request: &Request<'_>) -> Result<Vec<ApiKey>, ApiError> {
    stored::beginning_with(request.state, request.context, KEY_KIND, "").await
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Given {
    name: Option<String>,
    description: Option<String>,
    enabled: Option<bool>,
    value: Option<String>,
    stage_keys: Vec<StageKey>,
    customer_id: Option<String>,
    tags: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct StageKey {
    rest_api_id: Option<String>,
    stage_name: Option<String>,
}

/// CreateApiKey.
pub async fn create(request: &Request<'_>) -> Result<Response, ApiError> {
    let given: Given = request.members()?;
    let Request { state, context, .. } = request;
    super::tags::check(&given.tags)?;
    let value = match given.value.filter(|value| !value.is_empty()) {
        Some(value) => checked(value)?,
        None => new_value(),
    };
    let _write = state.rest_api_writes.lock().await;
    let mut stage_keys = Vec::new();
    for stage in given.stage_keys {
        let (api, stage) = (stage.rest_api_id.unwrap_or_default(), stage.stage_name.unwrap_or_default());
        stored::stage(state, context, &api, &stage).await?;
        stage_keys.push(format!("{api}/{stage}"));
    }
    let of_value: Option<KeyOfValue> =
        stored::read(state, context, KEY_VALUE_KIND, &key_of_value(&value)).await?;
    if let Some(known) = of_value {
        // What is named and not there was being made or deleted when the server ended.
        let known: Option<ApiKey> = stored::read(state, context, KEY_KIND, &known.id).await?;
        if known.is_some_and(|known| known.value == value) {
            return Err(conflict("API Key already exists"));
        }
    }
    let now = state.now();
    let key = ApiKey {
        id: new_id(ID_LENGTH),
        value,
        name: given.name,
        customer_id: given.customer_id,
        description: given.description,
        enabled: given.enabled.unwrap_or(false),
        created_date: now,
        last_updated_date: now,
        stage_keys,
        tags: given.tags,
        usage_plans: Vec::new(),
    };
    let of_value = KeyOfValue { id: key.id.clone() };
    stored::write(state, context, KEY_VALUE_KIND, &key_of_value(&key.value), &of_value).await?;
    put(request, &key).await?;
    Ok(reply::json(StatusCode::CREATED, &shown(&key, true)?))
}

fn checked(value: String) -> Result<String, ApiError> {
    match value.chars().count() {
        count if VALUE_CHARACTERS.contains(&count) => Ok(value),
        count if count < *VALUE_CHARACTERS.start() => {
            Err(bad_request("API Key value should be at least 20 characters"))
        }
        _ => Err(bad_request("API Key value exceeds maximum size of 128 characters")),
    }
}

fn new_value() -> String {
    let mut random = rand::rng();
    (0..VALUE_LENGTH).map(|_| char::from(CHARACTERS[random.random_range(0..CHARACTERS.len())])).collect()
}

fn shown(key: &ApiKey, with_value: bool) -> Result<Value, ApiError> {
    let mut shown = object(key)?;
    shown.remove("usagePlans");
    if !with_value {
        shown.remove("value");
    }
    shown.insert("createdDate".to_owned(), seconds(key.created_date));
    shown.insert("lastUpdatedDate".to_owned(), seconds(key.last_updated_date));
    Ok(shown.into())
}

/// GetApiKey, with its value when that is asked for.
pub async fn get(request: &Request<'_>) -> Result<Response, ApiError> {
    let key = find(request, request.label(0)).await?;
    let with_value = request.context.parameter("includeValue") == Some("true");
    Ok(reply::json(StatusCode::OK, &shown(&key, with_value)?))
}

/// GetApiKeys: all, or those whose name begins so, or of one customer.
pub async fn list(request: &Request<'_>) -> Result<Response, ApiError> {
    let context = request.context;
    let with_values = context.parameter("includeValues") == Some("true");
    let (name, customer) = (context.parameter("name"), context.parameter("customerId"));
    let mut keys = all(request).await?;
    keys.retain(|key| {
        name.is_none_or(|name| key.name.as_deref().unwrap_or_default().starts_with(name))
            && customer.is_none_or(|customer| key.customer_id.as_deref() == Some(customer))
    });
    let page = page_of(context, KEY_KIND, &keys, |key| &key.id, |key| shown(key, with_values))?;
    Ok(reply::json(StatusCode::OK, &page))
}

/// UpdateApiKey.
pub async fn update(request: &Request<'_>) -> Result<Response, ApiError> {
    let patches = patch::read(request.body, "updateApiKeyInput")?;
    let _write = request.state.rest_api_writes.lock().await;
    let mut key = find(request, request.label(0)).await?;
    for patch in &patches {
        apply(request, &mut key, patch).await?;
    }
    key.last_updated_date = request.state.now();
    put(request, &key).await?;
    Ok(reply::json(StatusCode::OK, &shown(&key, false)?))
}

async fn apply(request: &Request<'_>, key: &mut ApiKey, patch: &Patch) -> Result<(), ApiError> {
    let segments = patch.segments();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match segments.as_slice() {
        ["name"] => key.name = patch.some(),
        ["description"] => key.description = patch.some(),
        ["customerId"] => key.customer_id = patch.some(),
        ["enabled"] => {
            patch.only_replace()?;
            key.enabled = patch.text().eq_ignore_ascii_case("true");
        }
        ["stages"] => {
            let stage = patch.text().to_owned();
            key.stage_keys.retain(|one| *one != stage);
            if patch.op != "remove" {
                let (api, name) = stage.split_once('/').unwrap_or_default();
                stored::stage(request.state, request.context, api, name).await?;
                key.stage_keys.push(stage);
            }
        }
        _ => return Err(patch.invalid_path()),
    }
    Ok(())
}

/// DeleteApiKey; it is in no usage plan then.
pub async fn delete(request: &Request<'_>) -> Result<Response, ApiError> {
    let Request { state, context, .. } = request;
    let _write = state.rest_api_writes.lock().await;
    let key = find(request, request.label(0)).await?;
    // The key goes last: whoever finds it half deleted can delete it again.
    stored::delete(state, context, KEY_VALUE_KIND, &key_of_value(&key.value)).await?;
    stored::delete(state, context, KEY_KIND, &key.id).await?;
    Ok(accepted())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sealed() {
        assert!(KEY_KIND.starts_with(lamplight_store::sealed_documents::KIND_PREFIX));
    }

    #[test]
    fn values_have_their_length() {
        assert_eq!(new_value().len(), VALUE_LENGTH);
        assert_ne!(new_value(), new_value());
        for (length, good) in [(19, false), (20, true), (128, true), (129, false)] {
            assert_eq!(checked("ä".repeat(length)).is_ok(), good, "{length}");
        }
    }
}
