//! Signatures that AWS's own signer makes, and every way in which one is not right.

use super::*;
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use http::{HeaderMap, HeaderName, HeaderValue};
use lamplight_model::credentials::Credential;
use proptest::prelude::*;
use std::time::{Duration, SystemTime};

pub(super) const NOON: Timestamp = Timestamp(1_769_860_800_000);
const HOST: &str = "abc.lambda-url.eu-central-1.localhost:9000";
pub(super) const EXPECTED: Expected<'static> = Expected { service: "lambda", region: "eu-central-1" };
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

fn credential(token: Option<&str>) -> Credential {
    Credential {
        secret: SECRET.to_owned(),
        token: token.map(str::to_owned),
        expires_at: None,
        is_active: true,
        identity: Identity {
            account: "000000000000".to_owned(),
            access_key_id: "AKIDEXAMPLE".to_owned(),
            arn: "arn:aws:iam::000000000000:user/ann".to_owned(),
            user_id: "AIDA".to_owned(),
            role_arn: None,
            user: Some("ann".to_owned()),
            policies: Vec::new(),
            session_policy: None,
        },
    }
}

/// A request as it is on the wire.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Wire {
    pub(super) fn new(method: &'static str, path: &str, query: &str, body: &str) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static(HOST));
        let (path, query) = (path.to_owned(), query.to_owned());
        Self { method, path, query, headers, body: body.as_bytes().to_vec() }
    }

    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.append(HeaderName::from_static(name), value.parse().unwrap());
        self
    }

    pub(super) fn uri(&self) -> String {
        let question = if self.query.is_empty() { "" } else { "?" };
        format!("http://{HOST}{}{question}{}", self.path, self.query)
    }

    /// Signs as the Rust SDK does; presigned for so long when `expires` is given.
    pub(super) fn signed(mut self, how: &How<'_>) -> Self {
        let how = *how;
        let (id, secret) = how.key;
        let credentials = Credentials::new(id, secret, how.token.map(str::to_owned), None, "test").into();
        let mut settings = SigningSettings::default();
        settings.payload_checksum_kind = match how.says_hash {
            true => PayloadChecksumKind::XAmzSha256,
            false => PayloadChecksumKind::NoHeader,
        };
        if let Some(expires) = how.expires {
            settings.signature_location = SignatureLocation::QueryParams;
            settings.expires_in = Some(expires);
        }
        let seconds = u64::try_from(how.at.0 / 1_000).unwrap();
        let parameters = v4::SigningParams::builder()
            .identity(&credentials)
            .region(how.region)
            .name(how.service)
            .time(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
            .settings(settings)
            .build()
            .unwrap();
        let uri = self.uri();
        let headers: Vec<(String, String)> = self
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let request =
            SignableRequest::new(self.method, &uri, headers, SignableBody::Bytes(&self.body)).unwrap();
        let (instructions, _) = sign(request, &parameters.into()).unwrap().into_parts();
        let (headers, parameters) = instructions.into_parts();
        for header in headers {
            let name: HeaderName = header.name().parse().unwrap();
            self.headers.insert(name, header.value().parse().unwrap());
        }
        for (name, value) in parameters {
            let pair = format!("{name}={}", percent_encoding::utf8_percent_encode(&value, ALL));
            self.query = if self.query.is_empty() { pair } else { format!("{}&{pair}", self.query) };
        }
        self
    }

    pub(super) fn head(&self) -> RequestHead<'_> {
        let (path, query) = (self.path.as_str(), self.query.as_str());
        RequestHead { method: self.method, path, query, headers: &self.headers, authority: None }
    }

    fn verify_at(&self, credential: &Credential, now: Timestamp) -> Result<(), Refusal> {
        Claim::read(&self.head(), EXPECTED, now)?.verify(&self.head(), &self.body, credential, now)
    }

    fn verify(&self) -> Result<(), Refusal> {
        self.verify_at(&credential(None), NOON)
    }
}

const ALL: &percent_encoding::AsciiSet = percent_encoding::NON_ALPHANUMERIC;

#[derive(Clone, Copy)]
pub(super) struct How<'a> {
    pub(super) service: &'a str,
    pub(super) region: &'a str,
    pub(super) at: Timestamp,
    /// Id and secret.
    pub(super) key: (&'a str, &'a str),
    pub(super) token: Option<&'a str>,
    pub(super) expires: Option<Duration>,
    pub(super) says_hash: bool,
}

pub(super) const PLAIN: How<'static> = How {
    service: "lambda",
    region: "eu-central-1",
    at: NOON,
    key: ("AKIDEXAMPLE", SECRET),
    token: None,
    expires: None,
    says_hash: false,
};
pub(super) const PRESIGNED: How<'static> = How { expires: Some(Duration::from_secs(900)), ..PLAIN };

fn post() -> Wire {
    Wire::new("POST", "/a/b", "x=1&y=2", r#"{"a": 1}"#).with("content-type", "application/json")
}

fn mismatch() -> Result<(), Refusal> {
    Err(Refusal::mismatch())
}

/// What is wrong, as its type and text.
fn why(result: Result<(), Refusal>) -> (&'static str, String) {
    let refusal = result.unwrap_err();
    (refusal.error_type(), refusal.to_string())
}

#[test]
fn what_is_signed_is_let_through() {
    for how in [PLAIN, PRESIGNED, How { says_hash: true, ..PLAIN }] {
        assert_eq!(post().signed(&how).verify(), Ok(()), "{:?}", how.expires);
        for (path, query) in [
            ("/", ""),
            ("/a%20b/%C3%A4", "q=a%20b&q=%C3%A4"),
            ("/arn%3Aaws%3Alambda/$LATEST", "Qualifier=%24LATEST"),
            ("/a//b/.c/d../", "b=2&a=1&b=1&empty=&none"),
            ("/%2e%2e%2e/%2F", "a=b=c&d=%2B&e=x+y"),
            ("/(a)!'*~", "key%3D=1&-=2&_=3&~=4"),
        ] {
            let wire = Wire::new("GET", path, query, "").signed(&how);
            assert_eq!(wire.verify(), Ok(()), "{path}?{query}");
        }
    }
}

#[test]
fn every_change_is_seen() {
    for how in [PLAIN, PRESIGNED] {
        let signed = post().signed(&how);
        assert_eq!(Wire { method: "PUT", ..signed.clone() }.verify(), mismatch());
        assert_eq!(Wire { path: "/a/c".to_owned(), ..signed.clone() }.verify(), mismatch());
        assert_eq!(Wire { query: format!("{}&z=1", signed.query), ..signed.clone() }.verify(), mismatch());
        assert_eq!(Wire { query: signed.query.replace("x=1", "x=2"), ..signed.clone() }.verify(), mismatch());
        assert_eq!(Wire { body: b"{}".to_vec(), ..signed.clone() }.verify(), mismatch());
        let mut swapped = signed.clone();
        swapped
            .headers
            .insert("host", HeaderValue::from_static("other.lambda-url.eu-central-1.localhost:9000"));
        assert_eq!(swapped.verify(), mismatch(), "a request for one URL is none for another");
        let other = Credential { secret: format!("{SECRET}x"), ..credential(None) };
        assert_eq!(signed.verify_at(&other, NOON), mismatch());
    }
    let mut signed = post().signed(&PLAIN);
    signed.headers.insert("content-type", HeaderValue::from_static("text/plain"));
    assert_eq!(signed.verify(), mismatch());
}

#[test]
fn a_body_is_what_the_request_says() {
    let hash = canonical::hash(br#"{"a": 1}"#);
    assert_eq!(post().with("x-amz-content-sha256", &hash).signed(&PLAIN).verify(), Ok(()));
    // Source: CloudFront developer guide, origin access control for function URLs: "Lambda doesn't support unsigned payloads".
    for said in ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", &canonical::hash(b"")] {
        let wire = post().with("x-amz-content-sha256", said);
        assert_eq!(wire.signed(&PLAIN).verify(), mismatch(), "{said}");
    }
}

#[test]
fn signatures_have_their_time() {
    let after = |seconds: i64| Timestamp(NOON.0 + seconds * 1_000);
    let signed = post().signed(&PLAIN);
    for seconds in [-300, 0, 300] {
        assert_eq!(signed.verify_at(&credential(None), after(seconds)), Ok(()), "{seconds}");
    }
    let late = signed.verify_at(&credential(None), after(301));
    let text = "Signature expired: 20260131T120000Z is now earlier than 20260131T120001Z (20260131T120501Z - 5 min.)";
    assert_eq!(why(late), ("InvalidSignatureException", text.to_owned()));
    let early = signed.verify_at(&credential(None), after(-301));
    let text = "Signature not yet current: 20260131T120000Z is still later than 20260131T115959Z (20260131T115459Z + 5 min.)";
    assert_eq!(why(early), ("InvalidSignatureException", text.to_owned()));
    let presigned = post().signed(&PRESIGNED);
    assert_eq!(presigned.verify_at(&credential(None), after(900)), Ok(()));
    let late = why(presigned.verify_at(&credential(None), after(901)));
    assert!(late.1.starts_with("Signature expired: ") && late.1.ends_with(" - 15 min.)"), "{late:?}");
    let early = why(presigned.verify_at(&credential(None), after(-301)));
    assert!(early.1.starts_with("Signature not yet current: "), "{early:?}");
}

#[test]
fn scopes() {
    for how in [PLAIN, PRESIGNED] {
        let elsewhere = How { region: "us-east-1", ..how };
        let text = "Credential should be scoped to a valid region, not 'us-east-1'. ";
        assert_eq!(why(post().signed(&elsewhere).verify()), ("InvalidSignatureException", text.to_owned()));
        let other = How { service: "execute-api", ..how };
        let text = "Credential should be scoped to correct service: 'lambda'. ";
        assert_eq!(why(post().signed(&other).verify()), ("InvalidSignatureException", text.to_owned()));
    }
    let signed = post().signed(&PLAIN);
    let authorization = signed.headers["authorization"].to_str().unwrap().to_owned();
    let changed = |from: &str, to: &str| {
        let mut changed = signed.clone();
        changed.headers.insert("authorization", authorization.replace(from, to).parse().unwrap());
        why(changed.verify())
    };
    let text = "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20260130' \
                != '20260131', from '20260131T120000Z'.";
    assert_eq!(changed("/20260131/", "/20260130/"), ("InvalidSignatureException", text.to_owned()));
    assert_eq!(changed("/aws4_request", "/aws4").0, "InvalidSignatureException");
    let text = "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got \
                'AKIDEXAMPLE/20260131/eu-central-1/lambda'";
    assert_eq!(changed("/aws4_request", ""), ("IncompleteSignatureException", text.to_owned()));
}

#[test]
fn broken_headers() {
    let signed = post().signed(&PLAIN);
    let full = signed.headers["authorization"].to_str().unwrap().to_owned();
    // Cut anywhere, it is refused, and nothing panics.
    for at in 0..full.len() {
        let mut cut = signed.clone();
        cut.headers.insert("authorization", full[..at].parse().unwrap());
        assert!(cut.verify().is_err(), "{at}");
    }
    let with = |value: &str| {
        let mut wire = signed.clone();
        wire.headers.insert("authorization", value.parse().unwrap());
        why(wire.verify())
    };
    let hashed = |text: &str| {
        use base64::Engine as _;
        use sha2::Digest as _;
        base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(text))
    };
    let text = format!(
        "Invalid key=value pair (missing equal-sign) in Authorization header (hashed with SHA-256 and encoded with \
         Base64): '{}'.",
        hashed("Bearer abc")
    );
    assert_eq!(with("Bearer abc"), ("IncompleteSignatureException", text));
    let value = "AWS4-HMAC-SHA256 Credential=a/b/c/d/e";
    let text = format!(
        "Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' parameter. \
         (Hashed with SHA-256 and encoded with Base64) Authorization={}",
        hashed(value)
    );
    assert_eq!(with(value), ("IncompleteSignatureException", text));
    for value in [
        "AWS4-HMAC-SHA512 a=b",
        "AWS4-HMAC-SHA256",
        &format!("{full}, Signature={}", "0".repeat(64)),
        &full.replace("SignedHeaders=", "SignedHeaders=;"),
        &full.replace("content-type;", "Content-Type;"),
    ] {
        assert_eq!(with(value).0, "IncompleteSignatureException", "{value}");
    }
    let (before, _) = full.split_once("Signature=").unwrap();
    for wrong in ["", "0", &"G".repeat(64), &"0".repeat(64), &"0".repeat(66), &"ä".repeat(32)] {
        let mut wire = signed.clone();
        let value = format!("{before}Signature={wrong}");
        wire.headers.insert("authorization", HeaderValue::from_bytes(value.as_bytes()).unwrap());
        assert!(wire.verify().is_err(), "{wrong}");
    }
    let mut no_date = signed.clone();
    no_date.headers.remove("x-amz-date");
    let (_, text) = why(no_date.verify());
    assert!(text.contains("existence of either a 'X-Amz-Date' or a 'Date' header"), "{text}");
    let mut odd_date = signed.clone();
    odd_date.headers.insert("x-amz-date", HeaderValue::from_static("today"));
    let (_, text) = why(odd_date.verify());
    assert!(text.starts_with("Date must be in ISO-8601 'basic format'. Got 'today'."), "{text}");
}

#[test]
fn what_must_be_signed() {
    let signed = post().signed(&PLAIN);
    let full = signed.headers["authorization"].to_str().unwrap().to_owned();
    let mut without_host = signed.clone();
    without_host.headers.insert("authorization", full.replace(";host", "").parse().unwrap());
    let text = "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.".to_owned();
    assert_eq!(why(without_host.verify()), ("InvalidSignatureException", text));
    for how in [PLAIN, PRESIGNED] {
        let added = post().signed(&how).with("x-amz-more", "1");
        let text = "'x-amz-more' must be a 'SignedHeader' in the AWS Authorization.".to_owned();
        assert_eq!(why(added.verify()), ("InvalidSignatureException", text));
    }
    // Others may be added on the way.
    assert_eq!(post().signed(&PLAIN).with("x-forwarded-for", "192.0.2.1").verify(), Ok(()));
}

#[test]
fn keys_and_tokens() {
    assert_eq!(Wire::new("GET", "/", "a=1", "").verify(), Err(Refusal::Unsigned));
    let signed = post().signed(&PLAIN);
    let off = Credential { is_active: false, ..credential(None) };
    assert_eq!(signed.verify_at(&off, NOON), Err(Refusal::UnknownKey));
    for how in [PLAIN, PRESIGNED] {
        let with_token = post().signed(&How { token: Some("to/k+en="), ..how });
        let mut session = credential(Some("to/k+en="));
        session.expires_at = Some(Timestamp(NOON.0 + 1));
        assert_eq!(with_token.verify_at(&session, NOON), Ok(()));
        assert_eq!(with_token.verify_at(&session, Timestamp(NOON.0 + 1)), Err(Refusal::ExpiredToken));
        assert_eq!(with_token.verify_at(&credential(Some("other")), NOON), Err(Refusal::UnknownKey));
        assert_eq!(with_token.verify(), Err(Refusal::UnknownKey));
        assert_eq!(post().signed(&how).verify_at(&session, NOON), Err(Refusal::UnknownKey));
    }
}

#[test]
fn broken_queries() {
    let signed = post().signed(&PRESIGNED);
    for name in ["Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature"] {
        let name = format!("X-Amz-{name}");
        let without: Vec<&str> = signed.query.split('&').filter(|pair| !pair.starts_with(&name)).collect();
        let (kind, text) = why(Wire { query: without.join("&"), ..signed.clone() }.verify());
        let expected = format!(
            "AWS query-string parameters must include '{name}'. Re-examine the query-string parameters."
        );
        assert_eq!((kind, text), ("IncompleteSignatureException", expected));
        let twice = format!("{}&{name}=1", signed.query);
        assert!(Wire { query: twice, ..signed.clone() }.verify().is_err(), "{name}");
    }
    for expires in ["0", "604801", "-1", "x"] {
        let query = signed.query.replace("X-Amz-Expires=900", &format!("X-Amz-Expires={expires}"));
        assert_eq!(
            why(Wire { query, ..signed.clone() }.verify()).0,
            "IncompleteSignatureException",
            "{expires}"
        );
    }
    let longer = signed.query.replace("X-Amz-Expires=900", "X-Amz-Expires=901");
    assert_eq!(Wire { query: longer, ..signed }.verify(), mismatch());
}

#[test]
fn a_signature_is_good_for_one_path_only() {
    // Signers make the same of all of these, and each leads elsewhere.
    for path in ["/_url/mine/../abc/x", "/_url/mine/%2e%2E/abc/x", "/_url/abc/./x", "/_url/abc/x/y/.."] {
        for how in [PLAIN, PRESIGNED] {
            let signed = Wire::new("GET", "/_url/abc/x", "", "").signed(&how);
            assert_eq!(signed.verify(), Ok(()));
            let (kind, text) = why(Wire { path: path.to_owned(), ..signed }.verify());
            assert_eq!(kind, "InvalidSignatureException", "{path}");
            assert!(text.contains("'..' segments"), "{path}: {text}");
        }
    }
    let unsigned = Wire::new("GET", "/a/../b", "", "");
    assert_eq!(unsigned.verify(), Err(Refusal::Unsigned));
}

#[test]
fn http_2_names_the_host_in_its_target() {
    let mut wire = post().signed(&PLAIN);
    wire.headers.remove("host");
    let head = RequestHead { authority: Some(HOST), ..wire.head() };
    let claim = Claim::read(&head, EXPECTED, NOON).unwrap();
    assert_eq!(claim.verify(&head, &wire.body, &credential(None), NOON), Ok(()));
    assert_eq!(claim.verify(&wire.head(), &wire.body, &credential(None), NOON), mismatch());
}

#[test]
fn events_say_who_asked() {
    let identity = credential(None).identity;
    let expected = json!({"iam": {
        "accessKey": "AKIDEXAMPLE", "accountId": "000000000000", "callerId": "AIDA", "cognitoIdentity": null,
        "principalOrgId": null, "userArn": "arn:aws:iam::000000000000:user/ann", "userId": "AIDA",
    }});
    assert_eq!(authorizer(&identity), expected);
}

/// Paths and queries as clients may send them: unreserved and reserved characters, percent-encoded ones, repeated and empty
/// parameters.
pub(super) fn part(reserved: &'static str) -> impl Strategy<Value = String> {
    let plain = prop::sample::select(b"abcXYZ019-_.~".to_vec()).prop_map(|byte| char::from(byte).to_string());
    let reserved =
        prop::sample::select(reserved.as_bytes().to_vec()).prop_map(|byte| char::from(byte).to_string());
    let encoded =
        prop::sample::select(b" /?#&=+%:;,@$!'()*\"<>|{}~\xc3".to_vec()).prop_map(|byte| match byte {
            // One letter of two bytes.
            0xc3 => "%C3%A4".to_owned(),
            byte => format!("%{byte:02X}"),
        });
    prop::collection::vec(prop_oneof![4 => plain, 2 => reserved, 2 => encoded], 0..12)
        .prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn agrees_with_the_signer(
        path in part("/!$'()*,:;@="),
        query in part("=&/?:@!$'()*,;"),
        body in ".{0,20}",
        header in "[ -~]{0,20}",
        presigned in any::<bool>(),
    ) {
        prop_assume!(!canonical::has_dot_segments(&path));
        let how = if presigned { PRESIGNED } else { PLAIN };
        let wire = Wire::new("POST", &format!("/{path}"), &query, &body).with("x-own", &header).signed(&how);
        prop_assert_eq!(wire.verify(), Ok(()), "{}", wire.uri());
    }

    #[test]
    fn never_panics(authorization in "\\PC{0,80}", query in "\\PC{0,80}", path in "\\PC{0,40}") {
        let mut wire = Wire::new("GET", &path, &query, "");
        if let Ok(value) = HeaderValue::from_bytes(authorization.as_bytes()) {
            wire.headers.insert("authorization", value);
        }
        prop_assert!(wire.verify().is_err());
        wire.headers.remove("authorization");
        prop_assert!(wire.verify().is_err());
        wire.query = format!("X-Amz-Algorithm=AWS4-HMAC-SHA256&{query}");
        prop_assert!(wire.verify().is_err());
    }
}
