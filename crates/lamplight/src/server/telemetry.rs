//! The server's own log: to standard error, for people or as JSON. Function logs go to the store.

use crate::config::Config;
use crate::failure::Failure;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// Whether the filter can be read; asked before anything is started.
pub fn check(config: &Config) -> Result<(), Failure> {
    EnvFilter::try_new(&config.log).map(|_| ()).map_err(|error| {
        Failure::usage(format!("the log filter \"{}\" cannot be read", config.log))
            .because(error)
            .then("--log info, or by part: --log lamplight_pool=debug,info")
    })
}

/// Begins to write. Once per process.
pub fn start(config: &Config) {
    // s3s writes an error for every answer such as 404; what is the server's fault is logged by the server itself.
    let text = format!("s3s=off,{}", config.log);
    let filter = EnvFilter::try_new(text).unwrap_or_else(|_| EnvFilter::new("info"));
    // A span that the filter lets pass, such as that of a cold start, is one line when it is over.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(FmtSpan::CLOSE)
        .with_writer(std::io::stderr);
    let started = if config.log_json {
        builder.json().try_init()
    } else {
        use std::io::IsTerminal as _;
        builder.with_ansi(std::io::stderr().is_terminal()).try_init()
    };
    if let Err(error) = started {
        eprintln!("lamplight: failed to start the log: {error}");
    }
}
