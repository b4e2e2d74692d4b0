//! Which server is meant.

use crate::failure::Failure;

/// Where a server listens when nothing says otherwise.
pub const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:9000";

/// `http://host:port` without a slash at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(String);

impl Endpoint {
    /// Flag over `LAMPLIGHT_ENDPOINT` over `AWS_ENDPOINT_URL` over the default. Empty variables count as unset.
    pub fn choose(flag: Option<&str>, variable: impl Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        if let Some(flag) = flag {
            return Self::parse(flag, "--endpoint");
        }
        for name in ["LAMPLIGHT_ENDPOINT", "AWS_ENDPOINT_URL"] {
            if let Some(value) = variable(name).filter(|value| !value.is_empty()) {
                return Self::parse(&value, name);
            }
        }
        Self::parse(DEFAULT_ENDPOINT, "the default")
    }

    /// Takes `http://host[:port]`, with or without a slash at the end.
    pub fn parse(text: &str, source: &str) -> Result<Self, Failure> {
        let refused = |why: &str| {
            Failure::usage(format!("{source} is \"{text}\", which is no server's address"))
                .because(why)
                .then(format!("--endpoint {DEFAULT_ENDPOINT}"))
        };
        if text.starts_with("https://") {
            return Err(refused("the server speaks plain HTTP on loopback, no TLS yet"));
        }
        let uri: http::Uri = text.parse().map_err(|_| refused("it is not a URL"))?;
        if uri.scheme_str() != Some("http") {
            return Err(refused("it must begin with http://"));
        }
        if uri.path() != "/" || uri.query().is_some() {
            return Err(refused("only host and port belong there"));
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(flag: Option<&str>, variables: &[(&str, &str)], expected: Result<&str, &str>) {
        let find = |name: &str| {
            variables.iter().find(|(candidate, _)| *candidate == name).map(|(_, value)| (*value).to_owned())
        };
        match (Endpoint::choose(flag, find), expected) {
            (Ok(endpoint), Ok(expected)) => assert_eq!(endpoint.as_str(), expected),
            (Err(failure), Err(expected)) => assert!(failure.text().contains(expected), "{}", failure.text()),
            (got, _) => panic!("{got:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn the_nearest_word_wins() {
        let both = [("LAMPLIGHT_ENDPOINT", "http://b:2/"), ("AWS_ENDPOINT_URL", "http://c:3")];
        check(Some("http://a:1"), &both, Ok("http://a:1"));
        check(None, &both, Ok("http://b:2"));
        check(None, &both[1..], Ok("http://c:3"));
        check(None, &[("LAMPLIGHT_ENDPOINT", "")], Ok("http://127.0.0.1:9000"));
    }

    #[test]
    fn what_is_no_address_is_refused_with_its_source() {
        check(Some("https://a"), &[], Err("no TLS yet"));
        check(Some("localhost:9000"), &[], Err("--endpoint is \"localhost:9000\""));
        check(Some("http://a/b"), &[], Err("only host and port"));
        check(None, &[("AWS_ENDPOINT_URL", "::")], Err("AWS_ENDPOINT_URL is"));
    }
}
