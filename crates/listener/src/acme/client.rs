//! HTTPS to the authority, with the parts the program has anyway.

use bytes::Bytes;
use http::Request;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// One request; an authority that does not answer is asked again later.
const REQUEST_TIME: Duration = Duration::from_secs(30);

/// Why certificates cannot be got at all.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The file of roots.
    #[error("failed to read the roots in {}: {reason}", path.display())]
    Roots {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The host's roots.
    #[error("failed to read the host's certificate authorities")]
    HostRoots(#[source] std::io::Error),
    /// rustls refuses its own configuration.
    #[error("failed to set up TLS")]
    Tls(#[from] rustls::Error),
    /// The directory for account and certificates.
    #[error("failed to make the directory for certificates")]
    Storage(#[source] std::io::Error),
}

/// A client that can be given away many times.
#[derive(Clone)]
pub(super) struct Https(Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>);

impl Https {
    pub(super) fn new(roots: Option<&Path>) -> Result<Self, ClientError> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?;
        let config = match roots {
            Some(path) => config.with_root_certificates(read_roots(path)?),
            None => config.with_native_roots().map_err(ClientError::HostRoots)?,
        };
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config.with_no_client_auth())
            .https_only()
            .enable_http1()
            .build();
        Ok(Self(Client::builder(TokioExecutor::new()).build(connector)))
    }
}

fn read_roots(path: &Path) -> Result<RootCertStore, ClientError> {
    let context = |reason: String| ClientError::Roots { path: path.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| context(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| context(error.to_string()))?;
        roots.add(certificate).map_err(|error| context(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(context("there is no certificate in it".to_owned()));
    }
    Ok(roots)
}

impl HttpClient for Https {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let sent = self.0.request(request);
        Box::pin(async move {
            match tokio::time::timeout(REQUEST_TIME, sent).await {
                Ok(Ok(response)) => Ok(BytesResponse::from(response)),
                Ok(Err(error)) => Err(Error::Other(Box::new(error))),
                Err(elapsed) => Err(Error::Other(Box::new(elapsed))),
            }
        })
    }
}
