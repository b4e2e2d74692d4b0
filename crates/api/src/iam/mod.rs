//! IAM: roles and managed policies as stored records, so that tools which make a role before a function work. Query protocol.
//!
//! A role's policies decide what its functions may do with parameters and secrets (`access`); everything else is decided by
//! `model::identity` in this release. Trust policies, boundaries and conditions are not evaluated.

pub mod document;
mod managed;
mod policies;
mod roles;

pub use roles::{Role, find as find_role};

use crate::http::{ApiError, Context, Response, reply};
use crate::state::ApiState;
use ::http::StatusCode;
use tokio::sync::Mutex;

/// API version in requests.
pub const VERSION: &str = "2010-05-08";
/// XML namespace of answers.
pub const NAMESPACE: &str = "https://iam.amazonaws.com/doc/2010-05-08/";

/// Held while a role or policy is read, changed and written back: each is one document.
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
    let resource = match (parameters.get("RoleName"), parameters.get("PolicyArn")) {
        (Some(name), _) => format!("arn:aws:iam::{}:role/{name}", context.scope.account.as_str()),
        (None, Some(arn)) => arn.to_owned(),
        (None, None) => "*".to_owned(),
    };
    context.authorize("iam", action, &resource)?;
    // Writers of roles and policies stand in line; readers do not.
    let result = match action {
        "GetRole" => Some(roles::get(state, context, parameters).await?),
        "ListRoles" => Some(roles::list(state, context, parameters).await?),
        "ListRoleTags" => Some(roles::list_tags(state, context, parameters).await?),
        "ListInstanceProfilesForRole" => Some(roles::instance_profiles(state, context, parameters).await?),
        "GetRolePolicy" => Some(policies::get(state, context, parameters).await?),
        "ListRolePolicies" => Some(policies::list(state, context, parameters).await?),
        "ListAttachedRolePolicies" => Some(policies::list_attached(state, context, parameters).await?),
        "GetPolicy" => Some(managed::get(state, context, parameters).await?),
        "GetPolicyVersion" => Some(managed::get_version(state, context, parameters).await?),
        "ListPolicies" => Some(managed::list(state, context, parameters).await?),
        "ListPolicyVersions" => Some(managed::list_versions(state, context, parameters).await?),
        "ListPolicyTags" => Some(managed::list_tags(state, context, parameters).await?),
        "ListEntitiesForPolicy" => Some(managed::list_entities(state, context, parameters).await?),
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
                "UpdateRoleDescription" => Some(roles::update_description(state, context, parameters).await?),
                "CreatePolicy" => Some(managed::create(state, context, parameters).await?),
                "DeletePolicy" => managed::delete(state, context, parameters).await?,
                "CreatePolicyVersion" => Some(managed::create_version(state, context, parameters).await?),
                "DeletePolicyVersion" => managed::delete_version(state, context, parameters).await?,
                "SetDefaultPolicyVersion" => managed::set_default(state, context, parameters).await?,
                "TagPolicy" => managed::tag(state, context, parameters).await?,
                "UntagPolicy" => managed::untag(state, context, parameters).await?,
                other => return Err(ApiError::not_supported("iam", other)),
            }
        }
    };
    Ok(reply::query_xml(NAMESPACE, action, result.as_deref(), context.request_id))
}

/// 400 `ValidationError`.
pub fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "ValidationError", message)
}

/// 404 `NoSuchEntity`.
fn no_such_entity(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "NoSuchEntity", message)
}
