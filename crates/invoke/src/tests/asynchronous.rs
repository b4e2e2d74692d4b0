use super::*;
use crate::workers::fake::FakeRun;
use lamplight_model::{ErrorCode, OutcomeStatus, ServiceError};
use lamplight_store::{EventCounts, Release};
use tokio::sync::Semaphore;

const MINUTE: Duration = Duration::from_secs(60);

fn counts(accepted: u64, done: u64, dead_lettered: u64, pending: u64) -> EventCounts {
    EventCounts { accepted, done, dead_lettered, pending }
}

/// A funnel with one active function `hello`, one event of it in the queue, and the worker started.
async fn with_one_event(workers: Arc<FakeWorkers>) -> (Funnel, RequestId) {
    let funnel = Funnel::new(workers);
    funnel.create(function("hello")).await;
    let event = request("hello", None, r#"{"n":1}"#);
    let request_id = event.request_id;
    funnel.invoker.enqueue(event).await.unwrap();
    funnel.invoker.start();
    (funnel, request_id)
}

/// Lets every task do what it can: they share one thread and wait for nothing outside of it.
async fn let_everything_run() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_accepted_event_is_run_once_with_its_own_request_id() {
    let (funnel, request_id) = with_one_event(FakeWorkers::echo()).await;
    funnel.until(|store| store.counts() == counts(1, 1, 0, 0)).await;
    let begun = funnel.workers.begun();
    assert_eq!(begun.len(), 1);
    assert_eq!(begun[0].request_id, request_id);
    assert_eq!(begun[0].payload, r#"{"n":1}"#);
    assert_eq!(begun[0].invoked_arn, "arn:aws:lambda:us-east-1:000000000000:function:hello");
    assert_eq!(funnel.ledger.0.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn an_event_accepted_while_the_worker_sleeps_wakes_it() {
    let funnel = Funnel::new(FakeWorkers::echo());
    funnel.create(function("hello")).await;
    funnel.invoker.start();
    for round in 1..=3 {
        funnel.invoker.enqueue(request("hello", None, "")).await.unwrap();
        funnel.until(|store| store.counts() == counts(round, round, 0, 0)).await;
    }
    assert_eq!(funnel.workers.begun()[0].payload, "{}");
}

#[tokio::test]
async fn an_event_above_one_mebibyte_is_refused() {
    let funnel = Funnel::new(FakeWorkers::echo());
    funnel.create(function("hello")).await;
    let mut event = request("hello", None, "");
    event.payload = Bytes::from(vec![b' '; 1_048_577]);
    let error = funnel.invoker.enqueue(event.clone()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::RequestTooLargeException);
    assert_eq!(
        error.message,
        "1048577 byte payload is too large for the Event invocation type (limit 1048576 bytes)"
    );
    event.payload = event.payload.slice(1..);
    funnel.invoker.enqueue(event).await.unwrap();
}

#[tokio::test]
async fn nothing_is_accepted_while_storage_refuses_writes() {
    let funnel = Funnel::new(FakeWorkers::echo());
    funnel.create(function("hello")).await;
    funnel.store.refuse_writes.store(true, Ordering::SeqCst);
    let error = funnel.invoker.enqueue(request("hello", None, "{}")).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::ServiceException);
    assert!(error.message.contains("the disk is full"), "{}", error.message);
    assert_eq!(funnel.store.counts().accepted, 0);
}

#[tokio::test]
async fn a_failing_function_is_tried_three_times_one_and_two_minutes_apart() {
    let workers = FakeWorkers::new(|_| FakeRun::handler_error("no"));
    let (funnel, request_id) = with_one_event(workers).await;
    funnel.until(|store| store.attempts_of(request_id) == Some(1)).await;
    funnel.advance(MINUTE);
    funnel.until(|store| store.attempts_of(request_id) == Some(2)).await;
    // One millisecond before the second retry is due nothing happens.
    funnel.advance(2 * MINUTE - Duration::from_millis(1));
    let_everything_run().await;
    assert_eq!(funnel.workers.begun().len(), 2);
    funnel.advance(Duration::from_millis(1));
    funnel.until(|store| store.counts() == counts(1, 0, 1, 0)).await;

    let begun = funnel.workers.begun();
    assert_eq!(begun.len(), 3);
    assert!(begun.iter().all(|invocation| invocation.request_id == request_id));
    let dead = funnel.store.dead();
    assert_eq!(dead[0].condition, "RetriesExhausted");
    assert!(dead[0].error.contains("\"errorMessage\":\"no\""), "{}", dead[0].error);
    let metrics = funnel.invoker.metrics();
    assert_eq!(metrics.functions[0].metrics.errors, 3);
    assert_eq!(metrics.functions[0].metrics.dead_letters, 1);
}

#[tokio::test]
async fn crashes_and_timeouts_count_as_the_functions_errors() {
    for status in [OutcomeStatus::Failure, OutcomeStatus::Timeout] {
        let workers = FakeWorkers::new(move |_| {
            FakeRun::Fail(status, "Sandbox.Timedout".to_owned(), Bytes::from_static(b"{}"))
        });
        let (funnel, request_id) = with_one_event(workers).await;
        funnel.until(|store| store.attempts_of(request_id) == Some(1)).await;
    }
}

#[tokio::test]
async fn throttles_and_platform_failures_cost_no_retry() {
    let refusals: [fn() -> FakeRun; 4] = [
        || FakeRun::Refuse(ServiceError::throttled("ConcurrentInvocationLimitExceeded")),
        || FakeRun::Refuse(ServiceError::new(ErrorCode::InvalidRuntimeException, "no such interpreter")),
        || FakeRun::Break(ServiceError::internal("The instance was lost.")),
        || FakeRun::Vanish,
    ];
    for refusal in refusals {
        let tries = std::sync::atomic::AtomicUsize::new(0);
        let workers = FakeWorkers::new(move |invocation| {
            if tries.fetch_add(1, Ordering::SeqCst) < 5 {
                refusal()
            } else {
                FakeRun::Return(invocation.payload.clone())
            }
        });
        let (funnel, request_id) = with_one_event(workers).await;
        // 1 s, then as long again each time: 1, 2, 4, 8, 16 seconds after acceptance.
        for (tried, advance) in [(1, 1), (2, 1), (3, 2), (4, 4), (5, 8)] {
            funnel.workers.wait_until_begun(tried).await;
            funnel.until(|store| store.lease_of(request_id).is_none()).await;
            assert_eq!(funnel.store.attempts_of(request_id), Some(0));
            funnel.advance(Duration::from_secs(advance));
        }
        funnel.until(|store| store.counts() == counts(1, 1, 0, 0)).await;
        assert_eq!(funnel.workers.begun().len(), 6);
    }
}

#[tokio::test]
async fn an_event_older_than_six_hours_is_given_up_without_being_run() {
    let funnel = Funnel::new(FakeWorkers::echo());
    funnel.create(function("hello")).await;
    funnel.invoker.enqueue(request("hello", None, "{}")).await.unwrap();
    funnel.advance(Duration::from_secs(6 * 3_600));
    funnel.invoker.start();
    funnel.until(|store| store.counts() == counts(1, 0, 1, 0)).await;
    assert_eq!(funnel.store.dead()[0].condition, "EventAgeExceeded");
    assert!(funnel.workers.begun().is_empty());
}

#[tokio::test]
async fn events_of_a_deleted_function_become_dead_letters_that_say_so() {
    let workers = FakeWorkers::new(|_| FakeRun::handler_error("no"));
    let (funnel, request_id) = with_one_event(workers).await;
    funnel.until(|store| store.attempts_of(request_id) == Some(1)).await;
    funnel.store.delete_function(&Scope::default(), &name("hello")).await.unwrap();
    funnel.advance(MINUTE);
    funnel.until(|store| store.counts() == counts(1, 0, 1, 0)).await;
    let dead = &funnel.store.dead()[0];
    assert_eq!(dead.condition, "FunctionDeleted");
    assert!(dead.error.contains("Function not found: arn:aws:lambda:"), "{}", dead.error);
}

#[tokio::test]
async fn an_event_waits_for_a_function_that_is_pending_and_runs_its_newest_code() {
    let funnel = Funnel::new(FakeWorkers::echo());
    funnel.create(function("hello")).await;
    let event = request("hello", None, "{}");
    let request_id = event.request_id;
    funnel.invoker.enqueue(event).await.unwrap();
    let pending = Lifecycle { state: FunctionState::Pending, ..active() };
    funnel.create(FunctionVersion { lifecycle: pending, ..function("hello") }).await;
    funnel.invoker.start();
    funnel.until(|store| store.claims_of(request_id) == 1 && store.lease_of(request_id).is_none()).await;
    assert_eq!(funnel.store.attempts_of(request_id), Some(0));
    funnel.create(FunctionVersion { revision_id: "r2".to_owned(), ..function("hello") }).await;
    funnel.advance(Duration::from_secs(1));
    funnel.until(|store| store.counts() == counts(1, 1, 0, 0)).await;
    assert_eq!(funnel.workers.begun()[0].version.revision_id, "r2");
}

fn gated() -> (Arc<Semaphore>, Arc<FakeWorkers>) {
    let gate = Arc::new(Semaphore::new(0));
    let workers = {
        let gate = Arc::clone(&gate);
        FakeWorkers::new(move |_| {
            FakeRun::After(Arc::clone(&gate), Box::new(FakeRun::Return(Bytes::from_static(b"1"))))
        })
    };
    (gate, workers)
}

#[tokio::test]
async fn so_many_run_at_once_and_a_place_stays_free_for_another_function() {
    let (gate, workers) = gated();
    let asynchronous = AsynchronousConfig { parallelism: 4, ..AsynchronousConfig::default() };
    let funnel = Funnel::with(workers, InvokerConfig { asynchronous, ..InvokerConfig::default() });
    funnel.create(function("hello")).await;
    funnel.create(function("other")).await;
    for _ in 0..10 {
        funnel.invoker.enqueue(request("hello", None, "{}")).await.unwrap();
    }
    funnel.invoker.start();
    funnel.workers.wait_until_begun(3).await;
    let_everything_run().await;
    assert_eq!(funnel.invoker.metrics().asynchronous_in_flight, 3);
    assert_eq!(funnel.invoker.metrics().concurrent, 3);
    gate.add_permits(1);
    funnel.workers.wait_until_begun(4).await;
    let_everything_run().await;
    assert_eq!(funnel.invoker.metrics().asynchronous_in_flight, 3);
    funnel.invoker.enqueue(request("other", None, "{}")).await.unwrap();
    funnel.workers.wait_until_begun(5).await;
    assert!(funnel.workers.begun()[4].invoked_arn.ends_with("function:other"));
    assert_eq!(funnel.invoker.metrics().asynchronous_in_flight, 4);
    gate.add_permits(10);
    funnel.until(|store| store.counts() == counts(11, 11, 0, 0)).await;
    assert_eq!(funnel.workers.begun().len(), 11);
}

#[tokio::test]
async fn many_slow_functions_with_backlogs_do_not_hold_up_another_ones_first_event() {
    const SLOW: usize = 100;
    let (gate, workers) = gated();
    let funnel = Funnel::new(workers);
    for number in 0..SLOW {
        let slow = format!("slow-{number}");
        funnel.create(function(&slow)).await;
        for _ in 0..5 {
            funnel.invoker.enqueue(request(&slow, None, "{}")).await.unwrap();
        }
    }
    funnel.invoker.start();
    let begun = |function: &str| {
        let arn = format!("arn:aws:lambda:us-east-1:000000000000:function:{function}");
        funnel.workers.begun().iter().filter(|invocation| invocation.invoked_arn == arn).count()
    };
    while !(0..SLOW).all(|number| begun(&format!("slow-{number}")) > 0) {
        tokio::task::yield_now().await;
    }
    let_everything_run().await;
    let running = funnel.workers.begun().len();
    assert!(running < 64 + SLOW, "{running}");
    // No slow one has ended, and no time passes.
    for number in 1..=3 {
        let name = format!("first-{number}");
        funnel.create(function(&name)).await;
        funnel.invoker.enqueue(request(&name, None, "{}")).await.unwrap();
        funnel.workers.wait_until_begun(running + number).await;
        assert_eq!(begun(&name), 1);
    }
    let events = 5 * SLOW + 3;
    gate.add_permits(events);
    funnel.until(|store| store.counts().pending == 0).await;
    assert_eq!(funnel.workers.begun().len(), events);
}

#[tokio::test]
async fn a_refused_function_tries_one_event_at_a_time_and_delays_nobody_else() {
    const EVENTS: usize = 1_000;
    let free = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let workers = {
        let free = Arc::clone(&free);
        FakeWorkers::new(move |invocation| {
            if invocation.invoked_arn.ends_with("function:hello") && !free.load(Ordering::SeqCst) {
                return FakeRun::Refuse(ServiceError::throttled("ConcurrentInvocationLimitExceeded"));
            }
            FakeRun::Return(invocation.payload.clone())
        })
    };
    let funnel = Funnel::new(workers);
    funnel.create(function("hello")).await;
    funnel.create(function("other")).await;
    for _ in 0..EVENTS {
        funnel.invoker.enqueue(request("hello", None, "{}")).await.unwrap();
    }
    funnel.invoker.start();
    let mut others = 0;
    let begun = |funnel: &Funnel| funnel.workers.begun().len();
    let mut tried = Vec::new();
    for second in 0..=32 {
        funnel.advance(Duration::from_secs(u64::from(second > 0)));
        // Its event runs in the very second in which it comes.
        funnel.invoker.enqueue(request("other", None, "{}")).await.unwrap();
        others += 1;
        funnel.until(|store| store.counts().done == others).await;
        // Every claim of the second has come back: a claim that follows would follow from one of these.
        while funnel.invoker.metrics().asynchronous_in_flight > 0 {
            tokio::task::yield_now().await;
        }
        let_everything_run().await;
        tried.push(begun(&funnel) - usize::try_from(others).unwrap());
    }
    // At first as many as one function may hold. Then one after 1, 2, 4, 8, 16, 32 seconds.
    let first = tried[0];
    assert!(first <= 48, "{first}");
    let after = |seconds: usize| tried[seconds] - first;
    assert_eq!(
        [0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32].map(after),
        [0, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6],
        "{tried:?}"
    );
    // When there is room again, the next try opens the way for all that wait.
    free.store(true, Ordering::SeqCst);
    for _ in 0..9 {
        funnel.advance(Duration::from_secs(16));
        let_everything_run().await;
    }
    funnel.until(|store| store.counts().pending == 0).await;
    assert_eq!(funnel.store.counts().done, EVENTS as u64 + others);
}

#[tokio::test]
async fn the_lease_of_a_long_run_is_extended() {
    let (gate, workers) = gated();
    let (funnel, request_id) = with_one_event(workers).await;
    funnel.workers.wait_until_begun(1).await;
    let lease = AsynchronousConfig::default().lease;
    assert_eq!(funnel.store.lease_of(request_id), Some(START.plus(lease)));
    for half in 1..=10 {
        funnel.advance(lease / 2);
        let expected = START.plus(lease / 2 * half + lease);
        funnel.until(|store| store.lease_of(request_id) == Some(expected)).await;
    }
    gate.add_permits(1);
    funnel.until(|store| store.counts() == counts(1, 1, 0, 0)).await;
    assert_eq!(funnel.workers.begun().len(), 1, "nobody took it over meanwhile");
}

#[tokio::test]
async fn a_node_does_not_take_a_running_event_from_itself_when_its_lease_could_not_be_extended() {
    let (gate, workers) = gated();
    let (funnel, request_id) = with_one_event(workers).await;
    funnel.workers.wait_until_begun(1).await;
    let lease = AsynchronousConfig::default().lease;
    funnel.store.refuse_extensions.store(true, Ordering::SeqCst);
    funnel.advance(lease * 2);
    let_everything_run().await;
    assert!(funnel.store.refused.load(Ordering::SeqCst) > 0, "it was tried");
    assert_eq!(funnel.store.claims_of(request_id), 1, "it runs here, and only once");
    funnel.store.refuse_extensions.store(false, Ordering::SeqCst);
    // Nothing else was claimed meanwhile; now all goes on.
    funnel.invoker.enqueue(request("hello", None, "{}")).await.unwrap();
    funnel.workers.wait_until_begun(2).await;
    assert_eq!(funnel.store.lease_of(request_id), Some(START.plus(lease * 3)));
    assert_eq!(funnel.store.claims_of(request_id), 1);
    gate.add_permits(2);
    funnel.until(|store| store.counts() == counts(2, 2, 0, 0)).await;
    assert_eq!(funnel.workers.begun().len(), 2);
}

#[tokio::test]
async fn a_crashed_nodes_event_is_run_again_by_another_when_its_lease_ends_without_using_a_retry() {
    let (_gate, workers) = gated();
    let (crashed, request_id) = with_one_event(workers).await;
    crashed.workers.wait_until_begun(1).await;
    // The first node is never heard of again.
    let asynchronous = AsynchronousConfig { node: "other".to_owned(), ..AsynchronousConfig::default() };
    let lease = asynchronous.lease;
    let config = InvokerConfig { asynchronous, ..InvokerConfig::default() };
    let next = Funnel::on(Arc::clone(&crashed.store), FakeWorkers::echo(), config);
    next.advance(lease - Duration::from_millis(1));
    next.invoker.start();
    let_everything_run().await;
    assert!(next.workers.begun().is_empty(), "taken before the lease ended");
    next.advance(Duration::from_millis(1));
    next.until(|store| store.counts() == counts(1, 1, 0, 0)).await;
    let begun = next.workers.begun();
    assert_eq!((begun.len(), begun[0].request_id), (1, request_id));
}

#[tokio::test]
async fn a_node_that_starts_again_takes_up_at_once_what_it_had_claimed() {
    let (_gate, workers) = gated();
    let (crashed, request_id) = with_one_event(workers).await;
    crashed.workers.wait_until_begun(1).await;
    let next = Funnel::on(Arc::clone(&crashed.store), FakeWorkers::echo(), InvokerConfig::default());
    next.invoker.start();
    next.until(|store| store.counts() == counts(1, 1, 0, 0)).await;
    assert_eq!(next.workers.begun()[0].request_id, request_id);
    // What is left of the first life settles nothing.
    assert!(!crashed.store.release(request_id, 1, Release::Done).await.unwrap());
}

#[tokio::test]
async fn a_run_whose_claim_was_lost_settles_nothing() {
    let (gate, workers) = gated();
    let (funnel, request_id) = with_one_event(workers).await;
    funnel.workers.wait_until_begun(1).await;
    funnel.store.end_leases();
    let now = START.plus(Duration::from_secs(1));
    let taken = funnel.store.claim("other", now, MINUTE, 1).await.unwrap().remove(0);
    gate.add_permits(1);
    funnel.invoker.drain(Duration::from_secs(20)).await;
    assert_eq!(funnel.store.counts(), counts(1, 0, 0, 1), "the other's claim stands");
    assert!(funnel.store.release(request_id, taken.claim, Release::Done).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_finished_event_is_settled_when_storage_takes_writes_again() {
    let (gate, workers) = gated();
    let (funnel, _) = with_one_event(workers).await;
    funnel.workers.wait_until_begun(1).await;
    funnel.store.refuse_writes.store(true, Ordering::SeqCst);
    gate.add_permits(1);
    while funnel.store.refused.load(Ordering::SeqCst) < 5 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    funnel.store.refuse_writes.store(false, Ordering::SeqCst);
    funnel.until(|store| store.counts() == counts(1, 1, 0, 0)).await;
    assert_eq!(funnel.workers.begun().len(), 1, "it was not run again meanwhile");
}

#[tokio::test]
async fn draining_gives_unfinished_events_back_at_no_cost() {
    let (_gate, workers) = gated();
    let (funnel, request_id) = with_one_event(workers).await;
    funnel.workers.wait_until_begun(1).await;
    assert!(!funnel.invoker.drain(Duration::ZERO).await);
    assert_eq!(funnel.store.counts(), counts(1, 0, 0, 1));
    assert_eq!(funnel.store.lease_of(request_id), None, "the next start need not wait for a lease to end");
    assert_eq!(funnel.store.attempts_of(request_id), Some(0));
    // Nothing is claimed after a drain.
    funnel.invoker.enqueue(request("hello", None, "{}")).await.unwrap();
    let_everything_run().await;
    assert_eq!(funnel.store.counts(), counts(2, 0, 0, 2));
}

#[tokio::test]
async fn events_of_a_stopped_function_are_given_up_without_a_run_or_a_retry() {
    let funnel = Funnel::new(FakeWorkers::echo());
    funnel.create(function("hello")).await;
    let (scope, hello) = (lamplight_model::Scope::default(), name("hello"));
    funnel.invoker.provisioning().reserve(&scope, &hello, 0).await.unwrap();
    for _ in 0..3 {
        funnel.invoker.enqueue(request("hello", None, "{}")).await.unwrap();
    }
    funnel.invoker.start();
    // At once: the clock stands still.
    funnel.until(|store| store.counts() == counts(3, 0, 3, 0)).await;
    assert!(funnel.workers.begun().is_empty(), "it ran");
    assert!(funnel.store.dead().iter().all(|letter| letter.condition == "ZeroReservedConcurrency"));
    assert!(funnel.store.dead().iter().all(|letter| letter.event.attempts == 0));
    // Those that come after it may run again do run.
    funnel.invoker.provisioning().reserve(&scope, &hello, 1).await.unwrap();
    funnel.invoker.enqueue(request("hello", None, "{}")).await.unwrap();
    funnel.until(|store| store.counts() == counts(4, 1, 3, 0)).await;
}

#[tokio::test]
async fn events_of_a_function_whose_only_place_is_taken_wait_and_cost_no_retry() {
    let (gate, workers) = gated();
    let funnel = Funnel::new(workers);
    funnel.create(function("hello")).await;
    let (scope, hello) = (lamplight_model::Scope::default(), name("hello"));
    funnel.invoker.provisioning().reserve(&scope, &hello, 1).await.unwrap();
    let call = funnel.invoker.invoke(request("hello", None, "{}")).await.unwrap();
    let event = request("hello", None, "{}");
    let request_id = event.request_id;
    funnel.invoker.enqueue(event).await.unwrap();
    funnel.invoker.start();
    // More attempts than an error would get: after one second, two, four, eight.
    for claims in 1..=4 {
        funnel
            .until(|store| store.claims_of(request_id) == claims && store.lease_of(request_id).is_none())
            .await;
        assert_eq!(funnel.store.attempts_of(request_id), Some(0));
        funnel.advance(Duration::from_secs(1 << (claims - 1)));
    }
    assert_eq!(funnel.workers.begun().len(), 1, "it ran");
    gate.add_permits(2);
    call.answer.detach().finished.await.unwrap();
    funnel.advance(Duration::from_secs(60));
    funnel.until(|store| store.counts() == counts(1, 1, 0, 0)).await;
    assert!(funnel.invoker.metrics().functions[0].metrics.throttles >= 4);
}

#[tokio::test]
async fn the_version_of_an_event_to_an_alias_is_chosen_when_it_is_run() {
    let funnel = Funnel::new(FakeWorkers::echo());
    funnel.create(function("hello")).await;
    for number in [1, 2] {
        funnel
            .create(FunctionVersion { version: VersionNumber::Published(number), ..function("hello") })
            .await;
    }
    let point = async |number| {
        let alias = lamplight_model::Alias {
            scope: Scope::default(),
            function: name("hello"),
            name: "live".to_owned(),
            version: VersionNumber::Published(number),
            additional: None,
            description: String::new(),
            revision_id: "r".to_owned(),
        };
        funnel.store.put_alias(alias, Expect::Anything).await.unwrap();
    };
    point(1).await;
    funnel.invoker.enqueue(request("hello", Some(Qualifier::Alias("live".to_owned())), "{}")).await.unwrap();
    point(2).await;
    funnel.invoker.start();
    funnel.until(|store| store.counts() == counts(1, 1, 0, 0)).await;
    let begun = funnel.workers.begun();
    assert_eq!(begun[0].version.version, VersionNumber::Published(2));
    assert_eq!(begun[0].invoked_arn, "arn:aws:lambda:us-east-1:000000000000:function:hello:live");
    // An alias that is gone ends its events.
    funnel.store.delete_alias(&Scope::default(), &name("hello"), "live").await.unwrap();
    let refused =
        funnel.invoker.enqueue(request("hello", Some(Qualifier::Alias("live".to_owned())), "{}")).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::ResourceNotFoundException);
}
