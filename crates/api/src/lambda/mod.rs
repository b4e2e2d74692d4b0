//! AWS Lambda's API: REST-JSON. One file per resource; `operations` says which request means which operation.
//!
//! Source of fields, absence, codes and texts: the Lambda API reference and answers recorded from the service.

pub mod account;
pub mod aliases;
pub mod capacity;
pub mod code;
pub mod code_signing;
pub mod concurrency;
pub mod configuration;
pub mod configurations;
pub mod durable;
pub mod event_invoke;
pub mod event_sources;
pub mod functions;
pub mod invoke;
pub mod layers;
pub mod operations;
pub mod owned;
pub mod patterns;
pub mod permissions;
pub mod provisioned;
pub mod reference;
pub mod resource_policies;
pub mod runtime_management;
pub mod settings;
pub mod stream;
pub mod tags;
pub mod update;
pub mod urls;
pub mod validation;
pub mod versions;

use crate::http::body::{self, BodyError};
use crate::http::request::decode_segment;
use crate::http::{ApiError, Context, Response, reply};
use crate::state::ApiState;
use axum::body::Body;
use bytes::Bytes;
use http::StatusCode;
use lamplight_model::limits;
use operations::Match;

/// Bound of request bodies that hold no package, bytes.
const SMALL_REQUEST_BYTES: usize = 1024 * 1024;

/// Operations that are served, by who serves them. Everything else in the table is refused by name.
pub const SERVED: &[&[&str]] = &[FUNCTIONS, configurations::SERVED, layers::SERVED, durable::SERVED];
/// Those that are served here.
const FUNCTIONS: &[&str] = &[
    "Invoke",
    "InvokeWithResponseStream",
    "InvokeAsync",
    "CreateFunction",
    "GetFunction",
    "GetFunctionConfiguration",
    "ListFunctions",
    "UpdateFunctionCode",
    "UpdateFunctionConfiguration",
    "DeleteFunction",
    "PublishVersion",
    "ListVersionsByFunction",
    "PutProvisionedConcurrencyConfig",
    "GetProvisionedConcurrencyConfig",
    "ListProvisionedConcurrencyConfigs",
    "DeleteProvisionedConcurrencyConfig",
];

/// Answers a request that matched a row of the operation table.
pub async fn handle(state: &ApiState, context: &Context, found: Match<'_>, body: Body) -> Response {
    let result = match admit(context, &found) {
        Ok(()) => serve(state, context, &found, body).await,
        Err(error) => {
            body::discard(body).await;
            Err(error)
        }
    };
    result.unwrap_or_else(|error| reply::rest_json_error(&error))
}

/// What can be said before the body is read: may the caller, and do we serve it.
fn admit(context: &Context, found: &Match<'_>) -> Result<(), ApiError> {
    let operation = found.operation;
    context.authorize_lazily("lambda", operation.name, || resource(context, found))?;
    let is_served = SERVED.iter().any(|served| served.contains(&operation.name));
    if operation.service != "lambda" || !is_served {
        return Err(ApiError::not_supported(operation.service, operation.name));
    }
    Ok(())
}

/// The resource a request is about, for the text of a denial.
fn resource(context: &Context, found: &Match<'_>) -> String {
    match found.labels.first().and_then(|label| decode_segment(label)) {
        Some(text) if text.starts_with("arn:") => text,
        Some(name) if layers::SERVED.contains(&found.operation.name) => {
            context.scope.arn("lambda", &format!("layer:{name}"))
        }
        Some(name) => context.scope.arn("lambda", &format!("function:{name}")),
        None => "*".to_owned(),
    }
}

async fn serve(
    state: &ApiState,
    context: &Context,
    found: &Match<'_>,
    body: Body,
) -> Result<Response, ApiError> {
    let label = found.labels.first().copied().unwrap_or_default();
    let name = found.operation.name;
    match name {
        "Invoke" => invoke::invoke(state, context, label, body).await,
        _ if configurations::SERVED.contains(&name) => {
            Box::pin(configurations::serve(state, context, &found.labels, name, body)).await
        }
        _ if layers::SERVED.contains(&name) => {
            Box::pin(layers::serve(state, context, &found.labels, name, body)).await
        }
        _ if durable::SERVED.contains(&name) => {
            Box::pin(durable::serve(state, context, &found.labels, name, body)).await
        }
        // In a box: what these keep while they wait would make room for every request.
        _ => Box::pin(serve_rare(state, context, label, name, body)).await,
    }
}

async fn serve_rare(
    state: &ApiState,
    context: &Context,
    label: &str,
    name: &'static str,
    body: Body,
) -> Result<Response, ApiError> {
    match name {
        "CreateFunction" | "UpdateFunctionCode" => {
            // Held until the package is stored: it bounds how many uploads are in memory.
            let _upload = state.uploads.acquire().await;
            let body = read(body, limits::REQUEST_BYTES, name).await?;
            match name {
                "CreateFunction" => functions::create(state, context, &body).await,
                _ => update::code(state, context, label, &body).await,
            }
        }
        "UpdateFunctionConfiguration" => {
            update::configuration(state, context, label, &read(body, SMALL_REQUEST_BYTES, name).await?).await
        }
        "PublishVersion" => {
            versions::publish(state, context, label, &read(body, SMALL_REQUEST_BYTES, name).await?).await
        }
        "InvokeWithResponseStream" => stream::invoke(state, context, label, body).await,
        "InvokeAsync" => invoke::invoke_async(state, context, label, body).await,
        "GetFunction" => functions::get(state, context, label).await,
        "GetFunctionConfiguration" => functions::get_configuration(state, context, label).await,
        "ListFunctions" => functions::list(state, context).await,
        "DeleteFunction" => functions::delete(state, context, label).await,
        "ListVersionsByFunction" => versions::list(state, context, label).await,
        "PutProvisionedConcurrencyConfig" => {
            provisioned::put(state, context, label, &read(body, SMALL_REQUEST_BYTES, name).await?).await
        }
        "GetProvisionedConcurrencyConfig" => provisioned::get(state, context, label).await,
        "ListProvisionedConcurrencyConfigs" => provisioned::list(state, context, label).await,
        "DeleteProvisionedConcurrencyConfig" => provisioned::delete(state, context, label).await,
        _ => Err(ApiError::not_supported("lambda", name)),
    }
}

/// Reads a body. Fails with 413 and AWS's text, or 408 when the client was too slow.
async fn read(body: Body, limit: usize, operation: &str) -> Result<Bytes, ApiError> {
    body::read(body, limit).await.map_err(|error| match error {
        BodyError::TooLarge { .. } => ApiError::entity_too_large(format!(
            "Request must be smaller than {limit} bytes for the {operation} operation"
        )),
        unreadable => unreadable_body(&unreadable),
    })
}

/// The refusal of a body that did not arrive.
pub(crate) fn unreadable_body(error: &BodyError) -> ApiError {
    let status = match error {
        BodyError::Slow => StatusCode::REQUEST_TIMEOUT,
        _ => StatusCode::BAD_REQUEST,
    };
    ApiError::new(
        status,
        "InvalidRequestContentException",
        format!("Could not read the request body: {error}."),
    )
}
