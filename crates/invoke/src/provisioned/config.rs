//! What was asked for, as it is stored: one document per configured version or alias, in its function's scope.

use lamplight_model::{FunctionName, Qualifier, Scope, Timestamp};
use lamplight_store::{Document, Expect, Store, StoreError};
use serde::{Deserialize, Serialize};

/// Kind of the stored documents.
pub const KIND: &str = "provisioned-concurrency";
/// Documents read at once.
const READ_ROWS: usize = 1_000;

/// What of a function instances are kept ready for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProvisionedQualifier {
    /// A published version.
    Version(u64),
    /// The versions an alias points to, by its weights.
    Alias(String),
}

impl From<ProvisionedQualifier> for Qualifier {
    fn from(qualifier: ProvisionedQualifier) -> Self {
        match qualifier {
            ProvisionedQualifier::Version(number) => Self::Version(number),
            ProvisionedQualifier::Alias(name) => Self::Alias(name),
        }
    }
}

impl ProvisionedQualifier {
    /// `None` for `$LATEST`, of which no instances are kept.
    pub fn of(qualifier: &Qualifier) -> Option<Self> {
        match qualifier {
            Qualifier::Latest => None,
            Qualifier::Version(number) => Some(Self::Version(*number)),
            Qualifier::Alias(name) => Some(Self::Alias(name.clone())),
        }
    }
}

/// Provisioned concurrency of one published version or alias.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvisionedConfig {
    /// The function.
    pub function: FunctionName,
    /// Its version or alias. Stored as `version` or `alias`.
    #[serde(flatten)]
    pub qualifier: ProvisionedQualifier,
    /// Instances to have ready, at least 1.
    pub executions: usize,
    /// When it was asked for.
    pub last_modified: Timestamp,
}

impl ProvisionedConfig {
    /// From a document that `put` wrote; `None` for anything else.
    pub fn parse(document: &Document) -> Option<Self> {
        serde_json::from_value(document.value.clone()).ok()
    }
}

/// By function; then versions by number, then aliases by name. No function name holds a slash, no alias is digits only.
fn key(function: &FunctionName, qualifier: &ProvisionedQualifier) -> String {
    match qualifier {
        ProvisionedQualifier::Version(number) => format!("{function}/{number:020}"),
        ProvisionedQualifier::Alias(name) => format!("{function}/{name}"),
    }
}

/// Stores one, in place of what was there.
pub async fn put(store: &dyn Store, scope: &Scope, config: &ProvisionedConfig) -> Result<(), StoreError> {
    let value = serde_json::to_value(config).map_err(|error| StoreError::Failed {
        doing: "failed to write a provisioned concurrency down".to_owned(),
        source: Box::new(error),
    })?;
    let document = Document { key: key(&config.function, &config.qualifier), value };
    store.put_document(scope, KIND, document, Expect::Anything).await
}

/// That of one version or alias.
pub async fn get(
    store: &dyn Store,
    scope: &Scope,
    function: &FunctionName,
    qualifier: &ProvisionedQualifier,
) -> Result<Option<ProvisionedConfig>, StoreError> {
    let document = store.get_document(scope, KIND, &key(function, qualifier)).await?;
    Ok(document.as_ref().and_then(ProvisionedConfig::parse))
}

/// Takes that of one version or alias away. `false` when there was none.
pub async fn delete(
    store: &dyn Store,
    scope: &Scope,
    function: &FunctionName,
    qualifier: &ProvisionedQualifier,
) -> Result<bool, StoreError> {
    store.delete_document(scope, KIND, &key(function, qualifier)).await
}

/// Those of one function in the order of keys, beginning after `after`, at most `limit`.
pub async fn list(
    store: &dyn Store,
    scope: &Scope,
    function: &FunctionName,
    after: Option<&ProvisionedQualifier>,
    limit: usize,
) -> Result<Vec<ProvisionedConfig>, StoreError> {
    let after = after.map_or_else(|| format!("{function}/"), |after| key(function, after));
    let documents = store.list_documents(scope, KIND, Some(&after), limit).await?;
    Ok(documents
        .iter()
        .filter_map(ProvisionedConfig::parse)
        .filter(|config| config.function == *function)
        .collect())
}

/// All of one scope.
pub async fn in_scope(store: &dyn Store, scope: &Scope) -> Result<Vec<ProvisionedConfig>, StoreError> {
    let mut configs = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let documents = store.list_documents(scope, KIND, after.as_deref(), READ_ROWS).await?;
        configs.extend(documents.iter().filter_map(ProvisionedConfig::parse));
        match documents.last() {
            Some(last) if documents.len() == READ_ROWS => after = Some(last.key.clone()),
            _ => return Ok(configs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_earlier_releases_stored_is_read() {
        let check = |value: serde_json::Value, expected: ProvisionedQualifier| {
            let config =
                ProvisionedConfig::parse(&Document { key: String::new(), value: value.clone() }).unwrap();
            assert_eq!(config.qualifier, expected);
            assert_eq!(serde_json::to_value(&config).unwrap(), value);
        };
        let version = serde_json::json!({"function": "f", "version": 7, "executions": 2, "last_modified": 5});
        check(version, ProvisionedQualifier::Version(7));
        let alias =
            serde_json::json!({"function": "f", "alias": "live", "executions": 2, "last_modified": 5});
        check(alias, ProvisionedQualifier::Alias("live".to_owned()));
    }
}
