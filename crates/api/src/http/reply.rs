//! Answers in the forms of the protocols: REST-JSON, JSON 1.1, query XML.

use crate::http::xml::element;
use crate::http::{ApiError, Response};
use axum::body::Body;
use http::{HeaderName, HeaderValue, StatusCode, header};
use lamplight_model::RequestId;
use serde_json::{Map, Value};

/// `x-amzn-RequestId`, on every answer.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
/// `x-amzn-ErrorType`, on every error.
pub const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// What a client should wait after 429, seconds.
const RETRY_AFTER_SECONDS: u64 = 1;

/// An answer by its parts.
pub fn with_body(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// REST-JSON.
pub fn json(status: StatusCode, value: &Value) -> Response {
    with_body(status, "application/json", value.to_string())
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// A Lambda error: status, `x-amzn-ErrorType`, `{"Type", "message" | "Message", "Reason"}`.
pub fn rest_json_error(error: &ApiError) -> Response {
    let mut body = Map::new();
    if error.is_modelled() {
        body.insert("Type".to_owned(), error.kind().into());
    }
    if let Some(reason) = error.reason {
        body.insert("Reason".to_owned(), reason.into());
    }
    let member = if error.has_capital_message() { "Message" } else { "message" };
    body.insert(member.to_owned(), error.message.as_str().into());
    let mut response = json(error.status, &Value::Object(body));
    if error.status == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
    }
    set_error_type(&mut response, error);
    response
}

/// JSON 1.1, the protocol of CloudWatch Logs.
pub fn json_1_1(value: &Value) -> Response {
    with_body(StatusCode::OK, "application/x-amz-json-1.1", value.to_string())
}

/// An error of JSON 1.1: always 400 or 500, the code is in `__type`. An empty message is left out.
pub fn json_1_1_error(error: &ApiError) -> Response {
    json_1_1_error_as(error, "message")
}

/// As `json_1_1_error`, for services that name the message otherwise.
pub fn json_1_1_error_as(error: &ApiError, member: &str) -> Response {
    let status = if error.status.is_server_error() { error.status } else { StatusCode::BAD_REQUEST };
    let mut body = serde_json::json!({"__type": error.code});
    if !error.message.is_empty() {
        body[member] = error.message.as_str().into();
    }
    let mut response = with_body(status, "application/x-amz-json-1.1", body.to_string());
    set_error_type(&mut response, error);
    response
}

/// An answer of the query protocol: `<OpResponse xmlns><OpResult>..</OpResult><ResponseMetadata/></OpResponse>`.
///
/// `result` is XML already; `None` leaves the result element out, as operations without output do.
pub fn query_xml(namespace: &str, operation: &str, result: Option<&str>, request_id: RequestId) -> Response {
    let result =
        result.map(|result| format!("<{operation}Result>{result}</{operation}Result>")).unwrap_or_default();
    let body = format!(
        "<{operation}Response xmlns=\"{namespace}\">{result}<ResponseMetadata>{}</ResponseMetadata>\
         </{operation}Response>",
        element("RequestId", &request_id.to_string())
    );
    with_body(StatusCode::OK, "text/xml", body)
}

/// An error of the query protocol.
pub fn query_xml_error(namespace: &str, error: &ApiError, request_id: RequestId) -> Response {
    let kind = if error.status.is_server_error() { "Receiver" } else { "Sender" };
    // The query services write AccessDenied where Lambda writes AccessDeniedException.
    let code = match error.code.as_ref() {
        "ServiceException" => "ServiceFailure",
        code => code.strip_suffix("Exception").unwrap_or(code),
    };
    let body = format!(
        "<ErrorResponse xmlns=\"{namespace}\"><Error>{}{}{}</Error>{}</ErrorResponse>",
        element("Type", kind),
        element("Code", code),
        element("Message", &error.message),
        element("RequestId", &request_id.to_string())
    );
    with_body(error.status, "text/xml", body)
}

fn set_error_type(response: &mut Response, error: &ApiError) {
    if let Ok(value) = HeaderValue::from_str(&error.code) {
        response.headers_mut().insert(ERROR_TYPE, value);
    }
}
