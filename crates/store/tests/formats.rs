//! Formats on disk: the fixtures of every released format open, a newer one is refused by name.
//!
//! A fixture is made once per format (`LAMPLIGHT_MAKE_FIXTURES=1 cargo test -p lamplight-store --test formats`,
//! which writes those that are absent) and never changed afterwards.
#![allow(clippy::unwrap_used)] // A helper that fails is a failed test.

mod common;

use common::*;
use lamplight_model::*;
use lamplight_store::*;
use std::path::{Path, PathBuf};
use std::time::Duration;

const GROUP: &str = "/aws/lambda/old";
const FILES: [&str; 3] = ["key", "metadata.sqlite", "ledger.sqlite"];

fn fixture(format: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(format!("format_{format}"))
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

async fn make(directory: &Path) {
    let mut options = Options::new(directory);
    options.clock = std::sync::Arc::new(|| Timestamp(1_769_817_600_000));
    let opened = open(options).unwrap();
    let mut old = function("old");
    old.environment = Some([("KEY".to_owned(), "value".to_owned())].into());
    old.tags = [("a".to_owned(), "b".to_owned())].into();
    old.vpc = Some(Default::default());
    opened.store.put_version(old.clone(), Expect::Absent).await.unwrap();
    opened.store.publish_version(old.clone(), &old.revision_id).await.unwrap();
    let role = Document { key: "role".to_owned(), value: serde_json::json!({"Arn": "x"}) };
    opened.store.put_document(&scope(), "role", role, Expect::Absent).await.unwrap();
    for _ in 0..3 {
        opened.store.enqueue(event("old", 0)).await.unwrap();
    }
    let claimed = opened.store.claim("me", Timestamp(0), Duration::from_secs(1), 2).await.unwrap();
    let dead = Release::DeadLetter { condition: "RetriesExhausted".to_owned(), error: "{}".to_owned() };
    opened.store.release(claimed[0].event.request_id, claimed[0].claim, dead).await.unwrap();
    opened.store.release(claimed[1].event.request_id, claimed[1].claim, Release::Done).await.unwrap();
    opened.ledger.append(report("old", 1_769_817_600_000, OutcomeStatus::Success));
    opened.logs.append(&scope(), GROUP, "s", vec![(Timestamp(1_769_817_600_000), "old line\n".to_owned())]);
}

async fn check_opens(format: u32) {
    let directory = tempfile::tempdir().unwrap();
    copy(&fixture(format), directory.path());
    let mut options = Options::new(directory.path());
    options.clock = std::sync::Arc::new(|| Timestamp(1_769_817_700_000));
    let opened = open(options).unwrap();
    for version in [VersionNumber::Latest, VersionNumber::Published(1)] {
        let old = opened.store.get_version(&scope(), &name("old"), version).await.unwrap().unwrap();
        assert_eq!(old.environment.as_ref().unwrap()["KEY"], "value");
    }
    assert!(opened.store.get_document(&scope(), "role", "role").await.unwrap().is_some());
    let counts = opened.store.event_counts(&scope(), &name("old")).await.unwrap();
    assert_eq!(counts, EventCounts { accepted: 3, done: 1, dead_lettered: 1, pending: 1 });
    assert_eq!(opened.store.dead_letters(&scope(), &name("old"), 9).await.unwrap().len(), 1);
    let claimed = opened.store.claim("me", Timestamp(10_000), Duration::from_secs(1), 9).await.unwrap();
    assert_eq!(claimed[0].event.payload, event("old", 0).payload);
    assert_eq!(opened.ledger.recent(&scope(), "old", 9).await.unwrap().len(), 1);
    let query = logs::LogQuery { limit: 9, ..Default::default() };
    assert_eq!(opened.logs.events(&scope(), GROUP, query).await.unwrap()[0].message, "old line\n");
}

#[tokio::test]
async fn every_released_format_opens() {
    if std::env::var_os("LAMPLIGHT_MAKE_FIXTURES").is_some() && !fixture(1).exists() {
        make(&fixture(1)).await;
        std::fs::remove_file(fixture(1).join("lock")).unwrap();
    }
    check_opens(1).await;
}

#[tokio::test]
async fn documents_of_an_older_format_are_found_by_their_id() {
    let directory = tempfile::tempdir().unwrap();
    copy(&fixture(1), directory.path());
    let connection = rusqlite::Connection::open(directory.path().join("metadata.sqlite")).unwrap();
    let insert = "INSERT INTO document VALUES (?, 'function/url', 'old/$LATEST', 'r', '{\"id\":\"abc\"}')";
    connection.execute(insert, [scope().key()]).unwrap();
    connection.close().unwrap();
    let opened = open(Options::new(directory.path())).unwrap();
    let (found_in, found) = opened.store.find_document("function/url", "abc").await.unwrap().unwrap();
    assert_eq!((found_in, found.key.as_str()), (scope(), "old/$LATEST"));
}

#[tokio::test]
async fn a_newer_format_is_refused_by_name_and_left_alone() {
    for file in &FILES[1..] {
        let directory = tempfile::tempdir().unwrap();
        drop(open(Options::new(directory.path())).unwrap());
        let path = directory.path().join(file);
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.pragma_update(None, "user_version", 999).unwrap();
        connection.close().unwrap();
        let Err(StoreError::NewerFormat(text)) = open(Options::new(directory.path())) else {
            panic!("a newer {file} was opened");
        };
        assert!(text.contains(file) && text.contains("999"), "{text}");
        let connection = rusqlite::Connection::open(&path).unwrap();
        let format: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(format, 999);
    }
    let directory = tempfile::tempdir().unwrap();
    copy(&fixture(1), directory.path());
    for (path, _) in files_below(&directory.path().join("logs")) {
        if path.extension().is_some_and(|extension| extension == "log") {
            std::fs::write(path, b"LAMPLOG9 of a later release").unwrap();
        }
    }
    let opened = open(Options::new(directory.path())).unwrap();
    let refused = opened.logs.streams(&scope(), GROUP).await;
    assert!(matches!(refused, Err(StoreError::NewerFormat(_))), "{refused:?}");
}
