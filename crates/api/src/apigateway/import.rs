//! ImportRestApi and PutRestApi.

use super::Request;
use super::apis::{endpoint_types, new_api, shown};
use super::error::{bad_request, not_one_of, unsupported};
use super::stored;
use super::swagger::{self, BasePath};
use crate::http::{ApiError, Context, Response, reply};
use crate::open_api;
use http::StatusCode;
use lamplight_model::rest_api::{Definition, Resource};
use serde_json::Value;
use std::collections::BTreeMap;

/// ImportRestApi: a new API of a document.
pub async fn import(request: &Request<'_>) -> Result<Response, ApiError> {
    let document = document(request)?;
    let mut api = new_api(String::new(), request.state.now());
    swagger::apply(&mut api, &document, base_path(request.context)?)?;
    if api.name.is_empty() {
        return Err(bad_request("Invalid OpenAPI input: the document has no info.title"));
    }
    if let Some(types) = request.context.parameter("endpointConfigurationTypes") {
        api.endpoint_configuration = endpoint_types(types)?;
    }
    stored::put_api(request.state, request.context, &api).await?;
    Ok(reply::json(StatusCode::CREATED, &shown(&api)?))
}

/// PutRestApi: a document on top of an API, or in the place of all it has. Ids of paths and authorizers stay.
pub async fn put(request: &Request<'_>) -> Result<Response, ApiError> {
    let document = document(request)?;
    let base_path = base_path(request.context)?;
    let overwrites = match request.context.parameter("mode") {
        None | Some("merge") => false,
        Some("overwrite") => true,
        Some(other) => return Err(not_one_of(other, "putRestApiInput.mode", &["merge", "overwrite"])),
    };
    let put = stored::change_api(request.state, request.context, request.label(0), |api| {
        let before = api.definition.clone();
        if overwrites {
            api.definition = Definition {
                // Emptied, not taken away: what is imported again finds its ids.
                resources: before.resources.into_iter().map(without_methods).collect(),
                authorizers: before.authorizers,
                gateway_responses: BTreeMap::new(),
                binary_media_types: Vec::new(),
            };
        }
        swagger::apply(api, &document, base_path)?;
        if overwrites {
            drop_unused(&mut api.definition, &document);
        }
        Ok(api.clone())
    });
    Ok(reply::json(StatusCode::OK, &shown(&put.await?)?))
}

fn without_methods((id, resource): (String, Resource)) -> (String, Resource) {
    (id, Resource { resource_methods: BTreeMap::new(), ..resource })
}

/// Takes away what the document did not bring back: resources without methods on themselves and beneath, authorizers that it
/// does not define.
fn drop_unused(definition: &mut Definition, document: &Value) {
    let used: Vec<String> = definition
        .resources
        .keys()
        .filter(|id| {
            let subtree = definition.subtree(id);
            subtree
                .iter()
                .filter_map(|id| definition.resources.get(id))
                .any(|one| !one.resource_methods.is_empty())
        })
        .cloned()
        .collect();
    definition.resources.retain(|id, resource| resource.parent_id.is_none() || used.contains(id));
    let schemes =
        document.get("securityDefinitions").or_else(|| document.pointer("/components/securitySchemes"));
    definition
        .authorizers
        .retain(|_, authorizer| schemes.is_some_and(|schemes| schemes.get(&authorizer.name).is_some()));
}

/// The document of the body. Fails with `BadRequestException`.
fn document(request: &Request<'_>) -> Result<Value, ApiError> {
    let text = std::str::from_utf8(request.body).map_err(|_| bad_request("Invalid OpenAPI input."))?;
    open_api::read(text).map_err(|error| bad_request(format!("Invalid OpenAPI input: {error}")))
}

/// The parameter `basepath`.
fn base_path(context: &Context) -> Result<BasePath, ApiError> {
    match context.parameter("basepath") {
        None | Some("ignore") => Ok(BasePath::Ignore),
        Some("prepend") => Ok(BasePath::Prepend),
        Some("split") => Err(unsupported("basepath=split")),
        Some(other) => Err(bad_request(format!("Invalid basepath parameter: {other}"))),
    }
}
