//! Lambda authorizers: what they are asked, what their answers mean, and how long these hold.
//!
//! Source: API Gateway developer guide, "Control access to HTTP APIs with AWS Lambda authorizers".

use super::permission::{authorizer_arn, route_arn};
use super::{Call, function, payload};
use crate::event::v2;
use crate::state::Gateway;
use lamplight_model::Timestamp;
use lamplight_model::http_api::{Authorizer, function_of_uri, with_stage_variables};
use lamplight_model::policy::{Decision, evaluate};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long an authorizer may take. Source: quotas of HTTP APIs, "Lambda authorizer: timeout".
const ANSWER: Duration = Duration::from_secs(10);
/// Answers kept; those that are over go first.
const ANSWERS: usize = 10_000;

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
pub struct Verdicts(Mutex<HashMap<String, (Timestamp, Value)>>);

impl Verdicts {
    fn find(&self, key: &str, now: Timestamp) -> Option<Value> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(key).filter(|(until, _)| now < *until).map(|(_, answer)| answer.clone())
    }

    fn keep(&self, key: String, until: Timestamp, answer: Value, now: Timestamp) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= ANSWERS {
            kept.retain(|_, (until, _)| now < *until);
        }
        if kept.len() < ANSWERS {
            kept.insert(key, (until, answer));
        }
    }
}

/// The values of identity sources; `None` when one is missing or empty.
pub fn identity(sources: &[String], call: &Call<'_>) -> Option<Vec<String>> {
    sources.iter().map(|source| value_of(source, call).filter(|value| !value.is_empty())).collect()
}

fn value_of(source: &str, call: &Call<'_>) -> Option<String> {
    let incoming = call.incoming;
    if let Some(name) = source.strip_prefix("$request.header.") {
        let values = incoming.headers.get_all(name).iter();
        let values: Option<Vec<&str>> = values.map(|value| value.to_str().ok()).collect();
        return values.filter(|values| !values.is_empty()).map(|values| values.join(","));
    }
    if let Some(name) = source.strip_prefix("$request.querystring.") {
        let mut query = form_urlencoded::parse(incoming.raw_query.as_bytes());
        return query.find(|(found, _)| found == name).map(|(_, value)| value.into_owned());
    }
    if let Some(name) = source.strip_prefix("$stageVariables.") {
        return call.stage.stage_variables.get(name).cloned();
    }
    Some(match source.strip_prefix("$context.")? {
        "routeKey" => call.route.route_key.clone(),
        "path" => incoming.raw_path.clone(),
        "httpMethod" => incoming.method.to_string(),
        "stage" => call.stage.stage_name.clone(),
        "apiId" => call.api_id.to_owned(),
        "domainName" => incoming.domain_name.clone(),
        "identity.sourceIp" => incoming.source.to_string(),
        _ => return None,
    })
}

/// Asks an authorizer's function, or what it said before. Fails in words for the log.
pub async fn ask(
    gateway: &Gateway,
    call: &Call<'_>,
    authorizer: &Authorizer,
    sources: &[String],
) -> Result<Verdict, String> {
    let arn = route_arn(call.scope, call.api_id, &call.stage.stage_name, call.route);
    let request_arn = request_arn(call);
    let ttl = Duration::from_secs(authorizer.authorizer_result_ttl_in_seconds.unwrap_or_default());
    let now = call.incoming.time;
    // Lengths are told apart: no value can look like two.
    let key = (!ttl.is_zero()).then(|| {
        json!([
            call.api_id,
            call.stage.stage_name,
            call.stage.deployment_id,
            authorizer.authorizer_id,
            sources
        ])
        .to_string()
    });
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
    let event = event(call, authorizer, sources, &arn, &request_arn);
    let answer = function::call(gateway, &target, event.to_string().into(), call, ANSWER)
        .await
        .map_err(|failure| format!("its function did not answer: {failure:?}"))?;
    let answer: Value =
        serde_json::from_slice(&answer).map_err(|error| format!("its answer is no JSON: {error}"))?;
    let verdict = read(authorizer, &answer, &request_arn)?;
    if let Some(key) = key {
        verdicts.keep(key, now.plus(ttl), answer, now);
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
    let mut event = match authorizer.authorizer_payload_format_version.as_deref() {
        Some("1.0") => payload::event(call.incoming, &route, call.trace_header),
        _ => serde_json::from_slice(&v2::event(call.incoming, &route, call.trace_header)).unwrap_or_default(),
    };
    let Some(members) = event.as_object_mut() else { return event };
    for name in ["body", "isBase64Encoded"] {
        members.remove(name);
    }
    members.insert("type".to_owned(), "REQUEST".into());
    if members.get("version").and_then(Value::as_str) == Some("1.0") {
        members.insert("methodArn".to_owned(), request_arn.into());
        members.insert("identitySource".to_owned(), sources.join(",").into());
        members.insert("authorizationToken".to_owned(), sources.join(",").into());
    } else {
        members.insert("routeArn".to_owned(), route_arn.into());
        members.insert("identitySource".to_owned(), json!(sources));
    }
    event
}

/// The ARN of what is asked for, with the path as it is: what a policy names.
pub fn request_arn(call: &Call<'_>) -> String {
    let path = call.path.trim_start_matches('/');
    let resource = format!("{}/{}/{}/{path}", call.api_id, call.stage.stage_name, call.incoming.method);
    call.scope.arn("execute-api", &resource)
}

/// What an answer means: `isAuthorized`, or a policy.
fn read(authorizer: &Authorizer, answer: &Value, request_arn: &str) -> Result<Verdict, String> {
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
    let policy = answer.get("policyDocument").filter(|policy| policy.is_object());
    let policy = policy.ok_or("its answer has no policyDocument")?.to_string();
    let allowed = evaluate([policy.as_str()], "execute-api:Invoke", request_arn) == Decision::Allowed;
    let principal = answer.get("principalId").and_then(Value::as_str).map(str::to_owned);
    Ok(Verdict { allowed, context, principal })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:execute-api:us-east-1:000000000000:abc/dev/GET/pets";

    fn check(simple: bool, answer: Value, expected: Result<bool, &str>) {
        let authorizer = Authorizer { enable_simple_responses: Some(simple), ..Authorizer::default() };
        match (read(&authorizer, &answer, ARN), expected) {
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
        check(false, json!({"isAuthorized": true}), Err("policyDocument"));
    }

    #[test]
    fn answers_hold_until_their_time_is_over() {
        let verdicts = Verdicts::default();
        verdicts.keep("a".to_owned(), Timestamp(10), json!(1), Timestamp(0));
        assert_eq!(verdicts.find("a", Timestamp(9)), Some(json!(1)));
        assert_eq!(verdicts.find("a", Timestamp(10)), None);
        assert_eq!(verdicts.find("b", Timestamp(0)), None);
    }
}
