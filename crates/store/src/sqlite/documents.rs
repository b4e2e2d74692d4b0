//! Statements about documents: small JSON resources without a table of their own.

use crate::contract::{Document, Expect, StoreError};
use crate::function_documents;
use lamplight_model::{FunctionName, Scope};
use rusqlite::{Connection, OptionalExtension, params};

fn failed(doing: String) -> impl FnOnce(rusqlite::Error) -> StoreError {
    move |error| StoreError::sqlite(doing, error)
}

/// The revision a document is compared by: its own `RevisionId` when it has one, else its text's digest.
fn revision(value: &serde_json::Value) -> String {
    use sha2::Digest as _;
    match value.get("RevisionId").and_then(serde_json::Value::as_str) {
        Some(revision) => revision.to_owned(),
        None => lamplight_model::CodeDigest::from_bytes(
            &sha2::Sha256::digest(value.to_string().as_bytes()).into(),
        )
        .as_str()
        .to_owned(),
    }
}

pub(super) fn put(
    connection: &Connection,
    scope: &Scope,
    kind: &str,
    document: &Document,
    expect: &Expect,
) -> Result<(), StoreError> {
    let name = || format!("{kind} {}", document.key);
    if let Some(function) = function_documents::owner(kind, &document.key) {
        // In the transaction of the write: what is stored after its function was deleted would be a later one's.
        check_owner(connection, scope, function)?;
    }
    let stored: Option<String> = connection
        .prepare_cached("SELECT revision_id FROM document WHERE scope = ? AND kind = ? AND key = ?")
        .and_then(|mut statement| {
            statement.query_row(params![scope.key(), kind, document.key], |row| row.get(0)).optional()
        })
        .map_err(failed(format!("failed to read {}", name())))?;
    match (expect, stored) {
        (Expect::Absent, Some(_)) => return Err(StoreError::AlreadyExists(name())),
        (Expect::Revision(expected), stored) if stored.as_ref() != Some(expected) => {
            return Err(StoreError::RevisionMismatch(name()));
        }
        _ => {}
    }
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO document (scope, kind, key, revision_id, value) VALUES (?, ?, ?, ?, ?)",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                scope.key(),
                kind,
                document.key,
                revision(&document.value),
                document.value.to_string()
            ])
        })
        .map_err(failed(format!("failed to write {}", name())))?;
    Ok(())
}

pub(super) fn get(
    connection: &Connection,
    scope: &Scope,
    kind: &str,
    key: &str,
) -> Result<Option<Document>, StoreError> {
    let doing = || format!("failed to read {kind} {key}");
    let value: Option<String> = connection
        .prepare_cached("SELECT value FROM document WHERE scope = ? AND kind = ? AND key = ?")
        .and_then(|mut statement| {
            statement.query_row(params![scope.key(), kind, key], |row| row.get(0)).optional()
        })
        .map_err(failed(doing()))?;
    value.map(|value| parse(key.to_owned(), &value, &doing())).transpose()
}

pub(super) fn list(
    connection: &Connection,
    scope: &Scope,
    kind: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Document>, StoreError> {
    let doing = || format!("failed to list documents of kind {kind}");
    // No key is before the empty one, which is no key.
    let mut statement = connection
        .prepare_cached(
            "SELECT key, value FROM document WHERE scope = ? AND kind = ? AND key > ? ORDER BY key LIMIT ?",
        )
        .map_err(failed(doing()))?;
    let rows = statement
        .query_map(params![scope.key(), kind, after.unwrap_or(""), limit as i64], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        })
        .map_err(failed(doing()))?;
    let mut documents = Vec::new();
    for row in rows {
        let (key, value) = row.map_err(failed(doing()))?;
        documents.push(parse(key, &value, &doing())?);
    }
    Ok(documents)
}

pub(super) fn list_in_all_scopes(
    connection: &Connection,
    kind: &str,
) -> Result<Vec<(Scope, Document)>, StoreError> {
    let doing = || format!("failed to list documents of kind {kind} in all scopes");
    let mut statement = connection
        .prepare_cached("SELECT scope, key, value FROM document WHERE kind = ? ORDER BY scope, key")
        .map_err(failed(doing()))?;
    let rows = statement
        .query_map(params![kind], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
        })
        .map_err(failed(doing()))?;
    let mut documents = Vec::new();
    for row in rows {
        let (scope, key, value) = row.map_err(failed(doing()))?;
        // Every one was written by `Scope::key`.
        if let Some(scope) = Scope::from_key(&scope) {
            documents.push((scope, parse(key, &value, &doing())?));
        }
    }
    Ok(documents)
}

pub(super) fn find(
    connection: &Connection,
    kind: &str,
    id: &str,
) -> Result<Option<(Scope, Document)>, StoreError> {
    let doing = || format!("failed to look for a document of kind {kind} by its id");
    let found: Option<(String, String, String)> = connection
        .prepare_cached(
            "SELECT scope, key, value FROM document WHERE kind = ? AND json_extract(value, '$.id') = ?
             ORDER BY scope, key LIMIT 1",
        )
        .and_then(|mut statement| {
            statement
                .query_row(params![kind, id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                .optional()
        })
        .map_err(failed(doing()))?;
    let Some((scope, key, value)) = found else { return Ok(None) };
    // Every one was written by `Scope::key`.
    let Some(scope) = Scope::from_key(&scope) else { return Ok(None) };
    Ok(Some((scope, parse(key, &value, &doing())?)))
}

pub(super) fn delete(
    connection: &Connection,
    scope: &Scope,
    kind: &str,
    key: &str,
) -> Result<bool, StoreError> {
    let deleted = connection
        .prepare_cached("DELETE FROM document WHERE scope = ? AND kind = ? AND key = ?")
        .and_then(|mut statement| statement.execute(params![scope.key(), kind, key]))
        .map_err(failed(format!("failed to delete {kind} {key}")))?;
    Ok(deleted > 0)
}

fn check_owner(connection: &Connection, scope: &Scope, function: &str) -> Result<(), StoreError> {
    let exists = connection
        .prepare_cached("SELECT 1 FROM function_version WHERE scope = ? AND name = ? AND version = 0")
        .and_then(|mut statement| statement.exists(params![scope.key(), function]))
        .map_err(failed(format!("failed to look for function {function}")))?;
    if exists { Ok(()) } else { Err(StoreError::NotFound(format!("function {function}"))) }
}

/// Deletes what belongs to a function and to its versions and aliases.
pub(super) fn forget_function(
    connection: &Connection,
    scope: &Scope,
    function: &FunctionName,
) -> Result<(), StoreError> {
    // `0` is the character after `/`: the keys of one function, the kinds of all.
    connection
        .prepare_cached(
            "DELETE FROM document WHERE scope = ?1 AND kind > 'function/' AND kind < 'function0'
             AND key >= ?2 || '/' AND key < ?2 || '0'",
        )
        .and_then(|mut statement| statement.execute(params![scope.key(), function.as_str()]))
        .map_err(failed(format!("failed to delete what belongs to function {function}")))?;
    Ok(())
}

/// Deletes what belongs to one version or alias.
pub(super) fn forget_qualifier(
    connection: &Connection,
    scope: &Scope,
    function: &FunctionName,
    qualifier: &str,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "DELETE FROM document WHERE scope = ?1 AND kind > 'function/' AND kind < 'function0'
             AND key = ?2 || '/' || ?3",
        )
        .and_then(|mut statement| statement.execute(params![scope.key(), function.as_str(), qualifier]))
        .map_err(failed(format!("failed to delete what belongs to {function}:{qualifier}")))?;
    Ok(())
}

fn parse(key: String, value: &str, doing: &str) -> Result<Document, StoreError> {
    let value = serde_json::from_str(value).map_err(|error| StoreError::failed(doing, error))?;
    Ok(Document { key, value })
}
