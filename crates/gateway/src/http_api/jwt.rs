//! What a JSON Web Token says, and whether a JWT authorizer believes it. Pure: keys and time come from the caller.
//!
//! Source: API Gateway developer guide, "Control access to HTTP APIs with JWT authorizers"; RFC 7515, 7517, 7518, 7519. Signatures
//! are checked by ring, which is in the program anyway.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lamplight_model::Timestamp;
use lamplight_model::http_api::JwtConfiguration;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Longest token read, bytes: no header is longer.
const TOKEN_BYTES: usize = 64 * 1024;

/// One key of an issuer.
#[derive(Debug, Clone, Deserialize)]
pub struct Key {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// The keys of an issuer.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct KeySet {
    keys: Vec<Key>,
}

/// A token, taken apart; nothing of it is believed yet.
#[derive(Debug)]
pub struct Token<'a> {
    header: Header,
    claims: Map<String, Value>,
    signed: &'a str,
    signature: Vec<u8>,
}

#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood. Source: RFC 7515, 4.1.11.
    crit: Option<Value>,
}

/// Why a token is not believed; the text is for `WWW-Authenticate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No token.
    #[error("the token could not be parsed")]
    Malformed,
    /// An algorithm that is not taken; `none` and those with shared secrets among them.
    #[error("the signing algorithm is not supported")]
    Algorithm,
    /// No key of the issuer has this id.
    #[error("unable to find the signing key")]
    UnknownKey,
    /// Signed by another key, or changed.
    #[error("the signature is invalid")]
    Signature,
    /// Of another issuer.
    #[error("the token has an invalid issuer")]
    Issuer,
    /// For somebody else.
    #[error("the token has an invalid audience")]
    Audience,
    /// Over.
    #[error("the token has expired")]
    Expired,
    /// From the future.
    #[error("the token is not valid yet")]
    Early,
    /// The issuer's keys cannot be had.
    #[error("unable to fetch the keys of the issuer")]
    Issuing,
}

impl KeySet {
    /// Reads a JSON Web Key Set. Keys of kinds that are not known are left out.
    pub fn parse(document: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Raw {
            keys: Vec<Value>,
        }
        let raw: Raw = serde_json::from_slice(document).ok()?;
        let keys = raw.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok()).collect();
        Some(Self { keys })
    }

    /// Whether there is a key that a token names. A token without an id may be of any.
    pub fn has(&self, token: &Token<'_>) -> bool {
        self.candidates(token).next().is_some()
    }

    fn candidates<'a>(&'a self, token: &'a Token<'_>) -> impl Iterator<Item = &'a Key> {
        self.keys.iter().filter(|key| {
            (token.header.kid.is_none() || key.kid == token.header.kid)
                && key.usage.as_deref().is_none_or(|usage| usage == "sig")
                && key.alg.as_deref().is_none_or(|algorithm| algorithm == token.header.alg)
        })
    }
}

impl<'a> Token<'a> {
    /// Takes a token apart, with or without `Bearer` before it.
    pub fn parse(text: &'a str) -> Result<Self, Refusal> {
        let text = match text.get(..7) {
            Some(scheme) if scheme.eq_ignore_ascii_case("bearer ") => text[7..].trim_start(),
            _ => text,
        };
        if text.len() > TOKEN_BYTES {
            return Err(Refusal::Malformed);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(Refusal::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(Refusal::Malformed)?;
        let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Malformed);
        let header: Header = serde_json::from_slice(&bytes(header)?).map_err(|_| Refusal::Malformed)?;
        let claims = serde_json::from_slice(&bytes(claims)?).map_err(|_| Refusal::Malformed)?;
        if header.crit.is_some() {
            return Err(Refusal::Malformed);
        }
        Ok(Self { header, claims, signed, signature: bytes(signature)? })
    }

    /// The claims, when the token is signed by one of `keys`, of the issuer and for the audience, and `now` is within its time.
    pub fn verify(
        self,
        keys: &KeySet,
        expected: &JwtConfiguration,
        now: Timestamp,
    ) -> Result<Map<String, Value>, Refusal> {
        let mut refusal = Refusal::UnknownKey;
        let mut believed = false;
        for key in keys.candidates(&self) {
            match self.check_signature(key) {
                Ok(()) => {
                    believed = true;
                    break;
                }
                Err(why) => refusal = why,
            }
        }
        if !believed {
            return Err(refusal);
        }
        check_claims(&self.claims, expected, now)?;
        Ok(self.claims)
    }

    fn check_signature(&self, key: &Key) -> Result<(), Refusal> {
        let signed = self.signed.as_bytes();
        let bytes = |member: &Option<String>| {
            let text = member.as_deref().ok_or(Refusal::UnknownKey)?;
            URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| Refusal::UnknownKey)
        };
        let rsa = |parameters: &'static RsaParameters| {
            if key.kty != "RSA" {
                return Err(Refusal::UnknownKey);
            }
            let public = RsaPublicKeyComponents { n: bytes(&key.n)?, e: bytes(&key.e)? };
            public.verify(parameters, signed, &self.signature).map_err(|_| Refusal::Signature)
        };
        let ecdsa = |curve: &str, algorithm, length: usize| {
            let (x, y) = (bytes(&key.x)?, bytes(&key.y)?);
            if key.kty != "EC" || key.crv.as_deref() != Some(curve) || x.len() != length || y.len() != length
            {
                return Err(Refusal::UnknownKey);
            }
            // An uncompressed point. Source: SEC 1, 2.3.3.
            let point = [&[4][..], &x, &y].concat();
            UnparsedPublicKey::new(algorithm, point)
                .verify(signed, &self.signature)
                .map_err(|_| Refusal::Signature)
        };
        match self.header.alg.as_str() {
            "RS256" => rsa(&RSA_PKCS1_2048_8192_SHA256),
            "RS384" => rsa(&RSA_PKCS1_2048_8192_SHA384),
            "RS512" => rsa(&RSA_PKCS1_2048_8192_SHA512),
            "ES256" => ecdsa("P-256", &ECDSA_P256_SHA256_FIXED, 32),
            "ES384" => ecdsa("P-384", &ECDSA_P384_SHA384_FIXED, 48),
            _ => Err(Refusal::Algorithm),
        }
    }
}

/// Source: developer guide, "Authorizing API requests", step 4: `iss`, `aud` or `client_id`, `exp`, `nbf`, `iat`.
fn check_claims(
    claims: &Map<String, Value>,
    expected: &JwtConfiguration,
    now: Timestamp,
) -> Result<(), Refusal> {
    if claims.get("iss").and_then(Value::as_str) != Some(expected.issuer.as_str()) {
        return Err(Refusal::Issuer);
    }
    let is_meant =
        |value: &Value| value.as_str().is_some_and(|one| expected.audience.iter().any(|own| own == one));
    let meant = match (claims.get("aud"), claims.get("client_id")) {
        (Some(Value::Array(audiences)), _) => audiences.iter().any(is_meant),
        (Some(audience), _) => is_meant(audience),
        (None, Some(client)) => is_meant(client),
        (None, None) => false,
    };
    if !meant {
        return Err(Refusal::Audience);
    }
    let now = now.as_millis() as f64 / 1_000.0;
    let moment = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or(Refusal::Malformed),
    };
    // A token without an end is none.
    if moment("exp")?.ok_or(Refusal::Expired)? <= now {
        return Err(Refusal::Expired);
    }
    for name in ["nbf", "iat"] {
        if moment(name)?.is_some_and(|begin| begin > now) {
            return Err(Refusal::Early);
        }
    }
    Ok(())
}

/// The scopes of a token: `scope`, else `scp`, a text with spaces or a list.
pub fn scopes(claims: &Map<String, Value>) -> Vec<String> {
    match claims.get("scope").or_else(|| claims.get("scp")) {
        Some(Value::String(text)) => text.split_whitespace().map(str::to_owned).collect(),
        Some(Value::Array(list)) => list.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    }
}

/// Claims as events show them: every one a text. Lists and objects are printed as Go prints them, which AWS was seen to do
/// (`cognito:groups` is `[one two]`).
pub fn shown(claims: &Map<String, Value>) -> Map<String, Value> {
    claims.iter().map(|(name, value)| (name.clone(), Value::String(text(value)))).collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(text).collect::<Vec<_>>().join(" ")),
        Value::Object(members) => {
            let mut members: Vec<String> =
                members.iter().map(|(name, value)| format!("{name}:{}", text(value))).collect();
            members.sort_unstable();
            format!("map[{}]", members.join(" "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
    use serde_json::json;

    const NOW: Timestamp = Timestamp(1_000_000_000);

    fn configuration() -> JwtConfiguration {
        JwtConfiguration { audience: vec!["pets".to_owned()], issuer: "https://issuer".to_owned() }
    }

    fn claims(changes: Value) -> Value {
        let mut claims = json!({"iss": "https://issuer", "aud": "pets", "exp": 1_000_060, "iat": 999_999});
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    }

    /// A key with its set, and what signs with it.
    fn issuer() -> (KeySet, impl Fn(Value, Value) -> String) {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
        let point = pair.public_key().as_ref()[1..].to_vec();
        let set = json!({"keys": [{"kty": "weird"}, {
            "kty": "EC", "crv": "P-256", "kid": "one", "use": "sig",
            "x": URL_SAFE_NO_PAD.encode(&point[..32]), "y": URL_SAFE_NO_PAD.encode(&point[32..])
        }]});
        let sign = move |header: Value, claims: Value| {
            let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
            let signed = format!("{}.{}", part(&header), part(&claims));
            let signature = pair.sign(&random, signed.as_bytes()).unwrap();
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
        };
        (KeySet::parse(set.to_string().as_bytes()).unwrap(), sign)
    }

    fn verified(keys: &KeySet, token: &str) -> Result<Map<String, Value>, Refusal> {
        Token::parse(token)?.verify(keys, &configuration(), NOW)
    }

    #[test]
    fn tokens_that_are_believed() {
        let (keys, sign) = issuer();
        let header = json!({"alg": "ES256", "kid": "one"});
        for changes in
            [json!({}), json!({"aud": ["other", "pets"]}), json!({"nbf": 1_000_000, "exp": 1_000_000.5})]
        {
            let token = sign(header.clone(), claims(changes.clone()));
            assert!(verified(&keys, &token).is_ok(), "{changes}");
            assert!(verified(&keys, &format!("bearer {token}")).is_ok(), "{changes}");
        }
        let mut by_client = claims(json!({"client_id": "pets"}));
        by_client.as_object_mut().unwrap().remove("aud");
        assert!(verified(&keys, &sign(header, by_client)).is_ok());
        assert!(verified(&keys, &sign(json!({"alg": "ES256"}), claims(json!({})))).is_ok());
    }

    #[test]
    fn tokens_that_are_not() {
        let (keys, sign) = issuer();
        let header = json!({"alg": "ES256", "kid": "one"});
        for (changes, expected) in [
            (json!({"iss": "https://issuer/"}), Refusal::Issuer),
            (json!({"aud": "other"}), Refusal::Audience),
            (json!({"aud": 7}), Refusal::Audience),
            (json!({"aud": null, "client_id": "pets"}), Refusal::Audience),
            (json!({"exp": 1_000_000}), Refusal::Expired),
            (json!({"exp": null}), Refusal::Malformed),
            (json!({"exp": "later"}), Refusal::Malformed),
            (json!({"nbf": 1_000_001}), Refusal::Early),
            (json!({"iat": 1_000_001}), Refusal::Early),
        ] {
            let token = sign(header.clone(), claims(changes.clone()));
            assert_eq!(verified(&keys, &token), Err(expected), "{changes}");
        }
        for (header, expected) in [
            (json!({"alg": "ES256", "kid": "two"}), Refusal::UnknownKey),
            (json!({"alg": "none", "kid": "one"}), Refusal::Algorithm),
            (json!({"alg": "HS256", "kid": "one"}), Refusal::Algorithm),
            // A key of one kind is none of another: its public half must not become a shared secret or another curve's.
            (json!({"alg": "RS256", "kid": "one"}), Refusal::UnknownKey),
            (json!({"alg": "ES256", "kid": "one", "crit": ["b64"]}), Refusal::Malformed),
        ] {
            assert_eq!(verified(&keys, &sign(header.clone(), claims(json!({})))), Err(expected), "{header}");
        }
        let (_, other) = issuer();
        assert_eq!(verified(&keys, &other(header.clone(), claims(json!({})))), Err(Refusal::Signature));
        let token = sign(header, claims(json!({})));
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (head, _) = signed.split_once('.').unwrap();
        let forged = URL_SAFE_NO_PAD.encode(claims(json!({"sub": "root"})).to_string());
        assert_eq!(verified(&keys, &format!("{head}.{forged}.{signature}")), Err(Refusal::Signature));
        assert_eq!(verified(&keys, &format!("{signed}.")), Err(Refusal::Signature));
        for broken in ["", "a.b", "a.b.c", "..", "Bearer ", &"x".repeat(100_000)] {
            assert_eq!(verified(&keys, broken), Err(Refusal::Malformed), "{broken:.20}");
        }
    }

    #[test]
    fn claims_are_shown_as_texts() {
        let claims = json!({"a": "x", "n": 7, "b": true, "l": ["x", 1], "o": {"k": "v"}});
        let expected = json!({"a": "x", "n": "7", "b": "true", "l": "[x 1]", "o": "map[k:v]"});
        assert_eq!(Value::Object(shown(claims.as_object().unwrap())), expected);
    }

    #[test]
    fn scopes_are_a_text_or_a_list() {
        let of = |claims: Value| scopes(claims.as_object().unwrap());
        assert_eq!(of(json!({"scope": "read  write"})), ["read", "write"]);
        assert_eq!(of(json!({"scp": ["read"]})), ["read"]);
        assert!(of(json!({"scope": 7})).is_empty());
    }
}
