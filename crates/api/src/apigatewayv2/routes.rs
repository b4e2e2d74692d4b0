//! CreateRoute, GetRoute, GetRoutes, UpdateRoute, DeleteRoute.

use super::input::{list as page, new_id, one_of, refuse, required, shown, text};
use super::{bad_request, conflict, created, deleted, not_found, ok, stored};
use crate::http::{ApiError, Context, Members, Response};
use crate::state::ApiState;
use lamplight_model::http_api::{Definition, Route, RouteKey};

/// Members of WebSocket APIs.
const WEB_SOCKET: [&str; 4] =
    ["modelSelectionExpression", "requestModels", "requestParameters", "routeResponseSelectionExpression"];
/// `AuthorizationType`.
const AUTHORIZATION: [&str; 4] = ["NONE", "AWS_IAM", "CUSTOM", "JWT"];

/// CreateRoute.
pub async fn create(
    state: &ApiState,
    context: &Context,
    api: &str,
    members: &Members<'_>,
) -> Result<Response, ApiError> {
    let mut opened = stored::open(state, context, api).await?;
    let mut route = Route { authorization_type: "NONE".to_owned(), route_id: new_id(7), ..Route::default() };
    route.route_key = required(members.string("routeKey")?, "RouteKey")?;
    apply(&mut route, members)?;
    check(&route, &opened.api.definition)?;
    let answer = created(&shown(&route));
    opened.api.definition.routes.insert(route.route_id.clone(), route);
    opened.save_definition().await?;
    Ok(answer)
}

/// GetRoute.
pub async fn get(state: &ApiState, context: &Context, api: &str, id: &str) -> Result<Response, ApiError> {
    let api = stored::api(state, context, api).await?;
    api.definition.routes.get(id).map(|route| ok(&shown(route))).ok_or_else(|| absent(id))
}

/// GetRoutes.
pub async fn list(state: &ApiState, context: &Context, api: &str) -> Result<Response, ApiError> {
    let api = stored::api(state, context, api).await?;
    Ok(ok(&page(context, "http-routes", &api.definition.routes, shown)?))
}

/// UpdateRoute: what is not given stays.
pub async fn update(
    state: &ApiState,
    context: &Context,
    api: &str,
    id: &str,
    members: &Members<'_>,
) -> Result<Response, ApiError> {
    let mut opened = stored::open(state, context, api).await?;
    let mut route = opened.api.definition.routes.get(id).cloned().ok_or_else(|| absent(id))?;
    if let Some(key) = members.string("routeKey")? {
        route.route_key = key;
    }
    apply(&mut route, members)?;
    check(&route, &opened.api.definition)?;
    let answer = ok(&shown(&route));
    opened.api.definition.routes.insert(id.to_owned(), route);
    opened.save_definition().await?;
    Ok(answer)
}

/// DeleteRoute.
pub async fn delete(state: &ApiState, context: &Context, api: &str, id: &str) -> Result<Response, ApiError> {
    let mut opened = stored::open(state, context, api).await?;
    opened.api.definition.routes.remove(id).ok_or_else(|| absent(id))?;
    opened.save_definition().await?;
    Ok(deleted())
}

/// The text is the form of the recorded answers for APIs; AWS's own for routes is not published.
fn absent(id: &str) -> ApiError {
    not_found(format!("Invalid Route identifier specified {id}"))
}

fn apply(route: &mut Route, members: &Members<'_>) -> Result<(), ApiError> {
    refuse(members, "CreateRoute and UpdateRoute of an HTTP API", &WEB_SOCKET)?;
    if members.boolean("apiKeyRequired")? == Some(true) {
        return Err(bad_request("ApiKeyRequired is not currently supported for HTTP APIs"));
    }
    if let Some(kind) = one_of(members, "authorizationType", &AUTHORIZATION)? {
        if kind == "NONE" {
            (route.authorizer_id, route.authorization_scopes) = (None, None);
        }
        route.authorization_type = kind;
    }
    if let Some(id) = members.string("authorizerId")? {
        route.authorizer_id = Some(id);
    }
    if let Some(scopes) = members.strings("authorizationScopes")? {
        route.authorization_scopes = Some(scopes);
    }
    if let Some(name) = text(members, "operationName", 1..=64)? {
        route.operation_name = Some(name);
    }
    if let Some(target) = text(members, "target", 1..=128)? {
        route.target = Some(target);
    }
    Ok(())
}

/// Whether a route fits the rest of its API.
fn check(route: &Route, definition: &Definition) -> Result<(), ApiError> {
    let key = &route.route_key;
    RouteKey::parse(key).map_err(|error| bad_request(error.to_string()))?;
    let twin = |other: &Route| other.route_key == *key && other.route_id != route.route_id;
    if definition.routes.values().any(twin) {
        return Err(conflict(format!("Route with key {key} already exists for this API")));
    }
    if let Some(target) = &route.target {
        let id = route.integration_id().ok_or_else(|| {
            bad_request(format!(
                "Invalid target '{target}' specified: it must be integrations/<integration ID>"
            ))
        })?;
        if !definition.integrations.contains_key(id) {
            return Err(not_found(format!("Invalid Integration identifier specified {id}")));
        }
    }
    check_authorization(route, definition)
}

/// The first text was seen: terraform and SST issues on `aws_apigatewayv2_route`.
fn check_authorization(route: &Route, definition: &Definition) -> Result<(), ApiError> {
    let wanted = match route.authorization_type.as_str() {
        "JWT" => "JWT",
        "CUSTOM" => "REQUEST",
        _ if route.authorizer_id.is_some() => {
            return Err(bad_request("AuthorizerId is of the authorization types JWT and CUSTOM only"));
        }
        _ => return Ok(()),
    };
    let authorizer = route.authorizer_id.as_ref().and_then(|id| definition.authorizers.get(id));
    match authorizer {
        Some(authorizer) if authorizer.authorizer_type == wanted => Ok(()),
        _ => Err(bad_request(format!(
            "Invalid authorizer ID specified. Setting the authorization type to {} requires a valid {} authorizer.",
            route.authorization_type,
            if wanted == "JWT" { "JWT" } else { "custom" }
        ))),
    }
}
