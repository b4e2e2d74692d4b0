//! A client of a running server: plain HTTP, JSON in and out, errors that teach.
//!
//! Used by the commands and by `quickstart`. Requests carry a signature scope (the region is in it) with a
//! signature of zeros: there is no authentication yet, and nothing to sign with.

mod endpoint;
mod lambda;
mod url;

pub use endpoint::Endpoint;
pub use lambda::{FUNCTIONS, Invoked, LogLine, segment};

use crate::cli::Global;
use crate::failure::Failure;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use std::time::Duration;

/// Largest answer taken, bytes: a 6 MiB payload as base64 and a ZIP of 50 MiB fit.
const ANSWER_BYTES: usize = 80 * 1024 * 1024;
/// How long a connection may take. Loopback answers at once or never.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take: a function's longest run plus waiting.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(960);

/// Talks to one server about one region.
#[derive(Debug, Clone)]
pub struct Client {
    endpoint: Endpoint,
    region: String,
    http: HttpClient<HttpConnector, Full<Bytes>>,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Client {
    /// From the flags and the environment.
    pub fn from_flags(global: &Global) -> Result<Self, Failure> {
        let endpoint = Endpoint::choose(global.endpoint.as_deref(), |name| std::env::var(name).ok())?;
        let region = global
            .region
            .clone()
            .or_else(|| {
                ["LAMPLIGHT_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"]
                    .iter()
                    .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
            })
            .unwrap_or_else(|| lamplight_model::Region::DEFAULT.to_owned());
        if lamplight_model::Region::parse(&region).is_none() {
            return Err(Failure::usage(format!("\"{region}\" is no region name"))
                .because("a region is 1 to 32 lower-case letters, digits and hyphens")
                .then("--region us-east-1"));
        }
        Ok(Self::new(endpoint, region))
    }

    /// Talks to `endpoint` about `region`.
    pub fn new(endpoint: Endpoint, region: String) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        Self { endpoint, region, http: HttpClient::builder(TokioExecutor::new()).build(connector) }
    }

    /// The region requests are about.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Sends one request. `path` begins with `/` and is already percent-encoded.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, String)],
        body: Bytes,
    ) -> Result<Answer, Failure> {
        let target =
            headers.iter().find(|(name, _)| *name == "x-amz-target").map(|(_, target)| target.as_str());
        let service = match target.and_then(|target| target.split_once('.')) {
            Some(("Logs_20140328", _)) => "logs",
            Some(("AmazonSQS", _)) => "sqs",
            _ => "lambda",
        };
        let mut signed = vec![("authorization", self.authorization(service))];
        signed.extend(headers.iter().cloned());
        self.exchange(method, path, &signed, body).await
    }

    /// Sends one request with these headers and no others that matter.
    async fn exchange(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, String)],
        body: Bytes,
    ) -> Result<Answer, Failure> {
        let endpoint = self.endpoint.as_str();
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("{endpoint}{path}"))
            .header("user-agent", concat!("lamplight/", env!("CARGO_PKG_VERSION")));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| Failure::usage("failed to form the request").because(error))?;
        let exchange = async {
            let answer = self
                .http
                .request(request)
                .await
                .map_err(|error| Failure::unreachable(endpoint, root_cause(&error)))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_BYTES).collect().await.map_err(|error| {
                Failure::unreachable(
                    endpoint,
                    format!("its answer broke off: {}", root_cause(error.as_ref())),
                )
            })?;
            Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
        };
        tokio::time::timeout(ANSWER_TIMEOUT, exchange)
            .await
            .unwrap_or_else(|_| Err(Failure::unreachable(endpoint, "it did not answer in time")))
    }

    /// One operation of SQS.
    pub async fn sqs(&self, operation: &str, request: &Value) -> Result<Value, Failure> {
        let headers = [
            ("content-type", "application/x-amz-json-1.0".to_owned()),
            ("x-amz-target", format!("AmazonSQS.{operation}")),
        ];
        self.read_json(self.send(Method::POST, "/", &headers, Bytes::from(request.to_string())).await?)
    }

    /// Sends one request and reads a JSON answer; an error answer becomes a `Failure`.
    pub async fn json(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        self.read_json(self.send_json(method, path, body).await?)
    }

    /// Sends one request with a JSON body, for callers that look at the status themselves.
    pub async fn send_json(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Failure> {
        let headers = [("content-type", "application/json".to_owned())];
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        self.send(method, path, &headers, body).await
    }

    /// The JSON of a good answer, the `Failure` of a bad one.
    pub fn read_json(&self, answer: Answer) -> Result<Value, Failure> {
        if !answer.status.is_success() {
            return Err(self.refusal(&answer).into_failure());
        }
        if answer.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&answer.body).map_err(|_| self.stranger(&answer))
    }

    /// What an error answer says.
    pub fn refusal(&self, answer: &Answer) -> Refusal {
        let header = answer.headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok());
        let document: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let text = |name: &str| document.get(name).and_then(Value::as_str).map(str::to_owned);
        let code = header.map(str::to_owned).or_else(|| text("__type"));
        let Some(code) = code else {
            return Refusal { code: None, failure: self.stranger(answer) };
        };
        let code =
            code.split([':', '#']).next_back().filter(|code| !code.is_empty()).unwrap_or("Error").to_owned();
        let message = text("message").or_else(|| text("Message")).unwrap_or_default();
        let failure = Failure::usage(format!("the server refused: {message}")).because(&code);
        Refusal { code: Some(code), failure }
    }

    fn stranger(&self, answer: &Answer) -> Failure {
        let begin: String = String::from_utf8_lossy(&answer.body).chars().take(80).collect();
        Failure::unreachable(
            self.endpoint.as_str(),
            format!(
                "what answers there is no Lamplight server (status {}, \"{}\")",
                answer.status,
                begin.trim()
            ),
        )
    }

    /// The header form of AWS Signature Version 4; only the scope in it means something.
    fn authorization(&self, service: &str) -> String {
        let now = lamplight_model::Timestamp::from_system(std::time::SystemTime::now());
        format!(
            "AWS4-HMAC-SHA256 Credential=lamplight/{}/{}/{service}/aws4_request, SignedHeaders=host, Signature={}",
            now.compact_date(),
            self.region,
            "0".repeat(64)
        )
    }
}

/// An error answer of the server.
#[derive(Debug)]
pub struct Refusal {
    /// AWS's name of the error, e.g. `ResourceNotFoundException`; `None` when the answer is not AWS-like.
    pub code: Option<String>,
    failure: Failure,
}

impl Refusal {
    /// As a failure of the command.
    pub fn into_failure(self) -> Failure {
        match self.code.as_deref() {
            Some("TooManyRequestsException") => self
                .failure
                .then("call again in a moment; lamplight serve takes more with LAMPLIGHT_INSTANCES_MOST and LAMPLIGHT_INSTANCES_CONCURRENCY"),
            Some("AccessDeniedException") => {
                self.failure.then("functions may only invoke functions; use the server's own endpoint")
            }
            Some("ServiceException") => self
                .failure
                .then("the server's own log says why (standard error of lamplight serve)")
                .then("functions with egress need a server that allows it: LAMPLIGHT_NETWORK_EGRESS=true"),
            _ => self.failure,
        }
    }
}

/// The innermost error's text: "Connection refused" rather than "client error".
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
