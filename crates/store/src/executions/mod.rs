//! Durable executions in a file of their own, `executions.sqlite`: what they hold may be large, and is written often.
//!
//! Called by `invoke::durable`. Every change is one transaction: the execution is loaded with the operations it concerns, a
//! pure function of `model::durable` changes it, what has changed is written back. `rows` holds the statements.

mod rows;

use crate::contract::StoreError;
use crate::database::{DataDirectory, Database};
use lamplight_model::durable::{
    Closing, Event, Execution, ExecutionStatus, NewExecution, Operation, Progress,
};
use lamplight_model::{FunctionName, Scope, Timestamp, VersionNumber};
use rusqlite::Connection;
use uuid::Uuid;

/// Migrations; the n-th brings format n-1 to n.
const MIGRATIONS: &[&str] = &[include_str!("executions_1.sql")];

/// Which execution.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ExecutionKey {
    /// Where it lives.
    pub scope: Scope,
    /// Its id.
    pub id: Uuid,
}

impl ExecutionKey {
    /// The key of a record.
    pub fn of(execution: &Execution) -> Self {
        Self { scope: execution.scope.clone(), id: execution.id }
    }
}

/// The operations that a change concerns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Those with these ids.
    pub ids: Vec<String>,
    /// Those that are due at this moment.
    pub due: Option<Timestamp>,
    /// Those because of which the execution may suspend.
    pub open: bool,
}

/// What a change gave back, with what was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed<T> {
    /// What the change gave back.
    pub value: T,
    /// The execution after it.
    pub execution: Execution,
    /// `InputPayload`, when `operations_since` asked for operations.
    pub input: String,
    /// The operations that changed after what `operations_since` gave, in the order of their starts.
    pub operations: Vec<Operation>,
}

/// An execution with its payloads.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredExecution {
    /// The record.
    pub execution: Execution,
    /// `InputPayload`.
    pub input: String,
    /// Its end; nothing is set while it runs.
    pub closing: Closing,
}

/// What starting one came to.
#[derive(Debug, Clone, PartialEq)]
pub enum StartedExecution {
    /// It has started.
    New,
    /// There is one of that name already.
    Existing(Box<StoredExecution>),
}

/// Which executions of a function to list, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecutionQuery {
    /// Where the function lives.
    pub scope: Scope,
    /// The function.
    pub function: FunctionName,
    /// Only those of this version.
    pub version: Option<VersionNumber>,
    /// Only the one of this name.
    pub name: Option<String>,
    /// Only those with this status.
    pub status: Option<ExecutionStatus>,
    /// Only those that started later.
    pub started_after: Option<Timestamp>,
    /// Only those that started before.
    pub started_before: Option<Timestamp>,
    /// Oldest first.
    pub oldest_first: bool,
    /// Beginning after this one.
    pub after: Option<(Timestamp, i64)>,
    /// At most so many.
    pub limit: usize,
}

/// The executions of a data directory.
pub struct Executions {
    database: Database,
}

impl Executions {
    /// Opens or creates the file. Blocks. Fails as `Database::open` does.
    pub fn open(directory: &DataDirectory) -> Result<Self, StoreError> {
        Ok(Self { database: Database::open(directory, "executions.sqlite", MIGRATIONS, |_| Ok(()))? })
    }

    /// Runs a query that sees one moment of the file, however many statements it has.
    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.database
            .read(move |connection| {
                let moment = connection.unchecked_transaction().map_err(|error| {
                    StoreError::sqlite("failed to begin to read durable executions", error)
                })?;
                let found = query(&moment)?;
                moment
                    .finish()
                    .map_err(|error| StoreError::sqlite("failed to read durable executions", error))?;
                Ok(found)
            })
            .await
    }

    /// Starts an execution, unless its function has one of that name.
    pub async fn start(&self, new: NewExecution) -> Result<StartedExecution, StoreError> {
        self.database
            .write(move |connection| {
                let execution = &new.execution;
                if let Some(key) =
                    rows::named(connection, &execution.scope, &execution.function, &execution.name)?
                {
                    let stored = rows::stored(connection, key)?;
                    return Ok(StartedExecution::Existing(Box::new(stored)));
                }
                rows::insert(connection, &new)?;
                Ok(StartedExecution::New)
            })
            .await
    }

    /// Changes an execution in one transaction. `None` when there is no such execution; a refusal of `change` changes
    /// nothing. `change` gives back its value, and after which count of changes operations are to be read back.
    pub async fn change<T, E>(
        &self,
        key: &ExecutionKey,
        wanted: Wanted,
        change: impl FnOnce(&mut Progress) -> Result<(T, Option<u64>), E> + Send + 'static,
    ) -> Result<Option<Result<Changed<T>, E>>, StoreError>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let key = key.clone();
        self.database
            .write(move |connection| {
                let Some(row) = rows::find(connection, &key)? else { return Ok(None) };
                let execution = rows::execution(connection, row)?;
                let loaded = rows::wanted(connection, row, &wanted)?;
                let mut progress = Progress::new(execution, loaded.iter().cloned());
                let (value, since) = match change(&mut progress) {
                    Ok(done) => done,
                    Err(refused) => return Ok(Some(Err(refused))),
                };
                rows::write_back(connection, row, &loaded, &progress)?;
                for child in &progress.children {
                    rows::insert(connection, child)?;
                }
                let (operations, input) = match since {
                    Some(since) => {
                        (rows::touched_after(connection, row, since)?, rows::input(connection, row)?)
                    }
                    None => (Vec::new(), String::new()),
                };
                Ok(Some(Ok(Changed { value, execution: progress.execution, input, operations })))
            })
            .await
    }

    /// One execution.
    pub async fn get(&self, key: &ExecutionKey) -> Result<Option<StoredExecution>, StoreError> {
        let key = key.clone();
        self.read(move |connection| {
            rows::find(connection, &key)?.map(|row| rows::stored(connection, row)).transpose()
        })
        .await
    }

    /// Executions in which something has to be done at `now`, the longest overdue first.
    pub async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<ExecutionKey>, StoreError> {
        self.read(move |connection| rows::due(connection, now, limit)).await
    }

    /// When something has to be done next.
    pub async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read(rows::next_due).await
    }

    /// The execution and its operations that a replay needs, in the order of their starts, beginning after `after`: children
    /// of contexts that have ended are left out. At most `most_bytes` of results and `limit` operations, but one at least.
    /// The second value says after which one the rest begins.
    pub async fn replay(
        &self,
        key: &ExecutionKey,
        after: u64,
        limit: usize,
        most_bytes: u64,
    ) -> Result<Option<(StoredExecution, Vec<Operation>, Option<u64>)>, StoreError> {
        let key = key.clone();
        self.read(move |connection| {
            let Some(row) = rows::find(connection, &key)? else { return Ok(None) };
            let stored = rows::stored(connection, row)?;
            let (operations, rest) =
                rows::replay(connection, row, stored.input.len() as u64, after, limit, most_bytes)?;
            Ok(Some((stored, operations, rest)))
        })
        .await
    }

    /// Ids of the operations that changed after this count of changes, in the order of their starts.
    pub async fn touched_after(&self, key: &ExecutionKey, since: u64) -> Result<Vec<String>, StoreError> {
        let key = key.clone();
        self.read(move |connection| match rows::find(connection, &key)? {
            Some(row) => rows::ids_touched_after(connection, row, since),
            None => Ok(Vec::new()),
        })
        .await
    }

    /// Events of an execution, beginning after the one of number `after`. `None` when there is no such execution.
    pub async fn history(
        &self,
        key: &ExecutionKey,
        after: Option<u64>,
        newest_first: bool,
        limit: usize,
    ) -> Result<Option<Vec<Event>>, StoreError> {
        let key = key.clone();
        self.read(move |connection| {
            let Some(row) = rows::find(connection, &key)? else { return Ok(None) };
            rows::history(connection, row, after, newest_first, limit).map(Some)
        })
        .await
    }

    /// Executions of a function, each with its place in the list.
    pub async fn list(&self, query: ExecutionQuery) -> Result<Vec<(i64, Execution)>, StoreError> {
        self.read(move |connection| rows::list(connection, &query)).await
    }

    /// Forgets an execution with everything that belongs to it.
    pub async fn remove(&self, key: &ExecutionKey) -> Result<(), StoreError> {
        let key = key.clone();
        self.database
            .write(move |connection| match rows::find(connection, &key)? {
                Some(row) => rows::remove(connection, row),
                None => Ok(()),
            })
            .await
    }

    /// Executions with an invocation whose owner's name begins so: what a node left behind when it ended.
    pub async fn in_flight_of(&self, owner: &str) -> Result<Vec<ExecutionKey>, StoreError> {
        let owner = owner.to_owned();
        self.read(move |connection| rows::in_flight_of(connection, &owner)).await
    }
}
