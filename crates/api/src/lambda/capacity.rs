//! Capacity providers and the scaling of functions on them (Lambda Managed Instances).
//!
//! None can be created here (CreateCapacityProvider is refused by name), so none is ever found.

use crate::http::request::decode_segment;
use crate::http::{ApiError, Context, Members, Response, reply};
use crate::lambda::functions::page_rows_up_to;
use crate::lambda::owned;
use crate::lambda::patterns as pattern;
use crate::lambda::reference::Target;
use crate::lambda::validation::Violations;
use crate::state::ApiState;
use bytes::Bytes;
use http::StatusCode;
use serde_json::json;

/// Most execution environments in a scaling configuration.
const ENVIRONMENTS: i64 = 15_000;

/// ListCapacityProviders.
pub fn list(context: &Context) -> Result<Response, ApiError> {
    let mut violations = Violations::default();
    page_rows_up_to(context, &mut violations, 50);
    if let Some(state) = context.parameter("State") {
        violations.one_of(state, "state", &["Pending", "Active", "Failed", "Deleting"]);
    }
    violations.finish()?;
    Ok(reply::json(StatusCode::OK, &json!({ "CapacityProviders": [] })))
}

/// Get-, Update-, DeleteCapacityProvider and ListFunctionVersionsByCapacityProvider.
pub fn absent(context: &Context, label: &str) -> Result<Response, ApiError> {
    let name = decode_segment(label).unwrap_or_else(|| label.to_owned());
    let mut violations = Violations::default();
    violations.length(&name, "capacityProviderName", 140);
    violations.fits(&name, "capacityProviderName", &pattern::CAPACITY_PROVIDER_NAME);
    violations.finish()?;
    let arn = match name.starts_with("arn:") {
        true => name,
        false => context.scope.arn("lambda", &format!("capacity-provider:{name}")),
    };
    // AWS's text is not published.
    Err(ApiError::not_found(format!("Capacity provider not found: {arn}")))
}

/// PutFunctionScalingConfig and GetFunctionScalingConfig: no function is on a capacity provider.
pub async fn scaling(
    state: &ApiState,
    context: &Context,
    label: &str,
    body: Option<&Bytes>,
) -> Result<Response, ApiError> {
    let mut violations = Violations::default();
    if let Some(body) = body
        && let Some(config) = Members::parse(body)?.object("FunctionScalingConfig")?
    {
        for (member, path) in [
            ("MinExecutionEnvironments", "functionScalingConfig.minExecutionEnvironments"),
            ("MaxExecutionEnvironments", "functionScalingConfig.maxExecutionEnvironments"),
        ] {
            if let Some(environments) = config.integer(member)? {
                violations.range(environments, path, 0, ENVIRONMENTS);
            }
        }
    }
    let qualifier = context.parameter("Qualifier");
    match qualifier {
        Some(qualifier) => violations.fits(qualifier, "qualifier", &pattern::SCALED_QUALIFIER),
        None => violations.missing("qualifier"),
    }
    violations.finish()?;
    let text = decode_segment(label).unwrap_or_else(|| label.to_owned());
    // $LATEST.PUBLISHED exists on capacity providers only.
    let target = Target::parse(context, &text, qualifier.filter(|qualifier| !qualifier.starts_with('$')))?;
    owned::existing(state, &target).await?;
    // AWS's text is not published.
    Err(ApiError::invalid_parameter(
        "Function scaling configuration is supported for functions with a capacity provider only.",
    ))
}
