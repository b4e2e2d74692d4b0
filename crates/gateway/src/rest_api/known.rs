//! REST APIs by their ids, as the store has them, ready to serve.
//!
//! What was read is kept as long as no document in the store changes: a changed stage or policy counts for the next request.

use lamplight_model::policy::{
    ConditionKeys, Principal, Request, ResourceDecision, evaluate_resource_policy,
};
use lamplight_model::rest_api::{DEPLOYMENT_KIND, Deployment, KIND, RestApi, STAGE_KIND, Stage};
use lamplight_model::{FunctionReference, Qualifier, Region, Scope, name::function_arn};
use lamplight_store::function_documents::{self, Owner};
use lamplight_store::{Document, Store, StoreError};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// Entries of each kind that are kept; all of a kind are forgotten when there are more.
const ENTRIES: usize = 10_000;
/// Kind of the documents with resource-based policies of functions.
const POLICY_KIND: &str = "function/policy";
/// Who calls functions from here.
const SERVICE: Principal<'static> = Principal::Service("apigateway.amazonaws.com");

/// An API as far as it concerns requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it lives.
    pub scope: Scope,
    /// Its id.
    pub id: String,
    /// Whether only custom domains reach it.
    pub by_domain_only: bool,
}

/// A stage with what it serves.
#[derive(Debug, Clone)]
pub struct Served {
    /// Its name, variables and so on.
    pub stage: Stage,
    /// What it serves.
    pub deployment: Arc<Deployment>,
}

/// What is known of APIs, their stages and permissions.
#[derive(Debug, Default)]
pub struct Known {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    generation: u64,
    apis: HashMap<String, Option<Found>>,
    stages: HashMap<String, Option<Arc<Served>>>,
    /// Deployments never change but for their description: they are kept while anything serves them.
    deployments: HashMap<String, Arc<Deployment>>,
    /// By ARN of the function and of who asks.
    permissions: HashMap<(String, String), bool>,
}

impl Known {
    /// The API of an id, of a region when the request named one. Fails when storage does.
    pub async fn api(
        &self,
        store: &dyn Store,
        id: &str,
        region: Option<&Region>,
    ) -> Result<Option<Found>, StoreError> {
        let key = format!("{}/{id}", region.map_or("", Region::as_str));
        let generation = store.document_generation();
        if let Some(found) = self.look(generation, |kept| kept.apis.get(&key).cloned()) {
            return Ok(found);
        }
        let found = store.find_document(KIND, id).await?;
        let found = found.filter(|(scope, _)| region.is_none_or(|region| *region == scope.region));
        let found = match found {
            Some((scope, document)) => {
                let api: RestApi = parse(document)?;
                Some(Found { scope, id: api.id, by_domain_only: api.disable_execute_api_endpoint })
            }
            None => None,
        };
        self.keep(generation, |kept| &mut kept.apis, key, found.clone());
        Ok(found)
    }

    /// The stage of an API; `None` when there is none. Fails when storage does.
    pub async fn stage(
        &self,
        store: &dyn Store,
        api: &Found,
        name: &str,
    ) -> Result<Option<Arc<Served>>, StoreError> {
        let key = format!("{}/{name}", api.id);
        let generation = store.document_generation();
        if let Some(served) = self.look(generation, |kept| kept.stages.get(&key).cloned()) {
            return Ok(served);
        }
        let served = match store.get_document(&api.scope, STAGE_KIND, &key).await? {
            Some(document) => {
                let stage: Stage = parse(document)?;
                let deployment = self.deployment(store, api, &stage.deployment_id).await?;
                deployment.map(|deployment| Arc::new(Served { stage, deployment }))
            }
            None => None,
        };
        self.keep(generation, |kept| &mut kept.stages, key, served.clone());
        Ok(served)
    }

    async fn deployment(
        &self,
        store: &dyn Store,
        api: &Found,
        id: &str,
    ) -> Result<Option<Arc<Deployment>>, StoreError> {
        let key = format!("{}/{id}", api.id);
        let known = self.kept.lock().unwrap_or_else(PoisonError::into_inner).deployments.get(&key).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let Some(document) = store.get_document(&api.scope, DEPLOYMENT_KIND, &key).await? else {
            return Ok(None);
        };
        let deployment: Arc<Deployment> = Arc::new(parse(document)?);
        self.keep(store.document_generation(), |kept| &mut kept.deployments, key, deployment.clone());
        Ok(Some(deployment))
    }

    /// Whether a function's policy lets API Gateway call it for `source`, the ARN of a method or authorizer. Fails when storage
    /// does.
    ///
    /// Source: Lambda developer guide, "Invoking a Lambda function using an Amazon API Gateway endpoint", permissions.
    pub async fn may_call(
        &self,
        store: &dyn Store,
        scope: &Scope,
        function: &FunctionReference,
        source: &str,
    ) -> Result<bool, StoreError> {
        let arn = function_arn(scope, &function.name, function.qualifier.as_ref());
        let key = (arn.clone(), source.to_owned());
        let generation = store.document_generation();
        if let Some(may) = self.look(generation, |kept| kept.permissions.get(&key).copied()) {
            return Ok(may);
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct StoredPolicy {
            policy: String,
        }
        let qualifier = function.qualifier.as_ref().filter(|qualifier| **qualifier != Qualifier::Latest);
        let owner = Owner { scope, function: &function.name, qualifier };
        let stored: Option<StoredPolicy> = function_documents::get(store, POLICY_KIND, owner).await?;
        let may = stored.is_some_and(|stored| allows(&stored.policy, scope, &arn, source));
        self.keep(generation, |kept| &mut kept.permissions, key, may);
        Ok(may)
    }

    fn look<T>(&self, generation: u64, look: impl FnOnce(&Kept) -> Option<T>) -> Option<T> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // Only forward: a slower request may come with a number that is old already.
        if kept.generation < generation {
            let still_served = |deployment: &mut Arc<Deployment>| Arc::strong_count(deployment) > 1;
            let mut deployments = std::mem::take(&mut kept.deployments);
            deployments.retain(|_, deployment| still_served(deployment));
            *kept = Kept { generation, deployments, ..Kept::default() };
        }
        (kept.generation == generation).then(|| look(&kept)).flatten()
    }

    fn keep<K: Eq + Hash, V>(
        &self,
        generation: u64,
        map: impl FnOnce(&mut Kept) -> &mut HashMap<K, V>,
        key: K,
        value: V,
    ) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.generation == generation {
            let map = map(&mut kept);
            if map.len() >= ENTRIES {
                map.clear();
            }
            map.insert(key, value);
        }
    }
}

fn allows(policy: &str, scope: &Scope, function_arn: &str, source: &str) -> bool {
    let mut keys = ConditionKeys::default();
    keys.set("aws:SourceArn", source);
    keys.set("aws:SourceAccount", scope.account.as_str());
    let request = Request { action: "lambda:InvokeFunction", resource: function_arn, keys: &keys };
    evaluate_resource_policy(policy, &SERVICE, &request) == ResourceDecision::Allowed
}

fn parse<T: DeserializeOwned>(document: Document) -> Result<T, StoreError> {
    serde_json::from_value(document.value).map_err(|error| StoreError::Failed {
        doing: format!("failed to read {}", document.key),
        source: Box::new(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplight_model::rest_api::method_arn;
    use serde_json::json;

    const FUNCTION: &str = "arn:aws:lambda:us-east-1:000000000000:function:pets";

    #[test]
    fn who_may_call_a_function() {
        let source = method_arn(&Scope::default(), "abc", "dev", "GET", "/pets/{id}");
        let check = |principal: &str, pattern: Option<&str>, expected: bool| {
            let mut statement = json!({"Sid": "s", "Effect": "Allow", "Principal": {"Service": principal},
                "Action": "lambda:InvokeFunction", "Resource": FUNCTION});
            if let Some(pattern) = pattern {
                let arn = format!("arn:aws:execute-api:us-east-1:000000000000:{pattern}");
                statement["Condition"] = json!({"ArnLike": {"AWS:SourceArn": arn}});
            }
            let policy = json!({"Version": "2012-10-17", "Statement": [statement]}).to_string();
            assert_eq!(allows(&policy, &Scope::default(), FUNCTION, &source), expected, "{policy}");
        };
        let gateway = "apigateway.amazonaws.com";
        check(gateway, None, true);
        check(gateway, Some("abc/*"), true);
        check(gateway, Some("abc/*/GET/pets/*"), true);
        check(gateway, Some("abc/*/POST/pets/*"), false);
        check(gateway, Some("other/*"), false);
        check("s3.amazonaws.com", None, false);
        assert!(!allows("nonsense", &Scope::default(), FUNCTION, &source));
    }
}
