//! Which requests are S3's, and which bucket a host name means.
//!
//! Signed requests say their service. Unsigned ones are S3's when their host name is (`<bucket>.s3.<region>.localhost`,
//! `<bucket>.localhost`), or when no other service knows their path and it begins like a bucket's.

use crate::http::Context;
use http::Method;
use lamplight_model::Region;
use s3s::host::{S3Host, VirtualHost};
use s3s::{S3Result, path};

/// What a host name beneath `localhost` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host<'a> {
    /// The bucket, in virtual-host style.
    pub bucket: Option<&'a str>,
    /// The region.
    pub region: Option<Region>,
}

/// Takes `[<bucket>.]s3[.<region>].localhost[:<port>]` and `<bucket>.localhost[:<port>]`; `None` for any other name.
pub fn parse(authority: &str) -> Option<Host<'_>> {
    let name = authority.rsplit_once(':').map_or(authority, |(name, _)| name);
    let split = name.len().checked_sub(".localhost".len()).filter(|at| name.is_char_boundary(*at))?;
    let (rest, suffix) = name.split_at(split);
    if rest.is_empty() || !suffix.eq_ignore_ascii_case(".localhost") {
        return None;
    }
    let region = |text: &str| (!text.contains('.')).then(|| Region::parse(text)).flatten();
    if rest == "s3" {
        return Some(Host { bucket: None, region: None });
    }
    if let Some(named) = rest.strip_prefix("s3.").and_then(region) {
        return Some(Host { bucket: None, region: Some(named) });
    }
    if let Some(bucket) = rest.strip_suffix(".s3") {
        return Some(Host { bucket: Some(bucket), region: None });
    }
    if let Some((bucket, named)) = rest.rsplit_once(".s3.")
        && let Some(named) = region(named)
    {
        return Some(Host { bucket: Some(bucket), region: Some(named) });
    }
    Some(Host { bucket: Some(rest), region: None })
}

/// Whether a request is S3's whatever its path: by signature of either version, or by host.
pub fn is_s3(context: &Context) -> bool {
    match context.signed_service.as_deref() {
        Some(service) => service == "s3",
        None => is_signed_by_version_2(context) || parse(&context.authority).is_some(),
    }
}

/// Whether an unsigned request that nobody else knows is S3's, by its path.
pub fn may_be_s3(context: &Context) -> bool {
    let method =
        [Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE].contains(&context.method);
    let bucket = context.path.trim_start_matches('/').split('/').next().unwrap_or_default();
    // Every path of the Lambda API begins with a date; an unknown one is an unknown operation.
    let date = bucket.len() == 10 && bucket.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    context.signed_service.is_none() && method && !date && path::check_bucket_name(bucket)
}

/// Signature version 2, which only S3 still takes: `Authorization: AWS <key>:<signature>`, or in the query string.
pub fn is_signed_by_version_2(context: &Context) -> bool {
    context.header("authorization").is_some_and(|value| value.starts_with("AWS "))
        || (context.parameter("AWSAccessKeyId").is_some() && context.parameter("Signature").is_some())
}

/// Tells s3s the bucket of a host name. Other names are addressed by path.
pub(crate) struct Hosts;

impl S3Host for Hosts {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let found = VirtualHost::new(host);
        Ok(match parse(host) {
            Some(Host { bucket: Some(bucket), .. }) => found.with_bucket(bucket),
            _ => found,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let check = |authority: &str, expected: Option<(Option<&str>, Option<&str>)>| {
            let got = parse(authority);
            let got = got.as_ref().map(|host| (host.bucket, host.region.as_ref().map(Region::as_str)));
            assert_eq!(got, expected, "{authority}");
        };
        check("s3.localhost:9000", Some((None, None)));
        check("s3.eu-west-1.localhost", Some((None, Some("eu-west-1"))));
        check("b.s3.eu-west-1.localhost:9000", Some((Some("b"), Some("eu-west-1"))));
        check("my.bucket.s3.LOCALHOST:9000", Some((Some("my.bucket"), None)));
        check("my.bucket.localhost:9000", Some((Some("my.bucket"), None)));
        check("localhost:9000", None);
        check(".localhost", None);
        check("127.0.0.1:9000", None);
        check("[::1]:9000", None);
        check("bucket.localhost.evil.example", None);
    }
}
