//! What identity-based policies allow: a small, strict part of IAM's evaluation.
//!
//! A request is allowed when a statement allows it and none denies it. Conditions are not evaluated and policy variables
//! (`${...}`) are not replaced: a statement with either never allows, and denies whatever else in it fits.
//!
//! Source: IAM user guide, "Policy evaluation logic" and "IAM JSON policy elements".

use serde::Deserialize;
use serde_json::Value;

/// What a set of policies says to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// A statement allows it, none denies it.
    Allowed,
    /// A statement denies it.
    Denied,
    /// Nothing is said about it.
    NotMentioned,
}

/// Decides one request.
///
/// `documents` are JSON texts; what cannot be read says nothing. `action` is `service:Operation`, `resource` an ARN or `*`.
pub fn evaluate<'a>(documents: impl IntoIterator<Item = &'a str>, action: &str, resource: &str) -> Decision {
    let mut decision = Decision::NotMentioned;
    for document in documents {
        let Ok(policy) = serde_json::from_str::<Policy>(document) else { continue };
        for statement in policy.statements.0 {
            match statement.effect.as_str() {
                "Deny" if statement.fits(action, resource, Reading::Wide) => return Decision::Denied,
                "Allow" if statement.fits(action, resource, Reading::Narrow) => decision = Decision::Allowed,
                _ => {}
            }
        }
    }
    decision
}

#[derive(Deserialize)]
struct Policy {
    #[serde(rename = "Statement")]
    statements: OneOrMany<Statement>,
}

#[derive(Deserialize)]
struct Statement {
    #[serde(rename = "Effect")]
    effect: String,
    #[serde(rename = "Action")]
    action: Option<OneOrMany<String>>,
    #[serde(rename = "NotAction")]
    not_action: Option<OneOrMany<String>>,
    #[serde(rename = "Resource")]
    resource: Option<OneOrMany<String>>,
    #[serde(rename = "NotResource")]
    not_resource: Option<OneOrMany<String>>,
    #[serde(rename = "Condition")]
    condition: Option<Value>,
}

/// How to take what is not evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// As if it were not fulfilled: for what allows.
    Narrow,
    /// As if it were: for what denies.
    Wide,
}

impl Statement {
    fn fits(&self, action: &str, resource: &str, reading: Reading) -> bool {
        let has_condition = self
            .condition
            .as_ref()
            .is_some_and(|condition| condition.as_object().is_none_or(|conditions| !conditions.is_empty()));
        if has_condition && reading == Reading::Narrow {
            return false;
        }
        let fits_action =
            |pattern: &String| matches(&pattern.to_ascii_lowercase(), &action.to_ascii_lowercase());
        let action_fits = match (&self.action, &self.not_action) {
            (Some(actions), None) => actions.0.iter().any(fits_action),
            (None, Some(actions)) => !actions.0.iter().any(fits_action),
            _ => false,
        };
        let unknown = |pattern: &String| pattern.contains("${");
        let resource_fits = match (&self.resource, &self.not_resource) {
            (Some(resources), None) => resources.0.iter().any(|pattern| match unknown(pattern) {
                true => reading == Reading::Wide,
                false => matches(pattern, resource),
            }),
            (None, Some(resources)) => !resources.0.iter().any(|pattern| match unknown(pattern) {
                true => reading == Reading::Narrow,
                false => matches(pattern, resource),
            }),
            _ => false,
        };
        action_fits && resource_fits
    }
}

/// `*` stands for any text, `?` for any character. Takes time in proportion to the product of both lengths at worst.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut read) = (0, 0);
    // Where to go on when what follows the last star does not fit.
    let mut star: Option<(usize, usize)> = None;
    while read < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[read] => {
                at += 1;
                read += 1;
            }
            _ => match star {
                Some((star_at, taken)) => {
                    star = Some((star_at, taken + 1));
                    (at, read) = (star_at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// IAM takes one value where it takes a list.
#[derive(Deserialize)]
#[serde(from = "Either<T>")]
struct OneOrMany<T>(Vec<T>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Either<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> From<Either<T>> for OneOrMany<T> {
    fn from(either: Either<T>) -> Self {
        match either {
            Either::One(one) => Self(vec![one]),
            Either::Many(many) => Self(many),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:ssm:us-east-1:000000000000:parameter/app/key";

    fn check(statements: &str, expected: Decision) {
        let document = format!(r#"{{"Version": "2012-10-17", "Statement": {statements}}}"#);
        assert_eq!(evaluate([document.as_str()], "ssm:GetParameter", ARN), expected, "{statements}");
    }

    #[test]
    fn statements_allow_and_deny() {
        use Decision::*;
        let allow = r#"{"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": "*"}"#;
        check(allow, Allowed);
        check(&format!("[{allow}]"), Allowed);
        check(
            r#"[{"Effect": "Allow", "Action": ["s3:*", "SSM:get*"], "Resource": ["arn:aws:ssm:*:*:parameter/app/*"]}]"#,
            Allowed,
        );
        check(r#"{"Effect": "Allow", "Action": "ssm:GetParameters", "Resource": "*"}"#, NotMentioned);
        check(
            r#"{"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": "arn:aws:ssm:*:*:parameter/other/*"}"#,
            NotMentioned,
        );
        check(r#"{"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}"#, Allowed);
        check(r#"{"Effect": "Allow", "NotAction": "ssm:*", "Resource": "*"}"#, NotMentioned);
        check(r#"{"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:ssm:*"}"#, NotMentioned);
        check(&format!(r#"[{allow}, {{"Effect": "Deny", "Action": "*", "Resource": "*/key"}}]"#), Denied);
        check(r#"{"Effect": "allow", "Action": "*", "Resource": "*"}"#, NotMentioned);
        check(r#"{"Effect": "Allow", "Action": "*"}"#, NotMentioned);
        check("[]", NotMentioned);
        check("7", NotMentioned);
    }

    #[test]
    fn what_is_not_evaluated_never_allows() {
        use Decision::*;
        let condition = r#""Condition": {"Bool": {"aws:SecureTransport": "true"}}"#;
        check(
            &format!(r#"{{"Effect": "Allow", "Action": "*", "Resource": "*", {condition}}}"#),
            NotMentioned,
        );
        check(&format!(r#"{{"Effect": "Deny", "Action": "*", "Resource": "*", {condition}}}"#), Denied);
        check(r#"{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {}}"#, Allowed);
        let variable = r#""arn:aws:ssm:*:*:parameter/${aws:PrincipalTag/x}""#;
        check(&format!(r#"{{"Effect": "Allow", "Action": "*", "Resource": {variable}}}"#), NotMentioned);
        check(&format!(r#"{{"Effect": "Deny", "Action": "*", "Resource": {variable}}}"#), Denied);
        check(&format!(r#"{{"Effect": "Allow", "Action": "*", "NotResource": {variable}}}"#), NotMentioned);
    }

    #[test]
    fn any_document_may_deny_and_broken_ones_say_nothing() {
        let allow = r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}"#;
        let deny = r#"{"Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}}"#;
        assert_eq!(evaluate([allow, "{"], "a:B", "*"), Decision::Allowed);
        assert_eq!(evaluate([allow, deny], "a:B", "*"), Decision::Denied);
        assert_eq!(evaluate([], "a:B", "*"), Decision::NotMentioned);
    }

    #[test]
    fn wildcards() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a*c*e", "abcde", true),
            ("*ab", "aab", true),
            ("a*b", "acbd", false),
            ("***", "x", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
        assert!(!matches(&"*a".repeat(2_000), &"a".repeat(1_999)), "no time is lost");
    }
}
