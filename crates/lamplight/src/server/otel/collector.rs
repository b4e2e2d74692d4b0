//! The collector at the other end: where it is, and sending to it.

use crate::config::Otel;
use crate::failure::Failure;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long the collector may take for one request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Attempts for one batch, a pause of `FIRST_PAUSE` doubled each time between them.
const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Of an answer, bytes: only what is wrong is read, to be logged.
const ANSWER_BYTES: usize = 4 * 1024;

pub(super) struct Collector {
    endpoint: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Collector {
    /// `None` without an endpoint.
    pub(super) fn new(config: &Otel) -> Result<Option<Self>, Failure> {
        let endpoint = config.endpoint.trim_end_matches('/');
        if endpoint.is_empty() {
            return Ok(None);
        }
        let wrong = |why: &str| {
            Failure::usage(format!("otel.endpoint {endpoint} cannot be used"))
                .because(why)
                .then("LAMPLIGHT_OTEL_ENDPOINT=http://127.0.0.1:4318   (an OpenTelemetry collector's port for HTTP)")
        };
        let uri: Uri = endpoint.parse().map_err(|_| wrong("it is no URL"))?;
        if uri.scheme_str() != Some("http") || uri.host().is_none() {
            return Err(wrong(
                "it does not begin with http:// (a collector beside this server takes TLS further)",
            ));
        }
        let headers = config.headers.iter().map(|text| header(text)).collect::<Result<_, _>>()?;
        let client = Client::builder(TokioExecutor::new()).build_http();
        Ok(Some(Self { endpoint: endpoint.to_owned(), headers, client }))
    }

    /// Sends one batch; tries again what may succeed later. What is given up is logged. After `stop` there is one attempt.
    pub(super) async fn send(&self, path: &str, body: Value, rows: usize, stop: &CancellationToken) {
        let body = Bytes::from(body.to_string());
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=ATTEMPTS {
            let error = match tokio::time::timeout(TIMEOUT, self.post(path, body.clone())).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error,
                Err(_) => SendError::Later("no answer in time".to_owned()),
            };
            let (why, last) = match error {
                SendError::Later(why) => (why, attempt == ATTEMPTS || stop.is_cancelled()),
                SendError::Never(why) => (why, true),
            };
            if last {
                tracing::warn!(endpoint = self.endpoint, path, rows, why, "gave up exporting telemetry");
                return;
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
            pause *= 2;
        }
    }

    async fn post(&self, path: &str, body: Bytes) -> Result<(), SendError> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}/{path}", self.endpoint))
            .header(header::CONTENT_TYPE, "application/json");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body)).map_err(|error| SendError::Never(error.to_string()))?;
        let answer = self
            .client
            .request(request)
            .await
            .map_err(|error| SendError::Later(crate::failure::chain(&error)))?;
        let status = answer.status();
        // Read, so that the connection is used again.
        let said = Limited::new(answer.into_body(), ANSWER_BYTES).collect().await;
        if status.is_success() {
            return Ok(());
        }
        let said =
            said.map(|whole| String::from_utf8_lossy(&whole.to_bytes()).into_owned()).unwrap_or_default();
        let why = format!("{status} {said}");
        // Source: OTLP/HTTP, "Retryable Response Codes".
        Err(match status {
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => SendError::Later(why),
            _ => SendError::Never(why),
        })
    }
}

enum SendError {
    Later(String),
    Never(String),
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), Failure> {
    let parsed = text.split_once('=').and_then(|(name, value)| {
        Some((name.trim().parse::<HeaderName>().ok()?, value.trim().parse::<HeaderValue>().ok()?))
    });
    parsed.ok_or_else(|| {
        // The value may be a secret.
        let name = text.split('=').next().unwrap_or_default();
        Failure::usage(format!("otel.headers: \"{name}\" is no header")).then("an example: x-api-key=secret")
    })
}
