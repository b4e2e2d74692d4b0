//! REST APIs: from a request to a stage, a resource and its method, past the authorizer, to a function, a back end or a mock.
//!
//! ```text
//! request -> stage -> resource, method -> authorizer -> key? -> integration -> response
//!              403         403             401 403 500   403 429  5xx            answers of the gateway's own: `respond`
//! ```

mod authorizer;
mod back_end;
mod function;
mod known;
mod mapping;
mod mock;
mod respond;
mod signed;
mod usage;

pub use authorizer::Verdicts;
pub use known::{Found, Known};
pub use usage::Usage;

use crate::address::Address;
use crate::event::v1::{self, Details};
use crate::incoming::Incoming;
use crate::measure::{self, Watch};
use crate::reply::{self, v1::Decoding};
use crate::state::Gateway;
use crate::{Request, Response, trace};
use authorizer::Refused;
use function::{Call, Called};
use http::{HeaderName, HeaderValue, StatusCode, header};
use known::Served;
use lamplight_listener::{Peer, Share, body, body::BodyError};
use lamplight_model::credentials::Identity;
use lamplight_model::rest_api::{
    Authorizer, Definition, GatewayResponseKind as Kind, Integration, IntegrationKind, Method, Routed,
    WHOLE_TIMEOUT_MILLISECONDS, method_arn, route,
};
use lamplight_model::{Region, RequestId};
use lamplight_store::StoreError;
use respond::Happened;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use usage::Grant;

/// Largest request body, bytes. Source: API Gateway quotas, "Payload size".
const REQUEST_BYTES: usize = 10 * 1024 * 1024;
/// `x-amz-apigw-id`.
const GATEWAY_ID: HeaderName = HeaderName::from_static("x-amz-apigw-id");

/// The REST API of an id; `None` when there is none, as for an id of an HTTP API. Fails when storage does.
pub async fn find(gateway: &Gateway, id: &str, region: Option<&Region>) -> Result<Option<Found>, StoreError> {
    gateway.rest_apis.api(&*gateway.parts.store, id, region).await
}

/// Answers a request of an API.
pub async fn answer(
    gateway: &Gateway,
    api: &Found,
    address: &Address,
    request: Request,
    peer: Peer,
    request_id: RequestId,
) -> Response {
    let (name, path) = split_stage(&address.path);
    let served = match gateway.rest_apis.stage(&*gateway.parts.store, api, name).await {
        Ok(Some(served)) if !api.by_domain_only => served,
        Ok(_) => {
            body::discard(request.into_body()).await;
            return forbidden();
        }
        Err(error) => {
            tracing::error!(%request_id, error = &error as &dyn std::error::Error, "failed to find a stage");
            body::discard(request.into_body()).await;
            return internal();
        }
    };
    let now = (gateway.parts.clock)();
    let mut watch =
        Watch::new(None, |integration: &Option<Duration>, answered: Option<&Response>, latency| {
            let place = (api.name.as_str(), served.stage.stage_name.as_str());
            let status = answered.map(Response::status);
            measure::rest_api(gateway, &api.scope, place, (latency, *integration), status);
        });
    // Who asks is found out before the body is read: what is refused costs no memory.
    let (head, content) = request.into_parts();
    let target = Target::of(&head.uri);
    let without_body = Request::from_parts(head, crate::Body::empty());
    let share = gateway.memory_of(&peer);
    let read = Incoming::read(without_body, address, peer, (0, &share), request_id, now).await;
    let Ok(incoming) = read else {
        body::discard(content).await;
        return internal();
    };
    let trace_header = trace::of(&incoming.headers, now);
    let exchange = Exchange {
        gateway,
        api,
        served: &served,
        path,
        target: &target,
        incoming: &incoming,
        memory: &share,
        trace_header: &trace_header,
    };
    let mut response = match exchange.admit().await {
        Ok(admitted) => match incoming.with_body(content, REQUEST_BYTES, &share).await {
            Ok(whole) => {
                let exchange = Exchange { incoming: &whole, ..exchange };
                match exchange.admit_whole(admitted).await {
                    Ok(admitted) => {
                        let asked = Instant::now();
                        let response = exchange.integrate(&admitted).await;
                        watch.state = Some(asked.elapsed());
                        response
                    }
                    Err(refusal) => *refusal,
                }
            }
            Err(error) => exchange.unreadable(&error, &admitted.reached()),
        },
        Err(refusal) => {
            body::discard(content).await;
            *refusal
        }
    };
    let extended = v1::extended_request_id(&request_id.to_string());
    if let Ok(value) = HeaderValue::from_str(&extended) {
        response.headers_mut().insert(GATEWAY_ID, value);
    }
    trace::tell(response.headers_mut(), &trace_header);
    watch.answered(&response);
    response
}

/// The stage, which is the first segment, and the rest with its slash.
fn split_stage(path: &str) -> (&str, &str) {
    let path = path.strip_prefix('/').unwrap_or(path);
    let (stage, rest) = path.split_at(path.find('/').unwrap_or(path.len()));
    (stage, if rest.is_empty() { "/" } else { rest })
}

/// No such stage. Recorded from AWS.
fn forbidden() -> Response {
    let mut response = reply::with_body(
        StatusCode::FORBIDDEN,
        "application/json",
        json!({"message": "Forbidden"}).to_string(),
    );
    response.headers_mut().insert(reply::ERROR_TYPE, HeaderValue::from_static("ForbiddenException"));
    response
}

fn internal() -> Response {
    let body = json!({"message": "Internal server error"}).to_string();
    reply::with_body(StatusCode::INTERNAL_SERVER_ERROR, "application/json", body)
}

/// Bodies of others take all the memory there is for them.
fn no_room() -> Response {
    let body = json!({"message": "Service Unavailable"}).to_string();
    reply::with_body(StatusCode::SERVICE_UNAVAILABLE, "application/json", body)
}

/// The target of a request as it came, which is what is signed.
struct Target {
    path: String,
    /// Host and port, where the target names them.
    authority: Option<String>,
}

impl Target {
    fn of(uri: &http::Uri) -> Self {
        let authority = uri.authority().map(|authority| authority.as_str().to_owned());
        Self { path: uri.path().to_owned(), authority }
    }
}

/// One request at one stage.
struct Exchange<'a> {
    gateway: &'a Gateway,
    api: &'a Found,
    served: &'a Served,
    /// Without the stage, as it came.
    path: &'a str,
    target: &'a Target,
    incoming: &'a Incoming,
    /// Where bodies are kept.
    memory: &'a Share,
    trace_header: &'a str,
}

/// Who asks, as far as a method wants to know.
#[derive(Debug, Default)]
struct Authorized {
    /// `requestContext.authorizer`; `None` when no function was asked.
    context: Option<Value>,
    /// Who signed the request.
    identity: Option<Identity>,
    /// The key that the authorizer's function named.
    named_key: Option<String>,
    /// What the request's key may do; `None` when none is wanted.
    grant: Option<Arc<Grant>>,
}

/// What is known of a request when it is answered by the gateway itself.
struct Reached<'a> {
    routed: Option<&'a Routed<'a>>,
    authorized: &'a Authorized,
}

/// A request that may use its method.
struct Admitted<'a> {
    routed: Routed<'a>,
    method: &'a Method,
    authorized: Authorized,
}

impl Admitted<'_> {
    fn is_signed(&self) -> bool {
        self.method.authorization_type == "AWS_IAM"
    }

    fn reached(&self) -> Reached<'_> {
        Reached { routed: Some(&self.routed), authorized: &self.authorized }
    }
}

/// Nobody yet.
const NOBODY: Authorized = Authorized { context: None, identity: None, named_key: None, grant: None };
/// Nothing yet.
const NOTHING: Reached<'static> = Reached { routed: None, authorized: &NOBODY };

impl Exchange<'_> {
    fn definition(&self) -> &Definition {
        &self.served.deployment.definition
    }

    /// The method that is asked for, once its authorizer lets the request through; the body is not there yet. Fails with the answer.
    async fn admit(&self) -> Result<Admitted<'_>, Box<Response>> {
        let routed = route(self.definition(), self.incoming.method.as_str(), self.path);
        let Some(routed) = routed else { return Err(Box::new(self.missing_token(&NOTHING))) };
        let Some(method) = routed.resource.resource_methods.get(routed.method) else {
            return Err(Box::new(self.missing_token(&NOTHING)));
        };
        self.use_stage(&routed, &Reached { routed: Some(&routed), authorized: &NOBODY })?;
        let authorized = self.authorize(&routed, method).await?;
        let admitted = Admitted { routed, method, authorized };
        if self.is_way_out(method) {
            let (status, reached) = (StatusCode::FORBIDDEN, admitted.reached());
            return Err(Box::new(self.say(Kind::AccessDenied, status, Some("Forbidden"), &reached)));
        }
        match admitted.is_signed() {
            // What a key may do is not used up before it is known who asks.
            true => Ok(admitted),
            false => self.with_key(admitted).await,
        }
    }

    /// Whether a function asks for what an open method gets from another server: it reaches no more of the network than its wall
    /// lets it, unless somebody allowed it to this one.
    fn is_way_out(&self, method: &Method) -> bool {
        let passes_on = method.method_integration.as_ref().is_some_and(|integration| {
            matches!(integration.kind, IntegrationKind::Http | IntegrationKind::HttpProxy)
        });
        passes_on && self.incoming.source == crate::INSIDE && method.authorization_type == "NONE"
    }

    /// The same once the body is there, which signatures are of. Fails with the answer.
    async fn admit_whole<'b>(&self, mut admitted: Admitted<'b>) -> Result<Admitted<'b>, Box<Response>> {
        if !admitted.is_signed() {
            return Ok(admitted);
        }
        let identity = self.signed(&admitted.routed, &admitted.reached()).await?;
        admitted.authorized.identity = Some(identity);
        self.with_key(admitted).await
    }

    /// The same with its key, where the method wants one. Fails with the answer.
    async fn with_key<'b>(&self, mut admitted: Admitted<'b>) -> Result<Admitted<'b>, Box<Response>> {
        if admitted.method.api_key_required {
            let grant = self.use_key(&admitted.routed, &admitted.reached()).await?;
            admitted.authorized.grant = Some(grant);
        }
        Ok(admitted)
    }

    /// What the method's integration answers.
    async fn integrate(&self, admitted: &Admitted<'_>) -> Response {
        let (routed, reached) = (&admitted.routed, admitted.reached());
        match &admitted.method.method_integration {
            Some(integration) => match integration.kind {
                IntegrationKind::Mock => self.mock(integration, &reached),
                IntegrationKind::AwsProxy => self.function(integration, routed, &reached).await,
                IntegrationKind::Http | IntegrationKind::HttpProxy => {
                    self.back_end(integration, routed, &reached).await
                }
            },
            None => self.failed(Kind::ApiConfigurationError, &reached),
        }
    }

    /// Who asks, when he may, as far as that can be known without the body. Fails with the answer.
    async fn authorize(&self, routed: &Routed<'_>, method: &Method) -> Result<Authorized, Box<Response>> {
        let reached = Reached { routed: Some(routed), authorized: &NOBODY };
        let authorizer = match method.authorization_type.as_str() {
            "NONE" => return Ok(NOBODY),
            // What its head says. The rest is found out when the body is there.
            "AWS_IAM" => return self.claim(&reached).map(|_| NOBODY),
            "CUSTOM" => method.authorizer_id.as_ref().and_then(|id| self.definition().authorizers.get(id)),
            // Whatever else stands there lets nobody in.
            _ => return Err(Box::new(self.missing_token(&reached))),
        };
        let Some(authorizer) = authorizer else {
            return Err(Box::new(self.failed(Kind::AuthorizerConfigurationError, &reached)));
        };
        let variables = &self.served.stage.variables;
        let details = self.details(routed, &NOBODY);
        let head = v1::head(self.incoming, &details);
        let context = head.get("requestContext").unwrap_or(&Value::Null);
        let refuse = |refused: Refused| Box::new(self.refused(refused, &reached));
        let identities =
            authorizer::identities(authorizer, self.incoming, variables, context).map_err(refuse)?;
        let began = Instant::now();
        let arn = self.method_arn(self.incoming.method.as_str(), &routed.path);
        let key = self.verdict_key(authorizer, &identities);
        let kept = self.gateway.rest_api_verdicts.get(&key, self.incoming.time);
        let verdict = match kept {
            Some(verdict) => verdict,
            None => {
                let event = authorizer::event(authorizer, &identities, &arn, self.incoming, &details);
                let verdict = Arc::new(self.ask(authorizer, &event, &reached).await?);
                let seconds = authorizer.authorizer_result_ttl_in_seconds;
                self.gateway.rest_api_verdicts.keep(key, verdict.clone(), self.incoming.time, seconds);
                verdict
            }
        };
        verdict.allows(&arn).map_err(refuse)?;
        Ok(Authorized {
            context: Some(verdict.context(began.elapsed())),
            named_key: verdict.named_key().map(str::to_owned),
            ..NOBODY
        })
    }

    fn verdict_key(&self, authorizer: &Authorizer, identities: &[Vec<String>]) -> authorizer::Key {
        // A deployment may have changed the authorizer: what an older one said is not asked for again.
        let place = [&self.api.id, &self.served.stage.stage_name, &self.served.deployment.id, &authorizer.id];
        authorizer::Key::new(place.map(String::as_str), identities)
    }

    /// Asks an authorizer's function. Fails with the answer.
    async fn ask(
        &self,
        authorizer: &Authorizer,
        event: &Value,
        reached: &Reached<'_>,
    ) -> Result<authorizer::Verdict, Box<Response>> {
        let source =
            self.api.scope.arn("execute-api", &format!("{}/authorizers/{}", self.api.id, authorizer.id));
        let called = function::call(
            self.gateway,
            self.api,
            Call {
                uri: &authorizer.authorizer_uri,
                credentials: authorizer.authorizer_credentials.as_deref(),
                stage_variables: &self.served.stage.variables,
                source: &source,
                payload: event.to_string().into(),
                // Not the method's run, whose id the request has.
                request_id: RequestId::generate(),
                trace_header: self.trace_header,
                timeout: Duration::from_millis(WHOLE_TIMEOUT_MILLISECONDS.into()),
            },
        )
        .await;
        match called {
            Called::Answer(answer) => authorizer::verdict(&answer)
                .ok_or_else(|| Box::new(self.failed(Kind::AuthorizerConfigurationError, reached))),
            Called::Failed(error) if authorizer::means_unauthorized(&error) => {
                Err(Box::new(self.refused(Refused::Unauthorized, reached)))
            }
            Called::Throttled => Err(Box::new(self.throttled(reached))),
            _ => Err(Box::new(self.failed(Kind::AuthorizerFailure, reached))),
        }
    }

    fn mock(&self, integration: &Integration, reached: &Reached<'_>) -> Response {
        let content_type =
            self.incoming.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        match mock::answer(integration, content_type, &self.incoming.body) {
            Ok(response) => response,
            Err(mock::NoAnswer::UnsupportedMediaType) => self.unsupported_media_type(reached),
            Err(mock::NoAnswer::Misconfigured) => self.failed(Kind::ApiConfigurationError, reached),
        }
    }

    async fn function(
        &self,
        integration: &Integration,
        routed: &Routed<'_>,
        reached: &Reached<'_>,
    ) -> Response {
        // Functions are called with POST; anything else is what Lambda refuses. Recorded from AWS.
        if integration.http_method.as_deref() != Some("POST") {
            return self.failed(Kind::ApiConfigurationError, reached);
        }
        let definition = self.definition();
        let text = |name: HeaderName| self.incoming.headers.get(name).and_then(|value| value.to_str().ok());
        let is_binary = v1::is_binary(text(header::CONTENT_TYPE), &definition.binary_media_types);
        let body = v1::body(&self.incoming.body, is_binary);
        let payload = v1::event(self.incoming, &self.details(routed, reached.authorized), body);
        let source = self.method_arn(self.incoming.method.as_str(), &routed.resource.path);
        let called = function::call(
            self.gateway,
            self.api,
            Call {
                uri: integration.uri.as_deref().unwrap_or_default(),
                credentials: integration.credentials.as_deref().filter(|role| !role.is_empty()),
                stage_variables: &self.served.stage.variables,
                source: &source,
                payload,
                request_id: self.incoming.request_id,
                trace_header: self.trace_header,
                timeout: Duration::from_millis(integration.timeout_in_millis.into()),
            },
        )
        .await;
        let answer = match called {
            Called::Answer(answer) => answer,
            Called::Failed(_) => return self.malformed(reached),
            Called::TimedOut => return self.timed_out(reached),
            Called::Throttled => return self.throttled(reached),
            Called::TooLarge => return self.too_large(reached),
            Called::Unavailable => return self.failed(Kind::ApiConfigurationError, reached),
        };
        let decoding =
            Decoding { accept: text(header::ACCEPT), binary_media_types: &definition.binary_media_types };
        reply::v1::response(&answer, decoding).unwrap_or_else(|malformed| {
            tracing::info!(request_id = %self.incoming.request_id, %malformed, "a function's answer is no response");
            self.malformed(reached)
        })
    }

    fn details<'b>(&'b self, routed: &'b Routed<'_>, authorized: &'b Authorized) -> Details<'b> {
        Details {
            account_id: self.api.scope.account.as_str(),
            api_id: &self.api.id,
            kind: v1::Kind::Rest { deployment_id: &self.served.deployment.id },
            stage: &self.served.stage.stage_name,
            path: self.path,
            path_with_stage: &self.incoming.raw_path,
            resource_path: &routed.resource.path,
            resource_id: &routed.resource.id,
            path_parameters: &routed.path_parameters,
            stage_variables: &self.served.stage.variables,
            authorizer: authorized.context.as_ref(),
            identity: authorized.identity.as_ref(),
            api_key: authorized.grant.as_ref().map(|grant| (grant.key_id.as_str(), grant.value.as_str())),
            trace_header: self.trace_header,
        }
    }

    fn method_arn(&self, method: &str, path: &str) -> String {
        method_arn(&self.api.scope, &self.api.id, &self.served.stage.stage_name, method, path)
    }

    /// An answer of the gateway's own.
    fn say(&self, kind: Kind, status: StatusCode, message: Option<&str>, reached: &Reached<'_>) -> Response {
        static NO_PARAMETERS: BTreeMap<String, String> = BTreeMap::new();
        let happened = Happened {
            kind,
            message,
            incoming: self.incoming,
            stage: &self.served.stage.stage_name,
            stage_variables: &self.served.stage.variables,
            resource_path: reached.routed.map(|routed| routed.resource.path.as_str()),
            path_parameters: reached.routed.map_or(&NO_PARAMETERS, |routed| &routed.path_parameters),
            authorizer: reached.authorized.context.as_ref(),
            identity: reached.authorized.identity.as_ref(),
        };
        respond::respond(self.definition(), &happened, status)
    }

    fn missing_token(&self, reached: &Reached<'_>) -> Response {
        let message = Some("Missing Authentication Token");
        self.say(Kind::MissingAuthenticationToken, StatusCode::FORBIDDEN, message, reached)
    }

    /// 500. Where an authorizer failed AWS says nothing.
    fn failed(&self, kind: Kind, reached: &Reached<'_>) -> Response {
        let of_authorizer = matches!(kind, Kind::AuthorizerFailure | Kind::AuthorizerConfigurationError);
        let message = (!of_authorizer).then_some("Internal server error");
        self.say(kind, StatusCode::INTERNAL_SERVER_ERROR, message, reached)
    }

    fn malformed(&self, reached: &Reached<'_>) -> Response {
        self.say(Kind::Default5xx, StatusCode::BAD_GATEWAY, Some("Internal server error"), reached)
    }

    fn timed_out(&self, reached: &Reached<'_>) -> Response {
        let message = Some("Endpoint request timed out");
        self.say(Kind::IntegrationTimeout, StatusCode::GATEWAY_TIMEOUT, message, reached)
    }

    fn unsupported_media_type(&self, reached: &Reached<'_>) -> Response {
        let (status, message) = (StatusCode::UNSUPPORTED_MEDIA_TYPE, Some("Unsupported Media Type"));
        self.say(Kind::UnsupportedMediaType, status, message, reached)
    }

    fn throttled(&self, reached: &Reached<'_>) -> Response {
        self.say(Kind::Throttled, StatusCode::TOO_MANY_REQUESTS, Some("Too Many Requests"), reached)
    }

    fn too_large(&self, reached: &Reached<'_>) -> Response {
        self.say(Kind::RequestTooLarge, StatusCode::PAYLOAD_TOO_LARGE, Some("Request Too Long"), reached)
    }

    fn refused(&self, refused: Refused, reached: &Reached<'_>) -> Response {
        let (kind, status, message) = match refused {
            Refused::Unauthorized => (Kind::Unauthorized, StatusCode::UNAUTHORIZED, "Unauthorized"),
            Refused::Implicitly => {
                (Kind::AccessDenied, StatusCode::FORBIDDEN, "User is not authorized to access this resource")
            }
            Refused::Explicitly => (
                Kind::AccessDenied,
                StatusCode::FORBIDDEN,
                "User is not authorized to access this resource with an explicit deny",
            ),
        };
        self.say(kind, status, Some(message), reached)
    }

    fn unreadable(&self, error: &BodyError, reached: &Reached<'_>) -> Response {
        match error {
            BodyError::TooLarge { .. } => self.too_large(reached),
            BodyError::NoRoom => no_room(),
            BodyError::Slow | BodyError::Broken => {
                let body = json!({"message": "Request Timeout"}).to_string();
                reply::with_body(StatusCode::REQUEST_TIMEOUT, "application/json", body)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_stand_first_in_paths() {
        for (path, expected) in [
            ("/dev/pets/7", ("dev", "/pets/7")),
            ("/dev", ("dev", "/")),
            ("/dev/", ("dev", "/")),
            ("/", ("", "/")),
            ("//x", ("", "/x")),
        ] {
            assert_eq!(split_stage(path), expected, "{path}");
        }
    }
}
