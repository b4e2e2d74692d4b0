//! What every source keeps, proven for the fake and for real queues.

use crate::fake::FakeSource;
use crate::source::{EventSource, Received, Wanted};
use crate::sqs::QueueSource;
use lamplight_model::{Scope, Timestamp};
use lamplight_services::queues::{Bounds, NewMessage, QueueAddress, Queues};
use lamplight_store::{Clock, DataDirectory};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const HOLD: Duration = Duration::from_secs(30);

/// A source with what a test does to it from outside.
trait Subject {
    fn source(&self) -> &dyn EventSource;
    async fn send(&self, body: &str, group: Option<&str>);
    /// Lets time pass until holds are over.
    async fn wait_for_holds(&self);
}

struct Fake(FakeSource);

impl Subject for Fake {
    fn source(&self) -> &dyn EventSource {
        &self.0
    }

    async fn send(&self, body: &str, group: Option<&str>) {
        self.0.send(body, group);
    }

    async fn wait_for_holds(&self) {
        tokio::time::advance(HOLD).await;
    }
}

struct Queue {
    queues: Queues,
    address: QueueAddress,
    source: QueueSource,
    now: Arc<AtomicI64>,
    _directory: tempfile::TempDir,
}

impl Queue {
    async fn new(ordered: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let now = Arc::new(AtomicI64::new(1_769_860_800_000));
        let clock: Clock = {
            let now = Arc::clone(&now);
            Arc::new(move || Timestamp(now.load(Ordering::SeqCst)))
        };
        let taken = DataDirectory::take(directory.path()).unwrap();
        let queues = Queues::open(&taken, Bounds::default(), clock).unwrap();
        let name = if ordered { "q.fifo" } else { "q" };
        let address = QueueAddress::new(&Scope::default(), name);
        let mut attributes = BTreeMap::from([("VisibilityTimeout".to_owned(), "30".to_owned())]);
        if ordered {
            attributes.insert("FifoQueue".to_owned(), "true".to_owned());
            attributes.insert("ContentBasedDeduplication".to_owned(), "true".to_owned());
        }
        queues.create(&address, attributes, BTreeMap::new()).await.unwrap();
        let source = QueueSource::new(queues.clone(), &address.arn()).unwrap();
        Self { queues, address, source, now, _directory: directory }
    }
}

impl Subject for Queue {
    fn source(&self) -> &dyn EventSource {
        &self.source
    }

    async fn send(&self, body: &str, group: Option<&str>) {
        let message = NewMessage {
            body: body.to_owned(),
            group_id: group.map(str::to_owned),
            sender: "s".to_owned(),
            ..NewMessage::default()
        };
        for sent in self.queues.send(&self.address, vec![message]).await.unwrap() {
            sent.unwrap();
        }
    }

    async fn wait_for_holds(&self) {
        self.now.fetch_add(i64::try_from(HOLD.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

/// Receives what there is.
async fn receive(subject: &impl Subject, most: usize) -> Received {
    let wanted = Wanted { most, wait: Duration::ZERO, longer: Duration::ZERO };
    subject.source().receive(wanted, &CancellationToken::new()).await.unwrap()
}

fn bodies(received: &Received) -> Vec<&str> {
    received.records.iter().map(|record| record.event["body"].as_str().unwrap()).collect()
}

fn receipts(received: &Received) -> Vec<String> {
    received.records.iter().map(|record| record.receipt.clone()).collect()
}

async fn check_holds(subject: impl Subject) {
    for body in ["a", "b", "c"] {
        subject.send(body, None).await;
    }
    let first = receive(&subject, 2).await;
    assert_eq!((bodies(&first), first.hold), (vec!["a", "b"], HOLD));
    let second = receive(&subject, 10).await;
    assert_eq!(bodies(&second), ["c"]);
    assert_eq!(bodies(&receive(&subject, 10).await), [""; 0]);

    let source = subject.source();
    source.done(&receipts(&first)[..1]).await.unwrap();
    source.done(&receipts(&first)[..1]).await.unwrap();
    source.give_back(&receipts(&second)).await.unwrap();
    let again = receive(&subject, 10).await;
    assert_eq!(bodies(&again), ["c"]);
    assert_ne!(receipts(&again), receipts(&second));

    subject.wait_for_holds().await;
    let again = receive(&subject, 10).await;
    let mut names = bodies(&again);
    names.sort_unstable();
    assert_eq!(names, ["b", "c"]);
    assert_eq!(source.hold(&receipts(&again)).await.unwrap(), HOLD);
    source.done(&receipts(&again)).await.unwrap();
    subject.wait_for_holds().await;
    assert_eq!(bodies(&receive(&subject, 10).await), [""; 0]);
}

async fn check_order(subject: impl Subject) {
    assert!(subject.source().is_ordered());
    for (body, group) in [("a1", "a"), ("a2", "a"), ("b1", "b")] {
        subject.send(body, Some(group)).await;
    }
    let first = receive(&subject, 1).await;
    assert_eq!((bodies(&first), first.records[0].group.as_deref()), (vec!["a1"], Some("a")));
    let other = receive(&subject, 10).await;
    assert_eq!(bodies(&other), ["b1"], "a group whose first one is held waits");
    subject.wait_for_holds().await;
    let again = receive(&subject, 1).await;
    assert_eq!(bodies(&again), ["a1"]);
    subject.source().done(&receipts(&again)).await.unwrap();
    assert!(bodies(&receive(&subject, 10).await).contains(&"a2"));
}

async fn check_waits(subject: impl Subject) {
    let stop = CancellationToken::new();
    let wanted = Wanted { most: 1, wait: Duration::from_secs(3_600), longer: Duration::ZERO };
    let source = subject.source();
    let (received, ()) = tokio::join!(source.receive(wanted, &stop), subject.send("a", None));
    assert_eq!(bodies(&received.unwrap()), ["a"]);
    let began = Instant::now();
    let (received, ()) = tokio::join!(source.receive(wanted, &stop), async { stop.cancel() });
    assert_eq!(received.unwrap().records, []);
    assert!(began.elapsed() < Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn the_fake_holds() {
    check_holds(Fake(FakeSource::new(HOLD, false))).await;
}

#[tokio::test(start_paused = true)]
async fn the_fake_keeps_order() {
    check_order(Fake(FakeSource::new(HOLD, true))).await;
}

#[tokio::test(start_paused = true)]
async fn the_fake_waits() {
    check_waits(Fake(FakeSource::new(HOLD, false))).await;
}

#[tokio::test]
async fn a_queue_holds() {
    check_holds(Queue::new(false).await).await;
}

#[tokio::test]
async fn a_queue_keeps_order() {
    check_order(Queue::new(true).await).await;
}

#[tokio::test]
async fn a_queue_waits() {
    check_waits(Queue::new(false).await).await;
}
