//! Answers of the gateway's own, as the API has changed them.
//!
//! Source: API Gateway developer guide, "Gateway responses": a type's own change, else that of `DEFAULT_4XX` or `DEFAULT_5XX`.
//! Templates take `$context...` and `$stageVariables...`, and nothing else of the mapping language.

use crate::incoming::Incoming;
use crate::reply::v1::name_for_clients;
use crate::{Body, Response, reply};
use http::{HeaderName, HeaderValue, StatusCode, header};
use lamplight_model::credentials::Identity;
use lamplight_model::rest_api::{Definition, GatewayResponse, GatewayResponseKind, static_text};
use regex::Regex;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// What happened, with what templates may name.
#[derive(Debug)]
pub struct Happened<'a> {
    /// What.
    pub kind: GatewayResponseKind,
    /// What the client is told; AWS says nothing where an authorizer failed.
    pub message: Option<&'a str>,
    /// The request.
    pub incoming: &'a Incoming,
    /// Name of the stage.
    pub stage: &'a str,
    /// Variables of the stage.
    pub stage_variables: &'a BTreeMap<String, String>,
    /// Path template of the resource, when one was found.
    pub resource_path: Option<&'a str>,
    /// What variables of the path stand for.
    pub path_parameters: &'a BTreeMap<String, String>,
    /// `requestContext.authorizer`.
    pub authorizer: Option<&'a Value>,
    /// Who signed the request.
    pub identity: Option<&'a Identity>,
}

/// The response to what happened.
pub fn respond(definition: &Definition, happened: &Happened<'_>, status: StatusCode) -> Response {
    let own = definition.gateway_responses.get(happened.kind.name());
    let default = if status.is_server_error() { "DEFAULT_5XX" } else { "DEFAULT_4XX" };
    let changed = own.or_else(|| definition.gateway_responses.get(default));
    let mut response = match changed {
        Some(changed) => changed_response(changed, happened, status),
        None => standard(happened, status),
    };
    let error_type = HeaderValue::from_static(happened.kind.error_type());
    response.headers_mut().insert(reply::ERROR_TYPE, error_type);
    response
}

fn standard(happened: &Happened<'_>, status: StatusCode) -> Response {
    // Recorded from AWS: denials are the one kind that writes it with a capital.
    let member = match happened.kind {
        GatewayResponseKind::AccessDenied => "Message",
        _ => "message",
    };
    reply::with_body(status, "application/json", json!({ member: happened.message }).to_string())
}

fn changed_response(changed: &GatewayResponse, happened: &Happened<'_>, status: StatusCode) -> Response {
    let wanted = changed.status_code.as_deref().and_then(|text| text.parse().ok());
    let status = wanted.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(status);
    // The template of the type that is accepted, else the one for JSON, else the first.
    let accepted = happened.incoming.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let accepted = accepted.and_then(|accept| accept.split([',', ';']).next()).unwrap_or_default().trim();
    let templates = &changed.response_templates;
    let template = templates
        .get_key_value(accepted)
        .or_else(|| templates.get_key_value("application/json"))
        .or_else(|| templates.first_key_value());
    let mut response = match template {
        Some((media_type, template)) => {
            let mut response = Response::new(Body::from(filled(template, happened)));
            if let Ok(value) = HeaderValue::from_str(media_type) {
                response.headers_mut().insert(header::CONTENT_TYPE, value);
            }
            response
        }
        None => standard(happened, status),
    };
    *response.status_mut() = status;
    for (parameter, source) in &changed.response_parameters {
        let Some(name) = parameter.strip_prefix("gatewayresponse.header.") else { continue };
        let value = match static_text(source) {
            Some(text) => Some(text.to_owned()),
            None => mapped(source, happened),
        };
        if let (Some(name), Some(Ok(value))) =
            (header_name(name), value.as_deref().map(HeaderValue::from_str))
        {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// The name a header of a changed response has for clients. A challenge is what many change responses for, and keeps its own.
fn header_name(name: &str) -> Option<HeaderName> {
    match HeaderName::try_from(name).ok()? {
        header::WWW_AUTHENTICATE => Some(header::WWW_AUTHENTICATE),
        name => name_for_clients(name),
    }
}

/// A value that is taken from the request: `method.request.header.x`, `context.x`, `stageVariables.x`.
fn mapped(source: &str, happened: &Happened<'_>) -> Option<String> {
    if let Some(name) = source.strip_prefix("method.request.header.") {
        return happened.incoming.headers.get(name)?.to_str().ok().map(str::to_owned);
    }
    if let Some(name) = source.strip_prefix("method.request.querystring.") {
        let mut query = form_urlencoded::parse(happened.incoming.raw_query.as_bytes());
        return query.find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    }
    if let Some(name) = source.strip_prefix("method.request.path.") {
        return happened.path_parameters.get(name).cloned();
    }
    variable(source, happened)
}

/// A template with its variables put in; unknown ones are empty.
fn filled(template: &str, happened: &Happened<'_>) -> String {
    // With both braces or with none: the one after a name may be the template's own.
    static VARIABLE: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let name = r"((?:context|stageVariables)(?:\.[A-Za-z0-9_]+)+)";
        Regex::new(&format!(r"\$(?:\{{{name}\}}|{name})")).ok()
    });
    let Some(pattern) = VARIABLE.as_ref() else { return template.to_owned() };
    let fill = |found: &regex::Captures<'_>| {
        let name = found.get(1).or_else(|| found.get(2)).map_or("", |name| name.as_str());
        variable(name, happened).unwrap_or_default()
    };
    pattern.replace_all(template, fill).into_owned()
}

/// `context.error.message`, `stageVariables.x` and the like.
fn variable(name: &str, happened: &Happened<'_>) -> Option<String> {
    let incoming = happened.incoming;
    if let Some(name) = name.strip_prefix("stageVariables.") {
        return happened.stage_variables.get(name).cloned();
    }
    let name = name.strip_prefix("context.")?;
    if let Some(member) = name.strip_prefix("authorizer.") {
        return happened.authorizer?.get(member).map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
    }
    Some(match name {
        "error.message" => happened.message?.to_owned(),
        "error.messageString" => json!(happened.message).to_string(),
        "error.responseType" => happened.kind.name().to_owned(),
        "requestId" | "extendedRequestId" => incoming.request_id.to_string(),
        "stage" => happened.stage.to_owned(),
        "resourcePath" => happened.resource_path?.to_owned(),
        "httpMethod" => incoming.method.as_str().to_owned(),
        "path" => incoming.raw_path.clone(),
        "protocol" => incoming.protocol.to_owned(),
        "requestTime" => incoming.time.request_format(),
        "requestTimeEpoch" => incoming.time.as_millis().to_string(),
        "identity.sourceIp" => incoming.source.to_string(),
        "identity.accessKey" => happened.identity?.access_key_id.clone(),
        "identity.accountId" => happened.identity?.account.clone(),
        "identity.caller" | "identity.user" => happened.identity?.user_id.clone(),
        "identity.userArn" => happened.identity?.arn.clone(),
        "identity.userAgent" => incoming.headers.get(header::USER_AGENT)?.to_str().ok().map(str::to_owned)?,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;
    use lamplight_model::{RequestId, Timestamp};

    #[test]
    fn templates_and_headers_take_what_is_known() {
        let mut headers = HeaderMap::new();
        headers.insert("x-ask", HeaderValue::from_static("me"));
        let incoming = Incoming {
            method: http::Method::GET,
            raw_path: "/dev/x".to_owned(),
            raw_query: "q=1%202".to_owned(),
            headers,
            body: bytes::Bytes::new(),
            source: [127, 0, 0, 1].into(),
            protocol: "HTTP/1.1",
            tls_version: None,
            port: 9000,
            domain_name: "abc".to_owned(),
            domain_prefix: "abc".to_owned(),
            request_id: RequestId(uuid::Uuid::nil()),
            time: Timestamp(0),
        };
        let variables = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let happened = Happened {
            kind: GatewayResponseKind::Unauthorized,
            message: Some("say \"no\""),
            incoming: &incoming,
            stage: "dev",
            stage_variables: &variables,
            resource_path: None,
            path_parameters: &BTreeMap::new(),
            authorizer: None,
            identity: None,
        };
        for (template, expected) in [
            (r#"{"message":$context.error.messageString}"#, r#"{"message":"say \"no\""}"#),
            ("${context.stage}} $stageVariables.a.", "dev} b."),
            ("$context.error.responseType $context.nothing|$input.body", "UNAUTHORIZED |$input.body"),
            ("plain", "plain"),
        ] {
            assert_eq!(filled(template, &happened), expected, "{template}");
        }
        for (source, expected) in [
            ("method.request.header.X-Ask", Some("me")),
            ("method.request.querystring.q", Some("1 2")),
            ("method.request.path.p", None),
            ("context.httpMethod", Some("GET")),
            ("nonsense", None),
        ] {
            assert_eq!(mapped(source, &happened).as_deref(), expected, "{source}");
        }
    }

    #[test]
    fn headers_do_not_frame_the_answer() {
        for (name, expected) in [
            ("X-A", Some("x-a")),
            ("WWW-Authenticate", Some("www-authenticate")),
            ("Content-Length", Some("x-amzn-remapped-content-length")),
            ("Connection", Some("x-amzn-remapped-connection")),
            ("Transfer-Encoding", None),
            ("no name", None),
        ] {
            assert_eq!(header_name(name).as_ref().map(HeaderName::as_str), expected, "{name}");
        }
    }
}
