//! Function names, qualifiers, and the three ways a request may refer to a function.
//!
//! Source: Lambda API reference, `FunctionName` ("name, partial ARN, full ARN") and `Qualifier`.

use crate::function::VersionNumber;
use crate::scope::{AccountId, Region, Scope};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A plain function name: 1 to 64 characters of `[a-zA-Z0-9-_]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FunctionName(Arc<str>);

impl FunctionName {
    /// `None` for anything that is not a plain name.
    pub fn parse(text: &str) -> Option<Self> {
        let valid = (1..=64).contains(&text.len()) && text.bytes().all(is_name_byte);
        valid.then(|| Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name, for records that outlive a request.
    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }
}

impl std::fmt::Display for FunctionName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

pub(crate) fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// Which version of a function is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Qualifier {
    /// `$LATEST`, the unpublished version.
    Latest,
    /// A published version, 1 and up.
    Version(u64),
    /// An alias by name.
    Alias(String),
}

impl Qualifier {
    /// `$LATEST`, a decimal number, or an alias name of 1 to 128 characters; otherwise `None`.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "$LATEST" {
            return Some(Self::Latest);
        }
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().ok().map(Self::Version);
        }
        let valid = (1..=128).contains(&text.len()) && text.bytes().all(is_name_byte);
        valid.then(|| Self::Alias(text.to_owned()))
    }
}

impl std::fmt::Display for Qualifier {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Latest => formatter.write_str("$LATEST"),
            Self::Version(number) => write!(formatter, "{number}"),
            Self::Alias(name) => formatter.write_str(name),
        }
    }
}

impl From<VersionNumber> for Qualifier {
    fn from(version: VersionNumber) -> Self {
        match version {
            VersionNumber::Latest => Self::Latest,
            VersionNumber::Published(number) => Self::Version(number),
        }
    }
}

/// A request's way to name a function: `name`, `name:qualifier`, `account:function:name[:qualifier]`
/// or `arn:aws:lambda:region:account:function:name[:qualifier]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionReference {
    /// The plain name.
    pub name: FunctionName,
    /// The qualifier that was part of the reference.
    pub qualifier: Option<Qualifier>,
    /// The account, when the reference named one.
    pub account: Option<AccountId>,
    /// The region, when the reference was a full ARN.
    pub region: Option<Region>,
}

impl FunctionReference {
    /// Parses any of the three forms (already percent-decoded). `None` when it is none of them.
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let (account, region, rest) = match parts.as_slice() {
            ["arn", partition, "lambda", region, account, "function", rest @ ..]
                if partition.starts_with("aws") =>
            {
                (Some(AccountId::parse(account)?), Some(Region::parse(region)?), rest)
            }
            [account, "function", rest @ ..] if AccountId::parse(account).is_some() => {
                (AccountId::parse(account), None, rest)
            }
            // `account:name`: what is twelve digits before a colon is an account, as in the API's pattern.
            [account, rest @ ..] if !rest.is_empty() && AccountId::parse(account).is_some() => {
                (AccountId::parse(account), None, rest)
            }
            ["function", rest @ ..] if !rest.is_empty() => (None, None, rest),
            rest => (None, None, rest),
        };
        let (name, qualifier) = match rest {
            [name] => (*name, None),
            [name, qualifier] => (*name, Some(Qualifier::parse(qualifier)?)),
            _ => return None,
        };
        Some(Self { name: FunctionName::parse(name)?, qualifier, account, region })
    }
}

/// `arn:aws:lambda:<region>:<account>:function:<name>[:<qualifier>]`.
pub fn function_arn(scope: &Scope, name: &FunctionName, qualifier: Option<&Qualifier>) -> String {
    let resource = match qualifier {
        Some(qualifier) => format!("function:{name}:{qualifier}"),
        None => format!("function:{name}"),
    };
    scope.arn("lambda", &resource)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_reference(text: &str, expected: Option<(&str, Option<&str>)>) {
        let got = FunctionReference::parse(text);
        let got = got.as_ref().map(|reference| {
            (reference.name.as_str().to_owned(), reference.qualifier.as_ref().map(ToString::to_string))
        });
        let expected = expected.map(|(name, qualifier)| (name.to_owned(), qualifier.map(str::to_owned)));
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn the_three_forms_with_and_without_qualifier() {
        check_reference("hello", Some(("hello", None)));
        check_reference("hello:$LATEST", Some(("hello", Some("$LATEST"))));
        check_reference("hello:7", Some(("hello", Some("7"))));
        check_reference("123456789012:function:hello", Some(("hello", None)));
        check_reference("123456789012:hello", Some(("hello", None)));
        check_reference("123456789012:function:hello:live", Some(("hello", Some("live"))));
        check_reference("arn:aws:lambda:eu-west-1:123456789012:function:hello", Some(("hello", None)));
        check_reference("arn:aws:lambda:eu-west-1:123456789012:function:hello:3", Some(("hello", Some("3"))));
    }

    #[test]
    fn what_is_no_reference() {
        for text in ["", "a b", "arn:aws:s3:::bucket", "a:b:c", "x/y", "arn:aws:lambda:r:1:function:f"] {
            check_reference(text, None);
        }
        check_reference(&"a".repeat(65), None);
    }
}
