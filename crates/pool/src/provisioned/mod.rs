//! Provisioned concurrency: versions that have so many instances ready, whether called or not.
//!
//! `invoke` says how many are wanted; `set` decides what is missing or too much; `keeper` starts, freezes and
//! stops. Such an instance takes calls of its version before any other, is never evicted or expired while it is
//! wanted, and is replaced when it ends.

pub(crate) mod keeper;
pub(crate) mod set;

use lamplight_model::FunctionVersion;
use std::sync::Arc;

/// How many instances of a version are to be ready.
#[derive(Debug, Clone, PartialEq)]
pub struct ProvisionedTarget {
    /// The version, published and active.
    pub version: Arc<FunctionVersion>,
    /// Instances, at least 1.
    pub instances: usize,
}

/// How it stands with the provisioned instances of one version.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProvisionedState {
    /// Instances that have finished their init and live: idle or running a call.
    pub ready: usize,
    /// Why the last start failed; nothing after one that succeeded.
    pub failure: Option<ProvisionedFailure>,
}

/// Why a provisioned instance could not be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProvisionedFailure {
    /// The function's own init failed.
    Init,
    /// The node has no room now; it is tried again.
    NoRoom,
    /// The platform could not; the text is for the caller.
    Platform(String),
}

/// Counts over all versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProvisionedCounts {
    /// To be ready.
    pub wanted: usize,
    /// Idle or running.
    pub ready: usize,
    /// In their init phase.
    pub starting: usize,
    /// Starts that succeeded since the process began.
    pub started: u64,
    /// Starts that failed since then.
    pub failed: u64,
}
