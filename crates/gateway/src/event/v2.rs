//! Payload format 2.0: events of function URLs and of HTTP APIs.
//!
//! Source: API Gateway developer guide, "Create AWS Lambda proxy integrations for HTTP APIs", payload format 2.0; Lambda
//! developer guide, "Invoking Lambda function URLs". What a request does not have is absent from the event.

use crate::incoming::{Incoming, tells_encryption};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Serialize;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// What the route that took a request adds to its event.
#[derive(Debug, Clone)]
pub struct Route<'a> {
    /// `$default`, or method and path of a route.
    pub route_key: &'a str,
    /// `$default`, or the name of a stage.
    pub stage: &'a str,
    /// Account of the function; `anonymous` where nobody said who asks.
    pub account_id: &'a str,
    /// Id of the URL or API.
    pub api_id: &'a str,
    /// `pathParameters`; absent when empty.
    pub path_parameters: &'a [(String, String)],
    /// `stageVariables`; absent when empty.
    pub stage_variables: &'a [(String, String)],
    /// `requestContext.authorizer`; absent when nobody was asked.
    pub authorizer: Option<&'a Value>,
}

/// `X-Amzn-Trace-Id` of a request, which also travels beside the event.
pub const TRACE_ID: &str = "x-amzn-trace-id";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    version: &'static str,
    route_key: &'a str,
    raw_path: &'a str,
    raw_query_string: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cookies: Vec<Cow<'a, str>>,
    headers: Map<String, Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    query_string_parameters: Map<String, Value>,
    request_context: Context<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    path_parameters: Map<String, Value>,
    is_base64_encoded: bool,
    #[serde(skip_serializing_if = "Map::is_empty")]
    stage_variables: Map<String, Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Context<'a> {
    account_id: &'a str,
    api_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorizer: Option<&'a Value>,
    domain_name: &'a str,
    domain_prefix: &'a str,
    http: Http<'a>,
    request_id: String,
    route_key: &'a str,
    stage: &'a str,
    time: String,
    time_epoch: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Http<'a> {
    method: &'a str,
    path: &'a str,
    protocol: &'static str,
    source_ip: String,
    user_agent: Cow<'a, str>,
}

/// The event of a request. `trace_header` is what the request brought or what was made for it.
pub fn event(incoming: &Incoming, route: &Route<'_>, trace_header: &str) -> Bytes {
    let (body, is_base64_encoded) = body(incoming);
    let event = Event {
        version: "2.0",
        route_key: route.route_key,
        raw_path: &incoming.raw_path,
        raw_query_string: &incoming.raw_query,
        cookies: cookies(&incoming.headers),
        headers: headers(incoming, trace_header),
        query_string_parameters: query(&incoming.raw_query),
        request_context: Context {
            account_id: route.account_id,
            api_id: route.api_id,
            authorizer: route.authorizer,
            domain_name: &incoming.domain_name,
            domain_prefix: &incoming.domain_prefix,
            http: Http {
                method: incoming.method.as_str(),
                path: &incoming.raw_path,
                protocol: incoming.protocol,
                source_ip: incoming.source.to_string(),
                user_agent: incoming.headers.get(header::USER_AGENT).map_or(Cow::Borrowed(""), text),
            },
            request_id: incoming.request_id.to_string(),
            route_key: route.route_key,
            stage: route.stage,
            time: incoming.time.request_format(),
            time_epoch: incoming.time.as_millis(),
        },
        body,
        path_parameters: map(route.path_parameters),
        is_base64_encoded,
        stage_variables: map(route.stage_variables),
    };
    // Text and numbers only: there is nothing in it that JSON could not say.
    serde_json::to_vec(&event).unwrap_or_default().into()
}

/// Names in lower case, values of one name joined by commas, the forwarded ones set. Cookies are elsewhere.
fn headers(incoming: &Incoming, trace_header: &str) -> Map<String, Value> {
    let mut joined = Map::new();
    let left_out = |name: &HeaderName| *name == header::COOKIE || tells_encryption(name.as_str());
    for name in incoming.headers.keys().filter(|name| !left_out(name)) {
        let values: Vec<Cow<'_, str>> = incoming.headers.get_all(name).iter().map(text).collect();
        joined.insert(name.as_str().to_owned(), values.join(",").into());
    }
    let mut set = |name: &str, value: String| joined.insert(name.to_owned(), value.into());
    let source = incoming.source.to_string();
    let passed_on: Vec<Cow<'_, str>> =
        incoming.headers.get_all("x-forwarded-for").iter().map(text).chain([source.into()]).collect();
    set("x-forwarded-for", passed_on.join(", "));
    set("x-forwarded-port", incoming.port.to_string());
    set("x-forwarded-proto", incoming.scheme().to_owned());
    set(TRACE_ID, trace_header.to_owned());
    if let Some(version) = incoming.tls_version {
        set("x-amzn-tls-version", version.to_owned());
    }
    joined
}

/// The cookies of all `Cookie` headers, one by one.
fn cookies(headers: &HeaderMap) -> Vec<Cow<'_, str>> {
    let mut cookies = Vec::new();
    for value in headers.get_all(header::COOKIE) {
        match text(value) {
            Cow::Borrowed(text) => cookies.extend(split_cookies(text).map(Cow::Borrowed)),
            Cow::Owned(text) => {
                cookies.extend(split_cookies(&text).map(|cookie| Cow::Owned(cookie.to_owned())))
            }
        }
    }
    cookies
}

fn split_cookies(text: &str) -> impl Iterator<Item = &str> {
    text.split(';').map(str::trim).filter(|cookie| !cookie.is_empty())
}

/// Decoded, values of one name joined by commas. Bytes that are no UTF-8 are replaced; `rawQueryString` has them.
fn query(raw: &str) -> Map<String, Value> {
    let mut joined: Map<String, Value> = Map::new();
    for (name, value) in form_urlencoded::parse(raw.as_bytes()) {
        match joined.get_mut(name.as_ref()) {
            Some(Value::String(values)) => {
                values.push(',');
                values.push_str(&value);
            }
            _ => {
                joined.insert(name.into_owned(), value.into_owned().into());
            }
        }
    }
    joined
}

fn map(pairs: &[(String, String)]) -> Map<String, Value> {
    pairs.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect()
}

/// The body as the event has it, and whether that is Base64: text stays text where the content type says it is and the
/// bytes are. `None` when there is none.
pub fn body(incoming: &Incoming) -> (Option<Cow<'_, str>>, bool) {
    if incoming.body.is_empty() {
        return (None, false);
    }
    let content_type = incoming.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    match std::str::from_utf8(&incoming.body) {
        Ok(body) if is_text(content_type) => (Some(Cow::Borrowed(body)), false),
        _ => (Some(Cow::Owned(STANDARD.encode(&incoming.body))), true),
    }
}

/// Whether a content type is passed on as text. A form is not, as AWS was seen to do.
fn is_text(content_type: Option<&str>) -> bool {
    let Some(content_type) = content_type else { return false };
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind.starts_with("text/")
        || ["application/json", "application/javascript", "application/xml"].contains(&kind.as_str())
        || (kind.starts_with("application/") && (kind.ends_with("+json") || kind.ends_with("+xml")))
}

/// A header's value as text: UTF-8 where it is, else each byte as its Latin-1 character (RFC 9110, 5.5, "obs-text").
fn text(value: &HeaderValue) -> Cow<'_, str> {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(value.as_bytes().iter().map(|byte| char::from(*byte)).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;
    use lamplight_model::{RequestId, Timestamp};
    use serde_json::json;

    const ROUTE: Route<'static> = Route {
        route_key: "$default",
        stage: "$default",
        account_id: "anonymous",
        api_id: "abc",
        path_parameters: &[],
        stage_variables: &[],
        authorizer: None,
    };

    fn incoming(headers: &[(&'static str, &[u8])], body: &'static [u8]) -> Incoming {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        Incoming {
            method: Method::POST,
            raw_path: "/my/p%C3%A4th%2F".to_owned(),
            raw_query: String::new(),
            headers: map,
            body: Bytes::from_static(body),
            source: [203, 0, 113, 9].into(),
            protocol: "HTTP/1.1",
            tls_version: None,
            port: 9000,
            domain_name: "abc.lambda-url.us-east-1.localhost".to_owned(),
            domain_prefix: "abc".to_owned(),
            request_id: RequestId(uuid::Uuid::nil()),
            time: Timestamp(1_583_348_638_390),
        }
    }

    fn event_of(incoming: &Incoming) -> Value {
        serde_json::from_slice(&event(incoming, &ROUTE, "Root=1-2-3")).unwrap()
    }

    #[test]
    fn a_plain_request_has_what_it_brought_and_nothing_else() {
        let mut request = incoming(&[("host", b"abc.lambda-url.us-east-1.localhost:9000")], b"");
        request.method = Method::GET;
        let text = String::from_utf8(event(&request, &ROUTE, "Root=1-2-3").to_vec()).unwrap();
        // The order of members is AWS's, too.
        assert_eq!(
            text,
            concat!(
                r#"{"version":"2.0","routeKey":"$default","rawPath":"/my/p%C3%A4th%2F","rawQueryString":"","#,
                r#""headers":{"host":"abc.lambda-url.us-east-1.localhost:9000","x-forwarded-for":"203.0.113.9","#,
                r#""x-forwarded-port":"9000","x-forwarded-proto":"http","x-amzn-trace-id":"Root=1-2-3"},"#,
                r#""requestContext":{"accountId":"anonymous","apiId":"abc","#,
                r#""domainName":"abc.lambda-url.us-east-1.localhost","domainPrefix":"abc","#,
                r#""http":{"method":"GET","path":"/my/p%C3%A4th%2F","protocol":"HTTP/1.1","sourceIp":"203.0.113.9","#,
                r#""userAgent":""},"requestId":"00000000-0000-0000-0000-000000000000","routeKey":"$default","#,
                r#""stage":"$default","time":"04/Mar/2020:19:03:58 +0000","timeEpoch":1583348638390},"#,
                r#""isBase64Encoded":false}"#
            )
        );
    }

    /// The example of the developer guide.
    #[test]
    fn values_are_joined_and_cookies_are_apart() {
        let headers: &[(&str, &[u8])] = &[
            ("header1", b"value1"),
            ("header2", b"value1"),
            ("header2", b"value2"),
            ("cookie", b"cookie1; cookie2=a=b;"),
            ("cookie", b"cookie3"),
            ("x-forwarded-for", b"198.51.100.1"),
            ("x-forwarded-proto", b"forged"),
            ("x-amzn-tls-version", b"forged"),
            ("x-amzn-tls-cipher-suite", b"forged"),
            ("user-agent", b"agent"),
            ("x-latin", b"\xfc"),
            ("content-type", b"text/plain"),
        ];
        let mut request = incoming(headers, b"Hello from client!");
        request.raw_query =
            "parameter1=value1&parameter1=value2&parameter2=v+%C3%BC%25&x=%ff&empty".to_owned();
        request.tls_version = Some("TLSv1.3");
        let event = event_of(&request);
        assert_eq!(event["cookies"], json!(["cookie1", "cookie2=a=b", "cookie3"]));
        let headers = &event["headers"];
        assert_eq!((&headers["header1"], &headers["header2"]), (&json!("value1"), &json!("value1,value2")));
        assert_eq!(headers.get("cookie"), None);
        assert_eq!(headers["x-forwarded-for"], "198.51.100.1, 203.0.113.9");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["x-amzn-tls-version"], "TLSv1.3");
        assert_eq!(headers.get("x-amzn-tls-cipher-suite"), None);
        request.tls_version = None;
        assert_eq!(event_of(&request)["headers"].get("x-amzn-tls-version"), None, "in the clear");
        assert_eq!(headers["x-latin"], "ü");
        assert_eq!(
            event["queryStringParameters"],
            json!({"parameter1": "value1,value2", "parameter2": "v ü%", "x": "\u{fffd}", "empty": ""})
        );
        assert_eq!(event["rawQueryString"], request.raw_query);
        assert_eq!(event["requestContext"]["http"]["userAgent"], "agent");
        assert_eq!(
            (&event["body"], &event["isBase64Encoded"]),
            (&json!("Hello from client!"), &json!(false))
        );
    }

    #[test]
    fn routes_add_their_part() {
        let path_parameters = [("proxy".to_owned(), "a/b".to_owned())];
        let stage_variables = [("colour".to_owned(), "blue".to_owned())];
        let authorizer = json!({"jwt": {"claims": {"sub": "me"}, "scopes": null}});
        let route = Route {
            route_key: "GET /{proxy+}",
            stage: "prod",
            account_id: "000000000000",
            path_parameters: &path_parameters,
            stage_variables: &stage_variables,
            authorizer: Some(&authorizer),
            ..ROUTE
        };
        let event: Value = serde_json::from_slice(&event(&incoming(&[], b""), &route, "t")).unwrap();
        assert_eq!(event["pathParameters"], json!({"proxy": "a/b"}));
        assert_eq!(event["stageVariables"], json!({"colour": "blue"}));
        let context = &event["requestContext"];
        assert_eq!(context["authorizer"], authorizer);
        assert_eq!((&context["routeKey"], &context["stage"]), (&json!("GET /{proxy+}"), &json!("prod")));
    }

    /// That a form and a body without a type are Base64 is what AWS was seen to do; that text which is no UTF-8 is, too, is
    /// a guess: nothing gets lost so.
    #[test]
    fn what_is_text() {
        let check = |content_type: Option<&'static str>, body: &'static [u8], expected: (&str, bool)| {
            let headers: Vec<(&str, &[u8])> =
                content_type.iter().map(|kind| ("content-type", kind.as_bytes())).collect();
            let event = event_of(&incoming(&headers, body));
            let got = (event["body"].as_str().unwrap(), event["isBase64Encoded"].as_bool().unwrap());
            assert_eq!(got, expected, "{content_type:?}");
        };
        for text in [
            "text/html; charset=utf-8",
            "application/json",
            "Application/JSON;charset=utf-8",
            "application/xml",
            "application/javascript",
            "application/problem+json",
            "application/soap+xml",
        ] {
            check(Some(text), b"{\"\xc3\xbc\":1}", ("{\"ü\":1}", false));
        }
        for binary in
            ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "image/svg", ""]
        {
            check(Some(binary), b"a=1", ("YT0x", true));
        }
        check(None, b"a=1", ("YT0x", true));
        check(Some("text/plain"), b"\xff", ("/w==", true));
    }
}
