//! Resource-based policies as whole documents: Put-, Get- and DeleteResourcePolicy (2026-07-09).
//!
//! The document is the same one that AddPermission adds to.

use crate::http::request::decode_segment;
use crate::http::{ApiError, Context, Members, Response, reply};
use crate::lambda::owned;
use crate::lambda::patterns as pattern;
use crate::lambda::permissions::{self, StoredPolicy};
use crate::lambda::reference::Target;
use crate::lambda::validation::Violations;
use crate::state::ApiState;
use bytes::Bytes;
use http::StatusCode;
use lamplight_model::policy;
use serde_json::Value;

/// Longest `Policy`, characters.
const POLICY_LENGTH: usize = 20_480;

/// PutResourcePolicy: in the place of every statement there is.
pub async fn put(
    state: &ApiState,
    context: &Context,
    label: &str,
    body: &Bytes,
) -> Result<Response, ApiError> {
    let mut violations = Violations::default();
    let arn = resource_arn(label, &mut violations);
    let members = Members::parse(body)?;
    let (policy, revision) = (members.string("Policy")?, members.string("RevisionId")?);
    match &policy {
        Some(policy) if policy.is_empty() => {
            violations.add("", "policy", "Member must have length greater than or equal to 1");
        }
        Some(policy) => violations.length(policy, "policy", POLICY_LENGTH),
        None => violations.missing("policy"),
    }
    note_revision(revision.as_deref(), &mut violations);
    violations.finish()?;
    let target = function(context, &arn)?;
    permissions::refuse_latest(&target)?;
    owned::existing(state, &target).await?;
    let policy = policy.unwrap_or_default();
    check_document(&policy, &arn)?;
    let _write = state.configuration_writes.lock().await;
    let stored = permissions::load(state, &target).await?;
    permissions::check_revision(revision.as_deref(), stored.as_ref(), None)?;
    let new = StoredPolicy::new(policy);
    permissions::store(state, &target, &new).await?;
    Ok(new.answer())
}

/// GetResourcePolicy.
pub async fn get(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    let target = target(context, label)?;
    owned::existing(state, &target).await?;
    permissions::load(state, &target).await?.map(|policy| policy.answer()).ok_or_else(owned::absent)
}

/// DeleteResourcePolicy.
pub async fn delete(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    let target = target(context, label)?;
    let mut violations = Violations::default();
    note_revision(context.parameter("RevisionId"), &mut violations);
    violations.finish()?;
    owned::existing(state, &target).await?;
    let _write = state.configuration_writes.lock().await;
    let stored = permissions::load(state, &target).await?.ok_or_else(owned::absent)?;
    permissions::check_revision(context.parameter("RevisionId"), Some(&stored), None)?;
    permissions::delete(state, &target).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

fn resource_arn(label: &str, violations: &mut Violations) -> String {
    let arn = decode_segment(label).unwrap_or_else(|| label.to_owned());
    violations.length(&arn, "resourceArn", 512);
    violations.fits(&arn, "resourceArn", &pattern::POLICY_RESOURCE_ARN);
    arn
}

fn note_revision(revision: Option<&str>, violations: &mut Violations) {
    if let Some(revision) = revision {
        violations.fits(revision, "revisionId", &pattern::REVISION_ID);
    }
}

fn target(context: &Context, label: &str) -> Result<Target, ApiError> {
    let mut violations = Violations::default();
    let arn = resource_arn(label, &mut violations);
    violations.finish()?;
    function(context, &arn)
}

fn function(context: &Context, arn: &str) -> Result<Target, ApiError> {
    if arn.contains(":runtime/") {
        // Customer-managed runtimes are another service's; there is none.
        return Err(owned::absent());
    }
    Target::parse(context, arn, None)
}

/// Checks what makes a document a policy of this resource. AWS's texts are not published; these say what is wrong.
///
/// Fails with `InvalidParameterValueException`.
fn check_document(document_text: &str, arn: &str) -> Result<(), ApiError> {
    let malformed =
        |what: &str| Err(ApiError::invalid_parameter(format!("The policy is malformed: {what}.")));
    let Ok(Value::Object(document)) = serde_json::from_str(document_text) else {
        return malformed("it is not a JSON object");
    };
    if !matches!(document.get("Version").and_then(Value::as_str), Some("2012-10-17" | "2008-10-17")) {
        return malformed("Version is neither 2012-10-17 nor 2008-10-17");
    }
    let statements = match document.get("Statement") {
        Some(Value::Array(statements)) if !statements.is_empty() => statements.as_slice(),
        Some(statement @ Value::Object(_)) => std::slice::from_ref(statement),
        _ => return malformed("it has no Statement"),
    };
    for statement in statements {
        if !matches!(statement["Effect"].as_str(), Some("Allow" | "Deny")) {
            return malformed("Effect of a statement is neither Allow nor Deny");
        }
        if statement["Principal"].is_null() && statement["NotPrincipal"].is_null() {
            return malformed("a statement has no Principal");
        }
        if !all_texts(&statement["Action"], |action| pattern::ACTION.matches(action)) {
            return malformed("Action of a statement is no action of Lambda");
        }
        if !all_texts(&statement["Resource"], |resource| resource == arn) {
            return malformed("Resource of a statement is not the resource of the policy");
        }
    }
    // Unknown elements, keys that are there twice: whatever the evaluation does not take.
    policy::check(document_text).or_else(|why| malformed(&why))
}

/// Whether the value is a text or a list of texts that all fit.
fn all_texts(value: &Value, fits: impl Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => fits(text),
        Value::Array(texts) => !texts.is_empty() && texts.iter().all(|text| text.as_str().is_some_and(&fits)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_policy_of_the_resource() {
        let check = |policy: &str, part: &str| match check_document(policy, "a") {
            Ok(()) => assert_eq!(part, "", "{policy}"),
            Err(error) => assert!(!part.is_empty() && error.message.contains(part), "{policy}: {error}"),
        };
        let with = |statement: &str| format!(r#"{{"Version":"2012-10-17","Statement":{statement}}}"#);
        let good = r#"{"Effect":"Deny","Principal":"*","Action":["lambda:*"],"Resource":"a"}"#;
        check(&with(good), "");
        check(&with(&format!("[{good},{good}]")), "");
        check("[]", "not a JSON object");
        check(r#"{"Statement":[]}"#, "Version");
        check(&with("[]"), "no Statement");
        check(&with("[1]"), "Effect");
        check(&with(r#"{"Effect":"Allow","Action":"*","Resource":"a"}"#), "no Principal");
        check(&with(&good.replace("lambda:*", "s3:*")), "no action of Lambda");
        check(&with(&good.replace(r#""a""#, r#""b""#)), "not the resource of the policy");
        check(&with(&good.replace(r#""Effect""#, r#""effect":1,"Effect""#)), "unknown field `effect`");
        let to_one = r#"{"AWS":"000000000000","AWS":"*"}"#;
        check(&with(&good.replace(r#""*""#, to_one)), "AWS is there twice");
        let when = r#""Condition":{"Bool":{"aws:SecureTransport":"true"},"Bool":{}},"Action""#;
        check(&with(&good.replace(r#""Action""#, when)), "Bool is there twice");
    }
}
