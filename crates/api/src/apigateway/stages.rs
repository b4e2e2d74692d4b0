//! Create-, Get-, Update- and DeleteStage, GetStages.

use super::error::{bad_request, conflict, unsupported};
use super::patch::{self, Patch};
use super::stored::{self, object, seconds};
use super::{Request, accepted};
use crate::http::{ApiError, Response, reply};
use http::StatusCode;
use lamplight_model::Timestamp;
use lamplight_model::rest_api::{MethodSetting, STAGE_KIND, Stage};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Longest name of a stage, characters.
const NAME_CHARACTERS: usize = 128;
/// The paths a stage can be changed at, in AWS's words (its commas are missing there, too).
const PATHS: &str = "/deploymentId, /description, /cacheClusterEnabled, /cacheClusterSize, /clientCertificateId, \
/accessLogSettings, /accessLogSettings/destinationArn, /accessLogSettings/format, \
/{resourcePath}/{httpMethod}/metrics/enabled, /{resourcePath}/{httpMethod}/logging/dataTrace, \
/{resourcePath}/{httpMethod}/logging/loglevel, \
/{resourcePath}/{httpMethod}/throttling/burstLimit/{resourcePath}/{httpMethod}/throttling/rateLimit\
/{resourcePath}/{httpMethod}/caching/ttlInSeconds, /{resourcePath}/{httpMethod}/caching/enabled, \
/{resourcePath}/{httpMethod}/caching/dataEncrypted, \
/{resourcePath}/{httpMethod}/caching/requireAuthorizationForCacheControl, \
/{resourcePath}/{httpMethod}/caching/unauthorizedCacheControlHeaderStrategy, /*/*/metrics/enabled, \
/*/*/logging/dataTrace, /*/*/logging/loglevel, /*/*/throttling/burstLimit /*/*/throttling/rateLimit \
/*/*/caching/ttlInSeconds, /*/*/caching/enabled, /*/*/caching/dataEncrypted, \
/*/*/caching/requireAuthorizationForCacheControl, /*/*/caching/unauthorizedCacheControlHeaderStrategy, \
/variables/{variable_name}, /tracingEnabled";

/// A stage with AWS's defaults.
pub fn new_stage(name: &str, deployment_id: &str, now: Timestamp) -> Stage {
    Stage {
        deployment_id: deployment_id.to_owned(),
        stage_name: name.to_owned(),
        description: None,
        cache_cluster_enabled: false,
        cache_cluster_size: None,
        method_settings: BTreeMap::new(),
        variables: BTreeMap::new(),
        documentation_version: None,
        tracing_enabled: false,
        tags: BTreeMap::new(),
        created_date: now,
        last_updated_date: now,
    }
}

/// Fails with `BadRequestException` for what cannot be the first segment of a path.
pub fn check_name(name: &str) -> Result<(), ApiError> {
    let is_name = name.len() <= NAME_CHARACTERS
        && (name == "$default"
            || name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'));
    match is_name && !name.is_empty() {
        true => Ok(()),
        false => Err(bad_request("Stage name only allows a-zA-Z0-9_-")),
    }
}

/// Names and values as AWS takes them. Source: developer guide, "Set up stage variables".
pub fn check_variables(variables: &BTreeMap<String, String>) -> Result<(), ApiError> {
    for (name, value) in variables {
        let is_name =
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let is_value =
            value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:/?#&=,".contains(&byte));
        if !is_name || !is_value {
            return Err(bad_request(format!("Invalid stage variable: {name}={value}")));
        }
    }
    Ok(())
}

/// CreateStage.
pub async fn create(request: &Request<'_>) -> Result<Response, ApiError> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Given {
        stage_name: Option<String>,
        deployment_id: Option<String>,
        description: Option<String>,
        cache_cluster_enabled: Option<bool>,
        cache_cluster_size: Option<String>,
        variables: BTreeMap<String, String>,
        documentation_version: Option<String>,
        canary_settings: Option<Value>,
        tracing_enabled: Option<bool>,
        tags: BTreeMap<String, String>,
    }
    let given: Given = request.members()?;
    let Request { state, context, .. } = request;
    let api_id = request.label(0);
    let (name, deployment_id) =
        (given.stage_name.unwrap_or_default(), given.deployment_id.unwrap_or_default());
    check_name(&name)?;
    check_variables(&given.variables)?;
    super::tags::check(&given.tags)?;
    if given.canary_settings.is_some() {
        return Err(unsupported("canary releases"));
    }
    if given.cache_cluster_enabled == Some(true) {
        return Err(unsupported("caches of stages"));
    }
    let _write = state.rest_api_writes.lock().await;
    stored::api(state, context, api_id).await?;
    check_deployment(request, &deployment_id).await?;
    if stored::find_stage(state, context, api_id, &name).await?.is_some() {
        return Err(conflict("Stage already exists"));
    }
    let stage = Stage {
        description: given.description,
        cache_cluster_size: given.cache_cluster_size,
        variables: given.variables,
        documentation_version: given.documentation_version,
        tracing_enabled: given.tracing_enabled.unwrap_or(false),
        tags: given.tags,
        ..new_stage(&name, &deployment_id, state.now())
    };
    stored::put_stage(state, context, api_id, &stage).await?;
    Ok(reply::json(StatusCode::CREATED, &shown(&stage)?))
}

/// Fails with `BadRequestException` when there is no such deployment.
async fn check_deployment(request: &Request<'_>, id: &str) -> Result<(), ApiError> {
    match stored::deployment(request.state, request.context, request.label(0), id).await {
        Ok(_) => Ok(()),
        Err(error) if error.status == StatusCode::NOT_FOUND => {
            Err(bad_request("Deployment id does not exist"))
        }
        Err(error) => Err(error),
    }
}

fn shown(stage: &Stage) -> Result<Value, ApiError> {
    let mut shown = object(stage)?;
    shown.insert("createdDate".to_owned(), seconds(stage.created_date));
    shown.insert("lastUpdatedDate".to_owned(), seconds(stage.last_updated_date));
    shown.insert("cacheClusterStatus".to_owned(), json!("NOT_AVAILABLE"));
    Ok(Value::Object(shown))
}

/// GetStage.
pub async fn get(request: &Request<'_>) -> Result<Response, ApiError> {
    let stage = stored::stage(request.state, request.context, request.label(0), request.label(1)).await?;
    Ok(reply::json(StatusCode::OK, &shown(&stage)?))
}

/// GetStages: all of an API, or those that serve one deployment.
pub async fn list(request: &Request<'_>) -> Result<Response, ApiError> {
    let Request { state, context, .. } = request;
    stored::api(state, context, request.label(0)).await?;
    let deployment = context.parameter("deploymentId");
    let stages: Vec<Stage> = stored::of_api(state, context, STAGE_KIND, request.label(0)).await?;
    let wanted = stages.iter().filter(|stage| deployment.is_none_or(|id| stage.deployment_id == id));
    let items: Vec<Value> = wanted.map(shown).collect::<Result<_, _>>()?;
    Ok(reply::json(StatusCode::OK, &json!({ "item": items })))
}

/// UpdateStage.
pub async fn update(request: &Request<'_>) -> Result<Response, ApiError> {
    let patches = patch::read(request.body, "updateStageInput")?;
    let Request { state, context, .. } = request;
    let (api_id, name) = (request.label(0), request.label(1));
    let _write = state.rest_api_writes.lock().await;
    let mut stage = stored::stage(state, context, api_id, name).await?;
    let before = stage.deployment_id.clone();
    for patch in &patches {
        apply(&mut stage, patch)?;
    }
    if stage.deployment_id != before {
        check_deployment(request, &stage.deployment_id).await?;
    }
    check_variables(&stage.variables)?;
    stage.last_updated_date = state.now();
    stored::put_stage(state, context, api_id, &stage).await?;
    Ok(reply::json(StatusCode::OK, &shown(&stage)?))
}

fn apply(stage: &mut Stage, patch: &Patch) -> Result<(), ApiError> {
    let segments = patch.segments();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match segments.as_slice() {
        ["deploymentId"] => stage.deployment_id = patch.text().to_owned(),
        ["description"] => stage.description = patch.some(),
        ["tracingEnabled"] => stage.tracing_enabled = patch.text().eq_ignore_ascii_case("true"),
        ["cacheClusterSize"] => stage.cache_cluster_size = patch.some(),
        ["cacheClusterEnabled"] if !patch.text().eq_ignore_ascii_case("true") => {
            stage.cache_cluster_enabled = false;
        }
        ["cacheClusterEnabled"] => return Err(unsupported("caches of stages")),
        ["clientCertificateId"] => return Err(unsupported("client certificates")),
        ["accessLogSettings", ..] => return Err(unsupported("access logs of stages")),
        ["variables", name] if patch.op == "remove" => {
            stage.variables.remove(*name);
        }
        ["variables", name] => {
            stage.variables.insert((*name).to_owned(), patch.text().to_owned());
        }
        // Everything that was set for a method, or for all, at once.
        [path, method] if patch.op == "remove" => {
            stage.method_settings.remove(&setting_key(path, method));
        }
        [path, method, group, setting] => {
            let key = setting_key(path, method);
            let mut settings = stage.method_settings.get(&key).cloned().unwrap_or_default();
            if !set(&mut settings, group, setting, patch.text()) {
                return Err(invalid_path(patch));
            }
            stage.method_settings.insert(key, settings);
        }
        _ => return Err(invalid_path(patch)),
    }
    Ok(())
}

/// `*/*` or `pets/{id}/GET`; the root is `/`.
fn setting_key(path: &str, method: &str) -> String {
    match path {
        "" | "/" => format!("//{method}"),
        path => format!("{}/{method}", path.trim_start_matches('/')),
    }
}

fn invalid_path(patch: &Patch) -> ApiError {
    bad_request(format!("Invalid method setting path: {}. Must be one of: [{PATHS}]", patch.path))
}

/// `false` when there is no such setting or the value is none.
fn set(settings: &mut MethodSetting, group: &str, setting: &str, value: &str) -> bool {
    let flag = value.eq_ignore_ascii_case("true");
    match (group, setting) {
        ("metrics", "enabled") => settings.metrics_enabled = flag,
        ("logging", "dataTrace") => settings.data_trace_enabled = flag,
        ("logging", "loglevel") => match value {
            "OFF" | "ERROR" | "INFO" => settings.logging_level = Some(value.to_owned()),
            _ => return false,
        },
        ("throttling", "burstLimit") => match value.parse() {
            Ok(limit) => settings.throttling_burst_limit = limit,
            Err(_) => return false,
        },
        ("throttling", "rateLimit") => match value.parse::<f64>() {
            Ok(limit) if limit.is_finite() => settings.throttling_rate_limit = limit,
            _ => return false,
        },
        ("caching", "enabled") => settings.caching_enabled = flag,
        ("caching", "ttlInSeconds") => match value.parse() {
            Ok(seconds) => settings.cache_ttl_in_seconds = seconds,
            Err(_) => return false,
        },
        ("caching", "dataEncrypted") => settings.cache_data_encrypted = flag,
        ("caching", "requireAuthorizationForCacheControl") => {
            settings.require_authorization_for_cache_control = flag;
        }
        ("caching", "unauthorizedCacheControlHeaderStrategy") => {
            settings.unauthorized_cache_control_header_strategy = value.to_owned();
        }
        _ => return false,
    }
    true
}

/// DeleteStage.
pub async fn delete(request: &Request<'_>) -> Result<Response, ApiError> {
    let Request { state, context, .. } = request;
    let (api_id, name) = (request.label(0), request.label(1));
    let _write = state.rest_api_writes.lock().await;
    stored::stage(state, context, api_id, name).await?;
    stored::delete(state, context, STAGE_KIND, &format!("{api_id}/{name}")).await?;
    Ok(accepted())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patched(path: &str, value: &str) -> Result<Stage, ApiError> {
        let mut stage = new_stage("dev", "abc", Timestamp(0));
        let patch = Patch { op: "replace".to_owned(), path: path.to_owned(), value: Some(value.to_owned()) };
        apply(&mut stage, &patch).map(|()| stage)
    }

    #[test]
    fn settings_of_methods() {
        // As Zappa sends them.
        assert!(patched("/*/*/metrics/enabled", "true").unwrap().method_settings["*/*"].metrics_enabled);
        let stage = patched("/~1pets~1{id}/GET/logging/loglevel", "INFO").unwrap();
        assert_eq!(stage.method_settings["pets/{id}/GET"].logging_level.as_deref(), Some("INFO"));
        assert_eq!(
            patched("/*/*/caching/ttlInSeconds", "7").unwrap().method_settings["*/*"].cache_ttl_in_seconds,
            7
        );
        let refused = patched("/*/*/caching/ttlInSeconds", "x").unwrap_err();
        assert!(refused.message.starts_with("Invalid method setting path: /*/*/caching/ttlInSeconds. Must"));
        assert!(patched("/tags/tag1", "x").is_err());
        assert_eq!(
            patched("/*/*/throttling/rateLimit", "0.5").unwrap().method_settings["*/*"].throttling_rate_limit,
            0.5
        );
        assert!(patched("/*/*/throttling/rateLimit", "NaN").is_err(), "JSON has no such number");
    }

    #[test]
    fn names_and_variables() {
        for (name, good) in [("dev", true), ("v1_2-x", true), ("", false), ("a/b", false), ("ä", false)] {
            assert_eq!(check_name(name).is_ok(), good, "{name}");
        }
        assert_eq!(patched("/variables/a", "b").unwrap().variables["a"], "b");
        let variables = |value: &str| BTreeMap::from([("a".to_owned(), value.to_owned())]);
        assert!(check_variables(&variables("live-1.x")).is_ok());
        assert!(check_variables(&variables("a b")).is_err());
    }
}
