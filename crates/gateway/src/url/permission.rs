//! Whether a function's resource-based policy lets everybody call its URL.
//!
//! A URL without authentication is open when the policy allows anyone `lambda:InvokeFunctionUrl` and `lambda:InvokeFunction`
//! (each perhaps under the condition that a URL without authentication is what is called), and denies neither.
//!
//! Source: Lambda developer guide, "Control access to function URLs": both permissions since October 2025.

use lamplight_model::policy::matches;
use serde::Deserialize;
use serde_json::{Map, Value};

/// What a request to a URL without authentication says of itself: condition keys in lower case, and their values.
const FACTS: [(&str, &str); 2] =
    [("lambda:functionurlauthtype", "NONE"), ("lambda:invokedviafunctionurl", "true")];
/// What has to be allowed.
const ACTIONS: [&str; 2] = ["lambda:InvokeFunctionUrl", "lambda:InvokeFunction"];

/// Whether anyone may call the URL of `arn` (qualified for an alias). A policy that cannot be read lets nobody.
pub fn is_public(policy: &str, arn: &str) -> bool {
    let Ok(policy) = serde_json::from_str::<Policy>(policy) else { return false };
    let statements = policy.statement.into_list();
    ACTIONS.iter().all(|action| {
        let fits = |effect: &str, unknown| {
            statements
                .iter()
                .any(|statement| statement.effect == effect && statement.fits(action, arn, unknown))
        };
        // A condition nobody here can judge never allows, and always denies.
        fits("Allow", false) && !fits("Deny", true)
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Policy {
    statement: OneOrMany<Statement>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    fn into_list(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }

    fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    effect: String,
    principal: Option<Value>,
    not_principal: Option<Value>,
    action: Option<OneOrMany<String>>,
    not_action: Option<OneOrMany<String>>,
    resource: Option<OneOrMany<String>>,
    not_resource: Option<OneOrMany<String>>,
    #[serde(default)]
    condition: Map<String, Value>,
}

impl Statement {
    /// Whether it speaks of this. `unknown` is what a condition counts for that is not judged here.
    fn fits(&self, action: &str, arn: &str, unknown: bool) -> bool {
        let principal = match (&self.principal, &self.not_principal) {
            (Some(principal), None) => is_anyone(principal),
            // Whoever nobody knows is none of those that are named.
            (None, Some(_)) => unknown,
            _ => false,
        };
        let one_of = |patterns: &OneOrMany<String>, text: &str| {
            patterns.as_slice().iter().any(|pattern| matches(pattern, text))
        };
        let of_action = |patterns: &OneOrMany<String>| {
            let action = action.to_ascii_lowercase();
            patterns.as_slice().iter().any(|pattern| matches(&pattern.to_ascii_lowercase(), &action))
        };
        let action = match (&self.action, &self.not_action) {
            (Some(actions), None) => of_action(actions),
            (None, Some(actions)) => !of_action(actions),
            _ => false,
        };
        let resource = match (&self.resource, &self.not_resource) {
            (Some(resources), None) => one_of(resources, arn),
            (None, Some(resources)) => !one_of(resources, arn),
            _ => false,
        };
        principal
            && action
            && resource
            && self.condition.iter().all(|(operator, keys)| holds(operator, keys, unknown))
    }
}

/// `"*"`, `{"AWS": "*"}` or `{"AWS": ["*"]}`.
fn is_anyone(principal: &Value) -> bool {
    match principal {
        Value::String(text) => text == "*",
        Value::Object(kinds) => kinds.get("AWS").is_some_and(|named| match named {
            Value::String(text) => text == "*",
            Value::Array(list) => list.iter().any(|text| text == "*"),
            _ => false,
        }),
        _ => false,
    }
}

/// Whether all keys of an operator hold.
fn holds(operator: &str, keys: &Value, unknown: bool) -> bool {
    let Value::Object(keys) = keys else { return unknown };
    keys.iter().all(|(key, wanted)| {
        let Some((_, fact)) = FACTS.iter().find(|(name, _)| key.eq_ignore_ascii_case(name)) else {
            return unknown;
        };
        let wanted: Vec<String> = match wanted {
            Value::Array(list) => list.iter().map(text).collect(),
            one => vec![text(one)],
        };
        match operator {
            "StringEquals" => wanted.iter().any(|wanted| wanted == fact),
            "StringEqualsIgnoreCase" | "Bool" => {
                wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(fact))
            }
            "StringLike" => wanted.iter().any(|wanted| matches(wanted, fact)),
            "StringNotEquals" => wanted.iter().all(|wanted| wanted != fact),
            _ => unknown,
        }
    })
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:hello";

    fn statement(action: &str, more: Value) -> Value {
        let mut statement = json!({"Effect": "Allow", "Principal": "*", "Action": action, "Resource": ARN});
        for (name, value) in more.as_object().unwrap() {
            statement[name] = value.clone();
        }
        statement
    }

    fn check(statements: &[Value], expected: bool) {
        let policy = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
        assert_eq!(is_public(&policy, ARN), expected, "{policy}");
    }

    #[test]
    fn both_permissions_are_needed() {
        let by_url = json!({"Condition": {"StringEquals": {"lambda:FunctionUrlAuthType": "NONE"}}});
        let via_url = json!({"Condition": {"Bool": {"lambda:InvokedViaFunctionUrl": "true"}}});
        let url = statement("lambda:InvokeFunctionUrl", by_url);
        let function = statement("lambda:InvokeFunction", via_url);
        check(&[url.clone(), function.clone()], true);
        check(std::slice::from_ref(&url), false);
        check(std::slice::from_ref(&function), false);
        check(&[], false);
        check(&[statement("lambda:*", json!({}))], true);
        check(&[statement("*", json!({"Principal": {"AWS": "*"}, "Resource": "*"}))], true);
        check(
            &[url.clone(), function.clone(), statement("lambda:invokefunction", json!({"Effect": "Deny"}))],
            false,
        );
        let signed = json!({"Condition": {"StringEquals": {"lambda:FunctionUrlAuthType": "AWS_IAM"}}});
        check(&[statement("lambda:InvokeFunctionUrl", signed.clone()), function.clone()], false);
        // What is said of signed calls only denies none of the others.
        let mut deny_signed = signed;
        deny_signed["Effect"] = "Deny".into();
        check(&[url, function, statement("lambda:*", deny_signed)], true);
    }

    #[test]
    fn others_are_not_anyone() {
        for more in [
            json!({"Principal": {"AWS": "arn:aws:iam::000000000000:root"}}),
            json!({"Principal": {"Service": "*"}}),
            json!({"Resource": format!("{ARN}:live")}),
            json!({"Condition": {"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}}),
            json!({"Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}}),
            json!({"Effect": "Deny"}),
        ] {
            check(&[statement("lambda:*", more)], false);
        }
        let from_somewhere =
            json!({"Effect": "Deny", "Condition": {"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}});
        check(&[statement("lambda:*", json!({})), statement("lambda:*", from_somewhere)], false);
        assert!(!is_public("no policy", ARN));
    }
}
