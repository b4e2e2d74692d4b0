//! The gateway's parts, and the way of every request through it.

use crate::address::{self, Addressed};
use crate::client::Client;
use crate::permission::Permissions;
use crate::{Request, Response, http_api, reply, rest_api, url};
use http::{HeaderMap, HeaderValue, Method, header, request::Parts};
use lamplight_invoke::Invoker;
use lamplight_listener::{Memory, Peer, Share, body};
use lamplight_model::{Live, RequestId, Timestamp};
use lamplight_services::metrics::MetricStore;
use lamplight_store::{Logs, Store};
use std::sync::Arc;

/// What a page that came by path form may do: everything but act as a page of this host, which may be the API's, too.
/// Source: Content Security Policy Level 3, "sandbox".
const SANDBOXED: HeaderValue =
    HeaderValue::from_static("sandbox allow-downloads allow-forms allow-modals allow-popups allow-scripts");

/// Gives the present moment.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Settings of the gateway.
#[derive(Clone, Default)]
pub struct GatewayConfig {
    /// Host names (without port) besides loopback: ids stand beneath them, and the path form is served at them.
    pub hosts: Arc<Live<Vec<String>>>,
    /// What the bodies of all requests may take together, until they are answered; by default there is no bound.
    pub memory: Arc<Memory>,
}

/// What the gateway works with; made by the program's wiring.
pub struct GatewayParts {
    /// Function URLs, APIs and what belongs to them.
    pub store: Arc<dyn Store>,
    /// The funnel.
    pub invoker: Arc<Invoker>,
    /// Where requests are counted.
    pub metrics: MetricStore,
    /// Where access logs go.
    pub logs: Arc<dyn Logs>,
    /// Settings.
    pub config: GatewayConfig,
    /// The clock.
    pub clock: Clock,
}

/// Answers requests of function URLs and APIs. A clone is cheap.
#[derive(Clone)]
pub struct Gateway {
    pub(crate) parts: Arc<GatewayParts>,
    pub(crate) urls: Arc<url::Known>,
    pub(crate) http_apis: Arc<http_api::HttpApis>,
    pub(crate) rest_apis: Arc<rest_api::Known>,
    pub(crate) permissions: Arc<Permissions>,
    pub(crate) rest_api_verdicts: Arc<rest_api::Verdicts>,
    pub(crate) rest_api_usage: Arc<rest_api::Usage>,
    pub(crate) client: Arc<Client>,
}

impl Gateway {
    /// Of its parts.
    pub fn new(parts: GatewayParts) -> Self {
        Self {
            parts: Arc::new(parts),
            urls: Arc::default(),
            http_apis: Arc::default(),
            rest_apis: Arc::default(),
            permissions: Arc::default(),
            rest_api_verdicts: Arc::default(),
            rest_api_usage: Arc::default(),
            client: Arc::default(),
        }
    }

    /// What bodies of this sender may take of the memory of all.
    pub(crate) fn memory_of(&self, peer: &Peer) -> Share {
        self.parts.config.memory.of(peer.sender)
    }

    /// Whether a request is for a function URL or an API, by Host or path form; whether there is one of that id
    /// is another question.
    pub fn claims(&self, head: &Parts) -> bool {
        address::find(head, &self.parts.config.hosts.get()).is_some()
    }

    /// Whether a request that `claims` does not take is for a custom domain. Only names that nobody else answers to are looked up.
    pub async fn claims_domain(&self, head: &Parts) -> bool {
        let Some(host) = address::foreign_host(head, &self.parts.config.hosts.get()) else { return false };
        http_api::is_domain(self, &host).await
    }

    /// Answers one request, whatever is wrong with it. One that `claims` would not take gets 404.
    pub async fn answer(&self, request: Request, peer: Peer) -> Response {
        let request_id = RequestId::generate();
        let (head, body) = request.into_parts();
        let address = address::find(&head, &self.parts.config.hosts.get());
        let request = Request::from_parts(head, body);
        if request.method() == Method::CONNECT {
            body::discard(request.into_body()).await;
            return reply::no_tunnel(request_id);
        }
        if is_websocket(request.headers()) {
            body::discard(request.into_body()).await;
            return reply::no_websocket(request_id);
        }
        let Some(address) = address else {
            let mut response = http_api::answer_by_domain(self, request, peer, request_id).await;
            reply::set_request_id(&mut response, request_id);
            return response;
        };
        tracing::debug!(%request_id, method = %request.method(), path = address.path, %peer.remote, "request");
        let mut response = match &address.addressed {
            Addressed::FunctionUrl { id } => url::answer(self, id, &address, request, peer, request_id).await,
            Addressed::Api { id } => match rest_api::find(self, id, address.region.as_ref()).await {
                Ok(Some(api)) => rest_api::answer(self, &api, &address, request, peer, request_id).await,
                Ok(None) => http_api::answer_by_id(self, id, &address, request, peer, request_id).await,
                Err(error) => {
                    tracing::error!(%request_id, error = &error as &dyn std::error::Error, "failed to find an API");
                    body::discard(request.into_body()).await;
                    reply::bad_gateway()
                }
            },
        };
        reply::set_request_id(&mut response, request_id);
        if address.by_path {
            response.headers_mut().append(header::CONTENT_SECURITY_POLICY, SANDBOXED);
        }
        response
    }
}

/// Whether a request asks for a WebSocket. Other upgrades are offers that may be passed over (RFC 9110, 7.8).
fn is_websocket(headers: &HeaderMap) -> bool {
    let protocols = headers.get_all(header::UPGRADE).iter().filter_map(|value| value.to_str().ok());
    protocols
        .flat_map(|value| value.split(','))
        .any(|protocol| protocol.trim().eq_ignore_ascii_case("websocket"))
}
