//! Which handler serves which operation on what is configured beside a function: aliases, reserved concurrency, permissions,
//! tags, events, URLs, code signing, runtime management, event sources, capacity.

use crate::http::{ApiError, Context, Response};
use crate::lambda::{
    SMALL_REQUEST_BYTES, account, aliases, capacity, code_signing, concurrency, event_invoke, event_sources,
    permissions, read, resource_policies, runtime_management, tags, urls,
};
use crate::state::ApiState;
use axum::body::Body;

/// The operations that `serve` serves.
pub const SERVED: &[&str] = &[
    "AddPermission",
    "CreateAlias",
    "CreateCodeSigningConfig",
    "CreateEventSourceMapping",
    "CreateFunctionUrlConfig",
    "DeleteAlias",
    "DeleteCapacityProvider",
    "DeleteCodeSigningConfig",
    "DeleteEventSourceMapping",
    "DeleteFunctionCodeSigningConfig",
    "DeleteFunctionConcurrency",
    "DeleteFunctionEventInvokeConfig",
    "DeleteFunctionUrlConfig",
    "DeleteResourcePolicy",
    "GetAccountSettings",
    "GetAlias",
    "GetCapacityProvider",
    "GetCodeSigningConfig",
    "GetEventSourceMapping",
    "GetFunctionCodeSigningConfig",
    "GetFunctionConcurrency",
    "GetFunctionEventInvokeConfig",
    "GetFunctionRecursionConfig",
    "GetFunctionScalingConfig",
    "GetFunctionUrlConfig",
    "GetPolicy",
    "GetResourcePolicy",
    "GetRuntimeManagementConfig",
    "ListAliases",
    "ListCapacityProviders",
    "ListCodeSigningConfigs",
    "ListEventSourceMappings",
    "ListFunctionEventInvokeConfigs",
    "ListFunctionUrlConfigs",
    "ListFunctionVersionsByCapacityProvider",
    "ListFunctionsByCodeSigningConfig",
    "ListTags",
    "PutFunctionCodeSigningConfig",
    "PutFunctionConcurrency",
    "PutFunctionEventInvokeConfig",
    "PutFunctionRecursionConfig",
    "PutFunctionScalingConfig",
    "PutResourcePolicy",
    "PutRuntimeManagementConfig",
    "RemovePermission",
    "TagResource",
    "UntagResource",
    "UpdateAlias",
    "UpdateCapacityProvider",
    "UpdateCodeSigningConfig",
    "UpdateEventSourceMapping",
    "UpdateFunctionEventInvokeConfig",
    "UpdateFunctionUrlConfig",
];

/// Serves one of `SERVED`. `labels` are the raw path segments of its placeholders.
pub async fn serve(
    state: &ApiState,
    context: &Context,
    labels: &[&str],
    name: &'static str,
    body: Body,
) -> Result<Response, ApiError> {
    let label = labels.first().copied().unwrap_or_default();
    let second = labels.get(1).copied().unwrap_or_default();
    let body = &read(body, SMALL_REQUEST_BYTES, name).await?;
    match name {
        "CreateAlias" => aliases::create(state, context, label, body).await,
        "GetAlias" => aliases::get(state, context, label, second).await,
        "ListAliases" => aliases::list(state, context, label).await,
        "UpdateAlias" => aliases::update(state, context, label, second, body).await,
        "DeleteAlias" => aliases::delete(state, context, label, second).await,

        "PutFunctionConcurrency" => concurrency::put(state, context, label, body).await,
        "GetFunctionConcurrency" => concurrency::get(state, context, label).await,
        "DeleteFunctionConcurrency" => concurrency::delete(state, context, label).await,

        "AddPermission" => permissions::add(state, context, label, body).await,
        "RemovePermission" => permissions::remove(state, context, label, second).await,
        "GetPolicy" => permissions::get(state, context, label).await,
        "PutResourcePolicy" => resource_policies::put(state, context, label, body).await,
        "GetResourcePolicy" => resource_policies::get(state, context, label).await,
        "DeleteResourcePolicy" => resource_policies::delete(state, context, label).await,

        "GetAccountSettings" => account::settings(state, context).await,
        "TagResource" => tags::tag(state, context, label, body).await,
        "UntagResource" => tags::untag(state, context, label).await,
        "ListTags" => tags::list(state, context, label).await,

        "PutFunctionEventInvokeConfig" => event_invoke::put(state, context, label, body).await,
        "UpdateFunctionEventInvokeConfig" => event_invoke::update(state, context, label, body).await,
        "GetFunctionEventInvokeConfig" => event_invoke::get(state, context, label).await,
        "ListFunctionEventInvokeConfigs" => event_invoke::list(state, context, label).await,
        "DeleteFunctionEventInvokeConfig" => event_invoke::delete(state, context, label).await,

        "CreateFunctionUrlConfig" => urls::create(state, context, label, body).await,
        "GetFunctionUrlConfig" => urls::get(state, context, label).await,
        "UpdateFunctionUrlConfig" => urls::update(state, context, label, body).await,
        "DeleteFunctionUrlConfig" => urls::delete(state, context, label).await,
        "ListFunctionUrlConfigs" => urls::list(state, context, label).await,

        "CreateCodeSigningConfig" => code_signing::create(state, context, body).await,
        "GetCodeSigningConfig" => code_signing::get(state, context, label).await,
        "UpdateCodeSigningConfig" => code_signing::update(state, context, label, body).await,
        "DeleteCodeSigningConfig" => code_signing::delete(state, context, label).await,
        "ListCodeSigningConfigs" => code_signing::list(state, context).await,
        "ListFunctionsByCodeSigningConfig" => code_signing::list_functions(state, context, label).await,
        "PutFunctionCodeSigningConfig" => code_signing::put_of_function(state, context, label, body).await,
        "GetFunctionCodeSigningConfig" => code_signing::get_of_function(state, context, label).await,
        "DeleteFunctionCodeSigningConfig" => code_signing::delete_of_function(state, context, label).await,

        "PutRuntimeManagementConfig" => runtime_management::put(state, context, label, body).await,
        "GetRuntimeManagementConfig" => runtime_management::get(state, context, label).await,
        "PutFunctionRecursionConfig" => runtime_management::put_recursion(state, context, label, body).await,
        "GetFunctionRecursionConfig" => runtime_management::get_recursion(state, context, label).await,

        "CreateEventSourceMapping" => event_sources::create(state, context, body).await,
        "GetEventSourceMapping" => event_sources::get(state, context, label).await,
        "DeleteEventSourceMapping" => event_sources::delete(state, context, label).await,
        "UpdateEventSourceMapping" => event_sources::update(state, context, label, body).await,
        "ListEventSourceMappings" => event_sources::list(state, context).await,

        "ListCapacityProviders" => capacity::list(context),
        "GetCapacityProvider"
        | "UpdateCapacityProvider"
        | "DeleteCapacityProvider"
        | "ListFunctionVersionsByCapacityProvider" => capacity::absent(context, label),
        "PutFunctionScalingConfig" => capacity::scaling(state, context, label, Some(body)).await,
        "GetFunctionScalingConfig" => capacity::scaling(state, context, label, None).await,

        _ => Err(ApiError::not_supported("lambda", name)),
    }
}
