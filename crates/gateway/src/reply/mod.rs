//! From what a function or the gateway says to a response.

use crate::{Body, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use lamplight_model::RequestId;
use serde_json::json;

/// `x-amzn-RequestId`, on every answer.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
/// `x-amzn-ErrorType`, on errors of the gateway.
pub const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// An answer by its parts.
pub fn with_body(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// The answer of a function URL that nobody made. Recorded from AWS: 403, no message.
pub fn unknown_url() -> Response {
    let body = json!({ "Message": null }).to_string();
    let mut response = with_body(StatusCode::FORBIDDEN, "application/json", body);
    response.headers_mut().insert(ERROR_TYPE, HeaderValue::from_static("AccessDeniedException"));
    response
}

/// The answer of an API that nobody made, or of a route it does not have.
pub fn unknown_api() -> Response {
    with_body(StatusCode::NOT_FOUND, "application/json", json!({ "message": "Not Found" }).to_string())
}

/// Says which request this answers.
pub fn set_request_id(response: &mut Response, request_id: RequestId) {
    let mut text = uuid::Uuid::encode_buffer();
    if let Ok(value) = HeaderValue::from_str(request_id.0.hyphenated().encode_lower(&mut text)) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
}
