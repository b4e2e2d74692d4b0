//! A request as events are made of it: everything a function is told, read and bounded.

use crate::address::Address;
use crate::{Body, Request};
use bytes::Bytes;
use http::{HeaderMap, Method, Version};
use lamplight_listener::body::{self, BodyError};
use lamplight_listener::{Peer, Share};
use lamplight_model::{RequestId, Timestamp};
use std::net::IpAddr;

/// One request, whole.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// Method.
    pub method: Method,
    /// Path beneath what was addressed, percent-encoded as it came.
    pub raw_path: String,
    /// Query string as it came, without the question mark; empty when there is none.
    pub raw_query: String,
    /// Headers; values of one name in the order they came.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
    /// Address of whoever sent it.
    pub source: IpAddr,
    /// `HTTP/1.1` and the like.
    pub protocol: &'static str,
    /// `TLSv1.3` and the like; `None` when it came in the clear.
    pub tls_version: Option<&'static str>,
    /// Port it came to.
    pub port: u16,
    /// Host name it was sent to, without port, lower-case.
    pub domain_name: String,
    /// The first label of that name, or the id that the path named.
    pub domain_prefix: String,
    /// Its id; also the invocation's.
    pub request_id: RequestId,
    /// When it came.
    pub time: Timestamp,
}

impl Incoming {
    /// Reads a request whose body has at most `limit_bytes`, into what its sender may take of the memory of the gateway's bodies. Fails as `body::read_within` does.
    pub async fn read(
        request: Request,
        address: &Address,
        peer: Peer,
        (limit_bytes, memory): (usize, &Share),
        request_id: RequestId,
        time: Timestamp,
    ) -> Result<Self, BodyError> {
        let (head, body) = request.into_parts();
        let body = body::read_within(body, limit_bytes, memory).await?;
        Ok(Self {
            method: head.method,
            raw_path: address.path.clone(),
            raw_query: head.uri.query().unwrap_or_default().to_owned(),
            headers: head.headers,
            body,
            source: peer.remote.ip().to_canonical(),
            protocol: protocol(head.version),
            tls_version: peer.tls_version,
            port: peer.local.port(),
            domain_name: address.domain_name.clone(),
            domain_prefix: address.domain_prefix().to_owned(),
            request_id,
            time,
        })
    }

    /// The same request with its body of at most `limit_bytes`, for who had to be asked about first. Fails as `read` does.
    pub async fn with_body(
        &self,
        content: Body,
        limit_bytes: usize,
        memory: &Share,
    ) -> Result<Self, BodyError> {
        let body = body::read_within(content, limit_bytes, memory).await?;
        Ok(Self { body, ..self.clone() })
    }

    /// A request of these headers and this query string, for tests.
    #[cfg(test)]
    pub(crate) fn of_test(headers: HeaderMap, raw_query: &str) -> Self {
        Self {
            method: Method::GET,
            raw_path: "/dev/pets/7".to_owned(),
            raw_query: raw_query.to_owned(),
            headers,
            body: Bytes::new(),
            source: [127, 0, 0, 1].into(),
            protocol: "HTTP/1.1",
            tls_version: None,
            port: 9000,
            domain_name: "abc.execute-api.us-east-1.localhost".to_owned(),
            domain_prefix: "abc".to_owned(),
            request_id: RequestId(uuid::Uuid::from_u128(7)),
            time: Timestamp(0),
        }
    }

    /// `https` or `http`.
    pub fn scheme(&self) -> &'static str {
        if self.tls_version.is_some() { "https" } else { "http" }
    }
}

/// Whether a header tells of the connection's encryption. Events have what the connection has: what a client says of it is left out,
/// as AWS's balancers replace it.
pub(crate) fn tells_encryption(name: &str) -> bool {
    matches!(name, "x-amzn-tls-version" | "x-amzn-tls-cipher-suite")
}

/// The protocol as AWS prints it.
pub(crate) fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}
