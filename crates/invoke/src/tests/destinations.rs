//! What a function's owner set about its events: retries, age, destinations.

use super::*;
use crate::EventInvokeOptions;
use crate::asynchronous::options::KIND;
use crate::workers::fake::FakeRun;
use lamplight_model::name::function_arn;
use lamplight_services::queues::{AttributeValue, Bounds, QueueAddress, Queues, Receive};
use lamplight_store::function_documents::{self, Owner};
use serde_json::Value;

const MINUTE: Duration = Duration::from_secs(60);

/// A funnel with the functions `hello` and `sink`, whose `hello` fails when its event says so; the worker is started.
async fn funnel() -> Funnel {
    let workers = FakeWorkers::new(|invocation| {
        let fails = invocation.version.name.as_str() == "hello" && invocation.payload.starts_with(b"\"fail");
        if fails { FakeRun::handler_error("no") } else { FakeRun::Return(invocation.payload.clone()) }
    });
    let funnel = Funnel::new(workers);
    for name in ["hello", "sink"] {
        funnel.create(function(name)).await;
    }
    funnel.invoker.start();
    funnel
}

fn arn(function: &str) -> Option<String> {
    Some(function_arn(&Scope::default(), &name(function), None))
}

async fn set(funnel: &Funnel, qualifier: Option<Qualifier>, options: EventInvokeOptions) {
    let (scope, function) = (Scope::default(), name("hello"));
    let owner = Owner { scope: &scope, function: &function, qualifier: qualifier.as_ref() };
    function_documents::put(&*funnel.store, KIND, owner, &options, Expect::Anything).await.unwrap();
}

async fn send(funnel: &Funnel, payload: &'static str) -> RequestId {
    let event = request("hello", None, payload);
    let request_id = event.request_id;
    funnel.invoker.enqueue(event).await.unwrap();
    request_id
}

/// The records that reached the sink, after so many events had ended.
async fn records(funnel: &Funnel, ended: u64) -> Vec<Value> {
    funnel.until(|store| store.counts().done + store.counts().dead_lettered == ended).await;
    let begun = funnel.workers.begun();
    let to_sink = begun.iter().filter(|invocation| invocation.version.name.as_str() == "sink");
    to_sink.map(|invocation| serde_json::from_slice(&invocation.payload).unwrap()).collect()
}

#[tokio::test]
async fn a_success_reaches_its_destination_and_no_other() {
    let funnel = funnel().await;
    set(
        &funnel,
        None,
        EventInvokeOptions { on_success: arn("sink"), on_failure: arn("hello"), ..Default::default() },
    )
    .await;
    let request_id = send(&funnel, "[1]").await;
    let records = records(&funnel, 2).await;
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["requestContext"]["requestId"], request_id.to_string());
    assert_eq!(records[0]["requestContext"]["condition"], "Success");
    assert_eq!((&records[0]["requestPayload"][0], &records[0]["responsePayload"][0]), (&1.into(), &1.into()));
    assert_eq!(funnel.store.counts().dead_lettered, 0);
}

#[tokio::test]
async fn no_retry_when_none_is_wanted_and_the_failure_is_told() {
    let funnel = funnel().await;
    let options =
        EventInvokeOptions { maximum_retry_attempts: Some(0), on_failure: arn("sink"), ..Default::default() };
    set(&funnel, None, options).await;
    send(&funnel, "\"fail\"").await;
    let records = records(&funnel, 2).await;
    assert_eq!(records[0]["requestContext"]["condition"], "RetriesExhausted");
    assert_eq!(records[0]["requestContext"]["approximateInvokeCount"], 1);
    assert_eq!(records[0]["responseContext"]["functionError"], "Unhandled");
    assert_eq!(records[0]["responsePayload"]["errorType"], "ValueError");
    assert_eq!(funnel.store.dead().len(), 1);
}

#[tokio::test]
async fn an_event_older_than_its_function_wants_is_given_up_before_its_retry() {
    let funnel = funnel().await;
    let options = EventInvokeOptions {
        maximum_event_age_seconds: Some(90),
        on_failure: arn("sink"),
        ..Default::default()
    };
    set(&funnel, None, options).await;
    let request_id = send(&funnel, "\"fail\"").await;
    // The first retry is due after a minute, the second would be after three.
    funnel.until(|store| store.attempts_of(request_id) == Some(1)).await;
    funnel.advance(MINUTE);
    let records = records(&funnel, 2).await;
    assert_eq!(records[0]["requestContext"]["condition"], "EventAgeExceeded");
    assert_eq!(records[0]["requestContext"]["approximateInvokeCount"], 2);
}

#[tokio::test]
async fn a_change_counts_for_events_that_wait_already() {
    let funnel = funnel().await;
    let request_id = send(&funnel, "\"fail\"").await;
    funnel.until(|store| store.attempts_of(request_id) == Some(1)).await;
    set(&funnel, None, EventInvokeOptions { maximum_retry_attempts: Some(1), ..Default::default() }).await;
    funnel.advance(MINUTE);
    funnel.until(|store| store.counts().dead_lettered == 1).await;
    assert_eq!(funnel.store.dead()[0].event.attempts, 1);
}

#[tokio::test]
async fn options_of_another_qualifier_do_not_count() {
    let funnel = funnel().await;
    let options = EventInvokeOptions { maximum_retry_attempts: Some(0), ..Default::default() };
    set(&funnel, Some(Qualifier::Version(1)), options).await;
    let request_id = send(&funnel, "\"fail\"").await;
    funnel.until(|store| store.attempts_of(request_id) == Some(1)).await;
    assert_eq!(funnel.store.counts().dead_lettered, 0);
}

#[tokio::test]
async fn a_destination_that_is_gone_costs_the_record_only() {
    let funnel = funnel().await;
    set(&funnel, None, EventInvokeOptions { on_success: arn("absent"), ..Default::default() }).await;
    send(&funnel, "[1]").await;
    assert_eq!(records(&funnel, 1).await, Vec::<Value>::new());
    assert_eq!(funnel.invoker.metrics().functions[0].metrics.destination_delivery_failures, 1);
    assert_eq!(funnel.store.counts().accepted, 1);
}

/// Queues in a directory that is gone with the second value, with one named `letters`.
async fn queues(funnel: &Funnel) -> (Queues, QueueAddress, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let taken = lamplight_store::DataDirectory::take(directory.path()).unwrap();
    let queues = Queues::open(&taken, Bounds::default(), Arc::new(|| START)).unwrap();
    let letters = QueueAddress::new(&Scope::default(), "letters");
    queues.create(&letters, Default::default(), Default::default()).await.unwrap();
    funnel.invoker.send_letters_to(queues.clone());
    (queues, letters, directory)
}

#[tokio::test]
async fn a_queue_gets_the_record_and_the_dead_letter() {
    let funnel = funnel().await;
    let (queues, letters, _directory) = queues(&funnel).await;
    let mut hello = function("hello");
    hello.dead_letter_target_arn = Some(letters.arn());
    funnel.create(hello).await;
    let options = EventInvokeOptions {
        maximum_retry_attempts: Some(0),
        on_failure: Some(letters.arn()),
        ..Default::default()
    };
    set(&funnel, None, options).await;
    let request_id = send(&funnel, "\"fail\"").await;
    funnel.until(|store| store.counts().dead_lettered == 1).await;
    let ten = Receive { messages: Some(10), ..Receive::default() };
    let received = queues.receive(&letters, ten).await.unwrap();
    let [record, letter] = received.as_slice() else { panic!("{received:?}") };
    let record: Value = serde_json::from_str(&record.body).unwrap();
    assert_eq!(record["requestContext"]["condition"], "RetriesExhausted");
    assert_eq!(letter.body, "\"fail\"");
    assert_eq!(letter.attributes["RequestID"].value, AttributeValue::Text(request_id.to_string()));
    assert_eq!(letter.attributes["ErrorMessage"].value, AttributeValue::Text("no".to_owned()));
}

#[tokio::test]
async fn a_queue_that_is_gone_costs_the_message_only() {
    let funnel = funnel().await;
    let (queues, letters, _directory) = queues(&funnel).await;
    queues.delete_queue(&letters).await.unwrap();
    set(&funnel, None, EventInvokeOptions { on_success: Some(letters.arn()), ..Default::default() }).await;
    send(&funnel, "[1]").await;
    funnel.until(|store| store.counts().done == 1).await;
    assert_eq!(funnel.invoker.metrics().functions[0].metrics.destination_delivery_failures, 1);
}
