//! PublishLayerVersion and DeleteLayerVersion.

use super::{ARCHITECTURES, check_owner, layer, layer_version, read, stored};
use crate::http::{ApiError, Context, Members, Response, reply};
use crate::lambda::code;
use crate::lambda::functions::new_revision;
use crate::lambda::validation::Violations;
use crate::state::ApiState;
use bytes::Bytes;
use http::StatusCode;
use lamplight_model::{LayerVersion, LayerVersionArn, managed_runtime};
use lamplight_store::Expect;

/// Most entries of `CompatibleRuntimes`.
const RUNTIMES: usize = 15;

/// PublishLayerVersion: every call makes a new version.
pub async fn publish(
    state: &ApiState,
    context: &Context,
    labels: &[&str],
    body: &Bytes,
) -> Result<Response, ApiError> {
    let members = Members::parse(body)?;
    let mut violations = Violations::default();
    let content = members.object("Content")?;
    if content.is_none() {
        violations.missing("content");
    }
    let description = members.string("Description")?.unwrap_or_default();
    violations.length(&description, "description", 256);
    let compatible_runtimes = members.strings("CompatibleRuntimes")?;
    note_runtimes(compatible_runtimes.as_deref().unwrap_or_default(), &mut violations);
    let compatible_architectures = members.strings("CompatibleArchitectures")?;
    note_architectures(compatible_architectures.as_deref().unwrap_or_default(), &mut violations);
    let license_info = members.string("LicenseInfo")?;
    if let Some(license) = &license_info {
        violations.length(license, "licenseInfo", 512);
    }
    let layer = layer(context, labels.first().copied().unwrap_or_default(), violations)?;
    check_owner(context, "PublishLayerVersion", &layer)?;
    let zip = code::package(state, context, &content.unwrap_or_default(), "content.").await?;
    let code_size_bytes = zip.len() as u64;
    let code_digest = state.code.put(zip).await?;
    let arn = LayerVersionArn { version: stored::next_number(state, &layer).await?, layer };
    let version = LayerVersion {
        version: arn.version,
        code_digest,
        code_size_bytes,
        description,
        created: state.now(),
        compatible_runtimes,
        compatible_architectures,
        license_info,
        revision_id: new_revision(),
        statements: Vec::new(),
    };
    stored::put(state, &arn, &version, Expect::Absent).await?;
    Ok(reply::json(StatusCode::CREATED, &read::whole(state, context, &arn.layer, &version)))
}

fn note_runtimes(runtimes: &[String], violations: &mut Violations) {
    let shown = || format!("[{}]", runtimes.join(", "));
    if runtimes.len() > RUNTIMES {
        let constraint = format!("Member must have length less than or equal to {RUNTIMES}");
        violations.add(shown(), "compatibleRuntimes", constraint);
    }
    if !runtimes.iter().all(|runtime| managed_runtime::is_known(runtime)) {
        let set = managed_runtime::IDENTIFIERS.join(", ");
        let constraint = format!("Member must satisfy enum value set: [{set}]");
        violations.add(shown(), "compatibleRuntimes", constraint);
    }
}

fn note_architectures(architectures: &[String], violations: &mut Violations) {
    let shown = || format!("[{}]", architectures.join(", "));
    if architectures.len() > ARCHITECTURES.len() {
        let constraint = format!("Member must have length less than or equal to {}", ARCHITECTURES.len());
        violations.add(shown(), "compatibleArchitectures", constraint);
    }
    if !architectures.iter().all(|architecture| ARCHITECTURES.contains(&architecture.as_str())) {
        let set = ARCHITECTURES.join(", ");
        let constraint =
            format!("Member must satisfy constraint: [Member must satisfy enum value set: [{set}]]");
        violations.add(shown(), "compatibleArchitectures", constraint);
    }
}

/// DeleteLayerVersion. One that is not there is deleted, too; functions that have it keep it.
pub async fn delete(state: &ApiState, context: &Context, labels: &[&str]) -> Result<Response, ApiError> {
    let arn = layer_version(context, labels, Violations::default())?;
    check_owner(context, "DeleteLayerVersion", &arn.layer)?;
    stored::delete(state, &arn).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}
