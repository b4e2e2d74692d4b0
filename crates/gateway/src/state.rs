//! The gateway's parts, and the way of every request through it.

use crate::address::{self, Addressed};
use crate::{Request, Response, reply};
use http::{HeaderValue, header, request::Parts};
use lamplight_invoke::Invoker;
use lamplight_listener::{Peer, body};
use lamplight_model::{Live, RequestId, Timestamp};
use lamplight_store::Store;
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
}

/// What the gateway works with; made by the program's wiring.
pub struct GatewayParts {
    /// Function URLs, APIs and what belongs to them.
    pub store: Arc<dyn Store>,
    /// The funnel.
    pub invoker: Arc<Invoker>,
    /// Settings.
    pub config: GatewayConfig,
    /// The clock.
    pub clock: Clock,
}

/// Answers requests of function URLs and APIs. A clone is cheap.
#[derive(Clone)]
pub struct Gateway {
    pub(crate) parts: Arc<GatewayParts>,
}

impl Gateway {
    /// Of its parts.
    pub fn new(parts: GatewayParts) -> Self {
        Self { parts: Arc::new(parts) }
    }

    /// Whether a request is for a function URL or an API, by Host or path form; whether there is one of that id
    /// is another question.
    pub fn claims(&self, head: &Parts) -> bool {
        address::find(head, &self.parts.config.hosts.get()).is_some()
    }

    /// Answers one request, whatever is wrong with it. One that `claims` would not take gets 404.
    pub async fn answer(&self, request: Request, peer: Peer) -> Response {
        let request_id = RequestId(uuid::Uuid::new_v4());
        let (head, body) = request.into_parts();
        let address = address::find(&head, &self.parts.config.hosts.get());
        let request = Request::from_parts(head, body);
        let Some(address) = address else {
            body::discard(request.into_body()).await;
            let mut response = reply::unknown_api();
            reply::set_request_id(&mut response, request_id);
            return response;
        };
        tracing::debug!(%request_id, method = %request.method(), path = address.path, %peer.remote, "request");
        let mut response = match &address.addressed {
            Addressed::FunctionUrl { .. } => {
                body::discard(request.into_body()).await;
                reply::unknown_url()
            }
            Addressed::Api { .. } => {
                body::discard(request.into_body()).await;
                reply::unknown_api()
            }
        };
        reply::set_request_id(&mut response, request_id);
        if address.by_path {
            response.headers_mut().append(header::CONTENT_SECURITY_POLICY, SANDBOXED);
        }
        response
    }
}
