//! Create-, Get-, Update- and DeleteResource, GetResources.

use super::error::{bad_request, conflict, not_found};
use super::patch;
use super::stored::{self, ID_LENGTH, new_id, object, page_of};
use super::{Request, accepted};
use crate::http::{ApiError, Response, reply};
use http::StatusCode;
use lamplight_model::rest_api::{Definition, Resource, RestApi, is_greedy, is_variable};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Most resources of an API. Source: API Gateway quotas, "Resources per API".
pub const RESOURCES: usize = 300;

/// `Invalid Resource identifier specified`.
pub fn no_resource() -> ApiError {
    not_found("Invalid Resource identifier specified")
}

/// CreateResource.
pub async fn create(request: &Request<'_>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Given {
        path_part: Option<String>,
    }
    let given: Given = request.members()?;
    let path_part = given.path_part.unwrap_or_default();
    let resource = stored::change_api(request.state, request.context, request.label(0), |api| {
        let id = add(&mut api.definition, request.label(1), &path_part)?;
        api.definition.resources.get(&id).cloned().ok_or_else(no_resource)
    })
    .await?;
    Ok(reply::json(StatusCode::CREATED, &shown(&resource, false)?))
}

/// Adds a resource; gives its id. Fails as `check_part`, and with `NotFoundException` when there is no such parent.
pub fn add(definition: &mut Definition, parent_id: &str, path_part: &str) -> Result<String, ApiError> {
    check_part(definition, parent_id, path_part, None)?;
    if definition.resources.len() >= RESOURCES {
        let message =
            format!("Maximum number of resources for this API has been reached. Limit: {RESOURCES}");
        return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "LimitExceededException", message));
    }
    let id = new_id(ID_LENGTH);
    definition.resources.insert(
        id.clone(),
        Resource {
            id: id.clone(),
            parent_id: Some(parent_id.to_owned()),
            path_part: Some(path_part.to_owned()),
            path: String::new(),
            resource_methods: BTreeMap::new(),
        },
    );
    definition.rewrite_paths(&id);
    Ok(id)
}

/// Whether a part may stand beneath a parent; `own` is the resource that is moved there.
fn check_part(
    definition: &Definition,
    parent_id: &str,
    path_part: &str,
    own: Option<&str>,
) -> Result<(), ApiError> {
    let parent = definition.resources.get(parent_id).ok_or_else(no_resource)?;
    let name = path_part.trim_start_matches('{').trim_end_matches('}').trim_end_matches('+');
    let is_text =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte));
    let is_part = match is_variable(path_part) {
        true => !name.is_empty() && is_text(name),
        false => !path_part.is_empty() && is_text(path_part),
    };
    if !is_part {
        return Err(bad_request(
            "Resource's path part only allow a-zA-Z0-9._-: or a valid greedy path variable and curly braces at the beginning \
             and the end.",
        ));
    }
    if let Some(greedy) = parent.path_part.as_deref().filter(|part| is_greedy(part)) {
        return Err(bad_request(format!(
            "Cannot create a child of a resource with a greedy path variable: {greedy}"
        )));
    }
    let siblings = definition.resources.values();
    let siblings =
        siblings.filter(|one| one.parent_id.as_deref() == Some(parent_id) && Some(one.id.as_str()) != own);
    for part in siblings.filter_map(|sibling| sibling.path_part.as_deref()) {
        if part == path_part {
            return Err(conflict(format!(
                "Another resource with the same parent already has this name: {path_part}"
            )));
        }
        // A greedy and a plain variable may stand beside each other only on AWS's newer endpoints; it is refused as recorded.
        if is_variable(part) && is_variable(path_part) {
            return Err(bad_request(format!(
                "A sibling ({part}) of this resource already has a variable path part -- only one is allowed"
            )));
        }
    }
    Ok(())
}

/// A resource as a client reads it. Methods are told by name only, unless they are asked for.
fn shown(resource: &Resource, with_methods: bool) -> Result<Value, ApiError> {
    let mut shown = object(resource)?;
    if !with_methods && !resource.resource_methods.is_empty() {
        let names = resource.resource_methods.keys().map(|name| (name.clone(), json!({}))).collect();
        shown.insert("resourceMethods".to_owned(), Value::Object(names));
    }
    Ok(Value::Object(shown))
}

fn wants_methods(request: &Request<'_>) -> bool {
    request.context.query.iter().any(|(key, value)| key == "embed" && value == "methods")
}

/// The resource. Fails with `NotFoundException`.
pub fn find<'a>(api: &'a RestApi, id: &str) -> Result<&'a Resource, ApiError> {
    api.definition.resources.get(id).ok_or_else(no_resource)
}

/// The API of a resource: where that does not exist, it is the resource that is missed.
pub async fn api_of(request: &Request<'_>) -> Result<RestApi, ApiError> {
    stored::api(request.state, request.context, request.label(0)).await.map_err(missed)
}

/// See `api_of`.
pub fn missed(error: ApiError) -> ApiError {
    if error.message.starts_with("Invalid API identifier") { no_resource() } else { error }
}

/// GetResource.
pub async fn get(request: &Request<'_>) -> Result<Response, ApiError> {
    let api = api_of(request).await?;
    let resource = find(&api, request.label(1))?;
    Ok(reply::json(StatusCode::OK, &shown(resource, wants_methods(request))?))
}

/// GetResources.
pub async fn list(request: &Request<'_>) -> Result<Response, ApiError> {
    let api = stored::api(request.state, request.context, request.label(0)).await?;
    let with_methods = wants_methods(request);
    let resources = api.definition.by_path();
    let page = page_of(
        request.context,
        "resources",
        &resources,
        |one| &one.path,
        |resource| shown(resource, with_methods),
    )?;
    Ok(reply::json(StatusCode::OK, &page))
}

/// UpdateResource.
pub async fn update(request: &Request<'_>) -> Result<Response, ApiError> {
    let patches = patch::read(request.body, "updateResourceInput")?;
    let id = request.label(1);
    let change = stored::change_api(request.state, request.context, request.label(0), |api| {
        let resource = find(api, id)?;
        let (Some(mut parent), Some(mut part)) = (resource.parent_id.clone(), resource.path_part.clone())
        else {
            return Err(bad_request("Cannot update the root resource"));
        };
        for patch in &patches {
            match (patch.op.as_str(), patch.path.as_str()) {
                ("replace", "/parentId") => parent = patch.text().to_owned(),
                ("replace", "/pathPart") => part = patch.text().to_owned(),
                _ => return Err(patch.not_among("/parentId, /pathPart")),
            }
        }
        find(api, &parent)?;
        if api.definition.subtree(id).contains(&parent) {
            return Err(bad_request("Resources cannot be cyclical."));
        }
        check_part(&api.definition, &parent, &part, Some(id))?;
        if let Some(resource) = api.definition.resources.get_mut(id) {
            resource.parent_id = Some(parent);
            resource.path_part = Some(part);
        }
        api.definition.rewrite_paths(id);
        find(api, id).cloned()
    });
    Ok(reply::json(StatusCode::OK, &shown(&change.await.map_err(missed)?, false)?))
}

/// DeleteResource, with all beneath it.
pub async fn delete(request: &Request<'_>) -> Result<Response, ApiError> {
    let id = request.label(1);
    stored::change_api(request.state, request.context, request.label(0), |api| {
        if find(api, id)?.parent_id.is_none() {
            return Err(bad_request("Cannot delete the root resource"));
        }
        for id in api.definition.subtree(id) {
            api.definition.resources.remove(&id);
        }
        Ok(())
    })
    .await
    .map_err(missed)?;
    Ok(accepted())
}
