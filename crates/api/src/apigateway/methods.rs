//! Put-, Get-, Update- and DeleteMethod.

use super::Request;
use super::error::{bad_request, not_found, unsupported};
use super::patch::{self, Patch};
use super::resources::{api_of, find, missed};
use super::stored::{self, value};
use crate::http::{ApiError, Response, reply};
use http::StatusCode;
use lamplight_model::rest_api::{Definition, METHODS, Method, RestApi};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Given {
    authorization_type: Option<String>,
    authorizer_id: Option<String>,
    api_key_required: Option<bool>,
    operation_name: Option<String>,
    request_parameters: BTreeMap<String, bool>,
    request_models: BTreeMap<String, String>,
    request_validator_id: Option<String>,
    authorization_scopes: Vec<String>,
}

/// `Invalid Method identifier specified`.
pub fn no_method() -> ApiError {
    not_found("Invalid Method identifier specified")
}

/// The method. Fails with `NotFoundException`.
pub fn method<'a>(api: &'a RestApi, resource_id: &str, name: &str) -> Result<&'a Method, ApiError> {
    find(api, resource_id)?.resource_methods.get(name).ok_or_else(no_method)
}

/// The method, to change it. Fails with `NotFoundException`.
pub fn method_mut<'a>(
    api: &'a mut RestApi,
    resource_id: &str,
    name: &str,
) -> Result<&'a mut Method, ApiError> {
    let resource = api.definition.resources.get_mut(resource_id).ok_or_else(super::resources::no_resource)?;
    resource.resource_methods.get_mut(name).ok_or_else(no_method)
}

/// PutMethod.
pub async fn put(request: &Request<'_>) -> Result<Response, ApiError> {
    let given: Given = request.members()?;
    let (resource_id, name) = (request.label(1), request.label(2));
    let put = stored::change_api(request.state, request.context, request.label(0), |api| {
        find(api, resource_id)?;
        check_name(name)?;
        let authorization = given.authorization_type.as_deref().unwrap_or_default();
        check_authorization(&api.definition, authorization, given.authorizer_id.as_deref())?;
        refuse_validator(given.request_validator_id.as_deref())?;
        check_parameters(given.request_parameters.keys())?;
        let method = Method {
            authorizer_id: given.authorizer_id.filter(|_| authorization == "CUSTOM"),
            api_key_required: given.api_key_required.unwrap_or(false),
            operation_name: given.operation_name,
            request_parameters: given.request_parameters,
            request_models: given.request_models,
            authorization_scopes: given.authorization_scopes,
            ..Method::new(name, authorization)
        };
        let resource = api.definition.resources.get_mut(resource_id).ok_or_else(no_method)?;
        if resource.resource_methods.contains_key(name) {
            return Err(super::error::conflict("Method already exists for this resource"));
        }
        resource.resource_methods.insert(name.to_owned(), method.clone());
        Ok(method)
    });
    Ok(reply::json(StatusCode::CREATED, &value(&put.await.map_err(missed)?)?))
}

/// Fails with `BadRequestException` for what is no method.
pub fn check_name(name: &str) -> Result<(), ApiError> {
    match METHODS.contains(&name) {
        true => Ok(()),
        false => {
            Err(bad_request(format!("Invalid HttpMethod specified. Valid options are {}", METHODS.join(","))))
        }
    }
}

/// Fails with `BadRequestException` for a type that is none or not here, and for an authorizer that does not exist.
pub fn check_authorization(
    definition: &Definition,
    authorization: &str,
    authorizer_id: Option<&str>,
) -> Result<(), ApiError> {
    match authorization {
        "NONE" | "AWS_IAM" => Ok(()),
        "CUSTOM" | "COGNITO_USER_POOLS"
            if authorizer_id.is_none_or(|id| !definition.authorizers.contains_key(id)) =>
        {
            Err(bad_request(
                "Invalid authorizer ID specified. Setting the authorization type to CUSTOM or COGNITO_USER_POOLS requires a \
                 valid authorizer.",
            ))
        }
        "CUSTOM" => Ok(()),
        "COGNITO_USER_POOLS" => Err(unsupported("COGNITO_USER_POOLS authorizers")),
        _ => Err(bad_request(
            "Invalid authorization type specified. Valid options are NONE, AWS_IAM, CUSTOM, COGNITO_USER_POOLS",
        )),
    }
}

/// A validator that nobody runs would let everything through.
pub fn refuse_validator(id: Option<&str>) -> Result<(), ApiError> {
    match id {
        None | Some("") => Ok(()),
        // There are no validators, so the identifier is none.
        Some(_) => Err(bad_request("Invalid Request Validator identifier specified")),
    }
}

fn check_parameters<'a>(names: impl Iterator<Item = &'a String>) -> Result<(), ApiError> {
    let mut seen = Vec::new();
    for parameter in names {
        let mut parts = parameter.splitn(4, '.');
        let place = (parts.next(), parts.next(), parts.next());
        let known = matches!(
            place,
            (Some("method"), Some("request"), Some("path" | "header" | "querystring" | "body"))
        );
        let Some(name) = parts.next().filter(|name| known && !name.is_empty()) else {
            return Err(bad_request(format!(
                "Invalid mapping expression specified: Validation Result: warnings : [], errors : [Invalid mapping expression \
                 parameter specified: {parameter}]"
            )));
        };
        if seen.contains(&name) {
            return Err(bad_request("Parameter names must be unique across querystring, header and path"));
        }
        seen.push(name);
    }
    Ok(())
}

/// GetMethod.
pub async fn get(request: &Request<'_>) -> Result<Response, ApiError> {
    let api = api_of(request).await?;
    let method = method(&api, request.label(1), request.label(2))?;
    Ok(reply::json(StatusCode::OK, &value(method)?))
}

/// UpdateMethod.
pub async fn update(request: &Request<'_>) -> Result<Response, ApiError> {
    let patches = patch::read(request.body, "updateMethodInput")?;
    let (resource_id, name) = (request.label(1), request.label(2));
    let changed = stored::change_api(request.state, request.context, request.label(0), |api| {
        let mut changed = method(api, resource_id, name)?.clone();
        for patch in &patches {
            apply(&mut changed, patch)?;
        }
        check_authorization(&api.definition, &changed.authorization_type, changed.authorizer_id.as_deref())?;
        check_parameters(changed.request_parameters.keys())?;
        *method_mut(api, resource_id, name)? = changed.clone();
        Ok(changed)
    });
    Ok(reply::json(StatusCode::OK, &value(&changed.await.map_err(missed)?)?))
}

fn apply(method: &mut Method, patch: &Patch) -> Result<(), ApiError> {
    let segments = patch.segments();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match segments.as_slice() {
        ["authorizationType"] => {
            patch.only_replace()?;
            method.authorization_type = patch.text().to_owned();
            if method.authorization_type != "CUSTOM" {
                method.authorizer_id = None;
            }
        }
        ["authorizerId"] => {
            patch.only_replace()?;
            // Of other types it says nothing, and is not kept.
            if method.authorization_type == "CUSTOM" {
                method.authorizer_id = patch.some();
            }
        }
        ["apiKeyRequired"] => {
            patch.only_replace()?;
            method.api_key_required = patch.text().eq_ignore_ascii_case("true");
        }
        ["operationName"] => {
            patch.only_replace()?;
            method.operation_name = patch.some();
        }
        ["requestValidatorId"] => {
            patch.only_replace()?;
            refuse_validator(patch.value.as_deref())?;
        }
        ["requestParameters", parameter] => match patch.op.as_str() {
            "remove" => {
                method.request_parameters.remove(*parameter);
            }
            _ => {
                let required = patch.text().eq_ignore_ascii_case("true");
                method.request_parameters.insert((*parameter).to_owned(), required);
            }
        },
        ["requestModels", media_type] => match patch.op.as_str() {
            "remove" => {
                method.request_models.remove(*media_type);
            }
            _ => {
                method.request_models.insert((*media_type).to_owned(), patch.text().to_owned());
            }
        },
        _ => return Err(patch.invalid_path()),
    }
    Ok(())
}

/// DeleteMethod.
pub async fn delete(request: &Request<'_>) -> Result<Response, ApiError> {
    let (resource_id, name) = (request.label(1), request.label(2));
    stored::change_api(request.state, request.context, request.label(0), |api| {
        method(api, resource_id, name)?;
        if let Some(resource) = api.definition.resources.get_mut(resource_id) {
            resource.resource_methods.remove(name);
        }
        Ok(())
    })
    .await
    .map_err(missed)?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}
