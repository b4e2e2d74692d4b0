//! Where requests are, and events that are sent again: over the real store and real queues.

use super::*;
use crate::asynchronous::redrive::{QueueRedriven, Redriven};
use crate::whereabouts::Place;
use crate::workers::fake::FakeRun;
use lamplight_model::RunStage;
use lamplight_services::queues::{Bounds, NewMessage, QueueAddress, Queues, Receive};
use lamplight_store::{Opened, Options, Redrive, StepKind, open};
use std::sync::atomic::AtomicBool;
use tokio::sync::Semaphore;

/// A node whose function `import` fails as long as `broken` says so, waits for `gate` when its event says so, and has the
/// queue `failures` as its dead letter queue.
struct Node {
    now: Arc<AtomicI64>,
    /// So many milliseconds pass with each look at the clock.
    pace: Arc<AtomicI64>,
    broken: Arc<AtomicBool>,
    gate: Arc<Semaphore>,
    opened: Opened,
    queues: Queues,
    failures: QueueAddress,
    invoker: Arc<Invoker>,
    workers: Arc<FakeWorkers>,
    _directory: tempfile::TempDir,
}

impl Node {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (now, pace) = (Arc::new(AtomicI64::new(START.0)), Arc::new(AtomicI64::new(0)));
        let clock: crate::Clock = {
            let (now, pace) = (Arc::clone(&now), Arc::clone(&pace));
            Arc::new(move || Timestamp(now.fetch_add(pace.load(Ordering::SeqCst), Ordering::SeqCst)))
        };
        let mut options = Options::new(directory.path());
        options.clock = Arc::clone(&clock);
        let opened = open(options).unwrap();
        let queues = Queues::open(&opened.directory, Bounds::default(), Arc::clone(&clock)).unwrap();
        let failures = QueueAddress::new(&Scope::default(), "failures");
        queues.create(&failures, Default::default(), Default::default()).await.unwrap();
        let (broken, gate) = (Arc::new(AtomicBool::new(true)), Arc::new(Semaphore::new(0)));
        let workers = {
            let (broken, gate) = (Arc::clone(&broken), Arc::clone(&gate));
            FakeWorkers::new(move |invocation| {
                let run = if broken.load(Ordering::SeqCst) {
                    FakeRun::handler_error("no")
                } else {
                    FakeRun::Return(invocation.payload.clone())
                };
                if invocation.payload.starts_with(b"\"wait") {
                    FakeRun::After(Arc::clone(&gate), Box::new(run))
                } else {
                    run
                }
            })
        };
        let invoker = Invoker::new(
            InvokerConfig::default(),
            Arc::clone(&opened.store),
            Arc::clone(&workers) as Arc<dyn Workers>,
            Arc::clone(&opened.ledger),
            clock,
        );
        invoker.send_letters_to(queues.clone());
        let mut import = function("import");
        import.dead_letter_target_arn = Some(failures.arn());
        opened.store.put_version(import, Expect::Absent).await.unwrap();
        invoker.start();
        Self { now, pace, broken, gate, opened, queues, failures, invoker, workers, _directory: directory }
    }

    fn advance(&self, seconds: u64) {
        self.now.fetch_add(i64::try_from(seconds * 1_000).unwrap(), Ordering::SeqCst);
        self.invoker.wake_queue();
    }

    /// Sends an event to `import`.
    async fn send(&self, payload: &'static str) -> RequestId {
        let event = request("import", None, payload);
        let request_id = event.request_id;
        self.invoker.enqueue(event).await.unwrap();
        request_id
    }

    /// Waits until the counts are these: accepted, done, dead-lettered, pending.
    async fn until(&self, expected: (u64, u64, u64, u64)) {
        let mut changes = self.opened.store.watch_events();
        loop {
            let counts = self.opened.store.event_counts(&Scope::default(), &name("import")).await.unwrap();
            assert_eq!(counts.accepted, counts.done + counts.dead_lettered + counts.pending);
            if (counts.accepted, counts.done, counts.dead_lettered, counts.pending) == expected {
                return;
            }
            tokio::time::timeout(Duration::from_secs(20), changes.changed())
                .await
                .unwrap_or_else(|_| panic!("{counts:?} never became {expected:?}"))
                .unwrap();
        }
    }

    /// Sends an event and lets it use its attempts up.
    async fn give_up(&self, payload: &'static str, dead_before: u64) -> RequestId {
        let request_id = self.send(payload).await;
        let mut changes = self.opened.store.watch_events();
        for seconds in [60, 120] {
            let attempts = if seconds == 60 { 1 } else { 2 };
            loop {
                let story = self.opened.store.event_story(&Scope::default(), request_id).await.unwrap();
                if story.record.is_some_and(|record| record.attempts == attempts) {
                    break;
                }
                tokio::time::timeout(Duration::from_secs(20), changes.changed()).await.unwrap().unwrap();
            }
            self.advance(seconds);
        }
        self.until((dead_before + 1, 0, dead_before + 1, 0)).await;
        request_id
    }

    async fn messages(&self) -> u64 {
        let counts = self.queues.count(&self.failures).await.unwrap();
        counts.visible + counts.in_flight
    }

    async fn redrive_queue(&self, dry_run: bool) -> QueueRedriven {
        self.invoker.redrive_queue(&self.failures, None, 100, dry_run).await.unwrap()
    }

    async fn place(&self, request_id: RequestId) -> Option<Place> {
        let found = self.invoker.whereabouts(&Scope::default(), request_id).await.unwrap();
        found.map(|found| found.place())
    }

    async fn put(&self, body: &str) {
        let message = NewMessage { body: body.to_owned(), sender: "me".to_owned(), ..NewMessage::default() };
        self.queues.send(&self.failures, vec![message]).await.unwrap().remove(0).unwrap();
    }
}

fn sent(row: &Redriven) -> (Option<RequestId>, Result<&str, &str>) {
    (row.request_id, row.result.as_ref().map(FunctionName::as_str).map_err(String::as_str))
}

#[tokio::test]
async fn an_event_that_was_given_up_is_sent_again_and_its_story_tells_it() {
    let node = Node::start().await;
    let request_id = node.give_up("[1]", 0).await;
    let found = node.invoker.whereabouts(&Scope::default(), request_id).await.unwrap().unwrap();
    assert_eq!((found.place(), found.runs.len(), found.is_event()), (Place::DeadLettered, 3, true));
    assert!(found.runs.iter().all(|run| run.event_accepted_at == Some(START)));
    let kinds: Vec<_> = found.story.steps.iter().map(|step| step.kind).collect();
    assert_eq!(kinds, [StepKind::Failed, StepKind::Failed, StepKind::DeadLettered]);
    let told = &found.story.steps[2].told[0];
    assert_eq!(
        (told.arn.clone(), told.role.as_str(), &told.failure),
        (node.failures.arn(), "DeadLetterQueue", &None)
    );
    assert_eq!(node.messages().await, 1);

    node.broken.store(false, Ordering::SeqCst);
    let ids = vec![request_id, RequestId(uuid::Uuid::nil())];
    let looked = node.invoker.redrive(&Scope::default(), ids.clone(), true).await.unwrap();
    assert_eq!(sent(&looked[0]), (Some(request_id), Ok("import")));
    assert_eq!(sent(&looked[1]).1, Err("there is no dead letter of this id"));
    assert_eq!(node.place(request_id).await, Some(Place::DeadLettered), "it was only looked at");
    let rows = node.invoker.redrive(&Scope::default(), ids, false).await.unwrap();
    assert_eq!(rows, looked);
    node.until((1, 1, 0, 0)).await;
    let found = node.invoker.whereabouts(&Scope::default(), request_id).await.unwrap().unwrap();
    assert_eq!((found.place(), found.runs.len()), (Place::Done, 4));
    let begun = node.workers.begun();
    assert_eq!((begun[3].request_id, begun[3].payload.as_ref()), (request_id, b"[1]".as_slice()));
    // Its message is left over: sending it again would run the event twice.
    let left = node.redrive_queue(false).await;
    assert_eq!((sent(&left.rows[0]), node.messages().await), ((Some(request_id), Ok("import")), 0));
    assert_eq!(node.workers.begun().len(), 4);
}

#[tokio::test]
async fn a_letter_in_a_queue_comes_back_and_its_message_goes() {
    let node = Node::start().await;
    let request_id = node.give_up("{\"n\": 1.0}", 0).await;
    node.broken.store(false, Ordering::SeqCst);
    let looked = node.redrive_queue(true).await;
    assert_eq!(sent(&looked.rows[0]), (Some(request_id), Ok("import")));
    assert_eq!((node.messages().await, node.place(request_id).await), (1, Some(Place::DeadLettered)));
    let rows = node.redrive_queue(false).await.rows;
    assert_eq!(rows.iter().map(sent).collect::<Vec<_>>(), [(Some(request_id), Ok("import"))]);
    node.until((1, 1, 0, 0)).await;
    assert_eq!(node.messages().await, 0);
    assert_eq!(node.workers.begun()[3].payload.as_ref(), b"{\"n\": 1.0}");
    assert_eq!(node.redrive_queue(false).await, QueueRedriven::default());
}

#[tokio::test]
async fn a_letter_whose_message_outlived_a_crash_is_not_sent_twice() {
    let node = Node::start().await;
    node.gate.add_permits(3);
    let request_id = node.give_up("\"wait\"", 0).await;
    node.broken.store(false, Ordering::SeqCst);
    // What a redrive does before it deletes the message; then the crash.
    let outcome = node.opened.store.redrive(&Scope::default(), vec![request_id]).await.unwrap();
    assert_eq!(outcome, [Redrive::Sent(name("import"))]);
    let rows = node.redrive_queue(false).await.rows;
    assert_eq!(rows.iter().map(sent).collect::<Vec<_>>(), [(Some(request_id), Ok("import"))]);
    assert_eq!(node.messages().await, 0);
    node.gate.add_permits(1);
    node.until((1, 1, 0, 0)).await;
}

#[tokio::test]
async fn what_is_no_letter_stays_in_the_queue_and_is_named() {
    let node = Node::start().await;
    node.put("hello").await;
    node.put(r#"{"requestContext":{"requestId":"7f0b3a53-0000-4000-8000-000000000001","functionArn":"arn:aws:lambda:us-east-1:000000000000:function:gone","condition":"RetriesExhausted"},"requestPayload":1}"#).await;
    node.put(r#"{"requestContext":{"requestId":"7f0b3a53-0000-4000-8000-000000000002","functionArn":"arn:aws:lambda:us-east-1:000000000000:function:import","condition":"RetriesExhausted"}}"#).await;
    let found = node.redrive_queue(false).await;
    let why: Vec<_> = found.rows.iter().map(|row| row.result.clone().unwrap_err()).collect();
    assert_eq!(
        why,
        [
            "it is neither a dead letter nor the record of a failure",
            "Function not found: arn:aws:lambda:us-east-1:000000000000:function:gone",
            "its record is without the event, and the event is not kept here any more",
        ]
    );
    assert!(found.rows.iter().all(|row| row.message_id.is_some()) && !found.more);
    // They are anybody's again at once.
    let ten = Receive { messages: Some(10), ..Receive::default() };
    assert_eq!(node.queues.receive(&node.failures, ten).await.unwrap().len(), 3);
    node.until((0, 0, 0, 0)).await;
}

/// A redrive that takes longer than it holds messages looks at each of them once all the same.
#[tokio::test]
async fn what_stays_is_looked_at_once_however_long_it_takes() {
    let node = Node::start().await;
    for number in 0..25 {
        node.put(&format!("hello {number}")).await;
    }
    node.pace.store(5_000, Ordering::SeqCst);
    let found = node.redrive_queue(false).await;
    node.pace.store(0, Ordering::SeqCst);
    let ids: std::collections::HashSet<_> = found.rows.iter().map(|row| row.message_id.clone()).collect();
    assert!(found.more && ids.len() == found.rows.len() && (10..25).contains(&ids.len()), "{}", ids.len());
    node.advance(60);
    assert_eq!(node.redrive_queue(false).await.rows.len(), 25);
}

#[tokio::test]
async fn a_record_of_an_event_nobody_knows_here_is_accepted_under_its_id() {
    let node = Node::start().await;
    node.broken.store(false, Ordering::SeqCst);
    let id = "7f0b3a53-0000-4000-8000-000000000003";
    node.put(&format!(r#"{{"requestContext":{{"requestId":"{id}","functionArn":"arn:aws:lambda:us-east-1:000000000000:function:import:$LATEST","condition":"EventAgeExceeded"}},"requestPayload":{{"n":1.0}}}}"#)).await;
    let rows = node.redrive_queue(false).await.rows;
    let request_id = RequestId(id.parse().unwrap());
    assert_eq!(rows.iter().map(sent).collect::<Vec<_>>(), [(Some(request_id), Ok("import"))]);
    node.until((1, 1, 0, 0)).await;
    assert_eq!((node.place(request_id).await, node.messages().await), (Some(Place::Done), 0));
    assert_eq!(node.workers.begun()[0].payload.as_ref(), b"{\"n\":1.0}");
}

fn record(id: &str, function: &str) -> String {
    format!(
        r#"{{"requestContext":{{"requestId":"{id}","functionArn":"arn:aws:lambda:{function}","condition":"EventAgeExceeded"}},"requestPayload":1}}"#
    )
}

/// The second message stands for one whose redrive died before it was deleted.
#[tokio::test]
async fn a_record_that_outlived_a_crash_is_not_sent_twice() {
    let node = Node::start().await;
    node.broken.store(false, Ordering::SeqCst);
    let record =
        record("7f0b3a53-0000-4000-8000-000000000005", "us-east-1:000000000000:function:import:$LATEST");
    node.put(&record).await;
    node.put(&record).await;
    let one = node.invoker.redrive_queue(&node.failures, None, 1, false).await.unwrap();
    assert_eq!((sent(&one.rows[0]).1, node.messages().await), (Ok("import"), 1));
    node.until((1, 1, 0, 0)).await;
    let rows = node.redrive_queue(false).await.rows;
    assert_eq!(rows.iter().map(|row| sent(row).1).collect::<Vec<_>>(), [Ok("import")]);
    assert_eq!((node.messages().await, node.workers.begun().len()), (0, 1));
}

#[tokio::test]
async fn a_request_that_only_the_ledger_remembers_as_done_is_not_run_again() {
    let node = Node::start().await;
    node.broken.store(false, Ordering::SeqCst);
    let call = request("import", None, "1");
    let id = call.request_id.to_string();
    node.invoker.invoke(call).await.unwrap().answer.detach().finished.await.unwrap();
    node.opened.ledger.flush().await.unwrap();
    node.put(&record(&id, "us-east-1:000000000000:function:import:$LATEST")).await;
    for dry_run in [true, false] {
        let rows = node.redrive_queue(dry_run).await.rows;
        assert_eq!(sent(&rows[0]).1, Err("its event is done"));
    }
    assert_eq!((node.messages().await, node.workers.begun().len()), (1, 1));
}

/// Whoever may send to a queue may write any record: it says nothing for functions that have nothing to do with the queue.
#[tokio::test]
async fn a_record_is_sent_only_to_a_function_whose_failures_go_to_its_queue() {
    let node = Node::start().await;
    node.broken.store(false, Ordering::SeqCst);
    node.opened.store.put_version(function("other"), Expect::Absent).await.unwrap();
    node.put(&record("7f0b3a53-0000-4000-8000-000000000006", "us-east-1:000000000000:function:other")).await;
    node.put(&record("7f0b3a53-0000-4000-8000-000000000007", "eu-west-1:000000000000:function:import")).await;
    let takers = async || {
        let rows = node.redrive_queue(true).await.rows;
        rows.into_iter().map(|row| row.result.ok()).collect::<Vec<_>>()
    };
    let elsewhere = Err("its record names a function of another account or region".to_owned());
    let why = "failures of function other do not go to this queue; name the function with Function";
    let rows = node.redrive_queue(false).await.rows;
    assert_eq!((sent(&rows[0]).1, &rows[1].result), (Err(why), &elsewhere));
    assert!(takers().await.iter().all(Option::is_none));
    assert_eq!((node.messages().await, node.workers.begun().len()), (2, 0));
    let (scope, other) = (Scope::default(), name("other"));
    let named = node.invoker.redrive_queue(&node.failures, Some(&other), 100, true).await.unwrap().rows;
    assert_eq!((sent(&named[0]).1, &named[1].result), (Ok("other"), &elsewhere));
    let options = crate::EventInvokeOptions { on_failure: Some(node.failures.arn()), ..Default::default() };
    let owner =
        lamplight_store::function_documents::Owner { scope: &scope, function: &other, qualifier: None };
    let kind = crate::asynchronous::options::KIND;
    lamplight_store::function_documents::put(&*node.opened.store, kind, owner, &options, Expect::Anything)
        .await
        .unwrap();
    assert_eq!(takers().await[0], Some(other));
}

#[tokio::test]
async fn a_dead_letter_nobody_knows_goes_to_the_function_whose_queue_it_is_in() {
    let node = Node::start().await;
    node.broken.store(false, Ordering::SeqCst);
    let id = "7f0b3a53-0000-4000-8000-000000000004";
    let attribute = lamplight_services::queues::MessageAttribute {
        data_type: "String".to_owned(),
        value: lamplight_services::queues::AttributeValue::Text(id.to_owned()),
    };
    let message = NewMessage {
        body: "[7]".to_owned(),
        sender: "me".to_owned(),
        attributes: [("RequestID".to_owned(), attribute)].into(),
        ..NewMessage::default()
    };
    let mut second = function("second");
    second.dead_letter_target_arn = Some(node.failures.arn());
    node.opened.store.put_version(second, Expect::Absent).await.unwrap();
    node.queues.send(&node.failures, vec![message]).await.unwrap().remove(0).unwrap();
    let why = node.redrive_queue(false).await.rows.remove(0).result.unwrap_err();
    assert_eq!(why, "it may be of several functions; name one with Function");
    let import = name("import");
    let rows = node.invoker.redrive_queue(&node.failures, Some(&import), 100, false).await.unwrap().rows;
    assert_eq!(sent(&rows[0]), (Some(RequestId(id.parse().unwrap())), Ok("import")));
    node.until((1, 1, 0, 0)).await;
}

#[tokio::test]
async fn where_a_call_is_while_it_runs_and_after() {
    let node = Node::start().await;
    node.broken.store(false, Ordering::SeqCst);
    let call = request("import", None, "\"wait\"");
    let request_id = call.request_id;
    assert_eq!(node.place(request_id).await, None);
    let running = node.invoker.invoke(call).await.unwrap();
    let found = node.invoker.whereabouts(&Scope::default(), request_id).await.unwrap().unwrap();
    assert_eq!((found.place(), found.is_event()), (Place::Running, false));
    let seen = found.running.unwrap();
    assert_eq!((seen.function.as_str(), seen.since), ("import", START));
    // The stages are told by whoever runs it; this one is in the instance from the beginning.
    let place = node.workers.begun().remove(0).place;
    let RunStage::Running(instance) = seen.stage else { panic!("{:?}", seen.stage) };
    assert_eq!((&*instance.id, instance.since), ("fake", START));
    for stage in [RunStage::Queued, RunStage::Starting(instance)] {
        place.tell(stage.clone());
        assert_eq!(node.invoker.running_call(&Scope::default(), request_id).unwrap().stage, stage);
    }
    node.gate.add_permits(1);
    let answer = running.answer.detach();
    answer.finished.await.unwrap();
    let found = node.invoker.whereabouts(&Scope::default(), request_id).await.unwrap().unwrap();
    assert_eq!((found.place(), found.is_event(), found.runs.len()), (Place::Done, false, 1));
}

/// The words for where a claimed event is, before, in and after the life of whoever claimed it.
#[tokio::test]
async fn where_a_claimed_event_is() {
    let node = Node::start().await;
    node.broken.store(false, Ordering::SeqCst);
    let word = async |request_id| {
        let found = node.invoker.whereabouts(&Scope::default(), request_id).await.unwrap().unwrap();
        let record = found.story.record.as_ref().unwrap();
        node.invoker.progress(record, found.running.as_ref(), &found.runs).map(|progress| progress.word())
    };
    let here = node.send("\"wait\"").await;
    node.workers.wait_until_begun(1).await;
    assert_eq!((node.place(here).await, word(here).await), (Some(Place::Running), Some("running")));
    // The same event as another process sees it on this store: it knows the claim, and not the instance.
    let found = node.invoker.whereabouts(&Scope::default(), here).await.unwrap().unwrap();
    let clock: crate::Clock = {
        let now = Arc::clone(&node.now);
        Arc::new(move || Timestamp(now.load(Ordering::SeqCst)))
    };
    let ledger = Arc::clone(&node.opened.ledger);
    let workers = FakeWorkers::echo() as Arc<dyn Workers>;
    let other =
        Invoker::new(InvokerConfig::default(), Arc::clone(&node.opened.store), workers, ledger, clock);
    let record = found.story.record.unwrap();
    let seen = async || other.progress(&record, None, &[]).map(|progress| progress.word());
    assert_eq!(seen().await, Some("elsewhere"));
    node.now.fetch_add(20_000, Ordering::SeqCst);
    assert_eq!(seen().await, Some("abandoned"), "its lease of 20 seconds is over");
    node.gate.add_permits(1);
    node.until((1, 1, 0, 0)).await;
    assert_eq!((node.place(here).await, word(here).await), (Some(Place::Done), None));
}

#[tokio::test]
async fn letters_of_a_function_that_is_gone_are_refused_and_kept() {
    let node = Node::start().await;
    let request_id = node.give_up("[1]", 0).await;
    assert!(node.opened.store.delete_function(&Scope::default(), &name("import")).await.unwrap());
    let rows = node.invoker.redrive(&Scope::default(), vec![request_id], false).await.unwrap();
    let expected = "Function not found: arn:aws:lambda:us-east-1:000000000000:function:import";
    assert_eq!(sent(&rows[0]).1, Err(expected));
    assert_eq!(node.redrive_queue(false).await.rows[0].result, Err(expected.to_owned()));
    assert_eq!((node.place(request_id).await, node.messages().await), (Some(Place::DeadLettered), 1));
}
