//! The object store by its own interface: nothing half-visible, nothing left behind, lists that are right.

mod common;

use common::*;
use futures_util::{StreamExt as _, stream};
use lamplight_services::objects::*;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::Notify;

#[tokio::test]
async fn objects_come_back_and_leave_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), Bounds::default());
    let bucket = bucket(&store).await;
    for size in [0, 1, 10_000, 262_144, 262_145, 1_000_000] {
        let bytes: Vec<u8> = (0..size).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let put = put(&store, &bucket, "a", &bytes).await.unwrap();
        let (object, found) = get(&store, &bucket, "a").await.unwrap();
        assert_eq!((&object, found.as_slice()), (&put, bytes.as_slice()), "{size} bytes");
        assert_eq!(object.etag, digest(&bytes));
        // What it replaced is gone, and an empty object needs no file.
        assert_eq!(files(directory.path()).len(), usize::from(size > 0), "{size} bytes");
    }
    delete(&store, &bucket, "a").await;
    delete(&store, &bucket, "a").await;
    assert!(get(&store, &bucket, "a").await.is_none());
    assert_eq!(files(directory.path()).len(), 0);
    store.delete_bucket(&bucket).await.unwrap();
    assert!(matches!(put(&store, &bucket, "a", b"").await, Err(ObjectError::NoSuchBucket)));
}

#[tokio::test]
async fn a_body_that_fails_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let bounds = Bounds { body_bytes: 1_000_000, bytes_in_all: 1_500_000, ..Bounds::default() };
    let store = open(directory.path(), bounds);
    let bucket = bucket(&store).await;
    put(&store, &bucket, "a", b"before").await.unwrap();
    let check = async |integrity: Integrity, body: Body, expected: &str| {
        let conditions = WriteConditions::default();
        let failed = store.put(&bucket, "a", Description::default(), conditions, integrity, body).await;
        assert_eq!(failed.unwrap_err().to_string(), expected);
        assert_eq!(get(&store, &bucket, "a").await.unwrap().1, b"before");
        assert_eq!(files(directory.path()).len(), 1, "{expected}");
    };
    let half = Box::pin(body(&[7; 600_000]).chain(stream::iter([Err(ObjectError::IncompleteBody)])));
    check(Integrity::default(), half, "the body has another length than announced").await;
    check(Integrity::default(), body(&[7; 1_000_001]), "the body is larger than 1000000 bytes").await;
    let short = Integrity { bytes: Some(7), ..Integrity::default() };
    check(short, body(b"six..."), "the body has another length than announced").await;
    check(
        Integrity { md5: Some([0; 16]), ..Integrity::default() },
        body(b"x"),
        "the body differs from its MD5",
    )
    .await;
    let wrong = Integrity {
        algorithm: Some(Algorithm::Crc32c),
        expected: Some(Box::new(|| Ok(Some(vec![0; 4])))),
        ..Integrity::default()
    };
    check(wrong, body(b"x"), "the body differs from its CRC32C checksum").await;
    put(&store, &bucket, "b", &[7; 900_000]).await.unwrap();
    let failed = put(&store, &bucket, "c", &[7; 900_000]).await.unwrap_err();
    assert!(matches!(failed, ObjectError::StorageFull(1_500_000)), "{failed}");
    // What was refused does not count, what is deleted counts no more.
    delete(&store, &bucket, "b").await;
    put(&store, &bucket, "c", &[7; 900_000]).await.unwrap();
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), Bounds::default());
    let bucket = bucket(&store).await;
    let half = Arc::new(Notify::new());
    let putting = tokio::spawn({
        let (store, bucket, half) = (store.clone(), bucket.clone(), Arc::clone(&half));
        async move {
            let begun = body(&[7; 600_000]).chain(stream::once(async move {
                half.notify_one();
                std::future::pending().await
            }));
            let conditions = WriteConditions::default();
            let body = Box::pin(begun);
            store.put(&bucket, "a", Description::default(), conditions, Integrity::default(), body).await
        }
    });
    half.notified().await;
    assert_eq!(files(directory.path()).len(), 1);
    putting.abort();
    assert!(putting.await.unwrap_err().is_cancelled());
    assert_eq!(files(directory.path()).len(), 0);
    assert!(get(&store, &bucket, "a").await.is_none());
}

#[tokio::test]
async fn a_reader_keeps_the_object_it_opened() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), Bounds::default());
    let bucket = bucket(&store).await;
    put(&store, &bucket, "a", &[7; 600_000]).await.unwrap();
    let open = store.open_object(&bucket, "a").await.unwrap();
    let second = store.open_object(&bucket, "a").await.unwrap();
    put(&store, &bucket, "a", b"new").await.unwrap();
    drop(second);
    assert_eq!(files(directory.path()).len(), 2);
    let read: Vec<_> = open.read(100..600_000).collect().await;
    assert_eq!(read.into_iter().map(|piece| piece.unwrap().len()).sum::<usize>(), 599_900);
    assert_eq!(files(directory.path()).len(), 1);
    assert_eq!(get(&store, &bucket, "a").await.unwrap().1, b"new");
}

#[tokio::test]
async fn files_that_belong_to_nothing_are_swept_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    {
        let store = open(directory.path(), Bounds::default());
        let bucket = bucket(&store).await;
        put(&store, &bucket, "a", b"kept").await.unwrap();
    }
    let orphan = directory.path().join("objects/content/ab").join("ab".repeat(16));
    std::fs::write(&orphan, b"x").unwrap();
    std::fs::write(directory.path().join("objects/incoming/half"), b"x").unwrap();
    assert_eq!(files(directory.path()).len(), 3);
    let store = open(directory.path(), Bounds::default());
    assert_eq!(files(directory.path()).len(), 1);
    let bucket = bucket(&store).await;
    assert_eq!(get(&store, &bucket, "a").await.unwrap().1, b"kept");
}

#[tokio::test]
async fn an_upload_becomes_one_object_of_its_named_parts() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), Bounds::default());
    let bucket = bucket(&store).await;
    put(&store, &bucket, "a", b"before").await.unwrap();
    let upload = store.create_upload(&bucket, "a", Description::default(), None).await.unwrap();
    let first = vec![1_u8; usize::try_from(PART_BYTES).unwrap()];
    let mut named = Vec::new();
    for (number, bytes) in
        [(1, first.as_slice()), (2, b"replaced"), (2, b"second"), (3, b""), (4, b"not named")]
    {
        let part = store.put_part(&bucket, "a", &upload.id, number, Integrity::default(), body(bytes)).await;
        named.retain(|part: &CompletedPart| part.number != number);
        named.push(CompletedPart { number, etag: part.unwrap().etag, checksum: None });
    }
    assert_eq!(get(&store, &bucket, "a").await.unwrap().1, b"before");
    // Two parts of bytes, one beside, and what was there before; the empty part has no file.
    assert_eq!(files(directory.path()).len(), 4);
    named.retain(|part| part.number < 3);
    let conditions = WriteConditions::default();
    let object = store.complete_upload(&bucket, "a", &upload.id, named, None, conditions).await.unwrap();
    let whole = [first.as_slice(), b"second"].concat();
    let (found, bytes) = get(&store, &bucket, "a").await.unwrap();
    assert_eq!((&found, bytes.len(), digest(&bytes)), (&object, whole.len(), digest(&whole)));
    assert_eq!((object.parts, object.size), (2, whole.len() as u64));
    assert_eq!(files(directory.path()).len(), 2);
    let gone = store.abort_upload(&bucket, "a", &upload.id).await.unwrap_err();
    assert!(matches!(gone, ObjectError::NoSuchUpload));
    delete(&store, &bucket, "a").await;
    assert_eq!(files(directory.path()).len(), 0);
}

/// What S3's documentation says a list is, without regard to cost.
fn expected(keys: &BTreeSet<String>, prefix: &str, delimiter: Option<&str>) -> Vec<Entry<String>> {
    let mut entries: Vec<Entry<String>> = Vec::new();
    for key in keys.iter().filter(|key| key.starts_with(prefix)) {
        let end = delimiter.and_then(|delimiter| {
            let at = key[prefix.len()..].find(delimiter)?;
            Some(prefix.len() + at + delimiter.len())
        });
        let entry = match end {
            Some(end) => Entry::Prefix(key[..end].to_owned()),
            None => Entry::Row(key.clone()),
        };
        if entries.last() != Some(&entry) {
            entries.push(entry);
        }
    }
    entries
}

#[test]
fn pages_make_the_whole_list() {
    // Not by the macro, whose number of cases the long tests raise to thousands: each case writes files durably.
    let cases = if std::env::var_os("LAMPLIGHT_LONG").is_some() { 500 } else { 48 };
    let lists = (
        prop::collection::btree_set("[ab/ü\u{10ffff}]{1,4}", 0..24),
        "[ab/]{0,2}",
        prop::option::of("(/|b|ab)"),
        1_usize..5,
    );
    let mut runner = TestRunner::new(ProptestConfig::with_cases(cases));
    let outcome = runner.run(&lists, |(keys, prefix, delimiter, limit)| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let store = open(directory.path(), Bounds::default());
            let bucket = bucket(&store).await;
            for key in &keys {
                put(&store, &bucket, key, b"").await.unwrap();
            }
            let (mut found, mut after, mut marked) = (Vec::new(), None, Vec::new());
            loop {
                let query = Query { prefix: prefix.clone(), delimiter: delimiter.clone(), after, limit };
                let page = store.list(&bucket, query).await.unwrap();
                assert!(page.entries.len() <= limit);
                assert!(
                    page.next.is_none() || page.entries.len() == limit,
                    "a page that is not the last is full"
                );
                found.extend(page.entries.into_iter().map(|entry| match entry {
                    Entry::Row(object) => Entry::Row(object.key),
                    Entry::Prefix(prefix) => Entry::Prefix(prefix),
                }));
                let Some(next) = page.next else { break };
                // The first version's markers are only the text, and mean the same.
                let (Position::Key(text) | Position::Prefix(text)) = &next;
                let read_back = position_of_marker(text, &prefix, delimiter.as_deref());
                marked.push((next.clone(), read_back));
                after = Some(next);
            }
            assert_eq!(found, expected(&keys, &prefix, delimiter.as_deref()));
            for (next, read_back) in marked {
                assert_eq!(next, read_back);
            }
        });
        Ok(())
    });
    outcome.unwrap();
}
