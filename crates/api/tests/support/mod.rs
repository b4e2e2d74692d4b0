//! A front door in this process: the real store in a directory of its own, scripted workers, a loopback port.

// Each test program uses a part of it.
#![allow(dead_code)]

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use lamplight_api::{ApiConfig, ApiState};
use lamplight_invoke::workers::fake::{FakeRun, FakeWorkers};
use lamplight_invoke::{DurableConfiguration, DurableExecutions, Invoker, InvokerConfig, converge_functions};
use lamplight_listener::{Limits, Listener, Received};
use lamplight_model::{Caller, Invocation, Timestamp};
use lamplight_services::objects::{Bounds, ObjectStore};
use lamplight_services::queues::{self, Queues};
use lamplight_store::{Opened, Options, open};
use serde_json::{Value, json};
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Noon of 2026-01-31, where the tests' clock begins.
pub const NOON: i64 = 1_769_860_800_000;

/// Serves a front door on a listener.
pub async fn serve(
    listener: tokio::net::TcpListener,
    router: lamplight_api::FrontDoor,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send,
) {
    let answer = move |request: Request<Received>, _| router.clone().answer(request.map(Body::new));
    let listener = Listener::plain(listener, limits, Duration::from_secs(30));
    lamplight_listener::serve(listener, answer, shutdown).await;
}

/// The server and a client of it.
pub struct FrontDoor {
    pub state: Arc<ApiState>,
    pub opened: Opened,
    pub workers: Arc<FakeWorkers>,
    pub address: SocketAddr,
    /// The clock, epoch milliseconds.
    pub now: Arc<AtomicI64>,
    /// What keeps instances from being started.
    pub trouble: Arc<Mutex<Option<String>>>,
    client: Client<HttpConnector, Full<Bytes>>,
    _directory: tempfile::TempDir,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Status and `x-amzn-ErrorType`.
    pub fn error(&self) -> (u16, &str) {
        (self.status.as_u16(), self.header("x-amzn-errortype").unwrap_or_default())
    }
}

impl FrontDoor {
    /// Answers every event by itself.
    pub async fn echo() -> Self {
        Self::start(|invocation| FakeRun::Return(invocation.payload.clone()), Caller::Loopback).await
    }

    pub async fn start(
        script: impl Fn(&Invocation) -> FakeRun + Send + Sync + 'static,
        caller: Caller,
    ) -> Self {
        Self::with_concurrency(script, caller, 2).await
    }

    /// With another concurrency of the account.
    pub async fn with_concurrency(
        script: impl Fn(&Invocation) -> FakeRun + Send + Sync + 'static,
        caller: Caller,
        account_concurrency: usize,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let now = Arc::new(AtomicI64::new(NOON));
        let clock: lamplight_api::Clock = {
            let now = Arc::clone(&now);
            Arc::new(move || Timestamp(now.load(Ordering::Relaxed)))
        };
        let mut options = Options::new(directory.path());
        options.clock = Arc::clone(&clock);
        let opened = open(options).unwrap();
        let workers = FakeWorkers::new(script);
        let invoker = Invoker::new(
            InvokerConfig { account_concurrency, ..InvokerConfig::default() },
            Arc::clone(&opened.store),
            workers.clone(),
            Arc::clone(&opened.ledger),
            Arc::clone(&clock),
        );
        tokio::spawn(converge_functions(
            Arc::clone(&opened.store),
            Arc::clone(&opened.code),
            Arc::new(|_| None),
            CancellationToken::new(),
        ));
        let provisioning = Arc::clone(invoker.provisioning());
        tokio::spawn(async move { provisioning.converge(CancellationToken::new()).await });
        let trouble: Arc<Mutex<Option<String>>> = Arc::default();
        let config = ApiConfig {
            trouble: {
                let trouble = Arc::clone(&trouble);
                Arc::new(move || trouble.lock().unwrap().clone())
            },
            architecture: "x86_64",
            allowed_hosts: Arc::new(vec!["lamplight.example".to_owned()].into()),
            ..ApiConfig::default()
        };
        let durable = DurableExecutions::new(
            DurableConfiguration::default(),
            Arc::clone(&opened.executions),
            Arc::clone(&invoker),
            Arc::clone(&clock),
        );
        durable.run();
        let state = ApiState::new(
            Arc::clone(&opened.store),
            Arc::clone(&opened.code),
            invoker,
            durable,
            Arc::clone(&opened.logs),
            Arc::clone(&opened.ledger),
            ObjectStore::open(&opened.directory, Bounds::default(), Arc::clone(&clock)).unwrap(),
            Queues::open(&opened.directory, queues::Bounds::default(), Arc::clone(&clock)).unwrap(),
            lamplight_services::metrics::MetricStore::open(&opened.directory, Arc::clone(&clock)).unwrap(),
            config,
            clock,
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = lamplight_api::function_endpoint(Arc::clone(&state), caller);
        tokio::spawn(serve(listener, router, Limits::api(), std::future::pending()));
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { state, opened, workers, address, now, trouble, client, _directory: directory }
    }

    /// The same server, reached by another listener: every request comes from `caller`.
    pub async fn asked_by(self, caller: Caller) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let endpoint = lamplight_api::function_endpoint(Arc::clone(&self.state), caller);
        let limits = Limits::instance();
        tokio::spawn(serve(listener, endpoint, limits, std::future::pending()));
        Self { address, ..self }
    }

    /// Sends one request and reads the answer.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let (parts, body) = self.open(method, path, headers, body).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// Sends one request; the answer's body is still to be read.
    pub async fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Response<Incoming> {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.client.request(request.body(Full::new(body.into())).unwrap()).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").await
    }

    /// Creates a Python function and waits until it is active.
    pub async fn create(&self, name: &str) {
        let answer = self.post("/2015-03-31/functions", &create_request(name)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        self.wait_until_active(name).await;
    }

    /// Waits for the store to say that a function is finished.
    pub async fn wait_until_active(&self, name: &str) {
        let mut changes = self.opened.store.watch_events();
        loop {
            changes.borrow_and_update();
            let answer = self.get(&format!("/2015-03-31/functions/{name}/configuration")).await.json();
            if answer["State"] == "Active" && answer["LastUpdateStatus"] == "Successful" {
                return;
            }
            changes.changed().await.unwrap();
        }
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, &[], body.to_string()).await
    }

    pub async fn invoke(&self, name: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        self.send(Method::POST, &format!("/2015-03-31/functions/{name}/invocations"), headers, body).await
    }
}

/// A package with one file.
pub fn package() -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    archive.start_file("app.py", zip::write::SimpleFileOptions::default()).unwrap();
    archive.write_all(b"def handler(event, context): return event\n").unwrap();
    archive.finish().unwrap().into_inner()
}

/// The smallest CreateFunction.
pub fn create_request(name: &str) -> Value {
    use base64::Engine as _;
    json!({
        "FunctionName": name,
        "Runtime": "python3.11",
        "Handler": "app.handler",
        "Role": "arn:aws:iam::000000000000:role/r",
        "Code": {"ZipFile": base64::engine::general_purpose::STANDARD.encode(package())},
    })
}
