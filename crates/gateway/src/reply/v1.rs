//! The answer of a function to an event of a REST API: what it means as a response.
//!
//! Source: API Gateway developer guide, "Output format of a Lambda function for proxy integration", "Return binary media from a
//! Lambda proxy integration", and "Important notes" on headers.

use super::MOST_FIELDS;
use crate::event::v1::is_binary;
use crate::{Body, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Map, Value};

/// Members an answer may have. One with others is malformed, as it is on AWS.
const MEMBERS: [&str; 5] = ["statusCode", "headers", "multiValueHeaders", "body", "isBase64Encoded"];
/// Prefix of headers that belong to the connection or the gateway.
const REMAPPED: &str = "x-amzn-remapped-";

/// Why an answer is no response; for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed proxy response: {0}")]
pub struct Malformed(pub &'static str);

/// What decides whether a Base64 body is decoded: what the client accepts must be binary.
#[derive(Debug, Clone, Copy)]
pub struct Decoding<'a> {
    /// The `Accept` header of the request.
    pub accept: Option<&'a str>,
    /// Of the API.
    pub binary_media_types: &'a [String],
}

/// The response a function's answer means. Whatever could not be said in HTTP is malformed, and nothing of it is sent.
pub fn response(answer: &[u8], decoding: Decoding<'_>) -> Result<Response, Malformed> {
    let Ok(Value::Object(answer)) = serde_json::from_slice(answer) else {
        return Err(Malformed("it is not a JSON object"));
    };
    if answer.keys().any(|name| !MEMBERS.contains(&name.as_str())) {
        return Err(Malformed("it has members that are none"));
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status(answer.get("statusCode"))?;
    headers(&answer, response.headers_mut())?;
    let body = body(&answer, decoding, response.headers())?;
    *response.body_mut() = Body::from(body);
    Ok(response)
}

/// A number, or its digits as text; 200 when there is none. 1xx would be no final answer (RFC 9110, 15.2).
fn status(given: Option<&Value>) -> Result<StatusCode, Malformed> {
    let number = match given {
        None | Some(Value::Null) => return Ok(StatusCode::OK),
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) => text.parse().ok(),
        Some(_) => None,
    };
    number
        .filter(|number| (200..600).contains(number))
        .and_then(|number| StatusCode::from_u16(u16::try_from(number).ok()?).ok())
        .ok_or(Malformed("statusCode is not a status from 200 to 599"))
}

/// Both members together: where both name a header, all values of the list and the single one unless it is among them.
fn headers(answer: &Map<String, Value>, headers: &mut HeaderMap) -> Result<(), Malformed> {
    for (name, values) in member(answer, "multiValueHeaders")? {
        let Value::Array(values) = values else {
            return Err(Malformed("multiValueHeaders has a value that is no list"));
        };
        for value in values {
            append(headers, name, value)?;
        }
    }
    for (name, value) in member(answer, "headers")? {
        append(headers, name, value)?;
    }
    if !headers.contains_key(header::CONTENT_TYPE) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    Ok(())
}

/// The members of an object that may be absent or null.
fn member<'a>(
    answer: &'a Map<String, Value>,
    name: &str,
) -> Result<impl Iterator<Item = (&'a String, &'a Value)>, Malformed> {
    match answer.get(name) {
        None | Some(Value::Null) => Ok(None.into_iter().flatten()),
        Some(Value::Object(object)) => Ok(Some(object).into_iter().flatten()),
        Some(_) => Err(Malformed("headers or multiValueHeaders is no object")),
    }
}

fn append(headers: &mut HeaderMap, name: &str, value: &Value) -> Result<(), Malformed> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        Value::Null => return Ok(()),
        Value::Array(_) | Value::Object(_) => return Err(Malformed("a header is neither text nor a number")),
    };
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Malformed("a header's name is none"))?;
    let Some(name) = name_for_clients(name) else { return Ok(()) };
    // Refuses carriage return and line feed, with all other control characters.
    let value = HeaderValue::from_str(&text).map_err(|_| Malformed("a header's value is none"))?;
    if !headers.get_all(&name).iter().any(|known| known == value) {
        if headers.len() >= MOST_FIELDS {
            return Err(Malformed("it has too many headers"));
        }
        headers.append(name, value);
    }
    Ok(())
}

/// The name a header has for clients that a function, a back end or a mapping gives: those of the connection and the gateway get
/// another one. `None` for those that frame the answer, which is not theirs to say.
pub fn name_for_clients(name: HeaderName) -> Option<HeaderName> {
    if [header::TRANSFER_ENCODING, header::UPGRADE, header::TRAILER, header::TE].contains(&name) {
        return None;
    }
    match is_remapped(&name) {
        true => HeaderName::try_from(format!("{REMAPPED}{name}")).ok(),
        false => Some(name),
    }
}

fn is_remapped(name: &HeaderName) -> bool {
    [
        header::AUTHORIZATION,
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::DATE,
        header::EXPECT,
        header::HOST,
        header::MAX_FORWARDS,
        header::PROXY_AUTHENTICATE,
        header::SERVER,
        header::USER_AGENT,
        header::VIA,
        header::WWW_AUTHENTICATE,
    ]
    .contains(name)
        || name == "content-md5"
}

fn body(
    answer: &Map<String, Value>,
    decoding: Decoding<'_>,
    headers: &HeaderMap,
) -> Result<Vec<u8>, Malformed> {
    let text = match answer.get("body") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::String(text)) => text,
        Some(_) => return Err(Malformed("body is not text")),
    };
    let is_base64 = match answer.get("isBase64Encoded") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(flag)) => *flag,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
        Some(_) => return Err(Malformed("isBase64Encoded is no boolean")),
    };
    // The first of what is accepted counts; without it, what the answer says it is.
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let first = decoding.accept.and_then(|accept| accept.split(',').next()).or(content_type);
    let is_decoded = is_binary(first, decoding.binary_media_types);
    match is_base64 && is_decoded {
        true => STANDARD.decode(text).map_err(|_| Malformed("body is not Base64")),
        false => Ok(text.clone().into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use serde_json::json;

    async fn answered(
        answer: Value,
        decoding: Decoding<'_>,
    ) -> Result<(u16, Vec<String>, Vec<u8>), Malformed> {
        let response = response(answer.to_string().as_bytes(), decoding)?;
        let (head, body) = response.into_parts();
        let headers = head.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
        Ok((head.status.as_u16(), headers.collect(), body.collect().await.unwrap().to_bytes().to_vec()))
    }

    /// Decodes whatever is Base64.
    fn everything(all: &[String]) -> Decoding<'_> {
        Decoding { accept: None, binary_media_types: all }
    }

    async fn check(answer: Value, status: u16, headers: &[&str], body: &[u8]) {
        let all = ["*/*".to_owned()];
        let got = answered(answer.clone(), everything(&all)).await;
        let headers = headers.iter().map(|header| (*header).to_owned()).collect();
        assert_eq!(got, Ok((status, headers, body.to_vec())), "{answer}");
    }

    #[tokio::test]
    async fn more_headers_than_a_map_holds_are_malformed() {
        let headers =
            |count: usize| (0..count).map(|number| (format!("x-{number}"), json!(""))).collect::<Map<_, _>>();
        assert!(answered(json!({"headers": headers(9_000)}), everything(&[])).await.is_ok());
        assert!(answered(json!({"headers": headers(30_000)}), everything(&[])).await.is_err());
    }

    #[tokio::test]
    async fn what_an_answer_says() {
        check(json!({}), 200, &["content-type: application/json"], b"").await;
        check(
            json!({"statusCode": "201", "body": "ü"}),
            201,
            &["content-type: application/json"],
            "ü".as_bytes(),
        )
        .await;
        check(
            json!({"statusCode": 302, "headers": {"Location": "/x", "X-N": 7, "X-B": true, "X-None": null},
                "multiValueHeaders": {"Set-Cookie": ["a=1", "b=2"], "X-N": ["7"]}}),
            302,
            &[
                "set-cookie: a=1",
                "set-cookie: b=2",
                "x-n: 7",
                "location: /x",
                "x-b: true",
                "content-type: application/json",
            ],
            b"",
        )
        .await;
        check(
            json!({"headers": {"Content-Type": "a/b", "Content-Length": "9", "Transfer-Encoding": "chunked"},
                "body": "YQ==", "isBase64Encoded": true}),
            200,
            &["content-type: a/b", "x-amzn-remapped-content-length: 9"],
            b"a",
        )
        .await;
    }

    #[tokio::test]
    async fn what_could_not_be_said_is_malformed() {
        let all = ["*/*".to_owned()];
        for wrong in [
            json!("text"),
            json!(null),
            json!([1]),
            json!({"hello": "world"}),
            json!({"statusCode": 99}),
            json!({"statusCode": 100}),
            json!({"statusCode": 600}),
            json!({"statusCode": "x"}),
            json!({"body": {"a": 1}}),
            json!({"headers": []}),
            json!({"headers": {"a b": "c"}}),
            json!({"headers": {"X-A": "b\r\nX-Injected: 1"}}),
            json!({"headers": {"X-A": ["b"]}}),
            json!({"multiValueHeaders": {"X-A": "b"}}),
            json!({"body": "!", "isBase64Encoded": true}),
        ] {
            assert!(answered(wrong.clone(), everything(&all)).await.is_err(), "{wrong}");
        }
        assert!(response(b"{", everything(&all)).is_err());
    }

    #[tokio::test]
    async fn base64_is_decoded_for_those_who_accept_it() {
        let types = ["image/png".to_owned()];
        for (accept, content_type, expected) in [
            (Some("image/png"), "image/png", b"a".as_slice()),
            (Some("image/png;q=1, */*"), "image/png", b"a"),
            (Some("*/*"), "image/png", b"YQ=="),
            (None, "image/png", b"a"),
            (None, "text/plain", b"YQ=="),
        ] {
            let answer =
                json!({"body": "YQ==", "isBase64Encoded": true, "headers": {"Content-Type": content_type}});
            let decoding = Decoding { accept, binary_media_types: &types };
            assert_eq!(answered(answer, decoding).await.unwrap().2, expected, "{accept:?} {content_type}");
        }
    }
}
