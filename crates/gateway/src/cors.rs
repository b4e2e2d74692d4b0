//! Cross-origin resource sharing: what a configuration says about a request from a page of another origin.
//!
//! A preflight is answered here and never reaches the function. Other answers get the configured headers beside those the
//! function sets itself, which may give a header twice: so does AWS.
//!
//! Source: Fetch standard, "CORS protocol"; Lambda developer guide, "Creating and managing function URLs", CORS.

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use lamplight_model::function_url::Cors;

/// Headers that answer a preflight; `None` when the request is none.
///
/// An origin, method or header that is not allowed gets an answer without the headers, which a browser takes for a no.
pub fn preflight(cors: &Cors, method: &Method, headers: &HeaderMap) -> Option<HeaderMap> {
    let origin = headers.get(header::ORIGIN)?;
    let wanted = headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    if method != Method::OPTIONS {
        return None;
    }
    let mut answer = HeaderMap::new();
    let Some(allowed) = allowed_origin(cors, origin) else { return Some(answer) };
    answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    answer.insert(header::VARY, HeaderValue::from_static("Origin"));
    if cors.allow_credentials == Some(true) {
        answer.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    let with_credentials = cors.allow_credentials == Some(true);
    // To a request with credentials a star is a name like any other (Fetch, "CORS protocol and credentials").
    let list = |names: &[String], asked: Option<&HeaderValue>| match names.iter().any(|name| name == "*") {
        true if with_credentials => asked.cloned(),
        true => Some(HeaderValue::from_static("*")),
        false => joined(names),
    };
    let asked_headers = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
    set(
        &mut answer,
        header::ACCESS_CONTROL_ALLOW_METHODS,
        list(cors.allow_methods.as_deref().unwrap_or_default(), Some(wanted)),
    );
    set(
        &mut answer,
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        list(cors.allow_headers.as_deref().unwrap_or_default(), asked_headers),
    );
    set(&mut answer, header::ACCESS_CONTROL_MAX_AGE, cors.max_age.map(HeaderValue::from));
    Some(answer)
}

/// Adds to an answer what the configuration says about the request with these headers.
pub fn add_to(cors: &Cors, request: &HeaderMap, answer: &mut HeaderMap) {
    let Some(allowed) = request.get(header::ORIGIN).and_then(|origin| allowed_origin(cors, origin)) else {
        return;
    };
    answer.append(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    answer.append(header::VARY, HeaderValue::from_static("Origin"));
    if cors.allow_credentials == Some(true) {
        answer.append(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    if let Some(exposed) = joined(cors.expose_headers.as_deref().unwrap_or_default()) {
        answer.append(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
}

/// What `Access-Control-Allow-Origin` is to say; `None` when the origin is not allowed.
fn allowed_origin(cors: &Cors, origin: &HeaderValue) -> Option<HeaderValue> {
    let allowed = cors.allow_origins.as_deref().unwrap_or_default();
    let is_named = allowed.iter().any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(origin.as_bytes()));
    match allowed.iter().any(|allowed| allowed == "*") {
        true if cors.allow_credentials != Some(true) && !is_named => Some(HeaderValue::from_static("*")),
        true => Some(origin.clone()),
        false => is_named.then(|| origin.clone()),
    }
}

fn set(answer: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    if let Some(value) = value {
        answer.insert(name, value);
    }
}

fn joined(names: &[String]) -> Option<HeaderValue> {
    // What the configuration took need not be a header's value: then there is none.
    (!names.is_empty()).then(|| HeaderValue::from_str(&names.join(",")).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(origins: &[&str], allow_credentials: bool) -> Cors {
        let list = |texts: &[&str]| Some(texts.iter().map(|text| (*text).to_owned()).collect());
        Cors {
            allow_credentials: allow_credentials.then_some(true),
            allow_headers: list(&["x-a", "x-b"]),
            allow_methods: list(&["*"]),
            allow_origins: list(origins),
            expose_headers: list(&["x-c"]),
            max_age: Some(300),
        }
    }

    fn request(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn shown(headers: &HeaderMap) -> Vec<String> {
        let mut shown: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        shown.sort();
        shown
    }

    #[test]
    fn preflights() {
        let asked = request(&[
            ("origin", "https://a.example"),
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", "x-a"),
        ]);
        let answer = preflight(&cors(&["https://a.example"], false), &Method::OPTIONS, &asked).unwrap();
        assert_eq!(
            shown(&answer),
            [
                "access-control-allow-headers: x-a,x-b",
                "access-control-allow-methods: *",
                "access-control-allow-origin: https://a.example",
                "access-control-max-age: 300",
                "vary: Origin",
            ]
        );
        let answer = preflight(&cors(&["*"], true), &Method::OPTIONS, &asked).unwrap();
        let shown = shown(&answer);
        assert!(shown.contains(&"access-control-allow-origin: https://a.example".to_owned()), "{shown:?}");
        assert!(shown.contains(&"access-control-allow-methods: PUT".to_owned()), "{shown:?}");
        assert!(shown.contains(&"access-control-allow-credentials: true".to_owned()), "{shown:?}");
        let elsewhere = preflight(&cors(&["https://b.example"], false), &Method::OPTIONS, &asked).unwrap();
        assert!(elsewhere.is_empty());
        assert!(preflight(&cors(&["*"], false), &Method::GET, &asked).is_none());
        let without_method = request(&[("origin", "https://a.example")]);
        assert!(preflight(&cors(&["*"], false), &Method::OPTIONS, &without_method).is_none());
        assert!(preflight(&Cors::default(), &Method::OPTIONS, &asked).unwrap().is_empty());
    }

    #[test]
    fn other_answers_keep_what_the_function_said() {
        let mut answer = request(&[("access-control-allow-origin", "*"), ("vary", "Accept")]);
        add_to(&cors(&["*"], false), &request(&[("origin", "https://a.example")]), &mut answer);
        assert_eq!(
            shown(&answer),
            [
                "access-control-allow-origin: *",
                "access-control-allow-origin: *",
                "access-control-expose-headers: x-c",
                "vary: Accept",
                "vary: Origin",
            ]
        );
        for (origins, origin) in [(&["https://b.example"][..], "https://a.example"), (&[], "null")] {
            let mut answer = HeaderMap::new();
            add_to(&cors(origins, false), &request(&[("origin", origin)]), &mut answer);
            assert!(answer.is_empty());
        }
        let mut answer = HeaderMap::new();
        add_to(&cors(&["*"], false), &HeaderMap::new(), &mut answer);
        assert!(answer.is_empty());
    }
}
