//! The one funnel every invocation passes: resolve, admit, dispatch, retry, report.
//!
//! Called by `api` (and later `gateway` and `event_sources`). Parses no HTTP and decides nothing by who asked.

pub mod workers;

pub use workers::Workers;
