//! Function URLs by their ids, as the store has them.
//!
//! What was read is kept as long as no document changes: a changed configuration or policy counts for the next request.

use crate::authorization::policies::allow_url;
use lamplight_model::function_url::{self, FunctionUrl};
use lamplight_model::name::function_arn;
use lamplight_model::policy::ConditionKeys;
use lamplight_model::{FunctionName, Qualifier, Scope};
use lamplight_store::function_documents::{self, Owner, POLICY_KIND};
use lamplight_store::{Store, StoreError};
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// URLs kept; all are forgotten when there are more.
const ENTRIES: usize = 10_000;

/// A function URL with what belongs to it.
#[derive(Debug)]
pub struct Url {
    /// Where its function lives.
    pub scope: Scope,
    /// Its function.
    pub function: FunctionName,
    /// The alias it belongs to; `None` is the function itself.
    pub qualifier: Option<Qualifier>,
    /// Its configuration.
    pub stored: FunctionUrl,
    /// ARN of the function, qualified for an alias.
    pub arn: String,
    /// The policy of the function or alias.
    pub policy: Option<String>,
    /// Whether it asks nobody who he is, and the policy lets everybody, whatever else is known of the request.
    pub is_open: bool,
}

/// What is known of URLs that exist.
#[derive(Debug, Default)]
pub struct Known {
    content: Mutex<Content>,
}

#[derive(Debug, Default)]
struct Content {
    generation: u64,
    urls: HashMap<String, Arc<Url>>,
}

/// The part of a stored policy that is read here.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StoredPolicy {
    policy: String,
}

impl Known {
    /// The URL of an id; `None` when there is none. Fails when storage does.
    pub async fn find(&self, store: &dyn Store, id: &str) -> Result<Option<Arc<Url>>, StoreError> {
        // Before anything is read: a change that happens meanwhile makes what was read old.
        let generation = store.document_generation();
        if let Some(known) = self.kept(generation, id) {
            return Ok(Some(known));
        }
        let Some(read) = read(store, id).await? else { return Ok(None) };
        let url = Arc::new(read);
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        if content.generation == generation {
            if content.urls.len() >= ENTRIES {
                content.urls.clear();
            }
            content.urls.insert(id.to_owned(), Arc::clone(&url));
        }
        Ok(Some(url))
    }

    fn kept(&self, generation: u64, id: &str) -> Option<Arc<Url>> {
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        // Only forward: a slower request may come with a number that is old already.
        if content.generation < generation {
            content.generation = generation;
            content.urls.clear();
        }
        (content.generation == generation).then(|| content.urls.get(id).cloned()).flatten()
    }
}

async fn read(store: &dyn Store, id: &str) -> Result<Option<Url>, StoreError> {
    let Some((scope, document)) = store.find_document(function_url::KIND, id).await? else { return Ok(None) };
    let Some((function, qualifier)) = function_documents::parse_key(&document.key) else { return Ok(None) };
    let stored: FunctionUrl = serde_json::from_value(document.value).map_err(|error| StoreError::Failed {
        doing: format!("failed to read function URL {}", document.key),
        source: Box::new(error),
    })?;
    let owner = Owner { scope: &scope, function: &function, qualifier: qualifier.as_ref() };
    let policy: Option<StoredPolicy> = function_documents::get(store, POLICY_KIND, owner).await?;
    let arn = function_arn(&scope, &function, qualifier.as_ref());
    let policy = policy.map(|stored| stored.policy);
    let is_open = !stored.is_signed() && {
        let of = (arn.as_str(), scope.account.as_str());
        allow_url(policy.as_deref(), None, of, &stored.auth_type, &ConditionKeys::default())
    };
    Ok(Some(Url { scope, function, qualifier, stored, arn, policy, is_open }))
}
