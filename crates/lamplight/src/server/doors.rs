//! Which door a request of a listener goes to.
//!
//! The API's listener serves function URLs and APIs, too, told by host name or path. The listener inside an instance does not:
//! functions call each other with Invoke, as themselves, and nobody's request comes from inside unnamed.

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use lamplight_api::FrontDoor;
use lamplight_gateway::Gateway;
use lamplight_listener::Peer;

/// What answers at the API's listener. A clone is cheap.
#[derive(Clone)]
pub struct Doors {
    /// Asked first.
    pub gateway: Gateway,
    /// Gets the rest, behind its guard against web pages.
    pub api: FrontDoor,
}

impl Doors {
    /// Answers one request.
    pub async fn answer(self, request: Request<Incoming>, peer: Peer) -> Response<Body> {
        let (head, body) = request.into_parts();
        let for_gateway = self.gateway.claims(&head);
        let request = Request::from_parts(head, Body::new(body));
        if for_gateway { self.gateway.answer(request, peer).await } else { self.api.answer(request).await }
    }
}
