//! `HTTP_PROXY` and `HTTP` integrations: the request, or what is mapped of it, goes on to a URL, and its answer comes back.
//!
//! Source: API Gateway developer guide, "HTTP integrations for REST APIs", "Parameter mapping source reference for REST APIs".

use super::mapping::Values;
use super::mock::{body_passes, choose};
use super::{Exchange, Kind, Reached, no_room};
use crate::back_end::{
    ANSWER_BYTES, encoded, from_client, leads_elsewhere, passed_on, query_from_client, request,
};
use crate::client::ClientError;
use crate::event::v1;
use crate::reply::v1::name_for_clients;
use crate::{Body, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::Full;
use lamplight_model::http_api::{split_authority, with_stage_variables};
use lamplight_model::rest_api::{
    Destination, Integration, IntegrationKind, IntegrationResponse, Routed, Source, is_greedy, static_text,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Why nothing is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NoRequest {
    /// A variable of the path would lead out of its place.
    LeadsElsewhere,
    /// The body may not go on as it is.
    UnsupportedMediaType,
    /// The integration names no URL, or not all of its variables are mapped.
    Misconfigured,
}

/// Values by where they go; none takes away what the client says there.
#[derive(Debug, Default, PartialEq, Eq)]
struct Mapped {
    path: BTreeMap<String, String>,
    query: BTreeMap<String, Vec<String>>,
    headers: BTreeMap<String, Vec<String>>,
}

impl Mapped {
    /// What the parameters of an integration say. To a header or the query nothing is a value, too: what a back end is to be told by
    /// the gateway alone is never the client's word.
    fn read(parameters: &BTreeMap<String, String>, values: &Values<'_>) -> Self {
        let mut mapped = Self::default();
        for (destination, source) in parameters {
            let Some(destination) = Destination::parse(destination) else { continue };
            let mut found = Source::parse(source).and_then(|source| values.of(source)).unwrap_or_default();
            match destination {
                Destination::Path(name) => {
                    if let Some(last) = found.pop() {
                        mapped.path.insert(name.to_owned(), last);
                    }
                }
                Destination::QueryString(name) => drop(mapped.query.insert(name.to_owned(), found)),
                Destination::Header(name) => {
                    // A request has one host.
                    if name.eq_ignore_ascii_case("host") {
                        found.drain(..found.len().saturating_sub(1));
                    }
                    mapped.headers.insert(name.to_owned(), found);
                }
            }
        }
        mapped
    }

    /// Headers of a client but for those that something is mapped to, be it nothing.
    fn without_replaced(&self, mut headers: HeaderMap) -> HeaderMap {
        for name in self.headers.keys() {
            headers.remove(name);
        }
        headers
    }
}

impl Exchange<'_> {
    /// Sends the request on to the integration's URL and makes a response of its answer.
    pub(super) async fn back_end(
        &self,
        integration: &Integration,
        routed: &Routed<'_>,
        reached: &Reached<'_>,
    ) -> Response {
        let head = v1::head(self.incoming, &self.details(routed, reached.authorized));
        let values = Values {
            incoming: self.incoming,
            path_parameters: &routed.path_parameters,
            stage_variables: &self.served.stage.variables,
            context: head.get("requestContext").unwrap_or(&Value::Null),
        };
        let request = match self.request(integration, routed, reached, &values) {
            Ok(request) => request,
            // AWS lets it through to the back end.
            Err(NoRequest::LeadsElsewhere) => {
                return self.say(
                    Kind::BadRequestParameters,
                    StatusCode::BAD_REQUEST,
                    Some("Bad Request"),
                    reached,
                );
            }
            Err(NoRequest::UnsupportedMediaType) => return self.unsupported_media_type(reached),
            Err(NoRequest::Misconfigured) => return self.failed(Kind::ApiConfigurationError, reached),
        };
        let timeout = Duration::from_millis(integration.timeout_in_millis.into());
        let request_id = self.incoming.request_id;
        match self.gateway.client.send(request, timeout, ANSWER_BYTES, Some(self.memory)).await {
            Ok(answer) if integration.kind == IntegrationKind::HttpProxy => whole(answer),
            Ok(answer) => match mapped_back(integration, &answer, &values) {
                Some(response) => response,
                None => self.failed(Kind::ApiConfigurationError, reached),
            },
            Err(ClientError::TimedOut) => self.timed_out(reached),
            Err(ClientError::NoRoom) => no_room(),
            Err(ClientError::TooLarge) => {
                tracing::info!(%request_id, "the answer of a back end is too large");
                self.failed(Kind::ApiConfigurationError, reached)
            }
            Err(ClientError::Failed(error)) => {
                tracing::info!(%request_id, error, "a back end did not answer");
                let message = Some("Network error communicating with endpoint");
                self.say(Kind::IntegrationFailure, StatusCode::GATEWAY_TIMEOUT, message, reached)
            }
        }
    }

    fn request(
        &self,
        integration: &Integration,
        routed: &Routed<'_>,
        reached: &Reached<'_>,
        values: &Values<'_>,
    ) -> Result<Request<Full<Bytes>>, NoRequest> {
        let incoming = self.incoming;
        let is_proxy = integration.kind == IntegrationKind::HttpProxy;
        let content_type = incoming.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if !is_proxy && !body_passes(integration, content_type) {
            return Err(NoRequest::UnsupportedMediaType);
        }
        let mapped = Mapped::read(&integration.request_parameters, values);
        if mapped.path.values().any(|value| leads_elsewhere(value)) {
            return Err(NoRequest::LeadsElsewhere);
        }
        let uri = integration.uri.as_deref().unwrap_or_default();
        let uri = with_stage_variables(uri, &self.served.stage.variables);
        let greedy: Vec<&str> = integration
            .request_parameters
            .iter()
            .filter_map(|(destination, source)| {
                match (Destination::parse(destination)?, Source::parse(source)?) {
                    (Destination::Path(name), Source::Path(variable)) => {
                        is_greedy_variable(&routed.resource.path, variable).then_some(name)
                    }
                    _ => None,
                }
            })
            .collect();
        let is_signed = reached.authorized.identity.is_some();
        let query = if is_proxy { query_from_client(&incoming.raw_query, is_signed) } else { "".into() };
        let target = target(&uri, &mapped, &greedy, &query).and_then(|target| target.parse::<Uri>().ok());
        let target = target.ok_or_else(|| {
            tracing::info!(request_id = %incoming.request_id, uri, "an integration's URI is no URL");
            NoRequest::Misconfigured
        })?;
        let method = match integration.http_method.as_deref() {
            None | Some("ANY") => incoming.method.clone(),
            Some(method) => Method::from_bytes(method.as_bytes()).map_err(|_| NoRequest::Misconfigured)?,
        };
        let client = mapped.without_replaced(from_client(&incoming.headers, is_signed));
        let mut headers = if is_proxy { client.clone() } else { self.own_headers(&client) };
        self.tell_who_asks(&client, &mut headers);
        for (name, given) in mapped.headers.iter().filter(|(_, given)| !given.is_empty()) {
            set(&mut headers, name, given);
        }
        Ok(request(method, target, headers, incoming.body.clone()))
    }

    /// What a back end is told when nothing is passed on but what is mapped.
    fn own_headers(&self, client: &HeaderMap) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let content_type = client.get(header::CONTENT_TYPE).cloned();
        headers.insert(
            header::CONTENT_TYPE,
            content_type.unwrap_or(HeaderValue::from_static("application/json")),
        );
        if let Ok(agent) = HeaderValue::from_str(&format!("AmazonAPIGateway_{}", self.api.id)) {
            headers.insert(header::USER_AGENT, agent);
        }
        headers
    }

    /// Headers of the gateway's own. What the client said in them is replaced or added to, as for functions.
    fn tell_who_asks(&self, client: &HeaderMap, headers: &mut HeaderMap) {
        let incoming = self.incoming;
        let forwarded = client.get_all("x-forwarded-for").iter();
        let forwarded = forwarded.filter_map(|value| value.to_str().ok().map(str::to_owned));
        let forwarded: Vec<String> = forwarded.chain([incoming.source.to_string()]).collect();
        for (name, value) in [
            ("x-forwarded-for", forwarded.join(", ")),
            ("x-forwarded-port", incoming.port.to_string()),
            ("x-forwarded-proto", incoming.scheme().to_owned()),
            ("x-amzn-trace-id", self.trace_header.to_owned()),
            ("x-amzn-apigateway-api-id", self.api.id.clone()),
        ] {
            set(headers, name, &[value]);
        }
    }
}

/// Puts values into the place of all a header has. What is no header is left out: names are checked when an integration is made, and
/// of a client's values those that were taken from another header are values again.
fn set(headers: &mut HeaderMap, name: &str, values: &[String]) {
    let Ok(name) = HeaderName::try_from(name) else { return };
    headers.remove(&name);
    for value in values.iter().filter_map(|value| HeaderValue::from_str(value).ok()) {
        headers.append(&name, value);
    }
}

/// Whether a variable of a resource's path takes all that is left.
fn is_greedy_variable(path: &str, name: &str) -> bool {
    path.rsplit('/').next().is_some_and(|part| is_greedy(part) && part[1..part.len() - 2] == *name)
}

/// The URL with its variables put in, the request's query behind its own, and behind that what is mapped, which replaces what the
/// request has of the same name. `None` when it is no URL, or has variables that nothing is mapped to.
fn target(uri: &str, mapped: &Mapped, greedy: &[&str], query: &str) -> Option<String> {
    let (authority, behind) = split_authority(uri)?;
    if authority.contains(['{', '}']) {
        return None;
    }
    let mut target = String::with_capacity(behind.len());
    let mut rest = behind;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, left) = after.split_once('}')?;
        let name = name.strip_suffix('+').unwrap_or(name);
        target.push_str(before);
        target.push_str(&encoded(mapped.path.get(name)?, greedy.contains(&name)));
        rest = left;
    }
    target.push_str(rest);
    let mut parts: Vec<String> = Vec::new();
    if mapped.query.is_empty() {
        parts.extend((!query.is_empty()).then(|| query.to_owned()));
    } else {
        let mut built = form_urlencoded::Serializer::new(String::new());
        let given = form_urlencoded::parse(query.as_bytes());
        built.extend_pairs(given.filter(|(name, _)| !mapped.query.contains_key(name.as_ref())));
        for (name, values) in &mapped.query {
            built.extend_pairs(values.iter().map(|value| (name, value)));
        }
        parts.push(built.finish());
    }
    for part in parts.iter().filter(|part| !part.is_empty()) {
        target.push(if target.contains('?') { '&' } else { '?' });
        target.push_str(part);
    }
    Some(format!("{authority}{target}"))
}

/// The whole answer of a back end.
fn whole(answer: http::Response<Bytes>) -> Response {
    let (head, body) = answer.into_parts();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = head.status;
    for (name, value) in &passed_on(&head.headers) {
        if let Some(name) = name_for_clients(name.clone()) {
            response.headers_mut().append(name, value.clone());
        }
    }
    response
}

/// The response that the integration chooses for the answer's status. `None` when it has none for it.
fn mapped_back(
    integration: &Integration,
    answer: &http::Response<Bytes>,
    values: &Values<'_>,
) -> Option<Response> {
    let chosen = choose(integration, answer.status().as_str())?;
    let (media_type, body) = match text_of(chosen) {
        Some((media_type, text)) => (HeaderValue::from_str(media_type).ok(), Bytes::from(text.to_owned())),
        None => (answer.headers().get(header::CONTENT_TYPE).cloned(), answer.body().clone()),
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_bytes(chosen.status_code.as_bytes()).ok()?;
    let media_type = media_type.unwrap_or(HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    for (parameter, source) in &chosen.response_parameters {
        let name = parameter.strip_prefix("method.response.header.");
        let name = name.and_then(|name| HeaderName::try_from(name).ok()).and_then(name_for_clients);
        let Some(name) = name else { continue };
        set(response.headers_mut(), name.as_str(), &response_values(source, answer.headers(), values));
    }
    Some(response)
}

/// The template for JSON, else the first, unless it is empty: then the body passes as it came.
fn text_of(chosen: &IntegrationResponse) -> Option<(&str, &str)> {
    let templates = &chosen.response_templates;
    let (media_type, text) =
        templates.get_key_value("application/json").or_else(|| templates.first_key_value())?;
    text.as_deref().filter(|text| !text.is_empty()).map(|text| (media_type.as_str(), text))
}

fn response_values(source: &str, headers: &HeaderMap, values: &Values<'_>) -> Vec<String> {
    if let Some(text) = static_text(source) {
        return vec![text.to_owned()];
    }
    let of_header = |name: &str| {
        let all = headers.get_all(name).iter();
        all.filter_map(|value| value.to_str().ok().map(str::to_owned)).collect::<Vec<_>>()
    };
    if let Some(name) = source.strip_prefix("integration.response.multivalueheader.") {
        return of_header(name);
    }
    match source.strip_prefix("integration.response.header.") {
        Some(name) => of_header(name).pop().into_iter().collect(),
        None => Source::parse(source).and_then(|source| values.of(source)).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(path: &[(&str, &str)], query: &[(&str, &str)]) -> Mapped {
        let owned = |text: &str| text.to_owned();
        Mapped {
            path: path.iter().map(|(name, value)| (owned(name), owned(value))).collect(),
            query: query.iter().map(|(name, value)| (owned(name), vec![owned(value)])).collect(),
            headers: BTreeMap::new(),
        }
    }

    #[test]
    fn targets() {
        let path = [("id", "a b?c/d"), ("proxy", "x/y {id}")];
        let check = |uri: &str, query: &str, replaced: &[(&str, &str)], expected: Option<&str>| {
            let got = target(uri, &mapped(&path, replaced), &["proxy"], query);
            assert_eq!(got.as_deref(), expected, "{uri} {query}");
        };
        check("http://h/{id}", "", &[], Some("http://h/a%20b%3Fc%2Fd"));
        check("http://h/{proxy}?k=v", "q=1+2", &[], Some("http://h/x/y%20%7Bid%7D?k=v&q=1+2"));
        check("http://h/{proxy+}", "q=1", &[], Some("http://h/x/y%20%7Bid%7D?q=1"));
        check("http://h", "q=1", &[], Some("http://h?q=1"));
        check("http://h/", "q=1&r=2&q=3", &[("q", "a&b")], Some("http://h/?r=2&q=a%26b"));
        check("http://h/", "", &[("q", "1")], Some("http://h/?q=1"));
        for uri in ["http://h/{other}", "http://h/{id", "http://{id}/", "http://h:{id}", "ftp://h/"] {
            check(uri, "", &[], None);
        }
    }

    #[test]
    fn which_variable_is_greedy() {
        for (path, name, expected) in
            [("/a/{p+}", "p", true), ("/a/{p+}", "q", false), ("/{p}", "p", false), ("/", "", false)]
        {
            assert_eq!(is_greedy_variable(path, name), expected, "{path} {name}");
        }
    }

    #[test]
    fn headers_are_replaced_and_never_split() {
        let mut headers = HeaderMap::new();
        headers.insert("x-a", HeaderValue::from_static("client"));
        set(&mut headers, "X-A", &["1".to_owned(), "2\r\nx: y".to_owned(), "3".to_owned()]);
        set(&mut headers, "no name", &["1".to_owned()]);
        assert_eq!(headers.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "3"]);
        assert_eq!(headers.len(), 2);
    }

    #[test]
    fn what_has_no_value_is_not_left_to_the_client() {
        let mut headers = HeaderMap::new();
        for name in ["x-tenant", "x-other", "host"] {
            headers.append(name, HeaderValue::from_static("admin"));
        }
        for host in ["a.example", "b.example"] {
            headers.append("x-hosts", HeaderValue::from_static(host));
        }
        let incoming = crate::Incoming::of_test(headers.clone(), "tenant=admin&other=1");
        let none = BTreeMap::new();
        let context = Value::Null;
        let values =
            Values { incoming: &incoming, path_parameters: &none, stage_variables: &none, context: &context };
        let parameters = BTreeMap::from(
            [
                ("integration.request.header.X-Tenant", "context.authorizer.tenant"),
                ("integration.request.querystring.tenant", "context.authorizer.tenant"),
                ("integration.request.header.Host", "method.request.multivalueheader.x-hosts"),
                ("integration.request.path.id", "context.authorizer.tenant"),
            ]
            .map(|(to, from)| (to.to_owned(), from.to_owned())),
        );
        let mapped = Mapped::read(&parameters, &values);
        let left = mapped.without_replaced(headers);
        assert!(
            left.get("x-tenant").is_none() && left.get("host").is_none() && left.get("x-other").is_some()
        );
        assert_eq!(mapped.headers["Host"], ["b.example"]);
        assert_eq!(target("http://h/", &mapped, &[], &incoming.raw_query).unwrap(), "http://h/?other=1");
        assert_eq!(target("http://h/{id}", &mapped, &[], ""), None);
    }

    #[test]
    fn mapped_headers_do_not_frame_the_answer() {
        let integration = serde_json::from_value(serde_json::json!({
            "type": "HTTP", "passthroughBehavior": "WHEN_NO_MATCH", "timeoutInMillis": 29000, "cacheNamespace": "x",
            "integrationResponses": {"200": {"statusCode": "200", "responseParameters": {
                "method.response.header.Content-Length": "integration.response.header.X-Length",
                "method.response.header.Transfer-Encoding": "'chunked'",
                "method.response.header.Connection": "'close'",
                "method.response.header.X-Length": "integration.response.header.X-Length",
            }}},
        }));
        let answer =
            http::Response::builder().header("x-length", "7").body(Bytes::from_static(b"{}")).unwrap();
        let incoming = crate::Incoming::of_test(HeaderMap::new(), "");
        let none = BTreeMap::new();
        let context = Value::Null;
        let values =
            Values { incoming: &incoming, path_parameters: &none, stage_variables: &none, context: &context };
        let response = mapped_back(&integration.unwrap(), &answer, &values).unwrap();
        let mut names: Vec<_> = response.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        let remapped = ["x-amzn-remapped-connection", "x-amzn-remapped-content-length"];
        assert_eq!(names, [&["content-type"][..], &remapped, &["x-length"]].concat());
    }
}
