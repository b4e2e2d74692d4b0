//! Whether a request may use a route: JWT and Lambda authorizers, and signatures.
//!
//! Source: API Gateway developer guide, "Controlling and managing access to HTTP APIs".

use super::issuer::Issuers;
use super::lambda_authorizer::{self, Identity, Verdict};
use super::{Call, jwt};
use crate::Response;
use crate::authorization::{self, Asked, Claim, Refusal};
use crate::client::Client;
use crate::state::Gateway;
use http::{HeaderValue, StatusCode, header};
use lamplight_model::Timestamp;
use lamplight_model::http_api::{Authorizer, JwtConfiguration};
use lamplight_model::policy::Decision;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// What an event is told of who asks: in format 2.0, and in format 1.0.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Authorized {
    /// `requestContext.authorizer` of format 2.0.
    pub format_2: Option<Value>,
    /// The same of format 1.0.
    pub format_1: Option<Value>,
}

/// Lets a request through or answers it: 401, 403, or 500 when that cannot be found out. Of a signed one only what its head says is
/// looked at: `by_signature` needs the body.
pub async fn authorize(gateway: &Gateway, call: &Call<'_>) -> Result<Authorized, Response> {
    let route = call.route;
    let authorizer = route.authorizer_id.as_ref().and_then(|id| call.definition.authorizers.get(id));
    match (route.authorization_type.as_str(), authorizer) {
        ("NONE", _) => Ok(Authorized::default()),
        ("JWT", Some(authorizer)) => by_token(gateway, call, authorizer).await,
        ("CUSTOM", Some(authorizer)) => by_function(gateway, call, authorizer).await,
        ("AWS_IAM", _) => claim(call).map(|_| Authorized::default()),
        // Nothing else lets anybody in.
        (kind, _) => {
            tracing::warn!(
                route = route.route_key,
                kind,
                "nobody can be let in by this kind of authorization"
            );
            Err(forbidden())
        }
    }
}

async fn by_token(
    gateway: &Gateway,
    call: &Call<'_>,
    authorizer: &Authorizer,
) -> Result<Authorized, Response> {
    let Some(expected) = &authorizer.jwt_configuration else { return Err(super::internal_error()) };
    let identity = Identity::of(&authorizer.identity_source, call);
    let Some(text) = identity.and_then(|identity| identity.texts().into_iter().next()) else {
        return Err(unauthorized("Bearer"));
    };
    let scopes = call.route.authorization_scopes.as_deref().unwrap_or_default();
    let (issuers, client) = (&gateway.http_apis.issuers, &gateway.client);
    let claims = verified(issuers, client, &text, expected, call.incoming.time).await.map_err(|refusal| {
        tracing::info!(request_id = %call.incoming.request_id, %refusal, "a token was refused");
        let scope = scopes.join(" ");
        unauthorized(&format!(
            "Bearer scope=\"{scope}\" error=\"invalid_token\" error_description=\"{refusal}\""
        ))
    })?;
    let own = jwt::scopes(&claims);
    if !scopes.is_empty() && !scopes.iter().any(|scope| own.contains(scope)) {
        let mut response = forbidden();
        challenge(
            &mut response,
            &format!("Bearer scope=\"{}\" error=\"insufficient_scope\"", scopes.join(" ")),
        );
        return Err(response);
    }
    let shown = jwt::shown(&claims);
    // Seen from AWS: null when the route asks for none.
    let scopes = if scopes.is_empty() { Value::Null } else { json!(own) };
    let part = json!({ "claims": shown, "scopes": scopes });
    Ok(Authorized { format_2: Some(json!({ "jwt": part })), format_1: Some(part) })
}

async fn verified(
    issuers: &Issuers,
    client: &Arc<Client>,
    text: &str,
    expected: &JwtConfiguration,
    now: Timestamp,
) -> Result<Map<String, Value>, jwt::Refusal> {
    let token = jwt::Token::parse(text)?;
    let keys = issuers.keys(client, &expected.issuer, now, |keys| keys.has(&token)).await;
    token.verify(&*keys.ok_or(jwt::Refusal::Issuing)?, expected, now)
}

async fn by_function(
    gateway: &Gateway,
    call: &Call<'_>,
    authorizer: &Authorizer,
) -> Result<Authorized, Response> {
    // A source that is missing is no: the function is not asked.
    let Some(identity) = Identity::of(&authorizer.identity_source, call) else {
        return Err(unauthorized(""));
    };
    match lambda_authorizer::ask(gateway, call, authorizer, &identity).await {
        Ok(Verdict { allowed: true, context, principal }) => {
            let mut format_1 = context.clone();
            if let Some(principal) = principal {
                format_1.insert("principalId".to_owned(), principal.into());
            }
            Ok(Authorized {
                format_2: Some(json!({ "lambda": context })),
                format_1: Some(Value::Object(format_1)),
            })
        }
        Ok(Verdict { allowed: false, .. }) => Err(forbidden()),
        Err(error) => {
            tracing::warn!(request_id = %call.incoming.request_id, authorizer = authorizer.name, error, "an authorizer failed");
            Err(super::internal_error())
        }
    }
}

/// Lets in who signed the request, `call.incoming` with its body, and whose policies allow `execute-api:Invoke` on the route.
/// Everything that is wrong is one 403, as HTTP APIs answer it.
pub async fn by_signature(gateway: &Gateway, call: &Call<'_>) -> Result<Authorized, Response> {
    let claim = claim(call)?;
    let (asked, incoming) = (asked(call), call.incoming);
    let account = &call.scope.account;
    let found = authorization::identify(&gateway.parts, account, &claim, &asked, &incoming.body).await;
    let identity = found.map_err(|refusal| refused(call, &refusal))?;
    let arn = lambda_authorizer::request_arn(call);
    if authorization::decide_api_call(call.scope, &arn, None, Some(&identity), &asked) != Decision::Allowed {
        return Err(refused(call, &Refusal::Forbidden));
    }
    let shown = authorization::authorizer(&identity);
    Ok(Authorized { format_1: Some(shown["iam"].clone()), format_2: Some(shown) })
}

#[allow(clippy::result_large_err)] // A response is what every refusal here is, and it is made once a request.
fn claim(call: &Call<'_>) -> Result<Claim, Response> {
    authorization::claim_of_api_call(call.scope, &asked(call)).map_err(|refusal| refused(call, &refusal))
}

fn asked<'a>(call: &'a Call<'_>) -> Asked<'a> {
    Asked::of(call.incoming, call.target_path, call.authority)
}

fn refused(call: &Call<'_>, refusal: &Refusal) -> Response {
    let request_id = call.incoming.request_id;
    match refusal {
        Refusal::Trouble(error) => {
            tracing::error!(%request_id, error, "failed to find out who signed a request");
            super::internal_error()
        }
        refusal => {
            tracing::info!(%request_id, %refusal, "a signed request was refused");
            forbidden()
        }
    }
}

fn unauthorized(text: &str) -> Response {
    let mut response = super::message(StatusCode::UNAUTHORIZED, "Unauthorized");
    if !text.is_empty() {
        challenge(&mut response, text);
    }
    response
}

fn forbidden() -> Response {
    super::message(StatusCode::FORBIDDEN, "Forbidden")
}

fn challenge(response: &mut Response, text: &str) {
    // Scopes come from the configuration and may be anything.
    if let Ok(value) = HeaderValue::from_str(text) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
    }
}
