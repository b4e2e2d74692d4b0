//! Management of HTTP APIs (API Gateway version 2): APIs, routes, integrations, stages, deployments, authorizers, custom
//! domains, tags, and import of OpenAPI documents. REST-JSON beneath `/v2/`; serving them is `gateway`'s.
//!
//! Every change is made under `configuration_writes` to one document (`model::http_api::HttpApi`). WebSocket APIs, VPC
//! links, models, route and integration responses, portals and routing rules are refused by name.

mod apis;
mod authorizers;
mod deployments;
mod domains;
mod import;
mod input;
mod integrations;
mod routes;
mod stages;
mod stored;
mod tags;

use crate::http::request::decode_segment;
use crate::http::{ApiError, Context, Members, Response, body, reply};
use crate::lambda;
use crate::state::ApiState;
use ::http::StatusCode;
use axum::body::Body;
use serde_json::{Value, json};

/// Beginning of every path.
const PREFIX: &str = "/v2/";
/// Bound of a request's body, bytes. Source: quota "Maximum size of an imported OpenAPI document" (6 MB), as a JSON text.
const REQUEST_BYTES: usize = 12 * 1024 * 1024;
/// What is there on AWS and not here, by the first segments that tell it.
const NOT_SERVED: [&str; 3] = ["vpclinks", "portals", "portalproducts"];

/// Whether a path is one of these operations.
pub fn is_ours(path: &str) -> bool {
    path.starts_with(PREFIX)
}

/// Answers a request beneath `/v2/`.
pub async fn handle(state: &ApiState, context: &Context, body: Body) -> Response {
    let result = match body::read(body, REQUEST_BYTES).await {
        Ok(body) => operate(state, context, &body).await,
        Err(error) => Err(lambda::unreadable_body(&error)),
    };
    result.unwrap_or_else(|error| error_answer(&error))
}

async fn operate(state: &ApiState, context: &Context, body: &[u8]) -> Result<Response, ApiError> {
    let path = context.path.strip_prefix(PREFIX).unwrap_or_default();
    let segments: Option<Vec<String>> = path.split('/').map(decode_segment).collect();
    let segments = segments.ok_or_else(|| bad_request("The path holds what is not UTF-8."))?;
    let mut segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    if segments.len() > 1 && segments.last() == Some(&"") {
        segments.pop();
    }
    // The actions of API Gateway's policies are methods. Source: "Actions, resources, and condition keys for API Gateway".
    let resource = || format!("arn:aws:apigateway:{}::/{path}", context.scope.region.as_str());
    context.authorize_lazily("apigateway", context.method.as_str(), resource)?;
    let members = || Members::parse(body);
    match (context.method.as_str(), segments.as_slice()) {
        ("POST", ["apis"]) => apis::create(state, context, &members()?).await,
        ("PUT", ["apis"]) => import::import(state, context, &members()?).await,
        ("GET", ["apis"]) => apis::list(state, context).await,
        ("GET", ["apis", api]) => apis::get(state, context, api).await,
        ("PATCH", ["apis", api]) => apis::update(state, context, api, &members()?).await,
        ("PUT", ["apis", api]) => import::reimport(state, context, api, &members()?).await,
        ("DELETE", ["apis", api]) => apis::delete(state, context, api).await,
        ("DELETE", ["apis", api, "cors"]) => apis::delete_cors(state, context, api).await,
        ("POST", ["apis", api, "routes"]) => routes::create(state, context, api, &members()?).await,
        ("GET", ["apis", api, "routes"]) => routes::list(state, context, api).await,
        ("GET", ["apis", api, "routes", id]) => routes::get(state, context, api, id).await,
        ("PATCH", ["apis", api, "routes", id]) => routes::update(state, context, api, id, &members()?).await,
        ("DELETE", ["apis", api, "routes", id]) => routes::delete(state, context, api, id).await,
        ("POST", ["apis", api, "integrations"]) => {
            integrations::create(state, context, api, &members()?).await
        }
        ("GET", ["apis", api, "integrations"]) => integrations::list(state, context, api).await,
        ("GET", ["apis", api, "integrations", id]) => integrations::get(state, context, api, id).await,
        ("PATCH", ["apis", api, "integrations", id]) => {
            integrations::update(state, context, api, id, &members()?).await
        }
        ("DELETE", ["apis", api, "integrations", id]) => integrations::delete(state, context, api, id).await,
        ("POST", ["apis", api, "authorizers"]) => authorizers::create(state, context, api, &members()?).await,
        ("GET", ["apis", api, "authorizers"]) => authorizers::list(state, context, api).await,
        ("GET", ["apis", api, "authorizers", id]) => authorizers::get(state, context, api, id).await,
        ("PATCH", ["apis", api, "authorizers", id]) => {
            authorizers::update(state, context, api, id, &members()?).await
        }
        ("DELETE", ["apis", api, "authorizers", id]) => authorizers::delete(state, context, api, id).await,
        ("POST", ["apis", api, "stages"]) => stages::create(state, context, api, &members()?).await,
        ("GET", ["apis", api, "stages"]) => stages::list(state, context, api).await,
        ("GET", ["apis", api, "stages", name]) => stages::get(state, context, api, name).await,
        ("PATCH", ["apis", api, "stages", name]) => {
            stages::update(state, context, api, name, &members()?).await
        }
        ("DELETE", ["apis", api, "stages", name]) => stages::delete(state, context, api, name).await,
        ("DELETE", ["apis", api, "stages", name, "accesslogsettings"]) => {
            stages::delete_access_log_settings(state, context, api, name).await
        }
        ("DELETE", ["apis", api, "stages", name, "routesettings", key]) => {
            stages::delete_route_settings(state, context, api, name, key).await
        }
        ("POST", ["apis", api, "deployments"]) => deployments::create(state, context, api, &members()?).await,
        ("GET", ["apis", api, "deployments"]) => deployments::list(state, context, api).await,
        ("GET", ["apis", api, "deployments", id]) => deployments::get(state, context, api, id).await,
        ("PATCH", ["apis", api, "deployments", id]) => {
            deployments::update(state, context, api, id, &members()?).await
        }
        ("DELETE", ["apis", api, "deployments", id]) => deployments::delete(state, context, api, id).await,
        ("POST", ["domainnames"]) => domains::create(state, context, &members()?).await,
        ("GET", ["domainnames"]) => domains::list(state, context).await,
        ("GET", ["domainnames", name]) => domains::get(state, context, name).await,
        ("PATCH", ["domainnames", name]) => domains::update(state, context, name, &members()?).await,
        ("DELETE", ["domainnames", name]) => domains::delete(state, context, name).await,
        ("POST", ["domainnames", name, "apimappings"]) => {
            domains::create_mapping(state, context, name, &members()?).await
        }
        ("GET", ["domainnames", name, "apimappings"]) => domains::list_mappings(state, context, name).await,
        ("GET", ["domainnames", name, "apimappings", id]) => {
            domains::get_mapping(state, context, name, id).await
        }
        ("PATCH", ["domainnames", name, "apimappings", id]) => {
            domains::update_mapping(state, context, name, id, &members()?).await
        }
        ("DELETE", ["domainnames", name, "apimappings", id]) => {
            domains::delete_mapping(state, context, name, id).await
        }
        ("GET", ["tags", arn]) => tags::get(state, context, arn).await,
        ("POST", ["tags", arn]) => tags::tag(state, context, arn, &members()?).await,
        ("DELETE", ["tags", arn]) => tags::untag(state, context, arn).await,
        (method, segments) => Err(refused(method, segments)),
    }
}

/// An operation of API Gateway that is not here, by the name of its resource, or none at all.
fn refused(method: &str, segments: &[&str]) -> ApiError {
    let what = match segments {
        [first, ..] if NOT_SERVED.contains(first) => *first,
        ["domainnames", _, "routingrules", ..] => "routingrules",
        ["apis", _, kind @ ("models" | "exports"), ..] => kind,
        ["apis", _, "integrations", _, kind @ "integrationresponses", ..]
        | ["apis", _, "routes", _, kind @ ("routeresponses" | "requestparameters"), ..] => kind,
        ["apis", _, "stages", _, "cache", "authorizers"] => "cache/authorizers",
        _ => {
            return ApiError::new(
                StatusCode::NOT_FOUND,
                "UnknownOperationException",
                format!("API Gateway has no operation '{method} {PREFIX}{}'.", segments.join("/")),
            );
        }
    };
    ApiError::not_supported("apigatewayv2", &format!("{method} {what}"))
}

/// 400 `BadRequestException`.
fn bad_request(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "BadRequestException", message)
}

/// 404 `NotFoundException`.
fn not_found(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "NotFoundException", message)
}

/// 409 `ConflictException`.
fn conflict(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::CONFLICT, "ConflictException", message)
}

/// An error in the names of this service: those of shared parts are Lambda's.
fn error_answer(error: &ApiError) -> Response {
    let code = match error.code.as_ref() {
        "ResourceNotFoundException" => "NotFoundException",
        "ResourceConflictException" => "ConflictException",
        "SerializationException" | "InvalidRequestContentException" | "ValidationException" => {
            "BadRequestException"
        }
        other => other,
    };
    let mut answer = reply::json(error.status, &json!({ "message": error.message }));
    if let Ok(value) = code.parse() {
        answer.headers_mut().insert(reply::ERROR_TYPE, value);
    }
    answer
}

fn ok(value: &Value) -> Response {
    reply::json(StatusCode::OK, value)
}

fn created(value: &Value) -> Response {
    reply::json(StatusCode::CREATED, value)
}

fn deleted() -> Response {
    reply::empty(StatusCode::NO_CONTENT)
}
