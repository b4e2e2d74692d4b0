//! Create-, Get-, Update- and DeleteDeployment, GetDeployments.

use super::error::{bad_request, unsupported};
use super::patch;
use super::stored::{self, ID_LENGTH, new_id, object, page_of, seconds};
use super::{Request, accepted, stages};
use crate::http::{ApiError, Response, reply};
use http::StatusCode;
use lamplight_model::rest_api::{DEPLOYMENT_KIND, Definition, Deployment, STAGE_KIND, Stage};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// CreateDeployment: freezes the API, and makes or moves a stage when one is named.
pub async fn create(request: &Request<'_>) -> Result<Response, ApiError> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Given {
        stage_name: Option<String>,
        stage_description: Option<String>,
        description: Option<String>,
        cache_cluster_enabled: Option<bool>,
        cache_cluster_size: Option<String>,
        variables: Option<BTreeMap<String, String>>,
        canary_settings: Option<Value>,
        tracing_enabled: Option<bool>,
    }
    let given: Given = request.members()?;
    let Request { state, context, .. } = request;
    let api_id = request.label(0);
    let _write = state.rest_api_writes.lock().await;
    let api = stored::api(state, context, api_id).await?;
    check_complete(&api.definition)?;
    if given.canary_settings.is_some() {
        return Err(unsupported("canary releases"));
    }
    let now = state.now();
    let deployment = Deployment {
        id: new_id(ID_LENGTH),
        description: given.description.filter(|text| !text.is_empty()),
        created_date: now,
        definition: api.definition,
    };
    let stage = match given.stage_name.filter(|name| !name.is_empty()) {
        None => None,
        Some(name) => {
            stages::check_name(&name)?;
            let before = stored::find_stage(state, context, api_id, &name).await?;
            let mut stage = before.unwrap_or_else(|| stages::new_stage(&name, &deployment.id, now));
            stage.deployment_id.clone_from(&deployment.id);
            stage.last_updated_date = now;
            stage.description = given.stage_description.filter(|text| !text.is_empty()).or(stage.description);
            if let Some(variables) = given.variables {
                stages::check_variables(&variables)?;
                stage.variables.extend(variables);
            }
            stage.tracing_enabled = given.tracing_enabled.unwrap_or(stage.tracing_enabled);
            if given.cache_cluster_enabled == Some(true) {
                return Err(unsupported("caches of stages"));
            }
            stage.cache_cluster_size = given.cache_cluster_size.or(stage.cache_cluster_size);
            Some(stage)
        }
    };
    // The deployment first: a stage never points to what is not there.
    stored::put_deployment(state, context, api_id, &deployment).await?;
    if let Some(stage) = stage {
        stored::put_stage(state, context, api_id, &stage).await?;
    }
    Ok(reply::json(StatusCode::CREATED, &shown(&deployment)?))
}

/// Fails with `BadRequestException` when there is nothing to serve, or nothing behind a method.
fn check_complete(definition: &Definition) -> Result<(), ApiError> {
    let mut methods = definition.resources.values().flat_map(|one| one.resource_methods.values()).peekable();
    if methods.peek().is_none() {
        return Err(bad_request("The REST API doesn't contain any methods"));
    }
    match methods.any(|method| method.method_integration.is_none()) {
        true => Err(bad_request("No integration defined for method")),
        false => Ok(()),
    }
}

fn shown(deployment: &Deployment) -> Result<Value, ApiError> {
    let mut shown = object(deployment)?;
    shown.remove("definition");
    shown.insert("createdDate".to_owned(), seconds(deployment.created_date));
    Ok(Value::Object(shown))
}

/// GetDeployment.
pub async fn get(request: &Request<'_>) -> Result<Response, ApiError> {
    let found =
        stored::deployment(request.state, request.context, request.label(0), request.label(1)).await?;
    Ok(reply::json(StatusCode::OK, &shown(&found)?))
}

/// GetDeployments.
pub async fn list(request: &Request<'_>) -> Result<Response, ApiError> {
    let Request { state, context, .. } = request;
    let api_id = request.label(0);
    stored::api(state, context, api_id).await?;
    let all: Vec<Deployment> = stored::of_api(state, context, DEPLOYMENT_KIND, api_id).await?;
    let page = page_of(context, DEPLOYMENT_KIND, &all, |deployment| &deployment.id, shown)?;
    Ok(reply::json(StatusCode::OK, &page))
}

/// UpdateDeployment: only the description changes.
pub async fn update(request: &Request<'_>) -> Result<Response, ApiError> {
    let patches = patch::read(request.body, "updateDeploymentInput")?;
    let Request { state, context, .. } = request;
    let (api_id, id) = (request.label(0), request.label(1));
    let _write = state.rest_api_writes.lock().await;
    let mut deployment = stored::deployment(state, context, api_id, id).await?;
    for patch in &patches {
        match (patch.op.as_str(), patch.path.as_str()) {
            ("replace", "/description") => deployment.description = patch.some(),
            _ => return Err(patch.not_among("/description")),
        }
    }
    stored::put_deployment(state, context, api_id, &deployment).await?;
    Ok(reply::json(StatusCode::OK, &shown(&deployment)?))
}

/// DeleteDeployment. Fails with `BadRequestException` while a stage serves it.
pub async fn delete(request: &Request<'_>) -> Result<Response, ApiError> {
    let Request { state, context, .. } = request;
    let (api_id, id) = (request.label(0), request.label(1));
    let _write = state.rest_api_writes.lock().await;
    stored::deployment(state, context, api_id, id).await?;
    let stages: Vec<Stage> = stored::of_api(state, context, STAGE_KIND, api_id).await?;
    if stages.iter().any(|stage| stage.deployment_id == id) {
        return Err(bad_request("Active stages pointing to this deployment must be moved or deleted"));
    }
    stored::delete(state, context, DEPLOYMENT_KIND, &format!("{api_id}/{id}")).await?;
    Ok(accepted())
}
