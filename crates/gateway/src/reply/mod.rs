//! From what a function or the gateway says to a response.

pub mod stream;
pub mod v1;
pub mod v2;

use crate::{Body, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use lamplight_listener::body::BodyError;
use lamplight_model::limits::SYNC_PAYLOAD_BYTES;
use lamplight_model::{ErrorCode, RequestId, ServiceError};
use serde_json::json;

/// `x-amzn-RequestId`, on every answer.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
/// `x-amzn-ErrorType`, on errors of the gateway.
pub const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// Header fields that a function's answer may have. A map of headers holds 24,576 names and panics beyond; the gateway's own come on
/// top of these. AWS bounds bytes (10,240 for an API), which says less.
pub(crate) const MOST_FIELDS: usize = 10_000;

/// An answer by its parts.
pub fn with_body(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// An error of a function URL: `{"Message": …}` and `x-amzn-ErrorType`.
pub fn url_error(status: StatusCode, error_type: &'static str, message: Option<&str>) -> Response {
    let mut response = with_body(status, "application/json", json!({ "Message": message }).to_string());
    response.headers_mut().insert(ERROR_TYPE, HeaderValue::from_static(error_type));
    response
}

/// The answer of a function URL that nobody made. Recorded from AWS: 403, no message.
pub fn unknown_url() -> Response {
    url_error(StatusCode::FORBIDDEN, "AccessDeniedException", None)
}

/// The answer to who may not call a function URL. Recorded from AWS.
pub fn forbidden() -> Response {
    let text = "Forbidden. For troubleshooting Function URL authorization issues, see: \
                https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html";
    url_error(StatusCode::FORBIDDEN, "AccessDeniedException", Some(text))
}

/// The answer to a request whose event is too large. The text is that of Invoke.
pub fn too_large() -> Response {
    let text =
        format!("Request must be smaller than {SYNC_PAYLOAD_BYTES} bytes for the InvokeFunction operation");
    url_error(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLargeException", Some(&text))
}

/// The answer to a request whose body could not be read.
pub fn unreadable(error: &BodyError) -> Response {
    match error {
        BodyError::TooLarge { .. } => too_large(),
        BodyError::NoRoom => {
            url_error(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", Some("Service Unavailable"))
        }
        BodyError::Slow => {
            url_error(StatusCode::REQUEST_TIMEOUT, "RequestTimeout", Some("The body took too long."))
        }
        BodyError::Broken => {
            url_error(StatusCode::BAD_REQUEST, "BadRequest", Some("The body could not be read."))
        }
    }
}

/// The answer for a function that failed, or said what is no response: recorded from AWS, and all a client is told.
pub fn bad_gateway() -> Response {
    with_body(StatusCode::BAD_GATEWAY, "application/json", "Internal Server Error")
}

/// The answer to a request that could not be begun.
pub fn not_begun(error: &ServiceError, is_draining: bool) -> Response {
    if error.code == ErrorCode::TooManyRequestsException {
        // The document of Invoke.
        let body = json!({ "Reason": error.reason, "Type": "User", "message": error.message }).to_string();
        let mut response = with_body(StatusCode::TOO_MANY_REQUESTS, "application/json", body);
        response.headers_mut().insert(ERROR_TYPE, HeaderValue::from_static("TooManyRequestsException"));
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        return response;
    }
    if is_draining {
        return url_error(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", Some("Service Unavailable"));
    }
    bad_gateway()
}

/// The answer of an API that nobody made, or of a route it does not have.
pub fn unknown_api() -> Response {
    with_body(StatusCode::NOT_FOUND, "application/json", json!({ "message": "Not Found" }).to_string())
}

/// The answer to who asks for a WebSocket. AWS's text is not published.
pub fn no_websocket(request_id: RequestId) -> Response {
    let text = "WebSocket upgrades are not served: a function answers one request with one response.";
    let mut response =
        with_body(StatusCode::BAD_REQUEST, "application/json", json!({ "message": text }).to_string());
    set_request_id(&mut response, request_id);
    response
}

/// The answer to `CONNECT`: a function's success would tell the client, and whatever proxy is between, that what follows is no
/// HTTP any more (RFC 9110, 9.3.6). AWS's text is not published.
pub fn no_tunnel(request_id: RequestId) -> Response {
    let text = "CONNECT is not served: there is nothing to tunnel to.";
    let body = json!({ "message": text }).to_string();
    let mut response = with_body(StatusCode::METHOD_NOT_ALLOWED, "application/json", body);
    set_request_id(&mut response, request_id);
    response
}

/// Says which request this answers.
pub fn set_request_id(response: &mut Response, request_id: RequestId) {
    let mut text = uuid::Uuid::encode_buffer();
    if let Ok(value) = HeaderValue::from_str(request_id.0.hyphenated().encode_lower(&mut text)) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
}
