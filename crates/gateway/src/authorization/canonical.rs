//! The canonical form of a request: what both sides of a signature hash.
//!
//! Works on the bytes that came, before anything was decoded or routed. Source: IAM user guide, "Create a signed AWS API
//! request", steps 1 to 3; paths are normalised and encoded a second time, as for every service but S3.

use http::header::HeaderName;
use http::{HeaderMap, header};
use percent_encoding::percent_decode;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// The parts of a request that are signed, as they came.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'a> {
    /// Method.
    pub method: &'a str,
    /// Path of the request's target, percent-encoded; that of the path form with its beginning.
    pub path: &'a str,
    /// Query string without the question mark.
    pub query: &'a str,
    /// Headers.
    pub headers: &'a HeaderMap,
    /// Host and port, where the target names them instead of a header (HTTP/2).
    pub authority: Option<&'a str>,
}

/// The canonical request.
///
/// `signed_headers` are names in lower case, in the order of the signature; one the request does not have counts as empty.
/// Query parameters of the name `left_out` are not part of it.
pub fn request(
    head: &RequestHead<'_>,
    signed_headers: &[HeaderName],
    left_out: Option<&str>,
    payload_hash: &str,
) -> Vec<u8> {
    let mut text = Vec::with_capacity(512);
    let mut line = |bytes: &[u8]| {
        text.extend_from_slice(bytes);
        text.push(b'\n');
    };
    line(head.method.as_bytes());
    line(path(head.path).as_bytes());
    line(query(head.query, left_out).as_bytes());
    for name in signed_headers {
        let mut header = name.as_str().as_bytes().to_vec();
        header.push(b':');
        header.extend(values(head, name));
        line(&header);
    }
    line(b"");
    let names: Vec<&str> = signed_headers.iter().map(HeaderName::as_str).collect();
    line(names.join(";").as_bytes());
    text.extend_from_slice(payload_hash.as_bytes());
    text
}

/// Whether a path has `.` or `..` segments, percent-encoded or not.
///
/// Signers leave them out of what they sign, and requests are routed by the path as it came: one signature would be good for all
/// that such paths lead to. So they are refused where a signature counts.
pub fn has_dot_segments(path: &str) -> bool {
    path.split('/').any(|segment| {
        // The longest is `%2e%2e`.
        segment.len() <= 6
            && matches!(percent_decode(segment.as_bytes()).collect::<Vec<u8>>().as_slice(), b"." | b"..")
    })
}

/// Without empty segments, then every byte encoded that is neither unreserved nor a slash. Dot segments were refused before.
fn path(path: &str) -> String {
    let segments: Vec<String> = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| encode(segment.as_bytes()))
        .collect();
    let end = if path.ends_with('/') && !segments.is_empty() { "/" } else { "" };
    format!("/{}{end}", segments.join("/"))
}

/// Names and values decoded, encoded in one way, sorted.
fn query(query: &str, left_out: Option<&str>) -> String {
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (encode(&decode(name)), encode(&decode(value))))
        .filter(|(name, _)| Some(name.as_str()) != left_out)
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// The bytes a part of a query string stands for; a plus is a space, as in forms.
pub fn decode(text: &str) -> Vec<u8> {
    percent_decode(text.replace('+', " ").as_bytes()).collect()
}

/// RFC 3986: everything but unreserved characters.
fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// All values of a header, without spaces at their ends and with one in the place of several, joined by commas.
fn values(head: &RequestHead<'_>, name: &HeaderName) -> Vec<u8> {
    if name == header::HOST && !head.headers.contains_key(name) {
        return head.authority.unwrap_or_default().as_bytes().to_vec();
    }
    let values: Vec<Vec<u8>> = head
        .headers
        .get_all(name)
        .iter()
        .map(|value| {
            let words: Vec<&[u8]> = value
                .as_bytes()
                .split(|byte| *byte == b' ' || *byte == b'\t')
                .filter(|word| !word.is_empty())
                .collect();
            words.join(&b' ')
        })
        .collect();
    values.join(&b',')
}

/// SHA-256 in lower-case hexadecimal digits.
pub fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (raw, canonical) in [
            ("/", "/"),
            ("", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("//a//b", "/a/b"),
            ("/a%20b", "/a%2520b"),
            ("/a%2Fb", "/a%252Fb"),
            ("/a:b(c)~", "/a%3Ab%28c%29~"),
        ] {
            assert_eq!(path(raw), canonical, "{raw}");
        }
    }

    #[test]
    fn dot_segments() {
        for with in ["/.", "/..", "/a/./b", "/a/../b", "/a/..", "/%2e/", "/a/%2E%2e/b", "/.%2e", "/%2E."] {
            assert!(has_dot_segments(with), "{with}");
        }
        for without in ["", "/", "//", "/a.b", "/...", "/a/..b/c..", "/%2e%2e%2e", "/%252e%252e", "/..%2Fa"] {
            assert!(!has_dot_segments(without), "{without}");
        }
    }

    #[test]
    fn queries() {
        for (raw, canonical) in [
            ("", ""),
            ("b=2&a=1", "a=1&b=2"),
            ("a=2&a=1&a", "a=&a=1&a=2"),
            ("a=b=c", "a=b%3Dc"),
            ("a=x+y&b=x%20y&c=x%2By", "a=x%20y&b=x%20y&c=x%2By"),
            ("a=%ff", "a=%FF"),
            ("a-b=1&a=2", "a=2&a-b=1"),
            ("&&a=1&", "a=1"),
            ("X-Amz-Signature=s&a=1", "a=1"),
        ] {
            assert_eq!(query(raw, Some("X-Amz-Signature")), canonical, "{raw}");
        }
    }
}
