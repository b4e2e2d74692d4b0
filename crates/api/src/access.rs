//! Who may read and write parameters and secrets.
//!
//! The caller on loopback may everything. A function may what the policies of its role allow (`model::policy`): by default
//! nothing. Roles and policies are read at every request, so a change counts at once.

use crate::http::request::Denial;
use crate::http::{ApiError, Context};
use crate::state::ApiState;
use lamplight_model::Caller;
use lamplight_model::policy::{self, Decision};
use lamplight_store::credentials;

/// Lets the caller do `service:operation` to `resource` or refuses with AWS's text.
///
/// Fails with 403 `AccessDeniedException`, or as storage does.
pub async fn authorize(
    state: &ApiState,
    context: &Context,
    service: &str,
    operation: &str,
    resource: &str,
) -> Result<(), ApiError> {
    let Err(denied) = context.authorize(service, operation, resource) else { return Ok(()) };
    let Caller::Function { scope, role, .. } = context.caller.as_ref() else { return Err(denied) };
    let documents = credentials::role_policies(&*state.store, &scope.account, role).await?;
    let action = format!("{service}:{operation}");
    match policy::evaluate(documents.iter().map(String::as_str), &action, resource) {
        Decision::Allowed => Ok(()),
        Decision::NotMentioned => Err(denied),
        Decision::Denied => Err(context.denial(service, operation, resource, Denial::Explicit)),
    }
}
<<<<<<< HEAD

/// The documents of a function's role, inline and attached; none when there is no such role.
async fn policies(
    state: &ApiState,
    context: &Context,
    scope: &Scope,
    role_arn: &str,
) -> Result<Vec<String>, ApiError> {
    let name = role_arn.rsplit('/').next().unwrap_or_default();
    match iam::find_role(state, context, name).await? {
        // A role of another account or path is another role.
        Some(role) if role.arn(scope.account.as_str()) == role_arn => {
            iam::policy_documents(state, context, &role).await
        }
        _ => Ok(Vec::new()),
    }
}

/// Whether the policies of a role allow `action` (`service:Operation`) to `resource`; `None` when there is no such role here.
pub async fn role_allows(
    state: &ApiState,
    context: &Context,
    scope: &Scope,
    role_arn: &str,
    action: &str,
    resource: &str,
) -> Result<Option<bool>, ApiError> {
    let name = role_arn.rsplit('/').next().unwrap_or_default();
    let role = iam::find_role(state, context, name).await?;
    let Some(role) = role.filter(|role| role.arn(scope.account.as_str()) == role_arn) else {
        return Ok(None);
    };
    let documents = iam::policy_documents(state, context, &role).await?;
    let decision = policy::evaluate(documents.iter().map(String::as_str), action, resource);
    Ok(Some(decision == Decision::Allowed))
}
=======
>>>>>>> 58f2825 (Make access keys, and keep the secrets of sessions)
