//! Errors as API Gateway writes them: `{"message"}` and the code in a header. Its own codes, beside those all services share.

use crate::http::reply::ERROR_TYPE;
use crate::http::{ApiError, Response, reply};
use http::{HeaderValue, StatusCode};
use serde_json::json;

/// 404 `NotFoundException`.
pub fn not_found(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "NotFoundException", message)
}

/// 400 `BadRequestException`.
pub fn bad_request(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "BadRequestException", message)
}

/// 409 `ConflictException`.
pub fn conflict(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::CONFLICT, "ConflictException", message)
}

/// 400: something real that this release does not have, by name.
pub fn unsupported(what: &str) -> ApiError {
    bad_request(format!("Lamplight does not support {what} yet."))
}

/// 400 `ValidationException` for a value outside of an enumeration, in the words of the service's front end.
pub fn not_one_of(value: &str, path: &str, values: &[&str]) -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        "ValidationException",
        format!(
            "1 validation error detected: Value '{value}' at '{path}' failed to satisfy constraint: Member must satisfy \
             enum value set: [{}]",
            values.join(", ")
        ),
    )
}

/// The error on the wire.
pub fn answer(error: &ApiError) -> Response {
    let mut response = reply::json(error.status, &json!({ "message": error.message }));
    if let Ok(value) = HeaderValue::from_str(&error.code) {
        response.headers_mut().insert(ERROR_TYPE, value);
    }
    response
}
