//! What every implementation of `Workers` keeps. Each check takes the workers and an invocation of a function
//! that gives its event back; it panics with what was broken, as assertions in tests do.

use crate::workers::Workers;
use lamplight_model::{Invocation, Outcome, RequestId, RunStage, StartKind};
use lamplight_pool::{Ended, ProvisionedTarget};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long something that must happen may take, and how often it is looked for.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(2);

/// All checks, one after the other.
pub async fn check(workers: &dyn Workers, invocation: impl Fn() -> Invocation) {
    answers_completely(workers, invocation()).await;
    goes_on_without_its_caller(workers, invocation()).await;
    runs_side_by_side(workers, invocation(), invocation()).await;
    provisions(workers, invocation()).await;
}

/// The body is the event and ends; the outcome and the report of the same request follow.
async fn answers_completely(workers: &dyn Workers, invocation: Invocation) {
    let (request_id, payload) = (invocation.request_id, invocation.payload.clone());
    let place = invocation.place.clone();
    assert_eq!(place.stage(), RunStage::Queued, "nobody has it yet");
    let mut answer = workers.run(invocation).await.expect("the run begins").detach();
    let mut body = Vec::new();
    while let Some(piece) = answer.body.recv().await {
        body.extend_from_slice(&piece);
    }
    assert_eq!(body, payload, "the body");
    let ended = Ended { outcome: Outcome::success(), document: None };
    assert_eq!(answer.ended.await, Ok(Ok(ended)), "how it ended");
    let finished = answer.finished.await.expect("a report");
    assert_eq!(finished.report.request_id, request_id, "the report's request");
    let RunStage::Running(instance) = place.stage() else { panic!("it ran: {:?}", place.stage()) };
    assert_eq!(
        instance.id, finished.report.instance_id,
        "the instance that was told of is that of the report"
    );
    assert!(instance.log_stream.ends_with(&*instance.id), "its log stream: {}", instance.log_stream);
}

/// Dropping body and outcome unread ends nothing: the report still comes.
async fn goes_on_without_its_caller(workers: &dyn Workers, invocation: Invocation) {
    let answer = workers.run(invocation).await.expect("the run begins").detach();
    let finished = answer.finished;
    drop((answer.body, answer.ended, answer.content_type));
    let finished = finished.await.expect("a report although nobody listens");
    assert_eq!(finished.report.outcome, Outcome::success(), "the run ended as if someone had listened");
}

/// A second run does not wait for the first one's caller to read its answer.
async fn runs_side_by_side(workers: &dyn Workers, first: Invocation, mut second: Invocation) {
    second.request_id = RequestId(uuid::Uuid::new_v4());
    let unread = workers.run(first).await.expect("the first run begins").detach();
    let answer = workers.run(second).await.expect("the second run begins").detach();
    drop(answer.body);
    answer.finished.await.expect("the second run ends");
    drop(unread);
}

/// Instances that are wanted become ready, also for a call; without a target they go.
async fn provisions(workers: &dyn Workers, invocation: Invocation) {
    let version = Arc::clone(&invocation.version);
    let ready = || workers.provisioned(&version.scope, &version.name, version.version).ready;
    let until = async |wanted: usize| {
        while ready() != wanted || workers.instances().provisioned.ready != wanted {
            tokio::time::sleep(POLL).await;
        }
    };
    assert_eq!(ready(), 0, "nothing is provisioned before it is asked for");
    workers.provision(&[ProvisionedTarget { version: Arc::clone(&version), instances: 2 }]);
    timeout(PATIENCE, until(2)).await.expect("two are ready");
    assert_eq!(workers.instances().provisioned.wanted, 2, "two are wanted");
    let answer = workers.run(invocation).await.expect("the run begins").detach();
    drop(answer.body);
    let report = answer.finished.await.expect("a report").report;
    assert_eq!((report.start, report.init_us), (StartKind::Warm, None), "the call waited for no start");
    workers.provision(&[]);
    timeout(PATIENCE, until(0)).await.expect("they go");
}
