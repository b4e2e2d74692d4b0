//! Export to an OpenTelemetry collector: a span of each finished run, counters of functions, lines of functions. Off unless
//! `otel.endpoint` is set.
//!
//! ```text
//! Invoker::observe -> bounded queue -> batches -> POST <endpoint>/v1/traces
//! ExportedLogs     -> bounded queue -> batches -> POST <endpoint>/v1/logs
//! Invoker::metrics  every interval             -> POST <endpoint>/v1/metrics
//! ```
//! OTLP over HTTP with its JSON encoding, which collectors take at the same port as the binary one. Nobody waits for the
//! collector: what does not fit into a queue, or is refused for good, is dropped, counted and logged.
//! Source: OpenTelemetry protocol specification 1.x, "OTLP/HTTP"; semantic conventions for FaaS.

mod collector;
mod counters;
mod lines;
mod spans;

pub use lines::ExportedLogs;

use crate::config::Otel;
use crate::failure::Failure;
use collector::Collector;
use lamplight_invoke::{Invoker, ObservedRun};
use lamplight_model::Timestamp;
use lamplight_services::metrics::MetricStore;
use lines::Line;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Runs waiting to be sent.
const RUNS: usize = 8_192;
/// Lines waiting to be sent.
const LINES: usize = 32_768;
/// Runs or lines of one request.
const BATCH: usize = 512;
/// How long a batch waits to fill.
const GATHER: Duration = Duration::from_secs(1);
/// How often a loss is told at most.
const BETWEEN_NOTICES: Duration = Duration::from_secs(60);

/// The queues of an exporter, made before the parts that fill them.
pub struct Exporter {
    collector: Arc<Collector>,
    config: Otel,
    runs: mpsc::Receiver<ObservedRun>,
    lines: mpsc::Receiver<Line>,
    run_sender: mpsc::Sender<ObservedRun>,
    line_sender: mpsc::Sender<Line>,
    lost: Arc<AtomicU64>,
}

impl Exporter {
    /// `None` without an endpoint. Fails for an endpoint or header that cannot be used.
    pub fn new(config: &Otel) -> Result<Option<Self>, Failure> {
        let Some(collector) = Collector::new(config)? else { return Ok(None) };
        let (run_sender, runs) = mpsc::channel(RUNS);
        let (line_sender, lines) = mpsc::channel(LINES);
        let (collector, config) = (Arc::new(collector), config.clone());
        Ok(Some(Self { collector, config, runs, lines, run_sender, line_sender, lost: Arc::default() }))
    }

    /// Whether the settings can be used; asked before anything is started.
    pub fn check(config: &Otel) -> Result<(), Failure> {
        Collector::new(config).map(|_| ())
    }

    /// Where the log store's decorator hands lines over; `None` when logs are not exported.
    pub fn line_sender(&self) -> Option<(mpsc::Sender<Line>, Arc<AtomicU64>)> {
        self.config.logs.then(|| (self.line_sender.clone(), Arc::clone(&self.lost)))
    }

    /// Begins to export.
    pub fn start(
        self,
        invoker: &Arc<Invoker>,
        gathered: MetricStore,
        clock: lamplight_store::Clock,
    ) -> Exporting {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let Self { collector, config, runs, lines, run_sender, line_sender, lost } = self;
        // The queue of lines ends with the log store, not with this.
        drop(line_sender);
        let resource = resource(&config.service);
        if config.traces {
            let counted = Arc::clone(&lost);
            invoker.observe(Box::new(move |run| {
                if run_sender.try_send(run).is_err() {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            }));
            let resource = resource.clone();
            let body = move |batch: &[ObservedRun]| {
                let rows: Vec<Value> = batch.iter().flat_map(spans::of_run).collect();
                json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope(), "spans": rows}]}]})
            };
            tasks.spawn(send_batches(Arc::clone(&collector), "v1/traces", runs, body, stop.clone()));
        }
        if config.logs {
            let resource = resource.clone();
            let body = move |batch: &[Line]| {
                let rows: Vec<Value> = batch.iter().map(lines::record).collect();
                json!({"resourceLogs": [{"resource": resource, "scopeLogs": [{"scope": scope(), "logRecords": rows}]}]})
            };
            tasks.spawn(send_batches(Arc::clone(&collector), "v1/logs", lines, body, stop.clone()));
        }
        if config.metrics {
            let interval = Duration::from_secs(config.interval_seconds.max(1));
            let invoker = Arc::clone(invoker);
            tasks.spawn(send_counters(
                Arc::clone(&collector),
                invoker,
                gathered,
                resource,
                clock,
                interval,
                stop.clone(),
            ));
        }
        tasks.spawn(tell_losses(lost, stop.clone()));
        tasks.close();
        Exporting { tasks, stop }
    }
}

/// A running exporter.
pub struct Exporting {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Exporting {
    /// Sends what is queued, until `deadline` at the latest. Call it when nothing runs any more.
    pub async fn end(self, deadline: Instant) {
        self.stop.cancel();
        if tokio::time::timeout_at(deadline, self.tasks.wait()).await.is_err() {
            tracing::warn!("the collector did not take the last telemetry in time");
        }
    }
}

async fn send_batches<Row: Send + 'static>(
    collector: Arc<Collector>,
    path: &'static str,
    mut queue: mpsc::Receiver<Row>,
    body: impl Fn(&[Row]) -> Value + Send + 'static,
    stop: CancellationToken,
) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let ended = tokio::select! {
            () = stop.cancelled() => true,
            received = queue.recv_many(&mut batch, BATCH) => received == 0,
        };
        if !ended && batch.len() < BATCH {
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(GATHER) => {}
            }
        }
        while batch.len() < BATCH
            && let Ok(row) = queue.try_recv()
        {
            batch.push(row);
        }
        if !batch.is_empty() {
            collector.send(path, body(&batch), batch.len(), &stop).await;
            batch.clear();
        } else if ended {
            return;
        }
    }
}

async fn send_counters(
    collector: Arc<Collector>,
    invoker: Arc<Invoker>,
    gathered: MetricStore,
    resource: Value,
    clock: lamplight_store::Clock,
    interval: Duration,
    stop: CancellationToken,
) {
    let began = (clock)();
    let mut rounds = tokio::time::interval(interval);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let ended = tokio::select! {
            () = stop.cancelled() => true,
            _ = rounds.tick() => false,
        };
        let rows =
            counters::rows(&invoker.metrics(), &invoker.instances(), &gathered.totals(), began, (clock)());
        let count = rows.len();
        let scoped = json!([{"scope": scope(), "metrics": rows}]);
        let body = json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": scoped}]});
        collector.send("v1/metrics", body, count, &stop).await;
        if ended {
            return;
        }
    }
}

async fn tell_losses(lost: Arc<AtomicU64>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(BETWEEN_NOTICES) => {}
        }
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!(
                lost,
                "spans or lines were not exported: the collector takes fewer than there are"
            );
        }
    }
}

fn resource(service: &str) -> Value {
    let attributes = [
        text("service.name", service),
        text("service.version", env!("CARGO_PKG_VERSION")),
        text("host.arch", std::env::consts::ARCH),
    ];
    json!({"attributes": attributes})
}

fn scope() -> Value {
    json!({"name": "lamplight", "version": env!("CARGO_PKG_VERSION")})
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

/// Numbers of 64 bits are text in OTLP's JSON.
fn integer(key: &str, value: impl std::fmt::Display) -> Value {
    json!({"key": key, "value": {"intValue": value.to_string()}})
}

fn truth(key: &str, value: bool) -> Value {
    json!({"key": key, "value": {"boolValue": value}})
}

/// Nanoseconds since the epoch, as text.
fn nanoseconds(moment: Timestamp, and_microseconds: u64) -> String {
    let milliseconds = u128::try_from(moment.as_millis()).unwrap_or_default();
    (milliseconds * 1_000_000 + u128::from(and_microseconds) * 1_000).to_string()
}
