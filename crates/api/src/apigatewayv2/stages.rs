//! CreateStage, GetStage, GetStages, UpdateStage, DeleteStage, DeleteRouteSettings, DeleteAccessLogSettings.

use super::input::{self, list as page, refuse, required, shown, text};
use super::{bad_request, conflict, created, deleted, deployments, not_found, ok, stored};
use crate::http::{ApiError, Context, Members, Response};
use crate::state::ApiState;
use lamplight_model::http_api::{DEFAULT, RouteSettings, Stage, access_log_group};

/// 400: a stage that deploys automatically has the newest deployment.
pub const AUTOMATIC: &str = "Deployment ID cannot be set on stages where AutoDeploy is enabled";
/// Most characters of a variable's value. Source: quota "Length of stage variable value".
const VARIABLE_CHARACTERS: usize = 512;

/// CreateStage.
pub async fn create(
    state: &ApiState,
    context: &Context,
    api: &str,
    members: &Members<'_>,
) -> Result<Response, ApiError> {
    let mut opened = stored::open(state, context, api).await?;
    let name = required(text(members, "stageName", 1..=128)?, "StageName")?;
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if name != DEFAULT && !plain {
        return Err(bad_request("Stage name only allows a-zA-Z0-9_-"));
    }
    if opened.api.stages.contains_key(&name) {
        return Err(conflict("Stage already exists"));
    }
    let mut stage = Stage {
        created_date: state.now(),
        stage_name: name.clone(),
        tags: input::tags(members)?,
        ..Stage::default()
    };
    apply(&mut stage, members, &opened, state).await?;
    opened.api.stages.insert(name.clone(), stage);
    if opened.api.stages[&name].deploys_automatically() {
        stored::deploy_automatically(&mut opened.api, &name, state.now());
    }
    opened.save().await?;
    Ok(created(&shown(&opened.api.stages[&name])))
}

/// GetStage.
pub async fn get(state: &ApiState, context: &Context, api: &str, name: &str) -> Result<Response, ApiError> {
    let api = stored::api(state, context, api).await?;
    api.stages.get(name).map(|stage| ok(&shown(stage))).ok_or_else(|| absent(name))
}

/// GetStages.
pub async fn list(state: &ApiState, context: &Context, api: &str) -> Result<Response, ApiError> {
    let api = stored::api(state, context, api).await?;
    Ok(ok(&page(context, "http-stages", &api.stages, shown)?))
}

/// UpdateStage: what is not given stays. A stage that stops to deploy automatically keeps what it served last.
pub async fn update(
    state: &ApiState,
    context: &Context,
    api: &str,
    name: &str,
    members: &Members<'_>,
) -> Result<Response, ApiError> {
    let mut opened = stored::open(state, context, api).await?;
    let mut stage = opened.api.stages.get(name).cloned().ok_or_else(|| absent(name))?;
    let was_automatic = stage.deploys_automatically();
    apply(&mut stage, members, &opened, state).await?;
    if was_automatic
        && !stage.deploys_automatically()
        && let Some(deployment) = &stage.deployment_id
    {
        opened.freeze(deployment).await?;
    }
    let becomes_automatic = !was_automatic && stage.deploys_automatically();
    opened.api.stages.insert(name.to_owned(), stage);
    if becomes_automatic {
        stored::deploy_automatically(&mut opened.api, name, state.now());
    }
    opened.save().await?;
    Ok(ok(&shown(&opened.api.stages[name])))
}

/// DeleteStage.
pub async fn delete(
    state: &ApiState,
    context: &Context,
    api: &str,
    name: &str,
) -> Result<Response, ApiError> {
    let mut opened = stored::open(state, context, api).await?;
    opened.api.stages.remove(name).ok_or_else(|| absent(name))?;
    opened.save().await?;
    Ok(deleted())
}

/// DeleteRouteSettings.
pub async fn delete_route_settings(
    state: &ApiState,
    context: &Context,
    api: &str,
    name: &str,
    key: &str,
) -> Result<Response, ApiError> {
    let mut opened = stored::open(state, context, api).await?;
    let stage = opened.api.stages.get_mut(name).ok_or_else(|| absent(name))?;
    stage.route_settings.remove(key).ok_or_else(|| no_such_route(key))?;
    stage.last_updated_date = state.now();
    opened.save().await?;
    Ok(deleted())
}

/// DeleteAccessLogSettings.
pub async fn delete_access_log_settings(
    state: &ApiState,
    context: &Context,
    api: &str,
    name: &str,
) -> Result<Response, ApiError> {
    let mut opened = stored::open(state, context, api).await?;
    let stage = opened.api.stages.get_mut(name).ok_or_else(|| absent(name))?;
    stage.access_log_settings = None;
    stage.last_updated_date = state.now();
    opened.save().await?;
    Ok(deleted())
}

/// 404.
pub fn absent(name: &str) -> ApiError {
    not_found(format!("Invalid stage identifier specified {name}"))
}

/// The text was seen in terraform's issues on `route_settings`.
fn no_such_route(key: &str) -> ApiError {
    not_found(format!("Unable to find Route by key {key} within the provided RouteSettings"))
}

async fn apply(
    stage: &mut Stage,
    members: &Members<'_>,
    opened: &stored::Opened<'_>,
    state: &ApiState,
) -> Result<(), ApiError> {
    refuse(members, "stages of an HTTP API", &["clientCertificateId"])?;
    if let Some(automatic) = members.boolean("autoDeploy")? {
        stage.auto_deploy = automatic.then_some(true);
    }
    if let Some(description) = text(members, "description", 0..=1024)? {
        stage.description = Some(description);
    }
    if let Some(variables) = members.string_map("stageVariables")? {
        if variables.values().any(|value| value.chars().count() > VARIABLE_CHARACTERS) {
            return Err(bad_request(format!(
                "A stage variable's value has at most {VARIABLE_CHARACTERS} characters"
            )));
        }
        // An empty value takes a variable away. Source: UpdateStage of API Gateway, seen with the console.
        stage.stage_variables.extend(variables);
        stage.stage_variables.retain(|_, value| !value.is_empty());
    }
    if let Some(block) = members.object("defaultRouteSettings")? {
        stage.default_route_settings = read_settings(&block)?;
    }
    for (key, block) in members.object_map("routeSettings")?.unwrap_or_default() {
        if !opened.api.definition.routes.values().any(|route| route.route_key == key) {
            return Err(no_such_route(&key));
        }
        stage.route_settings.insert(key, read_settings(&block)?);
    }
    if let Some(block) = members.object("accessLogSettings")? {
        let mut settings = stage.access_log_settings.take().unwrap_or_default();
        for name in ["destinationArn", "format"] {
            if let Some(value) = text(&block, name, 1..=1024)? {
                settings.insert(name.to_owned(), value);
            }
        }
        let destination = settings.get("destinationArn");
        if destination.is_some_and(|arn| access_log_group(opened.scope(), arn).is_none()) {
            return Err(bad_request("Invalid ARN specified in the request"));
        }
        stage.access_log_settings = Some(settings);
    }
    if let Some(id) = members.string("deploymentId")? {
        if stage.deploys_automatically() {
            return Err(bad_request(AUTOMATIC));
        }
        if !opened.api.deployments.contains_key(&id) {
            return Err(deployments::absent(&id));
        }
        // One that another stage made by itself is what is edited now.
        if !opened.is_frozen(&id).await? {
            opened.freeze(&id).await?;
        }
        stage.deployment_id = Some(id);
    }
    stage.last_updated_date = state.now();
    Ok(())
}

fn read_settings(block: &Members<'_>) -> Result<RouteSettings, ApiError> {
    let logging = block.string("loggingLevel")?;
    if block.boolean("dataTraceEnabled")? == Some(true) || logging.is_some_and(|level| level != "OFF") {
        return Err(bad_request("Execution logs are not supported on protocolType HTTP"));
    }
    Ok(RouteSettings {
        detailed_metrics_enabled: block.boolean("detailedMetricsEnabled")?.unwrap_or_default(),
        throttling_burst_limit: input::integer(block, "throttlingBurstLimit", 0..=i64::from(i32::MAX))?,
        throttling_rate_limit: match block.number("throttlingRateLimit")? {
            Some(rate) if rate < 0.0 || !rate.is_finite() => {
                return Err(bad_request("Invalid value for throttlingRateLimit: must be 0 or more"));
            }
            rate => rate,
        },
    })
}
