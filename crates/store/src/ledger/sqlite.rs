//! The ledger in a SQLite file of its own: one thread takes what was appended, a batch per transaction.
//!
//! Totals are kept by hour of arrival and outlive the records. A failing disk keeps the batch in the
//! buffer until it works again; only beyond the hard bound are records lost, and then counted and logged.

use crate::contract::StoreError;
use crate::ledger::{ATTEMPTS_TOLD, Ledger, Run, RunQuery, UsageQuery, UsageRow};
use crate::lock::DataDirectoryLock;
use crate::open::{Clock, LedgerBounds};
use crate::sqlite::connection::{Durability, open_writer};
use crate::sqlite::readers::Readers;
use crate::sqlite::schema;
use async_trait::async_trait;
use lamplight_model::{InvocationReport, OutcomeStatus, RequestId, Scope, Timestamp, VersionNumber};
use rusqlite::{Connection, params};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Records buffered before `append` asks its callers to wait in `flush`.
const BUFFERED_RECORDS: usize = 16_384;
/// Records buffered at all; beyond it they are lost, which takes a disk that fails for long.
const BUFFERED_RECORDS_HARD: usize = 65_536;
/// Records of one transaction. The more there are, the more of them share the pages of the indexes; a thread that writes so
/// many is done within 50 ms.
const BATCH_RECORDS: usize = 4_000;
/// How long a record waits for others.
const BATCH_DELAY: Duration = Duration::from_millis(250);
/// How long the thread waits after a failure.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Records deleted after one batch: more than a batch holds, so that deleting keeps up.
const PRUNED_PER_BATCH: i64 = 8_000;
/// Hourly totals kept: 400 days, so that a year can be compared with the one before. Older ones go at start.
const TOTALS_KEPT_HOURS: i64 = 400 * 24;

const HOUR_MS: i64 = 3_600_000;
const DAY_HOURS: i64 = 24;

/// Answered when so many records were written since the start.
type Flush = (u64, oneshot::Sender<Result<(), StoreError>>);

#[derive(Default)]
struct Buffer {
    records: VecDeque<InvocationReport>,
    /// Records the thread has taken and not written yet.
    taken: usize,
    flushes: Vec<Flush>,
    appended: u64,
    lost: u64,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    buffer: Mutex<Buffer>,
    woken: Condvar,
}

/// The ledger of one data directory.
pub(crate) struct SqliteLedger {
    shared: Arc<Shared>,
    readers: Readers,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl SqliteLedger {
    /// Opens or creates the file and starts its thread.
    pub(crate) fn open(
        path: &Path,
        bounds: LedgerBounds,
        lock: Arc<DataDirectoryLock>,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let mut connection = open_writer(path, Durability::Normal)?;
        schema::migrate(&mut connection, &path.display().to_string(), schema::LEDGER)?;
        connection
            .execute(
                "DELETE FROM usage_hour WHERE hour < ?",
                params![(clock)().0.div_euclid(HOUR_MS).saturating_sub(TOTALS_KEPT_HOURS)],
            )
            .map_err(|error| StoreError::sqlite("failed to forget old totals", error))?;
        let shared = Arc::new(Shared::default());
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new()
            .name("store-ledger".to_owned())
            .spawn(move || {
                run(&mut connection, &of_thread, &bounds, &clock);
                drop(connection);
                drop(lock);
            })
            .map_err(|error| StoreError::io("failed to start the ledger's writer", error))?;
        Ok(Self { shared, readers: Readers::new(path), thread: Some(thread) })
    }

    /// Readers see what was appended before they ask. A ledger that cannot write is still read.
    async fn settle(&self) {
        if let Err(error) = self.flush().await {
            tracing::warn!(%error, "reading a ledger that cannot write");
        }
    }
}

impl Drop for SqliteLedger {
    fn drop(&mut self) {
        self.shared.buffer.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.shared.woken.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[async_trait]
impl Ledger for SqliteLedger {
    fn append(&self, report: InvocationReport) -> bool {
        let mut buffer = self.shared.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.records.len() + buffer.taken >= BUFFERED_RECORDS_HARD {
            buffer.lost += 1;
            return false;
        }
        buffer.records.push_back(report);
        buffer.appended += 1;
        let (gathered, waiting) = (buffer.records.len(), buffer.records.len() + buffer.taken);
        drop(buffer);
        // In between, the thread wakes by its delay: no system call for most records.
        if gathered == 1 || gathered == BATCH_RECORDS {
            self.shared.woken.notify_one();
        }
        waiting < BUFFERED_RECORDS
    }

    async fn flush(&self) -> Result<(), StoreError> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut buffer = self.shared.buffer.lock().unwrap_or_else(PoisonError::into_inner);
            let appended = buffer.appended;
            buffer.flushes.push((appended, sender));
        }
        self.shared.woken.notify_one();
        receiver.await.map_err(|error| StoreError::failed("failed to flush the ledger", error))?
    }

    async fn find(
        &self,
        scope: &Scope,
        request_id: RequestId,
    ) -> Result<Option<InvocationReport>, StoreError> {
        self.settle().await;
        let scope = scope.key();
        self.readers
            .read(move |connection| {
                // Retries of an asynchronous event share the id: the newest attempt is meant.
                let sql = "SELECT report FROM record
                           WHERE substr(request_id, 1, 8) = substr(?2, 1, 8) AND scope = ?1 AND request_id = ?2
                           ORDER BY id DESC LIMIT 1";
                Ok(reports(connection, sql, params![scope, request_id.0.as_bytes()])?.pop())
            })
            .await
    }

    async fn attempts(
        &self,
        scope: &Scope,
        request_id: RequestId,
    ) -> Result<Vec<InvocationReport>, StoreError> {
        self.settle().await;
        let scope = scope.key();
        self.readers
            .read(move |connection| {
                let sql = "SELECT report FROM record
                           WHERE substr(request_id, 1, 8) = substr(?2, 1, 8) AND scope = ?1 AND request_id = ?2
                           ORDER BY id DESC LIMIT ?3";
                let most = ATTEMPTS_TOLD as i64;
                let mut found = reports(connection, sql, params![scope, request_id.0.as_bytes(), most])?;
                found.reverse();
                Ok(found)
            })
            .await
    }

    async fn recent(
        &self,
        scope: &Scope,
        function: &str,
        limit: usize,
    ) -> Result<Vec<InvocationReport>, StoreError> {
        self.settle().await;
        let (scope, function) = (scope.key(), function.to_owned());
        self.readers
            .read(move |connection| {
                let sql =
                    "SELECT report FROM record WHERE scope = ? AND function = ? ORDER BY id DESC LIMIT ?";
                reports(connection, sql, params![scope, function, limit as i64])
            })
            .await
    }

    async fn runs(&self, scope: &Scope, query: RunQuery) -> Result<Vec<Run>, StoreError> {
        self.settle().await;
        let scope = scope.key();
        self.readers.read(move |connection| runs(connection, &scope, &query)).await
    }

    async fn usage(&self, scope: &Scope, query: UsageQuery) -> Result<Vec<UsageRow>, StoreError> {
        self.settle().await;
        let scope = scope.key();
        self.readers.read(move |connection| usage(connection, &scope, &query)).await
    }
}

fn run(connection: &mut Connection, shared: &Shared, bounds: &LedgerBounds, clock: &Clock) {
    let mut written = 0u64;
    let mut taken = VecDeque::new();
    loop {
        let closed = wait_for_batch(shared, &mut taken);
        let before = taken.len();
        let outcome = write(connection, &mut taken, bounds, clock);
        written += (before - taken.len()) as u64;
        let mut buffer = shared.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        buffer.taken = 0;
        let lost = std::mem::take(&mut buffer.lost);
        if lost > 0 {
            tracing::error!(lost, "ledger records were lost: the disk refused them for too long");
        }
        match outcome {
            Ok(()) => {
                for (_, answer) in buffer.flushes.extract_if(.., |(until, _)| *until <= written) {
                    let _ = answer.send(Ok(()));
                }
                if closed && buffer.records.is_empty() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, records = taken.len(), "failed to write the ledger; will try again");
                // They are the oldest: back in front of those that came meanwhile.
                taken.append(&mut buffer.records);
                std::mem::swap(&mut taken, &mut buffer.records);
                for (_, answer) in buffer.flushes.drain(..) {
                    let _ = answer.send(Err(error.repeat()));
                }
                if closed {
                    return;
                }
                let _ = shared.woken.wait_timeout_while(buffer, RETRY_DELAY, |buffer| {
                    buffer.flushes.is_empty() && !buffer.closed
                });
            }
        }
    }
}

/// Writes what was taken, a batch per transaction; what was written is gone from `taken`.
fn write(
    connection: &mut Connection,
    taken: &mut VecDeque<InvocationReport>,
    bounds: &LedgerBounds,
    clock: &Clock,
) -> Result<(), StoreError> {
    while !taken.is_empty() {
        let length = taken.len().min(BATCH_RECORDS);
        write_batch(connection, &taken.make_contiguous()[..length], bounds, (clock)())?;
        taken.drain(..length);
    }
    taken.shrink_to(BATCH_RECORDS);
    Ok(())
}

/// Exchanges the records there are for the empty `taken`, and tells whether this is the end. Nothing is copied or dropped
/// while the buffer is locked: runs that end wait for it.
fn wait_for_batch(shared: &Shared, taken: &mut VecDeque<InvocationReport>) -> bool {
    let urgent = |buffer: &Buffer| !buffer.flushes.is_empty() || buffer.closed;
    let mut buffer = shared.buffer.lock().unwrap_or_else(PoisonError::into_inner);
    while buffer.records.is_empty() && !urgent(&buffer) {
        buffer = shared.woken.wait(buffer).unwrap_or_else(PoisonError::into_inner);
    }
    let began = Instant::now();
    while buffer.records.len() < BATCH_RECORDS
        && !urgent(&buffer)
        && let Some(left) = BATCH_DELAY.checked_sub(began.elapsed())
    {
        buffer = shared.woken.wait_timeout(buffer, left).unwrap_or_else(PoisonError::into_inner).0;
    }
    std::mem::swap(&mut buffer.records, taken);
    buffer.taken = taken.len();
    buffer.closed
}

#[derive(Default, Clone, Copy)]
struct Totals {
    requests: i64,
    errors: i64,
    billed_ms: i64,
    mib_ms: i64,
}

impl Totals {
    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.billed_ms += other.billed_ms;
        self.mib_ms = self.mib_ms.saturating_add(other.mib_ms);
    }
}

fn write_batch(
    connection: &mut Connection,
    batch: &[InvocationReport],
    bounds: &LedgerBounds,
    now: Timestamp,
) -> Result<(), StoreError> {
    if batch.is_empty() {
        return Ok(());
    }
    let doing = "failed to write the ledger";
    let mut totals: BTreeMap<(&str, i64, &str, i64), Totals> = BTreeMap::new();
    let transaction = connection.transaction().map_err(|error| StoreError::sqlite(doing, error))?;
    let mut scope_keys: HashMap<&Scope, String> = HashMap::new();
    for report in batch {
        scope_keys.entry(&report.scope).or_insert_with(|| report.scope.key());
    }
    for report in batch {
        let (scope, version) = (scope_keys[&report.scope].as_str(), version_column(report.version));
        let billed_ms = i64::try_from(report.billed_ms).unwrap_or(i64::MAX);
        let one = Totals {
            requests: 1,
            errors: i64::from(report.outcome.status != OutcomeStatus::Success),
            billed_ms,
            mib_ms: billed_ms.saturating_mul(i64::from(report.memory_mib)),
        };
        let text = serde_json::to_string(report).map_err(|error| StoreError::failed(doing, error))?;
        transaction
            .prepare_cached(
                "INSERT INTO record (scope, function, version, request_id, arrived_at, failed, billed_ms, mib_ms,
                                     report)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    scope,
                    report.function,
                    version,
                    report.request_id.0.as_bytes(),
                    report.arrived_at.0,
                    one.errors,
                    one.billed_ms,
                    one.mib_ms,
                    text
                ])
            })
            .map_err(|error| StoreError::sqlite(doing, error))?;
        let hour = report.arrived_at.0.div_euclid(HOUR_MS);
        totals.entry((scope, hour, &report.function, version)).or_default().add(one);
    }
    for ((scope, hour, function, version), total) in totals {
        transaction
            .prepare_cached(
                "INSERT INTO usage_hour (scope, hour, function, version, requests, errors, billed_ms, mib_ms)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                 ON CONFLICT DO UPDATE SET requests = requests + excluded.requests,
                     errors = errors + excluded.errors, billed_ms = billed_ms + excluded.billed_ms,
                     mib_ms = mib_ms + excluded.mib_ms",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    scope,
                    hour,
                    function,
                    version,
                    total.requests,
                    total.errors,
                    total.billed_ms,
                    total.mib_ms
                ])
            })
            .map_err(|error| StoreError::sqlite(doing, error))?;
    }
    prune(&transaction, bounds, now).map_err(|error| StoreError::sqlite(doing, error))?;
    transaction.commit().map_err(|error| StoreError::sqlite(doing, error))
}

/// Deletes what is beyond the bounds, a bounded number at a time. Records are written about in order of arrival,
/// so looking at the oldest numbers finds the oldest arrivals.
fn prune(connection: &Connection, bounds: &LedgerBounds, now: Timestamp) -> rusqlite::Result<()> {
    let span: Option<(i64, i64)> = connection
        .prepare_cached("SELECT (SELECT min(id) FROM record), (SELECT max(id) FROM record)")?
        .query_row(params![], |row| Ok(row.get::<_, Option<i64>>(0)?.zip(row.get(1)?)))?;
    let Some((first, last)) = span else { return Ok(()) };
    let rows = i64::try_from(bounds.rows).unwrap_or(i64::MAX);
    let too_many_before = last.saturating_sub(rows).saturating_add(1);
    let too_old_before = now.0.saturating_sub(i64::try_from(bounds.age.as_millis()).unwrap_or(i64::MAX));
    connection
        .prepare_cached("DELETE FROM record WHERE id < ? AND (id < ? OR arrived_at < ?)")?
        .execute(params![first.saturating_add(PRUNED_PER_BATCH), too_many_before, too_old_before])?;
    Ok(())
}

fn version_column(version: VersionNumber) -> i64 {
    match version {
        VersionNumber::Latest => 0,
        VersionNumber::Published(number) => i64::try_from(number).unwrap_or(i64::MAX),
    }
}

fn reports(
    connection: &Connection,
    sql: &str,
    parameters: &[&dyn rusqlite::ToSql],
) -> Result<Vec<InvocationReport>, StoreError> {
    let doing = "failed to read the ledger";
    let texts: Vec<String> = connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.query_map(parameters, |row| row.get(0))?.collect())
        .map_err(|error| StoreError::sqlite(doing, error))?;
    texts
        .iter()
        .map(|text| serde_json::from_str(text).map_err(|error| StoreError::failed(doing, error)))
        .collect()
}

/// Function, version, hour: of a row of either table.
type Found = (String, i64, i64, Totals);

/// Whole hours come from the totals, the ends of the period from the records.
fn usage(connection: &Connection, scope: &str, query: &UsageQuery) -> Result<Vec<UsageRow>, StoreError> {
    // Bounds that leave room for the arithmetic below.
    let from = query.from.map_or(i64::MIN / 4, |from| from.0.max(i64::MIN / 4));
    let until = query.until.map_or(i64::MAX / 4, |until| until.0.min(i64::MAX / 4));
    let first_whole = from.saturating_add(HOUR_MS - 1).div_euclid(HOUR_MS);
    let after_whole = until.div_euclid(HOUR_MS);
    let mut found = Vec::new();
    if first_whole < after_whole {
        found.extend(of_hours(connection, scope, first_whole, after_whole)?);
        found.extend(of_records(connection, scope, from, first_whole.saturating_mul(HOUR_MS))?);
        found.extend(of_records(connection, scope, after_whole.saturating_mul(HOUR_MS), until)?);
    } else {
        found.extend(of_records(connection, scope, from, until)?);
    }
    let mut rows: BTreeMap<(String, i64, Option<i64>), Totals> = BTreeMap::new();
    for (function, version, hour, totals) in found {
        if query.function.as_ref().is_none_or(|wanted| *wanted == function) {
            let day = query.by_day.then(|| hour.div_euclid(DAY_HOURS));
            rows.entry((function, version, day)).or_default().add(totals);
        }
    }
    Ok(rows
        .into_iter()
        .map(|((function, version, day), totals)| row(function, version, day, totals))
        .collect())
}

/// The version in a column.
fn version_of(column: i64) -> VersionNumber {
    match u64::try_from(column) {
        Ok(0) | Err(_) => VersionNumber::Latest,
        Ok(number) => VersionNumber::Published(number),
    }
}

fn runs(connection: &Connection, scope: &str, query: &RunQuery) -> Result<Vec<Run>, StoreError> {
    // The plus keeps to the index of arrivals, as in `of_records`.
    let sql = "SELECT version, arrived_at, json_extract(report, '$.queue_us'), json_extract(report, '$.duration_us'),
                      failed
               FROM record
               WHERE +scope = ?1 AND arrived_at >= ?2 AND arrived_at < ?3 AND (?4 IS NULL OR +function = ?4)
               ORDER BY arrived_at LIMIT ?5";
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
    let of = params![scope, query.from.0, query.until.0, query.function, limit];
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| {
            statement
                .query_map(of, |row| {
                    Ok(Run {
                        version: version_of(row.get(0)?),
                        arrived_at: Timestamp(row.get(1)?),
                        queue_us: row.get::<_, i64>(2)?.unsigned_abs(),
                        duration_us: row.get::<_, i64>(3)?.unsigned_abs(),
                        failed: row.get::<_, i64>(4)? != 0,
                    })
                })?
                .collect()
        })
        .map_err(|error| StoreError::sqlite("failed to read the ledger", error))
}

fn row(function: String, version: i64, day: Option<i64>, totals: Totals) -> UsageRow {
    let version = version_of(version);
    let day = day.map(|day| {
        let midnight = Timestamp(day.saturating_mul(DAY_HOURS * HOUR_MS));
        midnight.log_stream_date().replace('/', "-")
    });
    UsageRow {
        function,
        version,
        day,
        requests: totals.requests.unsigned_abs(),
        errors: totals.errors.unsigned_abs(),
        billed_ms: totals.billed_ms.unsigned_abs(),
        gb_seconds: totals.mib_ms as f64 / 1024.0 / 1000.0,
    }
}

fn of_hours(connection: &Connection, scope: &str, from: i64, until: i64) -> Result<Vec<Found>, StoreError> {
    let sql = "SELECT function, version, hour, requests, errors, billed_ms, mib_ms FROM usage_hour
               WHERE scope = ? AND hour >= ? AND hour < ?";
    totals(connection, sql, params![scope, from, until])
}

fn of_records(connection: &Connection, scope: &str, from: i64, until: i64) -> Result<Vec<Found>, StoreError> {
    // The plus keeps to the index of arrivals: that of functions would look at every record of the scope.
    let sql =
        "SELECT function, version, arrived_at / 3600000, count(*), sum(failed), sum(billed_ms), sum(mib_ms)
               FROM record WHERE +scope = ? AND arrived_at >= ? AND arrived_at < ? GROUP BY 1, 2, 3";
    totals(connection, sql, params![scope, from, until])
}

fn totals(
    connection: &Connection,
    sql: &str,
    parameters: &[&dyn rusqlite::ToSql],
) -> Result<Vec<Found>, StoreError> {
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| {
            statement
                .query_map(parameters, |row| {
                    let totals = Totals {
                        requests: row.get(3)?,
                        errors: row.get(4)?,
                        billed_ms: row.get(5)?,
                        mib_ms: row.get(6)?,
                    };
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, totals))
                })?
                .collect()
        })
        .map_err(|error| StoreError::sqlite("failed to read usage", error))
}
