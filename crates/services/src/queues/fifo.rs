//! The groups of FIFO queues: which one may be received from.
//!
//! A group waits while one of its messages is in flight, and while its first message is delayed. Messages are received
//! from the front only, ten at most, so those in flight are among the first ten.

use crate::queues::error::Trouble;
use crate::queues::receive::MOST_MESSAGES;
use rusqlite::{Connection, params};
use std::collections::BTreeSet;

/// When a group is available, from its first messages: whether each was received, and when it is visible.
fn available_at(first: &[(bool, i64)]) -> Option<i64> {
    let head = first.first()?.1;
    let in_flight = first.iter().filter(|(received, _)| *received).map(|(_, visible_at)| *visible_at).max();
    Some(head.max(in_flight.unwrap_or(head)))
}

/// Writes anew when a group is available. To be called after every change of one of its messages.
pub(crate) fn refresh(connection: &Connection, queue: i64, group: &str) -> Result<(), Trouble> {
    let mut statement = connection.prepare_cached(
        "SELECT sequence, receives > 0, visible_at FROM messages WHERE queue = ?1 AND group_id = ?2 \
         ORDER BY sequence LIMIT ?3",
    )?;
    let rows = statement.query_map(params![queue, group, MOST_MESSAGES as i64], |row| {
        Ok((row.get::<_, i64>(0)?, (row.get::<_, bool>(1)?, row.get::<_, i64>(2)?)))
    })?;
    let (sequences, first): (Vec<i64>, Vec<(bool, i64)>) =
        rows.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
    match (sequences.first(), available_at(&first)) {
        (Some(head), Some(at)) => connection
            .prepare_cached(
                "INSERT OR REPLACE INTO fifo_groups (queue, group_id, head, available_at) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![queue, group, head, at])?,
        _ => connection
            .prepare_cached("DELETE FROM fifo_groups WHERE queue = ?1 AND group_id = ?2")?
            .execute(params![queue, group])?,
    };
    Ok(())
}

/// After messages were removed: removes their contents, and looks at their groups anew.
pub(crate) fn forget(
    connection: &Connection,
    queue: i64,
    removed: &[(i64, Option<String>)],
) -> Result<(), Trouble> {
    let mut statement = connection.prepare_cached("DELETE FROM contents WHERE id = ?1")?;
    let mut groups = BTreeSet::new();
    for (content, group) in removed {
        statement.execute([content])?;
        groups.extend(group.as_deref());
    }
    let fifo: bool = connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM fifo_groups WHERE queue = ?1)")?
        .query_row([queue], |row| row.get(0))?;
    if fifo {
        for group in groups {
            refresh(connection, queue, group)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_waits_for_all_of_its_messages_in_flight() {
        assert_eq!(available_at(&[]), None);
        assert_eq!(available_at(&[(false, 5), (false, 9)]), Some(5));
        assert_eq!(available_at(&[(true, 3), (true, 30), (false, 1)]), Some(30));
        assert_eq!(available_at(&[(false, 40), (true, 30)]), Some(40));
    }
}
