//! Queues of deleted functions, once nothing refers to them any more.
//!
//! A closed queue without events is never written to again: no event enters it, so no letter, no step and no done event of it
//! can come to be. What is chosen here by a reader is therefore still true when the writer takes it away.

use crate::contract::StoreError;
use crate::sqlite::queue::{failed, run};
use lamplight_model::Timestamp;
use rusqlite::{Connection, params};

/// Queues taken away in one transaction.
const REMOVED_AT_ONCE: i64 = 1_000;
/// Done events forgotten in one transaction.
const DONE_FORGOTTEN_AT_ONCE: i64 = 10_000;

/// Text of the look for such queues.
pub(super) const UNUSED: &str = "SELECT id FROM event_queue AS ended
     WHERE closed = 1 AND pending = 0
       AND NOT EXISTS (SELECT 1 FROM dead_letter WHERE queue = ended.id)
       AND NOT EXISTS (SELECT 1 FROM event_step WHERE queue = ended.id)
       AND id NOT IN (SELECT queue FROM event_done)
     ORDER BY id LIMIT ?";

/// The numbers of queues that may go, a bounded number of them.
pub(super) fn unused(connection: &Connection) -> Result<Vec<i64>, StoreError> {
    let doing = "failed to look for queues of deleted functions";
    let mut statement = connection.prepare_cached(UNUSED).map_err(failed(doing))?;
    let rows = statement.query_map([REMOVED_AT_ONCE], |row| row.get(0)).map_err(failed(doing))?;
    rows.collect::<Result<_, _>>().map_err(failed(doing))
}

/// Takes queues away that `unused` has named, with their counts. Gives back how many.
pub(super) fn remove(connection: &Connection, queues: &[i64]) -> Result<u64, StoreError> {
    let doing = "failed to take the queue of a deleted function away";
    let mut removed = 0;
    for queue in queues {
        let sql = "DELETE FROM event_queue WHERE id = ? AND closed = 1 AND pending = 0";
        removed += run(connection, doing, sql, params![queue])? as u64;
    }
    Ok(removed)
}

/// Forgets events that were done before `before`, a bounded number of them: the ledger has had their records for long. Gives back
/// how many.
pub(super) fn forget_done(connection: &Connection, before: Timestamp) -> Result<u64, StoreError> {
    // They are numbered as they end: none of the oldest is old, none is.
    let forgotten = run(
        connection,
        "failed to forget done events",
        "DELETE FROM event_done WHERE done_at < ?1 AND id < (SELECT ifnull(min(id), 0) FROM event_done) + ?2",
        params![before.0, DONE_FORGOTTEN_AT_ONCE],
    )?;
    Ok(forgotten as u64)
}
