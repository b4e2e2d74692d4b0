//! Concurrency that is set aside: provisioned for versions and aliases, reserved for functions. What was asked for, kept
//! durably, and what the workers really have ready.
//!
//! The front door calls `put`, `get`, `list` and `delete` of provisioned concurrency, and `reserve`, `reserved` and
//! `unreserve`; they change or read what is *wanted*. A task (`converge`), woken by the store, tells it to the workers and
//! to the admission. The status in every answer is asked of the workers at that moment: READY is a count of instances,
//! never a stored word.
//!
//! Source: Lambda developer guide, "Configuring provisioned concurrency for a function" and "Configuring reserved
//! concurrency for a function"; API reference.

mod config;
mod converge;
mod status;

pub use config::{ProvisionedConfig, ProvisionedQualifier};
pub use status::{ProvisionedStatus, unpublished};

use crate::admission::Admission;
use crate::invoker::{Clock, service_error};
use crate::reserved;
use crate::workers::Workers;
use lamplight_model::name::function_arn;
use lamplight_model::{Alias, ErrorCode, FunctionName, Scope, ServiceError, VersionNumber};
use lamplight_pool::ProvisionedState;
use lamplight_store::{Store, StoreError};
use status::Bounds;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{Mutex, OnceCell};

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

/// What is set aside for all functions. One per funnel.
pub struct Provisioning {
    store: Arc<dyn Store>,
    workers: Arc<dyn Workers>,
    admission: Arc<Admission>,
    clock: Clock,
    /// Held from reading the sum of all until one is written and told: two writes together must not pass the bound, and
    /// what was read before a write must not be told after it.
    writes: Mutex<()>,
    /// Set when what the store holds was told for the first time.
    told: OnceCell<()>,
}

impl Provisioning {
    /// Nothing is told to workers and admission before `tell` or `converge` runs.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        workers: Arc<dyn Workers>,
        admission: Arc<Admission>,
        clock: Clock,
    ) -> Self {
        Self { store, workers, admission, clock, writes: Mutex::default(), told: OnceCell::new() }
    }

    /// Whether workers and admission know what is set aside.
    pub(crate) fn is_told(&self) -> bool {
        self.told.initialized()
    }

    /// Tells workers and admission, the first time: a function that was stopped must not run because the server was
    /// started again a moment ago.
    pub(crate) async fn tell(&self) -> Result<(), ServiceError> {
        let told = self.told.get_or_try_init(|| self.converge_once()).await;
        told.map(|_| ()).map_err(|error| reading(&error))
    }

    /// Asks for `executions` ready instances of a published version, or of those an alias points to. Durable when it
    /// returns; the instances come later. Whether there is such a version is not looked at.
    ///
    /// Fails with `ResourceNotFoundException` without such an alias; with `ResourceConflictException` when instances are
    /// kept for one of the versions already, by the version or another alias; with `InvalidParameterValueException` for
    /// an alias of `$LATEST`, for more than the function has reserved, for more than the account's concurrency, and when
    /// fewer than `UNRESERVED_CONCURRENCY` would be left for all functions.
    pub async fn put(
        &self,
        scope: &Scope,
        name: &FunctionName,
        qualifier: ProvisionedQualifier,
        executions: usize,
    ) -> Result<Provisioned, ServiceError> {
        let _write = self.writes.lock().await;
        let last_modified = (self.clock)();
        let config = ProvisionedConfig { function: name.clone(), qualifier, executions, last_modified };
        let Some(versions) = self.shares(scope, &config).await? else {
            let arn = function_arn(scope, name, Some(&config.qualifier.into()));
            let text = format!("Cannot find alias arn: {arn}");
            return Err(ServiceError::new(ErrorCode::ResourceNotFoundException, text));
        };
        if versions.is_empty() {
            return Err(status::unpublished());
        }
        let functions = self.set_aside(scope).await?;
        self.check_alone(scope, functions.get(name), &config.qualifier, &versions).await?;
        let bounds = self.bounds(&functions, name, Some(&config.qualifier));
        status::check_provisioned(executions, bounds)?;
        config::put(&*self.store, scope, &config)
            .await
            .map_err(|error| service_error("store the provisioned concurrency", &error))?;
        // As on AWS, the answer is that it has begun; whoever asks next is told how far it is.
        Ok(Provisioned { status: ProvisionedStatus::InProgress, ..self.stand(scope, config).await? })
    }

    /// The configuration of a version or alias and how it stands; `None` when it has none.
    pub async fn get(
        &self,
        scope: &Scope,
        name: &FunctionName,
        qualifier: &ProvisionedQualifier,
    ) -> Result<Option<Provisioned>, ServiceError> {
        match config::get(&*self.store, scope, name, qualifier).await.map_err(|error| reading(&error))? {
            Some(config) => self.stand(scope, config).await.map(Some),
            None => Ok(None),
        }
    }

    /// The configurations of a function, versions by number and then aliases by name, beginning after `after`, at most
    /// `limit`.
    pub async fn list(
        &self,
        scope: &Scope,
        name: &FunctionName,
        after: Option<&ProvisionedQualifier>,
        limit: usize,
    ) -> Result<Vec<Provisioned>, ServiceError> {
        let configs = config::list(&*self.store, scope, name, after, limit);
        let mut list = Vec::new();
        for config in configs.await.map_err(|error| reading(&error))? {
            list.push(self.stand(scope, config).await?);
        }
        Ok(list)
    }

    /// Takes a configuration away; its instances are let go. Without one nothing happens.
    pub async fn delete(
        &self,
        scope: &Scope,
        name: &FunctionName,
        qualifier: &ProvisionedQualifier,
    ) -> Result<(), ServiceError> {
        let deleted = config::delete(&*self.store, scope, name, qualifier).await;
        deleted.map(|_| ()).map_err(|error| service_error("delete the provisioned concurrency", &error))
    }

    /// Whether an alias may point where `alias` does, as far as provisioned concurrency goes: it need not have any; if it
    /// has, the rules of `put` hold. What AWS says then is not documented; these are its words for the same with `put`.
    pub async fn check_alias(&self, alias: &Alias) -> Result<(), ServiceError> {
        let qualifier = ProvisionedQualifier::Alias(alias.name.clone());
        let (scope, name) = (&alias.scope, &alias.function);
        let config = config::get(&*self.store, scope, name, &qualifier).await;
        let Some(config) = config.map_err(|error| reading(&error))? else { return Ok(()) };
        let functions = self.set_aside(scope).await?;
        match alias.shares(config.executions).as_slice() {
            [] => Err(status::unpublished()),
            versions => self.check_alone(scope, functions.get(name), &qualifier, versions).await,
        }
    }

    /// Reserves concurrency for a function; holds for calls that come after it has returned, and durably.
    ///
    /// Fails with `ResourceNotFoundException` when there is no such function, with `InvalidParameterValueException` when it is less than what the function has provisioned, and when fewer
    /// than `UNRESERVED_CONCURRENCY` would be left for all functions.
    pub async fn reserve(
        &self,
        scope: &Scope,
        name: &FunctionName,
        executions: usize,
    ) -> Result<(), ServiceError> {
        let _write = self.writes.lock().await;
        status::check_reserved(executions, self.bounds(&self.set_aside(scope).await?, name, None))?;
        reserved::put(&*self.store, scope, name, executions).await.map_err(|error| match error {
            StoreError::NotFound(_) => ServiceError::function_not_found(&function_arn(scope, name, None)),
            other => service_error("store the reserved concurrency", &other),
        })?;
        self.admission.reserve(scope, name, Some(executions));
        Ok(())
    }

    /// What a function has reserved; `None` when it has not.
    pub async fn reserved(&self, scope: &Scope, name: &FunctionName) -> Result<Option<usize>, ServiceError> {
        reserved::get(&*self.store, scope, name).await.map_err(|error| reading(&error))
    }

    /// Takes back what a function has reserved, if it has; holds for calls that come after it has returned.
    pub async fn unreserve(&self, scope: &Scope, name: &FunctionName) -> Result<(), ServiceError> {
        let _write = self.writes.lock().await;
        reserved::delete(&*self.store, scope, name)
            .await
            .map_err(|error| service_error("delete the reserved concurrency", &error))?;
        self.admission.reserve(scope, name, None);
        Ok(())
    }

    /// Forgets what was set aside for a function that was deleted, at once: one of its name that is made next begins
    /// without it.
    pub async fn forget_deleted(&self) -> Result<(), ServiceError> {
        self.converge_once().await.map_err(|error| reading(&error))
    }

    /// Concurrent executions of a scope that are set aside for nobody.
    pub async fn unreserved(&self, scope: &Scope) -> Result<usize, ServiceError> {
        let aside: usize = self.set_aside(scope).await?.values().map(SetAside::executions).sum();
        Ok(self.admission.limits().concurrency.saturating_sub(aside))
    }

    /// What each function has set aside.
    async fn set_aside(&self, scope: &Scope) -> Result<BTreeMap<FunctionName, SetAside>, ServiceError> {
        let mut functions: BTreeMap<FunctionName, SetAside> = BTreeMap::new();
        for config in config::in_scope(&*self.store, scope).await.map_err(|error| reading(&error))? {
            functions.entry(config.function.clone()).or_default().provisioned.push(config);
        }
        for (function, executions) in
            reserved::in_scope(&*self.store, scope).await.map_err(|error| reading(&error))?
        {
            functions.entry(function).or_default().reserved = Some(executions);
        }
        Ok(functions)
    }

    /// The bounds of one function. `besides` is the configuration that is about to change.
    fn bounds(
        &self,
        functions: &BTreeMap<FunctionName, SetAside>,
        name: &FunctionName,
        besides: Option<&ProvisionedQualifier>,
    ) -> Bounds {
        let others = functions.iter().filter(|(function, _)| *function != name);
        let own = functions.get(name);
        let provisioned = own.map(|own| own.provisioned.as_slice()).unwrap_or_default().iter();
        Bounds {
            account: self.admission.limits().concurrency,
            others: others.map(|(_, other)| other.executions()).sum(),
            reserved: own.and_then(|own| own.reserved),
            provisioned: provisioned
                .filter(|config| Some(&config.qualifier) != besides)
                .map(|config| config.executions)
                .sum(),
        }
    }

    /// Fails when another configuration of the function (`own`) keeps instances for one of these versions.
    async fn check_alone(
        &self,
        scope: &Scope,
        own: Option<&SetAside>,
        qualifier: &ProvisionedQualifier,
        versions: &[(u64, usize)],
    ) -> Result<(), ServiceError> {
        let configs = own.map(|own| own.provisioned.as_slice()).unwrap_or_default();
        for config in configs.iter().filter(|config| config.qualifier != *qualifier) {
            let theirs = self.shares(scope, config).await?.unwrap_or_default();
            if theirs.iter().any(|(number, _)| versions.iter().any(|(mine, _)| mine == number)) {
                return Err(status::already_provisioned(qualifier));
            }
        }
        Ok(())
    }

    async fn shares(
        &self,
        scope: &Scope,
        config: &ProvisionedConfig,
    ) -> Result<Option<Shares>, ServiceError> {
        shares(&*self.store, scope, config).await.map_err(|error| reading(&error))
    }

    async fn stand(&self, scope: &Scope, config: ProvisionedConfig) -> Result<Provisioned, ServiceError> {
        let mut all = ProvisionedState::default();
        // An alias that was just deleted has nothing ready.
        for (number, share) in self.shares(scope, &config).await?.unwrap_or_default() {
            let version = VersionNumber::Published(number);
            let state = self.workers.provisioned(scope, &config.function, version);
            all.ready += state.ready.min(share);
            all.failure = all.failure.or(state.failure);
        }
        Ok(Provisioned { ready: all.ready, status: status::status(config.executions, &all), config })
    }
}

/// Published versions, and how many instances of each are kept.
type Shares = Vec<(u64, usize)>;

/// What one function has set aside.
#[derive(Debug, Default)]
struct SetAside {
    reserved: Option<usize>,
    provisioned: Vec<ProvisionedConfig>,
}

impl SetAside {
    /// What is provisioned is among what is reserved.
    fn executions(&self) -> usize {
        self.reserved.unwrap_or_else(|| self.provisioned.iter().map(|config| config.executions).sum())
    }
}

/// The versions a configuration keeps instances for; `None` for an alias that does not exist.
async fn shares(
    store: &dyn Store,
    scope: &Scope,
    config: &ProvisionedConfig,
) -> Result<Option<Shares>, StoreError> {
    match &config.qualifier {
        ProvisionedQualifier::Version(number) => Ok(Some(vec![(*number, config.executions)])),
        ProvisionedQualifier::Alias(name) => {
            let alias = store.get_alias(scope, &config.function, name).await?;
            Ok(alias.map(|alias| alias.shares(config.executions)))
        }
    }
}

fn reading(error: &StoreError) -> ServiceError {
    service_error("read what concurrency is set aside", error)
}
