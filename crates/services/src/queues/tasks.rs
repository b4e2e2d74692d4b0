//! Tasks that move the messages of a dead letter queue back, or elsewhere.
//!
//! A task is a row; each step moves some messages and counts them in one transaction, so that a task goes on after a crash
//! where it was. Source: StartMessageMoveTask; what is moved is a new message there, with an id and a time of its own.

use crate::queues::error::Trouble;
use crate::queues::send::place;
use crate::queues::stored::{StoredQueue, lookup_arn, unsigned};
use crate::queues::{QueueAddress, QueueError, Queues, fifo};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lamplight_model::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde_json::json;
use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

/// Messages moved in one step, and in one second at most when a task says so.
const STEP: u64 = 500;
/// Between two steps of tasks, which makes the rate of a task one a second.
const PERIOD: Duration = Duration::from_secs(1);
/// Steps between two rounds of `tidy`.
const TIDY_EVERY: u32 = 60;
/// Tasks that are listed, and finished ones that are kept for a queue.
const LISTED: u64 = 10;

/// What a task is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskStatus {
    /// It moves messages.
    Running,
    /// Nothing is left to move.
    Completed,
    /// It was cancelled.
    Cancelled,
    /// It could not go on.
    Failed,
}

impl TaskStatus {
    /// As SQS names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Completed => "COMPLETED",
            Self::Cancelled => "CANCELLED",
            Self::Failed => "FAILED",
        }
    }

    fn parse(text: &str) -> Self {
        [Self::Running, Self::Completed, Self::Cancelled]
            .into_iter()
            .find(|status| status.as_str() == text)
            .unwrap_or(Self::Failed)
    }
}

/// A task as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveTask {
    /// Names it.
    pub handle: String,
    /// ARN of the queue it empties.
    pub source: String,
    /// ARN of the queue it fills; that each message came from when absent.
    pub destination: Option<String>,
    /// Messages a second at most.
    pub rate: Option<u64>,
    /// When it was started.
    pub started: Timestamp,
    /// What it is doing.
    pub status: TaskStatus,
    /// Messages moved.
    pub moved: u64,
    /// Messages that were there when it was started.
    pub to_move: u64,
    /// Why it failed.
    pub failure: Option<String>,
}

const COLUMNS: &str = "handle, source, destination, rate, started, status, moved, to_move, failure";

fn task_of(row: &Row<'_>) -> rusqlite::Result<MoveTask> {
    Ok(MoveTask {
        handle: row.get(0)?,
        source: row.get(1)?,
        destination: row.get(2)?,
        rate: row.get::<_, Option<i64>>(3)?.map(|rate| u64::try_from(rate).unwrap_or(1)),
        started: Timestamp(row.get(4)?),
        status: TaskStatus::parse(&row.get::<_, String>(5)?),
        moved: unsigned(row, 6)?,
        to_move: unsigned(row, 7)?,
        failure: row.get(8)?,
    })
}

fn no_source() -> QueueError {
    QueueError::ResourceNotFound(
        "The resource that you specified for the SourceArn parameter doesn't exist.".to_owned(),
    )
}

impl Queues {
    /// Starts a task and gives back its handle. Durable when this is `Ok`.
    ///
    /// Fails with `ResourceNotFound` (source, destination), `InvalidParameterValue` (not a dead letter queue, a rate not
    /// within 1 and 500, a task that runs already).
    pub async fn start_move(
        &self,
        source: &str,
        destination: Option<String>,
        rate: Option<i64>,
    ) -> Result<String, QueueError> {
        if let Some(rate) = rate
            && !(1..=STEP.cast_signed()).contains(&rate)
        {
            let reason = "Must be between 1 and 500, if provided.";
            return Err(QueueError::invalid(rate, "MaxNumberOfMessagesPerSecond", reason));
        }
        let (source, now) = (source.to_owned(), self.now());
        self.write("failed to start a move of messages", move |connection| {
            let queue = lookup_arn(connection, &source)?.ok_or_else(no_source)?;
            let is_target: bool = connection
                .prepare_cached("SELECT EXISTS (SELECT 1 FROM queues WHERE dead_letters = ?1)")?
                .query_row([&source], |row| row.get(0))?;
            if !is_target {
                return Err(refuse("Source queue must be configured as a Dead Letter Queue."));
            }
            if let Some(arn) = &destination {
                match lookup_arn(connection, arn)? {
                    None => {
                        return Err(QueueError::ResourceNotFound(
                            "The resource that you specified for the DestinationArn parameter doesn't exist.".to_owned(),
                        )
                        .into());
                    }
                    Some(target) if target.id == queue.id => {
                        return Err(refuse("Source queue arn and destination queue arn cannot be the same."));
                    }
                    Some(target) if target.settings.fifo != queue.settings.fifo => {
                        return Err(refuse("Source and destination queues must be of the same type."));
                    }
                    Some(_) => {}
                }
            }
            let running: bool = connection
                .prepare_cached("SELECT EXISTS (SELECT 1 FROM move_tasks WHERE source = ?1 AND status = 'RUNNING')")?
                .query_row([&source], |row| row.get(0))?;
            if running {
                return Err(refuse(
                    "There is already a task running. Only one active task is allowed for a source queue arn at a \
                     given time.",
                ));
            }
            let to_move: i64 = connection
                .prepare_cached("SELECT COUNT(*) FROM messages WHERE queue = ?1")?
                .query_row([queue.id], |row| row.get(0))?;
            let handle = STANDARD
                .encode(json!({"taskId": uuid::Uuid::new_v4().to_string(), "sourceArn": source}).to_string());
            connection
                .prepare_cached(
                    "INSERT INTO move_tasks (handle, source, destination, rate, started, status, to_move) \
                     VALUES (?1, ?2, ?3, ?4, ?5, 'RUNNING', ?6)",
                )?
                .execute(params![handle, source, destination, rate, now, to_move])?;
            connection
                .prepare_cached(
                    "DELETE FROM move_tasks WHERE source = ?1 AND id NOT IN \
                     (SELECT id FROM move_tasks WHERE source = ?1 ORDER BY id DESC LIMIT ?2)",
                )?
                .execute(params![source, LISTED.cast_signed()])?;
            Ok(handle)
        })
        .await
    }

    /// The newest tasks of a source, newest first, at most `limit`. Fails with `ResourceNotFound`.
    pub async fn list_moves(&self, source: &str, limit: u64) -> Result<Vec<MoveTask>, QueueError> {
        let (source, limit) = (source.to_owned(), limit.min(LISTED).cast_signed());
        self.read("failed to list moves of messages", move |connection| {
            lookup_arn(connection, &source)?.ok_or_else(no_source)?;
            let query =
                format!("SELECT {COLUMNS} FROM move_tasks WHERE source = ?1 ORDER BY id DESC LIMIT ?2");
            let mut statement = connection.prepare_cached(&query)?;
            let rows = statement.query_map(params![source, limit], task_of)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Ends a running task; gives back how many messages it has moved.
    ///
    /// Fails with `InvalidParameterValue` (not a handle), `ResourceNotFound` (queue or task gone), `UnsupportedOperation`
    /// (it is not running).
    pub async fn cancel_move(&self, handle: &str) -> Result<u64, QueueError> {
        let bytes = STANDARD.decode(handle).unwrap_or_default();
        let content: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let Some(source) = content["sourceArn"].as_str().map(str::to_owned) else {
            return Err(QueueError::InvalidParameterValue(
                "Value for parameter TaskHandle is invalid.".to_owned(),
            ));
        };
        let handle = handle.to_owned();
        self.write("failed to cancel a move of messages", move |connection| {
            lookup_arn(connection, &source)?.ok_or_else(no_source)?;
            let query = format!("SELECT {COLUMNS} FROM move_tasks WHERE handle = ?1");
            let task = connection.prepare_cached(&query)?.query_row([&handle], task_of).optional()?;
            match task {
                None => Err(QueueError::ResourceNotFound("Task does not exist.".to_owned()).into()),
                Some(task) if task.status != TaskStatus::Running => {
                    Err(QueueError::UnsupportedOperation("Only active tasks can be cancelled.".to_owned())
                        .into())
                }
                Some(task) => {
                    end(connection, &handle, TaskStatus::Cancelled, None)?;
                    Ok(task.moved)
                }
            }
        })
        .await
    }

    /// Lets each running task move messages once: as many as its rate says for a second, or 500. Gives back how many
    /// tasks run on.
    pub async fn step_moves(&self) -> Result<usize, QueueError> {
        let now = self.now();
        let (woken, running) = self
            .write("failed to move messages", move |connection| {
                let query = format!(
                    "SELECT {COLUMNS} FROM move_tasks WHERE status = 'RUNNING' ORDER BY id LIMIT 100"
                );
                let tasks = connection
                    .prepare_cached(&query)?
                    .query_map([], task_of)?
                    .collect::<Result<Vec<_>, _>>()?;
                let (mut woken, mut running) = (BTreeSet::new(), 0);
                for task in tasks {
                    running += usize::from(step(connection, &task, now, &mut woken)?);
                }
                Ok((woken, running))
            })
            .await?;
        for address in woken {
            self.waiting.wake(&address);
        }
        Ok(running)
    }

    /// Works on move tasks and tidies up, until `stop` resolves. To be spawned once.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) {
        let mut stop = std::pin::pin!(stop);
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut count = 0_u32;
        loop {
            tokio::select! {
                () = &mut stop => return,
                _ = ticks.tick() => {}
            }
            if let Err(error) = self.step_moves().await {
                tracing::warn!(%error, "failed to move messages of a dead letter queue");
            }
            if count.is_multiple_of(TIDY_EVERY)
                && let Err(error) = self.tidy().await
            {
                tracing::warn!(%error, "failed to remove old messages");
            }
            count = count.wrapping_add(1);
        }
    }
}

fn refuse(text: &str) -> Trouble {
    QueueError::InvalidParameterValue(text.to_owned()).into()
}

fn end(
    connection: &Connection,
    handle: &str,
    status: TaskStatus,
    failure: Option<&str>,
) -> Result<(), Trouble> {
    connection
        .prepare_cached("UPDATE move_tasks SET status = ?2, failure = ?3 WHERE handle = ?1")?
        .execute(params![handle, status.as_str(), failure])?;
    Ok(())
}

/// Moves some messages of a task. Gives back whether it runs on.
fn step(
    connection: &Connection,
    task: &MoveTask,
    now: i64,
    woken: &mut BTreeSet<QueueAddress>,
) -> Result<bool, Trouble> {
    const GONE: &str = "AWS.SimpleQueueService.NonExistentQueue";
    let Some(source) = lookup_arn(connection, &task.source)? else {
        end(connection, &task.handle, TaskStatus::Failed, Some(GONE))?;
        return Ok(false);
    };
    let left = task.to_move.saturating_sub(task.moved);
    let most = task.rate.unwrap_or(STEP).min(left);
    let found: Vec<(i64, i64, Option<String>, Option<String>)> = connection
        .prepare_cached(
            "SELECT sequence, content, group_id, source FROM messages WHERE queue = ?1 AND visible_at <= ?2 \
             AND retained_from > ?3 ORDER BY sequence LIMIT ?4",
        )?
        .query_map(params![source.id, now, source.retained_after(now), most.cast_signed()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?
        .collect::<Result<_, _>>()?;
    let count = found.len() as u64;
    let mut moved = 0;
    let mut failure = None;
    for (sequence, content, group, came_from) in found {
        let Some(arn) = task.destination.as_ref().or(came_from.as_ref()) else {
            failure = Some("CouldNotDetermineMessageSource");
            break;
        };
        let Some(target) =
            lookup_arn(connection, arn)?.filter(|target| target.settings.fifo == source.settings.fifo)
        else {
            failure = Some(GONE);
            break;
        };
        move_one(connection, &source, &target, (sequence, content), group.as_deref(), now)?;
        woken.insert(target.address);
        moved += 1;
    }
    connection
        .prepare_cached("UPDATE move_tasks SET moved = moved + ?2 WHERE handle = ?1")?
        .execute(params![task.handle, i64::from(moved)])?;
    if let Some(failure) = failure {
        end(connection, &task.handle, TaskStatus::Failed, Some(failure))?;
        return Ok(false);
    }
    // What is in flight by now is its receiver's.
    if count < most || count == left {
        end(connection, &task.handle, TaskStatus::Completed, None)?;
        return Ok(false);
    }
    Ok(true)
}

fn move_one(
    connection: &Connection,
    source: &StoredQueue,
    target: &StoredQueue,
    (sequence, content): (i64, i64),
    group: Option<&str>,
    now: i64,
) -> Result<(), Trouble> {
    connection.prepare_cached("DELETE FROM messages WHERE sequence = ?1")?.execute([sequence])?;
    connection
        .prepare_cached("UPDATE contents SET message = ?2, sent = ?3 WHERE id = ?1")?
        .execute(params![content, uuid::Uuid::new_v4().to_string(), now])?;
    place(connection, target, content, group, now, now)?;
    if let Some(group) = group.filter(|_| source.settings.fifo) {
        fifo::refresh(connection, source.id, group)?;
    }
    Ok(())
}
