//! What the signature of a request says about where it is meant to go. It is read, not verified: there is no
//! authentication in this release.

use http::HeaderMap;
use lamplight_model::Region;

/// The credential scope: `<key id>/<date>/<region>/<service>/aws4_request`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialScope {
    /// Region to use.
    pub region: Region,
    /// Service the client thinks it talks to: `lambda`, `logs`, `iam`, `sts`, `s3`, ...
    pub service: String,
}

/// From the `Authorization` header, or from `X-Amz-Credential` of a presigned URL. `None` when the request is
/// not signed or the scope cannot be read.
///
/// Source: Signature Version 4, "Authorization header" and "query string".
pub fn credential_scope(headers: &HeaderMap, query: &[(String, String)]) -> Option<CredentialScope> {
    // The key id may hold slashes, so the parts are counted from the end.
    let mut parts = credential(headers, query)?.rsplit('/');
    let (_terminator, service, region, _date) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    Some(CredentialScope { region: Region::parse(region)?, service: service.to_owned() })
}

/// The access key id a request is signed with. `None` when it is not signed.
pub fn access_key_id<'a>(headers: &'a HeaderMap, query: &'a [(String, String)]) -> Option<&'a str> {
    credential(headers, query)?.rsplitn(5, '/').nth(4)
}

fn credential<'a>(headers: &'a HeaderMap, query: &'a [(String, String)]) -> Option<&'a str> {
    let from_header = headers
        .get(http::header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .filter(|value| value.starts_with("AWS4-"))
        .and_then(|value| value.split_once("Credential="))
        .and_then(|(_, rest)| rest.split([',', ' ']).next());
    from_header
        .or_else(|| query.iter().find(|(key, _)| key == "X-Amz-Credential").map(|(_, value)| value.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(authorization: &str, expected: Option<(&str, &str)>) {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::AUTHORIZATION, authorization.parse().unwrap());
        let got = credential_scope(&headers, &[]);
        let got = got.as_ref().map(|scope| (scope.region.as_str(), scope.service.as_str()));
        assert_eq!(got, expected, "{authorization}");
    }

    #[test]
    fn reads_region_and_service() {
        check(
            "AWS4-HMAC-SHA256 Credential=AKID/20260131/eu-west-1/lambda/aws4_request, SignedHeaders=host, Signature=0",
            Some(("eu-west-1", "lambda")),
        );
        check(
            "AWS4-HMAC-SHA256 Credential=a/b/c/20260131/us-east-1/sts/aws4_request",
            Some(("us-east-1", "sts")),
        );
        check("AWS4-HMAC-SHA256 Credential=AKID/x", None);
        check("AWS4-HMAC-SHA256 Credential=AKID/20260131/BAD REGION/lambda/aws4_request", None);
        check("Bearer abc", None);
    }

    #[test]
    fn key_ids() {
        let check = |credential: &str, expected: Option<&str>| {
            let query = [("X-Amz-Credential".to_owned(), credential.to_owned())];
            assert_eq!(access_key_id(&HeaderMap::new(), &query), expected, "{credential}");
        };
        check("AKID/20260131/us-east-1/sts/aws4_request", Some("AKID"));
        check("a/b/20260131/us-east-1/sts/aws4_request", Some("a/b"));
        check("AKID/sts", None);
    }

    #[test]
    fn presigned_urls_name_it_in_the_query() {
        let query =
            [("X-Amz-Credential".to_owned(), "AKID/20260131/ap-south-1/lambda/aws4_request".to_owned())];
        let scope = credential_scope(&HeaderMap::new(), &query).unwrap();
        assert_eq!(scope.region.as_str(), "ap-south-1");
    }
}
