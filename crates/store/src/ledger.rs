//! Ledger and usage: one record per finished invocation, batched into a file of its own.

pub(crate) mod sqlite;

use crate::contract::StoreError;
use async_trait::async_trait;
use lamplight_model::{InvocationReport, RequestId, Scope, Timestamp, VersionNumber};

/// Which records to total.
#[derive(Debug, Clone, Default)]
pub struct UsageQuery {
    /// Only this function.
    pub function: Option<String>,
    /// From this moment on (inclusive).
    pub from: Option<Timestamp>,
    /// Until this moment (exclusive).
    pub until: Option<Timestamp>,
    /// Group by calendar day (UTC) as well.
    pub by_day: bool,
}

/// Totals of one function version (and day).
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct UsageRow {
    /// Plain function name.
    pub function: String,
    /// The version.
    pub version: VersionNumber,
    /// `2026-01-31` when grouped by day.
    pub day: Option<String>,
    /// Number of invocations.
    pub requests: u64,
    /// Invocations that ended in anything but success.
    pub errors: u64,
    /// Sum of billed durations, milliseconds.
    pub billed_ms: u64,
    /// Sum of billed duration times memory, GB-seconds.
    pub gb_seconds: f64,
}

/// Which finished runs metrics are made of.
#[derive(Debug, Clone)]
pub struct RunQuery {
    /// Only this function.
    pub function: Option<String>,
    /// Arrived at this moment or later.
    pub from: Timestamp,
    /// Arrived before this moment.
    pub until: Timestamp,
    /// At most so many, the oldest first.
    pub limit: usize,
}

/// A finished run as metrics need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The version that ran.
    pub version: VersionNumber,
    /// Arrival at the front door.
    pub arrived_at: Timestamp,
    /// Waiting until the function began, microseconds.
    pub queue_us: u64,
    /// Duration, microseconds.
    pub duration_us: u64,
    /// Whether it ended in anything but success.
    pub failed: bool,
}

/// Runs of one request that `Ledger::attempts` tells.
pub const ATTEMPTS_TOLD: usize = 100;

/// The meter's memory. Appending never waits for the disk; records are durable within a second.
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// Hands a record over. Never blocks. `false` says that the buffer is filling faster than the disk takes
    /// it: the record was taken, and the caller's task should wait in `flush` before it brings the next.
    fn append(&self, report: InvocationReport) -> bool;
    /// Waits until everything appended before is durable.
    async fn flush(&self) -> Result<(), StoreError>;
    /// The record of one request.
    async fn find(
        &self,
        scope: &Scope,
        request_id: RequestId,
    ) -> Result<Option<InvocationReport>, StoreError>;
    /// The records of all runs of one request, oldest first: an event may be tried several times. At most the newest
    /// `ATTEMPTS_TOLD`.
    async fn attempts(
        &self,
        scope: &Scope,
        request_id: RequestId,
    ) -> Result<Vec<InvocationReport>, StoreError>;
    /// The newest records of one function, newest first.
    async fn recent(
        &self,
        scope: &Scope,
        function: &str,
        limit: usize,
    ) -> Result<Vec<InvocationReport>, StoreError>;
    /// Finished runs, oldest first; see `RunQuery`.
    async fn runs(&self, scope: &Scope, query: RunQuery) -> Result<Vec<Run>, StoreError>;
    /// Totals.
    async fn usage(&self, scope: &Scope, query: UsageQuery) -> Result<Vec<UsageRow>, StoreError>;
}
