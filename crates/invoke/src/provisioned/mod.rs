//! Provisioned concurrency: what was asked for, kept durably, and what the workers really have ready.
//!
//! The front door calls `put`, `get`, `list` and `delete`; they change or read what is *wanted*. A task (`converge`),
//! woken by the store, tells it to the workers and to the admission. The status in every answer is asked of the
//! workers at that moment: READY is a count of instances, never a stored word.
//!
//! Source: Lambda developer guide, "Configuring provisioned concurrency for a function"; API reference.

mod config;
mod converge;
mod status;

pub use config::ProvisionedConfig;
pub use status::{ProvisionedStatus, unpublished};

use crate::admission::Admission;
use crate::invoker::{Clock, service_error};
use crate::workers::Workers;
use lamplight_model::{FunctionName, FunctionVersion, Scope, ServiceError, VersionNumber};
use lamplight_store::{Store, StoreError};
use std::sync::Arc;
use tokio::sync::Mutex;

/// A configuration and how it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provisioned {
    /// What was asked for.
    pub config: ProvisionedConfig,
    /// Instances that are ready, never more than asked for. AWS's `Allocated` and `Available`.
    pub ready: usize,
    /// The word, and for `Failed` the reason.
    pub status: ProvisionedStatus,
}

/// The configurations of all versions. One per funnel.
pub struct Provisioning {
    store: Arc<dyn Store>,
    workers: Arc<dyn Workers>,
    admission: Arc<Admission>,
    account_concurrency: usize,
    clock: Clock,
    /// Held from reading the sum of all until one is written: two writes together must not pass the bound.
    writes: Mutex<()>,
}

impl Provisioning {
    /// Nothing is told to workers and admission before `converge` runs.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        workers: Arc<dyn Workers>,
        admission: Arc<Admission>,
        account_concurrency: usize,
        clock: Clock,
    ) -> Self {
        Self { store, workers, admission, account_concurrency, clock, writes: Mutex::default() }
    }

    /// Asks for `executions` ready instances of a published version. Durable when it returns; the instances come
    /// later.
    ///
    /// Fails with `InvalidParameterValueException` for `$LATEST`, for more than the account's concurrency, and when
    /// fewer than `UNRESERVED_CONCURRENCY` would be left for all functions.
    pub async fn put(
        &self,
        version: &FunctionVersion,
        executions: usize,
    ) -> Result<Provisioned, ServiceError> {
        let VersionNumber::Published(number) = version.version else { return Err(status::unpublished()) };
        let _write = self.writes.lock().await;
        let others: usize = self
            .in_scope(&version.scope)
            .await?
            .iter()
            .filter(|config| config.function != version.name || config.version != number)
            .map(|config| config.executions)
            .sum();
        status::check_bounds(executions, others, self.account_concurrency)?;
        let config = ProvisionedConfig {
            function: version.name.clone(),
            version: number,
            executions,
            last_modified: (self.clock)(),
        };
        config::put(&*self.store, &version.scope, &config)
            .await
            .map_err(|error| service_error("store the provisioned concurrency", &error))?;
        // As on AWS, the answer is that it has begun; whoever asks next is told how far it is.
        Ok(Provisioned { status: ProvisionedStatus::InProgress, ..self.stand(&version.scope, config) })
    }

    /// The configuration of a version and how it stands; `None` when it has none.
    pub async fn get(
        &self,
        scope: &Scope,
        name: &FunctionName,
        version: u64,
    ) -> Result<Option<Provisioned>, ServiceError> {
        let config =
            config::get(&*self.store, scope, name, version).await.map_err(|error| reading(&error))?;
        Ok(config.map(|config| self.stand(scope, config)))
    }

    /// The configurations of a function by version number, beginning after `after`, at most `limit`.
    pub async fn list(
        &self,
        scope: &Scope,
        name: &FunctionName,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Provisioned>, ServiceError> {
        let configs = config::list(&*self.store, scope, name, after, limit);
        let configs = configs.await.map_err(|error| reading(&error))?;
        Ok(configs.into_iter().map(|config| self.stand(scope, config)).collect())
    }

    /// Takes a configuration away; its instances are let go. Without one nothing happens.
    pub async fn delete(&self, scope: &Scope, name: &FunctionName, version: u64) -> Result<(), ServiceError> {
        let deleted = config::delete(&*self.store, scope, name, version).await;
        deleted.map(|_| ()).map_err(|error| service_error("delete the provisioned concurrency", &error))
    }

    /// Concurrent executions of a scope that no configuration holds for its version.
    pub async fn unreserved(&self, scope: &Scope) -> Result<usize, ServiceError> {
        let held: usize = self.in_scope(scope).await?.iter().map(|config| config.executions).sum();
        Ok(self.account_concurrency.saturating_sub(held))
    }

    async fn in_scope(&self, scope: &Scope) -> Result<Vec<ProvisionedConfig>, ServiceError> {
        config::in_scope(&*self.store, scope).await.map_err(|error| reading(&error))
    }

    fn stand(&self, scope: &Scope, config: ProvisionedConfig) -> Provisioned {
        let version = VersionNumber::Published(config.version);
        let state = self.workers.provisioned(scope, &config.function, version);
        let ready = state.ready.min(config.executions);
        Provisioned { ready, status: status::status(config.executions, &state), config }
    }
}

fn reading(error: &StoreError) -> ServiceError {
    service_error("read the provisioned concurrency", error)
}
