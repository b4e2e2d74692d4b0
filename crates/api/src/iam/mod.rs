//! IAM: roles as stored records, so that tools which make a role before a function work. Query protocol.
//!
//! Nothing is enforced by a role in this release; `model::identity` decides what a function may do.

mod document;
mod policies;
mod roles;

pub use roles::Role;

use crate::http::{ApiError, Context, Response, reply};
use crate::state::ApiState;
use ::http::StatusCode;
use tokio::sync::Mutex;

/// API version in requests.
pub const VERSION: &str = "2010-05-08";
/// XML namespace of answers.
pub const NAMESPACE: &str = "https://iam.amazonaws.com/doc/2010-05-08/";

/// Held while a role is read, changed and written back: one role is one document.
#[derive(Debug, Default)]
pub struct RoleWrites(Mutex<()>);

/// The parameters of a query request, in order.
#[derive(Debug)]
pub struct Parameters(pub Vec<(String, String)>);

impl Parameters {
    /// The first value under a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A value that must be there. Fails with `ValidationError`.
    pub fn required(&self, name: &str) -> Result<&str, ApiError> {
        self.get(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            let mut path = name.to_owned();
            if let Some(first) = path.get_mut(..1) {
                first.make_ascii_lowercase();
            }
            invalid(format!(
                "1 validation error detected: Value null at '{path}' failed to satisfy constraint: Member must \
                 not be null"
            ))
        })
    }
}

/// Answers one operation.
pub async fn handle(
    state: &ApiState,
    context: &Context,
    action: &str,
    parameters: &Parameters,
) -> Result<Response, ApiError> {
    let resource = match parameters.get("RoleName") {
        Some(name) => format!("arn:aws:iam::{}:role/{name}", context.scope.account.as_str()),
        None => "*".to_owned(),
    };
    context.authorize("iam", action, &resource)?;
    // Writers of roles stand in line; readers do not.
    let result = match action {
        "GetRole" => Some(roles::get(state, context, parameters).await?),
        "ListRoles" => Some(roles::list(state, context, parameters).await?),
        "ListRoleTags" => Some(roles::list_tags(state, context, parameters).await?),
        "ListInstanceProfilesForRole" => Some(roles::instance_profiles(state, context, parameters).await?),
        "GetRolePolicy" => Some(policies::get(state, context, parameters).await?),
        "ListRolePolicies" => Some(policies::list(state, context, parameters).await?),
        "ListAttachedRolePolicies" => Some(policies::list_attached(state, context, parameters).await?),
        writer => {
            let _turn = state.role_writes.0.lock().await;
            match writer {
                "CreateRole" => Some(roles::create(state, context, parameters).await?),
                "DeleteRole" => roles::delete(state, context, parameters).await?,
                "UpdateRole" => Some(roles::update(state, context, parameters).await?),
                "UpdateAssumeRolePolicy" => roles::update_trust(state, context, parameters).await?,
                "TagRole" => roles::tag(state, context, parameters).await?,
                "UntagRole" => roles::untag(state, context, parameters).await?,
                "PutRolePolicy" => policies::put(state, context, parameters).await?,
                "DeleteRolePolicy" => policies::delete(state, context, parameters).await?,
                "AttachRolePolicy" => policies::attach(state, context, parameters).await?,
                "DetachRolePolicy" => policies::detach(state, context, parameters).await?,
                other => return Err(ApiError::not_supported("iam", other)),
            }
        }
    };
    Ok(reply::query_xml(NAMESPACE, action, result.as_deref(), context.request_id))
}

/// 400 `ValidationError`.
fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "ValidationError", message)
}

/// 404 `NoSuchEntity`.
fn no_such_entity(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "NoSuchEntity", message)
}
