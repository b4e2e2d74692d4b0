//! Who is at the other end of a connection.

use std::net::{IpAddr, SocketAddr};

/// What a listener knows about the sender of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The sender's address and port.
    pub remote: SocketAddr,
    /// The address and port it connected to.
    pub local: SocketAddr,
    /// `TLSv1.2` or `TLSv1.3`; `None` on a plain connection.
    pub tls_version: Option<&'static str>,
    /// For whom bodies take memory: the address of `remote`, unless many senders have that one.
    pub sender: IpAddr,
}
