//! Method responses and integration responses: what a method declares, and how a mock's answer becomes that.

use super::Request;
use super::error::{bad_request, conflict, not_found, unsupported};
use super::integrations::{no_integration, of_method};
use super::methods::{method, method_mut};
use super::resources::{api_of, missed};
use super::stored::{self, value};
use crate::http::{ApiError, Response, reply};
use http::StatusCode;
use lamplight_model::rest_api::{
    Integration, IntegrationKind, IntegrationResponse, Method, MethodResponse, Source, static_text,
};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Beginning of the names of headers in answers.
const HEADER: &str = "method.response.header.";

fn no_response() -> ApiError {
    not_found("Invalid Response status code specified")
}

fn check_status(status: &str) -> Result<(), ApiError> {
    let is_status = status.len() == 3
        && status.starts_with(['1', '2', '3', '4', '5'])
        && status.bytes().all(|byte| byte.is_ascii_digit());
    match is_status {
        true => Ok(()),
        false => Err(bad_request(
            "Invalid status code specified. Valid status codes are three digits from 100 to 599",
        )),
    }
}

/// PutMethodResponse.
pub async fn put_method_response(request: &Request<'_>) -> Result<Response, ApiError> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Given {
        response_parameters: BTreeMap<String, bool>,
        response_models: BTreeMap<String, String>,
    }
    let given: Given = request.members()?;
    let (resource_id, name, status) = (request.label(1), request.label(2), request.label(3));
    let put = stored::change_api(request.state, request.context, request.label(0), |api| {
        let method = method_mut(api, resource_id, name)?;
        check_status(status)?;
        if method.method_responses.contains_key(status) {
            return Err(conflict("Response already exists for this resource"));
        }
        let response = MethodResponse {
            status_code: status.to_owned(),
            response_parameters: given.response_parameters,
            response_models: given.response_models,
        };
        method.method_responses.insert(status.to_owned(), response.clone());
        Ok(response)
    });
    Ok(reply::json(StatusCode::CREATED, &value(&put.await.map_err(missed)?)?))
}

/// GetMethodResponse.
pub async fn get_method_response(request: &Request<'_>) -> Result<Response, ApiError> {
    let api = api_of(request).await?;
    let method = method(&api, request.label(1), request.label(2))?;
    let response = method.method_responses.get(request.label(3)).ok_or_else(no_response)?;
    Ok(reply::json(StatusCode::OK, &value(response)?))
}

/// DeleteMethodResponse.
pub async fn delete_method_response(request: &Request<'_>) -> Result<Response, ApiError> {
    let (resource_id, name, status) = (request.label(1), request.label(2), request.label(3));
    stored::change_api(request.state, request.context, request.label(0), |api| {
        method_mut(api, resource_id, name)?.method_responses.remove(status).map(drop).ok_or_else(no_response)
    })
    .await
    .map_err(missed)?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// PutIntegrationResponse, in the place of what is there.
pub async fn put_integration_response(request: &Request<'_>) -> Result<Response, ApiError> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Given {
        selection_pattern: Option<String>,
        response_parameters: BTreeMap<String, String>,
        response_templates: BTreeMap<String, Option<String>>,
        content_handling: Option<String>,
    }
    let given: Given = request.members()?;
    let (resource_id, name, status) = (request.label(1), request.label(2), request.label(3));
    let put = stored::change_api(request.state, request.context, request.label(0), |api| {
        let method = method_mut(api, resource_id, name)?;
        check_status(status)?;
        let response = IntegrationResponse {
            status_code: status.to_owned(),
            selection_pattern: given.selection_pattern,
            response_parameters: given.response_parameters,
            response_templates: given.response_templates,
            content_handling: given.content_handling,
        };
        let kind = of_method(method)?.kind;
        check_response(kind, &response)?;
        check_declared(method, &response)?;
        let integration = method.method_integration.as_mut().ok_or_else(no_integration)?;
        integration.integration_responses.insert(status.to_owned(), response.clone());
        Ok(response)
    });
    Ok(reply::json(StatusCode::CREATED, &value(&put.await.map_err(missed)?)?))
}

/// Whether a response can be given: headers of mocks are static, those of back ends may be taken from their answer; bodies are plain
/// text. Of proxies they are not used.
pub fn check_response(kind: IntegrationKind, response: &IntegrationResponse) -> Result<(), ApiError> {
    if matches!(kind, IntegrationKind::AwsProxy | IntegrationKind::HttpProxy) {
        return Ok(());
    }
    let is_mock = kind == IntegrationKind::Mock;
    check_status(&response.status_code)?;
    for (name, value) in &response.response_parameters {
        let is_given = static_text(value).is_some() || (!is_mock && is_source(value));
        if !name.starts_with(HEADER) || !is_given {
            let takes = match is_mock {
                true => "a MOCK integration (it takes headers with static values: 'text')",
                false => {
                    "a HTTP integration (it takes headers with static values or integration.response.header.<name>)"
                }
            };
            return Err(unsupported(&format!("the response parameter {name} of {takes}")));
        }
    }
    for (media_type, template) in &response.response_templates {
        if template.as_deref().is_some_and(|template| template.contains(['$', '#'])) {
            return Err(bad_request(format!(
                "Lamplight does not run mapping templates (VTL): the response template of an integration for {media_type} must \
                 be plain text, without $ and #."
            )));
        }
    }
    if let Some(pattern) = &response.selection_pattern
        && regex::Regex::new(pattern).is_err()
    {
        return Err(bad_request("Invalid selection pattern specified"));
    }
    Ok(())
}

/// Whether a header of a response can be taken from there.
fn is_source(value: &str) -> bool {
    let of_answer = ["integration.response.header.", "integration.response.multivalueheader."];
    of_answer.iter().any(|prefix| value.strip_prefix(prefix).is_some_and(|name| !name.is_empty()))
        || matches!(Source::parse(value), Some(Source::Context(_) | Source::StageVariable(_)))
}

/// Headers must be declared by the method response of the same status.
fn check_declared(method: &Method, response: &IntegrationResponse) -> Result<(), ApiError> {
    if response.response_parameters.is_empty() {
        return Ok(());
    }
    let invalid = |error: String| {
        bad_request(format!(
            "Invalid mapping expression specified: Validation Result: warnings : [], errors : [{error}]"
        ))
    };
    let declared = method
        .method_responses
        .get(&response.status_code)
        .ok_or_else(|| invalid("No method response exists for method.".to_owned()))?;
    match response.response_parameters.keys().find(|name| !declared.response_parameters.contains_key(*name)) {
        None => Ok(()),
        Some(name) => Err(invalid(format!("Invalid mapping expression parameter specified: {name}"))),
    }
}

fn response_of<'a>(integration: &'a Integration, status: &str) -> Result<&'a IntegrationResponse, ApiError> {
    integration.integration_responses.get(status).ok_or_else(no_response)
}

/// GetIntegrationResponse.
pub async fn get_integration_response(request: &Request<'_>) -> Result<Response, ApiError> {
    let api = api_of(request).await?;
    let integration = of_method(method(&api, request.label(1), request.label(2))?)?;
    Ok(reply::json(StatusCode::OK, &value(response_of(integration, request.label(3))?)?))
}

/// DeleteIntegrationResponse.
pub async fn delete_integration_response(request: &Request<'_>) -> Result<Response, ApiError> {
    let (resource_id, name, status) = (request.label(1), request.label(2), request.label(3));
    stored::change_api(request.state, request.context, request.label(0), |api| {
        let method = method_mut(api, resource_id, name)?;
        let integration = method.method_integration.as_mut().ok_or_else(no_integration)?;
        integration.integration_responses.remove(status).map(drop).ok_or_else(no_response)
    })
    .await
    .map_err(missed)?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}
