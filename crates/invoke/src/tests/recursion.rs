//! Recursive loops are stopped: by hand of the trace header that each invocation is given.

use super::*;
use crate::asynchronous::options::{EventInvokeOptions, KIND as OPTIONS};
use crate::recursion;
use lamplight_model::lineage::INVOCATIONS_IN_A_CHAIN;
use lamplight_model::name::function_arn;
use lamplight_model::{ErrorCode, ServiceError};
use lamplight_store::function_documents::{self, Owner};

const HEADER: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0";

/// Calls `function` with a header, and gives the header that the function saw.
async fn call(funnel: &Funnel, function: &str, header: &str) -> Result<String, ServiceError> {
    let mut call = request(function, None, "{}");
    call.trace_header = Some(header.to_owned());
    let running = funnel.invoker.invoke(call).await?;
    running.answer.detach().finished.await.unwrap();
    Ok(funnel.workers.begun().last().unwrap().trace_header.clone().unwrap())
}

async fn allow(funnel: &Funnel, function: &str) {
    let (scope, function) = (Scope::default(), name(function));
    let owner = Owner { scope: &scope, function: &function, qualifier: None };
    let allow = recursion::ALLOW.to_owned();
    function_documents::put(&*funnel.store, recursion::KIND, owner, &allow, Expect::Anything).await.unwrap();
}

#[tokio::test]
async fn the_seventeenth_invocation_in_a_chain_is_refused_unless_it_is_allowed() {
    let funnel = Funnel::new(FakeWorkers::echo());
    for function in ["ping", "pong"] {
        funnel.create(super::function(function)).await;
    }
    let mut header = HEADER.to_owned();
    for _ in 0..INVOCATIONS_IN_A_CHAIN {
        header = call(&funnel, "ping", &header).await.unwrap();
        header = call(&funnel, "pong", &header).await.unwrap();
    }
    let refused = call(&funnel, "ping", &header).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::RecursiveInvocationException);
    assert_eq!(
        refused.message,
        "Lambda has detected your function being invoked in a recursive loop with other Amazon Web Services resources and \
         stopped your function's invocation."
    );
    assert_eq!(funnel.workers.begun().len(), 32);
    let row = funnel.invoker.metrics().functions.into_iter().find(|row| row.function == "ping").unwrap();
    assert_eq!((row.metrics.recursive_invocations_dropped, row.metrics.throttles), (1, 0));
    // The same function in another chain, and another function in this one, go on.
    call(&funnel, "ping", HEADER).await.unwrap();
    allow(&funnel, "ping").await;
    header = call(&funnel, "ping", &header).await.unwrap();
    assert_eq!(
        call(&funnel, "pong", &header).await.unwrap_err().code,
        ErrorCode::RecursiveInvocationException
    );
}

#[tokio::test]
async fn an_event_that_loops_through_its_destination_is_given_up() {
    let funnel = Funnel::new(FakeWorkers::echo());
    funnel.create(function("ping")).await;
    let (scope, ping) = (Scope::default(), name("ping"));
    let arn = Some(function_arn(&scope, &ping, None));
    let options = EventInvokeOptions { on_success: arn, ..Default::default() };
    let owner = Owner { scope: &scope, function: &ping, qualifier: None };
    function_documents::put(&*funnel.store, OPTIONS, owner, &options, Expect::Anything).await.unwrap();
    let mut event = request("ping", None, "{}");
    event.trace_header = Some(HEADER.to_owned());
    funnel.invoker.enqueue(event).await.unwrap();
    funnel.invoker.start();
    funnel.until(|store| store.counts().dead_lettered == 1).await;
    let counts = funnel.store.counts();
    assert_eq!((counts.accepted, counts.done, counts.pending), (17, 16, 0));
    assert_eq!(funnel.workers.begun().len(), 16);
    let dead = funnel.store.dead().remove(0);
    assert_eq!((dead.condition.as_str(), dead.event.attempts), ("RecursiveInvocation", 0));
    assert!(dead.error.contains("RecursiveInvocationException"), "{}", dead.error);
}

#[tokio::test]
async fn attempts_at_one_event_are_one_invocation_of_the_chain() {
    let funnel = Funnel::new(FakeWorkers::new(|_| crate::workers::fake::FakeRun::handler_error("no")));
    funnel.create(function("ping")).await;
    let mut event = request("ping", None, "{}");
    event.trace_header = Some(HEADER.to_owned());
    let request_id = event.request_id;
    funnel.invoker.enqueue(event).await.unwrap();
    funnel.invoker.start();
    funnel.until(|store| store.attempts_of(request_id) == Some(1)).await;
    funnel.advance(Duration::from_secs(60));
    funnel.until(|store| store.attempts_of(request_id) == Some(2)).await;
    let begun = funnel.workers.begun();
    assert_eq!(begun[0].trace_header, begun[1].trace_header);
}
