//! The other endpoint: AWS, or whatever answers like it. Requests are signed (Signature Version 4) and may go over TLS.

use crate::failure::{Failure, chain};
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http::{Method, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use std::time::{Duration, SystemTime};

/// Largest document taken, bytes.
const DOCUMENT_BYTES: usize = 8 << 20;
/// Largest package taken, bytes: what Lambda unpacks at most.
const PACKAGE_BYTES: usize = 262_144_000;
/// How long an answer may take: a package over a slow line.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A Lambda API that is read from.
pub struct Source {
    endpoint: String,
    region: String,
    credentials: Credentials,
    http: HttpClient<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

impl Source {
    /// `endpoint` without a slash at the end; AWS's own of the region when there is none. Credentials are those that AWS's
    /// tools read from the environment.
    ///
    /// Fails without credentials, and when the host has no certificates to know a TLS server by.
    pub fn open(
        endpoint: Option<&str>,
        region: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Failure> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let (Some(id), Some(secret)) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"))
        else {
            return Err(Failure::usage("there are no credentials for the endpoint to import from")
                .because("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set")
                .then("eval \"$(aws configure export-credentials --format env)\"   takes those of the AWS command line")
                .then("for another Lamplight any will do: AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any"));
        };
        let endpoint = match endpoint {
            None => format!("https://lambda.{region}.amazonaws.com"),
            Some(text) => {
                let plain = text.parse::<Uri>().is_ok_and(|uri| {
                    matches!(uri.scheme_str(), Some("http" | "https"))
                        && uri.path() == "/"
                        && uri.query().is_none()
                });
                if !plain {
                    return Err(Failure::usage(format!("--endpoint-url is \"{text}\", which is no address"))
                        .then("--endpoint-url http://127.0.0.1:9001"));
                }
                text.trim_end_matches('/').to_owned()
            }
        };
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
            .map_err(|error| {
                Failure::usage("failed to read this host's certificates")
                    .because(error)
                    .then("apt-get install ca-certificates")
            })?
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        Ok(Self {
            endpoint,
            region: region.to_owned(),
            credentials: Credentials::new(id, secret, variable("AWS_SESSION_TOKEN"), None, "environment"),
            http: HttpClient::builder(TokioExecutor::new()).build(connector),
        })
    }

    /// Where it is.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The document at `path`; `None` when the endpoint says `ResourceNotFoundException`.
    pub async fn find(&self, path: &str) -> Result<Option<Value>, Failure> {
        let address = format!("{}{path}", self.endpoint);
        let (status, body) = self.get(&address, true, DOCUMENT_BYTES).await?;
        let document: Value = serde_json::from_slice(&body).unwrap_or_default();
        if (200..300).contains(&status) && document.is_object() {
            return Ok(Some(document));
        }
        let text = |name: &str| document.get(name).and_then(Value::as_str);
        let message = text("Message").or_else(|| text("message")).unwrap_or("no reason was given");
        if status == 404 {
            return Ok(None);
        }
        let failure = Failure::usage(format!("{} refused: {message}", self.endpoint))
            .because(format!("status {status}"));
        Err(match status {
            401 | 403 => failure.then("the credentials need lambda:Get* and lambda:List*"),
            _ => failure,
        })
    }

    /// The document at `path`, which is there.
    pub async fn need(&self, path: &str, what: &str) -> Result<Value, Failure> {
        let found = self.find(path).await?;
        found.ok_or_else(|| Failure::usage(format!("{} has no {what}", self.endpoint)))
    }

    /// What is in `member` of all pages of a list.
    pub async fn pages(&self, path: &str, member: &str) -> Result<Vec<Value>, Failure> {
        let mut rows = Vec::new();
        let mut marker: Option<String> = None;
        loop {
            let page = match &marker {
                Some(marker) => format!("{path}?Marker={}", crate::client::segment(marker)),
                None => path.to_owned(),
            };
            let page = self.need(&page, member).await?;
            rows.extend(page.get(member).and_then(Value::as_array).cloned().unwrap_or_default());
            marker = page
                .get("NextMarker")
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
                .map(str::to_owned);
            if marker.is_none() {
                return Ok(rows);
            }
        }
    }

    /// The package behind a `Location`, which is signed already.
    pub async fn download(&self, location: &str, what: &str) -> Result<Bytes, Failure> {
        let (status, body) = self.get(location, false, PACKAGE_BYTES).await?;
        if status == 200 {
            return Ok(body);
        }
        Err(Failure::usage(format!("failed to download {what}")).because(format!("status {status}")))
    }

    async fn get(&self, address: &str, signed: bool, most_bytes: usize) -> Result<(u16, Bytes), Failure> {
        let doing =
            || Failure::usage(format!("failed to ask {}", address.split('?').next().unwrap_or_default()));
        let mut request = http::Request::builder()
            .method(Method::GET)
            .uri(address)
            .header("user-agent", concat!("lamplight/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .map_err(|error| doing().because(error))?;
        if signed {
            self.sign(&mut request).map_err(|error| doing().because(error))?;
        }
        let exchange = async {
            let answer = self.http.request(request).await.map_err(|error| doing().because(chain(&error)))?;
            let status = answer.status().as_u16();
            let body = Limited::new(answer.into_body(), most_bytes)
                .collect()
                .await
                .map_err(|error| doing().because(chain(error.as_ref())))?;
            Ok((status, body.to_bytes()))
        };
        tokio::time::timeout(ANSWER_TIMEOUT, exchange)
            .await
            .unwrap_or_else(|_| Err(doing().because("it did not answer in time")))
    }

    /// Adds the headers of Signature Version 4.
    fn sign(
        &self,
        request: &mut http::Request<Empty<Bytes>>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let identity = self.credentials.clone().into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("lambda")
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()?
            .into();
        let uri = request.uri().to_string();
        let signable = SignableRequest::new("GET", &uri, std::iter::empty(), SignableBody::Bytes(&[]))?;
        let (instructions, _) = sign(signable, &parameters)?.into_parts();
        instructions.apply_to_request_http1x(request);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(endpoint: Option<&str>, variables: &[(&str, &str)]) -> Result<Source, Failure> {
        Source::open(endpoint, "eu-west-1", |name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    const BOTH: &[(&str, &str)] = &[("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret")];

    #[test]
    fn aws_is_meant_unless_another_is_named() {
        assert_eq!(open(None, BOTH).ok().unwrap().endpoint(), "https://lambda.eu-west-1.amazonaws.com");
        assert_eq!(open(Some("http://a:1/"), BOTH).ok().unwrap().endpoint(), "http://a:1");
        for text in ["a:1", "http://a/b", "ftp://a", "http://a/?b"] {
            assert!(open(Some(text), BOTH).err().unwrap().text().contains("no address"), "{text}");
        }
        assert!(open(None, &BOTH[..1]).err().unwrap().text().contains("AWS_SECRET_ACCESS_KEY"));
    }
}
