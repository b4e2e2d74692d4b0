//! Conditions of statements: what is known of a request, compared with what a policy asks for.
//!
//! Source: IAM user guide, "IAM JSON policy elements: Condition operators". Operators for numbers, dates, binary values and
//! sets of values are not evaluated.

use super::wildcard::matches;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The condition keys of one request.
///
/// A key that was never set is unknown: nothing is said about conditions on it. One that was set to no value is known to be
/// absent from the request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConditionKeys(BTreeMap<String, Option<String>>);

impl ConditionKeys {
    /// Says what a key is. Names are compared without regard to case.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.0.insert(key.to_ascii_lowercase(), Some(value.into()));
    }

    /// Says that a request has no such key.
    pub fn absent(&mut self, key: &str) {
        self.0.insert(key.to_ascii_lowercase(), None);
    }
}

/// Whether all conditions of a `Condition` element are fulfilled; `None` when that cannot be said.
///
/// One that is known not to be fulfilled decides, whatever is not known of the others.
pub(super) fn fulfilled(condition: &Value, keys: &ConditionKeys) -> Option<bool> {
    let operators = condition.as_object()?;
    let mut result = Some(true);
    for (operator, block) in operators {
        let Some(block) = block.as_object() else {
            result = None;
            continue;
        };
        for (key, values) in block {
            match one(operator, keys.0.get(&key.to_ascii_lowercase()), values) {
                Some(true) => {}
                Some(false) => return Some(false),
                None => result = None,
            }
        }
    }
    result
}

/// One key under one operator. `actual` is `None` for an unknown key, `Some(None)` for an absent one.
fn one(operator: &str, actual: Option<&Option<String>>, values: &Value) -> Option<bool> {
    let actual = actual?;
    let values = texts(values)?;
    if operator == "Null" {
        return any(values.iter().map(|value| Some(truth(value)? == actual.is_none())));
    }
    let (operator, if_exists) = match operator.strip_suffix("IfExists") {
        Some(operator) => (operator, true),
        None => (operator, false),
    };
    let (compare, negated): (Comparison, bool) = match operator {
        "StringEquals" => (equals, false),
        "StringNotEquals" => (equals, true),
        "StringEqualsIgnoreCase" => (equals_ignoring_case, false),
        "StringNotEqualsIgnoreCase" => (equals_ignoring_case, true),
        "StringLike" => (like, false),
        "StringNotLike" => (like, true),
        "ArnEquals" | "ArnLike" => (arn_like, false),
        "ArnNotEquals" | "ArnNotLike" => (arn_like, true),
        "Bool" => (same_truth, false),
        "IpAddress" => (in_network, false),
        "NotIpAddress" => (in_network, true),
        _ => return None,
    };
    // An absent key fulfils what says "not", and what asks only if it exists.
    let Some(actual) = actual else { return Some(negated || if_exists) };
    // A variable may stand for anything.
    let is_known = |value: &&String| !value.contains("${");
    let found =
        any(values.iter().map(|value| Some(value).filter(is_known).and_then(|value| compare(value, actual))));
    found.map(|found| found != negated)
}

/// Whether one of them is true, whatever is not known of the others.
fn any(each: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut result = Some(false);
    for one in each {
        match one {
            Some(true) => return Some(true),
            Some(false) => {}
            None => result = None,
        }
    }
    result
}

/// What a text says that is true or false, in whatever letters.
fn truth(text: &str) -> Option<bool> {
    [("true", true), ("false", false)]
        .into_iter()
        .find(|(name, _)| text.eq_ignore_ascii_case(name))
        .map(|(_, is)| is)
}

/// Compares what a policy says with what the request has; `None` when the former cannot be read.
type Comparison = fn(&str, &str) -> Option<bool>;

fn equals(value: &str, actual: &str) -> Option<bool> {
    Some(value == actual)
}

fn equals_ignoring_case(value: &str, actual: &str) -> Option<bool> {
    Some(value.eq_ignore_ascii_case(actual))
}

fn same_truth(value: &str, actual: &str) -> Option<bool> {
    Some(truth(value)? == truth(actual)?)
}

fn like(pattern: &str, actual: &str) -> Option<bool> {
    Some(matches(pattern, actual))
}

/// Each of the six parts of an ARN is compared by itself.
fn arn_like(pattern: &str, actual: &str) -> Option<bool> {
    let parts = |text: &'_ str| text.splitn(6, ':').map(str::to_owned).collect::<Vec<_>>();
    let (pattern, actual) = (parts(pattern), parts(actual));
    Some(pattern.len() == actual.len() && pattern.iter().zip(&actual).all(|(one, other)| matches(one, other)))
}

/// `network` is an address, with or without the length of its prefix.
fn in_network(network: &str, actual: &str) -> Option<bool> {
    let (address, length) = match network.split_once('/') {
        Some((address, length)) => (address, Some(length.parse::<u32>().ok()?)),
        None => (network, None),
    };
    let (bits, network) = bits(address.parse().ok()?);
    let (actual_bits, actual) = self::bits(actual.parse::<IpAddr>().ok()?.to_canonical());
    let length = length.unwrap_or(bits);
    if length > bits {
        return None;
    }
    let differing = (network ^ actual).checked_shr(bits - length).unwrap_or(0);
    Some(bits == actual_bits && differing == 0)
}

/// How many bits an address has, and which.
fn bits(address: IpAddr) -> (u32, u128) {
    match address {
        IpAddr::V4(address) => (32, u32::from(address).into()),
        IpAddr::V6(address) => (128, address.into()),
    }
}

/// One value or a list of them; IAM takes numbers and booleans for their texts.
fn texts(values: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(value) => Some(value.to_string()),
        _ => None,
    };
    match values {
        Value::Array(values) => values.iter().map(text).collect(),
        value => Some(vec![text(value)?]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(condition: &str, expected: Option<bool>) {
        let mut keys = ConditionKeys::default();
        keys.set("aws:SourceIp", "192.0.2.77");
        keys.set("aws:PrincipalArn", "arn:aws:iam::000000000000:user/ann");
        keys.set("aws:username", "Ann");
        keys.set("aws:SecureTransport", "true");
        keys.absent("aws:PrincipalOrgID");
        let condition: Value = serde_json::from_str(condition).unwrap();
        assert_eq!(fulfilled(&condition, &keys), expected, "{condition}");
    }

    #[test]
    fn operators() {
        for (condition, expected) in [
            (r#"{}"#, true),
            (r#"{"StringEquals": {"AWS:UserName": "Ann"}}"#, true),
            (r#"{"StringEquals": {"aws:username": ["Bob", "Ann"]}}"#, true),
            (r#"{"StringEquals": {"aws:username": "ann"}}"#, false),
            (r#"{"StringEquals": {"aws:username": []}}"#, false),
            (r#"{"StringNotEquals": {"aws:username": ["Bob", "Ann"]}}"#, false),
            (r#"{"StringNotEquals": {"aws:username": "Bob"}}"#, true),
            (r#"{"StringEqualsIgnoreCase": {"aws:username": "ANN"}}"#, true),
            (r#"{"StringNotEqualsIgnoreCase": {"aws:username": "ANN"}}"#, false),
            (r#"{"StringLike": {"aws:username": "A*"}}"#, true),
            (r#"{"StringNotLike": {"aws:username": "A??"}}"#, false),
            (r#"{"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/*"}}"#, true),
            (r#"{"ArnEquals": {"aws:PrincipalArn": "arn:aws:iam::000000000000:user/ann"}}"#, true),
            (r#"{"ArnLike": {"aws:PrincipalArn": "arn:*:user/ann"}}"#, false),
            (r#"{"ArnNotLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/*"}}"#, true),
            (r#"{"Bool": {"aws:SecureTransport": true}}"#, true),
            (r#"{"Bool": {"aws:SecureTransport": "false"}}"#, false),
            (r#"{"Null": {"aws:PrincipalOrgID": "true"}}"#, true),
            (r#"{"Null": {"aws:username": true}}"#, false),
            (r#"{"Null": {"aws:username": "True"}}"#, false),
            (r#"{"Null": {"aws:username": "False"}}"#, true),
            (r#"{"Null": {"aws:username": ["no", "false"]}}"#, true),
            (r#"{"Bool": {"aws:SecureTransport": "True"}}"#, true),
            (r#"{"Bool": {"aws:SecureTransport": ["no", "true"]}}"#, true),
            (r#"{"StringEquals": {"aws:username": "Ann"}, "Bool": {"aws:SecureTransport": "false"}}"#, false),
        ] {
            check(condition, Some(expected));
        }
    }

    #[test]
    fn networks() {
        for (network, expected) in [
            ("192.0.2.0/24", Some(true)),
            ("192.0.2.77", Some(true)),
            ("192.0.2.76/32", Some(false)),
            ("192.0.3.0/24", Some(false)),
            ("0.0.0.0/0", Some(true)),
            ("::/0", Some(false)),
            ("192.0.2.0/33", None),
            ("here", None),
        ] {
            check(&format!(r#"{{"IpAddress": {{"aws:SourceIp": "{network}"}}}}"#), expected);
            let negated = expected.map(|within| !within);
            check(&format!(r#"{{"NotIpAddress": {{"aws:SourceIp": "{network}"}}}}"#), negated);
        }
        check(r#"{"IpAddress": {"aws:SourceIp": ["here", "192.0.2.0/25"]}}"#, Some(true));
    }

    #[test]
    fn absent_keys() {
        check(r#"{"StringEquals": {"aws:PrincipalOrgID": "o-1"}}"#, Some(false));
        check(r#"{"StringNotEquals": {"aws:PrincipalOrgID": "o-1"}}"#, Some(true));
        check(r#"{"StringEqualsIfExists": {"aws:PrincipalOrgID": "o-1"}}"#, Some(true));
        check(r#"{"StringEqualsIfExists": {"aws:username": "Bob"}}"#, Some(false));
    }

    #[test]
    fn what_cannot_be_said() {
        for condition in [
            r#"{"StringEquals": {"aws:MultiFactorAuthAge": "1"}}"#,
            r#"{"StringNotEquals": {"aws:MultiFactorAuthAge": "1"}}"#,
            r#"{"NumericLessThan": {"aws:username": "1"}}"#,
            r#"{"ForAllValues:StringEquals": {"aws:username": "Ann"}}"#,
            r#"{"StringEquals": {"aws:username": "${aws:PrincipalTag/name}"}}"#,
            r#"{"StringEquals": {"aws:username": {}}}"#,
            r#"{"Null": {"aws:username": "no"}}"#,
            r#"{"Null": {"aws:PrincipalOrgID": ["false", 1]}}"#,
            r#"{"Bool": {"aws:SecureTransport": "no"}}"#,
            r#"{"Bool": {"aws:SecureTransport": ["false", ""]}}"#,
            r#"{"Bool": {"aws:username": "true"}}"#,
            r#"{"StringEquals": 7}"#,
            r#"[]"#,
        ] {
            check(condition, None);
        }
        // But one that is not fulfilled decides.
        check(r#"{"Odd": {"a": "b"}, "StringEquals": {"aws:username": "Bob"}}"#, Some(false));
    }
}
