//! Who may come in: reads a request as far as is needed to know, and whole when it is let through.

use super::{Url, refuse};
use crate::address::Address;
use crate::authorization::{Asked, Claim, Expected, Refusal, RequestHead, UrlTarget, identify, may_use_url};
use crate::incoming::Incoming;
use crate::state::Gateway;
use crate::{Request, Response, reply};
use lamplight_listener::Peer;
use lamplight_model::RequestId;
use lamplight_model::credentials::Identity;
use lamplight_model::limits::SYNC_PAYLOAD_BYTES;

/// The request with who signed it, where the URL wants to know. What cannot be let through whoever signed it is refused
/// before its body is taken in.
///
/// Fails with the answer.
pub async fn admit(
    gateway: &Gateway,
    url: &Url,
    address: &Address,
    request: Request,
    peer: Peer,
    request_id: RequestId,
) -> Result<(Incoming, Option<Identity>), Response> {
    let now = (gateway.parts.clock)();
    let target = UrlTarget {
        scope: &url.scope,
        arn: &url.arn,
        auth_type: &url.stored.auth_type,
        policy: url.policy.as_deref(),
    };
    // The path that is signed is that of the request, also where it names the URL.
    let path = request.uri().path().to_owned();
    let authority = request.uri().authority().map(|authority| authority.as_str().to_owned());
    let (source, is_secure) = (peer.remote.ip(), peer.tls_version.is_some());
    let claim = {
        let head = RequestHead {
            method: request.method().as_str(),
            path: &path,
            query: request.uri().query().unwrap_or_default(),
            headers: request.headers(),
            authority: authority.as_deref(),
        };
        let expected = Expected { service: "lambda", region: url.scope.region.as_str() };
        if url.is_open {
            Ok(None)
        } else if url.stored.is_signed() {
            Claim::read(&head, expected, now).map(Some)
        } else {
            may_use_url(&target, None, &Asked { head, source, is_secure, now }).map(|()| None)
        }
    };
    let claim = match claim {
        Ok(claim) => claim,
        Err(refusal) => return Err(refuse(request, refusal.of_url()).await),
    };
    let bound = (SYNC_PAYLOAD_BYTES, &gateway.memory_of(&peer));
    let incoming = Incoming::read(request, address, peer, bound, request_id, now)
        .await
        .map_err(|error| reply::unreadable(&error))?;
    let Some(claim) = claim else { return Ok((incoming, None)) };
    let head = RequestHead {
        method: incoming.method.as_str(),
        path: &path,
        query: &incoming.raw_query,
        headers: &incoming.headers,
        authority: authority.as_deref(),
    };
    let asked = Asked { head, source, is_secure, now };
    let identified = identify(&gateway.parts, &url.scope.account, &claim, &asked, &incoming.body).await;
    let allowed =
        identified.and_then(|identity| may_use_url(&target, Some(&identity), &asked).map(|()| identity));
    match allowed {
        Ok(identity) => Ok((incoming, Some(identity))),
        Err(refusal) => {
            if refusal == Refusal::Forbidden {
                tracing::info!(%request_id, access_key_id = claim.access_key_id, "no policy allows the request");
            }
            Err(refusal.of_url())
        }
    }
}
