//! Instances of one node: start, reuse, freeze, stop.
//!
//! Called by `invoke`. Decides *how many* and *how long* in `policy`; keeps the state in `registry`; does the
//! work in `start` (an instance), `run` (an invocation), `prewarm` (an instance ahead of its call) and `maintenance`
//! (idle ones).

pub mod answer;
pub mod config;
pub mod documents;
pub mod plan;
pub mod policy;
pub mod pool;
pub mod provisioned;
pub mod registry;
pub mod rest;
pub mod slots;
mod snapshot;

mod blanks;
mod carried;
mod code;
mod compile;
mod credentials;
mod environment;
mod external;
mod initialization;
mod instance;
mod log;
mod maintenance;
mod prewarm;
mod run;
mod start;
#[cfg(test)]
mod testing;
mod trace;
mod version_zygotes;
mod zygotes;

pub use answer::{Answer, AnswerParts, Collected, Ended, FedBy, Finished};
pub use blanks::BlanksConfig;
pub use config::PoolConfig;
pub use credentials::CredentialSource;
pub use lamplight_runtime::StreamLimits;
pub use plan::{RuntimePlan, RuntimeSource};
pub use policy::VersionZygoteBounds;
pub use pool::{PlatformEndpoint, Pool};
pub use prewarm::PrewarmFailure;
pub use provisioned::{ProvisionedCounts, ProvisionedFailure, ProvisionedState, ProvisionedTarget};
pub use rest::Rest;
pub use snapshot::{Snapshot, VersionSnapshot};

/// The wall clock, injected so that tests need not wait.
pub type Clock = std::sync::Arc<dyn Fn() -> lamplight_model::Timestamp + Send + Sync>;
