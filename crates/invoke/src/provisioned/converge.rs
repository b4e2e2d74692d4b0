//! Brings what the workers keep ready and what the admission holds free to what is stored.
//!
//! Woken by the store's watch, and at start for what is there already. Instances that end are the workers' own
//! business: they know at once.

use super::config::{self, ProvisionedConfig, ProvisionedQualifier};
use super::{Provisioning, shares};
use crate::admission::{Held, Reserved};
use crate::invoker::ErrorChain;
use crate::reserved;
use lamplight_model::function::FunctionState;
use lamplight_model::{FunctionName, Scope, VersionNumber};
use lamplight_pool::ProvisionedTarget;
use lamplight_store::StoreError;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Delays between tries while storage refuses.
const RETRY_DELAYS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// The store tells of every change of a function or a document: those within this time are looked at together.
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
                    warn!(error = %ErrorChain(&error), "failed to read what concurrency is set aside, trying again");
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

    pub(super) async fn converge_once(&self) -> Result<(), StoreError> {
        // What is read here must not be told after something newer.
        let _write = self.writes.lock().await;
        let mut wanted: BTreeMap<(Scope, FunctionName, u64), usize> = BTreeMap::new();
        for (scope, document) in self.store.documents_in_all_scopes(config::KIND).await? {
            let Some(config) = ProvisionedConfig::parse(&document) else { continue };
            match shares(&*self.store, &scope, &config).await? {
                Some(shares) => {
                    for (number, executions) in shares {
                        let key = (scope.clone(), config.function.clone(), number);
                        *wanted.entry(key).or_default() += executions;
                    }
                }
                None => self.forget(&scope, &config).await?,
            }
        }
        let (mut held, mut targets) = (Vec::new(), Vec::new());
        for ((scope, function, number), executions) in wanted {
            let version = VersionNumber::Published(number);
            let Some(stored) = self.store.get_version(&scope, &function, version).await? else {
                // Nobody's but the version's own: those that aliases point to are not deleted.
                self.forget_version(&scope, &function, number).await?;
                continue;
            };
            held.push(Held { scope, function, version, executions });
            // One that is not active yet has no code; its change of state wakes us.
            if matches!(stored.lifecycle.state, FunctionState::Active | FunctionState::Inactive) {
                targets.push(ProvisionedTarget { version: stored, instances: executions });
            }
        }
        let reserved = self.store.documents_in_all_scopes(reserved::KIND).await?;
        let reserved = reserved.into_iter().filter_map(|(scope, document)| {
            let (function, executions) = reserved::parse(&document)?;
            Some(Reserved { scope, function, executions })
        });
        self.admission.set_aside(&held, &reserved.collect::<Vec<_>>());
        self.workers.provision(&targets);
        Ok(())
    }

    /// Deletes the configuration of a version that was deleted. Numbers are never given twice, so no later version
    /// can be meant.
    async fn forget_version(
        &self,
        scope: &Scope,
        function: &FunctionName,
        number: u64,
    ) -> Result<(), StoreError> {
        let version = ProvisionedQualifier::Version(number);
        if config::delete(&*self.store, scope, function, &version).await? {
            info!(%function, version = number, "deleted the provisioned concurrency of a deleted version");
        }
        Ok(())
    }

    /// Deletes the configuration of an alias that was deleted.
    async fn forget(&self, scope: &Scope, config: &ProvisionedConfig) -> Result<(), StoreError> {
        if config::delete(&*self.store, scope, &config.function, &config.qualifier).await? {
            info!(function = %config.function, "deleted the provisioned concurrency of a deleted alias");
        }
        Ok(())
    }
}
