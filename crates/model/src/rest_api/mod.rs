//! REST APIs (API Gateway's first version): what the management API writes and the gateway serves.
//!
//! An API is one document with its resources, methods and authorizers. A deployment is a copy of that part which is served;
//! a stage says which one, under which name and with which variables. Members are named as on the wire, so that a document
//! is also what a client reads; what is unset is absent.
//! Source: API Gateway API reference, version 2015-07-09.

mod authorizer;
mod mapping;
mod method;
mod respond;
mod routing;
mod stage;
mod usage;

pub use authorizer::{Authorizer, AuthorizerKind, DEFAULT_RESULT_TTL_SECONDS, GREATEST_RESULT_TTL_SECONDS};
pub use mapping::{Destination, HEADERS_OF_FRAMING, Source};
pub use method::{
    Integration, IntegrationKind, IntegrationResponse, IntegrationTarget, Method, MethodResponse,
    WHOLE_TIMEOUT_MILLISECONDS, mock_status, static_text,
};
pub use respond::{GATEWAY_RESPONSES, GatewayResponse, GatewayResponseKind};
pub use routing::{Routed, route};
pub use stage::{Deployment, MethodSetting, Stage};
pub use usage::{
    ApiKey, ApiStage, KEY_KIND, KEY_VALUE_KIND, KeyOfValue, Period, Quota, Throttle, USAGE_PLAN_KIND,
    UsagePlan, key_of_value,
};

use crate::{Scope, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Kind of the documents of APIs; the key is the API's id.
pub const KIND: &str = "rest-api";
/// Kind of the documents of deployments; the key is `<api>/<deployment>`.
pub const DEPLOYMENT_KIND: &str = "rest-api/deployment";
/// Kind of the documents of stages; the key is `<api>/<stage>`.
pub const STAGE_KIND: &str = "rest-api/stage";
/// Methods a resource can have; `ANY` stands for those that are not there.
pub const METHODS: [&str; 8] = ["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "HEAD", "ANY"];

/// An API with everything that is not yet deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestApi {
    /// First label of its host name.
    pub id: String,
    /// Its name; not unique.
    pub name: String,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A version label of the owner's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// When it was made.
    pub created_date: Timestamp,
    /// Smallest body that is compressed, bytes. Stored; nothing is compressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_compression_size: Option<u32>,
    /// `HEADER` or `AUTHORIZER`.
    pub api_key_source: String,
    /// Where it is offered. Stored: here all kinds are the same.
    pub endpoint_configuration: EndpointConfiguration,
    /// Tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Whether only custom domains reach it.
    pub disable_execute_api_endpoint: bool,
    /// The resource `/`.
    pub root_resource_id: String,
    /// What a deployment copies.
    pub definition: Definition,
}

/// Where an API is offered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointConfiguration {
    /// `EDGE`, `REGIONAL` or `PRIVATE`.
    pub types: Vec<String>,
    /// `ipv4` or `dualstack`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_address_type: Option<String>,
    /// Of private APIs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vpc_endpoint_ids: Vec<String>,
}

/// What an API answers: the part that a deployment freezes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Definition {
    /// Resources by id.
    pub resources: BTreeMap<String, Resource>,
    /// Authorizers by id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub authorizers: BTreeMap<String, Authorizer>,
    /// Gateway responses that differ from the default, by type.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gateway_responses: BTreeMap<String, GatewayResponse>,
    /// Media types of bodies that are not text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub binary_media_types: Vec<String>,
}

/// One path of an API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// Its id.
    pub id: String,
    /// The resource above; absent of `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<String>,
    /// The last segment: text, `{name}` or `{name+}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_part: Option<String>,
    /// The whole path.
    pub path: String,
    /// Methods by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resource_methods: BTreeMap<String, Method>,
}

impl Resource {
    /// The resource `/`.
    pub fn root(id: String) -> Self {
        Self { id, parent_id: None, path_part: None, path: "/".to_owned(), resource_methods: BTreeMap::new() }
    }
}

/// `{name}` or `{name+}`.
pub fn is_variable(path_part: &str) -> bool {
    path_part.starts_with('{') && path_part.ends_with('}')
}

/// `{name+}`: takes all that is left of a path.
pub fn is_greedy(path_part: &str) -> bool {
    path_part.starts_with('{') && path_part.ends_with("+}")
}

/// A path below a parent's.
pub fn joined(parent: &str, path_part: &str) -> String {
    format!("{}/{path_part}", parent.trim_end_matches('/'))
}

/// The ARN of one method of a deployed API, as authorizers and policies of functions see it:
/// `arn:aws:execute-api:<region>:<account>:<api>/<stage>/<METHOD>/<path without its slash>`.
pub fn method_arn(scope: &Scope, api_id: &str, stage: &str, method: &str, path: &str) -> String {
    scope.arn("execute-api", &format!("{api_id}/{stage}/{method}/{}", path.trim_start_matches('/')))
}

impl Definition {
    /// The resources in the order of their paths, as lists show them.
    pub fn by_path(&self) -> Vec<&Resource> {
        let mut resources: Vec<&Resource> = self.resources.values().collect();
        resources.sort_by(|one, other| one.path.cmp(&other.path));
        resources
    }

    /// The resource and all beneath it.
    pub fn subtree(&self, id: &str) -> Vec<String> {
        let mut found = vec![id.to_owned()];
        let mut at = 0;
        while let Some(parent) = found.get(at).cloned() {
            let children = self.resources.values().filter(|child| child.parent_id.as_ref() == Some(&parent));
            found.extend(children.map(|child| child.id.clone()));
            at += 1;
        }
        found
    }

    /// Writes the paths of a resource and all beneath it anew, after its parent or its part was changed.
    pub fn rewrite_paths(&mut self, id: &str) {
        // Parents come before their children.
        for id in self.subtree(id) {
            let Some((parent, part)) =
                self.resources.get(&id).and_then(|one| one.parent_id.clone().zip(one.path_part.clone()))
            else {
                continue;
            };
            let Some(above) = self.resources.get(&parent).map(|parent| parent.path.clone()) else { continue };
            if let Some(resource) = self.resources.get_mut(&id) {
                resource.path = joined(&above, &part);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An API with these paths, each with a method GET; the id of a resource is its path.
    pub(super) fn definition(paths: &[&str]) -> Definition {
        let mut definition = Definition::default();
        definition.resources.insert("/".to_owned(), Resource::root("/".to_owned()));
        for path in paths {
            let mut parent = "/".to_owned();
            for part in path.split('/').filter(|part| !part.is_empty()) {
                let path = joined(&parent, part);
                definition.resources.entry(path.clone()).or_insert_with(|| Resource {
                    id: path.clone(),
                    parent_id: Some(parent.clone()),
                    path_part: Some(part.to_owned()),
                    path: path.clone(),
                    resource_methods: BTreeMap::new(),
                });
                parent = path;
            }
            let resource = definition.resources.get_mut(&parent).unwrap();
            resource.resource_methods.insert("GET".to_owned(), Method::new("GET", "NONE"));
        }
        definition
    }

    #[test]
    fn paths_follow_their_parents() {
        let mut definition = definition(&["/pets/{id}/toys"]);
        definition.resources.get_mut("/pets").unwrap().path_part = Some("dogs".to_owned());
        definition.rewrite_paths("/pets");
        let paths: Vec<&str> = definition.by_path().iter().map(|resource| resource.path.as_str()).collect();
        assert_eq!(paths, ["/", "/dogs", "/dogs/{id}", "/dogs/{id}/toys"]);
        assert_eq!(definition.subtree("/pets/{id}"), ["/pets/{id}", "/pets/{id}/toys"]);
    }

    #[test]
    fn arns_of_methods() {
        let arn = |path| method_arn(&Scope::default(), "abc", "dev", "GET", path);
        assert_eq!(arn("/pets/7"), "arn:aws:execute-api:us-east-1:000000000000:abc/dev/GET/pets/7");
        assert_eq!(arn("/"), "arn:aws:execute-api:us-east-1:000000000000:abc/dev/GET/");
    }
}
