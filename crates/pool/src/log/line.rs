//! The platform's own lines: INIT_START, START, END, REPORT, and their objects in the JSON log format.
//!
//! Sources: CloudWatch lines of AWS's own recordings; Telemetry API schema 2022-12-13 for the objects; "System
//! log level event mapping" of the Lambda developer guide for which object is written at which level.

use crate::initialization::InitializationType;
use lamplight_model::{
    ColdStart, FunctionVersion, InvocationReport, OutcomeStatus, RequestId, StartKind, TenantId, Timestamp,
};
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
        request_id: RequestId,
        /// Whose event it is, on functions that keep tenants apart.
        tenant: Option<&'a TenantId>,
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
    },
}

impl PlatformLine<'_> {
    /// The invocation it is about, if it is about one.
    pub fn request_id(&self) -> Option<RequestId> {
        match self {
            Self::InitStart { .. } | Self::InitDone { .. } | Self::InitReport { .. } => None,
            Self::Start { request_id, .. } | Self::Note { request_id, .. } => Some(*request_id),
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
            Self::InitDone { ahead: false, .. } => Vec::new(),
            Self::InitReport { duration, in_invocation, status, error_type, .. } => {
                let error = error_type.map(|error| format!("\tError Type: {error}")).unwrap_or_default();
                vec![format!(
                    "INIT_REPORT Init Duration: {:.2} ms\tPhase: {}\tStatus: {}{error}\n",
                    millis(*duration),
                    phase(*in_invocation),
                    status_word(*status),
                )]
            }
            Self::Start { request_id, .. } => {
                vec![format!("START RequestId: {request_id} Version: {}\n", version.version)]
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
            Self::InitDone { initialization, duration, start, cold_start, ahead } => {
                let done = json!({
                    "initializationType": initialization.as_str(),
                    "phase": "init",
                    "status": "success",
                });
                let mut report = done.clone();
                report["metrics"] = json!({ "durationMs": rounded(*duration) });
                report["coldStart"] = breakdown(*start, cold_start);
                // AWS: DEBUG for on-demand, whose report has it, INFO for the rest.
                let report_level = if *ahead { SystemLevel::Info } else { SystemLevel::Debug };
                vec![
                    (SystemLevel::Debug, "platform.initRuntimeDone", done),
                    (report_level, "platform.initReport", report),
                ]
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
            Self::Start { request_id, tenant } => {
                let mut start = json!({ "requestId": request_id, "version": version.version.to_string() });
                add_tenant(&mut start, *tenant);
                vec![(SystemLevel::Info, "platform.start", start)]
            }
            Self::Note { request_id, text, .. } => {
                vec![(SystemLevel::Warn, "platform.fault", json!({ "requestId": request_id, "fault": text }))]
            }
            Self::Report { report, tenant } => report_objects(report, *tenant),
        }
    }
}

/// Source: Lambda developer guide, "Monitoring Lambda functions with tenant isolation": in JSON logs only.
fn add_tenant(record: &mut Value, tenant: Option<&TenantId>) {
    if let Some(tenant) = tenant {
        record["tenantId"] = json!(tenant);
    }
}

fn report_objects(
    report: &InvocationReport,
    tenant: Option<&TenantId>,
) -> Vec<(SystemLevel, &'static str, Value)> {
    let succeeded = report.outcome.status == OutcomeStatus::Success;
    let duration = rounded(Duration::from_micros(report.duration_us));
    let mut done = json!({
        "requestId": report.request_id,
        "status": report.outcome.status,
        "metrics": { "durationMs": duration },
    });
    let mut summary = json!({
        "requestId": report.request_id,
        "status": report.outcome.status,
        "metrics": {
            "durationMs": duration,
            "billedDurationMs": report.billed_ms,
            "memorySizeMB": report.memory_mib,
            "maxMemoryUsedMB": report.max_memory_used_mib,
        },
    });
    add_tenant(&mut done, tenant);
    add_tenant(&mut summary, tenant);
    if let Some(error_type) = &report.outcome.error_type {
        done["errorType"] = json!(error_type);
        summary["errorType"] = json!(error_type);
    }
    if let Some(init_us) = report.init_us {
        summary["metrics"]["initDurationMs"] = json!(rounded(Duration::from_micros(init_us)));
    }
    if let Some(cold) = &report.cold_start {
        let mut cold_start = breakdown(report.start, cold);
        cold_start["queueMs"] = json!(rounded(Duration::from_micros(report.queue_us)));
        summary["coldStart"] = cold_start;
    }
    let (done_level, report_level) = if succeeded {
        (SystemLevel::Debug, SystemLevel::Info)
    } else {
        (SystemLevel::Warn, SystemLevel::Warn)
    };
    vec![(done_level, "platform.runtimeDone", done), (report_level, "platform.report", summary)]
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
