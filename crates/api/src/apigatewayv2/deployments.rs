//! CreateDeployment, GetDeployment, GetDeployments, UpdateDeployment, DeleteDeployment.

use super::input::{list as page, new_id, text};
use super::{bad_request, created, deleted, not_found, ok, stages, stored};
use crate::http::{ApiError, Context, Members, Response};
use crate::state::ApiState;
use lamplight_model::http_api::Deployment;
use serde_json::Value;

/// CreateDeployment; with `stageName` that stage serves it.
pub async fn create(
    state: &ApiState,
    context: &Context,
    api: &str,
    members: &Members<'_>,
) -> Result<Response, ApiError> {
    let mut opened = stored::open(state, context, api).await?;
    if opened.api.definition.routes.is_empty() {
        return Err(bad_request("At least one route is required before deploying the Api."));
    }
    let deployment = Deployment {
        auto_deployed: false,
        created_date: state.now(),
        deployment_id: new_id(6),
        description: text(members, "description", 0..=1024)?,
    };
    let id = deployment.deployment_id.clone();
    if let Some(name) = members.string("stageName")? {
        let stage = opened.api.stages.get_mut(&name).ok_or_else(|| stages::absent(&name))?;
        if stage.deploys_automatically() {
            return Err(bad_request(stages::AUTOMATIC));
        }
        stage.deployment_id = Some(id.clone());
        stage.last_updated_date = state.now();
    }
    let answer = created(&shown(&deployment));
    opened.api.deployments.insert(id.clone(), deployment);
    // First what it is, then that it is.
    opened.freeze(&id).await?;
    opened.save().await?;
    Ok(answer)
}

/// GetDeployment.
pub async fn get(state: &ApiState, context: &Context, api: &str, id: &str) -> Result<Response, ApiError> {
    let api = stored::api(state, context, api).await?;
    api.deployments.get(id).map(|deployment| ok(&shown(deployment))).ok_or_else(|| absent(id))
}

/// GetDeployments.
pub async fn list(state: &ApiState, context: &Context, api: &str) -> Result<Response, ApiError> {
    let api = stored::api(state, context, api).await?;
    Ok(ok(&page(context, "http-deployments", &api.deployments, shown)?))
}

/// UpdateDeployment: its description.
pub async fn update(
    state: &ApiState,
    context: &Context,
    api: &str,
    id: &str,
    members: &Members<'_>,
) -> Result<Response, ApiError> {
    let mut opened = stored::open(state, context, api).await?;
    let deployment = opened.api.deployments.get_mut(id).ok_or_else(|| absent(id))?;
    if let Some(description) = text(members, "description", 0..=1024)? {
        deployment.description = Some(description);
    }
    let answer = ok(&shown(deployment));
    opened.save().await?;
    Ok(answer)
}

/// DeleteDeployment; not of one that a stage serves.
pub async fn delete(state: &ApiState, context: &Context, api: &str, id: &str) -> Result<Response, ApiError> {
    let mut opened = stored::open(state, context, api).await?;
    if opened.api.stages.values().any(|stage| stage.deployment_id.as_deref() == Some(id)) {
        return Err(bad_request("Active stages pointing to this deployment must be moved or deleted"));
    }
    opened.api.deployments.remove(id).ok_or_else(|| absent(id))?;
    opened.save().await?;
    opened.thaw(id).await?;
    Ok(deleted())
}

/// 404.
pub fn absent(id: &str) -> ApiError {
    not_found(format!("Invalid Deployment identifier specified {id}"))
}

fn shown(deployment: &Deployment) -> Value {
    let mut shown = super::input::shown(deployment);
    shown["deploymentStatus"] = "DEPLOYED".into();
    shown
}
