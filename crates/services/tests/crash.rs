//! kill -9 and power loss: what was acknowledged is there and whole afterwards, and no file is left without a row.
//!
//! A child (this program again) puts, deletes and uploads in parts, and says each key before and after it works on it. The
//! parent cuts it off and accounts for all keys. Power loss is made as the store's own test of this name makes it: the
//! image of a mounted file system is copied while the child is stopped, so that what was not synced is not in the copy.
#![allow(clippy::unwrap_used)] // A helper that fails is a failed test.

#[path = "common/child.rs"]
mod child_program;
mod common;
#[path = "../../store/tests/common/mount.rs"]
mod mount;

use child_program::{hear_lines, hear_rest, said, say, start_child};
use common::*;
use lamplight_services::objects::*;
use mount::{Mount, can_mount, make_image, stop_and_copy};
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::Path;

const CHILD_DIRECTORY: &str = "LAMPLIGHT_OBJECTS_CHILD_DIRECTORY";
const WORKERS: usize = 4;
const KEYS: usize = 6;

fn long() -> bool {
    std::env::var_os("LAMPLIGHT_LONG").is_some()
}

/// Not a test by itself: the load, when the parent asks for it.
#[test]
fn child() {
    let Some(directory) = std::env::var_os(CHILD_DIRECTORY) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = open(Path::new(&directory), Bounds::default());
        let bucket = bucket(&store).await;
        for worker in 0..WORKERS {
            tokio::spawn(work(store.clone(), bucket.clone(), worker));
        }
        write_unsynced(Path::new(&directory)).await;
    });
}

async fn work(store: ObjectStore, bucket: Bucket, worker: usize) {
    for number in 0_usize.. {
        let key = format!("{worker}/{}", number % KEYS);
        let bytes = format!("{key} {number} ").repeat(1 + number * 7_919 % 20_000).into_bytes();
        say(&format!("begin {key}"));
        match number % 7 {
            3 => {
                delete(&store, &bucket, &key).await;
                say(&format!("done {key} none"));
            }
            5 => {
                let object = in_parts(&store, &bucket, &key, &bytes).await;
                say(&format!("done {key} {}", object.etag));
            }
            _ => {
                let object = put(&store, &bucket, &key, &bytes).await.unwrap();
                say(&format!("done {key} {}", object.etag));
            }
        }
    }
}

/// One part, and one that is uploaded and not named.
async fn in_parts(store: &ObjectStore, bucket: &Bucket, key: &str, bytes: &[u8]) -> Object {
    let upload = store.create_upload(bucket, key, Description::default(), None).await.unwrap();
    let mut named = Vec::new();
    for number in [1, 2] {
        let part = store.put_part(bucket, key, &upload.id, number, Integrity::default(), body(bytes)).await;
        named.push(CompletedPart { number, etag: part.unwrap().etag, checksum: None });
    }
    named.truncate(1);
    store.complete_upload(bucket, key, &upload.id, named, None, WriteConditions::default()).await.unwrap()
}

/// Rewrites a file without ever syncing it, and says how far it is.
async fn write_unsynced(directory: &Path) {
    let file = std::fs::File::create(directory.join("unsynced")).unwrap();
    for number in 1_000_000_u64.. {
        file.write_at(number.to_string().as_bytes(), 0).unwrap();
        say(&format!("unsynced {number}"));
        tokio::task::yield_now().await;
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

/// What the child said last about each key, and whether it was at work on it.
#[derive(Default)]
struct Said {
    keys: BTreeMap<String, (Option<String>, bool)>,
    done: usize,
    unsynced: u64,
}

impl Said {
    fn hear(&mut self, line: &str) -> bool {
        let Some(line) = said(line) else { return false };
        match line.split(' ').collect::<Vec<_>>().as_slice() {
            ["begin", key] => self.keys.entry((*key).to_owned()).or_default().1 = true,
            ["done", key, etag] => {
                let etag = (*etag != "none").then(|| (*etag).to_owned());
                self.keys.insert((*key).to_owned(), (etag, false));
                self.done += 1;
                return true;
            }
            ["unsynced", number] => self.unsynced = number.parse().unwrap(),
            _ => {}
        }
        false
    }
}

async fn account(directory: &Path, said: &mut Said) {
    let store = open(directory, Bounds::default());
    let bucket = bucket(&store).await;
    for (key, (etag, at_work)) in &mut said.keys {
        let found = get(&store, &bucket, key).await;
        if let Some((object, bytes)) = &found {
            assert_eq!(object.size, bytes.len() as u64);
            let whole = digest(bytes);
            assert!(object.parts > 0 || object.etag == whole, "{key} is damaged");
            let text = format!("{key} ");
            assert!(bytes.starts_with(text.as_bytes()), "{key} holds another's bytes");
        }
        let found = found.map(|(object, _)| object.etag);
        assert!(*at_work || found == *etag, "{key} was {etag:?} when it was acknowledged and is {found:?}");
        // The next round begins with what is there.
        (*etag, *at_work) = (found, false);
    }
    let keys = Query { prefix: String::new(), delimiter: None, after: None, limit: 1_000 };
    let uploads = store.list_uploads(&bucket, UploadQuery { keys, after_upload: None }).await.unwrap();
    for upload in uploads.entries {
        let Entry::Row(upload) = upload else { panic!("no delimiter was asked for") };
        store.abort_upload(&bucket, &upload.key, &upload.id).await.unwrap();
    }
    let rows = said.keys.values().filter(|(etag, _)| etag.is_some()).count();
    assert_eq!(files(directory).len(), rows, "a file without a row, or a row without a file");
}

#[tokio::test]
async fn kill_loses_nothing_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let mut said = Said::default();
    for round in 0..if long() { 30 } else { 4 } {
        let (mut child, mut output) = start_child(CHILD_DIRECTORY, directory.path());
        hear_lines(&mut output, 20 + round * 37 % 150, |line| said.hear(line));
        child.kill().unwrap();
        hear_rest(&mut output, |line| said.hear(line));
        child.wait().unwrap();
        account(directory.path(), &mut said).await;
    }
    assert!(said.done > 100);
}

#[tokio::test]
async fn power_loss_loses_nothing_that_was_acknowledged() {
    if !can_mount() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut dropped_unsynced = 0;
    for round in 0..if long() { 20 } else { 3 } {
        let (image, copy) = (directory.path().join("image"), directory.path().join("copy"));
        make_image(&image);
        let mut said = Said::default();
        {
            let mount = Mount::image(&image);
            let (mut child, mut output) = start_child(CHILD_DIRECTORY, &mount.path);
            hear_lines(&mut output, 30 + round * 61 % 200, |line| said.hear(line));
            stop_and_copy(&child, &image, &copy);
            child.kill().unwrap();
            hear_rest(&mut output, |line| said.hear(line));
            child.wait().unwrap();
        }
        let survived = Mount::image(&copy);
        let found = std::fs::read_to_string(survived.path.join("unsynced")).unwrap_or_default();
        dropped_unsynced += usize::from(found.parse::<u64>().ok() != Some(said.unsynced));
        account(&survived.path, &mut said).await;
    }
    assert!(dropped_unsynced > 0, "the copies hold what was never synced: this test proves nothing");
}
