//! The error documents a caller gets when the platform, not the function, writes the answer.
//!
//! Texts are AWS's own, recorded in November 2025 (timeout) and January 2026 (exit, size).

use crate::external::ExtensionEnd;
use bytes::Bytes;
use lamplight_model::{Outcome, OutcomeStatus, RequestId};
use lamplight_sandbox::Exit;
use std::time::Duration;

/// How a run ended, with the document for the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// The outcome.
    pub outcome: Outcome,
    /// JSON for the caller.
    pub document: Bytes,
    /// What the function's log says of it.
    pub log_line: Option<String>,
}

/// The deadline passed.
pub fn timed_out(request_id: RequestId, timeout: Duration) -> Ending {
    let text = format!("Task timed out after {:.2} seconds", timeout.as_secs_f64());
    Ending {
        outcome: outcome(OutcomeStatus::Timeout, "Sandbox.Timedout"),
        document: document("Sandbox.Timedout", &format!("RequestId: {request_id} Error: {text}")),
        log_line: Some(text),
    }
}

/// The runtime ended before it answered.
pub fn exited(request_id: RequestId, exit: Exit) -> Ending {
    let error_type = if exit.out_of_memory { "Runtime.OutOfMemory" } else { "Runtime.ExitError" };
    let text = match (exit.signal, exit.status) {
        // The kernel kills with SIGKILL; the runtime may have died of it by way of a child or wrapper.
        _ if exit.out_of_memory => "Runtime exited with error: signal: killed".to_owned(),
        (Some(signal), _) => format!("Runtime exited with error: signal: {}", signal_text(signal)),
        (None, None | Some(0)) => "Runtime exited without providing a reason".to_owned(),
        (None, Some(status)) => format!("Runtime exited with error: exit status {status}"),
    };
    failure(request_id, error_type, &text)
}

/// An extension ended the instance. Source: a public issue of an extension, whose caller got `exit code 0`.
pub(crate) fn extension_ended(request_id: RequestId, end: &ExtensionEnd) -> Ending {
    failure(request_id, &end.error_type, &end.text)
}

/// The runtime lives but cannot be talked to any more.
pub fn protocol_broken(request_id: RequestId) -> Ending {
    failure(request_id, "Runtime.Unknown", "Runtime broke its connection to the platform")
}

/// A custom runtime whose package has no executable `bootstrap`, or one the kernel refuses to run.
pub fn invalid_entrypoint(request_id: RequestId, reason: &str) -> Ending {
    let text = if reason.contains("Exec format error") {
        "fork/exec /var/task/bootstrap: exec format error".to_owned()
    } else {
        "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]".to_owned()
    };
    failure(request_id, "Runtime.InvalidEntrypoint", &text)
}

/// The runtime reported a failed init: the caller gets its document verbatim.
pub fn init_failed(error_type: &str, document: Bytes) -> Ending {
    Ending { outcome: outcome(OutcomeStatus::Failure, error_type), document, log_line: None }
}

/// A response larger than a buffered answer may be.
pub fn response_too_large() -> Ending {
    let text = format!(
        "Response payload size exceeded maximum allowed payload size ({} bytes).",
        lamplight_model::limits::SYNC_PAYLOAD_BYTES
    );
    Ending {
        outcome: outcome(OutcomeStatus::Error, "Function.ResponseSizeTooLarge"),
        document: document("Function.ResponseSizeTooLarge", &text),
        log_line: None,
    }
}

fn failure(request_id: RequestId, error_type: &str, text: &str) -> Ending {
    let text = format!("RequestId: {request_id} Error: {text}");
    Ending {
        outcome: outcome(OutcomeStatus::Failure, error_type),
        document: document(error_type, &text),
        log_line: Some(format!("{text}\n{error_type}")),
    }
}

fn outcome(status: OutcomeStatus, error_type: &str) -> Outcome {
    Outcome { status, error_type: Some(error_type.to_owned()) }
}

/// `errorType` stands first, as AWS writes it.
fn document(error_type: &str, message: &str) -> Bytes {
    serde_json::json!({ "errorType": error_type, "errorMessage": message }).to_string().into()
}

/// Names of signals as Lambda's own supervisor prints them (Go's `syscall.Signal` on Linux).
pub(crate) fn signal_text(signal: i32) -> String {
    let text = match signal {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        5 => "trace/breakpoint trap",
        6 => "aborted",
        7 => "bus error",
        8 => "floating point exception",
        9 => "killed",
        10 => "user defined signal 1",
        11 => "segmentation fault",
        12 => "user defined signal 2",
        13 => "broken pipe",
        14 => "alarm clock",
        15 => "terminated",
        16 => "stack fault",
        24 => "CPU time limit exceeded",
        25 => "file size limit exceeded",
        31 => "bad system call",
        other => return format!("signal {other}"),
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> RequestId {
        RequestId(uuid::Uuid::nil())
    }

    fn check(ending: Ending, status: OutcomeStatus, expected: &str) {
        assert_eq!(ending.outcome.status, status);
        assert_eq!(std::str::from_utf8(&ending.document).unwrap(), expected);
    }

    #[test]
    fn timeout() {
        check(
            timed_out(id(), Duration::from_secs(3)),
            OutcomeStatus::Timeout,
            r#"{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: 00000000-0000-0000-0000-000000000000 Error: Task timed out after 3.00 seconds"}"#,
        );
    }

    #[test]
    fn ways_to_exit() {
        let exit = |status, signal, out_of_memory| Exit { status, signal, out_of_memory, interrupted: false };
        let check_exit = |how, error_type: &str, text: &str| {
            check(
                exited(id(), how),
                OutcomeStatus::Failure,
                &format!(
                    r#"{{"errorType":"{error_type}","errorMessage":"RequestId: {} Error: {text}"}}"#,
                    id()
                ),
            );
        };
        check_exit(
            exit(Some(0), None, false),
            "Runtime.ExitError",
            "Runtime exited without providing a reason",
        );
        check_exit(
            exit(Some(127), None, false),
            "Runtime.ExitError",
            "Runtime exited with error: exit status 127",
        );
        check_exit(
            exit(None, Some(9), false),
            "Runtime.ExitError",
            "Runtime exited with error: signal: killed",
        );
        check_exit(
            exit(None, Some(11), false),
            "Runtime.ExitError",
            "Runtime exited with error: signal: segmentation fault",
        );
        check_exit(
            exit(None, Some(9), true),
            "Runtime.OutOfMemory",
            "Runtime exited with error: signal: killed",
        );
        check_exit(
            exit(Some(1), None, true),
            "Runtime.OutOfMemory",
            "Runtime exited with error: signal: killed",
        );
    }

    #[test]
    fn an_extension_that_ended() {
        let end = ExtensionEnd { error_type: "Extension.Crash".to_owned(), text: "exit code 0".to_owned() };
        let ending = extension_ended(id(), &end);
        assert_eq!(
            ending.log_line.as_deref(),
            Some("RequestId: 00000000-0000-0000-0000-000000000000 Error: exit code 0\nExtension.Crash")
        );
        check(
            ending,
            OutcomeStatus::Failure,
            r#"{"errorType":"Extension.Crash","errorMessage":"RequestId: 00000000-0000-0000-0000-000000000000 Error: exit code 0"}"#,
        );
    }

    #[test]
    fn too_large_and_no_bootstrap() {
        check(
            response_too_large(),
            OutcomeStatus::Error,
            r#"{"errorType":"Function.ResponseSizeTooLarge","errorMessage":"Response payload size exceeded maximum allowed payload size (6291556 bytes)."}"#,
        );
        check(
            invalid_entrypoint(id(), "No such file or directory (os error 2)"),
            OutcomeStatus::Failure,
            r#"{"errorType":"Runtime.InvalidEntrypoint","errorMessage":"RequestId: 00000000-0000-0000-0000-000000000000 Error: Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"}"#,
        );
    }
}
