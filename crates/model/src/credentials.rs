//! Access keys and temporary credentials, and whom they stand for.
//!
//! The front door makes and stores them, `lamplight_store::credentials` finds them, the gateway compares signatures with
//! their secrets.

use crate::scope::Scope;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

/// Beginning of the ids of keys made here: AWS's for long-term keys of users.
pub const ACCESS_KEY_PREFIX: &str = "AKIA";
/// Length of the ids.
pub const ACCESS_KEY_ID_LENGTH: usize = 20;
/// Length of the secrets.
pub const SECRET_LENGTH: usize = 40;
/// Longest name of a user. Source: IAM quotas.
const USER_NAME_LENGTH: usize = 64;

/// What a key may be used for. Named as AWS prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyStatus {
    /// It signs.
    Active,
    /// It is refused.
    Inactive,
}

/// An access key of a user, as it is stored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKey {
    /// `AccessKeyId`.
    pub id: String,
    /// `SecretAccessKey`.
    pub secret: String,
    /// `UserName`.
    pub user: String,
    /// `UserId`: the same for all keys of a user.
    pub user_id: String,
    /// Whether it counts.
    pub status: KeyStatus,
    /// The policy document that says what it may; `None`: only what policies of resources allow.
    pub policy: Option<String>,
    /// `CreateDate`.
    pub created_at: Timestamp,
}

impl std::fmt::Debug for AccessKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("AccessKey")
            .field("id", &self.id)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// When a key was last used, to the minute, and what for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyUse {
    /// `LastUsedDate`.
    pub at: Timestamp,
    /// `ServiceName`: that of the signature.
    pub service: String,
    /// `Region`: that of the signature.
    pub region: String,
}

/// A session of a role, as it is stored.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// `RoleName`.
    pub role: String,
    /// `RoleId`.
    pub role_id: String,
    /// `RoleSessionName`.
    pub name: String,
    /// `Expiration`.
    pub expires_at: Timestamp,
    /// `SecretAccessKey`; `None` for sessions of a release that did not keep it, which sign nothing.
    #[serde(default)]
    pub secret: Option<String>,
    /// `SessionToken`, as `secret`.
    #[serde(default)]
    pub token: Option<String>,
    /// `Policy`: the session may do only what this allows, too.
    #[serde(default)]
    pub policy: Option<String>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("Session");
        shown.field("role", &self.role).field("name", &self.name).finish_non_exhaustive()
    }
}

impl Session {
    /// ARN of the assumed role.
    pub fn arn(&self, account: &str) -> String {
        format!("arn:aws:sts::{account}:assumed-role/{}/{}", self.role, self.name)
    }

    /// `AssumedRoleId`, and `UserId` of whoever has it.
    pub fn user_id(&self) -> String {
        format!("{}:{}", self.role_id, self.name)
    }
}

/// Temporary credentials as somebody signs with them. Prints no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct TemporaryCredentials {
    /// `AccessKeyId`.
    pub access_key_id: String,
    /// `SecretAccessKey`.
    pub secret_access_key: String,
    /// `SessionToken`.
    pub session_token: String,
    /// `Expiration`.
    pub expires_at: Timestamp,
    /// `RoleId` of the role whose session they are: they end with it. `None` when there was no such role.
    pub role_id: Option<String>,
}

impl std::fmt::Debug for TemporaryCredentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("TemporaryCredentials");
        shown
            .field("access_key_id", &self.access_key_id)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// Whom a signature stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The account.
    pub account: String,
    /// The id it signed with.
    pub access_key_id: String,
    /// `arn:aws:iam::…:user/…` or `arn:aws:sts::…:assumed-role/…/…`.
    pub arn: String,
    /// `AIDA…` of a user, `AROA…:<session>` of a session.
    pub user_id: String,
    /// The role of a session.
    pub role_arn: Option<String>,
    /// The user's name.
    pub user: Option<String>,
    /// Policy documents that say what it may.
    pub policies: Vec<String>,
    /// The policy a session was narrowed with.
    pub session_policy: Option<String>,
}

/// What a signature is compared with, and whom it stands for when it is right. Prints no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// The secret key.
    pub secret: String,
    /// The session token that must come with it.
    pub token: Option<String>,
    /// Until when it counts.
    pub expires_at: Option<Timestamp>,
    /// Whether it was not switched off.
    pub is_active: bool,
    /// Whom it stands for.
    pub identity: Identity,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Credential").field("identity", &self.identity.arn).finish_non_exhaustive()
    }
}

/// ARN of a user.
pub fn user_arn(account: &str, user: &str) -> String {
    format!("arn:{}:iam::{account}:user/{user}", Scope::PARTITION)
}

/// Whether a name can be a user's. Source: IAM CreateUser, `UserName`.
pub fn is_user_name(text: &str) -> bool {
    (1..=USER_NAME_LENGTH).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte))
}

/// The policy of a new key by a name the command line knows: `all` calls and manages functions and calls APIs, `invoke-only`
/// calls functions, their URLs and APIs.
pub fn named_policy(name: &str) -> Option<&'static str> {
    match name {
        "all" => Some(
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["lambda:*","execute-api:*"],"Resource":"*"}]}"#,
        ),
        "invoke-only" => Some(
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["lambda:InvokeFunction","lambda:InvokeFunctionUrl","execute-api:Invoke"],"Resource":"*"}]}"#,
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy;

    #[test]
    fn names_of_users() {
        for good in ["a", "ann@example.com", "a_+=,.@-9", &"u".repeat(64)] {
            assert!(is_user_name(good), "{good}");
        }
        for wrong in ["", "a b", "ä", "a/b", "a:b", &"u".repeat(65)] {
            assert!(!is_user_name(wrong), "{wrong}");
        }
    }

    #[test]
    fn named_policies_allow_what_they_say() {
        let allows = |name: &str, action: &str| {
            policy::evaluate(named_policy(name), action, "arn:aws:lambda:us-east-1:000000000000:function:f")
                == policy::Decision::Allowed
        };
        for action in ["lambda:InvokeFunction", "lambda:InvokeFunctionUrl", "execute-api:Invoke"] {
            assert!(allows("all", action) && allows("invoke-only", action), "{action}");
        }
        assert!(allows("all", "lambda:DeleteFunction") && !allows("invoke-only", "lambda:DeleteFunction"));
        assert!(!allows("all", "s3:GetObject") && named_policy("other").is_none());
    }

    #[test]
    fn secrets_are_not_printed() {
        let session = Session {
            role: "r".to_owned(),
            role_id: "AROA".to_owned(),
            name: "s".to_owned(),
            expires_at: Timestamp(0),
            secret: Some("hush".to_owned()),
            token: Some("hush".to_owned()),
            policy: None,
        };
        assert!(!format!("{session:?}").contains("hush"));
        let credentials = TemporaryCredentials {
            access_key_id: "ASIA".to_owned(),
            secret_access_key: "hush".to_owned(),
            session_token: "hush".to_owned(),
            expires_at: Timestamp(0),
            role_id: None,
        };
        assert!(!format!("{credentials:?}").contains("hush"));
    }
}
