//! This node's pool as workers.

use crate::workers::Workers;
use async_trait::async_trait;
use lamplight_model::{Invocation, ServiceError};
use lamplight_pool::{Answer, Pool};
use std::sync::Arc;

/// Runs every invocation on this node.
#[derive(Debug, Clone)]
pub struct NodeWorkers(pub Arc<Pool>);

#[async_trait]
impl Workers for NodeWorkers {
    async fn run(&self, invocation: Invocation) -> Result<Answer, ServiceError> {
        self.0.run(invocation).await
    }
}
