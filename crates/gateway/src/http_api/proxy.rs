//! `HTTP_PROXY` integrations: the request goes on to a URL, and its answer comes back.
//!
//! Source: API Gateway developer guide, "Create HTTP proxy integrations for HTTP APIs".

use super::{Call, internal_error, message, unavailable};
use crate::back_end::{
    ANSWER_BYTES, encoded, from_client, leads_elsewhere, passed_on, query_from_client, request,
};
use crate::client::{Client, ClientError};
use crate::{Body, Response};
use http::{HeaderValue, Method, StatusCode, Uri, header};
use lamplight_listener::Share;
use lamplight_model::http_api::{Integration, PathPart, RouteKey, split_authority};
use std::time::Duration;

/// Sends a request on to the back end at `uri`; what it answers is kept in `memory` until it is sent.
pub async fn answer(
    (client, memory): (&Client, &Share),
    call: &Call<'_>,
    integration: &Integration,
    uri: &str,
    timeout: Duration,
) -> Response {
    let incoming = call.incoming;
    if call.path_parameters.iter().any(|(_, value)| leads_elsewhere(value)) {
        return message(StatusCode::BAD_REQUEST, "Bad Request");
    }
    let greedy = greedy_variable(&call.route.route_key);
    let is_signed = call.route.authorization_type == "AWS_IAM";
    let query = query_from_client(&incoming.raw_query, is_signed);
    let target = target(uri, &call.path_parameters, greedy.as_deref(), &query);
    let Some(Ok(target)) = target.map(|target| target.parse::<Uri>()) else {
        tracing::info!(uri, "an integration's URI is no URL");
        return internal_error();
    };
    let method = match integration.integration_method.as_deref() {
        None | Some("ANY") => incoming.method.clone(),
        Some(method) => Method::from_bytes(method.as_bytes()).unwrap_or_else(|_| incoming.method.clone()),
    };
    let mut request =
        request(method, target, from_client(&incoming.headers, is_signed), incoming.body.clone());
    let forwarded =
        format!("for={};host={};proto={}", incoming.source, incoming.domain_name, incoming.scheme());
    if let Ok(value) = HeaderValue::from_str(&forwarded) {
        request.headers_mut().append(header::FORWARDED, value);
    }
    match client.send(request, timeout, ANSWER_BYTES, Some(memory)).await {
        Ok(answered) => {
            let (head, body) = answered.into_parts();
            let mut response = Response::new(Body::from(body));
            *response.status_mut() = head.status;
            *response.headers_mut() = passed_on(&head.headers);
            response.headers_mut().remove(header::CONTENT_LENGTH);
            response
        }
        Err(ClientError::TimedOut | ClientError::NoRoom) => unavailable(),
        Err(ClientError::TooLarge) => internal_error(),
        Err(ClientError::Failed(error)) => {
            tracing::info!(request_id = %incoming.request_id, error, "a back end did not answer");
            unavailable()
        }
    }
}

/// The variable of a route that takes all that is left of a path.
fn greedy_variable(route_key: &str) -> Option<String> {
    match RouteKey::parse(route_key) {
        Ok(RouteKey::Path { mut parts, .. }) => match parts.pop() {
            Some(PathPart::Greedy(name)) => Some(name),
            _ => None,
        },
        _ => None,
    }
}

/// The URL with the values of path variables in the place of `{name}`, and the request's query behind its own. `None` when it is no
/// URL, or a variable would be part of its host.
fn target(uri: &str, parameters: &[(String, String)], greedy: Option<&str>, query: &str) -> Option<String> {
    let (authority, behind) = split_authority(uri)?;
    if authority.contains(['{', '}']) {
        return None;
    }
    let mut target = behind.to_owned();
    for (name, value) in parameters {
        let value = encoded(value, greedy == Some(name));
        for hole in [format!("{{{name}}}"), format!("{{{name}+}}")] {
            target = target.replace(&hole, &value);
        }
    }
    if query.is_empty() {
        return Some(format!("{authority}{target}"));
    }
    let between = if target.contains('?') { '&' } else { '?' };
    Some(format!("{authority}{target}{between}{query}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let parameters = [("id".to_owned(), "a b?c/d".to_owned()), ("proxy".to_owned(), "x/y z".to_owned())];
        let check = |uri: &str, query: &str, expected: Option<&str>| {
            assert_eq!(target(uri, &parameters, Some("proxy"), query).as_deref(), expected, "{uri}");
        };
        check("http://h/{id}", "", Some("http://h/a%20b%3Fc%2Fd"));
        check("http://h/{proxy}?k=v", "q=1", Some("http://h/x/y%20z?k=v&q=1"));
        check("http://h/{proxy+}", "q=1", Some("http://h/x/y%20z?q=1"));
        check("http://h/{other}", "", Some("http://h/{other}"));
        check("http://h", "q=1", Some("http://h?q=1"));
        for uri in ["http://{id}/", "http://{id}.h/", "http://h:{id}", "http://{other}/", "ftp://h/"] {
            check(uri, "", None);
        }
    }

    #[test]
    fn which_variable_is_greedy() {
        for (key, expected) in
            [("ANY /a/{p+}", Some("p")), ("GET /{p}", None), ("GET /", None), ("$default", None)]
        {
            assert_eq!(greedy_variable(key).as_deref(), expected, "{key}");
        }
    }
}
