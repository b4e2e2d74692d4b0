//! Spans of finished runs: the run, and within it what its caller waited for and what the handler took.
//!
//! ```text
//! hello (server)  ├─ queue ─┤├─ sandbox ─┤├─ code ─┤├─ interpreter ─┤├─ init ─┤├─ handler ─┤
//! ```
//! Phases of a cold start end where the handler begins, one before the other; those of an instance that was started ahead may
//! so begin before the run did.

use super::{integer, nanoseconds, text, truth};
use lamplight_invoke::ObservedRun;
use lamplight_model::name::function_arn;
use lamplight_model::{FunctionName, OutcomeStatus, Qualifier, StartKind, Timestamp};
use serde_json::{Value, json};

const SERVER: u32 = 2;
const INTERNAL: u32 = 1;
const ERROR: u32 = 2;

/// Where a trace comes from: `Root=1-<8 hex>-<24 hex>;Parent=<16 hex>;Sampled=1`. Source: X-Ray guide, "Tracing header".
#[derive(Debug, PartialEq, Eq)]
struct TraceHeader {
    trace_id: String,
    /// Of a span that somebody else exports.
    parent: Option<String>,
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn parse(header: &str) -> Option<TraceHeader> {
    let field =
        |name: &str| header.split(';').find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='));
    let mut root = field("Root")?.splitn(3, '-');
    let (version, time, rest) = (root.next()?, root.next()?, root.next()?);
    if version != "1" || !is_hex(time, 8) || !is_hex(rest, 24) {
        return None;
    }
    // What is not sampled has no spans elsewhere; so are the headers of the front door's own making.
    let parent = field("Parent").filter(|parent| field("Sampled") == Some("1") && is_hex(parent, 16));
    Some(TraceHeader {
        trace_id: format!("{time}{rest}").to_lowercase(),
        parent: parent.map(str::to_lowercase),
    })
}

/// A span's id, of the run and what it is for: the same should it be sent twice.
fn span_id(run: &ObservedRun, which: &str) -> String {
    use sha2::{Digest as _, Sha256};
    let report = &run.report;
    let mut digest = Sha256::new();
    digest.update(report.request_id.0.as_bytes());
    // Retries of an event have the same request id.
    digest.update(report.arrived_at.as_millis().to_le_bytes());
    digest.update(report.instance_id.as_bytes());
    digest.update(which.as_bytes());
    digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The span of a run and those within it.
pub(super) fn of_run(run: &ObservedRun) -> Vec<Value> {
    let report = &run.report;
    let header = run.trace_header.as_deref().and_then(parse);
    let (trace_id, parent) = match header {
        Some(header) => (header.trace_id, header.parent),
        None => (report.request_id.0.simple().to_string(), None),
    };
    let own_id = span_id(run, "run");
    let phases: Vec<(&str, u64)> = report.cold_start.map_or_else(Vec::new, |cold| {
        vec![
            ("sandbox", cold.sandbox_us),
            ("code", cold.code_us),
            ("interpreter", cold.interpreter_us),
            ("init", cold.init_us),
        ]
    });
    let started_us: u64 = if is_ahead(run) { 0 } else { phases.iter().map(|(_, us)| us).sum() };
    let handler_at = report.queue_us + started_us;
    let mut root = span(&trace_id, &own_id, parent.as_deref(), &report.function, SERVER);
    set_times(&mut root, report.arrived_at, 0, handler_at + report.duration_us);
    root["attributes"] = attributes(run).into();
    if report.outcome.status != OutcomeStatus::Success {
        let message = report.outcome.error_type.as_deref().unwrap_or("Unknown");
        root["status"] = json!({"code": ERROR, "message": message});
    }
    let mut spans = vec![root];
    let mut child = |name: &str, from_us: i128, until_us: i128| {
        if until_us > from_us {
            let mut span = span(&trace_id, &span_id(run, name), Some(&own_id), name, INTERNAL);
            let base = i128::from(report.arrived_at.as_millis()) * 1_000;
            let text = |us: i128| ((base + us).max(0) * 1_000).to_string();
            span["startTimeUnixNano"] = text(from_us).into();
            span["endTimeUnixNano"] = text(until_us).into();
            spans.push(span);
        }
    };
    child("queue", 0, i128::from(report.queue_us));
    let mut until = i128::from(handler_at);
    for (name, us) in phases.into_iter().rev() {
        child(name, until - i128::from(us), until);
        until -= i128::from(us);
    }
    child("handler", i128::from(handler_at), i128::from(handler_at + report.duration_us));
    spans
}

/// Whether the instance was ready when the call came: its start is told with its first run all the same.
fn is_ahead(run: &ObservedRun) -> bool {
    run.report.start == StartKind::Warm
}

fn span(trace_id: &str, id: &str, parent: Option<&str>, name: &str, kind: u32) -> Value {
    let mut span = json!({"traceId": trace_id, "spanId": id, "name": name, "kind": kind});
    if let Some(parent) = parent {
        span["parentSpanId"] = parent.into();
    }
    span
}

fn set_times(span: &mut Value, from: Timestamp, from_us: u64, until_us: u64) {
    span["startTimeUnixNano"] = nanoseconds(from, from_us).into();
    span["endTimeUnixNano"] = nanoseconds(from, until_us).into();
}

/// Source: semantic conventions for FaaS spans; what they have no name for begins with `lamplight.`.
fn attributes(run: &ObservedRun) -> Vec<Value> {
    let report = &run.report;
    let version = report.version.to_string();
    let mut found = vec![
        text("faas.name", &report.function),
        text("faas.version", &version),
        text("faas.invocation_id", &report.request_id.to_string()),
        text("faas.instance", &report.instance_id),
        truth("faas.coldstart", report.start != StartKind::Warm),
        integer("faas.max_memory", u64::from(report.memory_mib) << 20),
        text("cloud.account.id", report.scope.account.as_str()),
        text("cloud.region", report.scope.region.as_str()),
        text("lamplight.start", report.start.label()),
        integer("lamplight.billed_ms", report.billed_ms),
        integer("lamplight.max_memory_used_mib", report.max_memory_used_mib),
    ];
    if let Some(name) = FunctionName::parse(&report.function) {
        let qualifier = Qualifier::parse(&version);
        found.push(text("cloud.resource_id", &function_arn(&report.scope, &name, qualifier.as_ref())));
    }
    if let Some(error) = &report.outcome.error_type {
        found.push(text("error.type", error));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplight_model::{ColdStart, InvocationReport, Outcome, RequestId, Scope, VersionNumber};

    fn run(cold_start: Option<ColdStart>, trace_header: Option<&str>) -> ObservedRun {
        let report = InvocationReport {
            request_id: RequestId(uuid::Uuid::from_u128(7)),
            scope: Scope::default(),
            function: "hello".into(),
            version: VersionNumber::Latest,
            instance_id: "i".into(),
            outcome: Outcome { status: OutcomeStatus::Error, error_type: Some("ValueError".to_owned()) },
            arrived_at: Timestamp(1_000),
            queue_us: 100,
            duration_us: 2_000,
            billed_ms: 2,
            memory_mib: 128,
            max_memory_used_mib: 30,
            init_us: None,
            start: if cold_start.is_some() { StartKind::FromNothing } else { StartKind::Warm },
            cold_start,
            event_accepted_at: None,
        };
        ObservedRun { report, trace_header: trace_header.map(str::to_owned) }
    }

    #[test]
    fn phases_follow_each_other_up_to_the_handler() {
        let cold = ColdStart { sandbox_us: 10, code_us: 0, interpreter_us: 20, init_us: 30 };
        let rows = of_run(&run(Some(cold), None));
        let times: Vec<(&str, i64, i64)> = rows
            .iter()
            .map(|row| {
                let time =
                    |member: &str| row[member].as_str().unwrap().parse::<i64>().unwrap() / 1_000 - 1_000_000;
                (row["name"].as_str().unwrap(), time("startTimeUnixNano"), time("endTimeUnixNano"))
            })
            .collect();
        let expected = [
            ("hello", 0, 2_160),
            ("queue", 0, 100),
            ("init", 130, 160),
            ("interpreter", 110, 130),
            ("sandbox", 100, 110),
            ("handler", 160, 2_160),
        ];
        assert_eq!(times, expected);
        assert!(rows[1..].iter().all(|row| row["parentSpanId"] == rows[0]["spanId"]));
        assert_eq!(rows[0]["status"], json!({"code": 2, "message": "ValueError"}));
        assert_eq!(rows[0]["traceId"], "00000000000000000000000000000007");
        assert!(rows[0].get("parentSpanId").is_none());
        assert_eq!(of_run(&run(None, None)).len(), 3);
    }

    #[test]
    fn a_sampled_trace_goes_on() {
        let root = "Root=1-5759e988-bd862e3fe1be46a994272793";
        let rows = of_run(&run(None, Some(&format!("{root};Parent=53995c3f42cd8ad8;Sampled=1"))));
        assert_eq!(rows[0]["traceId"], "5759e988bd862e3fe1be46a994272793");
        assert_eq!(rows[0]["parentSpanId"], "53995c3f42cd8ad8");
        let alone = of_run(&run(None, Some(&format!("{root};Parent=53995c3f42cd8ad8;Sampled=0"))));
        assert_eq!(alone[0]["traceId"], "5759e988bd862e3fe1be46a994272793");
        assert!(alone[0].get("parentSpanId").is_none());
        for nonsense in ["", "Root=x", "Root=1-zz-1", "Root=1-5759e988-short"] {
            assert_eq!(parse(nonsense), None, "{nonsense}");
        }
    }
}
