//! Answers of mock integrations: what CORS preflights of Chalice, Zappa and templates are made of. Pure.
//!
//! Source: API Gateway developer guide, "Set up mock integrations", "Integration passthrough behaviors".

use crate::reply::v1::name_for_clients;
use crate::{Body, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use lamplight_model::rest_api::{Integration, IntegrationResponse, mock_status, static_text};
use regex::Regex;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    /// No template for the type of the body.
    UnsupportedMediaType,
    /// The status or the response for it is missing.
    Misconfigured,
}

/// The answer to a request with this content type and body.
pub fn answer(
    integration: &Integration,
    content_type: Option<&str>,
    body: &[u8],
) -> Result<Response, NoAnswer> {
    let status = match template(integration, content_type)? {
        Some(template) => mock_status(template),
        // The body itself is what the integration gets.
        None => mock_status(&String::from_utf8_lossy(body)),
    };
    let status = status.ok_or(NoAnswer::Misconfigured)?;
    let chosen = choose(integration, &status.to_string()).ok_or(NoAnswer::Misconfigured)?;
    response(chosen).ok_or(NoAnswer::Misconfigured)
}

/// The template for the type of a body; `None` when the body itself goes on.
fn template<'a>(
    integration: &'a Integration,
    content_type: Option<&str>,
) -> Result<Option<&'a str>, NoAnswer> {
    let media_type = content_type.unwrap_or("application/json").split(';').next().unwrap_or_default().trim();
    let templates = &integration.request_templates;
    let found = templates.iter().find(|(name, _)| name.eq_ignore_ascii_case(media_type));
    match (found, integration.passthrough_behavior.as_str()) {
        (Some((_, template)), _) => Ok(Some(template)),
        (None, "NEVER") => Err(NoAnswer::UnsupportedMediaType),
        (None, "WHEN_NO_TEMPLATES") if !templates.is_empty() => Err(NoAnswer::UnsupportedMediaType),
        (None, _) => Ok(None),
    }
}

/// Whether a body goes on to an integration without templates. Source: "Integration passthrough behaviors".
pub fn body_passes(integration: &Integration, content_type: Option<&str>) -> bool {
    matches!(template(integration, content_type), Ok(None))
}

/// The response whose pattern the whole status fits, else the one without a pattern.
pub fn choose<'a>(integration: &'a Integration, status: &str) -> Option<&'a IntegrationResponse> {
    let responses = || integration.integration_responses.values();
    let pattern = |response: &'a IntegrationResponse| {
        response.selection_pattern.as_deref().filter(|pattern| !pattern.is_empty())
    };
    let fits =
        |pattern: &str| Regex::new(&format!("^(?:{pattern})$")).is_ok_and(|pattern| pattern.is_match(status));
    responses()
        .find(|response| pattern(response).is_some_and(fits))
        .or_else(|| responses().find(|response| pattern(response).is_none()))
}

fn response(chosen: &IntegrationResponse) -> Option<Response> {
    let templates = &chosen.response_templates;
    let template = templates.get_key_value("application/json").or_else(|| templates.first_key_value());
    let (media_type, body) = match template {
        Some((media_type, body)) => (media_type.as_str(), body.clone().unwrap_or_default()),
        None => ("application/json", String::new()),
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_bytes(chosen.status_code.as_bytes()).ok()?;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_str(media_type).ok()?);
    for (parameter, value) in &chosen.response_parameters {
        let name = HeaderName::try_from(parameter.strip_prefix("method.response.header.")?).ok()?;
        let value = HeaderValue::from_str(static_text(value)?).ok()?;
        if let Some(name) = name_for_clients(name) {
            response.headers_mut().insert(name, value);
        }
    }
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(
        change: serde_json::Value,
        content_type: Option<&str>,
        expected: Result<(u16, Option<&str>), NoAnswer>,
    ) {
        let mut integration = json!({
            "type": "MOCK", "passthroughBehavior": "WHEN_NO_MATCH", "timeoutInMillis": 29000, "cacheNamespace": "x",
            "requestTemplates": {"application/json": "{\"statusCode\": 200}"},
            "integrationResponses": {"204": {"statusCode": "204", "selectionPattern": "5\\d\\d"},
                "200": {"statusCode": "200", "responseParameters": {"method.response.header.X-A": "'*'"}}},
        });
        for (name, value) in change.as_object().unwrap() {
            integration[name] = value.clone();
        }
        let integration: Integration = serde_json::from_value(integration).unwrap();
        let got = answer(&integration, content_type, b"text");
        let got = got.as_ref().map(|response| {
            let header = response.headers().get("x-a").map(|value| value.to_str().unwrap());
            (response.status().as_u16(), header)
        });
        assert_eq!(got.map_err(|error| *error), expected, "{change} {content_type:?}");
    }

    #[test]
    fn the_template_names_the_status_and_that_chooses_the_response() {
        check(json!({}), None, Ok((200, Some("*"))));
        check(json!({}), Some("application/json; charset=utf-8"), Ok((200, Some("*"))));
        let failing = json!({"application/json": "{\"statusCode\": 503}"});
        check(json!({"requestTemplates": failing}), None, Ok((204, None)));
    }

    #[test]
    fn headers_do_not_frame_the_answer() {
        let parameters: serde_json::Map<_, _> = ["Content-Length", "Transfer-Encoding", "Connection", "X-A"]
            .map(|name| (format!("method.response.header.{name}"), json!("'7'")))
            .into_iter()
            .collect();
        let chosen = serde_json::from_value(json!({"statusCode": "200", "responseParameters": parameters}));
        let response = response(&chosen.unwrap()).unwrap();
        let mut names: Vec<_> = response.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        let remapped = ["x-amzn-remapped-connection", "x-amzn-remapped-content-length"];
        assert_eq!(names, [&["content-type", "x-a"][..], &remapped].concat());
    }

    #[test]
    fn bodies_without_a_template() {
        check(json!({}), Some("text/plain"), Err(NoAnswer::Misconfigured));
        check(
            json!({"passthroughBehavior": "NEVER"}),
            Some("text/plain"),
            Err(NoAnswer::UnsupportedMediaType),
        );
        let none = json!({"passthroughBehavior": "WHEN_NO_TEMPLATES"});
        check(none, Some("text/plain"), Err(NoAnswer::UnsupportedMediaType));
        check(json!({"integrationResponses": {}}), None, Err(NoAnswer::Misconfigured));
    }
}
