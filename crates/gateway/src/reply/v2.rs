//! The buffered answer of a function to a request in payload format 2.0: what it means as a response.
//!
//! An object with a `statusCode` says what to answer; anything else is the body of a 200. Whatever could not be said in HTTP
//! (a status, header or cookie that is none) is the function's mistake, and the client gets 502: nothing of it is sent.
//!
//! Source: Lambda developer guide, "Invoking Lambda function URLs", response payload format.

use super::MOST_FIELDS;
use crate::{Body, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Map, Value};

/// Why an answer is no response; for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Wrong(pub &'static str);

/// Prefix of headers that the function may not set: they belong to the connection, or to the gateway.
const REMAPPED: &str = "x-amzn-remapped-";

/// The response a function's answer means. `default_type` is its content type where the function names none.
pub fn response(answer: &Bytes, default_type: &'static str) -> Result<Response, Wrong> {
    // A handler that returns nothing, and a custom runtime that answers with an empty body.
    if answer.is_empty() {
        return Ok(inferred(Bytes::new()));
    }
    match serde_json::from_slice(answer) {
        Ok(Value::Object(mut object)) if object.contains_key("statusCode") => {
            let head = head(&mut object, default_type)?;
            let body = body(&mut object)?;
            Ok(head.map(|()| Body::from(body)))
        }
        // Without its quotes, as AWS was seen to do.
        Ok(Value::String(text)) => Ok(inferred(text.into())),
        // As the function wrote it, also when that is no JSON.
        _ => Ok(inferred(answer.clone())),
    }
}

/// Status, headers and cookies of an answer or of the prelude of a streamed one.
pub fn head(
    object: &mut Map<String, Value>,
    default_type: &'static str,
) -> Result<http::Response<()>, Wrong> {
    let mut response = http::Response::new(());
    *response.status_mut() = status(object.get("statusCode"))?;
    let headers = response.headers_mut();
    match object.remove("headers") {
        None | Some(Value::Null) => {}
        Some(Value::Object(given)) => {
            for (name, value) in &given {
                set(headers, name, value)?;
            }
        }
        Some(_) => return Err(Wrong("headers is not an object")),
    }
    if !headers.contains_key(header::CONTENT_TYPE) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(default_type));
    }
    match object.remove("cookies") {
        None | Some(Value::Null) => {}
        Some(Value::Array(cookies)) => {
            for cookie in &cookies {
                let cookie = cookie.as_str().ok_or(Wrong("a cookie is not a string"))?;
                let value =
                    HeaderValue::from_str(cookie).map_err(|_| Wrong("a cookie is not a header value"))?;
                append(headers, header::SET_COOKIE, value)?;
            }
        }
        Some(_) => return Err(Wrong("cookies is not a list")),
    }
    Ok(response)
}

/// A number, or its digits as text. 1xx would be no final answer (RFC 9110, 15.2).
fn status(given: Option<&Value>) -> Result<StatusCode, Wrong> {
    let number = match given {
        None => return Ok(StatusCode::OK),
        Some(Value::Number(number)) => number.as_u64().or_else(|| {
            let number = number.as_f64()?;
            (number.fract() == 0.0 && (0.0..1_000.0).contains(&number)).then_some(number as u64)
        }),
        Some(Value::String(text)) => text.parse().ok(),
        Some(_) => None,
    };
    number
        .filter(|number| (200..=599).contains(number))
        .and_then(|number| StatusCode::from_u16(u16::try_from(number).ok()?).ok())
        .ok_or(Wrong("statusCode is not a status from 200 to 599"))
}

fn set(headers: &mut HeaderMap, name: &str, value: &Value) -> Result<(), Wrong> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        Value::Null => return Ok(()),
        _ => return Err(Wrong("a header is neither text nor a number")),
    };
    let mut name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Wrong("a header's name is none"))?;
    if is_ours(&name) {
        name = HeaderName::try_from(format!("{REMAPPED}{name}"))
            .map_err(|_| Wrong("a header's name is none"))?;
    }
    // Refuses carriage return and line feed, with all other control characters.
    let value = HeaderValue::from_str(&text).map_err(|_| Wrong("a header's value is none"))?;
    // The names of an object differ, but perhaps in case only.
    append(headers, name, value)
}

fn append(headers: &mut HeaderMap, name: HeaderName, value: HeaderValue) -> Result<(), Wrong> {
    if headers.len() >= MOST_FIELDS {
        return Err(Wrong("it has too many headers"));
    }
    headers.append(name, value);
    Ok(())
}

/// Headers that say how the response is framed or what the connection does; a function's are renamed, as API Gateway does.
/// Source: API Gateway developer guide, "Important notes", headers that are remapped.
fn is_ours(name: &HeaderName) -> bool {
    [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::DATE,
        header::PROXY_AUTHENTICATE,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::WWW_AUTHENTICATE,
    ]
    .contains(name)
        || name == "keep-alive"
        || name == super::REQUEST_ID
}

fn body(object: &mut Map<String, Value>) -> Result<Bytes, Wrong> {
    let is_encoded = object.get("isBase64Encoded").and_then(Value::as_bool).unwrap_or(false);
    match object.swap_remove("body") {
        None | Some(Value::Null) => Ok(Bytes::new()),
        Some(Value::String(text)) if is_encoded => {
            STANDARD.decode(&text).map(Bytes::from).map_err(|_| Wrong("the body is not Base64"))
        }
        Some(Value::String(text)) => Ok(text.into()),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(value.to_string().into()),
        Some(_) => Err(Wrong("the body is not a string")),
    }
}

fn inferred(body: Bytes) -> Response {
    super::with_body(StatusCode::OK, "application/json", body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use serde_json::json;

    async fn shown(response: Response) -> (u16, Vec<String>, Bytes) {
        let (head, body) = response.into_parts();
        let mut headers: Vec<String> =
            head.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        headers.sort();
        (head.status.as_u16(), headers, body.collect().await.unwrap().to_bytes())
    }

    async fn check(answer: &str, status: u16, headers: &[&str], body: &str) {
        let response = response(&Bytes::copy_from_slice(answer.as_bytes()), "application/json");
        let shown = shown(response.unwrap_or_else(|wrong| panic!("{answer}: {wrong}"))).await;
        let headers: Vec<String> = headers.iter().map(|header| (*header).to_owned()).collect();
        assert_eq!(shown, (status, headers, Bytes::copy_from_slice(body.as_bytes())), "{answer}");
    }

    #[tokio::test]
    async fn what_has_no_status_is_the_body() {
        let json = &["content-type: application/json"];
        check(r#"{"message":"hi"}"#, 200, json, r#"{"message":"hi"}"#).await;
        check(r#"{"body":"hi", "headers":{"a":"b"}}"#, 200, json, r#"{"body":"hi", "headers":{"a":"b"}}"#)
            .await;
        check(r#""Hello, \"ü\"""#, 200, json, "Hello, \"ü\"").await;
        check("[1, 2]", 200, json, "[1, 2]").await;
        check("1.50", 200, json, "1.50").await;
        check("true", 200, json, "true").await;
        check("null", 200, json, "null").await;
        check("", 200, json, "").await;
        check("<html>", 200, json, "<html>").await;
    }

    #[tokio::test]
    async fn what_has_a_status_says_the_rest() {
        let json = "content-type: application/json";
        check(r#"{"statusCode":201}"#, 201, &[json], "").await;
        check(r#"{"statusCode":"418","body":"tea"}"#, 418, &[json], "tea").await;
        check(r#"{"statusCode":200.0,"body":5}"#, 200, &[json], "5").await;
        check(r#"{"statusCode":200,"body":null,"headers":null,"cookies":null}"#, 200, &[json], "").await;
        check(
            r#"{"statusCode":200,"headers":{"Content-Type":"text/html","X-One":1,"X-Yes":true,"X-No":null},"body":"<p>"}"#,
            200,
            &["content-type: text/html", "x-one: 1", "x-yes: true"],
            "<p>",
        )
        .await;
        check(
            r#"{"statusCode":204,"cookies":["a=1; Max-Age=3","b=2"]}"#,
            204,
            &[json, "set-cookie: a=1; Max-Age=3", "set-cookie: b=2"],
            "",
        )
        .await;
        check(r#"{"statusCode":200,"isBase64Encoded":true,"body":"aGk="}"#, 200, &[json], "hi").await;
        check(r#"{"statusCode":200,"isBase64Encoded":false,"body":"aGk="}"#, 200, &[json], "aGk=").await;
        check(
            r#"{"statusCode":200,"headers":{"Content-Length":"99","Transfer-Encoding":"chunked","WWW-Authenticate":"Basic"}}"#,
            200,
            &[
                json,
                "x-amzn-remapped-content-length: 99",
                "x-amzn-remapped-transfer-encoding: chunked",
                "x-amzn-remapped-www-authenticate: Basic",
            ],
            "",
        )
        .await;
    }

    #[test]
    fn more_headers_than_a_map_holds_are_refused() {
        let answer = |count: usize| {
            let names = (0..count).map(|number| (format!("x-{number}"), json!("")));
            let headers: Map<String, Value> = names.collect();
            Bytes::from(json!({"statusCode": 200, "headers": headers}).to_string())
        };
        assert!(response(&answer(9_000), "application/json").is_ok());
        assert!(response(&answer(30_000), "application/json").is_err());
        let cookies = vec!["a=b"; 30_000];
        let answer = Bytes::from(json!({"statusCode": 200, "cookies": cookies}).to_string());
        assert!(response(&answer, "application/json").is_err());
    }

    /// Which of these AWS would take is not published; each could not be sent, or would be sent as something else.
    #[test]
    fn what_cannot_be_said_is_refused() {
        for wrong in [
            json!({"statusCode": 99}),
            json!({"statusCode": 101}),
            json!({"statusCode": 600}),
            json!({"statusCode": 1000}),
            json!({"statusCode": -200}),
            json!({"statusCode": 200.5}),
            json!({"statusCode": "two hundred"}),
            json!({"statusCode": null}),
            json!({"statusCode": [200]}),
            json!({"statusCode": 200, "headers": []}),
            json!({"statusCode": 200, "headers": {"a": ["b"]}}),
            json!({"statusCode": 200, "headers": {"a": {"b": "c"}}}),
            json!({"statusCode": 200, "headers": {"a": "b\r\nset-cookie: c"}}),
            json!({"statusCode": 200, "headers": {"a\r\nb": "c"}}),
            json!({"statusCode": 200, "headers": {"a b": "c"}}),
            json!({"statusCode": 200, "headers": {"": "c"}}),
            json!({"statusCode": 200, "headers": {"a": "b\u{0}"}}),
            json!({"statusCode": 200, "cookies": ["a=b\nset-cookie: c=d"]}),
            json!({"statusCode": 200, "cookies": [1]}),
            json!({"statusCode": 200, "cookies": "a=b"}),
            json!({"statusCode": 200, "body": {"a": 1}}),
            json!({"statusCode": 200, "body": "not base64!", "isBase64Encoded": true}),
        ] {
            let answer = Bytes::from(wrong.to_string());
            assert!(response(&answer, "application/json").is_err(), "{wrong}");
        }
    }
}
