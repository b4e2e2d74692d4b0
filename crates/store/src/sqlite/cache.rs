//! Versions read lately, so that resolving an invocation does not read the file.
//!
//! Exact, because every write of this data directory goes through one writer: a write forgets what it touched
//! before its caller is answered, and a read that began before that write does not fill the cache after it.

use lamplight_model::{FunctionName, FunctionVersion, Scope, VersionNumber};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Versions kept; the cache is emptied when it is full (names that do not exist count too).
const VERSIONS: usize = 10_000;

type Key = (Scope, FunctionName, VersionNumber);

#[derive(Debug, Default)]
struct Content {
    versions: HashMap<Key, Option<Arc<FunctionVersion>>>,
    // Raised by every write, see `fill`.
    generation: u64,
}

#[derive(Debug, Default)]
pub(crate) struct VersionCache {
    content: Mutex<Content>,
}

impl VersionCache {
    /// What is known about the version (perhaps that there is none), or the generation to `fill` with.
    pub(crate) fn get(
        &self,
        scope: &Scope,
        name: &FunctionName,
        version: VersionNumber,
    ) -> Result<Option<Arc<FunctionVersion>>, u64> {
        let content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (scope.clone(), name.clone(), version);
        content.versions.get(&key).cloned().ok_or(content.generation)
    }

    /// Keeps what a read found, unless something was written since `generation`.
    pub(crate) fn fill(&self, generation: u64, key: Key, found: Option<Arc<FunctionVersion>>) {
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        if content.generation != generation {
            return;
        }
        if content.versions.len() >= VERSIONS {
            content.versions.clear();
        }
        content.versions.insert(key, found);
    }

    /// Forgets one version.
    pub(crate) fn forget(&self, scope: &Scope, name: &FunctionName, version: VersionNumber) {
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        content.generation += 1;
        content.versions.remove(&(scope.clone(), name.clone(), version));
    }

    /// Forgets all versions of a function.
    pub(crate) fn forget_function(&self, scope: &Scope, name: &FunctionName) {
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        content.generation += 1;
        content.versions.retain(|key, _| key.0 != *scope || key.1 != *name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_overtaken_by_a_write_keeps_nothing() {
        let (scope, name) = (Scope::default(), FunctionName::parse("hello").unwrap());
        let key = || (scope.clone(), name.clone(), VersionNumber::Latest);
        let cache = VersionCache::default();
        let generation = cache.get(&scope, &name, VersionNumber::Latest).unwrap_err();
        cache.forget(&scope, &name, VersionNumber::Latest);
        cache.fill(generation, key(), None);
        let generation = cache.get(&scope, &name, VersionNumber::Latest).unwrap_err();
        cache.fill(generation, key(), None);
        assert_eq!(cache.get(&scope, &name, VersionNumber::Latest), Ok(None));
        cache.forget_function(&scope, &name);
        assert!(cache.get(&scope, &name, VersionNumber::Latest).is_err());
    }
}
