//! What every implementation of `Workers` keeps. Each check takes the workers and an invocation of a function
//! that gives its event back; it panics with what was broken, as assertions in tests do.

use crate::workers::Workers;
use lamplight_model::{Invocation, Outcome, RequestId};

/// All checks, one after the other.
pub async fn check(workers: &dyn Workers, invocation: impl Fn() -> Invocation) {
    answers_completely(workers, invocation()).await;
    goes_on_without_its_caller(workers, invocation()).await;
    runs_side_by_side(workers, invocation(), invocation()).await;
}

/// The body is the event and ends; the outcome and the report of the same request follow.
async fn answers_completely(workers: &dyn Workers, invocation: Invocation) {
    let (request_id, payload) = (invocation.request_id, invocation.payload.clone());
    let mut answer = workers.run(invocation).await.expect("the run begins");
    let mut body = Vec::new();
    while let Some(piece) = answer.body.recv().await {
        body.extend_from_slice(&piece);
    }
    assert_eq!(body, payload, "the body");
    assert_eq!(answer.outcome.await, Ok(Ok(Outcome::success())), "the outcome");
    let finished = answer.finished.await.expect("a report");
    assert_eq!(finished.report.request_id, request_id, "the report's request");
}

/// Dropping body and outcome unread ends nothing: the report still comes.
async fn goes_on_without_its_caller(workers: &dyn Workers, invocation: Invocation) {
    let answer = workers.run(invocation).await.expect("the run begins");
    let finished = answer.finished;
    drop((answer.body, answer.outcome, answer.content_type));
    let finished = finished.await.expect("a report although nobody listens");
    assert_eq!(finished.report.outcome, Outcome::success(), "the run ended as if someone had listened");
}

/// A second run does not wait for the first one's caller to read its answer.
async fn runs_side_by_side(workers: &dyn Workers, first: Invocation, mut second: Invocation) {
    second.request_id = RequestId(uuid::Uuid::new_v4());
    let unread = workers.run(first).await.expect("the first run begins");
    let answer = workers.run(second).await.expect("the second run begins");
    drop(answer.body);
    answer.finished.await.expect("the second run ends");
    drop(unread);
}
