//! Credentials of instances: sessions of their functions' roles, of which nothing is stored.
//!
//! The token says whose it is and proves it; everything else follows from the token's content under a secret of the data
//! directory, so that a start writes nothing and a restarted server still knows those it made before:
//!
//! ```text
//! secret   = Store::secret_for("sessions of functions")
//! content  = JSON: account, role, the role's id, session name, end, 16 random bytes
//! proof    = HMAC-SHA256(secret, "token" content)
//! token    = base64(1 byte format, proof, content)
//! key id   = PREFIX, 12 letters of HMAC-SHA256(secret, "access key id" content)
//! secret key = base64 of 30 bytes of HMAC-SHA256(secret, "secret access key" content)
//! ```
//!
//! The content is no secret from whoever has the token: a function knows its role.

use crate::contract::{Store, StoreError};
use crate::credentials;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use lamplight_model::credentials::{
    ACCESS_KEY_ID_LENGTH, Credential, Identity, SECRET_LENGTH, Session, TemporaryCredentials,
};
use lamplight_model::{AccountId, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::time::Duration;

/// Beginning of their access key ids: temporary, as AWS's `ASIA`, and told from those of `AssumeRole`.
pub const PREFIX: &str = "ASIALAMF";
/// How long they hold: the longest session of a role. Source: IAM user guide, "Maximum session duration". AWS documents no time for
/// those of functions, only that they hold for the instance's life, which it ends every few hours.
pub const LIFE: Duration = Duration::from_secs(12 * 3_600);

/// What the secret is for.
const PURPOSE: &str = "sessions of functions";
/// First byte of a token; another form gets another one.
const FORMAT: u8 = 1;
/// Bytes of an HMAC-SHA256.
const PROOF_BYTES: usize = 32;
/// Longest token that is looked at, bytes: those made here have a few hundred.
const LONGEST_TOKEN: usize = 4_096;
/// Characters of key ids after their beginning. Their number is a power of two.
const ID_ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// What a token says.
#[derive(Serialize, Deserialize)]
struct Content {
    account: String,
    /// ARN.
    role: String,
    /// `None` when there was no such role: it is whichever has the name when it is used.
    role_id: Option<String>,
    /// `RoleSessionName`.
    session: String,
    expires_at: Timestamp,
    /// No two sessions have the same credentials. One is of one instance, or of all that were forked of a version zygote whose
    /// import read it.
    nonce: [u8; 16],
}

/// Makes credentials of a session of the role `role_arn`, which hold for `LIFE` from `now` on.
///
/// Reads the role; fails when storage does.
pub async fn issue(
    store: &dyn Store,
    account: &AccountId,
    role_arn: &str,
    session_name: &str,
    now: Timestamp,
) -> Result<TemporaryCredentials, StoreError> {
    let content = Content {
        account: account.as_str().to_owned(),
        role: role_arn.to_owned(),
        role_id: credentials::role_id(store, account, role_arn).await?,
        session: session_name.to_owned(),
        expires_at: now.plus(LIFE),
        nonce: rand::random(),
    };
    let text = serde_json::to_vec(&content).map_err(|error| StoreError::Failed {
        doing: "failed to write the session of a function down".to_owned(),
        source: Box::new(error),
    })?;
    let secrets = Secrets { secret: store.secret_for(PURPOSE), content: &text };
    let mut token = vec![FORMAT];
    token.extend(secrets.hmac("token").finalize().into_bytes());
    token.extend(&text);
    Ok(TemporaryCredentials {
        access_key_id: secrets.access_key_id(),
        secret_access_key: secrets.secret_access_key(),
        session_token: STANDARD.encode(token),
        expires_at: content.expires_at,
        role_id: content.role_id,
    })
}

/// What signatures with the credentials of this token are compared with; `None` for a token that was not made here, not for this
/// account or not for this key id, and when its role is gone.
///
/// Fails when storage does.
pub(crate) async fn find(
    store: &dyn Store,
    account: &AccountId,
    access_key_id: &str,
    token: &str,
) -> Result<Option<Credential>, StoreError> {
    let secret = store.secret_for(PURPOSE);
    let Some((secrets, content)) = read(token).and_then(|(proof, text)| check(secret, proof, text)) else {
        return Ok(None);
    };
    if content.account != account.as_str() || secrets.access_key_id() != access_key_id {
        return Ok(None);
    }
    let role = credentials::role(store, account, &content.role).await?;
    // One that was deleted and made again under the same name is another role.
    let is_same = |id: &str| content.role_id.as_deref().is_none_or(|expected| expected == id);
    let Some(role) = role.filter(|role| is_same(&role.id)) else { return Ok(None) };
    let policies = role.policies(store, account).await?;
    let session = Session {
        role: role.name,
        role_id: role.id,
        name: content.session,
        expires_at: content.expires_at,
        secret: None,
        token: None,
        policy: None,
    };
    Ok(Some(Credential {
        secret: secrets.secret_access_key(),
        token: Some(token.to_owned()),
        expires_at: Some(session.expires_at),
        is_active: true,
        identity: Identity {
            account: account.as_str().to_owned(),
            access_key_id: access_key_id.to_owned(),
            arn: session.arn(account.as_str()),
            user_id: session.user_id(),
            role_arn: Some(content.role),
            user: None,
            policies,
            session_policy: None,
        },
    }))
}

/// Proof and content of a token. Base64 is taken in its one canonical form.
fn read(token: &str) -> Option<([u8; PROOF_BYTES], Vec<u8>)> {
    if token.len() > LONGEST_TOKEN {
        return None;
    }
    let bytes = STANDARD.decode(token).ok()?;
    let (proof, text) = bytes.strip_prefix(&[FORMAT])?.split_first_chunk()?;
    Some((*proof, text.to_vec()))
}

/// What is derived from a content, for as long as it is needed.
struct Secrets<Text> {
    secret: [u8; 32],
    content: Text,
}

/// The content, if the proof is its. Compared in constant time.
fn check(secret: [u8; 32], proof: [u8; PROOF_BYTES], text: Vec<u8>) -> Option<(Secrets<Vec<u8>>, Content)> {
    let secrets = Secrets { secret, content: text };
    secrets.hmac("token").verify_slice(&proof).ok()?;
    let content = serde_json::from_slice(&secrets.content).ok()?;
    Some((secrets, content))
}

impl<Text: AsRef<[u8]>> Secrets<Text> {
    fn hmac(&self, purpose: &str) -> Hmac<Sha256> {
        // As HMAC itself fills a key up (RFC 2104, 2).
        let mut block = [0; 64];
        block[..self.secret.len()].copy_from_slice(&self.secret);
        let mut hmac = Hmac::<Sha256>::new(&block.into());
        // No purpose is the beginning of another one; the content begins with a brace.
        hmac.update(purpose.as_bytes());
        hmac.update(self.content.as_ref());
        hmac
    }

    fn access_key_id(&self) -> String {
        let bytes = self.hmac("access key id").finalize().into_bytes();
        let letters = bytes.iter().take(ACCESS_KEY_ID_LENGTH - PREFIX.len());
        let letters = letters.map(|byte| char::from(ID_ALPHABET[usize::from(byte % 32)]));
        PREFIX.chars().chain(letters).collect()
    }

    fn secret_access_key(&self) -> String {
        let bytes = self.hmac("secret access key").finalize().into_bytes();
        STANDARD.encode(&bytes[..SECRET_LENGTH / 4 * 3])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Document, Expect, Options};
    use serde_json::json;
    use std::sync::Arc;

    const ROLE: &str = "arn:aws:iam::000000000000:role/service/caller";
    const NOW: Timestamp = Timestamp(1_769_860_800_000);

    struct Fixture {
        directory: tempfile::TempDir,
        store: Arc<dyn Store>,
    }

    impl Fixture {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let store = crate::open(Options::new(directory.path())).unwrap().store;
            Self { directory, store }
        }

        async fn put_role(&self, id: &str) {
            let value = json!({"name": "caller", "path": "/service/", "id": id, "policies": {"p": "{}"}, "attached": []});
            let document = Document { key: "caller".to_owned(), value };
            let scope = credentials::scope(&AccountId::default());
            self.store
                .put_document(&scope, credentials::ROLE_KIND, document, Expect::Anything)
                .await
                .unwrap();
        }

        async fn issue(&self) -> TemporaryCredentials {
            issue(&*self.store, &AccountId::default(), ROLE, "hello", NOW).await.unwrap()
        }

        async fn find(&self, id: &str, token: &str) -> Option<Credential> {
            credentials::find(&*self.store, &AccountId::default(), id, Some(token)).await.unwrap()
        }
    }

    #[tokio::test]
    async fn what_was_issued_is_found_also_after_a_restart() {
        let fixture = Fixture::new();
        fixture.put_role("AROA1").await;
        let (one, other) = (fixture.issue().await, fixture.issue().await);
        assert_ne!(one, other);
        assert_eq!((one.access_key_id.len(), one.secret_access_key.len()), (20, 40));
        assert_eq!((one.expires_at, one.role_id.as_deref()), (NOW.plus(LIFE), Some("AROA1")));
        assert!(one.session_token.len() < LONGEST_TOKEN / 4, "{}", one.session_token.len());
        let Fixture { directory, store } = fixture;
        drop(store);
        let store = crate::open(Options::new(directory.path())).unwrap().store;
        let fixture = Fixture { directory, store };
        let found = fixture.find(&one.access_key_id, &one.session_token).await.unwrap();
        assert_eq!(found.secret, one.secret_access_key);
        assert_eq!(
            (found.token.as_ref(), found.expires_at),
            (Some(&one.session_token), Some(one.expires_at))
        );
        assert_eq!(found.identity.arn, "arn:aws:sts::000000000000:assumed-role/caller/hello");
        assert_eq!(found.identity.user_id, "AROA1:hello");
        assert_eq!(found.identity.role_arn.as_deref(), Some(ROLE));
        assert_eq!(found.identity.policies, ["{}"]);
        assert!(fixture.find(&one.access_key_id, &other.session_token).await.is_none(), "another's token");
        let stranger = AccountId::parse("111111111111").unwrap();
        let elsewhere =
            credentials::find(&*fixture.store, &stranger, &one.access_key_id, Some(&one.session_token)).await;
        assert!(elsewhere.unwrap().is_none(), "another account");
        let alone = credentials::find(&*fixture.store, &AccountId::default(), &one.access_key_id, None).await;
        assert!(alone.unwrap().is_none(), "no token");
    }

    #[tokio::test]
    async fn a_session_ends_with_its_role() {
        let fixture = Fixture::new();
        let before = fixture.issue().await;
        assert!(
            fixture.find(&before.access_key_id, &before.session_token).await.is_none(),
            "there is no such role"
        );
        fixture.put_role("AROA1").await;
        let named = fixture.find(&before.access_key_id, &before.session_token).await;
        assert!(named.is_some(), "the function's configuration names it");
        let of_it = fixture.issue().await;
        fixture.put_role("AROA2").await;
        assert!(
            fixture.find(&of_it.access_key_id, &of_it.session_token).await.is_none(),
            "it is another role"
        );
    }

    #[tokio::test]
    async fn any_changed_bit_of_a_token_makes_it_nobodys() {
        let fixture = Fixture::new();
        fixture.put_role("AROA1").await;
        let issued = fixture.issue().await;
        let (id, token) = (&issued.access_key_id, issued.session_token.as_bytes());
        for at in 0..token.len() {
            for bit in 0..8 {
                let mut changed = token.to_vec();
                changed[at] ^= 1 << bit;
                let Ok(changed) = String::from_utf8(changed) else { continue };
                assert!(fixture.find(id, &changed).await.is_none(), "byte {at}, bit {bit}");
            }
            let cut = std::str::from_utf8(&token[..at]).unwrap();
            assert!(fixture.find(id, cut).await.is_none(), "cut at {at}");
        }
        let elsewhere = Fixture::new();
        elsewhere.put_role("AROA1").await;
        assert!(elsewhere.find(id, &issued.session_token).await.is_none(), "another data directory");
    }
}
