//! What policies allow, identity-based and resource-based: a small, strict part of IAM's evaluation.
//!
//! A request is allowed when a statement allows it and none denies it. What cannot be evaluated never allows, and always denies
//! where it might be meant to: documents that cannot be read, statements with unknown elements, without an action or a resource or
//! with two kinds of them, conditions that cannot be said to be fulfilled or not. Policy variables (`${...}`) are not replaced: a
//! statement with one never allows, and denies whatever else in it fits.
//!
//! Source: IAM user guide, "Policy evaluation logic" and "IAM JSON policy elements".

pub mod aws_managed;
mod condition;
mod distinct;
mod malformed;
mod principal;
mod wildcard;

pub use condition::ConditionKeys;
pub use malformed::{Malformed, check_identity_policy, check_trust_policy};
pub use principal::Principal;

use distinct::Distinct;
use principal::Meant;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use std::collections::HashMap;
use wildcard::matches;

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

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `service:Operation`.
    pub action: &'a str,
    /// An ARN or `*`.
    pub resource: &'a str,
    /// What conditions may ask for.
    pub keys: &'a ConditionKeys,
}

/// What a resource-based policy says to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceDecision {
    /// A statement means who asks in person, or anyone, and allows it.
    Allowed,
    /// A statement allows it to the account of who asks: what that account's own policies allow counts.
    AllowedToAccount,
    /// A statement denies it.
    Denied,
    /// Nothing is said about it.
    NotMentioned,
}

/// As `evaluate_with`, where nothing is known that conditions could ask for.
pub fn evaluate<'a>(documents: impl IntoIterator<Item = &'a str>, action: &str, resource: &str) -> Decision {
    evaluate_with(documents, &Request { action, resource, keys: &ConditionKeys::default() })
}

/// What identity-based policies say to one request. `documents` are JSON texts; one that cannot be read might deny, so it does.
pub fn evaluate_with<'a>(documents: impl IntoIterator<Item = &'a str>, request: &Request<'_>) -> Decision {
    let mut decision = Decision::NotMentioned;
    for document in documents {
        let Ok(policy) = serde_json::from_str::<Policy<Read>>(document) else { return Decision::Denied };
        for statement in policy.statements.0 {
            match statement {
                Read::Statement(statement) => match statement.effect {
                    Effect::Deny if statement.fits(request, Reading::Wide) => return Decision::Denied,
                    Effect::Allow if statement.fits(request, Reading::Narrow) => decision = Decision::Allowed,
                    Effect::Deny | Effect::Allow => {}
                },
                unreadable if unreadable.might_deny() => return Decision::Denied,
                _ => {}
            }
        }
    }
    decision
}

/// What the policy of a resource says to a request of `who`. `document` is a JSON text; one that cannot be read might
/// deny, so it does.
pub fn evaluate_resource_policy(
    document: &str,
    who: &Principal<'_>,
    request: &Request<'_>,
) -> ResourceDecision {
    let Ok(policy) = serde_json::from_str::<Policy<Read>>(document) else { return ResourceDecision::Denied };
    let mut allowed = Meant::No;
    for statement in policy.statements.0 {
        match statement {
            Read::Statement(statement) => match statement.effect {
                Effect::Deny
                    if statement.fits(request, Reading::Wide)
                        && statement.means(who, Reading::Wide) != Meant::No =>
                {
                    return ResourceDecision::Denied;
                }
                Effect::Allow if statement.fits(request, Reading::Narrow) => {
                    allowed = allowed.max(statement.means(who, Reading::Narrow));
                }
                Effect::Deny | Effect::Allow => {}
            },
            unreadable if unreadable.might_deny() => return ResourceDecision::Denied,
            _ => {}
        }
    }
    match allowed {
        Meant::No => ResourceDecision::NotMentioned,
        Meant::AsAccount => ResourceDecision::AllowedToAccount,
        Meant::InPerson => ResourceDecision::Allowed,
    }
}

/// Whether a document can be read as a policy: an object with statements that have an effect, no unknown elements and none twice.
/// Fails with what is wrong.
pub fn check(document: &str) -> Result<(), String> {
    let policy = serde_json::from_str(document).and_then(|Distinct(policy)| {
        let policy: Policy<Value> = serde_json::from_value(policy)?;
        policy.statements.0.into_iter().try_for_each(|statement| {
            let _: Statement = serde_json::from_value(statement)?;
            Ok(())
        })
    });
    policy.map_err(|error| error.to_string())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Policy<S> {
    /// Both say nothing about requests.
    #[serde(rename = "Version")]
    _version: Option<IgnoredAny>,
    #[serde(rename = "Id")]
    _id: Option<IgnoredAny>,
    #[serde(rename = "Statement")]
    statements: OneOrMany<S>,
}

/// One statement, each by itself: what is wrong with one takes nothing from the others.
#[derive(Deserialize)]
#[serde(untagged)]
enum Read {
    Statement(Box<Statement>),
    /// One that cannot be evaluated.
    Unreadable(Says),
    /// Not even its effect can be told.
    Unknown(IgnoredAny),
}

#[derive(Deserialize)]
struct Says {
    #[serde(rename = "Effect")]
    effect: String,
    #[serde(flatten)]
    _rest: HashMap<String, IgnoredAny>,
}

impl Read {
    /// Whether a statement that cannot be read may be meant to deny: one that says it allows, in whatever letters, is not.
    fn might_deny(&self) -> bool {
        !matches!(self, Self::Unreadable(says) if says.effect.eq_ignore_ascii_case("Allow"))
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
enum Effect {
    Allow,
    Deny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    /// A name, which says nothing about requests.
    #[serde(rename = "Sid")]
    _sid: Option<IgnoredAny>,
    #[serde(rename = "Effect")]
    effect: Effect,
    #[serde(rename = "Principal")]
    principal: Option<Distinct>,
    #[serde(rename = "NotPrincipal")]
    not_principal: Option<Distinct>,
    #[serde(rename = "Action")]
    action: Option<OneOrMany<String>>,
    #[serde(rename = "NotAction")]
    not_action: Option<OneOrMany<String>>,
    #[serde(rename = "Resource")]
    resource: Option<OneOrMany<String>>,
    #[serde(rename = "NotResource")]
    not_resource: Option<OneOrMany<String>>,
    #[serde(rename = "Condition")]
    condition: Option<Distinct>,
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
    /// How the statement means who asks. `NotPrincipal` is not evaluated.
    fn means(&self, who: &Principal<'_>, reading: Reading) -> Meant {
        match (&self.principal, &self.not_principal, reading) {
            (Some(Distinct(principal)), None, Reading::Wide) if !principal::is_readable(principal) => {
                Meant::InPerson
            }
            (Some(Distinct(principal)), None, _) => principal::meant(principal, who),
            (_, _, Reading::Wide) => Meant::InPerson,
            (_, _, Reading::Narrow) => Meant::No,
        }
    }

    fn fits(&self, request: &Request<'_>, reading: Reading) -> bool {
        let Request { action, resource, keys } = *request;
        let fulfilled = match &self.condition {
            Some(Distinct(condition)) => condition::fulfilled(condition, keys),
            None => Some(true),
        };
        if !fulfilled.unwrap_or(reading == Reading::Wide) {
            return false;
        }
        let fits_action =
            |pattern: &String| matches(&pattern.to_ascii_lowercase(), &action.to_ascii_lowercase());
        let action_fits = match (&self.action, &self.not_action) {
            (Some(actions), None) => actions.0.iter().any(fits_action),
            (None, Some(actions)) => !actions.0.iter().any(fits_action),
            _ => reading == Reading::Wide,
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
            _ => reading == Reading::Wide,
        };
        action_fits && resource_fits
    }
}

/// IAM takes one value where it takes a list.
#[derive(Deserialize)]
#[serde(from = "Either<T>")]
struct OneOrMany<T>(Vec<T>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Either<T> {
    // First: a single statement that cannot be read may be anything, a list too.
    Many(Vec<T>),
    One(T),
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
        check("7", Denied);
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
    fn what_cannot_be_read_denies_unless_it_says_it_allows() {
        use Decision::*;
        let allow = r#"{"Sid": "a", "Effect": "Allow", "Action": "*", "Resource": "*"}"#;
        for (elements, alone) in [
            (r#""Resource": "*""#, true),
            (r#""Action": "*""#, true),
            (r#""Action": "*", "NotAction": "s3:*", "Resource": "*""#, true),
            (r#""Action": "*", "Resource": "*", "NotResource": "x""#, true),
            (r#""Action": 7, "Resource": "*""#, true),
            (r#""Action": "s3:*", "Resource": "*", "condition": {}"#, true),
            (r#""Action": "*", "Resource": "*", "Condition": 7"#, true),
            (r#""Action": "s3:*", "Resource": "*", "Resource": "x""#, true),
            (r#""Action": "*", "Resource": "*", "Condition": {"Bool": {"a": "b"}, "Bool": {}}"#, true),
            (r#""Action": "*", "Resource": "*", "Condition": {"StringEquals": {"a": "b", "a": []}}"#, true),
            (r#""Action": "*", "Resource": "*", "Principal": {"AWS": "1", "AWS": "*"}"#, true),
            (r#""Action": "s3:*""#, false),
            (r#""Resource": "x""#, false),
        ] {
            let allows = format!(r#"{{"Effect": "Allow", {elements}}}"#);
            check(&allows, NotMentioned);
            check(&format!("[{allows}, {allow}]"), Allowed);
            let denies = format!(r#"{{"Effect": "Deny", {elements}}}"#);
            check(&format!("[{allow}, {denies}]"), if alone { Denied } else { Allowed });
        }
        for statement in [
            "7",
            "[]",
            "{}",
            r#"["Allow"]"#,
            r#"{"Effect": "deny", "Action": "s3:*", "Resource": "*"}"#,
            r#"{"Effect": "Deny", "Effect": "Allow", "Action": "s3:*", "Resource": "*"}"#,
        ] {
            check(&format!("[{allow}, {statement}]"), Denied);
        }
        let other = r#"{"Version": "2012-10-17", "Id": "i", "Statement": [], "statement": []}"#;
        assert_eq!(evaluate([other], "a:B", "*"), Denied);
    }

    #[test]
    fn any_document_may_deny_and_broken_ones_do() {
        let allow = r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}"#;
        let deny = r#"{"Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}}"#;
        assert_eq!(evaluate([allow, "{"], "a:B", "*"), Decision::Denied);
        assert_eq!(evaluate([allow, deny], "a:B", "*"), Decision::Denied);
        assert_eq!(evaluate([], "a:B", "*"), Decision::NotMentioned);
    }

    fn check_resource(statements: &str, who: &Principal<'_>, expected: ResourceDecision) {
        let document = format!(r#"{{"Version": "2012-10-17", "Statement": {statements}}}"#);
        let mut keys = ConditionKeys::default();
        keys.set("lambda:FunctionUrlAuthType", "NONE");
        let request = Request { action: "lambda:InvokeFunctionUrl", resource: ARN, keys: &keys };
        assert_eq!(evaluate_resource_policy(&document, who, &request), expected, "{statements}");
    }

    #[test]
    fn policies_of_resources_say_who() {
        use ResourceDecision::*;
        let ann = Principal::Identity {
            account: "000000000000",
            arn: "arn:aws:iam::000000000000:user/ann",
            role: None,
        };
        let to = |principal: &str, rest: &str| {
            format!(r#"{{"Effect": "Allow", {principal}, "Action": "lambda:*", "Resource": "*"{rest}}}"#)
        };
        let anyone = to(r#""Principal": "*""#, "");
        check_resource(&anyone, &Principal::Anonymous, Allowed);
        check_resource(&anyone, &ann, Allowed);
        let account = to(r#""Principal": {"AWS": "000000000000"}"#, "");
        check_resource(&account, &Principal::Anonymous, NotMentioned);
        check_resource(&account, &ann, AllowedToAccount);
        check_resource(&format!("[{account}, {anyone}]"), &ann, Allowed);
        let deny =
            r#"{"Effect": "Deny", "Principal": {"AWS": "000000000000"}, "Action": "*", "Resource": "*"}"#;
        check_resource(&format!("[{anyone}, {deny}]"), &ann, Denied);
        check_resource(&format!("[{anyone}, {deny}]"), &Principal::Anonymous, Allowed);
        let none = r#", "Condition": {"StringEquals": {"lambda:FunctionUrlAuthType": "NONE"}}"#;
        check_resource(&to(r#""Principal": "*""#, none), &Principal::Anonymous, Allowed);
        let iam = none.replace("NONE", "AWS_IAM");
        check_resource(&to(r#""Principal": "*""#, &iam), &Principal::Anonymous, NotMentioned);
        // What is not evaluated never allows, and always denies.
        check_resource(&to(r#""NotPrincipal": {"AWS": "1"}"#, ""), &ann, NotMentioned);
        let not = to(r#""NotPrincipal": {"AWS": "1"}"#, "").replace("Allow", "Deny");
        check_resource(&format!("[{anyone}, {not}]"), &ann, Denied);
        check_resource(r#"{"Effect": "Allow", "Action": "*", "Resource": "*"}"#, &ann, NotMentioned);
        let without = r#"{"Effect": "Deny", "Action": "*", "Resource": "*"}"#;
        check_resource(&format!("[{anyone}, {without}]"), &ann, Denied);
        for unreadable in ["7", r#""1""#, r#"{"aws": "1"}"#, r#"{"AWS": 1}"#, r#"{"AWS": ["1", 7]}"#] {
            let principal = to(&format!(r#""Principal": {unreadable}"#), "");
            check_resource(&principal, &ann, NotMentioned);
            check_resource(&format!("[{anyone}, {}]", principal.replace("Allow", "Deny")), &ann, Denied);
        }
        for nobody_here in [r#"{"AWS": "1"}"#, r#"{"Federated": ["a"]}"#, r#"{"CanonicalUser": "a"}"#] {
            let deny = to(&format!(r#""Principal": {nobody_here}"#), "").replace("Allow", "Deny");
            check_resource(&format!("[{anyone}, {deny}]"), &ann, Allowed);
        }
        let unknown = to(r#""Principal": {"AWS": "1"}"#, r#", "condition": {}"#).replace("Allow", "Deny");
        check_resource(&format!("[{anyone}, {unknown}]"), &ann, Denied);
        check_resource(&to(r#""Principal": "*""#, r#", "condition": {}"#), &ann, NotMentioned);
        check_resource("7", &ann, Denied);
        let twice = to(r#""Principal": {"AWS": "1", "AWS": "*"}"#, "");
        check_resource(&twice, &ann, NotMentioned);
        check_resource(&format!("[{anyone}, {}]", twice.replace("Allow", "Deny")), &ann, Denied);
    }

    #[test]
    fn no_condition_is_lost_where_its_operator_is_there_twice() {
        let mut keys = ConditionKeys::default();
        keys.set("aws:username", "bob");
        keys.set("aws:RequestedRegion", "us-east-1");
        let decide = |condition: &str| {
            let document = format!(
                r#"{{"Statement": {{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {condition}}}}}"#
            );
            evaluate_with(
                [document.as_str()],
                &Request { action: "ssm:GetParameter", resource: ARN, keys: &keys },
            )
        };
        let (ann, region) = (r#""aws:username": "ann""#, r#""aws:RequestedRegion": "us-east-1""#);
        let twice = format!(r#"{{"StringEquals": {{{ann}}}, "StringEquals": {{{region}}}}}"#);
        assert_eq!(decide(&twice), Decision::NotMentioned);
        assert_eq!(decide(&format!(r#"{{"StringEquals": {{{ann}, {region}}}}}"#)), Decision::NotMentioned);
        assert_eq!(decide(&format!(r#"{{"StringEquals": {{{region}}}}}"#)), Decision::Allowed);
    }

    #[test]
    fn documents_are_checked() {
        assert!(
            super::check(r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}"#).is_ok()
        );
        assert!(super::check(r#"{"Statement": []}"#).is_ok());
        for wrong in ["", "[]", "{}", r#"{"Statement": {}}"#, r#"{"Statement": {"Effect": "allow"}}"#] {
            assert!(super::check(wrong).is_err(), "{wrong}");
        }
        let unknown =
            r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*", "condition": {}}}"#;
        let said = super::check(unknown).unwrap_err();
        assert!(said.contains("condition"), "{said}");
        let twice = r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*",
            "Condition": {"StringEquals": {"a": "b"}, "StringEquals": {}}}}"#;
        let said = super::check(twice).unwrap_err();
        assert!(said.contains("StringEquals is there twice"), "{said}");
    }
}
