//! What an extension asks for when it subscribes to telemetry, checked. Pure.
//!
//! Source: AWS Lambda developer guide, "Lambda Telemetry API reference" and "Lambda Logs API". A refusal names everything that is
//! wrong, joined as in the guide's example ("URI port is not provided; types should not be empty"); the other texts are ours.

use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// Ports inside that are the platform's own.
const RESERVED_PORTS: [u16; 2] = [9001, 19001];
/// Names of the sandbox itself.
const HOSTS: [&str; 2] = ["sandbox.localdomain", "sandbox"];
const MAX_ITEMS: (u64, u64) = (1_000, 10_000);
const MAX_BYTES: (u64, u64) = (262_144, 1_048_576);
const TIMEOUT_MS: (u64, u64) = (25, 30_000);
const DEFAULT_TIMEOUT_MS: u64 = 1_000;

/// Which of the two APIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// `/2022-07-01/telemetry`.
    Telemetry,
    /// `/2020-08-15/logs`.
    Logs,
}

impl Api {
    /// `errorType` of a refused request.
    pub fn validation_error(self) -> &'static str {
        match self {
            Self::Telemetry => "ValidationError",
            Self::Logs => "Logs.ValidationError",
        }
    }
}

/// The version of the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Schema {
    /// `2020-08-15` of the Logs API.
    Logs,
    /// `2021-03-18` of the Logs API: with `platform.runtimeDone`.
    LogsWithRuntimeDone,
    /// `2022-07-01`.
    Telemetry,
    /// `2022-12-13` and `2025-01-29`: lines of functions that log in JSON are objects.
    TelemetryWithObjects,
}

/// What an event tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Category {
    /// The platform.
    Platform,
    /// The function's own lines.
    Function,
    /// Lines of external extensions.
    Extension,
}

impl Category {
    /// Its name in `types`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Function => "function",
            Self::Extension => "extension",
        }
    }
}

/// When a batch is sent: at the first of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffering {
    /// Events.
    pub max_items: usize,
    /// Bytes.
    pub max_bytes: usize,
    /// Age of the oldest event.
    pub timeout: Duration,
}

/// Where batches go, inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// An array of events in each request.
    Http {
        /// Of 127.0.0.1.
        port: u16,
        /// Path and query.
        path: String,
        /// `PUT` instead of `POST`.
        put: bool,
    },
    /// One event in each line.
    Tcp {
        /// Of 127.0.0.1.
        port: u16,
    },
}

/// A subscription as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Of which API.
    pub api: Api,
    /// How events look.
    pub schema: Schema,
    /// Which events.
    pub categories: Vec<Category>,
    /// When they are sent.
    pub buffering: Buffering,
    /// Where.
    pub destination: Destination,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    schema_version: Option<String>,
    #[serde(default)]
    types: Vec<String>,
    #[serde(default)]
    buffering: RequestedBuffering,
    destination: Option<RequestedDestination>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RequestedBuffering {
    max_items: Option<u64>,
    max_bytes: Option<u64>,
    timeout_ms: Option<u64>,
}

#[derive(Deserialize)]
struct RequestedDestination {
    protocol: Option<String>,
    #[serde(rename = "URI")]
    uri: Option<String>,
    port: Option<Value>,
    method: Option<String>,
}

/// Reads a request; what is wrong with it otherwise.
pub fn parse(api: Api, body: &[u8]) -> Result<Subscription, String> {
    let request: Request =
        serde_json::from_slice(body).map_err(|error| format!("failed to parse JSON: {error}"))?;
    let mut wrong = Vec::new();
    let schema = schema(api, request.schema_version.as_deref(), &mut wrong);
    let destination = destination(request.destination, &mut wrong);
    let categories = categories(&request.types, &mut wrong);
    let RequestedBuffering { max_items, max_bytes, timeout_ms } = request.buffering;
    let default_items = match api {
        Api::Telemetry => MAX_ITEMS.0,
        Api::Logs => MAX_ITEMS.1,
    };
    let max_items = within("maxItems", max_items, default_items, MAX_ITEMS, &mut wrong);
    let max_bytes = within("maxBytes", max_bytes, MAX_BYTES.0, MAX_BYTES, &mut wrong);
    let timeout_ms = within("timeoutMs", timeout_ms, DEFAULT_TIMEOUT_MS, TIMEOUT_MS, &mut wrong);
    match (schema, destination) {
        (Some(schema), Some(destination)) if wrong.is_empty() => Ok(Subscription {
            api,
            schema,
            categories,
            buffering: Buffering {
                max_items: usize::try_from(max_items).unwrap_or(usize::MAX),
                max_bytes: usize::try_from(max_bytes).unwrap_or(usize::MAX),
                timeout: Duration::from_millis(timeout_ms),
            },
            destination,
        }),
        _ => Err(wrong.join("; ")),
    }
}

fn schema(api: Api, version: Option<&str>, wrong: &mut Vec<String>) -> Option<Schema> {
    let schema = match (api, version) {
        (Api::Logs, None | Some("2020-08-15")) => Schema::Logs,
        (Api::Logs, Some("2021-03-18")) => Schema::LogsWithRuntimeDone,
        (Api::Telemetry, Some("2022-07-01")) => Schema::Telemetry,
        (Api::Telemetry, Some("2022-12-13" | "2025-01-29")) => Schema::TelemetryWithObjects,
        (Api::Telemetry, None) => {
            wrong.push("schemaVersion is not provided".to_owned());
            return None;
        }
        (_, Some(_)) => {
            wrong.push("schemaVersion is not supported".to_owned());
            return None;
        }
    };
    Some(schema)
}

fn destination(requested: Option<RequestedDestination>, wrong: &mut Vec<String>) -> Option<Destination> {
    let Some(requested) = requested else {
        wrong.push("destination is not provided".to_owned());
        return None;
    };
    let found = match requested.protocol.as_deref() {
        Some("HTTP") => http(requested.uri.as_deref(), requested.method.as_deref()),
        Some("TCP") => tcp(requested.port.as_ref(), requested.uri.as_deref()),
        _ => Err("protocol should be HTTP or TCP"),
    };
    let reserved = |destination: Destination| {
        let (Destination::Http { port, .. } | Destination::Tcp { port }) = destination;
        if RESERVED_PORTS.contains(&port) { Err("port is reserved") } else { Ok(destination) }
    };
    found.and_then(reserved).map_err(|problem| wrong.push(problem.to_owned())).ok()
}

fn http(uri: Option<&str>, method: Option<&str>) -> Result<Destination, &'static str> {
    let uri: http::Uri = uri.ok_or("URI is not provided")?.parse().map_err(|_| "URI is not valid")?;
    if uri.scheme_str() != Some("http") {
        return Err("URI scheme should be http");
    }
    if !uri.host().is_some_and(|host| HOSTS.contains(&host)) {
        return Err("URI host should be sandbox.localdomain");
    }
    let port = uri.port_u16().filter(|port| *port > 0).ok_or("URI port is not provided")?;
    let put = match method {
        None | Some("POST") => false,
        Some("PUT") => true,
        Some(_) => return Err("method should be POST or PUT"),
    };
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
    Ok(Destination::Http { port, path, put })
}

/// By its port, or by a URI as for HTTP.
fn tcp(port: Option<&Value>, uri: Option<&str>) -> Result<Destination, &'static str> {
    let port = match (port, uri) {
        (Some(port), _) => port.as_u64().or_else(|| port.as_str()?.parse().ok()),
        (None, Some(uri)) => uri.parse::<http::Uri>().ok().and_then(|uri| uri.port_u16()).map(u64::from),
        (None, None) => None,
    };
    let port = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
    Ok(Destination::Tcp { port: port.ok_or("port is not provided")? })
}

fn categories(types: &[String], wrong: &mut Vec<String>) -> Vec<Category> {
    if types.is_empty() {
        wrong.push("types should not be empty".to_owned());
    }
    let all = [Category::Platform, Category::Function, Category::Extension];
    if types.iter().any(|name| all.iter().all(|category| category.name() != name)) {
        wrong.push("types should be platform, function or extension".to_owned());
    }
    // In the order they were named, each once.
    let mut found = Vec::new();
    for name in types {
        let named = all.into_iter().find(|category| category.name() == name);
        found.extend(named.filter(|category| !found.contains(category)));
    }
    found
}

fn within(name: &str, value: Option<u64>, default: u64, bounds: (u64, u64), wrong: &mut Vec<String>) -> u64 {
    let value = value.unwrap_or(default);
    if value < bounds.0 || value > bounds.1 {
        wrong.push(format!("{name} should be between {} and {}", bounds.0, bounds.1));
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let mut request = serde_json::json!({
            "schemaVersion": "2022-12-13",
            "types": ["platform", "function", "platform"],
            "buffering": { "maxItems": 2000, "timeoutMs": 25 },
            "destination": { "protocol": "HTTP", "URI": "http://sandbox.localdomain:8080/in?a=b" },
        });
        change(&mut request);
        request.to_string().into_bytes()
    }

    #[test]
    fn a_whole_request() {
        let expected = Subscription {
            api: Api::Telemetry,
            schema: Schema::TelemetryWithObjects,
            categories: vec![Category::Platform, Category::Function],
            buffering: Buffering { max_items: 2_000, max_bytes: 262_144, timeout: Duration::from_millis(25) },
            destination: Destination::Http { port: 8080, path: "/in?a=b".to_owned(), put: false },
        };
        assert_eq!(parse(Api::Telemetry, &asked(|_| {})), Ok(expected));
    }

    #[test]
    fn defaults_are_those_of_the_api() {
        let check = |api, schema, items| {
            let body = asked(|request| {
                request["buffering"] = Value::Null;
                request["buffering"] = serde_json::json!({});
                request["schemaVersion"] = schema;
            });
            assert_eq!(parse(api, &body).unwrap().buffering.max_items, items);
        };
        check(Api::Telemetry, "2022-07-01".into(), 1_000);
        check(Api::Logs, Value::Null, 10_000);
        check(Api::Logs, "2021-03-18".into(), 10_000);
    }

    #[test]
    fn tcp_by_port_or_address() {
        for destination in [
            serde_json::json!({ "protocol": "TCP", "port": 4444 }),
            serde_json::json!({ "protocol": "TCP", "port": "4444" }),
            serde_json::json!({ "protocol": "TCP", "URI": "tcp://sandbox.localdomain:4444" }),
        ] {
            let subscription = parse(Api::Telemetry, &asked(|request| request["destination"] = destination));
            assert_eq!(subscription.unwrap().destination, Destination::Tcp { port: 4444 });
        }
    }

    #[test]
    fn everything_that_is_wrong_is_named() {
        let check = |api, change: fn(&mut Value), expected: &str| {
            assert_eq!(parse(api, &asked(change)).unwrap_err(), expected);
        };
        check(
            Api::Telemetry,
            |request| {
                request["destination"]["URI"] = "http://sandbox.localdomain".into();
                request["types"] = serde_json::json!([]);
            },
            "URI port is not provided; types should not be empty",
        );
        check(Api::Logs, |_| {}, "schemaVersion is not supported");
        check(
            Api::Telemetry,
            |request| {
                *request = serde_json::json!({ "types": ["logs"], "buffering": { "maxItems": 1, "maxBytes": 2, "timeoutMs": 30001 } });
            },
            "schemaVersion is not provided; destination is not provided; types should be platform, function or extension; \
             maxItems should be between 1000 and 10000; maxBytes should be between 262144 and 1048576; \
             timeoutMs should be between 25 and 30000",
        );
        for (destination, expected) in [
            (r#"{"protocol":"UDP"}"#, "protocol should be HTTP or TCP"),
            (r#"{"protocol":"HTTP"}"#, "URI is not provided"),
            (r#"{"protocol":"HTTP","URI":"https://sandbox.localdomain:1"}"#, "URI scheme should be http"),
            (r#"{"protocol":"HTTP","URI":"http://10.0.0.1:80"}"#, "URI host should be sandbox.localdomain"),
            (r#"{"protocol":"HTTP","URI":"http://sandbox:9001"}"#, "port is reserved"),
            (
                r#"{"protocol":"HTTP","URI":"http://sandbox:80","method":"GET"}"#,
                "method should be POST or PUT",
            ),
            (r#"{"protocol":"TCP","port":70000}"#, "port is not provided"),
        ] {
            let destination: Value = serde_json::from_str(destination).unwrap();
            let refused = parse(Api::Telemetry, &asked(|request| request["destination"] = destination));
            assert_eq!(refused.unwrap_err(), expected);
        }
        assert!(parse(Api::Telemetry, b"{").unwrap_err().starts_with("failed to parse JSON"));
    }
}
