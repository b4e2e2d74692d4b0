//! Documents that belong to a function, one of its versions or one of its aliases: configurations, policies.
//!
//! Their kind begins with `KIND_PREFIX`, their key is `<function>/<qualifier>`. They are only written while the function
//! exists and are deleted with it (a version's with the version), in the same transaction.

use crate::contract::{Document, Expect, Store, StoreError};
use lamplight_model::{FunctionName, Qualifier, Scope};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Beginning of the kinds.
pub const KIND_PREFIX: &str = "function/";
/// Kind of resource-based policies: `{"Policy": text, "RevisionId"}`. The front door writes them, the gateway reads them.
pub const POLICY_KIND: &str = "function/policy";

/// What a document belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// Where the function lives.
    pub scope: &'a Scope,
    /// The function.
    pub function: &'a FunctionName,
    /// Version or alias; `None` means `$LATEST`, as everywhere in the API.
    pub qualifier: Option<&'a Qualifier>,
}

impl Owner<'_> {
    fn key(&self) -> String {
        key(self.function, self.qualifier)
    }
}

fn key(function: &FunctionName, qualifier: Option<&Qualifier>) -> String {
    format!("{function}/{}", qualifier.unwrap_or(&Qualifier::Latest))
}

/// The function in the key of a document of such a kind; `None` for other kinds. No function name holds a slash.
pub(crate) fn owner<'a>(kind: &str, key: &'a str) -> Option<&'a str> {
    kind.starts_with(KIND_PREFIX).then(|| key.split('/').next().unwrap_or_default())
}

/// The function and the qualifier in the key of such a document, `$LATEST` as `None`; `None` for any other key.
pub fn parse_key(key: &str) -> Option<(FunctionName, Option<Qualifier>)> {
    let (function, qualifier) = key.split_once('/')?;
    let qualifier = Qualifier::parse(qualifier)?;
    let function = FunctionName::parse(function)?;
    Some((function, Some(qualifier).filter(|qualifier| *qualifier != Qualifier::Latest)))
}

/// The document of this kind, when there is one. Fails when storage does or holds something else than a `T`.
pub async fn get<T: DeserializeOwned>(
    store: &dyn Store,
    kind: &str,
    owner: Owner<'_>,
) -> Result<Option<T>, StoreError> {
    let document = store.get_document(owner.scope, kind, &owner.key()).await?;
    document.map(Document::parse).transpose()
}

/// Stores one. Fails as `Store::put_document` does, with `NotFound` when there is no such function.
pub async fn put<T: Serialize>(
    store: &dyn Store,
    kind: &str,
    owner: Owner<'_>,
    content: &T,
    expect: Expect,
) -> Result<(), StoreError> {
    let value = serde_json::to_value(content).map_err(|error| StoreError::Failed {
        doing: format!("failed to write {kind} {} down", owner.key()),
        source: Box::new(error),
    })?;
    store.put_document(owner.scope, kind, Document { key: owner.key(), value }, expect).await
}

/// Deletes one. `false` when there was none.
pub async fn delete(store: &dyn Store, kind: &str, owner: Owner<'_>) -> Result<bool, StoreError> {
    store.delete_document(owner.scope, kind, &owner.key()).await
}

/// Those of a function by the text of their qualifiers, beginning after `after`, at most `limit`.
pub async fn list<T: DeserializeOwned>(
    store: &dyn Store,
    kind: &str,
    scope: &Scope,
    function: &FunctionName,
    after: Option<&Qualifier>,
    limit: usize,
) -> Result<Vec<(Qualifier, T)>, StoreError> {
    let prefix = format!("{function}/");
    let after = after.map_or_else(|| prefix.clone(), |after| key(function, Some(after)));
    let documents = store.list_documents(scope, kind, Some(&after), limit).await?;
    let mut found = Vec::new();
    for document in documents {
        let Some(qualifier) = document.key.strip_prefix(&prefix).and_then(Qualifier::parse) else { break };
        found.push((qualifier, document.parse()?));
    }
    Ok(found)
}
