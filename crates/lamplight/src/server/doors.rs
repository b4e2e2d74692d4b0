//! Which door a request of a listener goes to.
//!
//! The API's listener serves function URLs and APIs, too, told by host name or path, unless the gateway has a listener of its own,
//! where the API never answers. The listener inside an instance always serves both: the API as its function, URLs and APIs as
//! whoever signed the request, or as anyone.

use axum::body::Body;
use http::{Request, Response};
use lamplight_api::FrontDoor;
use lamplight_gateway::Gateway;
use lamplight_listener::{Peer, Received};
use std::net::SocketAddr;

/// The sender of a request that came through the listener inside an instance.
pub fn inside_peer(peer: Peer) -> Peer {
    Peer { remote: SocketAddr::new(lamplight_gateway::INSIDE, peer.remote.port()), ..peer }
}

/// What answers at the API's listener. A clone is cheap.
#[derive(Clone)]
pub struct Doors {
    /// Asked first; `None` when it has a listener of its own.
    pub gateway: Option<Gateway>,
    /// Gets the rest, behind its guard against web pages.
    pub api: FrontDoor,
}

impl Doors {
    /// Answers one request.
    pub async fn answer(self, request: Request<Received>, peer: Peer) -> Response<Body> {
        let (head, body) = request.into_parts();
        let gateway = match self.gateway {
            Some(gateway) if gateway.claims(&head) || gateway.claims_domain(&head).await => Some(gateway),
            _ => None,
        };
        let request = Request::from_parts(head, Body::new(body));
        match gateway {
            Some(gateway) => gateway.answer(request, peer).await,
            None => self.api.answer(request).await,
        }
    }
}
