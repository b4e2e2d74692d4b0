//! Answers of the gateway's own: what it says when no integration is reached, and how an API changes that.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// All types with the status of each; those without one keep the status of what happened.
/// Source: API Gateway developer guide, "Gateway response types".
pub const GATEWAY_RESPONSES: [(&str, Option<u16>); 21] = [
    ("ACCESS_DENIED", Some(403)),
    ("API_CONFIGURATION_ERROR", Some(500)),
    ("AUTHORIZER_CONFIGURATION_ERROR", Some(500)),
    ("AUTHORIZER_FAILURE", Some(500)),
    ("BAD_REQUEST_BODY", Some(400)),
    ("BAD_REQUEST_PARAMETERS", Some(400)),
    ("DEFAULT_4XX", None),
    ("DEFAULT_5XX", None),
    ("EXPIRED_TOKEN", Some(403)),
    ("INTEGRATION_FAILURE", Some(504)),
    ("INTEGRATION_TIMEOUT", Some(504)),
    ("INVALID_API_KEY", Some(403)),
    ("INVALID_SIGNATURE", Some(403)),
    ("MISSING_AUTHENTICATION_TOKEN", Some(403)),
    ("QUOTA_EXCEEDED", Some(429)),
    ("REQUEST_TOO_LARGE", Some(413)),
    ("RESOURCE_NOT_FOUND", Some(404)),
    ("THROTTLED", Some(429)),
    ("UNAUTHORIZED", Some(401)),
    ("UNSUPPORTED_MEDIA_TYPE", Some(415)),
    ("WAF_FILTERED", Some(403)),
];

/// What happened, where it is said here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GatewayResponseKind {
    /// An authorizer's policy denies it.
    AccessDenied,
    /// The integration cannot be called as it is configured.
    ApiConfigurationError,
    /// The authorizer cannot be understood.
    AuthorizerConfigurationError,
    /// The authorizer failed.
    AuthorizerFailure,
    /// A parameter that cannot go on.
    BadRequestParameters,
    /// The integration's answer cannot be understood.
    Default5xx,
    /// A session is over.
    ExpiredToken,
    /// A signature cannot be read.
    IncompleteSignature,
    /// The integration cannot be reached.
    IntegrationFailure,
    /// The integration took too long.
    IntegrationTimeout,
    /// A key was wanted.
    InvalidApiKey,
    /// A signature is another one.
    InvalidSignature,
    /// No such path or method, or a signature was wanted.
    MissingAuthenticationToken,
    /// A key's quota is used up.
    QuotaExceeded,
    /// The body is too long.
    RequestTooLarge,
    /// Too many calls.
    Throttled,
    /// No identity, or the authorizer says so.
    Unauthorized,
    /// Nobody has the key that a request was signed with.
    UnknownKey,
    /// No template for the body's type.
    UnsupportedMediaType,
}

impl GatewayResponseKind {
    /// The name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::AccessDenied => "ACCESS_DENIED",
            Self::ApiConfigurationError => "API_CONFIGURATION_ERROR",
            Self::AuthorizerConfigurationError => "AUTHORIZER_CONFIGURATION_ERROR",
            Self::AuthorizerFailure => "AUTHORIZER_FAILURE",
            Self::BadRequestParameters => "BAD_REQUEST_PARAMETERS",
            Self::Default5xx => "DEFAULT_5XX",
            Self::ExpiredToken => "EXPIRED_TOKEN",
            // They have no type of their own. That they are not INVALID_SIGNATURE is a guess.
            Self::IncompleteSignature | Self::UnknownKey => "DEFAULT_4XX",
            Self::IntegrationFailure => "INTEGRATION_FAILURE",
            Self::IntegrationTimeout => "INTEGRATION_TIMEOUT",
            Self::InvalidApiKey => "INVALID_API_KEY",
            Self::InvalidSignature => "INVALID_SIGNATURE",
            Self::MissingAuthenticationToken => "MISSING_AUTHENTICATION_TOKEN",
            Self::QuotaExceeded => "QUOTA_EXCEEDED",
            Self::RequestTooLarge => "REQUEST_TOO_LARGE",
            Self::Throttled => "THROTTLED",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::UnsupportedMediaType => "UNSUPPORTED_MEDIA_TYPE",
        }
    }

    /// `x-amzn-ErrorType` of the answer, as recorded.
    pub fn error_type(self) -> &'static str {
        match self {
            Self::AccessDenied => "AccessDeniedException",
            Self::AuthorizerConfigurationError | Self::AuthorizerFailure => {
                "AuthorizerConfigurationException"
            }
            Self::ApiConfigurationError
            | Self::Default5xx
            | Self::IntegrationFailure
            | Self::IntegrationTimeout => "InternalServerErrorException",
            Self::BadRequestParameters => "BadRequestException",
            Self::ExpiredToken => "ExpiredTokenException",
            Self::IncompleteSignature => "IncompleteSignatureException",
            Self::InvalidApiKey => "ForbiddenException",
            Self::InvalidSignature => "InvalidSignatureException",
            Self::MissingAuthenticationToken => "MissingAuthenticationTokenException",
            Self::QuotaExceeded => "LimitExceededException",
            Self::RequestTooLarge => "RequestEntityTooLargeException",
            Self::Throttled => "TooManyRequestsException",
            Self::Unauthorized => "UnauthorizedException",
            Self::UnknownKey => "UnrecognizedClientException",
            Self::UnsupportedMediaType => "UnsupportedMediaTypeException",
        }
    }
}

/// How an API changes one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayResponse {
    /// One of `GATEWAY_RESPONSES`.
    pub response_type: String,
    /// Another status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_code: Option<String>,
    /// `gatewayresponse.header.<name>` to its value.
    #[serde(default)]
    pub response_parameters: BTreeMap<String, String>,
    /// Bodies by media type.
    #[serde(default)]
    pub response_templates: BTreeMap<String, String>,
}

impl GatewayResponse {
    /// The default of a type; `None` when there is no such type.
    pub fn standard(response_type: &str) -> Option<Self> {
        let (name, status) = GATEWAY_RESPONSES.iter().find(|(name, _)| *name == response_type)?;
        Some(Self {
            response_type: (*name).to_owned(),
            status_code: status.map(|status| status.to_string()),
            response_parameters: BTreeMap::new(),
            response_templates: BTreeMap::from([(
                "application/json".to_owned(),
                r#"{"message":$context.error.messageString}"#.to_owned(),
            )]),
        })
    }
}
