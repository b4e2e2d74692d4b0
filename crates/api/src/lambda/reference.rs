//! Which function a request means: plain name, partial ARN or full ARN, with the qualifier in either place.

use crate::http::request::decode_segment;
use crate::http::{ApiError, Context};
use crate::lambda::validation::{FUNCTION_NAME_PATTERN, QUALIFIER_PATTERN, Violations};
use crate::state::ApiState;
use lamplight_model::name::function_arn;
use lamplight_model::{
    FunctionName, FunctionReference, FunctionVersion, Qualifier, Scope, ServiceError, VersionNumber,
};
use std::sync::Arc;

/// Longest `FunctionName`, any form, characters.
const REFERENCE_LENGTH: usize = 140;
/// Longest plain name.
const NAME_LENGTH: usize = 64;
/// Longest `Qualifier`.
const QUALIFIER_LENGTH: usize = 128;

/// A function as a request named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Region of the request; the account is the caller's unless the request named another.
    pub scope: Scope,
    /// Plain name.
    pub name: FunctionName,
    /// Qualifier, from the reference or from the query.
    pub qualifier: Option<Qualifier>,
}

impl Target {
    /// Reads a reference that is percent-encoded in the path, and the `Qualifier` of the query string.
    ///
    /// Fails with `ValidationException` for what is no reference, `InvalidParameterValueException` when the two
    /// qualifiers differ or the plain name is too long, `ResourceNotFoundException` for another region.
    pub fn from_path(context: &Context, label: &str) -> Result<Self, ApiError> {
        let text = decode_segment(label).unwrap_or_else(|| label.to_owned());
        Self::parse(context, &text, context.parameter("Qualifier"))
    }

    /// As `from_path`, from decoded text.
    pub fn parse(context: &Context, text: &str, qualifier: Option<&str>) -> Result<Self, ApiError> {
        let reference = FunctionReference::parse(text);
        let mut violations = Violations::default();
        violations.length(text, "functionName", REFERENCE_LENGTH);
        if reference.is_none() {
            let plain = !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
            if plain && text.len() <= REFERENCE_LENGTH {
                // A plain name that is too long is the one length AWS reports under another code.
                return Err(ApiError::invalid_parameter(format!(
                    "1 validation error detected: Value '{text}' at 'functionName' failed to satisfy constraint: \
                     Member must have length less than or equal to {NAME_LENGTH}"
                )));
            }
            violations.pattern(text, "functionName", plain, FUNCTION_NAME_PATTERN);
        }
        let parsed = qualifier.map(Qualifier::parse);
        if let (Some(text), Some(None)) = (qualifier, &parsed) {
            if text.len() > QUALIFIER_LENGTH {
                violations.length(text, "qualifier", QUALIFIER_LENGTH);
            } else {
                violations.pattern(text, "qualifier", false, QUALIFIER_PATTERN);
            }
        }
        violations.finish()?;
        let Some(reference) = reference else {
            return Err(ApiError::invalid_parameter("The function name is not valid."));
        };
        let qualifier = match (reference.qualifier, parsed.flatten()) {
            (Some(own), Some(given)) if own != given => {
                return Err(ApiError::invalid_parameter(
                    "The derived qualifier from the function name does not match the specified qualifier.",
                ));
            }
            (own, given) => given.or(own),
        };
        if let Some(region) = reference.region.filter(|region| *region != context.scope.region) {
            return Err(ApiError::not_found(format!(
                "Functions from '{}' are not reachable in this region ('{}')",
                region.as_str(),
                context.scope.region.as_str()
            )));
        }
        let mut scope = context.scope.clone();
        if let Some(account) = reference.account {
            scope.account = account;
        }
        Ok(Self { scope, name: reference.name, qualifier })
    }

    /// The ARN as the request named it.
    pub fn arn(&self) -> String {
        function_arn(&self.scope, &self.name, self.qualifier.as_ref())
    }

    /// The ARN without qualifier.
    pub fn unqualified_arn(&self) -> String {
        function_arn(&self.scope, &self.name, None)
    }

    /// An alias of the same function.
    pub fn with_alias(&self, name: &str) -> Self {
        Self { qualifier: Some(Qualifier::Alias(name.to_owned())), ..self.clone() }
    }

    /// 404 with AWS's text.
    pub fn not_found(&self) -> ApiError {
        ServiceError::function_not_found(&self.arn()).into()
    }

    /// The version that is meant; `$LATEST` without a qualifier, of an alias the version it points to first of all.
    ///
    /// Fails with `ResourceNotFoundException`.
    pub async fn load(&self, state: &ApiState) -> Result<Arc<FunctionVersion>, ApiError> {
        let version = match &self.qualifier {
            None | Some(Qualifier::Latest) => VersionNumber::Latest,
            Some(Qualifier::Version(number)) => VersionNumber::Published(*number),
            Some(Qualifier::Alias(alias)) => {
                let alias = state.store.get_alias(&self.scope, &self.name, alias).await?;
                alias.ok_or_else(|| self.not_found())?.version
            }
        };
        state.store.get_version(&self.scope, &self.name, version).await?.ok_or_else(|| self.not_found())
    }

    /// `$LATEST`, for operations that change a function.
    ///
    /// Fails with `ResourceNotFoundException`, and with `InvalidParameterValueException` when the request names a
    /// published version, which nothing can change.
    pub async fn load_latest(&self, state: &ApiState) -> Result<Arc<FunctionVersion>, ApiError> {
        match &self.qualifier {
            None | Some(Qualifier::Latest) => self.load(state).await,
            Some(qualifier) => Err(ApiError::invalid_parameter(format!(
                "This operation works on the function or on $LATEST only, not on '{qualifier}'."
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplight_model::{Caller, RequestId};

    fn check(text: &str, qualifier: Option<&str>, expected: Result<&str, (&str, &str)>) {
        let (parts, ()) = http::Request::new(()).into_parts();
        let context =
            Context::new(parts, Arc::new(Caller::Loopback), RequestId(uuid::Uuid::nil()), String::new());
        match (Target::parse(&context, text, qualifier), expected) {
            (Ok(target), Ok(arn)) => assert_eq!(target.arn(), arn),
            (Err(error), Err((code, part))) => {
                assert_eq!(error.code, code, "{error}");
                assert!(error.message.contains(part), "{error}");
            }
            (got, expected) => panic!("{text}: {got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn names_arns_and_qualifiers() {
        let arn = "arn:aws:lambda:us-east-1:000000000000:function:f";
        check("f", None, Ok(arn));
        check("000000000000:function:f", None, Ok(arn));
        check("000000000000:f", None, Ok(arn));
        check(arn, Some("7"), Ok("arn:aws:lambda:us-east-1:000000000000:function:f:7"));
        check("f:7", Some("7"), Ok("arn:aws:lambda:us-east-1:000000000000:function:f:7"));
        check(
            "f:7",
            Some("8"),
            Err(("InvalidParameterValueException", "does not match the specified qualifier")),
        );
        check(
            "arn:aws:lambda:eu-west-1:000000000000:function:f",
            None,
            Err((
                "ResourceNotFoundException",
                "Functions from 'eu-west-1' are not reachable in this region ('us-east-1')",
            )),
        );
        check("f*", None, Err(("ValidationException", "regular expression pattern: (arn:(aws")));
        check("f", Some("a b"), Err(("ValidationException", "at 'qualifier'")));
        check(&"a".repeat(65), None, Err(("InvalidParameterValueException", "less than or equal to 64")));
        check(&"a".repeat(141), None, Err(("ValidationException", "less than or equal to 140")));
        check("", None, Err(("ValidationException", "functionName")));
    }
}
