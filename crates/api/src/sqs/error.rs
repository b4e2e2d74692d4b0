//! Errors of SQS. Each has a shape's name, which JSON prints, and an older code, which query prints and the header
//! `x-amzn-query-error` tells clients that were written against it.
//!
//! Source: the SQS service model (`awsQueryError` of each shape) and recorded answers.

use crate::http::xml::element;
use crate::http::{ApiError, Response, reply};
use ::http::{HeaderName, HeaderValue, StatusCode};
use lamplight_model::RequestId;
use lamplight_services::queues::QueueError;

const QUERY_ERROR: HeaderName = HeaderName::from_static("x-amzn-query-error");

/// An error by its shape's name.
pub fn new(shape: &'static str, message: impl Into<String>) -> ApiError {
    ApiError::new(status(shape), shape, message)
}

/// A parameter that must be there.
pub fn missing(name: &str) -> ApiError {
    new("MissingRequiredParameterException", format!("The request must contain the parameter {name}."))
}

/// A parameter with a wrong value.
pub fn invalid(message: impl Into<String>) -> ApiError {
    new("InvalidParameterValueException", message)
}

fn status(shape: &str) -> StatusCode {
    match shape {
        "InvalidAddress" | "ReceiptHandleIsInvalid" | "ResourceNotFoundException" => StatusCode::NOT_FOUND,
        "OverLimit" | "PurgeQueueInProgress" | "AccessDeniedException" => StatusCode::FORBIDDEN,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// The older code of a shape.
fn query_code(shape: &str) -> String {
    match shape {
        "QueueDoesNotExist" => "AWS.SimpleQueueService.NonExistentQueue".to_owned(),
        "QueueNameExists" => "QueueAlreadyExists".to_owned(),
        "BatchEntryIdsNotDistinct"
        | "BatchRequestTooLong"
        | "EmptyBatchRequest"
        | "InvalidBatchEntryId"
        | "MessageNotInflight"
        | "PurgeQueueInProgress"
        | "QueueDeletedRecently"
        | "TooManyEntriesInBatchRequest"
        | "UnsupportedOperation" => format!("AWS.SimpleQueueService.{shape}"),
        "MissingRequiredParameterException" => "MissingParameter".to_owned(),
        "ServiceException" => "InternalFailure".to_owned(),
        "ResourceNotFoundException" => shape.to_owned(),
        other => other.strip_suffix("Exception").unwrap_or(other).to_owned(),
    }
}

/// Where a shape is defined; what every AWS service has in common is not SQS's.
fn namespace(shape: &str) -> &'static str {
    match shape {
        "ResourceNotFoundException" => "com.amazonaws.sqs",
        shape if shape.ends_with("Exception") => "com.amazon.coral.service",
        _ => "com.amazonaws.sqs",
    }
}

/// An error of JSON 1.0.
pub fn json(error: &ApiError) -> Response {
    let kind = format!("{}#{}", namespace(&error.code), error.code);
    let body = serde_json::json!({"__type": kind, "message": error.message});
    let mut response = reply::with_body(error.status, "application/x-amz-json-1.0", body.to_string());
    let fault = if error.status.is_server_error() { "Receiver" } else { "Sender" };
    if let Ok(value) = HeaderValue::from_str(&format!("{};{fault}", query_code(&error.code))) {
        response.headers_mut().insert(QUERY_ERROR, value);
    }
    response
}

/// An error of the query protocol.
pub fn xml(error: &ApiError, request_id: RequestId) -> Response {
    let fault = if error.status.is_server_error() { "Receiver" } else { "Sender" };
    let message = match error.code.as_ref() {
        "QueueDoesNotExist" => "The specified queue does not exist for this wsdl version.",
        _ => &error.message,
    };
    let body = format!(
        "<?xml version=\"1.0\"?><ErrorResponse xmlns=\"{}\"><Error>{}{}{}<Detail/></Error>{}</ErrorResponse>",
        super::answer::NAMESPACE,
        element("Type", fault),
        element("Code", &query_code(&error.code)),
        element("Message", message),
        element("RequestId", &request_id.to_string())
    );
    reply::with_body(error.status, "text/xml", body)
}

/// Code and text of an error that concerns one entry of a batch.
pub fn of_entry(error: &ApiError) -> (String, &str) {
    (query_code(&error.code), &error.message)
}

impl From<QueueError> for ApiError {
    fn from(error: QueueError) -> Self {
        let shape = match &error {
            QueueError::QueueDoesNotExist => "QueueDoesNotExist",
            QueueError::QueueNameExists(_) => "QueueNameExists",
            QueueError::QueueDeletedRecently => "QueueDeletedRecently",
            QueueError::InvalidAttributeName(_) => "InvalidAttributeName",
            QueueError::InvalidAttributeValue(_) => "InvalidAttributeValue",
            QueueError::InvalidParameterValue(_) => "InvalidParameterValueException",
            QueueError::MissingParameter(_) => "MissingRequiredParameterException",
            QueueError::InvalidMessageContents(_) => "InvalidMessageContents",
            QueueError::ReceiptHandleIsInvalid(_) => "ReceiptHandleIsInvalid",
            QueueError::OverLimit(_) => "OverLimit",
            QueueError::PurgeQueueInProgress(_) => "PurgeQueueInProgress",
            QueueError::ResourceNotFound(_) => "ResourceNotFoundException",
            QueueError::UnsupportedOperation(_) => "UnsupportedOperation",
            QueueError::Store(_) => "",
        };
        match error {
            QueueError::Store(store) => store.into(),
            refused => new(shape, refused.to_string()),
        }
    }
}
