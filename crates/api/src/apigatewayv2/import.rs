//! ImportApi and ReimportApi: an API from an OpenAPI 3.0 document with API Gateway's extensions.
//!
//! Taken: `info`, `paths` with `x-amazon-apigateway-any-method`, `x-amazon-apigateway-integration` (by `$ref`, too),
//! `security` with `x-amazon-apigateway-authorizer`, `x-amazon-apigateway-cors`. Source: developer guide, "Working with OpenAPI
//! definitions for HTTP APIs". An import makes no stage.

use super::input::{new_id, required};
use super::{apis, authorizers, bad_request, created, integrations, stored};
use crate::http::{ApiError, Context, Members, Response};
use crate::open_api;
use crate::state::ApiState;
use lamplight_model::http_api::{Authorizer, DEFAULT, Definition, Integration, Route, RouteKey};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Members of a path that are methods.
const METHODS: [&str; 7] = ["get", "put", "post", "delete", "options", "head", "patch"];
const ANY_METHOD: &str = "x-amazon-apigateway-any-method";
const INTEGRATION: &str = "x-amazon-apigateway-integration";
const AUTHORIZER: &str = "x-amazon-apigateway-authorizer";
const CORS: &str = "x-amazon-apigateway-cors";

/// What a document says.
struct Imported {
    name: String,
    description: Option<String>,
    version: Option<String>,
    definition: Definition,
    warnings: Vec<String>,
}

/// ImportApi.
pub async fn import(
    state: &ApiState,
    context: &Context,
    members: &Members<'_>,
) -> Result<Response, ApiError> {
    let imported = read(context, members)?;
    let mut api = apis::new_api(state, imported.name);
    api.settings.description = imported.description;
    api.settings.version = imported.version;
    api.definition = imported.definition;
    stored::add(state, context, &api).await?;
    Ok(answer(apis::shown(context, &api), &imported.warnings))
}

/// ReimportApi: all routes, integrations and authorizers are those of the document now; stages stay.
pub async fn reimport(
    state: &ApiState,
    context: &Context,
    id: &str,
    members: &Members<'_>,
) -> Result<Response, ApiError> {
    let mut opened = stored::open(state, context, id).await?;
    let imported = read(context, members)?;
    let settings = &mut opened.api.settings;
    (settings.name, settings.description, settings.version) =
        (imported.name, imported.description, imported.version);
    opened.api.definition = imported.definition;
    opened.save_definition().await?;
    Ok(answer(apis::shown(context, &opened.api), &imported.warnings))
}

fn answer(mut shown: Value, warnings: &[String]) -> Response {
    if !warnings.is_empty() {
        shown["warnings"] = json!(warnings);
    }
    created(&shown)
}

fn read(context: &Context, members: &Members<'_>) -> Result<Imported, ApiError> {
    let body = required(members.string("body")?, "Body")?;
    let document = open_api::read(&body).map_err(|error| {
        bad_request(format!("Unable to parse API definition because of a malformed document: {error}"))
    })?;
    let imported = read_document(&document, context.parameter("basepath").unwrap_or("ignore"))?;
    let fail = context.parameter("failOnWarnings") == Some("true");
    if fail && !imported.warnings.is_empty() {
        return Err(bad_request(format!("Warnings found during import: {}", imported.warnings.join("; "))));
    }
    Ok(imported)
}

fn read_document(document: &Value, basepath: &str) -> Result<Imported, ApiError> {
    let version = document["openapi"].as_str().unwrap_or_default();
    if !version.starts_with("3.0") {
        return Err(bad_request(
            "Invalid OpenAPI input: only version 3.0 documents can be imported as HTTP APIs",
        ));
    }
    let info = &document["info"];
    let name = info["title"].as_str().filter(|title| !title.is_empty());
    let text = |name: &str| info[name].as_str().map(str::to_owned);
    let mut reader = Reader {
        document,
        definition: Definition::default(),
        warnings: Vec::new(),
        authorizers: BTreeMap::new(),
    };
    if let Some(block) = document.get(CORS) {
        reader.definition.cors = Some(with_members(block, apis::read_cors)?);
    }
    let prefix = base_path(document, basepath)?;
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (member, operation) in item.as_object().into_iter().flatten() {
            let method = match member.as_str() {
                ANY_METHOD => "ANY".to_owned(),
                method if METHODS.contains(&method) => method.to_ascii_uppercase(),
                _ => continue,
            };
            let key = match path.trim_start_matches('/') {
                DEFAULT => DEFAULT.to_owned(),
                _ => format!("{method} {prefix}{path}"),
            };
            reader.route(key, operation)?;
        }
    }
    Ok(Imported {
        name: required(name, "title of info")?.to_owned(),
        description: text("description"),
        version: text("version"),
        definition: reader.definition,
        warnings: reader.warnings,
    })
}

/// What is put before the paths: the path of the first server, when that is asked for.
fn base_path(document: &Value, basepath: &str) -> Result<String, ApiError> {
    let server = document["servers"][0]["url"].as_str().unwrap_or_default();
    let after_scheme = server.split_once("://").map_or(server, |(_, rest)| rest);
    let path = match after_scheme.find('/') {
        Some(at) => after_scheme[at..].trim_end_matches('/'),
        None => "",
    };
    match basepath {
        "ignore" => Ok(String::new()),
        "prepend" => Ok(path.to_owned()),
        // The first segment is the stage's.
        "split" => Ok(path.trim_start_matches('/').find('/').map_or("", |at| &path[at + 1..]).to_owned()),
        other => Err(bad_request(format!("Invalid basepath '{other}': one of ignore, prepend, split"))),
    }
}

struct Reader<'a> {
    document: &'a Value,
    definition: Definition,
    warnings: Vec<String>,
    /// Ids by name of the security scheme.
    authorizers: BTreeMap<String, String>,
}

impl Reader<'_> {
    fn route(&mut self, route_key: String, operation: &Value) -> Result<(), ApiError> {
        RouteKey::parse(&route_key).map_err(|error| bad_request(format!("{route_key}: {error}")))?;
        let mut route = Route {
            authorization_type: "NONE".to_owned(),
            operation_name: operation["operationId"].as_str().map(str::to_owned),
            route_id: new_id(7),
            route_key,
            ..Route::default()
        };
        match self.integration(operation)? {
            Some(id) => route.target = Some(format!("integrations/{id}")),
            None => self.warnings.push(format!("Route '{}' has no integration", route.route_key)),
        }
        self.authorize(&mut route, operation)?;
        self.definition.routes.insert(route.route_id.clone(), route);
        Ok(())
    }

    fn integration(&mut self, operation: &Value) -> Result<Option<String>, ApiError> {
        let Some(mut block) = operation.get(INTEGRATION) else { return Ok(None) };
        if let Some(reference) = block["$ref"].as_str() {
            block = reference
                .strip_prefix('#')
                .and_then(|pointer| self.document.pointer(pointer))
                .ok_or_else(|| bad_request(format!("Unable to resolve reference {reference}")))?;
        }
        let mut members = Map::new();
        for (name, value) in block.as_object().into_iter().flatten() {
            let name = match name.as_str() {
                "type" => "integrationType",
                "uri" => "integrationUri",
                "httpMethod" => "integrationMethod",
                "credentials" => "credentialsArn",
                other => other,
            };
            members.insert(name.to_owned(), value.clone());
        }
        if let Some(kind) = members.get("integrationType").and_then(Value::as_str) {
            let kind = kind.to_ascii_uppercase();
            members.insert("integrationType".to_owned(), kind.into());
        }
        // In YAML without quotation marks: 2.0.
        if let Some(version) = members.get_mut("payloadFormatVersion").filter(|version| version.is_number()) {
            *version = version.to_string().into();
        }
        // Members with an object of their own are refused by name, unless it is empty.
        members.retain(|_, value| value.as_object().is_none_or(|object| !object.is_empty()));
        let id = new_id(7);
        let mut integration = Integration {
            connection_type: "INTERNET".to_owned(),
            integration_id: id.clone(),
            timeout_in_millis: 30_000,
            ..Integration::default()
        };
        with_members(&Value::Object(members), |members| integrations::apply(&mut integration, members))?;
        // Source: developer guide, "Working with Lambda proxy integrations": documents without a version mean 1.0.
        if integration.payload_format_version.is_empty() {
            integration.payload_format_version = "1.0".to_owned();
        }
        integrations::check(&integration)?;
        self.definition.integrations.insert(id.clone(), integration);
        Ok(Some(id))
    }

    /// The first requirement of the operation, else of the document, whose scheme is an authorizer.
    fn authorize(&mut self, route: &mut Route, operation: &Value) -> Result<(), ApiError> {
        let security = operation.get("security").unwrap_or(&self.document["security"]);
        let Some((name, scopes)) = security[0].as_object().and_then(|first| first.iter().next()) else {
            return Ok(());
        };
        let Some(id) = self.authorizer(name)? else {
            self.warnings.push(format!("Security scheme '{name}' has no {AUTHORIZER}"));
            return Ok(());
        };
        let is_jwt = self.definition.authorizers[&id].authorizer_type == "JWT";
        route.authorization_type = if is_jwt { "JWT" } else { "CUSTOM" }.to_owned();
        route.authorizer_id = Some(id);
        let scopes: Vec<String> = scopes
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|scope| scope.as_str().map(str::to_owned))
            .collect();
        route.authorization_scopes = (is_jwt && !scopes.is_empty()).then_some(scopes);
        Ok(())
    }

    fn authorizer(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        if let Some(id) = self.authorizers.get(name) {
            return Ok(Some(id.clone()));
        }
        let scheme = &self.document["components"]["securitySchemes"][name];
        let Some(block) = scheme.get(AUTHORIZER) else { return Ok(None) };
        let mut members = block.as_object().cloned().unwrap_or_default();
        // One text, with commas between several.
        if let Some(sources) = members.get("identitySource").and_then(Value::as_str) {
            let sources: Vec<&str> = sources.split(',').map(str::trim).collect();
            members.insert("identitySource".to_owned(), json!(sources));
        }
        let kind = block["type"].as_str().unwrap_or_default().to_ascii_uppercase();
        if kind != "JWT" && kind != "REQUEST" {
            return Err(bad_request(format!("Security scheme '{name}': type must be jwt or request")));
        }
        let id = new_id(6);
        let mut authorizer = Authorizer {
            authorizer_id: id.clone(),
            authorizer_type: kind,
            name: name.to_owned(),
            ..Authorizer::default()
        };
        with_members(&Value::Object(members), |members| authorizers::apply(&mut authorizer, members))?;
        authorizer.name = name.to_owned();
        authorizers::check(&authorizer, &self.definition)?;
        self.definition.authorizers.insert(id.clone(), authorizer);
        self.authorizers.insert(name.to_owned(), id.clone());
        Ok(Some(id))
    }
}

fn with_members<T>(
    block: &Value,
    read: impl FnOnce(&Members<'_>) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    let text = block.to_string();
    read(&Members::parse(text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:pets";

    fn document() -> Value {
        json!({
            "openapi": "3.0.1",
            "info": {"title": "pets", "version": "7"},
            "servers": [{"url": "https://example.com/stage/v1"}],
            "paths": {
                "/pets/{id}": {
                    "parameters": [],
                    "get": {
                        "security": [{"tokens": ["read"]}],
                        INTEGRATION: {"$ref": "#/components/x-amazon-apigateway-integrations/pets"}
                    },
                    ANY_METHOD: {INTEGRATION: {"type": "HTTP_PROXY", "httpMethod": "ANY", "uri": "http://127.0.0.1:1/"}}
                },
                "/$default": {ANY_METHOD: {"isDefaultRoute": true}}
            },
            "components": {
                "x-amazon-apigateway-integrations": {
                    "pets": {"type": "aws_proxy", "uri": ARN, "httpMethod": "POST", "payloadFormatVersion": "2.0"}
                },
                "securitySchemes": {"tokens": {"type": "oauth2", AUTHORIZER: {
                    "type": "jwt",
                    "identitySource": "$request.header.Authorization",
                    "jwtConfiguration": {"audience": ["a"], "issuer": "https://issuer"}
                }}}
            },
            CORS: {"allowOrigins": ["https://example.com"], "maxAge": 5}
        })
    }

    #[test]
    fn a_document_becomes_an_api() {
        let imported = read_document(&document(), "ignore").unwrap();
        assert_eq!((imported.name.as_str(), imported.version.as_deref()), ("pets", Some("7")));
        assert_eq!(imported.warnings, ["Route '$default' has no integration"]);
        let definition = imported.definition;
        assert_eq!(definition.cors.unwrap().max_age, Some(5));
        let routes: BTreeMap<&str, &Route> =
            definition.routes.values().map(|route| (route.route_key.as_str(), route)).collect();
        assert_eq!(
            routes.keys().copied().collect::<Vec<_>>(),
            ["$default", "ANY /pets/{id}", "GET /pets/{id}"]
        );
        let get = routes["GET /pets/{id}"];
        assert_eq!(get.authorization_type, "JWT");
        assert_eq!(get.authorization_scopes.as_deref(), Some(&["read".to_owned()][..]));
        let integration = &definition.integrations[get.integration_id().unwrap()];
        assert_eq!(integration.integration_uri.as_deref(), Some(ARN));
        assert_eq!(integration.payload_format_version, "2.0");
        let authorizer = &definition.authorizers[get.authorizer_id.as_ref().unwrap()];
        assert_eq!(authorizer.jwt_configuration.as_ref().unwrap().issuer, "https://issuer");
    }

    #[test]
    fn base_paths() {
        let check = |how: &str, expected: &str| assert_eq!(base_path(&document(), how).unwrap(), expected);
        check("ignore", "");
        check("prepend", "/stage/v1");
        check("split", "/v1");
        assert!(base_path(&document(), "other").is_err());
    }

    #[test]
    fn what_is_refused() {
        let mut two = document();
        two["openapi"] = "2.0".into();
        let mut dangling = document();
        dangling["components"]["x-amazon-apigateway-integrations"] = json!({});
        let mut open = document();
        open["paths"]["/pets/{id}"][ANY_METHOD][INTEGRATION]["uri"] = "http://{id}/".into();
        for (wrong, part) in [(two, "3.0"), (dangling, "resolve reference"), (open, "Invalid HTTP endpoint")]
        {
            let error = read_document(&wrong, "ignore").err().unwrap();
            assert!(error.message.contains(part), "{error}");
        }
    }
}
