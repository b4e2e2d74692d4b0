//! Payload format 1.0 of HTTP APIs: events, and what a function's answer means.
//!
//! Source: API Gateway developer guide, "Create AWS Lambda proxy integrations for HTTP APIs", payload format 1.0.

use crate::Response;
use crate::event::v2;
use crate::incoming::{Incoming, tells_encryption};
use crate::reply;
use crate::reply::v2::Wrong;
use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, header};
use serde_json::{Map, Value, json};

/// Members of `identity` that are there and say nothing without other ways to sign in.
const NOBODY: [&str; 11] = [
    "accessKey",
    "accountId",
    "caller",
    "cognitoAuthenticationProvider",
    "cognitoAuthenticationType",
    "cognitoIdentityId",
    "cognitoIdentityPoolId",
    "principalOrgId",
    "user",
    "userArn",
    "apiKey",
];

/// The event of a request in format 1.0. `route.authorizer` is what format 1.0 shows.
pub fn event(incoming: &Incoming, route: &v2::Route<'_>, trace_header: &str) -> Value {
    let (body, is_base64_encoded) = v2::body(incoming);
    let resource = route.route_key.split_once(' ').map_or(route.route_key, |(_, path)| path);
    let (mut headers, mut multi_headers) = headers(&incoming.headers);
    let mut set = |name: &str, value: String| {
        multi_headers.insert(name.to_owned(), json!([value]));
        headers.insert(name.to_owned(), value.into());
    };
    let forwarded =
        incoming.headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let forwarded: Vec<String> = forwarded.map(str::to_owned).chain([incoming.source.to_string()]).collect();
    set("x-forwarded-for", forwarded.join(", "));
    set("x-forwarded-port", incoming.port.to_string());
    set("x-forwarded-proto", incoming.scheme().to_owned());
    set(v2::TRACE_ID, trace_header.to_owned());
    let (query, multi_query) = query(&incoming.raw_query);
    let user_agent = incoming.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    let mut identity: Map<String, Value> =
        NOBODY.iter().map(|name| ((*name).to_owned(), Value::Null)).collect();
    identity.insert("sourceIp".to_owned(), incoming.source.to_string().into());
    identity.insert("userAgent".to_owned(), user_agent.unwrap_or_default().into());
    let request_id = incoming.request_id.to_string();
    let mut context = json!({
        "accountId": route.account_id,
        "apiId": route.api_id,
        "domainName": incoming.domain_name,
        "domainPrefix": incoming.domain_prefix,
        "extendedRequestId": request_id,
        "httpMethod": incoming.method.as_str(),
        "identity": identity,
        "path": incoming.raw_path,
        "protocol": incoming.protocol,
        "requestId": request_id,
        "requestTime": incoming.time.request_format(),
        "requestTimeEpoch": incoming.time.as_millis(),
        "resourceId": route.route_key,
        "resourcePath": resource,
        "stage": route.stage,
    });
    if let Some(authorizer) = route.authorizer {
        context["authorizer"] = authorizer.clone();
    }
    json!({
        "version": "1.0",
        "resource": resource,
        "path": incoming.raw_path,
        "httpMethod": incoming.method.as_str(),
        "headers": headers,
        "multiValueHeaders": multi_headers,
        "queryStringParameters": or_null(query),
        "multiValueQueryStringParameters": or_null(multi_query),
        "requestContext": context,
        "pathParameters": or_null(map(route.path_parameters)),
        "stageVariables": or_null(map(route.stage_variables)),
        "body": body,
        "isBase64Encoded": is_base64_encoded,
    })
}

fn or_null(map: Map<String, Value>) -> Value {
    if map.is_empty() { Value::Null } else { Value::Object(map) }
}

fn map(pairs: &[(String, String)]) -> Map<String, Value> {
    pairs.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect()
}

/// The last value of each header, and all of them.
fn headers(headers: &HeaderMap) -> (Map<String, Value>, Map<String, Value>) {
    let (mut last, mut all) = (Map::new(), Map::new());
    for name in headers.keys().filter(|name| !tells_encryption(name.as_str())) {
        let values: Vec<Value> = headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned().into())
            .collect();
        last.insert(name.to_string(), values.last().cloned().unwrap_or_default());
        all.insert(name.to_string(), Value::Array(values));
    }
    (last, all)
}

/// The last value of each parameter, and all of them; decoded.
fn query(raw: &str) -> (Map<String, Value>, Map<String, Value>) {
    let (mut last, mut all) = (Map::<String, Value>::new(), Map::<String, Value>::new());
    for (name, value) in form_urlencoded::parse(raw.as_bytes()) {
        let value = Value::from(value.into_owned());
        last.insert(name.to_string(), value.clone());
        match all.get_mut(name.as_ref()) {
            Some(Value::Array(values)) => values.push(value),
            _ => {
                all.insert(name.into_owned(), json!([value]));
            }
        }
    }
    (last, all)
}

/// The response an answer in format 1.0 means: `statusCode`, `headers`, `multiValueHeaders`, `body`, `isBase64Encoded`.
/// A value that is in both is taken from `multiValueHeaders`.
pub fn response(answer: &Bytes, default_type: &'static str) -> Result<Response, Wrong> {
    let Ok(Value::Object(mut object)) = serde_json::from_slice(answer) else {
        return Err(Wrong("the answer is not an object"));
    };
    if !object.contains_key("statusCode") {
        return Err(Wrong("the answer has no statusCode"));
    }
    let multi = match object.remove("multiValueHeaders") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(multi)) => multi,
        Some(_) => return Err(Wrong("multiValueHeaders is not an object")),
    };
    if let Some(Value::Object(single)) = object.get_mut("headers") {
        single.retain(|name, _| !multi.keys().any(|other| other.eq_ignore_ascii_case(name)));
    }
    object.remove("cookies");
    let mut appended = HeaderMap::new();
    for (name, values) in &multi {
        for value in values.as_array().ok_or(Wrong("a value of multiValueHeaders is not a list"))? {
            // Through the same door as single ones, so that the same names are kept and the same values refused.
            let mut one = Map::from_iter([("headers".to_owned(), json!({ name.as_str(): value }))]);
            let head = reply::v2::head(&mut one, default_type)?;
            if appended.len() >= reply::MOST_FIELDS {
                return Err(Wrong("it has too many headers"));
            }
            let is_type = name.eq_ignore_ascii_case("content-type");
            let given = head.headers().iter().filter(|(name, _)| is_type || **name != header::CONTENT_TYPE);
            appended.extend(given.map(|(name, value)| (name.clone(), value.clone())));
        }
    }
    let head = reply::v2::head(&mut object, default_type)?;
    let body = match (object.get("body"), object.get("isBase64Encoded").and_then(Value::as_bool)) {
        (None | Some(Value::Null), _) => Bytes::new(),
        (Some(Value::String(text)), Some(true)) => base64::engine::general_purpose::STANDARD
            .decode(text)
            .map_err(|_| Wrong("the body is not Base64"))?
            .into(),
        (Some(Value::String(text)), _) => Bytes::from(text.clone()),
        (Some(_), _) => return Err(Wrong("the body is not a string")),
    };
    let mut response = head.map(|()| crate::Body::from(body));
    if appended.contains_key(header::CONTENT_TYPE) {
        response.headers_mut().remove(header::CONTENT_TYPE);
    }
    for (name, value) in &appended {
        response.headers_mut().append(name.clone(), value.clone());
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    async fn check(answer: Value, expected: Result<(u16, &[&str], &str), &str>) {
        let got = response(&answer.to_string().into(), "text/plain");
        match (got, expected) {
            (Ok(response), Ok((status, headers, body))) => {
                let (head, content) = response.into_parts();
                let mut shown: Vec<String> = head
                    .headers
                    .iter()
                    .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
                    .collect();
                shown.sort();
                assert_eq!(
                    (head.status.as_u16(), shown),
                    (status, headers.iter().map(|text| (*text).to_owned()).collect())
                );
                assert_eq!(content.collect().await.unwrap().to_bytes(), body);
            }
            (Err(wrong), Err(part)) => assert!(wrong.0.contains(part), "{wrong}"),
            (got, expected) => panic!("{answer}: {got:?}, expected {expected:?}"),
        }
    }

    #[tokio::test]
    async fn answers() {
        check(json!({"statusCode": 200}), Ok((200, &["content-type: text/plain"], ""))).await;
        check(
            json!({"statusCode": 201, "headers": {"X-A": "1", "x-b": "2"}, "multiValueHeaders": {"x-a": ["3", "4"]}, "body": "b"}),
            Ok((201, &["content-type: text/plain", "x-a: 3", "x-a: 4", "x-b: 2"], "b")),
        )
        .await;
        check(
            json!({"statusCode": 200, "multiValueHeaders": {"Content-Type": ["text/plain"]}, "body": "aGk=", "isBase64Encoded": true}),
            Ok((200, &["content-type: text/plain"], "hi")),
        )
        .await;
        check(json!({"body": "x"}), Err("statusCode")).await;
        check(json!("x"), Err("object")).await;
        check(json!({"statusCode": 200, "body": {}}), Err("body")).await;
        check(json!({"statusCode": 200, "multiValueHeaders": {"x": ["a\r\nb: c"]}}), Err("value")).await;
        check(json!({"statusCode": 200, "multiValueHeaders": {"x": "a"}}), Err("list")).await;
        let names: Map<_, _> = (0..30_000).map(|number| (format!("x-{number}"), json!([""]))).collect();
        check(json!({"statusCode": 200, "multiValueHeaders": names}), Err("too many")).await;
    }
}
