//! Put-, Get-, Update- and DeleteIntegration; what is checked of an integration wherever it comes from.

use super::Request;
use super::error::{bad_request, not_found, not_one_of, unsupported};
use super::methods::{check_name, method, method_mut};
use super::patch::{self, Patch};
use super::resources::{api_of, missed};
use super::responses;
use super::stored::{self, value};
use crate::http::{ApiError, Response, reply};
use http::{HeaderName, StatusCode};
use lamplight_model::http_api::{split_authority, with_stage_variables};
use lamplight_model::rest_api::{
    Destination, HEADERS_OF_FRAMING, Integration, IntegrationKind, IntegrationTarget, Method, Source,
    WHOLE_TIMEOUT_MILLISECONDS, mock_status,
};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Shortest `timeoutInMillis`.
const SHORTEST_TIMEOUT_MILLISECONDS: u32 = 50;

/// What is given about an integration, in the words of the API. Imports are brought into them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Given {
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub http_method: Option<String>,
    pub uri: Option<String>,
    pub connection_type: Option<String>,
    pub credentials: Option<String>,
    pub request_parameters: BTreeMap<String, String>,
    pub request_templates: BTreeMap<String, String>,
    pub passthrough_behavior: Option<String>,
    pub content_handling: Option<String>,
    pub timeout_in_millis: Option<u32>,
    pub cache_namespace: Option<String>,
    pub cache_key_parameters: Vec<String>,
    pub response_transfer_mode: Option<String>,
    pub tls_config: TlsConfig,
}

/// How a back end's certificate is checked.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TlsConfig {
    pub insecure_skip_verification: bool,
}

/// The integration that is meant, for a method of a resource that declares these parameters. Fails with `ValidationException` or `BadRequestException`, in AWS's words or,
/// for what AWS has and this server does not, by name.
pub fn integration(
    given: Given,
    resource_id: &str,
    declared: &BTreeMap<String, bool>,
) -> Result<Integration, ApiError> {
    let kind = match given.kind.as_deref().unwrap_or_default() {
        "AWS_PROXY" => IntegrationKind::AwsProxy,
        "HTTP" => IntegrationKind::Http,
        "HTTP_PROXY" => IntegrationKind::HttpProxy,
        "MOCK" => IntegrationKind::Mock,
        "AWS" => {
            return Err(unsupported(
                "integrations of type AWS (it has AWS_PROXY, a function that gets the whole request, HTTP, HTTP_PROXY and MOCK)",
            ));
        }
        other => {
            let kinds = ["HTTP", "MOCK", "AWS_PROXY", "HTTP_PROXY", "AWS"];
            return Err(not_one_of(other, "putIntegrationInput.type", &kinds));
        }
    };
    let integration = Integration {
        kind,
        http_method: given.http_method,
        uri: given.uri,
        connection_type: given.connection_type,
        credentials: given.credentials,
        request_parameters: given.request_parameters,
        request_templates: given.request_templates,
        passthrough_behavior: given.passthrough_behavior.unwrap_or_else(|| "WHEN_NO_MATCH".to_owned()),
        content_handling: given.content_handling,
        timeout_in_millis: given.timeout_in_millis.unwrap_or(WHOLE_TIMEOUT_MILLISECONDS),
        cache_namespace: given.cache_namespace.unwrap_or_else(|| resource_id.to_owned()),
        cache_key_parameters: given.cache_key_parameters,
        integration_responses: BTreeMap::new(),
    };
    match given.response_transfer_mode.as_deref() {
        None | Some("" | "BUFFERED") => {}
        Some(_) => return Err(unsupported("responseTransferMode STREAM")),
    }
    if given.tls_config.insecure_skip_verification {
        return Err(unsupported("tlsConfig.insecureSkipVerification"));
    }
    check(&integration, declared)?;
    Ok(integration)
}

/// Whether an integration can be served as it stands, of a method that declares these parameters.
pub fn check(integration: &Integration, declared: &BTreeMap<String, bool>) -> Result<(), ApiError> {
    let behaviors = ["WHEN_NO_MATCH", "WHEN_NO_TEMPLATES", "NEVER"];
    if !behaviors.contains(&integration.passthrough_behavior.as_str()) {
        return Err(bad_request(format!(
            "Invalid Pass-through behavior specified. Must be one of: [{}]",
            behaviors.join(", ")
        )));
    }
    if let Some(handling) = integration.content_handling.as_deref().filter(|handling| !handling.is_empty()) {
        let handlings = ["CONVERT_TO_BINARY", "CONVERT_TO_TEXT"];
        if !handlings.contains(&handling) {
            return Err(not_one_of(handling, "putIntegrationInput.contentHandling", &handlings));
        }
    }
    if !(SHORTEST_TIMEOUT_MILLISECONDS..=WHOLE_TIMEOUT_MILLISECONDS).contains(&integration.timeout_in_millis)
    {
        return Err(bad_request(format!(
            "Timeout should be between {SHORTEST_TIMEOUT_MILLISECONDS} ms and {WHOLE_TIMEOUT_MILLISECONDS} ms"
        )));
    }
    match integration.connection_type.as_deref() {
        None | Some("" | "INTERNET") => {}
        Some(_) => return Err(unsupported("VPC links")),
    }
    match integration.kind {
        IntegrationKind::AwsProxy => check_function(integration),
        IntegrationKind::Http | IntegrationKind::HttpProxy => {
            check_url(integration)?;
            check_mapping(&integration.request_parameters, declared)
        }
        IntegrationKind::Mock => check_templates(integration),
    }
}

fn check_method(integration: &Integration) -> Result<(), ApiError> {
    match integration.http_method.as_deref() {
        None | Some("") => Err(bad_request("Enumeration value for HttpMethod must be non-empty")),
        Some(_) => Ok(()),
    }
}

fn check_url(integration: &Integration) -> Result<(), ApiError> {
    check_method(integration)?;
    check_name(integration.http_method.as_deref().unwrap_or_default())?;
    let uri = integration.uri.as_deref().unwrap_or_default();
    // Stage variables are the owner's; variables of the path, whoever's who sends a request.
    let is_fixed = split_authority(uri).is_some_and(|(authority, _)| {
        !with_stage_variables(authority, &BTreeMap::new()).contains(['{', '}'])
    });
    if !is_fixed {
        return Err(bad_request(format!("Invalid HTTP endpoint specified for URI: {uri}")));
    }
    // Of proxies AWS does not look at them.
    let media_type = integration.request_templates.keys().next();
    match media_type.filter(|_| integration.kind == IntegrationKind::Http) {
        None => Ok(()),
        Some(media_type) => Err(bad_request(format!(
            "Lamplight does not run mapping templates (VTL): a HTTP integration takes no request template for {media_type}."
        ))),
    }
}

/// Parameters go from what the method declares to where integrations have them. That the second text is AWS's is a guess, and so is
/// what it says of headers of framing, which it refuses, too.
fn check_mapping(
    parameters: &BTreeMap<String, String>,
    declared: &BTreeMap<String, bool>,
) -> Result<(), ApiError> {
    let invalid = |what: &str, text: &str| {
        bad_request(format!(
            "Invalid mapping expression specified: Validation Result: warnings : [], errors : [Invalid mapping expression \
             {what} specified: {text}]"
        ))
    };
    for (destination, source) in parameters {
        let is_place = match Destination::parse(destination) {
            None => false,
            Some(Destination::Header(name)) => {
                HeaderName::try_from(name).is_ok_and(|name| !HEADERS_OF_FRAMING.contains(&name.as_str()))
            }
            Some(Destination::Path(_) | Destination::QueryString(_)) => true,
        };
        if !is_place {
            return Err(invalid("parameter", destination));
        }
        if source.starts_with("method.request.body") {
            return Err(unsupported("parameters of integrations that are taken from bodies"));
        }
        let Some(parsed) = Source::parse(source) else { return Err(invalid("value", source)) };
        if parsed.declared().is_some_and(|name| !declared.contains_key(&name)) {
            return Err(invalid("parameter", source));
        }
    }
    Ok(())
}

fn check_function(integration: &Integration) -> Result<(), ApiError> {
    check_method(integration)?;
    let uri = integration.uri.as_deref().unwrap_or_default();
    if !uri.starts_with("arn:") {
        return Err(bad_request("Invalid ARN specified in the request"));
    }
    match IntegrationTarget::parse(uri) {
        Some(target) if target.is_plausible() => {}
        Some(_) => return Err(bad_request("Invalid Lambda function")),
        None => {
            return Err(bad_request(
                "Lamplight runs functions only: the integration's URI must end in \
                 lambda:path/2015-03-31/functions/<function ARN>/invocations.",
            ));
        }
    }
    if !integration.request_parameters.is_empty() {
        return Err(unsupported("requestParameters of integrations of type AWS_PROXY"));
    }
    Ok(())
}

fn check_templates(integration: &Integration) -> Result<(), ApiError> {
    let wrong = integration.request_templates.iter().find(|(_, template)| mock_status(template).is_none());
    match wrong {
        None => Ok(()),
        Some((media_type, _)) => Err(bad_request(format!(
            "Lamplight does not run mapping templates (VTL): the request template of a MOCK integration for {media_type} must \
             be a plain {{\"statusCode\": <number>}}."
        ))),
    }
}

/// `Invalid Integration identifier specified`.
pub fn no_integration() -> ApiError {
    not_found("Invalid Integration identifier specified")
}

/// The integration of a method. Fails with `NotFoundException`.
pub fn of_method(method: &Method) -> Result<&Integration, ApiError> {
    method.method_integration.as_ref().ok_or_else(no_integration)
}

/// PutIntegration. Responses that were there stay, if the new integration can give them.
pub async fn put(request: &Request<'_>) -> Result<Response, ApiError> {
    let given: Given = request.members()?;
    let (resource_id, name) = (request.label(1), request.label(2));
    let put = stored::change_api(request.state, request.context, request.label(0), |api| {
        let method = method_mut(api, resource_id, name)?;
        let mut made = integration(given, resource_id, &method.request_parameters)?;
        if let Some(before) = method.method_integration.take() {
            made.integration_responses = before.integration_responses;
            made.integration_responses
                .values()
                .try_for_each(|response| responses::check_response(made.kind, response))?;
        }
        method.method_integration = Some(made.clone());
        Ok(made)
    });
    Ok(reply::json(StatusCode::CREATED, &value(&put.await.map_err(missed)?)?))
}

/// GetIntegration.
pub async fn get(request: &Request<'_>) -> Result<Response, ApiError> {
    let api = api_of(request).await?;
    let integration = of_method(method(&api, request.label(1), request.label(2))?)?;
    Ok(reply::json(StatusCode::OK, &value(integration)?))
}

/// UpdateIntegration.
pub async fn update(request: &Request<'_>) -> Result<Response, ApiError> {
    let patches = patch::read(request.body, "updateIntegrationInput")?;
    let (resource_id, name) = (request.label(1), request.label(2));
    let changed = stored::change_api(request.state, request.context, request.label(0), |api| {
        let method = method_mut(api, resource_id, name)?;
        let mut changed = of_method(method)?.clone();
        for patch in &patches {
            apply(&mut changed, patch)?;
        }
        check(&changed, &method.request_parameters)?;
        method.method_integration = Some(changed.clone());
        Ok(changed)
    });
    Ok(reply::json(StatusCode::OK, &value(&changed.await.map_err(missed)?)?))
}

fn apply(integration: &mut Integration, patch: &Patch) -> Result<(), ApiError> {
    let segments = patch.segments();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match segments.as_slice() {
        ["uri"] => integration.uri = patch.some(),
        ["httpMethod"] => integration.http_method = patch.some(),
        ["credentials"] => integration.credentials = patch.some(),
        ["contentHandling"] => integration.content_handling = patch.some(),
        ["passthroughBehavior"] => integration.passthrough_behavior = patch.text().to_owned(),
        ["cacheNamespace"] => integration.cache_namespace = patch.text().to_owned(),
        ["timeoutInMillis"] => {
            integration.timeout_in_millis = patch
                .text()
                .parse()
                .map_err(|_| bad_request("Timeout should be a number of milliseconds"))?;
        }
        ["requestTemplates", media_type] if patch.op == "remove" => {
            integration.request_templates.remove(*media_type);
        }
        ["requestTemplates", media_type] => {
            integration.request_templates.insert((*media_type).to_owned(), patch.text().to_owned());
        }
        ["requestParameters", parameter] if patch.op == "remove" => {
            integration.request_parameters.remove(*parameter);
        }
        ["requestParameters", parameter] => {
            integration.request_parameters.insert((*parameter).to_owned(), patch.text().to_owned());
        }
        ["cacheKeyParameters", parameter] => {
            integration.cache_key_parameters.retain(|one| one != parameter);
            if patch.op != "remove" {
                integration.cache_key_parameters.push((*parameter).to_owned());
            }
        }
        _ => return Err(patch.invalid_path()),
    }
    Ok(())
}

/// DeleteIntegration.
pub async fn delete(request: &Request<'_>) -> Result<Response, ApiError> {
    let (resource_id, name) = (request.label(1), request.label(2));
    stored::change_api(request.state, request.context, request.label(0), |api| {
        let method = method_mut(api, resource_id, name)?;
        method.method_integration.take().map(drop).ok_or_else(no_integration)
    })
    .await
    .map_err(missed)?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function() -> Given {
        Given {
            kind: Some("AWS_PROXY".to_owned()),
            http_method: Some("POST".to_owned()),
            uri: Some(
                "arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/\
                 arn:aws:lambda:us-east-1:000000000000:function:hello/invocations"
                    .to_owned(),
            ),
            ..Given::default()
        }
    }

    fn check(given: Given, expected: Result<(), &str>) {
        let declared = BTreeMap::from([("method.request.path.id".to_owned(), true)]);
        let got = integration(given, "abc", &declared).map(drop).map_err(|error| error.message);
        match (&got, expected) {
            (Ok(()), Ok(())) => {}
            (Err(message), Err(part)) if message.contains(part) => {}
            _ => panic!("{got:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn what_is_not_done_is_refused_by_name() {
        check(function(), Ok(()));
        check(Given { kind: Some("AWS".to_owned()), ..function() }, Err("type AWS "));
        check(Given { kind: Some("HTTPS".to_owned()), ..function() }, Err("Value 'HTTPS'"));
        check(Given { uri: Some("https://example.org".to_owned()), ..function() }, Err("Invalid ARN"));
        check(Given { http_method: None, ..function() }, Err("HttpMethod must be non-empty"));
        check(Given { timeout_in_millis: Some(49), ..function() }, Err("between 50 ms and 29000 ms"));
        check(Given { response_transfer_mode: Some("STREAM".to_owned()), ..function() }, Err("STREAM"));
        check(Given { connection_type: Some("VPC_LINK".to_owned()), ..function() }, Err("VPC links"));
        let parameters = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        check(Given { request_parameters: parameters, ..function() }, Err("of type AWS_PROXY"));
    }

    #[test]
    fn back_ends_get_what_the_method_declares() {
        let proxy = |uri: &str, parameters: &[(&str, &str)]| Given {
            kind: Some("HTTP_PROXY".to_owned()),
            http_method: Some("ANY".to_owned()),
            uri: Some(uri.to_owned()),
            request_parameters: parameters
                .iter()
                .map(|(to, from)| ((*to).to_owned(), (*from).to_owned()))
                .collect(),
            ..Given::default()
        };
        let id = ("integration.request.path.id", "method.request.path.id");
        check(proxy("http://h/{id}", &[id]), Ok(()));
        check(proxy("https://${stageVariables.host}/", &[]), Ok(()));
        for uri in ["", "h", "ftp://h/", "http://{id}/", "http://h:{id}/", "arn:aws:lambda:x"] {
            check(proxy(uri, &[]), Err("Invalid HTTP endpoint specified for URI: "));
        }
        let refused = |to: &str, from: &str, part| check(proxy("http://h/", &[(to, from)]), Err(part));
        refused(id.0, "method.request.path.other", "parameter specified: method.request.path.other]");
        refused("integration.request.body.x", id.1, "parameter specified: integration.request.body.x]");
        refused(
            "integration.request.header.a b",
            id.1,
            "parameter specified: integration.request.header.a b]",
        );
        for name in ["Content-Length", "transfer-encoding", "Connection", "TE", "Trailer", "Upgrade"] {
            let name = format!("integration.request.header.{name}");
            let part = format!("parameter specified: {name}]");
            check(proxy("http://h/", &[(&name, "'1'")]), Err(&part));
        }
        let host = ("integration.request.header.Host", "'other.example'");
        check(proxy("http://h/", &[host]), Ok(()));
        refused(id.0, "text", "value specified: text]");
        refused(id.0, "method.request.body.$.a", "taken from bodies");
        check(
            Given { http_method: Some("GOT".to_owned()), ..proxy("http://h/", &[]) },
            Err("Valid options are GET,"),
        );
        let tls_config = TlsConfig { insecure_skip_verification: true };
        check(Given { tls_config, ..proxy("http://h/", &[]) }, Err("insecureSkipVerification"));
        let template = BTreeMap::from([("application/json".to_owned(), "{}".to_owned())]);
        let http = Given { kind: Some("HTTP".to_owned()), ..proxy("http://h/", &[]) };
        check(Given { request_templates: template, ..http.clone() }, Err("(VTL)"));
        check(http, Ok(()));
    }

    #[test]
    fn mocks_take_a_status_and_no_programs() {
        let mock = |template: &str| Given {
            kind: Some("MOCK".to_owned()),
            request_templates: BTreeMap::from([("application/json".to_owned(), template.to_owned())]),
            ..Given::default()
        };
        check(mock(r#"{"statusCode": 200}"#), Ok(()));
        check(mock("#set($a = 1){\"statusCode\": 200}"), Err("(VTL)"));
        check(Given { kind: Some("MOCK".to_owned()), ..Given::default() }, Ok(()));
    }
}
