//! Keeps web pages out: until there is authentication, being able to reach the port is the only right needed.
//!
//! A browser on the same machine can reach a loopback port. It says where a request comes from (`Origin`,
//! `Sec-Fetch-Site`), and a page that rebinds its own name to 127.0.0.1 still sends that name as `Host`.

use crate::http::error::ApiError;
use http::{HeaderMap, StatusCode, header};
use std::net::IpAddr;

/// Refuses what comes from a foreign web page: a foreign `Origin`, a `Host` that is neither loopback nor in
/// `allowed_hosts` (names without port, compared without case), or a cross-site fetch.
///
/// Gives back the authority of the `Host` header, for links to this server. Fails with 403
/// `AccessDeniedException` and a text that says how to allow the host.
pub fn check<'a>(headers: &'a HeaderMap, allowed_hosts: &[String]) -> Result<&'a str, ApiError> {
    let denied = |message: String| ApiError::new(StatusCode::FORBIDDEN, "AccessDeniedException", message);
    let mut hosts = headers.get_all(header::HOST).iter();
    let authority = match (hosts.next().map(|host| host.to_str()), hosts.next()) {
        (Some(Ok(host)), None) => host,
        _ => return Err(denied("The request needs exactly one Host header.".to_owned())),
    };
    let host = host_name(authority)
        .ok_or_else(|| denied("The Host header is not a host name with an optional port.".to_owned()))?;
    if !is_loopback(host) && !allowed_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host)) {
        return Err(denied(format!(
            "Host '{host}' is neither loopback nor configured. Reach the server as 127.0.0.1 or localhost, or \
             add the name to allowed_hosts in its configuration."
        )));
    }
    for origin in headers.get_all(header::ORIGIN) {
        let own = origin
            .to_str()
            .ok()
            .and_then(|origin| origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")))
            .is_some_and(|origin| origin.eq_ignore_ascii_case(authority));
        if !own {
            return Err(denied("A web page of another origin may not call this server.".to_owned()));
        }
    }
    // A page's image or script tag sends no Origin, but says cross-site here.
    let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
    if site.is_some_and(|site| site != b"same-origin" && site != b"none") {
        return Err(denied("A web page of another site may not call this server.".to_owned()));
    }
    Ok(authority)
}

/// The name of an authority.
fn host_name(authority: &str) -> Option<&str> {
    host_and_port(authority).map(|(host, _)| host)
}

/// Name and port of `name[:port]` or `[v6][:port]`, the name without brackets. `None` for anything else.
pub fn host_and_port(authority: &str) -> Option<(&str, Option<&str>)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port_is_number = port.is_none_or(|port| port.parse::<u16>().is_ok());
    let plain = !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'_'));
    (plain && port_is_number).then_some((host, port))
}

fn is_loopback(host: &str) -> bool {
    // Names beneath localhost are this machine everywhere (RFC 6761, 6.3); nobody can give them to another. S3 clients
    // put the bucket there.
    let name = host.to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn check_request(headers: &[(&'static str, &'static str)], allowed: bool) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        let got = check(&map, &["lamplight.example".to_owned()]);
        assert_eq!(got.is_ok(), allowed, "{headers:?} gave {got:?}");
        if let Err(error) = got {
            assert_eq!(error.status, StatusCode::FORBIDDEN);
        }
    }

    #[test]
    fn hosts() {
        check_request(&[("host", "127.0.0.1:9000")], true);
        check_request(&[("host", "127.3.2.1")], true);
        check_request(&[("host", "LocalHost:9000")], true);
        check_request(&[("host", "[::1]:9000")], true);
        check_request(&[("host", "Lamplight.example:80")], true);
        check_request(&[("host", "bucket.s3.us-east-1.LOCALHOST:9000")], true);
        check_request(&[("host", "notlocalhost:9000")], false);
        check_request(&[("host", "evil.example:9000")], false);
        check_request(&[("host", "127.0.0.1.evil.example")], false);
        check_request(&[("host", "localhost.evil.example")], false);
        check_request(&[("host", "localhost:9000@evil.example")], false);
        check_request(&[("host", "192.168.1.2:9000")], false);
        check_request(&[("host", "0.0.0.0:9000")], false);
        check_request(&[("host", "")], false);
        check_request(&[], false);
        check_request(&[("host", "127.0.0.1"), ("host", "evil.example")], false);
    }

    #[test]
    fn origins() {
        let host = ("host", "127.0.0.1:9000");
        check_request(&[host, ("origin", "http://127.0.0.1:9000")], true);
        check_request(&[host, ("origin", "http://127.0.0.1:8080")], false);
        check_request(&[host, ("origin", "https://evil.example")], false);
        check_request(&[host, ("origin", "null")], false);
        check_request(&[host, ("sec-fetch-site", "cross-site")], false);
        check_request(&[host, ("sec-fetch-site", "same-site")], false);
        check_request(&[host, ("sec-fetch-site", "same-origin")], true);
        check_request(&[host, ("sec-fetch-site", "none")], true);
    }
}
