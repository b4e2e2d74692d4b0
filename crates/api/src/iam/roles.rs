//! Roles. One document per role, in the account's global scope.

use super::{Parameters, document, invalid, no_such_entity};
use crate::http::xml::element;
use crate::http::{ApiError, Context, page};
use crate::state::ApiState;
use ::http::StatusCode;
use lamplight_model::{ServiceError, Timestamp};
use lamplight_store::{Document, Expect, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Kind of the stored documents.
const KIND: &str = lamplight_store::credentials::ROLE_KIND;
/// Rows of a page without `MaxItems`.
const PAGE_ROWS: usize = 100;
/// Greatest `MaxItems`.
const GREATEST_PAGE_ROWS: usize = 1_000;

/// A role as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Role {
    /// `RoleName`.
    pub name: String,
    /// `Path`, `/` at both ends.
    pub path: String,
    /// `RoleId`.
    pub id: String,
    /// `AssumeRolePolicyDocument`, as given.
    pub trust: String,
    /// `CreateDate`.
    pub created_at: Timestamp,
    /// `Description`.
    pub description: Option<String>,
    /// `MaxSessionDuration`, seconds.
    pub max_session_seconds: u32,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Inline policies by name.
    pub policies: BTreeMap<String, String>,
    /// ARNs of attached policies, in the order of attachment.
    pub attached: Vec<String>,
}

impl Role {
    /// Its ARN.
    pub fn arn(&self, account: &str) -> String {
        format!("arn:aws:iam::{account}:role{}{}", self.path, self.name)
    }

    /// The members of the `Role` structure.
    fn xml(&self, account: &str) -> String {
        let mut xml = element("Path", &self.path)
            + &element("RoleName", &self.name)
            + &element("RoleId", &self.id)
            + &element("Arn", &self.arn(account))
            + &element("CreateDate", &self.created_at.iso_format())
            + &element("AssumeRolePolicyDocument", &document::encode(&self.trust));
        if let Some(description) = &self.description {
            xml += &element("Description", description);
        }
        xml + &element("MaxSessionDuration", &self.max_session_seconds.to_string())
    }

    fn tags_xml(&self) -> String {
        tags_xml(&self.tags)
    }
}

/// `Tags` of an answer.
pub fn tags_xml(tags: &BTreeMap<String, String>) -> String {
    let members: String = tags
        .iter()
        .map(|(key, value)| format!("<member>{}{}</member>", element("Key", key), element("Value", value)))
        .collect();
    format!("<Tags>{members}</Tags>")
}

/// The role of this name.
pub async fn find(state: &ApiState, context: &Context, name: &str) -> Result<Option<Role>, ApiError> {
    let document = state.store.get_document(&context.global_scope(), KIND, name).await?;
    document.map(decode).transpose()
}

fn decode(document: Document) -> Result<Role, ApiError> {
    serde_json::from_value(document.value).map_err(|error| {
        tracing::error!(role = document.key, %error, "a stored role cannot be read");
        ServiceError::internal(format!("The stored role {} cannot be read.", document.key)).into()
    })
}

/// The role of a request. Fails with `NoSuchEntity`.
pub async fn load(state: &ApiState, context: &Context, name: &str) -> Result<Role, ApiError> {
    find(state, context, name)
        .await?
        .ok_or_else(|| no_such_entity(format!("The role with name {name} cannot be found.")))
}

/// Writes a role back.
pub async fn save(state: &ApiState, context: &Context, role: &Role, expect: Expect) -> Result<(), ApiError> {
    let value = serde_json::to_value(role).map_err(|error| invalid(error.to_string()))?;
    let document = Document { key: role.name.clone(), value };
    state.store.put_document(&context.global_scope(), KIND, document, expect).await.map_err(|error| {
        match error {
            StoreError::AlreadyExists(_) => ApiError::new(
                StatusCode::CONFLICT,
                "EntityAlreadyExists",
                format!("Role with name {} already exists.", role.name),
            ),
            other => other.into(),
        }
    })
}

/// CreateRole.
pub async fn create(
    state: &ApiState,
    context: &Context,
    parameters: &Parameters,
) -> Result<String, ApiError> {
    let name = parameters.required("RoleName")?;
    let valid =
        name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b));
    if !valid {
        return Err(invalid(format!(
            "1 validation error detected: Value '{name}' at 'roleName' failed to satisfy constraint: Member must \
             satisfy regular expression pattern: [\\w+=,.@-]+"
        )));
    }
    let path = parameters.get("Path").unwrap_or("/");
    check_path(path)?;
    let trust = parameters.required("AssumeRolePolicyDocument")?;
    document::check_trust(trust)?;
    let mut tags = BTreeMap::new();
    read_tags(parameters, &mut tags)?;
    let role = Role {
        name: name.to_owned(),
        path: path.to_owned(),
        id: unique_id("AROA"),
        trust: trust.to_owned(),
        created_at: state.now(),
        description: parameters.get("Description").map(str::to_owned),
        max_session_seconds: session_seconds(parameters)?.unwrap_or(3_600),
        tags,
        policies: BTreeMap::new(),
        attached: Vec::new(),
    };
    save(state, context, &role, Expect::Absent).await?;
    Ok(role_element(context, &role))
}

/// Fails with `ValidationError` for what cannot be a `Path`.
pub fn check_path(path: &str) -> Result<(), ApiError> {
    let fits = path.len() <= 512
        && path.starts_with('/')
        && path.ends_with('/')
        && path.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
    if fits {
        return Ok(());
    }
    Err(invalid("The specified value for path is invalid. It must begin and end with / ."))
}

/// A prefix and 17 letters and digits, as IAM makes them.
pub fn unique_id(prefix: &str) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let random = uuid::Uuid::new_v4().into_bytes();
    let more = uuid::Uuid::new_v4().into_bytes();
    let letters =
        random.iter().chain(&more).take(17).map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
    prefix.chars().chain(letters).collect()
}

fn session_seconds(parameters: &Parameters) -> Result<Option<u32>, ApiError> {
    let Some(text) = parameters.get("MaxSessionDuration") else { return Ok(None) };
    match text.parse() {
        Ok(seconds @ 3_600..=43_200) => Ok(Some(seconds)),
        _ => Err(invalid("MaxSessionDuration must be between 3600 and 43200 seconds.")),
    }
}

/// Every role of the account, in name order.
pub async fn all(state: &ApiState, context: &Context) -> Result<Vec<Role>, ApiError> {
    let mut roles: Vec<Role> = Vec::new();
    loop {
        let after = roles.last().map(|role| role.name.clone());
        let rows = state
            .store
            .list_documents(&context.global_scope(), KIND, after.as_deref(), GREATEST_PAGE_ROWS)
            .await?;
        let is_last = rows.len() < GREATEST_PAGE_ROWS;
        for row in rows {
            roles.push(decode(row)?);
        }
        if is_last {
            return Ok(roles);
        }
    }
}

fn role_element(context: &Context, role: &Role) -> String {
    let tags = if role.tags.is_empty() { String::new() } else { role.tags_xml() };
    format!("<Role>{}{tags}</Role>", role.xml(context.scope.account.as_str()))
}

/// GetRole.
pub async fn get(state: &ApiState, context: &Context, parameters: &Parameters) -> Result<String, ApiError> {
    let role = load(state, context, parameters.required("RoleName")?).await?;
    Ok(role_element(context, &role))
}

/// ListRoles.
pub async fn list(state: &ApiState, context: &Context, parameters: &Parameters) -> Result<String, ApiError> {
    let prefix = parameters.get("PathPrefix").unwrap_or("/");
    let limit = page_rows(parameters)?;
    let mut after = marker::<String>(parameters, KIND)?;
    let (mut members, mut count, mut next) = (String::new(), 0, None);
    'pages: loop {
        let rows =
            state.store.list_documents(&context.global_scope(), KIND, after.as_deref(), limit + 1).await?;
        let whole = rows.len() > limit;
        for row in rows {
            let Ok(role) = serde_json::from_value::<Role>(row.value) else { continue };
            if role.path.starts_with(prefix) {
                if count == limit {
                    next = after.take();
                    break 'pages;
                }
                members += &format!("<member>{}</member>", role.xml(context.scope.account.as_str()));
                count += 1;
            }
            after = Some(row.key);
        }
        if !whole {
            break;
        }
    }
    Ok(format!("<Roles>{members}</Roles>") + &truncation(KIND, next.as_ref()))
}

/// ListRoleTags.
pub async fn list_tags(
    state: &ApiState,
    context: &Context,
    parameters: &Parameters,
) -> Result<String, ApiError> {
    let role = load(state, context, parameters.required("RoleName")?).await?;
    Ok(role.tags_xml() + &truncation::<String>(KIND, None))
}

/// ListInstanceProfilesForRole: there are no instance profiles. Terraform asks before it deletes a role.
pub async fn instance_profiles(
    state: &ApiState,
    context: &Context,
    parameters: &Parameters,
) -> Result<String, ApiError> {
    load(state, context, parameters.required("RoleName")?).await?;
    Ok("<InstanceProfiles></InstanceProfiles>".to_owned() + &truncation::<String>(KIND, None))
}

/// DeleteRole. Fails with `DeleteConflict` while policies hang on it, as IAM does.
pub async fn delete(
    state: &ApiState,
    context: &Context,
    parameters: &Parameters,
) -> Result<Option<String>, ApiError> {
    let name = parameters.required("RoleName")?;
    let role = load(state, context, name).await?;
    let conflict = |what| Err(ApiError::new(StatusCode::CONFLICT, "DeleteConflict", what));
    if !role.attached.is_empty() {
        return conflict("Cannot delete entity, must detach all policies first.");
    }
    if !role.policies.is_empty() {
        return conflict("Cannot delete entity, must delete policies first.");
    }
    state.store.delete_document(&context.global_scope(), KIND, name).await?;
    Ok(None)
}

/// UpdateRole: description and session length.
pub async fn update(
    state: &ApiState,
    context: &Context,
    parameters: &Parameters,
) -> Result<String, ApiError> {
    let mut role = load(state, context, parameters.required("RoleName")?).await?;
    if let Some(description) = parameters.get("Description") {
        role.description = Some(description.to_owned()).filter(|description| !description.is_empty());
    }
    if let Some(seconds) = session_seconds(parameters)? {
        role.max_session_seconds = seconds;
    }
    save(state, context, &role, Expect::Anything).await?;
    Ok(String::new())
}

/// UpdateRoleDescription, the older way to change the description.
pub async fn update_description(
    state: &ApiState,
    context: &Context,
    parameters: &Parameters,
) -> Result<String, ApiError> {
    let mut role = load(state, context, parameters.required("RoleName")?).await?;
    let description = parameters.get("Description").unwrap_or_default();
    role.description = Some(description.to_owned()).filter(|description| !description.is_empty());
    save(state, context, &role, Expect::Anything).await?;
    Ok(role_element(context, &role))
}

/// UpdateAssumeRolePolicy.
pub async fn update_trust(
    state: &ApiState,
    context: &Context,
    parameters: &Parameters,
) -> Result<Option<String>, ApiError> {
    let mut role = load(state, context, parameters.required("RoleName")?).await?;
    let trust = parameters.required("PolicyDocument")?;
    document::check_trust(trust)?;
    role.trust = trust.to_owned();
    save(state, context, &role, Expect::Anything).await?;
    Ok(None)
}

/// TagRole.
pub async fn tag(
    state: &ApiState,
    context: &Context,
    parameters: &Parameters,
) -> Result<Option<String>, ApiError> {
    let mut role = load(state, context, parameters.required("RoleName")?).await?;
    read_tags(parameters, &mut role.tags)?;
    save(state, context, &role, Expect::Anything).await?;
    Ok(None)
}

/// UntagRole.
pub async fn untag(
    state: &ApiState,
    context: &Context,
    parameters: &Parameters,
) -> Result<Option<String>, ApiError> {
    let mut role = load(state, context, parameters.required("RoleName")?).await?;
    remove_tags(parameters, &mut role.tags);
    save(state, context, &role, Expect::Anything).await?;
    Ok(None)
}

/// Adds `Tags.member.N.Key` and `.Value`. Fails with `LimitExceeded`.
pub fn read_tags(parameters: &Parameters, tags: &mut BTreeMap<String, String>) -> Result<(), ApiError> {
    for (name, key) in &parameters.0 {
        let Some(stem) = name.strip_prefix("Tags.member.").and_then(|rest| rest.strip_suffix(".Key")) else {
            continue;
        };
        let value = parameters.get(&format!("Tags.member.{stem}.Value")).unwrap_or_default();
        tags.insert(key.clone(), value.to_owned());
    }
    if tags.len() > 50 {
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            "LimitExceeded",
            "The number of tags has reached the maximum limit of 50.",
        ));
    }
    Ok(())
}

/// Removes `TagKeys.member.N`.
pub fn remove_tags(parameters: &Parameters, tags: &mut BTreeMap<String, String>) {
    for (name, key) in &parameters.0 {
        if name.starts_with("TagKeys.member.") {
            tags.remove(key);
        }
    }
}

/// `MaxItems` within its bounds.
pub fn page_rows(parameters: &Parameters) -> Result<usize, ApiError> {
    match parameters.get("MaxItems").map(str::parse) {
        None => Ok(PAGE_ROWS),
        Some(Ok(rows @ 1..=GREATEST_PAGE_ROWS)) => Ok(rows),
        Some(_) => Err(invalid("MaxItems must be between 1 and 1000.")),
    }
}

/// The key in `Marker`.
pub fn marker<K: serde::de::DeserializeOwned>(
    parameters: &Parameters,
    list: &str,
) -> Result<Option<K>, ApiError> {
    match parameters.get("Marker") {
        None => Ok(None),
        Some(marker) => page::key(list, marker).map(Some).ok_or_else(|| {
            ApiError::new(StatusCode::BAD_REQUEST, "InvalidInput", "The Marker is not of this list.")
        }),
    }
}

/// `IsTruncated` and `Marker`.
pub fn truncation<K: Serialize>(list: &str, next: Option<&K>) -> String {
    match next {
        Some(key) => element("IsTruncated", "true") + &element("Marker", &page::token(list, key)),
        None => element("IsTruncated", "false"),
    }
}
