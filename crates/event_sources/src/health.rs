//! How a mapping does: one line in the log when it begins or ends to fail, and `LastProcessingResult` for who asks.
//!
//! A queue's mapping that works has no such result, as on AWS. AWS's texts for queues are not published.

use lamplight_model::Scope;
use lamplight_model::event_source_mapping::{LastResult, RESULT_KIND};
use lamplight_store::{Clock, Document, Expect, Store, StoreError};
use std::sync::Arc;
use tokio::sync::Mutex;

/// The standing of one mapping.
pub struct Health {
    store: Arc<dyn Store>,
    clock: Clock,
    scope: Scope,
    uuid: String,
    /// What is stored; unknown at first, because an earlier process may have stored something.
    stored: Mutex<Option<Option<String>>>,
}

impl Health {
    /// Of a mapping.
    pub fn new(store: Arc<dyn Store>, clock: Clock, scope: Scope, uuid: String) -> Self {
        Self { store, clock, scope, uuid, stored: Mutex::default() }
    }

    /// Of a mapping about which nothing is stored: what works is not looked up, which with paused time would let it pass.
    #[cfg(test)]
    pub fn of_working(store: Arc<dyn Store>, clock: Clock, scope: Scope, uuid: String) -> Self {
        Self { stored: Mutex::new(Some(None)), ..Self::new(store, clock, scope, uuid) }
    }

    /// It works.
    pub async fn works(&self) {
        self.set(None).await;
    }

    /// It does not, because of this.
    pub async fn fails(&self, why: impl std::fmt::Display) {
        self.set(Some(format!("PROBLEM: {why}"))).await;
    }

    async fn set(&self, problem: Option<String>) {
        let mut stored = self.stored.lock().await;
        if stored.as_ref() == Some(&problem) {
            return;
        }
        match &problem {
            Some(text) => {
                tracing::warn!(mapping = self.uuid, problem = text, "an event source mapping fails")
            }
            None if stored.is_some() => {
                tracing::info!(mapping = self.uuid, "an event source mapping works again")
            }
            None => {}
        }
        match self.write(problem.as_deref()).await {
            Ok(()) => *stored = Some(problem),
            // Said again at the next chance.
            Err(error) => {
                tracing::warn!(%error, mapping = self.uuid, "failed to store how an event source mapping does");
            }
        }
    }

    async fn write(&self, problem: Option<&str>) -> Result<(), StoreError> {
        let Some(problem) = problem else {
            if self.store.get_document(&self.scope, RESULT_KIND, &self.uuid).await?.is_some() {
                self.store.delete_document(&self.scope, RESULT_KIND, &self.uuid).await?;
            }
            return Ok(());
        };
        let result = LastResult { result: problem.to_owned(), since: (self.clock)() };
        let value = serde_json::to_value(result).map_err(|error| StoreError::Failed {
            doing: "failed to write a result".to_owned(),
            source: Box::new(error),
        })?;
        let document = Document { key: self.uuid.clone(), value };
        self.store.put_document(&self.scope, RESULT_KIND, document, Expect::Anything).await
    }
}
