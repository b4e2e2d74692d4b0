//! Statements of the queue of asynchronous events.
//!
//! ```text
//!  enqueue -> waiting -(claim)-> claimed -(release Done)-------> gone, counted
//!                ^                  |  \-(release DeadLetter)--> dead letter, counted
//!                +-(Retry, or the lease ends)
//! ```
//! `event.due` is `not_before` while an event waits and the end of its lease while it is claimed, so "due" is
//! one comparison. Every function has its own queue row with the smallest due of its events: finding work looks at
//! functions, not at events, and a million events of one do not slow the others.

use crate::contract::{ClaimBounds, ClaimedEvent, DeadLetter, EventCounts, QueuedEvent, Release, StoreError};
use crate::events::Settlement;
use crate::sqlite::{accept, story};
use lamplight_model::{AccountId, FunctionName, Qualifier, Region, RequestId, Scope, TenantId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::VecDeque;
use std::time::Duration;

/// Dead letters kept per function, newest first. The count goes on.
pub(crate) const DEAD_LETTERS_KEPT: i64 = 100_000;
/// Dead letters of a function between two looks whether there are more than are kept: a look walks through all of them.
const DEAD_LETTERS_PER_LOOK: i64 = 64;
/// Dead letters beyond those kept that one look takes away: bounds the transaction.
const DEAD_LETTERS_PER_CUT: i64 = 1_000;
/// Events of deleted functions that one claim turns into dead letters: bounds the transaction.
const CLOSED_PER_CLAIM: i64 = 1_000;
/// Functions one claim looks at.
const QUEUES_PER_CLAIM: usize = 1_000;

pub(super) fn failed(doing: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError {
    move |error| StoreError::sqlite(doing, error)
}

pub(super) fn run(
    connection: &Connection,
    doing: &'static str,
    sql: &str,
    parameters: &[&dyn rusqlite::ToSql],
) -> Result<usize, StoreError> {
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.execute(parameters))
        .map_err(failed(doing))
}

/// A function's queue with something due.
struct DueQueue {
    id: i64,
    scope: Scope,
    function: FunctionName,
    /// So many may still be taken from it.
    room: usize,
}

pub(super) fn claim(
    connection: &Connection,
    owner: &str,
    now: Timestamp,
    lease: Duration,
    bounds: &ClaimBounds,
) -> Result<Vec<ClaimedEvent>, StoreError> {
    bury_closed(connection, now)?;
    let mut queues = due_queues(connection, now, bounds)?;
    // A lease of no length would be due again within this very claim.
    let until = now.plus(lease.max(Duration::from_millis(1)));
    let mut claimed = Vec::new();
    // In turns: whoever was served longest ago first, an equal share to each, what is left over again.
    while claimed.len() < bounds.events
        && let Some(mut queue) = queues.pop_front()
    {
        let share = ((bounds.events - claimed.len()) / (queues.len() + 1)).max(1).min(queue.room);
        let taken = claim_of_queue(connection, &queue, owner, now, until, share)?;
        queue.room -= taken.len();
        let may_have_more = taken.len() == share && queue.room > 0;
        claimed.extend(taken);
        if may_have_more {
            queues.push_back(queue);
        }
    }
    Ok(claimed)
}

/// Text of the look for functions with something due.
///
/// By when they are due, and then sorted: in the order of the index on `served` every queue that ever was would be looked at.
pub(super) const DUE_QUEUES: &str = "SELECT id, scope, function FROM event_queue
     WHERE next_due <= ? AND closed = 0 ORDER BY +served, +id";

fn due_queues(
    connection: &Connection,
    now: Timestamp,
    bounds: &ClaimBounds,
) -> Result<VecDeque<DueQueue>, StoreError> {
    let doing = "failed to look for due events";
    let mut statement = connection.prepare_cached(DUE_QUEUES).map_err(failed(doing))?;
    let mut rows = statement.query(params![now.0]).map_err(failed(doing))?;
    let mut queues = VecDeque::new();
    while queues.len() < QUEUES_PER_CLAIM
        && let Some(row) = rows.next().map_err(failed(doing))?
    {
        let (scope, function) = (scope(row, 1)?, name(row, 2)?);
        let room = bounds.of(&scope, &function);
        // Those that may not be served must not take the places of those that may.
        if room > 0 {
            queues.push_back(DueQueue { id: get(row, 0)?, scope, function, room });
        }
    }
    Ok(queues)
}

/// Text of the look for the due events of one function.
pub(super) const DUE_EVENTS: &str =
    "SELECT request_id, attempts, not_before, accepted_at, qualifier, client_context, trace_header,
            payload, tenant_id, event.id, event.claim + 1
     FROM event JOIN event_payload ON event_payload.event = event.id
     WHERE queue = ? AND due <= ? ORDER BY due, event.id LIMIT ?";

fn claim_of_queue(
    connection: &Connection,
    queue: &DueQueue,
    owner: &str,
    now: Timestamp,
    until: Timestamp,
    limit: usize,
) -> Result<Vec<ClaimedEvent>, StoreError> {
    let doing = "failed to claim events";
    let mut found = Vec::new();
    {
        let mut statement = connection.prepare_cached(DUE_EVENTS).map_err(failed(doing))?;
        let mut rows = statement.query(params![queue.id, now.0, limit as i64]).map_err(failed(doing))?;
        while let Some(row) = rows.next().map_err(failed(doing))? {
            let event = event(row, queue.scope.clone(), queue.function.clone())?;
            let (id, claim): (i64, i64) = (get(row, 9)?, get(row, 10)?);
            found.push((id, ClaimedEvent { event, claim: claim.unsigned_abs() }));
        }
    }
    for (id, _) in &found {
        run(
            connection,
            doing,
            "UPDATE event SET due = ?, claim = claim + 1, claimed = 1, claimed_at = ?, owner = ? WHERE id = ?",
            params![until.0, now.0, owner, id],
        )?;
    }
    run(
        connection,
        doing,
        "UPDATE event_queue SET next_due = (SELECT min(due) FROM event WHERE queue = ?1),
                served = CASE WHEN ?2 THEN (SELECT max(served) FROM event_queue) + 1 ELSE served END
         WHERE id = ?1",
        params![queue.id, !found.is_empty()],
    )?;
    Ok(found.into_iter().map(|(_, claimed)| claimed).collect())
}

pub(super) fn extend(
    connection: &Connection,
    request_id: RequestId,
    claim: u64,
    until: Timestamp,
) -> Result<bool, StoreError> {
    let doing = "failed to extend a claim";
    let Some((_, queue)) = held(connection, request_id, claim)? else { return Ok(false) };
    run(
        connection,
        doing,
        "UPDATE event SET due = ? WHERE request_id = ?",
        params![until.0, request_id.0.as_bytes()],
    )?;
    refresh_due(connection, queue)?;
    Ok(true)
}

pub(super) fn settle(
    connection: &Connection,
    request_id: RequestId,
    claim: u64,
    settlement: &Settlement,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let doing = "failed to settle an event";
    let Some((event, queue)) = held(connection, request_id, claim)? else { return Ok(false) };
    match &settlement.release {
        Release::Done => {
            story::note_done(connection, event, now)?;
            run(connection, doing, "DELETE FROM event_payload WHERE event = ?", params![event])?;
            run(connection, doing, "DELETE FROM event WHERE id = ?", params![event])?;
            run(
                connection,
                doing,
                "UPDATE event_queue SET done = done + 1, pending = pending - 1 WHERE id = ?",
                params![queue],
            )?;
        }
        Release::Retry { not_before, counted } => {
            if let Some(attempt) = &settlement.attempt {
                story::note_attempt(connection, queue, request_id, attempt, *counted, now)?;
            }
            run(
                connection,
                doing,
                "UPDATE event SET due = ?1, not_before = ?1, attempts = attempts + ?2, claimed = 0, owner = NULL
                 WHERE id = ?3",
                params![not_before.0, i64::from(*counted), event],
            )?;
        }
        Release::DeadLetter { condition, error } => bury(connection, event, queue, condition, error, now)?,
    }
    refresh_due(connection, queue)?;
    let mut attempt = settlement.attempt.clone();
    if let Some(follow_up) = &settlement.follow_up
        && let Some(why) = refusal(connection, follow_up)?
    {
        // An event must not stay claimed, and be run again, for as long as a destination takes no more.
        tracing::warn!(%request_id, why, "failed to tell a destination");
        let told = attempt.iter_mut().flat_map(|attempt| &mut attempt.told);
        for told in told.filter(|told| told.role == "Destination" && told.failure.is_none()) {
            told.failure = Some(why.clone());
        }
    }
    if let Release::DeadLetter { condition, error } = &settlement.release {
        story::note_end(connection, queue, request_id, condition, error, attempt.as_ref(), now)?;
    }
    Ok(true)
}

/// Why an event cannot be accepted now, when it is not.
fn refusal(connection: &Connection, event: &QueuedEvent) -> Result<Option<String>, StoreError> {
    // A failure of the whole is the disk's; the event's own says that its function's queue is full.
    match accept::enqueue_together(connection, std::slice::from_ref(event))?.pop() {
        Some(Err(StoreError::Unwritable(why))) => Ok(Some(why)),
        Some(Err(error)) => Err(error),
        Some(Ok(())) | None => Ok(None),
    }
}

/// Event and queue of a claim that is still held: the fencing number is the newest and the event not released.
fn held(
    connection: &Connection,
    request_id: RequestId,
    claim: u64,
) -> Result<Option<(i64, i64)>, StoreError> {
    let Ok(claim) = i64::try_from(claim) else { return Ok(None) };
    connection
        .prepare_cached("SELECT id, queue FROM event WHERE request_id = ? AND claim = ? AND claimed = 1")
        .and_then(|mut statement| {
            statement
                .query_row(params![request_id.0.as_bytes(), claim], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()
        })
        .map_err(failed("failed to look for a claim"))
}

pub(super) fn refresh_due(connection: &Connection, queue: i64) -> Result<(), StoreError> {
    run(
        connection,
        "failed to note when a queue is due",
        "UPDATE event_queue SET next_due = (SELECT min(due) FROM event WHERE queue = ?1) WHERE id = ?1",
        params![queue],
    )?;
    Ok(())
}

/// Moves one event to the dead letters; its payload stays where it is.
fn bury(
    connection: &Connection,
    event: i64,
    queue: i64,
    condition: &str,
    error: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let doing = "failed to keep a dead letter";
    run(
        connection,
        doing,
        "INSERT INTO dead_letter
         SELECT event.id, queue, scope, function, request_id, attempts, not_before, accepted_at, qualifier,
                client_context, trace_header, ?, ?, ?, tenant_id, claim
         FROM event JOIN event_queue ON event_queue.id = event.queue WHERE event.id = ?",
        params![condition, error, now.0, event],
    )?;
    run(connection, doing, "DELETE FROM event WHERE id = ?", params![event])?;
    run(
        connection,
        doing,
        "UPDATE event_queue SET dead_lettered = dead_lettered + 1, pending = pending - 1 WHERE id = ?",
        params![queue],
    )?;
    let counted: i64 = connection
        .prepare_cached("SELECT dead_lettered FROM event_queue WHERE id = ?")
        .and_then(|mut statement| statement.query_row(params![queue], |row| row.get(0)))
        .map_err(failed(doing))?;
    // The count says when to look and not how many there are: it goes on when letters are forgotten for their age.
    if counted % DEAD_LETTERS_PER_LOOK == 0 {
        keep_newest(connection, queue, DEAD_LETTERS_KEPT)?;
    }
    Ok(())
}

/// Takes away the oldest dead letters of a queue's function that are more than `kept`.
pub(super) fn keep_newest(connection: &Connection, queue: i64, kept: i64) -> Result<(), StoreError> {
    let doing = "failed to forget the oldest dead letters";
    let beyond: Vec<i64> = {
        let mut statement = connection
            .prepare_cached(
                "SELECT dead_letter.event FROM event_queue JOIN dead_letter USING (scope, function)
                 WHERE event_queue.id = ? ORDER BY dead_at DESC, dead_letter.event DESC LIMIT ? OFFSET ?",
            )
            .map_err(failed(doing))?;
        let rows = statement
            .query_map(params![queue, DEAD_LETTERS_PER_CUT, kept], |row| row.get(0))
            .map_err(failed(doing))?;
        rows.collect::<Result<_, _>>().map_err(failed(doing))?
    };
    for event in beyond {
        run(connection, doing, "DELETE FROM event_payload WHERE event = ?", params![event])?;
        run(connection, doing, "DELETE FROM dead_letter WHERE event = ?", params![event])?;
    }
    Ok(())
}

/// The function is deleted: nothing of its queue may reach a function created later under its name.
pub(super) fn close(
    connection: &Connection,
    scope: &Scope,
    function: &FunctionName,
) -> Result<(), StoreError> {
    run(
        connection,
        "failed to close a queue",
        // Due at once, so that the next claim buries what waits; NULL (nothing waits) stays NULL.
        "UPDATE event_queue SET closed = 1, next_due = min(next_due, 0) WHERE scope = ? AND function = ? AND closed = 0",
        params![scope.key(), function.as_str()],
    )?;
    Ok(())
}

/// Text of the look for events of deleted functions.
pub(super) const CLOSED_EVENTS: &str = "SELECT event.id, event.queue, event.request_id
     FROM event_queue INDEXED BY event_queue_closed CROSS JOIN event ON event.queue = event_queue.id
     WHERE closed = 1 AND next_due IS NOT NULL AND (claimed = 0 OR due <= ?) LIMIT ?";

/// Turns due events of deleted functions into dead letters, a bounded number at a time. An attempt that was
/// running when its function went may still settle its event.
fn bury_closed(connection: &Connection, now: Timestamp) -> Result<(), StoreError> {
    let doing = "failed to look for events of deleted functions";
    let found: Vec<(i64, i64, RequestId)> = {
        let mut statement = connection.prepare_cached(CLOSED_EVENTS).map_err(failed(doing))?;
        let rows = statement
            .query_map(params![now.0, CLOSED_PER_CLAIM], |row| {
                Ok((row.get(0)?, row.get(1)?, RequestId(uuid::Uuid::from_bytes(row.get(2)?))))
            })
            .map_err(failed(doing))?;
        rows.collect::<Result<_, _>>().map_err(failed(doing))?
    };
    for (event, queue, request_id) in found {
        bury(connection, event, queue, "FunctionDeleted", "", now)?;
        story::note_end(connection, queue, request_id, "FunctionDeleted", "", None, now)?;
        refresh_due(connection, queue)?;
    }
    Ok(())
}

/// Text of the look for when queues are due.
pub(super) const NEXT_DUE: &str =
    "SELECT next_due, scope, function FROM event_queue WHERE next_due IS NOT NULL ORDER BY next_due";

pub(super) fn next_due(
    connection: &Connection,
    bounds: &ClaimBounds,
) -> Result<Option<Timestamp>, StoreError> {
    let doing = "failed to look for the next due event";
    let mut statement = connection.prepare_cached(NEXT_DUE).map_err(failed(doing))?;
    let mut rows = statement.query(params![]).map_err(failed(doing))?;
    while let Some(row) = rows.next().map_err(failed(doing))? {
        if bounds.of(&scope(row, 1)?, &name(row, 2)?) > 0 {
            return Ok(Some(Timestamp(get(row, 0)?)));
        }
    }
    Ok(None)
}

/// Gives back the claims of a node's earlier lives. A claimed event is due at the end of its lease, so those are found among
/// what is due within a lease, and not among all that waits.
pub(super) fn give_back_claims(
    connection: &Connection,
    node: &str,
    now: Timestamp,
    lease: Duration,
) -> Result<u64, StoreError> {
    let doing = "failed to give claims back";
    let (prefix, until) = (format!("{node}/"), now.plus(lease));
    let queues: Vec<i64> = {
        let mut statement = connection
            .prepare_cached("SELECT id FROM event_queue WHERE next_due <= ?")
            .map_err(failed(doing))?;
        let rows = statement.query_map(params![until.0], |row| row.get(0)).map_err(failed(doing))?;
        rows.collect::<Result<_, _>>().map_err(failed(doing))?
    };
    let mut given_back = 0;
    for queue in queues {
        let changed = run(connection, doing, GIVE_BACK, params![queue, now.0, until.0, prefix])?;
        if changed > 0 {
            refresh_due(connection, queue)?;
        }
        given_back += changed as u64;
    }
    Ok(given_back)
}

/// Text of the return of one function's claims.
pub(super) const GIVE_BACK: &str = "UPDATE event SET due = not_before, claimed = 0, owner = NULL
     WHERE queue = ?1 AND due > ?2 AND due <= ?3 AND claimed = 1 AND substr(owner, 1, length(?4)) = ?4";

pub(super) fn counts(
    connection: &Connection,
    scope: &Scope,
    function: &FunctionName,
) -> Result<EventCounts, StoreError> {
    connection
        .prepare_cached(
            "SELECT ifnull(sum(accepted), 0), ifnull(sum(done), 0), ifnull(sum(dead_lettered), 0),
                    ifnull(sum(pending), 0)
             FROM event_queue WHERE scope = ? AND function = ?",
        )
        .and_then(|mut statement| {
            statement.query_row(params![scope.key(), function.as_str()], |row| {
                let count = |at| row.get::<_, i64>(at).map(i64::unsigned_abs);
                Ok(EventCounts {
                    accepted: count(0)?,
                    done: count(1)?,
                    dead_lettered: count(2)?,
                    pending: count(3)?,
                })
            })
        })
        .map_err(failed("failed to count events"))
}

pub(super) fn dead_letters(
    connection: &Connection,
    scope: &Scope,
    function: &FunctionName,
    limit: usize,
) -> Result<Vec<DeadLetter>, StoreError> {
    let doing = "failed to read dead letters";
    let mut statement = connection
        .prepare_cached(
            "SELECT request_id, attempts, not_before, accepted_at, qualifier, client_context, trace_header,
                    payload, tenant_id, condition, error, dead_at
             FROM dead_letter JOIN event_payload USING (event)
             WHERE scope = ? AND function = ? ORDER BY dead_at DESC, event DESC LIMIT ?",
        )
        .map_err(failed(doing))?;
    let mut rows =
        statement.query(params![scope.key(), function.as_str(), limit as i64]).map_err(failed(doing))?;
    let mut letters = Vec::new();
    while let Some(row) = rows.next().map_err(failed(doing))? {
        letters.push(DeadLetter {
            event: event(row, scope.clone(), function.clone())?,
            condition: get(row, 9)?,
            error: get(row, 10)?,
            dead_at: Timestamp(get(row, 11)?),
        });
    }
    Ok(letters)
}

/// Columns 0 to 8 in the order of the statements above.
pub(super) fn event(row: &Row<'_>, scope: Scope, function: FunctionName) -> Result<QueuedEvent, StoreError> {
    let qualifier: Option<String> = get(row, 4)?;
    let qualifier = match qualifier {
        None => None,
        Some(text) => Some(
            Qualifier::parse(&text)
                .ok_or_else(|| StoreError::failed("failed to decode a qualifier", text))?,
        ),
    };
    let tenant_id: Option<String> = get(row, 8)?;
    let tenant_id = match tenant_id {
        None => None,
        // One that cannot be read must not become an event of nobody.
        Some(text) => Some(
            TenantId::parse(&text).ok_or_else(|| StoreError::failed("failed to decode a tenant id", text))?,
        ),
    };
    Ok(QueuedEvent {
        request_id: RequestId(uuid::Uuid::from_bytes(get(row, 0)?)),
        scope,
        function,
        qualifier,
        payload: get::<Vec<u8>>(row, 7)?.into(),
        client_context: get(row, 5)?,
        trace_header: get(row, 6)?,
        tenant_id,
        accepted_at: Timestamp(get(row, 3)?),
        attempts: get(row, 1)?,
        not_before: Timestamp(get(row, 2)?),
    })
}

pub(super) fn get<T: rusqlite::types::FromSql>(row: &Row<'_>, column: usize) -> Result<T, StoreError> {
    row.get(column).map_err(failed("failed to read an event"))
}

pub(super) fn name(row: &Row<'_>, column: usize) -> Result<FunctionName, StoreError> {
    let text: String = get(row, column)?;
    FunctionName::parse(&text).ok_or_else(|| StoreError::failed("failed to decode a function name", text))
}

pub(super) fn scope(row: &Row<'_>, column: usize) -> Result<Scope, StoreError> {
    let text: String = get(row, column)?;
    let mut parts = text.split('/').skip(1);
    let scope = parts.next().and_then(AccountId::parse).zip(parts.next().and_then(Region::parse));
    match scope {
        Some((account, region)) => Ok(Scope { account, region }),
        None => Err(StoreError::failed("failed to decode a scope", text)),
    }
}
