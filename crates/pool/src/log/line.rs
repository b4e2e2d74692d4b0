//! The platform's own lines: INIT_START, START, END, REPORT, and their objects in the JSON log format.
//!
//! Sources: CloudWatch lines of AWS's own recordings; Telemetry API schema 2022-12-13 for the objects; "System
//! log level event mapping" of the Lambda developer guide for which object is written at which level.

use crate::initialization::InitializationType;
use lamplight_model::{
    ColdStart, FunctionVersion, InvocationReport, Outcome, OutcomeStatus, RequestId, StartKind, TenantId,
    Timestamp,
};
use lamplight_runtime::ExtensionReport;
use lamplight_runtime::telemetry::{Api, Category};
use serde_json::{Value, json};
use std::time::Duration;

/// `SystemLogLevel`, the quietest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SystemLevel {
    /// Everything.
    Debug,
    /// The default.
    Info,
    /// Only what went wrong.
    Warn,
}

impl SystemLevel {
    /// From the configuration; anything else means the default.
    pub fn parse(text: Option<&str>) -> Self {
        match text {
            Some("DEBUG") => Self::Debug,
            Some("WARN") => Self::Warn,
            _ => Self::Info,
        }
    }
}

/// What the platform's lines say of an invocation.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Which.
    pub request_id: RequestId,
    /// Its `X-Amzn-Trace-Id`.
    pub trace_header: Option<&'a str>,
    /// Whose event it is, on functions that keep tenants apart.
    pub tenant: Option<&'a TenantId>,
}

/// One thing the platform says in a function's log.
#[derive(Debug, Clone)]
pub enum PlatformLine<'a> {
    /// An instance begins to start.
    InitStart {
        /// Why.
        initialization: InitializationType,
        /// `python:3.11.7`.
        runtime_version: &'a str,
        /// Stands for the exact interpreter.
        runtime_version_arn: &'a str,
    },
    /// The runtime waits for its first event.
    InitRuntimeDone {
        /// Why it was started.
        initialization: InitializationType,
    },
    /// What became of an extension in the init.
    Extension {
        /// The extension.
        extension: &'a ExtensionReport,
    },
    /// An extension has subscribed to telemetry.
    Subscription {
        /// Its name.
        extension: &'a str,
        /// How.
        api: Api,
        /// To what.
        categories: &'a [Category],
    },
    /// A start has succeeded.
    InitDone {
        /// Why it was started.
        initialization: InitializationType,
        /// How long its init phase took.
        duration: Duration,
        /// Which way it came to be.
        start: StartKind,
        /// Where the time went.
        cold_start: &'a ColdStart,
        /// Whether it was started ahead of its first invocation, whose report does not tell of it.
        ahead: bool,
    },
    /// A start did not succeed.
    InitReport {
        /// Why it was started.
        initialization: InitializationType,
        /// How long it took.
        duration: Duration,
        /// Whether it was part of an invocation.
        in_invocation: bool,
        /// How it ended.
        status: OutcomeStatus,
        /// `errorType`.
        error_type: Option<&'a str>,
    },
    /// An invocation begins.
    Start {
        /// Which.
        subject: Subject<'a>,
    },
    /// The runtime is done with an invocation; extensions may work on.
    RuntimeDone {
        /// Which.
        subject: Subject<'a>,
        /// How it ended.
        outcome: &'a Outcome,
        /// Since its beginning.
        duration: Duration,
    },
    /// What the platform has to say about a failure.
    Note {
        /// Of which invocation.
        request_id: RequestId,
        /// Text without newline at the end.
        text: &'a str,
        /// Whether a timestamp and the request id precede it.
        prefixed: bool,
    },
    /// An invocation is over.
    Report {
        /// Its record.
        report: &'a InvocationReport,
        /// Whose event it was.
        tenant: Option<&'a TenantId>,
        /// What extensions took after the runtime was done, if there are any.
        after_runtime: Option<AfterRuntime>,
    },
}

/// What extensions took after the runtime was done with an invocation: the metric `PostRuntimeExecutionDuration`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AfterRuntime {
    /// When the runtime was done.
    pub since: Timestamp,
    /// How long they worked on.
    pub duration: Duration,
}

impl PlatformLine<'_> {
    /// The invocation it is about, if it is about one.
    pub fn request_id(&self) -> Option<RequestId> {
        match self {
            Self::InitStart { .. }
            | Self::InitRuntimeDone { .. }
            | Self::Extension { .. }
            | Self::Subscription { .. }
            | Self::InitDone { .. }
            | Self::InitReport { .. } => None,
            Self::Start { subject } | Self::RuntimeDone { subject, .. } => Some(subject.request_id),
            Self::Note { request_id, .. } => Some(*request_id),
            Self::Report { report, .. } => Some(report.request_id),
        }
    }

    /// The lines of the text format.
    pub fn text(&self, version: &FunctionVersion, now: Timestamp) -> Vec<String> {
        match self {
            Self::InitStart { runtime_version, runtime_version_arn, .. } => vec![format!(
                "INIT_START Runtime Version: {runtime_version}\tRuntime Version ARN: {runtime_version_arn}\n"
            )],
            Self::InitDone { duration, ahead: true, .. } => vec![format!(
                "INIT_REPORT Init Duration: {:.2} ms\tPhase: init\tStatus: success\n",
                millis(*duration)
            )],
            // REPORT tells the first call what it waited for.
            Self::InitDone { ahead: false, .. } | Self::InitRuntimeDone { .. } | Self::RuntimeDone { .. } => {
                Vec::new()
            }
            Self::Extension { extension: ExtensionReport { name, state, events, error_type } } => {
                let error =
                    error_type.as_ref().map(|error| format!("\tError Type: {error}")).unwrap_or_default();
                let events = events.join(",");
                vec![format!("EXTENSION\tName: {name}\tState: {state}\tEvents: [{events}]{error}\n")]
            }
            Self::Subscription { extension, api, categories } => {
                let word = match api {
                    Api::Telemetry => "TELEMETRY",
                    Api::Logs => "LOGS",
                };
                let types = names(categories).join(",");
                vec![format!("{word}\tName: {extension}\tState: Subscribed\tTypes: [{types}]\n")]
            }
            Self::InitReport { duration, in_invocation, status, error_type, .. } => {
                let error = error_type.map(|error| format!("\tError Type: {error}")).unwrap_or_default();
                vec![format!(
                    "INIT_REPORT Init Duration: {:.2} ms\tPhase: {}\tStatus: {}{error}\n",
                    millis(*duration),
                    phase(*in_invocation),
                    status_word(*status),
                )]
            }
            Self::Start { subject } => {
                vec![format!("START RequestId: {} Version: {}\n", subject.request_id, version.version)]
            }
            Self::Note { request_id, text, prefixed: true } => {
                vec![format!("{} {request_id} {text}\n\n", now.iso_format())]
            }
            Self::Note { text, prefixed: false, .. } => vec![format!("{text}\n")],
            Self::Report { report, .. } => {
                vec![format!("END RequestId: {}\n", report.request_id), report.report_line()]
            }
        }
    }

    /// The objects of the JSON format that `level` lets pass.
    pub fn json(&self, version: &FunctionVersion, now: Timestamp, level: SystemLevel) -> Vec<String> {
        self.objects(version)
            .into_iter()
            .filter(|(at, _, _)| *at >= level)
            .map(|(_, kind, record)| {
                let object = json!({ "time": now.iso_format(), "type": kind, "record": record });
                format!("{object}\n")
            })
            .collect()
    }

    /// The same for extensions that subscribed to telemetry, whatever the log's format: type and record.
    pub fn telemetry(&self, version: &FunctionVersion) -> Vec<(&'static str, Value)> {
        let mut events = match self {
            // Told by whoever takes subscriptions.
            Self::Subscription { .. } => Vec::new(),
            Self::Note { request_id, text, prefixed } => {
                let text =
                    if *prefixed { format!("RequestId: {request_id} {text}") } else { (*text).to_owned() };
                vec![("platform.fault", Value::from(text))]
            }
            line => line.objects(version).into_iter().map(|(_, kind, record)| (kind, record)).collect(),
        };
        if let Self::Report { report, .. } = self {
            events.insert(0, ("platform.end", json!({ "requestId": report.request_id })));
        }
        events
    }

    fn objects(&self, version: &FunctionVersion) -> Vec<(SystemLevel, &'static str, Value)> {
        match self {
            Self::InitStart { initialization, runtime_version, runtime_version_arn } => vec![(
                SystemLevel::Info,
                "platform.initStart",
                json!({
                    "initializationType": initialization.as_str(),
                    "phase": "init",
                    "runtimeVersion": runtime_version,
                    "runtimeVersionArn": runtime_version_arn,
                    "functionName": version.name,
                    "functionVersion": version.version.to_string(),
                }),
            )],
            Self::InitRuntimeDone { initialization } => {
                vec![(SystemLevel::Debug, "platform.initRuntimeDone", init_success(*initialization))]
            }
            Self::Extension { extension } => {
                let mut record = json!({
                    "name": extension.name, "state": extension.state, "events": extension.events,
                });
                if let Some(error_type) = &extension.error_type {
                    record["errorType"] = json!(error_type);
                }
                vec![(SystemLevel::Info, "platform.extension", record)]
            }
            Self::Subscription { extension, api, categories } => {
                let kind = match api {
                    Api::Telemetry => "platform.telemetrySubscription",
                    Api::Logs => "platform.logsSubscription",
                };
                let record = json!({ "name": extension, "state": "Subscribed", "types": names(categories) });
                vec![(SystemLevel::Info, kind, record)]
            }
            Self::InitDone { initialization, duration, start, cold_start, ahead } => {
                let mut report = init_success(*initialization);
                report["metrics"] = json!({ "durationMs": rounded(*duration) });
                report["coldStart"] = breakdown(*start, cold_start);
                // AWS: DEBUG for on-demand, whose report has it, INFO for the rest.
                let level = if *ahead { SystemLevel::Info } else { SystemLevel::Debug };
                vec![(level, "platform.initReport", report)]
            }
            Self::InitReport { initialization, duration, in_invocation, status, error_type } => {
                let mut done = json!({
                    "initializationType": initialization.as_str(),
                    "phase": phase(*in_invocation),
                    "status": status_word(*status),
                });
                if let Some(error_type) = error_type {
                    done["errorType"] = json!(error_type);
                }
                let mut report = done.clone();
                report["metrics"] = json!({ "durationMs": rounded(*duration) });
                vec![
                    (SystemLevel::Warn, "platform.initRuntimeDone", done),
                    (SystemLevel::Warn, "platform.initReport", report),
                ]
            }
            Self::Start { subject } => {
                let version = version.version.to_string();
                let mut record = json!({ "requestId": subject.request_id, "version": version });
                add_tenant(&mut record, subject.tenant);
                add_tracing(&mut record, subject.trace_header);
                vec![(SystemLevel::Info, "platform.start", record)]
            }
            Self::RuntimeDone { subject, outcome, duration } => {
                let mut record = json!({
                    "requestId": subject.request_id,
                    "status": outcome.status,
                    "metrics": { "durationMs": rounded(*duration) },
                });
                if let Some(error_type) = &outcome.error_type {
                    record["errorType"] = json!(error_type);
                }
                add_tenant(&mut record, subject.tenant);
                add_tracing(&mut record, subject.trace_header);
                let succeeded = outcome.status == OutcomeStatus::Success;
                let level = if succeeded { SystemLevel::Debug } else { SystemLevel::Warn };
                vec![(level, "platform.runtimeDone", record)]
            }
            Self::Note { request_id, text, .. } => {
                vec![(SystemLevel::Warn, "platform.fault", json!({ "requestId": request_id, "fault": text }))]
            }
            Self::Report { report, tenant, after_runtime } => {
                vec![report_object(report, *tenant, *after_runtime)]
            }
        }
    }
}

/// Source: Lambda developer guide, "Monitoring Lambda functions with tenant isolation": in JSON logs only.
fn add_tenant(record: &mut Value, tenant: Option<&TenantId>) {
    if let Some(tenant) = tenant {
        record["tenantId"] = json!(tenant);
    }
}

fn init_success(initialization: InitializationType) -> Value {
    json!({ "initializationType": initialization.as_str(), "phase": "init", "status": "success" })
}

fn names(categories: &[Category]) -> Vec<&'static str> {
    categories.iter().map(|category| category.name()).collect()
}

fn add_tracing(record: &mut Value, trace_header: Option<&str>) {
    if let Some(value) = trace_header {
        record["tracing"] = json!({ "type": "X-Amzn-Trace-Id", "value": value });
    }
}

fn report_object(
    report: &InvocationReport,
    tenant: Option<&TenantId>,
    after_runtime: Option<AfterRuntime>,
) -> (SystemLevel, &'static str, Value) {
    let mut summary = json!({
        "requestId": report.request_id,
        "status": report.outcome.status,
        "metrics": {
            "durationMs": rounded(Duration::from_micros(report.duration_us)),
            "billedDurationMs": report.billed_ms,
            "memorySizeMB": report.memory_mib,
            "maxMemoryUsedMB": report.max_memory_used_mib,
        },
    });
    add_tenant(&mut summary, tenant);
    if let Some(error_type) = &report.outcome.error_type {
        summary["errorType"] = json!(error_type);
    }
    if let Some(init_us) = report.init_us {
        summary["metrics"]["initDurationMs"] = json!(rounded(Duration::from_micros(init_us)));
    }
    if let Some(AfterRuntime { since, duration }) = after_runtime {
        // The span's name is AWS's as far as we know; nobody recorded one.
        summary["spans"] = json!([
            { "name": "extensionOverhead", "start": since.iso_format(), "durationMs": rounded(duration) },
        ]);
    }
    if let Some(cold) = &report.cold_start {
        let mut cold_start = breakdown(report.start, cold);
        cold_start["queueMs"] = json!(rounded(Duration::from_micros(report.queue_us)));
        summary["coldStart"] = cold_start;
    }
    let succeeded = report.outcome.status == OutcomeStatus::Success;
    let level = if succeeded { SystemLevel::Info } else { SystemLevel::Warn };
    (level, "platform.report", summary)
}

/// Ours: which way an instance came to be, and where the time went.
fn breakdown(start: StartKind, cold: &ColdStart) -> Value {
    let ms = |us| rounded(Duration::from_micros(us));
    json!({
        "start": start,
        "sandboxMs": ms(cold.sandbox_us),
        "codeMs": ms(cold.code_us),
        "interpreterMs": ms(cold.interpreter_us),
        "initMs": ms(cold.init_us),
    })
}

fn phase(in_invocation: bool) -> &'static str {
    if in_invocation { "invoke" } else { "init" }
}

fn status_word(status: OutcomeStatus) -> &'static str {
    match status {
        OutcomeStatus::Success => "success",
        OutcomeStatus::Timeout => "timeout",
        OutcomeStatus::Error | OutcomeStatus::Failure => "error",
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Milliseconds with three decimals, as the telemetry objects have them.
fn rounded(duration: Duration) -> f64 {
    (millis(duration) * 1000.0).round() / 1000.0
}
