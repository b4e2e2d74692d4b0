//! Brings what the workers keep ready and what the admission holds free to what is stored.
//!
//! Woken by the store's watch, and at start for what is there already. Instances that end are the workers' own
//! business: they know at once.

use super::Provisioning;
use super::config::{self, KIND, ProvisionedConfig};
use crate::admission::Held;
use crate::invoker::ErrorChain;
use lamplight_model::function::FunctionState;
use lamplight_model::{Scope, VersionNumber};
use lamplight_pool::ProvisionedTarget;
use lamplight_store::StoreError;
use std::time::Duration;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Delays between tries while storage refuses.
const RETRY_DELAYS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// The store tells of every commit, also of each event queued: changes within this time are looked at together.
const TOGETHER: Duration = Duration::from_millis(50);

impl Provisioning {
    /// Converges until `stop`. One such task per node; spawn it.
    pub async fn converge(&self, stop: CancellationToken) {
        let mut changes = self.store.watch();
        let mut retry_delay = RETRY_DELAYS.0;
        loop {
            changes.borrow_and_update();
            let pause = match self.converge_once().await {
                Ok(()) => {
                    retry_delay = RETRY_DELAYS.0;
                    tokio::select! {
                        () = stop.cancelled() => return,
                        changed = changes.changed() => if changed.is_err() { return },
                    }
                    TOGETHER
                }
                Err(error) => {
                    warn!(error = %ErrorChain(&error), "failed to read the provisioned concurrency, trying again");
                    let longer = (retry_delay * 2).min(RETRY_DELAYS.1);
                    std::mem::replace(&mut retry_delay, longer)
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pause) => {}
            }
        }
    }

    async fn converge_once(&self) -> Result<(), StoreError> {
        let (mut held, mut targets) = (Vec::new(), Vec::new());
        for (scope, document) in self.store.documents_in_all_scopes(KIND).await? {
            let Some(config) = ProvisionedConfig::parse(&document) else { continue };
            let number = VersionNumber::Published(config.version);
            let Some(version) = self.store.get_version(&scope, &config.function, number).await? else {
                self.forget(&scope, &config).await?;
                continue;
            };
            held.push(Held {
                scope,
                function: config.function,
                version: number,
                executions: config.executions,
            });
            // One that is not active yet has no code; its change of state wakes us.
            if matches!(version.lifecycle.state, FunctionState::Active | FunctionState::Inactive) {
                targets.push(ProvisionedTarget { version, instances: config.executions });
            }
        }
        self.admission.hold(&held);
        self.workers.provision(&targets);
        Ok(())
    }

    /// Deletes the configuration of a version that was deleted. Numbers are never given twice, so no later version
    /// can be meant.
    async fn forget(&self, scope: &Scope, config: &ProvisionedConfig) -> Result<(), StoreError> {
        if config::delete(&*self.store, scope, &config.function, config.version).await? {
            info!(
                function = %config.function, version = config.version,
                "deleted the provisioned concurrency of a deleted version"
            );
        }
        Ok(())
    }
}
