//! Versions and aliases read lately, so that resolving an invocation does not read the file.
//!
//! Exact, because every write of this data directory goes through one writer (in a store that processes share they stay empty): a write forgets what it touched
//! before its caller is answered, and a read that began before that write does not fill the cache after it.

use lamplight_model::{FunctionName, Scope};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// Things kept; the cache is emptied when it is full (names that do not exist count too).
const ENTRIES: usize = 10_000;

/// Scope, function, and which of its things.
type Key<Part> = (Scope, FunctionName, Part);

/// What is known of things that belong to functions: versions by number, or aliases by name.
#[derive(Debug)]
pub(crate) struct Cache<Part, Value> {
    content: Mutex<Content<Part, Value>>,
}

#[derive(Debug)]
struct Content<Part, Value> {
    known: HashMap<Key<Part>, Option<Arc<Value>>>,
    // Raised by every write, see `fill`.
    generation: u64,
}

impl<Part, Value> Default for Cache<Part, Value> {
    fn default() -> Self {
        Self { content: Mutex::new(Content { known: HashMap::new(), generation: 0 }) }
    }
}

impl<Part: Hash + Eq + Clone, Value> Cache<Part, Value> {
    /// What is known (perhaps that there is none), or the generation to `fill` with.
    pub(crate) fn get(
        &self,
        scope: &Scope,
        name: &FunctionName,
        part: &Part,
    ) -> Result<Option<Arc<Value>>, u64> {
        let content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (scope.clone(), name.clone(), part.clone());
        content.known.get(&key).cloned().ok_or(content.generation)
    }

    /// Keeps what a read found, unless something was written since `generation`.
    pub(crate) fn fill(&self, generation: u64, key: Key<Part>, found: Option<Arc<Value>>) {
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        if content.generation != generation {
            return;
        }
        if content.known.len() >= ENTRIES {
            content.known.clear();
        }
        content.known.insert(key, found);
    }

    /// Forgets one.
    pub(crate) fn forget(&self, scope: &Scope, name: &FunctionName, part: &Part) {
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        content.generation += 1;
        content.known.remove(&(scope.clone(), name.clone(), part.clone()));
    }

    /// Forgets all of a function.
    pub(crate) fn forget_function(&self, scope: &Scope, name: &FunctionName) {
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        content.generation += 1;
        content.known.retain(|key, _| key.0 != *scope || key.1 != *name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_overtaken_by_a_write_keeps_nothing() {
        let (scope, name) = (Scope::default(), FunctionName::parse("hello").unwrap());
        let key = || (scope.clone(), name.clone(), 1);
        let cache: Cache<u64, String> = Cache::default();
        let generation = cache.get(&scope, &name, &1).unwrap_err();
        cache.forget(&scope, &name, &1);
        cache.fill(generation, key(), None);
        let generation = cache.get(&scope, &name, &1).unwrap_err();
        cache.fill(generation, key(), None);
        assert_eq!(cache.get(&scope, &name, &1), Ok(None));
        cache.forget_function(&scope, &name);
        assert!(cache.get(&scope, &name, &1).is_err());
    }
}
