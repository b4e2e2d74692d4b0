//! The seam between the funnel and whoever runs invocations: this node's pool, later other nodes.
//!
//! `node` is the pool of this node; `fake` (tests only) answers from a script. Both keep what `contract` checks.

#[cfg(any(test, feature = "fake"))]
pub mod contract;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
pub mod node;

use async_trait::async_trait;
use lamplight_model::{FunctionName, Invocation, Scope, ServiceError, VersionNumber};
use lamplight_pool::Answer;
use lamplight_pool::registry::PhaseCounts;
pub use lamplight_pool::{ProvisionedCounts, ProvisionedFailure, ProvisionedState, ProvisionedTarget};

/// Instances by what they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InstanceCounts {
    /// By phase.
    pub phases: PhaseCounts,
    /// Idle ones whose processes stand still.
    pub frozen: usize,
    /// Interpreters that belong to no function yet.
    pub blanks: usize,
    /// Provisioned ones; they are among `phases`, too.
    pub provisioned: ProvisionedCounts,
}

/// Runs invocations that were resolved and admitted.
#[async_trait]
pub trait Workers: Send + Sync + 'static {
    /// Starts one invocation. The run owns the instance; it is worked on by who waits for the answer, and goes on in a task
    /// of its own when the answer is dropped.
    ///
    /// Fails with `TooManyRequestsException` when the node is full beyond its bounded wait, and with
    /// `ServiceException` or `InvalidRuntimeException` when no instance can be started.
    async fn run(&self, invocation: Invocation) -> Result<Answer, ServiceError>;

    /// Makes `targets` all that is provisioned: so many instances of each version are started in the background, are
    /// there for its calls before any other, and are replaced when they end; what is not wanted any more goes.
    fn provision(&self, targets: &[ProvisionedTarget]);

    /// How many instances a version really has ready for its target, and why there are not more.
    fn provisioned(&self, scope: &Scope, name: &FunctionName, version: VersionNumber) -> ProvisionedState;

    /// What there is now, over all versions.
    fn instances(&self) -> InstanceCounts;
}
