//! Management of REST APIs (API Gateway's first version): REST-JSON. One file per resource.
//!
//! Writes the documents of `lamplight_model::rest_api`; the gateway serves them. What would be stored and not done is refused
//! by name, so that nothing that was imported behaves otherwise than it says.
//! Source of fields, absence, codes and texts: the API reference and answers recorded from the service.

mod account;
mod apis;
mod authorizers;
mod deployments;
mod error;
mod export;
mod gateway_responses;
mod import;
mod integrations;
mod keys;
mod methods;
mod operations;
mod patch;
mod resources;
mod responses;
mod stages;
mod stored;
mod swagger;
mod tags;
mod usage_plan_keys;
mod usage_plans;

use crate::http::request::decode_segment;
use crate::http::{ApiError, Context, Response, body, reply};
use crate::lambda::unreadable_body;
use crate::state::ApiState;
use axum::body::Body;
use bytes::Bytes;
use error::bad_request;
use http::StatusCode;
use serde::de::DeserializeOwned;

/// Bound of request bodies, bytes. Source: API Gateway quotas, "Maximum API definition document size", 6 MB.
const REQUEST_BYTES: usize = 6 * 1024 * 1024;
/// The service in signatures and in names of actions.
const SERVICE: &str = "apigateway";

/// Whether a request is for this service: signed for it, or unsigned with a path that only it has. The second version's requests
/// are signed for the same service; their paths begin otherwise.
pub fn is_ours(context: &Context) -> bool {
    match context.signed_service.as_deref() {
        Some(service) => service == SERVICE && !context.path.starts_with("/v2/"),
        None => context.path == "/restapis" || context.path.starts_with("/restapis/"),
    }
}

/// Answers a request.
pub async fn handle(state: &ApiState, context: &Context, body: Body) -> Response {
    let result = match operations::find(&context.method, &context.path, &context.query) {
        // In a box: what these keep while they wait would make room for every request.
        Some(found) => Box::pin(serve(state, context, &found, body)).await,
        None => {
            body::discard(body).await;
            let operation = format!("{} {}", context.method, context.path);
            context
                .authorize(SERVICE, &operation, "*")
                .and_then(|()| Err(ApiError::not_supported(SERVICE, &operation)))
        }
    };
    result.unwrap_or_else(|refused| error::answer(&refused))
}

async fn serve(
    state: &ApiState,
    context: &Context,
    found: &operations::Match<'_>,
    body: Body,
) -> Result<Response, ApiError> {
    if let Err(denied) = context.authorize(SERVICE, found.name, &context.path) {
        body::discard(body).await;
        return Err(denied);
    }
    let body = body::read(body, REQUEST_BYTES).await.map_err(|error| unreadable_body(&error))?;
    let labels: Vec<String> = found.labels.iter().filter_map(|label| decode_segment(label)).collect();
    if labels.len() < found.labels.len() {
        return Err(bad_request("The path is not UTF-8."));
    }
    let request =
        Request { state, context, labels: labels.iter().map(String::as_str).collect(), body: &body };
    match found.name {
        "CreateRestApi" => apis::create(&request).await,
        "GetRestApi" => apis::get(&request).await,
        "GetRestApis" => apis::list(&request).await,
        "UpdateRestApi" => apis::update(&request).await,
        "DeleteRestApi" => apis::delete(&request).await,
        "ImportRestApi" => import::import(&request).await,
        "PutRestApi" => import::put(&request).await,
        "GetExport" => export::get(&request).await,
        "CreateResource" => resources::create(&request).await,
        "GetResource" => resources::get(&request).await,
        "GetResources" => resources::list(&request).await,
        "UpdateResource" => resources::update(&request).await,
        "DeleteResource" => resources::delete(&request).await,
        "PutMethod" => methods::put(&request).await,
        "GetMethod" => methods::get(&request).await,
        "UpdateMethod" => methods::update(&request).await,
        "DeleteMethod" => methods::delete(&request).await,
        "PutIntegration" => integrations::put(&request).await,
        "GetIntegration" => integrations::get(&request).await,
        "UpdateIntegration" => integrations::update(&request).await,
        "DeleteIntegration" => integrations::delete(&request).await,
        "PutMethodResponse" => responses::put_method_response(&request).await,
        "GetMethodResponse" => responses::get_method_response(&request).await,
        "DeleteMethodResponse" => responses::delete_method_response(&request).await,
        "PutIntegrationResponse" => responses::put_integration_response(&request).await,
        "GetIntegrationResponse" => responses::get_integration_response(&request).await,
        "DeleteIntegrationResponse" => responses::delete_integration_response(&request).await,
        "CreateDeployment" => deployments::create(&request).await,
        "GetDeployment" => deployments::get(&request).await,
        "GetDeployments" => deployments::list(&request).await,
        "UpdateDeployment" => deployments::update(&request).await,
        "DeleteDeployment" => deployments::delete(&request).await,
        "CreateStage" => stages::create(&request).await,
        "GetStage" => stages::get(&request).await,
        "GetStages" => stages::list(&request).await,
        "UpdateStage" => stages::update(&request).await,
        "DeleteStage" => stages::delete(&request).await,
        "CreateAuthorizer" => authorizers::create(&request).await,
        "GetAuthorizer" => authorizers::get(&request).await,
        "GetAuthorizers" => authorizers::list(&request).await,
        "UpdateAuthorizer" => authorizers::update(&request).await,
        "DeleteAuthorizer" => authorizers::delete(&request).await,
        "PutGatewayResponse" => gateway_responses::put(&request).await,
        "GetGatewayResponse" => gateway_responses::get(&request).await,
        "GetGatewayResponses" => gateway_responses::list(&request).await,
        "UpdateGatewayResponse" => gateway_responses::update(&request).await,
        "DeleteGatewayResponse" => gateway_responses::delete(&request).await,
        "CreateApiKey" => keys::create(&request).await,
        "GetApiKey" => keys::get(&request).await,
        "GetApiKeys" => keys::list(&request).await,
        "UpdateApiKey" => keys::update(&request).await,
        "DeleteApiKey" => keys::delete(&request).await,
        "CreateUsagePlan" => usage_plans::create(&request).await,
        "GetUsagePlan" => usage_plans::get(&request).await,
        "GetUsagePlans" => usage_plans::list(&request).await,
        "UpdateUsagePlan" => usage_plans::update(&request).await,
        "DeleteUsagePlan" => usage_plans::delete(&request).await,
        "CreateUsagePlanKey" => usage_plan_keys::create(&request).await,
        "GetUsagePlanKey" => usage_plan_keys::get(&request).await,
        "GetUsagePlanKeys" => usage_plan_keys::list(&request).await,
        "DeleteUsagePlanKey" => usage_plan_keys::delete(&request).await,
        "GetTags" => tags::get(&request).await,
        "TagResource" => tags::tag(&request).await,
        "UntagResource" => tags::untag(&request).await,
        "GetAccount" => account::get(&request).await,
        "UpdateAccount" => account::update(&request).await,
        name => Err(ApiError::not_supported(SERVICE, name)),
    }
}

/// One request, as every operation gets it.
struct Request<'a> {
    state: &'a ApiState,
    context: &'a Context,
    /// What stands in the path, decoded, in order.
    labels: Vec<&'a str>,
    body: &'a Bytes,
}

impl<'a> Request<'a> {
    /// The label at a place of the operation's path.
    fn label(&self, at: usize) -> &'a str {
        self.labels.get(at).copied().unwrap_or_default()
    }

    /// The body's members. Fails with `SerializationException`.
    fn members<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        let body: &[u8] = if self.body.is_empty() { b"{}" } else { self.body };
        serde_json::from_slice(body).map_err(|error| ApiError::serialization(error.to_string()))
    }
}

/// The answer of a deletion, which AWS does in its own time.
fn accepted() -> Response {
    reply::empty(StatusCode::ACCEPTED)
}
