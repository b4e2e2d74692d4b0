//! Metrics that clients put, and those of the platform that no record of a call tells: values by second or minute.
//!
//! Called by the front door's CloudWatch. One SQLite file; what is acknowledged is durable. Values are kept for
//! `KEPT_DAYS`, and of all metrics together no more than `KEPT_ROWS` rows; the oldest go first.

mod gathered;

pub use gathered::{Group, Measured, Total, Totals};

use lamplight_model::{Distribution, Scope, Timestamp};
use lamplight_store::{Clock, DataDirectory, Database, StoreError};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::HashMap;
use std::sync::Arc;

/// Formats of `metrics.sqlite`. Never change one that was released: add the next.
const MIGRATIONS: &[&str] = &[include_str!("metrics_1.sql")];

/// How long values are kept. CloudWatch keeps them coarser and longer: 63 days in steps of five minutes.
const KEPT_DAYS: i64 = 63;
const DAY_SECONDS: i64 = 86_400;
/// Rows of values kept in all.
const KEPT_ROWS: i64 = 5_000_000;
/// Different metrics of a scope.
pub const METRICS: usize = 50_000;
/// Rows deleted by one round of `prune`.
const PRUNED_ROWS: i64 = 50_000;
/// Rows read for one series; a longer one is told to be cut.
const READ_ROWS: usize = 200_000;

/// Which series.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MetricName {
    /// `AWS/Lambda`, or whatever a client chose.
    pub namespace: String,
    /// `Invocations`, ...
    pub name: String,
    /// Names and values, ordered by name.
    pub dimensions: Vec<(String, String)>,
}

/// Values to be added.
#[derive(Debug, Clone, PartialEq)]
pub struct NewDatum {
    /// Of which series.
    pub metric: MetricName,
    /// Seconds since the epoch: the second, or the minute's first.
    pub at: i64,
    /// `Count`, `Milliseconds`, ...; `None` as text when the client gave none.
    pub unit: String,
    /// The values.
    pub values: Distribution,
}

/// Values of a second or minute.
#[derive(Debug, Clone, PartialEq)]
pub struct Datum {
    /// Seconds since the epoch.
    pub at: i64,
    /// Their unit.
    pub unit: String,
    /// The values.
    pub values: Distribution,
}

/// The metrics of a node. Cheap to clone.
#[derive(Clone)]
pub struct MetricStore {
    database: Arc<Database>,
    clock: Clock,
    gathered: Arc<gathered::Gathered>,
}

/// Values of groups.
type Batches = Vec<(Group, gathered::Batch)>;

fn failed(doing: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |error| StoreError::sqlite(doing, error)
}

fn encode<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::failed("failed to write a metric", error))
}

fn decode<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::failed("failed to read a metric", error))
}

impl MetricStore {
    /// Opens `metrics.sqlite` in the data directory. Blocks.
    ///
    /// Fails with `NewerFormat` when a newer release wrote it, `Unwritable` when the disk is full or read-only.
    pub fn open(directory: &DataDirectory, clock: Clock) -> Result<Self, StoreError> {
        let database = Database::open(directory, "metrics.sqlite", MIGRATIONS, |_| Ok(()))?;
        Ok(Self { database: Arc::new(database), clock, gathered: Arc::default() })
    }

    /// Adds values; durable, all or none, when it returns. `false`: the scope has too many metrics, and nothing was added.
    pub async fn put(&self, scope: &Scope, data: Vec<NewDatum>) -> Result<bool, StoreError> {
        let (scope, now) = (scope.key(), (self.clock)());
        let put = move |connection: &Connection| {
            for datum in &data {
                let Some(metric) = metric_id(connection, &scope, &datum.metric, datum.at)? else {
                    // Rolled back with all before it.
                    return Err(StoreError::Referenced(Vec::new()));
                };
                add(connection, metric, datum)?;
            }
            prune(connection, now)
        };
        match self.database.write(put).await {
            Ok(()) => Ok(true),
            Err(StoreError::Referenced(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Adds values of a moment that the next `store_gathered` makes durable. Never waits.
    pub fn gather(&self, group: Group, at: Timestamp, values: &[Measured]) {
        self.gathered.add(group, at, values);
    }

    /// Sums of all that was gathered since the start, by namespace and name.
    pub fn totals(&self) -> Totals {
        self.gathered.totals()
    }

    /// Makes durable what was gathered. Wait for its end: what is on its way is lost with the future. What cannot be stored is kept for the next time; what would be one metric too many of a
    /// scope is lost.
    pub async fn store_gathered(&self) -> Result<(), StoreError> {
        let mut scopes: HashMap<Scope, Batches> = HashMap::new();
        for (group, batch) in self.gathered.take() {
            scopes.entry(group.scope.clone()).or_default().push((group, batch));
        }
        let (mut result, mut lost) = (Ok(()), 0);
        for (scope, batches) in scopes {
            let data = batches.iter().flat_map(|(group, batch)| batch.data(group)).collect();
            let (left, stored) = match self.put(&scope, data).await {
                Ok(true) => continue,
                Ok(false) => self.store_each(batches).await,
                Err(error) => (batches, Err(error)),
            };
            lost +=
                left.into_iter().map(|(group, batch)| self.gathered.put_back(group, batch)).sum::<usize>();
            result = result.and(stored);
        }
        if lost > 0 {
            tracing::warn!(
                minutes = lost,
                "measured values could not be stored for too long: the oldest are lost"
            );
        }
        result
    }

    /// Group by group, of a scope that has no room for all. Gives back what could not be stored, with the first error.
    async fn store_each(&self, batches: Batches) -> (Batches, Result<(), StoreError>) {
        let (mut left, mut result) = (Vec::new(), Ok(()));
        for (group, batch) in batches {
            match self.put(&group.scope, batch.data(&group)).await {
                Ok(true) => {}
                Ok(false) => {
                    tracing::debug!(?group, "too many metrics: measured values are not kept");
                }
                Err(error) => {
                    left.push((group, batch));
                    result = result.and(Err(error));
                }
            }
        }
        (left, result)
    }

    /// Series of a scope in order of their names, beginning after `after`, with values not older than `since`.
    pub async fn list(
        &self,
        scope: &Scope,
        namespace: Option<&str>,
        name: Option<&str>,
        since: Timestamp,
    ) -> Result<Vec<MetricName>, StoreError> {
        let (scope, since) = (scope.key(), since.0.div_euclid(1_000));
        let (namespace, name) = (namespace.map(str::to_owned), name.map(str::to_owned));
        self.database
            .read(move |connection| {
                let sql = "SELECT namespace, name, dimensions FROM metric
                           WHERE scope = ?1 AND (?2 IS NULL OR namespace = ?2) AND (?3 IS NULL OR name = ?3)
                             AND last_at >= ?4 ORDER BY namespace, name, dimensions";
                let rows: Vec<(String, String, String)> = connection
                    .prepare_cached(sql)
                    .and_then(|mut statement| {
                        statement
                            .query_map(params![scope, namespace, name, since], |row| {
                                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                            })?
                            .collect()
                    })
                    .map_err(failed("failed to list metrics"))?;
                rows.into_iter()
                    .map(|(namespace, name, dimensions)| {
                        Ok(MetricName { namespace, name, dimensions: decode(&dimensions)? })
                    })
                    .collect()
            })
            .await
    }

    /// Values of one series from `from` until before `until` (seconds), oldest first; and whether that is all.
    pub async fn read(
        &self,
        scope: &Scope,
        metric: &MetricName,
        from: i64,
        until: i64,
    ) -> Result<(Vec<Datum>, bool), StoreError> {
        let (scope, metric) = (scope.key(), metric.clone());
        self.database
            .read(move |connection| {
                let sql = "SELECT at, unit, distribution FROM datum
                           WHERE metric = (SELECT id FROM metric WHERE scope = ? AND namespace = ? AND name = ?
                                           AND dimensions = ?)
                             AND at >= ? AND at < ? ORDER BY at LIMIT ?";
                let dimensions = encode(&metric.dimensions)?;
                let rows: Vec<(i64, String, String)> = connection
                    .prepare_cached(sql)
                    .and_then(|mut statement| {
                        let of = params![
                            scope,
                            metric.namespace,
                            metric.name,
                            dimensions,
                            from,
                            until,
                            READ_ROWS as i64
                        ];
                        statement.query_map(of, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
                    })
                    .map_err(failed("failed to read a metric"))?;
                let whole = rows.len() < READ_ROWS;
                let data: Result<Vec<Datum>, StoreError> = rows
                    .into_iter()
                    .map(|(at, unit, text)| Ok(Datum { at, unit, values: decode(&text)? }))
                    .collect();
                Ok((data?, whole))
            })
            .await
    }
}

/// The number of a series, which begins when it is new; `None` when there are too many.
fn metric_id(
    connection: &Connection,
    scope: &str,
    metric: &MetricName,
    at: i64,
) -> Result<Option<i64>, StoreError> {
    let doing = "failed to name a metric";
    let dimensions = encode(&metric.dimensions)?;
    let known: Option<i64> = connection
        .prepare_cached(
            "UPDATE metric SET last_at = max(last_at, ?5)
             WHERE scope = ?1 AND namespace = ?2 AND name = ?3 AND dimensions = ?4 RETURNING id",
        )
        .and_then(|mut statement| {
            let of = params![scope, metric.namespace, metric.name, dimensions, at];
            statement.query_row(of, |row| row.get(0)).optional()
        })
        .map_err(failed(doing))?;
    if known.is_some() {
        return Ok(known);
    }
    let count: i64 = connection
        .prepare_cached("SELECT count(*) FROM metric WHERE scope = ?")
        .and_then(|mut statement| statement.query_row(params![scope], |row| row.get(0)))
        .map_err(failed(doing))?;
    if usize::try_from(count).unwrap_or(usize::MAX) >= METRICS {
        return Ok(None);
    }
    connection
        .prepare_cached(
            "INSERT INTO metric (scope, namespace, name, dimensions, last_at) VALUES (?, ?, ?, ?, ?)",
        )
        .and_then(|mut statement| {
            statement.insert(params![scope, metric.namespace, metric.name, dimensions, at])
        })
        .map(Some)
        .map_err(failed(doing))
}

fn add(connection: &Connection, metric: i64, datum: &NewDatum) -> Result<(), StoreError> {
    let doing = "failed to add to a metric";
    let stored: Option<String> = connection
        .prepare_cached("SELECT distribution FROM datum WHERE metric = ? AND at = ? AND unit = ?")
        .and_then(|mut statement| {
            statement.query_row(params![metric, datum.at, datum.unit], |row| row.get(0)).optional()
        })
        .map_err(failed(doing))?;
    let mut values = match stored {
        Some(text) => decode(&text)?,
        None => Distribution::empty(),
    };
    values.merge(&datum.values);
    values.compact();
    connection
        .prepare_cached("INSERT OR REPLACE INTO datum (metric, at, unit, distribution) VALUES (?, ?, ?, ?)")
        .and_then(|mut statement| {
            statement.execute(params![metric, datum.at, datum.unit, encode_in_statement(&values)?])
        })
        .map_err(failed(doing))?;
    Ok(())
}

fn encode_in_statement(values: &Distribution) -> rusqlite::Result<String> {
    serde_json::to_string(values).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

/// Deletes what is too old or too much, a bounded number of rows, and series that have none left.
fn prune(connection: &Connection, now: Timestamp) -> Result<(), StoreError> {
    let doing = "failed to delete old values of metrics";
    let cutoff = now.0.div_euclid(1_000) - KEPT_DAYS * DAY_SECONDS;
    let oldest: Option<i64> = connection
        .prepare_cached("SELECT min(at) FROM datum")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .map_err(failed(doing))?;
    let rows: i64 = match oldest {
        // Counting costs: only when the file is large may there be too many.
        Some(_) => connection
            .query_row(
                "SELECT page_count * page_size / 64 FROM pragma_page_count(), pragma_page_size()",
                [],
                |row| row.get(0),
            )
            .map_err(failed(doing))?,
        None => 0,
    };
    let too_many = if rows > KEPT_ROWS {
        let count: i64 = connection
            .query_row("SELECT count(*) FROM datum", [], |row| row.get(0))
            .map_err(failed(doing))?;
        (count - KEPT_ROWS).clamp(0, PRUNED_ROWS)
    } else {
        0
    };
    if oldest.is_none_or(|oldest| oldest >= cutoff) && too_many == 0 {
        return Ok(());
    }
    let delete = || -> rusqlite::Result<()> {
        connection.execute(
            "DELETE FROM datum WHERE (metric, at, unit) IN
                 (SELECT metric, at, unit FROM datum WHERE at < ? ORDER BY at LIMIT ?)",
            params![cutoff, PRUNED_ROWS],
        )?;
        connection.execute(
            "DELETE FROM datum WHERE (metric, at, unit) IN (SELECT metric, at, unit FROM datum ORDER BY at LIMIT ?)",
            params![too_many],
        )?;
        connection.execute("DELETE FROM metric WHERE last_at < ?", params![cutoff])?;
        Ok(())
    };
    delete().map_err(failed(doing))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplight_model::Statistic;
    use std::sync::atomic::{AtomicI64, Ordering};

    fn datum(name: &str, at: i64, value: f64) -> NewDatum {
        let dimensions = vec![("Host".to_owned(), "a".to_owned())];
        let metric = MetricName { namespace: "App".to_owned(), name: name.to_owned(), dimensions };
        let mut values = Distribution::empty();
        values.add(value, 1.0);
        NewDatum { metric, at, unit: "Count".to_owned(), values }
    }

    #[tokio::test]
    async fn what_could_not_be_stored_comes_with_the_next_round() {
        let directory = tempfile::tempdir().unwrap();
        let clock: Clock = Arc::new(|| Timestamp(60_000));
        let store = MetricStore::open(&DataDirectory::take(directory.path()).unwrap(), clock).unwrap();
        let scopes = ["us-east-1", "eu-west-1"].map(|region| Scope {
            region: lamplight_model::Region::parse(region).unwrap(),
            ..Scope::default()
        });
        let gather = |scope: &Scope| {
            let dimensions = vec![("Host", "a".to_owned())];
            let group = Group { scope: scope.clone(), namespace: "App", dimensions, series: &[1] };
            store.gather(group, Timestamp(60_000), &[("x", "Count", 2.0)]);
        };
        let change = async |sql: &'static str| {
            let change = move |connection: &Connection| connection.execute_batch(sql).map_err(failed("test"));
            store.database.write(change).await.unwrap();
        };
        scopes.iter().for_each(gather);
        change("ALTER TABLE datum RENAME TO away").await;
        assert!(store.store_gathered().await.is_err());
        scopes.iter().for_each(gather);
        change("ALTER TABLE away RENAME TO datum").await;
        store.store_gathered().await.unwrap();
        for scope in &scopes {
            let (data, _) = store.read(scope, &datum("x", 60, 0.0).metric, 60, 120).await.unwrap();
            assert_eq!(data[0].values.statistic(Statistic::Sum), Some(4.0));
        }
    }

    #[tokio::test]
    async fn values_of_a_minute_add_up_survive_and_grow_old() {
        let directory = tempfile::tempdir().unwrap();
        let start = 1_769_817_600;
        let now = Arc::new(AtomicI64::new(start * 1_000));
        let open = || {
            let now = Arc::clone(&now);
            let clock: Clock = Arc::new(move || Timestamp(now.load(Ordering::Relaxed)));
            MetricStore::open(&DataDirectory::take(directory.path()).unwrap(), clock).unwrap()
        };
        let store = open();
        let scope = Scope::default();
        store
            .put(&scope, vec![datum("x", start, 1.0), datum("x", start, 3.0), datum("y", start + 60, 9.0)])
            .await
            .unwrap();
        store.put(&scope, vec![datum("x", start, 5.0)]).await.unwrap();
        drop(store);
        let store = open();
        let metric = datum("x", start, 0.0).metric;
        let (data, whole) = store.read(&scope, &metric, start, start + 60).await.unwrap();
        assert!(whole);
        assert_eq!((data.len(), data[0].at), (1, start));
        assert_eq!(data[0].values.statistic(Statistic::Sum), Some(9.0));
        assert_eq!(data[0].values.statistic(Statistic::Percentile(50.0)), Some(3.0));
        assert!(store.read(&scope, &metric, start + 1, start + 60).await.unwrap().0.is_empty());
        let names = store.list(&scope, Some("App"), None, Timestamp(0)).await.unwrap();
        assert_eq!(names.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(
            store.list(&scope, None, Some("y"), Timestamp((start + 60) * 1_000)).await.unwrap().len(),
            1
        );
        assert!(store.list(&scope, None, None, Timestamp((start + 61) * 1_000)).await.unwrap().is_empty());
        let later = start + 64 * DAY_SECONDS;
        now.store(later * 1_000, Ordering::Relaxed);
        store.put(&scope, vec![datum("z", later, 1.0)]).await.unwrap();
        let names = store.list(&scope, None, None, Timestamp(0)).await.unwrap();
        assert_eq!(names.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["z"]);
    }
}
