//! The rules of queues, with a clock that only the test moves.
#![allow(clippy::unwrap_used)] // A helper that fails is a failed test.

use lamplight_model::{Scope, Timestamp};
use lamplight_services::queues::*;
use lamplight_store::{Clock, DataDirectory};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Noon of 2026-01-31.
const NOON: i64 = 1_769_860_800_000;

/// Queues in a directory of their own, and their clock.
struct Node {
    queues: Queues,
    now: Arc<AtomicI64>,
    _directory: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        Self::with(Bounds::default())
    }

    fn with(bounds: Bounds) -> Self {
        let now = Arc::new(AtomicI64::new(NOON));
        let clock: Clock = {
            let now = Arc::clone(&now);
            Arc::new(move || Timestamp(now.load(Ordering::Relaxed)))
        };
        let directory = tempfile::tempdir().unwrap();
        let queues = Queues::open(&DataDirectory::take(directory.path()).unwrap(), bounds, clock).unwrap();
        Self { queues, now, _directory: directory }
    }

    fn pass(&self, seconds: i64) {
        self.now.fetch_add(seconds * 1_000, Ordering::Relaxed);
    }

    async fn create(&self, name: &str, attributes: &[(&str, &str)]) -> QueueAddress {
        let address = QueueAddress::new(&Scope::default(), name);
        self.queues.create(&address, map(attributes), BTreeMap::new()).await.unwrap();
        address
    }

    async fn set(&self, queue: &QueueAddress, attributes: &[(&str, &str)]) {
        self.queues.set_attributes(queue, map(attributes)).await.unwrap();
    }

    async fn send(&self, queue: &QueueAddress, body: &str) -> Sent {
        self.send_message(queue, message(body)).await.unwrap()
    }

    async fn send_message(&self, queue: &QueueAddress, message: NewMessage) -> Result<Sent, QueueError> {
        self.queues.send(queue, vec![message]).await.unwrap().remove(0)
    }

    async fn receive(&self, queue: &QueueAddress, messages: i64) -> Vec<ReceivedMessage> {
        let receive = Receive { messages: Some(messages), ..Receive::default() };
        self.queues.receive(queue, receive).await.unwrap()
    }

    async fn bodies(&self, queue: &QueueAddress, messages: i64) -> Vec<String> {
        self.receive(queue, messages).await.into_iter().map(|message| message.body).collect()
    }

    async fn delete(&self, queue: &QueueAddress, message: &ReceivedMessage) -> Result<(), QueueError> {
        self.queues.delete(queue, vec![message.receipt_handle.clone()]).await.unwrap().remove(0)
    }

    async fn change(
        &self,
        queue: &QueueAddress,
        message: &ReceivedMessage,
        seconds: i64,
    ) -> Result<(), QueueError> {
        let changes = vec![(message.receipt_handle.clone(), seconds)];
        self.queues.change_visibility(queue, changes).await.unwrap().remove(0)
    }
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn message(body: &str) -> NewMessage {
    NewMessage { body: body.to_owned(), sender: "me".to_owned(), ..NewMessage::default() }
}

fn grouped(group: &str, body: &str) -> NewMessage {
    NewMessage { group_id: Some(group.to_owned()), ..message(body) }
}

const FIFO: [(&str, &str); 2] = [("FifoQueue", "true"), ("ContentBasedDeduplication", "true")];

fn redrive(target: &QueueAddress, most: u32) -> String {
    format!(r#"{{"deadLetterTargetArn":"{}","maxReceiveCount":{most}}}"#, target.arn())
}

#[tokio::test]
async fn a_message_not_deleted_comes_back_after_its_timeout() {
    let node = Node::new();
    let queue = node.create("q", &[]).await;
    node.send(&queue, "a").await;
    let first = node.receive(&queue, 10).await.remove(0);
    assert_eq!((first.receive_count, first.first_received), (1, Timestamp(NOON)));
    node.pass(29);
    assert!(node.receive(&queue, 10).await.is_empty());
    node.pass(1);
    let second = node.receive(&queue, 10).await.remove(0);
    assert_eq!((second.receive_count, second.first_received), (2, Timestamp(NOON)));
    assert_ne!(first.receipt_handle, second.receipt_handle);
    // The old handle is answered with success and deletes nothing.
    node.delete(&queue, &first).await.unwrap();
    assert_eq!(node.queues.count(&queue).await.unwrap().in_flight, 1);
    // The newest deletes, also after the timeout, and a second time.
    node.pass(60);
    node.delete(&queue, &second).await.unwrap();
    node.delete(&queue, &second).await.unwrap();
    assert_eq!(node.queues.count(&queue).await.unwrap(), Counts::default());
}

#[tokio::test]
async fn visibility_can_be_changed_within_twelve_hours() {
    let node = Node::new();
    let queue = node.create("q", &[("VisibilityTimeout", "100")]).await;
    node.send(&queue, "a").await;
    let received = node.receive(&queue, 1).await.remove(0);
    node.change(&queue, &received, 1_000).await.unwrap();
    node.pass(999);
    assert!(node.receive(&queue, 1).await.is_empty());
    assert!(
        node.change(&queue, &received, 43_200).await.unwrap_err().to_string().contains("beyond the limit")
    );
    assert!(node.change(&queue, &received, 43_201).await.is_err());
    assert!(node.change(&queue, &received, -1).await.is_err());
    node.change(&queue, &received, 0).await.unwrap();
    let again = node.receive(&queue, 1).await.remove(0);
    let refused = node.change(&queue, &received, 5).await.unwrap_err().to_string();
    assert!(refused.ends_with("Message does not exist or is not available for visibility timeout change."));
    node.delete(&queue, &again).await.unwrap();
    assert!(node.change(&queue, &again, 5).await.is_err());
    let other = node.create("other", &[]).await;
    assert!(matches!(node.delete(&other, &again).await, Err(QueueError::ReceiptHandleIsInvalid(_))));
}

#[tokio::test]
async fn delays_of_queue_and_message() {
    let node = Node::new();
    let queue = node.create("q", &[("DelaySeconds", "10")]).await;
    node.send(&queue, "queue").await;
    node.send_message(&queue, NewMessage { delay_seconds: Some(0), ..message("none") }).await.unwrap();
    node.send_message(&queue, NewMessage { delay_seconds: Some(900), ..message("own") }).await.unwrap();
    assert_eq!(node.queues.count(&queue).await.unwrap(), Counts { visible: 1, in_flight: 0, delayed: 2 });
    assert_eq!(node.bodies(&queue, 10).await, ["none"]);
    node.pass(10);
    assert_eq!(node.bodies(&queue, 10).await, ["queue"]);
    for bad in [-1, 901] {
        assert!(
            node.send_message(&queue, NewMessage { delay_seconds: Some(bad), ..message("x") }).await.is_err()
        );
    }
}

#[tokio::test]
async fn dead_letters_move_with_their_history() {
    let node = Node::new();
    let dead = node.create("dead", &[]).await;
    let queue = node.create("q", &[("RedrivePolicy", &redrive(&dead, 2))]).await;
    let sent = node.send(&queue, "a").await;
    for _ in 0..2 {
        assert_eq!(node.bodies(&queue, 1).await, ["a"]);
        node.pass(30);
    }
    assert!(node.receive(&queue, 1).await.is_empty());
    let letter = node.receive(&dead, 1).await.remove(0);
    assert_eq!((letter.message_id, letter.receive_count, letter.sent), (sent.message_id, 3, Timestamp(NOON)));
    assert_eq!(letter.dead_letter_source, Some(queue.arn()));
    assert_eq!(node.queues.dead_letter_sources(&dead, "", 10).await.unwrap(), ["q"]);
    // Without its dead letter queue a message stays rather than being lost.
    node.queues.delete_queue(&dead).await.unwrap();
    node.send(&queue, "b").await;
    for _ in 0..4 {
        assert_eq!(node.bodies(&queue, 1).await, ["b"]);
        node.pass(30);
    }
}

#[tokio::test]
async fn dead_letter_queues_are_checked() {
    let node = Node::new();
    let fifo = node.create("f.fifo", &FIFO).await;
    let closed = node.create("closed", &[("RedriveAllowPolicy", r#"{"redrivePermission":"denyAll"}"#)]).await;
    let absent = QueueAddress::new(&Scope::default(), "absent");
    let queue = node.create("q", &[]).await;
    for target in [&fifo, &closed, &absent] {
        let given = map(&[("RedrivePolicy", &redrive(target, 1))]);
        let refused = node.queues.set_attributes(&queue, given).await.unwrap_err();
        assert!(matches!(refused, QueueError::InvalidParameterValue(_)), "{refused}");
    }
}

#[tokio::test]
async fn messages_are_moved_back() {
    let node = Node::new();
    let dead = node.create("dead", &[]).await;
    let queue = node.create("q", &[("RedrivePolicy", &redrive(&dead, 1))]).await;
    for number in 0..3 {
        node.send(&queue, &number.to_string()).await;
    }
    assert_eq!(node.receive(&queue, 10).await.len(), 3);
    node.pass(30);
    assert!(node.receive(&queue, 10).await.is_empty());
    let handle = node.queues.start_move(&dead.arn(), None, Some(2)).await.unwrap();
    assert!(
        node.queues
            .start_move(&dead.arn(), None, None)
            .await
            .unwrap_err()
            .to_string()
            .contains("already a task")
    );
    assert_eq!(node.queues.step_moves().await.unwrap(), 1);
    let task = node.queues.list_moves(&dead.arn(), 1).await.unwrap().remove(0);
    assert_eq!((task.status, task.moved, task.to_move), (TaskStatus::Running, 2, 3));
    assert_eq!(node.queues.step_moves().await.unwrap(), 0);
    let task = node.queues.list_moves(&dead.arn(), 1).await.unwrap().remove(0);
    assert_eq!((task.status, task.moved, task.failure), (TaskStatus::Completed, 3, None));
    let back = node.receive(&queue, 10).await;
    assert_eq!(back.len(), 3);
    assert!(back.iter().all(|message| message.receive_count == 1 && message.dead_letter_source.is_none()));
    assert!(matches!(node.queues.cancel_move(&handle).await, Err(QueueError::UnsupportedOperation(_))));
    assert!(node.queues.cancel_move("nonsense").await.is_err());
    assert!(
        node.queues
            .start_move(&queue.arn(), None, None)
            .await
            .unwrap_err()
            .to_string()
            .contains("Dead Letter")
    );
    // What was sent to the dead letter queue itself came from nowhere.
    node.send(&dead, "direct").await;
    node.queues.start_move(&dead.arn(), None, None).await.unwrap();
    node.queues.step_moves().await.unwrap();
    let task = node.queues.list_moves(&dead.arn(), 10).await.unwrap().remove(0);
    assert_eq!(
        (task.status, task.failure.as_deref()),
        (TaskStatus::Failed, Some("CouldNotDetermineMessageSource"))
    );
    assert_eq!(node.queues.count(&dead).await.unwrap().visible, 1);
    // To a queue that is named it goes; cancelled before the first step, it stays.
    let cancelled = node.queues.start_move(&dead.arn(), Some(queue.arn()), None).await.unwrap();
    assert_eq!(node.queues.cancel_move(&cancelled).await.unwrap(), 0);
    assert_eq!(node.queues.step_moves().await.unwrap(), 0);
    node.queues.start_move(&dead.arn(), Some(queue.arn()), None).await.unwrap();
    node.queues.step_moves().await.unwrap();
    assert_eq!(node.bodies(&queue, 10).await, ["direct"]);
}

#[tokio::test]
async fn old_messages_and_those_of_deleted_queues_go() {
    let node = Node::new();
    let queue = node.create("q", &[("MessageRetentionPeriod", "60")]).await;
    let gone = node.create("gone", &[]).await;
    for number in 0..3 {
        node.send(&queue, &number.to_string()).await;
        node.send(&gone, &number.to_string()).await;
    }
    node.pass(59);
    node.send(&queue, "young").await;
    node.pass(1);
    assert_eq!(node.bodies(&queue, 10).await, ["young"]);
    node.queues.delete_queue(&gone).await.unwrap();
    assert!(matches!(node.queues.count(&gone).await, Err(QueueError::QueueDoesNotExist)));
    let again = node.queues.create(&gone, BTreeMap::new(), BTreeMap::new()).await;
    assert!(matches!(again, Err(QueueError::QueueDeletedRecently)));
    assert_eq!(node.queues.tidy().await.unwrap(), 3);
    node.pass(60);
    assert_eq!(node.queues.tidy().await.unwrap(), 1);
    node.queues.create(&gone, BTreeMap::new(), BTreeMap::new()).await.unwrap();
    assert!(node.receive(&gone, 10).await.is_empty());
}

#[tokio::test]
async fn purging_is_for_once_a_minute() {
    let node = Node::new();
    let queue = node.create("q", &[]).await;
    let other = node.create("other", &[]).await;
    for number in 0..20 {
        node.send(&queue, &number.to_string()).await;
    }
    node.send(&other, "stays").await;
    node.receive(&queue, 5).await;
    node.queues.purge(&queue).await.unwrap();
    assert_eq!(node.queues.count(&queue).await.unwrap(), Counts::default());
    assert_eq!(node.bodies(&other, 1).await, ["stays"]);
    node.pass(59);
    assert!(matches!(node.queues.purge(&queue).await, Err(QueueError::PurgeQueueInProgress(_))));
    node.pass(1);
    node.queues.purge(&queue).await.unwrap();
}

#[tokio::test]
async fn no_more_are_in_flight_than_the_bound() {
    let node = Node::with(Bounds { in_flight: 3, ..Bounds::default() });
    let queue = node.create("q", &[]).await;
    let fifo = node.create("q.fifo", &FIFO).await;
    for number in 0..5 {
        node.send(&queue, &number.to_string()).await;
        node.send_message(&fifo, grouped(&number.to_string(), &number.to_string())).await.unwrap();
    }
    assert_eq!(node.receive(&queue, 10).await.len(), 3);
    let refused = node.queues.receive(&queue, Receive::default()).await;
    assert!(matches!(refused, Err(QueueError::OverLimit(_))));
    assert_eq!(node.receive(&fifo, 10).await.len(), 3);
    assert!(node.receive(&fifo, 10).await.is_empty());
    node.pass(30);
    assert_eq!(node.receive(&queue, 2).await.len(), 2);
}

#[tokio::test]
async fn all_queues_together_have_a_bound() {
    let node = Node::with(Bounds { bytes_in_all: 1 << 20, ..Bounds::default() });
    let queue = node.create("q", &[]).await;
    let body = "x".repeat(300_000);
    let mut sent = 0;
    let refused = loop {
        match node.queues.send(&queue, vec![message(&body)]).await {
            Ok(_) => sent += 1,
            Err(refused) => break refused,
        }
        assert!(sent < 10);
    };
    assert!(matches!(refused, QueueError::OverLimit(_)) && sent >= 3);
    let received = node.receive(&queue, 1).await.remove(0);
    node.delete(&queue, &received).await.unwrap();
    node.send(&queue, "fits again").await;
}

// FIFO

#[tokio::test]
async fn a_group_waits_while_one_of_its_messages_is_in_flight() {
    let node = Node::new();
    let queue = node.create("q.fifo", &FIFO).await;
    for (group, body) in [("a", "a1"), ("b", "b1"), ("a", "a2"), ("a", "a3"), ("b", "b2")] {
        node.send_message(&queue, grouped(group, body)).await.unwrap();
    }
    // As many of one group as possible, then the next.
    let first = node.receive(&queue, 2).await;
    assert_eq!(first.iter().map(|message| message.body.as_str()).collect::<Vec<_>>(), ["a1", "a2"]);
    assert_eq!(node.bodies(&queue, 1).await, ["b1"]);
    assert!(node.receive(&queue, 10).await.is_empty());
    node.delete(&queue, &first[0]).await.unwrap();
    assert!(node.receive(&queue, 10).await.is_empty());
    // Made visible, a2 comes before a3 again.
    node.change(&queue, &first[1], 0).await.unwrap();
    assert_eq!(node.bodies(&queue, 10).await, ["a2", "a3"]);
    node.pass(30);
    assert_eq!(node.bodies(&queue, 10).await.len(), 4);
}

#[tokio::test]
async fn an_ended_timeout_makes_a_fifo_handle_useless() {
    let node = Node::new();
    let queue = node.create("q.fifo", &FIFO).await;
    node.send_message(&queue, grouped("a", "a1")).await.unwrap();
    let received = node.receive(&queue, 1).await.remove(0);
    node.pass(30);
    let refused = node.delete(&queue, &received).await.unwrap_err().to_string();
    assert!(refused.ends_with("Reason: The receipt handle has expired."), "{refused}");
    assert!(node.change(&queue, &received, 5).await.is_err());
    assert_eq!(node.bodies(&queue, 1).await, ["a1"]);
}

#[tokio::test]
async fn what_is_sent_again_within_five_minutes_is_the_same() {
    let node = Node::new();
    let queue = node.create("q.fifo", &FIFO).await;
    let first = node.send_message(&queue, grouped("a", "x")).await.unwrap();
    node.pass(299);
    assert_eq!(node.send_message(&queue, grouped("b", "x")).await.unwrap(), first);
    let named = NewMessage { deduplication_id: Some("id".to_owned()), ..grouped("a", "x") };
    let second = node.send_message(&queue, named).await.unwrap();
    assert!(second.sequence_number > first.sequence_number);
    node.pass(1);
    assert_ne!(node.send_message(&queue, grouped("a", "x")).await.unwrap(), first);
    // By group: another group's is another message.
    node.set(&queue, &[("DeduplicationScope", "messageGroup")]).await;
    let one = node.send_message(&queue, grouped("a", "y")).await.unwrap();
    assert_eq!(node.send_message(&queue, grouped("a", "y")).await.unwrap(), one);
    assert_ne!(node.send_message(&queue, grouped("b", "y")).await.unwrap(), one);
    // Neither hash nor id.
    node.set(&queue, &[("ContentBasedDeduplication", "false")]).await;
    let refused = node.send_message(&queue, grouped("a", "z")).await.unwrap_err();
    assert!(matches!(refused, QueueError::InvalidParameterValue(_)));
    let refused = node.send_message(&queue, message("z")).await.unwrap_err();
    assert!(matches!(refused, QueueError::MissingParameter("MessageGroupId")));
}

#[tokio::test]
async fn an_attempt_can_be_repeated() {
    let node = Node::new();
    let queue = node.create("q.fifo", &FIFO).await;
    for body in ["1", "2", "3"] {
        node.send_message(&queue, grouped("a", body)).await.unwrap();
    }
    let attempt =
        |id: &str| Receive { messages: Some(2), attempt_id: Some(id.to_owned()), ..Receive::default() };
    let first = node.queues.receive(&queue, attempt("x")).await.unwrap();
    node.pass(20);
    assert_eq!(node.queues.receive(&queue, attempt("x")).await.unwrap(), first);
    assert!(node.queues.receive(&queue, attempt("y")).await.unwrap().is_empty());
    // The repetition began the timeout anew.
    node.pass(29);
    assert!(node.receive(&queue, 1).await.is_empty());
    node.delete(&queue, &first[0]).await.unwrap();
    assert!(node.queues.receive(&queue, attempt("x")).await.unwrap().is_empty());
    node.pass(1);
    assert_eq!(node.bodies(&queue, 10).await, ["2", "3"]);
}

// Waiting

/// A clock that goes with the runtime's paused time.
fn paused_clock() -> Clock {
    let start = tokio::time::Instant::now();
    Arc::new(move || Timestamp(NOON + i64::try_from(start.elapsed().as_millis()).unwrap()))
}

#[tokio::test(start_paused = true)]
async fn a_receive_waits_until_a_message_is_visible() {
    let directory = tempfile::tempdir().unwrap();
    let taken = DataDirectory::take(directory.path()).unwrap();
    let queues = Queues::open(&taken, Bounds::default(), paused_clock()).unwrap();
    let queue = QueueAddress::new(&Scope::default(), "q");
    queues.create(&queue, BTreeMap::new(), BTreeMap::new()).await.unwrap();
    let wait = |seconds| Receive { wait: Some(seconds), ..Receive::default() };
    let began = tokio::time::Instant::now();
    assert!(queues.receive(&queue, wait(20)).await.unwrap().is_empty());
    assert!(began.elapsed() >= Duration::from_secs(20));
    queues.send(&queue, vec![NewMessage { delay_seconds: Some(7), ..message("late") }]).await.unwrap();
    let began = tokio::time::Instant::now();
    assert_eq!(queues.receive(&queue, wait(20)).await.unwrap()[0].body, "late");
    assert!(began.elapsed() >= Duration::from_secs(7) && began.elapsed() < Duration::from_secs(8));
    // The queue's own wait.
    queues.set_attributes(&queue, map(&[("ReceiveMessageWaitTimeSeconds", "5")])).await.unwrap();
    let began = tokio::time::Instant::now();
    assert!(queues.receive(&queue, Receive::default()).await.unwrap().is_empty());
    assert!(began.elapsed() >= Duration::from_secs(5) && began.elapsed() < Duration::from_secs(6));
    queues.stop_waiting();
    let began = tokio::time::Instant::now();
    assert!(queues.receive(&queue, wait(20)).await.unwrap().is_empty());
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_waiting_receive_is_woken() {
    let node = Node::new();
    let queue = node.create("q", &[]).await;
    let waiting = {
        let (queues, queue) = (node.queues.clone(), queue.clone());
        tokio::spawn(
            async move { queues.receive(&queue, Receive { wait: Some(20), ..Receive::default() }).await },
        )
    };
    node.send(&queue, "now").await;
    // The clock stands: only a wake-up can end the wait.
    let received = tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(received[0].body, "now");
    let waiting = {
        let (queues, queue) = (node.queues.clone(), queue.clone());
        tokio::spawn(
            async move { queues.receive(&queue, Receive { wait: Some(20), ..Receive::default() }).await },
        )
    };
    node.queues.delete_queue(&queue).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
    assert!(matches!(ended, Err(QueueError::QueueDoesNotExist)));
}

// Any order of anything

#[derive(Debug, Clone)]
enum Step {
    Send(u8),
    Receive(i64),
    /// Of what is in hand, one by its place.
    Delete(usize),
    Release(usize),
    Pass(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3_u8).prop_map(Step::Send),
        4 => (1..=10_i64).prop_map(Step::Receive),
        3 => (0..10_usize).prop_map(Step::Delete),
        1 => (0..10_usize).prop_map(Step::Release),
        2 => (1..40_i64).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 1..60)
}

/// Runs the steps, checks every receive, and at the end that what was sent and not deleted is there.
async fn check_steps(fifo: bool, steps: Vec<Step>) {
    let node = Node::new();
    let (name, attributes) = if fifo { ("q.fifo", &FIFO[..]) } else { ("q", &[][..]) };
    let queue = node.create(name, attributes).await;
    let mut alive: BTreeMap<u32, u8> = BTreeMap::new();
    let mut in_hand: Vec<(u32, ReceivedMessage, i64)> = Vec::new();
    let mut number = 0;
    for step in steps {
        let now = node.now.load(Ordering::Relaxed);
        match step {
            Step::Send(group) => {
                number += 1;
                let body = number.to_string();
                let new = if fifo { grouped(&group.to_string(), &body) } else { message(&body) };
                node.send_message(&queue, new).await.unwrap();
                alive.insert(number, group);
            }
            Step::Receive(most) => {
                let received = node.receive(&queue, most).await;
                assert!(received.len() <= usize::try_from(most).unwrap());
                let hidden: BTreeSet<u32> = in_hand
                    .iter()
                    .filter(|(_, _, until)| *until > now)
                    .map(|(number, _, _)| *number)
                    .collect();
                let mut taken = BTreeSet::new();
                for message in received {
                    let number: u32 = message.body.parse().unwrap();
                    assert!(alive.contains_key(&number), "{number} was deleted, or never sent");
                    assert!(!hidden.contains(&number) && taken.insert(number), "{number} was given twice");
                    if fifo {
                        let group = alive[&number];
                        let before = alive.iter().filter(|(other, of)| **other < number && **of == group);
                        for (other, _) in before {
                            assert!(taken.contains(other), "{number} was given before {other}");
                        }
                        assert!(
                            !hidden.iter().any(|other| alive.get(other) == Some(&group)),
                            "the group should wait"
                        );
                    }
                    in_hand.retain(|(other, _, _)| *other != number);
                    in_hand.push((number, message, now + 30_000));
                }
            }
            Step::Delete(place) if place < in_hand.len() => {
                let (number, message, until) = in_hand.swap_remove(place);
                let deleted = node.delete(&queue, &message).await;
                assert_eq!(deleted.is_ok(), !fifo || until > now);
                if deleted.is_ok() {
                    alive.remove(&number);
                }
            }
            Step::Release(place) if place < in_hand.len() => {
                let (_, message, _) = in_hand.swap_remove(place);
                let _ = node.change(&queue, &message, 0).await;
            }
            Step::Delete(_) | Step::Release(_) => {}
            Step::Pass(seconds) => node.pass(seconds),
        }
    }
    node.pass(30);
    let mut left = Vec::new();
    loop {
        let received = node.receive(&queue, 10).await;
        if received.is_empty() {
            break;
        }
        for message in received {
            left.push(message.body.parse::<u32>().unwrap());
            node.delete(&queue, &message).await.unwrap();
        }
    }
    left.sort_unstable();
    assert_eq!(left, alive.into_keys().collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if std::env::var_os("LAMPLIGHT_LONG").is_some() { 300 } else { 24 }, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_and_nothing_is_given_twice(steps in steps()) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(check_steps(false, steps));
    }

    #[test]
    fn groups_keep_their_order(steps in steps()) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(check_steps(true, steps));
    }
}
