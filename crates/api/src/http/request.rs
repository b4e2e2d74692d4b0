//! The head of a request, taken apart once.

use crate::http::ApiError;
use crate::http::signature::{self, CredentialScope};
use crate::s3::addressing;
use http::header::AsHeaderName;
use http::{HeaderMap, Method, request::Parts};
use lamplight_model::{Action, Caller, GatewayUrl, Region, RequestId, Scope, identity};
use percent_encoding::percent_decode_str;
use std::sync::Arc;

/// Everything about a request except its body.
#[derive(Debug, Clone)]
pub struct Context {
    /// In the answer's `x-amzn-RequestId`; the id of the invocation when this is one.
    pub request_id: RequestId,
    /// Who asks.
    pub caller: Arc<Caller>,
    /// Account of the caller, region of the signature.
    pub scope: Scope,
    /// Service named in the signature, when there is one.
    pub signed_service: Option<String>,
    /// Method.
    pub method: Method,
    /// Path as it came, percent-encoded.
    pub path: String,
    /// Query string, decoded.
    pub query: Vec<(String, String)>,
    /// Headers.
    pub headers: HeaderMap,
    /// `Host` as the client wrote it, for links to this server.
    pub authority: String,
    /// How clients see the URLs of functions and APIs: as this request says it, unless it is changed.
    pub gateway_url: Arc<GatewayUrl>,
}

impl Context {
    /// Takes a request's head apart. `authority` was checked by the guard.
    pub fn new(parts: Parts, caller: Arc<Caller>, request_id: RequestId, authority: String) -> Self {
        let query: Vec<(String, String)> =
            form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        let signed = signature::credential_scope(&parts.headers, &query);
        let (region, signed_service) = match signed {
            Some(CredentialScope { region, service }) => (Some(region), Some(service)),
            // Other ways to sign name no region, but the host may.
            None => (addressing::parse(&authority).and_then(|host| host.region), None),
        };
        let scope = match caller.as_ref() {
            Caller::Loopback => Scope { region: region.unwrap_or_default(), ..Scope::default() },
            Caller::Function { scope, .. } => Scope {
                account: scope.account.clone(),
                region: region.unwrap_or_else(|| scope.region.clone()),
            },
        };
        Self {
            request_id,
            caller,
            scope,
            signed_service,
            method: parts.method,
            path: parts.uri.path().to_owned(),
            query,
            headers: parts.headers,
            authority,
            gateway_url: Arc::default(),
        }
    }

    /// The first value of a query parameter, when it is not empty.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
            .filter(|v| !v.is_empty())
    }

    /// A header's value; `None` when absent or not ASCII.
    pub fn header(&self, name: impl AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The scope of services that have no regions (IAM).
    pub fn global_scope(&self) -> Scope {
        Scope { account: self.scope.account.clone(), region: Region::default() }
    }

    /// The ARN of whoever asks, as `GetCallerIdentity` and denials print it.
    pub fn caller_arn(&self) -> String {
        let account = self.scope.account.as_str();
        match self.caller.as_ref() {
            Caller::Loopback => format!("arn:aws:iam::{account}:root"),
            Caller::Function { arn, role, .. } => format!(
                "arn:aws:sts::{account}:assumed-role/{}/{}",
                role.rsplit('/').next().unwrap_or_default(),
                arn.rsplit(':').next().unwrap_or_default()
            ),
        }
    }

    /// Lets the caller do `service:operation` to `resource` or refuses with AWS's text.
    ///
    /// Fails with 403 `AccessDeniedException`.
    pub fn authorize(&self, service: &str, operation: &str, resource: &str) -> Result<(), ApiError> {
        self.authorize_lazily(service, operation, || resource.to_owned())
    }

    /// As `authorize`, for a resource that takes work to name.
    pub fn authorize_lazily(
        &self,
        service: &str,
        operation: &str,
        resource: impl FnOnce() -> String,
    ) -> Result<(), ApiError> {
        if identity::authorize(&self.caller, Action { service, operation }) {
            return Ok(());
        }
        Err(self.denial(service, operation, &resource(), Denial::Implicit))
    }

    /// The refusal, in AWS's words.
    pub fn denial(&self, service: &str, operation: &str, resource: &str, denial: Denial) -> ApiError {
        let action = format!("{service}:{operation}");
        // The permission that guards Invoke has another name than the operation.
        let permission = if action == "lambda:Invoke" { "lambda:InvokeFunction" } else { &action };
        let reason = match denial {
            Denial::Implicit => format!("because no identity-based policy allows the {permission} action"),
            Denial::Explicit => "with an explicit deny in an identity-based policy".to_owned(),
        };
        ApiError::new(
            http::StatusCode::FORBIDDEN,
            "AccessDeniedException",
            format!(
                "User: {} is not authorized to perform: {permission} on resource: {resource} {reason}",
                self.caller_arn()
            ),
        )
    }
}

/// Why something is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// Nothing allows it.
    Implicit,
    /// A policy denies it.
    Explicit,
}

/// Percent-decodes one path segment; `None` when the result is not UTF-8.
pub fn decode_segment(segment: &str) -> Option<String> {
    percent_decode_str(segment).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}
