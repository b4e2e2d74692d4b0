//! The span of a cold start: one for each instance that is started, with where the time went as its fields.
//!
//! Off unless asked for: `LAMPLIGHT_LOG=lamplight_pool::trace=debug,info` writes one line when each start is over.

use crate::initialization::InitializationType;
use crate::start::{Ready, StartFailure, micros};
use lamplight_model::FunctionVersion;
use tracing::field::Empty;
use tracing::{Span, debug_span};

/// A span for the start of the instance whose log stream is `log_stream`.
pub fn cold_start(version: &FunctionVersion, log_stream: &str, initialization: InitializationType) -> Span {
    debug_span!(
        "cold_start",
        function = %version.name,
        version = %version.version,
        runtime = version.runtime,
        log_stream,
        initialization = initialization.as_str(),
        start = Empty,
        failure = Empty,
        queue_us = Empty,
        sandbox_us = Empty,
        code_us = Empty,
        interpreter_us = Empty,
        init_us = Empty,
    )
}

/// Notes how a start ended.
pub fn record(span: &Span, result: &Result<Ready, StartFailure>) {
    match result {
        Ok(ready) => {
            span.record("start", ready.kind.label());
            span.record("queue_us", micros(ready.waited));
            span.record("sandbox_us", ready.cold_start.sandbox_us);
            span.record("code_us", ready.cold_start.code_us);
            span.record("interpreter_us", ready.cold_start.interpreter_us);
            span.record("init_us", ready.cold_start.init_us);
        }
        Err(StartFailure::Platform(_)) => {
            span.record("failure", "platform");
        }
        Err(StartFailure::Entrypoint(_)) => {
            span.record("failure", "entrypoint");
        }
        Err(StartFailure::Init { duration, .. }) => {
            span.record("failure", "init");
            span.record("init_us", micros(*duration));
        }
    }
}
