//! What policies allow, identity-based and resource-based: a small, strict part of IAM's evaluation.
//!
//! A request is allowed when a statement allows it and none denies it. Policy variables (`${...}`) are not replaced: a
//! statement with one never allows, and denies whatever else in it fits; so does one whose conditions cannot be said to be
//! fulfilled or not.
//!
//! Source: IAM user guide, "Policy evaluation logic" and "IAM JSON policy elements".

pub mod aws_managed;
mod condition;
mod principal;
mod wildcard;

pub use condition::ConditionKeys;
pub use principal::Principal;

use principal::Meant;
use serde::Deserialize;
use serde_json::Value;
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

/// What identity-based policies say to one request. `documents` are JSON texts; what cannot be read says nothing.
pub fn evaluate_with<'a>(documents: impl IntoIterator<Item = &'a str>, request: &Request<'_>) -> Decision {
    let mut decision = Decision::NotMentioned;
    for document in documents {
        let Ok(policy) = serde_json::from_str::<Policy>(document) else { continue };
        for statement in policy.statements.0 {
            match statement.effect.as_str() {
                "Deny" if statement.fits(request, Reading::Wide) => return Decision::Denied,
                "Allow" if statement.fits(request, Reading::Narrow) => decision = Decision::Allowed,
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
    let Ok(policy) = serde_json::from_str::<Policy>(document) else { return ResourceDecision::Denied };
    let mut allowed = Meant::No;
    for statement in policy.statements.0 {
        match statement.effect.as_str() {
            "Deny"
                if statement.fits(request, Reading::Wide)
                    && statement.means(who, Reading::Wide) != Meant::No =>
            {
                return ResourceDecision::Denied;
            }
            "Allow" if statement.fits(request, Reading::Narrow) => {
                allowed = allowed.max(statement.means(who, Reading::Narrow));
            }
            _ => {}
        }
    }
    match allowed {
        Meant::No => ResourceDecision::NotMentioned,
        Meant::AsAccount => ResourceDecision::AllowedToAccount,
        Meant::InPerson => ResourceDecision::Allowed,
    }
}

/// Whether a document can be read as a policy: an object with statements that have an effect. Fails with what is wrong.
pub fn check(document: &str) -> Result<(), String> {
    let policy: Policy = serde_json::from_str(document).map_err(|error| error.to_string())?;
    match policy.statements.0.iter().find(|statement| !matches!(statement.effect.as_str(), "Allow" | "Deny"))
    {
        Some(statement) => Err(format!("Effect is '{}', not Allow or Deny", statement.effect)),
        None => Ok(()),
    }
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
    #[serde(rename = "Principal")]
    principal: Option<Value>,
    #[serde(rename = "NotPrincipal")]
    not_principal: Option<Value>,
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
    /// How the statement means who asks. `NotPrincipal` is not evaluated.
    fn means(&self, who: &Principal<'_>, reading: Reading) -> Meant {
        match (&self.principal, &self.not_principal, reading) {
            (Some(principal), None, _) => principal::meant(principal, who),
            (_, Some(_), Reading::Wide) => Meant::InPerson,
            _ => Meant::No,
        }
    }

    fn fits(&self, request: &Request<'_>, reading: Reading) -> bool {
        let Request { action, resource, keys } = *request;
        let fulfilled = match &self.condition {
            Some(condition) => condition::fulfilled(condition, keys),
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
        check_resource("7", &ann, Denied);
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
    }
}
