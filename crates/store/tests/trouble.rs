//! Full disk, read-only disk, and secrets: writes are refused clearly, nothing is lost, nothing leaks.
#![allow(clippy::unwrap_used)] // A helper that fails is a failed test.

mod common;

use common::mount::{Mount, can_mount, make_image, run};
use common::*;
use lamplight_model::*;
use lamplight_store::*;
use std::os::unix::fs::PermissionsExt;

fn big_event() -> QueuedEvent {
    let mut big = event("hello", 0);
    big.payload = vec![b'x'; 200_000].into();
    big
}

#[tokio::test]
async fn a_full_disk_refuses_writes_loses_nothing_and_works_again() {
    if !can_mount() {
        return;
    }
    let mount = Mount::tmpfs("24m");
    // Somebody else's file, whose removal brings space back.
    let others = mount.path.join("others");
    std::fs::write(&others, vec![0; 8 << 20]).unwrap();
    let opened = open(Options::new(mount.path.join("data"))).unwrap();
    opened.store.put_version(function("hello"), Expect::Absent).await.unwrap();
    let mut accepted = 0;
    let refusal = loop {
        match opened.store.enqueue(big_event()).await {
            Ok(()) => accepted += 1,
            Err(error) => break error,
        }
        assert!(accepted < 1_000, "never full");
    };
    assert!(matches!(refusal, StoreError::Unwritable(_)), "{refusal}");
    assert!(refusal.to_string().contains("full"), "{refusal}");
    // The last bytes too, so that the appending parts feel it.
    let filler = mount.path.join("filler");
    let _ = std::fs::write(&filler, vec![0; 24 << 20]);
    let zip = zip_of(&[("a", &[1; 9_000])]);
    let refused = opened.code.put(zip.clone()).await.unwrap_err();
    assert!(refused.message.contains("disk is full"), "{}", refused.message);
    opened.logs.append(&scope(), "g", "s", vec![(Timestamp(1), "x".repeat(100_000))]);
    assert!(matches!(opened.logs.flush().await, Err(StoreError::Unwritable(_))));
    let now = system_clock()().0;
    for _ in 0..200 {
        opened.ledger.append(report("hello", now, OutcomeStatus::Success));
    }
    assert!(matches!(opened.ledger.flush().await, Err(StoreError::Unwritable(_))));
    // Reads go on.
    assert_eq!(opened.store.event_counts(&scope(), &name("hello")).await.unwrap().pending, accepted);
    assert_eq!(opened.store.list_functions(&scope(), None, 10).await.unwrap().len(), 1);

    std::fs::remove_file(&filler).unwrap();
    std::fs::remove_file(&others).unwrap();
    opened.store.enqueue(big_event()).await.unwrap();
    accepted += 1;
    let claimed =
        opened.store.claim("me", Timestamp(0), std::time::Duration::from_secs(60), 1_000).await.unwrap();
    assert_eq!(claimed.len() as u64, accepted, "every accepted event is there");
    for claimed in &claimed {
        assert!(opened.store.release(claimed.event.request_id, claimed.claim, Release::Done).await.unwrap());
    }
    let counts = opened.store.event_counts(&scope(), &name("hello")).await.unwrap();
    assert_eq!((counts.accepted, counts.done), (accepted, accepted));
    opened.logs.flush().await.unwrap();
    let events = opened.logs.events(&scope(), "g", logs_all()).await.unwrap();
    assert_eq!(events.len(), 1, "kept while the disk was full");
    opened.ledger.flush().await.unwrap();
    assert_eq!(opened.ledger.recent(&scope(), "hello", 1_000).await.unwrap().len(), 200);
    opened.code.put(zip).await.unwrap();
}

fn logs_all() -> logs::LogQuery {
    logs::LogQuery { limit: 100, ..logs::LogQuery::default() }
}

#[tokio::test]
async fn a_disk_that_turns_read_only_refuses_writes_and_is_read_on() {
    if !can_mount() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    make_image(&image);
    let mount = Mount::image(&image);
    let opened = open(Options::new(mount.path.join("data"))).unwrap();
    opened.store.put_version(function("hello"), Expect::Absent).await.unwrap();
    opened.logs.append(&scope(), "g", "s", vec![(Timestamp(1), "line".to_owned())]);
    opened.logs.flush().await.unwrap();
    // As the kernel does when the device fails.
    run("mount", &["-o", "remount,abort", mount.path.to_str().unwrap()]);
    let refused = opened.store.put_version(function("other"), Expect::Absent).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unwritable(_)), "{refused:?}");
    let refused = opened.code.put(zip_of(&[("a", b"b")])).await.unwrap_err();
    assert!(refused.message.contains("read-only"), "{}", refused.message);
    assert_eq!(opened.store.list_functions(&scope(), None, 10).await.unwrap().len(), 1);
    assert_eq!(opened.logs.events(&scope(), "g", logs_all()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn environment_values_are_nowhere_in_the_clear() {
    const SECRET: &str = "hunter2-the-secret-value";
    let directory = tempfile::tempdir().unwrap();
    let opened = open(Options::new(directory.path())).unwrap();
    let mut hello = function("hello");
    hello.environment = Some([("PASSWORD".to_owned(), SECRET.to_owned())].into());
    opened.store.put_version(hello.clone(), Expect::Absent).await.unwrap();
    opened.store.publish_version(hello.clone(), &hello.revision_id).await.unwrap();
    assert!(!format!("{hello:?}").contains(SECRET));
    assert!(format!("{hello:?}").contains("PASSWORD"));
    opened.flush().await.unwrap();
    let check = || {
        for (path, content) in files_below(directory.path()) {
            let found = content.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
            assert!(!found, "{} holds the secret", path.display());
        }
    };
    check();
    drop(opened);
    check();
    let mode = |file: &str| directory.path().join(file).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!([mode("key"), mode("metadata.sqlite"), mode("ledger.sqlite"), mode("lock")], [0o600; 4]);
    let opened = open(Options::new(directory.path())).unwrap();
    let found =
        opened.store.get_version(&scope(), &name("hello"), VersionNumber::Published(1)).await.unwrap();
    assert_eq!(found.unwrap().environment, hello.environment);
    drop(opened);
    // Another key: refused by name, never empty values.
    std::fs::write(directory.path().join("key"), [9; 32]).unwrap();
    let opened = open(Options::new(directory.path())).unwrap();
    let error = opened.store.get_version(&scope(), &name("hello"), VersionNumber::Latest).await.unwrap_err();
    assert!(error.to_string().contains("failed to decrypt the values of"), "{error}");
}
