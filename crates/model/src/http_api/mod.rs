//! HTTP APIs (API Gateway version 2) as they are stored: written by `api`, read by `gateway`.
//!
//! One document holds an API with everything its requests need, so that every change is one write and a request is one
//! read. What a deployment froze is a document of its own. Member names are those of the service model (2018-11-29), so
//! that a resource is shown as it is stored.

mod route_key;
mod target;

pub use route_key::{PathPart, RouteKey, RouteKeyError};
pub use target::{FunctionTarget, function_of_uri, split_authority, with_stage_variables};

use crate::{Scope, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Kind of the stored `HttpApi`; its key is the API's id.
pub const KIND: &str = "http-api";
/// Kind of the stored `Definition` of a deployment; its key is `<API>/<deployment>`.
pub const DEPLOYMENT_KIND: &str = "http-api-deployment";
/// Kind of the stored `DomainName`; its key is the name, in lower case.
pub const DOMAIN_KIND: &str = "http-domain-name";
/// The stage that has no segment in the path, and the route for what no other takes.
pub const DEFAULT: &str = "$default";

/// Names to values.
pub type Texts = BTreeMap<String, String>;

/// One API with everything it consists of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpApi {
    /// First label of the host name, unique in all regions. Stored as the `id` by which documents are found.
    #[serde(rename = "id")]
    pub api_id: String,
    /// What CreateApi and UpdateApi set.
    pub settings: ApiSettings,
    /// When it was made.
    pub created_date: Timestamp,
    /// Tags of the API.
    pub tags: Texts,
    /// What is edited; stages that deploy automatically serve it.
    pub definition: Definition,
    /// By name.
    pub stages: BTreeMap<String, Stage>,
    /// By id.
    pub deployments: BTreeMap<String, Deployment>,
}

/// What CreateApi and UpdateApi set, besides CORS.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiSettings {
    /// 1 to 128 characters.
    pub name: String,
    /// Up to 1,024 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// 1 to 64 characters, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether only custom domains reach it.
    #[serde(default)]
    pub disable_execute_api_endpoint: bool,
    /// `ipv4` or `dualstack`; shown, without effect here.
    #[serde(default = "ipv4")]
    pub ip_address_type: String,
}

fn ipv4() -> String {
    "ipv4".to_owned()
}

/// What requests are answered by.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Definition {
    /// By id.
    pub routes: BTreeMap<String, Route>,
    /// By id.
    pub integrations: BTreeMap<String, Integration>,
    /// By id.
    pub authorizers: BTreeMap<String, Authorizer>,
    /// CORS of the API.
    pub cors: Option<Cors>,
}

/// `Cors` of an HTTP API, with the members that were given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cors {
    /// Whether cookies may be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_credentials: Option<bool>,
    /// Request headers of preflights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_headers: Option<Vec<String>>,
    /// Methods; `*` is all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_methods: Option<Vec<String>>,
    /// Origins; `*` is all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_origins: Option<Vec<String>>,
    /// Response headers a page may read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expose_headers: Option<Vec<String>>,
    /// How long a preflight holds, seconds; -1 forbids to keep it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<i64>,
}

/// A route: which requests, who may make them, where they go.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Route {
    /// Made by quick create.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_gateway_managed: Option<bool>,
    /// Always false for HTTP APIs.
    pub api_key_required: bool,
    /// Scopes of which a token must have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization_scopes: Option<Vec<String>>,
    /// `NONE`, `AWS_IAM`, `CUSTOM` or `JWT`.
    pub authorization_type: String,
    /// The authorizer of `CUSTOM` and `JWT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorizer_id: Option<String>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_name: Option<String>,
    /// Its id.
    pub route_id: String,
    /// `GET /pets/{id}` or `$default`.
    pub route_key: String,
    /// `integrations/<id>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

impl Route {
    /// The id of the integration it leads to.
    pub fn integration_id(&self) -> Option<&str> {
        self.target.as_deref()?.strip_prefix("integrations/")
    }
}

/// Where requests go.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Integration {
    /// Made by quick create.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_gateway_managed: Option<bool>,
    /// `INTERNET`.
    pub connection_type: String,
    /// Role; shown, without effect: the function's policy decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_arn: Option<String>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its id.
    pub integration_id: String,
    /// Method of the request to the back end; `POST` for functions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub integration_method: Option<String>,
    /// `AWS_PROXY` or `HTTP_PROXY`.
    pub integration_type: String,
    /// Function ARN, its invocation URI, or a URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub integration_uri: Option<String>,
    /// `1.0` or `2.0`.
    pub payload_format_version: String,
    /// How long the back end may take, milliseconds.
    pub timeout_in_millis: i64,
}

/// Who may use a route.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Authorizer {
    /// Role; shown, without effect: the function's policy decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorizer_credentials_arn: Option<String>,
    /// Its id.
    pub authorizer_id: String,
    /// Of the event of a Lambda authorizer: `1.0` or `2.0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorizer_payload_format_version: Option<String>,
    /// How long an answer of a Lambda authorizer holds, seconds; 0 is not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorizer_result_ttl_in_seconds: Option<u64>,
    /// `REQUEST` or `JWT`.
    pub authorizer_type: String,
    /// Invocation URI of the function of a Lambda authorizer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorizer_uri: Option<String>,
    /// Whether the function answers `{"isAuthorized": …}` instead of a policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_simple_responses: Option<bool>,
    /// `$request.header.Authorization` and the like.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub identity_source: Vec<String>,
    /// Issuer and audiences of tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt_configuration: Option<JwtConfiguration>,
    /// Unique within the API.
    pub name: String,
}

/// Whose tokens, meant for whom.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JwtConfiguration {
    /// A token must be for one of these (`aud`, else `client_id`).
    pub audience: Vec<String>,
    /// URL, beneath which `/.well-known/openid-configuration` is.
    pub issuer: String,
}

/// What is served beneath a name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Stage {
    /// `destinationArn`: the log group that access logs go to (`access_log_group`); `format`: their lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_log_settings: Option<Texts>,
    /// Made by quick create.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_gateway_managed: Option<bool>,
    /// Whether every change is served at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_deploy: Option<bool>,
    /// When it was made.
    pub created_date: Timestamp,
    /// Of all routes that have no settings of their own.
    pub default_route_settings: RouteSettings,
    /// What is served; with `auto_deploy` the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment_id: Option<String>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How the newest automatic deployment went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_deployment_status_message: Option<String>,
    /// When it was changed.
    pub last_updated_date: Timestamp,
    /// By route key.
    pub route_settings: BTreeMap<String, RouteSettings>,
    /// First segment of the path, or `$default`.
    pub stage_name: String,
    /// In events, and in URIs of integrations as `${stageVariables.name}`.
    pub stage_variables: Texts,
    /// Tags of the stage.
    pub tags: Texts,
}

/// The log group that an ARN names, with `:*` behind it or without; `None` when it is no group of this account and region.
///
/// Source: API reference of API Gateway version 2, AccessLogSettings: "The ARN of the CloudWatch Logs log group to receive access logs".
pub fn access_log_group<'a>(scope: &Scope, arn: &'a str) -> Option<&'a str> {
    let name = arn.strip_prefix(&scope.arn("logs", "log-group:"))?;
    let name = name.strip_suffix(":*").unwrap_or(name);
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"_-/.#".contains(&byte);
    ((1..=512).contains(&name.len()) && name.bytes().all(is_letter)).then_some(name)
}

impl Stage {
    /// Whether every change is served at once.
    pub fn deploys_automatically(&self) -> bool {
        self.auto_deploy == Some(true)
    }

    /// Requests per second and how many at once, of a route. `None` where nothing was set.
    pub fn throttle(&self, route_key: &str) -> Option<(f64, u64)> {
        let own = self.route_settings.get(route_key);
        let setting = |pick: fn(&RouteSettings) -> Option<f64>| {
            own.and_then(pick).or_else(|| pick(&self.default_route_settings))
        };
        let rate = setting(|settings| settings.throttling_rate_limit);
        let burst = setting(|settings| settings.throttling_burst_limit.map(|burst| burst as f64));
        match (rate, burst) {
            (None, None) => None,
            // One alone is both: so many a second, and at once.
            (rate, burst) => {
                let rate = rate.or(burst).unwrap_or_default().max(0.0);
                let burst = burst.unwrap_or(rate).max(0.0);
                Some((rate, burst as u64))
            }
        }
    }
}

/// Settings of a route in a stage.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteSettings {
    /// Shown, without effect.
    pub detailed_metrics_enabled: bool,
    /// How many requests at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttling_burst_limit: Option<i64>,
    /// Requests per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttling_rate_limit: Option<f64>,
}

/// A moment of the definition that stages may serve.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Deployment {
    /// Whether a stage made it by itself.
    pub auto_deployed: bool,
    /// When it was made.
    pub created_date: Timestamp,
    /// Its id.
    pub deployment_id: String,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// The key of what a deployment froze.
pub fn deployment_key(api_id: &str, deployment_id: &str) -> String {
    format!("{api_id}/{deployment_id}")
}

/// A custom domain with the APIs beneath it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DomainName {
    /// The name, in lower case. Stored as the `id` by which documents are found.
    #[serde(rename = "id")]
    pub domain_name: String,
    /// As they were given; certificates are the listener's.
    pub domain_name_configurations: Vec<serde_json::Map<String, serde_json::Value>>,
    /// Tags.
    pub tags: Texts,
    /// By id.
    pub mappings: BTreeMap<String, ApiMapping>,
}

/// Which API is beneath a path of a domain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiMapping {
    /// The API.
    pub api_id: String,
    /// Its id.
    pub api_mapping_id: String,
    /// Segments of the path, without slashes around; empty is all others.
    pub api_mapping_key: String,
    /// The stage.
    pub stage: String,
}

impl DomainName {
    /// The mapping of a path: the longest key that is the whole path or its first segments.
    ///
    /// Source: API Gateway developer guide, "API mappings": "uses the API mapping that has the longest matching path".
    pub fn mapping(&self, path: &str) -> Option<&ApiMapping> {
        let path = path.trim_start_matches('/');
        let fits = |mapping: &&ApiMapping| {
            let key = mapping.api_mapping_key.as_str();
            key.is_empty()
                || path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.mappings.values().filter(fits).max_by_key(|mapping| mapping.api_mapping_key.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_mapping_counts() {
        let mapping = |key: &str| ApiMapping {
            api_id: key.to_owned(),
            api_mapping_id: key.to_owned(),
            api_mapping_key: key.to_owned(),
            stage: DEFAULT.to_owned(),
        };
        let mut domain = DomainName {
            domain_name: "api.example.com".to_owned(),
            domain_name_configurations: Vec::new(),
            tags: Texts::new(),
            mappings: ["orders", "orders/v1", "shipping"].map(|key| (key.to_owned(), mapping(key))).into(),
        };
        let found = |domain: &DomainName, path: &str| domain.mapping(path).map(|found| found.api_id.clone());
        for (path, expected) in [
            ("/orders", Some("orders")),
            ("/orders/", Some("orders")),
            ("/orders/v1/items", Some("orders/v1")),
            ("/orders/v11", Some("orders")),
            ("/ordersx", None),
            ("/", None),
        ] {
            assert_eq!(found(&domain, path).as_deref(), expected, "{path}");
        }
        domain.mappings.insert(String::new(), mapping(""));
        assert_eq!(found(&domain, "/ordersx").as_deref(), Some(""));
    }

    #[test]
    fn throttles_of_a_route_come_before_those_of_the_stage() {
        let mut stage = Stage::default();
        assert_eq!(stage.throttle("GET /"), None);
        stage.default_route_settings.throttling_rate_limit = Some(10.0);
        assert_eq!(stage.throttle("GET /"), Some((10.0, 10)));
        let own = RouteSettings { throttling_burst_limit: Some(2), ..RouteSettings::default() };
        stage.route_settings.insert("GET /".to_owned(), own);
        assert_eq!(stage.throttle("GET /"), Some((10.0, 2)));
        assert_eq!(stage.throttle("GET /other"), Some((10.0, 10)));
    }
}
