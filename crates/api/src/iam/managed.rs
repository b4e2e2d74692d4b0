//! Managed policies: the account's own as stored documents with up to five versions, AWS's from a table.

use super::roles::{self, marker, page_rows, read_tags, remove_tags, tags_xml, truncation, unique_id};
use super::{Parameters, document, invalid, no_such_entity};
use crate::http::xml::element;
use crate::http::{ApiError, Context};
use crate::state::ApiState;
use ::http::StatusCode;
use lamplight_model::policy::aws_managed::{self, AwsManaged};
use lamplight_model::{ServiceError, Timestamp};
use lamplight_store::{Document, Expect, StoreError};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// Kind of the stored documents; their key is the name, which is unique whatever the path.
const KIND: &str = lamplight_store::credentials::POLICY_KIND;
/// Versions of one policy. Source: IAM quotas.
const VERSIONS: usize = 5;
/// Documents read at once.
const BATCH: usize = 200;
/// Pattern of `VersionId`.
const VERSION_PATTERN: &str = r"v[1-9][0-9]*(\.[A-Za-z0-9-]*)?";

/// A policy of the account as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ManagedPolicy {
    name: String,
    path: String,
    id: String,
    description: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
    tags: BTreeMap<String, String>,
    default_version: u32,
    /// Number of the next version: none is used twice.
    next_version: u32,
    /// Oldest first.
    versions: Vec<PolicyVersion>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct PolicyVersion {
    number: u32,
    document: String,
    created_at: Timestamp,
}

impl ManagedPolicy {
    fn arn(&self, account: &str) -> String {
        format!("arn:aws:iam::{account}:policy{}{}", self.path, self.name)
    }

    /// The members of the `Policy` structure but for description and tags, which not every operation shows.
    fn xml(&self, account: &str, attachments: usize) -> String {
        head_xml(
            &self.name,
            &self.id,
            &self.arn(account),
            &self.path,
            &format!("v{}", self.default_version),
            attachments,
        ) + &element("CreateDate", &self.created_at.iso_format())
            + &element("UpdateDate", &self.updated_at.iso_format())
    }

    fn version_xml(&self, version: &PolicyVersion, with_document: bool) -> String {
        let document = match with_document {
            true => element("Document", &document::encode(&version.document)),
            false => String::new(),
        };
        document
            + &element("VersionId", &format!("v{}", version.number))
            + &element("IsDefaultVersion", bool_text(version.number == self.default_version))
            + &element("CreateDate", &version.created_at.iso_format())
    }
}

fn head_xml(name: &str, id: &str, arn: &str, path: &str, version: &str, attachments: usize) -> String {
    element("PolicyName", name)
        + &element("PolicyId", id)
        + &element("Arn", arn)
        + &element("Path", path)
        + &element("DefaultVersionId", version)
        + &element("AttachmentCount", &attachments.to_string())
        + &element("PermissionsBoundaryUsageCount", "0")
        + &element("IsAttachable", "true")
}

/// The members of the `Policy` structure of one of AWS's policies. Its identifier is made of its ARN.
fn aws_xml(policy: &AwsManaged, attachments: usize) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let digest = Sha256::digest(policy.arn().as_bytes());
    let letters = digest.iter().take(17).map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
    let id: String = "ANPA".chars().chain(letters).collect();
    head_xml(policy.name, &id, &policy.arn(), policy.path, policy.version, attachments)
}

fn bool_text(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

fn conflict(code: &'static str, message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::CONFLICT, code, message)
}

fn decode(document: Document) -> Result<ManagedPolicy, ApiError> {
    serde_json::from_value(document.value).map_err(|error| {
        tracing::error!(policy = document.key, %error, "a stored policy cannot be read");
        ServiceError::internal(format!("The stored policy {} cannot be read.", document.key)).into()
    })
}

/// The account's policy of this ARN.
pub async fn find(state: &ApiState, context: &Context, arn: &str) -> Result<Option<ManagedPolicy>, ApiError> {
    let name = arn.rsplit('/').next().unwrap_or_default();
    let Some(document) = state.store.get_document(&context.global_scope(), KIND, name).await? else {
        return Ok(None);
    };
    Ok(Some(decode(document)?).filter(|policy| policy.arn(context.scope.account.as_str()) == arn))
}

/// The policy of `PolicyArn`, to be changed. Fails with `NoSuchEntity`, and with `AccessDenied` for AWS's own.
async fn load(state: &ApiState, context: &Context, arn: &str) -> Result<ManagedPolicy, ApiError> {
    if arn.starts_with(aws_managed::ARN_PREFIX) {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "AccessDenied",
            format!(
                "User: {} is not authorized to perform this action on resource: policy {arn}",
                context.caller_arn()
            ),
        ));
    }
    find(state, context, arn).await?.ok_or_else(|| absent(arn))
}

fn absent(arn: &str) -> ApiError {
    no_such_entity(format!("Policy {arn} was not found."))
}

fn absent_version(arn: &str, version: &str) -> ApiError {
    no_such_entity(format!("Policy {arn} version {version} does not exist or is not attachable."))
}

async fn save(
    state: &ApiState,
    context: &Context,
    policy: &ManagedPolicy,
    expect: Expect,
) -> Result<(), ApiError> {
    let value = serde_json::to_value(policy)
        .map_err(|error| ServiceError::internal(format!("failed to write a policy down: {error}")))?;
    let document = Document { key: policy.name.clone(), value };
    state.store.put_document(&context.global_scope(), KIND, document, expect).await.map_err(|error| {
        match error {
            StoreError::AlreadyExists(_) => conflict(
                "EntityAlreadyExists",
                format!("A policy called {} already exists. Duplicate names are not allowed.", policy.name),
            ),
            other => other.into(),
        }
    })
}

/// Names and ids of the roles that each policy is attached to, by its ARN.
async fn attachments(
    state: &ApiState,
    context: &Context,
) -> Result<BTreeMap<String, Vec<(String, String)>>, ApiError> {
    let mut attached: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for role in roles::all(state, context).await? {
        for arn in &role.attached {
            attached.entry(arn.clone()).or_default().push((role.name.clone(), role.id.clone()));
        }
    }
    Ok(attached)
}

/// CreatePolicy.
pub async fn create(
    state: &ApiState,
    context: &Context,
    parameters: &Parameters,
) -> Result<String, ApiError> {
    let name = parameters.required("PolicyName")?;
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b));
    if !plain || name.len() > 128 {
        let constraint = match plain {
            true => "Member must have length less than or equal to 128",
            false => r"Member must satisfy regular expression pattern: [\w+=,.@-]+",
        };
        return Err(invalid(format!(
            "1 validation error detected: Value '{name}' at 'policyName' failed to satisfy constraint: {constraint}"
        )));
    }
    let path = parameters.get("Path").unwrap_or("/");
    roles::check_path(path)?;
    let text = parameters.required("PolicyDocument")?;
    document::check_managed(text)?;
    let mut tags = BTreeMap::new();
    read_tags(parameters, &mut tags)?;
    let now = state.now();
    let policy = ManagedPolicy {
        name: name.to_owned(),
        path: path.to_owned(),
        id: unique_id("ANPA"),
        description: parameters.get("Description").filter(|text| !text.is_empty()).map(str::to_owned),
        created_at: now,
        updated_at: now,
        tags,
        default_version: 1,
        next_version: 2,
        versions: vec![PolicyVersion { number: 1, document: text.to_owned(), created_at: now }],
    };
    save(state, context, &policy, Expect::Absent).await?;
    // AWS shows the description only where it is asked for again.
    let tags = if policy.tags.is_empty() { String::new() } else { tags_xml(&policy.tags) };
    Ok(format!("<Policy>{}{tags}</Policy>", policy.xml(context.scope.account.as_str(), 0)))
}

/// GetPolicy.
pub async fn get(state: &ApiState, context: &Context, parameters: &Parameters) -> Result<String, ApiError> {
    let arn = parameters.required("PolicyArn")?;
    let attached = attachments(state, context).await?.get(arn).map_or(0, Vec::len);
    let described = |xml: String, description: &str, tags: &BTreeMap<String, String>| {
        let description = match description {
            "" => String::new(),
            text => element("Description", text),
        };
        format!("<Policy>{xml}{description}{}</Policy>", tags_xml(tags))
    };
    if let Some(policy) = aws_managed::find(arn) {
        return Ok(described(aws_xml(policy, attached), policy.description, &BTreeMap::new()));
    }
    let policy = find(state, context, arn).await?.ok_or_else(|| absent(arn))?;
    let xml = policy.xml(context.scope.account.as_str(), attached);
    Ok(described(xml, policy.description.as_deref().unwrap_or_default(), &policy.tags))
}

/// `VersionId`. Fails with `ValidationError`.
fn version_id(parameters: &Parameters) -> Result<&str, ApiError> {
    let id = parameters.required("VersionId")?;
    let number = id.strip_prefix('v').unwrap_or_default();
    let plain = !number.starts_with('0') && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    if plain {
        return Ok(id);
    }
    Err(invalid(format!(
        "1 validation error detected: Value at 'versionId' failed to satisfy constraint: Member must satisfy regular \
         expression pattern: {VERSION_PATTERN}"
    )))
}

fn number(id: &str) -> Option<u32> {
    id.strip_prefix('v')?.parse().ok()
}

/// GetPolicyVersion.
pub async fn get_version(
    state: &ApiState,
    context: &Context,
    parameters: &Parameters,
) -> Result<String, ApiError> {
    let (arn, id) = (parameters.required("PolicyArn")?, version_id(parameters)?);
    if let Some(policy) = aws_managed::find(arn).filter(|policy| policy.version == id) {
        let xml = element("Document", &document::encode(policy.document))
            + &element("VersionId", id)
            + &element("IsDefaultVersion", "true");
        return Ok(format!("<PolicyVersion>{xml}</PolicyVersion>"));
    }
    let policy = find(state, context, arn).await?.ok_or_else(|| absent_version(arn, id))?;
    let version = policy.versions.iter().find(|version| Some(version.number) == number(id));
    let version = version.ok_or_else(|| absent_version(arn, id))?;
    Ok(format!("<PolicyVersion>{}</PolicyVersion>", policy.version_xml(version, true)))
}

/// ListPolicyVersions, newest first.
pub async fn list_versions(
    state: &ApiState,
    context: &Context,
    parameters: &Parameters,
) -> Result<String, ApiError> {
    let arn = parameters.required("PolicyArn")?;
    let members: String = match aws_managed::find(arn) {
        Some(policy) => {
            let xml = element("VersionId", policy.version) + &element("IsDefaultVersion", "true");
            format!("<member>{xml}</member>")
        }
        None => {
            let policy = find(state, context, arn).await?.ok_or_else(|| absent(arn))?;
            let newest_first = policy.versions.iter().rev();
            newest_first
                .map(|version| format!("<member>{}</member>", policy.version_xml(version, false)))
                .collect()
        }
    };
    Ok(format!("<Versions>{members}</Versions>") + &truncation::<String>(KIND, None))
}

/// ListPolicies: the account's own in name order, then AWS's.
pub async fn list(state: &ApiState, context: &Context, parameters: &Parameters) -> Result<String, ApiError> {
    const LIST: &str = "iam-policies";
    let scope = parameters.get("Scope").unwrap_or("All");
    if !["All", "AWS", "Local"].contains(&scope) {
        return Err(invalid(format!(
            "1 validation error detected: Value '{scope}' at 'scope' failed to satisfy constraint: Member must \
             satisfy enum value set: [All, AWS, Local]"
        )));
    }
    let limit = page_rows(parameters)?;
    let after: Option<(bool, String)> = marker(parameters, LIST)?;
    let prefix = parameters.get("PathPrefix").unwrap_or("/");
    let only_attached = parameters.get("OnlyAttached") == Some("true");
    let attached = attachments(state, context).await?;
    let count = |arn: &str| attached.get(arn).map_or(0, Vec::len);
    let account = context.scope.account.as_str();
    let mut rows: Vec<((bool, String), usize, String)> = Vec::new();
    if scope != "AWS" {
        for policy in all(state, context).await?.into_iter().filter(|policy| policy.path.starts_with(prefix))
        {
            let attachments = count(&policy.arn(account));
            rows.push(((false, policy.name.clone()), attachments, policy.xml(account, attachments)));
        }
    }
    if scope != "Local" {
        for policy in aws_managed::ALL.iter().filter(|policy| policy.path.starts_with(prefix)) {
            let attachments = count(&policy.arn());
            rows.push(((true, policy.name.to_owned()), attachments, aws_xml(policy, attachments)));
        }
    }
    rows.retain(|(key, attachments, _)| {
        after.as_ref().is_none_or(|after| key > after) && (!only_attached || *attachments > 0)
    });
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|(key, _, _)| key.clone());
    let members: String = rows.iter().map(|(_, _, xml)| format!("<member>{xml}</member>")).collect();
    Ok(format!("<Policies>{members}</Policies>") + &truncation(LIST, next.as_ref()))
}

async fn all(state: &ApiState, context: &Context) -> Result<Vec<ManagedPolicy>, ApiError> {
    let mut policies: Vec<ManagedPolicy> = Vec::new();
    loop {
        let after = policies.last().map(|policy| policy.name.clone());
        let rows = state.store.list_documents(&context.global_scope(), KIND, after.as_deref(), BATCH).await?;
        let is_last = rows.len() < BATCH;
        for row in rows {
            policies.push(decode(row)?);
        }
        if is_last {
            return Ok(policies);
        }
    }
}

/// ListEntitiesForPolicy: roles; there are no users and groups.
pub async fn list_entities(
    state: &ApiState,
    context: &Context,
    parameters: &Parameters,
) -> Result<String, ApiError> {
    let arn = parameters.required("PolicyArn")?;
    if !arn.starts_with(aws_managed::ARN_PREFIX) && find(state, context, arn).await?.is_none() {
        return Err(absent(arn));
    }
    let roles = attachments(state, context).await?.remove(arn).unwrap_or_default();
    let members: String = roles
        .iter()
        .map(|(name, id)| format!("<member>{}{}</member>", element("RoleName", name), element("RoleId", id)))
        .collect();
    Ok(format!(
        "<PolicyGroups></PolicyGroups><PolicyUsers></PolicyUsers><PolicyRoles>{members}</PolicyRoles>"
    ) + &truncation::<String>(KIND, None))
}

/// CreatePolicyVersion.
pub async fn create_version(
    state: &ApiState,
    context: &Context,
    parameters: &Parameters,
) -> Result<String, ApiError> {
    let mut policy = load(state, context, parameters.required("PolicyArn")?).await?;
    let text = parameters.required("PolicyDocument")?;
    document::check_managed(text)?;
    if policy.versions.len() >= VERSIONS {
        return Err(conflict(
            "LimitExceeded",
            format!(
                "A managed policy can have up to {VERSIONS} versions. Before you create a new version, you must delete \
                 an existing version."
            ),
        ));
    }
    let version =
        PolicyVersion { number: policy.next_version, document: text.to_owned(), created_at: state.now() };
    policy.next_version += 1;
    if parameters.get("SetAsDefault") == Some("true") {
        policy.default_version = version.number;
    }
    policy.updated_at = version.created_at;
    let xml = policy.version_xml(&version, false);
    policy.versions.push(version);
    save(state, context, &policy, Expect::Anything).await?;
    Ok(format!("<PolicyVersion>{xml}</PolicyVersion>"))
}

/// The policy to be changed and the number of an existing version of it. Fails with `NoSuchEntity`.
async fn load_version(
    state: &ApiState,
    context: &Context,
    parameters: &Parameters,
) -> Result<(ManagedPolicy, u32), ApiError> {
    let (arn, id) = (parameters.required("PolicyArn")?, version_id(parameters)?);
    let policy = load(state, context, arn).await.map_err(|error| match error.status {
        StatusCode::NOT_FOUND => absent_version(arn, id),
        _ => error,
    })?;
    let number = number(id).filter(|number| policy.versions.iter().any(|version| version.number == *number));
    Ok((policy, number.ok_or_else(|| absent_version(arn, id))?))
}

/// DeletePolicyVersion.
pub async fn delete_version(
    state: &ApiState,
    context: &Context,
    parameters: &Parameters,
) -> Result<Option<String>, ApiError> {
    let (mut policy, number) = load_version(state, context, parameters).await?;
    if number == policy.default_version {
        return Err(conflict("DeleteConflict", "Cannot delete the default version of a policy."));
    }
    policy.versions.retain(|version| version.number != number);
    save(state, context, &policy, Expect::Anything).await?;
    Ok(None)
}

/// SetDefaultPolicyVersion.
pub async fn set_default(
    state: &ApiState,
    context: &Context,
    parameters: &Parameters,
) -> Result<Option<String>, ApiError> {
    let (mut policy, number) = load_version(state, context, parameters).await?;
    policy.default_version = number;
    policy.updated_at = state.now();
    save(state, context, &policy, Expect::Anything).await?;
    Ok(None)
}

/// DeletePolicy. Fails with `DeleteConflict` while it is attached or has more than one version.
pub async fn delete(
    state: &ApiState,
    context: &Context,
    parameters: &Parameters,
) -> Result<Option<String>, ApiError> {
    let arn = parameters.required("PolicyArn")?;
    let policy = load(state, context, arn).await?;
    if attachments(state, context).await?.contains_key(arn) {
        return Err(conflict("DeleteConflict", "Cannot delete a policy attached to entities."));
    }
    if policy.versions.len() > 1 {
        return Err(conflict(
            "DeleteConflict",
            "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. \
             The default version is deleted with the policy.",
        ));
    }
    state.store.delete_document(&context.global_scope(), KIND, &policy.name).await?;
    Ok(None)
}

/// ListPolicyTags.
pub async fn list_tags(
    state: &ApiState,
    context: &Context,
    parameters: &Parameters,
) -> Result<String, ApiError> {
    let policy = load(state, context, parameters.required("PolicyArn")?).await?;
    Ok(tags_xml(&policy.tags) + &truncation::<String>(KIND, None))
}

/// TagPolicy.
pub async fn tag(
    state: &ApiState,
    context: &Context,
    parameters: &Parameters,
) -> Result<Option<String>, ApiError> {
    let mut policy = load(state, context, parameters.required("PolicyArn")?).await?;
    read_tags(parameters, &mut policy.tags)?;
    save(state, context, &policy, Expect::Anything).await?;
    Ok(None)
}

/// UntagPolicy.
pub async fn untag(
    state: &ApiState,
    context: &Context,
    parameters: &Parameters,
) -> Result<Option<String>, ApiError> {
    let mut policy = load(state, context, parameters.required("PolicyArn")?).await?;
    remove_tags(parameters, &mut policy.tags);
    save(state, context, &policy, Expect::Anything).await?;
    Ok(None)
}
