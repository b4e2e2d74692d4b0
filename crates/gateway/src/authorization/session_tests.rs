//! Random requests signed with the credentials of an instance, as the store issues and finds them: they are let through, and no bit
//! of them can be another.

use super::tests::{EXPECTED, How, NOON, PLAIN, PRESIGNED, Wire, part};
use super::*;
use http::HeaderValue;
use lamplight_model::credentials::TemporaryCredentials;
use lamplight_store::{Document, Expect, Options, Store, function_sessions};
use proptest::prelude::*;
use proptest::sample::Index;
use std::sync::LazyLock;
use tokio::runtime::Runtime;

const ROLE: &str = "arn:aws:iam::000000000000:role/caller";

/// A store with one role, and credentials of one of its sessions.
struct Issuer {
    runtime: Runtime,
    store: Arc<dyn Store>,
    issued: TemporaryCredentials,
    _directory: tempfile::TempDir,
}

static ISSUER: LazyLock<Issuer> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let store = lamplight_store::open(Options::new(directory.path())).unwrap().store;
    let issued = runtime.block_on(async {
        let value = json!({"name": "caller", "path": "/", "id": "AROA1", "policies": {}, "attached": []});
        let document = Document { key: "caller".to_owned(), value };
        let (account, kind) = (AccountId::default(), credentials::ROLE_KIND);
        store.put_document(&credentials::scope(&account), kind, document, Expect::Absent).await.unwrap();
        function_sessions::issue(&*store, &account, ROLE, "hello", NOON).await.unwrap()
    });
    Issuer { runtime, store, issued, _directory: directory }
});

impl Issuer {
    fn how(&self, presigned: bool) -> How<'_> {
        let key = (self.issued.access_key_id.as_str(), self.issued.secret_access_key.as_str());
        let token = Some(self.issued.session_token.as_str());
        How { key, token, ..if presigned { PRESIGNED } else { PLAIN } }
    }

    /// Who signed it, as `identify` finds out.
    fn verify(&self, wire: &Wire, now: Timestamp) -> Result<String, Refusal> {
        let claim = Claim::read(&wire.head(), EXPECTED, now)?;
        let (id, token) = (&claim.access_key_id, claim.token.as_deref());
        let account = AccountId::default();
        let found = credentials::find(&*self.store, &account, id, token);
        let credential = self.runtime.block_on(found)?.ok_or(Refusal::UnknownKey)?;
        claim.verify(&wire.head(), &wire.body, &credential, now)?;
        Ok(credential.identity.arn)
    }
}

/// What of a request is signed or says who signed it.
#[derive(Debug, Clone, Copy)]
enum Place {
    Path,
    Query,
    Body,
    Header(&'static str),
}

/// The request with one bit changed; `None` when there is nothing to change there, or what comes of it is no request.
fn changed(wire: &Wire, place: Place, at: Index, bit: u8) -> Option<Wire> {
    let mut other = wire.clone();
    let flip = |bytes: &[u8]| -> Option<Vec<u8>> {
        let mut bytes = bytes.to_vec();
        let at = if bytes.is_empty() { return None } else { at.index(bytes.len()) };
        bytes[at] ^= 1 << bit;
        Some(bytes)
    };
    match place {
        Place::Path => other.path = String::from_utf8(flip(wire.path.as_bytes())?).ok()?,
        Place::Query => other.query = String::from_utf8(flip(wire.query.as_bytes())?).ok()?,
        Place::Body => other.body = flip(&wire.body)?,
        Place::Header(name) => {
            let value = HeaderValue::from_bytes(&flip(wire.headers.get(name)?.as_bytes())?).ok()?;
            other.headers.insert(name, value);
        }
    }
    Some(other)
}

/// Everything a request means, its signature included: `%c3` in a query is `%C3`.
fn meaning(wire: &Wire) -> (Vec<u8>, Option<Vec<u8>>) {
    let names: Vec<_> = wire.headers.keys().cloned().collect();
    let said = wire.headers.get("authorization").map(|value| value.as_bytes().to_vec());
    (canonical::request(&wire.head(), &names, None, &canonical::hash(&wire.body)), said)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    #[test]
    fn sessions_of_functions_sign_and_no_bit_may_change(
        path in part("/!$'()*,:;@="),
        query in part("=&/?:@!$'()*,;"),
        body in ".{0,20}",
        header in "[ -~]{0,20}",
        presigned in any::<bool>(),
        place in prop::sample::select(vec![
            Place::Path, Place::Query, Place::Body, Place::Header("host"), Place::Header("x-own"), Place::Header("authorization"),
            Place::Header("x-amz-date"), Place::Header("x-amz-security-token"),
        ]),
        at in any::<Index>(),
        bit in 0_u8..8,
    ) {
        prop_assume!(!canonical::has_dot_segments(&path));
        let how = ISSUER.how(presigned);
        let wire = Wire::new("POST", &format!("/{path}"), &query, &body).with("x-own", &header).signed(&how);
        let session = "arn:aws:sts::000000000000:assumed-role/caller/hello";
        prop_assert_eq!(ISSUER.verify(&wire, NOON), Ok(session.to_owned()), "{}", wire.uri());
        if let Some(other) = changed(&wire, place, at, bit) && meaning(&other) != meaning(&wire) {
            prop_assert!(ISSUER.verify(&other, NOON).is_err(), "{:?} of {:?}", place, other);
        }
    }
}

#[test]
fn they_end() {
    let end = ISSUER.issued.expires_at;
    let verify = |now| {
        ISSUER.verify(&Wire::new("GET", "/", "", "").signed(&How { at: now, ..ISSUER.how(false) }), now)
    };
    assert!(verify(Timestamp(end.0 - 1_000)).is_ok());
    assert_eq!(verify(end), Err(Refusal::ExpiredToken));
}
