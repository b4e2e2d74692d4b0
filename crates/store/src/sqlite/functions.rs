//! Statements about functions and their versions. Each runs inside the writer's transaction or on a reader.

use crate::contract::{CodeUsage, Expect, StoreError};
use crate::secret::Key;
use crate::sqlite::record::{COLUMNS, decode, encode, version_column};
use lamplight_model::function::FunctionMarks;
use lamplight_model::{CodeDigest, FunctionName, FunctionVersion, Scope, VersionNumber};
use rusqlite::{Connection, OptionalExtension, params};
use std::sync::Arc;

fn failed(doing: impl Into<String>) -> impl FnOnce(rusqlite::Error) -> StoreError {
    let doing = doing.into();
    move |error| StoreError::sqlite(doing, error)
}

fn stored_revision(
    connection: &Connection,
    scope: &str,
    name: &FunctionName,
    version: i64,
) -> Result<Option<String>, StoreError> {
    connection
        .prepare_cached(
            "SELECT revision_id FROM function_version WHERE scope = ? AND name = ? AND version = ?",
        )
        .and_then(|mut statement| {
            statement.query_row(params![scope, name.as_str(), version], |row| row.get(0)).optional()
        })
        .map_err(failed(format!("failed to read function {name}")))
}

/// Whether there is such a version.
pub(super) fn exists(
    connection: &Connection,
    scope: &Scope,
    name: &FunctionName,
    version: VersionNumber,
) -> Result<bool, StoreError> {
    Ok(stored_revision(connection, &scope.key(), name, version_column(version))?.is_some())
}

fn write_version(connection: &Connection, version: &FunctionVersion, key: &Key) -> Result<(), StoreError> {
    let encoded = encode(version, key)?;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO function_version
             (scope, name, version, revision_id, code, unfinished, record, environment)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                version.scope.key(),
                version.name.as_str(),
                version_column(version.version),
                version.revision_id,
                version.code.as_str(),
                encoded.unfinished,
                encoded.record,
                encoded.environment,
            ])
        })
        .map_err(failed(format!("failed to write {}", version.qualified_arn())))?;
    Ok(())
}

/// Makes sure that numbers up to `used` are never given out (again).
fn raise_counter(
    connection: &Connection,
    scope: &str,
    name: &FunctionName,
    next_version: i64,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO function_counter (scope, name, next_version) VALUES (?, ?, ?)
             ON CONFLICT DO UPDATE SET next_version = max(next_version, excluded.next_version)",
        )
        .and_then(|mut statement| statement.execute(params![scope, name.as_str(), next_version]))
        .map_err(failed(format!("failed to write the version counter of {name}")))?;
    Ok(())
}

pub(super) fn put(
    connection: &Connection,
    version: &FunctionVersion,
    expect: &Expect,
    key: &Key,
) -> Result<(), StoreError> {
    let scope = version.scope.key();
    let number = version_column(version.version);
    let stored = stored_revision(connection, &scope, &version.name, number)?;
    match (expect, stored) {
        (Expect::Absent, Some(_)) => return Err(StoreError::AlreadyExists(version.unqualified_arn())),
        (Expect::Revision(expected), stored) if stored.as_ref() != Some(expected) => {
            return Err(StoreError::RevisionMismatch(version.unqualified_arn()));
        }
        _ => {}
    }
    raise_counter(connection, &scope, &version.name, number.saturating_add(1))?;
    match (expect, version.version) {
        (Expect::Revision(_), VersionNumber::Latest) => {
            let mut version = version.clone();
            if let Some(stored) = get(connection, &version.scope, &version.name, version.version, key)? {
                version.set_marks(stored.marks());
            }
            write_version(connection, &version, key)
        }
        _ => write_version(connection, version, key),
    }
}

pub(super) fn put_marks(
    connection: &Connection,
    scope: &Scope,
    name: &FunctionName,
    seen: &FunctionMarks,
    marks: FunctionMarks,
    key: &Key,
) -> Result<(), StoreError> {
    let stored = get(connection, scope, name, VersionNumber::Latest, key)?;
    let stored = stored.ok_or_else(|| StoreError::NotFound(format!("function {name}")))?;
    if stored.marks() != *seen {
        return Err(StoreError::RevisionMismatch(stored.unqualified_arn()));
    }
    let mut changed = FunctionVersion::clone(&stored);
    changed.set_marks(marks);
    write_version(connection, &changed, key)
}

pub(super) fn publish(
    connection: &Connection,
    mut snapshot: FunctionVersion,
    latest_revision: &str,
    key: &Key,
) -> Result<Arc<FunctionVersion>, StoreError> {
    let scope = snapshot.scope.key();
    match stored_revision(connection, &scope, &snapshot.name, 0)? {
        None => return Err(StoreError::NotFound(snapshot.unqualified_arn())),
        Some(stored) if stored != latest_revision => {
            return Err(StoreError::RevisionMismatch(snapshot.unqualified_arn()));
        }
        Some(_) => {}
    }
    let number: i64 = connection
        .prepare_cached(
            "UPDATE function_counter SET next_version = next_version + 1 WHERE scope = ? AND name = ?
             RETURNING next_version - 1",
        )
        .and_then(|mut statement| {
            statement.query_row(params![scope, snapshot.name.as_str()], |row| row.get(0))
        })
        .map_err(failed(format!("failed to number a version of {}", snapshot.name)))?;
    let number =
        u64::try_from(number).map_err(|error| StoreError::failed("failed to number a version", error))?;
    snapshot.version = VersionNumber::Published(number);
    write_version(connection, &snapshot, key)?;
    Ok(Arc::new(snapshot))
}

pub(super) fn delete_function(
    connection: &Connection,
    scope: &Scope,
    name: &FunctionName,
) -> Result<bool, StoreError> {
    let deleted = connection
        .prepare_cached("DELETE FROM function_version WHERE scope = ? AND name = ?")
        .and_then(|mut statement| statement.execute(params![scope.key(), name.as_str()]))
        .map_err(failed(format!("failed to delete function {name}")))?;
    if deleted > 0 {
        super::queue::close(connection, scope, name)?;
        super::documents::forget_function(connection, scope, name)?;
    }
    Ok(deleted > 0)
}

pub(super) fn delete_version(
    connection: &Connection,
    scope: &Scope,
    name: &FunctionName,
    version: u64,
) -> Result<bool, StoreError> {
    if version == 0 {
        // 0 is how $LATEST is stored; it goes with its function only.
        return Ok(false);
    }
    let aliases = super::aliases::pointing_to(connection, scope, name, version)?;
    if !aliases.is_empty() {
        return Err(StoreError::Referenced(aliases));
    }
    let number = version_column(VersionNumber::Published(version));
    let deleted = connection
        .prepare_cached("DELETE FROM function_version WHERE scope = ? AND name = ? AND version = ?")
        .and_then(|mut statement| statement.execute(params![scope.key(), name.as_str(), number]))
        .map_err(failed(format!("failed to delete version {version} of function {name}")))?;
    if deleted > 0 {
        super::documents::forget_qualifier(connection, scope, name, &version.to_string())?;
    }
    Ok(deleted > 0)
}

pub(super) fn get(
    connection: &Connection,
    scope: &Scope,
    name: &FunctionName,
    version: VersionNumber,
    key: &Key,
) -> Result<Option<Arc<FunctionVersion>>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM function_version WHERE scope = ? AND name = ? AND version = ?");
    let parameters = params![scope.key(), name.as_str(), version_column(version)];
    Ok(select(connection, &sql, parameters, key)?.pop())
}

pub(super) fn list_functions(
    connection: &Connection,
    scope: &Scope,
    after: Option<&FunctionName>,
    limit: usize,
    key: &Key,
) -> Result<Vec<Arc<FunctionVersion>>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM function_version WHERE scope = ? AND version = 0 AND name > ? ORDER BY name LIMIT ?"
    );
    let after = after.map_or("", FunctionName::as_str);
    select(connection, &sql, params![scope.key(), after, limit as i64], key)
}

pub(super) fn list_versions(
    connection: &Connection,
    scope: &Scope,
    name: &FunctionName,
    after: Option<VersionNumber>,
    limit: usize,
    key: &Key,
) -> Result<Vec<Arc<FunctionVersion>>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM function_version WHERE scope = ? AND name = ? AND version > ?
         ORDER BY version LIMIT ?"
    );
    let after = after.map_or(-1, version_column);
    select(connection, &sql, params![scope.key(), name.as_str(), after, limit as i64], key)
}

pub(super) fn unfinished(
    connection: &Connection,
    key: &Key,
) -> Result<Vec<Arc<FunctionVersion>>, StoreError> {
    let sql =
        format!("SELECT {COLUMNS} FROM function_version WHERE unfinished = 1 ORDER BY scope, name, version");
    select(connection, &sql, params![], key)
}

pub(super) fn code_usage(connection: &Connection, scope: &Scope) -> Result<CodeUsage, StoreError> {
    connection
        .prepare_cached(
            "SELECT count(DISTINCT name), ifnull(sum(record ->> '$.code_size_bytes'), 0) + (
                 SELECT ifnull(sum(value ->> 'CodeSizeBytes'), 0) FROM document
                 WHERE scope = ?1 AND value ->> 'CodeDigest' IS NOT NULL
             )
             FROM function_version WHERE scope = ?1",
        )
        .and_then(|mut statement| {
            statement.query_row(params![scope.key()], |row| {
                let count = |at| row.get::<_, i64>(at).map(i64::unsigned_abs);
                Ok(CodeUsage { functions: count(0)?, code_bytes: count(1)? })
            })
        })
        .map_err(failed("failed to add the sizes of packages up"))
}

pub(super) fn referenced_code(connection: &Connection) -> Result<Vec<CodeDigest>, StoreError> {
    let doing = "failed to list the code that something refers to";
    let mut statement = connection
        .prepare_cached(
            "SELECT code FROM function_version
             UNION SELECT layer.value ->> 'code' FROM function_version, json_each(record, '$.layers') AS layer
             UNION SELECT value ->> 'CodeDigest' FROM document WHERE value ->> 'CodeDigest' IS NOT NULL
             ORDER BY code",
        )
        .map_err(failed(doing))?;
    let digests = statement.query_map(params![], |row| row.get::<_, String>(0)).map_err(failed(doing))?;
    let mut referenced = Vec::new();
    for digest in digests {
        let digest = digest.map_err(failed(doing))?;
        // Silence here would let the code be collected.
        referenced.push(CodeDigest::parse(&digest).ok_or_else(|| StoreError::failed(doing, digest))?);
    }
    Ok(referenced)
}

fn select(
    connection: &Connection,
    sql: &str,
    parameters: &[&dyn rusqlite::ToSql],
    key: &Key,
) -> Result<Vec<Arc<FunctionVersion>>, StoreError> {
    let doing = "failed to read function versions";
    let mut statement = connection.prepare_cached(sql).map_err(failed(doing))?;
    let mut rows = statement.query(parameters).map_err(failed(doing))?;
    let mut versions = Vec::new();
    while let Some(row) = rows.next().map_err(failed(doing))? {
        versions.push(Arc::new(decode(row, key)?));
    }
    Ok(versions)
}
