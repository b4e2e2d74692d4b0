//! Access logs of stages: one line for each request, in the format that the stage says.
//!
//! Source: API Gateway developer guide, "Customize HTTP API access logs". What a request does not have is `-`. Values come from clients
//! and functions: quotes, backslashes and control characters are escaped as in JSON, so that a line stays one line and a format
//! that is JSON stays JSON.

use super::{OwnAnswer, Seen, ServedStage};
use crate::incoming::protocol;
use crate::state::Gateway;
use crate::{Request, Response};
use http::{Method, StatusCode, Version, header};
use lamplight_listener::Peer;
use lamplight_model::http_api::access_log_group;
use lamplight_model::{RequestId, Scope, Timestamp};
use serde_json::Value;
use std::borrow::Cow;
use std::time::Duration;

/// Every variable begins with it.
const CONTEXT: &str = "$context.";
/// The message of an answer of the gateway's own, with its quotes.
const MESSAGE_STRING: &str = "error.messageString";
/// What stands for a value that is not there.
const ABSENT: &str = "-";

/// What a log tells of a request that its head says.
#[derive(Debug)]
pub struct Asked<'a> {
    stage: &'a ServedStage,
    group: &'a str,
    format: &'a str,
    method: Method,
    version: Version,
    source: String,
    user_agent: String,
    at: Timestamp,
}

impl<'a> Asked<'a> {
    /// Of a request to a stage; `None` where its stage writes no log.
    pub fn of(
        scope: &Scope,
        stage: &'a ServedStage,
        request: &Request,
        peer: &Peer,
        at: Timestamp,
    ) -> Option<Self> {
        let settings = stage.stage.access_log_settings.as_ref()?;
        let group = access_log_group(scope, settings.get("destinationArn")?)?;
        let user_agent = request.headers().get(header::USER_AGENT);
        Some(Self {
            stage,
            group,
            format: settings.get("format")?,
            method: request.method().clone(),
            version: request.version(),
            source: peer.remote.ip().to_canonical().to_string(),
            user_agent: user_agent
                .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
                .unwrap_or_default(),
            at,
        })
    }
}

/// How a request was addressed and answered.
pub struct Answered<'a> {
    /// Where the API lives.
    pub scope: &'a Scope,
    /// The API's id.
    pub api_id: &'a str,
    /// The name it was asked by.
    pub domain_name: &'a str,
    /// The first label of that.
    pub domain_prefix: &'a str,
    /// The path as it came, with the stage.
    pub path: &'a str,
    /// The key of a custom domain's mapping.
    pub mapping: Option<&'a str>,
    /// Its id.
    pub request_id: RequestId,
    /// What was seen on its way.
    pub seen: &'a Seen,
    /// The answer; none when the client has gone away before.
    pub response: Option<&'a Response>,
    /// Bytes of its body.
    pub response_bytes: u64,
    /// How long it took.
    pub latency: Duration,
}

/// Writes the line of a request.
pub fn write(gateway: &Gateway, asked: &Asked<'_>, answered: &Answered<'_>) {
    let line = line(asked.format, |name| value(name, asked, answered));
    // Streams of AWS have names that tell nothing.
    let stream = format!("{}/{}", answered.api_id, asked.stage.stage.stage_name);
    gateway.parts.logs.append(answered.scope, asked.group, &stream, vec![(asked.at, line)]);
}

/// The format with a value in the place of each variable.
fn line<'a>(format: &str, value: impl Fn(&str) -> Option<Cow<'a, str>>) -> String {
    let mut line = String::with_capacity(format.len() * 2);
    let mut rest = format;
    while let Some((before, after)) = rest.split_once(CONTEXT) {
        line.push_str(before);
        let in_name = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.');
        // Names that an authorizer's function chose may have hyphens.
        let is_free = after.starts_with("authorizer.");
        let end = after.find(|letter| !(in_name(letter) || is_free && letter == '-')).unwrap_or(after.len());
        let name = after[..end].trim_end_matches(['.', '-']);
        rest = &after[name.len()..];
        match value(name).filter(|value| !value.is_empty()) {
            // The format has no quotes around this one.
            Some(value) if name == MESSAGE_STRING => line.push_str(&quoted(&value)),
            Some(value) => escape(&value, &mut line),
            None => line.push_str(ABSENT),
        }
    }
    line.push_str(rest.trim_end_matches('\n'));
    line
}

/// A text as JSON, which every text can be.
fn quoted(value: &str) -> String {
    Value::from(value).to_string()
}

fn escape(value: &str, line: &mut String) {
    let quoted = quoted(value);
    line.push_str(quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default());
}

fn value<'a>(name: &str, asked: &'a Asked<'_>, answered: &'a Answered<'_>) -> Option<Cow<'a, str>> {
    let seen = answered.seen;
    let integration = seen.integration.as_ref();
    let own = || answered.response?.extensions().get::<OwnAnswer>().map(|own| own.0);
    let text = |text: &'a str| Some(Cow::Borrowed(text));
    let number = |number: u128| Some(Cow::Owned(number.to_string()));
    let status = |status: StatusCode| Some(Cow::Owned(status.as_u16().to_string()));
    match name {
        "accountId" => text(answered.scope.account.as_str()),
        "apiId" => text(answered.api_id),
        "stage" => text(&asked.stage.stage.stage_name),
        "routeKey" => text(seen.route_key.as_deref()?),
        "httpMethod" => text(asked.method.as_str()),
        "path" => text(answered.path),
        "protocol" => text(protocol(asked.version)),
        "domainName" => text(answered.domain_name),
        "domainPrefix" => text(answered.domain_prefix),
        "customDomain.basePathMatched" => text(answered.mapping?),
        "requestId" | "extendedRequestId" => Some(answered.request_id.to_string().into()),
        "requestTime" => Some(asked.at.request_format().into()),
        "requestTimeEpoch" => Some(asked.at.as_millis().to_string().into()),
        "identity.sourceIp" => text(&asked.source),
        "identity.userAgent" => text(&asked.user_agent),
        "status" => status(answered.response?.status()),
        "responseLength" => number(answered.response_bytes.into()),
        "responseLatency" => number(answered.latency.as_millis()),
        "dataProcessed" => number((answered.response_bytes + seen.request_bytes).into()),
        "error.message" | MESSAGE_STRING => text(own()?),
        "integrationLatency" | "integration.latency" => number(integration?.latency.as_millis()),
        // What the service said that was asked: Lambda, and not the function.
        "integrationStatus" | "integration.integrationStatus" => status(integration?.service_status?),
        "integration.status" => status(integration?.status?),
        "integrationErrorMessage" | "integration.error" => text(integration?.error?),
        "integration.requestId" | "awsEndpointRequestId" => Some(integration?.request_id?.to_string().into()),
        _ => of_caller(name, seen),
    }
}

/// What is known of who asked.
fn of_caller<'a>(name: &str, seen: &'a Seen) -> Option<Cow<'a, str>> {
    let known = |place: &[&str]| {
        let found = place.iter().try_fold(seen.authorizer.format_2.as_ref()?, |at, name| at.get(*name))?;
        shown(found)
    };
    let of_signer = |name: &str| known(&["iam", name]);
    match name {
        "identity.accountId" => of_signer("accountId"),
        "identity.caller" => of_signer("callerId"),
        "identity.user" => of_signer("userId"),
        "identity.userArn" => of_signer("userArn"),
        "authorizer.principalId" => shown(seen.authorizer.format_1.as_ref()?.get("principalId")?),
        _ => {
            let name = name.strip_prefix("authorizer.")?;
            match name.strip_prefix("claims.") {
                Some(claim) => known(&["jwt", "claims", claim]),
                None => known(&["lambda", name]),
            }
        }
    }
}

fn shown(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(_) | Value::Bool(_) => Some(Cow::Owned(value.to_string())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_give_way_to_values() {
        let value = |name: &str| match name {
            "status" => Some(Cow::Borrowed("200")),
            "identity.userAgent" => Some(Cow::Borrowed("a\"b\\c\nd")),
            "authorizer.with-hyphen" => Some(Cow::Borrowed("x")),
            "error.message" | MESSAGE_STRING => Some(Cow::Borrowed("no \"way\"")),
            "empty" => Some(Cow::Borrowed("")),
            _ => None,
        };
        let check = |format: &str, expected: &str| assert_eq!(line(format, value), expected, "{format}");
        check("", "");
        check("plain $ {context}", "plain $ {context}");
        check("$context.status", "200");
        check("[$context.status] \"$context.status\"\n", "[200] \"200\"");
        check("$context.status. $context.status-$context.status,", "200. 200-200,");
        check("$context.authorizer.with-hyphen- $context.empty", "x- -");
        check("$context.$context.unknown$context.status", "--200");
        check("{\"agent\":\"$context.identity.userAgent\"}", r#"{"agent":"a\"b\\c\nd"}"#);
        check(
            r#"{"string":$context.error.messageString,"text":"$context.error.message"}"#,
            r#"{"string":"no \"way\"","text":"no \"way\""}"#,
        );
        check("grüße $context.status ü", "grüße 200 ü");
    }
}
