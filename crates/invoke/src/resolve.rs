//! Name and qualifier to the version that runs.
//!
//! Keeps nothing itself: `Store::get_version` and `Store::get_alias` answer from caches that every acknowledged write has
//! passed first, so an update acknowledged before a call is always seen by it.

use crate::invoker::service_error;
use crate::request::InvokeRequest;
use lamplight_model::function::FunctionState;
use lamplight_model::name::function_arn;
use lamplight_model::{
    ErrorCode, FunctionName, FunctionVersion, Qualifier, Scope, ServiceError, TenantId, VersionNumber,
};
use lamplight_store::Store;
use std::sync::Arc;

/// The version that `qualifier` means now, whatever its state (`None` is `$LATEST`).
///
/// `draw` decides between the two versions of a weighted alias, see `Alias::route`; it is asked for aliases only.
///
/// Fails with `ResourceNotFoundException` naming the ARN as asked for.
pub async fn resolve(
    store: &dyn Store,
    scope: &Scope,
    name: &FunctionName,
    qualifier: Option<&Qualifier>,
    draw: impl FnOnce() -> f64,
) -> Result<Arc<FunctionVersion>, ServiceError> {
    let not_found = || ServiceError::function_not_found(&function_arn(scope, name, qualifier));
    let version = match qualifier {
        None | Some(Qualifier::Latest) => VersionNumber::Latest,
        Some(Qualifier::Version(number)) => VersionNumber::Published(*number),
        Some(Qualifier::Alias(alias)) => store
            .get_alias(scope, name, alias)
            .await
            .map_err(|error| service_error("read the alias", &error))?
            .ok_or_else(not_found)?
            .route(draw()),
    };
    store
        .get_version(scope, name, version)
        .await
        .map_err(|error| service_error("read the function", &error))?
        .ok_or_else(not_found)
}

/// Whether a version in this state may be invoked. An update in progress does not stand in the way.
///
/// Fails with `ResourceConflictException` and AWS's text. Source: Lambda developer guide, "Lambda function states".
fn check_state(version: &FunctionVersion) -> Result<(), ServiceError> {
    let state = match version.lifecycle.state {
        FunctionState::Active | FunctionState::Inactive => return Ok(()),
        FunctionState::Pending => "Pending",
        FunctionState::Failed => "Failed",
    };
    Err(ServiceError::new(
        ErrorCode::ResourceConflictException,
        format!(
            "The operation cannot be performed at this time. The function is currently in the following state: {state}"
        ),
    ))
}

/// Whether the version that a request means may be called with it: `check_state` and `check_tenant`.
pub fn check_call(version: &FunctionVersion, request: &InvokeRequest) -> Result<(), ServiceError> {
    check_state(version)?;
    check_tenant(version, request.tenant_id.as_ref())
}

/// Whether a call names a tenant exactly when the version keeps tenants apart.
///
/// Fails with `InvalidParameterValueException`; the first text is AWS's as clients report it, the second, which nobody has
/// published, is made like it. Source: Lambda developer guide, "Troubleshooting tenant isolation".
pub fn check_tenant(version: &FunctionVersion, tenant: Option<&TenantId>) -> Result<(), ServiceError> {
    let text = match (version.per_tenant, tenant) {
        (true, Some(_)) | (false, None) => return Ok(()),
        (true, None) => {
            "The invoked function is enabled with tenancy configuration. Add a valid tenant ID in your request and try \
             again."
        }
        (false, Some(_)) => {
            "The invoked function is not enabled with tenancy configuration. Remove the tenant ID from your request and \
             try again."
        }
    };
    Err(ServiceError::new(ErrorCode::InvalidParameterValueException, text))
}
