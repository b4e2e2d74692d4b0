//! GetExport: a deployed API as an OpenAPI document.

use super::Request;
use super::error::{bad_request, unsupported};
use super::stored;
use super::swagger::exported;
use crate::http::{ApiError, Response, reply};
use http::{HeaderValue, StatusCode, header};
use lamplight_model::rest_api::{AuthorizerKind, Definition};
use serde_json::{Map, Value, json};

/// GetExport.
pub async fn get(request: &Request<'_>) -> Result<Response, ApiError> {
    let Request { state, context, .. } = request;
    let (api_id, stage, kind) = (request.label(0), request.label(1), request.label(2));
    let is_swagger = match kind {
        "swagger" => true,
        "oas30" => false,
        other => return Err(bad_request(format!("No API exporter for type '{other}'"))),
    };
    if context.header(header::ACCEPT).is_some_and(|accept| accept.contains("yaml")) {
        return Err(unsupported("exports as YAML"));
    }
    let api = stored::api(state, context, api_id).await?;
    let stage = stored::stage(state, context, api_id, stage).await?;
    let deployment = stored::deployment(state, context, api_id, &stage.deployment_id).await?;
    let wants = |name: &str| {
        context.parameter("extensions").is_some_and(|text| text.split(',').any(|one| one.trim() == name))
    };
    let extensions = wants("integrations") || wants("apigateway");
    let with_authorizers = extensions || wants("authorizers");
    let version = api.version.unwrap_or_else(|| api.created_date.iso_format());
    let mut document = Map::new();
    let marker = if is_swagger { ("swagger", "2.0") } else { ("openapi", "3.0.1") };
    document.insert(marker.0.to_owned(), marker.1.into());
    document.insert("info".to_owned(), json!({"title": api.name, "version": version}));
    if let Some(description) = api.description {
        document["info"]["description"] = description.into();
    }
    let host = format!("{api_id}.execute-api.{}.amazonaws.com", context.scope.region.as_str());
    if is_swagger {
        document.insert("host".to_owned(), host.into());
        document.insert("basePath".to_owned(), format!("/{}", stage.stage_name).into());
        document.insert("schemes".to_owned(), json!(["https"]));
    } else {
        let server = json!({
            "url": format!("https://{host}/{{basePath}}"),
            "variables": {"basePath": {"default": stage.stage_name}},
        });
        document.insert("servers".to_owned(), json!([server]));
    }
    document.insert("paths".to_owned(), paths(&deployment.definition, extensions));
    let schemes = schemes(&deployment.definition, with_authorizers);
    match (schemes.is_empty(), is_swagger) {
        (true, _) => {}
        (false, true) => drop(document.insert("securityDefinitions".to_owned(), schemes.into())),
        (false, false) => {
            drop(document.insert("components".to_owned(), json!({ "securitySchemes": schemes })))
        }
    }
    let types = &deployment.definition.binary_media_types;
    if extensions && !types.is_empty() {
        document.insert("x-amazon-apigateway-binary-media-types".to_owned(), json!(types));
    }
    answer(kind, api.created_date.compact_date().as_str(), &Value::Object(document))
}

fn answer(kind: &str, date: &str, document: &Value) -> Result<Response, ApiError> {
    let mut response = reply::with_body(StatusCode::OK, "application/octet-stream", format!("{document:#}"));
    let disposition = format!("attachment; filename=\"{kind}_{date}.json\"");
    if let Ok(value) = HeaderValue::from_str(&disposition) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

fn paths(definition: &Definition, extensions: bool) -> Value {
    let mut paths = Map::new();
    for resource in definition.by_path() {
        let operations = resource.resource_methods.iter().map(|(name, method)| {
            let name = match name.as_str() {
                "ANY" => "x-amazon-apigateway-any-method".to_owned(),
                name => name.to_ascii_lowercase(),
            };
            (name, exported(definition, method, extensions))
        });
        let operations: Map<String, Value> = operations.collect();
        if !operations.is_empty() {
            paths.insert(resource.path.clone(), operations.into());
        }
    }
    paths.into()
}

/// What methods refer to.
fn schemes(definition: &Definition, with_authorizers: bool) -> Map<String, Value> {
    let mut schemes = Map::new();
    for authorizer in definition.authorizers.values() {
        let header = authorizer.identity_sources().find_map(|one| one.strip_prefix("method.request.header."));
        let mut scheme = json!({
            "type": "apiKey",
            "name": header.unwrap_or("Unused"),
            "in": "header",
            "x-amazon-apigateway-authtype": authorizer.auth_type,
        });
        if with_authorizers {
            let kind = match authorizer.kind {
                AuthorizerKind::Token => "token",
                AuthorizerKind::Request => "request",
            };
            scheme["x-amazon-apigateway-authorizer"] = json!({
                "type": kind,
                "authorizerUri": authorizer.authorizer_uri,
                "authorizerResultTtlInSeconds": authorizer.authorizer_result_ttl_in_seconds,
            });
            if let Some(source) = authorizer.identity_source.as_ref().filter(|_| kind == "request") {
                scheme["x-amazon-apigateway-authorizer"]["identitySource"] = source.as_str().into();
            }
        }
        schemes.insert(authorizer.name.clone(), scheme);
    }
    let methods = || definition.resources.values().flat_map(|one| one.resource_methods.values());
    if methods().any(|method| method.authorization_type == "AWS_IAM") {
        let scheme = json!({
            "type": "apiKey",
            "name": "Authorization",
            "in": "header",
            "x-amazon-apigateway-authtype": "awsSigv4",
        });
        schemes.insert("sigv4".to_owned(), scheme);
    }
    if methods().any(|method| method.api_key_required) {
        schemes.insert("api_key".to_owned(), json!({"type": "apiKey", "name": "x-api-key", "in": "header"}));
    }
    schemes
}
