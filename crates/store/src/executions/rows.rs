//! Statements of `executions.sqlite`.

use super::{ExecutionKey, ExecutionQuery, StoredExecution, Wanted};
use crate::contract::StoreError;
use lamplight_model::durable::{Closing, ErrorObject, Event, Execution, NewExecution, Operation, Progress};
use lamplight_model::{FunctionName, Scope, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashSet;
use uuid::Uuid;

fn failed(doing: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError {
    move |error| StoreError::sqlite(doing, error)
}

fn run(
    connection: &Connection,
    doing: &'static str,
    sql: &str,
    parameters: &[&dyn ToSql],
) -> Result<(), StoreError> {
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.execute(parameters))
        .map(|_| ())
        .map_err(failed(doing))
}

fn rows<T>(
    connection: &Connection,
    doing: &'static str,
    sql: &str,
    parameters: &[&dyn ToSql],
    read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(failed(doing))?;
    let mut found = statement.query(parameters).map_err(failed(doing))?;
    let mut values = Vec::new();
    while let Some(row) = found.next().map_err(failed(doing))? {
        values.push(read(row)?);
    }
    Ok(values)
}

fn get<T: rusqlite::types::FromSql>(row: &Row<'_>, column: usize) -> Result<T, StoreError> {
    row.get(column).map_err(failed("failed to read a durable execution"))
}

fn record<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T, StoreError> {
    let text: String = get(row, column)?;
    serde_json::from_str(&text)
        .map_err(|error| StoreError::failed("failed to decode a record of a durable execution", error))
}

fn encode(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value)
        .map_err(|error| StoreError::failed("failed to encode a record of a durable execution", error))
}

fn key(row: &Row<'_>) -> Result<ExecutionKey, StoreError> {
    let (scope, id): (String, [u8; 16]) = (get(row, 0)?, get(row, 1)?);
    let scope = Scope::from_key(&scope)
        .ok_or_else(|| StoreError::failed("failed to read a durable execution", "not a scope"))?;
    Ok(ExecutionKey { scope, id: Uuid::from_bytes(id) })
}

fn millis(at: Option<Timestamp>) -> Option<i64> {
    at.map(|at| at.0)
}

pub(super) fn find(connection: &Connection, key: &ExecutionKey) -> Result<Option<i64>, StoreError> {
    connection
        .prepare_cached("SELECT key FROM execution WHERE scope = ? AND id = ?")
        .and_then(|mut statement| {
            statement.query_row(params![key.scope.key(), key.id.as_bytes()], |row| row.get(0)).optional()
        })
        .map_err(failed("failed to find a durable execution"))
}

pub(super) fn named(
    connection: &Connection,
    scope: &Scope,
    function: &FunctionName,
    name: &str,
) -> Result<Option<i64>, StoreError> {
    connection
        .prepare_cached("SELECT key FROM execution WHERE scope = ? AND function = ? AND name = ?")
        .and_then(|mut statement| {
            statement.query_row(params![scope.key(), function.as_str(), name], |row| row.get(0)).optional()
        })
        .map_err(failed("failed to find a durable execution"))
}

pub(super) fn execution(connection: &Connection, row: i64) -> Result<Execution, StoreError> {
    let doing = "failed to read a durable execution";
    let mut found =
        rows(connection, doing, "SELECT record FROM execution WHERE key = ?", params![row], |row| {
            record(row, 0)
        })?;
    found.pop().ok_or_else(|| StoreError::failed(doing, "it is gone"))
}

pub(super) fn stored(connection: &Connection, row: i64) -> Result<StoredExecution, StoreError> {
    let doing = "failed to read a durable execution";
    let execution = execution(connection, row)?;
    let mut found = rows(
        connection,
        doing,
        "SELECT input, result, error FROM payload WHERE execution = ?",
        params![row],
        |row| {
            let error: Option<String> = get(row, 2)?;
            let error: Option<ErrorObject> = match error {
                Some(_) => Some(record(row, 2)?),
                None => None,
            };
            Ok((get(row, 0)?, Closing { result: get(row, 1)?, error }))
        },
    )?;
    let (input, closing) = found.pop().ok_or_else(|| StoreError::failed(doing, "its payload is gone"))?;
    Ok(StoredExecution { execution, input, closing })
}

pub(super) fn input(connection: &Connection, row: i64) -> Result<String, StoreError> {
    let doing = "failed to read the input of a durable execution";
    let mut found =
        rows(connection, doing, "SELECT input FROM payload WHERE execution = ?", params![row], |row| {
            get(row, 0)
        })?;
    found.pop().ok_or_else(|| StoreError::failed(doing, "it is gone"))
}

pub(super) fn insert(connection: &Connection, new: &NewExecution) -> Result<(), StoreError> {
    let doing = "failed to start a durable execution";
    let progress = Progress::open(new);
    let execution = &progress.execution;
    let row = connection
        .prepare_cached(
            "INSERT INTO execution (scope, id, function, version, name, listed, status, started_at, due, record)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, '')",
        )
        .and_then(|mut statement| {
            statement.insert(params![
                execution.scope.key(),
                execution.id.as_bytes(),
                execution.function.as_str(),
                execution.version.to_string(),
                execution.name,
                !execution.plain,
                execution.status.name(),
                execution.started_at.0,
            ])
        })
        .map_err(failed(doing))?;
    run(connection, doing, "INSERT INTO payload (execution, input) VALUES (?, ?)", params![row, new.input])?;
    write_back(connection, row, &[], &progress)
}

/// The operations that a change concerns, each once.
pub(super) fn wanted(
    connection: &Connection,
    row: i64,
    wanted: &Wanted,
) -> Result<Vec<Operation>, StoreError> {
    let doing = "failed to read the operations of a durable execution";
    let mut found = Vec::new();
    for id in &wanted.ids {
        found.extend(rows(
            connection,
            doing,
            "SELECT record FROM operation WHERE execution = ? AND id = ?",
            params![row, id],
            |row| record::<Operation>(row, 0),
        )?);
    }
    if let Some(now) = wanted.due {
        found.extend(rows(
            connection,
            doing,
            "SELECT record FROM operation WHERE execution = ? AND due <= ?",
            params![row, now.0],
            |row| record::<Operation>(row, 0),
        )?);
    }
    if wanted.open {
        found.extend(rows(
            connection,
            doing,
            "SELECT record FROM operation WHERE execution = ? AND open = 1",
            params![row],
            |row| record::<Operation>(row, 0),
        )?);
    }
    let mut seen = HashSet::new();
    found.retain(|operation| seen.insert(operation.id.clone()));
    Ok(found)
}

pub(super) fn touched_after(
    connection: &Connection,
    row: i64,
    since: u64,
) -> Result<Vec<Operation>, StoreError> {
    of_touched(connection, "record", row, since, |row| record(row, 0))
}

pub(super) fn ids_touched_after(
    connection: &Connection,
    row: i64,
    since: u64,
) -> Result<Vec<String>, StoreError> {
    of_touched(connection, "id", row, since, |row| get(row, 0))
}

/// One column of the operations of an execution that changed after `since`, in their order.
fn of_touched<T>(
    connection: &Connection,
    column: &str,
    row: i64,
    since: u64,
    read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let sql = format!("SELECT {column} FROM operation WHERE execution = ? AND touched > ? ORDER BY position");
    let doing = "failed to read the operations of a durable execution";
    rows(connection, doing, &sql, params![row, since as i64], read)
}

/// Writes the record, the operations that differ from `loaded`, and when the execution is due next.
pub(super) fn write_back(
    connection: &Connection,
    row: i64,
    loaded: &[Operation],
    progress: &Progress,
) -> Result<(), StoreError> {
    let doing = "failed to write a durable execution";
    for operation in progress.operations.values().filter(|operation| !loaded.contains(operation)) {
        run(
            connection,
            doing,
            "INSERT INTO operation (execution, id, position, touched, open, due, record)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (execution, id) DO UPDATE SET touched = ?4, open = ?5, due = ?6, record = ?7",
            params![
                row,
                operation.id,
                operation.order as i64,
                operation.touched as i64,
                operation.is_open(),
                millis(operation.due()),
                encode(operation)?,
            ],
        )?;
    }
    for event in &progress.events {
        run(
            connection,
            doing,
            "INSERT INTO event (execution, number, record) VALUES (?, ?, ?)",
            params![row, event.number as i64, encode(event)?],
        )?;
    }
    if let Some(closing) = &progress.closing {
        run(
            connection,
            doing,
            "UPDATE payload SET result = ?, error = ? WHERE execution = ?",
            params![closing.result, closing.error.as_ref().map(encode).transpose()?, row],
        )?;
    }
    let changed = &progress.execution;
    let operations_due: Option<i64> = connection
        .prepare_cached("SELECT min(due) FROM operation WHERE execution = ? AND due IS NOT NULL")
        .and_then(|mut statement| statement.query_row([row], |row| row.get(0)))
        .map_err(failed(doing))?;
    let due = changed.due(operations_due.map(Timestamp));
    run(
        connection,
        doing,
        "UPDATE execution SET status = ?, due = ?, record = ? WHERE key = ?",
        params![changed.status.name(), millis(due), encode(changed)?, row],
    )
}

pub(super) fn due(
    connection: &Connection,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<ExecutionKey>, StoreError> {
    rows(
        connection,
        "failed to look for due durable executions",
        "SELECT scope, id FROM execution WHERE due <= ? ORDER BY due LIMIT ?",
        params![now.0, limit as i64],
        key,
    )
}

pub(super) fn next_due(connection: &Connection) -> Result<Option<Timestamp>, StoreError> {
    let due: Option<i64> = connection
        .prepare_cached("SELECT min(due) FROM execution WHERE due IS NOT NULL")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .map_err(failed("failed to look for due durable executions"))?;
    Ok(due.map(Timestamp))
}

pub(super) fn replay(
    connection: &Connection,
    row: i64,
    input_bytes: u64,
    after: u64,
    limit: usize,
    most_bytes: u64,
) -> Result<(Vec<Operation>, Option<u64>), StoreError> {
    let doing = "failed to read the operations of a durable execution";
    let mut statement = connection
        .prepare_cached("SELECT record FROM operation WHERE execution = ? ORDER BY position")
        .map_err(failed(doing))?;
    let mut found = statement.query(params![row]).map_err(failed(doing))?;
    let (mut operations, mut bytes) = (Vec::new(), 0);
    // From the first on: whether an operation is hidden follows from those above it, and parents come first.
    let mut hidden: HashSet<String> = HashSet::new();
    while let Some(row) = found.next().map_err(failed(doing))? {
        let operation: Operation = record(row, 0)?;
        let is_hidden = operation.parent_id.as_ref().is_some_and(|parent| hidden.contains(parent));
        if is_hidden || operation.hides_children() {
            hidden.insert(operation.id.clone());
        }
        if is_hidden || operation.order <= after {
            continue;
        }
        // The first operation is the execution, which holds the input.
        let size = operation.bytes() + if operation.order == 1 { input_bytes } else { 0 };
        if !operations.is_empty() && (operations.len() >= limit || bytes + size > most_bytes) {
            let last = operations.last().map(|operation: &Operation| operation.order);
            return Ok((operations, last));
        }
        bytes += size;
        operations.push(operation);
    }
    Ok((operations, None))
}

pub(super) fn history(
    connection: &Connection,
    row: i64,
    after: Option<u64>,
    newest_first: bool,
    limit: usize,
) -> Result<Vec<Event>, StoreError> {
    let (sql, after) = if newest_first {
        (
            "SELECT record FROM event WHERE execution = ? AND number < ? ORDER BY number DESC LIMIT ?",
            after.unwrap_or(i64::MAX as u64),
        )
    } else {
        (
            "SELECT record FROM event WHERE execution = ? AND number > ? ORDER BY number LIMIT ?",
            after.unwrap_or(0),
        )
    };
    rows(
        connection,
        "failed to read the history of a durable execution",
        sql,
        params![row, after as i64, limit as i64],
        |row| record(row, 0),
    )
}

pub(super) fn list(
    connection: &Connection,
    query: &ExecutionQuery,
) -> Result<Vec<(i64, Execution)>, StoreError> {
    let (comparison, order) = if query.oldest_first { (">", "ASC") } else { ("<", "DESC") };
    let sql = format!(
        "SELECT key, record FROM execution
         WHERE scope = ?1 AND function = ?2 AND listed = 1
           AND (?3 IS NULL OR version = ?3) AND (?4 IS NULL OR name = ?4) AND (?5 IS NULL OR status = ?5)
           AND (?6 IS NULL OR started_at > ?6) AND (?7 IS NULL OR started_at < ?7)
           AND (?8 IS NULL OR (started_at, key) {comparison} (?8, ?9))
         ORDER BY started_at {order}, key {order} LIMIT ?10"
    );
    rows(
        connection,
        "failed to list durable executions",
        &sql,
        params![
            query.scope.key(),
            query.function.as_str(),
            query.version.map(|version| version.to_string()),
            query.name,
            query.status.map(|status| status.name()),
            millis(query.started_after),
            millis(query.started_before),
            query.after.map(|(at, _)| at.0),
            query.after.map(|(_, key)| key),
            query.limit as i64,
        ],
        |row| Ok((get(row, 0)?, record(row, 1)?)),
    )
}

pub(super) fn remove(connection: &Connection, row: i64) -> Result<(), StoreError> {
    let doing = "failed to forget a durable execution";
    for table in ["event", "operation", "payload"] {
        run(connection, doing, &format!("DELETE FROM {table} WHERE execution = ?"), params![row])?;
    }
    run(connection, doing, "DELETE FROM execution WHERE key = ?", params![row])
}

pub(super) fn in_flight_of(connection: &Connection, owner: &str) -> Result<Vec<ExecutionKey>, StoreError> {
    rows(
        connection,
        "failed to look for durable executions in flight",
        "SELECT scope, id FROM execution
         WHERE due IS NOT NULL
           AND substr(json_extract(record, '$.invocation.owner'), 1, length(?1)) = ?1",
        params![owner],
        key,
    )
}
