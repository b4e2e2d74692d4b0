//! What is wrong with an identity-based policy, or with the trust policy of a role, in IAM's words.
//!
//! Refuses what the evaluation cannot read, which would deny everything, and what IAM refuses besides: what is in a document that was
//! taken is meant as it is read. Documents without a `Version`, or with no statement, can be read and are taken, other than by IAM.
//!
//! Source: texts and their order as recorded from IAM in public test suites; IAM user guide, "Grammar of the IAM JSON policy
//! language".

use super::{OneOrMany, check};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Operators of conditions, without `IfExists` and what asks for sets.
///
/// Source: IAM user guide, "IAM JSON policy elements: Condition operators".
const OPERATORS: [&str; 27] = [
    "ArnEquals",
    "ArnLike",
    "ArnNotEquals",
    "ArnNotLike",
    "BinaryEquals",
    "Bool",
    "DateEquals",
    "DateGreaterThan",
    "DateGreaterThanEquals",
    "DateLessThan",
    "DateLessThanEquals",
    "DateNotEquals",
    "IpAddress",
    "NotIpAddress",
    "Null",
    "NumericEquals",
    "NumericGreaterThan",
    "NumericGreaterThanEquals",
    "NumericLessThan",
    "NumericLessThanEquals",
    "NumericNotEquals",
    "StringEquals",
    "StringEqualsIgnoreCase",
    "StringLike",
    "StringNotEquals",
    "StringNotEqualsIgnoreCase",
    "StringNotLike",
];

/// Why a policy is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It is no JSON.
    #[error("This policy contains invalid Json")]
    Json,
    /// It has other elements, or elements of another form, than a policy.
    #[error("Syntax errors in policy.")]
    Syntax,
    /// A statement says whom it means, which is whoever has the policy.
    #[error("Policy document should not specify a principal.")]
    Principal,
    /// `Effect` in other letters.
    #[error("The policy failed legacy parsing")]
    Legacy,
    /// Two statements have one name.
    #[error("Statement IDs (SID) in a single policy must be unique.")]
    Names,
    /// A statement without actions.
    #[error("Policy statement must contain actions.")]
    NoActions,
    /// A statement without resources.
    #[error("Policy statement must contain resources.")]
    NoResources,
    /// A resource that is no ARN.
    #[error("Resource {0} must be in ARN format or \"*\".")]
    Resource(String),
    /// An action without its service.
    #[error("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")]
    NoVendor,
    /// An action with more than a service and a name.
    #[error("Actions/Condition can contain only one colon.")]
    Colons,
    /// A service that cannot be one.
    #[error("Vendor {0} is not valid")]
    Vendor(String),
    /// A trust policy that does not say whom it trusts, or with what.
    #[error("Missing required field {0}")]
    Missing(&'static str),
    /// A trust policy about a resource, which is its role.
    #[error("Has prohibited field {0}")]
    Prohibited(&'static str),
    /// A trust policy about something else than assuming its role.
    #[error("AssumeRole policy may only specify STS AssumeRole actions.")]
    NotAssumeRole,
}

/// Whether a document is an identity-based policy.
///
/// Fails with the first thing IAM would say is wrong.
pub fn check_identity_policy(document: &str) -> Result<(), Malformed> {
    let policy: Value = serde_json::from_str(document).map_err(|_| Malformed::Json)?;
    let policy = policy.as_object().ok_or(Malformed::Syntax)?;
    let statements = statements(policy)?;
    for statement in &statements {
        check_form(statement)?;
    }
    let has_case = |statement: &&Map<String, Value>| matches!(effect(statement), Some("Allow" | "Deny"));
    if !statements.iter().all(has_case) {
        return Err(Malformed::Legacy);
    }
    // Unknown elements, elements that are there twice: whatever the evaluation does not take.
    check(document).map_err(|_| Malformed::Syntax)?;
    let mut names = BTreeSet::new();
    let named = statements.iter().filter_map(|statement| statement.get("Sid")?.as_str());
    if !named.filter(|name| !name.is_empty()).all(|name| names.insert(name)) {
        return Err(Malformed::Names);
    }
    let values = |statement: &&Map<String, Value>, one: &str, other: &str| -> Vec<String> {
        let element = statement.get(one).or_else(|| statement.get(other));
        element.and_then(texts).unwrap_or_default()
    };
    let actions: Vec<Vec<String>> = statements.iter().map(|s| values(s, "Action", "NotAction")).collect();
    let resources: Vec<Vec<String>> =
        statements.iter().map(|s| values(s, "Resource", "NotResource")).collect();
    if actions.iter().any(Vec::is_empty) {
        return Err(Malformed::NoActions);
    }
    if resources.iter().any(Vec::is_empty) {
        return Err(Malformed::NoResources);
    }
    if let Some(resource) =
        resources.iter().flatten().find(|resource| *resource != "*" && !resource.contains(':'))
    {
        return Err(Malformed::Resource(resource.clone()));
    }
    actions.iter().flatten().try_for_each(|action| check_action(action))
}

/// Whether a document is the trust policy of a role. An empty object is taken, other than by IAM: nothing asks whom a role trusts.
///
/// Fails with the first thing that is wrong.
pub fn check_trust_policy(document: &str) -> Result<(), Malformed> {
    let policy: Map<String, Value> = serde_json::from_str(document).map_err(|_| Malformed::Json)?;
    if policy.is_empty() {
        return Ok(());
    }
    for statement in &statements(&policy)? {
        check_elements(statement)?;
        if let Some(name) = ["Resource", "NotResource"].into_iter().find(|name| statement.contains_key(*name))
        {
            return Err(Malformed::Prohibited(name));
        }
        if !statement.contains_key("Principal") && !statement.contains_key("NotPrincipal") {
            return Err(Malformed::Missing("Principal"));
        }
        let actions = statement.get("Action").and_then(texts).unwrap_or_default();
        if actions.is_empty() && !statement.contains_key("NotAction") {
            return Err(Malformed::Missing("Action"));
        }
        if !actions.iter().all(|action| action.to_ascii_lowercase().starts_with("sts:")) {
            return Err(Malformed::NotAssumeRole);
        }
    }
    check(document).map_err(|_| Malformed::Syntax)
}

/// The statements of a policy whose other elements have their form.
fn statements(policy: &Map<String, Value>) -> Result<Vec<&Map<String, Value>>, Malformed> {
    let is_known = |version: &Value| version == "2012-10-17" || version == "2008-10-17";
    if !policy.get("Version").is_none_or(is_known) || !policy.get("Id").is_none_or(Value::is_string) {
        return Err(Malformed::Syntax);
    }
    let statements = match policy.get("Statement") {
        Some(Value::Array(statements)) => statements.as_slice(),
        Some(statement) => std::slice::from_ref(statement),
        None => return Err(Malformed::Syntax),
    };
    statements.iter().map(|statement| statement.as_object().ok_or(Malformed::Syntax)).collect()
}

/// The form of one statement of an identity-based policy, but for the elements it may have.
fn check_form(statement: &Map<String, Value>) -> Result<(), Malformed> {
    match statement.contains_key("Principal") || statement.contains_key("NotPrincipal") {
        true => Err(Malformed::Principal),
        false => check_elements(statement),
    }
}

/// The form of those elements that every kind of policy has.
fn check_elements(statement: &Map<String, Value>) -> Result<(), Malformed> {
    let both = |one, other| statement.contains_key(one) && statement.contains_key(other);
    let lists = ["Action", "NotAction", "Resource", "NotResource"];
    let has_form = effect(statement)
        .is_some_and(|effect| ["allow", "deny"].contains(&effect.to_ascii_lowercase().as_str()))
        && statement.get("Sid").is_none_or(Value::is_string)
        && lists.iter().all(|name| statement.get(*name).is_none_or(|element| texts(element).is_some()))
        && !both("Action", "NotAction")
        && !both("Resource", "NotResource")
        && statement.get("Condition").is_none_or(is_condition);
    if has_form { Ok(()) } else { Err(Malformed::Syntax) }
}

fn effect(statement: &Map<String, Value>) -> Option<&str> {
    statement.get("Effect")?.as_str()
}

/// One text, or a list of them.
fn texts(element: &Value) -> Option<Vec<String>> {
    serde_json::from_value::<OneOrMany<String>>(element.clone()).ok().map(|texts| texts.0)
}

fn is_condition(condition: &Value) -> bool {
    let is_value = |value: &Value| value.is_string() || value.is_boolean() || value.is_number();
    let is_block = |block: &Value| {
        block.as_object().is_some_and(|block| {
            block.values().all(|values| match values {
                Value::Array(values) => values.iter().all(is_value),
                value => is_value(value),
            })
        })
    };
    condition.as_object().is_some_and(|operators| {
        operators.iter().all(|(operator, block)| is_operator(operator) && is_block(block))
    })
}

fn is_operator(operator: &str) -> bool {
    let of_sets = ["ForAnyValue:", "ForAllValues:"];
    let operator = of_sets.iter().find_map(|prefix| operator.strip_prefix(prefix)).unwrap_or(operator);
    OPERATORS.contains(&operator.strip_suffix("IfExists").unwrap_or(operator))
}

fn check_action(action: &str) -> Result<(), Malformed> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    match action.split(':').collect::<Vec<_>>().as_slice() {
        ["*"] => Ok(()),
        [_] => Err(Malformed::NoVendor),
        ["*", _] => Ok(()),
        [vendor, _] if vendor.bytes().all(plain) => Ok(()),
        [vendor, _] => Err(Malformed::Vendor((*vendor).to_owned())),
        _ => Err(Malformed::Colons),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Decision, evaluate};

    const REST: &str = r#""Action": "s3:ListBucket", "Resource": "arn:aws:s3:::b""#;

    fn said(document: &str) -> Result<(), String> {
        check_identity_policy(document).map_err(|malformed| malformed.to_string())
    }

    fn of(statement: &str) -> String {
        format!(r#"{{"Version": "2012-10-17", "Statement": {statement}}}"#)
    }

    #[test]
    fn what_is_a_policy() {
        let allow = format!(r#"{{"Sid": "a", "Effect": "Allow", {REST}}}"#);
        for good in [
            of(&allow),
            of(&format!("[{allow}]")),
            of(&format!(
                r#"[{allow}, {{"Sid": "", "Effect": "Deny", {REST}}}, {{"Sid": "", "Effect": "Deny", {REST}}}]"#
            )),
            of(r#"{"Effect": "Allow", "NotAction": ["s3:*"], "NotResource": ["arn:aws:s3:::b/*"]}"#),
            of(r#"{"Effect": "Allow", "Action": "*", "Resource": "*"}"#),
            of(&format!(
                r#"{{"Effect": "Allow", {REST}, "Condition": {{"Bool": {{"aws:SecureTransport": true}}, "ForAnyValue:StringLikeIfExists": {{"k": ["a", "b"]}}, "NumericLessThan": {{"k": 7}}}}}}"#
            )),
            of(&format!(r#"{{"Effect": "Allow", {REST}, "Condition": {{}}}}"#)),
            format!(r#"{{"Version": "2008-10-17", "Id": "i", "Statement": {allow}}}"#),
            format!(r#"{{"Statement": {allow}}}"#),
            of("[]"),
        ] {
            assert_eq!(said(&good), Ok(()), "{good}");
            // Nothing in it denies because it cannot be read.
            assert_ne!(
                evaluate([good.as_str()], "sqs:SendMessage", "arn:aws:sqs:::q"),
                Decision::Denied,
                "{good}"
            );
        }
    }

    #[test]
    fn trust_policies() {
        let said = |document: &str| check_trust_policy(document).map_err(|malformed| malformed.to_string());
        let service = r#""Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}"#;
        for good in [
            "{}".to_owned(),
            of("[]"),
            of(&format!(r#"[{{"Sid": "", {service}, "Action": "sts:AssumeRole"}}]"#)),
            of(&format!(
                r#"{{{service}, "Action": ["sts:AssumeRole", "STS:TagSession"], "Condition": {{}}}}"#
            )),
        ] {
            assert_eq!(said(&good), Ok(()), "{good}");
        }
        let assume = r#""Action": "sts:AssumeRole""#;
        // The texts are IAM's; in which order it looks is guessed.
        for (document, text) in [
            ("{".to_owned(), "This policy contains invalid Json"),
            ("[]".to_owned(), "This policy contains invalid Json"),
            (r#"{"Version": "2012-10-17"}"#.to_owned(), "Syntax errors in policy."),
            (of(&format!(r#"{{{service}, {assume}, "principal": 7}}"#)), "Syntax errors in policy."),
            (
                of(&format!(r#"{{"Effect": "Allow", "Principal": {{"AWS": "1", "AWS": "*"}}, {assume}}}"#)),
                "Syntax errors in policy.",
            ),
            (of(&format!(r#"{{{service}, {assume}, "Resource": "*"}}"#)), "Has prohibited field Resource"),
            (of(&format!(r#"{{"Effect": "Allow", {assume}}}"#)), "Missing required field Principal"),
            (of(&format!("{{{service}}}")), "Missing required field Action"),
            (
                of(&format!(r#"{{{service}, "Action": "s3:*"}}"#)),
                "AssumeRole policy may only specify STS AssumeRole actions.",
            ),
        ] {
            assert_eq!(said(&document), Err(text.to_owned()), "{document}");
        }
    }

    #[test]
    fn what_is_none_and_why() {
        let effect = |effect: &str| of(&format!(r#"{{"Effect": {effect}, {REST}}}"#));
        let with = |element: &str| of(&format!(r#"{{"Effect": "Allow", {REST}, {element}}}"#));
        let allow = |elements: &str| of(&format!(r#"{{"Effect": "Allow", {elements}}}"#));
        let syntax = "Syntax errors in policy.";
        for (document, text) in [
            ("{".to_owned(), "This policy contains invalid Json"),
            (String::new(), "This policy contains invalid Json"),
            ("[]".to_owned(), syntax),
            ("{}".to_owned(), syntax),
            (r#"{"Version": "2012-10-17"}"#.to_owned(), syntax),
            (r#"{"Version": "2013-10-17", "Statement": []}"#.to_owned(), syntax),
            (r#"{"Version": "2012-10-17", "Id": {}, "Statement": []}"#.to_owned(), syntax),
            (r#"{"Version": "2012-10-17", "Statement": [], "Extra field": "value"}"#.to_owned(), syntax),
            (r#"{"Version": "2012-10-17", "Version": "2012-10-17", "Statement": []}"#.to_owned(), syntax),
            (of(r#"["afd"]"#), syntax),
            (of(&format!("{{{REST}}}")), syntax),
            (effect("7"), syntax),
            (effect(r#""invalid""#), syntax),
            (effect(r#""allow""#), "The policy failed legacy parsing"),
            (with(r#""Extra field": "value""#), syntax),
            (with(r#""Action": "s3:*""#), syntax),
            (with(r#""NotAction": "s3:*""#), syntax),
            (with(r#""NotResource": []"#), syntax),
            (with(r#""Sid": 7"#), syntax),
            (with(r#""Condition": []"#), syntax),
            (with(r#""Condition": {"a": "b"}"#), syntax),
            (with(r#""Condition": {"StringEquals": "b"}"#), syntax),
            (with(r#""Condition": {"StringEquals": {"a": {}}}"#), syntax),
            (with(r#""Condition": {"StringEqualss": {"a": "b"}}"#), syntax),
            (with(r#""Condition": {"StringEquals": {"a": "b"}, "StringEquals": {"c": "d"}}"#), syntax),
            (with(r#""Condition": {"StringEquals": {"a": "b", "a": "c"}}"#), syntax),
            (with(r#""Principal": "*""#), "Policy document should not specify a principal."),
            (with(r#""NotPrincipal": {"AWS": "1"}"#), "Policy document should not specify a principal."),
            (allow(r#""Action": {}, "Resource": "*""#), syntax),
            (allow(r#""Action": [[]], "Resource": "*""#), syntax),
            (allow(r#""Action": "s3:*", "Resource": ["a:b", {}]"#), syntax),
            (allow(r#""Resource": "*""#), "Policy statement must contain actions."),
            (allow(r#""Action": [], "Resource": "*""#), "Policy statement must contain actions."),
            (allow(r#""Sid": "x""#), "Policy statement must contain actions."),
            (allow(r#""Action": "s3:*""#), "Policy statement must contain resources."),
            (allow(r#""Action": "invalid""#), "Policy statement must contain resources."),
            (allow(r#""Action": "s3:*", "Resource": []"#), "Policy statement must contain resources."),
            (
                allow(r#""Action": "s3:*", "Resource": "invalid resource""#),
                r#"Resource invalid resource must be in ARN format or "*"."#,
            ),
            (allow(r#""Action": "s3:*", "Resource": """#), r#"Resource  must be in ARN format or "*"."#),
            (
                allow(r#""Action": "invalid", "Resource": "*""#),
                "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.",
            ),
            (
                allow(r#""NotAction": "", "Resource": "*""#),
                "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.",
            ),
            (
                allow(r#""Action": "s3:List:Bucket", "Resource": "*""#),
                "Actions/Condition can contain only one colon.",
            ),
            (allow(r#""Action": "a a:ListBucket", "Resource": "*""#), "Vendor a a is not valid"),
            (
                of(&format!(
                    r#"[{{"Sid": "a", "Effect": "Deny", {REST}}}, {{"Sid": "a", "Effect": "Allow", {REST}}}]"#
                )),
                "Statement IDs (SID) in a single policy must be unique.",
            ),
        ] {
            assert_eq!(said(&document), Err(text.to_owned()), "{document}");
        }
    }
}
