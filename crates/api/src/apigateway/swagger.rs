//! From an OpenAPI document (Swagger 2 or OpenAPI 3) with API Gateway's extensions to a definition. Pure.
//!
//! Extensions that would change what a request gets and are not there are refused by name; what only describes is left out.
//! Source: API Gateway developer guide, "API Gateway extensions to OpenAPI".

use super::error::{bad_request, unsupported};
use super::{apis, authorizers, gateway_responses, integrations, resources, responses};
use crate::http::ApiError;
use lamplight_model::rest_api::{
    Authorizer, Definition, GatewayResponse, IntegrationResponse, Method, MethodResponse, RestApi,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Prefix of all extensions.
const EXTENSION: &str = "x-amazon-apigateway-";
/// Extensions of the whole document or an operation that would have to be obeyed, with what they are.
const REFUSED: [(&str, &str); 3] = [
    ("x-amazon-apigateway-policy", "resource policies of REST APIs"),
    ("x-amazon-apigateway-request-validator", "request validators of REST APIs"),
    ("x-amazon-apigateway-integrations", "x-amazon-apigateway-integrations"),
];

/// What becomes of a `basePath`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BasePath {
    /// Nothing.
    Ignore,
    /// It is put before every path.
    Prepend,
}

/// Puts what a document says into an API: its name and so on, its paths, authorizers and gateway responses. What the API has and
/// the document does not say stays, so that a fresh API is an import and any other a merge.
///
/// Fails with `BadRequestException`.
pub fn apply(api: &mut RestApi, document: &Value, base_path: BasePath) -> Result<(), ApiError> {
    let is_swagger = document.get("swagger").and_then(Value::as_str) == Some("2.0");
    let is_openapi =
        document.get("openapi").and_then(Value::as_str).is_some_and(|text| text.starts_with("3."));
    if !is_swagger && !is_openapi {
        return Err(bad_request("Invalid OpenAPI input."));
    }
    refuse(document)?;
    describe(api, document)?;
    let schemes = match is_swagger {
        true => document.get("securityDefinitions"),
        false => document.pointer("/components/securitySchemes"),
    };
    let security = Security::read(&mut api.definition, schemes)?;
    let prefix = match base_path {
        BasePath::Ignore => "",
        BasePath::Prepend => document.get("basePath").and_then(Value::as_str).unwrap_or_default(),
    };
    let root = api.root_resource_id.clone();
    for (path, item) in object(document.get("paths")) {
        let id = resource(&mut api.definition, &root, &format!("{}/{path}", prefix.trim_end_matches('/')))?;
        for (name, operation) in object(Some(item)) {
            let Some(name) = method_name(name) else { continue };
            let context = Operation { document, item, operation, security: &security, resource_id: &id };
            let method = context.method(&name).map_err(|error| ApiError {
                message: format!("Unable to put {name} on resource at path {path}: {}", error.message),
                ..error
            })?;
            if let Some(resource) = api.definition.resources.get_mut(&id) {
                resource.resource_methods.insert(name, method);
            }
        }
    }
    for (response_type, given) in object(document.get("x-amazon-apigateway-gateway-responses")) {
        let response: GatewayResponse = gateway_responses::gateway_response(response_type, read(given)?)?;
        api.definition.gateway_responses.insert(response.response_type.clone(), response);
    }
    Ok(())
}

fn refuse(of: &Value) -> Result<(), ApiError> {
    let found = REFUSED.iter().find(|(name, _)| of.get(name).is_some_and(|value| !value.is_null()));
    found.map_or(Ok(()), |(_, what)| Err(unsupported(what)))
}

/// Members of an object, those of anything else none.
fn object(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flatten()
}

fn read<T: DeserializeOwned>(value: &Value) -> Result<T, ApiError> {
    serde_json::from_value(value.clone())
        .map_err(|error| bad_request(format!("Invalid OpenAPI input: {error}")))
}

fn text(of: &Value, member: &str) -> Option<String> {
    of.get(member).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Name, description, version, media types and the like.
fn describe(api: &mut RestApi, document: &Value) -> Result<(), ApiError> {
    if let Some(info) = document.get("info") {
        api.name = text(info, "title").unwrap_or_else(|| api.name.clone());
        api.description = text(info, "description").or_else(|| api.description.take());
        api.version = text(info, "version").or_else(|| api.version.take());
    }
    if let Some(types) = document.get("x-amazon-apigateway-binary-media-types") {
        api.definition.binary_media_types = read(types)?;
    }
    if let Some(source) = text(document, "x-amazon-apigateway-api-key-source") {
        api.api_key_source = apis::api_key_source(&source)?;
    }
    if let Some(size) = document.get("x-amazon-apigateway-minimum-compression-size") {
        api.minimum_compression_size = read(size)?;
    }
    if let Some(endpoint) = document.get("x-amazon-apigateway-endpoint-configuration") {
        if endpoint.get("vpcEndpointIds").and_then(Value::as_array).is_some_and(|ids| !ids.is_empty()) {
            return Err(unsupported("private REST APIs"));
        }
        if let Some(disabled) = endpoint.get("disableExecuteApiEndpoint").and_then(Value::as_bool) {
            api.disable_execute_api_endpoint = disabled;
        }
    }
    Ok(())
}

/// The method that a member of a path item is; `None` for members that are none.
fn method_name(member: &str) -> Option<String> {
    match member {
        "x-amazon-apigateway-any-method" => Some("ANY".to_owned()),
        "get" | "put" | "post" | "delete" | "patch" | "options" | "head" => Some(member.to_ascii_uppercase()),
        _ => None,
    }
}

/// The resource of a path; those that are missing on the way are made.
fn resource(definition: &mut Definition, root: &str, path: &str) -> Result<String, ApiError> {
    let mut at = root.to_owned();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        let found = definition
            .resources
            .values()
            .find(|one| one.parent_id.as_deref() == Some(&at) && one.path_part.as_deref() == Some(part));
        at = match found.map(|found| found.id.clone()) {
            Some(id) => id,
            None => resources::add(definition, &at, part).map_err(|error| ApiError {
                message: format!("Unable to create resource at path '{path}': {}", error.message),
                ..error
            })?,
        };
    }
    Ok(at)
}

/// Ways to authorize by their names in the document.
struct Security(BTreeMap<String, Scheme>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Scheme {
    /// A key in `x-api-key`.
    ApiKey,
    /// An authorizer, by id.
    Authorizer(String),
    /// A signature.
    Signature,
    /// Documentation only: nothing is checked on AWS, either.
    Nothing,
}

impl Security {
    /// Reads the schemes; authorizers are put into the definition, in the place of those with the same name.
    fn read(definition: &mut Definition, schemes: Option<&Value>) -> Result<Self, ApiError> {
        let mut found = BTreeMap::new();
        for (name, scheme) in object(schemes) {
            let auth_type = text(scheme, "x-amazon-apigateway-authtype");
            let extension = scheme.get("x-amazon-apigateway-authorizer");
            let read = match (extension, auth_type.as_deref()) {
                (Some(extension), _) => {
                    let mut made = authorizer(name, scheme, extension)?;
                    if let Some(before) = definition.authorizers.values().find(|one| one.name == *name) {
                        made.id.clone_from(&before.id);
                    }
                    let id = made.id.clone();
                    definition.authorizers.insert(id.clone(), made);
                    Scheme::Authorizer(id)
                }
                (None, Some("awsSigv4")) => Scheme::Signature,
                (None, _) if is_api_key(scheme) => Scheme::ApiKey,
                (None, _) => Scheme::Nothing,
            };
            found.insert(name.clone(), read);
        }
        Ok(Self(found))
    }
}

fn is_api_key(scheme: &Value) -> bool {
    text(scheme, "type").as_deref() == Some("apiKey")
        && text(scheme, "in").as_deref() == Some("header")
        && text(scheme, "name").is_some_and(|name| name.eq_ignore_ascii_case("x-api-key"))
}

/// Source: developer guide, "x-amazon-apigateway-authorizer object". The header of a token stands in the scheme around it.
fn authorizer(name: &str, scheme: &Value, extension: &Value) -> Result<Authorizer, ApiError> {
    let mut given: authorizers::Given = read(extension)?;
    given.name = Some(name.to_owned());
    given.kind = given.kind.map(|kind| kind.to_ascii_uppercase());
    given.auth_type = text(scheme, "x-amazon-apigateway-authtype").or(given.auth_type);
    let header = text(scheme, "name").filter(|_| text(scheme, "in").as_deref() == Some("header"));
    if given.identity_source.is_none() && given.kind.as_deref() == Some("TOKEN") {
        given.identity_source = header.map(|header| format!("method.request.header.{header}"));
    }
    authorizers::authorizer(given)
}

/// One operation, with what it refers to.
struct Operation<'a> {
    document: &'a Value,
    item: &'a Value,
    operation: &'a Value,
    security: &'a Security,
    resource_id: &'a str,
}

impl Operation<'_> {
    fn method(&self, name: &str) -> Result<Method, ApiError> {
        refuse(self.operation)?;
        let mut method = Method::new(name, "NONE");
        method.operation_name = text(self.operation, "operationId");
        self.authorize(&mut method)?;
        for parameter in self.parameters() {
            let place = match text(parameter, "in").as_deref() {
                Some("path") => "path",
                Some("query") => "querystring",
                Some("header") => "header",
                _ => continue,
            };
            if let Some(name) = text(parameter, "name") {
                let required = parameter.get("required").and_then(Value::as_bool).unwrap_or(false);
                method.request_parameters.insert(format!("method.request.{place}.{name}"), required);
            }
        }
        for (status, response) in object(self.operation.get("responses")) {
            if status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit()) {
                method.method_responses.insert(status.clone(), method_response(status, response));
            }
        }
        if let Some(given) = self.operation.get("x-amazon-apigateway-integration") {
            method.method_integration = Some(self.integration(given, &method.request_parameters)?);
        }
        Ok(method)
    }

    /// Parameters of the path and of the operation, references followed.
    fn parameters(&self) -> impl Iterator<Item = &Value> {
        let lists = [self.item.get("parameters"), self.operation.get("parameters")];
        lists.into_iter().flatten().filter_map(Value::as_array).flatten().map(|parameter| {
            let reference = parameter.get("$ref").and_then(Value::as_str);
            reference
                .and_then(|reference| self.document.pointer(reference.strip_prefix('#')?))
                .unwrap_or(parameter)
        })
    }

    /// What the operation, or else the document, wants of callers.
    fn authorize(&self, method: &mut Method) -> Result<(), ApiError> {
        let own = self.operation.get("security").or_else(|| self.document.get("security"));
        for requirement in own.and_then(Value::as_array).into_iter().flatten() {
            for (name, scopes) in object(Some(requirement)) {
                match self.security.0.get(name) {
                    Some(Scheme::ApiKey) => method.api_key_required = true,
                    Some(Scheme::Authorizer(id)) => {
                        method.authorization_type = "CUSTOM".to_owned();
                        method.authorizer_id = Some(id.clone());
                        method.authorization_scopes = read(scopes).unwrap_or_default();
                    }
                    Some(Scheme::Signature) => method.authorization_type = "AWS_IAM".to_owned(),
                    Some(Scheme::Nothing) => {}
                    // A name without a scheme must not leave the method open.
                    None => {
                        return Err(bad_request(format!(
                            "Security scheme '{name}' is not defined in the document"
                        )));
                    }
                }
            }
        }
        Ok(())
    }

    fn integration(
        &self,
        given: &Value,
        declared: &BTreeMap<String, bool>,
    ) -> Result<lamplight_model::rest_api::Integration, ApiError> {
        let mut words: integrations::Given = read(&in_words_of_the_api(given))?;
        words.kind = words.kind.map(|kind| kind.to_ascii_uppercase());
        words.passthrough_behavior = words.passthrough_behavior.map(|text| text.to_ascii_uppercase());
        let mut integration = integrations::integration(words, self.resource_id, declared)?;
        for (pattern, response) in object(given.get("responses")) {
            let response = integration_response(pattern, response)?;
            responses::check_response(integration.kind, &response)?;
            integration.integration_responses.insert(response.status_code.clone(), response);
        }
        Ok(integration)
    }
}

/// The extension names two members otherwise than the API.
fn in_words_of_the_api(given: &Value) -> Value {
    let mut words = given.as_object().cloned().unwrap_or_default();
    words.remove("responses");
    Value::Object(words)
}

fn method_response(status: &str, response: &Value) -> MethodResponse {
    let headers = object(response.get("headers"));
    let schema = response.pointer("/schema/$ref").and_then(Value::as_str);
    let model = schema.and_then(|reference| reference.rsplit('/').next());
    MethodResponse {
        status_code: status.to_owned(),
        response_parameters: headers
            .map(|(name, _)| (format!("method.response.header.{name}"), false))
            .collect(),
        response_models: model
            .map(|model| ("application/json".to_owned(), model.to_owned()))
            .into_iter()
            .collect(),
    }
}

/// The member's name is the pattern; `default` is for what no other takes.
fn integration_response(pattern: &str, response: &Value) -> Result<IntegrationResponse, ApiError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Given {
        status_code: Value,
        #[serde(default)]
        response_parameters: BTreeMap<String, String>,
        #[serde(default)]
        response_templates: BTreeMap<String, Option<String>>,
        content_handling: Option<String>,
    }
    let given: Given = read(response)?;
    Ok(IntegrationResponse {
        // Written as text or as a number.
        status_code: match given.status_code {
            Value::String(text) => text,
            other => other.to_string(),
        },
        selection_pattern: (pattern != "default").then(|| pattern.to_owned()),
        response_parameters: given.response_parameters,
        response_templates: given.response_templates,
        content_handling: given.content_handling,
    })
}

/// An operation of an exported document. `extensions`: with what stands behind it.
pub fn exported(definition: &Definition, method: &Method, extensions: bool) -> Value {
    let mut operation = Map::new();
    if let Some(name) = &method.operation_name {
        operation.insert("operationId".to_owned(), name.as_str().into());
    }
    let parameters: Vec<Value> = method.request_parameters.iter().filter_map(exported_parameter).collect();
    if !parameters.is_empty() {
        operation.insert("parameters".to_owned(), parameters.into());
    }
    let responses = method.method_responses.keys();
    let responses = responses
        .map(|status| (status.clone(), serde_json::json!({ "description": format!("{status} response") })));
    operation.insert("responses".to_owned(), Value::Object(responses.collect()));
    let mut security = Vec::new();
    if let Some(authorizer) = method.authorizer_id.as_ref().and_then(|id| definition.authorizers.get(id)) {
        let scopes = method.authorization_scopes.clone();
        security.push(serde_json::json!({ authorizer.name.as_str(): scopes }));
    }
    if method.authorization_type == "AWS_IAM" {
        security.push(serde_json::json!({ "sigv4": [] }));
    }
    if method.api_key_required {
        security.push(serde_json::json!({ "api_key": [] }));
    }
    if !security.is_empty() {
        operation.insert("security".to_owned(), security.into());
    }
    if let Some(integration) = method.method_integration.as_ref().filter(|_| extensions) {
        let mut shown = serde_json::to_value(integration).unwrap_or_default();
        if let Some(shown) = shown.as_object_mut() {
            for member in ["cacheNamespace", "cacheKeyParameters", "timeoutInMillis", "integrationResponses"]
            {
                shown.remove(member);
            }
            for member in ["type", "passthroughBehavior"] {
                if let Some(text) = shown.get(member).and_then(Value::as_str).map(str::to_ascii_lowercase) {
                    shown.insert(member.to_owned(), text.into());
                }
            }
            let responses = integration.integration_responses.values();
            let responses = responses.map(|response| {
                let mut shown = serde_json::to_value(response).unwrap_or_default();
                if let Some(shown) = shown.as_object_mut() {
                    shown.remove("selectionPattern");
                }
                (response.selection_pattern.clone().unwrap_or_else(|| "default".to_owned()), shown)
            });
            shown.insert("responses".to_owned(), Value::Object(responses.collect()));
        }
        operation.insert(format!("{EXTENSION}integration"), shown);
    }
    Value::Object(operation)
}

fn exported_parameter((name, required): (&String, &bool)) -> Option<Value> {
    let (place, name) = name.strip_prefix("method.request.")?.split_once('.')?;
    let place = if place == "querystring" { "query" } else { place };
    Some(serde_json::json!({ "name": name, "in": place, "required": required, "type": "string" }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplight_model::Timestamp;
    use serde_json::json;

    const URI: &str = "arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/\
                       arn:aws:lambda:us-east-1:000000000000:function:hello/invocations";

    fn imported(document: &Value) -> Result<RestApi, ApiError> {
        let mut api = apis::new_api("x".to_owned(), Timestamp(0));
        apply(&mut api, document, BasePath::Ignore).map(|()| api)
    }

    fn proxy() -> Value {
        json!({"type": "aws_proxy", "httpMethod": "POST", "uri": URI, "passthroughBehavior": "when_no_match",
               "responses": {"default": {"statusCode": "200"}}})
    }

    #[test]
    fn a_document_as_chalice_writes_it() {
        let api = imported(&json!({
            "swagger": "2.0",
            "info": {"version": "1.0", "title": "notes"},
            "x-amazon-apigateway-binary-media-types": ["image/png"],
            "securityDefinitions": {
                "guard": {"in": "header", "type": "apiKey", "name": "Auth", "x-amazon-apigateway-authtype": "custom",
                    "x-amazon-apigateway-authorizer": {"type": "token", "authorizerUri": URI,
                        "authorizerResultTtlInSeconds": 7}},
                "api_key": {"type": "apiKey", "name": "x-api-key", "in": "header"}
            },
            "paths": {
                "/": {"get": {"x-amazon-apigateway-integration": proxy(), "security": [{"api_key": []}]}},
                "/notes/{id}": {
                    "get": {"parameters": [{"name": "id", "in": "path", "required": true}],
                        "security": [{"guard": []}], "x-amazon-apigateway-integration": proxy()},
                    "options": {
                        "responses": {"200": {"schema": {"$ref": "#/definitions/Empty"}, "headers": {"X-A": {"type": "string"}}}},
                        "x-amazon-apigateway-integration": {"type": "mock", "passthroughBehavior": "when_no_match",
                            "requestTemplates": {"application/json": "{\"statusCode\": 200}"},
                            "responses": {"default": {"statusCode": "200",
                                "responseParameters": {"method.response.header.X-A": "'*'"}}}}}
                }
            }
        }))
        .unwrap();
        assert_eq!((api.name.as_str(), api.version.as_deref()), ("notes", Some("1.0")));
        let paths: Vec<&str> = api.definition.by_path().iter().map(|one| one.path.as_str()).collect();
        assert_eq!(paths, ["/", "/notes", "/notes/{id}"]);
        let authorizer = api.definition.authorizers.values().next().unwrap();
        assert_eq!(authorizer.identity_source.as_deref(), Some("method.request.header.Auth"));
        assert_eq!(authorizer.authorizer_result_ttl_in_seconds, 7);
        let note = api.definition.by_path()[2];
        let get = &note.resource_methods["GET"];
        assert_eq!(get.authorizer_id.as_ref(), Some(&authorizer.id));
        assert!(get.request_parameters["method.request.path.id"]);
        let options = note.resource_methods["OPTIONS"].method_integration.as_ref().unwrap();
        assert_eq!(
            options.integration_responses["200"].response_parameters["method.response.header.X-A"],
            "'*'"
        );
        assert!(api.definition.resources[&api.root_resource_id].resource_methods["GET"].api_key_required);
    }

    #[test]
    fn what_would_not_be_obeyed_is_refused() {
        let refused = |document: Value| imported(&document).unwrap_err().message;
        assert!(
            refused(json!({"openapi": "3.0.1", "x-amazon-apigateway-policy": {}}))
                .contains("resource policies")
        );
        assert_eq!(refused(json!({})), "Invalid OpenAPI input.");
        let with = |operation: Value| json!({"openapi": "3.0.1", "paths": {"/a": {"get": operation}}});
        assert!(refused(with(json!({"security": [{"nobody": []}]}))).contains("'nobody' is not defined"));
        assert!(
            refused(with(json!({"x-amazon-apigateway-request-validator": "all"})))
                .contains("request validators")
        );
        let integration = json!({"x-amazon-apigateway-integration": {"type": "http_proxy", "uri": "a.b", "httpMethod": "GET"}});
        assert_eq!(
            refused(with(integration)),
            "Unable to put GET on resource at path /a: Invalid HTTP endpoint specified for URI: a.b"
        );
    }

    #[test]
    fn signatures_are_asked_for_by_a_scheme() {
        let api = imported(&json!({"openapi": "3.0.1", "components": {"securitySchemes": {"sigv4":
            {"type": "apiKey", "name": "Authorization", "in": "header", "x-amazon-apigateway-authtype": "awsSigv4"}}},
            "paths": {"/a": {"get": {"security": [{"sigv4": []}], "x-amazon-apigateway-integration": proxy()}}}}))
        .unwrap();
        assert_eq!(api.definition.by_path()[1].resource_methods["GET"].authorization_type, "AWS_IAM");
        let exported = exported(&api.definition, &api.definition.by_path()[1].resource_methods["GET"], false);
        assert_eq!(exported["security"], json!([{"sigv4": []}]));
    }
}
