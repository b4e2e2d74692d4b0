//! kill -9 and power loss under a mixed load: everything acknowledged is there afterwards, and the counts agree.
//!
//! A child (this program again) works on the store and prints a line after every acknowledgement, and one before
//! what takes something away. The parent cuts it off at a random line and accounts for all of them.
//!
//! Power loss: the data directory lies on ext4 in a loop image. The child is stopped, and the image is copied as
//! it is: what the kernel still holds in its page cache for the mounted file system was never written to the
//! device and is not in the copy. The copy is mounted (journal replay) and accounted for. The child also
//! writes a file it never syncs; that this one is behind proves that the copy drops what was not synced. What the
//! copy keeps and a real disk might lose: writes submitted without a flush after them.
#![allow(clippy::unwrap_used)] // A helper that fails is a failed test.

mod common;

use common::mount::{Mount, can_mount, make_image, stop_and_copy};
use common::*;
use lamplight_model::*;
use lamplight_store::*;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const CHILD_DIRECTORY: &str = "LAMPLIGHT_STORE_CHILD_DIRECTORY";
const CHILD_ROUND: &str = "LAMPLIGHT_STORE_CHILD_ROUND";
const LEASE: Duration = Duration::from_secs(60);
/// Events are queued for this function.
const QUEUE: &str = "queue";

fn long() -> bool {
    std::env::var_os("LAMPLIGHT_LONG").is_some()
}

/// One write, so that lines of several tasks do not mix.
fn say(line: &str) {
    std::io::stdout().write_all(format!("\n@{line}\n").as_bytes()).unwrap();
}

/// Not a test by itself: the load, when the parent asks for it.
#[test]
fn child() {
    let Some(directory) = std::env::var_os(CHILD_DIRECTORY) else { return };
    let round = std::env::var(CHILD_ROUND).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let opened = open(Options::new(&directory)).unwrap();
        for worker in 0..4 {
            tokio::spawn(make_functions(opened.store.clone(), format!("{round}-{worker}")));
            tokio::spawn(queue_events(opened.store.clone()));
        }
        tokio::spawn(settle_events(opened.store.clone()));
        tokio::spawn(put_code(opened.code.clone(), round.clone()));
        write_unsynced(Path::new(&directory)).await;
    });
}

async fn make_functions(store: Arc<dyn Store>, prefix: String) {
    for number in 0.. {
        let text = format!("f-{prefix}-{number}");
        let mut version = function(&text);
        version.environment = Some([("KEY".to_owned(), text.clone())].into());
        store.put_version(version.clone(), Expect::Absent).await.unwrap();
        say(&format!("created {text}"));
        let before = std::mem::replace(&mut version.revision_id, revision());
        version.description = "updated".to_owned();
        store.put_version(version.clone(), Expect::Revision(before)).await.unwrap();
        say(&format!("updated {text}"));
        let mut snapshot = version.clone();
        snapshot.revision_id = revision();
        let published = store.publish_version(snapshot, &version.revision_id).await.unwrap();
        assert_eq!(published.version, VersionNumber::Published(1));
        say(&format!("published {text}"));
        if number % 3 == 0 {
            say(&format!("deleting {text}"));
            assert!(store.delete_function(&scope(), &name(&text)).await.unwrap());
            say(&format!("deleted {text}"));
        }
    }
}

async fn queue_events(store: Arc<dyn Store>) {
    loop {
        let queued = event(QUEUE, 0);
        let id = queued.request_id;
        store.enqueue(queued).await.unwrap();
        say(&format!("queued {id}"));
    }
}

async fn settle_events(store: Arc<dyn Store>) {
    loop {
        let claimed = store.claim("child", Timestamp(0), LEASE, 3).await.unwrap();
        for (at, claimed) in claimed.into_iter().enumerate() {
            let id = claimed.event.request_id;
            // Sent again events are accepted by the store's clock, all others at zero.
            if claimed.event.accepted_at != Timestamp(0) {
                say(&format!("settling-again {id}"));
                assert!(store.release(id, claimed.claim, Release::Done).await.unwrap());
                say(&format!("settled-again {id}"));
                continue;
            }
            say(&format!("settling {id}"));
            let dead = Release::DeadLetter { condition: "RetriesExhausted".to_owned(), error: String::new() };
            let release = if at == 0 { dead } else { Release::Done };
            assert!(store.release(id, claimed.claim, release).await.unwrap());
            say(&format!("settled {id}"));
            if at == 0 {
                say(&format!("redriving {id}"));
                assert_eq!(store.redrive(&scope(), vec![id]).await.unwrap(), [Redrive::Sent(name(QUEUE))]);
                say(&format!("redriven {id}"));
            }
        }
        tokio::task::yield_now().await;
    }
}

async fn put_code(code: Arc<dyn CodeStore>, round: String) {
    for number in 0.. {
        let content = format!("{round} {number}\n").repeat(500);
        let digest = code.put(zip_of(&[("app.py", content.as_bytes())])).await.unwrap();
        say(&format!("code {} {round} {number}", digest.as_str()));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Over the same bytes of one block: what is truncated and written anew, ext4 writes out by itself.
async fn write_unsynced(directory: &Path) {
    let file = std::fs::File::create(directory.join("unsynced")).unwrap();
    for number in 0.. {
        file.write_all_at(format!("{number:010}").as_bytes(), 0).unwrap();
        say(&format!("unsynced {number}"));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// What the child said.
#[derive(Default)]
struct Said(BTreeMap<String, BTreeSet<String>>);

impl Said {
    /// `None` for a line of the test harness, and for one that was cut off.
    fn hear(&mut self, line: &str) -> Option<()> {
        let (what, of) = line.strip_prefix('@')?.strip_suffix('\n')?.split_once(' ')?;
        self.0.entry(what.to_owned()).or_default().insert(of.to_owned());
        Some(())
    }

    fn all(&self, what: &str) -> impl Iterator<Item = &String> {
        self.0.get(what).into_iter().flatten()
    }

    fn has(&self, what: &str, of: &str) -> bool {
        self.0.get(what).is_some_and(|said| said.contains(of))
    }
}

fn start_child(directory: &Path, round: usize) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture"])
        .env(CHILD_DIRECTORY, directory)
        .env(CHILD_ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

fn hear_lines(output: &mut impl BufRead, said: &mut Said, count: usize) {
    let mut heard = 0;
    while heard < count {
        let mut line = String::new();
        assert!(output.read_line(&mut line).unwrap() > 0, "the child ended by itself");
        heard += usize::from(said.hear(&line).is_some());
    }
}

fn hear_rest(output: &mut impl BufRead, said: &mut Said) {
    let mut line = String::new();
    while output.read_line(&mut line).unwrap() > 0 {
        said.hear(&line);
        line.clear();
    }
}

async fn account(directory: &Path, said: &Said) {
    let opened = open(Options::new(directory)).unwrap();
    let latest = async |text: &str| {
        opened.store.get_version(&scope(), &name(text), VersionNumber::Latest).await.unwrap()
    };
    for text in said.all("deleted") {
        assert!(latest(text).await.is_none(), "{text} was deleted and is back");
    }
    for text in said.all("created").filter(|text| !said.has("deleting", text)) {
        let version = latest(text).await.unwrap_or_else(|| panic!("{text} was created and is gone"));
        assert_eq!(version.environment.as_ref().unwrap()["KEY"], **text);
        assert!(!said.has("updated", text) || version.description == "updated", "{text} lost its update");
    }
    for text in said.all("published").filter(|text| !said.has("deleting", text)) {
        let one = VersionNumber::Published(1);
        let version = opened.store.get_version(&scope(), &name(text), one).await.unwrap();
        assert!(version.is_some(), "{text} lost its version");
    }
    for line in said.all("code") {
        let [digest, round, number] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let digest = CodeDigest::parse(digest).unwrap();
        assert!(opened.code.get(&digest).await.unwrap().is_some(), "package {line} is gone");
        let tree = directory.join("code/unpacked").join(opened.code.unpacked(&digest).await.unwrap());
        let content = std::fs::read_to_string(tree.join("app.py")).unwrap();
        assert_eq!(content, format!("{round} {number}\n").repeat(500), "{line} is damaged");
    }

    // Every event that was accepted is waiting, or was about to be settled; none is settled and waiting.
    let counts = opened.store.event_counts(&scope(), &name(QUEUE)).await.unwrap();
    assert_eq!(counts.accepted, counts.done + counts.dead_lettered + counts.pending);
    let mut pending = BTreeMap::new();
    loop {
        // The leases of one batch end after "now", so none comes twice.
        let claimed = opened.store.claim("parent", Timestamp(i64::MAX / 4), LEASE, 1_000).await.unwrap();
        if claimed.is_empty() {
            break;
        }
        pending
            .extend(claimed.into_iter().map(|claimed| (claimed.event.request_id.to_string(), claimed.claim)));
    }
    assert_eq!(counts.pending, pending.len() as u64);
    let dead = opened.store.dead_letters(&scope(), &name(QUEUE), 100_000).await.unwrap();
    assert_eq!(counts.dead_lettered, dead.len() as u64);
    for id in said.all("queued") {
        assert!(pending.contains_key(id) || said.has("settling", id), "event {id} is lost");
    }
    for id in said.all("settled").filter(|id| !said.has("redriving", id)) {
        assert!(!pending.contains_key(id), "event {id} was settled and waits again");
    }
    for id in said.all("redriven") {
        assert!(
            pending.contains_key(id) || said.has("settling-again", id),
            "event {id} was sent again and is lost"
        );
    }
    for id in said.all("settled-again") {
        assert!(!pending.contains_key(id), "event {id} was sent again, settled, and waits again");
    }
    // Whatever was answered, and wherever the crash came: each has a place, and it is the one that was answered last.
    for id in said.all("queued").step_by(29).chain(said.all("settled").step_by(17)) {
        let story = opened.store.event_story(&scope(), RequestId(id.parse().unwrap())).await.unwrap();
        let state = story.record.unwrap_or_else(|| panic!("nobody knows where event {id} is")).state;
        let waits = matches!(state, EventState::Waiting { .. } | EventState::Running { .. });
        assert_eq!(waits, pending.contains_key(id), "event {id} is {state:?}");
        let sent_again = story.steps.iter().any(|step| step.kind == StepKind::Redriven);
        assert!(
            sent_again || !said.has("redriven", id),
            "the story of event {id} forgot that it was sent again"
        );
    }
    // Leave them claimable for the next round's child: the leases above end in the far future.
    let due_again = Release::Retry { not_before: Timestamp(0), counted: false };
    let releases: Vec<_> = pending
        .into_iter()
        .map(|(id, claim)| {
            let (store, due_again) = (opened.store.clone(), due_again.clone());
            let id = RequestId(id.parse().unwrap());
            tokio::spawn(async move { store.release(id, claim, due_again).await.unwrap() })
        })
        .collect();
    for release in releases {
        assert!(release.await.unwrap());
    }
}

#[tokio::test]
async fn kill_loses_nothing_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let mut said = Said::default();
    for round in 0..if long() { 40 } else { 4 } {
        let (mut child, mut output) = start_child(directory.path(), round);
        hear_lines(&mut output, &mut said, rand::random_range(50..3_000));
        child.kill().unwrap();
        hear_rest(&mut output, &mut said);
        child.wait().unwrap();
        account(directory.path(), &said).await;
    }
    for what in [
        "created",
        "updated",
        "published",
        "deleted",
        "queued",
        "settled",
        "redriven",
        "settled-again",
        "code",
    ] {
        assert!(said.all(what).count() > 0, "the load never {what}");
    }
}

#[tokio::test]
async fn power_loss_loses_nothing_that_was_acknowledged() {
    if !can_mount() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut dropped_unsynced = 0;
    for round in 0..if long() { 30 } else { 3 } {
        let (image, copy) = (directory.path().join("image"), directory.path().join("copy"));
        make_image(&image);
        let mut said = Said::default();
        {
            let mount = Mount::image(&image);
            let (mut child, mut output) = start_child(&mount.path, round);
            hear_lines(&mut output, &mut said, rand::random_range(200..4_000));
            stop_and_copy(&child, &image, &copy);
            child.kill().unwrap();
            hear_rest(&mut output, &mut said);
            child.wait().unwrap();
        }
        let survived = Mount::image(&copy);
        let newest: u64 = said.all("unsynced").map(|number| number.parse().unwrap()).max().unwrap();
        let found = std::fs::read_to_string(survived.path.join("unsynced")).unwrap_or_default();
        dropped_unsynced += usize::from(found.parse::<u64>().ok() != Some(newest));
        account(&survived.path, &said).await;
    }
    assert!(dropped_unsynced > 0, "the copies hold what was never synced: this test proves nothing");
}
