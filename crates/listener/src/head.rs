//! What is wrong with a request's head, and one form for the heads of HTTP/1.1 and HTTP/2.

use crate::limits::Limits;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, Version, header};

/// Gives a head with path and query only, its host in `Host`, or the status it is refused with; `body_bytes` is what it says about
/// its body at least.
///
/// The host of a request is told once, or one request could be taken for another's: two `Host` fields are refused (RFC 9112, 3.2), in
/// HTTP/2 also one beside another authority (RFC 9113, 8.3.1); in HTTP/1.1 a target in absolute form counts instead (RFC 9112, 3.2.2).
///
/// Cookies are told in one field, too: HTTP/2 clients send each in its own (RFC 9113, 8.2.3), and only whoever hands them on knows
/// that commas do not separate them.
pub(crate) fn check(mut parts: Parts, limits: &Limits, body_bytes: u64) -> Result<Parts, StatusCode> {
    join_cookies(&mut parts.headers)?;
    if parts.headers.len() > limits.headers {
        return Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    if limits.body_bytes.is_some_and(|most| body_bytes > most) {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(StatusCode::BAD_REQUEST);
    }
    let Some(authority) = parts.uri.authority().map(http::uri::Authority::as_str) else {
        return Ok(parts);
    };
    let is_same = |host: &HeaderValue| host.as_bytes().eq_ignore_ascii_case(authority.as_bytes());
    if !host.is_some_and(is_same) {
        if host.is_some() && parts.version == Version::HTTP_2 {
            return Err(StatusCode::BAD_REQUEST);
        }
        let host = HeaderValue::from_str(authority).map_err(|_| StatusCode::BAD_REQUEST)?;
        parts.headers.insert(header::HOST, host);
    }
    // CONNECT names a host and no path, and is nothing we do; it stays as it is and is not found.
    if let Some(path) = parts.uri.path_and_query() {
        parts.uri = without_authority(path.clone());
    }
    Ok(parts)
}

fn join_cookies(headers: &mut HeaderMap) -> Result<(), StatusCode> {
    let cookies: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1 {
        let joined =
            HeaderValue::from_bytes(&cookies.join(&b"; "[..])).map_err(|_| StatusCode::BAD_REQUEST)?;
        headers.insert(header::COOKIE, joined);
    }
    Ok(())
}

fn without_authority(path: PathAndQuery) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = Some(path);
    // A path alone is always a target.
    Uri::from_parts(parts).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn check_head(target: &str, hosts: &[&str]) -> Result<(String, String), u16> {
        check_version(Version::HTTP_11, target, hosts)
    }

    fn check_version(version: Version, target: &str, hosts: &[&str]) -> Result<(String, String), u16> {
        let mut request = Request::get(target).version(version);
        for host in hosts {
            request = request.header("host", *host);
        }
        match check(request.body(()).unwrap().into_parts().0, &Limits::api(), 0) {
            Ok(parts) => {
                let host = parts.headers.get("host").map_or("", |host| host.to_str().unwrap());
                Ok((parts.uri.to_string(), host.to_owned()))
            }
            Err(status) => Err(status.as_u16()),
        }
    }

    #[test]
    fn the_host_is_told_once() {
        let good = |target: &str, host: &str| Ok((target.to_owned(), host.to_owned()));
        assert_eq!(check_head("/a%20b?c=%2F", &["x.example"]), good("/a%20b?c=%2F", "x.example"));
        assert_eq!(check_head("http://x.example:80/a?b", &[]), good("/a?b", "x.example:80"));
        assert_eq!(check_head("http://x.example/a", &["X.example"]), good("/a", "X.example"));
        assert_eq!(check_head("http://x.example/a", &["y.example"]), good("/a", "x.example"));
        assert_eq!(check_version(Version::HTTP_2, "http://x.example/a", &["y.example"]), Err(400));
        assert_eq!(check_version(Version::HTTP_2, "http://x.example/a", &[]), good("/a", "x.example"));
        assert_eq!(check_head("/", &["x.example", "x.example"]), Err(400));
        assert_eq!(check_head("/", &[]), good("/", ""));
    }

    #[test]
    fn cookies_are_told_in_one_field() {
        let joined = |cookies: &[&str]| {
            let mut request = Request::get("/").header("accept", "a").header("accept", "b");
            for cookie in cookies {
                request = request.header("cookie", *cookie);
            }
            // Two fields and the cookies: crumbs do not count each.
            let limits = Limits { headers: 3, ..Limits::api() };
            let parts = check(request.body(()).unwrap().into_parts().0, &limits, 0).unwrap();
            assert_eq!(parts.headers.get_all("accept").iter().count(), 2, "others stay apart");
            let values = parts.headers.get_all("cookie").iter();
            values.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(joined(&[]), Vec::<String>::new());
        assert_eq!(joined(&["a=1; b=2"]), ["a=1; b=2"]);
        assert_eq!(joined(&["a=1", "b=2; c=3", "d=4"]), ["a=1; b=2; c=3; d=4"]);
    }

    #[test]
    fn bounds_of_heads_and_bodies() {
        let limits = Limits { headers: 2, body_bytes: Some(10), ..Limits::api() };
        let parts = |headers: usize| {
            let mut request = Request::get("/");
            for number in 0..headers {
                request = request.header("x-number", number);
            }
            request.body(()).unwrap().into_parts().0
        };
        let status = |headers, bytes| match check(parts(headers), &limits, bytes) {
            Ok(_) => 200,
            Err(status) => status.as_u16(),
        };
        assert_eq!([status(2, 10), status(3, 10), status(2, 11)], [200, 431, 413]);
    }
}
