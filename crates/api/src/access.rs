//! Who may read and write parameters and secrets.
//!
//! The caller on loopback may everything. A function may what the policies of its role allow (`model::policy`): by default
//! nothing. Roles and policies are read at every request, so a change counts at once.

use crate::http::request::Denial;
use crate::http::{ApiError, Context};
use crate::state::ApiState;
use lamplight_model::policy::{self, Decision};
use lamplight_model::{Caller, Scope};
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
    let documents =
        credentials::role_policies(&*state.store, &scope.account, role).await?.unwrap_or_default();
    let action = format!("{service}:{operation}");
    match policy::evaluate(documents.iter().map(String::as_str), &action, resource) {
        Decision::Allowed => Ok(()),
        Decision::NotMentioned => Err(denied),
        Decision::Denied => Err(context.denial(service, operation, resource, Denial::Explicit)),
    }
}

/// Whether the policies of a role allow `action` (`service:Operation`) to `resource`; `None` when there is no such role here.
///
/// Fails as storage does.
pub async fn role_allows(
    state: &ApiState,
    scope: &Scope,
    role_arn: &str,
    action: &str,
    resource: &str,
) -> Result<Option<bool>, ApiError> {
    let documents = credentials::role_policies(&*state.store, &scope.account, role_arn).await?;
    Ok(documents.map(|documents| {
        policy::evaluate(documents.iter().map(String::as_str), action, resource) == Decision::Allowed
    }))
}
