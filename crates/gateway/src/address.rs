//! Which function URL or API a request is for: by its host name, or by its path for clients without such names.
//!
//! | form | means |
//! |---|---|
//! | `<id>.lambda-url.<region>.<suffix>` | function URL |
//! | `<id>.execute-api.<region>.<suffix>` | API |
//! | `/_url/<id>/…` | function URL |
//! | `/_api/<id>/…`, `/_aws/execute-api/<id>/…` | API |
//!
//! The suffix is `localhost` or a name the operator allows: a page that gives its own name the address of this machine
//! gets nothing here. Paths stay as they came; nothing is decoded or normalised.

use http::{header, request::Parts};
use lamplight_model::Region;
use std::net::IpAddr;

/// What stands between an id and its region in the host name of a function URL.
const URL_LABEL: &str = "lambda-url";
/// The same of an API.
const API_LABEL: &str = "execute-api";
/// Beginning of the path of a function URL.
const URL_PATH: &str = "/_url/";
/// Beginning of the path of an API.
const API_PATH: &str = "/_api/";
/// The same in the form that clients of LocalStack use.
const OTHER_API_PATH: &str = "/_aws/execute-api/";
/// Longest host name, bytes; longer ones are nobody's, and nothing is looked up or remembered for them. Source: RFC 1035, 2.3.4.
const LONGEST_HOST: usize = 253;
/// Longest id, bytes: a label of a host name.
const LONGEST_ID: usize = 63;

/// What a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Addressed {
    /// The function URL of this id.
    FunctionUrl {
        /// Lower-case letters and digits.
        id: String,
    },
    /// The API of this id.
    Api {
        /// Lower-case letters and digits.
        id: String,
    },
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// What it is for.
    pub addressed: Addressed,
    /// The region in the host name.
    pub region: Option<Region>,
    /// The host name without its port, lower-case.
    pub domain_name: String,
    /// The path beneath what is addressed, percent-encoded as it came; begins with a slash.
    pub path: String,
    /// Whether the path said it: the page shares its origin with whatever else is on that host.
    pub by_path: bool,
}

impl Address {
    /// The id in the path form, else the first label of the host name.
    pub fn domain_prefix(&self) -> &str {
        match &self.addressed {
            Addressed::FunctionUrl { id } | Addressed::Api { id } if self.by_path => id,
            _ => self.domain_name.split('.').next().unwrap_or_default(),
        }
    }
}

/// Finds the address of a request. `None` when it is not for the gateway.
///
/// `allowed` are host names beside the loopback ones, beneath which ids stand, too.
pub fn find(head: &Parts, allowed: &[String]) -> Option<Address> {
    let host = host(head)?;
    let is_allowed = |name: &str| allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(name));
    let path = head.uri.path();
    if let Some((id, kind, region, suffix)) = labels(&host)
        && (suffix == "localhost" || is_allowed(suffix))
        && is_id(id)
    {
        let id = id.to_owned();
        let addressed = match kind {
            URL_LABEL => Addressed::FunctionUrl { id },
            API_LABEL => Addressed::Api { id },
            _ => return None,
        };
        let (region, path) = (Some(Region::parse(region)?), slashed(path));
        return Some(Address { addressed, region, domain_name: host, path, by_path: false });
    }
    let is_loopback =
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if !is_loopback && !is_allowed(&host) {
        return None;
    }
    let below = |prefix: &str| {
        let rest = path.strip_prefix(prefix)?;
        let (id, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        is_id(id).then(|| (id.to_owned(), slashed(path)))
    };
    let (addressed, path) = match (below(URL_PATH), below(API_PATH).or_else(|| below(OTHER_API_PATH))) {
        (Some((id, path)), _) => (Addressed::FunctionUrl { id }, path),
        (None, Some((id, path))) => (Addressed::Api { id }, path),
        (None, None) => return None,
    };
    Some(Address { addressed, region: None, domain_name: host, path, by_path: true })
}

/// The host name a request is for, in lower case.
pub fn host(head: &Parts) -> Option<String> {
    Some(host_name(authority(head)?)?.to_ascii_lowercase())
}

/// The host name of a request when it is neither a loopback one nor allowed: a custom domain's, or nobody's.
pub fn foreign_host(head: &Parts, allowed: &[String]) -> Option<String> {
    let host = host(head)?;
    let own = host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok()
        || allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(&host));
    (!own).then_some(host)
}

/// The authority a request names: that of its target, else its one `Host` header.
///
/// Source: RFC 9112, 3.2.2: a target in absolute form counts instead of the header. HTTP/2 has the authority there.
pub fn authority(head: &Parts) -> Option<&str> {
    if let Some(authority) = head.uri.authority() {
        return Some(authority.as_str());
    }
    let mut hosts = head.headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok(),
        _ => None,
    }
}

/// The name in `name[:port]` or `[v6][:port]`, without brackets.
fn host_name(authority: &str) -> Option<&str> {
    let (name, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (name, rest) = rest.split_once(']')?;
            (name, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        None => match authority.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (authority, None),
        },
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'_');
    let port_is_number = port.is_none_or(|port| port.parse::<u16>().is_ok());
    let has_length = (1..=LONGEST_HOST).contains(&name.len());
    (has_length && name.bytes().all(plain) && port_is_number).then_some(name)
}

/// Id, kind, region and suffix of `<id>.<kind>.<region>.<suffix>`.
fn labels(host: &str) -> Option<(&str, &str, &str, &str)> {
    let mut labels = host.splitn(4, '.');
    Some((labels.next()?, labels.next()?, labels.next()?, labels.next()?))
}

fn is_id(text: &str) -> bool {
    (1..=LONGEST_ID).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

fn slashed(path: &str) -> String {
    // `OPTIONS *` and a path form without a rest.
    if path.starts_with('/') { path.to_owned() } else { "/".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find_of(target: &str, hosts: &[&str]) -> Option<Address> {
        let mut request = http::Request::builder().uri(target);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        find(&head, &["lamplight.example".to_owned()])
    }

    fn check(target: &str, host: &str, expected: Option<(&str, &str, &str)>) {
        let found = find_of(target, &[host]);
        let found = found.as_ref().map(|found| {
            let (kind, id) = match &found.addressed {
                Addressed::FunctionUrl { id } => ("url", id),
                Addressed::Api { id } => ("api", id),
            };
            (kind, id.as_str(), found.path.as_str())
        });
        assert_eq!(found, expected, "{target} at {host}");
    }

    #[test]
    fn by_host_name() {
        check("/a/b", "abc1.lambda-url.us-east-1.localhost:9000", Some(("url", "abc1", "/a/b")));
        check("/", "ABC1.Lambda-URL.us-east-1.LOCALHOST", Some(("url", "abc1", "/")));
        check("/", "abc.execute-api.eu-west-1.localhost:9000", Some(("api", "abc", "/")));
        check("/", "abc.lambda-url.us-east-1.lamplight.example", Some(("url", "abc", "/")));
        // The path of another form is a path like any other here.
        check("/_url/x/y", "abc.lambda-url.us-east-1.localhost", Some(("url", "abc", "/_url/x/y")));
        for other in [
            "abc.lambda-url.us-east-1.evil.example",
            "abc.lambda-url.us-east-1.localhost.evil.example",
            "abc.lambda-url.us-east-1.notlocalhost",
            "abc.lambda-url.localhost",
            "a-b.lambda-url.us-east-1.localhost",
            "abc.lambda-url.us_east.localhost",
            "lambda-url.us-east-1.localhost",
            "bucket.s3.us-east-1.localhost",
            "localhost:9000",
            "abc.lambda-url.us-east-1.localhost:x",
            "evil@abc.lambda-url.us-east-1.localhost",
        ] {
            check("/", other, None);
        }
    }

    #[test]
    fn by_path() {
        check("/_url/abc/a%2Fb/../c?q=1", "127.0.0.1:9000", Some(("url", "abc", "/a%2Fb/../c")));
        check("/_url/abc", "[::1]:9000", Some(("url", "abc", "/")));
        check("/_api/abc/prod/x", "localhost", Some(("api", "abc", "/prod/x")));
        check("/_aws/execute-api/abc/prod/x", "localhost", Some(("api", "abc", "/prod/x")));
        check("/_api/abc/prod/x", "lamplight.example:80", Some(("api", "abc", "/prod/x")));
        check("/_url/", "localhost", None);
        check("/_url/A/", "localhost", None);
        check("/_url", "localhost", None);
        check("/x/_url/abc/", "localhost", None);
        check("/_url/abc/", "evil.example", None);
        // A key of a bucket, at the bucket's host.
        check("/_url/abc/", "bucket.s3.us-east-1.localhost", None);
        check("/_url/abc/", "bucket.localhost", None);
    }

    #[test]
    fn names_longer_than_any_are_nobodys() {
        let foreign = |length: usize| {
            let host = format!("{}.example", "a".repeat(length - ".example".len()));
            let (head, ()) =
                http::Request::get("/").header(header::HOST, &host).body(()).unwrap().into_parts();
            foreign_host(&head, &[])
        };
        assert_eq!(foreign(253).map(|host| host.len()), Some(253));
        assert_eq!(foreign(254), None);
    }

    #[test]
    fn which_name_counts() {
        let host = "abc.lambda-url.us-east-1.localhost";
        assert!(find_of("/", &[]).is_none());
        assert!(find_of("/", &[host, host]).is_none());
        assert!(find_of("http://localhost/", &[host]).is_none());
        assert!(find_of(&format!("http://{host}/"), &["localhost"]).is_some());
    }
}
