//! What was asked for, as it is stored: one document per configured version, in its function's scope.

use lamplight_model::{FunctionName, Scope, Timestamp};
use lamplight_store::{Document, Expect, Store, StoreError};
use serde::{Deserialize, Serialize};

/// Kind of the stored documents.
pub const KIND: &str = "provisioned-concurrency";
/// Documents read at once.
const READ_ROWS: usize = 1_000;

/// Provisioned concurrency of one published version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvisionedConfig {
    /// The function.
    pub function: FunctionName,
    /// Number of the published version.
    pub version: u64,
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

/// Names the version within its scope: by function, then by number. No function name holds a slash.
pub fn key(function: &FunctionName, version: u64) -> String {
    format!("{function}/{version:020}")
}

/// Stores one, in place of what was there.
pub async fn put(store: &dyn Store, scope: &Scope, config: &ProvisionedConfig) -> Result<(), StoreError> {
    let value = serde_json::to_value(config).map_err(|error| StoreError::Failed {
        doing: "failed to write a provisioned concurrency down".to_owned(),
        source: Box::new(error),
    })?;
    let document = Document { key: key(&config.function, config.version), value };
    store.put_document(scope, KIND, document, Expect::Anything).await
}

/// That of one version.
pub async fn get(
    store: &dyn Store,
    scope: &Scope,
    function: &FunctionName,
    version: u64,
) -> Result<Option<ProvisionedConfig>, StoreError> {
    let document = store.get_document(scope, KIND, &key(function, version)).await?;
    Ok(document.as_ref().and_then(ProvisionedConfig::parse))
}

/// Takes that of one version away. `false` when there was none.
pub async fn delete(
    store: &dyn Store,
    scope: &Scope,
    function: &FunctionName,
    version: u64,
) -> Result<bool, StoreError> {
    store.delete_document(scope, KIND, &key(function, version)).await
}

/// Those of one function by version number, beginning after `after`, at most `limit`.
pub async fn list(
    store: &dyn Store,
    scope: &Scope,
    function: &FunctionName,
    after: Option<u64>,
    limit: usize,
) -> Result<Vec<ProvisionedConfig>, StoreError> {
    let after = key(function, after.unwrap_or(0));
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
