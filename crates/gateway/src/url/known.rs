//! Function URLs by their ids, as the store has them.

use crate::authorization::policies::allow_url;
use crate::permission::StoredPolicy;
use crate::remembered::Remembered;
use lamplight_model::function_url::{self, FunctionUrl};
use lamplight_model::name::function_arn;
use lamplight_model::policy::ConditionKeys;
use lamplight_model::{FunctionName, Qualifier, Scope};
use lamplight_store::function_documents::{self, Owner, POLICY_KIND};
use lamplight_store::{Store, StoreError};
use std::sync::Arc;

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

/// What is known of URLs.
#[derive(Debug, Default)]
pub struct Known(Remembered<String, Option<Arc<Url>>>);

impl Known {
    /// The URL of an id; `None` when there is none. Fails when storage does.
    pub async fn find(&self, store: &dyn Store, id: &str) -> Result<Option<Arc<Url>>, StoreError> {
        let read = async { Ok(read(store, id).await?.map(Arc::new)) };
        self.0.get(store, id, read).await
    }
}

async fn read(store: &dyn Store, id: &str) -> Result<Option<Url>, StoreError> {
    let Some((scope, document)) = store.find_document(function_url::KIND, id).await? else { return Ok(None) };
    let Some((function, qualifier)) = function_documents::parse_key(&document.key) else { return Ok(None) };
    let stored: FunctionUrl = document.parse()?;
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
