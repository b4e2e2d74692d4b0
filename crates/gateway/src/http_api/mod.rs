//! HTTP APIs: stage, route, authorizer, integration, and the response that comes of them.
//!
//! ```text
//! path -> stage -> preflight? -> route -> throttle -> authorize -> body -> function | URL -> response, CORS
//! ```
//!
//! Source: API Gateway developer guide, "API Gateway HTTP APIs". Errors are `{"message": …}`, as AWS answers them.

mod access_log;
mod authorize;
mod function;
mod issuer;
mod jwt;
mod known;
mod lambda_authorizer;
mod payload;
mod permission;
mod proxy;
mod routes;
pub(crate) mod throttle;

use crate::address::{self, Address, Addressed};
use crate::event::v2;
use crate::incoming::Incoming;
use crate::measure::{self, Watch};
use crate::state::Gateway;
use crate::{Body, Request, Response, cors, reply, trace};
use authorize::Authorized;
use function::Failure;
use http::{HeaderName, HeaderValue, StatusCode, header};
use known::{Known, Served, ServedStage};
use lamplight_listener::body::BodyError;
use lamplight_listener::{Peer, Share, body};
use lamplight_model::http_api::{
    Cors, Definition, Integration, Route, Stage, function_of_uri, with_stage_variables,
};
use lamplight_model::{RequestId, Scope, function_url};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Largest body of a request, bytes. Source: quotas of HTTP APIs, "Payload size" (10 MB).
const BODY_BYTES: usize = 10 * 1024 * 1024;
/// Content type of a function's answer that names none. Recorded from AWS.
const DEFAULT_TYPE: &str = "text/plain; charset=utf-8";
/// `integrationErrorMessage` of access logs. Source: developer guide, "Troubleshooting issues with HTTP API Lambda integrations"; the
/// last one as seen in access logs of AWS. Others are ours.
const NO_PERMISSION: &str = "The IAM role configured on the integration or API Gateway doesn't have permissions to call the integration. \
                             Check the permissions and try again.";
const NO_RESPONSE: &str =
    "The response from the Lambda function doesn't match the format that API Gateway expects.";
const FUNCTION_FAILED: &str = "The Lambda function returned the following error: Unhandled. Check your Lambda function code and try again.";
/// On every answer of an HTTP API.
const REQUEST_ID: HeaderName = HeaderName::from_static("apigw-requestid");

/// What HTTP APIs keep between requests.
#[derive(Default)]
pub struct HttpApis {
    known: Known,
    issuers: issuer::Issuers,
    verdicts: lambda_authorizer::Verdicts,
    throttles: throttle::Throttles,
}

/// What was seen on the way of a request: for metrics and access logs.
#[derive(Debug, Default)]
struct Seen {
    route_key: Option<String>,
    authorizer: Authorized,
    request_bytes: u64,
    integration: Option<Integrated>,
}

/// How what is behind a route was asked.
#[derive(Debug, Default)]
struct Integrated {
    latency: Duration,
    /// Of the function's answer, or of the back end.
    status: Option<StatusCode>,
    /// Of Lambda, or of the back end.
    service_status: Option<StatusCode>,
    /// Of the call.
    request_id: Option<RequestId>,
    /// What went wrong.
    error: Option<&'static str>,
}

/// Marks an answer of the gateway's own, with its message.
#[derive(Debug, Clone)]
struct OwnAnswer(&'static str);

/// A request that has found its route.
struct Call<'a> {
    scope: &'a Scope,
    api_id: &'a str,
    stage: &'a Stage,
    definition: &'a Definition,
    route: &'a Route,
    path_parameters: Vec<(String, String)>,
    stage_variables: Vec<(String, String)>,
    /// What is left of the path beneath the stage, decoded: as routes are chosen by it, policies are asked about it.
    path: &'a str,
    /// Path of the request's target, as it came.
    target_path: &'a str,
    /// Host and port, where the target names them.
    authority: Option<&'a str>,
    /// Its `raw_path` is what events show: with the stage, decoded.
    incoming: &'a Incoming,
    trace_header: &'a str,
}

impl<'a> Call<'a> {
    fn event_route(&'a self, authorizer: Option<&'a Value>) -> v2::Route<'a> {
        v2::Route {
            route_key: &self.route.route_key,
            stage: &self.stage.stage_name,
            account_id: self.scope.account.as_str(),
            api_id: self.api_id,
            path_parameters: &self.path_parameters,
            stage_variables: &self.stage_variables,
            authorizer,
        }
    }
}

/// Answers a request of the API of an id.
pub async fn answer_by_id(
    gateway: &Gateway,
    id: &str,
    address: &Address,
    request: Request,
    peer: Peer,
    request_id: RequestId,
) -> Response {
    let known = &gateway.http_apis.known;
    match known.api(&*gateway.parts.store, id, address.region.as_ref()).await {
        Ok(Some(served)) => answer(gateway, &served, None, address, request, peer, request_id).await,
        Ok(None) => refuse(request, not_found()).await,
        Err(error) => {
            tracing::error!(%request_id, error = &error as &dyn std::error::Error, "failed to find an API");
            refuse(request, internal_error()).await
        }
    }
}

/// Whether a host name is a custom domain's. What storage cannot tell is none.
pub async fn is_domain(gateway: &Gateway, host: &str) -> bool {
    let found = gateway.http_apis.known.domain(&*gateway.parts.store, host).await;
    found
        .unwrap_or_else(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "failed to find a custom domain");
            None
        })
        .is_some()
}

/// Answers a request that may be for a custom domain: the API of the mapping with the longest key that begins its path. The domain
/// may be one of the gateway's own names, as those are that it gets certificates for.
pub async fn answer_by_domain(
    gateway: &Gateway,
    request: Request,
    peer: Peer,
    request_id: RequestId,
) -> Response {
    let (head, content) = request.into_parts();
    let host = address::host(&head);
    let path = head.uri.path().to_owned();
    let request = Request::from_parts(head, content);
    let Some(host) = host else { return refuse(request, not_found()).await };
    let (known, store) = (&gateway.http_apis.known, &*gateway.parts.store);
    let found = async {
        let Some(domain) = known.domain(store, &host).await? else { return Ok(None) };
        let Some(mapping) = domain.mapping(&path).cloned() else { return Ok(None) };
        Ok(known.api(store, &mapping.api_id, None).await?.map(|served| (served, mapping)))
    };
    match found.await {
        Ok(Some((served, mapping))) => {
            let rest =
                path.trim_start_matches('/').strip_prefix(&mapping.api_mapping_key).unwrap_or_default();
            // An empty key takes the slash along.
            let rest = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
            let addressed = Addressed::Api { id: mapping.api_id.clone() };
            let address =
                Address { addressed, region: None, domain_name: host, path: path.clone(), by_path: false };
            let mapped = Some((mapping.stage.as_str(), rest.as_str(), mapping.api_mapping_key.as_str()));
            answer(gateway, &served, mapped, &address, request, peer, request_id).await
        }
        Ok(None) => refuse(request, not_found()).await,
        Err(error) => {
            let error: lamplight_store::StoreError = error;
            tracing::error!(%request_id, error = &error as &dyn std::error::Error, "failed to find an API");
            refuse(request, internal_error()).await
        }
    }
}

/// Answers a request of an API. `mapped` is the stage, the rest of the path, and the key when a custom domain's mapping says them.
pub async fn answer(
    gateway: &Gateway,
    served: &Served,
    mapped: Option<(&str, &str, &str)>,
    address: &Address,
    request: Request,
    peer: Peer,
    request_id: RequestId,
) -> Response {
    let found = match mapped {
        Some((stage, rest, _)) => served.stage_named(stage).map(|stage| (stage, rest)),
        None if served.by_domain_only => None,
        None => served.stage(&address.path),
    };
    let mut response = match found {
        Some((stage, path)) => {
            let asked = access_log::Asked::of(&served.scope, stage, &request, &peer, (gateway.parts.clock)());
            let mapping = mapped.map(|(_, _, key)| key);
            let tell = |seen: &Seen, response: Option<&Response>, latency| {
                let reached = Reached { served, stage, address, mapping, request_id };
                reached.tell(gateway, asked.as_ref(), seen, response, latency);
            };
            let mut watch = Watch::new(Seen::default(), tell);
            let seen = &mut watch.state;
            let response =
                answer_of_stage(gateway, served, stage, path, address, request, peer, request_id, seen).await;
            watch.answered(&response);
            response
        }
        None => refuse(request, not_found()).await,
    };
    if let Ok(value) = HeaderValue::from_str(&request_id.to_string()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// Which stage a request has reached, and how.
struct Reached<'a> {
    served: &'a Served,
    stage: &'a ServedStage,
    address: &'a Address,
    mapping: Option<&'a str>,
    request_id: RequestId,
}

impl Reached<'_> {
    /// Tells metrics and access log of the request; `response` is none when its client has gone away.
    fn tell(
        &self,
        gateway: &Gateway,
        asked: Option<&access_log::Asked<'_>>,
        seen: &Seen,
        response: Option<&Response>,
        latency: Duration,
    ) {
        let response_bytes = response.map_or(0, measure::bytes);
        measure::http_api(
            gateway,
            &self.served.scope,
            (&self.served.id, &self.stage.stage.stage_name),
            (latency, seen.integration.as_ref().map(|integration| integration.latency)),
            response.map(Response::status),
            seen.request_bytes + response_bytes,
        );
        let Some(asked) = asked else { return };
        let answered = access_log::Answered {
            scope: &self.served.scope,
            api_id: &self.served.id,
            domain_name: &self.address.domain_name,
            domain_prefix: self.address.domain_prefix(),
            path: &self.address.path,
            mapping: self.mapping,
            request_id: self.request_id,
            seen,
            response,
            response_bytes,
            latency,
        };
        access_log::write(gateway, asked, &answered);
    }
}

#[allow(clippy::too_many_arguments)] // Each says another thing about the request, at the one place that calls this.
async fn answer_of_stage(
    gateway: &Gateway,
    served: &Served,
    stage: &ServedStage,
    path: &str,
    address: &Address,
    request: Request,
    peer: Peer,
    request_id: RequestId,
    seen: &mut Seen,
) -> Response {
    let asked_with = request.headers().clone();
    let cors = stage.content.definition.cors.as_ref().map(shared);
    let preflight = cors.as_ref().and_then(|cors| cors::preflight(cors, request.method(), request.headers()));
    if let Some(headers) = preflight {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        *response.headers_mut() = headers;
        return refuse(request, response).await;
    }
    let mut response = routed(gateway, served, stage, path, address, request, peer, request_id, seen).await;
    if let Some(cors) = &cors {
        own_cors(&mut response);
        cors::add_to(cors, &asked_with, response.headers_mut());
    }
    response
}

#[allow(clippy::too_many_arguments)] // Each says another thing about the request, at the one place that calls this.
async fn routed(
    gateway: &Gateway,
    served: &Served,
    stage: &ServedStage,
    path: &str,
    address: &Address,
    request: Request,
    peer: Peer,
    request_id: RequestId,
    seen: &mut Seen,
) -> Response {
    let definition = &stage.content.definition;
    let choice = match stage.content.routes.choose(request.method().as_str(), path) {
        Ok(Some(choice)) => choice,
        Ok(None) => return refuse(request, not_found()).await,
        Err(routes::Undecodable) => {
            return refuse(request, message(StatusCode::BAD_REQUEST, "Bad Request")).await;
        }
    };
    let Some(route) = definition.routes.get(&choice.route_id) else {
        return refuse(request, not_found()).await;
    };
    seen.route_key = Some(route.route_key.clone());
    let now = (gateway.parts.clock)();
    let name = &stage.stage.stage_name;
    if let Some((rate, burst)) = stage.stage.throttle(&route.route_key) {
        let key = format!("{}/{name}/{}", served.id, route.route_id);
        if !gateway.http_apis.throttles.take(&key, rate, burst, now) {
            return refuse(request, message(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests")).await;
        }
    }
    // Who asks is found out before the body is read: what is refused costs no memory.
    let (head, content) = request.into_parts();
    let target = head.uri.clone();
    let without_body = Request::from_parts(head, Body::empty());
    let memory = &gateway.memory_of(&peer);
    let read = Incoming::read(without_body, address, peer, (0, memory), request_id, now).await;
    let Ok(mut incoming) = read else {
        body::discard(content).await;
        return internal_error();
    };
    // HTTP APIs show the path decoded, with the stage that the request named. Source: recorded events of AWS.
    incoming.raw_path = match routes::decoded(&address.path) {
        Ok(path) => path.into_owned(),
        Err(routes::Undecodable) => address.path.clone(),
    };
    let Ok(path) = routes::decoded(path) else {
        body::discard(content).await;
        return message(StatusCode::BAD_REQUEST, "Bad Request");
    };
    let trace_header = trace::of(&incoming.headers, now);
    let pairs = |texts: &lamplight_model::http_api::Texts| {
        texts.iter().map(|(name, value)| (name.clone(), value.clone())).collect::<Vec<_>>()
    };
    let mut call = Call {
        scope: &served.scope,
        api_id: &served.id,
        stage: &stage.stage,
        definition,
        route,
        path_parameters: pairs(&choice.path_parameters),
        stage_variables: pairs(&stage.stage.stage_variables),
        path: &path,
        target_path: target.path(),
        authority: target.authority().map(|authority| authority.as_str()),
        incoming: &incoming,
        trace_header: &trace_header,
    };
    let mut authorized = match authorize::authorize(gateway, &call).await {
        Ok(authorized) => authorized,
        Err(response) => {
            body::discard(content).await;
            return response;
        }
    };
    let whole = match incoming.with_body(content, BODY_BYTES, memory).await {
        Ok(whole) => whole,
        Err(BodyError::TooLarge { .. }) => return too_large(),
        Err(BodyError::NoRoom) => return unavailable(),
        Err(BodyError::Slow) => return message(StatusCode::REQUEST_TIMEOUT, "Request Timeout"),
        Err(BodyError::Broken) => return message(StatusCode::BAD_REQUEST, "Bad Request"),
    };
    seen.request_bytes = whole.body.len() as u64;
    call.incoming = &whole;
    if route.authorization_type == "AWS_IAM" {
        match authorize::by_signature(gateway, &call).await {
            Ok(by_signature) => authorized = by_signature,
            Err(response) => return response,
        }
    }
    let (asked, mut integrated) = (Instant::now(), Integrated::default());
    let mut response = integrate(gateway, memory, &call, &authorized, &mut integrated).await;
    integrated.latency = asked.elapsed();
    (seen.integration, seen.authorizer) = (Some(integrated), authorized);
    trace::tell(response.headers_mut(), &trace_header);
    response
}

async fn integrate(
    gateway: &Gateway,
    memory: &Share,
    call: &Call<'_>,
    authorized: &Authorized,
    integrated: &mut Integrated,
) -> Response {
    let integration = call.route.integration_id().and_then(|id| call.definition.integrations.get(id));
    let Some(integration) = integration else {
        tracing::info!(route = call.route.route_key, "a route has no integration");
        return internal_error();
    };
    let uri = integration.integration_uri.as_deref().unwrap_or_default();
    let uri = with_stage_variables(uri, &call.stage.stage_variables);
    let timeout = Duration::from_millis(integration.timeout_in_millis.unsigned_abs());
    if integration.integration_type == "HTTP_PROXY" {
        // A function reaches no more of the network than its wall lets it, unless somebody allowed it to this one.
        if call.incoming.source == crate::INSIDE && call.route.authorization_type == "NONE" {
            tracing::info!(route = call.route.route_key, "a function may not be passed on unnamed");
            return message(StatusCode::FORBIDDEN, "Forbidden");
        }
        let response = proxy::answer((&gateway.client, memory), call, integration, &uri, timeout).await;
        let answered = response.extensions().get::<OwnAnswer>().is_none().then(|| response.status());
        (integrated.status, integrated.service_status) = (answered, answered);
        return response;
    }
    let Some(target) = function_of_uri(&uri) else {
        tracing::info!(uri, "an integration's URI is no function");
        return internal_error();
    };
    let source = permission::route_arn(call.scope, call.api_id, &call.stage.stage_name, call.route);
    match gateway.permissions.may_call(&*gateway.parts.store, &target, &source).await {
        Ok(true) => {}
        Ok(false) => {
            integrated.error = Some(NO_PERMISSION);
            tracing::info!(
                function = target.arn(),
                source,
                "a function's policy does not let an API call it"
            );
            return internal_error();
        }
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "failed to read a function's policy");
            return internal_error();
        }
    }
    let is_first_format = integration.payload_format_version == "1.0";
    let event = event(call, authorized, integration);
    // A request may call two functions, so the run has an id of its own.
    let run = RequestId::generate();
    integrated.request_id = Some(run);
    let called = function::call(gateway, &target, event, run, call, timeout).await;
    // Lambda answers 200 for a function that failed, too. Source: API reference, Invoke.
    integrated.service_status = matches!(called, Ok(_) | Err(Failure::Failed)).then_some(StatusCode::OK);
    match called {
        Ok(answer) => {
            let response = match is_first_format {
                true => payload::response(&answer, DEFAULT_TYPE),
                false => reply::v2::response(&answer, DEFAULT_TYPE),
            };
            integrated.status = response.as_ref().ok().map(Response::status);
            response.unwrap_or_else(|wrong| {
                integrated.error = Some(NO_RESPONSE);
                tracing::info!(request_id = %call.incoming.request_id, %wrong, "a function's answer is no response");
                internal_error()
            })
        }
        Err(failure) => {
            let (error, response) = match failure {
                Failure::TooLarge => ("The request is larger than a function's event may be.", too_large()),
                Failure::TimedOut => ("The function did not answer in time.", unavailable()),
                Failure::Busy => ("The function was throttled.", unavailable()),
                Failure::Failed => (FUNCTION_FAILED, internal_error()),
            };
            integrated.error = Some(error);
            response
        }
    }
}

fn event(call: &Call<'_>, authorized: &Authorized, integration: &Integration) -> bytes::Bytes {
    match integration.payload_format_version.as_str() {
        "1.0" => {
            let route = call.event_route(authorized.format_1.as_ref());
            payload::event(call.incoming, &route, call.trace_header)
        }
        _ => {
            let route = call.event_route(authorized.format_2.as_ref());
            v2::event(call.incoming, &route, call.trace_header)
        }
    }
}

/// An answer that does not need the body.
async fn refuse(request: Request, response: Response) -> Response {
    body::discard(request.into_body()).await;
    response
}

/// `{"message": …}`.
fn message(status: StatusCode, text: &'static str) -> Response {
    let mut response = reply::with_body(status, "application/json", json!({ "message": text }).to_string());
    response.extensions_mut().insert(OwnAnswer(text));
    response
}

fn not_found() -> Response {
    message(StatusCode::NOT_FOUND, "Not Found")
}

fn too_large() -> Response {
    message(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large")
}

fn unavailable() -> Response {
    message(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable")
}

fn internal_error() -> Response {
    message(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
}

/// The configuration in the type that function URLs have, too.
fn shared(cors: &Cors) -> function_url::Cors {
    function_url::Cors {
        allow_credentials: cors.allow_credentials,
        allow_headers: cors.allow_headers.clone(),
        allow_methods: cors.allow_methods.clone(),
        allow_origins: cors.allow_origins.clone(),
        expose_headers: cors.expose_headers.clone(),
        max_age: cors.max_age,
    }
}

/// Takes away what the back end says about CORS: the API's configuration counts.
///
/// Source: developer guide, "Configuring CORS for HTTP APIs": "API Gateway ignores CORS headers returned from your backend".
fn own_cors(response: &mut Response) {
    for name in [
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        header::ACCESS_CONTROL_ALLOW_METHODS,
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        header::ACCESS_CONTROL_MAX_AGE,
    ] {
        response.headers_mut().remove(name);
    }
}
