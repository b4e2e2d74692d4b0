//! The URLs of functions and APIs as clients see them: what an operator says, and what the request says that asks for them.

use std::net::IpAddr;

/// Greatest host name, bytes (RFC 1035).
const LONGEST_NAME: usize = 253;

/// Scheme, host and port of the gateway; what is `None` is taken from the request that asks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GatewayUrl {
    /// `https` instead of `http`.
    pub is_https: bool,
    /// Host name that ids stand beneath, lower case.
    pub name: Option<String>,
    /// Port, when it is not the one the request came to.
    pub port: Option<u16>,
}

impl GatewayUrl {
    /// Reads `https://apps.example.com` or `http://apps.example.com:8080`; the port is that of the scheme when none is given.
    ///
    /// Fails with what is wrong: it is not of that form, or the host is an address, which no label can stand before.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (is_https, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err("it must begin with https:// or http://".to_owned()),
        };
        let (name, port) = name_and_port(rest.strip_suffix('/').unwrap_or(rest))
            .ok_or("it must be scheme://host or scheme://host:port, without a path")?;
        if name.parse::<IpAddr>().is_ok() {
            return Err("its host must be a name: the ids of functions stand before it".to_owned());
        }
        if !is_host_name(name) {
            return Err(format!("{name} is no host name"));
        }
        let port = port.unwrap_or(if is_https { 443 } else { 80 });
        Ok(Self { is_https, name: Some(name.to_ascii_lowercase()), port: Some(port) })
    }

    /// `https://<id>.lambda-url.<region>.<host>/`, the form of `FunctionUrl`. `authority` is host and port of the request that asks.
    pub fn of_function(&self, id: &str, region: &str, authority: &str) -> String {
        self.of(id, "lambda-url", region, authority) + "/"
    }

    /// `https://<id>.execute-api.<region>.<host>`, the form of `ApiEndpoint`.
    pub fn of_api(&self, id: &str, region: &str, authority: &str) -> String {
        self.of(id, "execute-api", region, authority)
    }

    fn of(&self, id: &str, kind: &str, region: &str, authority: &str) -> String {
        let (asked, asked_port) = name_and_port(authority).unwrap_or(("localhost", None));
        // No label can stand before an address.
        let asked = if asked.parse::<IpAddr>().is_ok() { "localhost" } else { asked };
        let name = self.name.as_deref().unwrap_or(asked);
        let (scheme, usual) = if self.is_https { ("https", 443) } else { ("http", 80) };
        // What the request said stays as it was said; a port of ours is left out where it is understood.
        let port = match (self.port, asked_port) {
            (Some(port), _) if port == usual => String::new(),
            (Some(port), _) | (None, Some(port)) => format!(":{port}"),
            (None, None) => String::new(),
        };
        format!("{scheme}://{id}.{kind}.{region}.{name}{port}")
    }
}

/// Whether a text is a host name of letters, digits, hyphens and dots, as certificates and the domain name system have it.
pub fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    text.len() <= LONGEST_NAME && text.split('.').all(is_label)
}

/// Splits `name`, `name:port` and `[v6]:port`; the brackets go.
fn name_and_port(authority: &str) -> Option<(&str, Option<u16>)> {
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
    let port = match port {
        Some(port) => Some(port.parse().ok()?),
        None => None,
    };
    (!name.is_empty()).then_some((name, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_request_says() {
        let shared = GatewayUrl::default();
        for (authority, expected) in [
            ("127.0.0.1:4566", "localhost:4566"),
            ("[::1]:4566", "localhost:4566"),
            ("localhost", "localhost"),
            ("lamplight.example:80", "lamplight.example:80"),
            ("", "localhost"),
        ] {
            assert_eq!(
                shared.of_api("abc", "eu-west-1", authority),
                format!("http://abc.execute-api.eu-west-1.{expected}")
            );
        }
        let own = GatewayUrl { is_https: true, name: None, port: Some(8443) };
        assert_eq!(own.of_function("abc", "r", "127.0.0.1:9000"), "https://abc.lambda-url.r.localhost:8443/");
        let own = GatewayUrl { is_https: true, name: None, port: Some(443) };
        assert_eq!(own.of_function("abc", "r", "127.0.0.1:9000"), "https://abc.lambda-url.r.localhost/");
    }

    #[test]
    fn what_the_operator_says() {
        let of = |text: &str| {
            GatewayUrl::parse(text).map(|url| url.of_function("abc", "us-east-1", "127.0.0.1:9000"))
        };
        assert_eq!(
            of("https://Apps.example.com").unwrap(),
            "https://abc.lambda-url.us-east-1.apps.example.com/"
        );
        assert_eq!(
            of("http://apps.example:8080/").unwrap(),
            "http://abc.lambda-url.us-east-1.apps.example:8080/"
        );
        assert_eq!(of("https://a.example:80").unwrap(), "https://abc.lambda-url.us-east-1.a.example:80/");
        for wrong in [
            "",
            "apps.example",
            "ftp://apps.example",
            "https://",
            "https://a b",
            "https://a.example/x",
            "https://a.example:",
            "https://a.example:99999",
            "https://-a.example",
            "https://a..example",
            "https://user@a",
        ] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
        assert!(of("https://192.0.2.1").unwrap_err().contains("a name"));
        assert!(of("https://[::1]:443").unwrap_err().contains("a name"));
    }
}
