//! Statements about aliases: documents whose versions must exist, and which keep their versions from being deleted.

use crate::contract::{Document, Expect, StoreError};
use crate::sqlite::documents;
use crate::sqlite::functions::exists;
use lamplight_model::{Alias, FunctionName, Qualifier, Scope, VersionNumber, name::function_arn};
use rusqlite::Connection;
use std::sync::Arc;

/// Kind of the documents: they belong to their function.
const ALIASES: &str = "function/alias";
/// Aliases read at once.
const READ_ROWS: usize = 1_000;

/// By function, then by name. No function name holds a slash.
fn key(function: &FunctionName, name: &str) -> String {
    format!("{function}/{name}")
}

fn parse(document: &Document) -> Result<Arc<Alias>, StoreError> {
    let doing = || format!("failed to read the alias {}", document.key);
    let alias = serde_json::from_value(document.value.clone());
    alias.map(Arc::new).map_err(|error| StoreError::failed(doing(), error))
}

pub(super) fn put(connection: &Connection, alias: &Alias, expect: &Expect) -> Result<(), StoreError> {
    let additional = alias.additional.map(|additional| VersionNumber::Published(additional.version));
    for version in [Some(alias.version), additional].into_iter().flatten() {
        if !exists(connection, &alias.scope, &alias.function, version)? {
            let qualifier = Qualifier::from(version);
            let arn = function_arn(&alias.scope, &alias.function, Some(&qualifier));
            return Err(StoreError::NotFound(arn));
        }
    }
    let value = serde_json::to_value(alias)
        .map_err(|error| StoreError::failed(format!("failed to write down {}", alias.arn()), error))?;
    let document = Document { key: key(&alias.function, &alias.name), value };
    documents::put(connection, &alias.scope, ALIASES, &document, expect)
}

pub(super) fn get(
    connection: &Connection,
    scope: &Scope,
    function: &FunctionName,
    name: &str,
) -> Result<Option<Arc<Alias>>, StoreError> {
    let document = documents::get(connection, scope, ALIASES, &key(function, name))?;
    document.as_ref().map(parse).transpose()
}

pub(super) fn list(
    connection: &Connection,
    scope: &Scope,
    function: &FunctionName,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Arc<Alias>>, StoreError> {
    let after = key(function, after.unwrap_or_default());
    let rows = documents::list(connection, scope, ALIASES, Some(&after), limit)?;
    let mut aliases = Vec::new();
    for row in &rows {
        let alias = parse(row)?;
        // What follows in the order of keys belongs to another function.
        if alias.function != *function {
            break;
        }
        aliases.push(alias);
    }
    Ok(aliases)
}

/// With what is configured beside it.
pub(super) fn delete(
    connection: &Connection,
    scope: &Scope,
    function: &FunctionName,
    name: &str,
) -> Result<bool, StoreError> {
    let found = documents::get(connection, scope, ALIASES, &key(function, name))?.is_some();
    if found {
        documents::forget_qualifier(connection, scope, function, name)?;
    }
    Ok(found)
}

/// Names of the aliases some of whose calls may run this version.
pub(super) fn pointing_to(
    connection: &Connection,
    scope: &Scope,
    function: &FunctionName,
    version: u64,
) -> Result<Vec<String>, StoreError> {
    let mut names = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let aliases = list(connection, scope, function, after.as_deref(), READ_ROWS)?;
        let pointing = aliases.iter().filter(|alias| alias.points_to(version));
        names.extend(pointing.map(|alias| alias.name.clone()));
        match aliases.last() {
            Some(last) if aliases.len() == READ_ROWS => after = Some(last.name.clone()),
            _ => return Ok(names),
        }
    }
}
