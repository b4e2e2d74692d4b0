//! Layers: archives that functions share, in numbered versions that never change.
//!
//! Source: Lambda API reference, `PublishLayerVersion`, `LayerVersionArn`.

use crate::function::CodeDigest;
use crate::name::is_name_byte;
use crate::scope::{AccountId, Region, Scope};
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A plain layer name: 1 to 140 characters of `[a-zA-Z0-9-_]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LayerName(String);

impl LayerName {
    /// `None` for anything that is not a plain name.
    pub fn parse(text: &str) -> Option<Self> {
        let valid = (1..=140).contains(&text.len()) && text.bytes().all(is_name_byte);
        valid.then(|| Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A layer, without a version: `arn:aws:lambda:<region>:<account>:layer:<name>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LayerArn {
    /// Where it lives.
    pub scope: Scope,
    /// Its plain name.
    pub name: LayerName,
}

impl LayerArn {
    /// `None` for anything else than the ARN of a layer.
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let ["arn", partition, "lambda", region, account, "layer", name] = parts.as_slice() else {
            return None;
        };
        let scope = Scope { account: AccountId::parse(account)?, region: Region::parse(region)? };
        partition.starts_with("aws").then_some(Self { scope, name: LayerName::parse(name)? })
    }
}

impl fmt::Display for LayerArn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.scope.arn("lambda", &format!("layer:{}", self.name.as_str())))
    }
}

/// One version of a layer: its ARN, a colon, the number.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LayerVersionArn {
    /// The layer.
    pub layer: LayerArn,
    /// 1 and up.
    pub version: u64,
}

impl LayerVersionArn {
    /// `None` for anything else than the ARN of a layer's version.
    pub fn parse(text: &str) -> Option<Self> {
        let (layer, version) = text.rsplit_once(':')?;
        let digits = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
        // A number beyond all others names a version that nobody will ever publish.
        let version = digits.then(|| version.parse().unwrap_or(u64::MAX))?;
        Some(Self { layer: LayerArn::parse(layer)?, version })
    }
}

impl fmt::Display for LayerVersionArn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.layer, self.version)
    }
}

/// A layer version as it is stored. Only its statements ever change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LayerVersion {
    /// The number, 1 and up; never given again.
    pub version: u64,
    /// The archive. The store keeps packages that a document names under this name.
    pub code_digest: CodeDigest,
    /// `CodeSize`: bytes of the ZIP.
    pub code_size_bytes: u64,
    /// Free text.
    pub description: String,
    /// `CreatedDate`.
    pub created: Timestamp,
    /// `CompatibleRuntimes`, as given.
    pub compatible_runtimes: Option<Vec<String>>,
    /// `CompatibleArchitectures`, as given.
    pub compatible_architectures: Option<Vec<String>>,
    /// `LicenseInfo`.
    pub license_info: Option<String>,
    /// Of the policy: a new UUID at every change.
    pub revision_id: String,
    /// The policy: who else may use this version.
    pub statements: Vec<LayerStatement>,
}

/// One statement of a layer version's policy: allows a principal `lambda:GetLayerVersion`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LayerStatement {
    /// Unique within the policy.
    pub sid: String,
    /// An account, `*`, or the ARN of an account's root.
    pub principal: String,
    /// With `*`: only accounts of this organisation.
    pub organization_id: Option<String>,
}

impl LayerVersion {
    /// Whether its policy lets another account use it. There are no organisations, so a statement for one lets in nobody.
    pub fn allows(&self, account: &AccountId) -> bool {
        self.statements.iter().filter(|statement| statement.organization_id.is_none()).any(|statement| {
            let principal = statement.principal.as_str();
            let root = || principal.strip_suffix(":root")?.rsplit(':').next();
            principal == "*" || principal == account.as_str() || root() == Some(account.as_str())
        })
    }
}

/// A layer version as a function has it: all that its instances need, so that they go on when the version is deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedLayer {
    /// ARN of the layer version.
    pub arn: String,
    /// The archive.
    pub code: CodeDigest,
    /// `CodeSize`: bytes of the ZIP.
    pub code_size_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_of_layers_and_their_versions() {
        let layer = "arn:aws:lambda:eu-west-1:123456789012:layer:tools_1-x";
        let parsed = LayerArn::parse(layer).unwrap();
        assert_eq!((parsed.name.as_str(), parsed.scope.region.as_str()), ("tools_1-x", "eu-west-1"));
        assert_eq!(parsed.to_string(), layer);
        let version = LayerVersionArn::parse(&format!("{layer}:17")).unwrap();
        assert_eq!((version.layer.clone(), version.version), (parsed, 17));
        assert_eq!(version.to_string(), format!("{layer}:17"));
        let beyond = LayerVersionArn::parse(&format!("{layer}:99999999999999999999")).unwrap();
        assert_eq!(beyond.version, u64::MAX);
        for wrong in
            ["", "tools", "arn:aws:lambda:eu-west-1:1:layer:a", "arn:aws:s3:eu-west-1:123456789012:layer:a"]
        {
            assert_eq!(LayerArn::parse(wrong), None, "{wrong}");
        }
        for wrong in [layer, "arn:aws:lambda:eu-west-1:123456789012:layer:a:", "a:1"] {
            assert_eq!(LayerVersionArn::parse(wrong), None, "{wrong}");
        }
        assert!(LayerVersionArn::parse(&format!("{layer}:x")).is_none());
        assert!(LayerName::parse(&"a".repeat(141)).is_none() && LayerName::parse("a.b").is_none());
    }

    #[test]
    fn whom_a_policy_lets_in() {
        let check = |principal: &str, organization: Option<&str>, allowed: bool| {
            let statement = LayerStatement {
                sid: "s".to_owned(),
                principal: principal.to_owned(),
                organization_id: organization.map(str::to_owned),
            };
            let version = LayerVersion {
                version: 1,
                code_digest: CodeDigest::from_bytes(&[1; 32]),
                code_size_bytes: 1,
                description: String::new(),
                created: Timestamp(0),
                compatible_runtimes: None,
                compatible_architectures: None,
                license_info: None,
                revision_id: String::new(),
                statements: vec![statement],
            };
            let account = AccountId::parse("123456789012").unwrap();
            assert_eq!(version.allows(&account), allowed, "{principal} {organization:?}");
        };
        check("*", None, true);
        check("123456789012", None, true);
        check("arn:aws:iam::123456789012:root", None, true);
        check("210987654321", None, false);
        check("arn:aws:iam::210987654321:root", None, false);
        check("*", Some("o-0123456789"), false);
    }
}
