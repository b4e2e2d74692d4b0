//! Policies of layer versions: AddLayerVersionPermission, GetLayerVersionPolicy, RemoveLayerVersionPermission.
//!
//! A statement lets another account use the version (`read::accessible` asks it).

use super::{check_owner, layer_version, stored};
use crate::http::request::decode_segment;
use crate::http::{ApiError, Context, Members, Response, reply};
use crate::lambda::functions::new_revision;
use crate::lambda::validation::Violations;
use crate::state::ApiState;
use bytes::Bytes;
use http::StatusCode;
use lamplight_model::{AccountId, ErrorCode, LayerStatement, LayerVersion, LayerVersionArn, ServiceError};
use lamplight_store::{Expect, StoreError};
use serde_json::{Map, Value, json};

/// Greatest policy, bytes of its JSON. Source: Lambda quotas, "Resource-based policy".
const POLICY_BYTES: usize = 20_480;
/// The only action a layer's policy can allow.
const ACTION: &str = "lambda:GetLayerVersion";
const STATEMENT_PATTERN: &str = "([a-zA-Z0-9-_]+)";
const PRINCIPAL_PATTERN: &str = r"\d{12}|\*|arn:(aws[a-zA-Z-]*):iam::\d{12}:root";
const ORGANIZATION_PATTERN: &str = "o-[a-z0-9]{10,32}";
/// How often a change is tried again when somebody else changed the policy meanwhile.
const ATTEMPTS: usize = 8;

/// AddLayerVersionPermission.
pub async fn add(
    state: &ApiState,
    context: &Context,
    labels: &[&str],
    body: &Bytes,
) -> Result<Response, ApiError> {
    let members = Members::parse(body)?;
    let mut violations = Violations::default();
    let mut required = |name: &str, path: &str| -> Result<String, ApiError> {
        let given = members.string(name)?;
        if given.is_none() {
            violations.missing(path);
        }
        Ok(given.unwrap_or_default())
    };
    let sid = required("StatementId", "statementId")?;
    let action = required("Action", "action")?;
    let principal = required("Principal", "principal")?;
    let organization_id = members.string("OrganizationId")?;
    // What is absent was noted; its shape says nothing more.
    if members.has("StatementId") {
        note_statement_id(&sid, &mut violations);
    }
    if members.has("Action") {
        violations.pattern(&action, "action", action == ACTION, ACTION);
    }
    if members.has("Principal") {
        violations.pattern(&principal, "principal", is_principal(&principal), PRINCIPAL_PATTERN);
    }
    if let Some(organization) = &organization_id {
        let fits = is_organization(organization);
        violations.pattern(organization, "organizationId", fits, ORGANIZATION_PATTERN);
    }
    let arn = layer_version(context, labels, violations)?;
    check_owner(context, "AddLayerVersionPermission", &arn.layer)?;
    let statement = LayerStatement { sid, principal, organization_id };
    let changed = change(state, &arn, |version| {
        if version.statements.iter().any(|other| other.sid == statement.sid) {
            return Err(ApiError::conflict(format!(
                "The statement id ({}) provided already exists. Please provide a new statement id, or remove the \
                 existing statement.",
                statement.sid
            )));
        }
        check_revision(context, version)?;
        version.statements.push(statement.clone());
        let bytes = policy(&arn, version).to_string().len();
        if bytes > POLICY_BYTES {
            return Err(ApiError::new(
                StatusCode::BAD_REQUEST,
                "PolicyLengthExceededException",
                format!("The final policy size ({bytes}) is bigger than the limit ({POLICY_BYTES})."),
            ));
        }
        Ok(())
    });
    let revision = changed.await?.revision_id;
    let answer = json!({"Statement": shown(&arn, &statement).to_string(), "RevisionId": revision});
    Ok(reply::json(StatusCode::CREATED, &answer))
}

/// GetLayerVersionPolicy.
pub async fn get(state: &ApiState, context: &Context, labels: &[&str]) -> Result<Response, ApiError> {
    let arn = layer_version(context, labels, Violations::default())?;
    check_owner(context, "GetLayerVersionPolicy", &arn.layer)?;
    let version = load(state, &arn).await?;
    if version.statements.is_empty() {
        return Err(ApiError::not_found("No policy is associated with the given resource."));
    }
    let answer = json!({"Policy": policy(&arn, &version).to_string(), "RevisionId": version.revision_id});
    Ok(reply::json(StatusCode::OK, &answer))
}

/// RemoveLayerVersionPermission.
pub async fn remove(state: &ApiState, context: &Context, labels: &[&str]) -> Result<Response, ApiError> {
    let label = labels.get(2).copied().unwrap_or_default();
    let sid = decode_segment(label).unwrap_or_else(|| label.to_owned());
    let mut violations = Violations::default();
    note_statement_id(&sid, &mut violations);
    let arn = layer_version(context, labels, violations)?;
    check_owner(context, "RemoveLayerVersionPermission", &arn.layer)?;
    let changed = change(state, &arn, |version| {
        check_revision(context, version)?;
        let at = version.statements.iter().position(|statement| statement.sid == sid).ok_or_else(|| {
            ApiError::not_found(format!("Statement {sid} is not found in resource policy."))
        })?;
        version.statements.remove(at);
        Ok(())
    });
    changed.await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

async fn load(state: &ApiState, arn: &LayerVersionArn) -> Result<LayerVersion, ApiError> {
    let missing = || ApiError::not_found(format!("Layer version {arn} does not exist."));
    stored::get(state, arn).await?.ok_or_else(missing)
}

/// Changes a version's policy under a new revision. Gives back what was stored.
async fn change(
    state: &ApiState,
    arn: &LayerVersionArn,
    change: impl Fn(&mut LayerVersion) -> Result<(), ApiError>,
) -> Result<LayerVersion, ApiError> {
    for _ in 0..ATTEMPTS {
        let mut version = load(state, arn).await?;
        let expected = Expect::Revision(version.revision_id.clone());
        change(&mut version)?;
        version.revision_id = new_revision();
        match stored::put(state, arn, &version, expected).await {
            Ok(()) => return Ok(version),
            Err(StoreError::RevisionMismatch(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(ApiError::conflict("The policy is being changed by other requests. Try again."))
}

/// Fails with 412 when the request names another revision than the stored one.
fn check_revision(context: &Context, version: &LayerVersion) -> Result<(), ApiError> {
    match context.parameter("RevisionId") {
        Some(given) if given != version.revision_id => Err(ServiceError::new(
            ErrorCode::PreconditionFailedException,
            "The Revision Id provided does not match the latest Revision Id. Call the GetLayerPolicy API to \
             retrieve the latest Revision Id",
        )
        .into()),
        _ => Ok(()),
    }
}

fn policy(arn: &LayerVersionArn, version: &LayerVersion) -> Value {
    let statements: Vec<Value> = version.statements.iter().map(|statement| shown(arn, statement)).collect();
    json!({"Version": "2012-10-17", "Id": "default", "Statement": statements})
}

/// A statement as policies print it. Source: Lambda guide, "Granting layer access to other accounts".
fn shown(arn: &LayerVersionArn, statement: &LayerStatement) -> Value {
    let principal = match statement.principal.as_str() {
        "*" => "*".into(),
        account if AccountId::parse(account).is_some() => {
            json!({"AWS": format!("arn:aws:iam::{account}:root")})
        }
        root => json!({ "AWS": root }),
    };
    let mut shown = Map::new();
    let mut set = |name: &str, value: Value| {
        shown.insert(name.to_owned(), value);
    };
    set("Sid", statement.sid.as_str().into());
    set("Effect", "Allow".into());
    set("Principal", principal);
    set("Action", ACTION.into());
    set("Resource", arn.to_string().into());
    if let Some(organization) = &statement.organization_id {
        set("Condition", json!({"StringEquals": {"aws:PrincipalOrgID": organization}}));
    }
    Value::Object(shown)
}

fn note_statement_id(sid: &str, violations: &mut Violations) {
    violations.length(sid, "statementId", 100);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let fits = !sid.is_empty() && sid.bytes().all(plain);
    violations.pattern(sid, "statementId", fits, STATEMENT_PATTERN);
}

/// `PRINCIPAL_PATTERN`.
fn is_principal(text: &str) -> bool {
    let is_root = || {
        let mut parts = text.strip_prefix("arn:aws")?.strip_suffix(":root")?.splitn(2, ":iam::");
        let (partition, account) = (parts.next()?, parts.next()?);
        let plain = partition.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-');
        plain.then(|| AccountId::parse(account)).flatten()
    };
    text == "*" || AccountId::parse(text).is_some() || is_root().is_some()
}

/// `ORGANIZATION_PATTERN`.
fn is_organization(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.strip_prefix("o-").is_some_and(|id| (10..=32).contains(&id.len()) && id.bytes().all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_and_organisations() {
        for right in
            ["*", "123456789012", "arn:aws:iam::123456789012:root", "arn:aws-cn:iam::123456789012:root"]
        {
            assert!(is_principal(right), "{right}");
        }
        for wrong in [
            "",
            "12345678901",
            "arn:aws:iam::123456789012:user/me",
            "arn:aws:iam::1:root",
            "s3.amazonaws.com",
        ] {
            assert!(!is_principal(wrong), "{wrong}");
        }
        assert!(
            is_organization("o-a1b2c3d4e5") && !is_organization("o-short") && !is_organization("a1b2c3d4e5")
        );
    }
}
