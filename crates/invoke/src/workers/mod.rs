//! The seam between the funnel and whoever runs invocations: this node's pool, later other nodes.
//!
//! `node` is the pool of this node; `fake` (tests only) answers from a script. Both keep what `contract` checks.

#[cfg(any(test, feature = "fake"))]
pub mod contract;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
pub mod node;

use async_trait::async_trait;
use lamplight_model::{Invocation, ServiceError};
use lamplight_pool::Answer;

/// Runs invocations that were resolved and admitted.
#[async_trait]
pub trait Workers: Send + Sync + 'static {
    /// Starts one invocation. The run lives in a task of its own that owns the instance.
    ///
    /// Fails with `TooManyRequestsException` when the node is full beyond its bounded wait, and with
    /// `ServiceException` or `InvalidRuntimeException` when no instance can be started.
    async fn run(&self, invocation: Invocation) -> Result<Answer, ServiceError>;
}
