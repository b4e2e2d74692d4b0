//! Why a request is not let through, in AWS's words.

use crate::{Response, reply};
use http::{HeaderValue, StatusCode};
use serde_json::json;

/// Text of a signature that is not the right one.
const MISMATCH: &str = "The request signature we calculated does not match the signature you provided. Check your AWS \
     Secret Access Key and signing method. Consult the service documentation for details.";
/// Why. All are answered 403, but for `Trouble`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Neither a header nor a query string says who signed it.
    #[error("Missing Authentication Token")]
    Unsigned,
    /// The signature cannot be read.
    #[error("{0}")]
    Incomplete(String),
    /// It can be read, and is not right.
    #[error("{0}")]
    Invalid(String),
    /// Nobody has this key, or it does not count, or its token is another.
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    /// The session is over.
    #[error("The security token included in the request is expired")]
    ExpiredToken,
    /// It is known who asks, and he may not.
    #[error("Forbidden")]
    Forbidden,
    /// Storage failed; the text is not for clients.
    #[error("Internal Server Error")]
    Trouble(String),
}

impl Refusal {
    /// The signature is another one.
    pub fn mismatch() -> Self {
        Self::Invalid(MISMATCH.to_owned())
    }

    /// `x-amzn-ErrorType`.
    pub fn error_type(&self) -> &'static str {
        match self {
            Self::Unsigned => "MissingAuthenticationTokenException",
            Self::Incomplete(_) => "IncompleteSignatureException",
            Self::Invalid(_) => "InvalidSignatureException",
            Self::UnknownKey => "UnrecognizedClientException",
            Self::ExpiredToken => "ExpiredTokenException",
            Self::Forbidden => "AccessDeniedException",
            Self::Trouble(_) => "ServiceException",
        }
    }

    /// 403, or 500 for trouble.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Trouble(_) => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::FORBIDDEN,
        }
    }

    /// The answer of a function URL. Who may not, and who does not say who he is, is told the same.
    pub fn of_url(&self) -> Response {
        match self {
            Self::Unsigned | Self::Forbidden => return reply::forbidden(),
            Self::Trouble(why) => {
                tracing::error!(error = why, "failed to authorize a request of a function URL")
            }
            _ => {}
        }
        answer(self.status(), &json!({ "message": self.to_string() }), self.error_type())
    }
}

fn answer(status: StatusCode, body: &serde_json::Value, error_type: &'static str) -> Response {
    let mut response = reply::with_body(status, "application/json", body.to_string());
    response.headers_mut().insert(reply::ERROR_TYPE, HeaderValue::from_static(error_type));
    response
}
