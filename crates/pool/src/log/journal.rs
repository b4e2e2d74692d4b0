//! One instance's log stream: orders the function's lines and the platform's, and keeps the tail.

use super::line::{AfterRuntime, PlatformLine, Subject, SystemLevel};
use super::tail::Tail;
use crate::Clock;
use crate::initialization::InitializationType;
use bytes::Bytes;
use lamplight_model::{
    ColdStart, FunctionVersion, InvocationReport, Outcome, OutcomeStatus, RequestId, StartKind, TenantId,
    Timestamp,
};
use lamplight_runtime::ExtensionReport;
use lamplight_runtime::telemetry::{Record, Telemetry, TelemetryEvent};
use lamplight_store::Logs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How old the event of a function may claim to be, milliseconds: one may be written while an instance is idle
/// and be read with its next invocation.
const RECORD_AGE_MS: i64 = 3_600_000;

/// Where an instance's lines go.
#[derive(Clone)]
pub struct JournalTarget {
    /// The store. It never blocks and bounds what one group may write.
    pub logs: Arc<dyn Logs>,
    /// Wall clock.
    pub clock: Clock,
}

/// Who printed a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The runtime's process, and what it started.
    Function,
    /// An external extension.
    Extension,
}

impl Source {
    /// The type of its events.
    fn kind(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Extension => "extension",
        }
    }
}

/// The log stream of one instance, and the telemetry of its extensions.
pub struct Journal {
    target: JournalTarget,
    version: Arc<FunctionVersion>,
    stream: Arc<str>,
    initialization: InitializationType,
    system_level: SystemLevel,
    telemetry: Arc<Telemetry>,
    /// The invocations under way, with their tails if they are to be kept. Also the order of lines: nothing is appended
    /// without holding it.
    running: Mutex<Vec<Running>>,
}

struct Running {
    request_id: RequestId,
    tail: Option<Tail>,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Journal").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl Journal {
    /// `stream` is the stream's name: `YYYY/MM/DD/[version]<instance>`.
    pub fn new(
        target: JournalTarget,
        version: Arc<FunctionVersion>,
        stream: Arc<str>,
        initialization: InitializationType,
    ) -> Arc<Self> {
        let system_level = SystemLevel::parse(version.logging.system_log_level.as_deref());
        let telemetry = Arc::new(Telemetry::new(target.clock.clone()));
        let running = Mutex::default();
        Arc::new(Self { target, version, stream, initialization, system_level, telemetry, running })
    }

    /// Its stream's name.
    pub fn stream(&self) -> &Arc<str> {
        &self.stream
    }

    /// Why its instance was started.
    pub fn initialization(&self) -> InitializationType {
        self.initialization
    }

    /// What extensions of the instance may subscribe to.
    pub fn telemetry(&self) -> &Arc<Telemetry> {
        &self.telemetry
    }

    /// The wall clock.
    pub fn now(&self) -> Timestamp {
        (self.target.clock)()
    }

    /// Whether anybody is told when a runtime is done, which says nothing in a log of lines.
    pub fn tells_steps(&self) -> bool {
        self.version.logging.json || self.telemetry.is_wanted()
    }

    /// The runtime waits for its first event.
    pub fn init_runtime_done(&self) {
        self.platform(&PlatformLine::InitRuntimeDone { initialization: self.initialization });
    }

    /// An init is over: what became of the extensions, and to what they subscribed.
    pub fn extensions(&self, extensions: &[ExtensionReport]) {
        for (extension, api, categories) in self.telemetry.subscriptions() {
            let (extension, categories) = (&extension, &categories);
            self.platform(&PlatformLine::Subscription { extension, api, categories });
        }
        for extension in extensions {
            self.platform(&PlatformLine::Extension { extension });
        }
    }

    /// The runtime is done with an invocation.
    pub fn runtime_done(&self, subject: Subject<'_>, outcome: &Outcome, duration: Duration) {
        self.platform(&PlatformLine::RuntimeDone { subject, outcome, duration });
    }

    /// An instance begins to start.
    pub fn init_start(&self, runtime_version: &str, runtime_version_arn: &str) {
        let initialization = self.initialization;
        self.platform(&PlatformLine::InitStart { initialization, runtime_version, runtime_version_arn });
    }

    /// A start has succeeded; `duration` is that of the init phase, `ahead` says that no invocation reports it.
    pub fn init_done(&self, duration: Duration, start: StartKind, cold_start: &ColdStart, ahead: bool) {
        let initialization = self.initialization;
        self.platform(&PlatformLine::InitDone { initialization, duration, start, cold_start, ahead });
    }

    /// A start did not succeed.
    pub fn init_report(
        &self,
        duration: Duration,
        in_invocation: bool,
        status: OutcomeStatus,
        error_type: Option<&str>,
    ) {
        let initialization = self.initialization;
        self.platform(&PlatformLine::InitReport {
            initialization,
            duration,
            in_invocation,
            status,
            error_type,
        });
    }

    /// An invocation begins; `keep_tail` when its caller wants the last 4 KiB.
    pub fn start(&self, subject: Subject<'_>, keep_tail: bool) {
        let request_id = subject.request_id;
        self.lock().push(Running { request_id, tail: keep_tail.then(Tail::default) });
        self.platform(&PlatformLine::Start { subject });
    }

    /// Why the platform ended an invocation: its deadline.
    pub fn timed_out(&self, request_id: RequestId, text: &str) {
        self.platform(&PlatformLine::Note { request_id, text, prefixed: true });
    }

    /// Why the platform ended an invocation: the end of the runtime.
    pub fn note(&self, request_id: RequestId, text: &str) {
        self.platform(&PlatformLine::Note { request_id, text, prefixed: false });
    }

    /// Lines that were printed, each with its newline if it had one.
    pub fn lines(&self, source: Source, lines: Vec<String>) {
        let now = self.now();
        if self.telemetry.is_wanted() {
            lines.iter().for_each(|line| self.tell(source, now, line));
        }
        self.append(lines.into_iter().map(|line| (now, line)).collect(), None);
    }

    /// Log events that came with the function's own time, which is believed within `RECORD_AGE_MS` of now.
    pub fn function_records(&self, mut records: Vec<(Timestamp, String)>) {
        if records.is_empty() {
            return;
        }
        let now = (self.target.clock)().as_millis();
        for (timestamp, _) in &mut records {
            *timestamp = Timestamp(timestamp.as_millis().clamp(now - RECORD_AGE_MS, now));
        }
        if self.telemetry.is_wanted() {
            records.iter().for_each(|(time, text)| self.tell(Source::Function, *time, text));
        }
        self.append(records, None);
    }

    /// END and REPORT. Gives the tail if it was kept.
    pub fn report(
        &self,
        report: &InvocationReport,
        tenant: Option<&TenantId>,
        after_runtime: Option<AfterRuntime>,
    ) -> Option<Bytes> {
        self.platform(&PlatformLine::Report { report, tenant, after_runtime });
        let mut running = self.lock();
        let at = running.iter().position(|running| running.request_id == report.request_id)?;
        running.swap_remove(at).tail.map(Tail::finish)
    }

    fn tell(&self, source: Source, time: Timestamp, text: &str) {
        let record = Record::Line { text: text.to_owned(), json: self.version.logging.json };
        self.telemetry.emit(TelemetryEvent { time, kind: source.kind(), record });
    }

    fn platform(&self, line: &PlatformLine<'_>) {
        let now = self.now();
        if self.telemetry.is_wanted() {
            for (kind, record) in line.telemetry(&self.version) {
                self.telemetry.emit(TelemetryEvent { time: now, kind, record: Record::Value(record) });
            }
        }
        let lines = if self.version.logging.json {
            line.json(&self.version, now, self.system_level)
        } else {
            line.text(&self.version, now)
        };
        self.append(lines.into_iter().map(|line| (now, line)).collect(), line.request_id());
    }

    /// `of` is the invocation whose lines these are, if that is known.
    fn append(&self, lines: Vec<(Timestamp, String)>, of: Option<RequestId>) {
        if lines.is_empty() {
            return;
        }
        let mut running = self.lock();
        for (_, line) in &lines {
            add_to_tails(&mut running, line, of);
        }
        let version = &self.version;
        self.target.logs.append(&version.scope, &version.logging.log_group, &self.stream, lines);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds a line to the tails of those it belongs to. Of invocations that run side by side a line of the function belongs to
/// whom it names, as JSON logs do, and to all when it names none of them.
fn add_to_tails(running: &mut [Running], line: &str, of: Option<RequestId>) {
    if let [alone] = running {
        alone.tail.iter_mut().for_each(|tail| tail.push(line));
        return;
    }
    let named = |running: &Running| line.contains(&running.request_id.to_string());
    let names_one = of.is_none() && running.iter().any(named);
    for running in running {
        let belongs = match of {
            Some(of) => running.request_id == of,
            None => !names_one || named(running),
        };
        if belongs && let Some(tail) = &mut running.tail {
            tail.push(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_invocations_side_by_side() {
        let id = |number| RequestId(uuid::Uuid::from_u128(number));
        let mut running: Vec<Running> =
            [1, 2].map(|number| Running { request_id: id(number), tail: Some(Tail::default()) }).into();
        add_to_tails(&mut running, "START of one\n", Some(id(1)));
        add_to_tails(&mut running, "of nobody\n", None);
        add_to_tails(&mut running, &format!("names {}\n", id(2)), None);
        add_to_tails(&mut running, "of another, which is over\n", Some(id(3)));
        let tails: Vec<_> = running.into_iter().map(|running| running.tail.unwrap().finish()).collect();
        assert_eq!(tails[0], "START of one\nof nobody\n");
        assert_eq!(tails[1], format!("of nobody\nnames {}\n", id(2)));
    }

    #[test]
    fn an_invocation_alone_gets_all_lines() {
        let mut running = [Running { request_id: RequestId(uuid::Uuid::nil()), tail: Some(Tail::default()) }];
        add_to_tails(&mut running, "printed\n", None);
        let [alone] = running;
        assert_eq!(alone.tail.unwrap().finish(), "printed\n");
    }
}
