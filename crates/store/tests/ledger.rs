//! The ledger: records by request, newest first, totals by version and day, bounded.
#![allow(clippy::unwrap_used)] // A helper that fails is a failed test.

mod common;

use common::*;
use lamplight_model::*;
use lamplight_store::*;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

const DAY_MS: i64 = 86_400_000;
/// 2026-01-31T00:00:00Z.
const MIDNIGHT: i64 = 1_769_817_600_000;

#[tokio::test]
async fn records_are_found_by_request_and_newest_first() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_at(directory.path(), &Arc::new(AtomicI64::new(MIDNIGHT)));
    let first = report("hello", MIDNIGHT, OutcomeStatus::Error);
    let mut retry = first.clone();
    retry.outcome = Outcome::success();
    let other = report("other", MIDNIGHT, OutcomeStatus::Success);
    for record in [&first, &other, &retry] {
        assert!(opened.ledger.append(record.clone()));
    }
    assert_eq!(opened.ledger.find(&scope(), first.request_id).await.unwrap(), Some(retry.clone()));
    assert_eq!(opened.ledger.find(&other_scope(), first.request_id).await.unwrap(), None);
    assert_eq!(opened.ledger.recent(&scope(), "hello", 10).await.unwrap(), [retry.clone(), first]);
    assert_eq!(opened.ledger.recent(&scope(), "hello", 1).await.unwrap(), [retry]);
}

#[tokio::test]
async fn usage_adds_up_by_version_and_day_and_cuts_at_any_moment() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_at(directory.path(), &Arc::new(AtomicI64::new(MIDNIGHT + DAY_MS)));
    // Every ten minutes over two days, one in three fails, two versions.
    let mut records = Vec::new();
    for at in 0..288 {
        let status = if at % 3 == 0 { OutcomeStatus::Timeout } else { OutcomeStatus::Success };
        let mut record = report("hello", MIDNIGHT - DAY_MS + at * 600_000, status);
        if at % 2 == 0 {
            record.version = VersionNumber::Published(1);
        }
        opened.ledger.append(record.clone());
        records.push(record);
    }
    let mut elsewhere = report("hello", MIDNIGHT, OutcomeStatus::Success);
    elsewhere.scope = other_scope();
    opened.ledger.append(elsewhere);
    opened.ledger.append(report("other", MIDNIGHT, OutcomeStatus::Success));

    let (from, until) = (Timestamp(MIDNIGHT), Timestamp(MIDNIGHT + 1_200_000));
    let query = RunQuery { function: Some("hello".to_owned()), from, until, limit: 10 };
    let runs = opened.ledger.runs(&scope(), query.clone()).await.unwrap();
    let arrivals: Vec<i64> = runs.iter().map(|run| run.arrived_at.0 - MIDNIGHT).collect();
    assert_eq!(arrivals, [0, 600_000]);
    assert_eq!(
        (runs[0].version, runs[0].failed, runs[0].duration_us),
        (VersionNumber::Published(1), true, records[144].duration_us)
    );
    let everywhere = RunQuery { function: None, limit: 2, ..query };
    assert_eq!(opened.ledger.runs(&scope(), everywhere).await.unwrap().len(), 2);

    let days = UsageQuery { function: Some("hello".to_owned()), by_day: true, ..UsageQuery::default() };
    let rows = opened.ledger.usage(&scope(), days).await.unwrap();
    let shape: Vec<(VersionNumber, &str, u64, u64)> =
        rows.iter().map(|row| (row.version, row.day.as_deref().unwrap(), row.requests, row.errors)).collect();
    let (latest, one) = (VersionNumber::Latest, VersionNumber::Published(1));
    assert_eq!(
        shape,
        [
            (latest, "2026-01-30", 72, 24),
            (latest, "2026-01-31", 72, 24),
            (one, "2026-01-30", 72, 24),
            (one, "2026-01-31", 72, 24)
        ]
    );
    assert_eq!(rows[0].billed_ms, 7_200);
    assert!((rows[0].gb_seconds - 3.6).abs() < 1e-9);

    for (from, until) in [
        (MIDNIGHT, MIDNIGHT + 3_600_000),
        (MIDNIGHT + 1, MIDNIGHT + 3_600_000 * 5 + 1),
        (MIDNIGHT - 3_600_000 * 7 - 1, MIDNIGHT + 1_200_001),
        (MIDNIGHT + 600_000, MIDNIGHT + 1_200_001),
        (MIDNIGHT + 600_000, MIDNIGHT + 600_000),
        (MIDNIGHT, MIDNIGHT - 5),
        (i64::MIN, i64::MAX),
    ] {
        let query = UsageQuery {
            function: Some("hello".to_owned()),
            from: Some(Timestamp(from)),
            until: Some(Timestamp(until)),
            by_day: false,
        };
        let rows = opened.ledger.usage(&scope(), query).await.unwrap();
        let expected =
            records.iter().filter(|record| (from..until).contains(&record.arrived_at.0)).count() as u64;
        assert_eq!(rows.iter().map(|row| row.requests).sum::<u64>(), expected, "{from}..{until}");
    }
}

#[tokio::test]
async fn records_are_bounded_and_totals_outlive_them() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = Options::new(directory.path());
    options.ledger = LedgerBounds { rows: 100, age: std::time::Duration::from_secs(86_400) };
    options.clock = Arc::new(|| Timestamp(MIDNIGHT));
    let opened = open(options).unwrap();
    opened.ledger.append(report("old", MIDNIGHT - 2 * DAY_MS, OutcomeStatus::Success));
    for _ in 0..450 {
        opened.ledger.append(report("hello", MIDNIGHT, OutcomeStatus::Success));
        // A batch of its own for some of them.
        opened.ledger.flush().await.unwrap();
    }
    assert_eq!(opened.ledger.recent(&scope(), "hello", 1_000).await.unwrap().len(), 100);
    assert!(opened.ledger.recent(&scope(), "old", 1_000).await.unwrap().is_empty());
    let rows = opened.ledger.usage(&scope(), UsageQuery::default()).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.requests).sum::<u64>(), 451);
}
