//! Name and qualifier to the version that runs: a cache over the store that is never older than an acknowledged
//! change.
//!
//! The store bumps its watch number after every commit and before it answers the writer. An entry is used only
//! while the number is still the one seen before the entry was read, so an update that was acknowledged before
//! a call is always seen by it. A front door may also call `forget` after its own change.

use crate::invoker::service_error;
use lamplight_model::function::FunctionState;
use lamplight_model::name::function_arn;
use lamplight_model::{
    ErrorCode, FunctionName, FunctionVersion, Qualifier, Scope, ServiceError, VersionNumber,
};
use lamplight_store::Store;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Most versions remembered at once; when it is reached the cache starts anew.
pub const CACHED_VERSIONS: usize = 10_000;

type Key = (Scope, FunctionName, VersionNumber);

/// What must be unchanged for a cached entry to hold: the store's number and our own count of `forget`s.
type Generation = (u64, u64);

/// The cache.
pub struct Resolver {
    store: Arc<dyn Store>,
    changes: watch::Receiver<u64>,
    forgotten: AtomicU64,
    cached: Mutex<Cached>,
}

#[derive(Default)]
struct Cached {
    generation: Generation,
    versions: HashMap<Key, Arc<FunctionVersion>>,
}

impl Resolver {
    /// An empty cache over `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        let changes = store.watch();
        Self { store, changes, forgotten: AtomicU64::new(0), cached: Mutex::default() }
    }

    /// The version that `qualifier` means now, whatever its state (`None` is `$LATEST`).
    ///
    /// Fails with `ResourceNotFoundException` naming the ARN as asked for. Aliases do not exist yet, so every
    /// alias is not found.
    pub async fn resolve(
        &self,
        scope: &Scope,
        name: &FunctionName,
        qualifier: Option<&Qualifier>,
    ) -> Result<Arc<FunctionVersion>, ServiceError> {
        let not_found = || ServiceError::function_not_found(&function_arn(scope, name, qualifier));
        let version = match qualifier {
            None | Some(Qualifier::Latest) => VersionNumber::Latest,
            Some(Qualifier::Version(number)) => VersionNumber::Published(*number),
            Some(Qualifier::Alias(_)) => return Err(not_found()),
        };
        let key = (scope.clone(), name.clone(), version);
        let generation = self.generation();
        if let Some(found) = self.cached(generation, &key) {
            return Ok(found);
        }
        let found = self
            .store
            .get_version(scope, name, version)
            .await
            .map_err(|error| service_error("read the function", &error))?
            .ok_or_else(not_found)?;
        self.remember(generation, key, Arc::clone(&found));
        Ok(found)
    }

    /// Drops everything remembered, also what is being read at this moment.
    pub fn forget(&self) {
        self.forgotten.fetch_add(1, Ordering::AcqRel);
    }

    fn generation(&self) -> Generation {
        (*self.changes.borrow(), self.forgotten.load(Ordering::Acquire))
    }

    fn cached(&self, generation: Generation, key: &Key) -> Option<Arc<FunctionVersion>> {
        let mut cached = self.lock();
        if cached.generation != generation {
            cached.versions.clear();
            cached.generation = generation;
        }
        cached.versions.get(key).cloned()
    }

    fn remember(&self, generation: Generation, key: Key, version: Arc<FunctionVersion>) {
        let mut cached = self.lock();
        // Something changed while the store was read: what was read may be the old version.
        if cached.generation != generation || self.generation() != generation {
            return;
        }
        if cached.versions.len() >= CACHED_VERSIONS {
            cached.versions.clear();
        }
        cached.versions.insert(key, version);
    }

    fn lock(&self) -> MutexGuard<'_, Cached> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a version in this state may be invoked. An update in progress does not stand in the way.
///
/// Fails with `ResourceConflictException` and AWS's text. Source: Lambda developer guide, "Lambda function states".
pub fn check_state(version: &FunctionVersion) -> Result<(), ServiceError> {
    let state = match version.lifecycle.state {
        FunctionState::Active | FunctionState::Inactive => return Ok(()),
        FunctionState::Pending => "Pending",
        FunctionState::Failed => "Failed",
    };
    Err(ServiceError::new(
        ErrorCode::ResourceConflictException,
        format!(
            "The operation cannot be performed at this time. The function is currently in the following state: {state}"
        ),
    ))
}
