//! Requests that the gateway makes itself: to the issuers of tokens, and to back ends of APIs.

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::sync::OnceLock;
use std::time::Duration;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(3);

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub enum ClientError {
    /// It took too long.
    TimedOut,
    /// The answer is longer than the bound.
    TooLarge,
    /// No connection, or no HTTP.
    Failed(String),
}

type Pool = HttpClient<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Makes requests over HTTP and HTTPS. The connection pool is made with the first one.
#[derive(Default)]
pub struct Client {
    http: OnceLock<Result<Pool, String>>,
}

impl Client {
    /// Sends a request and reads at most `limit_bytes` of the answer's body.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        timeout: Duration,
        limit_bytes: usize,
    ) -> Result<Response<Bytes>, ClientError> {
        let failed = |error: &dyn std::fmt::Display| ClientError::Failed(error.to_string());
        let http = self.http.get_or_init(connect).as_ref().map_err(|error| failed(error))?;
        let whole = async {
            let response = http.request(request).await.map_err(|error| failed(&chain(&error)))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, limit_bytes).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() { ClientError::TooLarge } else { failed(&error) }
            })?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        tokio::time::timeout(timeout, whole).await.unwrap_or(Err(ClientError::TimedOut))
    }

    /// The document at a URL. Fails in words for the log.
    pub async fn get(&self, url: &str, timeout: Duration, limit_bytes: usize) -> Result<Bytes, String> {
        let uri: Uri = url.parse().map_err(|_| format!("{url} is no URL"))?;
        let request = Request::get(uri)
            .header(http::header::ACCEPT, "application/json")
            .body(Full::default())
            .map_err(|error| format!("{url}: {error}"))?;
        match self.send(request, timeout, limit_bytes).await {
            Ok(response) if response.status() == StatusCode::OK => Ok(response.into_body()),
            Ok(response) => Err(format!("{url} answered {}", response.status())),
            Err(ClientError::TimedOut) => Err(format!("{url} did not answer within {timeout:?}")),
            Err(ClientError::TooLarge) => Err(format!("{url} answered more than {limit_bytes} bytes")),
            Err(ClientError::Failed(error)) => Err(format!("{url}: {error}")),
        }
    }
}

fn connect() -> Result<Pool, String> {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT));
    connector.enforce_http(false);
    let connector = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
        .map_err(|error| format!("failed to read this host's certificates: {error}"))?
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    Ok(HttpClient::builder(TokioExecutor::new()).build(connector))
}

/// An error with its causes: the last one is the one that tells.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
