//! Create-, Get- and DeleteUsagePlanKey, GetUsagePlanKeys: which keys are in which usage plan.

use super::error::{bad_request, conflict};
use super::keys::{self, no_key};
use super::stored::page_of;
use super::{Request, accepted, usage_plans};
use crate::http::{ApiError, Response, reply};
use http::StatusCode;
use lamplight_model::rest_api::{ApiKey, UsagePlan};
use serde::Deserialize;
use serde_json::{Value, json};

/// CreateUsagePlanKey. Fails with `ConflictException` for a key that has a plan for one of the stages, too: it would not be clear
/// which one counts.
pub async fn create(request: &Request<'_>) -> Result<Response, ApiError> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Given {
        key_id: Option<String>,
        key_type: Option<String>,
    }
    let given: Given = request.members()?;
    let _write = request.state.rest_api_writes.lock().await;
    let plan = usage_plans::find(request, request.label(0)).await?;
    if given.key_type.as_deref() != Some("API_KEY") {
        return Err(bad_request("Invalid key type specified"));
    }
    let mut key = keys::find(request, &given.key_id.unwrap_or_default()).await?;
    for id in &key.usage_plans {
        let other = usage_plans::find(request, id).await?;
        if other.id == plan.id || shares_a_stage(&other, &plan) {
            return Err(conflict("Usage Plan Key already exists for this API stage"));
        }
    }
    key.usage_plans.push(plan.id);
    keys::put(request, &key).await?;
    Ok(reply::json(StatusCode::CREATED, &shown(&key)))
}

/// Whether there is a stage that both plans are for.
pub fn shares_a_stage(one: &UsagePlan, other: &UsagePlan) -> bool {
    one.api_stages.iter().any(|stage| other.stage(&stage.api_id, &stage.stage).is_some())
}

fn shown(key: &ApiKey) -> Value {
    let mut shown = json!({ "id": key.id, "type": "API_KEY", "value": key.value });
    if let Some(name) = &key.name {
        shown["name"] = name.as_str().into();
    }
    shown
}

/// The key, if it is in the plan. Fails with `NotFoundException`.
async fn find(request: &Request<'_>) -> Result<(UsagePlan, ApiKey), ApiError> {
    let plan = usage_plans::find(request, request.label(0)).await?;
    let key = keys::find(request, request.label(1)).await?;
    match key.usage_plans.contains(&plan.id) {
        true => Ok((plan, key)),
        false => Err(no_key()),
    }
}

/// GetUsagePlanKey.
pub async fn get(request: &Request<'_>) -> Result<Response, ApiError> {
    let (_, key) = find(request).await?;
    Ok(reply::json(StatusCode::OK, &shown(&key)))
}

/// GetUsagePlanKeys: all of a plan, or those whose name begins so.
pub async fn list(request: &Request<'_>) -> Result<Response, ApiError> {
    let plan = usage_plans::find(request, request.label(0)).await?;
    let name = request.context.parameter("name").unwrap_or_default();
    let mut keys = keys::all(request).await?;
    keys.retain(|key| {
        key.usage_plans.contains(&plan.id) && key.name.as_deref().unwrap_or_default().starts_with(name)
    });
    let page = page_of(request.context, "usage-plan-keys", &keys, |key| &key.id, |key| Ok(shown(key)))?;
    Ok(reply::json(StatusCode::OK, &page))
}

/// DeleteUsagePlanKey: the key stays.
pub async fn delete(request: &Request<'_>) -> Result<Response, ApiError> {
    let _write = request.state.rest_api_writes.lock().await;
    let (plan, mut key) = find(request).await?;
    key.usage_plans.retain(|id| *id != plan.id);
    keys::put(request, &key).await?;
    Ok(accepted())
}
