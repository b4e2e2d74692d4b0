//! The one thread that writes: takes what waits, runs it in one transaction, answers each caller after COMMIT.
//!
//! ```text
//!  write() -> queue (bounded) -> BEGIN . SAVEPOINT job RELEASE . SAVEPOINT job ROLLBACK . ... COMMIT -> answers
//! ```
//! A job that fails is rolled back to its savepoint and costs the others nothing. When the transaction
//! itself fails, every caller of the batch gets that failure, also those whose job refused (what they saw
//! never came to be). What many callers do alike can be gathered into one job.

use crate::contract::StoreError;
use crate::lock::DataDirectoryLock;
use crate::turnstile::Turnstile;
use rusqlite::Connection;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, oneshot, watch};

/// Jobs that wait for the writer; further callers wait in `write`.
const WAITING_JOBS: usize = 4_096;
/// Jobs of one transaction: bounds how long the first of them waits for its answer.
const BATCH_JOBS: usize = 512;

/// Tries to begin a transaction, each for as long as the connection waits (five seconds), while somebody else keeps the file
/// locked: a backup, or another process of a shared store.
const BEGIN_TRIES: usize = 6;

/// What a job may change, and so who has to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Concern {
    /// Functions, what belongs to them, documents; and the queue, for a deleted function's events end with it.
    Functions,
    /// Events only.
    Events,
}

/// Whom commits wake. Events come by the thousand a second: whoever looks after functions must not look again for each.
#[derive(Debug, Clone)]
pub(crate) struct Changes {
    functions: watch::Sender<u64>,
    all: watch::Sender<u64>,
}

impl Changes {
    pub(crate) fn new() -> Self {
        Self { functions: watch::channel(0).0, all: watch::channel(0).0 }
    }

    /// Woken by changes of anything but events.
    pub(crate) fn of_functions(&self) -> watch::Receiver<u64> {
        self.functions.subscribe()
    }

    /// Woken by every change.
    pub(crate) fn of_all(&self) -> watch::Receiver<u64> {
        self.all.subscribe()
    }

    /// Somebody has changed something.
    pub(crate) fn raise(&self) {
        self.raise_for(Concern::Functions);
    }

    fn raise_for(&self, concern: Concern) {
        if concern == Concern::Functions {
            self.functions.send_modify(|count| *count = count.wrapping_add(1));
        }
        self.all.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// Told whether the commit succeeded; gives back what sends the caller its answer.
type Answer = Box<dyn FnOnce(Result<(), &StoreError>) -> Reply + Send>;
/// Answers one caller.
type Reply = Box<dyn FnOnce() + Send>;
/// Runs inside the transaction, or not at all (`None`) when the transaction already failed; gives back
/// whether its savepoint stays, and its answer.
type Job = Box<dyn FnOnce(Option<&Connection>) -> (bool, Answer) + Send>;

/// One change for many items: the outcome of each, in their order. A failure of the whole is everybody's, and nothing of it
/// is kept.
pub(crate) type Together<Item> = fn(&Connection, &[Item]) -> Result<Vec<Result<(), StoreError>>, StoreError>;

/// Handle to the writer thread. Dropping it lets the thread finish what was queued and joins it.
pub(crate) struct Writer {
    jobs: Option<mpsc::Sender<(Concern, Job)>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread. `changes` are raised after every commit that changed something.
    pub(crate) fn start(
        connection: Connection,
        lock: Arc<DataDirectoryLock>,
        changes: Changes,
    ) -> Result<Self, StoreError> {
        Self::start_shared(connection, lock, changes, None)
    }

    /// As `start`; with a turnstile, each transaction waits for this process's turn.
    pub(crate) fn start_shared(
        connection: Connection,
        lock: Arc<DataDirectoryLock>,
        changes: Changes,
        turnstile: Option<Turnstile>,
    ) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel(WAITING_JOBS);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || {
                run(connection, queue, &changes, turnstile.as_ref());
                drop(lock);
            })
            .map_err(|error| StoreError::io("failed to start the store's writer", error))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Runs `change` inside a transaction; durable when this is `Ok`.
    ///
    /// `committed` runs in the writer thread after COMMIT and before the caller is answered (caches).
    /// A caller that goes away does not stop its job.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
        committed: impl FnOnce(&T) + Send + 'static,
    ) -> Result<T, StoreError> {
        self.submit(Concern::Functions, change, committed).await
    }

    /// As `write`, for a change of nothing but events.
    pub(crate) async fn write_events<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.submit(Concern::Events, change, |_| {}).await
    }

    async fn submit<T: Send + 'static>(
        &self,
        concern: Concern,
        change: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
        committed: impl FnOnce(&T) + Send + 'static,
    ) -> Result<T, StoreError> {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let result = match connection {
                Some(connection) => change(connection),
                None => Err(transaction_had_failed()),
            };
            let keep = result.is_ok();
            let answer: Answer = Box::new(move |commit| {
                let result = match commit {
                    Ok(()) => {
                        if let Ok(value) = &result {
                            committed(value);
                        }
                        result
                    }
                    Err(error) => Err(error.repeat()),
                };
                Box::new(move || {
                    // The caller may have gone away; what it asked for is done all the same.
                    let _ = sender.send(result);
                })
            });
            (keep, answer)
        });
        let jobs = self.jobs.as_ref().ok_or_else(stopped)?;
        jobs.send((concern, job)).await.map_err(|_| stopped())?;
        receiver.await.map_err(|_| stopped())?
    }

    /// As `write_events`, together with all others that wait in `gathering` when the transaction comes to it; `change` is the same for
    /// all calls with one gathering.
    pub(crate) async fn write_gathered<Item: Send + 'static>(
        &self,
        gathering: &Gathering<Item>,
        item: Item,
        change: Together<Item>,
    ) -> Result<(), StoreError> {
        let jobs = self.jobs.as_ref().ok_or_else(stopped)?;
        let (sender, receiver) = oneshot::channel();
        // The place comes first: a caller that goes away while it waits for one must not leave its item, and those of the
        // callers after it, without a job.
        let place = jobs.reserve().await.map_err(|_| stopped())?;
        if gathering.waiting.put((item, sender)) {
            place.send((Concern::Events, gathering.job(change)));
        }
        receiver.await.map_err(|_| stopped())?
    }
}

fn stopped() -> StoreError {
    StoreError::failed("failed to write", "the store's writer has stopped")
}

fn transaction_had_failed() -> StoreError {
    StoreError::failed("failed to write", "the transaction had failed before")
}

/// Items of callers that wait for a job, which takes many of them.
pub(crate) struct Gathering<Item> {
    waiting: Arc<Waiting<Item>>,
}

struct Waiting<Item>(Mutex<Vec<Gathered<Item>>>);

/// An item, and whom to tell what came of it.
type Gathered<Item> = (Item, oneshot::Sender<Result<(), StoreError>>);

impl<Item> Waiting<Item> {
    /// Puts an item in; whether it needs another job, as each takes `BATCH_JOBS` at most.
    fn put(&self, item: Gathered<Item>) -> bool {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(item);
        waiting.len() % BATCH_JOBS == 1
    }

    fn take(&self, most: usize) -> Vec<Gathered<Item>> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.len().min(most);
        waiting.drain(..count).collect()
    }
}

impl<Item> Default for Gathering<Item> {
    fn default() -> Self {
        Self { waiting: Arc::new(Waiting(Mutex::default())) }
    }
}

/// What a job takes when it runs. A job that the writer never came to takes its callers with it, who learn that it has stopped.
struct Due<Item>(Option<Arc<Waiting<Item>>>);

impl<Item> Due<Item> {
    fn take(&mut self) -> Vec<Gathered<Item>> {
        // Only once: whoever is left, or comes after that, has another job.
        self.0.take().map(|waiting| waiting.take(BATCH_JOBS)).unwrap_or_default()
    }
}

impl<Item> Drop for Due<Item> {
    fn drop(&mut self) {
        if let Some(waiting) = self.0.take() {
            waiting.take(usize::MAX);
        }
    }
}

impl<Item: Send + 'static> Gathering<Item> {
    /// The job of all that wait when it runs.
    fn job(&self, change: Together<Item>) -> Job {
        let mut due = Due(Some(Arc::clone(&self.waiting)));
        Box::new(move |connection| {
            let (items, callers): (Vec<_>, Vec<_>) = due.take().into_iter().unzip();
            let outcomes = match connection {
                Some(connection) => change(connection, &items),
                None => Err(transaction_had_failed()),
            };
            let keep = outcomes.is_ok();
            let answer: Answer = Box::new(move |commit| {
                let failure = outcomes.as_ref().err().or(commit.err()).map(StoreError::repeat);
                let outcomes: Vec<_> = match failure {
                    None => outcomes.unwrap_or_default(),
                    Some(error) => callers.iter().map(|_| Err(error.repeat())).collect(),
                };
                Box::new(move || {
                    for (caller, outcome) in callers.into_iter().zip(outcomes) {
                        // The caller may have gone away; what it asked for is done all the same.
                        let _ = caller.send(outcome);
                    }
                })
            });
            (keep, answer)
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(
    connection: Connection,
    mut queue: mpsc::Receiver<(Concern, Job)>,
    changes: &Changes,
    turnstile: Option<&Turnstile>,
) {
    let mut batch = Vec::with_capacity(BATCH_JOBS);
    while queue.blocking_recv_many(&mut batch, BATCH_JOBS) > 0 {
        let mut answers = Vec::with_capacity(batch.len());
        let outcome = run_batch(&connection, turnstile, &mut batch, &mut answers);
        if let Err(error) = &outcome {
            tracing::warn!(%error, callers = answers.len(), "store transaction failed");
        }
        // First what the store remembers, then who waits for changes, then who asked: nobody is woken to read
        // something old, and a caller's own change has been announced when it gets its answer.
        let committed = outcome.as_ref().map(|_| ());
        let replies: Vec<Reply> = answers.into_iter().map(|answer| answer(committed)).collect();
        if let Ok(Some(concern)) = outcome {
            changes.raise_for(concern);
        }
        for reply in replies {
            reply();
        }
    }
    // Leave one file behind instead of three; recovery would do the same at the next start.
    if let Err(error) = connection.close() {
        tracing::warn!(error = %error.1, "failed to close the metadata file");
    }
}

/// Runs all jobs and commits. `Ok` says what changed, if anything; after an `Err` nothing of the batch was kept.
fn run_batch(
    connection: &Connection,
    turnstile: Option<&Turnstile>,
    batch: &mut Vec<(Concern, Job)>,
    answers: &mut Vec<Answer>,
) -> Result<Option<Concern>, StoreError> {
    let mut changed = None;
    // Held until the transaction has ended.
    let turn = turnstile.map(Turnstile::pass).transpose();
    let mut failure = match &turn {
        Ok(_) => begin(connection).err(),
        Err(error) => Some(error.repeat()),
    };
    for (concern, job) in batch.drain(..) {
        if failure.is_none() {
            failure = step(connection, "SAVEPOINT job").err();
        }
        if failure.is_some() {
            answers.push(job(None).1);
            continue;
        }
        let before = connection.total_changes();
        let (keep, answer) = job(Some(connection));
        if connection.total_changes() != before && changed != Some(Concern::Functions) {
            changed = Some(concern);
        }
        answers.push(answer);
        if connection.is_autocommit() {
            // SQLite rolls a whole transaction back by itself when the disk is full or fails.
            failure = Some(StoreError::Unwritable(
                "the disk is full or fails; free some space, nothing was lost".to_owned(),
            ));
            continue;
        }
        failure = match keep {
            true => step(connection, "RELEASE job").err(),
            false => execute(connection, "ROLLBACK TO job; RELEASE job").err(),
        };
    }
    if failure.is_none() {
        failure = step(connection, "COMMIT").err();
    }
    match failure {
        None => Ok(changed),
        Some(error) => {
            if !connection.is_autocommit()
                && let Err(error) = execute(connection, "ROLLBACK")
            {
                tracing::warn!(%error, "failed to roll back");
            }
            Err(error)
        }
    }
}

fn begin(connection: &Connection) -> Result<(), StoreError> {
    let statement = "BEGIN IMMEDIATE";
    for _ in 1..BEGIN_TRIES {
        match connection.execute_batch(statement) {
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => {
                tracing::warn!("the store waits for somebody else who keeps its file locked");
            }
            _ if !connection.is_autocommit() => return Ok(()),
            other => return other.map_err(|error| StoreError::sqlite("failed to begin", error)),
        }
    }
    execute(connection, statement)
}

/// As `execute`, for what every job does: read once, and kept.
fn step(connection: &Connection, statement: &'static str) -> Result<(), StoreError> {
    connection
        .prepare_cached(statement)
        .and_then(|mut prepared| prepared.execute([]))
        .map(|_| ())
        .map_err(|error| StoreError::sqlite(format!("failed to {}", statement.to_lowercase()), error))
}

fn execute(connection: &Connection, statement: &str) -> Result<(), StoreError> {
    connection
        .execute_batch(statement)
        .map_err(|error| StoreError::sqlite(format!("failed to {}", statement.to_lowercase()), error))
}
