//! Lambda authorizers: who asks, what the function says of that, and how long it is believed.
//!
//! Source: API Gateway developer guide, "Use API Gateway Lambda authorizers", "Input to a Lambda authorizer", "Output from a
//! Lambda authorizer".

use super::mapping::Values;
use crate::event::v1::{self, Details};
use crate::incoming::Incoming;
use lamplight_model::Timestamp;
use lamplight_model::policy::{Decision, evaluate};
use lamplight_model::rest_api::{Authorizer, AuthorizerKind, Source};
use regex::Regex;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Decisions that are kept; all are forgotten when there are more.
const DECISIONS: usize = 10_000;
/// Largest decision that is kept, bytes.
const DECISION_BYTES: usize = 64 * 1024;
/// Longest policy that is evaluated, bytes: what a function says is compared with every request it is believed for.
const POLICY_BYTES: usize = 64 * 1024;

/// All values of each identity source.
pub type Identities = Vec<Vec<String>>;

/// What an authorizer's function said.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    principal_id: String,
    /// A policy, as JSON text.
    policy: String,
    context: Map<String, Value>,
    /// The value of the key the request is counted for, where the API takes keys from authorizers.
    named_key: Option<String>,
}

/// Why a request does not get through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Nobody says who asks, or the function says it is nobody: 401.
    Unauthorized,
    /// No statement allows it: 403.
    Implicitly,
    /// A statement denies it: 403.
    Explicitly,
}

/// The identities of a request: of each source all values it has, in their order; the last one is what events show. Fails with
/// `Unauthorized` when one is missing or a token does not look like one: the function is not even asked.
pub fn identities(
    authorizer: &Authorizer,
    incoming: &Incoming,
    stage_variables: &BTreeMap<String, String>,
    context: &Value,
) -> Result<Identities, Refused> {
    let values = Values { incoming, path_parameters: &BTreeMap::new(), stage_variables, context };
    let identities: Option<Identities> = authorizer
        .identity_sources()
        .map(|source| {
            let values = values.of(match Source::parse(source)? {
                Source::Header(name) => Source::MultiValueHeader(name),
                Source::QueryString(name) => Source::MultiValueQueryString(name),
                other => other,
            })?;
            values.last().is_some_and(|shown| !shown.is_empty()).then_some(values)
        })
        .collect();
    let identities = identities.ok_or(Refused::Unauthorized)?;
    if let Some(expression) = &authorizer.identity_validation_expression {
        let pattern = Regex::new(&format!("^(?:{expression})$"));
        let token = token(&identities).unwrap_or_default();
        if !pattern.is_ok_and(|pattern| pattern.is_match(token)) {
            return Err(Refused::Unauthorized);
        }
    }
    Ok(identities)
}

/// What an authorizer of tokens is asked about: the value that the method's event shows, too.
fn token(identities: &[Vec<String>]) -> Option<&str> {
    identities.first()?.last().map(String::as_str)
}

/// The event of an authorizer's function.
pub fn event(
    authorizer: &Authorizer,
    identities: &[Vec<String>],
    method_arn: &str,
    incoming: &Incoming,
    details: &Details<'_>,
) -> Value {
    match authorizer.kind {
        AuthorizerKind::Token => json!({
            "type": "TOKEN",
            "methodArn": method_arn,
            "authorizationToken": token(identities),
        }),
        AuthorizerKind::Request => {
            let mut event = Map::new();
            event.insert("type".to_owned(), "REQUEST".into());
            event.insert("methodArn".to_owned(), method_arn.into());
            let mut head = v1::head(incoming, details);
            // Of objects that are empty this one event says so, and not null.
            for name in [
                "queryStringParameters",
                "multiValueQueryStringParameters",
                "pathParameters",
                "stageVariables",
            ] {
                if head.get(name).is_some_and(Value::is_null) {
                    head.insert(name.to_owned(), json!({}));
                }
            }
            event.extend(head);
            Value::Object(event)
        }
    }
}

/// Reads what a function answered. `None` when that is no verdict: 500.
pub fn verdict(answer: &[u8]) -> Option<Verdict> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        principal_id: Value,
        // As it is: nothing in it that is there twice is lost.
        policy_document: Box<RawValue>,
        #[serde(default)]
        context: Option<Map<String, Value>>,
        #[serde(default)]
        usage_identifier_key: Option<String>,
    }
    let answer: Answer = serde_json::from_slice(answer).ok()?;
    let principal_id = match answer.principal_id {
        Value::String(text) => text,
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let policy = answer.policy_document.get();
    if policy.len() > POLICY_BYTES {
        return None;
    }
    let document: Map<String, Value> = serde_json::from_str(policy).ok()?;
    if !document.get("Statement").is_some_and(|statement| statement.is_array() || statement.is_object()) {
        return None;
    }
    let mut context = Map::new();
    for (name, value) in answer.context.unwrap_or_default() {
        // Functions behind methods get text, whatever it was.
        let text = match value {
            Value::String(text) => text,
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            Value::Null => continue,
            Value::Array(_) | Value::Object(_) => return None,
        };
        context.insert(name, text.into());
    }
    Some(Verdict { principal_id, policy: policy.to_owned(), context, named_key: answer.usage_identifier_key })
}

/// Whether a function that failed meant that the request is not authorized: it says just that.
pub fn means_unauthorized(error: &[u8]) -> bool {
    let error: Option<Value> = serde_json::from_slice(error).ok();
    error.and_then(|error| Some(error.get("errorMessage")?.as_str()? == "Unauthorized")).unwrap_or(false)
}

impl Verdict {
    /// Whether the policy lets a request through to a method.
    pub fn allows(&self, method_arn: &str) -> Result<(), Refused> {
        match evaluate([self.policy.as_str()], "execute-api:Invoke", method_arn) {
            Decision::Allowed => Ok(()),
            Decision::Denied => Err(Refused::Explicitly),
            Decision::NotMentioned => Err(Refused::Implicitly),
        }
    }

    /// About as much memory as it takes.
    fn bytes(&self) -> usize {
        let context =
            self.context.iter().map(|(name, value)| name.len() + value.as_str().map_or(0, str::len));
        let key = self.named_key.as_ref().map_or(0, String::len);
        self.principal_id.len() + self.policy.len() + context.sum::<usize>() + key
    }

    /// `usageIdentifierKey`.
    pub fn named_key(&self) -> Option<&str> {
        self.named_key.as_deref()
    }

    /// `requestContext.authorizer` of the method's event.
    pub fn context(&self, latency: Duration) -> Value {
        let mut context = self.context.clone();
        context.insert("principalId".to_owned(), self.principal_id.as_str().into());
        let latency = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
        context.insert("integrationLatency".to_owned(), latency.into());
        Value::Object(context)
    }
}

/// What a verdict is kept under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key([u8; 32]);

impl Key {
    /// Of API, stage, deployment and authorizer, and of the identities. A digest: it is as short for long identities.
    pub fn new(place: [&str; 4], identities: &[Vec<String>]) -> Self {
        // As JSON, in which no value can look like two.
        Self(Sha256::digest(json!([place, identities]).to_string()).into())
    }
}

/// Verdicts that are still believed.
#[derive(Debug, Default)]
pub struct Verdicts {
    kept: Mutex<HashMap<Key, (Timestamp, Arc<Verdict>)>>,
}

impl Verdicts {
    /// The verdict of the same identities, unless its time is over.
    pub fn get(&self, key: &Key, now: Timestamp) -> Option<Arc<Verdict>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.get(key) {
            Some((until, verdict)) if now < *until => Some(verdict.clone()),
            Some(_) => {
                kept.remove(key);
                None
            }
            None => None,
        }
    }

    /// Keeps a verdict for so long; a large one is not kept.
    pub fn keep(&self, key: Key, verdict: Arc<Verdict>, now: Timestamp, seconds: u32) {
        if seconds == 0 || verdict.bytes() > DECISION_BYTES {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= DECISIONS {
            kept.clear();
        }
        kept.insert(key, (now.plus(Duration::from_secs(seconds.into())), verdict));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:execute-api:us-east-1:000000000000:abc/dev/GET/pets/7";

    fn policy(effect: &str, resource: &str) -> Value {
        json!({"Version": "2012-10-17",
            "Statement": [{"Effect": effect, "Action": "execute-api:Invoke", "Resource": resource}]})
    }

    fn read(answer: &Value) -> Option<Verdict> {
        verdict(answer.to_string().as_bytes())
    }

    #[test]
    fn policies_let_through_and_refuse() {
        let check = |effect: &str, resource: &str, expected: Result<(), Refused>| {
            let verdict =
                read(&json!({"principalId": "me", "policyDocument": policy(effect, resource)})).unwrap();
            assert_eq!(verdict.allows(ARN), expected, "{effect} {resource}");
        };
        check("Allow", ARN, Ok(()));
        check("Allow", "arn:aws:execute-api:*:*:abc/*/GET/pets/*", Ok(()));
        check("Allow", "*", Ok(()));
        check("Allow", "arn:aws:execute-api:*:*:abc/*/POST/*", Err(Refused::Implicitly));
        check("Deny", "*", Err(Refused::Explicitly));
    }

    #[test]
    fn what_is_a_verdict() {
        let allow = policy("Allow", "*");
        let made = read(
            &json!({"principalId": "me", "policyDocument": allow, "context": {"a": 1, "b": true, "c": "x"}}),
        );
        let context = made.unwrap().context(Duration::from_millis(3));
        assert_eq!(
            context,
            json!({"a": "1", "b": "true", "c": "x", "principalId": "me", "integrationLatency": 3})
        );
        for wrong in [
            json!({}),
            json!(null),
            json!({"principalId": "me"}),
            json!({"policyDocument": allow}),
            json!({"principalId": "me", "policyDocument": {}}),
            json!({"principalId": "me", "policyDocument": allow, "context": {"a": {}}}),
        ] {
            assert_eq!(read(&wrong), None, "{wrong}");
        }
        let long = |bytes: usize| {
            let rest = policy("Allow", "").to_string().len();
            json!({"principalId": "me", "policyDocument": policy("Allow", &"*".repeat(bytes - rest))})
        };
        assert_eq!(read(&long(POLICY_BYTES)).unwrap().allows(ARN), Ok(()));
        assert_eq!(read(&long(POLICY_BYTES + 1)), None);
    }

    #[test]
    fn nothing_in_a_policy_is_lost() {
        let answer =
            br#"{"principalId": "me", "policyDocument": {"Statement": {"Effect": "Allow", "Action": "*",
            "Resource": "*", "Condition": {"StringEquals": {"a": "b"}, "StringEquals": {}}}}}"#;
        assert_eq!(verdict(answer).unwrap().allows(ARN), Err(Refused::Implicitly));
    }

    #[test]
    fn a_function_may_fail_to_say_no() {
        assert!(means_unauthorized(br#"{"errorMessage": "Unauthorized", "errorType": "Exception"}"#));
        assert!(!means_unauthorized(br#"{"errorMessage": "other"}"#));
        assert!(!means_unauthorized(b"x"));
    }

    #[test]
    fn verdicts_are_believed_for_a_while() {
        let verdicts = Verdicts::default();
        let made = read(&json!({"principalId": "me", "policyDocument": policy("Allow", "*")})).unwrap();
        let key = |token: &str| Key::new(["abc", "dev", "d1", "a1"], &[vec![token.to_owned()]]);
        verdicts.keep(key("a"), Arc::new(made.clone()), Timestamp(0), 5);
        verdicts.keep(key("never"), Arc::new(made), Timestamp(0), 0);
        assert!(verdicts.get(&key("a"), Timestamp(4_999)).is_some());
        assert!(verdicts.get(&key("b"), Timestamp(0)).is_none());
        assert!(verdicts.get(&key("never"), Timestamp(0)).is_none());
        assert!(verdicts.get(&key("a"), Timestamp(5_000)).is_none());
        let context = json!({"long": "x".repeat(DECISION_BYTES)});
        let large =
            read(&json!({"principalId": "me", "policyDocument": policy("Allow", "*"), "context": context}));
        verdicts.keep(key("large"), Arc::new(large.unwrap()), Timestamp(0), 5);
        assert!(verdicts.get(&key("large"), Timestamp(0)).is_none());
    }

    #[test]
    fn identities_are_all_values_of_their_sources() {
        let check = |headers: &[&str], query: &str, expected: Result<Identities, Refused>| {
            let mut map = http::HeaderMap::new();
            for value in headers {
                map.append("auth", http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            let incoming = Incoming::of_test(map, query);
            let authorizer: Authorizer = serde_json::from_value(json!({
                "id": "a1", "name": "guard", "type": "REQUEST", "authType": "custom", "authorizerUri": "u",
                "identitySource": "method.request.header.Auth, method.request.querystring.key",
                "authorizerResultTtlInSeconds": 300,
            }))
            .unwrap();
            let found = identities(&authorizer, &incoming, &BTreeMap::new(), &Value::Null);
            assert_eq!(found, expected, "{headers:?} {query}");
        };
        let values = |of: &[&[&str]]| -> Result<Identities, Refused> {
            Ok(of.iter().map(|values| values.iter().map(|value| (*value).to_owned()).collect()).collect())
        };
        check(&["a"], "key=b", values(&[&["a"], &["b"]]));
        check(&["a", "c"], "key=b&x=1&key=%64", values(&[&["a", "c"], &["b", "d"]]));
        check(&[], "key=b", Err(Refused::Unauthorized));
        check(&["a"], "", Err(Refused::Unauthorized));
        check(&["a", ""], "key=b", Err(Refused::Unauthorized));
        check(&["a", "\u{e4}"], "key=b", Err(Refused::Unauthorized));
    }

    #[test]
    fn other_identities_are_other_keys() {
        let place = ["abc", "dev", "d1", "a1"];
        let key = |identities: &[&[&str]]| {
            let identities: Identities = identities
                .iter()
                .map(|values| values.iter().map(|value| (*value).to_owned()).collect())
                .collect();
            Key::new(place, &identities)
        };
        let all = [
            key(&[&["a"]]),
            key(&[&["a", "b"]]),
            key(&[&["b", "a"]]),
            key(&[&["a"], &["b"]]),
            key(&[&["a,b"]]),
            key(&[&["a\",\"b"]]),
            Key::new(["abc", "dev", "d1", "a2"], &[vec!["a".to_owned()]]),
        ];
        for (at, one) in all.iter().enumerate() {
            assert_eq!(all.iter().position(|other| other == one), Some(at));
        }
    }
}
