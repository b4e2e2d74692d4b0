//! Create-, Get-, Update- and DeleteAuthorizer, GetAuthorizers.

use super::error::{bad_request, conflict, not_found, not_one_of, unsupported};
use super::patch::{self, Patch};
use super::stored::{self, ID_LENGTH, new_id, page_of, value};
use super::{Request, accepted};
use crate::http::{ApiError, Response, reply};
use http::StatusCode;
use lamplight_model::rest_api::{
    Authorizer, AuthorizerKind, DEFAULT_RESULT_TTL_SECONDS, Definition, GREATEST_RESULT_TTL_SECONDS,
    IntegrationTarget,
};
use serde::Deserialize;

/// Most authorizers of an API. Source: API Gateway quotas, "Custom authorizers per API".
const AUTHORIZERS: usize = 10;

/// What is given about an authorizer, in the words of the API. Imports are brought into them.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Given {
    pub name: Option<String>,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub auth_type: Option<String>,
    pub authorizer_uri: Option<String>,
    pub authorizer_credentials: Option<String>,
    pub identity_source: Option<String>,
    pub identity_validation_expression: Option<String>,
    pub authorizer_result_ttl_in_seconds: Option<u32>,
}

fn no_authorizer() -> ApiError {
    not_found("Invalid Authorizer identifier specified")
}

/// The authorizer that is meant, with an id of its own. Fails with `BadRequestException` or `ValidationException`.
pub fn authorizer(given: Given) -> Result<Authorizer, ApiError> {
    let kind = match given.kind.as_deref().unwrap_or_default() {
        "TOKEN" => AuthorizerKind::Token,
        "REQUEST" => AuthorizerKind::Request,
        "COGNITO_USER_POOLS" => return Err(unsupported("COGNITO_USER_POOLS authorizers")),
        other => {
            let kinds = ["TOKEN", "REQUEST", "COGNITO_USER_POOLS"];
            return Err(not_one_of(other, "createAuthorizerInput.type", &kinds));
        }
    };
    let authorizer = Authorizer {
        id: new_id(ID_LENGTH),
        name: given.name.unwrap_or_default(),
        kind,
        auth_type: given.auth_type.unwrap_or_else(|| "custom".to_owned()),
        authorizer_uri: given.authorizer_uri.unwrap_or_default(),
        authorizer_credentials: given.authorizer_credentials,
        identity_source: given.identity_source.filter(|source| !source.is_empty()),
        identity_validation_expression: given.identity_validation_expression.filter(|text| !text.is_empty()),
        authorizer_result_ttl_in_seconds: given
            .authorizer_result_ttl_in_seconds
            .unwrap_or(DEFAULT_RESULT_TTL_SECONDS),
    };
    check(&authorizer)?;
    Ok(authorizer)
}

fn check(authorizer: &Authorizer) -> Result<(), ApiError> {
    if authorizer.name.is_empty() {
        return Err(bad_request("Authorizer name cannot be empty"));
    }
    let target = IntegrationTarget::parse(&authorizer.authorizer_uri);
    if !target.is_some_and(|target| target.is_plausible()) {
        return Err(bad_request("Invalid Authorizer URI"));
    }
    if authorizer.authorizer_result_ttl_in_seconds > GREATEST_RESULT_TTL_SECONDS {
        return Err(bad_request("Authorizer result TTL must be between 0 and 3600 seconds"));
    }
    let sources: Vec<&str> = authorizer.identity_sources().collect();
    if let Some(wrong) = sources.iter().find(|source| !is_source(authorizer.kind, source)) {
        return Err(bad_request(format!(
            "Invalid mapping expression specified: Validation Result: warnings : [], errors : [Invalid mapping expression \
             specified: {wrong}]"
        )));
    }
    // What a decision is kept under must be known.
    let needs_source =
        authorizer.kind == AuthorizerKind::Token || authorizer.authorizer_result_ttl_in_seconds > 0;
    if needs_source && sources.is_empty() {
        return Err(bad_request("Identity source must be specified"));
    }
    if let Some(expression) = &authorizer.identity_validation_expression
        && regex::Regex::new(expression).is_err()
    {
        return Err(bad_request("Invalid identity validation expression specified"));
    }
    Ok(())
}

/// A token is in a header; an identity of a request may be elsewhere, too.
fn is_source(kind: AuthorizerKind, source: &str) -> bool {
    let named = |prefix: &str| source.strip_prefix(prefix).is_some_and(|name| !name.is_empty());
    named("method.request.header.")
        || kind == AuthorizerKind::Request
            && (named("method.request.querystring.") || named("stageVariables.") || named("context."))
}

/// Adds one. Fails with `ConflictException` for a name that is taken.
fn add(definition: &mut Definition, authorizer: &Authorizer) -> Result<(), ApiError> {
    if definition.authorizers.values().any(|one| one.name == authorizer.name) {
        return Err(conflict("Authorizer name must be unique. Authorizer with name already exists"));
    }
    if definition.authorizers.len() >= AUTHORIZERS {
        let message =
            format!("Maximum number of authorizers for this API has been reached. Limit: {AUTHORIZERS}");
        return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "LimitExceededException", message));
    }
    definition.authorizers.insert(authorizer.id.clone(), authorizer.clone());
    Ok(())
}

/// CreateAuthorizer.
pub async fn create(request: &Request<'_>) -> Result<Response, ApiError> {
    let made = authorizer(request.members()?)?;
    stored::change_api(request.state, request.context, request.label(0), |api| {
        add(&mut api.definition, &made)
    })
    .await?;
    Ok(reply::json(StatusCode::CREATED, &value(&made)?))
}

/// GetAuthorizer.
pub async fn get(request: &Request<'_>) -> Result<Response, ApiError> {
    let api = stored::api(request.state, request.context, request.label(0)).await?;
    let found = api.definition.authorizers.get(request.label(1)).ok_or_else(no_authorizer)?;
    Ok(reply::json(StatusCode::OK, &value(found)?))
}

/// GetAuthorizers.
pub async fn list(request: &Request<'_>) -> Result<Response, ApiError> {
    let api = stored::api(request.state, request.context, request.label(0)).await?;
    let all: Vec<&Authorizer> = api.definition.authorizers.values().collect();
    let page = page_of(request.context, "authorizers", &all, |authorizer| &authorizer.id, value)?;
    Ok(reply::json(StatusCode::OK, &page))
}

/// UpdateAuthorizer.
pub async fn update(request: &Request<'_>) -> Result<Response, ApiError> {
    let patches = patch::read(request.body, "updateAuthorizerInput")?;
    let changed = stored::change_api(request.state, request.context, request.label(0), |api| {
        let found = api.definition.authorizers.get_mut(request.label(1)).ok_or_else(no_authorizer)?;
        let mut changed = found.clone();
        for patch in &patches {
            apply(&mut changed, patch)?;
        }
        check(&changed)?;
        found.clone_from(&changed);
        Ok(changed)
    })
    .await?;
    Ok(reply::json(StatusCode::OK, &value(&changed)?))
}

fn apply(authorizer: &mut Authorizer, patch: &Patch) -> Result<(), ApiError> {
    patch.only_replace()?;
    match patch.path.as_str() {
        "/name" => authorizer.name = patch.text().to_owned(),
        "/type" => {
            authorizer.kind = match patch.text() {
                "TOKEN" => AuthorizerKind::Token,
                "REQUEST" => AuthorizerKind::Request,
                other => {
                    return Err(not_one_of(other, "type", &["TOKEN", "REQUEST", "COGNITO_USER_POOLS"]));
                }
            };
        }
        "/authType" => authorizer.auth_type = patch.text().to_owned(),
        "/authorizerUri" => authorizer.authorizer_uri = patch.text().to_owned(),
        "/authorizerCredentials" => authorizer.authorizer_credentials = patch.some(),
        "/identitySource" => authorizer.identity_source = patch.some(),
        "/identityValidationExpression" => authorizer.identity_validation_expression = patch.some(),
        "/authorizerResultTtlInSeconds" => {
            authorizer.authorizer_result_ttl_in_seconds = patch
                .text()
                .parse()
                .map_err(|_| bad_request("Authorizer result TTL must be between 0 and 3600 seconds"))?;
        }
        _ => return Err(patch.invalid_path()),
    }
    Ok(())
}

/// DeleteAuthorizer. Fails with `ConflictException` while a method uses it.
pub async fn delete(request: &Request<'_>) -> Result<Response, ApiError> {
    let id = request.label(1);
    stored::change_api(request.state, request.context, request.label(0), |api| {
        let definition = &mut api.definition;
        let found = definition.authorizers.get(id).ok_or_else(no_authorizer)?;
        for resource in definition.resources.values() {
            for method in resource.resource_methods.values() {
                if method.authorizer_id.as_deref() == Some(id) {
                    return Err(conflict(format!(
                        "Cannot delete authorizer '{}', is referenced in method: {}/{}",
                        found.name, resource.path, method.http_method
                    )));
                }
            }
        }
        definition.authorizers.remove(id);
        Ok(())
    })
    .await?;
    Ok(accepted())
}
