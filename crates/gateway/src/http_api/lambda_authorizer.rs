//! Lambda authorizers: what they are asked, what their answers mean, and how long these hold.
//!
//! Source: API Gateway developer guide, "Control access to HTTP APIs with AWS Lambda authorizers".

use super::permission::{authorizer_arn, route_arn};
use super::{Call, function, payload};
use crate::event::v2;
use crate::incoming::Incoming;
use crate::state::Gateway;
use lamplight_model::http_api::{Authorizer, function_of_uri, with_stage_variables};
use lamplight_model::policy::{Decision, evaluate};
use lamplight_model::{RequestId, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long an authorizer may take. Source: quotas of HTTP APIs, "Lambda authorizer: timeout".
const ANSWER: Duration = Duration::from_secs(10);
/// Answers kept; those that are over go first.
const ANSWERS: usize = 10_000;
/// Largest answer kept, bytes. A longer one holds for its request alone.
const ANSWER_BYTES: usize = 64 * 1024;
/// Longest policy that is evaluated, bytes.
const POLICY_BYTES: usize = 64 * 1024;
/// All answers kept, bytes.
const ANSWERS_BYTES: usize = 64 * 1024 * 1024;

/// What an authorizer said.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Whether the request may go on.
    pub allowed: bool,
    /// What the function that answers is told.
    pub context: Map<String, Value>,
    /// `principalId` of a policy.
    pub principal: Option<String>,
}

/// Answers that hold for some time, by what was asked with.
#[derive(Debug, Default)]
pub struct Verdicts(Mutex<Kept>);

/// A digest: however long a request's headers are, what is kept of them is short.
type Key = [u8; 32];

#[derive(Debug, Default)]
struct Kept {
    answers: HashMap<Key, (Timestamp, Arc<[u8]>)>,
    /// Of all answers.
    bytes: usize,
}

impl Verdicts {
    fn find(&self, key: &Key, now: Timestamp) -> Option<Arc<[u8]>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.answers.get(key).filter(|(until, _)| now < *until).map(|(_, answer)| answer.clone())
    }

    fn keep(&self, key: Key, until: Timestamp, answer: &[u8], now: Timestamp) {
        if answer.len() > ANSWER_BYTES {
            return;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Kept { answers, bytes } = &mut *kept;
        if let Some((_, before)) = answers.remove(&key) {
            *bytes -= before.len();
        }
        let fits = |count: usize, bytes: usize| count < ANSWERS && bytes + answer.len() <= ANSWERS_BYTES;
        if !fits(answers.len(), *bytes) {
            answers.retain(|_, (until, _)| now < *until);
            *bytes = answers.values().map(|(_, answer)| answer.len()).sum();
        }
        if fits(answers.len(), *bytes) {
            *bytes += answer.len();
            answers.insert(key, (until, answer.into()));
        }
    }
}

/// All values of each identity source, in order, as events show them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity(Vec<Vec<String>>);

impl Identity {
    /// Of a request; `None` when one is missing or empty.
    pub fn of(sources: &[String], call: &Call<'_>) -> Option<Self> {
        let values = |source: &String| {
            let values = values_of(source, call)?;
            values.iter().any(|value| !value.is_empty()).then_some(values)
        };
        sources.iter().map(values).collect::<Option<_>>().map(Self)
    }

    /// One text for each source, its values joined by commas.
    pub fn texts(&self) -> Vec<String> {
        self.0.iter().map(|values| values.join(",")).collect()
    }

    /// By what an answer is kept: where it was asked for, and with what. JSON tells lengths and values apart: nothing can look like
    /// something else.
    fn key(&self, place: [&str; 4]) -> Key {
        Sha256::digest(json!([place, self.0]).to_string()).into()
    }
}

fn values_of(source: &str, call: &Call<'_>) -> Option<Vec<String>> {
    let incoming = call.incoming;
    if let Some(name) = source.strip_prefix("$request.header.") {
        return header_values(name, incoming);
    }
    if let Some(name) = source.strip_prefix("$request.querystring.") {
        return Some(query_values(name, &incoming.raw_query));
    }
    if let Some(name) = source.strip_prefix("$stageVariables.") {
        return call.stage.stage_variables.get(name).map(|value| vec![value.clone()]);
    }
    let value = match source.strip_prefix("$context.")? {
        "routeKey" => call.route.route_key.clone(),
        "path" => incoming.raw_path.clone(),
        "httpMethod" => incoming.method.to_string(),
        "stage" => call.stage.stage_name.clone(),
        "apiId" => call.api_id.to_owned(),
        "domainName" => incoming.domain_name.clone(),
        "identity.sourceIp" => incoming.source.to_string(),
        _ => return None,
    };
    Some(vec![value])
}

/// The values of a header; those that events show of the connection instead of what a client says are the connection's here, too.
/// `None` when one is no text.
fn header_values(name: &str, incoming: &Incoming) -> Option<Vec<String>> {
    let name = name.to_ascii_lowercase();
    match name.as_str() {
        "x-forwarded-port" => return Some(vec![incoming.port.to_string()]),
        "x-forwarded-proto" => return Some(vec![incoming.scheme().to_owned()]),
        _ => {}
    }
    let values = incoming.headers.get_all(&name).iter();
    let mut values: Vec<String> =
        values.map(|value| value.to_str().map(str::to_owned).ok()).collect::<Option<_>>()?;
    if name == "x-forwarded-for" {
        values.push(incoming.source.to_string());
    }
    Some(values)
}

/// The values of a parameter, decoded.
fn query_values(name: &str, query: &str) -> Vec<String> {
    let parameters = form_urlencoded::parse(query.as_bytes()).filter(|(found, _)| found == name);
    parameters.map(|(_, value)| value.into_owned()).collect()
}

/// Asks an authorizer's function, or what it said before. Fails in words for the log.
pub async fn ask(
    gateway: &Gateway,
    call: &Call<'_>,
    authorizer: &Authorizer,
    identity: &Identity,
) -> Result<Verdict, String> {
    let arn = route_arn(call.scope, call.api_id, &call.stage.stage_name, call.route);
    let request_arn = request_arn(call);
    let ttl = Duration::from_secs(authorizer.authorizer_result_ttl_in_seconds.unwrap_or_default());
    let now = call.incoming.time;
    let deployment = call.stage.deployment_id.as_deref().unwrap_or_default();
    let place = [call.api_id, &call.stage.stage_name, deployment, &authorizer.authorizer_id];
    let key = (!ttl.is_zero()).then(|| identity.key(place));
    let verdicts = &gateway.http_apis.verdicts;
    if let Some(answer) = key.as_ref().and_then(|key| verdicts.find(key, now)) {
        return read(authorizer, &answer, &request_arn);
    }
    let uri = authorizer.authorizer_uri.as_deref().unwrap_or_default();
    let uri = with_stage_variables(uri, &call.stage.stage_variables);
    let target = function_of_uri(&uri).ok_or_else(|| format!("{uri} is no function"))?;
    let source = authorizer_arn(call.scope, call.api_id, &authorizer.authorizer_id);
    let may = gateway.permissions.may_call(&*gateway.parts.store, &target, &source).await;
    if !may.map_err(|error| error.to_string())? {
        return Err(format!("its function's policy does not let {source} call it"));
    }
    let event = event(call, authorizer, &identity.texts(), &arn, &request_arn);
    // Not the run of the function that answers, which has an id of its own, too.
    let run = RequestId::generate();
    let answer = function::call(gateway, &target, event.to_string().into(), run, call, ANSWER)
        .await
        .map_err(|failure| format!("its function did not answer: {failure:?}"))?;
    let verdict = read(authorizer, &answer, &request_arn)?;
    if let Some(key) = key {
        verdicts.keep(key, now.plus(ttl), &answer, now);
    }
    Ok(verdict)
}

/// What the function is asked.
fn event(
    call: &Call<'_>,
    authorizer: &Authorizer,
    sources: &[String],
    route_arn: &str,
    request_arn: &str,
) -> Value {
    let route = call.event_route(None);
    let is_first_format = authorizer.authorizer_payload_format_version.as_deref() == Some("1.0");
    let mut members: Map<String, Value> = match is_first_format {
        true => payload::head(call.incoming, &route, call.trace_header),
        false => {
            serde_json::from_slice(&v2::event(call.incoming, &route, call.trace_header)).unwrap_or_default()
        }
    };
    for name in ["body", "isBase64Encoded"] {
        members.remove(name);
    }
    members.insert("type".to_owned(), "REQUEST".into());
    if is_first_format {
        members.insert("methodArn".to_owned(), request_arn.into());
        members.insert("identitySource".to_owned(), sources.join(",").into());
        members.insert("authorizationToken".to_owned(), sources.join(",").into());
    } else {
        members.insert("routeArn".to_owned(), route_arn.into());
        members.insert("identitySource".to_owned(), json!(sources));
    }
    members.into()
}

/// The ARN of what is asked for, with the path as it is: what a policy names.
pub fn request_arn(call: &Call<'_>) -> String {
    let path = call.path.trim_start_matches('/');
    let resource = format!("{}/{}/{}/{path}", call.api_id, call.stage.stage_name, call.incoming.method);
    call.scope.arn("execute-api", &resource)
}

/// What an answer means: `isAuthorized`, or a policy.
fn read(authorizer: &Authorizer, text: &[u8], request_arn: &str) -> Result<Verdict, String> {
    let answer: Value =
        serde_json::from_slice(text).map_err(|error| format!("its answer is no JSON: {error}"))?;
    let context = match answer.get("context") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(context)) => context.clone(),
        Some(_) => return Err("its context is no object".to_owned()),
    };
    if authorizer.enable_simple_responses == Some(true) {
        let allowed = answer.get("isAuthorized").and_then(Value::as_bool);
        let allowed = allowed.ok_or("its answer has no isAuthorized that is true or false")?;
        return Ok(Verdict { allowed, context, principal: None });
    }
    /// As it is: nothing in it that is there twice is lost.
    #[derive(Deserialize)]
    struct WithPolicy<'a> {
        #[serde(rename = "policyDocument", borrow)]
        policy: &'a RawValue,
    }
    let policy = serde_json::from_slice(text).map(|WithPolicy { policy }| policy.get());
    let policy = policy.ok().filter(|policy| policy.starts_with('{'));
    let policy = policy.ok_or("its answer has no policyDocument")?;
    if policy.len() > POLICY_BYTES {
        return Err(format!("its policyDocument has {} bytes, {POLICY_BYTES} are taken", policy.len()));
    }
    let allowed = evaluate([policy], "execute-api:Invoke", request_arn) == Decision::Allowed;
    let principal = answer.get("principalId").and_then(Value::as_str).map(str::to_owned);
    Ok(Verdict { allowed, context, principal })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:execute-api:us-east-1:000000000000:abc/dev/GET/pets";

    fn check(simple: bool, answer: Value, expected: Result<bool, &str>) {
        let authorizer = Authorizer { enable_simple_responses: Some(simple), ..Authorizer::default() };
        match (read(&authorizer, answer.to_string().as_bytes(), ARN), expected) {
            (Ok(verdict), Ok(allowed)) => assert_eq!(verdict.allowed, allowed, "{answer}"),
            (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
            (got, expected) => panic!("{answer}: {got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn simple_answers() {
        check(true, json!({"isAuthorized": true}), Ok(true));
        check(true, json!({"isAuthorized": false, "context": {"a": 1}}), Ok(false));
        check(true, json!({"isAuthorized": "true"}), Err("isAuthorized"));
        check(true, json!(null), Err("isAuthorized"));
        check(true, json!({"isAuthorized": true, "context": 7}), Err("context"));
    }

    #[test]
    fn policies() {
        let policy = |effect: &str, resource: &str| {
            json!({"principalId": "me", "policyDocument": {"Version": "2012-10-17", "Statement": [
                {"Action": "execute-api:Invoke", "Effect": effect, "Resource": resource}
            ]}})
        };
        check(false, policy("Allow", ARN), Ok(true));
        check(false, policy("Allow", "arn:aws:execute-api:*:*:abc/dev/*"), Ok(true));
        check(false, policy("Deny", "*"), Ok(false));
        check(false, policy("Allow", "arn:aws:execute-api:*:*:abc/prod/*"), Ok(false));
        check(false, json!({"isAuthorized": true}), Err("no policyDocument"));
        check(false, json!({"policyDocument": []}), Err("no policyDocument"));
        check(false, policy("Allow", &"*".repeat(POLICY_BYTES)), Err("65536 are taken"));
        let twice = br#"{"policyDocument": {"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*",
            "Condition": {"StringEquals": {"a": "b"}, "StringEquals": {}}}}}"#;
        assert!(!read(&Authorizer::default(), twice, ARN).unwrap().allowed);
    }

    #[test]
    fn answers_hold_until_their_time_is_over() {
        let verdicts = Verdicts::default();
        verdicts.keep([1; 32], Timestamp(10), b"{}", Timestamp(0));
        assert_eq!(verdicts.find(&[1; 32], Timestamp(9)).as_deref(), Some(&b"{}"[..]));
        assert_eq!(verdicts.find(&[1; 32], Timestamp(10)), None);
        assert_eq!(verdicts.find(&[2; 32], Timestamp(0)), None);
    }

    #[test]
    fn answers_kept_are_bounded() {
        let verdicts = Verdicts::default();
        let key = |number: usize| Sha256::digest(number.to_le_bytes()).into();
        let longest = vec![b' '; ANSWER_BYTES];
        verdicts.keep(key(0), Timestamp(10), &[&longest[..], b" "].concat(), Timestamp(0));
        assert_eq!(verdicts.find(&key(0), Timestamp(0)), None, "one that is too long");
        let most = ANSWERS_BYTES / ANSWER_BYTES;
        for number in 0..=most {
            verdicts.keep(key(number), Timestamp(10), &longest, Timestamp(0));
            verdicts.keep(key(number), Timestamp(10), &longest, Timestamp(0));
        }
        assert!(verdicts.find(&key(most - 1), Timestamp(0)).is_some(), "the same one counts once");
        assert_eq!(verdicts.find(&key(most), Timestamp(0)), None, "one more than there is room for");
        verdicts.keep(key(most), Timestamp(20), &longest, Timestamp(10));
        assert!(verdicts.find(&key(most), Timestamp(10)).is_some(), "what is over makes room");
        assert_eq!(verdicts.0.lock().unwrap().bytes, ANSWER_BYTES);
    }

    #[test]
    fn every_value_is_part_of_what_is_asked_with() {
        let queries =
            ["k=good", "k=good&k=bad", "k=bad&k=good", "k=good%2Cbad", "k=good%22%2C%22bad", "k=&k=good"];
        let keys: Vec<Key> = queries
            .iter()
            .map(|query| Identity(vec![query_values("k", query)]).key(["api", "dev", "1", "guard"]))
            .collect();
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[..at].contains(key), "{}", queries[at]);
        }
        let place = ["api", "dev", "1", "guard"];
        let text = |text: &str| text.to_owned();
        let two = Identity(vec![vec![text("a")], vec![text("b")]]);
        let one = Identity(vec![vec![text("a"), text("b")]]);
        assert_ne!(two.key(place), one.key(place));
    }
}
