//! The Telemetry API, version 2022-07-01, and its predecessor, the Logs API, version 2020-08-15: one request each, to subscribe.
//!
//! Source: AWS Lambda developer guide, "Lambda Telemetry API reference", "Lambda Logs API"; error types of closed subscriptions as
//! AWS's emulator.

use super::exchange::Exchange;
use super::extensions::{forbidden, identifier};
use super::service::{Body, Uncollected, collect, json, refuse};
use crate::telemetry::{Api, SubscribeRefusal, parse};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use std::sync::Arc;

/// Largest body of a request, bytes.
const REQUEST_BYTES: usize = 64 * 1024;

/// Which API a path is of.
pub fn api_of(path: &str) -> Option<Api> {
    match path.trim_end_matches('/') {
        "/2022-07-01/telemetry" => Some(Api::Telemetry),
        "/2020-08-15/logs" => Some(Api::Logs),
        _ => None,
    }
}

/// Answers a request to one of the two paths.
pub async fn subscribe(exchange: &Arc<Exchange>, api: Api, request: Request<Incoming>) -> Response<Body> {
    if request.method() != Method::PUT {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "Method not allowed");
    }
    let (parts, body) = request.into_parts();
    let invalid = |message: &str| refuse(StatusCode::BAD_REQUEST, api.validation_error(), message);
    let body = match collect(body, REQUEST_BYTES).await {
        Ok(body) => body,
        Err(Uncollected::TooLarge) => return invalid("the request is too large"),
        Err(Uncollected::Broken) => return invalid("the request was truncated"),
    };
    let extension = match identifier(&parts.headers).and_then(|id| exchange.extension_name(id)) {
        Ok(extension) => extension,
        Err(refusal) => return forbidden(&refusal),
    };
    let Some(telemetry) = &exchange.surroundings.telemetry else {
        // As AWS's emulator, so that extensions go on without.
        let name = prefix(api);
        let message = format!("{name} API is not supported");
        return refuse(StatusCode::ACCEPTED, &format!("{name}.NotSupported"), &message);
    };
    let subscription = match parse(api, &body) {
        Ok(subscription) => subscription,
        Err(problems) => return invalid(&problems),
    };
    match telemetry.subscribe(&extension, subscription) {
        Ok(()) => json(StatusCode::OK, r#""OK""#.to_owned()),
        Err(SubscribeRefusal::Closed) => {
            let (name, message) = (prefix(api), format!("{} API subscription is closed", prefix(api)));
            refuse(StatusCode::FORBIDDEN, &format!("{name}.SubscriptionClosed"), &message)
        }
        // Neither status nor text of AWS's are recorded anywhere we know of.
        Err(SubscribeRefusal::OtherApi) => invalid("the extension has subscribed by the other API already"),
    }
}

fn prefix(api: Api) -> &'static str {
    match api {
        Api::Telemetry => "Telemetry",
        Api::Logs => "Logs",
    }
}
