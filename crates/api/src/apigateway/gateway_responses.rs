//! Put-, Get-, Update- and DeleteGatewayResponse, GetGatewayResponses.

use super::error::{bad_request, not_found, not_one_of};
use super::patch::{self, Patch};
use super::stored::{self, object, page_of};
use super::{Request, accepted};
use crate::http::{ApiError, Response, reply};
use http::StatusCode;
use lamplight_model::rest_api::{Definition, GATEWAY_RESPONSES, GatewayResponse, RestApi};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// In the order in which AWS tells them.
const TYPES: [&str; 21] = [
    "REQUEST_TOO_LARGE",
    "RESOURCE_NOT_FOUND",
    "AUTHORIZER_CONFIGURATION_ERROR",
    "MISSING_AUTHENTICATION_TOKEN",
    "BAD_REQUEST_BODY",
    "INVALID_SIGNATURE",
    "INVALID_API_KEY",
    "BAD_REQUEST_PARAMETERS",
    "AUTHORIZER_FAILURE",
    "UNAUTHORIZED",
    "INTEGRATION_TIMEOUT",
    "ACCESS_DENIED",
    "DEFAULT_4XX",
    "DEFAULT_5XX",
    "WAF_FILTERED",
    "QUOTA_EXCEEDED",
    "THROTTLED",
    "API_CONFIGURATION_ERROR",
    "UNSUPPORTED_MEDIA_TYPE",
    "INTEGRATION_FAILURE",
    "EXPIRED_TOKEN",
];

/// What is given about one; imports, too.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Given {
    pub status_code: Option<String>,
    pub response_parameters: BTreeMap<String, String>,
    pub response_templates: BTreeMap<String, String>,
}

/// The default of a type. Fails with `ValidationException`.
fn standard(response_type: &str) -> Result<GatewayResponse, ApiError> {
    GatewayResponse::standard(response_type).ok_or_else(|| not_one_of(response_type, "responseType", &TYPES))
}

/// The response that is meant. Fails with `ValidationException` or `BadRequestException`.
pub fn gateway_response(response_type: &str, given: Given) -> Result<GatewayResponse, ApiError> {
    let mut response = standard(response_type)?;
    response.status_code = given.status_code.or(response.status_code);
    response.response_parameters = given.response_parameters;
    if !given.response_templates.is_empty() {
        response.response_templates = given.response_templates;
    }
    check(&response)?;
    Ok(response)
}

fn check(response: &GatewayResponse) -> Result<(), ApiError> {
    if let Some(status) = &response.status_code
        && !status.parse::<u16>().is_ok_and(|status| (100..600).contains(&status))
    {
        return Err(bad_request("Invalid status code specified"));
    }
    if response.response_parameters.keys().any(|name| !name.starts_with("gatewayresponse.header.")) {
        return Err(bad_request("Invalid parameter name specified"));
    }
    if response.response_parameters.values().any(String::is_empty) {
        return Err(bad_request("Invalid null or empty value in responseParameters"));
    }
    Ok(())
}

/// PutGatewayResponse.
pub async fn put(request: &Request<'_>) -> Result<Response, ApiError> {
    let response = gateway_response(request.label(1), request.members()?)?;
    stored::change_api(request.state, request.context, request.label(0), |api| {
        api.definition.gateway_responses.insert(response.response_type.clone(), response.clone());
        Ok(())
    })
    .await?;
    Ok(reply::json(StatusCode::CREATED, &shown(&response, false)?))
}

fn shown(response: &GatewayResponse, is_default: bool) -> Result<Value, ApiError> {
    let mut shown = object(response)?;
    shown.insert("defaultResponse".to_owned(), json!(is_default));
    Ok(Value::Object(shown))
}

/// What an API has of a type, and whether that is the default.
fn of(definition: &Definition, response_type: &str) -> Result<(GatewayResponse, bool), ApiError> {
    match definition.gateway_responses.get(response_type) {
        Some(own) => Ok((own.clone(), false)),
        None => Ok((standard(response_type)?, true)),
    }
}

/// GetGatewayResponse.
pub async fn get(request: &Request<'_>) -> Result<Response, ApiError> {
    standard(request.label(1))?;
    let api = stored::api(request.state, request.context, request.label(0)).await?;
    let (response, is_default) = of(&api.definition, request.label(1))?;
    Ok(reply::json(StatusCode::OK, &shown(&response, is_default)?))
}

/// GetGatewayResponses: all types, those that were never put with their defaults.
pub async fn list(request: &Request<'_>) -> Result<Response, ApiError> {
    let api = stored::api(request.state, request.context, request.label(0)).await?;
    let show = |name: &&str| {
        let (response, is_default) = of(&api.definition, name)?;
        shown(&response, is_default)
    };
    let names: Vec<&str> = GATEWAY_RESPONSES.iter().map(|(name, _)| *name).collect();
    let page = page_of(request.context, "gateway-responses", &names, |name| name, show)?;
    Ok(reply::json(StatusCode::OK, &page))
}

/// UpdateGatewayResponse; one that was never put becomes the API's own.
pub async fn update(request: &Request<'_>) -> Result<Response, ApiError> {
    standard(request.label(1))?;
    let patches = patch::read(request.body, "updateGatewayResponseInput")?;
    let change = |api: &mut RestApi| {
        let (mut response, _) = of(&api.definition, request.label(1))?;
        for patch in &patches {
            apply(&mut response, patch)?;
        }
        check(&response)?;
        api.definition.gateway_responses.insert(response.response_type.clone(), response.clone());
        Ok(response)
    };
    let response = stored::change_api(request.state, request.context, request.label(0), change).await?;
    Ok(reply::json(StatusCode::OK, &shown(&response, false)?))
}

fn apply(response: &mut GatewayResponse, patch: &Patch) -> Result<(), ApiError> {
    if patch.path.is_empty() {
        return Err(bad_request("Invalid patch path null"));
    }
    let segments = patch.segments();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (members, name, list) = match segments.as_slice() {
        ["statusCode"] if patch.op == "replace" => {
            response.status_code = patch.some();
            return Ok(());
        }
        ["responseParameters", name] => (&mut response.response_parameters, *name, "responseParameters"),
        ["responseTemplates", name] => (&mut response.response_templates, *name, "responseTemplates"),
        _ => return Err(patch.invalid_path()),
    };
    match patch.op.as_str() {
        "remove" => {
            members.remove(name).ok_or_else(|| not_found("Invalid parameter name specified"))?;
        }
        "replace" if !members.contains_key(name) => {
            return Err(not_found("Invalid parameter name specified"));
        }
        _ => {
            let value =
                patch.some().ok_or_else(|| bad_request(format!("Invalid null or empty value in {list}")))?;
            members.insert(name.to_owned(), value);
        }
    }
    Ok(())
}

/// DeleteGatewayResponse: back to the default.
pub async fn delete(request: &Request<'_>) -> Result<Response, ApiError> {
    standard(request.label(1))?;
    stored::change_api(request.state, request.context, request.label(0), |api| {
        match api.definition.gateway_responses.remove(request.label(1)) {
            Some(_) => Ok(()),
            None => Err(not_found("Gateway response type not defined on api")),
        }
    })
    .await?;
    Ok(accepted())
}
