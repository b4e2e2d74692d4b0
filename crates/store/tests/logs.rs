//! Logs: what was appended is read back in order, bounds hold visibly, a torn tail costs only itself.
#![allow(clippy::unwrap_used)] // A helper that fails is a failed test.

mod common;

use common::*;
use lamplight_model::Timestamp;
use lamplight_store::logs::LogQuery;
use lamplight_store::*;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

const START: i64 = 1_769_817_600_000;
const GROUP: &str = "/aws/lambda/hello";

fn open_with(directory: &Path, clock: &Arc<AtomicI64>, change: impl FnOnce(&mut LogBounds)) -> Opened {
    let mut options = Options::new(directory);
    change(&mut options.logs);
    let clock = clock.clone();
    options.clock = Arc::new(move || Timestamp(clock.load(Ordering::SeqCst)));
    open(options).unwrap()
}

fn lines(from: i64, count: i64) -> Vec<(Timestamp, String)> {
    (from..from + count).map(|at| (Timestamp(START + at), format!("line {at}\n"))).collect()
}

async fn messages(opened: &Opened, query: LogQuery) -> Vec<String> {
    let events = opened.logs.events(&scope(), GROUP, query).await.unwrap();
    events.into_iter().map(|event| event.message.trim_end().to_owned()).collect()
}

fn all() -> LogQuery {
    LogQuery { limit: 1_000_000, ..LogQuery::default() }
}

#[tokio::test]
async fn queries_give_exactly_what_they_ask_for() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(AtomicI64::new(START));
    // Small segments, so that queries cross them.
    let opened = open_with(directory.path(), &clock, |bounds| bounds.bytes_per_group = 200_000);
    let mut expected = Vec::new();
    for at in 0..2_000i64 {
        let stream = format!("2026/01/31/[$LATEST]{}", at % 3);
        opened.logs.append(&scope(), GROUP, &stream, lines(at, 1));
        expected.push((stream, START + at, format!("line {at}\n")));
        if at % 100 == 0 {
            opened.logs.flush().await.unwrap();
        }
    }
    opened.logs.flush().await.unwrap();
    let segments = |extension: &str| {
        files_below(&directory.path().join("logs"))
            .iter()
            .filter(|(path, _)| path.extension().is_some_and(|found| found == extension))
            .count()
    };
    assert!(segments("log") > 2 && segments("index") == segments("log") - 1);

    let check = async |query: LogQuery| {
        let found = opened.logs.events(&scope(), GROUP, query.clone()).await.unwrap();
        let mut wanted: Vec<(String, i64, String)> = Vec::new();
        for (at, (stream, timestamp, message)) in expected.iter().enumerate() {
            let sequence = at as u64 + 1;
            let taken = (query.streams.is_empty() || query.streams.contains(stream))
                && query.stream_prefix.as_ref().is_none_or(|prefix| stream.starts_with(prefix.as_str()))
                && query.from.is_none_or(|from| *timestamp >= from.0)
                && query.until.is_none_or(|until| *timestamp < until.0)
                && query
                    .after_sequence
                    .is_none_or(|after| if query.backward { sequence < after } else { sequence > after });
            if taken {
                wanted.push((stream.clone(), *timestamp, message.clone()));
            }
        }
        if query.backward {
            wanted.reverse();
        }
        wanted.truncate(query.limit);
        let found: Vec<_> =
            found.into_iter().map(|event| (event.stream, event.timestamp.0, event.message)).collect();
        assert!(found == wanted, "{query:?}: {} events for {}", found.len(), wanted.len());
    };
    for backward in [false, true] {
        for limit in [1, 7, 100_000] {
            let base = LogQuery { backward, limit, ..LogQuery::default() };
            check(base.clone()).await;
            check(LogQuery { streams: vec!["2026/01/31/[$LATEST]1".to_owned()], ..base.clone() }).await;
            check(LogQuery { streams: vec!["absent".to_owned()], ..base.clone() }).await;
            check(LogQuery { stream_prefix: Some("2026/01/31/[$LATEST]2".to_owned()), ..base.clone() }).await;
            let (from, until) = (Some(Timestamp(START + 500)), Some(Timestamp(START + 1_501)));
            check(LogQuery { from, until, ..base.clone() }).await;
            check(LogQuery { after_sequence: Some(900), from, ..base.clone() }).await;
            check(LogQuery { after_sequence: Some(5_000), ..base.clone() }).await;
        }
    }
    let streams = opened.logs.streams(&scope(), GROUP).await.unwrap();
    assert_eq!(streams.len(), 3);
    assert_eq!(streams[0].first_event_at, Some(Timestamp(START)));
    assert_eq!(streams[1].last_event_at, Some(Timestamp(START + 1_999)));
    assert_eq!(
        streams.iter().map(|stream| stream.stored_bytes).sum::<u64>(),
        expected.iter().map(|(_, _, message)| message.len() as u64).sum::<u64>()
    );
    let before = opened.logs.events(&scope(), GROUP, all()).await.unwrap();
    drop(opened);
    let opened = open_at(directory.path(), &clock);
    assert_eq!(opened.logs.events(&scope(), GROUP, all()).await.unwrap(), before);
}

#[tokio::test]
async fn groups_are_listed_and_absent_ones_do_not_exist() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_at(directory.path(), &Arc::new(AtomicI64::new(START)));
    let hostile = format!("../../{}", "x".repeat(400));
    for group in ["/aws/lambda/b", "/aws/lambda/a", "other", hostile.as_str()] {
        opened.logs.append(&scope(), group, "../stream", lines(0, 1));
    }
    opened.logs.append(&other_scope(), "elsewhere", "s", lines(0, 1));
    opened.logs.flush().await.unwrap();
    let names = async |prefix: Option<&str>, after: Option<&str>, limit| -> Vec<String> {
        let found = opened.logs.groups(&scope(), prefix, after, limit).await.unwrap();
        assert!(found.iter().all(|group| group.created_at == Timestamp(START) && group.stored_bytes > 0));
        found.into_iter().map(|group| group.name).collect()
    };
    assert_eq!(names(None, None, 10).await, [&hostile, "/aws/lambda/a", "/aws/lambda/b", "other"]);
    assert_eq!(names(Some("/aws/"), None, 1).await, ["/aws/lambda/a"]);
    assert_eq!(names(Some("/aws/"), Some("/aws/lambda/a"), 10).await, ["/aws/lambda/b"]);
    assert_eq!(opened.logs.events(&scope(), &hostile, all()).await.unwrap()[0].stream, "../stream");
    assert!(matches!(opened.logs.streams(&scope(), "elsewhere").await, Err(StoreError::NotFound(_))));
    assert!(matches!(opened.logs.events(&other_scope(), "other", all()).await, Err(StoreError::NotFound(_))));
    // Nothing beside the directories we know.
    let mut top: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    top.sort();
    top.retain(|name| !name.to_str().unwrap().contains(".sqlite"));
    assert_eq!(top, ["code", "key", "lock", "logs"]);
}

#[tokio::test]
async fn a_flood_is_cut_visibly_and_its_neighbours_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(AtomicI64::new(START));
    let opened = open_with(directory.path(), &clock, |bounds| bounds.lines_per_second = 100);
    for _ in 0..10 {
        opened.logs.append(&scope(), GROUP, "s", lines(0, 50));
    }
    opened.logs.append(&scope(), "neighbour", "s", lines(0, 50));
    opened.logs.flush().await.unwrap();
    clock.fetch_add(500, Ordering::SeqCst);
    opened.logs.append(&scope(), GROUP, "s", lines(0, 60));
    opened.logs.flush().await.unwrap();
    let found = messages(&opened, all()).await;
    let dropped: Vec<&String> = found.iter().filter(|line| line.starts_with("[lamplight] dropped")).collect();
    assert_eq!(found.len() - dropped.len(), 150);
    let counts: Vec<u64> =
        dropped.iter().map(|line| line.split(' ').nth(2).unwrap().parse().unwrap()).collect();
    assert_eq!(counts.iter().sum::<u64>(), 410, "kept and dropped are all there was: {dropped:?}");
    assert_eq!(opened.logs.events(&scope(), "neighbour", all()).await.unwrap().len(), 50);
}

#[tokio::test]
async fn long_messages_become_several_events() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_at(directory.path(), &Arc::new(AtomicI64::new(START)));
    let long = "ä".repeat(300_000);
    opened.logs.append(&scope(), GROUP, "s", vec![(Timestamp(START), long.clone())]);
    opened.logs.flush().await.unwrap();
    let events = opened.logs.events(&scope(), GROUP, all()).await.unwrap();
    assert_eq!(events.len(), 3);
    assert_eq!(events.into_iter().map(|event| event.message).collect::<String>(), long);
}

#[tokio::test]
async fn a_torn_tail_costs_only_itself_and_numbers_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(AtomicI64::new(START));
    let opened = open_at(directory.path(), &clock);
    opened.logs.append(&scope(), GROUP, "s", lines(0, 10));
    drop(opened);
    let segment = files_below(&directory.path().join("logs"))
        .into_iter()
        .find(|(path, _)| path.extension().is_some_and(|extension| extension == "log"))
        .unwrap();
    // Cut through the last record, damage it, and add rubbish: nine are left each time.
    let whole = segment.1;
    let damaged = [whole[..whole.len() - 3].to_vec(), [&whole[..whole.len() - 1], b"?rubbish"].concat()];
    for content in damaged {
        std::fs::write(&segment.0, content).unwrap();
        let opened = open_at(directory.path(), &clock);
        let expected: Vec<String> = (0..9).map(|at| format!("line {at}")).collect();
        assert_eq!(messages(&opened, all()).await, expected);
        opened.logs.append(&scope(), GROUP, "other", lines(100, 1));
        opened.logs.flush().await.unwrap();
        let events = opened.logs.events(&scope(), GROUP, all()).await.unwrap();
        assert_eq!(events.len(), 10);
        assert_eq!((events[9].sequence, events[9].stream.as_str()), (10, "other"));
    }
}

#[tokio::test]
async fn retention_deletes_and_numbers_never_begin_again() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(AtomicI64::new(START));
    let opened =
        open_with(directory.path(), &clock, |bounds| bounds.retention = Duration::from_secs(14 * 86_400));
    let day = 86_400_000;
    opened.logs.append(&scope(), GROUP, "first", lines(0, 3));
    opened.logs.flush().await.unwrap();
    clock.fetch_add(day * 7, Ordering::SeqCst);
    opened.logs.append(&scope(), GROUP, "second", lines(3, 3));
    opened.logs.flush().await.unwrap();
    assert_eq!(opened.logs.retain(Timestamp(START + day * 7)).await.unwrap(), 0);
    clock.fetch_add(day * 8, Ordering::SeqCst);
    assert_eq!(messages(&opened, all()).await, ["line 3", "line 4", "line 5"], "expired is not read");
    assert!(opened.logs.retain(Timestamp(START + day * 15)).await.unwrap() > 0);
    let streams = opened.logs.streams(&scope(), GROUP).await.unwrap();
    assert_eq!(streams.iter().map(|stream| stream.name.as_str()).collect::<Vec<_>>(), ["second"]);
    clock.fetch_add(day * 30, Ordering::SeqCst);
    opened.logs.retain(Timestamp(START + day * 45)).await.unwrap();
    assert!(messages(&opened, all()).await.is_empty());
    drop(opened);
    let opened = open_with(directory.path(), &clock, |_| {});
    opened.logs.append(&scope(), GROUP, "third", lines(6, 1));
    opened.logs.flush().await.unwrap();
    assert_eq!(opened.logs.events(&scope(), GROUP, all()).await.unwrap()[0].sequence, 7);
}

#[tokio::test]
async fn groups_and_all_logs_together_are_bounded_oldest_first() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(AtomicI64::new(START));
    let opened = open_with(directory.path(), &clock, |bounds| {
        bounds.bytes_per_group = 100_000;
        bounds.bytes_in_all = 250_000;
        bounds.lines_per_second = 1_000_000;
    });
    for round in 0..8 {
        for group in ["a", "b", "c", "d"] {
            clock.fetch_add(1_000, Ordering::SeqCst);
            opened.logs.append(&scope(), group, "s", lines(round * 500, 500));
            opened.logs.flush().await.unwrap();
        }
    }
    let groups = opened.logs.groups(&scope(), None, None, 10).await.unwrap();
    let bytes: Vec<u64> = groups.iter().map(|group| group.stored_bytes).collect();
    assert_eq!(bytes.len(), 4);
    assert!(bytes.iter().all(|bytes| *bytes <= 120_000), "{bytes:?}");
    assert!(bytes.iter().sum::<u64>() <= 280_000, "{bytes:?}");
    for group in ["a", "b", "c", "d"] {
        let newest = LogQuery { backward: true, limit: 1, ..LogQuery::default() };
        let events = opened.logs.events(&scope(), group, newest).await.unwrap();
        assert_eq!(events[0].message, "line 3999\n");
    }
}

#[tokio::test]
async fn an_append_wakes_who_watches() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_at(directory.path(), &Arc::new(AtomicI64::new(START)));
    let mut watch = opened.logs.watch();
    opened.logs.append(&scope(), GROUP, "s", lines(0, 1));
    watch.changed().await.unwrap();
    assert_eq!(messages(&opened, all()).await, ["line 0"]);
}

#[tokio::test]
async fn clients_make_write_and_delete_streams_across_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(AtomicI64::new(START));
    let opened = open_at(directory.path(), &clock);
    let logs = &opened.logs;
    assert!(matches!(logs.create_stream(&scope(), GROUP, "s").await, Err(StoreError::NotFound(_))));
    logs.create_group(&scope(), GROUP, LogGroupSettings::default()).await.unwrap();
    let again = logs.create_group(&scope(), GROUP, LogGroupSettings::default()).await;
    assert!(matches!(again, Err(StoreError::AlreadyExists(_))));
    assert!(matches!(logs.put(&scope(), GROUP, "s", lines(0, 1)).await, Err(StoreError::NotFound(_))));
    logs.create_stream(&scope(), GROUP, "s").await.unwrap();
    logs.create_stream(&scope(), GROUP, "empty").await.unwrap();
    assert!(matches!(logs.create_stream(&scope(), GROUP, "s").await, Err(StoreError::AlreadyExists(_))));
    assert!(logs.put(&scope(), GROUP, "s", lines(0, 3)).await.unwrap());
    logs.append(&scope(), GROUP, "other", lines(3, 1));
    logs.flush().await.unwrap();
    assert_eq!(logs.last_sequence(&scope(), GROUP).await.unwrap(), 4);
    logs.delete_stream(&scope(), GROUP, "s").await.unwrap();
    assert!(matches!(logs.delete_stream(&scope(), GROUP, "s").await, Err(StoreError::NotFound(_))));
    clock.store(START + 50, Ordering::SeqCst);
    logs.append(&scope(), GROUP, "s", lines(9, 1));
    logs.flush().await.unwrap();
    let check = async |opened: &Opened| {
        assert_eq!(messages(opened, all()).await, ["line 3", "line 9"]);
        let streams = opened.logs.streams(&scope(), GROUP).await.unwrap();
        let rows: Vec<_> = streams.iter().map(|row| (row.name.as_str(), row.stored_bytes)).collect();
        assert_eq!(rows, [("empty", 0), ("other", 7), ("s", 7)]);
        assert_eq!(streams[2].created_at, Timestamp(START + 50));
        assert_eq!(streams[2].first_event_at, Some(Timestamp(START + 9)));
        assert_eq!(streams[2].last_ingested_at, Some(Timestamp(START + 50)));
    };
    check(&opened).await;
    drop(opened);
    let opened = open_at(directory.path(), &clock);
    check(&opened).await;
}

#[tokio::test]
async fn a_group_has_its_own_retention_and_goes_with_everything() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(AtomicI64::new(START));
    let opened = open_at(directory.path(), &clock);
    let tags = std::collections::BTreeMap::from([("team".to_owned(), "a".to_owned())]);
    let settings = LogGroupSettings { retention_days: Some(1), tags };
    opened.logs.append(&scope(), GROUP, "s", lines(0, 5));
    opened.logs.append(&scope(), "other", "s", lines(0, 5));
    opened.logs.flush().await.unwrap();
    opened.logs.configure_group(&scope(), GROUP, settings.clone()).await.unwrap();
    clock.store(START + 25 * 3_600_000, Ordering::SeqCst);
    assert!(messages(&opened, all()).await.is_empty(), "expired events are not read");
    assert!(opened.logs.retain(Timestamp(clock.load(Ordering::SeqCst))).await.unwrap() > 0);
    assert_eq!(opened.logs.events(&scope(), "other", all()).await.unwrap().len(), 5);
    drop(opened);
    let opened = open_at(directory.path(), &clock);
    assert_eq!(opened.logs.group(&scope(), GROUP).await.unwrap().settings, settings);
    opened.logs.append(&scope(), GROUP, "s", lines(0, 1));
    opened.logs.delete_group(&scope(), GROUP).await.unwrap();
    assert!(matches!(opened.logs.delete_group(&scope(), GROUP).await, Err(StoreError::NotFound(_))));
    assert!(matches!(opened.logs.events(&scope(), GROUP, all()).await, Err(StoreError::NotFound(_))));
    opened.logs.append(&scope(), GROUP, "s", lines(7, 1));
    opened.logs.flush().await.unwrap();
    // As a crash in the middle of a removal leaves it.
    let files = files_below(&directory.path().join("logs"));
    let other =
        files.iter().map(|(path, _)| path.parent().unwrap()).find(|path| path.ends_with("other")).unwrap();
    let removed = other.with_file_name("removed.x");
    drop(opened);
    std::fs::rename(other, &removed).unwrap();
    let opened = open_at(directory.path(), &clock);
    assert!(!removed.exists());
    assert!(matches!(opened.logs.group(&scope(), "other").await, Err(StoreError::NotFound(_))));
    assert_eq!(messages(&opened, all()).await, ["line 7"]);
    assert_eq!(opened.logs.group(&scope(), GROUP).await.unwrap().settings, LogGroupSettings::default());
}
