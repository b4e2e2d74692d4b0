//! Requests that go on to a back end over HTTP: what of a request may, and how values of clients stand in its URL.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, Uri, header};
use http_body_util::Full;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

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

/// A request of a back end. The client sets `Host` and `Content-Length` itself.
pub fn request(method: Method, target: Uri, mut headers: HeaderMap, body: Bytes) -> Request<Full<Bytes>> {
    headers.remove(header::HOST);
    headers.remove(header::CONTENT_LENGTH);
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
}
