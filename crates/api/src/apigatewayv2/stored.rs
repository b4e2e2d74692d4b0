//! Finding and writing APIs, and the automatic deployments that a change brings with it.

use super::input::new_id;
use super::{bad_request, not_found};
use crate::http::{ApiError, Context};
use crate::state::ApiState;
use lamplight_model::http_api::{
    DEPLOYMENT_KIND, DOMAIN_KIND, Definition, Deployment, DomainName, HttpApi, KIND, deployment_key,
};
use lamplight_model::{ServiceError, Timestamp};
use lamplight_store::{Document, Expect};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::MutexGuard;

/// Most documents of a kind that one list reads.
const MOST_DOCUMENTS: usize = 10_000;

/// An API of the caller's region, with the right to write it.
pub struct Opened<'a> {
    /// The API; changes are kept by `save`.
    pub api: HttpApi,
    state: &'a ApiState,
    context: &'a Context,
    _write: MutexGuard<'a, ()>,
}

/// Reads an API. Fails with `NotFoundException`.
pub async fn api(state: &ApiState, context: &Context, id: &str) -> Result<HttpApi, ApiError> {
    read(state, context, KIND, id).await?.ok_or_else(|| {
        not_found(format!("Invalid API identifier specified {}:{id}", context.scope.account.as_str()))
    })
}

/// Reads an API to change it.
pub async fn open<'a>(state: &'a ApiState, context: &'a Context, id: &str) -> Result<Opened<'a>, ApiError> {
    let write = state.configuration_writes.lock().await;
    Ok(Opened { api: api(state, context, id).await?, state, context, _write: write })
}

impl Opened<'_> {
    /// Where it lives.
    pub fn scope(&self) -> &lamplight_model::Scope {
        &self.context.scope
    }

    /// Writes what was changed in what stages do not serve: names, tags, stages themselves.
    pub async fn save(&self) -> Result<(), ApiError> {
        write(self.state, self.context, KIND, &self.api.api_id, &self.api).await
    }

    /// Writes a changed definition: stages that deploy automatically serve it from now on.
    pub async fn save_definition(&mut self) -> Result<(), ApiError> {
        let now = self.state.now();
        let stages: Vec<String> = self
            .api
            .stages
            .values()
            .filter(|stage| stage.deploys_automatically())
            .map(|stage| stage.stage_name.clone())
            .collect();
        for stage in stages {
            deploy_automatically(&mut self.api, &stage, now);
        }
        self.save().await
    }

    /// Keeps the definition as it is now under a deployment's id.
    pub async fn freeze(&self, deployment_id: &str) -> Result<(), ApiError> {
        let key = deployment_key(&self.api.api_id, deployment_id);
        write(self.state, self.context, DEPLOYMENT_KIND, &key, &self.api.definition).await
    }

    /// Whether a deployment's definition is kept.
    pub async fn is_frozen(&self, deployment_id: &str) -> Result<bool, ApiError> {
        let key = deployment_key(&self.api.api_id, deployment_id);
        let found: Option<Definition> = read(self.state, self.context, DEPLOYMENT_KIND, &key).await?;
        Ok(found.is_some())
    }

    /// Forgets what a deployment froze.
    pub async fn thaw(&self, deployment_id: &str) -> Result<(), ApiError> {
        let key = deployment_key(&self.api.api_id, deployment_id);
        self.state.store.delete_document(&self.context.scope, DEPLOYMENT_KIND, &key).await?;
        Ok(())
    }

    /// Deletes the API. Its deployments go first: what is left after a crash is an API without them, which can be deleted again.
    pub async fn delete(self) -> Result<(), ApiError> {
        for id in self.api.deployments.keys() {
            self.thaw(id).await?;
        }
        self.state.store.delete_document(&self.context.scope, KIND, &self.api.api_id).await?;
        Ok(())
    }
}

/// Puts a new deployment into a stage that deploys automatically, in the place of its last one. An API without routes has
/// nothing to deploy.
pub fn deploy_automatically(api: &mut HttpApi, stage: &str, now: Timestamp) {
    let Some(stage) = api.stages.get_mut(stage) else { return };
    if api.definition.routes.is_empty() {
        stage.last_deployment_status_message = Some(
            "Deployment attempt failed: At least one route is required before deploying the Api.".to_owned(),
        );
        return;
    }
    let id = new_id(6);
    let last = stage.deployment_id.replace(id.clone());
    stage.last_deployment_status_message =
        Some(format!("Successfully deployed stage with deployment ID '{id}'"));
    stage.last_updated_date = now;
    let used = |id: &String| api.stages.values().any(|stage| stage.deployment_id.as_ref() == Some(id));
    if let Some(last) = last
        && !used(&last)
        && api.deployments.get(&last).is_some_and(|last| last.auto_deployed)
    {
        api.deployments.remove(&last);
    }
    let deployment = Deployment {
        auto_deployed: true,
        created_date: now,
        deployment_id: id.clone(),
        description: Some("Automatic deployment triggered by changes to the Api configuration".to_owned()),
    };
    api.deployments.insert(id, deployment);
}

/// All APIs of the caller's region, by id.
pub async fn apis(state: &ApiState, context: &Context) -> Result<Vec<HttpApi>, ApiError> {
    let documents = state.store.list_documents(&context.scope, KIND, None, MOST_DOCUMENTS).await?;
    documents.into_iter().map(|document| parse(document.value)).collect()
}

/// Stores a new API.
pub async fn add(state: &ApiState, context: &Context, api: &HttpApi) -> Result<(), ApiError> {
    write(state, context, KIND, &api.api_id, api).await
}

/// A custom domain. Fails with `NotFoundException`.
pub async fn domain(state: &ApiState, context: &Context, name: &str) -> Result<DomainName, ApiError> {
    find_domain(state, context, name)
        .await?
        .ok_or_else(|| not_found("Invalid domain name identifier specified"))
}

/// A custom domain, if it is there.
pub async fn find_domain(
    state: &ApiState,
    context: &Context,
    name: &str,
) -> Result<Option<DomainName>, ApiError> {
    read(state, context, DOMAIN_KIND, &name.to_ascii_lowercase()).await
}

/// All custom domains of the caller's region, by name.
pub async fn domains(state: &ApiState, context: &Context) -> Result<Vec<DomainName>, ApiError> {
    let documents = state.store.list_documents(&context.scope, DOMAIN_KIND, None, MOST_DOCUMENTS).await?;
    documents.into_iter().map(|document| parse(document.value)).collect()
}

/// Stores a custom domain. Call with `configuration_writes` held.
pub async fn put_domain(state: &ApiState, context: &Context, domain: &DomainName) -> Result<(), ApiError> {
    write(state, context, DOMAIN_KIND, &domain.domain_name, domain).await
}

async fn read<T: DeserializeOwned>(
    state: &ApiState,
    context: &Context,
    kind: &str,
    key: &str,
) -> Result<Option<T>, ApiError> {
    let document = state.store.get_document(&context.scope, kind, key).await?;
    document.map(|document| parse(document.value)).transpose()
}

fn parse<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, ApiError> {
    serde_json::from_value(value).map_err(|_| ServiceError::internal("A stored API cannot be read.").into())
}

async fn write<T: Serialize>(
    state: &ApiState,
    context: &Context,
    kind: &str,
    key: &str,
    content: &T,
) -> Result<(), ApiError> {
    let value = serde_json::to_value(content)
        .map_err(|error| bad_request(format!("It cannot be stored: {error}")))?;
    let document = Document { key: key.to_owned(), value };
    Ok(state.store.put_document(&context.scope, kind, document, Expect::Anything).await?)
}
