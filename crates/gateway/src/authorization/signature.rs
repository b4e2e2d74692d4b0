//! Signature Version 4 of a request, verified: who says he signed it, and whether he did.
//!
//! `Claim::read` checks everything that needs no secret (form, time, scope), `Claim::verify` compares with a credential's.
//! Both are pure. The payload's hash is always computed here: function URLs and APIs take no unsigned payloads.
//!
//! Source: IAM user guide, "AWS Signature Version 4 for API requests"; texts as Lambda and API Gateway answer.

use super::canonical::{self, RequestHead, decode, hash, hex};
use super::refusal::Refusal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::header::{self, HeaderName};
use lamplight_model::Timestamp;
use lamplight_model::credentials::Credential;
use sha2::{Digest as _, Sha256};
use std::time::Duration;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATOR: &str = "aws4_request";
/// Query parameter that is not part of what is signed.
const SIGNATURE: &str = "X-Amz-Signature";
/// How far the clock of a client may be away. Source: answers of Lambda and API Gateway ("- 5 min.").
const SKEW: Duration = Duration::from_secs(300);
/// Longest life of a presigned URL, seconds. Source: S3 user guide, "X-Amz-Expires".
const LONGEST_EXPIRES: u64 = 604_800;
/// Most headers a signature may name: more than a request may have.
const SIGNED_HEADERS: usize = 256;
/// Text of a path that is not what was signed.
const DOT_SEGMENTS: &str =
    "The path of a signed request must not have '.' or '..' segments, percent-encoded or not.";

/// What a signature must be made for.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// `lambda` for function URLs, `execute-api` for APIs.
    pub service: &'a str,
    /// Region of the function or API.
    pub region: &'a str,
}

/// What a request says about who signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Access key id.
    pub access_key_id: String,
    /// Session token.
    pub token: Option<String>,
    date: String,
    region: String,
    service: String,
    time: String,
    signed_headers: Vec<HeaderName>,
    signature: Vec<u8>,
    is_presigned: bool,
}

/// What the header or the query string holds, before anything of it is checked.
struct Fields {
    credential: String,
    signed_headers: String,
    signature: String,
    time: String,
    token: Option<String>,
    /// Life of a presigned URL.
    expires: Option<Duration>,
}

impl Claim {
    /// Reads the signature of a request: its `Authorization` header, or else its query string.
    ///
    /// Fails with `Refusal::Unsigned` when there is neither, and with what is wrong: path, form, time or scope.
    pub fn read(head: &RequestHead<'_>, expected: Expected<'_>, now: Timestamp) -> Result<Self, Refusal> {
        let fields = match head.headers.get(header::AUTHORIZATION) {
            Some(value) => from_header(head, value.as_bytes())?,
            None => from_query(head)?,
        };
        if canonical::has_dot_segments(head.path) {
            return Err(Refusal::Invalid(DOT_SEGMENTS.to_owned()));
        }
        let parts: Vec<&str> = fields.credential.split('/').collect();
        let [access_key_id, date, region, service, terminator] = parts.as_slice() else {
            return Err(Refusal::Incomplete(format!(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{}'",
                fields.credential
            )));
        };
        let signed_headers = read_names(&fields.signed_headers)?;
        check_names(head, &signed_headers)?;
        let time = Timestamp::from_signature_format(&fields.time).ok_or_else(|| {
            Refusal::Incomplete(format!(
                "Date must be in ISO-8601 'basic format'. Got '{}'. See http://en.wikipedia.org/wiki/ISO_8601",
                fields.time
            ))
        })?;
        if !fields.time.starts_with(date) || date.len() != 8 {
            return Err(Refusal::Invalid(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{date}' != \
                 '{}', from '{}'.",
                fields.time.get(..8).unwrap_or_default(),
                fields.time
            )));
        }
        check_scope(region, service, terminator, expected)?;
        check_time(time, fields.expires, now)?;
        let signature = unhex(&fields.signature).ok_or_else(Refusal::mismatch)?;
        Ok(Self {
            access_key_id: (*access_key_id).to_owned(),
            token: fields.token,
            date: (*date).to_owned(),
            region: (*region).to_owned(),
            service: (*service).to_owned(),
            time: fields.time,
            signed_headers,
            signature,
            is_presigned: fields.expires.is_some(),
        })
    }

    /// Region of the signature.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Service of the signature.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Compares the signature with the one that `credential` makes of this request and body.
    ///
    /// Fails when the credential does not count, its token is another, or the signature is not its.
    pub fn verify(
        &self,
        head: &RequestHead<'_>,
        body: &[u8],
        credential: &Credential,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        if !credential.is_active || !is_same(credential.token.as_deref(), self.token.as_deref()) {
            return Err(Refusal::UnknownKey);
        }
        if credential.expires_at.is_some_and(|expires_at| expires_at <= now) {
            return Err(Refusal::ExpiredToken);
        }
        let payload_hash = hash(body);
        // What the client says of the body must be true, whether it signed it or not.
        let said = head.headers.get_all("x-amz-content-sha256");
        if said.iter().any(|said| said.as_bytes() != payload_hash.as_bytes()) {
            return Err(Refusal::mismatch());
        }
        let left_out = self.is_presigned.then_some(SIGNATURE);
        let request = canonical::request(head, &self.signed_headers, left_out, &payload_hash);
        let scope = format!("{}/{}/{}/{TERMINATOR}", self.date, self.region, self.service);
        let to_sign = format!("{ALGORITHM}\n{}\n{scope}\n{}", self.time, hash(&request));
        let mut key = format!("AWS4{}", credential.secret).into_bytes();
        for part in [&self.date, &self.region, &self.service, TERMINATOR] {
            key = mac(&key, part.as_bytes())?.finalize().into_bytes().to_vec();
        }
        // Takes the same time wherever the first difference is.
        mac(&key, to_sign.as_bytes())?.verify_slice(&self.signature).map_err(|_| Refusal::mismatch())
    }
}

/// Fails for no key: HMAC takes keys of all lengths.
fn mac(key: &[u8], message: &[u8]) -> Result<Hmac<Sha256>, Refusal> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| Refusal::mismatch())?;
    mac.update(message);
    Ok(mac)
}

/// Compares digests, so that the time says nothing about the content.
fn is_same(one: Option<&str>, other: Option<&str>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => Sha256::digest(one) == Sha256::digest(other),
        _ => false,
    }
}

/// The `Authorization` header.
fn from_header(head: &RequestHead<'_>, value: &[u8]) -> Result<Fields, Refusal> {
    // As AWS does since such texts showed what others had in the header.
    let hashed = STANDARD.encode(Sha256::digest(value));
    let text = std::str::from_utf8(value).unwrap_or_default().trim();
    let (algorithm, rest) = text.split_once(' ').unwrap_or((text, ""));
    let mut pairs = Vec::new();
    let rest = if algorithm == ALGORITHM { rest } else { text };
    for pair in rest.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        pairs.push(pair.split_once('=').ok_or_else(|| {
            Refusal::Incomplete(format!(
                "Invalid key=value pair (missing equal-sign) in Authorization header (hashed with SHA-256 and encoded \
                 with Base64): '{hashed}'."
            ))
        })?);
    }
    let find = |wanted: &str| {
        let mut found = pairs.iter().filter(|(name, _)| *name == wanted && algorithm == ALGORITHM);
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Some((*value).to_owned()),
            _ => None,
        }
    };
    let time = ["x-amz-date", "date"].iter().find_map(|name| only(head, name));
    let (credential, signature, signed_headers) =
        (find("Credential"), find("Signature"), find("SignedHeaders"));
    match (credential, signature, signed_headers, time) {
        (Some(credential), Some(signature), Some(signed_headers), Some(time)) => {
            let token = only(head, "x-amz-security-token");
            Ok(Fields { credential, signed_headers, signature, time, token, expires: None })
        }
        (credential, signature, signed_headers, time) => {
            let mut text = String::new();
            for (name, is_there) in [
                ("Credential", credential.is_some()),
                ("Signature", signature.is_some()),
                ("SignedHeaders", signed_headers.is_some()),
            ] {
                if !is_there {
                    text += &format!("Authorization header requires '{name}' parameter. ");
                }
            }
            if time.is_none() {
                text +=
                    "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ";
            }
            text += &format!("(Hashed with SHA-256 and encoded with Base64) Authorization={hashed}");
            Err(Refusal::Incomplete(text))
        }
    }
}

/// The value of a header that a request has once.
fn only(head: &RequestHead<'_>, name: &str) -> Option<String> {
    let mut values = head.headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok().map(str::to_owned),
        _ => None,
    }
}

/// The query string of a presigned URL.
fn from_query(head: &RequestHead<'_>) -> Result<Fields, Refusal> {
    let find = |wanted: &str| {
        let mut found = head
            .query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .filter(|(name, _)| decode(name) == wanted.as_bytes());
        match (found.next(), found.next()) {
            (Some((_, value)), None) => String::from_utf8(decode(value)).ok(),
            _ => None,
        }
    };
    if find("X-Amz-Algorithm").is_none() && find(SIGNATURE).is_none() {
        return Err(Refusal::Unsigned);
    }
    let required = |name: &str| {
        find(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            Refusal::Incomplete(format!(
                "AWS query-string parameters must include '{name}'. Re-examine the query-string parameters."
            ))
        })
    };
    if required("X-Amz-Algorithm")? != ALGORITHM {
        return Err(Refusal::Incomplete(format!(
            "Unsupported AWS 'algorithm', only '{ALGORITHM}' is supported."
        )));
    }
    let expires = required("X-Amz-Expires")?;
    let expires = expires.parse().ok().filter(|seconds| (1..=LONGEST_EXPIRES).contains(seconds));
    let expires = expires.ok_or_else(|| {
        Refusal::Incomplete(format!("X-Amz-Expires must be a number of seconds from 1 to {LONGEST_EXPIRES}."))
    })?;
    Ok(Fields {
        credential: required("X-Amz-Credential")?,
        signed_headers: required("X-Amz-SignedHeaders")?,
        signature: required(SIGNATURE)?,
        time: required("X-Amz-Date")?,
        token: find("X-Amz-Security-Token"),
        expires: Some(Duration::from_secs(expires)),
    })
}

fn read_names(text: &str) -> Result<Vec<HeaderName>, Refusal> {
    let mut names = Vec::new();
    for name in text.split(';').take(SIGNED_HEADERS) {
        match HeaderName::from_bytes(name.as_bytes()) {
            Ok(read) if read.as_str() == name && !names.contains(&read) => names.push(read),
            _ => {
                let text = "SignedHeaders must be names in lower case, separated by semicolons.";
                return Err(Refusal::Incomplete(text.to_owned()));
            }
        }
    }
    Ok(names)
}

/// The host must be signed, so that nobody sends a request elsewhere; every `x-amz-` header, so that nobody adds one.
fn check_names(head: &RequestHead<'_>, signed: &[HeaderName]) -> Result<(), Refusal> {
    if !signed.contains(&header::HOST) {
        let text = "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.";
        return Err(Refusal::Invalid(text.to_owned()));
    }
    let mut names = head.headers.keys().filter(|name| name.as_str().starts_with("x-amz-"));
    match names.find(|name| !signed.contains(name)) {
        None => Ok(()),
        Some(name) => {
            Err(Refusal::Invalid(format!("'{name}' must be a 'SignedHeader' in the AWS Authorization.")))
        }
    }
}

fn check_scope(region: &str, service: &str, terminator: &str, expected: Expected<'_>) -> Result<(), Refusal> {
    let text = if region != expected.region {
        // Function URLs and APIs name their region.
        format!("Credential should be scoped to a valid region, not '{region}'. ")
    } else if service != expected.service {
        format!("Credential should be scoped to correct service: '{}'. ", expected.service)
    } else if terminator != TERMINATOR {
        format!("Credential should be scoped with a valid terminator: '{TERMINATOR}', not '{terminator}'.")
    } else {
        return Ok(());
    };
    Err(Refusal::Invalid(text))
}

/// A signature counts from five minutes before its time; for five minutes, or as long as a presigned URL says.
fn check_time(time: Timestamp, expires: Option<Duration>, now: Timestamp) -> Result<(), Refusal> {
    let milliseconds = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    let life = expires.unwrap_or(SKEW);
    let earliest = Timestamp(now.0.saturating_sub(milliseconds(life)));
    let latest = now.plus(SKEW);
    let length = |duration: Duration| match duration.as_secs() {
        seconds if seconds % 60 == 0 => format!("{} min.", seconds / 60),
        seconds => format!("{seconds} sec."),
    };
    let shown = Timestamp::signature_format;
    // Whole seconds: that is what a signature can say.
    if time.0 / 1_000 < earliest.0 / 1_000 {
        return Err(Refusal::Invalid(format!(
            "Signature expired: {} is now earlier than {} ({} - {})",
            shown(time),
            shown(earliest),
            shown(now),
            length(life)
        )));
    }
    if time.0 / 1_000 > latest.0 / 1_000 {
        return Err(Refusal::Invalid(format!(
            "Signature not yet current: {} is still later than {} ({} + {})",
            shown(time),
            shown(latest),
            shown(now),
            length(SKEW)
        )));
    }
    Ok(())
}

/// The 32 bytes of a signature.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let bytes: Option<Vec<u8>> =
        text.as_bytes().chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect();
    bytes.filter(|bytes| bytes.len() == 32 && hex(bytes) == text)
}
