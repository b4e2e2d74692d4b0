//! kill -9 and power loss: a message whose send was acknowledged is there, one whose deletion was is not, none is twice.
//!
//! A child (this program again) sends, receives and deletes, and says each message before and after it works on it. The
//! parent cuts it off and accounts for all messages. Power loss is made as the test of the object store makes it.
#![allow(clippy::unwrap_used)] // A helper that fails is a failed test.

#[path = "common/child.rs"]
mod child_program;
#[path = "../../store/tests/common/mount.rs"]
mod mount;

use child_program::{hear_lines, hear_rest, said, say, start_child};
use lamplight_model::{Scope, Timestamp};
use lamplight_services::queues::*;
use lamplight_store::{Clock, DataDirectory, system_clock};
use mount::{Mount, can_mount, make_image, stop_and_copy};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

const CHILD_DIRECTORY: &str = "LAMPLIGHT_QUEUES_CHILD_DIRECTORY";
const WORKERS: usize = 4;

fn long() -> bool {
    std::env::var_os("LAMPLIGHT_LONG").is_some()
}

fn address(worker: usize) -> QueueAddress {
    QueueAddress::new(
        &Scope::default(),
        if worker.is_multiple_of(2) { format!("q{worker}") } else { format!("q{worker}.fifo") },
    )
}

async fn open(directory: &Path, clock: Clock) -> Queues {
    let queues = Queues::open(&DataDirectory::take(directory).unwrap(), Bounds::default(), clock).unwrap();
    for worker in 0..WORKERS {
        let fifo = [
            ("FifoQueue".to_owned(), "true".to_owned()),
            ("ContentBasedDeduplication".to_owned(), "true".to_owned()),
        ];
        let attributes = if worker.is_multiple_of(2) { BTreeMap::new() } else { BTreeMap::from(fifo) };
        queues.create(&address(worker), attributes, BTreeMap::new()).await.unwrap();
    }
    queues
}

/// Not a test by itself: the load, when the parent asks for it.
#[test]
fn child() {
    let Some(directory) = std::env::var_os(CHILD_DIRECTORY) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let queues = open(Path::new(&directory), system_clock()).await;
        for worker in 0..WORKERS {
            tokio::spawn(work(queues.clone(), worker));
        }
        write_unsynced(Path::new(&directory)).await;
    });
}

async fn work(queues: Queues, worker: usize) {
    let queue = address(worker);
    for number in 0_usize.. {
        let body = format!("{worker}/{}/{number}", std::process::id());
        say(&format!("sending {body}"));
        let message = NewMessage {
            body: body.clone(),
            group_id: Some((number % 3).to_string()),
            ..NewMessage::default()
        };
        queues.send(&queue, vec![message]).await.unwrap().remove(0).unwrap();
        say(&format!("sent {body}"));
        if number.is_multiple_of(2) {
            continue;
        }
        for received in queues.receive(&queue, Receive::default()).await.unwrap() {
            say(&format!("deleting {}", received.body));
            queues.delete(&queue, vec![received.receipt_handle]).await.unwrap().remove(0).unwrap();
            say(&format!("deleted {}", received.body));
        }
    }
}

/// Rewrites a file without ever syncing it, and says how far it is.
async fn write_unsynced(directory: &Path) {
    let file = std::fs::File::create(directory.join("unsynced")).unwrap();
    for number in 1_000_000_u64.. {
        file.write_at(number.to_string().as_bytes(), 0).unwrap();
        say(&format!("unsynced {number}"));
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

/// What the child said.
#[derive(Default)]
struct Said {
    sending: BTreeSet<String>,
    sent: BTreeSet<String>,
    deleting: BTreeSet<String>,
    deleted: BTreeSet<String>,
    unsynced: u64,
}

impl Said {
    /// Whether the line acknowledges something.
    fn hear(&mut self, line: &str) -> bool {
        let Some((what, body)) = said(line).and_then(|line| line.split_once(' ')) else { return false };
        let set = match what {
            "sending" => &mut self.sending,
            "sent" => &mut self.sent,
            "deleting" => &mut self.deleting,
            "deleted" => &mut self.deleted,
            "unsynced" => {
                self.unsynced = body.parse().unwrap();
                return false;
            }
            _ => return false,
        };
        set.insert(body.to_owned());
        matches!(what, "sent" | "deleted")
    }
}

/// Takes everything out, an hour later, when all that was in flight is visible again.
async fn account(directory: &Path, said: &Said) {
    let system = system_clock();
    let queues = open(directory, Arc::new(move || Timestamp(system().as_millis() + 3_600_000))).await;
    let mut found = BTreeSet::new();
    for worker in 0..WORKERS {
        let queue = address(worker);
        let mut last: BTreeMap<Option<String>, usize> = BTreeMap::new();
        loop {
            let messages =
                queues.receive(&queue, Receive { messages: Some(10), ..Receive::default() }).await.unwrap();
            if messages.is_empty() {
                break;
            }
            for message in messages {
                let number = message.body.rsplit('/').next().unwrap().parse().unwrap();
                if message.sequence_number.is_some() {
                    let before = last.insert(message.group_id.clone(), number);
                    assert!(
                        before.is_none_or(|before| before < number),
                        "{} came after {before:?}",
                        message.body
                    );
                }
                queues.delete(&queue, vec![message.receipt_handle]).await.unwrap().remove(0).unwrap();
                assert!(found.insert(message.body.clone()), "{} is there twice", message.body);
            }
        }
        assert_eq!(queues.count(&queue).await.unwrap(), Counts::default());
    }
    for body in said.sent.difference(&said.deleting) {
        assert!(found.contains(body), "{body} was acknowledged and is lost");
    }
    for body in &found {
        assert!(said.sending.contains(body), "{body} was never sent");
        assert!(!said.deleted.contains(body), "{body} was deleted and is there again");
    }
}

#[tokio::test]
async fn kill_loses_no_message_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..if long() { 30 } else { 4 } {
        let mut said = Said::default();
        let (mut child, mut output) = start_child(CHILD_DIRECTORY, directory.path());
        hear_lines(&mut output, 20 + round * 37 % 150, |line| said.hear(line));
        child.kill().unwrap();
        hear_rest(&mut output, |line| said.hear(line));
        child.wait().unwrap();
        acknowledged += said.sent.len() + said.deleted.len();
        account(directory.path(), &said).await;
    }
    assert!(acknowledged > 100);
}

#[tokio::test]
async fn power_loss_loses_no_message_that_was_acknowledged() {
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
        account(&survived.path, &said).await;
    }
    assert!(dropped_unsynced > 0, "the copies hold what was never synced: this test proves nothing");
}
