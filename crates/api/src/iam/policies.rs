//! Policies of a role: inline ones by name, attached ones by ARN.

use super::roles::{load, save, truncation};
use super::{Parameters, document, invalid, managed, no_such_entity};
use crate::http::xml::element;
use crate::http::{ApiError, Context};
use crate::state::ApiState;
use ::http::StatusCode;
use lamplight_model::policy::aws_managed;
use lamplight_store::Expect;

/// Policies of each kind a role may have: the most IAM grants on request. It bounds the stored document.
const POLICIES: usize = 20;
/// List name of page tokens; these lists are never longer than a page.
const LIST: &str = "iam-role-policies";

fn limit_exceeded() -> ApiError {
    ApiError::new(
        StatusCode::CONFLICT,
        "LimitExceeded",
        format!("Cannot exceed quota for PoliciesPerRole: {POLICIES}"),
    )
}

/// PutRolePolicy.
pub async fn put(
    state: &ApiState,
    context: &Context,
    parameters: &Parameters,
) -> Result<Option<String>, ApiError> {
    let mut role = load(state, context, parameters.required("RoleName")?).await?;
    let name = parameters.required("PolicyName")?;
    let valid =
        name.len() <= 128 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b));
    if !valid {
        return Err(invalid(format!(
            "1 validation error detected: Value '{name}' at 'policyName' failed to satisfy constraint: Member \
             must satisfy regular expression pattern: [\\w+=,.@-]+"
        )));
    }
    let text = parameters.required("PolicyDocument")?;
    document::check_identity(text)?;
    role.policies.insert(name.to_owned(), text.to_owned());
    if role.policies.len() > POLICIES {
        return Err(limit_exceeded());
    }
    save(state, context, &role, Expect::Anything).await?;
    Ok(None)
}

/// GetRolePolicy.
pub async fn get(state: &ApiState, context: &Context, parameters: &Parameters) -> Result<String, ApiError> {
    let role = load(state, context, parameters.required("RoleName")?).await?;
    let name = parameters.required("PolicyName")?;
    let text = role.policies.get(name).ok_or_else(|| absent(name))?;
    Ok(element("RoleName", &role.name)
        + &element("PolicyName", name)
        + &element("PolicyDocument", &document::encode(text)))
}

/// DeleteRolePolicy.
pub async fn delete(
    state: &ApiState,
    context: &Context,
    parameters: &Parameters,
) -> Result<Option<String>, ApiError> {
    let mut role = load(state, context, parameters.required("RoleName")?).await?;
    let name = parameters.required("PolicyName")?;
    role.policies.remove(name).ok_or_else(|| absent(name))?;
    save(state, context, &role, Expect::Anything).await?;
    Ok(None)
}

fn absent(name: &str) -> ApiError {
    no_such_entity(format!("The role policy with name {name} cannot be found."))
}

/// ListRolePolicies.
pub async fn list(state: &ApiState, context: &Context, parameters: &Parameters) -> Result<String, ApiError> {
    let role = load(state, context, parameters.required("RoleName")?).await?;
    let members: String = role.policies.keys().map(|name| element("member", name)).collect();
    Ok(format!("<PolicyNames>{members}</PolicyNames>") + &truncation::<String>(LIST, None))
}

/// AttachRolePolicy. AWS's managed policies may be attached whether their document is known here or not; one that is not
/// known allows nothing.
pub async fn attach(
    state: &ApiState,
    context: &Context,
    parameters: &Parameters,
) -> Result<Option<String>, ApiError> {
    let mut role = load(state, context, parameters.required("RoleName")?).await?;
    let arn = parameters.required("PolicyArn")?;
    if !arn.starts_with("arn:") || !arn.contains(":policy/") || arn.len() > 2_048 {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "InvalidInput",
            format!("ARN {arn} is not valid."),
        ));
    }
    if !arn.starts_with(aws_managed::ARN_PREFIX) && managed::find(state, context, arn).await?.is_none() {
        return Err(no_such_entity(format!("Policy {arn} does not exist or is not attachable.")));
    }
    if !role.attached.iter().any(|attached| attached == arn) {
        role.attached.push(arn.to_owned());
    }
    if role.attached.len() > POLICIES {
        return Err(limit_exceeded());
    }
    save(state, context, &role, Expect::Anything).await?;
    Ok(None)
}

/// DetachRolePolicy.
pub async fn detach(
    state: &ApiState,
    context: &Context,
    parameters: &Parameters,
) -> Result<Option<String>, ApiError> {
    let mut role = load(state, context, parameters.required("RoleName")?).await?;
    let arn = parameters.required("PolicyArn")?;
    let before = role.attached.len();
    role.attached.retain(|attached| attached != arn);
    if role.attached.len() == before {
        return Err(no_such_entity(format!("Policy {arn} was not found.")));
    }
    save(state, context, &role, Expect::Anything).await?;
    Ok(None)
}

/// ListAttachedRolePolicies.
pub async fn list_attached(
    state: &ApiState,
    context: &Context,
    parameters: &Parameters,
) -> Result<String, ApiError> {
    let role = load(state, context, parameters.required("RoleName")?).await?;
    let members: String = role
        .attached
        .iter()
        .map(|arn| {
            let name = arn.rsplit('/').next().unwrap_or_default();
            format!("<member>{}{}</member>", element("PolicyName", name), element("PolicyArn", arn))
        })
        .collect();
    Ok(format!("<AttachedPolicies>{members}</AttachedPolicies>") + &truncation::<String>(LIST, None))
}
