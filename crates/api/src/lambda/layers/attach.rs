//! `Layers` of CreateFunction and UpdateFunctionConfiguration: from ARNs to what a function keeps of each.

use super::{LAYER_VERSION_ARN_PATTERN, read};
use crate::http::{ApiError, Context};
use crate::lambda::validation::Violations;
use crate::state::ApiState;
use lamplight_model::{AttachedLayer, FunctionVersion, LayerVersionArn, limits};

/// Notes what is no ARN of a layer version, in the words of the service.
pub fn note_violations(arns: &[String], violations: &mut Violations) {
    if !arns.iter().all(|arn| LayerVersionArn::parse(arn).is_some()) {
        violations.add(
            format!("[{}]", arns.join(", ")),
            "layers",
            format!(
                "Member must satisfy constraint: [Member must have length less than or equal to 2048, Member must \
                 have length greater than or equal to 1, Member must satisfy regular expression pattern: \
                 {LAYER_VERSION_ARN_PATTERN}, Member must not be null]"
            ),
        );
    }
}

/// Looks the layers of a function up, in order.
///
/// Fails with `InvalidParameterValueException` for more than five, one that does not exist, and two versions of one layer;
/// with `AccessDeniedException` for one of another account that is not shared, or of another region.
pub async fn resolve(
    state: &ApiState,
    context: &Context,
    arns: &[String],
) -> Result<Vec<AttachedLayer>, ApiError> {
    if arns.len() > limits::LAYERS {
        return Err(ApiError::invalid_parameter(format!(
            "Cannot reference more than {} layers.",
            limits::LAYERS
        )));
    }
    let mut attached: Vec<AttachedLayer> = Vec::new();
    let mut before: Vec<LayerVersionArn> = Vec::new();
    for text in arns {
        let missing = || ApiError::invalid_parameter(format!("Layer version {text} does not exist."));
        let arn = LayerVersionArn::parse(text).ok_or_else(missing)?;
        let version = read::accessible(state, context, &arn).await?.ok_or_else(missing)?;
        if let Some(other) = before.iter().find(|other| other.layer == arn.layer) {
            return Err(ApiError::invalid_parameter(format!(
                "Two different versions of the same layer are not allowed to be referenced in the same function. \
                 {other} and {arn} are versions of the same layer."
            )));
        }
        attached.push(AttachedLayer {
            arn: arn.to_string(),
            code: version.code_digest,
            code_size_bytes: version.code_size_bytes,
        });
        before.push(arn);
    }
    Ok(attached)
}

/// Refuses a function whose code and layers are too large together, and keeps their packages until it is stored.
///
/// Fails with `InvalidParameterValueException`. A package alone was measured when it was stored.
pub async fn check_size(state: &ApiState, version: &FunctionVersion) -> Result<(), ApiError> {
    if version.layers.is_empty() {
        return Ok(());
    }
    let mut bytes = 0;
    for package in version.packages() {
        bytes += state.code.renew(package).await?;
    }
    if bytes > limits::UNZIPPED_BYTES {
        return Err(ApiError::invalid_parameter(format!(
            "Function code combined with layers exceeds the maximum allowed size of {} bytes. The actual size is \
             {bytes} bytes.",
            limits::UNZIPPED_BYTES
        )));
    }
    Ok(())
}
