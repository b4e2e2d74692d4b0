//! REST APIs by their ids, as the store has them, ready to serve.

use crate::remembered::Remembered;
use lamplight_model::rest_api::{DEPLOYMENT_KIND, Deployment, KIND, RestApi, STAGE_KIND, Stage};
use lamplight_model::{Region, Scope};
use lamplight_store::{Store, StoreError};
use std::sync::Arc;

/// Longest name of a stage, characters, all of which are ASCII. Source: API Gateway API reference, CreateStage, "Maximum length is 128 characters".
const LONGEST_STAGE_NAME: usize = 128;

/// An API as far as it concerns requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it lives.
    pub scope: Scope,
    /// Its id.
    pub id: String,
    /// Its name, by which metrics know it.
    pub name: String,
    /// Whether only custom domains reach it.
    pub by_domain_only: bool,
    /// Whether authorizers say the keys of clients, and not clients themselves.
    pub keys_by_authorizer: bool,
}

/// A stage with what it serves.
#[derive(Debug, Clone)]
pub struct Served {
    /// Its name, variables and so on.
    pub stage: Stage,
    /// What it serves.
    pub deployment: Arc<Deployment>,
}

/// What is known of APIs and their stages.
#[derive(Debug, Default)]
pub struct Known {
    apis: Remembered<String, Option<Found>>,
    stages: Remembered<String, Option<Arc<Served>>>,
    /// Apart from the stages: several may serve one.
    deployments: Remembered<String, Option<Arc<Deployment>>>,
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
        let read = async {
            let found = store.find_document(KIND, id).await?;
            let found = found.filter(|(scope, _)| region.is_none_or(|region| *region == scope.region));
            let Some((scope, document)) = found else { return Ok(None) };
            let api: RestApi = document.parse()?;
            Ok(Some(Found {
                scope,
                id: api.id,
                name: api.name,
                by_domain_only: api.disable_execute_api_endpoint,
                keys_by_authorizer: api.api_key_source == "AUTHORIZER",
            }))
        };
        self.apis.get(store, key.as_str(), read).await
    }

    /// The stage of an API; `None` when there is none. Fails when storage does.
    pub async fn stage(
        &self,
        store: &dyn Store,
        api: &Found,
        name: &str,
    ) -> Result<Option<Arc<Served>>, StoreError> {
        // Names of clients, which are kept whether there is such a stage or not.
        if name.len() > LONGEST_STAGE_NAME {
            return Ok(None);
        }
        let key = format!("{}/{name}", api.id);
        let read = async {
            let Some(document) = store.get_document(&api.scope, STAGE_KIND, &key).await? else {
                return Ok(None);
            };
            let stage: Stage = document.parse()?;
            let deployment = self.deployment(store, api, &stage.deployment_id).await?;
            Ok(deployment.map(|deployment| Arc::new(Served { stage, deployment })))
        };
        self.stages.get(store, key.as_str(), read).await
    }

    async fn deployment(
        &self,
        store: &dyn Store,
        api: &Found,
        id: &str,
    ) -> Result<Option<Arc<Deployment>>, StoreError> {
        let key = format!("{}/{id}", api.id);
        let read = async {
            let document = store.get_document(&api.scope, DEPLOYMENT_KIND, &key).await?;
            document.map(|document| document.parse().map(Arc::new)).transpose()
        };
        self.deployments.get(store, key.as_str(), read).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_that_no_stage_has_are_not_kept() {
        let directory = tempfile::tempdir().unwrap();
        let store = lamplight_store::open(lamplight_store::Options::new(directory.path())).unwrap().store;
        let api = Found {
            scope: Scope::default(),
            id: "abc".to_owned(),
            name: "notes".to_owned(),
            by_domain_only: false,
            keys_by_authorizer: false,
        };
        let known = Known::default();
        for length in [LONGEST_STAGE_NAME + 1, LONGEST_STAGE_NAME] {
            assert!(known.stage(&*store, &api, &"x".repeat(length)).await.unwrap().is_none());
        }
        let kept = format!("{:?}", known.stages);
        assert!(kept.contains(&format!("\"abc/{}\"", "x".repeat(LONGEST_STAGE_NAME))), "{kept}");
        assert!(!kept.contains(&"x".repeat(LONGEST_STAGE_NAME + 1)), "{kept}");
    }
}
