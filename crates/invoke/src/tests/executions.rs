//! Durable executions on the real store, with scripted functions and a clock moved by hand.

use super::*;
use crate::durable::{
    CallbackKey, CheckpointReply, CheckpointRequest, DurableConfiguration, DurableExecutions, Started,
};
use crate::workers::fake::FakeRun;
use lamplight_model::durable::{
    Action, CallbackResult, CallbackToken, CheckpointToken, Detail, DurableConfig, ExecutionStatus,
    OperationKind, OperationStatus, Update,
};
use lamplight_model::{ErrorCode, Invocation, ServiceError};
use lamplight_store::executions::{ExecutionKey, StoredExecution};
use lamplight_store::{Opened, Options, open};
use serde_json::{Value, json};
use std::path::Path;
use tokio::sync::Semaphore;

const YEAR_SECONDS: u32 = 31_536_000;
const PENDING: &str = r#"{"Status": "PENDING"}"#;
const DONE: &str = r#"{"Status": "SUCCEEDED", "Result": "\"done\""}"#;

/// A node on a data directory.
struct Node {
    durable: Arc<DurableExecutions>,
    invoker: Arc<Invoker>,
    workers: Arc<FakeWorkers>,
    now: Arc<AtomicI64>,
    opened: Opened,
}

impl Node {
    async fn start(
        directory: &Path,
        now: &Arc<AtomicI64>,
        script: impl Fn(&Invocation) -> FakeRun + Send + Sync + 'static,
    ) -> Self {
        let clock: crate::Clock = {
            let now = Arc::clone(now);
            Arc::new(move || Timestamp(now.load(Ordering::SeqCst)))
        };
        let mut options = Options::new(directory);
        options.clock = clock.clone();
        let opened = open(options).unwrap();
        let workers = FakeWorkers::new(script);
        let invoker = Invoker::new(
            InvokerConfig::default(),
            Arc::clone(&opened.store),
            workers.clone(),
            Arc::clone(&opened.ledger),
            clock.clone(),
        );
        let config = DurableConfig {
            execution_timeout_seconds: YEAR_SECONDS + 1_000,
            retention_days: 1,
            kms_key_arn: None,
        };
        for (name, durable) in [("flow", Some(config)), ("plain", None), ("tenants", None)] {
            let version = FunctionVersion { durable, per_tenant: name == "tenants", ..function(name) };
            opened.store.put_version(version, Expect::Anything).await.unwrap();
        }
        let executions = Arc::clone(&opened.executions);
        let durable =
            DurableExecutions::new(DurableConfiguration::default(), executions, Arc::clone(&invoker), clock);
        durable.run();
        Self { durable, invoker, workers, now: Arc::clone(now), opened }
    }

    async fn begin(&self, synchronous: bool) -> Result<Started, ServiceError> {
        let request = request("flow", Some(Qualifier::Latest), r#"{"a": 1}"#);
        let (scope, name) = (Scope::default(), name("flow"));
        let version = self.opened.store.get_version(&scope, &name, VersionNumber::Latest).await;
        let version = version.unwrap().unwrap();
        self.durable.start(&request, &version, None, synchronous).await
    }

    /// The event of the n-th invocation of all, from 1.
    async fn event(&self, count: usize) -> Value {
        let begun = tokio::time::timeout(Duration::from_secs(20), self.workers.wait_until_begun(count)).await;
        begun.unwrap_or_else(|_| panic!("invocation {count} never began"));
        serde_json::from_slice(&self.workers.begun()[count - 1].payload).unwrap()
    }

    async fn checkpoint(&self, started: &Started, event: &Value, updates: Vec<Update>) -> CheckpointReply {
        let token = CheckpointToken::parse(event["CheckpointToken"].as_str().unwrap());
        let (key, arn) = (started.key.clone(), started.arn.clone());
        let request = CheckpointRequest { key, arn, token, client_token: None, updates };
        self.durable.checkpoint(request).await.unwrap()
    }

    fn later(&self, seconds: u32) {
        self.now.fetch_add(i64::from(seconds) * 1_000, Ordering::SeqCst);
        self.durable.wake();
    }

    async fn ended(&self, key: &ExecutionKey) -> StoredExecution {
        let ended = tokio::time::timeout(Duration::from_secs(20), self.durable.ended(key)).await;
        ended.expect("the execution never ended").unwrap()
    }

    async fn settled(&self, started: &Started) -> StoredExecution {
        loop {
            let stored = self.durable.get(&started.key).await.unwrap();
            if stored.execution.invocation.is_none() {
                return stored;
            }
            tokio::task::yield_now().await;
        }
    }
}

fn clock() -> Arc<AtomicI64> {
    Arc::new(AtomicI64::new(START.0))
}

fn returns(text: &'static str) -> FakeRun {
    FakeRun::Return(Bytes::from_static(text.as_bytes()))
}

/// The first invocation waits at a gate and then suspends; every later one is done.
fn suspends_once(gate: &Arc<Semaphore>) -> impl Fn(&Invocation) -> FakeRun + Send + Sync + 'static {
    let (gate, first) = (Arc::clone(gate), std::sync::atomic::AtomicBool::new(true));
    move |_| {
        if first.swap(false, Ordering::SeqCst) {
            FakeRun::After(Arc::clone(&gate), Box::new(returns(PENDING)))
        } else {
            returns(DONE)
        }
    }
}

fn update(kind: OperationKind, id: &str) -> Update {
    Update {
        id: id.to_owned(),
        parent_id: None,
        name: None,
        sub_type: None,
        kind,
        action: Action::Start,
        payload: None,
        error: None,
        replay_children: None,
        next_attempt_delay_seconds: None,
        wait_seconds: Some(YEAR_SECONDS),
        callback_timeout_seconds: 0,
        heartbeat_seconds: 0,
        function_name: None,
    }
}

#[tokio::test]
async fn an_execution_waits_for_a_year() {
    let (directory, gate) = (tempfile::tempdir().unwrap(), Arc::new(Semaphore::new(0)));
    let node = Node::start(directory.path(), &clock(), suspends_once(&gate)).await;
    let started = node.begin(false).await.unwrap();
    let event = node.event(1).await;
    let operations = event["InitialExecutionState"]["Operations"].as_array().unwrap();
    assert_eq!(operations[0]["ExecutionDetails"], json!({ "InputPayload": r#"{"a": 1}"# }));
    assert_eq!(operations[0]["StartTimestamp"], json!(START.0));
    assert_eq!(event["DurableExecutionArn"], json!(started.arn));

    let answer = node.checkpoint(&started, &event, vec![update(OperationKind::Wait, "w")]).await;
    assert_eq!(answer.operations.len(), 1);
    gate.add_permits(1);
    node.settled(&started).await;
    node.later(YEAR_SECONDS - 1);
    node.later(1);
    let event = node.event(2).await;
    assert_eq!(event["InitialExecutionState"]["Operations"][1]["Status"], json!("SUCCEEDED"));
    assert_eq!(event["UpdatedOperationIds"], json!(["w"]));
    let ended = node.ended(&started.key).await;
    assert_eq!(
        (ended.execution.status, ended.closing.result.as_deref()),
        (ExecutionStatus::Succeeded, Some("\"done\""))
    );
    assert_eq!(node.workers.begun().len(), 2);

    // And is forgotten a day later.
    node.later(24 * 3_600);
    loop {
        match node.durable.get(&started.key).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => break assert_eq!(error.code, ErrorCode::ResourceNotFoundException),
        }
    }
}

#[tokio::test]
async fn a_restart_makes_the_lost_invocation_again_and_keeps_what_was_checkpointed() {
    let (directory, now) = (tempfile::tempdir().unwrap(), clock());
    let gate = Arc::new(Semaphore::new(0));
    let node = Node::start(directory.path(), &now, suspends_once(&gate)).await;
    let started = node.begin(false).await.unwrap();
    let event = node.event(1).await;
    let step =
        Update { action: Action::Succeed, payload: Some("7".to_owned()), ..update(OperationKind::Step, "s") };
    node.checkpoint(&started, &event, vec![step]).await;
    // The function still runs: it is given up.
    assert!(!node.durable.drain(Duration::ZERO).await);
    gate.close();
    // The run that was given up holds the data directory until it has ended.
    assert!(node.invoker.drain(Duration::from_secs(20)).await);
    drop(node);

    let node = Node::start(directory.path(), &now, |_| returns(DONE)).await;
    let again = node.event(1).await;
    assert_ne!(event["CheckpointToken"], again["CheckpointToken"]);
    assert_eq!(
        again["InitialExecutionState"]["Operations"][1]["StepDetails"],
        json!({ "Attempt": 1, "Result": "7" })
    );
    assert_eq!(node.ended(&started.key).await.execution.status, ExecutionStatus::Succeeded);
}

#[tokio::test]
async fn an_invocation_nobody_extends_is_lost() {
    let (directory, now) = (tempfile::tempdir().unwrap(), clock());
    let node = Node::start(directory.path(), &now, |_| FakeRun::Vanish).await;
    let started = node.begin(false).await.unwrap();
    // The worker's task went away: it has not run, and waits a moment.
    node.event(1).await;
    node.settled(&started).await;
    node.later(1);
    node.event(2).await;
    let stored = node.settled(&started).await;
    assert_eq!((stored.execution.status, stored.execution.failures), (ExecutionStatus::Running, 0));
}

#[tokio::test]
async fn want_of_room_delays_and_fails_nothing() {
    let (directory, now) = (tempfile::tempdir().unwrap(), clock());
    let tries = Arc::new(AtomicI64::new(0));
    let script = {
        let tries = Arc::clone(&tries);
        move |_: &Invocation| match tries.fetch_add(1, Ordering::SeqCst) {
            0..12 => FakeRun::Refuse(ServiceError::throttled("ConcurrentInvocationLimitExceeded")),
            _ => returns(DONE),
        }
    };
    let node = Node::start(directory.path(), &now, script).await;
    let started = node.begin(false).await.unwrap();
    for count in 1..=12 {
        node.event(count).await;
        node.settled(&started).await;
        node.later(30);
    }
    assert_eq!(node.ended(&started.key).await.execution.status, ExecutionStatus::Succeeded);
}

#[tokio::test]
async fn chained_invokes_run_and_report() {
    let (directory, now) = (tempfile::tempdir().unwrap(), clock());
    let gate = Arc::new(Semaphore::new(0));
    let parent = suspends_once(&gate);
    let script = move |invocation: &Invocation| match invocation.version.name.as_str() {
        "plain" => FakeRun::Return(invocation.payload.clone()),
        _ => parent(invocation),
    };
    let node = Node::start(directory.path(), &now, script).await;
    let started = node.begin(false).await.unwrap();
    let event = node.event(1).await;
    let chained = |id: &str, target: &str| Update {
        function_name: Some(target.to_owned()),
        payload: Some("[1]".to_owned()),
        ..update(OperationKind::ChainedInvoke, id)
    };
    let updates = vec![
        chained("plain", "plain"),
        chained("durable", "flow:$LATEST"),
        chained("gone", "nobody"),
        chained("tenants", "tenants"),
    ];
    let answer = node.checkpoint(&started, &event, updates).await;
    // What cannot be invoked fails in the answer.
    for (at, expected) in [(2, "ResourceNotFoundException"), (3, "InvalidParameterValueException")] {
        let failed = &answer.operations[at];
        assert_eq!(failed.status, OperationStatus::Failed);
        assert_eq!(failed.error.clone().unwrap().error_type.as_deref(), Some(expected));
    }
    // The plain one, and the durable one, which is done at once.
    node.event(3).await;
    gate.add_permits(1);
    let ended = node.ended(&started.key).await;
    assert_eq!(ended.execution.status, ExecutionStatus::Succeeded);
    let history = node.durable.history(&started.key, None, false, 100).await.unwrap();
    let results: Vec<_> = history
        .iter()
        .filter(|event| event.kind == "ChainedInvokeSucceeded")
        .map(|event| event.details["Result"]["Payload"].as_str().unwrap().to_owned())
        .collect();
    assert!(results.contains(&"[1]".to_owned()) || results.contains(&"\"done\"".to_owned()), "{results:?}");
}

#[tokio::test]
async fn a_callback_wakes_its_execution() {
    let (directory, gate) = (tempfile::tempdir().unwrap(), Arc::new(Semaphore::new(0)));
    let node = Node::start(directory.path(), &clock(), suspends_once(&gate)).await;
    let started = node.begin(true).await;
    // Somebody who waits cannot wait that long.
    assert_eq!(started.unwrap_err().code, ErrorCode::InvalidParameterValueException);
    let started = node.begin(false).await.unwrap();
    let event = node.event(1).await;
    let answer = node.checkpoint(&started, &event, vec![update(OperationKind::Callback, "c")]).await;
    let Detail::Callback { nonce, .. } = answer.operations[0].detail else { panic!() };
    gate.add_permits(1);
    node.settled(&started).await;
    let token = CallbackToken { execution: started.key.id, nonce };
    let key = CallbackKey { scope: Scope::default(), token };
    node.durable.callback(key, CallbackResult::Succeeded(Some("7".to_owned()))).await.unwrap();
    let event = node.event(2).await;
    assert_eq!(event["InitialExecutionState"]["Operations"][1]["CallbackDetails"]["Result"], json!("7"));
    assert_eq!(node.ended(&started.key).await.execution.status, ExecutionStatus::Succeeded);
    assert!(node.durable.drain(Duration::from_secs(5)).await);
    assert!(node.begin(false).await.is_err(), "nothing begins while the server drains");
    assert!(node.invoker.drain(Duration::from_secs(5)).await);
}
