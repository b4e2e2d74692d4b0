//! The funnel over the real pool, store and Python bootstrap; only the wall is missing, which needs root.

use super::*;
use crate::lifecycle::converge_functions;
use crate::workers::contract;
use crate::{NodeWorkers, Running};
use lamplight_model::{ErrorCode, Invocation, OutcomeStatus, ServiceError};
use lamplight_pool::{Pool, PoolConfig, RuntimePlan};
use lamplight_sandbox::fake::{FakeBackend, FakeHost};
use lamplight_store::{Opened, Options, function_sessions, open, system_clock};
use std::io::Write as _;
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

const SOURCE: &str = r#"
import json, os
def handler(event, context):
    if event.get("fail"):
        raise ValueError("asked to fail")
    return event
"#;

struct Node {
    opened: Opened,
    pool: Arc<Pool>,
    invoker: Arc<Invoker>,
    stop: CancellationToken,
    _directory: tempfile::TempDir,
}

impl Node {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let temporary = directory.path().join("temporary");
        std::fs::create_dir(&temporary).unwrap();
        let opened = open(Options::new(&data)).unwrap();
        let bootstraps = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../runtime/bootstraps");
        let backend = FakeBackend::new(FakeHost {
            code: data.join("code/unpacked"),
            temporary,
            paths: vec![("/var/runtime".to_owned(), bootstraps.canonicalize().unwrap())],
        });
        let python = python();
        let pool = Pool::new(
            PoolConfig { compile_limit: std::time::Duration::ZERO, ..PoolConfig::for_host(8 << 30) },
            Arc::new(backend),
            Arc::clone(&opened.code),
            Arc::clone(&opened.logs),
            Arc::new(move |identifier: &str| match identifier {
                "python3.11" => {
                    let bootstrap = "/var/runtime/python/bootstrap.py".to_owned();
                    let command = vec![python.clone(), "-S".to_owned(), bootstrap];
                    Ok(RuntimePlan::managed(identifier, command, "3.11"))
                }
                other => Err(ServiceError::new(ErrorCode::InvalidRuntimeException, other)),
            }),
            Arc::new(|listener, _caller| {
                tokio::spawn(async move {
                    let _kept_open = listener;
                    std::future::pending().await
                })
            }),
            {
                let store = Arc::clone(&opened.store);
                Arc::new(move |version| {
                    let (store, version) = (Arc::clone(&store), version.clone());
                    Box::pin(async move {
                        let (account, now) = (&version.scope.account, system_clock()());
                        function_sessions::issue(
                            &*store,
                            account,
                            &version.role,
                            &version.name.to_string(),
                            now,
                        )
                        .await
                        .map_err(|error| ServiceError::internal(error.to_string()))
                    })
                })
            },
            system_clock(),
        );
        let invoker = Invoker::new(
            InvokerConfig::default(),
            Arc::clone(&opened.store),
            Arc::new(NodeWorkers(Arc::clone(&pool))),
            Arc::clone(&opened.ledger),
            system_clock(),
        );
        invoker.start();
        let stop = CancellationToken::new();
        tokio::spawn(converge_functions(
            Arc::clone(&opened.store),
            Arc::clone(&opened.code),
            Arc::new(|_| None),
            stop.clone(),
        ));
        Self { opened, pool, invoker, stop, _directory: directory }
    }

    /// Creates a function as the front door does, and waits until it is active.
    async fn create(&self, function_name: &str) {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        zip.start_file("app.py", zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(SOURCE.as_bytes()).unwrap();
        let code = self.opened.code.put(zip.finish().unwrap().into_inner().into()).await.unwrap();
        let mut changes = self.opened.store.watch_events();
        let lifecycle = Lifecycle { state: FunctionState::Pending, ..active() };
        let version = FunctionVersion { code, lifecycle, timeout_seconds: 60, ..function(function_name) };
        self.opened.store.put_version(version, Expect::Absent).await.unwrap();
        let target = request(function_name, None, "{}");
        while self.invoker.dry_run(&target).await.is_err() {
            changes.changed().await.unwrap();
        }
    }

    async fn end(self) {
        assert!(self.invoker.drain(Duration::from_secs(30)).await);
        self.stop.cancel();
        self.pool.drain(tokio::time::Instant::now() + Duration::from_secs(30)).await;
    }
}

/// The real interpreter, not a version manager's shim.
fn python() -> String {
    let arguments = ["-c", "import os, sys; print(os.path.realpath(sys.executable))"];
    let output = std::process::Command::new("python3").args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

async fn end_of(running: Running) -> (String, lamplight_pool::Finished) {
    let collected = running.answer.collect(6 << 20).await.unwrap();
    (String::from_utf8(collected.body.to_vec()).unwrap(), collected.finished().await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_function_is_called_cold_warm_and_failing_and_billed_each_time() {
    let node = Node::start().await;
    node.create("hello").await;
    let mut records = Vec::new();
    for payload in [r#"{"n":1}"#, r#"{"n":2}"#, r#"{"fail":true}"#] {
        let (body, finished) =
            end_of(node.invoker.invoke(request("hello", None, payload)).await.unwrap()).await;
        if payload.contains("fail") {
            assert!(body.contains(r#""errorMessage": "asked to fail""#), "{body}");
        } else {
            assert_eq!(body.replace(' ', ""), payload);
        }
        records.push(finished.report);
    }
    assert!(records[0].init_us.is_some() && records[1].init_us.is_none(), "cold, then warm");
    assert_eq!(records[2].outcome.status, OutcomeStatus::Error);
    node.opened.ledger.flush().await.unwrap();
    for record in &records {
        let found = node.opened.ledger.find(&Scope::default(), record.request_id).await.unwrap();
        assert_eq!(found.as_ref(), Some(record));
    }
    let metrics = &node.invoker.metrics().functions[0].metrics;
    assert_eq!((metrics.invocations, metrics.errors, metrics.starts_warm), (3, 1, 2));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_event_is_run_and_a_failing_one_waits_for_its_retry() {
    let node = Node::start().await;
    node.create("hello").await;
    node.invoker.enqueue(request("hello", None, r#"{"n":1}"#)).await.unwrap();
    node.invoker.enqueue(request("hello", None, r#"{"fail":true}"#)).await.unwrap();
    let mut changes = node.opened.store.watch_events();
    loop {
        let counts = node.opened.store.event_counts(&Scope::default(), &name("hello")).await.unwrap();
        let due = node.opened.store.next_due().await.unwrap();
        let now = (system_clock())();
        // The retry is a minute after the error; a lease that still ran would end earlier.
        if counts.done == 1 && due.is_some_and(|due| due > now.plus(Duration::from_secs(30))) {
            assert_eq!(counts.pending, 1);
            break;
        }
        tokio::time::timeout(Duration::from_secs(30), changes.changed()).await.unwrap().unwrap();
    }
    node.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pool_keeps_the_contract_of_workers() {
    let node = Node::start().await;
    node.create("hello").await;
    let version = node.invoker.resolve(&Scope::default(), &name("hello"), None).await.unwrap();
    // The funnel's own convergence must not take the contract's instances away.
    node.invoker.drain(Duration::ZERO).await;
    let workers = NodeWorkers(Arc::clone(&node.pool));
    contract::check(&workers, || Invocation {
        request_id: RequestId(uuid::Uuid::new_v4()),
        version: Arc::clone(&version),
        invoked_arn: version.unqualified_arn(),
        payload: Bytes::from_static(b"{\"n\": 1}"),
        client_context: None,
        trace_header: None,
        tenant_id: None,
        arrived_at: (system_clock())(),
        log_tail: false,
        place: Default::default(),
    })
    .await;
    node.end().await;
}
