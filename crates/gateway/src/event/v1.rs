//! Events of REST APIs, and of HTTP APIs in payload format 1.0.
//!
//! What a request does not have is null. Names of headers are written with capitals for REST APIs, as clients of HTTP/1.1 do: how they
//! came is not known here.
//!
//! Source: API Gateway developer guide, "Input format of a Lambda function for proxy integration", "Create AWS Lambda proxy
//! integrations for HTTP APIs", and events recorded from the service.

use crate::incoming::{Incoming, tells_encryption};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use lamplight_model::credentials::Identity;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

/// Headers that belong to the connection and not to the request; functions do not see them.
const OF_THE_CONNECTION: [HeaderName; 7] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
/// `X-Amzn-Trace-Id`.
const TRACE_ID: &str = "x-amzn-trace-id";

/// Which kind of API an event is of. They agree in nearly everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A REST API. Header names are written with capitals, those of the connection are left out.
    Rest {
        /// The deployment that answers.
        deployment_id: &'a str,
    },
    /// Payload format 1.0 of a HTTP API. Header names are written in lower case.
    Http,
}

/// What whoever took a request knows of it.
#[derive(Debug, Clone)]
pub struct Details<'a> {
    /// Account of the API.
    pub account_id: &'a str,
    /// Id of the API.
    pub api_id: &'a str,
    /// Which kind of API it is.
    pub kind: Kind<'a>,
    /// Name of the stage.
    pub stage: &'a str,
    /// The path as functions see it: without the stage.
    pub path: &'a str,
    /// The path as the client sent it.
    pub path_with_stage: &'a str,
    /// Path template of the resource: `/pets/{id}`.
    pub resource_path: &'a str,
    /// Id of the resource.
    pub resource_id: &'a str,
    /// What variables of the path stand for.
    pub path_parameters: &'a BTreeMap<String, String>,
    /// Variables of the stage.
    pub stage_variables: &'a BTreeMap<String, String>,
    /// `requestContext.authorizer`; absent when nobody was asked.
    pub authorizer: Option<&'a Value>,
    /// Who signed the request, where the method wants to know.
    pub identity: Option<&'a Identity>,
    /// Id and value of the key the request was let in with, where the method wants one.
    pub api_key: Option<(&'a str, &'a str)>,
    /// `X-Amzn-Trace-Id`.
    pub trace_header: &'a str,
}

/// The event of a request with its body as `body` or `v2::body` made it: with whether it is Base64.
pub fn event(incoming: &Incoming, details: &Details<'_>, body: (Value, bool)) -> Bytes {
    let mut event = head(incoming, details);
    let (body, is_base64_encoded) = body;
    event.insert("body".to_owned(), body);
    event.insert("isBase64Encoded".to_owned(), is_base64_encoded.into());
    // Text, numbers and nulls only: there is nothing in it that JSON could not say.
    serde_json::to_vec(&event).unwrap_or_default().into()
}

/// The event without its body, as authorizers get it.
pub fn head(incoming: &Incoming, details: &Details<'_>) -> Map<String, Value> {
    let mut event = Map::new();
    let mut set = |name: &str, value: Value| event.insert(name.to_owned(), value);
    if details.kind == Kind::Http {
        set("version", "1.0".into());
    }
    set("resource", details.resource_path.into());
    set("path", details.path.into());
    set("httpMethod", incoming.method.as_str().into());
    let headers = headers(incoming, details);
    set("headers", last_of_each(&headers));
    set("multiValueHeaders", all_of_each(&headers));
    let query = query(&incoming.raw_query);
    set("queryStringParameters", if query.is_empty() { Value::Null } else { last_of_each(&query) });
    set("multiValueQueryStringParameters", if query.is_empty() { Value::Null } else { all_of_each(&query) });
    set("pathParameters", or_null(details.path_parameters));
    set("stageVariables", or_null(details.stage_variables));
    set("requestContext", request_context(incoming, details));
    event
}

fn or_null(map: &BTreeMap<String, String>) -> Value {
    if map.is_empty() { Value::Null } else { json!(map) }
}

fn request_context(incoming: &Incoming, details: &Details<'_>) -> Value {
    let request_id = incoming.request_id.to_string();
    let user_agent = incoming.headers.get(header::USER_AGENT).map(text);
    let signed_by = details.identity;
    let user_id = signed_by.map(|identity| identity.user_id.as_str());
    let mut identity = json!({
        "accessKey": signed_by.map(|identity| identity.access_key_id.as_str()),
        "accountId": signed_by.map(|identity| identity.account.as_str()),
        "caller": user_id,
        "cognitoAuthenticationProvider": null,
        "cognitoAuthenticationType": null,
        "cognitoIdentityId": null,
        "cognitoIdentityPoolId": null,
        "principalOrgId": null,
        "sourceIp": incoming.source.to_string(),
        "user": user_id,
        "userAgent": user_agent,
        "userArn": signed_by.map(|identity| identity.arn.as_str()),
    });
    if let Some((id, value)) = details.api_key {
        identity["apiKey"] = value.into();
        identity["apiKeyId"] = id.into();
    }
    let extended_request_id = match details.kind {
        Kind::Rest { .. } => extended_request_id(&request_id),
        Kind::Http => {
            identity["apiKey"] = Value::Null;
            identity["userAgent"] = user_agent.unwrap_or_default().into();
            request_id.clone()
        }
    };
    let mut context = json!({
        "accountId": details.account_id,
        "apiId": details.api_id,
        "domainName": incoming.domain_name,
        "domainPrefix": incoming.domain_prefix,
        "extendedRequestId": extended_request_id,
        "httpMethod": incoming.method.as_str(),
        "identity": identity,
        "path": details.path_with_stage,
        "protocol": incoming.protocol,
        "requestId": request_id,
        "requestTime": incoming.time.request_format(),
        "requestTimeEpoch": incoming.time.as_millis(),
        "resourceId": details.resource_id,
        "resourcePath": details.resource_path,
        "stage": details.stage,
    });
    if let Kind::Rest { deployment_id } = details.kind {
        context["deploymentId"] = deployment_id.into();
    }
    if let Some(authorizer) = details.authorizer {
        context["authorizer"] = authorizer.clone();
    }
    context
}

/// A second id of a request, in the form of `x-amz-apigw-id`: 15 characters of Base64 and `=`. Of the first one, so that both are
/// found together.
pub fn extended_request_id(request_id: &str) -> String {
    let characters: String = request_id.chars().filter(char::is_ascii_alphanumeric).take(15).collect();
    format!("{characters}=")
}

/// Names with the values of each, in the order they came.
type Values = Vec<(String, Vec<String>)>;

fn headers(incoming: &Incoming, details: &Details<'_>) -> Values {
    let mut headers: Values = Vec::new();
    let is_rest = details.kind != Kind::Http;
    let named = |name: &str| if is_rest { capitalized(name) } else { name.to_owned() };
    let names = incoming.headers.keys().filter(|name| !is_rest || !OF_THE_CONNECTION.contains(name));
    for name in names.filter(|name| !is_set_here(name.as_str())) {
        let values = incoming.headers.get_all(name).iter().map(text).collect();
        headers.push((named(name.as_str()), values));
    }
    let source = incoming.source.to_string();
    let forwarded: Vec<String> =
        incoming.headers.get_all("x-forwarded-for").iter().map(text).chain([source]).collect();
    let mut set = |name: &str, value: String| headers.push((named(name), vec![value]));
    set("x-forwarded-for", forwarded.join(", "));
    set("x-forwarded-port", incoming.port.to_string());
    set("x-forwarded-proto", incoming.scheme().to_owned());
    set(TRACE_ID, details.trace_header.to_owned());
    headers
}

/// What a client says about them is replaced or added to.
fn is_set_here(name: &str) -> bool {
    matches!(name, "x-forwarded-for" | "x-forwarded-port" | "x-forwarded-proto" | TRACE_ID)
        || tells_encryption(name)
}

/// `content-type` as `Content-Type`.
fn capitalized(name: &str) -> String {
    let mut capitalized = String::with_capacity(name.len());
    let mut is_first = true;
    for character in name.chars() {
        capitalized.push(if is_first { character.to_ascii_uppercase() } else { character });
        is_first = character == '-';
    }
    capitalized
}

/// Bytes that are no UTF-8 are replaced.
fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// Decoded; bytes that are no UTF-8 are replaced.
fn query(raw: &str) -> Values {
    let mut query: Values = Vec::new();
    let mut places: HashMap<Cow<'_, str>, usize> = HashMap::new();
    for (name, value) in form_urlencoded::parse(raw.as_bytes()) {
        let place = *places.entry(name).or_insert_with_key(|name| {
            query.push((name.clone().into_owned(), Vec::new()));
            query.len() - 1
        });
        if let Some((_, values)) = query.get_mut(place) {
            values.push(value.into_owned());
        }
    }
    query
}

fn last_of_each(values: &Values) -> Value {
    let last = values.iter().filter_map(|(name, values)| Some((name.clone(), values.last()?.clone().into())));
    Value::Object(last.collect())
}

fn all_of_each(values: &Values) -> Value {
    Value::Object(values.iter().map(|(name, values)| (name.clone(), json!(values))).collect())
}

/// The body as the event has it, and whether that is Base64. Text that is no UTF-8 loses what is not, as it does on AWS: media
/// types that are to be kept are the API's to name.
pub fn body(body: &Bytes, is_binary: bool) -> (Value, bool) {
    match (body.is_empty(), is_binary) {
        (true, _) => (Value::Null, false),
        (false, true) => (STANDARD.encode(body).into(), true),
        (false, false) => (String::from_utf8_lossy(body).into_owned().into(), false),
    }
}

/// Whether a media type is one of those an API calls binary. `*/*` is all; `type/*` all of a type. Parameters say nothing.
pub fn is_binary(content_type: Option<&str>, binary_media_types: &[String]) -> bool {
    let given = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    binary_media_types.iter().any(|binary| {
        binary == "*/*"
            || binary.eq_ignore_ascii_case(given)
            || binary.strip_suffix("/*").is_some_and(|kind| {
                given.split_once('/').is_some_and(|(given, _)| given.eq_ignore_ascii_case(kind))
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, Method};
    use lamplight_model::{RequestId, Timestamp};

    fn incoming(raw_query: &str, headers: &[(&str, &str)], body: &'static [u8]) -> Incoming {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        Incoming {
            method: Method::POST,
            raw_path: "/dev/pets/7".to_owned(),
            raw_query: raw_query.to_owned(),
            headers: map,
            body: Bytes::from_static(body),
            source: [127, 0, 0, 1].into(),
            protocol: "HTTP/1.1",
            tls_version: None,
            port: 9000,
            domain_name: "abc.execute-api.us-east-1.localhost".to_owned(),
            domain_prefix: "abc".to_owned(),
            request_id: RequestId(uuid::Uuid::from_u128(7)),
            time: Timestamp(1_428_582_896_123),
        }
    }

    fn event_of(incoming: &Incoming, is_binary: bool) -> Value {
        let variables = BTreeMap::from([("id".to_owned(), "7".to_owned())]);
        let event = event(
            incoming,
            &Details {
                account_id: "000000000000",
                api_id: "abc",
                kind: Kind::Rest { deployment_id: "d1" },
                stage: "dev",
                path: "/pets/7",
                path_with_stage: "/dev/pets/7",
                resource_path: "/pets/{id}",
                resource_id: "r1",
                path_parameters: &variables,
                stage_variables: &BTreeMap::new(),
                authorizer: None,
                identity: None,
                api_key: None,
                trace_header: "Root=1",
            },
            body(&incoming.body, is_binary),
        );
        serde_json::from_slice(&event).unwrap()
    }

    #[test]
    fn an_event_of_a_rest_api_has_every_key() {
        let incoming = incoming(
            "category=electronics&category=books&plus=a+b%2B",
            &[("host", "abc"), ("x-a", "1"), ("x-a", "2"), ("content-length", "2"), ("user-agent", "test")],
            b"{}",
        );
        let expected = json!({
            "resource": "/pets/{id}",
            "path": "/pets/7",
            "httpMethod": "POST",
            "headers": {"Host": "abc", "X-A": "2", "User-Agent": "test", "X-Forwarded-For": "127.0.0.1",
                "X-Forwarded-Port": "9000", "X-Forwarded-Proto": "http", "X-Amzn-Trace-Id": "Root=1"},
            "multiValueHeaders": {"Host": ["abc"], "X-A": ["1", "2"], "User-Agent": ["test"],
                "X-Forwarded-For": ["127.0.0.1"], "X-Forwarded-Port": ["9000"], "X-Forwarded-Proto": ["http"],
                "X-Amzn-Trace-Id": ["Root=1"]},
            "queryStringParameters": {"category": "books", "plus": "a b+"},
            "multiValueQueryStringParameters": {"category": ["electronics", "books"], "plus": ["a b+"]},
            "pathParameters": {"id": "7"},
            "stageVariables": null,
            "requestContext": {
                "accountId": "000000000000", "apiId": "abc", "domainName": "abc.execute-api.us-east-1.localhost",
                "domainPrefix": "abc", "extendedRequestId": "000000000000000=", "httpMethod": "POST",
                "path": "/dev/pets/7", "protocol": "HTTP/1.1", "requestId": "00000000-0000-0000-0000-000000000007",
                "requestTime": "09/Apr/2015:12:34:56 +0000", "requestTimeEpoch": 1_428_582_896_123_i64,
                "resourceId": "r1", "resourcePath": "/pets/{id}", "stage": "dev", "deploymentId": "d1",
                "identity": {"accessKey": null, "accountId": null, "caller": null,
                    "cognitoAuthenticationProvider": null, "cognitoAuthenticationType": null,
                    "cognitoIdentityId": null, "cognitoIdentityPoolId": null, "principalOrgId": null,
                    "sourceIp": "127.0.0.1", "user": null, "userAgent": "test", "userArn": null},
            },
            "body": "{}",
            "isBase64Encoded": false,
        });
        assert_eq!(event_of(&incoming, false), expected);
    }

    #[test]
    fn many_query_parameters_are_read_in_time() {
        // Compared each with each, these would take minutes.
        const NAMES: usize = 200_000;
        let raw: Vec<String> = (0..2 * NAMES).map(|number| format!("n{}={number}", number % NAMES)).collect();
        let query = query(&raw.join("&"));
        assert_eq!(query.len(), NAMES);
        assert_eq!(query.first(), Some(&("n0".to_owned(), vec!["0".to_owned(), NAMES.to_string()])));
    }

    #[test]
    fn what_is_not_there_is_null() {
        let mut incoming = incoming("", &[], b"");
        incoming.headers.clear();
        let event = event_of(&incoming, false);
        for name in ["queryStringParameters", "multiValueQueryStringParameters", "stageVariables", "body"] {
            assert_eq!(event.get(name), Some(&Value::Null), "{name}");
        }
        assert_eq!(event["requestContext"]["identity"].get("userAgent"), Some(&Value::Null));
        assert!(event["requestContext"].get("authorizer").is_none());
    }

    #[test]
    fn bodies() {
        let check = |bytes: &'static [u8], is_binary: bool, expected: Value, base64: bool| {
            let event = event_of(&incoming("", &[], bytes), is_binary);
            assert_eq!((&event["body"], &event["isBase64Encoded"]), (&expected, &json!(base64)));
        };
        check(b"a", false, json!("a"), false);
        check(b"a", true, json!("YQ=="), true);
        check(b"\xff", true, json!("/w=="), true);
        check(b"\xff", false, json!("\u{fffd}"), false);
        check(b"", true, Value::Null, false);
    }

    #[test]
    fn binary_media_types() {
        let check = |given: Option<&str>, types: &[&str], expected: bool| {
            let types: Vec<String> = types.iter().map(|one| (*one).to_owned()).collect();
            assert_eq!(is_binary(given, &types), expected, "{given:?} in {types:?}");
        };
        check(Some("image/png"), &["image/png"], true);
        check(Some("Image/PNG; q=1"), &["image/png"], true);
        check(Some("image/png"), &["image/*"], true);
        check(Some("text/plain"), &["image/*"], false);
        check(None, &["*/*"], true);
        check(None, &["image/png"], false);
        check(Some("image/png"), &[], false);
    }
}
