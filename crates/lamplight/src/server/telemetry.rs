//! The server's own log: to standard error, for people or as JSON. Function logs go to the store.

use crate::config::Config;
use crate::failure::Failure;
use crate::output;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::reload::Handle;

/// Whether the filter can be read; asked before anything is started.
pub fn check(config: &Config) -> Result<(), Failure> {
    EnvFilter::try_new(&config.log).map(|_| ()).map_err(|error| {
        Failure::usage(format!("the log filter \"{}\" cannot be read", config.log))
            .because(error)
            .then("--log info, or by part: --log lamplight_pool=debug,info")
    })
}

/// Changes the filter of the log that is being written.
pub type FilterSwitch = Box<dyn Fn(&str) -> Result<(), Failure>>;

/// The filter a configuration asks for.
fn filter(log: &str) -> Result<EnvFilter, ParseError> {
    // s3s writes an error for every answer such as 404; what is the server's fault is logged by the server itself.
    EnvFilter::try_new(format!("s3s=off,{log}"))
}

/// Begins to write. Once per process.
pub fn start(config: &Config) -> FilterSwitch {
    let filter = filter(&config.log).unwrap_or_else(|_| EnvFilter::new("info"));
    // A span that the filter lets pass, such as that of a cold start, is one line when it is over.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(FmtSpan::CLOSE)
        // A line that cannot be written (disk full, pipe closed) would be reported on standard error, which is where it could not be
        // written: that panics whoever logs, a request or the thread that writes the store.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    let (started, switch) = if config.log_json {
        let builder = builder.json().with_filter_reloading();
        let switch = switch(builder.reload_handle());
        (builder.try_init(), switch)
    } else {
        use std::io::IsTerminal as _;
        let builder = builder.with_ansi(std::io::stderr().is_terminal()).with_filter_reloading();
        let switch = switch(builder.reload_handle());
        (builder.try_init(), switch)
    };
    if let Err(error) = started {
        output::remark(format!("lamplight: failed to start the log: {error}"));
    }
    switch
}

fn switch<Log: 'static>(handle: Handle<EnvFilter, Log>) -> FilterSwitch {
    Box::new(move |log| {
        let changed = filter(log).map_err(|error| error.to_string());
        changed
            .and_then(|filter| handle.reload(filter).map_err(|error| error.to_string()))
            .map_err(|error| Failure::usage("failed to change the log filter").because(error))
    })
}
