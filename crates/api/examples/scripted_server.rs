//! The front door on the real store, with scripted workers instead of instances: for trying clients against the
//! wire protocols without root. Echoes every event; `{"fail": ...}` is answered by an error document.
//!
//! `cargo run -p lamplight-api --example scripted_server -- DATA_DIRECTORY [PORT]`

use axum::body::Body;
use lamplight_api::{ApiConfig, ApiState};
use lamplight_invoke::lifecycle::converge_functions;
use lamplight_invoke::workers::fake::{FakeRun, FakeWorkers};
use lamplight_invoke::{DurableConfiguration, DurableExecutions, Invoker, InvokerConfig};
use lamplight_listener::{Limits, Listener};
use lamplight_model::{Invocation, Timestamp};
use lamplight_services::objects::{Bounds, ObjectStore};
use lamplight_services::queues::{self, Queues};
use lamplight_store::Logs;
use lamplight_store::{Options, open, system_clock};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("usage: scripted_server DATA_DIRECTORY [PORT]")?;
    let port: u16 = arguments.next().map_or(Ok(0), |port| port.parse())?;
    let opened = open(Options::new(directory))?;
    let (logs, clock) = (Arc::clone(&opened.logs), system_clock());
    let log_clock = Arc::clone(&clock);
    let workers = FakeWorkers::new(move |invocation| {
        log(&*logs, log_clock(), invocation);
        if invocation.payload.windows(6).any(|window| window == b"\"fail\"") {
            FakeRun::handler_error("asked to fail")
        } else {
            FakeRun::Return(invocation.payload.clone())
        }
    });
    let invoker = Invoker::new(
        InvokerConfig::default(),
        Arc::clone(&opened.store),
        workers,
        Arc::clone(&opened.ledger),
        Arc::clone(&clock),
    );
    invoker.start();
    tokio::spawn(converge_functions(
        Arc::clone(&opened.store),
        Arc::clone(&opened.code),
        Arc::new(|_| None),
        CancellationToken::new(),
    ));
    let durable = DurableExecutions::new(
        DurableConfiguration::default(),
        opened.executions,
        Arc::clone(&invoker),
        Arc::clone(&clock),
    );
    durable.run();
    let state = ApiState::new(
        opened.store,
        opened.code,
        invoker,
        durable,
        opened.logs,
        opened.ledger,
        ObjectStore::open(&opened.directory, Bounds::default(), Arc::clone(&clock))?,
        Queues::open(&opened.directory, queues::Bounds::default(), Arc::clone(&clock))?,
        lamplight_services::metrics::MetricStore::open(&opened.directory, Arc::clone(&clock))?,
        ApiConfig::default(),
        clock,
    );
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let router = lamplight_api::router(state);
    let answer = move |request: http::Request<_>, _| router.clone().answer(request.map(Body::new));
    let listener = Listener::plain(listener, Limits::api(), std::time::Duration::ZERO);
    lamplight_listener::serve(listener, answer, std::future::pending()).await;
    Ok(())
}

fn log(logs: &dyn Logs, now: Timestamp, invocation: &Invocation) {
    let (version, id) = (&invocation.version, invocation.request_id);
    let mut lines = vec![format!("START RequestId: {id} Version: {}\n", version.version)];
    let event: serde_json::Value = serde_json::from_slice(&invocation.payload).unwrap_or_default();
    for line in event["print"].as_array().into_iter().flatten() {
        lines.push(format!("{}\n", line.as_str().unwrap_or_default()));
    }
    lines.push(format!("END RequestId: {id}\n"));
    let stream = format!("{}/[{}]{:032x}", now.log_stream_date(), version.version, 1);
    let lines = lines.into_iter().map(|line| (now, line)).collect();
    logs.append(&version.scope, &version.logging.log_group, &stream, lines);
}
