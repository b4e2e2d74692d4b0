//! Errors on the wire. One type for all protocols; each protocol prints it in its own form.
//!
//! Source of statuses and of the case of the message member: the service models and recorded answers
//! (facts sheet "Lambda surface", 1.3).

use http::StatusCode;
use lamplight_model::{ErrorCode, ServiceError};
use lamplight_store::StoreError;
use std::borrow::Cow;

/// An error a client can read: status, code, text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// HTTP status.
    pub status: StatusCode,
    /// The exception's name, e.g. `ResourceNotFoundException`.
    pub code: Cow<'static, str>,
    /// What, why, and what to do.
    pub message: String,
    /// `Reason` of `TooManyRequestsException`.
    pub reason: Option<&'static str>,
}

impl ApiError {
    /// An error by its parts.
    pub fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { status, code: code.into(), message: message.into(), reason: None }
    }

    /// 400 `InvalidParameterValueException`.
    pub fn invalid_parameter(message: impl Into<String>) -> Self {
        ServiceError::new(ErrorCode::InvalidParameterValueException, message).into()
    }

    /// 400 `SerializationException`: a member of the request has the wrong JSON type.
    pub fn serialization(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "SerializationException", message)
    }

    /// 404 `ResourceNotFoundException`.
    pub fn not_found(message: impl Into<String>) -> Self {
        ServiceError::new(ErrorCode::ResourceNotFoundException, message).into()
    }

    /// 409 `ResourceConflictException`.
    pub fn conflict(message: impl Into<String>) -> Self {
        ServiceError::new(ErrorCode::ResourceConflictException, message).into()
    }

    /// 400 `NotImplementedException`: a real operation that this release does not serve. The status is in
    /// the 400 class because SDKs retry what is in the 500 class.
    pub fn not_supported(service: &str, operation: &str) -> Self {
        ServiceError::new(
            ErrorCode::NotImplementedException,
            format!("Lamplight does not support {service}:{operation} yet."),
        )
        .into()
    }

    /// 413 `RequestEntityTooLargeException`.
    pub fn entity_too_large(message: impl Into<String>) -> Self {
        ServiceError::new(ErrorCode::RequestEntityTooLargeException, message).into()
    }

    /// `Type` of the modelled Lambda errors.
    pub fn kind(&self) -> &'static str {
        if self.status.is_server_error() { "Service" } else { "User" }
    }

    /// Whether the Lambda model names this error. Errors outside of the model have no `Type`.
    pub fn is_modelled(&self) -> bool {
        !matches!(
            self.code.as_ref(),
            "ValidationException"
                | "AccessDeniedException"
                | "RequestEntityTooLargeException"
                | "SerializationException"
                | "NotImplementedException"
                | "UnknownOperationException"
        )
    }

    /// Whether the message member is written `Message` rather than `message`: it differs per shape.
    pub fn has_capital_message(&self) -> bool {
        matches!(
            self.code.as_ref(),
            "ResourceNotFoundException"
                | "CodeSigningConfigNotFoundException"
                | "CodeVerificationFailedException"
                | "ServiceException"
                | "InvalidRuntimeException"
                | "InvalidZipFileException"
                | "EFSMountFailureException"
                | "AccessDeniedException"
                | "SnapStartException"
                | "DurableExecutionAlreadyStartedException"
                | "CallbackTimeoutException"
                | "ResourceInUseException"
                | "RecursiveInvocationException"
        )
    }
}

/// The status of a Lambda error.
fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::ResourceNotFoundException => StatusCode::NOT_FOUND,
        ErrorCode::ResourceConflictException | ErrorCode::DurableExecutionAlreadyStartedException => {
            StatusCode::CONFLICT
        }
        ErrorCode::RequestTooLargeException | ErrorCode::RequestEntityTooLargeException => {
            StatusCode::PAYLOAD_TOO_LARGE
        }
        ErrorCode::TooManyRequestsException => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::ServiceException => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorCode::PreconditionFailedException => StatusCode::PRECONDITION_FAILED,
        ErrorCode::InvalidRuntimeException
        | ErrorCode::InvalidZipFileException
        | ErrorCode::ResourceNotReadyException => StatusCode::BAD_GATEWAY,
        ErrorCode::UnsupportedMediaTypeException => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorCode::AccessDeniedException | ErrorCode::EFSMountFailureException => StatusCode::FORBIDDEN,
        ErrorCode::InvalidParameterValueException
        | ErrorCode::InvalidRequestContentException
        | ErrorCode::ValidationException
        | ErrorCode::CodeStorageExceededException
        | ErrorCode::SnapStartException
        | ErrorCode::CallbackTimeoutException
        | ErrorCode::RecursiveInvocationException
        | ErrorCode::NotImplementedException => StatusCode::BAD_REQUEST,
    }
}

impl From<ServiceError> for ApiError {
    fn from(error: ServiceError) -> Self {
        Self {
            status: status(error.code),
            // The variants are named as the AWS shapes are.
            code: format!("{:?}", error.code).into(),
            message: error.message,
            reason: error.reason,
        }
    }
}

impl From<StoreError> for ApiError {
    /// What went wrong below is logged here, once; the caller learns no paths.
    fn from(error: StoreError) -> Self {
        let message = match &error {
            StoreError::Unwritable(_) => {
                "The server cannot write to its data directory (disk full or read-only). Nothing was changed."
            }
            // What the request was about was deleted while it was served.
            StoreError::NotFound(_) => {
                return Self::not_found("The resource you requested does not exist.");
            }
            StoreError::AlreadyExists(_) | StoreError::RevisionMismatch(_) => {
                return Self::conflict(
                    "The resource was changed by another request at the same time. Try again.",
                );
            }
            _ => "The server failed to read or write its storage. Nothing was changed; see the server's log.",
        };
        let source = std::error::Error::source(&error).map(ToString::to_string);
        tracing::error!(error = %error, source, "storage failed");
        ServiceError::internal(message).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_code_and_case_by_shape() {
        let check = |code: ErrorCode, status: u16, capital: bool, modelled: bool| {
            let error = ApiError::from(ServiceError::new(code, "x"));
            assert_eq!(error.status.as_u16(), status, "{code:?}");
            assert_eq!(error.code, format!("{code:?}"));
            assert_eq!(error.has_capital_message(), capital, "{code:?}");
            assert_eq!(error.is_modelled(), modelled, "{code:?}");
        };
        check(ErrorCode::ResourceNotFoundException, 404, true, true);
        check(ErrorCode::InvalidParameterValueException, 400, false, true);
        check(ErrorCode::ValidationException, 400, false, false);
        check(ErrorCode::RequestEntityTooLargeException, 413, false, false);
        check(ErrorCode::RequestTooLargeException, 413, false, true);
        check(ErrorCode::InvalidRuntimeException, 502, true, true);
        check(ErrorCode::ServiceException, 500, true, true);
        check(ErrorCode::PreconditionFailedException, 412, false, true);
        check(ErrorCode::SnapStartException, 400, true, true);
    }
}
