//! What was read from the store, kept as long as no document there changes.

use lamplight_store::{Store, StoreError};
use std::borrow::Borrow;
use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Entries that are kept; all are forgotten when there are more, so that who asks for what is not there takes no memory.
const ENTRIES: usize = 10_000;

/// Values by key, each as it was read since the last change of any document: a changed policy counts for the next request.
#[derive(Debug)]
pub struct Remembered<Key, Value> {
    kept: Mutex<Kept<Key, Value>>,
}

#[derive(Debug)]
struct Kept<Key, Value> {
    generation: u64,
    values: HashMap<Key, Value>,
}

impl<Key, Value> Default for Remembered<Key, Value> {
    fn default() -> Self {
        Self { kept: Mutex::new(Kept { generation: 0, values: HashMap::new() }) }
    }
}

impl<Key: Eq + Hash, Value: Clone> Remembered<Key, Value> {
    /// What is known of `key`, else what `read` gives; `read` is not begun when something is known. Fails as `read` does.
    pub async fn get<Asked>(
        &self,
        store: &dyn Store,
        key: &Asked,
        read: impl Future<Output = Result<Value, StoreError>>,
    ) -> Result<Value, StoreError>
    where
        Key: Borrow<Asked>,
        Asked: ToOwned<Owned = Key> + Eq + Hash + ?Sized,
    {
        // Before anything is read: a change that happens meanwhile makes what was read old.
        let generation = store.document_generation();
        if let Some(value) = self.of(generation).and_then(|kept| kept.values.get(key).cloned()) {
            return Ok(value);
        }
        let value = read.await?;
        if let Some(mut kept) = self.of(generation) {
            if kept.values.len() >= ENTRIES {
                kept.values.clear();
            }
            kept.values.insert(key.to_owned(), value.clone());
        }
        Ok(value)
    }

    /// What was read in this generation or, when that is newer, nothing yet. `None` when there is a newer one.
    fn of(&self, generation: u64) -> Option<MutexGuard<'_, Kept<Key, Value>>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // Only forward: a slower request may come with a number that is old already.
        if kept.generation < generation {
            *kept = Kept { generation, values: HashMap::new() };
        }
        (kept.generation == generation).then_some(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplight_store::{Document, Expect};

    #[tokio::test]
    async fn a_change_of_any_document_is_seen_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let store = lamplight_store::open(lamplight_store::Options::new(directory.path())).unwrap().store;
        let remembered = Remembered::<String, u32>::default();
        let ask = async |value: u32| remembered.get(&*store, "key", async { Ok(value) }).await.unwrap();
        assert_eq!(ask(1).await, 1);
        assert_eq!(ask(2).await, 1, "nothing has changed");
        let document = Document { key: "k".to_owned(), value: serde_json::json!({}) };
        store
            .put_document(&lamplight_model::Scope::default(), "other", document, Expect::Anything)
            .await
            .unwrap();
        assert_eq!(ask(3).await, 3);
        let failed = remembered
            .get(&*store, "another", async {
                Err(StoreError::Failed { doing: String::new(), source: "".into() })
            })
            .await;
        assert!(failed.is_err());
        assert_eq!(
            remembered.get(&*store, "another", async { Ok(4) }).await.unwrap(),
            4,
            "a failure is not kept"
        );
    }
}
