//! Why an instance was started, as functions and their logs are told.

/// `AWS_LAMBDA_INITIALIZATION_TYPE`, and `initializationType` of the log objects.
///
/// Source: Lambda developer guide, "Defined runtime environment variables".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InitializationType {
    /// A call needed it, or will soon.
    OnDemand,
    /// Its version is to have so many instances ready, whether called or not.
    ProvisionedConcurrency,
}

impl InitializationType {
    /// AWS's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OnDemand => "on-demand",
            Self::ProvisionedConcurrency => "provisioned-concurrency",
        }
    }
}
