//! `invoke`: one call, its answer on standard output, and for a failing function what to look at.

use crate::cli::{Global, Invoke};
use crate::client::{Client, Invoked};
use crate::failure::Failure;
use crate::output;
use bytes::Bytes;
use serde_json::{Value, json};
use std::io::Read as _;

/// Bytes read from a file or standard input at most; the API refuses more than 6 MiB with its own text.
const PAYLOAD_BYTES: u64 = 8 * 1024 * 1024;

/// Calls the function. 0 when it answered, 1 when it failed.
pub async fn run(global: &Global, client: &Client, flags: &Invoke) -> Result<u8, Failure> {
    let payload = payload(flags)?;
    let kind = if flags.event {
        "Event"
    } else if flags.dry_run {
        "DryRun"
    } else {
        "RequestResponse"
    };
    if let Some(context) = &flags.client_context {
        check_json(context.as_bytes(), "the client context")?;
    }
    let context = flags.client_context.as_deref();
    let invoked =
        client.invoke(&flags.name, flags.qualifier.as_deref(), kind, flags.log, context, payload).await?;
    if global.json {
        output::json(&as_json(&invoked));
    } else {
        if let Some(log) = &invoked.log {
            output::remark(log.trim_end());
        }
        match kind {
            "Event" => {
                let id = invoked.request_id.as_deref().unwrap_or("unknown");
                output::remark(format!(
                    "queued as {id}; lamplight logs {} --follow shows it run",
                    flags.name
                ));
            }
            "DryRun" => output::remark("the call would be allowed"),
            _ => {
                output::raw(&invoked.payload);
                output::line("");
            }
        }
    }
    match &invoked.function_error {
        None => Ok(0),
        Some(kind) => Err(explain_failure(&flags.name, kind, &invoked.payload)),
    }
}

fn payload(flags: &Invoke) -> Result<Bytes, Failure> {
    let (bytes, source) = match (&flags.payload, &flags.file) {
        (_, Some(file)) => (read_file(file)?, format!("{}", file.display())),
        (Some(text), None) if text == "-" => {
            (read(std::io::stdin(), "standard input")?, "standard input".to_owned())
        }
        (Some(text), None) => (Bytes::from(text.clone()), "the event".to_owned()),
        (None, None) => return Ok(Bytes::from_static(b"{}")),
    };
    check_json(&bytes, &source)?;
    Ok(bytes)
}

fn read_file(file: &std::path::Path) -> Result<Bytes, Failure> {
    let opened = std::fs::File::open(file).map_err(|error| {
        Failure::usage(format!("failed to read the event {}", file.display())).because(error)
    })?;
    read(opened, &file.display().to_string())
}

fn read(source: impl std::io::Read, name: &str) -> Result<Bytes, Failure> {
    let mut bytes = Vec::new();
    source
        .take(PAYLOAD_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::usage(format!("failed to read {name}")).because(error))?;
    Ok(Bytes::from(bytes))
}

fn check_json(bytes: &[u8], source: &str) -> Result<(), Failure> {
    if bytes.is_empty() {
        return Ok(());
    }
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).map(|_| ()).map_err(|error| {
        let failure = Failure::usage(format!("{source} is not JSON")).because(error);
        let text = String::from_utf8_lossy(bytes);
        if source == "the event" && std::path::Path::new(text.as_ref()).is_file() {
            return failure.then(format!("to read it from the file: --file {text}"));
        }
        failure.then("quote it for the shell: '{\"key\": \"value\"}'; a text is '\"text\"'")
    })
}

fn as_json(invoked: &Invoked) -> Value {
    let payload = serde_json::from_slice::<Value>(&invoked.payload)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&invoked.payload).into_owned()));
    let mut document = json!({ "StatusCode": invoked.status, "Payload": payload });
    for (key, value) in [
        ("FunctionError", &invoked.function_error),
        ("ExecutedVersion", &invoked.executed_version),
        ("RequestId", &invoked.request_id),
        ("Log", &invoked.log),
    ] {
        if let Some(value) = value {
            document[key] = json!(value);
        }
    }
    document
}

/// Why a function failed, in words, with what to do: by the error type its document names.
fn explain_failure(name: &str, kind: &str, payload: &[u8]) -> Failure {
    let document: Value = serde_json::from_slice(payload).unwrap_or_default();
    let text = |key: &str| document.get(key).and_then(Value::as_str).unwrap_or_default();
    let (error_type, message) = (text("errorType"), text("errorMessage"));
    let failure = Failure::function(format!("the function {name} failed: {}", or(error_type, kind)));
    let failure = if message.is_empty() { failure } else { failure.because(message) };
    let failure = match error_type {
        "Runtime.ImportModuleError" => match missing_module(message) {
            Some(module) => failure
                .then(format!("if {module} is a package: name it in requirements.txt or package.json and deploy again"))
                .then(format!("if it is your own file: lamplight get {name}   shows the handler that was asked for")),
            None => failure.then("name the package in requirements.txt or package.json and deploy again"),
        },
        "Runtime.HandlerNotFound" | "Runtime.MalformedHandlerName" => failure
            .because(format!("{message} (a handler is FILE.FUNCTION, e.g. app.handler)"))
            .then("lamplight deploy PATH --handler FILE.FUNCTION"),
        "Runtime.UserCodeSyntaxError" => failure.then("mend the file and deploy again"),
        "Runtime.InvalidEntrypoint" => failure
            .then("the package needs an executable file named bootstrap at its top: chmod +x bootstrap, deploy again"),
        "Sandbox.Timedout" => failure.then("give it more time: lamplight deploy PATH --timeout SECONDS"),
        "Runtime.OutOfMemory" => failure.then("give it more memory: lamplight deploy PATH --memory MIB"),
        "Function.ResponseSizeTooLarge" => failure.then("answer at most 6 MB; put larger results on a file system"),
        _ => failure,
    };
    failure.then(format!("lamplight logs {name}"))
}

fn or<'a>(text: &'a str, other: &'a str) -> &'a str {
    if text.is_empty() { other } else { text }
}

/// `requests` of "No module named 'requests'", `left-pad` of "Cannot find package 'left-pad'".
fn missing_module(message: &str) -> Option<&str> {
    ["No module named '", "Cannot find module '", "Cannot find package '"].iter().find_map(|begin| {
        let rest = &message[message.find(begin)? + begin.len()..];
        rest.split('\'').next().filter(|module| !module.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(document: Value, expected: &str) {
        let failure = explain_failure("f", "Unhandled", document.to_string().as_bytes());
        assert!(failure.text().contains(expected), "{}", failure.text());
        assert_eq!(failure.status.code(), 1);
    }

    #[test]
    fn what_failed_tells_what_to_do() {
        let document = |kind: &str, message: &str| json!({ "errorType": kind, "errorMessage": message });
        check(
            document(
                "Runtime.ImportModuleError",
                "Unable to import module 'app': No module named 'requests'",
            ),
            "if requests is a package: name it in requirements.txt",
        );
        check(document("Runtime.HandlerNotFound", "app.x is undefined"), "FILE.FUNCTION");
        check(document("Sandbox.Timedout", "Task timed out after 3.00 seconds"), "--timeout");
        check(document("Runtime.OutOfMemory", "signal: killed"), "--memory");
        check(document("ValueError", "no such note"), "why: no such note");
        check(json!("not a document"), "failed: Unhandled");
    }
}
