//! Create-, Get-, Update- and DeleteRestApi, GetRestApis.

use super::error::{bad_request, unsupported};
use super::patch::{self, Patch};
use super::stored::{self, API_ID_LENGTH, new_id, object, page_of, seconds};
use super::{Request, accepted};
use crate::http::{ApiError, Response, reply};
use http::StatusCode;
use lamplight_model::Timestamp;
use lamplight_model::rest_api::{
    DEPLOYMENT_KIND, Definition, Deployment, EndpointConfiguration, KIND, Resource, RestApi, STAGE_KIND,
    Stage,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Greatest `minimumCompressionSize`, bytes.
const MOST_COMPRESSION_BYTES: u32 = 10_485_760;

/// What a request gave.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Given {
    name: Option<String>,
    description: Option<String>,
    version: Option<String>,
    clone_from: Option<String>,
    binary_media_types: Option<Vec<String>>,
    minimum_compression_size: Option<Value>,
    api_key_source: Option<String>,
    endpoint_configuration: Option<GivenEndpoint>,
    policy: Option<String>,
    tags: Option<BTreeMap<String, String>>,
    disable_execute_api_endpoint: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct GivenEndpoint {
    types: Vec<String>,
    ip_address_type: Option<String>,
    vpc_endpoint_ids: Vec<String>,
}

/// CreateRestApi.
pub async fn create(request: &Request<'_>) -> Result<Response, ApiError> {
    let given: Given = request.members()?;
    let Some(name) = given.name.filter(|name| !name.is_empty()) else {
        return Err(bad_request("API name cannot be an empty string"));
    };
    let mut api = new_api(name, request.state.now());
    if let Some(original) = given.clone_from {
        let original = stored::api(request.state, request.context, &original).await?;
        api.definition = original.definition;
        api.root_resource_id = original.root_resource_id;
    }
    if given.description.as_deref() == Some("") {
        return Err(bad_request("Description cannot be an empty string"));
    }
    api.description = given.description;
    api.version = given.version.filter(|version| !version.is_empty());
    if let Some(types) = given.binary_media_types {
        api.definition.binary_media_types = types;
    }
    api.minimum_compression_size = match given.minimum_compression_size {
        None | Some(Value::Null) => None,
        Some(Value::Number(number)) => compression_size(&number.to_string())?,
        Some(_) => return Err(wrong_compression_size()),
    };
    if let Some(source) = given.api_key_source {
        api.api_key_source = api_key_source(&source)?;
    }
    if let Some(endpoint) = given.endpoint_configuration {
        api.endpoint_configuration = endpoint_configuration(endpoint)?;
    }
    refuse_policy(given.policy.as_deref())?;
    api.tags = given.tags.unwrap_or_default();
    super::tags::check(&api.tags)?;
    api.disable_execute_api_endpoint = given.disable_execute_api_endpoint.unwrap_or(false);
    stored::put_api(request.state, request.context, &api).await?;
    Ok(reply::json(StatusCode::CREATED, &shown(&api)?))
}

/// An API with nothing but `/`.
pub fn new_api(name: String, now: Timestamp) -> RestApi {
    let root = new_id(API_ID_LENGTH);
    RestApi {
        id: new_id(API_ID_LENGTH),
        name,
        description: None,
        version: None,
        created_date: now,
        minimum_compression_size: None,
        api_key_source: "HEADER".to_owned(),
        endpoint_configuration: EndpointConfiguration {
            types: vec!["EDGE".to_owned()],
            ip_address_type: Some("ipv4".to_owned()),
            vpc_endpoint_ids: Vec::new(),
        },
        tags: BTreeMap::new(),
        disable_execute_api_endpoint: false,
        definition: Definition {
            resources: BTreeMap::from([(root.clone(), Resource::root(root.clone()))]),
            ..Definition::default()
        },
        root_resource_id: root,
    }
}

/// The API as a client reads it.
pub fn shown(api: &RestApi) -> Result<Value, ApiError> {
    let mut shown = object(api)?;
    shown.remove("definition");
    shown.insert("createdDate".to_owned(), seconds(api.created_date));
    if !api.definition.binary_media_types.is_empty() {
        shown.insert("binaryMediaTypes".to_owned(), json!(api.definition.binary_media_types));
    }
    Ok(Value::Object(shown))
}

/// GetRestApi.
pub async fn get(request: &Request<'_>) -> Result<Response, ApiError> {
    let api = stored::api(request.state, request.context, request.label(0)).await?;
    Ok(reply::json(StatusCode::OK, &shown(&api)?))
}

/// GetRestApis.
pub async fn list(request: &Request<'_>) -> Result<Response, ApiError> {
    let all = stored::apis(request.state, request.context).await?;
    let page = page_of(request.context, KIND, &all, |api| &api.id, shown)?;
    Ok(reply::json(StatusCode::OK, &page))
}

/// UpdateRestApi.
pub async fn update(request: &Request<'_>) -> Result<Response, ApiError> {
    let patches = patch::read(request.body, "updateRestApiInput")?;
    let api = stored::change_api(request.state, request.context, request.label(0), |api| {
        for patch in &patches {
            apply(api, patch)?;
        }
        Ok(api.clone())
    })
    .await?;
    let mut shown = shown(&api)?;
    // The one answer that has them when there are none.
    shown["tags"] = json!(api.tags);
    Ok(reply::json(StatusCode::OK, &shown))
}

fn apply(api: &mut RestApi, patch: &Patch) -> Result<(), ApiError> {
    let segments = patch.segments();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match segments.as_slice() {
        ["name"] => {
            patch.only_replace()?;
            api.name = patch.some().ok_or_else(|| bad_request("API name cannot be an empty string"))?;
        }
        ["description"] if patch.op == "remove" => api.description = None,
        ["description"] => api.description = patch.some(),
        ["version"] => api.version = patch.some(),
        ["apiKeySource"] => api.api_key_source = api_key_source(patch.text())?,
        ["disableExecuteApiEndpoint"] => {
            api.disable_execute_api_endpoint = patch.text().eq_ignore_ascii_case("true");
        }
        ["minimumCompressionSize"] => {
            patch.only_replace()?;
            api.minimum_compression_size = compression_size(patch.text())?;
        }
        ["policy"] => refuse_policy(patch.value.as_deref())?,
        ["binaryMediaTypes", media_type] => media_type_patch(api, patch, media_type),
        ["endpointConfiguration", "types", _] => {
            patch.only_replace()?;
            let given = GivenEndpoint { types: vec![patch.text().to_owned()], ..GivenEndpoint::default() };
            api.endpoint_configuration.types = endpoint_configuration(given)?.types;
        }
        ["endpointConfiguration", "ipAddressType"] => {
            patch.only_replace()?;
            api.endpoint_configuration.ip_address_type = patch.some();
        }
        _ => return Err(patch.invalid_path()),
    }
    Ok(())
}

fn media_type_patch(api: &mut RestApi, patch: &Patch, media_type: &str) {
    let types = &mut api.definition.binary_media_types;
    let place = types.iter().position(|one| one == media_type);
    match (patch.op.as_str(), place) {
        ("add", None) => types.push(media_type.to_owned()),
        ("remove", Some(place)) => {
            types.remove(place);
        }
        // What is replaced goes, and the new one is at the end.
        ("replace", Some(place)) => {
            types.remove(place);
            types.push(patch.text().to_owned());
        }
        _ => {}
    }
}

/// DeleteRestApi, with its stages and deployments.
pub async fn delete(request: &Request<'_>) -> Result<Response, ApiError> {
    let Request { state, context, .. } = request;
    let id = request.label(0);
    let _write = state.rest_api_writes.lock().await;
    stored::api(state, context, id).await?;
    // The API goes last: whoever finds it half deleted can delete it again.
    for stage in stored::of_api::<Stage>(state, context, STAGE_KIND, id).await? {
        stored::delete(state, context, STAGE_KIND, &format!("{id}/{}", stage.stage_name)).await?;
    }
    for deployment in stored::of_api::<Deployment>(state, context, DEPLOYMENT_KIND, id).await? {
        stored::delete(state, context, DEPLOYMENT_KIND, &format!("{id}/{}", deployment.id)).await?;
    }
    stored::delete(state, context, KIND, id).await?;
    Ok(accepted())
}

/// Empty turns compression off.
fn compression_size(text: &str) -> Result<Option<u32>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    let size = text.parse().ok().filter(|size| *size <= MOST_COMPRESSION_BYTES);
    size.map(Some).ok_or_else(wrong_compression_size)
}

fn wrong_compression_size() -> ApiError {
    bad_request("Invalid minimum compression size, must be between 0 and 10485760")
}

/// `HEADER` or `AUTHORIZER`.
pub fn api_key_source(text: &str) -> Result<String, ApiError> {
    match text {
        "HEADER" | "AUTHORIZER" => Ok(text.to_owned()),
        _ => Err(super::error::not_one_of(text, "apiKeySource", &["AUTHORIZER", "HEADER"])),
    }
}

/// One endpoint type for all that differ in where AWS runs them.
fn endpoint_configuration(given: GivenEndpoint) -> Result<EndpointConfiguration, ApiError> {
    for kind in &given.types {
        if !["EDGE", "REGIONAL", "PRIVATE"].contains(&kind.as_str()) {
            return Err(super::error::not_one_of(
                &format!("[{}]", given.types.join(", ")),
                "endpointConfiguration.types",
                &["PRIVATE", "EDGE", "REGIONAL"],
            ));
        }
    }
    if given.types.iter().any(|kind| kind == "PRIVATE") {
        return Err(unsupported("private REST APIs"));
    }
    Ok(EndpointConfiguration {
        types: if given.types.is_empty() { vec!["EDGE".to_owned()] } else { given.types },
        ip_address_type: given.ip_address_type.or_else(|| Some("ipv4".to_owned())),
        vpc_endpoint_ids: given.vpc_endpoint_ids,
    })
}

/// The endpoint types of an import's parameters.
pub fn endpoint_types(types: &str) -> Result<EndpointConfiguration, ApiError> {
    let types = types.split(',').map(|one| one.trim().to_owned()).collect();
    endpoint_configuration(GivenEndpoint { types, ..GivenEndpoint::default() })
}

/// A policy that nobody evaluates would let everybody in.
pub fn refuse_policy(policy: Option<&str>) -> Result<(), ApiError> {
    match policy {
        None | Some("") => Ok(()),
        Some(_) => Err(unsupported("resource policies of REST APIs")),
    }
}
