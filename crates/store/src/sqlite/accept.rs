//! Accepting events: the rows of an event, and the counts of its function.
//!
//! Events that are accepted together cost each function one change of its counts, and not one for every event. Clients
//! that send at the same time share a transaction anyway (`writer`).

use crate::contract::{QueuedEvent, StoreError};
use crate::sqlite::queue::{failed, run};
use lamplight_model::{FunctionName, Scope, TenantId};
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use std::collections::HashMap;

/// Events of one function that may wait; one more is refused, so one function cannot fill the disk.
pub(crate) const PENDING_PER_FUNCTION: i64 = 5_000_000;

const DOING: &str = "failed to enqueue an event";

/// Accepts one event.
///
/// Fails with `Unwritable` when as many wait for its function as may, and with `AlreadyExists` when its request id is taken;
/// no event is added then.
pub(super) fn enqueue(connection: &Connection, event: &QueuedEvent) -> Result<(), StoreError> {
    enqueue_together(connection, std::slice::from_ref(event))?.pop().unwrap_or(Ok(()))
}

/// The queue of one function while events are added to it.
struct Growing {
    id: i64,
    /// Events that wait in it, those added here included.
    pending: i64,
    added: i64,
    /// Smallest due of those added.
    due: i64,
}

/// Accepts events that came at the same time; the outcome of each, as of `enqueue`, in their order. After a failure of the
/// whole the caller has to roll back.
pub(super) fn enqueue_together(
    connection: &Connection,
    events: &[QueuedEvent],
) -> Result<Vec<Result<(), StoreError>>, StoreError> {
    let mut queues: HashMap<(&Scope, &FunctionName), Growing> = HashMap::new();
    let mut next_id: i64 = connection
        // Not the number SQLite would choose: that of the newest event is free again when it becomes a dead letter,
        // whose payload keeps it.
        .prepare_cached("SELECT ifnull(max(event), 0) + 1 FROM event_payload")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .map_err(failed(DOING))?;
    let mut outcomes = Vec::with_capacity(events.len());
    for event in events {
        let queue = match queues.entry((&event.scope, &event.function)) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(open_queue(connection, &event.scope, &event.function)?)
            }
        };
        outcomes.push(if queue.pending >= PENDING_PER_FUNCTION {
            Err(StoreError::Unwritable(format!(
                "{PENDING_PER_FUNCTION} events already wait for function {}; try again when some are done",
                event.function
            )))
        } else if insert(connection, next_id, queue.id, event)? {
            next_id += 1;
            queue.pending += 1;
            queue.added += 1;
            queue.due = queue.due.min(event.not_before.0);
            Ok(())
        } else {
            Err(StoreError::AlreadyExists(format!("event {}", event.request_id)))
        });
    }
    for queue in queues.into_values().filter(|queue| queue.added > 0) {
        run(
            connection,
            DOING,
            "UPDATE event_queue SET accepted = accepted + ?2, pending = pending + ?2, next_due = min(ifnull(next_due, ?3), ?3)
             WHERE id = ?1",
            params![queue.id, queue.added, queue.due],
        )?;
    }
    Ok(outcomes)
}

/// The queue of a function that there is, made when it has none yet.
fn open_queue(
    connection: &Connection,
    scope: &Scope,
    function: &FunctionName,
) -> Result<Growing, StoreError> {
    let key = params![scope.key(), function.as_str()];
    let found = connection
        .prepare_cached("SELECT id, pending FROM event_queue WHERE scope = ? AND function = ? AND closed = 0")
        .and_then(|mut statement| statement.query_row(key, |row| Ok((row.get(0)?, row.get(1)?))).optional())
        .map_err(failed(DOING))?;
    let (id, pending) = match found {
        Some(found) => found,
        None => {
            let made = connection
                .prepare_cached("INSERT INTO event_queue (scope, function) VALUES (?, ?)")
                .and_then(|mut statement| statement.insert(key));
            (made.map_err(failed(DOING))?, 0)
        }
    };
    Ok(Growing { id, pending, added: 0, due: i64::MAX })
}

/// Writes an event's rows; `false`, and nothing is written, when its request id is taken.
fn insert(connection: &Connection, id: i64, queue: i64, event: &QueuedEvent) -> Result<bool, StoreError> {
    let inserted = connection
        .prepare_cached(
            "INSERT INTO event (id, queue, request_id, due, attempts, not_before, accepted_at,
                                qualifier, client_context, trace_header, tenant_id)
             VALUES (?1, ?2, ?3, ?4, ?5, ?4, ?6, ?7, ?8, ?9, ?10)",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                id,
                queue,
                event.request_id.0.as_bytes(),
                event.not_before.0,
                event.attempts,
                event.accepted_at.0,
                event.qualifier.as_ref().map(ToString::to_string),
                event.client_context,
                event.trace_header,
                event.tenant_id.as_ref().map(TenantId::as_str),
            ])
        });
    match inserted {
        Ok(_) => {}
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => return Ok(false),
        Err(error) => return Err(StoreError::sqlite(DOING, error)),
    }
    run(
        connection,
        DOING,
        "INSERT INTO event_payload (event, payload) VALUES (?, ?)",
        params![id, event.payload.as_ref()],
    )?;
    Ok(true)
}
