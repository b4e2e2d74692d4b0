//! Methods and what stands behind them.

use crate::name::FunctionReference;
use regex::Regex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// `timeoutInMillis` when none is given, and the longest there is.
/// Source: API Gateway quotas, "Integration timeout for Regional APIs".
pub const WHOLE_TIMEOUT_MILLISECONDS: u32 = 29_000;

/// One method of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Method {
    /// `GET`, ..., or `ANY`.
    pub http_method: String,
    /// `NONE`, `AWS_IAM` or `CUSTOM`.
    pub authorization_type: String,
    /// The authorizer of `CUSTOM`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorizer_id: Option<String>,
    /// Whether a key is wanted.
    #[serde(default)]
    pub api_key_required: bool,
    /// A name for generated clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_name: Option<String>,
    /// `method.request.<where>.<name>` to whether it is required.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub request_parameters: BTreeMap<String, bool>,
    /// Models of bodies by media type. Stored; nothing is validated.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub request_models: BTreeMap<String, String>,
    /// Answers by status.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub method_responses: BTreeMap<String, MethodResponse>,
    /// What stands behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method_integration: Option<Integration>,
    /// OAuth scopes. Stored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorization_scopes: Vec<String>,
}

impl Method {
    /// A method with nothing behind it.
    pub fn new(http_method: &str, authorization_type: &str) -> Self {
        Self {
            http_method: http_method.to_owned(),
            authorization_type: authorization_type.to_owned(),
            authorizer_id: None,
            api_key_required: false,
            operation_name: None,
            request_parameters: BTreeMap::new(),
            request_models: BTreeMap::new(),
            method_responses: BTreeMap::new(),
            method_integration: None,
            authorization_scopes: Vec::new(),
        }
    }
}

/// An answer that a method declares.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MethodResponse {
    /// Three digits.
    pub status_code: String,
    /// `method.response.header.<name>` to whether it is required.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub response_parameters: BTreeMap<String, bool>,
    /// Models by media type.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub response_models: BTreeMap<String, String>,
}

/// What stands behind a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum IntegrationKind {
    /// A function that gets the whole request.
    #[serde(rename = "AWS_PROXY")]
    AwsProxy,
    /// A URL that gets what is mapped, and whose answer is mapped back.
    #[serde(rename = "HTTP")]
    Http,
    /// A URL that gets the whole request, and whose whole answer comes back.
    #[serde(rename = "HTTP_PROXY")]
    HttpProxy,
    /// Nothing: an answer of the gateway's own.
    #[serde(rename = "MOCK")]
    Mock,
}

/// What stands behind a method, and how it is spoken to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Integration {
    /// Which kind.
    #[serde(rename = "type")]
    pub kind: IntegrationKind,
    /// The method it is spoken to with; `POST` of functions, `ANY` of a URL: the request's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_method: Option<String>,
    /// The function, see `IntegrationTarget`, or the URL with `{name}` in its path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// `INTERNET`, when it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_type: Option<String>,
    /// Role that calls the function; without one, the function's policy says whether it may be called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<String>,
    /// Where parameters of URLs come from: `Destination` to `Source`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub request_parameters: BTreeMap<String, String>,
    /// Templates by media type.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub request_templates: BTreeMap<String, String>,
    /// `WHEN_NO_MATCH`, `WHEN_NO_TEMPLATES` or `NEVER`.
    pub passthrough_behavior: String,
    /// `CONVERT_TO_TEXT` or `CONVERT_TO_BINARY`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_handling: Option<String>,
    /// How long the answer may take, milliseconds.
    pub timeout_in_millis: u32,
    /// Of a cache that is not there; the resource's id when none is given.
    pub cache_namespace: String,
    /// Of the same.
    #[serde(default)]
    pub cache_key_parameters: Vec<String>,
    /// Answers by status.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub integration_responses: BTreeMap<String, IntegrationResponse>,
}

/// How an answer of an integration becomes the method's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IntegrationResponse {
    /// The method response it becomes.
    pub status_code: String,
    /// Statuses it is for; absent: all others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selection_pattern: Option<String>,
    /// `method.response.header.<name>` to its value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub response_parameters: BTreeMap<String, String>,
    /// Bodies by media type.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub response_templates: BTreeMap<String, Option<String>>,
    /// `CONVERT_TO_TEXT` or `CONVERT_TO_BINARY`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_handling: Option<String>,
}

/// The function that an integration or an authorizer names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntegrationTarget {
    /// ARN or name, with its qualifier; stage variables are still in it.
    pub function: String,
}

impl IntegrationTarget {
    /// From `arn:aws:apigateway:<region>:lambda:path/2015-03-31/functions/<function ARN>/invocations`; a doubled slash after
    /// `path` is taken, too. `None` for anything else.
    pub fn parse(uri: &str) -> Option<Self> {
        let mut parts = uri.splitn(6, ':');
        let (arn, partition, service) = (parts.next()?, parts.next()?, parts.next()?);
        let (_region, action, path) = (parts.next()?, parts.next()?, parts.next()?);
        if arn != "arn" || !partition.starts_with("aws") || service != "apigateway" || action != "lambda" {
            return None;
        }
        let path =
            path.strip_prefix("path/")?.trim_start_matches('/').strip_prefix("2015-03-31/functions/")?;
        // Streamed answers have an operation of their own; they are asked for by the transfer mode.
        let function = path.strip_suffix("/invocations")?;
        Some(Self { function: function.to_owned() })
    }

    /// The function with the variables of a stage put in; `None` when that names no function.
    pub fn resolve(&self, stage_variables: &BTreeMap<String, String>) -> Option<FunctionReference> {
        let mut function = self.function.clone();
        for (name, value) in stage_variables {
            function = function.replace(&format!("${{stageVariables.{name}}}"), value);
        }
        FunctionReference::parse(&function)
    }

    /// Whether it could name a function: it does now, or variables are still to be put in.
    pub fn is_plausible(&self) -> bool {
        self.function.contains("${stageVariables.") || FunctionReference::parse(&self.function).is_some()
    }
}

/// The status that the request template of a mock integration names. `None` when it names none or is a program: templates are
/// in a language of their own on AWS (VTL), of which only this is understood.
pub fn mock_status(template: &str) -> Option<u16> {
    static STATUS: LazyLock<Option<Regex>> = LazyLock::new(|| {
        // People write it with and without quotes, and with other members beside it.
        Regex::new(r#"^\s*\{[^$#]*?["']?statusCode["']?\s*:\s*["']?([1-5]\d\d)["']?[^$#]*\}\s*$"#).ok()
    });
    STATUS.as_ref()?.captures(template)?.get(1)?.as_str().parse().ok()
}

/// The text of a static value, `'text'`. `None` for a value that is taken from somewhere.
pub fn static_text(value: &str) -> Option<&str> {
    value.strip_prefix('\'')?.strip_suffix('\'')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:hello";

    #[test]
    fn functions_of_uris() {
        let uri = |rest: &str| format!("arn:aws:apigateway:us-east-1:lambda:path{rest}");
        let parsed = |uri: &str| IntegrationTarget::parse(uri).map(|target| target.function);
        assert_eq!(parsed(&uri(&format!("/2015-03-31/functions/{ARN}/invocations"))).as_deref(), Some(ARN));
        assert_eq!(parsed(&uri(&format!("//2015-03-31/functions/{ARN}/invocations"))).as_deref(), Some(ARN));
        for wrong in [
            "",
            ARN,
            "https://example.org",
            "arn:aws:apigateway:us-east-1:s3:path/bucket",
            &uri("/2015-03-31/functions/x"),
        ] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn stage_variables_in_functions() {
        let target = IntegrationTarget { function: format!("{ARN}:${{stageVariables.alias}}") };
        assert!(target.is_plausible());
        let variables = BTreeMap::from([("alias".to_owned(), "live".to_owned())]);
        let found = target.resolve(&variables).unwrap();
        assert_eq!(found.qualifier.unwrap().to_string(), "live");
        assert_eq!(target.resolve(&BTreeMap::new()), None);
        assert!(!IntegrationTarget { function: "a b".to_owned() }.is_plausible());
    }

    #[test]
    fn statuses_of_mocks() {
        for template in [
            r#"{"statusCode": 200}"#,
            "{statusCode:200}",
            "{ 'statusCode' : '200' }",
            "{\n  \"statusCode\" : 200\n}\n",
        ] {
            assert_eq!(mock_status(template), Some(200), "{template}");
        }
        for template in
            ["", "{}", r#"{"statusCode": $x}"#, "#set($a=1){\"statusCode\": 200}", r#"{"statusCode": 999}"#]
        {
            assert_eq!(mock_status(template), None, "{template}");
        }
    }

    #[test]
    fn static_values() {
        assert_eq!(static_text("'*'"), Some("*"));
        assert_eq!(static_text("''"), Some(""));
        assert_eq!(static_text("integration.response.header.x"), None);
        assert_eq!(static_text("'"), None);
    }
}
