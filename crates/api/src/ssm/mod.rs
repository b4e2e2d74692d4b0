//! Systems Manager's parameter store: configuration by name and path, with versions. JSON 1.1.
//!
//! Kept in the metadata store as sealed documents, `SecureString` and plain ones alike. There is no KMS: without
//! `WithDecryption` a `SecureString` comes as an opaque text that nothing decrypts. Labels, policies (expiration) and sharing
//! are refused by name. Functions may what their role's policies allow (`access`).
//!
//! Source: the Systems Manager API reference and botocore 1.44.5's model; texts as the service was seen to write them.

mod filter;
mod list;
mod parameter;
mod put;
mod read;
mod tags;

use crate::http::{ApiError, Context, Members, Response, reply};
use crate::state::ApiState;
use ::http::StatusCode;
use bytes::Bytes;

/// First part of `X-Amz-Target`.
pub const TARGET: &str = "AmazonSSM";

/// Answers one operation.
pub async fn handle(
    state: &ApiState,
    context: &Context,
    operation: &str,
    body: &Bytes,
) -> Result<Response, ApiError> {
    let members = Members::parse(body)?;
    let value = match operation {
        "GetParameter" => read::get(state, context, &members).await?,
        "GetParameters" => read::get_many(state, context, &members).await?,
        "GetParameterHistory" => read::history(state, context, &members).await?,
        "GetParametersByPath" => list::by_path(state, context, &members).await?,
        "DescribeParameters" => list::describe(state, context, &members).await?,
        "PutParameter" => put::put(state, context, &members).await?,
        "DeleteParameter" => read::delete(state, context, &members).await?,
        "DeleteParameters" => read::delete_many(state, context, &members).await?,
        "AddTagsToResource" => tags::add(state, context, &members).await?,
        "RemoveTagsFromResource" => tags::remove(state, context, &members).await?,
        "ListTagsForResource" => tags::list(state, context, &members).await?,
        _ => {
            context.authorize("ssm", operation, "*")?;
            return Err(ApiError::not_supported("ssm", operation));
        }
    };
    Ok(reply::json_1_1(&value))
}

/// One of the service's errors; all have status 400.
fn error(code: &'static str, message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, code, message)
}

/// `ValidationException` in the service's own words, where no shape of the model is broken.
fn invalid(message: impl Into<String>) -> ApiError {
    error("ValidationException", message)
}
