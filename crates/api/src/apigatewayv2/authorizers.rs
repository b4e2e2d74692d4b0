//! CreateAuthorizer, GetAuthorizer, GetAuthorizers, UpdateAuthorizer, DeleteAuthorizer: JWT and Lambda (`REQUEST`).

use super::input::{integer, list as page, new_id, one_of, required, shown, text};
use super::{bad_request, conflict, created, deleted, not_found, ok, stored};
use crate::http::{ApiError, Context, Members, Response};
use crate::state::ApiState;
use lamplight_model::http_api::{Authorizer, Definition, JwtConfiguration, function_of_uri};

/// Beginnings of identity sources. Source: developer guide, "Identity sources" of Lambda authorizers for HTTP APIs.
const SOURCES: [&str; 4] = ["$request.header.", "$request.querystring.", "$context.", "$stageVariables."];

/// CreateAuthorizer.
pub async fn create(
    state: &ApiState,
    context: &Context,
    api: &str,
    members: &Members<'_>,
) -> Result<Response, ApiError> {
    let mut opened = stored::open(state, context, api).await?;
    let mut authorizer = Authorizer { authorizer_id: new_id(6), ..Authorizer::default() };
    authorizer.authorizer_type =
        required(one_of(members, "authorizerType", &["REQUEST", "JWT"])?, "AuthorizerType")?;
    apply(&mut authorizer, members)?;
    check(&authorizer, &opened.api.definition)?;
    let answer = created(&shown(&authorizer));
    opened.api.definition.authorizers.insert(authorizer.authorizer_id.clone(), authorizer);
    opened.save_definition().await?;
    Ok(answer)
}

/// GetAuthorizer.
pub async fn get(state: &ApiState, context: &Context, api: &str, id: &str) -> Result<Response, ApiError> {
    let api = stored::api(state, context, api).await?;
    let found = api.definition.authorizers.get(id);
    found.map(|authorizer| ok(&shown(authorizer))).ok_or_else(|| absent(id))
}

/// GetAuthorizers.
pub async fn list(state: &ApiState, context: &Context, api: &str) -> Result<Response, ApiError> {
    let api = stored::api(state, context, api).await?;
    Ok(ok(&page(context, "http-authorizers", &api.definition.authorizers, shown)?))
}

/// UpdateAuthorizer: what is not given stays.
pub async fn update(
    state: &ApiState,
    context: &Context,
    api: &str,
    id: &str,
    members: &Members<'_>,
) -> Result<Response, ApiError> {
    let mut opened = stored::open(state, context, api).await?;
    let mut authorizer = opened.api.definition.authorizers.get(id).cloned().ok_or_else(|| absent(id))?;
    if let Some(kind) = one_of(members, "authorizerType", &["REQUEST", "JWT"])? {
        authorizer.authorizer_type = kind;
    }
    apply(&mut authorizer, members)?;
    check(&authorizer, &opened.api.definition)?;
    let answer = ok(&shown(&authorizer));
    opened.api.definition.authorizers.insert(id.to_owned(), authorizer);
    opened.save_definition().await?;
    Ok(answer)
}

/// DeleteAuthorizer. Fails with `ConflictException` while routes ask it.
pub async fn delete(state: &ApiState, context: &Context, api: &str, id: &str) -> Result<Response, ApiError> {
    let mut opened = stored::open(state, context, api).await?;
    let definition = &mut opened.api.definition;
    let routes: Vec<&str> = definition
        .routes
        .values()
        .filter(|route| route.authorizer_id.as_deref() == Some(id))
        .map(|route| route.route_key.as_str())
        .collect();
    if !routes.is_empty() {
        return Err(conflict(format!(
            "Cannot delete authorizer '{id}', is referenced by route(s): [{}]",
            routes.join(", ")
        )));
    }
    definition.authorizers.remove(id).ok_or_else(|| absent(id))?;
    opened.save_definition().await?;
    Ok(deleted())
}

fn absent(id: &str) -> ApiError {
    not_found(format!("Invalid Authorizer identifier specified {id}"))
}

/// Reads what was given, also of an imported document. `check` comes after it.
pub fn apply(authorizer: &mut Authorizer, members: &Members<'_>) -> Result<(), ApiError> {
    if let Some(name) = text(members, "name", 1..=128)? {
        authorizer.name = name;
    }
    if let Some(sources) = members.strings("identitySource")? {
        authorizer.identity_source = sources;
    }
    if let Some(uri) = text(members, "authorizerUri", 1..=2048)? {
        authorizer.authorizer_uri = Some(uri);
    }
    if let Some(version) = one_of(members, "authorizerPayloadFormatVersion", &["1.0", "2.0"])? {
        authorizer.authorizer_payload_format_version = Some(version);
    }
    if let Some(seconds) = integer(members, "authorizerResultTtlInSeconds", 0..=3600)? {
        authorizer.authorizer_result_ttl_in_seconds = Some(seconds.unsigned_abs());
    }
    if let Some(simple) = members.boolean("enableSimpleResponses")? {
        authorizer.enable_simple_responses = Some(simple);
    }
    if let Some(credentials) = members.string("authorizerCredentialsArn")? {
        authorizer.authorizer_credentials_arn = Some(credentials);
    }
    if members.string("identityValidationExpression")?.is_some_and(|expression| !expression.is_empty()) {
        return Err(bad_request("IdentityValidationExpression is not supported for HTTP APIs"));
    }
    if let Some(block) = members.object("jwtConfiguration")? {
        let before = authorizer.jwt_configuration.take().unwrap_or_default();
        authorizer.jwt_configuration = Some(JwtConfiguration {
            audience: block.strings("audience")?.unwrap_or(before.audience),
            issuer: text(&block, "issuer", 1..=2048)?.unwrap_or(before.issuer),
        });
    }
    if authorizer.authorizer_type == "REQUEST" {
        // Source: developer guide, "Customize the authorizer": caching is on for APIs of the console only.
        authorizer.authorizer_result_ttl_in_seconds.get_or_insert(0);
        if authorizer.authorizer_payload_format_version.is_some() {
            authorizer.enable_simple_responses.get_or_insert(false);
        }
    }
    Ok(())
}

/// Whether an authorizer is whole. The text about the payload's version was seen in terraform's issues.
pub fn check(authorizer: &Authorizer, definition: &Definition) -> Result<(), ApiError> {
    if authorizer.name.is_empty() {
        return Err(bad_request("Name is a required parameter"));
    }
    let twin = |other: &&Authorizer| {
        other.name == authorizer.name && other.authorizer_id != authorizer.authorizer_id
    };
    if definition.authorizers.values().any(|other| twin(&other)) {
        return Err(bad_request("Authorizer name must be unique"));
    }
    for source in &authorizer.identity_source {
        if !SOURCES.iter().any(|begin| source.len() > begin.len() && source.starts_with(begin)) {
            return Err(bad_request(format!(
                "Invalid mapping expression specified: Validation Result: warnings : [], errors : [Invalid mapping \
                 expression specified: {source}]"
            )));
        }
    }
    match authorizer.authorizer_type.as_str() {
        "JWT" => check_jwt(authorizer),
        _ => check_request(authorizer),
    }
}

fn check_jwt(authorizer: &Authorizer) -> Result<(), ApiError> {
    let of_request = [
        (authorizer.authorizer_uri.is_some(), "AuthorizerUri"),
        (authorizer.authorizer_payload_format_version.is_some(), "AuthorizerPayloadFormatVersion"),
        (authorizer.enable_simple_responses.is_some(), "EnableSimpleResponses"),
    ];
    if let Some((_, name)) = of_request.iter().find(|(given, _)| *given) {
        return Err(bad_request(format!("{name} is not supported for JWT authorizers")));
    }
    if authorizer.identity_source.len() != 1 {
        return Err(bad_request("IdentitySource must be one expression for JWT authorizers"));
    }
    let jwt = required(authorizer.jwt_configuration.as_ref(), "JwtConfiguration")?;
    if jwt.audience.is_empty() {
        return Err(bad_request("Audience is a required parameter of JwtConfiguration"));
    }
    // AWS takes https only. An issuer on this machine or network has no certificate that others would know.
    match jwt.issuer.starts_with("https://") || jwt.issuer.starts_with("http://") {
        true => Ok(()),
        false => Err(bad_request(format!(
            "Invalid issuer: {}. Issuer must have a valid discovery endpoint ended with \
             '/.well-known/openid-configuration'",
            jwt.issuer
        ))),
    }
}

fn check_request(authorizer: &Authorizer) -> Result<(), ApiError> {
    if authorizer.jwt_configuration.is_some() {
        return Err(bad_request("JwtConfiguration is not supported for REQUEST authorizers"));
    }
    let uri = required(authorizer.authorizer_uri.as_deref(), "AuthorizerUri")?;
    if !uri.contains("${stageVariables.") && function_of_uri(uri).is_none() {
        return Err(bad_request(format!("Invalid Authorizer URI: {uri}")));
    }
    let Some(version) = authorizer.authorizer_payload_format_version.as_deref() else {
        return Err(bad_request(
            "AuthorizerPayloadFormatVersion is a required parameter for REQUEST authorizer",
        ));
    };
    if version == "1.0" && authorizer.enable_simple_responses == Some(true) {
        return Err(bad_request("EnableSimpleResponses is supported for payload format version 2.0 only"));
    }
    if authorizer.identity_source.is_empty() && authorizer.authorizer_result_ttl_in_seconds != Some(0) {
        return Err(bad_request("IdentitySource is required when caching is enabled"));
    }
    Ok(())
}
