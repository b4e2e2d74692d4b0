//! TLS of a listener: handshakes, and which certificate is shown to whom.
//!
//! Certificates come from files (`Certificates::set_files`) and from a certificate authority (`crate::acme`); both can change while
//! connections are accepted, and the next handshake sees the change.

mod certificate;
mod certificates;

#[cfg(test)]
pub(crate) use certificate::tests::made;
pub use certificate::{Certificate, CertificateError};
pub use certificates::Certificates;

use rustls::crypto::ring;
use rustls::{ProtocolVersion, ServerConfig};
use std::io;
use std::sync::Arc;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Protocol of a certificate authority that looks whether a name is ours. Source: RFC 8737.
pub(crate) const CHALLENGE_PROTOCOL: &[u8] = b"acme-tls/1";

/// Does the handshakes of one listener.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

/// A connection after its handshake.
pub(crate) struct Secured {
    pub stream: TlsStream<TcpStream>,
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: Option<&'static str>,
}

impl Tls {
    /// With what `certificates` holds at each handshake. Fails when there is no randomness for session tickets.
    pub fn new(certificates: Arc<Certificates>) -> Result<Self, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(certificates);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec(), CHALLENGE_PROTOCOL.to_vec()];
        config.ticketer = ring::Ticketer::new()?;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// Shakes hands. `None`: it was a certificate authority's look, and nothing follows.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<Option<Secured>> {
        let mut stream = self.0.accept(stream).await?;
        let connection = stream.get_ref().1;
        if connection.alpn_protocol() == Some(CHALLENGE_PROTOCOL) {
            stream.shutdown().await?;
            return Ok(None);
        }
        let version = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => Some("TLSv1.2"),
            Some(ProtocolVersion::TLSv1_3) => Some("TLSv1.3"),
            _ => None,
        };
        Ok(Some(Secured { stream, version }))
    }
}
