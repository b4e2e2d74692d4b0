//! The funnel on the real store: SQLite, real packages, restarts.

use super::*;
use crate::lifecycle::converge_functions;
use crate::workers::fake::FakeRun;
use lamplight_store::{EventCounts, Opened, Options, Release, open};
use std::collections::HashSet;
use std::io::Write as _;
use std::path::Path;
use std::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// A funnel on a data directory, with the clock of `now`.
struct Node {
    opened: Opened,
    invoker: Arc<Invoker>,
    now: Arc<AtomicI64>,
}

impl Node {
    fn start(directory: &Path, workers: Arc<FakeWorkers>, now: &Arc<AtomicI64>) -> Self {
        let clock = {
            let now = Arc::clone(now);
            Arc::new(move || Timestamp(now.load(Ordering::SeqCst)))
        };
        let mut options = Options::new(directory);
        options.clock = clock.clone();
        let opened = open(options).unwrap();
        let invoker = Invoker::new(
            InvokerConfig::default(),
            Arc::clone(&opened.store),
            workers,
            Arc::clone(&opened.ledger),
            clock,
        );
        Self { opened, invoker, now: Arc::clone(now) }
    }

    async fn counts(&self, function: &str) -> EventCounts {
        self.opened.store.event_counts(&Scope::default(), &name(function)).await.unwrap()
    }

    /// Waits until nothing is left to do at this moment of the clock.
    async fn until_nothing_is_due(&self) {
        self.invoker.wake_queue();
        loop {
            let next_due = self.opened.store.next_due().await.unwrap();
            if next_due.is_none_or(|due| due.0 > self.now.load(Ordering::SeqCst)) {
                break;
            }
            tokio::task::yield_now().await;
        }
        // In this order: what was due is now in the worker's hands, and what it settles is due later.
        self.invoker.queue.wait_until_idle().await;
    }

    /// Waits until the counts satisfy `holds`, looked at after every commit.
    async fn until(&self, function: &str, holds: impl Fn(EventCounts) -> bool) -> EventCounts {
        let mut changes = self.opened.store.watch_events();
        loop {
            let counts = self.counts(function).await;
            assert_eq!(counts.accepted, counts.done + counts.dead_lettered + counts.pending, "{counts:?}");
            if holds(counts) {
                return counts;
            }
            let changed = tokio::time::timeout(Duration::from_secs(30), changes.changed()).await;
            changed.unwrap_or_else(|_| panic!("stuck at {counts:?}")).unwrap();
        }
    }
}

fn clock() -> Arc<AtomicI64> {
    Arc::new(AtomicI64::new(START.0))
}

fn package() -> Bytes {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("app.py", zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(b"def handler(event, context):\n    return event\n").unwrap();
    zip.finish().unwrap().into_inner().into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_sees_every_update_that_was_acknowledged_before_it() {
    let directory = tempfile::tempdir().unwrap();
    let workers = FakeWorkers::echo();
    let node = Node::start(directory.path(), Arc::clone(&workers), &clock());
    node.opened.store.put_version(function("hello"), Expect::Absent).await.unwrap();
    node.invoker.start();
    // Others write at the same time, so that the caches are filled and emptied in every order.
    let stop = CancellationToken::new();
    let noise = {
        let (invoker, stop) = (Arc::clone(&node.invoker), stop.clone());
        tokio::spawn(async move {
            while !stop.is_cancelled() {
                invoker.enqueue(request("hello", None, "{}")).await.unwrap();
            }
        })
    };
    for memory_mib in 128..328 {
        let version = FunctionVersion { memory_mib, ..function("hello") };
        node.opened.store.put_version(version, Expect::Revision("r1".to_owned())).await.unwrap();
        let resolved = node.invoker.resolve(&Scope::default(), &name("hello"), None).await.unwrap();
        assert_eq!(resolved.memory_mib, memory_mib);
    }
    node.opened.store.delete_function(&Scope::default(), &name("hello")).await.unwrap();
    assert!(node.invoker.resolve(&Scope::default(), &name("hello"), None).await.is_err());
    stop.cancel();
    // The noise may have been refused because the function is gone; it ends either way.
    let _ = noise.await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_package_is_converged_invoked_and_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path(), FakeWorkers::echo(), &clock());
    let code = node.opened.code.put(package()).await.unwrap();
    let pending = Lifecycle { state: FunctionState::Pending, last_update_status: None, ..active() };
    let version = FunctionVersion { code, lifecycle: pending, ..function("hello") };
    node.opened.store.put_version(version, Expect::Absent).await.unwrap();
    let mut changes = node.opened.store.watch_events();
    changes.borrow_and_update();
    let stop = CancellationToken::new();
    let task = tokio::spawn(converge_functions(
        Arc::clone(&node.opened.store),
        Arc::clone(&node.opened.code),
        Arc::new(|_| None),
        stop.clone(),
    ));
    let call = loop {
        let call = request("hello", None, "{}");
        match node.invoker.invoke(call.clone()).await {
            Ok(running) => {
                running.answer.detach().finished.await.unwrap();
                break call;
            }
            Err(error) => assert!(error.message.ends_with("state: Pending"), "{error}"),
        }
        tokio::time::timeout(Duration::from_secs(30), changes.changed()).await.unwrap().unwrap();
    };
    assert!(node.opened.store.unfinished_functions().await.unwrap().is_empty());
    node.opened.ledger.flush().await.unwrap();
    let record = node.opened.ledger.find(&Scope::default(), call.request_id).await.unwrap().unwrap();
    assert_eq!(&*record.function, "hello");
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_accepted_event_is_accounted_for() {
    let directory = tempfile::tempdir().unwrap();
    let ran: Arc<Mutex<HashSet<RequestId>>> = Arc::default();
    // A third returns, a third always fails, the worker of a third goes away the first time.
    let workers = {
        let ran = Arc::clone(&ran);
        FakeWorkers::new(move |invocation| {
            let first = ran.lock().unwrap().insert(invocation.request_id);
            match invocation.request_id.0.as_u128() % 3 {
                0 => FakeRun::Return(Bytes::from_static(b"null")),
                1 => FakeRun::handler_error("no"),
                _ if first => FakeRun::Vanish,
                _ => FakeRun::Return(Bytes::from_static(b"null")),
            }
        })
    };
    let node = Node::start(directory.path(), workers, &clock());
    node.opened.store.put_version(function("hello"), Expect::Absent).await.unwrap();
    node.invoker.start();
    let mut accepted = Vec::new();
    for _ in 0..300 {
        let event = request("hello", None, "{}");
        node.invoker.enqueue(event.clone()).await.unwrap();
        accepted.push(event.request_id);
    }
    let failing = accepted.iter().filter(|id| id.0.as_u128() % 3 == 1).count() as u64;
    let refused = accepted.iter().filter(|id| id.0.as_u128() % 3 == 2).count() as u64;
    // Time stands still: what has to wait waits, everything else ends.
    node.until("hello", |counts| counts.done == 300 - failing - refused).await;
    node.until_nothing_is_due().await;
    assert_eq!(ran.lock().unwrap().len(), accepted.len());
    // One minute takes the refused to their end and the failing ones to their first retry, two more to the last.
    for minutes in [1, 2] {
        assert_eq!(node.counts("hello").await.dead_lettered, 0);
        node.now.fetch_add(minutes * 60_000, Ordering::SeqCst);
        node.until_nothing_is_due().await;
    }
    let counts = node.counts("hello").await;
    let expected = EventCounts { accepted: 300, done: 300 - failing, dead_lettered: failing, pending: 0 };
    assert_eq!(counts, expected);
    let dead = node.opened.store.dead_letters(&Scope::default(), &name("hello"), 1_000).await.unwrap();
    assert_eq!(dead.len() as u64, failing);
    assert!(dead.iter().all(|letter| letter.condition == "RetriesExhausted"));
    assert!(node.invoker.drain(Duration::from_secs(30)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_drain_leaves_is_finished_by_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let now = clock();
    let gate = Arc::new(tokio::sync::Semaphore::new(25));
    let workers = {
        let gate = Arc::clone(&gate);
        FakeWorkers::new(move |_| {
            let run = FakeRun::Return(Bytes::from_static(b"null"));
            FakeRun::After(Arc::clone(&gate), Box::new(run))
        })
    };
    let node = Node::start(directory.path(), workers, &now);
    node.opened.store.put_version(function("hello"), Expect::Absent).await.unwrap();
    for _ in 0..100 {
        node.invoker.enqueue(request("hello", None, "{}")).await.unwrap();
    }
    node.invoker.start();
    node.until("hello", |counts| counts.done == 25).await;
    node.invoker.drain(Duration::ZERO).await;
    assert_eq!(node.counts("hello").await.pending, 75);
    drop(node);
    // Runs that never ended hold the old funnel, and with it the directory, until they do.
    gate.add_permits(75);

    let next = loop {
        let mut options = Options::new(directory.path());
        options.clock = Arc::new(|| START);
        match open(options) {
            Ok(opened) => {
                drop(opened);
                break Node::start(directory.path(), FakeWorkers::echo(), &now);
            }
            Err(lamplight_store::StoreError::Locked(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    next.invoker.start();
    let counts = next.until("hello", |counts| counts.pending == 0).await;
    assert_eq!(counts, EventCounts { accepted: 100, done: 100, dead_lettered: 0, pending: 0 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_claim_fences_the_first_off() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path(), FakeWorkers::echo(), &clock());
    node.opened.store.put_version(function("hello"), Expect::Absent).await.unwrap();
    node.invoker.enqueue(request("hello", None, "{}")).await.unwrap();
    let lease = Duration::from_secs(20);
    let store = &node.opened.store;
    let first = store.claim("crashed", START, lease, 1).await.unwrap().remove(0);
    assert!(store.claim("other", START, lease, 1).await.unwrap().is_empty());
    node.now.store(START.plus(lease).0, Ordering::SeqCst);
    node.invoker.start();
    let request_id = first.event.request_id;
    node.until("hello", |counts| counts.done == 1).await;
    assert!(!store.release(request_id, first.claim, Release::Done).await.unwrap());
    assert_eq!(node.counts("hello").await.done, 1);
}
