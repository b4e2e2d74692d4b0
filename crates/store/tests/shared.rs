//! Two processes on one store: both work on its queue, one is killed in the middle.
//!
//! The children (this program again) say what they have claimed before they settle it, and what they have settled. Time is a
//! number in a file that the parent writes: a lease ends when the parent says so and not before.
#![allow(clippy::unwrap_used)] // A helper that fails is a failed test.

mod common;

use common::*;
use lamplight_model::*;
use lamplight_store::*;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const CHILD_DIRECTORY: &str = "LAMPLIGHT_STORE_SHARED_DIRECTORY";
const CHILD_NAME: &str = "LAMPLIGHT_STORE_SHARED_NAME";
/// After so many claims the child holds what it has got and settles nothing any more.
const CHILD_HOLDS: &str = "LAMPLIGHT_STORE_SHARED_HOLDS";
const LEASE: Duration = Duration::from_secs(60);
/// Events that each child puts into the queue.
const EVENTS: usize = 300;
const QUEUE: &str = "queue";

fn say(line: &str) {
    std::io::stdout().write_all(format!("\n@{line}\n").as_bytes()).unwrap();
}

fn clock_file(directory: &Path) -> PathBuf {
    directory.join("time")
}

fn set_time(directory: &Path, milliseconds: i64) {
    let new = directory.join("time.new");
    std::fs::write(&new, milliseconds.to_string()).unwrap();
    std::fs::rename(new, clock_file(directory)).unwrap();
}

/// Not a test by itself: one of the processes, when the parent asks for it.
#[test]
fn child() {
    let Some(directory) = std::env::var_os(CHILD_DIRECTORY) else { return };
    let (directory, name) = (PathBuf::from(directory), std::env::var(CHILD_NAME).unwrap());
    let holds: usize = std::env::var(CHILD_HOLDS).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = open_shared(&Options::new(&directory)).unwrap();
        let putting = tokio::spawn({
            let store = store.clone();
            async move {
                for _ in 0..EVENTS {
                    let queued = event(QUEUE, 0);
                    let id = queued.request_id;
                    store.enqueue(queued).await.unwrap();
                    say(&format!("queued {id} 0"));
                }
            }
        });
        let mut changes = store.watch_events();
        let mut claims = 0;
        loop {
            changes.borrow_and_update();
            let now: i64 = std::fs::read_to_string(clock_file(&directory)).unwrap().parse().unwrap();
            let owner = format!("{name}/1");
            let claimed = store.claim(&owner, Timestamp(now), LEASE, 5).await.unwrap();
            for claimed in &claimed {
                say(&format!("began {} {}", claimed.event.request_id, claimed.claim));
            }
            claims += claimed.len();
            if claims > holds {
                say("holding all 0");
                return putting.await.unwrap();
            }
            for claimed in &claimed {
                let id = claimed.event.request_id;
                if store.release(id, claimed.claim, Release::Done).await.unwrap() {
                    say(&format!("settled {id} {}", claimed.claim));
                } else {
                    say(&format!("lost {id} {}", claimed.claim));
                }
            }
            if claimed.is_empty() && putting.is_finished() {
                // What the other process puts there, or the parent, comes this way or never.
                changes.changed().await.unwrap();
            }
        }
    });
}

/// A running child and its lines, each what, request id, claim.
struct Running {
    child: Child,
    lines: Receiver<(String, String, u64)>,
}

impl Running {
    fn start(directory: &Path, name: &str, holds: usize) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--nocapture"])
            .env(CHILD_DIRECTORY, directory)
            .env(CHILD_NAME, name)
            .env(CHILD_HOLDS, holds.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let Some((what, rest)) = line.strip_prefix('@').and_then(|line| line.split_once(' ')) else {
                    continue;
                };
                // A line that was cut off by the end of the process has no number.
                let Some((id, claim)) = rest.split_once(' ') else { continue };
                let Ok(claim) = claim.parse() else { continue };
                if sender.send((what.to_owned(), id.to_owned(), claim)).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// With SIGKILL.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What all children together said.
#[derive(Default)]
struct Said {
    queued: BTreeSet<String>,
    /// Numbers of the claims of each event.
    began: BTreeMap<String, Vec<u64>>,
    settled: BTreeMap<String, u64>,
    lost: usize,
}

impl Said {
    fn hear(&mut self, (what, id, claim): (String, String, u64)) {
        match what.as_str() {
            "queued" => assert!(self.queued.insert(id)),
            "began" => self.began.entry(id).or_default().push(claim),
            "settled" => assert_eq!(self.settled.insert(id.clone(), claim), None, "{id} was settled twice"),
            "lost" => self.lost += 1,
            other => panic!("{other}"),
        }
    }
}

/// Waits until the store satisfies `holds`, looked at whenever some process has changed it.
async fn until(store: &dyn Store, holds: impl AsyncFn() -> bool) {
    let mut changes = store.watch_events();
    while !holds().await {
        tokio::time::timeout(Duration::from_secs(30), changes.changed())
            .await
            .expect("waited in vain")
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_work_on_one_queue_and_one_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    set_time(path, 1_000);
    let mut said = Said::default();
    let mut victim = Running::start(path, "victim", rand::random_range(0..100));
    let survivor = Running::start(path, "survivor", usize::MAX);
    let store = open_shared(&Options::new(path)).unwrap();
    let counts = async || {
        let counts = store.event_counts(&scope(), &name(QUEUE)).await.unwrap();
        assert_eq!(counts.accepted, counts.done + counts.dead_lettered + counts.pending, "{counts:?}");
        counts
    };
    // Killed with events in its hands, while it still puts others into the queue.
    loop {
        let line = victim.lines.recv_timeout(Duration::from_secs(60)).expect("the victim says nothing");
        if line.0 == "holding" {
            break;
        }
        said.hear(line);
    }
    victim.kill();
    victim.lines.iter().for_each(|line| said.hear(line));
    let in_its_hands: Vec<(String, u64)> = said
        .began
        .iter()
        .filter(|(id, _)| !said.settled.contains_key(*id))
        .map(|(id, claims)| (id.clone(), claims[0]))
        .collect();
    assert!(!in_its_hands.is_empty());

    // The other one does all the rest, and touches nothing whose lease has not ended.
    let mut put = 0;
    while put < EVENTS {
        let line = survivor.lines.recv_timeout(Duration::from_secs(60)).expect("the survivor says nothing");
        put += usize::from(line.0 == "queued");
        said.hear(line);
    }
    until(&*store, async || counts().await.pending == in_its_hands.len() as u64).await;
    assert_eq!(store.next_due().await.unwrap(), Some(Timestamp(1_000).plus(LEASE)));
    set_time(path, 60_999);
    store.enqueue(event(QUEUE, 0)).await.unwrap();
    until(&*store, async || counts().await.pending == in_its_hands.len() as u64).await;

    set_time(path, 61_000);
    store.enqueue(event(QUEUE, 0)).await.unwrap();
    until(&*store, async || counts().await.pending == 0).await;
    let done = counts().await.done;
    while (said.settled.len() as u64) < done {
        said.hear(survivor.lines.recv_timeout(Duration::from_secs(60)).expect("the survivor says nothing"));
    }
    assert_eq!(said.lost, 0);
    for id in &said.queued {
        assert!(said.settled.contains_key(id), "event {id} is lost");
    }
    for (id, claims) in &said.began {
        let expected: &[u64] = if in_its_hands.iter().any(|(held, _)| held == id) { &[1, 2] } else { &[1] };
        assert_eq!(claims, expected, "event {id} ran so often");
    }
    for (id, claim) in in_its_hands {
        assert!(!store.release(RequestId(id.parse().unwrap()), claim, Release::Done).await.unwrap());
    }
    assert_eq!(counts().await.done, done);
}

#[tokio::test]
async fn what_one_process_writes_the_other_reads_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new(directory.path());
    let one = open_shared(&options).unwrap();
    let other = open_shared(&options).unwrap();
    let read = async || other.get_version(&scope(), &name("hello"), VersionNumber::Latest).await.unwrap();
    assert!(read().await.is_none());
    let mut version = function("hello");
    version.environment = Some([("KEY".to_owned(), "sealed by the one".to_owned())].into());
    one.put_version(version.clone(), Expect::Absent).await.unwrap();
    assert_eq!(read().await.unwrap().environment, version.environment);
    for memory_mib in 129..150 {
        version.memory_mib = memory_mib;
        one.put_version(version.clone(), Expect::Anything).await.unwrap();
        assert_eq!(read().await.unwrap().memory_mib, memory_mib);
    }
    one.delete_function(&scope(), &name("hello")).await.unwrap();
    assert!(read().await.is_none());
}

#[tokio::test]
async fn a_server_and_sharers_keep_each_other_out() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new(directory.path());
    let shared = open_shared(&options).unwrap();
    assert!(matches!(open(options.clone()), Err(StoreError::Locked(_))));
    shared.enqueue(event(QUEUE, 5)).await.unwrap();
    drop(shared);
    let server = open(options.clone()).unwrap();
    assert!(matches!(open_shared(&options), Err(StoreError::Locked(_))));
    assert_eq!(server.store.next_due().await.unwrap(), Some(Timestamp(5)));
}
