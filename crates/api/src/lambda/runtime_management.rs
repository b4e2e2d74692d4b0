//! When a version's runtime changes, and what is done about functions that call themselves: Put- and
//! GetRuntimeManagementConfig, Put- and GetFunctionRecursionConfig.
//!
//! Interpreters are the host's and change with it. So `Manual` can hold no other runtime version than the present one.

use crate::http::request::decode_segment;
use crate::http::{ApiError, Context, Members, Response, reply};
use crate::lambda::configuration::runtime_version_arn;
use crate::lambda::owned;
use crate::lambda::patterns as pattern;
use crate::lambda::reference::Target;
use crate::lambda::validation::Violations;
use crate::state::ApiState;
use bytes::Bytes;
use http::StatusCode;
use lamplight_invoke::recursion;
use lamplight_model::{FunctionVersion, Qualifier};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Kind of the stored runtime management configurations.
const RUNTIME_KIND: &str = "function/runtime-management";

/// A runtime management configuration as it is stored.
#[derive(Serialize, Deserialize)]
struct RuntimeManagement {
    update_runtime_on: String,
    runtime_version_arn: Option<String>,
}

impl Default for RuntimeManagement {
    fn default() -> Self {
        Self { update_runtime_on: "Auto".to_owned(), runtime_version_arn: None }
    }
}

/// PutRuntimeManagementConfig.
pub async fn put(
    state: &ApiState,
    context: &Context,
    label: &str,
    body: &Bytes,
) -> Result<Response, ApiError> {
    let target = Target::from_path(context, label)?;
    let members = Members::parse(body)?;
    let (mode, arn) = (members.string("UpdateRuntimeOn")?, members.string("RuntimeVersionArn")?);
    let mut violations = Violations::default();
    match &mode {
        Some(mode) => violations.one_of(mode, "updateRuntimeOn", &["Auto", "Manual", "FunctionUpdate"]),
        None => violations.missing("updateRuntimeOn"),
    }
    if let Some(arn) = &arn {
        violations.length(arn, "runtimeVersionArn", 2_048);
        violations.fits(arn, "runtimeVersionArn", &pattern::RUNTIME_VERSION_ARN);
    }
    violations.finish()?;
    let version = versioned(state, &target).await?;
    let mode = mode.unwrap_or_default();
    check(&mode, arn.as_deref(), &runtime_version_arn(&version))?;
    let config = RuntimeManagement { update_runtime_on: mode, runtime_version_arn: arn };
    owned::put(state, RUNTIME_KIND, &target, &config).await?;
    Ok(reply::json(StatusCode::OK, &shown(&config, &version)))
}

/// GetRuntimeManagementConfig.
pub async fn get(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    let target = Target::from_path(context, label)?;
    let version = versioned(state, &target).await?;
    let config = owned::get(state, RUNTIME_KIND, &target).await?.unwrap_or_default();
    Ok(reply::json(StatusCode::OK, &shown(&config, &version)))
}

/// AWS's texts are not published for these; what is refused is in the API reference.
fn check(mode: &str, given: Option<&str>, present: &str) -> Result<(), ApiError> {
    match (mode, given) {
        ("Manual", None) => Err(ApiError::invalid_parameter(
            "RuntimeVersionArn is required when UpdateRuntimeOn is set to Manual.",
        )),
        ("Manual", Some(given)) if given != present => Err(ApiError::invalid_parameter(format!(
            "The runtime version {given} does not exist here. Interpreters are the host's; this function has {present}."
        ))),
        ("Manual", Some(_)) | (_, None) => Ok(()),
        (mode, Some(_)) => Err(ApiError::invalid_parameter(format!(
            "RuntimeVersionArn is only supported when UpdateRuntimeOn is set to Manual, not {mode}."
        ))),
    }
}

/// The version that is meant. An alias has no runtime of its own.
async fn versioned(state: &ApiState, target: &Target) -> Result<std::sync::Arc<FunctionVersion>, ApiError> {
    let version = owned::existing(state, target).await?;
    match target.qualifier {
        Some(Qualifier::Alias(_)) => Err(ApiError::invalid_parameter(
            "Runtime management is configured for $LATEST or a published version, not for an alias.",
        )),
        _ => Ok(version),
    }
}

fn shown(config: &RuntimeManagement, version: &FunctionVersion) -> Value {
    let mut shown =
        json!({"UpdateRuntimeOn": config.update_runtime_on, "FunctionArn": version.qualified_arn()});
    if let Some(arn) = &config.runtime_version_arn {
        shown["RuntimeVersionArn"] = arn.as_str().into();
    }
    shown
}

/// PutFunctionRecursionConfig.
pub async fn put_recursion(
    state: &ApiState,
    context: &Context,
    label: &str,
    body: &Bytes,
) -> Result<Response, ApiError> {
    let members = Members::parse(body)?;
    let mode = members.string("RecursiveLoop")?;
    let mut violations = Violations::default();
    match &mode {
        Some(mode) => violations.one_of(mode, "recursiveLoop", &[recursion::ALLOW, "Terminate"]),
        None => violations.missing("recursiveLoop"),
    }
    let target = function(context, label, violations)?;
    owned::existing(state, &target).await?;
    let mode = mode.unwrap_or_default();
    owned::put(state, recursion::KIND, &target, &mode).await?;
    Ok(reply::json(StatusCode::OK, &json!({ "RecursiveLoop": mode })))
}

/// GetFunctionRecursionConfig.
pub async fn get_recursion(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    let target = function(context, label, Violations::default())?;
    owned::existing(state, &target).await?;
    let mode = owned::get(state, recursion::KIND, &target).await?.unwrap_or_else(|| "Terminate".to_owned());
    Ok(reply::json(StatusCode::OK, &json!({ "RecursiveLoop": mode })))
}

/// A function by its name without qualifier.
fn function(context: &Context, label: &str, mut violations: Violations) -> Result<Target, ApiError> {
    let text = decode_segment(label).unwrap_or_else(|| label.to_owned());
    let target = Target::parse(context, &text, None)?;
    violations.fits(&text, "functionName", &pattern::UNQUALIFIED_FUNCTION_NAME);
    violations.finish()?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_pinned() {
        assert!(check("Auto", None, "a").is_ok() && check("FunctionUpdate", None, "a").is_ok());
        assert!(check("Manual", Some("a"), "a").is_ok());
        for (mode, given, part) in [
            ("Manual", None, "is required"),
            ("Manual", Some("b"), "does not exist"),
            ("Auto", Some("a"), "only supported"),
        ] {
            let error = check(mode, given, "a").unwrap_err();
            assert!(error.message.contains(part), "{error}");
        }
    }
}
