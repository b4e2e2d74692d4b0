//! Which function an integration or an authorizer means.

use super::Texts;
use crate::name::function_arn;
use crate::{FunctionName, FunctionReference, Qualifier, Scope};

/// A function by its ARN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionTarget {
    /// Where it lives.
    pub scope: Scope,
    /// Its plain name.
    pub name: FunctionName,
    /// Version or alias.
    pub qualifier: Option<Qualifier>,
}

impl FunctionTarget {
    /// The ARN as it was given.
    pub fn arn(&self) -> String {
        function_arn(&self.scope, &self.name, self.qualifier.as_ref())
    }
}

/// The function of a URI: its ARN, or `arn:aws:apigateway:<region>:lambda:path/2015-03-31/functions/<ARN>/invocations`.
/// `None` for anything else. Stage variables have been put in before.
pub fn function_of_uri(uri: &str) -> Option<FunctionTarget> {
    let arn = match uri.split_once(":lambda:path/") {
        Some((before, path)) if before.starts_with("arn:aws") && before.contains(":apigateway:") => {
            let (date, rest) = path.trim_start_matches('/').split_once("/functions/")?;
            (date == "2015-03-31").then_some(())?;
            rest.strip_suffix("/invocations")?
        }
        _ => uri,
    };
    let reference = FunctionReference::parse(arn)?;
    let scope = Scope { account: reference.account?, region: reference.region? };
    Some(FunctionTarget { scope, name: reference.name, qualifier: reference.qualifier })
}

/// A URI with the values of stage variables in the place of `${stageVariables.<name>}`; what is not set is empty.
pub fn with_stage_variables(uri: &str, variables: &Texts) -> String {
    const BEGIN: &str = "${stageVariables.";
    let mut whole = String::with_capacity(uri.len());
    let mut rest = uri;
    while let Some((before, after)) = rest.split_once(BEGIN)
        && let Some((name, behind)) = after.split_once('}')
    {
        whole.push_str(before);
        whole.push_str(variables.get(name).map_or("", String::as_str));
        rest = behind;
    }
    whole.push_str(rest);
    whole
}

/// Splits the URL of an integration behind its authority, path variables stand after which only: in it, whoever sends a request would
/// choose the host it goes on to. `None` for what is no URL of HTTP.
pub fn split_authority(uri: &str) -> Option<(&str, &str)> {
    let rest = uri.strip_prefix("http://").or_else(|| uri.strip_prefix("https://"))?;
    let length = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (host, _) = rest.split_at(length);
    (!host.is_empty()).then(|| uri.split_at(uri.len() - rest.len() + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:lambda:eu-west-1:000000000000:function:pets:live";

    #[test]
    fn functions_by_arn_and_by_invocation_uri() {
        assert_eq!(function_of_uri(ARN).map(|target| target.arn()).as_deref(), Some(ARN));
        let uri = format!("arn:aws:apigateway:eu-west-1:lambda:path/2015-03-31/functions/{ARN}/invocations");
        assert_eq!(function_of_uri(&uri), function_of_uri(ARN));
        for wrong in
            ["pets", "https://example.com", &uri.replace("/invocations", ""), &uri.replace("2015", "2016")]
        {
            assert_eq!(function_of_uri(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn stage_variables_are_put_in() {
        let variables = Texts::from([("fn".to_owned(), "pets".to_owned())]);
        let check = |uri: &str, expected: &str| assert_eq!(with_stage_variables(uri, &variables), expected);
        check("a:${stageVariables.fn}:b", "a:pets:b");
        check("${stageVariables.fn}${stageVariables.none}", "pets");
        check("a${stageVariables.fn", "a${stageVariables.fn");
        check("plain", "plain");
    }

    #[test]
    fn where_the_authority_of_a_url_ends() {
        for (uri, expected) in [
            ("http://h", Some(("http://h", ""))),
            ("https://h:1/a/{b}", Some(("https://h:1", "/a/{b}"))),
            ("http://h?q={a}", Some(("http://h", "?q={a}"))),
            ("http://{a}.h/x", Some(("http://{a}.h", "/x"))),
            ("http:///x", None),
            ("http://", None),
            ("ftp://h/x", None),
        ] {
            assert_eq!(split_authority(uri), expected, "{uri}");
        }
    }
}
