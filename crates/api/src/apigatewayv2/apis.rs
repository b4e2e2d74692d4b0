//! CreateApi (quick create, too), GetApi, GetApis, UpdateApi, DeleteApi, DeleteCorsConfiguration.

use super::input::{self, new_id, one_of, refuse, required, text};
use super::{bad_request, created, deleted, integrations, ok, stored};
use crate::http::{ApiError, Context, Members, Response};
use crate::state::ApiState;
use lamplight_model::http_api::{
    ApiSettings, Cors, DEFAULT, Definition, HttpApi, Integration, Route, RouteKey, Stage, Texts,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The only one an HTTP API may have.
const ROUTE_SELECTION: &str = "$request.method $request.path";
/// What AWS shows for every API.
const API_KEY_SELECTION: &str = "$request.header.x-api-key";

/// CreateApi. With `target` also a route, an integration and a stage that deploys automatically.
pub async fn create(
    state: &ApiState,
    context: &Context,
    members: &Members<'_>,
) -> Result<Response, ApiError> {
    let name = required(text(members, "name", 1..=128)?, "Name")?;
    match required(members.string("protocolType")?, "ProtocolType")?.as_str() {
        "HTTP" => {}
        "WEBSOCKET" => {
            return Err(ApiError::not_supported("apigatewayv2", "CreateApi with ProtocolType WEBSOCKET"));
        }
        _ => return Err(bad_request("Invalid protocol specified. Must be one of [HTTP, WEBSOCKET]")),
    }
    let mut api = new_api(state, name);
    api.tags = input::tags(members)?;
    apply(&mut api, members)?;
    if let Some(target) = text(members, "target", 1..=2048)? {
        quick_create(state, &mut api, target, members)?;
    } else if members.has("routeKey") || members.has("credentialsArn") {
        return Err(bad_request("Target is a required parameter when RouteKey or CredentialsArn is given"));
    }
    stored::add(state, context, &api).await?;
    Ok(created(&shown(context, &api)))
}

/// An API without anything.
pub fn new_api(state: &ApiState, name: String) -> HttpApi {
    HttpApi {
        api_id: new_id(10),
        settings: ApiSettings {
            name,
            description: None,
            version: None,
            disable_execute_api_endpoint: false,
            ip_address_type: "ipv4".to_owned(),
        },
        created_date: state.now(),
        tags: Texts::new(),
        definition: Definition::default(),
        stages: BTreeMap::new(),
        deployments: BTreeMap::new(),
    }
}

/// GetApi.
pub async fn get(state: &ApiState, context: &Context, id: &str) -> Result<Response, ApiError> {
    Ok(ok(&shown(context, &stored::api(state, context, id).await?)))
}

/// GetApis.
pub async fn list(state: &ApiState, context: &Context) -> Result<Response, ApiError> {
    let apis = stored::apis(state, context).await?;
    let apis: BTreeMap<String, HttpApi> = apis.into_iter().map(|api| (api.api_id.clone(), api)).collect();
    Ok(ok(&input::list(context, "http-apis", &apis, |api| shown(context, api))?))
}

/// UpdateApi: what is not given stays.
pub async fn update(
    state: &ApiState,
    context: &Context,
    id: &str,
    members: &Members<'_>,
) -> Result<Response, ApiError> {
    let mut opened = stored::open(state, context, id).await?;
    if let Some(name) = text(members, "name", 1..=128)? {
        opened.api.settings.name = name;
    }
    let cors = opened.api.definition.cors.clone();
    apply(&mut opened.api, members)?;
    let mut definition_changed = cors != opened.api.definition.cors;
    if ["target", "routeKey", "credentialsArn"].iter().any(|name| members.has(name)) {
        update_quick_created(&mut opened.api, members)?;
        definition_changed = true;
    }
    if definition_changed {
        opened.save_definition().await?;
    } else {
        opened.save().await?;
    }
    Ok(ok(&shown(context, &opened.api)))
}

/// DeleteApi.
pub async fn delete(state: &ApiState, context: &Context, id: &str) -> Result<Response, ApiError> {
    stored::open(state, context, id).await?.delete().await?;
    Ok(deleted())
}

/// DeleteCorsConfiguration.
pub async fn delete_cors(state: &ApiState, context: &Context, id: &str) -> Result<Response, ApiError> {
    let mut opened = stored::open(state, context, id).await?;
    opened.api.definition.cors = None;
    opened.save_definition().await?;
    Ok(deleted())
}

/// An API as it is shown.
pub fn shown(context: &Context, api: &HttpApi) -> Value {
    let settings = &api.settings;
    let mut shown = json!({
        "apiEndpoint": context.gateway_url.of_api(&api.api_id, context.scope.region.as_str(), &context.authority),
        "apiId": api.api_id,
        "apiKeySelectionExpression": API_KEY_SELECTION,
        "createdDate": api.created_date.iso_seconds_format(),
        "disableExecuteApiEndpoint": settings.disable_execute_api_endpoint,
        "ipAddressType": settings.ip_address_type,
        "name": settings.name,
        "protocolType": "HTTP",
        "routeSelectionExpression": ROUTE_SELECTION,
        "tags": api.tags,
    });
    if let Some(cors) = &api.definition.cors {
        shown["corsConfiguration"] = json!(cors);
    }
    if let Some(description) = &settings.description {
        shown["description"] = description.as_str().into();
    }
    if let Some(version) = &settings.version {
        shown["version"] = version.as_str().into();
    }
    shown
}

/// What both CreateApi and UpdateApi take, besides the name.
fn apply(api: &mut HttpApi, members: &Members<'_>) -> Result<(), ApiError> {
    refuse(members, "CreateApi and UpdateApi of an HTTP API", &["disableSchemaValidation"])?;
    if let Some(expression) = members.string("routeSelectionExpression")?
        && !matches!(expression.as_str(), ROUTE_SELECTION | "${request.method} ${request.path}")
    {
        return Err(bad_request(format!(
            "Invalid routeSelectionExpression: an HTTP API's is {ROUTE_SELECTION}"
        )));
    }
    let settings = &mut api.settings;
    if let Some(description) = text(members, "description", 0..=1024)? {
        settings.description = Some(description);
    }
    if let Some(version) = text(members, "version", 1..=64)? {
        settings.version = Some(version);
    }
    if let Some(disabled) = members.boolean("disableExecuteApiEndpoint")? {
        settings.disable_execute_api_endpoint = disabled;
    }
    if let Some(kind) = one_of(members, "ipAddressType", &["ipv4", "dualstack"])? {
        settings.ip_address_type = kind;
    }
    if let Some(block) = members.object("corsConfiguration")? {
        api.definition.cors = Some(read_cors(&block)?);
    }
    Ok(())
}

/// Reads a CORS configuration.
pub fn read_cors(block: &Members<'_>) -> Result<Cors, ApiError> {
    let cors = Cors {
        allow_credentials: block.boolean("allowCredentials")?,
        allow_headers: block.strings("allowHeaders")?,
        allow_methods: block.strings("allowMethods")?,
        allow_origins: block.strings("allowOrigins")?,
        expose_headers: block.strings("exposeHeaders")?,
        max_age: input::integer(block, "maxAge", -1..=86_400)?,
    };
    let methods = ["GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "DELETE", "*"];
    for method in cors.allow_methods.iter().flatten() {
        if !methods.contains(&method.as_str()) {
            return Err(bad_request(format!("Invalid value for allowMethods: '{method}'")));
        }
    }
    for origin in cors.allow_origins.iter().flatten() {
        // Source: developer guide, "Configuring CORS for HTTP APIs": a scheme, or `*`, `https://*`, `http://*`.
        if origin != "*" && !origin.contains("://") {
            return Err(bad_request(format!(
                "Invalid format for origin {origin}, use a scheme (http:// or https://) and a host, or *"
            )));
        }
    }
    let any_origin = cors.allow_origins.iter().flatten().any(|origin| origin == "*");
    if cors.allow_credentials == Some(true) && any_origin {
        return Err(bad_request("allowCredentials is not supported for origin *"));
    }
    Ok(cors)
}

/// A route, an integration and a stage, all marked as made by the service.
fn quick_create(
    state: &ApiState,
    api: &mut HttpApi,
    target: String,
    members: &Members<'_>,
) -> Result<(), ApiError> {
    let route_key = members.string("routeKey")?.unwrap_or_else(|| DEFAULT.to_owned());
    RouteKey::parse(&route_key).map_err(|error| bad_request(error.to_string()))?;
    let integration_id = new_id(7);
    let mut integration = Integration {
        api_gateway_managed: Some(true),
        integration_id: integration_id.clone(),
        ..integrations::of_target(target)
    };
    integration.credentials_arn = members.string("credentialsArn")?;
    integrations::check(&integration)?;
    let route = Route {
        api_gateway_managed: Some(true),
        authorization_type: "NONE".to_owned(),
        route_id: new_id(7),
        route_key,
        target: Some(format!("integrations/{integration_id}")),
        ..Route::default()
    };
    api.definition.integrations.insert(integration_id, integration);
    api.definition.routes.insert(route.route_id.clone(), route);
    let stage = Stage {
        api_gateway_managed: Some(true),
        auto_deploy: Some(true),
        created_date: state.now(),
        last_updated_date: state.now(),
        stage_name: DEFAULT.to_owned(),
        ..Stage::default()
    };
    api.stages.insert(DEFAULT.to_owned(), stage);
    stored::deploy_automatically(api, DEFAULT, state.now());
    Ok(())
}

/// Changes what quick create made.
fn update_quick_created(api: &mut HttpApi, members: &Members<'_>) -> Result<(), ApiError> {
    let none = || bad_request("Target, RouteKey and CredentialsArn are of APIs made by quick create only");
    let managed = |managed: Option<bool>| managed == Some(true);
    let definition = &mut api.definition;
    let integration = definition
        .integrations
        .values_mut()
        .find(|integration| managed(integration.api_gateway_managed))
        .ok_or_else(none)?;
    if let Some(target) = text(members, "target", 1..=2048)? {
        let made = integrations::of_target(target);
        *integration = Integration {
            api_gateway_managed: Some(true),
            integration_id: integration.integration_id.clone(),
            credentials_arn: integration.credentials_arn.clone(),
            ..made
        };
    }
    if let Some(credentials) = members.string("credentialsArn")? {
        integration.credentials_arn = Some(credentials);
    }
    integrations::check(integration)?;
    if let Some(route_key) = members.string("routeKey")? {
        RouteKey::parse(&route_key).map_err(|error| bad_request(error.to_string()))?;
        let route = definition
            .routes
            .values_mut()
            .find(|route| managed(route.api_gateway_managed))
            .ok_or_else(none)?;
        route.route_key = route_key;
    }
    Ok(())
}
