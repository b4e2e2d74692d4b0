//! Messages are received: those that are visible, oldest first; those received too often go to the dead letter queue
//! instead. A receive may wait for messages.

use crate::queues::error::Trouble;
use crate::queues::message::check_id;
use crate::queues::send::{place, sequence_number};
use crate::queues::settings::{VISIBILITY_SECONDS, WAIT_SECONDS};
use crate::queues::settle::Handle;
use crate::queues::stored::{StoredQueue, find, json, json_of, lookup_arn, milliseconds, unsigned};
use crate::queues::tidy::expire;
use crate::queues::{Bounds, QueueAddress, QueueError, Queues, ReceivedMessage, fifo};
use lamplight_model::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// Messages of one receive at most.
pub(crate) const MOST_MESSAGES: usize = 10;
/// For how long an attempt may be repeated, milliseconds. Source: ReceiveMessage, `ReceiveRequestAttemptId`.
const ATTEMPT: i64 = 5 * 60_000;
/// Rounds of moving dead letters away in one receive; the next one goes on.
const ROUNDS: usize = 100;
/// Old messages removed in one receive; `tidy` removes the rest.
const EXPIRED: usize = 1_000;

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receive {
    /// 1 to 10; 1 when absent.
    pub messages: Option<i64>,
    /// Seconds, 0 to 43,200; the queue's when absent.
    pub visibility_timeout: Option<i64>,
    /// Seconds, 0 to 20; the queue's when absent.
    pub wait: Option<i64>,
    /// Names this attempt, so that it can be repeated (FIFO).
    pub attempt_id: Option<String>,
}

/// A checked `Receive`.
#[derive(Debug, Clone)]
struct Request {
    messages: usize,
    visibility_timeout: Option<u64>,
    attempt_id: Option<String>,
}

/// What one look at the queue gave.
struct Look {
    messages: Vec<ReceivedMessage>,
    /// Dead letters went there.
    woken: Option<QueueAddress>,
    /// When the next message becomes visible by itself.
    next: Option<i64>,
    /// The queue's own wait, seconds.
    wait: u64,
}

impl Queues {
    /// Receives messages, and waits for the first when there is none and a wait is asked for or set.
    ///
    /// Fails with `QueueDoesNotExist`, `InvalidParameterValue`, `OverLimit` (standard queues with too many messages in
    /// flight; FIFO queues give none then).
    pub async fn receive(
        &self,
        address: &QueueAddress,
        receive: Receive,
    ) -> Result<Vec<ReceivedMessage>, QueueError> {
        self.receive_until(address, receive, std::future::pending()).await
    }

    /// As `receive`; the wait ends early, with nothing, when `enough` does. To drop this future instead may leave messages
    /// received that nobody has seen, until their visibility timeout ends.
    pub async fn receive_until(
        &self,
        address: &QueueAddress,
        receive: Receive,
        enough: impl Future<Output = ()>,
    ) -> Result<Vec<ReceivedMessage>, QueueError> {
        let within = |value: Option<i64>, name: &str, least: u64, most: u64| match value {
            None => Ok(None),
            Some(given) => match u64::try_from(given) {
                Ok(number) if (least..=most).contains(&number) => Ok(Some(number)),
                _ => {
                    let reason = format!("Must be between {least} and {most}, if provided.");
                    Err(QueueError::invalid(given, name, &reason))
                }
            },
        };
        let most = within(receive.messages, "MaxNumberOfMessages", 1, MOST_MESSAGES as u64)?;
        check_id("ReceiveRequestAttemptId", receive.attempt_id.as_deref())?;
        let request = Request {
            messages: usize::try_from(most.unwrap_or(1)).unwrap_or(1),
            visibility_timeout: within(
                receive.visibility_timeout,
                "VisibilityTimeout",
                0,
                VISIBILITY_SECONDS,
            )?,
            attempt_id: receive.attempt_id,
        };
        let wait = within(receive.wait, "WaitTimeSeconds", 0, WAIT_SECONDS)?;
        let began = self.now();
        let mut changes = self.waiting.subscribe(address);
        let mut ended = self.waiting.ended();
        let mut enough = std::pin::pin!(enough);
        loop {
            changes.borrow_and_update();
            let look = self.look(address, request.clone()).await?;
            if let Some(other) = &look.woken {
                self.waiting.wake(other);
            }
            let now = self.now();
            let deadline = began + milliseconds(wait.unwrap_or(look.wait));
            if !look.messages.is_empty() || now >= deadline || *ended.borrow_and_update() {
                return Ok(look.messages);
            }
            let until = look.next.map_or(deadline, |next| next.min(deadline));
            // At least a millisecond: the clock and the timer need not agree.
            let pause = Duration::from_millis(u64::try_from(until - now).unwrap_or(0).max(1));
            tokio::select! {
                _ = changes.changed() => {}
                _ = ended.changed() => {}
                () = &mut enough => return Ok(Vec::new()),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn look(&self, address: &QueueAddress, request: Request) -> Result<Look, QueueError> {
        let (address, bounds, now) = (address.clone(), self.bounds.clone(), self.now());
        self.write("failed to receive messages", move |connection| {
            let queue = find(connection, &address)?;
            if !queue.settings.fifo
                && let Some(id) = &request.attempt_id
            {
                let reason = "The request include parameter that is not valid for this queue type.";
                return Err(QueueError::invalid(id, "ReceiveRequestAttemptId", reason).into());
            }
            let timeout = milliseconds(request.visibility_timeout.unwrap_or(queue.settings.visibility_timeout));
            let mut look =
                Look { messages: Vec::new(), woken: None, next: None, wait: queue.settings.receive_message_wait_time_seconds };
            if let Some(id) = &request.attempt_id
                && let Some(again) = repeat(connection, &queue, id, timeout, now)?
            {
                look.messages = again;
                return Ok(look);
            }
            let Some(room) = room(connection, &queue, &bounds, now)? else {
                return Err(QueueError::OverLimit(
                    "Too many messages are in flight: delete those that are done, or wait until they are visible again."
                        .to_owned(),
                )
                .into());
            };
            expire(connection, &queue, now, EXPIRED)?;
            let mut taking = Taking::new(connection, &queue, now)?;
            let sequences = if queue.settings.fifo {
                taking.by_group(request.messages.min(room))?
            } else {
                taking.by_visibility(request.messages.min(room))?
            };
            look.woken = taking.woken();
            for sequence in sequences {
                look.messages.extend(deliver(connection, &queue, sequence, now + timeout, now)?);
            }
            if queue.settings.fifo {
                let groups: BTreeSet<_> = look.messages.iter().filter_map(|message| message.group_id.as_deref()).collect();
                for group in groups {
                    fifo::refresh(connection, queue.id, group)?;
                }
            }
            if look.messages.is_empty() {
                // Dead letters may have taken all rounds.
                let again = look.woken.is_some().then_some(now);
                look.next = again.or(next_visible(connection, &queue, now)?);
            } else if let Some(id) = &request.attempt_id {
                remember(connection, &queue, id, &look.messages, now + timeout, now)?;
            }
            Ok(look)
        })
        .await
    }
}

/// How many more messages may be in flight; `None` refuses the receive.
fn room(
    connection: &Connection,
    queue: &StoredQueue,
    bounds: &Bounds,
    now: i64,
) -> Result<Option<usize>, Trouble> {
    let most = i64::try_from(bounds.in_flight).unwrap_or(i64::MAX);
    let in_flight = connection
        .prepare_cached(
            "SELECT COUNT(*) FROM (SELECT 1 FROM messages INDEXED BY messages_received \
             WHERE queue = ?1 AND visible_at > ?2 AND receives > 0 LIMIT ?3)",
        )?
        .query_row(params![queue.id, now, most], |row| unsigned(row, 0))?;
    let room = usize::try_from(bounds.in_flight.saturating_sub(in_flight)).unwrap_or(usize::MAX);
    Ok((room > 0 || queue.settings.fifo).then_some(room))
}

/// A message that may be received.
struct Candidate {
    sequence: i64,
    receives: u64,
}

/// Chooses messages, and moves those that were received too often.
struct Taking<'a> {
    connection: &'a Connection,
    queue: &'a StoredQueue,
    dead_letters: Option<(StoredQueue, u64)>,
    moved: bool,
    now: i64,
}

impl<'a> Taking<'a> {
    fn new(connection: &'a Connection, queue: &'a StoredQueue, now: i64) -> Result<Self, Trouble> {
        let dead_letters = match &queue.settings.redrive_policy {
            // While there is no such queue nothing is moved: a message is received too often rather than lost.
            Some(policy) => lookup_arn(connection, &policy.dead_letter_target_arn)?
                .filter(|target| target.settings.fifo == queue.settings.fifo)
                .map(|target| (target, policy.max_receive_count)),
            None => None,
        };
        Ok(Self { connection, queue, dead_letters, moved: false, now })
    }

    /// Where dead letters went, if any did.
    fn woken(&self) -> Option<QueueAddress> {
        self.dead_letters.as_ref().filter(|_| self.moved).map(|(target, _)| target.address.clone())
    }

    /// Of a standard queue.
    fn by_visibility(&mut self, most: usize) -> Result<Vec<i64>, Trouble> {
        let connection = self.connection;
        let mut statement = connection.prepare_cached(
            "SELECT sequence, receives FROM messages WHERE queue = ?1 AND visible_at <= ?2 AND retained_from > ?3 \
             ORDER BY visible_at, sequence LIMIT ?4",
        )?;
        for _ in 0..ROUNDS {
            let found = statement
                .query_map(
                    params![self.queue.id, self.now, self.queue.retained_after(self.now), most as i64],
                    candidate_of,
                )?
                .collect::<Result<Vec<_>, _>>()?;
            if !self.move_dead(&found)? {
                return Ok(found.into_iter().map(|candidate| candidate.sequence).collect());
            }
        }
        Ok(Vec::new())
    }

    /// Of a FIFO queue: as many as possible of the group that has been available longest, then of the next.
    fn by_group(&mut self, most: usize) -> Result<Vec<i64>, Trouble> {
        let connection = self.connection;
        let mut groups = connection.prepare_cached(
            "SELECT group_id FROM fifo_groups WHERE queue = ?1 AND available_at <= ?2 \
             ORDER BY available_at, head LIMIT ?3",
        )?;
        let groups: Vec<String> = groups
            .query_map(params![self.queue.id, self.now, most as i64], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let mut taken = Vec::new();
        for group in groups {
            if taken.len() >= most {
                break;
            }
            taken.extend(self.of_group(&group, most - taken.len())?);
        }
        Ok(taken)
    }

    fn of_group(&mut self, group: &str, most: usize) -> Result<Vec<i64>, Trouble> {
        let connection = self.connection;
        let mut statement = connection.prepare_cached(
            "SELECT sequence, receives, visible_at FROM messages WHERE queue = ?1 AND group_id = ?2 \
             AND retained_from > ?3 ORDER BY sequence LIMIT ?4",
        )?;
        for _ in 0..ROUNDS {
            let mut found = Vec::new();
            let mut rows = statement.query(params![
                self.queue.id,
                group,
                self.queue.retained_after(self.now),
                most as i64
            ])?;
            while let Some(row) = rows.next()? {
                // One that is delayed holds back those behind it.
                if row.get::<_, i64>(2)? > self.now {
                    break;
                }
                found.push(candidate_of(row)?);
            }
            drop(rows);
            if !self.move_dead(&found)? {
                return Ok(found.into_iter().map(|candidate| candidate.sequence).collect());
            }
            fifo::refresh(connection, self.queue.id, group)?;
        }
        Ok(Vec::new())
    }

    /// Moves those of the candidates that were received too often. Gives back whether there were any.
    fn move_dead(&mut self, found: &[Candidate]) -> Result<bool, Trouble> {
        let Some((target, most)) = &self.dead_letters else { return Ok(false) };
        let mut any = false;
        for candidate in found.iter().filter(|candidate| candidate.receives >= *most) {
            bury(self.connection, self.queue, target, candidate.sequence, self.now)?;
            any = true;
        }
        self.moved |= any;
        Ok(any)
    }
}

fn candidate_of(row: &Row<'_>) -> rusqlite::Result<Candidate> {
    Ok(Candidate { sequence: row.get(0)?, receives: unsigned(row, 1)? })
}

/// Moves a message to its dead letter queue. It keeps its id, and in a standard queue its age.
///
/// Source: "Using dead-letter queues", developer guide: the enqueue timestamp is unchanged, but in FIFO queues.
fn bury(
    connection: &Connection,
    queue: &StoredQueue,
    target: &StoredQueue,
    sequence: i64,
    now: i64,
) -> Result<(), Trouble> {
    let (content, group, retained_from, receives): (i64, Option<String>, i64, i64) = connection
        .prepare_cached(
            "DELETE FROM messages WHERE sequence = ?1 RETURNING content, group_id, retained_from, receives + earlier",
        )?
        .query_row([sequence], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
    let retained_from = if queue.settings.fifo { now } else { retained_from };
    let placed = place(connection, target, content, group.as_deref(), now, retained_from)?;
    connection
        .prepare_cached("UPDATE messages SET earlier = ?2, source = ?3 WHERE sequence = ?1")?
        .execute(params![placed, receives, queue.address.arn()])?;
    Ok(())
}

/// Marks a message as received and reads it.
fn deliver(
    connection: &Connection,
    queue: &StoredQueue,
    sequence: i64,
    visible_at: i64,
    now: i64,
) -> Result<Option<ReceivedMessage>, Trouble> {
    connection
        .prepare_cached(
            "UPDATE messages SET visible_at = ?2, receives = receives + 1, received = ?3, \
             first_received = COALESCE(first_received, ?3) WHERE sequence = ?1",
        )?
        .execute(params![sequence, visible_at, now])?;
    read(connection, queue, sequence)
}

fn read(
    connection: &Connection,
    queue: &StoredQueue,
    sequence: i64,
) -> Result<Option<ReceivedMessage>, Trouble> {
    let message = connection
        .prepare_cached(
            "SELECT m.receives, m.earlier, m.first_received, m.group_id, m.source, \
             c.message, c.body, c.attributes, c.trace, c.sender, c.sent, c.deduplication \
             FROM messages m JOIN contents c ON c.id = m.content WHERE m.sequence = ?1",
        )?
        .query_row([sequence], |row| {
            let message_id: String = row.get(5)?;
            let receives = unsigned(row, 0)?;
            let handle = Handle { queue: queue.id, sequence, receives, message_id: message_id.clone() };
            let has_attributes = row.get_ref(7)? != rusqlite::types::ValueRef::Null;
            Ok(ReceivedMessage {
                message_id,
                receipt_handle: handle.print(),
                body: row.get(6)?,
                attributes: if has_attributes { json_of(row, 7)? } else { Default::default() },
                trace: row.get(8)?,
                sender: row.get(9)?,
                sent: Timestamp(row.get(10)?),
                receive_count: receives + unsigned(row, 1)?,
                first_received: Timestamp(row.get(2)?),
                sequence_number: queue.settings.fifo.then(|| sequence_number(sequence)),
                group_id: row.get(3)?,
                deduplication_id: row.get(11)?,
                dead_letter_source: row.get(4)?,
            })
        })
        .optional()?;
    Ok(message)
}

fn next_visible(connection: &Connection, queue: &StoredQueue, now: i64) -> Result<Option<i64>, Trouble> {
    let query = if queue.settings.fifo {
        "SELECT MIN(available_at) FROM fifo_groups WHERE queue = ?1 AND available_at > ?2"
    } else {
        "SELECT MIN(visible_at) FROM messages WHERE queue = ?1 AND visible_at > ?2"
    };
    Ok(connection.prepare_cached(query)?.query_row(params![queue.id, now], |row| row.get(0))?)
}

/// One message of an attempt as it was given.
#[derive(Serialize, Deserialize)]
struct Receipt {
    sequence: i64,
    receives: u64,
    visible_at: i64,
}

fn remember(
    connection: &Connection,
    queue: &StoredQueue,
    id: &str,
    messages: &[ReceivedMessage],
    visible_at: i64,
    now: i64,
) -> Result<(), Trouble> {
    let receipts: Vec<Receipt> = messages
        .iter()
        .filter_map(|message| Handle::parse(&message.receipt_handle))
        .map(|handle| Receipt { sequence: handle.sequence, receives: handle.receives, visible_at })
        .collect();
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO attempts (queue, id, until, receipts) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![queue.id, id, now + ATTEMPT, json(&receipts)?])?;
    Ok(())
}

/// The messages of an attempt made before, with the same handles, invisible for longer again; `None` when there was none,
/// or one of them was deleted or had its visibility changed since, or became visible.
fn repeat(
    connection: &Connection,
    queue: &StoredQueue,
    id: &str,
    timeout: i64,
    now: i64,
) -> Result<Option<Vec<ReceivedMessage>>, Trouble> {
    let receipts: Option<Vec<Receipt>> = connection
        .prepare_cached("SELECT receipts FROM attempts WHERE queue = ?1 AND id = ?2 AND until > ?3")?
        .query_row(params![queue.id, id, now], |row| json_of(row, 0))
        .optional()?;
    let Some(receipts) = receipts else { return Ok(None) };
    for receipt in &receipts {
        let same: bool = connection
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM messages WHERE sequence = ?1 AND receives = ?2 AND visible_at = ?3 \
                 AND visible_at > ?4)",
            )?
            .query_row(
                params![
                    receipt.sequence,
                    i64::try_from(receipt.receives).unwrap_or(i64::MAX),
                    receipt.visible_at,
                    now
                ],
                |row| row.get(0),
            )?;
        if !same {
            return Ok(None);
        }
    }
    let mut messages = Vec::with_capacity(receipts.len());
    for receipt in &receipts {
        connection
            .prepare_cached("UPDATE messages SET visible_at = ?2 WHERE sequence = ?1")?
            .execute(params![receipt.sequence, now + timeout])?;
        messages.extend(read(connection, queue, receipt.sequence)?);
    }
    let groups: BTreeSet<_> = messages.iter().filter_map(|message| message.group_id.as_deref()).collect();
    for group in groups {
        fifo::refresh(connection, queue.id, group)?;
    }
    remember(connection, queue, id, &messages, now + timeout, now)?;
    Ok(Some(messages))
}
