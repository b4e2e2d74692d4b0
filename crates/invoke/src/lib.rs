//! The one funnel every invocation passes: resolve, admit, dispatch, retry, report.
//!
//! Called by `api` (and later `gateway` and `event_sources`). Parses no HTTP and decides nothing by who asked.
//!
//! ```text
//! InvokeRequest -> resolve -> admit -> Workers::run -> Answer       (the caller gets this at once)
//!                                           `-> Finished -> ledger, metrics, permit given back
//! Event         -> resolve -> Store::enqueue -> 202
//!                     asynchronous::worker: claim -> the same path -> retry::decide -> release
//! ```

pub mod admission;
pub mod asynchronous;
pub mod durable;
pub mod invoker;
pub mod lifecycle;
pub mod metrics;
pub mod provisioned;
pub mod recursion;
pub mod request;
pub mod reserved;
pub mod resolve;
pub mod running;
pub mod starts;
pub mod subscriptions;
pub mod trace;
pub mod whereabouts;
pub mod workers;

pub use admission::AdmissionLimits;
pub use asynchronous::{AsynchronousConfig, EventInvokeOptions, FunctionDestination};
pub use durable::{DurableConfiguration, DurableExecutions};
pub use invoker::{Clock, Invoker, InvokerConfig, ObservedRun, Observer};
pub use lamplight_pool::{AnswerParts, Ended};
pub use lifecycle::{GetReady, converge_functions};
pub use metrics::{FunctionMetrics, MetricsSnapshot};
pub use provisioned::{
    Provisioned, ProvisionedConfig, ProvisionedQualifier, ProvisionedStatus, Provisioning,
};
pub use request::{InvokeRequest, Running};
pub use running::RunningCall;
pub use whereabouts::Whereabouts;
pub use workers::Workers;
pub use workers::node::NodeWorkers;

#[cfg(test)]
mod tests;
