//! A parameter as it is stored: the newest version in one document, the versions before it in another.
//!
//! A change writes the older versions first. Should the server die between the two writes, the newest version is in both
//! documents; whoever reads leaves it out of the older ones.

use crate::http::{ApiError, Context};
use crate::state::ApiState;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lamplight_model::{ServiceError, Timestamp};
use lamplight_store::{Document, Expect};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Kind of the documents with the newest versions.
pub const KIND: &str = "sealed/ssm-parameter";
/// Kind of the documents with the versions before.
const HISTORY_KIND: &str = "sealed/ssm-parameter-history";
/// Versions kept of one parameter. Source: Systems Manager quotas, "Parameter history".
pub const VERSIONS: usize = 100;

/// A parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// `Name`.
    pub name: String,
    /// Tells a parameter from an earlier one of the same name, whose versions may still be stored.
    pub incarnation: String,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// The newest version.
    pub newest: Version,
}

/// One version of a parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// `Version`, from 1.
    pub number: u64,
    /// `Type`.
    pub kind: Kind,
    /// `Value`.
    pub value: String,
    /// What stands for the value where it is not decrypted; `SecureString` only.
    pub opaque: Option<String>,
    /// `KeyId`; `SecureString` only.
    pub key_id: Option<String>,
    /// `Description`.
    pub description: Option<String>,
    /// `AllowedPattern`.
    pub allowed_pattern: Option<String>,
    /// `Tier`: `Standard` or `Advanced`.
    pub tier: String,
    /// `DataType`.
    pub data_type: String,
    /// `LastModifiedDate`.
    pub modified_at: Timestamp,
    /// `LastModifiedUser`.
    pub modified_by: String,
}

/// `Type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    String,
    StringList,
    SecureString,
}

impl Kind {
    /// All, as the model lists them.
    pub const NAMES: &[&str] = &["String", "StringList", "SecureString"];

    /// As it stands in requests and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "String",
            Self::StringList => "StringList",
            Self::SecureString => "SecureString",
        }
    }

    /// `None` for anything else than one of the names.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::String, Self::StringList, Self::SecureString].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// The versions before the newest, oldest first.
#[derive(Debug, Default, Serialize, Deserialize)]
struct History {
    incarnation: String,
    versions: Vec<Version>,
}

/// A text that stands for a value that is not decrypted. It holds nothing: there is no KMS that would open it.
pub fn opaque() -> String {
    let random: [u8; 32] = rand::random();
    STANDARD.encode([&random[..], &rand::random::<[u8; 32]>()[..]].concat())
}

/// Seconds since the epoch, as JSON 1.1 writes times.
pub fn seconds(time: Timestamp) -> f64 {
    time.as_millis() as f64 / 1_000.0
}

/// `arn:aws:ssm:<region>:<account>:parameter/<name>`, one slash whether the name begins with one or not.
pub fn arn(context: &Context, name: &str) -> String {
    context.scope.arn("ssm", &format!("parameter/{}", name.strip_prefix('/').unwrap_or(name)))
}

impl Parameter {
    /// The `Parameter` structure of one of its versions.
    pub fn value_json(&self, context: &Context, version: &Version, decrypt: bool) -> Value {
        json!({
            "Name": self.name,
            "Type": version.kind.as_str(),
            "Value": version.shown_value(decrypt),
            "Version": version.number,
            "LastModifiedDate": seconds(version.modified_at),
            "ARN": arn(context, &self.name),
            "DataType": version.data_type,
        })
    }
}

impl Version {
    /// The value, or what stands for it.
    pub fn shown_value(&self, decrypt: bool) -> &str {
        match &self.opaque {
            Some(opaque) if !decrypt => opaque,
            _ => &self.value,
        }
    }

    /// What ParameterMetadata and ParameterHistory have in common, without what is unset.
    pub fn metadata(&self, name: &str) -> Map<String, Value> {
        let mut map = Map::new();
        let mut set = |member: &str, value: Value| map.insert(member.to_owned(), value);
        set("Name", name.into());
        set("Type", self.kind.as_str().into());
        for (member, text) in [
            ("KeyId", &self.key_id),
            ("Description", &self.description),
            ("AllowedPattern", &self.allowed_pattern),
        ] {
            if let Some(text) = text {
                set(member, text.as_str().into());
            }
        }
        set("LastModifiedDate", seconds(self.modified_at).into());
        set("LastModifiedUser", self.modified_by.as_str().into());
        set("Version", self.number.into());
        set("Tier", self.tier.as_str().into());
        set("Policies", json!([]));
        set("DataType", self.data_type.as_str().into());
        map
    }
}

/// The parameter of a document.
pub fn decode(document: Document) -> Result<Parameter, ApiError> {
    serde_json::from_value(document.value).map_err(|error| {
        // The parser's text could quote a value, and the document's key is no secret.
        tracing::error!(
            parameter = document.key,
            column = error.column(),
            "a stored parameter cannot be read"
        );
        ServiceError::internal(format!("The stored parameter {} cannot be read.", document.key)).into()
    })
}

/// The parameter of this name.
pub async fn find(state: &ApiState, context: &Context, name: &str) -> Result<Option<Parameter>, ApiError> {
    let document = state.store.get_document(&context.scope, KIND, name).await?;
    document.map(decode).transpose()
}

/// The versions before the newest, oldest first.
pub async fn older_versions(
    state: &ApiState,
    context: &Context,
    parameter: &Parameter,
) -> Result<Vec<Version>, ApiError> {
    let document = state.store.get_document(&context.scope, HISTORY_KIND, &parameter.name).await?;
    let history: History = match document {
        None => return Ok(Vec::new()),
        Some(document) => serde_json::from_value(document.value).map_err(|error| {
            tracing::error!(
                parameter = parameter.name,
                column = error.column(),
                "stored versions cannot be read"
            );
            ApiError::from(ServiceError::internal("The stored versions of the parameter cannot be read."))
        })?,
    };
    if history.incarnation != parameter.incarnation {
        return Ok(Vec::new());
    }
    Ok(history.versions.into_iter().filter(|version| version.number < parameter.newest.number).collect())
}

/// Writes a parameter. With `previous`, that version joins the older ones, of which the newest are kept.
pub async fn save(
    state: &ApiState,
    context: &Context,
    parameter: &Parameter,
    previous: Option<&Parameter>,
) -> Result<(), ApiError> {
    if let Some(previous) = previous {
        let mut versions = older_versions(state, context, previous).await?;
        versions.push(previous.newest.clone());
        let too_many = (versions.len() + 1).saturating_sub(VERSIONS);
        versions.drain(..too_many);
        let history = History { incarnation: parameter.incarnation.clone(), versions };
        write(state, context, HISTORY_KIND, &parameter.name, &history).await?;
    }
    write(state, context, KIND, &parameter.name, parameter).await
}

async fn write(
    state: &ApiState,
    context: &Context,
    kind: &str,
    name: &str,
    content: &impl Serialize,
) -> Result<(), ApiError> {
    let value = serde_json::to_value(content)
        .map_err(|error| ServiceError::internal(format!("failed to write a parameter down: {error}")))?;
    let document = Document { key: name.to_owned(), value };
    Ok(state.store.put_document(&context.scope, kind, document, Expect::Anything).await?)
}

/// Deletes a parameter with its versions. `false` when there was none.
pub async fn delete(state: &ApiState, context: &Context, name: &str) -> Result<bool, ApiError> {
    let existed = state.store.delete_document(&context.scope, KIND, name).await?;
    state.store.delete_document(&context.scope, HISTORY_KIND, name).await?;
    Ok(existed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_sealed() {
        for kind in [KIND, HISTORY_KIND] {
            assert!(kind.starts_with(lamplight_store::sealed_documents::KIND_PREFIX), "{kind}");
        }
    }
}
