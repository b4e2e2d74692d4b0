//! Secrets Manager: secrets with versions that staging labels point to. JSON 1.1.
//!
//! A secret is one sealed document with all its versions. Rotation, replication and KMS are refused by name; resource
//! policies are stored and not evaluated. Functions may what their role's policies allow (`access`).
//!
//! Source: the Secrets Manager API reference, botocore 1.44.5's model, and answers recorded from the service.

mod delete;
mod list;
mod password;
mod policy;
mod read;
mod secret;
mod value;
mod write;

pub use delete::forget_expired;

use crate::http::{ApiError, Context, Members, Response, reply};
use crate::state::ApiState;
use ::http::StatusCode;
use bytes::Bytes;

/// First part of `X-Amz-Target`.
pub const TARGET: &str = "secretsmanager";
/// How the service names the text of an error.
pub const MESSAGE: &str = "Message";

/// Answers one operation.
pub async fn handle(
    state: &ApiState,
    context: &Context,
    operation: &str,
    body: &Bytes,
) -> Result<Response, ApiError> {
    let members = Members::parse(body)?;
    let value = match operation {
        "CreateSecret" => write::create(state, context, &members).await?,
        "PutSecretValue" => write::put_value(state, context, &members).await?,
        "UpdateSecret" => write::update(state, context, &members).await?,
        "UpdateSecretVersionStage" => write::update_stage(state, context, &members).await?,
        "TagResource" => write::tag(state, context, &members).await?,
        "UntagResource" => write::untag(state, context, &members).await?,
        "GetSecretValue" => read::get_value(state, context, &members).await?,
        "BatchGetSecretValue" => read::get_values(state, context, &members).await?,
        "DescribeSecret" => read::describe(state, context, &members).await?,
        "ListSecretVersionIds" => read::version_ids(state, context, &members).await?,
        "ListSecrets" => list::list(state, context, &members).await?,
        "DeleteSecret" => delete::delete(state, context, &members).await?,
        "RestoreSecret" => delete::restore(state, context, &members).await?,
        "GetResourcePolicy" => policy::get(state, context, &members).await?,
        "PutResourcePolicy" => policy::put(state, context, &members).await?,
        "DeleteResourcePolicy" => policy::delete(state, context, &members).await?,
        "GetRandomPassword" => password::get(state, context, &members).await?,
        _ => {
            context.authorize("secretsmanager", operation, "*")?;
            return Err(ApiError::not_supported("secretsmanager", operation));
        }
    };
    Ok(reply::json_1_1(&value))
}

/// One of the service's errors; all have status 400.
fn error(code: &'static str, message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, code, message)
}

fn invalid_parameter(message: impl Into<String>) -> ApiError {
    error("InvalidParameterException", message)
}

fn invalid_request(message: impl Into<String>) -> ApiError {
    error("InvalidRequestException", message)
}

fn not_found(message: impl Into<String>) -> ApiError {
    error("ResourceNotFoundException", message)
}
