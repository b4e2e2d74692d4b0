//! Layers: published versions, their policies, and how functions come to have them.
//!
//! | file | operations |
//! |---|---|
//! | `publish` | PublishLayerVersion, DeleteLayerVersion |
//! | `read` | GetLayerVersion, GetLayerVersionByArn, ListLayers, ListLayerVersions |
//! | `policy` | AddLayerVersionPermission, GetLayerVersionPolicy, RemoveLayerVersionPermission |
//! | `attach` | `Layers` of CreateFunction and UpdateFunctionConfiguration |
//!
//! `stored` keeps the records. Source: the service model, and answers of AWS recorded by public test suites.

pub mod attach;
pub mod policy;
pub mod publish;
pub mod read;
mod stored;

use crate::http::request::decode_segment;
use crate::http::{ApiError, Context, Response};
use crate::lambda::validation::Violations;
use crate::lambda::{SMALL_REQUEST_BYTES, read as read_body};
use crate::state::ApiState;
use axum::body::Body;
use http::StatusCode;
use lamplight_model::{LayerArn, LayerName, LayerVersionArn, limits, managed_runtime};

/// The operations that `serve` serves.
pub const SERVED: &[&str] = &[
    "PublishLayerVersion",
    "GetLayerVersion",
    "GetLayerVersionByArn",
    "ListLayers",
    "ListLayerVersions",
    "DeleteLayerVersion",
    "AddLayerVersionPermission",
    "GetLayerVersionPolicy",
    "RemoveLayerVersionPermission",
];
/// Pattern of `LayerName`.
const LAYER_NAME_PATTERN: &str = r"(arn:(aws[a-zA-Z-]*)?:lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:layer:[a-zA-Z0-9-_]{1,140}|[a-zA-Z0-9-_]{1,140})";
/// Pattern of the ARNs of layer versions.
const LAYER_VERSION_ARN_PATTERN: &str = r"((arn:(aws[a-zA-Z-]*)?:lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:layer:[a-zA-Z0-9-_]+:[0-9]+)|(arn:[a-zA-Z0-9-]+:lambda:::awslayer:[a-zA-Z0-9-_]+))";
/// Architectures of the service model.
const ARCHITECTURES: &[&str] = &["x86_64", "arm64"];

/// Serves one of `SERVED`. `labels` are the raw path segments of its placeholders.
pub async fn serve(
    state: &ApiState,
    context: &Context,
    labels: &[&str],
    name: &'static str,
    body: Body,
) -> Result<Response, ApiError> {
    match name {
        "PublishLayerVersion" => {
            // Held until the package is stored: it bounds how many uploads are in memory.
            let _upload = state.uploads.acquire().await;
            let body = read_body(body, limits::REQUEST_BYTES, name).await?;
            publish::publish(state, context, labels, &body).await
        }
        "AddLayerVersionPermission" => {
            let body = read_body(body, SMALL_REQUEST_BYTES, name).await?;
            policy::add(state, context, labels, &body).await
        }
        "DeleteLayerVersion" => publish::delete(state, context, labels).await,
        "GetLayerVersion" => read::get(state, context, labels).await,
        "GetLayerVersionByArn" => read::get_by_arn(state, context).await,
        "ListLayers" => read::list(state, context).await,
        "ListLayerVersions" => read::list_versions(state, context, labels).await,
        "GetLayerVersionPolicy" => policy::get(state, context, labels).await,
        "RemoveLayerVersionPermission" => policy::remove(state, context, labels).await,
        _ => Err(ApiError::not_supported("lambda", name)),
    }
}

/// The layer a request names in its path, by plain name or ARN.
///
/// Fails with `ValidationException`, together with what `violations` holds already.
fn layer(context: &Context, label: &str, mut violations: Violations) -> Result<LayerArn, ApiError> {
    let text = decode_segment(label).unwrap_or_else(|| label.to_owned());
    let named = LayerArn::parse(&text)
        .or_else(|| Some(LayerArn { scope: context.scope.clone(), name: LayerName::parse(&text)? }));
    violations.pattern(&text, "layerName", named.is_some(), LAYER_NAME_PATTERN);
    violations.finish()?;
    named.ok_or_else(|| ApiError::invalid_parameter("The layer name is not valid."))
}

/// The layer version a request names in its path.
///
/// Fails as [`layer`] does, and with `InvalidParameterValueException` for a number below 1.
fn layer_version(
    context: &Context,
    labels: &[&str],
    mut violations: Violations,
) -> Result<LayerVersionArn, ApiError> {
    let label = |at: usize| labels.get(at).copied().unwrap_or_default();
    let text = decode_segment(label(1)).unwrap_or_else(|| label(1).to_owned());
    let number = text.parse::<i64>();
    if number.is_err() {
        violations.add(&text, "versionNumber", "Member must be a number");
    }
    let layer = layer(context, label(0), violations)?;
    match number.ok().and_then(|number| u64::try_from(number).ok()) {
        Some(version @ 1..) => Ok(LayerVersionArn { layer, version }),
        _ => Err(ApiError::invalid_parameter("Layer Version Cannot be less than 1")),
    }
}

/// 404 of the operations that read.
fn not_found() -> ApiError {
    ApiError::not_found("The resource you requested does not exist.")
}

/// 403 for what belongs to another account or region and is not shared with this one.
fn denied(context: &Context, action: &str, resource: impl std::fmt::Display) -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "AccessDeniedException",
        format!(
            "User: {} is not authorized to perform: lambda:{action} on resource: {resource} because no \
             resource-based policy allows the lambda:{action} action",
            context.caller_arn()
        ),
    )
}

/// Fails with 403 for a layer of another account or region, which only its owner may change and list.
fn check_owner(context: &Context, action: &str, layer: &LayerArn) -> Result<(), ApiError> {
    if layer.scope == context.scope { Ok(()) } else { Err(denied(context, action, layer)) }
}

/// Notes a runtime filter that is no runtime, and an architecture filter that is none.
fn filters<'a>(context: &'a Context, violations: &mut Violations) -> read::Filters<'a> {
    let runtime = context.parameter("CompatibleRuntime");
    let architecture = context.parameter("CompatibleArchitecture");
    if let Some(runtime) = runtime {
        violations.one_of(runtime, "compatibleRuntime", managed_runtime::IDENTIFIERS);
    }
    if let Some(architecture) = architecture {
        violations.one_of(architecture, "compatibleArchitecture", ARCHITECTURES);
    }
    read::Filters { runtime, architecture }
}
