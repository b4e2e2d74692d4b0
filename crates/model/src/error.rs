//! Errors a caller of the web-service API can get, by the names of the Lambda API.
//!
//! HTTP status codes and the wire form belong to the front doors.

/// The error codes this release can answer. The name printed is the AWS shape name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // Each variant is the AWS error of that name.
pub enum ErrorCode {
    ResourceNotFoundException,
    ResourceConflictException,
    InvalidParameterValueException,
    InvalidRequestContentException,
    ValidationException,
    RequestTooLargeException,
    RequestEntityTooLargeException,
    TooManyRequestsException,
    ServiceException,
    PreconditionFailedException,
    CodeStorageExceededException,
    InvalidRuntimeException,
    InvalidZipFileException,
    ResourceNotReadyException,
    UnsupportedMediaTypeException,
    AccessDeniedException,
    EFSMountFailureException,
    NotImplementedException,
    SnapStartException,
    DurableExecutionAlreadyStartedException,
    CallbackTimeoutException,
    RecursiveInvocationException,
}

/// An error with a text for the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code:?}: {message}")]
pub struct ServiceError {
    /// Which AWS error.
    pub code: ErrorCode,
    /// What, why, and what to do; AWS's exact text where AWS has one.
    pub message: String,
    /// `Reason` of `TooManyRequestsException`.
    pub reason: Option<&'static str>,
}

impl ServiceError {
    /// An error without a throttle reason.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), reason: None }
    }

    /// `Function not found: <arn>`.
    pub fn function_not_found(arn: &str) -> Self {
        Self::new(ErrorCode::ResourceNotFoundException, format!("Function not found: {arn}"))
    }

    /// 429 with AWS's text and the given `Reason`.
    pub fn throttled(reason: &'static str) -> Self {
        Self {
            code: ErrorCode::TooManyRequestsException,
            message: "Rate Exceeded.".to_owned(),
            reason: Some(reason),
        }
    }

    /// 400 with AWS's text, for a function that was invoked too often in one chain of requests.
    pub fn recursive_invocation() -> Self {
        Self::new(
            ErrorCode::RecursiveInvocationException,
            "Lambda has detected your function being invoked in a recursive loop with other Amazon Web Services resources \
             and stopped your function's invocation.",
        )
    }

    /// A failure of the platform. `message` must hold nothing secret.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::ServiceException, message)
    }
}
