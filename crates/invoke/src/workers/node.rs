//! This node's pool as workers.

use crate::workers::{InstanceCounts, Workers};
use async_trait::async_trait;
use lamplight_model::{FunctionName, Invocation, Scope, ServiceError, VersionNumber};
use lamplight_pool::{Answer, Pool, ProvisionedState, ProvisionedTarget, Snapshot};
use std::sync::Arc;

/// Runs every invocation on this node.
#[derive(Debug, Clone)]
pub struct NodeWorkers(pub Arc<Pool>);

#[async_trait]
impl Workers for NodeWorkers {
    async fn run(&self, invocation: Invocation) -> Result<Answer, ServiceError> {
        self.0.run(invocation).await
    }

    fn provision(&self, targets: &[ProvisionedTarget]) {
        self.0.provision(targets);
    }

    fn provisioned(&self, scope: &Scope, name: &FunctionName, version: VersionNumber) -> ProvisionedState {
        self.0.provisioned(scope, name, version)
    }

    fn instances(&self) -> InstanceCounts {
        let Snapshot { instances, frozen, blanks, provisioned, .. } = self.0.snapshot();
        InstanceCounts { phases: instances, frozen, blanks, provisioned }
    }
}
