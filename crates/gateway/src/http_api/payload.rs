//! Payload format 1.0 of HTTP APIs: events, and what a function's answer means.
//!
//! Source: API Gateway developer guide, "Create AWS Lambda proxy integrations for HTTP APIs", payload format 1.0.

use crate::Response;
use crate::event::{v1, v2};
use crate::incoming::Incoming;
use crate::reply;
use crate::reply::v2::Wrong;
use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, header};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The event of a request in format 1.0. `route.authorizer` is what format 1.0 shows.
pub fn event(incoming: &Incoming, route: &v2::Route<'_>, trace_header: &str) -> Bytes {
    let (body, is_base64_encoded) = v2::body(incoming);
    let body = (json!(body), is_base64_encoded);
    with_details(incoming, route, trace_header, |details| v1::event(incoming, details, body))
}

/// The event without its body, as authorizers get it.
pub fn head(incoming: &Incoming, route: &v2::Route<'_>, trace_header: &str) -> Map<String, Value> {
    with_details(incoming, route, trace_header, |details| v1::head(incoming, details))
}

fn with_details<T>(
    incoming: &Incoming,
    route: &v2::Route<'_>,
    trace_header: &str,
    make: impl FnOnce(&v1::Details<'_>) -> T,
) -> T {
    let texts = |pairs: &[(String, String)]| pairs.iter().cloned().collect::<BTreeMap<_, _>>();
    make(&v1::Details {
        account_id: route.account_id,
        api_id: route.api_id,
        kind: v1::Kind::Http,
        stage: route.stage,
        path: &incoming.raw_path,
        path_with_stage: &incoming.raw_path,
        resource_path: route.route_key.split_once(' ').map_or(route.route_key, |(_, path)| path),
        resource_id: route.route_key,
        path_parameters: &texts(route.path_parameters),
        stage_variables: &texts(route.stage_variables),
        authorizer: route.authorizer,
        identity: None,
        api_key: None,
        trace_header,
    })
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
