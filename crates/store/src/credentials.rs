//! Whom an access key id stands for: keys of users and sessions of roles, as the front door stored them, and the sessions of
//! functions, of which nothing is stored.
//!
//! Keys and sessions are sealed documents, beneath the account and the region of services without regions. Policies of roles are
//! read each time, so that a change counts at once.

use crate::contract::{Document, Store, StoreError};
use crate::function_sessions;
use lamplight_model::credentials::{self, AccessKey, Credential, Identity, KeyStatus, KeyUse, Session};
use lamplight_model::policy::aws_managed;
use lamplight_model::{AccountId, Region, Scope, Timestamp};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// Kind of the documents of access keys; the key is their id.
pub const ACCESS_KEY_KIND: &str = "sealed/access-key";
/// Kind of the documents of sessions; the key is their access key id.
pub const SESSION_KIND: &str = "sealed/sts-session";
/// Kind of the documents that say when a key was used.
pub const KEY_USE_KIND: &str = "access-key-use";
/// Kind of the documents of roles; the key is their name.
pub const ROLE_KIND: &str = "iam-role";
/// Kind of the documents of the account's managed policies; the key is their name.
pub const POLICY_KIND: &str = "iam-policy";
/// Beginning of the access key ids of sessions made here: temporary, as AWS's `ASIA`, and told from those of a real account,
/// which clients may have in their environment.
pub const SESSION_PREFIX: &str = "ASIALAMP";
/// How much later than the one that is stored a use must be to be written down, milliseconds.
const USE_RESOLUTION_MS: i64 = 60_000;

/// Where the documents of an account are.
pub fn scope(account: &AccountId) -> Scope {
    Scope { account: account.clone(), region: Region::default() }
}

/// The content of a document. Fails when it is something else than a `T`; the text of the content is in no error.
pub fn decode<T: DeserializeOwned>(kind: &str, document: Document) -> Result<T, StoreError> {
    let doing = format!("failed to read {kind} {}", document.key);
    serde_json::from_value(document.value)
        .map_err(|_| StoreError::Failed { doing, source: "the stored document has another form".into() })
}

async fn read<T: DeserializeOwned>(
    store: &dyn Store,
    scope: &Scope,
    kind: &str,
    key: &str,
) -> Result<Option<T>, StoreError> {
    store.get_document(scope, kind, key).await?.map(|document| decode(kind, document)).transpose()
}

/// What signatures of this access key id are compared with; `None` for one that was not made here, and for sessions of roles that
/// were deleted. `token` is the session token that came with it: that of a function says by itself whose it is.
///
/// Fails when storage does.
pub async fn find(
    store: &dyn Store,
    account: &AccountId,
    access_key_id: &str,
    token: Option<&str>,
) -> Result<Option<Credential>, StoreError> {
    let scope = scope(account);
    if access_key_id.starts_with(function_sessions::PREFIX) {
        let Some(token) = token else { return Ok(None) };
        return function_sessions::find(store, account, access_key_id, token).await;
    }
    if access_key_id.starts_with(SESSION_PREFIX) {
        let Some(session) = read::<Session>(store, &scope, SESSION_KIND, access_key_id).await? else {
            return Ok(None);
        };
        return of_session(store, account, access_key_id, session).await;
    }
    if !access_key_id.starts_with(credentials::ACCESS_KEY_PREFIX) {
        return Ok(None);
    }
    let key = read::<AccessKey>(store, &scope, ACCESS_KEY_KIND, access_key_id).await?;
    Ok(key.map(|key| of_user(account, key)))
}

fn of_user(account: &AccountId, key: AccessKey) -> Credential {
    Credential {
        secret: key.secret,
        token: None,
        expires_at: None,
        is_active: key.status == KeyStatus::Active,
        identity: Identity {
            account: account.as_str().to_owned(),
            access_key_id: key.id,
            arn: credentials::user_arn(account.as_str(), &key.user),
            user_id: key.user_id,
            role_arn: None,
            user: Some(key.user),
            policies: key.policy.into_iter().collect(),
            session_policy: None,
        },
    }
}

async fn of_session(
    store: &dyn Store,
    account: &AccountId,
    access_key_id: &str,
    session: Session,
) -> Result<Option<Credential>, StoreError> {
    let (arn, user_id) = (session.arn(account.as_str()), session.user_id());
    let (Some(secret), Some(token)) = (session.secret, session.token) else { return Ok(None) };
    // A session ends with its role. One that was deleted and made again under the same name is another role.
    let role = read::<Role>(store, &scope(account), ROLE_KIND, &session.role).await?;
    let Some(role) = role.filter(|role| role.id == session.role_id) else { return Ok(None) };
    let policies = role.policies(store, account).await?;
    Ok(Some(Credential {
        secret,
        token: Some(token),
        expires_at: Some(session.expires_at),
        is_active: true,
        identity: Identity {
            account: account.as_str().to_owned(),
            access_key_id: access_key_id.to_owned(),
            arn,
            user_id,
            role_arn: Some(role.arn(account)),
            user: None,
            policies,
            session_policy: session.policy,
        },
    }))
}

/// What is read of a role here. The front door writes the whole document.
#[derive(Deserialize)]
pub(crate) struct Role {
    pub(crate) name: String,
    path: String,
    pub(crate) id: String,
    policies: BTreeMap<String, String>,
    attached: Vec<String>,
}

/// The role of this ARN; `None` when there is none, and for one of another account or path.
pub(crate) async fn role(
    store: &dyn Store,
    account: &AccountId,
    role_arn: &str,
) -> Result<Option<Role>, StoreError> {
    let name = role_arn.rsplit('/').next().unwrap_or_default();
    let role = read::<Role>(store, &scope(account), ROLE_KIND, name).await?;
    Ok(role.filter(|role| role.arn(account) == role_arn))
}

/// `RoleId` of the role of this ARN; `None` when there is none.
///
/// Fails when storage does.
pub async fn role_id(
    store: &dyn Store,
    account: &AccountId,
    role_arn: &str,
) -> Result<Option<String>, StoreError> {
    Ok(role(store, account, role_arn).await?.map(|role| role.id))
}

impl Role {
    fn arn(&self, account: &AccountId) -> String {
        format!("arn:aws:iam::{}:role{}{}", account.as_str(), self.path, self.name)
    }

    /// The documents of all its policies, inline and attached.
    pub(crate) async fn policies(
        self: &Role,
        store: &dyn Store,
        account: &AccountId,
    ) -> Result<Vec<String>, StoreError> {
        let mut documents: Vec<String> = self.policies.values().cloned().collect();
        for arn in &self.attached {
            match aws_managed::find(arn) {
                Some(policy) => documents.push(policy.document.to_owned()),
                None => documents.extend(managed(store, account, arn).await?),
            }
        }
        Ok(documents)
    }
}

/// What is read of a managed policy here.
#[derive(Deserialize)]
struct ManagedPolicy {
    name: String,
    path: String,
    default_version: u32,
    versions: Vec<PolicyVersion>,
}

#[derive(Deserialize)]
struct PolicyVersion {
    number: u32,
    document: String,
}

/// The document that counts of the account's managed policy of this ARN.
async fn managed(store: &dyn Store, account: &AccountId, arn: &str) -> Result<Option<String>, StoreError> {
    let name = arn.rsplit('/').next().unwrap_or_default();
    let policy = read::<ManagedPolicy>(store, &scope(account), POLICY_KIND, name).await?;
    let its_arn = |policy: &ManagedPolicy| {
        format!("arn:aws:iam::{}:policy{}{}", account.as_str(), policy.path, policy.name)
    };
    let policy = policy.filter(|policy| its_arn(policy) == arn);
    Ok(policy.and_then(|policy| {
        let number = policy.default_version;
        policy.versions.into_iter().find(|version| version.number == number).map(|version| version.document)
    }))
}

/// The documents of a role's policies, inline and attached; `None` when there is no role of this ARN.
///
/// Fails when storage does.
pub async fn role_policies(
    store: &dyn Store,
    account: &AccountId,
    role_arn: &str,
) -> Result<Option<Vec<String>>, StoreError> {
    match role(store, account, role_arn).await? {
        Some(role) => role.policies(store, account).await.map(Some),
        None => Ok(None),
    }
}

/// When a key was last used; `None` for never.
pub async fn last_use(
    store: &dyn Store,
    account: &AccountId,
    access_key_id: &str,
) -> Result<Option<KeyUse>, StoreError> {
    read(store, &scope(account), KEY_USE_KIND, access_key_id).await
}

/// Whether a use is so much later than the one that is known that it is worth a write.
pub fn is_worth_writing(known: Option<Timestamp>, now: Timestamp) -> bool {
    known.is_none_or(|known| now.0.saturating_sub(known.0) >= USE_RESOLUTION_MS)
}

/// Writes down that a key was used.
pub async fn put_use(
    store: &dyn Store,
    account: &AccountId,
    access_key_id: &str,
    key_use: &KeyUse,
) -> Result<(), StoreError> {
    let value = serde_json::to_value(key_use).map_err(|error| StoreError::Failed {
        doing: format!("failed to write the use of {access_key_id} down"),
        source: Box::new(error),
    })?;
    let document = Document { key: access_key_id.to_owned(), value };
    store.put_document(&scope(account), KEY_USE_KIND, document, crate::Expect::Anything).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn uses_are_written_once_a_minute() {
        assert!(is_worth_writing(None, Timestamp(0)));
        assert!(!is_worth_writing(Some(Timestamp(0)), Timestamp(59_999)));
        assert!(is_worth_writing(Some(Timestamp(0)), Timestamp(60_000)));
        assert!(!is_worth_writing(Some(Timestamp(60_000)), Timestamp(0)), "the clock went back");
    }

    #[tokio::test]
    async fn a_session_ends_with_its_role() {
        let directory = tempfile::tempdir().unwrap();
        let store = crate::open(crate::Options::new(directory.path())).unwrap().store;
        let (account, id) = (AccountId::default(), format!("{SESSION_PREFIX}1"));
        let scope = scope(&account);
        let session = Session {
            role: "caller".to_owned(),
            role_id: "AROA1".to_owned(),
            name: "me".to_owned(),
            expires_at: Timestamp(1),
            secret: Some("secret".to_owned()),
            token: Some("token".to_owned()),
            policy: None,
        };
        let put = async |kind, key: &str, value| {
            let document = Document { key: key.to_owned(), value };
            store.put_document(&scope, kind, document, crate::Expect::Anything).await.unwrap();
        };
        let role = |id: &str| json!({"name": "caller", "path": "/", "id": id, "policies": {"p": "{}"}, "attached": []});
        let found = async || find(&*store, &account, &id, None).await.unwrap();
        put(SESSION_KIND, &id, serde_json::to_value(&session).unwrap()).await;
        assert!(found().await.is_none(), "there is no such role");
        put(ROLE_KIND, "caller", role("AROA1")).await;
        let identity = found().await.unwrap().identity;
        assert_eq!(identity.role_arn.as_deref(), Some("arn:aws:iam::000000000000:role/caller"));
        assert_eq!(identity.policies, ["{}"]);
        put(ROLE_KIND, "caller", role("AROA2")).await;
        assert!(found().await.is_none(), "it is another role of this name");
    }

    #[test]
    fn what_holds_secrets_is_sealed() {
        for kind in [ACCESS_KEY_KIND, SESSION_KIND] {
            assert!(kind.starts_with(crate::sealed_documents::KIND_PREFIX), "{kind}");
        }
    }
}
