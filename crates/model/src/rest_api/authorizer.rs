//! Functions that decide who may call a method.

use serde::{Deserialize, Serialize};

/// `authorizerResultTtlInSeconds` when none is given.
pub const DEFAULT_RESULT_TTL_SECONDS: u32 = 300;
/// The longest there is.
pub const GREATEST_RESULT_TTL_SECONDS: u32 = 3_600;

/// What an authorizer is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum AuthorizerKind {
    /// One header.
    Token,
    /// The whole request except its body.
    Request,
}

/// One authorizer of an API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Authorizer {
    /// Its id.
    pub id: String,
    /// Its name, unique within the API.
    pub name: String,
    /// What it is told.
    #[serde(rename = "type")]
    pub kind: AuthorizerKind,
    /// `custom`, for other tools.
    pub auth_type: String,
    /// The function, in the form of integrations.
    pub authorizer_uri: String,
    /// Role that calls the function; without one, the function's policy says whether it may be called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorizer_credentials: Option<String>,
    /// Where identities are: `method.request.header.<name>`, ..., separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_source: Option<String>,
    /// What a token must look like for the function to be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_validation_expression: Option<String>,
    /// How long a decision holds for the same identities, seconds; 0: never.
    pub authorizer_result_ttl_in_seconds: u32,
}

impl Authorizer {
    /// The identity sources, one by one.
    pub fn identity_sources(&self) -> impl Iterator<Item = &str> {
        self.identity_source
            .as_deref()
            .unwrap_or_default()
            .split(',')
            .map(str::trim)
            .filter(|one| !one.is_empty())
    }
}
