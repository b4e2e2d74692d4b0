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
use lamplight_model::identity::Caller;
use sha2::{Digest as _, Sha256};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Where requests come from that came through the listener inside an instance of `caller`. All functions have one address, but each
/// its own share of memory.
pub fn inside_peer(caller: &Caller) -> impl Fn(Peer) -> Peer + Clone + Send + Sync + 'static {
    let sender = inside_sender(caller);
    move |peer| Peer {
        remote: SocketAddr::new(lamplight_gateway::INSIDE, peer.remote.port()),
        sender,
        ..peer
    }
}

/// An address that stands for a function: a /64 of its own of the unique local addresses (RFC 4193), which nobody connects from
/// but by a chance of one in 2^56.
fn inside_sender(caller: &Caller) -> IpAddr {
    let Caller::Function { arn, .. } = caller else { return lamplight_gateway::INSIDE };
    let digest = Sha256::digest(arn);
    let mut octets = [0; 16];
    octets[0] = 0xfd;
    octets[1..8].copy_from_slice(&digest[..7]);
    Ipv6Addr::from(octets).into()
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

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;
    use lamplight_listener::{Memory, body::read_within};
    use lamplight_model::Scope;
    use std::sync::Arc;

    #[tokio::test]
    async fn a_function_with_many_bodies_leaves_room_for_others() {
        let memory = Arc::new(Memory::new(8 * 1024 * 1024));
        let peer_of = |name: &str, port: u16| {
            let caller = Caller::Function {
                scope: Scope::default(),
                arn: format!("arn:aws:lambda:us-east-1:000000000000:function:{name}"),
                role: String::new(),
            };
            let loopback = SocketAddr::from(([127, 0, 0, 1], port));
            let peer = Peer { remote: loopback, local: loopback, tls_version: None, sender: loopback.ip() };
            inside_peer(&caller)(peer)
        };
        let (greedy, modest) = (peer_of("greedy", 1), peer_of("modest", 2));
        assert_eq!(greedy.remote.ip(), lamplight_gateway::INSIDE);
        assert_eq!(greedy.remote.ip(), modest.remote.ip());
        let read = async |peer: Peer, kib: usize| {
            read_within(Full::from(vec![b'x'; kib * 1024]), usize::MAX, &memory.of(peer.sender)).await
        };
        let mut kept = Vec::new();
        while let Ok(body) = read(greedy, 200).await {
            kept.push(body);
        }
        assert!(kept.len() > 20 && read(peer_of("greedy", 3), 200).await.is_err(), "{}", kept.len());
        // Not its only one, which would pass as long as there is any room.
        let first = read(modest, 200).await.unwrap();
        let second = read(modest, 200).await.unwrap();
        assert_eq!(first, second);
    }
}
