//! What CloudWatch is told of requests: how many, how many errors, how long.
//!
//! Source: Lambda developer guide, "Monitoring Lambda function URLs"; API Gateway developer guide, "Work with metrics for HTTP APIs"
//! and "Amazon API Gateway dimensions and metrics". Errors are values of 0 and 1, so that `Average` is their rate, as AWS has it.

use crate::Response;
use crate::state::Gateway;
use http::StatusCode;
use http_body::Body as _;
use lamplight_model::{FunctionName, Qualifier, Scope};
use lamplight_services::metrics::{Group, Measured};
use std::time::{Duration, Instant};

const COUNT: &str = "Count";
const MILLISECONDS: &str = "Milliseconds";
const BYTES: &str = "Bytes";

/// A request that is being answered. What is to be told of it is told once: with the answer, or without one when its client goes away,
/// and the future that works on it is dropped. The function runs on then, and the request is counted as one that is no error.
pub struct Watch<State, Tell>
where
    Tell: FnOnce(&State, Option<&Response>, Duration),
{
    /// What is seen on its way.
    pub state: State,
    began: Instant,
    tell: Option<Tell>,
}

impl<State, Tell> Watch<State, Tell>
where
    Tell: FnOnce(&State, Option<&Response>, Duration),
{
    /// One that begins now.
    pub fn new(state: State, tell: Tell) -> Self {
        Self { state, began: Instant::now(), tell: Some(tell) }
    }

    /// It has been answered.
    pub fn answered(mut self, response: &Response) {
        self.tell(Some(response));
    }

    fn tell(&mut self, response: Option<&Response>) {
        if let Some(tell) = self.tell.take() {
            tell(&self.state, response, self.began.elapsed());
        }
    }
}

impl<State, Tell> Drop for Watch<State, Tell>
where
    Tell: FnOnce(&State, Option<&Response>, Duration),
{
    fn drop(&mut self) {
        self.tell(None);
    }
}

/// A function URL has answered; a streamed answer has begun. By `FunctionName`, and by `Resource` (`name:alias`, `name:$LATEST`)
/// beside it.
pub fn url(
    gateway: &Gateway,
    scope: &Scope,
    function: &FunctionName,
    qualifier: Option<&Qualifier>,
    latency: Duration,
    status: Option<StatusCode>,
) {
    let resource = match qualifier {
        Some(qualifier) => format!("{function}:{qualifier}"),
        None => format!("{function}:$LATEST"),
    };
    let group = Group {
        scope: scope.clone(),
        namespace: "AWS/Lambda",
        dimensions: vec![("FunctionName", function.to_string()), ("Resource", resource)],
        series: &[1, 2],
    };
    let (client, server) = errors(status);
    tell(
        gateway,
        group,
        &[
            ("UrlRequestCount", COUNT, 1.0),
            ("Url4xxCount", COUNT, client),
            ("Url5xxCount", COUNT, server),
            ("UrlRequestLatency", MILLISECONDS, milliseconds(latency)),
        ],
    );
}

/// A stage of an HTTP API has answered: by `ApiId`, and by `Stage` beside it. `integration` is how long what is behind the route took,
/// where it was asked; `bytes` are those of both bodies.
pub fn http_api(
    gateway: &Gateway,
    scope: &Scope,
    (api_id, stage): (&str, &str),
    (whole, integration): (Duration, Option<Duration>),
    status: Option<StatusCode>,
    bytes: u64,
) {
    let group = Group {
        scope: scope.clone(),
        namespace: "AWS/ApiGateway",
        dimensions: vec![("ApiId", api_id.to_owned()), ("Stage", stage.to_owned())],
        series: &[1, 2],
    };
    let (client, server) = errors(status);
    let mut values = vec![
        ("Count", COUNT, 1.0),
        ("4xx", COUNT, client),
        ("5xx", COUNT, server),
        ("Latency", MILLISECONDS, milliseconds(whole)),
        ("DataProcessed", BYTES, bytes as f64),
    ];
    values.extend(integration.map(|time| ("IntegrationLatency", MILLISECONDS, milliseconds(time))));
    tell(gateway, group, &values);
}

/// A stage of a REST API has answered: by `ApiName`, which is its name and not its id, and by `Stage` beside it.
pub fn rest_api(
    gateway: &Gateway,
    scope: &Scope,
    (name, stage): (&str, &str),
    (whole, integration): (Duration, Option<Duration>),
    status: Option<StatusCode>,
) {
    let group = Group {
        scope: scope.clone(),
        namespace: "AWS/ApiGateway",
        dimensions: vec![("ApiName", name.to_owned()), ("Stage", stage.to_owned())],
        series: &[1, 2],
    };
    let (client, server) = errors(status);
    let mut values = vec![
        ("Count", COUNT, 1.0),
        ("4XXError", COUNT, client),
        ("5XXError", COUNT, server),
        ("Latency", MILLISECONDS, milliseconds(whole)),
    ];
    values.extend(integration.map(|time| ("IntegrationLatency", MILLISECONDS, milliseconds(time))));
    tell(gateway, group, &values);
}

/// Bytes of a response's body; 0 where they are not known before it has been sent.
pub fn bytes(response: &Response) -> u64 {
    response.body().size_hint().exact().unwrap_or(0)
}

fn tell(gateway: &Gateway, group: Group, values: &[Measured]) {
    gateway.parts.metrics.gather(group, (gateway.parts.clock)(), values);
}

/// Whether a status is the client's error, and whether it is ours.
fn errors(status: Option<StatusCode>) -> (f64, f64) {
    let is = |kind: fn(&StatusCode) -> bool| f64::from(u8::from(status.as_ref().is_some_and(kind)));
    (is(StatusCode::is_client_error), is(StatusCode::is_server_error))
}

/// Whole ones, as AWS measures.
fn milliseconds(time: Duration) -> f64 {
    time.as_millis() as f64
}
