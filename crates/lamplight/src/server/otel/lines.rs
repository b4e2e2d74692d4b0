//! Lines of functions on their way to the collector: a log store that hands on what it takes.

use super::{nanoseconds, text};
use async_trait::async_trait;
use lamplight_model::{Scope, Timestamp};
use lamplight_store::{LogEvent, LogGroupInfo, LogGroupSettings, LogQuery, LogStreamInfo, Logs, StoreError};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, watch};

/// One line of a function.
#[derive(Debug)]
pub struct Line {
    scope: Scope,
    group: Arc<str>,
    stream: Arc<str>,
    timestamp: Timestamp,
    message: String,
}

/// The log store, and a queue to the collector beside it. Also the lines that the store drops for their rate are exported.
pub struct ExportedLogs {
    inner: Arc<dyn Logs>,
    lines: mpsc::Sender<Line>,
    lost: Arc<AtomicU64>,
}

impl ExportedLogs {
    /// Counts in `lost` what the queue had no room for.
    pub fn new(inner: Arc<dyn Logs>, lines: mpsc::Sender<Line>, lost: Arc<AtomicU64>) -> Arc<Self> {
        Arc::new(Self { inner, lines, lost })
    }

    fn export(&self, scope: &Scope, group: &str, stream: &str, lines: &[(Timestamp, String)]) {
        let (group, stream): (Arc<str>, Arc<str>) = (group.into(), stream.into());
        for (timestamp, message) in lines {
            let line = Line {
                scope: scope.clone(),
                group: Arc::clone(&group),
                stream: Arc::clone(&stream),
                timestamp: *timestamp,
                message: message.clone(),
            };
            if self.lines.try_send(line).is_err() {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// A log record.
pub(super) fn record(line: &Line) -> Value {
    let time = nanoseconds(line.timestamp, 0);
    let function = line.group.strip_prefix("/aws/lambda/");
    let mut attributes = vec![
        text("aws.log.group.name", &line.group),
        text("aws.log.stream.name", &line.stream),
        text("cloud.account.id", line.scope.account.as_str()),
        text("cloud.region", line.scope.region.as_str()),
    ];
    attributes.extend(function.map(|name| text("faas.name", name)));
    let message = line.message.strip_suffix('\n').unwrap_or(&line.message);
    json!({"timeUnixNano": time, "body": {"stringValue": message}, "attributes": attributes})
}

#[async_trait]
impl Logs for ExportedLogs {
    fn append(&self, scope: &Scope, group: &str, stream: &str, lines: Vec<(Timestamp, String)>) {
        self.export(scope, group, stream, &lines);
        self.inner.append(scope, group, stream, lines);
    }
    async fn flush(&self) -> Result<(), StoreError> {
        self.inner.flush().await
    }
    async fn put(
        &self,
        scope: &Scope,
        group: &str,
        stream: &str,
        events: Vec<(Timestamp, String)>,
    ) -> Result<bool, StoreError> {
        // What clients write is theirs to send elsewhere.
        self.inner.put(scope, group, stream, events).await
    }
    async fn create_group(
        &self,
        scope: &Scope,
        group: &str,
        settings: LogGroupSettings,
    ) -> Result<(), StoreError> {
        self.inner.create_group(scope, group, settings).await
    }
    async fn configure_group(
        &self,
        scope: &Scope,
        group: &str,
        settings: LogGroupSettings,
    ) -> Result<(), StoreError> {
        self.inner.configure_group(scope, group, settings).await
    }
    async fn delete_group(&self, scope: &Scope, group: &str) -> Result<(), StoreError> {
        self.inner.delete_group(scope, group).await
    }
    async fn group(&self, scope: &Scope, group: &str) -> Result<LogGroupInfo, StoreError> {
        self.inner.group(scope, group).await
    }
    async fn groups(
        &self,
        scope: &Scope,
        prefix: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<LogGroupInfo>, StoreError> {
        self.inner.groups(scope, prefix, after, limit).await
    }
    async fn create_stream(&self, scope: &Scope, group: &str, stream: &str) -> Result<(), StoreError> {
        self.inner.create_stream(scope, group, stream).await
    }
    async fn delete_stream(&self, scope: &Scope, group: &str, stream: &str) -> Result<(), StoreError> {
        self.inner.delete_stream(scope, group, stream).await
    }
    async fn last_sequence(&self, scope: &Scope, group: &str) -> Result<u64, StoreError> {
        self.inner.last_sequence(scope, group).await
    }
    async fn streams(&self, scope: &Scope, group: &str) -> Result<Vec<LogStreamInfo>, StoreError> {
        self.inner.streams(scope, group).await
    }
    async fn events(&self, scope: &Scope, group: &str, query: LogQuery) -> Result<Vec<LogEvent>, StoreError> {
        self.inner.events(scope, group, query).await
    }
    async fn retain(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.inner.retain(now).await
    }
    fn watch(&self) -> watch::Receiver<u64> {
        self.inner.watch()
    }
}
