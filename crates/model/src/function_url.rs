//! Function URLs as they are stored: written by the API, read by whoever serves them.
//!
//! Source: Lambda API reference, "FunctionUrlConfig" and "Cors".

use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

/// Kind of the stored documents; they belong to a function or an alias.
pub const KIND: &str = "function/url";

/// What is stored about one URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionUrl {
    /// First label of the host name.
    pub id: String,
    /// `AuthType`: `NONE` or `AWS_IAM`.
    pub auth_type: String,
    /// `InvokeMode`; absent when it was never given, which means `BUFFERED`.
    pub invoke_mode: Option<String>,
    /// `Cors`; absent when it was never given.
    pub cors: Option<Cors>,
    /// `CreationTime`.
    pub created_at: Timestamp,
    /// `LastModifiedTime`.
    pub modified_at: Timestamp,
}

impl FunctionUrl {
    /// Whether a request must be signed.
    pub fn is_signed(&self) -> bool {
        // Whatever is not known to be open is closed.
        self.auth_type != "NONE"
    }

    /// Whether bytes are passed on as they are produced.
    pub fn is_streamed(&self) -> bool {
        self.invoke_mode.as_deref() == Some("RESPONSE_STREAM")
    }
}

/// `Cors`, with the members that were given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Cors {
    /// Whether cookies may be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_credentials: Option<bool>,
    /// Request headers of preflights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_headers: Option<Vec<String>>,
    /// Methods; `*` is all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_methods: Option<Vec<String>>,
    /// Origins; `*` is all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_origins: Option<Vec<String>>,
    /// Response headers a page may read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expose_headers: Option<Vec<String>>,
    /// How long a preflight holds, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<i64>,
}
