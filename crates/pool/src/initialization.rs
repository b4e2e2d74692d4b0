//! Why an instance was started, as functions and their logs are told.

use lamplight_model::FunctionVersion;

/// `AWS_LAMBDA_INITIALIZATION_TYPE`, and `initializationType` of the log objects.
///
/// Source: Lambda developer guide, "Defined runtime environment variables".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InitializationType {
    /// A call needed it, or will soon.
    OnDemand,
    /// Its version is to have so many instances ready, whether called or not.
    ProvisionedConcurrency,
    /// As on demand, of a version that is to start from a snapshot.
    SnapStart,
}

impl InitializationType {
    /// Of an instance that a call needs, or will soon.
    pub fn of_call(version: &FunctionVersion) -> Self {
        if version.has_snap_start() { Self::SnapStart } else { Self::OnDemand }
    }

    /// AWS's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OnDemand => "on-demand",
            Self::ProvisionedConcurrency => "provisioned-concurrency",
            Self::SnapStart => "snap-start",
        }
    }
}
