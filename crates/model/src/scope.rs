//! Partition, account and region: the beginning of every stored key and of every ARN.

use serde::{Deserialize, Serialize};
use std::sync::{Arc, LazyLock};

/// A twelve-digit account number. Lamplight has one until there is authentication: `000000000000`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AccountId(Arc<str>);

impl AccountId {
    /// The account of a server without authentication.
    pub const DEFAULT: &str = "000000000000";

    /// Takes exactly twelve ASCII digits; anything else is `None`.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| Self(text.into()))
    }

    /// The twelve digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for AccountId {
    fn default() -> Self {
        static DEFAULT: LazyLock<AccountId> = LazyLock::new(|| AccountId(AccountId::DEFAULT.into()));
        DEFAULT.clone()
    }
}

/// A region name such as `us-east-1`, taken from the request's signature scope.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Region(Arc<str>);

impl Region {
    /// The region of a request that is not signed.
    pub const DEFAULT: &str = "us-east-1";

    /// Takes 1 to 32 lower-case letters, digits and hyphens; anything else is `None`.
    pub fn parse(text: &str) -> Option<Self> {
        let valid = (1..=32).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        valid.then(|| Self(text.into()))
    }

    /// The name as it stands in an ARN.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Region {
    fn default() -> Self {
        static DEFAULT: LazyLock<Region> = LazyLock::new(|| Region(Region::DEFAULT.into()));
        DEFAULT.clone()
    }
}

/// Where a resource lives. Resources of different scopes never see each other. A clone shares its text: an invocation is
/// counted, logged and recorded under it a dozen times.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Scope {
    /// The owning account.
    pub account: AccountId,
    /// The region the caller named in the signature.
    pub region: Region,
}

impl Scope {
    /// The only partition served.
    pub const PARTITION: &str = "aws";

    /// The scope as the beginning of a stored key: `aws/000000000000/us-east-1`.
    pub fn key(&self) -> String {
        format!("{}/{}/{}", Self::PARTITION, self.account.as_str(), self.region.as_str())
    }

    /// The scope that `key` was made of; `None` for anything else.
    pub fn from_key(key: &str) -> Option<Self> {
        let mut parts = key.strip_prefix(Self::PARTITION)?.strip_prefix('/')?.splitn(2, '/');
        let (account, region) = (AccountId::parse(parts.next()?)?, Region::parse(parts.next()?)?);
        Some(Self { account, region })
    }

    /// `arn:aws:<service>:<region>:<account>:<resource>`.
    pub fn arn(&self, service: &str, resource: &str) -> String {
        format!(
            "arn:{}:{service}:{}:{}:{resource}",
            Self::PARTITION,
            self.region.as_str(),
            self.account.as_str()
        )
    }
}
