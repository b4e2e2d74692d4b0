//! APIs by their ids, as the store has them, ready to serve.

use super::routes::RouteTable;
use crate::remembered::Remembered;
use lamplight_model::http_api::{
    DEFAULT, DEPLOYMENT_KIND, DOMAIN_KIND, Definition, DomainName, HttpApi, KIND, Stage, deployment_key,
};
use lamplight_model::{Region, Scope};
use lamplight_store::{Document, Store, StoreError};
use std::collections::HashMap;
use std::sync::Arc;

/// An API with what its stages serve.
#[derive(Debug)]
pub struct Served {
    /// Where it lives.
    pub scope: Scope,
    /// Its id.
    pub id: String,
    /// Whether only custom domains reach it.
    pub by_domain_only: bool,
    stages: HashMap<String, ServedStage>,
}

/// A stage with what it serves.
#[derive(Debug)]
pub struct ServedStage {
    /// Its settings.
    pub stage: Stage,
    /// What was deployed to it.
    pub content: Arc<Content>,
}

/// A definition, ready to choose from.
#[derive(Debug)]
pub struct Content {
    /// The definition.
    pub definition: Definition,
    /// Its routes.
    pub routes: RouteTable,
}

impl Served {
    /// The stage of a path and what is left of the path: the stage named by the first segment, else `$default` with all of it.
    ///
    /// A stage to which nothing was deployed is none.
    pub fn stage<'a>(&self, path: &'a str) -> Option<(&ServedStage, &'a str)> {
        let after_slash = path.strip_prefix('/').unwrap_or(path);
        let (first, rest) = after_slash.split_at(after_slash.find('/').unwrap_or(after_slash.len()));
        match self.stages.get(first).filter(|_| first != DEFAULT) {
            Some(stage) => Some((stage, if rest.is_empty() { "/" } else { rest })),
            None => self.stages.get(DEFAULT).map(|stage| (stage, path)),
        }
    }

    /// A stage by its name.
    pub fn stage_named(&self, name: &str) -> Option<&ServedStage> {
        self.stages.get(name)
    }
}

/// What is known of APIs and custom domains.
#[derive(Debug, Default)]
pub struct Known {
    apis: Remembered<String, Option<Arc<Served>>>,
    domains: Remembered<String, Option<Arc<DomainName>>>,
}

impl Known {
    /// The API of an id, of a region when the request named one. Fails when storage does.
    pub async fn api(
        &self,
        store: &dyn Store,
        id: &str,
        region: Option<&Region>,
    ) -> Result<Option<Arc<Served>>, StoreError> {
        let key = format!("{}/{id}", region.map_or("", Region::as_str));
        let read = async {
            match find(store, KIND, id, region).await? {
                Some((scope, document)) => Ok(Some(Arc::new(read(store, scope, document).await?))),
                None => Ok(None),
            }
        };
        self.apis.get(store, key.as_str(), read).await
    }

    /// The custom domain of a host name, an exact one before one with a star.
    pub async fn domain(&self, store: &dyn Store, host: &str) -> Result<Option<Arc<DomainName>>, StoreError> {
        let read = async {
            let star = host.split_once('.').map(|(_, rest)| format!("*.{rest}"));
            let mut found = find(store, DOMAIN_KIND, host, None).await?;
            if let (None, Some(star)) = (&found, star) {
                found = find(store, DOMAIN_KIND, &star, None).await?;
            }
            found.map(|(_, document)| document.parse().map(Arc::new)).transpose()
        };
        self.domains.get(store, host, read).await
    }
}

/// A document by its key, in the region that was named, else wherever it is: ids and names are there once.
async fn find(
    store: &dyn Store,
    kind: &str,
    key: &str,
    region: Option<&Region>,
) -> Result<Option<(Scope, Document)>, StoreError> {
    if let Some(region) = region {
        let scope = Scope { region: region.clone(), ..Scope::default() };
        let found = store.get_document(&scope, kind, key).await?;
        return Ok(found.map(|document| (scope, document)));
    }
    store.find_document(kind, key).await
}

async fn read(store: &dyn Store, scope: Scope, document: Document) -> Result<Served, StoreError> {
    let api: HttpApi = document.parse()?;
    let mut contents: HashMap<String, Arc<Content>> = HashMap::new();
    let edited = Arc::new(Content::new(api.definition));
    let mut stages = HashMap::new();
    for (name, stage) in api.stages {
        let Some(deployment) = stage.deployment_id.clone() else { continue };
        let content = if stage.deploys_automatically() {
            edited.clone()
        } else if let Some(content) = contents.get(&deployment) {
            content.clone()
        } else {
            let key = deployment_key(&api.api_id, &deployment);
            let Some(frozen) = store.get_document(&scope, DEPLOYMENT_KIND, &key).await? else { continue };
            let content = Arc::new(Content::new(frozen.parse()?));
            contents.insert(deployment, content.clone());
            content
        };
        stages.insert(name, ServedStage { stage, content });
    }
    Ok(Served { scope, id: api.api_id, by_domain_only: api.settings.disable_execute_api_endpoint, stages })
}

impl Content {
    fn new(definition: Definition) -> Self {
        let routes = RouteTable::new(definition.routes.values());
        Self { definition, routes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_by_the_first_segment() {
        let stage = |name: &str| {
            let stage = Stage { stage_name: name.to_owned(), ..Stage::default() };
            let content = Arc::new(Content::new(Definition::default()));
            (name.to_owned(), ServedStage { stage, content })
        };
        let served = |names: &[&str]| Served {
            scope: Scope::default(),
            id: "abc".to_owned(),
            by_domain_only: false,
            stages: names.iter().map(|name| stage(name)).collect(),
        };
        let check = |names: &[&str], path: &str, expected: Option<(&str, &str)>| {
            let served = served(names);
            let found = served.stage(path).map(|(stage, rest)| (stage.stage.stage_name.as_str(), rest));
            assert_eq!(found, expected, "{path} among {names:?}");
        };
        check(&["dev"], "/dev/pets", Some(("dev", "/pets")));
        check(&["dev"], "/dev", Some(("dev", "/")));
        check(&["dev"], "/devil", None);
        check(&["dev", DEFAULT], "/devil", Some((DEFAULT, "/devil")));
        check(&["dev", DEFAULT], "/dev/", Some(("dev", "/")));
        check(&[DEFAULT], "/", Some((DEFAULT, "/")));
        check(&[DEFAULT], "/$default/x", Some((DEFAULT, "/$default/x")));
        check(&["dev"], "/", None);
    }
}
