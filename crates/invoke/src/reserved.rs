//! Reserved concurrency of a function: one document each, which goes with its function.
//!
//! `Provisioning` writes it beside provisioned concurrency, because each is bounded by the other; the admission enforces it.

use lamplight_model::{FunctionName, Scope};
use lamplight_store::function_documents::{self, Owner};
use lamplight_store::{Document, Expect, Store, StoreError};
use serde::{Deserialize, Serialize};

/// Kind of the stored documents.
pub const KIND: &str = "function/reserved-concurrency";
/// Documents read at once.
const READ_ROWS: usize = 1_000;

#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    executions: usize,
}

/// What all versions together have reserved is kept where what is configured for `$LATEST` is.
fn owner<'a>(scope: &'a Scope, function: &'a FunctionName) -> Owner<'a> {
    Owner { scope, function, qualifier: None }
}

/// Function and executions of a document that `put` wrote; `None` for anything else.
pub fn parse(document: &Document) -> Option<(FunctionName, usize)> {
    let stored: Stored = serde_json::from_value(document.value.clone()).ok()?;
    let function = document.key.split('/').next()?;
    Some((FunctionName::parse(function)?, stored.executions))
}

/// Reserves, in place of what was reserved. Fails with `NotFound` when there is no such function.
pub async fn put(
    store: &dyn Store,
    scope: &Scope,
    function: &FunctionName,
    executions: usize,
) -> Result<(), StoreError> {
    let stored = Stored { executions };
    function_documents::put(store, KIND, owner(scope, function), &stored, Expect::Anything).await
}

/// What a function has reserved; `None` when it has not.
pub async fn get(
    store: &dyn Store,
    scope: &Scope,
    function: &FunctionName,
) -> Result<Option<usize>, StoreError> {
    let stored: Option<Stored> = function_documents::get(store, KIND, owner(scope, function)).await?;
    Ok(stored.map(|stored| stored.executions))
}

/// Takes back what a function has reserved. `false` when it had not.
pub async fn delete(store: &dyn Store, scope: &Scope, function: &FunctionName) -> Result<bool, StoreError> {
    function_documents::delete(store, KIND, owner(scope, function)).await
}

/// All of one scope.
pub async fn in_scope(store: &dyn Store, scope: &Scope) -> Result<Vec<(FunctionName, usize)>, StoreError> {
    let mut reserved = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let documents = store.list_documents(scope, KIND, after.as_deref(), READ_ROWS).await?;
        reserved.extend(documents.iter().filter_map(parse));
        match documents.last() {
            Some(last) if documents.len() == READ_ROWS => after = Some(last.key.clone()),
            _ => return Ok(reserved),
        }
    }
}
