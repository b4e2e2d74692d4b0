//! Statements about where events are: the steps of their stories, lists, and dead letters that are sent again.
//!
//! Rows of events themselves belong to `queue`.

use crate::contract::{EventCounts, QueuedEvent, StoreError};
use crate::events::{
    AttemptNote, EventQuery, EventRecord, EventState, EventStep, EventStory, Forgotten, Redrive, StepKind,
    Told, WantedState,
};
use crate::sqlite::accept::{PENDING_PER_FUNCTION, enqueue};
use crate::sqlite::queue::{event, failed, get, name, refresh_due, run};
use lamplight_model::error_document::shortened;
use lamplight_model::{FunctionName, Qualifier, RequestId, Scope, TenantId, Timestamp, lineage};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// Steps of one story that are told, the newest.
const STEPS_TOLD: i64 = 100;
/// Bytes of an error document kept with a step; the whole one is the dead letter's.
const STEP_ERROR_BYTES: usize = 4 * 1_024;
/// Done events kept in the metadata. The ledger writes a batch of a few thousand records within a second, and its own log is
/// synced to the disk every few thousand records: what falls out of here is there, also after a power loss.
const DONE_KEPT: i64 = 65_536;
/// Done events beyond `DONE_KEPT` before they are taken away.
const DONE_SLACK: i64 = 256;
/// Dead letters, and steps, forgotten in one transaction.
const FORGOTTEN_AT_ONCE: i64 = 1_000;

/// Remembers an event that is about to leave the queue because it succeeded.
pub(super) fn note_done(connection: &Connection, event: i64, now: Timestamp) -> Result<(), StoreError> {
    let doing = "failed to note that an event is done";
    let id = connection
        .prepare_cached(
            "INSERT INTO event_done (queue, request_id, attempts, accepted_at, done_at)
             SELECT queue, request_id, attempts, accepted_at, ? FROM event WHERE id = ?",
        )
        .and_then(|mut statement| statement.insert(params![now.0, event]))
        .map_err(failed(doing))?;
    if id % DONE_SLACK == 0 {
        run(connection, doing, "DELETE FROM event_done WHERE id <= ?", params![id - DONE_KEPT])?;
    }
    Ok(())
}

/// Remembers an attempt that is to be repeated. Of equal refusals in a row only the number grows: an event may be throttled for
/// hours.
pub(super) fn note_attempt(
    connection: &Connection,
    queue: i64,
    request_id: RequestId,
    attempt: &AttemptNote,
    counted: bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    let error = &*shortened(&attempt.error, STEP_ERROR_BYTES);
    let kind = if counted { StepKind::Failed } else { StepKind::NotRun };
    if kind == StepKind::NotRun
        && let Some((id, last)) = newest(connection, request_id)?
        && last.kind == kind
        && last.error == error
    {
        let sql = "UPDATE event_step SET at = ?, times = times + 1 WHERE id = ?";
        run(connection, "failed to note an attempt", sql, params![now.0, id])?;
        return Ok(());
    }
    insert(connection, queue, request_id, kind, Some(attempt.began_at), now, None, error, &[])
}

/// Remembers that an event was given up, and who was told.
pub(super) fn note_end(
    connection: &Connection,
    queue: i64,
    request_id: RequestId,
    condition: &str,
    error: &str,
    attempt: Option<&AttemptNote>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let began_at = attempt.map(|attempt| attempt.began_at);
    let told = attempt.map_or(&[][..], |attempt| &attempt.told);
    let error = &*shortened(error, STEP_ERROR_BYTES);
    insert(connection, queue, request_id, StepKind::DeadLettered, began_at, now, Some(condition), error, told)
}

#[allow(clippy::too_many_arguments)] // The columns of a row.
fn insert(
    connection: &Connection,
    queue: i64,
    request_id: RequestId,
    kind: StepKind,
    began_at: Option<Timestamp>,
    at: Timestamp,
    condition: Option<&str>,
    error: &str,
    told: &[Told],
) -> Result<(), StoreError> {
    let doing = "failed to write a step of an event down";
    let told = if told.is_empty() {
        None
    } else {
        Some(serde_json::to_string(told).map_err(|error| StoreError::failed(doing, error))?)
    };
    run(
        connection,
        doing,
        "INSERT INTO event_step (queue, request_id, kind, began_at, at, condition, error, told)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            queue,
            request_id.0.as_bytes(),
            kind as i64,
            began_at.map(|at| at.0),
            at.0,
            condition,
            error,
            told
        ],
    )?;
    Ok(())
}

const STEP_COLUMNS: &str = "kind, began_at, at, times, condition, error, told";

/// Columns of a row from `first` on, in the order of `STEP_COLUMNS`.
fn step(row: &Row<'_>, first: usize) -> Result<EventStep, StoreError> {
    let kind: u8 = get(row, first)?;
    let told: Option<String> = get(row, first + 6)?;
    let doing = "failed to decode a step of an event";
    Ok(EventStep {
        kind: *StepKind::ALL
            .get(usize::from(kind))
            .ok_or_else(|| StoreError::failed(doing, format!("kind {kind}")))?,
        began_at: get::<Option<i64>>(row, first + 1)?.map(Timestamp),
        at: Timestamp(get(row, first + 2)?),
        times: get(row, first + 3)?,
        condition: get(row, first + 4)?,
        error: get(row, first + 5)?,
        told: match told {
            None => Vec::new(),
            Some(text) => serde_json::from_str(&text).map_err(|error| StoreError::failed(doing, error))?,
        },
    })
}

/// The newest step of an event, with its number.
fn newest(connection: &Connection, request_id: RequestId) -> Result<Option<(i64, EventStep)>, StoreError> {
    let doing = "failed to read a step of an event";
    let mut statement = connection
        .prepare_cached(&format!(
            "SELECT {STEP_COLUMNS}, id FROM event_step
             WHERE substr(request_id, 1, 8) = substr(?1, 1, 8) AND request_id = ?1 ORDER BY id DESC LIMIT 1"
        ))
        .map_err(failed(doing))?;
    let mut rows = statement.query(params![request_id.0.as_bytes()]).map_err(failed(doing))?;
    match rows.next().map_err(failed(doing))? {
        None => Ok(None),
        Some(row) => Ok(Some((get(row, 7)?, step(row, 0)?))),
    }
}

/// Everything known of one event.
pub(super) fn story(
    connection: &Connection,
    scope: &Scope,
    request_id: RequestId,
) -> Result<EventStory, StoreError> {
    let record = record(connection, scope, request_id)?;
    let payload = match &record {
        Some(record) if record.place != 0 => connection
            .prepare_cached("SELECT payload FROM event_payload WHERE event = ?")
            .and_then(|mut statement| {
                statement.query_row(params![record.place], |row| row.get::<_, Vec<u8>>(0)).optional()
            })
            .map_err(failed("failed to read the payload of an event"))?
            .map(Into::into),
        _ => None,
    };
    Ok(EventStory { record, payload, steps: steps(connection, scope, request_id)? })
}

fn steps(
    connection: &Connection,
    scope: &Scope,
    request_id: RequestId,
) -> Result<Vec<EventStep>, StoreError> {
    let doing = "failed to read the steps of an event";
    let mut statement = connection
        .prepare_cached(&format!(
            "SELECT {STEP_COLUMNS} FROM event_step JOIN event_queue ON event_queue.id = event_step.queue
             WHERE substr(request_id, 1, 8) = substr(?1, 1, 8) AND request_id = ?1 AND scope = ?2
             ORDER BY event_step.id DESC LIMIT ?3"
        ))
        .map_err(failed(doing))?;
    let mut rows =
        statement.query(params![request_id.0.as_bytes(), scope.key(), STEPS_TOLD]).map_err(failed(doing))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(failed(doing))? {
        found.push(step(row, 0)?);
    }
    found.reverse();
    Ok(found)
}

/// Columns of both kinds of rows; the last ones differ.
const PENDING: &str =
    "SELECT event.id, request_id, function, qualifier, tenant_id, accepted_at, attempts, claimed, due,
                              owner, claimed_at
                       FROM event JOIN event_queue ON event_queue.id = event.queue";
const DEAD: &str =
    "SELECT event, request_id, function, qualifier, tenant_id, accepted_at, attempts, condition, error,
                           dead_at
                    FROM dead_letter";

fn record(
    connection: &Connection,
    scope: &Scope,
    request_id: RequestId,
) -> Result<Option<EventRecord>, StoreError> {
    let (id, key) = (request_id.0.as_bytes(), scope.key());
    let pending = format!("{PENDING} WHERE request_id = ? AND scope = ?");
    if let Some(found) = records(connection, &pending, params![id, key], pending_state)?.pop() {
        return Ok(Some(found));
    }
    let dead = format!(
        "{DEAD} WHERE substr(request_id, 1, 8) = substr(?1, 1, 8) AND request_id = ?1 AND scope = ?2
         ORDER BY event DESC LIMIT 1"
    );
    if let Some(found) = records(connection, &dead, params![id, key], dead_state)?.pop() {
        return Ok(Some(found));
    }
    let done = "SELECT 0, request_id, function, NULL, NULL, accepted_at, attempts, done_at
                FROM event_done JOIN event_queue ON event_queue.id = event_done.queue
                WHERE request_id = ? AND scope = ? ORDER BY event_done.id DESC LIMIT 1";
    let state = |row: &Row<'_>| Ok(EventState::Done { at: Timestamp(get(row, 7)?) });
    Ok(records(connection, done, params![id, key], state)?.pop())
}

fn pending_state(row: &Row<'_>) -> Result<EventState, StoreError> {
    let (claimed, due): (bool, i64) = (get(row, 7)?, get(row, 8)?);
    if !claimed {
        return Ok(EventState::Waiting { until: Timestamp(due) });
    }
    Ok(EventState::Running {
        owner: get::<Option<String>>(row, 9)?.unwrap_or_default(),
        since: get::<Option<i64>>(row, 10)?.map(Timestamp),
        lease_until: Timestamp(due),
    })
}

fn dead_state(row: &Row<'_>) -> Result<EventState, StoreError> {
    Ok(EventState::DeadLettered { condition: get(row, 7)?, error: get(row, 8)?, at: Timestamp(get(row, 9)?) })
}

/// Rows whose columns are those of `PENDING` up to the seventh.
fn records(
    connection: &Connection,
    sql: &str,
    parameters: &[&dyn rusqlite::ToSql],
    state: impl Fn(&Row<'_>) -> Result<EventState, StoreError>,
) -> Result<Vec<EventRecord>, StoreError> {
    let doing = "failed to read events";
    let mut statement = connection.prepare_cached(sql).map_err(failed(doing))?;
    let mut rows = statement.query(parameters).map_err(failed(doing))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(failed(doing))? {
        let request_id = RequestId(uuid::Uuid::from_bytes(get(row, 1)?));
        found.push(EventRecord {
            request_id,
            function: name(row, 2)?,
            qualifier: get::<Option<String>>(row, 3)?.as_deref().and_then(Qualifier::parse),
            tenant_id: get::<Option<String>>(row, 4)?.as_deref().and_then(TenantId::parse),
            accepted_at: Timestamp(get(row, 5)?),
            attempts: get(row, 6)?,
            state: state(row)?,
            last_step: newest(connection, request_id)?.map(|(_, step)| step),
            place: get(row, 0)?,
        });
    }
    Ok(found)
}

/// Events that wait, run or were given up, newest first. Numbers of events are those of their payloads, so that those of waiting
/// ones and of dead letters are one order.
pub(super) fn events(
    connection: &Connection,
    scope: &Scope,
    query: &EventQuery,
    before: Option<i64>,
    limit: usize,
) -> Result<Vec<EventRecord>, StoreError> {
    let (key, function) = (scope.key(), query.function.as_ref().map(FunctionName::as_str));
    let (from, until) = (query.from.map(|at| at.0), query.until.map(|at| at.0));
    let (before, most) = (before.unwrap_or(i64::MAX), limit as i64);
    let mut found = Vec::new();
    let wants = |state| query.state.is_none_or(|wanted| wanted == state);
    if (wants(WantedState::Waiting) || wants(WantedState::Running)) && query.condition.is_none() {
        let claimed = match query.state {
            Some(WantedState::Waiting) => Some(0),
            Some(_) => Some(1),
            None => None,
        };
        let sql = format!(
            "{PENDING} WHERE event.id < ?1 AND scope = ?2 AND (?3 IS NULL OR function = ?3)
               AND (?4 IS NULL OR accepted_at >= ?4) AND (?5 IS NULL OR accepted_at < ?5)
               AND (?6 IS NULL OR claimed = ?6)
             ORDER BY event.id DESC LIMIT ?7"
        );
        let parameters = params![before, key, function, from, until, claimed, most];
        found.extend(records(connection, &sql, parameters, pending_state)?);
    }
    if wants(WantedState::DeadLettered) {
        let sql = format!(
            "{DEAD} WHERE event < ?1 AND scope = ?2 AND (?3 IS NULL OR function = ?3)
               AND (?4 IS NULL OR accepted_at >= ?4) AND (?5 IS NULL OR accepted_at < ?5)
               AND (?6 IS NULL OR condition = ?6)
             ORDER BY event DESC LIMIT ?7"
        );
        let parameters = params![before, key, function, from, until, query.condition, most];
        found.extend(records(connection, &sql, parameters, dead_state)?);
    }
    found.sort_by_key(|record| std::cmp::Reverse(record.place));
    found.truncate(limit);
    Ok(found)
}

/// Gives a dead letter back to the queue of its function. The counts of the queue it was given up in, which may be that of a
/// deleted function of the same name, lose what those of the open one gain: together they stay true.
pub(super) fn redrive(
    connection: &Connection,
    scope: &Scope,
    request_id: RequestId,
    now: Timestamp,
) -> Result<Redrive, StoreError> {
    let doing = "failed to send a dead letter again";
    let Some((letter, from, claim, event)) = letter(connection, scope, request_id)? else {
        let known = record(connection, scope, request_id)?;
        let pending = known.is_some_and(|record| {
            matches!(record.state, EventState::Waiting { .. } | EventState::Running { .. })
        });
        return Ok(if pending { Redrive::Pending } else { Redrive::Unknown });
    };
    // Looked for before anything is written: a failure here would fail all that are sent again with it.
    if is_pending(connection, request_id)? {
        return Ok(Redrive::Pending);
    }
    let to: Option<i64> = connection
        .prepare_cached(
            "INSERT INTO event_queue (scope, function, next_due, accepted, pending) VALUES (?1, ?2, ?3, 1, 1)
             ON CONFLICT (scope, function) WHERE closed = 0 DO UPDATE SET
                 accepted = accepted + 1, pending = pending + 1
             WHERE pending < ?4
             RETURNING id",
        )
        .and_then(|mut statement| {
            let parameters = params![scope.key(), event.function.as_str(), now.0, PENDING_PER_FUNCTION];
            statement.query_row(parameters, |row| row.get(0)).optional()
        })
        .map_err(failed(doing))?;
    let Some(to) = to else { return Ok(Redrive::Full(event.function)) };
    run(
        connection,
        doing,
        "UPDATE event_queue SET accepted = accepted - 1, dead_lettered = dead_lettered - 1 WHERE id = ?",
        params![from],
    )?;
    run(
        connection,
        doing,
        "INSERT INTO event (id, queue, request_id, due, claim, attempts, not_before, accepted_at, qualifier,
                            client_context, trace_header, tenant_id)
         VALUES (?1, ?2, ?3, ?4, ?5, 0, ?4, ?4, ?6, ?7, ?8, ?9)",
        params![
            letter,
            to,
            request_id.0.as_bytes(),
            now.0,
            claim,
            event.qualifier.as_ref().map(ToString::to_string),
            event.client_context,
            // Whoever sends it again breaks the chain of requests it was in.
            event.trace_header.as_deref().map(lineage::without),
            event.tenant_id.as_ref().map(TenantId::as_str),
        ],
    )?;
    run(connection, doing, "DELETE FROM dead_letter WHERE event = ?", params![letter])?;
    insert(connection, to, request_id, StepKind::Redriven, None, now, None, "", &[])?;
    refresh_due(connection, to)?;
    Ok(Redrive::Sent(event.function))
}

/// Whether an event of this id waits or runs, in whatever scope: there is one at a time.
fn is_pending(connection: &Connection, request_id: RequestId) -> Result<bool, StoreError> {
    connection
        .prepare_cached("SELECT 1 FROM event WHERE request_id = ?")
        .and_then(|mut statement| statement.exists(params![request_id.0.as_bytes()]))
        .map_err(failed("failed to look for an event"))
}

/// Appends an event that was given up and is not kept, with the step that tells that it was sent again.
pub(super) fn enqueue_again(
    connection: &Connection,
    event: &QueuedEvent,
    now: Timestamp,
) -> Result<(), StoreError> {
    enqueue(connection, event)?;
    let queue: i64 = connection
        .prepare_cached("SELECT queue FROM event WHERE request_id = ?")
        .and_then(|mut statement| {
            statement.query_row(params![event.request_id.0.as_bytes()], |row| row.get(0))
        })
        .map_err(failed("failed to find the queue of an event"))?;
    insert(connection, queue, event.request_id, StepKind::Redriven, None, now, None, "", &[])
}

/// Number, queue and last claim of a dead letter, and its event without the payload.
fn letter(
    connection: &Connection,
    scope: &Scope,
    request_id: RequestId,
) -> Result<Option<(i64, i64, i64, QueuedEvent)>, StoreError> {
    let doing = "failed to look for a dead letter";
    let mut statement = connection
        .prepare_cached(
            "SELECT request_id, attempts, not_before, accepted_at, qualifier, client_context, trace_header,
                    x'', tenant_id, event, queue, claim, function
             FROM dead_letter
             WHERE substr(request_id, 1, 8) = substr(?1, 1, 8) AND request_id = ?1 AND scope = ?2
             ORDER BY event DESC LIMIT 1",
        )
        .map_err(failed(doing))?;
    let mut rows = statement.query(params![request_id.0.as_bytes(), scope.key()]).map_err(failed(doing))?;
    let Some(row) = rows.next().map_err(failed(doing))? else { return Ok(None) };
    let function = name(row, 12)?;
    Ok(Some((get(row, 9)?, get(row, 10)?, get(row, 11)?, event(row, scope.clone(), function)?)))
}

/// Deletes dead letters and steps that are older than `before`, a bounded number of each. The counts go on.
pub(super) fn forget(connection: &Connection, before: Timestamp) -> Result<Forgotten, StoreError> {
    let doing = "failed to forget dead letters";
    let old = "SELECT event FROM dead_letter WHERE dead_at < ? ORDER BY dead_at LIMIT ?";
    let parameters = params![before.0, FORGOTTEN_AT_ONCE];
    run(connection, doing, &format!("DELETE FROM event_payload WHERE event IN ({old})"), parameters)?;
    let letters =
        run(connection, doing, &format!("DELETE FROM dead_letter WHERE event IN ({old})"), parameters)?;
    // Steps are numbered as they come: none of the oldest is old, none is.
    let steps = run(
        connection,
        doing,
        "DELETE FROM event_step WHERE at < ?1
           AND id < (SELECT ifnull(min(id), 0) FROM event_step) + ?2 * 10
           AND NOT EXISTS (SELECT 1 FROM event WHERE event.request_id = event_step.request_id)",
        parameters,
    )?;
    Ok(Forgotten { letters: letters as u64, steps: steps as u64, ..Forgotten::default() })
}

/// The counts of every function of a scope, over all functions that ever had its name.
pub(super) fn all_counts(
    connection: &Connection,
    scope: &Scope,
) -> Result<Vec<(FunctionName, EventCounts)>, StoreError> {
    let doing = "failed to count events";
    let mut statement = connection
        .prepare_cached(
            "SELECT function, sum(accepted), sum(done), sum(dead_lettered), sum(pending)
             FROM event_queue WHERE scope = ? GROUP BY function ORDER BY function",
        )
        .map_err(failed(doing))?;
    let mut rows = statement.query(params![scope.key()]).map_err(failed(doing))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(failed(doing))? {
        let count = |at| get::<i64>(row, at).map(i64::unsigned_abs);
        let counts = EventCounts {
            accepted: count(1)?,
            done: count(2)?,
            dead_lettered: count(3)?,
            pending: count(4)?,
        };
        found.push((name(row, 0)?, counts));
    }
    Ok(found)
}
