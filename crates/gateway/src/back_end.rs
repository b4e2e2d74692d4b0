//! Requests that go on to a back end over HTTP: what of a request may, and how values of clients stand in its URL.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, Uri, header};
use http_body_util::Full;
use lamplight_model::rest_api::HEADERS_OF_FRAMING;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::borrow::Cow;

/// Largest answer of a back end, bytes. Source: quotas of HTTP and REST APIs, "Payload size" (10 MB).
pub const ANSWER_BYTES: usize = 10 * 1024 * 1024;
/// What is encoded of a path variable's value: all but unreserved characters (RFC 3986, 2.3).
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same of a greedy one, which is several segments.
const GREEDY_VALUE: &AsciiSet = &VALUE.remove(b'/');
/// Headers of one connection. Source: RFC 9110, 7.6.1.
const OF_CONNECTION: [HeaderName; 7] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// How `Authorization` begins when it is a signature.
const SIGNATURE: &[u8] = b"AWS4-HMAC-SHA256";
/// What a presigned URL has in its query. Source: IAM user guide, "Create a signed AWS API request".
const OF_PRESIGNED: [&str; 7] = [
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-signedheaders",
    "x-amz-signature",
    "x-amz-security-token",
];

/// A request of a back end. Its framing is the client's to say, and `Host` where `headers` have none.
pub fn request(method: Method, target: Uri, mut headers: HeaderMap, body: Bytes) -> Request<Full<Bytes>> {
    for name in HEADERS_OF_FRAMING {
        headers.remove(name);
    }
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = target;
    *request.headers_mut() = headers;
    request
}

/// The value of a variable of a path, percent-encoded; of a greedy one slashes stay.
pub fn encoded(value: &str, is_greedy: bool) -> String {
    utf8_percent_encode(value, if is_greedy { GREEDY_VALUE } else { VALUE }).to_string()
}

/// Whether a path variable would lead out of its place in the path that the integration names. Servers take dots for what they are
/// also when they are percent-encoded (RFC 3986, 6.2.2), so encoding them would not help.
pub fn leads_elsewhere(value: &str) -> bool {
    value.split(['/', '\\']).any(|segment| matches!(segment, "." | ".."))
}

/// Headers without those of the connection they came by, named by `Connection` ones among them.
pub fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let stays = |name: &HeaderName| {
        !OF_CONNECTION.contains(name) && name != "keep-alive" && !named.iter().any(|own| own == name.as_str())
    };
    let kept = headers.iter().filter(|(name, _)| stays(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Headers of a client as a back end gets them: its name is another, and it could send again what the request was signed with.
///
/// Source: API Gateway developer guide, "Amazon API Gateway important notes": `Authorization` is dropped if it is a signature or the
/// method asks for one.
pub fn from_client(headers: &HeaderMap, is_signed: bool) -> HeaderMap {
    let mut passed = passed_on(headers);
    passed.remove(header::HOST);
    passed.remove(header::CONTENT_LENGTH);
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    if is_signed || given.any(|value| value.as_bytes().starts_with(SIGNATURE)) {
        passed.remove(header::AUTHORIZATION);
        passed.remove("x-amz-security-token");
    }
    passed
}

/// The query of a client as a back end gets it: as it came, without the signature of a presigned URL where the gateway asked for one.
pub fn query_from_client(query: &str, is_signed: bool) -> Cow<'_, str> {
    if !is_signed {
        return Cow::Borrowed(query);
    }
    let is_of_presigned = |pair: &str| {
        form_urlencoded::parse(pair.as_bytes())
            .next()
            .is_some_and(|(name, _)| OF_PRESIGNED.contains(&name.to_ascii_lowercase().as_str()))
    };
    Cow::Owned(query.split('&').filter(|pair| !is_of_presigned(pair)).collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn what_leads_elsewhere() {
        for (value, expected) in [
            ("..", true),
            (".", true),
            ("a/../b", true),
            ("a/./b", true),
            ("a\\..", true),
            ("a..b", false),
            ("...", false),
            ("a.", false),
        ] {
            assert_eq!(leads_elsewhere(value), expected, "{value}");
        }
    }

    #[test]
    fn headers_of_the_connection_stay_behind() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("connection", "close, X-Own"), ("x-own", "1"), ("te", "trailers"), ("x-other", "2")]
        {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let kept = passed_on(&headers);
        assert_eq!(kept.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-other"]);
    }

    #[test]
    fn signatures_stay_here() {
        let signed = "AWS4-HMAC-SHA256 Credential=a/b";
        for (authorization, is_signed, expected) in [
            (signed, true, &["x-other"][..]),
            (signed, false, &["x-other"]),
            ("Bearer a", true, &["x-other"]),
            ("Bearer a", false, &["authorization", "x-amz-security-token", "x-other"]),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in [
                ("authorization", authorization),
                ("x-amz-security-token", "t"),
                ("host", "h"),
                ("content-length", "1"),
                ("x-other", "1"),
            ] {
                headers.insert(name, HeaderValue::from_static(value));
            }
            let passed = from_client(&headers, is_signed);
            let mut names: Vec<_> = passed.keys().map(HeaderName::as_str).collect();
            names.sort_unstable();
            assert_eq!(names, expected, "{authorization} {is_signed}");
        }
        let presigned = "a=1&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=c&X-Amz-Date=d&X-Amz-Expires=5\
                         &b=%20+&X-Amz-SignedHeaders=host&X-Amz-Security-Token=t&x-amz%2Dsignature=s&c";
        assert_eq!(query_from_client(presigned, true), "a=1&b=%20+&c");
        assert_eq!(query_from_client(presigned, false), presigned);
        assert_eq!(query_from_client("", true), "");
    }

    #[test]
    fn who_maps_frames_nothing_but_may_name_the_host() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "other.example"),
            ("content-length", "7"),
            ("transfer-encoding", "chunked"),
            ("connection", "upgrade"),
            ("upgrade", "x"),
            ("te", "x"),
            ("trailer", "x"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let request = request(Method::GET, Uri::from_static("http://h/"), headers, Bytes::new());
        assert_eq!(request.headers().len(), 1);
        assert_eq!(request.headers()[header::HOST], "other.example");
    }
}
